//! Health: whether the server lives, is ready, and how it is.

use std::time::Duration;

use axum::{body::Body, extract::State, response::Response};
use http::{HeaderValue, StatusCode, header};
use mainstay::health::{CacheCheck, Check, Status};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::Route,
    auth::{Access, Caller},
    error::Problem,
    json::answer,
    metrics::{Stopwatch, Text},
    params::NoQuery,
    recorder,
    server::{Server, Shared},
};

/// A figure that takes longer is left out: a probe must never hang.
const PART_TIMEOUT: Duration = Duration::from_millis(250);

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::get("/livez", Access::Open, livez),
        Route::get("/readyz", Access::Open, readyz),
        Route::get("/startupz", Access::Open, startupz),
        Route::get("/health", Access::Health, health),
        Route::get("/metrics", Access::Metrics, metrics),
    ]
}

/// In one word.
#[derive(Serialize, ToSchema)]
#[schema(as = ProbeAnswer)]
pub(crate) struct ProbeBody {
    #[schema(value_type = StatusBody)]
    status: Status,
}

/// In words that load balancers understand.
#[derive(ToSchema)]
#[schema(as = HealthStatus, rename_all = "snake_case")]
#[allow(dead_code)]
pub(crate) enum StatusBody {
    /// Everything works.
    Pass,
    /// Requests are served, something is worse than it should be.
    Warn,
    /// Requests fail.
    Fail,
}

/// How the server is.
#[derive(Serialize, ToSchema)]
#[schema(as = Health)]
pub(crate) struct HealthBody {
    #[schema(value_type = StatusBody)]
    status: Status,
    /// The version of Mainstay.
    version: &'static str,
    /// How it is deployed.
    #[schema(example = "embedded")]
    shape: &'static str,
    /// How long it has been running.
    uptime_ms: u64,
    checks: ChecksBody,
}

/// How each part is.
#[derive(Serialize, ToSchema)]
#[schema(as = HealthChecks)]
pub(crate) struct ChecksBody {
    /// The store of the truth: a write and its commit.
    durable: PartBody,
    /// The copies in memory: whether the change log proves them current.
    fast: PartBody,
    sessions: SessionsBody,
    cache: CacheBody,
}

/// How a part is.
#[derive(Serialize, ToSchema)]
#[schema(as = HealthPart)]
pub(crate) struct PartBody {
    #[schema(value_type = StatusBody)]
    status: Status,
    /// How long the probe took.
    #[schema(minimum = 0)]
    latency_ms: f64,
    /// The stable code of what went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    error: Option<&'static str>,
}

/// How sessions are.
#[derive(Serialize, ToSchema)]
#[schema(as = HealthSessions)]
pub(crate) struct SessionsBody {
    #[schema(value_type = StatusBody)]
    status: Status,
    /// Live sessions of the app; null when they could not be counted in time.
    #[schema(required)]
    count: Option<u64>,
}

/// How the cache is.
#[derive(Serialize, ToSchema)]
#[schema(as = HealthCache)]
pub(crate) struct CacheBody {
    #[schema(value_type = StatusBody)]
    status: Status,
    operations: OperationsBody,
}

/// What was observed of the cache, on a key of its own.
#[derive(Serialize, ToSchema)]
#[schema(as = HealthCacheOperations)]
pub(crate) struct OperationsBody {
    /// A value could be stored.
    set: bool,
    /// It could be read.
    get: bool,
    /// It could be deleted, and was gone.
    delete: bool,
}

impl From<Check> for PartBody {
    fn from(check: Check) -> Self {
        Self { status: check.status, latency_ms: milliseconds(check.latency), error: check.error }
    }
}

impl From<CacheCheck> for CacheBody {
    fn from(check: CacheCheck) -> Self {
        let operations = OperationsBody { set: check.set, get: check.get, delete: check.delete };
        Self { status: check.status, operations }
    }
}

/// Milliseconds with three digits after the point.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn probe(status: Status) -> Response {
    answer_as(status, &ProbeBody { status })
}

fn answer_as(status: Status, body: &impl Serialize) -> Response {
    if status != Status::Fail {
        return answer(StatusCode::OK, body);
    }
    let mut response = answer(StatusCode::SERVICE_UNAVAILABLE, body);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Tells that the process lives.
///
/// Asks no store: restarting the server would not mend one.
#[utoipa::path(
    get, path = "/livez", tag = "health",
    responses(
        (status = 200, description = "It lives.", body = ProbeBody),
        (status = 503, description = "It does not.", body = ProbeBody),
    ),
)]
pub(crate) async fn livez() -> Response {
    probe(Status::Pass)
}

/// Tells whether requests can be served.
///
/// Not while the store refuses writes, and not while the server stops.
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses(
        (status = 200, description = "They can.", body = ProbeBody),
        (status = 503, description = "They cannot.", body = ProbeBody),
    ),
)]
pub(crate) async fn readyz(State(server): State<Shared>) -> Response {
    if server.is_draining() {
        return probe(Status::Fail);
    }
    probe(server.mainstay.ready().await.status)
}

/// Tells whether the start is over. The server listens only after it has opened its store.
#[utoipa::path(
    get, path = "/startupz", tag = "health",
    responses(
        (status = 200, description = "It is.", body = ProbeBody),
        (status = 503, description = "It is not.", body = ProbeBody),
    ),
)]
pub(crate) async fn startupz() -> Response {
    probe(Status::Pass)
}

/// Tells how each part is.
///
/// Its cost does not depend on how much is stored. Each part has 250 ms.
#[utoipa::path(
    get, path = "/health", tag = "health",
    responses(
        (status = 200, description = "Requests are served.", body = HealthBody),
        (status = 503, description = "Requests fail.", body = HealthBody),
    ),
)]
pub(crate) async fn health(State(server): State<Shared>, caller: Option<Caller>, _: NoQuery) -> Response {
    let (health, sessions) = tokio::join!(server.mainstay.health(), count_sessions(&server, caller.as_ref()));
    let draining = if server.is_draining() { Status::Fail } else { Status::Pass };
    let status = health.status.max(draining).max(sessions.status.min(Status::Warn));
    let body = HealthBody {
        status,
        version: env!("CARGO_PKG_VERSION"),
        shape: "embedded",
        uptime_ms: u64::try_from(server.metrics.uptime().as_millis()).unwrap_or(u64::MAX),
        checks: ChecksBody {
            durable: health.durable.into(),
            fast: health.copies.into(),
            sessions,
            cache: health.cache.into(),
        },
    };
    answer_as(status, &body)
}

async fn count_sessions(server: &Server, caller: Option<&Caller>) -> SessionsBody {
    let app = caller.map(|caller| caller.app.clone()).unwrap_or_default();
    let sessions = server.mainstay.app_of(&app).sessions();
    let count = match tokio::time::timeout(PART_TIMEOUT, sessions.stats()).await {
        Ok(Ok(counts)) => Some(counts.active_by_kind.iter().map(|(_, count)| count).sum()),
        _ => None,
    };
    SessionsBody { status: if count.is_some() { Status::Pass } else { Status::Warn }, count }
}

/// Figures as Prometheus text.
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses((status = 200, description = "The figures.", body = String, content_type = "text/plain")),
)]
pub(crate) async fn metrics(State(server): State<Shared>, _: NoQuery) -> Result<Response, Problem> {
    let mut text = server.metrics.render();
    render_store(&server, &mut text).await;
    let mut text = text.into_string();
    // What the services below count for themselves.
    text.push_str(&recorder::render());
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn render_store(server: &Server, text: &mut Text) {
    let watch = Stopwatch::start();
    let stats = tokio::time::timeout(PART_TIMEOUT, server.mainstay.store_stats()).await;
    let Ok(Ok(stats)) = stats else { return };
    let probe_s = watch.elapsed().as_secs_f64();
    text.value("mainstay_store_stats_seconds", "gauge", "Time to ask the store for these figures.", probe_s);
    text.value("mainstay_store_size_bytes", "gauge", "What the store takes on disk.", stats.size_bytes);
    text.value("mainstay_store_memory_bytes", "gauge", "Memory of the store itself.", stats.memory_bytes);
    text.value("mainstay_store_connections", "gauge", "Open connections of the store.", stats.connections);
    text.value("mainstay_store_reads_total", "counter", "Statements that read.", stats.reads);
    text.value("mainstay_store_writes_total", "counter", "Statements that wrote.", stats.writes);
    text.value("mainstay_store_commits_total", "counter", "Transactions made durable.", stats.commits);
    text.value("mainstay_store_errors_total", "counter", "Calls of the store that failed.", stats.errors);
}
