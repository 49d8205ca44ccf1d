//! Where log lines go: standard error, as text for people or as JSON for programs.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// Starts logging as `config` says. Once in a process; a second call changes nothing.
///
/// # Errors
/// `config.log` is not a filter.
pub(crate) fn start(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log)
        .context("log must be a level or a filter, as in info,mainstay=debug")?;
    let is_json = match config.log_format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second subscriber is refused, which is what a second call should do.
    let _ = if is_json {
        builder.json().flatten_event(true).with_current_span(false).try_init()
    } else {
        builder.with_ansi(crate::cli::wants_colour(std::io::stderr().is_terminal())).try_init()
    };
    Ok(())
}
