//! Events of a Remote Engine, as its own JSON forms and the shippers in between have them: which run each is of, what
//! it says, and whether the run begins or ends with it.
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
//! | the time | `instant`, `timestamp`, `timeMillis`, `logTimestamp`, `@timestamp`, `date`, `time` |
//! | the severity | `level`, `severity`, `log.level` |
//! | the text | `message`, `logMessage`, `msg`, `full_message`, `short_message` |
//! | the stack trace | `thrown`, `exception`, `stacktrace`, `stack_trace`, `error.stack_trace`, `throwable` |
//! | the component | `loggerName`, `logger`, `logger_name`, `log.logger`, `bundleName` |
//!
//! The IDs are at the top level or in `context`, `contextMap`, `mdc`, `my_mdc`, `ctx`, `fields`, `labels`, `runlog`,
//! also with the underscore that GELF prepends, or in the structured data of syslog. The event of a shipper that wraps
//! the engine's line as text (`message`, `log`) is unwrapped if it names no run itself; if it names one, its text is
//! not parsed. A field that is used as one of these is not stored as a further field of the record; everything else is.

use runlog_model::run::{ArtifactPart, RuntimeKind};
use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_model::{
    ExecutionStatus, ExecutionType, Fields, LogTime, LogZone, Record, RunId, RunStatus, Runtime, TaskId, Timestamp,
    read_object,
};
use serde_json::{Map, Value};

use crate::http::error::ApiResult;
use crate::ingest::body_memory::MemoryReservation;
use crate::ingest::decoded_size;
use crate::ingest::intake::{Intake, Refused, RunBatch, TaskHint};
use crate::ingest::severity;
use crate::ingest::syslog::message as syslog;

type Object = Map<String, Value>;

const CONTEXTS: [&str; 9] = ["context", "contextMap", "mdc", "my_mdc", "MDC", "ctx", "fields", "labels", "runlog"];
const RUN: [&str; 4] = ["task_execution_id", "flowExecutionId", "executionId", "runId"];
const TASK: [&str; 4] = ["task_id", "flowId", "flowID", "taskId"];
const TIME: [&str; 7] = ["instant", "timestamp", "timeMillis", "logTimestamp", "@timestamp", "date", "time"];
const SEVERITY: [&str; 3] = ["level", "severity", "log.level"];
const TEXT: [&str; 5] = ["message", "logMessage", "msg", "full_message", "short_message"];
const TRACE: [&str; 8] =
    ["thrown", "exception", "stacktrace", "stackTrace", "stack_trace", "error.stack_trace", "throwable", "_exception"];
const LOGGER: [&str; 5] = ["loggerName", "logger", "logger_name", "log.logger", "bundleName"];

/// Where structured data of syslog occurs, as text or as objects.
const STRUCTURED: [&str; 6] = ["SDATA", "_SDATA", ".SDATA", "structured_data", "structured-data", "extradata"];

/// The fields in which shippers put the event of the engine.
const WRAPPED: [&str; 3] = ["message", "log", "event"];

/// Maximum number of nested shippers.
const WRAPPED_TIMES_MAX: usize = 3;

/// The events of a body.
#[derive(Debug, Default)]
pub(crate) struct Events {
    events: Vec<Line>,
    /// Number of lines that are not events.
    refused: Refused,
    /// Number of repaired texts.
    repaired: u64,
}

/// An event with the plain lines that follow it: a stack trace, or other text with line breaks.
#[derive(Debug)]
struct Line {
    event: Fields,
    more: String,
    /// Default values for missing fields of the event.
    default: EventDefault,
}

/// Default values for an event that does not contain them.
#[derive(Debug, Clone, Default)]
pub(crate) struct EventDefault {
    /// Its run.
    pub(crate) run: Option<DefaultRun>,
    /// The task of the run that it names, as far as none of the events of the run names one.
    pub(crate) task: TaskHint,
}

/// The run of an event that names none.
#[derive(Debug, Clone)]
pub(crate) struct DefaultRun {
    pub(crate) id: RunId,
    pub(crate) task: TaskHint,
    /// When it was triggered, if it does not exist; none: with its first record.
    pub(crate) triggered_at: Option<Timestamp>,
}

impl Events {
    /// True if there are none, whatever was refused.
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// The reason why the first text that is not an event was refused.
    pub(super) fn why(&self) -> &str {
        self.refused.why.as_deref().unwrap_or_default()
    }

    pub(super) fn add(&mut self, event: Fields) {
        self.add_with(event, EventDefault::default());
    }

    /// Adds an event, with the default values for its missing fields.
    pub(crate) fn add_with(&mut self, event: Fields, default: EventDefault) {
        self.events.push(Line { event, more: String::new(), default });
    }

    /// Counts texts that had to be repaired.
    pub(crate) fn add_repaired(&mut self, texts: u64) {
        self.repaired += texts;
    }

    /// Counts a text that is no event.
    pub(crate) fn refuse(&mut self, why: &str) {
        self.refused.add(1, why.to_owned());
    }

    /// Adds a line to the preceding event; false if there is none.
    pub(crate) fn continue_last(&mut self, line: &str) -> bool {
        let Some(last) = self.events.last_mut() else { return false };
        last.more.push('\n');
        last.more.push_str(line);
        true
    }

    /// The parts of an event that continues the last one of these; none if that one names no run.
    pub(crate) fn continuation(&self) -> Option<Continuation> {
        let Line { event, default, .. } = self.events.last()?;
        let mut event = event.clone();
        for _ in 0..WRAPPED_TIMES_MAX {
            if run_of(&event).is_ok() || !unwrap(&mut event, &mut 0) {
                break;
            }
        }
        let run = match run_of(&event) {
            Ok(id) => DefaultRun { id, task: TaskHint::default(), triggered_at: None },
            Err(_) => default.run.clone()?,
        };
        let kept = |name: &&str| Some(((*name).to_owned(), event.get(*name)?.clone()));
        Some(Continuation { run, fields: TIME.iter().chain(&SEVERITY).filter_map(kept).collect() })
    }
}

/// Facts about the rest of a message whose beginning was stored.
#[derive(Debug, Clone)]
pub(crate) struct Continuation {
    run: DefaultRun,
    /// The time and the severity of the beginning.
    fields: Fields,
}

impl Continuation {
    /// A line of the rest as an event of its own.
    pub(crate) fn event(&self, line: &str) -> (Fields, EventDefault) {
        let mut event = self.fields.clone();
        event.insert("message".to_owned(), line.into());
        event.insert("continued".to_owned(), true.into());
        (event, EventDefault { run: Some(self.run.clone()), task: TaskHint::default() })
    }
}

/// Groups events by run. Times without a zone are in `zone`. 413 and 503 if there is no memory for wrapped events.
pub(crate) async fn group_by_run(
    events: Events,
    now: Timestamp,
    zone: &LogZone,
    memory: &mut MemoryReservation,
) -> ApiResult<Intake> {
    let mut intake = Intake::default();
    intake.repaired = events.repaired;
    intake.refuse_all(events.refused);
    let mut defaults = Vec::new();
    for Line { mut event, more, default } in events.events {
        for _ in 0..WRAPPED_TIMES_MAX {
            if run_of(&event).is_ok() {
                break;
            }
            memory
                .reserve_decoded(
                    WRAPPED.iter().filter_map(|name| wrapped(&event, name)).map(decoded_size::of_json).sum(),
                )
                .await?;
            if !unwrap(&mut event, &mut intake.repaired) {
                break;
            }
        }
        if event.get("message").is_none()
            && event.get("log").is_some_and(|log| !log.is_object())
            && let Some(log) = event.take("log")
        {
            event.put("message".to_owned(), log);
        }
        let run = match (run_of(&event), default.run) {
            (Ok(id), _) => Ok(DefaultRun { id, task: default.task, triggered_at: None }),
            (Err(_), Some(run)) => Ok(run),
            (Err(why), None) => Err(why),
        };
        match run {
            Ok(run) => {
                if run.task.is_some() {
                    defaults.push((run.id, run.task));
                }
                let (batch, new_bytes) = intake.run(run.id);
                batch.triggered_at = batch.triggered_at.or(run.triggered_at);
                let is_dated = Event(event).add_to_run(batch, more, now, zone);
                intake.undated += u64::from(!is_dated);
                memory.reserve_decoded(new_bytes).await?;
            }
            Err(why) => intake.refuse(why),
        }
    }
    for (run_id, task) in defaults {
        intake.hint(run_id, task);
    }
    Ok(intake)
}

/// The run that an event names itself, not within a text, or why there is none.
fn run_of(event: &Object) -> Result<RunId, String> {
    let mut wrong = None;
    for object in objects(event) {
        for value in RUN.iter().filter_map(|name| field(object, name)) {
            let text = value.as_str().map_or_else(|| value.to_string(), |text| text.trim().to_owned());
            match text.parse() {
                Ok(run_id) => return Ok(run_id),
                Err(_) => _ = wrong.get_or_insert(text),
            }
        }
    }
    Err(match wrong {
        Some(text) => format!("{:?} is not the ID of a run (a UUID)", text.chars().take(64).collect::<String>()),
        None => format!("an event names no run: it has none of the fields {}", RUN.join(", ")),
    })
}

/// The objects of an event that can contain IDs: itself, its contexts, and the structured data of syslog.
fn objects(event: &Object) -> impl Iterator<Item = &Object> {
    // The contexts in the order of the table, so that the result is deterministic.
    let contexts = CONTEXTS.iter().filter_map(|name| event.get(*name)?.as_object());
    let numbered = event.iter().filter(|(name, _)| name.contains('@')).filter(|(name, _)| is_context(name));
    let numbered = numbered.filter_map(|(_, value)| value.as_object());
    let structured = STRUCTURED.iter().filter_map(|name| event.get(*name)?.as_object()).flat_map(contexts_in);
    std::iter::once(event).chain(contexts).chain(numbered).chain(structured)
}

/// True for the name of a context; the ID of structured data is followed by an enterprise number, as in `my_mdc@18060`.
fn is_context(name: &str) -> bool {
    CONTEXTS.contains(&name.split('@').next().unwrap_or(name))
}

fn contexts_in(structured: &Object) -> Vec<&Object> {
    let named = structured.iter().filter(|(name, _)| is_context(name));
    named.filter_map(|(_, value)| value.as_object()).collect()
}

/// A field, also with the underscore that GELF prepends.
fn field<'a>(object: &'a Object, name: &str) -> Option<&'a Value> {
    let found = object.get(name).filter(|it| !it.is_null());
    found.or_else(|| object.get(&format!("_{name}")).filter(|it| !it.is_null()))
}

/// The text of a field that may contain an event.
fn wrapped<'a>(outer: &'a Object, name: &str) -> Option<&'a [u8]> {
    let text = outer.get(name)?.as_str()?;
    text.trim_start().starts_with('{').then_some(text.as_bytes())
}

/// Replaces the field in which a shipper has put the event of the engine by the fields of that event. False if there is
/// none.
fn unwrap(outer: &mut Fields, repaired: &mut u64) -> bool {
    for name in STRUCTURED {
        if let Some(data) = outer.get(name).and_then(Value::as_str).and_then(syslog::structured_data) {
            outer.insert(name.to_owned(), data.into());
            return true;
        }
    }
    for name in WRAPPED {
        let inner = match outer.get(name) {
            Some(Value::Object(_)) => outer.take(name).and_then(|inner| inner.into_object().ok()),
            Some(Value::String(text)) if text.starts_with('<') => syslog::read(text).map(Fields::from),
            _ => wrapped(outer, name).and_then(|text| read_object(text.trim_ascii()).ok()).map(|(event, changed)| {
                *repaired += changed;
                event
            }),
        };
        if let Some(inner) = inner.filter(|inner| !inner.is_empty()) {
            outer.remove(name);
            // The fields of the engine take precedence over those of the shipper.
            outer.append(inner);
            return true;
        }
    }
    false
}

/// One event of an engine.
struct Event(Fields);

/// The time of an event.
enum EventTime {
    /// The time in this field.
    Said(LogTime, &'static str),
    /// None of the fields contains a valid time.
    Unreadable,
    Unsaid,
}

impl Event {
    fn value(&self, names: &[&str]) -> Option<&Value> {
        names.iter().find_map(|name| objects(&self.0).find_map(|object| field(object, name)))
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

    /// A field of the event itself, not of its context: the value at a name, or at a path of names separated by dots.
    fn own(&self, name: &str) -> Option<&Value> {
        let at_path = || {
            let (first, second) = name.split_once('.')?;
            self.0.get(first)?.as_object()?.get(second)
        };
        self.0.get(name).or_else(at_path).filter(|value| !value.is_null())
    }

    /// The first of these fields that exists and has a text; every value has one.
    fn own_text(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.text_at(name))
    }

    /// The text of a field of the event itself.
    fn text_at(&self, name: &str) -> Option<String> {
        self.0.text(name).or_else(|| self.own(name).map(text_of))
    }

    /// Removes the field that [`Event::own`] returns.
    fn remove(&mut self, name: &str) {
        if self.0.remove(name).is_some() {
            return;
        }
        let Some((first, second)) = name.split_once('.') else { return };
        let Some(Value::Object(inner)) = self.0.get_mut(first) else { return };
        inner.remove(second);
        if inner.is_empty() {
            self.0.remove(first);
        }
    }

    /// Adds this event to the data of its run. False if its time could not be parsed.
    fn add_to_run(self, batch: &mut RunBatch, more: String, now: Timestamp, zone: &LogZone) -> bool {
        let (at, time_field, is_unreadable) = match self.time(zone) {
            EventTime::Said(at, name) => (Some(at), Some(name), false),
            EventTime::Unreadable => (None, None, true),
            EventTime::Unsaid => (None, None, false),
        };
        let time = at.map_or(now, |at| at.time);
        batch.hint(TaskHint {
            task_id: self.id(&TASK),
            task_name: self.text(&["task_name"]),
            task_version: self.text(&["task_version"]),
            workspace_id: self.id(&["workspace_id"]),
            workspace_name: self.text(&["workspace_name"]),
            environment_id: self.id(&["environment_id"]),
            environment_name: self.text(&["environment_name"]),
        });
        if let Some(phase) = self.text(&["job_phase"]).and_then(|phase| phase.parse::<ExecutionStatus>().ok()) {
            self.add_phase_to_run(batch, phase, time, zone);
        }
        batch.push(self.into_record(time, time_field, &more), at.map(|at| at.nanos));
        !is_unreadable
    }

    fn add_phase_to_run(&self, batch: &mut RunBatch, phase: ExecutionStatus, time: Timestamp, zone: &LogZone) {
        let status = phase.coarse();
        if status.is_final() {
            let failed = !matches!(status, RunStatus::Successful | RunStatus::Rejected);
            let rejected = self.number(&["rejected_rows"]);
            batch.ended = Some(FinishRun {
                finish_timestamp: Some(time),
                error_message: self.own_text(&TEXT).filter(|_| failed),
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
            trigger_timestamp: self
                .value(&["trigger_timestamp"])
                .and_then(|value| LogTime::read(value, zone))
                .map(|at| at.time),
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

    /// The time of the event: that of the first field that can be parsed.
    fn time(&self, zone: &LogZone) -> EventTime {
        let there = || TIME.into_iter().filter_map(|name| Some((name, self.own(name)?)));
        match there().find_map(|(name, value)| Some((name, moment(value, zone)?))) {
            Some((name, at)) => EventTime::Said(at, name),
            None if there().next().is_some() => EventTime::Unreadable,
            None => EventTime::Unsaid,
        }
    }

    fn into_record(mut self, time: Timestamp, time_field: Option<&str>, more: &str) -> Record {
        let mut used: Vec<&str> = time_field.into_iter().collect();
        let message = self.message(&mut used, more);
        let log_type = match self.value(&["job_phase"]) {
            Some(_) => "JOB_STATUS".to_owned(),
            None => {
                let named =
                    ["event_type", "logType"].into_iter().find_map(|name| Some((name, self.0.get(name)?.as_str()?)));
                used.extend(named.map(|(name, _)| name));
                named.map_or_else(|| "JOB".to_owned(), |(_, text)| text.to_owned())
            }
        };
        let severity = self.severity(&mut used);
        let logger = LOGGER.into_iter().find_map(|name| Some((name, self.own(name)?.as_str()?.to_owned())));
        used.extend(logger.iter().map(|(name, _)| *name));
        let pod_name =
            self.text(&["podName", "pod_name", "host", "hostname"]).or_else(|| self.own_text(&["host.name"]));
        used.push("podName");
        for name in used {
            self.remove(name);
        }
        Record {
            time,
            severity,
            log_type: Some(log_type),
            message,
            bundle_name: logger.map(|(_, text)| text),
            bundle_version: None,
            pod_name,
            extra: (!self.0.is_empty()).then(|| Box::new(self.0)),
        }
    }

    /// The message, unchanged, followed by the stack trace unless it contains it.
    fn message(&self, used: &mut Vec<&str>, more: &str) -> Option<String> {
        let is_gelf = self.0.contains_key("full_message") && self.0.contains_key("short_message");
        let names = if is_gelf { ["full_message"].as_slice() } else { &TEXT };
        let mut message = None;
        if let Some(name) = names.iter().find(|name| self.own(name).is_some()) {
            used.push(name);
            message = self.text_at(name);
        }
        let short = self.0.get("short_message").and_then(Value::as_str);
        if let (true, Some(short), Some(full)) = (is_gelf, short, &message)
            && full.starts_with(short)
        {
            used.push("short_message");
        }
        let found = TRACE.into_iter().find_map(|name| Some((name, trace(self.own(name)?)?)));
        let found = match found {
            Some((name, trace)) => {
                used.push(name);
                Some(trace)
            }
            None => self.error_named(),
        };
        let trace = found.filter(|trace| !message.as_deref().is_some_and(|message| message.contains(trace.trim())));
        let text = match (message, trace) {
            (Some(message), Some(trace)) if message.is_empty() => Some(trace),
            (Some(message), Some(trace)) => Some(format!("{message}\n{trace}")),
            (message, trace) => message.or(trace),
        };
        match (text, more.strip_prefix('\n')) {
            (Some(text), Some(_)) => Some(text + more),
            (None, Some(more)) => Some(more.to_owned()),
            (text, None) => text,
        }
    }

    /// An error without a stack trace, as in ECS: its class and its message. The fields are kept, too.
    fn error_named(&self) -> Option<String> {
        let (class, text) = (self.own("error.type")?.as_str()?, self.own("error.message")?.as_str()?);
        Some(format!("{class}: {text}"))
    }

    /// The severity by which the archive counts; if it differs, the original value is kept in a field.
    fn severity(&self, used: &mut Vec<&str>) -> Option<String> {
        let (name, written) = SEVERITY.into_iter().find_map(|name| Some((name, level(self.own(name)?)?)))?;
        let (kept, is_another) = severity::kept(&written);
        if !is_another {
            used.push(name);
        }
        Some(kept)
    }
}

/// A severity: a name, a number, or the object of a layout that contains it.
fn level(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Object(level) => {
            ["name", "standardLevel"].iter().find_map(|name| level.get(*name)?.as_str())?.to_owned()
        }
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// A string unchanged, and other values as JSON.
fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A time in any of the formats of engines and shippers: those of [`LogTime::read`], and separate seconds and
/// nanoseconds.
fn moment(value: &Value, zone: &LogZone) -> Option<LogTime> {
    let Some(instant) = value.as_object() else { return LogTime::read(value, zone) };
    let part = |names: [&str; 2]| names.iter().find_map(|name| instant.get(*name)?.as_i64());
    let seconds = part(["epochSecond", "seconds"])?;
    let nanos = part(["nanoOfSecond", "nanos"]).unwrap_or(0);
    LogTime::from_nanos(i128::from(seconds) * 1_000_000_000 + i128::from(nanos))
}

/// The stack trace of an event: text, or the object of a log4j2 layout.
fn trace(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Object(thrown) => {
            let text = |names: &[&str]| names.iter().find_map(|name| Some(thrown.get(*name)?.as_str()?.to_owned()));
            let whole = text(&["stacktrace", "stackTrace", "stack_trace", "stringified"]);
            let whole = whole.or_else(|| text(&["extendedStackTrace"]));
            whole.or_else(|| {
                let name = text(&["name", "exception_class", "class", "className", "type"])?;
                let message = text(&["localizedMessage", "message", "exception_message"]).unwrap_or_default();
                let frames = ["extendedStackTrace", "stepArray"].iter().find_map(|name| thrown.get(*name));
                let frames = frames.and_then(Value::as_array).map(Vec::as_slice);
                let frames: Vec<String> = frames.unwrap_or_default().iter().filter_map(frame).collect();
                let cause = thrown.get("cause").and_then(trace).map(|cause| format!("Caused by: {cause}"));
                Some([vec![format!("{name}: {message}")], frames, cause.into_iter().collect()].concat().join("\n"))
            })
        }
        _ => None,
    }
}

fn frame(value: &Value) -> Option<String> {
    let field = |names: [&str; 2]| names.iter().find_map(|name| value.get(*name));
    let text = |names: [&str; 2]| field(names).and_then(Value::as_str);
    let (class, method) = (text(["class", "className"])?, text(["method", "methodName"]).unwrap_or("?"));
    let place = match (text(["file", "fileName"]), field(["line", "lineNumber"]).and_then(Value::as_i64)) {
        (Some(file), Some(line)) if line >= 0 => format!("{file}:{line}"),
        (Some(file), _) => file.to_owned(),
        (None, _) => "Unknown Source".to_owned(),
    };
    Some(format!("\tat {class}.{method}({place})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(event: Value) -> Record {
        let Value::Object(event) = event else { unreachable!("an object") };
        let zone = LogZone::default();
        let event = Event(event.into());
        let (at, name) = match event.time(&zone) {
            EventTime::Said(at, name) => (at.time, Some(name)),
            _ => (Timestamp::MIN, None),
        };
        event.into_record(at, name, "")
    }

    #[test]
    fn a_line_that_a_shipper_wrapped_is_unwrapped() {
        let outer = serde_json::json!({"date": 1.5, "log": "{\"level\":\"WARN\",\"message\":\"slow\"}"});
        let Value::Object(event) = outer else { unreachable!("an object") };
        let mut event = Fields::from(event);
        assert!(unwrap(&mut event, &mut 0));
        assert_eq!((event["level"].as_str(), event["message"].as_str()), (Some("WARN"), Some("slow")));
    }

    #[test]
    fn the_layouts_of_the_ecosystem_are_known() {
        let at = 1_619_018_951_115;
        let ecs = record(serde_json::json!({"@timestamp": "2021-04-21T15:29:11.115Z", "log.level": "ERROR",
            "message": "no", "log.logger": "a.B", "error.stack_trace": "java.lang.X: y", "ecs.version": "1.2.0"}));
        assert_eq!(ecs.time.as_millis(), at);
        assert_eq!(ecs.message.as_deref(), Some("no\njava.lang.X: y"));
        assert_eq!((ecs.severity.as_deref(), ecs.bundle_name.as_deref()), (Some("ERROR"), Some("a.B")));
        assert_eq!(ecs.extra.unwrap().keys().collect::<Vec<_>>(), ["ecs.version"]);
        let nested = record(serde_json::json!({"@timestamp": "2021-04-21T15:29:11.115Z", "message": "no",
            "log": {"level": "warn", "logger": "a.B"}, "error": {"stack_trace": "java.lang.X: y", "type": "X"}}));
        assert_eq!(nested.message.as_deref(), Some("no\njava.lang.X: y"));
        assert_eq!((nested.severity.as_deref(), nested.bundle_name.as_deref()), (Some("warn"), Some("a.B")));
        let gelf = record(serde_json::json!({"version": "1.1", "host": "h", "short_message": "no", "level": 3,
            "full_message": "no\njava.lang.X: y", "timestamp": 1_619_018_951.115, "_thread": "main"}));
        assert_eq!((gelf.time.as_millis(), gelf.severity.as_deref()), (at, Some("ERROR")));
        assert_eq!(gelf.message.as_deref(), Some("no\njava.lang.X: y"));
        assert_eq!(gelf.extra.unwrap()["level"], 3, "what was written stays");
        let logback = record(serde_json::json!({"@timestamp": "2021-04-21T15:29:11.115+00:00", "message": "no",
            "logger_name": "a.B", "level": "ERROR", "level_value": 40000, "stack_trace": "java.lang.X: y"}));
        assert_eq!(logback.message.as_deref(), Some("no\njava.lang.X: y"));
        let template = record(serde_json::json!({"@timestamp": "2021-04-21T15:29:11.115Z", "level": {"name": "ERROR"},
            "exception": {"exception_class": "java.lang.X", "exception_message": "y", "stacktrace": "java.lang.X: y"}}));
        assert_eq!(
            (template.message.as_deref(), template.severity.as_deref()),
            (Some("java.lang.X: y"), Some("ERROR"))
        );
    }

    #[test]
    fn any_text_is_kept_unchanged() {
        for (value, text) in [
            (serde_json::json!(true), "true"),
            (serde_json::json!(["a", 1]), "[\"a\",1]"),
            (serde_json::json!("   "), "   "),
            (serde_json::json!("  a | b\n  1 | 2 \n"), "  a | b\n  1 | 2 \n"),
            (serde_json::json!({"status": "rejected"}), "{\"status\":\"rejected\"}"),
        ] {
            assert_eq!(record(serde_json::json!({"message": value, "time": 1})).message.as_deref(), Some(text));
        }
    }

    #[test]
    fn a_field_that_is_not_the_time_stays() {
        let one = record(serde_json::json!({"date": "2021-04-21", "timestamp": 1_619_018_951_115_i64, "message": "x"}));
        assert_eq!(one.extra.unwrap()["date"], "2021-04-21");
        let none = record(serde_json::json!({"timestamp": "soon", "message": "x"}));
        assert_eq!(none.extra.unwrap()["timestamp"], "soon");
    }
}
