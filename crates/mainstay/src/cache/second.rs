//! Keeping the second level in step with the change log.
//!
//! It has its own file and may fail alone. While it has missed an invalidation it is not read; what
//! it missed is read from the log again. Nothing else waits for it.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use mainstay_core::{
    Result,
    cache::CacheDriver,
    changes::{Change, ChangeDriver, LoggedChange, Seq, Tail},
    time::monotonic_ms,
};

use crate::call::call;

/// It hears of its position at least every so many changes, so that little is read again at the
/// next start.
const TELL_EVERY: u64 = 1000;
/// How often it is tried whether it works again.
const RETRY_MS: u64 = 1000;
const READ_LIMIT: u32 = 1000;

pub(crate) struct SecondLevel {
    driver: Arc<dyn CacheDriver>,
    log: Arc<dyn ChangeDriver>,
    /// It has missed an invalidation and must not be read.
    is_behind: AtomicBool,
    tried_ms: AtomicU64,
    /// The position that it was told last.
    told: AtomicU64,
    /// The newest change that it was not told.
    untold: Mutex<Option<LoggedChange>>,
    /// Changes are applied in order.
    turn: tokio::sync::Mutex<()>,
}

impl SecondLevel {
    pub(crate) fn new(driver: Arc<dyn CacheDriver>, log: Arc<dyn ChangeDriver>) -> Self {
        Self {
            driver,
            log,
            is_behind: AtomicBool::new(false),
            tried_ms: AtomicU64::new(0),
            told: AtomicU64::new(0),
            untold: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Whether it may be read. Once a second it is tried whether it works again.
    pub(crate) async fn is_current(&self) -> bool {
        if !self.is_behind.load(Acquire) {
            return true;
        }
        let (now, tried) = (monotonic_ms(), self.tried_ms.load(Relaxed));
        let is_due = now >= tried + RETRY_MS;
        if is_due && self.tried_ms.compare_exchange(tried, now, Relaxed, Relaxed).is_ok() {
            let _turn = self.turn.lock().await;
            self.catch_up().await;
        }
        !self.is_behind.load(Acquire)
    }

    /// Applies what concerns the cache; a failure leaves it behind.
    pub(crate) async fn apply(&self, changes: &[LoggedChange]) {
        let Some(last) = changes.last() else { return };
        let _turn = self.turn.lock().await;
        if self.is_behind.load(Acquire) {
            // The changes are in the log.
            return self.catch_up().await;
        }
        let mut ours: Vec<LoggedChange> =
            changes.iter().filter(|logged| matches!(logged.change, Change::Cache(..))).cloned().collect();
        if ours.is_empty() && last.seq < self.told.load(Relaxed) + TELL_EVERY {
            self.set_untold(Some(last.clone()));
            return;
        }
        if ours.last().is_none_or(|ours| ours.seq < last.seq) {
            ours.push(last.clone());
        }
        if call("cache.apply", self.driver.apply(&ours)).await.is_ok() {
            self.told.store(last.seq, Relaxed);
            self.set_untold(None);
        } else {
            self.fall_behind();
        }
    }

    /// Drops everything: the log was lost up to `head`.
    pub(crate) async fn reset(&self, head: Seq) {
        let _turn = self.turn.lock().await;
        self.set_untold(None);
        if call("cache.reset", self.driver.reset(head)).await.is_err() {
            self.fall_behind();
        }
    }

    /// Without it more of the log is read at the next start.
    pub(crate) async fn tell_position(&self) {
        let _turn = self.turn.lock().await;
        let untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(last), false) = (untold, self.is_behind.load(Acquire)) {
            let _ = call("cache.apply", self.driver.apply(&[last])).await;
        }
    }

    fn set_untold(&self, change: Option<LoggedChange>) {
        *self.untold.lock().unwrap_or_else(PoisonError::into_inner) = change;
    }

    fn fall_behind(&self) {
        self.tried_ms.store(monotonic_ms(), Relaxed);
        self.is_behind.store(true, Release);
    }

    /// Reads from the log what was missed; stays behind when that fails.
    async fn catch_up(&self) {
        let outcome = self.read_missed().await;
        self.is_behind.store(outcome.is_err(), Release);
    }

    async fn read_missed(&self) -> Result<()> {
        loop {
            let applied = self.driver.applied().await?;
            match call("changes.read", self.log.read(applied, READ_LIMIT)).await? {
                Tail::Lost(head) => call("cache.reset", self.driver.reset(head)).await?,
                Tail::Changes(changes) if changes.is_empty() => return Ok(()),
                Tail::Changes(changes) => call("cache.apply", self.driver.apply(&changes)).await?,
            }
        }
    }
}
