//! Events of a Remote Engine, as its own JSON forms and the shippers in between have them: which run each is of, what it
//! says, and whether the run begins or ends with it.
//!
//! Source: "Job management logs" and "Exporting logs to an external folder" of the Remote Engine's guide; the JSON
//! layouts of log4j2; the outputs of Fluent Bit, Filebeat and Logstash. Where an event has a field is a matter of the
//! shipper, so each is looked for in the places that these know:
//!
//! | what | where |
//! |---|---|
//! | the run | `task_execution_id`, `flowExecutionId`, `executionId`, `runId` |
//! | the task | `task_id`, `flowId`, `flowID`, `taskId`; its name `task_name`, its version `task_version` |
//! | the workspace | `workspace_id`, `workspace_name`, `environment_id`, `environment_name` |
//! | the time | `timestamp`, `timeMillis`, `instant`, `logTimestamp`, `@timestamp`, `date`, `time` |
//! | the severity | `level`, `severity`, `log.level` |
//! | the text | `message`, `logMessage`, `msg`, and the stack trace in `thrown`, `exception`, `stacktrace` |
//! | the component | `loggerName`, `logger`, `bundleName` |
//!
//! The ids stand at the top or in `context`, `contextMap`, `mdc`, `ctx`, `fields`, `labels`. A shipper that wraps the
//! engine's line as text (`message`, `log`) is unwrapped.

use runlog_model::run::{ArtifactPart, RuntimeKind};
use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_model::{ExecutionStatus, ExecutionType, Record, RunId, RunStatus, Runtime, TaskId, Timestamp};
use serde_json::{Map, Value};

use crate::body_memory::HeldMemory;
use crate::body_weight;
use crate::error::{ApiError, ApiResult};
use crate::intake::{Intake, PlaceHint, RunBatch};

type Object = Map<String, Value>;

const CONTEXTS: [&str; 6] = ["context", "contextMap", "mdc", "ctx", "fields", "labels"];
const RUN: [&str; 4] = ["task_execution_id", "flowExecutionId", "executionId", "runId"];
const TASK: [&str; 4] = ["task_id", "flowId", "flowID", "taskId"];
const TIME: [&str; 6] = ["timestamp", "timeMillis", "logTimestamp", "@timestamp", "date", "time"];
const SEVERITY: [&str; 3] = ["level", "severity", "log.level"];
const TEXT: [&str; 3] = ["message", "logMessage", "msg"];
const TRACE: [&str; 4] = ["thrown", "exception", "stacktrace", "stackTrace"];
const LOGGER: [&str; 4] = ["loggerName", "logger", "logger_name", "bundleName"];

/// Where a shipper puts the engine's own event.
const WRAPPED: [&str; 3] = ["message", "log", "event"];

/// Reads the events of a body: one object, an array of them, or one a line. 400 says which line is no JSON.
pub(crate) fn events(body: &[u8]) -> ApiResult<Vec<Object>> {
    let text = body.trim_ascii();
    let whole = match text.first() {
        Some(b'[') => serde_json::from_slice::<Vec<Object>>(text),
        _ => serde_json::from_slice::<Object>(text).map(|one| vec![one]),
    };
    if let Ok(events) = whole {
        return Ok(events);
    }
    let lines = text.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
    let read = |(index, line): (usize, &[u8])| {
        serde_json::from_slice::<Object>(line).map_err(|error| {
            ApiError::invalid(format!("line {}, column {}: no event: {error}", index + 1, error.column()))
        })
    };
    lines.map(read).collect()
}

/// Sorts events by their run. 413 and 503: there is no memory for what is wrapped in them.
pub(crate) async fn sort(events: Vec<Object>, now: Timestamp, memory: &mut HeldMemory) -> ApiResult<Intake> {
    let mut intake = Intake::default();
    for event in events {
        memory.take(WRAPPED.iter().filter_map(|name| wrapped(&event, name)).map(body_weight::of_json).sum()).await?;
        let event = Event(unwrapped(event));
        let found = event.text(&RUN);
        match found.as_deref().and_then(|text| text.parse::<RunId>().ok()) {
            Some(run_id) => {
                let (batch, new_bytes) = intake.run(run_id);
                event.tell(batch, now);
                memory.take(new_bytes).await?;
            }
            None => intake.refuse(match found {
                Some(text) => {
                    format!("{:?} is not the id of a run (a UUID)", text.chars().take(64).collect::<String>())
                }
                None => format!("an event names no run: it has none of the fields {}", RUN.join(", ")),
            }),
        }
    }
    Ok(intake)
}

/// The text in a field that may be an event.
fn wrapped<'a>(outer: &'a Object, name: &str) -> Option<&'a [u8]> {
    let text = outer.get(name)?.as_str()?;
    text.trim_start().starts_with('{').then_some(text.as_bytes())
}

/// The engine's own event, where a shipper has put it as text into one of its own.
fn unwrapped(mut outer: Object) -> Object {
    for name in WRAPPED {
        let inner = match outer.get_mut(name) {
            Some(Value::Object(inner)) => Some(std::mem::take(inner)),
            _ => wrapped(&outer, name).and_then(|text| serde_json::from_slice::<Object>(text).ok()),
        };
        if let Some(inner) = inner.filter(|inner| !inner.is_empty()) {
            outer.remove(name);
            // What the engine says counts more than what the shipper adds.
            outer.extend(inner);
            return outer;
        }
    }
    if let (None, Some(log)) = (outer.get("message").cloned(), outer.remove("log")) {
        outer.insert("message".to_owned(), log);
    }
    outer
}

/// One event of an engine.
struct Event(Object);

impl Event {
    fn value(&self, names: &[&str]) -> Option<&Value> {
        let contexts = CONTEXTS.iter().filter_map(|name| self.0.get(*name)?.as_object());
        let objects: Vec<&Object> = std::iter::once(&self.0).chain(contexts).collect();
        names.iter().find_map(|name| objects.iter().find_map(|object| object.get(*name).filter(|it| !it.is_null())))
    }

    fn text(&self, names: &[&str]) -> Option<String> {
        let text = match self.value(names)? {
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        (!text.is_empty()).then_some(text)
    }

    fn number(&self, names: &[&str]) -> Option<u64> {
        self.text(names)?.parse().ok()
    }

    fn id<T: std::str::FromStr>(&self, names: &[&str]) -> Option<T> {
        self.text(names)?.parse().ok()
    }

    /// Adds what this event says to what is known of its run.
    fn tell(self, batch: &mut RunBatch, now: Timestamp) {
        let (time, nanos) = self.time().unzip();
        let time = time.unwrap_or(now);
        batch.hint(PlaceHint {
            task_id: self.id(&TASK),
            task_name: self.text(&["task_name"]),
            task_version: self.text(&["task_version"]),
            workspace_id: self.id(&["workspace_id"]),
            workspace_name: self.text(&["workspace_name"]),
            environment_id: self.id(&["environment_id"]),
            environment_name: self.text(&["environment_name"]),
        });
        if let Some(phase) = self.text(&["job_phase"]).and_then(|phase| phase.parse::<ExecutionStatus>().ok()) {
            self.tell_phase(batch, phase, time);
        }
        batch.push(self.into_record(time), nanos);
    }

    fn tell_phase(&self, batch: &mut RunBatch, phase: ExecutionStatus, time: Timestamp) {
        let status = phase.coarse();
        if status.is_final() {
            let failed = !matches!(status, RunStatus::Successful | RunStatus::Rejected);
            let rejected = self.number(&["rejected_rows"]);
            batch.ended = Some(FinishRun {
                finish_timestamp: Some(time),
                error_message: self.text(&TEXT).filter(|_| failed),
                number_of_rejected_rows: rejected,
                ..FinishRun::with_status(status)
            });
        }
        let Some(task_id) = self.id::<TaskId>(&TASK) else { return };
        let engine_id = self.text(&["remote_engine_id"]);
        let runtime = engine_id.is_some().then(|| Runtime {
            kind: Some(RuntimeKind::RemoteEngine),
            engine_id,
            run_profile_id: self.text(&["run_profile_id"]),
            ..Runtime::default()
        });
        let known = batch.begun.take();
        let begins = phase == ExecutionStatus::Starting;
        batch.begun = Some(StartRun {
            status: Some(if status == RunStatus::Dispatching { status } else { RunStatus::Executing })
                .filter(|_| !status.is_final()),
            start_timestamp: begins.then_some(time).or(known.and_then(|known| known.start_timestamp)),
            trigger_timestamp: self.value(&["trigger_timestamp"]).and_then(moment).map(|(time, _)| time),
            execution_type: self.text(&["run_type"]).and_then(|kind| kind.parse::<ExecutionType>().ok()),
            artifact: ArtifactPart {
                id: self.text(&["artifact_id"]),
                name: self.text(&["artifact_name"]),
                version: self.text(&["artifact_version"]),
            },
            attempts: self.number(&["count_of_attempts"]),
            runtime,
            ..StartRun::of_task(task_id)
        });
    }

    /// When it was logged, and the nanoseconds after that millisecond.
    fn time(&self) -> Option<(Timestamp, u64)> {
        if let Some(instant) = self.value(&["instant"]).and_then(Value::as_object) {
            let seconds = instant.get("epochSecond")?.as_i64()?;
            let nanos = instant.get("nanoOfSecond").and_then(Value::as_u64).unwrap_or(0);
            let ms = seconds.checked_mul(1_000)?.checked_add((nanos / 1_000_000) as i64)?;
            return Some((Timestamp::from_millis(ms).ok()?, nanos % 1_000_000));
        }
        TIME.iter().find_map(|name| moment(self.value(&[name])?))
    }

    fn into_record(self, time: Timestamp) -> Record {
        let message = self.text(&TEXT);
        let trace = self.value(&TRACE).and_then(trace);
        let message = match (message, trace) {
            (Some(message), Some(trace)) => Some(format!("{message}\n{trace}")),
            (message, trace) => message.or(trace),
        };
        let log_type = match self.value(&["job_phase"]) {
            Some(_) => "JOB_STATUS".to_owned(),
            None => self.text(&["event_type", "logType"]).unwrap_or_else(|| "JOB".to_owned()),
        };
        let (severity, bundle_name) = (self.text(&SEVERITY), self.text(&LOGGER));
        let pod_name = self.text(&["podName", "pod_name", "host", "hostname"]);
        let mut extra = self.0;
        let shown = SEVERITY.iter().chain(&TEXT).chain(&TRACE).chain(&LOGGER).chain(&TIME);
        for name in shown.chain(&["instant", "event_type", "logType", "podName"]) {
            extra.remove(*name);
        }
        Record {
            time,
            severity,
            log_type: Some(log_type),
            message,
            bundle_name,
            bundle_version: None,
            pod_name,
            extra: (!extra.is_empty()).then(|| Box::new(extra)),
        }
    }
}

/// A time in any of the forms that engines and shippers write: epoch milliseconds, epoch seconds with a fraction, text.
fn moment(value: &Value) -> Option<(Timestamp, u64)> {
    match value {
        Value::Number(number) => {
            // Seconds since 1970 have ten digits until the year 2286, milliseconds thirteen.
            match number.as_i64() {
                Some(whole) if whole.abs() >= 100_000_000_000 => Some((Timestamp::from_millis(whole).ok()?, 0)),
                Some(seconds) => Some((Timestamp::from_millis(seconds.checked_mul(1_000)?).ok()?, 0)),
                None => {
                    let nanos = (number.as_f64()? * 1e6).round() as i64 * 1_000;
                    let ms = nanos.div_euclid(1_000_000);
                    Some((Timestamp::from_millis(ms).ok()?, nanos.rem_euclid(1_000_000) as u64))
                }
            }
        }
        Value::String(text) => match text.parse::<i64>() {
            Ok(number) => moment(&number.into()),
            Err(_) => Some((text.parse().ok()?, 0)),
        },
        _ => None,
    }
}

/// The stack trace of an event: text, or the object of a log4j2 layout.
fn trace(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Object(thrown) => {
            let text = |names: &[&str]| names.iter().find_map(|name| Some(thrown.get(*name)?.as_str()?.to_owned()));
            let whole = text(&["stacktrace", "stackTrace", "stack_trace"]);
            let whole = whole.or_else(|| text(&["extendedStackTrace"]));
            whole.or_else(|| {
                let name = text(&["name", "exception_class", "class", "type"])?;
                let message = text(&["localizedMessage", "message", "exception_message"]).unwrap_or_default();
                let frames = thrown.get("extendedStackTrace").and_then(Value::as_array).map(Vec::as_slice);
                let frames: Vec<String> = frames.unwrap_or_default().iter().filter_map(frame).collect();
                let cause = thrown.get("cause").and_then(trace).map(|cause| format!("Caused by: {cause}"));
                Some([vec![format!("{name}: {message}")], frames, cause.into_iter().collect()].concat().join("\n"))
            })
        }
        _ => None,
    }
}

fn frame(value: &Value) -> Option<String> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let (class, method) = (text("class")?, text("method").unwrap_or("?"));
    let place = match (text("file"), value.get("line").and_then(Value::as_i64)) {
        (Some(file), Some(line)) if line >= 0 => format!("{file}:{line}"),
        (Some(file), _) => file.to_owned(),
        (None, _) => "Unknown Source".to_owned(),
    };
    Some(format!("\tat {class}.{method}({place})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_in_every_form_that_shippers_write() {
        let ms = |value: Value| moment(&value).map(|(time, nanos)| (time.as_millis(), nanos));
        assert_eq!(ms(1_619_018_951_115_i64.into()), Some((1_619_018_951_115, 0)));
        assert_eq!(ms(1_619_018_951.into()), Some((1_619_018_951_000, 0)));
        assert_eq!(ms(1_619_018_951.115_25.into()), Some((1_619_018_951_115, 250_000)));
        assert_eq!(ms("1619018951115".into()), Some((1_619_018_951_115, 0)));
        assert_eq!(ms("2021-04-21T15:29:11.115Z".into()), Some((1_619_018_951_115, 0)));
        assert_eq!(ms("soon".into()), None);
    }

    #[test]
    fn a_line_that_a_shipper_wrapped_is_unwrapped() {
        let outer = serde_json::json!({"date": 1.5, "log": "{\"level\":\"WARN\",\"message\":\"slow\"}"});
        let Value::Object(outer) = outer else { unreachable!("an object") };
        let event = unwrapped(outer);
        assert_eq!((event["level"].as_str(), event["message"].as_str()), (Some("WARN"), Some("slow")));
    }
}
