//! Single values: what is put, how long it lives, what it takes.

use std::time::Duration;

use bytes::Bytes;
use mainstay_core::{
    App, Ttl,
    cache::{CacheDriver, CacheItem, PutWhen, TAGS_MAX, VALUE_BYTES_MAX},
    changes::Invalidation,
    key::CACHE_KEY_BYTES_MAX,
};

use super::{app, apply, get, item, key, name, ns, put, put_when, tagged, text};
use crate::{Harness, race};

pub async fn a_value_reads_back_as_it_was_put(_: &impl Harness, cache: &dyn CacheDriver) {
    let whole = CacheItem { grace_ms: 5_000, load_ms: 7, as_of: 3, ..tagged("a", "1", &["x", "y:1"]) };
    assert!(put(cache, whole.clone()).await);

    let entry = get(cache, "a").await.unwrap();
    assert_eq!(entry.value, whole.value);
    assert_eq!(entry.content_type, "text/plain");
    assert_eq!(entry.tags, whole.tags);
    assert_eq!((entry.as_of, entry.load_ms), (3, 7));
    assert_eq!(entry.fresh_until, entry.created_at.plus(Duration::from_secs(10)));
    assert_eq!(entry.expires_at, entry.created_at.plus(Duration::from_secs(15)));
}

pub async fn an_unknown_key_is_nothing(_: &impl Harness, cache: &dyn CacheDriver) {
    assert_eq!(get(cache, "a").await, None);
    put(cache, item("a", "1")).await;
    assert_eq!(get(cache, "b").await, None);
}

pub async fn a_value_of_another_app_is_nothing(_: &impl Harness, cache: &dyn CacheDriver) {
    put(cache, item("a", "1")).await;

    let other = App::new("other").unwrap();
    assert_eq!(cache.get(&other, &ns(), &[key("a")]).await.unwrap(), [None]);
    cache.put(&other, &ns(), &[item("a", "2")], PutWhen::Always).await.unwrap();
    assert_eq!(text(cache, "a").await.unwrap(), "1");
}

pub async fn a_value_of_another_namespace_is_nothing(_: &impl Harness, cache: &dyn CacheDriver) {
    put(cache, item("a", "1")).await;

    assert_eq!(cache.get(&app(), &name("other"), &[key("a")]).await.unwrap(), [None]);
}

pub async fn values_are_answered_in_the_order_asked_for(_: &impl Harness, cache: &dyn CacheDriver) {
    put(cache, item("a", "1")).await;
    put(cache, item("b", "2")).await;

    let found = cache.get(&app(), &ns(), &[key("b"), key("none"), key("a"), key("b")]).await.unwrap();

    let values: Vec<Option<Bytes>> = found.into_iter().map(|entry| entry?.value).collect();
    let of = |text: &'static str| Some(Bytes::from(text));
    assert_eq!(values, [of("2"), None, of("1"), of("2")]);
    assert!(cache.get(&app(), &ns(), &[]).await.unwrap().is_empty());
}

pub async fn arbitrary_bytes_read_back(_: &impl Harness, cache: &dyn CacheDriver) {
    let bytes = Bytes::from((0..=255).collect::<Vec<u8>>());
    put(cache, CacheItem { value: Some(bytes.clone()), ..item("a", "") }).await;

    assert_eq!(get(cache, "a").await.unwrap().value, Some(bytes));
}

pub async fn an_empty_value_differs_from_a_known_absence(_: &impl Harness, cache: &dyn CacheDriver) {
    put(cache, item("empty", "")).await;
    put(cache, CacheItem { value: None, ..item("absent", "") }).await;

    assert_eq!(get(cache, "empty").await.unwrap().value, Some(Bytes::new()));
    assert_eq!(get(cache, "absent").await.unwrap().value, None);
}

pub async fn the_largest_value_reads_back(_: &impl Harness, cache: &dyn CacheDriver) {
    let bytes = Bytes::from(vec![7; VALUE_BYTES_MAX]);
    put(cache, CacheItem { value: Some(bytes.clone()), ..item("a", "") }).await;

    assert_eq!(get(cache, "a").await.unwrap().value, Some(bytes));
}

pub async fn the_longest_key_reads_back(_: &impl Harness, cache: &dyn CacheDriver) {
    let long = "é".repeat(CACHE_KEY_BYTES_MAX / 2);
    put(cache, item(&long, "1")).await;

    assert_eq!(text(cache, &long).await.unwrap(), "1");
}

pub async fn keys_are_told_apart_byte_by_byte(_: &impl Harness, cache: &dyn CacheDriver) {
    // The last two look alike: composed and decomposed.
    let keys = ["a", "A", "a ", " a", "a%", "a_", "a/", "a'--", "é", "e\u{301}"];
    for at in keys {
        put(cache, item(at, at)).await;
    }
    for at in keys {
        assert_eq!(text(cache, at).await.unwrap(), at);
    }
}

pub async fn the_most_tags_read_back(_: &impl Harness, cache: &dyn CacheDriver) {
    let tags = (0..TAGS_MAX).map(|i| name(&format!("{i:0128}"))).collect::<Vec<_>>();
    put(cache, CacheItem { tags: tags.clone(), ..item("a", "1") }).await;

    assert_eq!(get(cache, "a").await.unwrap().tags, tags);
}

pub async fn a_value_is_replaced_whole(_: &impl Harness, cache: &dyn CacheDriver) {
    put(cache, tagged("a", "1", &["x"])).await;
    put(cache, CacheItem { content_type: "application/json".into(), ..tagged("a", "2", &["y"]) }).await;

    let entry = get(cache, "a").await.unwrap();
    assert_eq!((entry.content_type.as_str(), entry.tags), ("application/json", vec![name("y")]));
    apply(cache, 1, Invalidation::Tag(name("x"))).await;
    assert_eq!(text(cache, "a").await.unwrap(), "2");
}

pub async fn a_value_ends_after_its_time_and_grace(h: &impl Harness, cache: &dyn CacheDriver) {
    put(cache, CacheItem { grace_ms: 5_000, ..item("a", "1") }).await;

    h.advance(Duration::from_millis(14_999));
    assert_eq!(text(cache, "a").await.unwrap(), "1");
    h.advance(Duration::from_millis(1));
    assert_eq!(get(cache, "a").await, None);
}

pub async fn a_put_starts_the_time_anew(h: &impl Harness, cache: &dyn CacheDriver) {
    put(cache, item("a", "1")).await;
    h.advance(Duration::from_secs(6));
    put(cache, item("a", "2")).await;
    h.advance(Duration::from_secs(6));

    assert_eq!(text(cache, "a").await.unwrap(), "2");
}

pub async fn a_put_of_several_items_stores_each(_: &impl Harness, cache: &dyn CacheDriver) {
    put(cache, item("b", "0")).await;
    let items = [item("a", "1"), item("b", "2"), item("c", "3")];

    let stored = cache.put(&app(), &ns(), &items, PutWhen::Absent).await.unwrap();

    assert_eq!(stored, [true, false, true]);
    assert_eq!(text(cache, "b").await.unwrap(), "0");
    assert_eq!(text(cache, "c").await.unwrap(), "3");
}

pub async fn a_put_if_absent_is_refused_where_a_value_is(_: &impl Harness, cache: &dyn CacheDriver) {
    assert!(put_when(cache, item("a", "1"), PutWhen::Absent).await);
    assert!(!put_when(cache, item("a", "2"), PutWhen::Absent).await);
    assert_eq!(text(cache, "a").await.unwrap(), "1");
}

pub async fn a_put_if_absent_takes_the_place_of_what_has_ended(h: &impl Harness, cache: &dyn CacheDriver) {
    put(cache, item("a", "1")).await;
    h.advance(Duration::from_secs(10));

    assert!(put_when(cache, item("a", "2"), PutWhen::Absent).await);
    assert_eq!(text(cache, "a").await.unwrap(), "2");
}

pub async fn a_put_if_absent_takes_the_place_of_what_was_invalidated(
    _: &impl Harness,
    cache: &dyn CacheDriver,
) {
    put(cache, tagged("a", "1", &["x"])).await;
    apply(cache, 1, Invalidation::Tag(name("x"))).await;

    assert!(put_when(cache, CacheItem { as_of: 1, ..item("a", "2") }, PutWhen::Absent).await);
    assert_eq!(text(cache, "a").await.unwrap(), "2");
}

pub async fn a_put_if_absent_takes_the_place_of_a_known_absence(_: &impl Harness, cache: &dyn CacheDriver) {
    put(cache, CacheItem { value: None, ..item("a", "") }).await;

    assert!(put_when(cache, item("a", "1"), PutWhen::Absent).await);
}

pub async fn a_put_if_present_is_refused_where_no_value_is(h: &impl Harness, cache: &dyn CacheDriver) {
    assert!(!put_when(cache, item("a", "1"), PutWhen::Present).await);
    put(cache, item("a", "1")).await;
    h.advance(Duration::from_secs(10));
    assert!(!put_when(cache, item("a", "2"), PutWhen::Present).await);
    assert_eq!(get(cache, "a").await, None);
}

pub async fn a_put_if_present_is_refused_where_the_value_was_invalidated(
    _: &impl Harness,
    cache: &dyn CacheDriver,
) {
    put(cache, item("a", "1")).await;
    apply(cache, 1, Invalidation::Namespace(ns())).await;

    assert!(!put_when(cache, CacheItem { as_of: 1, ..item("a", "2") }, PutWhen::Present).await);
}

pub async fn a_put_if_present_replaces_a_value(_: &impl Harness, cache: &dyn CacheDriver) {
    put(cache, item("a", "1")).await;

    assert!(put_when(cache, item("a", "2"), PutWhen::Present).await);
    assert_eq!(text(cache, "a").await.unwrap(), "2");
}

pub async fn of_racing_puts_if_absent_one_is_stored(_: &impl Harness, cache: &dyn CacheDriver) {
    let stored =
        race(32, |i| async move { put_when(cache, item("a", &i.to_string()), PutWhen::Absent).await });

    let winners: Vec<usize> = (0..32).filter(|i| stored[*i]).collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(text(cache, "a").await.unwrap(), winners[0].to_string());
}

pub async fn racing_puts_leave_one_of_their_values_whole(_: &impl Harness, cache: &dyn CacheDriver) {
    let tag = |i: usize| format!("t{i}");
    let stored = race(32, |i| async move { put(cache, tagged("a", &i.to_string(), &[&tag(i)])).await });
    assert_eq!(stored, [true; 32]);

    let winner: usize = text(cache, "a").await.unwrap().parse().unwrap();
    assert_eq!(get(cache, "a").await.unwrap().tags, [name(&tag(winner))]);
    let usage = cache.usage(&app()).await.unwrap();
    assert_eq!(usage[0].entries, 1);
}

pub async fn a_touch_gives_a_new_time_and_keeps_the_grace(h: &impl Harness, cache: &dyn CacheDriver) {
    put(cache, CacheItem { grace_ms: 5_000, ..item("a", "1") }).await;
    h.advance(Duration::from_secs(12));

    assert!(cache.touch(&app(), &ns(), &key("a"), Ttl::seconds(20)).await.unwrap());

    let entry = get(cache, "a").await.unwrap();
    let now = entry.created_at.plus(Duration::from_secs(12));
    assert_eq!(entry.fresh_until, now.plus(Duration::from_secs(20)));
    assert_eq!(entry.expires_at, now.plus(Duration::from_secs(25)));
}

pub async fn a_touch_of_nothing_is_refused(h: &impl Harness, cache: &dyn CacheDriver) {
    let touch = || async { cache.touch(&app(), &ns(), &key("a"), Ttl::seconds(20)).await.unwrap() };
    assert!(!touch().await, "never put");
    put(cache, CacheItem { value: None, ..item("a", "") }).await;
    assert!(!touch().await, "known to be absent");
    put(cache, item("a", "1")).await;
    h.advance(Duration::from_secs(10));
    assert!(!touch().await, "ended");
    put(cache, item("a", "1")).await;
    apply(cache, 1, Invalidation::Namespace(ns())).await;
    assert!(!touch().await, "invalidated");
}

pub async fn usage_counts_entries_and_bytes_exactly(_: &impl Harness, cache: &dyn CacheDriver) {
    let usage = || async {
        let usage = cache.usage(&app()).await.unwrap();
        usage.first().map(|used| (used.namespace.clone(), used.entries, used.bytes))
    };
    assert_eq!(usage().await, None);
    put(cache, item("ab", "123")).await;
    assert_eq!(usage().await, Some((ns(), 1, 5)));
    put(cache, item("ab", "12345")).await;
    assert_eq!(usage().await, Some((ns(), 1, 7)));
    put(cache, item("é", "1")).await;
    assert_eq!(usage().await, Some((ns(), 2, 10)));
    put(cache, CacheItem { value: None, ..item("ab", "") }).await;
    assert_eq!(usage().await, Some((ns(), 2, 5)));
    cache.add(&app(), &ns(), &key("n"), 10, Ttl::seconds(10), 0).await.unwrap();
    assert_eq!(usage().await, Some((ns(), 3, 8)));
    cache.add(&app(), &ns(), &key("n"), 90, Ttl::seconds(10), 0).await.unwrap();
    assert_eq!(usage().await, Some((ns(), 3, 9)));
    for (seq, at) in [(1, "ab"), (2, "é"), (3, "n")] {
        apply(cache, seq, Invalidation::Key(ns(), key(at))).await;
    }
    assert_eq!(usage().await, Some((ns(), 0, 0)));
}

pub async fn usage_is_of_one_app(_: &impl Harness, cache: &dyn CacheDriver) {
    put(cache, item("a", "1")).await;
    cache.put(&app(), &name("another"), &[item("a", "1")], PutWhen::Always).await.unwrap();

    let names = |usage: Vec<mainstay_core::cache::NamespaceUsage>| -> Vec<String> {
        usage.into_iter().map(|used| used.namespace.to_string()).collect()
    };
    assert_eq!(names(cache.usage(&app()).await.unwrap()), ["another", "users"]);
    assert!(names(cache.usage(&App::new("other").unwrap()).await.unwrap()).is_empty());
}

pub async fn a_sweep_removes_what_has_ended(h: &impl Harness, cache: &dyn CacheDriver) {
    let items: Vec<CacheItem> = (0..1200).map(|i| item(&format!("k{i}"), "1")).collect();
    cache.put(&app(), &ns(), &items, PutWhen::Always).await.unwrap();
    put(cache, CacheItem { fresh: Ttl::seconds(60), ..item("longer", "1") }).await;
    // A store may be late by an eighth of the time to live.
    h.advance(Duration::from_secs(12));

    h.sweep().await;

    let usage = cache.usage(&app()).await.unwrap();
    assert_eq!((usage[0].entries, usage[0].bytes), (1, 7));
    assert_eq!(text(cache, "longer").await.unwrap(), "1");
}

pub async fn a_dropped_put_leaves_the_store_consistent(_: &impl Harness, cache: &dyn CacheDriver) {
    put(cache, item("a", "0")).await;
    for i in 1..50 {
        let put = put(cache, item("a", &"x".repeat(i)));
        // Whether it happens is open; half of it must not.
        let _ = tokio::time::timeout(Duration::ZERO, put).await;
    }
    let value = text(cache, "a").await.unwrap();
    put(cache, item("b", "1")).await;

    let usage = cache.usage(&app()).await.unwrap();
    let value_after = text(cache, "a").await.unwrap();
    assert!(value_after.len() >= value.len());
    assert_eq!((usage[0].entries, usage[0].bytes), (2, 3 + value_after.len() as u64));
}
