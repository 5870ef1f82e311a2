//! `GET /runlog/v1/search`: records that hold some text, the newest first.

use axum::Json;
use axum::extract::State;
use az::SaturatingAs;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use runlog_model::place::Right;
use runlog_model::wire::search::{FoundRecord, Scanned, SearchAnswer, Unreadable};
use runlog_model::{RunId, Severity, TaskId, TimeRange, WorkspaceId};
use runlog_store::accounts::Caller;
use runlog_store::query::{SearchCursor, SearchHit, SearchQuery, SearchText, SearchTextError};
use utoipa::openapi::RefOr;
use utoipa::openapi::path::Parameter;
use utoipa::openapi::schema::Schema;

use crate::app::App;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::{ApiError, ApiResult};
use crate::http::parameter_types::{List, NumberOr, TimeOrMillis, string};
use crate::http::parameters::{ParameterValue, Query, QueryParameters, RawParameters, query_parameters};
use crate::limits;

/// The longest text that the store searches for. Unit: bytes.
const SEARCH_TEXT_BYTES_MAX: usize = 1_000;

query_parameters! {
    /// Parameters of a search.
    pub(crate) struct SearchParameters {
        ..scope: SearchScope,
        /// Parts of messages to find, case-insensitive; `"exact phrase"` in quotes; `-part` excludes messages that contain it.
        text: Option<SearchText> = "q",
        /// Only these severities, comma-separated or repeated: `TRACE` to `FATAL`, `OTHER` for unknown ones.
        severity: List<Severity> = "severity",
        /// Earliest time, inclusive; RFC 3339 or epoch milliseconds.
        from: Option<TimeOrMillis> = "from",
        /// Latest time, inclusive.
        to: Option<TimeOrMillis> = "to",
        /// Maximum number of records.
        limit: NumberOr<1, { limits::SEARCH_PAGE_MAX }, { limits::SEARCH_PAGE_DEFAULT }> = "limit",
        /// Cursor of the previous response, to continue after it.
        cursor: Option<SearchCursor> = "cursor",
    }
}

query_parameters! {
    /// The workspace, task or run that is searched.
    pub(crate) struct ScopeFields {
        /// Only records of this workspace; default: everything that the caller may read.
        workspace_id: Option<WorkspaceId> = "workspaceId",
        /// Only records of this task.
        task_id: Option<TaskId> = "taskId",
        /// Only records of this run.
        run_id: Option<RunId> = "runId",
    }
}

/// What is searched.
pub(crate) enum SearchScope {
    /// Everything that the caller may read.
    Everything,
    /// The records of a workspace.
    Workspace(WorkspaceId),
    /// The records of a task.
    Task(TaskId),
    /// The records of a run.
    Run(RunId),
}

/// At most one of `workspaceId`, `taskId` and `runId`; 400 for several.
impl QueryParameters for SearchScope {
    fn read(raw: &RawParameters) -> ApiResult<Self> {
        let named = [raw.text("workspaceId")?, raw.text("taskId")?, raw.text("runId")?];
        if named.into_iter().flatten().count() > 1 {
            return Err(ApiError::invalid("workspaceId, taskId and runId: set only one of them"));
        }
        Ok(match ScopeFields::read(raw)? {
            ScopeFields { workspace_id: Some(id), .. } => Self::Workspace(id),
            ScopeFields { task_id: Some(id), .. } => Self::Task(id),
            ScopeFields { run_id: Some(id), .. } => Self::Run(id),
            _ => Self::Everything,
        })
    }

    fn describe() -> Vec<Parameter> {
        ScopeFields::describe()
    }
}

impl ParameterValue for SearchText {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: SearchTextError| error.to_string())
    }

    fn schema() -> RefOr<Schema> {
        string().max_length(Some(SEARCH_TEXT_BYTES_MAX)).into()
    }
}

impl ParameterValue for SearchCursor {
    fn parse(text: &str) -> Result<Self, String> {
        decoded_cursor(text).ok_or_else(|| "not a cursor of a previous response".to_owned())
    }

    fn schema() -> RefOr<Schema> {
        string().into()
    }
}

/// Searches from the newest record backwards, until the limit or the time budget is reached.
#[utoipa::path(
    get,
    path = "/runlog/v1/search",
    tag = "analysis",
    responses((status = 200, description = "Matching records, and a cursor to continue", body = SearchAnswer), (status = 404, description = "No such workspace, task or run", body = runlog_model::wire::ErrorBody))
)]
pub(crate) async fn find(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Query(query): Query<SearchParameters>,
) -> ApiResult<Json<SearchAnswer>> {
    let limit = query.limit.0.saturating_as::<usize>();
    let search = SearchQuery {
        severities: Some(query.severity.0).filter(|severities| !severities.is_empty()),
        range: TimeRange { start: query.from.map(|from| from.0), end: query.to.map(|to| to.0) },
        after: query.cursor,
        ..SearchQuery::newest(query.text.unwrap_or_default(), limit, limits::SEARCH_TIME_MAX)
    };
    let _permit = app.searches().acquire().await?;
    let search = in_scope(&app, &caller, query.scope, search).await?;
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

/// The search, limited to a scope and to what the caller may read.
async fn in_scope(app: &App, caller: &Caller, scope: SearchScope, search: SearchQuery) -> ApiResult<SearchQuery> {
    match scope {
        SearchScope::Everything => {
            Ok(SearchQuery { workspace_ids: rights::readable_workspaces(app.store(), caller).await?, ..search })
        }
        SearchScope::Workspace(id) => {
            let workspace = rights::workspace_by_id(app.store(), caller, id, &Right::READ_LOGS).await?;
            Ok(SearchQuery { workspace_ids: Some(vec![workspace.id]), ..search })
        }
        SearchScope::Task(task_id) => {
            let task = rights::task(app.store(), caller, task_id, &Right::READ_LOGS).await?;
            let workspace_ids = Some(vec![task.workspace.id]);
            Ok(SearchQuery { task_ids: Some(vec![task_id]), workspace_ids, ..search })
        }
        SearchScope::Run(run_id) => {
            let run = rights::run_brief_by_id(app.store(), caller, run_id, &Right::READ_LOGS).await?;
            Ok(SearchQuery { run_ids: Some(vec![run.id]), workspace_ids: Some(vec![run.workspace_id]), ..search })
        }
    }
}

fn cursor(place: SearchCursor) -> String {
    URL_SAFE_NO_PAD.encode(format!("{} {} {}", place.time_ms, place.run_id, place.arrival))
}

fn decoded_cursor(cursor: &str) -> Option<SearchCursor> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
    let mut parts = text.split(' ');
    let place = SearchCursor {
        time_ms: parts.next()?.parse().ok()?,
        run_id: parts.next()?.parse().ok()?,
        arrival: parts.next()?.parse().ok()?,
    };
    parts.next().is_none().then_some(place)
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
