//! Invalidations: what they take, what they leave, and who wins a race.

use mainstay_core::{
    App,
    cache::{CacheDriver, CacheItem, PutWhen},
    changes::{Change, Invalidation, LoggedChange},
    sessions::SessionId,
};

use super::{app, apply, get, item, key, loaded, logged, name, ns, put, tagged, text};
use crate::{Harness, race};

pub async fn a_deleted_key_is_gone(_: &impl Harness, cache: &dyn CacheDriver) {
    put(cache, item("a", "1")).await;
    put(cache, item("b", "2")).await;
    apply(cache, 1, Invalidation::Key(ns(), key("a"))).await;
    apply(cache, 2, Invalidation::Key(ns(), key("never"))).await;
    apply(cache, 3, Invalidation::Key(name("other"), key("b"))).await;

    assert_eq!(get(cache, "a").await, None);
    assert_eq!(text(cache, "b").await.unwrap(), "2");
}

pub async fn a_tag_takes_all_its_values_in_every_namespace(_: &impl Harness, cache: &dyn CacheDriver) {
    put(cache, tagged("a", "1", &["x"])).await;
    put(cache, tagged("b", "2", &["w", "x", "y"])).await;
    put(cache, tagged("c", "3", &["x.y", "xx", "X"])).await;
    put(cache, item("d", "4")).await;
    cache.put(&app(), &name("other"), &[tagged("a", "1", &["x"])], PutWhen::Always).await.unwrap();

    apply(cache, 1, Invalidation::Tag(name("x"))).await;

    assert_eq!(get(cache, "a").await, None);
    assert_eq!(get(cache, "b").await, None);
    assert_eq!(text(cache, "c").await.unwrap(), "3");
    assert_eq!(text(cache, "d").await.unwrap(), "4");
    assert_eq!(cache.get(&app(), &name("other"), &[key("a")]).await.unwrap(), [None]);
}

pub async fn a_tag_of_another_app_takes_nothing(_: &impl Harness, cache: &dyn CacheDriver) {
    put(cache, tagged("a", "1", &["x"])).await;
    let other = App::new("other").unwrap();
    for (seq, what) in [
        (1, Invalidation::Tag(name("x"))),
        (2, Invalidation::Key(ns(), key("a"))),
        (3, Invalidation::Prefix(ns(), key("a"))),
        (4, Invalidation::Namespace(ns())),
    ] {
        cache.apply(&[LoggedChange { seq, change: Change::Cache(other.clone(), what) }]).await.unwrap();
    }

    assert_eq!(text(cache, "a").await.unwrap(), "1");
}

pub async fn a_prefix_takes_the_keys_that_begin_so(_: &impl Harness, cache: &dyn CacheDriver) {
    for at in ["user:1", "user:1:name", "user:10", "user:2", "User:1", "a user:1"] {
        put(cache, item(at, "1")).await;
    }
    apply(cache, 1, Invalidation::Prefix(ns(), key("user:1"))).await;

    for at in ["user:1", "user:1:name", "user:10"] {
        assert_eq!(get(cache, at).await, None, "{at}");
    }
    for at in ["user:2", "User:1", "a user:1"] {
        assert!(get(cache, at).await.is_some(), "{at}");
    }
}

pub async fn a_prefix_of_another_namespace_takes_nothing(_: &impl Harness, cache: &dyn CacheDriver) {
    put(cache, item("a", "1")).await;
    apply(cache, 1, Invalidation::Prefix(name("other"), key("a"))).await;
    apply(cache, 2, Invalidation::Namespace(name("other"))).await;

    assert_eq!(text(cache, "a").await.unwrap(), "1");
}

pub async fn special_characters_of_a_prefix_mean_themselves(_: &impl Harness, cache: &dyn CacheDriver) {
    for at in ["a%b", "axb", "a_b", "a*b", "a[b]"] {
        put(cache, item(at, "1")).await;
    }
    for (seq, prefix) in [(1, "a%"), (2, "a_"), (3, "a*"), (4, "a[")] {
        apply(cache, seq, Invalidation::Prefix(ns(), key(prefix))).await;
    }
    assert_none(cache, &["a%b", "a_b", "a*b", "a[b]"]).await;
    assert_eq!(text(cache, "axb").await.unwrap(), "1");
}

async fn assert_none(cache: &dyn CacheDriver, keys: &[&str]) {
    for at in keys {
        assert_eq!(get(cache, at).await, None, "{at}");
    }
}

pub async fn many_prefixes_at_once_are_all_kept(_: &impl Harness, cache: &dyn CacheDriver) {
    let items: Vec<CacheItem> = (0..300).map(|i| item(&format!("p{i}:a"), "1")).collect();
    cache.put(&app(), &ns(), &items, PutWhen::Always).await.unwrap();
    let changes: Vec<LoggedChange> =
        (0..200).map(|i| logged(i + 1, Invalidation::Prefix(ns(), key(&format!("p{i}:"))))).collect();
    cache.apply(&changes).await.unwrap();

    for i in 0..200 {
        assert_eq!(get(cache, &format!("p{i}:a")).await, None, "{i}");
    }
}

pub async fn a_namespace_is_cleared_whole(_: &impl Harness, cache: &dyn CacheDriver) {
    put(cache, item("a", "1")).await;
    put(cache, tagged("b", "2", &["x"])).await;
    cache.put(&app(), &name("other"), &[item("a", "3")], PutWhen::Always).await.unwrap();

    apply(cache, 1, Invalidation::Namespace(ns())).await;

    assert_none(cache, &["a", "b"]).await;
    assert!(cache.get(&app(), &name("other"), &[key("a")]).await.unwrap()[0].is_some());
}

pub async fn a_cleared_namespace_is_swept(h: &impl Harness, cache: &dyn CacheDriver) {
    let items: Vec<CacheItem> = (0..1200).map(|i| item(&format!("k{i}"), "1")).collect();
    cache.put(&app(), &ns(), &items, PutWhen::Always).await.unwrap();
    apply(cache, 1, Invalidation::Namespace(ns())).await;
    put(cache, CacheItem { as_of: 1, ..item("k7", "new") }).await;

    h.sweep().await;

    assert_eq!(cache.usage(&app()).await.unwrap()[0].entries, 1);
    assert_eq!(text(cache, "k7").await.unwrap(), "new");
}

pub async fn a_cleared_prefix_is_swept_and_nothing_else(h: &impl Harness, cache: &dyn CacheDriver) {
    let items: Vec<CacheItem> =
        (0..1500).map(|i| item(&format!("{}:{i}", ["a", "b", "c"][i % 3]), "1")).collect();
    cache.put(&app(), &ns(), &items, PutWhen::Always).await.unwrap();
    apply(cache, 1, Invalidation::Prefix(ns(), key("b:"))).await;

    h.sweep().await;

    assert_eq!(cache.usage(&app()).await.unwrap()[0].entries, 1000);
    assert_eq!(text(cache, "c:2").await.unwrap(), "1");
}

pub async fn a_value_of_a_later_position_outlives_an_older_invalidation(
    _: &impl Harness,
    cache: &dyn CacheDriver,
) {
    put(cache, CacheItem { as_of: 5, ..tagged("a", "1", &["x"]) }).await;
    for (seq, what) in [
        (2, Invalidation::Tag(name("x"))),
        (3, Invalidation::Key(ns(), key("a"))),
        (4, Invalidation::Prefix(ns(), key("a"))),
        (5, Invalidation::Namespace(ns())),
    ] {
        apply(cache, seq, what).await;
    }

    assert_eq!(text(cache, "a").await.unwrap(), "1");
}

pub async fn a_load_that_began_before_a_deletion_is_refused(_: &impl Harness, cache: &dyn CacheDriver) {
    apply(cache, 7, Invalidation::Key(ns(), key("a"))).await;

    assert!(!put(cache, loaded("a", "old", 6)).await);
    assert_eq!(get(cache, "a").await, None);
    assert!(put(cache, loaded("b", "other key", 6)).await);
}

pub async fn a_load_that_began_before_an_invalidation_is_never_served(
    _: &impl Harness,
    cache: &dyn CacheDriver,
) {
    apply(cache, 7, Invalidation::Tag(name("x"))).await;
    put(cache, CacheItem { tags: vec![name("x")], ..loaded("a", "old", 6) }).await;
    assert_eq!(get(cache, "a").await, None);

    apply(cache, 8, Invalidation::Prefix(ns(), key("b"))).await;
    put(cache, loaded("b", "old", 7)).await;
    assert_eq!(get(cache, "b").await, None);

    apply(cache, 9, Invalidation::Namespace(ns())).await;
    put(cache, loaded("c", "old", 8)).await;
    assert_eq!(get(cache, "c").await, None);
}

pub async fn a_load_that_began_after_a_deletion_is_stored(_: &impl Harness, cache: &dyn CacheDriver) {
    apply(cache, 7, Invalidation::Key(ns(), key("a"))).await;

    assert!(put(cache, loaded("a", "new", 7)).await);
    assert_eq!(text(cache, "a").await.unwrap(), "new");
}

pub async fn what_a_caller_states_is_stored_whatever_was_deleted(_: &impl Harness, cache: &dyn CacheDriver) {
    apply(cache, 7, Invalidation::Key(ns(), key("a"))).await;

    assert!(put(cache, CacheItem { as_of: 6, ..item("a", "stated") }).await);
    assert_eq!(text(cache, "a").await.unwrap(), "stated");
}

pub async fn applying_twice_or_late_does_no_harm(_: &impl Harness, cache: &dyn CacheDriver) {
    let tag = logged(3, Invalidation::Tag(name("x")));
    let namespace = logged(4, Invalidation::Namespace(ns()));
    cache.apply(&[tag.clone(), namespace.clone()]).await.unwrap();
    put(cache, CacheItem { as_of: 4, ..tagged("a", "1", &["x"]) }).await;

    cache.apply(&[tag]).await.unwrap();
    cache.apply(&[namespace]).await.unwrap();

    assert_eq!(cache.applied().await.unwrap(), 4);
    assert_eq!(text(cache, "a").await.unwrap(), "1");
}

pub async fn the_position_applied_is_remembered(_: &impl Harness, cache: &dyn CacheDriver) {
    assert_eq!(cache.applied().await.unwrap(), 0);
    apply(cache, 9, Invalidation::Tag(name("x"))).await;
    assert_eq!(cache.applied().await.unwrap(), 9);
    cache.apply(&[]).await.unwrap();
    assert_eq!(cache.applied().await.unwrap(), 9);
}

pub async fn a_reset_drops_everything(_: &impl Harness, cache: &dyn CacheDriver) {
    put(cache, CacheItem { as_of: 50, ..item("a", "1") }).await;
    apply(cache, 60, Invalidation::Tag(name("x"))).await;

    cache.reset(40).await.unwrap();

    assert_eq!(get(cache, "a").await, None);
    assert_eq!(cache.applied().await.unwrap(), 40);
    assert_eq!(cache.usage(&app()).await.unwrap().iter().map(|used| used.entries).sum::<u64>(), 0);
    put(cache, CacheItem { as_of: 40, ..tagged("a", "2", &["x"]) }).await;
    assert_eq!(text(cache, "a").await.unwrap(), "2");
}

pub async fn a_load_that_began_before_a_reset_is_never_served(_: &impl Harness, cache: &dyn CacheDriver) {
    cache.reset(40).await.unwrap();
    put(cache, loaded("a", "old", 39)).await;

    assert_eq!(get(cache, "a").await, None);
}

pub async fn changes_of_other_nouns_only_move_the_position(_: &impl Harness, cache: &dyn CacheDriver) {
    put(cache, item("a", "1")).await;
    let changes = [
        LoggedChange { seq: 4, change: Change::Session(SessionId::generate()) },
        LoggedChange { seq: 5, change: Change::User(app(), name("alice")) },
    ];
    cache.apply(&changes).await.unwrap();

    assert_eq!(cache.applied().await.unwrap(), 5);
    assert_eq!(text(cache, "a").await.unwrap(), "1");
}

pub async fn of_a_racing_load_and_deletion_the_deletion_wins(_: &impl Harness, cache: &dyn CacheDriver) {
    for seq in 1..=50 {
        // Half of the tasks end loads that began before the deletion, the others delete.
        let ended = race(8, |i| async move {
            if i % 2 == 0 {
                put(cache, loaded("a", "old", seq - 1)).await;
            } else {
                apply(cache, seq, Invalidation::Key(ns(), key("a"))).await;
            }
        });
        assert_eq!(ended.len(), 8);
        assert_eq!(get(cache, "a").await, None, "round {seq}");
    }
}
