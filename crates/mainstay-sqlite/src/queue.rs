//! A queue between tasks that ask and threads that answer.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

/// First in, first out, bounded; taken from in batches.
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    max: usize,
}

struct State<T> {
    waiting: VecDeque<T>,
    idle: usize,
    closed: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new(max: usize) -> Self {
        let state = State { waiting: VecDeque::new(), idle: 0, closed: false };
        Self { state: Mutex::new(state), filled: Condvar::new(), max }
    }

    /// Adds `item`, or gives it back when the queue is full or closed.
    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        let mut state = self.lock();
        if state.closed || state.waiting.len() >= self.max {
            return Err(item);
        }
        state.waiting.push_back(item);
        // A thread that is busy looks again before it sleeps, so only a sleeper needs the call.
        let wake = state.idle > 0;
        drop(state);
        if wake {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Waits for items and moves up to `max` of them to `batch`. `false`: closed and empty.
    pub(crate) fn take(&self, batch: &mut Vec<T>, max: usize) -> bool {
        let mut state = self.lock();
        while state.waiting.is_empty() {
            if state.closed {
                return false;
            }
            state.idle += 1;
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
        let n = state.waiting.len().min(max);
        batch.extend(state.waiting.drain(..n));
        true
    }

    /// Refuses new items; what is waiting is still handed out.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_queue_hands_out_what_it_holds_and_then_ends() {
        let queue = Queue::new(2);
        queue.push(1).unwrap();
        queue.push(2).unwrap();
        assert_eq!(queue.push(3), Err(3), "full");
        queue.close();
        assert_eq!(queue.push(4), Err(4), "closed");

        let mut batch = Vec::new();
        assert!(queue.take(&mut batch, 10));
        assert_eq!(batch, [1, 2]);
        assert!(!queue.take(&mut batch, 10));
    }
}
