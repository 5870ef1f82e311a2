//! Every operation of the vendor's OpenAPI files that Runlog offers, with its responses checked against their schemas.
//!
//! The files belong to the vendor and are not part of Runlog: the tests read them from the folder in
//! `RUNLOG_VENDOR_OPENAPI`, or from `../shared/contract/openapi` beside the project. They are ignored, so that no run
//! without the files looks as if it had compared them: `.ci/run` runs them where the files are, and says where they are not.

use std::path::PathBuf;

use axum::http::Method;
use serde_json::{Value, json};

use crate::plans::{PLAN, PLAN_EXECUTION, report_failure};
use crate::support::{Answer, Ask, RUN, Stage, lines};

const UNKNOWN_RUN: &str = "6c0e5a34-0000-4000-8000-0000000000ff";

/// The vendor's files.
struct Vendor(PathBuf);

impl Vendor {
    /// Fails when there are no files.
    #[allow(clippy::disallowed_methods, reason = "only the caller knows where the vendor's files are")]
    fn find() -> Self {
        let named = std::env::var("RUNLOG_VENDOR_OPENAPI").ok().map(PathBuf::from);
        let beside = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/contract/openapi"));
        let folder = named.unwrap_or(beside);
        assert!(
            folder.is_dir(),
            "no vendor's OpenAPI files in {}: RUNLOG_VENDOR_OPENAPI names their folder",
            folder.display()
        );
        Self(folder)
    }

    /// The example of a schema.
    fn example(&self, file: &str, schema: &str) -> Value {
        let text = std::fs::read_to_string(self.0.join(format!("{file}.json"))).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        let example = &document["components"]["schemas"][schema]["example"];
        example.as_str().map_or_else(|| example.clone(), |text| serde_json::from_str(text).unwrap())
    }

    /// Fails unless the file declares this status for the operation, and the body matches its schema.
    #[track_caller]
    fn check(&self, file: &str, operation: (&str, &str), expected: u16, answer: &Answer) {
        let (method, path) = operation;
        assert_eq!(answer.status.as_u16(), expected, "{method} {path}: {}", answer.text());
        let text = std::fs::read_to_string(self.0.join(format!("{file}.json"))).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        let responses = &document["paths"][path][method]["responses"];
        assert!(responses.is_object(), "{file} has no {method} {path}");
        let declared = &responses[expected.to_string()];
        assert!(declared.is_object(), "{file}: {method} {path} does not declare {expected}");
        let content = declared["content"].as_object().and_then(|content| content.values().next());
        let Some(schema) = content.map(|content| content["schema"].clone()) else { return };
        // References of the schema point into the document that encloses it.
        let mut schema = schema;
        schema["components"] = document["components"].clone();
        plain_words(&mut schema);
        let validator = jsonschema::options().with_draft(jsonschema::Draft::Draft4).build(&schema).unwrap();
        let body = answer.json();
        let errors: Vec<String> = validator.iter_errors(&body).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{method} {path} {expected}: {errors:?} in {body}");
    }
}

/// The history file contains explanations in its lists of words, as in `PLAN ( … )`, and `UUID` as a pattern: taken
/// literally, no response of any service would conform.
fn plain_words(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.retain(|name, value| name != "pattern" || value != "UUID");
            if let Some(Value::Array(words)) = fields.get_mut("enum") {
                for word in words {
                    let plain = word.as_str().and_then(|word| Some(word.split_once(" (")?.0.to_owned()));
                    *word = plain.map_or(word.take(), Value::from);
                }
            }
            fields.values_mut().for_each(plain_words);
        }
        Value::Array(items) => items.iter_mut().for_each(plain_words),
        _ => {}
    }
}

/// A stage whose run needs two pages.
async fn stage() -> Stage {
    let stage =
        Stage::with(|settings| settings.page_records_max = 10, |settings| settings.expires_in_as_string = true).await;
    stage.push(&lines((0..20).map(|number| 1_630_479_705_000 + number * 1_000))).await;
    stage
}

#[tokio::test]
#[ignore = "needs the vendor's OpenAPI files"]
async fn execution_logs() {
    let vendor = Vendor::find();
    let stage = stage().await;
    let nobody = stage.user("nobody", &[]).await;
    let (file, path) = ("execution-logs", "/monitoring/executions/{id}/logs");
    let logs = format!("/monitoring/executions/{RUN}/logs");
    let status = format!("{logs}/status");
    for method in [Method::GET, Method::POST, Method::DELETE] {
        let name = method.as_str().to_lowercase();
        let check = |expected, answer: &Answer| vendor.check(file, (&name, path), expected, answer);
        check(400, &stage.ask(method.clone(), "/monitoring/executions/x/logs", "").await);
        check(401, &stage.send(method.clone(), &logs, Ask::with(&[])).await);
        check(403, &stage.send(method.clone(), &logs, Ask::with(&[]).by(&nobody)).await);
        check(404, &stage.ask(method.clone(), &logs.replace(RUN, UNKNOWN_RUN), "").await);
    }
    vendor.check(file, ("get", path), 200, &stage.get(&logs).await);
    let partial = stage.post(&logs, "").await;
    vendor.check(file, ("post", path), 206, &partial);
    vendor.check(file, ("post", path), 200, &stage.post(&format!("{logs}?endTime=2021-09-01T07:01:46Z"), "").await);
    let status_path = "/monitoring/executions/{id}/logs/status";
    let token = partial.json()["token"].to_string();
    let check = |expected, answer: &Answer| vendor.check(file, ("post", status_path), expected, answer);
    check(200, &stage.post(&status, token.clone()).await);
    while stage.store.pages().build_next_page().await.unwrap() {}
    check(200, &stage.post(&status, token).await);
    check(400, &stage.post(&status, "").await);
    check(401, &stage.send(Method::POST, &status, Ask::with(&[]).body("t")).await);
    check(403, &stage.send(Method::POST, &status, Ask::with(&[]).by(&nobody).body("t")).await);
    check(404, &stage.post(&status, UNKNOWN_RUN).await);
    vendor.check(file, ("delete", path), 200, &stage.ask(Method::DELETE, &logs, "").await);
    vendor.check(file, ("delete", path), 200, &stage.ask(Method::DELETE, &logs, "").await);
}

#[tokio::test]
#[ignore = "needs the vendor's OpenAPI files"]
async fn processing() {
    let vendor = Vendor::find();
    let stage = stage().await;
    let nobody = stage.user("nobody", &[]).await;
    let check = |method, path, expected, answer: &Answer| vendor.check("processing", (method, path), expected, answer);

    let of_task = "/processing/executables/tasks/{taskId}/executions";
    let path = format!("/processing/executables/tasks/{}/executions", stage.task);
    check("get", of_task, 200, &stage.get(&path).await);
    check("get", of_task, 400, &stage.get(&format!("{path}?limit=0")).await);
    check("get", of_task, 401, &stage.send(Method::GET, &path, Ask::with(&[])).await);
    check("get", of_task, 403, &stage.send(Method::GET, &path, Ask::with(&[]).by(&nobody)).await);
    check("get", of_task, 404, &stage.get(&path.replace(&stage.task.to_string(), "57f64991e4b0b689a64feed2")).await);

    let all = "/processing/executables/tasks/executions";
    check("get", all, 200, &stage.get(all).await);
    check("get", all, 400, &stage.get(&format!("{all}?lastDays=0")).await);
    check("get", all, 401, &stage.send(Method::GET, all, Ask::with(&[])).await);
    check("post", all, 200, &stage.post(all, r#"{"tags":[],"lastDays":10}"#).await);
    check("post", all, 400, &stage.post(all, "[]").await);
    check("post", all, 401, &stage.send(Method::POST, all, Ask::with(&[])).await);

    let one = "/processing/executions/{executionId}";
    let path = format!("/processing/executions/{RUN}");
    check("get", one, 200, &stage.get(&path).await);
    let finish = r#"{"status":"execution_failed","errorMessage":"no such table","numberOfProcessedRows":7}"#;
    stage.post(&format!("/runlog/v1/runs/{RUN}/finish"), finish).await;
    check("get", one, 200, &stage.get(&path).await);
    check("get", one, 400, &stage.get("/processing/executions/x").await);
    check("get", one, 401, &stage.send(Method::GET, &path, Ask::with(&[])).await);
    check("get", one, 403, &stage.send(Method::GET, &path, Ask::with(&[]).by(&nobody)).await);
    check("get", one, 404, &stage.get(&path.replace(RUN, UNKNOWN_RUN)).await);
    let part = json!({"taskId": stage.task.to_string(), "planId": "p", "planExecutionId": "e", "planStepId": "s"});
    let run = "6c0e5a34-0000-4000-8000-000000000002";
    stage.ask(Method::PUT, &format!("/runlog/v1/runs/{run}"), part.to_string()).await;
    stage.post(&format!("/runlog/v1/runs/{run}/finish"), r#"{"status":"execution_successful"}"#).await;
    let (all, of_plan) =
        ("/processing/executables/plans/executions", "/processing/executables/plans/{planId}/executions");
    check("get", all, 200, &stage.get(all).await);
    check("get", all, 400, &stage.get(&format!("{all}?status=x")).await);
    check("get", of_plan, 200, &stage.get("/processing/executables/plans/p/executions").await);
    let one = "/processing/executions/plans/{planExecutionId}";
    let steps = format!("{one}/steps");
    let step = format!("{steps}/{{stepExecutionId}}");
    check("get", one, 200, &stage.get("/processing/executions/plans/e").await);
    check(
        "get",
        one,
        403,
        &stage.send(Method::GET, "/processing/executions/plans/e", Ask::with(&[]).by(&nobody)).await,
    );
    check("get", one, 404, &stage.get("/processing/executions/plans/x").await);
    check("get", &steps, 200, &stage.get("/processing/executions/plans/e/steps").await);
    check("get", &step, 200, &stage.get("/processing/executions/plans/e/steps/s").await);
    check("get", &step, 404, &stage.get("/processing/executions/plans/e/steps/x").await);
    // And one that an upstream describes.
    report_failure(&stage).await;
    let reported = format!("/processing/executions/plans/{PLAN_EXECUTION}");
    check("get", all, 200, &stage.get(all).await);
    check("get", one, 200, &stage.get(&reported).await);
    let by = |path: String| {
        let (stage, nobody) = (&stage, nobody.clone());
        async move { stage.send(Method::GET, &path, Ask::with(&[]).by(&nobody)).await }
    };
    check("get", one, 403, &by(reported.clone()).await);
    check("get", &steps, 200, &stage.get(&format!("{reported}/steps")).await);
    check("get", &step, 200, &stage.get(&format!("{reported}/steps/load-execution")).await);
    let handler = format!("{step}/error-handler");
    let of_load = format!("{reported}/steps/load-execution/error-handler");
    check("get", &handler, 200, &stage.get(&of_load).await);
    check("get", &handler, 401, &stage.send(Method::GET, &of_load, Ask::with(&[])).await);
    check("get", &handler, 403, &by(of_load.clone()).await);
    check("get", &handler, 404, &stage.get(&format!("{reported}/steps/send-execution/error-handler")).await);
    check("post", "/processing/executions", 501, &stage.post("/processing/executions", r#"{"executable":"x"}"#).await);
}

#[tokio::test]
#[ignore = "needs the vendor's OpenAPI files"]
async fn orchestration() {
    let vendor = Vendor::find();
    let stage = stage().await;
    let check =
        |method, path, expected, answer: &Answer| vendor.check("orchestration", (method, path), expected, answer);
    for path in [
        "/orchestration/environments",
        "/orchestration/workspaces",
        "/orchestration/executables/tasks",
        "/orchestration/executables/plans",
    ] {
        check("get", path, 200, &stage.get(path).await);
        check("get", path, 401, &stage.send(Method::GET, path, Ask::with(&[])).await);
    }
    report_failure(&stage).await;
    check("get", "/orchestration/executables/plans", 200, &stage.get("/orchestration/executables/plans").await);
    let plan = "/orchestration/executables/plans/{planId}";
    check("get", plan, 200, &stage.get(&format!("/orchestration/executables/plans/{PLAN}")).await);
    check("get", plan, 404, &stage.get("/orchestration/executables/plans/x").await);
    check("get", "/orchestration/workspaces", 400, &stage.get("/orchestration/workspaces?query=x").await);
    check("get", "/orchestration/executables/tasks", 400, &stage.get("/orchestration/executables/tasks?limit=x").await);
    let search = "/orchestration/executables/tasks/search";
    check("post", search, 200, &stage.post(search, r#"{"name":"night"}"#).await);
    check("post", search, 400, &stage.post(search, "{").await);
    let one = "/orchestration/executables/tasks/{taskId}";
    check("get", one, 200, &stage.get(&format!("/orchestration/executables/tasks/{}", stage.task)).await);
    check("get", one, 404, &stage.get("/orchestration/executables/tasks/57f64991e4b0b689a64feed2").await);
}

#[tokio::test]
#[ignore = "needs the vendor's OpenAPI files"]
async fn accounts_tokens_and_permissions() {
    let vendor = Vendor::find();
    let stage = stage().await;
    let nobody = stage.user("nobody", &[]).await;
    let (file, all, one) = ("service-accounts", "/account/service-accounts", "/account/service-accounts/{id}");
    let body = json!({"name": "monitor", "permissions": ["TMC_OPERATOR"]}).to_string();
    let made = stage.post(all, body.clone()).await;
    vendor.check(file, ("post", all), 201, &made);
    vendor.check(file, ("post", all), 409, &stage.post(all, body.clone()).await);
    vendor.check(file, ("post", all), 400, &stage.post(all, "{}").await);
    vendor.check(file, ("post", all), 401, &stage.send(Method::POST, all, Ask::with(&[])).await);
    vendor.check(file, ("post", all), 403, &stage.send(Method::POST, all, Ask::with(&[]).by(&nobody).body(body)).await);
    vendor.check(file, ("get", all), 200, &stage.get(all).await);
    for part in ["/account/service-accounts/count", "/account/service-accounts/permissions"] {
        vendor.check(file, ("get", part), 200, &stage.get(part).await);
        vendor.check(file, ("get", part), 401, &stage.send(Method::GET, part, Ask::with(&[])).await);
    }
    let (id, secret) =
        (made.json()["id"].as_str().unwrap().to_owned(), made.json()["secret"].as_str().unwrap().to_owned());
    let path = format!("{all}/{id}");
    vendor.check(file, ("get", one), 200, &stage.get(&path).await);
    vendor.check(file, ("get", one), 404, &stage.get(&format!("{all}/nobody")).await);
    vendor.check(
        file,
        ("put", one),
        200,
        &stage.ask(Method::PUT, &path, r#"{"name":"watcher","permissions":[]}"#).await,
    );
    vendor.check(file, ("put", one), 404, &stage.ask(Method::PUT, &format!("{all}/x"), r#"{"name":"w"}"#).await);

    let oauth = "/security/oauth/token";
    let basic = format!(
        "Basic {}",
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("{id}:{secret}"))
    );
    let body = r#"{"grant_type":"client_credentials","audience":"https://api.eu.cloud.talend.com"}"#;
    let token = stage.send(Method::POST, oauth, Ask::with(&[("authorization", &basic)]).body(body)).await;
    vendor.check("oauth", ("post", oauth), 200, &token);

    let file = "workspace-permissions";
    let of_account = "/security/workspaces/{workspaceId}/service-accounts/{serviceAccountId}/permissions";
    let path = format!("/security/workspaces/{}/service-accounts/{id}/permissions", stage.workspace);
    vendor.check(file, ("post", of_account), 201, &stage.post(&path, r#"["VIEW"]"#).await);
    vendor.check(file, ("post", of_account), 409, &stage.post(&path, r#"["VIEW"]"#).await);
    vendor.check(file, ("post", of_account), 400, &stage.post(&path, r#"["OWN"]"#).await);
    vendor.check(file, ("get", of_account), 200, &stage.get(&path).await);
    vendor.check(file, ("put", of_account), 204, &stage.ask(Method::PUT, &path, r#"["AUTHOR","EXECUTE"]"#).await);
    vendor.check(file, ("get", of_account), 403, &stage.send(Method::GET, &path, Ask::with(&[]).by(&nobody)).await);
    vendor.check(file, ("delete", of_account), 204, &stage.ask(Method::DELETE, &path, "").await);
    stage.ask(Method::DELETE, &format!("{all}/{id}"), "").await;
}

#[tokio::test]
#[ignore = "needs the vendor's OpenAPI files"]
async fn history_and_batches_of_permissions() {
    let vendor = Vendor::find();
    let stage = stage().await;
    let (file, path) = ("execution-history-search", "/monitoring/observability/executions/search");
    let environment = stage.get("/orchestration/environments").await.json()[0]["id"].clone();
    let body = json!({"environmentId": environment, "category": "ETL"}).to_string();
    vendor.check(file, ("post", path), 200, &stage.post(path, body.clone()).await);
    let components = "/monitoring/observability/executions/{executionId}/component";
    let of_run = format!("/monitoring/observability/executions/{RUN}/component");
    let check =
        |expected, answer: &Answer| vendor.check("observability-metrics", ("get", components), expected, answer);
    check(200, &stage.get(&of_run).await);
    check(400, &stage.get(&format!("{of_run}?limit=201")).await);
    check(404, &stage.get(&of_run.replace(RUN, UNKNOWN_RUN)).await);
    // The vendor's own example comes out as it went in.
    let example = vendor.example("observability-metrics", "ExecutionComponentMetrics");
    let put = json!({"processes": example["processes"], "items": example["metrics"]["items"]}).to_string();
    let own = format!("/runlog/v1/runs/{RUN}/component-metrics");
    assert_eq!(stage.ask(Method::PUT, &own, put).await.status, 200);
    let served = stage.get(&of_run).await;
    check(200, &served);
    assert_eq!(served.json()["processes"], example["processes"]);
    assert_eq!(served.json()["metrics"], example["metrics"]);
    let search = "/monitoring/observability/metrics/component";
    let query = json!({"environmentId": environment, "startTime": "2021-08-01T00:00:00.000Z", "endTime": "2021-09-01T00:00:00.000Z"});
    let found = stage.post(search, query.to_string()).await;
    assert_eq!(found.json()["total"], example["metrics"]["total"]);
    vendor.check("observability-metrics", ("post", search), 200, &found);
    vendor.check("observability-metrics", ("post", search), 400, &stage.post(search, "{}").await);
    vendor.check(
        "observability-metrics",
        ("post", search),
        401,
        &stage.send(Method::POST, search, Ask::with(&[])).await,
    );
    let (stop, plan) = ("/processing/executions/{executionId}", "/processing/executions/plans");
    let of_run = format!("/processing/executions/{RUN}");
    vendor.check("processing", ("delete", stop), 400, &stage.ask(Method::DELETE, &of_run, "").await);
    let unknown = of_run.replace(RUN, UNKNOWN_RUN);
    vendor.check("processing", ("delete", stop), 404, &stage.ask(Method::DELETE, &unknown, "").await);
    vendor.check("processing", ("post", plan), 501, &stage.post(plan, r#"{"executable":"p"}"#).await);
    vendor.check(file, ("post", path), 400, &stage.post(path, "{}").await);
    vendor.check(file, ("post", path), 401, &stage.send(Method::POST, path, Ask::with(&[])).await);
    let download = "/monitoring/observability/executions/download";
    vendor.check(file, ("post", download), 400, &stage.post(download, "{}").await);

    let file = "workspace-permissions";
    for (path, id) in [
        ("/security/permissions", stage.store.accounts().users().await.unwrap()[0].id.clone()),
        ("/security/service-accounts/permissions", {
            let made = stage.post("/account/service-accounts", r#"{"name":"robot"}"#).await.json();
            made["id"].as_str().unwrap().to_owned()
        }),
    ] {
        let batch = format!("{path}/batch");
        let part = json!([{"workspaceId": stage.workspace.to_string(), "userId": id, "permissions": ["VIEW"]}]);
        let check = |method: &str, path: &str, expected, answer: &Answer| {
            vendor.check(file, (method, path), expected, answer);
        };
        check("post", &batch, 204, &stage.post(&batch, part.to_string()).await);
        check("post", &batch, 207, &stage.post(&batch, part.to_string()).await);
        check("put", &batch, 204, &stage.ask(Method::PUT, &batch, part.to_string()).await);
        check("get", path, 200, &stage.get(path).await);
        check("get", path, 400, &stage.get(&format!("{path}?workspaceId=x")).await);
        check("get", path, 404, &stage.get(&format!("{path}?workspaceId=57f64991e4b0b689a64feed2")).await);
        let gone = format!("{batch}?workspaceIds={}", stage.workspace);
        check("delete", &batch, 204, &stage.ask(Method::DELETE, &gone, "").await);
    }
}
