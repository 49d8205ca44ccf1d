//! The README's commands, run as typed.
//!
//! A block is run when an HTML comment `<!-- run -->` stands on the line before its fence:
//!
//! ````text
//! <!-- run -->
//! ```sh
//! curl -s http://127.0.0.1:7070/livez
//! ```
//! <!-- prints -->
//! ```json
//! {"status":"…"}
//! ```
//! ````
//!
//! Blocks run in order in one shell, so that a variable set in one is there in the next. The output
//! of a block must match what stands below `<!-- prints -->`: `…` stands for anything, white space
//! is not compared.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    root,
    server::{Server, Start},
    step::Count,
    test::build_server,
};

/// A shell block and what the README says that it prints, if it says so.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    line: usize,
    commands: String,
    prints: Option<String>,
}

/// Between the outputs of two blocks.
const SEPARATOR: &str = "---- next block ----";

/// Each document has a server of its own, so that it reads as if it were the first one typed.
///
/// # Errors
/// The first block that fails or prints other than the document says.
pub(crate) fn run() -> Result<Count> {
    let binary = build_server()?;
    let mut count = Count::default();
    for name in documents()? {
        let text = std::fs::read_to_string(root()?.join(&name)).with_context(|| name.clone())?;
        let blocks = blocks(&text);
        ensure!(name != "README.md" || !blocks.is_empty(), "README.md has no block marked <!-- run -->");
        let outputs = run_blocks(&blocks, &binary).with_context(|| name.clone())?;
        for (block, output) in blocks.iter().zip(&outputs) {
            let expected = block.prints.as_deref().unwrap_or("…");
            if !matches(expected, output) {
                bail!("{name}:{}: expected\n{expected}\nbut it printed\n{output}", block.line);
            }
            count.passed += 1;
        }
        println!("{name}: {} blocks print what is written there", outputs.len());
    }
    Ok(count)
}

/// The documents whose blocks are run.
fn documents() -> Result<Vec<String>> {
    let mut names = vec!["README.md".to_owned()];
    let guides = root()?.join("docs/guide");
    if guides.is_dir() {
        for entry in std::fs::read_dir(guides)? {
            names.push(format!("docs/guide/{}", entry?.file_name().to_string_lossy()));
        }
    }
    names.sort();
    Ok(names)
}

/// Runs the blocks of a document in one shell and gives the output of each.
fn run_blocks(blocks: &[Block], binary: &Path) -> Result<Vec<String>> {
    if blocks.is_empty() {
        return Ok(Vec::new());
    }
    let folder = tempfile::tempdir()?;
    let start = Start {
        binary: binary.to_owned(),
        data_dir: folder.path().join("data"),
        admin_token: Start::random_token(),
        bug: None,
    };
    let server = Server::start(&start)?;
    let commands: Vec<_> = blocks.iter().map(|block| block.commands.as_str()).collect();
    // The documents write the default address; here the server is on a free port.
    let commands =
        commands.join(&format!("\necho '{SEPARATOR}'\n")).replace("http://127.0.0.1:7070", &server.url);
    let script = format!("set -eu\n{commands}");
    let binaries = binary.parent().context("the binary is in a folder")?;
    let path = std::env::join_paths(
        std::iter::once(binaries.to_path_buf())
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )?;
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(folder.path())
        .env("PATH", path)
        .env("MAINSTAY_URL", &server.url)
        .env("MAINSTAY_TOKEN", &start.admin_token)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()?;
    let stdout = String::from_utf8(output.stdout)?;
    ensure!(
        output.status.success(),
        "a block failed ({}):\n{stdout}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let outputs: Vec<_> = stdout.split(&format!("{SEPARATOR}\n")).map(str::to_owned).collect();
    ensure!(outputs.len() == blocks.len(), "{} blocks ran, {} were written", outputs.len(), blocks.len());
    Ok(outputs)
}

fn blocks(text: &str) -> Vec<Block> {
    let lines: Vec<&str> = text.lines().collect();
    let fenced = |from: usize| -> String {
        let body = lines[from..].iter().take_while(|line| !line.starts_with("```"));
        body.copied().collect::<Vec<_>>().join("\n")
    };
    let mut found: Vec<Block> = Vec::new();
    for (at, pair) in lines.windows(2).enumerate() {
        match *pair {
            ["<!-- run -->", fence] if fence.starts_with("```") => {
                found.push(Block { line: at + 3, commands: fenced(at + 2), prints: None });
            }
            ["<!-- prints -->", fence] if fence.starts_with("```") => {
                if let Some(block) = found.last_mut() {
                    block.prints = Some(fenced(at + 2));
                }
            }
            _ => {}
        }
    }
    found
}

/// Whether `output` is `pattern`, in which `…` stands for anything; white space is not compared.
fn matches(pattern: &str, output: &str) -> bool {
    let pattern: String = pattern.split_whitespace().collect();
    let output: String = output.split_whitespace().collect();
    let parts: Vec<&str> = pattern.split('…').collect();
    let [first, middle @ .., last] = parts.as_slice() else { return pattern == output };
    let Some(mut rest) = output.strip_prefix(first) else { return false };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ellipsis_stands_for_anything() {
        assert!(matches(r#"{"id": "…", "user": "ada", …}"#, r#"{"id":"1","user":"ada","kind":"login"}"#));
        assert!(!matches(r#"{"id": "…", "user": "ada"}"#, r#"{"id":"1","user":"bob"}"#));
        assert!(matches("pass\n", "pass"));
        assert!(!matches("pass", "pass more"));
    }

    #[test]
    fn only_marked_blocks_are_found() {
        let text = "```sh\nno\n```\n<!-- run -->\n```sh\nyes\n```\n<!-- prints -->\n```json\n{…}\n```\n";
        let block = Block { line: 6, commands: "yes".into(), prints: Some("{…}".into()) };
        assert_eq!(blocks(text), [block]);
    }
}
