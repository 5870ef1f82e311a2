//! JSON objects as records: those of the run-log API as they are, those of other programs by the names of their fields.

use runlog_model::{Fields, Record, Timestamp};

use crate::fields::{RecordBuilder, checked};
use crate::outcome::{Invalid, Next, Position, write};
use crate::settings::ReadSettings;

/// Reads objects.
pub(crate) struct JsonReader {
    settings: ReadSettings,
    /// Reused for each record, to avoid allocations.
    record: Record,
}

impl JsonReader {
    pub(crate) fn new(settings: ReadSettings) -> Self {
        Self { settings, record: Record::at(Timestamp::MIN) }
    }

    /// Checks the object that begins at `begin`, and replaces it if it is one of another program; removes it if it is
    /// invalid.
    pub(crate) fn check(&mut self, begin: usize, out: &mut Vec<u8>, at: Position) -> Next {
        match self.read(&out[begin..]) {
            Ok(Read::AsItIs(time)) => {
                if !out.ends_with(b"\n") {
                    out.push(b'\n');
                }
                Next::Record(time)
            }
            Ok(Read::Mapped(record)) => {
                out.truncate(begin);
                write(&record, out)
            }
            Err(reason) => {
                out.truncate(begin);
                Next::Invalid(Invalid { at, reason })
            }
        }
    }

    fn read(&mut self, json: &[u8]) -> Result<Read, String> {
        let json = json.trim_ascii();
        let is_usual = self.settings.fields.is_empty();
        // The service also repairs and counts invalid text.
        if is_usual && self.record.read_json(json).is_ok() {
            return checked(self.record.time).map(Read::AsItIs);
        }
        match runlog_model::read_object(json) {
            Ok((object, _)) => self.mapped(object).map(|record| Read::Mapped(Box::new(record))),
            Err(error) if error.is_data() => Err("a record is a JSON object".to_owned()),
            Err(error) => Err(format!("this is not JSON: {}", parse_message(&error))),
        }
    }

    fn mapped(&self, object: Fields) -> Result<Record, String> {
        let mut builder = RecordBuilder::default();
        for (name, value) in object {
            match self.settings.fields.of(&name) {
                Some(field) => builder.add(field, name, value),
                None => builder.add_extra(name, value),
            }
        }
        builder.record(&self.settings)
    }
}

enum Read {
    /// A record of the API, with this time.
    AsItIs(Timestamp),
    Mapped(Box<Record>),
}

/// The message of an error without its line, which is that of the parser.
fn parse_message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    match error.column() {
        0 => what.to_owned(),
        column => format!("{what} (column {column})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Unit;

    fn read(line: &str) -> Result<String, String> {
        let mut out = format!("{line}\n").into_bytes();
        let mut json = JsonReader::new(ReadSettings::written_at(Timestamp::MIN));
        match json.check(0, &mut out, Position { unit: Unit::Line, number: 1 }) {
            Next::Record(_) => Ok(String::from_utf8_lossy(&out).trim_end().to_owned()),
            Next::Invalid(invalid) => Err(invalid.reason),
        }
    }

    #[test]
    fn records_of_the_api_are_left_as_they_are() {
        for line in
            [r#"{"logMessage":"a", "logTimestamp":1629367872345}"#, r#"{"logTimestamp":0,"logMessage":"\ud83d"}"#]
        {
            assert_eq!(read(line).unwrap(), line);
        }
    }

    #[test]
    fn objects_of_other_programs_are_read_by_the_names_of_their_fields() {
        let line = r#"{"@timestamp":"2021-08-19T10:11:12.345Z","log.level":"WARN","message":"slow","log.logger":"c.e.Db","n":7}"#;
        let expected =
            r#"{"logTimestamp":1629367872345,"severity":"WARN","logMessage":"slow","bundleName":"c.e.Db","n":7}"#;
        assert_eq!(read(line).unwrap(), expected);
        let line = r#"{"instant":{"epochSecond":1629367872,"nanoOfSecond":345000000},"level":"ERROR","message":"m","thread":"main"}"#;
        let expected = r#"{"logTimestamp":1629367872345,"severity":"ERROR","logMessage":"m","thread":"main"}"#;
        assert_eq!(read(line).unwrap(), expected);
        assert_eq!(read(r#"{"logTimestamp":"2021-08-19T10:11:12Z"}"#).unwrap(), r#"{"logTimestamp":1629367872000}"#);
    }

    #[test]
    fn invalid_records_are_explained() {
        for (line, reason) in [
            ("[1]", "a record is a JSON object"),
            ("plain", "this is not JSON: expected value"),
            (r#"{"a":1}"#, "none of the fields is a time"),
            (r#"{"logTimestamp":"soon"}"#, "\"soon\" is not a time"),
            (r#"{"logTimestamp":1,"severity":3.5,"logMessage":[]"#, "this is not JSON: EOF"),
            (r#"{"logTimestamp":1619018951}"#, "2021-04-21T15:29:11Z in seconds; it must be in milliseconds"),
        ] {
            let told = read(line).unwrap_err();
            assert!(told.contains(reason), "{line}: {told}");
        }
    }
}
