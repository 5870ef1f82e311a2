//! Processes one run at a time: claims it, fetches its log, stores it, and records the result.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use runlog_client::{ErrorKind as Problem, Execution};
use runlog_model::wire::push::FinishRun;
use runlog_model::{RecordOrder, RunId, TimeRange, Timestamp, backoff, error_chain, millis, planted};
use runlog_store::collection::{ClaimedRun, FailedAttempt, LandedLog};
use runlog_store::logs::LiveQuery;
use runlog_store::{ErrorKind, failpoint};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

use super::component_metrics;
use super::context::CollectContext;
use super::detail_problems::Detail;
use super::error::{CollectError, Result};
use super::ingest::Ingestor;
use super::lease::{RunLease, lease_end};
use super::pause::Pause;
use super::progress::{CollectEvent, CollectProgress, ProgressAdapter};
use super::stats::CollectStats;
use super::upstream_run::{execution_of, finish_request, has_details, is_without_log_at_its_source, with_details};
use crate::fetch::error::{FetchError, storage};
use crate::fetch::progress::NoProgress;
use crate::fetch::request::{Completeness, FetchRequest, Output};
use crate::fetch::run::{JoinedLog, fetch_into};
use crate::fetch::spare_folders::{SPARE, SpareFolders, remove_left_over};
use crate::shutdown::{until_shutdown, with_shutdown_timeout};
use crate::workers::Pool;

/// Number of responses without a log after which a run is recorded as having no log. Other failures do not count,
/// because they are no evidence about the log.
const NO_LOG_TRIES: i64 = 3;
/// Suffix of the folder with the records of a run that is still running.
const SO_FAR: &str = ".so-far";
/// The delay after the first failed attempt, and the maximum.
const AGAIN_FIRST: Duration = Duration::from_secs(30);
const AGAIN_MAX: Duration = Duration::from_secs(6 * 3_600);
/// The maximum delay if the archive or the service was unavailable: once it works again, it does so for all runs.
const AGAIN_MAX_OUTAGE: Duration = Duration::from_secs(600);

/// Processes the runs of an upstream. Cheap to clone; clones share their state.
#[derive(Clone)]
pub(super) struct RunWorker(Arc<Shared>);

struct Shared {
    context: Arc<CollectContext>,
    progress: Arc<dyn CollectProgress>,
    is_tidy: OnceCell<()>,
    spare_folders: SpareFolders,
    /// After the service has not accepted the credentials.
    pause: Pause,
    landing: Arc<Pool>,
    following: Arc<Pool>,
}

impl RunWorker {
    /// Creates a worker; claims nothing yet.
    pub(super) fn new(context: Arc<CollectContext>, progress: Arc<dyn CollectProgress>) -> Self {
        let spare_folders = SpareFolders::new(Arc::clone(&context.threads));
        Self(Arc::new(Shared {
            context,
            progress,
            is_tidy: OnceCell::new(),
            spare_folders,
            pause: Pause::default(),
            landing: Arc::new(Pool::new()),
            following: Arc::new(Pool::new()),
        }))
    }

    /// The workers that land due runs.
    pub(super) fn landing(&self) -> &Arc<Pool> {
        &self.0.landing
    }

    /// The workers that poll running runs.
    pub(super) fn following(&self) -> &Arc<Pool> {
        &self.0.following
    }

    /// Folders of completed fetches, for reuse.
    pub(super) fn spare_folders(&self) -> &SpareFolders {
        &self.0.spare_folders
    }

    /// Removes the pages of landed runs and the folders kept for reuse, which a killed collector leaves on disk.
    async fn tidy(&self) -> Result<()> {
        let folder = self.0.context.work_folder()?;
        let entries = std::fs::read_dir(&folder).map_err(storage("read", &folder))?;
        let name_of = |path: &Path| path.file_name()?.to_str().map(str::to_owned);
        let named: Vec<(String, PathBuf)> =
            entries.flatten().filter_map(|entry| Some((name_of(&entry.path())?, entry.path()))).collect();
        for (_, spare) in named.iter().filter(|(name, _)| name.starts_with(SPARE)) {
            if let Err(error) = remove_left_over(spare) {
                debug!(%error, "cannot remove a folder kept for reuse");
            }
        }
        let run_of = |name: &str| name.trim_end_matches(SO_FAR).parse().ok();
        let left: Vec<(RunId, PathBuf)> =
            named.into_iter().filter_map(|(name, path)| Some((run_of(&name)?, path))).collect();
        let runs: Vec<RunId> = left.iter().map(|(run, _)| *run).collect();
        let landed = self.0.context.archive.collection.landed_among(&self.0.context.upstream.name, &runs).await?;
        for (run_id, path) in left.iter().filter(|(run, _)| landed.contains(run)) {
            match remove_left_over(path) {
                Ok(true) => info!(run.id = %run_id, "removing left-over pages of a landed run"),
                Ok(false) => {}
                // They only take up space; nothing waits for their removal.
                Err(error) => warn!(run.id = %run_id, %error, "cannot remove pages of a landed run"),
            }
        }
        Ok(())
    }

    /// Claims the oldest due run and lands it; none if no run is due.
    pub(super) async fn land_one(&self, stop: &CancellationToken) -> Result<Option<CollectStats>> {
        let Shared { context, progress, .. } = &*self.0;
        let CollectContext { archive, upstream, .. } = context.as_ref();
        tokio::select! {
            tidied = self.0.is_tidy.get_or_try_init(|| self.tidy()) => { tidied?; }
            () = stop.cancelled() => return Ok(None),
        }
        let now = upstream.client.clock().now();
        if self.0.pause.is_on(now) {
            return Ok(None);
        }
        // If it is stopped here, a claim may be lost; its lease expires.
        let claimed = tokio::select! {
            claimed = archive.collection.claim_run(&upstream.name, lease_end(&self.0.context, now)) => claimed?,
            () = stop.cancelled() => None,
        };
        let Some(claimed) = claimed else { return Ok(None) };
        self.0.landing.wake();
        let run_id = claimed.run_id()?;
        let lease = RunLease::hold(&self.0.context, &claimed);
        let outcome = tokio::select! {
            // A separate task: a run that makes it panic is retried later, like any other failed run.
            ended = AbortOnDropHandle::new(tokio::spawn(self.clone().fetch_and_store(claimed.clone(), run_id))) => {
                ended.map_err(CollectError::from).flatten()
            }
            () = lease.lost() => {
                warn!(run.id = %run_id, "another collector has taken over a run whose lease expired");
                return Ok(Some(CollectStats::default()));
            }
            () = stop.cancelled() => {
                // The pages on disk are kept, to resume from them.
                with_shutdown_timeout(archive.collection.release(&upstream.name, &claimed)).await?;
                return Ok(Some(CollectStats::default()));
            }
        };
        let error = match outcome {
            Ok(Some(records)) => {
                info!(run.id = %run_id, records, "the complete log of a run has landed");
                progress.report(CollectEvent::Landed(run_id, records));
                return Ok(Some(CollectStats { landed: 1, records, ..CollectStats::default() }));
            }
            Ok(None) => {
                info!(run.id = %run_id, "a run has no log");
                progress.report(CollectEvent::NoLog(run_id));
                return Ok(Some(CollectStats { no_log: 1, ..CollectStats::default() }));
            }
            Err(error) => error,
        };
        let setback = self.setback(&claimed, &error);
        self.0.pause.begin_if_unauthorized(&error, upstream.client.clock().now());
        let noting = async {
            match is_log_missing(&error) {
                true => archive.collection.record_no_log(&upstream.name, &claimed, &setback).await,
                false => archive.collection.record_failure(&upstream.name, &claimed, &setback).await,
            }
        };
        let noted = until_shutdown(noting, stop).await;
        let FailedAttempt { error: problem, retry_at, .. } = setback;
        if let Err(error) = noted {
            warn!(run.id = %run_id, problem, "a run was not landed, and this cannot be recorded in the archive");
            return Err(error.into());
        }
        info!(run.id = %run_id, problem, %retry_at, "a run was not landed and will be retried");
        progress.report(CollectEvent::SetBack(run_id, &problem));
        Ok(Some(CollectStats { set_back: 1, ..CollectStats::default() }))
    }

    /// Stores the new records of a running run; false if no running run is due to be polled.
    pub(super) async fn follow_one(&self, stop: &CancellationToken) -> Result<bool> {
        let CollectContext { archive, upstream, .. } = self.0.context.as_ref();
        let Some(every) = upstream.settings.while_going else { return Ok(false) };
        let now = upstream.client.clock().now();
        let before = now.plus_millis(-millis(every));
        let claimed = tokio::select! {
            claimed = archive.collection.claim_running_run(&upstream.name, lease_end(&self.0.context, now), before) => claimed?,
            () = stop.cancelled() => None,
        };
        let Some(claimed) = claimed else { return Ok(false) };
        self.0.following.wake();
        let run_id = claimed.run_id()?;
        let lease = RunLease::hold(&self.0.context, &claimed);
        let outcome = tokio::select! {
            ended = AbortOnDropHandle::new(tokio::spawn(self.clone().fetch_and_store_so_far(claimed.clone()))) => {
                ended.map_err(CollectError::from).flatten()
            }
            () = lease.lost() => return Ok(true),
            () = stop.cancelled() => {
                // The next attempt resumes from the pages on disk.
                with_shutdown_timeout(archive.collection.release(&upstream.name, &claimed)).await?;
                return Ok(true);
            }
        };
        if let Err(error) = outcome {
            // The rest is fetched after the end of the run.
            warn!(
                run.id = %run_id,
                error = &error as &dyn std::error::Error,
                "cannot store what a run has logged so far; it will be retried"
            );
        }
        until_shutdown(archive.collection.release_checked(&upstream.name, &claimed), stop).await?;
        Ok(true)
    }

    /// Fetches from the last archived time on, so that no record is missed; records that are archived already are not
    /// stored again.
    async fn fetch_and_store_so_far(self, claimed: ClaimedRun) -> Result<()> {
        let archive = &self.0.context.archive;
        let run_id = claimed.run_id()?;
        let run = execution_of(run_id, &claimed.body)?;
        let newest = LiveQuery { range: TimeRange::ALL, order: RecordOrder::Desc, start_index: 0, count: 1 };
        let newest = match archive.runs.get(run_id).await? {
            Some(_) => archive.logs.live_page(run_id, &newest).await?.records.pop(),
            None => None,
        };
        let start = newest.map(|record| record.time.floor_to_second());
        let folder = self.0.context.work_folder()?.join(format!("{run_id}{SO_FAR}"));
        let fetched = match self.fetch_from(start, &run, run_id, &folder).await {
            // An interrupted attempt started at another time.
            Err(CollectError::Fetch(FetchError::OtherFetch { .. })) if remove_left_over(&folder)? => {
                self.fetch_from(start, &run, run_id, &folder).await
            }
            fetched => fetched,
        };
        match fetched {
            Ok(fetched) => Ok(fetched.checkpoint.remove()?),
            Err(error) => {
                // The next attempt starts at the last archived time.
                if let Err(error) = remove_left_over(&folder) {
                    debug!(run.id = %run_id, %error, "pages of a failed attempt are left behind");
                }
                match error {
                    // The run has not logged anything yet.
                    CollectError::Fetch(FetchError::NoLog) => Ok(()),
                    error => Err(error),
                }
            }
        }
    }

    /// Fetches the records of a run since this time, and lands them.
    async fn fetch_from(
        &self,
        start: Option<Timestamp>,
        run: &Execution,
        run_id: RunId,
        folder: &Path,
    ) -> Result<JoinedLog> {
        let request =
            FetchRequest { range: TimeRange { start, end: None }, settle: None, ..self.fetch_request(run_id) };
        let mut ingestor = Ingestor::new(Arc::clone(&self.0.context), run.clone(), run_id, start);
        let (client, folder) = (&self.0.context.upstream.client, Some(folder.to_owned()));
        let fetched = fetch_into(client, &request, folder, &mut ingestor, Arc::new(NoProgress)).await;
        ingestor.finish().await;
        fetched
    }

    /// Fetches the log of a run, lands it, and ends the run. Returns the number of records; none if it has no log.
    async fn fetch_and_store(self, claimed: ClaimedRun, run_id: RunId) -> Result<Option<u64>> {
        let Shared { context, progress, .. } = &*self.0;
        let CollectContext { archive, upstream, .. } = context.as_ref();
        progress.report(CollectEvent::Fetching(run_id));
        let run = execution_of(run_id, &claimed.body)?;
        let finish = finish_request(&run).ok_or_else(|| {
            let what = format!("its status {:?} is not final", run.status_text);
            CollectError::BadRun { run: run_id.to_string(), what }
        })?;
        let folder = self.0.context.work_folder()?.join(run_id.to_string());
        self.0.spare_folders.put_at(&folder);
        let details = AbortOnDropHandle::new(tokio::spawn(self.clone().details(run.clone(), run_id)));
        let finish = async move { Ok::<_, CollectError>(details.await.map_err(FetchError::from)?.unwrap_or(finish)) };
        let request = FetchRequest {
            known: Some(run.clone()),
            settle: Some(if planted::is("log-fetched-early") { Duration::ZERO } else { upstream.settings.settle }),
            ..self.fetch_request(run_id)
        };
        let has_no_log = is_without_log_at_its_source(&run);
        let mut ingestor = Ingestor::new(Arc::clone(&self.0.context), run, run_id, None);
        let adapter = Arc::new(ProgressAdapter(Arc::clone(progress)));
        let fetched = fetch_into(&upstream.client, &request, Some(folder.clone()), &mut ingestor, adapter).await;
        let odd = ingestor.odd();
        ingestor.finish().await;
        let JoinedLog { report, checkpoint } = match fetched {
            Err(CollectError::Fetch(gone @ FetchError::Gone { got })) if claimed.no_log_answers + 1 >= NO_LOG_TRIES => {
                let finish = finish.await?;
                let log = LandedLog { records: got, pages: 0, components_due_at: self.components_due_at(&finish) };
                let problem = gone.to_string();
                archive.collection.finish_incomplete(&upstream.name, &claimed, &finish, log, &problem).await?;
                if let Err(error) = remove_left_over(&folder) {
                    debug!(run.id = %run_id, %error, "pages of a deleted log could not be removed");
                }
                warn!(upstream = upstream.name, run.id = %run_id, problem, "the log of a run remains incomplete");
                return Ok(None);
            }
            Err(CollectError::Fetch(FetchError::NoLog)) => {
                if let Err(error) = remove_left_over(&folder) {
                    debug!(run.id = %run_id, %error, "the folder of a run without a log is left behind");
                }
                let finish = finish.await?;
                self.end_without_log(&claimed, run_id, &finish).await?;
                return Ok(None);
            }
            fetched => fetched?,
        };
        let finish = finish.await?;
        if report.pages == 0 {
            checkpoint.remove()?;
            self.end_without_log(&claimed, run_id, &finish).await?;
            return Ok(None);
        }
        if report.records == 0 && has_no_log {
            checkpoint.remove()?;
            let due_at = self.components_due_at(&finish);
            archive.collection.finish_without_log(&upstream.name, &claimed, &finish, due_at).await?;
            return Ok(None);
        }
        if matches!(report.completeness, Completeness::SoFar { .. }) {
            // The next attempt does not resume from pages of a log that grows.
            checkpoint.remove()?;
            return Err(CollectError::Unsettled { run: run_id.to_string() });
        }
        let landed = LandedLog {
            records: report.records,
            pages: report.pages,
            components_due_at: self.components_due_at(&finish),
        };
        archive.collection.land(&upstream.name, &claimed, &finish, landed).await?;
        failpoint::reach("collect-landed");
        let records = report.records_mended + odd;
        if records > 0 {
            let upstream = &upstream.name;
            warn!(
                upstream,
                run.id = %run_id,
                records,
                "the log of run {run_id} has {records} malformed records, which are stored as closely as possible"
            );
            progress.report(CollectEvent::Mended(run_id, records));
        }
        self.0.spare_folders.take(checkpoint);
        Ok(Some(report.records))
    }

    /// Records what the upstream returns only for a single task and for a single run. Returns the end of the run with
    /// these details; none if the upstream has none of the run. The log is fetched meanwhile.
    async fn details(self, run: Execution, run_id: RunId) -> Option<FinishRun> {
        let context = &self.0.context;
        let described = context.tasks.describe_task(&context.archive.workspaces, &context.upstream, &run).await;
        if let Err(error) = described {
            context.record_detail_failure(Detail::TaskDescription, &error).await;
        }
        if has_details(&run) {
            return None;
        }
        let detailed = match context.upstream.client.execution_details(run_id).await {
            Ok(details) => with_details(&run, details),
            Err(error) if error.kind() == Problem::NotFound => return None,
            Err(error) => {
                context.record_detail_failure(Detail::Run, &error).await;
                return None;
            }
        };
        if let Err(error) = context.record_run(&detailed, run_id).await {
            // The error is not returned here: landing the log encounters it as well.
            debug!(run.id = %run_id, %error, "cannot record the details of a run");
        }
        finish_request(&detailed)
    }

    /// Ends a run without a log. `NoLogYet`: its log may still appear, whether the run has just ended or an answer was
    /// wrong.
    async fn end_without_log(&self, claimed: &ClaimedRun, run_id: RunId, finish: &FinishRun) -> Result<()> {
        if claimed.no_log_answers + 1 < NO_LOG_TRIES {
            return Err(CollectError::NoLogYet { run: run_id.to_string() });
        }
        let CollectContext { archive, upstream, .. } = self.0.context.as_ref();
        let due_at = self.components_due_at(finish);
        Ok(archive.collection.finish_without_log(&upstream.name, claimed, finish, due_at).await?)
    }

    /// When the component metrics of a run are due; `None` if they are not wanted.
    fn components_due_at(&self, finish: &FinishRun) -> Option<Timestamp> {
        let upstream = &self.0.context.upstream;
        let (now, settle) = (upstream.client.clock().now(), upstream.settings.settle);
        let ended = finish.finish_timestamp.map(|ended| upstream.client.in_own_time(ended));
        let due_at = component_metrics::due_at(now, ended, settle);
        upstream.settings.component_metrics.then_some(due_at)
    }

    fn fetch_request(&self, run_id: RunId) -> FetchRequest {
        let settings = &self.0.context.upstream.settings;
        FetchRequest {
            pages_in_flight: settings.pages_in_flight,
            page_memory_bytes: settings.page_memory_bytes,
            ..FetchRequest::new(run_id, Output::StandardOutput)
        }
    }

    fn setback(&self, claimed: &ClaimedRun, error: &CollectError) -> FailedAttempt {
        let mut problem = error_chain(error);
        if let CollectError::Fetch(
            FetchError::Incomplete { .. } | FetchError::Uncounted { .. } | FetchError::Gone { .. },
        ) = error
        {
            problem += "; see the run's page for the received records";
        }
        let expected = match error {
            CollectError::Fetch(FetchError::Incomplete { expected, .. }) => Some(*expected),
            _ => None,
        };
        let longest = if is_outage(error) { AGAIN_MAX_OUTAGE } else { AGAIN_MAX };
        let now = self.0.context.upstream.client.clock().now();
        // An unavailable upstream is no evidence that there is no log.
        let tried = if is_log_missing(error) { claimed.no_log_answers } else { claimed.attempts };
        let attempts = u32::try_from(tried).unwrap_or_default();
        let again = backoff(AGAIN_FIRST, attempts, longest);
        FailedAttempt { error: problem, expected, retry_at: now.plus_millis(millis(again)) }
    }
}

/// True if the service has answered that it has no log, or no more of it.
fn is_log_missing(error: &CollectError) -> bool {
    matches!(error, CollectError::NoLogYet { .. } | CollectError::Fetch(FetchError::Gone { .. }))
}

/// True if the archive or the service was unavailable, or has not accepted the credentials: other runs fail in the same
/// way, and land after the outage.
fn is_outage(error: &CollectError) -> bool {
    match error {
        CollectError::Archive(error) => matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Busy),
        CollectError::Upstream(error)
        | CollectError::Fetch(FetchError::Upstream(error) | FetchError::Uncounted { source: error, .. }) => {
            matches!(error.kind(), Problem::Unauthorized | Problem::Limited | Problem::Unavailable)
        }
        _ => false,
    }
}
