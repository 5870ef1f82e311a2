//! Times of any year.
//!
//! By default, the engine computes with nanoseconds, which only cover the years 1677 to 2262. A single record with a
//! date outside of this range made `date_trunc`, `to_char`, a comparison with a text or a cast fail for all others.
//! Here the same functions compute in the unit of their argument, and time literals have microsecond precision, as in
//! PostgreSQL. This covers all times of records.
//!
//! `to_timestamp_nanos` and `arrow_cast` still return nanoseconds, and fail for times out of their range.

use std::any::Any;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use chrono::format::{Parsed, StrftimeItems};
use chrono::{
    DateTime, Datelike, Days, LocalResult, Months, NaiveDateTime, Offset, TimeDelta, TimeZone, Timelike, Utc,
};
use datafusion::arrow::array::timezone::Tz;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringViewArray};
use datafusion::arrow::compute::cast as cast_array;
use datafusion::arrow::compute::kernels::cast_utils::string_to_datetime;
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Float64Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    TimeUnit,
};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::functions::datetime::date_trunc;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Documentation, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, cast, create_udf, lit,
};

use crate::postgres::time_with_seconds;

const SECOND_NS: i64 = 1_000_000_000;
const MINUTE_NS: i64 = 60 * SECOND_NS;
const HOUR_NS: i64 = 60 * MINUTE_NS;
pub(super) const DAY_NS: i64 = 24 * HOUR_NS;

/// Microseconds of a day, and days of a month in comparisons of intervals.
const DAY_US: i64 = DAY_NS / 1_000;
const MONTH_DAYS: i64 = 30;

/// The operation of a replaced function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Work {
    /// `date_trunc(precision, time)`.
    Truncate,
    /// `date_bin(stride, time, origin)`.
    Bin,
    /// `to_char(time, format)`.
    Format,
    /// `to_timestamp…(value, formats…)`: the unit of the result, and the unit of integer arguments.
    Read { gives: TimeUnit, numbers: TimeUnit },
    /// `to_unixtime(value, formats…)`.
    Count,
}

impl Work {
    fn of(name: &str) -> Option<Self> {
        let read = |gives, numbers| Some(Self::Read { gives, numbers });
        match name {
            "date_trunc" => Some(Self::Truncate),
            "date_bin" => Some(Self::Bin),
            "to_char" => Some(Self::Format),
            "to_timestamp" => read(TimeUnit::Microsecond, TimeUnit::Second),
            "to_timestamp_seconds" => read(TimeUnit::Second, TimeUnit::Second),
            "to_timestamp_millis" => read(TimeUnit::Millisecond, TimeUnit::Millisecond),
            "to_timestamp_micros" => read(TimeUnit::Microsecond, TimeUnit::Microsecond),
            "to_unixtime" => Some(Self::Count),
            _ => None,
        }
    }
}

/// Returns the replacement of a function of the engine for times of any year; the same function if none is needed.
pub(crate) fn wide(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    let Some(work) = Work::of(function.name()) else { return function };
    let signature = match work {
        Work::Read { .. } | Work::Count => function.signature().clone(),
        _ => Signature::user_defined(Volatility::Immutable),
    };
    Arc::new(ScalarUDF::new_from_impl(WideFunction { inner: Arc::clone(function.inner()), work, signature }))
}

/// Whether the engine's function of this name is replaced.
pub(crate) fn is_replaced(name: &str) -> bool {
    Work::of(name).is_some()
}

/// A function of the engine, for times of any year.
#[derive(Debug)]
pub(crate) struct WideFunction {
    inner: Arc<dyn ScalarUDFImpl>,
    work: Work,
    signature: Signature,
}

impl PartialEq for WideFunction {
    fn eq(&self, other: &Self) -> bool {
        self.inner.dyn_eq(other.inner.as_any())
    }
}

impl Eq for WideFunction {}

impl Hash for WideFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.dyn_hash(state);
    }
}

impl ScalarUDFImpl for WideFunction {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        let wrong = |what: &str| Err(DataFusionError::Plan(format!("{} takes {what}", self.name())));
        match (self.work, kinds) {
            (Work::Truncate, [precision, time]) => match time_kind(time) {
                Some(time) if is_text(precision) => Ok(vec![precision.clone(), time]),
                // A parameter.
                Some(time) if precision.is_null() => Ok(vec![DataType::Utf8, time]),
                _ => wrong("a precision in words and a time"),
            },
            (Work::Bin, [stride, time, origin @ ..]) if origin.len() < 2 => {
                let is_stride = matches!(stride, DataType::Interval(_) | DataType::Null) || is_text(stride);
                let (Some(time), true) = (time_kind(time), is_stride) else {
                    return wrong("an interval, a time, and perhaps a time from which intervals are counted");
                };
                let from = match &time {
                    DataType::Timestamp(_, _) => DataType::Timestamp(TimeUnit::Microsecond, None),
                    time => time.clone(),
                };
                let mut kinds = vec![DataType::Interval(IntervalUnit::MonthDayNano), time];
                kinds.extend(origin.iter().map(|_| from.clone()));
                Ok(kinds)
            }
            (Work::Format, [time, format]) => {
                let kind = match time {
                    DataType::Date32 | DataType::Date64 | DataType::Duration(_) => Some(time.clone()),
                    time => time_kind(time),
                };
                match kind {
                    Some(time) if is_text(format) || format.is_null() => Ok(vec![time, DataType::Utf8]),
                    _ => wrong("a time and a format in words"),
                }
            }
            (Work::Truncate, _) => wrong("a precision and a time"),
            (Work::Bin, _) => wrong("an interval, a time, and perhaps a time from which intervals are counted"),
            (Work::Format, _) => wrong("a time and a format"),
            (Work::Read { .. } | Work::Count, kinds) => Ok(kinds.to_vec()),
        }
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        match (self.work, kinds) {
            (Work::Truncate | Work::Bin, [_, time, ..]) => Ok(time.clone()),
            (Work::Read { gives, .. }, _) => Ok(instants(gives)),
            (Work::Count, _) => Ok(DataType::Int64),
            _ => Ok(DataType::Utf8),
        }
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(input)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let answer = match (self.work, call.args.as_slice()) {
            (Work::Truncate, [precision, time]) => truncated(precision, time)?,
            (Work::Bin, [stride, time, origin @ ..]) => binned(stride, time, origin.first())?,
            (Work::Read { gives, numbers }, args) => read(args, gives, numbers)?,
            (Work::Count, args) => read(args, TimeUnit::Second, TimeUnit::Second)?
                .map(|read| read.cast_to(&DataType::Int64, None))
                .transpose()?,
            _ => None,
        };
        match (answer, self.work) {
            (Some(answer), _) => Ok(answer),
            (None, Work::Read { gives, .. }) => {
                let unzoned = self.inner.invoke_with_args(call)?.cast_to(&DataType::Timestamp(gives, None), None)?;
                unzoned.cast_to(&instants(gives), None)
            }
            (None, _) => self.inner.invoke_with_args(call),
        }
    }
}

/// Returns the time type for a value; none if the value is not a time.
fn time_kind(kind: &DataType) -> Option<DataType> {
    match kind {
        DataType::Timestamp(_, _) | DataType::Time32(_) | DataType::Time64(_) => Some(kind.clone()),
        DataType::Date32 | DataType::Date64 | DataType::Null => Some(DataType::Timestamp(TimeUnit::Microsecond, None)),
        kind if is_text(kind) => Some(DataType::Timestamp(TimeUnit::Microsecond, None)),
        _ => None,
    }
}

fn is_date(kind: &DataType) -> bool {
    matches!(kind, DataType::Date32 | DataType::Date64)
}

/// Whether a type is a text type.
pub(super) fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Returns the length of a unit in nanoseconds.
fn unit_ns(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => SECOND_NS,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

fn out_of_range(what: &str, value: impl std::fmt::Display) -> DataFusionError {
    DataFusionError::Execution(format!("{what} of {value} is out of the range of times"))
}

/// Applies a function to each number of an integer or time value, and interprets the results as values of another type.
fn each(
    value: &ColumnarValue,
    kind: &DataType,
    change: impl Fn(i64) -> Result<i64, DataFusionError>,
) -> Result<ColumnarValue> {
    let changed = |array: &ArrayRef| -> Result<ArrayRef> {
        let numbers = cast_array(array, &DataType::Int64)?;
        let changed: Int64Array = numbers.as_primitive::<Int64Type>().try_unary(&change)?;
        Ok(cast_array(&changed, kind)?)
    };
    by_array(value, changed)
}

/// Applies a function to a value as an array, also if it is a scalar.
pub(super) fn by_array(value: &ColumnarValue, change: impl Fn(&ArrayRef) -> Result<ArrayRef>) -> Result<ColumnarValue> {
    match value {
        ColumnarValue::Array(array) => Ok(ColumnarValue::Array(change(array)?)),
        ColumnarValue::Scalar(value) => {
            let changed = change(&value.to_array()?)?;
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&changed, 0)?))
        }
    }
}

/// Returns the results of a function, as a scalar if all arguments are scalars.
pub(super) fn as_given(args: &[ColumnarValue], array: ArrayRef) -> Result<ColumnarValue> {
    match args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_))) {
        true => ScalarValue::try_from_array(&array, 0).map(ColumnarValue::Scalar),
        false => Ok(ColumnarValue::Array(array)),
    }
}

/// The precision to which a time is truncated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Precision {
    /// Steps of constant length. Unit: nanoseconds.
    Step(i64),
    Week,
    Month,
    Quarter,
    /// Periods of `count` years, counted from the year `first`.
    Years {
        count: i32,
        first: i32,
    },
}

impl Precision {
    fn of(word: &str) -> Option<Self> {
        Some(match word.to_lowercase().as_str() {
            "microsecond" | "microseconds" => Self::Step(1_000),
            "millisecond" | "milliseconds" => Self::Step(1_000_000),
            "second" => Self::Step(SECOND_NS),
            "minute" => Self::Step(MINUTE_NS),
            "hour" => Self::Step(HOUR_NS),
            "day" => Self::Step(DAY_NS),
            "week" => Self::Week,
            "month" => Self::Month,
            "quarter" => Self::Quarter,
            "year" => Self::Years { count: 1, first: 0 },
            "decade" => Self::Years { count: 10, first: 0 },
            // The first century begins with the year 1.
            "century" => Self::Years { count: 100, first: 1 },
            "millennium" => Self::Years { count: 1_000, first: 1 },
            _ => return None,
        })
    }

    /// Returns the step if it does not depend on the zone: no zone has an offset with a fraction of a minute.
    fn step_ns(self, zone: Option<&str>) -> Option<i64> {
        match self {
            Self::Step(ns) if ns <= MINUTE_NS || zone.is_none_or(is_utc) => Some(ns),
            _ => None,
        }
    }

    fn cut(self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        let date = local.date();
        let date = match self {
            Self::Step(HOUR_NS) => return date.and_hms_opt(local.hour(), 0, 0),
            Self::Step(_) => date,
            Self::Week => date.checked_sub_days(Days::new(date.weekday().num_days_from_monday().into()))?,
            Self::Month => date.with_day(1)?,
            Self::Quarter => date.with_day(1)?.with_month(date.month0() / 3 * 3 + 1)?,
            Self::Years { count, first } => {
                let since = (date.year() - first).rem_euclid(count);
                date.with_day(1)?.with_month(1)?.with_year(date.year() - since)?
            }
        };
        date.and_hms_opt(0, 0, 0)
    }
}

/// Computes `date_trunc`; none if the engine's function is used.
fn truncated(precision: &ColumnarValue, time: &ColumnarValue) -> Result<Option<ColumnarValue>> {
    let kind = time.data_type();
    let DataType::Timestamp(unit, zone) = &kind else { return Ok(None) };
    let ColumnarValue::Scalar(word) = precision else { return Ok(None) };
    let Some(precision) = word.try_as_str().flatten().and_then(Precision::of) else { return Ok(None) };
    let unit_ns = unit_ns(*unit);
    if let Some(step_ns) = precision.step_ns(zone.as_deref()) {
        let step = (step_ns / unit_ns).max(1);
        let cut =
            |value: i64| value.checked_sub(value.rem_euclid(step)).ok_or_else(|| out_of_range("date_trunc", value));
        return each(time, &kind, cut).map(Some);
    }
    let zone: Option<Tz> = match zone.as_deref().filter(|zone| !is_utc(zone)) {
        Some(zone) => Some(zone.parse()?),
        None => None,
    };
    let in_second = SECOND_NS / unit_ns;
    let cut = |value: i64| {
        let cut = truncated_second(value.div_euclid(in_second), precision, zone);
        cut.and_then(|second| second.checked_mul(in_second)).ok_or_else(|| out_of_range("date_trunc", value))
    };
    each(time, &kind, cut).map(Some)
}

/// Returns the second at which the period that contains a second began, in the local time of a zone.
fn truncated_second(second: i64, precision: Precision, zone: Option<Tz>) -> Option<i64> {
    let utc = DateTime::from_timestamp(second, 0)?.naive_utc();
    let Some(zone) = zone else { return Some(precision.cut(utc)?.and_utc().timestamp()) };
    let offset = zone.offset_from_utc_datetime(&utc).fix();
    let cut = precision.cut(utc.checked_add_offset(offset)?)?;
    match zone.from_local_datetime(&cut) {
        LocalResult::Single(time) => Some(time.timestamp()),
        // If the hour occurs twice because clocks are set back, use the one that contains the time.
        LocalResult::Ambiguous(first, second) => {
            Some(if first.offset().fix() == offset { first } else { second }.timestamp())
        }
        LocalResult::None => after_gap(zone, cut),
    }
}

/// Returns the second of a local time that is skipped when clocks are set forward: as long after an earlier time as if
/// it were not skipped.
pub(super) fn after_gap(zone: Tz, local: NaiveDateTime) -> Option<i64> {
    let back = TimeDelta::hours(3);
    let earlier = zone.from_local_datetime(&local.checked_sub_signed(back)?).earliest()?;
    earlier.timestamp().checked_add(back.num_seconds())
}

/// Computes `date_bin`; none if the engine's function is used.
fn binned(
    stride: &ColumnarValue,
    time: &ColumnarValue,
    origin: Option<&ColumnarValue>,
) -> Result<Option<ColumnarValue>> {
    let kind = time.data_type();
    let DataType::Timestamp(unit, _) = &kind else { return Ok(None) };
    let (ColumnarValue::Scalar(stride), None | Some(ColumnarValue::Scalar(_))) = (stride, origin) else {
        let message = "date_bin takes an interval and an origin that are the same for all rows";
        return Err(DataFusionError::Plan(message.to_owned()));
    };
    let nothing = || ScalarValue::try_from(&kind).map(|nothing| Some(ColumnarValue::Scalar(nothing)));
    let ScalarValue::IntervalMonthDayNano(Some(stride)) = stride else { return nothing() };
    let origin_us = match origin {
        None => 0,
        Some(ColumnarValue::Scalar(ScalarValue::TimestampMicrosecond(Some(us), _))) => *us,
        Some(_) => return nothing(),
    };
    let IntervalMonthDayNano { months, days, nanoseconds } = *stride;
    let stride_ns = i128::from(days) * i128::from(DAY_NS) + i128::from(nanoseconds);
    if months < 0 || stride_ns < 0 || (months == 0) == (stride_ns == 0) {
        let message =
            "the interval of date_bin must be longer than 0, and consist either of months or of days and shorter units";
        return Err(DataFusionError::Plan(message.to_owned()));
    }
    let unit_ns = unit_ns(*unit);
    let origin_ns = i128::from(origin_us) * 1_000;
    let bin = |value: i64| {
        let ns = i128::from(value) * i128::from(unit_ns);
        let bin = match months {
            0 => Some(origin_ns + (ns - origin_ns).div_euclid(stride_ns) * stride_ns),
            months => month_bin(ns, origin_ns, months),
        };
        let bin = bin.and_then(|bin| i64::try_from(bin.div_euclid(unit_ns.into())).ok());
        bin.ok_or_else(|| out_of_range("date_bin", value))
    };
    each(time, &kind, bin).map(Some)
}

/// Returns the start of the bin of `stride` months, counted from an origin, that contains a time. Unit: nanoseconds.
fn month_bin(ns: i128, origin_ns: i128, stride: i32) -> Option<i128> {
    let instant = |ns: i128| {
        let second = i64::try_from(ns.div_euclid(SECOND_NS.into())).ok()?;
        DateTime::from_timestamp(second, u32::try_from(ns.rem_euclid(SECOND_NS.into())).ok()?)
    };
    let (time, origin) = (instant(ns)?, instant(origin_ns)?);
    let month = |time: DateTime<Utc>| time.year() * 12 + time.month0() as i32;
    let after = |months: i32| {
        let count = Months::new(months.unsigned_abs());
        if months < 0 { origin.checked_sub_months(count) } else { origin.checked_add_months(count) }
    };
    let months = (month(time) - month(origin)).div_euclid(stride).checked_mul(stride)?;
    let mut bin = after(months)?;
    // The day and time of the origin within its month may be later than those of the time.
    if bin > time {
        bin = after(months.checked_sub(stride)?)?;
    }
    Some(i128::from(bin.timestamp()) * i128::from(SECOND_NS) + i128::from(bin.timestamp_subsec_nanos()))
}

/// The type of times without a zone.
pub(super) const CLOCKS: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// Returns the type of instants in a unit.
pub(super) fn instants(unit: TimeUnit) -> DataType {
    DataType::Timestamp(unit, Some("UTC".into()))
}

/// Computes the `to_timestamp` functions; none if the engine's function is used.
fn read(args: &[ColumnarValue], gives: TimeUnit, numbers: TimeUnit) -> Result<Option<ColumnarValue>> {
    let Some((value, formats)) = args.split_first() else { return Ok(None) };
    let kind = instants(gives);
    Ok(Some(match value.data_type() {
        DataType::Null => ColumnarValue::Scalar(ScalarValue::try_from(&kind)?),
        DataType::Timestamp(unit, _) => each(value, &kind, |value| rescaled(value, unit, gives))?,
        DataType::Date32 | DataType::Date64 => value.cast_to(&kind, None)?,
        text if is_text(&text) => match texts_read(value, formats, gives)? {
            Some(read) => read,
            None => return Ok(None),
        },
        number if number.is_integer() && numbers != gives => {
            each(&value.cast_to(&DataType::Int64, None)?, &kind, |value| rescaled(value, numbers, gives))?
        }
        number if number.is_floating() && numbers != gives => {
            let scale = (unit_ns(numbers) / unit_ns(gives)) as f64;
            by_array(value, |array| {
                let numbers = cast_array(array, &DataType::Float64)?;
                let scaled = |number: f64| {
                    let scaled = (number * scale).round();
                    let fits = scaled.abs() < i64::MAX as f64;
                    fits.then_some(scaled as i64).ok_or_else(|| out_of_range("to_timestamp", number))
                };
                let times: Int64Array = numbers.as_primitive::<Float64Type>().try_unary(scaled)?;
                Ok(cast_array(&times, &kind)?)
            })?
        }
        number if number.is_decimal() && numbers != gives => by_array(value, |array| {
            let numbers = cast_array(array, &DataType::Decimal128(38, 6))?;
            let us = |number: i128| i64::try_from(number).map_err(|_| out_of_range("to_timestamp", number));
            let times: Int64Array = numbers.as_primitive::<Decimal128Type>().try_unary(us)?;
            Ok(cast_array(&times, &kind)?)
        })?,
        _ => return Ok(None),
    }))
}

/// Converts a number of units to another unit, rounded down.
fn rescaled(value: i64, from: TimeUnit, to: TimeUnit) -> Result<i64> {
    let (from, to) = (unit_ns(from), unit_ns(to));
    if from <= to {
        return Ok(value.div_euclid(to / from));
    }
    value.checked_mul(from / to).ok_or_else(|| out_of_range("the time", value))
}

/// Parses texts as times; none if a format contains the names of time zones, which the engine parses.
fn texts_read(value: &ColumnarValue, formats: &[ColumnarValue], gives: TimeUnit) -> Result<Option<ColumnarValue>> {
    let rows = std::iter::once(value).chain(formats).find_map(|value| match value {
        ColumnarValue::Array(array) => Some(array.len()),
        ColumnarValue::Scalar(_) => None,
    });
    let texts = |value: &ColumnarValue| -> Result<StringViewArray> {
        let array = cast_array(&value.to_array(rows.unwrap_or(1))?, &DataType::Utf8View)?;
        Ok(array.as_string_view().clone())
    };
    let value = texts(value)?;
    let formats = formats.iter().map(texts).collect::<Result<Vec<_>>>()?;
    if formats.iter().any(|formats| formats.iter().flatten().any(|format| format.contains("%Z"))) {
        return Ok(None);
    }
    let time = |row: usize| -> Result<Option<i64>> {
        if value.is_null(row) {
            return Ok(None);
        }
        let text = value.value(row);
        let mut formats = formats.iter().filter(|formats| formats.is_valid(row)).map(|formats| formats.value(row));
        let time = match formats.next() {
            None => string_to_datetime(&Utc, text)?,
            Some(format) => {
                let first = time_in(text, format);
                formats.fold(first, |time, format| time.or_else(|_| time_in(text, format)))?
            }
        };
        let scaled = match gives {
            TimeUnit::Second => Some(time.timestamp()),
            TimeUnit::Millisecond => Some(time.timestamp_millis()),
            TimeUnit::Microsecond => Some(time.timestamp_micros()),
            TimeUnit::Nanosecond => time.timestamp_nanos_opt(),
        };
        scaled.map(Some).ok_or_else(|| out_of_range("the time", text))
    };
    let times = (0..value.len()).map(time).collect::<Result<Int64Array>>()?;
    let times = cast_array(&times, &instants(gives))?;
    Ok(Some(match rows {
        Some(_) => ColumnarValue::Array(times),
        None => ColumnarValue::Scalar(ScalarValue::try_from_array(&times, 0)?),
    }))
}

/// Parses a time in a given format: in UTC if it has no zone, at midnight if it has no time of day.
fn time_in(text: &str, format: &str) -> Result<DateTime<Utc>> {
    let wrong = |error: chrono::ParseError| {
        DataFusionError::Execution(format!("{text:?} is not a time of the form {format:?}: {error}"))
    };
    let mut parsed = Parsed::new();
    chrono::format::parse(&mut parsed, text, StrftimeItems::new(format)).map_err(wrong)?;
    let local = |_| parsed.to_naive_datetime_with_offset(0).or_else(|_| parsed.to_naive_date().map(Into::into));
    let zoned = parsed.to_datetime().map(|time| time.with_timezone(&Utc));
    zoned.or_else(|error| local(error).map(|local: NaiveDateTime| local.and_utc())).map_err(wrong)
}

/// The available `date_trunc`.
static DATE_TRUNC: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| wide(date_trunc()));

/// The length of an interval: a month counts as 30 days, as in PostgreSQL's comparisons of intervals.
static INTERVAL_LENGTH: LazyLock<ScalarUDF> = LazyLock::new(|| {
    let (takes, gives) = (DataType::Interval(IntervalUnit::MonthDayNano), DataType::Duration(TimeUnit::Microsecond));
    let lengths = |args: &[ColumnarValue]| {
        by_array(&args[0], |intervals| {
            let length = |interval: IntervalMonthDayNano| {
                let days = i64::from(interval.months) * MONTH_DAYS + i64::from(interval.days);
                days.saturating_mul(DAY_US).saturating_add(interval.nanoseconds / 1_000)
            };
            let lengths: Int64Array = intervals.as_primitive::<IntervalMonthDayNanoType>().unary(length);
            Ok(cast_array(&lengths, &DataType::Duration(TimeUnit::Microsecond))?)
        })
    };
    create_udf("interval_length", vec![takes], gives, Volatility::Immutable, Arc::new(lengths))
});

/// Whether a time without a zone keeps its value when this zone is assigned to it.
pub(crate) fn is_utc(zone: &str) -> bool {
    matches!(zone, "UTC" | "+00:00" | "Z")
}

/// Changes expressions with times so that they use units with a sufficient range.
pub(crate) fn with_wide_times(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match expr {
        Expr::Cast(mut cast) => match wide_cast(&mut cast.expr, &mut cast.data_type, schema) {
            true => Transformed::yes(Expr::Cast(cast)),
            false => Transformed::no(Expr::Cast(cast)),
        },
        Expr::TryCast(mut cast) => match wide_cast(&mut cast.expr, &mut cast.data_type, schema) {
            true => Transformed::yes(Expr::TryCast(cast)),
            false => Transformed::no(Expr::TryCast(cast)),
        },
        Expr::BinaryExpr(BinaryExpr { mut left, op, mut right }) => {
            let changed = match op {
                Operator::Minus | Operator::Plus => meets_date(&mut left, &mut right, schema),
                op if is_comparison(op) => alike(&mut left, [right.as_mut()], schema),
                _ => false,
            };
            let expr = Expr::BinaryExpr(BinaryExpr { left, op, right });
            if changed { Transformed::yes(expr) } else { Transformed::no(expr) }
        }
        Expr::Between(mut between) => {
            match alike(&mut between.expr, [between.low.as_mut(), between.high.as_mut()], schema) {
                true => Transformed::yes(Expr::Between(between)),
                false => Transformed::no(Expr::Between(between)),
            }
        }
        Expr::InList(mut list) => match alike(&mut list.expr, list.list.iter_mut(), schema) {
            true => Transformed::yes(Expr::InList(list)),
            false => Transformed::no(Expr::InList(list)),
        },
        Expr::ScalarFunction(call) if call.func.name() == "date_part" => with_wide_part(call, schema),
        expr => Transformed::no(expr),
    }
}

pub(super) fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// Changes a cast to nanoseconds into one to microseconds, and a cast that rounds towards the year 1970 into one that
/// rounds down.
fn wide_cast(expr: &mut Box<Expr>, kind: &mut DataType, schema: &DFSchema) -> bool {
    let DataType::Timestamp(unit, zone) = kind else { return false };
    let mut is_changed = false;
    if *unit == TimeUnit::Nanosecond {
        *kind = DataType::Timestamp(TimeUnit::Microsecond, zone.take());
        is_changed = true;
    }
    let (DataType::Timestamp(to, _), Ok(DataType::Timestamp(from, _))) = (&*kind, expr.get_type(schema)) else {
        return is_changed;
    };
    let word = match to {
        TimeUnit::Second => "second",
        TimeUnit::Millisecond => "millisecond",
        TimeUnit::Microsecond | TimeUnit::Nanosecond => return is_changed,
    };
    if unit_ns(from) >= unit_ns(*to) {
        return is_changed;
    }
    **expr = DATE_TRUNC.call(vec![lit(word), std::mem::take(&mut **expr)]);
    true
}

/// Converts the sides of a comparison to the same type: texts and dates that are compared with times, and intervals
/// that are compared with durations.
fn alike<'a>(left: &mut Expr, others: impl IntoIterator<Item = &'a mut Expr>, schema: &DFSchema) -> bool {
    let mut is_changed = false;
    for other in others {
        let (Ok(left_kind), Ok(other_kind)) = (left.get_type(schema), other.get_type(schema)) else { continue };
        let changed = |expr: &mut Expr, kind: DataType| *expr = cast(std::mem::take(expr), kind);
        match (left_kind, other_kind) {
            (DataType::Timestamp(_, zone), kind) if is_text(&kind) || is_date(&kind) => {
                with_seconds(other);
                changed(other, DataType::Timestamp(TimeUnit::Microsecond, zone));
            }
            (kind, DataType::Timestamp(_, zone)) if is_text(&kind) || is_date(&kind) => {
                with_seconds(left);
                changed(left, DataType::Timestamp(TimeUnit::Microsecond, zone));
            }
            (DataType::Duration(unit), DataType::Interval(_)) => {
                to_length(other);
                if unit != TimeUnit::Microsecond {
                    changed(left, DataType::Duration(TimeUnit::Microsecond));
                }
            }
            (DataType::Interval(_), DataType::Duration(_)) => {
                to_length(left);
                changed(other, DataType::Duration(TimeUnit::Microsecond));
            }
            _ => continue,
        }
        is_changed = true;
    }
    is_changed
}

/// Adds the seconds to a time literal without seconds.
fn with_seconds(time: &mut Expr) {
    let Expr::Literal(value, _) = &*time else { return };
    if let Some(complete) = value.try_as_str().flatten().and_then(time_with_seconds) {
        *time = lit(complete);
    }
}

/// Replaces an interval with its length.
pub(super) fn to_length(interval: &mut Expr) {
    let whole = cast(std::mem::take(interval), DataType::Interval(IntervalUnit::MonthDayNano));
    *interval = INTERVAL_LENGTH.call(vec![whole]);
}

/// Treats a date that is combined with a time in a sum or difference as a time.
fn meets_date(left: &mut Expr, right: &mut Expr, schema: &DFSchema) -> bool {
    let (Ok(left_kind), Ok(right_kind)) = (left.get_type(schema), right.get_type(schema)) else { return false };
    let (date, zone) = match (left_kind, right_kind) {
        (DataType::Timestamp(_, zone), kind) if is_date(&kind) || is_text(&kind) => (right, zone),
        (kind, DataType::Timestamp(_, zone)) if is_date(&kind) || is_text(&kind) => (left, zone),
        _ => return false,
    };
    *date = cast(std::mem::take(date), DataType::Timestamp(TimeUnit::Microsecond, zone));
    true
}

/// `date_part` of a text, which the engine treats as a time in nanoseconds, the seconds of a time, which it returns
/// without their fraction, and the parts of a duration, each of which it returns as the total of the whole duration.
fn with_wide_part(mut call: ScalarFunction, schema: &DFSchema) -> Transformed<Expr> {
    let [Expr::Literal(part, _), time] = call.args.as_mut_slice() else {
        return Transformed::no(Expr::ScalarFunction(call));
    };
    let part = part.try_as_str().flatten().unwrap_or_default().to_ascii_lowercase();
    let changed = match time.get_type(schema) {
        Ok(DataType::Duration(_)) => {
            let us = cast(cast(time.clone(), DataType::Duration(TimeUnit::Microsecond)), DataType::Int64);
            match part.as_str() {
                "epoch" => Some(cast(us, DataType::Float64) / lit(1_000_000_f64)),
                "day" | "days" => Some(us / lit(DAY_US)),
                part => clock_part(part, us % lit(DAY_US)),
            }
        }
        Ok(DataType::Interval(IntervalUnit::MonthDayNano)) if is_second(&part) || is_microsecond(&part) => {
            clock_part(&part, CLOCK_OF_INTERVAL.call(vec![time.clone()]))
        }
        Ok(DataType::Timestamp(..) | DataType::Time32(_) | DataType::Time64(_)) if is_second(&part) => {
            let mut us = call.clone();
            us.args[0] = lit("microsecond");
            clock_part(&part, cast(Expr::ScalarFunction(us), DataType::Int64))
        }
        Ok(text) if is_text(&text) => {
            *time = cast(std::mem::take(time), DataType::Timestamp(TimeUnit::Microsecond, None));
            // The type of the time is now one of those above.
            return Transformed::yes(with_wide_part(call, schema).data);
        }
        _ => None,
    };
    match changed {
        Some(changed) => Transformed::yes(changed),
        None => Transformed::no(Expr::ScalarFunction(call)),
    }
}

fn is_second(part: &str) -> bool {
    matches!(part, "second" | "seconds" | "millisecond" | "milliseconds")
}

fn is_microsecond(part: &str) -> bool {
    matches!(part, "microsecond" | "microseconds")
}

/// Returns a part of a time of day, given in microseconds; none for parts of a date.
fn clock_part(part: &str, us: Expr) -> Option<Expr> {
    const MINUTE_US: i64 = 60_000_000;
    let of_minute = |us: Expr| cast(us % lit(MINUTE_US), DataType::Float64);
    Some(match part {
        "hour" | "hours" => us / lit(60 * MINUTE_US),
        "minute" | "minutes" => us % lit(60 * MINUTE_US) / lit(MINUTE_US),
        "second" | "seconds" => of_minute(us) / lit(1_000_000_f64),
        "millisecond" | "milliseconds" => of_minute(us) / lit(1_000_f64),
        part if is_microsecond(part) => us % lit(MINUTE_US),
        _ => return None,
    })
}

/// The time part of an interval, without its months and days. Unit: microseconds.
static CLOCK_OF_INTERVAL: LazyLock<ScalarUDF> = LazyLock::new(|| {
    let clock = |args: &[ColumnarValue]| {
        by_array(&args[0], |intervals| {
            let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>();
            Ok(Arc::new(intervals.unary::<_, Int64Type>(|interval| interval.nanoseconds / 1_000)))
        })
    };
    create_udf(
        "clock_of_interval",
        vec![DataType::Interval(IntervalUnit::MonthDayNano)],
        DataType::Int64,
        Volatility::Immutable,
        Arc::new(clock),
    )
});
