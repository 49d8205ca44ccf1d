//! The Mainstay server: the HTTP API, and the command line that speaks it.
//!
//! The binary `mainstay` is this library behind [`cli::run`]. Tests start [`server::Running`].

mod app;
mod auth;
pub mod cli;
pub mod config;
mod edge;
mod error;
mod json;
mod listen;
mod log;
pub mod metrics;
mod openapi;
mod params;
mod recorder;
mod reference;
mod routes;
pub mod secret;
pub mod server;

use anyhow::Context as _;
use config::Config;
use mainstay::Mainstay;

pub use openapi::document;

/// Opens the store that `config` names.
///
/// # Errors
/// The folder cannot be used, for one because another process serves from it.
pub(crate) async fn open(config: &Config) -> anyhow::Result<Mainstay> {
    let settings = mainstay::Config {
        folder: Some(config.data_dir.clone()),
        cache_memory_bytes: config.cache_memory_bytes_max.get() as u64,
        ..mainstay::Config::default()
    };
    Mainstay::open(settings)
        .await
        .with_context(|| format!("cannot open the store in {}", config.data_dir.display()))
}
