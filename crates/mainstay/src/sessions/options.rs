//! What a new session is made of, and how long sessions of a kind live.

use std::time::Duration;

use mainstay_core::{
    Error, Fields, Result, Ttl,
    sessions::{Device, UserLimit},
};

use crate::Idempotency;

/// The most sessions that `limit` may allow.
const USER_LIMIT_MAX: u32 = 10_000;

/// How long sessions of a kind live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindPolicy {
    /// A session ends when it was not used for so long.
    pub idle: Ttl,
    /// A session ends so long after its creation, however much it is used.
    pub absolute: Ttl,
    /// How many a user may have at once, if limited.
    pub limit: Option<UserLimit>,
}

impl KindPolicy {
    /// A policy without a limit of sessions per user.
    #[must_use]
    pub const fn new(idle: Ttl, absolute: Ttl) -> Self {
        Self { idle, absolute, limit: None }
    }

    /// 7 days idle, 30 days absolute: for `login`, and for kinds without a policy of their own.
    pub const LOGIN: Self = Self::new(Ttl::seconds(604_800), Ttl::seconds(2_592_000));
    /// 15 minutes: for `upload`, a multi-step upload.
    pub const UPLOAD: Self = Self::new(Ttl::seconds(900), Ttl::seconds(900));
    /// 24 hours: for `onboarding`.
    pub const ONBOARDING: Self = Self::new(Ttl::seconds(86_400), Ttl::seconds(86_400));
    /// 24 hours idle, 7 days absolute: for `guest`, who has not logged in.
    pub const GUEST: Self = Self::new(Ttl::seconds(86_400), Ttl::seconds(604_800));
}

/// What a new session is made of. The default is a `login` without data.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// What it is for; decides the timeouts. Default: `login`.
    pub kind: String,
    /// The application's fields.
    pub data: Fields,
    /// Notes for people who look after sessions.
    pub metadata: Fields,
    /// Where it is used from.
    pub device: Device,
    /// How long it lives without use. Default: that of its kind.
    pub idle: Option<Duration>,
    /// How long it lives at most. Default: that of its kind.
    pub absolute: Option<Duration>,
    /// How many sessions the user may have. Default: that of its kind.
    pub limit: Option<UserLimit>,
    /// Makes a repeated create give the first session again, for 24 hours.
    pub idempotency: Option<Idempotency>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            kind: "login".into(),
            data: Fields::default(),
            metadata: Fields::default(),
            device: Device::default(),
            idle: None,
            absolute: None,
            limit: None,
            idempotency: None,
        }
    }
}

impl SessionOptions {
    /// Refuses what no session can have; names are checked where they are made.
    pub(super) fn check(&self) -> Result<()> {
        check_text("device.user_agent", self.device.user_agent.as_deref(), 1024)?;
        check_text("device.name", self.device.name.as_deref(), 256)?;
        self.data.check("data")?;
        self.metadata.check("metadata")?;
        if self.limit.is_some_and(|limit| !(1..=USER_LIMIT_MAX).contains(&limit.max)) {
            return Err(Error::invalid("max_per_user", format!("must be 1 to {USER_LIMIT_MAX}")));
        }
        Ok(())
    }
}

/// The time to live that was given, or the default.
pub(super) fn ttl(field: &'static str, given: Option<Duration>, default: Ttl) -> Result<Ttl> {
    given.map_or(Ok(default), |duration| Ttl::new(field, duration))
}

fn check_text(field: &'static str, text: Option<&str>, bytes_max: usize) -> Result<()> {
    let Some(text) = text else { return Ok(()) };
    if text.len() > bytes_max {
        return Err(Error::invalid(field, format!("must be at most {bytes_max} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(Error::invalid(field, "must not hold control characters"));
    }
    Ok(())
}
