//! The steps of `cargo xtask check` and `cargo xtask test`.

use anyhow::{Context, Result};

use crate::{
    api, bench, readme, root, secrets,
    step::{self, Count, Step, command, run, run_seeing},
    torture,
};

/// Pinned, so that a new release does not fail an old commit.
const CARGO_DENY: &str = "cargo-deny@0.20.2";

/// What a change is checked with before it is sent.
pub(crate) fn check_steps() -> Vec<Step> {
    vec![
        Step { name: "format", run: format },
        tidy(),
        Step { name: "secrets", run: secrets::run },
        Step { name: "clippy", run: clippy },
        Step { name: "tests", run: tests },
        Step { name: "doc tests", run: doc_tests },
        Step { name: "docs", run: docs },
    ]
}

/// Everything that CI runs.
pub(crate) fn all_steps() -> Vec<Step> {
    let mut steps = check_steps();
    steps.extend([
        Step { name: "features", run: features },
        Step { name: "dependencies", run: dependencies },
        Step { name: "benches, one small run", run: bench::smoke },
        Step { name: "readme", run: readme::run },
        Step { name: "api against its schema", run: api::run_generated },
        Step { name: "torture, with planted bugs", run: torture::quick },
    ]);
    steps
}

/// The rules of this repository that can be checked.
pub(crate) fn tidy() -> Step {
    Step {
        name: "tidy",
        run: || done(run("cargo", &["test", "-q", "--locked", "--package", "xtask", "--test", "tidy"])),
    }
}

/// Builds the server as tests use it and gives the path of the binary.
///
/// # Errors
/// When it does not build.
pub(crate) fn build_server() -> Result<std::path::PathBuf> {
    run("cargo", &["build", "-q", "--locked", "--package", "mainstay-server"])?;
    Ok(root()?.join("target/debug/mainstay"))
}

fn format() -> Result<Count> {
    run("cargo", &["fmt", "--all", "--check"])?;
    done(run("cargo", &["fmt", "--manifest-path", "bench/peers/Cargo.toml", "--check"]))
}

fn clippy() -> Result<Count> {
    done(run("cargo", &["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// Unit and integration tests, `openapi.json` and `mainstay.toml` being up to date among them.
fn tests() -> Result<Count> {
    if step::command("cargo", &["nextest", "--version"])?.output()?.status.success() {
        return counted(command("cargo", &["nextest", "run", "--locked", "--workspace"])?, "Summary [");
    }
    println!("cargo-nextest is not installed; running the same tests with `cargo test`");
    let test = ["test", "--locked", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"];
    counted(command("cargo", &test)?, "test result:")
}

/// The examples of the public documentation.
fn doc_tests() -> Result<Count> {
    counted(
        command("cargo", &["test", "--locked", "--workspace", "--doc", "--no-fail-fast"])?,
        "test result:",
    )
}

fn docs() -> Result<Count> {
    let mut command = command("cargo", &["doc", "-q", "--locked", "--workspace", "--no-deps"])?;
    command.env("RUSTDOCFLAGS", "-D warnings");
    done(step::run_command(command))
}

/// Each crate with features, without and with each alone.
fn features() -> Result<Count> {
    for args in [
        &["check", "-q", "--locked", "--package", "mainstay", "--no-default-features"][..],
        &["check", "-q", "--locked", "--package", "mainstay", "--no-default-features", "--features", "axum"],
        &["check", "-q", "--locked", "--package", "mainstay-core", "--features", "planted-bugs"],
    ] {
        println!("cargo {}", args.join(" "));
        run("cargo", args)?;
    }
    Ok(Count::default())
}

/// Licences, banned crates and sources. The advisory database lives on a git host that CI cannot
/// reach; `cargo deny check advisories` belongs to a release.
fn dependencies() -> Result<Count> {
    let tools = root()?.join("target/tools");
    let deny = tools.join("bin/cargo-deny");
    // Into target/, so that a test run leaves nothing in the home folder; it takes about a minute.
    if !deny.exists() {
        let install = ["install", "-q", "--locked", "--debug", CARGO_DENY, "--root"];
        let mut command = command("cargo", &install)?;
        command.arg(&tools).env("CARGO_TARGET_DIR", tools.join("build"));
        step::run_command(command).context("cargo-deny cannot be installed")?;
        std::fs::remove_dir_all(tools.join("build"))?;
    }
    done(run(&deny.to_string_lossy(), &["--offline", "check", "licenses", "bans", "sources"]))
}

fn done(result: Result<()>) -> Result<Count> {
    result.map(|()| Count::default())
}

/// Runs a test command and adds up the lines that begin with `summary`.
fn counted(command: std::process::Command, summary: &str) -> Result<Count> {
    let mut count = Count::default();
    let ended = run_seeing(command, |line| {
        if line.trim_start().starts_with(summary) {
            count.passed += number_before(line, " passed");
            count.failed += number_before(line, " failed");
        }
    });
    match ended {
        Err(error) if count.failed == 0 => Err(error),
        _ => {
            anyhow::ensure!(count.passed + count.failed > 0, "no test ran");
            Ok(count)
        }
    }
}

/// The number that stands before `word` in `line`; 0 when there is none.
fn number_before(line: &str, word: &str) -> u64 {
    line.find(word)
        .and_then(|at| line[..at].rsplit(|c: char| !c.is_ascii_digit()).next())
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::number_before;

    #[test]
    fn numbers_of_summaries_are_read() {
        let nextest = "     Summary [   0.1s] 312 tests run: 310 passed (2 slow), 2 failed, 0 skipped";
        assert_eq!(number_before(nextest, " passed"), 310);
        assert_eq!(number_before(nextest, " failed"), 2);
        assert_eq!(number_before("test result: ok. 12 passed; 0 failed; 0 ignored", " passed"), 12);
        assert_eq!(number_before("nothing", " passed"), 0);
    }
}
