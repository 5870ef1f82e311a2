//! `/runlog/v1/problems`: the root causes of failed runs, and what people made of them. They require the rights to read
//! logs, because a title contains words of a log; who may read the logs of a workspace may also mute and resolve.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use runlog_model::wire::ErrorBody;
use runlog_model::wire::executions::ListPage;
use runlog_model::wire::problems::{NewProblemState, ProblemBody, ProblemDetailBody};
use runlog_model::workspaces::Right;
use runlog_model::{ProblemState, TaskId};
use runlog_store::accounts::Caller;
use runlog_store::problems::{ProblemFilter, ProblemOrder};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

use crate::app::App;
use crate::auth::audit::AuditedChange;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::{ApiError, ApiResult};
use crate::http::json::JsonBody;
use crate::http::parameter_groups::{PageQuery, ScopeQuery};
use crate::http::parameter_types::{TimeOrMillis, pattern, words};
use crate::http::parameters::{ParameterValue, Query, query_parameters};
use crate::limits;

query_parameters! {
    /// Parameters of the list of problems.
    pub(crate) struct ProblemsQuery {
        ..page: PageQuery,
        ..scope: ScopeQuery,
        /// Only problems in this state.
        state: Option<ProblemState> = "state",
        /// Only problems that hit this task.
        task_id: Option<TaskId> = "taskId",
        /// Only problems with this text in their title, case-insensitive.
        text: Option<String> = "q",
        /// Only problems whose ID begins with these digits.
        id: Option<ProblemIdPrefix> = "id",
        /// Only problems seen at or after this time; RFC 3339 or epoch milliseconds.
        since: Option<TimeOrMillis> = "since",
        /// The order: `lastSeen`, `firstSeen` or `runs`, the latest or most first; default `lastSeen`.
        order: Option<Order> = "order",
    }
}

words! {
    /// The order of problems.
    pub(crate) enum Order {
        /// The last seen first.
        LastSeen = "lastSeen",
        /// The newest first.
        FirstSeen = "firstSeen",
        /// Those with the most runs first.
        Runs = "runs",
    }
}

/// The first digits of the ID of a problem.
pub(crate) struct ProblemIdPrefix(String);

impl ParameterValue for ProblemIdPrefix {
    fn parse(text: &str) -> Result<Self, String> {
        match is_hexadecimal(text) && text.len() <= 16 {
            true => Ok(Self(text.to_owned())),
            false => Err("not the beginning of the ID of a problem (up to 16 hexadecimal digits)".to_owned()),
        }
    }

    fn schema() -> RefOr<Schema> {
        pattern("^[0-9a-f]{1,16}$")
    }
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// `GET /runlog/v1/problems`: lists the problems of the workspaces whose logs the caller may read.
#[utoipa::path(
    get,
    path = "/runlog/v1/problems",
    tag = "problems",
    responses((status = 200, description = "Problems", body = ListPage<ProblemBody>))
)]
pub(crate) async fn list(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Query(query): Query<ProblemsQuery>,
) -> ApiResult<Json<ListPage<ProblemBody>>> {
    let (limit, offset) = query.page.limit_and_offset();
    let readable = rights::readable_workspaces(app.store(), &caller).await?;
    let workspace_ids = match (query.scope.workspace_id, readable) {
        (None, readable) => readable,
        (Some(wanted), None) => Some(vec![wanted]),
        (Some(wanted), Some(readable)) => Some(readable.into_iter().filter(|id| *id == wanted).collect()),
    };
    let filter = ProblemFilter {
        workspace_ids,
        environment_id: query.scope.environment_id,
        state: query.state,
        task_id: query.task_id,
        text: query.text,
        id_prefix: query.id.map(|id| id.0),
        seen_since: query.since.map(|since| since.0),
        order: match query.order {
            None | Some(Order::LastSeen) => ProblemOrder::LastSeen,
            Some(Order::FirstSeen) => ProblemOrder::FirstSeen,
            Some(Order::Runs) => ProblemOrder::Runs,
        },
        limit,
        offset,
        ..ProblemFilter::default()
    };
    let (items, total) = app.store().problems().list(&filter).await?;
    Ok(Json(ListPage { items, limit, offset, total }))
}

/// `GET /runlog/v1/problems/{id}`: returns a problem, the tasks that it hits, and its latest runs.
#[utoipa::path(
    get,
    path = "/runlog/v1/problems/{id}",
    tag = "problems",
    params(("id" = runlog_analysis::StableId, Path, description = "ID, 16 hexadecimal digits")),
    responses(
        (status = 200, description = "The problem", body = ProblemDetailBody),
        (status = 404, description = "No such problem", body = ErrorBody)
    )
)]
pub(crate) async fn one(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> ApiResult<Json<ProblemDetailBody>> {
    let problem = readable(&app, &caller, &id).await?;
    let problems = app.store().problems();
    let tasks = problems.tasks(&id, limits::PROBLEM_TASKS_MAX, 0).await?;
    let runs = problems.runs(&id, limits::PROBLEM_RUNS_MAX).await?;
    Ok(Json(ProblemDetailBody { problem, tasks, runs }))
}

/// `PUT /runlog/v1/problems/{id}/state`: mutes, resolves or reopens a problem.
#[utoipa::path(
    put,
    path = "/runlog/v1/problems/{id}/state",
    tag = "problems",
    params(("id" = runlog_analysis::StableId, Path, description = "ID, 16 hexadecimal digits")),
    request_body(content = NewProblemState),
    responses(
        (status = 200, description = "The problem in its new state", body = ProblemBody),
        (status = 404, description = "No such problem", body = ErrorBody)
    )
)]
pub(crate) async fn set_state(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    change: AuditedChange,
    JsonBody(new): JsonBody<NewProblemState>,
) -> ApiResult<Json<ProblemBody>> {
    readable(&app, &caller, &id).await?;
    let until = new.until.map(|until| format!(" until {until}")).unwrap_or_default();
    let subject = format!("{id} {}{until}", new.state);
    Ok(Json(change.store_about(StatusCode::OK, subject).problems().set_state(&id, &new, &caller.name).await?))
}

/// The problem of a path, if the caller may read the logs of its workspace. 400, then 404, then 403.
async fn readable(app: &App, caller: &Caller, id: &str) -> ApiResult<ProblemBody> {
    if !is_hexadecimal(id) || id.len() != 16 {
        return Err(ApiError::invalid(format!("{id:?} is not the ID of a problem (16 hexadecimal digits)")));
    }
    let problem = app.store().problems().get(id).await?;
    let problem = problem.ok_or_else(|| ApiError::not_found(format!("there is no problem {id} in this archive")))?;
    rights::require(app.store(), caller, problem.workspace_id, &Right::READ_LOGS).await?;
    Ok(problem)
}
