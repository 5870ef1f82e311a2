//! OTLP log records as records of runs: which run each belongs to, and what becomes of its parts.
//!
//! | OTLP | record |
//! |---|---|
//! | `timeUnixNano`, else `observedTimeUnixNano`, else now | time, cut to milliseconds; the rest orders the records |
//! | `severityNumber` by its name, else what `severityText` means | severity; another `severityText` is a further field |
//! | `body` (what is no text, as JSON) | message |
//! | scope name and version | component and its version |
//! | resource attribute `k8s.pod.name`, else `host.name` | pod |
//! | attribute `log.type`, else `JOB` | log type |
//! | attributes, `traceId`, `spanId`, `eventName` | further fields of the same names |

use opentelemetry_proto::tonic::common::v1::any_value::Value as OtlpValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs};
use runlog_model::{LogTime, Record, RunId, Severity, Timestamp, hex};
use serde_json::{Map, Value};

use crate::http::error::ApiResult;
use crate::ingest::body_memory::MemoryReservation;
use crate::ingest::intake::{self, Intake, Refused, TaskHint};
use crate::ingest::severity as words;

/// The names of OTLP attributes: of each list, the first one that a record, its scope or its resource has counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpAttributes {
    /// The run, a UUID.
    pub run: Vec<String>,
    /// Its task, by ID.
    pub task: Vec<String>,
    /// Its task, by name in the workspace; created there if it does not exist.
    pub task_name: Vec<String>,
    /// The workspace of a task that is not given by ID.
    pub workspace: Vec<String>,
    /// The final status of the run, such as `execution_failed`.
    pub status: Vec<String>,
}

impl Default for OtlpAttributes {
    fn default() -> Self {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            run: names(&["runlog.run.id", "task_execution_id", "talend.execution.id", "service.instance.id"]),
            task: names(&["runlog.task.id", "task_id", "talend.task.id"]),
            task_name: names(&["runlog.task.name", "task_name", "service.name"]),
            workspace: names(&["runlog.workspace.id", "workspace_id"]),
            status: names(&["runlog.run.status"]),
        }
    }
}

/// The records of a request, and those that could not be parsed.
#[derive(Debug, Default)]
pub(crate) struct Request {
    pub(crate) resources: Vec<ResourceLogs>,
    pub(crate) refused: Refused,
    /// Number of repaired texts.
    pub(crate) repaired: u64,
}

/// Groups the records of a request by run. 413 and 503 if there is no memory for what is copied to each of them.
pub(crate) async fn group_by_run(
    request: Request,
    names: &OtlpAttributes,
    now: Timestamp,
    memory: &mut MemoryReservation,
) -> ApiResult<Intake> {
    let mut intake = Intake::default();
    intake.repaired = request.repaired;
    intake.refuse_all(request.refused);
    for resource_logs in request.resources {
        let resource = resource_logs.resource.map(|resource| resource.attributes).unwrap_or_default();
        for scope_logs in resource_logs.scope_logs {
            let scope = scope_logs.scope.unwrap_or_default();
            for log in scope_logs.log_records {
                let attributes = Attributes([&log.attributes, &scope.attributes, &resource]);
                let copied_bytes = take(&mut intake, &attributes, &scope, &log, names, now);
                memory.reserve_decoded(copied_bytes).await?;
            }
        }
    }
    Ok(intake)
}

/// Accepts a record, and returns the number of bytes copied to it from shared data.
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
            Some(text) => format!("{:?} is not the ID of a run (a UUID)", text.chars().take(64).collect::<String>()),
            None => format!("the run is not named: set one of the attributes {}", names.run.join(", ")),
        });
        return 0;
    };
    let (batch, new_bytes) = intake.run(run_id);
    let hint = TaskHint {
        task_id: attributes.first(&names.task).and_then(|text| text.parse().ok()),
        task_name: attributes.first(&names.task_name),
        workspace_id: attributes.first(&names.workspace).and_then(|text| text.parse().ok()),
        ..TaskHint::default()
    };
    let at = time(log);
    let record = record(attributes, scope, log, at.map_or(now, |at| at.time));
    let shared = [&record.log_type, &record.bundle_name, &record.bundle_version, &record.pod_name, &hint.task_name];
    let shared_bytes: usize = shared.into_iter().flatten().map(String::len).sum();
    batch.hint(hint);
    let status = attributes.first(&names.status).and_then(|text| text.parse().ok());
    batch.ended = batch.ended.take().or_else(|| intake::ended(status?));
    batch.push(record, at.map(|at| at.nanos));
    new_bytes + shared_bytes
}

/// The attributes of a record, its scope and its resource, in this order of precedence.
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

/// When it occurred, or was observed.
fn time(log: &LogRecord) -> Option<LogTime> {
    let nanos = [log.time_unix_nano, log.observed_time_unix_nano].into_iter().find(|nanos| *nanos > 0)?;
    LogTime::from_nanos(nanos.into())
}

fn record(attributes: &Attributes<'_>, scope: &InstrumentationScope, log: &LogRecord, time: Timestamp) -> Record {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let (severity, written) = severity_of(log);
    Record {
        time,
        severity,
        log_type: attributes.first(&["log.type"]).or_else(|| Some("JOB".to_owned())),
        message: log.body.as_ref().and_then(text),
        bundle_name: some(&scope.name),
        bundle_version: some(&scope.version),
        pod_name: attributes.first(&["k8s.pod.name", "host.name"]),
        extra: extra(log, written).map(|extra| Box::new(extra.into())),
    }
}

/// The severity by which the archive counts, and the original value if it differs: the number takes precedence, then
/// the meaning of the text.
fn severity_of(log: &LogRecord) -> (Option<String>, Option<&str>) {
    let written = log.severity_text.as_str();
    match (severity(log.severity_number), written) {
        (None, "") => (None, None),
        (None, written) => {
            let (kept, is_another) = words::kept(written);
            (Some(kept), is_another.then_some(written))
        }
        (Some(name), "") => (Some(name.to_owned()), None),
        (Some(name), written) if Severity::named(written) == Severity::named(name) => (Some(written.to_owned()), None),
        (Some(name), written) => (Some(name.to_owned()), Some(written)),
    }
}

/// The ranges of the specification, four numbers each.
fn severity(number: i32) -> Option<&'static str> {
    let names = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    usize::try_from(number - 1).ok().and_then(|index| names.get(index / 4)).copied()
}

fn extra(log: &LogRecord, severity_text: Option<&str>) -> Option<Map<String, Value>> {
    let mut extra = Map::new();
    let event_name = Some(log.event_name.as_str()).filter(|name| !name.is_empty());
    for (name, text) in [("severityText", severity_text), ("eventName", event_name)] {
        if let Some(text) = text {
            extra.insert(name.to_owned(), text.into());
        }
    }
    if !log.attributes.is_empty() {
        let attributes = log.attributes.iter();
        let attributes = attributes.map(|it| (it.key.clone(), it.value.as_ref().map_or(Value::Null, json)));
        extra.insert("attributes".to_owned(), attributes.collect::<Map<_, _>>().into());
    }
    for (name, id) in [("traceId", &log.trace_id), ("spanId", &log.span_id)] {
        if !id.is_empty() {
            extra.insert(name.to_owned(), hex::encode(id).into());
        }
    }
    (!extra.is_empty()).then_some(extra)
}

/// A string unchanged, and other values as JSON.
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
        // JSON has no representation of these numbers.
        Some(OtlpValue::DoubleValue(number)) if !number.is_finite() => number.to_string().into(),
        Some(OtlpValue::DoubleValue(number)) => (*number).into(),
        Some(OtlpValue::BytesValue(bytes)) => hex::encode(bytes).into(),
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
    fn the_severity_number_takes_precedence_and_the_text_is_kept() {
        let of = |number: i32, text: &str| {
            let log = LogRecord { severity_number: number, severity_text: text.to_owned(), ..LogRecord::default() };
            let (severity, written) = severity_of(&log);
            (severity.unwrap_or_default(), written.unwrap_or_default().to_owned())
        };
        let check = |given: (String, String), expected: (&str, &str)| {
            assert_eq!((given.0.as_str(), given.1.as_str()), expected);
        };
        check(of(21, "CRITICAL"), ("FATAL", "CRITICAL"));
        check(of(17, "500"), ("ERROR", "500"));
        check(of(17, "Error"), ("Error", ""));
        check(of(0, "Critical"), ("FATAL", "Critical"));
        check(of(0, "AUDIT"), ("AUDIT", ""));
        check(of(18, ""), ("ERROR", ""));
    }

    #[test]
    fn severities_are_named_by_their_numbers() {
        assert_eq!(
            [1, 4, 5, 9, 13, 17, 24].map(severity).map(Option::unwrap),
            ["TRACE", "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"]
        );
        assert_eq!([0, -1, 25].map(severity), [None; 3]);
    }
}
