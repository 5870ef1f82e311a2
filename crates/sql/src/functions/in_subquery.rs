//! `IN` with a subquery, with the three-valued logic of SQL.
//!
//! In conditions, the engine executes `IN` as a join, which returns false where SQL requires NULL. A condition that holds only if `IN` is
//! true is not affected. For `NOT IN`, the engine has a join that respects NULL, but not for a correlated subquery or a
//! constant. In all other places, whether the subquery returns rows, and NULL among them, is computed, too. Outside of
//! conditions, `IN` is a function of the list of the rows.

use std::any::Any;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, BooleanArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{ScalarValue, Spans};
use datafusion::error::{DataFusionError, Result};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::functions_nested::array_has::array_has_udf;
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::utils::{conjunction, split_conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    ColumnarValue, Expr, Filter, LogicalPlan, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Subquery, case, col, lit, when,
};

const NO_ROWS: i32 = 0;
const HAS_NULL: i32 = 2;

/// Completes the conditions of a filter.
pub(crate) fn with_three_valued_lists(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let filter = match plan {
        LogicalPlan::Filter(filter) if needs_change(&filter.predicate)? => filter,
        plan => return Ok(Transformed::no(plan)),
    };
    let mut numbers = 0..;
    let conditions = split_conjunction_owned(filter.predicate).into_iter();
    let conditions = conditions.map(|condition| match is_joined_correctly(&condition) {
        true => Ok(condition),
        false => Ok(condition.transform_up(|expr| three_valued(expr, &mut numbers))?.data),
    });
    let condition = conjunction(conditions.collect::<Result<Vec<_>>>()?);
    let condition = condition.ok_or_else(|| DataFusionError::Internal("a filter without a condition".to_owned()))?;
    Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(condition, filter.input)?)))
}

fn needs_change(predicate: &Expr) -> Result<bool> {
    for condition in split_conjunction(predicate) {
        if !is_joined_correctly(condition) && condition.exists(|expr| Ok(matches!(expr, Expr::InSubquery(_))))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// True for a condition that the engine executes as a join that selects the right rows.
fn is_joined_correctly(condition: &Expr) -> bool {
    match condition {
        Expr::InSubquery(list) => !list.negated || respects_null(list),
        Expr::Not(inner) => matches!(inner.as_ref(), Expr::InSubquery(list) if !list.negated && respects_null(list)),
        _ => false,
    }
}

fn respects_null(list: &InSubquery) -> bool {
    list.subquery.outer_ref_columns.is_empty() && !list.expr.column_refs().is_empty()
}

/// Replaces `IN` with a value that is NULL if the list contains no equal value, but NULL, or if it contains rows and the
/// value on the left is NULL.
fn three_valued(expr: Expr, numbers: &mut impl Iterator<Item = usize>) -> Result<Transformed<Expr>> {
    let Expr::InSubquery(list) = expr else { return Ok(Transformed::no(expr)) };
    let is_negated = list.negated;
    let content = content_of(&list.subquery, numbers.next().unwrap_or_default())?;
    let value = list.expr.as_ref().clone();
    let unknown = lit(ScalarValue::Boolean(None));
    let is_in = Expr::InSubquery(InSubquery { negated: false, ..list });
    let without_null = when(value.is_null(), unknown.clone()).otherwise(lit(is_negated))?;
    // The content is named once: the engine cannot join the same subquery twice.
    let not_in =
        case(content).when(lit(NO_ROWS), lit(is_negated)).when(lit(HAS_NULL), unknown).otherwise(without_null)?;
    let value = when(is_in, lit(!is_negated)).otherwise(not_in)?;
    Ok(Transformed::yes(value))
}

/// The content of a subquery with one column: [`NO_ROWS`], rows without NULL, or [`HAS_NULL`].
fn content_of(subquery: &Subquery, number: usize) -> Result<Expr> {
    let plan = &subquery.subquery;
    let column = plan.schema().columns().into_iter().next();
    let column = column.ok_or_else(|| DataFusionError::Plan("a subquery of IN has no column".to_owned()))?;
    let (rows, values) = (count(lit(1)).alias("rows"), count(Expr::Column(column)).alias("values"));
    let (all, known) = (col("rows"), col("values"));
    let content =
        when(all.clone().eq(lit(0_i64)), lit(NO_ROWS)).when(known.lt(all), lit(HAS_NULL)).otherwise(lit(1))?;
    let counted = LogicalPlanBuilder::from(Arc::clone(plan))
        .aggregate(Vec::<Expr>::new(), [rows, values])?
        .project([content.alias(format!("content_{number}"))])?
        .build()?;
    let counted = Subquery {
        subquery: Arc::new(counted),
        outer_ref_columns: subquery.outer_ref_columns.clone(),
        spans: Spans::new(),
    };
    Ok(coalesce(vec![Expr::ScalarSubquery(counted), lit(NO_ROWS)]))
}

/// `value_in_list(list, value)`: `value IN` the elements of a list; a list that is NULL has none, as `array_agg` without
/// rows.
pub(crate) fn value_in_list() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(ValueInList { has: array_has_udf() }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ValueInList {
    has: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for ValueInList {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        "value_in_list"
    }

    fn signature(&self) -> &Signature {
        self.has.signature()
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [list, value] = call.args.as_slice() else {
            return Err(DataFusionError::Internal("a list and a value".to_owned()));
        };
        let rows = call.number_rows;
        let (lists, values) = (list.to_array(rows)?, value.to_array(rows)?);
        let (lists, nulls) = (lists.as_list::<i32>().clone(), values.logical_nulls());
        let found = self.has.invoke_with_args(call)?.to_array(rows)?;
        let found = found.as_boolean();
        let is_in = (0..rows).map(|row| {
            if lists.is_null(row) || lists.value_length(row) == 0 {
                return Some(false);
            }
            let is_known = nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
            if is_known && found.is_valid(row) && found.value(row) {
                return Some(true);
            }
            (is_known && lists.value(row).logical_null_count() == 0).then_some(false)
        });
        Ok(ColumnarValue::Array(Arc::new(is_in.collect::<BooleanArray>())))
    }
}
