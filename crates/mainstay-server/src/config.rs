//! Settings: defaults, then a file, then variables, then flags.

mod layers;
mod units;

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

pub use layers::{Found, Sources, UNSUPPORTED_DATABASE};
pub use units::{Size, Span};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Text for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Every setting. `mainstay.toml` at the root of the repository explains each and holds its default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the server listens.
    pub listen: SocketAddr,
    /// The folder of the store.
    pub data_dir: PathBuf,
    /// Taken as the admin token at the first start instead of a generated one.
    pub admin_token: Secret,
    /// What is logged, as a `tracing` filter.
    pub log: String,
    /// How it is logged.
    pub log_format: LogFormat,
    /// Whether `/health` and `/metrics` answer without a token.
    pub open_health: bool,
    /// Whether push delivery may reach the loopback address; for tests.
    pub push_allow_loopback: bool,
    /// The most bytes of cached values in process memory.
    pub cache_memory_bytes_max: Size,
    /// How long the headers of a request may take.
    pub header_timeout: Span,
    /// How long the body of a request may take.
    pub request_timeout: Span,
    /// How long a connection may rest between requests.
    pub idle_timeout: Span,
    /// How long a stopping server waits for what it accepted.
    pub drain_timeout: Span,
    /// The most bytes of a JSON body.
    pub body_bytes_max: Size,
    /// The most connections.
    pub connections_max: u32,
    /// The most connections of one address; 0: no limit.
    pub connections_per_ip_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7070)),
            data_dir: "./mainstay-data".into(),
            admin_token: Secret::default(),
            log: "info".into(),
            log_format: LogFormat::Auto,
            open_health: false,
            push_allow_loopback: false,
            cache_memory_bytes_max: Size::mib(64),
            header_timeout: Span::seconds(10),
            request_timeout: Span::seconds(30),
            idle_timeout: Span::seconds(60),
            drain_timeout: Span::seconds(25),
            body_bytes_max: Size::mib(1),
            connections_max: 10_000,
            connections_per_ip_max: 0,
        }
    }
}

impl Config {
    /// Refuses values that cannot work.
    ///
    /// # Errors
    /// A sentence that names the setting and what it may be.
    pub fn check(&self) -> anyhow::Result<()> {
        for (name, value) in [
            ("header_timeout", self.header_timeout),
            ("request_timeout", self.request_timeout),
            ("idle_timeout", self.idle_timeout),
        ] {
            anyhow::ensure!(value.get().as_millis() >= 10, "{name} must be at least 10ms");
        }
        anyhow::ensure!(self.connections_max >= 1, "connections_max must be at least 1");
        anyhow::ensure!(
            (1..=64 << 20).contains(&self.body_bytes_max.get()),
            "body_bytes_max must be 1B to 64MiB"
        );
        if let Some(token) = self.admin_token.given() {
            anyhow::ensure!(
                (MIN_ADMIN_TOKEN..=512).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_graphic()),
                "admin_token must be {MIN_ADMIN_TOKEN} to 512 printable ASCII characters without spaces"
            );
        }
        Ok(())
    }
}

/// The fewest characters of a token that people chose.
const MIN_ADMIN_TOKEN: usize = 8;
