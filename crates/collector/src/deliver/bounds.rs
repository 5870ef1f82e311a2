//! Limits of a batch or file.

/// The limits of a batch or file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchBounds {
    /// Unit: records.
    pub records: usize,
    /// Unit: bytes, before compression. A larger record is sent on its own.
    pub bytes: usize,
}
