//! How fast the server starts, how much memory it takes, how large it is.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    Figure, Options, Plan, Target,
    server::Server,
    sessions::{fill, runtime},
};

const START: Plan =
    Plan { name: "start.with_1m_sessions", unit: "ms", target: Target::AtMost(300.0), peer: None };
const MEMORY: Plan = Plan { name: "start.idle_memory", unit: "MB", target: Target::AtMost(40.0), peer: None };
const SIZE: Plan = Plan { name: "start.binary_size", unit: "MB", target: Target::AtMost(30.0), peer: None };

const SESSIONS: u64 = 1_000_000;
/// How long an idle server is left alone before its memory is read.
const SETTLE: Duration = Duration::from_secs(1);

/// # Errors
/// When the server does not start.
pub(crate) fn run(options: &Options, binary: &Path) -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir()?;
    let full = folder.path().join("full");
    if options.wants(START.name) {
        runtime()?.block_on(fill(&full, options.size(SESSIONS)))?;
    }
    let small = folder.path().join("small");
    let figures = [
        options.measure(START, || {
            let server = Server::start(binary, &full)?;
            let active = active_sessions(&server)?;
            ensure!(active == options.size(SESSIONS), "{active} sessions are in the file");
            Ok(server.ready_after.as_secs_f64() * 1e3)
        })?,
        options.measure(MEMORY, || {
            let server = Server::start(binary, &small)?;
            std::thread::sleep(SETTLE);
            megabytes(server.resident_bytes()?)
        })?,
        options.measure(SIZE, || megabytes(std::fs::metadata(binary)?.len()))?,
    ];
    Ok(figures.into_iter().flatten().collect())
}

fn active_sessions(server: &Server) -> Result<u64> {
    let stats: serde_json::Value = ureq::get(format!("{}/v1/sessions/stats", server.url))
        .header("Authorization", format!("Bearer {}", server.token))
        .call()?
        .body_mut()
        .read_json()?;
    stats["active"].as_u64().context("a number of active sessions")
}

fn megabytes(bytes: u64) -> Result<f64> {
    Ok(f64::from(u32::try_from(bytes / 1024)?) / 1024.0)
}
