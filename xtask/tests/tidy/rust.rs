//! What no Rust file may hold, and what some must.

use crate::{File, none, rust_files};

/// Where a clock may be read besides `mainstay-core/src/time.rs`, and why. Everything else takes
/// the time from a `Clock`, which tests set.
const CLOCK_READERS: [(&str, &str); 9] = [
    ("bench/", "measures"),
    ("xtask/", "measures"),
    ("crates/mainstay-core/src/time.rs", "is the clock"),
    ("crates/mainstay-sqlite/src/db.rs", "measures how long calls take"),
    ("crates/mainstay-sqlite/src/stats.rs", "measures how long calls take"),
    ("crates/mainstay/src/call.rs", "measures how long calls take"),
    ("crates/mainstay/src/health.rs", "measures how long probes take"),
    ("crates/mainstay-server/src/cli/bench.rs", "measures"),
    ("crates/mainstay-server/src/metrics.rs", "measures how long requests take"),
];

#[test]
fn only_the_clock_reads_the_time() {
    none(rust_files().iter().filter(|file| !may_read_the_clock(file)).flat_map(|file| {
        find(file, |line| line.contains("SystemTime::now") || line.contains("Instant::now"))
    }));
}

fn may_read_the_clock(file: &File) -> bool {
    CLOCK_READERS.iter().any(|(path, _)| file.path.starts_with(path)) || file.path.contains("/tests/")
}

#[test]
fn no_test_is_ignored() {
    none(rust_files().iter().flat_map(|file| find(file, |line| line.trim_start().starts_with("#[ignore"))));
}

#[test]
fn every_to_do_has_an_issue() {
    // Put together, so that this file does not hold one.
    let words = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X"].concat()];
    none(rust_files().iter().flat_map(|file| {
        find(file, |line| {
            words.iter().any(|word| has_word(line, word) && !line.contains(&format!("{word}(#")))
        })
    }));
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_ascii_alphanumeric()).any(|found| found == word)
}

#[test]
fn expect_says_why_it_cannot_fail() {
    none(rust_files().iter().filter(|file| is_shipped(file)).flat_map(|file| {
        // What stands after the unit tests began is theirs, and so are examples.
        let code = file.text.split("#[cfg(test)]").next().unwrap_or_default();
        let is_example =
            |at: usize| code[..at].lines().last().is_some_and(|line| line.trim_start().starts_with("//"));
        let expects = code.match_indices(".expect(").filter(|(at, _)| !is_example(*at));
        let wrong =
            expects.filter(|(at, name)| !code[at + name.len()..].trim_start().starts_with("\"invariant: "));
        let found =
            wrong.map(|(at, _)| format!("{}:{}: expect without an invariant", file.path, line_of(code, at)));
        found.collect::<Vec<_>>()
    }));
}

fn is_shipped(file: &File) -> bool {
    let conformance = file.path.starts_with("crates/mainstay-conformance/");
    file.path.starts_with("crates/")
        && file.path.contains("/src/")
        && !conformance
        && !file.path.ends_with("/tests.rs")
}

#[test]
fn every_behaviour_of_the_suite_is_in_its_list() {
    let files = rust_files();
    let suite = "crates/mainstay-conformance/src/";
    let mut missing = Vec::new();
    let mut behaviours = 0;
    for file in
        files.iter().filter(|file| file.path.starts_with(suite) && file.path != format!("{suite}lib.rs"))
    {
        let noun = file.path[suite.len()..].split(['/', '.']).next().unwrap();
        let list = &files.iter().find(|file| file.path == format!("{suite}{noun}.rs")).unwrap().text;
        for name in file.lines().filter_map(|(_, line)| line.strip_prefix("pub async fn ")) {
            let name = name.split(['(', '<']).next().unwrap();
            behaviours += 1;
            if !list.lines().any(|line| line.trim() == format!("{name},")) {
                missing.push(format!("{}: {name} is in no list", file.path));
            }
        }
    }
    none(missing);
    assert!(behaviours > 0, "no behaviour was found");
}

/// The lines that `wrong` points at.
fn find(file: &File, wrong: impl Fn(&str) -> bool) -> Vec<String> {
    file.lines()
        .filter(|(_, line)| wrong(line))
        .map(|(number, line)| format!("{}:{number}: {}", file.path, line.trim()))
        .collect()
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].lines().count()
}
