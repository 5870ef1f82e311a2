//! `/runlog/v1/…`: environments, workspaces, tasks, users and their tokens.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use runlog_model::wire::ErrorBody;
use runlog_model::wire::admin::{
    EnvironmentUpdate, NewEnvironment, NewTask, NewToken, NewUser, NewWorkspace, TaskUpdate, TokenBody, UserBody,
    UserUpdate, WorkspaceUpdate,
};
use runlog_model::wire::workspaces::{EnvironmentBody, TaskBody, TaskItem, WorkspaceBody};
use runlog_store::accounts::{Caller, CallerKind};
use runlog_store::workspaces::TaskFilter;

use crate::app::App;
use crate::auth::audit::AuditedChange;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::{ApiError, ApiResult};
use crate::http::json::JsonBody;
use crate::http::parameters::parse_id;

/// The response to a creation: 201 with the new item.
type Created<T> = ApiResult<(StatusCode, Json<T>)>;

fn made<T>(body: T) -> Created<T> {
    Ok((StatusCode::CREATED, Json(body)))
}

/// `GET /runlog/v1/environments`: lists environments.
#[utoipa::path(
    get,
    path = "/runlog/v1/environments",
    tag = "administration",
    responses((status = 200, description = "All items, by name", body = Vec<EnvironmentBody>))
)]
pub(crate) async fn environments(State(app): State<App>) -> ApiResult<Json<Vec<EnvironmentBody>>> {
    Ok(Json(app.store().workspaces().environments().await?.iter().map(Into::into).collect()))
}

/// `POST /runlog/v1/environments`: creates an environment.
#[utoipa::path(
    post,
    path = "/runlog/v1/environments",
    tag = "administration",
    request_body(content = NewEnvironment),
    responses((status = 201, description = "Created", body = EnvironmentBody), (status = 409, description = "The name or the ID already exists", body = ErrorBody))
)]
pub(crate) async fn create_environment(
    change: AuditedChange,
    JsonBody(new): JsonBody<NewEnvironment>,
) -> Created<EnvironmentBody> {
    made((&change.store(StatusCode::CREATED).workspaces().create_environment(&new).await?).into())
}

/// `PUT /runlog/v1/environments/{id}`: replaces the name and the description of an environment.
#[utoipa::path(
    put,
    path = "/runlog/v1/environments/{id}",
    tag = "administration",
    params(("id" = runlog_model::EnvironmentId, Path, description = "ID")),
    request_body(content = EnvironmentUpdate),
    responses((status = 200, description = "Changed", body = EnvironmentBody), (status = 404, description = "No such environment", body = ErrorBody), (status = 409, description = "Another one has the name", body = ErrorBody))
)]
pub(crate) async fn update_environment(
    Path(id): Path<String>,
    change: AuditedChange,
    JsonBody(update): JsonBody<EnvironmentUpdate>,
) -> ApiResult<Json<EnvironmentBody>> {
    let environment =
        change.store(StatusCode::OK).workspaces().update_environment(parse_id("environmentId", &id)?, &update).await?;
    Ok(Json((&environment).into()))
}

/// `DELETE /runlog/v1/environments/{id}`: deletes an environment without workspaces.
#[utoipa::path(
    delete,
    path = "/runlog/v1/environments/{id}",
    tag = "administration",
    params(("id" = runlog_model::EnvironmentId, Path, description = "ID")),
    responses((status = 204, description = "Deleted"), (status = 404, description = "No such environment", body = ErrorBody), (status = 409, description = "It has workspaces, or it is the default while there are others", body = ErrorBody))
)]
pub(crate) async fn delete_environment(Path(id): Path<String>, change: AuditedChange) -> ApiResult<StatusCode> {
    change.store(StatusCode::NO_CONTENT).workspaces().delete_environment(parse_id("environmentId", &id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /runlog/v1/workspaces`: lists workspaces.
#[utoipa::path(
    get,
    path = "/runlog/v1/workspaces",
    tag = "administration",
    responses((status = 200, description = "All items, by name", body = Vec<WorkspaceBody>))
)]
pub(crate) async fn workspaces(State(app): State<App>) -> ApiResult<Json<Vec<WorkspaceBody>>> {
    Ok(Json(app.store().workspaces().list().await?.iter().map(Into::into).collect()))
}

/// `POST /runlog/v1/workspaces`: creates a workspace.
#[utoipa::path(
    post,
    path = "/runlog/v1/workspaces",
    tag = "administration",
    request_body(content = NewWorkspace),
    responses((status = 201, description = "Created", body = WorkspaceBody), (status = 409, description = "The name or the ID already exists", body = ErrorBody), (status = 404, description = "No such environment or workspace", body = ErrorBody))
)]
pub(crate) async fn create_workspace(
    Authenticated(caller): Authenticated,
    change: AuditedChange,
    JsonBody(new): JsonBody<NewWorkspace>,
) -> Created<WorkspaceBody> {
    made((&change.store(StatusCode::CREATED).workspaces().create_workspace(&new, &caller.name).await?).into())
}

/// `PUT /runlog/v1/workspaces/{id}`: replaces the name, the description and the owner of a workspace.
#[utoipa::path(
    put,
    path = "/runlog/v1/workspaces/{id}",
    tag = "administration",
    params(("id" = runlog_model::WorkspaceId, Path, description = "ID")),
    request_body(content = WorkspaceUpdate),
    responses((status = 200, description = "Changed", body = WorkspaceBody), (status = 404, description = "No such workspace", body = ErrorBody), (status = 409, description = "Another one of the environment has the name", body = ErrorBody))
)]
pub(crate) async fn update_workspace(
    Path(id): Path<String>,
    change: AuditedChange,
    JsonBody(update): JsonBody<WorkspaceUpdate>,
) -> ApiResult<Json<WorkspaceBody>> {
    let workspace =
        change.store(StatusCode::OK).workspaces().update_workspace(parse_id("workspaceId", &id)?, &update).await?;
    Ok(Json((&workspace).into()))
}

/// `DELETE /runlog/v1/workspaces/{id}`: deletes a workspace without tasks, and the rights in it.
#[utoipa::path(
    delete,
    path = "/runlog/v1/workspaces/{id}",
    tag = "administration",
    params(("id" = runlog_model::WorkspaceId, Path, description = "ID")),
    responses((status = 204, description = "Deleted"), (status = 404, description = "No such workspace", body = ErrorBody), (status = 409, description = "It has tasks or runs", body = ErrorBody))
)]
pub(crate) async fn delete_workspace(Path(id): Path<String>, change: AuditedChange) -> ApiResult<StatusCode> {
    change.store(StatusCode::NO_CONTENT).workspaces().delete_workspace(parse_id("workspaceId", &id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /runlog/v1/tasks`: lists tasks, by name.
#[utoipa::path(
    get,
    path = "/runlog/v1/tasks",
    tag = "administration",
    responses((status = 200, description = "All items, by name", body = Vec<TaskItem>))
)]
pub(crate) async fn tasks(State(app): State<App>) -> ApiResult<Json<Vec<TaskItem>>> {
    let all = TaskFilter { limit: i64::MAX.unsigned_abs(), ..TaskFilter::default() };
    let (tasks, _) = app.store().workspaces().tasks(&all).await?;
    Ok(Json(tasks.iter().map(Into::into).collect()))
}

/// `POST /runlog/v1/tasks`: creates a task.
#[utoipa::path(
    post,
    path = "/runlog/v1/tasks",
    tag = "administration",
    request_body(content = NewTask),
    responses((status = 201, description = "Created", body = TaskItem), (status = 409, description = "The name or the ID already exists", body = ErrorBody), (status = 404, description = "No such environment or workspace", body = ErrorBody))
)]
pub(crate) async fn create_task(change: AuditedChange, JsonBody(new): JsonBody<NewTask>) -> Created<TaskItem> {
    made((&change.store(StatusCode::CREATED).workspaces().create_task(&new).await?).into())
}

/// `PUT /runlog/v1/tasks/{id}`: replaces the name, the version, the description and the tags of a task.
#[utoipa::path(
    put,
    path = "/runlog/v1/tasks/{id}",
    tag = "administration",
    params(("id" = runlog_model::TaskId, Path, description = "ID")),
    request_body(content = TaskUpdate),
    responses((status = 200, description = "Changed", body = TaskBody), (status = 404, description = "No such task", body = ErrorBody))
)]
pub(crate) async fn update_task(
    Path(id): Path<String>,
    change: AuditedChange,
    JsonBody(update): JsonBody<TaskUpdate>,
) -> ApiResult<Json<TaskBody>> {
    let task = change.store(StatusCode::OK).workspaces().update_task(parse_id("taskId", &id)?, &update).await?;
    Ok(Json((&task).into()))
}

/// `DELETE /runlog/v1/tasks/{id}`: deletes a task that has never run.
#[utoipa::path(
    delete,
    path = "/runlog/v1/tasks/{id}",
    tag = "administration",
    params(("id" = runlog_model::TaskId, Path, description = "ID")),
    responses((status = 204, description = "Deleted"), (status = 404, description = "No such task", body = ErrorBody), (status = 409, description = "It has runs", body = ErrorBody))
)]
pub(crate) async fn delete_task(Path(id): Path<String>, change: AuditedChange) -> ApiResult<StatusCode> {
    change.store(StatusCode::NO_CONTENT).workspaces().delete_task(parse_id("taskId", &id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /runlog/v1/users`: lists users.
#[utoipa::path(
    get,
    path = "/runlog/v1/users",
    tag = "administration",
    responses((status = 200, description = "All items, by name", body = Vec<UserBody>))
)]
pub(crate) async fn users(State(app): State<App>) -> ApiResult<Json<Vec<UserBody>>> {
    Ok(Json(app.store().accounts().users().await?))
}

/// `POST /runlog/v1/users`: creates a user.
#[utoipa::path(
    post,
    path = "/runlog/v1/users",
    tag = "administration",
    request_body(content = NewUser),
    responses((status = 201, description = "Created", body = UserBody), (status = 409, description = "The name or the ID already exists", body = ErrorBody))
)]
pub(crate) async fn create_user(change: AuditedChange, JsonBody(new): JsonBody<NewUser>) -> Created<UserBody> {
    made(change.store(StatusCode::CREATED).accounts().create_user(&new).await?)
}

/// `PUT /runlog/v1/users/{id}`: replaces the name of a user, and whether the user is an administrator.
#[utoipa::path(
    put,
    path = "/runlog/v1/users/{id}",
    tag = "administration",
    params(("id" = String, Path, description = "ID")),
    request_body(content = UserUpdate),
    responses((status = 200, description = "Changed", body = UserBody), (status = 404, description = "No such user", body = ErrorBody), (status = 409, description = "Another user has the name, or the last administrator would be removed", body = ErrorBody))
)]
pub(crate) async fn update_user(
    Path(id): Path<String>,
    change: AuditedChange,
    JsonBody(update): JsonBody<UserUpdate>,
) -> ApiResult<Json<UserBody>> {
    Ok(Json(change.store(StatusCode::OK).accounts().update_user(&id, &update).await?))
}

/// `DELETE /runlog/v1/users/{id}`: deletes a user, and revokes the tokens, sessions and rights of the user.
#[utoipa::path(
    delete,
    path = "/runlog/v1/users/{id}",
    tag = "administration",
    params(("id" = String, Path, description = "ID")),
    responses((status = 204, description = "Deleted"), (status = 404, description = "No such user", body = ErrorBody), (status = 409, description = "The caller, or the last administrator", body = ErrorBody))
)]
pub(crate) async fn delete_user(
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    change: AuditedChange,
) -> ApiResult<StatusCode> {
    if caller.kind == CallerKind::User && caller.id == id {
        let message = "you cannot delete yourself: another administrator can";
        return Err(ApiError::new(StatusCode::CONFLICT, message));
    }
    change.store(StatusCode::NO_CONTENT).accounts().delete_user(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /runlog/v1/tokens`: lists the caller's tokens, or all tokens for administrators.
#[utoipa::path(
    get,
    path = "/runlog/v1/tokens",
    tag = "administration",
    responses((status = 200, description = "The caller's tokens, or all tokens for administrators", body = Vec<TokenBody>))
)]
pub(crate) async fn tokens(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> ApiResult<Json<Vec<TokenBody>>> {
    let of = (!caller.administrator).then_some(caller.id.as_str());
    Ok(Json(app.store().accounts().tokens(of).await?))
}

/// `POST /runlog/v1/tokens`: creates a token for the caller or, for administrators, for another user.
#[utoipa::path(
    post,
    path = "/runlog/v1/tokens",
    tag = "administration",
    request_body(content = NewToken),
    responses((status = 201, description = "Created; only this response contains the token", body = TokenBody), (status = 404, description = "No such user", body = ErrorBody))
)]
pub(crate) async fn create_token(
    Authenticated(caller): Authenticated,
    change: AuditedChange,
    JsonBody(new): JsonBody<NewToken>,
) -> Created<TokenBody> {
    let user = match &new.user_id {
        Some(id) if *id != caller.id => {
            rights::administrator(&caller)?;
            id
        }
        _ => own_id(&caller)?,
    };
    made(change.store(StatusCode::CREATED).accounts().create_token(user, &new.name).await?)
}

fn own_id(caller: &Caller) -> ApiResult<&String> {
    match caller.kind {
        CallerKind::User => Ok(&caller.id),
        CallerKind::ServiceAccount => {
            Err(ApiError::forbidden("service accounts have no personal access tokens; name a user with userId"))
        }
    }
}

/// `DELETE /runlog/v1/tokens/{id}`: revokes a token.
#[utoipa::path(
    delete,
    path = "/runlog/v1/tokens/{id}",
    tag = "administration",
    params(("id" = String, Path, description = "ID")),
    responses((status = 204, description = "Revoked"))
)]
pub(crate) async fn revoke_token(
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    change: AuditedChange,
) -> ApiResult<StatusCode> {
    let of = (!caller.administrator).then_some(caller.id.as_str());
    change.store(StatusCode::NO_CONTENT).accounts().revoke_token(&id, of).await?;
    Ok(StatusCode::NO_CONTENT)
}
