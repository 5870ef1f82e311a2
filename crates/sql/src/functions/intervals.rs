//! Intervals as in PostgreSQL: for comparisons, a month has 30 days and a day 24 hours, the sum of a date and an interval
//! is a timestamp, and the sum of a time of day and an interval is a time of day.
//!
//! The engine compares months before days before hours, removes the hours from the sum of a date and an interval, and
//! takes the sum of a time of day and an interval for an interval.

use datafusion::arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr::Between;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, cast, lit};

use crate::functions::times::{CLOCKS, is_comparison, to_length};

pub(super) const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// Changes an expression with intervals so that it has the same value as in PostgreSQL.
pub(crate) fn with_postgres_intervals(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Plus | Operator::Minus), right })
            if is_time(&left, schema) && is_interval(&right, schema) =>
        {
            Transformed::yes(moved_time(*left, op, *right))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus, right })
            if is_interval(&left, schema) && is_time(&right, schema) =>
        {
            Transformed::yes(moved_time(*right, Operator::Plus, *left))
        }
        Expr::BinaryExpr(BinaryExpr { mut left, op, mut right }) => {
            let is_changed = match op {
                Operator::Plus => moves_date(&mut left, &right, schema) || moves_date(&mut right, &left, schema),
                Operator::Minus => moves_date(&mut left, &right, schema),
                op if is_comparison(op) => compares_lengths(&mut [&mut left, &mut right], schema),
                _ => false,
            };
            Transformed::new_transformed(Expr::BinaryExpr(BinaryExpr { left, op, right }), is_changed)
        }
        Expr::Between(Between { mut expr, negated, mut low, mut high }) => {
            let is_changed = compares_lengths(&mut [&mut expr, &mut low, &mut high], schema);
            Transformed::new_transformed(Expr::Between(Between { expr, negated, low, high }), is_changed)
        }
        expr => Transformed::no(expr),
    }
}

/// Sorts intervals by their length.
pub(crate) fn with_sorted_intervals(mut plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Sort(sort) = &mut plan else { return Ok(Transformed::no(plan)) };
    let mut is_changed = false;
    for by in &mut sort.expr {
        if is_interval(&by.expr, sort.input.schema()) {
            to_length(&mut by.expr);
            is_changed = true;
        }
    }
    Ok(Transformed::new_transformed(plan, is_changed))
}

fn moves_date(date: &mut Expr, by: &Expr, schema: &DFSchema) -> bool {
    let is_date = matches!(date.get_type(schema), Ok(DataType::Date32 | DataType::Date64));
    if !is_date || !is_interval(by, schema) {
        return false;
    }
    *date = cast(std::mem::take(date), CLOCKS);
    true
}

/// A time of day plus or minus an interval, modulo 24 hours; days and months have no effect.
fn moved_time(time: Expr, op: Operator, by: Expr) -> Expr {
    let binary = |left: Expr, op, right: Expr| Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)));
    let first_day = lit(ScalarValue::Date32(Some(0)));
    cast(binary(binary(first_day, Operator::Plus, time), op, by), DataType::Time64(TimeUnit::Nanosecond))
}

fn is_time(expr: &Expr, schema: &DFSchema) -> bool {
    matches!(expr.get_type(schema), Ok(DataType::Time32(_) | DataType::Time64(_)))
}

fn compares_lengths(intervals: &mut [&mut Box<Expr>], schema: &DFSchema) -> bool {
    if !intervals.iter().all(|expr| is_interval(expr, schema)) {
        return false;
    }
    intervals.iter_mut().for_each(|expr| to_length(expr));
    true
}

fn is_interval(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|kind| kind == INTERVAL)
}
