//! Changes and deletions of environments, workspaces and tasks.
//!
//! Only what is empty is deleted. Runs are never removed, so a task that has run stays, and so does its workspace.

use az::SaturatingAs;
use runlog_model::wire::admin::{EnvironmentUpdate, TaskUpdate, WorkspaceUpdate};
use runlog_model::workspaces::{Environment, Task, Workspace};
use runlog_model::{EnvironmentId, TaskId, WorkspaceId};
use sqlx::AssertSqlSafe;

use crate::catalog::columns::{checked_name, json_of, name_taken};
use crate::catalog::sql::{Connection, storable};
use crate::error::{Error, Result};
use crate::lake::changes;
use crate::parts::Workspaces;

impl Workspaces {
    /// Replaces the name and the description of an environment.
    ///
    /// `NotFound`: no such environment. `Conflict`: another one has the name.
    pub async fn update_environment(&self, id: EnvironmentId, update: &EnvironmentUpdate) -> Result<Environment> {
        let name = checked_name(&update.name)?;
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let done = sqlx::query("UPDATE environments SET name = $2, description = $3 WHERE id = $1")
                    .bind(id.to_string())
                    .bind(&name)
                    .bind(update.description.as_deref().map(storable))
                    .execute(&mut *transaction)
                    .await
                    .map_err(|error| name_taken(error, "environment", &name))?;
                match done.rows_affected() {
                    0 => Err(no_environment(id)),
                    _ => self.core.commit_change(transaction, None).await,
                }
            })
            .await?;
        let changed = self.environments().await?.into_iter().find(|environment| environment.id == id);
        changed.ok_or_else(|| no_environment(id))
    }

    /// Replaces the name, the description and the owner of a workspace.
    ///
    /// `NotFound`: no such workspace. `Conflict`: another one of its environment has the name.
    pub async fn update_workspace(&self, id: WorkspaceId, update: &WorkspaceUpdate) -> Result<Workspace> {
        let name = checked_name(&update.name)?;
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let done = sqlx::query("UPDATE workspaces SET name = $2, description = $3, owner = $4 WHERE id = $1")
                    .bind(id.to_string())
                    .bind(&name)
                    .bind(update.description.as_deref().map(storable))
                    .bind(storable(&update.owner))
                    .execute(&mut *transaction)
                    .await
                    .map_err(|error| name_taken(error, "workspace", &name))?;
                match done.rows_affected() {
                    0 => Err(no_workspace(id)),
                    _ => self.core.commit_change(transaction, None).await,
                }
            })
            .await?;
        self.get(id).await?.ok_or_else(|| no_workspace(id))
    }

    /// Replaces the name, the version, the description and the tags of a task. Its runs keep their versions.
    ///
    /// `NotFound`: no such task.
    pub async fn update_task(&self, id: TaskId, update: &TaskUpdate) -> Result<Task> {
        let name = checked_name(&update.name)?;
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let done =
                    sqlx::query("UPDATE tasks SET name = $2, version = $3, description = $4, tags = $5 WHERE id = $1")
                        .bind(id.to_string())
                        .bind(&name)
                        .bind(storable(&update.version))
                        .bind(update.description.as_deref().map(storable))
                        .bind(json_of(&update.tags))
                        .execute(&mut *transaction)
                        .await?;
                match done.rows_affected() {
                    0 => Err(no_task(id)),
                    _ => self.core.commit_change(transaction, None).await,
                }
            })
            .await?;
        self.task(id).await?.ok_or_else(|| no_task(id))
    }

    /// Deletes an environment.
    ///
    /// `NotFound`: no such environment. `Conflict`: it has workspaces, or it is the default while there are others.
    pub async fn delete_environment(&self, id: EnvironmentId) -> Result<()> {
        let locking = format!("SELECT id, name, is_default FROM environments{}", self.core.catalog().for_deletion());
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                // There are few, and each of them counts here.
                let known: Vec<(String, String, i64)> =
                    sqlx::query_as(AssertSqlSafe(locking.clone())).fetch_all(&mut *transaction).await?;
                let found = known.iter().find(|(known, ..)| *known == id.to_string());
                let (id, name, is_default) = found.ok_or_else(|| no_environment(id))?;
                let workspaces = count(&mut transaction, "workspaces WHERE environment_id", id).await?;
                if workspaces > 0 {
                    let message = format!(
                        "environment {name:?} ({id}) has {}: delete its workspaces first",
                        counted(workspaces, "workspace")
                    );
                    return Err(Error::conflict(message));
                }
                if *is_default != 0 && known.len() > 1 {
                    let message = format!(
                        "environment {name:?} ({id}) is the default, in which workspaces are created: it can be renamed, \
                         and deleted after all other environments"
                    );
                    return Err(Error::conflict(message));
                }
                delete(&mut transaction, "environments WHERE id", id).await?;
                self.core.commit_deletion(transaction, id, name).await
            })
            .await
    }

    /// Deletes a workspace, and the rights in it.
    ///
    /// `NotFound`: no such workspace. `Conflict`: it has tasks, or runs of tasks that were moved to another workspace.
    pub async fn delete_workspace(&self, id: WorkspaceId) -> Result<()> {
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let name = self.lock_to_delete(&mut transaction, "workspaces", &id.to_string()).await?;
                let (name, id) = (name.ok_or_else(|| no_workspace(id))?, id.to_string());
                let tasks = count(&mut transaction, "tasks WHERE workspace_id", &id).await?;
                if tasks > 0 {
                    let message =
                        format!("workspace {name:?} ({id}) has {}: delete its tasks first", counted(tasks, "task"));
                    return Err(Error::conflict(message));
                }
                let runs = count(&mut transaction, "runs WHERE workspace_id", &id).await?;
                if runs > 0 {
                    let message = format!(
                        "workspace {name:?} ({id}) has {} of tasks that were moved to another workspace. Runs remain in \
                         the archive, even if their logs are deleted: the workspace cannot be deleted, only renamed",
                        counted(runs, "run")
                    );
                    return Err(Error::conflict(message));
                }
                // Without runs, plan executions are what remains of plans that never started a task.
                for part in ["reported_step_runs", "reported_steps"] {
                    let of_plans = format!(
                        "DELETE FROM {part} WHERE execution_id IN
                         (SELECT execution_id FROM reported_plans WHERE workspace_id = $1)"
                    );
                    sqlx::query(AssertSqlSafe(of_plans)).bind(&id).execute(&mut *transaction).await?;
                }
                delete(&mut transaction, "reported_plans WHERE workspace_id", &id).await?;
                delete(&mut transaction, "plans WHERE workspace_id", &id).await?;
                // Without runs, its problems are what remains of logs that were deleted.
                for of_workspace in ["rights WHERE workspace_id", "workspace_problems WHERE workspace_id"] {
                    delete(&mut transaction, of_workspace, &id).await?;
                }
                changes::remove_tables(&mut transaction, &id, self.core.now().as_millis()).await?;
                delete(&mut transaction, "workspaces WHERE id", &id).await?;
                self.core.commit_deletion(transaction, &id, &name).await
            })
            .await
    }

    /// Deletes a task that has never run.
    ///
    /// `NotFound`: no such task. `Conflict`: it has runs.
    pub async fn delete_task(&self, id: TaskId) -> Result<()> {
        self.core
            .transact(|transaction| async {
                let mut transaction = transaction;
                let name = self.lock_to_delete(&mut transaction, "tasks", &id.to_string()).await?;
                let (name, id) = (name.ok_or_else(|| no_task(id))?, id.to_string());
                let runs = count(&mut transaction, "runs WHERE task_id", &id).await?;
                if runs > 0 {
                    let message = format!(
                        "task {name:?} ({id}) has {}. Runs remain in the archive, even if their logs are deleted: the \
                         task cannot be deleted, only renamed",
                        counted(runs, "run")
                    );
                    return Err(Error::conflict(message));
                }
                delete(&mut transaction, "problem_tasks WHERE task_id", &id).await?;
                let workspace: Option<String> = sqlx::query_scalar("SELECT workspace_id FROM tasks WHERE id = $1")
                    .bind(&id)
                    .fetch_optional(&mut *transaction)
                    .await?;
                delete(&mut transaction, "tasks WHERE id", &id).await?;
                if let Some(workspace) = workspace {
                    changes::note_deleted(&mut transaction, &workspace).await?;
                }
                self.core.commit_deletion(transaction, &id, &name).await
            })
            .await
    }

    /// The name of the row with this id, which nothing can refer to from now on; `None` if there is no such row.
    async fn lock_to_delete(&self, connection: &mut Connection, table: &str, id: &str) -> Result<Option<String>> {
        let locking = format!("SELECT name FROM {table} WHERE id = $1{}", self.core.catalog().for_deletion());
        Ok(sqlx::query_scalar(AssertSqlSafe(locking)).bind(id).fetch_optional(connection).await?)
    }
}

/// Counts the rows of `table WHERE column` that have this id there.
async fn count(connection: &mut Connection, rows: &str, id: &str) -> Result<u64> {
    let counting = AssertSqlSafe(format!("SELECT COUNT(*) FROM {rows} = $1"));
    let count: i64 = sqlx::query_scalar(counting).bind(id).fetch_one(connection).await?;
    Ok(count.saturating_as::<u64>())
}

/// Deletes the rows of `table WHERE column` that have this id there.
async fn delete(connection: &mut Connection, rows: &str, id: &str) -> Result<()> {
    sqlx::query(AssertSqlSafe(format!("DELETE FROM {rows} = $1"))).bind(id).execute(connection).await?;
    Ok(())
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn no_environment(id: EnvironmentId) -> Error {
    Error::not_found(format!("there is no environment {id}"))
}

fn no_workspace(id: WorkspaceId) -> Error {
    Error::not_found(format!("there is no workspace {id}"))
}

fn no_task(id: TaskId) -> Error {
    Error::not_found(format!("there is no task {id}"))
}
