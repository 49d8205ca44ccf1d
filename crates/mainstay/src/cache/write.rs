//! Putting, counting up, prolonging.

use std::time::Duration;

use bytes::Bytes;
use mainstay_core::{
    CacheKey, Error, Name, Result, Ttl,
    cache::{CacheItem, PutWhen, TAGS_MAX},
};
use serde::Serialize;

use super::{
    BATCH, Cache, JSON, Shared,
    policy::{Lifetime, PutOptions},
};
use crate::call::call;

impl Cache {
    /// Stores `value` under `key`, in the place of what was there. Costs one write of the store.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let prices = mainstay.cache("prices")?;
    /// let options = PutOptions { ttl: Some(Duration::from_secs(60)), tags: tags(["fruit"])?, ..PutOptions::default() };
    /// prices.put("apple", &120, options).await?;
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let prices = mainstay.cache("prices")?;
    /// assert!(prices.add("apple", &120, PutOptions::default()).await?);
    /// assert!(!prices.add("apple", &130, PutOptions::default()).await?);
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let prices = mainstay.cache("prices")?;
    /// # prices.put("apple", &120, PutOptions::default()).await?;
    /// assert!(prices.replace("apple", &130, PutOptions::default()).await?);
    /// assert!(!prices.replace("pear", &90, PutOptions::default()).await?);
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let prices = mainstay.cache("prices")?;
    /// prices.put_many([("apple", &120), ("pear", &90)], PutOptions::default()).await?;
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let prices = mainstay.cache("prices")?;
    /// prices.put_absent("pear", PutOptions::default()).await?;
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let prices = mainstay.cache("prices")?;
    /// assert_eq!(prices.increment("views", 2, None).await?, 2);
    /// assert_eq!(prices.increment("views", -1, None).await?, 1);
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let prices = mainstay.cache("prices")?;
    /// # prices.put("apple", &120, PutOptions::default()).await?;
    /// assert!(prices.touch("apple", Duration::from_secs(600)).await?);
    /// assert!(!prices.touch("pear", Duration::from_secs(600)).await?);
    /// # Ok(()) }
    /// ```
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

    pub(super) fn item(
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
    pub(super) async fn store(&self, items: Vec<CacheItem>, when: PutWhen) -> Result<u64> {
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

pub(super) fn check_tags(tags: &[Name]) -> Result<()> {
    if tags.len() > TAGS_MAX {
        return Err(Error::invalid("tags", format!("must be at most {TAGS_MAX}")));
    }
    Ok(())
}

pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Bytes> {
    match serde_json::to_vec(value) {
        Ok(json) => Ok(json.into()),
        Err(e) => Err(Error::invalid("value", format!("cannot be written as JSON: {e}"))),
    }
}
