//! Pages of a list.

use crate::{Error, Result};

/// How many items a list gives when it is not told.
pub const PAGE_LIMIT_DEFAULT: u32 = 20;
/// The most items a list gives at once.
pub const PAGE_LIMIT_MAX: u32 = 1000;

/// Which part of a list is wanted.
#[derive(Clone, Debug)]
pub struct PageRequest {
    /// The `next` of the page before; `None` starts at the beginning.
    pub cursor: Option<String>,
    /// The most items wanted, 1 to 1,000.
    pub limit: u32,
}

impl Default for PageRequest {
    fn default() -> Self {
        Self { cursor: None, limit: PAGE_LIMIT_DEFAULT }
    }
}

impl PageRequest {
    /// Refuses a limit that no list gives.
    ///
    /// # Errors
    /// [`Error::Invalid`] for `limit`.
    pub fn check(&self) -> Result<()> {
        if (1..=PAGE_LIMIT_MAX).contains(&self.limit) {
            Ok(())
        } else {
            Err(Error::invalid("limit", format!("must be 1 to {PAGE_LIMIT_MAX}")))
        }
    }
}

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// In the order that the list states.
    pub items: Vec<T>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// The same page with every item turned into something else.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(f).collect(), next: self.next }
    }
}
