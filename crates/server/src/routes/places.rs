//! `/orchestration/…`: environments, workspaces and tasks, as far as the caller may view them.

use std::collections::HashSet;

use axum::Json;
use axum::extract::State;
use runlog_model::place::{Right, Workspace};
use runlog_model::wire::executions::ListPage;
use runlog_model::wire::places::{EnvironmentBody, TaskItem, WorkspaceBody};
use runlog_store::{Caller, TaskFilter};

use crate::app::App;
use crate::auth::Authenticated;
use crate::error::ApiResult;
use crate::query::Params;
use crate::{access, limits};

/// `GET /orchestration/environments`: a bare array.
pub(crate) async fn environments(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> ApiResult<Json<Vec<EnvironmentBody>>> {
    let mut environments = app.store().environments().await?;
    if !caller.administrator {
        let viewed: HashSet<_> = viewed(&app, &caller).await?.iter().map(|it| it.environment.id).collect();
        environments.retain(|environment| viewed.contains(&environment.id));
    }
    Ok(Json(environments.iter().map(Into::into).collect()))
}

/// `GET /orchestration/workspaces`: a bare array.
pub(crate) async fn workspaces(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> ApiResult<Json<Vec<WorkspaceBody>>> {
    Ok(Json(viewed(&app, &caller).await?.iter().map(Into::into).collect()))
}

/// `GET /orchestration/executables/tasks`: by name.
pub(crate) async fn tasks(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    params: Params,
) -> ApiResult<Json<ListPage<TaskItem>>> {
    let limit = params.number("limit", 1..=limits::LIST_PAGE_MAX)?.unwrap_or(limits::LIST_PAGE_MAX);
    let offset = params.number("offset", 0..=u64::MAX)?.unwrap_or(0);
    let read_id = |name| params.text(name).map(|text| access::id(name, text)).transpose();
    let workspace = read_id("workspaceId")?;
    let environment_id = params.text("environmentId").map(|text| access::id("environmentId", text)).transpose()?;
    let viewed = app.store().workspaces_with(&caller, Right::View).await?;
    let workspace_ids = match (workspace, viewed) {
        (None, viewed) => viewed,
        (Some(wanted), None) => Some(vec![wanted]),
        (Some(wanted), Some(viewed)) => Some(viewed.into_iter().filter(|id| *id == wanted).collect()),
    };
    let name = params.text("name").map(str::to_owned);
    let filter = TaskFilter { environment_id, workspace_ids, name, limit, offset };
    let (tasks, total) = app.store().tasks(&filter).await?;
    Ok(Json(ListPage { items: tasks.iter().map(Into::into).collect(), limit, offset, total }))
}

async fn viewed(app: &App, caller: &Caller) -> ApiResult<Vec<Workspace>> {
    let mut workspaces = app.store().workspaces().await?;
    if let Some(viewed) = app.store().workspaces_with(caller, Right::View).await? {
        workspaces.retain(|workspace| viewed.contains(&workspace.id));
    }
    Ok(workspaces)
}
