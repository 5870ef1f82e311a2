//! The stage `logfmt`: `key=value key="a value"`.

use std::borrow::Cow;

use crate::labels::Entry;
use crate::pipeline::failure::fail;
use crate::pipeline::json::label_name;

/// Most labels that are taken from one line.
const LABELS_MAX: usize = 256;

/// The keys and values of a line; the error names what cannot be read, and the rest of the line is read all the same.
pub fn logfmt_fields(line: &str) -> (Vec<(&str, Cow<'_, str>)>, Option<String>) {
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
        } else {
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

pub(super) fn extract_logfmt(is_strict: bool, wanted: &[(String, String)], entry: &mut Entry<'_>) {
    let line = entry.line.clone();
    let (fields, error) = logfmt_fields(&line);
    if let Some(error) = error.filter(|_| is_strict) {
        return fail(&mut entry.labels, "LogfmtParserErr", error);
    }
    if wanted.is_empty() {
        for (key, value) in &fields {
            entry.labels.extract(&label_name(key), value.clone().into_owned());
        }
    }
    for (label, field) in wanted {
        if entry.labels.is_over {
            return;
        }
        let value = fields.iter().find(|(key, _)| key == field).map(|(_, value)| value.clone().into_owned());
        entry.labels.extract(label, value.unwrap_or_default());
    }
}
