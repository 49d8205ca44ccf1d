//! Whether the cache works, found out by using it.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use mainstay_core::{
    App, CacheKey, Name, Result, Ttl,
    cache::{CacheItem, PutWhen},
    changes::{Change, Invalidation},
};

use super::{CacheCore, JSON};

/// How often it is looked whether the removal has come through the change log.
const LOOK_EVERY: Duration = Duration::from_millis(2);

impl CacheCore {
    /// Stores, reads and removes a key that nobody else has. Tells of each whether it was seen to
    /// work. Does not end before the removal was seen: the caller sets the time.
    pub(crate) async fn probe(&self) -> (bool, bool, bool) {
        let Ok((app, ns, key)) = place() else { return (false, false, false) };
        let item = CacheItem {
            key: key.clone(),
            value: Some("1".into()),
            content_type: JSON.to_owned(),
            tags: Vec::new(),
            as_of: self.driver.applied().await.unwrap_or(0),
            guarded: false,
            fresh: Ttl::seconds(60),
            grace_ms: 0,
            load_ms: 0,
        };
        let keys = [key.clone()];
        let set = matches!(self.driver.put(&app, &ns, &[item], PutWhen::Always).await.as_deref(), Ok([true]));
        let get = matches!(self.driver.get(&app, &ns, &keys).await.as_deref(), Ok([Some(_)]));
        let removal = Change::Cache(app.clone(), Invalidation::Key(ns.clone(), key));
        if self.log.append(&[removal]).await.is_err() {
            return (set, get, false);
        }
        loop {
            match self.driver.get(&app, &ns, &keys).await.as_deref() {
                Ok([None]) => return (set, get, true),
                Ok(_) => tokio::time::sleep(LOOK_EVERY).await,
                Err(_) => return (set, get, false),
            }
        }
    }
}

/// An app of its own, so that no statistics show it.
fn place() -> Result<(App, Name, CacheKey)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let key = format!("probe:{}:{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
    Ok((App::new("mainstay.health")?, Name::new("ns", "probe")?, CacheKey::new(&key)?))
}
