//! Problems: the root causes that failed runs of a workspace have in common, and what people made of them.
//!
//! Analysis finds what a run has failed of; the transaction that stores the summary of its log counts the run to that
//! problem, and takes it from another one that it was counted to. Deleting a log takes its run from the problem.
//!
//! ```text
//! problem_runs (a row for each failed run) ▸ problem_tasks (runs of each task) ▸ workspace_problems (state and counts)
//! ```
//!
//! A problem without runs has no title, and is in no list. It is deleted if it is open. A muted or resolved problem is
//! kept under its id, which reveals nothing of a log, so that its state still applies when the problem is seen again.

use std::collections::BTreeMap;

use az::SaturatingAs;
use runlog_model::wire::problems::{NOTE_CHARS_MAX, NewProblemState, ProblemBody, ProblemRunBody, ProblemTaskBody};
use runlog_model::{EnvironmentId, ProblemState, RunId, TaskId, Timestamp, WorkspaceId};
use sqlx::AssertSqlSafe;
use sqlx_macros::FromRow;

use crate::catalog::columns::instant;
use crate::catalog::filters::{containing, push_name_like, push_workspaces};
use crate::catalog::sql::{Connection, Sql, storable};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::limits;
use crate::parts::Problems;
use crate::tables::run_locks::lock_runs;

/// True of a row of `runs` that failed. A run that a user terminated did not.
macro_rules! has_failed {
    () => {
        "status IN ('execution_failed', 'deploy_failed', 'terminated_timeout', 'terminated_shutdown')"
    };
}
pub(crate) use has_failed;

/// The condition that a row of `runs` failed and is not counted to a problem. Runs whose log was deleted are excluded.
pub(crate) const LACKS_A_PROBLEM: &str = concat!(
    has_failed!(),
    " AND final_since IS NOT NULL AND (records > 0 OR log_epoch = 0)
      AND NOT EXISTS (SELECT 1 FROM problem_runs p WHERE p.run_id = runs.id AND p.log_epoch = runs.log_epoch)"
);

/// The problem of a failed run, as determined by analysis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewProblem {
    /// The id, which is the same for the same root cause in the same workspace.
    pub id: String,
    /// The root cause in one line, with values masked.
    pub title: String,
    /// The root cause with its values, as in the log of the run; absent if neither the log nor the engine reports a
    /// cause.
    pub headline: Option<String>,
}

/// Selects problems. An absent field does not restrict the selection.
#[derive(Debug, Clone, Default)]
pub struct ProblemFilter {
    /// Problems of these workspaces.
    pub workspace_ids: Option<Vec<WorkspaceId>>,
    /// Problems of workspaces in this environment.
    pub environment_id: Option<EnvironmentId>,
    /// Problems in this state.
    pub state: Option<ProblemState>,
    /// Problems that hit this task.
    pub task_id: Option<TaskId>,
    /// Problems whose title, or the headline of one of their runs, contains this text, in any case.
    pub text: Option<String>,
    /// Problems whose id begins with this text.
    pub id_prefix: Option<String>,
    /// Problems seen since this time.
    pub seen_since: Option<Timestamp>,
    /// Problems first recorded in the archive since this time, by a run also recorded since this time.
    pub new_since: Option<Timestamp>,
    /// Problems recorded as recurred since this time.
    pub back_since: Option<Timestamp>,
    /// The order.
    pub order: ProblemOrder,
    /// Maximum number of problems to return.
    pub limit: u64,
    /// Number of problems to skip.
    pub offset: u64,
}

/// The order of a list of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProblemOrder {
    /// The last seen first.
    #[default]
    LastSeen,
    /// The newest first.
    FirstSeen,
    /// Those with the most runs first.
    Runs,
}

/// A problem, and when the archive first learned of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownProblem {
    /// The problem.
    pub problem: ProblemBody,
    /// When its first run was counted to it.
    pub created_at: Timestamp,
}

/// A run whose summary was stored, and what it has failed of.
pub(crate) struct ProblemRun<'a> {
    pub(crate) run_id: RunId,
    pub(crate) problem: Option<&'a NewProblem>,
    /// True when an earlier version of the analysis had found what it was counted to before: if the id of a problem
    /// differs only because of that, the state of the problem is kept.
    pub(crate) is_made_otherwise: bool,
}

/// A run, and the problem that it is counted to.
#[derive(FromRow)]
struct RunRow {
    run_id: String,
    task_id: String,
    workspace_id: String,
    log_epoch: i64,
    ended_at: i64,
    has_failed: i64,
    counted_to: Option<String>,
    counted_task_id: Option<String>,
    counted_epoch: Option<i64>,
    counted_ended_at: Option<i64>,
    counted_headline: Option<String>,
}

/// A run that is counted to another problem than before.
struct Change<'a> {
    run: RunRow,
    to: Option<&'a NewProblem>,
    takes_state_along: bool,
}

#[derive(FromRow, Clone)]
struct CountedRow {
    id: String,
    title: Option<String>,
    state: String,
    state_at: Option<i64>,
    state_by: Option<String>,
    note: Option<String>,
    muted_until: Option<i64>,
    came_back_at: Option<i64>,
    created_at: i64,
    first_seen: i64,
    last_seen: i64,
    runs: i64,
}

#[derive(FromRow)]
struct ListRow {
    #[sqlx(flatten)]
    counted: CountedRow,
    workspace_id: String,
    workspace_name: String,
    tasks: i64,
    headline: Option<String>,
}

const COUNTED_COLUMNS: &str = "id, title, state, state_at, state_by, note, muted_until, came_back_at, created_at,
    first_seen, last_seen, runs";

const LISTED: &str = "SELECT p.id, p.title, p.state, p.state_at, p.state_by, p.note, p.muted_until, p.came_back_at,
    p.created_at, p.first_seen, p.last_seen, p.runs, p.workspace_id, w.name AS workspace_name,
    (SELECT COUNT(*) FROM problem_tasks t WHERE t.problem_id = p.id) AS tasks,
    (SELECT h.headline FROM problem_runs h WHERE h.problem_id = p.id ORDER BY h.ended_at DESC, h.run_id DESC LIMIT 1)
        AS headline
    FROM workspace_problems p JOIN workspaces w ON w.id = p.workspace_id WHERE p.runs > 0";

impl Problems {
    /// Returns the problems that match the filter, and how many match without limit and offset.
    pub async fn list(&self, filter: &ProblemFilter) -> Result<(Vec<ProblemBody>, u64)> {
        let now = self.core.now();
        let mut counting = Sql::new(
            "SELECT COUNT(*) FROM workspace_problems p JOIN workspaces w ON w.id = p.workspace_id WHERE p.runs > 0",
        );
        push_filter(&mut counting, filter, now);
        let total: i64 = counting.build_query_scalar().fetch_one(self.core.catalog().read()).await?;
        let problems = self.list_known(filter).await?.into_iter().map(|known| known.problem).collect();
        Ok((problems, total.saturating_as::<u64>()))
    }

    /// Returns the problems that match the filter, with when the archive first learned of them.
    pub async fn list_known(&self, filter: &ProblemFilter) -> Result<Vec<KnownProblem>> {
        let now = self.core.now();
        let mut listing = Sql::new(LISTED);
        push_filter(&mut listing, filter, now);
        listing.push(match filter.order {
            ProblemOrder::LastSeen => " ORDER BY p.last_seen DESC, p.id",
            ProblemOrder::FirstSeen => " ORDER BY p.first_seen DESC, p.id",
            ProblemOrder::Runs => " ORDER BY p.runs DESC, p.last_seen DESC, p.id",
        });
        listing.push(" LIMIT ").push_bind(filter.limit.saturating_as::<i64>());
        listing.push(" OFFSET ").push_bind(filter.offset.saturating_as::<i64>());
        let rows: Vec<ListRow> = listing.build_query_as().fetch_all(self.core.catalog().read()).await?;
        rows.into_iter().map(|row| row.into_known(now)).collect()
    }

    /// Returns a problem; `None` when there is none with this id.
    pub async fn get(&self, id: &str) -> Result<Option<ProblemBody>> {
        let row: Option<ListRow> = sqlx::query_as(AssertSqlSafe(format!("{LISTED} AND p.id = $1")))
            .bind(id)
            .fetch_optional(self.core.catalog().read())
            .await?;
        Ok(row.map(|row| row.into_known(self.core.now())).transpose()?.map(|known| known.problem))
    }

    /// Returns what a run has failed of; `None` when it did not fail, or that is not known yet.
    pub async fn of_run(&self, run_id: RunId) -> Result<Option<ProblemBody>> {
        let query = format!(
            "{LISTED} AND p.id = (SELECT problem_id FROM problem_runs r JOIN runs ON runs.id = r.run_id
                WHERE r.run_id = $1 AND r.log_epoch = runs.log_epoch)"
        );
        let row: Option<ListRow> = sqlx::query_as(AssertSqlSafe(query))
            .bind(run_id.to_string())
            .fetch_optional(self.core.catalog().read())
            .await?;
        Ok(row.map(|row| row.into_known(self.core.now())).transpose()?.map(|known| known.problem))
    }

    /// Returns the headline of a failed run, with its values; `None` when it did not fail, or none is known.
    pub async fn headline_of_run(&self, run_id: RunId) -> Result<Option<String>> {
        let headline: Option<Option<String>> = sqlx::query_scalar(
            "SELECT p.headline FROM problem_runs p JOIN runs r ON r.id = p.run_id
             WHERE p.run_id = $1 AND p.log_epoch = r.log_epoch",
        )
        .bind(run_id.to_string())
        .fetch_optional(self.core.catalog().read())
        .await?;
        Ok(headline.flatten())
    }

    /// Returns the headlines of those of these runs that failed, have one, and are of these workspaces; `None` means all.
    pub async fn headlines_of_runs(
        &self,
        run_ids: &[RunId],
        workspace_ids: Option<&[WorkspaceId]>,
    ) -> Result<BTreeMap<RunId, String>> {
        let mut headlines = BTreeMap::new();
        for some in run_ids.chunks(limits::GROUP_BATCHES_MAX) {
            let mut reading = Sql::new(
                "SELECT p.run_id, p.headline FROM problem_runs p JOIN runs r ON r.id = p.run_id
                 WHERE p.log_epoch = r.log_epoch AND p.headline IS NOT NULL AND p.run_id IN (",
            );
            reading.push_list(some.iter().map(ToString::to_string)).push(")");
            push_workspaces(&mut reading, "r.workspace_id", workspace_ids);
            let rows: Vec<(String, String)> = reading.build_query_as().fetch_all(self.core.catalog().read()).await?;
            for (run_id, headline) in rows {
                let run_id = run_id.parse().map_err(|_| Error::corrupt("the id of a run does not decode"))?;
                headlines.insert(run_id, headline);
            }
        }
        Ok(headlines)
    }

    /// Returns the tasks affected by a problem, those with the most runs first: at most `limit` after the first
    /// `offset`.
    pub async fn tasks(&self, id: &str, limit: u64, offset: u64) -> Result<Vec<ProblemTaskBody>> {
        let rows: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT t.id, t.name, p.runs FROM problem_tasks p JOIN tasks t ON t.id = p.task_id WHERE p.problem_id = $1
             ORDER BY p.runs DESC, t.name, t.id LIMIT $2 OFFSET $3",
        )
        .bind(id)
        .bind(limit.saturating_as::<i64>())
        .bind(offset.saturating_as::<i64>())
        .fetch_all(self.core.catalog().read())
        .await?;
        let read = |(task_id, task_name, runs): (String, String, i64)| {
            Ok(ProblemTaskBody { task_id: task_id_of(&task_id)?, task_name, runs: runs.saturating_as::<u64>() })
        };
        rows.into_iter().map(read).collect()
    }

    /// Returns at most `limit` runs that failed of a problem, newest first.
    pub async fn runs(&self, id: &str, limit: u64) -> Result<Vec<ProblemRunBody>> {
        let rows: Vec<(String, String, String, String, i64)> = sqlx::query_as(
            "SELECT p.run_id, p.task_id, t.name, r.status, p.ended_at FROM problem_runs p JOIN runs r ON r.id = p.run_id
             JOIN tasks t ON t.id = p.task_id WHERE p.problem_id = $1 AND r.log_epoch = p.log_epoch
             ORDER BY p.ended_at DESC, p.run_id DESC LIMIT $2",
        )
        .bind(id)
        .bind(limit.saturating_as::<i64>())
        .fetch_all(self.core.catalog().read())
        .await?;
        let read = |(run_id, task_id, task_name, status, ended_at): (String, String, String, String, i64)| {
            Ok(ProblemRunBody {
                run_id: run_id.parse().map_err(|_| Error::corrupt("the id of a run does not decode"))?,
                task_id: task_id_of(&task_id)?,
                task_name,
                status: status.parse().map_err(|_| Error::corrupt("the status of a run does not decode"))?,
                ended_at: instant(ended_at)?,
            })
        };
        rows.into_iter().map(read).collect()
    }

    /// Sets the state of a problem, as someone of this name wants it, and returns the problem.
    ///
    /// `NotFound`: there is no such problem. `Invalid`: the end of the mute has passed, or is of another state; the note is
    /// too long, or has control characters.
    pub async fn set_state(&self, id: &str, new: &NewProblemState, by: &str) -> Result<ProblemBody> {
        let now = self.core.now();
        if new.until.is_some() && new.state != ProblemState::Muted {
            return Err(Error::invalid("only a muted problem has an end of that: leave `until` out"));
        }
        if new.until.is_some_and(|until| until <= now) {
            return Err(Error::invalid("`until` has passed: a problem is muted until a time in the future"));
        }
        let note = new.note.as_deref().map(str::trim).filter(|note| !note.is_empty());
        if note.is_some_and(|note| note.chars().count() > NOTE_CHARS_MAX || note.chars().any(char::is_control)) {
            let message = format!("a note has up to {NOTE_CHARS_MAX} characters, and no control characters");
            return Err(Error::invalid(message));
        }
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let changed = sqlx::query(
                    "UPDATE workspace_problems SET state = $2, state_at = $3, state_by = $4, note = $5, muted_until = $6,
                            came_back_at = NULL
                     WHERE id = $1 AND runs > 0",
                )
                .bind(id)
                .bind(new.state.as_str())
                .bind(now.as_millis())
                .bind(storable(by))
                .bind(note)
                .bind(new.until.map(Timestamp::as_millis))
                .execute(&mut *transaction)
                .await?;
                match changed.rows_affected() {
                    0 => Err(no_such_problem(id)),
                    _ => self.core.commit_change(transaction, None).await,
                }
            })
            .await?;
        self.get(id).await?.ok_or_else(|| no_such_problem(id))
    }
}

fn no_such_problem(id: &str) -> Error {
    Error::not_found(format!("there is no problem {id}"))
}

fn task_id_of(text: &str) -> Result<TaskId> {
    text.parse().map_err(|_| Error::corrupt("the id of a task does not decode"))
}

fn push_filter(query: &mut Sql, filter: &ProblemFilter, now: Timestamp) {
    push_workspaces(query, "p.workspace_id", filter.workspace_ids.as_deref());
    if let Some(id) = filter.environment_id {
        query.push(" AND w.environment_id = ").push_bind(id.to_string());
    }
    match filter.state {
        None => {}
        Some(ProblemState::Open) => {
            query.push(" AND (p.state = 'open' OR (p.state = 'muted' AND p.muted_until <= ");
            query.push_bind(now.as_millis()).push("))");
        }
        Some(ProblemState::Muted) => {
            query.push(" AND p.state = 'muted' AND (p.muted_until IS NULL OR p.muted_until > ");
            query.push_bind(now.as_millis()).push(")");
        }
        Some(ProblemState::Resolved) => {
            query.push(" AND p.state = 'resolved'");
        }
    }
    if let Some(id) = filter.task_id {
        query.push(" AND p.id IN (SELECT t.problem_id FROM problem_tasks t WHERE t.task_id = ");
        query.push_bind(id.to_string()).push(")");
    }
    if let Some(text) = filter.text.as_deref().filter(|text| !text.is_empty()) {
        // Of the runs that are counted, as in the list the headline of the latest one is shown.
        query.push(" AND (");
        push_name_like(query, "p.title", text, containing);
        query.push(" OR EXISTS (SELECT 1 FROM problem_runs h WHERE h.problem_id = p.id AND ");
        push_name_like(query, "h.headline", text, containing);
        query.push("))");
    }
    if let Some(prefix) = &filter.id_prefix {
        // Between the prefix and the first text after all that begin with it, so that an index finds them.
        query.push(" AND p.id >= ").push_bind(prefix.clone());
        query.push(" AND p.id < ").push_bind(format!("{prefix}g"));
    }
    if let Some(since) = filter.seen_since {
        query.push(" AND p.last_seen >= ").push_bind(since.as_millis());
    }
    // Not by the ends of runs: the archive may learn of them days later. Nor by what it has counted since, which are all
    // runs after an upgrade.
    if let Some(since) = filter.new_since {
        query.push(" AND p.created_at >= ").push_bind(since.as_millis());
        query.push(
            " AND EXISTS (SELECT 1 FROM problem_runs x JOIN runs r ON r.id = x.run_id
                WHERE x.problem_id = p.id AND r.final_since >= ",
        );
        query.push_bind(since.as_millis()).push(")");
    }
    if let Some(since) = filter.back_since {
        query.push(" AND p.came_back_at IS NOT NULL AND p.state_at >= ").push_bind(since.as_millis());
    }
}

impl ListRow {
    fn into_known(self, now: Timestamp) -> Result<KnownProblem> {
        let Self { counted, workspace_id, workspace_name, tasks, headline } = self;
        let state = counted.state(now.as_millis())?;
        let time = |time: Option<i64>| time.map(instant).transpose();
        let problem = ProblemBody {
            id: counted.id,
            title: counted.title.unwrap_or_default(),
            headline,
            workspace_id: workspace_id
                .parse()
                .map_err(|_| Error::corrupt("the id of the workspace of a problem does not decode"))?,
            workspace_name,
            state,
            state_set_at: time(counted.state_at)?,
            state_set_by: counted.state_by,
            note: counted.note,
            muted_until: time(counted.muted_until.filter(|_| state == ProblemState::Muted))?,
            came_back_at: time(counted.came_back_at)?,
            first_seen: instant(counted.first_seen)?,
            last_seen: instant(counted.last_seen)?,
            runs: counted.runs.saturating_as::<u64>(),
            tasks: tasks.saturating_as::<u64>(),
        };
        Ok(KnownProblem { problem, created_at: instant(counted.created_at)? })
    }
}

/// Makes the analysis of a run that has just ended due: nothing else does so if its log is already sealed or if it has
/// no log. A run without a log waits until the time at which its log would be sealed.
pub(crate) async fn look_for(connection: &mut Connection, run_id: RunId, now: i64, settled_at: i64) -> Result<()> {
    sqlx::query(AssertSqlSafe(format!(
        "UPDATE runs SET summarize_at = CASE WHEN records > 0 THEN $2 ELSE $3 END
         WHERE id = $1 AND seal_at IS NULL AND {LACKS_A_PROBLEM}"
    )))
    .bind(run_id.to_string())
    .bind(now)
    .bind(settled_at)
    .execute(connection)
    .await?;
    Ok(())
}

/// Counts runs, whose rows are locked, to what they have failed of, and takes them from what they were counted to.
pub(crate) async fn assign(connection: &mut Connection, found: &[ProblemRun<'_>], now: Timestamp) -> Result<()> {
    let mut changes = Vec::new();
    for some in found.chunks(limits::GROUP_BATCHES_MAX) {
        let rows = rows_of(connection, some.iter().map(|of| of.run_id.to_string())).await?;
        for of in some {
            let Some(run) = rows.get(&of.run_id.to_string()) else { continue };
            let to = of.problem.filter(|_| run.has_failed != 0);
            if run.is_counted_to(to) {
                continue;
            }
            changes.push(Change { run: run.clone(), to, takes_state_along: of.is_made_otherwise });
        }
    }
    apply(connection, changes, now).await
}

/// Takes runs, whose rows are locked and whose logs are deleted, from their problems.
pub(crate) async fn remove_runs(connection: &mut Connection, run_ids: &[String], now: Timestamp) -> Result<()> {
    for some in run_ids.chunks(limits::GROUP_BATCHES_MAX) {
        let rows = rows_of(connection, some.iter().cloned()).await?;
        let counted = rows.into_values().filter(|run| run.counted_to.is_some());
        let changes = counted.map(|run| Change { run, to: None, takes_state_along: false }).collect();
        apply(connection, changes, now).await?;
    }
    Ok(())
}

/// Takes runs from their problems whose logs were deleted by nodes of a version without problems.
pub(crate) async fn remove_stale(core: &Core) -> Result<()> {
    loop {
        let stale: Vec<String> = sqlx::query_scalar(
            "SELECT p.run_id FROM problem_runs p JOIN runs r ON r.id = p.run_id WHERE r.log_epoch <> p.log_epoch
             ORDER BY p.run_id LIMIT $1",
        )
        .bind(limits::GROUP_BATCHES_MAX.saturating_as::<i64>())
        .fetch_all(core.catalog().read())
        .await?;
        if stale.is_empty() {
            return Ok(());
        }
        core.transact(|transaction| async {
            let mut transaction = transaction;
            lock_runs(core, &mut transaction, stale.iter().cloned()).await?;
            remove_runs(&mut transaction, &stale, core.now()).await?;
            transaction.commit().await
        })
        .await?;
    }
}

async fn rows_of(
    connection: &mut Connection,
    run_ids: impl IntoIterator<Item = String>,
) -> Result<BTreeMap<String, RunRow>> {
    let mut reading = Sql::new(concat!(
        "SELECT r.id AS run_id, r.task_id, r.workspace_id, r.log_epoch,
            COALESCE(r.finished_at, r.final_since, 0) AS ended_at,
            CAST(CASE WHEN r.final_since IS NOT NULL AND r.",
        has_failed!(),
        " THEN 1 ELSE 0 END AS BIGINT) AS has_failed,
            p.problem_id AS counted_to, p.task_id AS counted_task_id, p.log_epoch AS counted_epoch,
            p.ended_at AS counted_ended_at, p.headline AS counted_headline
         FROM runs r LEFT JOIN problem_runs p ON p.run_id = r.id WHERE r.id IN ("
    ));
    reading.push_list(run_ids).push(")");
    let rows: Vec<RunRow> = reading.build_query_as().fetch_all(connection).await?;
    Ok(rows.into_iter().map(|row| (row.run_id.clone(), row)).collect())
}

async fn apply(connection: &mut Connection, changes: Vec<Change<'_>>, now: Timestamp) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut problems = lock(connection, &changes, now).await?;
    for change in &changes {
        change.move_row(connection).await?;
    }
    for change in &changes {
        change.count(&mut problems, now)?;
    }
    for problem in problems.values_mut() {
        problem.save(connection, &changes).await?;
    }
    Ok(())
}

/// Locks the problems that runs are counted to and taken from, and adds those that are new. All transactions lock them
/// in the same order, so that no deadlock arises, and in one statement, which adds a problem again if another
/// transaction deletes it concurrently.
async fn lock(
    connection: &mut Connection,
    changes: &[Change<'_>],
    now: Timestamp,
) -> Result<BTreeMap<String, CountedRow>> {
    let mut ids: BTreeMap<&str, &str> = BTreeMap::new();
    for change in changes {
        let (from, to) = (change.run.counted_to.as_deref(), change.to.map(|to| to.id.as_str()));
        ids.extend(from.into_iter().chain(to).map(|id| (id, change.run.workspace_id.as_str())));
    }
    let ids: Vec<(&str, &str)> = ids.into_iter().collect();
    let mut problems = BTreeMap::new();
    for some in ids.chunks(limits::GROUP_BATCHES_MAX) {
        let mut locking = Sql::new("INSERT INTO workspace_problems (id, workspace_id, state, created_at) VALUES ");
        for (index, (id, workspace_id)) in some.iter().enumerate() {
            locking.push(if index == 0 { "(" } else { ", (" });
            locking.push_list([(*id).to_owned(), (*workspace_id).to_owned(), "open".to_owned()]).push(", ");
            locking.push_bind(now.as_millis()).push(")");
        }
        locking.push(" ON CONFLICT (id) DO UPDATE SET runs = workspace_problems.runs RETURNING ").push(COUNTED_COLUMNS);
        let rows: Vec<CountedRow> = locking.build_query_as().fetch_all(&mut *connection).await?;
        problems.extend(rows.into_iter().map(|row| (row.id.clone(), row)));
    }
    Ok(problems)
}

impl Clone for RunRow {
    fn clone(&self) -> Self {
        Self {
            run_id: self.run_id.clone(),
            task_id: self.task_id.clone(),
            workspace_id: self.workspace_id.clone(),
            counted_to: self.counted_to.clone(),
            counted_task_id: self.counted_task_id.clone(),
            counted_headline: self.counted_headline.clone(),
            ..*self
        }
    }
}

impl NewProblem {
    /// The headline in the form in which the catalog keeps it.
    fn stored_headline(&self) -> Option<String> {
        self.headline.as_deref().map(storable)
    }
}

impl RunRow {
    fn is_counted_to(&self, problem: Option<&NewProblem>) -> bool {
        let wanted = problem.map(|problem| problem.id.as_str());
        let is_as_counted = self.counted_epoch == Some(self.log_epoch)
            && self.counted_ended_at == Some(self.ended_at)
            && self.counted_task_id.as_deref() == Some(&self.task_id)
            && self.counted_headline == problem.and_then(NewProblem::stored_headline);
        self.counted_to.as_deref() == wanted && (wanted.is_none() || is_as_counted)
    }
}

impl Change<'_> {
    /// Moves the row of the run, and counts it to the task.
    async fn move_row(&self, connection: &mut Connection) -> Result<()> {
        let run = &self.run;
        if let Some(from) = &run.counted_to {
            sqlx::query("DELETE FROM problem_runs WHERE run_id = $1")
                .bind(&run.run_id)
                .execute(&mut *connection)
                .await?;
            sqlx::query("UPDATE problem_tasks SET runs = runs - 1 WHERE problem_id = $1 AND task_id = $2")
                .bind(from)
                .bind(&run.counted_task_id)
                .execute(&mut *connection)
                .await?;
        }
        if let Some(to) = self.to {
            sqlx::query(
                "INSERT INTO problem_runs (run_id, problem_id, task_id, ended_at, log_epoch, headline)
                 VALUES ($1, $2, $3, $4, $5, $6)",
            )
            .bind(&run.run_id)
            .bind(&to.id)
            .bind(&run.task_id)
            .bind(run.ended_at)
            .bind(run.log_epoch)
            .bind(to.stored_headline())
            .execute(&mut *connection)
            .await?;
            sqlx::query(
                "INSERT INTO problem_tasks (problem_id, task_id, runs) VALUES ($1, $2, 1)
                 ON CONFLICT (problem_id, task_id) DO UPDATE SET runs = problem_tasks.runs + 1",
            )
            .bind(&to.id)
            .bind(&run.task_id)
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }

    /// Counts the run to its new problem instead of the previous one, and determines whether the new problem recurs
    /// with it.
    fn count(&self, problems: &mut BTreeMap<String, CountedRow>, now: Timestamp) -> Result<()> {
        let from = self.run.counted_to.as_ref().and_then(|from| problems.get_mut(from));
        let before = from.map(|from| {
            from.runs -= 1;
            from.clone()
        });
        let Some(problem) = self.to.and_then(|to| problems.get_mut(&to.id)) else { return Ok(()) };
        if let Some(before) = before.filter(|before| before.id != problem.id)
            && self.takes_state_along
            && problem.title.is_none()
            && problem.state_at.is_none()
        {
            *problem = CountedRow {
                id: problem.id.clone(),
                title: None,
                runs: problem.runs,
                last_seen: problem.last_seen,
                ..before
            };
        }
        problem.runs += 1;
        problem.title = problem.title.take().or_else(|| self.to.map(|to| storable(&to.title)));
        let ended_at = self.run.ended_at;
        problem.first_seen = problem.first_seen.min(ended_at);
        problem.last_seen = problem.last_seen.max(ended_at);
        let closed_until = match problem.stored_state()? {
            ProblemState::Open => None,
            ProblemState::Muted => problem.muted_until,
            ProblemState::Resolved => problem.state_at,
        };
        // A run that ended earlier and is only archived now does not reopen the problem.
        if closed_until.is_some_and(|until| ended_at > until) {
            problem.state = ProblemState::Open.as_str().to_owned();
            problem.state_at = Some(now.as_millis());
            (problem.state_by, problem.muted_until) = (None, None);
            problem.came_back_at = Some(ended_at);
        }
        Ok(())
    }
}

impl CountedRow {
    fn stored_state(&self) -> Result<ProblemState> {
        self.state.parse().map_err(|_| Error::corrupt("the state of a problem does not decode"))
    }

    /// The state at a time: a mute ends by itself.
    fn state(&self, now: i64) -> Result<ProblemState> {
        Ok(match self.stored_state()? {
            ProblemState::Muted if self.muted_until.is_some_and(|until| until <= now) => ProblemState::Open,
            state => state,
        })
    }

    /// Writes the problem after the rows of its runs.
    async fn save(&mut self, connection: &mut Connection, changes: &[Change<'_>]) -> Result<()> {
        sqlx::query("DELETE FROM problem_tasks WHERE problem_id = $1 AND runs <= 0")
            .bind(&self.id)
            .execute(&mut *connection)
            .await?;
        if self.runs <= 0 {
            return self.forget(connection).await;
        }
        let gone = || changes.iter().filter(|change| change.run.counted_to.as_ref() == Some(&self.id));
        if gone().next().is_some() {
            let (first, last): (Option<i64>, Option<i64>) =
                sqlx::query_as("SELECT MIN(ended_at), MAX(ended_at) FROM problem_runs WHERE problem_id = $1")
                    .bind(&self.id)
                    .fetch_one(&mut *connection)
                    .await?;
            self.last_seen = last.unwrap_or(self.last_seen);
            // When it was first seen stays known after the log was deleted. A run that failed of something else never
            // counted.
            let never_counted = gone().any(|it| it.to.is_some() && it.run.counted_ended_at == Some(self.first_seen));
            if never_counted {
                self.first_seen = first.unwrap_or(self.first_seen);
            }
        }
        sqlx::query(
            "UPDATE workspace_problems SET title = $2, state = $3, state_at = $4, state_by = $5, note = $6,
                    muted_until = $7, came_back_at = $8, created_at = $9, first_seen = $10, last_seen = $11, runs = $12
             WHERE id = $1",
        )
        .bind(&self.id)
        .bind(&self.title)
        .bind(&self.state)
        .bind(self.state_at)
        .bind(&self.state_by)
        .bind(&self.note)
        .bind(self.muted_until)
        .bind(self.came_back_at)
        .bind(self.created_at)
        .bind(self.first_seen)
        .bind(self.last_seen)
        .bind(self.runs)
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Deletes a problem without runs; of one that is muted or resolved, all that a log or a person said.
    async fn forget(&self, connection: &mut Connection) -> Result<()> {
        let statement = match self.stored_state()? {
            ProblemState::Open => "DELETE FROM workspace_problems WHERE id = $1",
            ProblemState::Muted | ProblemState::Resolved => {
                "UPDATE workspace_problems SET title = NULL, note = NULL, came_back_at = NULL, runs = 0,
                        last_seen = -9223372036854775807
                 WHERE id = $1"
            }
        };
        sqlx::query(statement).bind(&self.id).execute(connection).await?;
        Ok(())
    }
}
