//! Works around faults of the engine, by a plan that says the same in other words.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, cast};

/// The plan without what the engine does wrong.
pub(super) fn worked_around(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|plan| {
        let (names, schema) = (NamePreserver::new(&plan), input_schema(&plan)?);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let changed = expr.transform_up(|expr| {
                with_whole_filter(expr)?.transform_data(|expr| with_counted_list(expr, &schema))
            })?;
            Ok(changed.update_data(|expr| name.restore(expr)))
        })
    })?;
    Ok(plan.data)
}

fn input_schema(plan: &LogicalPlan) -> Result<DFSchema> {
    let mut schema = DFSchema::empty();
    plan.inputs().iter().for_each(|input| schema.merge(input.schema()));
    Ok(schema)
}

/// `count(*) FILTER (WHERE x)` also counts rows for which `x` is unknown (null): its accumulators look at the bit of each
/// value and not whether there is one. `FILTER (WHERE x IS TRUE)` says the same and is never unknown. To be removed when
/// tests/sql/run passes without it.
fn with_whole_filter(mut expr: Expr) -> Result<Transformed<Expr>> {
    let filter = match &mut expr {
        Expr::AggregateFunction(call) => call.params.filter.as_mut(),
        Expr::WindowFunction(call) => call.params.filter.as_mut(),
        _ => None,
    };
    let Some(filter) = filter else { return Ok(Transformed::no(expr)) };
    **filter = std::mem::take(&mut **filter).is_true();
    Ok(Transformed::yes(expr))
}

/// Of the texts that `array_agg` gathers, only where they stand is counted, not what they take, so that a question for
/// all messages of an archive takes all memory that there is. Of texts that lie one after the other everything is
/// counted. To be removed when what a function gathers counts as memory without it (`tests/sql.rs`).
fn with_counted_list(mut expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::AggregateFunction(call) = &mut expr else { return Ok(Transformed::no(expr)) };
    match call.params.args.first_mut() {
        Some(text) if call.func.name() == "array_agg" && text.get_type(schema)? == DataType::Utf8View => {
            *text = cast(std::mem::take(text), DataType::LargeUtf8);
            Ok(Transformed::yes(expr))
        }
        _ => Ok(Transformed::no(expr)),
    }
}
