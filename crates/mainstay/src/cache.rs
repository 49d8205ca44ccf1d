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
mod invalidate;
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
mod write;

use std::{fmt, sync::Arc};

use mainstay_core::{Name, Result};
use serde::de::DeserializeOwned;

pub(crate) use self::core::CacheCore;
pub use self::{
    entry::Cached,
    load::LoadError,
    policy::{CacheMode, CachePolicy, LoadOptions, PutOptions, tags},
    stats::{CacheMemory, NamespaceStats},
    warm::{WarmOptions, Warmed},
};
use self::{flight::Found, read::decode_json, space::Space};
use crate::{open::AppHandle, tail::Tail};

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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let prices = mainstay.cache("prices")?;
    /// # prices.put("apple", &120, PutOptions::default()).await?;
    /// assert_eq!(prices.get::<u32>("apple").await?.as_deref(), Some(&120));
    /// assert!(prices.get::<u32>("pear").await?.is_none());
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let prices = mainstay.cache("prices")?;
    /// prices.put_absent("pear", PutOptions::default()).await?;
    /// assert!(matches!(prices.lookup::<u32>("pear").await?, Lookup::Absent));
    /// assert!(matches!(prices.lookup::<u32>("plum").await?, Lookup::Missing));
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let prices = mainstay.cache("prices")?;
    /// # prices.put("apple", &120, PutOptions::default()).await?;
    /// let found = prices.get_many::<u32>(&["apple", "pear"]).await?;
    /// assert_eq!(found[0].as_deref(), Some(&120));
    /// assert!(found[1].is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `invalid` when one of the keys is out of bounds.
    pub async fn get_many<T>(&self, keys: &[&str]) -> Result<Vec<Option<Cached<T>>>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self.look_many(keys, decode_json).await
    }
}

impl AppHandle {
    /// A namespace of the app's cache with a policy of its own, whatever else is set for it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// let policy = CachePolicy { ttl: Duration::from_secs(30), ..CachePolicy::default() };
    /// let prices = mainstay.app("shop")?.cache_with("prices", policy)?;
    /// prices.put("apple", &120, PutOptions::default()).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `invalid` when `namespace` is no identifier or a value of the policy is out of bounds.
    pub fn cache_with(&self, namespace: &str, policy: CachePolicy) -> Result<Cache> {
        policy.check()?;
        Cache::with_policy(self, &Name::new("ns", namespace)?, Arc::new(policy))
    }
}

impl crate::Mainstay {
    /// Sets what the namespace called `namespace` does, in every app, for handles that are made
    /// from now on. Without it a preset of that name applies, or the default.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// let policy = CachePolicy { ttl: Duration::from_secs(30), ..CachePolicy::default() };
    /// mainstay.set_cache_policy("prices", policy)?;
    /// assert_eq!(mainstay.cache("prices")?.policy().ttl, Duration::from_secs(30));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `invalid` when `namespace` is no identifier or a value of the policy is out of bounds.
    pub fn set_cache_policy(&self, namespace: &str, policy: CachePolicy) -> Result<()> {
        policy.check()?;
        self.inner().cache.set_policy(Name::new("ns", namespace)?, policy);
        Ok(())
    }
}
