//! Removes sessions that have ended, a slice at a time.

use mainstay_core::{Result, Timestamp};
use rusqlite::{OptionalExtension, named_params, params};

use super::{COUNT_LIVE, MINUTE_MS};
use crate::tx::{OrFailed, Tx};

/// Minutes of activity are kept for two hours; only the last one is told.
const MINUTES_KEPT: i64 = 120;

/// The oldest minute of activity that is kept.
pub(crate) fn minutes_kept_from(now: Timestamp) -> i64 {
    now.as_millis() / MINUTE_MS - MINUTES_KEPT
}

/// Removes up to `limit` ended sessions and up to `limit` revoked ones.
pub(crate) fn sweep(tx: &mut Tx<'_>, now: Timestamp, limit: u32) -> Result<usize> {
    let ended = sweep_ended(tx, now, limit)?;
    let revoked = sweep_revoked(tx, limit)?;
    tx.prepare_cached("DELETE FROM session_minutes WHERE minute < ?1")
        .and_then(|mut delete| delete.execute([minutes_kept_from(now)]))
        .or_failed(tx.name())?;
    Ok(ended.max(revoked))
}

fn sweep_ended(tx: &mut Tx<'_>, now: Timestamp, limit: u32) -> Result<usize> {
    let removed: Vec<(String, String, bool)> = tx
        .prepare_cached(include_str!("../../sql/sessions_sweep_ended.sql"))
        .and_then(|mut delete| {
            delete
                .query_map(named_params! {":now": now.as_millis(), ":limit": limit}, |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })?
                .collect()
        })
        .or_failed(tx.name())?;
    // Those of an older epoch stopped counting when they were revoked.
    for (app, kind, _) in removed.iter().filter(|(_, _, counted)| *counted) {
        tx.add(COUNT_LIVE, app.as_str(), kind.as_str(), -1);
    }
    Ok(removed.len())
}

fn sweep_revoked(tx: &Tx<'_>, limit: u32) -> Result<usize> {
    let user: Option<(String, String, i64)> = tx
        .prepare_cached("SELECT app, user, epoch FROM session_users WHERE to_clean = 1 LIMIT 1")
        .and_then(|mut find| find.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional())
        .or_failed(tx.name())?;
    let Some((app, user, epoch)) = user else { return Ok(0) };
    let removed = tx
        .prepare_cached(include_str!("../../sql/sessions_sweep_revoked.sql"))
        .and_then(|mut delete| {
            delete.execute(named_params! {":app": app, ":user": user, ":epoch": epoch, ":limit": limit})
        })
        .or_failed(tx.name())?;
    if removed < limit as usize {
        tx.prepare_cached("UPDATE session_users SET to_clean = 0 WHERE app = ?1 AND user = ?2")
            .and_then(|mut done| done.execute(params![app, user]))
            .or_failed(tx.name())?;
        // Another user may be waiting: ask to be called again.
        return Ok(limit as usize);
    }
    Ok(removed)
}
