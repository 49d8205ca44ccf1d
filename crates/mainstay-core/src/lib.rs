//! The contracts of Mainstay: what a store has to provide and the words it is said in.
//!
//! Every noun of Mainstay has one file here: a driver trait and its types. Drivers
//! (`mainstay-sqlite`, …) implement the traits, services (`mainstay`) use them, and
//! `mainstay-conformance` states as tests what each method promises. Nothing in this crate does I/O.
//!
//! Invariants that hold for every driver:
//!
//! - One trait method is one atomic step; dropping its future leaves the store consistent.
//! - A write that returned `Ok` is as durable as the store promises. A method that returned `Err`
//!   may or may not have happened; it is safe to look again.
//! - A refusal (not found, limit reached) is a value. An [`Error`] means that the store failed or
//!   that the caller erred.
//! - Durations go down, the store owns the clock.
//! - Drivers do not log, retry, sleep or decode what belongs to the user.

pub mod cache;
pub mod changes;
pub mod error;
pub mod fields;
pub mod key;
pub mod once;
pub mod page;
pub mod planted;
pub mod sessions;
pub mod store;
pub mod time;
pub mod tokens;

pub use error::{Error, Result};
pub use fields::Fields;
pub use key::{App, CacheKey, Name};
pub use page::{Page, PageRequest};
pub use time::{Clock, Timestamp, Ttl};
