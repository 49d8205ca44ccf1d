//! The command line: noun, then verb. What was asked for goes to standard output, all else to
//! standard error.

mod bench;
mod cache;
mod client;
mod doctor;
mod exit;
mod output;
mod serve;
mod sessions;
mod token;

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::{
    config::{Found, Sources},
    secret::Secret,
};
use client::Client;
use exit::{Exit, Failure};
use output::Output;

/// The state layer behind an application: sessions, cache and more.
#[derive(Debug, Parser)]
#[command(name = "mainstay", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
struct Global {
    /// The server to talk to.
    #[arg(long, global = true, env = "MAINSTAY_URL", default_value = "http://127.0.0.1:7070")]
    url: String,
    /// The API token to talk with.
    #[arg(long, global = true, env = "MAINSTAY_TOKEN", hide_env_values = true, value_parser = secret)]
    token: Option<Secret>,
    /// The app to talk about; for admin tokens.
    #[arg(long, global = true, env = "MAINSTAY_APP")]
    app: Option<String>,
    /// Print JSON for programs instead of tables for people.
    #[arg(long, global = true)]
    json: bool,
    /// The file with settings; mainstay.toml in this folder if it is there.
    #[arg(long, global = true, env = "MAINSTAY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of the store.
    #[arg(long, global = true, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
}

fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves until it is told to stop.
    Serve(serve::Serve),
    /// Looks at settings, folder, store and server, and says what is wrong.
    Doctor,
    /// Asks a server whether it is ready: 0 yes, 1 no, 5 not reachable.
    Healthcheck,
    /// Brings the store to this version. `serve` does so too.
    Migrate,
    /// Makes, lists and revokes API tokens.
    #[command(subcommand)]
    Token(token::Token),
    /// Looks at sessions and revokes them.
    #[command(subcommand)]
    Sessions(sessions::Sessions),
    /// Reads and changes cached values.
    #[command(subcommand)]
    Cache(cache::Cache),
    /// Puts a store under load for a moment and prints figures.
    Bench(bench::Bench),
    /// Prints a script that completes commands in a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Runs the command that the process was started with.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing can be done when the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() };
        }
    };
    match cli.run() {
        Ok(exit) => exit.into(),
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "mainstay: {failure}");
            failure.exit.into()
        }
    }
}

impl Cli {
    fn run(self) -> Result<Exit, Failure> {
        let Self { global, command } = self;
        let output = Output { json: global.json };
        match command {
            Command::Serve(serve) => serve.run(&global),
            Command::Doctor => doctor::run(&global, &output),
            Command::Healthcheck => Client::new(&global).healthcheck(),
            Command::Migrate => serve::migrate(&global, &output),
            Command::Token(token) => token.run(&global, &output),
            Command::Sessions(sessions) => sessions.run(&Client::new(&global), &output),
            Command::Cache(cache) => cache.run(&Client::new(&global), &output),
            Command::Bench(bench) => bench.run(&global, &output),
            Command::Completions { shell } => {
                clap_complete::generate(shell, &mut Self::command(), "mainstay", &mut std::io::stdout());
                Ok(Exit::Ok)
            }
        }
    }
}

impl Global {
    /// The effective settings; what is odd about them goes to standard error.
    fn settings(&self, mut flags: Vec<(&'static str, String)>) -> Result<Found, Failure> {
        if let Some(folder) = &self.data_dir {
            flags.push(("data_dir", folder.display().to_string()));
        }
        Sources::of_process(self.config.clone(), flags)
            .read()
            .map_err(|error| Failure::usage(format!("{error:#}")))
    }
}

/// Whether output to a terminal may have colours.
pub(crate) fn wants_colour(is_terminal: bool) -> bool {
    is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A runtime for commands that open the store themselves.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start threads: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_token_does_not_show_in_debug_output() {
        let cli = Cli::try_parse_from(["mainstay", "--token", "hunter2", "doctor"]).unwrap();
        assert!(!format!("{cli:?}").contains("hunter2"));
    }
}
