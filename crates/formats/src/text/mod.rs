//! Text of loggers: a line that begins with a time begins a record, and a line without a time continues it.

mod header;
mod level;
mod time;

use runlog_model::{Record, Timestamp};
use serde_json::Value;

use self::header::Header;
use self::time::Clock;
use crate::encoding::Decoder;
use crate::layout::Layout;
use crate::outcome::ReadError;
use crate::settings::ReadSettings;

/// Most bytes of a record with several lines; further lines begin another record with the same time. A file whose first
/// line alone has a time would fill the memory. A service accepts 16 MiB unless its `--line-bytes` says less, and JSON takes
/// up to two bytes for most characters.
const JOINED_BYTES_MAX: usize = 4 << 20;

/// Maximum length of a line quoted in a message. Unit: characters.
const LINE_SHOWN_CHARS_MAX: usize = 160;

/// Joins lines to records.
pub(crate) struct TextReader {
    clock: Clock,
    /// The layout of lines; none if they begin with a time.
    layout: Option<Layout>,
    /// The first line that is not laid out like that, shortened.
    first_other_line: Option<String>,
    /// The time of lines without one; none if lines have times.
    plain_time: Option<Timestamp>,
    open: Option<Open>,
    /// The time of the last record, for lines that continue it although it was completed.
    last_time: Option<Timestamp>,
    /// Lines before the first one with a time.
    preamble: Option<Open>,
    /// True as long as every line ended with a carriage return as well: then they are no part of messages.
    has_carriage_returns: bool,
    spare: Vec<u8>,
    decoder: Decoder,
}

/// A record that further lines may continue.
struct Open {
    record: Record,
    /// With the carriage returns of its lines.
    message: String,
    /// True for the text form of Runlog itself, and for a given layout, whose messages are kept to the letter.
    is_exact: bool,
    /// True for a message that is a cell in quotation marks.
    is_quoted: bool,
    /// True as long as the message begins with the next line.
    is_head: bool,
}

/// The time at the beginning of a line, if there is one: for detection.
pub(crate) fn has_time(line: &str, settings: &ReadSettings) -> bool {
    Clock::new(settings).read(line).is_some()
}

/// The time that all of a text is.
pub(crate) fn read_time(text: &str, settings: &ReadSettings) -> Option<Timestamp> {
    Clock::new(settings).read(text).filter(|stamped| stamped.rest.trim().is_empty()).map(|stamped| stamped.time)
}

/// True for a line that begins with a time of day and without a date.
pub(crate) fn has_time_of_day(line: &str) -> bool {
    time::has_time_of_day(line)
}

impl TextReader {
    pub(crate) fn with_times(settings: ReadSettings) -> Self {
        Self {
            clock: Clock::new(&settings),
            layout: settings.layout,
            first_other_line: None,
            plain_time: None,
            open: None,
            last_time: None,
            preamble: None,
            has_carriage_returns: true,
            spare: Vec::new(),
            decoder: Decoder::default(),
        }
    }

    pub(crate) fn plain(settings: ReadSettings) -> Self {
        Self { plain_time: Some(settings.plain_time), ..Self::with_times(settings) }
    }

    /// Lines that were not valid UTF-8.
    pub(crate) fn invalid_texts(&self) -> u64 {
        self.decoder.invalid_texts
    }

    /// Memory for the next line.
    pub(crate) fn take_line(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.spare)
    }

    /// Takes that memory back.
    pub(crate) fn give_line(&mut self, line: Vec<u8>) {
        self.spare = line;
    }

    /// Sets the time of lines without one, if no line has one.
    pub(crate) fn set_now(&mut self, now: Timestamp) {
        self.plain_time = self.plain_time.map(|_| now);
        self.clock.set_written_at(now);
    }

    /// Adds a line with its line break; returns the record that it completes.
    pub(crate) fn add(&mut self, line: &[u8]) -> Option<Record> {
        let mut decoder = std::mem::take(&mut self.decoder);
        let complete = self.add_line(&decoder.decode(line));
        self.decoder = decoder;
        complete
    }

    /// The last record; none if there is none left.
    pub(crate) fn finish(&mut self) -> Result<Option<Record>, ReadError> {
        if self.preamble.is_some() && self.clock.read_times() == 0 {
            if let (Some(layout), Some(line)) = (&self.layout, &self.first_other_line) {
                let message = format!("no line has the layout {layout}; the first one is {line:?}");
                return Err(ReadError::Format(message));
            }
            let advice = "if no line has one, use --format plain";
            return Err(ReadError::Format(format!("no line begins with a time in a known form; {advice}")));
        }
        Ok(self.flush())
    }

    /// The record that further lines could continue. One of lines before the first time has the time at which it was
    /// written.
    pub(crate) fn flush(&mut self) -> Option<Record> {
        let written_at = self.clock.written_at();
        let open = self.open.take().or_else(|| {
            let preamble = self.preamble.take()?;
            Some(Open { record: Record { time: written_at, ..preamble.record }, ..preamble })
        })?;
        Some(open.complete(self.has_carriage_returns))
    }

    fn add_line(&mut self, line: &str) -> Option<Record> {
        let is_whole = line.ends_with('\n');
        let (line, carriage_return) = without_line_break(line);
        let had_carriage_returns = self.has_carriage_returns;
        self.has_carriage_returns &= !carriage_return.is_empty() || !is_whole;
        if let Some(time) = self.plain_time {
            return plain(line, time);
        }
        if let Some(open) = self.begin(line, carriage_return) {
            let time = open.record.time;
            self.last_time = Some(time);
            if let Some(mut preamble) = self.preamble.take() {
                preamble.record.time = time;
                self.open = Some(open);
                return Some(preamble.complete(had_carriage_returns));
            }
            return self.open.replace(open).map(|before| before.complete(had_carriage_returns));
        }
        if self.layout.is_some() && self.first_other_line.is_none() {
            self.first_other_line = Some(line.chars().take(LINE_SHOWN_CHARS_MAX).collect());
        }
        let time = self.last_time.unwrap_or(Timestamp::MIN);
        let open = if self.last_time.is_some() { &mut self.open } else { &mut self.preamble };
        match open {
            Some(open) if open.message.len() + line.len() < JOINED_BYTES_MAX => {
                open.append_line(line, carriage_return);
                None
            }
            // A record of its own, or the rest of one that would be too long. Without a time so far, a preamble that is
            // too long is cut as well; its time is not known yet, and the next one is as good.
            _ if line.trim().is_empty() && open.is_none() => None,
            _ => {
                let before = open.take();
                let mut next = Open {
                    record: Record::at(time),
                    message: line.to_owned(),
                    is_exact: false,
                    is_quoted: false,
                    is_head: false,
                };
                next.message.push_str(carriage_return);
                *open = Some(next);
                let mut before = before?;
                if self.last_time.is_none() {
                    before.record.time = self.clock.written_at();
                }
                Some(before.complete(had_carriage_returns))
            }
        }
    }
}

impl TextReader {
    /// The record that a line begins; none if it continues one.
    fn begin(&mut self, line: &str, carriage_return: &str) -> Option<Open> {
        let Some(layout) = &self.layout else {
            let stamped = self.clock.read(line)?;
            return Some(Open::of(Header::read(&stamped), stamped.time, carriage_return));
        };
        let laid = layout.read(line)?;
        let time = self.clock.read_moment(laid.moment)?;
        let mut record = Record::at(time);
        record.severity = laid.severity.map(str::to_owned);
        record.bundle_name = laid.component.map(str::to_owned);
        for (name, text) in laid.further {
            record.extra.get_or_insert_default().insert(name.to_owned(), Value::from(text));
        }
        let message = [laid.message, carriage_return].concat();
        Some(Open { record, message, is_exact: true, is_quoted: false, is_head: laid.is_head })
    }
}

/// A line as a record of its own; none for a blank one.
fn plain(line: &str, time: Timestamp) -> Option<Record> {
    let line = line.trim_end();
    if line.is_empty() {
        return None;
    }
    let severity = header::severity_of_plain(line).map(str::to_owned);
    Some(Record { severity, message: Some(line.to_owned()), ..Record::at(time) })
}

/// A line, and the carriage return at its end.
fn without_line_break(line: &str) -> (&str, &str) {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.split_at(line.len() - usize::from(line.ends_with('\r')))
}

impl Open {
    fn of(header: Header<'_>, time: Timestamp, carriage_return: &str) -> Self {
        let mut record = Record::at(time);
        record.severity = header.severity.map(str::to_owned);
        record.log_type = header.log_type.map(str::to_owned);
        record.bundle_name = header.component.map(str::to_owned);
        record.bundle_version = header.component_version.map(str::to_owned);
        record.pod_name = header.host.map(str::to_owned);
        if !header.elements.is_empty() {
            record.extra.get_or_insert_default().extend(header.elements);
        }
        for (name, text) in header.further {
            record.extra.get_or_insert_default().insert(name.to_owned(), Value::from(text));
        }
        let message = [header.before_message.as_str(), header.message, carriage_return].concat();
        Self { record, message, is_exact: header.is_exact, is_quoted: header.is_quoted, is_head: false }
    }

    /// Adds a line.
    fn append_line(&mut self, line: &str, carriage_return: &str) {
        if std::mem::take(&mut self.is_head) {
            self.message.clear();
        } else {
            self.message.push('\n');
        }
        self.message.push_str(line);
        self.message.push_str(carriage_return);
    }

    /// The record; `has_carriage_returns` says that every line up to its end has one.
    fn complete(self, has_carriage_returns: bool) -> Record {
        let Self { mut record, mut message, is_exact, is_quoted, .. } = self;
        if has_carriage_returns || !is_exact {
            message = message.replace("\r\n", "\n");
            message.truncate(message.strip_suffix('\r').unwrap_or(&message).len());
        }
        if !is_exact {
            message.truncate(message.trim_end().len());
            if is_quoted && let Some(cell) = cell_of(&message) {
                message = cell;
            }
            header::read_second_line(&mut record, &mut message);
        }
        record.message = (!message.is_empty()).then_some(message);
        record
    }
}

/// The text of a cell in quotation marks; none if it is several cells.
fn cell_of(quoted: &str) -> Option<String> {
    let inner = quoted.strip_prefix('"')?.strip_suffix('"')?;
    (!inner.replace("\"\"", "").contains('"')).then(|| inner.replace("\"\"", "\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LogFormat, LogReader, Next};

    /// Time of day, severity, component and message of each record.
    fn read(text: &str) -> Vec<String> {
        let settings = ReadSettings::written_at("2026-11-28T00:00:00Z".parse().unwrap());
        let mut log = LogReader::new(text.as_bytes(), LogFormat::Text, settings).unwrap();
        let mut found = Vec::new();
        loop {
            let mut out = Vec::new();
            match log.next(&mut out).unwrap() {
                None => return found,
                Some(Next::Invalid(invalid)) => panic!("{invalid:?}"),
                Some(Next::Record(_)) => {}
            }
            let record: Record = serde_json::from_slice(&out).unwrap();
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let extra = record.extra.as_ref().map(|extra| serde_json::to_string(extra).unwrap()).unwrap_or_default();
            found.push(format!(
                "{}|{}|{}|{}|{}|{}|{extra}",
                record.time,
                text(&record.severity),
                text(&record.log_type),
                text(&record.bundle_name),
                text(&record.pod_name),
                text(&record.message)
            ));
        }
    }

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(read(text), expected);
    }

    const AT: &str = "2026-11-27T20:02:09.123Z";

    #[test]
    fn lines_of_loggers_are_read_with_their_parts() {
        for (line, expected) in [
            (
                "2026-11-27 20:02:09,123 ERROR [main] c.e.Class - no orders",
                r#"ERROR||c.e.Class||no orders|{"thread":"main"}"#,
            ),
            (
                "2026-11-27 20:02:09,123 [main] ERROR c.e.Class - no orders",
                r#"ERROR||c.e.Class||no orders|{"thread":"main"}"#,
            ),
            ("2026-11-27T20:02:09.123Z INFO  began", "INFO||||began|"),
            ("2026-11-27 21:02:09.123+01:00 WARN c.e.Class: slow", "WARN||c.e.Class||slow|"),
            ("27/11/2026 20:02:09.123 - INFO - began", "INFO||||began|"),
            ("2026-11-27 20:02:09,123 - my.app - WARNING - slow: 3 s", "WARNING||my.app||slow: 3 s|"),
            ("[2026-11-27 20:02:09.123] [error] no orders", "error||||no orders|"),
            ("2026-11-27 20:02:09.123 +00:00 [INF] began", "INFO||||began|"),
            (
                "2026-11-27T20:02:09.123Z  INFO 4711 --- [app] [           main] c.e.Class                : began",
                r#"INFO||c.e.Class||began|{"context":"app","pid":"4711","thread":"main"}"#,
            ),
            (
                "2026-11-27T20:02:09,123 | INFO  | pool-1 | Flow | 12 - org.talend.job - 8.0.1 | began | now",
                r#"INFO||org.talend.job||began | now|{"logger":"Flow","thread":"pool-1"}"#,
            ),
            ("INFO  2026-11-27 20:02:09,123 [main] c.e.Class - began", r#"INFO||c.e.Class||began|{"thread":"main"}"#),
            ("[WARN ] 2026-11-27 20:02:09.123 demo.job_0_1.job- slow: 3 s", "WARN||demo.job_0_1.job||slow: 3 s|"),
            ("26/11/27 20:02:09.123 INFO DAGScheduler: Job 0 finished", "INFO||||DAGScheduler: Job 0 finished|"),
            ("27 Nov 2026 20:02:09,123 INFO began", "INFO||||began|"),
            ("27-Nov-2026 20:02:09.123 SEVERE [main] c.e.Class - no", r#"SEVERE||c.e.Class||no|{"thread":"main"}"#),
            ("1795809729123 INFO began", "INFO||||began|"),
            ("2026-11-27 20:02:09.123 Picked up 3 orders: [a] ERROR", "||||Picked up 3 orders: [a] ERROR|"),
            (
                "2026-11-27 20:02:09.123 ERROR java.lang.IllegalStateException: no",
                "ERROR||||java.lang.IllegalStateException: no|",
            ),
            ("2026-11-27 20:02:09.123 Error connecting", "||||Error connecting|"),
            ("2026-11-27T20:02:09.123Z host7 job[4711]: began", r#"||job|host7|began|{"pid":"4711"}"#),
            (
                "<11>1 2026-11-27T20:02:09.123Z host7 job 4711 ID1 - no orders",
                r#"ERROR||job|host7|no orders|{"msgId":"ID1","pid":"4711"}"#,
            ),
            (
                r#"<11>1 2026-11-27T20:02:09.123Z host7 job - - [a b="c"][origin ip="1" ip="2"] no orders"#,
                r#"ERROR||job|host7|no orders|{"a":{"b":"c"},"origin":{"ip":["1","2"]}}"#,
            ),
            (
                r#"<11>1 2026-11-27T20:02:09.123Z host7 job - - [a b=c][d e="f"] no orders"#,
                r#"ERROR||job|host7|[a b=c] no orders|{"d":{"e":"f"}}"#,
            ),
        ] {
            check(&format!("{line}\n"), &[&format!("{AT}|{expected}")]);
        }
        check("<12>Nov 27 20:02:09 host7 job: slow\n", &["2026-11-27T20:02:09.000Z|WARN||job|host7|slow|"]);
        check("Dec  1 20:02:09 host7 job[1]: old\n", &[r#"2025-12-01T20:02:09.000Z|||job|host7|old|{"pid":"1"}"#]);
        check("Fri Nov 27 20:02:09 CET 2026 INFO x\n", &["2026-11-27T19:02:09.000Z|INFO||||x|"]);
    }

    #[test]
    fn rows_without_a_header_are_read_with_their_severity() {
        for (line, expected) in [
            ("2026-11-27 20:02:09.123,INFO,loaded", "INFO||||loaded|"),
            ("2026-11-27 20:02:09,123,ERROR,disk full,0 rows", "ERROR||||disk full,0 rows|"),
            ("2026-11-27T20:02:09.123Z;warn;slow; very", "warn||||slow; very|"),
            ("2026-11-27 20:02:09.123|ERROR|disk full", "ERROR||||disk full|"),
            ("2026-11-27 20:02:09.123\tERROR\tdisk\tfull", "ERROR||||disk\tfull|"),
            ("2026-11-27 20:02:09.123, INFO, loaded", "INFO||||loaded|"),
            ("2026-11-27 20:02:09.123,ERROR", "ERROR|||||"),
            ("2026-11-27 20:02:09.123,loaded 5 rows", "||||loaded 5 rows|"),
            ("2026-11-27 20:02:09.123,Error,ERROR", "Error||||ERROR|"),
            (r#""2026-11-27 20:02:09.123","ERROR","disk ""d"" full""#, r#"ERROR||||disk "d" full|"#),
            (r#""2026-11-27 20:02:09.123";"INFO";"a";"b""#, r#"INFO||||"a";"b"|"#),
            (r#"2026-11-27 20:02:09.123,INFO,"one, two""#, "INFO||||one, two|"),
            (r#"2026-11-27 20:02:09.123,"one, two""#, "||||one, two|"),
        ] {
            check(&format!("{line}\n"), &[&format!("{AT}|{expected}")]);
        }
        let text = "\"2026-11-27 20:02:09.123\",\"ERROR\",\"disk full\n\tat a.B.c(D.java:1)\"\n\"2026-11-27 20:02:09.123\",\"INFO\",\"x\"\n";
        check(text, &[&format!("{AT}|ERROR||||disk full\n\tat a.B.c(D.java:1)|"), &format!("{AT}|INFO||||x|")]);
        let text = "2026-11-27 20:02:09.123 INFO x\n\"2026-11-27 20:02:09.123\": quoted\n";
        check(text, &[&format!("{AT}|INFO||||x\n\"2026-11-27 20:02:09.123\": quoted|")]);
    }

    #[test]
    fn a_line_without_a_time_continues_the_record_before() {
        let text = "banner\n\n2026-11-27 20:02:09,123 ERROR x - no\n\tat a.B.c(D.java:1)\n\n2026-11-27 20:02:10,000 INFO x - on\n\n";
        let expected = [
            format!("{AT}|||||banner|"),
            format!("{AT}|ERROR||x||no\n\tat a.B.c(D.java:1)|"),
            "2026-11-27T20:02:10.000Z|INFO||x||on|".to_owned(),
        ];
        check(text, &expected.each_ref().map(String::as_str));
        check(&text.replace('\n', "\r\n"), &expected.each_ref().map(String::as_str));
    }

    #[test]
    fn the_two_lines_of_java_util_logging_are_one_record() {
        let text = "Nov 27, 2026 8:02:09 PM c.e.Class run\nSEVERE: no orders\nmore\n";
        check(text, &["2026-11-27T20:02:09.000Z|SEVERE||c.e.Class||no orders\nmore|{\"method\":\"run\"}"]);
    }

    #[test]
    fn a_message_in_the_text_form_of_runlog_is_kept_to_the_letter() {
        let text = "2026-11-27T20:02:09.123Z | WARN  | JOB |  | one |  two \r\n  three\n\n2026-11-27T20:02:10.000Z |       |  |  | \n";
        let records = read(text);
        assert_eq!(records[0], format!("{AT}|WARN|JOB|||one |  two \r\n  three\n|"));
        assert_eq!(records[1], "2026-11-27T20:02:10.000Z||||||");
    }

    #[test]
    fn a_log_whose_lines_have_no_time_is_not_of_this_format() {
        let settings = ReadSettings::written_at(Timestamp::MIN);
        let mut log = LogReader::new(&b"one\ntwo\n"[..], LogFormat::Text, settings.clone()).unwrap();
        assert!(log.next(&mut Vec::new()).unwrap_err().to_string().contains("--format plain"));
        let mut log = LogReader::new(&b"one\n\nERROR: two\n"[..], LogFormat::Plain, settings).unwrap();
        let mut out = Vec::new();
        while log.next(&mut out).unwrap().is_some() {}
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains(r#""severity":"ERROR","logMessage":"ERROR: two""#), "{text}");
    }

    #[test]
    fn lines_without_end_are_cut_to_several_records() {
        let text = format!("2026-11-27 20:02:09,123 INFO x - a\n{}", format!("{}\n", "y".repeat(1 << 20)).repeat(9));
        let records = read(&text);
        assert_eq!(records.len(), 3);
        assert!(records.iter().all(|record| record.starts_with(AT)));
    }
}
