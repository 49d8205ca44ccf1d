//! Outcomes of calls that were made with an idempotency key, in the transaction of the call.

use mainstay_core::{App, Error, Result, Timestamp, once::Once, planted::planted};
use rusqlite::{OptionalExtension, params};
use serde::{Serialize, de::DeserializeOwned};

use crate::tx::{OrFailed, Tx};

/// The outcome that is remembered for `once`, with its salt.
pub(crate) fn replay<T: DeserializeOwned>(
    tx: &Tx<'_>,
    app: &App,
    once: &Once,
    now: Timestamp,
) -> Result<Option<(T, [u8; 16])>> {
    let found = tx
        .prepare_cached(
            "SELECT fingerprint, salt, outcome FROM once
             WHERE app = ?1 AND scope = ?2 AND key = ?3 AND expires_at > ?4",
        )
        .and_then(|mut find| {
            find.query_row(params![app.as_str(), once.scope, once.key, now.as_millis()], |row| {
                Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, [u8; 16]>(1)?, row.get::<_, String>(2)?))
            })
            .optional()
        })
        .or_failed(tx.name())?;
    let Some((fingerprint, salt, outcome)) = found else { return Ok(None) };
    if fingerprint != once.fingerprint {
        return Err(Error::IdempotencyMismatch);
    }
    let outcome = serde_json::from_str(&outcome)
        .map_err(|e| Error::Decode { what: "idempotent outcome", source: e.into() })?;
    Ok(Some((outcome, salt)))
}

/// Remembers the outcome of `once`.
pub(crate) fn remember<T: Serialize>(
    tx: &Tx<'_>,
    app: &App,
    once: &Once,
    outcome: &T,
    now: Timestamp,
) -> Result<()> {
    if planted("once_not_recorded") {
        return Ok(());
    }
    let outcome =
        serde_json::to_string(outcome).map_err(|e| Error::Decode { what: "outcome", source: e.into() })?;
    tx.prepare_cached(
        "INSERT OR REPLACE INTO once (app, scope, key, fingerprint, salt, outcome, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .and_then(|mut insert| {
        insert.execute(params![
            app.as_str(),
            once.scope,
            once.key,
            once.fingerprint,
            once.salt,
            outcome,
            now.plus(once.ttl.duration()).as_millis()
        ])
    })
    .or_failed(tx.name())?;
    Ok(())
}

/// Forgets up to `limit` outcomes whose time is over.
pub(crate) fn sweep(tx: &Tx<'_>, now: Timestamp, limit: u32) -> Result<usize> {
    tx.prepare_cached(
        "DELETE FROM once WHERE (app, scope, key) IN
         (SELECT app, scope, key FROM once WHERE expires_at <= ?1 LIMIT ?2)",
    )
    .and_then(|mut delete| delete.execute(params![now.as_millis(), limit]))
    .or_failed(tx.name())
}
