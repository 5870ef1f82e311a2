//! `/orchestration/…`: environments, workspaces and tasks, as far as the caller may view them.

use std::collections::HashSet;

use axum::Json;
use axum::extract::{Path, State};
use runlog_model::wire::executions::ListPage;
use runlog_model::wire::workspaces::{EnvironmentBody, TaskBody, TaskItem, WorkspaceBody};
use runlog_model::workspaces::{Right, Workspace};
use runlog_store::accounts::Caller;
use runlog_store::workspaces::TaskFilter;

use crate::app::App;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::ApiResult;
use crate::http::fiql::{Fiql, FiqlFields};
use crate::http::parameter_groups::{Offset, PageQuery, RuntimeQuery, ScopeQuery};
use crate::http::parameter_types::{NumberOr, StringArray};
use crate::http::parameters::{BodyFields, Query, parse_id, query_parameters};
use crate::limits;

query_parameters! {
    /// Parameters of the list of environments.
    pub(crate) struct EnvironmentsQuery {
        /// FIQL expression on name and description, such as `name==Dev*`.
        query: Fiql<EnvironmentFields> = "query",
    }
}

/// The fields by which environments are selected.
pub(crate) struct EnvironmentFields;

impl FiqlFields for EnvironmentFields {
    const FIELDS: &'static [&'static str] = &["name", "description"];
}

query_parameters! {
    /// Parameters of the list of workspaces.
    pub(crate) struct WorkspacesQuery {
        /// FIQL expression on name, description, owner and environment.name.
        query: Fiql<WorkspaceFields> = "query",
    }
}

/// The fields by which workspaces are selected.
pub(crate) struct WorkspaceFields;

impl FiqlFields for WorkspaceFields {
    const FIELDS: &'static [&'static str] = &["name", "description", "owner", "environment.name"];
}

query_parameters! {
    /// Parameters of the list of tasks.
    pub(crate) struct TasksQuery {
        ..page: PageQuery,
        ..scope: ScopeQuery,
        ..runtime: RuntimeQuery,
        /// Prefix of the name.
        name: Option<String> = "name",
    }
}

query_parameters! {
    /// Body of a search of tasks.
    pub(crate) struct TaskSearch {
        ..scope: ScopeQuery,
        ..runtime: RuntimeQuery,
        /// Part of the name, case-insensitive.
        name: Option<String> = "name",
        /// Only tasks with all of these tags.
        tags: StringArray = "tags",
        /// Kind of trigger. The archive has no triggers, so the page is empty if this is set.
        trigger_type: Option<String> = "triggerType",
        /// Maximum number of items per page.
        limit: NumberOr<0, { limits::LIST_PAGE_MAX }, { limits::LIST_PAGE_MAX }> = "limit",
        /// Number of items to skip.
        offset: Offset = "offset",
    }
}

/// `GET /orchestration/environments`: lists environments as an array.
#[utoipa::path(
    get,
    path = "/orchestration/environments",
    tag = "workspaces",
    responses((status = 200, description = "Environments, by name", body = Vec<EnvironmentBody>))
)]
pub(crate) async fn environments(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Query(EnvironmentsQuery { query }): Query<EnvironmentsQuery>,
) -> ApiResult<Json<Vec<EnvironmentBody>>> {
    let mut environments = app.store().workspaces().environments().await?;
    if !caller.administrator {
        let viewed: HashSet<_> = viewed(&app, &caller).await?.iter().map(|it| it.environment.id).collect();
        environments.retain(|environment| viewed.contains(&environment.id));
    }
    environments.retain(|it| {
        query.matches(|field| match field {
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
    responses((status = 200, description = "Workspaces, by name", body = Vec<WorkspaceBody>))
)]
pub(crate) async fn workspaces(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Query(WorkspacesQuery { query }): Query<WorkspacesQuery>,
) -> ApiResult<Json<Vec<WorkspaceBody>>> {
    let mut workspaces = viewed(&app, &caller).await?;
    workspaces.retain(|it| {
        query.matches(|field| match field {
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
    responses((status = 200, description = "Tasks, by name", body = ListPage<TaskItem>))
)]
pub(crate) async fn tasks(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Query(query): Query<TasksQuery>,
) -> ApiResult<Json<ListPage<TaskItem>>> {
    let (limit, offset) = query.page.limit_and_offset();
    let filter = TaskFilter { name: query.name, limit, offset, ..TaskFilter::default() };
    list(&app, &caller, &query.scope, query.runtime, filter).await
}

/// `GET /processing/executables/tasks`: lists tasks; an alias used by the vendor's guide for metrics.
#[utoipa::path(
    get,
    path = "/processing/executables/tasks",
    tag = "workspaces",
    responses((status = 200, description = "Tasks, by name", body = ListPage<TaskItem>))
)]
pub(crate) async fn tasks_alias(
    app: State<App>,
    caller: Authenticated,
    query: Query<TasksQuery>,
) -> ApiResult<Json<ListPage<TaskItem>>> {
    tasks(app, caller, query).await
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
    BodyFields(search): BodyFields<TaskSearch>,
) -> ApiResult<Json<ListPage<TaskItem>>> {
    let (NumberOr(limit), NumberOr(offset)) = (search.limit, search.offset);
    let filter = TaskFilter { name_part: search.name, tags: search.tags.0, limit, offset, ..TaskFilter::default() };
    let page = list(&app, &caller, &search.scope, search.runtime, filter).await?;
    // The archive has no triggers, so it cannot tell which tasks have one.
    match search.trigger_type {
        None => Ok(page),
        Some(_) => Ok(Json(ListPage { items: Vec::new(), limit, offset, total: 0 })),
    }
}

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

async fn list(
    app: &App,
    caller: &Caller,
    scope: &ScopeQuery,
    runtime: RuntimeQuery,
    filter: TaskFilter,
) -> ApiResult<Json<ListPage<TaskItem>>> {
    let scope = rights::viewed_scope(app.store(), caller, scope).await?;
    let (environment_id, workspace_ids) = (scope.environment_id, scope.workspace_ids);
    let (limit, offset) = (filter.limit, filter.offset);
    let (artifact_id, runtime) = runtime.into_filters();
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
