//! Finds the runs of an upstream that are wanted, by whichever of its lists costs fewer requests.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use runlog_client::{ErrorKind, Execution, ExecutionFilter, ExecutionScope};
use runlog_model::{EnvironmentId, RunId, TaskId, Timestamp, WorkspaceId, millis};
use runlog_store::collection::{UpsertCounts, UpstreamRun, UpstreamRunState};
use tracing::{debug, warn};

use super::context::CollectContext;
use super::error::{CollectError, Result};
use super::range::Range;
use super::run_list::read_list;
use super::upstream::Upstream;

/// Runs that the lists do not tell of any more, and that are asked after one by one, in a round.
const ASKED_AFTER_MAX: u64 = 200;
/// Ids of runs that cannot be collected which are remembered, so that each is said once; and as many as are shown of them.
const UNREADABLE_MAX: usize = 10_000;
const UNREADABLE_SHOWN: usize = 5;
/// Finds runs, and remembers what it learned of the places they belong to.
pub(crate) struct Discovery {
    /// Requests that the last listing by place took.
    broad_requests: AtomicU64,
    /// When the current round began; [`NOT_LISTING`] outside of rounds.
    listing_since: AtomicI64,
    /// Ids of runs that cannot be collected, as far as that was said.
    said: std::sync::Mutex<HashSet<String>>,
}

/// There is no current round.
const NOT_LISTING: i64 = i64::MAX;

/// What a round of discovery found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Discovered {
    /// Runs that the lists told of.
    pub listed: u64,
    /// Those of them that were not known.
    pub new: u64,
    /// Those of them that a choice of statuses had left out before, and that are wanted now.
    pub taken_in: u64,
    /// Runs beside them that cannot be collected, because their ids are no UUIDs.
    pub unreadable: u64,
    /// Requests that it took.
    pub requests: u64,
}

/// A round of discovery that has ended, well or not.
pub(crate) struct DiscoveryOutcome {
    pub(crate) found: Discovered,
    /// Every list was read to its end.
    pub(crate) is_all_listed: bool,
    /// The first thing that went wrong.
    pub(crate) problem: Option<CollectError>,
}

/// What the current round has found so far. A run may be in several lists.
#[derive(Default)]
struct Found {
    listed: u64,
    learned: UpsertCounts,
    unreadable: HashSet<String>,
    requests: u64,
    is_all_listed: bool,
    /// The first thing that a list or a run met, while the others went on.
    problem: Option<CollectError>,
}

/// Where runs are looked for, and which of those that are found are wanted.
struct Lists {
    scopes: Vec<ExecutionScope>,
    /// Only runs of these; of all tasks when absent.
    tasks: Option<HashSet<TaskId>>,
    is_by_place: bool,
}

impl Discovery {
    pub(crate) fn new() -> Self {
        Self {
            broad_requests: AtomicU64::new(0),
            listing_since: AtomicI64::new(NOT_LISTING),
            said: std::sync::Mutex::default(),
        }
    }

    /// Lists the runs from a time on and keeps what is told of them. Then asks after those that go on, as far as is
    /// known, and that no list told of. What one list or one run meets does not keep the others up.
    pub(crate) async fn round(&self, context: &CollectContext, range: Range) -> DiscoveryOutcome {
        let CollectContext { upstream, .. } = context;
        let mut found = Found::default();
        self.listing_since.store(upstream.client.clock().now().as_millis(), Ordering::Relaxed);
        if let Err(error) = self.look(context, range, &mut found).await {
            found.problem.get_or_insert(error);
        }
        self.listing_since.store(NOT_LISTING, Ordering::Relaxed);
        let Found { listed, learned, requests, unreadable, is_all_listed, problem } = found;
        self.say_unreadable(upstream, &unreadable);
        let UpsertCounts { new, included: taken_in } = learned;
        let found = Discovered { listed, new, taken_in, requests, unreadable: unreadable.len() as u64 };
        DiscoveryOutcome { found, is_all_listed, problem }
    }

    /// Says which runs cannot be collected, each once.
    fn say_unreadable(&self, upstream: &Upstream, unreadable: &HashSet<String>) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new: Vec<&String> = unreadable.iter().filter(|id| !said.contains(*id)).collect();
        if new.is_empty() || said.len() >= UNREADABLE_MAX {
            return;
        }
        new.sort();
        said.extend(new.iter().take(UNREADABLE_MAX).map(|id| (*id).clone()));
        let (runs, upstream) = (new.len(), &upstream.name);
        new.truncate(UNREADABLE_SHOWN);
        warn!(upstream, runs, ids = ?new, "{runs} runs cannot be collected because their IDs are not UUIDs");
    }

    /// True when the current round began then or before.
    pub(crate) fn has_been_listing_since(&self, then: Timestamp) -> bool {
        self.listing_since.load(Ordering::Relaxed) <= then.as_millis()
    }

    /// Polls the runs that are known as running and of which nothing was heard since then.
    pub(crate) async fn follow(&self, context: &CollectContext, not_heard_since: Timestamp) -> Result<()> {
        let (lists, mut found) = (self.lists(context).await?, Found::default());
        self.ask_after(context, &lists, not_heard_since, &mut found).await?;
        found.problem.map_or(Ok(()), Err)
    }

    async fn look(&self, context: &CollectContext, range: Range, found: &mut Found) -> Result<()> {
        let CollectContext { upstream, .. } = context;
        let begun = upstream.client.clock().now();
        let lists = self.lists(context).await?;
        self.read_lists(context, &lists, range, found).await?;
        found.is_all_listed = found.problem.is_none();
        if lists.is_by_place && found.is_all_listed {
            self.broad_requests.store(found.requests, Ordering::Relaxed);
        }
        self.ask_after(context, &lists, begun, found).await
    }

    /// Reads every list; fails with what the next one would meet as well.
    async fn read_lists(&self, context: &CollectContext, lists: &Lists, range: Range, found: &mut Found) -> Result<()> {
        let CollectContext { upstream, .. } = context;
        for scope in &lists.scopes {
            for window in range.windows(upstream.settings.window_max) {
                let Err(error) = self.list(context, lists, *scope, window, found).await else { continue };
                if let Some(task) = unknown_task(*scope, &error) {
                    context.tasks.lose_task(task).await;
                    break;
                }
                if is_met_by_all(&error) {
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
                // What was refused would be refused for the next window as well.
                let is_refused = matches!(error, CollectError::Upstream(_));
                found.problem.get_or_insert(error);
                if is_refused {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Asks after the runs that no list told of; fails with what the next one would meet as well.
    async fn ask_after(
        &self,
        context: &CollectContext,
        lists: &Lists,
        begun: Timestamp,
        found: &mut Found,
    ) -> Result<()> {
        let CollectContext { archive, upstream, .. } = context;
        for run_id in archive.collection.runs_to_poll(&upstream.name, begun, ASKED_AFTER_MAX).await? {
            found.requests += 1;
            match upstream.client.execution(run_id).await {
                Ok(run) => match to_upstream_run(upstream, lists, &run) {
                    Some(told) => {
                        archive.collection.upsert_runs(&upstream.name, &[told]).await?;
                    }
                    None => {
                        debug!(run.id = %run_id, "a running run is no longer included");
                        archive.collection.mark_polled(&upstream.name, run_id).await?;
                    }
                },
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    warn!(run.id = %run_id, "the upstream no longer knows a run that was running");
                    archive.collection.mark_missing(&upstream.name, run_id).await?;
                }
                Err(error) => {
                    // Whatever it is, the next round begins with another run.
                    archive.collection.mark_polled(&upstream.name, run_id).await?;
                    let error = CollectError::from(error);
                    if is_met_by_all(&error) {
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

    /// How many runs the lists hold, by a request for each window.
    pub(crate) async fn count(&self, context: &CollectContext, range: Range) -> Result<u64> {
        let upstream = &context.upstream;
        let mut runs = 0;
        for scope in self.lists(context).await?.scopes {
            for window in range.windows(upstream.settings.window_max) {
                let (from, to) = (Some(window.from), Some(window.to));
                let tags = upstream.selection.tags.clone();
                let filter = ExecutionFilter { from, to, tags, limit: 1, ..ExecutionFilter::default() };
                runs += upstream.client.executions(scope, &filter).await?.total;
            }
        }
        Ok(runs)
    }

    /// Reads one list of one window, or of its halves where it is too long.
    async fn list(
        &self,
        context: &CollectContext,
        lists: &Lists,
        scope: ExecutionScope,
        window: Range,
        found: &mut Found,
    ) -> Result<()> {
        let CollectContext { archive, upstream, .. } = context;
        let mut windows = vec![window];
        while let Some(window) = windows.pop() {
            match read_list(upstream, scope, window, &mut found.requests).await? {
                Some(runs) => {
                    let wanted: Vec<UpstreamRun> =
                        runs.iter().filter_map(|run| to_upstream_run(upstream, lists, run)).collect();
                    found.listed += wanted.len() as u64;
                    let unreadable = runs.iter().map(Execution::id).filter(|id| id.parse::<RunId>().is_err());
                    found.unreadable.extend(unreadable.map(str::to_owned));
                    let learned = archive.collection.upsert_runs(&upstream.name, &wanted).await?;
                    found.learned.new += learned.new;
                    found.learned.included += learned.included;
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
                // The last runs of one that is gone are still wanted.
                if tasks.insert(task) && is_known {
                    by_task.push(ExecutionScope::Task(task));
                }
            }
        }
        // A request for each task, or as many as it takes to read the runs of all tasks.
        let broad = self.broad_requests.load(Ordering::Relaxed).max(2 * by_place.len() as u64);
        // The list of a single task knows no tags.
        let is_by_place = by_task.len() as u64 > broad || !selection.tags.is_empty();
        let scopes = if is_by_place { by_place } else { by_task };
        Ok(Lists { scopes, tasks: Some(tasks), is_by_place })
    }

    /// Environments and workspaces, by id or name.
    async fn places(&self, upstream: &Upstream) -> Result<Vec<ExecutionScope>> {
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

/// What the archive keeps of a listed run; none when it is not wanted, or has no id that can be read.
fn to_upstream_run(upstream: &Upstream, lists: &Lists, run: &Execution) -> Option<UpstreamRun> {
    let Ok(run_id) = run.id().parse::<RunId>() else {
        debug!(run.id = run.id(), "the ID of a run is not a UUID");
        return None;
    };
    let task_id = run.text("taskId").or_else(|| run.text("jobId")).unwrap_or_default();
    if let Some(tasks) = &lists.tasks
        && !task_id.parse().is_ok_and(|id: TaskId| tasks.contains(&id))
    {
        return None;
    }
    let statuses = &upstream.selection.statuses;
    let is_wanted = statuses.is_empty() || run.status.is_some_and(|status| statuses.contains(&status));
    let progress = match (run.is_final(), is_wanted) {
        (false, _) => UpstreamRunState::Running,
        (true, true) => UpstreamRunState::Pending,
        (true, false) => UpstreamRunState::Excluded,
    };
    let ended = run.finished_at.or(run.started_at).or(run.triggered_at);
    let settle_ms = millis(upstream.settings.settle);
    let now = upstream.client.clock().now();
    Some(UpstreamRun {
        run_id,
        task_id: task_id.to_owned(),
        progress,
        status: run.status_text.clone(),
        triggered_at: run.triggered_at,
        finished_at: run.finished_at,
        // A run that is said to end in the future has ended all the same.
        due_at: ended.map_or(now, |ended| ended.min(now).plus_millis(settle_ms)),
        body: run.raw.to_string(),
    })
}

/// The task that the upstream says it does not know, where the list of its runs was asked for.
fn unknown_task(scope: ExecutionScope, error: &CollectError) -> Option<TaskId> {
    match (scope, error) {
        (ExecutionScope::Task(task), CollectError::Upstream(error)) if error.kind() == ErrorKind::NotFound => {
            Some(task)
        }
        _ => None,
    }
}

/// True for what the next list or run would meet as well: the service or the archive is away, or lets nobody in.
fn is_met_by_all(error: &CollectError) -> bool {
    match error {
        CollectError::Upstream(error) => match error.kind() {
            ErrorKind::Unauthorized | ErrorKind::Limited | ErrorKind::Unavailable => true,
            ErrorKind::Invalid
            | ErrorKind::Forbidden
            | ErrorKind::NotFound
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
        | CollectError::BadRun { .. } => false,
    }
}

fn no_such(what: &'static str, wanted: &str, known: Vec<String>) -> CollectError {
    CollectError::NoSuchPlace { what, wanted: wanted.to_owned(), known: known.join(", ") }
}
