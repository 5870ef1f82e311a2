//! `/runlog/v1/sinks`: the progress of deliveries, and retries of failed ones.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use runlog_model::Timestamp;
use runlog_model::wire::ErrorBody;
use runlog_model::wire::collection::RetriedBody;
use runlog_model::wire::sinks::SinkBody;
use runlog_store::delivery::SinkMetrics;

use crate::app::App;
use crate::auth::audit::AuditedChange;
use crate::http::error::ApiResult;

/// `GET /runlog/v1/sinks`: lists the sinks and the progress of their deliveries.
#[utoipa::path(
    get,
    path = "/runlog/v1/sinks",
    tag = "administration",
    responses((status = 200, description = "The sinks, by name", body = Vec<SinkBody>))
)]
pub(crate) async fn list(State(app): State<App>) -> ApiResult<Json<Vec<SinkBody>>> {
    Ok(Json(app.store().deliveries().metrics().await?.into_iter().map(shown).collect()))
}

/// `POST /runlog/v1/sinks/{sink}/retry`: makes deliveries that failed or were refused due again.
#[utoipa::path(
    post,
    path = "/runlog/v1/sinks/{sink}/retry",
    tag = "administration",
    params(("sink" = String, Path, description = "Name of the sink")),
    responses(
        (status = 200, description = "Number of runs that are due again", body = RetriedBody),
        (status = 404, description = "No such sink", body = ErrorBody)
    )
)]
pub(crate) async fn retry(Path(sink): Path<String>, change: AuditedChange) -> ApiResult<Json<RetriedBody>> {
    Ok(Json(RetriedBody { runs: change.store(StatusCode::OK).deliveries().retry(&sink).await? }))
}

fn shown(figures: SinkMetrics) -> SinkBody {
    SinkBody {
        name: figures.name,
        kind: figures.kind,
        due: figures.due,
        failing: figures.failing,
        done: figures.done,
        dead: figures.dead,
        records: figures.records,
        refused: figures.refused,
        lag_seconds: figures.lag_seconds,
        last_seen: Timestamp::clamped(figures.seen_at),
        problem: figures.last_error,
    }
}
