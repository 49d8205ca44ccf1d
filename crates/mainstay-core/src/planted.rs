//! Bugs that are planted on purpose, to prove that the fault rig sees them.
//!
//! Without the cargo feature `planted-bugs` every question here is answered `false` at compile
//! time. The feature is only for `cargo xtask torture`.

/// Whether the bug called `name` is wanted in this run.
#[cfg(feature = "planted-bugs")]
#[must_use]
pub fn planted(name: &str) -> bool {
    static BUG: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    BUG.get_or_init(|| std::env::var("MAINSTAY_PLANTED_BUG").ok()).as_deref() == Some(name)
}

/// Whether the bug called `name` is wanted in this run: never.
#[cfg(not(feature = "planted-bugs"))]
#[inline]
#[must_use]
pub const fn planted(_name: &str) -> bool {
    false
}
