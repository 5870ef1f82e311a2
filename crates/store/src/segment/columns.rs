//! Records as columns before they are written to a segment: columns take less memory than records, and are ready to be
//! encoded.

use arrow_array::builder::StringBuilder;
use arrow_array::{Array, ArrayRef, StringArray, UInt32Array};
use runlog_model::Record;
use serde_json::Value;

use crate::error::{Error, Result};

/// Columns after the times: those of a segment from `severity` on.
const TEXTS: usize = 7;

/// Builds columns from records of one run, in order of arrival.
#[derive(Debug)]
pub(crate) struct ColumnBuilder {
    times: Vec<i64>,
    texts: [StringBuilder; TEXTS],
    /// Buffer for the extra fields of a record as JSON.
    scratch: Vec<u8>,
}

/// Records of one run, in order of arrival, as columns.
#[derive(Debug)]
pub(crate) struct RecordColumns {
    /// Epoch milliseconds.
    pub(crate) times: Vec<i64>,
    pub(crate) texts: [StringArray; TEXTS],
}

impl ColumnBuilder {
    pub(crate) fn new() -> Self {
        Self {
            times: Vec::new(),
            texts: std::array::from_fn(|_| StringBuilder::with_capacity(0, 0)),
            scratch: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    pub(crate) fn push(&mut self, record: &Record) -> Result<()> {
        let extra = match &record.extra {
            None => None,
            Some(extra) => {
                self.scratch.clear();
                serde_json::to_writer(&mut self.scratch, extra)
                    .map_err(|_| Error::invalid("a field of a record has no JSON form"))?;
                // JSON is written in UTF-8.
                Some(std::str::from_utf8(&self.scratch).unwrap_or_default())
            }
        };
        self.times.push(record.time.as_millis());
        for (column, text) in self.texts.iter_mut().zip(texts_of(record)) {
            column.append_option(text);
        }
        if let Some(column) = self.texts.last_mut() {
            column.append_option(extra);
        }
        Ok(())
    }

    /// The columns.
    pub(crate) fn finish(mut self) -> RecordColumns {
        RecordColumns { times: self.times, texts: std::array::from_fn(|index| self.texts[index].finish()) }
    }

    /// Returns the columns and empties the builder, which keeps its capacity.
    pub(crate) fn take(&mut self) -> RecordColumns {
        let rows = self.times.len();
        let room = |text: &StringBuilder| StringBuilder::with_capacity(rows, text.values_slice().len());
        let texts = std::array::from_fn(|index| room(&self.texts[index]));
        let next = Self { times: Vec::with_capacity(rows), texts, scratch: std::mem::take(&mut self.scratch) };
        std::mem::replace(self, next).finish()
    }
}

/// Returns the text columns of a record, without the extra fields.
pub(crate) fn texts_of(record: &Record) -> [Option<&str>; TEXTS - 1] {
    [
        record.severity.as_deref(),
        record.log_type.as_deref(),
        record.message.as_deref(),
        record.bundle_name.as_deref(),
        record.bundle_version.as_deref(),
        record.pod_name.as_deref(),
    ]
}

/// Returns the number of bytes that a record takes in its columns.
pub(crate) fn memory_of(record: &Record) -> usize {
    let texts: usize = texts_of(record).into_iter().flatten().map(str::len).sum();
    let extra = record
        .extra
        .as_deref()
        .map_or(0, |extra| extra.spelling_bytes() + extra.iter().map(memory_of_field).sum::<usize>());
    let bytes = texts + extra;
    // The time, the offsets, and the spare capacity of growing columns.
    8 + 4 * TEXTS + bytes + bytes / 4
}

/// Returns the approximate number of bytes that a field takes as JSON.
fn memory_of_field((name, value): (&String, &Value)) -> usize {
    name.len() + 4 + memory_of_value(value)
}

fn memory_of_value(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(values) => 2 + values.iter().map(|value| 1 + memory_of_value(value)).sum::<usize>(),
        Value::Object(fields) => 2 + fields.iter().map(memory_of_field).sum::<usize>(),
    }
}

/// Concatenates columns.
pub(crate) fn concatenated(parts: &[&RecordColumns]) -> Result<RecordColumns> {
    let times = parts.iter().flat_map(|part| part.times.iter().copied()).collect();
    let mut texts = Vec::with_capacity(TEXTS);
    for index in 0..TEXTS {
        let columns: Vec<&dyn Array> = parts.iter().map(|part| &part.texts[index] as &dyn Array).collect();
        texts.push(texts_in(&arrow_select::concat::concat(&columns)?)?);
    }
    Ok(RecordColumns { times, texts: whole(texts)? })
}

impl RecordColumns {
    /// Returns the rows in this order.
    pub(crate) fn reordered(&self, order: &[u32]) -> Result<Self> {
        let indices = UInt32Array::from(order.to_vec());
        let times = order.iter().map(|row| self.times[*row as usize]).collect();
        let texts = self.texts.iter().map(|column| texts_in(&arrow_select::take::take(column, &indices, None)?));
        Ok(Self { times, texts: whole(texts.collect::<Result<_>>()?)? })
    }
}

fn texts_in(column: &ArrayRef) -> Result<StringArray> {
    column.as_any().downcast_ref().cloned().ok_or_else(|| Error::corrupt("a column of texts became something else"))
}

fn whole(columns: Vec<StringArray>) -> Result<[StringArray; TEXTS]> {
    columns.try_into().map_err(|_| Error::corrupt("a column is missing"))
}
