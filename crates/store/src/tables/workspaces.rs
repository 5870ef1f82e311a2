//! Environments, workspaces and tasks: environments contain workspaces, workspaces contain tasks.

use az::SaturatingAs;
use runlog_model::wire::admin::{NewEnvironment, NewTask, NewWorkspace};
use runlog_model::workspaces::{Environment, Task, Workspace};
use runlog_model::{EnvironmentId, TaskId, Timestamp, WorkspaceId};
use sqlx::{Any, AssertSqlSafe, Executor};
use sqlx_macros::FromRow;

use crate::catalog::columns::{checked_name, json_of, words};
use crate::catalog::filters::{
    beginning_with, containing, push_artifact_and_runtime, push_name_like, push_tag, push_workspaces,
};
use crate::catalog::sql::{Connection, Sql, storable};
use crate::error::{Error, ErrorKind, Result};
use crate::parts::Workspaces;

/// Selects tasks. An absent field does not restrict the selection.
#[derive(Debug, Clone, Default)]
pub struct TaskFilter {
    /// Tasks of this environment.
    pub environment_id: Option<EnvironmentId>,
    /// Tasks of these workspaces.
    pub workspace_ids: Option<Vec<WorkspaceId>>,
    /// Tasks whose name starts with this, ignoring case.
    pub name: Option<String>,
    /// Tasks whose name contains this, ignoring case.
    pub name_part: Option<String>,
    /// Tasks that have all of these tags.
    pub tags: Vec<String>,
    /// Tasks whose newest run ran this artifact.
    pub artifact_id: Option<String>,
    /// Those whose newest run says this of its runtime, as [`RunFilter::runtime`](crate::runs::RunFilter::runtime) has it.
    pub runtime: Vec<(&'static str, String)>,
    /// Most tasks to return.
    pub limit: u64,
    /// How many tasks to skip.
    pub offset: u64,
}

impl Workspaces {
    /// Creates an environment; the first one is the default. Idempotent with the same id and name.
    pub async fn create_environment(&self, new: &NewEnvironment) -> Result<Environment> {
        let known = self.environments().await?;
        let id = new.id.unwrap_or_else(|| EnvironmentId::random(self.core.random()));
        if let Some(environment) = known.iter().find(|environment| environment.id == id) {
            return same_environment(environment.clone(), new);
        }
        let environment = Environment {
            id,
            name: checked_name(&new.name)?,
            description: new.description.clone(),
            is_default: known.is_empty(),
        };
        let is_made = self
            .core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let made = sqlx::query(
            "INSERT INTO environments (id, name, description, is_default, created_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT DO NOTHING",
        )
        .bind(environment.id.to_string())
        .bind(&environment.name)
        .bind(environment.description.as_deref().map(storable))
        .bind(i64::from(environment.is_default))
        .bind(self.core.now().as_millis())
        .execute(&mut *transaction)
        .await?;
                if made.rows_affected() == 0 {
                    return Ok(false);
                }
                self.core.commit_change(transaction, Some(&environment.id.to_string())).await?;
                Ok(true)
            })
            .await?;
        if is_made {
            return Ok(environment);
        }
        // The name is taken, or a concurrent call has created it.
        match self.environments().await?.into_iter().find(|environment| environment.id == id) {
            Some(environment) => same_environment(environment, new),
            None => Err(name_is_taken("environment", &new.name)),
        }
    }

    /// Returns all environments, by name.
    pub async fn environments(&self) -> Result<Vec<Environment>> {
        let rows: Vec<EnvironmentRow> =
            sqlx::query_as("SELECT id, name, description, is_default FROM environments ORDER BY name")
                .fetch_all(self.core.catalog().read())
                .await?;
        rows.into_iter().map(EnvironmentRow::into_environment).collect()
    }

    /// Creates a workspace in the given environment, or in the default one, which is created if there is none.
    /// Idempotent with the same id and name.
    pub async fn create_workspace(&self, new: &NewWorkspace, owner: &str) -> Result<Workspace> {
        if let Some(id) = new.id
            && let Some(workspace) = self.get(id).await?
        {
            return same_workspace(workspace, new);
        }
        let workspace = Workspace {
            id: new.id.unwrap_or_else(|| WorkspaceId::random(self.core.random())),
            environment: self.environment_or_default(new.environment_id).await?,
            name: checked_name(&new.name)?,
            description: new.description.clone(),
            owner: new.owner.clone().unwrap_or_else(|| owner.to_owned()),
        };
        let is_made = self
            .core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let made = sqlx::query(
                    "INSERT INTO workspaces (id, environment_id, name, description, owner, created_at)
                     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
                )
                .bind(workspace.id.to_string())
                .bind(workspace.environment.id.to_string())
                .bind(&workspace.name)
                .bind(workspace.description.as_deref().map(storable))
                .bind(storable(&workspace.owner))
                .bind(self.core.now().as_millis())
                .execute(&mut *transaction)
                .await?;
                if made.rows_affected() == 0 {
                    return Ok(false);
                }
                self.core.commit_change(transaction, Some(&workspace.id.to_string())).await?;
                Ok(true)
            })
            .await?;
        if is_made {
            return Ok(workspace);
        }
        // Another workspace has the name, or a concurrent call created the workspace.
        match self.get(workspace.id).await? {
            Some(workspace) => same_workspace(workspace, new),
            None => Err(name_is_taken("workspace", &new.name)),
        }
    }

    /// Returns all workspaces, by name.
    pub async fn list(&self) -> Result<Vec<Workspace>> {
        let rows: Vec<WorkspaceRow> = sqlx::query_as(
            "SELECT w.id, w.name, w.description, w.owner,
                    e.id AS environment_id, e.name AS environment_name, e.description AS environment_description,
                    e.is_default AS environment_is_default
             FROM workspaces w JOIN environments e ON e.id = w.environment_id ORDER BY w.name, w.id",
        )
        .fetch_all(self.core.catalog().read())
        .await?;
        rows.into_iter().map(WorkspaceRow::into_workspace).collect()
    }

    /// Returns the workspace with this id.
    pub async fn get(&self, id: WorkspaceId) -> Result<Option<Workspace>> {
        let row: Option<WorkspaceRow> = sqlx::query_as(
            "SELECT w.id, w.name, w.description, w.owner,
                    e.id AS environment_id, e.name AS environment_name, e.description AS environment_description,
                    e.is_default AS environment_is_default
             FROM workspaces w JOIN environments e ON e.id = w.environment_id WHERE w.id = $1",
        )
        .bind(id.to_string())
        .fetch_optional(self.core.catalog().read())
        .await?;
        row.map(WorkspaceRow::into_workspace).transpose()
    }

    /// Creates a task. Idempotent with the same id, workspace and name.
    pub async fn create_task(&self, new: &NewTask) -> Result<Task> {
        if let Some(id) = new.id
            && let Some(task) = self.task(id).await?
        {
            return same_task(task, new);
        }
        let task = self.prepared_task(new).await?;
        let is_made = self
            .core
            .transact(|transaction| async {
                let mut transaction = transaction;
                if !insert_task(&mut *transaction, &task, self.core.now()).await? {
                    return Ok(false);
                }
                self.core.commit_change(transaction, Some(&task.id.to_string())).await?;
                Ok(true)
            })
            .await?;
        if is_made {
            return Ok(task);
        }
        // A concurrent call created it.
        match self.task(task.id).await? {
            Some(task) => same_task(task, new),
            None => Err(Error::conflict("a task with this ID was created and deleted concurrently: try again")),
        }
    }

    /// Returns the task with this name in a workspace, and creates it if there is none. Concurrent calls with the
    /// same name get the same task.
    pub async fn get_or_create_task(&self, new: &NewTask) -> Result<Task> {
        let name = checked_name(&new.name)?;
        if let Some(task) = fetch_named(self.core.catalog().read(), new.workspace_id, &name).await? {
            return Ok(task);
        }
        let task = self.prepared_task(new).await?;
        let known = self
            .core
            .transact(|transaction| async {
                let mut transaction = transaction;
                // Whoever else names it waits here, and finds it then: names of tasks are not unique by themselves.
                let locking = format!("SELECT id FROM workspaces WHERE id = $1{}", self.core.catalog().for_update());
                sqlx::query(AssertSqlSafe(locking))
                    .bind(new.workspace_id.to_string())
                    .fetch_optional(&mut *transaction)
                    .await?;
                if let Some(known) = fetch_named(&mut *transaction, new.workspace_id, &name).await? {
                    return Ok(Some(known));
                }
                insert_task(&mut *transaction, &task, self.core.now()).await?;
                self.core.commit_change(transaction, Some(&task.id.to_string())).await?;
                Ok(None)
            })
            .await?;
        Ok(known.unwrap_or(task))
    }

    async fn prepared_task(&self, new: &NewTask) -> Result<Task> {
        let workspace = self
            .get(new.workspace_id)
            .await?
            .ok_or_else(|| Error::not_found(format!("there is no workspace {}", new.workspace_id)))?;
        Ok(Task {
            id: new.id.unwrap_or_else(|| TaskId::random(self.core.random())),
            workspace,
            name: checked_name(&new.name)?,
            version: new.version.clone().unwrap_or_else(|| "1.0".to_owned()),
            description: new.description.clone(),
            tags: new.tags.clone(),
        })
    }

    /// Inserts or updates a task as an upstream describes it, with its workspace and environment. They are renamed
    /// like those of the upstream; where a name is taken, the id is appended.
    pub async fn upsert_task(&self, task: &Task) -> Result<()> {
        if let Some(known) = self.task(task.id).await?
            && is_unchanged(&known, task)
        {
            return Ok(());
        }
        let workspace = &task.workspace;
        let now = self.core.now().as_millis();
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                upsert_workspace_in(&mut transaction, workspace, now).await?;
                sqlx::query(
                    "INSERT INTO tasks (id, workspace_id, name, version, description, tags, created_at)
                     VALUES ($1, $2, $3, $4, $5, $6, $7)
                     ON CONFLICT (id) DO UPDATE SET name = excluded.name, workspace_id = excluded.workspace_id",
                )
                .bind(task.id.to_string())
                .bind(workspace.id.to_string())
                .bind(storable(task.name.trim()))
                .bind(storable(&task.version))
                .bind(task.description.as_deref().map(storable))
                .bind(json_of(&task.tags))
                .bind(now)
                .execute(&mut *transaction)
                .await?;
                transaction.commit().await
            })
            .await
    }

    /// Updates what an upstream returns only for a single task. Absent parts stay as they are, and so do the tags if there
    /// are none.
    pub async fn describe_task(
        &self,
        id: TaskId,
        version: Option<&str>,
        description: Option<&str>,
        tags: &[String],
    ) -> Result<()> {
        let Some(known) = self.task(id).await? else { return Ok(()) };
        let version = version.map_or(known.version.clone(), storable);
        let description = description.map(storable).or_else(|| known.description.clone());
        let tags = if tags.is_empty() { known.tags.as_slice() } else { tags };
        if version == known.version && description == known.description && tags == known.tags {
            return Ok(());
        }
        sqlx::query("UPDATE tasks SET version = $2, description = $3, tags = $4 WHERE id = $1")
            .bind(id.to_string())
            .bind(version)
            .bind(description)
            .bind(json_of(tags))
            .execute(self.core.catalog().write())
            .await?;
        Ok(())
    }

    /// Inserts or updates a workspace as an upstream describes it, with its environment, like
    /// [`upsert_task`](Self::upsert_task).
    pub async fn upsert_workspace(&self, workspace: &Workspace) -> Result<()> {
        let is_same = |known: Workspace| {
            known.environment.id == workspace.environment.id
                && known.name == workspace.name
                && known.environment.name == workspace.environment.name
        };
        if self.get(workspace.id).await?.is_some_and(is_same) {
            return Ok(());
        }
        let now = self.core.now().as_millis();
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                upsert_workspace_in(&mut transaction, workspace, now).await?;
                transaction.commit().await
            })
            .await
    }

    /// Returns the tasks that match the filter, by name, and how many match without limit and offset.
    pub async fn tasks(&self, filter: &TaskFilter) -> Result<(Vec<Task>, u64)> {
        let mut counting = Sql::new(format!("SELECT COUNT(*) {TASK_SOURCE}"));
        push_task_filter(&mut counting, filter);
        let total: i64 = counting.build_query_scalar().fetch_one(self.core.catalog().read()).await?;

        let mut listing = Sql::new(format!("SELECT {TASK_COLUMNS} {TASK_SOURCE}"));
        push_task_filter(&mut listing, filter);
        listing.push(" ORDER BY t.name, t.id LIMIT ").push_bind(filter.limit.saturating_as::<i64>());
        listing.push(" OFFSET ").push_bind(filter.offset.saturating_as::<i64>());
        let rows: Vec<TaskRow> = listing.build_query_as().fetch_all(self.core.catalog().read()).await?;
        let tasks = rows.into_iter().map(TaskRow::into_task).collect::<Result<_>>()?;
        Ok((tasks, total.saturating_as::<u64>()))
    }

    /// Returns the tasks with these ids, in any order; unknown ones are omitted.
    pub async fn tasks_with_ids(&self, ids: &[TaskId]) -> Result<Vec<Task>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut query = Sql::new(format!("SELECT {TASK_COLUMNS} {TASK_SOURCE} AND t.id IN ("));
        query.push_list(ids.iter().map(ToString::to_string)).push(")");
        let rows: Vec<TaskRow> = query.build_query_as().fetch_all(self.core.catalog().read()).await?;
        rows.into_iter().map(TaskRow::into_task).collect()
    }

    /// Returns the task with this id.
    pub async fn task(&self, id: TaskId) -> Result<Option<Task>> {
        let mut query = Sql::new(format!("SELECT {TASK_COLUMNS} {TASK_SOURCE} AND t.id = "));
        query.push_bind(id.to_string());
        let row: Option<TaskRow> = query.build_query_as().fetch_optional(self.core.catalog().read()).await?;
        row.map(TaskRow::into_task).transpose()
    }

    async fn environment_or_default(&self, id: Option<EnvironmentId>) -> Result<Environment> {
        let known = self.environments().await?;
        match id {
            Some(id) => known
                .into_iter()
                .find(|environment| environment.id == id)
                .ok_or_else(|| Error::not_found(format!("there is no environment {id}"))),
            None => match known.into_iter().find(|environment| environment.is_default) {
                Some(environment) => Ok(environment),
                None => {
                    let new = NewEnvironment { id: None, name: "default".to_owned(), description: None };
                    // Only the creation of the workspace is audited, not that of its environment.
                    match Self::new(&self.core.without_audit()).create_environment(&new).await {
                        // A concurrent call created it.
                        Err(error) if error.kind() == ErrorKind::Conflict => {
                            let known = self.environments().await?;
                            known.into_iter().find(|environment| environment.is_default).ok_or(error)
                        }
                        made => made,
                    }
                }
            },
        }
    }
}

const TASK_COLUMNS: &str = "t.id AS task_id, t.name AS task_name, t.version AS task_version,
    t.description AS task_description, t.tags AS task_tags, w.id, w.name, w.description, w.owner,
    e.id AS environment_id, e.name AS environment_name, e.description AS environment_description,
    e.is_default AS environment_is_default";

const TASK_SOURCE: &str = "FROM tasks t JOIN workspaces w ON w.id = t.workspace_id
    JOIN environments e ON e.id = w.environment_id WHERE TRUE";

fn push_task_filter(query: &mut Sql, filter: &TaskFilter) {
    if let Some(id) = filter.environment_id {
        query.push(" AND e.id = ").push_bind(id.to_string());
    }
    push_workspaces(query, "w.id", filter.workspace_ids.as_deref());
    if let Some(name) = &filter.name {
        query.push(" AND ");
        push_name_like(query, "t.name", name, beginning_with);
    }
    if let Some(part) = &filter.name_part {
        query.push(" AND ");
        push_name_like(query, "t.name", part, containing);
    }
    for tag in &filter.tags {
        query.push(" AND ");
        push_tag(query, tag);
    }
    if filter.artifact_id.is_some() || !filter.runtime.is_empty() {
        // An index finds the newest run of a task.
        query.push(" AND (SELECT CASE WHEN TRUE");
        push_artifact_and_runtime(query, filter.artifact_id.as_deref(), &filter.runtime);
        query.push(" THEN 1 ELSE 0 END FROM runs r WHERE r.task_id = t.id");
        query.push(" ORDER BY r.triggered_at DESC, r.id DESC LIMIT 1) = 1");
    }
}

/// True when an upstream's description of a task is what is known. Its list of tasks has neither description nor
/// tags.
fn is_unchanged(known: &Task, said: &Task) -> bool {
    let (known_workspace, listed_workspace) = (&known.workspace, &said.workspace);
    known.name == storable(said.name.trim())
        && known_workspace.id == listed_workspace.id
        && is_named(&known_workspace.name, &listed_workspace.name, listed_workspace.id)
        && known_workspace.environment.id == listed_workspace.environment.id
        && is_named(
            &known_workspace.environment.name,
            &listed_workspace.environment.name,
            listed_workspace.environment.id,
        )
}

/// True when a task, workspace or environment has the name that an upstream gives it, perhaps followed by its id: see
/// [`free_name`].
fn is_named(known: &str, said: &str, id: impl std::fmt::Display) -> bool {
    let said = storable(said);
    known == said.trim() || known == format!("{} ({id})", said.trim())
}

/// The name, followed by the id if another one of the kind has that name.
async fn free_name(
    connection: &mut Connection,
    table: &str,
    id: impl std::fmt::Display,
    name: &str,
    inside: Option<EnvironmentId>,
) -> Result<String> {
    let mut query = Sql::new(format!("SELECT COUNT(*) FROM {table} WHERE name = "));
    query.push_bind(name.trim().to_owned()).push(" AND id <> ").push_bind(id.to_string());
    if let Some(environment) = inside {
        query.push(" AND environment_id = ").push_bind(environment.to_string());
    }
    let taken: i64 = query.build_query_scalar().fetch_one(connection).await?;
    Ok(if taken == 0 { name.trim().to_owned() } else { format!("{} ({id})", name.trim()) })
}

/// The first task of a workspace with a name, to the letter.
async fn fetch_named<'c>(
    executor: impl Executor<'c, Database = Any>,
    workspace: WorkspaceId,
    name: &str,
) -> Result<Option<Task>> {
    let mut query = Sql::new(format!("SELECT {TASK_COLUMNS} {TASK_SOURCE} AND t.workspace_id = "));
    query.push_bind(workspace.to_string()).push(" AND t.name = ").push_bind(name.to_owned());
    query.push(" ORDER BY t.id LIMIT 1");
    let row: Option<TaskRow> = query.build_query_as().fetch_optional(executor).await?;
    row.map(TaskRow::into_task).transpose()
}

/// False when there is a task with this id already.
async fn insert_task<'c>(executor: impl Executor<'c, Database = Any>, task: &Task, now: Timestamp) -> Result<bool> {
    let made = sqlx::query(
        "INSERT INTO tasks (id, workspace_id, name, version, description, tags, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING",
    )
    .bind(task.id.to_string())
    .bind(task.workspace.id.to_string())
    .bind(&task.name)
    .bind(storable(&task.version))
    .bind(task.description.as_deref().map(storable))
    .bind(json_of(&task.tags))
    .bind(now.as_millis())
    .execute(executor)
    .await?;
    Ok(made.rows_affected() > 0)
}

fn same_environment(known: Environment, new: &NewEnvironment) -> Result<Environment> {
    let same = known.name == new.name.trim();
    same_or_conflict(known, same, "environment")
}

fn same_workspace(known: Workspace, new: &NewWorkspace) -> Result<Workspace> {
    let same = known.name == new.name.trim();
    same_or_conflict(known, same, "workspace")
}

fn same_task(known: Task, new: &NewTask) -> Result<Task> {
    let same = known.name == new.name.trim() && known.workspace.id == new.workspace_id;
    same_or_conflict(known, same, "task")
}

fn name_is_taken(what: &str, name: &str) -> Error {
    Error::conflict(format!("the name {name:?} is taken by another {what}: choose another one"))
}

fn same_or_conflict<T>(known: T, same: bool, what: &str) -> Result<T> {
    match same {
        true => Ok(known),
        false => Err(Error::conflict(format!("there is already another {what} with this id"))),
    }
}

#[derive(FromRow)]
struct EnvironmentRow {
    id: String,
    name: String,
    description: Option<String>,
    is_default: i64,
}

impl EnvironmentRow {
    fn into_environment(self) -> Result<Environment> {
        Ok(Environment {
            id: self.id.parse().map_err(|_| Error::corrupt("an environment id does not decode"))?,
            name: self.name,
            description: self.description,
            is_default: self.is_default != 0,
        })
    }
}

#[derive(FromRow)]
struct WorkspaceRow {
    id: String,
    name: String,
    description: Option<String>,
    owner: String,
    environment_id: String,
    environment_name: String,
    environment_description: Option<String>,
    environment_is_default: i64,
}

impl WorkspaceRow {
    fn into_workspace(self) -> Result<Workspace> {
        let environment = EnvironmentRow {
            id: self.environment_id,
            name: self.environment_name,
            description: self.environment_description,
            is_default: self.environment_is_default,
        };
        Ok(Workspace {
            id: self.id.parse().map_err(|_| Error::corrupt("a workspace id does not decode"))?,
            environment: environment.into_environment()?,
            name: self.name,
            description: self.description,
            owner: self.owner,
        })
    }
}

#[derive(FromRow)]
struct TaskRow {
    task_id: String,
    task_name: String,
    task_version: String,
    task_description: Option<String>,
    task_tags: String,
    #[sqlx(flatten)]
    workspace: WorkspaceRow,
}

impl TaskRow {
    fn into_task(self) -> Result<Task> {
        Ok(Task {
            id: self.task_id.parse().map_err(|_| Error::corrupt("a task id does not decode"))?,
            workspace: self.workspace.into_workspace()?,
            name: self.task_name,
            version: self.task_version,
            description: self.task_description,
            tags: words(&self.task_tags)?,
        })
    }
}

/// Inserts or updates a workspace and its environment.
async fn upsert_workspace_in(connection: &mut Connection, workspace: &Workspace, now: i64) -> Result<()> {
    let environment = &workspace.environment;
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM environments").fetch_one(&mut *connection).await?;
    let name = free_name(connection, "environments", environment.id, &storable(&environment.name), None).await?;
    sqlx::query(
        "INSERT INTO environments (id, name, description, is_default, created_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name",
    )
    .bind(environment.id.to_string())
    .bind(name)
    .bind(environment.description.as_deref().map(storable))
    .bind(i64::from(count == 0))
    .bind(now)
    .execute(&mut *connection)
    .await?;
    let name = storable(&workspace.name);
    let name = free_name(connection, "workspaces", workspace.id, &name, Some(environment.id)).await?;
    sqlx::query(
        "INSERT INTO workspaces (id, environment_id, name, description, owner, created_at)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO UPDATE SET name = excluded.name",
    )
    .bind(workspace.id.to_string())
    .bind(environment.id.to_string())
    .bind(name)
    .bind(workspace.description.as_deref().map(storable))
    .bind(storable(&workspace.owner))
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}
