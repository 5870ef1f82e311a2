//! A run's log lands in the archive exactly while its pages still arrive, whatever the pages are and whatever fails.

mod at_once;
mod audit_logs;
mod components;
mod listed;
mod odd;
mod plans;
mod recorded;
mod troubled;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use proptest::prelude::*;
use runlog_client::{HttpClientBuilder, TlsSettings};
use runlog_collector::alerts::{AlertRule, Alerts, Condition, Destination, Maintenance, SearchScope, Webhook};
use runlog_collector::{
    CollectError, CollectSettings, CollectStats, Collector, Discovered, NoProgress, Range, Selection, Upstream,
};
use runlog_model::{Clock, RecordOrder, RunId, RunStatus, TimeRange, Timestamp};
use runlog_store::{Store, StoreSettings};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::logs;
use crate::support::{At, Cut, Fault, RUN, Script, Stage, TASK, TestRandom, plain_log, status_fault};

/// Another run of the same task, whose log is the same.
const OTHER_RUN: &str = "6c0e5a34-0000-4000-8000-000000000002";
/// The status of a run in progress.
const RUNNING: &str = "executing";
const HAS_ENDED: &str = "execution_failed";

/// A list of these runs with their statuses.
fn run_list(runs: &[(&str, &str)]) -> Fault {
    let item = |(run, status): &(&str, &str)| {
        let triggered = "2023-11-14T22:13:20Z";
        json!({"executionId": run, "taskId": TASK, "status": status, "triggerTimestamp": triggered})
    };
    let items: Vec<_> = runs.iter().map(item).collect();
    Fault::Answer(200, vec![], json!({"items": items, "total": items.len()}).to_string())
}

/// A collector of the service's one run, into an archive of its own.
struct Landing {
    stage: Stage,
    random: Arc<TestRandom>,
    store: Store,
    upstream: Upstream,
    collector: Collector,
}

impl Landing {
    async fn of(script: Script, change: impl FnOnce(&mut CollectSettings)) -> Self {
        let stage = Stage::set(script).await;
        let clock = Arc::new(stage.time.clone());
        let random = Arc::new(TestRandom::default());
        let settings = StoreSettings::in_folder(stage.folder.path().join("data"));
        let store = Store::open(settings, clock, random.clone()).await.unwrap();
        let mut settings = CollectSettings::in_folder(stage.folder.path().join("work"));
        settings.page_memory_bytes = 500;
        change(&mut settings);
        let upstream = Upstream {
            name: "service".to_owned(),
            client: stage.client.clone(),
            selection: Selection { tasks: vec![TASK.parse().unwrap()], ..Selection::default() },
            settings,
            process: "test".to_owned(),
        };
        let collector = Collector::new(&store, upstream.clone(), Arc::new(NoProgress));
        Self { stage, random, store, upstream, collector }
    }

    /// Lists the run.
    async fn list(&self) -> Discovered {
        self.try_list().await.unwrap()
    }

    async fn try_list(&self) -> Result<Discovered, CollectError> {
        let now = self.stage.time.now();
        let range = Range { from: Timestamp::clamped(1_690_000_000_000), to: now };
        self.collector.discover_range(range).await
    }

    /// Lands the run if it is due.
    async fn land(&self) -> CollectStats {
        self.collector.land_due(&CancellationToken::new()).await.unwrap()
    }

    /// Lists the run, and lands it if it is due.
    async fn round(&self) -> CollectStats {
        self.list().await;
        self.land().await
    }

    /// Returns the time and message of the run's records in the archive, and the final status if its log has landed.
    async fn archived(&self) -> (Vec<(i64, String)>, Option<RunStatus>) {
        let id: RunId = RUN.parse().unwrap();
        let Some(run) = self.store.runs().get(id).await.unwrap() else { return (Vec::new(), None) };
        let mut reader = self.store.logs().read_records(id, TimeRange::ALL, RecordOrder::Asc).await.unwrap();
        let mut records = Vec::new();
        while let Some(more) = reader.next().await.unwrap() {
            records.extend(more.into_iter().map(|record| (record.time.as_millis(), record.message.unwrap())));
        }
        assert_eq!(run.records, records.len() as u64);
        (records, run.final_since.map(|_| run.status.coarse()))
    }

    /// Restarts the collector, as after a crash.
    fn restart(&mut self) {
        self.collector = Collector::new(&self.store, self.upstream.clone(), Arc::new(NoProgress));
    }

    /// The folder of pages that are being fetched.
    fn work(&self) -> PathBuf {
        self.stage.folder.path().join("work/service")
    }

    fn work_is_left(&self) -> bool {
        std::fs::read_dir(self.work()).unwrap().next().is_some()
    }

    /// The file of the catalog.
    fn catalog(&self) -> PathBuf {
        self.stage.folder.path().join("data/catalog.sqlite")
    }
}

fn by_time(log: &[(i64, String)]) -> Vec<(i64, String)> {
    let mut log = log.to_vec();
    log.sort_by_key(|record| record.0);
    log
}

#[tokio::test]
async fn what_came_lands_before_the_rest_is_there() {
    // The oldest pages are not delivered.
    let gone = status_fault(StatusCode::FORBIDDEN, &[]);
    let log = plain_log(45);
    let landing = Landing::of(Script::of(log.clone()), |settings| settings.pages_in_flight = 1).await;
    landing.stage.change(|script| script.faults.extend((5..40).map(|number| (At::File, number, gone.clone()))));
    assert_eq!(landing.round().await, CollectStats { set_back: 1, ..CollectStats::default() });
    let (archived, status) = landing.archived().await;
    assert_eq!(status, None, "it is not called done");
    assert!(archived.len() >= 30 && log.ends_with(&archived), "the newest pages: {archived:?}");

    landing.stage.change(|script| script.faults.clear());
    landing.stage.forget_requests();
    landing.stage.time.pass(3_600_000);
    assert_eq!(landing.round().await, CollectStats { landed: 1, records: 45, ..CollectStats::default() });
    assert_eq!(landing.archived().await, (log, Some(RunStatus::Failed)));
    assert_eq!(landing.stage.count(At::File), 2, "of six pages those that did not come");
    assert!(!landing.work_is_left());
}

#[tokio::test]
async fn runs_that_cannot_be_collected_are_counted() {
    let item = format!(r#"{{"executionId": "42", "taskId": "{TASK}", "executionStatus": "EXECUTION_SUCCESS"}}"#);
    let list = format!(r#"{{"items": [{item}], "limit": 100, "offset": 0, "total": 1}}"#);
    let script = Script::of(plain_log(5)).with(At::List, 0, Fault::Answer(200, vec![], list));
    let found = Landing::of(script, |_| ()).await.list().await;
    assert_eq!((found.listed, found.new, found.unreadable), (0, 0, 1));
}

#[tokio::test]
async fn pages_of_a_run_that_has_landed_are_not_left_behind() {
    // A collector that is killed when a run has landed has its pages still on disk, and no one would look there again.
    let mut landing = Landing::of(Script::of(plain_log(45)), |_| ()).await;
    assert_eq!(landing.round().await.landed, 1);
    let work = landing.stage.folder.path().join("work/service");
    let other = "00000000-0000-4000-8000-000000000009";
    for folder in [RUN.to_owned(), format!("{RUN}.so-far"), other.to_owned(), format!("{other}.so-far")] {
        std::fs::create_dir(work.join(&folder)).unwrap();
        std::fs::write(work.join(&folder).join("checkpoint.ndjson"), "{}").unwrap();
    }
    // So are folders that it kept for other runs.
    std::fs::create_dir(work.join("spare-1-0")).unwrap();
    landing.restart();
    assert_eq!(landing.round().await, CollectStats::default());
    let mut left: Vec<_> =
        std::fs::read_dir(&work).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, [other.to_owned(), format!("{other}.so-far")], "those of other runs may be needed");
}

#[tokio::test]
async fn what_cannot_be_removed_does_not_hold_up_the_collecting() {
    let mut landing = Landing::of(Script::of(plain_log(45)), |_| ()).await;
    assert_eq!(landing.round().await.landed, 1);
    // Not a folder of pages, whatever it is.
    let other = landing.stage.folder.path().join("work/service").join(RUN);
    std::fs::write(&other, "").unwrap();
    landing.restart();
    assert_eq!(landing.round().await, CollectStats::default());
    assert!(other.exists());
}

#[tokio::test]
async fn whatever_breaks_the_archive_has_the_log_in_the_end() {
    for at in [At::Generate, At::Status, At::File, At::Live] {
        for number in 1..6 {
            for generate_ms in [0, 600] {
                let log = plain_log(450).into_iter().step_by(10).collect::<Vec<_>>();
                let landing = Landing::of(Script { generate_ms, ..Script::of(log.clone()) }, |_| ()).await;
                let gone = status_fault(StatusCode::FORBIDDEN, &[]);
                landing.stage.change(|script| {
                    script.faults.extend((number..200).map(|number| (at, number, gone.clone())));
                });
                let broken = landing.round().await;
                landing.stage.change(|script| script.faults.clear());
                landing.stage.time.pass(3_600_000);
                if broken.landed == 0 {
                    assert_eq!(landing.round().await.landed, 1, "{at:?} {number}");
                }
                assert_eq!(landing.archived().await, (log, Some(RunStatus::Failed)), "{at:?} {number}");
                assert!(!landing.work_is_left());
            }
        }
    }
}

#[tokio::test]
async fn an_incomplete_log_is_reported_once() {
    let log = plain_log(45);
    let landing = Landing::of(Script::of(log.clone()).with(At::Generate, 1, Fault::Late(25)), |_| ()).await;
    let http = HttpClientBuilder::new(&TlsSettings::default());
    let webhook = Webhook::new("http://127.0.0.1:9/".parse().unwrap(), None, http).unwrap();
    let to = vec![Destination::Webhook(webhook)];
    let rule = AlertRule { to, ..AlertRule::new("night-shift", vec![Condition::LogIncomplete]) };
    let alerts = Alerts::new(&landing.store, vec![rule], None);
    let new = async || alerts.find(SearchScope::Thorough, landing.stage.time.now()).await.unwrap();
    assert_eq!(new().await, 0);
    assert_eq!(landing.round().await.set_back, 1);
    assert_eq!((new().await, new().await), (1, 0));
    landing.stage.time.pass(3_600_000);
    assert_eq!(landing.round().await.landed, 1);
    assert_eq!((new().await, new().await), (1, 0), "it is told that the log is complete");
}

#[tokio::test]
async fn records_that_came_after_their_page_are_landed_too() {
    for late in [1, 5, 25] {
        let log = plain_log(45);
        let landing = Landing::of(Script::of(log.clone()).with(At::Generate, 1, Fault::Late(late)), |_| ()).await;
        // More of them than a page holds are missing from the second look, too; then all is fetched anew.
        let rounds = if late > 10 { 2 } else { 1 };
        for round in 1..=rounds {
            assert_eq!(landing.round().await.landed, u64::from(round == rounds), "{late}");
            landing.stage.time.pass(3_600_000);
        }
        assert_eq!(landing.archived().await.0, log, "{late}");
    }
}

#[tokio::test]
async fn a_log_that_is_not_whole_is_kept_as_far_as_it_came_and_not_called_done() {
    let more = r#"{"totalSize":7,"totalSizeFiltered":7,"data":[]}"#.to_owned();
    let script = Script::of(plain_log(5)).just_ended();
    let landing = Landing::of(script.with(At::Live, 0, Fault::Answer(200, vec![], more)), |_| ()).await;
    assert_eq!(landing.round().await.set_back, 1);
    assert_eq!(landing.archived().await, (plain_log(5), None));
    let failing = landing.store.collection().failing_runs("service", 9).await.unwrap();
    // A collector has no flag for accepting an incomplete log.
    let problem = "the log is incomplete: the service reports 7 records, but 5 were received; see the run's page for the received records";
    assert_eq!(failing[0].last_error.as_deref(), Some(problem));
    landing.stage.change(|script| {
        script.faults.clear();
        script.log = plain_log(7);
    });
    landing.stage.time.pass(3_600_000);
    assert_eq!(landing.round().await.landed, 1);
    assert_eq!(landing.archived().await, (plain_log(7), Some(RunStatus::Failed)));
}

/// A service that stores a log some seconds after its run has ended says 404 until then. The run was ended as one without
/// records, and its log never fetched.
#[tokio::test]
async fn a_log_that_is_not_known_yet_when_its_run_has_just_ended_is_asked_for_again() {
    let unknown = |script: Script| {
        let gone = status_fault(StatusCode::NOT_FOUND, &[]);
        script.with(At::Generate, 0, gone.clone()).with(At::Live, 0, gone)
    };
    let landing = Landing::of(unknown(Script::of(Vec::new())), |_| ()).await;
    let log = vec![(landing.stage.time.now().as_millis() - 60_000, "late".to_owned())];
    landing.stage.change(|script| script.log.clone_from(&log));
    assert_eq!(landing.round().await.set_back, 1);
    landing.stage.change(|script| script.faults.clear());
    landing.stage.time.pass(60_000);
    assert_eq!(landing.round().await.landed, 1);
    assert_eq!(landing.archived().await, (log.clone(), Some(RunStatus::Failed)));

    // The collector does not wait for it without a limit.
    let landing = Landing::of(unknown(Script::of(log)), |_| ()).await;
    for pause in [30_000, 60_000] {
        assert_eq!(landing.round().await.set_back, 1);
        landing.stage.time.pass(pause);
    }
    assert_eq!(landing.round().await, CollectStats { no_log: 1, ..CollectStats::default() });
}

/// A log that was deleted between two of its pages was requested without end, and the received pages were never stored.
#[tokio::test]
async fn a_log_that_vanishes_between_its_pages_ends_with_what_was_received() {
    let gone = status_fault(StatusCode::NOT_FOUND, &[]);
    // The oldest page that was received is the first, or one that was only requested.
    for broken in [At::Generate, At::File] {
        let log = plain_log(45);
        // A page is requested when the one before the last is on disk.
        let first = if broken == At::Generate { 3 } else { 1 };
        let mut landing = Landing::of(Script::of(log.clone()), |settings| settings.pages_in_flight = 1).await;
        let away = status_fault(StatusCode::FORBIDDEN, &[]);
        landing.stage.change(|script| script.faults.extend((first..99).map(|number| (broken, number, away.clone()))));
        assert_eq!(landing.round().await.set_back, 1);
        landing.stage.change(|script| {
            script.faults = vec![(At::Generate, 0, gone.clone()), (At::Live, 0, gone.clone())];
        });
        landing.stage.time.pass(3_600_000);
        landing.restart();
        for _ in 0..2 {
            assert_eq!(landing.round().await.set_back, 1, "it may come back");
            let failing = landing.store.collection().failing_runs("service", 9).await.unwrap();
            assert!(failing[0].last_error.as_ref().unwrap().contains("no longer has the log"), "{failing:?}");
            landing.stage.time.pass(3_600_000);
        }
        assert_eq!(landing.round().await, CollectStats { no_log: 1, ..CollectStats::default() });
        let (archived, status) = landing.archived().await;
        assert_eq!(status, Some(RunStatus::Failed));
        let received = if broken == At::Generate { 1 } else { 0 };
        assert!(archived.len() >= received && log.ends_with(&archived), "{archived:?}");
        let id: RunId = RUN.parse().unwrap();
        let setback = landing.store.collection().last_failure(id, true).await.unwrap().unwrap();
        assert!(setback.problem.contains("no longer has the log") && setback.again_at.is_none(), "{setback:?}");
        landing.stage.time.pass(3_600_000);
        assert_eq!(landing.round().await, CollectStats::default(), "it is not requested for ever");
        assert!(!landing.work_is_left());

        landing.stage.change(|script| script.faults.clear());
        assert_eq!(landing.store.collection().retry("service").await.unwrap(), 1);
        assert_eq!(landing.round().await.landed, 1);
        assert_eq!(landing.archived().await, (log, Some(RunStatus::Failed)));
        assert!(landing.store.collection().last_failure(id, true).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_run_without_a_log_ends_as_one_and_its_log_lands_when_there_is_one_after_all() {
    let gone = status_fault(StatusCode::NOT_FOUND, &[]);
    let script = Script::of(plain_log(3)).with(At::Generate, 0, gone.clone()).with(At::Live, 0, gone);
    let landing = Landing::of(script, |_| ()).await;
    landing.stage.time.pass(3 * 3_600_000);
    for _ in 0..2 {
        assert_eq!(landing.round().await.set_back, 1, "one answer may be wrong, however long ago the run ended");
        landing.stage.time.pass(60_000);
    }
    assert_eq!(landing.round().await, CollectStats { no_log: 1, ..CollectStats::default() });
    assert_eq!(landing.archived().await, (Vec::new(), Some(RunStatus::Failed)));
    let figures = landing.store.collection().metrics("service").await.unwrap();
    assert_eq!((figures.no_log, figures.landed), (1, 0));

    landing.stage.change(|script| script.faults.clear());
    assert_eq!(landing.round().await, CollectStats::default(), "it is not asked for again by itself");
    assert_eq!(landing.store.collection().retry("service").await.unwrap(), 1);
    assert_eq!(landing.round().await, CollectStats { landed: 1, records: 3, ..CollectStats::default() });
    assert_eq!(landing.archived().await, (plain_log(3), Some(RunStatus::Failed)));
    assert!(!landing.work_is_left());
}

/// A proxy that answered for the service ended every run that was due as one without a log, after one attempt.
#[tokio::test]
async fn a_page_of_a_proxy_with_404_says_nothing_about_a_log() {
    let proxy = Fault::Answer(404, vec![], "<html><h1>404 Not Found</h1>nginx</html>".to_owned());
    let away = |landing: &Landing| {
        landing.stage.change(|script| {
            script.faults = vec![(At::Generate, 0, proxy.clone()), (At::Live, 0, proxy.clone())];
        })
    };
    let landing = Landing::of(Script::of(plain_log(3)), |_| ()).await;
    landing.stage.time.pass(3 * 3_600_000);
    away(&landing);
    for _ in 0..4 {
        assert_eq!(landing.round().await, CollectStats { set_back: 1, ..CollectStats::default() });
        let failing = landing.store.collection().failing_runs("service", 9).await.unwrap();
        assert!(failing[0].last_error.as_ref().unwrap().contains("check the URL"), "{failing:?}");
        landing.stage.time.pass(3_600_000);
    }
    // These failures do not count when the service itself says so.
    landing.stage.change(|script| {
        let gone = status_fault(StatusCode::NOT_FOUND, &[]);
        script.faults = vec![(At::Generate, 0, gone.clone()), (At::Live, 0, gone)];
    });
    assert_eq!(landing.round().await.set_back, 1);
    landing.stage.time.pass(3_600_000);
    away(&landing);
    assert_eq!(landing.round().await.set_back, 1);
    landing.stage.time.pass(3_600_000);
    landing.stage.change(|script| script.faults.clear());
    assert_eq!(landing.round().await, CollectStats { landed: 1, records: 3, ..CollectStats::default() });
    assert_eq!(landing.archived().await, (plain_log(3), Some(RunStatus::Failed)));
}

/// After a token had been revoked for a weekend, the waiting runs were collected up to six hours after its renewal.
#[tokio::test]
async fn what_waited_for_the_service_lands_soon_after_it_is_back() {
    for status in [StatusCode::UNAUTHORIZED, StatusCode::SERVICE_UNAVAILABLE] {
        let landing = Landing::of(Script::of(plain_log(3)), |_| ()).await;
        landing.list().await;
        landing.stage.change(|script| script.faults = vec![(At::Generate, 0, status_fault(status, &[]))]);
        for _ in 0..12 {
            assert_eq!(landing.land().await.set_back, 1, "{status}");
            landing.stage.time.pass(3_600_000);
        }
        assert_eq!(landing.land().await.set_back, 1, "{status}");
        landing.stage.change(|script| script.faults.clear());
        landing.stage.time.pass(600_000);
        assert_eq!(landing.land().await.landed, 1, "{status}");
    }
}

/// A clock that was ahead for a moment delayed the next attempt by as much as it was ahead.
#[tokio::test]
async fn a_clock_that_was_ahead_for_a_moment_delays_no_run() {
    let landing = Landing::of(Script::of(plain_log(3)), |_| ()).await;
    landing.list().await;
    let away = status_fault(StatusCode::FORBIDDEN, &[]);
    landing.stage.change(|script| script.faults = vec![(At::Generate, 0, away)]);
    landing.stage.time.pass(36_000_000);
    assert_eq!(landing.land().await.set_back, 1);
    landing.stage.time.pass(-36_000_000);
    landing.stage.change(|script| script.faults.clear());
    assert_eq!(landing.round().await.landed, 1);
}

/// A collector sends no further requests with rejected credentials.
#[tokio::test]
async fn a_token_that_is_not_accepted_is_not_shown_for_each_run() {
    let runs = run_list(&[(RUN, HAS_ENDED), (OTHER_RUN, HAS_ENDED)]);
    let landing = Landing::of(Script::of(plain_log(3)), |settings| settings.parallel = 1).await;
    landing.stage.change(|script| script.faults = vec![(At::List, 0, runs)]);
    landing.list().await;
    landing.stage.forget_requests();
    let unknown = status_fault(StatusCode::UNAUTHORIZED, &[]);
    landing.stage.change(|script| script.faults.push((At::Generate, 0, unknown)));
    assert_eq!(landing.land().await.set_back, 1);
    assert_eq!(landing.stage.count(At::Generate), 1);
    landing.stage.change(|script| script.faults.retain(|(at, ..)| *at == At::List));
    landing.stage.time.pass(60_000);
    assert_eq!(landing.land().await.landed, 2);
}

/// The upstream deleted a run in progress, which was requested again in every round: with 200 of them, no other run
/// that had left the lists was ever requested.
#[tokio::test]
async fn a_run_forgotten_by_the_upstream_is_not_polled_forever() {
    let going = run_list(&[(RUN, RUNNING)]);
    let landing = Landing::of(Script::of(plain_log(3)).with(At::List, 0, going), |_| ()).await;
    assert_eq!(landing.round().await, CollectStats::default());
    landing.stage.change(|script| {
        let gone = status_fault(StatusCode::NOT_FOUND, &[]);
        script.faults = vec![(At::List, 0, run_list(&[])), (At::Execution, 0, gone)];
    });
    let figures = async || landing.store.collection().metrics("service").await.unwrap();
    for _ in 0..2 {
        landing.stage.time.pass(60_000);
        assert_eq!(landing.round().await, CollectStats::default());
        assert_eq!((figures().await.running, figures().await.missing), (0, 1));
    }
    assert_eq!(landing.stage.count(At::Execution), 1);

    // After a retry by the user, it is requested once more; and if a list contains it again, it is collected from
    // there.
    assert_eq!(landing.store.collection().retry("service").await.unwrap(), 1);
    landing.stage.time.pass(60_000);
    assert_eq!(landing.round().await, CollectStats::default());
    assert_eq!((landing.stage.count(At::Execution), figures().await.missing), (2, 1));
    landing.stage.change(|script| script.faults.clear());
    assert_eq!(landing.round().await, CollectStats { landed: 1, records: 3, ..CollectStats::default() });
    assert_eq!((figures().await.landed, figures().await.missing), (1, 0));
}

#[tokio::test]
async fn a_log_whose_pages_do_not_say_where_the_next_one_ends_lands() {
    for number in [2, 3, 99] {
        let log = plain_log(45);
        let script = Script::of(log.clone()).with(At::Generate, 0, Fault::NextEnd(None));
        let landing = Landing::of(script, |_| ()).await;
        let gone = status_fault(StatusCode::FORBIDDEN, &[]);
        landing
            .stage
            .change(|script| script.faults.extend((number..99).map(|number| (At::File, number, gone.clone()))));
        let broken = landing.round().await;
        assert_eq!(broken.landed, u64::from(number == 99));
        landing.stage.change(|script| script.faults.retain(|(at, ..)| *at == At::Generate));
        landing.stage.time.pass(3_600_000);
        landing.round().await;
        assert_eq!(landing.archived().await, (log, Some(RunStatus::Failed)), "{number}");
    }
}

#[tokio::test]
async fn an_empty_log_ends_its_run() {
    let landing = Landing::of(Script::of(Vec::new()), |_| ()).await;
    assert_eq!(landing.round().await, CollectStats { landed: 1, ..CollectStats::default() });
    assert_eq!(landing.archived().await, (Vec::new(), Some(RunStatus::Failed)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whatever the log and the cut, the archive has the exact log and the run has ended, or it has not ended.
    #[test]
    fn the_archive_has_the_log_or_the_run_stays_due(
        log in logs(), limit in 1_u64..50, newest_first: bool, pages_in_flight in 1_usize..4, is_slow: bool,
        cut in prop::sample::select(vec![Cut::Exact, Cut::MiddleInside, Cut::MiddleOutside, Cut::WholeSeconds]),
        is_first_try_broken in prop::option::of(1_usize..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let generate_ms = if is_slow { 600 } else { 0 };
        let (round, archived, status) = runtime.block_on(async {
            let script = Script { limit, cut, newest_first, generate_ms, ..Script::of(log.clone()) };
            let landing = Landing::of(script, |settings| settings.pages_in_flight = pages_in_flight).await;
            let mut round = CollectStats::default();
            if let Some(first) = is_first_try_broken {
                let gone = status_fault(StatusCode::FORBIDDEN, &[]);
                landing.stage.change(|script| script.faults.extend((first..200).map(|n| (At::File, n, gone.clone()))));
                round = landing.round().await;
                landing.stage.change(|script| script.faults.clear());
                landing.stage.time.pass(3_600_000);
            }
            if round.landed == 0 {
                round = landing.round().await;
            }
            let (archived, status) = landing.archived().await;
            (round, archived, status)
        });
        let (mut archived, mut exact) = (archived, by_time(&log));
        if round.landed == 1 {
            prop_assert_eq!(status, Some(RunStatus::Failed));
            // Files whose order cannot be determined may reverse records of equal times; no record is lost.
            archived.sort();
            exact.sort();
            prop_assert_eq!(archived, exact);
        } else {
            prop_assert_ne!(status, Some(RunStatus::Failed));
            prop_assert!(cut != Cut::Exact, "an exact cut can always be recovered");
            // Every archived record is one of the log.
            for record in archived {
                let place = exact.iter().position(|other| *other == record);
                prop_assert!(place.is_some(), "{:?} is there too often", record);
                exact.remove(place.unwrap());
            }
        }
    }
}
