//! Clients that disconnect at any time: their changes are made completely and recorded in the audit log, or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::http::Method;
use futures::FutureExt;
use runlog_server::{RunHook, routes};
use runlog_store::problems::ProblemFilter;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection};

use crate::support::{Ask, Stage, lines};

/// How often a request is polled before its client disconnects. Two further cases are never, and until the response.
const MOMENTS: [usize; 6] = [1, 2, 3, 5, 9, 20];

/// Tables that change with each request or by themselves.
const BESIDE: [&str; 2] = ["audit", "intents"];

/// The effect of a route on the catalog.
enum Kind {
    /// A recorded change.
    WrittenDown,
    /// A change that is not recorded: pushed logs, and the caller's own settings.
    OwnBusiness,
    /// It stores what is pushed, and records each workspace, task and run that it creates.
    ByPart,
    /// It changes nothing, or there is nothing to change here.
    Nothing,
}

/// A request: its path, its body, and the cookie of its session if it has one.
struct Request {
    path: String,
    body: String,
    cookie: String,
    kind: Kind,
}

fn request(kind: Kind, path: impl Into<String>, body: impl ToString) -> Request {
    Request { path: path.into(), body: body.to_string(), cookie: String::new(), kind }
}

/// A request of a route that changes something that no earlier request has changed. None for an unknown route.
async fn request_of(stage: &Stage, method: &Method, path: &str, number: usize) -> Option<Request> {
    use Kind::{ByPart, Nothing, OwnBusiness, WrittenDown};
    let run = format!("6c0e5a34-0000-4000-8000-{number:012}");
    let start = json!({"taskId": stage.task.to_string()}).to_string();
    let begin = async || {
        assert_eq!(stage.ask(Method::PUT, &format!("/runlog/v1/runs/{run}"), start.clone()).await.status, 201);
        let records = format!("/runlog/v1/runs/{run}/records");
        assert_eq!(stage.post(&records, lines([1, 2])).await.status, 200);
    };
    let user = async || {
        let made = stage.post("/runlog/v1/users", json!({"name": format!("user {number}")}).to_string()).await;
        assert_eq!(made.status, 201, "{}", made.text());
        made.json()["id"].as_str().unwrap().to_owned()
    };
    let account = async || {
        let body = json!({"name": format!("account {number}"), "permissions": []}).to_string();
        let made = stage.post("/account/service-accounts", body).await;
        assert_eq!(made.status, 201, "{}", made.text());
        made.json()["id"].as_str().unwrap().to_owned()
    };
    let granted = async |kind: &str, id: &str| {
        let path = format!("/security/workspaces/{}/{kind}/{id}/permissions", stage.workspace);
        assert_eq!(stage.post(&path, r#"["VIEW"]"#).await.status, 201);
        path
    };
    let part =
        |id: &str| json!([{"workspaceId": stage.workspace.to_string(), "userId": id, "permissions": ["AUTHOR"]}]);
    let of_run = path.replace("{id}", &run);
    let ungranted = |kind: &str, id: &str| format!("/security/workspaces/{}/{kind}/{id}/permissions", stage.workspace);
    Some(match (method.as_str(), path) {
        ("POST", "/monitoring/executions/{id}/logs") | ("DELETE", "/monitoring/executions/{id}/logs") => {
            begin().await;
            request(WrittenDown, of_run, "")
        }
        ("POST", "/processing/executions") => {
            request(WrittenDown, of_run, json!({"executable": stage.task.to_string()}))
        }
        ("POST", "/account/service-accounts") => {
            request(WrittenDown, path, json!({"name": format!("account {number}"), "permissions": []}))
        }
        ("PUT", "/account/service-accounts/{id}") => {
            let body = json!({"name": format!("other {number}"), "permissions": []});
            request(WrittenDown, path.replace("{id}", &account().await), body)
        }
        ("DELETE", "/account/service-accounts/{id}") => {
            request(WrittenDown, path.replace("{id}", &account().await), "")
        }
        ("POST" | "PUT", "/security/permissions/batch") => request(WrittenDown, path, part(&user().await)),
        ("POST" | "PUT", "/security/service-accounts/permissions/batch") => {
            request(WrittenDown, path, part(&account().await))
        }
        ("DELETE", "/security/permissions/batch") => {
            let id = user().await;
            granted("users", &id).await;
            request(WrittenDown, format!("{path}?userIds={id}"), "")
        }
        ("DELETE", "/security/service-accounts/permissions/batch") => {
            let id = account().await;
            granted("service-accounts", &id).await;
            request(WrittenDown, format!("{path}?serviceAccountIds={id}"), "")
        }
        ("POST" | "PUT", "/security/workspaces/{workspace_id}/users/{id}/permissions") => {
            request(WrittenDown, ungranted("users", &user().await), r#"["VIEW"]"#)
        }
        ("POST" | "PUT", "/security/workspaces/{workspace_id}/service-accounts/{id}/permissions") => {
            request(WrittenDown, ungranted("service-accounts", &account().await), r#"["VIEW"]"#)
        }
        ("DELETE", "/security/workspaces/{workspace_id}/users/{id}/permissions") => {
            request(WrittenDown, granted("users", &user().await).await, "")
        }
        ("DELETE", "/security/workspaces/{workspace_id}/service-accounts/{id}/permissions") => {
            request(WrittenDown, granted("service-accounts", &account().await).await, "")
        }
        ("PUT", "/runlog/v1/runs/{id}") => request(WrittenDown, of_run, start),
        ("POST", "/runlog/v1/runs/{id}/finish") => {
            begin().await;
            request(WrittenDown, of_run, json!({"status": "execution_successful"}))
        }
        ("PUT", "/runlog/v1/runs/{id}/component-metrics") => {
            begin().await;
            let item = |id: &str| json!({"connector_id": id, "component_start_time_seconds": number});
            request(WrittenDown, of_run, json!({"items": [item("tMap_1"), item("tLogRow_1")]}))
        }
        ("PUT", "/runlog/v1/problems/{id}/state") => {
            let filter = ProblemFilter { limit: 1, ..ProblemFilter::default() };
            let id = match stage.store.problems().list(&filter).await.unwrap().0.pop() {
                Some(problem) => problem.id,
                None => stage.problem().await,
            };
            request(WrittenDown, path.replace("{id}", &id), json!({"state": "muted", "note": format!("note {number}")}))
        }
        ("POST", "/runlog/v1/environments" | "/runlog/v1/users") => {
            request(WrittenDown, path, json!({"name": format!("new {number}")}))
        }
        ("POST", "/runlog/v1/workspaces") => request(WrittenDown, path, json!({"name": format!("new {number}")})),
        ("POST", "/runlog/v1/tasks") => {
            let workspace = stage.workspace.to_string();
            request(WrittenDown, path, json!({"name": format!("new {number}"), "workspaceId": workspace}))
        }
        ("PUT" | "DELETE", "/runlog/v1/environments/{id}" | "/runlog/v1/workspaces/{id}" | "/runlog/v1/tasks/{id}") => {
            let list = path.trim_end_matches("/{id}");
            let new = json!({"name": format!("item {number}"), "workspaceId": stage.workspace.to_string()});
            let new = if list.ends_with("tasks") { new } else { json!({"name": new["name"]}) };
            let made = stage.post(list, new.to_string()).await.json();
            let id = made.get("id").or_else(|| made.get("executable")).unwrap().as_str().unwrap();
            let mut update = json!({"name": format!("other {number}")});
            match list {
                "/runlog/v1/tasks" => update["version"] = json!("2.0"),
                "/runlog/v1/workspaces" => update["owner"] = json!("kim"),
                _ => {}
            }
            let body = if method == Method::PUT { update.to_string() } else { String::new() };
            request(WrittenDown, path.replace("{id}", id), body)
        }
        ("PUT", "/runlog/v1/users/{id}") => {
            let body = json!({"name": format!("other user {number}"), "administrator": true});
            request(WrittenDown, path.replace("{id}", &user().await), body)
        }
        ("DELETE", "/runlog/v1/users/{id}") => request(WrittenDown, path.replace("{id}", &user().await), ""),
        ("POST", "/runlog/v1/tokens") => request(WrittenDown, path, json!({"name": format!("token {number}")})),
        ("DELETE", "/runlog/v1/tokens/{id}") => {
            let made = stage.post("/runlog/v1/tokens", json!({"name": format!("token {number}")}).to_string()).await;
            request(WrittenDown, path.replace("{id}", made.json()["id"].as_str().unwrap()), "")
        }
        ("POST", "/runlog/v1/keys") => request(WrittenDown, path, json!({"purpose": "links"})),
        ("POST", "/runlog/v1/runs/{id}/records") => {
            begin().await;
            request(OwnBusiness, of_run, lines([3, 4]))
        }
        ("POST", "/runlog/v1/events") => {
            let event = |text: &str, phase: &str| {
                json!({
                    "timestamp": 3, "message": text, "event_type": "JOB_STATUS", "job_phase": phase,
                    "context": {
                        "task_execution_id": run, "task_name": "pushed", "workspace_name": format!("pushed {number}"),
                        "workspace_id": format!("cccccccccccc{number:012}"),
                    },
                })
            };
            let (begins, ends) = (event("one", "STARTING_FLOW_EXECUTION"), event("two", "EXECUTION_SUCCESS"));
            request(ByPart, path, format!("{begins}\n{ends}\n"))
        }
        ("POST", "/v1/logs") => {
            let record = json!({"timeUnixNano": "3000000", "body": {"stringValue": "x"}});
            let attribute = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
            let workspace = format!("dddddddddddd{number:012}");
            let of = json!([
                attribute("runlog.run.id", &run),
                attribute("runlog.workspace.id", &workspace),
                attribute("runlog.task.name", "exported"),
            ]);
            let scope = json!([{"logRecords": [record, record]}]);
            request(ByPart, path, json!({"resourceLogs": [{"resource": {"attributes": of}, "scopeLogs": scope}]}))
        }
        ("POST", "/runlog/v1/session") => request(OwnBusiness, path, json!({"token": stage.admin})),
        ("PUT", "/runlog/v1/queries/{name}") => {
            request(OwnBusiness, path.replace("{name}", &format!("q{number}")), json!({"query": "SELECT 1"}))
        }
        ("DELETE", "/runlog/v1/queries/{name}") => {
            let path = path.replace("{name}", &format!("q{number}"));
            stage.ask(Method::PUT, &path, json!({"query": "SELECT 1"}).to_string()).await;
            request(OwnBusiness, path, "")
        }
        ("PUT", "/runlog/v1/workspaces/{id}/retention") => {
            let body = json!({"days": 1_000 + number});
            request(WrittenDown, path.replace("{id}", &stage.workspace.to_string()), body)
        }
        ("PUT", "/runlog/v1/runs/{id}/hold") => {
            begin().await;
            request(WrittenDown, of_run, json!({"reason": format!("reason {number}")}))
        }
        ("DELETE", "/runlog/v1/runs/{id}/hold") => {
            begin().await;
            let hold = stage.ask(Method::PUT, &of_run, json!({"reason": "to be lifted"}).to_string()).await;
            assert_eq!(hold.status, 204, "{}", hold.text());
            request(WrittenDown, of_run, "")
        }
        ("PUT" | "DELETE", "/runlog/v1/alerts/{rule}/mute") => {
            stage.store.alerts().rule_known_since("night").await.unwrap();
            let path = path.replace("{rule}", "night");
            if method == Method::DELETE {
                assert_eq!(stage.ask(Method::PUT, &path, "{}").await.status, 204);
            }
            let body = json!({"note": format!("note {number}")}).to_string();
            request(WrittenDown, path, if method == Method::PUT { body } else { String::new() })
        }
        ("DELETE", "/runlog/v1/session") => {
            let ask =
                Ask::with(&[("content-type", "application/json")]).body(json!({"token": stage.admin}).to_string());
            let opened = stage.send(Method::POST, path, ask).await;
            assert_eq!(opened.status, 200, "{}", opened.text());
            let cookie = opened.header("set-cookie").split(';').next().unwrap_or_default().to_owned();
            Request { cookie, ..request(OwnBusiness, path, "") }
        }
        // There is no upstream or sink.
        // No identity provider is set up.
        ("POST", "/runlog/v1/sign-in/device" | "/runlog/v1/sign-in/oidc/logout") => request(Nothing, path, ""),
        ("POST", "/runlog/v1/sign-in/device/token") => request(Nothing, path, json!({"deviceCode": "d", "name": "n"})),
        ("POST", "/runlog/v1/collection/{upstream}/retry") => request(Nothing, path.replace("{upstream}", "none"), ""),
        ("POST", "/runlog/v1/sinks/{sink}/replay") => {
            let period = json!({"from": "2026-11-23T00:00:00Z", "to": "2026-11-24T00:00:00Z"});
            request(Nothing, path.replace("{sink}", "none"), period)
        }
        ("POST", "/runlog/v1/sinks/{sink}/retry") => request(Nothing, path.replace("{sink}", "none"), ""),
        // Queries, and requests that are refused.
        ("DELETE", "/processing/executions/{id}") => {
            begin().await;
            request(Nothing, of_run, "")
        }
        ("POST", "/monitoring/executions/{id}/logs/status") => {
            begin().await;
            request(Nothing, of_run, "\"none\"")
        }
        ("POST", "/processing/executions/plans" | "/security/oauth/token") => request(Nothing, path, "{}"),
        ("POST", path) if path.starts_with("/iceberg/") => request(Nothing, path, "{}"),
        // Without the content type of gRPC; what it stores is stored as by `/v1/logs`.
        ("POST", "/opentelemetry.proto.collector.logs.v1.LogsService/Export") => request(Nothing, path, "{}"),
        ("POST", "/processing/executables/tasks/executions" | "/orchestration/executables/tasks/search") => {
            request(Nothing, path, "{}")
        }
        ("POST", "/monitoring/observability/executions/search") => request(Nothing, path, json!({"category": "ETL"})),
        ("POST", "/monitoring/observability/executions/download") => request(Nothing, path, json!({"category": "ETL"})),
        ("POST", "/monitoring/observability/metrics/component") => request(Nothing, path, "{}"),
        ("POST", "/runlog/v1/sql") => request(Nothing, path, json!({"query": "SELECT 1"})),
        ("POST", "/mcp") => request(Nothing, path, json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})),
        // Clients of Loki only read.
        ("POST", path) if path.starts_with("/loki/") => request(Nothing, path, json!({"query": "{task=\"nightly\"}"})),
        _ => return None,
    })
}

/// Every row of every table.
async fn rows(stage: &Stage) -> BTreeMap<String, BTreeSet<String>> {
    let mut catalog = stage.catalog().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE '_sqlx%'",
    )
    .fetch_all(&mut catalog)
    .await
    .unwrap();
    let mut all = BTreeMap::new();
    for table in tables.into_iter().filter(|table| !BESIDE.contains(&table.as_str())) {
        let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info($1)")
            .bind(&table)
            .fetch_all(&mut catalog)
            .await
            .unwrap();
        let values: Vec<String> = columns.iter().map(|column| format!("quote({column})")).collect();
        let reading = format!("SELECT {} FROM {table}", values.join(" || ',' || "));
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(reading)).fetch_all(&mut catalog).await.unwrap();
        all.insert(table, rows.into_iter().collect());
    }
    catalog.close().await.unwrap();
    all
}

/// The same, once nothing changes any more.
async fn settled_rows(stage: &Stage) -> BTreeMap<String, BTreeSet<String>> {
    while stage.changes_in_progress() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut last = rows(stage).await;
    let mut same = 0;
    while same < 2 {
        tokio::time::sleep(Duration::from_millis(15)).await;
        let now = rows(stage).await;
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
    last
}

/// The entries of the audit log, and the table of the created items.
const PARTS: [(&str, &str); 3] = [("create workspace", "workspaces"), ("create task", "tasks"), ("start run", "runs")];

/// The entries of successful actions with a request ID.
async fn entries(stage: &Stage, request_id: &str) -> Vec<String> {
    let mut catalog = stage.catalog().await;
    let entries = sqlx::query_scalar("SELECT action FROM audit WHERE request_id = $1 AND status < 300")
        .bind(request_id)
        .fetch_all(&mut catalog)
        .await
        .unwrap();
    catalog.close().await.unwrap();
    entries
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_disconnects_leaves_no_partial_or_unaudited_change() {
    let stage = Stage::with(|_| (), |server| server.run_hook = Some(RunHook::read("true").unwrap())).await;
    let mut number = 0;
    for route in routes().into_iter().filter(|route| route.method != Method::GET) {
        let name = format!("{} {}", route.method, route.path);
        let mut took_effect = false;
        let mut is_idle = false;
        for polls in MOMENTS.into_iter().chain([usize::MAX]) {
            if is_idle && polls != usize::MAX {
                continue;
            }
            number += 1;
            let request = request_of(&stage, &route.method, &route.path, number).await;
            let Some(request) = request else { panic!("{name} is new: say above what it changes") };
            let before = rows(&stage).await;
            let id = format!("hang-up-{number}");
            is_idle = matches!(request.kind, Kind::Nothing);
            let headers = [
                ("x-request-id", id.as_str()),
                ("content-type", "application/json"),
                ("cookie", request.cookie.as_str()),
            ];
            let ask = Ask::with(&headers).by(&stage.admin).body(request.body);
            let mut asking = Box::pin(stage.begin(route.method.clone(), &request.path, ask));
            for _ in 0..polls {
                if (&mut asking).now_or_never().is_some() {
                    break;
                }
                tokio::time::sleep(Duration::from_micros(300)).await;
            }
            drop(asking);
            let after = settled_rows(&stage).await;
            let changed: Vec<&String> =
                after.iter().filter(|(name, rows)| before[*name] != **rows).map(|it| it.0).collect();
            let entries = entries(&stage, &id).await;
            took_effect |= !changed.is_empty();
            let moment =
                format!("{name}, gone after {polls} polls: {changed:?} changed, and written down is {entries:?}");
            match request.kind {
                Kind::WrittenDown => {
                    assert_eq!(!changed.is_empty(), !entries.is_empty(), "{moment}");
                    let action = route.audited.unwrap_or_else(|| panic!("{name} is not listed as written down"));
                    assert!(entries.iter().all(|entry| entry == action), "{moment}");
                }
                Kind::OwnBusiness => assert!(entries.is_empty(), "{moment}"),
                Kind::ByPart => {
                    for (action, table) in PARTS {
                        let is_changed = changed.iter().any(|changed| *changed == table);
                        assert_eq!(is_changed, entries.iter().any(|entry| entry == action), "{moment}");
                    }
                }
                Kind::Nothing => assert!(changed.is_empty(), "{moment}"),
            }
            if matches!(request.kind, Kind::OwnBusiness) && request.path.ends_with("/records") {
                let page: Value = stage.get(&request.path).await.json();
                assert!(
                    [2, 4].contains(&page["total"].as_u64().unwrap()),
                    "{moment}: a part of a batch is stored: {page}"
                );
            }
            if polls == usize::MAX {
                assert_eq!(
                    took_effect,
                    !matches!(request.kind, Kind::Nothing),
                    "{moment}: it has never changed anything"
                );
            }
        }
    }
}
