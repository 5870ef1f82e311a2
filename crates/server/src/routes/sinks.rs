//! `/runlog/v1/sinks`: the progress of deliveries, and retries of failed ones.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use runlog_model::Timestamp;
use runlog_model::wire::ErrorBody;
use runlog_model::wire::collection::RetriedBody;
use runlog_model::wire::sinks::{DeadLetterBody, FailedDeliveryBody, SinkBody};
use runlog_store::delivery::{DeadLetter, FailingDelivery, SinkMetrics};

use crate::app::App;
use crate::auth::audit::AuditedChange;
use crate::http::error::ApiResult;

/// Most failed deliveries, and most dead letters, that are listed for a sink.
const LISTED_MAX: u64 = 20;

/// `GET /runlog/v1/sinks`: lists the sinks and the progress of their deliveries.
#[utoipa::path(
    get,
    path = "/runlog/v1/sinks",
    tag = "administration",
    responses((status = 200, description = "The sinks, by name", body = Vec<SinkBody>))
)]
pub(crate) async fn list(State(app): State<App>) -> ApiResult<Json<Vec<SinkBody>>> {
    let deliveries = app.store().deliveries();
    let mut sinks = Vec::new();
    for figures in deliveries.metrics().await? {
        let (mut failing, mut dead_letters) = (Vec::new(), Vec::new());
        if figures.failing + figures.dead > 0 {
            failing = deliveries.failing(&figures.name, LISTED_MAX).await?;
        }
        if figures.refused > 0 {
            dead_letters = deliveries.dead_letters(&figures.name, LISTED_MAX).await?;
        }
        sinks.push(shown(figures, failing, dead_letters));
    }
    Ok(Json(sinks))
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

fn shown(figures: SinkMetrics, failing: Vec<FailingDelivery>, dead_letters: Vec<DeadLetter>) -> SinkBody {
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
        failed_deliveries: failing.into_iter().map(failed_delivery).collect(),
        dead_letters: dead_letters.into_iter().map(dead_letter).collect(),
    }
}

fn failed_delivery(delivery: FailingDelivery) -> FailedDeliveryBody {
    FailedDeliveryBody {
        run_id: delivery.run_id,
        next_attempt: (delivery.state == "due").then(|| Timestamp::clamped(delivery.due_at)),
        attempts: delivery.attempts.unsigned_abs(),
        problem: delivery.last_error,
    }
}

fn dead_letter(letter: DeadLetter) -> DeadLetterBody {
    DeadLetterBody {
        run_id: letter.run_id,
        time: Timestamp::clamped(letter.record_time),
        records: letter.records.unsigned_abs(),
        reason: letter.reason,
        refused_at: Timestamp::clamped(letter.refused_at),
    }
}
