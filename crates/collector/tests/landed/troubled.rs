//! Runs that cannot be collected now are collected later, and do not delay others: the archive refuses them, a fetch is
//! interrupted, or the catalog does not respond.

use std::time::Duration;

use axum::http::StatusCode;
use runlog_collector::{CollectSettings, CollectStats};
use runlog_model::{Record, RunStatus, Timestamp};
use tokio_util::sync::CancellationToken;

use super::{HAS_ENDED, Landing, OTHER_RUN, RUNNING, run_list};
use crate::support::{At, RUN, Script, catalog, plain_log, status_fault};

/// An object that could not be written ended the round, and a second later the next one, without an error message.
#[tokio::test]
async fn a_run_that_the_archive_cannot_take_says_why_and_lands_later() {
    let landing = Landing::of(Script::of(plain_log(5)), |_| ()).await;
    let folder = landing.stage.folder.path();
    let (objects, aside) = (folder.join("data/objects"), folder.join("aside"));
    std::fs::rename(&objects, &aside).unwrap();
    std::fs::write(&objects, "").unwrap();
    assert_eq!(landing.round().await, CollectStats { set_back: 1, ..CollectStats::default() });
    let failing = landing.store.collection().failing_runs("service", 9).await.unwrap();
    assert!(failing[0].last_error.as_deref().unwrap().contains("object store"), "{failing:?}");

    std::fs::remove_file(&objects).unwrap();
    std::fs::rename(&aside, &objects).unwrap();
    landing.stage.time.pass(60_000);
    assert_eq!(landing.round().await, CollectStats { landed: 1, records: 5, ..CollectStats::default() });
    assert_eq!(landing.archived().await, (plain_log(5), Some(RunStatus::Failed)));
}

/// An error of one of several concurrent runs cancelled the others, which stayed claimed for two minutes.
#[tokio::test]
async fn claimed_runs_land_though_the_next_claim_fails() {
    let runs = run_list(&[(RUN, HAS_ENDED), (OTHER_RUN, HAS_ENDED)]);
    let landing = Landing::of(Script::of(plain_log(45)).with(At::List, 0, runs), |_| ()).await;
    landing.list().await;
    let undecodable = "UPDATE collected_runs SET run_id = 'undecodable', due_at = due_at + 1";
    catalog::change(&landing.catalog(), &format!("{undecodable} WHERE run_id = '{OTHER_RUN}'"));

    let error = landing.collector.land_due(&CancellationToken::new()).await.unwrap_err();
    assert!(error.to_string().contains("does not decode"), "{error}");
    assert_eq!(landing.archived().await, (plain_log(45), Some(RunStatus::Failed)));
}

fn poll_every_minute(settings: &mut CollectSettings) {
    settings.while_going = Some(Duration::from_secs(60));
    settings.pages_in_flight = 1;
}

/// The pages of a failed fetch stayed on disk. The next fetch began at the archive's position by then, and found pages
/// of another time range, and so did each later one.
#[tokio::test]
async fn a_failed_poll_is_repeated() {
    let going = run_list(&[(RUN, RUNNING)]);
    let landing = Landing::of(Script::of(plain_log(5)).with(At::List, 0, going), poll_every_minute).await;
    landing.round().await;
    assert_eq!(landing.archived().await.0, plain_log(5));

    // The newest pages are delivered, and the others are not.
    landing.stage.change(|script| {
        let gone = status_fault(StatusCode::FORBIDDEN, &[]);
        script.log = plain_log(45);
        script.faults.extend((5..40).map(|number| (At::File, number, gone.clone())));
    });
    landing.stage.time.pass(60_000);
    landing.round().await;
    let archived = landing.archived().await.0;
    assert!(archived.last() == plain_log(45).last() && archived.len() < 45, "{archived:?}");

    landing.stage.change(|script| {
        script.log = plain_log(60);
        script.faults.retain(|(at, ..)| *at == At::List);
    });
    landing.stage.time.pass(60_000);
    landing.round().await;
    assert_eq!(landing.archived().await.0.last(), plain_log(60).last());
    assert!(!landing.work_is_left());
}

#[tokio::test]
async fn a_poll_resumes_at_the_state_of_the_archive() {
    let going = run_list(&[(RUN, RUNNING)]);
    let landing = Landing::of(Script::of(plain_log(5)).with(At::List, 0, going), poll_every_minute).await;
    landing.round().await;
    landing.stage.change(|script| script.log = plain_log(45));
    landing.stage.time.pass(60_000);
    let checkpoint = landing.work().join(format!("{RUN}.so-far/checkpoint.ndjson"));
    let stop = CancellationToken::new();
    let breaking_off = async {
        while !checkpoint.exists() {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let (round, ()) = tokio::join!(landing.collector.land_due(&stop), breaking_off);
    assert_eq!(round.unwrap(), CollectStats::default());
    assert!(checkpoint.exists(), "its pages are left behind");

    // Another collector stores more of the log.
    let (time, message) = plain_log(45).swap_remove(20);
    let record =
        Record { severity: Some("INFO".to_owned()), message: Some(message), ..Record::at(Timestamp::clamped(time)) };
    let mut batch = landing.store.ingest().begin_batch(RUN.parse().unwrap(), None).await.unwrap();
    batch.push(&record).await.unwrap();
    batch.commit().await.unwrap();
    assert_eq!(landing.archived().await.0.len(), 6);
    landing.round().await;
    assert_eq!(landing.archived().await.0.last(), plain_log(45).last());
    assert!(!landing.work_is_left());
}

/// A catalog that froze kept a collector from ending when it was told to.
#[tokio::test]
async fn a_collector_stops_on_request_while_its_catalog_is_unresponsive() {
    let landing = Landing::of(Script::of(plain_log(5)), |_| ()).await;
    landing.list().await;
    let _held = catalog::Held::of(&landing.catalog());
    let (stop, before) = (CancellationToken::new(), landing.random.used());
    let stopping = async {
        // Each claim has a name of its own.
        while landing.random.used() == before {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let both = async { tokio::join!(landing.collector.land_due(&stop), stopping) };
    let (round, ()) = tokio::time::timeout(Duration::from_secs(5), both).await.unwrap();
    assert_eq!(round.unwrap(), CollectStats::default());
}
