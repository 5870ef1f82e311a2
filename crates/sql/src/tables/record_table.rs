//! The table `records`: every record of every log, scanned by the store.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use runlog_model::{RunId, TaskId, TimeRange, Timestamp, WorkspaceId};
use runlog_store::query::{Query, ScanColumn, ScanFilter, scan_schema};

use crate::tables::conditions::{Condition, condition};
use crate::tables::record_scan::RecordScan;

/// The records of the workspaces that a caller may read.
#[derive(Debug)]
pub(crate) struct RecordTable {
    archive: Query,
    schema: SchemaRef,
    readable: Option<Vec<WorkspaceId>>,
    streams: usize,
}

impl RecordTable {
    pub(crate) const NAME: &'static str = "records";

    pub(crate) fn new(archive: &Query, readable: Option<Vec<WorkspaceId>>, streams: usize) -> Self {
        Self { archive: archive.clone(), schema: scan_schema(&ScanColumn::ALL), readable, streams: streams.max(1) }
    }
}

#[async_trait]
impl TableProvider for RecordTable {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let narrows = |filter: &&Expr| match condition(filter) {
            Some(condition) if narrow(&mut ScanFilter::default(), &condition) => TableProviderFilterPushDown::Exact,
            _ if is_of_run(filter) => TableProviderFilterPushDown::Inexact,
            _ => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(narrows).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut filter = ScanFilter { workspace_ids: self.readable.clone(), ..ScanFilter::default() };
        let mut of_runs = Vec::new();
        for expr in filters {
            let is_exact = condition(expr).is_some_and(|condition| narrow(&mut filter, &condition));
            if !is_exact {
                of_runs.push(expr);
            }
        }
        let columns: Vec<ScanColumn> = match projection {
            Some(chosen) => chosen.iter().map(|index| ScanColumn::ALL[*index]).collect(),
            None => ScanColumn::ALL.to_vec(),
        };
        let scan = RecordScan::new(&self.archive, filter, columns, self.streams);
        let schema = DFSchema::try_from(Arc::clone(scan.columns()))?;
        // A condition that cannot be evaluated here is evaluated for each row by the step above.
        let of_runs = of_runs.into_iter().filter_map(|expr| state.create_physical_expr(expr.clone(), &schema).ok());
        Ok(Arc::new(scan.with_run_conditions(of_runs.collect())))
    }
}

/// True if a condition depends only on the run of a record, and always has the same result for it.
fn is_of_run(expr: &Expr) -> bool {
    let columns = expr.column_refs();
    let are_of_run = columns.iter().all(|column| matches!(column.name(), "run_id" | "task_id" | "workspace_id"));
    let is_query = |expr: &Expr| matches!(expr, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_));
    !columns.is_empty() && are_of_run && !expr.is_volatile() && !expr.exists(|expr| Ok(is_query(expr))).unwrap_or(true)
}

/// Adds a condition to a filter; false if the filter cannot express it.
fn narrow(filter: &mut ScanFilter, condition: &Condition) -> bool {
    match condition {
        Condition::Texts { column, texts } => match column.as_str() {
            "run_id" => narrow_list(&mut filter.run_ids, ids::<RunId>(texts)),
            "task_id" => narrow_list(&mut filter.task_ids, ids::<TaskId>(texts)),
            "workspace_id" => narrow_list(&mut filter.workspace_ids, ids::<WorkspaceId>(texts)),
            "severity" => narrow_list(&mut filter.severities, texts.clone()),
            _ => return false,
        },
        Condition::Between { column, low, high } if column == "time" => {
            filter.range = narrowed_range(filter.range, *low, *high);
        }
        Condition::Holds { column, part } if column == "message" => filter.message_parts.push(part.clone()),
        Condition::Between { .. } | Condition::Holds { .. } => return false,
    }
    true
}

fn narrow_list<T: PartialEq>(list: &mut Option<Vec<T>>, wanted: Vec<T>) {
    *list = Some(match list.take() {
        None => wanted,
        Some(allowed) => allowed.into_iter().filter(|item| wanted.contains(item)).collect(),
    });
}

/// Returns the texts that are IDs in the form of the archive; no row matches other texts.
fn ids<T: std::str::FromStr + ToString>(texts: &[String]) -> Vec<T> {
    let id = |text: &String| text.parse().ok().filter(|id: &T| id.to_string() == *text);
    texts.iter().filter_map(id).collect()
}

fn narrowed_range(range: TimeRange, low: i64, high: i64) -> TimeRange {
    // No record is outside of the range of timestamps.
    let (least, greatest) = (Timestamp::MIN.as_millis(), Timestamp::MAX.as_millis());
    if low > high || low > greatest || high < least {
        return TimeRange { start: Some(Timestamp::MAX), end: Some(Timestamp::MIN) };
    }
    let start = (low > least).then(|| Timestamp::clamped(low));
    let end = (high < greatest).then(|| Timestamp::clamped(high));
    TimeRange { start: range.start.max(start), end: range.end.into_iter().chain(end).min() }
}
