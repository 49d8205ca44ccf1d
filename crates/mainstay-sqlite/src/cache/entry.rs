//! Single entries: reading, storing, counting up.

use std::time::Duration;

use bytes::Bytes;
use mainstay_core::{
    App, CacheKey, Error, Name, Result, Timestamp, Ttl,
    cache::{CacheEntry, CacheItem, PutWhen},
    changes::Seq,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{ENTRY_OVERHEAD_BYTES, NAME, file::seq_at, marks::Space, state::State};
use crate::tx::{OrFailed, Tx};

const COUNT_ENTRIES: &str = "UPDATE spaces SET entries = entries + ?3 WHERE id = ?1";
const COUNT_BYTES: &str = "UPDATE spaces SET bytes = bytes + ?3 WHERE id = ?1";

/// Where an operation takes place.
pub(crate) struct Place<'a> {
    pub(crate) state: &'a State,
    pub(crate) app: &'a App,
    pub(crate) ns: &'a Name,
    pub(crate) space: &'a Space,
    pub(crate) now: Timestamp,
}

/// Counts what came or went, in the namespace and in the file.
pub(crate) fn count(tx: &mut Tx<'_>, state: &State, space: i64, entries: i64, bytes: i64) {
    if entries != 0 {
        tx.add(COUNT_ENTRIES, space, 0, entries);
    }
    if bytes != 0 {
        tx.add(COUNT_BYTES, space, 0, bytes);
    }
    state.grow(bytes + entries * i64::try_from(ENTRY_OVERHEAD_BYTES).unwrap_or(0));
}

/// What is known of an entry without its value.
struct Found {
    id: i64,
    as_of: Seq,
    expires: i64,
    is_value: bool,
    tags: String,
    value_bytes: i64,
    grace_ms: i64,
}

impl Place<'_> {
    /// The entry, unless it has ended or is concerned by an invalidation.
    pub(crate) fn get(&self, connection: &Connection, key: &CacheKey) -> Result<Option<CacheEntry>> {
        let found = connection
            .prepare_cached(include_str!("../../sql/cache_get.sql"))
            .and_then(|mut get| {
                get.query_row(params![self.space.id, key.as_str()], |row| self.entry(row, key)).optional()
            })
            .or_failed(NAME)?;
        Ok(found.flatten())
    }

    fn entry(&self, row: &Row<'_>, key: &CacheKey) -> rusqlite::Result<Option<CacheEntry>> {
        let as_of = seq_at(row, 0)?;
        let expires_at = Timestamp::from_millis(row.get(3)?);
        let tags = row.get_ref(6)?.as_str()?;
        if self.now >= expires_at || self.state.marks.concern(self.app, self.space, key.as_str(), tags, as_of)
        {
            return Ok(None);
        }
        let value = row.get_ref(7)?.as_blob_or_null()?.map(Bytes::copy_from_slice);
        Ok(Some(CacheEntry {
            value,
            content_type: row.get(5)?,
            tags: names(tags),
            as_of,
            created_at: Timestamp::from_millis(row.get(1)?),
            fresh_until: Timestamp::from_millis(row.get(2)?),
            expires_at,
            load_ms: seq_at(row, 4)?,
        }))
    }

    fn find(&self, tx: &Tx<'_>, key: &CacheKey) -> Result<Option<Found>> {
        tx.prepare_cached(include_str!("../../sql/cache_find.sql"))
            .and_then(|mut find| {
                find.query_row(params![self.space.id, key.as_str()], |row| {
                    Ok(Found {
                        id: row.get(0)?,
                        as_of: seq_at(row, 1)?,
                        expires: row.get(2)?,
                        is_value: row.get(3)?,
                        tags: row.get(4)?,
                        value_bytes: row.get(5)?,
                        grace_ms: row.get(6)?,
                    })
                })
                .optional()
            })
            .or_failed(NAME)
    }

    fn is_servable(&self, found: &Found, key: &CacheKey) -> bool {
        found.is_value
            && self.now.as_millis() < found.expires
            && !self.state.marks.concern(self.app, self.space, key.as_str(), &found.tags, found.as_of)
    }

    /// Stores the item; `false` when `when` did not hold or the item is guarded and out of date.
    pub(crate) fn put(&self, tx: &mut Tx<'_>, item: &CacheItem, when: PutWhen) -> Result<bool> {
        let tags = list(&item.tags);
        if item.guarded && self.is_outdated(item, &tags) {
            return Ok(false);
        }
        let value_bytes = item.value.as_ref().map_or(0, |value| length(value.len()));
        // Most puts are of new keys: those are done with one statement.
        if when != PutWhen::Present
            && self.write(tx, include_str!("../../sql/cache_insert.sql"), item, &tags)?
        {
            count(tx, self.state, self.space.id, 1, value_bytes + length(item.key.as_str().len()));
            return Ok(true);
        }
        let Some(found) = self.find(tx, &item.key)? else { return Ok(false) };
        let holds = match when {
            PutWhen::Always => true,
            PutWhen::Absent => !self.is_servable(&found, &item.key),
            PutWhen::Present => self.is_servable(&found, &item.key),
        };
        if holds {
            self.write(tx, include_str!("../../sql/cache_replace.sql"), item, &tags)?;
            count(tx, self.state, self.space.id, 0, value_bytes - found.value_bytes);
        }
        Ok(holds)
    }

    /// `false` when the statement left what is there.
    fn write(&self, tx: &Tx<'_>, sql: &str, item: &CacheItem, tags: &str) -> Result<bool> {
        let fresh = self.now.plus(item.fresh.duration());
        let expires = fresh.plus(Duration::from_millis(item.grace_ms)).as_millis();
        let written = tx.prepare_cached(sql).and_then(|mut put| {
            put.execute(params![
                self.space.id,
                item.key.as_str(),
                signed(item.as_of),
                self.now.as_millis(),
                fresh.as_millis(),
                expires,
                ends(self.now.as_millis(), expires),
                signed(item.load_ms),
                item.content_type,
                tags,
                item.value.as_deref(),
            ])
        });
        written.map(|rows| rows > 0).or_failed(NAME)
    }

    fn is_outdated(&self, item: &CacheItem, tags: &str) -> bool {
        self.state.marks.deleted(self.app, self.ns, &item.key, item.as_of)
            || self.state.marks.concern(self.app, self.space, item.key.as_str(), tags, item.as_of)
    }

    /// Adds to a whole number, as [`CacheDriver::add`](mainstay_core::cache::CacheDriver::add).
    pub(crate) fn add(
        &self,
        tx: &mut Tx<'_>,
        key: &CacheKey,
        delta: i64,
        ttl: Ttl,
        as_of: Seq,
    ) -> Result<i64> {
        let found = self.find(tx, key)?.filter(|found| self.is_servable(found, key));
        let Some(found) = found else {
            let item = CacheItem {
                key: key.clone(),
                value: Some(delta.to_string().into()),
                content_type: "application/json".into(),
                tags: Vec::new(),
                as_of,
                guarded: false,
                fresh: ttl,
                grace_ms: 0,
                load_ms: 0,
            };
            return self.put(tx, &item, PutWhen::Always).map(|_| delta);
        };
        let stored: Vec<u8> = tx
            .prepare_cached("SELECT value FROM entries WHERE id = ?1")
            .and_then(|mut get| get.query_row([found.id], |row| row.get(0)))
            .or_failed(NAME)?;
        let number: i64 = std::str::from_utf8(&stored)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Error::invalid("key", "holds a value that is not a whole number"))?;
        let sum = number
            .checked_add(delta)
            .ok_or_else(|| Error::invalid("delta", "the sum must stay within 64 bits"))?;
        let text = sum.to_string();
        tx.prepare_cached("UPDATE entries SET value = ?2 WHERE id = ?1")
            .and_then(|mut set| set.execute(params![found.id, text.as_bytes()]))
            .or_failed(NAME)?;
        count(tx, self.state, self.space.id, 0, length(text.len()) - found.value_bytes);
        Ok(sum)
    }

    /// Gives a servable value a new time to live; `false` when there is none.
    pub(crate) fn touch(&self, tx: &Tx<'_>, key: &CacheKey, ttl: Ttl) -> Result<bool> {
        let Some(found) = self.find(tx, key)?.filter(|found| self.is_servable(found, key)) else {
            return Ok(false);
        };
        let fresh = self.now.plus(ttl.duration());
        let expires = fresh.as_millis() + found.grace_ms;
        let ends = ends(self.now.as_millis(), expires);
        tx.prepare_cached("UPDATE entries SET fresh = ?2, expires = ?3, ends = ?4 WHERE id = ?1")
            .and_then(|mut touch| touch.execute(params![found.id, fresh.as_millis(), expires, ends]))
            .or_failed(NAME)?;
        Ok(true)
    }

    /// Removes an entry that was loaded before `seq`.
    pub(crate) fn delete(&self, tx: &mut Tx<'_>, key: &CacheKey, seq: Seq) -> Result<()> {
        let Some(found) = self.find(tx, key)?.filter(|found| found.as_of < seq) else { return Ok(()) };
        tx.prepare_cached("DELETE FROM entries WHERE id = ?1")
            .and_then(|mut delete| delete.execute([found.id]))
            .or_failed(NAME)?;
        count(tx, self.state, self.space.id, -1, -found.value_bytes - length(key.as_str().len()));
        Ok(())
    }
}

/// `expires` rounded up by less than an eighth of what is left: when it may be swept.
fn ends(now: i64, expires: i64) -> i64 {
    let left = u64::try_from(expires.saturating_sub(now)).unwrap_or(0);
    // The largest power of two that is at most an eighth.
    let step = if left < 16 { 1 } else { 1_i64 << ((left / 8).ilog2()) };
    expires.saturating_add(step - 1) / step * step
}

/// As SQLite holds it: positions and durations stay far below 2^63.
pub(crate) fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Tags as one text; a name cannot hold a comma.
fn list(tags: &[Name]) -> String {
    tags.iter().map(Name::as_str).collect::<Vec<_>>().join(",")
}

fn names(list: &str) -> Vec<Name> {
    // Names were checked when they were stored.
    list.split(',').filter(|tag| !tag.is_empty()).filter_map(|tag| Name::new("tags", tag).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_rounded_up_by_less_than_an_eighth() {
        let now = 1_800_000_000_123;
        for left in [1, 15, 16, 17, 1000, 10_000, 3_600_000, 315_360_000_000] {
            let end = ends(now, now + left);
            assert!((now + left..=now + left + left / 8).contains(&end), "{left}");
        }
        assert_eq!(ends(now, now - 5), now - 5);
    }

    #[test]
    fn jitter_leaves_few_ends() {
        let ends: std::collections::HashSet<i64> = (0..360_000).map(|i| ends(0, 3_420_000 + i)).collect();
        assert!(ends.len() <= 4, "{}", ends.len());
    }
}
