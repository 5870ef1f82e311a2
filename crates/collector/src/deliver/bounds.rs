//! How large a batch or file is at most.

/// How large a batch or file is at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchBounds {
    /// Unit: records.
    pub records: usize,
    /// Unit: bytes, before compression. A record that is larger goes by itself.
    pub bytes: usize,
}
