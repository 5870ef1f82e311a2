//! Fetches the complete log of one run to a file.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use runlog_client::reconcile::{LogOrder, Merged, SpooledPage, merge};
use runlog_client::{Client, Execution};
use runlog_model::{TimeRange, Timestamp, millis};
use tracing::warn;

use super::checkpoint::Checkpoint;
use super::error::{FetchError, Result, storage};
use super::join::PageConsumer;
use super::journal::Identity;
use super::pages::PageFetcher;
use super::progress::{FetchEvent, Progress};
use super::render::Renderer;
use super::request::{Completeness, FetchReport, FetchRequest, Output, OutputFormat, SETTLE};
use super::settle::when_settled;

/// The file in the checkpoint's folder that becomes the result.
const RESULT_FILE: &str = "result";
/// How long after the end of a run its records may still be on their way to the service. Unit: milliseconds.
const RECENT_MS: i64 = 600_000;
/// The pause before the count is requested again if it is behind the log.
const COUNT_PAUSE: Duration = Duration::from_secs(2);

/// Fetches the log of a run, and verifies its completeness with the number of records that the service reports.
///
/// If it is interrupted and called again with the same request, it resumes: pages on disk are not fetched again. The
/// output appears once it is complete.
pub async fn fetch_run(client: &Client, request: FetchRequest, progress: Arc<dyn Progress>) -> Result<FetchReport> {
    let part_folder = match &request.output {
        Output::File(path) => Some(part_folder(path)?),
        Output::StandardOutput => None,
    };
    let mut file = ResultFile { form: request.form, order: request.order };
    let fetched = fetch_into(client, &request, part_folder, &mut file, progress).await?;
    move_to_output(&request, fetched.checkpoint)?;
    Ok(fetched.report)
}

/// A joined log.
pub(crate) struct JoinedLog {
    pub(crate) report: FetchReport,
    /// Its pages, to be removed once they are no longer needed.
    pub(crate) checkpoint: Checkpoint,
}

/// Fetches the log of a run for a consumer. The folder is for the pages; none for a fetch that cannot be resumed.
pub(crate) async fn fetch_into<C: PageConsumer>(
    client: &Client,
    request: &FetchRequest,
    folder: Option<PathBuf>,
    consumer: &mut C,
    progress: Arc<dyn Progress>,
) -> Result<JoinedLog, C::Error> {
    let run = match request.settle {
        Some(settle) => when_settled(client, request, settle, progress.as_ref()).await?,
        None => client.execution(request.run_id).await.map_err(FetchError::from)?,
    };
    let has_settled = has_settled(client, request, &run);
    let identity = identity(client, request, has_settled);
    let mut checkpoint = match folder {
        Some(folder) => Checkpoint::open(folder, identity)?,
        None => Checkpoint::temporary(identity)?,
    };
    let mut kept = checkpoint.walked().filter(|page| page.spooled.is_some()).count();
    let range = counted_range(request, &checkpoint);

    let age_ms = |time: Timestamp| client.clock().now().millis_since(client.in_own_time(time));
    let is_recent = run.finished_at.is_none_or(|end| age_ms(end) < RECENT_MS);
    let mut fetcher = PageFetcher::new(client, request, is_recent, range, &mut checkpoint, consumer, progress);
    fetcher.all_pages().await?;
    let (merged, completeness) = join_and_count(&mut fetcher, &mut kept, has_settled).await?;
    let bytes = fetcher.bytes;

    let report = report(request, &run, &checkpoint, merged, completeness, kept, bytes);
    Ok(JoinedLog { report, checkpoint })
}

fn identity(client: &Client, request: &FetchRequest, has_settled: bool) -> Identity {
    let now = client.clock().now().floor_to_second();
    let is_open = !has_settled && request.range.end.is_none_or(|end| end > now);
    Identity {
        service: client.settings().base_url.to_string(),
        run: request.run_id.to_string(),
        start: request.range.start.map(Timestamp::to_api_text),
        end: request.range.end.map(Timestamp::to_api_text),
        order: request.order,
        overlap_ms: millis(request.overlap),
        // A log that grows is fetched up to a fixed time, so that the number of records can be compared.
        fixed_end: is_open.then(|| now.to_api_text()),
    }
}

/// True if a run logs nothing more: it was waited for, or ended long enough ago.
fn has_settled(client: &Client, request: &FetchRequest, run: &Execution) -> bool {
    let ended = run.finished_at.filter(|_| run.is_final());
    let is_past = |ended| client.clock().now().millis_since(client.in_own_time(ended)) >= millis(SETTLE);
    request.settle.is_some() || ended.is_some_and(is_past)
}

fn counted_range(request: &FetchRequest, checkpoint: &Checkpoint) -> TimeRange {
    let fixed_end = checkpoint.fixed_end().and_then(|end| end.parse().ok());
    TimeRange { start: request.range.start, end: fixed_end.or(request.range.end) }
}

/// `run.ndjson.runlog-part` beside `run.ndjson`. Fails early for an output that could not be moved into place by a
/// rename.
fn part_folder(output: &Path) -> Result<PathBuf> {
    let cannot = |why: &str| Err(storage("write", output)(io::Error::new(ErrorKind::InvalidInput, why)));
    let Some(name) = output.file_name() else { return cannot("it is not a file name") };
    match fs::metadata(output) {
        Ok(found) if found.is_dir() => return cannot("it is a folder; name a file in it"),
        Ok(found) if !found.is_file() => return cannot("it is not a regular file; choose one, or standard output"),
        _ => {}
    }
    let mut name = name.to_owned();
    name.push(".runlog-part");
    Ok(output.with_file_name(name))
}

/// Joins the pages, and compares the number of records with that of the service. If they differ, first the ends of the
/// pages are requested again, then pages from an earlier attempt are fetched again, each once.
async fn join_and_count<C: PageConsumer>(
    fetcher: &mut PageFetcher<'_, C>,
    kept: &mut usize,
    has_settled: bool,
) -> Result<(Merged, Completeness), C::Error> {
    let request = fetcher.request;
    let mut has_waited = false;
    loop {
        fetcher.progress.report(FetchEvent::Merging);
        if let Some(merged) = fetcher.join_received().await? {
            return Ok((merged, gone(request, merged)?));
        }
        let (merged, counted) = fetcher.join().await?;
        let got = merged.entries;
        let expected = match counted {
            Ok(Some(expected)) => expected,
            // The service has not confirmed that the log is empty.
            Ok(None) if got == 0 => return Err(FetchError::NoLog.into()),
            // Fetched again, it would be empty.
            Ok(None) if fetcher.has_no_page().await? => return Ok((merged, gone(request, merged)?)),
            Ok(None) => 0,
            Err(error) if request.allow_incomplete => {
                warn!(%error, "the service does not report the number of records");
                return Ok((merged, Completeness::Unknown));
            }
            Err(source) => return Err(FetchError::Uncounted { got, source }.into()),
        };
        if got == expected {
            let before = fetcher.checkpoint().fixed_end().and_then(|end| end.parse().ok());
            let is_final = has_settled && before.is_none() && fetcher.checkpoint().is_settled();
            return Ok((merged, if is_final { Completeness::Verified } else { Completeness::SoFar { before } }));
        }
        let has_pages = fetcher.checkpoint().walked().next().is_some();
        if got < expected && has_pages && !fetcher.has_requested_again() {
            fetcher.progress.report(FetchEvent::AskingAgainForEnds { expected, got });
            fetcher.request_ends_again().await?;
        } else if fetcher.is_divided() || *kept > 0 && !request.allow_incomplete {
            // Parts may have been cut at wrong places, and a wrong page from an earlier attempt would remain wrong.
            *kept = 0;
            fetcher.fetch_anew().await?;
        } else if got > expected && !std::mem::replace(&mut has_waited, true) {
            // The count of a log that has just been written may be behind the log.
            fetcher.client.sleep(COUNT_PAUSE).await;
        } else if request.allow_incomplete {
            return Ok((merged, Completeness::Different { expected }));
        } else {
            return Err(FetchError::Incomplete { expected, got }.into());
        }
    }
}

/// What is known of a log that the service lost while it was fetched.
fn gone(request: &FetchRequest, received: Merged) -> Result<Completeness> {
    match request.allow_incomplete {
        true => Ok(Completeness::Unknown),
        false => Err(FetchError::Gone { got: received.entries }),
    }
}

/// The result, in the checkpoint's folder.
struct ResultFile {
    form: OutputFormat,
    order: LogOrder,
}

impl PageConsumer for ResultFile {
    type Error = FetchError;

    async fn join(&mut self, pages: &Checkpoint) -> Result<Merged> {
        let (spooled, folder, lock) = (pages.spooled(), pages.folder().to_owned(), pages.lock());
        let (form, order) = (self.form, self.order);
        let merging = tokio::task::spawn_blocking(move || {
            let merged = write_result(&folder, &spooled, form, order);
            // Held until here, so that an abandoned fetch does not write into the folder of the next one.
            drop(lock);
            merged
        });
        merging.await?
    }
}

fn write_result(folder: &Path, pages: &[SpooledPage], form: OutputFormat, order: LogOrder) -> Result<Merged> {
    let path = folder.join(RESULT_FILE);
    let file = File::create(&path).map_err(storage("write", &path))?;
    let mut renderer = Renderer::new(BufWriter::with_capacity(1 << 18, file), form);
    let cannot_write = |error| {
        runlog_client::Error::caused(
            runlog_client::ErrorKind::Storage,
            format!("cannot write {}", path.display()),
            error,
        )
    };
    let merged = merge(folder, pages, order, &mut |entry| renderer.write(entry).map_err(cannot_write))?;
    let file = renderer.finish().and_then(|out| out.into_inner().map_err(io::IntoInnerError::into_error));
    file.and_then(|file| file.sync_all()).map_err(storage("write", &path))?;
    Ok(merged)
}

fn move_to_output(request: &FetchRequest, checkpoint: Checkpoint) -> Result<()> {
    let result = checkpoint.folder().join(RESULT_FILE);
    match &request.output {
        Output::File(path) => {
            fs::rename(&result, path).map_err(storage("write", path))?;
            checkpoint.remove()
        }
        Output::StandardOutput => {
            let copy = || -> io::Result<()> {
                let mut out = io::stdout().lock();
                io::copy(&mut File::open(&result)?, &mut out)?;
                out.flush()
            };
            copy().map_err(storage("write to", Path::new("standard output")))
        }
    }
}

fn report(
    request: &FetchRequest,
    run: &Execution,
    checkpoint: &Checkpoint,
    merged: Merged,
    completeness: Completeness,
    kept: usize,
    bytes: u64,
) -> FetchReport {
    let pages = checkpoint.spooled();
    let spans = || pages.iter().filter_map(|page| page.span());
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    FetchReport {
        run_id: request.run_id,
        status: run.status_text.clone(),
        records: merged.entries,
        pages: count(checkpoint.walked().count()),
        page_records: checkpoint.walked().filter_map(|page| Some(page.spooled.as_ref()?.entries)).collect(),
        pages_kept: count(kept),
        repeated: merged.repeated,
        records_mended: pages.iter().map(|page| page.entries_mended).sum(),
        records_without_time: pages.iter().map(|page| page.entries_without_time).sum(),
        bytes,
        first: spans().map(|(first, _)| first).min().map(Timestamp::clamped),
        last: spans().map(|(_, last)| last).max().map(Timestamp::clamped),
        completeness,
    }
}
