//! One hit of an in-process cache: a 512-byte value behind an `Arc`, among others that are hit in
//! turn: few, so that they stay in the processor's caches, or many, so that they do not.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

type Value = Arc<[u8; 512]>;

const SAMPLES: usize = 20_000;
/// Hits a sample; one alone is shorter than a clock reading.
const HITS: u32 = 64;

/// # Errors
/// When a value that was put is not there.
pub(crate) fn moka(size: usize, entries: usize) -> Result<f64> {
    // With a time to live, as a cache in use has one and ours has.
    let cache: moka::sync::Cache<String, Value> =
        moka::sync::Cache::builder().max_capacity(100_000).time_to_live(Duration::from_secs(3600)).build();
    for key in keys(entries) {
        cache.insert(key, Arc::new([7; 512]));
    }
    cache.run_pending_tasks();
    hit_p50(size, entries, |key| cache.get(key))
}

/// # Errors
/// When a value that was put is not there.
pub(crate) fn quick_cache(size: usize, entries: usize) -> Result<f64> {
    let cache: quick_cache::sync::Cache<String, Value> = quick_cache::sync::Cache::new(100_000);
    for key in keys(entries) {
        cache.insert(key, Arc::new([7; 512]));
    }
    hit_p50(size, entries, |key| cache.get(key))
}

fn keys(entries: usize) -> impl Iterator<Item = String> {
    (0..entries).map(|number| format!("user:{number}:profile"))
}

/// The median over samples, in nanoseconds a hit.
fn hit_p50(size: usize, entries: usize, get: impl Fn(&str) -> Option<Value>) -> Result<f64> {
    let keys: Vec<String> = keys(entries).collect();
    let mut samples = Vec::with_capacity(SAMPLES / size);
    for sample in 0..SAMPLES / size {
        let started = Instant::now();
        for hit in 0..HITS as usize {
            black_box(get(&keys[(sample * 61 + hit * 7) % entries]).context("a miss")?);
        }
        samples.push(started.elapsed().as_secs_f64() * 1e9 / f64::from(HITS));
    }
    samples.sort_by(f64::total_cmp);
    Ok(samples[samples.len() / 2])
}
