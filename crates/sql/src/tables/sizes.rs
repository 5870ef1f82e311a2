//! Estimates of how many rows a table has, so that a join keeps the rows of the smaller side in memory and uses them to
//! skip rows of the larger side. Only the order of the estimates matters: without them, the planner keeps the side that
//! the query names first, which for records would be gigabytes.

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;
use runlog_model::TimeRange;
use runlog_store::query::{CatalogView, ScanFilter};

/// All tables are estimated as those of an archive of medium size.
const RECORDS: usize = 1_000_000_000;
const RECORDS_OF_A_TASK: usize = 10_000_000;
const RECORDS_OF_A_RUN: usize = 20_000;
/// A condition on the time, the severity or the message of records keeps one in this many records.
const KEPT_BY_A_CONDITION: usize = 10;

/// Estimates the number of records that pass a filter.
pub(crate) fn records(filter: &ScanFilter) -> usize {
    let ScanFilter { workspace_ids: _, task_ids, run_ids, range, severities, message_parts } = filter;
    let of_runs = run_ids.as_ref().map(|runs| runs.len().saturating_mul(RECORDS_OF_A_RUN));
    let of_tasks = task_ids.as_ref().map(|tasks| tasks.len().saturating_mul(RECORDS_OF_A_TASK));
    let records = [of_runs, of_tasks].into_iter().flatten().fold(RECORDS, usize::min);
    let conditions = [*range != TimeRange::ALL, severities.is_some(), !message_parts.is_empty()];
    let kept = |records, is_given| if is_given { records / KEPT_BY_A_CONDITION } else { records };
    conditions.into_iter().fold(records, kept)
}

/// Estimates the number of rows of a table of the catalog.
pub(crate) fn rows(table: CatalogView) -> usize {
    match table {
        CatalogView::Tasks => 1_000,
        CatalogView::Problems => 1_000,
        // Small enough for every thread of a join to keep the rows in memory.
        CatalogView::Runs => 100_000,
        CatalogView::PlanExecutions => 20_000,
        CatalogView::Deliveries => 200_000,
        CatalogView::PlanSteps => 100_000,
        CatalogView::TenantAuditLogs => 1_000_000,
        CatalogView::ComponentMetrics => 2_000_000,
    }
}

pub(crate) fn statistics(schema: &SchemaRef, rows: usize) -> Statistics {
    Statistics { num_rows: Precision::Inexact(rows), ..Statistics::new_unknown(schema) }
}
