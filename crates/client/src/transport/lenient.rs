//! Reads what services send that follow the contract in their own way.

use runlog_model::{LogTime, LogZone, Timestamp};
use serde_json::Value;

/// Reads a count: a number, with or without a fraction of zeros, or such a number as text.
pub(crate) fn count(value: &Value) -> Option<u64> {
    let from_float = |number: f64| (0.0..9.0e15).contains(&number).then_some(number as u64);
    match value {
        Value::Number(number) => number.as_u64().or_else(|| number.as_f64().and_then(from_float)),
        Value::String(text) => text.trim().parse().ok().or_else(|| text.trim().parse().ok().and_then(from_float)),
        _ => None,
    }
}

/// Numbers up to this are milliseconds, as the contract has it: the year 5138. Larger ones are of other units.
const MILLIS_MAX: u64 = 100_000_000_000_000;

/// A time: milliseconds since 1970, as the contract has it, or what else logs write: another unit, a fraction of
/// seconds, a text; see [`LogTime::read`].
pub(crate) fn time(value: &Value) -> Option<Timestamp> {
    let text = value.as_str().map(str::trim);
    let whole = match text {
        Some(text) => text.parse().ok(),
        None => value.as_i64().or_else(|| {
            let is_whole = |number: &f64| number.fract() == 0.0 && number.abs() <= MILLIS_MAX as f64;
            value.as_f64().filter(is_whole).map(|number| number as i64)
        }),
    };
    match whole {
        Some(epoch_ms) if i64::unsigned_abs(epoch_ms) <= MILLIS_MAX => Timestamp::from_millis(epoch_ms).ok(),
        _ => LogTime::read(value, &LogZone::default()).map(|at| at.time),
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
    fn small_numbers_are_milliseconds_as_the_contract_has_it() {
        for value in [json!(5), json!(5.0), json!("5")] {
            assert_eq!(time(&value).map(Timestamp::as_millis), Some(5), "{value}");
        }
        for value in [json!(null), json!(1e300), json!("soon"), json!(["5"]), json!(true)] {
            assert_eq!(time(&value), None, "{value}");
        }
    }

    #[test]
    fn times_come_as_text_and_as_numbers() {
        for value in [json!("2021-03-02T14:50:23.123Z"), json!(1_614_696_623_123_u64), json!("1614696623123")] {
            assert_eq!(time(&value).map(Timestamp::as_millis), Some(1_614_696_623_123), "{value}");
        }
    }
}
