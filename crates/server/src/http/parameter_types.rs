//! The types of query parameters: how each is parsed, and how the OpenAPI description documents it.

use std::ops::RangeInclusive;
use std::str::FromStr;

use az::SaturatingAs;
use runlog_model::plan::PlanStatus;
use runlog_model::{
    EnvironmentId, FileFormat, ProblemState, RecordOrder, RunId, RunIdPrefix, RunStatus, Severity, TaskId, Timestamp,
    WorkspaceId,
};
use utoipa::PartialSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ArrayBuilder, KnownFormat, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, Type};

use crate::http::error::{ApiError, ApiResult};
use crate::http::parameters::{ParameterType, ParameterValue, RawParameters, parse_value};

/// The largest number that every client can write in JSON; larger bounds are not described.
const DESCRIBED_MAX: u64 = 1 << 53;

/// The longest value that an error repeats. Unit: characters.
const SHOWN_CHARS_MAX: usize = 64;

/// A text.
impl ParameterValue for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn schema() -> RefOr<Schema> {
        string().into()
    }
}

/// A whole number in these bounds, also written as `50.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number<const MIN: u64, const MAX: u64>(pub(crate) u64);

impl<const MIN: u64, const MAX: u64> ParameterValue for Number<MIN, MAX> {
    fn parse(text: &str) -> Result<Self, String> {
        parse_number(text, MIN..=MAX).map(Self)
    }

    fn schema() -> RefOr<Schema> {
        number(MIN, MAX).into()
    }
}

/// A whole number in these bounds; `DEFAULT` when absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NumberOr<const MIN: u64, const MAX: u64, const DEFAULT: u64>(pub(crate) u64);

impl<const MIN: u64, const MAX: u64, const DEFAULT: u64> ParameterType for NumberOr<MIN, MAX, DEFAULT> {
    fn read(raw: &RawParameters, name: &str) -> ApiResult<Self> {
        let number = Option::<Number<MIN, MAX>>::read(raw, name)?;
        Ok(Self(number.map_or(DEFAULT, |number| number.0)))
    }

    fn schema() -> RefOr<Schema> {
        number(MIN, MAX).default(Some(DEFAULT.into())).into()
    }
}

/// Parses a whole number; the error names the allowed values.
pub(crate) fn parse_number(text: &str, allowed: RangeInclusive<u64>) -> Result<u64, String> {
    let decimal = text.split_once('.').filter(|(_, rest)| !rest.is_empty() && rest.bytes().all(|byte| byte == b'0'));
    let whole = decimal.map_or(text, |(whole, _)| whole);
    whole.parse().ok().filter(|number| allowed.contains(number)).ok_or_else(|| match allowed.into_inner() {
        (first, u64::MAX) => is_not(text, &format!("a whole number from {first}")),
        (first, last) => is_not(text, &format!("a whole number from {first} to {last}")),
    })
}

/// `true` or `false`, in any case; false when absent.
impl ParameterType for bool {
    fn read(raw: &RawParameters, name: &str) -> ApiResult<Self> {
        match raw.text(name)? {
            None => Ok(false),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(text) => Err(ApiError::invalid(format!("{name}: {}", is_not(text, "true or false")))),
        }
    }

    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Boolean).default(Some(false.into())).into()
    }
}

/// A list of values: repeated, comma-separated, or both. Empty when absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List<T>(pub(crate) Vec<T>);

impl<T: ParameterValue> ParameterType for List<T> {
    fn read(raw: &RawParameters, name: &str) -> ApiResult<Self> {
        raw.list(name)?.into_iter().map(|text| parse_value(name, text)).collect::<ApiResult<_>>().map(Self)
    }

    fn schema() -> RefOr<Schema> {
        ArrayBuilder::new().items(T::schema()).into()
    }

    fn is_exploded() -> Option<bool> {
        Some(false)
    }
}

/// The texts of a repeated parameter, which may contain commas. Empty when absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Texts(pub(crate) Vec<String>);

impl ParameterType for Texts {
    fn read(raw: &RawParameters, name: &str) -> ApiResult<Self> {
        raw.texts(name).map(Self)
    }

    fn schema() -> RefOr<Schema> {
        ArrayBuilder::new().items(string()).into()
    }

    fn is_exploded() -> Option<bool> {
        Some(true)
    }
}

/// An array of strings in a JSON body. Empty when absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StringArray(pub(crate) Vec<String>);

impl ParameterType for StringArray {
    fn read(raw: &RawParameters, name: &str) -> ApiResult<Self> {
        raw.array(name).map(Self)
    }

    fn schema() -> RefOr<Schema> {
        ArrayBuilder::new().items(string()).into()
    }
}

/// RFC 3339.
impl ParameterValue for Timestamp {
    fn parse(text: &str) -> Result<Self, String> {
        // A plus sign that was not encoded arrives as a space.
        text.replace(' ', "+").parse().map_err(|error: <Self as FromStr>::Err| error.to_string())
    }

    fn schema() -> RefOr<Schema> {
        string().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))).into()
    }
}

/// A time in epoch milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EpochMillis(pub(crate) Timestamp);

impl ParameterValue for EpochMillis {
    fn parse(text: &str) -> Result<Self, String> {
        let ms = parse_number(text, 0..=Timestamp::MAX.as_millis().unsigned_abs())?;
        Ok(Self(Timestamp::clamped(ms.saturating_as::<i64>())))
    }

    fn schema() -> RefOr<Schema> {
        number(0, u64::MAX).into()
    }
}

/// A time, either RFC 3339 or epoch milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeOrMillis(pub(crate) Timestamp);

impl ParameterValue for TimeOrMillis {
    fn parse(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(epoch_ms) => Timestamp::from_millis(epoch_ms).map(Self).map_err(|error| error.to_string()),
            Err(_) => Timestamp::parse(text).map(Self),
        }
    }

    fn schema() -> RefOr<Schema> {
        let epoch_ms = number(0, Timestamp::MAX.as_millis().unsigned_abs());
        OneOfBuilder::new().item(<Timestamp as ParameterValue>::schema()).item(epoch_ms).into()
    }
}

/// The name of a severity, in any case.
impl ParameterValue for Severity {
    fn parse(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|severity| severity.name().eq_ignore_ascii_case(text));
        named.ok_or_else(|| is_not(text, &format!("one of {}", Self::ALL.map(Self::name).join(", "))))
    }

    fn schema() -> RefOr<Schema> {
        one_of(&Self::ALL.map(Self::name))
    }
}

/// Implements [`ParameterValue`] with the `FromStr` of a type.
macro_rules! parsed_values {
    ($($type:ty => $schema:expr;)+) => {
        $(impl ParameterValue for $type {
            fn parse(text: &str) -> Result<Self, String> {
                text.parse().map_err(|error: <Self as FromStr>::Err| error.to_string())
            }

            fn schema() -> RefOr<Schema> {
                $schema
            }
        })+
    };
}

parsed_values! {
    RunId => pattern("^[0-9a-f-]{36}$");
    RunIdPrefix => pattern(RUN_ID_PREFIX);
    TaskId => pattern(HEX_ID);
    WorkspaceId => pattern(HEX_ID);
    EnvironmentId => pattern(HEX_ID);
    RunStatus => <RunStatus as PartialSchema>::schema();
    PlanStatus => one_of(&PlanStatus::ALL.map(PlanStatus::as_str));
    ProblemState => one_of(&ProblemState::ALL.map(ProblemState::as_str));
    FileFormat => one_of(&["JSON", "TEXT"]);
    RecordOrder => one_of(&["DESC", "ASC"]);
}

/// The IDs of tasks, workspaces and environments.
const HEX_ID: &str = "^[0-9a-f]{24}$";

/// The beginning of the ID of a run.
const RUN_ID_PREFIX: &str =
    "^[0-9A-Fa-f]{4,8}(-[0-9A-Fa-f]{0,4}(-[0-9A-Fa-f]{0,4}(-[0-9A-Fa-f]{0,4}(-[0-9A-Fa-f]{0,12})?)?)?)?$";

/// Declares a parameter with a closed list of words, read in any case, as an enum.
macro_rules! words {
    ($(#[$doc:meta])+ pub(crate) enum $name:ident { $($(#[$variant_doc:meta])+ $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name {
            $($(#[$variant_doc])+ $variant,)+
        }

        impl $crate::http::parameters::ParameterValue for $name {
            fn parse(text: &str) -> Result<Self, String> {
                $(if text.eq_ignore_ascii_case($word) {
                    return Ok(Self::$variant);
                })+
                Err($crate::http::parameter_types::is_not(text, concat!("one of ", $crate::http::parameter_types::listed!($($word)+))))
            }

            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                $crate::http::parameter_types::one_of(&[$($word),+])
            }
        }
    };
}

/// Words with commas between them.
macro_rules! listed {
    ($first:literal $($word:literal)*) => {
        concat!($first, $(", ", $word),*)
    };
}

pub(crate) use {listed, words};

/// A string with a pattern, for the description.
pub(crate) fn pattern(pattern: &str) -> RefOr<Schema> {
    string().pattern(Some(pattern)).into()
}

/// One of these words, for the description.
pub(crate) fn one_of(words: &[&str]) -> RefOr<Schema> {
    string().enum_values(Some(words.iter().copied())).into()
}

/// A string, for the description.
pub(crate) fn string() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// A whole number in these bounds, for the description.
pub(crate) fn number(min: u64, max: u64) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(min))
        .maximum(Some(max).filter(|max| *max <= DESCRIBED_MAX))
}

/// The error for a value: `"x" is not …`.
pub(crate) fn is_not(text: &str, expected: &str) -> String {
    let shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    format!("{shown:?} is not {expected}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::parameters::tests::raw;

    #[test]
    fn numbers_are_whole() {
        let number = |text: &str| Number::<0, 200>::parse(text).ok().map(|number| number.0);
        assert_eq!(["0", "0.0", "50", "200.00"].map(number), [Some(0), Some(0), Some(50), Some(200)]);
        assert_eq!(["633.92", "-1", "abc", "201", "1.", "1e2", ""].map(number), [None; 7]);
    }

    #[test]
    fn an_error_names_the_parameter_the_value_and_what_is_allowed() {
        let message = |error: Option<ApiError>| error.unwrap().message;
        let raw = raw(&[("limit", "x"), ("failing", "maybe"), ("severity", "INFO,loud"), ("from", "yesterday")]);
        assert_eq!(
            message(NumberOr::<1, 9, 9>::read(&raw, "limit").err()),
            "limit: \"x\" is not a whole number from 1 to 9"
        );
        assert_eq!(message(bool::read(&raw, "failing").err()), "failing: \"maybe\" is not true or false");
        assert_eq!(
            message(List::<Severity>::read(&raw, "severity").err()),
            "severity: \"loud\" is not one of OTHER, TRACE, DEBUG, INFO, WARN, ERROR, FATAL"
        );
        assert!(message(Option::<TimeOrMillis>::read(&raw, "from").err()).starts_with("from: "));
        assert_eq!(Option::<Timestamp>::read(&raw, "to").unwrap(), None);
    }

    #[test]
    fn an_offset_survives_a_plus_that_was_not_encoded() {
        let time = Timestamp::parse("2021-09-01T09:01:45 02:00").unwrap();
        assert_eq!(time.to_seconds_text(), "2021-09-01T07:01:45Z");
    }

    #[test]
    fn a_list_is_repeated_or_comma_separated() {
        let raw = raw(&[("ids", "a, b"), ("ids[]", "c"), ("ids", ""), ("other", "d")]);
        assert_eq!(List::<String>::read(&raw, "ids").unwrap().0, ["a", "b", "c"]);
        assert_eq!(Texts::read(&raw, "ids").unwrap().0, ["a, b"]);
    }
}
