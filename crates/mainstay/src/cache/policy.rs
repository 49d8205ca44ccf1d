//! How long values live, and what else a namespace or a call decides.

use std::time::Duration;

use mainstay_core::{Error, Name, Result, Ttl, cache::VALUE_BYTES_MAX};

use super::random;

/// Which levels hold the values of a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheMode {
    /// The store, and decoded copies in the memory of this process.
    #[default]
    TwoLevels,
    /// The store only: for values that are large, or read once.
    StoreOnly,
}

/// What a namespace does where a call does not say otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct CachePolicy {
    /// A value is fresh for so long, 1 ms to 10 years. Default: 1 h.
    pub ttl: Duration,
    /// After that it may be served stale for so long, while it is loaded anew. Default: 0, never.
    pub grace: Duration,
    /// For how long "there is none" is remembered after a load. `None`, the default: 10 % of `ttl`,
    /// at most 60 s.
    pub negative_ttl: Option<Duration>,
    /// What was loaded lives up to this part longer or shorter, so that what was loaded together
    /// does not end together. 0 to 0.5; default 0.05. A `ttl` given to a put is kept as given.
    pub jitter: f64,
    /// Whether a reader may load a value anew shortly before it ends, the likelier the longer its
    /// load took. Default: true.
    pub early_refresh: bool,
    /// The most bytes of a value, at most 8 MiB. Default: 8 MiB.
    pub value_bytes_max: usize,
    /// Which levels hold the values. Default: both.
    pub mode: CacheMode,
}

impl Default for CachePolicy {
    fn default() -> Self {
        Self::with_ttl(Duration::from_secs(3600))
    }
}

/// The longest that "there is none" is remembered by default.
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(60);

impl CachePolicy {
    /// The default policy with another time to live.
    #[must_use]
    pub const fn with_ttl(ttl: Duration) -> Self {
        Self {
            ttl,
            grace: Duration::ZERO,
            negative_ttl: None,
            jitter: 0.05,
            early_refresh: true,
            value_bytes_max: VALUE_BYTES_MAX,
            mode: CacheMode::TwoLevels,
        }
    }

    /// Checks every bound.
    pub(crate) fn check(&self) -> Result<()> {
        Ttl::new("ttl", self.ttl)?;
        grace_ms(self.grace)?;
        if let Some(ttl) = self.negative_ttl {
            Ttl::new("negative_ttl", ttl)?;
        }
        if !(0.0..=0.5).contains(&self.jitter) {
            return Err(Error::invalid("jitter", "must be 0 to 0.5"));
        }
        if !(1..=VALUE_BYTES_MAX).contains(&self.value_bytes_max) {
            return Err(Error::invalid("value_bytes_max", format!("must be 1 to {VALUE_BYTES_MAX}")));
        }
        Ok(())
    }

    pub(crate) fn lifetime(&self, ttl: Option<Duration>, grace: Option<Duration>) -> Result<Lifetime> {
        Ok(Lifetime {
            fresh: Ttl::new("ttl", ttl.unwrap_or(self.ttl))?,
            grace_ms: grace_ms(grace.unwrap_or(self.grace))?,
        })
    }

    /// How long "there is none" is remembered, given for how long a value would have lived.
    pub(crate) fn negative(&self, ttl: Option<Duration>, fresh: Ttl) -> Result<Lifetime> {
        let ttl = ttl
            .or(self.negative_ttl)
            .unwrap_or_else(|| (fresh.duration() / 10).clamp(Duration::from_millis(1), NEGATIVE_TTL_MAX));
        Ok(Lifetime { fresh: Ttl::new("negative_ttl", ttl)?, grace_ms: 0 })
    }

    /// `ttl`, a random part longer or shorter.
    pub(crate) fn jittered(&self, ttl: Ttl) -> Ttl {
        let factor = 1.0 + self.jitter * (2.0 * random::unit() - 1.0);
        Ttl::clamped((ttl.as_millis() as f64 * factor).round() as u64)
    }

    pub(crate) fn check_size(&self, bytes: usize) -> Result<()> {
        if bytes <= self.value_bytes_max {
            return Ok(());
        }
        Err(Error::TooLarge {
            field: "value".into(),
            size_bytes: bytes as u64,
            limit_bytes: self.value_bytes_max as u64,
        })
    }
}

fn grace_ms(grace: Duration) -> Result<u64> {
    if grace.is_zero() { Ok(0) } else { Ttl::new("grace", grace).map(Ttl::as_millis) }
}

/// For how long one value lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetime {
    pub(crate) fresh: Ttl,
    pub(crate) grace_ms: u64,
}

/// How a value is put.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    /// It is fresh for exactly so long, 1 ms to 10 years. `None`: as the namespace's policy says.
    pub ttl: Option<Duration>,
    /// It may be served stale for so long after that. `None`: as the policy says.
    pub grace: Option<Duration>,
    /// What it can be invalidated by, at most 64.
    pub tags: Vec<Name>,
}

impl PutOptions {
    /// Fresh for `ttl`, the rest as the policy says.
    #[must_use]
    pub fn ttl(ttl: Duration) -> Self {
        Self { ttl: Some(ttl), ..Self::default() }
    }
}

/// How a value is loaded when it is not there.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// It is fresh for so long, give or take the policy's jitter. `None`: as the policy says.
    pub ttl: Option<Duration>,
    /// It may be served stale for so long after that, while it is loaded anew. `None`: as the
    /// policy says.
    pub grace: Option<Duration>,
    /// For how long "there is none" is remembered. `None`: as the policy says.
    pub negative_ttl: Option<Duration>,
    /// What it can be invalidated by, at most 64. An invalidation while the loader runs wins over
    /// what it loads.
    pub tags: Vec<Name>,
}

impl LoadOptions {
    /// With these tags, the rest as the policy says.
    ///
    /// # Errors
    /// As [`tags`].
    pub fn tagged<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        Ok(Self { tags: tags(names)?, ..Self::default() })
    }
}

/// Checks `names` as tags.
///
/// # Errors
/// `invalid` with the field `tags` when one of them is no identifier.
pub fn tags<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Vec<Name>> {
    names.into_iter().map(|name| Name::new("tags", name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_its_part() {
        let policy = CachePolicy::default();
        let ttl = Ttl::seconds(1000);
        let all: Vec<u64> = (0..1000).map(|_| policy.jittered(ttl).as_millis()).collect();
        assert!(all.iter().all(|ms| (950_000..=1_050_000).contains(ms)));
        assert!(all.iter().any(|ms| *ms < 990_000) && all.iter().any(|ms| *ms > 1_010_000));
    }

    #[test]
    fn none_is_remembered_for_a_tenth_and_at_most_a_minute() {
        let policy = CachePolicy::default();
        let of = |ttl| policy.negative(None, ttl).unwrap().fresh.as_millis();
        assert_eq!(of(Ttl::seconds(100)), 10_000);
        assert_eq!(of(Ttl::seconds(100_000)), 60_000);
        assert_eq!(of(Ttl::clamped(1)), 1);
    }

    #[test]
    fn a_policy_out_of_bounds_is_refused_by_the_name_of_its_field() {
        let field = |policy: CachePolicy| match policy.check() {
            Err(Error::Invalid { field, .. }) => field.into_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(field(CachePolicy { ttl: Duration::ZERO, ..CachePolicy::default() }), "ttl");
        assert_eq!(field(CachePolicy { jitter: 1.0, ..CachePolicy::default() }), "jitter");
        assert_eq!(field(CachePolicy { value_bytes_max: 0, ..CachePolicy::default() }), "value_bytes_max");
    }
}
