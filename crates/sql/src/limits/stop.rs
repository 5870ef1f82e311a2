//! The end of a query that has timed out or whose client has disconnected: its work is aborted at any point, during
//! planning, between batches, and within a join.

use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{ColumnarValue, LogicalPlan};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{NestedLoopJoinExec, NestedLoopJoinExecBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use futures::StreamExt;
use tokio::time::Instant;

use crate::limits::pass_through::{Pass, PassThroughExec};

/// The deadline of a query.
#[derive(Debug)]
pub(crate) struct Stop {
    /// The deadline, and the time limit; none for no limit.
    deadline: Option<(Instant, Duration)>,
    /// True once no caller waits for the answer any more.
    is_left: AtomicBool,
}

/// A query that was cancelled.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the query was cancelled")]
pub(crate) struct QueryCancelled;

impl Stop {
    pub(crate) fn after(time_max: Option<Duration>) -> Self {
        let deadline = time_max.map(|time_max| (Instant::now() + time_max, time_max));
        Self { deadline, is_left: AtomicBool::new(false) }
    }

    pub(crate) fn deadline(&self) -> Option<(Instant, Duration)> {
        self.deadline
    }

    pub(crate) fn leave(&self) {
        self.is_left.store(true, Ordering::Relaxed);
    }

    pub(crate) fn check(&self) -> Result<()> {
        let is_late = self.deadline.is_some_and(|(deadline, _)| Instant::now() >= deadline);
        match is_late || self.is_left.load(Ordering::Relaxed) {
            true => Err(DataFusionError::External(Box::new(QueryCancelled))),
            false => Ok(()),
        }
    }
}

/// Checks before every other rule whether to continue.
#[derive(Debug, Clone)]
pub(crate) struct StopRule(pub(crate) Arc<Stop>);

impl StopRule {
    const NAME: &str = "stop";

    /// The rules with a check before each.
    pub(crate) fn between(
        &self,
        rules: &[Arc<dyn OptimizerRule + Send + Sync>],
    ) -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
        let check: Arc<dyn OptimizerRule + Send + Sync> = Arc::new(self.clone());
        rules.iter().flat_map(|rule| [Arc::clone(&check), Arc::clone(rule)]).collect()
    }

    /// The rules for physical plans with a check before each.
    pub(crate) fn between_physical(
        &self,
        rules: &[Arc<dyn PhysicalOptimizerRule + Send + Sync>],
    ) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
        let check: Arc<dyn PhysicalOptimizerRule + Send + Sync> = Arc::new(self.clone());
        rules.iter().flat_map(|rule| [Arc::clone(&check), Arc::clone(rule)]).collect()
    }
}

impl OptimizerRule for StopRule {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        self.0.check()?;
        Ok(Transformed::no(plan))
    }
}

impl PhysicalOptimizerRule for StopRule {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        self.0.check()?;
        Ok(plan)
    }

    fn name(&self) -> &str {
        Self::NAME
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Makes the sources and joins of a plan stoppable: only these produce more rows than they receive.
pub(crate) fn stoppable(plan: Arc<dyn ExecutionPlan>, stop: &Arc<Stop>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|plan| {
        let is_source = plan.children().is_empty();
        let multiplies = plan.name().ends_with("JoinExec") || plan.name() == "UnnestExec";
        if !is_source && !multiplies {
            return Ok(Transformed::no(plan));
        }
        let plan = match plan.as_any().downcast_ref::<NestedLoopJoinExec>() {
            Some(join) => with_stoppable_filter(join, stop)?,
            None => plan,
        };
        Ok(Transformed::yes(PassThroughExec::over(plan, Arc::new(StopPass(Arc::clone(stop))))))
    })
    .data()
}

/// Makes the filter of a join stoppable: a join that compares all pairs of rows can run for hours without a match.
fn with_stoppable_filter(join: &NestedLoopJoinExec, stop: &Arc<Stop>) -> Result<Arc<dyn ExecutionPlan>> {
    let filter = join.filter().map(|filter| {
        let inner = Arc::clone(filter.expression());
        let expression = Arc::new(StopExpr { inner, stop: Arc::clone(stop) });
        JoinFilter::new(expression, filter.column_indices().to_vec(), Arc::clone(filter.schema()))
    });
    Ok(Arc::new(NestedLoopJoinExecBuilder::from(join).with_filter(filter).build()?))
}

/// Passes batches on until the query is stopped.
#[derive(Debug)]
struct StopPass(Arc<Stop>);

impl Pass for StopPass {
    fn name(&self) -> &'static str {
        "StopExec"
    }

    fn is_cooperative(&self) -> bool {
        true
    }

    fn pass(
        &self,
        input: &dyn ExecutionPlan,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.0.check()?;
        let stop = Arc::clone(&self.0);
        let batches = input.execute(partition, context)?.map(move |batch| stop.check().and(batch));
        let stream = RecordBatchStreamAdapter::new(input.schema(), batches);
        Ok(make_cooperative(Box::pin(stream)))
    }
}

/// A condition that fails once the query is stopped.
#[derive(Debug)]
struct StopExpr {
    inner: Arc<dyn PhysicalExpr>,
    stop: Arc<Stop>,
}

impl PartialEq for StopExpr {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for StopExpr {}

impl Hash for StopExpr {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl fmt::Display for StopExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

impl PhysicalExpr for StopExpr {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.inner.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.inner.nullable(schema)
    }

    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.inner.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.stop.check()?;
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(match children.pop() {
            Some(inner) => Arc::new(Self { inner, stop: Arc::clone(&self.stop) }),
            None => self,
        })
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}
