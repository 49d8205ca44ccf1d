//! Behaviours of the change log.

use std::time::Duration;

use mainstay_core::{
    App, CacheKey, Name,
    changes::{Change, ChangeDriver, Invalidation, Tail},
    sessions::SessionId,
    tokens::TokenId,
};

use crate::{Harness, race};

/// Lists the behaviours of this file.
#[macro_export]
macro_rules! changes {
    ($harness:ty) => {
        $crate::behaviours!($harness, changes:
            what_was_appended_is_read_in_order,
            every_kind_of_change_reads_back_as_it_was_written,
            a_reader_sees_only_what_is_after_its_position,
            a_limit_bounds_what_is_read,
            an_empty_log_has_head_zero,
            the_head_is_the_position_of_the_newest_change,
            a_waiter_is_woken_by_a_change,
            a_reader_that_was_away_too_long_is_told_so,
            a_reader_ahead_of_the_log_is_told_so,
            positions_go_on_after_a_sweep,
            racing_writers_leave_no_gap_and_no_double,
        );
    };
}

fn change() -> Change {
    Change::Session(SessionId::generate())
}

fn changes_of(tail: Tail) -> Vec<Change> {
    match tail {
        Tail::Changes(changes) => changes.into_iter().map(|logged| logged.change).collect(),
        Tail::Lost(head) => panic!("the log was lost at {head}"),
    }
}

pub async fn what_was_appended_is_read_in_order(_: &impl Harness, log: &dyn ChangeDriver) {
    let written = [change(), change(), change()];
    log.append(&written[..2]).await.unwrap();
    log.append(&written[2..]).await.unwrap();

    assert_eq!(changes_of(log.read(0, 10).await.unwrap()), written);
}

pub async fn every_kind_of_change_reads_back_as_it_was_written(_: &impl Harness, log: &dyn ChangeDriver) {
    let app = App::new("shop").unwrap();
    let name = |text| Name::new("name", text).unwrap();
    let key = |text| CacheKey::new(text).unwrap();
    let written = [
        change(),
        Change::User(app.clone(), name("alice@example.org")),
        Change::Token(TokenId::generate()),
        Change::Cache(app.clone(), Invalidation::Tag(name("user:1"))),
        Change::Cache(app.clone(), Invalidation::Key(name("users"), key("é/ü 'quoted' %"))),
        Change::Cache(app.clone(), Invalidation::Prefix(name("users"), key("a/"))),
        Change::Cache(app, Invalidation::Namespace(name("users"))),
    ];
    log.append(&written).await.unwrap();

    assert_eq!(changes_of(log.read(0, 10).await.unwrap()), written);
}

pub async fn a_reader_sees_only_what_is_after_its_position(_: &impl Harness, log: &dyn ChangeDriver) {
    let seen = log.append(&[change()]).await.unwrap();
    let next = change();
    log.append(std::slice::from_ref(&next)).await.unwrap();

    assert_eq!(changes_of(log.read(seen, 10).await.unwrap()), [next]);
}

pub async fn a_limit_bounds_what_is_read(_: &impl Harness, log: &dyn ChangeDriver) {
    let written = [change(), change(), change()];
    log.append(&written).await.unwrap();

    assert_eq!(changes_of(log.read(0, 2).await.unwrap()), written[..2]);
}

pub async fn an_empty_log_has_head_zero(_: &impl Harness, log: &dyn ChangeDriver) {
    assert_eq!(log.head().await.unwrap(), 0);
    assert_eq!(changes_of(log.read(0, 10).await.unwrap()), []);
}

pub async fn the_head_is_the_position_of_the_newest_change(_: &impl Harness, log: &dyn ChangeDriver) {
    let last = log.append(&[change(), change()]).await.unwrap();

    assert_eq!(log.head().await.unwrap(), last);
}

pub async fn a_waiter_is_woken_by_a_change(_: &impl Harness, log: &dyn ChangeDriver) {
    let head = log.head().await.unwrap();
    let one = [change()];

    let ((), written) = tokio::join!(log.wait(head), log.append(&one));

    assert!(written.unwrap() > head);
}

pub async fn a_reader_that_was_away_too_long_is_told_so(h: &impl Harness, log: &dyn ChangeDriver) {
    log.append(&[change(), change(), change()]).await.unwrap();
    h.advance(Duration::from_secs(100 * 24 * 3600));
    let head = log.append(&[change()]).await.unwrap();
    h.sweep().await;

    assert_eq!(log.read(0, 10).await.unwrap(), Tail::Lost(head));
    assert_eq!(changes_of(log.read(head, 10).await.unwrap()), []);
}

pub async fn a_reader_ahead_of_the_log_is_told_so(_: &impl Harness, log: &dyn ChangeDriver) {
    let head = log.append(&[change()]).await.unwrap();

    assert_eq!(log.read(head + 5, 10).await.unwrap(), Tail::Lost(head));
}

pub async fn positions_go_on_after_a_sweep(h: &impl Harness, log: &dyn ChangeDriver) {
    let before = log.append(&[change(), change()]).await.unwrap();
    h.advance(Duration::from_secs(100 * 24 * 3600));
    h.sweep().await;

    assert!(log.append(&[change()]).await.unwrap() > before);
}

pub async fn racing_writers_leave_no_gap_and_no_double(_: &impl Harness, log: &dyn ChangeDriver) {
    let mut positions: Vec<u64> = race(32, |_| async { log.append(&[change()]).await.unwrap() });

    positions.sort_unstable();
    let first = positions[0];
    assert_eq!(positions, (first..first + 32).collect::<Vec<_>>());
}
