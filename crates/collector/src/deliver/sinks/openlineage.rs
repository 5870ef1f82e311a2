//! OpenLineage: the events of each run, for Marquez, DataHub, OpenMetadata and other catalogs of data lineage.
//!
//! `START` with the time at which the run began, and then `COMPLETE`, `FAIL` or `ABORT`, each as one request, when the
//! run has ended. The run ID is that of the run, and an event that is sent again is the same, so that receivers store
//! it once. Source: the OpenLineage specification, 2-0-2, and its facets.

use std::collections::BTreeMap;
use std::sync::Arc;

use runlog_model::printable::printable;
use runlog_model::record::Severity;
use runlog_model::wire::components::RunComponents;
use runlog_model::{Run, RunStatus, Timestamp, hex};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use url::Url;

use super::http::Poster;
use super::kind::{SinkContext, SinkKind};
use super::options::Group;
use super::sink::{EndedRun, RunContext, RunSink, SendError, SinkFuture};
use crate::settings::SettingsError;

/// The specification of the events, and of the facets.
const SCHEMA: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json";
const FACETS: &str = "https://openlineage.io/spec/facets";
/// The producer of the events.
const PRODUCER: &str = concat!("https://github.com/runlog/runlog/releases/tag/v", env!("CARGO_PKG_VERSION"));
/// The path of the service below its address.
const PATH: &str = "/api/v1/lineage";
/// The longest error message that is sent. Unit: characters.
const MESSAGE_CHARS_MAX: usize = 10_000;
/// Maximum number of inputs, and of outputs, of a run.
const DATASETS_MAX: usize = 200;

/// The settings of OpenLineage.
#[derive(Debug, Deserialize)]
pub(crate) struct OpenLineageSettings {
    namespace: Option<String>,
    public_url: Option<Url>,
}

impl SinkKind for OpenLineageSettings {
    const NAME: &'static str = "openlineage";
    const GROUPS: &'static [Group] = &[Group::Http, Group::Login];
    // Marquez does not unpack requests.
    const GZIP: bool = false;

    type Sink = OpenLineage;

    fn build(&self, context: &SinkContext<'_>) -> Result<OpenLineage, SettingsError> {
        if self.namespace.as_ref().is_some_and(|namespace| namespace.trim().is_empty()) {
            return Err("namespace is empty".into());
        }
        let mut http = context.http::<Self>("Bearer")?;
        // The address may already be that of the endpoint, as in the settings of other producers.
        let path = if http.url.path().trim_end_matches('/').ends_with("/lineage") { "" } else { PATH };
        if path.is_empty() {
            let trimmed = http.url.path().trim_end_matches('/').to_owned();
            http.url.set_path(&trimmed);
        }
        let poster = Poster::new(http, path, Arc::clone(&context.clock))?;
        Ok(OpenLineage { poster, namespace: self.namespace.clone(), public_url: self.public_url.clone() })
    }
}

/// A service that receives OpenLineage events.
pub(crate) struct OpenLineage {
    poster: Poster,
    /// The namespace of all jobs; without it, that of a job is its workspace.
    namespace: Option<String>,
    public_url: Option<Url>,
}

impl RunSink for OpenLineage {
    fn kind(&self) -> &'static str {
        OpenLineageSettings::NAME
    }

    fn location(&self) -> String {
        self.poster.location()
    }

    fn takes_components(&self) -> bool {
        true
    }

    /// Sends a body that is not an event: a service that refuses it as invalid is available.
    fn check(&self) -> SinkFuture<'_, ()> {
        Box::pin(async {
            let answer = self.poster.post("application/json", b"{}".to_vec(), &[]).await?;
            match answer.status.as_u16() {
                200..=299 | 400 | 422 => Ok(()),
                _ => Err(answer.failure()),
            }
        })
    }

    fn send<'a>(&'a self, ended: &'a EndedRun<'a>) -> SinkFuture<'a, ()> {
        Box::pin(async {
            for event in self.events(ended) {
                self.post(&event).await?;
            }
            Ok(())
        })
    }
}

impl OpenLineage {
    async fn post(&self, event: &Value) -> Result<(), SendError> {
        let answer = self.poster.post("application/json", event.to_string().into_bytes(), &[]).await?;
        match answer.status.as_u16() {
            200..=299 if answer.is_web_page() => {
                Err(SendError::Denied(format!("this is not a service for OpenLineage: {}", answer.said())))
            }
            200..=299 => Ok(()),
            _ => Err(answer.failure()),
        }
    }

    /// The events of a run, in order. A run that never began has no `START`.
    fn events(&self, ended: &EndedRun<'_>) -> Vec<Value> {
        let run = &ended.run.run;
        let started = run.started_at.map(|at| self.event("START", at, ended));
        let (kind, at) = (kind_of(run.status.coarse()), ended.run.ended_at());
        let mut last = self.event(kind, run.started_at.map_or(at, |started| at.max(started)), ended);
        if kind == "FAIL" || run.error_message.is_some() {
            last["run"]["facets"]["errorMessage"] = self.error(run);
        }
        if let Some(components) = ended.components {
            let namespace = self.namespace(ended.run);
            let (inputs, outputs) = datasets(components);
            last["inputs"] = inputs.into_iter().map(|it| it.input(namespace, &ended.run.task)).collect();
            last["outputs"] = outputs.into_iter().map(|it| it.output(namespace, &ended.run.task)).collect();
        }
        started.into_iter().chain([last]).collect()
    }

    fn event(&self, kind: &str, at: Timestamp, ended: &EndedRun<'_>) -> Value {
        let (context, run) = (ended.run, &ended.run.run);
        let mut facets = json!({
            "nominalTime": facet("1-0-1/NominalTimeRunFacet", json!({ "nominalStartTime": run.triggered_at })),
            "processing_engine": facet("1-1-1/ProcessingEngineRunFacet", json!({
                "version": run.artifact.version.as_deref().unwrap_or(&run.task_version),
                "name": "Talend",
                "openlineageAdapterVersion": env!("CARGO_PKG_VERSION"),
            })),
            "runlog": self.own_facet(run),
        });
        if let Some(parent) = self.parent(context) {
            facets["parent"] = parent;
        }
        let mut job_facets = json!({
            "jobType": facet("2-0-4/JobTypeJobFacet", json!({
                "processingType": "BATCH", "integration": "TALEND", "jobType": "JOB",
            })),
        });
        if let Some(page) = self.page(&format!("tasks/{}", run.task_id)) {
            let description =
                format!("Task {} of workspace {}; runs and logs: {page}", context.task, context.workspace);
            job_facets["documentation"] = facet("1-1-0/DocumentationJobFacet", json!({ "description": description }));
        }
        json!({
            "eventType": kind,
            "eventTime": at,
            "producer": PRODUCER,
            "schemaURL": format!("{SCHEMA}#/$defs/RunEvent"),
            "run": { "runId": run.id, "facets": facets },
            "job": { "namespace": self.namespace(context), "name": context.task, "facets": job_facets },
            "inputs": [],
            "outputs": [],
        })
    }

    fn namespace<'a>(&'a self, context: &'a RunContext) -> &'a str {
        self.namespace.as_deref().unwrap_or(&context.workspace)
    }

    /// The page of the log of a run, and what else is known of the run.
    fn own_facet(&self, run: &Run) -> Value {
        let severities: Map<String, Value> = Severity::ALL
            .into_iter()
            .map(|severity| (severity.name().to_lowercase(), run.severities.of(severity).into()))
            .collect();
        let mut own = json!({
            "_producer": PRODUCER,
            "_schemaURL": format!("{SCHEMA}#/$defs/RunFacet"),
            "status": run.status.coarse(),
            "executionType": run.execution_type,
            "taskId": run.task_id,
            "workspaceId": run.workspace_id,
            "logRecords": run.records,
            "logSeverities": severities,
        });
        let more = [("processedRows", run.processed_rows), ("rejectedRows", run.rejected_rows)];
        for (name, rows) in more {
            if let Some(rows) = rows {
                own[name] = rows.into();
            }
        }
        if let Some(page) = self.page(&format!("runs/{}", run.id)) {
            own["log"] = page.into();
        }
        own
    }

    fn error(&self, run: &Run) -> Value {
        let said = run.error_message.as_deref().unwrap_or_default();
        let said: String = printable(said).chars().take(MESSAGE_CHARS_MAX).collect();
        let kind = run.error_type.as_deref().map(|kind| format!("{kind}: ")).unwrap_or_default();
        let text = if said.is_empty() { run.status.coarse().to_string() } else { said };
        let log = self.page(&format!("runs/{}", run.id)).map(|page| format!("\nLog: {page}")).unwrap_or_default();
        facet(
            "1-0-1/ErrorMessageRunFacet",
            json!({ "message": format!("{kind}{text}{log}"), "programmingLanguage": "Java" }),
        )
    }

    /// Returns the plan execution that the run is part of; none if it is not known.
    fn parent(&self, context: &RunContext) -> Option<Value> {
        let plan = &context.run.plan;
        let id = uuid_of(plan.execution_id.as_deref()?);
        let name = plan.name.as_ref().or(plan.id.as_ref())?;
        let job = json!({ "namespace": self.namespace(context), "name": name });
        Some(facet("1-2-0/ParentRunFacet", json!({ "run": { "runId": id }, "job": job })))
    }

    fn page(&self, path: &str) -> Option<String> {
        self.public_url.as_ref().map(|url| format!("{}/{path}", url.as_str().trim_end_matches('/')))
    }
}

/// A facet of the specification: `schema` is its version and its name.
fn facet(schema: &str, mut content: Value) -> Value {
    let name = schema.split_once('/').map_or(schema, |(_, name)| name);
    content["_producer"] = PRODUCER.into();
    content["_schemaURL"] = format!("{FACETS}/{schema}.json#/$defs/{name}").into();
    content
}

/// The type of the last event of a run.
fn kind_of(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Successful | RunStatus::Rejected => "COMPLETE",
        RunStatus::Terminated | RunStatus::TerminatedTimeout | RunStatus::TerminatedShutdown => "ABORT",
        RunStatus::Failed | RunStatus::DeployFailed => "FAIL",
        // Only ended runs are delivered.
        RunStatus::Dispatching | RunStatus::Executing => "RUNNING",
    }
}

/// The UUID of a plan execution: its ID, or if that is none, one that is derived from it (version 8).
fn uuid_of(id: &str) -> String {
    if let Ok(id) = id.parse::<runlog_model::RunId>() {
        return id.to_string();
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(format!("plan execution {id}"))[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex::encode(bytes);
    let [a, b, c, d, e] = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &digits[part]);
    format!("{a}-{b}-{c}-{d}-{e}")
}

/// A component that reads or writes, with the rows that it passed on or received.
#[derive(Debug, Clone, PartialEq)]
struct Dataset {
    id: String,
    label: String,
    kind: String,
    rows: Option<u64>,
}

impl Dataset {
    fn name(&self, task: &str) -> String {
        format!("{task}.{}", self.id)
    }

    fn base(&self, namespace: &str, task: &str) -> Value {
        let text = if self.label.is_empty() || self.label == self.id {
            format!("Component {} ({})", self.id, self.kind)
        } else {
            format!("Component {} ({}): {}", self.id, self.kind, self.label)
        };
        let facets =
            json!({ "documentation": facet("1-1-0/DocumentationDatasetFacet", json!({ "description": text })) });
        json!({ "namespace": namespace, "name": self.name(task), "facets": facets })
    }

    fn input(self, namespace: &str, task: &str) -> Value {
        let mut dataset = self.base(namespace, task);
        if let Some(rows) = self.rows {
            let statistics = facet("1-0-0/InputStatisticsInputDatasetFacet", json!({ "rowCount": rows }));
            dataset["inputFacets"] = json!({ "inputStatistics": statistics });
        }
        dataset
    }

    fn output(self, namespace: &str, task: &str) -> Value {
        let mut dataset = self.base(namespace, task);
        if let Some(rows) = self.rows {
            let statistics = facet("1-0-2/OutputStatisticsOutputDatasetFacet", json!({ "rowCount": rows }));
            dataset["outputFacets"] = json!({ "outputStatistics": statistics });
        }
        dataset
    }
}

/// The components that pass rows on and receive none, and those that receive rows and pass none on.
fn datasets(components: &RunComponents) -> (Vec<Dataset>, Vec<Dataset>) {
    let (mut out, mut received) = (BTreeMap::<String, Dataset>::new(), BTreeMap::<String, Dataset>::new());
    let add = |to: &mut BTreeMap<String, Dataset>, id: &str, label: &str, kind: &str, rows: Option<u64>| {
        let new = || Dataset { id: id.to_owned(), label: label.to_owned(), kind: kind.to_owned(), rows: None };
        let dataset = to.entry(id.to_owned()).or_insert_with(new);
        dataset.rows = match (dataset.rows, rows) {
            (Some(before), Some(rows)) => Some(before.saturating_add(rows)),
            (before, rows) => before.or(rows),
        };
    };
    for metric in &components.items {
        let Some(target) = metric.target_id.as_deref().filter(|id| !id.is_empty()) else { continue };
        let rows = metric.component_connection_rows_total.as_ref().and_then(whole);
        add(&mut out, &metric.connector_id, &metric.connector_label, &metric.connector_type, rows);
        let (label, kind) = (metric.target_label.as_deref(), metric.target_connector_type.as_deref());
        add(&mut received, target, label.unwrap_or_default(), kind.unwrap_or_default(), rows);
    }
    let only = |these: &BTreeMap<String, Dataset>, others: &BTreeMap<String, Dataset>| {
        let only = these.iter().filter(|(id, _)| !id.is_empty() && !others.contains_key(*id));
        only.map(|(_, dataset)| dataset.clone()).take(DATASETS_MAX).collect::<Vec<_>>()
    };
    (only(&out, &received), only(&received, &out))
}

fn whole(number: &serde_json::Number) -> Option<u64> {
    number.as_u64().or_else(|| number.as_f64().filter(|it| *it >= 0.0 && *it < 9e15).map(|it| it.round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_execution_has_a_uuid_that_is_always_the_same() {
        let id = "6c0e5a34-7a5c-4b0f-8a43-0f4a1d8c7e11";
        assert_eq!(uuid_of(id), id);
        let made = uuid_of("execution 7");
        assert_eq!((made.len(), made.as_bytes()[14], &made), (36, b'8', &uuid_of("execution 7")));
        assert_ne!(made, uuid_of("execution 8"));
    }

    #[test]
    fn components_that_only_pass_rows_on_are_inputs_and_those_that_only_receive_them_outputs() {
        let metric = |from: &str, to: &str, rows: u64| {
            json!({ "connector_type": "t", "connector_label": from, "connector_id": from, "target_id": to,
                    "target_label": to, "target_connector_type": "t", "component_connection_rows_total": rows })
        };
        let items = json!([metric("in", "map", 10), metric("map", "out", 8), metric("map", "rejects", 2)]);
        let items = serde_json::from_value(items).unwrap();
        let components = RunComponents { items, ..RunComponents::default() };
        let (inputs, outputs) = datasets(&components);
        let shown = |sets: &[Dataset]| sets.iter().map(|set| (set.id.clone(), set.rows)).collect::<Vec<_>>();
        assert_eq!(shown(&inputs), [("in".to_owned(), Some(10))]);
        assert_eq!(shown(&outputs), [("out".to_owned(), Some(8)), ("rejects".to_owned(), Some(2))]);
    }
}
