//! Converts errors of the engine into the messages and codes (SQLSTATE) of PostgreSQL.

use datafusion::arrow::error::ArrowError;
use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;

/// The message for a scalar subquery that returns several rows.
pub(crate) const SEVERAL_ROWS: &str = "more than one row returned by a subquery used as an expression";

/// The message and the code of an error.
pub(super) struct Reason {
    /// The message; none to show that of the engine.
    pub(super) message: Option<String>,
    pub(super) code: &'static str,
}

impl Reason {
    fn of(code: &'static str) -> Self {
        Self { message: None, code }
    }

    fn with(code: &'static str, message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), code }
    }
}

/// Returns the reason for an error of the engine; none for an error of another kind.
pub(super) fn reason(error: &DataFusionError) -> Option<Reason> {
    Some(match error {
        DataFusionError::SQL(..) => Reason::of("42601"),
        DataFusionError::SchemaError(schema, _) => of_schema(schema),
        DataFusionError::ArrowError(arrow, _) => of_values(arrow),
        DataFusionError::NotImplemented(message) => of_missing_part(message),
        DataFusionError::Execution(message) => of_row(message),
        DataFusionError::Plan(message) => of_plan(message),
        _ => return None,
    })
}

fn of_schema(error: &SchemaError) -> Reason {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => match table_that_is_missing(field, valid_fields) {
            Some(table) => Reason::with("42P01", format!("there is no table {table} in the FROM clause")),
            None => Reason::of("42703"),
        },
        SchemaError::AmbiguousReference { .. } => Reason::of("42702"),
        SchemaError::DuplicateQualifiedField { qualifier, .. } => {
            Reason::with("42712", format!("table name {qualifier} is specified more than once"))
        }
        _ => Reason::of("42701"),
    }
}

/// Returns the table of a column if none of the valid columns belongs to this table.
fn table_that_is_missing(field: &Column, valid: &[Column]) -> Option<String> {
    let table = field.relation.as_ref()?.table();
    let is_known = |column: &Column| column.relation.as_ref().is_some_and(|relation| relation.table() == table);
    (!valid.iter().any(is_known)).then(|| table.to_owned())
}

/// The reason for values that cannot be computed.
fn of_values(error: &ArrowError) -> Reason {
    match error {
        ArrowError::DivideByZero => Reason::with("22012", "division by zero"),
        ArrowError::ArithmeticOverflow(_) => Reason::of("22003"),
        ArrowError::CastError(message) => of_cast(message),
        ArrowError::ParseError(message) => of_parsed(message),
        ArrowError::InvalidArgumentError(message) if message.contains("too large to store in a Decimal") => {
            Reason::with("22003", "numeric field overflow")
        }
        _ => Reason::of("22000"),
    }
}

/// `Cannot cast string 'abc' to value of Int32 type`, `Can't cast value 3000000000 to type Int32`.
fn of_cast(message: &str) -> Reason {
    let Some((before, kind)) = message.rsplit_once(" to value of ").or_else(|| message.rsplit_once(" to type ")) else {
        return Reason::of("22P02");
    };
    let name = type_name(kind.trim_end_matches(" type"));
    let Some(text) =
        before.split_once('\'').and_then(|(_, text)| text.strip_suffix('\'')).filter(|_| before.starts_with("Cannot"))
    else {
        return Reason::with("22003", format!("{name} out of range"));
    };
    match name {
        "date" | "time" | "timestamp" => of_time(name, text),
        "smallint" | "integer" | "bigint" if text.trim().parse::<i128>().is_ok() => {
            Reason::with("22003", format!("value \"{text}\" is out of range for type {name}"))
        }
        name => Reason::with("22P02", format!("invalid input syntax for type {name}: \"{text}\"")),
    }
}

/// `Error parsing timestamp from 'abc': …`, `Invalid input syntax for type interval: "abc"`.
fn of_parsed(message: &str) -> Reason {
    if let Some((_, text)) = message.split_once("Invalid input syntax for type interval: ") {
        return Reason::with("22007", format!("invalid input syntax for type interval: {text}"));
    }
    let text = message.split_once("Error parsing timestamp from '").and_then(|(_, rest)| rest.split_once("':"));
    match text {
        Some((text, _)) => of_time("timestamp", text),
        None => Reason::of("22P02"),
    }
}

/// Returns the reason for a text that is not a time: out of range if it begins like a date, or like a time of day.
fn of_time(name: &str, text: &str) -> Reason {
    let is_number = |part: &str| (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    if name == "time" && text.trim().split(':').take(2).filter(|part| is_number(part)).count() == 2 {
        return Reason::with("22008", format!("date/time field value out of range: \"{text}\""));
    }
    let mut parts = text.trim().split(['-', ' ', 'T']);
    let mut has_digits = |count: usize| {
        parts
            .next()
            .is_some_and(|part| (1..=count).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    match has_digits(6) && has_digits(2) && has_digits(2) {
        true => Reason::with("22008", format!("date/time field value out of range: \"{text}\"")),
        false => Reason::with("22007", format!("invalid input syntax for type {name}: \"{text}\"")),
    }
}

/// Returns the PostgreSQL name of a type of the engine.
fn type_name(kind: &str) -> &str {
    match kind.split(['(', ' ']).next().unwrap_or(kind) {
        "Boolean" => "boolean",
        "Int8" | "UInt8" | "Int16" => "smallint",
        "UInt16" | "Int32" => "integer",
        "UInt32" | "Int64" | "UInt64" => "bigint",
        "Float16" | "Float32" => "real",
        "Float64" => "double precision",
        "Decimal32" | "Decimal64" | "Decimal128" | "Decimal256" => "numeric",
        "Date32" | "Date64" => "date",
        "Time32" | "Time64" => "time",
        "Timestamp" => "timestamp",
        "Interval" => "interval",
        _ => kind,
    }
}

/// Returns the reason for a feature that the engine does not support.
fn of_missing_part(message: &str) -> Reason {
    const UNPLANNED: &str = "Physical plan does not support logical expression ";
    if let Some(name) = message.strip_prefix("Unsupported SQL type ") {
        return Reason::with("42704", format!("there is no type {name}"));
    }
    if message.starts_with("Unsupported CAST from ") {
        return Reason::of("42846");
    }
    match message.strip_prefix(UNPLANNED) {
        Some(expr) if expr.starts_with("AggregateFunction") => {
            Reason::with("42803", "an aggregate function is not allowed here; aggregate in a subquery")
        }
        Some(expr) if expr.starts_with("WindowFunction") => {
            Reason::with("42P20", "a window function is not allowed here; compute it in a subquery")
        }
        Some(expr) if expr.starts_with("OuterReferenceColumn") => {
            let message = "a subquery refers to a column of the query around it in a way that is not supported; write a join \
                           with a subquery that has the column in its own SELECT";
            Reason::with("0A000", message)
        }
        _ => Reason::of("0A000"),
    }
}

/// Codes of execution errors, by a part of their message.
const OF_ROWS: [(&str, &str); 25] = [
    (SEVERAL_ROWS, "21000"),
    ("invalid input syntax", "22P02"),
    ("is not an array", "22P02"),
    ("field name must not be null", "22004"),
    ("cannot be null: it is the name", "22004"),
    ("negative substring length", "22011"),
    ("ntile takes", "22014"),
    ("is not a time of the form", "22007"),
    ("date or time field value is out of range", "22008"),
    ("a time is out of the range", "22008"),
    ("interval out of range", "22008"),
    ("Month value", "22008"),
    ("Day value", "22008"),
    ("Year value", "22008"),
    ("Unable to parse date from", "22008"),
    ("Unsupported date_trunc granularity", "22023"),
    ("Date part '", "22023"),
    ("there is no time zone", "22023"),
    ("Failed to decode value", "22023"),
    ("invalid Unicode scalar value", "22023"),
    ("field position must not be zero", "22023"),
    ("must be scalar", "22023"),
    // A literal that is not a number, as the index of an array.
    ("annot access field at argument", "22P02"),
    ("invalid regular expression", "2201B"),
    ("count must be greater than zero", "2201G"),
];

fn of_row(message: &str) -> Reason {
    if let Some((_, rest)) = message.split_once("rror parsing timestamp from '")
        && let Some((text, reason)) = rest.split_once('\'')
    {
        return Reason::of(if reason.contains("out of range") || of_time("", text).code == "22008" {
            "22008"
        } else {
            "22007"
        });
    }
    let found = OF_ROWS.iter().find(|(part, _)| message.contains(part));
    Reason::of(found.map_or("22000", |found| found.1))
}

/// Codes of planning errors, by a part of their message.
const OF_PLANS: [(&str, &str); 45] = [
    ("table '", "42P01"),
    ("there is no table", "42P01"),
    ("nvalid function '", "42883"),
    ("able function '", "42883"),
    ("No function matches the given name and argument types", "42883"),
    ("failed to match any signature", "42883"),
    ("ailed to coerce arguments", "42883"),
    ("user-defined coercion failed", "42883"),
    ("requires TypeSignatureClass", "42883"),
    ("annot coerce arithmetic expression", "42883"),
    ("logical boolean operation", "42804"),
    ("annot infer common argument type", "42883"),
    ("annot infer common string type", "42883"),
    ("common type to coerce", "42883"),
    ("takes one value", "42883"),
    ("takes a name and a value", "42883"),
    ("takes a list", "42883"),
    ("takes a JSON text", "42883"),
    ("an even number of elements", "22023"),
    ("there is no built-in encoding", "22023"),
    ("There is no built-in encoding", "22023"),
    ("Step cannot be zero", "22023"),
    ("the query is too large", "54001"),
    ("there is no setting", "42704"),
    ("there is no parameter", "42P02"),
    ("but 0 were given", "42P02"),
    ("were given", "08P01"),
    ("Incompatible inputs for Union", "42804"),
    ("queries have different number of columns", "42601"),
    ("names given as column alias", "42601"),
    ("nconsistent data length across values list", "42601"),
    ("nvalid qualifier", "42P01"),
    ("WITH query name", "42712"),
    ("Too many columns! The subquery should only return one column", "42601"),
    ("Cannot create filter with non-boolean predicate", "42804"),
    ("Expected LIMIT to be an integer", "42804"),
    ("Expected OFFSET to be an integer", "42804"),
    ("LIMIT must be >= 0", "2201W"),
    ("OFFSET must be >=0", "2201X"),
    ("ggregate functions are not allowed in", "42803"),
    ("must appear in the GROUP BY clause", "42803"),
    ("For SELECT DISTINCT, ORDER BY expressions", "42P10"),
    ("DISTINCT ON expressions must match", "42P10"),
    ("rder by column out of bounds", "42P10"),
    ("annot find column with position", "42P10"),
];

fn of_plan(message: &str) -> Reason {
    // The column, between the engine's explanations before and after it.
    if let Some((_, rest)) = message.split_once("must be in GROUP BY or an aggregate function")
        && let Some((_, rest)) = rest.split_once('"')
        && let Some((column, _)) = rest.split_once('"')
    {
        let message = format!("column {column} must appear in the GROUP BY clause or be used in an aggregate function");
        return Reason::with("42803", message);
    }
    if message.contains("ercentile value must be between") {
        return Reason::of("22003");
    }
    let code = OF_PLANS.iter().find(|(part, _)| message.contains(part)).map_or("42000", |found| found.1);
    match message.strip_prefix("Internal error: ") {
        Some(message) => Reason::with(code, message),
        None => Reason::of(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: DataFusionError, code: &str, message: &str) {
        let reason = reason(&error).unwrap();
        assert_eq!((reason.code, reason.message.as_deref().unwrap_or_default()), (code, message));
    }

    #[test]
    fn texts_that_are_no_values_have_the_codes_of_their_types() {
        let cast = |message: &str| DataFusionError::from(ArrowError::CastError(message.to_owned()));
        check(
            cast("Cannot cast string 'a'b' to value of Int32 type"),
            "22P02",
            "invalid input syntax for type integer: \"a'b\"",
        );
        check(
            cast("Cannot cast string '3000000000' to value of Int32 type"),
            "22003",
            "value \"3000000000\" is out of range for type integer",
        );
        check(cast("Can't cast value 3000000000 to type Int32"), "22003", "integer out of range");
        check(
            cast("Cannot cast string '2026-02-30' to value of Date32 type"),
            "22008",
            "date/time field value out of range: \"2026-02-30\"",
        );
        check(
            cast("Cannot cast string 'abc' to value of Date32 type"),
            "22007",
            "invalid input syntax for type date: \"abc\"",
        );
        let parsed = "Error parsing timestamp from 'abc': timestamp must contain at least 10 characters";
        check(
            ArrowError::ParseError(parsed.to_owned()).into(),
            "22007",
            "invalid input syntax for type timestamp: \"abc\"",
        );
    }
}
