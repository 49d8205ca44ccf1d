//! Behaviours of sessions.

mod create;
mod end;
mod live;

pub use create::*;
pub use end::*;
pub use live::*;

use mainstay_core::{
    App, Fields, Name, Ttl,
    once::{Effect, Once},
    sessions::{
        Created, Device, NewSession, OnMax, SessionDriver, SessionId, SessionRecord, TokenHash, UserLimit,
    },
};

/// Lists the behaviours of this noun.
#[macro_export]
macro_rules! sessions {
    ($harness:ty) => {
        $crate::behaviours!($harness, sessions:
            // create
            a_created_session_reads_back_as_it_was_answered,
            an_unknown_session_is_nothing,
            a_session_of_another_app_is_nothing,
            every_device_field_reads_back,
            data_of_the_largest_size_reads_back,
            a_user_at_the_limit_loses_the_oldest_session,
            a_user_at_the_limit_is_refused_when_asked_so,
            an_ended_session_takes_no_room,
            limits_of_one_user_leave_other_users_alone,
            racing_creates_never_pass_the_limit,
            racing_creates_never_pass_the_limit_when_they_evict,
            the_same_idempotency_key_creates_one_session,
            a_replay_tells_the_session_as_it_was_created,
            an_idempotency_key_with_another_request_is_refused,
            an_idempotency_key_is_forgotten_after_its_time,
            idempotency_keys_of_two_apps_never_meet,
            a_refused_create_does_not_use_up_its_idempotency_key,
            of_racing_creates_with_one_key_one_creates,
            // live
            a_session_ends_when_it_is_idle_for_too_long,
            a_touch_prolongs_a_session,
            a_touch_never_passes_the_absolute_end,
            a_touch_never_shortens_what_was_extended,
            a_load_does_not_prolong_a_session,
            a_list_does_not_prolong_sessions,
            a_touch_of_an_ended_session_is_nothing,
            an_update_merges_fields,
            an_update_removes_fields_that_are_null,
            an_update_keeps_every_byte_of_a_value,
            an_update_past_the_size_limit_changes_nothing,
            an_update_of_an_ended_session_is_nothing,
            an_update_of_another_apps_session_is_nothing,
            racing_updates_of_different_fields_are_all_kept,
            a_second_factor_is_recorded_with_its_time_and_cleared,
            racing_second_factor_and_data_are_both_kept,
            extending_moves_the_idle_end,
            extending_never_shortens,
            extending_the_idle_end_stays_within_the_absolute_end,
            extending_the_absolute_end_makes_room_for_the_idle_end,
            a_list_is_newest_first_and_of_one_user,
            a_list_comes_in_pages,
            a_list_cursor_that_is_none_is_refused,
            counts_follow_creation_and_end,
            checks_are_counted_for_an_hour,
            // end
            a_revoked_session_is_gone,
            revoking_twice_says_that_there_was_none,
            revoking_in_another_app_changes_nothing,
            nothing_brings_a_revoked_session_back,
            revoking_a_user_ends_every_session,
            revoking_a_user_spares_the_exception,
            an_exception_of_another_user_spares_nothing,
            revoking_a_user_without_sessions_is_zero,
            a_user_can_log_in_again_after_a_revoke,
            revoking_a_user_twice_leaves_the_later_sessions_countable,
            revoking_a_user_leaves_other_apps_alone,
            every_revoke_is_in_the_change_log,
            an_evicted_session_is_in_the_change_log,
            a_touch_is_not_in_the_change_log,
            of_racing_revokes_one_ends_the_session,
            a_rotated_session_has_the_next_token,
            a_rotation_keeps_the_old_token_for_its_grace,
            rotating_the_same_token_again_within_the_grace_changes_nothing,
            rotating_without_grace_refuses_the_old_token_at_once,
            an_unknown_token_does_not_rotate,
            a_replaced_token_that_comes_back_late_ends_the_session,
            of_racing_rotations_of_one_token_the_session_has_one_successor,
            a_sweep_removes_what_has_ended_and_nothing_else,
            a_session_used_daily_outlives_many_sweeps,
            counts_are_right_after_revokes_and_sweeps,
        );
    };
}

pub(crate) const IDLE: Ttl = Ttl::seconds(60);
pub(crate) const ABSOLUTE: Ttl = Ttl::seconds(300);

pub(crate) fn app() -> App {
    App::default()
}

pub(crate) fn user(name: &str) -> Name {
    Name::new("user", name).unwrap()
}

pub(crate) fn hash(n: u8) -> TokenHash {
    TokenHash([n; 32])
}

pub(crate) fn fields(json: &str) -> Fields {
    Fields::from_json(json).unwrap()
}

/// A session of `alice` that ends after 60 seconds without use and after 300 in any case.
pub(crate) fn new() -> NewSession {
    NewSession {
        id: SessionId::generate(),
        token: hash(1),
        user: user("alice"),
        kind: Name::new("kind", "login").unwrap(),
        data: fields(r#"{"role":"admin"}"#),
        metadata: Fields::default(),
        device: Device::default(),
        idle: IDLE,
        absolute: ABSOLUTE,
        limit: None,
    }
}

pub(crate) fn limited(max: u32, on_max: OnMax) -> NewSession {
    NewSession { limit: Some(UserLimit { max, on_max }), ..new() }
}

pub(crate) fn once(key: &str, fingerprint: u8, salt: u8) -> Once {
    Once {
        scope: "sessions.create",
        key: key.into(),
        fingerprint: [fingerprint; 32],
        salt: [salt; 16],
        ttl: Ttl::seconds(600),
    }
}

pub(crate) async fn create(sessions: &dyn SessionDriver, new: &NewSession) -> SessionRecord {
    match sessions.create(&app(), new, None).await.unwrap() {
        Created::Session(effect) => match *effect {
            Effect::Done(session) => session,
            Effect::Replayed(..) => panic!("nothing to replay"),
        },
        Created::Full => panic!("the user has no limit"),
    }
}

pub(crate) async fn ids(sessions: &dyn SessionDriver, name: &str) -> Vec<SessionId> {
    let page = mainstay_core::PageRequest { cursor: None, limit: 1000 };
    sessions.list(&app(), &user(name), &page).await.unwrap().items.iter().map(|s| s.id).collect()
}

pub(crate) async fn active(sessions: &dyn SessionDriver) -> u64 {
    sessions.counts(&app()).await.unwrap().active_by_kind.iter().map(|(_, n)| n).sum()
}
