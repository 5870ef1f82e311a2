//! The tables of the catalog: `runs`, `component_metrics`, `plan_executions`, `plan_steps`, `tasks`, `deliveries`,
//! `problems` and `tenant_audit_logs`.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Statistics;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::stream;
use runlog_model::WorkspaceId;
use runlog_store::query::{CatalogView, Query, ViewColumnType, ViewCondition};

use crate::tables::conditions::{Condition, condition};
use crate::tables::{sizes, source};

/// The rows of the workspaces that a caller may read.
#[derive(Debug)]
pub(crate) struct CatalogTable {
    archive: Query,
    table: CatalogView,
    schema: SchemaRef,
    readable: Option<Vec<WorkspaceId>>,
}

impl CatalogTable {
    pub(crate) fn new(archive: &Query, table: CatalogView, readable: Option<Vec<WorkspaceId>>) -> Self {
        let all: Vec<usize> = (0..table.columns().len()).collect();
        Self { archive: archive.clone(), table, schema: table.schema(&all), readable }
    }

    /// Returns the catalog condition that corresponds to an expression, if there is one.
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
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns = projection.cloned().unwrap_or_else(|| (0..self.table.columns().len()).collect());
        let schema = self.table.schema(&columns);
        Ok(Arc::new(RowScan {
            properties: source::properties(&schema, 1),
            schema,
            archive: self.archive.clone(),
            table: self.table,
            columns,
            readable: self.readable.clone(),
            conditions: filters.iter().filter_map(|filter| self.row_condition(filter)).collect(),
        }))
    }
}

/// The step of a plan that reads rows of the catalog.
struct RowScan {
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    archive: Query,
    table: CatalogView,
    columns: Vec<usize>,
    readable: Option<Vec<WorkspaceId>>,
    conditions: Vec<(usize, ViewCondition)>,
}

impl fmt::Debug for RowScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowScan")
            .field("table", &self.table)
            .field("conditions", &self.conditions)
            .finish_non_exhaustive()
    }
}

impl DisplayAs for RowScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "RowScan: table={}, columns=[{}]", self.table.name(), columns.join(", "))
    }
}

impl ExecutionPlan for RowScan {
    fn name(&self) -> &'static str {
        "RowScan"
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

    fn execute(&self, _partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let scan =
            self.archive.scan_view(self.table, self.columns.clone(), self.readable.clone(), self.conditions.clone());
        let batches =
            stream::try_unfold(scan, |mut scan| async move { Ok(scan.next().await?.map(|batch| (batch, scan))) });
        Ok(source::stream_of(&self.schema, batches))
    }

    fn partition_statistics(&self, _: Option<usize>) -> Result<Statistics> {
        Ok(sizes::statistics(&self.schema, sizes::rows(self.table)))
    }
}
