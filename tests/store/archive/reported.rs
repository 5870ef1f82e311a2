//! Runs as an upstream describes them: they end when it says so, and are final when their logs have landed.

use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_model::{RunId, RunStatus, Timestamp};
use runlog_store::ErrorKind;
use runlog_store::collection::{LandedLog, ReportedRun, UpstreamRun, UpstreamRunState};

use super::Archive;

const RUN: &str = "6c0e5a34-0000-4000-8000-00000000abcd";

/// The upstream lists the run.
async fn list(archive: &Archive, progress: UpstreamRunState) -> RunId {
    let run_id: RunId = RUN.parse().unwrap();
    let now = archive.now();
    let run = UpstreamRun {
        run_id,
        task_id: archive.task_id.to_string(),
        progress,
        status: "a word".to_owned(),
        triggered_at: Some(now),
        finished_at: None,
        due_at: now,
        body: "{}".to_owned(),
    };
    archive.store.collection().upsert_runs("up", &[run]).await.unwrap();
    run_id
}

async fn unrecorded(archive: &Archive) -> usize {
    archive.store.collection().unrecorded_runs("up", None, 9).await.unwrap().len()
}

async fn a_reported_run_ends_at_once_and_is_final_when_its_log_has_landed() {
    let archive = Archive::new().await;
    let (collection, deliveries) = (archive.store.collection(), archive.store.deliveries());
    deliveries.register_sink("sink", "test", None).await.unwrap();
    let run_id = list(&archive, UpstreamRunState::Running).await;
    assert_eq!(unrecorded(&archive).await, 1);
    let start = StartRun { status: Some(RunStatus::Dispatching), ..StartRun::of_task(archive.task_id) };
    let waits = ReportedRun { run_id, start, end: None };
    assert!(collection.record_reported(std::slice::from_ref(&waits), &archive.caller).await.unwrap().is_empty());
    let run = archive.store.runs().get(run_id).await.unwrap().unwrap();
    assert_eq!((run.status.coarse(), run.started_at, run.final_since), (RunStatus::Dispatching, None, None));

    let told_at = archive.now();
    list(&archive, UpstreamRunState::Pending).await;
    let runs = collection.unrecorded_runs("up", None, 9).await.unwrap();
    assert!(collection.unrecorded_runs("up", runs.first(), 9).await.unwrap().is_empty(), "there is none behind it");
    let end = FinishRun { finish_timestamp: Some(told_at), ..FinishRun::with_status(RunStatus::Failed) };
    let ended = ReportedRun { end: Some(end.clone()), ..waits };
    for _ in 0..2 {
        assert!(collection.record_reported(std::slice::from_ref(&ended), &archive.caller).await.unwrap().is_empty());
    }
    assert_eq!(unrecorded(&archive).await, 0);
    let run = archive.store.runs().get(run_id).await.unwrap().unwrap();
    assert_eq!((run.status.coarse(), run.finished_at, run.final_since), (RunStatus::Failed, Some(told_at), None));
    assert_eq!(collection.log_absence(&run).await.unwrap(), None);

    archive.clock.advance_ms(60_000);
    let alerts = archive.store.alerts();
    let without = async |from: Timestamp| {
        let (runs, next) = alerts.runs_without_their_log((from, archive.now()), None, 9).await.unwrap();
        assert_eq!(next, None);
        runs.len()
    };
    assert_eq!((without(told_at).await, without(archive.now()).await), (1, 0));
    let is_it = |run: &runlog_model::Run| run.id == run_id;
    assert!(!alerts.waiting_runs(archive.now(), None, 9).await.unwrap().0.iter().any(is_it));
    let before = deliveries.enqueue_finished_runs("sink", |_| true).await.unwrap();
    let claimed = collection.claim_run("up", archive.now().plus_millis(9_000)).await.unwrap().unwrap();
    collection.land("up", &claimed, &end, LandedLog::default()).await.unwrap();
    assert_eq!(archive.store.runs().get(run_id).await.unwrap().unwrap().final_since, Some(archive.now()));
    assert_eq!(without(told_at).await, 0);
    assert_eq!((before, deliveries.enqueue_finished_runs("sink", |_| true).await.unwrap()), (0, 1));

    // What the upstream says later changes a run no more that is final.
    let other = ReportedRun { end: Some(FinishRun::with_status(RunStatus::Successful)), ..ended };
    collection.record_reported(&[other], &archive.caller).await.unwrap();
    assert_eq!(archive.store.runs().get(run_id).await.unwrap().unwrap().status.coarse(), RunStatus::Failed);
}

async fn a_running_run_forgotten_by_its_upstream_does_not_run_forever() {
    let archive = Archive::new().await;
    let run_id = list(&archive, UpstreamRunState::Running).await;
    let start = StartRun { start_timestamp: Some(archive.now()), ..StartRun::of_task(archive.task_id) };
    archive
        .store
        .collection()
        .record_reported(&[ReportedRun { run_id, start, end: None }], &archive.caller)
        .await
        .unwrap();
    archive.clock.advance_ms(60_000);
    let takes_long = async || {
        let (runs, _) = archive.store.alerts().running_runs(archive.now(), None, 9).await.unwrap();
        runs.iter().any(|run| run.id == run_id)
    };
    assert!(takes_long().await);
    archive.store.collection().mark_missing("up", run_id).await.unwrap();
    assert!(!takes_long().await);
}

async fn a_reported_run_of_an_unknown_task_is_refused() {
    let archive = Archive::new().await;
    let start = StartRun::of_task("57f64991e4b0b689a64feedf".parse().unwrap());
    let run = ReportedRun { run_id: RUN.parse().unwrap(), start, end: None };
    let error = archive.store.collection().record_reported(&[run], &archive.caller).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

crate::common::pairs::on_each_pair! {
    async: a_reported_run_ends_at_once_and_is_final_when_its_log_has_landed,
        a_running_run_forgotten_by_its_upstream_does_not_run_forever,
        a_reported_run_of_an_unknown_task_is_refused;
    sync:
}
