//! The parts of a request, each about one run: how runs start, and how the records of all of them are stored together.
//!
//! The number of queries hardly depends on the number of runs: what exists is looked up, what begins is started, and
//! what is stored is committed for all of them at once. Only the end of a run is a change of its own.

use std::collections::{HashMap, HashSet};

use axum::http::StatusCode;
use futures::future::join_all;
use runlog_model::wire::admin::{NewEnvironment, NewTask, NewWorkspace};
use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_model::workspaces::{Right, Task};
use runlog_model::{Record, Run, RunId, TaskId, WorkspaceId};
use runlog_store::ErrorKind;
use runlog_store::ingest::BatchWriter;

use crate::auth::rights;
use crate::http::error::{ApiError, ApiResult};
use crate::ingest::intake::{Intake, Naming, Outcome, RunBatch, Sender, TaskHint};
use crate::limits;

/// The part of a request about one run.
struct Part {
    run_id: RunId,
    batch: RunBatch,
    /// The ID of its batch of records.
    name: Option<String>,
}

/// A task by its ID, its workspace and its name, as far as these are named.
type TaskKey = (Option<TaskId>, Option<WorkspaceId>, Option<String>);

/// The tasks and workspaces of the runs of a request, as far as they are known.
#[derive(Default)]
struct TaskCache {
    /// The workspaces in which the caller may publish.
    publishable: HashSet<WorkspaceId>,
    /// The tasks of runs that did not exist, by task, workspace and name.
    tasks: HashMap<TaskKey, TaskId>,
}

/// The outcome of a part.
struct StoredPart {
    run_id: RunId,
    /// Number of records, at least 1.
    count: u64,
    records: ApiResult<u64>,
    end: Option<FinishRun>,
}

impl Intake {
    /// Stores what can be stored. Items that can never be stored are counted; a temporary failure is an error, so that
    /// the sender repeats the whole request. A repeated request has no effect, except for a single record without a
    /// batch ID. The decompressed body identifies the request.
    pub(crate) async fn store(self, sender: &Sender<'_>, body: &[u8]) -> ApiResult<Outcome> {
        self.store_named(sender, Naming::ByContent(body)).await
    }

    /// The same, with the names of batches given.
    pub(crate) async fn store_named(self, sender: &Sender<'_>, naming: Naming<'_>) -> ApiResult<Outcome> {
        let (parts, mut outcome) = self.into_parts(naming);
        let mut parts = parts.into_iter().map(|(run_id, batch, name)| Part { run_id, batch, name }).peekable();
        let mut task_cache = TaskCache::default();
        while parts.peek().is_some() {
            let some = parts.by_ref().take(limits::INTAKE_RUNS_AT_ONCE).collect();
            store(sender, some, &mut task_cache, &mut outcome).await?;
        }
        Ok(outcome)
    }
}

/// Stores some parts. What can never be stored is counted; a temporary failure is an error.
async fn store(
    sender: &Sender<'_>,
    parts: Vec<Part>,
    task_cache: &mut TaskCache,
    outcome: &mut Outcome,
) -> ApiResult<()> {
    let parts = begin_all(sender, parts, task_cache, outcome).await?;
    let with_records = parts.iter().filter(|part| !part.batch.records.is_empty());
    let named: Vec<_> = with_records.map(|part| (part.run_id, part.name.as_deref())).collect();
    let mut writers = sender.store.ingest().begin_batches(&named).await?.into_iter();
    let storing = parts.into_iter().map(|part| {
        let writer = if part.batch.records.is_empty() { None } else { writers.next() };
        store_part(sender, part, writer)
    });
    // All at once, so that they are committed together.
    for StoredPart { run_id, count, records, end } in join_all(storing).await {
        let Some(records) = accept(outcome, count, records)? else { continue };
        outcome.stored += records;
        if let Some(end) = end {
            finish(sender, run_id, end, outcome).await?;
        }
    }
    Ok(())
}

/// The result of a part; none if it can never be stored, which is counted. A temporary failure is an error.
fn accept<T>(outcome: &mut Outcome, count: u64, result: ApiResult<T>) -> ApiResult<Option<T>> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.status.is_server_error() => Err(error),
        Err(error) => {
            outcome.refused.add(count, error.message);
            Ok(None)
        }
    }
}

/// A batch without records only reports that a run has started or ended.
fn count_of(batch: &RunBatch) -> u64 {
    (batch.records.len() as u64).max(1)
}

/// Starts the runs that do not exist, and adds what is new about the others. Returns the parts whose records can be
/// stored.
async fn begin_all(
    sender: &Sender<'_>,
    parts: Vec<Part>,
    task_cache: &mut TaskCache,
    outcome: &mut Outcome,
) -> ApiResult<Vec<Part>> {
    let ids: Vec<RunId> = parts.iter().map(|part| part.run_id).collect();
    let known = sender.store.runs().get_all(&ids).await?;
    let (mut begun, mut new) = (Vec::with_capacity(parts.len()), Vec::new());
    for part in parts {
        let (known, count) = (known.get(&part.run_id), count_of(&part.batch));
        if known.is_some() && part.batch.begun.is_some() {
            let result = begin(sender, task_cache, &part).await;
            if accept(outcome, count, result)?.is_some() {
                begun.push(part);
            }
            continue;
        }
        let start = match start_of(sender, task_cache, known, &part).await {
            // Another request has created the task in the meantime: the current state counts.
            Err(error) if error.status == StatusCode::CONFLICT => start_of(sender, task_cache, known, &part).await,
            start => start,
        };
        match accept(outcome, count, start)? {
            Some(Some(start)) => new.push((part, start)),
            Some(None) => begun.push(part),
            None => {}
        }
    }
    if new.is_empty() {
        return Ok(begun);
    }
    let starts: Vec<(RunId, StartRun)> = new.iter().map(|(part, start)| (part.run_id, start.clone())).collect();
    let started = sender.store_to("start run").runs().start_new(&starts, sender.caller).await.map_err(ApiError::from);
    let started = match started {
        Ok(started) => started,
        Err(error) if error.status.is_server_error() => return Err(error),
        // One of them cannot be started: each is tried by itself.
        Err(_) => HashSet::new(),
    };
    for (part, _) in new {
        if started.contains(&part.run_id) {
            outcome.begun += 1;
            begun.push(part);
            continue;
        }
        let result = begin(sender, task_cache, &part).await;
        if let Some(is_new) = accept(outcome, count_of(&part.batch), result)? {
            outcome.begun += u64::from(is_new);
            begun.push(part);
        }
    }
    Ok(begun)
}

/// Starts a run that does not exist, or adds information. True if it is new.
async fn begin(sender: &Sender<'_>, task_cache: &mut TaskCache, part: &Part) -> ApiResult<bool> {
    match begin_once(sender, task_cache, part).await {
        // Another request has started the run or created its task in the meantime: the current state counts.
        Err(error) if error.status == StatusCode::CONFLICT => begin_once(sender, task_cache, part).await,
        begun => begun,
    }
}

async fn begin_once(sender: &Sender<'_>, task_cache: &mut TaskCache, part: &Part) -> ApiResult<bool> {
    let known = sender.store.runs().get(part.run_id).await?;
    let Some(start) = start_of(sender, task_cache, known.as_ref(), part).await? else { return Ok(false) };
    let (_, is_new) = sender.store_to("start run").runs().start(part.run_id, &start, sender.caller).await?;
    Ok(is_new)
}

/// How a run starts, or what is new about a known one; none if nothing is. The caller may publish in its workspace.
async fn start_of(
    sender: &Sender<'_>,
    task_cache: &mut TaskCache,
    known: Option<&Run>,
    part: &Part,
) -> ApiResult<Option<StartRun>> {
    let Part { run_id, batch, .. } = part;
    let task_id = match known {
        Some(run) => {
            task_cache.require_publisher(sender, run.workspace_id).await?;
            if batch.begun.is_none() {
                return Ok(None);
            }
            run.task_id
        }
        None => task_cache.task_of(sender, *run_id, &batch.task).await?,
    };
    let begun = batch.begun.clone().unwrap_or_else(|| StartRun::of_task(task_id));
    Ok(Some(StartRun {
        task_id,
        task_version: begun.task_version.or(batch.task.task_version.clone()),
        trigger_timestamp: begun.trigger_timestamp.or(batch.triggered_at.filter(|_| known.is_none())),
        start_timestamp: begun.start_timestamp.or(batch.first().filter(|_| known.is_none())),
        ..begun
    }))
}

/// Stores the records of a part with a writer, if it has any.
async fn store_part(sender: &Sender<'_>, part: Part, writer: Option<BatchWriter>) -> StoredPart {
    let Part { run_id, batch, name } = part;
    let (count, last) = (count_of(&batch), batch.last());
    let end = batch.ended.clone();
    let end = end.map(|ended| FinishRun { finish_timestamp: ended.finish_timestamp.or(last), ..ended });
    let records = match writer {
        Some(writer) => store_records(sender, writer, name.is_some(), batch.into_records()).await,
        None => Ok(0),
    };
    StoredPart { run_id, count, records, end }
}

/// Stores records once under their batch ID; returns how many are stored, now or before.
async fn store_records(
    sender: &Sender<'_>,
    mut writer: BatchWriter,
    is_named: bool,
    records: Vec<Record>,
) -> ApiResult<u64> {
    let count = records.len() as u64;
    for record in records {
        if let Err(error) = writer.push(&record).await {
            writer.abort().await;
            return Err(error.into());
        }
    }
    match writer.commit().await {
        Ok(stored) => {
            if !stored.repeated {
                sender.metrics.records_in.inc_by(stored.stored);
            }
            Ok(stored.stored)
        }
        // The body is the same, and only the times differ that were assigned to records without one.
        Err(error) if is_named && error.kind() == ErrorKind::Conflict => Ok(count),
        Err(error) => Err(error.into()),
    }
}

/// Ends a run, not before its start: an engine whose clock is behind that of its controller must be able to do so.
async fn finish(sender: &Sender<'_>, run_id: RunId, end: FinishRun, outcome: &mut Outcome) -> ApiResult<()> {
    let started_at = sender.store.runs().get(run_id).await?.and_then(|run| run.started_at);
    let finish_timestamp = end.finish_timestamp.map(|end| started_at.map_or(end, |start| end.max(start)));
    let finish = FinishRun { finish_timestamp, ..end };
    let finished = sender.store_to("finish run").runs().finish(run_id, &finish).await.map_err(ApiError::from);
    // If it is refused, the records are stored; only the end contradicts the existing one.
    if accept(outcome, 1, finished)?.is_some() {
        outcome.ended += 1;
    }
    Ok(())
}

impl TaskCache {
    async fn require_publisher(&mut self, sender: &Sender<'_>, workspace: WorkspaceId) -> ApiResult<()> {
        if !self.publishable.contains(&workspace) {
            rights::require(sender.store, sender.caller, workspace, &[Right::Publish]).await?;
            self.publishable.insert(workspace);
        }
        Ok(())
    }

    /// The named task, in which the caller may publish; see [`task_of`].
    async fn task_of(&mut self, sender: &Sender<'_>, run_id: RunId, hint: &TaskHint) -> ApiResult<TaskId> {
        let key = (hint.task_id, hint.workspace_id, hint.task_name.clone());
        if let Some(known) = self.tasks.get(&key) {
            return Ok(*known);
        }
        let task = task_of(sender, run_id, hint).await?.id;
        self.tasks.insert(key, task);
        Ok(task)
    }
}

/// The named task, which is created if it does not exist and its workspace does.
async fn task_of(sender: &Sender<'_>, run_id: RunId, hint: &TaskHint) -> ApiResult<Task> {
    if let Some(id) = hint.task_id
        && sender.store.workspaces().task(id).await?.is_some()
    {
        return rights::task(sender.store, sender.caller, id, &[Right::Publish]).await;
    }
    let Some(workspace_id) = hint.workspace_id else {
        return Err(ApiError::not_found(match hint.task_id {
            Some(id) => format!(
                "run {run_id} belongs to task {id}, which does not exist; name its workspace, or create the task"
            ),
            None => format!("run {run_id} does not exist, and no task is named"),
        }));
    };
    make_workspace(sender, workspace_id, hint).await?;
    rights::require(sender.store, sender.caller, workspace_id, &[Right::Publish]).await?;
    let name = match (&hint.task_name, hint.task_id) {
        (Some(name), _) => name.clone(),
        (None, Some(id)) => id.to_string(),
        (None, None) => return Err(ApiError::not_found(format!("run {run_id} does not exist, and no task is named"))),
    };
    let new = NewTask {
        id: hint.task_id,
        workspace_id,
        name,
        version: hint.task_version.clone(),
        description: None,
        tags: Vec::new(),
    };
    Ok(match hint.task_id {
        Some(_) => sender.store_to("create task").workspaces().create_task(&new).await?,
        None => sender.store_to("create task").workspaces().get_or_create_task(&new).await?,
    })
}

/// Creates the workspace and its environment if they do not exist and the caller is an administrator.
async fn make_workspace(sender: &Sender<'_>, id: WorkspaceId, hint: &TaskHint) -> ApiResult<()> {
    if sender.store.workspaces().get(id).await?.is_some() {
        return Ok(());
    }
    if !sender.caller.administrator {
        let message = format!("there is no workspace {id} in this archive; ask an administrator to create it");
        return Err(ApiError::not_found(message));
    }
    if let Some(environment_id) = hint.environment_id {
        let name = hint.environment_name.clone().unwrap_or_else(|| environment_id.to_string());
        let known =
            sender.store.workspaces().environments().await?.iter().any(|environment| environment.id == environment_id);
        if !known {
            let new = NewEnvironment { id: Some(environment_id), name, description: None };
            sender.store_to("create environment").workspaces().create_environment(&new).await?;
        }
    }
    let new = NewWorkspace {
        id: Some(id),
        environment_id: hint.environment_id,
        name: hint.workspace_name.clone().unwrap_or_else(|| id.to_string()),
        description: None,
        owner: None,
    };
    sender.store_to("create workspace").workspaces().create_workspace(&new, &sender.caller.name).await?;
    Ok(())
}
