//! Instants, durations and the clock. The only file that reads a clock.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, Result};

/// An instant: milliseconds since 1970-01-01 UTC. Written as RFC 3339 with milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The instant `ms` milliseconds after 1970-01-01 UTC.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This instant moved into the future, saturating.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this instant is; zero when it is not after.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Parses RFC 3339, as in `2026-11-20T08:00:00.000Z`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for `field` when `text` is not RFC 3339.
    pub fn parse(field: &'static str, text: &str) -> Result<Self> {
        text.parse::<jiff::Timestamp>()
            .map(|at| Self(at.as_millisecond()))
            .map_err(|_| Error::invalid(field, "must be an RFC 3339 time, as in 2026-11-20T08:00:00.000Z"))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => {
                f.write_str(if self.0 < 0 { "-9999-01-01T00:00:00.000Z" } else { "9999-12-31T23:59:59.999Z" })
            }
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse("time", &text).map_err(|_| serde::de::Error::custom("must be an RFC 3339 time"))
    }
}

/// The longest duration that any setting accepts: ten years of 365 days.
pub const TTL_MS_MAX: u64 = 10 * 365 * 24 * 60 * 60 * 1000;

/// How long something lives: whole milliseconds, 1 ms to 10 years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ttl(u64);

impl Ttl {
    /// Checks `ms`; `field` is what an error calls it.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `ms` is 0 or more than ten years.
    pub fn from_millis(field: &'static str, ms: u64) -> Result<Self> {
        if (1..=TTL_MS_MAX).contains(&ms) {
            Ok(Self(ms))
        } else {
            Err(Error::invalid(field, format!("must be 1 to {TTL_MS_MAX} milliseconds")))
        }
    }

    /// Checks `duration`, rounded down to milliseconds.
    ///
    /// # Errors
    /// As [`Ttl::from_millis`].
    pub fn new(field: &'static str, duration: Duration) -> Result<Self> {
        Self::from_millis(field, u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    /// A number of seconds known to be in bounds; out of bounds it is clamped.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self::clamped(seconds.saturating_mul(1000))
    }

    /// A number of milliseconds, clamped to 1 ms to 10 years.
    #[must_use]
    pub const fn clamped(ms: u64) -> Self {
        Self(if ms == 0 {
            1
        } else if ms > TTL_MS_MAX {
            TTL_MS_MAX
        } else {
            ms
        })
    }

    /// Whole milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// As a [`Duration`].
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

/// Where the time comes from: the system, or a hand that tests turn.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The system's wall clock.
    #[must_use]
    pub const fn system() -> Self {
        Self(None)
    }

    /// A clock that stands at `at` until [`Clock::advance`].
    #[must_use]
    pub fn fixed(at: Timestamp) -> Self {
        Self(Some(Arc::new(AtomicI64::new(at.0))))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Some(fixed) => Timestamp(fixed.load(Ordering::SeqCst)),
            None => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
            }
        }
    }

    /// The time as of the kernel's last tick: up to 10 ms old, at a third of the cost.
    #[must_use]
    pub fn coarse(&self) -> Timestamp {
        #[cfg(target_os = "linux")]
        if self.0.is_none() {
            let t = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
            return Timestamp(t.tv_sec * 1000 + t.tv_nsec / 1_000_000);
        }
        self.now()
    }

    /// Moves a fixed clock forward, for every clone of it. The system clock is left alone.
    pub fn advance(&self, by: Duration) {
        if let Some(fixed) = &self.0 {
            fixed.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }
}

/// Milliseconds of a clock that never goes back and is set by nobody, counted from an unknown
/// start; as of the kernel's last tick. For measuring how long ago something was.
#[must_use]
pub fn monotonic_ms() -> u64 {
    #[cfg(target_os = "linux")]
    {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
        u64::try_from(t.tv_sec * 1000 + t.tv_nsec / 1_000_000).unwrap_or(0)
    }
    #[cfg(not(target_os = "linux"))]
    {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        let start = START.get_or_init(std::time::Instant::now);
        u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_written_as_rfc_3339_with_milliseconds() {
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Timestamp(1_795_000_000_120).to_string(), "2026-11-18T11:06:40.120Z");
    }

    #[test]
    fn a_timestamp_reads_back_what_it_wrote() {
        let at = Timestamp(1_795_000_000_120);
        assert_eq!(Timestamp::parse("at", &at.to_string()).unwrap(), at);
    }

    #[test]
    fn the_ends_of_time_do_not_panic() {
        assert!(Timestamp(i64::MAX).to_string().starts_with("9999"));
        assert!(Timestamp(i64::MIN).to_string().starts_with("-9999"));
        assert_eq!(Timestamp(i64::MAX).plus(Duration::MAX), Timestamp(i64::MAX));
    }

    #[test]
    fn a_ttl_of_zero_or_of_centuries_is_refused() {
        assert!(Ttl::from_millis("ttl_ms", 0).is_err());
        assert!(Ttl::from_millis("ttl_ms", TTL_MS_MAX + 1).is_err());
        assert!(Ttl::from_millis("ttl_ms", 1).is_ok());
        assert!(Ttl::from_millis("ttl_ms", TTL_MS_MAX).is_ok());
    }
}
