//! Counts of the batch that is being collected.

use runlog_store::delivery::RecordKey;

use super::bounds::BatchBounds;

/// After this number of filtered-out records, a step is recorded for them alone.
const LEFT_OUT_MAX: u64 = 100_000;

/// The records read since the last step.
#[derive(Default)]
pub(super) struct PendingBatch {
    /// Number of selected records.
    pub(super) records: usize,
    /// Their size. Unit: bytes.
    pub(super) bytes: usize,
    /// Number of filtered-out records.
    pub(super) left_out: u64,
    /// Number of them that are too old for the sink.
    pub(super) too_old: u64,
    /// The position of the last record.
    pub(super) until: Option<RecordKey>,
}

impl PendingBatch {
    /// Counts a selected record.
    pub(super) fn count(&mut self, bytes: usize) {
        self.records += 1;
        self.bytes += bytes;
    }

    /// Counts a filtered-out record.
    pub(super) fn leave_out(&mut self, is_too_old: bool) {
        self.left_out += 1;
        self.too_old += u64::from(is_too_old);
    }

    /// True if the batch has reached its maximum size.
    pub(super) fn is_full(&self, bounds: BatchBounds) -> bool {
        self.records >= bounds.records || self.bytes >= bounds.bytes
    }

    /// True if so many records were filtered out that a step is recorded, so that they are not read again.
    pub(super) fn has_left_out_many(&self) -> bool {
        self.left_out >= LEFT_OUT_MAX
    }
}
