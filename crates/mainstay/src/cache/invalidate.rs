//! Removing: by key, by tag, by prefix, a whole namespace.

use mainstay_core::{CacheKey, Error, Result, changes::Invalidation};
use serde::de::DeserializeOwned;

use super::{Cache, Cached, Shared, policy};
use crate::open::AppHandle;

impl Cache {
    /// Removes the value under `key`, whether or not it was there. A load of it that runs is not
    /// kept. Durable when it returns; costs one durable write and one write of the store.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let prices = mainstay.cache("prices")?;
    /// # prices.put("apple", &120, PutOptions::default()).await?;
    /// prices.remove("apple").await?;
    /// assert!(prices.get::<u32>("apple").await?.is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `invalid` when `key` is out of bounds, `unavailable` when the store fails.
    pub async fn remove(&self, key: &str) -> Result<()> {
        self.remove_many(&[key]).await
    }

    /// As [`Cache::remove`] for several keys, in one durable write.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let prices = mainstay.cache("prices")?;
    /// # prices.put("apple", &120, PutOptions::default()).await?;
    /// prices.remove_many(&["apple", "pear"]).await?;
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let prices = mainstay.cache("prices")?;
    /// # prices.put("apple", &120, PutOptions::default()).await?;
    /// assert_eq!(prices.pull::<u32>("apple").await?.as_deref(), Some(&120));
    /// assert!(prices.pull::<u32>("apple").await?.is_none());
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let prices = mainstay.cache("prices")?;
    /// let fruit = PutOptions { tags: tags(["fruit"])?, ..PutOptions::default() };
    /// prices.put("apple", &120, fruit).await?;
    /// prices.invalidate_tag("fruit").await?;
    /// assert!(prices.get::<u32>("apple").await?.is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `invalid` when `tag` is no identifier, `unavailable` when the store fails.
    pub async fn invalidate_tag(&self, tag: &str) -> Result<()> {
        self.shared.app.invalidate_tags(&[tag]).await
    }

    /// Makes every value whose key begins with `prefix` unservable. Its cost does not depend on how
    /// many there are. After 64 prefixes of one namespace the whole namespace is cleared instead.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let prices = mainstay.cache("prices")?;
    /// # prices.put("apple", &120, PutOptions::default()).await?;
    /// prices.clear_prefix("app").await?;
    /// assert!(prices.get::<u32>("apple").await?.is_none());
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let prices = mainstay.cache("prices")?;
    /// # prices.put("apple", &120, PutOptions::default()).await?;
    /// prices.clear().await?;
    /// assert!(prices.get::<u32>("apple").await?.is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `unavailable` when the store fails.
    pub async fn clear(&self) -> Result<()> {
        self.invalidate(vec![Invalidation::Namespace(self.namespace().clone())]).await
    }

    pub(super) async fn invalidate(&self, what: Vec<Invalidation>) -> Result<()> {
        let Shared { core, space, .. } = &*self.shared;
        core.invalidate(self.tail(), &space.app, what).await
    }
}

impl AppHandle {
    /// Makes every cached value with one of these tags unservable, in every namespace of the app.
    /// Its cost does not depend on how many there are: one durable write and one write of the
    /// store for all tags together.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// mainstay.app("shop")?.invalidate_tags(&["user:1", "user:2"]).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `invalid` when a tag is no identifier, `unavailable` when the store fails.
    pub async fn invalidate_tags(&self, tags: &[&str]) -> Result<()> {
        let tags = policy::tags(tags.iter().copied())?;
        let what = tags.into_iter().map(Invalidation::Tag).collect();
        self.inner().cache.invalidate(&self.inner().tail, self.app(), what).await
    }
}
