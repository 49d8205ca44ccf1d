//! What invalidations left behind: for each thing the position of its newest one.
//!
//! Marks are kept in memory beside the file, so that comparing an entry with them costs no
//! statement. Every set of them is bounded: when it is full its older half becomes one floor, and
//! everything below the floor counts as invalidated. That is colder, never wrong.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    sync::{
        Mutex, PoisonError, RwLock,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use mainstay_core::{App, CacheKey, Name, changes::Seq};

/// Tags whose newest invalidation is remembered one by one.
const TAGS_MAX: usize = 262_144;
/// Deleted keys that are remembered one by one, to refuse loads that began before the deletion.
const DELETIONS_MAX: usize = 65_536;
/// Prefixes of one namespace that are remembered one by one.
pub(crate) const PREFIXES_MAX: usize = 64;

/// The newest position of each of a bounded number of things, told apart by a hash: two things of
/// one hash are invalidated together.
#[derive(Debug)]
struct Newest {
    max: usize,
    floor: Seq,
    of: HashMap<u64, Seq>,
}

impl Newest {
    fn new(max: usize) -> Self {
        Self { max, floor: 0, of: HashMap::new() }
    }

    /// Notes `seq`; gives the new floor when there was no room.
    fn note(&mut self, hash: u64, seq: Seq) -> Option<Seq> {
        let mark = self.of.entry(hash).or_default();
        *mark = seq.max(*mark);
        if self.of.len() <= self.max {
            return None;
        }
        let mut seqs: Vec<Seq> = self.of.values().copied().collect();
        let middle = seqs.len() / 2;
        let floor = *seqs.select_nth_unstable(middle).1;
        self.floor = floor.max(self.floor);
        self.of.retain(|_, seq| *seq > floor);
        Some(self.floor)
    }

    fn get(&self, hash: u64) -> Seq {
        self.of.get(&hash).copied().unwrap_or(0).max(self.floor)
    }

    fn clear(&mut self) {
        self.floor = 0;
        self.of.clear();
    }
}

/// A namespace of an app.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) id: i64,
    /// Entries removed to make room, since the file was opened.
    pub(crate) evictions: AtomicU64,
    cleared: AtomicU64,
    prefixes: RwLock<Vec<(CacheKey, Seq)>>,
}

impl Space {
    pub(crate) fn new(id: i64, cleared: Seq) -> Self {
        Self {
            id,
            evictions: AtomicU64::new(0),
            cleared: AtomicU64::new(cleared),
            prefixes: RwLock::default(),
        }
    }

    pub(crate) fn note_cleared(&self, seq: Seq) {
        self.cleared.fetch_max(seq, Release);
        self.prefixes.write().unwrap_or_else(PoisonError::into_inner).retain(|(_, mark)| *mark > seq);
    }

    /// Notes the invalidation of a prefix; gives a position when there was no room and the whole
    /// namespace counts as cleared at it.
    pub(crate) fn note_prefix(&self, prefix: &CacheKey, seq: Seq) -> Option<Seq> {
        let mut prefixes = self.prefixes.write().unwrap_or_else(PoisonError::into_inner);
        prefixes.retain(|(known, mark)| *mark > seq || !known.as_str().starts_with(prefix.as_str()));
        prefixes.push((prefix.clone(), seq));
        if prefixes.len() <= PREFIXES_MAX {
            return None;
        }
        let newest = prefixes.drain(..).map(|(_, mark)| mark).max().unwrap_or(seq);
        self.cleared.fetch_max(newest, Release);
        Some(newest)
    }

    /// The newest position at which the namespace or a prefix of `key` was invalidated.
    pub(crate) fn newest(&self, key: &str) -> Seq {
        let prefixes = self.prefixes.read().unwrap_or_else(PoisonError::into_inner);
        prefixes
            .iter()
            .filter(|(prefix, _)| key.starts_with(prefix.as_str()))
            .map(|(_, mark)| *mark)
            .fold(self.cleared.load(Acquire), Seq::max)
    }

    fn reset(&self) {
        self.cleared.store(0, Release);
        self.prefixes.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Every mark of the file.
#[derive(Debug)]
pub(crate) struct Marks {
    hasher: RandomState,
    /// Everything older was dropped when the change log was lost.
    base: AtomicU64,
    tags: RwLock<Newest>,
    deletions: Mutex<Newest>,
}

impl Marks {
    pub(crate) fn new(base: Seq, tag_floor: Seq) -> Self {
        let mut tags = Newest::new(TAGS_MAX);
        tags.floor = tag_floor;
        Self {
            hasher: RandomState::new(),
            base: AtomicU64::new(base),
            tags: RwLock::new(tags),
            deletions: Mutex::new(Newest::new(DELETIONS_MAX)),
        }
    }

    fn hash(&self, thing: impl Hash) -> u64 {
        self.hasher.hash_one(thing)
    }

    /// Notes the invalidation of a tag; gives the new floor when there was no room.
    pub(crate) fn note_tag(&self, app: &str, tag: &str, seq: Seq) -> Option<Seq> {
        let hash = self.hash((app, tag));
        self.tags.write().unwrap_or_else(PoisonError::into_inner).note(hash, seq)
    }

    pub(crate) fn note_deletion(&self, app: &App, ns: &Name, key: &CacheKey, seq: Seq) {
        let hash = self.hash((app.as_str(), ns.as_str(), key.as_str()));
        // Nothing on disk follows this floor: loads that it concerns end with the process.
        let _ = self.deletions.lock().unwrap_or_else(PoisonError::into_inner).note(hash, seq);
    }

    /// Whether an invalidation of a tag, a prefix or the namespace came after `as_of`. `tags` is
    /// their list as stored.
    pub(crate) fn concern(&self, app: &App, space: &Space, key: &str, tags: &str, as_of: Seq) -> bool {
        if as_of < self.base.load(Relaxed) || as_of < space.newest(key) {
            return true;
        }
        if tags.is_empty() {
            return false;
        }
        let marks = self.tags.read().unwrap_or_else(PoisonError::into_inner);
        tags.split(',').any(|tag| as_of < marks.get(self.hash((app.as_str(), tag))))
    }

    /// Whether the key was deleted after `as_of`.
    pub(crate) fn deleted(&self, app: &App, ns: &Name, key: &CacheKey, as_of: Seq) -> bool {
        let hash = self.hash((app.as_str(), ns.as_str(), key.as_str()));
        as_of < self.deletions.lock().unwrap_or_else(PoisonError::into_inner).get(hash)
    }

    /// Forgets every mark and takes `base` as the position before which nothing is served.
    pub(crate) fn reset<'a>(&self, base: Seq, spaces: impl Iterator<Item = &'a Space>) {
        self.base.store(base, Relaxed);
        self.tags.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.deletions.lock().unwrap_or_else(PoisonError::into_inner).clear();
        spaces.for_each(Space::reset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_set_turns_its_older_half_into_a_floor() {
        let mut newest = Newest::new(4);
        for seq in 1..=4 {
            assert_eq!(newest.note(seq, seq), None);
        }
        assert_eq!(newest.note(5, 5), Some(3));
        assert_eq!(newest.get(5), 5);
        assert_eq!(newest.get(4), 4);
        assert_eq!(newest.get(1), 3, "older than it was, so colder");
        assert_eq!(newest.get(99), 3, "never heard of, so it may be one of the forgotten");
    }

    #[test]
    fn too_many_prefixes_clear_the_namespace() {
        let space = Space::new(1, 0);
        for i in 0..PREFIXES_MAX as u64 {
            let prefix = CacheKey::new(&format!("p{i}:")).unwrap();
            assert_eq!(space.note_prefix(&prefix, i + 1), None);
        }
        assert_eq!(space.newest("other"), 0);
        assert_eq!(space.note_prefix(&CacheKey::new("q").unwrap(), 100), Some(100));
        assert_eq!(space.newest("other"), 100);
    }

    #[test]
    fn a_shorter_prefix_takes_the_place_of_longer_ones() {
        let space = Space::new(1, 0);
        for i in 0..200 {
            assert_eq!(space.note_prefix(&CacheKey::new("user:").unwrap(), i + 1), None);
        }
        assert_eq!(space.newest("user:1"), 200);
        assert_eq!(space.newest("u"), 0);
    }
}
