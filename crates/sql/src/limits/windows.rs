//! The memory of window functions, which the engine does not count.
//!
//! A window over whole partitions (`OVER ()`) retains all its rows, concatenates them, and computes all values at once;
//! an ordered one retains the rows whose values are pending and those in its frame. Here the input of each window is
//! counted, together with the maximum size of the values of its functions, before the window receives it. A function
//! that returns texts may return the longest of them for each row, which is limited as in a join.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{WindowFrameBound, WindowFrameUnits};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::window::{
    PlainAggregateWindowExpr, SlidingAggregateWindowExpr, StandardWindowExpr, WindowExpr,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec, WindowUDFExpr};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::{StreamExt, TryStreamExt};

use crate::limits::pass_through::{Pass, PassThroughExec};
use crate::limits::wide_rows::{WidthLimit, bytes_of, longest_value};

/// Memory of a value while it is created, in addition to its bytes. Unit: bytes.
const VALUE_BYTES: usize = size_of::<ScalarValue>();

/// Memory of a value in a column, in addition to its bytes. Unit: bytes.
const PLACE_BYTES: usize = 16;

/// Number of copies of each row in a window: as received, and concatenated with others.
const ROW_COPIES: usize = 2;

/// Makes the windows of a plan reserve their memory from that of all queries.
pub(crate) fn counted(plan: Arc<dyn ExecutionPlan>, limit: &Arc<WidthLimit>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|plan| {
        let any = plan.as_any();
        let (input, window, is_whole) = if let Some(window) = any.downcast_ref::<WindowAggExec>() {
            (window.input(), window.window_expr(), true)
        } else if let Some(window) = any.downcast_ref::<BoundedWindowAggExec>() {
            (window.input(), window.window_expr(), false)
        } else {
            return Ok(Transformed::no(plan));
        };
        let functions = window.iter().map(|function| Function::of(function.as_ref())).collect::<Result<Vec<_>>>()?;
        let need = Arc::new(Need { functions, is_whole, limit: Arc::clone(limit) });
        let partitions = input.output_partitioning().partition_count();
        let answered: AnsweredRows = (0..partitions).map(|_| AtomicUsize::new(0)).collect();
        let counting = Arc::new(InputPass { need, answered: Arc::clone(&answered) });
        let input = PassThroughExec::over(Arc::clone(input), counting);
        let window = Arc::clone(&plan).with_new_children(vec![input])?;
        Ok(Transformed::yes(PassThroughExec::over(window, Arc::new(OutputPass(answered)))))
    })
    .data()
}

/// The memory-related properties of a window function.
#[derive(Debug)]
struct Function {
    arguments: Vec<Arc<dyn PhysicalExpr>>,
    output: WindowOutput,
    /// Memory of one value while it is created, in addition to its bytes. Unit: bytes.
    value_bytes: usize,
    /// Number of rows that are kept before the current row; `usize::MAX`: all of them.
    look_back: usize,
}

/// The kind of values that a function returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WindowOutput {
    /// A value of a fixed size.
    Fixed,
    /// One of the values of its arguments, each once.
    Moved,
    /// Any of the values of its arguments, perhaps the longest for each row.
    Any,
    /// A value that may contain all values of its arguments.
    All,
}

impl Function {
    fn of(window: &dyn WindowExpr) -> Result<Self> {
        let (name, offset) = name_and_offset(window);
        let kind = window.field()?.data_type().clone();
        let output = match name {
            _ if kind.is_null() || kind == DataType::Boolean || kind.primitive_width().is_some() => WindowOutput::Fixed,
            "lag" | "lead" => WindowOutput::Moved,
            "min" | "max" | "first_value" | "last_value" | "nth_value" => WindowOutput::Any,
            _ => WindowOutput::All,
        };
        let frame = window.get_window_frame();
        let is_same_for_all = frame.start_bound.is_unbounded() && frame.end_bound.is_unbounded();
        let look_back = match &frame.start_bound {
            _ if matches!(name, "lag" | "lead") => offset,
            _ if name == "nth_value" => usize::MAX,
            WindowFrameBound::CurrentRow | WindowFrameBound::Following(_) => 0,
            // The state of the function contains the preceding rows.
            start if start.is_unbounded() => 0,
            WindowFrameBound::Preceding(rows) if frame.units == WindowFrameUnits::Rows => count(rows),
            WindowFrameBound::Preceding(_) => usize::MAX,
        };
        let value_bytes = PLACE_BYTES + if is_same_for_all && output == WindowOutput::Fixed { 0 } else { VALUE_BYTES };
        Ok(Self { arguments: window.expressions(), output, value_bytes, look_back })
    }

    /// Returns the size of its arguments in a batch, and of the longest value among them. Unit: bytes.
    fn measure(&self, batch: &RecordBatch) -> Result<Texts> {
        let mut texts = Texts::default();
        if self.output == WindowOutput::Fixed {
            return Ok(texts);
        }
        for argument in &self.arguments {
            let values = argument.evaluate(batch)?.into_array(batch.num_rows())?;
            texts.total += bytes_of(&values)?;
            texts.longest = texts.longest.max(longest_value(&values)?);
        }
        Ok(texts)
    }

    /// Returns the size of the values for `rows` of `all_rows` rows, whose arguments have the size `texts`. Unit:
    /// bytes.
    fn given(&self, rows: usize, all_rows: usize, texts: &Texts) -> usize {
        let bytes = match self.output {
            WindowOutput::Fixed => 0,
            WindowOutput::Moved => 2 * share(texts.total, rows, all_rows),
            WindowOutput::Any => 2_usize.saturating_mul(rows).saturating_mul(texts.longest),
            WindowOutput::All => rows.saturating_mul(texts.total),
        };
        bytes.saturating_add(rows.saturating_mul(self.value_bytes))
    }

    /// Returns the maximum size of the value for one row. Unit: bytes.
    fn given_for_one(&self, texts: &Texts) -> usize {
        match self.output {
            WindowOutput::Fixed | WindowOutput::Moved => 0,
            WindowOutput::Any => texts.longest,
            WindowOutput::All => texts.total,
        }
    }
}

/// Returns the name of a function, and the offset of `lag` and `lead` in rows; `usize::MAX` if unknown.
fn name_and_offset(window: &dyn WindowExpr) -> (&str, usize) {
    let any = window.as_any();
    if let Some(plain) = any.downcast_ref::<PlainAggregateWindowExpr>() {
        return (plain.get_aggregate_expr().fun().name(), 0);
    }
    if let Some(sliding) = any.downcast_ref::<SlidingAggregateWindowExpr>() {
        return (sliding.get_aggregate_expr().fun().name(), 0);
    }
    let standard = any.downcast_ref::<StandardWindowExpr>();
    let function = standard.and_then(|it| it.get_standard_func_expr().as_any().downcast_ref::<WindowUDFExpr>());
    let Some(function) = function else { return ("", usize::MAX) };
    let offset = match function.args().get(1) {
        None => 1,
        Some(offset) => offset.as_any().downcast_ref::<Literal>().map_or(usize::MAX, |offset| count(offset.value())),
    };
    (function.fun().name(), offset)
}

/// Returns a value as a number of rows; `usize::MAX` if the value is not a number.
fn count(value: &ScalarValue) -> usize {
    let number = value.cast_to(&DataType::Int64).ok();
    match number {
        Some(ScalarValue::Int64(Some(rows))) => usize::try_from(rows.unsigned_abs()).unwrap_or(usize::MAX),
        _ => usize::MAX,
    }
}

/// Returns the share of a total that belongs to `rows` of `all_rows` rows, rounded up.
fn share(total: usize, rows: usize, all_rows: usize) -> usize {
    let part = (total as u128 * rows as u128).div_ceil(all_rows.max(1) as u128);
    usize::try_from(part).unwrap_or(usize::MAX)
}

/// The sizes of the arguments of a function. Unit: bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Texts {
    total: usize,
    longest: usize,
}

/// The memory requirements of a window.
#[derive(Debug)]
struct Need {
    functions: Vec<Function>,
    /// True if the window returns nothing before it has received all rows.
    is_whole: bool,
    /// The limit of the size of the rows that the window returns.
    limit: Arc<WidthLimit>,
}

/// The rows that a window has received.
#[derive(Debug)]
struct Passed {
    rows: usize,
    bytes: usize,
    texts: Vec<Texts>,
}

impl Need {
    /// Counts a batch.
    fn count(&self, passed: &mut Passed, batch: &RecordBatch) -> Result<()> {
        passed.rows += batch.num_rows();
        for column in batch.columns() {
            passed.bytes += bytes_of(column)?;
        }
        let mut for_one = 0;
        for (function, texts) in self.functions.iter().zip(&mut passed.texts) {
            let more = function.measure(batch)?;
            *texts = Texts { total: texts.total + more.total, longest: texts.longest.max(more.longest) };
            for_one += function.given_for_one(texts);
        }
        self.limit.check(for_one)
    }

    /// Returns the memory for the received rows, of which `answered` rows were returned. Unit: bytes.
    fn bytes(&self, passed: &Passed, answered: usize) -> usize {
        let unanswered = passed.rows.saturating_sub(answered);
        let look_back = self.functions.iter().map(|function| function.look_back).max().unwrap_or(0);
        let (held, rows) = match self.is_whole {
            true => (passed.rows, passed.rows),
            false => (unanswered.saturating_add(look_back).min(passed.rows), unanswered),
        };
        let given = self.functions.iter().zip(&passed.texts).map(|(it, texts)| it.given(rows, passed.rows, texts));
        given.fold(ROW_COPIES.saturating_mul(share(passed.bytes, held, passed.rows)), usize::saturating_add)
    }
}

/// Number of rows that a window has returned, for each partition.
type AnsweredRows = Arc<[AtomicUsize]>;

/// Counts the rows that a window returns.
#[derive(Debug)]
struct OutputPass(AnsweredRows);

impl Pass for OutputPass {
    fn name(&self) -> &'static str {
        "WindowOutputExec"
    }

    fn pass(
        &self,
        input: &dyn ExecutionPlan,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let answered = Arc::clone(&self.0);
        let batches = input.execute(partition, context)?.inspect_ok(move |batch| {
            answered[partition].fetch_add(batch.num_rows(), Ordering::Relaxed);
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(input.schema(), batches)))
    }
}

/// Counts the rows that a window receives.
#[derive(Debug)]
struct InputPass {
    need: Arc<Need>,
    answered: AnsweredRows,
}

impl Pass for InputPass {
    fn name(&self) -> &'static str {
        "WindowInputExec"
    }

    fn pass(
        &self,
        input: &dyn ExecutionPlan,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let answered = Arc::clone(&self.answered);
        // A part of a recursive query is executed repeatedly.
        answered[partition].store(0, Ordering::Relaxed);
        let memory = MemoryConsumer::new(format!("Window[{partition}]")).register(context.memory_pool());
        let need = Arc::clone(&self.need);
        let passed = Passed { rows: 0, bytes: 0, texts: vec![Texts::default(); need.functions.len()] };
        let mut counter = Counter { need, passed, memory };
        let batches = input.execute(partition, context)?.map(move |batch| {
            let batch = batch?;
            counter.take(&batch, answered[partition].load(Ordering::Relaxed))?;
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(input.schema(), batches)))
    }
}

/// Counts the input of a window, and reserves memory for it until the window ends.
struct Counter {
    need: Arc<Need>,
    passed: Passed,
    memory: MemoryReservation,
}

impl Counter {
    /// Reserves the memory for a batch, given that `answered` of the preceding rows were returned.
    fn take(&mut self, batch: &RecordBatch, answered: usize) -> Result<()> {
        self.need.count(&mut self.passed, batch)?;
        self.memory.try_resize(self.need.bytes(&self.passed, answered))
    }
}
