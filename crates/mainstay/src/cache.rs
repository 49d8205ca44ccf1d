//! Cache: values that may disappear at any moment, and are never served after an invalidation.
//!
//! Two levels: decoded values in the memory of this process, and a store of its own. A value that
//! was read once costs no decoding and no copy the next time. What holds for every value:
//!
//! - It ends: at most ten years after it was put. After its time to live it may be served stale
//!   within its grace, and never later.
//! - Once an invalidation has returned, nothing that was loaded before it is served, in any
//!   process. What is being loaded while it happens is not kept.
//! - A cache that fails does not fail the request: reads answer "not there", loads go to the
//!   loader.
//! - It may disappear: for room, after a loss of power, or with the file.
//!
//! Values are JSON, encoded here and nowhere else. [`raw`] keeps bytes as they are.

mod core;
mod counter;
mod entry;
mod flight;
mod load;
mod local;
mod policy;
pub mod presets;
mod probe;
mod random;
pub mod raw;
mod read;
mod second;
mod space;
mod stats;
mod warm;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use mainstay_core::{
    CacheKey, Error, Name, Result, Ttl,
    cache::{CacheItem, TAGS_MAX},
    changes::Invalidation,
};
use serde::{Serialize, de::DeserializeOwned};

pub(crate) use self::core::CacheCore;
pub use self::{
    entry::Cached,
    load::LoadError,
    policy::{CacheMode, CachePolicy, LoadOptions, PutOptions, tags},
    stats::{CacheMemory, NamespaceStats},
    warm::{WarmOptions, Warmed},
};
use self::{flight::Found, policy::Lifetime, read::decode_json, space::Space};
use crate::{call::call, open::AppHandle, tail::Tail};

pub use mainstay_core::cache::{PutWhen, VALUE_BYTES_MAX};

/// The content type of typed values.
const JSON: &str = "application/json";
/// Items that go to the store in one call, so that a large batch does not hold up others.
const BATCH: usize = 500;

/// One namespace of an app's cache. Cheap to clone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
/// # let mainstay = mainstay::Mainstay::embedded(":memory:").await?;
/// use std::time::Duration;
/// use mainstay::cache::PutOptions;
///
/// let prices = mainstay.cache("prices")?;
/// prices.put("apple", &120_u32, PutOptions::ttl(Duration::from_secs(60))).await?;
///
/// let price = prices.get::<u32>("apple").await?.expect("it was just put");
/// assert_eq!(*price, 120);
/// assert!(!price.is_stale());
/// # mainstay.close().await; Ok(()) }
/// ```
#[derive(Clone)]
pub struct Cache {
    shared: Arc<Shared>,
}

struct Shared {
    app: AppHandle,
    core: Arc<CacheCore>,
    space: Arc<Space>,
    policy: Arc<CachePolicy>,
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("app", &self.shared.space.app)
            .field("namespace", &self.shared.space.ns)
            .finish_non_exhaustive()
    }
}

/// What the cache knows of a key.
#[derive(Clone, Debug)]
pub enum Lookup<T> {
    /// This value.
    Value(Cached<T>),
    /// That there is none: a loader said so.
    Absent,
    /// Nothing.
    Missing,
}

impl Cache {
    pub(crate) fn new(app: &AppHandle, namespace: &str) -> Result<Self> {
        let ns = Name::new("ns", namespace)?;
        let policy = app.inner().cache.policy(&ns);
        Self::with_policy(app, &ns, policy)
    }

    fn with_policy(app: &AppHandle, ns: &Name, policy: Arc<CachePolicy>) -> Result<Self> {
        let core = Arc::clone(&app.inner().cache);
        let space = core.space(app.app(), ns)?;
        Ok(Self { shared: Arc::new(Shared { app: app.clone(), core, space, policy }) })
    }

    /// The namespace's name.
    #[must_use]
    pub fn namespace(&self) -> &Name {
        &self.shared.space.ns
    }

    /// What it does where a call does not say otherwise.
    #[must_use]
    pub fn policy(&self) -> &CachePolicy {
        &self.shared.policy
    }

    fn tail(&self) -> &Tail {
        &self.shared.app.inner().tail
    }

    /// The value under `key`; `None` when there is none or it is known to be absent.
    ///
    /// A value that does not decode as `T` is none, and is counted. A store that fails has none.
    /// Costs nothing but memory on a first-level hit, one read of the store otherwise.
    ///
    /// # Errors
    /// `invalid` when `key` is not 1 to 512 bytes without control characters.
    pub async fn get<T>(&self, key: &str) -> Result<Option<Cached<T>>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        let now = self.now();
        if let Some(entry) = self.hit(key, now) {
            return Ok(Some(Cached::new(entry, now)));
        }
        Ok(match self.miss(key, decode_json).await? {
            Some((Found::Value(entry), now)) => Some(Cached::new(entry, now)),
            _ => None,
        })
    }

    /// As [`Cache::get`], telling a value that is known to be absent from one that is not known.
    ///
    /// # Errors
    /// As [`Cache::get`].
    pub async fn lookup<T>(&self, key: &str) -> Result<Lookup<T>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        let now = self.now();
        if let Some(entry) = self.hit(key, now) {
            return Ok(Lookup::Value(Cached::new(entry, now)));
        }
        Ok(match self.miss(key, decode_json).await? {
            Some((Found::Value(entry), now)) => Lookup::Value(Cached::new(entry, now)),
            Some((Found::Absent(_), _)) => Lookup::Absent,
            None => Lookup::Missing,
        })
    }

    /// Several values, in the order of `keys`. Costs one read of the store for each 500 keys that
    /// the first level does not hold.
    ///
    /// # Errors
    /// `invalid` when one of the keys is out of bounds.
    pub async fn get_many<T>(&self, keys: &[&str]) -> Result<Vec<Option<Cached<T>>>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self.look_many(keys, decode_json).await
    }

    /// Stores `value` under `key`, in the place of what was there. Costs one write of the store.
    ///
    /// # Errors
    /// `invalid` when the key, a tag or a time is out of bounds (a `ttl` of 0 is), or `value` is not
    /// JSON; `too_large` when it has more bytes than the policy allows; `unavailable` when the store
    /// fails: whether it was stored is not known then.
    pub async fn put<T: Serialize + ?Sized>(&self, key: &str, value: &T, options: PutOptions) -> Result<()> {
        self.put_when(key, value, options, PutWhen::Always).await.map(drop)
    }

    /// As [`Cache::put`], if no value is there: `false` when one is, and nothing was changed. Of
    /// many callers at once, one gets `true`.
    ///
    /// # Errors
    /// As [`Cache::put`].
    pub async fn add<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
        options: PutOptions,
    ) -> Result<bool> {
        self.put_when(key, value, options, PutWhen::Absent).await
    }

    /// As [`Cache::put`], if a value is there: `false` when none is, and nothing was changed.
    ///
    /// # Errors
    /// As [`Cache::put`].
    pub async fn replace<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
        options: PutOptions,
    ) -> Result<bool> {
        self.put_when(key, value, options, PutWhen::Present).await
    }

    async fn put_when<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
        options: PutOptions,
        when: PutWhen,
    ) -> Result<bool> {
        let item = self.item(key, Some(encode(value)?), JSON, options)?;
        Ok(self.store(vec![item], when).await? == 1)
    }

    /// Stores several values with the same options, 500 in one write of the store. Each is stored
    /// whole or not at all.
    ///
    /// # Errors
    /// As [`Cache::put`]; when an argument is out of bounds nothing was stored.
    pub async fn put_many<'a, T: Serialize + 'a>(
        &self,
        values: impl IntoIterator<Item = (&'a str, &'a T)>,
        options: PutOptions,
    ) -> Result<()> {
        let items: Result<Vec<CacheItem>> = values
            .into_iter()
            .map(|(key, value)| self.item(key, Some(encode(value)?), JSON, options.clone()))
            .collect();
        self.store(items?, PutWhen::Always).await.map(drop)
    }

    /// Remembers that there is no value under `key`, as a loader that finds none does.
    ///
    /// # Errors
    /// As [`Cache::put`]. Without a `ttl` the policy's `negative_ttl` is taken.
    pub async fn put_absent(&self, key: &str, options: PutOptions) -> Result<()> {
        let policy = &self.shared.policy;
        let usual = policy.lifetime(None, None)?.fresh;
        let ttl = policy.negative(options.ttl, usual)?.fresh.duration();
        let options = PutOptions { ttl: Some(ttl), grace: Some(Duration::ZERO), tags: options.tags };
        let item = self.item(key, None, JSON, options)?;
        self.store(vec![item], PutWhen::Always).await.map(drop)
    }

    /// Adds `delta` to the whole number under `key`, which is 0 where there is none, and gives the
    /// sum. A new number lives for `ttl` or as the policy says; one that is there keeps its end.
    /// Costs one write of the store.
    ///
    /// # Errors
    /// `invalid` when the value is not a whole number or the sum leaves the range of `i64`, and
    /// nothing was changed; else as [`Cache::put`].
    pub async fn increment(&self, key: &str, delta: i64, ttl: Option<Duration>) -> Result<i64> {
        let Shared { core, space, policy, .. } = &*self.shared;
        let key = CacheKey::new(key)?;
        let ttl = policy.lifetime(ttl, None)?.fresh;
        let as_of = self.tail().applied();
        let writing = core.begin_write(space, &key);
        writing.wait_for_load().await;
        call("cache.add", core.driver.add(&space.app, &space.ns, &key, delta, ttl, as_of)).await
    }

    /// Gives the value under `key` a new time to live from now; its grace stays. `false`: there is
    /// none. Costs one write of the store.
    ///
    /// # Errors
    /// `invalid` when `key` or `ttl` is out of bounds, `unavailable` when the store fails.
    pub async fn touch(&self, key: &str, ttl: Duration) -> Result<bool> {
        let Shared { core, space, .. } = &*self.shared;
        let key = CacheKey::new(key)?;
        let ttl = Ttl::new("ttl", ttl)?;
        let writing = core.begin_write(space, &key);
        writing.wait_for_load().await;
        call("cache.touch", core.driver.touch(&space.app, &space.ns, &key, ttl)).await
    }

    /// Removes the value under `key`, whether or not it was there. A load of it that runs is not
    /// kept. Durable when it returns; costs one durable write and one write of the store.
    ///
    /// # Errors
    /// `invalid` when `key` is out of bounds, `unavailable` when the store fails.
    pub async fn remove(&self, key: &str) -> Result<()> {
        self.remove_many(&[key]).await
    }

    /// As [`Cache::remove`] for several keys, in one durable write.
    ///
    /// # Errors
    /// As [`Cache::remove`].
    pub async fn remove_many(&self, keys: &[&str]) -> Result<()> {
        let ns = self.namespace();
        let keys: Result<Vec<Invalidation>> =
            keys.iter().map(|key| Ok(Invalidation::Key(ns.clone(), CacheKey::new(key)?))).collect();
        self.invalidate(keys?).await
    }

    /// Removes the value under `key` and gives what it was; `None` when there was none. Of many
    /// callers at once in one process, one gets it. Costs as [`Cache::remove`] and a read.
    ///
    /// # Errors
    /// As [`Cache::remove`]; nothing was given then.
    pub async fn pull<T>(&self, key: &str) -> Result<Option<Cached<T>>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        CacheKey::check(key)?;
        let core = &self.shared.core;
        let _turn = core.local.turn(self.shared.space.id, key).await;
        let value = self.get(key).await?;
        if value.is_some() {
            self.remove(key).await?;
        }
        Ok(value)
    }

    /// Makes every value with this tag unservable, in every namespace of the app. Its cost does not
    /// depend on how many there are: one durable write and one write of the store.
    ///
    /// # Errors
    /// `invalid` when `tag` is no identifier, `unavailable` when the store fails.
    pub async fn invalidate_tag(&self, tag: &str) -> Result<()> {
        self.shared.app.invalidate_tags(&[tag]).await
    }

    /// Makes every value whose key begins with `prefix` unservable. Its cost does not depend on how
    /// many there are. After 64 prefixes of one namespace the whole namespace is cleared instead.
    ///
    /// # Errors
    /// `invalid` when `prefix` is not a key, `unavailable` when the store fails.
    pub async fn clear_prefix(&self, prefix: &str) -> Result<()> {
        let prefix = CacheKey::new(prefix)
            .map_err(|_| Error::invalid("prefix", "must be 1 to 512 bytes, no control characters"))?;
        self.invalidate(vec![Invalidation::Prefix(self.namespace().clone(), prefix)]).await
    }

    /// Makes every value of the namespace unservable. Its cost does not depend on how many there
    /// are.
    ///
    /// # Errors
    /// `unavailable` when the store fails.
    pub async fn clear(&self) -> Result<()> {
        self.invalidate(vec![Invalidation::Namespace(self.namespace().clone())]).await
    }

    async fn invalidate(&self, what: Vec<Invalidation>) -> Result<()> {
        let Shared { core, space, .. } = &*self.shared;
        core.invalidate(self.tail(), &space.app, what).await
    }

    fn item(
        &self,
        key: &str,
        value: Option<Bytes>,
        content_type: &str,
        options: PutOptions,
    ) -> Result<CacheItem> {
        let policy = &self.shared.policy;
        let key = CacheKey::new(key)?;
        let Lifetime { fresh, grace_ms } = policy.lifetime(options.ttl, options.grace)?;
        // Values that nobody gave a time to live may have been put together.
        let fresh = if options.ttl.is_some() { fresh } else { policy.jittered(fresh) };
        check_tags(&options.tags)?;
        policy.check_size(value.as_ref().map_or(0, Bytes::len))?;
        Ok(CacheItem {
            key,
            value,
            content_type: content_type.to_owned(),
            tags: options.tags,
            as_of: self.tail().applied(),
            guarded: false,
            fresh,
            grace_ms,
            load_ms: 0,
        })
    }

    /// Stores what callers state; gives how many were stored.
    async fn store(&self, items: Vec<CacheItem>, when: PutWhen) -> Result<u64> {
        let Shared { core, space, .. } = &*self.shared;
        let mut stored = 0;
        for batch in items.chunks(BATCH) {
            let writing: Vec<_> = batch.iter().map(|item| core.begin_write(space, &item.key)).collect();
            for one in &writing {
                one.wait_for_load().await;
            }
            let each = call("cache.put", core.driver.put(&space.app, &space.ns, batch, when)).await?;
            stored += each.iter().filter(|stored| **stored).count() as u64;
        }
        space.counters.fills.add(stored);
        Ok(stored)
    }
}

impl AppHandle {
    /// A namespace of the app's cache with a policy of its own, whatever else is set for it.
    ///
    /// # Errors
    /// `invalid` when `namespace` is no identifier or a value of the policy is out of bounds.
    pub fn cache_with(&self, namespace: &str, policy: CachePolicy) -> Result<Cache> {
        policy.check()?;
        Cache::with_policy(self, &Name::new("ns", namespace)?, Arc::new(policy))
    }

    /// Makes every cached value with one of these tags unservable, in every namespace of the app.
    /// Its cost does not depend on how many there are: one durable write and one write of the
    /// store for all tags together.
    ///
    /// # Errors
    /// `invalid` when a tag is no identifier, `unavailable` when the store fails.
    pub async fn invalidate_tags(&self, tags: &[&str]) -> Result<()> {
        let tags = policy::tags(tags.iter().copied())?;
        let what = tags.into_iter().map(Invalidation::Tag).collect();
        self.inner().cache.invalidate(&self.inner().tail, self.app(), what).await
    }
}

impl crate::Mainstay {
    /// Sets what the namespace called `namespace` does, in every app, for handles that are made
    /// from now on. Without it a preset of that name applies, or the default.
    ///
    /// # Errors
    /// `invalid` when `namespace` is no identifier or a value of the policy is out of bounds.
    pub fn set_cache_policy(&self, namespace: &str, policy: CachePolicy) -> Result<()> {
        policy.check()?;
        self.inner().cache.set_policy(Name::new("ns", namespace)?, policy);
        Ok(())
    }
}

fn check_tags(tags: &[Name]) -> Result<()> {
    if tags.len() > TAGS_MAX {
        return Err(Error::invalid("tags", format!("must be at most {TAGS_MAX}")));
    }
    Ok(())
}

fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Bytes> {
    match serde_json::to_vec(value) {
        Ok(json) => Ok(json.into()),
        Err(e) => Err(Error::invalid("value", format!("cannot be written as JSON: {e}"))),
    }
}
