//! The one error type of Mainstay.

use std::borrow::Cow;

/// What went wrong underneath, kept for the log and never shown to a client.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The result of every fallible Mainstay function.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A store that failed or a caller that erred. A refusal is a value, not an error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller gave a value that is outside what `field` accepts. Nothing was changed.
    #[error("{field}: {reason}")]
    Invalid {
        /// The path of the field, as in `device.name`.
        field: Cow<'static, str>,
        /// What is accepted, with the limit.
        reason: String,
    },
    /// The caller gave more than the limit. Nothing was changed.
    #[error("{field} is {size_bytes} bytes; the limit is {limit_bytes}")]
    TooLarge {
        /// The path of the field.
        field: Cow<'static, str>,
        /// What was given.
        size_bytes: u64,
        /// What is accepted.
        limit_bytes: u64,
    },
    /// The same idempotency key was used before with another request. Nothing was changed.
    #[error("the idempotency key was used before with another request")]
    IdempotencyMismatch,
    /// Something that was stored cannot be read back as what it should be.
    #[error("stored {what} could not be decoded")]
    Decode {
        /// The thing that was read.
        what: &'static str,
        /// The decoder's words.
        #[source]
        source: BoxError,
    },
    /// The store cannot be reached or cannot take the request now. Trying again later may help;
    /// a write may or may not have happened.
    #[error("{store} is unavailable")]
    Unavailable {
        /// The store's name.
        store: &'static str,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The store answered with a failure that trying again will not mend.
    #[error("{store} failed")]
    Store {
        /// The store's name.
        store: &'static str,
        /// Why.
        #[source]
        source: BoxError,
    },
}

impl Error {
    /// An [`Error::Invalid`] for `field`.
    pub fn invalid(field: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), reason: reason.into() }
    }

    /// The stable code that HTTP answers, logs and metrics carry.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "invalid",
            Self::TooLarge { .. } => "too_large",
            Self::IdempotencyMismatch => "idempotency_mismatch",
            Self::Decode { .. } | Self::Store { .. } => "internal",
            Self::Unavailable { .. } => "unavailable",
        }
    }

    /// Whether the same call may succeed later without a change by the caller.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}
