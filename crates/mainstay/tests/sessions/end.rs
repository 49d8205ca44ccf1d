//! Revoking and rotating.

use super::*;

#[tokio::test]
async fn a_revoked_session_is_refused_at_once_by_every_handle() {
    let (mainstay, _) = open().await;
    let (here, there) = (mainstay.sessions(), mainstay.clone().sessions());
    let (token, session) = log_in(&here, "alice").await;
    assert!(is_live(&there, &token).await);

    assert!(here.revoke(session.id).await.unwrap());

    assert!(!is_live(&there, &token).await);
    assert!(!is_live(&here, &token).await);
    assert!(here.rotate(&token, MINUTE).await.unwrap().is_none());
    assert!(here.update(session.id, SessionUpdate::default()).await.unwrap().is_none());
}

/// Readers load the session again and again while it is revoked: none of their loads, however
/// late, may be served after the revoke has returned.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_check_that_starts_after_a_revoke_finds_the_session() {
    let (mainstay, _) = open().await;
    let sessions = mainstay.sessions();
    for round in 0..40 {
        let (token, session) = log_in(&sessions, "alice").await;
        let (over, token) = (Arc::new(AtomicBool::new(false)), Arc::new(token));
        let readers: Vec<_> = (0..25)
            .map(|_| {
                let (sessions, token, over) = (sessions.clone(), Arc::clone(&token), Arc::clone(&over));
                tokio::spawn(async move {
                    loop {
                        let started_after = over.load(Ordering::SeqCst);
                        let live = is_live(&sessions, &token).await;
                        assert!(!(started_after && live), "a revoked session was found");
                        if started_after {
                            return;
                        }
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        if round % 2 == 0 {
            assert!(sessions.revoke(session.id).await.unwrap());
        } else {
            sessions.revoke_all("alice", None).await.unwrap();
        }
        over.store(true, Ordering::SeqCst);
        for reader in readers {
            reader.await.unwrap();
        }
    }
}

#[tokio::test]
async fn ending_all_other_sessions_spares_this_one() {
    let (mainstay, _) = open().await;
    let sessions = mainstay.sessions();
    let (here, session) = log_in(&sessions, "alice").await;
    let (there, _) = log_in(&sessions, "alice").await;
    let (bob, _) = log_in(&sessions, "bob").await;
    for token in [&here, &there, &bob] {
        assert!(is_live(&sessions, token).await);
    }

    assert_eq!(sessions.revoke_all("alice", Some(session.id)).await.unwrap(), 1);

    assert!(is_live(&sessions, &here).await);
    assert!(!is_live(&sessions, &there).await);
    assert!(is_live(&sessions, &bob).await);
}

#[tokio::test]
async fn a_session_that_made_room_is_refused_at_once() {
    let (mainstay, _) = open().await;
    let sessions = mainstay.sessions();
    let limit = Some(UserLimit { max: 1, on_max: OnMax::EvictOldest });
    let (first, _) = log_in(&sessions, "alice").await;
    assert!(is_live(&sessions, &first).await);

    log_in_with(&sessions, "alice", SessionOptions { limit, ..SessionOptions::default() }).await;

    assert!(!is_live(&sessions, &first).await);
}

#[tokio::test]
async fn a_rotation_keeps_the_id_and_ends_the_old_token_after_its_grace() {
    let (mainstay, clock) = open().await;
    let sessions = mainstay.sessions();
    let (old, session) = log_in(&sessions, "alice").await;

    let (new, rotated) = sessions.rotate(&old, Duration::from_secs(30)).await.unwrap().unwrap();

    assert_eq!(rotated.id, session.id);
    assert_ne!(old, new);
    clock.advance(Duration::from_millis(29_999));
    assert!(is_live(&sessions, &old).await && is_live(&sessions, &new).await);
    clock.advance(Duration::from_millis(1));
    assert!(!is_live(&sessions, &old).await);
    assert!(is_live(&sessions, &new).await);
}

#[tokio::test]
async fn a_rotation_without_grace_ends_the_old_token_at_once() {
    let (mainstay, _) = open().await;
    let sessions = mainstay.sessions();
    let (old, _) = log_in(&sessions, "alice").await;
    assert!(is_live(&sessions, &old).await);

    let (new, _) = sessions.rotate(&old, Duration::ZERO).await.unwrap().unwrap();

    assert!(!is_live(&sessions, &old).await);
    assert!(is_live(&sessions, &new).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_rotations_of_one_token_are_given_the_same_successor() {
    let (mainstay, _) = open().await;
    let sessions = mainstay.sessions();
    let (old, _) = log_in(&sessions, "alice").await;
    let rotations: Vec<_> = (0..32)
        .map(|_| {
            let (sessions, old) = (sessions.clone(), old.clone());
            tokio::spawn(async move { sessions.rotate(&old, MINUTE).await.unwrap().unwrap().0 })
        })
        .collect();
    let mut next = Vec::new();
    for rotation in rotations {
        next.push(rotation.await.unwrap());
    }
    next.dedup();

    assert_eq!(next.len(), 1);
    assert!(is_live(&sessions, &next[0]).await);
}

#[tokio::test]
async fn a_replaced_token_that_comes_back_late_ends_the_session() {
    let (mainstay, clock) = open().await;
    let sessions = mainstay.sessions();
    let (stolen, _) = log_in(&sessions, "alice").await;
    let (new, _) = sessions.rotate(&stolen, Duration::from_secs(30)).await.unwrap().unwrap();
    clock.advance(MINUTE);
    assert!(is_live(&sessions, &new).await);

    assert!(sessions.rotate(&stolen, Duration::from_secs(30)).await.unwrap().is_none());

    assert!(!is_live(&sessions, &new).await);
}

#[tokio::test]
async fn a_check_with_a_dead_token_ends_nothing() {
    let (mainstay, clock) = open().await;
    let sessions = mainstay.sessions();
    let (old, _) = log_in(&sessions, "alice").await;
    let (new, _) = sessions.rotate(&old, Duration::ZERO).await.unwrap().unwrap();
    clock.advance(MINUTE);

    assert!(!is_live(&sessions, &old).await);
    assert!(is_live(&sessions, &new).await);
}
