//! The formats of records in page files: JSON, or lines of text.

use arrow_array::{Array, Int32Array, StringArray};
use az::SaturatingAs;
use runlog_model::Timestamp;
use runlog_model::text::TextLine;

use crate::segment::values::{RecordValues, TextColumn, ValueColumns};

/// The values of records, prepared to be written as JSON.
pub(super) struct JsonColumns<'a> {
    /// The columns before the message.
    before: Vec<JsonColumn<'a>>,
    message: JsonColumn<'a>,
    after: Vec<JsonColumn<'a>>,
    /// The additional fields; `None` if no record has any, in which case `after` includes the closing brace.
    extra: Option<&'a TextColumn>,
}

/// Members of JSON objects, either already encoded, such as `,"severity":"INFO","logType":"JOB"`, or as the values of
/// one column.
enum JsonColumn<'a> {
    Texts { name: &'static str, texts: &'a TextColumn },
    Members(Members),
}

/// Encoded groups of members: each distinct group once, and the index of the group of each row.
struct Members {
    rows: Vec<u32>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// Most distinct groups of members into which columns are combined. Unit: groups.
const MEMBERS_MAX: usize = 4_096;

impl<'a> JsonColumns<'a> {
    /// Prepares the values for writing `rows` rows.
    pub(super) fn new(values: &'a ValueColumns, rows: usize) -> Self {
        // Members are encoded for all rows that were read, which is not worthwhile if only few of them are written, as
        // in logs with overlapping slices.
        let is_few = rows.saturating_mul(8) < values.severity.len();
        let names = |columns: &[(&'static str, &'a TextColumn)]| {
            let mut joined: Vec<JsonColumn<'a>> = Vec::new();
            for (name, texts) in columns {
                let column = JsonColumn::new(name, texts, is_few);
                match (joined.last_mut(), column) {
                    (Some(JsonColumn::Members(before)), JsonColumn::Members(after))
                        if before.ends.len() * after.ends.len() <= MEMBERS_MAX =>
                    {
                        *before = before.followed_by(&after);
                    }
                    (_, column) => joined.push(column),
                }
            }
            joined
        };
        let mut after = names(&[
            (",\"bundleName\":", &values.bundle_name),
            (",\"bundleVersion\":", &values.bundle_version),
            (",\"podName\":", &values.pod_name),
        ]);
        let mut extra = Some(&values.extra);
        if values.extra.is_empty()
            && let Some(JsonColumn::Members(last)) = after.last_mut()
        {
            *last = last.followed_by(&Members::end(last.rows.len()));
            extra = None;
        }
        Self {
            before: names(&[(",\"severity\":", &values.severity), (",\"logType\":", &values.log_type)]),
            message: JsonColumn::new(",\"logMessage\":", &values.message, is_few),
            after,
            extra,
        }
    }

    /// Writes one record as JSON, from the value of its time on, without a line break at the end.
    pub(super) fn write(&self, out: &mut Vec<u8>, epoch_ms: i64, row: usize) {
        out.extend_from_slice(itoa::Buffer::new().format(epoch_ms).as_bytes());
        self.before.iter().for_each(|column| column.write(out, row));
        self.message.write(out, row);
        self.after.iter().for_each(|column| column.write(out, row));
        let Some(extra) = self.extra else { return };
        match extra.text(row).and_then(|extra| extra.strip_prefix('{')).filter(|fields| *fields != "}") {
            Some(fields) => {
                out.push(b',');
                out.extend_from_slice(fields.as_bytes());
            }
            None => out.push(b'}'),
        }
    }
}

impl<'a> JsonColumn<'a> {
    fn new(name: &'static str, texts: &'a TextColumn, is_few: bool) -> Self {
        match texts {
            _ if is_few => Self::Texts { name, texts },
            TextColumn::Plain(_) => Self::Texts { name, texts },
            TextColumn::Coded { keys, texts } => Self::Members(Members::new(name, keys, texts)),
        }
    }

    fn write(&self, out: &mut Vec<u8>, row: usize) {
        match self {
            Self::Texts { name, texts } => {
                if let Some(text) = texts.text(row) {
                    out.extend_from_slice(name.as_bytes());
                    write_json_text(out, text);
                }
            }
            Self::Members(members) => out.extend_from_slice(members.group(members.rows[row])),
        }
    }
}

impl Members {
    /// Encodes the members of one column. The last group is the empty group of rows without a text.
    fn new(name: &str, keys: &Int32Array, texts: &StringArray) -> Self {
        let mut members = Self { rows: Vec::new(), bytes: Vec::new(), ends: Vec::new() };
        for text in texts {
            members.bytes.extend_from_slice(name.as_bytes());
            write_json_text(&mut members.bytes, text.unwrap_or_default());
            members.ends.push(members.bytes.len());
        }
        let none = texts.len().saturating_as::<u32>();
        if keys.null_count() == 0 {
            members.rows.extend(keys.values().iter().map(|key| (*key).saturating_as::<u32>()));
        } else {
            members.ends.push(members.bytes.len());
            members.rows.extend(keys.iter().map(|key| key.map_or(none, |key| key.saturating_as::<u32>())));
        }
        members
    }

    /// Returns the closing brace for this number of records.
    fn end(records: usize) -> Self {
        Self { rows: vec![0; records], bytes: b"}".to_vec(), ends: vec![1] }
    }

    /// Combines both groups of members, one after the other.
    fn followed_by(&self, after: &Self) -> Self {
        let width = after.ends.len().saturating_as::<u32>();
        let rows = self.rows.iter().zip(&after.rows).map(|(before, after)| before * width + after).collect();
        let mut joined = Self { rows, bytes: Vec::new(), ends: Vec::new() };
        for first in 0..self.ends.len().saturating_as::<u32>() {
            for second in 0..width {
                joined.bytes.extend_from_slice(self.group(first));
                joined.bytes.extend_from_slice(after.group(second));
                joined.ends.push(joined.bytes.len());
            }
        }
        joined
    }

    fn group(&self, number: u32) -> &[u8] {
        let number = number as usize;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[number]]
    }
}

fn write_json_text(out: &mut Vec<u8>, text: &str) {
    // Without an early exit, the compiler can vectorize the loop.
    let has_escapes = text.bytes().fold(false, |found, byte| found | (byte < 0x20) | (byte == b'"') | (byte == b'\\'));
    if has_escapes {
        // Writing to memory cannot fail.
        let _ = serde_json::to_writer(out, text);
    } else {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
}

pub(super) fn write_text(out: &mut Vec<u8>, epoch_ms: i64, body: RecordValues<'_>) {
    let line = TextLine {
        time: Timestamp::clamped(epoch_ms),
        severity: body.severity,
        log_type: body.log_type,
        bundle_name: body.bundle_name,
        message: body.message,
    };
    // Writing to memory cannot fail.
    let _ = line.write_to(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_as_json_has_it() {
        let every_byte: String = (0..0x180).filter_map(char::from_u32).collect();
        for text in ["", "plain", "a \"b\" \\c", "\u{0}\u{1f}\u{7f}", &every_byte] {
            let mut out = Vec::new();
            write_json_text(&mut out, text);
            assert_eq!(String::from_utf8(out).unwrap(), serde_json::to_string(text).unwrap());
        }
    }

    #[test]
    fn a_record_is_one_line_of_json_however_its_texts_are_kept() {
        let none = || TextColumn::Plain(StringArray::new_null(2));
        let severity = StringArray::from(vec![Some("INFO"), None]);
        let coded = TextColumn::Coded {
            keys: Int32Array::from(vec![Some(1), None]),
            texts: StringArray::from(vec!["WARN", "INFO"]),
        };
        let job = TextColumn::Coded { keys: Int32Array::from(vec![0, 0]), texts: StringArray::from(vec!["JOB"]) };
        let jobs = TextColumn::Plain(StringArray::from(vec!["JOB", "JOB"]));
        let some = || TextColumn::Plain(StringArray::from(vec![Some(r#"{"n":1}"#), None]));
        let no_pod =
            TextColumn::Coded { keys: Int32Array::new_null(2), texts: StringArray::from(Vec::<String>::new()) };
        let forms = [
            (TextColumn::Plain(severity), jobs, none(), some()),
            (coded.clone(), job.clone(), no_pod.clone(), some()),
            (coded, job, no_pod, none()),
        ];
        for (severity, log_type, pod_name, extra) in forms {
            let end = if extra.is_empty() { "}" } else { r#","n":1}"# };
            let values = ValueColumns {
                severity,
                log_type,
                message: TextColumn::Plain(StringArray::from(vec!["a\n\"b\"", ""])),
                bundle_name: none(),
                bundle_version: none(),
                pod_name,
                extra,
            };
            let mut out = Vec::new();
            let columns = JsonColumns::new(&values, 2);
            columns.write(&mut out, 7, 0);
            columns.write(&mut out, -1, 1);
            let first = r#"7,"severity":"INFO","logType":"JOB","logMessage":"a\n\"b\"""#;
            let expected = format!(r#"{first}{end}-1,"logType":"JOB","logMessage":""}}"#);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
