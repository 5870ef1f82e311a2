//! The audit logs of tenants: the vendor's path to the letter, the search, and who may read them.

use axum::http::Method;
use runlog_model::tenant_audit_log::TenantAuditLog;
use runlog_model::workspaces::Right;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::support::{Ask, Stage};

const PATH: &str = "/security/audit/logs";
const SEARCH: &str = "/runlog/v1/tenant-audit-logs";

fn id(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// An entry of a minute of the hour before the clock of the tests: 2026-11-23T09:54:10Z.
fn text(number: u32, user: &str, operation: &str) -> String {
    let at = format!("2026-11-23T09:{number:02}:00.1234Z");
    let (log, request) = (id(number), id(900 + number));
    format!(
        r#"{{"timestamp":"{at}", "logId":"{log}","requestId":"{request}","applicationId":"TMC","eventCategory":"service account","eventType":"security","eventOperation":"{operation}","clientIp":"203.0.113.7","userId":"u-{user}","username":"{user}","email":"{user}@example.com","request":{{"url":"https://api.example.com/account?q=<b>","method":"POST","userAgent":"curl","body":"{{}}"}},"response":{{"code":"201","body":""}},"ofALaterVersion":1.0}}"#
    )
}

impl Stage {
    async fn keep(&self, texts: &[String]) {
        let entries: Vec<TenantAuditLog> = texts
            .iter()
            .map(|text| TenantAuditLog::read(RawValue::from_string(text.clone()).unwrap()).unwrap())
            .collect();
        let stored = self.store.tenant_audit_logs().store("cloud", &entries).await.unwrap();
        assert_eq!(stored, texts.len() as u64);
    }

    /// A service account with this permission, and its access token.
    async fn service_account(&self, permissions: &[&str]) -> String {
        let new = json!({"name": format!("reader {permissions:?}"), "permissions": permissions}).to_string();
        let json_type = [("content-type", "application/json")];
        let made =
            self.send(Method::POST, "/account/service-accounts", Ask::with(&json_type).by(&self.admin).body(new));
        let made = made.await.json();
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}",
            made["id"].as_str().unwrap(),
            made["secret"].as_str().unwrap()
        );
        let form_type = [("content-type", "application/x-www-form-urlencoded")];
        let token = self.send(Method::POST, "/security/oauth/token", Ask::with(&form_type).body(form)).await.json();
        token["access_token"].as_str().unwrap().to_owned()
    }
}

fn ids(answer: &Value) -> Vec<String> {
    answer.as_array().unwrap().iter().map(|entry| entry["logId"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_client_of_talend_cloud_pages_through_entries_to_the_letter() {
    let stage = Stage::new().await;
    let texts: Vec<String> = (0..25).map(|number| text(number, "kim", "create")).collect();
    stage.keep(&texts).await;
    let answer = stage.get(&format!("{PATH}?page=1&size=10")).await;
    let expected: Vec<&str> = texts.iter().rev().take(10).map(String::as_str).collect();
    assert_eq!(answer.text(), format!("[{}]", expected.join(",")), "newest first");
    let headers = |answer: &crate::support::Answer| {
        ["page-first", "page-number", "total-elements", "total-pages", "page-last", "page-total-elements"]
            .map(|name| answer.header(name).to_owned())
    };
    assert_eq!(headers(&answer), ["true", "1", "25", "3", "false", "10"]);
    let last = stage.get(&format!("{PATH}?page=3&size=10")).await;
    assert_eq!(headers(&last), ["false", "3", "25", "3", "true", "5"]);
    let beyond = stage.get(&format!("{PATH}?page=4&size=10")).await;
    assert_eq!(
        (headers(&beyond), beyond.text().as_str()),
        (["false", "4", "25", "3", "true", "0"].map(String::from), "[]")
    );
    assert_eq!(stage.get(PATH).await.header("page-total-elements"), "25", "100 by default");
}

#[tokio::test]
async fn windows_are_as_the_vendor_describes_them() {
    let stage = Stage::new().await;
    stage.keep(&(0..6).map(|number| text(number, "kim", "create")).collect::<Vec<_>>()).await;
    let found = async |query: &str| {
        let answer = stage.get(&format!("{PATH}?{query}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        ids(&answer.json())
    };
    let of = |numbers: &[u32]| numbers.iter().map(|number| id(*number)).collect::<Vec<_>>();
    assert_eq!(found("fromDate=2026-11-23T09:02:00Z&toDate=2026-11-23T09:04:00Z").await, of(&[3, 2]));
    assert_eq!(found("fromDate=2026-11-23T09:04:00.000&toDate=2099-01-01T00:00:00Z").await, of(&[5, 4]));
    assert_eq!(found(&format!("fromId={}", id(3))).await, of(&[5, 4, 3]));
    assert_eq!(found(&format!("fromId={}&toDate=2026-11-23T09:04:30Z", id(3))).await, of(&[4, 3]));
    assert_eq!(found(&format!("fromId={}", id(77))).await, of(&[]), "an unknown ID");
    let both = format!("fromId={}&fromDate=2026-11-23T09:05:00Z", id(3));
    assert_eq!(found(&both).await, of(&[5]), "fromDate has precedence");
    for wrong in [
        "fromDate=yesterday",
        "fromDate=2099-01-01T00:00:00Z",
        "fromDate=2026-11-23T09:05:00Z&toDate=2026-11-23T09:04:00Z",
        "toDate=7",
        "fromId=seven",
        "page=0",
        "size=0",
        "size=1001",
        "page=first",
    ] {
        stage.get(&format!("{PATH}?{wrong}")).await.is_error(400, &[wrong.split('=').next().unwrap()]);
    }
}

#[tokio::test]
async fn only_administrators_and_those_with_the_permission_read_them_through_any_door() {
    let stage = Stage::new().await;
    stage.keep(&[text(1, "kim", "create")]).await;
    let reader =
        stage.user("reader", &[Right::Author, Right::View, Right::Execute, Right::Manage, Right::Publish]).await;
    let other = stage.service_account(&["RUNLOG_METRICS"]).await;
    let auditor = stage.service_account(&["AUDIT_LOGS_VIEW"]).await;
    let json_type = [("content-type", "application/json")];
    let question = r#"{"query":"SELECT log_id, entry FROM tenant_audit_logs","format":"json"}"#;
    for token in [&reader, &other] {
        for path in [PATH, SEARCH] {
            let answer = stage.send(Method::GET, path, Ask::with(&[]).by(token)).await;
            answer.is_error(403, &["AUDIT_LOGS_VIEW"]);
            assert!(!answer.text().contains("kim"));
        }
        let rows = stage.send(Method::POST, "/runlog/v1/sql", Ask::with(&json_type).by(token).body(question)).await;
        assert_eq!((rows.status.as_u16(), rows.json()), (200, json!([])));
    }
    for token in [&auditor, &stage.admin] {
        let answer = stage.send(Method::GET, PATH, Ask::with(&[]).by(token)).await;
        assert_eq!(ids(&answer.json()), [id(1)]);
        let found = stage.send(Method::GET, SEARCH, Ask::with(&[]).by(token)).await.json();
        assert_eq!(found["items"][0]["username"], "kim");
        let rows = stage.send(Method::POST, "/runlog/v1/sql", Ask::with(&json_type).by(token).body(question)).await;
        assert_eq!(rows.json()[0]["log_id"], json!(id(1)));
        let of_runs = r#"{"query":"SELECT count(*) AS runs FROM runs","format":"json"}"#;
        let runs = stage.send(Method::POST, "/runlog/v1/sql", Ask::with(&json_type).by(token).body(of_runs)).await;
        assert_eq!(runs.json()[0]["runs"], 0);
    }
    // Reading them is recorded in the archive's own audit log, even after another read.
    let entries = stage.get("/runlog/v1/audit").await.json();
    let actions: Vec<&str> =
        entries["items"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions.iter().filter(|action| **action == "read tenant audit logs").count(), 6, "{actions:?}");
}

#[tokio::test]
async fn an_entry_that_does_not_decode_is_found_with_the_others() {
    let stage = Stage::new().await;
    let odd = text(1, "kim", "create").replace("1.0", "1e999");
    stage.keep(&[text(0, "kim", "create"), odd.clone(), text(2, "kim", "create")]).await;
    let answer = stage.get(SEARCH).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let items = answer.json()["items"].clone();
    assert_eq!(ids(&items), [id(2), id(1), id(0)]);
    assert_eq!((&items[1]["entry"]["ofALaterVersion"], &items[1]["username"]), (&json!("1e999"), &json!("kim")));
    assert!(stage.get(PATH).await.text().contains(&odd), "to the letter");
}

#[tokio::test]
async fn entries_are_found_by_time_user_event_and_text() {
    let stage = Stage::new().await;
    let entries = [(0, "kim", "create"), (1, "Lee", "delete"), (2, "kim", "delete")];
    stage.keep(&entries.map(|(number, user, operation)| text(number, user, operation))).await;
    let found = async |query: &str| -> Vec<String> {
        let answer = stage.get(&format!("{SEARCH}?{query}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        ids(&answer.json()["items"])
    };
    let of = |numbers: &[u32]| numbers.iter().map(|number| id(*number)).collect::<Vec<_>>();
    assert_eq!(found("").await, of(&[2, 1, 0]));
    for user in ["lee", "LEE@example.com", "u-Lee"] {
        assert_eq!(found(&format!("user={user}")).await, of(&[1]), "{user}");
    }
    assert_eq!(found("eventOperation=delete&user=kim").await, of(&[2]));
    assert_eq!(found("eventType=security&eventCategory=service%20account&applicationId=TMC").await, of(&[2, 1, 0]));
    assert_eq!(found("eventType=other").await, of(&[]));
    assert_eq!(found("upstream=cloud&limit=1&offset=1").await, of(&[1]));
    assert_eq!(found("upstream=elsewhere").await, of(&[]));
    assert_eq!(found("from=2026-11-23T09:01:00Z&to=2026-11-23T09:01:59Z").await, of(&[1]));
    assert_eq!(found("q=LEE@EXAMPLE").await, of(&[1]));
    assert_eq!(found("q=100%25").await, of(&[]), "not a pattern");
    assert_eq!(found("q=%3Cb%3E").await, of(&[2, 1, 0]));
    let item = stage.get(&format!("{SEARCH}?user=Lee")).await.json()["items"][0].clone();
    assert_eq!(item["entry"]["ofALaterVersion"], json!(1.0));
    assert_eq!(
        (&item["method"], &item["status"], &item["time"]),
        (&json!("POST"), &json!("201"), &json!("2026-11-23T09:01:00.123Z"))
    );
    stage.get(&format!("{SEARCH}?limit=101")).await.is_error(400, &["limit"]);
    stage.get(&format!("{SEARCH}?from=2026-11-23T09:02:00Z&to=2026-11-23T09:01:00Z")).await.is_error(400, &["later"]);
}
