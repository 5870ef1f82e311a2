//! `/runlog/v1/queries`: saved queries of the caller.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use runlog_model::wire::queries::{NewSavedQuery, SavedQueryBody};

use crate::app::App;
use crate::auth::token::Authenticated;
use crate::http::error::ApiResult;
use crate::http::json::JsonBody;

/// `GET /runlog/v1/queries`: lists the saved queries of the caller, by name.
#[utoipa::path(
    get,
    path = "/runlog/v1/queries",
    tag = "web",
    responses((status = 200, description = "Saved queries of the caller, by name", body = Vec<SavedQueryBody>))
)]
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
) -> ApiResult<Json<Vec<SavedQueryBody>>> {
    Ok(Json(app.store().saved_queries().list(&caller).await?))
}

/// `PUT /runlog/v1/queries/{name}`: saves a query, replacing one with the same name.
#[utoipa::path(
    put,
    path = "/runlog/v1/queries/{name}",
    tag = "web",
    params(("name" = String, Path, description = "Name of the query, 1 to 200 characters")),
    request_body(content = NewSavedQuery),
    responses((status = 200, description = "Saved", body = SavedQueryBody))
)]
pub(crate) async fn save(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(name): Path<String>,
    JsonBody(new): JsonBody<NewSavedQuery>,
) -> ApiResult<Json<SavedQueryBody>> {
    Ok(Json(app.store().saved_queries().save(&caller, &name, &new.query).await?))
}

/// `DELETE /runlog/v1/queries/{name}`: deletes a saved query.
#[utoipa::path(
    delete,
    path = "/runlog/v1/queries/{name}",
    tag = "web",
    params(("name" = String, Path, description = "Name of the query")),
    responses((status = 204, description = "Deleted"))
)]
pub(crate) async fn delete(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(name): Path<String>,
) -> ApiResult<StatusCode> {
    app.store().saved_queries().delete(&caller, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
