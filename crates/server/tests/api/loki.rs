//! The read API of Grafana Loki, compared with a naive evaluation of the same records.

use axum::http::{Method, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use runlog_model::RunStatus;
use runlog_model::wire::push::FinishRun;
use runlog_model::workspaces::Right;
use runlog_server::ServerSettings;
use serde_json::{Value, json};

use crate::support::{Answer, Ask, Live, RUN, Stage};

/// The clock of a stage stands here. Unit: milliseconds.
const NOW: i64 = 1_795_434_850_000;

const SECOND_RUN: &str = "6c0e5a34-0000-4000-8000-000000000002";
const OTHER_RUN: &str = "6c0e5a34-0000-4000-8000-000000000003";

/// A record of the tests.
#[derive(Debug, Clone)]
struct Line {
    time_ms: i64,
    run: &'static str,
    severity: &'static str,
    message: String,
    component: &'static str,
}

const SEVERITIES: [&str; 4] = ["INFO", "ERROR", "WARN", "INFO"];
const COMPONENTS: [&str; 3] = ["tLogRow_1", "tDBInput_2", "tMap_1"];

/// Forty records of two runs in several batches, some of which come late.
fn lines() -> Vec<Line> {
    let line = |index: i64| Line {
        time_ms: NOW - 600_000 + (index * 7_919) % 400_000,
        run: if index % 3 == 0 { SECOND_RUN } else { RUN },
        severity: SEVERITIES[usize::try_from(index % 4).unwrap()],
        message: match index % 5 {
            0 => format!("rows={index} took={}ms state=done", index * 10),
            1 => format!("{{\"rows\":{index},\"state\":\"json\",\"deep\":{{\"x\":\"y\"}}}}"),
            2 => format!("Connection to host{index} lost\n\tat line two"),
            3 => format!("plain text number {index} <b>&\u{1b}[31m\u{202e}"),
            _ => format!("Error: disk full on volume {index}"),
        },
        component: COMPONENTS[usize::try_from(index % 3).unwrap()],
    };
    (0..40).map(line).collect()
}

fn json_lines<'l>(lines: impl IntoIterator<Item = &'l Line>) -> String {
    let json = |line: &Line| {
        json!({"logTimestamp": line.time_ms, "severity": line.severity, "logMessage": line.message,
            "bundleName": line.component, "thread": "main"})
    };
    lines.into_iter().map(|line| json(line).to_string() + "\n").collect()
}

async fn push(stage: &Stage, run: &str, lines: &[&Line]) {
    for batch in lines.chunks(5) {
        let answer = stage.post(&format!("/runlog/v1/runs/{run}/records"), json_lines(batch.iter().copied())).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// A stage with the records; the second run has ended and is sealed.
async fn stage() -> Stage {
    let stage = Stage::new().await;
    let lines = lines();
    for run in [RUN, SECOND_RUN] {
        stage.start_as(run).await;
        let of_run: Vec<&Line> = lines.iter().filter(|line| line.run == run).collect();
        push(&stage, run, &of_run).await;
    }
    let finish = FinishRun {
        status: RunStatus::Failed,
        ..serde_json::from_value(json!({"status": "execution_failed"})).unwrap()
    };
    stage.store.runs().finish(SECOND_RUN.parse().unwrap(), &finish).await.unwrap();
    stage.clock.advance_ms(31_000);
    stage.store.maintenance().seal().await.unwrap();
    stage
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// A request with a query and other parameters over the time of the records.
async fn ask_by(stage: &Stage, token: &str, route: &str, query: &str, more: &str) -> Answer {
    let (start, end) = ((NOW - 600_000) * 1_000_000, NOW * 1_000_000);
    let path = format!("/loki/api/v1/{route}?query={}&start={start}&end={end}{more}", encoded(query));
    stage.send(Method::GET, &path, Ask::with(&[]).by(token)).await
}

async fn ask(stage: &Stage, route: &str, query: &str, more: &str) -> Value {
    let answer = ask_by(stage, &stage.admin, route, query, more).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.json()
}

/// Times and lines of all streams of an answer, sorted.
fn values(answer: &Value) -> Vec<(String, String)> {
    let streams = answer["data"]["result"].as_array().unwrap().iter();
    let values = streams.flat_map(|stream| stream["values"].as_array().unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut values: Vec<(String, String)> = values.map(|value| (text(&value[0]), text(&value[1]))).collect();
    values.sort();
    values
}

/// The same of the records that fit.
fn naive(fits: impl Fn(&Line) -> bool) -> Vec<(String, String)> {
    let fitting = lines().into_iter().filter(|line| fits(line));
    let mut values: Vec<(String, String)> =
        fitting.map(|line| (format!("{}000000", line.time_ms), line.message)).collect();
    values.sort();
    values
}

#[tokio::test]
async fn log_queries_find_what_a_naive_evaluation_finds() {
    let stage = stage().await;
    type Fits = fn(&Line) -> bool;
    let cases: [(&str, Fits); 16] = [
        (r#"{task="nightly"}"#, |_| true),
        (r#"{service_name=~"night.*", workspace="team"}"#, |_| true),
        (r#"{severity="ERROR"}"#, |line| line.severity == "ERROR"),
        (r#"{severity!~"INFO|WARN", task=~".+"}"#, |line| line.severity == "ERROR"),
        (r#"{status="execution_failed"}"#, |line| line.run == SECOND_RUN),
        (r#"{task="nightly", status!="execution_failed"}"#, |line| line.run == RUN),
        (r#"{run_id="6c0e5a34-0000-4000-8000-000000000002"}"#, |line| line.run == SECOND_RUN),
        (r#"{task="nightly", nothing=""}"#, |_| true),
        (r#"{task="nightly"} |= "disk" != "volume 4""#, |line| {
            line.message.contains("disk") && !line.message.contains("volume 4")
        }),
        (r#"{task="nightly"} |= "disk" or "lost""#, |line| {
            line.message.contains("disk") || line.message.contains("lost")
        }),
        (r#"{task="nightly"} |~ "(?i)CONNECTION""#, |line| line.message.contains("Connection")),
        (r#"{task="nightly"} | component = "tMap_1""#, |line| line.component == "tMap_1"),
        (r#"{task="nightly"} | detected_level = `warn` or thread != `main`"#, |line| line.severity == "WARN"),
        (r#"{task="nightly"} | logfmt | took > 200ms"#, |line| {
            let took = line.message.split_once("took=").and_then(|(_, rest)| rest.split_once("ms"));
            took.is_some_and(|(took, _)| took.parse::<i64>().unwrap() > 200)
        }),
        (r#"{task="nightly"} | json | state = "json" | deep_x = "y""#, |line| line.message.contains("json")),
        (r#"{task="nightly"} | pattern "<_> on volume <volume>" | volume =~ "1.*""#, |line| {
            line.message.split_once("volume ").is_some_and(|(_, volume)| volume.starts_with('1'))
        }),
    ];
    for (query, fits) in cases {
        let expected = naive(fits);
        assert!(!expected.is_empty(), "{query} finds nothing");
        for direction in ["backward", "forward"] {
            let more = format!("&limit=1000&direction={direction}");
            assert_eq!(values(&ask(&stage, "query_range", query, &more).await), expected, "{query}");
        }
    }
    for query in [r#"{nothing="x"}"#, r#"{task="x"}"#, r#"{run_id="x"}"#, r#"{severity="x"}"#, r#"{workspace="x"}"#] {
        assert_eq!(values(&ask(&stage, "query_range", query, "").await), [], "{query}");
    }
}

#[tokio::test]
async fn a_limit_takes_the_newest_or_the_oldest_records_in_order() {
    let stage = stage().await;
    let all = naive(|_| true);
    for limit in [1, 7, 39] {
        let newest = ask(&stage, "query_range", r#"{task="nightly"}"#, &format!("&limit={limit}")).await;
        assert_eq!(values(&newest), all[all.len() - limit..]);
        let oldest =
            ask(&stage, "query_range", r#"{task="nightly"}"#, &format!("&limit={limit}&direction=FORWARD")).await;
        assert_eq!(values(&oldest), all[..limit]);
        for (answer, is_descending) in [(newest, true), (oldest, false)] {
            for stream in answer["data"]["result"].as_array().unwrap() {
                let times: Vec<&str> =
                    stream["values"].as_array().unwrap().iter().map(|value| value[0].as_str().unwrap()).collect();
                assert!(if is_descending { times.is_sorted_by(|a, b| a >= b) } else { times.is_sorted() });
            }
        }
    }
    // The context of a record: the end of a range is not in it, and its start is.
    let (time, _) = &all[20];
    let before =
        format!("/loki/api/v1/query_range?query={}&start=0&end={time}&limit=100", encoded(r#"{task="nightly"}"#));
    assert_eq!(values(&stage.get(&before).await.json()), all[..20]);
    let after = before.replace(&format!("start=0&end={time}"), &format!("start={time}&direction=forward"));
    assert_eq!(values(&stage.get(&after).await.json()), all[20..]);
}

#[tokio::test]
async fn entries_have_their_labels_by_category() {
    let stage = stage().await;
    let query = r#"{task="nightly"} |= "took=0ms" | logfmt | line_format "{{.state}} {{.component}}""#;
    let (start, end) = ((NOW - 600_000) * 1_000_000, NOW * 1_000_000);
    let path = format!("/loki/api/v1/query_range?query={}&start={start}&end={end}", encoded(query));
    let flags = [("x-loki-response-encoding-flags", "categorize-labels")];
    let answer = stage.send(Method::GET, &path, Ask::with(&flags).by(&stage.admin)).await.json();
    assert_eq!((&answer["status"], &answer["data"]["resultType"]), (&json!("success"), &json!("streams")));
    assert_eq!(answer["data"]["encodingFlags"], json!(["categorize-labels"]));
    let stream = &answer["data"]["result"][0];
    let environment = stream["stream"]["environment"].clone();
    assert_eq!(
        stream["stream"],
        json!({"environment": environment, "service_name": "nightly", "severity": "INFO", "status": "execution_failed",
            "task": "nightly", "workspace": "team"})
    );
    let value = &stream["values"][0];
    assert_eq!(value[1], "done tLogRow_1");
    assert_eq!(value[2]["parsed"], json!({"rows": "0", "took": "0ms", "state": "done"}));
    let metadata = &value[2]["structuredMetadata"];
    assert_eq!(metadata["detected_level"], "info");
    assert_eq!(metadata["run_id"], SECOND_RUN);
    assert_eq!(metadata["record_id"], format!("{SECOND_RUN}-0"));
    assert_eq!((&metadata["component"], &metadata["thread"]), (&json!("tLogRow_1"), &json!("main")));
    // Without the flag, all labels are those of the stream.
    let plain = stage.get(&path).await.json();
    let stream = &plain["data"]["result"][0];
    assert_eq!((&stream["stream"]["rows"], &stream["stream"]["run_id"]), (&json!("0"), &json!(SECOND_RUN)));
    assert_eq!(stream["values"][0].as_array().unwrap().len(), 2);
}

/// The naive count of records in the range before each instant.
fn naive_counts(range_ms: i64, steps: impl Iterator<Item = i64>, fits: impl Fn(&Line) -> bool) -> Vec<(i64, usize)> {
    let lines = lines();
    let count = |at: i64| {
        let within = lines.iter().filter(|line| line.time_ms > at - range_ms && line.time_ms <= at && fits(line));
        (at / 1_000, within.count())
    };
    steps.map(count).filter(|(_, count)| *count > 0).collect()
}

fn points(series: &Value) -> Vec<(i64, usize)> {
    let point = |value: &Value| (value[0].as_i64().unwrap(), value[1].as_str().unwrap().parse().unwrap());
    series["values"].as_array().unwrap().iter().map(point).collect()
}

#[tokio::test]
async fn metric_queries_count_what_a_naive_evaluation_counts() {
    let stage = stage().await;
    let steps = || (0..=20).map(|index| NOW - 600_000 + index * 30_000);
    let query = r#"sum by (level, detected_level) (count_over_time({task="nightly"} | drop __error__ [45s]))"#;
    let answer = ask(&stage, "query_range", query, "&step=30").await;
    assert_eq!(answer["data"]["resultType"], "matrix");
    let result = answer["data"]["result"].as_array().unwrap();
    assert_eq!(result.len(), 3);
    for series in result {
        let level = series["metric"]["detected_level"].as_str().unwrap();
        let expected = naive_counts(45_000, steps(), |line| line.severity.eq_ignore_ascii_case(level));
        assert_eq!(points(series), expected, "{level}");
    }
    let query = r#"sum(count_over_time({task="nightly"} |= "disk" [1h]))"#;
    let answer = ask(&stage, "query", query, &format!("&time={}", NOW / 1_000)).await;
    let disk = naive(|line| line.message.contains("disk")).len();
    assert_eq!(answer["data"]["result"], json!([{"metric": {}, "value": [NOW / 1_000, disk.to_string()]}]));
    let query =
        r#"max by (task) (max_over_time({task="nightly"} | logfmt | unwrap duration(took) | __error__="" [1h]))"#;
    let answer = ask(&stage, "query", query, &format!("&time={NOW}000000")).await;
    assert_eq!(answer["data"]["result"][0]["value"][1], "0.35");
    assert_eq!(answer["data"]["result"][0]["metric"], json!({"task": "nightly"}));
    // What Grafana asks to test a data source.
    let answer = ask(&stage, "query", "vector(1)+vector(1)", &format!("&time={NOW}000000")).await;
    assert_eq!(answer["data"]["resultType"], "vector");
    assert_eq!(answer["data"]["result"], json!([{"metric": {}, "value": [NOW / 1_000, "2"]}]));
    // Without a grouping, series have the labels of the records, but not an ID of their own.
    let answer = ask(&stage, "query", r#"count_over_time({task="nightly"}[1h])"#, &format!("&time={NOW}000000")).await;
    let series = answer["data"]["result"].as_array().unwrap();
    assert!(series.len() < 30 && series.iter().all(|series| series["metric"]["record_id"].is_null()), "{series:?}");
    let counted: usize = series.iter().map(|one| one["value"][1].as_str().unwrap().parse::<usize>().unwrap()).sum();
    assert_eq!(counted, 40);
}

#[tokio::test]
async fn labels_values_and_series_are_those_of_the_records_in_the_range() {
    let stage = stage().await;
    let names = ask(&stage, "labels", r#"{task="nightly"}"#, "").await;
    assert_eq!(names["data"], json!(["environment", "service_name", "severity", "status", "task", "workspace"]));
    let none = stage.get("/loki/api/v1/labels?start=1&end=2").await.json();
    assert_eq!(none["data"], json!([]));
    let range = format!("start={}&end={}", (NOW - 600_000) * 1_000_000, NOW * 1_000_000);
    let values = |name: &'static str, query: &'static str| {
        let path = format!("/loki/api/v1/label/{name}/values?{range}&query={}", encoded(query));
        let stage = &stage;
        async move { stage.get(&path).await.json()["data"].clone() }
    };
    assert_eq!(values("severity", "{}").await, json!(["ERROR", "INFO", "WARN"]));
    assert_eq!(values("status", "{}").await, json!(["executing", "execution_failed"]));
    assert_eq!(values("status", r#"{status=~".*failed"}"#).await, json!(["execution_failed"]));
    assert_eq!(values("task", r#"{workspace="x"}"#).await, json!([]));
    let body =
        format!("{range}&match[]={}&match[]={}", encoded(r#"{status="executing"}"#), encoded(r#"{severity="WARN"}"#));
    let form = Ask::with(&[("content-type", "application/x-www-form-urlencoded")]).by(&stage.admin).body(body);
    let series = stage.send(Method::POST, "/loki/api/v1/series", form).await.json();
    let series = series["data"].as_array().unwrap();
    assert_eq!(series.len(), 4, "{series:?}");
    assert!(series.iter().all(|one| one["task"] == "nightly" && one["workspace"] == "team"));
    let detected = ask(&stage, "detected_labels", "{}", "").await;
    assert!(detected["detectedLabels"].as_array().unwrap().contains(&json!({"label": "severity", "cardinality": 3})));
}

/// `logcli series` sends its selector as `match`; and a selector of runs is not ignored where only tasks are counted.
#[tokio::test]
async fn every_form_of_a_selector_selects() {
    let stage = stage().await;
    let range = format!("start={}&end={}", (NOW - 600_000) * 1_000_000, NOW * 1_000_000);
    let series = |parameter: &'static str, selector: String| {
        let path = format!("/loki/api/v1/series?{range}&{parameter}={}", encoded(&selector));
        let stage = &stage;
        async move { stage.get(&path).await }
    };
    for parameter in ["match", "match[]", "query"] {
        let none = series(parameter, r#"{task="nope"}"#.to_owned()).await.json();
        assert_eq!(none["data"], json!([]), "{parameter}");
        let some = series(parameter, r#"{task="nightly", severity="WARN"}"#.to_owned()).await.json();
        assert_eq!(some["data"].as_array().unwrap().len(), 2, "{parameter}");
    }
    for (selector, count) in [
        (format!(r#"{{run_id="{RUN}"}}"#), 3),
        (format!(r#"{{run_id=~"{RUN}|{SECOND_RUN}"}}"#), 6),
        (format!(r#"{{run_id=~"{RUN}|{SECOND_RUN}", run_id!="{RUN}"}}"#), 3),
        (format!(r#"{{run_id="{RUN}", run_id="{SECOND_RUN}"}}"#), 0),
        (r#"{run_id=~".+"}"#.to_owned(), 6),
    ] {
        let found = series("match[]", selector.clone()).await.json();
        assert_eq!(found["data"].as_array().unwrap().len(), count, "{selector}");
        let stats = ask(&stage, "index/stats", &selector, "").await;
        assert_eq!(stats["streams"], json!(count), "{selector}");
    }
    for selector in [r#"{run_id=~"zzz.*"}"#.to_owned(), format!(r#"{{run_id!="{RUN}"}}"#)] {
        let refused = series("match[]", selector).await;
        assert_eq!(refused.status, 400);
        assert!(refused.text().contains("run_id: "), "{}", refused.text());
    }
}

/// One record must not become gigabytes, nor all of an answer together.
#[tokio::test]
async fn what_the_stages_of_a_query_make_of_records_is_limited() {
    let stage = stage().await;
    let labels = (0..200).map(|n| format!("a{n}=`{{{{ repeat 1048576 \"x\" }}}}`")).collect::<Vec<_>>().join(", ");
    let query = format!(r#"{{task="nightly"}} | label_format {labels}"#);
    let answer = ask_by(&stage, &stage.admin, "query_range", &query, "&limit=1").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.body.len() < 8 << 20 && answer.text().contains("RecordTooLargeErr"), "{}", answer.body.len());
    let error = ask_by(&stage, &stage.admin, "query", &format!("count_over_time({query} [1h])"), "").await;
    assert!(error.status == 400 && error.body.len() < 10_000 && error.text().contains("RecordTooLargeErr"));
    // Forty lines of a megabyte each.
    let query = r#"{task="nightly"} | line_format `{{ repeat 1048576 "x" }}`"#;
    let refused = ask_by(&stage, &stage.admin, "query_range", query, "&limit=40").await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("use a lower limit"), "{}", refused.text());
    // A function within a function, thousands of times.
    let deep = format!(r#"{{task="nightly"}} | line_format `{{{{ .a{} }}}}`"#, "|int".repeat(20_000));
    let form = Ask::with(&[("content-type", "application/x-www-form-urlencoded")]).by(&stage.admin);
    let form = form.body(format!("query={}", encoded(&deep)));
    let refused = stage.send(Method::POST, "/loki/api/v1/query_range", form).await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("more than 64 functions"), "{}", refused.text());
}

#[tokio::test]
async fn volumes_and_statistics_are_estimated_from_the_catalog() {
    let stage = stage().await;
    let stats = ask(&stage, "index/stats", r#"{task="nightly"}"#, "").await;
    assert_eq!((&stats["entries"], &stats["streams"]), (&json!(40), &json!(6)));
    let total = stats["bytes"].as_u64().unwrap();
    assert!(total > 1_000 && stats["chunks"].as_u64().unwrap() > 1, "{stats}");
    let volume = ask(&stage, "index/volume", r#"{task="nightly"}"#, "&targetLabels=status").await;
    let result = volume["data"]["result"].as_array().unwrap();
    let bytes = |one: &Value| one["value"][1].as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(result.len(), 2);
    assert!(bytes(&result[0]) >= bytes(&result[1]) && bytes(&result[0]) + bytes(&result[1]) >= total - 2);
    let by_label = ask(&stage, "index/volume", r#"{task=~".+"}"#, "&aggregateBy=labels").await;
    assert_eq!(by_label["data"]["result"][0]["metric"], json!({"task": ""}));
    let over_time = ask(&stage, "index/volume_range", r#"{task=~".+"}"#, "&step=120").await;
    let values = over_time["data"]["result"][0]["values"].as_array().unwrap();
    assert_eq!((over_time["data"]["resultType"].as_str().unwrap(), values.len()), ("matrix", 3));
}

#[tokio::test]
async fn fields_and_patterns_are_found_in_the_records() {
    let stage = stage().await;
    let fields = ask(&stage, "detected_fields", r#"{task="nightly"}"#, "").await;
    let field = |name: &str| {
        let all = fields["fields"].as_array().unwrap();
        all.iter().find(|field| field["label"] == name).cloned().unwrap_or_else(|| panic!("{name}: {all:?}"))
    };
    assert_eq!(
        field("rows"),
        json!({"label": "rows", "type": "int", "cardinality": 16, "parsers": ["json", "logfmt"], "jsonPath": ["rows"]})
    );
    assert_eq!(field("deep_x")["jsonPath"], json!(["deep", "x"]));
    assert_eq!((&field("took")["type"], &field("deep_x")["parsers"]), (&json!("duration"), &json!(["json"])));
    assert_eq!((&field("component")["cardinality"], &field("component")["parsers"]), (&json!(3), &Value::Null));
    let (start, end) = ((NOW - 600_000) * 1_000_000, NOW * 1_000_000);
    let path = format!(
        "/loki/api/v1/detected_field/state/values?start={start}&end={end}&query={}",
        encoded(r#"{task="nightly"}"#)
    );
    assert_eq!(stage.get(&path).await.json()["values"], json!(["done", "json"]));

    let patterns = ask(&stage, "patterns", r#"{task="nightly"}"#, "&step=600").await;
    let patterns = patterns["data"].as_array().unwrap();
    let counted: u64 =
        patterns.iter().flat_map(|one| one["samples"].as_array().unwrap()).map(|one| one[1].as_u64().unwrap()).sum();
    assert_eq!(counted, 40);
    let disk: Vec<&str> =
        patterns.iter().filter_map(|one| one["pattern"].as_str()).filter(|pattern| pattern.contains("disk")).collect();
    assert_eq!(disk[0], "Error: disk full on volume <_>");
    // A pattern is a filter for its records.
    let query = format!("{{task=\"nightly\"}} |> `{}`", disk[0]);
    assert_eq!(values(&ask(&stage, "query_range", &query, "").await), naive(|line| line.message.contains("disk")));
}

#[tokio::test]
async fn no_route_shows_anything_of_a_workspace_that_the_caller_may_not_read() {
    let stage = stage().await;
    let other = stage.other_workspace().await;
    let read = [Right::Author, Right::View, Right::Execute];
    let reader = stage.user("reader", &read).await;
    let stranger = stage.user_in(other.id, "stranger", &read).await;
    let viewer = stage.user("viewer", &[Right::View]).await;
    for route in [
        "query_range",
        "query",
        "labels",
        "label/task/values",
        "label/status/values",
        "series",
        "index/stats",
        "index/volume",
        "index/volume_range",
        "detected_labels",
        "detected_fields",
        "detected_field/state/values",
        "patterns",
    ] {
        let is_instant = route == "query";
        let query = if is_instant { r#"count_over_time({task=~".+"}[1h])"# } else { r#"{task=~".+"}"# };
        let more = format!("&step=120&time={}", NOW / 1_000);
        let seen = ask_by(&stage, &reader, route, query, &more).await;
        assert_eq!(seen.status, 200, "{route}: {}", seen.text());
        for token in [&stranger, &viewer] {
            let unseen = ask_by(&stage, token, route, query, &more).await;
            assert_eq!(unseen.status, 200, "{route}: {}", unseen.text());
            let text = unseen.text();
            for word in ["nightly", "team", "execution_failed", "executing", "done", "tMap", "disk"] {
                assert!(!text.contains(word), "{route} shows {word}: {text}");
            }
            assert_ne!(seen.text(), text, "{route}");
            if route == "index/stats" {
                assert_eq!(unseen.json(), json!({"streams": 0, "chunks": 0, "entries": 0, "bytes": 0}));
            }
        }
    }
}

#[tokio::test]
async fn refusals_are_plain_text_that_says_what_and_where() {
    let stage = stage().await;
    let check = async |route: &str, query: &str, more: &str, message: &str| {
        let answer = ask_by(&stage, &stage.admin, route, query, more).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        assert!(answer.text().contains(message), "{}", answer.text());
    };
    let task = r#"{task="nightly"}"#;
    check("query_range", r#"{task="nightly"} | nope"#, "", "parse error at line 1, col 20: nope is not a stage").await;
    check("query_range", "", "", "parse error at line 1, col 1").await;
    check("query_range", "{}", "", "queries require at least one").await;
    check("query_range", task, "&limit=5001", "max entries limit per query exceeded").await;
    check("query_range", task, "&limit=0", "limit: ").await;
    check("query_range", task, "&direction=up", "direction: ").await;
    check("query_range", r#"rate({task="nightly"}[1m])"#, "&step=0.01", "exceeded maximum resolution").await;
    check("query_range", r#"rate({task="nightly"}[1m])"#, "&step=-1", "step: ").await;
    check("query", task, "", "log queries are not supported as an instant query type").await;
    check(
        "query",
        r#"sum(sum_over_time({task="nightly"} | logfmt | unwrap state [1h]))"#,
        &format!("&time={NOW}000000"),
        "pipeline error: 'SampleExtractionErr'",
    )
    .await;
    check("patterns", r#"rate({task="nightly"}[1m])"#, "", "not a metric query").await;
    check("index/volume_range", task, "&step=1", "intervals").await;
    check("tail", task, "", "WebSocket").await;
    check("series", "{", "", "parse error").await;
    let answer = stage.get("/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D&start=5&end=4").await;
    assert_eq!((answer.status.as_u16(), answer.text().contains("end timestamp")), (400, true));
    for query in
        ["(".repeat(20_000), "{task=`".to_owned() + &"x".repeat(200_000), "{task=~`(a{1000}){1000}`}".to_owned()]
    {
        let form = Ask::with(&[("content-type", "application/x-www-form-urlencoded")]).by(&stage.admin);
        let answer =
            stage.send(Method::POST, "/loki/api/v1/query_range", form.body(format!("query={}", encoded(&query)))).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
    }
    // So are those before a handler, and of addresses that do not exist.
    stage.send(Method::GET, "/loki/api/v1/labels", Ask::with(&[])).await.is_plain_error(401, &["Authorization"]);
    stage.get("/loki/api/v1/nothing").await.is_plain_error(404, &["nothing at this address"]);
    stage.ask(Method::DELETE, "/loki/api/v1/labels", "").await.is_plain_error(405, &["DELETE is not allowed"]);
}

#[tokio::test]
async fn searches_are_written_to_the_audit_log() {
    let stage = stage().await;
    ask(&stage, "query_range", r#"{task="nightly"}"#, "").await;
    let entries = stage.get("/runlog/v1/audit").await.text();
    assert!(entries.contains("search logs"), "{entries}");
}

#[tokio::test]
async fn a_log_that_grows_or_is_deleted_is_read_as_it_is() {
    let stage = stage().await;
    let count = async || values(&ask(&stage, "query_range", r#"{task="nightly"}"#, "&limit=1000").await).len();
    assert_eq!(count().await, 40);
    // A late record of the run that goes on, older than all others.
    let late = Line { time_ms: NOW - 600_000, run: RUN, severity: "fatal", message: "late".to_owned(), component: "x" };
    push(&stage, RUN, &[&late]).await;
    let oldest =
        ask(&stage, "query_range", r#"{task="nightly", detected_level="fatal"}"#, "&direction=forward&limit=1").await;
    assert_eq!(values(&oldest), [(format!("{}000000", NOW - 600_000), "late".to_owned())]);
    assert_eq!(count().await, 41);
    let answer = stage.ask(Method::DELETE, &format!("/monitoring/executions/{SECOND_RUN}/logs"), "").await;
    assert!(answer.status.is_success(), "{}", answer.text());
    assert_eq!(count().await, naive(|line| line.run == RUN).len() + 1);
    stage.start_as(OTHER_RUN).await;
    assert_eq!(count().await, naive(|line| line.run == RUN).len() + 1);
}

#[tokio::test]
async fn the_first_requests_of_grafana_are_answered() {
    let stage = Stage::new().await;
    let info = stage.get("/loki/api/v1/status/buildinfo").await.json();
    assert_eq!(info["version"], "3.4.0");
    assert_eq!(stage.get("/loki/api/v1/drilldown-limits").await.json()["limits"]["volume_enabled"], true);
    // Alerting asks for the rules of every data source, and whether it can edit them.
    for path in ["/loki/api/v1/rules", "/api/prom/rules"] {
        let rules = stage.get(path).await;
        assert_eq!((rules.status.as_u16(), rules.header("content-type")), (200, "application/yaml"), "{path}");
        assert_eq!(rules.text(), "{}\n");
    }
    assert_eq!(stage.get("/prometheus/api/v1/rules").await.json()["data"], json!({"groups": []}));
    assert_eq!(stage.get("/prometheus/api/v1/alerts").await.json()["data"], json!({"alerts": []}));
    stage.get("/api/prom/rules/test/test").await.is_plain_error(404, &["page not found"]);
    // An empty archive has empty answers.
    for route in
        ["labels", "label/task/values", "series", "index/volume?query={}", "patterns?query=%7Btask%3D%22x%22%7D"]
    {
        let answer = stage.get(&format!("/loki/api/v1/{}", route.replace("{}", "%7B%7D"))).await;
        assert_eq!(answer.status, 200, "{route}: {}", answer.text());
        assert_eq!(answer.json()["status"], "success");
    }
}

/// What `logcli` and Grafana send beside the query, each of which was refused or ignored.
/// *Show context* of Grafana asks for the records from the time of a line on, and for those before that time. Thirty
/// records have the time of the line.
#[tokio::test]
async fn the_context_of_a_line_has_each_record_once() {
    let stage = Stage::new().await;
    stage.start_as(RUN).await;
    let time_ms = NOW - 300_000;
    let line = |number: i64| Line {
        time_ms: time_ms + (number / 30 - 1) * 1_000,
        run: RUN,
        severity: "INFO",
        message: format!("line {number}"),
        component: "x",
    };
    let lines: Vec<Line> = (0..90).map(line).collect();
    push(&stage, RUN, &lines.iter().collect::<Vec<_>>()).await;
    let ask = async |direction: &str, start_ms: i64, end_ms: i64, limit: usize| {
        let query = encoded(r#"{task="nightly", severity="INFO"}"#);
        let path = format!(
            "/loki/api/v1/query_range?query={query}&direction={direction}&start={start_ms}000000&end={end_ms}000000\
             &limit={limit}"
        );
        let answer = stage.get(&path).await.json();
        let streams = answer["data"]["result"].as_array().unwrap().iter();
        let found = streams.map(|stream| {
            let value = &stream["values"][0];
            let id = stream["stream"]["record_id"].as_str().unwrap().to_owned();
            (id, value[1].as_str().unwrap().to_owned())
        });
        found.collect::<Vec<(String, String)>>()
    };
    let hours_ms = 2 * 3_600_000;
    for limit in [50, 100] {
        let after = ask("forward", time_ms, time_ms + hours_ms, limit).await;
        let before = ask("backward", time_ms - hours_ms, time_ms, limit).await;
        assert_eq!((after.len(), before.len()), (limit.min(60), 30));
        let number = |line: &str| line["line ".len()..].parse::<i64>().unwrap();
        let mut numbers: Vec<i64> = after.iter().chain(&before).map(|(_, line)| number(line)).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..30 + i64::try_from(limit.min(60)).unwrap()).collect::<Vec<_>>());
        // The IDs are the same each time.
        assert_eq!(ask("forward", time_ms, time_ms + hours_ms, limit).await, after);
        assert!(after.iter().all(|(id, line)| *id == format!("{RUN}-{}", number(line))), "{after:?}");
    }
}

#[tokio::test]
async fn equivalent_requests_have_the_same_answer() {
    let stage = stage().await;
    let ready = stage.send(Method::GET, "/ready", Ask::with(&[])).await;
    assert_eq!((ready.status.as_u16(), ready.text().as_str()), (200, "ready\n"));
    let label = ask(&stage, "label", "{}", "").await;
    assert_eq!(label["data"], ask(&stage, "labels", "{}", "").await["data"]);
    let formatted = ask(&stage, "format_query", "sum by(task)(rate({task=\"x\"}|json[5m]))", "").await;
    assert_eq!(formatted["data"], "sum by (task) (rate({task=\"x\"} | json [5m]))");
    let refused = ask_by(&stage, &stage.admin, "format_query", "{task=", "").await;
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("parse error at line 1"), "{}", refused.text());
    // The token as the password of any user.
    let credentials = |password: &str| format!("Basic {}", STANDARD.encode(format!("grafana:{password}")));
    for (password, status) in [(stage.admin.as_str(), 200), ("", 401), ("other", 401)] {
        let header = credentials(password);
        let asked = Ask::with(&[("authorization", &header)]);
        assert_eq!(stage.send(Method::GET, "/loki/api/v1/labels", asked).await.status, status, "{password:?}");
    }
    // An end in the future does not move the start.
    let end = (NOW + 36_000_000) * 1_000_000;
    let path =
        format!("/loki/api/v1/query_range?query={}&limit=100&since=1h&end={end}", encoded(r#"{task="nightly"}"#));
    assert_eq!(values(&stage.get(&path).await.json()).len(), 40);
    for direction in ["forward", "backward"] {
        let more = format!("&limit=3&interval=60s&direction={direction}");
        let thinned = ask(&stage, "query_range", r#"{task="nightly"}"#, &more).await;
        let mut times: Vec<i64> = values(&thinned).iter().map(|(time, _)| time.parse().unwrap()).collect();
        times.sort_unstable();
        assert!(times.len() == 3 && times.windows(2).all(|two| two[1] - two[0] >= 60_000_000_000), "{times:?}");
    }
}

/// A WebSocket on which a query is followed.
type Followed = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn follow(live: &Live, token: &str, query: &str, more: &[(&'static str, &str)]) -> Result<Followed, StatusCode> {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let start = (NOW - 600_000) * 1_000_000;
    let url = format!("ws://{}/loki/api/v1/tail?query={}&start={start}&limit=5000", live.address, encoded(query));
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    for (name, value) in more {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    match tokio_tungstenite::connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(tokio_tungstenite::tungstenite::Error::Http(response)) => Err(response.status()),
        Err(error) => panic!("{error}"),
    }
}

/// The lines of the next message.
async fn next_lines(socket: &mut Followed) -> Vec<String> {
    use futures::StreamExt;
    let message: Value = serde_json::from_str(socket.next().await.unwrap().unwrap().to_text().unwrap()).unwrap();
    let streams = message["streams"].as_array().unwrap().iter();
    let values = streams.flat_map(|stream| stream["values"].as_array().unwrap());
    values.map(|value| value[1].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_log_ends_when_its_token_is_revoked() {
    use futures::StreamExt;
    let stage = stage().await;
    let live = Live::start(&stage, ServerSettings::default());
    let reader = stage.user("reader", &[Right::Author, Right::View, Right::Execute]).await;
    let new = Ask::with(&[]).by(&reader).body(r#"{"name":"to be revoked"}"#);
    let token = stage.send(Method::POST, "/runlog/v1/tokens", new).await.json();
    let (id, token) = (token["id"].as_str().unwrap(), token["token"].as_str().unwrap());
    let mut socket = follow(&live, token, r#"{task="nightly"}"#, &[]).await.unwrap();
    assert_eq!(next_lines(&mut socket).await.len(), 40);
    let revoked = stage.ask(Method::DELETE, &format!("/runlog/v1/tokens/{id}"), "").await;
    assert_eq!(revoked.status, 204, "{}", revoked.text());
    push(&stage, RUN, &[&Line { message: "not for them".to_owned(), ..lines().remove(0) }]).await;
    match socket.next().await.unwrap().unwrap() {
        tokio_tungstenite::tungstenite::Message::Close(Some(frame)) => assert_eq!(u16::from(frame.code), 1_008),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_followed_sends_each_record_once_also_when_it_comes_late() {
    let stage = stage().await;
    let live = Live::start(&stage, ServerSettings::default());
    let query = r#"{task="nightly"} != "skipped""#;
    let mut socket = follow(&live, &stage.admin, query, &[]).await.unwrap();
    assert_eq!(next_lines(&mut socket).await.len(), 40);
    let line = |time_ms, message: &str| Line {
        time_ms,
        run: RUN,
        severity: "INFO",
        message: message.to_owned(),
        component: "x",
    };
    for (number, time_ms) in [NOW, NOW - 3_000_000, NOW + 5_000].into_iter().enumerate() {
        let message = format!("new {number}");
        push(&stage, RUN, &[&line(time_ms, &message), &line(time_ms, "skipped")]).await;
        assert_eq!(next_lines(&mut socket).await, [message]);
    }
    // A run that begins later, of another workspace and of this one.
    let read = [Right::Author, Right::View, Right::Execute];
    let other = stage.other_workspace().await;
    let stranger = stage.user_in(other.id, "stranger", &read).await;
    let mut unseen = follow(&live, &stranger, r#"{task=~".+"}"#, &[]).await.unwrap();
    stage.start_as(OTHER_RUN).await;
    push(&stage, OTHER_RUN, &[&line(NOW, "of a new run")]).await;
    assert_eq!(next_lines(&mut socket).await, ["of a new run"]);
    let nothing = tokio::time::timeout(std::time::Duration::from_millis(2_500), next_lines(&mut unseen)).await;
    assert!(nothing.is_err(), "{nothing:?}");
    // Pages of other sites, and strangers, follow nothing.
    let refused = follow(&live, &stage.admin, query, &[("origin", "https://other.example")]).await;
    assert_eq!(refused.err(), Some(StatusCode::FORBIDDEN));
    assert_eq!(follow(&live, "rlp_0000", query, &[]).await.err(), Some(StatusCode::UNAUTHORIZED));
    assert_eq!(follow(&live, &stage.admin, "{", &[]).await.err(), Some(StatusCode::BAD_REQUEST));
}
