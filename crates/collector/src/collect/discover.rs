//! Finds the selected runs of an upstream, with the kind of list that takes fewer requests.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use runlog_client::{ErrorKind, Execution, ExecutionFilter, ExecutionScope};
use runlog_model::{EnvironmentId, RunId, TaskId, Timestamp, WorkspaceId, millis, planted};
use runlog_store::collection::{UpsertCounts, UpstreamRun, UpstreamRunState};
use tracing::{debug, warn};

use super::context::CollectContext;
use super::error::{CollectError, Result};
use super::history::History;
use super::range::Range;
use super::record_runs::record_runs;
use super::run_list::{List, Listed, read_list};
use super::tasks::task_text;
use super::upstream::Upstream;

/// Maximum number of runs per round that no longer appear in the lists and are polled one by one.
const ASKED_AFTER_MAX: u64 = 200;
/// Maximum number of IDs of uncollectable runs that are remembered, so that each is reported once; also the maximum
/// shown in a message.
const UNREADABLE_MAX: usize = 10_000;
const UNREADABLE_SHOWN: usize = 5;
/// The longest wait for another attempt to fetch a log or component metrics.
const WAIT_MAX: Duration = Duration::from_secs(6 * 3_600);
/// Maximum difference between the clocks of two collectors.
const CLOCKS_DIFFER: Duration = Duration::from_secs(3_600);
/// Finds runs, and remembers which tasks and workspaces they belong to.
pub(crate) struct Discovery {
    /// Number of requests of the last listing by workspace.
    broad_requests: AtomicU64,
    /// Start of the current round; [`NOT_LISTING`] between rounds.
    listing_since: AtomicI64,
    /// IDs of uncollectable runs that have been reported.
    said: std::sync::Mutex<HashSet<String>>,
    history: History,
}

/// No round is in progress.
const NOT_LISTING: i64 = i64::MAX;

/// The result of a round of discovery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Discovered {
    /// Number of runs in the lists.
    pub listed: u64,
    /// Number of them that were not known before.
    pub new: u64,
    /// Number of them that were excluded by a status filter before, and are selected now.
    pub taken_in: u64,
    /// Number of further runs that cannot be collected, because their IDs or those of their tasks cannot be read.
    pub unreadable: u64,
    /// Number of requests sent.
    pub requests: u64,
}

/// A round of discovery that has ended, successfully or not.
pub(crate) struct DiscoveryOutcome {
    pub(crate) found: Discovered,
    /// True if every list was read completely.
    pub(crate) is_all_listed: bool,
    /// The first error.
    pub(crate) problem: Option<CollectError>,
}

/// The runs found so far in the current round. A run may be in several lists.
#[derive(Default)]
struct RoundRuns {
    listed: u64,
    learned: UpsertCounts,
    unreadable: HashSet<String>,
    requests: u64,
    is_all_listed: bool,
    /// The first error of a single list or run; the others continue.
    problem: Option<CollectError>,
}

/// Where runs are listed, and which of them are selected.
struct Lists {
    scopes: Vec<ExecutionScope>,
    /// Only runs of these tasks; none for all tasks.
    tasks: Option<HashSet<TaskId>>,
    is_by_place: bool,
}

impl Discovery {
    pub(crate) fn new() -> Self {
        Self {
            broad_requests: AtomicU64::new(0),
            listing_since: AtomicI64::new(NOT_LISTING),
            said: std::sync::Mutex::default(),
            history: History::default(),
        }
    }

    /// Lists the runs since a time and stores them. Then polls the runs that are known to be running and were in no
    /// list, and records all of them in the archive. An error of one list or run does not affect the others.
    pub(crate) async fn round(&self, context: &CollectContext, range: Range) -> DiscoveryOutcome {
        let CollectContext { upstream, .. } = context;
        let mut found = RoundRuns::default();
        self.listing_since.store(upstream.client.clock().now().as_millis(), Ordering::Relaxed);
        if let Err(error) = self.list_runs(context, range, &mut found).await {
            found.problem.get_or_insert(error);
        }
        if let Err(error) = record_runs(context).await {
            found.problem.get_or_insert(error);
        }
        self.listing_since.store(NOT_LISTING, Ordering::Relaxed);
        let RoundRuns { listed, learned, requests, unreadable, is_all_listed, problem } = found;
        self.report_unreadable(upstream, &unreadable);
        let UpsertCounts { new, included: taken_in } = learned;
        let found = Discovered { listed, new, taken_in, requests, unreadable: unreadable.len() as u64 };
        DiscoveryOutcome { found, is_all_listed, problem }
    }

    /// Reports runs that cannot be collected, each once.
    fn report_unreadable(&self, upstream: &Upstream, unreadable: &HashSet<String>) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new: Vec<&String> = unreadable.iter().filter(|id| !said.contains(*id)).collect();
        if new.is_empty() || said.len() >= UNREADABLE_MAX {
            return;
        }
        new.sort();
        said.extend(new.iter().take(UNREADABLE_MAX).map(|id| (*id).clone()));
        let (runs, upstream) = (new.len(), &upstream.name);
        new.truncate(UNREADABLE_SHOWN);
        warn!(upstream, runs, ids = ?new, "{runs} runs cannot be collected because their IDs are not UUIDs, or the IDs of their tasks not 24 hexadecimal digits");
    }

    /// True if the current round started at or before this time.
    pub(crate) fn has_been_listing_since(&self, then: Timestamp) -> bool {
        self.listing_since.load(Ordering::Relaxed) <= then.as_millis()
    }

    /// Polls the runs that are known to be running and have not been updated since this time.
    pub(crate) async fn follow(&self, context: &CollectContext, silent_since: Timestamp) -> Result<()> {
        let (lists, mut found) = (self.lists(context).await?, RoundRuns::default());
        self.poll_unlisted(context, &lists, silent_since, &mut found).await?;
        record_runs(context).await?;
        found.problem.map_or(Ok(()), Err)
    }

    async fn list_runs(&self, context: &CollectContext, range: Range, found: &mut RoundRuns) -> Result<()> {
        let CollectContext { archive, upstream, .. } = context;
        let begun = upstream.client.clock().now();
        let latest = begun.plus_millis(millis(WAIT_MAX.max(2 * upstream.settings.settle) + CLOCKS_DIFFER));
        archive.collection.bring_forward(&upstream.name, latest).await?;
        let lists = self.lists(context).await?;
        self.read_lists(context, &lists, range, found).await?;
        found.is_all_listed = found.problem.is_none();
        if lists.is_by_place && found.is_all_listed {
            self.broad_requests.store(found.requests, Ordering::Relaxed);
        }
        self.poll_unlisted(context, &lists, begun, found).await
    }

    /// Reads every list. Fails only with errors that would affect the other lists, too.
    async fn read_lists(
        &self,
        context: &CollectContext,
        lists: &Lists,
        range: Range,
        found: &mut RoundRuns,
    ) -> Result<()> {
        let CollectContext { upstream, .. } = context;
        for scope in &lists.scopes {
            for window in range.windows(upstream.settings.window_max) {
                let Err(error) = self.list(context, lists, *scope, window, found).await else { continue };
                if let Some(task) = unknown_task(*scope, &error) {
                    context.tasks.stop_listing_task(task).await;
                    break;
                }
                if affects_all(&error) {
                    return Err(error);
                }
                warn!(
                    upstream = upstream.name,
                    ?scope,
                    from = %window.from,
                    to = %window.to,
                    error = &error as &dyn std::error::Error,
                    "cannot read a list of runs; it is read again in the next round"
                );
                // Other windows of this list would be refused, too.
                let is_refused = matches!(error, CollectError::Upstream(_));
                found.problem.get_or_insert(error);
                if is_refused {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Polls the runs that were in no list. Fails only with errors that would affect the other runs, too.
    async fn poll_unlisted(
        &self,
        context: &CollectContext,
        lists: &Lists,
        begun: Timestamp,
        found: &mut RoundRuns,
    ) -> Result<()> {
        let CollectContext { archive, upstream, .. } = context;
        for run_id in archive.collection.runs_to_poll(&upstream.name, begun, ASKED_AFTER_MAX).await? {
            found.requests += 1;
            match upstream.client.execution(run_id).await {
                Ok(mut run) => {
                    self.complete(context, lists, std::slice::from_mut(&mut run)).await?;
                    match to_upstream_run(upstream, lists, &run) {
                        Some(told) => {
                            archive.collection.upsert_runs(&upstream.name, &[told]).await?;
                        }
                        None => {
                            debug!(run.id = %run_id, "a running run is no longer included");
                            archive.collection.mark_polled(&upstream.name, run_id).await?;
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    warn!(run.id = %run_id, "the upstream no longer knows a run that was running");
                    archive.collection.mark_missing(&upstream.name, run_id).await?;
                }
                Err(error) => {
                    // In any case, the next round starts with another run.
                    archive.collection.mark_polled(&upstream.name, run_id).await?;
                    let error = CollectError::from(error);
                    if affects_all(&error) {
                        return Err(error);
                    }
                    warn!(
                        upstream = upstream.name,
                        run.id = %run_id,
                        error = &error as &dyn std::error::Error,
                        "the upstream does not return a running run; it is requested again in the next round"
                    );
                    found.problem.get_or_insert(error);
                }
            }
        }
        Ok(())
    }

    /// Where the selected runs are listed.
    pub(crate) async fn scopes(&self, context: &CollectContext) -> Result<Vec<ExecutionScope>> {
        Ok(self.lists(context).await?.scopes)
    }

    /// Number of runs in the lists, with one request per window.
    pub(crate) async fn count(&self, context: &CollectContext, range: Range) -> Result<u64> {
        let upstream = &context.upstream;
        let mut runs = 0;
        for scope in self.lists(context).await?.scopes {
            for window in range.windows(upstream.settings.window_max) {
                let (from, to) = (Some(window.from), Some(window.to));
                let tags = upstream.selection.tags.clone();
                let filter = ExecutionFilter { from, to, tags, limit: 1, ..ExecutionFilter::default() };
                let list = upstream.client.executions(scope, &filter).await?;
                runs += list.total.unwrap_or(list.items.len() as u64);
            }
        }
        Ok(runs)
    }

    /// Reads one list for one window, or for its halves if the list is too long.
    async fn list(
        &self,
        context: &CollectContext,
        lists: &Lists,
        scope: ExecutionScope,
        window: Range,
        found: &mut RoundRuns,
    ) -> Result<()> {
        let CollectContext { archive, upstream, .. } = context;
        let mut windows = vec![window];
        while let Some(window) = windows.pop() {
            match read_list(context, List::Runs, scope, window, &mut found.requests).await? {
                Some(Listed { mut runs, problem }) => {
                    self.complete(context, lists, &mut runs).await?;
                    let wanted: Vec<UpstreamRun> =
                        runs.iter().filter_map(|run| to_upstream_run(upstream, lists, run)).collect();
                    found.listed += wanted.len() as u64;
                    let unreadable = runs.iter().filter(|run| ids_of(run).is_none());
                    found.unreadable.extend(unreadable.map(|run| run.id().to_owned()));
                    let learned = archive.collection.upsert_runs(&upstream.name, &wanted).await?;
                    found.learned.new += learned.new;
                    found.learned.included += learned.included;
                    if let Some(problem) = problem {
                        return Err(problem);
                    }
                }
                None => {
                    let Some(halves) = window.halves() else {
                        return Err(CollectError::Crowded { upstream: upstream.name.clone(), at: window.from });
                    };
                    // The older half is read first.
                    windows.extend(halves);
                }
            }
        }
        Ok(())
    }

    /// Adds to the selected runs what only the history has of them.
    async fn complete(&self, context: &CollectContext, lists: &Lists, runs: &mut [Execution]) -> Result<()> {
        let upstream = &context.upstream;
        let is_wanted = |run: &Execution| {
            selected(upstream, lists, run).is_some_and(|run| run.progress == UpstreamRunState::Pending)
        };
        let mut wanted: Vec<&mut Execution> = runs.iter_mut().filter(|run| is_wanted(run)).collect();
        self.history.complete(context, &mut wanted).await
    }

    async fn lists(&self, context: &CollectContext) -> Result<Lists> {
        let upstream = &context.upstream;
        let selection = &upstream.selection;
        let by_place = self.places(upstream).await?;
        if selection.tasks.is_empty() && selection.task_names.is_empty() {
            return Ok(Lists { scopes: by_place, tasks: None, is_by_place: true });
        }
        let mut tasks: HashSet<TaskId> = selection.tasks.iter().copied().collect();
        let mut by_task: Vec<ExecutionScope> = tasks.iter().map(|task| ExecutionScope::Task(*task)).collect();
        if !selection.task_names.is_empty() {
            let listed = upstream.client.tasks(None, None).await?;
            for (task, is_known) in context.tasks.named(&selection.task_names, listed).await {
                // The last runs of a deleted task are still collected.
                if tasks.insert(task) && is_known {
                    by_task.push(ExecutionScope::Task(task));
                }
            }
        }
        // One request per task, or the number of requests needed to list the runs of all tasks.
        let broad = self.broad_requests.load(Ordering::Relaxed).max(2 * by_place.len() as u64);
        // The list of the runs of a single task cannot be filtered by tags.
        let is_by_place = by_task.len() as u64 > broad || !selection.tags.is_empty();
        let scopes = if is_by_place { by_place } else { by_task };
        Ok(Lists { scopes, tasks: Some(tasks), is_by_place })
    }

    /// Resolves environments and workspaces, given by ID or name.
    pub(crate) async fn places(&self, upstream: &Upstream) -> Result<Vec<ExecutionScope>> {
        let mut scopes = Vec::new();
        if !upstream.selection.environments.is_empty() {
            let known = upstream.client.environments().await?;
            for wanted in &upstream.selection.environments {
                let id: Option<EnvironmentId> = wanted.parse().ok();
                let place = known.iter().find(|place| Some(place.id) == id || place.name == *wanted);
                let names = || known.iter().map(|place| place.name.clone()).collect();
                let place = place.ok_or_else(|| no_such("environment", wanted, names()))?;
                scopes.push(ExecutionScope::Environment(place.id));
            }
        }
        if !upstream.selection.workspaces.is_empty() {
            let known = upstream.client.workspaces().await?;
            for wanted in &upstream.selection.workspaces {
                let id: Option<WorkspaceId> = wanted.parse().ok();
                let found: Vec<_> =
                    known.iter().filter(|place| Some(place.id) == id || place.name == *wanted).collect();
                if found.is_empty() {
                    return Err(no_such("workspace", wanted, known.iter().map(|place| place.name.clone()).collect()));
                }
                scopes.extend(found.iter().map(|place| ExecutionScope::Workspace(place.id)));
            }
        }
        if scopes.is_empty() {
            scopes.push(ExecutionScope::All);
        }
        Ok(scopes)
    }
}

/// A listed run that is of a selected task.
struct SelectedRun {
    run_id: RunId,
    task_id: TaskId,
    progress: UpstreamRunState,
}

/// None if the run is not of a selected task, or if its ID is invalid.
fn selected(upstream: &Upstream, lists: &Lists, run: &Execution) -> Option<SelectedRun> {
    let Some((run_id, task_id)) = ids_of(run) else {
        debug!(run.id = run.id(), "the ID of a run is not a UUID, or that of its task not 24 hexadecimal digits");
        return None;
    };
    if lists.tasks.as_ref().is_some_and(|tasks| !tasks.contains(&task_id)) {
        return None;
    }
    let statuses = &upstream.selection.statuses;
    let status = run.final_status().or(run.status);
    let is_wanted = statuses.is_empty() || status.is_some_and(|status| statuses.contains(&status));
    let progress = match (run.is_final(), is_wanted) {
        (false, _) => UpstreamRunState::Running,
        (true, true) => UpstreamRunState::Pending,
        (true, false) => UpstreamRunState::Excluded,
    };
    Some(SelectedRun { run_id, task_id, progress })
}

/// The listed run as stored in the archive; none if it is not selected, or if its ID is invalid.
fn to_upstream_run(upstream: &Upstream, lists: &Lists, run: &Execution) -> Option<UpstreamRun> {
    let SelectedRun { run_id, task_id, progress } = selected(upstream, lists, run)?;
    let ended = run.finished_at.or(run.started_at).or(run.triggered_at);
    let settle_ms = if planted::is("log-fetched-early") { 0 } else { millis(upstream.settings.settle) };
    let now = upstream.client.clock().now();
    Some(UpstreamRun {
        run_id,
        task_id: task_id.to_string(),
        progress,
        status: run.status_text.clone(),
        triggered_at: run.triggered_at,
        finished_at: run.finished_at,
        // A run whose end is reported as in the future has ended nevertheless.
        due_at: ended.map_or(now, |ended| upstream.client.in_own_time(ended).min(now).plus_millis(settle_ms)),
        body: run.raw.to_string(),
    })
}

/// The IDs of a run and its task; none if one of them cannot be read.
fn ids_of(run: &Execution) -> Option<(RunId, TaskId)> {
    run.id().parse().ok().zip(task_text(run).parse().ok())
}

/// The task whose runs were listed, if the upstream responds that it does not know it.
fn unknown_task(scope: ExecutionScope, error: &CollectError) -> Option<TaskId> {
    match (scope, error) {
        (ExecutionScope::Task(task), CollectError::Upstream(error)) if error.kind() == ErrorKind::NotFound => {
            Some(task)
        }
        _ => None,
    }
}

/// True for errors that would affect the next list or run, too: the service or the archive is unavailable, or refuses
/// access.
fn affects_all(error: &CollectError) -> bool {
    match error {
        CollectError::Upstream(error) => match error.kind() {
            ErrorKind::Unauthorized | ErrorKind::Limited | ErrorKind::Unavailable => true,
            ErrorKind::Invalid
            | ErrorKind::Forbidden
            | ErrorKind::NotFound
            | ErrorKind::Damaged
            | ErrorKind::Protocol
            | ErrorKind::Refused
            | ErrorKind::Storage => false,
        },
        CollectError::Archive(_) => true,
        CollectError::Fetch(_)
        | CollectError::NoSuchPlace { .. }
        | CollectError::Crowded { .. }
        | CollectError::Unsteady { .. }
        | CollectError::NoLogYet { .. }
        | CollectError::Unsettled { .. }
        | CollectError::UnsteadyMetrics { .. }
        | CollectError::BadRun { .. } => false,
    }
}

fn no_such(what: &'static str, wanted: &str, known: Vec<String>) -> CollectError {
    CollectError::NoSuchPlace { what, wanted: wanted.to_owned(), known: known.join(", ") }
}
