//! The content and formats of `/metrics`, and its conformance with the rules of `promtool check metrics`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use axum::http::Method;
use flate2::read::GzDecoder;

use crate::support::{Answer, Ask, Stage};

/// Samples by the name of their metric, with its type and help.
#[derive(Default)]
struct Metric {
    kind: String,
    help: String,
    samples: Vec<String>,
}

async fn scrape(stage: &Stage, headers: &[(&str, &str)]) -> Answer {
    let answer = stage.send(Method::GET, "/metrics", Ask::with(headers).by(&stage.admin)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

/// Parses the Prometheus text format strictly: help, type and samples of one metric after another.
fn read(text: &str) -> BTreeMap<String, Metric> {
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!metrics.contains_key(name), "{name} comes twice");
            metrics.entry(name.to_owned()).or_default().help = help.to_owned();
            current = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, current, "{line}");
            metrics.get_mut(name).unwrap().kind = kind.to_owned();
        } else {
            assert!(!line.starts_with('#') && !line.is_empty(), "{line:?}");
            let name = line.split(['{', ' ']).next().unwrap();
            let metric = metrics.get_mut(&current).unwrap();
            let is_its_own = match metric.kind.as_str() {
                "histogram" => {
                    ["_bucket", "_sum", "_count"].iter().any(|end| name.strip_suffix(end) == Some(&*current))
                }
                _ => name == current,
            };
            assert!(is_its_own, "{line} stands below {current}");
            let value = line.rsplit_once(' ').unwrap().1;
            assert!(value.parse::<f64>().is_ok(), "{line}");
            metric.samples.push(line.to_owned());
        }
    }
    metrics
}

/// The rules of `promtool check metrics` (Prometheus, `util/testutil/promlint`).
fn check(name: &str, metric: &Metric) {
    assert!(!metric.help.trim().is_empty(), "{name} has no help");
    let kind = metric.kind.as_str();
    assert!(["counter", "gauge", "histogram"].contains(&kind), "{name} is a {kind:?}");
    assert_eq!(kind == "counter", name.ends_with("_total"), "{name}: counters end in _total, and nothing else does");
    for end in ["_count", "_sum", "_bucket", "_info_total"] {
        assert!(!name.ends_with(end), "{name} ends as a sample of a histogram does");
    }
    assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'), "{name}");
    for part in name.split('_') {
        for kind in ["gauge", "counter", "histogram", "summary"] {
            assert_ne!(part, kind, "{name} names its kind");
        }
        for unit in
            ["ms", "s", "kb", "mb", "milliseconds", "microseconds", "minutes", "hours", "days", "bits", "kilobytes"]
        {
            assert_ne!(part, unit, "{name} has a unit that is no base unit, or is abbreviated");
        }
    }
    let has_bound = |sample: &&String| sample.contains("{le=\"") || sample.contains(",le=\"");
    let labels = metric.samples.iter().filter(has_bound);
    assert!(kind == "histogram" || labels.count() == 0, "{name} has the label of a histogram");
    let samples: BTreeSet<_> = metric.samples.iter().map(|sample| sample.rsplit_once(' ').unwrap().0).collect();
    assert_eq!(samples.len(), metric.samples.len(), "{name} has a sample twice");
}

async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.push("{\"logTimestamp\":1,\"severity\":\"ERROR\"}\n{\"logTimestamp\":2,\"severity\":\"INFO\"}\n").await;
    stage.get("/nothing/here").await;
    stage.link("").await;
    stage
}

#[tokio::test]
async fn every_metric_has_help_and_keeps_the_rules_of_prometheus() {
    let stage = stage().await;
    let answer = scrape(&stage, &[]).await;
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let metrics = read(&answer.text());
    for (name, metric) in &metrics {
        check(name, metric);
    }
    for name in [
        "runlog_http_requests_total",
        "runlog_http_request_duration_seconds",
        "runlog_records_in_total",
        "runlog_build_info",
        "runlog_catalog_connections",
        "runlog_catalog_connections_idle",
        "runlog_catalog_connections_max",
        "runlog_catalog_connections_waited_for",
        "runlog_object_errors_total",
        "runlog_object_request_duration_seconds",
        "runlog_archive_logs_to_seal",
        "runlog_ingest_memory_bytes",
        "runlog_ingest_memory_max_bytes",
        "runlog_turns_in_use",
        "runlog_turns_max",
        "process_start_time_seconds",
    ] {
        assert!(metrics.contains_key(name), "{name} is not there");
        assert!(!metrics[name].samples.is_empty(), "{name} has no sample");
    }
    let value = |name: &str, labels: &str| -> f64 {
        let sample = metrics[name].samples.iter().find(|sample| sample.contains(labels));
        sample.unwrap_or_else(|| panic!("{name}{{{labels}}}")).rsplit_once(' ').unwrap().1.parse().unwrap()
    };
    assert_eq!(value("process_start_time_seconds", ""), 1_795_434_850.0);
    assert_eq!(value("runlog_build_info", &format!("version=\"{}\"", env!("CARGO_PKG_VERSION"))), 1.0);
    assert!(value("runlog_object_request_duration_seconds", "_count{operation=\"put\"") >= 1.0);
    let buckets = &metrics["runlog_object_request_duration_seconds"].samples;
    let puts: Vec<f64> = buckets
        .iter()
        .filter(|sample| sample.contains("_bucket{operation=\"put\""))
        .map(|sample| sample.rsplit_once(' ').unwrap().1.parse().unwrap())
        .collect();
    assert!(puts.is_sorted() && puts.len() == 13, "{puts:?}");
    assert_eq!(value("runlog_turns_in_use", "of=\"searches\""), 0.0);
    assert_eq!(value("runlog_turns_max", "of=\"searches\""), 8.0);
    assert_eq!(value("runlog_ingest_memory_bytes", "of=\"bodies\""), 0.0, "nothing is being pushed");
    assert_eq!(value("runlog_ingest_memory_max_bytes", "of=\"bodies\""), 134_217_728.0);
    assert!(value("runlog_catalog_connections_max", "pool=\"writer\"") >= 1.0);
    if cfg!(target_os = "linux") {
        assert!(value("process_resident_memory_bytes", "") > 1e6);
        assert!(value("process_cpu_seconds_total", "") >= 0.0);
        assert!(value("process_open_fds", "") > 3.0);
    }
}

#[tokio::test]
async fn a_log_that_waits_to_be_sealed_is_counted_and_so_is_what_is_held_and_taken() {
    let stage = stage().await;
    let finish = r#"{"status": "execution_successful"}"#;
    stage.post(&format!("/runlog/v1/runs/{}/finish", crate::support::RUN), finish).await;
    stage.clock.advance_ms(3_600_000);
    let text = scrape(&stage, &[]).await.text();
    assert!(text.contains("\nrunlog_archive_logs_to_seal 1\n"), "{text}");
    // An unfinished line.
    let begun = futures::stream::once(async { Ok::<_, std::io::Error>("{\"logTimestamp\":1".repeat(100_000)) });
    let body = axum::body::Body::from_stream(futures::StreamExt::chain(begun, futures::stream::pending()));
    let path = format!("/runlog/v1/runs/{}/records", crate::support::RUN);
    let mut pushing = Box::pin(stage.post(&path, body));
    for _ in 0..100 {
        assert!(futures::poll!(pushing.as_mut()).is_pending());
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        let text = scrape(&stage, &[]).await.text();
        let held =
            text.lines().find_map(|line| line.strip_prefix("runlog_ingest_memory_bytes{of=\"bodies\"} ")).unwrap();
        if held.parse::<u64>().unwrap() >= 1_500_000 {
            return;
        }
    }
    panic!("the line that has begun is not counted");
}

#[tokio::test]
async fn format_and_compression_follow_the_request() {
    let stage = stage().await;
    let open = ("accept", "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1");
    let answer = scrape(&stage, &[open]).await;
    assert_eq!(answer.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(answer.text().ends_with("# EOF\n") && answer.header("content-encoding").is_empty());
    let plain = scrape(&stage, &[]).await;
    assert!(!plain.text().contains("# EOF"));
    assert_eq!(plain.header("vary"), "accept, accept-encoding");

    let gzip = scrape(&stage, &[("accept-encoding", "gzip")]).await;
    assert_eq!(gzip.header("content-encoding"), "gzip");
    let mut text = String::new();
    GzDecoder::new(gzip.body.as_slice()).read_to_string(&mut text).unwrap();
    assert!(text.contains("runlog_records_in_total 2") && gzip.body.len() < text.len() / 3);
    let zstd = scrape(&stage, &[("accept-encoding", "gzip;q=0.5, zstd"), open]).await;
    assert_eq!(zstd.header("content-encoding"), "zstd");
    let text = String::from_utf8(zstd::decode_all(zstd.body.as_slice()).unwrap()).unwrap();
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn series_of_tasks_can_be_left_out() {
    for is_by_task in [true, false] {
        let stage = Stage::with(|_| (), |server| server.metrics_by_task = is_by_task).await;
        stage.push("{\"logTimestamp\":1}\n").await;
        let text = scrape(&stage, &[]).await.text();
        assert_eq!(text.contains("runlog_task_"), is_by_task, "{text}");
        assert!(text.contains("\nrunlog_archive_records 1\n"));
    }
}
