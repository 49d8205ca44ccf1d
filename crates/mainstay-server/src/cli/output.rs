//! What was asked for, on standard output: a table for people, JSON for programs.

use std::io::{self, Write as _};

use comfy_table::{Table, presets::NOTHING};
use serde_json::Value;

/// How answers are printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// A value: as it is, or as what `people` makes of it.
    pub(crate) fn value(&self, value: &Value, people: impl FnOnce(&Value) -> String) -> io::Result<()> {
        let text = if self.json { value.to_string() } else { people(value) };
        writeln!(io::stdout(), "{text}")
    }

    /// A list: as it is, or a row for each item with the fields that `columns` name.
    pub(crate) fn list(&self, items: &[Value], columns: &[&str]) -> io::Result<()> {
        if self.json {
            return writeln!(io::stdout(), "{}", Value::from(items.to_vec()));
        }
        if items.is_empty() {
            // Nothing is a fine answer, and an empty line is none.
            return writeln!(io::stderr(), "none");
        }
        let mut table = table();
        table.set_header(columns.iter().map(|column| column.to_uppercase().replace('_', " ")));
        for item in items {
            table.add_row(columns.iter().map(|column| cell(&item[column])));
        }
        writeln!(io::stdout(), "{}", trimmed(&table))
    }

    /// The fields of an object, one a line.
    pub(crate) fn fields(&self, value: &Value) -> io::Result<()> {
        self.value(value, |value| {
            let mut table = table();
            for (name, field) in value.as_object().into_iter().flatten() {
                table.add_row([name.replace('_', " "), cell(field)]);
            }
            trimmed(&table)
        })
    }
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table
}

/// Without the blanks that a table leaves at the ends of its lines.
fn trimmed(table: &Table) -> String {
    let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// Text is cleared of control characters: what users stored must not steer a terminal.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_text_cannot_steer_a_terminal() {
        assert_eq!(cell(&Value::from("a\u{1b}[31mb")), "a\u{fffd}[31mb");
    }
}
