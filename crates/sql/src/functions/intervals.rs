//! Intervals as in PostgreSQL: a month has 30 days and a day 24 hours where two are compared, and a date that an interval
//! is added to becomes a timestamp.
//!
//! The engine compares months before days before hours, and removes the hours from the sum of a date and an interval.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{AsArray, Decimal128Array};
use datafusion::arrow::datatypes::{DataType, IntervalMonthDayNanoType, IntervalUnit, TimeUnit};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::expr::Between;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF, Volatility, cast, create_udf,
};

use crate::functions::times::by_array;

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

const DAY_NS: i128 = 86_400_000_000_000;

/// Nanoseconds of an interval, as a number.
const NANOSECONDS: DataType = DataType::Decimal128(38, 0);

/// The length of an interval in nanoseconds.
static LENGTH: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    let length = |args: &[ColumnarValue]| {
        by_array(&args[0], |intervals| {
            let lengths: Decimal128Array = intervals
                .as_primitive::<IntervalMonthDayNanoType>()
                .iter()
                .map(|interval| {
                    let interval = interval?;
                    let days = i128::from(interval.months) * 30 + i128::from(interval.days);
                    Some(days * DAY_NS + i128::from(interval.nanoseconds))
                })
                .collect();
            Ok(Arc::new(lengths.with_precision_and_scale(38, 0)?))
        })
    };
    Arc::new(create_udf("interval_length", vec![INTERVAL], NANOSECONDS, Volatility::Immutable, Arc::new(length)))
});

/// An expression with intervals as PostgreSQL evaluates it.
pub(crate) fn with_postgres_intervals(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match expr {
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

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// Sorts intervals by their length.
pub(crate) fn with_sorted_intervals(mut plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Sort(sort) = &mut plan else { return Ok(Transformed::no(plan)) };
    let mut is_changed = false;
    for by in &mut sort.expr {
        if is_interval(&by.expr, sort.input.schema()) {
            by.expr = LENGTH.call(vec![std::mem::take(&mut by.expr)]);
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
    *date = cast(std::mem::take(date), DataType::Timestamp(TimeUnit::Nanosecond, None));
    true
}

fn compares_lengths(intervals: &mut [&mut Box<Expr>], schema: &DFSchema) -> bool {
    if !intervals.iter().all(|expr| is_interval(expr, schema)) {
        return false;
    }
    for expr in intervals {
        ***expr = LENGTH.call(vec![std::mem::take(&mut ***expr)]);
    }
    true
}

fn is_interval(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|kind| kind == INTERVAL)
}
