//! The format of a log, by its beginning.

use runlog_model::elements::element_length;

use crate::names::FieldName;
use crate::settings::{LogFormat, ReadSettings};
use crate::text::{has_time, has_time_of_day};

/// Maximum number of lines that are inspected.
const LINES_MAX: usize = 500;

/// The result of detection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detected {
    /// A log of this format.
    Log(LogFormat),
    /// Not a log: the kind of content, and advice.
    Other(String),
}

/// What a log is. `head` is the beginning of its text, without a byte order mark, and `is_all` says whether that is all.
pub fn detect(head: &[u8], is_all: bool, settings: &ReadSettings) -> Detected {
    let begin = head.trim_ascii_start();
    if let Some(format) = json(begin) {
        return Detected::Log(format);
    }
    if head.iter().any(|byte| matches!(byte, 0..=8 | 14..=26 | 28..=31)) {
        return Detected::Other("it is binary data; a log is text: NDJSON, JSON, CSV or lines of a logger".to_owned());
    }
    let text = String::from_utf8_lossy(head);
    let mut lines: Vec<&str> = text.lines().take(LINES_MAX).collect();
    // The last line may be cut off.
    if !is_all && lines.len() > 1 && lines.len() < LINES_MAX {
        lines.pop();
    }
    if let Some(separator) = lines.first().and_then(|header| separator_of(header, settings)) {
        return Detected::Log(LogFormat::Csv { separator });
    }
    if lines.iter().any(|line| has_time(line, settings)) {
        return Detected::Log(LogFormat::Text);
    }
    if begin.starts_with(b"<") {
        return Detected::Other("it is HTML or XML; a log is NDJSON, JSON, CSV or lines of a logger".to_owned());
    }
    // There is other text before the first record.
    if lines.iter().any(|line| line.starts_with('{') && serde_json::from_str::<serde_json::Value>(line).is_ok()) {
        return Detected::Log(LogFormat::Ndjson);
    }
    let (with_time, filled) = (
        lines.iter().filter(|line| has_time_of_day(line)).count(),
        lines.iter().filter(|line| !line.trim().is_empty()).count(),
    );
    if settings.first_date.is_none() && with_time > 0 && with_time * 3 >= filled {
        let date = settings.zone.civil(settings.written_at).date();
        let advice =
            format!("give the date of the first line, such as --date {date} if all is of the day of the last change");
        return Detected::Other(format!("its lines have a time of day but no date; {advice}"));
    }
    Detected::Log(LogFormat::Plain)
}

fn json(begin: &[u8]) -> Option<LogFormat> {
    let after = |at: usize| begin.get(at..).unwrap_or_default().trim_ascii_start();
    match begin {
        [] => Some(LogFormat::Ndjson),
        [b'{', ..] => {
            // Pretty-printed objects have nothing else in their first line; others may have more than one object in it, or a
            // comma.
            let next = begin[1..].iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\r'));
            let line = begin.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let behind = element_length(line).map_or(&[][..], |length| line[length..].trim_ascii());
            let is_one_a_line = next != Some(&b'\n') && !matches!(behind, [b'{' | b',', ..]);
            Some(if is_one_a_line { LogFormat::Ndjson } else { LogFormat::Json })
        }
        // Lines of loggers begin with brackets too.
        [b'[', ..] => matches!(after(1), [] | [b'{' | b']', ..]).then_some(LogFormat::Json),
        _ => None,
    }
}

/// The separator of a line that is the header of a table with a time and something else.
fn separator_of(header: &str, settings: &ReadSettings) -> Option<u8> {
    let is_header = |separator: &u8| {
        let names = header.split(char::from(*separator)).map(|name| name.trim().trim_matches('"'));
        let fields: Vec<FieldName> =
            names.filter_map(|name| settings.fields.of(name)).map(|(field, _)| field).collect();
        fields.contains(&FieldName::Time) && fields.iter().any(|field| *field != FieldName::Time)
    };
    [b',', b';', b'\t', b'|'].into_iter().find(is_header)
}

#[cfg(test)]
mod tests {
    use runlog_model::Timestamp;

    use super::*;

    #[track_caller]
    fn check(head: &str, expected: LogFormat) {
        let detected = detect(head.as_bytes(), true, &ReadSettings::written_at(Timestamp::MIN));
        assert_eq!(detected, Detected::Log(expected), "{head}");
    }

    #[track_caller]
    fn check_other(head: &[u8], words: &str) {
        match detect(head, true, &ReadSettings::written_at(Timestamp::MIN)) {
            Detected::Other(what) => assert!(what.contains(words), "{what}"),
            Detected::Log(format) => panic!("{format:?}"),
        }
    }

    #[test]
    fn a_log_is_known_by_its_beginning() {
        check("", LogFormat::Ndjson);
        check("\n\n{}\n", LogFormat::Ndjson);
        check("{\n  \"logMessage\": 1\n}\n", LogFormat::Json);
        check(" \n [", LogFormat::Json);
        check("{\"a\":1},\n{\"a\":2}\n", LogFormat::Json);
        check("{\"a\":\"}{\"}{\"a\":2}", LogFormat::Json);
        check("{\"a\":1}\n{\"a\":2}\n", LogFormat::Ndjson);
        check("{\"a\":1} oops\n", LogFormat::Ndjson);
        check("{\"a\":\"cut\n{\"a\":2}\n", LogFormat::Ndjson);
        check("[{}]", LogFormat::Json);
        check("Picked up JAVA_TOOL_OPTIONS: x\n{\"logTimestamp\":1}\n", LogFormat::Ndjson);
        check("time;severity;message\n", LogFormat::Csv { separator: b';' });
        check("\"run_id\",\"time\",\"message\"\n", LogFormat::Csv { separator: b',' });
        check("banner\n\n2026-11-27 20:02:09,123 INFO x\n", LogFormat::Text);
        check("[2026-11-27 20:02:09,123] INFO x\n", LogFormat::Text);
        check("<34>1 2026-11-27T20:02:09Z host app - - - x\n", LogFormat::Text);
        check("[INFO] Building\nERROR: no\n", LogFormat::Plain);
        check("time is money, message received\n", LogFormat::Plain);
    }

    #[test]
    fn other_files_are_named_in_the_error() {
        check_other(b"\x01\x02\x03", "binary data");
        check_other(b"<!doctype html>", "HTML");
        check_other(b"20:02:09.123 [main] INFO c.e.Class - began\n", "--date");
        check_other(b"[INFO ] 20:02:09 demo.job_0_1.job- TalendJob: 'job' - Start.\n", "--date");
    }
}
