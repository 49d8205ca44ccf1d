//! Behaviours of the cache.

mod invalidate;
mod number;
mod value;

pub use invalidate::*;
pub use number::*;
pub use value::*;

use mainstay_core::{
    App, CacheKey, Name, Ttl,
    cache::{CacheDriver, CacheEntry, CacheItem, PutWhen},
    changes::{Change, Invalidation, LoggedChange, Seq},
};

/// Lists the behaviours of this noun.
#[macro_export]
macro_rules! cache {
    ($harness:ty) => {
        $crate::behaviours!($harness, cache:
            // value
            a_value_reads_back_as_it_was_put,
            an_unknown_key_is_nothing,
            a_value_of_another_app_is_nothing,
            a_value_of_another_namespace_is_nothing,
            values_are_answered_in_the_order_asked_for,
            arbitrary_bytes_read_back,
            an_empty_value_differs_from_a_known_absence,
            the_largest_value_reads_back,
            the_longest_key_reads_back,
            keys_are_told_apart_byte_by_byte,
            the_most_tags_read_back,
            a_value_is_replaced_whole,
            a_value_ends_after_its_time_and_grace,
            a_put_starts_the_time_anew,
            a_put_of_several_items_stores_each,
            a_put_if_absent_is_refused_where_a_value_is,
            a_put_if_absent_takes_the_place_of_what_has_ended,
            a_put_if_absent_takes_the_place_of_what_was_invalidated,
            a_put_if_absent_takes_the_place_of_a_known_absence,
            a_put_if_present_is_refused_where_no_value_is,
            a_put_if_present_is_refused_where_the_value_was_invalidated,
            a_put_if_present_replaces_a_value,
            of_racing_puts_if_absent_one_is_stored,
            racing_puts_leave_one_of_their_values_whole,
            a_touch_gives_a_new_time_and_keeps_the_grace,
            a_touch_of_nothing_is_refused,
            usage_counts_entries_and_bytes_exactly,
            usage_is_of_one_app,
            a_sweep_removes_what_has_ended,
            a_dropped_put_leaves_the_store_consistent,
            // number
            a_new_number_starts_at_its_delta,
            a_number_is_added_to,
            a_number_keeps_its_end_when_it_is_added_to,
            a_number_that_was_put_is_added_to,
            a_value_that_is_no_number_is_left_alone,
            a_sum_that_does_not_fit_is_refused,
            an_invalidated_number_starts_anew,
            racing_additions_all_count,
            // invalidate
            a_deleted_key_is_gone,
            a_tag_takes_all_its_values_in_every_namespace,
            a_tag_of_another_app_takes_nothing,
            a_prefix_takes_the_keys_that_begin_so,
            a_prefix_of_another_namespace_takes_nothing,
            special_characters_of_a_prefix_mean_themselves,
            many_prefixes_at_once_are_all_kept,
            a_namespace_is_cleared_whole,
            a_cleared_namespace_is_swept,
            a_cleared_prefix_is_swept_and_nothing_else,
            a_value_of_a_later_position_outlives_an_older_invalidation,
            a_load_that_began_before_a_deletion_is_refused,
            a_load_that_began_before_an_invalidation_is_never_served,
            a_load_that_began_after_a_deletion_is_stored,
            what_a_caller_states_is_stored_whatever_was_deleted,
            applying_twice_or_late_does_no_harm,
            the_position_applied_is_remembered,
            a_reset_drops_everything,
            a_load_that_began_before_a_reset_is_never_served,
            changes_of_other_nouns_only_move_the_position,
            of_a_racing_load_and_deletion_the_deletion_wins,
        );
    };
}

pub(crate) fn app() -> App {
    App::new("shop").unwrap()
}

pub(crate) fn name(text: &str) -> Name {
    Name::new("name", text).unwrap()
}

pub(crate) fn ns() -> Name {
    name("users")
}

pub(crate) fn key(text: &str) -> CacheKey {
    CacheKey::new(text).unwrap()
}

/// A value for ten seconds, without tags or grace, stated at position 0.
pub(crate) fn item(at: &str, value: &str) -> CacheItem {
    CacheItem {
        key: key(at),
        value: Some(value.to_owned().into()),
        content_type: "text/plain".into(),
        tags: Vec::new(),
        as_of: 0,
        guarded: false,
        fresh: Ttl::seconds(10),
        grace_ms: 0,
        load_ms: 0,
    }
}

pub(crate) fn tagged(at: &str, value: &str, tags: &[&str]) -> CacheItem {
    CacheItem { tags: tags.iter().map(|tag| name(tag)).collect(), ..item(at, value) }
}

/// What a loader read that began at `as_of`.
pub(crate) fn loaded(at: &str, value: &str, as_of: Seq) -> CacheItem {
    CacheItem { guarded: true, as_of, ..item(at, value) }
}

pub(crate) async fn put(cache: &dyn CacheDriver, item: CacheItem) -> bool {
    put_when(cache, item, PutWhen::Always).await
}

pub(crate) async fn put_when(cache: &dyn CacheDriver, item: CacheItem, when: PutWhen) -> bool {
    cache.put(&app(), &ns(), &[item], when).await.unwrap()[0]
}

pub(crate) async fn get(cache: &dyn CacheDriver, at: &str) -> Option<CacheEntry> {
    cache.get(&app(), &ns(), &[key(at)]).await.unwrap().remove(0)
}

/// The value under a key as text; `None` when there is none.
pub(crate) async fn text(cache: &dyn CacheDriver, at: &str) -> Option<String> {
    let value = get(cache, at).await?.value?;
    Some(String::from_utf8(value.to_vec()).unwrap())
}

pub(crate) async fn apply(cache: &dyn CacheDriver, seq: Seq, what: Invalidation) {
    cache.apply(&[logged(seq, what)]).await.unwrap();
}

pub(crate) fn logged(seq: Seq, what: Invalidation) -> LoggedChange {
    LoggedChange { seq, change: Change::Cache(app(), what) }
}
