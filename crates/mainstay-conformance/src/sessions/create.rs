//! Creating sessions.

use std::time::Duration;

use mainstay_core::{
    App, Error, Fields,
    fields::FIELDS_BYTES_MAX,
    once::Effect,
    sessions::{Created, Device, NewSession, OnMax, SessionDriver, SessionId},
};

use super::{IDLE, active, app, create, fields, hash, ids, limited, new, once, user};
use crate::{Harness, race};

pub async fn a_created_session_reads_back_as_it_was_answered(_: &impl Harness, sessions: &dyn SessionDriver) {
    let created = create(sessions, &new()).await;

    assert_eq!(created.idle_expires_at, created.created_at.plus(Duration::from_secs(60)));
    assert_eq!(created.absolute_expires_at, created.created_at.plus(Duration::from_secs(300)));
    assert_eq!(sessions.load(&app(), created.id).await.unwrap(), Some(created));
}

pub async fn an_unknown_session_is_nothing(_: &impl Harness, sessions: &dyn SessionDriver) {
    assert_eq!(sessions.load(&app(), SessionId::generate()).await.unwrap(), None);
    assert_eq!(sessions.touch(&app(), SessionId::generate()).await.unwrap(), None);
}

pub async fn a_session_of_another_app_is_nothing(_: &impl Harness, sessions: &dyn SessionDriver) {
    let created = create(sessions, &new()).await;
    let other = App::new("other").unwrap();

    assert_eq!(sessions.load(&other, created.id).await.unwrap(), None);
    assert_eq!(sessions.touch(&other, created.id).await.unwrap(), None);
    assert_eq!(sessions.counts(&other).await.unwrap().active_by_kind, []);
}

pub async fn every_device_field_reads_back(_: &impl Harness, sessions: &dyn SessionDriver) {
    for ip in ["203.0.113.7", "2001:db8::1"] {
        let device = Device {
            user_agent: Some("Mozilla/5.0 'quoted' \u{1F600}".into()),
            ip: Some(ip.parse().unwrap()),
            name: Some("Zoë's laptop".into()),
        };
        let metadata = fields(r#"{"note":"seen at the desk"}"#);
        let created = create(sessions, &NewSession { device, metadata, ..new() }).await;

        assert_eq!(sessions.load(&app(), created.id).await.unwrap(), Some(created));
    }
}

pub async fn data_of_the_largest_size_reads_back(_: &impl Harness, sessions: &dyn SessionDriver) {
    let mut data = Fields::default();
    data.set("x", &"é".repeat(FIELDS_BYTES_MAX / 2 - 100)).unwrap();
    let created = create(sessions, &NewSession { data, ..new() }).await;

    assert_eq!(sessions.load(&app(), created.id).await.unwrap(), Some(created));
}

pub async fn a_user_at_the_limit_loses_the_oldest_session(_: &impl Harness, sessions: &dyn SessionDriver) {
    let mut created = Vec::new();
    for _ in 0..4 {
        created.push(create(sessions, &limited(2, OnMax::EvictOldest)).await.id);
    }

    assert_eq!(ids(sessions, "alice").await, [created[3], created[2]]);
    assert_eq!(active(sessions).await, 2);
}

pub async fn a_user_at_the_limit_is_refused_when_asked_so(_: &impl Harness, sessions: &dyn SessionDriver) {
    let first = create(sessions, &limited(1, OnMax::Reject)).await;

    let second = sessions.create(&app(), &limited(1, OnMax::Reject), None).await.unwrap();

    assert_eq!(second, Created::Full);
    assert_eq!(ids(sessions, "alice").await, [first.id]);
}

pub async fn an_ended_session_takes_no_room(h: &impl Harness, sessions: &dyn SessionDriver) {
    create(sessions, &limited(1, OnMax::Reject)).await;
    h.advance(IDLE.duration());

    let second = create(sessions, &limited(1, OnMax::Reject)).await;

    assert_eq!(ids(sessions, "alice").await, [second.id]);
}

pub async fn limits_of_one_user_leave_other_users_alone(_: &impl Harness, sessions: &dyn SessionDriver) {
    let bob = create(sessions, &NewSession { user: user("bob"), ..new() }).await;
    create(sessions, &limited(1, OnMax::EvictOldest)).await;
    create(sessions, &limited(1, OnMax::EvictOldest)).await;

    assert_eq!(ids(sessions, "bob").await, [bob.id]);
}

pub async fn racing_creates_never_pass_the_limit(_: &impl Harness, sessions: &dyn SessionDriver) {
    let outcomes =
        race(32, |_| async { sessions.create(&app(), &limited(1, OnMax::Reject), None).await.unwrap() });

    assert_eq!(outcomes.iter().filter(|o| **o != Created::Full).count(), 1);
    assert_eq!(ids(sessions, "alice").await.len(), 1);
}

pub async fn racing_creates_never_pass_the_limit_when_they_evict(
    _: &impl Harness,
    sessions: &dyn SessionDriver,
) {
    race(32, |_| async { create(sessions, &limited(3, OnMax::EvictOldest)).await });

    assert_eq!(ids(sessions, "alice").await.len(), 3);
    assert_eq!(active(sessions).await, 3);
}

pub async fn the_same_idempotency_key_creates_one_session(_: &impl Harness, sessions: &dyn SessionDriver) {
    let first = sessions.create(&app(), &new(), Some(&once("k", 1, 7))).await.unwrap();
    let again = sessions
        .create(&app(), &NewSession { token: hash(9), ..new() }, Some(&once("k", 1, 8)))
        .await
        .unwrap();

    let Created::Session(first) = first else { panic!("no limit") };
    let Effect::Done(first) = *first else { panic!("nothing to replay") };
    assert_eq!(ids(sessions, "alice").await, [first.id]);
    assert_eq!(again, Created::Session(Box::new(Effect::Replayed(first, [7; 16]))));
}

pub async fn a_replay_tells_the_session_as_it_was_created(h: &impl Harness, sessions: &dyn SessionDriver) {
    let new = new();
    sessions.create(&app(), &new, Some(&once("k", 1, 7))).await.unwrap();
    let created = sessions.load(&app(), new.id).await.unwrap().unwrap();
    h.advance(Duration::from_secs(5));
    sessions.touch(&app(), new.id).await.unwrap();
    sessions.revoke(&app(), new.id).await.unwrap();

    let again = sessions.create(&app(), &new, Some(&once("k", 1, 8))).await.unwrap();

    assert_eq!(again, Created::Session(Box::new(Effect::Replayed(created, [7; 16]))));
    assert_eq!(sessions.load(&app(), new.id).await.unwrap(), None, "a replay revives nothing");
}

pub async fn an_idempotency_key_with_another_request_is_refused(
    _: &impl Harness,
    sessions: &dyn SessionDriver,
) {
    sessions.create(&app(), &new(), Some(&once("k", 1, 7))).await.unwrap();

    let other = sessions.create(&app(), &new(), Some(&once("k", 2, 8))).await;

    assert!(matches!(other, Err(Error::IdempotencyMismatch)));
    assert_eq!(ids(sessions, "alice").await.len(), 1);
}

pub async fn an_idempotency_key_is_forgotten_after_its_time(h: &impl Harness, sessions: &dyn SessionDriver) {
    sessions.create(&app(), &new(), Some(&once("k", 1, 7))).await.unwrap();
    h.advance(Duration::from_secs(600));

    let later = sessions.create(&app(), &new(), Some(&once("k", 2, 8))).await.unwrap();

    assert!(matches!(later, Created::Session(effect) if matches!(*effect, Effect::Done(_))));
}

pub async fn idempotency_keys_of_two_apps_never_meet(_: &impl Harness, sessions: &dyn SessionDriver) {
    let other = App::new("other").unwrap();
    sessions.create(&app(), &new(), Some(&once("k", 1, 7))).await.unwrap();

    let theirs = sessions.create(&other, &new(), Some(&once("k", 2, 8))).await.unwrap();

    assert!(matches!(theirs, Created::Session(effect) if matches!(*effect, Effect::Done(_))));
}

pub async fn a_refused_create_does_not_use_up_its_idempotency_key(
    h: &impl Harness,
    sessions: &dyn SessionDriver,
) {
    create(sessions, &new()).await;
    let refused = sessions.create(&app(), &limited(1, OnMax::Reject), Some(&once("k", 1, 7))).await.unwrap();
    h.advance(IDLE.duration());

    let retried = sessions.create(&app(), &limited(1, OnMax::Reject), Some(&once("k", 1, 8))).await.unwrap();

    assert_eq!(refused, Created::Full);
    assert!(matches!(retried, Created::Session(effect) if matches!(*effect, Effect::Done(_))));
}

pub async fn of_racing_creates_with_one_key_one_creates(_: &impl Harness, sessions: &dyn SessionDriver) {
    let outcomes = race(32, |i| async move {
        let salt = u8::try_from(i).unwrap();
        match sessions.create(&app(), &new(), Some(&once("k", 1, salt))).await.unwrap() {
            Created::Session(effect) => matches!(*effect, Effect::Done(_)),
            Created::Full => panic!("no limit"),
        }
    });

    assert_eq!(outcomes.iter().filter(|created| **created).count(), 1);
    assert_eq!(ids(sessions, "alice").await.len(), 1);
}
