//! How a command ends: a code for programs and a sentence for people.

use std::{fmt, process::ExitCode};

/// The exit codes, stable for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok = 0,
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Conflict = 4,
    Unavailable = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let is_away = error.chain().any(|cause| {
            cause.downcast_ref::<mainstay_core::Error>().is_some_and(mainstay_core::Error::is_retryable)
        });
        Self::new(if is_away { Exit::Unavailable } else { Exit::Failed }, format!("{error:#}"))
    }
}

impl From<mainstay_core::Error> for Failure {
    fn from(error: mainstay_core::Error) -> Self {
        let exit = match error.code() {
            "invalid" | "too_large" => Exit::Usage,
            "idempotency_mismatch" => Exit::Conflict,
            "unavailable" => Exit::Unavailable,
            _ => Exit::Failed,
        };
        Self::new(exit, format!("{:#}", anyhow::Error::new(error)))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::failed(error.to_string())
    }
}
