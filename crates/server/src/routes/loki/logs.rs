//! Log queries: a search whose filter is the pipeline of the query.

use std::sync::Arc;

use axum::Json;
use axum::http::StatusCode;
use runlog_logql::{LogExpr, Needs, Pipeline};
use runlog_model::TimeRange;
use runlog_store::accounts::Caller;
use runlog_store::query::{RecordFilter, RecordView, ScanRun, SearchOrder, SearchPage, SearchQuery, SearchText};
use serde_json::Value;
use tokio::time::Instant;

use crate::app::App;
use crate::http::error::{ApiError, ApiResult};
use crate::routes::loki::answers::{self, Work};
use crate::routes::loki::entries::{Found, all_needs, entry_of};
use crate::routes::loki::parameters::now_ns;
use crate::routes::loki::scope::SelectedRuns;
use crate::routes::loki::within_limits::{QUERY_TIME_MAX, QueryCancellation, compute};

/// Most text of the records of an answer, as they are stored, and with the lines and labels that the query gives them.
/// Unit: bytes.
const BYTES_MAX: usize = 32 << 20;

/// Maximum size of the labels of each record. Unit: bytes.
const LABELS_BYTES_FREE: usize = 1 << 10;

/// Maximum number of runs in the matcher that an error suggests, to exclude them.
const RUNS_LEFT_OUT_MAX: usize = 5;

/// Which records are wanted, and how many.
pub(super) struct Wanted {
    /// None if no time matches.
    pub(super) range: Option<TimeRange>,
    pub(super) order: SearchOrder,
    pub(super) limit: usize,
    /// The least distance of two records. Unit: milliseconds.
    pub(super) interval_ms: Option<i64>,
}

/// The pipeline of a query as the filter of a search.
pub(super) struct LogFilter {
    pub(super) selected: SelectedRuns,
    pipeline: Pipeline,
    /// The fields that the pipeline reads to filter; records that match have all fields.
    needs: Needs,
    cancellation: QueryCancellation,
}

impl LogFilter {
    pub(super) fn new(app: &App, log: &LogExpr, selected: SelectedRuns, cancellation: QueryCancellation) -> Self {
        Self { selected, pipeline: Pipeline::new(log, now_ns(app)), needs: log.needs(), cancellation }
    }
}

impl std::fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogFilter").finish_non_exhaustive()
    }
}

impl RecordFilter for LogFilter {
    fn wants_run(&self, run: &ScanRun<'_>) -> bool {
        self.selected.wants_run(run)
    }

    fn matches(&self, record: &RecordView<'_>) -> bool {
        !self.cancellation.is_set()
            && self.pipeline.may_pass(record.message.unwrap_or_default())
            && self.pipeline.process(&mut entry_of(&self.selected.task_names, record, &self.needs))
    }
}

/// The records that were found, in the order of the search.
pub(super) struct Records {
    pub(super) filter: Arc<LogFilter>,
    pub(super) found: Vec<Found>,
    pub(super) work: Work,
}

/// Finds the records of a query.
pub(super) async fn find(app: &App, caller: &Caller, log: &LogExpr, wanted: Wanted) -> ApiResult<Records> {
    let begun = Instant::now();
    let selection = log.selection();
    let selected = SelectedRuns::new(app, caller, selection.matchers()).await?;
    let own = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect();
    let cancellation = QueryCancellation::default();
    let _on_drop = cancellation.on_drop();
    let filter = Arc::new(LogFilter::new(app, log, selected, cancellation));
    let mut search = SearchQuery {
        workspace_ids: filter.selected.workspace_ids.clone(),
        task_ids: filter.selected.task_ids.clone(),
        run_ids: filter.selected.run_ids.clone(),
        severities: filter.selected.severities.clone(),
        message_parts: own(selection.required_texts()),
        caseless_parts: own(selection.required_caseless_texts()),
        filter: Some(filter.clone()),
        range: wanted.range.unwrap_or(TimeRange::ALL),
        order: wanted.order,
        bytes_max: BYTES_MAX,
        all_fields: true,
        ..SearchQuery::newest(SearchText::default(), wanted.limit, QUERY_TIME_MAX)
    };
    let mut records = Records { filter, found: Vec::new(), work: Work::default() };
    let (mut bytes, mut kept_ms) = (0, None);
    while wanted.range.is_some() && search.limit > 0 {
        let page = Box::pin(app.store().query().search(search.clone())).await?;
        records.work.records += page.scanned_records;
        records.work.bytes += page.scanned_bytes;
        if page.unreadable.records > 0 {
            return Err(unreadable(&page));
        }
        let mut items = page.items;
        if let Some(interval_ms) = wanted.interval_ms {
            items.retain(|item| {
                let time_ms = item.time.as_millis();
                let is_kept = kept_ms.is_none_or(|kept: i64| time_ms.abs_diff(kept) >= interval_ms.unsigned_abs());
                kept_ms = if is_kept { Some(time_ms) } else { kept_ms };
                is_kept
            });
        }
        search.limit -= items.len();
        bytes += items.iter().map(|item| item.message.as_ref().map_or(0, String::len)).sum::<usize>();
        if bytes > BYTES_MAX {
            let message = format!("the records take more than {} MiB; use a lower limit", BYTES_MAX >> 20);
            return Err(ApiError::invalid(message));
        }
        records.found.extend(items.into_iter().map(Found::new));
        search.after = page.next;
        if search.after.is_none() {
            break;
        }
    }
    records.work.seconds = begun.elapsed().as_secs_f64();
    Ok(records)
}

/// 500: some records cannot be read. It names their object and runs.
pub(super) fn unreadable(page: &SearchPage) -> ApiError {
    let object = page.unreadable.objects.first().map_or("", String::as_str);
    let message = format!(
        "{} records cannot be read: object {object} is damaged or missing; `runlog archive verify` lists the affected runs \
         and what to do",
        page.unreadable.records
    );
    let message = match page.unreadable.runs.len() {
        1..=RUNS_LEFT_OUT_MAX => {
            let runs: Vec<String> = page.unreadable.runs.iter().map(ToString::to_string).collect();
            format!("{message}; to query the other logs, add run_id!~\"{}\" to the selector", runs.join("|"))
        }
        _ => message,
    };
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message)
}

pub(super) async fn answer(
    app: &App,
    caller: &Caller,
    log: &LogExpr,
    wanted: Wanted,
    is_categorized: bool,
) -> ApiResult<Json<Value>> {
    let records = find(app, caller, log, wanted).await?;
    let answering = move |cancellation: &QueryCancellation| -> ApiResult<Value> {
        let entries = records.entries(cancellation)?;
        Ok(answers::of_entries(&entries, is_categorized, records.work))
    };
    compute(answering).await.map(Json)
}

impl Records {
    /// The records with the lines and labels that the pipeline gives them; an error when these are too large.
    pub(super) fn entries(&self, cancellation: &QueryCancellation) -> ApiResult<Vec<runlog_logql::Entry<'_>>> {
        let (mut entries, mut bytes) = (Vec::new(), 0_usize);
        for found in &self.found {
            if cancellation.is_set() {
                break;
            }
            let mut entry = entry_of(&self.filter.selected.task_names, &found.view(), &all_needs());
            if !self.filter.pipeline.process(&mut entry) {
                continue;
            }
            let labels: usize = entry.labels.iter().map(|(name, value, _)| name.len() + value.len()).sum();
            bytes = bytes.saturating_add(entry.line.len() + labels);
            if bytes > BYTES_MAX + self.found.len() * LABELS_BYTES_FREE {
                let message = format!(
                    "the records take more than {} MiB with what the stages of the query make of them; use a lower \
                     limit, or stages that make shorter lines and labels",
                    BYTES_MAX >> 20
                );
                return Err(ApiError::invalid(message));
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}
