//! What all caches of one process share.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock, atomic::Ordering::Release},
    time::Duration,
};

use async_trait::async_trait;
use mainstay_core::{
    App, CacheKey, Clock, Error, Name, Result, Timestamp,
    cache::{CacheDriver, CacheEntry},
    changes::{Change, ChangeDriver, Invalidation, LoggedChange, Seq},
};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    flight::Flights,
    local::{Local, Writing},
    policy::CachePolicy,
    presets,
    second::SecondLevel,
    space::Space,
};
use crate::{
    call::call,
    open::Drivers,
    tail::{Follower, Tail},
};

/// The most loaders that run at once, so that an empty cache does not flatten what it protects.
const LOADS_MAX: usize = 32;
/// The most namespaces of all apps that one process knows.
const SPACES_MAX: usize = 100_000;

pub(crate) struct CacheCore {
    pub(crate) driver: Arc<dyn CacheDriver>,
    pub(crate) clock: Clock,
    pub(crate) local: Local,
    pub(crate) flights: Flights,
    pub(crate) permits: Semaphore,
    pub(crate) log: Arc<dyn ChangeDriver>,
    spaces: RwLock<Spaces>,
    policies: RwLock<HashMap<Name, Arc<CachePolicy>>>,
    second: SecondLevel,
    /// Refreshes that run or that failed a moment ago; the latter until when they pause.
    refreshes: Mutex<HashMap<(u32, CacheKey), Timestamp>>,
    tasks: Mutex<Option<JoinSet<()>>>,
}

impl fmt::Debug for CacheCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheCore").field("local", &self.local).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Spaces {
    of: HashMap<App, HashMap<Name, Arc<Space>>>,
    count: u32,
    /// The newest position of any invalidation of a namespace or prefix.
    newest: Seq,
}

impl CacheCore {
    pub(crate) fn new(drivers: &Drivers, clock: Clock, memory_bytes: u64) -> Self {
        Self {
            driver: Arc::clone(&drivers.cache),
            clock,
            local: Local::new(memory_bytes),
            flights: Flights::default(),
            permits: Semaphore::new(LOADS_MAX),
            log: Arc::clone(&drivers.changes),
            spaces: RwLock::default(),
            policies: RwLock::default(),
            second: SecondLevel::new(Arc::clone(&drivers.cache), Arc::clone(&drivers.changes)),
            refreshes: Mutex::default(),
            tasks: Mutex::new(Some(JoinSet::new())),
        }
    }

    /// The namespace; every caller gets the same one.
    pub(crate) fn space(&self, app: &App, ns: &Name) -> Result<Arc<Space>> {
        if let Some(space) = self.known_space(app, ns) {
            return Ok(space);
        }
        let mut spaces = self.spaces.write().unwrap_or_else(PoisonError::into_inner);
        if spaces.count as usize >= SPACES_MAX {
            return Err(Error::invalid(
                "ns",
                format!("there are {SPACES_MAX} namespaces, and no more are taken"),
            ));
        }
        let (id, newest) = (spaces.count, spaces.newest);
        let of_app = spaces.of.entry(app.clone()).or_default();
        if let Some(space) = of_app.get(ns) {
            return Ok(Arc::clone(space));
        }
        // Invalidations of namespaces that are not known are not remembered one by one.
        let space = Arc::new(Space::new(id, app.clone(), ns.clone(), newest));
        of_app.insert(ns.clone(), Arc::clone(&space));
        spaces.count += 1;
        Ok(space)
    }

    fn known_space(&self, app: &App, ns: &Name) -> Option<Arc<Space>> {
        self.spaces.read().unwrap_or_else(PoisonError::into_inner).of.get(app)?.get(ns).cloned()
    }

    /// The namespaces of `app` that this process has used.
    pub(crate) fn spaces_of(&self, app: &App) -> Vec<Arc<Space>> {
        let spaces = self.spaces.read().unwrap_or_else(PoisonError::into_inner);
        spaces.of.get(app).map(|of| of.values().cloned().collect()).unwrap_or_default()
    }

    pub(crate) fn policy(&self, ns: &Name) -> Arc<CachePolicy> {
        let set = self.policies.read().unwrap_or_else(PoisonError::into_inner).get(ns).cloned();
        set.unwrap_or_else(|| Arc::new(presets::find(ns.as_str()).map(|p| p.policy()).unwrap_or_default()))
    }

    pub(crate) fn set_policy(&self, ns: Name, policy: CachePolicy) {
        self.policies.write().unwrap_or_else(PoisonError::into_inner).insert(ns, Arc::new(policy));
    }

    /// Reads the second level; a failure is a miss, and is counted.
    pub(crate) async fn read(&self, space: &Space, keys: &[CacheKey]) -> Vec<Option<CacheEntry>> {
        if !self.second.is_current().await {
            space.counters.store_errors.add(1);
            return vec![None; keys.len()];
        }
        match call("cache.get", self.driver.get(&space.app, &space.ns, keys)).await {
            Ok(entries) => entries,
            Err(_) => {
                space.counters.store_errors.add(1);
                vec![None; keys.len()]
            }
        }
    }

    /// Logs the invalidations and returns when they are in force here.
    pub(crate) async fn invalidate(&self, tail: &Tail, app: &App, what: Vec<Invalidation>) -> Result<()> {
        if what.is_empty() {
            return Ok(());
        }
        for invalidation in &what {
            if let Invalidation::Key(ns, _) | Invalidation::Prefix(ns, _) | Invalidation::Namespace(ns) =
                invalidation
                && let Some(space) = self.known_space(app, ns)
            {
                space.counters.invalidations.add(1);
            }
        }
        let changes: Vec<Change> = what.into_iter().map(|one| Change::Cache(app.clone(), one)).collect();
        tail.append(changes).await
    }

    /// Begins a write of the key: loads that run are overtaken, and it is not in the first level
    /// until the write ends.
    pub(crate) fn begin_write(&self, space: &Space, key: &CacheKey) -> KeyWrite<'_> {
        self.flights.overtake(space.id, key);
        let writing = self.local.begin(space.id, key);
        KeyWrite { flights: &self.flights, space: space.id, key: key.clone(), writing }
    }

    /// Makes what the changes concern unservable from the first level; keys stay out of it until
    /// the guards are dropped.
    fn mark(&self, changes: &[LoggedChange]) -> Vec<KeyWrite<'_>> {
        let mut keys = Vec::new();
        for logged in changes {
            let Change::Cache(app, what) = &logged.change else { continue };
            match what {
                Invalidation::Tag(tag) => self.local.invalidate_tag(app, tag, logged.seq),
                Invalidation::Key(ns, key) => {
                    if let Some(space) = self.known_space(app, ns) {
                        keys.push(self.begin_write(&space, key));
                    }
                }
                // The second level knows which keys a prefix means; here the namespace starts anew.
                Invalidation::Prefix(ns, _) | Invalidation::Namespace(ns) => {
                    self.mark_space(app, ns, logged.seq);
                }
            }
        }
        keys
    }

    fn mark_space(&self, app: &App, ns: &Name, seq: Seq) {
        let mut spaces = self.spaces.write().unwrap_or_else(PoisonError::into_inner);
        spaces.newest = spaces.newest.max(seq);
        if let Some(space) = spaces.of.get(app).and_then(|of| of.get(ns)) {
            space.version.fetch_max(seq, Release);
        }
    }

    /// Runs `work` beside the requests, until it ends or [`CacheCore::close`].
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tasks) = tasks.as_mut() {
            while tasks.try_join_next().is_some() {}
            tasks.spawn(work);
        }
    }

    /// The turn to refresh the key; `None` when somebody has it or had it a moment ago in vain.
    pub(crate) fn begin_refresh(
        self: &Arc<Self>,
        space: u32,
        key: &CacheKey,
        now: Timestamp,
    ) -> Option<RefreshTurn> {
        let mut refreshes = self.refreshes.lock().unwrap_or_else(PoisonError::into_inner);
        let id = (space, key.clone());
        if refreshes.get(&id).is_some_and(|not_before| *not_before > now) {
            return None;
        }
        if refreshes.len() >= FAILURES_KEPT {
            refreshes.retain(|_, not_before| *not_before > now);
        }
        refreshes.insert(id.clone(), FOREVER);
        Some(RefreshTurn { core: Arc::clone(self), id, has_succeeded: false })
    }

    /// Stops what runs beside the requests and tells the second level its position.
    pub(crate) async fn close(&self) {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut tasks) = tasks {
            tasks.shutdown().await;
        }
        self.second.tell_position().await;
    }
}

/// A write of a key that is under way.
pub(crate) struct KeyWrite<'a> {
    flights: &'a Flights,
    space: u32,
    key: CacheKey,
    writing: Writing<'a>,
}

impl KeyWrite<'_> {
    /// As [`Writing::wait_for_load`].
    pub(crate) async fn wait_for_load(&self) {
        self.writing.wait_for_load().await;
    }
}

impl Drop for KeyWrite<'_> {
    /// A flight that began during the write may have read what was there before it: who comes after
    /// the write must not join it.
    fn drop(&mut self) {
        self.flights.overtake(self.space, &self.key);
    }
}

const FOREVER: Timestamp = Timestamp::from_millis(i64::MAX);
/// Failed refreshes that are kept without asking whether their pause is over.
const FAILURES_KEPT: usize = 1024;
/// For how long a refresh that failed is not tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Nobody else refreshes the key while this lives, or for a second after it failed.
pub(crate) struct RefreshTurn {
    core: Arc<CacheCore>,
    id: (u32, CacheKey),
    has_succeeded: bool,
}

impl RefreshTurn {
    pub(crate) fn succeed(mut self) {
        self.has_succeeded = true;
    }
}

impl Drop for RefreshTurn {
    fn drop(&mut self) {
        let mut refreshes = self.core.refreshes.lock().unwrap_or_else(PoisonError::into_inner);
        if self.has_succeeded {
            refreshes.remove(&self.id);
        } else {
            refreshes.insert(self.id.clone(), self.core.clock.now().plus(RETRY_AFTER));
        }
    }
}

#[async_trait]
impl Follower for CacheCore {
    /// Never fails: a second level that cannot follow is left out until it can.
    async fn apply(&self, changes: &[LoggedChange]) -> Result<()> {
        let held = self.mark(changes);
        self.second.apply(changes).await;
        drop(held);
        Ok(())
    }

    async fn lost(&self, head: Seq) -> Result<()> {
        self.local.invalidate_tags(head);
        {
            let mut spaces = self.spaces.write().unwrap_or_else(PoisonError::into_inner);
            spaces.newest = spaces.newest.max(head);
            for space in spaces.of.values().flat_map(HashMap::values) {
                space.version.fetch_max(head, Release);
            }
        }
        self.local.clear();
        self.second.reset(head).await;
        Ok(())
    }
}
