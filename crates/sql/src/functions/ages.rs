//! `age(later, earlier)`: the years, months, days and time between two times, as calendars count them.

use std::any::Any;
use std::sync::Arc;

use chrono::{DateTime, Datelike, NaiveDateTime, TimeDelta};
use datafusion::arrow::array::{AsArray, IntervalMonthDayNanoBuilder};
use datafusion::arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalUnit, TimeUnit, TimestampMicrosecondType};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use crate::functions::times::{as_given, instants};

pub(crate) fn age() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(AgeFunction { signature: Signature::user_defined(Volatility::Immutable) }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AgeFunction {
    signature: Signature,
}

impl ScalarUDFImpl for AgeFunction {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        "age"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        let is_time = |kind: &DataType| kind.is_temporal() || kind.is_string() || kind.is_null();
        match kinds {
            [later, earlier] if is_time(later) && is_time(earlier) => Ok(vec![instants(TimeUnit::Microsecond); 2]),
            _ => Err(DataFusionError::Plan("age takes one or two times".to_owned())),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Interval(IntervalUnit::MonthDayNano))
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = call.args.iter().map(|arg| arg.to_array(call.number_rows)).collect::<Result<Vec<_>>>()?;
        let [later, earlier] = arrays.as_slice() else {
            return Err(DataFusionError::Internal("two times".to_owned()));
        };
        let (later, earlier) =
            (later.as_primitive::<TimestampMicrosecondType>(), earlier.as_primitive::<TimestampMicrosecondType>());
        let time = |us: Option<i64>| us.map(|us| DateTime::from_timestamp_micros(us).map(|time| time.naive_utc()));
        let mut ages = IntervalMonthDayNanoBuilder::with_capacity(later.len());
        for (later, earlier) in later.iter().zip(earlier.iter()) {
            ages.append_option(match time(later).zip(time(earlier)) {
                None => None,
                Some((Some(later), Some(earlier))) => Some(between(later, earlier).ok_or_else(too_long)?),
                Some(_) => return Err(too_long()),
            });
        }
        as_given(&call.args, Arc::new(ages.finish()))
    }
}

fn too_long() -> DataFusionError {
    DataFusionError::Execution("an age is out of the range of intervals".to_owned())
}

/// Returns the age, field by field: missing days are borrowed from the month of the earlier time. None if the age does
/// not fit into an interval.
fn between(later: NaiveDateTime, earlier: NaiveDateTime) -> Option<IntervalMonthDayNano> {
    if later < earlier {
        let age = between(earlier, later)?;
        return Some(IntervalMonthDayNano::new(-age.months, -age.days, -age.nanoseconds));
    }
    let month = |time: NaiveDateTime| time.year() * 12 + time.month0() as i32;
    let day = |time: NaiveDateTime| i32::try_from(time.day()).ok();
    let mut months = month(later) - month(earlier);
    let mut days = day(later)? - day(earlier)?;
    let mut time = later.time() - earlier.time();
    if time < TimeDelta::zero() {
        time += TimeDelta::days(1);
        days -= 1;
    }
    if days < 0 {
        days += i32::from(earlier.num_days_in_month());
        months -= 1;
    }
    Some(IntervalMonthDayNano::new(months, days, time.num_nanoseconds()?))
}
