//! Cache: values that may disappear at any moment. This is the second level; the first is in
//! process and above the drivers.
//!
//! A value carries `as_of`, the position in the change log that its writer had applied *before* it
//! loaded the value. An invalidation carries the position at which it was logged. A value is
//! served only if nothing that concerns it was logged after its `as_of`: one comparison of
//! numbers, whether a tag has one member or a million, and an invalidation during a load always
//! wins over the load.

use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    App, CacheKey, Name, Result, Timestamp, Ttl,
    changes::{LoggedChange, Seq},
};

/// The most bytes a cached value may have.
pub const VALUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The most tags an entry may have.
pub const TAGS_MAX: usize = 64;

/// A value to be stored.
#[derive(Clone, Debug)]
pub struct CacheItem {
    /// Under which key.
    pub key: CacheKey,
    /// The value, or `None` for "known to be absent".
    pub value: Option<Bytes>,
    /// What kind of bytes they are, as a MIME type.
    pub content_type: String,
    /// What it can be invalidated by.
    pub tags: Vec<Name>,
    /// The position in the change log that had been applied before the value was loaded.
    pub as_of: Seq,
    /// Whether a deletion of the key that was logged after `as_of` refuses this item. True for
    /// what a loader read, false for what a caller states.
    pub guarded: bool,
    /// It is fresh for so long.
    pub fresh: Ttl,
    /// It may be served stale for so long after it was fresh.
    pub grace_ms: u64,
    /// How long the loader took, in milliseconds; 0 when nothing was loaded.
    pub load_ms: u64,
}

/// A value as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheEntry {
    /// The value, or `None` for "known to be absent".
    pub value: Option<Bytes>,
    /// What kind of bytes they are, as a MIME type.
    pub content_type: String,
    /// What it can be invalidated by.
    pub tags: Vec<Name>,
    /// The position that had been applied before it was loaded.
    pub as_of: Seq,
    /// When it was stored.
    pub created_at: Timestamp,
    /// It is fresh before this instant.
    pub fresh_until: Timestamp,
    /// It may be served before this instant, and never after.
    pub expires_at: Timestamp,
    /// How long the loader took, in milliseconds.
    pub load_ms: u64,
}

/// When a put takes place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PutWhen {
    /// Always.
    #[default]
    Always,
    /// Only if no servable value is there.
    Absent,
    /// Only if a servable value is there.
    Present,
}

/// What a namespace takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceUsage {
    /// Its name.
    pub namespace: Name,
    /// Entries stored, those included that have ended and are not swept yet.
    pub entries: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Entries that were removed to make room, since the store was opened.
    pub evictions: u64,
}

/// The second level of the cache.
///
/// An entry that has expired or that an applied invalidation concerns is in no answer.
#[async_trait]
pub trait CacheDriver: Debug + Send + Sync + 'static {
    /// Reads several keys, in the order asked for.
    async fn get(&self, app: &App, ns: &Name, keys: &[CacheKey]) -> Result<Vec<Option<CacheEntry>>>;
    /// Stores several items, each whole or not at all. Tells for each whether it was stored:
    /// `false` when `when` did not hold or a deletion refused it.
    async fn put(&self, app: &App, ns: &Name, items: &[CacheItem], when: PutWhen) -> Result<Vec<bool>>;
    /// Adds to a whole number, which is 0 where there is none. `ttl` and `as_of` are for a new
    /// number; one that is there keeps its end.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) when the stored value is not a whole number or the
    /// sum leaves the range of `i64`; nothing is changed.
    async fn add(
        &self,
        app: &App,
        ns: &Name,
        key: &CacheKey,
        delta: i64,
        ttl: Ttl,
        as_of: Seq,
    ) -> Result<i64>;
    /// Gives a servable value a new time to live from now. `false`: there is none.
    async fn touch(&self, app: &App, ns: &Name, key: &CacheKey, ttl: Ttl) -> Result<bool>;
    /// Applies invalidations of the change log, and remembers the position of the last change
    /// among `changes`. Applying one twice, or one that is older than `applied`, does no harm.
    async fn apply(&self, changes: &[LoggedChange]) -> Result<()>;
    /// The position up to which [`CacheDriver::apply`] has been told the change log.
    async fn applied(&self) -> Result<Seq>;
    /// Drops everything and takes `seq` as applied; for when the change log was lost.
    async fn reset(&self, seq: Seq) -> Result<()>;
    /// What each namespace of `app` takes. Its cost grows with namespaces, not with entries.
    async fn usage(&self, app: &App) -> Result<Vec<NamespaceUsage>>;
}
