//! One load per key at a time: whoever comes while it runs waits for its outcome.
//!
//! A flight is a cell that the first to come fills. If its task is cancelled or panics, the next
//! one waiting fills it, with its own loader. A write of the key overtakes its flights: who comes
//! after the write starts a new one, and what the old one loads is not kept.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use mainstay_core::{CacheKey, changes::Seq};
use tokio::sync::OnceCell;

use super::entry::{Absent, Entry, Meta};

/// What is in the cache, or came of a load.
pub(crate) enum Found<T> {
    Value(Arc<Entry<T>>),
    Absent(Arc<Entry<Absent>>),
}

impl<T> Found<T> {
    pub(crate) fn meta(&self) -> &Meta {
        match self {
            Self::Value(entry) => &entry.meta,
            Self::Absent(entry) => &entry.meta,
        }
    }

    pub(crate) fn is_value(&self) -> bool {
        matches!(self, Self::Value(_))
    }
}

impl<T> Clone for Found<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Value(entry) => Self::Value(Arc::clone(entry)),
            Self::Absent(entry) => Self::Absent(Arc::clone(entry)),
        }
    }
}

/// What came of a flight.
pub(crate) struct Landed<T, E> {
    pub(crate) outcome: Result<Found<T>, Arc<E>>,
    /// The position that had been applied before anything was read.
    pub(crate) as_of: Seq,
    pub(crate) was_loaded: bool,
}

/// A cell for the outcome, by its type.
pub(crate) type Cell<T, E> = OnceCell<Landed<T, E>>;

struct Flight {
    kind: TypeId,
    cell: Arc<dyn Any + Send + Sync>,
    overtaken: Arc<AtomicBool>,
}

type Key = (u32, CacheKey);

/// Every flight of the process. Most keys have at most one; callers of other types fly for
/// themselves.
#[derive(Default)]
pub(crate) struct Flights(Mutex<HashMap<Key, Vec<Flight>>>);

impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flights")
    }
}

impl Flights {
    /// A seat in the flight of the key to a cell of type `C`, which is a new one if there is none.
    pub(crate) fn join<C: Default + Send + Sync + 'static>(&self, space: u32, key: &CacheKey) -> Seat<'_, C> {
        let key = (space, key.clone());
        let kind = TypeId::of::<C>();
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_key = flights.entry(key.clone()).or_default();
        let known = of_key.iter().find(|flight| flight.kind == kind).and_then(|flight| {
            Some((Arc::clone(&flight.cell).downcast::<C>().ok()?, Arc::clone(&flight.overtaken)))
        });
        let (cell, overtaken) = known.unwrap_or_else(|| {
            let (cell, overtaken) = (Arc::new(C::default()), Arc::new(AtomicBool::new(false)));
            of_key.push(Flight { kind, cell: cell.clone(), overtaken: Arc::clone(&overtaken) });
            (cell, overtaken)
        });
        Seat { flights: self, key, cell, overtaken, has_landed: false }
    }

    /// Takes the flights of the key off the list: the key is about to be written.
    pub(crate) fn overtake(&self, space: u32, key: &CacheKey) {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if flights.is_empty() {
            return;
        }
        for flight in flights.remove(&(space, key.clone())).into_iter().flatten() {
            flight.overtaken.store(true, SeqCst);
        }
    }
}

/// A place among those who wait for a flight.
pub(crate) struct Seat<'a, C: Send + Sync + 'static> {
    flights: &'a Flights,
    key: Key,
    cell: Arc<C>,
    overtaken: Arc<AtomicBool>,
    has_landed: bool,
}

impl<C: Send + Sync + 'static> Seat<'_, C> {
    pub(crate) fn cell(&self) -> &Arc<C> {
        &self.cell
    }

    /// Set once the key has been written since the flight began.
    pub(crate) fn overtaken(&self) -> &AtomicBool {
        &self.overtaken
    }

    /// Tells that the cell is filled: the flight comes off the list.
    pub(crate) fn landed(&mut self) {
        self.has_landed = true;
    }
}

impl<C: Send + Sync + 'static> Drop for Seat<'_, C> {
    /// Whoever leaves a flight that has landed, or leaves it last, takes it off the list.
    fn drop(&mut self) {
        let mut flights = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(of_key) = flights.get_mut(&self.key) else { return };
        // Two know the flag of a flight that only we are in: the list and we.
        let is_over = self.has_landed || Arc::strong_count(&self.overtaken) <= 2;
        if is_over {
            of_key.retain(|flight| !Arc::ptr_eq(&flight.overtaken, &self.overtaken));
        }
        if of_key.is_empty() {
            flights.remove(&self.key);
        }
    }
}
