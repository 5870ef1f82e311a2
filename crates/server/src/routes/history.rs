//! `/monitoring/observability/executions/…`: the history of runs and plan executions, searched and downloaded.

pub(crate) mod conditions;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use az::SaturatingAs;
use futures::stream;
use runlog_model::wire::ErrorBody;
use runlog_model::wire::history::{HistoryCategory, HistoryPage, HistorySearch};
use runlog_model::workspaces::Right;
use runlog_store::accounts::Caller;
use runlog_store::runs::{HistoryCondition, HistoryEntry, HistoryExclude, HistoryFilter};

use self::conditions::{COLUMNS, exclude, item, read_conditions, whole};
use crate::app::App;
use crate::auth::token::Authenticated;
use crate::http::error::{ApiError, ApiResult};
use crate::http::json::JsonBody;
use crate::http::parameters::parse_id;
use crate::limits;

/// `POST /monitoring/observability/executions/search`: searches runs and plan executions.
#[utoipa::path(
    post,
    path = "/monitoring/observability/executions/search",
    tag = "history",
    request_body(content = HistorySearch),
    responses((status = 200, description = "Executions by end time, newest first", body = HistoryPage))
)]
pub(crate) async fn search(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    JsonBody(search): JsonBody<HistorySearch>,
) -> ApiResult<Json<HistoryPage>> {
    let limit = whole("limit", search.limit.as_ref(), 1..=limits::HISTORY_PAGE_MAX)?;
    let limit = limit.unwrap_or(limits::HISTORY_PAGE_DEFAULT);
    let offset_max = limit * (limits::HISTORY_PAGES_MAX - 1);
    let offset = whole("offset", search.offset.as_ref(), 0..=offset_max).map_err(|error| {
        error.with_detail(format!(
            "a search returns at most {} pages; narrow it with a period",
            limits::HISTORY_PAGES_MAX
        ))
    })?;
    let offset = offset.unwrap_or(0);
    let Some(mut filter) = filter(&app, &caller, &search).await? else {
        return Ok(Json(HistoryPage { items: Vec::new(), limit, offset, next_page_exists: false }));
    };
    // One execution more than the page shows whether there is another page.
    (filter.limit, filter.offset) = (limit + 1, offset);
    let mut entries = app.store().runs().history(&filter).await?;
    let next_page_exists = entries.len() as u64 > limit;
    entries.truncate(limit.saturating_as::<usize>());
    Ok(Json(HistoryPage { items: entries.iter().map(item).collect(), limit, offset, next_page_exists }))
}

/// `POST /monitoring/observability/executions/download`: the same as CSV, optionally continuing after a given
/// execution.
#[utoipa::path(
    post,
    path = "/monitoring/observability/executions/download",
    tag = "history",
    request_body(content = HistorySearch),
    responses((status = 200, description = "CSV with a header row", body = String, content_type = "application/octet-stream"), (status = 404, description = "No execution with the ID `lastId`", body = ErrorBody))
)]
pub(crate) async fn download(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    JsonBody(search): JsonBody<HistorySearch>,
) -> ApiResult<Response> {
    let limit = whole("limit", search.limit.as_ref(), 1..=limits::HISTORY_DOWNLOAD_MAX)?;
    let limit = limit.unwrap_or(limits::HISTORY_DOWNLOAD_DEFAULT);
    let filter = filter(&app, &caller, &search).await?;
    let headers: [(HeaderName, &str); 4] = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"executions.csv\""),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    let rows = match filter {
        None => Rows { app, filter: None, left: 0, is_first: true },
        Some(filter) => {
            let filter = HistoryFilter { after: search.last_id.filter(|id| !id.is_empty()), ..filter };
            Rows { app, filter: Some(filter), left: limit, is_first: true }
        }
    };
    // The first part is created before the response starts, so that a wrong `lastId` is an error instead of an
    // incomplete file.
    let first = rows.next().await?;
    let rest = stream::try_unfold(first, |part| async move {
        let Some((bytes, rows)) = part else { return Ok(None) };
        let next = rows.next().await.map_err(|error| std::io::Error::other(error.message))?;
        Ok::<_, std::io::Error>(Some((bytes, next)))
    });
    Ok((headers, Body::from_stream(rest)).into_response())
}

/// A streaming download, with a thousand rows in memory at a time.
struct Rows {
    app: App,
    filter: Option<HistoryFilter>,
    left: u64,
    is_first: bool,
}

impl Rows {
    /// The next lines, and the state after them; none at the end.
    async fn next(mut self) -> ApiResult<Option<(Bytes, Self)>> {
        let mut entries: Vec<HistoryEntry> = Vec::new();
        if let Some(filter) = self.filter.as_mut().filter(|_| self.left > 0) {
            filter.limit = self.left.min(limits::HISTORY_ROWS_AT_A_TIME);
            entries = self.app.store().runs().history(filter).await?;
            self.left -= filter.limit;
            match entries.last() {
                Some(last) if entries.len() as u64 == filter.limit => filter.after = Some(last.id.clone()),
                _ => self.filter = None,
            }
        }
        if entries.is_empty() && !self.is_first {
            return Ok(None);
        }
        let lines = self.lines(&entries).map_err(|error| ApiError {
            cause: Some(std::sync::Arc::new(error)),
            ..ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the history has no CSV")
        })?;
        self.is_first = false;
        Ok(Some((lines.into(), self)))
    }
}

impl Rows {
    fn lines(&self, entries: &[HistoryEntry]) -> csv::Result<Vec<u8>> {
        let mut lines = csv::Writer::from_writer(Vec::new());
        if self.is_first {
            lines.write_record(COLUMNS.iter().map(|(name, _)| name))?;
        }
        for item in entries.iter().map(item) {
            lines.write_record(COLUMNS.iter().map(|(_, cell)| cell(&self.app, &item)))?;
        }
        lines.into_inner().map_err(|error| error.into_error().into())
    }
}

/// The conditions of a body, limited to what the caller may view; none if nothing can match.
async fn filter(app: &App, caller: &Caller, search: &HistorySearch) -> ApiResult<Option<HistoryFilter>> {
    let environment_id = search.environment_id.as_deref().map(str::trim).filter(|id| !id.is_empty());
    let environment_id = environment_id.map(|id| parse_id("environmentId", id)).transpose()?;
    let mut conditions = read_conditions(search.filters.as_deref().unwrap_or_default(), "filters")?;
    conditions.extend(search.trigger_time_from.map(HistoryCondition::TriggeredFrom));
    conditions.extend(search.trigger_time_to.map(HistoryCondition::TriggeredTo));
    // The archive has no routes and no data services.
    if search.category == HistoryCategory::Esb {
        return Ok(None);
    }
    let workspace_ids = app.store().accounts().workspaces_with(caller, Right::View).await?;
    let exclude = search.exclude.map_or(HistoryExclude::RunsOfPlans, exclude);
    Ok(Some(HistoryFilter { environment_id, workspace_ids, exclude, conditions, limit: 0, offset: 0, after: None }))
}
