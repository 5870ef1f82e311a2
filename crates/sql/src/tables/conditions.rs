//! The conditions of a query on single columns, as far as the store can evaluate them.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use crate::functions::times::is_utc;

/// A condition on a column. Absent values never meet it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Condition {
    /// One of these texts.
    Texts { column: String, texts: Vec<String> },
    /// A number, or epoch milliseconds, in a range with both bounds included.
    Between { column: String, low: i64, high: i64 },
    /// A text that contains this one.
    Holds { column: String, part: String },
}

/// Returns the condition that is exactly equivalent to an expression on one column; none for other expressions.
pub(crate) fn condition(expr: &Expr) -> Option<Condition> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => either(condition(left)?, condition(right)?),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            compared(left, *op, right).or_else(|| compared(right, op.swap()?, left))
        }
        Expr::InList(list) if !list.negated => {
            let texts: Option<Vec<String>> = list.list.iter().map(text).collect();
            Some(Condition::Texts { column: column(&list.expr)?, texts: texts? })
        }
        Expr::Between(between) if !between.negated => {
            let low = compared(&between.expr, Operator::GtEq, &between.low)?;
            let high = compared(&between.expr, Operator::LtEq, &between.high)?;
            both(low, high)
        }
        Expr::Like(like) if !like.negated && !like.case_insensitive && like.escape_char.is_none() => {
            let pattern = text(&like.pattern)?;
            let part = pattern.strip_prefix('%')?.strip_suffix('%')?;
            let is_plain = !part.is_empty() && !part.contains(['%', '_', '\\']);
            is_plain.then_some(Condition::Holds { column: column(&like.expr)?, part: part.to_owned() })
        }
        Expr::ScalarFunction(call) if call.name() == "contains" => {
            let [whole, part] = call.args.as_slice() else { return None };
            Some(Condition::Holds { column: column(whole)?, part: text(part)? })
        }
        _ => None,
    }
}

/// Joins two conditions with OR: the engine writes short `IN` lists in this form.
fn either(left: Condition, right: Condition) -> Option<Condition> {
    match (left, right) {
        (Condition::Texts { column, mut texts }, Condition::Texts { column: other, texts: more })
            if column == other =>
        {
            texts.extend(more);
            Some(Condition::Texts { column, texts })
        }
        _ => None,
    }
}

fn both(left: Condition, right: Condition) -> Option<Condition> {
    match (left, right) {
        (Condition::Between { column, low, high }, Condition::Between { column: other, low: low2, high: high2 })
            if column == other =>
        {
            Some(Condition::Between { column, low: low.max(low2), high: high.min(high2) })
        }
        _ => None,
    }
}

fn compared(left: &Expr, op: Operator, right: &Expr) -> Option<Condition> {
    let column = column(left)?;
    if let Some(text) = text(right) {
        return (op == Operator::Eq).then(|| Condition::Texts { column, texts: vec![text] });
    }
    let (floor, is_whole) = number(right)?;
    let ceiling = if is_whole { floor } else { floor.checked_add(1)? };
    let (low, high) = match op {
        // No integer equals a number with a fraction.
        Operator::Eq if !is_whole => (1, 0),
        Operator::Eq => (floor, floor),
        Operator::GtEq => (ceiling, i64::MAX),
        Operator::Gt => (floor.checked_add(1)?, i64::MAX),
        Operator::LtEq => (i64::MIN, floor),
        Operator::Lt => (i64::MIN, ceiling.checked_sub(1)?),
        _ => return None,
    };
    Some(Condition::Between { column, low, high })
}

/// Returns the column of an expression that is a column, or a cast of a column that keeps its value.
fn column(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Column(column) => Some(column.name().to_owned()),
        Expr::Alias(alias) => column(&alias.expr),
        Expr::Cast(cast) => keeps_value(&cast.data_type).then(|| column(&cast.expr)).flatten(),
        _ => None,
    }
}

fn keeps_value(kind: &DataType) -> bool {
    let fine = [TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
    match kind {
        // Any other zone would shift a time without a zone.
        DataType::Timestamp(unit, zone) => fine.contains(unit) && zone.as_deref().is_none_or(is_utc),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        _ => false,
    }
}

fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text), _) => {
            text.clone()
        }
        Expr::Cast(cast) if keeps_value(&cast.data_type) => text(&cast.expr),
        _ => None,
    }
}

/// Returns an integer, or an instant in epoch milliseconds, rounded down, and whether the value is exact.
fn number(expr: &Expr) -> Option<(i64, bool)> {
    let Expr::Literal(value, _) = expr else { return None };
    let divided = |value: i64, by: i64| (value.div_euclid(by), value.rem_euclid(by) == 0);
    match value {
        ScalarValue::Int64(value) => value.map(|value| (value, true)),
        ScalarValue::Int32(value) => value.map(|value| (value.into(), true)),
        ScalarValue::TimestampSecond(value, _) => value.and_then(|value| Some((value.checked_mul(1_000)?, true))),
        ScalarValue::TimestampMillisecond(value, _) => value.map(|value| (value, true)),
        ScalarValue::TimestampMicrosecond(value, _) => value.map(|value| divided(value, 1_000)),
        ScalarValue::TimestampNanosecond(value, _) => value.map(|value| divided(value, 1_000_000)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::logical_expr::cast;
    use datafusion::prelude::{col, lit};

    fn instant_ns(ns: i64) -> Expr {
        Expr::Literal(ScalarValue::TimestampNanosecond(Some(ns), None), None)
    }

    fn between(low: i64, high: i64) -> Option<Condition> {
        Some(Condition::Between { column: "time".to_owned(), low, high })
    }

    #[test]
    fn instants_between_two_milliseconds_take_the_right_side() {
        assert_eq!(condition(&col("time").gt_eq(instant_ns(1_500_000))), between(2, i64::MAX));
        assert_eq!(condition(&col("time").gt(instant_ns(1_500_000))), between(2, i64::MAX));
        assert_eq!(condition(&col("time").lt(instant_ns(1_500_000))), between(i64::MIN, 1));
        assert_eq!(condition(&col("time").lt(instant_ns(2_000_000))), between(i64::MIN, 1));
        assert_eq!(condition(&instant_ns(2_000_000).lt_eq(col("time"))), between(2, i64::MAX));
        assert_eq!(condition(&col("time").eq(instant_ns(1_500_000))), between(1, 0));
    }

    #[test]
    fn a_time_that_is_moved_to_another_zone_is_not_looked_for() {
        let zoned = |zone: Option<&str>| {
            let kind = DataType::Timestamp(TimeUnit::Nanosecond, zone.map(Into::into));
            condition(&cast(col("time"), kind).gt_eq(instant_ns(2_000_000)))
        };
        assert_eq!(zoned(None), between(2, i64::MAX));
        assert_eq!(zoned(Some("UTC")), between(2, i64::MAX));
        assert_eq!(zoned(Some("Europe/Berlin")), None);
    }

    #[test]
    fn short_lists_are_lists() {
        let texts = vec!["ERROR".to_owned(), "FATAL".to_owned()];
        let expected = Some(Condition::Texts { column: "severity".to_owned(), texts });
        let or = col("severity").eq(lit("ERROR")).or(col("severity").eq(lit("FATAL")));
        assert_eq!(condition(&or), expected);
        assert_eq!(condition(&col("severity").in_list(vec![lit("ERROR"), lit("FATAL")], false)), expected);
        assert_eq!(condition(&col("severity").eq(lit("ERROR")).or(col("message").eq(lit("x")))), None);
    }

    #[test]
    fn only_plain_parts_are_looked_for() {
        let part = |pattern: &str| match condition(&col("message").like(lit(pattern))) {
            Some(Condition::Holds { part, .. }) => Some(part),
            _ => None,
        };
        assert_eq!(part("%time out%"), Some("time out".to_owned()));
        assert_eq!(["time%", "%a%b%", "%a_b%", "%", "%%", "%a\\%b%"].map(part), [const { None }; 6]);
        assert_eq!(condition(&col("message").not_like(lit("%a%"))), None);
    }
}
