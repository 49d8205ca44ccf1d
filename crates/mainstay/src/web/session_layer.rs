//! Sessions by cookie, as a tower layer and axum extractors.

use std::{
    convert::Infallible,
    fmt::{self, Write as _},
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::{FromRequestParts, Request},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use mainstay_core::{Error, Result};
use tower_layer::Layer;
use tower_service::Service;

use crate::sessions::{NewSession, Session, SessionOptions, Sessions};

/// When a browser sends the cookie along with requests from other sites.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SameSite {
    /// When somebody follows a link to us.
    #[default]
    Lax,
    /// Never.
    Strict,
    /// Always. Then the application must defend itself against forged requests.
    None,
}

/// How the cookie is written.
#[derive(Clone, Debug)]
pub struct CookieOptions {
    /// Its name after `__Host-`. Default: `session`.
    pub name: String,
    /// Default: [`SameSite::Lax`].
    pub same_site: SameSite,
    /// Whether the browser keeps it until the session's absolute end, or forgets it when it is
    /// closed. Default: kept.
    pub persistent: bool,
    /// Leaves out `Secure` and the prefix `__Host-`, which demands it. Only for development
    /// without TLS. Default: false.
    pub insecure: bool,
}

impl Default for CookieOptions {
    fn default() -> Self {
        Self { name: "session".into(), same_site: SameSite::Lax, persistent: true, insecure: false }
    }
}

impl CookieOptions {
    fn full_name(&self) -> String {
        if self.insecure { self.name.clone() } else { format!("__Host-{}", self.name) }
    }

    /// `max_age` of zero removes the cookie.
    fn write(&self, token: &str, max_age: Option<Duration>) -> String {
        let same_site = match self.same_site {
            SameSite::Lax => "Lax",
            SameSite::Strict => "Strict",
            SameSite::None => "None",
        };
        let mut cookie = format!("{}={token}; Path=/; HttpOnly; SameSite={same_site}", self.full_name());
        if !self.insecure {
            cookie.push_str("; Secure");
        }
        if let Some(max_age) = max_age {
            // Writing to a String cannot fail.
            let _ = write!(cookie, "; Max-Age={}", max_age.as_secs());
        }
        cookie
    }
}

/// Finds the session of each request by its cookie.
///
/// Inner services get a [`CurrentSession`]. A store that cannot say whether the session is live
/// gives 503, not a request that looks logged out.
///
/// ```
/// # use axum::{Router, http::StatusCode, routing::{get, post}};
/// # use mainstay::{*, sessions::*, web::*};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
/// # let mainstay = Mainstay::embedded(":memory:").await?;
/// async fn log_in(current: CurrentSession) -> StatusCode {
///     // After the password was verified.
///     match current.log_in("alice", SessionOptions::default()).await {
///         Ok(Some(_)) => StatusCode::NO_CONTENT,
///         Ok(None) => StatusCode::CONFLICT,
///         Err(_) => StatusCode::SERVICE_UNAVAILABLE,
///     }
/// }
///
/// async fn me(session: Session) -> String {
///     session.user.to_string()
/// }
///
/// let app: Router = Router::new()
///     .route("/login", post(log_in))
///     .route("/me", get(me))
///     .layer(SessionLayer::new(mainstay.sessions()));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct SessionLayer {
    sessions: Sessions,
    cookie: Arc<CookieOptions>,
}

impl SessionLayer {
    /// A layer for `sessions`, with the cookie `__Host-session`.
    #[must_use]
    pub fn new(sessions: Sessions) -> Self {
        Self::with_cookie(sessions, CookieOptions::default())
    }

    /// A layer with a cookie of your own.
    #[must_use]
    pub fn with_cookie(sessions: Sessions, cookie: CookieOptions) -> Self {
        Self { sessions, cookie: Arc::new(cookie) }
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> SessionService<S> {
        SessionService { inner, layer: self.clone() }
    }
}

/// What [`SessionLayer`] makes of a service.
#[derive(Clone, Debug)]
pub struct SessionService<S> {
    inner: S,
    layer: SessionLayer,
}

impl<S> Service<Request> for SessionService<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        // The clone that is left behind has not been made ready; the one that was takes the request.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let layer = self.layer.clone();
        Box::pin(async move {
            let token = cookie_of(request.headers(), &layer.cookie.full_name());
            let session = match &token {
                Some(token) => match layer.sessions.check(token).await {
                    Ok(session) => session,
                    Err(error) => return Ok(unavailable(&error)),
                },
                None => None,
            };
            let state = State { token: token.filter(|_| session.is_some()), session, cookie: None };
            let current = CurrentSession { layer, state: Arc::new(Mutex::new(state)) };
            request.extensions_mut().insert(current.clone());
            let mut response = inner.call(request).await?;
            if let Some(cookie) = current.lock().cookie.take()
                && let Ok(value) = HeaderValue::from_str(&cookie)
            {
                response.headers_mut().append(header::SET_COOKIE, value);
                response
                    .headers_mut()
                    .entry(header::CACHE_CONTROL)
                    .or_insert(HeaderValue::from_static("no-store"));
            }
            Ok(response)
        })
    }
}

struct State {
    token: Option<String>,
    session: Option<Session>,
    /// The `Set-Cookie` that the answer will carry.
    cookie: Option<String>,
}

/// The session of this request, if it has one, and the means to begin and end it. An extractor.
#[derive(Clone)]
pub struct CurrentSession {
    layer: SessionLayer,
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for CurrentSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurrentSession").field("session", &self.get().map(|s| s.id)).finish_non_exhaustive()
    }
}

impl CurrentSession {
    /// The session as it was at the beginning of the request, or as [`CurrentSession::log_in`] or
    /// [`CurrentSession::rotate`] left it.
    #[must_use]
    pub fn get(&self) -> Option<Session> {
        self.lock().session.clone()
    }

    /// Creates a session for `user` and gives the client its cookie. A session that the request
    /// came with, a guest's for example, is revoked: no token survives a login. `None`: the user
    /// has as many sessions as allowed.
    ///
    /// # Errors
    /// As [`Sessions::create`].
    pub async fn log_in(&self, user: &str, options: SessionOptions) -> Result<Option<Session>> {
        let NewSession::Created { token, session, .. } = self.layer.sessions.create(user, options).await?
        else {
            return Ok(None);
        };
        if let Some(before) = self.get() {
            self.layer.sessions.revoke(before.id).await?;
        }
        self.take(token, &session);
        Ok(Some(session))
    }

    /// Revokes the session and removes the cookie. `false`: there was none.
    ///
    /// # Errors
    /// As [`Sessions::revoke`]; the cookie stays then.
    pub async fn log_out(&self) -> Result<bool> {
        let Some(session) = self.get() else { return Ok(false) };
        self.layer.sessions.revoke(session.id).await?;
        let mut state = self.lock();
        state.session = None;
        state.token = None;
        state.cookie = Some(self.layer.cookie.write("", Some(Duration::ZERO)));
        Ok(true)
    }

    /// Gives the client a new token for the same session; for a change of privilege with a `grace`
    /// of zero. `None`: the request has no session, or it has ended meanwhile.
    ///
    /// # Errors
    /// As [`Sessions::rotate`].
    pub async fn rotate(&self, grace: Duration) -> Result<Option<Session>> {
        let Some(token) = self.lock().token.clone() else { return Ok(None) };
        let Some((token, session)) = self.layer.sessions.rotate(&token, grace).await? else {
            return Ok(None);
        };
        self.take(token, &session);
        Ok(Some(session))
    }

    fn take(&self, token: String, session: &Session) {
        let keep = session.absolute_expires_at.since(session.last_seen_at);
        let max_age = self.layer.cookie.persistent.then_some(keep);
        let mut state = self.lock();
        state.cookie = Some(self.layer.cookie.write(&token, max_age));
        state.session = Some(session.clone());
        state.token = Some(token);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Sync> FromRequestParts<S> for CurrentSession {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        parts.extensions.get().cloned().ok_or_else(|| {
            tracing::error!("CurrentSession was asked for on a route without SessionLayer");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        })
    }
}

/// Extracts the session, and answers 401 where there is none.
impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let current = CurrentSession::from_request_parts(parts, state).await?;
        current.get().ok_or_else(|| StatusCode::UNAUTHORIZED.into_response())
    }
}

fn unavailable(error: &Error) -> Response {
    if error.is_retryable() {
        (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")]).into_response()
    } else {
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

/// The value of the first cookie with this name.
fn cookie_of(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}
