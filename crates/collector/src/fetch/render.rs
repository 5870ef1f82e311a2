//! Writes the entries of a log in the requested format.

use std::borrow::Cow;
use std::io::{self, Write};

use runlog_client::entries;
use runlog_model::Timestamp;
use runlog_model::text::TextLine;
use serde::Deserialize;
use serde_json::Value;

use super::request::OutputFormat;

/// Writes entries one after another.
pub(crate) struct Renderer<W> {
    out: W,
    form: OutputFormat,
    is_empty: bool,
}

impl<W: Write> Renderer<W> {
    pub(crate) fn new(out: W, form: OutputFormat) -> Self {
        Self { out, form, is_empty: true }
    }

    /// Writes an entry: the text of a JSON object.
    pub(crate) fn write(&mut self, entry: &[u8]) -> io::Result<()> {
        let is_first = std::mem::replace(&mut self.is_empty, false);
        match self.form {
            OutputFormat::Ndjson => {
                self.out.write_all(entry)?;
                self.out.write_all(b"\n")
            }
            OutputFormat::Json => {
                self.out.write_all(if is_first { b"[\n" } else { b",\n" })?;
                self.out.write_all(entry)
            }
            OutputFormat::Text => write_line(&mut self.out, entry),
        }
    }

    /// Ends the result, and returns its writer.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        if self.form == OutputFormat::Json {
            self.out.write_all(if self.is_empty { b"[]\n" } else { b"\n]\n" })?;
        }
        self.out.flush()?;
        Ok(self.out)
    }
}

/// The parts of an entry that a line of text shows.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TextFields<'a> {
    log_timestamp: i64,
    #[serde(borrow, default)]
    severity: Option<Text<'a>>,
    #[serde(borrow, default)]
    log_type: Option<Text<'a>>,
    #[serde(borrow, default)]
    bundle_name: Option<Text<'a>>,
    #[serde(borrow, default)]
    log_message: Option<Text<'a>>,
}

/// A text, borrowed if it contains no escapes. Serde copies an `Option<Cow<str>>` in any case.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn write_line(out: &mut impl Write, entry: &[u8]) -> io::Result<()> {
    if let Ok(shown) = serde_json::from_slice::<TextFields<'_>>(entry) {
        fn text<'t>(text: &'t Option<Text<'_>>) -> Option<&'t str> {
            text.as_ref().map(|text| &*text.0)
        }
        let line = TextLine {
            time: Timestamp::clamped(shown.log_timestamp),
            severity: text(&shown.severity),
            log_type: text(&shown.log_type),
            bundle_name: text(&shown.bundle_name),
            message: text(&shown.log_message),
        };
        return line.write_to(out);
    }
    // An entry that is not a valid record is still written as a line, with whatever can be parsed.
    let value: Value = serde_json::from_slice(entry).unwrap_or_default();
    let text = |name: &str| match value.get(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    let time = entries::time_of(entry).ok().flatten().unwrap_or_default();
    let (severity, log_type) = (text("severity"), text("logType"));
    let (bundle_name, message) = (text("bundleName"), text("logMessage"));
    let line = TextLine {
        time: Timestamp::clamped(time),
        severity: severity.as_deref(),
        log_type: log_type.as_deref(),
        bundle_name: bundle_name.as_deref(),
        message: message.as_deref(),
    };
    line.write_to(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(form: OutputFormat, entries: &[&str], expected: &str) {
        let mut renderer = Renderer::new(Vec::new(), form);
        entries.iter().for_each(|entry| renderer.write(entry.as_bytes()).unwrap());
        assert_eq!(String::from_utf8(renderer.finish().unwrap()).unwrap(), expected);
    }

    #[test]
    fn each_form_is_written_as_documented() {
        let entries = [r#"{"logTimestamp":0,"logMessage":"a\nb"}"#, r#"{"logTimestamp":1,"severity":3}"#];
        check(OutputFormat::Ndjson, &entries, &format!("{}\n{}\n", entries[0], entries[1]));
        check(OutputFormat::Json, &entries, &format!("[\n{},\n{}\n]\n", entries[0], entries[1]));
        check(
            OutputFormat::Text,
            &entries,
            "1970-01-01T00:00:00.000Z |       |  |  | a\nb\n1970-01-01T00:00:00.001Z | 3     |  |  | \n",
        );
    }

    #[test]
    fn texts_without_escapes_are_not_copied() {
        let entry = r#"{"logTimestamp":1,"severity":"INFO","logMessage":"a\tb"}"#;
        let shown: TextFields<'_> = serde_json::from_str(entry).unwrap();
        assert!(matches!(shown.severity, Some(Text(Cow::Borrowed("INFO")))));
        assert!(matches!(shown.log_message, Some(Text(Cow::Owned(_)))));
    }

    #[test]
    fn an_empty_log_is_a_whole_file() {
        check(OutputFormat::Ndjson, &[], "");
        check(OutputFormat::Json, &[], "[]\n");
        check(OutputFormat::Text, &[], "");
    }
}
