//! Fetches a run as an independent client, and compares the fetched log with the pushed one, record by record.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use runlog_analysis::Summary;
use runlog_client::Client;
use runlog_collector::{FetchRequest, NoProgress, Output, fetch_run};
use runlog_model::{Clock, Record, RunStatus, Timestamp};

use super::samples::{Sample, records_of};
use super::stage::Stage;
use crate::exit::Outcome;
use crate::system::SystemClock;

/// A sample that was pushed and fetched.
pub(crate) struct Fetched {
    /// The sample.
    pub(crate) sample: &'static Sample,
    /// Its final status, as reported by the service.
    pub(crate) status: RunStatus,
    /// Records in the file.
    pub(crate) records: u64,
    /// Number of fetched pages.
    pub(crate) pages: u32,
    /// Size of the file.
    pub(crate) bytes: u64,
    /// How long the fetch took.
    pub(crate) took_ms: i64,
    /// The file, NDJSON.
    pub(crate) file: PathBuf,
    /// The content of the file.
    pub(crate) summary: Summary,
    /// The first difference to the pushed log.
    pub(crate) difference: Option<String>,
}

/// Fetches and compares one sample.
pub(crate) async fn fetch_and_verify(stage: &Stage, client: &Client, sample: &'static Sample) -> Outcome<Fetched> {
    let file = stage.logs.join(format!("{}.ndjson", sample.name));
    let begun = SystemClock.now();
    let request = FetchRequest::new(sample.run_id()?, Output::File(file.clone()));
    let report = fetch_run(client, request, Arc::new(NoProgress)).await.context("a sample was not fetched")?;
    let took_ms = SystemClock.now().millis_since(begun);
    let status = client.execution(sample.run_id()?).await?.status.context("the run has no known status")?;
    let (summary, difference) = compare(sample, stage.now, &file)?;
    let bytes = std::fs::metadata(&file).context("the fetched file is gone")?.len();
    Ok(Fetched {
        sample,
        status,
        records: summary.records(),
        pages: report.pages,
        bytes,
        took_ms,
        file,
        summary,
        difference,
    })
}

/// Returns the content of the file, and the first difference to the sample in the order of the archive: by time, then
/// arrival.
fn compare(sample: &Sample, now: Timestamp, file: &Path) -> Outcome<(Summary, Option<String>)> {
    let mut pushed: Vec<Record> = sample.records(now)?.collect::<Result<_, _>>()?;
    pushed.sort_by_key(|record| record.time);
    let mut pushed = pushed.into_iter();
    let (mut summary, mut difference) = (Summary::default(), None);
    let log = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    for (index, record) in records_of(BufReader::new(log)).enumerate() {
        let record = record?;
        summary.add(&record);
        let expected = pushed.next();
        if difference.is_none() && expected.as_ref() != Some(&record) {
            difference = Some(match expected {
                Some(expected) => {
                    format!("record {} has the time {}, expected {}", index + 1, record.time, expected.time)
                }
                None => format!("record {} was never pushed", index + 1),
            });
        }
    }
    let missing = pushed.count();
    if difference.is_none() && missing > 0 {
        difference = Some(format!("{missing} records are missing"));
    }
    Ok((summary, difference))
}
