//! What is kept in memory beside the file.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard,
        atomic::{
            AtomicBool, AtomicI64, AtomicU64,
            Ordering::{AcqRel, Relaxed, Release},
        },
    },
};

use mainstay_core::{App, CacheKey, Clock, Name, changes::Seq};

use super::{
    file::Loaded,
    marks::{Marks, Space},
};

/// The namespaces of all apps.
#[derive(Default)]
pub(crate) struct Spaces {
    by_name: HashMap<App, HashMap<Name, Arc<Space>>>,
    by_id: HashMap<i64, Arc<Space>>,
}

impl Spaces {
    pub(crate) fn insert(&mut self, app: &App, ns: &Name, space: Arc<Space>) {
        self.by_id.insert(space.id, Arc::clone(&space));
        self.by_name.entry(app.clone()).or_default().insert(ns.clone(), space);
    }

    pub(crate) fn by_id(&self, id: i64) -> Option<&Arc<Space>> {
        self.by_id.get(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Space> {
        self.by_id.values().map(Arc::as_ref)
    }
}

/// Keys that were invalidated together and still take room.
pub(crate) struct Orphans {
    pub(crate) space: i64,
    /// `None`: the whole namespace.
    pub(crate) prefix: Option<CacheKey>,
    pub(crate) seq: Seq,
    /// Keys before it have been looked at.
    pub(crate) from: String,
}

/// The most clearances whose orphans are remembered; those of others go when they end.
const ORPHANS_MAX: usize = 1024;

pub(crate) struct State {
    pub(crate) marks: Marks,
    pub(crate) clock: Clock,
    pub(crate) bytes_max: u64,
    /// What entries take, overhead included.
    size_bytes: AtomicI64,
    /// A write failed after it had been added to the size.
    pub(crate) unsettled: AtomicBool,
    evicting: AtomicBool,
    pub(crate) applied: AtomicU64,
    spaces: RwLock<Spaces>,
    orphans: Mutex<VecDeque<Orphans>>,
}

impl State {
    pub(crate) fn new(loaded: Loaded, clock: Clock, bytes_max: u64) -> Self {
        Self {
            marks: loaded.marks,
            clock,
            bytes_max,
            size_bytes: AtomicI64::new(i64::try_from(loaded.size_bytes).unwrap_or(i64::MAX)),
            unsettled: AtomicBool::new(false),
            evicting: AtomicBool::new(false),
            applied: AtomicU64::new(loaded.applied),
            spaces: RwLock::new(loaded.spaces),
            orphans: Mutex::default(),
        }
    }

    pub(crate) fn space(&self, app: &App, ns: &Name) -> Option<Arc<Space>> {
        self.spaces().by_name.get(app)?.get(ns).cloned()
    }

    pub(crate) fn spaces(&self) -> RwLockReadGuard<'_, Spaces> {
        self.spaces.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in a namespace that was stored, unless another caller was faster.
    pub(crate) fn insert(&self, app: &App, ns: &Name, id: i64) -> Arc<Space> {
        let mut spaces = self.spaces.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(space) = spaces.by_id(id) {
            return Arc::clone(space);
        }
        let space = Arc::new(Space::new(id, 0));
        spaces.insert(app, ns, Arc::clone(&space));
        space
    }

    pub(crate) fn grow(&self, by_bytes: i64) {
        self.size_bytes.fetch_add(by_bytes, Relaxed);
    }

    pub(crate) fn set_size_bytes(&self, bytes: i64) {
        self.size_bytes.store(bytes, Relaxed);
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        u64::try_from(self.size_bytes.load(Relaxed)).unwrap_or(0)
    }

    /// `Some` when there is more than there may be and no other eviction is under way.
    pub(crate) fn begin_eviction(self: &Arc<Self>) -> Option<Eviction> {
        let begun = self.size_bytes() > self.bytes_max && !self.evicting.swap(true, AcqRel);
        begun.then(|| Eviction(Arc::clone(self)))
    }

    pub(crate) fn push_orphans(&self, orphans: Orphans) {
        let mut all = self.orphans.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < ORPHANS_MAX {
            all.push_back(orphans);
        }
    }

    pub(crate) fn pop_orphans(&self) -> Option<Orphans> {
        self.orphans.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Forgets everything but the names of namespaces.
    pub(crate) fn reset(&self, base: Seq) {
        self.marks.reset(base, self.spaces().all());
        self.orphans.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.set_size_bytes(0);
    }
}

/// The only eviction, until it is dropped.
pub(crate) struct Eviction(pub(crate) Arc<State>);

impl Drop for Eviction {
    fn drop(&mut self) {
        self.0.evicting.store(false, Release);
    }
}
