//! What the clients did and what they were told, in time.

use std::{collections::BTreeMap, time::Duration};

/// A public session id.
pub(crate) type Id = String;
/// A session token.
pub(crate) type Token = String;
/// Fields of a session, each a number that only grows.
pub(crate) type Fields = BTreeMap<String, u64>;

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Action {
    /// With an idempotency key or without.
    Create {
        user: String,
        key: Option<String>,
    },
    Check {
        token: Token,
    },
    /// Each field of a session is written by one client only, with growing values.
    Patch {
        id: Id,
        field: String,
        value: u64,
    },
    Rotate {
        token: Token,
        grace: Duration,
    },
    Revoke {
        id: Id,
    },
    RevokeAll {
        user: String,
        except: Option<Id>,
    },
    List {
        user: String,
    },
    /// Each key is written by one client only, with growing values.
    CachePut {
        key: String,
        value: u64,
    },
    CacheGet {
        key: String,
    },
    /// By its key, or by the tag that it was put with.
    CacheInvalidate {
        key: String,
        by_tag: bool,
    },
}

/// What the client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Session {
        id: Id,
        token: Option<Token>,
        fields: Fields,
    },
    /// It happened, and there is nothing more to say.
    Done,
    /// The session is not there or not valid.
    Refused,
    Listed(Vec<Id>),
    Cached(Option<u64>),
    /// No answer, or 503: it happened or it did not.
    Unknown,
    /// An answer that no client should get.
    Broken(String),
}

impl Answer {
    /// Whether it says for sure what came of the call.
    pub(crate) fn is_acknowledged(&self) -> bool {
        !matches!(self, Self::Unknown | Self::Broken(_))
    }
}

/// One call. `start` and `end` are times since the rig was started.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) start: Duration,
    pub(crate) end: Duration,
    pub(crate) action: Action,
    pub(crate) answer: Answer,
}
