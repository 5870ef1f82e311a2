//! Brings one run's log from a service to a file, whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runlog_client::reconcile::{LogOrder, Merged, SpooledPage, merge};
use runlog_client::{Client, Error, ErrorKind, Execution};
use runlog_model::{TimeRange, Timestamp};

use crate::checkpoint::{Checkpoint, Identity};
use crate::count::count;
use crate::error::{FetchError, Result, storage};
use crate::gather::Gathering;
use crate::progress::{FetchEvent, Progress};
use crate::ready::when_settled;
use crate::render::Renderer;
use crate::request::{Completeness, FetchReport, FetchRequest, Form, Output};

/// The file in the checkpoint's folder that becomes the result.
const RESULT_FILE: &str = "result";

/// Fetches a run's log, and proves by the service's own count that it is whole.
///
/// Interrupted at any moment and called again with the same request, it goes on: pages that are on disk are not
/// fetched again. Nothing stands at the output until all of it does.
pub async fn fetch_run(client: &Client, request: FetchRequest, progress: Arc<dyn Progress>) -> Result<FetchReport> {
    let run = match request.settle {
        Some(settle) => when_settled(client, request.run_id, settle, progress.as_ref()).await?,
        None => client.execution(request.run_id).await?,
    };
    let identity = identity(client, &request);
    let mut checkpoint = match &request.output {
        Output::File(path) => Checkpoint::open(part_folder(path), identity)?,
        Output::StandardOutput => Checkpoint::temporary(identity)?,
    };
    let kept = checkpoint.spooled().len();
    let range = counted_range(&request, &checkpoint);

    let mut gathering = Gathering::new(client, &request, &mut checkpoint, Arc::clone(&progress));
    gathering.all_pages(range.end.map(Timestamp::to_api_text)).await?;
    let (merged, completeness) = merge_and_count(client, &request, range, &mut gathering, progress.as_ref()).await?;
    let bytes = gathering.bytes;

    let report = report(&request, &run, &checkpoint, merged, completeness, kept, bytes);
    put_in_place(&request, checkpoint)?;
    Ok(report)
}

fn identity(client: &Client, request: &FetchRequest) -> Identity {
    let now = client.clock().now().floor_to_second();
    let is_open = request.settle.is_none() && request.range.end.is_none();
    Identity {
        service: client.settings().base_url.to_string(),
        run: request.run_id.to_string(),
        start: request.range.start.map(Timestamp::to_api_text),
        end: request.range.end.map(Timestamp::to_api_text),
        order: request.order,
        overlap_ms: i64::try_from(request.overlap.as_millis()).unwrap_or(i64::MAX),
        // A log that grows is fetched up to a fixed time, so that what came can be counted.
        fixed_end: is_open.then(|| now.to_api_text()),
    }
}

fn counted_range(request: &FetchRequest, checkpoint: &Checkpoint) -> TimeRange {
    let fixed_end = checkpoint.fixed_end().and_then(|end| end.parse().ok());
    TimeRange { start: request.range.start, end: request.range.end.or(fixed_end) }
}

/// `run.ndjson.runlog-part` beside `run.ndjson`.
fn part_folder(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(".runlog-part");
    output.with_file_name(name)
}

/// Puts the pages together, and compares their count with the service's; once more with the pages' ends asked again.
async fn merge_and_count(
    client: &Client,
    request: &FetchRequest,
    range: TimeRange,
    gathering: &mut Gathering<'_>,
    progress: &dyn Progress,
) -> Result<(Merged, Completeness)> {
    let mut asked_again = false;
    loop {
        progress.tell(FetchEvent::Merging);
        let pages = gathering.checkpoint().spooled();
        let folder = gathering.checkpoint().folder().to_owned();
        let (form, order) = (request.form, request.order);
        // The service counts while the pages are put together.
        let merging = tokio::task::spawn_blocking(move || write_result(&folder, &pages, form, order));
        let (merged, counted) = tokio::join!(merging, count(client, request.run_id, range));
        let merged = merged??;
        let expected = match counted {
            Ok(expected) => expected,
            Err(_) if request.allow_incomplete => return Ok((merged, Completeness::Unknown)),
            Err(source) => return Err(FetchError::Uncounted { got: merged.entries, source }),
        };
        let got = merged.entries;
        if got == expected {
            let whole = if request.settle.is_some() { Completeness::Verified } else { Completeness::SoFar };
            return Ok((merged, whole));
        }
        if got < expected && !asked_again {
            asked_again = true;
            progress.tell(FetchEvent::AskingAgainForEnds { expected, got });
            gathering.ends_again().await?;
            continue;
        }
        return match request.allow_incomplete {
            true => Ok((merged, Completeness::Different { expected })),
            false => Err(FetchError::Incomplete { expected, got }),
        };
    }
}

fn write_result(folder: &Path, pages: &[SpooledPage], form: Form, order: LogOrder) -> Result<Merged> {
    let path = folder.join(RESULT_FILE);
    let file = File::create(&path).map_err(storage("write", &path))?;
    let mut renderer = Renderer::new(BufWriter::with_capacity(1 << 18, file), form);
    let cannot_write = |error| Error::caused(ErrorKind::Storage, format!("cannot write {}", path.display()), error);
    let merged = merge(folder, pages, order, &mut |entry| renderer.write(entry).map_err(cannot_write))?;
    let file = renderer.finish().and_then(|out| out.into_inner().map_err(io::IntoInnerError::into_error));
    file.and_then(|file| file.sync_all()).map_err(storage("write", &path))?;
    Ok(merged)
}

fn put_in_place(request: &FetchRequest, checkpoint: Checkpoint) -> Result<()> {
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
        pages: count(pages.len()),
        pages_kept: count(kept),
        repeated: merged.repeated,
        records_without_time: pages.iter().map(|page| page.entries_without_time).sum(),
        bytes,
        first: spans().map(|(first, _)| first).min().map(Timestamp::clamped),
        last: spans().map(|(_, last)| last).max().map(Timestamp::clamped),
        completeness,
    }
}
