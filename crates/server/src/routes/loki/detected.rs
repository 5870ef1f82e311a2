//! The fields of records: their structured metadata, and what `json` and `logfmt` find in a sample of their lines.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::http::HeaderMap;
use runlog_logql::{Category, Entry, json_fields, logfmt_fields, parse_duration_ns};
use runlog_store::accounts::Caller;
use runlog_store::query::SearchOrder;
use serde_json::{Value, json};

use crate::app::App;
use crate::http::error::ApiResult;
use crate::routes::loki::logs::{Records, Wanted, find};
use crate::routes::loki::parameters::RangeQuery;
use crate::routes::loki::within_limits::{QueryCancellation, compute, within_limits};

/// Default number of fields. Loki's default.
const FIELDS_DEFAULT: usize = 1_000;

/// Most values that are counted for a field.
const VALUES_MAX: usize = 5_000;

/// The least number of fields of a line that looks like logfmt: prose has an equals sign now and then.
const LOGFMT_FIELDS_MIN: usize = 2;

/// A field that was found.
#[derive(Default)]
struct Field {
    values: BTreeSet<String>,
    parsers: BTreeSet<&'static str>,
    /// The names by which `json` reaches it.
    json_path: Vec<String>,
}

pub(super) async fn fields(app: &App, caller: &Caller, _: &HeaderMap, query: RangeQuery) -> ApiResult<Json<Value>> {
    let limit = query.limit_or(FIELDS_DEFAULT);
    let found = within_limits(app, sample(app, caller, &query)).await?;
    let fields: Vec<Value> = found
        .iter()
        .take(limit)
        .map(|(name, field)| {
            let parsers = if field.parsers.is_empty() { Value::Null } else { json!(field.parsers) };
            let mut described = json!({
                "label": name, "type": type_of(&field.values), "cardinality": field.values.len(), "parsers": parsers,
            });
            if !field.json_path.is_empty() {
                described["jsonPath"] = json!(field.json_path);
            }
            described
        })
        .collect();
    Ok(Json(json!({"fields": fields, "limit": limit})))
}

pub(super) async fn values(app: &App, caller: &Caller, name: &str, query: RangeQuery) -> ApiResult<Json<Value>> {
    let limit = query.limit_or(FIELDS_DEFAULT);
    let found = within_limits(app, sample(app, caller, &query)).await?;
    let values: Vec<&String> = found.get(name).into_iter().flat_map(|field| &field.values).take(limit).collect();
    Ok(Json(json!({"values": values, "limit": limit})))
}

async fn sample(app: &App, caller: &Caller, query: &RangeQuery) -> ApiResult<BTreeMap<String, Field>> {
    let range = query.log_range(app.now())?;
    let limit = az::saturating_cast::<u64, usize>(query.line_limit.0);
    let wanted = Wanted { range, order: SearchOrder::NewestFirst, limit, interval_ms: None };
    let records = find(app, caller, &query.log()?, wanted).await?;
    compute(move |cancellation| fields_of(&records, cancellation)).await
}

fn fields_of(records: &Records, cancellation: &QueryCancellation) -> ApiResult<BTreeMap<String, Field>> {
    let mut fields = BTreeMap::new();
    for entry in records.entries(cancellation)? {
        // The ID of each record is another.
        let own = entry.labels.iter().filter(|(name, _, category)| {
            *category != Category::Stream && !name.starts_with("__") && *name != "record_id"
        });
        for (name, value, _) in own {
            add(&mut fields, name, value, None);
        }
        add_parsed(&mut fields, &entry);
    }
    Ok(fields)
}

fn add_parsed(fields: &mut BTreeMap<String, Field>, entry: &Entry<'_>) {
    if entry.line.trim_start().starts_with('{') {
        for found in json_fields(&entry.line) {
            if let Some(field) = add(fields, &found.label, &found.value, Some("json")) {
                field.json_path = found.path;
            }
        }
        return;
    }
    let (found, error) = logfmt_fields(&entry.line);
    let is_name = |name: &str| {
        name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
            && name.chars().all(|c| c == '_' || c == '.' || c == '-' || c.is_ascii_alphanumeric())
    };
    let with_values = || found.iter().filter(|(name, value)| is_name(name) && !value.is_empty());
    if error.is_none() && with_values().count() >= LOGFMT_FIELDS_MIN {
        for (name, value) in with_values() {
            add(fields, &name.replace(['.', '-'], "_"), value, Some("logfmt"));
        }
    }
}

/// Adds a value of a field, which is returned; none when there are too many.
fn add<'f>(
    fields: &'f mut BTreeMap<String, Field>,
    name: &str,
    value: &str,
    parser: Option<&'static str>,
) -> Option<&'f mut Field> {
    if fields.len() >= VALUES_MAX && !fields.contains_key(name) {
        return None;
    }
    let field = fields.entry(name.to_owned()).or_default();
    field.parsers.extend(parser);
    if field.values.len() < VALUES_MAX {
        field.values.insert(value.to_owned());
    }
    Some(field)
}

fn type_of(values: &BTreeSet<String>) -> &'static str {
    let all = |fits: fn(&str) -> bool| values.iter().all(|value| fits(value));
    if all(|value| value.parse::<i64>().is_ok()) {
        "int"
    } else if all(|value| value.parse::<f64>().is_ok()) {
        "float"
    } else if all(|value| matches!(value, "true" | "false")) {
        "boolean"
    } else if all(|value| parse_duration_ns(value).is_some()) {
        "duration"
    } else {
        "string"
    }
}
