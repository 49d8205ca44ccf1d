//! Puts the layers of the configuration on each other and says which of them is wrong.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use toml::{Table, Value};

use super::Config;

/// The file that is read when it is there and no other is named.
const FILE: &str = "mainstay.toml";
/// What every variable begins with.
const PREFIX: &str = "MAINSTAY_";
/// Variables that are no settings of the server: those of the command line, of people's shells
/// and of tests.
const OTHER_VARIABLES: [&str; 5] =
    ["MAINSTAY_URL", "MAINSTAY_TOKEN", "MAINSTAY_APP", "MAINSTAY_CONFIG", "MAINSTAY_PLANTED_BUG"];
/// Why `DATABASE_URL` stops the server.
pub const UNSUPPORTED_DATABASE: &str = "DATABASE_URL names a database, but this build stores in SQLite only. \
     Unset DATABASE_URL to serve from data_dir; serving other data than you meant would be worse than not serving";

/// How alike a known name has to be to be suggested.
const SIMILAR: f64 = 0.75;

/// Where settings come from.
#[derive(Debug, Default)]
pub struct Sources {
    /// The file of `--config`. Unlike `mainstay.toml` in the working folder it has to exist.
    pub file: Option<PathBuf>,
    /// All variables of the process.
    pub variables: Vec<(String, String)>,
    /// Settings given as flags, by name.
    pub flags: Vec<(&'static str, String)>,
}

/// A configuration and what was odd about its sources.
#[derive(Debug)]
pub struct Found {
    /// The effective settings.
    pub config: Config,
    /// Sentences for the log.
    pub warnings: Vec<String>,
}

impl Sources {
    /// Those of this process.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, flags: Vec<(&'static str, String)>) -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { file, variables, flags }
    }

    /// Reads them all.
    ///
    /// # Errors
    /// A sentence that names the source, the setting and what it may be.
    pub fn read(&self) -> anyhow::Result<Found> {
        let known = Table::try_from(Config::default()).context("the defaults cannot be written")?;
        let mut merged = known.clone();
        // The default of a secret shows as nothing, which is what it is.
        if let Some((path, text)) = self.file_text()? {
            let table: Table = text.parse().with_context(|| format!("{} is not TOML", path.display()))?;
            for (name, value) in table {
                if !known.contains_key(&name) {
                    bail!("{}: there is no setting {name}{}", path.display(), did_you_mean(&name, &known));
                }
                set(&mut merged, &name, value).with_context(|| path.display().to_string())?;
            }
        }
        let mut warnings = Vec::new();
        for (variable, text) in &self.variables {
            let Some(name) = variable.strip_prefix(PREFIX).map(str::to_lowercase) else { continue };
            if let Some(default) = known.get(&name) {
                let value = typed(default, text).with_context(|| variable.clone())?;
                set(&mut merged, &name, value).with_context(|| variable.clone())?;
            } else if !OTHER_VARIABLES.contains(&variable.as_str()) {
                warnings
                    .push(format!("the variable {variable} is no setting{}", did_you_mean(&name, &known)));
            }
        }
        for (name, text) in &self.flags {
            let default = known.get(*name).context("a flag without a setting")?;
            let value = typed(default, text).with_context(|| format!("--{name}"))?;
            set(&mut merged, name, value).with_context(|| format!("--{}", name.replace('_', "-")))?;
        }
        self.other_stores(&mut warnings)?;
        let config: Config = merged.try_into()?;
        config.check()?;
        Ok(Found { config, warnings })
    }

    fn file_text(&self) -> anyhow::Result<Option<(&Path, String)>> {
        let path = self.file.as_deref().unwrap_or(Path::new(FILE));
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some((path, text))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.file.is_none() => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Refuses another truth, warns of another fast tier: without one everything still works.
    fn other_stores(&self, warnings: &mut Vec<String>) -> anyhow::Result<()> {
        let is_set =
            |name: &str| self.variables.iter().any(|(known, value)| known == name && !value.is_empty());
        if is_set("DATABASE_URL") {
            bail!(UNSUPPORTED_DATABASE);
        }
        for name in ["REDIS_URL", "UPSTASH_REDIS_REST_URL"] {
            if is_set(name) {
                warnings
                    .push(format!("{name} is set, but this build keeps its copies in process memory only"));
            }
        }
        Ok(())
    }
}

/// Puts a value in its place, if it is one that the setting takes.
fn set(table: &mut Table, name: &str, value: Value) -> anyhow::Result<()> {
    let before = table.insert(name.to_owned(), value);
    if let Err(error) = table.clone().try_into::<Config>() {
        // The value itself may be a secret.
        let reason = error.message().split(" `").next().unwrap_or_default().to_owned();
        if let Some(before) = before {
            table.insert(name.to_owned(), before);
        }
        bail!("{name}: {reason}");
    }
    Ok(())
}

/// Text as the type that the setting has.
fn typed(default: &Value, text: &str) -> anyhow::Result<Value> {
    Ok(match default {
        Value::Boolean(_) => match text {
            "true" | "1" => Value::Boolean(true),
            "false" | "0" | "" => Value::Boolean(false),
            _ => bail!("must be true or false"),
        },
        Value::Integer(_) => Value::Integer(text.parse().ok().context("must be a whole number")?),
        _ => Value::String(text.to_owned()),
    })
}

fn did_you_mean(name: &str, known: &Table) -> String {
    let scored = known.keys().map(|known| (strsim::jaro_winkler(name, known), known));
    match scored.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((score, known)) if score >= SIMILAR => format!("; did you mean {known}?"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::config::{Size, Span};

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn read(text: &str, variables: &[(&str, &str)], flags: &[(&'static str, &str)]) -> anyhow::Result<Found> {
        let file = file(text);
        let variables = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let flags = flags.iter().map(|(n, v)| (*n, (*v).to_owned())).collect();
        Sources { file: Some(file.path().to_owned()), variables, flags }.read()
    }

    fn refusal(text: &str, variables: &[(&str, &str)], flags: &[(&'static str, &str)]) -> String {
        format!("{:#}", read(text, variables, flags).unwrap_err())
    }

    #[test]
    fn the_committed_file_holds_the_defaults_and_explains_each() {
        let text = include_str!("../../../../mainstay.toml");
        assert_eq!(read(text, &[], &[]).unwrap().config, Config::default());
        let table: Table = text.parse().unwrap();
        assert_eq!(table.len(), Table::try_from(Config::default()).unwrap().len(), "a setting is missing");
        let mut explained = false;
        for line in text.lines() {
            if line.contains(" = ") && !line.starts_with('#') {
                assert!(explained, "{line} has no comment");
            }
            explained = line.starts_with('#');
        }
    }

    #[test]
    fn a_later_layer_wins() {
        let found = read(
            "connections_max = 1\nlog = \"debug\"\nheader_timeout = \"5s\"",
            &[
                ("MAINSTAY_CONNECTIONS_MAX", "2"),
                ("MAINSTAY_HEADER_TIMEOUT", "6s"),
                ("MAINSTAY_OPEN_HEALTH", "true"),
            ],
            &[("header_timeout", "7s")],
        )
        .unwrap();
        assert_eq!(found.config.log, "debug");
        assert_eq!(found.config.connections_max, 2);
        assert!(found.config.open_health);
        assert_eq!(found.config.header_timeout, Span::seconds(7));
        assert_eq!(found.config.body_bytes_max, Size::mib(1));
        assert!(found.warnings.is_empty());
    }

    #[test]
    fn an_unknown_key_is_refused_with_a_suggestion() {
        let refusal = refusal("listn = \"127.0.0.1:1\"", &[], &[]);
        assert!(refusal.contains("there is no setting listn; did you mean listen?"), "{refusal}");
    }

    #[test]
    fn an_unknown_variable_is_a_warning() {
        let found =
            read("", &[("MAINSTAY_DATADIR", "x"), ("MAINSTAY_URL", "x"), ("HOME", "x")], &[]).unwrap();
        assert_eq!(found.warnings, ["the variable MAINSTAY_DATADIR is no setting; did you mean data_dir?"]);
    }

    #[test]
    fn a_wrong_value_names_its_source_and_is_not_repeated() {
        for (text, variables, name) in [
            ("header_timeout = 5", vec![], "header_timeout"),
            ("header_timeout = \"5\"", vec![], "header_timeout"),
            ("", vec![("MAINSTAY_LISTEN", "nowhere")], "MAINSTAY_LISTEN"),
            ("", vec![("MAINSTAY_CONNECTIONS_MAX", "-1")], "MAINSTAY_CONNECTIONS_MAX"),
            ("", vec![("MAINSTAY_OPEN_HEALTH", "perhaps")], "MAINSTAY_OPEN_HEALTH"),
            ("", vec![("MAINSTAY_ADMIN_TOKEN", "short")], "admin_token"),
        ] {
            let refusal = refusal(text, &variables, &[]);
            assert!(refusal.contains(name), "{refusal}");
            assert!(!refusal.contains("short"), "{refusal}");
        }
    }

    #[test]
    fn another_database_stops_the_server_and_a_redis_is_a_warning() {
        let refusal = refusal("", &[("DATABASE_URL", "postgres://u:pw@h/db")], &[]);
        assert!(refusal.contains("SQLite only") && !refusal.contains("pw"), "{refusal}");
        let found = read("", &[("REDIS_URL", "redis://:pw@h")], &[]).unwrap();
        assert_eq!(found.warnings.len(), 1);
        assert!(!found.warnings[0].contains("pw"));
    }
}
