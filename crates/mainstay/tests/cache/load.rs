//! Reading through the cache: who loads, who waits, what is kept.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use mainstay::cache::{CachePolicy, LoadError, LoadOptions, Lookup, PutOptions, WarmOptions, Warmed, tags};
use tokio::sync::{Notify, oneshot};

use crate::store::{TestStore, broken_cache};

const MINUTE: Duration = Duration::from_secs(60);

/// A loader that gives `1`, `2`, … and can be asked how often it ran.
#[derive(Clone, Default)]
struct Source(Arc<AtomicU32>);

impl Source {
    async fn next(self) -> Result<u32, Infallible> {
        Ok(self.0.fetch_add(1, SeqCst) + 1)
    }

    fn loads(&self) -> u32 {
        self.0.load(SeqCst)
    }
}

fn loader(
    source: &Source,
) -> impl FnOnce() -> std::pin::Pin<Box<dyn Future<Output = Result<u32, Infallible>> + Send>>
+ Send
+ 'static
+ use<> {
    let source = source.clone();
    move || Box::pin(source.next())
}

/// Waits until what runs beside the requests has come this far.
async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..2000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it did not come to pass");
}

#[tokio::test]
async fn what_was_loaded_is_kept_until_its_end() {
    let store = TestStore::open().await;
    let cache = store.exact("values", MINUTE);
    let source = Source::default();
    for _ in 0..3 {
        assert_eq!(cache.get_or_load("k", LoadOptions::default(), loader(&source)).await.unwrap(), 1);
    }
    store.advance(MINUTE);
    assert_eq!(cache.get_or_load("k", LoadOptions::default(), loader(&source)).await.unwrap(), 2);
    assert_eq!(source.loads(), 2);
}

#[tokio::test]
async fn a_profile_that_was_loaded_with_a_tag_is_dropped_by_it() {
    let store = TestStore::open().await;
    let cache = store.cache("profiles");
    let source = Source::default();
    let options = || LoadOptions::tagged(["user:1"]).unwrap();
    cache.get_or_load("user:1:profile", options(), loader(&source)).await.unwrap();

    cache.invalidate_tag("user:1").await.unwrap();

    assert!(cache.get::<u32>("user:1:profile").await.unwrap().is_none());
    assert_eq!(cache.get_or_load("user:1:profile", options(), loader(&source)).await.unwrap(), 2);
}

#[tokio::test]
async fn a_tag_outlives_its_shortest_member() {
    let store = TestStore::open().await;
    let cache = store.cache("values");
    let with = |ttl| PutOptions { ttl: Some(ttl), tags: tags(["t"]).unwrap(), ..PutOptions::default() };
    cache.put("long", &1, with(60 * MINUTE)).await.unwrap();
    cache.put("short", &2, with(Duration::from_millis(1))).await.unwrap();
    store.advance(MINUTE);
    assert!(cache.get::<u32>("long").await.unwrap().is_some());

    cache.invalidate_tag("t").await.unwrap();

    assert!(cache.get::<u32>("long").await.unwrap().is_none());
}

#[tokio::test]
async fn that_there_is_none_is_remembered_for_a_shorter_time() {
    let store = TestStore::open().await;
    let cache = store.exact("values", 10 * MINUTE);
    let loads = Source::default();
    let load = || {
        let loads = loads.clone();
        move || async move { loads.next().await.map(|_| None::<u32>) }
    };
    for _ in 0..3 {
        assert!(cache.get_or_load_optional("k", LoadOptions::default(), load()).await.unwrap().is_none());
    }
    assert_eq!(loads.loads(), 1);
    assert!(matches!(cache.lookup::<u32>("k").await.unwrap(), Lookup::Absent));
    store.advance(MINUTE);
    assert!(matches!(cache.lookup::<u32>("k").await.unwrap(), Lookup::Missing));
}

#[tokio::test]
async fn who_needs_a_value_is_not_told_that_there_is_none() {
    let store = TestStore::open().await;
    let cache = store.cache("values");
    cache.put_absent("k", PutOptions::default()).await.unwrap();

    let value = cache.get_or_load("k", LoadOptions::default(), loader(&Source::default())).await.unwrap();

    assert_eq!(value, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_who_miss_at_once_load_once() {
    let store = TestStore::open().await;
    let cache = store.cache("values");
    for round in 0..20 {
        let source = Source::default();
        let key = format!("k{round}");
        let tasks: Vec<_> = (0..1000)
            .map(|_| {
                let (cache, source, key) = (cache.clone(), source.clone(), key.clone());
                tokio::spawn(async move {
                    let load = move || async move {
                        tokio::task::yield_now().await;
                        source.next().await
                    };
                    *cache.get_or_load(&key, LoadOptions::default(), load).await.unwrap()
                })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), 1);
        }
        assert_eq!(source.loads(), 1);
    }
    assert_eq!(store.stats("values").await.loads, 20);
}

#[tokio::test]
async fn a_loader_that_fails_fails_everyone_who_waits_and_is_asked_again() {
    let store = TestStore::open().await;
    let cache = store.cache("values");
    let attempts = Source::default();
    let load = || {
        let attempts = attempts.clone();
        move || async move {
            attempts.next().await.ok();
            tokio::task::yield_now().await;
            Err::<u32, &str>("the database is away")
        }
    };
    let (one, other) = tokio::join!(
        cache.get_or_load("k", LoadOptions::default(), load()),
        cache.get_or_load("k", LoadOptions::default(), load()),
    );
    for outcome in [one, other] {
        assert!(matches!(outcome, Err(LoadError::Load(error)) if *error == "the database is away"));
    }
    assert_eq!(attempts.loads(), 1);
    assert!(cache.get_or_load("k", LoadOptions::default(), load()).await.is_err());
    assert_eq!(attempts.loads(), 2);
    assert_eq!(store.stats("values").await.load_errors, 2);
}

#[tokio::test]
async fn when_the_loading_task_is_cancelled_a_waiting_one_loads() {
    let store = TestStore::open().await;
    let cache = store.cache("values");
    let (entered, has_entered) = oneshot::channel();
    let first = {
        let cache = cache.clone();
        tokio::spawn(async move {
            let load = move || async move {
                entered.send(()).unwrap();
                std::future::pending::<Result<u32, Infallible>>().await
            };
            cache.get_or_load("k", LoadOptions::default(), load).await.map(|value| *value)
        })
    };
    has_entered.await.unwrap();
    let source = Source::default();
    let second = {
        let (cache, load) = (cache.clone(), loader(&source));
        tokio::spawn(async move { *cache.get_or_load("k", LoadOptions::default(), load).await.unwrap() })
    };
    tokio::task::yield_now().await;
    first.abort();

    assert_eq!(second.await.unwrap(), 1);
    assert!(first.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn when_a_loader_panics_a_waiting_one_loads() {
    let store = TestStore::open().await;
    let cache = store.cache("values");
    let go = Arc::new(Notify::new());
    let first = {
        let (cache, go) = (cache.clone(), go.clone());
        tokio::spawn(async move {
            let load = move || async move {
                go.notified().await;
                if true {
                    panic!("a loader that panics");
                }
                Ok::<u32, Infallible>(0)
            };
            cache.get_or_load("k", LoadOptions::default(), load).await.map(|value| *value)
        })
    };
    tokio::task::yield_now().await;
    let second = {
        let (cache, load) = (cache.clone(), loader(&Source::default()));
        tokio::spawn(async move { *cache.get_or_load("k", LoadOptions::default(), load).await.unwrap() })
    };
    tokio::task::yield_now().await;
    go.notify_one();

    assert_eq!(second.await.unwrap(), 1);
    assert!(first.await.unwrap_err().is_panic());
}

#[tokio::test]
async fn a_stale_value_is_served_while_one_load_runs_beside() {
    let store = TestStore::open().await;
    let cache = store.exact("values", MINUTE);
    let options = || LoadOptions { grace: Some(10 * MINUTE), ..LoadOptions::default() };
    let source = Source::default();
    cache.get_or_load("k", options(), loader(&source)).await.unwrap();
    store.advance(2 * MINUTE);

    for _ in 0..10 {
        let value = cache.get_or_load("k", options(), loader(&source)).await.unwrap();
        assert_eq!((*value, value.is_stale()), (1, true));
    }
    until(async || *cache.get::<u32>("k").await.unwrap().unwrap() == 2).await;
    assert_eq!(source.loads(), 2);
    store.advance(20 * MINUTE);
    assert_eq!(cache.get_or_load("k", options(), loader(&source)).await.unwrap(), 3, "past the grace");
}

#[tokio::test]
async fn a_stale_value_is_served_while_its_loader_fails() {
    let store = TestStore::open().await;
    let cache = store.exact("values", MINUTE);
    let options = || LoadOptions { grace: Some(10 * MINUTE), ..LoadOptions::default() };
    cache.put("k", &7, PutOptions { grace: Some(10 * MINUTE), ..PutOptions::default() }).await.unwrap();
    store.advance(2 * MINUTE);
    let failures = Source::default();
    let load = || {
        let failures = failures.clone();
        move || async move {
            failures.next().await.ok();
            Err::<u32, &str>("the database is away")
        }
    };
    for _ in 0..20 {
        assert_eq!(cache.get_or_load("k", options(), load()).await.unwrap(), 7);
        tokio::task::yield_now().await;
    }
    until(async || store.stats("values").await.load_errors == 1).await;
    assert_eq!(cache.get_or_load("k", options(), load()).await.unwrap(), 7);
    assert_eq!(failures.loads(), 1, "not again for a second");
    store.advance(Duration::from_secs(1));
    cache.get_or_load("k", options(), load()).await.unwrap();
    until(async || failures.loads() == 2).await;
    store.advance(20 * MINUTE);
    assert!(cache.get_or_load("k", options(), load()).await.is_err(), "past the grace");
}

#[tokio::test]
async fn what_took_long_to_load_is_loaded_anew_before_it_ends() {
    let store = TestStore::open().await;
    let policy = CachePolicy { jitter: 0.0, ..CachePolicy::with_ttl(Duration::from_secs(1)) };
    let cache = store.app().cache_with("values", policy).unwrap();
    let source = Source::default();
    let slow = |source: &Source| {
        let source = source.clone();
        move || async move {
            tokio::time::sleep(Duration::from_millis(40)).await;
            source.next().await
        }
    };
    cache.get_or_load("k", LoadOptions::default(), slow(&source)).await.unwrap();
    store.advance(Duration::from_millis(995));

    until(async || {
        let value = cache.get_or_load("k", LoadOptions::default(), slow(&source)).await.unwrap();
        assert!(!value.is_stale());
        source.loads() == 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_most_32_loads_run_at_once() {
    let store = TestStore::open().await;
    let cache = store.cache("values");
    let (running, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let tasks: Vec<_> = (0..200)
        .map(|i| {
            let (cache, running, most) = (cache.clone(), running.clone(), most.clone());
            tokio::spawn(async move {
                let load = move || async move {
                    most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    running.fetch_sub(1, SeqCst);
                    Ok::<u32, Infallible>(i)
                };
                cache.get_or_load(&format!("k{i}"), LoadOptions::default(), load).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(most.load(SeqCst), 32);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loaders_that_load_other_keys_do_not_wait_for_ever() {
    let store = TestStore::open().await;
    let cache = store.cache("values");
    let tasks: Vec<_> = (0..64)
        .map(|i| {
            let cache = cache.clone();
            tokio::spawn(async move {
                let inner = cache.clone();
                let load = move || async move {
                    let value = inner
                        .get_or_load(&format!("inner{i}"), LoadOptions::default(), || async {
                            Ok::<_, Infallible>(1)
                        })
                        .await;
                    Ok::<u32, Infallible>(*value.unwrap())
                };
                *cache.get_or_load(&format!("outer{i}"), LoadOptions::default(), load).await.unwrap()
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(tokio::time::timeout(MINUTE, task).await.unwrap().unwrap(), 1);
    }
}

#[tokio::test]
async fn a_loader_that_asks_for_its_own_key_is_refused() {
    let store = TestStore::open().await;
    let cache = store.cache("values");
    let inner = cache.clone();
    let load = move || async move {
        let again =
            inner.get_or_load("k", LoadOptions::default(), || async { Ok::<u32, Infallible>(1) }).await;
        assert!(matches!(again, Err(LoadError::Cache(_))));
        Ok::<u32, Infallible>(2)
    };
    assert_eq!(cache.get_or_load("k", LoadOptions::default(), load).await.unwrap(), 2);
}

#[tokio::test]
async fn a_store_that_fails_leaves_loads_to_the_loader() {
    let (mainstay, _folder) = broken_cache().await;
    let cache = mainstay.cache("values").unwrap();
    let source = Source::default();

    assert_eq!(cache.get_or_load("k", LoadOptions::default(), loader(&source)).await.unwrap(), 1);
    assert_eq!(cache.get_or_load("k", LoadOptions::default(), loader(&source)).await.unwrap(), 2);

    let app = mainstay.app("default").unwrap();
    let stats = app.cache_stats().await.unwrap();
    assert!(stats[0].store_errors >= 4, "{stats:?}");
    mainstay.close().await;
}

#[tokio::test]
async fn counters_are_exact() {
    let store = TestStore::open().await;
    let cache = store.exact("values", MINUTE);
    let source = Source::default();
    let options = || LoadOptions { grace: Some(MINUTE), ..LoadOptions::default() };
    cache.get::<u32>("k").await.unwrap();
    cache.get_or_load("k", options(), loader(&source)).await.unwrap();
    cache.get_or_load("k", options(), loader(&source)).await.unwrap();
    cache.get::<u32>("k").await.unwrap();
    cache.put("other", &1, PutOptions::default()).await.unwrap();
    cache.get_many::<u32>(&["k", "other", "none"]).await.unwrap();
    store.advance(MINUTE);
    cache.get::<u32>("k").await.unwrap();
    cache.remove("k").await.unwrap();
    cache.get::<u32>("k").await.unwrap();

    let stats = store.stats("values").await;
    assert_eq!((stats.hits, stats.misses, stats.stale), (4, 4, 1));
    assert_eq!((stats.loads, stats.load_errors, stats.fills), (1, 0, 2));
    assert_eq!((stats.invalidations, stats.stale_drops, stats.undecodable, stats.store_errors), (1, 0, 0, 0));
    assert_eq!((stats.entries, stats.bytes), (1, 6));
    assert!((stats.hit_ratio() - 5.0 / 9.0).abs() < 1e-9);
    cache.clear().await.unwrap();
    assert_eq!(store.stats("values").await.hits, 4, "a clear leaves the figures alone");
}

#[tokio::test]
async fn a_cache_is_warmed_at_the_rate_asked_for() {
    let store = TestStore::open().await;
    let cache = store.cache("values");
    cache.put("k3", &3, PutOptions::default()).await.unwrap();
    let started = tokio::time::Instant::now();
    let options = WarmOptions { per_second: 200, ..WarmOptions::default() };
    let load = |key: String| async move {
        match key.as_str() {
            "k5" => Err("the database is away"),
            "k6" => Ok(None),
            _ => Ok(Some(key.len())),
        }
    };
    let warmed = cache.warm((0..21).map(|i| format!("k{i}")), options, load).await.unwrap();

    assert_eq!(warmed, Warmed { present: 1, loaded: 19, failed: 1 });
    assert!(started.elapsed() >= Duration::from_millis(95), "{:?}", started.elapsed());
    assert!(matches!(cache.lookup::<usize>("k6").await.unwrap(), Lookup::Absent));
}
