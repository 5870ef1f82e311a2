//! `GET /runlog/v1/search`: records that hold some text, the newest first.

use axum::Json;
use axum::extract::State;
use az::SaturatingAs;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use runlog_model::place::Right;
use runlog_model::wire::search::{FoundRecord, Scanned, SearchAnswer, Unreadable};
use runlog_model::{Severity, TaskId, TimeRange, Timestamp};
use runlog_store::accounts::Caller;
use runlog_store::query::{SearchCursor, SearchHit, SearchQuery};
use utoipa::IntoParams;

use crate::app::App;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::{ApiError, ApiResult};
use crate::http::parameters::{Params, parse_id};
use crate::limits;

/// The query parameters, for the description.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[allow(dead_code, reason = "it is described and never made")]
pub(crate) struct SearchParameters {
    /// Parts of messages to find, case-insensitive; `"exact phrase"` in quotes; `-part` excludes messages that contain
    /// it.
    #[param(max_length = 1000)]
    q: Option<String>,
    /// Only records of this workspace; default: everything that the caller may read.
    #[param(pattern = "^[0-9a-f]{24}$")]
    workspace_id: Option<String>,
    /// Only records of this task.
    #[param(pattern = "^[0-9a-f]{24}$")]
    task_id: Option<String>,
    /// Only records of this run.
    #[param(pattern = "^[0-9a-f-]{36}$")]
    run_id: Option<String>,
    /// Only these severities, comma-separated or repeated: `TRACE` to `FATAL`, `OTHER` for unknown ones.
    severity: Option<String>,
    /// Earliest time, inclusive; RFC 3339 or epoch milliseconds.
    from: Option<String>,
    /// Latest time, inclusive.
    to: Option<String>,
    /// Maximum number of records.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u64>,
    /// Cursor of the previous response, to continue after it.
    cursor: Option<String>,
}

/// Searches from the newest record backwards, until the limit or the time budget is reached.
#[utoipa::path(
    get,
    path = "/runlog/v1/search",
    tag = "analysis",
    params(SearchParameters),
    responses((status = 200, description = "Matching records, and a cursor to continue", body = SearchAnswer), (status = 404, description = "No such workspace, task or run", body = runlog_model::wire::ErrorBody))
)]
pub(crate) async fn find(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    params: Params,
) -> ApiResult<Json<SearchAnswer>> {
    let text = params.text("q").unwrap_or_default();
    let text = text.parse().map_err(|error| ApiError::invalid(format!("q: {error}")))?;
    let limit = params.number("limit", 1..=limits::SEARCH_PAGE_MAX)?.unwrap_or(limits::SEARCH_PAGE_DEFAULT);
    let search = SearchQuery {
        text,
        workspace_ids: None,
        task_id: None,
        run_id: None,
        severities: severities(&params)?,
        range: TimeRange { start: instant(&params, "from")?, end: instant(&params, "to")? },
        after: params.text("cursor").map(place).transpose()?,
        limit: limit.saturating_as::<usize>(),
        time_max: limits::SEARCH_TIME_MAX,
        slices_max: runlog_store::limits::SEARCH_SLICES_MAX,
    };
    let _permit = app.searches().acquire().await?;
    let search = in_scope(&app, &caller, &params, search).await?;
    let page = app.store().query().search(search).await?;
    let (records, runs) = (page.unreadable_records, page.unreadable_runs.into_iter().collect());
    Ok(Json(SearchAnswer {
        items: page.items.into_iter().map(item).collect(),
        cursor: page.next.map(cursor),
        scanned: Scanned { records: page.scanned_records, bytes: page.scanned_bytes },
        complete: page.is_complete,
        unreadable: (records > 0).then_some(Unreadable { records, runs }),
    }))
}

/// The search, in the one place that is named or in all that the caller may read.
async fn in_scope(app: &App, caller: &Caller, params: &Params, search: SearchQuery) -> ApiResult<SearchQuery> {
    let named = [params.text("workspaceId"), params.text("taskId"), params.text("runId")];
    match named {
        [None, None, None] => {
            Ok(SearchQuery { workspace_ids: rights::readable_workspaces(app.store(), caller).await?, ..search })
        }
        [Some(workspace), None, None] => {
            let workspace = rights::workspace(app.store(), caller, workspace, &Right::READ_LOGS).await?;
            Ok(SearchQuery { workspace_ids: Some(vec![workspace.id]), ..search })
        }
        [None, Some(task), None] => {
            let task_id: TaskId = parse_id("taskId", task)?;
            let task = rights::task(app.store(), caller, task_id, &Right::READ_LOGS).await?;
            let workspace_ids = Some(vec![task.workspace.id]);
            Ok(SearchQuery { task_id: Some(task_id), workspace_ids, ..search })
        }
        [None, None, Some(run)] => {
            let run = rights::run_brief(app.store(), caller, run, &Right::READ_LOGS).await?;
            Ok(SearchQuery { run_id: Some(run.id), workspace_ids: Some(vec![run.workspace_id]), ..search })
        }
        _ => Err(ApiError::invalid("workspaceId, taskId and runId: set only one of them")),
    }
}

fn severities(params: &Params) -> ApiResult<Option<Vec<Severity>>> {
    let words = params.list("severity")?;
    let severity = |word: &String| {
        let known = Severity::ALL.into_iter().find(|severity| severity.name().eq_ignore_ascii_case(word));
        let names = Severity::ALL.map(Severity::name).join(", ");
        let shown: String = word.chars().take(32).collect();
        known.ok_or_else(|| ApiError::invalid(format!("severity: {shown:?} is not one of {names}")))
    };
    let severities: Vec<Severity> = words.iter().map(severity).collect::<ApiResult<_>>()?;
    Ok((!severities.is_empty()).then_some(severities))
}

/// A time, RFC 3339 or epoch milliseconds.
fn instant(params: &Params, name: &str) -> ApiResult<Option<Timestamp>> {
    match params.text(name).map(str::parse::<i64>) {
        Some(Ok(epoch_ms)) => {
            let instant = Timestamp::from_millis(epoch_ms);
            instant.map(Some).map_err(|error| ApiError::invalid(format!("{name}: {error}")))
        }
        _ => params.time(name),
    }
}

fn cursor(place: SearchCursor) -> String {
    URL_SAFE_NO_PAD.encode(format!("{} {} {}", place.time_ms, place.run_id, place.arrival))
}

fn place(cursor: &str) -> ApiResult<SearchCursor> {
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        let mut parts = text.split(' ');
        let place = SearchCursor {
            time_ms: parts.next()?.parse().ok()?,
            run_id: parts.next()?.parse().ok()?,
            arrival: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(place)
    };
    read().ok_or_else(|| ApiError::invalid("cursor: not a cursor of a previous response"))
}

fn item(found: SearchHit) -> FoundRecord {
    FoundRecord {
        run_id: found.run_id,
        task_id: found.task_id,
        task_name: found.task_name,
        workspace_id: found.workspace_id,
        log_timestamp: found.time.as_millis(),
        severity: found.severity,
        log_message: found.message.map(cut),
    }
}

fn cut(mut message: String) -> String {
    if let Some((end, _)) = message.char_indices().nth(limits::SEARCH_MESSAGE_CHARS_MAX) {
        message.truncate(end);
        message.push('…');
    }
    message
}
