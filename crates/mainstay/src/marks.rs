//! Which copies in memory are out of date.
//!
//! Time is counted in invalidations. A copy remembers the count before its truth was read; an
//! invalidation raises the count and marks what it concerns with it. A copy is current if nothing
//! that it depends on was marked after it was read, so a copy that was read before an invalidation
//! and stored after it is never served.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

/// A fixed number of marks, shared by all keys: two keys on one mark cost a read of the truth now
/// and then, never a stale answer.
#[derive(Debug)]
pub(crate) struct Marks {
    count: AtomicU64,
    marks: Box<[AtomicU64]>,
    /// Everything read before this count is out of date.
    floor: AtomicU64,
    hasher: RandomState,
}

/// The count when a truth was about to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AsOf(u64);

impl Marks {
    /// With `slots` marks, a power of two: the more, the fewer keys share one.
    pub(crate) fn new(slots: usize) -> Self {
        debug_assert!(slots.is_power_of_two());
        Self {
            count: AtomicU64::new(1),
            marks: (0..slots).map(|_| AtomicU64::new(0)).collect(),
            floor: AtomicU64::new(0),
            hasher: RandomState::new(),
        }
    }

    /// To be asked before the truth is read.
    pub(crate) fn as_of(&self) -> AsOf {
        AsOf(self.count.load(SeqCst))
    }

    /// Puts every copy that depends on `key` and was read before now out of date.
    pub(crate) fn mark<K: Hash>(&self, key: &K) {
        let now = self.count.fetch_add(1, SeqCst) + 1;
        self.slot(key).fetch_max(now, SeqCst);
    }

    /// Puts every copy out of date.
    pub(crate) fn mark_all(&self) {
        let now = self.count.fetch_add(1, SeqCst) + 1;
        self.floor.fetch_max(now, SeqCst);
    }

    /// Whether a copy that depends on `key` is current.
    pub(crate) fn is_current<K: Hash>(&self, key: &K, read: AsOf) -> bool {
        self.slot(key).load(SeqCst) <= read.0 && self.floor.load(SeqCst) <= read.0
    }

    fn slot<K: Hash>(&self, key: &K) -> &AtomicU64 {
        let last = self.marks.len() as u64 - 1;
        let slot = usize::try_from(self.hasher.hash_one(key) & last).unwrap_or(0);
        &self.marks[slot]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_read_before_a_mark_and_asked_after_it_is_out_of_date() {
        let marks = Marks::new(16);
        let before = marks.as_of();
        assert!(marks.is_current(&"alice", before));

        marks.mark(&"alice");

        assert!(!marks.is_current(&"alice", before));
        assert!(marks.is_current(&"alice", marks.as_of()));
    }

    #[test]
    fn marking_all_leaves_no_older_copy() {
        let marks = Marks::new(16);
        let before = marks.as_of();
        marks.mark_all();
        assert!(!marks.is_current(&"bob", before));
        assert!(marks.is_current(&"bob", marks.as_of()));
    }
}
