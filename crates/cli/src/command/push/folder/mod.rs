//! `runlog push --follow FOLDER`: stores the logs that jobs write into a folder, each in its run.
//!
//! ```text
//! scan (which files there are) ▸ read (what of them is new, up to a complete record) ▸ checkpoint (what is about to be sent)
//!   ▸ send (under an ID that stores it once) ▸ checkpoint (what is stored)
//! ```
//!
//! No file stays open between two rounds. While the service is unavailable, the position in each file does not change.

mod checkpoint;
mod pattern;
mod read;
mod scan;
mod settings;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use runlog_client::{Client, ContentEncoding, ErrorKind, PushBatch};
use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_model::{Clock, RunId, RunStatus, TaskId, Timestamp};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use self::checkpoint::Checkpoint;
pub(crate) use self::checkpoint::FollowedFormat;
pub(crate) use self::pattern::PathPattern;
pub(crate) use self::read::EndMarker;
use self::scan::{Prepared, Scanner};
pub(crate) use self::settings::FolderSettings;
use self::settings::shown;
use super::send::on_thread;
use crate::arguments::names::TaskRef;
use crate::exit::{Exit, Failure, Outcome};
use crate::render::screen::Stream;
use crate::render::terminal::{counted, note};
use crate::system::{SystemClock, environment};

/// How many batches are sent at a time, each of another log.
const SENT_AT_ONCE: usize = 4;
/// How long to wait after the service did not accept a batch; doubled each time.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Pause before a log that the service refused is tried again, such as one of an unknown task.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// Follows a folder until stopped.
pub(super) async fn follow(settings: FolderSettings, client: Client, stop: CancellationToken) -> Outcome {
    let usage = |message: String| Failure::new(Exit::Usage, message);
    if settings.task.is_none() && !settings.pattern.has_task() {
        let message = format!("the pattern {} contains no {{task}}; add --task", settings.pattern);
        return Err(usage(message));
    }
    let folder = std::fs::canonicalize(&settings.folder)
        .map_err(|error| usage(format!("cannot read {}: {error}", settings.folder.display())))?;
    let path = match &settings.checkpoint {
        Some(path) => path.clone(),
        None => usual_checkpoint(&folder, &settings.pattern)?,
    };
    let checkpoint = Checkpoint::open(&path).map_err(|error| {
        Failure::new(Exit::Failed, format!("cannot use the checkpoint {}: {error}", path.display()))
    })?;
    note(format!("following {} for {}, checkpoint in {}", folder.display(), settings.pattern, path.display()));
    let settings = FolderSettings { folder, ..settings };
    Follower {
        interval: settings.interval.max(Duration::from_millis(10)),
        scanner: Some(Scanner::new(settings, checkpoint)),
        client,
        tasks: HashMap::new(),
        resting: BTreeMap::new(),
        pause: PAUSE_MIN,
        stop,
    }
    .run()
    .await
}

/// Returns the default path of the checkpoint of a folder.
fn usual_checkpoint(folder: &Path, pattern: &PathPattern) -> Outcome<PathBuf> {
    let state = environment("XDG_STATE_HOME").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let home =
        || environment("HOME").filter(|home| !home.is_empty()).map(|home| PathBuf::from(home).join(".local/state"));
    let state = state.or_else(home).ok_or_else(|| {
        Failure::new(Exit::Usage, "there is no folder for the checkpoint; name a file with --checkpoint")
    })?;
    let digest = Sha256::digest(format!("{}\n{pattern}", folder.display()));
    Ok(state.join("runlog").join(format!("push-{}", &runlog_model::hex::encode(digest)[..16])))
}

struct Follower {
    /// None while it works on a thread.
    scanner: Option<Scanner>,
    interval: Duration,
    client: Client,
    /// The tasks that paths name.
    tasks: HashMap<String, TaskId>,
    /// Logs that the service refused, and the time of the next attempt.
    resting: BTreeMap<String, Duration>,
    pause: Duration,
    stop: CancellationToken,
}

/// The outcome of a batch.
enum Sent {
    Stored {
        key: String,
        refused: u64,
        why: Option<String>,
    },
    /// It can be stored once the task or a right exists.
    Refused {
        key: String,
        why: String,
    },
    /// The service is unavailable.
    Later(String),
}

impl Follower {
    async fn run(mut self) -> Outcome {
        loop {
            let round = self.round().await;
            let pause = match round {
                Ok(true) => Duration::ZERO,
                Ok(false) => self.interval,
                Err(failure) if failure.exit == Exit::Unavailable => {
                    note(format!("{:#}; trying again in {} s", failure.error, self.pause.as_secs()));
                    let pause = self.pause;
                    self.pause = (pause * 2).min(PAUSE_MAX);
                    pause
                }
                Err(failure) if failure.exit == Exit::Interrupted => {
                    note("stopped; the next start continues here");
                    return Ok(());
                }
                Err(failure) => return Err(failure),
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => {
                    note("stopped; the next start continues here");
                    return Ok(());
                }
            }
        }
    }

    /// Works on the scanner, on a thread.
    async fn scanning<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Scanner) -> T + Send + 'static,
    ) -> Outcome<T> {
        let stopped = || Failure::new(Exit::Interrupted, "interrupted");
        let mut scanner = self.scanner.take().ok_or_else(stopped)?;
        let (done, scanner) = on_thread(move || (work(&mut scanner), scanner)).await?;
        self.scanner = Some(scanner);
        Ok(done)
    }

    /// Sends new records; returns true if more may be available immediately.
    async fn round(&mut self) -> Outcome<bool> {
        let now = SystemClock.elapsed();
        self.resting.retain(|_, until| *until > now);
        let resting: Vec<String> = self.resting.keys().cloned().collect();
        let unknown = self.scanning(|scanner| scanner.look()).await??;
        for name in unknown {
            self.find_task(name).await?;
        }
        let tasks = self.tasks.clone();
        let prepared = self.scanning(move |scanner| scanner.prepare(&tasks, &resting)).await??;
        let has_more = !prepared.is_empty();
        let stop = self.stop.clone();
        let client = &self.client;
        let sending = stream::iter(prepared).map(|batch| send(client, batch)).buffer_unordered(SENT_AT_ONCE);
        let sent: Vec<Sent> = tokio::select! {
            sent = sending.collect() => sent,
            () = stop.cancelled() => return Err(Failure::new(Exit::Interrupted, "interrupted")),
        };
        let (mut stored, mut later) = (Vec::new(), None);
        for sent in sent {
            match sent {
                Sent::Stored { key, refused, why } => {
                    if refused > 0 {
                        let why = why.unwrap_or_default();
                        let lines = counted(refused, "line");
                        note(format!("{}: {lines} rejected: {}", shown(&key), Stream::Note.shown_on_line(&why)));
                    }
                    stored.push(key);
                }
                Sent::Refused { key, why } => {
                    note(format!(
                        "{}: not stored, trying again in {} s: {}",
                        shown(&key),
                        REFUSED_PAUSE.as_secs(),
                        Stream::Note.shown_on_line(&why)
                    ));
                    self.resting.insert(key, SystemClock.elapsed() + REFUSED_PAUSE);
                }
                Sent::Later(why) => _ = later.get_or_insert(why),
            }
        }
        self.scanning(move |scanner| scanner.stored(&stored)).await??;
        match later {
            Some(why) => Err(Failure::new(Exit::Unavailable, why)),
            None => {
                self.pause = PAUSE_MIN;
                Ok(has_more)
            }
        }
    }

    /// Finds the task named in a path. A task that does not exist is reported, and looked up again later.
    async fn find_task(&mut self, name: String) -> Outcome {
        let key = format!("task {name}");
        if self.resting.contains_key(&key) || self.tasks.contains_key(&name) {
            return Ok(());
        }
        let task: TaskRef = name.parse().map_err(|error: String| Failure::new(Exit::Usage, error))?;
        match task.resolve(&self.client).await {
            Ok(id) => _ = self.tasks.insert(name, id),
            Err(failure) if matches!(failure.exit, Exit::Unavailable | Exit::Denied) => return Err(failure),
            Err(failure) => {
                let name = Stream::Note.shown_on_line(&name).to_string();
                note(format!(
                    "the logs in {name} are not stored, trying again in {} s: {:#}",
                    REFUSED_PAUSE.as_secs(),
                    failure.error
                ));
                self.resting.insert(key, SystemClock.elapsed() + REFUSED_PAUSE);
            }
        }
        Ok(())
    }
}

/// Starts the run of a batch if need be, stores the batch, and ends the run if it has ended.
async fn send(client: &Client, batch: Prepared) -> Sent {
    let Prepared { key, state, id, records, count, first, status, last, .. } = batch;
    let mut outcome = (0, None);
    let sending = async {
        if !state.has_started {
            let start = StartRun::of_task(state.task);
            // A run that exists keeps its start.
            if client.start_run(state.run, &start).await? && first.is_some() {
                let by_log = StartRun { start_timestamp: first, trigger_timestamp: first, ..start };
                client.start_run(state.run, &by_log).await?;
            }
        }
        if count > 0 {
            let push = PushBatch {
                id: &id,
                body: Bytes::from(records),
                encoding: ContentEncoding::Zstd,
                skips_bad_lines: true,
            };
            let stored = client.push_records(state.run, push, None).await?;
            outcome = (stored.refused_lines, stored.refused.into_iter().next().map(|refused| refused.reason));
        }
        if let Some(status) = status {
            end(client, state.run, status, last).await?;
        }
        Ok::<_, runlog_client::Error>(())
    };
    match sending.await {
        Ok(()) => Sent::Stored { key, refused: outcome.0, why: outcome.1 },
        Err(error) => {
            let kind = error.kind();
            let why = runlog_model::error_chain(&error);
            match kind {
                ErrorKind::Limited | ErrorKind::Unavailable | ErrorKind::Damaged | ErrorKind::Storage => {
                    Sent::Later(why)
                }
                _ => Sent::Refused { key, why },
            }
        }
    }
}

/// Ends a run at the time of its last record, or now if that is before its start.
async fn end(client: &Client, run: RunId, status: RunStatus, last: Option<Timestamp>) -> runlog_client::Result<()> {
    let finish = FinishRun { finish_timestamp: last, ..FinishRun::with_status(status) };
    match client.finish_run(run, &finish).await {
        Err(error) if error.kind() == ErrorKind::Invalid => {
            client.finish_run(run, &FinishRun::with_status(status)).await.map(drop)
        }
        ended => ended.map(drop),
    }
}
