//! Sessions: the login state of users and devices.
//!
//! A session has a public `id`, for lists and revoking, and a secret token, which only the client
//! keeps. It ends when it was idle for too long, at its absolute end, or when it is revoked, and
//! nothing brings it back then.

mod memory;
mod options;
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
pub use options::{KindPolicy, SessionOptions};

use crate::{AppHandle, Idempotency, call::call, secret::random};

/// A session in use is marked so at most this often.
const TOUCH_EVERY_MS: u64 = 60_000;
/// How long the outcome of an idempotent create is remembered.
const ONCE_TTL: Ttl = Ttl::seconds(24 * 3600);
/// Within this time of a rotation, the replaced token may come from a request that raced with it.
const REUSE_WINDOW: Duration = Duration::from_secs(10);

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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use mainstay::{*, sessions::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let sessions = mainstay.sessions();
    /// let mut options = SessionOptions::default();
    /// options.data.set("role", &"admin").expect("it is JSON");
    /// let created = sessions.create("alice", options).await?;
    /// assert!(matches!(created, NewSession::Created { replayed: false, .. }));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `invalid` naming the field (`user`, `kind`, `idle_ms`, `absolute_ms`, `max_per_user`,
    /// `device.*`, `Idempotency-Key`), `too_large` for `data` or `metadata` over 1 MiB,
    /// `idempotency_mismatch`, `unavailable`.
    pub async fn create(&self, user: &str, options: SessionOptions) -> Result<NewSession> {
        let user = Name::new("user", user)?;
        let kind = Name::new("kind", &options.kind)?;
        options.check()?;
        let policy = self.app.inner().session_kind(&kind);
        let limit = options.limit.or(policy.limit);
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
            idle: options::ttl("idle_ms", options.idle, policy.idle)?,
            absolute: options::ttl("absolute_ms", options.absolute, policy.absolute)?,
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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use mainstay::{*, sessions::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let sessions = mainstay.sessions();
    /// # let NewSession::Created { token, session, .. } = sessions.create("alice", SessionOptions::default()).await? else { panic!() };
    /// assert_eq!(sessions.check(&token).await?.map(|found| found.id), Some(session.id));
    /// assert!(sessions.check("forged").await?.is_none());
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use mainstay::{*, sessions::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let sessions = mainstay.sessions();
    /// # let NewSession::Created { token, session, .. } = sessions.create("alice", SessionOptions::default()).await? else { panic!() };
    /// assert!(sessions.peek(&token).await?.is_some());
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use mainstay::{*, sessions::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let sessions = mainstay.sessions();
    /// # let NewSession::Created { token, session, .. } = sessions.create("alice", SessionOptions::default()).await? else { panic!() };
    /// use std::time::Duration;
    ///
    /// let (next, same) = sessions.rotate(&token, Duration::ZERO).await?.expect("the token is current");
    /// assert_eq!(same.id, session.id);
    /// assert!(sessions.check(&token).await?.is_none() && sessions.check(&next).await?.is_some());
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use mainstay::{*, sessions::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let sessions = mainstay.sessions();
    /// # let NewSession::Created { token, session, .. } = sessions.create("alice", SessionOptions::default()).await? else { panic!() };
    /// assert_eq!(sessions.get(session.id).await?.expect("it is live").user.as_str(), "alice");
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use mainstay::{*, sessions::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let sessions = mainstay.sessions();
    /// # let NewSession::Created { token, session, .. } = sessions.create("alice", SessionOptions::default()).await? else { panic!() };
    /// let mut data = Fields::default();
    /// data.set("cart", &[1, 2]).expect("it is JSON");
    /// let changed = sessions.update(session.id, SessionUpdate { data, ..SessionUpdate::default() }).await?;
    /// assert_eq!(changed.expect("it is live").data.get("cart"), Some("[1,2]"));
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use mainstay::{*, sessions::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let sessions = mainstay.sessions();
    /// # let NewSession::Created { token, session, .. } = sessions.create("alice", SessionOptions::default()).await? else { panic!() };
    /// assert!(sessions.revoke(session.id).await?);
    /// assert!(sessions.check(&token).await?.is_none());
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use mainstay::{*, sessions::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let sessions = mainstay.sessions();
    /// # let NewSession::Created { token, session, .. } = sessions.create("alice", SessionOptions::default()).await? else { panic!() };
    /// sessions.create("alice", SessionOptions::default()).await?;
    /// assert_eq!(sessions.revoke_all("alice", Some(session.id)).await?, 1);
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use mainstay::{*, sessions::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let sessions = mainstay.sessions();
    /// # let NewSession::Created { token, session, .. } = sessions.create("alice", SessionOptions::default()).await? else { panic!() };
    /// let page = sessions.list("alice", &PageRequest::default()).await?;
    /// assert_eq!((page.items.len(), page.next), (1, None));
    /// # Ok(()) }
    /// ```
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
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use mainstay::{*, sessions::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let sessions = mainstay.sessions();
    /// # let NewSession::Created { token, session, .. } = sessions.create("alice", SessionOptions::default()).await? else { panic!() };
    /// assert_eq!(sessions.stats().await?.created_last_hour, 1);
    /// # Ok(()) }
    /// ```
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
