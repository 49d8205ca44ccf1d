//! Steps of a task: each runs, is timed, and passes or fails. A step that cannot run fails.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::root;

/// One step.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    /// Fails with an error, or with a count of failed tests.
    pub(crate) run: fn() -> Result<Count>,
}

/// Tests that a step ran. A step that is not made of tests counts none when it passes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

/// Runs every step, also after one has failed, so that one run shows all that is wrong.
///
/// # Errors
/// The names of the steps that failed.
pub(crate) fn run_all(steps: &[Step]) -> Result<()> {
    let mut rows: Vec<(&str, Duration, bool)> = Vec::new();
    let mut tests = Count::default();
    for (at, step) in steps.iter().enumerate() {
        println!("\n==> {} ({} of {})", step.name, at + 1, steps.len());
        let started = Instant::now();
        let result = (step.run)();
        rows.push((step.name, started.elapsed(), result.as_ref().is_ok_and(|count| count.failed == 0)));
        match result {
            Ok(count) => {
                tests.passed += count.passed;
                tests.failed += count.failed;
            }
            Err(error) => {
                println!("{}: FAILED: {error:#}", step.name);
                // A step that is not made of tests, or could not run them, counts as one.
                tests.failed += 1;
            }
        }
    }
    ensure!(!rows.is_empty(), "there is no such step");
    println!();
    for (name, took, passed) in &rows {
        println!("{:>7.1} s  {}  {name}", took.as_secs_f64(), if *passed { "ok    " } else { "FAILED" });
    }
    let failed: Vec<_> = rows.iter().filter(|row| !row.2).map(|row| row.0).collect();
    let total: Duration = rows.iter().map(|row| row.1).sum();
    println!(
        "{:>7.1} s  steps: {} ok, {} failed",
        total.as_secs_f64(),
        rows.len() - failed.len(),
        failed.len()
    );
    println!("{} passed, {} failed", tests.passed, tests.failed);
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// Runs `program` in the workspace folder with its output shown.
///
/// # Errors
/// When it cannot be started or ends with other than 0.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<()> {
    run_command(command(program, args)?)
}

/// As [`run`], for a command that needs more than arguments.
pub(crate) fn run_command(mut command: Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?} does not start"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// A command in the workspace folder.
pub(crate) fn command(program: &str, args: &[&str]) -> Result<Command> {
    let mut command = Command::new(program);
    command.args(args).current_dir(root()?);
    Ok(command)
}

/// Runs a command with its output shown, and gives each line of it to `see` as well.
///
/// # Errors
/// When it cannot be started or ends with other than 0.
pub(crate) fn run_seeing(mut command: Command, mut see: impl FnMut(&str)) -> Result<()> {
    // One pipe for both streams, so that lines keep their order.
    let (reader, writer) = std::io::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer).stdin(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("{command:?} does not start"))?;
    let shown = format!("{command:?}");
    // The command holds the pipe's other ends; without this the reader would never see the end.
    drop(command);
    for line in BufReader::new(reader).lines() {
        let line = line?;
        println!("{line}");
        see(&line);
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{shown} ended with {status}");
    }
    Ok(())
}
