//! Events of runs, taken by a stand-in for Marquez that refuses what the specification of OpenLineage does not allow.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use runlog_collector::Destination;
use runlog_model::run::PlanPart;
use runlog_model::wire::components::{MeasuredRun, RunComponents};
use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_model::{RunStatus, Timestamp};
use serde_json::{Value, json};

use crate::stage::{Stage, sink};

#[derive(Clone, Default)]
struct Marquez {
    took: Arc<Mutex<Vec<Value>>>,
    /// What it answers instead, once for each.
    says: Arc<Mutex<Vec<u16>>>,
}

impl Marquez {
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(take).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn took(&self) -> Vec<Value> {
        self.took.lock().unwrap().clone()
    }
}

async fn take(State(marquez): State<Marquez>, uri: Uri, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    if uri.path() != "/api/v1/lineage" {
        return (StatusCode::NOT_FOUND, "there is nothing here".to_owned());
    }
    if headers.get("authorization").is_none_or(|value| value != "Bearer a-secret") {
        return (StatusCode::UNAUTHORIZED, "no".to_owned());
    }
    if let Some(status) = marquez.says.lock().unwrap().pop() {
        return (StatusCode::from_u16(status).unwrap(), "not now".to_owned());
    }
    let Ok(event) = serde_json::from_slice::<Value>(&body) else { return (StatusCode::BAD_REQUEST, "JSON".to_owned()) };
    match wrong(&event) {
        Some(what) => (StatusCode::UNPROCESSABLE_ENTITY, what),
        None => {
            marquez.took.lock().unwrap().push(event);
            (StatusCode::CREATED, String::new())
        }
    }
}

/// What the specification does not allow in an event.
fn wrong(event: &Value) -> Option<String> {
    let is_text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let is_uri = |value: &Value| value.as_str().is_some_and(|text| text.parse::<url::Url>().is_ok());
    let is_time = |value: &Value| value.as_str().is_some_and(|text| text.parse::<Timestamp>().is_ok());
    let types = ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"];
    let run_id = event["run"]["runId"].as_str().unwrap_or_default();
    let checks = [
        ("eventType", types.contains(&event["eventType"].as_str().unwrap_or_default())),
        ("eventTime", is_time(&event["eventTime"])),
        ("producer", is_uri(&event["producer"])),
        ("schemaURL", is_uri(&event["schemaURL"])),
        ("runId", run_id.len() == 36 && run_id.parse::<runlog_model::RunId>().is_ok()),
        ("job", is_text(&event["job"]["namespace"]) && is_text(&event["job"]["name"])),
    ];
    let datasets = || event["inputs"].as_array().into_iter().chain(event["outputs"].as_array()).flatten();
    let has_names = datasets().all(|dataset| is_text(&dataset["namespace"]) && is_text(&dataset["name"]));
    let of_datasets = datasets().flat_map(|it| [&it["facets"], &it["inputFacets"], &it["outputFacets"]]);
    let facets = [&event["run"]["facets"], &event["job"]["facets"]].into_iter().chain(of_datasets);
    let mut facets = facets.filter_map(Value::as_object).flatten();
    let broken = facets.find(|(name, facet)| {
        let needed: &[&str] = match name.as_str() {
            "errorMessage" => &["message", "programmingLanguage"],
            "nominalTime" => &["nominalStartTime"],
            "processing_engine" => &["version"],
            "documentation" => &["description"],
            "jobType" => &["processingType", "integration"],
            _ => &[],
        };
        let is_whole = needed.iter().all(|field| is_text(&facet[*field]));
        !is_uri(&facet["_producer"]) || !is_uri(&facet["_schemaURL"]) || !is_whole
    });
    let wrong = checks.iter().find(|(_, holds)| !holds).map(|(name, _)| (*name).to_owned());
    wrong.or_else(|| (!has_names).then(|| "a dataset".to_owned())).or(broken.map(|(name, _)| name.clone()))
}

async fn service(stage: &Stage) -> (Marquez, Destination) {
    let marquez = Marquez::default();
    let url = marquez.start().await;
    let settings = json!({ "url": url, "token": { "env": "SECRET" }, "public_url": "https://runlog.example.com/" });
    let destination = sink("openlineage", settings, stage.clock.clone()).unwrap().destination;
    (marquez, destination)
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["eventType"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_run_has_a_start_and_an_end_by_its_status_in_order() {
    let stage = Stage::new().await;
    let (marquez, to) = service(&stage).await;
    to.check().await.unwrap();
    let deliverer = stage.deliverer(to);
    let mut ends = Vec::new();
    for (status, end) in [
        (RunStatus::Successful, "COMPLETE"),
        (RunStatus::Rejected, "COMPLETE"),
        (RunStatus::Failed, "FAIL"),
        (RunStatus::Terminated, "ABORT"),
        (RunStatus::TerminatedTimeout, "ABORT"),
    ] {
        let error = Some("ORA-01017: invalid password=hunter2 \u{1b}[2J".to_owned()).filter(|_| end == "FAIL");
        let finish = FinishRun { error_message: error, ..FinishRun::with_status(status) };
        ends.push((stage.ended_run(stage.task, finish).await, end));
    }
    stage.deliver_all(&deliverer).await;
    let events = marquez.took();
    assert_eq!(events.len(), 10);
    for (run, end) in ends {
        let of_run: Vec<Value> = events.iter().filter(|it| it["run"]["runId"] == run.to_string()).cloned().collect();
        assert_eq!(types(&of_run), ["START", end]);
        assert!(of_run[0]["eventTime"].as_str() <= of_run[1]["eventTime"].as_str(), "{of_run:?}");
        assert_eq!(of_run[1]["job"]["namespace"], "team");
        assert_eq!((&of_run[1]["job"]["name"], &of_run[0]["job"]), (&json!("nightly"), &of_run[1]["job"]));
        let error = &of_run[1]["run"]["facets"]["errorMessage"]["message"];
        assert_eq!(error.is_string(), end == "FAIL");
        if end == "FAIL" {
            let error = error.as_str().unwrap();
            assert!(error.starts_with("ORA-01017: invalid") && !error.contains('\u{1b}'), "{error}");
            assert!(error.ends_with(&format!("\nLog: https://runlog.example.com/runs/{run}")), "{error}");
        }
        assert_eq!(of_run[1]["run"]["facets"]["runlog"]["log"], format!("https://runlog.example.com/runs/{run}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_again_after_an_outage_is_the_same_and_nothing_is_lost() {
    let stage = Stage::new().await;
    let (marquez, to) = service(&stage).await;
    let deliverer = stage.deliverer(to);
    let run = stage.good_run().await;
    // The first event of the run is taken, and the second one is not.
    *marquez.says.lock().unwrap() = Vec::new();
    let taken = marquez.took.clone();
    let says = marquez.says.clone();
    let outage = tokio::spawn(async move {
        while taken.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        *says.lock().unwrap() = vec![503, 503];
    });
    stage.deliver_all(&deliverer).await;
    outage.await.unwrap();
    let other = stage.good_run().await;
    stage.deliver_all(&deliverer).await;
    let events = marquez.took();
    let of = |run: runlog_model::RunId| {
        let mut all: Vec<String> =
            events.iter().filter(|it| it["run"]["runId"] == run.to_string()).map(Value::to_string).collect();
        all.sort();
        all.dedup();
        all.len()
    };
    assert_eq!((of(run), of(other)), (2, 2), "an event that is sent again is the same: {events:?}");
    assert_eq!(events.last().unwrap()["eventType"], "COMPLETE");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_components_are_statistics_of_inputs_and_outputs_and_plans_are_parents() {
    let stage = Stage::new().await;
    let (marquez, to) = service(&stage).await;
    let deliverer = stage.deliverer(to);
    let plan = PlanPart {
        name: Some("nightly plan".to_owned()),
        execution_id: Some("6c0e5a34-7a5c-4b0f-8a43-0f4a1d8c7e11".to_owned()),
        ..PlanPart::default()
    };
    let run = stage.dispatched_run(&StartRun { plan, ..StartRun::of_task(stage.task) }).await;
    let metric = |from: &str, to: &str, rows: u64| {
        json!({ "connector_type": "tDBInput", "connector_label": from, "connector_id": from, "target_id": to,
                "target_label": to, "target_connector_type": "tDBOutput", "component_start_time_seconds": 1, "component_connection_rows_total": rows })
    };
    let items: Vec<_> = [metric("in_1", "map_1", 10), metric("map_1", "out_1", 8)]
        .into_iter()
        .map(|it| serde_json::from_value(it).unwrap())
        .collect();
    let components = RunComponents { run: MeasuredRun::default(), processes: Vec::new(), total: 2, items };
    stage.store.components().replace(run, &components).await.unwrap();
    stage.store.runs().finish(run, &FinishRun::with_status(RunStatus::Successful)).await.unwrap();
    stage.pass(31_000);
    stage.deliver_all(&deliverer).await;
    let events = marquez.took();
    assert_eq!(types(&events), ["START", "COMPLETE"]);
    let parent = &events[0]["run"]["facets"]["parent"];
    assert_eq!(parent["run"]["runId"], "6c0e5a34-7a5c-4b0f-8a43-0f4a1d8c7e11");
    assert_eq!(parent["job"], json!({ "namespace": "team", "name": "nightly plan" }));
    let last = &events[1];
    assert_eq!(
        (&last["inputs"][0]["name"], &last["outputs"][0]["name"]),
        (&json!("nightly.in_1"), &json!("nightly.out_1"))
    );
    assert_eq!(last["inputs"][0]["inputFacets"]["inputStatistics"]["rowCount"], 10);
    assert_eq!(last["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"], 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_or_a_wrong_service_is_reported() {
    let stage = Stage::new().await;
    let (_, to) = service(&stage).await;
    let url = to.location();
    assert!(url.ends_with("/api/v1/lineage"), "{url}");
    let settings = json!({ "url": url });
    let open = sink("openlineage", settings, stage.clock.clone()).unwrap().destination;
    assert_eq!(open.location(), url, "the address of the endpoint is taken as it is");
    let said = open.check().await.unwrap_err().to_string();
    assert!(said.contains("401"), "{said}");
    assert!(sink("openlineage", json!({}), stage.clock.clone()).is_err());
}
