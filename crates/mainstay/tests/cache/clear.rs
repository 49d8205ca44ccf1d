//! What takes values away, what survives, and the presets.

use std::time::Duration;

use mainstay::{
    Mainstay,
    cache::{CachePolicy, PutOptions, presets, tags},
    sessions::{NewSession, SessionOptions},
};

use crate::store::{TestStore, broken_cache, invalid_field, mend_cache};

#[tokio::test]
async fn apps_and_namespaces_never_meet() {
    let store = TestStore::open().await;
    let (shop, blog) = (store.app(), store.mainstay.app("blog").unwrap());
    let options = || PutOptions { tags: tags(["user:1"]).unwrap(), ..PutOptions::default() };
    shop.cache("a").unwrap().put("k", &1, options()).await.unwrap();
    blog.cache("a").unwrap().put("k", &2, options()).await.unwrap();
    shop.cache("b").unwrap().put("k", &3, options()).await.unwrap();

    blog.invalidate_tags(&["user:1"]).await.unwrap();
    blog.cache("b").unwrap().clear().await.unwrap();

    assert_eq!(shop.cache("a").unwrap().get::<u32>("k").await.unwrap().unwrap(), 1);
    assert_eq!(shop.cache("b").unwrap().get::<u32>("k").await.unwrap().unwrap(), 3);
    assert!(blog.cache("a").unwrap().get::<u32>("k").await.unwrap().is_none());
    assert_eq!(blog.cache_stats().await.unwrap().len(), 2);
}

#[tokio::test]
async fn prefixes_take_what_begins_so_in_both_levels() {
    let store = TestStore::open().await;
    let cache = store.cache("pages");
    for key in ["user:1:a", "user:10:a", "user:2:a"] {
        cache.put(key, &1, PutOptions::default()).await.unwrap();
        cache.get::<u32>(key).await.unwrap().unwrap();
    }
    cache.clear_prefix("user:1:").await.unwrap();

    assert!(cache.get::<u32>("user:1:a").await.unwrap().is_none());
    assert!(cache.get::<u32>("user:10:a").await.unwrap().is_some());
    assert!(cache.get::<u32>("user:2:a").await.unwrap().is_some());
    assert_eq!(invalid_field(cache.clear_prefix("").await), "prefix");
    cache.clear_prefix("*").await.unwrap();
    assert!(cache.get::<u32>("user:2:a").await.unwrap().is_some(), "a pattern is only text");
}

#[tokio::test]
async fn a_clear_takes_the_whole_namespace_and_no_other() {
    let store = TestStore::open().await;
    let (pages, users) = (store.cache("pages"), store.cache("users"));
    for cache in [&pages, &users] {
        cache.put("k", &1, PutOptions::default()).await.unwrap();
        cache.get::<u32>("k").await.unwrap().unwrap();
    }
    pages.clear().await.unwrap();

    assert!(pages.get::<u32>("k").await.unwrap().is_none());
    assert!(users.get::<u32>("k").await.unwrap().is_some());
    pages.put("k", &2, PutOptions::default()).await.unwrap();
    assert_eq!(pages.get::<u32>("k").await.unwrap().unwrap(), 2);
}

#[tokio::test]
async fn a_clear_costs_the_same_whatever_it_clears() {
    let store = TestStore::open().await;
    let cache = store.cache("pages");
    let keys: Vec<String> = (0..5000).map(|i| format!("k{i}")).collect();
    let tagged = PutOptions { tags: tags(["t"]).unwrap(), ..PutOptions::default() };
    cache.put_many(keys.iter().map(|key| (key.as_str(), &1)), tagged).await.unwrap();
    let entries = store.stats("pages").await.entries;

    cache.clear().await.unwrap();
    cache.invalidate_tag("t").await.unwrap();
    cache.clear_prefix("k").await.unwrap();

    // Nothing was removed yet, and nothing is served.
    assert_eq!(store.stats("pages").await.entries, entries);
    assert!(cache.get::<u32>("k1").await.unwrap().is_none());
}

// What survives.

#[tokio::test]
async fn values_and_invalidations_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mainstay = Mainstay::embedded(folder.path()).await.unwrap();
    let cache = mainstay.cache("values").unwrap();
    for key in ["kept", "removed", "tagged"] {
        let tags = if key == "tagged" { tags(["t"]).unwrap() } else { Vec::new() };
        cache.put(key, &1, PutOptions { tags, ..PutOptions::default() }).await.unwrap();
    }
    cache.remove("removed").await.unwrap();
    cache.invalidate_tag("t").await.unwrap();
    mainstay.close().await;
    drop((cache, mainstay));

    let mainstay = Mainstay::embedded(folder.path()).await.unwrap();
    let cache = mainstay.cache("values").unwrap();

    assert!(cache.get::<u32>("kept").await.unwrap().is_some());
    assert!(cache.get::<u32>("removed").await.unwrap().is_none());
    assert!(cache.get::<u32>("tagged").await.unwrap().is_none());
    cache
        .put("tagged", &2, PutOptions { tags: tags(["t"]).unwrap(), ..PutOptions::default() })
        .await
        .unwrap();
    assert_eq!(cache.get::<u32>("tagged").await.unwrap().unwrap(), 2);
    mainstay.close().await;
}

#[tokio::test]
async fn a_store_that_fails_answers_reads_with_nothing_and_writes_with_an_error() {
    let (mainstay, _folder) = broken_cache().await;
    let cache = mainstay.cache("values").unwrap();

    assert!(cache.get::<u32>("k").await.unwrap().is_none());
    assert_eq!(cache.get_many::<u32>(&["a", "b"]).await.unwrap().len(), 2);
    assert!(cache.put("k", &1, PutOptions::default()).await.is_err());
    mainstay.close().await;
}

#[tokio::test]
async fn a_store_that_fails_takes_nothing_from_sessions_or_invalidations() {
    let (mainstay, folder) = broken_cache().await;
    let cache = mainstay.cache("values").unwrap();
    cache.remove("before").await.unwrap();
    cache.invalidate_tag("t").await.unwrap();
    let sessions = mainstay.sessions();
    let NewSession::Created { token, session, .. } =
        sessions.create("alice", SessionOptions::default()).await.unwrap()
    else {
        panic!("no limit was set")
    };
    assert!(sessions.revoke(session.id).await.unwrap());
    assert!(sessions.check(&token).await.unwrap().is_none());
    mend_cache(folder.path());
    cache.invalidate_tag("t").await.unwrap();

    // What was missed meanwhile has been applied.
    assert!(cache.get::<u32>("before").await.unwrap().is_none());
    cache.put("after", &2, PutOptions::default()).await.unwrap();
    assert_eq!(cache.get::<u32>("after").await.unwrap().unwrap(), 2);
    mainstay.close().await;
}

// Presets.

#[tokio::test]
async fn the_table_of_times_is_as_documented_and_every_value_can_be_overridden() {
    let store = TestStore::open().await;
    for (preset, seconds) in [
        (presets::USER_PROFILE, 900),
        (presets::DOCUMENT, 300),
        (presets::TOTP_CONFIG, 600),
        (presets::DOMAIN_SETTINGS, 3600),
        (presets::NOTIFICATION_PREFERENCES, 3600),
        (presets::CREATOR, 3600),
        (presets::BRAND, 3600),
        (presets::PROJECT, 1800),
        (presets::ASSET, 1800),
        (presets::LICENSE, 900),
        (presets::SEARCH_RESULTS, 300),
        (presets::VENDOR_SERVICES, 600),
        (presets::UNREAD_COUNT, 1800),
    ] {
        assert_eq!(preset.ttl_s, seconds, "{}", preset.name);
    }
    for preset in presets::ALL {
        assert_eq!(store.cache(preset.name).policy().ttl, Duration::from_secs(preset.ttl_s));
        let own = CachePolicy::with_ttl(Duration::from_secs(7));
        store.mainstay.set_cache_policy(preset.name, own).unwrap();
        let values = preset.open(&store.app()).unwrap();
        values.put("1", &1).await.unwrap();
        let left = values.get::<u32>("1").await.unwrap().unwrap().fresh_for();
        assert!((6_650..=7_350).contains(&left.as_millis()), "{}: {left:?}", preset.name);
    }
    assert_eq!(store.cache("anything").policy().ttl, Duration::from_secs(3600));
}

#[tokio::test]
async fn an_entity_is_dropped_with_all_that_belongs_to_it() {
    let store = TestStore::open().await;
    let app = store.app();
    let of_user = [presets::USER_PROFILE, presets::TOTP_CONFIG, presets::UNREAD_COUNT];
    for preset in of_user {
        preset.open(&app).unwrap().put("a:1", &1).await.unwrap();
        preset.open(&app).unwrap().put("a", &2).await.unwrap();
    }
    let domains = presets::DOMAIN_SETTINGS.open(&app).unwrap();
    domains.put("a:1", &3).await.unwrap();

    presets::invalidate(&app, "user", "a:1").await.unwrap();

    for preset in of_user {
        let values = preset.open(&app).unwrap();
        assert!(values.get::<u32>("a:1").await.unwrap().is_none(), "{}", preset.name);
        assert_eq!(values.get::<u32>("a").await.unwrap().unwrap(), 2, "{}", preset.name);
    }
    assert_eq!(domains.get::<u32>("a:1").await.unwrap().unwrap(), 3);
}

#[tokio::test]
async fn two_searches_that_begin_alike_share_nothing() {
    let store = TestStore::open().await;
    let searches = presets::SEARCH_RESULTS.open(&store.app()).unwrap();
    let phrase = "the same thirty characters here";
    let keys = [
        searches.key_of(&["alice", phrase, "1"]),
        searches.key_of(&["bob", phrase, "1"]),
        searches.key_of(&["alice", phrase, "2"]),
        searches.key_of(&["alice", &format!("{phrase}{}", "x".repeat(1000))]),
        searches.key_of(&["alice", &format!("{phrase}{}y", "x".repeat(999))]),
    ];
    for (i, key) in keys.iter().enumerate() {
        searches.cache().put(key, &i, PutOptions::default()).await.unwrap();
    }
    for (i, key) in keys.iter().enumerate() {
        assert_eq!(searches.cache().get::<usize>(key).await.unwrap().unwrap(), i);
    }
}
