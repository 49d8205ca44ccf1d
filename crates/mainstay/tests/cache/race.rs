//! Loads, writes and invalidations at once: what is served afterwards.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use mainstay::cache::{CacheMode, CachePolicy, LoadOptions, PutOptions, tags};
use tokio::sync::oneshot;

use crate::store::TestStore;

type Loading = Pin<Box<dyn Future<Output = Result<u64, Infallible>> + Send>>;

/// A loader that reads `truth`, tells so, and then waits until it is let go.
struct Held {
    truth: Arc<AtomicU64>,
    has_read: oneshot::Sender<()>,
    may_go: oneshot::Receiver<()>,
}

impl Held {
    fn new(truth: &Arc<AtomicU64>) -> (Self, oneshot::Receiver<()>, oneshot::Sender<()>) {
        let (has_read, read) = oneshot::channel();
        let (go, may_go) = oneshot::channel();
        (Self { truth: Arc::clone(truth), has_read, may_go }, read, go)
    }

    fn loader(self) -> impl FnOnce() -> Loading + Send + 'static {
        move || {
            Box::pin(async move {
                let value = self.truth.load(SeqCst);
                self.has_read.send(()).unwrap();
                self.may_go.await.unwrap();
                Ok(value)
            })
        }
    }
}

#[tokio::test]
async fn an_invalidation_during_a_load_wins() {
    let store = TestStore::open().await;
    for how in ["tag", "key", "prefix", "namespace"] {
        let cache = store.cache(how);
        let truth = Arc::new(AtomicU64::new(1));
        let options = || LoadOptions::tagged(["user:1"]).unwrap();
        let (load, read, go) = Held::new(&truth);
        let first = {
            let cache = cache.clone();
            tokio::spawn(async move { *cache.get_or_load("user:1", options(), load.loader()).await.unwrap() })
        };
        read.await.unwrap();

        truth.store(2, SeqCst);
        match how {
            "tag" => cache.invalidate_tag("user:1").await.unwrap(),
            "key" => cache.remove("user:1").await.unwrap(),
            "prefix" => cache.clear_prefix("user:").await.unwrap(),
            _ => cache.clear().await.unwrap(),
        }
        // Who comes after the invalidation does not wait for the load that began before it.
        let (load, read, go_late) = Held::new(&truth);
        let second = {
            let cache = cache.clone();
            tokio::spawn(async move { *cache.get_or_load("user:1", options(), load.loader()).await.unwrap() })
        };
        if how == "key" {
            read.await.unwrap();
            go_late.send(()).unwrap();
            assert_eq!(second.await.unwrap(), 2, "{how}");
            go.send(()).unwrap();
        } else {
            go.send(()).unwrap();
            read.await.unwrap();
            go_late.send(()).unwrap();
            assert_eq!(second.await.unwrap(), 2, "{how}");
        }
        assert_eq!(first.await.unwrap(), 1, "asked before");
        assert_eq!(cache.get::<u64>("user:1").await.unwrap().unwrap(), 2, "{how}");
        assert_eq!(store.stats(how).await.stale_drops, 1, "{how}");
    }
}

#[tokio::test]
async fn what_is_put_during_a_load_stays() {
    let store = TestStore::open().await;
    for mode in [CacheMode::TwoLevels, CacheMode::StoreOnly] {
        let policy = CachePolicy { mode, ..CachePolicy::default() };
        let cache = store.app().cache_with("values", policy).unwrap();
        cache.remove("k").await.unwrap();
        let truth = Arc::new(AtomicU64::new(1));
        let (load, read, go) = Held::new(&truth);
        let first = {
            let cache = cache.clone();
            tokio::spawn(async move {
                *cache.get_or_load("k", LoadOptions::default(), load.loader()).await.unwrap()
            })
        };
        read.await.unwrap();
        cache.put("k", &2, PutOptions::default()).await.unwrap();
        let late = cache.get_or_load("k", LoadOptions::default(), || async { Ok::<u64, Infallible>(3) });
        assert_eq!(late.await.unwrap(), 2, "who comes after the put reads it");
        go.send(()).unwrap();
        first.await.unwrap();

        assert_eq!(cache.get::<u64>("k").await.unwrap().unwrap(), 2);
    }
}

/// B-068: the reader that loaded before the writer's commit must not fill after its invalidation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_ten_thousand_interleavings_no_old_value_is_served() {
    let store = TestStore::open().await;
    let cache = store.cache("values");
    let truth = Arc::new(AtomicU64::new(0));
    let options = || LoadOptions::tagged(["t"]).unwrap();
    let read = |cache: mainstay::cache::Cache, truth: Arc<AtomicU64>, pauses: u64| async move {
        let load = move || async move {
            let value = truth.load(SeqCst);
            for _ in 0..pauses {
                tokio::task::yield_now().await;
            }
            Ok::<u64, Infallible>(value)
        };
        *cache.get_or_load("k", options(), load).await.unwrap()
    };
    for round in 1..=10_000_u64 {
        let readers: Vec<_> = (0..2)
            .map(|i| tokio::spawn(read(cache.clone(), Arc::clone(&truth), (round * 7 + i * 3) % 5)))
            .collect();
        for _ in 0..round % 4 {
            tokio::task::yield_now().await;
        }
        truth.store(round, SeqCst);
        match round % 3 {
            0 => cache.remove("k").await.unwrap(),
            1 => cache.invalidate_tag("t").await.unwrap(),
            _ => cache.clear().await.unwrap(),
        }
        assert_eq!(read(cache.clone(), Arc::clone(&truth), 0).await, round);
        for reader in readers {
            reader.await.unwrap();
        }
        assert_eq!(read(cache.clone(), Arc::clone(&truth), 0).await, round, "after the late fill");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_never_goes_back_to_an_older_value() {
    let store = TestStore::open().await;
    let cache = store.cache("values");
    cache.put("k", &0_u64, PutOptions::default()).await.unwrap();
    let newest = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (cache, newest) = (cache.clone(), Arc::clone(&newest));
            tokio::spawn(async move {
                let mut last = 0;
                while last < 2000 {
                    let acknowledged = newest.load(SeqCst);
                    let value = *cache.get::<u64>("k").await.unwrap().unwrap();
                    assert!(value >= last && value >= acknowledged, "{value} after {last}, {acknowledged}");
                    last = value;
                }
            })
        })
        .collect();
    for value in 1..=2000_u64 {
        cache.put("k", &value, PutOptions::default()).await.unwrap();
        newest.store(value, SeqCst);
    }
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_and_its_tags_are_one_write() {
    let store = TestStore::open().await;
    let cache = store.cache("values");
    for round in 0..300_u32 {
        let put = {
            let cache = cache.clone();
            let options = PutOptions { tags: tags(["t"]).unwrap(), ..PutOptions::default() };
            tokio::spawn(async move { cache.put("k", &round, options).await.unwrap() })
        };
        cache.invalidate_tag("t").await.unwrap();
        put.await.unwrap();
        cache.invalidate_tag("t").await.unwrap();

        assert!(cache.get::<u32>("k").await.unwrap().is_none(), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_increments_all_count() {
    let store = TestStore::open().await;
    let cache = store.cache("counts");
    let tasks: Vec<_> = (0..32)
        .map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    cache.increment("n", 1, None).await.unwrap();
                    assert!(*cache.get::<i64>("n").await.unwrap().unwrap() >= 1);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(cache.get::<i64>("n").await.unwrap().unwrap(), 640);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_adds_one_is_stored() {
    let store = TestStore::open().await;
    let cache = store.cache("values");
    let tasks: Vec<_> = (0..32_u32)
        .map(|i| {
            let cache = cache.clone();
            tokio::spawn(async move { cache.add("k", &i, PutOptions::default()).await.unwrap().then_some(i) })
        })
        .collect();
    let mut winners = Vec::new();
    for task in tasks {
        winners.extend(task.await.unwrap());
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(cache.get::<u32>("k").await.unwrap().unwrap(), winners[0]);
}
