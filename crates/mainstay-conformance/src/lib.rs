//! The suite that every Mainstay driver must pass: the contract of `mainstay-core`, as tests.
//!
//! A behaviour is one short function, named as a sentence. [`suite!`] turns each into a test, so
//! that a failure reads `sqlite::sessions::a_revoked_session_is_gone`. Nothing can be skipped: a
//! noun that a driver does not carry is not listed, and one that is listed runs whole.
//!
//! ```text
//! mainstay_conformance::suite!(SqliteHarness: sessions, tokens, changes, cache);
//! ```

// A behaviour is documented by its name, and fails by a panic.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

use std::{
    future::Future,
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use async_trait::async_trait;

pub mod cache;
pub mod changes;
pub mod sessions;
pub mod tokens;

/// How the suite gets at a driver.
#[async_trait]
pub trait Harness: Sized + Send + Sync {
    /// The driver under test; it implements the traits of the nouns that the suite is asked for.
    type Driver;
    /// Starts a fresh store that no other test can see.
    async fn start() -> Self;
    /// The driver.
    fn driver(&self) -> &Self::Driver;
    /// Moves the store's clock forward.
    fn advance(&self, by: Duration);
    /// Removes what has ended, until nothing is left to remove.
    async fn sweep(&self);
}

/// A name that no other call has given.
#[must_use]
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{prefix}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Runs one future on each of `tasks` threads, started together, and gives their outcomes.
///
/// # Panics
/// Outside a runtime of several threads, and when one of the futures panics.
pub fn race<T, F>(tasks: usize, make: impl Fn(usize) -> F + Sync) -> Vec<T>
where
    T: Send,
    F: Future<Output = T>,
{
    let runtime = tokio::runtime::Handle::current();
    let start = Barrier::new(tasks);
    let (make, start, runtime) = (&make, &start, &runtime);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..tasks)
            .map(|i| {
                scope.spawn(move || {
                    start.wait();
                    runtime.block_on(make(i))
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().expect("a racing task panicked")).collect()
    })
}

/// Makes one test of each behaviour of the listed nouns, for one [`Harness`].
#[macro_export]
macro_rules! suite {
    ($harness:ty: $($noun:ident),+ $(,)?) => {
        $(
            mod $noun {
                #[allow(unused_imports)]
                use super::*;
                $crate::$noun!($harness);
            }
        )+
    };
}

/// Makes a test of each named behaviour of one noun's module.
#[doc(hidden)]
#[macro_export]
macro_rules! behaviours {
    ($harness:ty, $noun:ident: $($behaviour:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                let harness = <$harness as $crate::Harness>::start().await;
                $crate::$noun::$behaviour(&harness, $crate::Harness::driver(&harness)).await;
            }
        )+
    };
}
