//! The change log.

use async_trait::async_trait;
use mainstay_core::{
    App, CacheKey, Error, Name, Result, Timestamp,
    changes::{Change, ChangeDriver, Invalidation, LoggedChange, Seq, Tail},
    sessions::SessionId,
    tokens::TokenId,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{
    store::Sqlite,
    tx::{OrFailed, Tx},
};

/// How long changes are kept: a node that was away for longer starts with empty copies.
const KEEP_MS: i64 = 60 * 60 * 1000;

/// Writes a change into the transaction of what it tells of.
pub(crate) fn log(tx: &mut Tx<'_>, change: &Change, now: Timestamp) -> Result<Seq> {
    let (kind, app, subject, detail) = encode(change);
    tx.prepare_cached("INSERT INTO changes (at, kind, app, subject, detail) VALUES (?1, ?2, ?3, ?4, ?5)")
        .and_then(|mut insert| insert.insert(params![now.as_millis(), kind, app, subject, detail]))
        .or_failed(tx.name())
        .map(|rowid| {
            let seq = u64::try_from(rowid).unwrap_or(0);
            tx.logged(seq);
            seq
        })
}

/// Changes before this instant may be forgotten.
pub(crate) fn kept_from(now: Timestamp) -> i64 {
    now.as_millis() - KEEP_MS
}

/// Forgets up to `limit` changes that are too old, but never the newest: it holds the head.
pub(crate) fn sweep(tx: &Tx<'_>, now: Timestamp, limit: u32) -> Result<usize> {
    tx.prepare_cached(
        "DELETE FROM changes WHERE seq IN (SELECT seq FROM changes ORDER BY seq LIMIT ?2)
         AND at < ?1 AND seq < (SELECT max(seq) FROM changes)",
    )
    .and_then(|mut delete| delete.execute(params![kept_from(now), limit]))
    .or_failed(tx.name())
}

#[async_trait]
impl ChangeDriver for Sqlite {
    async fn append(&self, changes: &[Change]) -> Result<Seq> {
        let (changes, clock) = (changes.to_vec(), self.clock());
        self.main()
            .write(move |tx| {
                let now = clock.now();
                let mut last = 0;
                for change in &changes {
                    last = log(tx, change, now)?;
                }
                Ok(last)
            })
            .await
    }

    async fn read(&self, after: Seq, limit: u32) -> Result<Tail> {
        let name = self.main_name();
        self.main().read(move |connection| read(connection, name, after, limit)).await
    }

    async fn head(&self) -> Result<Seq> {
        let name = self.main_name();
        self.main().read(move |connection| head(connection).or_failed(name)).await
    }

    async fn wait(&self, after: Seq) {
        let mut head = self.main().head();
        // The sender lives as long as the file is open; a closed file has nothing to wait for.
        let _ = head.wait_for(|head| *head > after).await;
    }
}

fn head(connection: &Connection) -> rusqlite::Result<Seq> {
    connection
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM changes")?
        .query_row([], |row| row.get::<_, i64>(0))
        .map(|seq| u64::try_from(seq).unwrap_or(0))
}

fn read(connection: &Connection, name: &'static str, after: Seq, limit: u32) -> Result<Tail> {
    let after_row = i64::try_from(after).unwrap_or(i64::MAX);
    // Positions have no gaps but those at the old end that a sweep made.
    let oldest: Option<i64> = connection
        .prepare_cached("SELECT seq FROM changes ORDER BY seq LIMIT 1")
        .and_then(|mut first| first.query_row([], |row| row.get(0)).optional())
        .or_failed(name)?;
    let head = head(connection).or_failed(name)?;
    if oldest.is_some_and(|oldest| after_row < oldest - 1) || after > head {
        return Ok(Tail::Lost(head));
    }
    let mut find = connection
        .prepare_cached(
            "SELECT seq, kind, app, subject, detail FROM changes WHERE seq > ?1 ORDER BY seq LIMIT ?2",
        )
        .or_failed(name)?;
    let rows = find.query_map(params![after_row, limit], decode).or_failed(name)?;
    let mut changes = Vec::new();
    for row in rows {
        changes.push(row.or_failed(name)??);
    }
    Ok(Tail::Changes(changes))
}

fn encode(change: &Change) -> (&'static str, String, String, String) {
    let none = String::new;
    match change {
        Change::Session(id) => ("session", none(), id.to_string(), none()),
        Change::User(app, user) => ("user", app.to_string(), user.to_string(), none()),
        Change::Token(id) => ("token", none(), id.to_string(), none()),
        Change::Cache(app, what) => {
            let (kind, subject, detail) = match what {
                Invalidation::Tag(tag) => ("cache.tag", tag.to_string(), none()),
                Invalidation::Key(ns, key) => ("cache.key", ns.to_string(), key.as_str().to_owned()),
                Invalidation::Prefix(ns, prefix) => {
                    ("cache.prefix", ns.to_string(), prefix.as_str().to_owned())
                }
                Invalidation::Namespace(ns) => ("cache.namespace", ns.to_string(), none()),
            };
            (kind, app.to_string(), subject, detail)
        }
    }
}

fn decode(row: &Row<'_>) -> rusqlite::Result<Result<LoggedChange>> {
    let seq = u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0);
    let text = |i| row.get::<_, String>(i);
    let (kind, app, subject, detail) = (text(1)?, text(2)?, text(3)?, text(4)?);
    Ok(change(&kind, &app, &subject, &detail)
        .map(|change| LoggedChange { seq, change })
        .map_err(|source| Error::Decode { what: "change", source }))
}

fn change(
    kind: &str,
    app: &str,
    subject: &str,
    detail: &str,
) -> Result<Change, mainstay_core::error::BoxError> {
    let name = |text| Name::new("subject", text);
    let cached = |what| Ok(Change::Cache(App::new(app)?, what));
    match kind {
        "session" => Ok(Change::Session(subject.parse::<SessionId>()?)),
        "user" => Ok(Change::User(App::new(app)?, name(subject)?)),
        "token" => Ok(Change::Token(subject.parse::<TokenId>()?)),
        "cache.tag" => cached(Invalidation::Tag(name(subject)?)),
        "cache.key" => cached(Invalidation::Key(name(subject)?, CacheKey::new(detail)?)),
        "cache.prefix" => cached(Invalidation::Prefix(name(subject)?, CacheKey::new(detail)?)),
        "cache.namespace" => cached(Invalidation::Namespace(name(subject)?)),
        other => Err(format!("unknown kind {other}").into()),
    }
}
