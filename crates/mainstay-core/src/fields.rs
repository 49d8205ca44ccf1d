//! A JSON object of the user, kept as text: Mainstay merges its fields and never reads them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Error, Result};

/// The most bytes that the fields of one object may have together, as JSON.
pub const FIELDS_BYTES_MAX: usize = 1024 * 1024;

/// Named JSON values. Each value is kept byte for byte as it was given, so that no number loses
/// digits and no text is touched.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fields(BTreeMap<String, Box<RawValue>>);

impl Fields {
    /// Reads a JSON object.
    ///
    /// # Errors
    /// The JSON reader's words when `text` is not a JSON object.
    pub fn from_json(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// Writes a JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(2 + self.json_bytes());
        out.push('{');
        for (i, (name, value)) in self.0.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            out.push_str(&serde_json::Value::String(name.clone()).to_string());
            out.push(':');
            out.push_str(value.get());
        }
        out.push('}');
        out
    }

    /// Puts `value` under `name`, as JSON.
    ///
    /// # Errors
    /// The JSON writer's words when `value` cannot be JSON.
    pub fn set(&mut self, name: &str, value: &impl Serialize) -> serde_json::Result<()> {
        self.0.insert(name.to_owned(), serde_json::value::to_raw_value(value)?);
        Ok(())
    }

    /// The JSON text under `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.get())
    }

    /// Takes every field of `patch`; one that is `null` is removed here.
    pub fn merge(&mut self, patch: &Self) {
        for (name, value) in &patch.0 {
            if value.get() == "null" {
                self.0.remove(name);
            } else {
                self.0.insert(name.clone(), value.clone());
            }
        }
    }

    /// Whether there are no fields.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Refuses more than 1 MiB.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for `field`.
    pub fn check(&self, field: &'static str) -> Result<()> {
        let size = self.json_bytes();
        if size > FIELDS_BYTES_MAX {
            return Err(Error::TooLarge {
                field: field.into(),
                size_bytes: size as u64,
                limit_bytes: FIELDS_BYTES_MAX as u64,
            });
        }
        Ok(())
    }

    /// The size as JSON, give or take the escapes in names.
    #[must_use]
    pub fn json_bytes(&self) -> usize {
        2 + self.0.iter().map(|(name, value)| name.len() + value.get().len() + 4).sum::<usize>()
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.0.iter().zip(&other.0).all(|((a, x), (b, y))| a == b && x.get() == y.get())
    }
}

impl Eq for Fields {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_every_byte() {
        let text = r#"{"a":12345678901234567890123,"b":1.0e-7,"c":{"x":[ 1 ]},"d":"é\n"}"#;
        assert_eq!(Fields::from_json(text).unwrap().to_json(), text);
    }

    #[test]
    fn a_merge_takes_fields_and_removes_nulls() {
        let mut fields = Fields::from_json(r#"{"a":1,"b":{"x":1}}"#).unwrap();
        fields.merge(&Fields::from_json(r#"{"a":null,"b":{"y":2},"c":3}"#).unwrap());
        assert_eq!(fields.to_json(), r#"{"b":{"y":2},"c":3}"#);
    }
}
