//! The state layer behind an application: sessions, cache and more, on one SQLite file.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
//! use mainstay::{Mainstay, sessions::{NewSession, SessionOptions}};
//!
//! let mainstay = Mainstay::embedded(":memory:").await?;
//! let sessions = mainstay.sessions();
//! if let NewSession::Created { token, .. } = sessions.create("alice", SessionOptions::default()).await? {
//!     let session = sessions.check(&token).await?.expect("it was just created");
//!     assert_eq!(session.user.as_str(), "alice");
//!     sessions.revoke(session.id).await?;
//!     assert!(sessions.check(&token).await?.is_none());
//! }
//! # mainstay.close().await;
//! # Ok(()) }
//! ```
//!
//! What was answered is durable: an `Ok` of a write means that it is on the disk. What may be
//! served from memory is proven current by the change log, which every write of the truth goes
//! through. Stores that fail give an [`Error`]; refusals are values.

pub mod cache;
mod call;
pub mod health;
mod marks;
mod open;
mod secret;
pub mod sessions;
mod sweeper;
mod tail;
pub mod tokens;
#[cfg(feature = "axum")]
pub mod web;

pub use mainstay_core::{
    App, CacheKey, Clock, Error, Fields, Name, Page, PageRequest, Result, Timestamp, Ttl, once::Once,
};
pub use mainstay_sqlite::{Durability, check_folder};
pub use open::{AppHandle, Config, Mainstay};

/// Makes a creating call happen at most once per key.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// The client's key, 1 to 255 printable ASCII characters.
    pub key: String,
    /// A hash of the request; the same key with another request is refused with
    /// [`Error::IdempotencyMismatch`].
    pub fingerprint: [u8; 32],
}
