//! `/security/workspaces/{workspaceId}/…/permissions`: what users and service accounts may do in a workspace.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use runlog_model::place::{Right, Rights};
use runlog_model::wire::admin::{PermissionBody, RightsBody};
use runlog_store::CallerKind;

use super::json::JsonBody;
use crate::access;
use crate::app::App;
use crate::auth::Authenticated;
use crate::error::{ApiError, ApiResult};

/// The rights of a user.
pub(crate) const OF_USER: &str = "/security/workspaces/{workspace_id}/users/{id}/permissions";
/// The rights of a service account.
pub(crate) const OF_ACCOUNT: &str = "/security/workspaces/{workspace_id}/service-accounts/{id}/permissions";

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
}

type Ids = Path<(String, String)>;
type Body = JsonBody<RightsBody>;

async fn show(app: &App, caller: Authenticated, holder: Holder) -> ApiResult<Json<PermissionBody>> {
    let workspace = access::workspace(app, &caller.0, &holder.workspace, &[Right::Manage]).await?;
    let permissions = app.store().granted(workspace.id, holder.kind, &holder.id).await?.iter().collect();
    Ok(Json(PermissionBody { workspace_id: workspace.id, user_id: holder.id, permissions }))
}

/// Gives rights to someone who has none there.
async fn add(app: &App, caller: Authenticated, holder: Holder, rights: Rights) -> ApiResult<StatusCode> {
    let workspace = access::workspace(app, &caller.0, &holder.workspace, &[Right::Manage]).await?;
    if app.store().granted(workspace.id, holder.kind, &holder.id).await? != Rights::NONE {
        let message = format!("{} has rights on workspace {} already; change them with PUT", holder.id, workspace.id);
        return Err(ApiError::new(StatusCode::CONFLICT, message));
    }
    app.store().grant(workspace.id, holder.kind, &holder.id, rights).await?;
    Ok(StatusCode::CREATED)
}

async fn set(app: &App, caller: Authenticated, holder: Holder, rights: Rights) -> ApiResult<()> {
    let workspace = access::workspace(app, &caller.0, &holder.workspace, &[Right::Manage]).await?;
    Ok(app.store().grant(workspace.id, holder.kind, &holder.id, rights).await?)
}

/// `GET`: the rights.
pub(crate) async fn of_user(
    State(app): State<App>,
    caller: Authenticated,
    ids: Ids,
) -> ApiResult<Json<PermissionBody>> {
    show(&app, caller, Holder::user(ids)).await
}

/// `POST`: these rights, for someone who has none there; 201.
pub(crate) async fn grant_user(
    State(app): State<App>,
    caller: Authenticated,
    ids: Ids,
    JsonBody(rights): Body,
) -> ApiResult<StatusCode> {
    add(&app, caller, Holder::user(ids), rights.into_iter().collect()).await
}

/// `PUT`: these rights and only these; 204.
pub(crate) async fn replace_user(
    State(app): State<App>,
    caller: Authenticated,
    ids: Ids,
    JsonBody(rights): Body,
) -> ApiResult<StatusCode> {
    set(&app, caller, Holder::user(ids), rights.into_iter().collect()).await.map(|()| StatusCode::NO_CONTENT)
}

/// `DELETE`: no rights any more.
pub(crate) async fn revoke_user(State(app): State<App>, caller: Authenticated, ids: Ids) -> ApiResult<StatusCode> {
    set(&app, caller, Holder::user(ids), Rights::NONE).await.map(|()| StatusCode::NO_CONTENT)
}

/// `GET`: the rights.
pub(crate) async fn of_account(
    State(app): State<App>,
    caller: Authenticated,
    ids: Ids,
) -> ApiResult<Json<PermissionBody>> {
    show(&app, caller, Holder::account(ids)).await
}

/// `POST`: these rights, for someone who has none there; 201.
pub(crate) async fn grant_account(
    State(app): State<App>,
    caller: Authenticated,
    ids: Ids,
    JsonBody(rights): Body,
) -> ApiResult<StatusCode> {
    add(&app, caller, Holder::account(ids), rights.into_iter().collect()).await
}

/// `PUT`: these rights and only these; 204.
pub(crate) async fn replace_account(
    State(app): State<App>,
    caller: Authenticated,
    ids: Ids,
    JsonBody(rights): Body,
) -> ApiResult<StatusCode> {
    set(&app, caller, Holder::account(ids), rights.into_iter().collect()).await.map(|()| StatusCode::NO_CONTENT)
}

/// `DELETE`: no rights any more.
pub(crate) async fn revoke_account(State(app): State<App>, caller: Authenticated, ids: Ids) -> ApiResult<StatusCode> {
    set(&app, caller, Holder::account(ids), Rights::NONE).await.map(|()| StatusCode::NO_CONTENT)
}
