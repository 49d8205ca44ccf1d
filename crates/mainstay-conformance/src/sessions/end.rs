//! Revoking, rotating and sweeping sessions.

use std::time::Duration;

use mainstay_core::{
    App, Ttl,
    changes::{Change, ChangeDriver, Tail},
    sessions::{
        FactorContext, NewSession, OnMax, Rotated, Rotation, SessionDriver, SessionId, SessionUpdate,
        TokenHash,
    },
};

use super::{active, app, create, fields, hash, ids, limited, new, user};
use crate::{Harness, race};

const REUSE: Duration = Duration::from_secs(10);

fn rotation(shown: u8, next: u8, grace_s: u64) -> Rotation {
    Rotation {
        shown: hash(shown),
        next: hash(next),
        grace: Duration::from_secs(grace_s),
        reuse_window: REUSE,
    }
}

async fn logged(log: &dyn ChangeDriver) -> Vec<Change> {
    match log.read(0, 1000).await.unwrap() {
        Tail::Changes(changes) => changes.into_iter().map(|logged| logged.change).collect(),
        Tail::Lost(_) => panic!("the log was lost"),
    }
}

pub async fn a_revoked_session_is_gone(_: &impl Harness, sessions: &dyn SessionDriver) {
    let id = create(sessions, &new()).await.id;

    assert!(sessions.revoke(&app(), id).await.unwrap());
    assert!(sessions.load(&app(), id).await.unwrap().is_none());
    assert_eq!(ids(sessions, "alice").await, []);
}

pub async fn revoking_twice_says_that_there_was_none(_: &impl Harness, sessions: &dyn SessionDriver) {
    let id = create(sessions, &new()).await.id;
    sessions.revoke(&app(), id).await.unwrap();

    assert!(!sessions.revoke(&app(), id).await.unwrap());
}

pub async fn revoking_in_another_app_changes_nothing(_: &impl Harness, sessions: &dyn SessionDriver) {
    let id = create(sessions, &new()).await.id;

    assert!(!sessions.revoke(&App::new("other").unwrap(), id).await.unwrap());
    assert!(sessions.load(&app(), id).await.unwrap().is_some());
}

pub async fn nothing_brings_a_revoked_session_back(h: &impl Harness, sessions: &dyn SessionDriver) {
    for all in [false, true] {
        let id = create(sessions, &new()).await.id;
        if all {
            sessions.revoke_user(&app(), &user("alice"), None).await.unwrap();
        } else {
            sessions.revoke(&app(), id).await.unwrap();
        }

        let update = SessionUpdate {
            data: fields(r#"{"a":1}"#),
            second_factor: Some(Some(FactorContext::Both)),
            idle: Some(Ttl::seconds(100)),
            absolute: Some(Ttl::seconds(1000)),
            ..SessionUpdate::default()
        };
        assert!(sessions.touch(&app(), id).await.unwrap().is_none());
        assert!(sessions.update(&app(), id, &update).await.unwrap().is_none());
        assert_eq!(sessions.rotate(&app(), id, &rotation(1, 2, 30)).await.unwrap(), Rotated::Refused);
        assert!(!sessions.revoke(&app(), id).await.unwrap());
        h.sweep().await;
        assert!(sessions.load(&app(), id).await.unwrap().is_none());
    }
}

pub async fn revoking_a_user_ends_every_session(_: &impl Harness, sessions: &dyn SessionDriver) {
    for _ in 0..3 {
        create(sessions, &new()).await;
    }
    let bob = create(sessions, &NewSession { user: user("bob"), ..new() }).await.id;

    assert_eq!(sessions.revoke_user(&app(), &user("alice"), None).await.unwrap(), 3);
    assert_eq!(ids(sessions, "alice").await, []);
    assert_eq!(ids(sessions, "bob").await, [bob]);
    assert_eq!(active(sessions).await, 1);
}

pub async fn revoking_a_user_spares_the_exception(_: &impl Harness, sessions: &dyn SessionDriver) {
    create(sessions, &new()).await;
    let here = create(sessions, &new()).await.id;
    create(sessions, &new()).await;

    assert_eq!(sessions.revoke_user(&app(), &user("alice"), Some(here)).await.unwrap(), 2);
    assert_eq!(ids(sessions, "alice").await, [here]);
    assert!(sessions.touch(&app(), here).await.unwrap().is_some());
    assert_eq!(active(sessions).await, 1);
}

pub async fn an_exception_of_another_user_spares_nothing(_: &impl Harness, sessions: &dyn SessionDriver) {
    create(sessions, &new()).await;
    let bob = create(sessions, &NewSession { user: user("bob"), ..new() }).await.id;

    assert_eq!(sessions.revoke_user(&app(), &user("alice"), Some(bob)).await.unwrap(), 1);
    assert_eq!(ids(sessions, "alice").await, []);
    assert_eq!(ids(sessions, "bob").await, [bob]);
}

pub async fn revoking_a_user_without_sessions_is_zero(_: &impl Harness, sessions: &dyn SessionDriver) {
    assert_eq!(sessions.revoke_user(&app(), &user("nobody"), None).await.unwrap(), 0);
}

pub async fn a_user_can_log_in_again_after_a_revoke(_: &impl Harness, sessions: &dyn SessionDriver) {
    create(sessions, &new()).await;
    sessions.revoke_user(&app(), &user("alice"), None).await.unwrap();

    let again = create(sessions, &new()).await.id;

    assert_eq!(ids(sessions, "alice").await, [again]);
    assert!(sessions.load(&app(), again).await.unwrap().is_some());
}

pub async fn revoking_a_user_twice_leaves_the_later_sessions_countable(
    h: &impl Harness,
    sessions: &dyn SessionDriver,
) {
    create(sessions, &new()).await;
    assert_eq!(sessions.revoke_user(&app(), &user("alice"), None).await.unwrap(), 1);
    create(sessions, &new()).await;
    create(sessions, &new()).await;
    assert_eq!(sessions.revoke_user(&app(), &user("alice"), None).await.unwrap(), 2);
    create(sessions, &new()).await;
    h.sweep().await;

    assert_eq!(ids(sessions, "alice").await.len(), 1);
    assert_eq!(active(sessions).await, 1);
}

pub async fn revoking_a_user_leaves_other_apps_alone(_: &impl Harness, sessions: &dyn SessionDriver) {
    let id = create(sessions, &new()).await.id;

    let revoked = sessions.revoke_user(&App::new("other").unwrap(), &user("alice"), None).await.unwrap();

    assert_eq!(revoked, 0);
    assert!(sessions.load(&app(), id).await.unwrap().is_some());
}

pub async fn every_revoke_is_in_the_change_log<D: SessionDriver + ChangeDriver>(_: &impl Harness, store: &D) {
    let id = create(store, &new()).await.id;
    store.revoke(&app(), id).await.unwrap();
    store.revoke(&app(), id).await.unwrap();
    store.revoke_user(&app(), &user("alice"), None).await.unwrap();

    assert_eq!(logged(store).await, [Change::Session(id), Change::User(app(), user("alice"))]);
}

pub async fn an_evicted_session_is_in_the_change_log<D: SessionDriver + ChangeDriver>(
    _: &impl Harness,
    store: &D,
) {
    let evicted = create(store, &limited(1, OnMax::EvictOldest)).await.id;
    create(store, &limited(1, OnMax::EvictOldest)).await;

    assert_eq!(logged(store).await, [Change::Session(evicted)]);
}

pub async fn a_touch_is_not_in_the_change_log<D: SessionDriver + ChangeDriver>(_: &impl Harness, store: &D) {
    let id = create(store, &new()).await.id;
    store.touch(&app(), id).await.unwrap();

    assert_eq!(logged(store).await, []);
}

pub async fn of_racing_revokes_one_ends_the_session(_: &impl Harness, sessions: &dyn SessionDriver) {
    let id = create(sessions, &new()).await.id;

    let ended = race(32, |_| async { sessions.revoke(&app(), id).await.unwrap() });

    assert_eq!(ended.iter().filter(|ended| **ended).count(), 1);
    assert_eq!(active(sessions).await, 0);
}

async fn tokens(sessions: &dyn SessionDriver, id: SessionId) -> (TokenHash, Option<TokenHash>) {
    let session = sessions.load(&app(), id).await.unwrap().unwrap();
    (session.token, session.previous.map(|p| p.token))
}

pub async fn a_rotated_session_has_the_next_token(_: &impl Harness, sessions: &dyn SessionDriver) {
    let id = create(sessions, &new()).await.id;

    let rotated = sessions.rotate(&app(), id, &rotation(1, 2, 30)).await.unwrap();

    assert!(matches!(rotated, Rotated::Done(session) if session.id == id && session.token == hash(2)));
    assert_eq!(tokens(sessions, id).await, (hash(2), Some(hash(1))));
}

pub async fn a_rotation_keeps_the_old_token_for_its_grace(h: &impl Harness, sessions: &dyn SessionDriver) {
    let created = create(sessions, &new()).await;
    h.advance(Duration::from_secs(1));
    sessions.rotate(&app(), created.id, &rotation(1, 2, 30)).await.unwrap();

    let previous = sessions.load(&app(), created.id).await.unwrap().unwrap().previous.unwrap();

    assert_eq!(previous.rotated_at, created.created_at.plus(Duration::from_secs(1)));
    assert_eq!(previous.valid_until, created.created_at.plus(Duration::from_secs(31)));
}

pub async fn rotating_the_same_token_again_within_the_grace_changes_nothing(
    h: &impl Harness,
    sessions: &dyn SessionDriver,
) {
    let id = create(sessions, &new()).await.id;
    let first = sessions.rotate(&app(), id, &rotation(1, 2, 30)).await.unwrap();
    h.advance(Duration::from_secs(29));

    assert_eq!(sessions.rotate(&app(), id, &rotation(1, 2, 30)).await.unwrap(), first);
}

pub async fn rotating_without_grace_refuses_the_old_token_at_once(
    _: &impl Harness,
    sessions: &dyn SessionDriver,
) {
    let id = create(sessions, &new()).await.id;
    sessions.rotate(&app(), id, &rotation(1, 2, 0)).await.unwrap();

    assert_eq!(sessions.rotate(&app(), id, &rotation(1, 2, 0)).await.unwrap(), Rotated::Refused);
    assert_eq!(tokens(sessions, id).await.0, hash(2), "the session lives on with its next token");
}

pub async fn an_unknown_token_does_not_rotate(_: &impl Harness, sessions: &dyn SessionDriver) {
    let id = create(sessions, &new()).await.id;

    assert_eq!(sessions.rotate(&app(), id, &rotation(9, 2, 30)).await.unwrap(), Rotated::Refused);
    assert_eq!(tokens(sessions, id).await, (hash(1), None));
}

pub async fn a_replaced_token_that_comes_back_late_ends_the_session(
    h: &impl Harness,
    sessions: &dyn SessionDriver,
) {
    for grace_s in [0, 30] {
        let id = create(sessions, &new()).await.id;
        sessions.rotate(&app(), id, &rotation(1, 2, grace_s)).await.unwrap();
        h.advance(Duration::from_secs(grace_s).max(REUSE));

        let reused = sessions.rotate(&app(), id, &rotation(1, 2, grace_s)).await.unwrap();

        assert!(matches!(reused, Rotated::Reused(session) if session.id == id));
        assert!(sessions.load(&app(), id).await.unwrap().is_none());
    }
}

pub async fn of_racing_rotations_of_one_token_the_session_has_one_successor(
    _: &impl Harness,
    sessions: &dyn SessionDriver,
) {
    let id = create(sessions, &new()).await.id;

    let outcomes = race(32, |i| async move {
        let next = u8::try_from(i + 10).unwrap();
        let rotated = sessions.rotate(&app(), id, &rotation(1, next, 30)).await.unwrap();
        matches!(rotated, Rotated::Done(session) if session.token == hash(next))
    });

    assert_eq!(outcomes.iter().filter(|won| **won).count(), 1);
}

pub async fn a_sweep_removes_what_has_ended_and_nothing_else(h: &impl Harness, sessions: &dyn SessionDriver) {
    let short = NewSession { idle: Ttl::seconds(1), ..new() };
    for _ in 0..1200 {
        create(sessions, &NewSession { id: SessionId::generate(), ..short.clone() }).await;
    }
    let live = create(sessions, &new()).await.id;
    h.advance(Duration::from_secs(1));
    h.sweep().await;

    assert_eq!(ids(sessions, "alice").await, [live]);
    assert_eq!(active(sessions).await, 1);
}

pub async fn a_session_used_daily_outlives_many_sweeps(h: &impl Harness, sessions: &dyn SessionDriver) {
    let day = Duration::from_secs(24 * 3600);
    let long =
        NewSession { idle: Ttl::seconds(7 * 24 * 3600), absolute: Ttl::seconds(60 * 24 * 3600), ..new() };
    let id = create(sessions, &long).await.id;
    for _ in 0..30 {
        h.advance(day);
        h.sweep().await;
        assert!(sessions.touch(&app(), id).await.unwrap().is_some());
    }
}

pub async fn counts_are_right_after_revokes_and_sweeps(h: &impl Harness, sessions: &dyn SessionDriver) {
    create(sessions, &NewSession { idle: Ttl::seconds(1), ..new() }).await;
    create(sessions, &new()).await;
    h.advance(Duration::from_secs(2));
    // One has ended and is not swept, one is live; both stop counting, one was live.
    assert_eq!(sessions.revoke_user(&app(), &user("alice"), None).await.unwrap(), 1);
    let kept = create(sessions, &new()).await;
    h.sweep().await;
    h.advance(Duration::from_secs(58));
    h.sweep().await;

    assert_eq!(active(sessions).await, 1);
    assert_eq!(ids(sessions, "alice").await, [kept.id]);
}
