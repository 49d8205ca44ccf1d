//! API tokens.

use async_trait::async_trait;
use mainstay_core::{
    App, Error, Page, PageRequest, Result, Timestamp,
    changes::Change,
    once::{Effect, Once},
    sessions::TokenHash,
    tokens::{ApiToken, NewToken, TokenDriver, TokenId},
};
use rusqlite::{
    OptionalExtension, Row, params,
    types::{FromSqlError, Type},
};

use crate::{
    changes::log,
    once,
    store::Sqlite,
    tx::{OrFailed, Tx},
};

#[async_trait]
impl TokenDriver for Sqlite {
    async fn create(&self, new: &NewToken, once: Option<&Once>) -> Result<Effect<ApiToken>> {
        let (new, once, clock) = (new.clone(), once.cloned(), self.clock());
        self.main().write(move |tx| create(tx, &new, once.as_ref(), clock.now())).await
    }

    async fn find(&self, hash: &TokenHash) -> Result<Option<ApiToken>> {
        let (hash, clock, name) = (*hash, self.clock(), self.main_name());
        self.main()
            .read(move |c| {
                c.prepare_cached(
                    "SELECT id, app, name, scopes, created_at, expires_at FROM tokens
                     WHERE hash = ?1 AND coalesce(expires_at > ?2, 1)",
                )
                .and_then(|mut find| {
                    find.query_row(params![hash.0, clock.now().as_millis()], token).optional()
                })
                .or_failed(name)
            })
            .await
    }

    async fn list(&self, app: Option<&App>, page: &PageRequest) -> Result<Page<ApiToken>> {
        let before = match &page.cursor {
            None => TokenId(uuid::Uuid::max()),
            Some(cursor) => cursor
                .parse()
                .map_err(|_| Error::invalid("cursor", "must be the next_cursor of an earlier page"))?,
        };
        let (app, limit, name) = (app.map(|app| app.as_str().to_owned()), page.limit, self.main_name());
        self.main()
            .read(move |c| {
                let mut items: Vec<ApiToken> = c
                    .prepare_cached(
                        "SELECT id, app, name, scopes, created_at, expires_at FROM tokens
                         WHERE id < ?1 AND (?2 IS NULL OR app = ?2) ORDER BY id DESC LIMIT ?3",
                    )
                    .and_then(|mut find| {
                        find.query_map(params![before.0, app, i64::from(limit) + 1], token)?.collect()
                    })
                    .or_failed(name)?;
                let more = items.len() > limit as usize;
                items.truncate(limit as usize);
                let next = items.last().filter(|_| more).map(|last| last.id.to_string());
                Ok(Page { items, next })
            })
            .await
    }

    async fn revoke(&self, id: TokenId) -> Result<bool> {
        let clock = self.clock();
        self.main()
            .write(move |tx| {
                let removed = tx
                    .prepare_cached("DELETE FROM tokens WHERE id = ?1")
                    .and_then(|mut delete| delete.execute([id.0]))
                    .or_failed(tx.name())?;
                if removed > 0 {
                    log(tx, &Change::Token(id), clock.now())?;
                }
                Ok(removed > 0)
            })
            .await
    }
}

fn create(tx: &mut Tx<'_>, new: &NewToken, once: Option<&Once>, now: Timestamp) -> Result<Effect<ApiToken>> {
    if let Some(once) = once
        && let Some((token, salt)) = once::replay(tx, &new.app, once, now)?
    {
        return Ok(Effect::Replayed(token, salt));
    }
    let scopes =
        serde_json::to_string(&new.scopes).map_err(|e| Error::Decode { what: "scopes", source: e.into() })?;
    tx.prepare_cached(
        "INSERT INTO tokens (id, hash, app, name, scopes, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .and_then(|mut insert| {
        insert.execute(params![
            new.id.0,
            new.hash.0,
            new.app.as_str(),
            new.name,
            scopes,
            now.as_millis(),
            new.expires_at.map(Timestamp::as_millis)
        ])
    })
    .or_failed(tx.name())?;
    let token = ApiToken {
        id: new.id,
        app: new.app.clone(),
        name: new.name.clone(),
        scopes: new.scopes.clone(),
        created_at: now,
        expires_at: new.expires_at,
    };
    if let Some(once) = once {
        once::remember(tx, &new.app, once, &token, now)?;
    }
    Ok(Effect::Done(token))
}

fn token(row: &Row<'_>) -> rusqlite::Result<ApiToken> {
    let app: String = row.get(1)?;
    let scopes: String = row.get(3)?;
    Ok(ApiToken {
        id: TokenId(row.get(0)?),
        app: App::new(&app).map_err(|_| FromSqlError::InvalidType)?,
        name: row.get(2)?,
        scopes: serde_json::from_str(&scopes)
            .map_err(|e| rusqlite::Error::FromSqlConversionFailure(3, Type::Text, e.into()))?,
        created_at: Timestamp::from_millis(row.get(4)?),
        expires_at: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_millis),
    })
}
