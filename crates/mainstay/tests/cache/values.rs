//! Values: what is kept as what, and for how long.

use std::time::Duration;

use mainstay::{
    Error, Mainstay,
    cache::{CacheMode, CachePolicy, Lookup, PutOptions, PutWhen, VALUE_BYTES_MAX, raw::Raw, tags},
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::store::{TestStore, invalid_field};

const MINUTE: Duration = Duration::from_secs(60);

fn ttl(duration: Duration) -> PutOptions {
    PutOptions::ttl(duration)
}

// B-060, B-061: bytes in, bytes out, whatever they look like.

#[tokio::test]
async fn what_looks_like_something_else_reads_back_as_it_was() {
    let store = TestStore::open().await;
    for policy in
        [CachePolicy::default(), CachePolicy { mode: CacheMode::StoreOnly, ..CachePolicy::default() }]
    {
        let cache = store.app().cache_with("values", policy).unwrap();
        for value in [
            json!("007"),
            json!(""),
            json!("{\"a\":1}"),
            json!("\"quoted\""),
            json!("null"),
            json!("true"),
            json!(0),
            json!(-0.0),
            json!(false),
            Value::Null,
            json!(u64::MAX),
            json!(i64::MIN),
            json!(9_007_199_254_740_993_u64),
            json!(1.0e300),
            json!([]),
            json!({"": [null, {"a": "1"}]}),
            json!("\u{0}\u{7f}é😀\u{2028}"),
        ] {
            cache.put("k", &value, PutOptions::default()).await.unwrap();
            assert_eq!(cache.get::<Value>("k").await.unwrap().unwrap(), value, "decoded");
            assert_eq!(cache.get::<Value>("k").await.unwrap().unwrap(), value, "shared");
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no NaN or infinity", |n| n.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[0-9{}\\[\\]\",:nulltrefas.-]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

#[test]
fn every_json_value_reads_back_as_it_was() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mainstay = runtime.block_on(Mainstay::embedded(":memory:")).unwrap();
    let policy = CachePolicy { mode: CacheMode::StoreOnly, ..CachePolicy::default() };
    let cache = mainstay.app("shop").unwrap().cache_with("values", policy).unwrap();
    proptest!(ProptestConfig::with_cases(300), |(value in any_json())| {
        let read = runtime.block_on(async {
            cache.put("k", &value, PutOptions::default()).await.unwrap();
            cache.get::<Value>("k").await.unwrap().unwrap()
        });
        prop_assert_eq!(&*read, &value);
    });
}

#[tokio::test]
async fn a_value_is_decoded_once_and_shared() {
    let store = TestStore::open().await;
    let cache = store.cache("values");
    cache.put("k", "text", PutOptions::default()).await.unwrap();

    let one = cache.get::<String>("k").await.unwrap().unwrap();
    let other = cache.get::<String>("k").await.unwrap().unwrap();

    assert!(std::ptr::eq(&raw const *one, &raw const *other));
}

#[tokio::test]
async fn a_value_that_does_not_decode_is_a_miss_and_is_counted() {
    let store = TestStore::open().await;
    let cache = store.cache("values");
    cache.put("k", "text", PutOptions::default()).await.unwrap();
    cache.get::<String>("k").await.unwrap().unwrap();

    assert!(cache.get::<u32>("k").await.unwrap().is_none());

    let stats = store.stats("values").await;
    assert_eq!((stats.undecodable, stats.misses, stats.hits), (1, 1, 1));
    assert_eq!(cache.get::<String>("k").await.unwrap().unwrap().as_str(), "text");
}

#[tokio::test]
async fn bytes_of_another_kind_are_no_typed_value() {
    let store = TestStore::open().await;
    let cache = store.cache("values");
    let text = Raw { bytes: "7".into(), content_type: "text/plain".into() };
    cache.put_raw("k", text.clone(), PutOptions::default(), PutWhen::Always).await.unwrap();

    assert!(cache.get::<u32>("k").await.unwrap().is_none());
    assert_eq!(cache.get_raw("k").await.unwrap().unwrap(), text);
}

#[tokio::test]
async fn bytes_read_back_with_their_type_and_age() {
    let store = TestStore::open().await;
    let cache = store.cache("pages");
    let page = Raw { bytes: vec![0, 159, 146, 150].into(), content_type: "application/octet-stream".into() };
    assert!(cache.put_raw("k", page.clone(), ttl(MINUTE), PutWhen::Always).await.unwrap());
    assert!(!cache.put_raw("k", page.clone(), ttl(MINUTE), PutWhen::Absent).await.unwrap());
    store.advance(Duration::from_secs(7));

    let read = cache.get_raw("k").await.unwrap().unwrap();

    assert_eq!(read, page);
    assert_eq!((read.age(), read.is_stale()), (Duration::from_secs(7), false));
    let bad = Raw { content_type: "text/html\r\nX: y".into(), ..page };
    assert_eq!(invalid_field(cache.put_raw("k", bad, ttl(MINUTE), PutWhen::Always).await), "content_type");
}

#[tokio::test]
async fn typed_values_are_json_to_those_who_read_bytes() {
    let store = TestStore::open().await;
    let cache = store.cache("values");
    cache.put("k", &json!({"a": 1}), PutOptions::default()).await.unwrap();

    let raw = cache.get_raw("k").await.unwrap().unwrap();

    assert_eq!((&raw.bytes[..], raw.content_type.as_str()), (&br#"{"a":1}"#[..], "application/json"));
}

// Times.

#[tokio::test]
async fn the_time_given_is_the_time_applied() {
    let store = TestStore::open().await;
    let cache = store.cache("values");
    cache.put("k", &1, ttl(Duration::from_millis(12_345))).await.unwrap();
    store.advance(Duration::from_millis(345));

    let value = cache.get::<u32>("k").await.unwrap().unwrap();

    assert_eq!(value.fresh_for(), Duration::from_secs(12));
    store.advance(Duration::from_secs(12));
    assert!(cache.get::<u32>("k").await.unwrap().is_none(), "from the first level too");
}

#[tokio::test]
async fn a_time_of_zero_or_of_centuries_is_refused_by_name() {
    let store = TestStore::open().await;
    let cache = store.cache("values");
    let centuries = Duration::from_secs(200 * 365 * 24 * 3600);
    for wrong in [Duration::ZERO, Duration::from_micros(1), centuries, Duration::MAX] {
        assert_eq!(invalid_field(cache.put("k", &1, ttl(wrong)).await), "ttl");
        assert_eq!(invalid_field(cache.touch("k", wrong).await), "ttl");
        assert_eq!(invalid_field(cache.increment("k", 1, Some(wrong)).await), "ttl");
    }
    let grace = PutOptions { grace: Some(centuries), ..PutOptions::default() };
    assert_eq!(invalid_field(cache.put("k", &1, grace).await), "grace");
    assert!(cache.get::<u32>("k").await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_put_without_a_time_ends_within_the_jitter() {
    let store = TestStore::open().await;
    let cache = store.app().cache_with("values", CachePolicy::with_ttl(Duration::from_secs(1000))).unwrap();
    for i in 0..50 {
        cache.put(&format!("k{i}"), &i, PutOptions::default()).await.unwrap();
    }
    let mut ends = std::collections::HashSet::new();
    for i in 0..50 {
        let left = cache.get::<u32>(&format!("k{i}")).await.unwrap().unwrap().fresh_for();
        assert!((950..=1050).contains(&left.as_secs()), "{left:?}");
        ends.insert(left);
    }
    assert!(ends.len() > 40);
}

#[tokio::test]
async fn a_touch_prolongs_in_both_levels() {
    let store = TestStore::open().await;
    let cache = store.cache("values");
    cache.put("k", &1, ttl(MINUTE)).await.unwrap();
    cache.get::<u32>("k").await.unwrap().unwrap();
    assert!(cache.touch("k", 10 * MINUTE).await.unwrap());
    store.advance(5 * MINUTE);

    assert!(cache.get::<u32>("k").await.unwrap().is_some());
    assert!(!cache.touch("none", MINUTE).await.unwrap());
}

// Keys, sizes, conditions.

#[tokio::test]
async fn keys_and_tags_out_of_bounds_are_refused_by_name() {
    let store = TestStore::open().await;
    let cache = store.cache("values");
    for key in ["", "a\nb", "a\0", "\u{7f}", &"x".repeat(513), &"é".repeat(257)] {
        assert_eq!(invalid_field(cache.get::<u32>(key).await), "key");
        assert_eq!(invalid_field(cache.put(key, &1, PutOptions::default()).await), "key");
        assert_eq!(invalid_field(cache.remove(key).await), "key");
    }
    assert_eq!(invalid_field(tags(["a b"])), "tags");
    let many = PutOptions { tags: tags(["t"; 65]).unwrap(), ..PutOptions::default() };
    assert_eq!(invalid_field(cache.put("k", &1, many).await), "tags");
    assert_eq!(invalid_field(store.app().cache("no/slash")), "ns");
    assert_eq!(invalid_field(store.app().cache("*")), "ns");
}

#[tokio::test]
async fn a_value_over_the_limit_is_refused_and_nothing_is_changed() {
    let store = TestStore::open().await;
    let small = CachePolicy { value_bytes_max: 10, ..CachePolicy::default() };
    let cache = store.app().cache_with("values", small).unwrap();
    cache.put("k", "12345678", PutOptions::default()).await.unwrap();

    let refused = cache.put("k", "123456789", PutOptions::default()).await;

    assert!(matches!(refused, Err(Error::TooLarge { size_bytes: 11, limit_bytes: 10, .. })), "{refused:?}");
    assert_eq!(cache.get::<String>("k").await.unwrap().unwrap().as_str(), "12345678");
    let large = store.cache("large");
    let most = Raw { bytes: vec![1; VALUE_BYTES_MAX].into(), content_type: "a/b".into() };
    assert!(large.put_raw("k", most, PutOptions::default(), PutWhen::Always).await.unwrap());
}

#[tokio::test]
async fn add_and_replace_depend_on_what_is_there() {
    let store = TestStore::open().await;
    let cache = store.cache("values");
    assert!(!cache.replace("k", &1, PutOptions::default()).await.unwrap());
    assert!(cache.add("k", &2, PutOptions::default()).await.unwrap());
    assert!(!cache.add("k", &3, PutOptions::default()).await.unwrap());
    assert_eq!(cache.get::<u32>("k").await.unwrap().unwrap(), 2);
    assert!(cache.replace("k", &4, PutOptions::default()).await.unwrap());
    assert_eq!(cache.get::<u32>("k").await.unwrap().unwrap(), 4);
}

#[tokio::test]
async fn many_are_put_and_read_in_order() {
    let store = TestStore::open().await;
    let cache = store.cache("values");
    let keys: Vec<String> = (0..1200).map(|i| format!("k{i}")).collect();
    let values: Vec<usize> = (0..1200).collect();
    cache.put_many(keys.iter().map(String::as_str).zip(&values), PutOptions::default()).await.unwrap();
    cache.get::<usize>("k3").await.unwrap();

    let mut wanted: Vec<&str> = keys.iter().rev().map(String::as_str).collect();
    wanted.insert(5, "none");
    let read = cache.get_many::<usize>(&wanted).await.unwrap();

    assert!(read[5].is_none());
    let read: Vec<usize> = read.into_iter().flatten().map(|value| *value).collect();
    assert_eq!(read, (0..1200).rev().collect::<Vec<usize>>());
}

#[tokio::test]
async fn numbers_are_added_to_and_read_as_numbers() {
    let store = TestStore::open().await;
    let cache = store.cache("counts");
    assert_eq!(cache.increment("n", 5, None).await.unwrap(), 5);
    assert_eq!(cache.get::<i64>("n").await.unwrap().unwrap(), 5);
    assert_eq!(cache.increment("n", -7, None).await.unwrap(), -2);
    assert_eq!(cache.get::<i64>("n").await.unwrap().unwrap(), -2);
    cache.put("text", "five", PutOptions::default()).await.unwrap();
    assert_eq!(invalid_field(cache.increment("text", 1, None).await), "key");
}

#[tokio::test]
async fn known_to_be_absent_differs_from_not_known() {
    let store = TestStore::open().await;
    let cache = store.cache("values");
    assert!(matches!(cache.lookup::<u32>("k").await.unwrap(), Lookup::Missing));
    cache.put_absent("k", ttl(MINUTE)).await.unwrap();
    for _ in 0..2 {
        assert!(matches!(cache.lookup::<u32>("k").await.unwrap(), Lookup::Absent));
        assert!(cache.get::<u32>("k").await.unwrap().is_none());
    }
    store.advance(MINUTE);
    assert!(matches!(cache.lookup::<u32>("k").await.unwrap(), Lookup::Missing));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_pull_one_gets_it() {
    let store = TestStore::open().await;
    let cache = store.cache("tokens");
    for round in 0..50 {
        let key = format!("verify:{round}");
        cache.put(&key, "alice", ttl(MINUTE)).await.unwrap();
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let (cache, key) = (cache.clone(), key.clone());
                tokio::spawn(async move { cache.pull::<String>(&key).await.unwrap().is_some() })
            })
            .collect();
        let mut winners = 0;
        for task in tasks {
            winners += u32::from(task.await.unwrap());
        }
        assert_eq!(winners, 1);
        assert!(cache.get::<String>(&key).await.unwrap().is_none());
    }
}
