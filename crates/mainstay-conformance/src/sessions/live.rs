//! Using, changing and listing sessions.

use std::time::Duration;

use mainstay_core::{
    App, Error, Fields, PageRequest, Ttl,
    fields::FIELDS_BYTES_MAX,
    sessions::{FactorContext, NewSession, SessionDriver, SessionId, SessionRecord, SessionUpdate},
};

use super::{ABSOLUTE, IDLE, active, app, create, fields, ids, new, user};
use crate::{Harness, race};

async fn update(sessions: &dyn SessionDriver, id: SessionId, update: SessionUpdate) -> SessionRecord {
    sessions.update(&app(), id, &update).await.unwrap().unwrap()
}

fn data(json: &str) -> SessionUpdate {
    SessionUpdate { data: fields(json), ..SessionUpdate::default() }
}

pub async fn a_session_ends_when_it_is_idle_for_too_long(h: &impl Harness, sessions: &dyn SessionDriver) {
    let id = create(sessions, &new()).await.id;

    h.advance(Duration::from_millis(59_999));
    assert!(sessions.load(&app(), id).await.unwrap().is_some());
    h.advance(Duration::from_millis(1));
    assert!(sessions.load(&app(), id).await.unwrap().is_none());
}

pub async fn a_touch_prolongs_a_session(h: &impl Harness, sessions: &dyn SessionDriver) {
    let created = create(sessions, &new()).await;
    h.advance(Duration::from_secs(50));

    let touched = sessions.touch(&app(), created.id).await.unwrap().unwrap();

    assert_eq!(touched.last_seen_at, created.created_at.plus(Duration::from_secs(50)));
    assert_eq!(touched.idle_expires_at, created.created_at.plus(Duration::from_secs(110)));
    assert_eq!(sessions.load(&app(), created.id).await.unwrap(), Some(touched));
}

pub async fn a_touch_never_passes_the_absolute_end(h: &impl Harness, sessions: &dyn SessionDriver) {
    let created = create(sessions, &new()).await;
    for _ in 0..10 {
        h.advance(Duration::from_secs(29));
        sessions.touch(&app(), created.id).await.unwrap().unwrap();
    }

    let session = sessions.load(&app(), created.id).await.unwrap().unwrap();
    assert_eq!(session.idle_expires_at, created.absolute_expires_at);
    h.advance(Duration::from_secs(10));
    assert!(sessions.touch(&app(), created.id).await.unwrap().is_none());
}

pub async fn a_touch_never_shortens_what_was_extended(h: &impl Harness, sessions: &dyn SessionDriver) {
    let id = create(sessions, &new()).await.id;
    let extend = SessionUpdate { idle: Some(Ttl::seconds(200)), ..SessionUpdate::default() };
    let extended = update(sessions, id, extend).await;
    h.advance(Duration::from_secs(10));

    let touched = sessions.touch(&app(), id).await.unwrap().unwrap();

    assert_eq!(touched.idle_expires_at, extended.idle_expires_at);
}

pub async fn a_load_does_not_prolong_a_session(h: &impl Harness, sessions: &dyn SessionDriver) {
    let created = create(sessions, &new()).await;
    h.advance(Duration::from_secs(50));

    assert_eq!(sessions.load(&app(), created.id).await.unwrap(), Some(created));
}

pub async fn a_list_does_not_prolong_sessions(h: &impl Harness, sessions: &dyn SessionDriver) {
    create(sessions, &new()).await;
    h.advance(Duration::from_secs(50));
    ids(sessions, "alice").await;
    h.advance(Duration::from_secs(10));

    assert_eq!(ids(sessions, "alice").await, []);
}

pub async fn a_touch_of_an_ended_session_is_nothing(h: &impl Harness, sessions: &dyn SessionDriver) {
    let id = create(sessions, &new()).await.id;
    h.advance(IDLE.duration());

    assert!(sessions.touch(&app(), id).await.unwrap().is_none());
    assert!(sessions.load(&app(), id).await.unwrap().is_none());
}

pub async fn an_update_merges_fields(_: &impl Harness, sessions: &dyn SessionDriver) {
    let id = create(sessions, &new()).await.id;

    let updated = update(sessions, id, data(r#"{"cart":[1,2]}"#)).await;

    assert_eq!(updated.data, fields(r#"{"cart":[1,2],"role":"admin"}"#));
    assert_eq!(sessions.load(&app(), id).await.unwrap(), Some(updated));
}

pub async fn an_update_removes_fields_that_are_null(_: &impl Harness, sessions: &dyn SessionDriver) {
    let id = create(sessions, &new()).await.id;

    let updated = update(sessions, id, data(r#"{"role":null,"unknown":null}"#)).await;

    assert_eq!(updated.data, Fields::default());
}

pub async fn an_update_keeps_every_byte_of_a_value(_: &impl Harness, sessions: &dyn SessionDriver) {
    let id = create(sessions, &new()).await.id;
    let text = r#"{"big":123456789012345678901234567890,"esc":"\u00e9\n","sp":{ "a" : [1.50] }}"#;
    update(sessions, id, data(text)).await;
    update(sessions, id, data(r#"{"role":null}"#)).await;

    assert_eq!(sessions.load(&app(), id).await.unwrap().unwrap().data.to_json(), text);
}

pub async fn an_update_past_the_size_limit_changes_nothing(_: &impl Harness, sessions: &dyn SessionDriver) {
    let created = create(sessions, &new()).await;
    let mut half = Fields::default();
    half.set("a", &"x".repeat(FIELDS_BYTES_MAX / 2 + 10)).unwrap();
    let mut other = Fields::default();
    other.set("b", &"x".repeat(FIELDS_BYTES_MAX / 2 + 10)).unwrap();
    let stored = update(sessions, created.id, SessionUpdate { data: half, ..SessionUpdate::default() }).await;

    let refused =
        sessions.update(&app(), created.id, &SessionUpdate { data: other, ..SessionUpdate::default() }).await;

    assert!(matches!(refused, Err(Error::TooLarge { field, .. }) if field == "data"));
    assert_eq!(sessions.load(&app(), created.id).await.unwrap(), Some(stored));
}

pub async fn an_update_of_an_ended_session_is_nothing(h: &impl Harness, sessions: &dyn SessionDriver) {
    let id = create(sessions, &new()).await.id;
    h.advance(IDLE.duration());

    let extend = SessionUpdate { idle: Some(ABSOLUTE), ..SessionUpdate::default() };
    assert!(sessions.update(&app(), id, &extend).await.unwrap().is_none());
    assert!(sessions.load(&app(), id).await.unwrap().is_none());
}

pub async fn an_update_of_another_apps_session_is_nothing(_: &impl Harness, sessions: &dyn SessionDriver) {
    let created = create(sessions, &new()).await;
    let other = App::new("other").unwrap();

    assert!(sessions.update(&other, created.id, &data(r#"{"role":"x"}"#)).await.unwrap().is_none());
    assert_eq!(sessions.load(&app(), created.id).await.unwrap(), Some(created));
}

pub async fn racing_updates_of_different_fields_are_all_kept(_: &impl Harness, sessions: &dyn SessionDriver) {
    let id = create(sessions, &new()).await.id;

    race(100, |i| async move { update(sessions, id, data(&format!(r#"{{"f{i}":{i}}}"#))).await });

    let session = sessions.load(&app(), id).await.unwrap().unwrap();
    for i in 0..100 {
        assert_eq!(session.data.get(&format!("f{i}")), Some(i.to_string().as_str()));
    }
}

pub async fn a_second_factor_is_recorded_with_its_time_and_cleared(
    h: &impl Harness,
    sessions: &dyn SessionDriver,
) {
    let created = create(sessions, &new()).await;
    h.advance(Duration::from_secs(7));

    for context in [FactorContext::Login, FactorContext::Signing, FactorContext::Both] {
        let verify = SessionUpdate { second_factor: Some(Some(context)), ..SessionUpdate::default() };
        let verified = update(sessions, created.id, verify).await;
        let factor = verified.second_factor.unwrap();
        assert_eq!(factor.context, context);
        assert_eq!(factor.verified_at, created.created_at.plus(Duration::from_secs(7)));
        assert_eq!(sessions.load(&app(), created.id).await.unwrap(), Some(verified));
    }
    let clear = SessionUpdate { second_factor: Some(None), ..SessionUpdate::default() };
    assert_eq!(update(sessions, created.id, clear).await.second_factor, None);
}

pub async fn racing_second_factor_and_data_are_both_kept(_: &impl Harness, sessions: &dyn SessionDriver) {
    let id = create(sessions, &new()).await.id;
    let verify = SessionUpdate { second_factor: Some(Some(FactorContext::Both)), ..SessionUpdate::default() };
    let changes = [verify, data(r#"{"cart":1}"#)];

    race(32, |i| update(sessions, id, changes[i % 2].clone()));

    let session = sessions.load(&app(), id).await.unwrap().unwrap();
    assert!(session.second_factor.is_some());
    assert_eq!(session.data.get("cart"), Some("1"));
}

fn extend(idle: Option<u64>, absolute: Option<u64>) -> SessionUpdate {
    SessionUpdate {
        idle: idle.map(Ttl::seconds),
        absolute: absolute.map(Ttl::seconds),
        ..SessionUpdate::default()
    }
}

pub async fn extending_moves_the_idle_end(_: &impl Harness, sessions: &dyn SessionDriver) {
    let created = create(sessions, &new()).await;

    let extended = update(sessions, created.id, extend(Some(120), None)).await;

    assert_eq!(extended.idle_expires_at, created.created_at.plus(Duration::from_secs(120)));
    assert_eq!(extended.absolute_expires_at, created.absolute_expires_at);
}

pub async fn extending_never_shortens(_: &impl Harness, sessions: &dyn SessionDriver) {
    let created = create(sessions, &new()).await;

    let extended = update(sessions, created.id, extend(Some(1), Some(1))).await;

    assert_eq!(extended.idle_expires_at, created.idle_expires_at);
    assert_eq!(extended.absolute_expires_at, created.absolute_expires_at);
}

pub async fn extending_the_idle_end_stays_within_the_absolute_end(
    _: &impl Harness,
    sessions: &dyn SessionDriver,
) {
    let created = create(sessions, &new()).await;

    let extended = update(sessions, created.id, extend(Some(10_000), None)).await;

    assert_eq!(extended.idle_expires_at, created.absolute_expires_at);
}

pub async fn extending_the_absolute_end_makes_room_for_the_idle_end(
    _: &impl Harness,
    sessions: &dyn SessionDriver,
) {
    let created = create(sessions, &new()).await;

    let extended = update(sessions, created.id, extend(Some(1000), Some(2000))).await;

    assert_eq!(extended.idle_expires_at, created.created_at.plus(Duration::from_secs(1000)));
    assert_eq!(extended.absolute_expires_at, created.created_at.plus(Duration::from_secs(2000)));
}

pub async fn a_list_is_newest_first_and_of_one_user(_: &impl Harness, sessions: &dyn SessionDriver) {
    let first = create(sessions, &new()).await.id;
    create(sessions, &NewSession { user: user("bob"), ..new() }).await;
    let second = create(sessions, &new()).await.id;

    assert_eq!(ids(sessions, "alice").await, [second, first]);
    assert_eq!(ids(sessions, "nobody").await, []);
}

pub async fn a_list_comes_in_pages(_: &impl Harness, sessions: &dyn SessionDriver) {
    for _ in 0..5 {
        create(sessions, &new()).await;
    }
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = PageRequest { cursor, limit: 2 };
        let page = sessions.list(&app(), &user("alice"), &page).await.unwrap();
        seen.extend(page.items.iter().map(|s| s.id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }

    assert_eq!(seen, ids(sessions, "alice").await);
}

pub async fn a_list_cursor_that_is_none_is_refused(_: &impl Harness, sessions: &dyn SessionDriver) {
    let page = PageRequest { cursor: Some("%".into()), limit: 2 };

    let refused = sessions.list(&app(), &user("alice"), &page).await;

    assert!(matches!(refused, Err(Error::Invalid { field, .. }) if field == "cursor"));
}

pub async fn counts_follow_creation_and_end(h: &impl Harness, sessions: &dyn SessionDriver) {
    let login = create(sessions, &new()).await;
    let upload = mainstay_core::Name::new("kind", "upload").unwrap();
    create(sessions, &NewSession { kind: upload.clone(), ..new() }).await;

    let counts = sessions.counts(&app()).await.unwrap();
    assert_eq!(counts.active_by_kind, [(login.kind.clone(), 1), (upload.clone(), 1)]);
    assert_eq!(counts.created_last_hour, 2);

    sessions.revoke(&app(), login.id).await.unwrap();
    assert_eq!(sessions.counts(&app()).await.unwrap().active_by_kind, [(upload, 1)]);
    h.advance(Duration::from_secs(3600));
    h.sweep().await;
    let counts = sessions.counts(&app()).await.unwrap();
    assert_eq!(counts.active_by_kind, []);
    assert_eq!(counts.created_last_hour, 0);
    assert_eq!(active(sessions).await, 0);
}

pub async fn checks_are_counted_for_an_hour(h: &impl Harness, sessions: &dyn SessionDriver) {
    sessions.add_checks(&[(app(), 5)]).await.unwrap();
    h.advance(Duration::from_secs(30 * 60));
    sessions.add_checks(&[(app(), 7), (App::new("other").unwrap(), 100)]).await.unwrap();

    assert_eq!(sessions.counts(&app()).await.unwrap().checks_last_hour, 12);
    h.advance(Duration::from_secs(40 * 60));
    assert_eq!(sessions.counts(&app()).await.unwrap().checks_last_hour, 7);
}
