//! Works around a fault of the engine: `count(*) FILTER (WHERE x)` also counts rows for which `x` is unknown (null).
//!
//! Its accumulators look at the bit of each value and not whether there is one. `FILTER (WHERE x IS TRUE)` says the same
//! and is never unknown. To be removed when tests/sql/run passes without it.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// The plan, in which each filter of an aggregate is true or false.
pub(super) fn with_whole_filters(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|plan| {
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            Ok(expr.transform_up(with_whole_filter)?.update_data(|expr| name.restore(expr)))
        })
    })?;
    Ok(plan.data)
}

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
