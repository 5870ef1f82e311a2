//! A fetch against a service that follows a script: each fault ends in the right recovery or in a clear error, and
//! nothing is lost.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

mod interrupted;
mod landed;
mod support;

use std::time::Duration;

use axum::http::StatusCode;
use proptest::prelude::*;
use runlog_client::ErrorKind;
use runlog_collector::{Completeness, FetchError, FetchReport, FetchRequest, LogOrder, Result};
use runlog_model::{Clock, TimeRange, Timestamp};
use serde_json::{Value, json};
use support::{At, Cut, Fault, FileForm, SECRET, Script, Stage, expected, line, plain_log, status_fault};

/// Runs a script from which the client should recover, and checks that the log is complete.
#[track_caller]
fn recovers(script: Script) -> impl Future<Output = Stage> {
    let log = script.log.clone();
    async move {
        let stage = Stage::set(script).await;
        let report = stage.fetch().await.unwrap();
        assert_eq!(stage.fetched(), expected(&log));
        assert_eq!((report.records, report.completeness), (log.len() as u64, Completeness::Verified));
        assert_eq!(std::fs::read_dir(stage.folder.path()).unwrap().count(), 1, "only the result is left");
        stage
    }
}

/// Runs a script from which no client can recover, and returns the error; no output may exist then.
async fn fails(stage: &Stage) -> (ErrorKind, String) {
    failure(stage, stage.fetch().await)
}

fn failure(stage: &Stage, outcome: Result<FetchReport>) -> (ErrorKind, String) {
    assert!(!stage.output().exists());
    let error = outcome.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(SECRET), "{shown}");
    match error {
        FetchError::Upstream(error) => (error.kind(), error.to_string()),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn every_form_of_file_and_either_order_is_understood() {
    for form in [
        FileForm::Array,
        FileForm::Lines,
        FileForm::Envelope,
        FileForm::Gzip,
        FileForm::GzipWithoutHeader,
        FileForm::Zstd,
        FileForm::ZstdWithoutHeader,
        FileForm::Deflate,
    ] {
        for newest_first in [true, false] {
            recovers(Script { form, newest_first, ..Script::of(plain_log(45)) }).await;
        }
    }
}

/// Object storage sends the label with which a file was uploaded. None but gzip and zstd were taken.
#[tokio::test]
async fn a_label_that_is_no_compression_is_passed_over() {
    for label in ["utf-8", "none", "aws-chunked", "identity", "gzip", "zstd", "deflate"] {
        recovers(Script { label: Some(label), ..Script::of(plain_log(45)) }).await;
    }
    recovers(Script { label: Some("aws-chunked"), form: FileForm::GzipWithoutHeader, ..Script::of(plain_log(45)) })
        .await;
    let twice = Script { label: Some("gzip, zstd"), ..Script::of(plain_log(5)) };
    assert_eq!(fails(&Stage::set(twice).await).await.0, ErrorKind::Protocol);
}

/// The number of records is in the answer, whatever its newest record looks like.
#[tokio::test]
async fn an_odd_newest_record_does_not_keep_the_records_from_being_counted() {
    let odd: [fn(&mut Value); 6] = [
        |body| body["data"] = json!([{"logMessage": "no time"}]),
        |body| body["data"] = json!([{"logTimestamp": "2023-11-14T22:13:20Z"}]),
        |body| body["data"] = json!([{"logTimestamp": 1_700_000_000_000_u64, "severity": 3}]),
        |body| body["data"] = json!(["x", 7, null]),
        |body| body["data"] = Value::Null,
        |body| body["data"] = json!({"odd": true}),
    ];
    for live_body in odd {
        recovers(Script { live_body, ..Script::of(plain_log(45)) }).await;
        recovers(Script { live_body, ..slow_script(200) }).await;
    }
}

/// A log that the service could not read was asked for again for a minute and a half.
#[tokio::test]
async fn an_answer_that_no_repetition_changes_is_asked_for_once() {
    let damaged = r#"{"status":500,"message":"object a/b is damaged or missing","code":"damaged"}"#;
    for (fault, kind, words) in [
        (Fault::Answer(500, vec![], damaged.to_owned()), ErrorKind::Damaged, "object a/b is damaged or missing"),
        (status_fault(StatusCode::NOT_IMPLEMENTED, &[]), ErrorKind::Invalid, "501"),
        (status_fault(StatusCode::HTTP_VERSION_NOT_SUPPORTED, &[]), ErrorKind::Invalid, "505"),
        (status_fault(StatusCode::NETWORK_AUTHENTICATION_REQUIRED, &[]), ErrorKind::Protocol, "511"),
        (status_fault(StatusCode::PAYLOAD_TOO_LARGE, &[]), ErrorKind::Invalid, "413"),
        // It would carry the token to another address.
        (
            status_fault(StatusCode::FOUND, &[("location", "https://sign-in.example.com/")]),
            ErrorKind::Protocol,
            "check the URL",
        ),
    ] {
        let stage = Stage::set(Script::of(plain_log(5)).with(At::Generate, 0, fault)).await;
        let (was, message) = fails(&stage).await;
        assert!(was == kind && message.contains(words), "{was:?} {message}");
        assert_eq!(stage.count(At::Generate), 1, "{message}");
    }
    // It says nothing of the kind: another attempt may succeed.
    for status in [500, 502, 503, 504, 507] {
        let failed = Fault::Answer(status, vec![], r#"{"status":500,"code":7}"#.to_owned());
        recovers(Script::of(plain_log(5)).with(At::Generate, 1, failed)).await;
    }
}

/// A service whose answer had no number put the text of a record into the error.
#[tokio::test]
async fn an_error_repeats_no_text_of_the_log() {
    let bodies = [r#"{"data":[{"logMessage":"hush-hush"}]}"#, r#"["hush-hush"]"#, r#"{"data":["hush-hush"#];
    for body in bodies {
        let script = Script::of(plain_log(45)).with(At::Live, 0, Fault::Answer(200, vec![], body.to_owned()));
        let error = Stage::set(script).await.fetch().await.unwrap_err();
        assert!(matches!(error, FetchError::Uncounted { got: 45, .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
    }
}

/// `totalSizeFiltered` is optional, and `totalSize` counts the whole log.
#[tokio::test]
async fn a_range_is_counted_even_if_the_service_counts_only_the_whole_log() {
    let live_body: fn(&mut Value) = |body| drop(body.as_object_mut().unwrap().remove("totalSizeFiltered"));
    for records in [0, 1, 2, 3, 44, 45] {
        let stage = Stage::set(Script { live_body, ..Script::of(plain_log(45)) }).await;
        let start = Some(Timestamp::clamped(1_700_000_000_000 + (45 - records) * 100));
        let range = TimeRange { start, end: None };
        let report = stage.fetch_as(FetchRequest { range, ..stage.request() }).await.unwrap();
        assert_eq!((report.records, report.completeness), (records as u64, Completeness::Verified));
        assert!(stage.count(At::Live) <= 13, "{records}: {}", stage.count(At::Live));
    }
    let script = Script { live_body, ..Script::of(plain_log(45)) };
    let stage = Stage::set(script.with(At::Generate, 0, Fault::Late(3))).await;
    let range = TimeRange { start: Some(Timestamp::clamped(1_700_000_001_000)), end: None };
    let error = stage.fetch_as(FetchRequest { range, ..stage.request() }).await.unwrap_err();
    assert!(matches!(error, FetchError::Incomplete { expected: 35, .. }), "{error}");
}

/// A log that was deleted while it was fetched was requested for ever, or came out empty and verified.
#[tokio::test]
async fn a_vanished_log_is_reported_with_the_received_records() {
    let gone = status_fault(StatusCode::NOT_FOUND, &[]);
    // Between two pages, and after the last of them.
    for number in [2, 6] {
        let mut script = Script::of(plain_log(45)).with(At::Live, 0, gone.clone());
        script.faults.extend((number..99).map(|number| (At::Generate, number, gone.clone())));
        let stage = Stage::set(script).await;
        for _ in 0..2 {
            let error = stage.fetch().await.unwrap_err();
            assert!(matches!(error, FetchError::Gone { got } if got > 0), "{error}");
            assert!(!stage.output().exists());
        }
        let anyway = FetchRequest { allow_incomplete: true, ..stage.request() };
        let report = stage.fetch_as(anyway).await.unwrap();
        assert_eq!(report.completeness, Completeness::Unknown);
        assert_eq!(stage.fetched().lines().count() as u64, report.records);
        assert!(report.records > 0, "{report:?}");
    }
}

#[tokio::test]
async fn an_empty_log_is_an_empty_file() {
    recovers(Script::of(Vec::new())).await;
    // Some services have no log file for a run that logged nothing.
    recovers(Script::of(Vec::new()).with(At::Generate, 0, status_fault(StatusCode::NOT_FOUND, &[]))).await;
}

/// A service that has no log, or a proxy that answered for it, left a complete log without records.
#[tokio::test]
async fn a_log_that_nobody_has_is_not_an_empty_log() {
    let without = |fault: Fault| Script::of(plain_log(5)).with(At::Generate, 0, fault.clone()).with(At::Live, 0, fault);
    let stage = Stage::set(without(status_fault(StatusCode::NOT_FOUND, &[]))).await;
    let error = stage.fetch().await.unwrap_err();
    assert!(matches!(error, FetchError::NoLog), "{error:?}");
    assert!(!stage.output().exists());
    let proxy = Fault::Answer(404, vec![], "<html><h1>404 Not Found</h1>nginx</html>".to_owned());
    let (kind, message) = fails(&Stage::set(without(proxy)).await).await;
    assert_eq!(kind, ErrorKind::Protocol);
    assert!(message.contains("check the URL"), "{message}");
}

#[tokio::test]
async fn the_page_of_a_proxy_is_no_answer() {
    let page = Fault::Answer(200, vec![("content-type", "text/html; charset=utf-8".to_owned())], "<html>".to_owned());
    let (kind, message) = fails(&Stage::set(Script::of(plain_log(5)).with(At::Execution, 0, page)).await).await;
    assert_eq!(kind, ErrorKind::Protocol);
    assert!(message.contains("with a web page"), "{message}");
}

#[tokio::test]
async fn the_next_page_is_asked_for_with_the_header_as_it_came() {
    let stage = recovers(Script::of(plain_log(25))).await;
    let ends = stage.seen(At::Generate);
    assert_eq!(ends[0], "");
    assert!(ends[1..].iter().all(|end| end.ends_with('Z') && !end.contains('.')), "{ends:?}");
}

/// A service that takes a while to answer, with a log of 20 pages and a record in each second.
fn slow_script(records: i64) -> Script {
    let log = (0..records).map(|number| (1_700_000_000_000 + number * 1_000, format!("record {number}"))).collect();
    Script { generate_ms: 600, ..Script::of(log) }
}

#[tokio::test]
async fn a_service_that_is_slow_to_answer_is_asked_for_all_parts_at_once() {
    let stage = recovers(slow_script(200)).await;
    // The first page, then parts of nine records: the ends of all of them are known before any of them is asked for.
    let ends = stage.seen(At::Generate);
    assert_eq!(ends.len(), 1 + 190_usize.div_ceil(9));
    assert_eq!(stage.count(At::Live), 1 + 21 + 1, "a look, a cut between every two parts, and the count");
    let in_a_row = recovers(Script { generate_ms: 499, ..slow_script(200) }).await;
    assert_eq!((in_a_row.count(At::Generate), in_a_row.count(At::Live)), (20, 1));
    let short = recovers(slow_script(25)).await;
    assert_eq!((short.count(At::Generate), short.count(At::Live)), (3, 2), "not worth it");
}

#[tokio::test]
async fn a_log_whose_cuts_cannot_be_found_is_asked_for_in_a_row() {
    let refused = status_fault(StatusCode::BAD_REQUEST, &[]);
    for script in [
        // The live endpoint is refused the first time, or the fifth, or shows no records at all.
        slow_script(200).with(At::Live, 1, refused.clone()),
        slow_script(200).with(At::Live, 5, refused),
        Script { live_records: 0, ..slow_script(200) },
        // Everything was logged in the same second: there is nowhere to cut.
        Script {
            generate_ms: 600,
            ..Script::of((0..50).map(|ms| (1_700_000_000_000 + ms * 19, "same".to_owned())).collect())
        },
    ] {
        recovers(script).await;
    }
}

#[tokio::test]
async fn a_divided_fetch_resumes() {
    for number in 1..24 {
        let stage = Stage::set(slow_script(200)).await;
        let gone = status_fault(StatusCode::FORBIDDEN, &[]);
        stage.change(|script| script.faults.extend((number..100).map(|number| (At::File, number, gone.clone()))));
        stage.fetch().await.unwrap_err();
        stage.change(|script| script.faults.clear());
        stage.forget_requests();
        let report = stage.fetch().await.unwrap();
        assert_eq!(stage.fetched(), expected(&slow_script(200).log), "{number}");
        assert_eq!(report.completeness, Completeness::Verified);
        assert!(stage.count(At::File) as u32 >= report.pages - report.pages_kept);
    }
}

#[tokio::test]
async fn a_run_is_waited_for_until_it_has_ended_and_settled() {
    let going = r#"{"status":"executing"}"#.to_owned();
    let odd = r#"{"status":"PONDERING"}"#.to_owned();
    let ended = r#"{"status":"execution_failed","finishTimestamp":1800000010000}"#.to_owned();
    let script = Script::of(plain_log(5))
        .with(At::Execution, 1, Fault::Answer(200, vec![], going))
        .with(At::Execution, 2, Fault::Answer(200, vec![], odd))
        .with(At::Execution, 3, Fault::Answer(200, vec![], ended));
    let stage = recovers(script).await;
    // Its end lies in the future of our clock: the delay counts from when it was seen, 5 s after the first question.
    assert!(stage.time.now().as_millis() >= 1_800_000_000_000 + 5_000 + 30_000);
}

#[tokio::test]
async fn an_access_token_that_expires_is_renewed() {
    let building = |number| (At::Status, number, Fault::Word("IN_PROGRESS"));
    // The page takes longer than the token lives, so that it is renewed before it ends.
    let mut script = Script { token_life: Some(300), ..Script::of(plain_log(45)) };
    script.faults.extend((1..100).map(building));
    let stage = recovers(script).await;
    assert!(stage.count(At::Token) >= 2);
}

#[tokio::test]
async fn an_access_token_that_is_refused_is_renewed_once() {
    let script = Script { token_life: Some(1_800), ..Script::of(plain_log(5)) };
    let stage = recovers(script.with(At::Generate, 1, status_fault(StatusCode::UNAUTHORIZED, &[]))).await;
    assert_eq!(stage.count(At::Token), 2);

    let script = Script { token_life: Some(1_800), ..Script::of(plain_log(5)) };
    let stage = Stage::set(script.with(At::Generate, 0, status_fault(StatusCode::UNAUTHORIZED, &[]))).await;
    assert_eq!(fails(&stage).await.0, ErrorKind::Unauthorized);
    assert_eq!(stage.count(At::Generate), 2);
}

#[tokio::test]
async fn a_link_that_has_expired_is_replaced() {
    let script = Script::of(plain_log(5)).with(At::File, 1, status_fault(StatusCode::FORBIDDEN, &[]));
    let stage = recovers(script).await;
    assert_eq!((stage.count(At::Generate), stage.count(At::File)), (1, 2));
    // When the new link is refused as well, the page is asked for again.
    let script = Script::of(plain_log(5)).with(At::File, 1, status_fault(StatusCode::FORBIDDEN, &[])).with(
        At::File,
        2,
        status_fault(StatusCode::FORBIDDEN, &[]),
    );
    let stage = recovers(script).await;
    assert_eq!((stage.count(At::Generate), stage.count(At::File)), (2, 3));
    // And when that is, there is an end.
    let stage = Stage::set(Script::of(plain_log(5)).with(At::File, 0, status_fault(StatusCode::FORBIDDEN, &[]))).await;
    assert!(fails(&stage).await.1.contains("refused with 403"));
}

#[tokio::test]
async fn a_page_token_that_is_lost_is_replaced_once() {
    for status in [StatusCode::NOT_FOUND, StatusCode::BAD_REQUEST] {
        // A bad request is first answered with the token in quotes.
        let refusals = if status == StatusCode::NOT_FOUND { 1 } else { 2 };
        let mut script = Script::of(plain_log(5));
        script.faults.extend((1..=refusals).map(|number| (At::Status, number, status_fault(status, &[]))));
        let stage = recovers(script).await;
        assert_eq!(stage.count(At::Generate), 2);
    }
    let stage =
        Stage::set(Script::of(plain_log(5)).with(At::Status, 0, status_fault(StatusCode::NOT_FOUND, &[]))).await;
    assert_eq!(fails(&stage).await.0, ErrorKind::NotFound);
    assert_eq!(stage.count(At::Generate), 2);
}

#[tokio::test]
async fn the_token_is_sent_in_quotes_when_bare_is_refused() {
    let script = Script::of(plain_log(5)).with(At::Status, 1, status_fault(StatusCode::BAD_REQUEST, &[]));
    let stage = recovers(script).await;
    assert_eq!(stage.seen(At::Status), ["page-0", "\"page-0\""]);
    assert_eq!(stage.count(At::Generate), 1);
}

#[tokio::test]
async fn a_page_that_is_never_ready_has_an_end() {
    for word in ["IN_PROGRESS", "PONDERING", ""] {
        let stage = Stage::set(Script::of(plain_log(5)).with(At::Status, 0, Fault::Word(word))).await;
        let (kind, message) = fails(&stage).await;
        assert_eq!(kind, ErrorKind::Unavailable);
        assert!(message.contains("not READY") && message.contains("try again later"), "{message}");
        assert!(stage.count(At::Status) < 200, "asked {} times", stage.count(At::Status));
    }
}

#[tokio::test]
async fn a_limit_is_kept_as_the_service_asks() {
    let before = 1_800_000_000_000;
    let script = Script::of(plain_log(5)).with(
        At::Generate,
        1,
        status_fault(StatusCode::TOO_MANY_REQUESTS, &[("retry-after", "77")]),
    );
    let stage = recovers(script).await;
    assert!(stage.time.now().as_millis() >= before + 77_000);
    let limited = status_fault(StatusCode::TOO_MANY_REQUESTS, &[]);
    recovers(Script::of(plain_log(5)).with(At::Generate, 1, limited.clone()).with(At::Status, 1, limited.clone()))
        .await;
    let stage = Stage::set(Script::of(plain_log(5)).with(At::Generate, 0, limited)).await;
    assert_eq!(fails(&stage).await.0, ErrorKind::Limited);
    assert_eq!(stage.count(At::Generate), 7);
}

#[tokio::test]
async fn a_broken_service_is_asked_again_and_has_an_end() {
    for at in [At::Execution, At::Generate, At::Status, At::File, At::Live] {
        for status in [StatusCode::BAD_GATEWAY, StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY] {
            let broken = status_fault(status, &[]);
            let script = Script::of(plain_log(5)).with(at, 1, broken.clone()).with(at, 2, broken.clone());
            recovers(script).await;
        }
    }
    let slow = status_fault(StatusCode::REQUEST_TIMEOUT, &[]);
    recovers(Script { token_life: Some(1_800), ..Script::of(plain_log(5)) }.with(At::Token, 1, slow)).await;
    let broken = status_fault(StatusCode::INTERNAL_SERVER_ERROR, &[]);
    let stage = Stage::set(Script::of(plain_log(5)).with(At::File, 0, broken)).await;
    assert_eq!(fails(&stage).await.0, ErrorKind::Unavailable);
}

/// It asked to be called again in two seconds, and the fetch was given up after twelve.
#[tokio::test]
async fn a_service_that_is_away_for_a_minute_is_waited_for() {
    for at in [At::Execution, At::Generate, At::Status, At::File] {
        let away = status_fault(StatusCode::SERVICE_UNAVAILABLE, &[("retry-after", "2")]);
        let script = (1..=30).fold(Script::of(plain_log(5)), |script, number| script.with(at, number, away.clone()));
        recovers(script).await;
        let stage = Stage::set(Script::of(plain_log(5)).with(at, 0, away)).await;
        assert_eq!(fails(&stage).await.0, ErrorKind::Unavailable, "{at:?}");
        assert!((30..50).contains(&stage.count(at)), "{at:?}: {} requests", stage.count(at));
    }
}

#[tokio::test]
async fn an_interrupted_download_is_resumed() {
    let cut = Fault::CutAfter(200);
    let stage = recovers(Script::of(plain_log(9)).with(At::File, 1, cut.clone()).with(At::File, 2, cut.clone())).await;
    assert_eq!(stage.seen(At::File), ["", "bytes=200-", "bytes=400-"]);
    // A service that gives no parts gives the whole again.
    let script = Script { takes_ranges: false, ..Script::of(plain_log(9)) };
    recovers(script.with(At::File, 1, cut.clone())).await;
    // What is packed starts again: the rest of it could not be unpacked.
    let script = Script { form: FileForm::Zstd, ..Script::of(plain_log(9)) };
    let stage = recovers(script.with(At::File, 1, Fault::CutAfter(20))).await;
    assert_eq!(stage.seen(At::File), ["", ""]);
}

#[tokio::test]
async fn a_body_that_ends_early_without_a_word_is_noticed() {
    recovers(Script::of(plain_log(9)).with(At::File, 1, Fault::CutWithoutHeader(300))).await;
    let stage = Stage::set(Script::of(plain_log(9)).with(At::File, 0, Fault::CutWithoutHeader(300))).await;
    let (kind, message) = fails(&stage).await;
    assert_eq!(kind, ErrorKind::Protocol);
    assert!(message.contains("is truncated"), "{message}");
}

/// The form of the header is documented nowhere.
#[tokio::test]
async fn the_end_of_the_next_page_may_be_a_time_of_any_form() {
    for end in ["1700000009000", "2023-11-14T23:13:29+01:00", "2023-11-14T23:13:29.000+0100", "2023-11-14 22:13:29"] {
        let script = Script::of(plain_log(100)).with(At::Generate, 1, Fault::NextEnd(Some(end)));
        let stage = Stage::set(script).await;
        stage.fetch().await.unwrap();
        assert_eq!(stage.fetched(), expected(&plain_log(100)), "{end}");
    }
}

#[tokio::test]
async fn a_header_that_leads_nowhere_is_an_error() {
    for (next_end, words) in
        [(Some("yesterday"), "not a time"), (Some("2023-11-14T22:13:25Z"), "do not go back in time")]
    {
        let script = Script::of(plain_log(100)).with(At::Generate, 0, Fault::NextEnd(next_end));
        let stage = Stage::set(script).await;
        let (kind, message) = fails(&stage).await;
        assert_eq!(kind, ErrorKind::Protocol);
        assert!(message.contains(words), "{message}");
    }
}

/// The vendor's OpenAPI file has no header for the end of the next page, and a log of more than one page of a service without
/// it was never fetched.
#[tokio::test]
async fn pages_are_found_by_their_oldest_records_if_the_service_does_not_say_where_they_end() {
    let mut dense = plain_log(40);
    dense.extend((0..60).map(|number| (1_700_000_009_000 + number, format!("dense {number}"))));
    for log in [plain_log(100), plain_log(11), dense] {
        for cut in [Cut::Exact, Cut::MiddleInside, Cut::MiddleOutside, Cut::WholeSeconds] {
            let script = Script { cut, ..Script::of(log.clone()) }.with(At::Generate, 0, Fault::NextEnd(None));
            let stage = Stage::set(script).await;
            stage.fetch().await.unwrap();
            assert_eq!(stage.fetched(), expected(&log), "{cut:?}");
        }
    }
}

#[tokio::test]
async fn a_fetch_by_the_oldest_records_resumes() {
    let log = plain_log(100);
    for broken in [At::Generate, At::File] {
        for number in 1..8 {
            let script = Script::of(log.clone()).with(At::Generate, 0, Fault::NextEnd(None));
            let stage = Stage::set(script).await;
            let gone = status_fault(StatusCode::FORBIDDEN, &[]);
            stage.change(|script| {
                let broken = (number..200).map(|number| (broken, number, gone.clone()));
                script.faults.splice(0..0, broken);
            });
            stage.fetch().await.unwrap_err();
            let received = stage.count(At::File);
            stage.change(|script| script.faults.retain(|(at, number, _)| *at == At::Generate && *number == 0));
            stage.forget_requests();
            stage.fetch().await.unwrap();
            assert_eq!(stage.fetched(), expected(&log), "{broken:?} {number}");
            assert!(number == 1 || received > 0);
        }
    }
}

/// The page of a proxy, or of a bucket that is not there, in place of a file of a log.
#[tokio::test]
async fn a_file_that_is_no_log_is_an_error() {
    let page = "<!DOCTYPE html><html><body>Sign in</body></html>";
    let xml = "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code></Error>";
    for (kind, body) in
        [("text/html", page), ("application/json", page), ("application/xml", xml), ("text/plain", "OK")]
    {
        let answer = Fault::Answer(200, vec![("content-type", kind.to_owned())], body.to_owned());
        let stage = Stage::set(Script::of(plain_log(5)).with(At::File, 0, answer)).await;
        let (kind, message) = fails(&stage).await;
        assert_eq!(kind, ErrorKind::Protocol, "{message}");
        // It is only there for a moment.
        stage.change(|script| script.faults.clear());
        stage.fetch().await.unwrap();
        assert_eq!(stage.fetched(), expected(&plain_log(5)));
    }
}

/// A file without a byte, with the label of a compression that has more.
#[tokio::test]
async fn an_empty_file_is_an_empty_log_whatever_its_label() {
    for label in ["gzip", "zstd", "deflate", "br", "identity"] {
        let empty = Fault::Answer(200, vec![("content-encoding", label.to_owned())], String::new());
        let stage = Stage::set(Script::of(Vec::new()).with(At::File, 0, empty)).await;
        stage.fetch().await.unwrap();
        assert_eq!(stage.fetched(), "", "{label}");
    }
}

#[tokio::test]
async fn links_to_where_they_should_not_lead_are_refused() {
    for link in [
        "https://evil.example/x?signature=hush-hush",
        "http://169.254.169.254/latest?signature=hush-hush",
        "http://bucket.s3.amazonaws.com/x?signature=hush-hush",
        "https://10.0.0.1/x?signature=hush-hush",
        "file:///etc/passwd",
    ] {
        let stage = Stage::set(Script::of(plain_log(5)).with(At::Status, 0, Fault::Link(link.to_owned()))).await;
        let (kind, message) = fails(&stage).await;
        assert_eq!(kind, ErrorKind::Refused, "{link}: {message}");
        let location = vec![("location", link.to_owned())];
        let stage =
            Stage::set(Script::of(plain_log(5)).with(At::File, 0, Fault::Answer(302, location, String::new()))).await;
        assert_eq!(fails(&stage).await.0, ErrorKind::Refused, "redirect to {link}");
    }
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_even_when_it_is_allowed() {
    let link = "https://localhost:9/x?signature=hush-hush".to_owned();
    let script = Script::of(plain_log(5)).with(At::Status, 0, Fault::Link(link));
    let stage = Stage::set_with(script, |settings| settings.download.allowed_hosts.push("localhost".to_owned())).await;
    let (kind, message) = fails(&stage).await;
    assert_eq!(kind, ErrorKind::Refused);
    assert!(message.contains("which is not public"), "{message}");
}

#[tokio::test]
async fn redirects_are_followed_and_have_an_end() {
    let to_itself = vec![("location", "?again".to_owned())];
    let redirect = Fault::Answer(307, to_itself, String::new());
    recovers(Script::of(plain_log(5)).with(At::File, 1, redirect.clone()).with(At::File, 2, redirect.clone())).await;
    let stage = Stage::set(Script::of(plain_log(5)).with(At::File, 0, redirect)).await;
    assert!(fails(&stage).await.1.contains("redirects"));
}

#[tokio::test]
async fn bombs_and_endless_files_are_refused() {
    let stage = Stage::set(Script::of(plain_log(5)).with(At::File, 0, Fault::Bomb)).await;
    let (kind, message) = fails(&stage).await;
    assert_eq!(kind, ErrorKind::Refused);
    assert!(message.contains("decompresses to more than"), "{message}");
    let small = |settings: &mut runlog_client::ClientSettings| settings.download.bytes_max = 100;
    let stage = Stage::set_with(Script::of(plain_log(9)), small).await;
    assert!(fails(&stage).await.1.contains("larger than 100 bytes"));
}

#[tokio::test]
async fn a_wrong_record_count_is_not_complete() {
    let more = r#"{"totalSize":7,"totalSizeFiltered":7,"data":[]}"#.to_owned();
    let stage =
        Stage::set(Script::of(plain_log(5)).just_ended().with(At::Live, 0, Fault::Answer(200, vec![], more))).await;
    match stage.fetch().await.unwrap_err() {
        FetchError::Incomplete { expected: 7, got: 5 } => {}
        other => panic!("{other}"),
    }
    assert!(!stage.output().exists());
    let request = FetchRequest { allow_incomplete: true, ..stage.request() };
    let report = stage.fetch_as(request).await.unwrap();
    assert_eq!((report.records, report.completeness), (5, Completeness::Different { expected: 7 }));
    assert_eq!(report.pages_kept, 1, "the page is not fetched again");
}

#[tokio::test]
async fn a_count_that_comes_with_the_first_page_is_not_asked_for() {
    let log = plain_log(25);
    let stage = Stage::set(Script::of(log.clone()).with(At::Generate, 0, Fault::Counted(25))).await;
    assert_eq!(stage.fetch().await.unwrap().completeness, Completeness::Verified);
    assert_eq!((stage.fetched(), stage.count(At::Live)), (expected(&log), 0));
    // Of a part of the log, it tells nothing.
    let range = TimeRange { start: None, end: Some(Timestamp::clamped(log[11].0)) };
    let report = stage.fetch_as(FetchRequest { range, ..stage.request() }).await.unwrap();
    assert_eq!(report.completeness, Completeness::Verified);
    assert_eq!(stage.count(At::Live), 1);
}

/// Two requests for a run with one page instead of three: a limit of 600 requests per minute allows 18,000 such runs per
/// hour. The number of records is still requested where the size does not prove it.
#[tokio::test]
async fn the_size_of_the_only_page_proves_that_it_is_the_whole_log() {
    let counted = async |script: Script| {
        let log = script.log.clone();
        let stage = Stage::set(script).await;
        let report = stage.fetch().await.unwrap();
        assert_eq!((report.completeness, report.records), (Completeness::Verified, log.len() as u64));
        if !log.is_empty() {
            assert_eq!(stage.fetched(), expected(&log));
        }
        stage.count(At::Live)
    };
    assert_eq!(counted(Script::of(plain_log(5))).await, 0);
    assert_eq!(counted(Script::of(plain_log(5)).just_ended()).await, 1, "more may be on its way");
    assert_eq!(counted(Script { size_is_bytes: true, ..Script::of(plain_log(5)) }).await, 1);
    assert_eq!(counted(Script::of(plain_log(25))).await, 1, "several pages");
    assert_eq!(counted(Script::of(Vec::new())).await, 1, "the log may not have arrived");
}

#[tokio::test]
async fn a_count_with_a_page_that_does_not_fit_is_asked_for_again() {
    let stage = Stage::set(Script::of(plain_log(5)).with(At::Generate, 0, Fault::Counted(7))).await;
    assert_eq!(stage.fetch().await.unwrap().completeness, Completeness::Verified);
    assert_eq!(stage.count(At::Live), 1);
}

#[tokio::test]
async fn a_missing_record_count_is_reported() {
    let script = Script::of(plain_log(5)).just_ended();
    let stage = Stage::set(script.with(At::Live, 0, status_fault(StatusCode::FORBIDDEN, &[]))).await;
    assert!(matches!(stage.fetch().await.unwrap_err(), FetchError::Uncounted { got: 5, .. }));
    let request = FetchRequest { allow_incomplete: true, ..stage.request() };
    assert_eq!(stage.fetch_as(request).await.unwrap().completeness, Completeness::Unknown);
}

#[tokio::test]
async fn a_fetch_resumes_after_any_failure() {
    for at in [At::Generate, At::Status, At::File, At::Live] {
        for number in 1..5 {
            let log = plain_log(45);
            let stage = Stage::set(Script::of(log.clone())).await;
            // From the n-th request on, the endpoint always fails.
            let gone = status_fault(StatusCode::FORBIDDEN, &[]);
            stage.change(|script| script.faults.extend((number..200).map(|number| (at, number, gone.clone()))));
            let broken = stage.fetch().await;
            let files_before = stage.count(At::File);
            stage.change(|script| script.faults.clear());
            stage.forget_requests();
            let report = stage.fetch().await.unwrap();
            assert_eq!(stage.fetched(), expected(&log), "{at:?} {number}");
            if broken.is_err() && at == At::Live {
                assert_eq!((stage.count(At::File), report.pages_kept), (0, report.pages), "after {files_before} files");
            }
            // Requests that were on their way when the first fetch ended may be seen after it.
            assert!(stage.count(At::File) as u32 >= report.pages - report.pages_kept);
        }
    }
}

#[tokio::test]
async fn a_folder_of_another_fetch_is_not_taken_for_this_one() {
    let stage = Stage::set(Script::of(plain_log(45)).with(At::Live, 0, status_fault(StatusCode::FORBIDDEN, &[]))).await;
    stage.fetch().await.unwrap_err();
    let mut request = stage.request();
    request.range.start = Some("2023-11-14T22:13:21Z".parse().unwrap());
    let error = stage.fetch_as(request).await.unwrap_err().to_string();
    assert!(error.contains("another range of time") && error.contains("remove it"), "{error}");
    // A damaged checkpoint is ignored: everything is fetched again.
    std::fs::write(stage.folder.path().join("run.ndjson.runlog-part/checkpoint.ndjson"), "{").unwrap();
    stage.change(|script| script.faults.clear());
    assert_eq!(stage.fetch().await.unwrap().pages_kept, 0);
}

#[tokio::test]
async fn a_note_that_was_written_in_part_leaves_the_one_before() {
    let log = plain_log(45);
    let gone = status_fault(StatusCode::FORBIDDEN, &[]);
    let stage = Stage::set(Script::of(log.clone()).with(At::Live, 0, gone)).await;
    stage.fetch().await.unwrap_err();
    let note = stage.folder.path().join("run.ndjson.runlog-part/checkpoint.ndjson");
    let written = std::fs::read(&note).unwrap();
    // The last page is noted in the last line: without it, and with any part of it, that page is fetched again.
    let last = written[..written.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for end in [last, last + 1, written.len() - 2] {
        std::fs::write(&note, &written[..end]).unwrap();
        stage.forget_requests();
        // The service does not count yet.
        stage.fetch().await.unwrap_err();
        assert_eq!(stage.count(At::File), 1, "{end} of {} bytes", written.len());
    }
    stage.change(|script| script.faults.clear());
    stage.fetch().await.unwrap();
    assert_eq!(stage.fetched(), expected(&log));
}

#[tokio::test]
async fn nothing_secret_is_written_down() {
    let stage = Stage::set(Script::of(plain_log(45)).with(At::Live, 0, status_fault(StatusCode::FORBIDDEN, &[]))).await;
    stage.fetch().await.unwrap_err();
    let note = std::fs::read_to_string(stage.folder.path().join("run.ndjson.runlog-part/checkpoint.ndjson")).unwrap();
    assert!(!note.contains(SECRET) && !note.contains("page-0\""), "{note}");
}

#[tokio::test]
async fn the_overlap_can_be_asked_for_from_the_start() {
    let log = plain_log(45);
    let stage = Stage::set(Script { cut: Cut::WholeSeconds, limit: 25, ..Script::of(log.clone()) }).await;
    let request = FetchRequest { overlap: Duration::from_secs(1), ..stage.request() };
    let report = stage.fetch_as(request).await.unwrap();
    assert_eq!(stage.fetched(), expected(&log));
    assert!(report.repeated > 0);
}

#[tokio::test]
async fn a_range_is_kept_on_both_ends() {
    let log = plain_log(45);
    let stage = Stage::set(Script::of(log.clone())).await;
    let mut request = stage.request();
    request.range.start = Some("2023-11-14T22:13:21Z".parse().unwrap());
    request.range.end = Some("2023-11-14T22:13:22Z".parse().unwrap());
    stage.fetch_as(request).await.unwrap();
    let inside: String = log[10..=20].iter().map(|record| line(record) + "\n").collect();
    assert_eq!(stage.fetched(), inside);
}

#[tokio::test]
async fn a_run_that_is_not_waited_for_is_fetched_up_to_now() {
    let going = Fault::Answer(200, vec![], r#"{"status":"executing"}"#.to_owned());
    let stage = Stage::set(Script::of(plain_log(5)).with(At::Execution, 1, going)).await;
    let request = FetchRequest { settle: None, ..stage.request() };
    let report = stage.fetch_as(request).await.unwrap();
    let now = "2027-01-15T08:00:00Z";
    assert_eq!(report.completeness, Completeness::SoFar { before: now.parse().ok() });
    assert_eq!(stage.seen(At::Generate), [now]);
}

/// It was said of a run that had ended the day before that it "may log more".
#[tokio::test]
async fn a_run_that_has_ended_is_fetched_whole_without_a_wait() {
    let stage = Stage::set(Script::of(plain_log(5))).await;
    let request = FetchRequest { settle: None, ..stage.request() };
    assert_eq!(stage.fetch_as(request).await.unwrap().completeness, Completeness::Verified);
    assert_eq!(stage.seen(At::Generate), [""]);
}

/// Times that meet often, also in one second and one millisecond, out of order.
fn logs() -> impl Strategy<Value = Vec<(i64, String)>> {
    let time = prop_oneof![0_i64..5, 0_i64..3_000, 0_i64..60_000, Just(1_500), Just(2_000)];
    prop::collection::vec((time, "[ab]{1,2}"), 0..120)
        .prop_map(|log| log.into_iter().map(|(ms, text)| (1_700_000_000_000 + ms, text)).collect())
}

fn time(line: &str) -> i64 {
    runlog_client::entries::time_of(line.as_bytes()).unwrap().unwrap()
}

/// The most records in any stretch of two seconds: with fewer than a page holds, every cut can be recovered.
fn densest(log: &[(i64, String)]) -> usize {
    let in_stretch = |start: i64| log.iter().filter(|record| (start..=start + 2_000).contains(&record.0)).count();
    log.iter().map(|record| in_stretch(record.0)).max().unwrap_or(0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    /// Whatever the log, the range and the cut, the result is the exact log, or an error that says what is missing.
    #[test]
    fn the_result_is_the_log_or_an_error(
        log in logs(), limit in 1_u64..50, newest_first: bool, in_flight in 1_usize..4, received: bool,
        cut in prop::sample::select(vec![Cut::Exact, Cut::MiddleInside, Cut::MiddleOutside, Cut::WholeSeconds]),
        from in prop::option::of(0_i64..20_000), to in prop::option::of(20_000_i64..60_000), overlap_s in 0_u64..2,
        is_slow: bool,
    ) {
        let at = |ms: i64| Timestamp::clamped(1_700_000_000_000 + ms);
        let range = TimeRange { start: from.map(at), end: to.map(at) };
        // A service whose ends are outside leaves out the very last instant of what was asked for, and says so.
        let is_outside = |ms: i64| cut == Cut::MiddleOutside && to == Some(ms - 1_700_000_000_000);
        let wanted: Vec<(i64, String)> =
            log.iter().filter(|record| range.contains(record.0) && !is_outside(record.0)).cloned().collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // Where the service is slow, the log is fetched in parts.
        let generate_ms = if is_slow { 600 } else { 0 };
        let order = if received { LogOrder::Received } else { LogOrder::Time };
        let outcome = runtime.block_on(async {
            let stage = Stage::set(Script { limit, cut, newest_first, generate_ms, ..Script::of(log.clone()) }).await;
            let overlap = Duration::from_secs(overlap_s);
            let request = FetchRequest { range, order, overlap, pages_in_flight: in_flight, ..stage.request() };
            stage.fetch_as(request).await.map(|report| (report, stage.fetched()))
        });
        let can_be_recovered = cut == Cut::Exact && overlap_s == 0 || densest(&log) < limit as usize;
        match outcome {
            Ok((report, fetched)) => {
                prop_assert_eq!(report.records, wanted.len() as u64);
                let exact = expected(&wanted);
                let (mut lines, mut exact): (Vec<_>, Vec<_>) = (fetched.lines().collect(), exact.lines().collect());
                if received {
                    exact.reverse();
                }
                // In the order received, what was repeated stands where it came first. And where a page holds less than
                // two seconds, no page may hold an instant whole: then its records are all there, in some order.
                if newest_first && can_be_recovered && (!received || report.repeated == 0) {
                    prop_assert_eq!(&lines, &exact);
                }
                if !received {
                    prop_assert!(lines.iter().map(|line| time(line)).is_sorted());
                }
                // Files that do not tell their direction may turn equal times round; nothing is lost by that.
                lines.sort_unstable();
                exact.sort_unstable();
                prop_assert_eq!(lines, exact);
            }
            Err(FetchError::Incomplete { expected, got }) => {
                prop_assert!(!can_be_recovered, "{expected} expected, {got} came");
                prop_assert_eq!(expected, wanted.len() as u64);
            }
            Err(FetchError::Upstream(error)) => {
                prop_assert!(!can_be_recovered && error.kind() == ErrorKind::Protocol, "{}", error);
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
