//! `/security/workspaces/{workspaceId}/…/permissions`: what users and service accounts may do in a workspace.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use runlog_model::place::{Right, Rights};
use runlog_model::wire::admin::RightsBody;
use runlog_store::CallerKind;

use super::json::JsonBody;
use crate::access;
use crate::app::App;
use crate::auth::Authenticated;
use crate::error::ApiResult;

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

async fn show(app: &App, caller: Authenticated, holder: Holder) -> ApiResult<Json<RightsBody>> {
    let workspace = access::workspace(app, &caller.0, &holder.workspace, &[Right::Manage]).await?;
    Ok(Json(app.store().granted(workspace.id, holder.kind, &holder.id).await?.iter().collect()))
}

async fn set(app: &App, caller: Authenticated, holder: Holder, rights: Rights) -> ApiResult<()> {
    let workspace = access::workspace(app, &caller.0, &holder.workspace, &[Right::Manage]).await?;
    Ok(app.store().grant(workspace.id, holder.kind, &holder.id, rights).await?)
}

/// `GET`: the rights, a bare array.
pub(crate) async fn of_user(State(app): State<App>, caller: Authenticated, ids: Ids) -> ApiResult<Json<RightsBody>> {
    show(&app, caller, Holder::user(ids)).await
}

/// `POST`: these rights and only these, 201.
pub(crate) async fn grant_user(
    State(app): State<App>,
    caller: Authenticated,
    ids: Ids,
    JsonBody(rights): Body,
) -> ApiResult<StatusCode> {
    set(&app, caller, Holder::user(ids), rights.into_iter().collect()).await.map(|()| StatusCode::CREATED)
}

/// `PUT`: the same, 204.
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

/// `GET`: the rights, a bare array.
pub(crate) async fn of_account(State(app): State<App>, caller: Authenticated, ids: Ids) -> ApiResult<Json<RightsBody>> {
    show(&app, caller, Holder::account(ids)).await
}

/// `POST`: these rights and only these, 201.
pub(crate) async fn grant_account(
    State(app): State<App>,
    caller: Authenticated,
    ids: Ids,
    JsonBody(rights): Body,
) -> ApiResult<StatusCode> {
    set(&app, caller, Holder::account(ids), rights.into_iter().collect()).await.map(|()| StatusCode::CREATED)
}

/// `PUT`: the same, 204.
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
