//! Numbers that are added to.

use std::time::Duration;

use mainstay_core::{
    Error, Ttl,
    cache::{CacheDriver, CacheItem},
    changes::Invalidation,
};

use super::{app, apply, get, item, key, ns, put, text};
use crate::{Harness, race};

async fn add(cache: &dyn CacheDriver, delta: i64) -> mainstay_core::Result<i64> {
    cache.add(&app(), &ns(), &key("n"), delta, Ttl::seconds(10), 0).await
}

pub async fn a_new_number_starts_at_its_delta(_: &impl Harness, cache: &dyn CacheDriver) {
    assert_eq!(add(cache, -3).await.unwrap(), -3);

    assert_eq!(text(cache, "n").await.unwrap(), "-3");
    assert_eq!(get(cache, "n").await.unwrap().content_type, "application/json");
}

pub async fn a_number_is_added_to(_: &impl Harness, cache: &dyn CacheDriver) {
    add(cache, 5).await.unwrap();
    assert_eq!(add(cache, 0).await.unwrap(), 5);
    assert_eq!(add(cache, -7).await.unwrap(), -2);
}

pub async fn a_number_keeps_its_end_when_it_is_added_to(h: &impl Harness, cache: &dyn CacheDriver) {
    add(cache, 5).await.unwrap();
    h.advance(Duration::from_secs(9));
    assert_eq!(add(cache, 1).await.unwrap(), 6);
    h.advance(Duration::from_secs(1));

    assert_eq!(get(cache, "n").await, None);
    assert_eq!(add(cache, 1).await.unwrap(), 1);
}

pub async fn a_number_that_was_put_is_added_to(_: &impl Harness, cache: &dyn CacheDriver) {
    put(cache, item("n", "41")).await;

    assert_eq!(add(cache, 1).await.unwrap(), 42);
    assert_eq!(get(cache, "n").await.unwrap().content_type, "text/plain");
}

pub async fn a_value_that_is_no_number_is_left_alone(_: &impl Harness, cache: &dyn CacheDriver) {
    for value in ["", "one", "1.5", "1e3", "\"1\"", " 1", "9223372036854775808"] {
        put(cache, item("n", value)).await;
        assert!(matches!(add(cache, 1).await, Err(Error::Invalid { .. })), "{value:?}");
        assert_eq!(text(cache, "n").await.unwrap(), value);
    }
    put(cache, CacheItem { value: Some(vec![0xff, 0xfe].into()), ..item("n", "") }).await;
    assert!(matches!(add(cache, 1).await, Err(Error::Invalid { .. })));
}

pub async fn a_sum_that_does_not_fit_is_refused(_: &impl Harness, cache: &dyn CacheDriver) {
    add(cache, i64::MAX).await.unwrap();
    assert!(matches!(add(cache, 1).await, Err(Error::Invalid { .. })));
    assert_eq!(add(cache, 0).await.unwrap(), i64::MAX);
    put(cache, item("n", &i64::MIN.to_string())).await;
    assert!(matches!(add(cache, -1).await, Err(Error::Invalid { .. })));
}

pub async fn an_invalidated_number_starts_anew(_: &impl Harness, cache: &dyn CacheDriver) {
    add(cache, 5).await.unwrap();
    apply(cache, 1, Invalidation::Namespace(ns())).await;

    let sum = cache.add(&app(), &ns(), &key("n"), 2, Ttl::seconds(10), 1).await.unwrap();

    assert_eq!(sum, 2);
    assert_eq!(text(cache, "n").await.unwrap(), "2");
}

pub async fn racing_additions_all_count(_: &impl Harness, cache: &dyn CacheDriver) {
    let sums = race(32, |_| async move { add(cache, 1).await.unwrap() });

    let mut sums: Vec<i64> = sums;
    sums.sort_unstable();
    assert_eq!(sums, (1..=32).collect::<Vec<i64>>());
}
