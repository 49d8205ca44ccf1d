//! Looks for secrets in the files that git would commit.

use anyhow::{Result, ensure};

use crate::{
    root,
    step::{Count, command},
};

/// Beginnings of well-known secrets.
const PREFIXES: [&str; 9] =
    ["mst_", "AKIA", "ghp_", "github_pat_", "glpat-", "xoxb-", "sk_live_", "AIza", "npm_"];
/// A line that begins a private key holds both.
const KEY_BEGINS: &str = "-----BEGIN ";
const KEY_IS: &str = "PRIVATE KEY-----";
/// A run of letters and digits that is this long and this mixed was made by a generator.
const RANDOM_CHARS_MIN: usize = 40;

/// # Errors
/// Names every line that looks like a secret.
pub(crate) fn run() -> Result<Count> {
    let root = root()?;
    let listed =
        command("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?.output()?;
    ensure!(listed.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&listed.stderr));
    let mut found = Vec::new();
    for name in String::from_utf8(listed.stdout)?.split('\0').filter(|name| !name.is_empty()) {
        // Lock files are made of checksums.
        if name.ends_with("Cargo.lock") {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(root.join(name)) else { continue };
        for (number, line) in text.lines().enumerate() {
            if let Some(secret) = secret_in(line) {
                // Never the secret itself: this output ends in logs.
                found.push(format!(
                    "{name}:{}: {} characters from {:?}",
                    number + 1,
                    secret.len(),
                    &secret[..4]
                ));
            }
        }
    }
    ensure!(found.is_empty(), "these look like secrets:\n{}", found.join("\n"));
    Ok(Count::default())
}

fn secret_in(line: &str) -> Option<&str> {
    if line.contains(KEY_BEGINS) && line.contains(KEY_IS) {
        return Some(line.trim());
    }
    line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
        .find(|word| is_known_secret(word) || is_random(word))
}

fn is_known_secret(word: &str) -> bool {
    PREFIXES.iter().any(|prefix| {
        word.strip_prefix(prefix).is_some_and(|rest| {
            rest.len() >= 16 && rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        })
    })
}

/// Whether `word` has a part of 40 characters or more that mixes letters and digits as only a
/// generator does: people's identifiers change between the two a few times, not at every third
/// character. The same character again and again, as in test data, is no secret either.
fn is_random(word: &str) -> bool {
    word.split(['_', '-']).any(|part| {
        let class = |c: u8| (c.is_ascii_digit(), c.is_ascii_uppercase());
        let changes = part.as_bytes().windows(2).filter(|two| class(two[0]) != class(two[1])).count();
        part.len() >= RANDOM_CHARS_MIN
            && part.bytes().any(|c| c.is_ascii_digit())
            && changes * 4 >= part.len()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_token_is_found() {
        // Put together here, so that this file does not hold one.
        let token: String = (0..43).map(|i| ["aB", "3x", "Q9"][i % 3]).collect();
        assert!(secret_in(&format!("MAINSTAY_ADMIN_TOKEN={token}")).is_some());
        assert!(secret_in(&format!("key = \"{}{}\"", "AKIA", "ABCDEFGHIJKLMNOP")).is_some());
    }

    #[test]
    fn words_and_names_are_not() {
        assert_eq!(secret_in("a_revoked_session_is_refused_by_every_node_even_after_a_restart_2026"), None);
        assert_eq!(secret_in(&"a".repeat(64)), None);
        assert_eq!(secret_in("2026-11-20T08:00:00.000Z"), None);
    }
}
