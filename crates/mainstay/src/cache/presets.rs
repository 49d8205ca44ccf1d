//! Ready policies for what most applications cache, with keys and tags that fit together.
//!
//! Every preset names the entity that its values belong to. Values of one entity share a tag, so
//! that one call drops the profile, the preferences and the unread count of a user together. A
//! preset is also the default policy of the namespace of its name; [`Mainstay::set_cache_policy`]
//! and [`AppHandle::cache_with`] override any of it.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mainstay = mainstay::Mainstay::embedded(":memory:").await?;
//! use mainstay::cache::presets;
//!
//! let app = mainstay.app("shop")?;
//! let profiles = presets::USER_PROFILE.open(&app)?;
//! profiles.get_or_load("42", || async { Ok::<_, std::io::Error>("Ada".to_owned()) }).await?;
//!
//! presets::invalidate(&app, "user", "42").await?;
//! assert!(profiles.get::<String>("42").await?.is_none());
//! # mainstay.close().await; Ok(()) }
//! ```
//!
//! [`Mainstay::set_cache_policy`]: crate::Mainstay::set_cache_policy

use std::{fmt::Write, time::Duration};

use mainstay_core::{Name, Result};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::{Cache, CachePolicy, Cached, LoadError, LoadOptions, PutOptions};
use crate::open::AppHandle;

/// A ready policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// The namespace.
    pub name: &'static str,
    /// What its values belong to; they are dropped together with others of it.
    pub entity: &'static str,
    /// For how long a value is fresh, in seconds.
    pub ttl_s: u64,
}

macro_rules! presets {
    ($($(#[$doc:meta])* $constant:ident: $name:literal of $entity:literal, $ttl_s:literal;)+) => {
        $(
            $(#[$doc])*
            pub const $constant: Preset = Preset { name: $name, entity: $entity, ttl_s: $ttl_s };
        )+

        /// Every preset.
        pub const ALL: &[Preset] = &[$($constant),+];
    };
}

presets! {
    /// A user's profile: 15 min.
    USER_PROFILE: "user-profile" of "user", 900;
    /// A user's TOTP configuration: 10 min, short for its weight.
    TOTP_CONFIG: "totp-config" of "user", 600;
    /// A user's notification preferences: 1 h.
    NOTIFICATION_PREFERENCES: "notification-preferences" of "user", 3600;
    /// How many notifications a user has not read: 30 min.
    UNREAD_COUNT: "unread-count" of "user", 1800;
    /// What is recommended to a user: 7 days.
    RECOMMENDATIONS: "recommendations" of "user", 604_800;
    /// A user's wallet balance, to show, never to decide by: 30 s.
    WALLET_BALANCE: "wallet-balance" of "user", 30;
    /// Settings of a domain: 1 h.
    DOMAIN_SETTINGS: "domain-settings" of "domain", 3600;
    /// Administrators of a domain: 1 h.
    DOMAIN_ADMINS: "domain-admins" of "domain", 3600;
    /// Users of a domain: 30 min.
    DOMAIN_USERS: "domain-users" of "domain", 1800;
    /// Metadata of a document: 5 min.
    DOCUMENT: "document" of "document", 300;
    /// The state of a request: 30 s.
    REQUEST_STATUS: "request-status" of "document", 30;
    /// The state of a rendered file: 1 h.
    PDF_STATUS: "pdf-status" of "document", 3600;
    /// A signature template: 10 min.
    SIGNATURE_TEMPLATE: "signature-template" of "template", 600;
    /// Figures of signatures: 5 min.
    SIGNATURE_ANALYTICS: "signature-analytics" of "analytics", 300;
    /// Other figures: 5 min.
    ANALYTICS: "analytics" of "analytics", 300;
    /// A creator: 1 h.
    CREATOR: "creator" of "creator", 3600;
    /// A brand: 1 h.
    BRAND: "brand" of "brand", 3600;
    /// A project: 30 min.
    PROJECT: "project" of "project", 1800;
    /// An asset: 30 min.
    ASSET: "asset" of "asset", 1800;
    /// A license, to show: 15 min. Enforcement reads the truth.
    LICENSE: "license" of "license", 900;
    /// Results of a search: 5 min. The key has the whole phrase, the filters and who asks.
    SEARCH_RESULTS: "search-results" of "search", 300;
    /// Services of a vendor: 10 min.
    VENDOR_SERVICES: "vendor-services" of "vendor", 600;
    /// A notification template: 1 h.
    NOTIFICATION_TEMPLATE: "notification-template" of "template", 3600;
    /// A conversation: 5 min.
    CONVERSATION: "conversation" of "conversation", 300;
    /// What is needed for a moment: 5 min.
    TEMPORARY: "temporary" of "temporary", 300;
}

/// The preset called `name`, if there is one.
#[must_use]
pub fn find(name: &str) -> Option<&'static Preset> {
    ALL.iter().find(|preset| preset.name == name)
}

/// Drops what is cached of one entity, in every namespace of the app: for `user`, what the presets
/// keep of that user. Costs as [`AppHandle::invalidate_tags`].
///
/// # Errors
/// `invalid` when `entity` is no identifier, `unavailable` when the store fails.
pub async fn invalidate(app: &AppHandle, entity: &str, id: &str) -> Result<()> {
    app.invalidate_tags(&[tag(entity, id)?.as_str()]).await
}

/// The tag that every cached value of one entity has: `user:42`.
///
/// # Errors
/// `invalid` when `entity` is no identifier.
pub fn tag(entity: &str, id: &str) -> Result<Name> {
    Name::new("entity", &bounded(entity, &[id], mainstay_core::key::NAME_CHARS_MAX))
}

impl Preset {
    /// Its policy.
    #[must_use]
    pub const fn policy(&self) -> CachePolicy {
        CachePolicy::with_ttl(Duration::from_secs(self.ttl_s))
    }

    /// Its namespace in `app`, with its policy or what was set for the name.
    ///
    /// # Errors
    /// `invalid` when there are too many namespaces.
    pub fn open(&self, app: &AppHandle) -> Result<Entities> {
        Ok(Entities { cache: app.cache(self.name)?, preset: *self })
    }
}

/// The values of a preset, by the ids of what they belong to.
#[derive(Clone, Debug)]
pub struct Entities {
    cache: Cache,
    preset: Preset,
}

impl Entities {
    /// The namespace, for what is not offered here.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The key of `id`: `user:42`. Any text is an id, and two ids never share a key.
    #[must_use]
    pub fn key(&self, id: &str) -> String {
        self.key_of(&[id])
    }

    /// The key of something with several parts, as `search:alice:phrase`. Any text is a part, and
    /// two lists of parts never share a key.
    #[must_use]
    pub fn key_of(&self, parts: &[&str]) -> String {
        bounded(self.preset.entity, parts, mainstay_core::key::CACHE_KEY_BYTES_MAX)
    }

    /// The value of `id`; see [`Cache::get`].
    ///
    /// # Errors
    /// As [`Cache::get`].
    pub async fn get<T>(&self, id: &str) -> Result<Option<Cached<T>>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self.cache.get(&self.key(id)).await
    }

    /// Stores the value of `id`, with the tag of its entity; see [`Cache::put`].
    ///
    /// # Errors
    /// As [`Cache::put`].
    pub async fn put<T: Serialize + ?Sized>(&self, id: &str, value: &T) -> Result<()> {
        let tags = vec![tag(self.preset.entity, id)?];
        self.cache.put(&self.key(id), value, PutOptions { tags, ..PutOptions::default() }).await
    }

    /// The value of `id`, loaded if need be and kept with the tag of its entity; see
    /// [`Cache::get_or_load`].
    ///
    /// # Errors
    /// As [`Cache::get_or_load`].
    pub async fn get_or_load<T, E, F, Fut>(&self, id: &str, load: F) -> Result<Cached<T>, LoadError<E>>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        self.cache.get_or_load(&self.key(id), self.load_options(id)?, load).await
    }

    /// As [`Entities::get_or_load`], where there may be none.
    ///
    /// # Errors
    /// As [`Cache::get_or_load_optional`].
    pub async fn get_or_load_optional<T, E, F, Fut>(
        &self,
        id: &str,
        load: F,
    ) -> Result<Option<Cached<T>>, LoadError<E>>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Option<T>, E>> + Send + 'static,
    {
        self.cache.get_or_load_optional(&self.key(id), self.load_options(id)?, load).await
    }

    /// Removes the value of `id` and nothing else of its entity; see [`Cache::remove`].
    ///
    /// # Errors
    /// As [`Cache::remove`].
    pub async fn remove(&self, id: &str) -> Result<()> {
        self.cache.remove(&self.key(id)).await
    }

    fn load_options(&self, id: &str) -> Result<LoadOptions> {
        Ok(LoadOptions { tags: vec![tag(self.preset.entity, id)?], ..LoadOptions::default() })
    }
}

/// `entity:part:part`, with what an identifier cannot hold escaped; too long, its hash instead.
fn bounded(entity: &str, parts: &[&str], bytes_max: usize) -> String {
    let mut text = entity.to_owned();
    for part in parts {
        text.push(':');
        escape(part, &mut text);
    }
    if text.len() > bytes_max {
        // No escaped text holds two dots in a row.
        let hash = Sha256::digest(text.as_bytes());
        text = format!("{entity}:..");
        for byte in hash {
            let _ = write!(text, "{byte:02x}");
        }
    }
    text
}

/// Writes a dot and two hexadecimal digits for every byte that is not a letter, digit, `_`, `-` or
/// `@`; an empty part is a single dot.
fn escape(part: &str, to: &mut String) {
    if part.is_empty() {
        to.push('.');
    }
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"_-@".contains(&byte) {
            to.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(to, ".{byte:02x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_any_text_give_keys_of_their_own() {
        let ids = ["", ".", "..", "a", "a:b", "a.3ab", "a%3Ab", "ä", "a b", "A", "a\0"];
        let keys: std::collections::HashSet<String> =
            ids.iter().map(|id| bounded("user", &[id], 512)).collect();
        assert_eq!(keys.len(), ids.len());
        assert_ne!(bounded("s", &["a", "b"], 512), bounded("s", &["a:b"], 512));
        assert_ne!(bounded("s", &["a", ""], 512), bounded("s", &["a"], 512));
    }

    #[test]
    fn long_ids_are_hashed_whole() {
        let (one, other) = (format!("{}1", "x".repeat(600)), format!("{}2", "x".repeat(600)));
        assert_ne!(tag("user", &one).unwrap(), tag("user", &other).unwrap());
        assert_eq!(bounded("user", &[&one], 512).len(), "user:..".len() + 64);
    }

    #[test]
    fn presets_have_names_of_their_own() {
        let names: std::collections::HashSet<&str> = ALL.iter().map(|preset| preset.name).collect();
        assert_eq!(names.len(), ALL.len());
        assert!(ALL.iter().all(|preset| preset.policy().check().is_ok()));
    }
}
