//! API tokens: who may use the server, for which app, for what.

use std::{fmt, fmt::Debug, str::FromStr};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    App, Page, PageRequest, Result, Timestamp,
    once::{Effect, Once},
    sessions::TokenHash,
};

/// The public name of an API token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenId(pub Uuid);

impl TokenId {
    /// A new id; no two are alike.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for TokenId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// An API token as stored. Its secret is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiToken {
    /// Its public id.
    pub id: TokenId,
    /// The app it belongs to.
    pub app: App,
    /// What people call it.
    pub name: String,
    /// What it may do: `admin`, `<noun>:read`, `<noun>:write` or `<noun>:*`.
    pub scopes: Vec<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it stops being accepted, if ever.
    pub expires_at: Option<Timestamp>,
}

/// An API token to be created.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Its public id.
    pub id: TokenId,
    /// The hash of its secret.
    pub hash: TokenHash,
    /// The app it belongs to.
    pub app: App,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it stops being accepted, if ever.
    pub expires_at: Option<Timestamp>,
}

/// API tokens in a durable store.
#[async_trait]
pub trait TokenDriver: Debug + Send + Sync + 'static {
    /// Stores a token.
    async fn create(&self, new: &NewToken, once: Option<&Once>) -> Result<Effect<ApiToken>>;
    /// Finds the token with this hash, unless it was revoked or has expired.
    async fn find(&self, hash: &TokenHash) -> Result<Option<ApiToken>>;
    /// Lists tokens of one app or of all, newest first, those that have expired among them.
    async fn list(&self, app: Option<&App>, page: &PageRequest) -> Result<Page<ApiToken>>;
    /// Revokes a token. `false`: there was none.
    async fn revoke(&self, id: TokenId) -> Result<bool>;
}
