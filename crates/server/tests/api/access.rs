//! Access control: every route, every right, and the order of refusals.

use crate::support::{Answer, Ask, RUN, Stage, lines};
use axum::http::Method;
use base64::Engine;
use runlog_model::workspaces::Right;
use runlog_server::{Access, routes};
use serde_json::Value;

/// The access that each route requires. A new route fails the test below until it is listed here.
const EXPECTED: &[(&str, &str, Access)] = &[
    ("POST", "/monitoring/executions/{id}/logs", Access::Token),
    ("POST", "/monitoring/executions/{id}/logs/status", Access::Token),
    ("GET", "/monitoring/executions/{id}/logs", Access::Token),
    ("DELETE", "/monitoring/executions/{id}/logs", Access::Token),
    ("GET", "/processing/executables/tasks", Access::Token),
    ("GET", "/processing/executables/tasks/executions", Access::Token),
    ("POST", "/processing/executables/tasks/executions", Access::Token),
    ("GET", "/processing/executables/tasks/{id}/executions", Access::Token),
    ("GET", "/processing/executions/{id}", Access::Token),
    ("POST", "/processing/executions", Access::Token),
    ("DELETE", "/processing/executions/{id}", Access::Token),
    ("GET", "/processing/executables/plans/executions", Access::Token),
    ("GET", "/processing/executables/plans/{plan_id}/executions", Access::Token),
    ("POST", "/processing/executions/plans", Access::Token),
    ("GET", "/processing/executions/plans/{id}", Access::Token),
    ("GET", "/processing/executions/plans/{id}/steps", Access::Token),
    ("GET", "/processing/executions/plans/{id}/steps/{step_id}", Access::Token),
    ("GET", "/processing/executions/plans/{id}/steps/{step_id}/error-handler", Access::Token),
    ("GET", "/security/audit/logs", Access::Token),
    ("POST", "/monitoring/observability/executions/search", Access::Token),
    ("POST", "/monitoring/observability/executions/download", Access::Token),
    ("GET", "/monitoring/observability/executions/{id}/component", Access::Token),
    ("POST", "/monitoring/observability/metrics/component", Access::Token),
    ("GET", "/orchestration/environments", Access::Token),
    ("GET", "/orchestration/workspaces", Access::Token),
    ("GET", "/orchestration/executables/tasks", Access::Token),
    ("POST", "/orchestration/executables/tasks/search", Access::Token),
    ("GET", "/orchestration/executables/tasks/{id}", Access::Token),
    ("GET", "/orchestration/executables/plans", Access::Token),
    ("GET", "/orchestration/executables/plans/{plan_id}", Access::Token),
    ("POST", "/security/oauth/token", Access::ClientSecret),
    ("GET", "/account/service-accounts", Access::Token),
    ("POST", "/account/service-accounts", Access::Token),
    ("GET", "/account/service-accounts/count", Access::Token),
    ("GET", "/account/service-accounts/permissions", Access::Token),
    ("PUT", "/account/service-accounts/{id}", Access::Token),
    ("GET", "/account/service-accounts/{id}", Access::Token),
    ("DELETE", "/account/service-accounts/{id}", Access::Token),
    ("GET", "/security/permissions", Access::Token),
    ("POST", "/security/permissions/batch", Access::Token),
    ("PUT", "/security/permissions/batch", Access::Token),
    ("DELETE", "/security/permissions/batch", Access::Token),
    ("GET", "/security/service-accounts/permissions", Access::Token),
    ("POST", "/security/service-accounts/permissions/batch", Access::Token),
    ("PUT", "/security/service-accounts/permissions/batch", Access::Token),
    ("DELETE", "/security/service-accounts/permissions/batch", Access::Token),
    ("GET", "/security/workspaces/{workspace_id}/users/{id}/permissions", Access::Token),
    ("POST", "/security/workspaces/{workspace_id}/users/{id}/permissions", Access::Token),
    ("PUT", "/security/workspaces/{workspace_id}/users/{id}/permissions", Access::Token),
    ("DELETE", "/security/workspaces/{workspace_id}/users/{id}/permissions", Access::Token),
    ("GET", "/security/workspaces/{workspace_id}/service-accounts/{id}/permissions", Access::Token),
    ("POST", "/security/workspaces/{workspace_id}/service-accounts/{id}/permissions", Access::Token),
    ("PUT", "/security/workspaces/{workspace_id}/service-accounts/{id}/permissions", Access::Token),
    ("DELETE", "/security/workspaces/{workspace_id}/service-accounts/{id}/permissions", Access::Token),
    ("GET", "/runlog/v1/downloads/{key}/{file_name}", Access::SignedLink),
    ("POST", "/v1/logs", Access::Token),
    ("POST", "/opentelemetry.proto.collector.logs.v1.LogsService/Export", Access::Token),
    ("POST", "/runlog/v1/events", Access::Token),
    ("PUT", "/runlog/v1/runs/{id}", Access::Token),
    ("GET", "/runlog/v1/runs/{id}", Access::Token),
    ("POST", "/runlog/v1/runs/{id}/records", Access::Token),
    ("POST", "/runlog/v1/runs/{id}/finish", Access::Token),
    ("PUT", "/runlog/v1/runs/{id}/component-metrics", Access::Token),
    ("GET", "/runlog/v1/runs/{id}/patterns", Access::Token),
    ("GET", "/runlog/v1/runs/{id}/report", Access::Token),
    ("GET", "/runlog/v1/runs/{id}/diff/{other_id}", Access::Token),
    ("GET", "/runlog/v1/tasks/{id}/report", Access::Token),
    ("GET", "/runlog/v1/workspaces/{id}/report", Access::Token),
    ("GET", "/runlog/v1/problems", Access::Token),
    ("GET", "/runlog/v1/problems/{id}", Access::Token),
    ("PUT", "/runlog/v1/problems/{id}/state", Access::Token),
    ("GET", "/runlog/v1/sign-in", Access::Public),
    ("GET", "/runlog/v1/sign-in/oidc", Access::SignIn),
    ("GET", "/runlog/v1/sign-in/oidc/callback", Access::SignIn),
    ("POST", "/runlog/v1/sign-in/device", Access::SignIn),
    ("POST", "/runlog/v1/sign-in/device/token", Access::SignIn),
    ("POST", "/runlog/v1/sign-in/oidc/logout", Access::SignIn),
    ("POST", "/runlog/v1/session", Access::TokenInBody),
    ("GET", "/runlog/v1/session", Access::Token),
    ("DELETE", "/runlog/v1/session", Access::Token),
    ("GET", "/runlog/v1/overview", Access::Token),
    ("GET", "/runlog/v1/overview/tasks", Access::Token),
    ("GET", "/runlog/v1/overview/workspaces", Access::Token),
    ("GET", "/runlog/v1/runs", Access::Token),
    ("GET", "/runlog/v1/tasks/{id}/runs", Access::Token),
    ("GET", "/runlog/v1/tasks/{id}/durations", Access::Token),
    ("GET", "/runlog/v1/runs/{id}/summary", Access::Token),
    ("GET", "/runlog/v1/runs/{id}/records", Access::Token),
    ("GET", "/runlog/v1/runs/{id}/histogram", Access::Token),
    ("GET", "/runlog/v1/runs/{id}/log", Access::Token),
    ("GET", "/runlog/v1/plan-executions", Access::Token),
    ("GET", "/runlog/v1/plan-executions/{id}", Access::Token),
    ("GET", "/runlog/v1/tenant-audit-logs", Access::Token),
    ("GET", "/runlog/v1/queries", Access::Token),
    ("PUT", "/runlog/v1/queries/{name}", Access::Token),
    ("DELETE", "/runlog/v1/queries/{name}", Access::Token),
    ("GET", "/runlog/v1/search", Access::Token),
    ("GET", "/runlog/v1/search/facets", Access::Token),
    ("POST", "/runlog/v1/sql", Access::Token),
    ("GET", "/loki/api/v1/query_range", Access::Token),
    ("POST", "/loki/api/v1/query_range", Access::Token),
    ("GET", "/loki/api/v1/query", Access::Token),
    ("POST", "/loki/api/v1/query", Access::Token),
    ("GET", "/loki/api/v1/labels", Access::Token),
    ("POST", "/loki/api/v1/labels", Access::Token),
    ("GET", "/loki/api/v1/label", Access::Token),
    ("POST", "/loki/api/v1/label", Access::Token),
    ("GET", "/loki/api/v1/series", Access::Token),
    ("POST", "/loki/api/v1/series", Access::Token),
    ("GET", "/loki/api/v1/index/stats", Access::Token),
    ("POST", "/loki/api/v1/index/stats", Access::Token),
    ("GET", "/loki/api/v1/index/volume", Access::Token),
    ("POST", "/loki/api/v1/index/volume", Access::Token),
    ("GET", "/loki/api/v1/index/volume_range", Access::Token),
    ("POST", "/loki/api/v1/index/volume_range", Access::Token),
    ("GET", "/loki/api/v1/detected_labels", Access::Token),
    ("POST", "/loki/api/v1/detected_labels", Access::Token),
    ("GET", "/loki/api/v1/detected_fields", Access::Token),
    ("POST", "/loki/api/v1/detected_fields", Access::Token),
    ("GET", "/loki/api/v1/patterns", Access::Token),
    ("POST", "/loki/api/v1/patterns", Access::Token),
    ("GET", "/loki/api/v1/format_query", Access::Token),
    ("POST", "/loki/api/v1/format_query", Access::Token),
    ("GET", "/loki/api/v1/label/{name}/values", Access::Token),
    ("GET", "/loki/api/v1/detected_field/{name}/values", Access::Token),
    ("GET", "/ready", Access::Public),
    ("GET", "/loki/api/v1/status/buildinfo", Access::Token),
    ("GET", "/loki/api/v1/drilldown-limits", Access::Token),
    ("GET", "/loki/api/v1/rules", Access::Token),
    ("GET", "/api/prom/rules", Access::Token),
    ("GET", "/api/prom/rules/{namespace}/{group}", Access::Token),
    ("GET", "/prometheus/api/v1/rules", Access::Token),
    ("GET", "/prometheus/api/v1/alerts", Access::Token),
    ("GET", "/loki/api/v1/tail", Access::Token),
    ("GET", "/iceberg/v1/config", Access::Token),
    ("POST", "/iceberg/v1/oauth/tokens", Access::ClientSecret),
    ("GET", "/iceberg/v1/{prefix}/namespaces", Access::Token),
    ("GET", "/iceberg/v1/{prefix}/namespaces/{namespace}", Access::Token),
    ("GET", "/iceberg/v1/{prefix}/namespaces/{namespace}/tables", Access::Token),
    ("GET", "/iceberg/v1/{prefix}/namespaces/{namespace}/tables/{table}", Access::Token),
    ("POST", "/iceberg/v1/{prefix}/namespaces/{namespace}/tables/{table}/metrics", Access::Token),
    ("POST", "/iceberg/v1/aws/s3/sign", Access::Token),
    ("GET", "/runlog/v1/environments", Access::Administrator),
    ("POST", "/runlog/v1/environments", Access::Administrator),
    ("PUT", "/runlog/v1/environments/{id}", Access::Administrator),
    ("DELETE", "/runlog/v1/environments/{id}", Access::Administrator),
    ("GET", "/runlog/v1/workspaces", Access::Administrator),
    ("POST", "/runlog/v1/workspaces", Access::Administrator),
    ("PUT", "/runlog/v1/workspaces/{id}", Access::Administrator),
    ("DELETE", "/runlog/v1/workspaces/{id}", Access::Administrator),
    ("GET", "/runlog/v1/tasks", Access::Administrator),
    ("POST", "/runlog/v1/tasks", Access::Administrator),
    ("PUT", "/runlog/v1/tasks/{id}", Access::Administrator),
    ("DELETE", "/runlog/v1/tasks/{id}", Access::Administrator),
    ("GET", "/runlog/v1/users", Access::Administrator),
    ("POST", "/runlog/v1/users", Access::Administrator),
    ("PUT", "/runlog/v1/users/{id}", Access::Administrator),
    ("DELETE", "/runlog/v1/users/{id}", Access::Administrator),
    ("GET", "/runlog/v1/tokens", Access::Token),
    ("POST", "/runlog/v1/tokens", Access::Token),
    ("DELETE", "/runlog/v1/tokens/{id}", Access::Token),
    ("GET", "/runlog/v1/keys", Access::Administrator),
    ("POST", "/runlog/v1/keys", Access::Administrator),
    ("GET", "/runlog/v1/audit", Access::Administrator),
    ("GET", "/runlog/v1/retention", Access::Administrator),
    ("GET", "/runlog/v1/workspaces/{id}/retention/preview", Access::Administrator),
    ("PUT", "/runlog/v1/workspaces/{id}/retention", Access::Administrator),
    ("GET", "/runlog/v1/holds", Access::Administrator),
    ("PUT", "/runlog/v1/runs/{id}/hold", Access::Administrator),
    ("DELETE", "/runlog/v1/runs/{id}/hold", Access::Administrator),
    ("GET", "/runlog/v1/alerts", Access::Administrator),
    ("GET", "/runlog/v1/alerts/history", Access::Administrator),
    ("GET", "/runlog/v1/alerts/preview", Access::Administrator),
    ("PUT", "/runlog/v1/alerts/{rule}/mute", Access::Administrator),
    ("DELETE", "/runlog/v1/alerts/{rule}/mute", Access::Administrator),
    ("GET", "/runlog/v1/collection", Access::Administrator),
    ("GET", "/runlog/v1/collection/{upstream}/runs", Access::Administrator),
    ("POST", "/runlog/v1/collection/{upstream}/retry", Access::Administrator),
    ("GET", "/runlog/v1/sinks", Access::Administrator),
    ("GET", "/runlog/v1/sinks/{sink}/deliveries", Access::Administrator),
    ("POST", "/runlog/v1/sinks/{sink}/retry", Access::Administrator),
    ("POST", "/runlog/v1/sinks/{sink}/replay", Access::Administrator),
    ("POST", "/mcp", Access::Token),
    ("GET", "/metrics", Access::Token),
    ("GET", "/healthz", Access::Public),
    ("GET", "/readyz", Access::Public),
    ("GET", "/", Access::Public),
    ("GET", "/openapi.json", Access::Public),
    ("GET", "/docs", Access::Public),
    ("GET", "/docs/{file}", Access::Public),
];

#[tokio::test]
async fn every_route_asks_for_what_it_should() {
    let stage = Stage::new().await;
    let nobody = stage.user("nobody", &[]).await;
    let found: Vec<_> =
        routes().into_iter().map(|route| (route.method.to_string(), route.path, route.access)).collect();
    let expected: Vec<_> =
        EXPECTED.iter().map(|(method, path, access)| ((*method).to_owned(), (*path).to_owned(), *access)).collect();
    assert_eq!(found, expected);
    for (method, path, access) in found {
        let method: Method = method.parse().unwrap();
        let path = path.replace("{id}", RUN).replace("{workspace_id}", &stage.workspace.to_string());
        let path = path.replace("{key}", "k").replace("{file_name}", "f").replace("{file}", "index.html");
        let path = path.replace("{plan_id}", "p").replace("{step_id}", "s").replace("{other_id}", RUN);
        let path = path.replace("{name}", "n");
        let path = path.replace("{prefix}", "p").replace("{namespace}", "n").replace("{table}", "records");
        let send = |ask| stage.send(method.clone(), &path, ask);
        // Errors of the catalog for lakehouses have a form of their own, and those for clients of Loki are plain text.
        let is_of_loki = ["/loki/", "/api/prom/", "/prometheus/"].iter().any(|prefix| path.starts_with(prefix));
        let refuses = |answer: Answer, status: u16, texts: &[&str]| match path.starts_with("/iceberg/") {
            true => {
                assert!(answer.status == status && answer.json()["error"] != Value::Null, "{path}: {}", answer.text())
            }
            false if is_of_loki => answer.is_plain_error(status, texts),
            false => answer.is_error(status, texts),
        };
        match access {
            Access::Public => assert!(send(Ask::with(&[])).await.status.as_u16() < 400, "{path}"),
            // No identity provider is set up, and the callback is checked first.
            Access::SignIn => assert!([400, 404].contains(&send(Ask::with(&[])).await.status.as_u16()), "{path}"),
            Access::SignedLink => send(Ask::with(&[])).await.is_error(403, &["altered"]),
            Access::ClientSecret => refuses(send(Ask::with(&[])).await, 401, &["client ID and secret"]),
            Access::TokenInBody => {
                let json = [("content-type", "application/json; charset=utf-8")];
                send(Ask::with(&json)).await.is_error(400, &["body"]);
                send(Ask::with(&json).body(r#"{"token":"rlp_0000"}"#)).await.is_error(401, &["is unknown"]);
                // A form of another site could send these content types without a preflight request.
                for other in [&[][..], &[("content-type", "text/plain")], &[("content-type", "application/jsonp")]] {
                    let ask = Ask::with(other).body(r#"{"token":"rlp_0000"}"#);
                    send(ask).await.is_error(415, &["application/json"]);
                }
            }
            Access::Token | Access::Administrator => {
                refuses(send(Ask::with(&[])).await, 401, &["Authorization: Bearer"]);
                for wrong in ["Basic YTpi", "Bearer", "Bearer ", "token", "Bearer rlp_0000", "Bearer a.b.c"] {
                    refuses(send(Ask::with(&[("authorization", wrong)])).await, 401, &[]);
                }
            }
        }
        if access == Access::Administrator {
            refuses(send(Ask::with(&[]).by(&nobody)).await, 403, &["not an administrator"]);
        }
    }
}

#[tokio::test]
async fn each_right_is_needed_where_it_should_be_and_its_lack_is_named() {
    use Right::{Author, Execute, Manage, Publish, View};
    let stage = Stage::new().await;
    stage.push(&lines([1_000])).await;
    let problem = stage.problem().await;
    let (task, workspace) = (stage.task, stage.workspace);
    let mute = r#"{"state":"muted"}"#;
    let start = format!(r#"{{"taskId":"{task}"}}"#);
    let logs = format!("/monitoring/executions/{RUN}/logs");
    let table: Vec<(Method, String, &str, &[Right])> = vec![
        (Method::POST, logs.clone(), "", &[Author, View, Execute]),
        (Method::POST, format!("{logs}/status"), "t", &[Author, View, Execute]),
        (Method::GET, logs, "", &[Author, View, Execute]),
        (Method::GET, format!("/processing/executables/tasks/{task}/executions"), "", &[View]),
        (Method::GET, format!("/processing/executions/{RUN}"), "", &[View]),
        (Method::GET, format!("/orchestration/executables/tasks/{task}"), "", &[View]),
        (Method::GET, format!("/runlog/v1/runs/{RUN}"), "", &[View]),
        (Method::GET, format!("/runlog/v1/runs/{RUN}/summary"), "", &[View]),
        (Method::GET, format!("/runlog/v1/runs/{RUN}/records"), "", &[Author, View, Execute]),
        (Method::GET, format!("/runlog/v1/runs/{RUN}/histogram"), "", &[Author, View, Execute]),
        (Method::GET, format!("/runlog/v1/runs/{RUN}/log"), "", &[Author, View, Execute]),
        (Method::GET, format!("/runlog/v1/tasks/{task}/runs"), "", &[View]),
        (Method::GET, format!("/runlog/v1/tasks/{task}/durations"), "", &[View]),
        (Method::PUT, format!("/runlog/v1/runs/{RUN}"), &start, &[Publish]),
        (Method::POST, format!("/runlog/v1/runs/{RUN}/records"), "", &[Publish]),
        (Method::POST, format!("/runlog/v1/runs/{RUN}/finish"), r#"{"status":"execution_failed"}"#, &[Publish]),
        (Method::PUT, format!("/runlog/v1/runs/{RUN}/component-metrics"), r#"{"items":[]}"#, &[Publish]),
        (Method::GET, format!("/monitoring/observability/executions/{RUN}/component"), "", &[Author, View, Execute]),
        (Method::GET, format!("/runlog/v1/runs/{RUN}/patterns"), "", &[Author, View, Execute]),
        (Method::GET, format!("/runlog/v1/runs/{RUN}/report"), "", &[Author, View, Execute]),
        (Method::GET, format!("/runlog/v1/runs/{RUN}/diff/{RUN}"), "", &[Author, View, Execute]),
        (Method::GET, format!("/runlog/v1/tasks/{task}/report"), "", &[Author, View, Execute]),
        (Method::GET, format!("/runlog/v1/workspaces/{workspace}/report"), "", &[Author, View, Execute]),
        (Method::GET, format!("/runlog/v1/problems/{problem}"), "", &[Author, View, Execute]),
        (Method::PUT, format!("/runlog/v1/problems/{problem}/state"), mute, &[Author, View, Execute]),
        (Method::GET, format!("/security/workspaces/{workspace}/users/x/permissions"), "", &[Manage]),
    ];
    for (number, (method, path, body, needed)) in table.into_iter().enumerate() {
        for lacking in needed {
            let held: Vec<Right> = Right::ALL.into_iter().filter(|right| right != lacking).collect();
            let token = stage.user(&format!("{number} without {lacking}"), &held).await;
            let answer = stage.send(method.clone(), &path, Ask::with(&[]).by(&token).body(body.to_owned())).await;
            answer.is_error(403, &[lacking.console_name(), &workspace.to_string()]);
        }
        let token = stage.user(&format!("{number} with all it needs"), needed).await;
        let answer = stage.send(method.clone(), &path, Ask::with(&[]).by(&token).body(body.to_owned())).await;
        assert!(![401, 403].contains(&answer.status.as_u16()), "{method} {path}: {}", answer.text());
    }
}

#[tokio::test]
async fn refusals_come_in_their_order() {
    let stage = Stage::new().await;
    stage.push(&lines([1_000])).await;
    let nobody = stage.user("nobody", &[]).await;
    let get = async |run: &str, token: &str, query: &str| {
        stage.send(Method::POST, &format!("/monitoring/executions/{run}/logs{query}"), Ask::with(&[]).by(token)).await
    };
    get("not-a-run", "", "?startTime=x").await.is_error(401, &[]);
    get(RUN, &nobody, "?startTime=x").await.is_error(400, &["startTime"]);
    get("not-a-run", &nobody, "").await.is_error(400, &["not-a-run"]);
    get("6c0e5a34-0000-4000-8000-00000000ffff", &nobody, "").await.is_error(404, &["there is no run"]);
    get(RUN, &nobody, "").await.is_error(403, &["Author, Viewer, Executor"]);
}

#[tokio::test]
async fn lists_show_what_the_caller_may_view() {
    let stage = Stage::new().await;
    let (viewer, nobody) = (stage.user("viewer", &[Right::View]).await, stage.user("nobody", &[]).await);
    for path in ["/orchestration/environments", "/orchestration/workspaces"] {
        let seen = stage.send(Method::GET, path, Ask::with(&[]).by(&viewer)).await.json();
        assert_eq!(seen.as_array().unwrap().len(), 1, "{path}");
        let unseen = stage.send(Method::GET, path, Ask::with(&[]).by(&nobody)).await.json();
        assert_eq!(unseen.as_array().unwrap().len(), 0, "{path}");
    }
    let tasks = "/orchestration/executables/tasks?name=night";
    assert_eq!(stage.send(Method::GET, tasks, Ask::with(&[]).by(&viewer)).await.json()["total"], 1);
    assert_eq!(stage.send(Method::GET, tasks, Ask::with(&[]).by(&nobody)).await.json()["total"], 0);
}

#[tokio::test]
async fn tokens_of_others_are_for_administrators() {
    let stage = Stage::new().await;
    let kim = stage.user("kim", &[]).await;
    let own = stage.send(Method::POST, "/runlog/v1/tokens", Ask::with(&[]).by(&kim).body(r#"{"name":"second"}"#)).await;
    assert_eq!(own.status, 201);
    let list = stage.send(Method::GET, "/runlog/v1/tokens", Ask::with(&[]).by(&kim)).await.json();
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert!(list.as_array().unwrap().iter().all(|token| token.get("token").is_none()), "a token is shown once");
    let all = stage.get("/runlog/v1/tokens").await.json();
    let foreign = all.as_array().unwrap().iter().find(|token| token["userId"] != own.json()["userId"]).unwrap();
    let (user, id) = (foreign["userId"].as_str().unwrap(), foreign["id"].as_str().unwrap());
    let body = format!(r#"{{"name":"theirs","userId":"{user}"}}"#);
    stage
        .send(Method::POST, "/runlog/v1/tokens", Ask::with(&[]).by(&kim).body(body))
        .await
        .is_error(403, &["administrator"]);
    stage.send(Method::DELETE, &format!("/runlog/v1/tokens/{id}"), Ask::with(&[]).by(&kim)).await.is_error(404, &[]);
    let own_id = own.json()["id"].as_str().unwrap().to_owned();
    let gone = stage.send(Method::DELETE, &format!("/runlog/v1/tokens/{own_id}"), Ask::with(&[]).by(&kim)).await;
    assert_eq!(gone.status, 204);
    let revoked = own.json()["token"].as_str().unwrap().to_owned();
    stage.send(Method::GET, "/runlog/v1/tokens", Ask::with(&[]).by(&revoked)).await.is_error(401, &["revoked"]);
}

#[tokio::test]
async fn a_service_account_trades_its_secret_for_a_token_that_expires() {
    let stage = Stage::new().await;
    let made = stage.post("/account/service-accounts", r#"{"name":"monitor"}"#).await;
    assert_eq!((made.status.as_u16(), made.header("location").is_empty()), (201, false));
    let (id, secret) =
        (made.json()["id"].as_str().unwrap().to_owned(), made.json()["secret"].as_str().unwrap().to_owned());
    let basic = format!(
        "Basic {}",
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("{id}:{secret}"))
    );
    let json = r#"{"audience":"https://api.eu.cloud.talend.com","grant_type":"client_credentials"}"#;
    let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
    let oauth = "/security/oauth/token";
    let by_form = stage.send(Method::POST, oauth, Ask::with(&[]).body(form)).await;
    assert_eq!(by_form.status, 200, "{}", by_form.text());
    let by_json = stage.send(Method::POST, oauth, Ask::with(&[("authorization", &basic)]).body(json)).await.json();
    assert_eq!((by_json["token_type"].as_str(), by_json["expires_in"].as_u64()), (Some("Bearer"), Some(1_800)));
    let token = by_json["access_token"].as_str().unwrap().to_owned();

    let list = || stage.send(Method::GET, "/orchestration/workspaces", Ask::with(&[]).by(&token));
    assert_eq!(list().await.status, 200);
    stage.clock.advance_ms(1_799_999);
    assert_eq!(list().await.status, 200);
    stage.clock.advance_ms(1);
    list().await.is_error(401, &["expired"]);

    let wrong = Ask::with(&[("authorization", "Basic YTpi")]).body(json);
    stage.send(Method::POST, oauth, wrong).await.is_error(401, &["invalid"]);
    for body in ["{", r#"{"audience":"x"}"#, r#"{"grant_type":"password"}"#] {
        let answer = stage.send(Method::POST, oauth, Ask::with(&[("authorization", &basic)]).body(body)).await;
        answer.is_error(400, &[]);
    }
    assert_eq!(stage.ask(Method::DELETE, &format!("/account/service-accounts/{id}"), "").await.status, 204);
    let gone = Ask::with(&[("authorization", &basic)]).body(json);
    stage.send(Method::POST, oauth, gone).await.is_error(401, &[]);
}

#[tokio::test]
async fn a_manager_of_a_workspace_grants_rights_in_it() {
    let stage = Stage::new().await;
    let manager = stage.user("manager", &[Right::Manage]).await;
    let kim = stage.post("/runlog/v1/users", r#"{"name":"kim"}"#).await.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/security/workspaces/{}/users/{kim}/permissions", stage.workspace);
    let send = |method, body: &'static str| stage.send(method, &path, Ask::with(&[]).by(&manager).body(body));
    assert_eq!(send(Method::POST, r#"["VIEW","AUTHOR"]"#).await.status, 201);
    send(Method::POST, r#"["VIEW"]"#).await.is_error(409, &["PUT"]);
    let held = async || send(Method::GET, "").await.json()["permissions"].clone();
    assert_eq!(held().await, serde_json::json!(["AUTHOR", "VIEW"]));
    assert_eq!(send(Method::PUT, r#"["EXECUTE"]"#).await.status, 204);
    assert_eq!(held().await, serde_json::json!(["EXECUTE"]));
    assert_eq!(send(Method::DELETE, "").await.status, 204);
    assert_eq!(held().await, serde_json::json!([]));
    send(Method::POST, r#"["OWN"]"#).await.is_error(400, &["OWN"]);
}

#[tokio::test]
async fn reads_and_deletions_are_audited() {
    let stage = Stage::new().await;
    stage.push(&lines([1_000])).await;
    let kim = stage.user("kim", &[Right::View]).await;
    let link = stage.link("").await;
    stage.send(Method::GET, &link, Ask::with(&[])).await;
    let logs = format!("/monitoring/executions/{RUN}/logs");
    stage.send(Method::GET, &logs, Ask::with(&[("x-request-id", "night-1")]).by(&kim)).await.is_error(403, &[]);
    stage.ask(Method::DELETE, &logs, "").await;

    let entries = stage.get("/runlog/v1/audit").await.json();
    let seen: Vec<String> = entries["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            format!(
                "{} {} {}",
                entry["callerName"].as_str().unwrap(),
                entry["action"].as_str().unwrap(),
                entry["status"]
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            "admin delete log 200",
            "kim read log 403",
            "holder of a link download page 200",
            "admin request page 200",
            "admin start run 201",
        ]
    );
    let of_run = stage.get(&format!("/runlog/v1/audit?subject={RUN}&limit=2")).await.json();
    assert_eq!((of_run["total"].as_u64(), of_run["items"][1]["requestId"].as_str()), (Some(4), Some("night-1")));
    let unknown = stage.get("/runlog/v1/audit?callerId=nobody").await.json();
    assert_eq!(unknown["total"], 0);
}

/// Every request with a forged link was recorded, without a limit.
#[tokio::test]
async fn a_link_that_was_not_signed_here_leaves_nothing_and_counts_against_its_address() {
    let stage = Stage::with(|_| (), |settings| settings.anonymous_requests_per_second = 2).await;
    stage.push(&lines([1_000])).await;
    let link = stage.link("").await;
    let written = async || stage.get("/runlog/v1/audit").await.json()["total"].as_u64().unwrap();
    let before = written().await;
    let get = |path: String| {
        let stage = &stage;
        async move { stage.send(Method::GET, &path, Ask::with(&[])).await }
    };
    get("/runlog/v1/downloads/%00/%00?expires=1".to_owned()).await.is_error(403, &["altered"]);
    get(format!("{link}0")).await.is_error(403, &["altered"]);
    get("/runlog/v1/downloads/k/f".to_owned()).await.is_error(429, &["without a valid token"]);
    assert_eq!(get(link.clone()).await.status, 200, "a good link passes");
    stage.clock.advance_ms(3_600_000);
    get(link).await.is_error(403, &["expired"]);
    assert_eq!(written().await, before + 1);
}

/// A read that could not be recorded was answered nevertheless.
#[tokio::test]
async fn nobody_reads_a_log_without_leaving_a_trace() {
    let stage = Stage::new().await;
    stage.push(&lines([1_000])).await;
    let link = stage.link("").await;
    let logs = format!("/monitoring/executions/{RUN}/logs");
    let looks = format!("/runlog/v1/runs/{RUN}/records");
    stage.sql("CREATE TRIGGER no_room BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no room'); END").await;
    for path in [&logs, &looks, &looks, &link, &format!("/runlog/v1/runs/{RUN}/log")] {
        let answer = stage.get(path).await;
        answer.is_error(503, &["audit entry"]);
        assert!(!answer.text().contains("at 1000"), "{path}");
    }
    stage.post(&logs, "").await.is_error(503, &[]);
    // A refused request reveals nothing, and a change that cannot be recorded is not made.
    let nobody = stage.user("nobody", &[]).await;
    stage.send(Method::GET, &logs, Ask::with(&[]).by(&nobody)).await.is_error(403, &["Viewer"]);
    let finish = r#"{"status":"execution_failed"}"#;
    stage.post(&format!("/runlog/v1/runs/{RUN}/finish"), finish).await.is_error(503, &[]);
    let run = stage.get(&format!("/processing/executions/{RUN}")).await.json();
    assert_ne!(run["status"], "execution_failed", "{run}");

    stage.sql("DROP TRIGGER no_room").await;
    for _ in 0..2 {
        assert_eq!(stage.get(&looks).await.status, 200);
    }
    let entries = stage.get("/runlog/v1/audit").await.json();
    assert_eq!(entries["items"][0]["action"], "look at log");
    assert_eq!(entries["items"][1]["action"], "request page", "{entries}");
}

/// A moved task takes its settings along, but not the logs that others may read.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_has_moved_leaves_its_runs_where_they_were() {
    let stage = Stage::new().await;
    let now = runlog_model::Clock::now(&*stage.clock).as_millis();
    let failed = serde_json::json!({"logTimestamp": now, "severity": "ERROR", "logMessage": "load of orders failed"});
    stage.push(&format!("{failed}\n")).await;
    let finish = r#"{"status":"execution_failed","errorMessage":"no table orders"}"#;
    assert_eq!(stage.post(&format!("/runlog/v1/runs/{RUN}/finish"), finish).await.status, 200);
    stage.clock.advance_ms(60_000);
    while stage.store.maintenance().seal().await.unwrap().runs > 0 {}
    runlog_analysis::summarize_all(stage.store.summaries(), stage.store.logs()).await.unwrap();

    let (there, task) = (stage.other_workspace().await, stage.task);
    let mut moved = stage.store.workspaces().task(task).await.unwrap().unwrap();
    moved.workspace = there.clone();
    stage.store.workspaces().upsert_task(&moved).await.unwrap();
    let newcomer = stage.user_in(there.id, "newcomer", &Right::ALL).await;
    let get = |path: String| {
        let (stage, newcomer) = (&stage, newcomer.as_str());
        async move { stage.send(Method::GET, &path, Ask::with(&[]).by(newcomer)).await }
    };
    for path in [
        format!("/processing/executables/tasks/{task}/executions"),
        format!("/runlog/v1/tasks/{task}/runs"),
        "/processing/executables/tasks/executions".to_owned(),
        "/runlog/v1/overview/tasks".to_owned(),
        "/runlog/v1/overview/workspaces".to_owned(),
        format!("/runlog/v1/tasks/{task}/report"),
        format!("/runlog/v1/workspaces/{}/report", there.id),
    ] {
        let answer = get(path.clone()).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        for secret in [RUN, "orders"] {
            assert!(!answer.text().contains(secret), "{path}: {}", answer.text());
        }
    }
    let line = get("/runlog/v1/overview/tasks".to_owned()).await.json()["items"][0].clone();
    assert_eq!((&line["taskId"], &line["runs"]), (&task.to_string().into(), &0.into()));
    for path in [format!("/processing/executions/{RUN}"), format!("/runlog/v1/runs/{RUN}/report")] {
        get(path).await.is_error(403, &[&stage.workspace.to_string()]);
    }
    let start = format!(r#"{{"taskId":"{task}","logLevel":"WARN"}}"#);
    let ask = Ask::with(&[]).by(&newcomer).body(start);
    let changed = stage.send(Method::PUT, &format!("/runlog/v1/runs/{RUN}"), ask).await;
    changed.is_error(403, &["Publisher", &stage.workspace.to_string()]);

    // A caller who may view both workspaces sees both, and a new run is in the new one.
    let next = "6c0e5a34-0000-4000-8000-0000000000aa";
    let start = format!(r#"{{"taskId":"{task}"}}"#);
    let ask = Ask::with(&[]).by(&newcomer).body(start);
    assert_eq!(stage.send(Method::PUT, &format!("/runlog/v1/runs/{next}"), ask).await.status, 201);
    let path = format!("/processing/executables/tasks/{task}/executions");
    assert_eq!(
        (get(path.clone()).await.json()["total"].as_u64(), stage.get(&path).await.json()["total"].as_u64()),
        (Some(1), Some(2))
    );
}

#[tokio::test]
async fn rights_are_granted_and_revoked_in_batches() {
    let stage = Stage::new().await;
    let (workspace, users) = (stage.workspace, "/security/permissions");
    stage.user("kim", &[]).await;
    stage.user("lee", &[]).await;
    let ids: Vec<String> = stage.store.accounts().users().await.unwrap().into_iter().map(|user| user.id).collect();
    let (kim, lee) = (&ids[1], &ids[2]);
    let part = |user: &str, rights: &[&str]| serde_json::json!({"workspaceId": workspace.to_string(), "userId": user, "permissions": rights});
    let batch = |parts: &[serde_json::Value]| serde_json::Value::from(parts).to_string();

    let both = batch(&[part(kim, &["VIEW"]), part(lee, &["VIEW", "AUTHOR"])]);
    assert_eq!(stage.post(&format!("{users}/batch"), both).await.status, 204);
    let again = stage.post(&format!("{users}/batch"), batch(&[part(kim, &["VIEW"])])).await;
    assert_eq!((again.status.as_u16(), again.json()[0]["status"].as_u64()), (207, Some(409)), "{}", again.text());
    let change = batch(&[part(kim, &["EXECUTE"]), part("nobody", &["VIEW"])]);
    let changed = stage.ask(Method::PUT, &format!("{users}/batch"), change).await;
    assert_eq!(changed.json()[0]["permission"]["userId"], "nobody");
    let listed = stage.get(&format!("{users}?userId={kim}&workspaceId={workspace}")).await.json();
    assert_eq!(listed, serde_json::json!([part(kim, &["EXECUTE"])]));

    stage.ask(Method::DELETE, &format!("{users}/batch"), "").await.is_error(400, &["userIds", "workspaceIds"]);
    let gone = stage.ask(Method::DELETE, &format!("{users}/batch?userIds={kim},{lee}"), "").await;
    assert_eq!(gone.status, 204);
    assert_eq!(stage.get(users).await.json(), serde_json::json!([]));

    let robot = stage.post("/account/service-accounts", r#"{"name":"robot"}"#).await.json()["id"].to_string();
    let robot = robot.trim_matches('"');
    let accounts = "/security/service-accounts/permissions";
    assert_eq!(stage.post(&format!("{accounts}/batch"), batch(&[part(robot, &["VIEW"])])).await.status, 204);
    let listed = stage.get(&format!("{accounts}?serviceAccountId={robot}")).await.json();
    assert_eq!(listed[0]["userId"], robot);
    assert_eq!(stage.get(&format!("{users}?userId={robot}")).await.json(), serde_json::json!([]));
}

#[tokio::test]
async fn only_managers_see_and_grant_rights() {
    let stage = Stage::new().await;
    let kim = stage.user("kim", &[Right::View, Right::Author, Right::Execute]).await;
    let ask = |method: Method, path: &'static str, body: String| {
        let kim = kim.clone();
        let stage = &stage;
        async move { stage.send(method, path, Ask::with(&[]).by(&kim).body(body)).await }
    };
    assert_eq!(ask(Method::GET, "/security/permissions", String::new()).await.json(), serde_json::json!([]));
    let part = format!(r#"[{{"workspaceId":"{}","userId":"x","permissions":["MANAGE"]}}]"#, stage.workspace);
    let refused = ask(Method::POST, "/security/permissions/batch", part).await;
    assert_eq!((refused.status.as_u16(), refused.json()[0]["status"].as_u64()), (207, Some(403)));
}

#[tokio::test]
async fn a_new_key_signs_and_older_keys_verify_until_revoked() {
    let stage = Stage::new().await;
    stage.push(&lines([1_000])).await;
    let account = stage.post("/account/service-accounts", r#"{"name":"robot"}"#).await.json();
    let basic = base64::engine::general_purpose::STANDARD.encode(format!(
        "{}:{}",
        account["id"].as_str().unwrap(),
        account["secret"].as_str().unwrap()
    ));
    let basic = format!("Basic {basic}");
    let token = || async {
        let ask = Ask::with(&[("authorization", &basic)]).body(r#"{"grant_type":"client_credentials","audience":"x"}"#);
        let answer = stage.send(Method::POST, "/security/oauth/token", ask).await;
        answer.json()["access_token"].as_str().unwrap().to_owned()
    };
    let rotate = |body: &'static str| {
        let stage = &stage;
        async move { stage.post("/runlog/v1/keys", body).await.json()["id"].to_string() }
    };
    let works = |token: String| {
        let stage = &stage;
        async move { stage.send(Method::GET, "/orchestration/workspaces", Ask::with(&[]).by(&token)).await.status == 200 }
    };
    let opens = |link: String| {
        let stage = &stage;
        async move { stage.send(Method::GET, &link, Ask::with(&[])).await.status == 200 }
    };
    let (first_token, first_link) = (token().await, stage.link("").await);
    assert!(works(first_token.clone()).await && opens(first_link.clone()).await);
    assert_eq!(rotate(r#"{"purpose":"access-tokens"}"#).await, "\"access-tokens-2\"");
    assert_eq!(rotate(r#"{"purpose":"links"}"#).await, "\"links-2\"");
    let (second_token, second_link) = (token().await, stage.link("").await);
    assert!(second_link.contains("key=links-2"));
    assert!(works(first_token.clone()).await && opens(first_link.clone()).await);

    rotate(r#"{"purpose":"access-tokens","revokeOlder":true}"#).await;
    rotate(r#"{"purpose":"links","revokeOlder":true}"#).await;
    assert!(!works(first_token).await && !works(second_token).await && works(token().await).await);
    assert!(!opens(first_link).await && !opens(second_link).await && opens(stage.link("").await).await);
    let listed = stage.get("/runlog/v1/keys").await.json();
    let ids: Vec<&str> = listed.as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["access-tokens-3", "links-3"]);
    stage.post("/runlog/v1/keys", r#"{"purpose":"doors"}"#).await.is_error(400, &["access-tokens"]);
}

#[tokio::test]
async fn changes_and_deletions_of_workspaces_and_users_are_audited() {
    let stage = Stage::new().await;
    stage.push(&lines([1_000])).await;
    let (workspace, task) = (stage.workspace, stage.task);
    let put = |path: String, body: &'static str| {
        let stage = &stage;
        async move { stage.ask(Method::PUT, &path, body).await }
    };
    let delete = |path: String| {
        let stage = &stage;
        async move { stage.ask(Method::DELETE, &path, "").await }
    };

    let of_task = format!("/runlog/v1/tasks/{task}");
    let changed = put(of_task.clone(), r#"{"name":"weekly","version":"2.0","tags":["late"]}"#).await;
    assert_eq!((changed.status.as_u16(), changed.json()["tags"][0].as_str()), (200, Some("late")));
    let shown = stage.get(&format!("/runlog/v1/runs/{RUN}/summary")).await.text();
    assert!(shown.contains("weekly") && !shown.contains("nightly"), "{shown}");
    put(of_task.clone(), r#"{"name":"weekly"}"#).await.is_error(400, &["version"]);
    put("/runlog/v1/tasks/none".to_owned(), r#"{"name":"a","version":"1"}"#).await.is_error(400, &["taskId"]);
    delete(of_task).await.is_error(409, &["1 run", "renamed"]);
    delete(format!("/runlog/v1/workspaces/{workspace}")).await.is_error(409, &["1 task"]);
    let other = stage.other_workspace().await;
    let of_other = format!("/runlog/v1/workspaces/{}", other.id);
    put(of_other.clone(), r#"{"name":"team","owner":"kim"}"#).await.is_error(409, &["team"]);
    let changed = put(of_other.clone(), r#"{"name":"crew","owner":"kim","description":"d"}"#).await.json();
    assert_eq!((changed["name"].as_str(), changed["owner"].as_str()), (Some("crew"), Some("kim")));
    assert_eq!(delete(of_other.clone()).await.status, 204);
    delete(of_other).await.is_error(404, &["no workspace"]);
    let made = stage.post("/runlog/v1/environments", r#"{"name":"test"}"#).await.json();
    let of_environment = format!("/runlog/v1/environments/{}", made["id"].as_str().unwrap());
    assert_eq!(put(of_environment.clone(), r#"{"name":"trial"}"#).await.json()["name"], "trial");
    delete(format!("/runlog/v1/environments/{}", other.environment.id)).await.is_error(409, &["1 workspace"]);
    assert_eq!(delete(of_environment).await.status, 204);

    let kim = stage.user("kim", &[Right::View]).await;
    let json = [("content-type", "application/json")];
    let open = Ask::with(&json).body(format!(r#"{{"token":"{kim}"}}"#));
    let opened = stage.send(Method::POST, "/runlog/v1/session", open).await;
    let cookie = opened.header("set-cookie").split(';').next().unwrap().to_owned();
    let reads = || async {
        let by_token = stage.send(Method::GET, "/runlog/v1/session", Ask::with(&[]).by(&kim)).await.status;
        let by_cookie = stage.send(Method::GET, "/runlog/v1/session", Ask::with(&[("cookie", &cookie)])).await.status;
        (by_token.as_u16(), by_cookie.as_u16())
    };
    assert_eq!(reads().await, (200, 200));
    let users = stage.get("/runlog/v1/users").await.json();
    let id = |name: &str| {
        let found = users.as_array().unwrap().iter().find(|user| user["name"] == name);
        found.unwrap()["id"].as_str().unwrap().to_owned()
    };
    let (of_kim, own) = (format!("/runlog/v1/users/{}", id("kim")), format!("/runlog/v1/users/{}", id("admin")));
    delete(own.clone()).await.is_error(409, &["yourself"]);
    put(own, r#"{"name":"admin","administrator":false}"#).await.is_error(409, &["last administrator"]);
    put(of_kim.clone(), r#"{"name":"kim"}"#).await.is_error(400, &["administrator"]);
    assert_eq!(put(of_kim.clone(), r#"{"name":"kim b","administrator":true}"#).await.json()["name"], "kim b");
    assert_eq!(reads().await, (200, 200));
    assert_eq!(delete(of_kim.clone()).await.status, 204);
    assert_eq!(reads().await, (401, 401));
    delete(of_kim).await.is_error(404, &["no user"]);

    let entries = stage.get(&format!("/runlog/v1/audit?subject={}", id("kim"))).await.json();
    let seen: Vec<String> = entries["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| format!("{} {}", entry["action"].as_str().unwrap(), entry["status"]))
        .collect();
    let expected = ["delete user 404", "delete user 204", "change user 200", "change user 400"];
    assert_eq!(seen, expected);
    assert_eq!(entries["items"][1]["subject"], format!("{} kim b", id("kim")));
}
