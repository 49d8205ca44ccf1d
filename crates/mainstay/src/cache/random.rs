//! Random numbers for jitter, where nothing depends on their quality.

use std::{
    cell::Cell,
    hash::{BuildHasher, RandomState},
};

thread_local! {
    static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0_u8));
}

/// At least 0, less than 1.
pub(crate) fn unit() -> f64 {
    // SplitMix64.
    let bits = STATE.with(|state| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        let mut z = next;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    });
    // 53 bits are what a double holds.
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_over_the_unit() {
        let sum: f64 = (0..10_000).map(|_| unit()).inspect(|n| assert!((0.0..1.0).contains(n))).sum();
        assert!((4_700.0..5_300.0).contains(&sum), "{sum}");
    }
}
