//! Dependencies point downward only.

use std::process::Command;

use serde_json::Value;

use crate::{none, root};

/// What each crate may use of this workspace.
const LAW: [(&str, &[&str]); 8] = [
    ("mainstay-core", &[]),
    ("mainstay-conformance", &["mainstay-core"]),
    ("mainstay-sqlite", &["mainstay-core"]),
    ("mainstay", &["mainstay-core", "mainstay-sqlite"]),
    ("mainstay-server", &["mainstay", "mainstay-core", "mainstay-sqlite"]),
    ("mainstay-bench", &["mainstay", "mainstay-core", "mainstay-sqlite"]),
    ("xtask", &[]),
    ("mainstay-bench-peers", &[]),
];

/// Libraries that belong to few crates.
const OWNERS: [(&str, &[&str]); 5] = [
    ("axum", &["mainstay", "mainstay-server", "mainstay-bench"]),
    ("clap", &["mainstay-server", "mainstay-bench", "xtask"]),
    ("rusqlite", &["mainstay-sqlite"]),
    ("toml", &["mainstay-server"]),
    ("tokio", &["mainstay-sqlite", "mainstay-conformance", "mainstay", "mainstay-server", "mainstay-bench"]),
];

/// Everything that the contracts may use: nothing that does I/O.
const CORE: [&str; 8] =
    ["async-trait", "bytes", "jiff", "rustix", "serde", "serde_json", "thiserror", "uuid"];

/// Name of a crate, name of a dependency of it, for every dependency that is not for tests.
fn dependencies() -> Vec<(String, String)> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let args = ["metadata", "--format-version", "1", "--no-deps", "--offline"];
    let output = Command::new(cargo).args(args).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut pairs = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let of_package = package["dependencies"].as_array().unwrap().iter();
        for dependency in of_package.filter(|dependency| dependency["kind"].as_str() != Some("dev")) {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            pairs.push((text(&package["name"]), text(&dependency["name"])));
        }
    }
    pairs
}

#[test]
fn dependencies_between_our_crates_point_downward() {
    none(dependencies().into_iter().filter(|(_, used)| LAW.iter().any(|(name, _)| name == used)).filter_map(
        |(name, used)| {
            let (_, allowed) = LAW.iter().find(|(known, _)| *known == name)?;
            (!allowed.contains(&used.as_str())).then(|| format!("{name} may not use {used}"))
        },
    ));
}

#[test]
fn every_crate_has_its_place() {
    none(
        dependencies()
            .into_iter()
            .map(|(name, _)| name)
            .filter(|name| LAW.iter().all(|(known, _)| known != name)),
    );
}

#[test]
fn libraries_stay_with_their_crates() {
    none(dependencies().into_iter().filter_map(|(name, used)| {
        let (_, owners) = OWNERS.iter().find(|(library, _)| *library == used)?;
        (!owners.contains(&name.as_str())).then(|| format!("{name} may not use {used}"))
    }));
}

#[test]
fn the_contracts_use_nothing_that_does_input_or_output() {
    let of_core = dependencies().into_iter().filter(|(name, _)| name == "mainstay-core");
    none(of_core.map(|(_, used)| used).filter(|used| !CORE.contains(&used.as_str())));
}
