//! Figures.

use std::collections::BTreeMap;

use mainstay_core::{Name, Result, cache::NamespaceUsage};

use super::{
    counter::Counter,
    space::{Counters, Space},
};
use crate::{Mainstay, call::call, open::AppHandle};

/// What happened in a namespace since this process started, and what it takes now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceStats {
    /// Its name.
    pub namespace: Name,
    /// Reads that were answered, also with "known to be absent", while that was fresh.
    pub hits: u64,
    /// Reads that were not answered, or that waited for a load.
    pub misses: u64,
    /// Reads that were answered with a stale value within its grace.
    pub stale: u64,
    /// Loaders that were run.
    pub loads: u64,
    /// Loaders that failed.
    pub load_errors: u64,
    /// Values that were stored.
    pub fills: u64,
    /// Removals of keys, prefixes or the namespace that were asked for here. Tags belong to no
    /// namespace and are not counted.
    pub invalidations: u64,
    /// Loaded values that were not kept, since the key was written or invalidated meanwhile.
    pub stale_drops: u64,
    /// Stored values that did not decode as what they were read as.
    pub undecodable: u64,
    /// Reads and fills that failed in the store and were left out.
    pub store_errors: u64,
    /// Entries that were removed to make room, since the store was opened.
    pub evictions: u64,
    /// Entries in the store, those included that have ended and are not removed yet.
    pub entries: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

impl NamespaceStats {
    /// The part of the reads that was answered, 0 to 1; 0 before the first.
    #[must_use]
    pub fn hit_ratio(&self) -> f64 {
        let answered = self.hits + self.stale;
        let all = answered + self.misses;
        if all == 0 { 0.0 } else { answered as f64 / all as f64 }
    }

    fn of(namespace: Name, space: Option<&Space>, usage: Option<&NamespaceUsage>) -> Self {
        let counters = space.map(|space| &space.counters);
        let of = |get: fn(&Counters) -> &Counter| counters.map_or(0, |c| get(c).get());
        Self {
            namespace,
            hits: counters.map_or(0, |c| c.hits.get()),
            misses: of(|c| &c.misses),
            stale: of(|c| &c.stale),
            loads: of(|c| &c.loads),
            load_errors: of(|c| &c.load_errors),
            fills: of(|c| &c.fills),
            invalidations: of(|c| &c.invalidations),
            stale_drops: of(|c| &c.stale_drops),
            undecodable: of(|c| &c.undecodable),
            store_errors: of(|c| &c.store_errors),
            evictions: usage.map_or(0, |u| u.evictions),
            entries: usage.map_or(0, |u| u.entries),
            bytes: usage.map_or(0, |u| u.bytes),
        }
    }
}

/// What the first level of the cache holds, of all apps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheMemory {
    /// Values.
    pub entries: u64,
    /// What they are reckoned to take: keys, encoded values and a fixed part for each.
    pub bytes: u64,
}

impl AppHandle {
    /// Figures of every namespace of the app's cache, by name. Costs one read of the store, which
    /// grows with namespaces, not with entries.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let prices = mainstay.cache("prices")?;
    /// # prices.put("apple", &120, PutOptions::default()).await?;
    /// let stats = mainstay.app("default")?.cache_stats().await?;
    /// assert_eq!(stats[0].entries, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `unavailable` when the store fails.
    pub async fn cache_stats(&self) -> Result<Vec<NamespaceStats>> {
        let core = &self.inner().cache;
        let usage = call("cache.usage", core.driver.usage(self.app())).await?;
        let spaces = core.spaces_of(self.app());
        let mut all = BTreeMap::new();
        for used in &usage {
            let space = spaces.iter().find(|space| space.ns == used.namespace);
            let stats = NamespaceStats::of(used.namespace.clone(), space.map(AsRef::as_ref), Some(used));
            all.insert(used.namespace.clone(), stats);
        }
        for space in &spaces {
            all.entry(space.ns.clone())
                .or_insert_with(|| NamespaceStats::of(space.ns.clone(), Some(space), None));
        }
        Ok(all.into_values().collect())
    }
}

impl Mainstay {
    /// What the first level of the cache holds, of all apps. Costs no call of a store.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let prices = mainstay.cache("prices")?;
    /// # prices.put("apple", &120, PutOptions::default()).await?;
    /// prices.get::<u32>("apple").await?;
    /// assert_eq!(mainstay.cache_memory().entries, 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn cache_memory(&self) -> CacheMemory {
        let local = &self.inner().cache.local;
        CacheMemory { entries: local.entries() as u64, bytes: local.bytes() }
    }
}
