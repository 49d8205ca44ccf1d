//! Figures of the store, for people who watch it.

use axum::{extract::State, response::Response};
use http::StatusCode;
use mainstay::cache::NamespaceStats;
use mainstay_core::store::{Latency, StoreStats};
use serde::Serialize;
use utoipa::ToSchema;

use super::health::milliseconds;
use crate::{
    app::Route,
    auth::{Access, Caller},
    error::Problem,
    json::answer,
    metrics::resident_bytes,
    params::NoQuery,
    server::{Server, Shared},
};

/// A write that takes longer at the 99th percentile is worth a look.
const SLOW_WRITE_MS: f64 = 100.0;
/// A read that takes longer at the 99th percentile is worth a look.
const SLOW_READ_MS: f64 = 50.0;
/// A cache that finds less is worth a look, once it has been asked often enough.
const LOW_HIT_RATIO: f64 = 0.5;
/// From so many reads on the hit ratio says something.
const READS_TO_JUDGE: u64 = 1_000;

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::get("/v1/store/metrics", Access::Read("metrics"), metrics)]
}

/// Figures of both tiers.
#[derive(Serialize, ToSchema)]
pub(crate) struct StoreMetrics {
    durable: DurableFigures,
    fast: FastFigures,
    /// Which thresholds are crossed now.
    alerts: Vec<Alert>,
}

/// Figures of the durable store since it was opened.
#[derive(Serialize, ToSchema)]
pub(crate) struct DurableFigures {
    /// Which store.
    driver: &'static str,
    /// The version of the software that stores.
    version: String,
    /// What it takes on disk.
    size_bytes: u64,
    /// Memory that it uses.
    memory_bytes: u64,
    /// Open connections.
    connections: u32,
    /// Statements that read.
    reads: u64,
    /// Statements that wrote.
    writes: u64,
    /// Transactions made durable; one carries many writes under load.
    commits: u64,
    /// Calls that failed.
    errors: u64,
    /// Statements per second since the server started.
    #[schema(minimum = 0)]
    operations_per_s: f64,
    read_latency_ms: Percentiles,
    write_latency_ms: Percentiles,
}

/// Milliseconds of recent calls.
#[derive(Serialize, ToSchema)]
pub(crate) struct Percentiles {
    /// Half of the calls were faster.
    p50: f64,
    /// 95 % were faster.
    p95: f64,
    /// 99 % were faster.
    p99: f64,
}

/// Figures of the fast tier: the memory of this process.
#[derive(Serialize, ToSchema)]
pub(crate) struct FastFigures {
    /// Which store.
    driver: &'static str,
    /// Memory of the whole process; null where the system does not tell.
    #[schema(required)]
    memory_bytes: Option<u64>,
    /// Entries in the app's cache.
    keys: u64,
    /// Cache reads that found something.
    hits: u64,
    /// Cache reads that found nothing.
    misses: u64,
    /// Hits per read, 0 before the first.
    #[schema(minimum = 0, maximum = 1)]
    hit_ratio: f64,
}

/// A threshold that is crossed.
#[derive(Serialize, ToSchema)]
pub(crate) struct Alert {
    /// Which figure, as in `durable.write_latency_ms.p99`.
    figure: &'static str,
    /// What it is.
    value: f64,
    /// What it should not pass.
    threshold: f64,
}

impl From<Latency> for Percentiles {
    fn from(latency: Latency) -> Self {
        let Latency { p50, p95, p99 } = latency;
        Self { p50: milliseconds(p50), p95: milliseconds(p95), p99: milliseconds(p99) }
    }
}

/// Shows memory, operations, latencies and crossed thresholds of both tiers.
#[utoipa::path(
    get, path = "/v1/store/metrics", tag = "store",
    responses((status = 200, description = "The figures.", body = StoreMetrics)),
)]
pub(crate) async fn metrics(
    State(server): State<Shared>,
    caller: Caller,
    _: NoQuery,
) -> Result<Response, Problem> {
    let durable = durable(&server, server.mainstay.store_stats().await?);
    let fast = fast(&server, &caller).await?;
    let mut alerts = Vec::new();
    let mut check = |figure, value, threshold, is_crossed| {
        if is_crossed {
            alerts.push(Alert { figure, value, threshold });
        }
    };
    let (write, read) = (durable.write_latency_ms.p99, durable.read_latency_ms.p99);
    check("durable.write_latency_ms.p99", write, SLOW_WRITE_MS, write > SLOW_WRITE_MS);
    check("durable.read_latency_ms.p99", read, SLOW_READ_MS, read > SLOW_READ_MS);
    check("durable.errors", durable.errors as f64, 0.0, durable.errors > 0);
    let is_cold = fast.hits + fast.misses >= READS_TO_JUDGE && fast.hit_ratio < LOW_HIT_RATIO;
    check("fast.hit_ratio", fast.hit_ratio, LOW_HIT_RATIO, is_cold);
    Ok(answer(StatusCode::OK, &StoreMetrics { durable, fast, alerts }))
}

fn durable(server: &Server, stats: StoreStats) -> DurableFigures {
    let uptime_s = server.metrics.uptime().as_secs_f64().max(1.0);
    DurableFigures {
        driver: "sqlite",
        version: stats.version,
        size_bytes: stats.size_bytes,
        memory_bytes: stats.memory_bytes,
        connections: stats.connections,
        reads: stats.reads,
        writes: stats.writes,
        commits: stats.commits,
        errors: stats.errors,
        operations_per_s: ((stats.reads + stats.writes) as f64 / uptime_s * 10.0).round() / 10.0,
        read_latency_ms: stats.read_latency.into(),
        write_latency_ms: stats.write_latency.into(),
    }
}

async fn fast(server: &Server, caller: &Caller) -> Result<FastFigures, Problem> {
    let namespaces = server.mainstay.app_of(&caller.app).cache_stats().await?;
    let sum = |figure: fn(&NamespaceStats) -> u64| namespaces.iter().map(figure).sum::<u64>();
    let (hits, misses) = (sum(|stats| stats.hits + stats.stale), sum(|stats| stats.misses));
    let reads = hits + misses;
    Ok(FastFigures {
        driver: "memory",
        memory_bytes: resident_bytes(),
        keys: sum(|stats| stats.entries),
        hits,
        misses,
        hit_ratio: if reads == 0 { 0.0 } else { hits as f64 / reads as f64 },
    })
}
