//! `AT TIME ZONE`, which is `timezone(zone, time)`: the local time of a zone at an instant, or the instant of a local
//! time.
//!
//! The engine only attaches the zone to the instant, so that clients display the same instant in another zone.

use std::any::Any;
use std::sync::Arc;

use chrono::{DateTime, LocalResult, NaiveDateTime, Offset, TimeZone};
use datafusion::arrow::array::timezone::Tz;
use datafusion::arrow::array::{Array, AsArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use crate::functions::times::{CLOCKS, after_gap, as_given, instants, is_text};

/// Maximum length of the name of a zone in a message. Unit: characters.
const SHOWN_CHARS_MAX: usize = 64;

pub(crate) fn timezone() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(TimezoneFunction { signature: Signature::user_defined(Volatility::Immutable) }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TimezoneFunction {
    signature: Signature,
}

impl ScalarUDFImpl for TimezoneFunction {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        "timezone"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        let [zone, time] = kinds else {
            return Err(DataFusionError::Plan("timezone takes the name of a zone and a time".to_owned()));
        };
        let is_text_or_null = |kind: &DataType| is_text(kind) || kind.is_null();
        let time = match time {
            DataType::Timestamp(_, None) => CLOCKS,
            DataType::Timestamp(_, Some(_)) | DataType::Date32 | DataType::Date64 => instants(TimeUnit::Microsecond),
            text if is_text_or_null(text) => instants(TimeUnit::Microsecond),
            _ => return Err(DataFusionError::Plan("AT TIME ZONE takes a time".to_owned())),
        };
        match is_text_or_null(zone) {
            true => Ok(vec![DataType::Utf8, time]),
            false => Err(DataFusionError::Plan("AT TIME ZONE takes the name of a zone".to_owned())),
        }
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        match kinds {
            [_, DataType::Timestamp(_, None)] => Ok(instants(TimeUnit::Microsecond)),
            _ => Ok(CLOCKS),
        }
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (rows, kind) = (call.number_rows, call.return_field.data_type().clone());
        let [zones, times] = call.args.as_slice() else {
            return Err(DataFusionError::Internal("a zone and a time".to_owned()));
        };
        let is_clock = kind != CLOCKS;
        let times = times.to_array(rows)?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let zones = zones.to_array(rows)?;
        let zones = zones.as_string::<i32>();
        let mut known: Option<(&str, Tz)> = None;
        let mut moved = TimestampMicrosecondArray::builder(times.len());
        for row in 0..times.len() {
            if times.is_null(row) || zones.is_null(row) {
                moved.append_null();
                continue;
            }
            let name = zones.value(row);
            let zone = match known {
                Some((known, zone)) if known == name => zone,
                _ => zone_named(name)?,
            };
            known = Some((name, zone));
            moved.append_value(moved_time(times.value(row), zone, is_clock)?);
        }
        as_given(&call.args, Arc::new(moved.finish().with_data_type(kind)))
    }
}

fn zone_named(name: &str) -> Result<Tz> {
    let name = name.trim();
    let known = name.parse().or_else(|error| match name {
        name if name.eq_ignore_ascii_case("utc") || name.eq_ignore_ascii_case("z") => "UTC".parse(),
        _ => Err(error),
    });
    known.map_err(|_| {
        let shown: String = name.chars().take(SHOWN_CHARS_MAX).collect();
        DataFusionError::Execution(format!("there is no time zone {:?}; name one such as Europe/Berlin", shown))
    })
}

/// Returns the local time at an instant, or the instant of a local time if `is_clock`. Unit: microseconds.
fn moved_time(us: i64, zone: Tz, is_clock: bool) -> Result<i64> {
    let moved = DateTime::from_timestamp_micros(us).and_then(|time| match is_clock {
        true => instant(time.naive_utc(), zone),
        false => {
            let offset = zone.offset_from_utc_datetime(&time.naive_utc()).fix();
            us.checked_add(i64::from(offset.local_minus_utc()) * 1_000_000)
        }
    });
    moved.ok_or_else(|| DataFusionError::Execution("a time is out of the range of times in that zone".to_owned()))
}

/// Returns the instant of a local time. If the time occurs twice, the later instant: standard time, as in PostgreSQL.
fn instant(local: NaiveDateTime, zone: Tz) -> Option<i64> {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(time) | LocalResult::Ambiguous(_, time) => Some(time.timestamp_micros()),
        LocalResult::None => {
            let second = after_gap(zone, local)?;
            second.checked_mul(1_000_000)?.checked_add(i64::from(local.and_utc().timestamp_subsec_micros()))
        }
    }
}
