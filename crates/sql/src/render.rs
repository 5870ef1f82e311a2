//! Renders answers incrementally as bytes: text tables, CSV, JSON, NDJSON and Parquet.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use datafusion::arrow::csv;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::{Stream, stream};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use runlog_model::printable::{Escaped, is_control};

use crate::engine::Answer;
use crate::error::{SqlError, SqlErrorKind};
use crate::postgres::names::with_unique_names;

/// Number of rows from which the column widths of a table are derived; wider cells that follow protrude.
const TABLE_ROWS_MEASURED: usize = 1_000;

/// Maximum length of the text of a table cell. Unit: characters.
const CELL_CHARS_MAX: usize = 200;

/// Maximum number of rows and maximum memory of a row group of a Parquet answer. Unit of the memory: bytes.
const ROW_GROUP_ROWS: usize = 100_000;
const ROW_GROUP_BYTES: usize = 16 << 20;

/// The format of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerFormat {
    /// A text table with a header, for people. Long texts are truncated.
    Table,
    /// Comma-separated values with a header line.
    Csv,
    /// An array of objects.
    Json,
    /// One object per line.
    Ndjson,
    /// A Parquet file.
    Parquet,
}

/// The error for an unknown format name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a format; the formats are table, csv, json, ndjson and parquet")]
pub struct UnknownFormat(String);

impl AnswerFormat {
    /// Every format.
    pub const ALL: [Self; 5] = [Self::Table, Self::Csv, Self::Json, Self::Ndjson, Self::Parquet];

    /// Name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Parquet => "parquet",
        }
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Table => "text/plain; charset=utf-8",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }
}

impl fmt::Display for AnswerFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for AnswerFormat {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        let known = Self::ALL.into_iter().find(|format| format.name() == text);
        known.ok_or_else(|| UnknownFormat(text.chars().take(32).collect()))
    }
}

impl Answer {
    /// Renders the answer as a stream of bytes while its rows are computed. The stream ends after an error.
    pub fn into_bytes(self, format: AnswerFormat) -> impl Stream<Item = Result<Bytes, SqlError>> + Send {
        let schema = with_unique_names(self.schema());
        let renderer = Renderer::new(format, &schema);
        stream::try_unfold((self, schema, Some(renderer)), |(mut answer, schema, renderer)| async move {
            let Some(mut renderer) = renderer else { return Ok(None) };
            loop {
                let Some(batch) = answer.next().await? else {
                    return Ok(Some((renderer.finish()?, (answer, schema, None))));
                };
                let bytes = renderer.add(&named(&batch, &schema)?)?;
                if !bytes.is_empty() {
                    return Ok(Some((bytes, (answer, schema, Some(renderer)))));
                }
            }
        })
    }
}

/// Returns a batch with the column names of a schema.
fn named(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, SqlError> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let named = RecordBatch::try_new_with_options(Arc::clone(schema), batch.columns().to_vec(), &options);
    named.map_err(|error| SqlError::new(SqlErrorKind::Internal, error.to_string()))
}

/// Turns batches into bytes.
enum Renderer {
    Table(TableRenderer),
    Csv { schema: SchemaRef, is_first: bool },
    Json { is_first: bool },
    Ndjson,
    Parquet { schema: SchemaRef, writer: Option<Box<ArrowWriter<Vec<u8>>>> },
}

impl Renderer {
    fn new(format: AnswerFormat, schema: &SchemaRef) -> Self {
        match format {
            AnswerFormat::Table => Self::Table(TableRenderer::new(schema)),
            AnswerFormat::Csv => Self::Csv { schema: Arc::clone(schema), is_first: true },
            AnswerFormat::Json => Self::Json { is_first: true },
            AnswerFormat::Ndjson => Self::Ndjson,
            AnswerFormat::Parquet => Self::Parquet { schema: Arc::clone(schema), writer: None },
        }
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<Bytes, SqlError> {
        let bytes = match self {
            Self::Table(table) => table.add(batch)?,
            Self::Csv { is_first, .. } => csv_lines(batch, std::mem::take(is_first))?,
            Self::Ndjson => json_lines(batch)?,
            Self::Json { is_first } => {
                let lines = json_lines(batch)?;
                let mut bytes = Vec::with_capacity(lines.len() + batch.num_rows());
                // Line breaks in texts are escaped; the remaining ones separate rows.
                for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    bytes.extend_from_slice(if std::mem::take(is_first) { b"[" } else { b",\n" });
                    bytes.extend_from_slice(line);
                }
                bytes
            }
            Self::Parquet { schema, writer } => parquet_part(schema, writer, Some(batch))?,
        };
        Ok(bytes.into())
    }

    fn finish(self) -> Result<Bytes, SqlError> {
        let bytes = match self {
            Self::Table(table) => table.finish(),
            Self::Csv { schema, is_first: true } => csv_lines(&RecordBatch::new_empty(schema), true)?,
            Self::Csv { .. } | Self::Ndjson => Vec::new(),
            Self::Json { is_first } => if is_first { "[]\n" } else { "]\n" }.into(),
            Self::Parquet { schema, mut writer } => {
                let mut bytes = parquet_part(&schema, &mut writer, None)?;
                if let Some(writer) = writer {
                    bytes.extend(writer.into_inner().map_err(not_as_parquet)?);
                }
                bytes
            }
        };
        Ok(bytes.into())
    }
}

fn csv_lines(batch: &RecordBatch, with_header: bool) -> Result<Vec<u8>, SqlError> {
    let mut bytes = Vec::new();
    let mut writer = csv::WriterBuilder::new().with_header(with_header).build(&mut bytes);
    writer.write(&with_flat_columns(batch)?).map_err(|error| not_in_form("CSV", &error))?;
    drop(writer);
    Ok(bytes)
}

/// Returns a batch with lists and structs as JSON texts: CSV has no form for them.
fn with_flat_columns(batch: &RecordBatch) -> Result<RecordBatch, SqlError> {
    let schema = batch.schema();
    if !schema.fields().iter().any(|field| field.data_type().is_nested()) {
        return Ok(batch.clone());
    }
    let failed = |error: ArrowError| not_in_form("CSV", &error);
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        match field.data_type().is_nested() {
            true => {
                fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
                columns.push(Arc::new(json_texts(column)?) as ArrayRef);
            }
            false => {
                fields.push(Arc::clone(field));
                columns.push(Arc::clone(column));
            }
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(failed)
}

/// Returns values as JSON texts; absent values stay absent.
fn json_texts(column: &ArrayRef) -> Result<StringArray, SqlError> {
    let failed = |error: ArrowError| not_in_form("JSON", &error);
    let batch = RecordBatch::try_from_iter([("", Arc::clone(column))]).map_err(failed)?;
    let lines = json_lines(&batch)?;
    // Each line is an object with this one field.
    let texts = String::from_utf8_lossy(&lines);
    let values = texts.lines().map(|line| line.strip_prefix("{\"\":").and_then(|rest| rest.strip_suffix('}')));
    Ok(values.enumerate().map(|(row, value)| value.filter(|_| column.is_valid(row))).collect())
}

fn json_lines(batch: &RecordBatch) -> Result<Vec<u8>, SqlError> {
    let failed = |error: ArrowError| not_in_form("JSON", &error);
    // Absent values are written as null, so that every row has every column, in the same order.
    let builder = json::WriterBuilder::new().with_explicit_nulls(true);
    let mut writer = builder.build::<_, json::writer::LineDelimited>(Vec::new());
    writer.write(batch).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(writer.into_inner())
}

fn parquet_part(
    schema: &SchemaRef,
    writer: &mut Option<Box<ArrowWriter<Vec<u8>>>>,
    batch: Option<&RecordBatch>,
) -> Result<Vec<u8>, SqlError> {
    let writer = match writer {
        Some(writer) => writer,
        None => {
            let compression = Compression::ZSTD(ZstdLevel::try_new(3).map_err(not_as_parquet)?);
            let properties = WriterProperties::builder()
                .set_compression(compression)
                .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
                .build();
            let new = ArrowWriter::try_new(Vec::new(), Arc::clone(schema), Some(properties)).map_err(not_as_parquet)?;
            writer.insert(Box::new(new))
        }
    };
    if let Some(batch) = batch {
        writer.write(batch).map_err(not_as_parquet)?;
        if writer.in_progress_size() > ROW_GROUP_BYTES {
            writer.flush().map_err(not_as_parquet)?;
        }
    }
    Ok(std::mem::take(writer.inner_mut()))
}

fn not_as_parquet(error: ParquetError) -> SqlError {
    SqlError::new(SqlErrorKind::Invalid, format!("the result cannot be written as Parquet: {error}"))
}

fn not_in_form(form: &str, error: &ArrowError) -> SqlError {
    SqlError::new(SqlErrorKind::Invalid, format!("the result cannot be written as {form}: {error}"))
}

/// A text table that is written while its rows are computed.
struct TableRenderer {
    names: Vec<String>,
    is_number: Vec<bool>,
    /// Buffered rows from which the widths will be computed.
    measured: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
    rows: usize,
}

impl TableRenderer {
    fn new(schema: &SchemaRef) -> Self {
        let fields = schema.fields();
        Self {
            names: fields.iter().map(|field| one_line(field.name())).collect(),
            is_number: fields.iter().map(|field| field.data_type().is_numeric()).collect(),
            measured: Vec::new(),
            widths: None,
            rows: 0,
        }
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, SqlError> {
        let cells = cells(batch)?;
        self.rows += cells.len();
        if self.widths.is_none() {
            self.measured.extend(cells);
            return Ok(if self.measured.len() >= TABLE_ROWS_MEASURED { self.begin() } else { Vec::new() });
        }
        let mut bytes = Vec::new();
        cells.iter().for_each(|row| self.line(&mut bytes, row));
        Ok(bytes)
    }

    fn finish(mut self) -> Vec<u8> {
        let mut bytes = if self.widths.is_none() { self.begin() } else { Vec::new() };
        let rows = self.rows;
        bytes.extend_from_slice(format!("({rows} {})\n", if rows == 1 { "row" } else { "rows" }).as_bytes());
        bytes
    }

    /// Computes the widths, and writes the buffered rows.
    fn begin(&mut self) -> Vec<u8> {
        let measured = std::mem::take(&mut self.measured);
        let width = |column: usize| {
            let cells = measured.iter().map(|row| &row[column]).chain(std::iter::once(&self.names[column]));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.names.len()).map(width).collect();
        let rule = widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>();
        self.widths = Some(widths);
        let mut bytes = Vec::new();
        self.line(&mut bytes, &self.names);
        self.line(&mut bytes, &rule);
        measured.iter().for_each(|row| self.line(&mut bytes, row));
        bytes
    }

    fn line(&self, bytes: &mut Vec<u8>, cells: &[String]) {
        let widths = self.widths.as_deref().unwrap_or_default();
        let mut line = String::new();
        for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let gap = " ".repeat(width.saturating_sub(cell.chars().count()));
            let parts = if self.is_number[column] { [gap.as_str(), cell] } else { [cell.as_str(), gap.as_str()] };
            line.push_str(if column > 0 { "  " } else { "" });
            parts.into_iter().for_each(|part| line.push_str(part));
        }
        bytes.extend_from_slice(line.trim_end().as_bytes());
        bytes.push(b'\n');
    }
}

fn cells(batch: &RecordBatch) -> Result<Vec<Vec<String>>, SqlError> {
    let failed = |error: ArrowError| not_in_form("a table", &error);
    let options = FormatOptions::default();
    let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
    let columns: Vec<ArrayFormatter<'_>> = columns.collect::<Result<_, _>>().map_err(failed)?;
    let cell = |column: &ArrayFormatter<'_>, row| Ok(one_line(&column.value(row).try_to_string().map_err(failed)?));
    let row = |row| columns.iter().map(|column| cell(column, row)).collect();
    (0..batch.num_rows()).map(row).collect()
}

/// Returns the text of a cell or header: on one line, truncated to the maximum length, with control characters escaped.
fn one_line(text: &str) -> String {
    let mut cell = String::new();
    for (count, letter) in text.chars().enumerate() {
        if count == CELL_CHARS_MAX {
            cell.push('…');
            break;
        }
        match letter {
            letter if is_control(letter) => cell.push_str(&Escaped(letter).to_string()),
            letter => cell.push(letter),
        }
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Int64Array, StringArray};
    use datafusion::arrow::datatypes::{DataType, Field, Schema};

    fn rendered(format: AnswerFormat, counts: &[i64], words: &[Option<&str>]) -> String {
        let fields = vec![Field::new("n", DataType::Int64, false), Field::new("word", DataType::Utf8, true)];
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let mut renderer = Renderer::new(format, &schema);
        let mut bytes = Vec::new();
        for (count, word) in counts.iter().zip(words) {
            let columns: Vec<datafusion::arrow::array::ArrayRef> =
                vec![Arc::new(Int64Array::from(vec![*count])), Arc::new(StringArray::from(vec![*word]))];
            bytes.extend(renderer.add(&RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()).unwrap());
        }
        bytes.extend(renderer.finish().unwrap());
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn each_form_holds_every_row_and_says_what_is_absent() {
        let (counts, words) = ([7, 1234], [Some("a\nb"), None]);
        let expected = "   n  word\n----  ----\n   7  a\\nb\n1234\n(2 rows)\n";
        assert_eq!(rendered(AnswerFormat::Table, &counts, &words), expected);
        assert_eq!(rendered(AnswerFormat::Csv, &counts, &words), "n,word\n7,\"a\nb\"\n1234,\n");
        let lines = "{\"n\":7,\"word\":\"a\\nb\"}\n{\"n\":1234,\"word\":null}\n";
        assert_eq!(rendered(AnswerFormat::Ndjson, &counts, &words), lines);
        let array = "[{\"n\":7,\"word\":\"a\\nb\"},\n{\"n\":1234,\"word\":null}]\n";
        assert_eq!(rendered(AnswerFormat::Json, &counts, &words), array);
    }

    #[test]
    fn a_table_steers_no_terminal() {
        assert_eq!(one_line("a\x1b[2J\u{9b}\u{202e}\r\tb"), "a\\x1b[2J\\u{9b}\\u{202e}\\r\\tb");
        let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("n\x1b[2J", DataType::Int64, false)]));
        let table = Renderer::new(AnswerFormat::Table, &schema).finish().unwrap();
        assert_eq!(table, "n\\x1b[2J\n--------\n(0 rows)\n");
    }

    #[test]
    fn an_answer_without_rows_has_its_form() {
        assert_eq!(rendered(AnswerFormat::Table, &[], &[]), "n  word\n-  ----\n(0 rows)\n");
        assert_eq!(rendered(AnswerFormat::Csv, &[], &[]), "n,word\n");
        assert_eq!(rendered(AnswerFormat::Json, &[], &[]), "[]\n");
        assert_eq!(rendered(AnswerFormat::Ndjson, &[], &[]), "");
    }
}
