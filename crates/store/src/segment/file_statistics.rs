//! Bounds and counts of the columns of a sealed file, for engines that plan a query without opening it.

use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, Int64Array, PrimitiveArray, RecordBatch, StringArray};
use parquet::file::metadata::RowGroupMetaData;
use serde::{Deserialize, Serialize};

use crate::segment::writer::{LAKE_COLUMNS, has_bounds};

/// The statistics of a file, as the catalog stores them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileStatistics {
    /// In the order of the columns.
    pub(crate) columns: Vec<ColumnStatistics>,
    /// Where each row group begins. Unit: bytes.
    pub(crate) row_groups: Vec<i64>,
}

/// The statistics of a column.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct ColumnStatistics {
    /// Compressed.
    pub(crate) bytes: i64,
    pub(crate) nulls: i64,
    /// The least and the greatest value; absent if there is none, or if they are of no use.
    pub(crate) bounds: Option<(Bound, Bound)>,
}

/// A value that is a bound: of a time, in microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Bound {
    Number(i64),
    Text(String),
}

/// Collects the statistics of a file while it is written.
#[derive(Debug, Default)]
pub(crate) struct FileStatisticsBuilder {
    columns: [ColumnStatistics; LAKE_COLUMNS.len()],
}

impl FileStatisticsBuilder {
    /// Adds rows with the columns [`LAKE_COLUMNS`].
    pub(crate) fn add(&mut self, rows: &RecordBatch) {
        for ((name, column), statistics) in LAKE_COLUMNS.iter().zip(rows.columns()).zip(&mut self.columns) {
            statistics.nulls += i64::try_from(column.null_count()).unwrap_or(i64::MAX);
            if !has_bounds(name) {
                continue;
            }
            let column = column.as_any();
            if let Some(texts) = column.downcast_ref::<StringArray>() {
                let bounds = texts.iter().flatten().fold(None::<(&str, &str)>, |bounds, text| match bounds {
                    None => Some((text, text)),
                    Some((low, high)) => Some((low.min(text), high.max(text))),
                });
                if let Some((low, high)) = bounds {
                    statistics.widen_texts(low, high);
                }
            } else if let Some(numbers) = column.downcast_ref::<Int64Array>() {
                statistics.widen_numbers(numbers.values());
            } else if let Some(times) = column.downcast_ref::<PrimitiveArray<TimestampMicrosecondType>>() {
                statistics.widen_numbers(times.values());
            }
        }
    }

    /// The statistics of the file with these row groups.
    pub(crate) fn finish(mut self, row_groups: &[RowGroupMetaData]) -> FileStatistics {
        for group in row_groups {
            for (column, statistics) in group.columns().iter().zip(&mut self.columns) {
                statistics.bytes += column.compressed_size();
            }
        }
        let begin = |group: &RowGroupMetaData| {
            let first = group.columns().iter().map(|column| column.byte_range().0).min();
            i64::try_from(first.unwrap_or_default()).unwrap_or(i64::MAX)
        };
        FileStatistics { columns: self.columns.into(), row_groups: row_groups.iter().map(begin).collect() }
    }
}

impl ColumnStatistics {
    fn widen_texts(&mut self, least: &str, greatest: &str) {
        let texts = |low: &str, high: &str| Some((Bound::Text(low.to_owned()), Bound::Text(high.to_owned())));
        self.bounds = match &self.bounds {
            Some((Bound::Text(low), Bound::Text(high))) => {
                if low.as_str() <= least && greatest <= high.as_str() {
                    return;
                }
                texts(least.min(low), greatest.max(high))
            }
            _ => texts(least, greatest),
        };
    }

    fn widen_numbers(&mut self, numbers: &[i64]) {
        let Some((least, greatest)) = numbers.iter().min().zip(numbers.iter().max()) else { return };
        self.bounds = Some(match self.bounds {
            Some((Bound::Number(low), Bound::Number(high))) => {
                (Bound::Number(low.min(*least)), Bound::Number(high.max(*greatest)))
            }
            _ => (Bound::Number(*least), Bound::Number(*greatest)),
        });
    }
}
