//! What a sink is: somewhere that takes records of runs, in batches, and says of each what became of it.
//!
//! A sink only translates, sends, and reads the answer. Batching, waiting, trying again, splitting and taking note are
//! the business of [`crate::deliver`].

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use runlog_model::{Record, Run, Timestamp};
use runlog_store::Place;

use crate::sinks::files::Files;
use crate::sinks::webhook::Webhook;

/// Where records or runs are delivered to.
#[derive(Clone)]
pub enum Destination {
    /// Takes records in batches.
    Records(Arc<dyn Sink>),
    /// Takes records as files.
    Files(Arc<Files>),
    /// Takes a summary of each run.
    Runs(Arc<Webhook>),
}

/// A future in a box, of what a sink does.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = Result<T, SendError>> + Send + 'a>>;

/// Somewhere that takes records in batches.
pub trait Sink: Send + Sync {
    /// What it is, such as `loki`.
    fn kind(&self) -> &'static str;

    /// Where it is, without secrets.
    fn place(&self) -> String;

    /// Tries whether it is there and lets the caller in.
    fn check(&self) -> Doing<'_, ()>;

    /// Sends a batch once. What became of each record, in their order.
    fn send<'a>(&'a self, batch: Batch<'a>) -> Doing<'a, Vec<Sent>>;
}

/// Records of one run.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The run.
    pub run: &'a RunFacts,
    /// The records, in order of time.
    pub items: &'a [Item],
}

/// What is said of a run beside each of its records.
#[derive(Debug, Clone)]
pub struct RunFacts {
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
    pub place: Place,
    /// Where the records of its run begin below the millisecond, so that runs that log the same at the same time differ.
    pub spread: u32,
    /// The record.
    pub record: Record,
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// It is there, now or already.
    Taken,
    /// It was not taken because of a record beside it: it is sent again, at once.
    Beside,
    /// It was not taken, and may be when it is sent again after a while.
    Again(String),
    /// It is refused for good.
    Refused(String),
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
    /// It does not let the caller in, or is not what the settings say: somebody has to look.
    #[error("{0}")]
    Denied(String),
    /// The batch is too large: it is sent in parts.
    #[error("the batch is too large")]
    TooLarge,
    /// Something in the batch is refused for good, and it is not said what: it is sent in parts.
    #[error("{0}")]
    Refused(String),
}

impl Destination {
    /// What it is, such as `loki`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Records(sink) => sink.kind(),
            Self::Files(_) => "files",
            Self::Runs(_) => "webhook",
        }
    }

    /// Where it is, without secrets.
    pub fn place(&self) -> String {
        match self {
            Self::Records(sink) => sink.place(),
            Self::Files(files) => files.place(),
            Self::Runs(webhook) => webhook.place(),
        }
    }

    /// Tries whether it is there and lets the caller in.
    pub async fn check(&self) -> Result<(), SendError> {
        match self {
            Self::Records(sink) => sink.check().await,
            Self::Files(files) => files.check().await,
            Self::Runs(webhook) => webhook.check().await,
        }
    }
}

impl Item {
    /// A time with nanoseconds that is the same whenever it is sent, and tells records of one millisecond apart, in the
    /// order of their arrival, and those of one run from those of another. Never a whole millisecond. Unit: nanoseconds
    /// since 1970.
    pub fn time_nanos(&self) -> i64 {
        let below = ((self.place.arrival + u64::from(self.spread)) % 999_999 + 1) as i64;
        self.record.time.as_millis().saturating_mul(1_000_000).saturating_add(below)
    }

    /// About how many bytes it takes on the way.
    pub fn bytes(&self) -> usize {
        let Record { message, extra, .. } = &self.record;
        // Names of fields and what is said of the run.
        400 + message.as_ref().map_or(0, String::len) + extra.as_ref().map_or(0, |extra| 40 * extra.len())
    }
}

impl RunFacts {
    /// When the run ended, as far as is known.
    pub fn ended_at(&self) -> Timestamp {
        self.run.finished_at.or(self.run.final_since).unwrap_or(self.run.triggered_at)
    }
}
