//! The tables of the catalog: `runs`, `tasks` and `deliveries`.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use futures::stream;
use runlog_model::WorkspaceId;
use runlog_store::query::{CatalogView, Query, ViewColumnType, ViewCondition};

use super::conditions::{Condition, condition};

/// The rows of the workspaces that a caller may read.
#[derive(Debug)]
pub(super) struct CatalogTable {
    archive: Query,
    table: CatalogView,
    schema: SchemaRef,
    readable: Option<Vec<WorkspaceId>>,
}

impl CatalogTable {
    pub(super) fn new(archive: &Query, table: CatalogView, readable: Option<Vec<WorkspaceId>>) -> Self {
        let all: Vec<usize> = (0..table.columns().len()).collect();
        Self { archive: archive.clone(), table, schema: table.schema(&all), readable }
    }

    /// The catalog condition that corresponds to a condition, if there is one.
    fn row_condition(&self, expr: &Expr) -> Option<(usize, ViewCondition)> {
        let (name, condition) = match condition(expr)? {
            Condition::Texts { column, texts } => (column, ViewCondition::Texts(texts)),
            Condition::Between { column, low, high } => (column, ViewCondition::Between(low, high)),
            Condition::Holds { .. } => return None,
        };
        let index = self.table.columns().iter().position(|column| column.name == name)?;
        let fits = match (&condition, self.table.columns()[index].kind) {
            (ViewCondition::Texts(_), kind) => kind == ViewColumnType::Text,
            (ViewCondition::Between(..), kind) => matches!(kind, ViewColumnType::Number | ViewColumnType::Time),
        };
        fits.then_some((index, condition))
    }
}

#[async_trait]
impl TableProvider for CatalogTable {
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
        // The engine checks again, because databases differ in how they compare.
        let narrows = |filter: &&Expr| match self.row_condition(filter) {
            Some(_) => TableProviderFilterPushDown::Inexact,
            None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(narrows).collect())
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = projection.cloned().unwrap_or_else(|| (0..self.table.columns().len()).collect());
        let schema = self.table.schema(&columns);
        let rows = Rows {
            schema: Arc::clone(&schema),
            archive: self.archive.clone(),
            table: self.table,
            columns,
            readable: self.readable.clone(),
            conditions: filters.iter().filter_map(|filter| self.row_condition(filter)).collect(),
        };
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![Arc::new(rows)], None, [], false, limit)?))
    }
}

/// The rows that a query requests.
struct Rows {
    schema: SchemaRef,
    archive: Query,
    table: CatalogView,
    columns: Vec<usize>,
    readable: Option<Vec<WorkspaceId>>,
    conditions: Vec<(usize, ViewCondition)>,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("table", &self.table).field("conditions", &self.conditions).finish_non_exhaustive()
    }
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let scan =
            self.archive.scan_view(self.table, self.columns.clone(), self.readable.clone(), self.conditions.clone());
        let batches = stream::try_unfold(scan, |mut scan| async move {
            let batch = scan.next().await.map_err(|error| DataFusionError::External(Box::new(error)))?;
            Ok(batch.map(|batch| (batch, scan)))
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}
