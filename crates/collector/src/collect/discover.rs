//! Finds the runs of an upstream that are wanted, by whichever of its lists costs fewer requests.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use runlog_client::{ErrorKind, Execution, ExecutionFilter, ExecutionScope, ListIds};
use runlog_model::place::{Environment, Task, Workspace};
use runlog_model::wire::places::TaskItem;
use runlog_model::{EnvironmentId, Random, RunId, TaskId, Timestamp, WorkspaceId};
use runlog_store::{Learned, RunProgress, Store, UpstreamRun};
use sha2::{Digest, Sha256};
use tracing::{debug, warn};

use super::error::{CollectError, Result};
use super::upstream::{Upstream, fits};

/// Runs in one answer, as many as the API gives.
const LIST_LIMIT: u64 = 100;
/// How often a list is read again that moved while it was read.
const LIST_TRIES: u32 = 5;
/// Runs that the lists do not tell of any more, and that are asked after one by one, in a round.
const ASKED_AFTER_MAX: u64 = 200;
/// Ids of runs that cannot be collected which are remembered, so that each is said once; and as many as are shown of them.
const UNREADABLE_MAX: usize = 10_000;
const UNREADABLE_SHOWN: usize = 5;
/// How long the list of tasks is not read again for the sake of a task that was not in it. Unit: milliseconds.
const MISSED_MS: i64 = 300_000;

/// Finds runs, and remembers what it learned of the places they belong to.
pub(crate) struct Discovery {
    tasks: tokio::sync::Mutex<Tasks>,
    /// Requests that the last listing by place took.
    broad_requests: AtomicU64,
    /// When the round began that goes on; [`NOT_LISTING`] when none does.
    listing_since: AtomicI64,
    /// Ids of runs that cannot be collected, as far as that was said.
    said: std::sync::Mutex<HashSet<String>>,
}

/// No round goes on.
const NOT_LISTING: i64 = i64::MAX;

/// The tasks of an upstream, as far as it shows them.
#[derive(Default)]
struct Tasks {
    /// Those that were ever shown: the last runs of one that was deleted may land after that.
    shown: HashMap<TaskId, TaskItem>,
    /// Those of which the upstream does not know any more.
    gone: HashSet<TaskId>,
    /// When tasks were looked for in vain.
    missed: HashMap<TaskId, Timestamp>,
    /// When the list could not be read.
    refused_at: Option<Timestamp>,
}

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
pub(crate) struct Ended {
    pub(crate) found: Discovered,
    /// Every list was read to its end.
    pub(crate) is_all_listed: bool,
    /// The first thing that went wrong.
    pub(crate) problem: Option<CollectError>,
}

/// What was found of a round that goes on. A run may be in several lists.
#[derive(Default)]
struct Found {
    listed: u64,
    learned: Learned,
    unreadable: HashSet<String>,
    requests: u64,
    is_all_listed: bool,
    /// The first thing that a list or a run met, while the others went on.
    problem: Option<CollectError>,
}

/// Where runs are looked for, and which of those that are found are wanted.
struct Lists {
    scopes: Vec<ExecutionScope>,
    /// None wants all.
    tasks: Option<HashSet<TaskId>>,
    is_by_place: bool,
}

impl Discovery {
    pub(crate) fn new() -> Self {
        Self {
            tasks: tokio::sync::Mutex::default(),
            broad_requests: AtomicU64::new(0),
            listing_since: AtomicI64::new(NOT_LISTING),
            said: std::sync::Mutex::default(),
        }
    }

    /// Lists the runs from a time on and keeps what is told of them. Then asks after those that go on, as far as is
    /// known, and that no list told of. What one list or one run meets does not keep the others up.
    pub(crate) async fn round(&self, store: &Store, upstream: &Upstream, range: Range) -> Ended {
        let mut found = Found::default();
        self.listing_since.store(upstream.client.clock().now().as_millis(), Ordering::Relaxed);
        if let Err(error) = self.look(store, upstream, range, &mut found).await {
            found.problem.get_or_insert(error);
        }
        self.listing_since.store(NOT_LISTING, Ordering::Relaxed);
        let Found { listed, learned, requests, unreadable, is_all_listed, problem } = found;
        self.say_unreadable(upstream, &unreadable);
        let Learned { new, taken_in } = learned;
        let found = Discovered { listed, new, taken_in, requests, unreadable: unreadable.len() as u64 };
        Ended { found, is_all_listed, problem }
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
        warn!(upstream, runs, ids = ?new, "{runs} runs cannot be collected, because their ids are no UUIDs");
    }

    /// True when a round goes on that began then or before.
    pub(crate) fn has_been_listing_since(&self, then: Timestamp) -> bool {
        self.listing_since.load(Ordering::Relaxed) <= then.as_millis()
    }

    /// Asks after the runs that go on, as far as is known, and of which nothing was heard since then.
    pub(crate) async fn follow(&self, store: &Store, upstream: &Upstream, not_heard_since: Timestamp) -> Result<()> {
        let (lists, mut found) = (self.lists(upstream).await?, Found::default());
        self.ask_after(store, upstream, &lists, not_heard_since, &mut found).await?;
        found.problem.map_or(Ok(()), Err)
    }

    async fn look(&self, store: &Store, upstream: &Upstream, range: Range, found: &mut Found) -> Result<()> {
        let begun = upstream.client.clock().now();
        let lists = self.lists(upstream).await?;
        self.read_lists(store, upstream, &lists, range, found).await?;
        found.is_all_listed = found.problem.is_none();
        if lists.is_by_place && found.is_all_listed {
            self.broad_requests.store(found.requests, Ordering::Relaxed);
        }
        self.ask_after(store, upstream, &lists, begun, found).await
    }

    /// Reads every list; fails with what the next one would meet as well.
    async fn read_lists(
        &self,
        store: &Store,
        upstream: &Upstream,
        lists: &Lists,
        range: Range,
        found: &mut Found,
    ) -> Result<()> {
        for scope in &lists.scopes {
            for window in range.windows(upstream.settings.window_max) {
                let Err(error) = self.list(store, upstream, lists, *scope, window, found).await else { continue };
                if let Some(task) = unknown_task(*scope, &error) {
                    self.lose_task(task).await;
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
                    "a list of runs could not be read, and is read again in the next round"
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
        store: &Store,
        upstream: &Upstream,
        lists: &Lists,
        begun: Timestamp,
        found: &mut Found,
    ) -> Result<()> {
        for run_id in store.runs_to_ask_after(&upstream.name, begun, ASKED_AFTER_MAX).await? {
            found.requests += 1;
            match upstream.client.execution(run_id).await {
                Ok(run) => match learned(upstream, lists, &run) {
                    Some(told) => {
                        store.learn_runs(&upstream.name, &[told]).await?;
                    }
                    None => {
                        debug!(run.id = %run_id, "a run that goes on is not wanted any more");
                        store.note_asked_after(&upstream.name, run_id).await?;
                    }
                },
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    warn!(run.id = %run_id, "the upstream does not know a run any more that was going on");
                    store.lose_run(&upstream.name, run_id).await?;
                }
                Err(error) => {
                    // Whatever it is, the next round begins with another run.
                    store.note_asked_after(&upstream.name, run_id).await?;
                    let error = CollectError::from(error);
                    if is_met_by_all(&error) {
                        return Err(error);
                    }
                    warn!(
                        upstream = upstream.name,
                        run.id = %run_id,
                        error = &error as &dyn std::error::Error,
                        "the upstream does not tell of a run that goes on, and is asked again in the next round"
                    );
                    found.problem.get_or_insert(error);
                }
            }
        }
        Ok(())
    }

    /// Does not ask for the runs of a task any more that was chosen by its name, unless the upstream shows it again.
    async fn lose_task(&self, task: TaskId) {
        match self.tasks.lock().await.gone.insert(task) {
            true => warn!(task.id = %task, "the upstream does not know a task any more, nor runs of it"),
            false => debug!(task.id = %task, "the upstream still does not know a task"),
        }
    }

    /// How many runs the lists hold, by a request for each window.
    pub(crate) async fn count(&self, upstream: &Upstream, range: Range) -> Result<u64> {
        let mut runs = 0;
        for scope in self.lists(upstream).await?.scopes {
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
        store: &Store,
        upstream: &Upstream,
        lists: &Lists,
        scope: ExecutionScope,
        window: Range,
        found: &mut Found,
    ) -> Result<()> {
        let mut windows = vec![window];
        while let Some(window) = windows.pop() {
            match read_list(upstream, scope, window, &mut found.requests).await? {
                Some(runs) => {
                    let wanted: Vec<UpstreamRun> =
                        runs.iter().filter_map(|run| learned(upstream, lists, run)).collect();
                    found.listed += wanted.len() as u64;
                    let unreadable = runs.iter().map(Execution::id).filter(|id| id.parse::<RunId>().is_err());
                    found.unreadable.extend(unreadable.map(str::to_owned));
                    let learned = store.learn_runs(&upstream.name, &wanted).await?;
                    found.learned.new += learned.new;
                    found.learned.taken_in += learned.taken_in;
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

    async fn lists(&self, upstream: &Upstream) -> Result<Lists> {
        let selection = &upstream.selection;
        let by_place = self.places(upstream).await?;
        if selection.tasks.is_empty() && selection.task_names.is_empty() {
            return Ok(Lists { scopes: by_place, tasks: None, is_by_place: true });
        }
        let mut tasks: HashSet<TaskId> = selection.tasks.iter().copied().collect();
        let mut by_task: Vec<ExecutionScope> = tasks.iter().map(|task| ExecutionScope::Task(*task)).collect();
        if !selection.task_names.is_empty() {
            let listed = upstream.client.tasks(None, None).await?;
            let mut known = self.tasks.lock().await;
            known.learn(listed);
            let is_fitting = |task: &TaskItem| selection.task_names.iter().any(|name| fits(&task.name, name));
            for task in known.shown.values().filter(|task| is_fitting(task)).map(|task| task.executable) {
                // The last runs of one that is gone are still wanted.
                if tasks.insert(task) && !known.gone.contains(&task) {
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

    /// Makes the task of a run known to the archive, and where it belongs. A task that the upstream does not show stays
    /// what it is there; one that is new there has its id as its name, in a workspace that is called like the upstream.
    pub(crate) async fn learn_task(&self, store: &Store, upstream: &Upstream, run: &Execution) -> Result<TaskId> {
        let text = run.text("taskId").or_else(|| run.text("jobId")).unwrap_or_default();
        let id: TaskId = text.parse().map_err(|_| CollectError::BadRun {
            run: run.id().to_owned(),
            what: format!("its task id {text:?} is not 24 hexadecimal digits"),
        })?;
        match self.shown(upstream, id).await {
            Some(item) => store.learn_task(&task(item, run)).await?,
            None => {
                let is_new = store.task(id).await?.is_none();
                if is_new {
                    store.learn_task(&nameless(upstream, id)).await?;
                }
            }
        }
        Ok(id)
    }

    /// What the upstream shows of a task.
    async fn shown(&self, upstream: &Upstream, id: TaskId) -> Option<TaskItem> {
        let now = upstream.client.clock().now();
        let is_to_be_looked_for = self.tasks.lock().await.is_to_be_looked_for(id, now);
        if is_to_be_looked_for {
            let listed = upstream.client.tasks(None, None).await;
            let mut tasks = self.tasks.lock().await;
            match listed {
                Ok(listed) => {
                    tasks.learn(listed);
                    tasks.miss(id, now);
                }
                Err(error) => {
                    // Names are not worth a log.
                    warn!(
                        upstream = upstream.name,
                        error = &error as &dyn std::error::Error,
                        "the upstream does not list its tasks: the names of new ones are not known"
                    );
                    tasks.refused_at = Some(now);
                }
            }
        }
        self.tasks.lock().await.shown.get(&id).cloned()
    }
}

impl Tasks {
    fn learn(&mut self, listed: Vec<TaskItem>) {
        self.refused_at = None;
        for item in listed {
            self.gone.remove(&item.executable);
            self.shown.insert(item.executable, item);
        }
    }

    /// Notes that a task was looked for, where that was in vain.
    fn miss(&mut self, id: TaskId, now: Timestamp) {
        self.missed.retain(|_, at| is_recent(*at, now));
        if !self.shown.contains_key(&id) {
            self.missed.insert(id, now);
        }
    }

    /// True for a task that the list may show when it is read now.
    fn is_to_be_looked_for(&self, id: TaskId, now: Timestamp) -> bool {
        let was_missed = self.missed.get(&id).is_some_and(|at| is_recent(*at, now));
        let was_refused = self.refused_at.is_some_and(|at| is_recent(at, now));
        !self.shown.contains_key(&id) && !was_missed && !was_refused
    }
}

fn is_recent(at: Timestamp, now: Timestamp) -> bool {
    (0..MISSED_MS).contains(&now.millis_since(at))
}

/// A task as the upstream shows it, for the archive.
fn task(item: TaskItem, run: &Execution) -> Task {
    let TaskItem { executable, name, workspace } = item;
    let environment = workspace.environment;
    let environment = Environment {
        id: environment.id,
        name: environment.name,
        description: environment.description,
        is_default: environment.default,
    };
    Task {
        id: executable,
        name,
        version: run.text("taskVersion").or_else(|| run.text("jobVersion")).unwrap_or("1.0").to_owned(),
        description: None,
        tags: Vec::new(),
        workspace: Workspace {
            id: workspace.id,
            name: workspace.name,
            description: workspace.description,
            owner: workspace.owner,
            environment,
        },
    }
}

/// A place for tasks that the upstream does not show.
fn nameless(upstream: &Upstream, id: TaskId) -> Task {
    let environment = Environment {
        id: EnvironmentId::random(&AlwaysTheSame(&upstream.name)),
        name: upstream.name.clone(),
        description: None,
        is_default: false,
    };
    let workspace = Workspace {
        id: WorkspaceId::random(&AlwaysTheSame(&upstream.name)),
        environment,
        name: upstream.name.clone(),
        description: Some("tasks that the upstream does not show".to_owned()),
        owner: upstream.name.clone(),
    };
    Task { id, workspace, name: id.to_string(), version: "1.0".to_owned(), description: None, tags: Vec::new() }
}

/// Makes ids that nobody else makes, and the same each time.
struct AlwaysTheSame<'a>(&'a str);

impl Random for AlwaysTheSame<'_> {
    fn fill(&self, bytes: &mut [u8]) {
        let digest = Sha256::digest(self.0);
        bytes.iter_mut().zip(digest.iter().cycle()).for_each(|(byte, made)| *byte = *made);
    }
}

/// A stretch of time, both ends inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first instant.
    pub from: Timestamp,
    /// The last instant.
    pub to: Timestamp,
}

impl Range {
    /// Stretches that are no longer than that, the oldest first.
    fn windows(self, longest: Duration) -> Vec<Self> {
        let step = i64::try_from(longest.as_millis()).unwrap_or(i64::MAX).max(1);
        let mut windows = Vec::new();
        let mut from = self.from;
        while from <= self.to {
            let to = from.plus_millis(step - 1).min(self.to);
            windows.push(Self { from, to });
            from = to.plus_millis(1);
        }
        windows
    }

    /// Its halves, the newer first; none when it is a single instant.
    fn halves(self) -> Option<[Self; 2]> {
        let length = self.to.millis_since(self.from);
        let middle = self.from.plus_millis(length / 2);
        (length > 0).then(|| [Self { from: middle.plus_millis(1), to: self.to }, Self { from: self.from, to: middle }])
    }
}

/// The runs of a window; none when they are too many to be listed.
///
/// Each page begins with the last run of the one before it. Where it does not, runs have come or gone while the list
/// was read, and as long as something may have been passed over, it is read again.
async fn read_list(
    upstream: &Upstream,
    scope: ExecutionScope,
    window: Range,
    requests: &mut u64,
) -> Result<Option<Vec<Execution>>> {
    let mut repeats = None;
    for _ in 0..LIST_TRIES {
        match read_list_once(upstream, scope, window, requests).await? {
            Listing::Whole(runs) => return Ok(Some(runs)),
            Listing::TooLong => return Ok(None),
            Listing::Repeats(error) => repeats = Some(error),
            Listing::Moved => {}
        }
        debug!(upstream = upstream.name, "a list moved while it was read, and is read again");
    }
    match repeats {
        Some(error) => Err(error.into()),
        None => Err(CollectError::Unsteady { upstream: upstream.name.clone(), from: window.from, to: window.to }),
    }
}

/// How reading a list came out.
enum Listing {
    Whole(Vec<Execution>),
    /// It has more runs than are read of one.
    TooLong,
    /// Runs have come or gone meanwhile.
    Moved,
    /// The service gave the same runs again.
    Repeats(runlog_client::Error),
}

async fn read_list_once(
    upstream: &Upstream,
    scope: ExecutionScope,
    window: Range,
    requests: &mut u64,
) -> Result<Listing> {
    let mut runs: Vec<Execution> = Vec::new();
    let (mut ids, mut offset) = (ListIds::default(), 0);
    loop {
        let filter = ExecutionFilter {
            from: Some(window.from),
            to: Some(window.to),
            tags: upstream.selection.tags.clone(),
            limit: LIST_LIMIT,
            offset,
            ..ExecutionFilter::default()
        };
        *requests += 1;
        let page = upstream.client.executions(scope, &filter).await?;
        if page.total.max(runs.len() as u64) > upstream.settings.offset_max {
            return Ok(Listing::TooLong);
        }
        let (count, total) = (page.items.len() as u64, page.total);
        // A run without an id tells nothing of where it stood, and counts wherever it stands.
        let joins = |first: &Execution| first.id().is_empty() || ids.has(first.id());
        if offset > 0 && !page.items.first().is_some_and(joins) {
            return Ok(Listing::Moved);
        }
        let again = usize::from(offset > 0 && page.items.first().is_some_and(|first| first.id().is_empty()));
        let is_new: Vec<bool> = page.items.iter().map(|run| run.id().is_empty() || !ids.has(run.id())).collect();
        let named = page.items.iter().map(Execution::id).filter(|id| !id.is_empty());
        let new = match ids.take("runs", offset, LIST_LIMIT, named) {
            Ok(new) => new,
            // A service that gives all at once, whatever is asked for, has given all.
            Err(_) if runs.len() as u64 >= total => return Ok(Listing::Whole(runs)),
            Err(error) => return Ok(Listing::Repeats(error)),
        };
        let kept = page.items.into_iter().zip(is_new).skip(again).filter(|(_, is_new)| *is_new).map(|(run, _)| run);
        let before = runs.len();
        runs.extend(kept);
        // Where the service does not tell how many there are, a full page is not the last.
        if count < LIST_LIMIT && runs.len() as u64 >= total {
            return Ok(Listing::Whole(runs));
        }
        // Fewer than were asked for are the end, unless the service gives fewer at a time.
        if count < 2 || new == 0 && runs.len() == before {
            return Ok(Listing::Moved);
        }
        offset += count - 1;
    }
}

/// What the archive keeps of a listed run; none when it is not wanted, or has no id that can be read.
fn learned(upstream: &Upstream, lists: &Lists, run: &Execution) -> Option<UpstreamRun> {
    let Ok(run_id) = run.id().parse::<RunId>() else {
        debug!(run.id = run.id(), "a run has an id that is no UUID");
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
        (false, _) => RunProgress::Going,
        (true, true) => RunProgress::Due,
        (true, false) => RunProgress::LeftOut,
    };
    let ended = run.finished_at.or(run.started_at).or(run.triggered_at);
    let settle_ms = i64::try_from(upstream.settings.settle.as_millis()).unwrap_or(i64::MAX);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: i64, to: i64) -> Range {
        Range { from: Timestamp::clamped(from), to: Timestamp::clamped(to) }
    }

    #[test]
    fn windows_and_halves_leave_no_instant_out_and_hold_none_twice() {
        assert_eq!(range(0, 9).windows(Duration::from_millis(4)), [range(0, 3), range(4, 7), range(8, 9)]);
        assert_eq!(range(5, 5).windows(Duration::from_millis(4)), [range(5, 5)]);
        assert_eq!(range(0, 9).halves(), Some([range(5, 9), range(0, 4)]));
        assert_eq!(range(0, 1).halves(), Some([range(1, 1), range(0, 0)]));
        assert_eq!(range(3, 3).halves(), None);
    }
}
