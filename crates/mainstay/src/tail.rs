//! Follows the change log, so that copies in this process never outlive their truth.

use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use mainstay_core::{
    Result,
    changes::{Change, ChangeDriver, LoggedChange, Seq, Tail as Read},
    time::monotonic_ms,
};
use tokio::sync::{Mutex, watch};

use crate::call::call;

/// How often the log is read when nothing wakes us.
const POLL: Duration = Duration::from_millis(250);
/// Copies are not used when the log was not heard for longer.
const CURRENT_MS: u64 = 1000;
const READ_LIMIT: u32 = 1000;

/// Holds copies of what the change log tells of.
#[async_trait]
pub(crate) trait Follower: Debug + Send + Sync {
    /// Drops the copies that these changes concern.
    async fn apply(&self, changes: &[LoggedChange]) -> Result<()>;
    /// Drops every copy: changes up to `head` can no longer be read.
    async fn lost(&self, head: Seq) -> Result<()>;
}

/// This process's place in the change log.
#[derive(Debug)]
pub(crate) struct Tail {
    log: Arc<dyn ChangeDriver>,
    followers: Vec<Arc<dyn Follower>>,
    applied: AtomicU64,
    heard_ms: AtomicU64,
    /// One reader at a time: changes are applied in order.
    turn: Mutex<()>,
}

impl Tail {
    /// Starts behind `applied`, with everything up to the head applied.
    pub(crate) async fn start(
        log: Arc<dyn ChangeDriver>,
        followers: Vec<Arc<dyn Follower>>,
        applied: Seq,
    ) -> Result<Self> {
        let tail = Self {
            log,
            followers,
            applied: AtomicU64::new(applied),
            heard_ms: AtomicU64::new(0),
            turn: Mutex::new(()),
        };
        tail.catch_up().await?;
        Ok(tail)
    }

    /// The position up to which changes have been applied here.
    pub(crate) fn applied(&self) -> Seq {
        self.applied.load(Ordering::SeqCst)
    }

    /// Whether the log was heard recently enough for copies to be served.
    pub(crate) fn is_current(&self) -> bool {
        monotonic_ms().saturating_sub(self.heard_ms.load(Ordering::Relaxed)) <= CURRENT_MS
    }

    /// Applies everything that is in the log now.
    pub(crate) async fn catch_up(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        self.read_to_head().await
    }

    /// Returns when everything up to `seq` is applied here.
    pub(crate) async fn reach(&self, seq: Seq) -> Result<()> {
        while self.applied() < seq {
            let _turn = self.turn.lock().await;
            // Whoever had the turn before may have come past it.
            if self.applied() < seq {
                self.read_to_head().await?;
            }
        }
        Ok(())
    }

    /// Writes changes that belong to no other write, and returns when they are applied here.
    pub(crate) async fn append(&self, changes: Vec<Change>) -> Result<()> {
        // Whoever has the turn may apply its own changes without reading them back; with others on
        // their way, all read what one commit wrote for them together.
        let turn = self.turn.try_lock();
        let last = call("changes.append", self.log.append(&changes)).await?;
        if turn.is_err() {
            return self.reach(last).await;
        }
        let before = last.saturating_sub(changes.len() as Seq);
        if self.applied() != before {
            return self.read_to_head().await;
        }
        let logged: Vec<LoggedChange> =
            (before + 1..).zip(changes).map(|(seq, change)| LoggedChange { seq, change }).collect();
        for follower in &self.followers {
            follower.apply(&logged).await?;
        }
        self.applied.store(last, Ordering::SeqCst);
        Ok(())
    }

    async fn read_to_head(&self) -> Result<()> {
        loop {
            // What is heard is as old as the question, not as the answer.
            let asked_ms = monotonic_ms();
            let (applied, at_head) =
                match call("changes.read", self.log.read(self.applied(), READ_LIMIT)).await? {
                    Read::Lost(head) => {
                        for follower in &self.followers {
                            follower.lost(head).await?;
                        }
                        (Some(head), false)
                    }
                    Read::Changes(changes) => {
                        if !changes.is_empty() {
                            for follower in &self.followers {
                                follower.apply(&changes).await?;
                            }
                        }
                        (changes.last().map(|last| last.seq), changes.len() < READ_LIMIT as usize)
                    }
                };
            if let Some(applied) = applied {
                self.applied.store(applied, Ordering::SeqCst);
            }
            if at_head {
                self.heard_ms.store(asked_ms, Ordering::Relaxed);
                return Ok(());
            }
        }
    }

    /// Follows the log until told to stop.
    pub(crate) async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.log.wait(self.applied()) => {}
                () = tokio::time::sleep(POLL) => {}
            }
            if self.catch_up().await.is_err() {
                // `call` has logged it. Copies go out of use by themselves until this works again.
                tokio::time::sleep(POLL).await;
            }
        }
    }
}
