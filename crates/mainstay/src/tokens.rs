//! API tokens: who may use the server, for which app, for what.

use std::sync::Arc;

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
pub use mainstay_core::tokens::{ApiToken, TokenId};
use mainstay_core::{
    App, Error, Page, PageRequest, Result, Timestamp,
    changes::{Change, LoggedChange, Seq},
    once::{Effect, Once},
    sessions::TokenHash,
    tokens::NewToken,
};
use quick_cache::sync::Cache;

use crate::{
    Idempotency, Mainstay,
    call::call,
    marks::{AsOf, Marks},
    secret::{random, sha256},
    tail::Follower,
};

const PREFIX: &str = "mst_";
/// How many tokens are held in memory.
const IN_MEMORY: usize = 4096;
const NAME_BYTES_MAX: usize = 128;
const SCOPES_MAX: usize = 64;
/// Nouns that a scope can name.
pub const SCOPE_NOUNS: &[&str] = &["sessions", "cache", "tokens", "metrics"];

/// An API token to be created.
#[derive(Clone, Debug)]
pub struct NewApiToken {
    /// What people call it, 1 to 128 bytes without control characters.
    pub name: String,
    /// The app it belongs to.
    pub app: App,
    /// What it may do: `admin`, `<noun>:read`, `<noun>:write` or `<noun>:*`; at least one.
    pub scopes: Vec<String>,
    /// When it stops being accepted, if ever; must be ahead.
    pub expires_at: Option<Timestamp>,
    /// Makes a repeated create give the first token again, for 24 hours.
    pub idempotency: Option<Idempotency>,
}

/// What came of [`Tokens::create`].
#[derive(Clone, Debug)]
pub struct CreatedToken {
    /// The secret for the client. Only its hash is stored.
    pub secret: String,
    /// The token.
    pub token: ApiToken,
    /// Whether it had been created before with the same idempotency key.
    pub replayed: bool,
}

/// The API tokens of all apps. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tokens {
    mainstay: Mainstay,
}

impl Tokens {
    pub(crate) fn new(mainstay: Mainstay) -> Self {
        Self { mainstay }
    }

    /// Creates a token and gives its secret, once. One write.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use mainstay::{*, sessions::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # let tokens = mainstay.tokens();
    /// use mainstay::tokens::NewApiToken;
    ///
    /// let new = NewApiToken {
    ///     name: "web".into(),
    ///     app: App::new("shop")?,
    ///     scopes: vec!["sessions:*".into(), "cache:read".into()],
    ///     expires_at: None,
    ///     idempotency: None,
    /// };
    /// let created = tokens.create(new).await?;
    /// assert!(tokens.authenticate(&created.secret).await?.is_some());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `invalid` naming `name`, `scopes`, `expires_at` or `Idempotency-Key`,
    /// `idempotency_mismatch`, `unavailable`.
    pub async fn create(&self, new: NewApiToken) -> Result<CreatedToken> {
        check_name(&new.name)?;
        check_scopes(&new.scopes)?;
        if new.expires_at.is_some_and(|at| at <= self.mainstay.inner().clock.now()) {
            return Err(Error::invalid("expires_at", "must be ahead"));
        }
        let once = new.idempotency.map(|key| crate::sessions::once("tokens.create", key)).transpose()?;
        let secret = match &once {
            Some(once) => self.derived_secret(&new.app, once, &once.salt),
            None => write_secret(&random()?),
        };
        let new = NewToken {
            id: TokenId::generate(),
            hash: hash(&secret),
            app: new.app,
            name: new.name,
            scopes: new.scopes,
            expires_at: new.expires_at,
        };
        let effect =
            call("tokens.create", self.mainstay.inner().drivers.tokens.create(&new, once.as_ref())).await?;
        Ok(match (effect, once) {
            (Effect::Replayed(token, salt), Some(once)) => {
                CreatedToken { secret: self.derived_secret(&token.app, &once, &salt), token, replayed: true }
            }
            (Effect::Done(token) | Effect::Replayed(token, _), _) => {
                CreatedToken { secret, token, replayed: false }
            }
        })
    }

    /// Makes sure that there is an admin token. `given` is taken for the first one; without it one
    /// is drawn and returned, to be shown once. `None`: there was one already, or `given` was taken.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use mainstay::{*, sessions::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # use mainstay::tokens::*;
    /// # let tokens = mainstay.tokens();
    /// # let new = NewApiToken { name: "web".into(), app: App::default(), scopes: vec!["sessions:*".into()], expires_at: None, idempotency: None };
    /// assert!(tokens.ensure_admin(None).await?.is_some(), "drawn and told once");
    /// assert!(tokens.ensure_admin(None).await?.is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `invalid` when `given` is not 8 to 512 printable ASCII characters without spaces,
    /// `unavailable`.
    pub async fn ensure_admin(&self, given: Option<&str>) -> Result<Option<String>> {
        if self.has_admin().await? {
            return Ok(None);
        }
        let secret = match given {
            Some(given) => {
                if !(8..=512).contains(&given.len()) || !given.bytes().all(|b| b.is_ascii_graphic()) {
                    return Err(Error::invalid(
                        "MAINSTAY_ADMIN_TOKEN",
                        "must be 8 to 512 printable ASCII characters without spaces",
                    ));
                }
                given.to_owned()
            }
            None => write_secret(&random()?),
        };
        let new = NewToken {
            id: TokenId::generate(),
            hash: hash(&secret),
            app: App::default(),
            name: "admin".into(),
            scopes: vec!["admin".into()],
            expires_at: None,
        };
        call("tokens.create", self.mainstay.inner().drivers.tokens.create(&new, None)).await?;
        Ok(given.is_none().then_some(secret))
    }

    async fn has_admin(&self) -> Result<bool> {
        let now = self.mainstay.inner().clock.now();
        let mut page = PageRequest { cursor: None, limit: 1000 };
        loop {
            let tokens = self.list(None, &page).await?;
            let admin = |t: &ApiToken| t.scopes.iter().any(|s| s == "admin") && is_live(t, now);
            if tokens.items.iter().any(admin) {
                return Ok(true);
            }
            if tokens.next.is_none() {
                return Ok(false);
            }
            page.cursor = tokens.next;
        }
    }

    /// Finds the token of a secret. `None`: it is unknown, expired or revoked. A token that this
    /// process has seen and the change log proves current costs no read.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use mainstay::{*, sessions::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # use mainstay::tokens::*;
    /// # let tokens = mainstay.tokens();
    /// # let new = NewApiToken { name: "web".into(), app: App::default(), scopes: vec!["sessions:*".into()], expires_at: None, idempotency: None };
    /// assert!(tokens.authenticate("unknown").await?.is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `unavailable` when the token is not in memory and the store cannot be read.
    pub async fn authenticate(&self, secret: &str) -> Result<Option<Arc<ApiToken>>> {
        let inner = self.mainstay.inner();
        let hash = hash(secret);
        if inner.tail.is_current()
            && let Some(token) = inner.token_memory.get(&hash)
        {
            return Ok(is_live(&token, inner.clock.now()).then_some(token));
        }
        let read = inner.token_memory.marks.as_of();
        let Some(token) = call("tokens.find", inner.drivers.tokens.find(&hash)).await? else {
            return Ok(None);
        };
        let token = Arc::new(token);
        inner.token_memory.copies.insert(hash.0, (Arc::clone(&token), read));
        Ok(Some(token))
    }

    /// Lists tokens of one app, or of all, newest first, expired ones among them. One read.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use mainstay::{*, sessions::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # use mainstay::tokens::*;
    /// # let tokens = mainstay.tokens();
    /// # let new = NewApiToken { name: "web".into(), app: App::default(), scopes: vec!["sessions:*".into()], expires_at: None, idempotency: None };
    /// tokens.create(new).await?;
    /// assert_eq!(tokens.list(None, &PageRequest::default()).await?.items.len(), 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `invalid` for `cursor` or `limit`, `unavailable`.
    pub async fn list(&self, app: Option<&App>, page: &PageRequest) -> Result<Page<ApiToken>> {
        page.check()?;
        call("tokens.list", self.mainstay.inner().drivers.tokens.list(app, page)).await
    }

    /// Revokes a token. `false`: there was none. When this returns, the token is refused. One write.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use mainstay::{*, sessions::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # use mainstay::tokens::*;
    /// # let tokens = mainstay.tokens();
    /// # let new = NewApiToken { name: "web".into(), app: App::default(), scopes: vec!["sessions:*".into()], expires_at: None, idempotency: None };
    /// let created = tokens.create(new).await?;
    /// assert!(tokens.revoke(created.token.id).await?);
    /// assert!(tokens.authenticate(&created.secret).await?.is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `unavailable`: the token may or may not be revoked.
    pub async fn revoke(&self, id: TokenId) -> Result<bool> {
        let revoked = call("tokens.revoke", self.mainstay.inner().drivers.tokens.revoke(id)).await?;
        self.mainstay.inner().token_memory.marks.mark(&id);
        Ok(revoked)
    }

    fn derived_secret(&self, app: &App, once: &Once, salt: &[u8; 16]) -> String {
        let parts: [&[u8]; 5] =
            [b"token once", app.as_str().as_bytes(), once.key.as_bytes(), &once.fingerprint, salt];
        write_secret(&self.mainstay.inner().secret.keyed_hash(&parts))
    }
}

fn write_secret(bytes: &[u8; 32]) -> String {
    format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

fn hash(secret: &str) -> TokenHash {
    TokenHash(sha256(secret.as_bytes()))
}

fn is_live(token: &ApiToken, now: Timestamp) -> bool {
    token.expires_at.is_none_or(|at| now < at)
}

fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(Error::invalid("name", "must be 1 to 128 bytes without control characters"));
    }
    Ok(())
}

fn check_scopes(scopes: &[String]) -> Result<()> {
    if !(1..=SCOPES_MAX).contains(&scopes.len()) {
        return Err(Error::invalid("scopes", "must be 1 to 64 scopes"));
    }
    let known = |scope: &String| {
        scope == "admin"
            || scope.split_once(':').is_some_and(|(noun, verb)| {
                SCOPE_NOUNS.contains(&noun) && matches!(verb, "read" | "write" | "*")
            })
    };
    match scopes.iter().position(|scope| !known(scope)) {
        None => Ok(()),
        Some(i) => Err(Error::invalid(
            format!("scopes[{i}]"),
            format!("must be admin, or read, write or * of {}, as in sessions:write", SCOPE_NOUNS.join(", ")),
        )),
    }
}

/// Copies of API tokens in this process.
#[derive(Debug)]
pub(crate) struct TokenMemory {
    copies: Cache<[u8; 32], (Arc<ApiToken>, AsOf)>,
    marks: Marks,
}

impl TokenMemory {
    pub(crate) fn new() -> Self {
        Self { copies: Cache::new(IN_MEMORY), marks: Marks::new(1024) }
    }

    fn get(&self, hash: &TokenHash) -> Option<Arc<ApiToken>> {
        let (token, read) = self.copies.get(&hash.0)?;
        self.marks.is_current(&token.id, read).then_some(token)
    }
}

#[async_trait]
impl Follower for TokenMemory {
    async fn apply(&self, changes: &[LoggedChange]) -> Result<()> {
        for logged in changes {
            if let Change::Token(id) = &logged.change {
                self.marks.mark(id);
            }
        }
        Ok(())
    }

    async fn lost(&self, _: Seq) -> Result<()> {
        self.marks.mark_all();
        self.copies.clear();
        Ok(())
    }
}
