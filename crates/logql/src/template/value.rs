//! Values of templates: what fields and functions return.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;

use crate::labels::LabelSet;
use crate::template::numbers::{parse_whole, shortest};
use crate::template::times::Time;

/// A value while a template is rendered.
#[derive(Debug, Clone)]
pub(super) enum Value<'v> {
    /// No value, as of a member that JSON does not have.
    Nil,
    Bool(bool),
    /// `int` of Go: literals, lengths and positions.
    Int(i64),
    /// `int64` of Go: what arithmetic returns. Functions that take an `int` refuse it.
    Int64(i64),
    Float(f64),
    Text(Text<'v>),
    Time(Time),
    List(Rc<Vec<Value<'v>>>),
    Map(Rc<BTreeMap<String, Value<'v>>>),
    /// All labels of the record.
    Labels(&'v LabelSet<'v>),
}

/// A text whose copies share its bytes.
#[derive(Debug, Clone)]
pub(super) enum Text<'v> {
    /// Part of the record or the template.
    Borrowed(&'v str),
    /// Returned by a function.
    Made(Rc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Made(text) => text,
        }
    }
}

/// Types of parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Any,
    Text,
    Int,
    Float,
    Time,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Text => "string",
            Self::Int => "int",
            Self::Float => "float64",
            Self::Time => "time.Time",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl<'v> Value<'v> {
    /// A text that a function made.
    pub(super) fn text(text: impl Into<Rc<str>>) -> Self {
        Self::Text(Text::Made(text.into()))
    }

    /// A text of the record or the template.
    pub(super) fn borrowed(text: &'v str) -> Self {
        Self::Text(Text::Borrowed(text))
    }

    /// Checks that it may be passed as a parameter of a kind. The error says what was expected.
    pub(super) fn check(&self, kind: Kind) -> Result<(), String> {
        match (kind, self) {
            (Kind::Any, _)
            | (Kind::Text, Self::Text(_))
            | (Kind::Int, Self::Int(_))
            | (Kind::Float, Self::Float(_))
            | (Kind::Time, Self::Time(_)) => Ok(()),
            _ => Err(format!("wrong type for value; expected {}; got {}", kind.name(), self.type_name())),
        }
    }

    /// The name of its type in Go.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Int64(_) => "int64",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::Time(_) => "time.Time",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
            Self::Labels(_) => "map[string]string",
        }
    }

    /// Returns true if `if` treats the value as true: not zero, and not empty.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(is_true) => *is_true,
            Self::Int(number) | Self::Int64(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::Time(_) => true,
            Self::List(list) => !list.is_empty(),
            Self::Map(map) => !map.is_empty(),
            Self::Labels(labels) => labels.iter().next().is_some(),
        }
    }

    /// Returns the value as a whole number, parsed from a text; zero for other values.
    pub(super) fn to_whole(&self) -> i64 {
        match self {
            Self::Bool(is_true) => i64::from(*is_true),
            Self::Int(number) | Self::Int64(number) => *number,
            Self::Float(number) => az::saturating_cast::<f64, i64>(if number.is_nan() { 0.0 } else { *number }),
            Self::Text(text) => parse_whole(text).unwrap_or(0),
            _ => 0,
        }
    }

    /// Returns the value as a number, parsed from a text; zero for other values.
    #[expect(clippy::cast_precision_loss, reason = "a float was asked for")]
    pub(super) fn to_float(&self) -> f64 {
        match self {
            Self::Bool(is_true) => f64::from(u8::from(*is_true)),
            Self::Int(number) | Self::Int64(number) => *number as f64,
            Self::Float(number) => *number,
            Self::Text(text) => text.parse().unwrap_or(0.0),
            _ => 0.0,
        }
    }

    /// Returns the number of bytes, elements or members; none for values without a length.
    pub(super) fn len(&self) -> Option<usize> {
        match self {
            Self::Text(text) => Some(text.len()),
            Self::List(list) => Some(list.len()),
            Self::Map(map) => Some(map.len()),
            Self::Labels(labels) => Some(labels.iter().count()),
            _ => None,
        }
    }

    /// Appends the value as Go prints it; returns false if that exceeds `bytes_max`.
    pub(super) fn print(&self, output: &mut String, bytes_max: usize) -> bool {
        match self {
            Self::Nil => output.push_str("<nil>"),
            Self::Bool(is_true) => output.push_str(if *is_true { "true" } else { "false" }),
            Self::Int(number) | Self::Int64(number) => output.push_str(&number.to_string()),
            Self::Float(number) => output.push_str(&shortest(*number)),
            Self::Text(text) => output.push_str(text),
            Self::Time(time) => output.push_str(&time.to_string()),
            Self::List(list) => {
                output.push('[');
                for (index, element) in list.iter().enumerate() {
                    output.push_str(if index == 0 { "" } else { " " });
                    if !element.print(output, bytes_max) {
                        return false;
                    }
                }
                output.push(']');
            }
            Self::Map(map) => {
                output.push_str("map[");
                for (index, (name, member)) in map.iter().enumerate() {
                    output.push_str(if index == 0 { "" } else { " " });
                    output.push_str(name);
                    output.push(':');
                    if !member.print(output, bytes_max) {
                        return false;
                    }
                }
                output.push(']');
            }
            Self::Labels(labels) => {
                output.push_str("map[");
                for (index, (name, value)) in sorted(labels).into_iter().enumerate() {
                    output.push_str(if index == 0 { "" } else { " " });
                    output.push_str(name);
                    output.push(':');
                    output.push_str(value);
                    if output.len() > bytes_max {
                        return false;
                    }
                }
                output.push(']');
            }
        }
        output.len() <= bytes_max
    }

    /// A value that JSON describes; what it takes is subtracted from `left`. None if that does not suffice. Unit of
    /// `left`: bytes.
    pub(super) fn of_json(json: serde_json::Value, left: &mut usize) -> Option<Self> {
        *left = left.checked_sub(size_of::<Self>())?;
        Some(match json {
            serde_json::Value::Null => Self::Nil,
            serde_json::Value::Bool(is_true) => Self::Bool(is_true),
            serde_json::Value::Number(number) => Self::Float(number.as_f64().unwrap_or(0.0)),
            serde_json::Value::String(text) => {
                *left = left.checked_sub(text.len())?;
                Self::text(text)
            }
            serde_json::Value::Array(list) => {
                let elements = list.into_iter().map(|element| Self::of_json(element, left));
                Self::List(Rc::new(elements.collect::<Option<_>>()?))
            }
            serde_json::Value::Object(map) => {
                let members = map.into_iter().map(|(name, member)| {
                    *left = left.checked_sub(name.len())?;
                    Some((name, Self::of_json(member, left)?))
                });
                Self::Map(Rc::new(members.collect::<Option<_>>()?))
            }
        })
    }
}

/// Names and values of labels, by name.
pub(super) fn sorted<'v>(labels: &'v LabelSet<'v>) -> BTreeMap<&'v str, &'v str> {
    labels.iter().map(|(name, value, _)| (name, value)).collect()
}
