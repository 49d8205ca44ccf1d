//! The API's own description. It shows nothing but the API, so it is open to anyone.

use std::sync::LazyLock;

use axum::{body::Body, response::Response};
use http::{HeaderValue, header};

use crate::{app::Route, auth::Access, openapi, reference};

pub(crate) fn routes() -> Vec<Route> {
    vec![Route::get("/openapi.json", Access::Open, openapi), Route::get("/docs", Access::Open, docs)]
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "reference",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object, content_type = "application/json")),
)]
pub(crate) async fn openapi() -> Response {
    let mut response = Response::new(Body::from(openapi::document()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// This document as a page for people.
#[utoipa::path(
    get, path = "/docs", tag = "reference",
    responses((status = 200, description = "A page that needs no network and no scripts.", body = String,
        content_type = "text/html")),
)]
pub(crate) async fn docs() -> Response {
    static PAGE: LazyLock<String> = LazyLock::new(|| reference::page(&openapi::DOCUMENT));
    let mut response = Response::new(Body::from(PAGE.as_str()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Ok(policy) = HeaderValue::from_str(&reference::content_security_policy()) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}
