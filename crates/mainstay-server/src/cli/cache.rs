//! `mainstay cache`: reads and changes cached values.

use std::{
    io::{Read as _, Write as _},
    path::PathBuf,
};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    client::{Client, escape},
    exit::{Exit, Failure},
    output::Output,
};
use crate::config::Span;

const COLUMNS: [&str; 8] =
    ["namespace", "entries", "bytes", "hits", "misses", "stale", "evictions", "hit_ratio"];

#[derive(Debug, Subcommand)]
pub(super) enum Cache {
    /// Writes a value to standard output, byte for byte.
    Get {
        /// The namespace.
        ns: String,
        /// The key.
        key: String,
    },
    /// Stores a value.
    Put(Put),
    /// Removes a value.
    Rm {
        /// The namespace.
        ns: String,
        /// The key.
        key: String,
    },
    /// Invalidates values by tag, or by prefix or keys of a namespace.
    Invalidate(Invalidate),
    /// Removes a whole namespace.
    Clear {
        /// The namespace.
        ns: String,
    },
    /// Shows figures of each namespace.
    Stats,
}

#[derive(Debug, Args)]
pub(super) struct Put {
    /// The namespace.
    ns: String,
    /// The key.
    key: String,
    /// The value; from standard input unless it or a file is given.
    #[arg(conflicts_with = "file")]
    value: Option<String>,
    /// The file with the value.
    #[arg(long)]
    file: Option<PathBuf>,
    /// How long it lives, as in 90s; as the namespace says unless given.
    #[arg(long)]
    ttl: Option<Span>,
    /// What it can be invalidated by; may be repeated.
    #[arg(long)]
    tag: Vec<String>,
    /// What kind of bytes it is.
    #[arg(long, default_value = "application/octet-stream")]
    content_type: String,
}

#[derive(Debug, Args)]
pub(super) struct Invalidate {
    /// The tags; may be repeated.
    #[arg(long, conflicts_with = "ns", required_unless_present = "ns")]
    tag: Vec<String>,
    /// The namespace of the prefix or keys.
    #[arg(long)]
    ns: Option<String>,
    /// How the keys begin.
    #[arg(long, requires = "ns", conflicts_with = "key")]
    prefix: Option<String>,
    /// A key; may be repeated.
    #[arg(long, requires = "ns")]
    key: Vec<String>,
}

impl Cache {
    pub(super) fn run(self, client: &Client, output: &Output) -> Result<Exit, Failure> {
        match self {
            Self::Get { ns, key } => {
                let bytes = client.get(&entry(&ns, &key))?.bytes()?;
                std::io::stdout().write_all(&bytes)?;
            }
            Self::Put(put) => put.run(client)?,
            Self::Rm { ns, key } => {
                client.delete(&entry(&ns, &key))?;
            }
            Self::Invalidate(invalidate) => {
                client.post("/v1/cache/invalidate", &invalidate.body()?)?;
            }
            Self::Clear { ns } => {
                client.delete(&format!("/v1/cache/{}", escape(&ns)))?;
            }
            Self::Stats => {
                let answer = client.get("/v1/cache/stats")?.json()?;
                let namespaces = answer.as_object().into_iter().flatten().map(|(name, figures)| {
                    let mut row = figures.clone();
                    row["namespace"] = Value::from(name.as_str());
                    row
                });
                output.list(&namespaces.collect::<Vec<_>>(), &COLUMNS)?;
            }
        }
        Ok(Exit::Ok)
    }
}

impl Put {
    fn run(self, client: &Client) -> Result<(), Failure> {
        let mut path = entry(&self.ns, &self.key);
        let mut separator = '?';
        if let Some(ttl) = self.ttl {
            path.push_str(&format!("{separator}ttl_ms={}", ttl.get().as_millis()));
            separator = '&';
        }
        if !self.tag.is_empty() {
            path.push_str(&format!("{separator}tags={}", escape(&self.tag.join(","))));
        }
        let value = match (self.value, self.file) {
            (Some(value), _) => value.into_bytes(),
            (None, Some(file)) => std::fs::read(&file)
                .map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))?,
            (None, None) => {
                let mut value = Vec::new();
                std::io::stdin().read_to_end(&mut value)?;
                value
            }
        };
        client.put(&path, &self.content_type, value).map(drop)
    }
}

impl Invalidate {
    fn body(self) -> Result<Value, Failure> {
        match (self.ns, self.prefix, self.key) {
            (None, _, _) => Ok(json!({ "tags": self.tag })),
            (Some(ns), Some(prefix), _) => Ok(json!({ "ns": ns, "prefix": prefix })),
            (Some(ns), None, keys) if !keys.is_empty() => Ok(json!({ "ns": ns, "keys": keys })),
            (Some(_), None, _) => {
                Err(Failure::usage("--ns needs --prefix or --key; `mainstay cache clear` removes all of it"))
            }
        }
    }
}

fn entry(ns: &str, key: &str) -> String {
    format!("/v1/cache/{}/{}", escape(ns), escape(key))
}
