//! Records as entries of Loki: the message is the line, and all other fields are structured metadata.

use std::borrow::Cow;

use runlog_logql::{Category, Entry, LabelSet, Needs};
use runlog_model::{RunId, Severity, read_object};
use runlog_store::query::{RecordView, ScanColumn, ScanRun, SearchHit};

use crate::routes::loki::parameters::MS;
use crate::routes::loki::scope::{TaskNames, level_of};

/// Most fields beyond those of the API that become labels.
const EXTRA_MAX: usize = 64;

/// Everything that a record has.
pub(super) fn all_needs() -> Needs {
    let named = [RECORD_ID.to_owned()].into();
    Needs { line: true, all_labels: true, named }
}

/// The label with the ID of a record, which every record has for itself: it is only read where it is named.
const RECORD_ID: &str = "record_id";

/// The labels of a record beside those of its stream, and where each comes from.
const METADATA: [(&str, Option<ScanColumn>); 9] = [
    ("detected_level", Some(ScanColumn::Severity)),
    ("run_id", None),
    ("task_id", None),
    ("workspace_id", None),
    ("component", Some(ScanColumn::BundleName)),
    ("component_version", Some(ScanColumn::BundleVersion)),
    ("log_type", Some(ScanColumn::LogType)),
    ("host", Some(ScanColumn::PodName)),
    (RECORD_ID, Some(ScanColumn::Arrival)),
];

fn needs_label(needs: &Needs, name: &str) -> bool {
    if name == RECORD_ID { needs.named.contains(name) } else { needs.label(name) }
}

/// True when a label may come from the fields beyond those of the API.
fn needs_extra(needs: &Needs) -> bool {
    let is_known = |name: &String| {
        METADATA.iter().any(|(known, _)| known == name)
            || super::scope::STREAM_LABELS.contains(&name.as_str())
            || name.starts_with("__")
    };
    needs.all_labels || !needs.named.iter().all(is_known)
}

/// The columns that a query reads.
pub(super) fn columns(needs: &Needs) -> Vec<ScanColumn> {
    let metadata = METADATA.iter().filter(|(name, _)| needs_label(needs, name)).filter_map(|(_, column)| *column);
    let mut columns: Vec<ScanColumn> = metadata.collect();
    if needs.label("severity") && !columns.contains(&ScanColumn::Severity) {
        columns.push(ScanColumn::Severity);
    }
    if needs.line {
        columns.push(ScanColumn::Message);
    }
    if needs_extra(needs) {
        columns.push(ScanColumn::Extra);
    }
    columns
}

/// A record as an entry, with the labels that are needed.
pub(super) fn entry_of<'r>(task_names: &'r TaskNames, record: &RecordView<'r>, needs: &Needs) -> Entry<'r> {
    let severity = Severity::of(record.severity);
    let mut labels = LabelSet::default();
    task_names.push_stream(&mut labels, &record.run, severity, |name| needs.label(name));
    for (name, _) in METADATA.iter().filter(|(name, _)| needs_label(needs, name)) {
        let value = match *name {
            "detected_level" => Cow::Borrowed(level_of(severity)),
            "run_id" => Cow::Borrowed(record.run.run_id),
            "task_id" => Cow::Borrowed(record.run.task_id),
            "workspace_id" => Cow::Borrowed(record.run.workspace_id),
            "component" => Cow::Borrowed(record.bundle_name.unwrap_or_default()),
            "component_version" => Cow::Borrowed(record.bundle_version.unwrap_or_default()),
            "log_type" => Cow::Borrowed(record.log_type.unwrap_or_default()),
            "host" => Cow::Borrowed(record.pod_name.unwrap_or_default()),
            _ => Cow::Owned(format!("{}-{}", record.run.run_id, record.arrival)),
        };
        labels.push(*name, value, Category::Metadata);
    }
    if let Some(extra) = record.extra.filter(|_| needs_extra(needs)) {
        push_extra(&mut labels, extra, needs);
    }
    let line = if needs.line { record.message.unwrap_or_default() } else { "" };
    Entry { line: Cow::Borrowed(line), time_ns: record.time_ms.saturating_mul(MS), order: record.arrival, labels }
}

/// Adds the texts, numbers and truth values among the fields beyond those of the API.
fn push_extra(labels: &mut LabelSet<'_>, extra: &str, needs: &Needs) {
    let Ok((fields, _)) = read_object(extra.as_bytes()) else { return };
    for (name, field) in fields.into_iter().take(EXTRA_MAX) {
        if field.value().is_array() || field.value().is_object() {
            continue;
        }
        let Some(value) = field.into_text() else { continue };
        let name = label_name(&name);
        if needs.label(&name) && !labels.has(&name) && !METADATA.iter().any(|(known, _)| *known == name) {
            labels.push(name, value, Category::Metadata);
        }
    }
}

/// A name with which a label can be referred to in a query.
fn label_name(name: &str) -> String {
    let mut plain: String = name.chars().map(|c| if c == '_' || c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if !plain.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic()) {
        plain.insert(0, '_');
    }
    plain
}

/// A record that was found, with the texts of its IDs.
pub(super) struct Found {
    hit: SearchHit,
    run_id: String,
    task_id: String,
    workspace_id: String,
}

impl Found {
    pub(super) fn new(hit: SearchHit) -> Self {
        let (run_id, task_id) = (hit.run_id.to_string(), hit.task_id.to_string());
        Self { run_id, task_id, workspace_id: hit.workspace_id.to_string(), hit }
    }

    pub(super) fn run_id(&self) -> RunId {
        self.hit.run_id
    }

    pub(super) fn view(&self) -> RecordView<'_> {
        let run = ScanRun {
            run_id: &self.run_id,
            task_id: &self.task_id,
            workspace_id: &self.workspace_id,
            status: &self.hit.status,
        };
        RecordView {
            run,
            time_ms: self.hit.time.as_millis(),
            arrival: self.hit.arrival,
            severity: self.hit.severity.as_deref(),
            message: self.hit.message.as_deref(),
            log_type: self.hit.fields.log_type.as_deref(),
            bundle_name: self.hit.fields.bundle_name.as_deref(),
            bundle_version: self.hit.fields.bundle_version.as_deref(),
            pod_name: self.hit.fields.pod_name.as_deref(),
            extra: self.hit.fields.extra.as_deref(),
        }
    }
}
