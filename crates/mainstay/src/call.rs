//! The one place between a service and a driver: every call is timed, counted and spanned here.

use std::time::Instant;

use mainstay_core::Result;
use tracing::Instrument;

/// Runs one call of a driver. `name` is `noun.verb`.
pub(crate) async fn call<T>(name: &'static str, future: impl Future<Output = Result<T>>) -> Result<T> {
    let start = Instant::now();
    let outcome = future.instrument(tracing::debug_span!("store", call = name)).await;
    metrics::histogram!("mainstay_store_call_seconds", "call" => name).record(start.elapsed());
    if let Err(error) = &outcome {
        metrics::counter!("mainstay_store_call_errors_total", "call" => name, "code" => error.code())
            .increment(1);
        if !matches!(error.code(), "invalid" | "too_large" | "idempotency_mismatch") {
            let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            tracing::warn!(call = name, code = error.code(), %error, source, "a store call failed");
        }
    }
    outcome
}
