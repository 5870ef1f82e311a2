//! The columns of rows that were read: their sort keys, their values, and the records made of them.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Int32Array, Int64Array, LargeStringArray, RecordBatch, StringArray,
    TimestampMillisecondArray, UInt32Array,
};
use arrow_buffer::OffsetBuffer;
use az::SaturatingAs;
use runlog_model::{Record, Severity, Timestamp, read_object};

use crate::error::{Error, Result};

/// The sort keys of rows: when they were logged, and in which order they arrived.
#[derive(Debug, Clone)]
pub(crate) struct KeyColumns {
    /// Epoch milliseconds, ascending.
    pub(crate) times: Vec<i64>,
    /// Numbers in the slice, or in the run when the segment is merged.
    pub(crate) arrivals: Vec<i64>,
}

pub(crate) fn column<'a, A: Array + 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a A> {
    batch
        .column_by_name(name)
        .and_then(|column| column.as_any().downcast_ref())
        .ok_or_else(|| Error::corrupt(format!("a segment has no column {name} of the right type")))
}

/// A column of texts, some of which may be absent.
#[derive(Debug, Clone)]
pub(crate) enum TextColumn {
    /// Row by row.
    Plain(StringArray),
    /// Each text once, and for each row the index of its text.
    Coded { keys: Int32Array, texts: StringArray },
}

/// The columns of rows beside their sort keys.
#[derive(Debug)]
pub(crate) struct ValueColumns {
    pub(crate) severity: TextColumn,
    pub(crate) log_type: TextColumn,
    pub(crate) message: TextColumn,
    pub(crate) bundle_name: TextColumn,
    pub(crate) bundle_version: TextColumn,
    pub(crate) pod_name: TextColumn,
    pub(crate) extra: TextColumn,
}

/// Some rows of [`ValueColumns`].
pub(crate) enum Rows<'a> {
    /// Consecutive rows.
    Together(Range<usize>),
    These(&'a UInt32Array),
}

impl Rows<'_> {
    fn of(&self, column: &dyn Array) -> Result<ArrayRef> {
        match self {
            Self::Together(rows) => Ok(column.slice(rows.start, rows.len())),
            Self::These(rows) => Ok(arrow_select::take::take(column, *rows, None)?),
        }
    }
}

/// One row of [`ValueColumns`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordValues<'a> {
    pub(crate) severity: Option<&'a str>,
    pub(crate) log_type: Option<&'a str>,
    pub(crate) message: Option<&'a str>,
    pub(crate) bundle_name: Option<&'a str>,
    pub(crate) bundle_version: Option<&'a str>,
    pub(crate) pod_name: Option<&'a str>,
    /// A JSON object.
    pub(crate) extra: Option<&'a str>,
}

impl TextColumn {
    pub(crate) fn of(batch: &RecordBatch, name: &str) -> Result<Self> {
        if let Ok(coded) = column::<DictionaryArray<Int32Type>>(batch, name)
            && let Some(texts) = coded.values().as_any().downcast_ref::<StringArray>()
        {
            return Ok(Self::Coded { keys: coded.keys().clone(), texts: texts.clone() });
        }
        Ok(Self::Plain(column::<StringArray>(batch, name)?.clone()))
    }

    /// How many rows it has.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Plain(texts) => texts.len(),
            Self::Coded { keys, .. } => keys.len(),
        }
    }

    /// Returns true if no row has a text.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Plain(texts) => texts.null_count() == texts.len(),
            Self::Coded { keys, .. } => keys.null_count() == keys.len(),
        }
    }

    /// The text of a row.
    pub(crate) fn text(&self, row: usize) -> Option<&str> {
        match self {
            Self::Plain(texts) => texts.is_valid(row).then(|| texts.value(row)),
            Self::Coded { keys, texts } => {
                keys.is_valid(row).then(|| texts.value(keys.value(row).saturating_as::<usize>()))
            }
        }
    }

    /// Returns the texts row by row, as an array whose texts may take more than 2 GiB in total.
    pub(crate) fn long(&self) -> Result<LargeStringArray> {
        match self {
            Self::Plain(texts) => Ok(long(texts)),
            Self::Coded { keys, texts } => {
                let taken = arrow_select::take::take(texts, keys, None)?;
                Ok(long(taken.as_string()))
            }
        }
    }

    /// Some rows of it.
    fn some(&self, rows: &Rows<'_>) -> Result<StringArray> {
        match self {
            Self::Plain(texts) => Ok(rows.of(texts)?.as_string().clone()),
            Self::Coded { keys, texts } => {
                let keys = rows.of(keys)?;
                Ok(arrow_select::take::take(texts, &keys, None)?.as_string().clone())
            }
        }
    }
}

/// Returns the texts with 64-bit offsets.
fn long(texts: &StringArray) -> LargeStringArray {
    let offsets: Vec<i64> = texts.offsets().iter().map(|offset| (*offset).into()).collect();
    LargeStringArray::new(OffsetBuffer::new(offsets.into()), texts.values().clone(), texts.nulls().cloned())
}

impl KeyColumns {
    pub(super) fn of(batch: &RecordBatch) -> Result<Self> {
        let arrivals = match column::<Int64Array>(batch, "arrival") {
            Ok(numbers) => numbers.values().to_vec(),
            // Segments of the first version had shorter numbers.
            Err(_) => column::<Int32Array>(batch, "arrival")?.values().iter().map(|number| (*number).into()).collect(),
        };
        Ok(Self { times: times(batch)?, arrivals })
    }
}

pub(super) fn times(batch: &RecordBatch) -> Result<Vec<i64>> {
    Ok(column::<TimestampMillisecondArray>(batch, "time")?.values().to_vec())
}

pub(super) fn severities(batch: &RecordBatch) -> Result<Vec<Severity>> {
    let texts = TextColumn::of(batch, "severity")?;
    Ok(match &texts {
        TextColumn::Plain(_) => (0..batch.num_rows()).map(|row| Severity::of(texts.text(row))).collect(),
        TextColumn::Coded { keys, texts } => {
            let read: Vec<Severity> = texts.iter().map(Severity::of).collect();
            keys.iter().map(|key| key.map_or(Severity::Other, |key| read[key.saturating_as::<usize>()])).collect()
        }
    })
}

impl ValueColumns {
    pub(super) fn of(batch: &RecordBatch) -> Result<Self> {
        let texts = |name| TextColumn::of(batch, name);
        Ok(Self {
            severity: texts("severity")?,
            log_type: texts("log_type")?,
            message: texts("message")?,
            bundle_name: texts("bundle_name")?,
            bundle_version: texts("bundle_version")?,
            pod_name: texts("pod_name")?,
            extra: texts("extra")?,
        })
    }

    /// Some rows of the columns after the times, in the order of the file.
    pub(crate) fn columns(&self, rows: &Rows<'_>) -> Result<[StringArray; 7]> {
        Ok([
            self.severity.some(rows)?,
            self.log_type.some(rows)?,
            self.message.some(rows)?,
            self.bundle_name.some(rows)?,
            self.bundle_version.some(rows)?,
            self.pod_name.some(rows)?,
            self.extra.some(rows)?,
        ])
    }

    /// One row.
    pub(crate) fn row(&self, row: usize) -> RecordValues<'_> {
        RecordValues {
            severity: self.severity.text(row),
            log_type: self.log_type.text(row),
            message: self.message.text(row),
            bundle_name: self.bundle_name.text(row),
            bundle_version: self.bundle_version.text(row),
            pod_name: self.pod_name.text(row),
            extra: self.extra.text(row),
        }
    }
}

impl RecordValues<'_> {
    /// The record of this row.
    pub(crate) fn to_record(self, epoch_ms: i64) -> Result<Record> {
        let mut record = Record::at(Timestamp::MIN);
        self.read_into(epoch_ms, &mut record)?;
        Ok(record)
    }

    /// Reads the record of this row into the memory of another record.
    pub(crate) fn read_into(self, epoch_ms: i64, record: &mut Record) -> Result<()> {
        let time = Timestamp::from_millis(epoch_ms);
        record.time = time.map_err(|error| Error::corrupt(format!("a segment: {error}")))?;
        set(&mut record.severity, self.severity);
        set(&mut record.log_type, self.log_type);
        set(&mut record.message, self.message);
        set(&mut record.bundle_name, self.bundle_name);
        set(&mut record.bundle_version, self.bundle_version);
        set(&mut record.pod_name, self.pod_name);
        let extra = self.extra.map(|extra| read_object(extra.as_bytes())).transpose();
        let extra = extra.map_err(|_| Error::corrupt("the extra fields of a record do not decode"))?;
        record.extra = extra.map(|(fields, _)| Box::new(fields));
        Ok(())
    }
}

fn set(field: &mut Option<String>, text: Option<&str>) {
    match (field.as_mut(), text) {
        (Some(memory), Some(text)) => text.clone_into(memory),
        _ => *field = text.map(str::to_owned),
    }
}
