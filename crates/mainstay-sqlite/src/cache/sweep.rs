//! Removing entries that have ended, that were cleared, or that no longer fit.

use std::sync::atomic::Ordering::Relaxed;

use mainstay_core::{Result, Timestamp};
use rusqlite::{Row, Statement, named_params, params};

use super::{
    ENTRY_OVERHEAD_BYTES, NAME,
    entry::{count, signed},
    file::seq_at,
    state::{Orphans, State},
};
use crate::tx::{OrFailed, Tx};

/// Rows that are removed by one statement.
const SLICE: u32 = 256;
/// The most rows that one eviction removes, so that writes do not wait for long.
const EVICT_MAX: u32 = 2048;

/// Removes what has ended and, if that is not enough, the oldest, until there is some room again.
pub(crate) fn evict(tx: &mut Tx<'_>, state: &State, now: Timestamp) -> Result<()> {
    let target = state.bytes_max - state.bytes_max / 32;
    let (mut removed, mut ended) = (0, true);
    // Writers that outrun the eviction wait for it.
    while state.size_bytes() > target
        && (removed < EVICT_MAX || state.size_bytes() > state.bytes_max / 16 * 17)
    {
        if ended {
            let slice = remove_ended(tx, state, now, SLICE)?;
            ended = slice == SLICE;
            removed += slice;
            continue;
        }
        let gone = delete(tx, include_str!("../../sql/cache_evict.sql"), |delete| {
            collect(delete, named_params! {":limit": SLICE})
        })?;
        if gone.is_empty() {
            // Nothing is left: the size had drifted.
            state.set_size_bytes(0);
        }
        removed += SLICE;
        for (space, bytes) in gone {
            count(tx, state, space, -1, -bytes);
            if let Some(space) = state.spaces().by_id(space) {
                space.evictions.fetch_add(1, Relaxed);
            }
        }
    }
    Ok(())
}

/// Removes up to `limit` entries that have ended and looks at up to `limit` that may have been
/// cleared. Returns how many were removed, or `limit` while there is more to look at.
pub(crate) fn sweep(tx: &mut Tx<'_>, state: &State, now: Timestamp, limit: u32) -> Result<u32> {
    let ended = remove_ended(tx, state, now, limit)?;
    let more = match state.pop_orphans() {
        Some(orphans) => remove_orphans(tx, state, orphans, limit)?,
        None => false,
    };
    if state.unsettled.swap(false, Relaxed) {
        settle_size(tx, state)?;
    }
    Ok(if more { limit } else { ended })
}

fn remove_ended(tx: &mut Tx<'_>, state: &State, now: Timestamp, limit: u32) -> Result<u32> {
    let gone = delete(tx, include_str!("../../sql/cache_sweep_ended.sql"), |delete| {
        collect(delete, named_params! {":now": now.as_millis(), ":limit": limit})
    })?;
    let removed = u32::try_from(gone.len()).unwrap_or(limit);
    for (space, bytes) in gone {
        count(tx, state, space, -1, -bytes);
    }
    Ok(removed)
}

/// `true` when there is more to look at.
fn remove_orphans(tx: &mut Tx<'_>, state: &State, orphans: Orphans, limit: u32) -> Result<bool> {
    let rows: Vec<(i64, String, u64, i64)> = tx
        .prepare_cached(include_str!("../../sql/cache_sweep_walk.sql"))
        .and_then(|mut walk| {
            walk.query_map(
                named_params! {":space": orphans.space, ":from": orphans.from, ":limit": limit},
                |row| Ok((row.get(0)?, row.get(1)?, seq_at(row, 2)?, row.get(3)?)),
            )?
            .collect()
        })
        .or_failed(NAME)?;
    let is_last = rows.len() < limit as usize;
    let mut from = orphans.from;
    for (id, key, as_of, value_bytes) in rows {
        if orphans.prefix.as_ref().is_some_and(|prefix| !key.starts_with(prefix.as_str())) {
            // Keys are in order: this one is beyond the prefix.
            return Ok(true);
        }
        if as_of < orphans.seq {
            tx.prepare_cached("DELETE FROM entries WHERE id = ?1")
                .and_then(|mut delete| delete.execute([id]))
                .or_failed(NAME)?;
            count(tx, state, orphans.space, -1, -value_bytes - i64::try_from(key.len()).unwrap_or(0));
        }
        // The least text that is greater.
        from = key;
        from.push('\0');
    }
    if !is_last {
        state.push_orphans(Orphans { from, ..orphans });
    }
    Ok(true)
}

/// Takes the size from the file. It lacks what came in the batch of now.
fn settle_size(tx: &Tx<'_>, state: &State) -> Result<()> {
    let size = tx
        .prepare_cached("SELECT coalesce(sum(bytes + entries * ?1), 0) FROM spaces")
        .and_then(|mut sum| sum.query_row(params![signed(ENTRY_OVERHEAD_BYTES)], |row| row.get(0)))
        .or_failed(NAME)?;
    state.set_size_bytes(size);
    Ok(())
}

type Gone = Vec<(i64, i64)>;

fn delete(
    tx: &Tx<'_>,
    sql: &str,
    run: impl FnOnce(&mut Statement<'_>) -> rusqlite::Result<Gone>,
) -> Result<Gone> {
    tx.prepare_cached(sql).and_then(|mut statement| run(&mut statement)).or_failed(NAME)
}

fn collect(statement: &mut Statement<'_>, params: &[(&str, &dyn rusqlite::ToSql)]) -> rusqlite::Result<Gone> {
    let pair = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    statement.query_map(params, pair)?.collect()
}
