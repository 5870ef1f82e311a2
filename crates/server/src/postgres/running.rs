//! A query that is being answered, row by row.

use std::fmt::Write;

use bytes::{BufMut, BytesMut};
use runlog_sql::{Answer, PgBatch, PgCopyFormat, PgFormat, PgRows, SqlError};

use crate::postgres::replies;

/// The beginning of a binary `COPY`: a signature, no flags, no extension.
pub(super) const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// A query that is being answered.
pub(super) struct Running {
    answer: Answer,
    rows: PgRows,
    batch: Option<Batch>,
    has_ended: bool,
}

/// Rows that were received and not all sent.
struct Batch {
    rows: PgBatch,
    next: usize,
}

impl Running {
    pub(super) fn new(answer: Answer, rows: PgRows) -> Self {
        Self { answer, rows, batch: None, has_ended: false }
    }

    pub(super) fn rows(&self) -> &PgRows {
        &self.rows
    }

    /// Changes the formats of the rows that follow.
    pub(super) fn set_formats(&mut self, formats: &[PgFormat]) {
        self.rows = self.rows.with_formats(formats);
    }

    /// True if a row is available without waiting.
    pub(super) fn has_row_now(&self) -> bool {
        self.batch.as_ref().is_some_and(|batch| batch.next < batch.rows.len())
    }

    /// Waits for the next row; false if there is none.
    pub(super) async fn has_row(&mut self) -> Result<bool, SqlError> {
        loop {
            if self.has_row_now() {
                return Ok(true);
            }
            self.batch = None;
            if self.has_ended {
                return Ok(false);
            }
            match self.answer.next().await? {
                Some(batch) => self.batch = Some(Batch { rows: self.rows.encodable(&batch)?, next: 0 }),
                None => self.has_ended = true,
            }
        }
    }

    /// Passes over the row that [`Self::has_row`] has announced.
    pub(super) fn skip_row(&mut self) {
        if let Some(batch) = &mut self.batch {
            batch.next += 1;
        }
    }

    /// Appends the row that [`Self::has_row`] has announced, as a message.
    pub(super) fn put_row(&mut self, output: &mut BytesMut) -> Result<(), SqlError> {
        let Some(batch) = &mut self.batch else { return Ok(()) };
        let row = batch.next;
        batch.next += 1;
        let begin = output.len();
        let mut put = Ok(());
        replies::message(output, b'D', |output| put = put_values(&self.rows, &batch.rows, row, output));
        if put.is_err() {
            output.truncate(begin);
        }
        put
    }

    /// Appends that row as data of a `COPY`.
    pub(super) fn put_copied(
        &mut self,
        format: &PgCopyFormat,
        is_first: bool,
        output: &mut BytesMut,
    ) -> Result<(), SqlError> {
        let Some(batch) = &mut self.batch else { return Ok(()) };
        let row = batch.next;
        batch.next += 1;
        if *format == PgCopyFormat::Binary {
            let begin = output.len();
            let mut put = Ok(());
            replies::message(output, b'd', |output| {
                // In one message with the first row, as clients expect it.
                if is_first {
                    output.put_slice(COPY_HEADER);
                }
                put = put_values(&self.rows, &batch.rows, row, output);
            });
            if put.is_err() {
                output.truncate(begin);
            }
            return put;
        }
        let mut values = Vec::new();
        for column in 0..self.rows.columns().len() {
            values.push(self.rows.text(&batch.rows, column, row)?);
        }
        let line = copied_line(values.iter().map(Option::as_deref), format);
        replies::message(output, b'd', |output| output.put_slice(line.as_bytes()));
        Ok(())
    }

    /// The names of the columns as a line of a `COPY`.
    pub(super) fn header(&self, format: &PgCopyFormat) -> Option<String> {
        let (PgCopyFormat::Text { header } | PgCopyFormat::Csv { header, .. }) = format else { return None };
        header.then(|| copied_line(self.rows.columns().iter().map(|column| Some(column.name.as_str())), format))
    }
}

fn put_values(rows: &PgRows, batch: &PgBatch, row: usize, output: &mut BytesMut) -> Result<(), SqlError> {
    let count = rows.columns().len();
    output.put_u16(u16::try_from(count).unwrap_or(u16::MAX));
    (0..count).try_for_each(|column| rows.put(batch, column, row, output))
}

fn copied_line<'v>(values: impl Iterator<Item = Option<&'v str>>, format: &PgCopyFormat) -> String {
    let mut line = String::new();
    for (index, value) in values.enumerate() {
        match format {
            PgCopyFormat::Csv { delimiter, null, .. } => {
                if index > 0 {
                    line.push(*delimiter);
                }
                match value {
                    None => line.push_str(null),
                    Some(value) => {
                        let is_special = |c: char| c == *delimiter || matches!(c, '"' | '\n' | '\r');
                        match value.contains(is_special) || value == null || value == "\\." {
                            true => {
                                let _ = write!(line, "\"{}\"", value.replace('"', "\"\""));
                            }
                            false => line.push_str(value),
                        }
                    }
                }
            }
            _ => {
                if index > 0 {
                    line.push('\t');
                }
                match value {
                    None => line.push_str("\\N"),
                    Some(value) => value.chars().for_each(|c| match c {
                        '\\' => line.push_str("\\\\"),
                        '\n' => line.push_str("\\n"),
                        '\r' => line.push_str("\\r"),
                        '\t' => line.push_str("\\t"),
                        c => line.push(c),
                    }),
                }
            }
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_copy_are_escaped() {
        let values = || [Some("a\tb\\"), None, Some(""), Some("c,\"d\"\n")].into_iter();
        assert_eq!(copied_line(values(), &PgCopyFormat::Text { header: false }), "a\\tb\\\\\t\\N\t\tc,\"d\"\\n\n");
        let csv = PgCopyFormat::Csv { header: false, delimiter: ',', null: String::new() };
        assert_eq!(copied_line(values(), &csv), "a\tb\\,,\"\",\"c,\"\"d\"\"\n\"\n");
    }
}
