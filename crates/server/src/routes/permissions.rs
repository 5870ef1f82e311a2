//! `/security/…permissions`: the rights of users and service accounts in workspaces.

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use runlog_model::WorkspaceId;
use runlog_model::wire::ErrorBody;
use runlog_model::wire::admin::{PermissionBody, PermissionDeleteResult, PermissionId, PermissionResult};
use runlog_model::workspaces::{Right, Rights};
use runlog_store::accounts::{Caller, CallerKind, Grant, GrantFilter};
use serde::Serialize;

use crate::app::App;
use crate::auth::audit::AuditedChange;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::{ApiError, ApiResult};
use crate::http::json::JsonBody;
use crate::http::parameter_groups::ScopeQuery;
use crate::http::parameter_types::List;
use crate::http::parameters::{Argument, Query, query_parameters};

/// A user or service account in a workspace.
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

    /// The subject in the audit log: the workspace and the user or service account.
    fn subject(&self) -> String {
        format!("{} {}", self.workspace, self.id)
    }
}

/// The caller that changes rights, and the details for the audit log.
pub(crate) struct RightsChange {
    caller: Caller,
    change: AuditedChange,
}

impl<S: Sync> FromRequestParts<S> for RightsChange {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        let Authenticated(caller) = Authenticated::from_request_parts(parts, state).await?;
        Ok(Self { caller, change: AuditedChange::from_request_parts(parts, state).await? })
    }
}

impl Argument for RightsChange {}

type Ids = Path<(String, String)>;
type Body = JsonBody<Vec<Right>>;

async fn show(app: &App, caller: Authenticated, holder: Holder) -> ApiResult<Json<PermissionBody>> {
    let workspace = rights::workspace(app.store(), &caller.0, &holder.workspace, &[Right::Manage]).await?;
    let permissions =
        app.store().accounts().granted_rights(workspace.id, holder.kind, &holder.id).await?.iter().collect();
    Ok(Json(PermissionBody { workspace_id: workspace.id, user_id: holder.id, permissions }))
}

/// Grants rights to a holder without rights in the workspace.
async fn add(app: &App, by: &RightsChange, holder: Holder, rights: Rights) -> ApiResult<StatusCode> {
    let workspace = rights::workspace(app.store(), &by.caller, &holder.workspace, &[Right::Manage]).await?;
    if app.store().accounts().granted_rights(workspace.id, holder.kind, &holder.id).await? != Rights::NONE {
        let message = format!("{} already has rights on workspace {}; change them with PUT", holder.id, workspace.id);
        return Err(ApiError::new(StatusCode::CONFLICT, message));
    }
    let store = by.change.store_about(StatusCode::CREATED, holder.subject());
    store.accounts().set_rights(workspace.id, holder.kind, &holder.id, rights).await?;
    Ok(StatusCode::CREATED)
}

async fn set(app: &App, by: &RightsChange, holder: Holder, rights: Rights) -> ApiResult<()> {
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
    by: RightsChange,
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
    by: RightsChange,
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
pub(crate) async fn revoke_user(State(app): State<App>, by: RightsChange, ids: Ids) -> ApiResult<StatusCode> {
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
    by: RightsChange,
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
    by: RightsChange,
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
pub(crate) async fn revoke_account(State(app): State<App>, by: RightsChange, ids: Ids) -> ApiResult<StatusCode> {
    set(&app, &by, Holder::account(ids), Rights::NONE).await.map(|()| StatusCode::NO_CONTENT)
}

query_parameters! {
    /// Parameters of a list of the rights of users.
    pub(crate) struct UserRightsQuery {
        ..scope: ScopeQuery,
        /// Only rights of this user.
        user_id: Option<String> = "userId",
    }
}

query_parameters! {
    /// Parameters of a list of the rights of service accounts.
    pub(crate) struct AccountRightsQuery {
        ..scope: ScopeQuery,
        /// Only rights of this service account.
        service_account_id: Option<String> = "serviceAccountId",
    }
}

query_parameters! {
    /// The users whose rights are revoked, and where.
    pub(crate) struct UserBatchQuery {
        /// Workspace IDs, comma-separated; empty for all.
        workspace_ids: List<WorkspaceId> = "workspaceIds",
        /// User IDs, comma-separated; empty for all.
        user_ids: List<String> = "userIds",
    }
}

query_parameters! {
    /// The service accounts whose rights are revoked, and where.
    pub(crate) struct AccountBatchQuery {
        /// Workspace IDs, comma-separated; empty for all.
        workspace_ids: List<WorkspaceId> = "workspaceIds",
        /// Service account IDs, comma-separated; empty for all.
        service_account_ids: List<String> = "serviceAccountIds",
    }
}

/// `GET /security/permissions`: lists the rights of users, optionally of one environment, workspace or user.
#[utoipa::path(
    get,
    path = "/security/permissions",
    tag = "rights",
    responses((status = 200, description = "Rights in the workspaces that the caller manages", body = Vec<PermissionBody>), (status = 404, description = "No such workspace", body = ErrorBody))
)]
pub(crate) async fn list_users(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Query(query): Query<UserRightsQuery>,
) -> ApiResult<Json<Vec<PermissionBody>>> {
    list(&app, &caller, CallerKind::User, query.scope, query.user_id).await
}

/// `GET /security/service-accounts/permissions`: lists the rights of service accounts.
#[utoipa::path(
    get,
    path = "/security/service-accounts/permissions",
    tag = "rights",
    responses((status = 200, description = "Rights in the workspaces that the caller manages", body = Vec<PermissionBody>), (status = 404, description = "No such workspace", body = ErrorBody))
)]
pub(crate) async fn list_accounts(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Query(query): Query<AccountRightsQuery>,
) -> ApiResult<Json<Vec<PermissionBody>>> {
    list(&app, &caller, CallerKind::ServiceAccount, query.scope, query.service_account_id).await
}

async fn list(
    app: &App,
    caller: &Caller,
    kind: CallerKind,
    ScopeQuery { environment_id, workspace_id }: ScopeQuery,
    caller_id: Option<String>,
) -> ApiResult<Json<Vec<PermissionBody>>> {
    let workspace_ids = match workspace_id {
        Some(id) => Some(vec![rights::workspace_by_id(app.store(), caller, id, &[Right::Manage]).await?.id]),
        None => app.store().accounts().workspaces_with(caller, Right::Manage).await?,
    };
    let filter = GrantFilter { workspace_ids, environment_id, caller_id };
    let grants = app.store().accounts().grants(kind, &filter).await?;
    Ok(Json(grants.into_iter().map(permission).collect()))
}

fn permission(grant: Grant) -> PermissionBody {
    let permissions = grant.rights.iter().collect();
    PermissionBody { workspace_id: grant.workspace_id, user_id: grant.caller_id, permissions }
}

/// The change of each item of a batch.
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
pub(crate) async fn add_users(State(app): State<App>, by: RightsChange, body: Batch) -> ApiResult<Response> {
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
pub(crate) async fn set_users(State(app): State<App>, by: RightsChange, body: Batch) -> ApiResult<Response> {
    change_all(&app, &by, CallerKind::User, Change::Set, body).await
}

/// `DELETE /security/permissions/batch`: revokes the rights of these users in these workspaces; an empty list means
/// all.
#[utoipa::path(
    delete,
    path = "/security/permissions/batch",
    tag = "rights",
    responses((status = 204, description = "All these rights are revoked"), (status = 207, description = "Items that were refused; the others are done", body = Vec<PermissionDeleteResult>))
)]
pub(crate) async fn remove_users(
    State(app): State<App>,
    by: RightsChange,
    Query(query): Query<UserBatchQuery>,
) -> ApiResult<Response> {
    let (ids, workspaces) = (query.user_ids.0, query.workspace_ids.0);
    require_some("userIds", &ids, &workspaces)?;
    remove_all(&app, &by, CallerKind::User, &ids, workspaces).await
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
pub(crate) async fn add_accounts(State(app): State<App>, by: RightsChange, body: Batch) -> ApiResult<Response> {
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
pub(crate) async fn set_accounts(State(app): State<App>, by: RightsChange, body: Batch) -> ApiResult<Response> {
    change_all(&app, &by, CallerKind::ServiceAccount, Change::Set, body).await
}

/// `DELETE /security/service-accounts/permissions/batch`: revokes the rights of these service accounts in these
/// workspaces.
#[utoipa::path(
    delete,
    path = "/security/service-accounts/permissions/batch",
    tag = "rights",
    responses((status = 204, description = "All these rights are revoked"), (status = 207, description = "Items that were refused; the others are done", body = Vec<PermissionDeleteResult>))
)]
pub(crate) async fn remove_accounts(
    State(app): State<App>,
    by: RightsChange,
    Query(query): Query<AccountBatchQuery>,
) -> ApiResult<Response> {
    let (ids, workspaces) = (query.service_account_ids.0, query.workspace_ids.0);
    require_some("serviceAccountIds", &ids, &workspaces)?;
    remove_all(&app, &by, CallerKind::ServiceAccount, &ids, workspaces).await
}

type Batch = JsonBody<Vec<PermissionBody>>;

/// 204 if every item succeeded, otherwise 207 with those that were refused. The other items are done.
async fn change_all(
    app: &App,
    by: &RightsChange,
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

/// 400 for a request with neither holders nor workspaces.
fn require_some(ids_name: &str, ids: &[String], workspaces: &[WorkspaceId]) -> ApiResult<()> {
    match ids.is_empty() && workspaces.is_empty() {
        false => Ok(()),
        true => Err(ApiError::invalid(format!(
            "{ids_name} or workspaceIds is required; without both, all rights would be affected"
        ))),
    }
}

/// Revokes the rights of these holders in these workspaces; an empty list means all.
async fn remove_all(
    app: &App,
    by: &RightsChange,
    kind: CallerKind,
    ids: &[String],
    workspaces: Vec<WorkspaceId>,
) -> ApiResult<Response> {
    let workspace_ids = Some(workspaces).filter(|workspaces| !workspaces.is_empty());
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

/// An error of the caller is the result of one item; an error of the service ends the batch.
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
