//! Figures of the server: plain atomics on the way of a request, text when somebody asks.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use http::StatusCode;

use crate::app::RouteInfo;

/// The statuses that this server gives; another is counted with the last.
const STATUSES: [u16; 22] = [
    200, 201, 204, 304, 400, 401, 403, 404, 405, 408, 409, 412, 413, 414, 415, 422, 429, 431, 501, 503, 599,
    500,
];

/// Upper bounds of the latency classes, in seconds.
pub(crate) const BOUNDS_S: [f64; 14] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Measures how long something takes, by a clock that only goes forward.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Which route a request was for, as an index into the table of routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RouteId(pub(crate) usize);

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    started: Stopwatch,
    routes: Vec<RouteFigures>,
    /// Requests for which there is no route, or that the edge refused.
    unmatched: RouteFigures,
    pub(crate) connections_open: AtomicI64,
    pub(crate) connections_accepted: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
    pub(crate) session_checks_valid: AtomicU64,
    pub(crate) session_checks_invalid: AtomicU64,
    pub(crate) sessions_created: AtomicU64,
    pub(crate) sessions_revoked: AtomicU64,
}

#[derive(Debug)]
struct RouteFigures {
    method: String,
    path: &'static str,
    statuses: [AtomicU64; STATUSES.len()],
    /// One more than there are bounds: the last has none.
    latencies: [AtomicU64; BOUNDS_S.len() + 1],
    latency_sum_ns: AtomicU64,
}

impl RouteFigures {
    fn new(method: &str, path: &'static str) -> Self {
        Self {
            method: method.to_owned(),
            path,
            statuses: Default::default(),
            latencies: Default::default(),
            latency_sum_ns: AtomicU64::new(0),
        }
    }

    fn add(&self, status: StatusCode, took: Duration) {
        let status =
            STATUSES.iter().position(|&known| known == status.as_u16()).unwrap_or(STATUSES.len() - 1);
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let seconds = took.as_secs_f64();
        let class = BOUNDS_S.iter().position(|&bound| seconds <= bound).unwrap_or(BOUNDS_S.len());
        self.statuses[status].fetch_add(1, Relaxed);
        self.latencies[class].fetch_add(1, Relaxed);
        self.latency_sum_ns.fetch_add(ns, Relaxed);
    }
}

impl Metrics {
    pub(crate) fn new(routes: &[RouteInfo]) -> Self {
        Self {
            started: Stopwatch::start(),
            routes: routes.iter().map(|route| RouteFigures::new(route.method.as_str(), route.path)).collect(),
            unmatched: RouteFigures::new("other", "unmatched"),
            connections_open: AtomicI64::new(0),
            connections_accepted: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
            session_checks_valid: AtomicU64::new(0),
            session_checks_invalid: AtomicU64::new(0),
            sessions_created: AtomicU64::new(0),
            sessions_revoked: AtomicU64::new(0),
        }
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Counts an answer; `None`: no route was found for the request.
    pub(crate) fn answered(&self, route: Option<RouteId>, status: StatusCode, took: Duration) {
        let figures = route.and_then(|RouteId(at)| self.routes.get(at)).unwrap_or(&self.unmatched);
        figures.add(status, took);
    }

    /// What the server itself counts, as Prometheus text.
    pub(crate) fn render(&self) -> Text {
        let mut text = Text::default();
        text.family("mainstay_http_requests_total", "counter", "Requests answered, by route and status.");
        for route in self.routes.iter().chain([&self.unmatched]) {
            for (status, count) in STATUSES.iter().zip(&route.statuses) {
                let count = count.load(Relaxed);
                if count > 0 {
                    let (method, path) = (&route.method, route.path);
                    text.sample(
                        &format!("{{method=\"{method}\",route=\"{path}\",status=\"{status}\"}}"),
                        count,
                    );
                }
            }
        }
        self.render_latencies(&mut text);
        text.value(
            "mainstay_http_connections",
            "gauge",
            "Connections open now.",
            self.connections_open.load(Relaxed),
        );
        text.value(
            "mainstay_http_connections_accepted_total",
            "counter",
            "Connections accepted.",
            self.connections_accepted.load(Relaxed),
        );
        text.value(
            "mainstay_http_connections_refused_total",
            "counter",
            "Connections refused because there were too many.",
            self.connections_refused.load(Relaxed),
        );
        self.render_sessions(&mut text);
        text.value(
            "mainstay_uptime_seconds",
            "gauge",
            "Time since the server started.",
            self.uptime().as_secs_f64(),
        );
        if let Some(bytes) = resident_bytes() {
            text.value("mainstay_process_resident_memory_bytes", "gauge", "Memory of the process.", bytes);
        }
        text.family("mainstay_build_info", "gauge", "The version that runs; always 1.");
        text.sample(&format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1);
        text
    }

    fn render_latencies(&self, text: &mut Text) {
        text.family(
            "mainstay_http_request_duration_seconds",
            "histogram",
            "Time from request to answer, by route.",
        );
        for route in self.routes.iter().chain([&self.unmatched]) {
            let mut total = 0;
            let labels = format!("method=\"{}\",route=\"{}\"", route.method, route.path);
            let counts: Vec<u64> = route.latencies.iter().map(|count| count.load(Relaxed)).collect();
            if counts.iter().all(|&count| count == 0) {
                continue;
            }
            let bounds = BOUNDS_S.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
            for (bound, count) in bounds.zip(counts) {
                total += count;
                text.sample_of("_bucket", &format!("{{{labels},le=\"{bound}\"}}"), total);
            }
            let sum = Duration::from_nanos(route.latency_sum_ns.load(Relaxed)).as_secs_f64();
            text.sample_of("_sum", &format!("{{{labels}}}"), sum);
            text.sample_of("_count", &format!("{{{labels}}}"), total);
        }
    }

    fn render_sessions(&self, text: &mut Text) {
        text.family("mainstay_session_checks_total", "counter", "Session checks over HTTP, by outcome.");
        text.sample("{outcome=\"valid\"}", self.session_checks_valid.load(Relaxed));
        text.sample("{outcome=\"invalid\"}", self.session_checks_invalid.load(Relaxed));
        text.value(
            "mainstay_sessions_created_total",
            "counter",
            "Sessions created over HTTP.",
            self.sessions_created.load(Relaxed),
        );
        text.value(
            "mainstay_sessions_revoked_total",
            "counter",
            "Sessions revoked over HTTP.",
            self.sessions_revoked.load(Relaxed),
        );
    }
}

/// Prometheus text in the making.
#[derive(Debug, Default)]
pub(crate) struct Text {
    text: String,
    name: &'static str,
}

impl Text {
    /// Begins the figures of one name.
    pub(crate) fn family(&mut self, name: &'static str, kind: &str, meaning: &str) {
        self.name = name;
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(self.text, "# HELP {name} {meaning}\n# TYPE {name} {kind}");
    }

    /// One figure of the name begun last; `labels` in braces, or empty.
    pub(crate) fn sample(&mut self, labels: &str, value: impl std::fmt::Display) {
        self.sample_of("", labels, value);
    }

    fn sample_of(&mut self, suffix: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.text, "{}{suffix}{labels} {value}", self.name);
    }

    /// A name with one figure.
    pub(crate) fn value(
        &mut self,
        name: &'static str,
        kind: &str,
        meaning: &str,
        value: impl std::fmt::Display,
    ) {
        self.family(name, kind, meaning);
        self.sample("", value);
    }

    pub(crate) fn into_string(self) -> String {
        self.text
    }
}

/// What the process takes of memory; `None` where the system does not tell.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_counted_in_its_class_and_in_every_wider_one() {
        let metrics = Metrics::new(&[]);
        metrics.answered(None, StatusCode::NOT_FOUND, Duration::from_micros(80));
        metrics.answered(None, StatusCode::NOT_FOUND, Duration::from_secs(60));
        let text = metrics.render().into_string();
        for line in [
            r#"mainstay_http_requests_total{method="other",route="unmatched",status="404"} 2"#,
            r#"mainstay_http_request_duration_seconds_bucket{method="other",route="unmatched",le="0.00005"} 0"#,
            r#"mainstay_http_request_duration_seconds_bucket{method="other",route="unmatched",le="0.0001"} 1"#,
            r#"mainstay_http_request_duration_seconds_bucket{method="other",route="unmatched",le="5"} 1"#,
            r#"mainstay_http_request_duration_seconds_bucket{method="other",route="unmatched",le="+Inf"} 2"#,
            r#"mainstay_http_request_duration_seconds_count{method="other",route="unmatched"} 2"#,
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
    }
}
