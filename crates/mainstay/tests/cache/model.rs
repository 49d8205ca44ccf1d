//! Random operations against a model that is small enough to be right.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use mainstay::cache::{Cache, CacheMode, CachePolicy, LoadOptions, PutOptions, tags};
use proptest::prelude::*;
use tokio::runtime::Runtime;

use crate::store::TestStore;

const KEYS: [&str; 4] = ["a:1", "a:2", "b:1", "b"];
const TAGS: [&str; 2] = ["s", "t"];

#[derive(Clone, Debug)]
enum Op {
    Get { key: usize },
    GetAll,
    Put { key: usize, value: i64, ttl_s: u64, grace_s: u64, tag: usize },
    Add { key: usize, value: i64, ttl_s: u64 },
    Replace { key: usize, value: i64, ttl_s: u64 },
    Load { key: usize, value: Option<i64>, ttl_s: u64, tag: usize },
    Increment { key: usize, delta: i64, ttl_s: u64 },
    Touch { key: usize, ttl_s: u64 },
    Pull { key: usize },
    Remove { key: usize },
    Tag { tag: usize },
    Prefix { prefix: &'static str },
    Clear,
    Wait { s: u64 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let key = 0..KEYS.len();
    let (value, ttl_s, tag) = (-3..4_i64, 1..20_u64, 0..TAGS.len());
    let op = prop_oneof![
        6 => key.clone().prop_map(|key| Op::Get { key }),
        2 => Just(Op::GetAll),
        5 => (key.clone(), value.clone(), ttl_s.clone(), 0..10_u64, tag.clone())
            .prop_map(|(key, value, ttl_s, grace_s, tag)| Op::Put { key, value, ttl_s, grace_s, tag }),
        2 => (key.clone(), value.clone(), ttl_s.clone()).prop_map(|(key, value, ttl_s)| Op::Add { key, value, ttl_s }),
        2 => (key.clone(), value.clone(), ttl_s.clone())
            .prop_map(|(key, value, ttl_s)| Op::Replace { key, value, ttl_s }),
        4 => (key.clone(), prop::option::of(value.clone()), ttl_s.clone(), tag.clone())
            .prop_map(|(key, value, ttl_s, tag)| Op::Load { key, value, ttl_s, tag }),
        2 => (key.clone(), value, ttl_s.clone()).prop_map(|(key, delta, ttl_s)| Op::Increment { key, delta, ttl_s }),
        2 => (key.clone(), ttl_s).prop_map(|(key, ttl_s)| Op::Touch { key, ttl_s }),
        1 => key.clone().prop_map(|key| Op::Pull { key }),
        2 => key.prop_map(|key| Op::Remove { key }),
        2 => tag.prop_map(|tag| Op::Tag { tag }),
        1 => prop::sample::select(vec!["a", "a:", "b", "b:1", "c"]).prop_map(|prefix| Op::Prefix { prefix }),
        1 => Just(Op::Clear),
        3 => (1..8_u64).prop_map(|s| Op::Wait { s }),
    ];
    prop::collection::vec(op, 1..80)
}

#[derive(Clone, Copy)]
struct Held {
    value: Option<i64>,
    fresh_until_s: u64,
    grace_s: u64,
    tag: Option<usize>,
}

#[derive(Default)]
struct Model {
    now_s: u64,
    held: BTreeMap<usize, Held>,
}

impl Model {
    /// Also what is known to be absent.
    fn entry(&self, key: usize) -> Option<Held> {
        self.held.get(&key).copied().filter(|held| self.now_s < held.fresh_until_s + held.grace_s)
    }

    fn value(&self, key: usize) -> Option<i64> {
        self.entry(key)?.value
    }

    fn put(&mut self, key: usize, value: Option<i64>, ttl_s: u64, grace_s: u64, tag: Option<usize>) {
        self.held.insert(key, Held { value, fresh_until_s: self.now_s + ttl_s, grace_s, tag });
    }
}

/// Does `op` to both and gives what each answered.
async fn step(store: &TestStore, cache: &Cache, model: &mut Model, op: &Op) -> (String, String) {
    let seconds = Duration::from_secs;
    let put = |ttl_s: u64| PutOptions::ttl(seconds(ttl_s));
    let get = async |key: usize| cache.get::<i64>(KEYS[key]).await.unwrap().map(|value| *value);
    match *op {
        Op::Get { key } => answers(get(key).await, model.value(key)),
        Op::GetAll => {
            let all = cache.get_many::<i64>(&KEYS).await.unwrap();
            let all: Vec<Option<i64>> = all.into_iter().map(|value| value.map(|value| *value)).collect();
            answers(all, (0..KEYS.len()).map(|key| model.value(key)).collect())
        }
        Op::Put { key, value, ttl_s, grace_s, tag } => {
            let tags = tags([TAGS[tag]]).unwrap();
            let options = PutOptions { grace: Some(seconds(grace_s)), tags, ..put(ttl_s) };
            cache.put(KEYS[key], &value, options).await.unwrap();
            model.put(key, Some(value), ttl_s, grace_s, Some(tag));
            answers((), ())
        }
        Op::Add { key, value, ttl_s } => {
            let stored = model.value(key).is_none();
            if stored {
                model.put(key, Some(value), ttl_s, 0, None);
            }
            answers(cache.add(KEYS[key], &value, put(ttl_s)).await.unwrap(), stored)
        }
        Op::Replace { key, value, ttl_s } => {
            let stored = model.value(key).is_some();
            if stored {
                model.put(key, Some(value), ttl_s, 0, None);
            }
            answers(cache.replace(KEYS[key], &value, put(ttl_s)).await.unwrap(), stored)
        }
        Op::Load { key, value, ttl_s, tag } => load(cache, model, key, value, ttl_s, tag).await,
        Op::Increment { key, delta, ttl_s } => {
            let sum = model.value(key).unwrap_or(0) + delta;
            match (model.value(key), model.held.get_mut(&key)) {
                (Some(_), Some(held)) => held.value = Some(sum),
                _ => model.put(key, Some(sum), ttl_s, 0, None),
            }
            answers(cache.increment(KEYS[key], delta, Some(seconds(ttl_s))).await.unwrap(), sum)
        }
        Op::Touch { key, ttl_s } => {
            let there = model.value(key).is_some();
            let now_s = model.now_s;
            if let (true, Some(held)) = (there, model.held.get_mut(&key)) {
                held.fresh_until_s = now_s + ttl_s;
            }
            answers(cache.touch(KEYS[key], seconds(ttl_s)).await.unwrap(), there)
        }
        Op::Pull { key } => {
            let pulled = cache.pull::<i64>(KEYS[key]).await.unwrap().map(|value| *value);
            let expected = model.value(key);
            if expected.is_some() {
                model.held.remove(&key);
            }
            answers(pulled, expected)
        }
        ref other => {
            drop_some(store, cache, model, other).await;
            answers((), ())
        }
    }
}

/// What has no answer.
async fn drop_some(store: &TestStore, cache: &Cache, model: &mut Model, op: &Op) {
    match *op {
        Op::Remove { key } => {
            cache.remove(KEYS[key]).await.unwrap();
            model.held.remove(&key);
        }
        Op::Tag { tag } => {
            cache.invalidate_tag(TAGS[tag]).await.unwrap();
            model.held.retain(|_, held| held.tag != Some(tag));
        }
        Op::Prefix { prefix } => {
            cache.clear_prefix(prefix).await.unwrap();
            model.held.retain(|key, _| !KEYS[*key].starts_with(prefix));
        }
        Op::Clear => {
            cache.clear().await.unwrap();
            model.held.clear();
        }
        Op::Wait { s } => {
            store.advance(Duration::from_secs(s));
            model.now_s += s;
        }
        ref other => unreachable!("{other:?} has an answer"),
    }
}

async fn load(
    cache: &Cache,
    model: &mut Model,
    key: usize,
    value: Option<i64>,
    ttl_s: u64,
    tag: usize,
) -> (String, String) {
    // A stale value would be loaded anew beside; the model has no beside.
    if model.entry(key).is_some_and(|held| model.now_s >= held.fresh_until_s) {
        return answers((), ());
    }
    let options = LoadOptions {
        ttl: Some(Duration::from_secs(ttl_s)),
        negative_ttl: Some(Duration::from_secs(ttl_s)),
        tags: tags([TAGS[tag]]).unwrap(),
        ..LoadOptions::default()
    };
    let loaded =
        cache.get_or_load_optional(KEYS[key], options, move || async move { Ok::<_, Infallible>(value) });
    let loaded = loaded.await.unwrap().map(|value| *value);
    let expected = match model.entry(key) {
        Some(held) => held.value,
        None => {
            model.put(key, value, ttl_s, 0, Some(tag));
            value
        }
    };
    answers(loaded, expected)
}

fn answers<T: std::fmt::Debug>(real: T, model: T) -> (String, String) {
    (format!("{real:?}"), format!("{model:?}"))
}

fn agrees(mode: CacheMode) {
    let runtime = Runtime::new().unwrap();
    let store = runtime.block_on(TestStore::open());
    let policy = CachePolicy { jitter: 0.0, early_refresh: false, mode, ..CachePolicy::default() };
    let cases = std::cell::Cell::new(0);
    proptest!(ProptestConfig::with_cases(200), |(ops in ops())| {
        cases.set(cases.get() + 1);
        let app = store.mainstay.app(&format!("case{}", cases.get())).unwrap();
        let cache = app.cache_with("values", policy.clone()).unwrap();
        let mut model = Model::default();
        for op in &ops {
            let (real, expected) = runtime.block_on(step(&store, &cache, &mut model, op));
            prop_assert_eq!(real, expected, "{:?}", op);
        }
    });
}

#[test]
fn both_levels_agree_with_the_model() {
    agrees(CacheMode::TwoLevels);
}

#[test]
fn the_store_alone_agrees_with_the_model() {
    agrees(CacheMode::StoreOnly);
}
