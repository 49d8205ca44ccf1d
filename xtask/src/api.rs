//! The server against its own OpenAPI document: schemathesis sends generated requests, good and
//! bad, and finds answers that are 5xx or not as the document says.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{
    root,
    server::{Server, Start},
    step::{Count, command, run, run_command},
    test::build_server,
};

/// Pinned, so that what is generated does not change by itself.
const SCHEMATHESIS: &str = "schemathesis==4.30.1";
/// The seed of what is generated.
const SEED: &str = "20261120";
/// Generated cases for each operation and kind of case.
const EXAMPLES_MAX: &str = "40";
/// Not checked: that every request that fits the schema is accepted. Cursors, idempotency keys,
/// conditions and times ahead of now are right or wrong by what is stored, which a schema cannot say.
/// Nor that what was created is there: it may have been given a few milliseconds to live.
const UNCHECKED: &str = "positive_data_acceptance,ensure_resource_availability";
/// The app is fixed: generated ones end in white space, which HTTP takes off before the server sees
/// it, so that a value which breaks the schema when sent fits it when it arrives.
const CONFIG: &str = "[parameters]\n\"header.Mainstay-App\" = \"default\"\n";

/// # Errors
/// When an answer was a 5xx or not what the document says, or schemathesis cannot be installed.
pub(crate) fn run_generated() -> Result<Count> {
    let tool = installed()?;
    let folder = tempfile::tempdir()?;
    let start = Start {
        binary: build_server()?,
        data_dir: folder.path().join("data"),
        admin_token: Start::random_token(),
        bug: None,
    };
    let server = Server::start(&start)?;
    std::fs::write(folder.path().join("schemathesis.toml"), CONFIG)?;
    let mut command = command(&tool.to_string_lossy(), &["run"])?;
    command
        .arg(format!("{}/openapi.json", server.url))
        .args(["--header", &format!("Authorization: Bearer {}", start.admin_token)])
        .args(["--seed", SEED, "--max-examples", EXAMPLES_MAX, "--workers", "1"])
        .args(["--phases", "examples,coverage,fuzzing,stateful", "--generation-deterministic"])
        // A name pattern that few random strings fit is not a fault of the API.
        .args(["--suppress-health-check", "filter_too_much,too_slow"])
        .args(["--checks", "all", "--exclude-checks", UNCHECKED])
        // Where it reads its settings and keeps examples.
        .current_dir(folder.path());
    run_command(command)?;
    Ok(Count::default())
}

/// The path of schemathesis in a virtual environment under target/, made when it is not there.
fn installed() -> Result<PathBuf> {
    let venv = root()?.join("target/schemathesis");
    let tool = venv.join("bin/schemathesis");
    let marker = venv.join(SCHEMATHESIS);
    if !marker.exists() {
        run("python3", &["-m", "venv", "--clear", &venv.to_string_lossy()])?;
        let pip = venv.join("bin/pip");
        run(&pip.to_string_lossy(), &["install", "-q", SCHEMATHESIS])
            .context("schemathesis cannot be installed")?;
        std::fs::write(&marker, "")?;
    }
    Ok(tool)
}
