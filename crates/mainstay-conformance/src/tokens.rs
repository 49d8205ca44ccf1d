//! Behaviours of API tokens.

use std::time::Duration;

use mainstay_core::{
    App, Error, PageRequest, Ttl,
    once::{Effect, Once},
    sessions::TokenHash,
    tokens::{ApiToken, NewToken, TokenDriver, TokenId},
};

use crate::{Harness, race};

/// Lists the behaviours of this file.
#[macro_export]
macro_rules! tokens {
    ($harness:ty) => {
        $crate::behaviours!($harness, tokens:
            a_token_is_found_by_its_hash,
            an_unknown_hash_finds_nothing,
            a_revoked_token_is_not_found,
            revoking_twice_says_that_there_was_none,
            an_expired_token_is_not_found,
            a_token_without_an_end_stays,
            tokens_are_listed_newest_first_in_pages,
            a_list_of_one_app_holds_no_other,
            a_cursor_that_is_none_is_refused,
            the_same_idempotency_key_creates_once,
            the_same_idempotency_key_with_another_request_is_refused,
            of_racing_creates_with_one_key_one_happens,
        );
    };
}

fn app() -> App {
    App::default()
}

fn hash(n: u8) -> TokenHash {
    TokenHash([n; 32])
}

fn new(app: &App, n: u8) -> NewToken {
    NewToken {
        id: TokenId::generate(),
        hash: hash(n),
        app: app.clone(),
        name: format!("token {n}"),
        scopes: vec!["sessions:*".into(), "cache:read".into()],
        expires_at: None,
    }
}

fn once(key: &str, fingerprint: u8, salt: u8) -> Once {
    Once {
        scope: "tokens.create",
        key: key.into(),
        fingerprint: [fingerprint; 32],
        salt: [salt; 16],
        ttl: Ttl::seconds(60),
    }
}

async fn create(tokens: &dyn TokenDriver, new: &NewToken) -> ApiToken {
    match tokens.create(new, None).await.unwrap() {
        Effect::Done(token) => token,
        Effect::Replayed(..) => panic!("nothing to replay"),
    }
}

pub async fn a_token_is_found_by_its_hash(_: &impl Harness, tokens: &dyn TokenDriver) {
    let created = create(tokens, &new(&app(), 1)).await;

    assert_eq!(tokens.find(&hash(1)).await.unwrap(), Some(created));
}

pub async fn an_unknown_hash_finds_nothing(_: &impl Harness, tokens: &dyn TokenDriver) {
    create(tokens, &new(&app(), 1)).await;

    assert_eq!(tokens.find(&hash(2)).await.unwrap(), None);
}

pub async fn a_revoked_token_is_not_found(_: &impl Harness, tokens: &dyn TokenDriver) {
    let created = create(tokens, &new(&app(), 1)).await;

    assert!(tokens.revoke(created.id).await.unwrap());
    assert_eq!(tokens.find(&hash(1)).await.unwrap(), None);
}

pub async fn revoking_twice_says_that_there_was_none(_: &impl Harness, tokens: &dyn TokenDriver) {
    let created = create(tokens, &new(&app(), 1)).await;
    tokens.revoke(created.id).await.unwrap();

    assert!(!tokens.revoke(created.id).await.unwrap());
}

pub async fn an_expired_token_is_not_found(h: &impl Harness, tokens: &dyn TokenDriver) {
    let created = create(tokens, &new(&app(), 1)).await;
    let expires_at = Some(created.created_at.plus(Duration::from_secs(60)));
    create(tokens, &NewToken { expires_at, ..new(&app(), 2) }).await;

    h.advance(Duration::from_secs(59));
    assert!(tokens.find(&hash(2)).await.unwrap().is_some());
    h.advance(Duration::from_secs(1));
    assert!(tokens.find(&hash(2)).await.unwrap().is_none());
}

pub async fn a_token_without_an_end_stays(h: &impl Harness, tokens: &dyn TokenDriver) {
    create(tokens, &new(&app(), 1)).await;
    h.advance(Duration::from_secs(100 * 365 * 24 * 3600));
    h.sweep().await;

    assert!(tokens.find(&hash(1)).await.unwrap().is_some());
}

pub async fn tokens_are_listed_newest_first_in_pages(_: &impl Harness, tokens: &dyn TokenDriver) {
    let mut created = Vec::new();
    for n in 1..=5 {
        created.push(create(tokens, &new(&app(), n)).await);
    }
    created.reverse();

    let first = tokens.list(None, &PageRequest { cursor: None, limit: 3 }).await.unwrap();
    let rest = tokens.list(None, &PageRequest { cursor: first.next.clone(), limit: 3 }).await.unwrap();

    assert_eq!([first.items, rest.items].concat(), created);
    assert_eq!(rest.next, None);
}

pub async fn a_list_of_one_app_holds_no_other(_: &impl Harness, tokens: &dyn TokenDriver) {
    let shop = App::new("shop").unwrap();
    create(tokens, &new(&app(), 1)).await;
    let ours = create(tokens, &new(&shop, 2)).await;

    assert_eq!(tokens.list(Some(&shop), &PageRequest::default()).await.unwrap().items, [ours]);
}

pub async fn a_cursor_that_is_none_is_refused(_: &impl Harness, tokens: &dyn TokenDriver) {
    let page = PageRequest { cursor: Some("' OR 1=1".into()), limit: 1 };

    assert!(matches!(tokens.list(None, &page).await, Err(Error::Invalid { field, .. }) if field == "cursor"));
}

pub async fn the_same_idempotency_key_creates_once(h: &impl Harness, tokens: &dyn TokenDriver) {
    let first = tokens.create(&new(&app(), 1), Some(&once("k", 1, 7))).await.unwrap();
    h.advance(Duration::from_secs(1));
    let again = tokens.create(&new(&app(), 2), Some(&once("k", 1, 8))).await.unwrap();

    let Effect::Done(created) = first else { panic!("nothing to replay") };
    assert_eq!(again, Effect::Replayed(created, [7; 16]));
    assert_eq!(tokens.list(None, &PageRequest::default()).await.unwrap().items.len(), 1);
}

pub async fn the_same_idempotency_key_with_another_request_is_refused(
    _: &impl Harness,
    tokens: &dyn TokenDriver,
) {
    tokens.create(&new(&app(), 1), Some(&once("k", 1, 7))).await.unwrap();
    let other = tokens.create(&new(&app(), 2), Some(&once("k", 2, 8))).await;

    assert!(matches!(other, Err(Error::IdempotencyMismatch)));
    assert_eq!(tokens.find(&hash(2)).await.unwrap(), None::<ApiToken>);
}

pub async fn of_racing_creates_with_one_key_one_happens(_: &impl Harness, tokens: &dyn TokenDriver) {
    let outcomes = race(32, |i| async move {
        let n = u8::try_from(i).unwrap();
        tokens.create(&new(&app(), n), Some(&once("k", 1, n))).await.unwrap()
    });

    assert_eq!(outcomes.iter().filter(|o| matches!(o, Effect::Done(_))).count(), 1);
    assert_eq!(tokens.list(None, &PageRequest::default()).await.unwrap().items.len(), 1);
}
