//! Access control: checks of rights, and the messages that name the missing right.

use runlog_model::workspaces::{Right, Task, Workspace};
use runlog_model::{EnvironmentId, Run, RunId, TaskId, WorkspaceId};
use runlog_sql::Readable;
use runlog_store::Store;
use runlog_store::accounts::{Caller, CallerKind};
use runlog_store::runs::RunBrief;

use crate::http::error::{ApiError, ApiResult};
use crate::http::parameter_groups::ScopeQuery;
use crate::http::parameters::parse_id;

/// The permission to delete logs. Source: the vendor's file, `DELETE …/logs`.
pub(crate) const DELETE_LOGS: &str = "EXECUTION_LOGS_DELETE";

/// The permission to read metrics, which contain the names of all tasks.
pub(crate) const READ_METRICS: &str = "RUNLOG_METRICS";

/// The permission to read the audit logs of tenants. Source: the vendor's service accounts file.
pub(crate) const READ_TENANT_AUDIT_LOGS: &str = "AUDIT_LOGS_VIEW";

/// The run of a path, if the caller has these rights on its workspace. 400, then 404, then 403.
pub(crate) async fn run(store: &Store, caller: &Caller, text: &str, rights: &[Right]) -> ApiResult<Run> {
    let run_id: RunId = parse_id("executionId", text)?;
    let run = store.runs().get(run_id).await?.ok_or_else(|| no_run(run_id))?;
    require(store, caller, run.workspace_id, rights).await?;
    Ok(run)
}

/// The run of a path in brief, if the caller has these rights on its workspace. 400, then 404, then 403.
pub(crate) async fn run_brief(store: &Store, caller: &Caller, text: &str, rights: &[Right]) -> ApiResult<RunBrief> {
    run_brief_by_id(store, caller, parse_id("executionId", text)?, rights).await
}

/// The run with an ID in brief, if the caller has these rights on its workspace.
pub(crate) async fn run_brief_by_id(
    store: &Store,
    caller: &Caller,
    run_id: RunId,
    rights: &[Right],
) -> ApiResult<RunBrief> {
    let run = store.runs().brief(run_id).await?.ok_or_else(|| no_run(run_id))?;
    require(store, caller, run.workspace_id, rights).await?;
    Ok(run)
}

/// The task with an ID, if the caller has these rights on its workspace.
pub(crate) async fn task(store: &Store, caller: &Caller, task_id: TaskId, rights: &[Right]) -> ApiResult<Task> {
    let task = store.workspaces().task(task_id).await?;
    let task = task.ok_or_else(|| ApiError::not_found(format!("there is no task {task_id} in this archive")))?;
    require(store, caller, task.workspace.id, rights).await?;
    Ok(task)
}

/// The workspaces whose runs of a task the caller may view, if it may view the task; none means all. The runs of a task
/// that was moved stay in their workspace and are subject to its rights.
pub(crate) async fn workspaces_of_task(
    store: &Store,
    caller: &Caller,
    task_id: TaskId,
) -> ApiResult<Option<Vec<WorkspaceId>>> {
    task(store, caller, task_id, &[Right::View]).await?;
    Ok(store.accounts().workspaces_with(caller, Right::View).await?)
}

/// The workspace of a path, if the caller has these rights on it.
pub(crate) async fn workspace(store: &Store, caller: &Caller, text: &str, rights: &[Right]) -> ApiResult<Workspace> {
    workspace_by_id(store, caller, parse_id("workspaceId", text)?, rights).await
}

/// The workspace with an ID, if the caller has these rights on it.
pub(crate) async fn workspace_by_id(
    store: &Store,
    caller: &Caller,
    workspace_id: WorkspaceId,
    rights: &[Right],
) -> ApiResult<Workspace> {
    let workspace = store.workspaces().get(workspace_id).await?;
    let workspace = workspace
        .ok_or_else(|| ApiError::not_found(format!("there is no workspace {workspace_id} in this archive")))?;
    require(store, caller, workspace_id, rights).await?;
    Ok(workspace)
}

/// The part of the archive covered by a list request, as far as the caller may view it.
pub(crate) struct Scope {
    pub(crate) environment_id: Option<EnvironmentId>,
    /// None for all.
    pub(crate) workspace_ids: Option<Vec<WorkspaceId>>,
}

/// The part of a scope that the caller may view. 400 if the workspace is not in the environment.
pub(crate) async fn viewed_scope(store: &Store, caller: &Caller, scope: &ScopeQuery) -> ApiResult<Scope> {
    let (environment_id, wanted) = (scope.environment_id, scope.workspace_id);
    if let (Some(environment_id), Some(wanted)) = (environment_id, wanted) {
        let found = store.workspaces().get(wanted).await?;
        if found.is_some_and(|workspace| workspace.environment.id != environment_id) {
            let message = format!("workspaceId: workspace {wanted} is not in environment {environment_id}");
            return Err(ApiError::invalid(message));
        }
    }
    let viewed = store.accounts().workspaces_with(caller, Right::View).await?;
    let workspace_ids = match (wanted, viewed) {
        (None, viewed) => viewed,
        (Some(wanted), None) => Some(vec![wanted]),
        (Some(wanted), Some(viewed)) => Some(viewed.into_iter().filter(|id| *id == wanted).collect()),
    };
    Ok(Scope { environment_id, workspace_ids })
}

/// 403 with the missing rights, unless the caller has all of these rights on a workspace.
pub(crate) async fn require(store: &Store, caller: &Caller, workspace: WorkspaceId, rights: &[Right]) -> ApiResult<()> {
    let held = store.accounts().rights(caller, workspace).await?;
    let missing: Vec<&str> =
        rights.iter().filter(|right| !held.has(**right)).map(|right| right.console_name()).collect();
    let words = missing.join(" ").to_lowercase();
    if missing.is_empty() {
        return Ok(());
    }
    let (word, missing) = (if missing.len() == 1 { "right" } else { "rights" }, missing.join(", "));
    Err(ApiError::forbidden(format!("{} lacks the {word} {missing} on workspace {workspace}", caller.name))
        .with_detail(format!(
            "a manager of the workspace can grant it: runlog admin rights grant --workspace {workspace} {} {words}",
            holder_argument(caller)
        )))
}

/// The argument that names the caller in `runlog admin rights grant`.
fn holder_argument(caller: &Caller) -> String {
    let option = match caller.kind {
        CallerKind::User => "--user",
        CallerKind::ServiceAccount => "--service-account",
    };
    // A name with other characters would have to be quoted for a shell.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._@".contains(&byte);
    let name = if !caller.name.is_empty() && caller.name.bytes().all(is_plain) { &caller.name } else { &caller.id };
    format!("{option} {name}")
}

/// 403 for a caller without the right to publish in any workspace, so that its body need not be read.
pub(crate) async fn publisher(store: &Store, caller: &Caller) -> ApiResult<()> {
    let right = Right::Publish;
    match store.accounts().workspaces_with(caller, right).await? {
        Some(workspaces) if workspaces.is_empty() => {
            let message = format!("{} has the right {} on no workspace", caller.name, right.console_name());
            Err(ApiError::forbidden(message).with_detail("a manager of a workspace can grant it"))
        }
        _ => Ok(()),
    }
}

/// The workspaces whose logs the caller may read; none means all.
pub(crate) async fn readable_workspaces(store: &Store, caller: &Caller) -> ApiResult<Option<Vec<WorkspaceId>>> {
    let mut readable: Option<Vec<WorkspaceId>> = None;
    for right in Right::READ_LOGS {
        let Some(held) = store.accounts().workspaces_with(caller, right).await? else { return Ok(None) };
        readable = Some(match readable {
            None => held,
            Some(readable) => readable.into_iter().filter(|workspace| held.contains(workspace)).collect(),
        });
    }
    Ok(readable)
}

/// What SQL queries of the caller may read: workspaces, and the audit logs of tenants.
pub(crate) async fn readable(store: &Store, caller: &Caller) -> ApiResult<Readable> {
    let workspaces = readable_workspaces(store, caller).await?;
    Ok(Readable { workspaces, has_tenant_audit_logs: permission(caller, READ_TENANT_AUDIT_LOGS).is_ok() })
}

/// 403 unless the caller is an administrator.
pub(crate) fn administrator(caller: &Caller) -> ApiResult<()> {
    match caller.administrator {
        true => Ok(()),
        false => {
            let error = ApiError::forbidden(format!("{} is not an administrator of this archive", caller.name));
            Err(error.with_detail("ask an administrator of this archive"))
        }
    }
}

/// 403 unless the caller has a global permission; administrators have all.
pub(crate) fn permission(caller: &Caller, permission: &str) -> ApiResult<()> {
    match caller.administrator || caller.permissions.iter().any(|held| held == permission) {
        true => Ok(()),
        false => {
            let error = ApiError::forbidden(format!("{} lacks the permission {permission}", caller.name));
            Err(error.with_detail("ask an administrator of this archive, who has all permissions"))
        }
    }
}

fn no_run(run_id: RunId) -> ApiError {
    ApiError::not_found(format!("there is no run {run_id} in this archive"))
}
