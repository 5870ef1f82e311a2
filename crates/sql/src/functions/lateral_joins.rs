//! Rewrites `LATERAL` subqueries as joins: the engine cannot execute subqueries that refer to preceding tables.
//!
//! A subquery that compares its columns with those of preceding tables is joined by these conditions, and its `LIMIT`
//! applies to the rows of each value. A subquery without tables, such as `LATERAL unnest(r.list)`, is computed for each
//! row.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, TableReference};
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::expr_rewriter::strip_outer_reference;
use datafusion::logical_expr::logical_plan::{FetchType, SkipType};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, ExprFunctionExt, Filter, Join, JoinType, LogicalPlan, LogicalPlanBuilder, Operator,
    Projection, SortExpr, lit, when,
};
use datafusion::optimizer::decorrelate::{PullUpCorrelatedExpr, UN_MATCHED_ROW_INDICATOR};

/// Replaces subqueries that refer to preceding tables with joins.
pub(crate) fn with_lateral_joins(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Join(join) => match lateral_subquery(&join.right) {
            Some((subquery, alias)) => joined(&join, subquery, &alias).map(Transformed::yes),
            None => Ok(Transformed::no(LogicalPlan::Join(join))),
        },
        plan => Ok(Transformed::no(plan)),
    })?;
    Ok(plan.data)
}

/// Returns the query and the name of a lateral subquery.
fn lateral_subquery(plan: &LogicalPlan) -> Option<(LogicalPlan, TableReference)> {
    let LogicalPlan::SubqueryAlias(alias) = plan else { return None };
    match alias.input.as_ref() {
        LogicalPlan::Subquery(subquery) => Some((LogicalPlan::clone(&subquery.subquery), alias.alias.clone())),
        _ => None,
    }
}

fn refused(alias: &TableReference) -> DataFusionError {
    DataFusionError::NotImplemented(format!(
        "the LATERAL subquery {alias} is not supported: its WHERE may compare its columns with those of the tables before \
         it by =; write a join with a subquery in which row_number() OVER (PARTITION BY … ORDER BY …) numbers the rows"
    ))
}

fn joined(join: &Join, subquery: LogicalPlan, alias: &TableReference) -> Result<LogicalPlan> {
    let is_left = join.join_type == JoinType::Left;
    if !join.on.is_empty() || !(is_left || join.join_type == JoinType::Inner) {
        return Err(refused(alias));
    }
    // `ON true` is no condition.
    let condition = join.filter.clone().filter(|condition| *condition != lit(true));
    if let Some(computed) = computed_for_each_row(&subquery, &join.left)? {
        let keeps_rows = is_computed_alone(&subquery);
        if is_left && !(keeps_rows && condition.is_none()) {
            return Err(refused(alias));
        }
        let plan = named(computed, &join.left, alias)?;
        let plan = match condition {
            Some(condition) => LogicalPlanBuilder::from(plan).filter(condition)?.build()?,
            None => plan,
        };
        return with_columns_of(plan, join, Vec::new());
    }
    let rows = match &subquery {
        LogicalPlan::Limit(limit) => limit.input.as_ref(),
        subquery => subquery,
    };
    if !is_filtered_last(rows) {
        return Err(refused(alias));
    }
    let subquery = numbered(subquery).ok_or_else(|| refused(alias))??;
    let mut pull_up = PullUpCorrelatedExpr::new().with_need_handle_count_bug(true);
    let subquery = subquery.rewrite(&mut pull_up).data()?;
    let is_aggregate = pull_up.pulled_up_scalar_agg;
    let has_outer = subquery.exists(|plan| Ok(plan.contains_outer_reference()))?;
    let is_ambiguous = is_left && is_aggregate && condition.is_some();
    if !pull_up.can_pull_up || pull_up.pull_up_having_expr.is_some() || has_outer || is_ambiguous {
        return Err(refused(alias));
    }
    let of_no_rows = pull_up.collected_count_expr_map.get(&subquery).cloned().unwrap_or_default();
    let inner: BTreeSet<Column> = pull_up.correlated_subquery_cols_map.into_values().flatten().collect();
    let matched = conjunction(pull_up.join_filters).unwrap_or_else(|| lit(true));
    let matched = matched.transform_up(|expr| match expr {
        Expr::Column(column) if inner.contains(&column) => {
            Ok(Transformed::yes(Expr::Column(Column::new(Some(alias.clone()), column.name))))
        }
        expr => Ok(Transformed::no(expr)),
    })?;
    let right = LogicalPlanBuilder::from(subquery).alias(alias.clone())?.build()?;
    // An aggregate returns one row for each row of the preceding tables, even if it aggregates no rows.
    let (kind, on, after) = match (is_left, is_aggregate) {
        (true, _) => (JoinType::Left, matched.data.and(condition.unwrap_or_else(|| lit(true))), None),
        (false, true) => (JoinType::Left, matched.data, condition),
        (false, false) => (JoinType::Inner, matched.data.and(condition.unwrap_or_else(|| lit(true))), None),
    };
    let plan = LogicalPlanBuilder::from(Arc::clone(&join.left)).join_on(right, kind, [on])?.build()?;
    let of_no_rows = of_no_rows.into_iter().map(|(name, value)| (Column::new(Some(alias.clone()), name), value));
    let plan = with_columns_of(plan, join, of_no_rows.collect())?;
    match after {
        Some(condition) => LogicalPlanBuilder::from(plan).filter(condition)?.build(),
        None => Ok(plan),
    }
}

/// Projects a plan to the columns of a join. `of_no_rows` contains the columns that have another value where an
/// aggregate has no rows.
fn with_columns_of(plan: LogicalPlan, join: &Join, of_no_rows: Vec<(Column, Expr)>) -> Result<LogicalPlan> {
    let indicator = plan.schema().iter().find(|(_, field)| field.name() == UN_MATCHED_ROW_INDICATOR).map(Column::from);
    let columns = join.schema.iter().map(|(table, field)| {
        let column = Column::from((table, field));
        let value = of_no_rows.iter().find(|(of, _)| *of == column).map(|(_, value)| value);
        Ok(match (value, &indicator) {
            (Some(value), Some(indicator)) => {
                let is_missing = Expr::Column(indicator.clone()).is_null();
                let either = when(is_missing, value.clone()).otherwise(Expr::Column(column.clone()))?;
                either.alias_qualified(column.relation.clone(), column.name.clone())
            }
            _ => Expr::Column(column),
        })
    });
    let columns = columns.collect::<Result<Vec<Expr>>>()?;
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

/// Whether a query computes exactly one row from each row.
fn is_computed_alone(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => is_computed_alone(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => is_computed_alone(&alias.input),
        LogicalPlan::EmptyRelation(relation) => relation.produce_one_row,
        _ => false,
    }
}

/// Returns a query without tables as a query over the given rows, to whose columns it appends its own. None if the
/// query has tables.
fn computed_for_each_row(plan: &LogicalPlan, rows: &Arc<LogicalPlan>) -> Result<Option<LogicalPlan>> {
    let with_rows = |exprs: &[Expr]| -> Vec<Expr> {
        let columns = rows.schema().iter().map(Expr::from);
        columns.chain(exprs.iter().cloned().map(strip_outer_reference)).collect()
    };
    Ok(match plan {
        LogicalPlan::EmptyRelation(relation) if relation.produce_one_row => Some(LogicalPlan::clone(rows)),
        LogicalPlan::SubqueryAlias(alias) => computed_for_each_row(&alias.input, rows)?,
        LogicalPlan::Projection(projection) => match computed_for_each_row(&projection.input, rows)? {
            Some(input) => Some(LogicalPlanBuilder::from(input).project(with_rows(&projection.expr))?.build()?),
            None => None,
        },
        LogicalPlan::Filter(filter) => match computed_for_each_row(&filter.input, rows)? {
            Some(input) => {
                let condition = strip_outer_reference(filter.predicate.clone());
                Some(LogicalPlanBuilder::from(input).filter(condition)?.build()?)
            }
            None => None,
        },
        LogicalPlan::Unnest(unnest) => match computed_for_each_row(&unnest.input, rows)? {
            Some(input) => {
                let (columns, options) = (unnest.exec_columns.clone(), unnest.options.clone());
                Some(LogicalPlanBuilder::from(input).unnest_columns_with_options(columns, options)?.build()?)
            }
            None => None,
        },
        _ => None,
    })
}

/// Qualifies the columns after those of the given rows with the name of a table.
fn named(plan: LogicalPlan, rows: &LogicalPlan, alias: &TableReference) -> Result<LogicalPlan> {
    let known = rows.schema().fields().len();
    let columns = plan.schema().iter().enumerate().map(|(at, (table, field))| {
        let column = Expr::from((table, field));
        if at < known { column } else { column.alias_qualified(Some(alias.clone()), field.name().clone()) }
    });
    let columns: Vec<Expr> = columns.collect();
    LogicalPlanBuilder::from(plan).project(columns)?.build()
}

/// Whether the rows of a query stay the same if its conditions on other tables are evaluated last: a window, an outer
/// join or `DISTINCT ON` would then have more input rows.
fn is_filtered_last(plan: &LogicalPlan) -> bool {
    let has_outer = plan.exists(|plan| Ok(plan.contains_outer_reference())).unwrap_or(true);
    let is_transparent = match plan {
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Distinct(Distinct::All(_)) => true,
        LogicalPlan::Join(join) => join.join_type == JoinType::Inner,
        _ => false,
    };
    !has_outer || is_transparent && plan.inputs().into_iter().all(is_filtered_last)
}

/// Changes the `LIMIT` of a query so that it applies to the rows of each value that its columns are compared with; a
/// query without a limit stays unchanged. None if the compared columns are unknown.
fn numbered(plan: LogicalPlan) -> Option<Result<LogicalPlan>> {
    let LogicalPlan::Limit(limit) = plan else { return Some(Ok(plan)) };
    let (Ok(SkipType::Literal(skip)), Ok(FetchType::Literal(fetch))) = (limit.get_skip_type(), limit.get_fetch_type())
    else {
        return None;
    };
    let last = fetch.and_then(|fetch| skip.checked_add(fetch));
    let numbered = Numbered { skip: u64::try_from(skip).ok()?, last: last.and_then(|last| u64::try_from(last).ok()) };
    numbered.rows_of(&limit.input, Vec::new())
}

/// The numbers of the rows to keep: those after `skip`, up to `last`.
struct Numbered {
    skip: u64,
    last: Option<u64>,
}

impl Numbered {
    fn rows_of(&self, plan: &LogicalPlan, order: Vec<SortExpr>) -> Option<Result<LogicalPlan>> {
        match plan {
            LogicalPlan::Sort(sort) if order.is_empty() && sort.fetch.is_none() => {
                self.rows_of(&sort.input, sort.expr.clone())
            }
            LogicalPlan::Projection(projection) => {
                let order = order.into_iter().map(|by| before(by, projection)).collect::<Option<Vec<_>>>()?;
                let input = self.rows_of(&projection.input, order)?;
                Some(input.and_then(|input| {
                    Projection::try_new(projection.expr.clone(), Arc::new(input)).map(LogicalPlan::Projection)
                }))
            }
            LogicalPlan::Filter(filter) => {
                if filter.input.exists(|plan| Ok(plan.contains_outer_reference())).unwrap_or(true) {
                    return None;
                }
                let keys = split_conjunction(&filter.predicate).into_iter().filter(|part| part.contains_outer());
                let keys = keys.map(key).collect::<Option<Vec<Expr>>>()?;
                Some(self.kept(filter, keys, order))
            }
            _ => None,
        }
    }

    fn kept(&self, filter: &Filter, keys: Vec<Expr>, order: Vec<SortExpr>) -> Result<LogicalPlan> {
        let number = row_number().partition_by(keys).order_by(order).build()?;
        let column = Expr::Column(Column::from_name(number.schema_name().to_string()));
        let after = column.clone().gt(lit(self.skip));
        let is_kept = match self.last {
            Some(last) => after.and(column.lt_eq(lit(last))),
            None => after,
        };
        LogicalPlanBuilder::from(LogicalPlan::Filter(filter.clone())).window([number])?.filter(is_kept)?.build()
    }
}

/// Returns the column that a condition compares with preceding tables; none for other conditions.
fn key(condition: &Expr) -> Option<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return None };
    let is_outer = |expr: &Expr| expr.contains_outer() && expr.column_refs().is_empty();
    match (left.contains_outer(), right.contains_outer()) {
        (false, true) if is_outer(right) => Some(Expr::clone(left)),
        (true, false) if is_outer(left) => Some(Expr::clone(right)),
        _ => None,
    }
}

/// Returns a sort order of a projection in terms of its input columns.
fn before(mut by: SortExpr, projection: &Projection) -> Option<SortExpr> {
    let computed = by.expr.clone().transform_up(|expr| match &expr {
        Expr::Column(column) => {
            let at = projection.schema.maybe_index_of_column(column);
            let computed = at.and_then(|at| projection.expr.get(at)).map(|expr| expr.clone().unalias());
            Ok(computed.map_or_else(|| Transformed::no(expr.clone()), Transformed::yes))
        }
        _ => Ok(Transformed::no(expr)),
    });
    by.expr = computed.data().ok()?;
    Some(by)
}
