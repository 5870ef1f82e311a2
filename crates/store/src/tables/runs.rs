//! Runs: how they start and finish, and lists of them.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use az::SaturatingAs;
use runlog_model::record::SeverityCounts;
use runlog_model::run::{ArtifactPart, PlanPart};
use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_model::workspaces::Task;
use runlog_model::{
    EnvironmentId, ExecutionType, Run, RunId, RunStatus, Runtime, TaskId, TimeRange, Timestamp, UserType, WorkspaceId,
};
use sqlx::AssertSqlSafe;
use sqlx_macros::FromRow;

use crate::catalog::columns::{instant, saturating};
use crate::catalog::filters::{push_artifact_and_runtime, push_tag, push_workspaces};
use crate::catalog::sql::{Connection, Sql, storable};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::limits;
use crate::parts::{Runs, Workspaces};
use crate::tables::accounts::{Caller, CallerKind};
use crate::tables::problems;

/// Selects runs. An absent field does not restrict the selection.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Runs of this task.
    pub task_id: Option<TaskId>,
    /// Runs of these workspaces.
    pub workspace_ids: Option<Vec<WorkspaceId>>,
    /// Runs of this environment.
    pub environment_id: Option<EnvironmentId>,
    /// Runs of tasks that have all of these tags.
    pub tags: Vec<String>,
    /// Runs whose ID begins with this: hexadecimal digits and hyphens, in lower case.
    pub id_prefix: Option<String>,
    /// Runs with one of these statuses; with any, if there are none.
    pub statuses: Vec<RunStatus>,
    /// True if runs that have ended, but whose logs are still to be collected from their upstream, count as executing.
    pub ends_with_log: bool,
    /// Runs that were active at some time in this range.
    pub overlapping: TimeRange,
    /// Runs of this artifact.
    pub artifact_id: Option<String>,
    /// Those whose runtime has these values in these fields: `type`, `id` (of an engine or a cluster), `runProfileId`.
    pub runtime: Vec<(&'static str, String)>,
    /// Most runs to return.
    pub limit: u64,
    /// How many runs to skip.
    pub offset: u64,
}

/// A run as an upstream describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportedRun {
    /// The run.
    pub run_id: RunId,
    /// Its start; `dispatching` if that is not known.
    pub start: StartRun,
    /// Its end, if it has ended.
    pub end: Option<FinishRun>,
}

/// The part of a run that is needed most often and is cheap to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunBrief {
    /// The run.
    pub id: RunId,
    /// Its task.
    pub task_id: TaskId,
    /// The workspace of the task.
    pub workspace_id: WorkspaceId,
    /// Records of its log.
    pub records: u64,
}

impl Runs {
    /// Starts a run, or adds what is newly known of a run that has started. Returns true when the run is new.
    ///
    /// `NotFound`: no such task. `Conflict`: the run belongs to another task. `Invalid`: the run has ended before this
    /// start.
    pub async fn start(&self, id: RunId, start: &StartRun, by: &Caller) -> Result<(Run, bool)> {
        let task = startable_task(&self.core, id, start).await?;
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let known = fetch_to_change(&self.core, &mut transaction, id).await?;
                let is_new = known.is_none();
                let run = match known {
                    Some(run) if run.task_id != task.id => {
                        return Err(Error::conflict(format!("run {id} belongs to task {}", run.task_id)));
                    }
                    Some(run) => {
                        let (told, end) = (start.start_timestamp, run.finished_at);
                        if let (Some(told), Some(end)) = (told, end)
                            && end.millis_since(told) < -CLOCK_DIFFERENCE_MS_MAX
                        {
                            let message = format!("startTimestamp {told} is after the end of the run, {end}");
                            return Err(Error::invalid(message));
                        }
                        merge_start(run, start, self.core.now())
                    }
                    None => new_run(id, &task, start, by, self.core.now()),
                };
                save(&mut *transaction, &run).await?;
                self.core.commit_change(transaction, Some(&id.to_string())).await?;
                Ok((run, is_new))
            })
            .await
    }

    /// Starts those of the runs that do not exist, some hundreds in a transaction; returns which those are. Runs that exist
    /// are left as they are.
    ///
    /// `NotFound`: there is no such task. `Invalid`: a run would end with its start. Earlier ones may have been started.
    pub async fn start_new(&self, starts: &[(RunId, StartRun)], by: &Caller) -> Result<HashSet<RunId>> {
        let mut tasks: HashMap<TaskId, Task> = HashMap::new();
        for (id, start) in starts {
            if let Entry::Vacant(unknown) = tasks.entry(start.task_id) {
                unknown.insert(startable_task(&self.core, *id, start).await?);
            }
            check_start(*id, start)?;
        }
        let mut new = HashSet::new();
        for some in starts.chunks(limits::GROUP_BATCHES_MAX) {
            let made = self.core.transact(|transaction| async {
                let mut transaction = transaction;
                let now = self.core.now();
                let runs: Vec<Run> =
                    some.iter().map(|(id, start)| new_run(*id, &tasks[&start.task_id], start, by, now)).collect();
                let made = insert_new(&mut transaction, &runs).await?;
                self.core.commit_changes(transaction, &made).await?;
                Ok(made)
            });
            for id in made.await? {
                new.insert(id.parse().map_err(|_| Error::corrupt("the id of a run does not decode"))?);
            }
        }
        Ok(new)
    }

    /// Finishes a run. Idempotent with the same status. An end up to five minutes before the start counts as the start,
    /// because clocks differ.
    ///
    /// `NotFound`: no such run. `Invalid`: the status is not final, or the end is before the start. `Conflict`: it has
    /// finished with another status.
    pub async fn finish(&self, id: RunId, finish: &FinishRun) -> Result<Run> {
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let started_at =
                    fetch_to_change(&self.core, &mut transaction, id).await?.and_then(|run| run.started_at);
                let finish = ended_after_start(finish, started_at)?;
                let run = finish_in(&self.core, &mut transaction, id, &finish).await?;
                self.core.commit_change(transaction, Some(&id.to_string())).await?;
                Ok(run)
            })
            .await
    }

    /// Returns the run with this id.
    pub async fn get(&self, id: RunId) -> Result<Option<Run>> {
        fetch(self.core.catalog().read_quick(), id).await
    }

    /// Returns those of the runs that exist.
    pub async fn get_all(&self, ids: &[RunId]) -> Result<HashMap<RunId, Run>> {
        let mut runs = HashMap::with_capacity(ids.len());
        for some in ids.chunks(limits::GROUP_BATCHES_MAX) {
            let mut query = Sql::new("SELECT * FROM runs WHERE id IN (");
            query.push_list(some.iter().map(RunId::to_string)).push(")");
            let rows: Vec<RunRow> = query.build_query_as().fetch_all(self.core.catalog().read()).await?;
            for row in rows {
                let run = row.into_run()?;
                runs.insert(run.id, run);
            }
        }
        Ok(runs)
    }

    /// Returns the run with this id, in brief.
    pub async fn brief(&self, id: RunId) -> Result<Option<RunBrief>> {
        let row: Option<(String, String, i64)> =
            sqlx::query_as("SELECT task_id, workspace_id, records FROM runs WHERE id = $1")
                .bind(id.to_string())
                .fetch_optional(self.core.catalog().read_quick())
                .await?;
        let Some((task_id, workspace_id, records)) = row else { return Ok(None) };
        let undecodable = |what: &str| Error::corrupt(format!("the {what} of run {id} does not decode"));
        Ok(Some(RunBrief {
            id,
            task_id: task_id.parse().map_err(|_| undecodable("task id"))?,
            workspace_id: workspace_id.parse().map_err(|_| undecodable("workspace id"))?,
            records: records.saturating_as::<u64>(),
        }))
    }

    /// Returns the runs that match the filter, newest first, and how many match without limit and offset.
    pub async fn list(&self, filter: &RunFilter) -> Result<(Vec<Run>, u64)> {
        let (mut runs, mut total) = (Vec::new(), 0);
        for part in parts_of(filter) {
            let mut counting = Sql::new("SELECT COUNT(*) FROM runs WHERE TRUE");
            push_run_filter(&mut counting, filter, *part);
            let count: i64 = counting.build_query_scalar().fetch_one(self.core.catalog().read()).await?;
            let (limit, offset) = (filter.limit - runs.len() as u64, filter.offset.saturating_sub(total));
            total += count.saturating_as::<u64>();
            if limit == 0 || offset >= count.saturating_as::<u64>() {
                continue;
            }
            let mut listing = Sql::new("SELECT * FROM runs WHERE TRUE");
            push_run_filter(&mut listing, filter, *part);
            listing.push(" ORDER BY triggered_at DESC, id DESC LIMIT ").push_bind(limit.saturating_as::<i64>());
            listing.push(" OFFSET ").push_bind(offset.saturating_as::<i64>());
            let rows: Vec<RunRow> = listing.build_query_as().fetch_all(self.core.catalog().read()).await?;
            runs.extend(rows.into_iter().map(RunRow::into_run).collect::<Result<Vec<_>>>()?);
        }
        Ok((runs, total))
    }

    /// True when the run is final and the settle delay has passed: its log will not grow any more.
    pub fn is_settled(&self, run: &Run) -> bool {
        run.final_since
            .is_some_and(|since| self.core.shared_now().millis_since(since) >= self.core.settings().settle_ms)
    }
}

/// Finishes a run in a transaction; see [`Runs::finish`].
pub(crate) async fn finish_in(core: &Core, connection: &mut Connection, id: RunId, finish: &FinishRun) -> Result<Run> {
    if !finish.status.is_final() {
        return Err(Error::invalid(format!("status {} is not final", finish.status)));
    }
    let mut run = fetch_to_change(core, connection, id).await?.ok_or_else(|| no_such_run(id))?;
    if run.final_since.is_some() && run.status.coarse() != finish.status {
        return Err(Error::conflict(format!("run {id} has already ended with {}", run.status.coarse())));
    }
    let now = core.shared_now();
    if run.started_at.is_none() {
        // A run without a reported start began with its first record at the latest.
        let first: Option<i64> = sqlx::query_scalar("SELECT MIN(first_time) FROM slices WHERE run_id = $1")
            .bind(id.to_string())
            .fetch_one(&mut *connection)
            .await?;
        run.started_at = first.map(instant).transpose()?;
    }
    run.final_since = run.final_since.or(Some(now));
    let finished_at = finish.finish_timestamp.or(run.finished_at).unwrap_or(now);
    run.finished_at = Some(finished_at);
    if finish.status != RunStatus::DeployFailed {
        // The start is unknown. A run that has ended must have a start; only a run that was not deployed has none.
        run.started_at = run.started_at.or(Some(run.triggered_at.min(finished_at)));
    }
    let run = with_end(run, finish);
    save(&mut *connection, &run).await?;
    sqlx::query("UPDATE runs SET seal_at = $2 WHERE id = $1 AND seal_at IS NOT NULL")
        .bind(id.to_string())
        .bind(now.plus_millis(core.settings().settle_ms).as_millis())
        .execute(&mut *connection)
        .await?;
    // Sinks that have already examined later runs, for example because the clock of this node is behind, examine runs
    // again from this one on.
    sqlx::query("UPDATE sinks SET offered_until = $1 - 1, offered_run = '' WHERE offered_until >= $1")
        .bind(run.final_since.map_or(i64::MAX, Timestamp::as_millis))
        .execute(&mut *connection)
        .await?;
    let settled_at = now.plus_millis(core.settings().settle_ms);
    problems::look_for(connection, id, now.as_millis(), settled_at.as_millis()).await?;
    Ok(run)
}

/// Starts or changes a run as an upstream describes it, in a transaction. A run that is reported as ended gets the
/// reported status, and is not final before its log has landed. Returns false if the run belongs to another task.
pub(crate) async fn report_in(
    core: &Core,
    connection: &mut Connection,
    task: &Task,
    reported: &ReportedRun,
    by: &Caller,
) -> Result<bool> {
    let ReportedRun { run_id, start, end } = reported;
    let known = fetch_to_change(core, connection, *run_id).await?;
    if known.as_ref().is_some_and(|run| run.task_id != task.id) {
        return Ok(false);
    }
    let mut run = match known {
        Some(run) => merge_start(run, start, core.now()),
        None => new_run(*run_id, task, start, by, core.now()),
    };
    if let (Some(end), None) = (end, run.final_since) {
        run.finished_at = end.finish_timestamp.or(run.finished_at);
        run = with_end(run, end);
    }
    save(&mut *connection, &run).await?;
    Ok(true)
}

/// A run as it has ended.
fn with_end(run: Run, finish: &FinishRun) -> Run {
    Run {
        status: finish.status.detailed(),
        error_message: finish.error_message.clone().or(run.error_message),
        error_type: finish.error_type.clone().or(run.error_type),
        misfired_reason: finish.misfired_execution_reason.clone().or(run.misfired_reason),
        processed_rows: finish.number_of_processed_rows.or(run.processed_rows),
        rejected_rows: finish.number_of_rejected_rows.or(run.rejected_rows),
        ..run
    }
}

/// The end of a run that is not before its start.
fn ended_after_start(finish: &FinishRun, started_at: Option<Timestamp>) -> Result<Cow<'_, FinishRun>> {
    let (Some(start), Some(end)) = (started_at, finish.finish_timestamp) else { return Ok(Cow::Borrowed(finish)) };
    match end.millis_since(start) {
        0.. => Ok(Cow::Borrowed(finish)),
        ahead_ms if ahead_ms >= -CLOCK_DIFFERENCE_MS_MAX => {
            Ok(Cow::Owned(FinishRun { finish_timestamp: Some(start), ..finish.clone() }))
        }
        _ => Err(Error::invalid(format!("finishTimestamp {end} is before the start of the run, {start}"))),
    }
}

pub(crate) fn no_such_run(id: RunId) -> Error {
    Error::not_found(format!("there is no run {id}"))
}

/// The task of a run that starts; see [`Runs::start`] for errors.
async fn startable_task(core: &Core, id: RunId, start: &StartRun) -> Result<Task> {
    let task = Workspaces::new(core).task(start.task_id).await?.ok_or_else(|| {
        Error::not_found(format!("there is no task {}: create it first (runlog admin tasks create)", start.task_id))
    })?;
    check_start(id, start)?;
    Ok(task)
}

fn check_start(id: RunId, start: &StartRun) -> Result<()> {
    match start.status.filter(|status| status.is_final()) {
        Some(status) => {
            Err(Error::invalid(format!("status {status}: a run ends with POST /runlog/v1/runs/{id}/finish")))
        }
        None => Ok(()),
    }
}

/// A run that has just started, without records.
fn new_run(id: RunId, task: &Task, start: &StartRun, by: &Caller, now: Timestamp) -> Run {
    let waits = start.status == Some(RunStatus::Dispatching);
    let started_at = start.start_timestamp.or((!waits).then_some(now));
    Run {
        id,
        task_id: task.id,
        task_version: start.task_version.clone().unwrap_or_else(|| task.version.clone()),
        workspace_id: task.workspace.id,
        execution_type: start.execution_type.unwrap_or(ExecutionType::Manual),
        status: start.status.unwrap_or(RunStatus::Executing).detailed(),
        triggered_at: start.trigger_timestamp.or(started_at).unwrap_or(now),
        started_at,
        finished_at: None,
        final_since: None,
        user_id: start.user_id.clone().unwrap_or_else(|| by.name.clone()),
        user_type: start.user_type.unwrap_or(match by.kind {
            CallerKind::User => UserType::Human,
            CallerKind::ServiceAccount => UserType::Service,
        }),
        plan: start.plan.clone(),
        artifact: start.artifact.clone(),
        log_level: start.log_level.clone(),
        attempts: start.attempts,
        runtime: start.runtime.clone(),
        error_message: None,
        error_type: None,
        misfired_reason: None,
        timeout_minutes: start.timeout,
        parallel_execution_allowed: start.parallel_execution_allowed,
        api_version: start.api_version.clone(),
        container_id: start.container_id.clone(),
        processed_rows: None,
        rejected_rows: None,
        records: 0,
        severities: SeverityCounts::default(),
        last_record_stored_at: None,
    }
}

/// What a repeated start adds: unknown fields are filled in, and a dispatched run becomes executing.
fn merge_start(mut run: Run, start: &StartRun, now: Timestamp) -> Run {
    if !run.status.is_final() {
        run.status = start.status.unwrap_or(RunStatus::Executing).detailed();
        let has_begun = run.status.coarse() == RunStatus::Executing;
        run.started_at = run.started_at.or(has_begun.then_some(now));
    }
    run.task_version = start.task_version.clone().unwrap_or(run.task_version);
    run.execution_type = start.execution_type.unwrap_or(run.execution_type);
    run.triggered_at = start.trigger_timestamp.unwrap_or(run.triggered_at);
    run.started_at = start.start_timestamp.or(run.started_at);
    run.user_id = start.user_id.clone().unwrap_or(run.user_id);
    run.user_type = start.user_type.unwrap_or(run.user_type);
    run.plan = run.plan.updated(&start.plan);
    run.artifact = run.artifact.updated(&start.artifact);
    run.log_level = start.log_level.clone().or(run.log_level);
    run.attempts = start.attempts.or(run.attempts);
    run.runtime = start.runtime.clone().or(run.runtime);
    run.timeout_minutes = start.timeout.or(run.timeout_minutes);
    run.parallel_execution_allowed = start.parallel_execution_allowed.or(run.parallel_execution_allowed);
    run.api_version = start.api_version.clone().or(run.api_version);
    run.container_id = start.container_id.clone().or(run.container_id);
    run
}

/// The parts of a list of runs: one index selects the runs triggered in a range of time, and another one the few runs
/// of long duration, but no index selects the runs that overlap a range of time.
#[derive(Clone, Copy)]
pub(crate) enum ListPart {
    /// Runs that were triggered in the range.
    AskedFor,
    /// Runs that were triggered in the hour before the range, and were active at its start.
    Before,
    /// Runs that were triggered earlier, and were active at the start of the range.
    LongBefore,
}

/// The parts of the list of a filter. Each part has an index, and in the order of the list the parts follow one
/// another.
pub(crate) fn parts_of(filter: &RunFilter) -> &'static [ListPart] {
    match filter.overlapping.start {
        Some(_) => &[ListPart::AskedFor, ListPart::Before, ListPart::LongBefore],
        None => &[ListPart::AskedFor],
    }
}

const HOUR_MS: i64 = 3_600_000;

/// How much earlier than its start a run may end: the clocks of engine and service differ.
const CLOCK_DIFFERENCE_MS_MAX: i64 = 5 * 60_000;

/// When a run ended, as the indexes have it.
const ENDED: &str = "COALESCE(finished_at, 9223372036854775807)";

/// A final run without an end time was rejected before it started: it counts only at its trigger time.
const HAS_AN_END: &str = "(finished_at IS NOT NULL OR final_since IS NULL)";

fn push_statuses(query: &mut Sql, filter: &RunFilter) {
    /// A run that has ended, but whose log is still to be collected.
    const AWAITS_LOG: &str = "(final_since IS NULL AND status NOT IN ('dispatching', 'executing'))";

    let statuses = filter.statuses.iter().map(|status| status.as_str());
    match filter.statuses.as_slice() {
        [] => return,
        [status] => query.push(" AND (status = ").push_bind(status.as_str()),
        _ => query.push(" AND (status IN (").push_list(statuses).push(")"),
    };
    match filter.ends_with_log {
        true if filter.statuses.contains(&RunStatus::Executing) => query.push(format!(" OR {AWAITS_LOG})")),
        true => query.push(format!(" AND NOT {AWAITS_LOG})")),
        false => query.push(")"),
    };
}

/// Appends the conditions of a part of the list of runs.
pub(crate) fn push_run_filter(query: &mut Sql, filter: &RunFilter, part: ListPart) {
    if let Some(id) = filter.task_id {
        query.push(" AND task_id = ").push_bind(id.to_string());
    }
    push_workspaces(query, "workspace_id", filter.workspace_ids.as_deref());
    if let Some(id) = filter.environment_id {
        query.push(" AND workspace_id IN (SELECT id FROM workspaces WHERE environment_id = ");
        query.push_bind(id.to_string()).push(")");
    }
    for tag in &filter.tags {
        query.push(" AND task_id IN (SELECT id FROM tasks WHERE ");
        push_tag(query, tag);
        query.push(")");
    }
    if let Some(prefix) = &filter.id_prefix {
        // An ID with the prefix is in this range regardless of the characters that a collation ignores; `substr`
        // compares each character.
        query.push(" AND id >= ").push_bind(prefix.clone()).push(" AND id < ").push_bind(format!("{prefix}g"));
        query.push(format!(" AND substr(id, 1, {}) = ", prefix.len())).push_bind(prefix.clone());
    }
    push_statuses(query, filter);
    push_artifact_and_runtime(query, filter.artifact_id.as_deref(), &filter.runtime);
    if let Some(end) = filter.overlapping.end {
        query.push(" AND triggered_at <= ").push_bind(end.as_millis());
    }
    let Some(start) = filter.overlapping.start.map(Timestamp::as_millis) else { return };
    match part {
        ListPart::AskedFor => {
            query.push(" AND triggered_at >= ").push_bind(start);
        }
        ListPart::Before => {
            query.push(" AND triggered_at < ").push_bind(start);
            query.push(" AND triggered_at >= ").push_bind(start.saturating_sub(HOUR_MS));
            query.push(format!(" AND {HAS_AN_END} AND {ENDED} >= ")).push_bind(start);
        }
        ListPart::LongBefore => {
            query.push(" AND triggered_at < ").push_bind(start.saturating_sub(HOUR_MS));
            query.push(format!(" AND {HAS_AN_END} AND {ENDED} > triggered_at + {HOUR_MS} AND {ENDED} >= "));
            query.push_bind(start);
        }
    }
}

pub(crate) async fn fetch<'c>(
    executor: impl sqlx::Executor<'c, Database = sqlx::Any>,
    id: RunId,
) -> Result<Option<Run>> {
    Ok(fetch_with_state(executor, id).await?.map(|(run, _)| run))
}

/// A run, and the state of its log.
pub(crate) async fn fetch_with_state<'c>(
    executor: impl sqlx::Executor<'c, Database = sqlx::Any>,
    id: RunId,
) -> Result<Option<(Run, LogState)>> {
    let row: Option<RunRow> =
        sqlx::query_as("SELECT * FROM runs WHERE id = $1").bind(id.to_string()).fetch_optional(executor).await?;
    row.map(|row| {
        let state = row.log_state();
        Ok((row.into_run()?, state))
    })
    .transpose()
}

/// Fetches a run and locks its row until the transaction ends.
pub(crate) async fn fetch_to_change(core: &Core, connection: &mut Connection, id: RunId) -> Result<Option<Run>> {
    let fetching = format!("SELECT * FROM runs WHERE id = $1{}", core.catalog().for_update());
    let row: Option<RunRow> =
        sqlx::query_as(AssertSqlSafe(fetching)).bind(id.to_string()).fetch_optional(&mut *connection).await?;
    row.map(RunRow::into_run).transpose()
}

/// Writes what is known of a run; the counts of its records are the business of [`crate::ingest::batch`].
async fn save<'c>(executor: impl sqlx::Executor<'c, Database = sqlx::Any>, run: &Run) -> Result<()> {
    let mut saving = inserting(std::slice::from_ref(run))?;
    saving.push(
        " ON CONFLICT (id) DO UPDATE SET
                task_version = excluded.task_version, execution_type = excluded.execution_type,
                execution_status = excluded.execution_status, status = excluded.status,
                triggered_at = excluded.triggered_at, started_at = excluded.started_at,
                finished_at = excluded.finished_at, final_since = excluded.final_since,
                user_id = excluded.user_id, user_type = excluded.user_type, plan_id = excluded.plan_id,
                runtime = excluded.runtime, error_message = excluded.error_message,
                error_type = excluded.error_type, misfired_reason = excluded.misfired_reason,
                timeout_minutes = excluded.timeout_minutes,
                parallel_execution_allowed = excluded.parallel_execution_allowed,
                api_version = excluded.api_version, container_id = excluded.container_id,
                processed_rows = excluded.processed_rows, rejected_rows = excluded.rejected_rows,
                plan_name = excluded.plan_name, plan_execution_id = excluded.plan_execution_id,
                plan_step_id = excluded.plan_step_id, artifact_id = excluded.artifact_id,
                artifact_name = excluded.artifact_name, artifact_version = excluded.artifact_version,
                log_level = excluded.log_level, attempts = excluded.attempts",
    );
    saving.build_query().execute(executor).await?;
    Ok(())
}

/// Inserts some hundreds of runs at most, without those that exist; returns the ids of the new ones.
async fn insert_new(connection: &mut Connection, runs: &[Run]) -> Result<Vec<String>> {
    let mut query = inserting(runs)?;
    query.push(" ON CONFLICT (id) DO NOTHING RETURNING id");
    Ok(query.build_query_scalar().fetch_all(connection).await?)
}

fn inserting(runs: &[Run]) -> Result<Sql> {
    let mut query = Sql::new(
        "INSERT INTO runs (id, task_id, workspace_id, task_version, execution_type, execution_status, status,
                triggered_at, started_at, finished_at, final_since, user_id, user_type, plan_id, runtime,
                error_message, error_type, misfired_reason, timeout_minutes, parallel_execution_allowed,
                api_version, container_id, processed_rows, rejected_rows, plan_name, plan_execution_id,
                plan_step_id, artifact_id, artifact_name, artifact_version, log_level, attempts) VALUES ",
    );
    let text = |text: &Option<String>| text.as_deref().map(storable);
    for (index, run) in runs.iter().enumerate() {
        let runtime = run.runtime.as_ref().map(serde_json::to_string).transpose();
        let runtime = runtime.map_err(|_| Error::invalid("the runtime has no JSON form"))?;
        query.push(if index == 0 { "(" } else { ", (" }).push_bind(run.id.to_string());
        query
            .push_next(run.task_id.to_string())
            .push_next(run.workspace_id.to_string())
            .push_next(storable(&run.task_version))
            .push_next(run.execution_type.as_str())
            .push_next(run.status.as_str())
            .push_next(run.status.coarse().as_str())
            .push_next(run.triggered_at.as_millis())
            .push_next(run.started_at.map(Timestamp::as_millis))
            .push_next(run.finished_at.map(Timestamp::as_millis))
            .push_next(run.final_since.map(Timestamp::as_millis))
            .push_next(storable(&run.user_id))
            .push_next(run.user_type.as_str())
            .push_next(text(&run.plan.id))
            .push_next(runtime)
            .push_next(text(&run.error_message))
            .push_next(text(&run.error_type))
            .push_next(text(&run.misfired_reason))
            .push_next(run.timeout_minutes.map(saturating))
            .push_next(run.parallel_execution_allowed.map(i64::from))
            .push_next(text(&run.api_version))
            .push_next(text(&run.container_id))
            .push_next(run.processed_rows.map(saturating))
            .push_next(run.rejected_rows.map(saturating))
            .push_next(text(&run.plan.name))
            .push_next(text(&run.plan.execution_id))
            .push_next(text(&run.plan.step_id))
            .push_next(text(&run.artifact.id))
            .push_next(text(&run.artifact.name))
            .push_next(text(&run.artifact.version))
            .push_next(text(&run.log_level))
            .push_next(run.attempts.map(saturating))
            .push(")");
    }
    Ok(query)
}

/// Identifies a state of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub(crate) struct LogState {
    /// How many times the log was deleted.
    pub(crate) log_epoch: i64,
    /// How many times its slices were replaced; the records stay the same.
    pub(crate) log_version: i64,
}

#[derive(FromRow)]
pub(crate) struct RunRow {
    id: String,
    task_id: String,
    workspace_id: String,
    task_version: String,
    execution_type: String,
    execution_status: String,
    triggered_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    final_since: Option<i64>,
    user_id: String,
    user_type: String,
    plan_id: Option<String>,
    plan_name: Option<String>,
    plan_execution_id: Option<String>,
    plan_step_id: Option<String>,
    artifact_id: Option<String>,
    artifact_name: Option<String>,
    artifact_version: Option<String>,
    log_level: Option<String>,
    attempts: Option<i64>,
    runtime: Option<String>,
    error_message: Option<String>,
    error_type: Option<String>,
    misfired_reason: Option<String>,
    timeout_minutes: Option<i64>,
    parallel_execution_allowed: Option<i64>,
    api_version: Option<String>,
    container_id: Option<String>,
    processed_rows: Option<i64>,
    rejected_rows: Option<i64>,
    records: i64,
    last_record_stored_at: Option<i64>,
    log_epoch: i64,
    log_version: i64,
    severity_other: i64,
    severity_trace: i64,
    severity_debug: i64,
    severity_info: i64,
    severity_warn: i64,
    severity_error: i64,
    severity_fatal: i64,
}

impl RunRow {
    pub(crate) fn log_state(&self) -> LogState {
        LogState { log_epoch: self.log_epoch, log_version: self.log_version }
    }

    pub(crate) fn into_run(self) -> Result<Run> {
        let undecodable = |what: &str| Error::corrupt(format!("the {what} of run {} does not decode", self.id));
        let runtime = self.runtime.as_deref().map(serde_json::from_str::<Runtime>).transpose();
        let counts = [
            self.severity_other,
            self.severity_trace,
            self.severity_debug,
            self.severity_info,
            self.severity_warn,
            self.severity_error,
            self.severity_fatal,
        ];
        Ok(Run {
            id: self.id.parse().map_err(|_| undecodable("id"))?,
            task_id: self.task_id.parse().map_err(|_| undecodable("task id"))?,
            workspace_id: self.workspace_id.parse().map_err(|_| undecodable("workspace id"))?,
            execution_type: self.execution_type.parse().map_err(|_| undecodable("execution type"))?,
            status: self.execution_status.parse().map_err(|_| undecodable("status"))?,
            user_type: self.user_type.parse().map_err(|_| undecodable("user type"))?,
            runtime: runtime.map_err(|_| undecodable("runtime"))?,
            task_version: self.task_version,
            triggered_at: instant(self.triggered_at)?,
            started_at: self.started_at.map(instant).transpose()?,
            finished_at: self.finished_at.map(instant).transpose()?,
            final_since: self.final_since.map(instant).transpose()?,
            user_id: self.user_id,
            plan: PlanPart {
                id: self.plan_id,
                name: self.plan_name,
                execution_id: self.plan_execution_id,
                step_id: self.plan_step_id,
            },
            artifact: ArtifactPart { id: self.artifact_id, name: self.artifact_name, version: self.artifact_version },
            log_level: self.log_level,
            attempts: self.attempts.map(|attempts| attempts.saturating_as::<u64>()),
            error_message: self.error_message,
            error_type: self.error_type,
            misfired_reason: self.misfired_reason,
            timeout_minutes: self.timeout_minutes.map(|minutes| minutes.saturating_as::<u64>()),
            parallel_execution_allowed: self.parallel_execution_allowed.map(|allowed| allowed != 0),
            api_version: self.api_version,
            container_id: self.container_id,
            processed_rows: self.processed_rows.map(|rows| rows.saturating_as::<u64>()),
            rejected_rows: self.rejected_rows.map(|rows| rows.saturating_as::<u64>()),
            records: self.records.saturating_as::<u64>(),
            severities: SeverityCounts::from_array(counts.map(|count| count.saturating_as::<u64>())),
            last_record_stored_at: self.last_record_stored_at.map(instant).transpose()?,
        })
    }
}
