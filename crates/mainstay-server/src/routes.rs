//! The routes, one file per noun: what comes in, what is done, what goes out.

pub(crate) mod cache;
pub(crate) mod health;
pub(crate) mod reference;
pub(crate) mod sessions;
pub(crate) mod store;
pub(crate) mod tokens;

use serde::Serialize;
use utoipa::ToSchema;

/// A part of a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct ListBody<T> {
    /// In the order that the route states.
    pub(crate) items: Vec<T>,
    /// Where the next page begins; null after the last.
    #[schema(required)]
    pub(crate) next_cursor: Option<String>,
}

/// An identifier, for the documents.
#[derive(ToSchema)]
#[schema(value_type = String, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._:@-]+$")]
#[allow(dead_code)]
pub(crate) struct Identifier(String);

/// A cache key, for the documents: at most 512 bytes, so less than 512 characters beyond ASCII.
#[derive(ToSchema)]
#[schema(value_type = String, min_length = 1, max_length = 512, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
#[allow(dead_code)]
pub(crate) struct CacheKeyText(String);

/// The id of a session or an API token, for the documents.
#[derive(ToSchema)]
#[schema(value_type = String, format = "uuid", pattern = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
#[allow(dead_code)]
pub(crate) struct Id(String);
