//! Labels, their values, and the streams that they make.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::http::HeaderMap;
use runlog_logql::{Labels, Matcher, parse_selector};
use runlog_model::TimeRange;
use runlog_store::accounts::Caller;
use serde_json::{Value, json};

use crate::app::App;
use crate::http::error::{ApiError, ApiResult};
use crate::routes::loki::answers::{labels_object, success};
use crate::routes::loki::parameters::RangeQuery;
use crate::routes::loki::scope::{RUN_IDS_MAX, STREAM_LABELS, SelectedRuns};
use crate::routes::loki::within_limits::within_limits;

/// A stream, and an estimate of what it has.
pub(super) struct Stream {
    pub(super) labels: Labels,
    pub(super) slices: u64,
    pub(super) records: f64,
    pub(super) bytes: f64,
}

/// The streams of some selectors in a range; those of a task and a status are next to each other.
pub(super) async fn streams(
    app: &App,
    caller: &Caller,
    matchers: &[Matcher],
    range: TimeRange,
) -> ApiResult<Vec<Stream>> {
    let selected = SelectedRuns::new(app, caller, matchers).await?;
    streams_of(app, &selected, range).await
}

/// The same of a selector that was evaluated.
pub(super) async fn streams_of(app: &App, selected: &SelectedRuns, range: TimeRange) -> ApiResult<Vec<Stream>> {
    if !selected.is_of_named_runs() {
        return Err(ApiError::invalid(format!(
            "run_id: streams are those of all runs, or of up to {RUN_IDS_MAX} that are named, with run_id=\"ID\" or \
             run_id=~\"ID|ID\""
        )));
    }
    let (workspaces, tasks, runs) =
        (selected.workspace_ids.as_deref(), selected.task_ids.as_deref(), selected.run_ids.as_deref());
    let figures = Box::pin(app.store().query().streams(workspaces, tasks, runs, range)).await?;
    let streams = figures.iter().flat_map(|figures| {
        selected.streams_of(figures).map(|(labels, share)| Stream {
            labels,
            slices: figures.slices,
            records: figures.records * share,
            bytes: figures.bytes * share,
        })
    });
    Ok(streams.collect())
}

/// A selector; an absent one selects everything.
pub(super) fn selector(text: Option<&str>) -> ApiResult<Vec<Matcher>> {
    match text {
        None => Ok(Vec::new()),
        Some(text) => parse_selector(text).map_err(|error| ApiError::invalid(error.to_string())),
    }
}

async fn streams_of_query(app: &App, caller: &Caller, query: &RangeQuery) -> ApiResult<Vec<Stream>> {
    let matchers = selector(query.query.as_deref())?;
    let range = query.stream_range(app.now())?;
    within_limits(app, streams(app, caller, &matchers, range)).await
}

pub(super) async fn names(app: &App, caller: &Caller, _: &HeaderMap, query: RangeQuery) -> ApiResult<Json<Value>> {
    let streams = streams_of_query(app, caller, &query).await?;
    let names: &[&str] = if streams.is_empty() { &[] } else { &STREAM_LABELS };
    Ok(Json(success(json!(names))))
}

pub(super) async fn values(app: &App, caller: &Caller, name: &str, query: RangeQuery) -> ApiResult<Json<Value>> {
    let streams = streams_of_query(app, caller, &query).await?;
    let values: BTreeSet<&str> = streams.iter().filter_map(|stream| stream.labels.get(name)).collect();
    Ok(Json(success(json!(values))))
}

pub(super) async fn series(app: &App, caller: &Caller, _: &HeaderMap, query: RangeQuery) -> ApiResult<Json<Value>> {
    let range = query.stream_range(app.now())?;
    let mut selectors = Vec::new();
    for text in query.matches.0.iter().chain(&query.plain_matches.0).chain(&query.query) {
        selectors.push(selector(Some(text))?);
    }
    if selectors.is_empty() {
        selectors.push(Vec::new());
    }
    if selectors.len() > SELECTORS_MAX {
        let count = selectors.len();
        return Err(ApiError::invalid(format!("match[]: {count} selectors are more than {SELECTORS_MAX}")));
    }
    let found = within_limits(app, async {
        let mut found = BTreeSet::new();
        for matchers in &selectors {
            found.extend(streams(app, caller, matchers, range).await?.into_iter().map(|stream| stream.labels));
        }
        Ok(found)
    });
    let series: Vec<Value> = found.await?.iter().map(labels_object).collect();
    Ok(Json(success(series.into())))
}

/// Most selectors of a request for series; each is a query of the catalog.
const SELECTORS_MAX: usize = 16;

pub(super) async fn detected(app: &App, caller: &Caller, _: &HeaderMap, query: RangeQuery) -> ApiResult<Json<Value>> {
    let streams = streams_of_query(app, caller, &query).await?;
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in streams.iter().flat_map(|stream| stream.labels.iter()) {
        values.entry(name).or_default().insert(value);
    }
    let labels: Vec<Value> =
        values.iter().map(|(name, values)| json!({"label": name, "cardinality": values.len()})).collect();
    Ok(Json(json!({"detectedLabels": labels})))
}
