//! What cache routes take and give.

use std::collections::BTreeMap;

use mainstay::cache::NamespaceStats;
use mainstay_core::Name;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::{
    PartialSchema as _, ToSchema,
    openapi::{Object, ObjectBuilder, OneOfBuilder, Schema, schema::Type},
};

use super::super::{CacheKeyText, Identifier};
use crate::json;

/// Keys to be read.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CacheBatchGet)]
pub(crate) struct BatchGet {
    /// The keys; each is in the answer once.
    #[schema(value_type = Vec<CacheKeyText>, min_items = 1, max_items = 1000)]
    pub(crate) keys: Vec<String>,
}

/// What was found.
#[derive(Serialize, ToSchema)]
#[schema(as = CacheBatch)]
pub(crate) struct BatchValues {
    /// The value of each key; null where there is none.
    #[schema(schema_with = values)]
    pub(crate) items: BTreeMap<String, Option<BatchValue>>,
}

/// A value or null under each key.
fn values() -> Object {
    let nothing = ObjectBuilder::new().schema_type(Type::Null);
    let value = OneOfBuilder::new().item(nothing).item(BatchValue::schema());
    ObjectBuilder::new().additional_properties(Some(Schema::from(value))).build()
}

/// A value: as JSON if it is, else in base64.
#[derive(Serialize, ToSchema)]
#[schema(as = CacheValue)]
pub(crate) struct BatchValue {
    /// The value, when its content type is `application/json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value)]
    pub(crate) json: Option<Box<RawValue>>,
    /// The value of any other content type.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) value_base64: Option<String>,
    /// What kind of bytes it is.
    pub(crate) content_type: String,
    /// How long ago it was stored.
    pub(crate) age_ms: u64,
    /// Whether its time to live is over and it is served within its grace.
    pub(crate) stale: bool,
}

/// Values to be stored.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CacheBatchPut)]
pub(crate) struct BatchPut {
    /// The values.
    #[schema(value_type = Vec<PutItem>, min_items = 1, max_items = 1000)]
    pub(crate) items: Vec<json::Object<PutItem>>,
}

/// A value to be stored: either `json` or `value_base64`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CachePut)]
pub(crate) struct PutItem {
    /// The key.
    #[schema(value_type = CacheKeyText)]
    pub(crate) key: String,
    /// The value as JSON; `null` is a value.
    #[serde(default, deserialize_with = "raw")]
    #[schema(value_type = Value)]
    pub(crate) json: Option<Box<RawValue>>,
    /// The value as bytes.
    #[serde(default, deserialize_with = "text")]
    #[schema(
        nullable = false,
        content_encoding = "base64",
        pattern = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
    )]
    pub(crate) value_base64: Option<String>,
    /// How long it lives; as the namespace says unless given.
    #[schema(minimum = 1, maximum = 315_360_000_000u64)]
    pub(crate) ttl_ms: Option<u64>,
    /// What it can be invalidated by.
    #[serde(default)]
    #[schema(value_type = Vec<Identifier>, max_items = 64)]
    pub(crate) tags: Vec<Name>,
}

/// Takes `null` as a value, which an `Option` alone would not.
fn raw<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// Does not take `null` for a field that is not there.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

/// How many values were stored.
#[derive(Serialize, ToSchema)]
#[schema(as = CacheStored)]
pub(crate) struct Stored {
    #[schema(minimum = 0)]
    pub(crate) stored: u64,
}

/// What is out of date: `tags`, or `ns` with `prefix`, or `ns` with `keys`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Invalidate {
    pub(crate) tags: Option<Vec<Name>>,
    pub(crate) ns: Option<Name>,
    pub(crate) prefix: Option<String>,
    pub(crate) keys: Option<Vec<String>>,
}

/// What is out of date.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = CacheInvalidate)]
#[allow(dead_code)]
pub(crate) enum InvalidateChoice {
    Tags(InvalidateTags),
    Prefix(InvalidatePrefix),
    Keys(InvalidateKeys),
}

/// Every value with one of these tags, in every namespace of the app.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub(crate) struct InvalidateTags {
    /// The tags.
    #[schema(value_type = Vec<Identifier>, min_items = 1, max_items = 1000)]
    tags: Vec<Name>,
}

/// Every value of a namespace whose key begins so.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub(crate) struct InvalidatePrefix {
    /// The namespace.
    #[schema(value_type = Identifier)]
    ns: Name,
    /// How the keys begin.
    #[schema(value_type = CacheKeyText)]
    prefix: String,
}

/// Values of a namespace.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
pub(crate) struct InvalidateKeys {
    /// The namespace.
    #[schema(value_type = Identifier)]
    ns: Name,
    /// The keys.
    #[schema(value_type = Vec<CacheKeyText>, min_items = 1, max_items = 1000)]
    keys: Vec<String>,
}

/// It is done.
#[derive(Serialize, ToSchema)]
#[schema(as = CacheDone)]
pub(crate) struct Done {
    /// Always true.
    pub(crate) ok: bool,
}

/// Figures of a namespace since the server started.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = CacheFigures)]
pub(crate) struct Figures {
    /// Reads that found a fresh value.
    pub(crate) hits: u64,
    /// Reads that found nothing.
    pub(crate) misses: u64,
    /// Reads that found a value within its grace.
    pub(crate) stale: u64,
    /// Values that were loaded.
    pub(crate) loads: u64,
    /// Values removed to make room.
    pub(crate) evictions: u64,
    /// Values stored.
    pub(crate) entries: u64,
    /// Bytes of keys and values.
    pub(crate) bytes: u64,
    /// Reads that found something, of all reads; 0 before the first.
    #[schema(minimum = 0, maximum = 1)]
    pub(crate) hit_ratio: f64,
    /// Loads that failed.
    load_errors: u64,
    /// Removals that were asked for.
    invalidations: u64,
    /// Stored values that could not be decoded.
    undecodable: u64,
}

impl From<&NamespaceStats> for Figures {
    fn from(stats: &NamespaceStats) -> Self {
        Self {
            hits: stats.hits,
            misses: stats.misses,
            stale: stats.stale,
            loads: stats.loads,
            evictions: stats.evictions,
            entries: stats.entries,
            bytes: stats.bytes,
            hit_ratio: stats.hit_ratio(),
            load_errors: stats.load_errors,
            invalidations: stats.invalidations,
            undecodable: stats.undecodable,
        }
    }
}
