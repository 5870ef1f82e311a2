//! Truncates values that are larger than a destination accepts, and marks them, so that nothing is lost silently.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::sink::{Encoded, RecordOutcome, SinkResponse};

/// Shorter texts are not truncated to make a record fit. Unit: bytes.
const TEXT_BYTES_MIN: usize = 1_024;
/// After this number of rounds, the exact number of excess bytes is removed: a byte of text is at least one byte of
/// JSON.
const ROUNDS_EXACT: usize = 3;
/// Room for the mark at the end of a truncated text. Unit: bytes.
const MARK_BYTES: usize = 80;

/// Truncates a text to at most this number of bytes, including a mark at its end with its original size.
pub(crate) fn cut_text(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        cut_text_of(text.len(), text, bytes_max);
    }
}

/// Truncates a text whose original size is `bytes`.
fn cut_text_of(bytes: usize, text: &mut String, bytes_max: usize) {
    let mut end = bytes_max.saturating_sub(MARK_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str(&format!("… [cut by Runlog: {end} of {bytes} bytes]"));
}

/// Truncates each field to at most this number of bytes. A larger object or list becomes the beginning of its JSON, as
/// text.
pub(crate) fn cut_fields(document: &mut Map<String, Value>, bytes_max: usize) {
    for value in document.values_mut() {
        match value {
            Value::String(text) => cut_text(text, bytes_max),
            Value::Object(_) | Value::Array(_) => {
                let mut text = value.to_string();
                if text.len() > bytes_max {
                    cut_text(&mut text, bytes_max);
                    *value = Value::String(text);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// The JSON of a document. Its longest texts are truncated until it has at most this number of bytes, or until no long
/// text is left; then it is larger.
pub(crate) fn json_within(mut document: Map<String, Value>, bytes_max: usize) -> Vec<u8> {
    let mut rounds = 0;
    let mut before: BTreeMap<String, usize> = BTreeMap::new();
    loop {
        let json = Value::Object(document);
        let bytes = json.to_string().into_bytes();
        let Value::Object(back) = json else { return bytes };
        document = back;
        let over = bytes.len().saturating_sub(bytes_max);
        let texts = document.iter_mut().filter_map(|(name, value)| match value {
            Value::String(text) => Some((name, text)),
            _ => None,
        });
        match texts.max_by_key(|(_, text)| text.len()) {
            Some((name, text)) if over > 0 && text.len() > TEXT_BYTES_MIN => {
                let removed = if rounds < ROUNDS_EXACT { text_bytes_of_json(text, over) } else { over };
                let bytes = *before.entry(name.clone()).or_insert(text.len());
                cut_text_of(bytes, text, text.len().saturating_sub(removed + 1));
            }
            _ => return bytes,
        }
        rounds += 1;
    }
}

/// Estimates how many bytes of a text correspond to this number of bytes of its JSON, where some characters are
/// escaped.
fn text_bytes_of_json(text: &str, json_bytes: usize) -> usize {
    let all = Value::from(text).to_string().len();
    text.len().saturating_mul(json_bytes) / all.max(1)
}

/// Refuses the records whose bodies are larger than a destination accepts, so that the others are sent without them.
/// None if there is no such record.
pub(crate) fn refuse_larger(records: &[Encoded], bytes_max: usize) -> Option<SinkResponse> {
    let is_larger = |record: &Encoded| record.body.len() > bytes_max;
    records.iter().any(is_larger).then(|| {
        let outcome = |record: &Encoded| match is_larger(record) {
            true => {
                let bytes = record.body.len();
                RecordOutcome::Refused(format!("it has {bytes} bytes, and the destination takes {bytes_max} at most"))
            }
            false => RecordOutcome::RetryNow,
        };
        SinkResponse::Each(records.iter().map(outcome).collect())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_says_so() {
        let mut text = "ö".repeat(1_000);
        cut_text(&mut text, 2_000);
        assert_eq!(text.len(), 2_000);
        cut_text(&mut text, 101);
        assert_eq!(text, format!("{}… [cut by Runlog: 20 of 2000 bytes]", "ö".repeat(10)));
    }

    #[test]
    fn a_document_is_cut_where_it_is_long_until_it_fits() {
        // Each quotation mark takes two bytes of JSON.
        let document = json!({ "message": "\"".repeat(40_000), "other": "x".repeat(9_000), "id": "1" });
        let json = json_within(document.as_object().unwrap().clone(), 10_000);
        assert!(json.len() <= 10_000, "{}", json.len());
        let read: Value = serde_json::from_slice(&json).unwrap();
        assert!(read["message"].as_str().unwrap().ends_with(" of 40000 bytes]"), "{}", read["message"]);
        assert_eq!(read["id"], "1");
    }

    #[test]
    fn what_is_large_without_a_long_text_stays_as_it_is() {
        let document = json!({ "message": "short", "extra": { "payload": "x".repeat(20_000) } });
        let json = json_within(document.as_object().unwrap().clone(), 10_000);
        assert_eq!(serde_json::from_slice::<Value>(&json).unwrap(), document);
    }

    #[test]
    fn a_large_object_becomes_the_beginning_of_its_json() {
        let mut document = json!({ "Extra": { "payload": "x".repeat(20_000) }, "Small": { "a": 1 } });
        cut_fields(document.as_object_mut().unwrap(), 10_000);
        let text = document["Extra"].as_str().unwrap();
        assert!(text.starts_with("{\"payload\":\"xx") && text.len() <= 10_000 && text.contains("cut by Runlog"));
        assert_eq!(document["Small"], json!({ "a": 1 }));
    }
}
