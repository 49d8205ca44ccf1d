//! An answer as it is kept.

use std::{fmt::Write, time::Duration};

use axum::{body::Body, response::Response};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts, response};
use sha2::{Digest, Sha256};

use crate::cache::raw::Raw;

const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
/// Tells our entries from others of the namespace.
pub(super) const CONTENT_TYPE: &str = "application/vnd.mainstay.response";

const PRIVATE: HeaderValue = HeaderValue::from_static("private, max-age=0, must-revalidate");
const PUBLIC: HeaderValue = HeaderValue::from_static("public, max-age=0, must-revalidate");

/// Headers of one hop or one moment.
const NOT_KEPT: [HeaderName; 8] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::CONTENT_LENGTH,
    header::TRAILER,
    header::UPGRADE,
    header::DATE,
    header::AGE,
    HeaderName::from_static("x-request-id"),
];

/// A status 200 with its headers and its whole body.
pub(super) struct Answer {
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    /// Whether the headers can be written down as text.
    pub(super) fn can_hold(headers: &HeaderMap) -> bool {
        headers.values().all(|value| value.to_str().is_ok())
    }

    pub(super) fn new(head: &response::Parts, body: Bytes, for_anyone: bool) -> Self {
        let mut headers = head.headers.clone();
        for name in NOT_KEPT {
            headers.remove(name);
        }
        if !headers.contains_key(header::CACHE_CONTROL) {
            headers.insert(header::CACHE_CONTROL, if for_anyone { PUBLIC } else { PRIVATE });
        }
        if !headers.contains_key(header::ETAG)
            && let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", hex(&Sha256::digest(&body))))
        {
            headers.insert(header::ETAG, tag);
        }
        Self { headers, body }
    }

    /// The length of the headers, the headers as JSON, the body.
    pub(super) fn encode(&self) -> Bytes {
        let pairs: Vec<(&str, &str)> = self
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
            .collect();
        let head = serde_json::to_vec(&pairs).unwrap_or_default();
        let mut bytes = BytesMut::with_capacity(8 + head.len() + self.body.len());
        bytes.put_u64(head.len() as u64);
        bytes.put_slice(&head);
        bytes.put_slice(&self.body);
        bytes.freeze()
    }

    /// `None` when the bytes are not an answer.
    pub(super) fn decode(raw: &Raw) -> Option<Self> {
        if raw.content_type != CONTENT_TYPE {
            return None;
        }
        let (length, rest) = raw.bytes.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_be_bytes(*length)).ok()?;
        let pairs: Vec<(String, String)> = serde_json::from_slice(rest.get(..length)?).ok()?;
        let mut headers = HeaderMap::with_capacity(pairs.len() + 2);
        for (name, value) in pairs {
            headers.append(name.parse::<HeaderName>().ok()?, value.parse().ok()?);
        }
        Some(Self { headers, body: raw.bytes.slice(8 + length..) })
    }

    /// The answer to `request`: 304 when it has what it would be given.
    pub(super) fn respond(self, request: &Parts, status: &'static str, age: Option<Duration>) -> Response {
        let is_known = self.headers.get(header::ETAG).is_some_and(|tag| matches(&request.headers, tag));
        let mut headers = self.headers;
        headers.insert(X_CACHE, HeaderValue::from_static(status));
        if let Some(age) = age {
            headers.insert(header::AGE, age.as_secs().into());
        }
        let body = if is_known {
            headers.remove(header::CONTENT_TYPE);
            Body::empty()
        } else if request.method == Method::HEAD {
            headers.insert(header::CONTENT_LENGTH, self.body.len().into());
            Body::empty()
        } else {
            Body::from(self.body)
        };
        let mut response = Response::new(body);
        *response.status_mut() = if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
        *response.headers_mut() = headers;
        response
    }
}

/// Whether `If-None-Match` names the tag; weak and strong tags count as equal there.
fn matches(request: &HeaderMap, tag: &HeaderValue) -> bool {
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let Ok(tag) = tag.to_str() else { return false };
    request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|one| one.trim() == "*" || strong(one) == strong(tag))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
