//! `cargo xtask bench`: builds the server, the peers and the benches, and runs them.

use anyhow::{Context, Result};

use crate::{
    root,
    step::{self, Count, command, run_command},
};

/// What to measure.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// One small run of each figure: shows that they work, not how fast they are.
    #[arg(long)]
    quick: bool,
    /// Only figures whose name contains this.
    #[arg(long)]
    only: Option<String>,
}

/// Measures in release.
///
/// # Errors
/// When something cannot be built or run. A figure that misses its target is no error.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !command("wrk", &["-v"])?.output().is_ok_and(|output| !output.stdout.is_empty()) {
        step::run("apt-get", &["install", "-y", "-qq", "wrk"])
            .context("wrk is missing, and apt-get cannot install it")?;
    }
    let mut args = Vec::new();
    if options.quick {
        args.push("--quick");
    }
    if let Some(only) = &options.only {
        args.extend(["--only", only]);
    }
    build_and_run("release", &args)
}

/// One small run of every figure in the profile of the tests, without HTTP, which needs wrk.
pub(crate) fn smoke() -> Result<Count> {
    build_and_run("debug", &["--quick", "--without", "http"])?;
    Ok(Count::default())
}

fn build_and_run(folder: &str, args: &[&str]) -> Result<()> {
    let profile: &[&str] = if folder == "release" { &["--release"] } else { &[] };
    let build = |what: &[&str]| step::run("cargo", &[&["build", "-q", "--locked"], profile, what].concat());
    build(&["--package", "mainstay-server", "--package", "mainstay-bench"])?;
    build(&["--manifest-path", "bench/peers/Cargo.toml"])?;

    let built = root()?.join("target").join(folder);
    let peers = root()?.join("bench/peers/target").join(folder).join("mainstay-bench-peers");
    let mut bench = command(&built.join("mainstay-bench").to_string_lossy(), args)?;
    bench.arg("--server").arg(built.join("mainstay")).arg("--peers").arg(peers);
    run_command(bench)
}
