//! Reads what services send that follow the contract in their own way.

use runlog_model::Timestamp;
use serde_json::Value;

/// A count: a number, with or without a fraction of zeros, or the same as text.
pub(crate) fn count(value: &Value) -> Option<u64> {
    let from_float = |number: f64| (0.0..9.0e15).contains(&number).then_some(number as u64);
    match value {
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().and_then(from_float)),
        Value::String(text) => text.trim().parse().ok().or_else(|| text.trim().parse().ok().and_then(from_float)),
        _ => None,
    }
}

/// A time: RFC 3339, or milliseconds since 1970.
pub(crate) fn time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => text.parse().ok().or_else(|| Timestamp::from_millis(text.parse().ok()?).ok()),
        _ => Timestamp::from_millis(i64::try_from(count(value)?).ok()?).ok(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_come_in_many_forms() {
        for value in [json!(30), json!(30.0), json!("30"), json!("30.0"), json!(" 30 ")] {
            assert_eq!(count(&value), Some(30), "{value}");
        }
        for value in [json!(null), json!(-1), json!("many"), json!([])] {
            assert_eq!(count(&value), None, "{value}");
        }
    }

    #[test]
    fn times_come_as_text_and_as_numbers() {
        for value in [json!("2021-03-02T14:50:23.123Z"), json!(1_614_696_623_123_u64), json!("1614696623123")] {
            assert_eq!(time(&value).map(Timestamp::as_millis), Some(1_614_696_623_123), "{value}");
        }
    }
}
