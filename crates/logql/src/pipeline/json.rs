//! The stages `json` and `unpack`.
//!
//! Objects are read level by level, and numbers stay as they are written.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::ast::{JsonField, JsonStep};
use crate::labels::Entry;
use crate::pipeline::failure::{JSON_ERROR, fail};

/// Most labels that are taken from one line.
const LABELS_MAX: usize = 256;

/// Deepest nesting of objects whose members become labels.
const DEPTH_MAX: usize = 32;

/// The members of an object, by name.
type Object<'j> = BTreeMap<Cow<'j, str>, &'j RawValue>;

/// Adds the values of a line as labels: all that are not lists, or those at some paths.
pub(super) fn extract(fields: &[JsonField], entry: &mut Entry<'_>) {
    let line = entry.line.clone();
    let Some(object) = object_of(&line, entry) else { return };
    let extracted = match fields.is_empty() {
        true => add_all(&object, entry),
        false => add_fields(fields, &object, entry),
    };
    if let Err(error) = extracted {
        fail(&mut entry.labels, JSON_ERROR, error.to_string());
    }
}

fn add_fields(fields: &[JsonField], object: &Object<'_>, entry: &mut Entry<'_>) -> serde_json::Result<()> {
    for field in fields {
        if entry.labels.is_over {
            return Ok(());
        }
        let text = match at_path(&field.path, object) {
            Some(value) if is_nested(value) => Some(Cow::Borrowed(value.get())),
            Some(value) => text_of(value)?,
            None => None,
        };
        entry.labels.extract(&field.label, text.unwrap_or_default().into_owned());
    }
    Ok(())
}

/// The value at a path.
fn at_path<'j>(path: &[JsonStep], object: &Object<'j>) -> Option<&'j RawValue> {
    let (first, rest) = path.split_first()?;
    let JsonStep::Key(key) = first else { return None };
    let mut value = *object.get(key.as_str())?;
    for step in rest {
        value = match step {
            JsonStep::Key(key) => *serde_json::from_str::<Object<'j>>(value.get()).ok()?.get(key.as_str())?,
            JsonStep::Index(index) => *serde_json::from_str::<Vec<&'j RawValue>>(value.get()).ok()?.get(*index)?,
        };
    }
    Some(value)
}

/// Adds the values of a packed line as labels, and makes `_entry` the line; a line without it was not packed and stays.
pub(super) fn unpack(entry: &mut Entry<'_>) {
    let line = entry.line.clone();
    let Some(object) = object_of(&line, entry) else { return };
    if !object.get("_entry").is_some_and(|value| value.get().starts_with('"')) {
        return;
    }
    for (name, value) in object.iter().take(LABELS_MAX) {
        if !value.get().starts_with('"') {
            continue;
        }
        match (text_of(value), &**name) {
            (Ok(text), "_entry") => entry.line = Cow::Owned(text.unwrap_or_default().into_owned()),
            (Ok(text), name) => entry.labels.extract(&label_name(name), text.unwrap_or_default().into_owned()),
            (Err(error), _) => return fail(&mut entry.labels, JSON_ERROR, error.to_string()),
        }
    }
}

fn object_of<'j>(line: &'j str, entry: &mut Entry<'_>) -> Option<Object<'j>> {
    match serde_json::from_str(line) {
        Ok(object) => Some(object),
        Err(error) => {
            fail(&mut entry.labels, JSON_ERROR, error.to_string());
            None
        }
    }
}

/// The names of an object and of those around it.
struct Path<'p> {
    outer: Option<&'p Path<'p>>,
    name: &'p str,
}

impl Path<'_> {
    fn names(&self) -> Vec<String> {
        let mut names = self.outer.map(Path::names).unwrap_or_default();
        names.push(self.name.to_owned());
        names
    }
}

/// A value that `json` finds in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundField {
    /// The label that it becomes.
    pub label: String,
    /// The names of the objects around it, and its own.
    pub path: Vec<String>,
    /// Its text.
    pub value: String,
}

/// What `json` finds in a line; nothing if that is no object.
pub fn json_fields(line: &str) -> Vec<FoundField> {
    let mut fields = Vec::new();
    let Ok(object) = serde_json::from_str::<Object<'_>>(line) else { return fields };
    let found = each_value(&object, "", None, 0, &mut |label, path, text| {
        if fields.len() < LABELS_MAX {
            fields.push(FoundField { label: label.to_owned(), path: path.names(), value: text.into_owned() });
        }
    });
    if found.is_err() {
        fields.clear();
    }
    fields
}

fn add_all(object: &Object<'_>, entry: &mut Entry<'_>) -> serde_json::Result<()> {
    let mut left = LABELS_MAX;
    each_value(object, "", None, 0, &mut |label, _, text| {
        if left > 0 {
            left -= 1;
            entry.labels.extract(label, text.into_owned());
        }
    })
}

/// Passes each text, number and truth value with its label and its path.
fn each_value(
    object: &Object<'_>,
    prefix: &str,
    outer: Option<&Path<'_>>,
    depth: usize,
    found: &mut dyn FnMut(&str, &Path<'_>, Cow<'_, str>),
) -> serde_json::Result<()> {
    for (name, value) in object {
        let label = match prefix.is_empty() {
            true => label_name(name),
            false => format!("{prefix}_{}", label_part(name)),
        };
        let path = Path { outer, name };
        if value.get().starts_with('{') {
            if depth < DEPTH_MAX {
                each_value(&serde_json::from_str(value.get())?, &label, Some(&path), depth + 1, found)?;
            }
        } else if let Some(text) = text_of(value)? {
            found(&label, &path, text);
        }
    }
    Ok(())
}

fn is_nested(value: &RawValue) -> bool {
    value.get().starts_with(['{', '['])
}

/// The text of a text, a number or a truth value.
fn text_of(value: &RawValue) -> serde_json::Result<Option<Cow<'_, str>>> {
    match value.get().as_bytes().first() {
        Some(b'"') => serde_json::from_str::<String>(value.get()).map(|text| Some(Cow::Owned(text))),
        Some(b'{' | b'[' | b'n') | None => Ok(None),
        Some(_) => Ok(Some(Cow::Borrowed(value.get()))),
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
    key.trim().chars().map(|c| if c == '_' || c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}
