//! `/account/service-accounts`: accounts of programs that call the service.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use runlog_model::wire::ErrorBody;
use runlog_model::wire::admin::{CountBody, NewServiceAccount, ServiceAccountBody};
use runlog_store::accounts::Caller;

use crate::app::App;
use crate::auth::audit::AuditedChange;
use crate::auth::rights;
use crate::auth::rights::{DELETE_LOGS, READ_METRICS, READ_TENANT_AUDIT_LOGS};
use crate::auth::token::Authenticated;
use crate::http::error::{ApiError, ApiResult};
use crate::http::json::JsonBody;

/// The permission that is equivalent to being an administrator. Source: the vendor's service accounts file.
const MANAGE_ACCOUNTS: &str = "TMC_SERVICE_ACCOUNT_MANAGEMENT";

fn may_manage(caller: &Caller) -> ApiResult<()> {
    rights::permission(caller, MANAGE_ACCOUNTS)
}

/// Callers can only grant permissions that they have.
fn check_grantable(caller: &Caller, permissions: &[String]) -> ApiResult<()> {
    match permissions.iter().find(|permission| rights::permission(caller, permission).is_err()) {
        None => Ok(()),
        Some(lacking) => {
            Err(ApiError::forbidden(format!("{} cannot grant the permission {lacking}, which it lacks", caller.name)))
        }
    }
}

/// `GET /account/service-accounts`: lists service accounts.
#[utoipa::path(
    get,
    path = "/account/service-accounts",
    tag = "accounts",
    responses((status = 200, description = "Service accounts, by name", body = Vec<ServiceAccountBody>))
)]
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> ApiResult<Json<Vec<ServiceAccountBody>>> {
    may_manage(&caller)?;
    Ok(Json(app.store().accounts().service_accounts().await?))
}

/// `POST /account/service-accounts`: creates a service account; only this response contains its secret.
#[utoipa::path(
    post,
    path = "/account/service-accounts",
    tag = "accounts",
    request_body(content = NewServiceAccount),
    responses((status = 201, description = "Created; only this response contains the secret", body = ServiceAccountBody, headers(("location" = String, description = "URL of the new resource"))), (status = 409, description = "The name already exists", body = ErrorBody))
)]
pub(crate) async fn create(
    Authenticated(caller): Authenticated,
    change: AuditedChange,
    JsonBody(new): JsonBody<NewServiceAccount>,
) -> ApiResult<Response> {
    may_manage(&caller)?;
    check_grantable(&caller, &new.permissions)?;
    let made = change.store(StatusCode::CREATED).accounts().create_service_account(&new).await?;
    let location = format!("/account/service-accounts/{}", made.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(made)).into_response())
}

/// `GET /account/service-accounts/{id}`: returns a service account.
#[utoipa::path(
    get,
    path = "/account/service-accounts/{id}",
    tag = "accounts",
    params(("id" = String, Path, description = "ID")),
    responses((status = 200, description = "The service account", body = ServiceAccountBody))
)]
pub(crate) async fn one(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> ApiResult<Json<ServiceAccountBody>> {
    may_manage(&caller)?;
    found(&app, &id).await
}

async fn found(app: &App, id: &str) -> ApiResult<Json<ServiceAccountBody>> {
    let account = app.store().accounts().service_account(id).await?;
    account.map(Json).ok_or_else(|| ApiError::not_found(format!("there is no service account {id}")))
}

/// `PUT /account/service-accounts/{id}`: changes the name and permissions of a service account.
#[utoipa::path(
    put,
    path = "/account/service-accounts/{id}",
    tag = "accounts",
    params(("id" = String, Path, description = "ID")),
    request_body(content = NewServiceAccount),
    responses((status = 200, description = "Updated", body = ServiceAccountBody), (status = 409, description = "The name already exists", body = ErrorBody))
)]
pub(crate) async fn update(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    change: AuditedChange,
    JsonBody(new): JsonBody<NewServiceAccount>,
) -> ApiResult<Json<ServiceAccountBody>> {
    may_manage(&caller)?;
    check_grantable(&caller, &new.permissions)?;
    change.store(StatusCode::OK).accounts().update_service_account(&id, &new).await?;
    found(&app, &id).await
}

/// `GET /account/service-accounts/count`: counts service accounts.
#[utoipa::path(
    get,
    path = "/account/service-accounts/count",
    tag = "accounts",
    responses((status = 200, description = "Number of service accounts", body = CountBody))
)]
pub(crate) async fn count(State(app): State<App>, Authenticated(caller): Authenticated) -> ApiResult<Json<CountBody>> {
    may_manage(&caller)?;
    let count = app.store().accounts().service_accounts().await?.len() as u64;
    Ok(Json(CountBody { tenant_id: app.settings().account_id.clone(), count }))
}

/// `GET /account/service-accounts/permissions`: lists the permissions that have an effect in Runlog.
#[utoipa::path(
    get,
    path = "/account/service-accounts/permissions",
    tag = "accounts",
    responses((status = 200, description = "Permissions that have an effect in Runlog", body = Vec<String>))
)]
pub(crate) async fn permissions() -> Json<[&'static str; 4]> {
    Json([MANAGE_ACCOUNTS, DELETE_LOGS, READ_METRICS, READ_TENANT_AUDIT_LOGS])
}

/// `DELETE /account/service-accounts/{id}`: deletes a service account and revokes its access tokens.
#[utoipa::path(
    delete,
    path = "/account/service-accounts/{id}",
    tag = "accounts",
    params(("id" = String, Path, description = "ID")),
    responses((status = 204, description = "Deleted; its access tokens are revoked"))
)]
pub(crate) async fn remove(
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    change: AuditedChange,
) -> ApiResult<StatusCode> {
    may_manage(&caller)?;
    change.store(StatusCode::NO_CONTENT).accounts().delete_service_account(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}
