//! Scans: the records of many runs as columns, for questions that no single run answers.
//!
//! ```text
//! filter ▸ catalog: slices that may hold such records ▸ units (rows that lie together) ▸ readers ▸ record batches
//! ```
//!
//! Nothing is opened that the catalog can rule out. What is opened is read by any number of streams at a time, which
//! share the units out among themselves; of each unit only the columns that are wanted, and of those only the pages
//! in which a row passed the conditions on the columns before. Slices that are not sealed yet are read like others.
//!
//! The slices of a run are taken from the catalog in one statement, so that merging them meanwhile neither hides nor
//! repeats a record: objects that were replaced are kept for an hour. The log of a run that was deleted meanwhile is
//! left out from then on.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use futures::Stream;
use runlog_model::{RunId, TaskId, TimeRange, WorkspaceId};
use tokio::sync::{Mutex, mpsc};

use crate::error::{Error, Result};
use crate::query::scan::plan::{Planner, Unit};
use crate::query::scan::read::read_unit;
use crate::store::Store;

/// Which records a scan gives. Absent parts ask for all.
#[derive(Debug, Clone, Default)]
pub struct ScanFilter {
    /// Those of runs of these workspaces.
    pub workspace_ids: Option<Vec<WorkspaceId>>,
    /// Those of runs of these tasks.
    pub task_ids: Option<Vec<TaskId>>,
    /// Those of these runs.
    pub run_ids: Option<Vec<RunId>>,
    /// Those that were logged in this range.
    pub range: TimeRange,
    /// Those whose severity is one of these texts, letter by letter.
    pub severities: Option<Vec<String>>,
    /// Those whose message holds each of these texts, letter by letter.
    pub message_parts: Vec<String>,
}

/// A column of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScanColumn {
    /// The run.
    RunId,
    /// Its task.
    TaskId,
    /// Its workspace.
    WorkspaceId,
    /// When it was logged. A timestamp in milliseconds, UTC.
    Time,
    /// The number of the record in its run, in order of arrival, from 0.
    Arrival,
    /// `TRACE` to `FATAL`, or whatever the engine wrote.
    Severity,
    /// What kind of log it belongs to.
    LogType,
    /// The text.
    Message,
    /// The component or class that logged it.
    BundleName,
    /// Its version.
    BundleVersion,
    /// The pod or host it ran on.
    PodName,
    /// Fields beyond those of the API, as a JSON object.
    Extra,
}

impl ScanColumn {
    /// Every column, in the order in which they are shown.
    pub const ALL: [Self; 12] = [
        Self::RunId,
        Self::TaskId,
        Self::WorkspaceId,
        Self::Time,
        Self::Arrival,
        Self::Severity,
        Self::Message,
        Self::LogType,
        Self::BundleName,
        Self::BundleVersion,
        Self::PodName,
        Self::Extra,
    ];

    /// What it is called, here and in the files.
    pub fn name(self) -> &'static str {
        match self {
            Self::RunId => "run_id",
            Self::TaskId => "task_id",
            Self::WorkspaceId => "workspace_id",
            Self::Time => "time",
            Self::Arrival => "arrival",
            Self::Severity => "severity",
            Self::LogType => "log_type",
            Self::Message => "message",
            Self::BundleName => "bundle_name",
            Self::BundleVersion => "bundle_version",
            Self::PodName => "pod_name",
            Self::Extra => "extra",
        }
    }

    fn field(self) -> Field {
        let (kind, may_be_null) = match self {
            Self::Time => (DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), false),
            Self::Arrival => (DataType::Int64, false),
            // Each batch has texts of its own: views of shared texts cannot be counted, and would be written to temporary
            // files again with each batch that has one of them.
            Self::RunId | Self::TaskId | Self::WorkspaceId => (DataType::LargeUtf8, false),
            _ => (DataType::LargeUtf8, true),
        };
        Field::new(self.name(), kind, may_be_null)
    }

    /// True for what stands in the catalog and not in the files.
    pub(crate) fn is_of_run(self) -> bool {
        matches!(self, Self::RunId | Self::TaskId | Self::WorkspaceId)
    }
}

/// The form of the batches that a scan of these columns gives.
pub fn scan_schema(columns: &[ScanColumn]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|column| column.field()).collect::<Vec<_>>()))
}

/// What a scan is asked for.
#[derive(Debug)]
pub(crate) struct ScanRequest {
    pub(crate) filter: ScanFilter,
    pub(crate) columns: Vec<ScanColumn>,
    pub(crate) schema: SchemaRef,
}

/// A run, as a [`Narrowing`] is asked about it.
#[derive(Debug, Clone, Copy)]
pub struct ScanRun<'a> {
    /// Its id.
    pub run_id: &'a str,
    /// The id of its task.
    pub task_id: &'a str,
    /// The id of its workspace.
    pub workspace_id: &'a str,
}

/// What is still wanted of a scan that is under way: a range of time, and of some runs, which.
pub type Narrowing = dyn Fn(&[ScanRun<'_>]) -> (TimeRange, Vec<bool>) + Send + Sync;

/// A scan that is under way. Its streams together give each record once, in no order.
#[derive(Clone)]
pub struct Scan {
    store: Store,
    request: Arc<ScanRequest>,
    planner: Arc<Mutex<Planner>>,
    narrowing: Option<Arc<Narrowing>>,
}

impl Store {
    /// Begins a scan; nothing is read before a stream of it is.
    pub fn scan(&self, filter: ScanFilter, columns: &[ScanColumn]) -> Scan {
        let planner = Arc::new(Mutex::new(Planner::new(self, filter.clone())));
        let request = ScanRequest { filter, columns: columns.to_vec(), schema: scan_schema(columns) };
        Scan { store: self.clone(), request: Arc::new(request), planner, narrowing: None }
    }
}

impl Scan {
    /// The form of its batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.request.schema
    }

    /// The same, which asks before it reads what is still wanted: a query that wants the newest ten records knows more
    /// after each batch.
    pub fn narrowed_by(self, narrowing: Arc<Narrowing>) -> Self {
        Self { narrowing: Some(narrowing), ..self }
    }

    /// A stream that takes its share of the scan. It begins when it is first asked, then reads ahead a little, and stops
    /// when it is dropped.
    pub fn stream(&self) -> ScanStream {
        ScanStream { scan: Some(self.clone()), receiver: None }
    }

    fn begin(self) -> mpsc::Receiver<Result<RecordBatch>> {
        let (sender, receiver) = mpsc::channel(2);
        let scan = self;
        tokio::spawn(async move {
            if let Err(error) = scan.read(&sender).await {
                // Whoever is gone needs no error.
                let _ = sender.send(Err(error)).await;
            }
        });
        receiver
    }

    /// Leaves out of a unit what is not wanted any more; gives the range of time that is.
    fn narrow(&self, unit: &mut Unit) -> TimeRange {
        let asked = self.request.filter.range;
        let Some(narrowing) = &self.narrowing else { return asked };
        let runs: Vec<ScanRun<'_>> = unit.slices.iter().map(|slice| slice.run.as_scan_run()).collect();
        let (wanted, keeps) = narrowing(&runs);
        let start = asked.start.max(wanted.start);
        let range = TimeRange { start, end: asked.end.into_iter().chain(wanted.end).min() };
        let mut keeps = keeps.into_iter();
        unit.slices.retain(|slice| {
            let is_kept = keeps.next().unwrap_or(true);
            is_kept && slice.last_time >= range.first_ms() && slice.first_time <= range.last_ms()
        });
        range
    }

    async fn read(&self, sender: &mpsc::Sender<Result<RecordBatch>>) -> Result<()> {
        loop {
            let unit = tokio::select! {
                unit = async { self.planner.lock().await.next_unit().await } => unit?,
                () = sender.closed() => return Ok(()),
            };
            let Some(mut unit) = unit else { return Ok(()) };
            let range = self.narrow(&mut unit);
            let mut batches = read_unit(&self.store, &self.request, range, unit).await?;
            while let Some(batch) = batches.next().await? {
                if sender.send(Ok(batch)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// A share of a scan; see [`Scan::stream`].
pub struct ScanStream {
    /// None once it has begun.
    scan: Option<Scan>,
    receiver: Option<mpsc::Receiver<Result<RecordBatch>>>,
}

impl Stream for ScanStream {
    type Item = Result<RecordBatch, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(scan) = self.scan.take() {
            self.receiver = Some(scan.begin());
        }
        self.receiver.as_mut().map_or(Poll::Ready(None), |receiver| receiver.poll_recv(context))
    }
}
