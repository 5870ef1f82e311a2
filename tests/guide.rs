//! The two scenarios of the vendor's guide, with curl and jq only: the pages in the order received are the exact log,
//! newest first.

use serde_json::{Value, json};

use crate::support::{Service, bash, write_lines};

/// The sample run of 208,429 records, oldest first.
fn sample_log() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/runs/etl-run-debug.ndjson.zst");
    let log = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
    String::from_utf8(log).unwrap().lines().map(str::to_owned).collect()
}

/// A log with a record at each of these times, whose message is its number.
fn log_at(times: impl IntoIterator<Item = i64>) -> Vec<String> {
    let record = |(number, time): (usize, i64)| {
        json!({"logTimestamp": time, "severity": "INFO", "logMessage": number.to_string()}).to_string()
    };
    times.into_iter().enumerate().map(record).collect()
}

/// The records in the order of the archive: by time, and by arrival within an instant.
fn in_order(log: &[String]) -> Vec<Value> {
    let mut records: Vec<Value> = log.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    records.sort_by_key(|record| record["logTimestamp"].as_i64());
    records
}

/// Runs scenario 2 in a shell; returns the status codes of the pages and the records in the order received.
fn page_through(service: &Service, run: &str) -> (Vec<String>, Vec<Value>) {
    let lines = format!(
        r#"
        LOGS={}/monitoring/executions/{run}/logs; AUTH="Authorization: Bearer {}"; END=""; STATUS=206; : > log.ndjson
        while [ "$STATUS" = 206 ]; do
          STATUS=$(curl -s -X POST -H "$AUTH" -D headers.txt -o page.json -w '%{{http_code}}' "$LOGS?fileFormat=JSON$END")
          echo "$STATUS"
          PAGE=$(jq -r .token page.json)
          until LINK=$(curl -sf -X POST -H "$AUTH" -d "$PAGE" $LOGS/status | jq -er .presignedURL); do sleep 0.02; done
          curl -sf "$LINK" > page.json; jq -c '.[]' page.json >> log.ndjson
          END="&endTime=$(tr -d '\r' < headers.txt | sed -n 's/^x-log-next-request-end-time: //Ip')"
        done"#,
        service.url, service.token
    );
    let statuses = bash(&lines, service.folder()).lines().map(str::to_owned).collect();
    let log = std::fs::read_to_string(service.folder().join("log.ndjson")).unwrap();
    (statuses, log.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// Archives a log, fetches its pages, and compares the records.
#[track_caller]
fn check(service: &Service, log: &[String], pages: usize) {
    let (_, task) = service.make_task();
    let run = format!("00000000-0000-4000-8000-{pages:012}");
    let file = write_lines(service.folder().join("pushed.ndjson"), log);
    service.succeed(&["push", &run, file.to_str().unwrap(), "--task", &task, "--finish", "execution_failed"]);

    let (statuses, received) = page_through(service, &run);

    let mut expected = vec!["206"; pages - 1];
    expected.push("200");
    assert_eq!(statuses, expected);
    let mut oldest_first = received;
    oldest_first.reverse();
    let pushed = in_order(log);
    assert_eq!(oldest_first.len(), pushed.len());
    let first_difference = oldest_first.iter().zip(&pushed).position(|(received, pushed)| received != pushed);
    assert_eq!(first_difference, None);
}

#[test]
fn the_sample_run_is_whole_in_three_pages() {
    check(&Service::start(&[]), &sample_log(), 3);
}

#[test]
fn a_run_without_records_is_one_empty_page() {
    check(&Service::start(&[]), &[], 1);
}

#[test]
fn many_records_in_one_second_are_cut_at_a_millisecond() {
    let times = (0..1_000).map(|number| 1_700_000_000_000 + number / 2);
    check(&Service::start(&["--page-records", "300"]), &log_at(times), 4);
}

#[test]
fn many_records_in_one_millisecond_come_whole() {
    let times = (0..1_000).map(|number| 1_700_000_000_000 + i64::from(number >= 900));
    check(&Service::start(&["--page-records", "300"]), &log_at(times), 2);
}

#[test]
fn records_out_of_order_and_equal_ones_are_all_there() {
    let times = (0..1_000).map(|number| 1_700_000_000_000 + (number * 7_919) % 60_000);
    let mut log = log_at(times);
    let repeated = log[500].clone();
    log.extend(std::iter::repeat_n(repeated, 5));
    check(&Service::start(&["--page-records", "1000"]), &log, 2);
}

#[test]
fn a_small_log_comes_as_the_first_scenario_says() {
    let service = Service::start(&[]);
    let (_, task) = service.make_task();
    let run = "00000000-0000-4000-8000-000000000001";
    let log = log_at([1_630_479_705_000, 1_630_479_705_500, 1_630_479_706_000]);
    let file = write_lines(service.folder().join("pushed.ndjson"), &log);
    service.succeed(&["push", run, file.to_str().unwrap(), "--task", &task, "--finish", "execution_successful"]);

    let lines = format!(
        r#"
        LOGS={}/monitoring/executions/{run}/logs; AUTH="Authorization: Bearer {}"
        PAGE=$(curl -sf -X POST -H "$AUTH" "$LOGS?startTime=2021-09-01T07:01:45Z&endTime=2021-09-01T07:01:45Z" | tee page.json | jq -r .token)
        until LINK=$(curl -sf -X POST -H "$AUTH" -d "$PAGE" $LOGS/status | jq -er .presignedURL); do sleep 0.02; done
        curl -sf "$LINK" | jq -r '.[].logMessage'; jq .size page.json"#,
        service.url, service.token
    );
    // Both ends of the range are inclusive; the half second after its end is excluded.
    assert_eq!(bash(&lines, service.folder()), "0\n1\n");
}
