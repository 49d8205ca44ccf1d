//! Whether Mainstay works, and how well.

use std::time::{Duration, Instant};

use mainstay_core::{Result, store::StoreStats};
use serde::Serialize;

use crate::Mainstay;

/// A part that takes longer counts as failing: a probe must never hang.
const PART_TIMEOUT: Duration = Duration::from_millis(250);

/// In words that load balancers understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Everything works.
    Pass,
    /// Requests are served, something is worse than it should be.
    Warn,
    /// Requests fail.
    Fail,
}

/// How one part does.
#[derive(Clone, Debug)]
pub struct Check {
    /// Whether it works.
    pub status: Status,
    /// How long the probe took.
    pub latency: Duration,
    /// The stable code of what went wrong.
    pub error: Option<&'static str>,
}

/// How the cache does; each flag was observed on a key of its own.
#[derive(Clone, Debug)]
pub struct CacheCheck {
    /// Whether all three work.
    pub status: Status,
    /// A value could be stored.
    pub set: bool,
    /// It could be read.
    pub get: bool,
    /// It could be deleted, and was gone.
    pub delete: bool,
}

/// How everything does.
#[derive(Clone, Debug)]
pub struct Health {
    /// The worst that a request may meet.
    pub status: Status,
    /// The store of the truth: a write and its commit.
    pub durable: Check,
    /// Whether copies in memory are proven current by the change log.
    pub copies: Check,
    /// The cache. It may fail without failing requests.
    pub cache: CacheCheck,
}

impl Mainstay {
    /// Probes the parts, each for at most 250 ms. Its cost does not depend on how much is stored.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use mainstay::{*, sessions::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// assert_eq!(mainstay.health().await.status, mainstay::health::Status::Pass);
    /// # Ok(()) }
    /// ```
    pub async fn health(&self) -> Health {
        let (durable, cache) = tokio::join!(self.ready(), self.probe_cache());
        let current = self.inner().tail.is_current();
        let copies = Check {
            status: if current { Status::Pass } else { Status::Warn },
            latency: Duration::ZERO,
            error: (!current).then_some("change_log_not_heard"),
        };
        // Without the cache or the copies requests are slower, not wrong.
        let status = durable.status.max(cache.status.min(Status::Warn)).max(copies.status);
        Health { status, durable, copies, cache }
    }

    /// Whether the truth can be written, found out by writing.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use mainstay::{*, sessions::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// assert_eq!(mainstay.ready().await.status, mainstay::health::Status::Pass);
    /// # Ok(()) }
    /// ```
    pub async fn ready(&self) -> Check {
        let start = Instant::now();
        let ping = tokio::time::timeout(PART_TIMEOUT, self.inner().drivers.store.ping()).await;
        let error = match ping {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.code()),
            Err(_) => Some("timeout"),
        };
        let status = if error.is_none() { Status::Pass } else { Status::Fail };
        Check { status, latency: start.elapsed(), error }
    }

    /// Figures of the durable store.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use mainstay::{*, sessions::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// let stats = mainstay.store_stats().await?;
    /// println!("{} commits carried {} writes", stats.commits, stats.writes);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn store_stats(&self) -> Result<StoreStats> {
        self.inner().drivers.store.stats().await
    }

    async fn probe_cache(&self) -> CacheCheck {
        let probe = tokio::time::timeout(PART_TIMEOUT, self.inner().cache.probe()).await;
        let (set, get, delete) = probe.unwrap_or_default();
        let status = if set && get && delete { Status::Pass } else { Status::Fail };
        CacheCheck { status, set, get, delete }
    }
}
