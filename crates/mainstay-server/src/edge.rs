//! The edge of one request: limits on what arrives, an id, a last word on errors.

use std::{
    convert::Infallible,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use axum::{Router, body::Body, response::Response};
use http::{HeaderMap, HeaderValue, Request, header::HeaderName};
use mainstay_core::Name;
use tower::Service as _;

use crate::{
    error::{Code, Problem},
    metrics::Stopwatch,
    server::Shared,
};

/// The longest path and query.
pub(crate) const URI_BYTES_MAX: usize = 8 * 1024;
/// The most bytes of all header names and values.
pub(crate) const HEADERS_BYTES_MAX: usize = 16 * 1024;
/// The most headers. The HTTP reader has the same bound.
pub(crate) const HEADERS_MAX: usize = 100;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What stands before the routes.
#[derive(Clone, Debug)]
pub(crate) struct Edge {
    routes: Router,
    server: Shared,
}

impl Edge {
    pub(crate) fn new(routes: Router, server: Shared) -> Self {
        Self { routes, server }
    }

    /// Answers one request. Whatever happens, there is an answer with a request id.
    pub(crate) async fn answer(&self, request: Request<Body>) -> Result<Response, Infallible> {
        let id = request_id(request.headers(), &self.server.request_ids);
        let mut response = match check_head(&request) {
            Ok(()) => self.routes.clone().call(request).await?,
            Err(problem) => {
                let response = problem.render(id.to_str().unwrap_or_default());
                self.server.metrics.answered(None, response.status(), std::time::Duration::ZERO);
                response
            }
        };
        // Of all answers only problems carry anything for the edge.
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            let id = id.to_str().unwrap_or_default();
            if let Some(cause) = problem.cause() {
                let code = problem.code().describe().1;
                tracing::error!(request_id = id, code, cause, "a request failed");
            }
            response = with_headers_of(&response, problem.render(id));
        }
        response.headers_mut().insert(REQUEST_ID, id);
        Ok(response)
    }
}

/// The rendered problem with what the router had said, as in `Allow`.
fn with_headers_of(said: &Response, mut rendered: Response) -> Response {
    for (name, value) in said.headers() {
        if name != http::header::CONTENT_LENGTH && !rendered.headers().contains_key(name) {
            rendered.headers_mut().insert(name.clone(), value.clone());
        }
    }
    rendered
}

fn check_head(request: &Request<Body>) -> Result<(), Problem> {
    let uri = request.uri();
    let uri_bytes = uri.path_and_query().map_or(0, |text| text.as_str().len());
    if uri_bytes > URI_BYTES_MAX {
        return Err(Problem::new(Code::UriTooLong, format!("It may have at most {URI_BYTES_MAX} bytes.")));
    }
    let headers = request.headers();
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if headers.len() > HEADERS_MAX || bytes > HEADERS_BYTES_MAX {
        return Err(Problem::new(
            Code::HeadersTooLarge,
            format!("There may be at most {HEADERS_MAX} headers with {HEADERS_BYTES_MAX} bytes."),
        ));
    }
    Ok(())
}

/// The id that the client gave, if it is one, or a new one.
fn request_id(headers: &HeaderMap, ids: &RequestIds) -> HeaderValue {
    match headers.get(REQUEST_ID) {
        Some(given) if given.to_str().is_ok_and(|text| Name::new("X-Request-Id", text).is_ok()) => {
            given.clone()
        }
        _ => ids.next(),
    }
}

/// Where request ids come from: unlike within a process and unlikely to repeat in another.
#[derive(Debug)]
pub(crate) struct RequestIds(AtomicU64);

impl RequestIds {
    pub(crate) fn new() -> Self {
        let mut seed = [0; 8];
        // Without randomness ids still differ within this process.
        let _ = getrandom::fill(&mut seed);
        Self(AtomicU64::new(u64::from_le_bytes(seed)))
    }

    #[expect(clippy::expect_used, reason = "an invariant")]
    fn next(&self) -> HeaderValue {
        // The last step of splitmix64: neighbours in the sequence do not look alike.
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let mut text = [0; 16];
        for (i, digit) in text.iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(z >> (60 - 4 * i) & 0xf) as usize];
        }
        HeaderValue::from_bytes(&text).expect("invariant: hexadecimal digits are legal in a header")
    }
}

/// Runs a handler; a panic becomes a problem instead of a dropped connection.
pub(crate) async fn without_panic<F: Future<Output = Response>>(handler: F) -> Response {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        task::Poll,
    };

    use axum::response::IntoResponse;

    let mut handler = std::pin::pin!(handler);
    std::future::poll_fn(move |context| {
        // The future is not polled again after a panic.
        match catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(context))) {
            Ok(poll) => poll,
            Err(payload) => Poll::Ready(crate::error::panicked(payload.as_ref()).into_response()),
        }
    })
    .await
}

/// How long a request took, for the log when it was long.
pub(crate) fn warn_when_slow(watch: Stopwatch, path: &str) {
    const SLOW_MS: u128 = 1_000;
    let took_ms = watch.elapsed().as_millis();
    if took_ms >= SLOW_MS {
        tracing::warn!(route = path, took_ms, "a request was slow");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_differ_and_given_ones_are_kept_if_they_are_names() {
        let ids = RequestIds::new();
        assert_ne!(ids.next(), ids.next());
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static("trace-42"));
        assert_eq!(request_id(&headers, &ids), "trace-42");
        headers.insert(REQUEST_ID, HeaderValue::from_static("no good"));
        assert_eq!(request_id(&headers, &ids).len(), 16);
    }

    #[tokio::test]
    async fn a_panic_is_an_answer() {
        let response = without_panic(async { panic!("with words") }).await;
        assert_eq!(response.status(), 500);
        let problem = response.extensions().get::<Problem>().and_then(Problem::cause).map(str::to_owned);
        assert_eq!(problem.as_deref(), Some("panic: with words"));
    }
}
