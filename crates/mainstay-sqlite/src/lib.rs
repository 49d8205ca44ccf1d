//! The embedded durable driver of Mainstay: one folder, one SQLite file for the truth.
//!
//! | file | holds | durability |
//! |---|---|---|
//! | `mainstay.db` | sessions, API tokens, idempotency, change log | `synchronous=FULL`: what was answered survives the loss of power |
//! | `cache.db` | second level of the cache | `synchronous=NORMAL`: survives the end of the process; emptied after a loss of power |
//! | `mainstay.lock` | which process has the folder | – |
//!
//! One process at a time has the folder: the copies in its memory are kept in step by its own
//! writes. Another process is refused with [`Error::Unavailable`](mainstay_core::Error) and told to
//! talk to the first one's server instead.

mod cache;
mod changes;
mod db;
mod lock;
mod once;
mod queue;
mod sessions;
mod stats;
mod store;
mod tokens;
mod tx;

pub use db::Durability;
pub use store::{Options, Sqlite, check_folder};
