//! The audit logs of the tenant are stored once and completely, whatever its pages do, and never hold up logs.

use runlog_collector::AuditLogRound;
use runlog_store::tenant_audit_logs::{StoredTenantAuditLog, TenantAuditFilter};
use serde_json::{Value, json};

use super::*;

/// The clock of the tests starts here.
const NOW_MS: i64 = 1_800_000_000_000;

fn id(number: i64) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

fn entry(number: i64, at_ms: i64) -> Value {
    json!({"logId": id(number), "timestamp": Timestamp::clamped(at_ms).to_string(), "username": "kim", "userId": "u-1",
        "email": "kim@example.com", "applicationId": "TMC", "eventType": "security", "eventCategory": "service account",
        "eventOperation": "create", "clientIp": "203.0.113.7", "requestId": id(900_000 + number),
        "request": {"method": "POST", "url": "https://api.example.com/account", "userAgent": "curl", "body": "{}"},
        "response": {"code": "201", "body": ""}, "ofALaterVersion": {"kept": [1, null]}})
}

/// So many entries, one every second until a minute ago.
fn entries(count: i64) -> Vec<Value> {
    (0..count).map(|number| entry(number, NOW_MS - 60_000 - number * 1_000)).collect()
}

impl Landing {
    /// A collector of a service with these audit logs.
    async fn of_audit_logs(entries: Vec<Value>, change: impl FnOnce(&mut CollectSettings)) -> Self {
        let mut script = Script::of(plain_log(5)).just_ended();
        script.audit_logs = entries;
        Self::of(script, |settings| {
            settings.component_metrics = false;
            settings.audit_logs = true;
            change(settings);
        })
        .await
    }

    async fn audit_round(&self) -> AuditLogRound {
        self.collector.collect_audit_logs(&CancellationToken::new()).await.unwrap()
    }

    async fn kept(&self) -> Vec<StoredTenantAuditLog> {
        let filter = TenantAuditFilter { limit: 1_000_000, ..TenantAuditFilter::default() };
        let (kept, total) = self.store.tenant_audit_logs().list(&filter).await.unwrap();
        assert_eq!(kept.len() as u64, total);
        kept
    }

    /// The IDs of what the archive has, sorted.
    async fn kept_ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.kept().await.into_iter().map(|kept| kept.id).collect();
        ids.sort();
        ids
    }
}

fn ids(count: i64) -> Vec<String> {
    (0..count).map(id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_is_stored_once_and_to_the_letter() {
    let landing = Landing::of_audit_logs(entries(2_345), |_| ()).await;
    assert_eq!(landing.audit_round().await, AuditLogRound { stored: 2_345, problem: None });
    let kept = landing.kept().await;
    let read: Value = serde_json::from_str(kept[0].body.get()).unwrap();
    assert_eq!(read, entry(0, NOW_MS - 60_000));
    assert_eq!(kept[0].fields.username.as_deref(), Some("kim"));
    assert_eq!(kept[0].fields.status.as_deref(), Some("201"));
    assert!(kept.windows(2).all(|pair| pair[0].time > pair[1].time), "newest first");
    // The same again: nothing is new, and little is requested.
    landing.stage.forget_requests();
    landing.stage.time.pass(300_000);
    assert_eq!(landing.audit_round().await, AuditLogRound::default());
    assert_eq!(landing.stage.count(At::AuditLogs), 1);
    assert_eq!(landing.kept_ids().await, ids(2_345));
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_come_late_are_stored_too() {
    let landing = Landing::of_audit_logs(entries(10), |_| ()).await;
    landing.audit_round().await;
    // Some minutes late, and some hours.
    landing.stage.change(|script| {
        script.audit_logs.push(entry(10, NOW_MS - 300_000));
        script.audit_logs.push(entry(11, NOW_MS - 20 * 3_600_000));
    });
    landing.stage.time.pass(300_000);
    assert_eq!(landing.audit_round().await.stored, 1);
    landing.stage.time.pass(3_600_000);
    assert_eq!(landing.audit_round().await.stored, 1);
    assert_eq!(landing.kept_ids().await, ids(12));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_is_divided_because_pages_far_behind_are_refused() {
    let many: Vec<Value> = (0..25_000).map(|number| entry(number, NOW_MS - 60_000 - number * 10)).collect();
    let landing = Landing::of_audit_logs(many, |_| ()).await;
    assert_eq!(landing.audit_round().await, AuditLogRound { stored: 25_000, problem: None });
    assert_eq!(landing.kept_ids().await, ids(25_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_shift_while_they_are_read_lose_nothing() {
    let landing = Landing::of_audit_logs(entries(2_500), |_| ()).await;
    landing.stage.change(|script| {
        script.audit_logs_meanwhile =
            (0..5).map(|number| (2, entry(2_500 + number, NOW_MS - 30_000 - number))).collect();
    });
    assert_eq!(landing.audit_round().await, AuditLogRound { stored: 2_505, problem: None });
    assert_eq!(landing.kept_ids().await, ids(2_505));
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_the_same_time_that_change_places_between_pages_are_all_stored() {
    let same: Vec<Value> = (0..1_500).map(|number| entry(number, NOW_MS - 60_000)).collect();
    let landing = Landing::of_audit_logs(same, |_| ()).await;
    landing.stage.change(|script| script.has_unsteady_order = true);
    assert_eq!(landing.audit_round().await.problem, None);
    assert_eq!(landing.kept_ids().await, ids(1_500));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_fails_throttles_or_answers_oddly_is_asked_again() {
    let throttled = Fault::Answer(
        429,
        vec![
            ("x-ratelimit-limit", "60".into()),
            ("x-ratelimit-remaining", "0".into()),
            ("x-ratelimit-reset", "17".into()),
        ],
        json!({"status": 429, "message": "Too many requests"}).to_string(),
    );
    let bad = |status: u16, body: &str| Fault::Answer(status, vec![], body.to_owned());
    for fault in [throttled, bad(500, ""), bad(503, "{}"), bad(200, "<html>"), bad(200, "[7]"), bad(404, "{}")] {
        for at in 1..=3 {
            let landing = Landing::of_audit_logs(entries(2_500), |_| ()).await;
            landing.stage.change(|script| script.faults = vec![(At::AuditLogs, at, fault.clone())]);
            for _ in 0..3 {
                landing.audit_round().await;
                landing.stage.time.pass(900_000);
            }
            assert_eq!(landing.kept_ids().await, ids(2_500), "{at} {fault:?}");
            let state = landing.store.tenant_audit_logs().collection("service").await.unwrap().unwrap();
            assert_eq!((state.entries, state.problem), (2_500, None), "{at} {fault:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_limit_is_waited_for() {
    let landing = Landing::of_audit_logs(entries(3), |_| ()).await;
    let headers = vec![("x-ratelimit-remaining", "0".to_owned()), ("x-ratelimit-reset", "17".to_owned())];
    let fault = Fault::Answer(429, headers, "{}".to_owned());
    landing.stage.change(|script| script.faults = vec![(At::AuditLogs, 1, fault)]);
    let before = landing.stage.time.now();
    assert_eq!(landing.audit_round().await.stored, 3);
    assert!(landing.stage.time.now().millis_since(before) >= 17_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_is_named_once_and_does_not_hold_up_logs() {
    let landing = Landing::of_audit_logs(entries(3), |_| ()).await;
    let refused = Fault::Answer(403, vec![], json!({"status": 403, "message": "Forbidden"}).to_string());
    landing.stage.change(|script| script.faults = vec![(At::AuditLogs, 0, refused)]);
    let problem = landing.audit_round().await.problem.unwrap();
    for word in ["Forbidden", "AUDIT_LOGS_VIEW", "Security Administrator", "support level", "audit_logs = false"] {
        assert!(problem.contains(word), "{word}: {problem}");
    }
    assert_eq!(landing.round().await.landed, 1);
    assert_eq!(landing.audit_round().await, AuditLogRound::default());
    assert_eq!(landing.stage.count(At::AuditLogs), 1, "not in every round");
    let state = landing.store.tenant_audit_logs().collection("service").await.unwrap().unwrap();
    assert!(state.problem.unwrap().contains("AUDIT_LOGS_VIEW"));
    // What was missed is there when the right is.
    landing.stage.change(|script| script.faults.clear());
    landing.stage.time.pass(900_000);
    assert_eq!(landing.audit_round().await, AuditLogRound { stored: 3, problem: None });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_round_continues_where_it_was() {
    let many: Vec<Value> = (0..25_000).map(|number| entry(number, NOW_MS - 60_000 - number * 10)).collect();
    let mut landing = Landing::of_audit_logs(many, |_| ()).await;
    let away = Fault::Answer(403, vec![], "{}".to_owned());
    let at = 12;
    landing.stage.change(|script| script.faults = vec![(At::AuditLogs, at, away)]);
    assert!(landing.audit_round().await.problem.is_some());
    let state = landing.store.tenant_audit_logs().collection("service").await.unwrap().unwrap();
    let until = Timestamp::clamped(state.listed_until.unwrap());
    landing.restart();
    landing.stage.forget_requests();
    landing.stage.change(|script| script.faults.clear());
    assert_eq!(landing.audit_round().await.problem, None);
    assert_eq!(landing.kept_ids().await, ids(25_000));
    let from: Timestamp = landing.stage.seen(At::AuditLogs)[0].split(' ').next().unwrap().parse().unwrap();
    assert!(from > until.plus_millis(-86_400_001), "{from} {until}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_killed_is_taken_over_when_its_lease_ends() {
    let landing = Landing::of_audit_logs(entries(3), |_| ()).await;
    let until = landing.stage.time.now().plus_millis(120_000);
    landing.store.tenant_audit_logs().claim("service", until).await.unwrap().unwrap();
    assert_eq!(landing.audit_round().await.stored, 0);
    landing.stage.time.pass(120_001);
    assert_eq!(landing.audit_round().await.stored, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_without_id_or_time_are_kept() {
    let mut odd = entries(2);
    odd[0].as_object_mut().unwrap().remove("logId");
    odd[1]["logId"] = json!("x".repeat(300));
    let landing = Landing::of_audit_logs(odd, |_| ()).await;
    assert_eq!(landing.audit_round().await.stored, 2);
    landing.stage.time.pass(60_000);
    assert_eq!(landing.audit_round().await.stored, 0, "they are known by their text");
    assert!(landing.kept().await.iter().all(|kept| kept.id.len() == 36));
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_deleted_by_age_and_not_collected_again() {
    let old = entry(7, NOW_MS - 3 * 86_400_000);
    let mut all = entries(2);
    all.push(old);
    let landing =
        Landing::of_audit_logs(all, |settings| settings.audit_logs_keep = Some(Duration::from_secs(2 * 86_400))).await;
    assert_eq!(landing.audit_round().await.stored, 2);
    landing.stage.time.pass(2 * 86_400_000);
    assert_eq!(landing.audit_round().await.stored, 0);
    assert_eq!(landing.kept_ids().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_deleted_by_age_whatever_the_service_does() {
    let landing =
        Landing::of_audit_logs(entries(2), |settings| settings.audit_logs_keep = Some(Duration::from_secs(2 * 86_400)))
            .await;
    assert_eq!(landing.audit_round().await.stored, 2);
    let refused = Fault::Answer(403, vec![], "{}".to_owned());
    landing.stage.change(|script| script.faults = vec![(At::AuditLogs, 0, refused)]);
    landing.stage.time.pass(2 * 86_400_000 - 600_000);
    assert!(landing.audit_round().await.problem.is_some());
    assert_eq!(landing.kept_ids().await, ids(2));
    // Nothing is requested now.
    landing.stage.time.pass(660_000);
    assert_eq!(landing.audit_round().await, AuditLogRound::default());
    assert_eq!(landing.kept_ids().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_entries_are_kept_and_hold_up_nothing() {
    let landing = Landing::of_audit_logs(entries(1), |_| ()).await;
    let odd = |number: i64, from: &str, to: &str| {
        let text = entry(number, NOW_MS - 60_000 - number * 1_000).to_string();
        assert!(text.contains(from), "{text}");
        text.replace(from, to)
    };
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let page = [
        odd(1, "\"kim\"", "\"k\\ud800\""),
        odd(2, "\"kept\"", "\"k\\ud800\""),
        odd(3, "\"u-1\"", "1e999"),
        odd(4, "\"{}\"", &deep),
        odd(5, "\"userId\"", "\"username\""),
        "null".to_owned(),
    ];
    let headers = [("page-last", "true"), ("total-elements", "6"), ("total-pages", "1")]
        .map(|(name, text)| (name, text.to_owned()));
    let answer = Fault::Answer(200, headers.to_vec(), format!("[{}]", page.join(",")));
    landing.stage.change(|script| script.faults = vec![(At::AuditLogs, 0, answer)]);
    let round = landing.audit_round().await;
    assert_eq!(round.stored, 5);
    assert!(round.problem.unwrap().contains("1 elements that are not objects"));
    assert_eq!(landing.stage.count(At::AuditLogs), 1, "once is enough");
    let kept = landing.kept().await;
    assert!(kept.iter().all(|kept| kept.time.as_millis() > NOW_MS - 66_000 && kept.fields.method.is_some()));
    assert_eq!(kept[0].fields.username.as_deref(), Some("k\u{fffd}"));
    // Those that come afterwards are collected.
    landing.stage.change(|script| script.faults.clear());
    landing.stage.time.pass(60_000);
    assert_eq!(landing.audit_round().await, AuditLogRound { stored: 1, problem: None });
    assert_eq!(landing.kept_ids().await, ids(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_counts_everything_is_not_believed() {
    let landing = Landing::of_audit_logs(Vec::new(), |_| ()).await;
    for (total, pages) in [("50000", 50), ("7", 1)] {
        let headers = vec![("total-elements", total.to_owned()), ("total-pages", pages.to_string())];
        let text = format!("[{}]", entry(1, NOW_MS - 60_000));
        // Pages of ten when it is asked what it counts.
        let few = vec![
            ("total-elements", total.to_owned()),
            ("total-pages", total.parse::<u64>().unwrap().div_ceil(10).to_string()),
        ];
        let answer = Fault::Answer(200, headers, text.clone());
        let part = Fault::Answer(200, few, text);
        // The second reading of a short list confirms the first one.
        let asked_at = if pages == 1 { 3 } else { 2 };
        let mut faults: Vec<_> = (1..=9).map(|at| (At::AuditLogs, at, answer.clone())).collect();
        faults[asked_at - 1].2 = part;
        landing.stage.forget_requests();
        landing.stage.change(|script| script.faults = faults);
        assert_eq!(landing.audit_round().await.problem, None, "{total}");
        assert!(landing.stage.count(At::AuditLogs) < 9, "{total}");
        assert_eq!(landing.kept_ids().await, [id(1)]);
        landing.stage.time.pass(60_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_is_tested_by_name() {
    let landing = Landing::of_audit_logs(entries(3), |_| ()).await;
    let now = landing.stage.time.now();
    let range = Range { from: now.plus_millis(-86_400_000), to: now };
    let test = async || {
        let tests = landing.collector.test_rights(range).await.unwrap();
        let test = tests.into_iter().find(|test| test.what.contains("audit logs")).unwrap();
        format!("{:?}", test.outcome)
    };
    assert!(test().await.contains("3 entries"), "{}", test().await);
    let refused = Fault::Answer(403, vec![], "{}".to_owned());
    landing.stage.change(|script| script.faults = vec![(At::AuditLogs, 0, refused)]);
    assert!(test().await.contains("AUDIT_LOGS_VIEW"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_setting_nothing_is_requested() {
    let landing = Landing::of_audit_logs(entries(3), |settings| settings.audit_logs = false).await;
    assert_eq!(landing.audit_round().await, AuditLogRound::default());
    assert_eq!(landing.stage.count(At::AuditLogs), 0);
}
