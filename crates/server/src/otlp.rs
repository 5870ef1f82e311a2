//! OTLP log records as records of runs: which run each belongs to, and what becomes of its parts.
//!
//! | OTLP | record |
//! |---|---|
//! | `timeUnixNano`, else `observedTimeUnixNano`, else now | time, cut to milliseconds |
//! | `severityText`, else the name of `severityNumber` | severity |
//! | `body` (what is no text, as JSON) | message |
//! | scope name and version | component and its version |
//! | resource attribute `k8s.pod.name`, else `host.name` | pod |
//! | attribute `log.type`, else `JOB` | log type |
//! | attributes, `traceId`, `spanId` | further fields of the same names |

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::any_value::Value as OtlpValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs};
use runlog_model::{Record, RunId, RunStatus, TaskId, Timestamp};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::links::hex;

/// Attributes that name the run, the first found counts. Looked for in the record, its scope, its resource.
const RUN_ATTRIBUTES: [&str; 4] = ["runlog.run.id", "task_execution_id", "talend.execution.id", "service.instance.id"];
/// Attributes that name its task.
const TASK_ATTRIBUTES: [&str; 3] = ["runlog.task.id", "task_id", "talend.task.id"];
/// The attribute that ends the run, with a final status such as `execution_failed`.
const STATUS_ATTRIBUTE: &str = "runlog.run.status";

/// The records of one run in a request.
#[derive(Debug, Default)]
pub(crate) struct RunBatch {
    /// The task that the run is of, where the request says.
    pub(crate) task: Option<TaskId>,
    /// How the run ended, where the request says.
    pub(crate) ended: Option<RunStatus>,
    pub(crate) records: Vec<Record>,
    digest: Sha256,
}

/// What a request holds.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    pub(crate) runs: BTreeMap<RunId, RunBatch>,
    /// Records of which no run is known, and why the first of them has none.
    pub(crate) homeless: u64,
    pub(crate) why: Option<String>,
}

impl RunBatch {
    /// Names the batch by what is in it: an export that is sent again is stored once.
    pub(crate) fn id(&self) -> String {
        format!("otlp-{}", hex(&self.digest.clone().finalize()))
    }

    /// The time of its earliest record: when a run that it begins began.
    pub(crate) fn first(&self) -> Option<Timestamp> {
        self.records.iter().map(|record| record.time).min()
    }

    /// The time of its latest record: when a run that it ends ended.
    pub(crate) fn last(&self) -> Option<Timestamp> {
        self.records.iter().map(|record| record.time).max()
    }
}

/// Sorts the records of a request by their run.
pub(crate) fn sort(resources: Vec<ResourceLogs>, now: Timestamp) -> Sorted {
    let mut sorted = Sorted::default();
    for resource_logs in resources {
        let resource = resource_logs.resource.map(|resource| resource.attributes).unwrap_or_default();
        for scope_logs in resource_logs.scope_logs {
            let scope = scope_logs.scope.unwrap_or_default();
            for log in scope_logs.log_records {
                sorted.take(&Attributes([&log.attributes, &scope.attributes, &resource]), &scope, &log, now);
            }
        }
    }
    sorted
}

impl Sorted {
    fn take(&mut self, attributes: &Attributes<'_>, scope: &InstrumentationScope, log: &LogRecord, now: Timestamp) {
        let found = attributes.first(&RUN_ATTRIBUTES);
        let Some(run_id) = found.as_deref().and_then(|text| text.parse::<RunId>().ok()) else {
            self.homeless += 1;
            let why = match found {
                Some(text) => format!("{text:?} is not the id of a run (a UUID)"),
                None => format!("no run is named: set one of the attributes {}", RUN_ATTRIBUTES.join(", ")),
            };
            self.why.get_or_insert(why);
            return;
        };
        let batch = self.runs.entry(run_id).or_default();
        batch.task = batch.task.or_else(|| attributes.first(&TASK_ATTRIBUTES)?.parse().ok());
        batch.ended = batch.ended.or_else(|| attributes.first(&[STATUS_ATTRIBUTE])?.parse().ok());
        let record = record(attributes, scope, log, now);
        // The nanoseconds tell apart what the milliseconds of a record do not.
        batch.digest.update(log.time_unix_nano.to_le_bytes());
        batch.digest.update(log.observed_time_unix_nano.to_le_bytes());
        batch.digest.update(format!("{record:?}"));
        batch.records.push(record);
    }
}

/// The attributes of a record, of its scope and of its resource: the nearer counts.
struct Attributes<'a>([&'a [KeyValue]; 3]);

impl Attributes<'_> {
    fn first(&self, names: &[&str]) -> Option<String> {
        let find = |name: &&str| {
            let all = self.0.iter().flat_map(|attributes| attributes.iter());
            all.filter(|attribute| attribute.key == *name).find_map(|attribute| text(attribute.value.as_ref()?))
        };
        names.iter().find_map(find).filter(|text| !text.is_empty())
    }
}

fn record(attributes: &Attributes<'_>, scope: &InstrumentationScope, log: &LogRecord, now: Timestamp) -> Record {
    let nanos = [log.time_unix_nano, log.observed_time_unix_nano].into_iter().find(|nanos| *nanos > 0);
    let time = nanos.and_then(|nanos| i64::try_from(nanos / 1_000_000).ok()).map_or(now, Timestamp::clamped);
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Record {
        time,
        severity: some(&log.severity_text).or_else(|| severity(log.severity_number).map(str::to_owned)),
        log_type: attributes.first(&["log.type"]).or_else(|| Some("JOB".to_owned())),
        message: log.body.as_ref().and_then(text),
        bundle_name: some(&scope.name),
        bundle_version: some(&scope.version),
        pod_name: attributes.first(&["k8s.pod.name", "host.name"]),
        extra: extra(log).map(Box::new),
    }
}

/// The ranges of the specification, four numbers each.
fn severity(number: i32) -> Option<&'static str> {
    let names = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    usize::try_from(number - 1).ok().and_then(|index| names.get(index / 4)).copied()
}

fn extra(log: &LogRecord) -> Option<Map<String, Value>> {
    let mut extra = Map::new();
    if !log.attributes.is_empty() {
        let attributes = log.attributes.iter();
        let attributes = attributes.map(|it| (it.key.clone(), it.value.as_ref().map_or(Value::Null, json)));
        extra.insert("attributes".to_owned(), attributes.collect::<Map<_, _>>().into());
    }
    for (name, id) in [("traceId", &log.trace_id), ("spanId", &log.span_id)] {
        if !id.is_empty() {
            extra.insert(name.to_owned(), hex(id).into());
        }
    }
    (!extra.is_empty()).then_some(extra)
}

/// A text as it is, and everything else as JSON.
fn text(value: &AnyValue) -> Option<String> {
    match json(value) {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

fn json(value: &AnyValue) -> Value {
    match &value.value {
        Some(OtlpValue::StringValue(text)) => text.as_str().into(),
        Some(OtlpValue::BoolValue(flag)) => (*flag).into(),
        Some(OtlpValue::IntValue(number)) => (*number).into(),
        Some(OtlpValue::DoubleValue(number)) => (*number).into(),
        Some(OtlpValue::BytesValue(bytes)) => hex(bytes).into(),
        Some(OtlpValue::ArrayValue(array)) => array.values.iter().map(json).collect(),
        Some(OtlpValue::KvlistValue(list)) => {
            let fields = list.values.iter().map(|it| (it.key.clone(), it.value.as_ref().map_or(Value::Null, json)));
            Value::Object(fields.collect())
        }
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_are_named_by_their_numbers() {
        assert_eq!(
            [1, 4, 5, 9, 13, 17, 24].map(severity).map(Option::unwrap),
            ["TRACE", "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"]
        );
        assert_eq!([0, -1, 25].map(severity), [None; 3]);
    }
}
