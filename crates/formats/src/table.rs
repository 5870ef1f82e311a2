//! CSV: a header with the names of the columns, and a record per row.

use std::io::{self, BufRead, Read};

use csv::ByteRecord;
use serde_json::Value;

use crate::encoding::Decoder;
use crate::fields::RecordBuilder;
use crate::names::FieldName;
use crate::outcome::{Invalid, Next, Position, RECORD_BYTES_MAX, ReadError, Unit, write};
use crate::settings::ReadSettings;

/// Reads rows.
pub(crate) struct TableReader<R> {
    rows: csv::Reader<Bounded<R>>,
    row: ByteRecord,
    columns: Vec<Column>,
    settings: ReadSettings,
    decoder: Decoder,
}

struct Column {
    name: String,
    field: Option<(FieldName, usize)>,
}

impl<R: BufRead> TableReader<R> {
    pub(crate) fn new(log: R, separator: u8, settings: ReadSettings) -> Result<Self, ReadError> {
        let mut rows = csv::ReaderBuilder::new()
            .delimiter(separator)
            .has_headers(true)
            .flexible(true)
            .buffer_capacity(1 << 16)
            .from_reader(Bounded { log, left: RECORD_BYTES_MAX });
        let header = rows.byte_headers().map_err(|error| failed(error, 1))?;
        let columns: Vec<Column> = header
            .iter()
            .map(|name| {
                let name = Decoder::default().decode(name).trim().to_owned();
                Column { field: settings.fields.of(&name), name }
            })
            .collect();
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        if let Some(missing) = settings.fields.columns().find(|column| !names.contains(column)) {
            return Err(ReadError::Format(format!(
                "there is no column {missing:?}; the columns are {}",
                listed(&names)
            )));
        }
        if !columns.iter().any(|column| matches!(column.field, Some((FieldName::Time, _)))) {
            let advice = "name it with --map time=COLUMN";
            return Err(ReadError::Format(format!(
                "no column is a time; {advice}; the columns are {}",
                listed(&names)
            )));
        }
        Ok(Self { rows, row: ByteRecord::new(), columns, settings, decoder: Decoder::default() })
    }

    /// Cells that were not valid UTF-8.
    pub(crate) fn invalid_texts(&self) -> u64 {
        self.decoder.invalid_texts
    }

    pub(crate) fn next(&mut self, out: &mut Vec<u8>) -> Result<Option<Next>, ReadError> {
        self.rows.get_mut().left = RECORD_BYTES_MAX;
        let line = self.rows.position().line();
        if !self.rows.read_byte_record(&mut self.row).map_err(|error| failed(error, line))? {
            return Ok(None);
        }
        let at = Position { unit: Unit::Line, number: self.row.position().map_or(line, csv::Position::line) };
        if self.row.len() != self.columns.len() {
            let reason = format!("this row has {} columns, and the header {}", self.row.len(), self.columns.len());
            return Ok(Some(Next::Invalid(Invalid { at, reason })));
        }
        let mut builder = RecordBuilder::default();
        for (column, cell) in self.columns.iter().zip(self.row.iter()) {
            // A cell has no way to say that it is empty instead of absent.
            if cell.is_empty() {
                continue;
            }
            let value = Value::String(self.decoder.decode(cell).into_owned()).into();
            match column.field {
                Some(field) => builder.add(field, column.name.clone(), value),
                None => builder.add_extra(column.name.clone(), value),
            }
        }
        Ok(Some(match builder.record(&self.settings) {
            Ok(record) => write(&record, out),
            Err(reason) => Next::Invalid(Invalid { at, reason }),
        }))
    }
}

fn listed(names: &[&str]) -> String {
    names.iter().take(20).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

fn failed(error: csv::Error, line: u64) -> ReadError {
    let text = error.to_string();
    match error.into_kind() {
        csv::ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            ReadError::TooLong(Position { unit: Unit::Line, number: line })
        }
        csv::ErrorKind::Io(error) => error.into(),
        _ => ReadError::Format(text),
    }
}

/// Reads only so many bytes for a row: a quotation mark that is not closed would fill the memory.
struct Bounded<R> {
    log: R,
    left: usize,
}

impl<R: BufRead> Read for Bounded<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let end = out.len().min(self.left);
        let read = self.log.read(&mut out[..end])?;
        self.left -= read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use runlog_model::Timestamp;

    use super::*;
    use crate::{LogFormat, LogReader};

    fn read(text: &str, separator: u8, settings: ReadSettings) -> Result<(String, Vec<Invalid>), ReadError> {
        let mut log = LogReader::new(text.as_bytes(), LogFormat::Csv { separator }, settings)?;
        let (mut out, mut invalid) = (Vec::new(), Vec::new());
        while let Some(next) = log.next(&mut out)? {
            if let Next::Invalid(why) = next {
                invalid.push(why);
            }
        }
        Ok((String::from_utf8(out).unwrap(), invalid))
    }

    fn settings() -> ReadSettings {
        ReadSettings::written_at(Timestamp::MIN)
    }

    #[test]
    fn columns_are_known_by_their_names_and_others_are_kept() {
        let text = "time;Severity;message;order\r\n2021-08-19 10:11:12,345;INFO;\"one\r\ntwo; \"\"three\"\"\";7\r\n2021-08-19T10:11:13Z;;;\r\n";
        let expected = concat!(
            r#"{"logTimestamp":1629367872345,"severity":"INFO","logMessage":"one\r\ntwo; \"three\"","order":"7"}"#,
            "\n",
            r#"{"logTimestamp":1629367873000}"#,
            "\n"
        );
        assert_eq!(read(text, b';', settings()).unwrap(), (expected.to_owned(), vec![]));
    }

    #[test]
    fn an_invalid_row_does_not_affect_others() {
        let text = "time,message\n19.08.2021 10:11:12,a\nsoon,b\n1629367872346,c,d\n1629367872347,e\n";
        let (lines, invalid) = read(text, b',', settings()).unwrap();
        assert_eq!(lines.lines().count(), 2);
        let told: Vec<String> = invalid.iter().map(|it| format!("{}: {}", it.at, it.reason)).collect();
        assert_eq!(
            told,
            ["line 3: \"soon\" is not a time (field time)", "line 4: this row has 3 columns, and the header 2"]
        );
    }

    #[test]
    fn a_table_without_a_time_says_how_to_name_it() {
        let error = read("Datum,Text\n2021-08-19 10:11:12,a\n", b',', settings()).unwrap_err().to_string();
        assert!(error.contains("--map time=COLUMN") && error.contains("\"Datum\", \"Text\""), "{error}");
        let mut fields = crate::FieldMap::default();
        fields.insert("Datum".to_owned(), FieldName::Time);
        let (lines, _) =
            read("Datum,Text\n2021-08-19 10:11:12,a\n", b',', ReadSettings { fields, ..settings() }).unwrap();
        assert_eq!(lines, "{\"logTimestamp\":1629367872000,\"logMessage\":\"a\"}\n");
    }
}
