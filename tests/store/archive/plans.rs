//! Plan executions as upstreams describe them: stored as a whole, joined with their runs, copied, and kept like runs.

use runlog_model::plan_report::{Fields, PlanReport, StepReport};
use runlog_model::wire::push::FinishRun;
use runlog_model::{RunStatus, Timestamp, WorkspaceId};
use runlog_store::ErrorKind;
use runlog_store::collection::{ClaimedPlan, LandedLog, ListedPlan, PlanState, UpstreamRun, UpstreamRunState};
use runlog_store::plans::{ListedPlanExecution, PlanDefinition, PlanDefinitionFilter, PlanFilter, StoredPlan};
use runlog_store::query::CatalogView;
use serde_json::{Value, json};

use super::{Archive, Copy};

const EXECUTION: &str = "7fb48c7a-5ea5-4cb9-9333-e345f28d9dd5";
const STARTED: &str = "2026-11-18T00:00:00.000Z";

fn fields(value: Value) -> Fields {
    value.as_object().unwrap().clone()
}

/// A plan execution with one step, which has one run.
fn plan(archive: &Archive, status: &str, workspace_id: Option<WorkspaceId>) -> StoredPlan {
    let run = json!({"executionId": archive.run_id.to_string(), "jobId": "t"});
    let execution = json!({"executionId": EXECUTION, "planId": "books", "status": status, "executionStatus": "X\u{0}",
        "startTimestamp": STARTED, "userId": "kim", "userType": "HUMAN", "doneExecutableDetails": [run], "odd": [1]});
    let step = json!({"id": "load-id", "executionId": "load", "executionStatus": "EXECUTION_FAILED",
        "startTimestamp": STARTED, "finishTimestamp": STARTED, "doneTaskExecutableDetails": [run]});
    let step = StepReport {
        name: Some("load".to_owned()),
        condition: None,
        is_listed: true,
        step: fields(step),
        error_handler: Some(fields(json!({"id": "mail-id", "executionStatus": "EXECUTION_SUCCESS"}))),
    };
    let report =
        PlanReport { execution: fields(execution), plan_name: Some("close books".to_owned()), steps: vec![step] };
    StoredPlan { report, workspace_id }
}

fn listed(fingerprint: &str) -> ListedPlan {
    ListedPlan {
        execution_id: EXECUTION.to_owned(),
        body: "{}".to_owned(),
        fingerprint: fingerprint.to_owned(),
        workspace_id: None,
        due_at: Timestamp::clamped(0),
    }
}

async fn claimed(archive: &Archive, fingerprint: &str) -> ClaimedPlan {
    let collection = archive.store.collection();
    collection.upsert_plans("up", &[listed(fingerprint)]).await.unwrap();
    let claimed = collection.claim_plan("up", archive.now().plus_millis(60_000)).await.unwrap().unwrap();
    assert!(
        collection.claim_plan("up", archive.now().plus_millis(60_000)).await.unwrap().is_none(),
        "in one pair of hands"
    );
    claimed
}

async fn workspace(archive: &Archive) -> WorkspaceId {
    archive.store.workspaces().task(archive.task_id).await.unwrap().unwrap().workspace.id
}

async fn plans_land_once_as_a_whole_and_their_runs_are_part_of_them() {
    let archive = Archive::new().await;
    let (store, space) = (&archive.store, workspace(&archive).await);
    let collection = store.collection();
    let late = claimed(&archive, "1").await;
    archive.clock.advance_ms(61_000);
    let next = collection.claim_plan("up", archive.now().plus_millis(60_000)).await.unwrap().unwrap();
    let failed = plan(&archive, "execution_failed", Some(space));
    let error = collection.land_plan("up", &late, &failed, PlanState::Landed).await.unwrap_err();
    assert_eq!((error.kind(), store.plans().get(EXECUTION).await.unwrap()), (ErrorKind::Conflict, None));
    // The list shows a change while it is fetched: it stays due.
    assert_eq!(collection.upsert_plans("up", &[listed("2")]).await.unwrap(), 0);
    collection.land_plan("up", &next, &failed, PlanState::Landed).await.unwrap();
    assert_eq!(store.plans().get(EXECUTION).await.unwrap(), Some(failed.clone()));
    let again = claimed(&archive, "2").await;
    collection.land_plan("up", &again, &failed, PlanState::Landed).await.unwrap();
    assert!(collection.claim_plan("up", archive.now().plus_millis(60_000)).await.unwrap().is_none());
    let run = store.runs().get(archive.run_id).await.unwrap().unwrap();
    let part = (run.plan.execution_id.as_deref(), run.plan.step_id.as_deref(), run.plan.name.as_deref());
    assert_eq!(part, (Some(EXECUTION), Some("load-id"), Some("close books")));
    let (found, total) = store.runs().plan_executions(&PlanFilter { limit: 9, ..PlanFilter::default() }).await.unwrap();
    assert_eq!(total, 1, "it is not derived from its run as well");
    assert!(matches!(&found[0], ListedPlanExecution::Reported(reported) if reported.status == "execution_failed"));
    for (view, rows) in [(CatalogView::PlanExecutions, 1), (CatalogView::PlanSteps, 2)] {
        let columns = (0..view.columns().len()).collect();
        let mut scan = store.query().scan_view(view, columns, Some(vec![space]), Vec::new());
        assert_eq!(scan.next().await.unwrap().unwrap().num_rows(), rows, "{view:?}");
    }
    let since = Timestamp::clamped(0);
    let failed = store.plans().failed_since(since, since, None, 9).await.unwrap();
    assert_eq!((failed.len(), failed[0].failed_step.as_deref()), (1, Some("load")));
    assert_eq!(store.plans().last_started_between((since, archive.now()), None, 9).await.unwrap().len(), 1);
    assert_eq!(store.plans().recent_starts("books", 9).await.unwrap().len(), 1);
    // The log of its run is deleted: the plan stays, as the run does.
    archive.finish_run(archive.run_id).await;
    store.maintenance().delete_log(archive.run_id).await.unwrap();
    assert!(store.plans().get(EXECUTION).await.unwrap().is_some());
}

async fn a_run_that_lands_after_its_plan_is_linked_and_determines_its_workspace() {
    let archive = Archive::new().await;
    let (store, now) = (&archive.store, archive.now());
    let next = claimed(&archive, "1").await;
    // The archive does not have the run when the plan lands.
    let mut report = plan(&archive, "pondering", None);
    let other = "6c0e5a34-0000-4000-8000-0000000000aa";
    let text = serde_json::to_string(&report.report).unwrap().replace(&archive.run_id.to_string(), other);
    report.report = serde_json::from_str(&text).unwrap();
    store.collection().land_plan("up", &next, &report, PlanState::Running(now)).await.unwrap();
    assert_eq!(store.plans().get(EXECUTION).await.unwrap().unwrap().workspace_id, None);
    let run_id = other.parse().unwrap();
    let start = runlog_model::wire::push::StartRun::of_task(archive.task_id);
    store.runs().start(run_id, &start, &archive.caller).await.unwrap();
    let run = UpstreamRun {
        run_id,
        task_id: "t".to_owned(),
        progress: UpstreamRunState::Pending,
        status: "execution_failed".to_owned(),
        triggered_at: Some(now),
        finished_at: Some(now),
        due_at: now,
        body: "{}".to_owned(),
    };
    store.collection().upsert_runs("up", &[run]).await.unwrap();
    let claimed = store.collection().claim_run("up", now.plus_millis(60_000)).await.unwrap().unwrap();
    let finish = FinishRun::with_status(RunStatus::Failed);
    store.collection().land("up", &claimed, &finish, LandedLog::default()).await.unwrap();
    assert_eq!(store.runs().get(run_id).await.unwrap().unwrap().plan.execution_id.as_deref(), Some(EXECUTION));
    assert_eq!(store.plans().get(EXECUTION).await.unwrap().unwrap().workspace_id, Some(workspace(&archive).await));
    assert!(store.collection().log_absence(&store.runs().get(run_id).await.unwrap().unwrap()).await.unwrap().is_some());
    assert!(store.collection().log_absences("up").await.unwrap().is_empty(), "its log is empty, and there is one");
}

async fn plans_are_copied_and_damage_to_them_is_found() {
    let archive = Archive::new().await;
    let (store, space) = (&archive.store, workspace(&archive).await);
    let next = claimed(&archive, "1").await;
    let running = plan(&archive, "executing", Some(space));
    store.collection().land_plan("up", &next, &running, PlanState::Running(archive.now())).await.unwrap();
    let definition = PlanDefinition {
        plan_id: "books".to_owned(),
        name: "Close books".to_owned(),
        workspace_id: Some(space),
        definition: fields(json!({"executable": "books"})),
    };
    store.plans().upsert_definition(&definition).await.unwrap();
    let copy = Copy::empty().await;
    store.maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
    assert_eq!(copy.store.plans().get(EXECUTION).await.unwrap(), Some(running));
    let by_name = PlanDefinitionFilter { name: Some("CLOSE".to_owned()), limit: 9, ..PlanDefinitionFilter::default() };
    assert_eq!(copy.store.plans().definitions(&by_name).await.unwrap(), (vec![definition], 1));
    // What has changed since is copied the next time.
    let next = claimed(&archive, "2").await;
    let ended = plan(&archive, "execution_successful", Some(space));
    store.collection().land_plan("up", &next, &ended, PlanState::Landed).await.unwrap();
    store.maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
    assert_eq!(copy.store.plans().get(EXECUTION).await.unwrap(), Some(ended));
    assert_eq!(copy.store.maintenance().verify(false, |_| ()).await.unwrap().problems, 0);
    archive.change_catalog("UPDATE reported_plans SET report = replace(report, 'kim', 'tim')").await;
    let verified = store.maintenance().verify(true, |_| ()).await.unwrap();
    assert_eq!(verified.problems, 1, "{:?}", verified.problem_texts);
    assert!(verified.problem_texts[0].contains(EXECUTION), "{:?}", verified.problem_texts);
}

async fn a_failed_attempt_is_counted_and_given_up_or_repeated() {
    let archive = Archive::new().await;
    let collection = archive.store.collection();
    let first = claimed(&archive, "1").await;
    let retry_at = archive.now().plus_millis(5_000);
    collection.record_plan_failure("up", &first, "odd\0", Some(retry_at)).await.unwrap();
    let metrics = collection.plan_metrics("up").await.unwrap();
    assert_eq!((metrics.known, metrics.running, metrics.failing), (1, 1, 1));
    assert_eq!(metrics.problem.as_deref(), Some("odd\u{fffd}"));
    archive.clock.advance_ms(6_000);
    let second = collection.claim_plan("up", archive.now().plus_millis(60_000)).await.unwrap().unwrap();
    assert_eq!(second.attempts, 1);
    collection.record_plan_failure("up", &second, "odd", None).await.unwrap();
    assert_eq!(collection.plan_metrics("up").await.unwrap().given_up, 1);
    collection.retry("up").await.unwrap();
    let third = collection.claim_plan("up", archive.now().plus_millis(60_000)).await.unwrap().unwrap();
    collection.release_plan("up", &third).await.unwrap();
    assert!(collection.claim_plan("up", archive.now().plus_millis(60_000)).await.unwrap().is_some());
    // Windows are kept by upstream, once its runs were listed.
    collection.set_listed_until("up", archive.now()).await.unwrap();
    collection.record_plans_problem("up", "refused").await.unwrap();
    assert_eq!(collection.plan_metrics("up").await.unwrap().problem.as_deref(), Some("refused"));
    let until = archive.now();
    collection.set_plans_listed_until("up", until).await.unwrap();
    collection.set_plans_listed_until("up", until.plus_millis(-5_000)).await.unwrap();
    assert_eq!(collection.plans_listed_until("up").await.unwrap(), Some(until));
}

crate::common::pairs::on_each_pair! {
    async: plans_land_once_as_a_whole_and_their_runs_are_part_of_them,
        a_run_that_lands_after_its_plan_is_linked_and_determines_its_workspace,
        plans_are_copied_and_damage_to_them_is_found,
        a_failed_attempt_is_counted_and_given_up_or_repeated;
    sync:
}
