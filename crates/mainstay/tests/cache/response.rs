//! Whole answers from the cache.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use http_body_util::BodyExt;
use mainstay::{
    cache::{Cache, CachePolicy, tags},
    web::{Principal, ResponseCacheLayer, ResponseTags},
};
use tower::ServiceExt;

use crate::store::TestStore;

/// Answers with how often it ran, and as its path says.
#[derive(Clone, Default)]
struct Handler(Arc<AtomicU32>);

impl Handler {
    fn runs(&self) -> u32 {
        self.0.load(SeqCst)
    }

    fn answer(&self, path: &str) -> Response {
        let run = self.0.fetch_add(1, SeqCst) + 1;
        let body = format!("run {run}");
        match path {
            "/cookie" => ([(header::SET_COOKIE, "a=b")], body).into_response(),
            "/no-store" => ([(header::CACHE_CONTROL, "private, No-Store")], body).into_response(),
            "/max-age" => ([(header::CACHE_CONTROL, "max-age=60")], body).into_response(),
            "/missing" => (StatusCode::NOT_FOUND, body).into_response(),
            "/broken" => (StatusCode::INTERNAL_SERVER_ERROR, body).into_response(),
            "/vary" => ([(header::VARY, "Accept-Encoding, Cookie")], body).into_response(),
            "/vary-known" => ([(header::VARY, "Accept-Encoding")], body).into_response(),
            "/large" => "x".repeat(2 << 20).into_response(),
            "/stream" => Response::new(Body::new(http_body_util::BodyExt::boxed_unsync(Endless(body)))),
            "/tagged" => (axum::Extension(ResponseTags(tags(["report:1"]).unwrap())), body).into_response(),
            "/same" => "always the same".into_response(),
            _ => body.into_response(),
        }
    }
}

/// A body that does not say how long it is.
struct Endless(String);

impl axum::body::HttpBody for Endless {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Infallible>>> {
        let chunk = std::mem::take(&mut self.0);
        std::task::Poll::Ready((!chunk.is_empty()).then(|| Ok(http_body::Frame::data(chunk.into()))))
    }
}

fn router(cache: Cache) -> (Router, Handler) {
    let handler = Handler::default();
    let answer = {
        let handler = handler.clone();
        move |request: Request| async move { handler.answer(request.uri().path()) }
    };
    let layer = ResponseCacheLayer::new(cache, |parts| {
        match parts.headers.get("x-user").and_then(|user| user.to_str().ok()) {
            Some("anyone") => Some(Principal::Anyone),
            Some(user) => Some(Principal::Id(user.to_owned())),
            None => None,
        }
    });
    (Router::new().fallback(any(answer)).layer(layer), handler)
}

struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answered {
    fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn cache(&self) -> &str {
        self.header("x-cache").unwrap_or("none")
    }
}

async fn send(router: &Router, method: Method, uri: &str, headers: &[(&str, &str)]) -> Answered {
    let mut request = Request::builder().method(method).uri(uri).header("host", "shop.example.org");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let body = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    Answered { status: head.status, headers: head.headers, body }
}

async fn get(router: &Router, uri: &str, user: &str) -> Answered {
    send(router, Method::GET, uri, &[("x-user", user)]).await
}

#[tokio::test]
async fn the_second_answer_comes_from_the_cache() {
    let store = TestStore::open().await;
    let (router, handler) = router(store.cache("pages"));
    let first = get(&router, "/a", "alice").await;
    store.advance(Duration::from_secs(3));
    let second = get(&router, "/a", "alice").await;

    assert_eq!((first.cache(), second.cache()), ("miss", "hit"));
    assert_eq!((first.body.as_str(), second.body.as_str()), ("run 1", "run 1"));
    assert_eq!(second.header(header::AGE), Some("3"));
    assert_eq!(second.header(header::CONTENT_TYPE), Some("text/plain; charset=utf-8"));
    assert_eq!(second.header(header::CACHE_CONTROL), Some("private, max-age=0, must-revalidate"));
    assert_eq!(handler.runs(), 1);
}

#[tokio::test]
async fn users_and_urls_that_begin_alike_never_share_an_answer() {
    let store = TestStore::open().await;
    let (router, handler) = router(store.cache("pages"));
    let long = "/a/path/that/is/longer/than/thirty-two/characters";
    let mut n = 0;
    for user in ["alice", "bob", "ali", "anyone"] {
        for uri in
            [format!("{long}/1"), format!("{long}/2"), format!("{long}/1?page=2"), format!("{long}/1?page=3")]
        {
            n += 1;
            assert_eq!(get(&router, &uri, user).await.body, format!("run {n}"), "{user} {uri}");
        }
    }
    let other_host = send(&router, Method::GET, "http://other.example.org/x", &[("x-user", "alice")]).await;
    let this_host = get(&router, "/x", "alice").await;
    assert_ne!(other_host.body, this_host.body);
    assert_eq!(handler.runs(), n + 2);
}

#[tokio::test]
async fn the_order_of_different_query_names_does_not_matter() {
    let store = TestStore::open().await;
    let (router, handler) = router(store.cache("pages"));
    get(&router, "/a?x=1&y=2&x=3", "alice").await;
    assert_eq!(get(&router, "/a?y=2&x=1&x=3", "alice").await.cache(), "hit");
    assert_eq!(get(&router, "/a?y=2&x=3&x=1", "alice").await.cache(), "miss");
    assert_eq!(handler.runs(), 2);
}

#[tokio::test]
async fn what_must_not_be_kept_is_not_kept() {
    let store = TestStore::open().await;
    let (router, _) = router(store.cache("pages"));
    for uri in ["/cookie", "/no-store", "/missing", "/broken", "/vary", "/large", "/stream"] {
        let (first, second) = (get(&router, uri, "alice").await, get(&router, uri, "alice").await);
        assert_eq!((first.cache(), second.cache()), ("none", "none"), "{uri}");
        assert_eq!(first.status, second.status);
    }
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        assert_eq!(send(&router, method, "/a", &[("x-user", "alice")]).await.cache(), "none");
    }
    for headers in [
        vec![],
        vec![("x-user", "alice"), ("cache-control", "no-store")],
        vec![("x-user", "alice"), ("range", "bytes=0-1")],
        vec![("x-user", "anyone"), ("authorization", "Bearer secret")],
    ] {
        assert_eq!(send(&router, Method::GET, "/a", &headers).await.cache(), "none", "{headers:?}");
    }
    assert_eq!(store.stats("pages").await.entries, 0);
}

#[tokio::test]
async fn a_header_that_answers_may_vary_by_is_part_of_the_key() {
    let store = TestStore::open().await;
    let (router, handler) = router(store.cache("pages"));
    for encoding in ["gzip", "br", "gzip"] {
        send(&router, Method::GET, "/vary-known", &[("x-user", "alice"), ("accept-encoding", encoding)])
            .await;
    }
    assert_eq!(handler.runs(), 2);
}

/// B-084: the handler runs once for a request, whatever fails.
#[tokio::test]
async fn a_handler_runs_once_for_each_request_that_reaches_it() {
    let store = TestStore::open().await;
    let (pages, handler) = router(store.cache("pages"));
    get(&pages, "/broken", "alice").await;
    assert_eq!(handler.runs(), 1);

    let (mainstay, _folder) = crate::store::broken_cache().await;
    let (pages, handler) = router(mainstay.cache("values").unwrap());
    assert_eq!(get(&pages, "/a", "alice").await.body, "run 1");
    assert_eq!(handler.runs(), 1);

    let tiny = CachePolicy { value_bytes_max: 1, ..CachePolicy::default() };
    let (pages, handler) = router(store.app().cache_with("tiny", tiny).unwrap());
    assert_eq!(get(&pages, "/a", "alice").await.body, "run 1");
    assert_eq!(handler.runs(), 1);
    mainstay.close().await;
}

/// B-082: the tag is of the content, so that a browser that asks is told the truth.
#[tokio::test]
async fn a_browser_that_has_the_answer_is_told_so() {
    let store = TestStore::open().await;
    let (router, _) = router(store.cache("pages"));
    let first = get(&router, "/same", "alice").await;
    let tag = first.header(header::ETAG).unwrap().to_owned();
    let of_other = get(&router, "/same", "bob").await;
    assert_eq!(of_other.header(header::ETAG), Some(tag.as_str()), "of the content, not of the clock");

    for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
        let again =
            send(&router, Method::GET, "/same", &[("x-user", "alice"), ("if-none-match", &known)]).await;
        assert_eq!((again.status, again.body.as_str()), (StatusCode::NOT_MODIFIED, ""), "{known}");
        assert_eq!(again.header(header::ETAG), Some(tag.as_str()));
    }
    let other = send(&router, Method::GET, "/same", &[("x-user", "alice"), ("if-none-match", "\"x\"")]).await;
    assert_eq!((other.status, other.cache()), (StatusCode::OK, "hit"));
    assert_eq!(get(&router, "/max-age", "alice").await.header(header::CACHE_CONTROL), Some("max-age=60"));
}

#[tokio::test]
async fn a_head_is_answered_from_what_a_get_left() {
    let store = TestStore::open().await;
    let (router, handler) = router(store.cache("pages"));
    assert_eq!(send(&router, Method::HEAD, "/a", &[("x-user", "alice")]).await.cache(), "none");
    let full = get(&router, "/a", "alice").await;
    let head = send(&router, Method::HEAD, "/a", &[("x-user", "alice")]).await;

    assert_eq!((head.cache(), head.body.as_str()), ("hit", ""));
    assert_eq!(head.header(header::CONTENT_LENGTH), Some("5"));
    assert_eq!(head.header(header::ETAG), full.header(header::ETAG));
    assert_eq!(handler.runs(), 2);
}

#[tokio::test]
async fn an_invalidated_tag_drops_the_answer() {
    let store = TestStore::open().await;
    let (router, _) = router(store.cache("pages"));
    get(&router, "/tagged", "alice").await;
    assert_eq!(get(&router, "/tagged", "alice").await.cache(), "hit");
    store.app().invalidate_tags(&["report:1"]).await.unwrap();

    assert_eq!(get(&router, "/tagged", "alice").await.body, "run 2");
}

#[tokio::test]
async fn a_stale_answer_is_given_while_one_is_made_beside() {
    let store = TestStore::open().await;
    let minute = Duration::from_secs(60);
    let policy = CachePolicy { grace: minute, jitter: 0.0, ..CachePolicy::with_ttl(minute) };
    let (router, handler) = router(store.app().cache_with("pages", policy).unwrap());
    get(&router, "/a", "alice").await;
    store.advance(minute);

    let stale = get(&router, "/a", "alice").await;

    assert_eq!((stale.cache(), stale.body.as_str()), ("stale", "run 1"));
    for _ in 0..2000 {
        if get(&router, "/a", "alice").await.body == "run 2" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(get(&router, "/a", "alice").await.cache(), "hit");
    assert_eq!(handler.runs(), 2);
}
