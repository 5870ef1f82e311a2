//! The bodies of answers, in Loki's form.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use runlog_logql::{Category, Entry, Labels, Matrix, Series, Steps};
use serde_json::{Map, Value, json};

/// The flag with which a client asks for the labels of an entry by where they come from.
const CATEGORIES: &str = "categorize-labels";

/// The statistics of a query.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Work {
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) seconds: f64,
}

/// True when a client asks for stream labels, structured metadata and parsed labels apart.
pub(super) fn wants_categories(headers: &HeaderMap) -> bool {
    let flags = headers.get("x-loki-response-encoding-flags").and_then(|value| value.to_str().ok());
    flags.is_some_and(|flags| flags.split(',').any(|flag| flag.trim() == CATEGORIES))
}

pub(super) fn success(data: Value) -> Value {
    json!({"status": "success", "data": data})
}

fn stats(work: Work, entries: usize) -> Value {
    let per_second = |count: u64| {
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = count as f64 / work.seconds.max(1e-3);
        az::saturating_cast::<f64, u64>(rate)
    };
    json!({"summary": {
        "bytesProcessedPerSecond": per_second(work.bytes),
        "linesProcessedPerSecond": per_second(work.records),
        "totalBytesProcessed": work.bytes,
        "totalLinesProcessed": work.records,
        "execTime": work.seconds,
        "queueTime": 0.0,
        "subqueries": 0,
        "totalEntriesReturned": entries,
        "splits": 0,
        "shards": 0,
    }})
}

/// Entries by stream. The entries of each stream stay in their order.
pub(super) fn streams(entries: &[Entry<'_>], is_categorized: bool) -> Vec<Value> {
    let mut streams: BTreeMap<Labels, Vec<Value>> = BTreeMap::new();
    for entry in entries {
        let of = |category| entry.labels.iter().filter(move |(.., own)| *own == category);
        let object = |category| -> Map<String, Value> {
            of(category).map(|(name, value, _)| (name.to_owned(), value.into())).collect()
        };
        let mut value = vec![Value::from(entry.time_ns.to_string()), Value::from(&*entry.line)];
        let labels = match is_categorized {
            false => entry.labels.to_labels(),
            true => {
                let mut categories = Map::new();
                for (name, category) in [("structuredMetadata", Category::Metadata), ("parsed", Category::Parsed)] {
                    let labels = object(category);
                    if !labels.is_empty() {
                        categories.insert(name.to_owned(), labels.into());
                    }
                }
                value.push(categories.into());
                Labels::new(of(Category::Stream).map(|(name, value, _)| (name, value)))
            }
        };
        streams.entry(labels).or_default().push(value.into());
    }
    let streams = streams.into_iter();
    streams.map(|(labels, values)| json!({"stream": labels_object(&labels), "values": values})).collect()
}

/// The answer to a log query.
pub(super) fn of_entries(entries: &[Entry<'_>], is_categorized: bool, work: Work) -> Value {
    let result = streams(entries, is_categorized);
    let mut data = json!({"resultType": "streams", "result": result, "stats": stats(work, entries.len())});
    if is_categorized {
        data["encodingFlags"] = json!([CATEGORIES]);
    }
    success(data)
}

pub(super) fn labels_object(labels: &Labels) -> Value {
    Value::Object(labels.iter().map(|(name, value)| (name.to_owned(), value.into())).collect())
}

/// The answer to a query of numbers: a matrix over a range, or a vector or a number at an instant.
pub(super) fn of_matrix(matrix: Matrix, steps: Steps, is_range: bool, work: Work) -> Value {
    let (kind, result) = match (matrix, is_range) {
        (Matrix::Number(number), false) => ("scalar", sample(steps.at(0), number)),
        (Matrix::Number(number), true) => {
            let series = Series { labels: Labels::default(), values: vec![Some(number); steps.count] };
            ("matrix", vec![of_series(&series, steps)].into())
        }
        (Matrix::Series(series), true) => ("matrix", series.iter().map(|series| of_series(series, steps)).collect()),
        (Matrix::Series(series), false) => {
            let one = |series: &Series| {
                let value = series.values.first().copied().flatten()?;
                Some(json!({"metric": labels_object(&series.labels), "value": sample(steps.at(0), value)}))
            };
            ("vector", series.iter().filter_map(one).collect())
        }
    };
    success(json!({"resultType": kind, "result": result, "stats": stats(work, 0)}))
}

fn of_series(series: &Series, steps: Steps) -> Value {
    let values = series.values.iter().enumerate();
    let values: Vec<Value> = values.filter_map(|(index, value)| Some(sample(steps.at(index), (*value)?))).collect();
    json!({"metric": labels_object(&series.labels), "values": values})
}

/// A time in seconds, and a number as text.
pub(super) fn sample(time_ns: i64, value: f64) -> Value {
    let time_ms = time_ns.div_euclid(1_000_000);
    let time = match time_ms % 1_000 {
        0 => Value::from(time_ms / 1_000),
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of this era")]
        _ => Value::from(time_ms as f64 / 1_000.0),
    };
    json!([time, number_text(value)])
}

/// A number as Prometheus writes it.
fn number_text(value: f64) -> String {
    match value {
        _ if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        _ => value.to_string(),
    }
}
