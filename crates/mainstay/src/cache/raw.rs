//! Bytes as they are, with their content type: what HTTP puts and gets.

use bytes::Bytes;
#[cfg(feature = "axum")]
use mainstay_core::{CacheKey, Name, changes::Seq, time::monotonic_ms};
use mainstay_core::{
    Error, Result,
    cache::{CacheItem, PutWhen},
};

use super::{Cache, Cached, PutOptions};
#[cfg(feature = "axum")]
use super::{Shared, flight::Seat};

/// The most bytes of a content type.
const CONTENT_TYPE_BYTES_MAX: usize = 255;

/// Bytes and what kind they are. What was put typed is `application/json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// The value.
    pub bytes: Bytes,
    /// A MIME type, at most 255 visible ASCII characters and spaces.
    pub content_type: String,
}

#[expect(clippy::unnecessary_wraps, reason = "a decoder; this one cannot fail")]
fn decode(content_type: &str, bytes: &Bytes) -> Option<Raw> {
    Some(Raw { bytes: bytes.clone(), content_type: content_type.to_owned() })
}

impl Cache {
    /// The bytes under `key`; `None` when there are none. Costs as [`Cache::get`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # use mainstay::cache::raw::Raw;
    /// # let pages = mainstay.cache("pages")?;
    /// # let page = Raw { bytes: "<p>".into(), content_type: "text/html".into() };
    /// # pages.put_raw("/", page, PutOptions::default(), PutWhen::Always).await?;
    /// let page = pages.get_raw("/").await?.expect("it was just put");
    /// assert_eq!((&page.bytes[..], &page.content_type[..]), (&b"<p>"[..], "text/html"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Cache::get`].
    pub async fn get_raw(&self, key: &str) -> Result<Option<Cached<Raw>>> {
        let now = self.now();
        if let Some(entry) = self.hit(key, now) {
            return Ok(Some(Cached::new(entry, now)));
        }
        Ok(match self.miss(key, decode).await? {
            Some((super::Found::Value(entry), now)) => Some(Cached::new(entry, now)),
            _ => None,
        })
    }

    /// As [`Cache::get_many`], of bytes.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// let found = mainstay.cache("pages")?.get_raw_many(&["/", "/about"]).await?;
    /// assert!(found[0].is_none() && found[1].is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Cache::get_many`].
    pub async fn get_raw_many(&self, keys: &[&str]) -> Result<Vec<Option<Cached<Raw>>>> {
        self.look_many(keys, decode).await
    }

    /// Stores bytes under `key`; `false` when `when` did not hold, and nothing was changed. Costs
    /// one write of the store.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # use mainstay::cache::raw::Raw;
    /// let page = Raw { bytes: "<p>".into(), content_type: "text/html".into() };
    /// let pages = mainstay.cache("pages")?;
    /// assert!(pages.put_raw("/", page, PutOptions::default(), PutWhen::Absent).await?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Cache::put`]; `invalid` with the field `content_type` when that is out of bounds.
    pub async fn put_raw(&self, key: &str, value: Raw, options: PutOptions, when: PutWhen) -> Result<bool> {
        let item = self.raw_item(key, value, options)?;
        Ok(self.store(vec![item], when).await? == 1)
    }

    /// Stores several, 500 in one write of the store; each whole or not at all.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> mainstay::Result<()> {
    /// # use std::time::Duration;
    /// # use mainstay::{*, cache::*};
    /// # let mainstay = Mainstay::embedded(":memory:").await?;
    /// # use mainstay::cache::raw::Raw;
    /// let page = Raw { bytes: "<p>".into(), content_type: "text/html".into() };
    /// mainstay.cache("pages")?.put_raw_many(vec![("/".into(), page, PutOptions::default())]).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Cache::put_raw`]; when an argument is out of bounds nothing was stored.
    pub async fn put_raw_many(&self, values: Vec<(String, Raw, PutOptions)>) -> Result<()> {
        let items: Result<Vec<CacheItem>> =
            values.into_iter().map(|(key, value, options)| self.raw_item(&key, value, options)).collect();
        self.store(items?, PutWhen::Always).await.map(drop)
    }

    fn raw_item(&self, key: &str, value: Raw, options: PutOptions) -> Result<CacheItem> {
        let fits = (1..=CONTENT_TYPE_BYTES_MAX).contains(&value.content_type.len());
        if !fits || !value.content_type.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            return Err(Error::invalid("content_type", "must be 1 to 255 visible ASCII characters"));
        }
        self.item(key, Some(value.bytes), &value.content_type, options)
    }
}

/// Bytes that are being made, as a loader would: what is written or invalidated meanwhile wins.
#[cfg(feature = "axum")]
pub(crate) struct Making<'a> {
    cache: &'a Cache,
    key: CacheKey,
    seat: Seat<'a, Made>,
    as_of: Seq,
    begun_ms: u64,
}

/// Those who make the bytes of one key share a flight only to be overtaken together.
#[cfg(feature = "axum")]
#[derive(Default)]
struct Made;

#[cfg(feature = "axum")]
impl Cache {
    /// To be called before the bytes are made.
    pub(crate) fn begin_making(&self, key: &str) -> Result<Making<'_>> {
        let Shared { core, space, .. } = &*self.shared;
        let key = CacheKey::new(key)?;
        let seat = core.flights.join(space.id, &key);
        Ok(Making { cache: self, key, seat, as_of: self.tail().applied(), begun_ms: monotonic_ms() })
    }

    /// Runs `work`, which tells whether it succeeded, beside the requests, unless a refresh of the
    /// key is under way or failed a moment ago.
    pub(crate) fn refresh_beside(&self, key: &str, work: impl Future<Output = bool> + Send + 'static) {
        if let Ok(key) = CacheKey::new(key) {
            self.refresh_with(&key, self.shared.core.clock.coarse(), work);
        }
    }
}

#[cfg(feature = "axum")]
impl Making<'_> {
    /// Keeps the bytes; a store that fails is counted and left out.
    pub(crate) async fn keep(self, value: Raw, tags: Vec<Name>) -> Result<()> {
        let load_ms = monotonic_ms().saturating_sub(self.begun_ms);
        let item =
            self.cache.raw_item(self.key.as_str(), value, PutOptions { tags, ..PutOptions::default() })?;
        let item = CacheItem { as_of: self.as_of, guarded: true, load_ms, ..item };
        self.cache.store_loaded(item, &self.seat, None).await;
        Ok(())
    }
}
