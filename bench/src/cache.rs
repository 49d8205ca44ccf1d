//! The cache through the crate: first level, second level, loads, tags.

use std::{
    convert::Infallible,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context as TaskContext, Poll, Waker},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use mainstay::{
    Mainstay,
    cache::{Cache, CacheMode, CachePolicy, LoadOptions, PutOptions, raw::Raw, tags},
};

use crate::{Figure, Options, Plan, Target, alloc, sessions::runtime};

/// Of a thousand values, which stay in the processor's caches, and of ten thousand, which do not.
const HIT: Plan = Plan {
    name: "cache.hit_p50",
    unit: "ns",
    target: Target::AtMost(40.0),
    peer: Some("quick_cache.hit_p50"),
};
const HIT_MOKA: Plan = Plan {
    name: "cache.hit_p50_beside_moka",
    unit: "ns",
    target: Target::AtMost(40.0),
    peer: Some("moka.hit_p50"),
};
const HIT_OF_MANY: Plan = Plan {
    name: "cache.hit_p50_of_10k",
    unit: "ns",
    target: Target::AtMost(40.0),
    peer: Some("quick_cache.hit_p50_of_10k"),
};
const HIT_OF_MANY_MOKA: Plan = Plan {
    name: "cache.hit_p50_of_10k_beside_moka",
    unit: "ns",
    target: Target::AtMost(40.0),
    peer: Some("moka.hit_p50_of_10k"),
};
const HIT_ALLOCATIONS: Plan =
    Plan { name: "cache.allocations_of_10k_hits", unit: "", target: Target::AtMost(0.0), peer: None };
const READS: Plan =
    Plan { name: "cache.store_reads", unit: "/s", target: Target::AtLeast(150_000.0), peer: None };
const WRITES: Plan =
    Plan { name: "cache.store_writes", unit: "/s", target: Target::AtLeast(100_000.0), peer: None };
const STAMPEDE: Plan =
    Plan { name: "cache.loads_of_1000_waiting", unit: "", target: Target::AtMost(1.0), peer: None };
const TAG: Plan =
    Plan { name: "cache.invalidate_tag_of_1m", unit: "ms", target: Target::AtMost(1.0), peer: None };

/// As the peers have them.
const FEW: usize = 1000;
const MANY: usize = 10_000;
const SAMPLES: u64 = 20_000;
/// Hits a sample; one alone is shorter than a clock reading.
const HITS: u32 = 64;

const TASKS: u64 = 64;
const READ_ENTRIES: u64 = 20_000;
const TOTAL: u64 = 400_000;
const TRIALS: u64 = 1000;
const WAITING: usize = 4 * 250;
const TAGGED: u64 = 1_000_000;
const EVERYTHING: [&str; 5] = ["all:0", "all:1", "all:2", "all:3", "all:4"];
const SETTLE: Duration = Duration::from_secs(2);

type Value = Vec<u8>;

/// # Errors
/// When the store fails or a value that was put is not there.
pub(crate) fn run(options: &Options) -> Result<Vec<Figure>> {
    let runtime = runtime()?;
    let figures = [
        options.measure(HIT, || runtime.block_on(hit_p50(options, FEW)))?,
        options.measure(HIT_MOKA, || runtime.block_on(hit_p50(options, FEW)))?,
        options.measure(HIT_OF_MANY, || runtime.block_on(hit_p50(options, MANY)))?,
        options.measure(HIT_OF_MANY_MOKA, || runtime.block_on(hit_p50(options, MANY)))?,
        options.measure(HIT_ALLOCATIONS, || runtime.block_on(hit_allocations()))?,
        options.measure(READS, || runtime.block_on(store_reads(options)))?,
        options.measure(WRITES, || runtime.block_on(store_writes(options)))?,
        options.measure(STAMPEDE, || runtime.block_on(stampede(options)))?,
        options.measure(TAG, || runtime.block_on(invalidate_tag(options)))?,
    ];
    Ok(figures.into_iter().flatten().collect())
}

async fn open() -> Result<(Mainstay, tempfile::TempDir)> {
    let folder = tempfile::tempdir()?;
    Ok((Mainstay::embedded(folder.path()).await?, folder))
}

fn store_only(mainstay: &Mainstay) -> Result<Cache> {
    let policy = CachePolicy { mode: CacheMode::StoreOnly, ..CachePolicy::default() };
    Ok(mainstay.app("default")?.cache_with("bench", policy)?)
}

/// Decoded values of 512 bytes in the first level, and their keys.
async fn in_memory(mainstay: &Mainstay, entries: usize) -> Result<(Cache, Vec<String>)> {
    let cache = mainstay.cache("profiles")?;
    let keys: Vec<String> = (0..entries).map(|number| format!("user:{number}:profile")).collect();
    let value: Value = vec![7; 512];
    cache.put_many(keys.iter().map(|key| (key.as_str(), &value)), PutOptions::default()).await?;
    for key in &keys {
        cache.get::<Value>(key).await?.context("a value that was put")?;
    }
    Ok((cache, keys))
}

/// One hit: the future is ready at its first poll.
fn hit(cache: &Cache, key: &str) -> Result<()> {
    let get = std::pin::pin!(cache.get::<Value>(key));
    match get.poll(&mut TaskContext::from_waker(Waker::noop())) {
        Poll::Ready(value) => {
            black_box(value?.context("a miss")?);
            Ok(())
        }
        Poll::Pending => anyhow::bail!("a value was not in the first level"),
    }
}

async fn hit_p50(options: &Options, entries: usize) -> Result<f64> {
    let (mainstay, _folder) = open().await?;
    let (cache, keys) = in_memory(&mainstay, entries).await?;
    let mut samples = Vec::new();
    for sample in 0..usize::try_from(options.size(SAMPLES))? {
        let started = Instant::now();
        for at in 0..HITS as usize {
            hit(&cache, &keys[(sample * 61 + at * 7) % entries])?;
        }
        samples.push(started.elapsed().as_secs_f64() * 1e9 / f64::from(HITS));
    }
    samples.sort_by(f64::total_cmp);
    mainstay.close().await;
    Ok(samples[samples.len() / 2])
}

async fn hit_allocations() -> Result<f64> {
    let (mainstay, _folder) = open().await?;
    let (cache, keys) = in_memory(&mainstay, MANY).await?;
    let mut outcome = Ok(());
    let allocations = alloc::count(|| outcome = keys.iter().try_for_each(|key| hit(&cache, key)));
    mainstay.close().await;
    outcome?;
    Ok(f64::from(u32::try_from(allocations)?))
}

fn raw(number: u64) -> Raw {
    let mut bytes = vec![7; 512];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Raw { bytes: bytes.into(), content_type: "application/octet-stream".to_owned() }
}

async fn store_reads(options: &Options) -> Result<f64> {
    let (mainstay, _folder) = open().await?;
    let cache = store_only(&mainstay)?;
    let entries = options.size(READ_ENTRIES);
    let values = (0..entries).map(|number| (format!("key:{number}"), raw(number), PutOptions::default()));
    cache.put_raw_many(values.collect()).await?;
    let rate = in_tasks(options.size(TOTAL), move |number| {
        let cache = cache.clone();
        async move {
            let key = format!("key:{}", number.wrapping_mul(7919) % entries);
            cache.get_raw(&key).await?.context("a value that was put")?;
            Ok(())
        }
    })
    .await?;
    mainstay.close().await;
    Ok(rate)
}

async fn store_writes(options: &Options) -> Result<f64> {
    let (mainstay, _folder) = open().await?;
    let cache = store_only(&mainstay)?;
    let rate = in_tasks(options.size(TOTAL), move |number| {
        let cache = cache.clone();
        async move {
            let key = format!("key:{number}");
            cache.put_raw(&key, raw(number), PutOptions::default(), mainstay::cache::PutWhen::Always).await?;
            Ok(())
        }
    })
    .await?;
    mainstay.close().await;
    Ok(rate)
}

/// The most loads that any of the trials needed.
async fn stampede(options: &Options) -> Result<f64> {
    let (mainstay, _folder) = open().await?;
    let cache = mainstay.cache("stampede")?;
    let mut most = 0;
    for trial in 0..options.size(TRIALS) {
        let loads = Arc::new(AtomicU32::new(0));
        let key: Arc<str> = format!("key:{trial}").into();
        let running: Vec<_> = (0..WAITING)
            .map(|_| {
                let (cache, loads, key) = (cache.clone(), Arc::clone(&loads), Arc::clone(&key));
                tokio::spawn(async move {
                    let load = move || async move {
                        tokio::task::yield_now().await;
                        Ok::<u32, Infallible>(loads.fetch_add(1, Relaxed))
                    };
                    cache.get_or_load(&key, LoadOptions::default(), load).await.map(|value| *value)
                })
            })
            .collect();
        for task in running {
            ensure!(task.await?? == 0, "a value of a second load");
        }
        most = most.max(loads.load(Relaxed));
    }
    mainstay.close().await;
    Ok(f64::from(most))
}

/// The median over tags that each have every entry.
async fn invalidate_tag(options: &Options) -> Result<f64> {
    let (mainstay, _folder) = open().await?;
    let cache = mainstay.cache("tagged")?;
    let tagged = PutOptions { tags: tags(EVERYTHING)?, ..PutOptions::default() };
    let total = options.size(TAGGED);
    for first in (0..total).step_by(10_000) {
        let keys: Vec<String> =
            (first..total.min(first + 10_000)).map(|number| format!("key:{number}")).collect();
        cache.put_many(keys.iter().map(|key| (key.as_str(), &1)), tagged.clone()).await?;
    }
    cache.get::<u32>("key:0").await?.context("a value that was put")?;
    // The system still writes out what was put; that is not what is measured.
    tokio::time::sleep(SETTLE).await;
    let mut took = Vec::new();
    for tag in EVERYTHING {
        let started = Instant::now();
        cache.invalidate_tag(tag).await?;
        took.push(started.elapsed());
    }
    for key in ["key:0", "key:1"] {
        ensure!(cache.get::<u32>(key).await?.is_none(), "an invalidated value was served");
    }
    mainstay.close().await;
    took.sort();
    Ok(took[took.len() / 2].as_secs_f64() * 1e3)
}

/// `total` calls from 64 tasks, each with one call in flight; calls per second.
async fn in_tasks<F>(total: u64, call: impl Fn(u64) -> F + Clone + Send + 'static) -> Result<f64>
where
    F: Future<Output = Result<()>> + Send,
{
    let each = (total / TASKS).max(1);
    let started = Instant::now();
    let running: Vec<_> = (0..TASKS)
        .map(|task| {
            let call = call.clone();
            tokio::spawn(async move {
                for number in 0..each {
                    call(task * each + number).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in running {
        task.await??;
    }
    Ok(f64::from(u32::try_from(TASKS * each)?) / started.elapsed().as_secs_f64())
}
