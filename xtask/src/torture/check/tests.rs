//! Small histories by hand: each rule is broken once and kept once.

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn event(start: u64, end: u64, action: Action, answer: Answer) -> Event {
    Event { start: ms(start), end: ms(end), action, answer }
}

fn session(id: &str, token: Option<&str>, fields: &[(&str, u64)]) -> Answer {
    Answer::Session {
        id: id.into(),
        token: token.map(Into::into),
        fields: fields.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
    }
}

fn created(start: u64, end: u64, id: &str, token: &str) -> Event {
    event(start, end, Action::Create { user: "ada".into(), key: None }, session(id, Some(token), &[]))
}

fn checked(start: u64, end: u64, token: &str, answer: Answer) -> Event {
    event(start, end, Action::Check { token: token.into() }, answer)
}

fn revoked(start: u64, end: u64, id: &str, answer: Answer) -> Event {
    event(start, end, Action::Revoke { id: id.into() }, answer)
}

#[track_caller]
fn holds(history: &[Event]) {
    assert_eq!(check(history), Vec::<String>::new());
}

#[track_caller]
fn breaks(history: &[Event], words: &str) {
    let violations = check(history);
    assert!(violations.len() == 1 && violations[0].contains(words), "{violations:?}");
}

#[test]
fn an_acknowledged_session_must_be_accepted() {
    let made = created(0, 1, "s", "t");
    holds(&[made.clone(), checked(2, 3, "t", session("s", None, &[]))]);
    breaks(&[made, checked(2, 3, "t", Answer::Refused)], "is refused");
}

#[test]
fn a_check_that_started_after_a_revoke_answer_must_be_refused() {
    let history = |start| {
        let accepted = checked(start, start + 5, "t", session("s", None, &[]));
        [created(0, 1, "s", "t"), revoked(2, 4, "s", Answer::Done), accepted]
    };
    holds(&history(3));
    breaks(&history(5), "after its revoke");
}

#[test]
fn an_unknown_revoke_allows_both() {
    let history =
        |answer| [created(0, 1, "s", "t"), revoked(2, 4, "s", Answer::Unknown), checked(9, 10, "t", answer)];
    holds(&history(session("s", None, &[])));
    holds(&history(Answer::Refused));
}

#[test]
fn revoking_all_ends_what_was_created_before_but_for_the_exception() {
    let all = event(4, 5, Action::RevokeAll { user: "ada".into(), except: Some("b".into()) }, Answer::Done);
    let made = [created(0, 1, "a", "ta"), created(0, 1, "b", "tb"), all];
    let with = |token, answer| [&made[..], &[checked(6, 7, token, answer)]].concat();
    holds(&with("tb", session("b", None, &[])));
    breaks(&with("tb", Answer::Refused), "is refused");
    breaks(&with("ta", session("a", None, &[])), "after its revoke");
}

#[test]
fn an_acknowledged_field_must_be_there() {
    let patch = |field: &str, value| Action::Patch { id: "s".into(), field: field.into(), value };
    let history = |fields: &[(&str, u64)]| {
        [
            created(0, 1, "s", "t"),
            event(2, 3, patch("a", 1), session("s", None, &[("a", 1)])),
            event(2, 4, patch("b", 7), session("s", None, &[("a", 1), ("b", 7)])),
            event(5, 6, patch("a", 2), Answer::Unknown),
            checked(8, 9, "t", session("s", None, fields)),
        ]
    };
    holds(&history(&[("a", 1), ("b", 7)]));
    holds(&history(&[("a", 2), ("b", 7)]));
    breaks(&history(&[("a", 1)]), "field b");
}

#[test]
fn a_replaced_token_must_be_refused_after_its_grace() {
    let rotate = Action::Rotate { token: "old".into(), grace: ms(60) };
    let history = |start| {
        [
            created(0, 1, "s", "old"),
            event(2, 3, rotate.clone(), session("s", Some("new"), &[])),
            checked(start, start + 1, "old", session("s", None, &[])),
        ]
    };
    holds(&history(50));
    breaks(&history(100), "replaced token");
}

#[test]
fn one_idempotency_key_must_make_one_session() {
    let keyed = |start, id: &str, token: &str| {
        let action = Action::Create { user: "ada".into(), key: Some("k".into()) };
        event(start, start + 1, action, session(id, Some(token), &[]))
    };
    holds(&[keyed(0, "s", "t"), keyed(2, "s", "t")]);
    breaks(&[keyed(0, "s", "t"), keyed(2, "other", "u")], "made 2 sessions");
}

#[test]
fn a_list_must_hold_what_is_live_and_nothing_else() {
    let listed = |ids: &[&str]| {
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        event(8, 9, Action::List { user: "ada".into() }, Answer::Listed(ids))
    };
    let made = [created(0, 1, "a", "ta"), created(0, 1, "b", "tb"), revoked(2, 3, "b", Answer::Done)];
    let with = |ids| [&made[..], &[listed(ids)]].concat();
    holds(&with(&["a"]));
    breaks(&with(&[]), "is not listed");
    breaks(&with(&["a", "b"]), "is listed after");
    breaks(&with(&["a", "stranger"]), "come from nowhere");
}

#[test]
fn a_replaced_or_invalidated_value_must_not_be_read() {
    let put =
        |start, value| event(start, start + 1, Action::CachePut { key: "k".into(), value }, Answer::Done);
    let got = |value| event(8, 9, Action::CacheGet { key: "k".into() }, Answer::Cached(value));
    let gone = event(6, 7, Action::CacheInvalidate { key: "k".into(), by_tag: true }, Answer::Done);
    holds(&[put(0, 1), put(2, 2), got(Some(2))]);
    holds(&[put(0, 1), put(2, 2), got(None)]);
    breaks(&[put(0, 1), put(2, 2), got(Some(1))], "after 2 was acknowledged");
    breaks(&[put(0, 1), gone, got(Some(1))], "after its invalidation");
    breaks(&[got(Some(5))], "nobody wrote");
}

#[test]
fn a_broken_answer_is_a_violation() {
    breaks(&[checked(0, 1, "t", Answer::Broken("status 500".into()))], "status 500");
}
