//! What every store can do, whatever nouns it serves.

use std::{fmt::Debug, time::Duration};

use async_trait::async_trait;

use crate::Result;

/// A store as a whole.
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// The name that errors, health and metrics carry.
    fn name(&self) -> &'static str;
    /// Does one cheap round trip that fails when a write would fail.
    async fn ping(&self) -> Result<()>;
    /// Removes up to `limit` things whose time is over, of each kind. Returns how many were
    /// removed; less than `limit` means that nothing is left to do. Safe to call from many
    /// processes at once.
    async fn sweep(&self, limit: u32) -> Result<u32>;
    /// Figures for health and metrics. Its cost does not depend on how much is stored.
    async fn stats(&self) -> Result<StoreStats>;
}

/// Figures of a store since it was opened.
#[derive(Clone, Debug, Default)]
pub struct StoreStats {
    /// The version of the software that stores.
    pub version: String,
    /// What it takes on disk, or in memory where there is no disk.
    pub size_bytes: u64,
    /// Memory that the store itself uses for pages and the like.
    pub memory_bytes: u64,
    /// Open connections.
    pub connections: u32,
    /// Statements that read.
    pub reads: u64,
    /// Statements that wrote.
    pub writes: u64,
    /// Transactions that were made durable; one carries many writes under load.
    pub commits: u64,
    /// Calls that failed.
    pub errors: u64,
    /// Time from hand-over to answer of recent writes.
    pub write_latency: Latency,
    /// Time from hand-over to answer of recent reads.
    pub read_latency: Latency,
}

/// Percentiles of recent calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Latency {
    /// Half of the calls were faster.
    pub p50: Duration,
    /// 95 % of the calls were faster.
    pub p95: Duration,
    /// 99 % of the calls were faster.
    pub p99: Duration,
}
