//! Where the crates below count: the process's one recorder of the `metrics` facade.

use std::{sync::LazyLock, time::Duration};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::sync::watch;

use crate::{listen::Phase, metrics::BOUNDS_S};

/// How often what was recorded is put into its class, whether or not somebody asks for it. Until
/// then each record takes memory.
const TIDY_EVERY: Duration = Duration::from_secs(5);

static RECORDER: LazyLock<PrometheusHandle> = LazyLock::new(|| {
    // Classes are refused only if there are none.
    let builder =
        PrometheusBuilder::new().set_buckets(&BOUNDS_S).unwrap_or_else(|_| PrometheusBuilder::new());
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    // Taken already: somebody else in this process reads those figures.
    let _ = ::metrics::set_global_recorder(recorder);
    handle
});

/// What was counted since the process started, as Prometheus text.
pub(crate) fn render() -> String {
    RECORDER.render()
}

/// Records from now on, until the server stops.
pub(crate) async fn record(mut phase: watch::Receiver<Phase>) {
    LazyLock::force(&RECORDER);
    let stopping = phase.wait_for(|phase| *phase > Phase::Serving);
    let mut stopping = std::pin::pin!(stopping);
    while tokio::time::timeout(TIDY_EVERY, &mut stopping).await.is_err() {
        RECORDER.run_upkeep();
    }
}
