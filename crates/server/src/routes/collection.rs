//! `/runlog/v1/collection`: the progress of collection, and retries.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use runlog_model::wire::ErrorBody;
use runlog_model::wire::collection::{
    AuditLogCollectionBody, CollectionBody, CollectorBody, FailingRunBody, LandedRunBody, PlanCollectionBody,
    RetriedBody, UpstreamBody,
};
use runlog_model::wire::executions::ListPage;
use runlog_model::{RunId, Timestamp};
use runlog_store::collection::{CollectedRun, CollectionMetrics, CollectorHeartbeat, LandedRun};

use crate::app::App;
use crate::auth::audit::AuditedChange;
use crate::http::error::{ApiError, ApiResult};
use crate::http::parameter_groups::PageQuery;
use crate::http::parameters::{Query, query_parameters};
use crate::limits;

/// `GET /runlog/v1/collection`: returns the progress of collection.
#[utoipa::path(
    get,
    path = "/runlog/v1/collection",
    tag = "administration",
    responses((status = 200, description = "Every upstream, and the active collectors", body = CollectionBody))
)]
pub(crate) async fn show(State(app): State<App>) -> ApiResult<Json<CollectionBody>> {
    let store = app.store();
    let mut upstreams = Vec::new();
    for name in store.collection().upstreams().await? {
        let figures = store.collection().metrics(&name).await?;
        let problems = store.collection().failing_runs(&name, limits::PROBLEMS_SHOWN).await?;
        upstreams.push(upstream(figures, problems));
    }
    let collectors = store.collection().collectors(runlog_store::limits::COLLECTOR_TTL_MS).await?;
    Ok(Json(CollectionBody { upstreams, collectors: collectors.into_iter().map(collector).collect() }))
}

query_parameters! {
    /// Parameters of the list of landed runs.
    pub(crate) struct LandedQuery {
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

/// `GET /runlog/v1/collection/{upstream}/runs`: lists the runs whose logs were collected.
#[utoipa::path(
    get,
    path = "/runlog/v1/collection/{upstream}/runs",
    tag = "administration",
    params(("upstream" = String, Path, description = "Name of the upstream in the settings")),
    responses((status = 200, description = "The runs, those stored last first", body = ListPage<LandedRunBody>))
)]
pub(crate) async fn landed(
    State(app): State<App>,
    Path(upstream): Path<String>,
    Query(query): Query<LandedQuery>,
) -> ApiResult<Json<ListPage<LandedRunBody>>> {
    let (limit, offset) = query.page.limit_and_offset();
    let (items, total) = app.store().collection().landed_runs(&upstream, limit, offset).await?;
    Ok(Json(ListPage { items: items.into_iter().map(landed_run).collect(), limit, offset, total }))
}

/// `POST /runlog/v1/collection/{upstream}/retry`: immediately retries runs that failed or had no log.
#[utoipa::path(
    post,
    path = "/runlog/v1/collection/{upstream}/retry",
    tag = "administration",
    params(("upstream" = String, Path, description = "Name of the upstream in the settings")),
    responses(
        (status = 200, description = "Number of runs to be retried", body = RetriedBody),
        (status = 404, description = "No such upstream", body = ErrorBody)
    )
)]
pub(crate) async fn retry(
    State(app): State<App>,
    Path(upstream): Path<String>,
    Query(query): Query<RetryQuery>,
    change: AuditedChange,
) -> ApiResult<Json<RetriedBody>> {
    let known = app.store().collection().upstreams().await?;
    if !known.contains(&upstream) {
        let message = format!("there is no upstream {upstream:?} in this archive; available: {}", known.join(", "));
        return Err(ApiError::not_found(message));
    }
    let runs = match query.run_id {
        None => change.store(StatusCode::OK).collection().retry(&upstream).await?,
        Some(run) => {
            let store = change.store_about(StatusCode::OK, format!("{upstream} {run}"));
            store.collection().retry_run(&upstream, run).await?
        }
    };
    Ok(Json(RetriedBody { runs }))
}

fn landed_run(run: LandedRun) -> LandedRunBody {
    LandedRunBody {
        run_id: run.run_id,
        status: run.status,
        finish_timestamp: run.finished_at.map(Timestamp::clamped),
        landed_at: run.landed_at.map(Timestamp::clamped),
        records: run.records.unsigned_abs(),
        pages: run.pages.unsigned_abs(),
    }
}

fn upstream(figures: CollectionMetrics, problems: Vec<CollectedRun>) -> UpstreamBody {
    UpstreamBody {
        name: figures.upstream,
        known: figures.known,
        going: figures.running,
        waiting: figures.pending,
        failing: figures.failing,
        incomplete: figures.incomplete,
        landed: figures.landed,
        no_log: figures.no_log,
        gone: figures.missing,
        left_out: figures.excluded,
        records: figures.records,
        pages: figures.pages,
        waiting_since: figures.waiting_since.map(Timestamp::clamped),
        listed_until: figures.listed_until.map(Timestamp::clamped),
        components_waiting: figures.components_waiting,
        components_failing: figures.components_failing,
        components_problem: figures.components_problem,
        details_failed: figures.details_failed,
        details_failed_at: figures.details_failed_at.map(Timestamp::clamped),
        details_problem: figures.details_problem,
        plan_executions: PlanCollectionBody {
            known: figures.plans.known,
            running: figures.plans.running,
            failing: figures.plans.failing,
            given_up: figures.plans.given_up,
            problem: figures.plans.problem,
            listed_until: figures.plans.listed_until.map(Timestamp::clamped),
        },
        audit_logs: figures.audit_logs.map(|logs| AuditLogCollectionBody {
            entries: logs.entries,
            listed_until: logs.listed_until.map(Timestamp::clamped),
            problem: logs.problem,
        }),
        problems: problems.into_iter().map(problem).collect(),
    }
}

fn problem(run: CollectedRun) -> FailingRunBody {
    FailingRunBody {
        run_id: run.run_id,
        task_id: run.task_id,
        status: run.status,
        finish_timestamp: run.finished_at.map(Timestamp::clamped),
        attempts: run.attempts.unsigned_abs(),
        next_attempt: Timestamp::clamped(run.due_at),
        problem: run.last_error.unwrap_or_default(),
        expected_records: run.expected.map(i64::unsigned_abs),
    }
}

fn collector(figures: CollectorHeartbeat) -> CollectorBody {
    CollectorBody {
        id: figures.id,
        host: figures.host,
        seen: Timestamp::clamped(figures.seen_at),
        requests_per_minute: figures.per_minute.map(i64::unsigned_abs),
        requests_left: figures.requests_left.map(i64::unsigned_abs),
        requests: figures.requests.unsigned_abs(),
        repeated: figures.repeated.unsigned_abs(),
        limited: figures.limited.unsigned_abs(),
    }
}
