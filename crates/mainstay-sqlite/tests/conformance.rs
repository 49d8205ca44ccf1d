//! The SQLite driver against the suite.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use async_trait::async_trait;
use mainstay_conformance::Harness;
use mainstay_core::{Clock, Timestamp, store::Store};
use mainstay_sqlite::{Options, Sqlite};

struct SqliteHarness {
    store: Sqlite,
    clock: Clock,
}

#[async_trait]
impl Harness for SqliteHarness {
    type Driver = Sqlite;

    async fn start() -> Self {
        let clock = Clock::fixed(Timestamp::from_millis(1_800_000_000_000));
        let options = Options { clock: clock.clone(), ..Options::default() };
        Self { store: Sqlite::temporary(&options).unwrap(), clock }
    }

    fn driver(&self) -> &Sqlite {
        &self.store
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    async fn sweep(&self) {
        while self.store.sweep(500).await.unwrap() >= 500 {}
    }
}

mainstay_conformance::suite!(SqliteHarness: sessions, tokens, changes, cache);
