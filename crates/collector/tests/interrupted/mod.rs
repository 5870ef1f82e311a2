//! Fetches that were interrupted, that find files of another fetch, or whose first responses were changed later.

use std::fs::{self, File};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::http::StatusCode;
use runlog_collector::{
    Completeness, FetchError, FetchEvent, FetchReport, FetchRequest, Output, Progress, Result, fetch_run,
};
use runlog_model::Clock;
use tokio::sync::Notify;

use crate::recovers;
use crate::support::{At, Fault, Script, Stage, expected, plain_log, status_fault};

/// Cancels after a number of events.
struct StopAfter {
    events_left: AtomicU32,
    stop: Notify,
}

impl Progress for StopAfter {
    fn report(&self, _: FetchEvent<'_>) {
        if self.events_left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.stop.notify_one();
        }
    }
}

/// Fetches, and drops the fetch at an event. Returns `None` if it was dropped.
async fn stopped_after(stage: &Stage, events: u32) -> Option<Result<FetchReport>> {
    let progress = Arc::new(StopAfter { events_left: AtomicU32::new(events), stop: Notify::new() });
    tokio::select! {
        biased;
        () = progress.stop.notified() => None,
        report = fetch_run(&stage.client, stage.request(), progress.clone()) => Some(report),
    }
}

/// Fetches once the dropped fetch has released its folder.
async fn fetch_after_stop(stage: &Stage) -> FetchReport {
    loop {
        match stage.fetch().await {
            Err(FetchError::OtherFetch { .. }) => tokio::task::yield_now().await,
            report => return report.unwrap(),
        }
    }
}

#[tokio::test]
async fn a_fetch_dropped_at_any_event_resumes() {
    let log = plain_log(45);
    let mut stops = 0;
    loop {
        let stage = Stage::set(Script::of(log.clone())).await;
        stops += 1;
        let outcome = stopped_after(&stage, stops).await;
        let was_stopped = outcome.is_none();
        if was_stopped {
            assert!(!stage.output().exists(), "nothing stands at the output after {stops} events");
            let report = fetch_after_stop(&stage).await;
            assert_eq!(report.completeness, Completeness::Verified);
        }
        assert_eq!(stage.fetched(), expected(&log), "stopped after {stops} events");
        assert_eq!(fs::read_dir(stage.folder.path()).unwrap().count(), 1, "only the result is left");
        if !was_stopped {
            break;
        }
    }
    assert!(stops > 15, "each page has its events; there were {stops}");
}

#[tokio::test]
async fn records_that_come_late_are_asked_for_again() {
    let script = Script::of(plain_log(25)).with(At::Generate, 1, Fault::Late(4));
    let stage = recovers(script).await;
    let ends = stage.seen(At::Generate);
    assert_eq!(ends.iter().filter(|end| end.is_empty()).count(), 2, "the newest page is asked for twice: {ends:?}");
}

#[tokio::test]
async fn an_incomplete_fetch_does_not_stay_incomplete_for_ever() {
    let log = plain_log(25);
    let stage = Stage::set(Script::of(log.clone()).with(At::Generate, 0, Fault::Late(4))).await;
    assert!(matches!(stage.fetch().await.unwrap_err(), FetchError::Incomplete { expected: 25, .. }));
    // The pages are on disk and wrong; trying again, as the message says, must help.
    stage.change(|script| script.faults.clear());
    let report = stage.fetch().await.unwrap();
    assert_eq!(stage.fetched(), expected(&log));
    assert_eq!((report.completeness, report.pages_kept), (Completeness::Verified, 0));
}

#[tokio::test]
async fn a_count_that_comes_later_than_the_log_is_asked_for_again() {
    let fewer = r#"{"totalSize":3,"data":[]}"#.to_owned();
    let script = || Script::of(plain_log(5)).just_ended();
    let stage = recovers(script().with(At::Live, 1, Fault::Answer(200, vec![], fewer.clone()))).await;
    assert_eq!(stage.count(At::Live), 2);
    let stage = Stage::set(script().with(At::Live, 0, Fault::Answer(200, vec![], fewer))).await;
    assert!(matches!(stage.fetch().await.unwrap_err(), FetchError::Incomplete { expected: 3, got: 5 }));
}

#[tokio::test]
async fn a_log_that_grew_while_the_fetch_was_interrupted_is_fetched_anew() {
    for kept in [0, 2] {
        let stage = Stage::set(Script::of(plain_log(45))).await;
        let gone = status_fault(StatusCode::FORBIDDEN, &[]);
        stage.change(|script| script.faults.extend((kept + 1..200).map(|number| (At::File, number, gone.clone()))));
        stage.fetch().await.unwrap_err();
        let grown = plain_log(52);
        stage.change(|script| {
            script.faults.clear();
            script.log = grown.clone();
        });
        let report = stage.fetch().await.unwrap();
        assert_eq!(stage.fetched(), expected(&grown), "{kept} files came before");
        assert_eq!(report.completeness, Completeness::Verified);
    }
}

#[tokio::test]
async fn a_page_that_lost_bytes_on_disk_is_fetched_again() {
    let log = plain_log(45);
    let stage = Stage::set(Script::of(log.clone()).with(At::Live, 0, status_fault(StatusCode::FORBIDDEN, &[]))).await;
    stage.fetch().await.unwrap_err();
    let chunk = stage.part_folder().join("page-2-0.chunk");
    let mut bytes = fs::read(&chunk).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 50].fill(0);
    fs::write(&chunk, bytes).unwrap();
    stage.change(|script| script.faults.clear());
    let report = stage.fetch().await.unwrap();
    assert_eq!(stage.fetched(), expected(&log));
    assert_eq!(report.pages - report.pages_kept, 1);
}

#[tokio::test]
async fn two_fetches_do_not_share_a_folder() {
    let stage = Stage::set(Script::of(plain_log(5))).await;
    fs::create_dir(stage.part_folder()).unwrap();
    let other = File::open(stage.part_folder()).unwrap();
    other.lock().unwrap();
    let error = stage.fetch().await.unwrap_err().to_string();
    assert!(error.contains("is still running") && error.contains("wait for it"), "{error}");
    drop(other);
    stage.fetch().await.unwrap();
}

#[tokio::test]
async fn an_output_that_cannot_be_put_in_place_is_refused_before_anything_is_fetched() {
    let stage = Stage::set(Script::of(plain_log(5))).await;
    let socket = stage.folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for (path, words) in [(stage.folder.path().to_owned(), "a folder"), (socket.clone(), "not a regular file")] {
        let request = FetchRequest { output: Output::File(path), ..stage.request() };
        let error = stage.fetch_as(request).await.unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(words), "{cause}");
    }
    assert_eq!((stage.count(At::Execution), stage.count(At::Generate)), (0, 0));
}

#[tokio::test]
async fn a_log_that_is_not_settled_is_waited_for_and_never_called_complete() {
    let unsettled = |times: usize| {
        let script = Script::of(plain_log(5));
        (1..=times).fold(script, |script, number| script.with(At::Generate, number, Fault::Unsettled))
    };
    let stage = recovers(unsettled(3)).await;
    assert_eq!(stage.count(At::Generate), 4);

    let stage = Stage::set(unsettled(200)).await;
    assert_eq!(stage.fetch().await.unwrap().completeness, Completeness::SoFar { before: None });
    assert!(stage.count(At::Generate) < 100, "asked {} times", stage.count(At::Generate));
}

#[tokio::test]
async fn a_range_that_ends_later_than_now_is_fetched_up_to_now() {
    let going = Fault::Answer(200, vec![], r#"{"status":"executing"}"#.to_owned());
    let stage = Stage::set(Script::of(plain_log(5)).with(At::Execution, 1, going)).await;
    let mut request = FetchRequest { settle: None, ..stage.request() };
    request.range.end = Some("2030-01-01T00:00:00Z".parse().unwrap());
    let now = stage.time.now();
    stage.fetch_as(request).await.unwrap();
    assert_eq!(stage.seen(At::Generate), [now.to_api_text()]);
}

#[tokio::test]
async fn the_report_lists_each_page() {
    let stage = Stage::set(Script::of(plain_log(45))).await;
    let report = stage.fetch().await.unwrap();
    assert_eq!(report.page_records.len(), report.pages as usize);
    assert_eq!(report.page_records.iter().sum::<u64>(), 45);
    assert!(report.page_records.iter().all(|records| *records <= 10), "{:?}", report.page_records);
}
