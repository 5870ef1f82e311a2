//! Values of closed lists, and the error for a value that is not in its list.

/// A value that is not allowed.
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
