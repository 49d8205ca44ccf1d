//! Stores to test on.

use std::time::Duration;

use mainstay::{
    AppHandle, Clock, Config, Error, Mainstay, Timestamp,
    cache::{Cache, CachePolicy, NamespaceStats},
};

/// A private store whose clock stands still.
pub(crate) struct TestStore {
    pub(crate) mainstay: Mainstay,
    clock: Clock,
}

impl TestStore {
    pub(crate) async fn open() -> Self {
        let clock = Clock::fixed(Timestamp::from_millis(1_800_000_000_000));
        let config = Config { clock: clock.clone(), ..Config::default() };
        Self { mainstay: Mainstay::open(config).await.unwrap(), clock }
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    pub(crate) fn app(&self) -> AppHandle {
        self.mainstay.app("shop").unwrap()
    }

    pub(crate) fn cache(&self, namespace: &str) -> Cache {
        self.app().cache(namespace).unwrap()
    }

    /// A namespace whose values end exactly when they are said to.
    pub(crate) fn exact(&self, namespace: &str, ttl: Duration) -> Cache {
        let policy = CachePolicy { jitter: 0.0, early_refresh: false, ..CachePolicy::with_ttl(ttl) };
        self.app().cache_with(namespace, policy).unwrap()
    }

    pub(crate) async fn stats(&self, namespace: &str) -> NamespaceStats {
        let all = self.app().cache_stats().await.unwrap();
        all.into_iter().find(|stats| stats.namespace.as_str() == namespace).unwrap()
    }
}

/// A store whose second level of the cache fails at every call, and whose truth works.
pub(crate) async fn broken_cache() -> (Mainstay, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let mainstay = Mainstay::embedded(folder.path()).await.unwrap();
    // The namespace has to be known, or reads have nothing to ask the file for.
    let cache = mainstay.cache("values").unwrap();
    cache.put("before", &1, mainstay::cache::PutOptions::default()).await.unwrap();
    rusqlite::Connection::open(folder.path().join("cache.db"))
        .unwrap()
        .execute_batch("ALTER TABLE entries RENAME TO hidden")
        .unwrap();
    (mainstay, folder)
}

/// Mends what [`broken_cache`] broke.
pub(crate) fn mend_cache(folder: &std::path::Path) {
    rusqlite::Connection::open(folder.join("cache.db"))
        .unwrap()
        .execute_batch("ALTER TABLE hidden RENAME TO entries")
        .unwrap();
}

/// The field that was refused.
pub(crate) fn invalid_field<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    match outcome {
        Err(Error::Invalid { field, .. }) => field.into_owned(),
        other => panic!("{other:?}"),
    }
}
