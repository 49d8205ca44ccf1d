//! Counts and latencies of one file.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use mainstay_core::store::{Latency, StoreStats};

#[derive(Default)]
pub(crate) struct Stats {
    reads: AtomicU64,
    writes: AtomicU64,
    commits: AtomicU64,
    errors: AtomicU64,
    read_times: Recent,
    write_times: Recent,
}

impl Stats {
    pub(crate) fn read(&self, asked: Instant, ok: bool) {
        let n = self.reads.fetch_add(1, Relaxed);
        self.read_times.record(n, asked);
        self.count_error(ok);
    }

    pub(crate) fn write(&self, asked: Instant, ok: bool) {
        let n = self.writes.fetch_add(1, Relaxed);
        self.write_times.record(n, asked);
        self.count_error(ok);
    }

    pub(crate) fn committed(&self) {
        self.commits.fetch_add(1, Relaxed);
    }

    fn count_error(&self, ok: bool) {
        if !ok {
            self.errors.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn snapshot(&self) -> StoreStats {
        StoreStats {
            reads: self.reads.load(Relaxed),
            writes: self.writes.load(Relaxed),
            commits: self.commits.load(Relaxed),
            errors: self.errors.load(Relaxed),
            read_latency: self.read_times.percentiles(),
            write_latency: self.write_times.percentiles(),
            ..StoreStats::default()
        }
    }
}

const RECENT: usize = 1024;
/// One call in so many is timed: reading the clock for each would cost more than it tells.
const SAMPLE: u64 = 4;

/// The times of the last calls, in microseconds.
struct Recent(Box<[AtomicU32]>);

impl Default for Recent {
    fn default() -> Self {
        Self((0..RECENT).map(|_| AtomicU32::new(u32::MAX)).collect())
    }
}

impl Recent {
    fn record(&self, n: u64, asked: Instant) {
        if n.is_multiple_of(SAMPLE) {
            let slot = usize::try_from(n / SAMPLE).unwrap_or(0) % RECENT;
            let us = u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX - 1);
            self.0[slot].store(us, Relaxed);
        }
    }

    fn percentiles(&self) -> Latency {
        let mut times: Vec<u32> = self.0.iter().map(|t| t.load(Relaxed)).filter(|t| *t != u32::MAX).collect();
        times.sort_unstable();
        let at = |percent: usize| {
            let i = (times.len() * percent / 100).min(times.len().saturating_sub(1));
            Duration::from_micros(times.get(i).copied().unwrap_or(0).into())
        };
        Latency { p50: at(50), p95: at(95), p99: at(99) }
    }
}
