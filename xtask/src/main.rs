//! Tasks of the repository: `cargo xtask check | test | tidy | bench | torture`.

#![allow(clippy::print_stdout, reason = "a task speaks on stdout")]

mod api;
mod bench;
mod readme;
mod secrets;
mod server;
mod step;
mod test;
mod torture;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Tasks of the repository.")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// What a change is checked with before it is sent: format, lints, tidy rules, docs, tests.
    Check,
    /// Everything that CI runs; script/test installs what it needs and calls this.
    Test {
        /// Only the steps whose name contains this.
        step: Option<String>,
    },
    /// The rules of this repository that can be checked.
    Tidy,
    /// Every figure with its target and its peer.
    Bench(bench::Options),
    /// Kills the server under load, again and again, and checks that nothing acknowledged is lost.
    Torture(torture::Options),
}

fn main() -> ExitCode {
    let result = match Args::parse().task {
        Task::Check => step::run_all(&test::check_steps()),
        Task::Test { step } => {
            let mut steps = test::all_steps();
            steps.retain(|known| step.as_ref().is_none_or(|part| known.name.contains(part.as_str())));
            step::run_all(&steps)
        }
        Task::Tidy => step::run_all(&[test::tidy()]),
        Task::Bench(options) => bench::run(&options),
        Task::Torture(options) => torture::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the workspace.
fn root() -> Result<PathBuf> {
    Ok(std::path::absolute(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))?.canonicalize()?)
}
