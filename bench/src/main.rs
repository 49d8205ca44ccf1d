//! Benches of Mainstay: every figure with its target and its peer, measured in one run.
//!
//! One file per subject, each with `pub fn run(&Options) -> Result<Vec<Figure>>`. `cargo xtask
//! bench` builds the release, the peers and this binary, and starts it. Nothing here is asserted:
//! a machine may be slow. A bench that cannot run is an error.

#![allow(clippy::print_stdout, reason = "the table goes to stdout")]

mod alloc;
mod cache;
mod figure;
mod http;
mod machine;
mod peers;
mod server;
mod sessions;
mod start;
mod table;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

pub(crate) use figure::{Figure, Options, Plan, Target};

/// Measures and prints the table. Started by `cargo xtask bench`.
#[derive(Debug, Parser)]
struct Args {
    /// One small run of each: shows that they work, not how fast they are.
    #[arg(long)]
    quick: bool,
    /// Only figures whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// No figures whose name contains this.
    #[arg(long)]
    without: Option<String>,
    /// The binary of the server.
    #[arg(long)]
    server: PathBuf,
    /// The binary of the peers.
    #[arg(long)]
    peers: PathBuf,
}

fn main() -> Result<()> {
    let Args { quick, only, without, server, peers } = Args::parse();
    let options = Options { quick, only, without };
    println!("{}", machine::describe()?);
    let mut figures = sessions::run(&options)?;
    figures.extend(cache::run(&options)?);
    figures.extend(start::run(&options, &server)?);
    let (http, mut measured) = http::run(&options, &server)?;
    figures.extend(http);
    measured.extend(peers::run(&options, &figures, &peers)?);
    println!("{}", table::render(&figures, &measured));
    Ok(())
}
