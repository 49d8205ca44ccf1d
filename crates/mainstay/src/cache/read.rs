//! Reading: first level, second level, and from one into the other.

use std::sync::Arc;

use bytes::Bytes;
use mainstay_core::{CacheKey, Result, Timestamp, cache::CacheEntry, changes::Seq};
use serde::de::DeserializeOwned;

use super::{
    BATCH, Cache, Cached, JSON, Shared,
    entry::{Absent, Entry, Meta, Slot, Times},
    flight::Found,
    local::Ticket,
    policy::CacheMode,
};

/// Turns stored bytes into a value; `None` when they are not one.
pub(super) type Decode<T> = fn(&str, &Bytes) -> Option<T>;

pub(super) fn decode_json<T: DeserializeOwned>(content_type: &str, bytes: &Bytes) -> Option<T> {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case(JSON) { serde_json::from_slice(bytes).ok() } else { None }
}

impl Cache {
    /// The value that the first level has, counted. Allocates nothing.
    // It gives one pointer and nothing around it: a larger answer goes through memory, which costs
    // as much as the look-up.
    #[inline]
    pub(super) fn hit<T: Send + Sync + 'static>(&self, key: &str, now: Timestamp) -> Option<Arc<Entry<T>>> {
        let Shared { core, space, policy, .. } = &*self.shared;
        if policy.mode == CacheMode::StoreOnly {
            return None;
        }
        // A value of another type is decoded anew.
        let entry = core.local.get(space.id, key)?.entry.downcast::<Entry<T>>().ok()?;
        if !entry.meta.is_servable(space, now) {
            return None;
        }
        self.count_hit(&entry.meta, now);
        Some(entry)
    }

    /// What the first level has that is no value, or else the second, counted.
    pub(super) async fn miss<T: Send + Sync + 'static>(
        &self,
        key: &str,
        decode: Decode<T>,
    ) -> Result<Option<(Found<T>, Timestamp)>> {
        let now = self.now();
        if let Some(absent) = self.hit::<Absent>(key, now) {
            return Ok(Some((Found::Absent(absent), now)));
        }
        let found = self.read_store(&CacheKey::new(key)?, self.tail().applied(), decode).await;
        let Some(found) = found else {
            self.shared.space.counters.misses.add(1);
            return Ok(None);
        };
        // Of the same clock as the store's, so that no value is from the future.
        let now = self.shared.core.clock.now();
        self.count_hit(found.meta(), now);
        Ok(Some((found, now)))
    }

    /// The time to read the first level by: up to 10 ms old.
    #[inline]
    pub(super) fn now(&self) -> Timestamp {
        self.shared.core.clock.coarse()
    }

    pub(super) async fn look_many<T: Send + Sync + 'static>(
        &self,
        keys: &[&str],
        decode: Decode<T>,
    ) -> Result<Vec<Option<Cached<T>>>> {
        let Shared { core, space, .. } = &*self.shared;
        let now = self.now();
        let mut all: Vec<Option<Found<T>>> = keys.iter().map(|key| self.hit_any(key, now)).collect();
        let mut missing = Vec::new();
        for (i, key) in keys.iter().enumerate().filter(|(i, _)| all[*i].is_none()) {
            missing.push((i, CacheKey::new(key)?));
        }
        for batch in missing.chunks(BATCH) {
            let as_of = self.tail().applied();
            let (keys, tickets): (Vec<CacheKey>, Vec<Ticket>) =
                batch.iter().map(|(_, key)| (key.clone(), core.local.ticket(space.id, key.as_str()))).unzip();
            let entries = core.read(space, &keys).await;
            for (((i, key), ticket), entry) in batch.iter().zip(tickets).zip(entries) {
                all[*i] = entry.and_then(|entry| self.take_in(key, ticket, as_of, &entry, decode));
                match &all[*i] {
                    Some(found) => self.count_hit(found.meta(), now),
                    None => space.counters.misses.add(1),
                }
            }
        }
        let give = |found: Option<Found<T>>| match found {
            Some(Found::Value(entry)) => Some(Cached::new(entry, now)),
            _ => None,
        };
        Ok(all.into_iter().map(give).collect())
    }

    /// What the first level has, also that there is none, counted.
    pub(super) fn hit_any<T: Send + Sync + 'static>(&self, key: &str, now: Timestamp) -> Option<Found<T>> {
        match self.hit(key, now) {
            Some(entry) => Some(Found::Value(entry)),
            None => self.hit(key, now).map(Found::Absent),
        }
    }

    /// What the second level has, taken into the first. `as_of` was applied before.
    pub(super) async fn read_store<T: Send + Sync + 'static>(
        &self,
        key: &CacheKey,
        as_of: Seq,
        decode: Decode<T>,
    ) -> Option<Found<T>> {
        let Shared { core, space, .. } = &*self.shared;
        let ticket = core.local.ticket(space.id, key.as_str());
        let entry = core.read(space, std::slice::from_ref(key)).await.pop().flatten()?;
        self.take_in(key, ticket, as_of, &entry, decode)
    }

    fn take_in<T: Send + Sync + 'static>(
        &self,
        key: &CacheKey,
        ticket: Ticket,
        as_of: Seq,
        stored: &CacheEntry,
        decode: Decode<T>,
    ) -> Option<Found<T>> {
        let Shared { core, space, policy, .. } = &*self.shared;
        let times = Times {
            created_at: stored.created_at,
            fresh_until: stored.fresh_until,
            expires_at: stored.expires_at,
            load_ms: stored.load_ms,
        };
        let meta = Meta::new(times, as_of, core.local.versions(&space.app, &stored.tags));
        let (found, slot) = match &stored.value {
            None => absent(meta, key),
            Some(bytes) => {
                let Some(value) = decode(&stored.content_type, bytes) else {
                    space.counters.undecodable.add(1);
                    return None;
                };
                value_entry(meta, key, value, bytes.len())
            }
        };
        if policy.mode == CacheMode::TwoLevels {
            core.local.fill(ticket, space.id, key, slot);
        }
        Some(found)
    }

    #[inline]
    pub(super) fn count_hit(&self, meta: &Meta, now: Timestamp) {
        let counters = &self.shared.space.counters;
        if now < meta.times.fresh_until {
            counters.hits.add_one();
        } else {
            counters.stale.add(1);
        }
    }
}

pub(super) fn value_entry<T: Send + Sync + 'static>(
    meta: Meta,
    key: &CacheKey,
    value: T,
    value_bytes: usize,
) -> (Found<T>, Slot) {
    let entry = Arc::new(Entry { meta, value });
    let slot = Slot::new(Arc::clone(&entry), key.as_str().len(), value_bytes);
    (Found::Value(entry), slot)
}

pub(super) fn absent<T>(meta: Meta, key: &CacheKey) -> (Found<T>, Slot) {
    let entry = Arc::new(Entry { meta, value: Absent });
    let slot = Slot::new(Arc::clone(&entry), key.as_str().len(), 0);
    (Found::Absent(entry), slot)
}
