//! The cache as applications use it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod clear;
mod load;
mod model;
mod race;
#[cfg(feature = "axum")]
mod response;
mod store;
mod values;
