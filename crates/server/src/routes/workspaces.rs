//! `/orchestration/…`: environments, workspaces and tasks, as far as the caller may view them.

use std::collections::HashSet;

use axum::Json;
use axum::extract::{Path, State};
use runlog_model::place::{Right, Workspace};
use runlog_model::wire::executions::ListPage;
use runlog_model::wire::places::{EnvironmentBody, TaskBody, TaskItem, WorkspaceBody};
use runlog_store::accounts::Caller;
use runlog_store::workspaces::TaskFilter;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::executions::{runtime, tags};
use crate::app::App;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::ApiResult;
use crate::http::fiql::Fiql;
use crate::http::json::JsonBody;
use crate::http::parameters::{ListQuery, Params, RuntimeQuery, ScopeQuery, parse_id};

/// `GET /orchestration/environments`: lists environments as an array.
#[utoipa::path(
    get,
    path = "/orchestration/environments",
    tag = "workspaces",
    params(("query" = Option<String>, Query, description = "FIQL expression on name and description, such as `name==Dev*`")),
    responses((status = 200, description = "Environments, by name", body = Vec<EnvironmentBody>))
)]
pub(crate) async fn environments(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    params: Params,
) -> ApiResult<Json<Vec<EnvironmentBody>>> {
    let query = Fiql::read(&params, &["name", "description"])?;
    let mut environments = app.store().workspaces().environments().await?;
    if !caller.administrator {
        let viewed: HashSet<_> = viewed(&app, &caller).await?.iter().map(|it| it.environment.id).collect();
        environments.retain(|environment| viewed.contains(&environment.id));
    }
    environments.retain(|it| {
        query.fits(|field| match field {
            "name" => &it.name,
            _ => it.description.as_deref().unwrap_or_default(),
        })
    });
    Ok(Json(environments.iter().map(Into::into).collect()))
}

/// `GET /orchestration/workspaces`: lists workspaces as an array.
#[utoipa::path(
    get,
    path = "/orchestration/workspaces",
    tag = "workspaces",
    params(("query" = Option<String>, Query, description = "FIQL expression on name, description, owner and environment.name")),
    responses((status = 200, description = "Workspaces, by name", body = Vec<WorkspaceBody>))
)]
pub(crate) async fn workspaces(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    params: Params,
) -> ApiResult<Json<Vec<WorkspaceBody>>> {
    let query = Fiql::read(&params, &["name", "description", "owner", "environment.name"])?;
    let mut workspaces = viewed(&app, &caller).await?;
    workspaces.retain(|it| {
        query.fits(|field| match field {
            "name" => &it.name,
            "owner" => &it.owner,
            "environment.name" => &it.environment.name,
            _ => it.description.as_deref().unwrap_or_default(),
        })
    });
    Ok(Json(workspaces.iter().map(Into::into).collect()))
}

/// `GET /orchestration/executables/tasks`: lists tasks, by name.
#[utoipa::path(
    get,
    path = "/orchestration/executables/tasks",
    tag = "workspaces",
    params(ListQuery, ScopeQuery, RuntimeQuery, ("name" = Option<String>, Query, description = "Prefix of the name")),
    responses((status = 200, description = "Tasks, by name", body = ListPage<TaskItem>))
)]
pub(crate) async fn tasks(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    params: Params,
) -> ApiResult<Json<ListPage<TaskItem>>> {
    let name = params.text("name").map(str::to_owned);
    let (limit, offset) = params.limit_and_offset()?;
    list(&app, &caller, &params, TaskFilter { name, limit, offset, ..TaskFilter::default() }).await
}

/// `GET /processing/executables/tasks`: lists tasks; an alias used by the vendor's guide for metrics.
#[utoipa::path(
    get,
    path = "/processing/executables/tasks",
    tag = "workspaces",
    params(ListQuery, ScopeQuery, RuntimeQuery, ("name" = Option<String>, Query, description = "Prefix of the name")),
    responses((status = 200, description = "Tasks, by name", body = ListPage<TaskItem>))
)]
pub(crate) async fn tasks_alias(
    app: State<App>,
    caller: Authenticated,
    params: Params,
) -> ApiResult<Json<ListPage<TaskItem>>> {
    tasks(app, caller, params).await
}

/// `POST /orchestration/executables/tasks/search`: searches tasks by parts of their names and by tags.
#[utoipa::path(
    post,
    path = "/orchestration/executables/tasks/search",
    tag = "workspaces",
    request_body(content = TaskSearch),
    responses((status = 200, description = "Tasks, by name", body = ListPage<TaskItem>))
)]
pub(crate) async fn search(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    JsonBody(body): JsonBody<Map<String, Value>>,
) -> ApiResult<Json<ListPage<TaskItem>>> {
    let params = Params::from_body(&body, SEARCH_FIELDS)?;
    let name_part = params.text("name").map(str::to_owned);
    let (limit, offset) = params.limit_from_and_offset(0)?;
    let filter = TaskFilter { name_part, tags: tags(&body)?, limit, offset, ..TaskFilter::default() };
    let page = list(&app, &caller, &params, filter).await?;
    // The archive knows no triggers, so that it cannot say which tasks have one.
    match params.text("triggerType") {
        None => Ok(page),
        Some(_) => Ok(Json(ListPage { items: Vec::new(), limit, offset, total: 0 })),
    }
}

/// Fields of the body that are read as parameters.
const SEARCH_FIELDS: &[&str] = &[
    "name",
    "environmentId",
    "workspaceId",
    "limit",
    "offset",
    "artifactId",
    "runtimeType",
    "runtimeId",
    "runtimeRunProfileId",
    "triggerType",
];

/// `GET /orchestration/executables/tasks/{taskId}`: returns a task.
#[utoipa::path(
    get,
    path = "/orchestration/executables/tasks/{id}",
    tag = "workspaces",
    params(("id" = runlog_model::TaskId, Path, description = "ID")),
    responses((status = 200, description = "The task", body = TaskBody))
)]
pub(crate) async fn task(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> ApiResult<Json<TaskBody>> {
    let task = rights::task(app.store(), &caller, parse_id("taskId", &id)?, &[Right::View]).await?;
    Ok(Json((&task).into()))
}

/// `GET /orchestration/executables/plans`: always empty, because the archive has runs of plans but no plans.
#[utoipa::path(
    get,
    path = "/orchestration/executables/plans",
    tag = "workspaces",
    params(ListQuery),
    responses((status = 200, description = "An empty page, because the archive has runs of plans but no plans", body = ListPage<serde_json::Value>))
)]
pub(crate) async fn plans(params: Params) -> ApiResult<Json<ListPage<Value>>> {
    let (limit, offset) = params.limit_and_offset()?;
    Ok(Json(ListPage { items: Vec::new(), limit, offset, total: 0 }))
}

async fn list(app: &App, caller: &Caller, params: &Params, filter: TaskFilter) -> ApiResult<Json<ListPage<TaskItem>>> {
    let scope = rights::viewed_scope(app.store(), caller, params).await?;
    let (environment_id, workspace_ids) = (scope.environment_id, scope.workspace_ids);
    let (limit, offset) = (filter.limit, filter.offset);
    let (artifact_id, runtime) = (params.text("artifactId").map(str::to_owned), runtime(params));
    let filter = TaskFilter { environment_id, workspace_ids, artifact_id, runtime, ..filter };
    let (tasks, total) = app.store().workspaces().tasks(&filter).await?;
    Ok(Json(ListPage { items: tasks.iter().map(Into::into).collect(), limit, offset, total }))
}

async fn viewed(app: &App, caller: &Caller) -> ApiResult<Vec<Workspace>> {
    let mut workspaces = app.store().workspaces().list().await?;
    if let Some(viewed) = app.store().accounts().workspaces_with(caller, Right::View).await? {
        workspaces.retain(|workspace| viewed.contains(&workspace.id));
    }
    Ok(workspaces)
}

/// Body of a search of tasks; read as parameters.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "it is described and never made")]
pub(crate) struct TaskSearch {
    /// Part of the name, case-insensitive.
    name: Option<String>,
    /// Only items of this environment.
    environment_id: Option<String>,
    /// Only items of this workspace.
    workspace_id: Option<String>,
    /// Only tasks with all of these tags.
    tags: Option<Vec<String>>,
    /// Only tasks whose newest run has this artifact.
    artifact_id: Option<String>,
    /// Only tasks whose newest run ran in this kind of runtime, such as `REMOTE_ENGINE`.
    runtime_type: Option<String>,
    /// Only tasks whose newest run ran on this engine or cluster.
    runtime_id: Option<String>,
    /// Only tasks whose newest run has this run profile.
    runtime_run_profile_id: Option<String>,
    /// Kind of trigger. The archive has no triggers, so the page is empty if this is set.
    trigger_type: Option<String>,
    /// Maximum number of items per page.
    limit: Option<u64>,
    /// Number of items to skip.
    offset: Option<u64>,
}
