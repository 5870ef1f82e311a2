//! JSON made of values: `to_json(tags)`, `json_build_object('run', run_id)`, and the parts that `json_agg` collects.
//!
//! A JSON value is a text whose field is marked as JSON: within another value it is embedded unchanged, while other
//! texts are quoted.

use std::any::Any;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, ListArray, StringBuilder, StructArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, TypeSignature,
    Volatility, lit,
};
use serde_json::value::RawValue;

use crate::functions::times::as_given;
use crate::postgres::PgTexts;
use crate::postgres::names::shown;

/// Marks the field of a text that is JSON.
const JSON_MARK: &str = "runlog.json";

/// Maximum nesting depth of arrays and objects in `jsonb`.
const DEPTH_MAX: usize = 100;

/// Maximum length of values of all types but texts, lists and rows. Unit: bytes.
const VALUE_BYTES: usize = 80;

/// The message for text that is not JSON.
pub(crate) const NO_JSON: &str = "invalid input syntax for type json";

/// The message for a member without a name.
pub(crate) const NO_NAME: &str = "field name must not be null";

/// The result of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Makes {
    /// A value as JSON; NULL for NULL.
    Value,
    /// An element of `json_agg`: `null` for NULL, and arrays on separate lines.
    Element,
    /// An array of its arguments.
    Array,
    /// An object of alternating names and values.
    Object,
    /// An object without spaces, as PostgreSQL writes rows.
    Row,
    /// A member of `json_object_agg`.
    Member,
    /// An array of the elements of a list, which are JSON already.
    ElementsArray,
    /// An array of the elements of a list.
    ListArray,
    /// An object of the members in a list.
    MembersObject,
    /// A text, if it is JSON.
    Checked,
    /// JSON in the form of `jsonb`.
    Binary,
    /// JSON as a plain text, which is quoted within another value.
    Text,
}

/// Returns the functions that build JSON from their arguments.
pub(crate) fn making() -> Vec<Arc<dyn ScalarUDFImpl>> {
    let all = [
        ("to_json", Makes::Value),
        ("json_element", Makes::Element),
        ("json_build_array", Makes::Array),
        ("json_build_object", Makes::Object),
        (WHOLE_ROW, Makes::Row),
        ("json_member", Makes::Member),
        ("json_of_elements", Makes::ElementsArray),
        ("json_of_list", Makes::ListArray),
        ("json_of_members", Makes::MembersObject),
    ];
    all.into_iter().map(function).collect()
}

/// Returns the function that normalizes JSON.
pub(crate) fn rewriting() -> Vec<Arc<dyn ScalarUDFImpl>> {
    vec![function(("jsonb", Makes::Binary))]
}

/// Returns the functions that return their argument unchanged.
pub(crate) fn marking() -> Vec<Arc<dyn ScalarUDFImpl>> {
    [("as_json", Makes::Checked), ("json_as_text", Makes::Text)].into_iter().map(function).collect()
}

fn function((name, makes): (&'static str, Makes)) -> Arc<dyn ScalarUDFImpl> {
    let any = TypeSignature::OneOf(vec![TypeSignature::Nullary, TypeSignature::VariadicAny]);
    Arc::new(JsonMaker { name, makes, signature: Signature::new(any, Volatility::Immutable) })
}

/// A field of JSON values.
pub(super) fn json_field(name: &str) -> FieldRef {
    let mark = HashMap::from([(JSON_MARK.to_owned(), String::new())]);
    Arc::new(Field::new(name, DataType::Utf8, true).with_metadata(mark))
}

fn is_marked(field: &Field) -> bool {
    field.metadata().contains_key(JSON_MARK)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonMaker {
    name: &'static str,
    makes: Makes,
    signature: Signature,
}

impl JsonMaker {
    /// Fails if the function does not accept these arguments.
    fn check(&self, fields: &[FieldRef]) -> Result<()> {
        let wrong = |what: &str| Err(DataFusionError::Plan(format!("{} {what}", self.name)));
        match (self.makes, fields) {
            (Makes::Object, fields) if fields.len() % 2 == 1 => {
                wrong("takes names and values in turn: the argument list must have an even number of elements")
            }
            (Makes::Array | Makes::Object | Makes::Row, _) => Ok(()),
            (Makes::Member, [_, _]) => Ok(()),
            (Makes::ElementsArray | Makes::ListArray | Makes::MembersObject, [list]) => match list.data_type() {
                DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) | DataType::Null => Ok(()),
                _ => wrong("takes a list"),
            },
            (Makes::Checked | Makes::Binary | Makes::Text, [text]) => {
                match text.data_type().is_string() || text.data_type().is_null() {
                    true => Ok(()),
                    false => wrong("takes a JSON text"),
                }
            }
            (Makes::Value | Makes::Element, [_]) => Ok(()),
            (Makes::Member, _) => wrong("takes a name and a value"),
            _ => wrong("takes one value"),
        }
    }
}

impl ScalarUDFImpl for JsonMaker {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.check(args.arg_fields)?;
        Ok(match self.makes {
            Makes::Text => Arc::new(Field::new(self.name, DataType::Utf8, true)),
            _ => json_field(self.name),
        })
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = call.number_rows;
        let args = call.args.iter().zip(&call.arg_fields);
        let columns = args
            .map(|(arg, field)| Values::of(&arg.to_array(rows)?, is_marked(field)))
            .collect::<Result<Vec<Values>>>()?;
        let mut made = StringBuilder::new();
        let mut text = String::new();
        // A call whose arguments are all constants has one row, regardless of the batch.
        let rows = if call.args.iter().any(|arg| matches!(arg, ColumnarValue::Array(_))) { rows } else { 1 };
        for row in 0..rows {
            text.clear();
            match self.makes.write(&columns, row, &mut text)? {
                true => made.append_value(&text),
                false => made.append_null(),
            }
        }
        as_given(&call.args, Arc::new(made.finish()))
    }
}

impl Makes {
    /// Writes the value of a row; returns false for NULL.
    fn write(self, columns: &[Values], row: usize, into: &mut String) -> Result<bool> {
        let first_is_null = columns.first().is_none_or(|column| column.is_null(row));
        match self {
            Self::Array => {
                into.push('[');
                for (at, column) in columns.iter().enumerate() {
                    into.push_str(if at > 0 { ", " } else { "" });
                    column.write(row, into)?;
                }
                into.push(']');
                Ok(true)
            }
            Self::Object | Self::Row => {
                let (between, colon) = if self == Self::Object { (", ", " : ") } else { (",", ":") };
                into.push('{');
                for (at, pair) in columns.chunks_exact(2).enumerate() {
                    if pair[0].is_null(row) {
                        let message = format!("argument {} cannot be null: it is the name of a member", 2 * at + 1);
                        return Err(DataFusionError::Execution(message));
                    }
                    into.push_str(if at > 0 { between } else { "" });
                    pair[0].write_name(row, into)?;
                    into.push_str(colon);
                    pair[1].write(row, into)?;
                }
                into.push('}');
                Ok(true)
            }
            Self::Member if first_is_null => Err(DataFusionError::Execution(NO_NAME.to_owned())),
            Self::Member => {
                columns[0].write_name(row, into)?;
                into.push_str(" : ");
                columns[1].write(row, into)?;
                Ok(true)
            }
            Self::Element => {
                into.push_str(columns[0].line_break(row));
                columns[0].write(row, into)?;
                Ok(true)
            }
            _ if first_is_null => Ok(false),
            Self::Value => columns[0].write(row, into).map(|()| true),
            Self::ElementsArray => columns[0].write_parts(row, ["[", "]"], into).map(|()| true),
            Self::MembersObject => columns[0].write_parts(row, ["{ ", " }"], into).map(|()| true),
            Self::ListArray => columns[0].write_list(row, ", ", into).map(|()| true),
            Self::Checked => {
                let text = columns[0].text(row);
                serde_json::from_str::<&RawValue>(text).map_err(|error| no_json(&error))?;
                into.push_str(text);
                Ok(true)
            }
            Self::Binary => write_binary(columns[0].text(row), into).map(|()| true),
            Self::Text => {
                into.push_str(columns[0].text(row));
                Ok(true)
            }
        }
    }
}

fn no_json(error: &serde_json::Error) -> DataFusionError {
    DataFusionError::Execution(format!("{NO_JSON}: {error}"))
}

/// The values of a column that are written as JSON.
enum Values {
    /// NULL in each row.
    Null,
    Json(ArrayRef),
    Text(ArrayRef),
    /// Values written as PostgreSQL's text, in quotes unless they are numbers.
    Plain {
        array: ArrayRef,
        texts: PgTexts,
        form: Form,
    },
    List {
        lists: ListArray,
        elements: Box<Values>,
    },
    Row {
        rows: StructArray,
        members: Vec<(String, Values)>,
    },
}

/// The form of a value in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Number,
    Truth,
    Time,
    Quoted,
}

impl Values {
    fn of(array: &ArrayRef, is_json: bool) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::Null => Self::Null,
            kind if kind.is_string() && is_json => Self::Json(Arc::clone(array)),
            kind if kind.is_string() => Self::Text(Arc::clone(array)),
            DataType::Dictionary(_, values) => Self::of(&cast(array, values)?, is_json)?,
            DataType::List(field) => {
                let lists = array.as_list::<i32>().clone();
                Self::List { elements: Box::new(Self::of(lists.values(), is_marked(field))?), lists }
            }
            DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
                Self::of(&cast(array, &DataType::List(Arc::clone(field)))?, false)?
            }
            DataType::Struct(fields) => {
                let rows = array.as_struct().clone();
                let columns = fields.iter().zip(rows.columns());
                let members = columns
                    .map(|(field, column)| Ok((field.name().clone(), Self::of(column, is_marked(field))?)))
                    .collect::<Result<_>>()?;
                Self::Row { rows, members }
            }
            kind => {
                let form = match kind {
                    DataType::Boolean => Form::Truth,
                    DataType::Timestamp(..) => Form::Time,
                    kind if kind.is_numeric() => Form::Number,
                    _ => Form::Quoted,
                };
                Self::Plain { array: Arc::clone(array), texts: PgTexts::new(array)?, form }
            }
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Null => true,
            Self::Json(array) | Self::Text(array) | Self::Plain { array, .. } => array.is_null(row),
            Self::List { lists, .. } => lists.is_null(row),
            Self::Row { rows, .. } => rows.is_null(row),
        }
    }

    /// Returns the separator before a value in an array of several lines.
    fn line_break(&self, row: usize) -> &'static str {
        let is_long = matches!(self, Self::List { .. } | Self::Row { .. }) && !self.is_null(row);
        if is_long { "\n " } else { "" }
    }

    fn text(&self, row: usize) -> &str {
        match self {
            Self::Json(array) | Self::Text(array) => text_at(array, row),
            _ => "",
        }
    }

    fn write(&self, row: usize, into: &mut String) -> Result<()> {
        if self.is_null(row) {
            into.push_str("null");
            return Ok(());
        }
        match self {
            Self::Null => {}
            Self::Json(array) => into.push_str(text_at(array, row)),
            Self::Text(array) => quote(text_at(array, row), into),
            Self::Plain { texts, form, .. } => {
                let text = texts.text(row)?;
                match form {
                    Form::Number if text.bytes().any(|byte| byte.is_ascii_digit()) => into.push_str(&text),
                    Form::Truth => into.push_str(if text == "t" { "true" } else { "false" }),
                    Form::Time => quote(&text.replacen(' ', "T", 1).replace("+00", "+00:00"), into),
                    _ => quote(&text, into),
                }
            }
            Self::List { .. } => self.write_list(row, ",", into)?,
            Self::Row { members, .. } => {
                into.push('{');
                for (at, (name, values)) in members.iter().enumerate() {
                    into.push_str(if at > 0 { "," } else { "" });
                    quote(name, into);
                    into.push(':');
                    values.write(row, into)?;
                }
                into.push('}');
            }
        }
        Ok(())
    }

    fn write_list(&self, row: usize, between: &str, into: &mut String) -> Result<()> {
        let Self::List { lists, elements } = self else { return Ok(()) };
        into.push('[');
        let places = places(lists, row);
        let begin = places.start;
        for element in places {
            if element > begin {
                into.push_str(between);
                into.push_str(if between.len() > 1 { elements.line_break(element) } else { "" });
            }
            elements.write(element, into)?;
        }
        into.push(']');
        Ok(())
    }

    /// Writes the JSON elements of a list between brackets.
    fn write_parts(&self, row: usize, [open, close]: [&str; 2], into: &mut String) -> Result<()> {
        let Self::List { lists, elements } = self else { return Ok(()) };
        into.push_str(open);
        let places = places(lists, row);
        let begin = places.start;
        for element in places {
            let part = elements.text(element);
            match element > begin {
                true => into.push_str(", "),
                false => {
                    into.push_str(part.trim_start_matches("\n "));
                    continue;
                }
            }
            into.push_str(part);
        }
        into.push_str(close);
        Ok(())
    }

    /// Writes a value as the name of a member.
    fn write_name(&self, row: usize, into: &mut String) -> Result<()> {
        match self {
            Self::Json(_) | Self::List { .. } | Self::Row { .. } => {
                let message = "the name of a member must be scalar, not an array, a row, or JSON";
                Err(DataFusionError::Execution(message.to_owned()))
            }
            Self::Plain { form: Form::Number | Form::Truth, .. } => {
                let mut name = String::new();
                self.write(row, &mut name)?;
                quote(name.trim_matches('"'), into);
                Ok(())
            }
            _ => self.write(row, into),
        }
    }
}

/// Returns the range of the elements of a list.
fn places(lists: &ListArray, row: usize) -> std::ops::Range<usize> {
    let place = |row: usize| usize::try_from(lists.value_offsets()[row]).unwrap_or(0);
    place(row)..place(row + 1)
}

fn text_at(array: &ArrayRef, row: usize) -> &str {
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row),
        _ => array.as_string_view().value(row),
    }
}

/// Writes a text in quotes.
fn quote(text: &str, into: &mut String) {
    into.push('"');
    for letter in text.chars() {
        match letter {
            '"' => into.push_str("\\\""),
            '\\' => into.push_str("\\\\"),
            '\n' => into.push_str("\\n"),
            '\r' => into.push_str("\\r"),
            '\t' => into.push_str("\\t"),
            '\u{8}' => into.push_str("\\b"),
            '\u{c}' => into.push_str("\\f"),
            control if control < ' ' => {
                let _ = write!(into, "\\u{:04x}", u32::from(control));
            }
            letter => into.push(letter),
        }
    }
    into.push('"');
}

/// Returns the length of the output of [`quote`]. Unit: bytes.
fn quoted_bytes(text: &str) -> usize {
    let bytes = text.bytes().map(|byte| match byte {
        b'"' | b'\\' => 2,
        byte if byte < b' ' => 6,
        _ => 1,
    });
    bytes.sum::<usize>() + 2
}

/// Writes JSON in the form of `jsonb`: a space after each colon and comma, and each name once, with its last value,
/// shorter names first.
fn write_binary(json: &str, into: &mut String) -> Result<()> {
    match is_deep(json) {
        true => Err(DataFusionError::Execution(format!("JSON is nested more than {DEPTH_MAX} deep"))),
        false => write_binary_value(json, into),
    }
}

/// Whether arrays and objects are nested too deeply: each level is parsed once more.
fn is_deep(json: &str) -> bool {
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'[' | b'{' if !is_text => depth += 1,
            b']' | b'}' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return true;
        }
    }
    false
}

fn write_binary_value(json: &str, into: &mut String) -> Result<()> {
    let wrong = |error| no_json(&error);
    let json = json.trim_matches([' ', '\t', '\n', '\r']);
    match json.as_bytes().first() {
        Some(b'{') => {
            // If several members have the same name, the last one is kept.
            let members: HashMap<String, &RawValue> = serde_json::from_str(json).map_err(wrong)?;
            let mut members: Vec<(String, &RawValue)> = members.into_iter().collect();
            members
                .sort_unstable_by(|(left, _), (right, _)| left.len().cmp(&right.len()).then_with(|| left.cmp(right)));
            into.push('{');
            for (at, (name, value)) in members.iter().enumerate() {
                into.push_str(if at > 0 { ", " } else { "" });
                quote(name, into);
                into.push_str(": ");
                write_binary_value(value.get(), into)?;
            }
            into.push('}');
        }
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(json).map_err(wrong)?;
            into.push('[');
            for (at, element) in elements.iter().enumerate() {
                into.push_str(if at > 0 { ", " } else { "" });
                write_binary_value(element.get(), into)?;
            }
            into.push(']');
        }
        Some(b'"') => quote(&serde_json::from_str::<String>(json).map_err(wrong)?, into),
        _ => into.push_str(serde_json::from_str::<&RawValue>(json).map_err(wrong)?.get()),
    }
    Ok(())
}

/// Returns the maximum size of the result of a call of a function of [`making`]. Unit: bytes.
pub(super) fn made_bytes(call: &ScalarFunctionArgs) -> usize {
    let rows = call.number_rows;
    let of_arg = |arg: &ColumnarValue| match arg {
        ColumnarValue::Array(array) => value_bytes(array),
        ColumnarValue::Scalar(value) => {
            value.to_array().map_or(usize::MAX, |array| value_bytes(&array)).saturating_mul(rows)
        }
    };
    // Brackets, commas and line breaks.
    let around = rows.saturating_mul(8).saturating_mul(call.args.len() + 1);
    call.args.iter().map(of_arg).fold(around, usize::saturating_add)
}

/// Returns the maximum size of the results of `jsonb`, with the memory for parsing the longest value. Unit: bytes.
pub(super) fn binary_bytes(total: usize, longest: usize) -> usize {
    // A member has at least four letters.
    total.saturating_mul(2).saturating_add(longest.saturating_mul(24))
}

fn value_bytes(array: &ArrayRef) -> usize {
    let rows = array.len();
    match array.data_type() {
        kind if kind.is_string() => {
            (0..rows).filter(|row| array.is_valid(*row)).map(|row| quoted_bytes(text_at(array, row))).sum::<usize>()
                + rows.saturating_mul(4)
        }
        DataType::List(_) => list_bytes(array.as_list::<i32>().values(), rows),
        DataType::LargeList(_) => list_bytes(array.as_list::<i64>().values(), rows),
        DataType::FixedSizeList(..) => list_bytes(array.as_fixed_size_list().values(), rows),
        DataType::Struct(fields) => {
            let members = fields.iter().zip(array.as_struct().columns());
            let bytes = members.map(|(field, column)| {
                value_bytes(column).saturating_add(rows.saturating_mul(quoted_bytes(field.name()) + 2))
            });
            bytes.fold(rows.saturating_mul(4), usize::saturating_add)
        }
        DataType::Dictionary(_, values) => cast(array, values).map_or(usize::MAX, |array| value_bytes(&array)),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            array.get_array_memory_size().saturating_mul(2).saturating_add(rows.saturating_mul(8))
        }
        _ => rows.saturating_mul(VALUE_BYTES),
    }
}

fn list_bytes(elements: &ArrayRef, rows: usize) -> usize {
    let between = elements.len().saturating_mul(4).saturating_add(rows.saturating_mul(4));
    value_bytes(elements).saturating_add(between)
}

/// The function of a whole row, `json_row(t.*)`.
const WHOLE_ROW: &str = "json_row";

/// Replaces the arguments of functions of whole rows with the names and values of the columns of the row.
pub(crate) fn with_whole_rows(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|plan| {
        let names = NamePreserver::new(&plan);
        let mut schema = DFSchema::empty();
        plan.inputs().iter().for_each(|input| schema.merge(input.schema()));
        plan.map_expressions(|expr| {
            let name = names.save(&expr);
            let changed = expr.transform_up(|expr| whole_row(expr, &schema))?;
            Ok(changed.update_data(|expr| name.restore(expr)))
        })
    })?;
    Ok(plan.data)
}

#[expect(deprecated, reason = "a function of a whole row is planned with it")]
fn whole_row(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::ScalarFunction(ScalarFunction { func, args }) = &expr else { return Ok(Transformed::no(expr)) };
    let [Expr::Wildcard { qualifier: Some(table), .. }] = args.as_slice() else { return Ok(Transformed::no(expr)) };
    if func.name() != WHOLE_ROW {
        return Ok(Transformed::no(expr));
    }
    let columns = schema.iter().filter(|(qualifier, _)| qualifier.is_some_and(|named| named.table() == table.table()));
    let args: Vec<Expr> =
        columns.flat_map(|(qualifier, field)| [lit(shown(field.name())), Expr::from((qualifier, field))]).collect();
    if args.is_empty() {
        let message =
            format!("the columns of {table} are not known here; name them: json_build_object('name', name, …)");
        return Err(DataFusionError::Plan(message));
    }
    Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction { func: Arc::clone(func), args })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binary(json: &str) -> Result<String> {
        let mut written = String::new();
        write_binary(json, &mut written).map(|()| written)
    }

    #[test]
    fn binary_json_has_each_name_once_and_short_names_first() {
        let json = " {\"bb\":1, \"a\" : [1,2.50, {\"z\":null}],\"bb\":\"\\u00e9\\/\"} ";
        assert_eq!(binary(json).unwrap(), "{\"a\": [1, 2.50, {\"z\": null}], \"bb\": \"é/\"}");
        assert_eq!(binary("[ ]").unwrap() + &binary("{}").unwrap(), "[]{}");
        assert!(binary("{\"a\":").is_err() && binary("").is_err());
    }

    #[test]
    fn deep_json_ends_with_an_error_and_not_the_process() {
        for depth in [200, 1_000_000] {
            let error = binary(&format!("{}{}", "[".repeat(depth), "]".repeat(depth))).unwrap_err();
            assert!(error.to_string().contains("more than 100 deep"), "{error}");
        }
        assert!(binary(&format!("{}\"[[\\\"[\"{}", "[".repeat(100), "]".repeat(100))).is_ok());
    }

    #[test]
    fn texts_are_quoted_as_long_as_they_are_counted() {
        let text = "a\"\\\n\t\u{8}\u{c}\r\u{1}é/\u{7f}";
        let mut quoted = String::new();
        quote(text, &mut quoted);
        assert_eq!(quoted, "\"a\\\"\\\\\\n\\t\\b\\f\\r\\u0001é/\u{7f}\"");
        assert!(quoted.len() <= quoted_bytes(text));
    }
}
