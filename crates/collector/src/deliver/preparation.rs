//! Selects, redacts and encodes the records of a delivery, on background threads: this takes most of the processor time
//! of a delivery, and requests of clients come first.

use std::sync::Arc;

use runlog_model::Timestamp;
use runlog_store::BackgroundThreads;
use runlog_store::delivery::{ClaimedDelivery, KeyedRecord, RecordKey};

use super::config::SinkConfig;
use super::error::{DeliveryError, Result};
use super::sinks::sink::Item;

/// Most records that are prepared together.
pub(super) const PREPARED_TOGETHER: usize = 1_000;

/// Converts a redacted record to the form in which it is passed on.
pub(super) type Encode<T> = Arc<dyn Fn(Item) -> T + Send + Sync>;

/// Prepares the records of a run for a sink.
pub(super) struct Preparation {
    sink: Arc<SinkConfig>,
    id_prefix: String,
    spread: u32,
}

/// A record that was read.
pub(super) struct Prepared<T> {
    pub(super) position: RecordKey,
    pub(super) selected: Selected<T>,
}

/// The outcome of selecting a record.
pub(super) enum Selected<T> {
    /// The record is passed on in this form.
    Wanted(T),
    /// The filter of the sink leaves it out.
    FilteredOut,
    /// The sink does not accept records of its age.
    TooOld,
}

impl Preparation {
    /// For the records of a claimed run.
    pub(super) fn new(sink: &Arc<SinkConfig>, claimed: &ClaimedDelivery) -> Arc<Self> {
        let id_prefix = epoch_id(claimed);
        let spread = spread(&id_prefix);
        Arc::new(Self { sink: Arc::clone(sink), id_prefix, spread })
    }

    /// Prepares records in their order. Those before `oldest` are too old. Fails if the process is stopping.
    pub(super) async fn prepare<T: Send + 'static>(
        self: &Arc<Self>,
        threads: &BackgroundThreads,
        records: Vec<KeyedRecord>,
        oldest: Option<Timestamp>,
        encode: &Encode<T>,
    ) -> Result<Vec<Prepared<T>>> {
        let (preparation, encode) = (Arc::clone(self), Arc::clone(encode));
        let prepare = move || records.into_iter().map(|record| preparation.prepared(record, oldest, &encode)).collect();
        threads.run(prepare).await.ok_or(DeliveryError::Stopped)
    }

    fn prepared<T>(&self, record: KeyedRecord, oldest: Option<Timestamp>, encode: &Encode<T>) -> Prepared<T> {
        let position = record.key;
        let selected = if !self.sink.filter.wants_record(&record.record) {
            Selected::FilteredOut
        } else if oldest.is_some_and(|oldest| position.time < oldest) {
            Selected::TooOld
        } else {
            Selected::Wanted(encode(self.item(record)))
        };
        Prepared { position, selected }
    }

    /// A redacted record with its permanent ID.
    fn item(&self, record: KeyedRecord) -> Item {
        let KeyedRecord { key: position, mut record } = record;
        self.sink.redactor.record(&mut record);
        Item { id: format!("{}-{}", self.id_prefix, position.arrival), spread: self.spread, position, record }
    }
}

/// The prefix of the IDs of the records of a run. It changes when the log is deleted.
pub(super) fn epoch_id(claimed: &ClaimedDelivery) -> String {
    match claimed.epoch {
        0 => claimed.run.id.to_string(),
        epoch => format!("{}.{epoch}", claimed.run.id),
    }
}

/// A number that differs from run to run.
fn spread(id: &str) -> u32 {
    id.bytes().fold(2_166_136_261, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619))
}
