//! Removes what has ended, in small slices, and tells the store what was counted in memory.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{call::call, open::Inner};

const EVERY: Duration = Duration::from_secs(5);
/// The most rows of a kind that one slice removes: a slice stays within a few milliseconds.
const SLICE: u32 = 500;
/// The most slices of one round, so that telling the counts is not put off for ever.
const SLICES: u32 = 200;

/// Sweeps until told to stop, and once more then.
pub(crate) async fn run(inner: Arc<Inner>, mut stop: watch::Receiver<bool>) {
    loop {
        let stopped = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => true,
            () = tokio::time::sleep(EVERY) => false,
        };
        // A failure is logged by `call`; what is left is left for the next round.
        let _ = inner.flush_checks().await;
        if stopped {
            return;
        }
        for _ in 0..SLICES {
            match call("store.sweep", inner.drivers.store.sweep(SLICE)).await {
                Ok(removed) if removed >= SLICE && !*stop.borrow() => {}
                _ => break,
            }
        }
    }
}
