//! Whole answers from the cache, as a tower layer.
//!
//! What is kept: answers 200 to GET whose length is known, without `Set-Cookie`, `no-store` or a
//! `Vary` that the layer does not know. The key is a SHA-256 of host, path, sorted query, the
//! headers that answers may vary by, and the principal: who it is for.

mod answer;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::{Body, HttpBody},
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use http_body_util::BodyExt;
use mainstay_core::Name;
use sha2::{Digest, Sha256};
use tower_layer::Layer;
use tower_service::Service;

use self::answer::{Answer, hex};
use crate::cache::{Cache, raw::Raw};

/// Whom an answer is for. Only the same principal is ever given it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Somebody, by an id that no one else has: a user, and what else the answer depends on.
    Id(String),
    /// Everyone: the answer does not depend on who asks. A request with `Authorization` is then
    /// not cached all the same.
    Anyone,
}

/// The tags of an answer: a handler adds them as an extension of its response, and invalidating
/// one drops the answer.
#[derive(Clone, Debug, Default)]
pub struct ResponseTags(pub Vec<Name>);

/// What answers are kept.
#[derive(Clone, Debug)]
pub struct ResponseCacheOptions {
    /// The most bytes of a body that is kept. Default: 1 MiB.
    pub body_bytes_max: u64,
    /// Request headers that answers may vary by; answers that vary by others are not kept. Default:
    /// `accept`, `accept-encoding`, `accept-language`.
    pub vary: Vec<HeaderName>,
}

impl Default for ResponseCacheOptions {
    fn default() -> Self {
        Self {
            body_bytes_max: 1 << 20,
            vary: vec![header::ACCEPT, header::ACCEPT_ENCODING, header::ACCEPT_LANGUAGE],
        }
    }
}

/// Answers GET and HEAD from a cache namespace where it can, with `X-Cache: hit`, `stale` or `miss`.
///
/// Answers get a strong `ETag`, the hash of the body, and where the handler did not say otherwise
/// `Cache-Control: private, max-age=0, must-revalidate`, so that an invalidation reaches browsers;
/// `If-None-Match` is answered with 304. A handler runs once for each request that is not answered
/// from the cache, whatever fails. Within the namespace's grace a stale answer is given while the
/// handler runs once beside the requests. How long answers live is the policy of the namespace.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
/// # let mainstay = mainstay::Mainstay::embedded(":memory:").await?;
/// use axum::{Router, routing::get};
/// use mainstay::web::{Principal, ResponseCacheLayer};
///
/// let pages = ResponseCacheLayer::new(mainstay.cache("pages")?, |request| {
///     let user = request.headers.get("x-user")?.to_str().ok()?; // `None`: not from the cache
///     Some(Principal::Id(user.to_owned()))
/// });
/// let app: Router = Router::new().route("/report", get(|| async { "slow to make" })).layer(pages);
/// # mainstay.close().await; Ok(()) }
/// ```
#[derive(Clone)]
pub struct ResponseCacheLayer {
    shared: Arc<Shared>,
}

type PrincipalOf = dyn Fn(&Parts) -> Option<Principal> + Send + Sync;

struct Shared {
    cache: Cache,
    principal: Box<PrincipalOf>,
    options: ResponseCacheOptions,
}

impl fmt::Debug for ResponseCacheLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseCacheLayer").field("cache", &self.shared.cache).finish_non_exhaustive()
    }
}

impl ResponseCacheLayer {
    /// A layer over `cache`. `principal` says whom the answer to a request is for; `None` leaves
    /// the request alone.
    pub fn new(
        cache: Cache,
        principal: impl Fn(&Parts) -> Option<Principal> + Send + Sync + 'static,
    ) -> Self {
        Self::with_options(cache, ResponseCacheOptions::default(), principal)
    }

    /// As [`ResponseCacheLayer::new`], with options of your own.
    pub fn with_options(
        cache: Cache,
        options: ResponseCacheOptions,
        principal: impl Fn(&Parts) -> Option<Principal> + Send + Sync + 'static,
    ) -> Self {
        Self { shared: Arc::new(Shared { cache, principal: Box::new(principal), options }) }
    }
}

impl<S> Layer<S> for ResponseCacheLayer {
    type Service = ResponseCacheService<S>;

    fn layer(&self, inner: S) -> ResponseCacheService<S> {
        ResponseCacheService { inner, shared: Arc::clone(&self.shared) }
    }
}

/// What [`ResponseCacheLayer`] makes of a service.
#[derive(Clone)]
pub struct ResponseCacheService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> fmt::Debug for ResponseCacheService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseCacheService").field("cache", &self.shared.cache).finish_non_exhaustive()
    }
}

impl<S> Service<Request> for ResponseCacheService<S>
where
    S: Service<Request, Response = Response> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The clone that is left behind has not been made ready; the one that was takes the request.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let Some((key, principal)) = shared.key(&parts) else {
                return inner.call(Request::from_parts(parts, body)).await;
            };
            // A failed cache, or an entry that is not ours, is a miss.
            let cached = shared.cache.get_raw(&key).await.ok().flatten();
            if let Some((cached, answer)) = cached.and_then(|c| Answer::decode(&c).map(|answer| (c, answer)))
            {
                if cached.is_stale() {
                    let work = shared.clone().refresh(inner, parts.clone(), key.clone(), principal);
                    shared.cache.refresh_beside(&key, work);
                }
                let status = if cached.is_stale() { "stale" } else { "hit" };
                return Ok(answer.respond(&parts, status, Some(cached.age())));
            }
            if parts.method == Method::HEAD {
                // Its answer has no body to keep.
                return inner.call(Request::from_parts(parts, body)).await;
            }
            let asked = parts.clone();
            shared.run(&mut inner, Request::from_parts(parts, body), &key, &principal).await.map(|made| {
                match made {
                    Made::Kept(answer) => answer.respond(&asked, "miss", None),
                    Made::NotKept(response) => response,
                }
            })
        })
    }
}

/// What a handler made.
enum Made {
    Kept(Answer),
    NotKept(Response),
}

impl Shared {
    /// The key and the principal; `None` when the request is none of ours.
    fn key(&self, parts: &Parts) -> Option<(String, Principal)> {
        let is_read = parts.method == Method::GET || parts.method == Method::HEAD;
        if !is_read || parts.headers.contains_key(header::RANGE) || says(&parts.headers, "no-store") {
            return None;
        }
        let principal = (self.principal)(parts)?;
        if principal == Principal::Anyone && parts.headers.contains_key(header::AUTHORIZATION) {
            return None;
        }
        let mut hash = Sha256::new();
        let mut feed = |part: &[u8]| {
            // The length keeps the parts apart.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        match &principal {
            Principal::Id(id) => feed(format!("id:{id}").as_bytes()),
            Principal::Anyone => feed(b"anyone"),
        }
        let host = parts.headers.get(header::HOST).map_or(b"".as_slice(), HeaderValue::as_bytes);
        feed(parts.uri.authority().map_or(host, |authority| authority.as_str().as_bytes()));
        feed(parts.uri.path().as_bytes());
        let mut query: Vec<&str> = parts.uri.query().unwrap_or_default().split('&').collect();
        // By name only: the order of equal names can mean something.
        query.sort_by_key(|pair| pair.split('=').next().unwrap_or_default());
        feed(query.join("&").as_bytes());
        for name in &self.options.vary {
            for value in parts.headers.get_all(name) {
                feed(value.as_bytes());
            }
            feed(name.as_str().as_bytes());
        }
        Some((hex(&hash.finalize()), principal))
    }

    /// Runs the handler, and keeps what it made if that may be kept.
    async fn run<S>(
        &self,
        inner: &mut S,
        request: Request,
        key: &str,
        principal: &Principal,
    ) -> Result<Made, S::Error>
    where
        S: Service<Request, Response = Response>,
    {
        let making = self.cache.begin_making(key);
        let response = inner.call(request).await?;
        let tags = response.extensions().get::<ResponseTags>().cloned().unwrap_or_default().0;
        let (Ok(making), true) = (making, self.may_keep(&response, principal)) else {
            return Ok(Made::NotKept(response));
        };
        let (head, body) = response.into_parts();
        let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
            // The handler has run and its answer is broken off: it must not run again.
            return Ok(Made::NotKept(StatusCode::INTERNAL_SERVER_ERROR.into_response()));
        };
        let answer = Answer::new(&head, body, *principal == Principal::Anyone);
        let raw = Raw { bytes: answer.encode(), content_type: answer::CONTENT_TYPE.to_owned() };
        // Too large for the namespace, or a tag too many: the answer is given all the same.
        if let Err(error) = making.keep(raw, tags).await {
            tracing::warn!(%error, "an answer cannot be kept");
        }
        Ok(Made::Kept(answer))
    }

    fn may_keep(&self, response: &Response, principal: &Principal) -> bool {
        let headers = response.headers();
        let known_vary = headers.get_all(header::VARY).iter().all(|value| {
            let names = value.to_str().unwrap_or("*").split(',').map(str::trim);
            names
                .filter(|name| !name.is_empty())
                .all(|name| self.options.vary.iter().any(|known| known.as_str().eq_ignore_ascii_case(name)))
        });
        let is_private = says(headers, "private") && *principal == Principal::Anyone;
        // What has no known length may have no end.
        let length = response.body().size_hint().exact();
        response.status() == StatusCode::OK
            && !headers.contains_key(header::SET_COOKIE)
            && !says(headers, "no-store")
            && !is_private
            && known_vary
            && Answer::can_hold(headers)
            && length.is_some_and(|bytes| bytes <= self.options.body_bytes_max)
    }

    /// Makes a stale answer anew; tells whether it was kept.
    async fn refresh<S>(
        self: Arc<Self>,
        mut inner: S,
        mut parts: Parts,
        key: String,
        principal: Principal,
    ) -> bool
    where
        S: Service<Request, Response = Response>,
    {
        parts.method = Method::GET;
        for condition in [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE] {
            parts.headers.remove(condition);
        }
        let ready = std::future::poll_fn(|cx| inner.poll_ready(cx)).await;
        if ready.is_err() {
            return false;
        }
        let request = Request::from_parts(parts, Body::empty());
        matches!(self.run(&mut inner, request, &key, &principal).await, Ok(Made::Kept(_)))
    }
}

/// Whether `Cache-Control` holds the directive.
fn says(headers: &http::HeaderMap, directive: &str) -> bool {
    headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value
            .split(',')
            .any(|one| one.split('=').next().unwrap_or_default().trim().eq_ignore_ascii_case(directive))
    })
}
