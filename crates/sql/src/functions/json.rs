//! Members of JSON texts: `extra ->> 'key'`, `tags -> 0`, `extra #>> '{a,b}'`.
//!
//! The result is a part of the text. A text that is not JSON has no members: the result is null.

use std::any::Any;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use serde_json::value::RawValue;

use crate::functions::json_values::json_field;
use crate::functions::times::as_given;
use crate::postgres::array_elements;

/// Maximum number of steps of a path.
const STEPS_MAX: usize = 100;

/// The functions, each of which returns at most a part of its first argument.
pub(crate) fn functions() -> Vec<Arc<dyn ScalarUDFImpl>> {
    let function = |(name, is_path, is_text)| {
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(JsonFunction { name, is_path, is_text, signature }) as Arc<dyn ScalarUDFImpl>
    };
    let all = [
        ("json_get", false, false),
        ("json_get_text", false, true),
        ("json_path", true, false),
        ("json_path_text", true, true),
    ];
    all.into_iter().map(function).collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonFunction {
    name: &'static str,
    /// Whether the function takes a path, as `{a,b}` or as separate keys, instead of a single key.
    is_path: bool,
    /// Whether a JSON string is returned without its quotes, and a JSON null as NULL.
    is_text: bool,
    signature: Signature,
}

impl ScalarUDFImpl for JsonFunction {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        let takes = if self.is_path { 2..STEPS_MAX } else { 2..3 };
        if !takes.contains(&kinds.len()) {
            return Err(DataFusionError::Plan(format!("{} takes a JSON text and a key or a path", self.name)));
        }
        let step = |kind: &DataType| match kind {
            kind if kind.is_integer() => DataType::Int64,
            DataType::List(_) | DataType::LargeList(_) if self.is_path => DataType::new_list(DataType::Utf8, true),
            _ => DataType::Utf8,
        };
        Ok(std::iter::once(DataType::Utf8).chain(kinds[1..].iter().map(step)).collect())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(match self.is_text {
            true => Arc::new(Field::new(self.name, DataType::Utf8, true)),
            false => json_field(self.name),
        })
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = call.number_rows;
        let args = call.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<Vec<ArrayRef>>>()?;
        let [texts, steps @ ..] = args.as_slice() else {
            return Err(DataFusionError::Internal("a text and a path".to_owned()));
        };
        let texts = texts.as_string::<i32>();
        let mut found = StringBuilder::new();
        for row in 0..texts.len() {
            let member = match texts.is_valid(row) {
                true => self.steps(steps, row)?.and_then(|steps| self.member(texts.value(row), &steps)),
                false => None,
            };
            found.append_option(member);
        }
        as_given(&call.args, Arc::new(found.finish()))
    }
}

/// A step into a JSON value.
enum Step {
    Key(String),
    /// An index from 0, or from the end if negative.
    Index(i64),
}

impl JsonFunction {
    /// Returns the steps for a row; none if a step is null or the path is missing.
    fn steps(&self, args: &[ArrayRef], row: usize) -> Result<Option<Vec<Step>>> {
        let mut steps = Vec::new();
        for arg in args {
            if arg.is_null(row) {
                return Ok(None);
            }
            match arg.data_type() {
                DataType::Int64 => {
                    let index = arg.as_primitive::<datafusion::arrow::datatypes::Int64Type>().value(row);
                    steps.push(Step::Index(index));
                }
                DataType::List(_) => {
                    let keys = cast(&arg.as_list::<i32>().value(row), &DataType::Utf8)?;
                    let keys = keys.as_string::<i32>().iter();
                    steps.extend(keys.map(|key| Step::Key(key.unwrap_or_default().to_owned())));
                }
                _ => {
                    let text = arg.as_string::<i32>().value(row);
                    // A path as one text. Functions that take separate keys never have a single key in braces.
                    match array_elements(text).filter(|_| self.is_path && args.len() == 1) {
                        Some(keys) => steps.extend(keys.into_iter().map(|key| Step::Key(key.unwrap_or_default()))),
                        None => steps.push(Step::Key(text.to_owned())),
                    }
                }
            }
        }
        Ok(Some(steps).filter(|steps| steps.len() <= STEPS_MAX))
    }

    fn member(&self, text: &str, steps: &[Step]) -> Option<String> {
        let mut json: &RawValue = serde_json::from_str(text).ok()?;
        for step in steps {
            json = stepped(json.get(), step, self.is_path)?;
        }
        as_text(json, self.is_text).map(Cow::into_owned)
    }
}

/// Returns a JSON value as written, or, if `is_text`, a string without its quotes and null as none.
pub(super) fn as_text(json: &RawValue, is_text: bool) -> Option<Cow<'_, str>> {
    match json.get() {
        "null" if is_text => None,
        text if is_text && text.starts_with('"') => serde_json::from_str(text).ok().map(Cow::Owned),
        text => Some(Cow::Borrowed(text)),
    }
}

fn stepped<'json>(json: &'json str, step: &Step, is_path: bool) -> Option<&'json RawValue> {
    match (json.as_bytes().first()?, step) {
        (b'{', Step::Key(key)) => {
            let mut members: HashMap<Cow<'json, str>, &'json RawValue> = serde_json::from_str(json).ok()?;
            members.remove(key.as_str())
        }
        (b'[', Step::Index(index)) => element(json, *index),
        // The steps of a path are texts, even those that are numbers.
        (b'[', Step::Key(key)) if is_path => element(json, key.parse().ok()?),
        _ => None,
    }
}

fn element(json: &str, index: i64) -> Option<&RawValue> {
    let elements: Vec<&RawValue> = serde_json::from_str(json).ok()?;
    let index = match usize::try_from(index) {
        Ok(index) => index,
        Err(_) => elements.len().checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?,
    };
    elements.get(index).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_key_and_by_place() {
        let get = |text: &str, steps: &[Step], is_text: bool| {
            let signature = Signature::user_defined(Volatility::Immutable);
            JsonFunction { name: "json_get", is_path: false, is_text, signature }.member(text, steps)
        };
        let key = |key: &str| Step::Key(key.to_owned());
        let json = r#"{"a": {"b": [1, "zwei\n", null]}, "n": 12345678901234567890.5}"#;
        let found = |value: &str| Some(value.to_owned());
        assert_eq!(get(json, &[key("a"), key("b"), Step::Index(1)], true), found("zwei\n"));
        assert_eq!(get(json, &[key("a"), key("b"), Step::Index(1)], false), found(r#""zwei\n""#));
        assert_eq!(get(json, &[key("a"), key("b"), Step::Index(-3)], true), found("1"));
        assert_eq!(get(json, &[key("a"), key("b"), Step::Index(2)], true), None);
        assert_eq!(get(json, &[key("a"), key("b"), Step::Index(2)], false), found("null"));
        assert_eq!(get(json, &[key("n")], true), found("12345678901234567890.5"));
        for (text, step) in [(json, key("c")), (json, Step::Index(0)), ("no JSON", key("a")), ("[1]", Step::Index(-2))]
        {
            assert_eq!(get(text, &[step], true), None, "{text}");
        }
    }
}
