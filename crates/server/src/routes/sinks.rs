//! `/runlog/v1/sinks`: the progress of deliveries, and retries of failed ones.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use runlog_model::wire::ErrorBody;
use runlog_model::wire::collection::RetriedBody;
use runlog_model::wire::executions::ListPage;
use runlog_model::wire::sinks::{DeadLetterBody, DeliveryBody, FailedDeliveryBody, ReplayPeriod, SinkBody};
use runlog_model::{RunId, TimeRange, Timestamp};
use runlog_store::delivery::{DeadLetter, FailingDelivery, RecentDelivery, SinkMetrics};

use crate::app::App;
use crate::auth::audit::AuditedChange;
use crate::http::error::{ApiError, ApiResult};
use crate::http::json::JsonBody;
use crate::http::parameter_groups::PageQuery;
use crate::http::parameters::{Query, query_parameters};

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

query_parameters! {
    /// Parameters of the list of deliveries.
    pub(crate) struct DeliveriesQuery {
        ..page: PageQuery,
    }
}

query_parameters! {
    /// What is retried.
    pub(crate) struct RetryQuery {
        /// Only this run; default: all.
        run_id: Option<RunId> = "runId",
    }
}

/// `GET /runlog/v1/sinks/{sink}/deliveries`: lists the deliveries to a sink.
#[utoipa::path(
    get,
    path = "/runlog/v1/sinks/{sink}/deliveries",
    tag = "administration",
    params(("sink" = String, Path, description = "Name of the sink")),
    responses(
        (status = 200, description = "The deliveries, those finished last first", body = ListPage<DeliveryBody>),
        (status = 404, description = "No such sink", body = ErrorBody)
    )
)]
pub(crate) async fn recent(
    State(app): State<App>,
    Path(sink): Path<String>,
    Query(query): Query<DeliveriesQuery>,
) -> ApiResult<Json<ListPage<DeliveryBody>>> {
    let (limit, offset) = query.page.limit_and_offset();
    let (items, total) = app.store().deliveries().recent(&sink, limit, offset).await?;
    Ok(Json(ListPage { items: items.into_iter().map(delivery).collect(), limit, offset, total }))
}

/// `POST /runlog/v1/sinks/{sink}/replay`: delivers the whole logs of the runs again that ended in a period, with the same
/// IDs of records.
#[utoipa::path(
    post,
    path = "/runlog/v1/sinks/{sink}/replay",
    tag = "administration",
    params(("sink" = String, Path, description = "Name of the sink")),
    request_body(content = ReplayPeriod),
    responses(
        (status = 200, description = "Number of runs that are due again", body = RetriedBody),
        (status = 404, description = "No such sink", body = ErrorBody)
    )
)]
pub(crate) async fn replay(
    Path(sink): Path<String>,
    change: AuditedChange,
    JsonBody(period): JsonBody<ReplayPeriod>,
) -> ApiResult<Json<RetriedBody>> {
    if period.from > period.to {
        return Err(ApiError::invalid("from is later than to"));
    }
    let range = TimeRange { start: Some(period.from), end: Some(period.to) };
    let store = change.store_about(StatusCode::OK, format!("{sink} {} to {}", period.from, period.to));
    Ok(Json(RetriedBody { runs: store.deliveries().replay(&sink, range).await? }))
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
pub(crate) async fn retry(
    Path(sink): Path<String>,
    Query(query): Query<RetryQuery>,
    change: AuditedChange,
) -> ApiResult<Json<RetriedBody>> {
    let runs = match query.run_id {
        None => change.store(StatusCode::OK).deliveries().retry(&sink).await?,
        Some(run) => {
            change.store_about(StatusCode::OK, format!("{sink} {run}")).deliveries().retry_run(&sink, run).await?
        }
    };
    Ok(Json(RetriedBody { runs }))
}

fn delivery(delivery: RecentDelivery) -> DeliveryBody {
    DeliveryBody {
        run_id: delivery.run_id,
        task_name: delivery.task_name,
        state: delivery.state,
        delivered_at: delivery.done_at.map(Timestamp::clamped),
        records: delivery.delivered.unsigned_abs(),
        attempts: delivery.attempts.unsigned_abs(),
        problem: delivery.last_error,
    }
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
