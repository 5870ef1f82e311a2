//! Bugs that are planted on purpose, one at a time, to prove that the tests catch bugs of their kind. They are planted
//! in the store, the client, the collector and the service.
//!
//! Without the feature `planted-bugs`, which no other feature enables, [`is`] is always false and the compiler removes
//! what depends on it. With it, the environment variable `RUNLOG_PLANTED_BUG` names the bug. `tests/planted/bugs.tsv`
//! describes each bug and says which tests catch it; `tests/planted/run` proves it.

/// True when this bug is planted.
#[inline]
pub fn is(bug: &str) -> bool {
    #[cfg(feature = "planted-bugs")]
    return planted() == bug;
    #[cfg(not(feature = "planted-bugs"))]
    {
        let _ = bug;
        false
    }
}

/// The bug that is planted; empty when none is.
#[cfg(feature = "planted-bugs")]
#[allow(clippy::disallowed_methods, reason = "tests set it, and nobody hands it through the program")]
fn planted() -> &'static str {
    static PLANTED: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    PLANTED.get_or_init(|| std::env::var("RUNLOG_PLANTED_BUG").unwrap_or_default())
}
