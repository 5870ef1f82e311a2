//! Log queries: a search whose filter is the pipeline of the query.

use std::sync::Arc;

use axum::Json;
use runlog_logql::{LogExpr, Needs, Pipeline};
use runlog_model::TimeRange;
use runlog_store::accounts::Caller;
use runlog_store::query::{RecordFilter, RecordView, ScanRun, SearchOrder, SearchQuery, SearchText};
use serde_json::Value;
use tokio::time::Instant;

use crate::app::App;
use crate::routes::loki::answers::{self, Work};
use crate::routes::loki::entries::{Found, all_needs, entry_of};
use crate::routes::loki::error::{LokiError, LokiResult};
use crate::routes::loki::places::Selected;
use crate::routes::loki::within_limits::QUERY_TIME_MAX;

/// Most text of the records of an answer. Unit: bytes.
const BYTES_MAX: usize = 32 << 20;

/// Which records are wanted, and how many.
pub(super) struct Wanted {
    /// None for no time at all.
    pub(super) range: Option<TimeRange>,
    pub(super) order: SearchOrder,
    pub(super) limit: usize,
}

/// The pipeline of a query as the filter of a search.
pub(super) struct LogFilter {
    pub(super) selected: Selected,
    pipeline: Pipeline,
    /// What the pipeline reads to decide; the records that are found have everything.
    needs: Needs,
}

impl LogFilter {
    pub(super) fn new(log: &LogExpr, selected: Selected) -> Self {
        Self { selected, pipeline: Pipeline::new(log), needs: log.needs() }
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
        self.pipeline.may_pass(record.message.unwrap_or_default())
            && self.pipeline.process(&mut entry_of(&self.selected.places, record, &self.needs))
    }
}

/// The records that were found, in the order of the search.
pub(super) struct Records {
    pub(super) filter: Arc<LogFilter>,
    pub(super) found: Vec<Found>,
    pub(super) work: Work,
}

/// Finds the records of a query.
pub(super) async fn find(app: &App, caller: &Caller, log: &LogExpr, wanted: Wanted) -> LokiResult<Records> {
    let begun = Instant::now();
    let selection = log.selection();
    let selected = Selected::new(app, caller, selection.matchers()).await?;
    let own = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect();
    let filter = Arc::new(LogFilter::new(log, selected));
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
    let mut bytes = 0;
    while wanted.range.is_some() && search.limit > 0 {
        let page = Box::pin(app.store().query().search(search.clone())).await?;
        records.work.records += page.scanned_records;
        records.work.bytes += page.scanned_bytes;
        if page.unreadable_records > 0 {
            let count = page.unreadable_records;
            return Err(LokiError(crate::http::error::ApiError::new(
                axum::http::StatusCode::INTERNAL_SERVER_ERROR,
                format!(
                    "{count} records cannot be read because their object is damaged or missing; `runlog archive verify` lists the affected runs and what to do"
                ),
            )));
        }
        search.limit -= page.items.len();
        bytes += page.items.iter().map(|item| item.message.as_ref().map_or(0, String::len)).sum::<usize>();
        if bytes > BYTES_MAX {
            let message = format!("the records take more than {} MiB; use a lower limit", BYTES_MAX >> 20);
            return Err(LokiError::invalid(message));
        }
        records.found.extend(page.items.into_iter().map(Found::new));
        search.after = page.next;
        if search.after.is_none() {
            break;
        }
    }
    records.work.seconds = begun.elapsed().as_secs_f64();
    Ok(records)
}

pub(super) async fn answer(
    app: &App,
    caller: &Caller,
    log: &LogExpr,
    wanted: Wanted,
    is_categorized: bool,
) -> LokiResult<Json<Value>> {
    let records = find(app, caller, log, wanted).await?;
    let entries = records.entries();
    Ok(Json(answers::of_entries(&entries, is_categorized, records.work)))
}

impl Records {
    /// The records with the lines and labels that the pipeline gives them.
    pub(super) fn entries(&self) -> Vec<runlog_logql::Entry<'_>> {
        let entry = |found| {
            let mut entry = entry_of(&self.filter.selected.places, &Found::view(found), &all_needs());
            self.filter.pipeline.process(&mut entry).then_some(entry)
        };
        self.found.iter().filter_map(entry).collect()
    }
}
