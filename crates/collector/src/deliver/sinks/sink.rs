//! What a sink is: somewhere that takes records of runs, in batches, and says of each what became of it.
//!
//! A sink only translates, sends, and reads the answer. Batching, waiting, trying again, splitting and taking note are
//! the business of [`crate::deliver::deliverer`].

use std::pin::Pin;
use std::time::Duration;

use runlog_model::{Record, Run, Timestamp, millis};
use runlog_store::delivery::RecordKey;

use crate::deliver::bounds::BatchBounds;

/// What stands around a record, and around a head with its records, at most. Unit: bytes.
const RECORD_BYTES: usize = 12;
const HEAD_BYTES: usize = 32;

/// What a sink does, as a future in a box.
pub type SinkFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, SendError>> + Send + 'a>>;

/// Somewhere that takes records in batches.
pub trait Sink: Send + Sync {
    /// What it is, such as `loki`.
    fn kind(&self) -> &'static str;

    /// Where it is, without secrets.
    fn place(&self) -> String;

    /// Tries whether it is there and lets the caller in.
    fn check(&self) -> SinkFuture<'_, ()>;

    /// A record as it is sent. Its size is what counts for batches.
    fn encode(&self, run: &RunContext, item: &Item) -> Encoded;

    /// Sends a batch once. What became of its records.
    fn send<'a>(&'a self, batch: Batch<'a>) -> SinkFuture<'a, SinkResponse>;

    /// The largest request that it accepts: larger batches are split before they are sent.
    fn batch_max(&self) -> BatchBounds {
        BatchBounds { records: usize::MAX, bytes: usize::MAX }
    }

    /// Records from before then are not taken there; none when age does not matter.
    fn oldest_taken(&self, _now: Timestamp) -> Option<Timestamp> {
        None
    }
}

/// Records of one run.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The run.
    pub run: &'a RunContext,
    /// The records, in order of time.
    pub records: &'a [Encoded],
}

/// A record as it is sent.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// Where it stands in its run.
    pub place: RecordKey,
    /// What records may have in common, and is then sent once, such as labels.
    pub head: Vec<u8>,
    /// The record itself.
    pub body: Vec<u8>,
}

/// What is said of a run beside each of its records.
#[derive(Debug, Clone)]
pub struct RunContext {
    /// The run.
    pub run: Run,
    /// The name of its task.
    pub task: String,
    /// The name of its workspace.
    pub workspace: String,
    /// The name of its environment.
    pub environment: String,
}

/// A record on its way, as it may be seen there.
#[derive(Debug, Clone)]
pub struct Item {
    /// The same whenever it is sent, and no other record's.
    pub id: String,
    /// Where it stands in its run.
    pub place: RecordKey,
    /// Where the records of its run begin below the millisecond, so that runs that log the same at the same time differ.
    pub spread: u32,
    /// The record.
    pub record: Record,
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordOutcome {
    /// It is there, now or already.
    Taken,
    /// It was not taken because of a record beside it: it is sent again, at once.
    RetryNow,
    /// It was not taken, and may be when it is sent again after a while.
    RetryLater(String),
    /// It is refused for good.
    Refused(String),
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkResponse {
    /// What became of each record, in their order.
    Each(Vec<RecordOutcome>),
    /// All were taken but so many, and it is not said which.
    AllBut {
        /// How many were refused, at least one and fewer than there are.
        records: usize,
        /// Why.
        reason: String,
    },
}

/// Why nothing can be said of the single records of a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It is away, busy, or limits requests: the same batch is sent again, then.
    #[error("{problem}")]
    Away {
        /// What happened.
        problem: String,
        /// How long it asks to be left alone.
        after: Option<Duration>,
    },
    /// No answer came, though it was there: the connection broke, or the time ran out. The same batch is sent again, and
    /// a smaller one when that does not help.
    #[error("{0}")]
    NoAnswer(String),
    /// It does not let the caller in, or is not what the settings say: somebody has to look.
    #[error("{0}")]
    Denied(String),
    /// The batch is too large: it is sent in parts.
    #[error("it is too large: {0}")]
    TooLarge(String),
    /// Something in the batch is refused for good, and it is not said what: it is sent in parts.
    #[error("{0}")]
    Refused(String),
}

impl Item {
    /// A time with nanoseconds that is the same whenever it is sent, and tells records of one millisecond apart, in the
    /// order of their arrival, and those of one run from those of another. Never a whole millisecond. Unit: nanoseconds
    /// since 1970.
    pub fn time_nanos(&self) -> i64 {
        let below = ((self.place.arrival + u64::from(self.spread)) % 999_999 + 1) as i64;
        self.record.time.as_millis().saturating_mul(1_000_000).saturating_add(below)
    }

    /// The bytes of its texts and further fields. Unit: bytes.
    pub fn text_bytes(&self) -> usize {
        let Record { message, extra, .. } = &self.record;
        let mut counted = Counted(0);
        if let Some(extra) = extra {
            // Counting does not fail.
            let _ = serde_json::to_writer(&mut counted, extra);
        }
        counted.0 + message.as_ref().map_or(0, String::len)
    }
}

impl Encoded {
    /// How many bytes it takes on the way, before compression, after another one with this head.
    pub fn bytes(&self, head_before: Option<&[u8]>) -> usize {
        let head = if head_before == Some(&self.head) { 0 } else { self.head.len() + HEAD_BYTES };
        self.body.len() + head + RECORD_BYTES
    }
}

impl SinkResponse {
    /// All of so many were taken.
    pub fn all_taken(records: usize) -> Self {
        Self::Each(vec![RecordOutcome::Taken; records])
    }
}

/// The time so long before another.
pub(crate) fn time_before(time: Timestamp, age: Duration) -> Timestamp {
    time.plus_millis(-millis(age))
}

/// Bodies that are JSON each, as one array.
pub(crate) fn json_array(records: &[Encoded]) -> Vec<u8> {
    let bodies: Vec<&[u8]> = records.iter().map(|record| record.body.as_slice()).collect();
    let mut array = b"[".to_vec();
    array.extend_from_slice(&bodies.join(&b','));
    array.push(b']');
    array
}

/// Counts what is written.
struct Counted(usize);

impl std::io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl RunContext {
    /// When the run ended, as far as is known.
    pub fn ended_at(&self) -> Timestamp {
        self.run.finished_at.or(self.run.final_since).unwrap_or(self.run.triggered_at)
    }
}
