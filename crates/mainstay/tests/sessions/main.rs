//! What the session service promises, over the embedded store.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod end;
mod life;
mod store;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mainstay::{
    Clock, Config, Error, Fields, Idempotency, Mainstay, PageRequest, Timestamp,
    sessions::{
        Device, FactorContext, NewSession, OnMax, Session, SessionId, SessionOptions, SessionUpdate,
        Sessions, UserLimit,
    },
};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

async fn open() -> (Mainstay, Clock) {
    let clock = Clock::fixed(Timestamp::from_millis(1_800_000_000_000));
    let mainstay = Mainstay::open(Config { clock: clock.clone(), ..Config::default() }).await.unwrap();
    (mainstay, clock)
}

async fn log_in_with(sessions: &Sessions, user: &str, options: SessionOptions) -> (String, Session) {
    match sessions.create(user, options).await.unwrap() {
        NewSession::Created { token, session, .. } => (token, session),
        NewSession::Full => panic!("the user has no limit"),
    }
}

async fn log_in(sessions: &Sessions, user: &str) -> (String, Session) {
    log_in_with(sessions, user, SessionOptions::default()).await
}

async fn is_live(sessions: &Sessions, token: &str) -> bool {
    sessions.check(token).await.unwrap().is_some()
}

#[tokio::test]
async fn a_token_finds_its_session_and_no_other_text_does() {
    let (mainstay, _) = open().await;
    let sessions = mainstay.sessions();
    let (token, session) = log_in(&sessions, "alice").await;

    let found = sessions.check(&token).await.unwrap().unwrap();
    assert_eq!((found.id, found.user.as_str()), (session.id, "alice"));
    let mut forged = token.clone().into_bytes();
    forged[40] = if forged[40] == b'A' { b'B' } else { b'A' };
    let forged = std::str::from_utf8(&forged).unwrap();
    for other in ["", "x", &token[..63], &format!("{token}A"), forged, "é\0"] {
        assert!(sessions.check(other).await.unwrap().is_none(), "{other:?}");
    }
}

#[tokio::test]
async fn two_apps_never_meet() {
    let (mainstay, _) = open().await;
    let (shop, blog) = (mainstay.app("shop").unwrap().sessions(), mainstay.app("blog").unwrap().sessions());
    let (token, session) = log_in(&shop, "alice").await;

    for _ in 0..2 {
        assert!(!is_live(&blog, &token).await);
        assert!(is_live(&shop, &token).await);
    }
    assert!(!blog.revoke(session.id).await.unwrap());
    assert!(blog.rotate(&token, Duration::ZERO).await.unwrap().is_none());
    assert!(blog.list("alice", &PageRequest::default()).await.unwrap().items.is_empty());
    assert_eq!(blog.revoke_all("alice", None).await.unwrap(), 0);
    assert!(is_live(&shop, &token).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_writers_of_different_fields_lose_nothing() {
    let (mainstay, _) = open().await;
    let sessions = mainstay.sessions();
    let (token, session) = log_in(&sessions, "alice").await;
    let writers: Vec<_> = (0..100)
        .map(|i| {
            let (sessions, id) = (sessions.clone(), session.id);
            tokio::spawn(async move {
                let mut data = Fields::default();
                data.set(&format!("f{i}"), &i).unwrap();
                let update = SessionUpdate { data, ..SessionUpdate::default() };
                sessions.update(id, update).await.unwrap().unwrap();
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }

    let session = sessions.check(&token).await.unwrap().unwrap();
    assert_eq!(session.data.names().count(), 100);
}

#[tokio::test]
async fn a_change_is_seen_by_the_next_check() {
    let (mainstay, _) = open().await;
    let sessions = mainstay.sessions();
    let (token, session) = log_in(&sessions, "alice").await;
    for i in 0..50 {
        is_live(&sessions, &token).await;
        let mut data = Fields::default();
        data.set("n", &i).unwrap();
        let second_factor = Some(Some(FactorContext::Both));
        let update = SessionUpdate { data, second_factor, ..SessionUpdate::default() };
        sessions.update(session.id, update).await.unwrap();

        let seen = sessions.check(&token).await.unwrap().unwrap();
        assert_eq!(seen.data.get("n"), Some(i.to_string().as_str()));
        assert!(seen.second_factor.is_some());
    }
}

#[tokio::test]
async fn bad_input_is_refused_by_the_name_of_its_field() {
    let (mainstay, _) = open().await;
    let sessions = mainstay.sessions();
    let long = "x".repeat(2000);
    let default = SessionOptions::default;
    let device = |user_agent: Option<&str>, name: Option<&str>| SessionOptions {
        device: Device { user_agent: user_agent.map(Into::into), ip: None, name: name.map(Into::into) },
        ..default()
    };
    let no_session = Some(UserLimit { max: 0, on_max: OnMax::Reject });
    let key = Some(Idempotency { key: "é".into(), fingerprint: [0; 32] });
    let cases = [
        ("user", "", default()),
        ("user", "a b", default()),
        ("user", "é", default()),
        ("user", "x\0", default()),
        ("kind", "alice", SessionOptions { kind: "a/b".into(), ..default() }),
        ("idle_ms", "alice", SessionOptions { idle: Some(Duration::ZERO), ..default() }),
        ("idle_ms", "alice", SessionOptions { idle: Some(Duration::MAX), ..default() }),
        ("absolute_ms", "alice", SessionOptions { absolute: Some(4000 * DAY), ..default() }),
        ("device.user_agent", "alice", device(Some(&long), None)),
        ("device.name", "alice", device(None, Some("a\nb"))),
        ("max_per_user", "alice", SessionOptions { limit: no_session, ..default() }),
        ("Idempotency-Key", "alice", SessionOptions { idempotency: key, ..default() }),
    ];
    for (field, user, options) in cases {
        match sessions.create(user, options).await {
            Err(Error::Invalid { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{field}: {other:?}"),
        }
    }
    assert_eq!(sessions.stats().await.unwrap().created_last_hour, 0);
    for limit in [0, 1001] {
        let refused = sessions.list("alice", &PageRequest { cursor: None, limit }).await;
        assert!(matches!(refused, Err(Error::Invalid { field, .. }) if field == "limit"));
    }
    assert!(sessions.get(SessionId::generate()).await.unwrap().is_none());
}
