//! The history: runs and plan executions in one list, filtered and sorted.

use az::SaturatingAs;
use runlog_model::{EnvironmentId, TaskId, Timestamp, WorkspaceId};
use sqlx_macros::FromRow;

use crate::catalog::columns::{instant, words};
use crate::catalog::filters::{containing, push_in_runtime, push_name_like, push_tag, push_workspaces};
use crate::catalog::sql::Sql;
use crate::error::{Error, Result};
use crate::parts::Runs;

/// Selects executions.
#[derive(Debug, Clone)]
pub struct HistoryFilter {
    /// Executions in this environment.
    pub environment_id: Option<EnvironmentId>,
    /// Executions in these workspaces; `None` for all.
    pub workspace_ids: Option<Vec<WorkspaceId>>,
    /// The kind of execution to exclude.
    pub exclude: HistoryExclude,
    /// Conditions that must all hold.
    pub conditions: Vec<HistoryCondition>,
    /// Maximum number of entries to return.
    pub limit: u64,
    /// Number of entries to skip.
    pub offset: u64,
    /// Return entries after this execution.
    pub after: Option<String>,
}

/// The kind of execution that a history excludes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryExclude {
    /// Runs that belong to a plan execution.
    RunsOfPlans,
    /// Plan executions.
    Plans,
}

/// A field of an execution that conditions compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryField {
    /// The detailed status.
    Status,
    /// The workspace.
    Workspace,
    /// The task.
    Task,
    /// The plan, or the plan execution.
    Plan,
    /// The artifact.
    Artifact,
    /// The version of the artifact.
    ArtifactVersion,
    /// Who started it.
    Operator,
    /// Who owns it.
    Author,
    /// The version of the task.
    Version,
    /// The log level.
    LogLevel,
    /// The execution.
    Id,
    /// The version of the API it was started through.
    ApiVersion,
    /// The run profile.
    RunProfile,
    /// The engine.
    Engine,
    /// The cluster.
    Cluster,
    /// The kind of place it ran in.
    Destination,
}

/// A condition on executions.
#[derive(Debug, Clone)]
pub enum HistoryCondition {
    /// The field has one of these values, or none of them.
    OneOf {
        /// The field.
        field: HistoryField,
        /// The values.
        values: Vec<String>,
        /// True: has none of them.
        negated: bool,
    },
    /// The name contains a text, in any case, or does not.
    NameHolds {
        /// The text.
        part: String,
        /// True: does not contain it.
        negated: bool,
    },
    /// The task has one of these tags, or none of them.
    Tagged {
        /// The tags.
        tags: Vec<String>,
        /// True: has none of them.
        negated: bool,
    },
    /// It took longer than this. Unit: milliseconds.
    LongerThan(i64),
    /// It took less than this. Unit: milliseconds.
    ShorterThan(i64),
    /// The execution was under way at some time in this range, both ends included.
    Between(Timestamp, Timestamp),
    /// The execution was triggered at this time or later.
    TriggeredFrom(Timestamp),
    /// The execution was triggered at this time or earlier.
    TriggeredTo(Timestamp),
    /// It was not started through the API, or was.
    ApiVersionIsEmpty(bool),
    /// One of these holds.
    Any(Vec<HistoryCondition>),
    /// All of these hold.
    All(Vec<HistoryCondition>),
}

/// A run or a plan execution.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    /// The execution.
    pub id: String,
    /// True for a plan execution.
    pub is_plan: bool,
    /// The name of the task or plan.
    pub name: String,
    /// The detailed status.
    pub status: String,
    /// The version of the task; none for plans.
    pub version: Option<String>,
    /// What triggered the execution.
    pub execution_type: String,
    /// When it was triggered.
    pub triggered_at: Timestamp,
    /// When it started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How long it took. Unit: milliseconds.
    pub duration_ms: Option<i64>,
    /// Who started it.
    pub operator: String,
    /// Whether that is a user or a service account.
    pub operator_type: String,
    /// The owner of its workspace, as the author of the task.
    pub author: String,
    /// The environment.
    pub environment_id: EnvironmentId,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The task; none for plans.
    pub task_id: Option<TaskId>,
    /// The plan.
    pub plan_id: Option<String>,
    /// Its name.
    pub plan_name: Option<String>,
    /// The plan execution that a run is part of.
    pub plan_execution_id: Option<String>,
    /// The artifact.
    pub artifact_id: Option<String>,
    /// Its name.
    pub artifact_name: Option<String>,
    /// Its version.
    pub artifact_version: Option<String>,
    /// Tags of the task.
    pub tags: Vec<String>,
    /// Where it ran.
    pub runtime: runlog_model::Runtime,
    /// The lowest severity that it logs.
    pub log_level: Option<String>,
    /// The version of the API it was started through.
    pub api_version: Option<String>,
    /// How many times deployment was attempted.
    pub attempts: Option<i64>,
    /// Why it failed.
    pub error_message: Option<String>,
    /// Why it did not start.
    pub misfired_reason: Option<String>,
    /// Rows that it rejected.
    pub rejected_rows: Option<i64>,
}

impl Runs {
    /// Returns the executions that match the filter: running ones first, then by end, newest first, then by trigger
    /// time, then by id.
    ///
    /// `NotFound`: the execution to continue after is not in the archive.
    pub async fn history(&self, filter: &HistoryFilter) -> Result<Vec<HistoryEntry>> {
        let after = match &filter.after {
            Some(id) => Some((self.history_cursor(id).await?, id.clone())),
            None => None,
        };
        let mut query = Sql::new("SELECT * FROM (");
        match filter.exclude {
            HistoryExclude::Plans => push_newest(&mut query, "SELECT * FROM run_executions WHERE TRUE", filter, &after),
            HistoryExclude::RunsOfPlans => {
                // Each of the two is cut by itself, so that an index gives its newest.
                query.push("SELECT * FROM (");
                let single = "SELECT * FROM run_executions WHERE plan_execution_id IS NULL";
                push_newest(&mut query, single, filter, &after);
                query.push(") single UNION ALL SELECT * FROM (");
                push_newest(&mut query, "SELECT * FROM plan_executions WHERE TRUE", filter, &after);
                query.push(") plans");
            }
        }
        query.push(") newest ").push(NEWEST_FIRST).push(" LIMIT ").push_bind(filter.limit.saturating_as::<i64>());
        query.push(" OFFSET ").push_bind(filter.offset.saturating_as::<i64>());
        let rows: Vec<HistoryRow> = query.build_query_as().fetch_all(self.core.catalog().read()).await?;
        rows.into_iter().map(HistoryRow::into_entry).collect()
    }

    async fn history_cursor(&self, id: &str) -> Result<(i64, i64)> {
        let place: Option<(i64, i64)> = sqlx::query_as("SELECT ended, triggered_at FROM executions WHERE id = $1")
            .bind(id)
            .fetch_optional(self.core.catalog().read())
            .await?;
        place.ok_or_else(|| Error::not_found("there is no execution with this id: start again without it"))
    }
}

/// The order of the history. The index `runs_by_ended` has it, too.
const NEWEST_FIRST: &str = "ORDER BY ended DESC, triggered_at, id DESC";

/// Adds what is selected, as far as it is wanted and may be among the newest that are.
fn push_newest(query: &mut Sql, selected: &str, filter: &HistoryFilter, after: &Option<((i64, i64), String)>) {
    query.push(selected);
    if let Some(id) = filter.environment_id {
        query.push(" AND environment_id = ").push_bind(id.to_string());
    }
    push_workspaces(query, "workspace_id", filter.workspace_ids.as_deref());
    for condition in &filter.conditions {
        query.push(" AND ");
        push_condition(query, condition);
    }
    if let Some(((ended, triggered), id)) = after {
        query.push(" AND ended <= ").push_bind(*ended).push(" AND (ended < ").push_bind(*ended);
        query.push(" OR triggered_at > ").push_bind(*triggered).push(" OR triggered_at = ").push_bind(*triggered);
        query.push(" AND id < ").push_bind(id.clone()).push(")");
    }
    let rows = filter.limit.saturating_add(filter.offset).min(i64::MAX as u64);
    query.push(" ").push(NEWEST_FIRST).push(" LIMIT ").push_bind(rows.saturating_as::<i64>());
}

fn push_condition(query: &mut Sql, condition: &HistoryCondition) {
    match condition {
        HistoryCondition::OneOf { field, values, negated } => push_one_of(query, *field, values, *negated),
        HistoryCondition::NameHolds { part, negated } => {
            query.push(if *negated { "NOT (" } else { "(" });
            push_name_like(query, "name", part, containing);
            query.push(")");
        }
        HistoryCondition::Tagged { tags, negated } => {
            query.push(if *negated { "NOT (FALSE" } else { "(FALSE" });
            for tag in tags {
                query.push(" OR ");
                push_tag(query, tag);
            }
            query.push(")");
        }
        HistoryCondition::LongerThan(ms) => {
            query.push("duration_ms > ").push_bind(*ms);
        }
        HistoryCondition::ShorterThan(ms) => {
            query.push("duration_ms < ").push_bind(*ms);
        }
        HistoryCondition::Between(from, to) => {
            query.push("(triggered_at <= ").push_bind(to.as_millis());
            query.push(" AND ended >= ").push_bind(from.as_millis()).push(")");
        }
        HistoryCondition::TriggeredFrom(from) => {
            query.push("triggered_at >= ").push_bind(from.as_millis());
        }
        HistoryCondition::TriggeredTo(to) => {
            query.push("triggered_at <= ").push_bind(to.as_millis());
        }
        HistoryCondition::ApiVersionIsEmpty(true) => {
            query.push("api_version IS NULL");
        }
        HistoryCondition::ApiVersionIsEmpty(false) => {
            query.push("api_version IS NOT NULL");
        }
        HistoryCondition::Any(conditions) => push_joined(query, conditions, "(FALSE", " OR "),
        HistoryCondition::All(conditions) => push_joined(query, conditions, "(TRUE", " AND "),
    }
}

fn push_joined(query: &mut Sql, conditions: &[HistoryCondition], opening: &str, word: &str) {
    query.push(opening);
    for condition in conditions {
        query.push(word);
        push_condition(query, condition);
    }
    query.push(")");
}

fn push_one_of(query: &mut Sql, field: HistoryField, values: &[String], negated: bool) {
    let columns: &[&str] = match field {
        HistoryField::Status => &["status"],
        HistoryField::Workspace => &["workspace_id"],
        HistoryField::Task => &["task_id"],
        HistoryField::Plan => &["plan_id", "plan_execution_id"],
        HistoryField::Artifact => &["artifact_id"],
        HistoryField::ArtifactVersion => &["artifact_version"],
        HistoryField::Operator => &["operator"],
        HistoryField::Author => &["author"],
        HistoryField::Version => &["version"],
        HistoryField::LogLevel => &["log_level"],
        HistoryField::Id => &["id"],
        HistoryField::ApiVersion => &["api_version"],
        HistoryField::RunProfile => return push_in_runtime(query, "runProfileId", values, negated),
        HistoryField::Engine => return push_in_runtime(query, "engineId", values, negated),
        HistoryField::Cluster => return push_in_runtime(query, "clusterId", values, negated),
        HistoryField::Destination => return push_in_runtime(query, "type", values, negated),
    };
    query.push(if negated { "NOT (FALSE" } else { "(FALSE" });
    for column in columns {
        // What is not known is none of the values.
        query.push(format!(" OR COALESCE({column}, '') IN ("));
        query.push_list(values.iter().cloned());
        query.push(")");
    }
    query.push(")");
}

#[derive(FromRow)]
struct HistoryRow {
    id: String,
    kind: String,
    name: String,
    status: String,
    version: Option<String>,
    execution_type: String,
    triggered_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    duration_ms: Option<i64>,
    operator: String,
    operator_type: String,
    author: String,
    environment_id: String,
    workspace_id: String,
    task_id: Option<String>,
    plan_id: Option<String>,
    plan_name: Option<String>,
    plan_execution_id: Option<String>,
    artifact_id: Option<String>,
    artifact_name: Option<String>,
    artifact_version: Option<String>,
    tags: String,
    runtime: Option<String>,
    log_level: Option<String>,
    api_version: Option<String>,
    attempts: Option<i64>,
    error_message: Option<String>,
    misfired_reason: Option<String>,
    rejected_rows: Option<i64>,
}

impl HistoryRow {
    fn into_entry(self) -> Result<HistoryEntry> {
        let undecodable = |what: &str| Error::corrupt(format!("the {what} of execution {} does not decode", self.id));
        let runtime = self.runtime.as_deref().map(serde_json::from_str).transpose();
        Ok(HistoryEntry {
            environment_id: self.environment_id.parse().map_err(|_| undecodable("environment id"))?,
            workspace_id: self.workspace_id.parse().map_err(|_| undecodable("workspace id"))?,
            task_id: self.task_id.as_deref().map(str::parse).transpose().map_err(|_| undecodable("task id"))?,
            runtime: runtime.map_err(|_| undecodable("runtime"))?.unwrap_or_default(),
            is_plan: self.kind == "PLAN",
            name: self.name,
            status: self.status,
            version: self.version,
            execution_type: self.execution_type,
            triggered_at: instant(self.triggered_at)?,
            started_at: self.started_at.map(instant).transpose()?,
            finished_at: self.finished_at.map(instant).transpose()?,
            duration_ms: self.duration_ms,
            operator: self.operator,
            operator_type: self.operator_type,
            author: self.author,
            plan_id: self.plan_id,
            plan_name: self.plan_name,
            plan_execution_id: self.plan_execution_id,
            artifact_id: self.artifact_id,
            artifact_name: self.artifact_name,
            artifact_version: self.artifact_version,
            tags: words(&self.tags)?,
            log_level: self.log_level,
            api_version: self.api_version,
            attempts: self.attempts,
            error_message: self.error_message,
            misfired_reason: self.misfired_reason,
            rejected_rows: self.rejected_rows,
            id: self.id,
        })
    }
}
