//! The stage `logfmt`: `key=value key="a value"`.

use std::borrow::Cow;

use crate::ast::LogfmtFields;
use crate::labels::Entry;
use crate::pipeline::failure::{LOGFMT_ERROR, fail};
use crate::pipeline::json::label_name;

/// Most labels that are taken from one line.
const LABELS_MAX: usize = 256;

/// Returns the keys and values of a line, and the first error if any; the rest of the line is still read.
pub fn logfmt_fields(line: &str) -> (Vec<(&str, Cow<'_, str>)>, Option<String>) {
    fields_of(line, false)
}

/// Like [`logfmt_fields`]; if `is_strict`, reads up to the first error.
fn fields_of(line: &str, is_strict: bool) -> (Vec<(&str, Cow<'_, str>)>, Option<String>) {
    let mut fields = Vec::new();
    let mut error = None;
    let mut rest = line.trim_start();
    while !rest.is_empty() && fields.len() < LABELS_MAX {
        let end = rest.find(|c: char| c == '=' || c == '"' || c.is_whitespace()).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let (value, after) = match after.strip_prefix('=') {
            None if after.starts_with('"') => {
                error.get_or_insert_with(|| "a quote outside of a value".to_owned());
                (Cow::Borrowed(""), &after[1..])
            }
            None => (Cow::Borrowed(""), after),
            Some(after) => match after.strip_prefix('"') {
                None => {
                    let end = after.find(char::is_whitespace).unwrap_or(after.len());
                    (Cow::Borrowed(&after[..end]), &after[end..])
                }
                Some(quoted) => match unquoted(quoted) {
                    Some((value, length)) => (value, &quoted[length..]),
                    None => {
                        error.get_or_insert_with(|| "a quoted value is not closed".to_owned());
                        (Cow::Borrowed(quoted), "")
                    }
                },
            },
        };
        if key.is_empty() && after.len() < rest.len() {
            error.get_or_insert_with(|| "a value without a key".to_owned());
        }
        if is_strict && error.is_some() {
            break;
        }
        if !key.is_empty() {
            fields.push((key, value));
        }
        rest = after.trim_start();
    }
    (fields, error)
}

/// A value up to its closing quote, and the length with it.
fn unquoted(quoted: &str) -> Option<(Cow<'_, str>, usize)> {
    let end = quoted.find(['"', '\\'])?;
    if quoted.as_bytes()[end] == b'"' {
        return Some((Cow::Borrowed(&quoted[..end]), end + 1));
    }
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((Cow::Owned(value), at + 1)),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                'r' => value.push('\r'),
                other => value.push(other),
            },
            _ => value.push(character),
        }
    }
    None
}

pub(super) fn extract_logfmt(logfmt: &LogfmtFields, entry: &mut Entry<'_>) {
    let line = entry.line.clone();
    let (fields, error) = fields_of(&line, logfmt.is_strict);
    let labels = &mut entry.labels;
    let mut extract = |label: &str, value: &str| match logfmt.keeps_empty {
        _ if labels.is_over => {}
        true => labels.extract_even_empty(label, value.to_owned()),
        // A field without a value does not replace one that has a value.
        false if value.is_empty() => {}
        false => labels.extract(label, value.to_owned()),
    };
    if logfmt.wanted.is_empty() {
        fields.iter().for_each(|(key, value)| extract(&label_name(key), value));
    }
    for (label, field) in &logfmt.wanted {
        let value = fields.iter().rev().find(|(key, _)| key == field);
        extract(label, value.map_or("", |(_, value)| value));
    }
    if let Some(error) = error.filter(|_| logfmt.is_strict) {
        fail(&mut entry.labels, LOGFMT_ERROR, error);
    }
}
