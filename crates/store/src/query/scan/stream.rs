//! Scans: the records of many runs as columns, for queries across logs.
//!
//! ```text
//! filter ▸ catalog: slices that may hold such records ▸ units (neighbouring rows) ▸ readers ▸ record batches
//! ```
//!
//! Objects that the catalog can rule out are not opened. The others are read by any number of concurrent streams, which
//! share the units among themselves. Only the selected columns of each unit are read, and only the pages of them that
//! have rows for which the conditions on earlier columns hold. Slices that are not sealed yet are read like others.
//!
//! The slices of a run are read from the catalog in one statement, so that a concurrent merge neither hides nor repeats
//! a record: replaced objects are kept for an hour. If the log of a run is deleted during the scan, the scan skips the
//! rest of the log.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::Stream;
use runlog_model::TimeRange;
use tokio::sync::{Mutex, mpsc};

use crate::core::Core;
use crate::error::{Error, Result};
use crate::parts::Query;
use crate::query::scan::plan::{Planner, Unit};
use crate::query::scan::read::read_unit;
use crate::query::scan::request::{DynamicFilter, ScanColumn, ScanFilter, ScanRequest, ScanRun, scan_schema};

/// A scan. Its streams together return each record once, in no particular order.
#[derive(Clone)]
pub struct Scan {
    core: Core,
    request: Arc<ScanRequest>,
    planner: Arc<Mutex<Planner>>,
    dynamic_filter: Option<Arc<DynamicFilter>>,
}

impl Query {
    /// Creates a scan; nothing is read before one of its streams is polled.
    pub fn scan(&self, filter: ScanFilter, columns: &[ScanColumn]) -> Scan {
        let planner = Arc::new(Mutex::new(Planner::new(&self.core, filter.clone())));
        let request = ScanRequest { filter, columns: columns.to_vec(), schema: scan_schema(columns) };
        Scan { core: self.core.clone(), request: Arc::new(request), planner, dynamic_filter: None }
    }
}

impl Scan {
    /// The schema of its batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.request.schema
    }

    /// Applies a filter that is evaluated again before each read: a query for the newest ten records needs fewer
    /// records after each batch.
    pub fn with_dynamic_filter(self, dynamic_filter: Arc<DynamicFilter>) -> Self {
        Self { dynamic_filter: Some(dynamic_filter), ..self }
    }

    /// Returns a stream of a share of the scan. The stream starts when it is first polled, reads ahead by a few
    /// batches, and stops when it is dropped.
    pub fn stream(&self) -> ScanStream {
        ScanStream { scan: Some(self.clone()), receiver: None }
    }

    fn begin(self) -> mpsc::Receiver<Result<RecordBatch>> {
        let (sender, receiver) = mpsc::channel(2);
        let scan = self;
        tokio::spawn(async move {
            if let Err(error) = scan.read(&sender).await {
                // The receiver may have been dropped.
                let _ = sender.send(Err(error)).await;
            }
        });
        receiver
    }

    /// Removes the slices of a unit that are no longer needed; returns the range of time that is still needed.
    fn narrow(&self, unit: &mut Unit) -> TimeRange {
        let asked = self.request.filter.range;
        let Some(dynamic_filter) = &self.dynamic_filter else { return asked };
        let runs: Vec<ScanRun<'_>> = unit.slices.iter().map(|slice| slice.run.as_scan_run()).collect();
        let (wanted, keeps) = dynamic_filter(&runs);
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
            let mut batches = read_unit(&self.core, &self.request, range, unit).await?;
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
    /// `None` once it has started.
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
