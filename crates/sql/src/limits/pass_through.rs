//! A step of a plan that passes on the batches of its input and inspects them: to stop, measure or count.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::execution_plan::{CardinalityEffect, SchedulingType};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

/// An operation on the batches that are passed on, which adds and removes no rows and keeps their order.
pub(crate) trait Pass: fmt::Debug + Send + Sync + 'static {
    /// The name of the step in a plan.
    fn name(&self) -> &'static str;

    /// Whether the step yields to other tasks by itself, which its input may not do.
    fn is_cooperative(&self) -> bool {
        false
    }

    /// Starts reading a partition of the input, and returns the resulting stream.
    fn pass(
        &self,
        input: &dyn ExecutionPlan,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream>;
}

/// A plan, and the operation on its batches.
#[derive(Debug)]
pub(crate) struct PassThroughExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
    pass: Arc<dyn Pass>,
}

impl PassThroughExec {
    pub(crate) fn over(input: Arc<dyn ExecutionPlan>, pass: Arc<dyn Pass>) -> Arc<dyn ExecutionPlan> {
        let properties = match pass.is_cooperative() {
            true => PlanProperties::clone(input.properties()).with_scheduling_type(SchedulingType::Cooperative).into(),
            false => Arc::clone(input.properties()),
        };
        Arc::new(Self { input, properties, pass })
    }
}

impl DisplayAs for PassThroughExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ExecutionPlan for PassThroughExec {
    fn name(&self) -> &'static str {
        self.pass.name()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(match children.pop() {
            Some(input) => Self::over(input, Arc::clone(&self.pass)),
            None => self,
        })
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.pass.pass(self.input.as_ref(), partition, context)
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}
