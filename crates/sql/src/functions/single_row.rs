//! Scalar subqueries: the value is NULL if there are no rows, and several rows are an error.
//!
//! The engine joins the rows of such a subquery with those of the outer query, so that no rows would remove outer rows,
//! and several rows would duplicate them.

use std::any::Any;
use std::mem::size_of_val;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, UInt64Type};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, LogicalPlan, LogicalPlanBuilder, Signature, Volatility,
};

use crate::error::SEVERAL_ROWS;

static SINGLE_VALUE: LazyLock<Arc<AggregateUDF>> = LazyLock::new(|| {
    Arc::new(AggregateUDF::new_from_impl(SingleValue { signature: Signature::any(1, Volatility::Immutable) }))
});

/// Changes a scalar subquery so that it always returns one row.
pub(crate) fn with_single_row(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::ScalarSubquery(subquery) = expr else { return Ok(Transformed::no(expr)) };
    if has_one_row(&subquery.subquery) {
        return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
    }
    let (table, field) = subquery.subquery.schema().qualified_field(0);
    let value = Expr::Column(Column::from((table, field)));
    let value = SINGLE_VALUE.call(vec![value]);
    let plan = LogicalPlanBuilder::from(Arc::clone(&subquery.subquery)).aggregate(Vec::<Expr>::new(), vec![value])?;
    Ok(Transformed::yes(Expr::ScalarSubquery(subquery.with_plan(Arc::new(plan.build()?)))))
}

fn has_one_row(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => has_one_row(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => has_one_row(&alias.input),
        LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
        LogicalPlan::EmptyRelation(relation) => relation.produce_one_row,
        LogicalPlan::Values(values) => values.values.len() == 1,
        _ => false,
    }
}

/// `single_value(x)`: the only value, or NULL if there are none. Fails with [`SEVERAL_ROWS`] for several values.
#[derive(Debug, PartialEq, Eq, Hash)]
struct SingleValue {
    signature: Signature,
}

impl AggregateUDFImpl for SingleValue {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        "single_value"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        match kinds {
            [kind] => Ok(kind.clone()),
            _ => Err(DataFusionError::Plan("single_value takes one value".to_owned())),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(SingleValueAccumulator { value: ScalarValue::try_from(args.return_type())?, rows: 0 }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let value = args.return_field.as_ref().clone().with_name(format_state_name(args.name, "value"));
        let rows = Field::new(format_state_name(args.name, "rows"), DataType::UInt64, false);
        Ok(vec![Arc::new(value.with_nullable(true)), Arc::new(rows)])
    }
}

#[derive(Debug)]
struct SingleValueAccumulator {
    value: ScalarValue,
    rows: u64,
}

impl SingleValueAccumulator {
    /// Adds `values`, each as often as given by `rows`.
    fn take(&mut self, values: &ArrayRef, rows: impl Iterator<Item = u64>) -> Result<()> {
        for (at, rows) in rows.enumerate().filter(|(_, rows)| *rows > 0) {
            self.rows = self.rows.saturating_add(rows);
            if self.rows > 1 {
                return Err(DataFusionError::Execution(SEVERAL_ROWS.to_owned()));
            }
            self.value = ScalarValue::try_from_array(values, at)?.compacted();
        }
        Ok(())
    }
}

impl Accumulator for SingleValueAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        values.iter().try_for_each(|values| self.take(values, std::iter::repeat_n(1, values.len())))
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.value.clone())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.value.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), ScalarValue::from(self.rows)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [values, rows] = states else {
            return Err(DataFusionError::Internal("single_value has a state of two columns".to_owned()));
        };
        self.take(values, rows.as_primitive::<UInt64Type>().values().iter().copied())
    }
}
