//! Filling a cache before it is asked.

use std::{sync::Arc, time::Duration};

use mainstay_core::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::MissedTickBehavior;

use super::{Cache, LoadError, LoadOptions, Lookup};

/// How a cache is warmed.
#[derive(Clone, Debug)]
pub struct WarmOptions {
    /// The most loads in a second, 1 to 1,000,000. Default: 100.
    pub per_second: u32,
    /// How each value is loaded.
    pub load: LoadOptions,
}

impl Default for WarmOptions {
    fn default() -> Self {
        Self { per_second: 100, load: LoadOptions::default() }
    }
}

/// What came of warming a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Warmed {
    /// Keys that were there already, also as "known to be absent".
    pub present: u64,
    /// Keys that were loaded, also when the loader found none.
    pub loaded: u64,
    /// Keys whose loader failed.
    pub failed: u64,
}

impl Cache {
    /// Loads those of `keys` that are not there, one after the other and not faster than
    /// `per_second`. Stops when its future is dropped.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let prices = mainstay.cache("prices")?;
    /// let load = |_key: String| async { Ok::<_, std::io::Error>(Some(120)) };
    /// let warmed = prices.warm(["apple".to_owned()], WarmOptions::default(), load).await?;
    /// assert_eq!(warmed.loaded, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `invalid` when an option or a key is out of bounds; keys before it have been loaded. A
    /// loader that fails is counted and does not stop the others.
    pub async fn warm<T, E, F, Fut>(
        &self,
        keys: impl IntoIterator<Item = String> + Send,
        options: WarmOptions,
        load: F,
    ) -> Result<Warmed>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: Fn(String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<T>, E>> + Send + 'static,
    {
        if !(1..=1_000_000).contains(&options.per_second) {
            return Err(Error::invalid("per_second", "must be 1 to 1000000"));
        }
        let mut pace = tokio::time::interval(Duration::from_secs(1) / options.per_second);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let load = Arc::new(load);
        let mut warmed = Warmed::default();
        for key in keys {
            if !matches!(self.lookup::<T>(&key).await?, Lookup::Missing) {
                warmed.present += 1;
                continue;
            }
            pace.tick().await;
            let (load, id) = (Arc::clone(&load), key.clone());
            let loaded = self.get_or_load_optional(&key, options.load.clone(), move || load(id)).await;
            match loaded {
                Ok(_) => warmed.loaded += 1,
                Err(LoadError::Load(_)) => warmed.failed += 1,
                Err(LoadError::Cache(error)) => return Err(error),
            }
        }
        Ok(warmed)
    }
}
