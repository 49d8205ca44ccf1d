//! Sessions.
//!
//! Revoking one session deletes its row. Revoking all of a user's raises the user's epoch, one row
//! whatever the number of sessions: rows of an older epoch are dead at once and swept later. Both
//! write the change log in the same transaction.

mod lifecycle;
mod row;
mod sweep;

use async_trait::async_trait;
use mainstay_core::{
    App, Error, Name, Page, PageRequest, Result, Timestamp,
    changes::Change,
    once::Once,
    sessions::{
        Created, NewSession, Rotated, Rotation, SessionCounts, SessionDriver, SessionId, SessionRecord,
        SessionUpdate,
    },
};
use rusqlite::{Connection, named_params, params};

use crate::{
    changes::log,
    store::Sqlite,
    tx::{OrFailed, Tx},
};
pub(crate) use sweep::{minutes_kept_from, sweep};

const MINUTE_MS: i64 = 60_000;

/// Live sessions by app and kind.
const COUNT_LIVE: &str = "INSERT INTO session_counts (app, kind, live) VALUES (?1, ?2, ?3)
     ON CONFLICT DO UPDATE SET live = live + excluded.live";
const COUNT_CREATED: &str =
    "INSERT INTO session_minutes (app, minute, created, checks) VALUES (?1, ?2, ?3, 0)
     ON CONFLICT DO UPDATE SET created = created + excluded.created";
const COUNT_CHECKS: &str = "INSERT INTO session_minutes (app, minute, created, checks) VALUES (?1, ?2, 0, ?3)
     ON CONFLICT DO UPDATE SET checks = checks + excluded.checks";

#[async_trait]
impl SessionDriver for Sqlite {
    async fn create(&self, app: &App, new: &NewSession, once: Option<&Once>) -> Result<Created> {
        let (app, new, once, clock) = (app.clone(), new.clone(), once.cloned(), self.clock());
        self.main().write(move |tx| lifecycle::create(tx, &app, &new, once.as_ref(), clock.now())).await
    }

    async fn load(&self, app: &App, id: SessionId) -> Result<Option<SessionRecord>> {
        let (app, clock, name) = (app.clone(), self.clock(), self.main_name());
        self.main().read(move |connection| row::load(connection, &app, id, clock.now()).or_failed(name)).await
    }

    async fn touch(&self, app: &App, id: SessionId) -> Result<Option<SessionRecord>> {
        let (app, clock) = (app.clone(), self.clock());
        self.main().write(move |tx| lifecycle::touch(tx, &app, id, clock.now())).await
    }

    async fn update(
        &self,
        app: &App,
        id: SessionId,
        update: &SessionUpdate,
    ) -> Result<Option<SessionRecord>> {
        let (app, update, clock) = (app.clone(), update.clone(), self.clock());
        self.main().write(move |tx| lifecycle::update(tx, &app, id, &update, clock.now())).await
    }

    async fn rotate(&self, app: &App, id: SessionId, rotation: &Rotation) -> Result<Rotated> {
        let (app, rotation, clock) = (app.clone(), rotation.clone(), self.clock());
        self.main().write(move |tx| lifecycle::rotate(tx, &app, id, &rotation, clock.now())).await
    }

    async fn revoke(&self, app: &App, id: SessionId) -> Result<bool> {
        let (app, clock) = (app.clone(), self.clock());
        self.main().write(move |tx| lifecycle::revoke(tx, &app, id, clock.now())).await
    }

    async fn revoke_user(&self, app: &App, user: &Name, except: Option<SessionId>) -> Result<u64> {
        let (app, user, clock) = (app.clone(), user.clone(), self.clock());
        self.main().write(move |tx| revoke_user(tx, &app, &user, except, clock.now())).await
    }

    async fn list(&self, app: &App, user: &Name, page: &PageRequest) -> Result<Page<SessionRecord>> {
        let before = match &page.cursor {
            None => SessionId(uuid::Uuid::max()),
            Some(cursor) => cursor
                .parse()
                .map_err(|_| Error::invalid("cursor", "must be the next_cursor of an earlier page"))?,
        };
        let (app, user, clock, limit, name) =
            (app.clone(), user.clone(), self.clock(), page.limit, self.main_name());
        self.main().read(move |c| row::list(c, &app, &user, before, limit, clock.now()).or_failed(name)).await
    }

    async fn counts(&self, app: &App) -> Result<SessionCounts> {
        let (app, clock, name) = (app.clone(), self.clock(), self.main_name());
        self.main().read(move |c| counts(c, name, &app, clock.now())).await
    }

    async fn add_checks(&self, checks: &[(App, u64)]) -> Result<()> {
        let (checks, clock) = (checks.to_vec(), self.clock());
        self.main()
            .write(move |tx| {
                let minute = clock.now().as_millis() / MINUTE_MS;
                for (app, n) in &checks {
                    tx.add(COUNT_CHECKS, app.as_str(), minute, i64::try_from(*n).unwrap_or(i64::MAX));
                }
                Ok(())
            })
            .await
    }
}

/// The epoch that live sessions of this user have.
fn epoch(connection: &Connection, app: &App, user: &Name) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("SELECT max(epoch) FROM session_users WHERE app = ?1 AND user = ?2")?
        .query_row(params![app.as_str(), user.as_str()], |row| row.get::<_, Option<i64>>(0))
        .map(|epoch| epoch.unwrap_or(0))
}

fn revoke_user(
    tx: &mut Tx<'_>,
    app: &App,
    user: &Name,
    except: Option<SessionId>,
    now: Timestamp,
) -> Result<u64> {
    let name = tx.name();
    let old = epoch(tx, app, user).or_failed(name)?;
    let kept = match except {
        Some(id) => row::load(tx, app, id, now).or_failed(name)?.filter(|session| session.user == *user),
        None => None,
    };
    let mut live = 0;
    for (kind, stored, ended) in count_user(tx, app, user, old, now).or_failed(name)? {
        let keeps = i64::from(kept.as_ref().is_some_and(|session| session.kind.as_str() == kind));
        live += stored - ended - keeps;
        // Ended ones count until they are swept, and what is swept of a dead epoch counts no more.
        tx.add(COUNT_LIVE, app.as_str(), kind.as_str(), keeps - stored);
    }
    // The position in the log is a number that no earlier epoch of this user can have had.
    let next = i64::try_from(log(tx, &Change::User(app.clone(), user.clone()), now)?).unwrap_or(i64::MAX);
    if !mainstay_core::planted::planted("revoke_user_without_epoch") {
        tx.prepare_cached(
            "INSERT INTO session_users (app, user, epoch, to_clean) VALUES (?1, ?2, ?3, 1)
             ON CONFLICT DO UPDATE SET epoch = excluded.epoch, to_clean = 1",
        )
        .and_then(|mut raise| raise.execute(params![app.as_str(), user.as_str(), next]))
        .or_failed(name)?;
        if let Some(kept) = kept {
            tx.prepare_cached("UPDATE sessions SET epoch = ?2 WHERE id = ?1")
                .and_then(|mut keep| keep.execute(params![kept.id.0, next]))
                .or_failed(name)?;
        }
    }
    Ok(u64::try_from(live).unwrap_or(0))
}

/// Sessions of one epoch of a user: kind, how many are stored, how many of them have ended.
fn count_user(
    connection: &Connection,
    app: &App,
    user: &Name,
    epoch: i64,
    now: Timestamp,
) -> rusqlite::Result<Vec<(String, i64, i64)>> {
    connection
        .prepare_cached(
            "SELECT kind, count(*), sum(idle_expires_at <= ?4) FROM sessions
             WHERE app = ?1 AND user = ?2 AND epoch = ?3 GROUP BY kind",
        )?
        .query_map(params![app.as_str(), user.as_str(), epoch, now.as_millis()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect()
}

fn counts(connection: &Connection, name: &'static str, app: &App, now: Timestamp) -> Result<SessionCounts> {
    let kinds: Vec<(String, u64)> = connection
        .prepare_cached("SELECT kind, live FROM session_counts WHERE app = ?1 AND live > 0 ORDER BY kind")
        .and_then(|mut find| {
            find.query_map([app.as_str()], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?
                .collect()
        })
        .or_failed(name)?;
    let since = now.as_millis() / MINUTE_MS - 59;
    let (created, checks): (i64, i64) = connection
        .prepare_cached(
            "SELECT coalesce(sum(created), 0), coalesce(sum(checks), 0) FROM session_minutes
             WHERE app = :app AND minute >= :since",
        )
        .and_then(|mut sum| {
            sum.query_row(named_params! {":app": app.as_str(), ":since": since}, |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
        })
        .or_failed(name)?;
    let active_by_kind =
        kinds.into_iter().map(|(kind, n)| Ok((Name::new("kind", &kind)?, n))).collect::<Result<_>>()?;
    Ok(SessionCounts {
        active_by_kind,
        created_last_hour: created.unsigned_abs(),
        checks_last_hour: checks.unsigned_abs(),
    })
}
