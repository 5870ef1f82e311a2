//! Words of closed lists: what is said of one that is not in its list.

/// A word that is none of those allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not one of {allowed}")]
pub struct WordError {
    found: String,
    allowed: &'static str,
}

impl WordError {
    pub(crate) fn new(found: &str, allowed: &'static str) -> Self {
        Self { found: found.chars().take(64).collect(), allowed }
    }
}
