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

/// A time: RFC 3339, or a number since 1970, or the same as text. Numbers are milliseconds as far as those name a time;
/// then microseconds, then nanoseconds. One with a fraction is seconds, where it would be of 1970 as milliseconds.
pub(crate) fn time(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| {
                // `inf` and the like are no times.
                let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
                serde_json::from_str(text).ok().filter(|_| is_number).and_then(|number: Value| time_of_number(&number))
            })
        }
        _ => time_of_number(value),
    }
}

fn time_of_number(value: &Value) -> Option<Timestamp> {
    let by_magnitude = |number: i64| {
        [1, 1_000, 1_000_000].iter().find_map(|unit| Timestamp::from_millis(number.div_euclid(*unit)).ok())
    };
    if let Some(number) = value.as_i64() {
        return by_magnitude(number);
    }
    let number = value.as_f64().filter(|number| number.abs() < 9.0e18)?;
    let is_seconds = number.fract() != 0.0 && number.abs() < 1.0e11;
    by_magnitude(if is_seconds { (number * 1_000.0).round() } else { number.floor() } as i64)
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
