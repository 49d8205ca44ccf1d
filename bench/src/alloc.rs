//! Counting allocations.

/// How many times `body` allocates on this thread. Allocations of other threads do not count, so
/// futures have to be polled here: `count(|| runtime.block_on(...))` on a current-thread runtime.
#[must_use]
pub(crate) fn count(body: impl FnOnce()) -> u64 {
    allocation_counter::measure(body).count_total
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_box_is_one_allocation_and_a_number_is_none() {
        assert_eq!(super::count(|| drop(std::hint::black_box(Box::new(1)))), 1);
        assert_eq!(super::count(|| assert_eq!(std::hint::black_box(1), 1)), 0);
    }
}
