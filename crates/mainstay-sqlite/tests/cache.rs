//! What is particular to the cache's file: its bound, and what survives a restart.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use mainstay_conformance::race;
use mainstay_core::{
    App, CacheKey, Clock, Name, Timestamp, Ttl,
    cache::{CacheDriver, CacheItem, PutWhen},
    changes::{Change, Invalidation, LoggedChange},
};
use mainstay_sqlite::{Options, Sqlite};

fn options(cache_bytes_max: u64) -> Options {
    Options {
        clock: Clock::fixed(Timestamp::from_millis(1_800_000_000_000)),
        cache_bytes_max,
        ..Options::default()
    }
}

fn open(folder: &Path) -> Sqlite {
    Sqlite::open(folder, &options(1 << 30)).unwrap()
}

fn app() -> App {
    App::default()
}

fn ns() -> Name {
    Name::new("ns", "pages").unwrap()
}

fn key(text: &str) -> CacheKey {
    CacheKey::new(text).unwrap()
}

fn item(at: &str, bytes: usize) -> CacheItem {
    CacheItem {
        key: key(at),
        value: Some(vec![1; bytes].into()),
        content_type: "text/plain".into(),
        tags: vec![Name::new("tags", "x").unwrap()],
        as_of: 0,
        guarded: false,
        fresh: Ttl::seconds(60),
        grace_ms: 0,
        load_ms: 0,
    }
}

async fn put(store: &Sqlite, item: CacheItem) {
    assert_eq!(store.put(&app(), &ns(), &[item], PutWhen::Always).await.unwrap(), [true]);
}

async fn holds(store: &Sqlite, at: &str) -> bool {
    store.get(&app(), &ns(), &[key(at)]).await.unwrap()[0].is_some()
}

fn logged(seq: u64, what: Invalidation) -> LoggedChange {
    LoggedChange { seq, change: Change::Cache(app(), what) }
}

#[tokio::test]
async fn the_oldest_make_room_and_are_counted() {
    let store = Sqlite::temporary(&options(4 << 20)).unwrap();
    for i in 0..9000 {
        put(&store, item(&format!("k{i}"), 1000)).await;
    }
    // An eviction that is queued runs before this.
    put(&store, item("last", 1)).await;

    let usage = store.usage(&app()).await.unwrap().remove(0);
    assert!(usage.bytes <= (4 << 20) * 17 / 16, "{usage:?}");
    assert!(usage.bytes >= (4 << 20) * 3 / 4, "{usage:?}");
    assert_eq!(usage.entries + usage.evictions, 9001);
    assert!(!holds(&store, "k0").await);
    assert!(holds(&store, "k8999").await);
}

#[tokio::test]
async fn what_was_written_again_is_young_again() {
    let store = Sqlite::temporary(&options(1 << 20)).unwrap();
    put(&store, item("kept", 1)).await;
    for i in 0..600 {
        put(&store, item(&format!("k{i}"), 1000)).await;
    }
    put(&store, item("kept", 2)).await;
    for i in 600..1200 {
        put(&store, item(&format!("k{i}"), 1000)).await;
    }
    put(&store, item("last", 1)).await;

    assert!(holds(&store, "kept").await);
    assert!(!holds(&store, "k0").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bound_holds_under_racing_batches() {
    let store = Sqlite::temporary(&options(1 << 20)).unwrap();
    let store = &store;
    let ended = race(16, |task| async move {
        for batch in 0..10 {
            let items: Vec<CacheItem> =
                (0..100).map(|i| item(&format!("{task}:{batch}:{i}"), 1000)).collect();
            store.put(&app(), &ns(), &items, PutWhen::Always).await.unwrap();
        }
    });
    assert_eq!(ended.len(), 16);
    for _ in 0..20 {
        put(store, item("last", 1)).await;
    }

    let usage = store.usage(&app()).await.unwrap().remove(0);
    assert!(usage.bytes <= (1 << 20) * 17 / 16, "{usage:?}");
    assert_eq!(usage.entries + usage.evictions, 16_001);
}

#[tokio::test]
async fn values_marks_and_position_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, item("tagged", 10)).await;
    put(&store, CacheItem { tags: Vec::new(), ..item("kept", 10) }).await;
    put(&store, CacheItem { tags: Vec::new(), ..item("p:1", 10) }).await;
    let other = Name::new("ns", "other").unwrap();
    store.put(&app(), &other, &[item("a", 1)], PutWhen::Always).await.unwrap();
    let changes = [
        logged(5, Invalidation::Tag(Name::new("tags", "x").unwrap())),
        logged(6, Invalidation::Prefix(ns(), key("p:"))),
        logged(7, Invalidation::Namespace(other.clone())),
    ];
    store.apply(&changes).await.unwrap();
    let before = store.usage(&app()).await.unwrap();
    drop(store);

    let store = open(folder.path());

    assert_eq!(store.applied().await.unwrap(), 7);
    assert!(holds(&store, "kept").await);
    assert!(!holds(&store, "tagged").await);
    assert!(!holds(&store, "p:1").await);
    assert_eq!(store.get(&app(), &other, &[key("a")]).await.unwrap(), [None]);
    assert_eq!(store.usage(&app()).await.unwrap(), before);
}

#[tokio::test]
async fn a_tag_costs_the_same_whatever_it_concerns() {
    let store = Sqlite::temporary(&options(1 << 30)).unwrap();
    for batch in 0..40 {
        let items: Vec<CacheItem> = (0..500).map(|i| item(&format!("{batch}:{i}"), 10)).collect();
        store.put(&app(), &ns(), &items, PutWhen::Always).await.unwrap();
    }
    let writes = store.cache_stats().writes;
    store.apply(&[logged(1, Invalidation::Tag(Name::new("tags", "x").unwrap()))]).await.unwrap();

    assert!(!holds(&store, "0:0").await);
    assert_eq!(store.cache_stats().writes, writes + 1);
}
