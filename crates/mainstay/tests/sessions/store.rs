//! What is in the folder, and what is there after a restart.

use super::*;

#[tokio::test]
async fn neither_the_token_nor_its_secret_is_in_any_file() {
    let folder = tempfile::tempdir().unwrap();
    let mainstay = Mainstay::embedded(folder.path()).await.unwrap();
    let sessions = mainstay.sessions();
    let key = Idempotency { key: "k".into(), fingerprint: [1; 32] };
    let options = SessionOptions { idempotency: Some(key), ..SessionOptions::default() };
    let (token, _) = log_in_with(&sessions, "alice", options).await;
    let (next, _) = sessions.rotate(&token, MINUTE).await.unwrap().unwrap();
    mainstay.close().await;
    drop((sessions, mainstay));

    for file in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        for token in [&token, &next] {
            assert!(!bytes.windows(40).any(|w| w == &token.as_bytes()[24..64]));
        }
    }
}

#[tokio::test]
async fn the_same_idempotency_key_gives_the_same_token_again() {
    let (mainstay, _) = open().await;
    let sessions = mainstay.sessions();
    let options = |fingerprint| SessionOptions {
        idempotency: Some(Idempotency { key: "order-1".into(), fingerprint: [fingerprint; 32] }),
        ..SessionOptions::default()
    };
    let (first, session) = log_in_with(&sessions, "alice", options(1)).await;

    let again = sessions.create("alice", options(1)).await.unwrap();
    let other = sessions.create("alice", options(2)).await;

    let NewSession::Created { token, session: replay, replayed: true } = again else { panic!("{again:?}") };
    assert_eq!((token, replay.id), (first.clone(), session.id));
    assert!(matches!(other, Err(Error::IdempotencyMismatch)));
    assert!(is_live(&sessions, &first).await);
    assert_eq!(sessions.list("alice", &PageRequest::default()).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn everything_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mainstay = Mainstay::embedded(folder.path()).await.unwrap();
    let sessions = mainstay.sessions();
    let (kept, _) = log_in(&sessions, "alice").await;
    let (revoked, session) = log_in(&sessions, "alice").await;
    let (old, _) = log_in(&sessions, "bob").await;
    let (new, _) = sessions.rotate(&old, Duration::ZERO).await.unwrap().unwrap();
    sessions.revoke(session.id).await.unwrap();
    log_in(&sessions, "carol").await;
    sessions.revoke_all("carol", None).await.unwrap();
    mainstay.close().await;
    drop((sessions, mainstay));

    let mainstay = Mainstay::embedded(folder.path()).await.unwrap();
    let sessions = mainstay.sessions();
    assert!(is_live(&sessions, &kept).await);
    assert!(!is_live(&sessions, &revoked).await);
    assert!(!is_live(&sessions, &old).await);
    assert!(is_live(&sessions, &new).await);
    assert!(sessions.list("carol", &PageRequest::default()).await.unwrap().items.is_empty());
    assert_eq!(sessions.stats().await.unwrap().active_by_kind.iter().map(|(_, n)| n).sum::<u64>(), 2);
}

#[tokio::test]
async fn a_second_opener_of_the_folder_is_told_who_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let first = Mainstay::embedded(folder.path()).await.unwrap();

    let refused = Mainstay::embedded(folder.path()).await.unwrap_err();

    assert_eq!(refused.code(), "unavailable");
    let why = std::error::Error::source(&refused).unwrap().to_string();
    assert!(why.contains(&std::process::id().to_string()) && why.contains("stop it"), "{why}");
    first.close().await;
    drop(first);
    Mainstay::embedded(folder.path()).await.unwrap();
}

#[tokio::test]
async fn a_lost_key_is_an_error_and_not_an_empty_store() {
    let folder = tempfile::tempdir().unwrap();
    let mainstay = Mainstay::embedded(folder.path()).await.unwrap();
    mainstay.close().await;
    drop(mainstay);
    std::fs::remove_file(folder.path().join("secret.key")).unwrap();

    let refused = Mainstay::embedded(folder.path()).await.unwrap_err();

    assert!(std::error::Error::source(&refused).unwrap().to_string().contains("secret.key"));
}
