//! `mainstay serve`: serves until it is told to stop.

use std::{
    io::{self, Write as _},
    net::{IpAddr, SocketAddr},
};

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    Global,
    exit::{Exit, Failure},
    output::Output,
    runtime,
};
use crate::{log, server::Running};

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

impl Serve {
    pub(super) fn run(self, global: &Global) -> Result<Exit, Failure> {
        let flags = self.listen.map(|listen| ("listen", listen.to_string())).into_iter().collect();
        let found = global.settings(flags)?;
        log::start(&found.config).map_err(|error| Failure::usage(format!("{error:#}")))?;
        for warning in &found.warnings {
            tracing::warn!("{warning}");
        }
        allow_connections();
        let folder = found.config.data_dir.clone();
        runtime()?.block_on(async {
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            let running = Running::start(found.config).await?;
            if let Err(error) = greet(&running) {
                // Nobody reads; that is no reason not to serve.
                tracing::warn!(%error, "the greeting could not be printed; mainstay token makes tokens");
            }
            tracing::info!(
                address = %running.address(),
                folder = %folder.display(),
                version = env!("CARGO_PKG_VERSION"),
                "serving"
            );
            either(&mut terminate, &mut interrupt).await;
            tracing::info!(
                "stopping: requests that were accepted are answered; a second signal ends at once"
            );
            tokio::select! {
                stopped = running.stop() => stopped?,
                () = either(&mut terminate, &mut interrupt) => {
                    return Err(Failure::failed("stopped before all requests were answered"));
                }
            }
            tracing::info!("stopped");
            Ok(Exit::Ok)
        })
    }
}

/// Takes as many descriptors as the system lets this process have: each connection needs one.
fn allow_connections() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where that is refused, connections beyond the limit are refused too.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// Says where the server is and, at the first start, how to use it.
fn greet(running: &Running) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let url = url(running.address());
    writeln!(out, "Mainstay {} serves {url}", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "  reference  {url}/docs")?;
    if let Some(token) = running.admin_token() {
        let token = token.reveal();
        let authorization = format!("-H 'Authorization: Bearer {token}'");
        writeln!(out, "  admin token, shown only now: {token}")?;
        writeln!(out, "\nTry it:")?;
        writeln!(
            out,
            "  curl -sS {url}/v1/sessions {authorization} -H 'Content-Type: application/json' -d '{{\"user\":\"alice\"}}'"
        )?;
        writeln!(out, "  curl -sS {url}/v1/users/alice/sessions {authorization}")?;
        writeln!(out, "  curl -sS {url}/health {authorization}\n")?;
    }
    out.flush()
}

/// The address as one can call it.
fn url(address: SocketAddr) -> String {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            IpAddr::from([127, 0, 0, 1])
        } else {
            IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])
        });
    }
    format!("http://{address}")
}

/// `mainstay migrate`: opening a store brings it to this version.
pub(super) fn migrate(global: &Global, output: &Output) -> Result<Exit, Failure> {
    let config = global.settings(Vec::new())?.config;
    let stats = runtime()?.block_on(async {
        let mainstay = crate::open(&config).await?;
        let stats = mainstay.store_stats().await;
        mainstay.close().await;
        anyhow::Ok(stats?)
    })?;
    output.fields(&json!({
        "folder": config.data_dir,
        "version": env!("CARGO_PKG_VERSION"),
        "sqlite": stats.version,
        "size_bytes": stats.size_bytes,
    }))?;
    Ok(Exit::Ok)
}
