//! Limits the size of batches in queries that multiply rows with long texts.
//!
//! The engine passes on batches with a fixed number of rows, whatever their size. A join repeats a text of 1 MiB for
//! each matching row, and a window for each row: 8,192 copies at a time, which no operator counts. Here the rows are
//! measured before such an operator receives them. If a batch of the longest rows would take too much memory, the query
//! is restarted with smaller batches ([`WideRows`]), as long as it has not returned any rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::unnest::UnnestExec;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::limits::pass_through::{Pass, PassThroughExec};
use crate::tables::record_table::RecordTable;

/// The columns of records whose texts are short. The texts of the other tables are short, or there are few of them.
const SHORT: [&str; 4] = ["run_id", "task_id", "workspace_id", "severity"];

/// The maximum memory of one batch of rows, and the state that decides whether exceeding it restarts the query.
#[derive(Debug)]
pub(crate) struct WidthLimit {
    /// Rows of a batch.
    pub(crate) rows: usize,
    /// Unit: bytes.
    pub(crate) memory_bytes: usize,
    /// True once a part of the answer was returned: the query can no longer be restarted.
    pub(crate) has_rows: Arc<AtomicBool>,
}

/// The error for a row that is too long for the batch size.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("a row of {bytes} bytes is too long for this batch size")]
pub(crate) struct WideRows {
    bytes: usize,
}

impl WideRows {
    /// Returns this error if it is the root cause of an error of the engine.
    pub(crate) fn find(error: &DataFusionError) -> Option<Self> {
        match error.find_root() {
            DataFusionError::External(error) => error.downcast_ref().copied(),
            _ => None,
        }
    }

    /// Returns the batch size for such rows: a quarter of the rows that fit, to leave room for longer rows that may
    /// follow.
    pub(crate) fn rows_at_a_time(self, memory_bytes: usize) -> usize {
        (part(memory_bytes) / self.bytes.max(1) / 4).max(1)
    }
}

/// The part of the memory that one batch may take.
fn part(memory_bytes: usize) -> usize {
    memory_bytes / 4
}

impl WidthLimit {
    /// Fails if rows of this length are too long for the batch size.
    pub(crate) fn check(&self, row_bytes: usize) -> Result<()> {
        let bytes = row_bytes.saturating_mul(self.rows);
        if bytes <= part(self.memory_bytes) || (self.rows == 1 && row_bytes <= self.memory_bytes) {
            return Ok(());
        }
        if self.rows > 1 && !self.has_rows.load(Ordering::Relaxed) {
            return Err(DataFusionError::External(Box::new(WideRows { bytes: row_bytes })));
        }
        match bytes <= self.memory_bytes {
            true => Ok(()),
            false => Err(DataFusionError::ResourcesExhausted(format!(
                "a row of {row_bytes} bytes came {} times where there are {} bytes",
                self.rows, self.memory_bytes
            ))),
        }
    }
}

/// Whether a plan may multiply rows that contain a long text.
pub(crate) fn multiplies_texts(plan: &LogicalPlan) -> Result<bool> {
    let (mut multiplies, mut has_texts) = (false, false);
    plan.apply_with_subqueries(|plan| {
        match plan {
            LogicalPlan::Join(_) | LogicalPlan::Unnest(_) | LogicalPlan::Window(_) => multiplies = true,
            LogicalPlan::TableScan(scan) if scan.table_name.table() == RecordTable::NAME => {
                let is_long =
                    |field: &Arc<Field>| is_text(field.data_type()) && !SHORT.contains(&field.name().as_str());
                has_texts |= scan.projected_schema.fields().iter().any(is_long);
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(multiplies && has_texts)
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Limits the length of the rows that joins of a plan receive, and unnests lists for only a few rows at a time.
pub(crate) fn bounded(plan: Arc<dyn ExecutionPlan>, limit: &Arc<WidthLimit>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|plan| {
        let lists: Option<Arc<[usize]>> = plan.as_any().downcast_ref::<UnnestExec>().map(|unnest| {
            let lists = unnest.list_column_indices().iter().map(|list| list.index_in_input_schema);
            lists.collect()
        });
        if lists.is_none() && !plan.name().ends_with("JoinExec") {
            return Ok(Transformed::no(plan));
        }
        let pass: Arc<dyn Pass> = Arc::new(WidthPass { lists, limit: Arc::clone(limit) });
        let children = plan.children().into_iter();
        let inputs = children.map(|input| PassThroughExec::over(Arc::clone(input), Arc::clone(&pass))).collect();
        Ok(Transformed::yes(plan.with_new_children(inputs)?))
    })
    .data()
}

/// Measures the rows that an operator receives.
#[derive(Debug)]
struct WidthPass {
    /// The columns that the operator unnests; none for other operators.
    lists: Option<Arc<[usize]>>,
    limit: Arc<WidthLimit>,
}

impl Pass for WidthPass {
    fn name(&self) -> &'static str {
        "WidthExec"
    }

    fn pass(
        &self,
        input: &dyn ExecutionPlan,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let (lists, limit) = (self.lists.clone(), Arc::clone(&self.limit));
        let batches = input.execute(partition, context)?.map(move |batch| {
            let batch = batch?;
            let parts = match &lists {
                Some(lists) => parts_to_unnest(&batch, lists, &limit)?,
                None => {
                    limit.check(longest_row(&batch)?)?;
                    vec![batch]
                }
            };
            Ok::<_, DataFusionError>(stream::iter(parts.into_iter().map(Ok)))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(input.schema(), batches.try_flatten())))
    }
}

/// Returns an upper bound of the size of the texts and lists of the longest row. Unit: bytes.
fn longest_row(batch: &RecordBatch) -> Result<usize> {
    batch.columns().iter().map(longest_value).sum()
}

/// Returns the size of the longest value; for lists and other nested types, the size of all values. Unit: bytes.
pub(crate) fn longest_value(values: &ArrayRef) -> Result<usize> {
    let longest = match values.data_type() {
        DataType::Utf8 => values.as_string::<i32>().iter().flatten().map(str::len).max(),
        DataType::LargeUtf8 => values.as_string::<i64>().iter().flatten().map(str::len).max(),
        DataType::Utf8View => values.as_string_view().iter().flatten().map(str::len).max(),
        DataType::Boolean | DataType::Null => Some(1),
        kind => Some(kind.primitive_width().map_or_else(|| bytes_of(values), Ok)?),
    };
    Ok(longest.unwrap_or(0))
}

/// Returns the size of all values. Unit: bytes.
pub(crate) fn bytes_of(values: &ArrayRef) -> Result<usize> {
    Ok(values.to_data().get_slice_memory_size()?)
}

/// Splits a batch into parts whose unnested rows need little memory.
fn parts_to_unnest(batch: &RecordBatch, lists: &[usize], limit: &WidthLimit) -> Result<Vec<RecordBatch>> {
    let whole = unnested_bytes(batch, lists)?;
    if whole <= part(limit.memory_bytes) {
        return Ok(vec![batch.clone()]);
    }
    if batch.num_rows() <= 1 {
        let held = limit.memory_bytes;
        return match whole <= held {
            true => Ok(vec![batch.clone()]),
            false => Err(DataFusionError::ResourcesExhausted(format!(
                "a list takes {whole} bytes with the columns beside it where there are {held}"
            ))),
        };
    }
    let middle = batch.num_rows() / 2;
    let mut parts = parts_to_unnest(&batch.slice(0, middle), lists, limit)?;
    parts.extend(parts_to_unnest(&batch.slice(middle, batch.num_rows() - middle), lists, limit)?);
    Ok(parts)
}

/// Returns the maximum size of a batch after its lists are unnested. Unit: bytes.
fn unnested_bytes(batch: &RecordBatch, lists: &[usize]) -> Result<usize> {
    let (mut elements, mut elements_bytes, mut beside) = (0, 0, 0);
    for (index, column) in batch.columns().iter().enumerate() {
        if !lists.contains(&index) {
            beside += longest_value(column)?;
            continue;
        }
        elements_bytes += bytes_of(column)?;
        elements += elements_of(column);
    }
    Ok(elements.saturating_mul(beside).saturating_add(elements_bytes))
}

/// Returns the number of elements of the lists of a column.
fn elements_of(lists: &ArrayRef) -> usize {
    match lists.data_type() {
        DataType::List(_) => lists.as_list::<i32>().iter().flatten().map(|list| list.len().max(1)).sum(),
        DataType::LargeList(_) => lists.as_list::<i64>().iter().flatten().map(|list| list.len().max(1)).sum(),
        DataType::FixedSizeList(_, length) => lists.len().saturating_mul(usize::try_from(*length).unwrap_or(1)),
        _ => lists.len(),
    }
}
