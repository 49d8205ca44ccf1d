//! What a client is told when a request is not served. The only file that chooses a status.

use std::{borrow::Cow, error::Error as _, fmt::Write as _};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

/// How many seconds a client is asked to wait before it tries again.
const RETRY_AFTER_S: u32 = 1;

/// Why a request is not served. Each has one status and one code for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    BadRequest,
    InvalidJson,
    Unauthorized,
    SessionInvalid,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    Timeout,
    Conflict,
    PreconditionFailed,
    TooLarge,
    UriTooLong,
    UnsupportedMediaType,
    Invalid,
    IdempotencyMismatch,
    HeadersTooLarge,
    Internal,
    Unavailable,
}

impl Code {
    /// Every code, for the documents.
    pub(crate) const ALL: [Self; 18] = [
        Self::BadRequest,
        Self::InvalidJson,
        Self::Unauthorized,
        Self::SessionInvalid,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Timeout,
        Self::Conflict,
        Self::PreconditionFailed,
        Self::TooLarge,
        Self::UriTooLong,
        Self::UnsupportedMediaType,
        Self::Invalid,
        Self::IdempotencyMismatch,
        Self::HeadersTooLarge,
        Self::Internal,
        Self::Unavailable,
    ];

    /// The status, the stable code and the title.
    pub(crate) fn describe(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadRequest => (StatusCode::BAD_REQUEST, "bad_request", "The request is ambiguous"),
            Self::InvalidJson => (StatusCode::BAD_REQUEST, "invalid_json", "The body is not JSON"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "A valid token is needed"),
            Self::SessionInvalid => (StatusCode::UNAUTHORIZED, "session_invalid", "The session is not valid"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "The token may not do this"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "There is nothing here"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "The method is not served here")
            }
            Self::Timeout => (StatusCode::REQUEST_TIMEOUT, "timeout", "The request took too long to arrive"),
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "The present state does not allow this"),
            Self::PreconditionFailed => {
                (StatusCode::PRECONDITION_FAILED, "precondition_failed", "The condition does not hold")
            }
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", "The request is too large"),
            Self::UriTooLong => (StatusCode::URI_TOO_LONG, "uri_too_long", "The address is too long"),
            Self::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The media type is not taken")
            }
            Self::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid", "A value is not accepted"),
            Self::IdempotencyMismatch => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_mismatch",
                "The idempotency key belongs to another request",
            ),
            Self::HeadersTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers_too_large",
                "The headers are too large",
            ),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server failed"),
            Self::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The server cannot do this now")
            }
        }
    }
}

/// A request that is not served, and why.
///
/// As a response it has no body yet: the edge writes it, since only the edge knows the request id.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    field: Option<Cow<'static, str>>,
    /// What the log gets to know and the client does not.
    cause: Option<String>,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), field: None, cause: None }
    }

    /// A value that is not accepted; `field` is its path in the body, or the name of the parameter.
    pub(crate) fn invalid(field: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { field: Some(field.into()), ..Self::new(Code::Invalid, detail) }
    }

    pub(crate) fn not_found() -> Self {
        Self::new(Code::NotFound, "There is no such thing, or it has ended.")
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// The same problem with another name for the value, as the client knows it.
    pub(crate) fn named(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// The same problem of a value within `path`.
    pub(crate) fn inside(mut self, path: &str) -> Self {
        if let Some(field) = &self.field {
            self.field = Some(format!("{path}.{field}").into());
        }
        self
    }

    /// What only the log may know.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The whole answer.
    pub(crate) fn render(&self, request_id: &str) -> Response {
        let (status, code, title) = self.code.describe();
        let body = ProblemBody {
            kind: format!("/docs#{code}"),
            title: title.into(),
            status: status.as_u16(),
            code: code.into(),
            detail: self.detail.clone().into_owned(),
            field: self.field.clone().map(Cow::into_owned),
            request_id: request_id.to_owned(),
        };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self.code {
            Code::Unavailable => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
            }
            Code::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.code.describe().0;
        response.extensions_mut().insert(self);
        response
    }
}

impl From<mainstay_core::Error> for Problem {
    fn from(error: mainstay_core::Error) -> Self {
        use mainstay_core::Error;
        match error {
            Error::Invalid { field, reason } => Self::invalid(field, sentence(&reason)),
            Error::TooLarge { field, size_bytes, limit_bytes } => Self {
                field: Some(field),
                ..Self::new(Code::TooLarge, format!("It has {size_bytes} bytes; the limit is {limit_bytes}."))
            },
            Error::IdempotencyMismatch => Self::new(
                Code::IdempotencyMismatch,
                "The same Idempotency-Key was used before with another request.",
            ),
            Error::Unavailable { .. } => Self {
                cause: Some(chain(&error)),
                ..Self::new(Code::Unavailable, "The store cannot take the request now; try again.")
            },
            _ => Self {
                cause: Some(chain(&error)),
                ..Self::new(Code::Internal, "The log has the details under the request id.")
            },
        }
    }
}

/// A handler that panicked. The message goes to the log only.
pub(crate) fn panicked(payload: &(dyn std::any::Any + Send)) -> Problem {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without words");
    Problem {
        cause: Some(format!("panic: {text}")),
        ..Problem::new(Code::Internal, "The log has the details under the request id.")
    }
}

/// An error with everything that led to it.
fn chain(error: &mainstay_core::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a String cannot fail.
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

/// `must be so` as a sentence of its own.
fn sentence(reason: &str) -> String {
    let mut chars = reason.chars();
    let mut text: String = chars.next().map(|first| first.to_ascii_uppercase()).into_iter().collect();
    text.push_str(chars.as_str());
    if !text.ends_with('.') {
        text.push('.');
    }
    text
}

/// What went wrong, as RFC 9457 says it.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemBody {
    /// Where the code is explained, relative to this server.
    #[serde(rename = "type")]
    #[schema(example = "/docs#invalid")]
    kind: String,
    /// The same words for every problem with this code.
    title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// The stable code; programs decide by it.
    #[schema(example = "invalid")]
    code: String,
    /// What is wrong with this request, for people.
    detail: String,
    /// The path of the value that is not accepted, as in `device.name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<String>,
    /// The id under which the server's log knows this request.
    request_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_store_said_is_in_the_log_and_not_in_the_answer() {
        let problem = Problem::from(mainstay_core::Error::Store {
            store: "sqlite",
            source: "no such table: secrets".into(),
        });
        assert_eq!(problem.cause(), Some("sqlite failed: no such table: secrets"));
        assert!(!problem.detail.contains("secrets"));
    }

    #[test]
    fn a_store_that_is_away_says_when_to_come_again() {
        let problem =
            Problem::from(mainstay_core::Error::Unavailable { store: "sqlite", source: "disk full".into() });
        let response = problem.render("r1");
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }

    #[test]
    fn every_error_of_the_core_has_a_code_of_the_same_name() {
        use mainstay_core::Error;
        let errors = [
            Error::invalid("a", "b"),
            Error::TooLarge { field: "a".into(), size_bytes: 2, limit_bytes: 1 },
            Error::IdempotencyMismatch,
            Error::Decode { what: "a", source: "b".into() },
            Error::Unavailable { store: "a", source: "b".into() },
            Error::Store { store: "a", source: "b".into() },
        ];
        for error in errors {
            let code = error.code();
            assert_eq!(Problem::from(error).code.describe().1, code);
        }
    }
}
