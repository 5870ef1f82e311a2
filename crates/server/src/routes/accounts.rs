//! `/account/service-accounts`: programs that call the service.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use runlog_model::wire::admin::{NewServiceAccount, ServiceAccountBody};
use runlog_store::Caller;

use super::json::JsonBody;
use crate::app::App;
use crate::auth::Authenticated;
use crate::error::{ApiError, ApiResult};

/// The permission that stands in for being an administrator here. Source: the vendor's service accounts file.
const MANAGE_ACCOUNTS: &str = "TMC_SERVICE_ACCOUNT_MANAGEMENT";

fn may_manage(caller: &Caller) -> ApiResult<()> {
    match caller.administrator || caller.permissions.iter().any(|permission| permission == MANAGE_ACCOUNTS) {
        true => Ok(()),
        false => Err(ApiError::forbidden(format!("{} lacks the permission {MANAGE_ACCOUNTS}", caller.name))),
    }
}

/// `GET /account/service-accounts`.
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> ApiResult<Json<Vec<ServiceAccountBody>>> {
    may_manage(&caller)?;
    Ok(Json(app.store().service_accounts().await?))
}

/// `POST /account/service-accounts`: the answer is the only place where its secret is ever shown.
pub(crate) async fn create(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    JsonBody(new): JsonBody<NewServiceAccount>,
) -> ApiResult<Response> {
    may_manage(&caller)?;
    if let Some(missing) = new.permissions.iter().find(|it| !caller.administrator && !caller.permissions.contains(it)) {
        return Err(ApiError::forbidden(format!(
            "{} cannot give the permission {missing}, which it lacks",
            caller.name
        )));
    }
    let made = app.store().create_service_account(&new).await?;
    let location = format!("/account/service-accounts/{}", made.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(made)).into_response())
}

/// `GET /account/service-accounts/{id}`.
pub(crate) async fn one(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> ApiResult<Json<ServiceAccountBody>> {
    may_manage(&caller)?;
    let account = app.store().service_account(&id).await?;
    account.map(Json).ok_or_else(|| ApiError::not_found(format!("there is no service account {id}")))
}

/// `DELETE /account/service-accounts/{id}`: its access tokens end with it.
pub(crate) async fn remove(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    may_manage(&caller)?;
    app.store().delete_service_account(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
