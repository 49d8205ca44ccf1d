//! SQL lives in files.

use std::path::Path;

use crate::{files, none, root, rust_files};

const INLINE_LINES_MAX: usize = 5;
const VERBS: [&str; 8] = ["SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "WITH", "ALTER", "DROP"];

#[test]
fn sql_in_rust_is_at_most_five_lines() {
    none(rust_files().iter().flat_map(|file| {
        let mut long = Vec::new();
        for (at, _) in file.text.match_indices('"') {
            let literal = &file.text[at + 1..];
            if VERBS.iter().any(|verb| literal.trim_start().starts_with(&format!("{verb} "))) {
                let lines = literal[..literal.find('"').unwrap_or(0)].lines().count();
                if lines > INLINE_LINES_MAX {
                    let line = file.text[..at].lines().count();
                    long.push(format!("{}:{line}: {lines} lines of SQL belong into sql/", file.path));
                }
            }
        }
        long
    }));
}

#[test]
fn every_sql_file_is_used_and_every_use_exists() {
    let mut used = Vec::new();
    let mut broken = Vec::new();
    for file in rust_files() {
        let folder = root().join(&file.path).parent().unwrap().to_owned();
        for (at, name) in file.text.match_indices("include_str!(\"") {
            let rest = &file.text[at + name.len()..];
            let path = folder.join(&rest[..rest.find('"').unwrap()]);
            match path.canonicalize() {
                Ok(path) => used.push(path),
                Err(_) => broken.push(format!("{}: there is no {}", file.path, path.display())),
            }
        }
    }
    none(broken);
    let is_sql = |path: &str| Path::new(path).extension().is_some_and(|extension| extension == "sql");
    none(files().into_iter().filter(|file| is_sql(&file.path)).filter_map(|file| {
        let path = root().join(&file.path).canonicalize().unwrap();
        (!used.contains(&path)).then(|| format!("{} is not used", file.path))
    }));
}

#[test]
fn every_sql_file_is_named_noun_verb() {
    let nouns: Vec<String> = std::fs::read_dir(root().join("crates/mainstay-core/src"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    none(files().into_iter().map(|file| file.path).filter(|path| path.contains("/sql/")).filter(|path| {
        let stem = Path::new(path).file_stem().unwrap().to_string_lossy();
        !nouns.iter().any(|noun| stem.starts_with(&format!("{noun}_")))
    }));
}
