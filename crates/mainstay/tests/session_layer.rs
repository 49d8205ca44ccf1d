//! The session layer, as a browser sees it.

#![allow(clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::Response,
    routing::{get, post},
};
use http::{HeaderMap, StatusCode, header};
use mainstay::{
    Mainstay,
    sessions::{Session, SessionOptions},
    web::{CookieOptions, CurrentSession, SameSite, SessionLayer},
};
use tower::ServiceExt;

async fn log_in(current: CurrentSession) -> StatusCode {
    match current.log_in("alice", SessionOptions::default()).await.unwrap() {
        Some(_) => StatusCode::NO_CONTENT,
        None => StatusCode::CONFLICT,
    }
}

async fn log_out(current: CurrentSession) -> StatusCode {
    if current.log_out().await.unwrap() { StatusCode::NO_CONTENT } else { StatusCode::UNAUTHORIZED }
}

async fn elevate(current: CurrentSession) -> StatusCode {
    match current.rotate(Duration::ZERO).await.unwrap() {
        Some(_) => StatusCode::NO_CONTENT,
        None => StatusCode::UNAUTHORIZED,
    }
}

async fn me(session: Session) -> String {
    session.user.to_string()
}

async fn maybe(current: CurrentSession) -> String {
    current.get().map_or_else(|| "nobody".into(), |session| session.user.to_string())
}

/// The two cookies of B-022: ours and one of the application.
async fn two_cookies(current: CurrentSession) -> ([(header::HeaderName, &'static str); 1], StatusCode) {
    let status = log_in(current).await;
    ([(header::SET_COOKIE, "theme=dark; Path=/")], status)
}

async fn app(cookie: CookieOptions) -> (Router, Arc<Mainstay>) {
    let mainstay = Mainstay::embedded(":memory:").await.unwrap();
    let router = Router::new()
        .route("/login", post(log_in))
        .route("/logout", post(log_out))
        .route("/elevate", post(elevate))
        .route("/me", get(me))
        .route("/maybe", get(maybe))
        .route("/two", post(two_cookies))
        .layer(SessionLayer::with_cookie(mainstay.sessions(), cookie));
    (router, Arc::new(mainstay))
}

async fn send(router: &Router, method: &str, path: &str, cookie: Option<&str>) -> Response {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(cookie) = cookie {
        request = request.header(header::COOKIE, cookie);
    }
    router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

fn set_cookies(headers: &HeaderMap) -> Vec<String> {
    headers.get_all(header::SET_COOKIE).iter().map(|v| v.to_str().unwrap().to_owned()).collect()
}

/// What a browser would send back.
fn sent_back(response: &Response) -> String {
    let cookie = set_cookies(response.headers()).pop().unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

async fn text(response: Response) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_login_sets_a_cookie_that_scripts_and_other_hosts_cannot_reach() {
    let (router, _mainstay) = app(CookieOptions::default()).await;

    let response = send(&router, "POST", "/login", None).await;

    let cookie = set_cookies(response.headers()).pop().unwrap();
    assert!(cookie.starts_with("__Host-session="), "{cookie}");
    for part in ["; Path=/", "; HttpOnly", "; Secure", "; SameSite=Lax", "; Max-Age=2592000"] {
        assert!(cookie.contains(part), "{part} in {cookie}");
    }
    assert!(!cookie.contains("Domain"));
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
}

#[tokio::test]
async fn the_cookie_carries_the_session() {
    let (router, _mainstay) = app(CookieOptions::default()).await;
    let cookie = sent_back(&send(&router, "POST", "/login", None).await);

    assert_eq!(text(send(&router, "GET", "/me", Some(&cookie)).await).await, "alice");
    let among_others = format!("a=b; {cookie}; c=d");
    assert_eq!(text(send(&router, "GET", "/me", Some(&among_others)).await).await, "alice");
}

#[tokio::test]
async fn without_a_session_the_extractor_answers_401_and_the_optional_one_nobody() {
    let (router, _mainstay) = app(CookieOptions::default()).await;
    for cookie in [None, Some("__Host-session=forged"), Some("session=x"), Some("=;;=")] {
        assert_eq!(send(&router, "GET", "/me", cookie).await.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(text(send(&router, "GET", "/maybe", cookie).await).await, "nobody");
    }
}

#[tokio::test]
async fn a_request_that_changes_nothing_sets_no_cookie() {
    let (router, _mainstay) = app(CookieOptions::default()).await;
    let cookie = sent_back(&send(&router, "POST", "/login", None).await);

    assert!(set_cookies(send(&router, "GET", "/me", Some(&cookie)).await.headers()).is_empty());
}

#[tokio::test]
async fn a_logout_revokes_the_session_and_removes_the_cookie() {
    let (router, _mainstay) = app(CookieOptions::default()).await;
    let cookie = sent_back(&send(&router, "POST", "/login", None).await);

    let response = send(&router, "POST", "/logout", Some(&cookie)).await;

    assert!(set_cookies(response.headers())[0].contains("; Max-Age=0"));
    assert_eq!(send(&router, "GET", "/me", Some(&cookie)).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_login_ends_the_session_that_the_request_came_with() {
    let (router, _mainstay) = app(CookieOptions::default()).await;
    let guest = sent_back(&send(&router, "POST", "/login", None).await);

    let user = sent_back(&send(&router, "POST", "/login", Some(&guest)).await);

    assert_ne!(guest, user);
    assert_eq!(send(&router, "GET", "/me", Some(&guest)).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(send(&router, "GET", "/me", Some(&user)).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_rotation_for_a_change_of_privilege_ends_the_old_cookie() {
    let (router, _mainstay) = app(CookieOptions::default()).await;
    let before = sent_back(&send(&router, "POST", "/login", None).await);

    let after = sent_back(&send(&router, "POST", "/elevate", Some(&before)).await);

    assert_eq!(send(&router, "GET", "/me", Some(&before)).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(send(&router, "GET", "/me", Some(&after)).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn every_cookie_has_a_header_of_its_own() {
    let (router, _mainstay) = app(CookieOptions::default()).await;

    let cookies = set_cookies(send(&router, "POST", "/two", None).await.headers());

    assert_eq!(cookies.len(), 2, "{cookies:?}");
}

#[tokio::test]
async fn the_cookie_can_be_adapted() {
    let cookie =
        CookieOptions { name: "sid".into(), same_site: SameSite::Strict, persistent: false, insecure: true };
    let (router, _mainstay) = app(cookie).await;

    let cookie = set_cookies(send(&router, "POST", "/login", None).await.headers()).pop().unwrap();

    assert!(cookie.starts_with("sid=") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains("Secure") && !cookie.contains("Max-Age"), "{cookie}");
}
