//! The rules of this repository that can be checked, each as a test. STYLE.md gives the reasons.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod crates;
mod docs;
mod files;
mod rust;
mod sql;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// A file that git would commit.
struct File {
    /// From the root of the workspace, as in `crates/mainstay/src/lib.rs`.
    path: String,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "rs")
    }

    /// Lines with their numbers, which begin at 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(at, line)| (at + 1, line))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every text file that git would commit.
fn files() -> Vec<File> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root());
    let output = git.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).unwrap();
    let read = |path: &str| {
        Some(File { path: path.to_owned(), text: std::fs::read_to_string(root().join(path)).ok()? })
    };
    names.split('\0').filter(|name| !name.is_empty()).filter_map(read).collect()
}

fn rust_files() -> Vec<File> {
    files().into_iter().filter(File::is_rust).collect()
}

/// Fails with every finding at once.
#[track_caller]
fn none(findings: impl IntoIterator<Item = String>) {
    let findings: Vec<_> = findings.into_iter().collect();
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}
