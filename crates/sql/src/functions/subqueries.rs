//! Computes scalar subqueries before rows are grouped or sorted: the engine supports them in projections and filters only.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, Projection, Sort, ident};

/// Moves the scalar subqueries of aggregates and sorts into a projection of their input.
pub(crate) fn with_subqueries_first(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let has_subquery = |expr: &Expr| expr.exists(|expr| Ok(matches!(expr, Expr::ScalarSubquery(_))));
    match plan {
        LogicalPlan::Aggregate(_) | LogicalPlan::Sort(_) => {
            for expr in plan.expressions() {
                if has_subquery(&expr)? {
                    return moved(plan).map(Transformed::yes);
                }
            }
            Ok(Transformed::no(plan))
        }
        plan => Ok(Transformed::no(plan)),
    }
}

fn moved(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut first = Vec::new();
    let mut column_of = |expr: Expr| match expr {
        Expr::ScalarSubquery(_) => {
            let name = match first.iter().position(|known| *known == expr) {
                Some(place) => column_name(place),
                None => {
                    first.push(expr);
                    column_name(first.len() - 1)
                }
            };
            Ok(Transformed::yes(ident(name)))
        }
        expr => Ok(Transformed::no(expr)),
    };
    let names = NamePreserver::new(&plan);
    let mut moved = |expr: Expr| -> Result<Expr> {
        let name = names.save(&expr);
        let changed = expr.transform_up(&mut column_of)?;
        Ok(changed.update_data(|expr| name.restore(expr)).data)
    };
    match plan {
        LogicalPlan::Aggregate(aggregate) => {
            let groups = aggregate.group_expr.into_iter().map(&mut moved).collect::<Result<Vec<_>>>()?;
            let values = aggregate.aggr_expr.into_iter().map(&mut moved).collect::<Result<Vec<_>>>()?;
            let input = with_columns(aggregate.input, first)?;
            Ok(LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input), groups, values)?))
        }
        LogicalPlan::Sort(sort) => {
            let mut keys = sort.expr;
            for key in &mut keys {
                key.expr = moved(std::mem::take(&mut key.expr))?;
            }
            let columns = sort.input.schema().columns().into_iter().map(Expr::Column).collect();
            let input = Arc::new(with_columns(sort.input, first)?);
            let sorted = LogicalPlan::Sort(Sort { expr: keys, input, fetch: sort.fetch });
            Ok(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(sorted))?))
        }
        plan => Ok(plan),
    }
}

fn column_name(place: usize) -> String {
    format!("__subquery_{place}")
}

fn with_columns(input: Arc<LogicalPlan>, added: Vec<Expr>) -> Result<LogicalPlan> {
    let columns = input.schema().columns().into_iter().map(Expr::Column);
    let added = added.into_iter().enumerate().map(|(place, expr)| expr.alias(column_name(place)));
    let columns: Vec<Expr> = columns.chain(added).collect();
    LogicalPlanBuilder::from(input).project(columns)?.build()
}
