//! A namespace of an app, as one process knows it.

use std::sync::atomic::AtomicU64;

use mainstay_core::{App, Name, changes::Seq};

use super::counter::{Counter, HotCounter};

/// Handles and entries reach it by pointer.
#[derive(Debug)]
pub(crate) struct Space {
    /// Stands for app and name in the keys of the first level.
    pub(crate) id: u32,
    pub(crate) app: App,
    pub(crate) ns: Name,
    /// Values of the first level that were found valid before this position are not served.
    pub(crate) version: AtomicU64,
    pub(crate) counters: Counters,
}

impl Space {
    pub(crate) fn new(id: u32, app: App, ns: Name, version: Seq) -> Self {
        Self { id, app, ns, version: AtomicU64::new(version), counters: Counters::default() }
    }
}

/// What happened in a namespace since the process started.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) hits: HotCounter,
    pub(crate) misses: Counter,
    pub(crate) stale: Counter,
    pub(crate) loads: Counter,
    pub(crate) load_errors: Counter,
    pub(crate) fills: Counter,
    pub(crate) invalidations: Counter,
    pub(crate) stale_drops: Counter,
    pub(crate) undecodable: Counter,
    pub(crate) store_errors: Counter,
}
