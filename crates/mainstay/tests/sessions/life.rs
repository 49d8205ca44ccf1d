//! How long sessions live, and what it costs to check them.

use super::*;

#[tokio::test]
async fn a_clean_check_reads_and_writes_nothing() {
    let (mainstay, _) = open().await;
    let sessions = mainstay.sessions();
    let (token, _) = log_in(&sessions, "alice").await;
    let before = mainstay.store_stats().await.unwrap();
    for _ in 0..1000 {
        assert!(is_live(&sessions, &token).await);
    }
    let after = mainstay.store_stats().await.unwrap();

    assert_eq!(after.writes, before.writes);
    // The tail reads the log a few times a second; checks do not.
    assert!(after.reads - before.reads < 20, "{} reads", after.reads - before.reads);
}

#[tokio::test]
async fn a_session_is_touched_at_most_once_a_minute() {
    let (mainstay, clock) = open().await;
    let sessions = mainstay.sessions();
    let (token, _) = log_in(&sessions, "alice").await;
    let before = mainstay.store_stats().await.unwrap().writes;
    for _ in 0..10 {
        clock.advance(Duration::from_secs(20));
        for _ in 0..10 {
            is_live(&sessions, &token).await;
        }
    }

    // 200 seconds: due at 60, 120 and 180.
    assert_eq!(mainstay.store_stats().await.unwrap().writes - before, 3);
    let session = sessions.check(&token).await.unwrap().unwrap();
    assert_eq!(session.last_seen_at, session.created_at.plus(Duration::from_secs(180)));
}

#[tokio::test]
async fn of_racing_checks_one_touches() {
    let (mainstay, clock) = open().await;
    let sessions = mainstay.sessions();
    let (token, _) = log_in(&sessions, "alice").await;
    is_live(&sessions, &token).await;
    clock.advance(MINUTE);
    let before = mainstay.store_stats().await.unwrap().writes;
    let checks: Vec<_> = (0..64)
        .map(|_| {
            let (sessions, token) = (sessions.clone(), token.clone());
            tokio::spawn(async move { is_live(&sessions, &token).await })
        })
        .collect();
    for check in checks {
        assert!(check.await.unwrap());
    }

    assert_eq!(mainstay.store_stats().await.unwrap().writes - before, 1);
}

#[tokio::test]
async fn peeking_and_listing_never_prolong() {
    let (mainstay, clock) = open().await;
    let sessions = mainstay.sessions();
    let options = SessionOptions { idle: Some(10 * MINUTE), ..SessionOptions::default() };
    let (token, session) = log_in_with(&sessions, "alice", options).await;
    for _ in 0..5 {
        clock.advance(2 * MINUTE - Duration::from_millis(1));
        assert!(sessions.peek(&token).await.unwrap().is_some());
        assert_eq!(sessions.list("alice", &PageRequest::default()).await.unwrap().items.len(), 1);
        assert!(sessions.get(session.id).await.unwrap().is_some());
    }
    clock.advance(Duration::from_millis(5));

    assert!(!is_live(&sessions, &token).await);
}

#[tokio::test]
async fn use_prolongs_a_session_up_to_its_absolute_end() {
    let (mainstay, clock) = open().await;
    let sessions = mainstay.sessions();
    let (token, session) = log_in(&sessions, "alice").await;
    // A login of 7 days idle and 30 days absolute, used daily.
    for day in 1..30 {
        clock.advance(DAY);
        assert!(is_live(&sessions, &token).await, "day {day}");
    }
    clock.advance(DAY - Duration::from_millis(1));
    assert!(is_live(&sessions, &token).await);
    clock.advance(Duration::from_millis(1));
    assert!(!is_live(&sessions, &token).await);
    assert!(sessions.get(session.id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_short_absolute_life_is_kept_however_often_it_is_read() {
    let (mainstay, clock) = open().await;
    let sessions = mainstay.sessions();
    let options = SessionOptions { idle: Some(MINUTE), absolute: Some(MINUTE), ..SessionOptions::default() };
    let (token, _) = log_in_with(&sessions, "alice", options).await;
    for _ in 0..5 {
        clock.advance(Duration::from_secs(10));
        assert!(is_live(&sessions, &token).await);
    }
    clock.advance(Duration::from_secs(10));

    assert!(!is_live(&sessions, &token).await);
}

#[tokio::test]
async fn every_kind_has_its_own_timeouts() {
    let (mainstay, _) = open().await;
    let sessions = mainstay.sessions();
    let day = 24 * 60;
    let expected = [
        ("login", 7 * day, 30 * day),
        ("upload", 15, 15),
        ("onboarding", day, day),
        ("guest", day, 7 * day),
        ("kiosk", 7 * day, 30 * day),
    ];
    for (kind, idle_minutes, absolute_minutes) in expected {
        let options = SessionOptions { kind: kind.into(), ..SessionOptions::default() };
        let (_, session) = log_in_with(&sessions, "alice", options).await;
        assert_eq!(session.idle_expires_at, session.created_at.plus(idle_minutes * MINUTE), "{kind}");
        assert_eq!(session.absolute_expires_at, session.created_at.plus(absolute_minutes * MINUTE), "{kind}");
    }
}

#[tokio::test]
async fn checks_are_counted_in_the_statistics() {
    let (mainstay, _) = open().await;
    let sessions = mainstay.sessions();
    let (token, _) = log_in(&sessions, "alice").await;
    for _ in 0..7 {
        is_live(&sessions, &token).await;
    }
    is_live(&sessions, "wrong").await;

    let stats = sessions.stats().await.unwrap();
    assert_eq!((stats.checks_last_hour, stats.created_last_hour), (8, 1));
}
