//! The batch that is being gathered, in figures.

use runlog_store::delivery::RecordKey;

use super::bounds::BatchBounds;

/// So many records that are not wanted are noted as a step of their own.
const LEFT_OUT_MAX: u64 = 100_000;

/// What was read since the last step.
#[derive(Default)]
pub(super) struct PendingBatch {
    /// Records that are passed on.
    pub(super) records: usize,
    /// Their size. Unit: bytes.
    pub(super) bytes: usize,
    /// Records that are not.
    pub(super) left_out: u64,
    /// Those of them that are too old for the sink.
    pub(super) too_old: u64,
    /// The last of all.
    pub(super) until: Option<RecordKey>,
}

impl PendingBatch {
    /// Counts a record that is passed on.
    pub(super) fn count(&mut self, bytes: usize) {
        self.records += 1;
        self.bytes += bytes;
    }

    /// Counts one that is not.
    pub(super) fn leave_out(&mut self, is_too_old: bool) {
        self.left_out += 1;
        self.too_old += u64::from(is_too_old);
    }

    /// True when it has reached the size that the settings allow.
    pub(super) fn is_full(&self, bounds: BatchBounds) -> bool {
        self.records >= bounds.records || self.bytes >= bounds.bytes
    }

    /// True when so many records were left out that a step is noted, so that they are not read again.
    pub(super) fn has_left_out_many(&self) -> bool {
        self.left_out >= LEFT_OUT_MAX
    }
}
