//! Volumes and statistics of streams, estimated from the catalog alone: nothing is opened.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::http::HeaderMap;
use az::SaturatingAs;
use runlog_logql::{Labels, Matcher, Series};
use runlog_store::accounts::Caller;
use serde_json::{Value, json};

use crate::app::App;
use crate::http::error::{ApiError, ApiResult};
use crate::routes::loki::answers::{labels_object, sample, success};
use crate::routes::loki::labels::{selector, streams, streams_of};
use crate::routes::loki::parameters::{AggregateBy, MS, RangeQuery, millis_range};
use crate::routes::loki::scope::SelectedRuns;
use crate::routes::loki::within_limits::within_limits;

/// Most intervals of a volume over time; each is a query of the catalog.
const INTERVALS_MAX: usize = 400;

/// Default number of volumes. Loki's default.
const VOLUMES_DEFAULT: usize = 100;

pub(super) async fn stats(app: &App, caller: &Caller, _: &HeaderMap, query: RangeQuery) -> ApiResult<Json<Value>> {
    let matchers = selector(query.query.as_deref())?;
    let range = query.stream_range(app.now())?;
    let found = within_limits(app, streams(app, caller, &matchers, range)).await?;
    // The streams of a task and a status have their slices in common.
    let mut chunks: BTreeMap<Labels, u64> = BTreeMap::new();
    for stream in &found {
        let pairs = stream.labels.iter().filter(|(name, _)| *name != "severity");
        chunks.insert(Labels::new(pairs), stream.slices);
    }
    let (records, bytes) = found.iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.records, sum.1 + one.bytes));
    Ok(Json(json!({
        "streams": found.len(),
        "chunks": chunks.values().sum::<u64>(),
        "entries": records.round().saturating_as::<u64>(),
        "bytes": bytes.round().saturating_as::<u64>(),
    })))
}

pub(super) async fn volume(app: &App, caller: &Caller, _: &HeaderMap, query: RangeQuery) -> ApiResult<Json<Value>> {
    let by = VolumeLabels::of(&query)?;
    let (start, end) = query.bounds_ns(app.now())?;
    let limit = query.limit_or(VOLUMES_DEFAULT);
    let range = millis_range(start.div_euclid(MS), end.div_euclid(MS));
    let found = within_limits(app, async { Ok(by.volumes(&streams(app, caller, &by.matchers, range).await?)) });
    let mut volumes: Vec<(Labels, f64)> = found.await?.into_iter().collect();
    volumes.sort_by(|(one, a), (other, b)| b.total_cmp(a).then_with(|| one.cmp(other)));
    volumes.truncate(limit);
    let vector: Vec<Value> = volumes
        .iter()
        .map(|(labels, bytes)| json!({"metric": by.metric(labels), "value": sample(end, bytes.round())}))
        .collect();
    Ok(Json(success(json!({"resultType": "vector", "result": vector}))))
}

pub(super) async fn volume_range(
    app: &App,
    caller: &Caller,
    _: &HeaderMap,
    query: RangeQuery,
) -> ApiResult<Json<Value>> {
    let by = VolumeLabels::of(&query)?;
    let steps = query.steps(app.now())?;
    let limit = query.limit_or(VOLUMES_DEFAULT);
    if steps.count > INTERVALS_MAX {
        let count = steps.count;
        let message =
            format!("a volume over time has at most {INTERVALS_MAX} intervals, not {count}; use a longer step");
        return Err(ApiError::invalid(message));
    }
    let found = within_limits(app, async {
        let mut all: BTreeMap<Labels, Vec<Option<f64>>> = BTreeMap::new();
        let selected = SelectedRuns::new(app, caller, &by.matchers).await?;
        for index in 0..steps.count {
            let first = steps.at(index).div_euclid(MS);
            let last = steps.at(index).saturating_add(steps.step_ns).div_euclid(MS) - 1;
            if last < first {
                continue;
            }
            let found = streams_of(app, &selected, millis_range(first, last)).await?;
            for (labels, bytes) in by.volumes(&found) {
                all.entry(labels).or_insert_with(|| vec![None; steps.count])[index] = Some(bytes.round());
            }
        }
        Ok(all)
    });
    let series = found.await?.into_iter().map(|(labels, values)| Series { labels, values });
    let mut series: Vec<(f64, Series)> =
        series.map(|series| (series.values.iter().flatten().sum::<f64>(), series)).collect();
    series.sort_by(|(a, one), (b, other)| b.total_cmp(a).then_with(|| one.labels.cmp(&other.labels)));
    series.truncate(limit);
    let matrix: Vec<Value> = series
        .iter()
        .map(|(_, series)| {
            let values = series.values.iter().enumerate();
            let values: Vec<Value> =
                values.filter_map(|(index, value)| Some(sample(steps.at(index), (*value)?))).collect();
            json!({"metric": by.metric(&series.labels), "values": values})
        })
        .collect();
    Ok(Json(success(json!({"resultType": "matrix", "result": matrix}))))
}

/// Stands for the name of the label that a volume is about.
const OF_LABEL: &str = "__label__";

/// By which labels volumes are added up.
struct VolumeLabels {
    matchers: Vec<Matcher>,
    labels: BTreeSet<String>,
    by: AggregateBy,
}

impl VolumeLabels {
    fn of(query: &RangeQuery) -> ApiResult<Self> {
        let matchers = selector(query.query.as_deref())?;
        let labels = match &query.target_labels {
            Some(names) => names.split(',').map(|name| name.trim().to_owned()).collect(),
            None => matchers.iter().map(|matcher| matcher.name.clone()).collect(),
        };
        Ok(Self { matchers, labels, by: query.aggregate_by.unwrap_or(AggregateBy::Series) })
    }

    /// The labels of a volume. That of a label has the label, without a value.
    fn metric(&self, labels: &Labels) -> Value {
        match (self.by, labels.get(OF_LABEL)) {
            (AggregateBy::Labels, Some(name)) => json!({ name: "" }),
            _ => labels_object(labels),
        }
    }

    fn volumes(&self, streams: &[super::labels::Stream]) -> BTreeMap<Labels, f64> {
        let mut volumes: BTreeMap<Labels, f64> = BTreeMap::new();
        // Without any label, each stream is a series of its own.
        let keeps = |name: &str| self.labels.is_empty() || self.labels.contains(name);
        for stream in streams {
            match self.by {
                AggregateBy::Series => {
                    let labels = Labels::new(stream.labels.iter().filter(|(name, _)| keeps(name)));
                    *volumes.entry(labels).or_default() += stream.bytes;
                }
                AggregateBy::Labels => {
                    for (name, _) in stream.labels.iter().filter(|(name, _)| keeps(name)) {
                        *volumes.entry(Labels::new([(OF_LABEL, name)])).or_default() += stream.bytes;
                    }
                }
            }
        }
        volumes
    }
}
