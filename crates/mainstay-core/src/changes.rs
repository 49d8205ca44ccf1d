//! The change log: what other copies of the truth have to hear of.
//!
//! A change is written in the same transaction as what it tells of. Every node reads the log in
//! order and drops what it had copied.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::{App, CacheKey, Name, Result, sessions::SessionId, tokens::TokenId};

/// A position in the change log. It only grows; a reader that has applied `n` has applied
/// everything that is visible at or before `n`.
pub type Seq = u64;

/// Something that copies have to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A session was changed, rotated, prolonged or revoked: a copy of it is out of date.
    Session(SessionId),
    /// Sessions of this user were revoked together: every copy of them is out of date.
    User(App, Name),
    /// An API token was revoked.
    Token(TokenId),
    /// Cached values are out of date.
    Cache(App, Invalidation),
}

/// Which cached values are out of date. Values that were loaded from the truth before the change
/// was written must not be served after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalidation {
    /// Every value with this tag, in every namespace of the app.
    Tag(Name),
    /// One value of a namespace.
    Key(Name, CacheKey),
    /// Every value of a namespace whose key begins so.
    Prefix(Name, CacheKey),
    /// A whole namespace.
    Namespace(Name),
}

/// A change with its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedChange {
    /// Its position.
    pub seq: Seq,
    /// What changed.
    pub change: Change,
}

/// What [`ChangeDriver::read`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tail {
    /// The changes after the position that was asked for, oldest first, as many as fit the limit.
    Changes(Vec<LoggedChange>),
    /// The log no longer reaches back to that position: whoever asked must drop every copy and
    /// go on from the given head.
    Lost(Seq),
}

/// The change log of the durable tier.
#[async_trait]
pub trait ChangeDriver: Debug + Send + Sync + 'static {
    /// Writes changes that belong to no other write; durable when it returns. Gives the position
    /// of the last of them.
    async fn append(&self, changes: &[Change]) -> Result<Seq>;
    /// Reads up to `limit` changes after `after`.
    async fn read(&self, after: Seq, limit: u32) -> Result<Tail>;
    /// The position of the newest change.
    async fn head(&self) -> Result<Seq>;
    /// Returns when there may be a change after `after`. A wake-up only: it may come early, and a
    /// reader that was not woken still polls.
    async fn wait(&self, after: Seq);
}
