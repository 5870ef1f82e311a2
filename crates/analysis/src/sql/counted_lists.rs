//! Works around a fault of the engine: of the texts that `array_agg` gathers, it counts only where they stand, not what
//! they take, so that a question for all messages of an archive takes all memory that there is.
//!
//! Of texts that lie one after the other it counts everything. To be removed when the test of this file passes without it.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, cast};

/// The plan, in which `array_agg` gathers texts that are counted.
pub(super) fn with_counted_lists(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|plan| {
        let (names, schema) = (NamePreserver::new(&plan), input_schema(&plan)?);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let counted = expr.transform_up(|expr| with_counted_list(expr, &schema))?;
            Ok(counted.update_data(|expr| name.restore(expr)))
        })
    })?;
    Ok(plan.data)
}

fn input_schema(plan: &LogicalPlan) -> Result<DFSchema> {
    let mut schema = DFSchema::empty();
    plan.inputs().iter().for_each(|input| schema.merge(input.schema()));
    Ok(schema)
}

fn with_counted_list(mut expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let (name, args) = match &mut expr {
        Expr::AggregateFunction(call) => (call.func.name(), &mut call.params.args),
        _ => return Ok(Transformed::no(expr)),
    };
    match args.first_mut() {
        Some(text) if name == "array_agg" && text.get_type(schema)? == DataType::Utf8View => {
            *text = cast(std::mem::take(text), DataType::LargeUtf8);
            Ok(Transformed::yes(expr))
        }
        _ => Ok(Transformed::no(expr)),
    }
}
