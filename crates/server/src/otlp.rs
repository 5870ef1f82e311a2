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

use opentelemetry_proto::tonic::common::v1::any_value::Value as OtlpValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs};
use runlog_model::{Record, RunId, Timestamp};
use serde_json::{Map, Value};

use crate::body_memory::HeldMemory;
use crate::error::ApiResult;
use crate::intake::{self, Intake, PlaceHint};
use crate::links::hex;
use crate::settings::OtlpAttributes;

/// Sorts the records of a request by their run. 413 and 503: there is no memory for what is copied to each of them.
pub(crate) async fn sort(
    resources: Vec<ResourceLogs>,
    names: &OtlpAttributes,
    now: Timestamp,
    memory: &mut HeldMemory,
) -> ApiResult<Intake> {
    let mut intake = Intake::default();
    for resource_logs in resources {
        let resource = resource_logs.resource.map(|resource| resource.attributes).unwrap_or_default();
        for scope_logs in resource_logs.scope_logs {
            let scope = scope_logs.scope.unwrap_or_default();
            for log in scope_logs.log_records {
                let attributes = Attributes([&log.attributes, &scope.attributes, &resource]);
                let copied_bytes = take(&mut intake, &attributes, &scope, &log, names, now);
                memory.take(copied_bytes).await?;
            }
        }
    }
    Ok(intake)
}

/// Takes a record, and tells how many bytes were copied to it that others have as well.
fn take(
    intake: &mut Intake,
    attributes: &Attributes<'_>,
    scope: &InstrumentationScope,
    log: &LogRecord,
    names: &OtlpAttributes,
    now: Timestamp,
) -> usize {
    let found = attributes.first(&names.run);
    let Some(run_id) = found.as_deref().and_then(|text| text.parse::<RunId>().ok()) else {
        intake.refuse(match found {
            Some(text) => format!("{:?} is not the id of a run (a UUID)", text.chars().take(64).collect::<String>()),
            None => format!("no run is named: set one of the attributes {}", names.run.join(", ")),
        });
        return 0;
    };
    let (batch, new_bytes) = intake.run(run_id);
    let place = PlaceHint {
        task_id: attributes.first(&names.task).and_then(|text| text.parse().ok()),
        task_name: attributes.first(&names.task_name),
        workspace_id: attributes.first(&names.workspace).and_then(|text| text.parse().ok()),
        ..PlaceHint::default()
    };
    let record = record(attributes, scope, log, now);
    let shared = [&record.log_type, &record.bundle_name, &record.bundle_version, &record.pod_name, &place.task_name];
    let shared_bytes: usize = shared.into_iter().flatten().map(String::len).sum();
    batch.hint(place);
    let status = attributes.first(&names.status).and_then(|text| text.parse().ok());
    batch.ended = batch.ended.take().or_else(|| intake::ended(status?));
    batch.push(record, nanos(log).map(|nanos| nanos % 1_000_000));
    new_bytes + shared_bytes
}

/// The attributes of a record, of its scope and of its resource: the nearer counts.
struct Attributes<'a>([&'a [KeyValue]; 3]);

impl Attributes<'_> {
    fn first(&self, names: &[impl AsRef<str>]) -> Option<String> {
        let find = |name: &str| {
            let all = self.0.iter().flat_map(|attributes| attributes.iter());
            all.filter(|attribute| attribute.key == name).find_map(|attribute| text(attribute.value.as_ref()?))
        };
        names.iter().find_map(|name| find(name.as_ref())).filter(|text| !text.is_empty())
    }
}

/// When it was made, or seen. Unit: nanoseconds since 1970.
fn nanos(log: &LogRecord) -> Option<u64> {
    [log.time_unix_nano, log.observed_time_unix_nano].into_iter().find(|nanos| *nanos > 0)
}

fn record(attributes: &Attributes<'_>, scope: &InstrumentationScope, log: &LogRecord, now: Timestamp) -> Record {
    let time = nanos(log).and_then(|nanos| i64::try_from(nanos / 1_000_000).ok()).map_or(now, Timestamp::clamped);
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
