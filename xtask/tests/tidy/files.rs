//! Names and sizes of files.

use std::{os::unix::fs::PermissionsExt, path::Path};

use crate::{files, none, root, rust_files};

const LINES_MAX: usize = 500;

/// Names that say nothing about what is inside.
const BANNED_NAMES: [&str; 7] = ["util", "utils", "helper", "helpers", "common", "manager", "misc"];

#[test]
fn no_rust_file_is_longer_than_500_lines() {
    none(rust_files().iter().filter_map(|file| {
        let lines = file.text.lines().count();
        (lines > LINES_MAX).then(|| format!("{}: {lines} lines", file.path))
    }));
}

#[test]
fn no_file_is_called_mod_rs() {
    none(rust_files().into_iter().map(|file| file.path).filter(|path| path.ends_with("/mod.rs")));
}

#[test]
fn every_name_says_what_is_inside() {
    none(files().into_iter().map(|file| file.path).filter(|path| {
        path.split('/').any(|part| {
            let stem = Path::new(part).file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
            stem.split(['_', '-']).any(|word| BANNED_NAMES.contains(&word))
        })
    }));
}

#[test]
fn every_script_is_executable() {
    none(files().into_iter().filter(|file| file.text.starts_with("#!")).filter_map(|file| {
        let mode = std::fs::metadata(root().join(&file.path)).unwrap().permissions().mode();
        (mode & 0o111 != 0o111).then(|| format!("{}: chmod +x", file.path))
    }));
}

#[test]
fn every_driver_file_has_its_noun_in_core() {
    // What a driver is made of, besides nouns.
    const PARTS: [&str; 7] = ["lib", "db", "lock", "queue", "stats", "store", "tx"];
    let nouns = noun_names("crates/mainstay-core/src");
    let driver = noun_names("crates/mainstay-sqlite/src");
    none(driver.into_iter().filter(|name| !PARTS.contains(&name.as_str()) && !nouns.contains(name)));
}

#[test]
fn every_file_of_the_suite_has_its_noun_in_core() {
    let nouns = noun_names("crates/mainstay-core/src");
    none(noun_names("crates/mainstay-conformance/src").into_iter().filter(|name| !nouns.contains(name)));
}

/// The stems of the Rust files in a folder.
fn noun_names(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let rust = entries.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    rust.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
}
