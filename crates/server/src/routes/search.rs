//! `GET /runlog/v1/search`: records that hold some text, the newest first.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use az::SaturatingAs;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use runlog_model::wire::search::{
    Facet, FacetValue, FoundRecord, Scanned, SearchAnswer, SearchFacetsAnswer, SearchHistogram, Unreadable,
};
use runlog_model::workspaces::Right;
use runlog_model::{RunId, RunStatus, Severity, TaskId, TimeRange, Timestamp, WorkspaceId};
use runlog_store::ErrorKind;
use runlog_store::accounts::Caller;
use runlog_store::limits::DAY_MS;
use runlog_store::query::{
    SearchCursor, SearchHit, SearchQuery, SearchText, SearchTextError, TimeCounts, UnreadableRecords,
};
use tokio::time::Instant;
use utoipa::openapi::RefOr;
use utoipa::openapi::path::Parameter;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};

use crate::app::App;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::{ApiError, ApiResult};
use crate::http::parameter_types::{List, NumberOr, Texts, TimeOrMillis, string};
use crate::http::parameters::{ParameterType, ParameterValue, Query, QueryParameters, RawParameters, query_parameters};
use crate::limits;

/// The longest text that the store searches for. Unit: bytes.
const SEARCH_TEXT_BYTES_MAX: usize = 1_000;

query_parameters! {
    /// Which records match.
    pub(crate) struct MatchFields {
        /// Parts of messages to find, case-insensitive; `"exact phrase"` in quotes; `-part` excludes messages that
        /// contain it.
        text: Option<SearchText> = "q",
        /// Only these severities, comma-separated or repeated: `TRACE` to `FATAL`, `OTHER` for unknown ones.
        severity: List<Severity> = "severity",
        /// Only records of this component (`bundleName`), exactly as it was logged; repeated for several, at most 50.
        components: Components = "component",
        /// Only records of runs with one of these statuses, comma-separated or repeated.
        status: List<RunStatus> = "status",
        /// Earliest time, inclusive; RFC 3339 or epoch milliseconds.
        from: Option<TimeOrMillis> = "from",
        /// Latest time, inclusive.
        to: Option<TimeOrMillis> = "to",
    }
}

query_parameters! {
    /// Parameters of a search.
    pub(crate) struct SearchParameters {
        ..scope: SearchScope,
        ..matches: MatchFields,
        /// Maximum number of records.
        limit: NumberOr<1, { limits::SEARCH_PAGE_MAX }, { limits::SEARCH_PAGE_DEFAULT }> = "limit",
        /// Cursor of the previous response, to continue after it.
        cursor: Option<SearchCursor> = "cursor",
        /// Whether to return the position of each record in its log (`index`).
        positions: bool = "positions",
    }
}

query_parameters! {
    /// Parameters of the facets of a search.
    pub(crate) struct FacetsParameters {
        ..scope: SearchScope,
        ..matches: MatchFields,
        /// By how much days begin before midnight UTC, in minutes: 60 for UTC+01:00, -300 for UTC-05:00.
        utc_offset: Option<UtcOffset> = "utcOffset",
    }
}

impl MatchFields {
    /// The newest records that match, in whatever the caller may read.
    fn query(self, limit: usize) -> SearchQuery {
        SearchQuery {
            severities: Some(self.severity.0).filter(|severities| !severities.is_empty()),
            components: Some(self.components.0).filter(|components| !components.is_empty()),
            statuses: Some(self.status.0).filter(|statuses| !statuses.is_empty()),
            range: TimeRange { start: self.from.map(|from| from.0), end: self.to.map(|to| to.0) },
            ..SearchQuery::newest(self.text.unwrap_or_default(), limit, limits::SEARCH_TIME_MAX)
        }
    }
}

/// An offset from UTC. Unit: minutes.
pub(crate) struct UtcOffset(i64);

/// The largest offset from UTC. Unit: minutes.
const UTC_OFFSET_MAX: i64 = 18 * 60;

impl ParameterValue for UtcOffset {
    fn parse(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(minutes) if (-UTC_OFFSET_MAX..=UTC_OFFSET_MAX).contains(&minutes) => Ok(Self(minutes)),
            _ => Err(format!("not a number of minutes from -{UTC_OFFSET_MAX} to {UTC_OFFSET_MAX}")),
        }
    }

    fn schema() -> RefOr<Schema> {
        let offset = ObjectBuilder::new().schema_type(SchemaType::Type(Type::Integer));
        offset.minimum(Some(-UTC_OFFSET_MAX)).maximum(Some(UTC_OFFSET_MAX)).into()
    }
}

/// Components to search for; none of them is split at commas.
pub(crate) struct Components(Vec<String>);

impl ParameterType for Components {
    fn read(raw: &RawParameters, name: &str) -> ApiResult<Self> {
        let Texts(components) = Texts::read(raw, name)?;
        match components.len() > limits::SEARCH_COMPONENTS_MAX {
            true => Err(ApiError::invalid(format!("{name}: at most {} of them", limits::SEARCH_COMPONENTS_MAX))),
            false => Ok(Self(components)),
        }
    }

    fn schema() -> RefOr<Schema> {
        Texts::schema()
    }

    fn is_exploded() -> Option<bool> {
        Texts::is_exploded()
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

/// The scope of a search.
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
    let search = SearchQuery { after: query.cursor, ..query.matches.query(limit) };
    let _permit = app.searches().acquire().await?;
    let search = in_scope(&app, &caller, query.scope, search).await?;
    let page = app.store().query().search(search).await?;
    let mut items = Vec::with_capacity(page.items.len());
    let until = Instant::now() + limits::SEARCH_TIME_MAX;
    for hit in page.items {
        let index = match query.positions {
            // Those that take longer have none.
            true if Instant::now() < until => {
                tokio::time::timeout_at(until, position(&app, &hit)).await.unwrap_or(Ok(None))?
            }
            _ => None,
        };
        items.push(item(hit, index));
    }
    Ok(Json(SearchAnswer {
        items,
        cursor: page.next.map(cursor),
        scanned: Scanned { records: page.scanned_records, bytes: page.scanned_bytes },
        complete: page.is_complete,
        unreadable: unreadable(page.unreadable),
    }))
}

/// Counts the records that match a search, by task, workspace, severity, component, status of the run and day, and over
/// time, until the time budget is reached.
#[utoipa::path(
    get,
    path = "/runlog/v1/search/facets",
    tag = "analysis",
    responses((status = 200, description = "The counts; lower bounds unless `complete`", body = SearchFacetsAnswer), (status = 404, description = "No such workspace, task or run", body = runlog_model::wire::ErrorBody))
)]
pub(crate) async fn facets(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Query(query): Query<FacetsParameters>,
) -> ApiResult<Json<SearchFacetsAnswer>> {
    let search = query.matches.query(0);
    let offset_ms = query.utc_offset.map_or(0, |offset| offset.0 * 60_000);
    let _permit = app.searches().acquire().await?;
    let search = in_scope(&app, &caller, query.scope, search).await?;
    let found = app.store().query().facets(search, offset_ms).await?;
    let names = found.task_names;
    let tasks = values(found.tasks, 0, |id| names.get(id).cloned());
    let day_start = |day: i64| Timestamp::clamped(day.saturating_mul(DAY_MS).saturating_sub(offset_ms)).to_string();
    let mut days: Vec<FacetValue> = found
        .days
        .iter()
        .rev()
        .take(limits::FACET_VALUES_MAX)
        .map(|(day, count)| FacetValue { value: day_start(*day), name: None, count: *count })
        .collect();
    let other_days = found.days.values().rev().skip(limits::FACET_VALUES_MAX).sum();
    days.reverse();
    let severities = found.severities.into_iter().rev().map(|(it, count)| (it.name().to_owned(), count));
    let severities = severities.map(|(value, count)| FacetValue { value, name: None, count }).collect();
    Ok(Json(SearchFacetsAnswer {
        records: found.records,
        complete: found.is_complete,
        tasks,
        workspaces: values(found.workspaces, 0, |_| None),
        severities: Facet { values: severities, others: 0 },
        components: values(found.components, found.other_components, |_| None),
        statuses: values(found.statuses, 0, |_| None),
        days: Facet { values: days, others: other_days },
        histogram: histogram(&found.times, offset_ms),
        scanned: Scanned { records: found.scanned_records, bytes: found.scanned_bytes },
        unreadable: unreadable(found.unreadable),
    }))
}

fn unreadable(left_out: UnreadableRecords) -> Option<Unreadable> {
    let UnreadableRecords { records, runs, objects } = left_out;
    let named = || Unreadable { records, runs: runs.into_iter().collect(), objects: objects.into_iter().collect() };
    (records > 0).then(named)
}

/// The buckets from the first to the last, including those without records.
fn histogram(times: &TimeCounts, offset_ms: i64) -> SearchHistogram {
    let ends = times.buckets.first_key_value().zip(times.buckets.last_key_value());
    let (start, buckets) = match ends {
        None => (None, Vec::new()),
        Some(((first, _), (last, _))) => {
            let start_ms = first.saturating_mul(times.bucket_ms).saturating_sub(offset_ms);
            let counts = (*first..=*last).map(|bucket| times.buckets.get(&bucket).copied().unwrap_or_default());
            (Some(Timestamp::clamped(start_ms)), counts.collect())
        }
    };
    SearchHistogram { start, bucket_ms: times.bucket_ms.saturating_as::<u64>(), buckets }
}

/// The values with the most records, and the number of records with others.
fn values(counts: BTreeMap<String, u64>, others: u64, name: impl Fn(&str) -> Option<String>) -> Facet {
    let mut counts: Vec<(String, u64)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| Reverse(*count));
    let rest = counts.split_off(counts.len().min(limits::FACET_VALUES_MAX));
    let others = others + rest.iter().map(|(_, count)| count).sum::<u64>();
    let values = counts.into_iter().map(|(value, count)| FacetValue { name: name(&value), value, count }).collect();
    Facet { values, others }
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

/// The position of a record that was found, unless its log was deleted meanwhile or is damaged.
async fn position(app: &App, hit: &SearchHit) -> ApiResult<Option<u64>> {
    match app.store().logs().position(hit.run_id, hit.time, hit.arrival).await {
        Ok(index) => Ok(Some(index)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Conflict | ErrorKind::Corrupt) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn item(found: SearchHit, index: Option<u64>) -> FoundRecord {
    FoundRecord {
        index,
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
