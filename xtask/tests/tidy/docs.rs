//! What documents and comments may say.

use std::collections::BTreeMap;

use ureq::http::StatusCode;

use crate::{File, files, none};

/// Hosts of package registries, in two parts so that this file does not hold one.
const REGISTRIES: [(&str, &str); 6] = [
    ("crates", ".io"),
    ("registry.npmjs", ".org"),
    ("npmjs", ".com"),
    ("pypi", ".org"),
    ("pythonhosted", ".org"),
    ("rubygems", ".org"),
];

/// Words that turn the claim into its denial.
const NEGATIONS: [&str; 7] = ["no ", "nothing ", "not ", "never ", "nor ", "cannot ", "without "];

#[test]
fn nobody_promises_that_something_happens_exactly_once() {
    let claim = ["exactly", "once"];
    none(files().iter().filter(|file| is_read_by_people(file)).flat_map(|file| {
        let wrong = file.lines().filter(|(_, line)| {
            let line = line.to_lowercase();
            line.find(&claim.join(" "))
                .or_else(|| line.find(&claim.join("-")))
                .is_some_and(|at| !NEGATIONS.iter().any(|negation| line[..at].contains(negation)))
        });
        wrong.map(|(number, line)| format!("{}:{number}: {}", file.path, line.trim())).collect::<Vec<_>>()
    }));
}

fn is_read_by_people(file: &File) -> bool {
    [".md", ".rs", ".toml", ".json"].iter().any(|end| file.path.ends_with(end))
        && !file.path.starts_with("xtask/tests/tidy/")
}

#[test]
fn no_file_holds_the_address_of_a_registry() {
    // Lock files name where a package came from, by the registry's fixed name.
    none(files().iter().filter(|file| !file.path.ends_with("Cargo.lock")).flat_map(|file| {
        let hosts = REGISTRIES.iter().map(|(name, end)| format!("{name}{end}"));
        hosts
            .filter(|host| file.text.contains(host.as_str()))
            .map(|host| format!("{}: {host}", file.path))
            .collect::<Vec<_>>()
    }));
}

/// `docs/guide/errors.md` has a table of codes and statuses; the server's error.rs decides them.
#[test]
fn the_table_of_error_codes_is_what_the_server_answers() {
    let files = files();
    let text = |path: &str| &files.iter().find(|file| file.path == path).expect(path).text;
    let mut answered = BTreeMap::new();
    for part in text("crates/mainstay-server/src/error.rs").split("StatusCode::").skip(1) {
        let status: String = part.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect();
        let after = part[status.len()..].trim_start_matches(|c: char| c == ',' || c.is_whitespace());
        if let Some(code) = after.strip_prefix('"').and_then(|rest| rest.split('"').next()) {
            answered.insert(code.to_owned(), status);
        }
    }
    let mut written = BTreeMap::new();
    for line in text("docs/guide/errors.md").lines() {
        let mut cells = line.split('|').map(|cell| cell.trim().trim_matches('`'));
        if let (Some(""), Some(code), Some(Ok(status))) =
            (cells.next(), cells.next(), cells.next().map(str::parse::<u16>))
        {
            let reason = StatusCode::from_u16(status).unwrap().canonical_reason().unwrap();
            written.insert(code.to_owned(), reason.to_uppercase().replace([' ', '-'], "_"));
        }
    }
    assert!(!answered.is_empty(), "no code was found");
    assert_eq!(written, answered);
}
