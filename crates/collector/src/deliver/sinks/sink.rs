//! The interface of a sink: it receives records of runs in batches, and returns the outcome of each record.
//!
//! A sink only converts records, sends them, and parses the response. Batching, pauses, retries, splitting and
//! recording are in [`crate::deliver::deliverer`].

use std::pin::Pin;
use std::time::Duration;

use runlog_model::wire::components::RunComponents;
use runlog_model::{Record, Run, Timestamp, millis};
use runlog_store::BackgroundThreads;
use runlog_store::delivery::RecordKey;

use crate::deliver::bounds::BatchBounds;

/// Maximum overhead per record, and per group of records with the same head. Unit: bytes.
const RECORD_BYTES: usize = 12;
const HEAD_BYTES: usize = 32;

/// The future of a method of a sink.
pub type SinkFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, SendError>> + Send + 'a>>;

/// A destination that receives records in batches.
pub trait Sink: Send + Sync {
    /// Its kind, such as `loki`.
    fn kind(&self) -> &'static str;

    /// Its location, without secrets.
    fn location(&self) -> String;

    /// Tests whether it is available and grants access.
    fn check(&self) -> SinkFuture<'_, ()>;

    /// Encodes a record. The size of the encoded record counts for batches.
    fn encode(&self, origin: &Origin, item: &Item) -> Encoded;

    /// Sends a batch once, and returns the outcome of its records.
    fn send<'a>(&'a self, batch: Batch<'a>) -> SinkFuture<'a, SinkResponse>;

    /// The largest request that it accepts: larger batches are split before they are sent.
    fn batch_max(&self) -> BatchBounds {
        BatchBounds { records: usize::MAX, bytes: usize::MAX }
    }

    /// Records before this time are not accepted; none if their age does not matter.
    fn oldest_accepted(&self, _now: Timestamp) -> Option<Timestamp> {
        None
    }
}

/// A destination that receives a message about each run that has ended.
pub(crate) trait RunSink: Send + Sync {
    /// Its kind, such as `webhook`.
    fn kind(&self) -> &'static str;

    /// Its location, without secrets.
    fn location(&self) -> String;

    /// True if it receives what the components of a run measured.
    fn takes_components(&self) -> bool {
        false
    }

    /// Tests whether it is available and grants access.
    fn check(&self) -> SinkFuture<'_, ()>;

    /// Sends what is known of a run, once.
    fn send<'a>(&'a self, ended: &'a EndedRun<'a>) -> SinkFuture<'a, ()>;
}

/// A run that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndedRun<'a> {
    /// The ID, which is equal whenever the same data is sent.
    pub(crate) id: &'a str,
    /// The redacted run.
    pub(crate) run: &'a RunContext,
    /// The metrics of its components, if they are known and the sink receives them.
    pub(crate) components: Option<&'a RunComponents>,
}

/// Records of one run, or of one tenant.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Where they come from.
    pub origin: &'a Origin,
    /// The records, in order of time.
    pub records: &'a [Encoded],
    /// The threads that compress it.
    pub threads: &'a BackgroundThreads,
}

/// A record as it is sent.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// Its position in its run.
    pub position: RecordKey,
    /// The part that records may have in common and that is then sent once, such as labels.
    pub head: Vec<u8>,
    /// The record itself.
    pub body: Vec<u8>,
}

/// Where records come from.
#[derive(Debug, Clone)]
pub enum Origin {
    /// The log of a run.
    Run(Box<RunContext>),
    /// The audit logs of a tenant.
    Tenant(TenantContext),
}

/// The tenant whose audit logs are sent.
#[derive(Debug, Clone)]
pub struct TenantContext {
    /// The upstream.
    pub upstream: String,
}

impl TenantContext {
    /// The name that audit logs of tenants have in the place of a task.
    pub const NAME: &str = "tenant-audit-logs";
}

/// The fields of a run that are sent with each of its records.
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

/// A redacted record to be sent.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its ID, which is unique and the same whenever it is sent.
    pub id: String,
    /// Its position in its run.
    pub position: RecordKey,
    /// The offset of the records of its run below the millisecond, so that runs that log the same at the same time
    /// differ.
    pub spread: u32,
    /// The record.
    pub record: Record,
}

/// The outcome of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordOutcome {
    /// It is stored, now or from an earlier attempt.
    Taken,
    /// It was not accepted because of another record in the batch: it is sent again immediately.
    RetryNow,
    /// It was not accepted, and may be accepted later.
    RetryLater(String),
    /// It is permanently refused.
    Refused(String),
}

/// The outcome of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkResponse {
    /// The outcome of each record, in their order.
    Each(Vec<RecordOutcome>),
    /// All but this number of records were accepted, and it is unknown which.
    AllBut {
        /// Number of refused records, at least one and fewer than all.
        records: usize,
        /// The reason.
        reason: String,
    },
}

/// Why the outcome of the individual records of a batch is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The sink is unavailable, busy, or limits requests: the same batch is sent again later.
    #[error("{problem}")]
    Away {
        /// The cause.
        problem: String,
        /// The pause requested by the sink.
        after: Option<Duration>,
    },
    /// There was no response although the sink is available: the connection broke, or the request timed out. The same
    /// batch is sent again, and then a smaller one.
    #[error("{0}")]
    NoAnswer(String),
    /// The sink denies access or does not match the settings, which needs the attention of an operator.
    #[error("{0}")]
    Denied(String),
    /// The batch is too large: it is sent in parts.
    #[error("it is too large: {0}")]
    TooLarge(String),
    /// An unknown part of the batch is permanently refused: it is sent in parts.
    #[error("{0}")]
    Refused(String),
}

impl Item {
    /// A time in nanoseconds that is the same whenever a record is sent. It distinguishes records of one millisecond,
    /// in the order of their arrival, and records of different runs. It is never a whole millisecond. Unit: nanoseconds
    /// since 1970.
    pub fn time_nanos(&self) -> i64 {
        let below = ((self.position.arrival + u64::from(self.spread)) % 999_999 + 1) as i64;
        self.record.time.as_millis().saturating_mul(1_000_000).saturating_add(below)
    }

    /// The size of its texts and further fields. Unit: bytes.
    pub fn text_bytes(&self) -> usize {
        let Record { message, extra, .. } = &self.record;
        let mut counted = ByteCounter(0);
        if let Some(extra) = extra {
            // Counting cannot fail.
            let _ = serde_json::to_writer(&mut counted, extra);
        }
        counted.0 + message.as_ref().map_or(0, String::len)
    }
}

impl Encoded {
    /// Its size in a request, before compression, after another record with this head.
    pub fn bytes(&self, head_before: Option<&[u8]>) -> usize {
        let head = if head_before == Some(&self.head) { 0 } else { self.head.len() + HEAD_BYTES };
        self.body.len() + head + RECORD_BYTES
    }
}

impl SinkResponse {
    /// The outcome if all of this number of records were accepted.
    pub fn all_accepted(records: usize) -> Self {
        Self::Each(vec![RecordOutcome::Taken; records])
    }
}

/// The time that is this long before another.
pub(crate) fn time_before(time: Timestamp, age: Duration) -> Timestamp {
    time.plus_millis(-millis(age))
}

/// An array of JSON bodies.
pub(crate) fn json_array(records: &[Encoded]) -> Vec<u8> {
    let bodies: Vec<&[u8]> = records.iter().map(|record| record.body.as_slice()).collect();
    let mut array = b"[".to_vec();
    array.extend_from_slice(&bodies.join(&b','));
    array.push(b']');
    array
}

/// Counts the bytes that are written.
struct ByteCounter(usize);

impl std::io::Write for ByteCounter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl RunContext {
    /// The end of the run, if it is known.
    pub fn ended_at(&self) -> Timestamp {
        self.run.finished_at.or(self.run.final_since).unwrap_or(self.run.triggered_at)
    }
}
