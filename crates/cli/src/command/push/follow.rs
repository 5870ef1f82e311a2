//! `runlog push --follow`: stores the log of a job while it is running.
//!
//! Records are stored within a second or two. The run starts with the first record and ends with the log. Invalid
//! records are skipped and reported: aborting would terminate the job that writes the output. For the same reason, the
//! log is still read while the service is unavailable, and after a failure that prevents storing any more of it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runlog_formats::{Detected, LineReader, LogFormat, Next, ReadSettings, detect};
use runlog_model::wire::push::FinishRun;
use runlog_model::{Clock, RunStatus};
use tokio_util::sync::CancellationToken;

use super::batches::{BATCH_BYTES, Batch, BatchSource, Lines, LogSummary, Packer};
use super::job_output::{is_back, wait_for_service};
use super::send::{on_thread, push_batch};
use super::source::name_of;
use super::spool::{ReadLine, Spool};
use super::{Push, PushArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::render::progress::Bar;
use crate::render::terminal::{counted_were, note};
use crate::system::SystemClock;

/// How long a record may wait for another before it is stored.
const WAIT: Duration = Duration::from_secs(1);
/// Maximum number of lines inspected to detect the format.
const DETECTION_LINES: usize = 50;

impl PushArgs {
    /// True if the log is the output of a job that is running.
    pub(super) fn follows_pipe(&self) -> bool {
        self.follow && self.file == Path::new("-")
    }
}

impl Push {
    /// Stores the lines of a running job as they arrive, until the end of the log or until stopped.
    pub(super) async fn follow(mut self, spool: Spool, settings: ReadSettings, stop: CancellationToken) -> Outcome {
        let shared = Arc::<Mutex<Shared>>::default();
        let log = Followed {
            lines: ArrivedLines { lines: spool.clone(), waiting: VecDeque::new(), is_at_end: false },
            format: self.args.log_format(),
            name: name_of(&self.args.file),
            settings,
            reader: None,
            packer: Packer::new(),
            shared: Arc::clone(&shared),
        };
        let followed = tokio::select! {
            followed = self.store_all(log, &spool) => followed,
            () = stop.cancelled() => Err(Failure::new(Exit::Interrupted, "interrupted")),
        };
        if let Err(failure) = followed {
            let failure = match spool.discard() {
                lost @ 1.. if failure.exit != Exit::Usage => {
                    failure.with_text_after(&format!("; {} not stored", counted_were(lost, "further line")))
                }
                _ => failure,
            };
            let mut then = self.after_failure(failure.exit).await;
            if failure.exit == Exit::Interrupted && self.args.finish.is_some() && self.pushed.in_archive() > 0 {
                let terminated = FinishRun::with_status(RunStatus::Terminated);
                self.client.finish_run(self.run, &terminated).await?;
                then = format!("; run {} is ended as {}", self.run, RunStatus::Terminated);
            }
            return Err(failure.with_text_after(&then));
        }
        self.finish(None).await?;
        let Shared { format, summary } = std::mem::take(&mut *shared.lock().unwrap_or_else(PoisonError::into_inner));
        let told = self.print_result(format.unwrap_or(LogFormat::Plain), summary);
        match spool.lost() {
            0 => told,
            lost => {
                let lost = counted_were(lost, "line");
                let message = format!("{lost} lost while the service was unavailable; the others are stored");
                Err(Failure::new(Exit::Incomplete, message))
            }
        }
    }

    async fn store_all(&mut self, mut log: Followed, spool: &Spool) -> Outcome {
        let bar = Bar::counting("pushing", "records");
        let mut has_started = false;
        loop {
            let (next, rest) = on_thread(move || (log.next(), log)).await?;
            log = rest;
            // The run starts with the first valid record, or at the end of a log without one.
            let next = next?;
            while !has_started {
                let had_ended = spool.has_ended();
                match self.start(None).await {
                    Ok(()) => has_started = true,
                    Err(failure) => wait_for_service(spool, had_ended, failure).await?,
                }
            }
            is_back(spool);
            let Some(batch) = next else { return Ok(()) };
            self.store(batch, spool).await?;
            bar.set(self.pushed.in_archive());
        }
    }

    /// Sends a batch, and retries while the service is unavailable. The batch is stored only once.
    async fn store(&mut self, batch: Batch, spool: &Spool) -> Outcome {
        loop {
            let had_ended = spool.has_ended();
            match push_batch(&self.client, self.run, batch.clone(), &mut self.pushed).await {
                Ok(()) => {
                    is_back(spool);
                    return Ok(());
                }
                Err(failure) => wait_for_service(spool, had_ended, failure).await?,
            }
        }
    }
}

/// Statistics at the end of the log.
#[derive(Default)]
struct Shared {
    format: Option<LogFormat>,
    summary: LogSummary,
}

/// A growing log, in batches of the records that arrive within a second.
struct Followed {
    lines: ArrivedLines,
    /// None until the first lines have arrived.
    format: Option<LogFormat>,
    name: String,
    settings: ReadSettings,
    reader: Option<LineReader>,
    packer: Packer,
    shared: Arc<Mutex<Shared>>,
}

/// Lines that have arrived.
struct ArrivedLines {
    lines: Spool,
    /// Lines that were inspected and not consumed yet.
    waiting: VecDeque<ReadLine>,
    is_at_end: bool,
}

impl ArrivedLines {
    /// Returns the next line; waits for it for this time, or indefinitely. None if no line arrived in time, or at the
    /// end of the log.
    fn next(&mut self, wait: Option<Duration>) -> Option<ReadLine> {
        if let Some(line) = self.waiting.pop_front() {
            return Some(line);
        }
        if self.is_at_end {
            return None;
        }
        let arrived = self.lines.take(wait);
        self.is_at_end = matches!(arrived, Err(RecvTimeoutError::Disconnected));
        arrived.ok()
    }

    /// Waits for the first lines and inspects them.
    fn look(&mut self) -> Vec<u8> {
        let mut seen = Vec::new();
        let mut first: VecDeque<ReadLine> = self.next(None).into_iter().collect();
        while first.len() < DETECTION_LINES
            && let Some(line) = self.next(Some(WAIT))
        {
            first.push_back(line);
        }
        first.iter().flatten().for_each(|line| seen.extend_from_slice(line));
        self.waiting = first;
        seen
    }
}

impl Followed {
    fn begin(&mut self) -> Outcome<LineReader> {
        let head = self.lines.look();
        let format = match (self.format, detect(&head, true, &self.settings)) {
            (Some(format), _) | (None, Detected::Log(format)) => format,
            (None, Detected::Other(what)) => {
                return Err(Failure::new(Exit::Usage, format!("cannot read {}: {what}", self.name)));
            }
        };
        let reader = LineReader::new(format, self.settings.clone()).ok_or_else(|| {
            let message = format!("--follow reads NDJSON and text, and {} is {}", self.name, format.name());
            Failure::new(Exit::Usage, message)
        })?;
        if self.format.is_none() && format != LogFormat::Ndjson {
            note(format!("{} is read as {} (detected format; override with --format)", self.name, format.name()));
        }
        self.with_shared(|shared| shared.format = Some(format));
        Ok(reader)
    }

    fn with_shared(&self, change: impl FnOnce(&mut Shared)) {
        change(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn count(&self, next: Next, lines: &mut Lines) {
        match next {
            Next::Record(time) => {
                lines.records += 1;
                self.with_shared(|shared| shared.summary.add(time));
            }
            Next::Invalid(invalid) => self.with_shared(|shared| shared.summary.add_invalid(invalid)),
        }
    }
}

impl BatchSource for Followed {
    fn next(&mut self) -> Outcome<Option<Batch>> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.begin()?,
        };
        let mut lines = Lines { text: Vec::new(), records: 0 };
        // Since the first line of the batch.
        let mut begun = None;
        loop {
            let waited = begun.map(|begun| SystemClock.elapsed().saturating_sub(begun));
            if lines.text.len() >= BATCH_BYTES || waited.is_some_and(|waited| waited >= WAIT) && lines.records > 0 {
                break;
            }
            let wait = waited.map(|waited| WAIT.saturating_sub(waited).max(WAIT / 10));
            let Some(line) = self.lines.next(wait) else {
                // No input for a while: the last record is complete.
                if let Some(next) = reader.flush(&mut lines.text) {
                    self.count(next, &mut lines);
                }
                if self.lines.is_at_end || lines.records > 0 {
                    break;
                }
                begun = None;
                continue;
            };
            begun.get_or_insert_with(|| SystemClock.elapsed());
            let line = line.map_err(|error| Failure { exit: Exit::Failed, error: error.into() })?;
            if let Some(next) = reader.add(&line, SystemClock.now(), &mut lines.text) {
                self.count(next, &mut lines);
            }
        }
        self.with_shared(|shared| shared.summary.invalid_texts = reader.invalid_texts());
        self.reader = Some(reader);
        if lines.records == 0 { Ok(None) } else { self.packer.pack(&lines).map(Some) }
    }
}
