//! Reading the log of a run: its state, its records by position, its distribution over time, and the whole log.

use std::collections::HashSet;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use az::SaturatingAs;
use futures::stream::{self, StreamExt, TryStreamExt};
use runlog_model::text::TextLine;
use runlog_model::wire::overview::{LogBody, LogProgress, LogSetback, RunWithLog};
use runlog_model::wire::records::{HistogramBody, PlacedRecord, RecordsBody};
use runlog_model::workspaces::Right;
use runlog_model::{Record, RecordOrder, Run, Severity, TimeRange};
use runlog_store::logs::{CaselessText, CaselessTextError, RecordFilter, RecordReader};
use runlog_store::runs::{LogMetadata, RunBrief};

use crate::app::App;
use crate::auth::rights;
use crate::auth::token::Authenticated;
use crate::http::error::{ApiError, ApiResult};
use crate::http::parameter_types::{List, Number, NumberOr, Texts, words};
use crate::http::parameters::{Query, query_parameters};
use crate::limits;

/// `GET /runlog/v1/runs/{id}/summary`: returns a run, its task, workspace and environment, and the state of its log.
#[utoipa::path(
    get,
    path = "/runlog/v1/runs/{id}/summary",
    tag = "web",
    params(("id" = runlog_model::RunId, Path, description = "ID")),
    responses((status = 200, description = "The run", body = RunWithLog))
)]
pub(crate) async fn summary(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> ApiResult<Json<RunWithLog>> {
    let run = rights::run(app.store(), &caller, &id, &[Right::View]).await?;
    let task = app.store().workspaces().task(run.task_id).await?;
    let task = task.ok_or_else(|| ApiError::not_found(format!("there is no task {}", run.task_id)))?;
    let facts = app.store().runs().log_metadata(run.id).await?;
    let setback = app.store().collection().last_failure(run.id, run.final_since.is_some()).await?;
    let mut log = log_of(&app, &run, &facts, setback);
    if run.final_since.is_none() {
        log.awaited_from = app.store().collection().awaited_from(run.id).await?;
    }
    if log.state == LogProgress::Empty {
        log.absence = app.store().collection().log_absence(&run).await?.map(Into::into);
    }
    Ok(Json(RunWithLog {
        run_id: run.id,
        task_id: run.task_id,
        task_name: task.name,
        task_version: run.task_version,
        workspace_id: run.workspace_id,
        workspace_name: task.workspace.name,
        environment_name: task.workspace.environment.name,
        status: run.status.coarse(),
        execution_status: run.status,
        execution_type: run.execution_type,
        trigger_timestamp: run.triggered_at,
        start_timestamp: run.started_at,
        finish_timestamp: run.finished_at,
        user_id: run.user_id,
        user_type: run.user_type,
        error_message: run.error_message,
        error_type: run.error_type,
        misfired_execution_reason: run.misfired_reason,
        log,
        component_metrics: app.store().components().count(run.id).await?,
    }))
}

fn log_of(app: &App, run: &Run, facts: &LogMetadata, setback: Option<LogSetback>) -> LogBody {
    let state = match (run.records, run.status.is_final()) {
        _ if setback.is_some() => LogProgress::Incomplete,
        (0, _) if facts.deletions > 0 => LogProgress::Deleted,
        (0, false) => LogProgress::Waiting,
        (_, false) => LogProgress::Going,
        (_, true) if !app.store().runs().is_settled(run) => LogProgress::Settling,
        (0, true) => LogProgress::Empty,
        (_, true) => LogProgress::Settled,
    };
    LogBody {
        state,
        records: run.records,
        severities: run.severities,
        stored_bytes: facts.stored_bytes,
        is_held: facts.is_held,
        first_timestamp: facts.first,
        last_timestamp: facts.last,
        setback,
        absence: None,
        awaited_from: None,
    }
}

query_parameters! {
    /// Parameters of records by position.
    pub(crate) struct RecordsQuery {
        /// Position of the first record, starting at 0.
        from: NumberOr<0, { u64::MAX }, 0> = "from",
        /// With a filter: the position after the last record to scan; with `DESC`, the position of the last one itself.
        to: Option<Number<0, { u64::MAX }>> = "to",
        /// Maximum number of records.
        count: NumberOr<1, { limits::RECORDS_MAX }, 200> = "count",
        /// Only records with these severities: repeated, comma-separated, or both; `OTHER` for unknown ones.
        severity: List<Severity> = "severity",
        /// Only records whose message contains this text, in any case and Unicode normal form; repeated: all of them, in
        /// this order. A single text may also be part of the name of the component.
        texts: Texts = "q",
        /// With a filter: scan forwards (`ASC`, the default) or backwards (`DESC`); case-insensitive.
        order: Option<RecordOrder> = "order",
    }
}

query_parameters! {
    /// Parameters of the distribution of records over time.
    pub(crate) struct HistogramQuery {
        ..range: TimeRange,
        /// Number of buckets.
        buckets: NumberOr<1, { limits::HISTOGRAM_BUCKETS_MAX }, 120> = "buckets",
    }
}

query_parameters! {
    /// Parameters of the whole log.
    pub(crate) struct WholeQuery {
        ..range: TimeRange,
        /// `text` (the default), `ndjson` or `json`.
        format: Option<DownloadFormat> = "format",
    }
}

words! {
    /// The format of a whole log.
    pub(crate) enum DownloadFormat {
        /// One line per record, with its time, severity and message.
        Text = "text",
        /// One JSON object per line.
        Ndjson = "ndjson",
        /// An array of JSON objects.
        Json = "json",
    }
}

/// `GET /runlog/v1/runs/{id}/records`: returns records by position, or, with a filter, matching records in bounded
/// steps.
#[utoipa::path(
    get,
    path = "/runlog/v1/runs/{id}/records",
    tag = "web",
    params(("id" = runlog_model::RunId, Path, description = "ID")),
    responses((status = 200, description = "Records with their positions", body = RecordsBody))
)]
pub(crate) async fn records(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    Query(query): Query<RecordsQuery>,
) -> ApiResult<Json<RecordsBody>> {
    let (from, to, count) = (query.from.0, query.to.map(|to| to.0), query.count.0);
    let order = query.order.unwrap_or(RecordOrder::Asc);
    let severities: HashSet<Severity> = query.severity.0.into_iter().collect();
    let caseless =
        |text: &String| text.parse().map_err(|error: CaselessTextError| ApiError::invalid(format!("q: {error}")));
    let texts = query.texts.0.iter().map(caseless).collect::<ApiResult<Vec<CaselessText>>>()?;
    let run = rights::run_brief(app.store(), &caller, &id, &Right::READ_LOGS).await?;
    let body = if severities.is_empty() && texts.is_empty() {
        let _permit = app.page_reads().acquire().await?;
        let found = app.store().logs().records_from(run.id, from, count).await?;
        let scanned = found.records.len() as u64;
        let next = from.saturating_add(scanned);
        let items = found.records.into_iter().zip(from..).map(|(record, index)| PlacedRecord { index, record });
        RecordsBody {
            total: found.total,
            scanned,
            next: (scanned > 0 && next < found.total).then_some(next),
            items: items.collect(),
        }
    } else {
        let query = RecordFilter { from, to, order, severities, texts, count: count.saturating_as::<usize>() };
        let _permit = app.searches().acquire().await?;
        let found = app.store().logs().find_records(run.id, &query).await?;
        let items = found.records.into_iter().map(|(index, record)| PlacedRecord { index, record });
        RecordsBody { total: found.total, scanned: found.scanned, next: found.next, items: items.collect() }
    };
    app.metrics().records_out.inc_by(body.items.len() as u64);
    Ok(Json(body))
}

/// `GET /runlog/v1/runs/{id}/histogram`: counts records over time by severity.
#[utoipa::path(
    get,
    path = "/runlog/v1/runs/{id}/histogram",
    tag = "web",
    params(("id" = runlog_model::RunId, Path, description = "ID")),
    responses((status = 200, description = "Counts; without a start if there are no records", body = HistogramBody))
)]
pub(crate) async fn histogram(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    Query(query): Query<HistogramQuery>,
) -> ApiResult<Json<HistogramBody>> {
    let run = rights::run_brief(app.store(), &caller, &id, &Right::READ_LOGS).await?;
    let _permit = app.searches().acquire().await?;
    Ok(Json(app.store().logs().histogram(run.id, query.range, query.buckets.0).await?))
}

/// `GET /runlog/v1/runs/{id}/log`: streams the whole current log, oldest record first.
#[utoipa::path(
    get,
    path = "/runlog/v1/runs/{id}/log",
    tag = "web",
    params(("id" = runlog_model::RunId, Path, description = "ID")),
    responses((status = 200, description = "The log", content((String = "text/plain"), (String = "application/x-ndjson"), (serde_json::Value = "application/json"))))
)]
pub(crate) async fn whole(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    Query(query): Query<WholeQuery>,
) -> ApiResult<Response> {
    let form = query.format.unwrap_or(DownloadFormat::Text);
    let (extension, content_type) = match form {
        DownloadFormat::Text => ("log", "text/plain; charset=utf-8"),
        DownloadFormat::Ndjson => ("ndjson", "application/x-ndjson"),
        DownloadFormat::Json => ("json", "application/json"),
    };
    let run = rights::run_brief(app.store(), &caller, &id, &Right::READ_LOGS).await?;
    let permit = app.downloads().acquire().await?;
    app.metrics().records_out.inc_by(run.records);
    let reader = app.store().logs().read_records(run.id, query.range, RecordOrder::Asc).await?;
    // The permit is released at the end of the response, or when the client disconnects.
    let part = (Some((reader, permit)), form, true);
    let parts = stream::try_unfold(part, |(reader, form, is_first)| async move {
        let Some((mut reader, permit)) = reader else { return Ok::<_, runlog_store::Error>(None) };
        let (bytes, reader) = next_part(&mut reader, form, is_first)
            .await?
            .map_or_else(|| (end_of(form, is_first), None), |bytes| (bytes, Some((reader, permit))));
        Ok(Some((Bytes::from(bytes), (reader, form, false))))
    });
    // The first part is read before the response starts: an outage results in an error status, not in a truncated
    // response.
    let mut parts = Box::pin(parts);
    let first = parts.try_next().await?;
    let parts = stream::iter(first.map(Ok)).chain(parts);
    let name = format!("attachment; filename=\"{}.{extension}\"", file_stem(&app, &run).await?);
    let headers = [(header::CONTENT_TYPE, content_type.to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, Body::from_stream(parts)).into_response())
}

/// The name of the file of a log, without its extension: the task, the start of the run and the first digits of its ID, as
/// in `nightly-orders_2026-11-23T19-36-00Z_1b0e4d52`.
async fn file_stem(app: &App, brief: &RunBrief) -> ApiResult<String> {
    let id = brief.id.to_string();
    let short = &id[..limits::FILE_NAME_ID_CHARS];
    let task = app.store().workspaces().task(brief.task_id).await?.map(|task| task.name).unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let task: String = task.chars().map(|c| if is_plain(c) { c } else { '-' }).collect();
    let task: String = task.trim_matches(['-', '.']).chars().take(limits::FILE_NAME_TASK_CHARS).collect();
    let run = app.store().runs().get(brief.id).await?;
    let started = run.and_then(|run| run.started_at.or(Some(run.triggered_at)));
    let started = started.map(|time| time.to_seconds_text().replace(':', "-")).unwrap_or_default();
    let parts = [task.as_str(), &started, short];
    Ok(parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_"))
}

/// The next records in this format; none after the last.
async fn next_part(
    reader: &mut RecordReader,
    form: DownloadFormat,
    is_first: bool,
) -> runlog_store::Result<Option<Vec<u8>>> {
    let Some(records) = reader.next().await? else { return Ok(None) };
    let mut bytes = Vec::with_capacity(records.len() * 160);
    for (number, record) in records.iter().enumerate() {
        // Writing to memory cannot fail, and a record can always be serialized.
        let _ = match form {
            DownloadFormat::Text => TextLine::from(record).write_to(&mut bytes),
            DownloadFormat::Ndjson => write_json(&mut bytes, b"", record, b"\n"),
            DownloadFormat::Json if is_first && number == 0 => write_json(&mut bytes, b"[\n", record, b""),
            DownloadFormat::Json => write_json(&mut bytes, b",\n", record, b""),
        };
    }
    Ok(Some(bytes))
}

fn write_json(bytes: &mut Vec<u8>, before: &[u8], record: &Record, after: &[u8]) -> std::io::Result<()> {
    bytes.extend_from_slice(before);
    serde_json::to_writer(&mut *bytes, record)?;
    bytes.extend_from_slice(after);
    Ok(())
}

fn end_of(form: DownloadFormat, is_empty: bool) -> Vec<u8> {
    match (form, is_empty) {
        (DownloadFormat::Json, true) => b"[]\n".to_vec(),
        (DownloadFormat::Json, false) => b"\n]\n".to_vec(),
        (DownloadFormat::Text | DownloadFormat::Ndjson, _) => Vec::new(),
    }
}
