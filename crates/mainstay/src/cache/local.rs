//! The first level: decoded values in this process, bounded by bytes.
//!
//! It may only hold what the second level would give. Three rules keep it so:
//!
//! - An entry knows up to which position of the change log it was found valid, and points to the
//!   versions of its namespace and tags: a hit compares numbers and looks nothing up.
//! - A fill takes a [`Ticket`] before it reads. It is refused when anything was written or removed
//!   under the same stripe since, or is being written now.
//! - While a key is written it is not here, so nobody reads the old value after somebody has read
//!   the new one.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Release, SeqCst},
        },
    },
};

use mainstay_core::{App, CacheKey, Name, changes::Seq};
use quick_cache::{DefaultHashBuilder, Equivalent, Weighter, sync::Cache};

use super::entry::Slot;

/// The position of the newest invalidation of a tag.
pub(crate) type Version = AtomicU64;

/// Keys that share a stripe disturb each other's fills, and nothing else.
const STRIPES: usize = 1024;
/// What an entry is guessed to take, to size the table.
const ENTRY_BYTES_GUESS: u64 = 2048;

#[derive(PartialEq, Eq)]
struct Key {
    space: u32,
    text: KeyText,
}

/// The most bytes of a key that is held in the table itself: comparing it waits for no other
/// memory.
const INLINE_BYTES: usize = 38;

#[derive(PartialEq, Eq)]
enum KeyText {
    Inline(u8, [u8; INLINE_BYTES]),
    Long(CacheKey),
}

impl Key {
    fn new(space: u32, key: &CacheKey) -> Self {
        let bytes = key.as_str().as_bytes();
        let mut inline = [0; INLINE_BYTES];
        let text = match (inline.get_mut(..bytes.len()), u8::try_from(bytes.len())) {
            (Some(start), Ok(length)) => {
                start.copy_from_slice(bytes);
                KeyText::Inline(length, inline)
            }
            _ => KeyText::Long(key.clone()),
        };
        Self { space, text }
    }

    fn bytes(&self) -> &[u8] {
        match &self.text {
            KeyText::Inline(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            KeyText::Long(key) => key.as_str().as_bytes(),
        }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash(self.space, self.bytes(), state);
    }
}

/// A key that is borrowed, so that a hit allocates nothing.
struct KeyRef<'a> {
    space: u32,
    key: &'a str,
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash(self.space, self.key.as_bytes(), state);
    }
}

fn hash<H: Hasher>(space: u32, key: &[u8], state: &mut H) {
    state.write_u32(space);
    state.write(key);
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.space == key.space && self.key.as_bytes() == key.bytes()
    }
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Key, Slot> for Bytes {
    fn weight(&self, _: &Key, slot: &Slot) -> u64 {
        slot.bytes.into()
    }
}

pub(crate) struct Local {
    values: Cache<Key, Slot, Bytes>,
    hasher: DefaultHashBuilder,
    stripes: Box<[Stripe]>,
    tags: Mutex<Tags>,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("entries", &self.values.len()).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Stripe {
    state: Mutex<StripeState>,
    /// Held while the outcome of a load is stored.
    storing: tokio::sync::Mutex<()>,
    /// Held while a value is pulled.
    pulling: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct StripeState {
    /// Moves with every write and removal.
    count: u64,
    /// Writes that have begun and not ended.
    writers: u32,
    /// Whether one of them stores the outcome of a load.
    is_storing: bool,
}

/// When a fill began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    stripe: usize,
    count: u64,
}

impl Local {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let entries = usize::try_from(bytes_max / ENTRY_BYTES_GUESS).unwrap_or(usize::MAX).clamp(64, 1 << 20);
        Self {
            values: Cache::with_weighter(entries, bytes_max, Bytes),
            hasher: DefaultHashBuilder::default(),
            stripes: (0..STRIPES).map(|_| Stripe::default()).collect(),
            tags: Mutex::default(),
        }
    }

    pub(crate) fn get(&self, space: u32, key: &str) -> Option<Slot> {
        self.values.get(&KeyRef { space, key })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.values.weight()
    }

    pub(crate) fn entries(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn clear(&self) {
        self.values.clear();
    }

    fn stripe(&self, space: u32, key: &str) -> usize {
        let hash = self.hasher.hash_one(KeyRef { space, key });
        usize::try_from(hash % STRIPES as u64).unwrap_or(0)
    }

    fn lock(&self, stripe: usize) -> MutexGuard<'_, StripeState> {
        self.stripes[stripe].state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be taken before the second level or the truth is read.
    pub(crate) fn ticket(&self, space: u32, key: &str) -> Ticket {
        let stripe = self.stripe(space, key);
        Ticket { stripe, count: self.lock(stripe).count }
    }

    /// Takes in what was read, unless a write came in between.
    pub(crate) fn fill(&self, ticket: Ticket, space: u32, key: &CacheKey, slot: Slot) {
        let state = self.lock(ticket.stripe);
        if state.count == ticket.count && state.writers == 0 {
            self.values.insert(Key::new(space, key), slot);
        }
    }

    /// Begins a write: until it ends, the key is not here and no fill of its stripe is taken in.
    pub(crate) fn begin(&self, space: u32, key: &CacheKey) -> Writing<'_> {
        let stripe = self.stripe(space, key.as_str());
        let mut state = self.lock(stripe);
        state.count += 1;
        state.writers += 1;
        self.values.remove(&KeyRef { space, key: key.as_str() });
        let must_wait = state.is_storing;
        Writing {
            local: self,
            stripe,
            space,
            key: key.clone(),
            count: state.count,
            must_wait,
            stores: None,
            ended: false,
        }
    }

    /// Begins to store the outcome of a load; `None` when the key was written since the load began,
    /// which is newer than what it read. Whoever writes sets `overtaken` before [`Local::begin`].
    pub(crate) async fn begin_store(
        &self,
        space: u32,
        key: &CacheKey,
        overtaken: &AtomicBool,
    ) -> Option<Writing<'_>> {
        let stripe = self.stripe(space, key.as_str());
        let held = self.stripes[stripe].storing.lock().await;
        let mut state = self.lock(stripe);
        if overtaken.load(SeqCst) {
            return None;
        }
        state.count += 1;
        state.writers += 1;
        state.is_storing = true;
        Some(Writing {
            local: self,
            stripe,
            space,
            key: key.clone(),
            count: state.count,
            must_wait: false,
            stores: Some(held),
            ended: false,
        })
    }

    /// Waits until nobody else pulls under the stripe.
    pub(crate) async fn turn(&self, space: u32, key: &str) -> tokio::sync::MutexGuard<'_, ()> {
        self.stripes[self.stripe(space, key)].pulling.lock().await
    }

    /// The versions that entries with these tags have to point to.
    pub(crate) fn versions(&self, app: &App, tags: &[Name]) -> Box<[Arc<Version>]> {
        if tags.is_empty() {
            return Box::default();
        }
        let mut known = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        tags.iter().map(|tag| known.version(app, tag)).collect()
    }

    /// Makes every entry with this tag that was found valid before `seq` unservable.
    pub(crate) fn invalidate_tag(&self, app: &App, tag: &Name, seq: Seq) {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner).invalidate(app, tag, seq);
    }

    /// Makes every entry with a tag that was found valid before `seq` unservable.
    pub(crate) fn invalidate_tags(&self, seq: Seq) {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner).invalidate_all(seq);
    }
}

/// A write that is under way. Dropping it ends it with the key not held here.
pub(crate) struct Writing<'a> {
    local: &'a Local,
    stripe: usize,
    space: u32,
    key: CacheKey,
    count: u64,
    must_wait: bool,
    stores: Option<tokio::sync::MutexGuard<'a, ()>>,
    ended: bool,
}

impl Writing<'_> {
    /// Waits for the outcome of a load that is being stored, so that what a caller states lands
    /// after what a load read.
    pub(crate) async fn wait_for_load(&self) {
        if self.must_wait {
            drop(self.local.stripes[self.stripe].storing.lock().await);
        }
    }

    /// Ends the write with `slot` held here, unless another write came in between.
    pub(crate) fn finish(mut self, slot: Slot) {
        self.end(Some(slot));
    }

    fn end(&mut self, slot: Option<Slot>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let mut state = self.local.lock(self.stripe);
        let is_alone = state.count == self.count && state.writers == 1;
        state.count += 1;
        state.writers -= 1;
        if self.stores.is_some() {
            state.is_storing = false;
        }
        match slot {
            Some(slot) if is_alone => {
                self.local.values.insert(Key::new(self.space, &self.key), slot);
            }
            _ => {
                self.local.values.remove(&KeyRef { space: self.space, key: self.key.as_str() });
            }
        }
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.end(None);
    }
}

/// The tags of the entries that are held.
#[derive(Default)]
struct Tags {
    /// The newest position of any invalidation that was noted.
    newest: Seq,
    of: HashMap<App, HashMap<Name, Arc<Version>>>,
    count: usize,
    prune_at: usize,
}

/// Tags that are kept without asking whether an entry still has them.
const TAGS_KEPT: usize = 1024;

impl Tags {
    fn version(&mut self, app: &App, tag: &Name) -> Arc<Version> {
        if let Some(version) = self.of.get(app).and_then(|tags| tags.get(tag)) {
            return Arc::clone(version);
        }
        self.prune();
        // Invalidations of tags without entries are not remembered one by one, so a new tag counts
        // as invalidated at the newest.
        let version = Arc::new(Version::new(self.newest));
        self.of.entry(app.clone()).or_default().insert(tag.clone(), Arc::clone(&version));
        self.count += 1;
        version
    }

    fn prune(&mut self) {
        if self.count < self.prune_at.max(TAGS_KEPT) {
            return;
        }
        for tags in self.of.values_mut() {
            tags.retain(|_, version| Arc::strong_count(version) > 1);
        }
        self.of.retain(|_, tags| !tags.is_empty());
        self.count = self.of.values().map(HashMap::len).sum();
        self.prune_at = self.count * 2;
    }

    fn invalidate(&mut self, app: &App, tag: &Name, seq: Seq) {
        self.newest = self.newest.max(seq);
        if let Some(version) = self.of.get(app).and_then(|tags| tags.get(tag)) {
            version.fetch_max(seq, Release);
        }
    }

    fn invalidate_all(&mut self, seq: Seq) {
        self.newest = self.newest.max(seq);
        for version in self.of.values().flat_map(HashMap::values) {
            version.fetch_max(seq, Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_borrowed_key_is_equivalent_to_the_held_one_of_any_length() {
        let hasher = DefaultHashBuilder::default();
        for length in [1, 37, 38, 39, 512] {
            let text = "k".repeat(length);
            let held = Key::new(7, &CacheKey::new(&text).unwrap());
            let borrowed = KeyRef { space: 7, key: &text };
            assert!(borrowed.equivalent(&held), "{length}");
            assert_eq!(hasher.hash_one(&held), hasher.hash_one(&borrowed), "{length}");
            assert!(!KeyRef { space: 8, key: &text }.equivalent(&held));
            assert!(!KeyRef { space: 7, key: &text[1..] }.equivalent(&held));
        }
    }

    #[test]
    fn tags_without_entries_are_forgotten() {
        let local = Local::new(1 << 20);
        let app = App::default();
        for i in 0..100_000 {
            let tag = Name::new("tags", &format!("t{i}")).unwrap();
            drop(local.versions(&app, &[tag]));
        }
        assert!(local.tags.lock().unwrap().count <= 2 * TAGS_KEPT);
    }

    fn slot() -> Slot {
        Slot { entry: Arc::new(1_u8), bytes: 1 }
    }

    #[tokio::test]
    async fn what_was_loaded_is_not_held_when_the_key_was_written_meanwhile() {
        let local = Local::new(1 << 20);
        let key = CacheKey::new("k").unwrap();
        let storing = local.begin_store(1, &key, &AtomicBool::new(false)).await.unwrap();
        let writing = local.begin(1, &key);
        storing.finish(slot());
        assert!(local.get(1, "k").is_none());
        drop(writing);
        assert!(local.get(1, "k").is_none());

        local.begin_store(1, &key, &AtomicBool::new(false)).await.unwrap().finish(slot());
        assert!(local.get(1, "k").is_some());
    }

    #[tokio::test]
    async fn a_write_waits_for_a_load_that_is_being_stored() {
        let local = Local::new(1 << 20);
        let key = CacheKey::new("k").unwrap();
        let storing = local.begin_store(1, &key, &AtomicBool::new(false)).await.unwrap();
        let writing = local.begin(1, &key);
        let mut wait = std::pin::pin!(writing.wait_for_load());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(wait.as_mut().poll(&mut context).is_pending());
        drop(storing);
        assert!(wait.as_mut().poll(&mut context).is_ready());
    }

    #[tokio::test]
    async fn a_load_that_was_overtaken_is_not_stored() {
        let local = Local::new(1 << 20);
        let key = CacheKey::new("k").unwrap();
        assert!(local.begin_store(1, &key, &AtomicBool::new(true)).await.is_none());
    }

    #[test]
    fn a_fill_is_refused_during_and_after_a_write() {
        let local = Local::new(1 << 20);
        let key = CacheKey::new("k").unwrap();
        let before = local.ticket(1, "k");
        let writing = local.begin(1, &key);
        let during = local.ticket(1, "k");
        local.fill(during, 1, &key, slot());
        assert!(local.get(1, "k").is_none(), "during");
        drop(writing);
        for ticket in [before, during] {
            local.fill(ticket, 1, &key, slot());
            assert!(local.get(1, "k").is_none(), "after");
        }
        local.fill(local.ticket(1, "k"), 1, &key, slot());
        assert!(local.get(1, "k").is_some());
    }
}
