//! One effect per idempotency key, decided in the same transaction as the effect.

use crate::{Result, Ttl};

/// Makes a creating call happen at most once per key.
///
/// The driver looks `key` up inside the transaction that creates. Found with the same
/// `fingerprint`: nothing is created and the first outcome is given back. Found with another:
/// [`Error::IdempotencyMismatch`](crate::Error::IdempotencyMismatch). Not found: the outcome is
/// stored beside the effect, and both are committed together.
#[derive(Clone, Debug)]
pub struct Once {
    /// What kind of call the key belongs to, as in `sessions.create`.
    pub scope: &'static str,
    /// The client's key, 1 to 255 printable ASCII characters.
    pub key: String,
    /// A hash of the request; the same key with another request is refused.
    pub fingerprint: [u8; 32],
    /// Random bytes stored with the outcome. Secrets of the outcome are derived from them, so that
    /// a replay can tell a secret again that was never stored.
    pub salt: [u8; 16],
    /// How long the outcome is remembered.
    pub ttl: Ttl,
}

/// The most characters an idempotency key may have.
pub const ONCE_KEY_CHARS_MAX: usize = 255;

impl Once {
    /// Checks an idempotency key.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) with the field `Idempotency-Key` when it is empty,
    /// longer than 255, or holds other than printable ASCII.
    pub fn check_key(key: &str) -> Result<()> {
        if (1..=ONCE_KEY_CHARS_MAX).contains(&key.len()) && key.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            Ok(())
        } else {
            Err(crate::Error::invalid("Idempotency-Key", "must be 1 to 255 printable ASCII characters"))
        }
    }
}

/// What came of a call that was made with an optional [`Once`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<T> {
    /// It happened now.
    Done(T),
    /// It had happened before, with this outcome and this salt.
    Replayed(T, [u8; 16]),
}
