//! Every query parameter and body field that the vendor documents for the paths that Runlog offers: each has an effect,
//! is refused with 400 if its value is wrong, or leads to an empty page if the archive lacks the data. None is silently
//! ignored.

use axum::http::Method;
use runlog_model::workspaces::Right;
use serde_json::{Value, json};

use crate::support::{Answer, Ask, RUN, Stage};

/// A run other than [`RUN`].
const OTHER_RUN: &str = "6c0e5a34-0000-4000-8000-000000000002";
const PLAN_RUN: &str = "6c0e5a34-0000-4000-8000-000000000003";
const UNKNOWN_RUN: &str = "6c0e5a34-0000-4000-8000-0000000000ff";
const ENVIRONMENT: &str = "eeeeeeeeeeeeeeeeeeeeeeee";
const NOBODY: &str = "00000000-0000-4000-8000-000000000099";

/// Evidence that a parameter is not ignored.
enum Proof {
    /// The response with this value differs from that without.
    Changes(&'static str),
    /// A request with this value is refused.
    Refuses(&'static str),
}

use Proof::{Changes, Refuses};

/// Parameters or fields, each with its evidence.
type Proofs = &'static [(&'static str, &'static [Proof])];

/// `GET` paths with the vendor's query parameters. Placeholders such as `{task}` are replaced.
const QUERIES: &[(&str, Proofs)] = &[
    (
        "/monitoring/executions/{run}/logs",
        &[
            ("count", &[Changes("1"), Refuses("201")]),
            ("startIndex", &[Changes("1"), Refuses("-1")]),
            ("order", &[Changes("ASC"), Refuses("sideways")]),
            ("startTime", &[Changes("2026-11-20T00:00:12Z"), Refuses("yesterday")]),
            ("endTime", &[Changes("2026-11-20T00:00:12Z"), Refuses("tomorrow")]),
        ],
    ),
    (
        "/processing/executables/tasks/{task}/executions",
        &[
            ("from", &[Changes("1795000000000"), Refuses("soon")]),
            ("to", &[Changes("1793000000000"), Refuses("-1")]),
            ("lastDays", &[Changes("1"), Refuses("61")]),
            ("status", &[Changes("execution_failed"), Refuses("odd")]),
            ("limit", &[Changes("1"), Refuses("101")]),
            ("offset", &[Changes("1"), Refuses("x")]),
            // Parameters of the lists of tasks, which are accepted here, too.
            ("artifactId", &[Changes("other")]),
            ("runtimeType", &[Changes("CLOUD")]),
            ("runtimeId", &[Changes("engine-9")]),
            ("runtimeRunProfileId", &[Changes("profile-9")]),
        ],
    ),
    (
        "/processing/executables/tasks/executions",
        &[
            ("from", &[Changes("1795000000000"), Refuses("soon")]),
            ("to", &[Changes("1793000000000"), Refuses("-1")]),
            ("lastDays", &[Changes("1"), Refuses("61")]),
            ("status", &[Changes("execution_failed"), Refuses("odd")]),
            ("limit", &[Changes("1"), Refuses("101")]),
            ("offset", &[Changes("1"), Refuses("x")]),
            ("environmentId", &[Changes(ENVIRONMENT), Refuses("x")]),
            ("workspaceId", &[Changes("{other workspace}"), Refuses("x")]),
        ],
    ),
    (
        "/processing/executables/plans/executions",
        &[
            ("from", &[Changes("1795000000000"), Refuses("soon")]),
            ("to", &[Changes("1793000000000"), Refuses("-1")]),
            ("lastDays", &[Changes("1"), Refuses("61")]),
            ("status", &[Changes("execution_failed"), Refuses("odd")]),
            ("limit", &[Changes("1"), Refuses("101")]),
            ("offset", &[Changes("1"), Refuses("x")]),
            ("environmentId", &[Changes(ENVIRONMENT), Refuses("x")]),
            ("workspaceId", &[Changes("{other workspace}"), Refuses("x")]),
        ],
    ),
    (
        "/processing/executables/plans/plan-1/executions",
        &[
            ("from", &[Changes("1795000000000"), Refuses("soon")]),
            ("to", &[Changes("1793000000000"), Refuses("-1")]),
            ("lastDays", &[Changes("1"), Refuses("61")]),
            ("status", &[Changes("execution_failed"), Refuses("odd")]),
            ("limit", &[Changes("1"), Refuses("101")]),
            ("offset", &[Changes("1"), Refuses("x")]),
        ],
    ),
    (
        "/orchestration/executables/tasks",
        &[
            ("environmentId", &[Changes(ENVIRONMENT), Refuses("x")]),
            ("workspaceId", &[Changes("{other workspace}"), Refuses("x")]),
            ("name", &[Changes("weekly")]),
            ("limit", &[Changes("1"), Refuses("0")]),
            ("offset", &[Changes("1"), Refuses("-1")]),
            ("artifactId", &[Changes("artifact-1"), Changes("other")]),
            ("runtimeType", &[Changes("REMOTE_ENGINE"), Changes("PIPELINE_ENGINE")]),
            ("runtimeId", &[Changes("engine-1"), Changes("engine-9")]),
            ("runtimeRunProfileId", &[Changes("profile-1"), Changes("profile-9")]),
        ],
    ),
    (
        "/processing/executables/tasks",
        &[("artifactId", &[Changes("artifact-1")]), ("runtimeType", &[Changes("REMOTE_ENGINE")])],
    ),
    (
        "/orchestration/executables/plans",
        &[
            ("environmentId", &[Changes(ENVIRONMENT), Refuses("x")]),
            ("workspaceId", &[Changes("{other workspace}"), Refuses("x")]),
            ("name", &[Changes("other")]),
            ("planId", &[Changes("other")]),
            ("limit", &[Changes("1"), Refuses("x")]),
            ("offset", &[Changes("1")]),
        ],
    ),
    (
        "/runlog/v1/plan-executions",
        &[
            ("environmentId", &[Changes(ENVIRONMENT), Refuses("x")]),
            ("workspaceId", &[Changes("{other workspace}"), Refuses("x")]),
            ("planId", &[Changes("other")]),
            ("status", &[Changes("execution_failed"), Refuses("odd")]),
            ("startTime", &[Changes("2026-12-30T00:00:00Z"), Refuses("soon")]),
            ("endTime", &[Changes("2026-01-01T00:00:00Z"), Refuses("soon")]),
            ("limit", &[Changes("1"), Refuses("101")]),
            ("offset", &[Changes("1"), Refuses("x")]),
        ],
    ),
    ("/orchestration/environments", &[("query", &[Changes("name==other*"), Refuses("colour==red")])]),
    ("/orchestration/workspaces", &[("query", &[Changes("name==other*"), Refuses("((((name==x")])]),
    (
        "/security/permissions",
        &[
            ("environmentId", &[Changes(ENVIRONMENT), Refuses("x")]),
            ("workspaceId", &[Changes("{other workspace}"), Refuses("x")]),
            ("userId", &[Changes(NOBODY)]),
        ],
    ),
    (
        "/security/service-accounts/permissions",
        &[
            ("environmentId", &[Changes(ENVIRONMENT), Refuses("x")]),
            ("workspaceId", &[Changes("{other workspace}"), Refuses("x")]),
            ("serviceAccountId", &[Changes(NOBODY)]),
        ],
    ),
    (
        "/monitoring/observability/executions/{run}/component",
        &[
            ("limit", &[Changes("1"), Refuses("201")]),
            ("offset", &[Changes("1"), Refuses("-1")]),
            ("sortBy", &[Refuses("colour")]),
            ("sortOrder", &[Refuses("sideways")]),
        ],
    ),
];

/// `POST` paths with the vendor's body fields: a body for each, and JSON values for each field.
const BODIES: &[(&str, &str, Proofs)] = &[
    (
        "/processing/executables/tasks/executions",
        "{}",
        &[
            ("environmentId", &[Changes("\"eeeeeeeeeeeeeeeeeeeeeeee\""), Refuses("\"x\""), Refuses("[\"x\"]")]),
            ("workspaceId", &[Changes("\"{other workspace}\""), Refuses("{}")]),
            ("status", &[Changes("\"execution_failed\""), Refuses("\"odd\""), Refuses("[]")]),
            ("tags", &[Changes("[\"critical\"]"), Refuses("\"critical\""), Refuses("[1]")]),
            ("lastDays", &[Changes("1"), Refuses("61")]),
            ("from", &[Changes("1795000000000"), Refuses("\"soon\"")]),
            ("to", &[Changes("1793000000000"), Refuses("-1")]),
            ("limit", &[Changes("1"), Refuses("101")]),
            ("offset", &[Changes("1"), Refuses("-1")]),
        ],
    ),
    (
        "/orchestration/executables/tasks/search",
        "{}",
        &[
            ("name", &[Changes("\"eekl\""), Refuses("[\"x\"]")]),
            ("environmentId", &[Changes("\"eeeeeeeeeeeeeeeeeeeeeeee\""), Refuses("\"x\"")]),
            ("workspaceId", &[Changes("\"{other workspace}\""), Refuses("\"x\"")]),
            ("limit", &[Changes("0"), Refuses("101")]),
            ("offset", &[Changes("1"), Refuses("-1")]),
            ("artifactId", &[Changes("\"artifact-1\""), Changes("\"other\"")]),
            ("runtimeType", &[Changes("\"REMOTE_ENGINE\""), Changes("\"PIPELINE_ENGINE\"")]),
            ("runtimeId", &[Changes("\"engine-1\""), Changes("\"engine-9\"")]),
            ("runtimeRunProfileId", &[Changes("\"profile-1\""), Changes("\"profile-9\"")]),
            ("tags", &[Changes("[\"critical\"]"), Refuses("\"critical\"")]),
            // The archive has no triggers.
            ("triggerType", &[Changes("\"daily\""), Refuses("[]")]),
        ],
    ),
    (
        "/monitoring/observability/executions/search",
        "{\"category\": \"ETL\"}",
        &[
            ("environmentId", &[Changes("\"eeeeeeeeeeeeeeeeeeeeeeee\""), Refuses("\"x\"")]),
            ("category", &[Changes("\"ESB\""), Refuses("\"odd\"")]),
            (
                "filters",
                &[
                    Changes("[{\"field\": \"status\", \"operator\": \"in\", \"value\": [\"EXECUTION_FAILED\"]}]"),
                    Refuses("[{\"field\": \"colour\", \"operator\": \"in\", \"value\": [\"red\"]}]"),
                ],
            ),
            ("limit", &[Changes("1"), Refuses("201")]),
            ("offset", &[Changes("1"), Refuses("1001")]),
            ("exclude", &[Changes("\"PLAN_EXECUTIONS\""), Refuses("\"odd\"")]),
        ],
    ),
    (
        "/monitoring/observability/executions/download",
        "{\"category\": \"ETL\"}",
        &[
            ("environmentId", &[Changes("\"eeeeeeeeeeeeeeeeeeeeeeee\""), Refuses("\"x\"")]),
            ("category", &[Changes("\"ESB\""), Refuses("\"odd\"")]),
            (
                "filters",
                &[Changes("[{\"field\": \"status\", \"operator\": \"in\", \"value\": [\"EXECUTION_FAILED\"]}]")],
            ),
            ("exclude", &[Changes("\"PLAN_EXECUTIONS\""), Refuses("\"odd\"")]),
            ("limit", &[Changes("1"), Refuses("100001")]),
            ("lastId", &[Changes("\"6c0e5a34-0000-4000-8000-000000000001\"")]),
        ],
    ),
    // Its parameters are in the query.
    (
        "/monitoring/executions/{run}/logs",
        "?",
        &[
            ("fileFormat", &[Changes("TEXT"), Refuses("CSV")]),
            ("startTime", &[Changes("2026-11-20T00:00:12Z"), Refuses("yesterday")]),
            ("endTime", &[Changes("2026-11-20T00:00:12Z"), Refuses("tomorrow")]),
            ("newFileName", &[Changes("true"), Refuses("maybe")]),
        ],
    ),
];

/// Two runs of two tasks, one of a plan, in two workspaces of two environments.
async fn stage() -> (Stage, String) {
    let stage = Stage::new().await;
    let other = stage.other_workspace().await.id;
    let environment = json!({"id": ENVIRONMENT, "name": "other place"}).to_string();
    assert_eq!(stage.post("/runlog/v1/environments", environment).await.status, 201);
    let task = json!({"workspaceId": other.to_string(), "name": "weekly", "tags": ["critical"]}).to_string();
    let task = stage.post("/runlog/v1/tasks", task).await.json();
    let run = async |id: &str, task: &str, at: &str, more: Value| {
        let mut start = json!({"taskId": task, "startTimestamp": at, "triggerTimestamp": at});
        start.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let path = format!("/runlog/v1/runs/{id}");
        let answer = stage.ask(Method::PUT, &path, start.to_string()).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let lines: String = (10..15)
            .map(|second| {
                format!("{{\"logTimestamp\":{},\"severity\":\"INFO\"}}\n", 1_795_132_800_000_i64 + second * 1_000)
            })
            .collect();
        assert_eq!(stage.post(&format!("{path}/records"), lines).await.status, 200);
        let finish = json!({"status": "execution_successful", "finishTimestamp": at}).to_string();
        assert_eq!(stage.post(&format!("{path}/finish"), finish).await.status, 200);
    };
    let ran = json!({
        "artifactId": "artifact-1",
        "runtime": {"type": "REMOTE_ENGINE", "engineId": "engine-1", "runProfileId": "profile-1"},
    });
    let plan = json!({"planId": "plan-1", "planName": "p", "planExecutionId": "planned", "planStepId": "one"});
    let nightly = stage.task.to_string();
    run(RUN, &nightly, "2026-11-18T00:00:00Z", ran.clone()).await;
    run(PLAN_RUN, &nightly, "2026-11-17T00:00:00Z", plan).await;
    let task = task["executable"].as_str().unwrap_or_else(|| panic!("{task}"));
    run(OTHER_RUN, task, "2026-11-17T12:00:00Z", json!({})).await;
    crate::plans::report_failure(&stage).await;
    stage.user("kim", &[Right::View]).await;
    let account = stage.post("/account/service-accounts", r#"{"name": "monitor", "permissions": []}"#).await.json();
    let rights = format!(
        "/security/workspaces/{}/service-accounts/{}/permissions",
        stage.workspace,
        account["id"].as_str().unwrap()
    );
    assert_eq!(stage.post(&rights, r#"["VIEW"]"#).await.status, 201);
    (stage, other.to_string())
}

/// The content of a response, without values that differ each time.
fn said(answer: &Answer) -> String {
    match serde_json::from_slice::<Value>(&answer.body) {
        Ok(mut body) => {
            if let Some(object) = body.as_object_mut() {
                object.remove("token");
            }
            body.to_string()
        }
        Err(_) => answer.text(),
    }
}

#[tokio::test]
async fn no_query_parameter_that_the_vendor_documents_is_ignored() {
    let (stage, other) = stage().await;
    for (path, params) in QUERIES {
        let path = path.replace("{run}", RUN).replace("{task}", &stage.task.to_string());
        let plain = stage.get(&path).await;
        assert_eq!(plain.status, 200, "{path}: {}", plain.text());
        for (name, proofs) in *params {
            for proof in *proofs {
                match proof {
                    Changes(value) => {
                        let value = value.replace("{other workspace}", &other);
                        let answer = stage.get(&format!("{path}?{name}={value}")).await;
                        assert_eq!(answer.status, 200, "{path}?{name}={value}: {}", answer.text());
                        assert_ne!(said(&answer), said(&plain), "{path}: {name}={value} changes nothing");
                    }
                    Refuses(value) => stage.get(&format!("{path}?{name}={value}")).await.is_error(400, &[name]),
                }
            }
        }
    }
}

#[tokio::test]
async fn no_body_field_that_the_vendor_documents_is_ignored() {
    let (stage, other) = stage().await;
    for (path, body, fields) in BODIES {
        let path = path.replace("{run}", RUN);
        let ask = async |field: Option<(&str, &str)>| match (*body, field) {
            ("?", None) => stage.post(&path, "").await,
            ("?", Some((name, value))) => stage.post(&format!("{path}?{name}={value}"), "").await,
            (body, field) => {
                let mut body: Value = serde_json::from_str(body).unwrap();
                if let Some((name, value)) = field {
                    body[name] = serde_json::from_str(&value.replace("{other workspace}", &other)).unwrap();
                }
                stage.post(&path, body.to_string()).await
            }
        };
        let plain = ask(None).await;
        assert_eq!(plain.status, 200, "{path}: {}", plain.text());
        for (name, proofs) in *fields {
            for proof in *proofs {
                match proof {
                    Changes(value) => {
                        let answer = ask(Some((name, value))).await;
                        assert_eq!(answer.status, 200, "{path}: {name} {value}: {}", answer.text());
                        // The format and name of a file are visible in the file.
                        if !["fileFormat", "newFileName"].contains(name) {
                            assert_ne!(said(&answer), said(&plain), "{path}: {name} {value} changes nothing");
                        }
                    }
                    Refuses(value) => ask(Some((name, value))).await.is_error(400, &[]),
                }
            }
        }
    }
    let text = stage.link("?fileFormat=TEXT").await;
    assert!(!stage.send(Method::GET, &text, Ask::with(&[])).await.text().starts_with('['));
    assert!(stage.link("?newFileName=true").await.contains(&format!("{}_{RUN}.log", stage.task)));
}

#[tokio::test]
async fn a_run_without_component_metrics_has_an_empty_page() {
    let (stage, _) = stage().await;
    let path = format!("/monitoring/observability/executions/{RUN}/component");
    let body = stage.get(&path).await.json();
    assert_eq!(body["metrics"], json!({"items": [], "limit": 50, "offset": 0, "total": 0}));
    assert_eq!((body["task_execution_id"].as_str(), body["engine_id"].as_str()), (Some(RUN), Some("engine-1")));
    assert_eq!(
        (body["artifact_id"].as_str(), body["processes"].as_array().map(Vec::len)),
        (Some("artifact-1"), Some(0))
    );
    stage.get(&path.replace(RUN, UNKNOWN_RUN)).await.is_error(404, &["no run"]);
    stage.get(&path.replace(RUN, "x")).await.is_error(400, &["executionId"]);
    let nobody = stage.user("nobody", &[Right::Execute]).await;
    stage.send(Method::GET, &path, Ask::with(&[]).by(&nobody)).await.is_error(403, &["Viewer"]);
}

#[tokio::test]
async fn runs_cannot_be_ended_and_plans_not_started() {
    let (stage, _) = stage().await;
    let path = format!("/processing/executions/{RUN}");
    stage.ask(Method::DELETE, &path, "").await.is_error(400, &["cannot be ended here", "Talend Cloud"]);
    stage.ask(Method::DELETE, &path.replace(RUN, UNKNOWN_RUN), "").await.is_error(404, &["no run"]);
    let viewer = stage.user("viewer", &[Right::View]).await;
    stage.send(Method::DELETE, &path, Ask::with(&[]).by(&viewer)).await.is_error(403, &["Executor"]);
    assert_eq!(stage.get(&path).await.json()["status"], "execution_successful");
    let plan = json!({"executable": "plan-1"}).to_string();
    stage.post("/processing/executions/plans", plan).await.is_error(501, &["does not start"]);
}

/// A filter with 50,000 tags or 20,000 IDs was answered with 503 "try again".
#[tokio::test]
async fn too_many_values_are_a_client_error() {
    let stage = Stage::new().await;
    let many = |count: usize| (0..count).map(|number| format!("{number:024x}")).collect::<Vec<_>>();
    let tags = json!({"tags": many(30_000)}).to_string();
    for path in ["/processing/executables/tasks/executions", "/orchestration/executables/tasks/search"] {
        stage.post(path, tags.clone()).await.is_error(400, &["tags", "500"]);
        let most = json!({"tags": many(500)}).to_string();
        assert_eq!(stage.post(path, most).await.status, 200, "{path}");
    }
    let search = "/monitoring/observability/executions/search";
    let condition = |field: &str, count| json!({"field": field, "operator": "in", "value": many(count)});
    let of = |filters: Vec<Value>| json!({"category": "ETL", "filters": filters}).to_string();
    stage.post(search, of(vec![condition("taskId", 20_000)])).await.is_error(400, &["filters[0]", "500"]);
    stage.post(search, of(vec![condition("taskId", 500); 20])).await.is_error(400, &["10000 values", "5000"]);
    let nested = json!({"field": "runtime", "operator": "or", "value": vec![condition("engineId", 500); 20]});
    stage.post(search, of(vec![nested])).await.is_error(400, &["10000 values", "5000"]);
    for field in ["taskId", "engineId", "tags"] {
        let answer = stage.post(search, of(vec![condition(field, 500); 9])).await;
        assert_eq!(answer.status, 200, "{field}: {}", answer.text());
    }
    let ids = many(1_000).join(",");
    stage.ask(Method::DELETE, &format!("/security/permissions/batch?userIds={ids}"), "").await.is_error(400, &["500"]);
}

#[tokio::test]
async fn deep_and_long_queries_are_refused_or_answered_and_end_nothing() {
    let stage = Stage::new().await;
    let deep = format!("{}name==x{}", "(".repeat(5_000), ")".repeat(5_000));
    stage.get(&format!("/orchestration/workspaces?query={deep}")).await.is_error(400, &["query"]);
    let many = vec!["name==x"; 101].join(",");
    stage.get(&format!("/orchestration/workspaces?query={many}")).await.is_error(400, &["100 comparisons"]);
    let stars = format!("name=={}", "*x".repeat(2_000));
    assert_eq!(stage.get(&format!("/orchestration/workspaces?query={stars}")).await.status, 200);
    for text in ["(".repeat(900), "%22".repeat(900), "%22-".repeat(300), "%5B".repeat(900)] {
        let answer = stage.get(&format!("/runlog/v1/search?q={text}")).await;
        assert!([200, 400].contains(&answer.status.as_u16()), "{}", answer.text());
    }
    stage.get(&format!("/runlog/v1/search?q={}", "(".repeat(5_000))).await.is_error(400, &["1000"]);
}

/// `WARNING`, `SEVERE` and the like were not counted in pushed logs.
#[tokio::test]
async fn severities_of_other_loggers_are_counted_and_found_and_kept_as_they_are() {
    let stage = Stage::new().await;
    let words = ["WARNING", "warn", "SEVERE", "ERROR", "CRITICAL", "Notice", "AUDIT", "err"];
    let lines: String = (1_000..)
        .zip(words)
        .map(|(at, word)| format!("{}\n", json!({"logTimestamp": at, "severity": word, "logMessage": word})))
        .collect();
    stage.push(&lines).await;
    let path = format!("/runlog/v1/runs/{RUN}");
    let summary = stage.get(&format!("{path}/summary")).await.json();
    let counts = summary["log"]["severities"].as_array().cloned().unwrap_or_else(|| panic!("{summary}"));
    // Other, trace, debug, info, warn, error, fatal.
    assert_eq!(counts, json!([1, 0, 0, 1, 2, 3, 1]).as_array().unwrap().clone());
    let page = stage.get(&format!("{path}/records?severity=error&count=100")).await.json();
    let text = page["items"].as_array().map(|items| json!(items).to_string()).unwrap_or_else(|| panic!("{page}"));
    for word in ["SEVERE", "ERROR", "err"] {
        assert!(text.contains(&format!("\"severity\":\"{word}\"")), "{text}");
    }
    let found = stage.get("/runlog/v1/search?q=&severity=warn").await.json();
    assert_eq!(found["items"].as_array().map(Vec::len), Some(2), "{found}");
    let live = stage.get(&format!("/monitoring/executions/{RUN}/logs?order=ASC")).await.json();
    let kept: Vec<_> = live["data"].as_array().unwrap().iter().map(|it| it["severity"].as_str().unwrap()).collect();
    assert_eq!(kept, words, "what was written stays");
}
