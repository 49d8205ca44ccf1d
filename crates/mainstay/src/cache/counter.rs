//! Numbers that only grow.

use std::{
    array,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Adding to it orders nothing else.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Threads that have a number of their own; those beyond share one.
const THREADS: usize = 64;
/// Numbers in a cache line.
const LINE: usize = 8;

/// A counter that many threads add to all the time: each has a number of its own, so that adding
/// locks nothing and takes no cache line from another core. The sum is exact.
#[derive(Debug)]
pub(crate) struct HotCounter {
    of_thread: [AtomicU64; THREADS],
    shared: Counter,
}

impl Default for HotCounter {
    fn default() -> Self {
        Self { of_thread: array::from_fn(|_| AtomicU64::new(0)), shared: Counter::default() }
    }
}

impl HotCounter {
    #[inline]
    pub(crate) fn add_one(&self) {
        let own = PLACE.try_with(|place| place.0).ok().and_then(|place| self.of_thread.get(place));
        match own {
            // No other thread writes it.
            Some(own) => own.store(own.load(Relaxed) + 1, Relaxed),
            None => self.shared.add(1),
        }
    }

    pub(crate) fn get(&self) -> u64 {
        self.of_thread.iter().map(|own| own.load(Relaxed)).sum::<u64>() + self.shared.get()
    }
}

/// Places of threads that have ended, and the number of places given out.
static FREE: Mutex<(Vec<usize>, usize)> = Mutex::new((Vec::new(), 0));

thread_local! {
    static PLACE: Place = Place::take();
}

/// A thread's place, given back when it ends.
struct Place(usize);

impl Place {
    fn take() -> Self {
        let mut free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = free.0.pop() {
            return Self(place);
        }
        let nth = free.1;
        if nth >= THREADS {
            return Self(usize::MAX);
        }
        free.1 += 1;
        // Neighbours in time are not neighbours in a cache line.
        Self(nth % LINE * LINE + nth / LINE)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.0 < THREADS {
            FREE.lock().unwrap_or_else(PoisonError::into_inner).0.push(self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_exact_whatever_the_number_of_threads() {
        let counter = HotCounter::default();
        // More than have a place, and more than once, so that places are given on.
        for _ in 0..3 {
            std::thread::scope(|scope| {
                for _ in 0..2 * THREADS {
                    scope.spawn(|| (0..1000).for_each(|_| counter.add_one()));
                }
            });
        }
        assert_eq!(counter.get(), 3 * 2 * THREADS as u64 * 1000);
    }
}
