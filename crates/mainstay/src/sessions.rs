//! Sessions: the login state of users and devices.
//!
//! A session has a public `id`, for lists and revoking, and a secret token, which only the client
//! keeps. It ends when it was idle for too long, at its absolute end, or when it is revoked, and
//! nothing brings it back then.

mod memory;
mod token;

use std::{
    ops::Deref,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use mainstay_core::{
    Error, Name, Page, PageRequest, Result, Timestamp, Ttl,
    once::{Effect, Once},
    sessions::{Created, NewSession as Create, Rotated, Rotation, SessionDriver},
};
pub use mainstay_core::{
    Fields,
    sessions::{
        Device, FactorContext, OnMax, SecondFactor, SessionCounts, SessionId, SessionRecord, SessionUpdate,
        UserLimit,
    },
};

use self::{memory::Copy, token::Shown};
pub(crate) use memory::SessionMemory;

use crate::{AppHandle, Idempotency, call::call, secret::random};

/// A session in use is marked so at most this often.
const TOUCH_EVERY_MS: u64 = 60_000;
/// How long the outcome of an idempotent create is remembered.
const ONCE_TTL: Ttl = Ttl::seconds(24 * 3600);
/// Within this time of a rotation, the replaced token may come from a request that raced with it.
const REUSE_WINDOW: Duration = Duration::from_secs(10);
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

/// What came of [`Sessions::create`].
#[derive(Clone, Debug)]
pub enum NewSession {
    /// The session is stored.
    Created {
        /// The secret for the client. It is not stored and cannot be asked for again.
        token: String,
        /// The session.
        session: Session,
        /// Whether it had been created before with the same idempotency key.
        replayed: bool,
    },
    /// The user has as many sessions as allowed, and `on_max` is `Reject`. Nothing was created.
    Full,
}

/// A session as it was when it was read. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Session(Arc<Copy>);

impl Deref for Session {
    type Target = SessionRecord;

    fn deref(&self) -> &SessionRecord {
        &self.0.record
    }
}

/// The sessions of one app. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sessions {
    app: AppHandle,
}

impl Sessions {
    pub(crate) fn new(app: AppHandle) -> Self {
        Self { app }
    }

    /// Creates a session for `user` and gives its token.
    ///
    /// When this returns, the session is durable. One write; 1 commit shared with whatever else is
    /// being written.
    ///
    /// # Errors
    /// `invalid` naming the field (`user`, `kind`, `idle_ms`, `absolute_ms`, `max_per_user`,
    /// `device.*`, `Idempotency-Key`), `too_large` for `data` or `metadata` over 1 MiB,
    /// `idempotency_mismatch`, `unavailable`.
    pub async fn create(&self, user: &str, options: SessionOptions) -> Result<NewSession> {
        let user = Name::new("user", user)?;
        let kind = Name::new("kind", &options.kind)?;
        check_device(&options.device)?;
        options.data.check("data")?;
        options.metadata.check("metadata")?;
        let policy = self.app.inner().session_kind(&kind);
        let limit = options.limit.or(policy.limit);
        if limit.is_some_and(|limit| !(1..=USER_LIMIT_MAX).contains(&limit.max)) {
            return Err(Error::invalid("max_per_user", format!("must be 1 to {USER_LIMIT_MAX}")));
        }
        let once = options.idempotency.map(|key| once("sessions.create", key)).transpose()?;
        let secret = match &once {
            Some(once) => self.derived_secret(once, &once.salt),
            None => random()?,
        };
        let id = SessionId::generate();
        let new = Create {
            id,
            token: self.hash(id, &secret),
            user,
            kind,
            data: options.data,
            metadata: options.metadata,
            device: options.device,
            idle: ttl("idle_ms", options.idle, policy.idle)?,
            absolute: ttl("absolute_ms", options.absolute, policy.absolute)?,
            limit,
        };
        self.store_new(&new, &secret, once.as_ref()).await
    }

    async fn store_new(&self, new: &Create, secret: &[u8; 32], once: Option<&Once>) -> Result<NewSession> {
        let as_of = self.memory().as_of();
        let created = call("sessions.create", self.driver().create(self.app.app(), new, once)).await?;
        if new.limit.is_some() {
            // Sessions that had to make room must be refused here from now on.
            self.app.inner().tail.catch_up().await?;
        }
        let Created::Session(effect) = created else { return Ok(NewSession::Full) };
        let (record, secret, replayed) = match (*effect, once) {
            (Effect::Replayed(record, salt), Some(once)) => (record, self.derived_secret(once, &salt), true),
            (Effect::Done(record) | Effect::Replayed(record, _), _) => (record, *secret, false),
        };
        let token = Shown { id: record.id, secret }.to_string();
        let copy = Copy::new(self.app.app().clone(), record, as_of);
        if !replayed {
            self.memory().keep(&copy);
        }
        Ok(NewSession::Created { token, session: Session(copy), replayed })
    }

    /// Finds the live session of a token and marks it as used.
    ///
    /// `None`: the token is malformed, unknown, expired or revoked; which of these is not told.
    /// A session that this process has seen and the change log proves current costs no read and
    /// no write; the use is written down at most once a minute (or a tenth of the idle timeout, if
    /// that is less). After a revoke has returned, no check that starts later finds the session.
    ///
    /// # Errors
    /// `unavailable` when the session is not in memory and the store cannot be read.
    pub async fn check(&self, token: &str) -> Result<Option<Session>> {
        self.app.count_check();
        let Some(copy) = self.find(token).await? else { return Ok(None) };
        let now = self.app.inner().clock.now();
        let every = TOUCH_EVERY_MS.min(copy.record.idle_ms / 10);
        let unused = now.since(copy.record.last_seen_at);
        if unused < Duration::from_millis(every) || copy.touching.swap(true, Ordering::AcqRel) {
            return Ok(Some(Session(copy)));
        }
        self.touch(copy).await
    }

    /// Finds the live session of a token without marking it as used. `None` as in
    /// [`Sessions::check`].
    ///
    /// # Errors
    /// As [`Sessions::check`].
    pub async fn peek(&self, token: &str) -> Result<Option<Session>> {
        Ok(self.find(token).await?.map(Session))
    }

    async fn find(&self, token: &str) -> Result<Option<Arc<Copy>>> {
        let Ok(shown) = token.parse::<Shown>() else { return Ok(None) };
        let hash = self.hash(shown.id, &shown.secret);
        let now = self.app.inner().clock.now();
        let in_memory = if self.app.inner().tail.is_current() { self.memory().get(shown.id) } else { None };
        if let Some(copy) = in_memory
            && copy.app == *self.app.app()
            && copy.record.is_live(now)
        {
            return Ok(copy.record.accepts(&hash, now).then_some(copy));
        }
        let as_of = self.memory().as_of();
        let Some(record) = call("sessions.load", self.driver().load(self.app.app(), shown.id)).await? else {
            return Ok(None);
        };
        let accepted = record.accepts(&hash, now);
        let copy = Copy::new(self.app.app().clone(), record, as_of);
        self.memory().keep(&copy);
        Ok(accepted.then_some(copy))
    }

    /// Writes down that a session is used now. A store that cannot take it fails no request: the
    /// session was found live, and only its next minute is at stake.
    async fn touch(&self, copy: Arc<Copy>) -> Result<Option<Session>> {
        let as_of = self.memory().as_of();
        match call("sessions.touch", self.driver().touch(self.app.app(), copy.record.id)).await {
            Ok(Some(record)) => {
                let touched = Copy::new(self.app.app().clone(), record, as_of);
                self.memory().keep(&touched);
                Ok(Some(Session(touched)))
            }
            Ok(None) => Ok(None),
            Err(_) => {
                copy.touching.store(false, Ordering::Release);
                Ok(Some(Session(copy)))
            }
        }
    }

    /// Replaces a session's token. The `id` stays; the shown token stays valid for `grace`, zero
    /// ends it at once.
    ///
    /// `None`: the token is not a current one. Requests that race with the same token within the
    /// grace get the same next token. A replaced token that is shown here later than its grace and
    /// 10 seconds is taken for stolen: the session is revoked, and a warning is logged.
    ///
    /// # Errors
    /// `invalid` for a `grace` of more than a day, `unavailable`.
    pub async fn rotate(&self, token: &str, grace: Duration) -> Result<Option<(String, Session)>> {
        if grace > Duration::from_secs(24 * 3600) {
            return Err(Error::invalid("grace_ms", "must be 0 to 86400000 milliseconds"));
        }
        let Ok(shown) = token.parse::<Shown>() else { return Ok(None) };
        // Derived, not drawn: whoever shows the same token is given the same successor, although
        // no token is ever stored.
        let next = self.app.inner().secret.keyed_hash(&[b"rotate", shown.id.0.as_bytes(), &shown.secret]);
        let rotation = Rotation {
            shown: self.hash(shown.id, &shown.secret),
            next: self.hash(shown.id, &next),
            grace,
            reuse_window: REUSE_WINDOW,
        };
        let as_of = self.memory().as_of();
        let rotated =
            call("sessions.rotate", self.driver().rotate(self.app.app(), shown.id, &rotation)).await?;
        self.memory().forget(shown.id);
        match rotated {
            Rotated::Done(record) => {
                let copy = Copy::new(self.app.app().clone(), *record, as_of);
                Ok(Some((Shown { id: shown.id, secret: next }.to_string(), Session(copy))))
            }
            Rotated::Refused => Ok(None),
            Rotated::Reused(record) => {
                metrics::counter!("mainstay_session_token_reuse_total").increment(1);
                tracing::warn!(
                    event = "session_token_reuse", app = %self.app.app(), session = %record.id, user = %record.user,
                    "a replaced session token was shown again; the session was revoked"
                );
                Ok(None)
            }
        }
    }

    /// Reads a live session by its public id, without marking it as used. One read.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn get(&self, id: SessionId) -> Result<Option<Session>> {
        let as_of = self.memory().as_of();
        let record = call("sessions.load", self.driver().load(self.app.app(), id)).await?;
        Ok(record.map(|record| Session(Copy::new(self.app.app().clone(), record, as_of))))
    }

    /// Changes a live session: merges fields (`null` removes one), sets or clears the second
    /// factor, moves deadlines forward. Fields that `update` does not name keep what others wrote.
    /// `None`: there is no such live session. One write.
    ///
    /// # Errors
    /// `too_large` when `data` or `metadata` would pass 1 MiB, `unavailable`.
    pub async fn update(&self, id: SessionId, update: SessionUpdate) -> Result<Option<Session>> {
        let as_of = self.memory().as_of();
        let record = call("sessions.update", self.driver().update(self.app.app(), id, &update)).await?;
        self.memory().forget(id);
        Ok(record.map(|record| Session(Copy::new(self.app.app().clone(), record, as_of))))
    }

    /// Ends a session. `false`: there was no such live session. When this returns, no check that
    /// starts later finds it. One write.
    ///
    /// # Errors
    /// `unavailable`: the session may or may not have ended.
    pub async fn revoke(&self, id: SessionId) -> Result<bool> {
        let revoked = call("sessions.revoke", self.driver().revoke(self.app.app(), id)).await?;
        self.memory().forget(id);
        Ok(revoked)
    }

    /// Ends every session of a user, but for `except`; gives how many were live. One write,
    /// whatever the number of sessions.
    ///
    /// # Errors
    /// `invalid` for `user`, `unavailable`: the sessions may or may not have ended.
    pub async fn revoke_all(&self, user: &str, except: Option<SessionId>) -> Result<u64> {
        let user = Name::new("user", user)?;
        let revoked =
            call("sessions.revoke_user", self.driver().revoke_user(self.app.app(), &user, except)).await?;
        self.memory().forget_user(self.app.app(), &user);
        Ok(revoked)
    }

    /// Lists live sessions of a user, newest first, without marking them as used. One read.
    ///
    /// # Errors
    /// `invalid` for `user`, `cursor` or `limit`, `unavailable`.
    pub async fn list(&self, user: &str, page: &PageRequest) -> Result<Page<Session>> {
        let user = Name::new("user", user)?;
        page.check()?;
        let as_of = self.memory().as_of();
        let records = call("sessions.list", self.driver().list(self.app.app(), &user, page)).await?;
        Ok(records.map(|record| Session(Copy::new(self.app.app().clone(), record, as_of))))
    }

    /// Counts sessions. "Active" means live: neither ended nor revoked, give or take the 5 seconds
    /// until ended ones are swept. The cost does not depend on how many there are.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn stats(&self) -> Result<SessionCounts> {
        self.app.inner().flush_checks().await?;
        call("sessions.counts", self.driver().counts(self.app.app())).await
    }

    fn driver(&self) -> &dyn SessionDriver {
        self.app.inner().drivers.sessions.as_ref()
    }

    fn memory(&self) -> &SessionMemory {
        &self.app.inner().session_memory
    }

    fn hash(&self, id: SessionId, secret: &[u8; 32]) -> mainstay_core::sessions::TokenHash {
        mainstay_core::sessions::TokenHash(self.app.inner().secret.keyed_hash(&[
            b"session",
            id.0.as_bytes(),
            secret,
        ]))
    }

    /// The secret of an idempotent create: a replay derives it again from the stored salt.
    fn derived_secret(&self, once: &Once, salt: &[u8; 16]) -> [u8; 32] {
        let parts: [&[u8]; 5] =
            [b"once", self.app.app().as_str().as_bytes(), once.key.as_bytes(), &once.fingerprint, salt];
        self.app.inner().secret.keyed_hash(&parts)
    }
}

/// Whether a session accepts a token.
trait Accepts {
    fn accepts(&self, hash: &mainstay_core::sessions::TokenHash, now: Timestamp) -> bool;
}

impl Accepts for SessionRecord {
    fn accepts(&self, hash: &mainstay_core::sessions::TokenHash, now: Timestamp) -> bool {
        use subtle::ConstantTimeEq;
        let old_lives = mainstay_core::planted::planted("old_token_survives_rotation");
        let current = self.token.0.ct_eq(&hash.0);
        let previous =
            self.previous.filter(|p| now < p.valid_until || old_lives).map(|p| p.token.0.ct_eq(&hash.0));
        bool::from(current) || previous.is_some_and(bool::from)
    }
}

/// The driver's form of an idempotency key.
pub(crate) fn once(scope: &'static str, given: Idempotency) -> Result<Once> {
    Once::check_key(&given.key)?;
    Ok(Once { scope, key: given.key, fingerprint: given.fingerprint, salt: random()?, ttl: ONCE_TTL })
}

fn ttl(field: &'static str, given: Option<Duration>, default: Ttl) -> Result<Ttl> {
    given.map_or(Ok(default), |duration| Ttl::new(field, duration))
}

fn check_device(device: &Device) -> Result<()> {
    check_text("device.user_agent", device.user_agent.as_deref(), 1024)?;
    check_text("device.name", device.name.as_deref(), 256)
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
