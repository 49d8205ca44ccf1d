//! Sessions: the login state of users and devices.

use std::{fmt, fmt::Debug, net::IpAddr, str::FromStr};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    App, Fields, Name, Page, PageRequest, Result, Timestamp, Ttl,
    once::{Effect, Once},
};

/// The public name of a session: in lists, for revoking, in logs. It opens nothing.
///
/// A UUID of version 7, so that ids sort by the time of creation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub Uuid);

impl SessionId {
    /// A new id; no two are alike.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for SessionId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// What is stored of a token: a keyed hash. The token itself is never stored.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenHash(pub [u8; 32]);

impl Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

/// Where a session is used from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Device {
    /// What the client calls itself; at most 1,024 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The client's address, as the caller has verified it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// What the user calls it; at most 256 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What a second factor was verified for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactorContext {
    /// Logging in.
    Login,
    /// Signing.
    Signing,
    /// Logging in and signing.
    Both,
}

/// A second factor that was verified within this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecondFactor {
    /// What for.
    pub context: FactorContext,
    /// When, by the store's clock.
    pub verified_at: Timestamp,
}

/// What to do when a user has as many sessions as allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnMax {
    /// Revoke the sessions that were created first.
    #[default]
    EvictOldest,
    /// Create none.
    Reject,
}

/// How many sessions a user may have at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserLimit {
    /// At least 1.
    pub max: u32,
    /// What happens to one more.
    pub on_max: OnMax,
}

/// A session to be created.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// Its public id.
    pub id: SessionId,
    /// The hash of its token.
    pub token: TokenHash,
    /// Whose it is.
    pub user: Name,
    /// What it is for, as in `login`.
    pub kind: Name,
    /// The application's fields.
    pub data: Fields,
    /// Notes for people who look after sessions.
    pub metadata: Fields,
    /// Where it is used from.
    pub device: Device,
    /// It ends when it was not used for so long.
    pub idle: Ttl,
    /// It ends so long after its creation, however much it is used.
    pub absolute: Ttl,
    /// How many the user may have, if limited.
    pub limit: Option<UserLimit>,
}

/// A session as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Its public id.
    pub id: SessionId,
    /// The hash of its token.
    pub token: TokenHash,
    /// The hash of the token before the last rotation, and when it stops being accepted.
    pub previous: Option<PreviousToken>,
    /// Whose it is.
    pub user: Name,
    /// What it is for.
    pub kind: Name,
    /// The application's fields.
    pub data: Fields,
    /// Notes for people who look after sessions.
    pub metadata: Fields,
    /// Where it is used from.
    pub device: Device,
    /// A verified second factor.
    pub second_factor: Option<SecondFactor>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_seen_at: Timestamp,
    /// Its idle timeout in milliseconds.
    pub idle_ms: u64,
    /// When it ends unless it is used; never after `absolute_expires_at`.
    pub idle_expires_at: Timestamp,
    /// When it ends in any case.
    pub absolute_expires_at: Timestamp,
}

impl SessionRecord {
    /// Whether it can be used at `now`.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.idle_expires_at
    }
}

/// The token that a rotation replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousToken {
    /// Its hash.
    pub token: TokenHash,
    /// It is accepted before this instant.
    pub valid_until: Timestamp,
    /// When it was replaced.
    pub rotated_at: Timestamp,
}

/// What came of [`SessionDriver::create`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// The session, or the first one made with the same idempotency key.
    Session(Box<Effect<SessionRecord>>),
    /// The user has as many sessions as allowed; nothing was created.
    Full,
}

/// A change of a session's own fields. What is `None` or empty stays as it is.
#[derive(Clone, Debug, Default)]
pub struct SessionUpdate {
    /// Fields to take into `data`; `null` removes one.
    pub data: Fields,
    /// Fields to take into `metadata`; `null` removes one.
    pub metadata: Fields,
    /// `Some(None)` clears the second factor, `Some(Some(_))` records one as verified now.
    pub second_factor: Option<Option<FactorContext>>,
    /// Let it live at least so long from now without use, within its absolute end.
    pub idle: Option<Ttl>,
    /// Move its absolute end to at least so long from now.
    pub absolute: Option<Ttl>,
}

/// A token to be replaced by another.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// The hash of the token that the client showed.
    pub shown: TokenHash,
    /// The hash of the token that follows it.
    pub next: TokenHash,
    /// How long the shown token stays valid; zero ends it at once.
    pub grace: std::time::Duration,
    /// A replaced token that is shown for rotation later than this after its grace is taken for
    /// stolen, and the session is revoked.
    pub reuse_window: std::time::Duration,
}

/// What came of [`SessionDriver::rotate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotated {
    /// The next token is valid now. A second rotation of the same token within its grace gives
    /// the same answer and changes nothing.
    Done(Box<SessionRecord>),
    /// The shown token is not, or no longer, one of this session.
    Refused,
    /// The shown token had been replaced long ago: the session was revoked.
    Reused(Box<SessionRecord>),
}

/// How many sessions there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// Live sessions by kind, not counting those that ended within the last sweep.
    pub active_by_kind: Vec<(Name, u64)>,
    /// Sessions created within the last 60 minutes.
    pub created_last_hour: u64,
    /// Checks within the last 60 minutes, as far as they were told.
    pub checks_last_hour: u64,
}

/// Sessions in a durable store: the truth about who is logged in.
///
/// Every method sees only sessions of `app`. A session that has ended, by time or by revoking, is
/// in no answer, and no method can bring it back.
#[async_trait]
pub trait SessionDriver: Debug + Send + Sync + 'static {
    /// Creates a session and applies the user's limit, in one step.
    async fn create(&self, app: &App, new: &NewSession, once: Option<&Once>) -> Result<Created>;
    /// Reads a live session without prolonging it.
    async fn load(&self, app: &App, id: SessionId) -> Result<Option<SessionRecord>>;
    /// Marks a live session as used now: moves `last_seen_at` and the idle end forward.
    async fn touch(&self, app: &App, id: SessionId) -> Result<Option<SessionRecord>>;
    /// Changes a live session. Deadlines only move forward. Fields that the update does not name
    /// keep what another writer gave them.
    async fn update(&self, app: &App, id: SessionId, update: &SessionUpdate)
    -> Result<Option<SessionRecord>>;
    /// Replaces the token of a live session if `shown` is its current one.
    async fn rotate(&self, app: &App, id: SessionId, rotation: &Rotation) -> Result<Rotated>;
    /// Ends a session. `false`: there was no such live session.
    async fn revoke(&self, app: &App, id: SessionId) -> Result<bool>;
    /// Ends every session of a user, but for `except`; returns how many were live. Its cost does
    /// not depend on what the sessions hold.
    async fn revoke_user(&self, app: &App, user: &Name, except: Option<SessionId>) -> Result<u64>;
    /// Lists live sessions of a user, newest first, without prolonging them.
    async fn list(&self, app: &App, user: &Name, page: &PageRequest) -> Result<Page<SessionRecord>>;
    /// Counts sessions, at a cost that does not depend on how many there are.
    async fn counts(&self, app: &App) -> Result<SessionCounts>;
    /// Adds to the number of checks in this minute.
    async fn add_checks(&self, checks: &[(App, u64)]) -> Result<()>;
}
