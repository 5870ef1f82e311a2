//! Bounds and counts of the columns of a sealed file, for engines that plan a query without opening the file.

use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, Int64Array, LargeStringArray, PrimitiveArray, RecordBatch, StringArray};
use parquet::file::metadata::RowGroupMetaData;
use serde::{Deserialize, Serialize};

/// The statistics of a file, as the catalog stores them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileStatistics {
    /// In the order of the columns.
    pub(crate) columns: Vec<ColumnStatistics>,
    /// The offset of each row group. Unit: bytes.
    pub(crate) row_groups: Vec<i64>,
}

/// The statistics of a column.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct ColumnStatistics {
    /// Compressed.
    pub(crate) bytes: i64,
    pub(crate) nulls: i64,
    /// The least and the greatest value; absent if there is none, or if the bounds are not useful.
    pub(crate) bounds: Option<(Bound, Bound)>,
}

/// A bound of a column. Bounds of times are in microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Bound {
    Number(i64),
    Text(String),
}

/// Collects the statistics of a file while it is written.
#[derive(Debug)]
pub(crate) struct FileStatisticsBuilder {
    columns: Vec<ColumnStatistics>,
    /// Whether the bounds of each column are useful.
    has_bounds: Vec<bool>,
}

impl FileStatisticsBuilder {
    /// Creates a builder for a file. `has_bounds` has an item for each column: whether its bounds are useful.
    pub(crate) fn new(has_bounds: impl IntoIterator<Item = bool>) -> Self {
        let has_bounds: Vec<bool> = has_bounds.into_iter().collect();
        Self { columns: vec![ColumnStatistics::default(); has_bounds.len()], has_bounds }
    }

    /// Adds rows with these columns.
    pub(crate) fn add(&mut self, rows: &RecordBatch) {
        for ((column, statistics), has_bounds) in rows.columns().iter().zip(&mut self.columns).zip(&self.has_bounds) {
            statistics.nulls += i64::try_from(column.null_count()).unwrap_or(i64::MAX);
            if !has_bounds {
                continue;
            }
            let column = column.as_any();
            if let Some(texts) = column.downcast_ref::<StringArray>() {
                statistics.widen_texts(texts.iter().flatten());
            } else if let Some(texts) = column.downcast_ref::<LargeStringArray>() {
                statistics.widen_texts(texts.iter().flatten());
            } else if let Some(numbers) = column.downcast_ref::<Int64Array>() {
                statistics.widen_numbers(numbers.iter().flatten());
            } else if let Some(times) = column.downcast_ref::<PrimitiveArray<TimestampMicrosecondType>>() {
                statistics.widen_numbers(times.iter().flatten());
            }
        }
    }

    /// The statistics of the file with these row groups.
    pub(crate) fn finish(self, row_groups: &[RowGroupMetaData]) -> FileStatistics {
        let mut statistics = FileStatistics { columns: self.columns, row_groups: Vec::new() };
        statistics.add_row_groups(row_groups);
        statistics
    }
}

impl FileStatistics {
    /// Adds the statistics of the row groups in the footer of the file.
    pub(crate) fn add_row_groups(&mut self, row_groups: &[RowGroupMetaData]) {
        for group in row_groups {
            for (column, statistics) in group.columns().iter().zip(&mut self.columns) {
                statistics.bytes += column.compressed_size();
            }
        }
        let begin = |group: &RowGroupMetaData| {
            let first = group.columns().iter().map(|column| column.byte_range().0).min();
            i64::try_from(first.unwrap_or_default()).unwrap_or(i64::MAX)
        };
        self.row_groups.extend(row_groups.iter().map(begin));
    }
}

impl ColumnStatistics {
    fn widen_texts<'t>(&mut self, texts: impl Iterator<Item = &'t str>) {
        let Some((least, greatest)) = least_and_greatest(texts) else { return };
        let (low, high) = match &self.bounds {
            Some((Bound::Text(low), Bound::Text(high))) => {
                if low.as_str() <= least && greatest <= high.as_str() {
                    return;
                }
                (least.min(low), greatest.max(high))
            }
            _ => (least, greatest),
        };
        self.bounds = Some((Bound::Text(low.to_owned()), Bound::Text(high.to_owned())));
    }

    fn widen_numbers(&mut self, numbers: impl Iterator<Item = i64>) {
        let Some((least, greatest)) = least_and_greatest(numbers) else { return };
        let (low, high) = match self.bounds {
            Some((Bound::Number(low), Bound::Number(high))) => (low.min(least), high.max(greatest)),
            _ => (least, greatest),
        };
        self.bounds = Some((Bound::Number(low), Bound::Number(high)));
    }
}

fn least_and_greatest<T: Ord + Copy>(mut values: impl Iterator<Item = T>) -> Option<(T, T)> {
    let first = values.next()?;
    Some(values.fold((first, first), |(least, greatest), value| (least.min(value), greatest.max(value))))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn bounds_are_those_of_the_values_that_are_there() {
        let numbers = Int64Array::from(vec![None, Some(7), None, Some(9)]);
        let texts = LargeStringArray::from(vec![Some("b"), None, Some("a"), None]);
        let none = LargeStringArray::from(vec![None::<&str>; 4]);
        let rows = RecordBatch::try_from_iter_with_nullable([
            ("number", Arc::new(numbers) as _, true),
            ("text", Arc::new(texts.clone()) as _, true),
            ("unbounded", Arc::new(texts) as _, true),
            ("none", Arc::new(none) as _, true),
        ])
        .unwrap();
        let mut builder = FileStatisticsBuilder::new([true, true, false, true]);
        builder.add(&rows);
        let statistics = builder.finish(&[]).columns;
        assert_eq!(statistics[0].bounds, Some((Bound::Number(7), Bound::Number(9))));
        assert_eq!(statistics[1].bounds, Some((Bound::Text("a".to_owned()), Bound::Text("b".to_owned()))));
        assert_eq!((&statistics[2].bounds, &statistics[3].bounds), (&None, &None));
        assert_eq!(statistics.iter().map(|column| column.nulls).collect::<Vec<_>>(), [2, 2, 2, 4]);
    }
}
