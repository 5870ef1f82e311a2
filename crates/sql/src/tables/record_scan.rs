//! The step of a plan that reads records, and receives from the steps above it the conditions on rows that they still
//! need.
//!
//! In a query for the newest ten records, or a join with a few runs, it becomes known only during execution which
//! records are irrelevant. Such conditions change while the query runs; the scan evaluates them before each unit that
//! it reads.

use std::any::Any;
use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{Array, AsArray, BooleanArray, LargeStringArray, RecordBatch, new_null_array};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::{ScalarValue, Statistics};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, IsNullExpr, Literal};
use datafusion::physical_expr::split_conjunction;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr_common::physical_expr::snapshot_physical_expr;
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation, PushedDown,
};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties};
use runlog_model::{TimeRange, Timestamp};
use runlog_store::query::{DynamicFilter, Query, Scan, ScanColumn, ScanFilter, ScanRun, ScanStream, scan_schema};

use crate::tables::{sizes, source};

/// Reads records.
#[derive(Clone)]
pub(crate) struct RecordScan {
    archive: Query,
    filter: ScanFilter,
    columns: Vec<ScanColumn>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    /// The query's conditions on the run, and the current conditions of the steps above.
    wanted: Vec<Arc<dyn PhysicalExpr>>,
    rounds: Arc<Mutex<Option<Round>>>,
}

/// One execution of the plan: a part of a recursive query is executed several times.
struct Round {
    scan: Scan,
    /// The partitions whose stream was already created.
    taken: HashSet<usize>,
}

impl RecordScan {
    pub(crate) fn new(archive: &Query, filter: ScanFilter, columns: Vec<ScanColumn>, streams: usize) -> Self {
        let schema = scan_schema(&columns);
        let properties = source::properties(&schema, streams);
        Self {
            archive: archive.clone(),
            filter,
            columns,
            schema,
            properties,
            wanted: Vec::new(),
            rounds: Arc::default(),
        }
    }

    /// Returns the columns of the scan.
    pub(crate) fn columns(&self) -> &SchemaRef {
        &self.schema
    }

    /// Adds conditions on columns of the run: runs excluded by one of them are not read.
    pub(crate) fn with_run_conditions(mut self, conditions: Vec<Arc<dyn PhysicalExpr>>) -> Self {
        self.wanted.extend(conditions);
        self
    }

    fn stream(&self, partition: usize) -> ScanStream {
        let mut round = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(round) = round.as_mut()
            && round.taken.insert(partition)
        {
            return round.scan.stream();
        }
        let mut scan = self.archive.scan(self.filter.clone(), &self.columns);
        if !self.wanted.is_empty() {
            scan = scan.with_dynamic_filter(self.dynamic_filter());
        }
        let stream = scan.stream();
        *round = Some(Round { scan, taken: HashSet::from([partition]) });
        stream
    }

    fn dynamic_filter(&self) -> Arc<DynamicFilter> {
        let (wanted, schema) = (self.wanted.clone(), Arc::clone(&self.schema));
        Arc::new(move |runs| narrowed(&wanted, &schema, runs).unwrap_or_else(|_| (TimeRange::ALL, Vec::new())))
    }
}

impl fmt::Debug for RecordScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordScan").field("filter", &self.filter).finish_non_exhaustive()
    }
}

impl DisplayAs for RecordScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<&str> = self.columns.iter().map(|column| column.name()).collect();
        write!(f, "RecordScan: columns=[{}]", columns.join(", "))?;
        let ScanFilter { workspace_ids: _, task_ids, run_ids, range, severities, message_parts } = &self.filter;
        let lists = [
            ("runs", run_ids.as_ref().map(Vec::len)),
            ("tasks", task_ids.as_ref().map(Vec::len)),
            ("severities", severities.as_ref().map(Vec::len)),
        ];
        for (name, length) in lists {
            if let Some(length) = length {
                write!(f, ", {name}={length}")?;
            }
        }
        for (name, end) in [("from", range.start), ("to", range.end)] {
            if let Some(end) = end {
                write!(f, ", {name}={end}")?;
            }
        }
        if !message_parts.is_empty() {
            write!(f, ", message holds {message_parts:?}")?;
        }
        for wanted in &self.wanted {
            write!(f, ", wanted: {wanted}")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for RecordScan {
    fn name(&self) -> &'static str {
        "RecordScan"
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        Ok(source::stream_of(&self.schema, self.stream(partition)))
    }

    fn partition_statistics(&self, _: Option<usize>) -> Result<Statistics> {
        Ok(sizes::statistics(&self.schema, sizes::records(&self.filter)))
    }

    fn handle_child_pushdown_result(
        &self,
        phase: FilterPushdownPhase,
        offered: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        let filters: Vec<Arc<dyn PhysicalExpr>> =
            offered.parent_filters.into_iter().map(|offered| offered.filter).collect();
        // The operator that provides a condition checks each row again; only rows that are certainly irrelevant are
        // skipped here.
        let answers = FilterPushdownPropagation::with_parent_pushdown_result(vec![PushedDown::No; filters.len()]);
        if filters.is_empty() || !matches!(phase, FilterPushdownPhase::Post) {
            return Ok(answers);
        }
        // A separate step, with the conditions of this position in the plan.
        let wanted = self.wanted.iter().cloned().chain(filters).collect();
        let node = Self { wanted, rounds: Arc::default(), ..self.clone() };
        Ok(answers.with_updated_node(Arc::new(node)))
    }
}

/// Evaluates the current conditions: returns a time range, and which of the given runs are needed.
fn narrowed(wanted: &[Arc<dyn PhysicalExpr>], schema: &Schema, runs: &[ScanRun<'_>]) -> Result<(TimeRange, Vec<bool>)> {
    let mut bounds = Bounds::default();
    let mut keeps = vec![true; runs.len()];
    for condition in wanted {
        let now = snapshot_physical_expr(Arc::clone(condition))?;
        for part in split_conjunction(&now) {
            bounds = bounds.both(Bounds::of(part));
            if let Some(wanted) = wanted_runs(part, schema, runs)? {
                keeps.iter_mut().zip(wanted.iter()).for_each(|(keep, wanted)| *keep &= wanted == Some(true));
            }
        }
    }
    Ok((bounds.range(), keeps))
}

/// The runs selected by a condition, if it depends only on properties of the run.
fn wanted_runs(
    condition: &Arc<dyn PhysicalExpr>,
    schema: &Schema,
    runs: &[ScanRun<'_>],
) -> Result<Option<BooleanArray>> {
    let columns = collect_columns(condition);
    let is_of_run = |column: &Column| matches!(column.name(), "run_id" | "task_id" | "workspace_id");
    if columns.is_empty() || !columns.iter().all(is_of_run) {
        return Ok(None);
    }
    let fields: Vec<Field> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let values = fields.iter().map(|field| {
        let texts = |text: fn(&ScanRun<'_>) -> String| {
            Arc::new(LargeStringArray::from_iter_values(runs.iter().map(text))) as Arc<dyn Array>
        };
        match field.name().as_str() {
            "run_id" => texts(|run| run.run_id.to_owned()),
            "task_id" => texts(|run| run.task_id.to_owned()),
            "workspace_id" => texts(|run| run.workspace_id.to_owned()),
            _ => new_null_array(field.data_type(), runs.len()),
        }
    });
    let values = values.collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), values)?;
    let wanted = condition.evaluate(&batch)?.into_array(runs.len())?;
    Ok(wanted.as_boolean_opt().cloned())
}

fn is_time(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.as_any().downcast_ref::<Column>().is_some_and(|column| column.name() == "time")
}

/// The time range of a condition; a bound is none if the condition does not restrict it. Unit: epoch milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Bounds {
    low: Option<i64>,
    high: Option<i64>,
}

impl Bounds {
    fn of(condition: &Arc<dyn PhysicalExpr>) -> Self {
        if condition.as_any().downcast_ref::<IsNullExpr>().is_some_and(|null| is_time(null.arg())) {
            // Each record has a time.
            return Self { low: Some(i64::MAX), high: Some(i64::MIN) };
        }
        let Some(binary) = condition.as_any().downcast_ref::<BinaryExpr>() else { return Self::default() };
        match binary.op() {
            Operator::And => Self::of(binary.left()).both(Self::of(binary.right())),
            Operator::Or => Self::of(binary.left()).either(Self::of(binary.right())),
            op => Self::compared(binary.left(), *op, binary.right())
                .or_else(|| Self::compared(binary.right(), op.swap()?, binary.left()))
                .unwrap_or_default(),
        }
    }

    fn compared(left: &Arc<dyn PhysicalExpr>, op: Operator, right: &Arc<dyn PhysicalExpr>) -> Option<Self> {
        let literal = right.as_any().downcast_ref::<Literal>().filter(|_| is_time(left))?;
        let ScalarValue::TimestampMillisecond(Some(ms), _) = literal.value() else { return None };
        // The instant itself is included in any case; superfluous rows are filtered later.
        match op {
            Operator::Gt | Operator::GtEq => Some(Self { low: Some(*ms), high: None }),
            Operator::Lt | Operator::LtEq => Some(Self { low: None, high: Some(*ms) }),
            Operator::Eq => Some(Self { low: Some(*ms), high: Some(*ms) }),
            _ => None,
        }
    }

    fn both(self, other: Self) -> Self {
        let high = self.high.into_iter().chain(other.high).min();
        Self { low: self.low.max(other.low), high }
    }

    fn either(self, other: Self) -> Self {
        let low = self.low.zip(other.low).map(|(low, other)| low.min(other));
        Self { low, high: self.high.zip(other.high).map(|(high, other)| high.max(other)) }
    }

    fn range(self) -> TimeRange {
        TimeRange { start: self.low.map(Timestamp::clamped), end: self.high.map(Timestamp::clamped) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::physical_expr::expressions::{col, lit};

    fn schema() -> SchemaRef {
        scan_schema(&[ScanColumn::Time, ScanColumn::RunId])
    }

    fn time(op: Operator, ms: i64) -> Arc<dyn PhysicalExpr> {
        let instant = lit(ScalarValue::TimestampMillisecond(Some(ms), Some("UTC".into())));
        Arc::new(BinaryExpr::new(col("time", &schema()).unwrap(), op, instant))
    }

    fn joined(left: Arc<dyn PhysicalExpr>, op: Operator, right: Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
        Arc::new(BinaryExpr::new(left, op, right))
    }

    fn run_is(id: &str) -> Arc<dyn PhysicalExpr> {
        let id = lit(ScalarValue::LargeUtf8(Some(id.to_owned())));
        Arc::new(BinaryExpr::new(col("run_id", &schema()).unwrap(), Operator::Eq, id))
    }

    #[test]
    fn the_newest_that_are_wanted_bound_the_time() {
        let later = joined(time(Operator::Eq, 70), Operator::And, run_is("b"));
        let newest = joined(time(Operator::Gt, 70), Operator::Or, later);
        assert_eq!(Bounds::of(&newest), Bounds { low: Some(70), high: None });
        let nulls_first = Arc::new(IsNullExpr::new(col("time", &schema()).unwrap()));
        let newest = joined(nulls_first, Operator::Or, newest);
        assert_eq!(Bounds::of(&newest), Bounds { low: Some(70), high: None });
        let anything = joined(time(Operator::Gt, 70), Operator::Or, run_is("b"));
        assert_eq!(Bounds::of(&anything), Bounds::default());
    }

    #[test]
    fn runs_that_no_condition_wants_are_left_out() {
        let runs = ["a", "b"].map(|run_id| ScanRun { run_id, task_id: "t", workspace_id: "w", status: "executing" });
        let wanted = [joined(run_is("b"), Operator::And, time(Operator::Lt, 9))];
        let (range, keeps) = narrowed(&wanted, &schema(), &runs).unwrap();
        assert_eq!((range.end, keeps), (Some(Timestamp::clamped(9)), vec![false, true]));
        let mixed = [joined(run_is("b"), Operator::Or, time(Operator::Lt, 9))];
        assert_eq!(narrowed(&mixed, &schema(), &runs).unwrap(), (TimeRange::ALL, vec![true, true]));
    }
}
