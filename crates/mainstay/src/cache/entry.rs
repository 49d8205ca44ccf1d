//! Values as they are held in memory.

use std::{
    any::Any,
    fmt,
    ops::Deref,
    sync::{Arc, atomic::Ordering::Acquire},
    time::Duration,
};

use mainstay_core::{Timestamp, changes::Seq};

use super::{local::Version, random, space::Space};

/// A value that was read from the cache, decoded once and shared by everyone who reads it.
///
/// Derefs to the value. Cloning is cheap.
pub struct Cached<T> {
    entry: Arc<Entry<T>>,
    read_at: Timestamp,
}

impl<T> Cached<T> {
    pub(crate) fn new(entry: Arc<Entry<T>>, read_at: Timestamp) -> Self {
        Self { entry, read_at }
    }

    /// How old the value was when it was read: time since it was stored, to 10 ms.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.read_at.since(self.entry.meta.times.created_at)
    }

    /// Whether its time to live was over when it was read, so that it was served within its grace.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.read_at >= self.entry.meta.times.fresh_until
    }

    /// For how long it would have stayed fresh after it was read; zero when it is stale.
    #[must_use]
    pub fn fresh_for(&self) -> Duration {
        self.entry.meta.times.fresh_until.since(self.read_at)
    }
}

impl<T> Clone for Cached<T> {
    fn clone(&self) -> Self {
        Self { entry: Arc::clone(&self.entry), read_at: self.read_at }
    }
}

impl<T> Deref for Cached<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.entry.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Cached<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: PartialEq> PartialEq<T> for Cached<T> {
    fn eq(&self, other: &T) -> bool {
        **self == *other
    }
}

/// The value of an entry that says "known to be absent".
#[derive(Debug)]
pub(crate) struct Absent;

/// A value with what decides whether it may be served.
#[repr(C)]
pub(crate) struct Entry<T> {
    pub(crate) meta: Meta,
    pub(crate) value: T,
}

/// When a value was stored and for how long it may be served.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Times {
    pub(crate) fresh_until: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) created_at: Timestamp,
    pub(crate) load_ms: u64,
}

/// What decides whether a value may be served. In the order of use: what a hit reads shares a
/// cache line with the reference count.
#[repr(C)]
pub(crate) struct Meta {
    /// Every invalidation up to this position is known not to concern the value.
    valid_as_of: Seq,
    tags: Option<Box<Tags>>,
    pub(crate) times: Times,
    /// From here on a reader may refresh it ahead of time.
    early_from: Timestamp,
}

/// The versions of an entry's tags: comparing needs no look-up. Behind one thin pointer, to keep
/// [`Meta`] short.
struct Tags(Box<[Arc<Version>]>);

/// Beyond so many load times before the end, an early refresh is less likely than one in 10^8.
const EARLY_LOAD_TIMES: u64 = 20;

impl Meta {
    pub(crate) fn new(times: Times, valid_as_of: Seq, tags: Box<[Arc<Version>]>) -> Self {
        let fresh_for = times.fresh_until.since(times.created_at);
        let early = Duration::from_millis(times.load_ms.saturating_mul(EARLY_LOAD_TIMES)).min(fresh_for);
        let early_from = times.created_at.plus(fresh_for.saturating_sub(early));
        let tags = (!tags.is_empty()).then(|| Box::new(Tags(tags)));
        Self { valid_as_of, tags, times, early_from }
    }

    /// Whether to load anew: when it is stale, and by chance shortly before, so that of many
    /// readers one is early (XFetch with beta 1).
    pub(crate) fn wants_refresh(&self, now: Timestamp, early: bool) -> bool {
        if now >= self.times.fresh_until {
            return true;
        }
        if !early || now < self.early_from {
            return false;
        }
        let left_ms = self.times.fresh_until.since(now).as_millis() as f64;
        // `1 - unit()` is never 0.
        self.times.load_ms as f64 * -(1.0 - random::unit()).ln() >= left_ms
    }

    #[inline]
    pub(crate) fn is_servable(&self, space: &Space, now: Timestamp) -> bool {
        // The end of being fresh lies nearer, in memory and in time.
        (now < self.times.fresh_until || now < self.times.expires_at) && self.is_current(space)
    }

    /// Whether no invalidation of the namespace or of a tag has come since it was found valid.
    pub(crate) fn is_current(&self, space: &Space) -> bool {
        self.valid_as_of >= space.version.load(Acquire)
            && self
                .tags
                .as_ref()
                .is_none_or(|tags| tags.0.iter().all(|version| self.valid_as_of >= version.load(Acquire)))
    }
}

/// A value whose type is forgotten, as the first level holds it.
#[derive(Clone)]
pub(crate) struct Slot {
    pub(crate) entry: Arc<dyn Any + Send + Sync>,
    pub(crate) bytes: u32,
}

/// What an entry takes in memory beside its key and value.
const SLOT_OVERHEAD_BYTES: usize = 192;

impl Slot {
    /// `value_bytes` is the encoded size; what the decoded value takes is not known.
    pub(crate) fn new<T: Send + Sync + 'static>(
        entry: Arc<Entry<T>>,
        key_bytes: usize,
        value_bytes: usize,
    ) -> Self {
        let tags = entry.meta.tags.as_ref().map_or(0, |tags| tags.0.len()) * size_of::<Arc<Version>>();
        let bytes = key_bytes + value_bytes + tags + SLOT_OVERHEAD_BYTES;
        Self { entry, bytes: u32::try_from(bytes).unwrap_or(u32::MAX) }
    }
}
