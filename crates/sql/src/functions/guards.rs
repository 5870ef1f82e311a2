//! Conditions that can fail, evaluated only for the rows that meet the other conditions of the same `WHERE`.
//!
//! The engine may evaluate all conditions for all rows, so that `WHERE n <> 0 AND 10 / n > 1` fails for a row in which
//! `n` is 0.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue, TableReference};
use datafusion::error::Result;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Filter, LogicalPlan, Operator, when};

use crate::functions::times::is_text;

/// Maximum number of parts of all copies of the guard of a filter; a filter that would exceed it is left unchanged.
const COPIED_PARTS_MAX: usize = 10_000;

/// Guards the divisors and the texts that are cast in the conditions of a filter: for a row that does not meet the
/// conditions that cannot fail, each is NULL.
pub(crate) fn with_guards(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Filter(Filter { predicate, input, .. }) = &plan else { return Ok(Transformed::no(plan)) };
    let schema = input.schema();
    let conditions = split_conjunction_owned(predicate.clone());
    let is_guard = |condition: &&Expr| {
        !condition.exists(|expr| Ok(can_fail(expr, schema) || !is_repeatable(expr))).unwrap_or(true)
    };
    let Some(guard) = conjunction(conditions.iter().filter(is_guard).cloned()) else {
        return Ok(Transformed::no(plan));
    };
    let copies: usize = conditions
        .iter()
        .map(|condition| parts(condition, |expr| can_fail(expr, schema)))
        .fold(0, usize::saturating_add);
    if copies.saturating_mul(parts(&guard, |_| true)) > COPIED_PARTS_MAX {
        return Ok(Transformed::no(plan));
    }
    let mut is_changed = false;
    let conditions: Vec<Expr> = conditions
        .into_iter()
        .map(|condition| {
            if joins_tables(&condition) {
                return Ok(condition);
            }
            let condition = condition.transform_up(|expr| guarded(expr, &guard, schema))?;
            is_changed |= condition.transformed;
            Ok(condition.data)
        })
        .collect::<Result<_>>()?;
    match conjunction(conditions).filter(|_| is_changed) {
        Some(predicate) => Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, Arc::clone(input))?))),
        None => Ok(Transformed::no(plan)),
    }
}

fn guarded(expr: Expr, guard: &Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    if !can_fail(&expr, schema) {
        return Ok(Transformed::no(expr));
    }
    let guarded = |value: Box<Expr>| when(guard.clone(), *value).end().map(Box::new);
    Ok(Transformed::yes(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            Expr::BinaryExpr(BinaryExpr { left, op, right: guarded(right)? })
        }
        Expr::Cast(mut cast) => {
            cast.expr = guarded(cast.expr)?;
            Expr::Cast(cast)
        }
        expr => expr,
    }))
}

/// Returns the number of parts of an expression for which `is_counted` is true.
fn parts(expr: &Expr, is_counted: impl Fn(&Expr) -> bool) -> usize {
    let mut count = 0;
    let visited = expr.apply(|part| {
        count += usize::from(is_counted(part));
        Ok(TreeNodeRecursion::Continue)
    });
    visited.map_or(usize::MAX, |_| count)
}

/// Whether an expression can fail for some values of its parts.
fn can_fail(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::BinaryExpr(BinaryExpr { right, op: Operator::Divide | Operator::Modulo, .. }) => {
            let is_exact = right.get_type(schema).is_ok_and(|kind| kind.is_integer() || kind.is_decimal());
            is_exact && !matches!(right.as_ref(), Expr::Literal(..))
        }
        Expr::Cast(cast) => {
            let is_parsed = !is_text(&cast.data_type) && cast.data_type != DataType::Null;
            is_parsed
                && !matches!(cast.expr.as_ref(), Expr::Literal(..))
                && cast.expr.get_type(schema).is_ok_and(|kind| is_text(&kind))
        }
        _ => false,
    }
}

/// Whether a condition compares two tables. The engine can use it as a join condition only if it refers to no other
/// tables. Expressions on one side are evaluated only for the rows that meet the conditions on that table.
fn joins_tables(condition: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return false };
    // None for a column of no table, such as the result of an aggregate.
    let tables = |expr: &Expr| -> Option<HashSet<TableReference>> {
        expr.column_refs().into_iter().map(|column| column.relation.clone()).collect()
    };
    let (Some(left), Some(right)) = (tables(left), tables(right)) else { return false };
    !left.is_empty() && !right.is_empty() && left.is_disjoint(&right)
}

/// Whether an expression can be copied to another place in the condition with the same value. Columns of an outer query
/// are not copied: the engine supports them only in conditions of few forms.
fn is_repeatable(expr: &Expr) -> bool {
    let is_query = matches!(expr, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_));
    let is_outer = matches!(expr, Expr::OuterReferenceColumn(..));
    !is_query && !is_outer && !expr.is_volatile_node() && !matches!(expr, Expr::Literal(ScalarValue::Null, _))
}
