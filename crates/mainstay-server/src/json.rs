//! JSON bodies: one extractor that takes exactly what a route documents.

mod scan;

use std::{fmt, marker::PhantomData, time::Duration};

use axum::{
    body::Body,
    extract::{FromRequest, Request},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;
use mainstay_core::once::Once;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, MapAccess, Visitor, value::MapAccessDeserializer},
};
use sha2::{Digest, Sha256};

use crate::{
    auth::Caller,
    error::{Code, Problem},
    server::Shared,
};

/// A JSON body of type `T`.
///
/// Refused are: another media type or an encoding (415), text that is not JSON or has a key twice
/// (400), fields that are unknown, missing or of another type, and values that no store keeps
/// (422 with the field's path), and more bytes than the server takes (413).
pub(crate) struct StrictJson<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Shared> for StrictJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, server: &Shared) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let text = read_json(&parts.headers, body, server).await?;
        decode(&text).map(Self)
    }
}

/// A JSON body of a request that creates, with its idempotency key if it has one.
pub(crate) struct CreatingJson<T> {
    pub(crate) body: T,
    /// The key and what the request is, so that the same key with another request is noticed.
    pub(crate) idempotency: Option<mainstay::Idempotency>,
}

impl<T: DeserializeOwned> FromRequest<Shared> for CreatingJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, server: &Shared) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let key = idempotency_key(&parts.headers)?;
        let text = read_json(&parts.headers, body, server).await?;
        let body = decode(&text)?;
        let idempotency = match key {
            Some(key) => {
                let app = parts.extensions.get::<Caller>().map(|caller| caller.app.as_str());
                let fingerprint =
                    fingerprint(parts.method.as_str(), parts.uri.path(), app.unwrap_or_default(), &text);
                Some(mainstay::Idempotency { key, fingerprint })
            }
            None => None,
        };
        Ok(Self { body, idempotency })
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut given = headers.get_all("idempotency-key").iter();
    let Some(key) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(Problem::new(Code::BadRequest, "The header Idempotency-Key stands twice."));
    }
    // What is not ASCII fails the same check as what is not printable.
    let key = key.to_str().unwrap_or_default();
    Once::check_key(key)?;
    Ok(Some(key.to_owned()))
}

/// The same for every spelling of one request: the order of fields and white space do not count.
fn fingerprint(method: &str, path: &str, app: &str, text: &str) -> [u8; 32] {
    // `Value` keeps its fields in order of their names.
    let canonical = serde_json::from_str::<serde_json::Value>(text).unwrap_or_default().to_string();
    let mut hash = Sha256::new();
    for part in [method, path, app, &canonical] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

async fn read_json(headers: &HeaderMap, body: Body, server: &Shared) -> Result<String, Problem> {
    if !is_json(headers) {
        return Err(Problem::new(Code::UnsupportedMediaType, "The Content-Type must be application/json."));
    }
    let config = &server.config;
    let bytes = read_body(headers, body, config.body_bytes_max.get(), config.request_timeout.get()).await?;
    // A body in one piece is moved, not copied.
    String::from_utf8(bytes.into()).map_err(|_| Problem::new(Code::InvalidJson, "The body is not UTF-8."))
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut given = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(only), None) = (given.next(), given.next()) else { return false };
    if only == "application/json" {
        return true;
    }
    let mut parts = only.to_str().unwrap_or_default().split(';').map(str::trim);
    parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
        && parts.all(|parameter| {
            parameter.is_empty()
                || parameter.eq_ignore_ascii_case("charset=utf-8")
                || parameter.eq_ignore_ascii_case("charset=\"utf-8\"")
        })
}

/// Reads a whole body of at most `limit_bytes` within `patience`.
pub(crate) async fn read_body(
    headers: &HeaderMap,
    mut body: Body,
    limit_bytes: usize,
    patience: Duration,
) -> Result<Bytes, Problem> {
    let encodings = headers.get_all(header::CONTENT_ENCODING);
    if encodings.iter().any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::new(Code::UnsupportedMediaType, "The Content-Encoding must be identity."));
    }
    let too_large =
        || Problem::new(Code::TooLarge, format!("The body may have at most {limit_bytes} bytes."));
    if http_body::Body::size_hint(&body).lower() > limit_bytes as u64 {
        return Err(too_large());
    }
    let read = async {
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Problem::new(Code::BadRequest, "The body ended too early."))?;
            let Ok(data) = frame.into_data() else { continue };
            if first.len() + rest.len() + data.len() > limit_bytes {
                return Err(too_large());
            }
            if first.is_empty() {
                first = data;
            } else {
                rest.extend_from_slice(&data);
            }
        }
        if rest.is_empty() {
            return Ok(first);
        }
        let mut whole = BytesMut::with_capacity(first.len() + rest.len());
        whole.extend_from_slice(&first);
        whole.extend_from_slice(&rest);
        Ok(whole.freeze())
    };
    tokio::time::timeout(patience, read)
        .await
        .unwrap_or_else(|_| Err(Problem::new(Code::Timeout, "The body did not arrive in time.")))
}

/// Reads `text`, an object, as a `T`, or says which field is wrong.
pub(crate) fn decode<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    scan::scan(text).map_err(|fault| match fault {
        scan::Fault::Syntax { offset, reason } => {
            Problem::new(Code::InvalidJson, format!("At byte {offset}: {reason}."))
        }
        scan::Fault::Value { path, reason } => Problem::invalid(path, reason),
    })?;
    // Paths cost time and are needed for errors only.
    let decoded = serde_json::from_str(text).or_else(|_| {
        let mut decoder = serde_json::Deserializer::from_str(text);
        serde_path_to_error::deserialize(&mut decoder).map_err(|error| explain(&error))
    });
    decoded.map(|Object(value)| value)
}

/// Says what a decoder disliked, without repeating the value: it may be a secret.
fn explain(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let path = error.path().to_string();
    let message = error.inner().to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(text, _)| text);
    let quoted = |prefix: &str| message.strip_prefix(prefix).and_then(|rest| rest.split_once('`'));
    if let Some((name, _)) = quoted("missing field `") {
        return Problem::invalid(join(&path, name), "It is required.");
    }
    if let Some((name, _)) = quoted("unknown field `") {
        let name: String = name.chars().take(128).collect();
        return Problem::invalid(join(&path, &name), "There is no such field.");
    }
    let field = if path == "." { "body".to_owned() } else { path };
    let names_the_value = ["invalid type", "invalid value", "invalid length", "unknown variant"]
        .iter()
        .any(|prefix| message.starts_with(prefix));
    let expected = message.rsplit_once(", expected ").map(|(_, expected)| expected);
    match (names_the_value, expected) {
        (true, Some(expected)) => Problem::invalid(field, format!("It must be {}.", in_words(expected))),
        (true, None) => Problem::invalid(field, "It is not of the right type."),
        (false, _) => Problem::invalid(field, format!("It {message}.")),
    }
}

/// What a decoder expected, for people who do not write Rust.
fn in_words(expected: &str) -> &str {
    match expected {
        "u64" | "u32" | "u16" | "u8" | "usize" => "a whole number that is not negative",
        "i64" | "i32" | "i16" | "i8" => "a whole number",
        "f64" | "f32" => "a number",
        "a sequence" => "an array",
        "a map" => "an object",
        other => other,
    }
}

fn join(path: &str, name: &str) -> String {
    let path = path.strip_suffix(name).map_or(path, |parent| parent.trim_end_matches('.'));
    match path {
        "" | "." => name.to_owned(),
        path => format!("{path}.{name}"),
    }
}

/// A `T` that is written as an object. Decoders would take an array too, field by field.
#[derive(Debug)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

/// An answer in JSON that nobody may keep.
pub(crate) fn answer(status: http::StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(text) => {
            let mut response = Response::new(Body::from(text));
            *response.status_mut() = status;
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(error) => Problem::from(mainstay_core::Error::Decode { what: "answer", source: error.into() })
            .into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Order {
        id: u32,
        item: Object<Item>,
        #[serde(default)]
        tags: Vec<mainstay_core::Name>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Item {
        token: String,
        size: Option<Size>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Size {
        Small,
    }

    fn refusal(text: &str) -> String {
        format!("{:?}", decode::<Order>(text).unwrap_err())
    }

    #[test]
    fn a_refusal_names_the_field_and_never_repeats_the_value() {
        let cases = [
            (r#"{"id":1}"#, r#"Some("item")"#),
            (r#"{"id":1,"item":{}}"#, r#"Some("item.token")"#),
            (r#"{"id":1,"item":{"token":"a"},"extra":1}"#, r#"Some("extra")"#),
            (r#"{"id":1,"item":{"token":"a","extra":1}}"#, r#"Some("item.extra")"#),
            (r#"{"id":"s3cret, expected s3cret","item":{"token":"a"}}"#, r#"Some("id")"#),
            (r#"{"id":-1,"item":{"token":"a"}}"#, r#"Some("id")"#),
            (r#"{"id":1,"item":{"token":{"s3cret":1}}}"#, r#"Some("item.token")"#),
            (r#"{"id":1,"item":{"token":"a","size":"s3cret"}}"#, r#"Some("item.size")"#),
            (r#"{"id":1,"item":{"token":"a"},"tags":["ok","s3cret s3cret"]}"#, r#"Some("tags[1]")"#),
            (r#"{"id":1,"item":["s3cret", null]}"#, r#"Some("item")"#),
            (r#"[1,{"token":"s3cret"}]"#, r#"Some("body")"#),
            (r#""s3cret""#, r#"Some("body")"#),
        ];
        for (text, field) in cases {
            let refusal = refusal(text);
            assert!(refusal.contains("code: Invalid"), "{text}: {refusal}");
            assert!(refusal.contains(field), "{text}: {refusal}");
            assert!(!refusal.contains("s3cret"), "{text}: {refusal}");
        }
    }

    #[test]
    fn the_fingerprint_ignores_spelling_and_sees_values() {
        let print = |text| fingerprint("POST", "/v1/sessions", "default", text);
        assert_eq!(print(r#"{"a":1,"b":[1,2]}"#), print(" {\"b\" : [1, 2],\n\"a\":1}"));
        assert_ne!(print(r#"{"a":1}"#), print(r#"{"a":2}"#));
        assert_ne!(print("{}"), fingerprint("POST", "/v1/sessions", "shop", "{}"));
    }

    #[test]
    fn json_is_told_by_its_content_type() {
        let says = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
            is_json(&headers)
        };
        assert!(says("application/json"));
        assert!(says("Application/JSON; charset=UTF-8"));
        assert!(!says("application/json; charset=utf-16"));
        assert!(!says("text/xml"));
        assert!(!says("application/jsonx"));
        assert!(!is_json(&HeaderMap::new()));
    }
}
