//! Names and keys: validated once, at construction, so that every store answers alike.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Error, Result};

/// The most characters an identifier may have.
pub const NAME_CHARS_MAX: usize = 128;
/// The most bytes a cache key may have.
pub const CACHE_KEY_BYTES_MAX: usize = 512;

/// An identifier: a user, kind, namespace, tag, owner … `[A-Za-z0-9._:@-]{1,128}`.
///
/// Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Name(Arc<str>);

impl Name {
    /// Checks `text`; `field` is what an error calls it.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `text` is empty, longer than 128, or holds another character.
    pub fn new(field: &'static str, text: &str) -> Result<Self> {
        if Self::is_valid(text) { Ok(Self(text.into())) } else { Err(Error::invalid(field, Self::EXPECTED)) }
    }

    const EXPECTED: &'static str = "must be 1 to 128 characters out of A-Z a-z 0-9 . _ : @ -";

    fn is_valid(text: &str) -> bool {
        (1..=NAME_CHARS_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:@-".contains(&b))
    }

    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if Self::is_valid(&text) {
            Ok(Self(text.into()))
        } else {
            Err(serde::de::Error::custom(Self::EXPECTED))
        }
    }
}

/// The unit of isolation. The same names in two apps never meet.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct App(Name);

impl App {
    /// Checks `name` as an identifier.
    ///
    /// # Errors
    /// [`Error::Invalid`] as [`Name::new`], with the field `app`.
    pub fn new(name: &str) -> Result<Self> {
        Name::new("app", name).map(Self)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl Default for App {
    /// The app `default`.
    fn default() -> Self {
        Self(Name("default".into()))
    }
}

impl fmt::Display for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A key within a cache namespace: 1 to 512 bytes of UTF-8 without control characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
pub struct CacheKey(Arc<str>);

impl CacheKey {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the field `key` when `text` is empty, longer than 512 bytes, or
    /// holds a control character.
    pub fn new(text: &str) -> Result<Self> {
        Self::check(text)?;
        Ok(Self(text.into()))
    }

    /// What [`CacheKey::new`] checks, without the allocation.
    ///
    /// # Errors
    /// As [`CacheKey::new`].
    pub fn check(text: &str) -> Result<()> {
        if text.is_empty() || text.len() > CACHE_KEY_BYTES_MAX {
            return Err(Error::invalid("key", "must be 1 to 512 bytes"));
        }
        if text.chars().any(char::is_control) {
            return Err(Error::invalid("key", "must not hold control characters"));
        }
        Ok(())
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for CacheKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}
