//! The stages `json` and `unpack`.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::ast::{JsonField, JsonStep};
use crate::labels::Entry;
use crate::pipeline::failure::fail;

/// Most labels that are taken from one line.
const LABELS_MAX: usize = 256;

/// Adds the values of a line as labels: all that are not lists, or those at some paths.
pub(super) fn extract(fields: &[JsonField], entry: &mut Entry<'_>) {
    let Some(object) = object_of(entry) else { return };
    if fields.is_empty() {
        let mut left = LABELS_MAX;
        return add_all(&object, "", entry, &mut left);
    }
    let root = Value::Object(object);
    for field in fields {
        if entry.labels.is_over {
            return;
        }
        let value = field.path.iter().try_fold(&root, |value, step| match step {
            JsonStep::Key(key) => value.get(key),
            JsonStep::Index(index) => value.get(index),
        });
        let text = value.and_then(|value| match value {
            Value::Array(_) | Value::Object(_) => Some(value.to_string()),
            _ => text_of(value),
        });
        entry.labels.extract(&field.label, text.unwrap_or_default());
    }
}

/// Adds the values of a packed line as labels, and makes `_entry` the line.
pub(super) fn unpack(entry: &mut Entry<'_>) {
    let Some(object) = object_of(entry) else { return };
    for (name, value) in object.iter().take(LABELS_MAX) {
        let Value::String(text) = value else { continue };
        match name.as_str() {
            "_entry" => entry.line = Cow::Owned(text.clone()),
            _ => entry.labels.extract(&label_name(name), text.clone()),
        }
    }
}

fn object_of(entry: &mut Entry<'_>) -> Option<Map<String, Value>> {
    match serde_json::from_str(&entry.line) {
        Ok(object) => Some(object),
        Err(error) => {
            fail(&mut entry.labels, "JSONParserErr", error.to_string());
            None
        }
    }
}

/// The recursion is as deep as the JSON, which its parser limits.
fn add_all(object: &Map<String, Value>, prefix: &str, entry: &mut Entry<'_>, left: &mut usize) {
    for (name, value) in object {
        let name = match prefix.is_empty() {
            true => label_name(name),
            false => format!("{prefix}_{}", label_part(name)),
        };
        if let Value::Object(inner) = value {
            add_all(inner, &name, entry, left);
        } else if let Some(text) = text_of(value) {
            if *left == 0 {
                return;
            }
            *left -= 1;
            entry.labels.extract(&name, text);
        }
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A key as the name of a label.
pub(super) fn label_name(key: &str) -> String {
    let name = label_part(key);
    match name.starts_with(|c: char| c.is_ascii_digit()) {
        true => format!("_{name}"),
        false => name,
    }
}

fn label_part(key: &str) -> String {
    key.chars().map(|c| if c == '_' || c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}
