//! Reading through the cache: what is not there is loaded, once.

use std::{fmt, sync::Arc, time::Duration};

use mainstay_core::{
    CacheKey, Error, Result, Timestamp,
    cache::{CacheItem, PutWhen},
    changes::Seq,
    time::monotonic_ms,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Cache, Cached, JSON, Shared,
    entry::{Absent, Meta, Slot, Times},
    flight::{Cell, Found, Landed, Seat},
    policy::{CacheMode, Lifetime, LoadOptions},
    read::{absent, decode_json, value_entry},
    write::{check_tags, encode},
};
use crate::call::call;

/// Why a value could not be given.
#[derive(Debug)]
pub enum LoadError<E> {
    /// The caller erred: a key, tag or time to live is out of bounds, or a loader asked for the
    /// very key that it loads. A store that fails is no error here: the loader is asked instead.
    Cache(Error),
    /// The loader failed, and nothing stale was there to serve. Everyone who waited for that load
    /// gets the same error.
    Load(Arc<E>),
}

impl<E: fmt::Display> fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cache(error) => error.fmt(f),
            Self::Load(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for LoadError<E> {}

impl<E> From<Error> for LoadError<E> {
    fn from(error: Error) -> Self {
        Self::Cache(error)
    }
}

tokio::task_local! {
    /// The loader that this task is within.
    static LOADING: Arc<Loading>;
}

struct Loading {
    space: u32,
    key: CacheKey,
    within: Option<Arc<Loading>>,
}

/// The checked form of [`LoadOptions`].
#[derive(Clone)]
struct Plan {
    options: LoadOptions,
    lifetime: Lifetime,
    negative: Lifetime,
}

/// What is asked for.
struct Wanted<'a> {
    key: &'a str,
    options: LoadOptions,
    /// Whether "there is none" is an answer.
    or_absent: bool,
}

/// Set apart from loads, so that who needs a value does not wait for a refresh.
#[derive(Default)]
struct Refreshing;

impl Cache {
    /// The value under `key`; where there is none, what `load` gives, which is then kept.
    ///
    /// However many ask at once, one `load` runs; the others wait for it. If its task is cancelled
    /// or panics, one of them loads in its place. At most 32 loads run at once in a process. A
    /// value within its grace is served stale while one load runs beside the requests; if that
    /// fails, the stale value goes on being served and the load is tried again a second later.
    ///
    /// Two loaders in different tasks must not wait for each other's keys.
    ///
    /// Costs nothing but memory on a first-level hit, one read of the store otherwise, and one
    /// write after a load. A store that fails is left out: the value comes from `load`.
    ///
    /// # Errors
    /// [`LoadError::Cache`] when a key, tag or time is out of bounds; [`LoadError::Load`] with what
    /// `load` said.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mainstay = mainstay::Mainstay::embedded(":memory:").await?;
    /// use mainstay::cache::LoadOptions;
    ///
    /// let users = mainstay.cache("users")?;
    /// let name = users
    ///     .get_or_load("42", LoadOptions::tagged(["user:42"])?, || async {
    ///         Ok::<String, std::io::Error>("Ada".to_owned()) // from your database
    ///     })
    ///     .await?;
    /// assert_eq!(*name, "Ada");
    ///
    /// users.invalidate_tag("user:42").await?;
    /// assert!(users.get::<String>("42").await?.is_none());
    /// # mainstay.close().await; Ok(()) }
    /// ```
    pub async fn get_or_load<T, E, F, Fut>(
        &self,
        key: &str,
        options: LoadOptions,
        load: F,
    ) -> Result<Cached<T>, LoadError<E>>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let load = || async { load().await.map(Some) };
        match self.read_through(Wanted { key, options, or_absent: false }, load).await? {
            Some(value) => Ok(value),
            None => Err(Error::invalid("key", "is known to be absent").into()),
        }
    }

    /// As [`Cache::get_or_load`], where there may be no value: that `load` gave `None` is
    /// remembered too, for the policy's `negative_ttl`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let prices = mainstay.cache("prices")?;
    /// async fn find(_id: u32) -> std::io::Result<Option<u32>> {
    ///     Ok(None)
    /// }
    ///
    /// let price = prices.get_or_load_optional("pear", LoadOptions::default(), || find(7)).await;
    /// assert!(price.expect("the loader works").is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Cache::get_or_load`].
    pub async fn get_or_load_optional<T, E, F, Fut>(
        &self,
        key: &str,
        options: LoadOptions,
        load: F,
    ) -> Result<Option<Cached<T>>, LoadError<E>>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Option<T>, E>> + Send + 'static,
    {
        self.read_through(Wanted { key, options, or_absent: true }, load).await
    }

    async fn read_through<T, E, F, Fut>(
        &self,
        wanted: Wanted<'_>,
        load: F,
    ) -> Result<Option<Cached<T>>, LoadError<E>>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Option<T>, E>> + Send + 'static,
    {
        let now = self.now();
        if let Some(entry) = self.hit::<T>(wanted.key, now) {
            if entry.meta.wants_refresh(now, self.shared.policy.early_refresh) {
                let key = CacheKey::new(wanted.key)?;
                self.refresh(&key, self.plan(wanted.options)?, now, load);
            }
            return Ok(Some(Cached::new(entry, now)));
        }
        if wanted.or_absent && self.hit::<Absent>(wanted.key, now).is_some() {
            return Ok(None);
        }
        let key = CacheKey::new(wanted.key)?;
        let plan = self.plan(wanted.options)?;
        self.fly(key, plan, wanted.or_absent, load).await
    }

    fn plan(&self, options: LoadOptions) -> Result<Plan> {
        let policy = &self.shared.policy;
        let Lifetime { fresh, grace_ms } = policy.lifetime(options.ttl, options.grace)?;
        let negative = policy.negative(options.negative_ttl, fresh)?;
        check_tags(&options.tags)?;
        let lifetime = Lifetime { fresh: policy.jittered(fresh), grace_ms };
        Ok(Plan { options, lifetime, negative })
    }

    /// Reads the second level and loads what it does not have, together with all who ask now.
    async fn fly<T, E, F, Fut>(
        &self,
        key: CacheKey,
        plan: Plan,
        or_absent: bool,
        load: F,
    ) -> Result<Option<Cached<T>>, LoadError<E>>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Option<T>, E>> + Send + 'static,
    {
        let Shared { core, space, policy, .. } = &*self.shared;
        if is_loading(space.id, &key) {
            return Err(Error::invalid("key", "is being loaded by the loader that asks for it").into());
        }
        let mut load = Some(load);
        let asked_as_of = self.tail().applied();
        loop {
            let mut seat: Seat<'_, Cell<T, E>> = core.flights.join(space.id, &key);
            let cell = Arc::clone(seat.cell());
            let mut led = false;
            let landed = cell
                .get_or_init(|| {
                    led = true;
                    self.pilot(&key, &plan, or_absent, &seat, &mut load)
                })
                .await;
            seat.landed();
            let found = match &landed.outcome {
                Ok(found) => found.clone(),
                Err(error) => return Err(LoadError::Load(Arc::clone(error))),
            };
            // A flight that began before an invalidation is no answer to who came after it.
            let is_new = led || landed.as_of >= asked_as_of || found.meta().is_current(space);
            if !is_new || !(found.is_value() || or_absent) {
                continue;
            }
            let now = core.clock.now();
            if landed.was_loaded {
                space.counters.misses.add(1);
            } else {
                self.count_hit(found.meta(), now);
            }
            if found.meta().wants_refresh(now, policy.early_refresh)
                && let Some(load) = load
            {
                self.refresh(&key, plan, now, load);
            }
            return Ok(give(found, now));
        }
    }

    /// Fills the cell of a flight.
    async fn pilot<T, E, F, Fut>(
        &self,
        key: &CacheKey,
        plan: &Plan,
        or_absent: bool,
        seat: &Seat<'_, Cell<T, E>>,
        load: &mut Option<F>,
    ) -> Landed<T, E>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Option<T>, E>>,
    {
        let as_of = self.tail().applied();
        let stored = self.read_store(key, as_of, decode_json).await.filter(|f| f.is_value() || or_absent);
        match (stored, load.take()) {
            (Some(found), unused) => {
                *load = unused;
                Landed { outcome: Ok(found), as_of, was_loaded: false }
            }
            (None, Some(load)) => self.load(key, plan, seat, load).await,
            (None, None) => unreachable!("invariant: who has loaded leads no other flight"),
        }
    }

    async fn load<T, E, C, F, Fut>(
        &self,
        key: &CacheKey,
        plan: &Plan,
        seat: &Seat<'_, C>,
        load: F,
    ) -> Landed<T, E>
    where
        T: Serialize + Send + Sync + 'static,
        C: Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Option<T>, E>>,
    {
        let Shared { core, space, .. } = &*self.shared;
        let within = LOADING.try_with(Clone::clone).ok();
        // A loader that loads another key has its permit: waiting for a second could be for ever.
        let permit = if within.is_none() { core.permits.acquire().await.ok() } else { None };
        let loading = Arc::new(Loading { space: space.id, key: key.clone(), within });
        let (as_of, begun_ms) = (self.tail().applied(), monotonic_ms());
        space.counters.loads.add(1);
        let loaded = LOADING.scope(loading, load()).await;
        drop(permit);
        let outcome = match loaded {
            Ok(value) => {
                let load_ms = monotonic_ms().saturating_sub(begun_ms);
                Ok(self.keep(key, plan, seat, as_of, load_ms, value).await)
            }
            Err(error) => {
                space.counters.load_errors.add(1);
                Err(Arc::new(error))
            }
        };
        Landed { outcome, as_of, was_loaded: true }
    }

    /// Stores what was loaded, unless the key was written or invalidated meanwhile. A failure is
    /// counted and takes nothing from those who wait for the value.
    async fn keep<T, C>(
        &self,
        key: &CacheKey,
        plan: &Plan,
        seat: &Seat<'_, C>,
        as_of: Seq,
        load_ms: u64,
        value: Option<T>,
    ) -> Found<T>
    where
        T: Serialize + Send + Sync + 'static,
        C: Send + Sync + 'static,
    {
        let Shared { core, space, policy, .. } = &*self.shared;
        let Lifetime { fresh, grace_ms } = if value.is_some() { plan.lifetime } else { plan.negative };
        let now = core.clock.now();
        let fresh_until = now.plus(fresh.duration());
        let expires_at = fresh_until.plus(Duration::from_millis(grace_ms));
        let times = Times { created_at: now, fresh_until, expires_at, load_ms };
        let meta = Meta::new(times, as_of, core.local.versions(&space.app, &plan.options.tags));
        let encoded =
            value.as_ref().map(encode).transpose().and_then(|bytes| {
                policy.check_size(bytes.as_ref().map_or(0, bytes::Bytes::len)).map(|()| bytes)
            });
        let size = encoded.as_ref().ok().and_then(Option::as_ref).map_or(0, bytes::Bytes::len);
        let (found, slot) = match value {
            Some(value) => value_entry(meta, key, value, size),
            None => absent(meta, key),
        };
        let bytes = match encoded {
            Ok(bytes) => bytes,
            Err(error) => {
                space.counters.store_errors.add(1);
                tracing::warn!(namespace = %space.ns, code = error.code(), %error, "a loaded value cannot be kept");
                return found;
            }
        };
        let item = CacheItem {
            key: key.clone(),
            value: bytes,
            content_type: JSON.to_owned(),
            tags: plan.options.tags.clone(),
            as_of,
            guarded: true,
            fresh,
            grace_ms,
            load_ms,
        };
        self.store_loaded(item, seat, Some(slot)).await;
        found
    }

    /// Stores an item in both levels, unless the key was written or invalidated since its flight
    /// began.
    pub(super) async fn store_loaded<C: Send + Sync + 'static>(
        &self,
        item: CacheItem,
        seat: &Seat<'_, C>,
        slot: Option<Slot>,
    ) {
        let Shared { core, space, policy, .. } = &*self.shared;
        let Some(writing) = core.local.begin_store(space.id, &item.key, seat.overtaken()).await else {
            space.counters.stale_drops.add(1);
            return;
        };
        let stored = core.driver.put(&space.app, &space.ns, std::slice::from_ref(&item), PutWhen::Always);
        match call("cache.put", stored).await.as_deref() {
            Ok([true]) => {
                space.counters.fills.add(1);
                if let (CacheMode::TwoLevels, Some(slot)) = (policy.mode, slot) {
                    writing.finish(slot);
                }
            }
            Ok(_) => space.counters.stale_drops.add(1),
            Err(_) => space.counters.store_errors.add(1),
        }
    }

    /// Loads the key anew beside the requests, unless that is under way or failed a moment ago.
    fn refresh<T, E, F, Fut>(&self, key: &CacheKey, plan: Plan, now: Timestamp, load: F)
    where
        T: Serialize + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Option<T>, E>> + Send + 'static,
    {
        let (cache, id) = (self.clone(), key.clone());
        self.refresh_with(key, now, async move {
            let Shared { core, space, .. } = &*cache.shared;
            let seat: Seat<'_, Refreshing> = core.flights.join(space.id, &id);
            let landed: Landed<T, E> = cache.load(&id, &plan, &seat, load).await;
            landed.outcome.is_ok()
        });
    }

    /// Runs `work`, which tells whether it succeeded, beside the requests, unless a refresh of the
    /// key is under way or failed a moment ago.
    pub(super) fn refresh_with(
        &self,
        key: &CacheKey,
        now: Timestamp,
        work: impl Future<Output = bool> + Send + 'static,
    ) {
        let Shared { core, space, .. } = &*self.shared;
        if let Some(turn) = core.begin_refresh(space.id, key, now) {
            core.spawn(async move {
                if work.await {
                    turn.succeed();
                }
            });
        }
    }
}

fn give<T>(found: Found<T>, now: Timestamp) -> Option<Cached<T>> {
    match found {
        Found::Value(entry) => Some(Cached::new(entry, now)),
        Found::Absent(_) => None,
    }
}

/// Whether this task is within a loader of the key.
fn is_loading(space: u32, key: &CacheKey) -> bool {
    let mut at = LOADING.try_with(Clone::clone).ok();
    while let Some(loading) = at {
        if loading.space == space && loading.key == *key {
            return true;
        }
        at = loading.within.clone();
    }
    false
}
