//! Common functions of the steps of a plan that read from the archive.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::coop::make_cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{Partitioning, PlanProperties};
use futures::{Stream, TryStreamExt};
use runlog_store::Error;

/// Returns the properties of a step that reads unordered rows in this number of streams.
pub(super) fn properties(schema: &SchemaRef, streams: usize) -> Arc<PlanProperties> {
    let properties = PlanProperties::new(
        EquivalenceProperties::new(Arc::clone(schema)),
        Partitioning::UnknownPartitioning(streams),
        EmissionType::Incremental,
        Boundedness::Bounded,
    );
    Arc::new(properties.with_scheduling_type(SchedulingType::Cooperative))
}

/// Returns rows of the archive as a stream of a plan.
pub(super) fn stream_of(
    schema: &SchemaRef,
    batches: impl Stream<Item = runlog_store::Result<RecordBatch>> + Send + 'static,
) -> SendableRecordBatchStream {
    let batches = batches.map_err(failure);
    make_cooperative(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(schema), batches)))
}

fn failure(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
