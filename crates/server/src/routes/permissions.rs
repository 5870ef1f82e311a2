//! `/security/…permissions`: what users and service accounts may do in a workspace.

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use runlog_model::WorkspaceId;
use runlog_model::place::{Right, Rights};
use runlog_model::wire::ErrorBody;
use runlog_model::wire::admin::{PermissionBody, PermissionDeleteResult, PermissionId, PermissionResult, RightsBody};
use runlog_store::accounts::{Caller, CallerKind, Grant, GrantFilter};
use serde::Serialize;

use crate::app::App;
use crate::auth::audit::AuditedChange;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::{ApiError, ApiResult};
use crate::http::json::JsonBody;
use crate::http::parameters::{Params, ScopeQuery, parse_id};

/// Whose rights in which workspace.
struct Holder {
    workspace: String,
    kind: CallerKind,
    id: String,
}

impl Holder {
    fn user(Path((workspace, id)): Path<(String, String)>) -> Self {
        Self { workspace, kind: CallerKind::User, id }
    }

    fn account(Path((workspace, id)): Path<(String, String)>) -> Self {
        Self { workspace, kind: CallerKind::ServiceAccount, id }
    }

    /// What the audit log calls it: a change of rights is written down with the workspace and with whose they are.
    fn subject(&self) -> String {
        format!("{} {}", self.workspace, self.id)
    }
}

/// The caller that changes rights, and the details for the audit log.
pub(crate) struct By {
    caller: Caller,
    change: AuditedChange,
}

impl<S: Sync> FromRequestParts<S> for By {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        let Authenticated(caller) = Authenticated::from_request_parts(parts, state).await?;
        Ok(Self { caller, change: AuditedChange::from_request_parts(parts, state).await? })
    }
}

type Ids = Path<(String, String)>;
type Body = JsonBody<RightsBody>;

async fn show(app: &App, caller: Authenticated, holder: Holder) -> ApiResult<Json<PermissionBody>> {
    let workspace = rights::workspace(app.store(), &caller.0, &holder.workspace, &[Right::Manage]).await?;
    let permissions =
        app.store().accounts().granted_rights(workspace.id, holder.kind, &holder.id).await?.iter().collect();
    Ok(Json(PermissionBody { workspace_id: workspace.id, user_id: holder.id, permissions }))
}

/// Grants rights to a holder without rights in the workspace.
async fn add(app: &App, by: &By, holder: Holder, rights: Rights) -> ApiResult<StatusCode> {
    let workspace = rights::workspace(app.store(), &by.caller, &holder.workspace, &[Right::Manage]).await?;
    if app.store().accounts().granted_rights(workspace.id, holder.kind, &holder.id).await? != Rights::NONE {
        let message = format!("{} already has rights on workspace {}; change them with PUT", holder.id, workspace.id);
        return Err(ApiError::new(StatusCode::CONFLICT, message));
    }
    let store = by.change.store_about(StatusCode::CREATED, holder.subject());
    store.accounts().set_rights(workspace.id, holder.kind, &holder.id, rights).await?;
    Ok(StatusCode::CREATED)
}

async fn set(app: &App, by: &By, holder: Holder, rights: Rights) -> ApiResult<()> {
    let workspace = rights::workspace(app.store(), &by.caller, &holder.workspace, &[Right::Manage]).await?;
    let store = by.change.store_about(StatusCode::NO_CONTENT, holder.subject());
    Ok(store.accounts().set_rights(workspace.id, holder.kind, &holder.id, rights).await?)
}

/// `GET`: returns the rights.
#[utoipa::path(
    get,
    path = "/security/workspaces/{workspace_id}/users/{id}/permissions",
    tag = "rights",
    params(("workspace_id" = runlog_model::WorkspaceId, Path, description = "ID of the workspace"), ("id" = String, Path, description = "ID")),
    responses((status = 200, description = "The rights of the user in the workspace", body = PermissionBody))
)]
pub(crate) async fn of_user(
    State(app): State<App>,
    caller: Authenticated,
    ids: Ids,
) -> ApiResult<Json<PermissionBody>> {
    show(&app, caller, Holder::user(ids)).await
}

/// `POST`: grants rights to a user or service account without rights in the workspace.
#[utoipa::path(
    post,
    path = "/security/workspaces/{workspace_id}/users/{id}/permissions",
    tag = "rights",
    params(("workspace_id" = runlog_model::WorkspaceId, Path, description = "ID of the workspace"), ("id" = String, Path, description = "ID")),
    request_body(content = Vec<Right>),
    responses((status = 201, description = "The rights are granted"), (status = 409, description = "There are rights already", body = ErrorBody))
)]
pub(crate) async fn grant_user(
    State(app): State<App>,
    by: By,
    ids: Ids,
    JsonBody(rights): Body,
) -> ApiResult<StatusCode> {
    add(&app, &by, Holder::user(ids), rights.into_iter().collect()).await
}

/// `PUT`: sets the rights, replacing the previous ones.
#[utoipa::path(
    put,
    path = "/security/workspaces/{workspace_id}/users/{id}/permissions",
    tag = "rights",
    params(("workspace_id" = runlog_model::WorkspaceId, Path, description = "ID of the workspace"), ("id" = String, Path, description = "ID")),
    request_body(content = Vec<Right>),
    responses((status = 204, description = "The rights are set"))
)]
pub(crate) async fn replace_user(
    State(app): State<App>,
    by: By,
    ids: Ids,
    JsonBody(rights): Body,
) -> ApiResult<StatusCode> {
    set(&app, &by, Holder::user(ids), rights.into_iter().collect()).await.map(|()| StatusCode::NO_CONTENT)
}

/// `DELETE`: revokes all rights.
#[utoipa::path(
    delete,
    path = "/security/workspaces/{workspace_id}/users/{id}/permissions",
    tag = "rights",
    params(("workspace_id" = runlog_model::WorkspaceId, Path, description = "ID of the workspace"), ("id" = String, Path, description = "ID")),
    responses((status = 204, description = "The rights are revoked"))
)]
pub(crate) async fn revoke_user(State(app): State<App>, by: By, ids: Ids) -> ApiResult<StatusCode> {
    set(&app, &by, Holder::user(ids), Rights::NONE).await.map(|()| StatusCode::NO_CONTENT)
}

/// `GET`: returns the rights.
#[utoipa::path(
    get,
    path = "/security/workspaces/{workspace_id}/service-accounts/{id}/permissions",
    tag = "rights",
    params(("workspace_id" = runlog_model::WorkspaceId, Path, description = "ID of the workspace"), ("id" = String, Path, description = "ID")),
    responses((status = 200, description = "The rights of the service account in the workspace", body = PermissionBody))
)]
pub(crate) async fn of_account(
    State(app): State<App>,
    caller: Authenticated,
    ids: Ids,
) -> ApiResult<Json<PermissionBody>> {
    show(&app, caller, Holder::account(ids)).await
}

/// `POST`: grants rights to a user or service account without rights in the workspace.
#[utoipa::path(
    post,
    path = "/security/workspaces/{workspace_id}/service-accounts/{id}/permissions",
    tag = "rights",
    params(("workspace_id" = runlog_model::WorkspaceId, Path, description = "ID of the workspace"), ("id" = String, Path, description = "ID")),
    request_body(content = Vec<Right>),
    responses((status = 201, description = "The rights are granted"), (status = 409, description = "There are rights already", body = ErrorBody))
)]
pub(crate) async fn grant_account(
    State(app): State<App>,
    by: By,
    ids: Ids,
    JsonBody(rights): Body,
) -> ApiResult<StatusCode> {
    add(&app, &by, Holder::account(ids), rights.into_iter().collect()).await
}

/// `PUT`: sets the rights, replacing the previous ones.
#[utoipa::path(
    put,
    path = "/security/workspaces/{workspace_id}/service-accounts/{id}/permissions",
    tag = "rights",
    params(("workspace_id" = runlog_model::WorkspaceId, Path, description = "ID of the workspace"), ("id" = String, Path, description = "ID")),
    request_body(content = Vec<Right>),
    responses((status = 204, description = "The rights are set"))
)]
pub(crate) async fn replace_account(
    State(app): State<App>,
    by: By,
    ids: Ids,
    JsonBody(rights): Body,
) -> ApiResult<StatusCode> {
    set(&app, &by, Holder::account(ids), rights.into_iter().collect()).await.map(|()| StatusCode::NO_CONTENT)
}

/// `DELETE`: revokes all rights.
#[utoipa::path(
    delete,
    path = "/security/workspaces/{workspace_id}/service-accounts/{id}/permissions",
    tag = "rights",
    params(("workspace_id" = runlog_model::WorkspaceId, Path, description = "ID of the workspace"), ("id" = String, Path, description = "ID")),
    responses((status = 204, description = "The rights are revoked"))
)]
pub(crate) async fn revoke_account(State(app): State<App>, by: By, ids: Ids) -> ApiResult<StatusCode> {
    set(&app, &by, Holder::account(ids), Rights::NONE).await.map(|()| StatusCode::NO_CONTENT)
}

/// `GET /security/permissions`: lists the rights of users, optionally of one environment, workspace or user.
#[utoipa::path(
    get,
    path = "/security/permissions",
    tag = "rights",
    params(ScopeQuery, ("userId" = Option<String>, Query, description = "Only rights of this user")),
    responses((status = 200, description = "Rights in the workspaces that the caller manages", body = Vec<PermissionBody>), (status = 404, description = "No such workspace", body = ErrorBody))
)]
pub(crate) async fn list_users(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    params: Params,
) -> ApiResult<Json<Vec<PermissionBody>>> {
    list(&app, &caller, CallerKind::User, &params, "userId").await
}

/// `GET /security/service-accounts/permissions`: lists the rights of service accounts.
#[utoipa::path(
    get,
    path = "/security/service-accounts/permissions",
    tag = "rights",
    params(ScopeQuery, ("serviceAccountId" = Option<String>, Query, description = "Only rights of this service account")),
    responses((status = 200, description = "Rights in the workspaces that the caller manages", body = Vec<PermissionBody>), (status = 404, description = "No such workspace", body = ErrorBody))
)]
pub(crate) async fn list_accounts(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    params: Params,
) -> ApiResult<Json<Vec<PermissionBody>>> {
    list(&app, &caller, CallerKind::ServiceAccount, &params, "serviceAccountId").await
}

async fn list(
    app: &App,
    caller: &Caller,
    kind: CallerKind,
    params: &Params,
    id_name: &str,
) -> ApiResult<Json<Vec<PermissionBody>>> {
    let environment_id = params.text("environmentId").map(|text| parse_id("environmentId", text)).transpose()?;
    let workspace_ids = match params.text("workspaceId") {
        Some(text) => Some(vec![rights::workspace(app.store(), caller, text, &[Right::Manage]).await?.id]),
        None => app.store().accounts().workspaces_with(caller, Right::Manage).await?,
    };
    let filter = GrantFilter { workspace_ids, environment_id, caller_id: params.text(id_name).map(str::to_owned) };
    let grants = app.store().accounts().grants(kind, &filter).await?;
    Ok(Json(grants.into_iter().map(permission).collect()))
}

fn permission(grant: Grant) -> PermissionBody {
    let permissions = grant.rights.iter().collect();
    PermissionBody { workspace_id: grant.workspace_id, user_id: grant.caller_id, permissions }
}

/// What a batch does with each of its parts.
#[derive(Clone, Copy)]
enum Change {
    Add,
    Set,
}

/// `POST /security/permissions/batch`: grants rights to users without rights in the workspace, one after another.
#[utoipa::path(
    post,
    path = "/security/permissions/batch",
    tag = "rights",
    request_body(content = Vec<PermissionBody>),
    responses((status = 204, description = "All rights are granted"), (status = 207, description = "Items that were refused; the others are done", body = Vec<PermissionResult>))
)]
pub(crate) async fn add_users(State(app): State<App>, by: By, body: Batch) -> ApiResult<Response> {
    change_all(&app, &by, CallerKind::User, Change::Add, body).await
}

/// `PUT /security/permissions/batch`: sets the rights of users, replacing the previous ones, one after another.
#[utoipa::path(
    put,
    path = "/security/permissions/batch",
    tag = "rights",
    request_body(content = Vec<PermissionBody>),
    responses((status = 204, description = "All rights are set"), (status = 207, description = "Items that were refused; the others are done", body = Vec<PermissionResult>))
)]
pub(crate) async fn set_users(State(app): State<App>, by: By, body: Batch) -> ApiResult<Response> {
    change_all(&app, &by, CallerKind::User, Change::Set, body).await
}

/// `DELETE /security/permissions/batch`: revokes the rights of these users in these workspaces; an empty list means
/// all.
#[utoipa::path(
    delete,
    path = "/security/permissions/batch",
    tag = "rights",
    params(("workspaceIds" = Option<String>, Query, description = "Workspace IDs, comma-separated; empty for all"), ("userIds" = Option<String>, Query, description = "User or service account IDs, comma-separated; empty for all")),
    responses((status = 204, description = "All these rights are revoked"), (status = 207, description = "Items that were refused; the others are done", body = Vec<PermissionDeleteResult>))
)]
pub(crate) async fn remove_users(State(app): State<App>, by: By, params: Params) -> ApiResult<Response> {
    remove_all(&app, &by, CallerKind::User, &params, "userIds").await
}

/// `POST /security/service-accounts/permissions/batch`: grants rights to service accounts without rights in the
/// workspace.
#[utoipa::path(
    post,
    path = "/security/service-accounts/permissions/batch",
    tag = "rights",
    request_body(content = Vec<PermissionBody>),
    responses((status = 204, description = "All rights are granted"), (status = 207, description = "Items that were refused; the others are done", body = Vec<PermissionResult>))
)]
pub(crate) async fn add_accounts(State(app): State<App>, by: By, body: Batch) -> ApiResult<Response> {
    change_all(&app, &by, CallerKind::ServiceAccount, Change::Add, body).await
}

/// `PUT /security/service-accounts/permissions/batch`: sets the rights of service accounts, replacing the previous
/// ones.
#[utoipa::path(
    put,
    path = "/security/service-accounts/permissions/batch",
    tag = "rights",
    request_body(content = Vec<PermissionBody>),
    responses((status = 204, description = "All rights are set"), (status = 207, description = "Items that were refused; the others are done", body = Vec<PermissionResult>))
)]
pub(crate) async fn set_accounts(State(app): State<App>, by: By, body: Batch) -> ApiResult<Response> {
    change_all(&app, &by, CallerKind::ServiceAccount, Change::Set, body).await
}

/// `DELETE /security/service-accounts/permissions/batch`: revokes the rights of these service accounts in these
/// workspaces.
#[utoipa::path(
    delete,
    path = "/security/service-accounts/permissions/batch",
    tag = "rights",
    params(("workspaceIds" = Option<String>, Query, description = "Workspace IDs, comma-separated; empty for all"), ("serviceAccountIds" = Option<String>, Query, description = "User or service account IDs, comma-separated; empty for all")),
    responses((status = 204, description = "All these rights are revoked"), (status = 207, description = "Items that were refused; the others are done", body = Vec<PermissionDeleteResult>))
)]
pub(crate) async fn remove_accounts(State(app): State<App>, by: By, params: Params) -> ApiResult<Response> {
    remove_all(&app, &by, CallerKind::ServiceAccount, &params, "serviceAccountIds").await
}

type Batch = JsonBody<Vec<PermissionBody>>;

/// 204 when every part was done, else 207 with those that were refused. The parts before and after are done.
async fn change_all(
    app: &App,
    by: &By,
    kind: CallerKind,
    change: Change,
    JsonBody(batch): Batch,
) -> ApiResult<Response> {
    let mut refused = Vec::new();
    for part in batch {
        let holder = Holder { workspace: part.workspace_id.to_string(), kind, id: part.user_id.clone() };
        let rights: Rights = part.permissions.iter().copied().collect();
        let subject = holder.subject();
        let done = match change {
            Change::Add => add(app, by, holder, rights).await.map(|_| ()),
            Change::Set => set(app, by, holder, rights).await,
        };
        if let Err(error) = part_of_batch(done)? {
            by.change.refused(error.status, subject).await?;
            refused.push(PermissionResult { status: error.status.as_u16(), message: error.message, permission: part });
        }
    }
    Ok(batch_answer(refused))
}

async fn remove_all(app: &App, by: &By, kind: CallerKind, params: &Params, ids_name: &str) -> ApiResult<Response> {
    let (ids, workspaces) = (params.list(ids_name)?, params.list("workspaceIds")?);
    if ids.is_empty() && workspaces.is_empty() {
        return Err(ApiError::invalid(format!(
            "{ids_name} or workspaceIds is required; without both, all rights would be affected"
        )));
    }
    let workspace_ids: Option<Vec<WorkspaceId>> = match workspaces.is_empty() {
        true => None,
        false => Some(workspaces.iter().map(|text| parse_id("workspaceIds", text)).collect::<ApiResult<_>>()?),
    };
    let filter = GrantFilter { workspace_ids, ..GrantFilter::default() };
    let mut grants = app.store().accounts().grants(kind, &filter).await?;
    grants.retain(|grant| ids.is_empty() || ids.contains(&grant.caller_id));
    let mut refused = Vec::new();
    for grant in grants {
        let id = PermissionId { workspace_id: grant.workspace_id, user_id: grant.caller_id.clone() };
        let holder = Holder { workspace: grant.workspace_id.to_string(), kind, id: grant.caller_id };
        let subject = holder.subject();
        let done = set(app, by, holder, Rights::NONE).await;
        if let Err(error) = part_of_batch(done)? {
            by.change.refused(error.status, subject).await?;
            refused.push(PermissionDeleteResult {
                status: error.status.as_u16(),
                message: error.message,
                permission_id: id,
            });
        }
    }
    Ok(batch_answer(refused))
}

/// What the caller did wrong in one part is an answer for that part; what the service cannot do ends the batch.
fn part_of_batch(done: ApiResult<()>) -> ApiResult<Result<(), ApiError>> {
    match done {
        Err(error) if error.status.is_server_error() => Err(error),
        other => Ok(other),
    }
}

fn batch_answer<T: Serialize>(refused: Vec<T>) -> Response {
    match refused.is_empty() {
        true => StatusCode::NO_CONTENT.into_response(),
        false => (StatusCode::MULTI_STATUS, Json(refused)).into_response(),
    }
}
