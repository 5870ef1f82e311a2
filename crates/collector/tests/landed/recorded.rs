//! A run is archived as its upstream describes it, whether or not its log can be collected.

use std::collections::HashMap;
use std::time::Duration;

use axum::http::StatusCode;
use runlog_collector::alerts::{AlertRule, Alerts, Condition, Destination, SearchScope, Webhook};
use runlog_model::run::RuntimeKind;
use runlog_model::{ExecutionType, LogAbsence, Run};
use runlog_store::alerts::AlertFilter;
use serde_json::Value;

use super::*;

/// A list of this run only.
fn listed(run: Value) -> Fault {
    Fault::Answer(200, vec![], json!({"items": [run], "total": 1}).to_string())
}

/// The run, triggered this many minutes ago.
fn run_of(minutes_ago: i64, more: Value) -> Value {
    let triggered = Timestamp::clamped(1_800_000_000_000 - minutes_ago * 60_000).to_string();
    let mut run = json!({"executionId": RUN, "taskId": TASK, "triggerTimestamp": triggered});
    run.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    run
}

fn ago(minutes: i64) -> Timestamp {
    Timestamp::clamped(1_800_000_000_000 - minutes * 60_000)
}

fn failed_run() -> Value {
    run_of(
        60,
        json!({
            "executionStatus": "EXECUTION_FAILED", "status": "execution_failed", "errorMessage": "out of memory",
            "startTimestamp": ago(59).to_string(), "finishTimestamp": ago(50).to_string(),
        }),
    )
}

impl Landing {
    async fn run(&self) -> Run {
        self.store.runs().get(RUN.parse().unwrap()).await.unwrap().unwrap()
    }

    fn alerts(&self, when: Vec<Condition>) -> Alerts {
        let http = HttpClientBuilder::new(&TlsSettings::default());
        let webhook = Webhook::new("http://127.0.0.1:9/".parse().unwrap(), None, http).unwrap();
        let rule = AlertRule { to: vec![Destination::Webhook(webhook)], ..AlertRule::new("night-shift", when) };
        Alerts::new(&self.store, vec![rule], None)
    }

    async fn alert_texts(&self) -> Vec<String> {
        let filter = AlertFilter { limit: 9, ..AlertFilter::default() };
        self.store.alerts().history(&filter).await.unwrap().0.into_iter().map(|alert| alert.text).collect()
    }
}

/// A run whose log the upstream could not deliver did not exist in the archive, and its failure was not reported.
#[tokio::test]
async fn a_run_that_has_failed_is_in_the_archive_whatever_becomes_of_its_log() {
    let broken = status_fault(StatusCode::INTERNAL_SERVER_ERROR, &[]);
    let script = Script::of(plain_log(5)).with(At::List, 0, listed(failed_run())).with(At::Generate, 0, broken);
    let landing = Landing::of(script, |_| ()).await;
    let alerts = landing.alerts(vec![Condition::RunFailed, Condition::RunSlow]);
    let look = async |look| alerts.find(look, landing.stage.time.now()).await.unwrap();
    // Runs that ended before the rule was there are not reported.
    landing.stage.time.pass(-3_600_000);
    look(SearchScope::Thorough).await;
    landing.stage.time.pass(3_600_000);
    landing.list().await;
    let run = landing.run().await;
    assert_eq!(
        (run.status.coarse(), run.started_at, run.finished_at),
        (RunStatus::Failed, Some(ago(59)), Some(ago(50)))
    );
    assert_eq!((run.error_message.as_deref(), run.final_since), (Some("out of memory"), None));
    assert_eq!(landing.store.collection().log_absence(&run).await.unwrap(), None, "its log may still come");
    assert_eq!(look(SearchScope::Thorough).await, 0, "its log is waited for");

    assert_eq!(landing.land().await.set_back, 1);
    landing.stage.time.pass(240_000);
    assert_eq!(look(SearchScope::Thorough).await, 1);
    let texts = landing.alert_texts().await;
    assert!(texts[0].contains("nightly ended with execution_failed: out of memory"), "{texts:?}");

    landing.stage.change(|script| script.faults.retain(|(at, ..)| *at == At::List));
    landing.stage.time.pass(3_600_000);
    assert_eq!(landing.round().await.landed, 1);
    assert_eq!(landing.archived().await, (plain_log(5), Some(RunStatus::Failed)));
    landing.stage.time.pass(240_000);
    assert_eq!(look(SearchScope::Thorough).await, 0, "it is told once");
}

/// A run that waited for its engine was not in the archive, or was there as one that had begun when it was triggered, and
/// took long.
#[tokio::test]
async fn a_run_that_waits_for_its_engine_is_dispatching_and_has_no_start() {
    let waits = json!({"executionStatus": "DISPATCHING_FLOW", "status": "dispatching"});
    let script = Script::of(plain_log(5)).with(At::List, 0, listed(run_of(30, waits)));
    let landing = Landing::of(script, |settings| settings.while_going = Some(Duration::from_secs(60))).await;
    let alerts = landing.alerts(vec![Condition::EngineUnavailable, Condition::RunSlow]);
    landing.stage.change(|script| script.log.clear());
    landing.round().await;
    let run = landing.run().await;
    assert_eq!((run.status.coarse(), run.started_at), (RunStatus::Dispatching, None));
    assert_eq!(alerts.find(SearchScope::Thorough, landing.stage.time.now()).await.unwrap(), 1);
    assert!(landing.alert_texts().await[0].contains("waits for"), "{:?}", landing.alert_texts().await);

    let begun = json!({"executionStatus": "STARTING_FLOW_EXECUTION", "startTimestamp": ago(0).to_string()});
    landing.stage.change(|script| script.faults = vec![(At::List, 0, listed(run_of(30, begun)))]);
    landing.list().await;
    let run = landing.run().await;
    assert_eq!((run.status.coarse(), run.started_at, run.triggered_at), (RunStatus::Executing, Some(ago(0)), ago(30)));
}

#[tokio::test]
async fn a_running_run_of_which_only_some_statuses_are_selected_is_not_recorded() {
    let script = Script::of(plain_log(5)).with(At::List, 0, run_list(&[(RUN, RUNNING)]));
    let mut landing = Landing::of(script, |_| ()).await;
    landing.upstream.selection.statuses = vec![RunStatus::Failed];
    landing.restart();
    landing.list().await;
    assert_eq!(landing.store.runs().get(RUN.parse().unwrap()).await.unwrap(), None);
}

/// An upstream whose engine has another clock.
#[tokio::test]
async fn a_run_that_ended_before_it_began_lands() {
    let run = run_of(
        60,
        json!({
            "executionStatus": "EXECUTION_FAILED", "startTimestamp": ago(40).to_string(), "finishTimestamp": ago(50).to_string(),
        }),
    );
    let landing = Landing::of(Script::of(plain_log(5)).with(At::List, 0, listed(run)), |_| ()).await;
    assert_eq!(landing.round().await.landed, 1);
    assert_eq!(landing.archived().await, (plain_log(5), Some(RunStatus::Failed)));
}

/// Another Runlog that has not collected the log itself shows a part of it.
#[tokio::test]
async fn a_log_that_another_runlog_is_still_collecting_is_requested_again() {
    let script = Script::of(plain_log(5)).with(At::Generate, 0, Fault::Unsettled);
    let landing = Landing::of(script, |_| ()).await;
    assert_eq!(landing.round().await.set_back, 1);
    let failing = landing.store.collection().failing_runs("service", 9).await.unwrap();
    assert!(failing[0].last_error.as_ref().unwrap().contains("has not collected the log"), "{failing:?}");
    assert_eq!(landing.archived().await, (plain_log(5), None));
    landing.stage.change(|script| {
        script.faults.clear();
        script.log = plain_log(15);
    });
    landing.stage.time.pass(3_600_000);
    assert_eq!(landing.round().await.landed, 1);
    assert_eq!(landing.archived().await, (plain_log(15), Some(RunStatus::Failed)));
}

/// Only the list was read, which has no numbers of rows.
#[tokio::test]
async fn details_of_single_runs_are_archived() {
    let single = json!({
        "executionId": RUN, "jobId": TASK, "status": "execution_failed", "executionStatus": "EXECUTION_FAILED",
        "numberOfProcessedRows": 12, "numberOfRejectedRows": 3, "errorType": "JAVA", "containerId": "c-1",
        "executionDestination": "REMOTE_ENGINE", "remoteEngineId": "e-1", "planId": "an-execution",
    });
    let answer = Fault::Answer(200, vec![], single.to_string());
    let script = Script::of(plain_log(5)).with(At::List, 0, listed(failed_run())).with(At::Execution, 0, answer);
    let landing = Landing::of(script, |_| ()).await;
    assert_eq!(landing.round().await.landed, 1);
    assert_eq!(landing.stage.count(At::Execution), 1);
    let run = landing.run().await;
    assert_eq!((run.processed_rows, run.rejected_rows), (Some(12), Some(3)));
    assert_eq!((run.error_type.as_deref(), run.container_id.as_deref()), (Some("JAVA"), Some("c-1")));
    assert_eq!((run.finished_at, run.plan.id), (Some(ago(50)), None));
    assert_eq!(run.plan.execution_id.as_deref(), Some("an-execution"), "what a single run calls its plan");
    let runtime = run.runtime.unwrap();
    assert_eq!((runtime.kind, runtime.engine_id.as_deref()), (Some(RuntimeKind::RemoteEngine), Some("e-1")));

    // A service that does not return it does not prevent logs from landing.
    let refused = status_fault(StatusCode::FORBIDDEN, &[]);
    let script = Script::of(plain_log(5)).with(At::List, 0, listed(failed_run())).with(At::Execution, 0, refused);
    let landing = Landing::of(script, |_| ()).await;
    assert_eq!(landing.round().await.landed, 1);
}

#[tokio::test]
async fn words_that_are_not_known_hide_nothing_else() {
    let run = run_of(
        60,
        json!({
            "executionStatus": "EXECUTION_TERMINATED_BY_POLICY", "status": "terminated", "executionType": "EVENT",
            "userType": "ROBOT", "runtime": {"type": "MOON", "engineId": "e-1", "crater": 7},
        }),
    );
    let landing = Landing::of(Script::of(plain_log(5)).with(At::List, 0, listed(run)), |_| ()).await;
    assert_eq!(landing.round().await.landed, 1);
    let run = landing.run().await;
    assert_eq!((run.status.coarse(), run.execution_type), (RunStatus::Terminated, ExecutionType::Manual));
    assert_eq!(run.error_type.as_deref(), Some("EXECUTION_TERMINATED_BY_POLICY"));
    assert_eq!(run.runtime.unwrap().engine_id.as_deref(), Some("e-1"));
}

/// The plan execution of a run that was no longer in any list was taken for its plan.
#[tokio::test]
async fn the_plan_of_a_single_run_is_its_plan_execution() {
    let script = Script::of(plain_log(5)).with(At::List, 0, run_list(&[(RUN, RUNNING)]));
    let landing = Landing::of(script, |_| ()).await;
    landing.list().await;
    let single = json!({
        "executionId": RUN, "jobId": TASK, "status": "execution_failed", "executionStatus": "EXECUTION_FAILED",
        "executionDestination": "CLOUD", "triggerTimestamp": ago(60).to_string(), "planId": "an-execution",
    });
    landing.stage.change(|script| {
        let answer = Fault::Answer(200, vec![], single.to_string());
        script.faults = vec![(At::List, 0, run_list(&[])), (At::Execution, 0, answer)];
    });
    landing.stage.time.pass(60_000);
    assert_eq!(landing.round().await.landed, 1);
    let plan = landing.run().await.plan;
    assert_eq!((plan.id, plan.execution_id.as_deref()), (None, Some("an-execution")));
}

fn history(category: &'static str, run: Value) -> Option<HashMap<&'static str, Vec<Value>>> {
    Some(HashMap::from([(category, vec![run])]))
}

/// Artifact, log level and attempts are in no list of Talend Cloud, and the archive did not have them.
#[tokio::test]
async fn details_from_the_history_are_archived() {
    let known = json!({
        "id": RUN, "type": "STANDARD", "artifactId": "a-1", "artifactName": "orders", "artifactVersion": "0.3",
        "logLevel": "WARN", "attempts": 2, "planName": "month end", "planExecutionId": "an-execution",
        "errorMessage": "another", "misfiredReason": "", "numberOfRejectedRows": null,
    });
    let script = Script { history: history("ETL", known), ..Script::of(plain_log(5)) };
    let landing = Landing::of(script.with(At::List, 0, listed(failed_run())), |_| ()).await;
    landing.list().await;
    let run = landing.run().await;
    let artifact = &run.artifact;
    let artifact = [&artifact.id, &artifact.name, &artifact.version].map(|text| text.as_deref().unwrap_or_default());
    assert_eq!((artifact, run.log_level.as_deref(), run.attempts), (["a-1", "orders", "0.3"], Some("WARN"), Some(2)));
    assert_eq!((run.plan.name.as_deref(), run.plan.execution_id.as_deref()), (Some("month end"), Some("an-execution")));
    assert_eq!(run.error_message.as_deref(), Some("out of memory"), "what the list says is kept");
    assert_eq!((run.misfired_reason, run.rejected_rows), (None, None));
    let searches = landing.stage.seen(At::History);
    assert!(searches.len() == 1 && !searches[0].contains("period"), "{searches:?}");
    assert_eq!(landing.round().await.landed, 1);
    landing.list().await;
    assert_eq!(landing.stage.count(At::History), 1, "it is asked for once");
}

#[tokio::test]
async fn runs_land_without_a_history_which_is_requested_again_later() {
    for status in [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND, StatusCode::BAD_REQUEST] {
        let script = Script::of(plain_log(5)).with(At::History, 0, status_fault(status, &[]));
        let landing = Landing::of(script.with(At::List, 0, run_list(&[(RUN, HAS_ENDED)])), |_| ()).await;
        assert_eq!(landing.round().await.landed, 1, "{status}");
        let searches = landing.stage.seen(At::History);
        assert!(searches.len() == 1 && searches[0].contains("between"), "an old run needs a period: {searches:?}");
        landing.stage.change(|script| script.faults[1] = (At::List, 0, run_list(&[(OTHER_RUN, HAS_ENDED)])));
        landing.stage.time.pass(60_000);
        assert_eq!(landing.round().await.landed, 1, "{status}");
        assert_eq!(landing.stage.count(At::History), 1, "{status}");
        let third = "6c0e5a34-0000-4000-8000-000000000003";
        landing.stage.change(|script| script.faults[1] = (At::List, 0, run_list(&[(third, HAS_ENDED)])));
        landing.stage.time.pass(900_000);
        assert_eq!(landing.round().await.landed, 1, "{status}");
        assert_eq!(landing.stage.count(At::History), 2, "{status}");
    }
}

/// The reason why a Route has no log was reported as unknown.
#[tokio::test]
async fn a_route_without_a_log_is_distinguished_from_a_job_without_one() {
    for (category, kind, expected) in [
        ("ESB", "ROUTE", LogAbsence::LongLived),
        ("ESB", "DATA_SERVICE", LogAbsence::LongLived),
        ("ETL", "STANDARD", LogAbsence::NotAtUpstream),
    ] {
        let gone = status_fault(StatusCode::NOT_FOUND, &[]);
        let known = json!({"id": RUN, "type": kind});
        let script = Script { history: history(category, known), ..Script::of(Vec::new()) };
        let script = script.with(At::List, 0, listed(failed_run()));
        let landing = Landing::of(script.with(At::Generate, 0, gone.clone()).with(At::Live, 0, gone), |_| ()).await;
        for _ in 0..2 {
            assert_eq!(landing.round().await.set_back, 1);
            landing.stage.time.pass(60_000);
        }
        assert_eq!(landing.round().await.no_log, 1);
        let collection = landing.store.collection();
        assert_eq!(collection.log_absence(&landing.run().await).await.unwrap(), Some(expected));
        let reasons = collection.metrics("service").await.unwrap().no_log_reasons;
        assert_eq!(reasons.into_iter().collect::<Vec<_>>(), [(expected, 1)]);
    }
}

/// A second archive had less data about a run than the first.
#[tokio::test]
async fn lists_of_another_runlog_have_all_details_of_a_run() {
    let mut run = failed_run();
    run["runlog"] = json!({
        "planName": "month end", "planExecutionId": "an-execution", "planStepId": "a-step", "artifactId": "a-1",
        "artifactName": "orders", "artifactVersion": "0.3", "logLevel": "INFO", "attempts": 2, "containerId": "c-1",
        "errorType": "JAVA", "numberOfProcessedRows": 12, "numberOfRejectedRows": 3,
    });
    let landing = Landing::of(Script::of(plain_log(5)).with(At::List, 0, listed(run)), |_| ()).await;
    assert_eq!(landing.round().await.landed, 1);
    let run = landing.run().await;
    let plan = [&run.plan.name, &run.plan.execution_id, &run.plan.step_id].map(|text| text.as_deref().unwrap());
    assert_eq!(plan, ["month end", "an-execution", "a-step"]);
    let artifact = [&run.artifact.id, &run.artifact.name, &run.artifact.version];
    assert_eq!(artifact.map(|text| text.as_deref().unwrap()), ["a-1", "orders", "0.3"]);
    assert_eq!((run.log_level.as_deref(), run.attempts), (Some("INFO"), Some(2)));
    assert_eq!((run.container_id.as_deref(), run.error_type.as_deref()), (Some("c-1"), Some("JAVA")));
    assert_eq!((run.processed_rows, run.rejected_rows), (Some(12), Some(3)));
    assert_eq!((landing.stage.count(At::Execution), landing.stage.count(At::History)), (0, 0));
}

#[tokio::test]
async fn why_the_first_of_two_runlogs_has_no_log_is_known_to_the_second() {
    for (absence, expected) in [
        ("LONG_LIVED", LogAbsence::LongLived),
        ("NOT_AT_UPSTREAM", LogAbsence::NotAtUpstream),
        ("NOTHING_PUSHED", LogAbsence::NothingLogged),
    ] {
        let mut run = failed_run();
        run["runlog"] = json!({ "logAbsence": absence });
        let landing = Landing::of(Script::of(Vec::new()).with(At::List, 0, listed(run)), |_| ()).await;
        let round = landing.round().await;
        assert_eq!(round.landed + round.no_log, 1, "{absence}: it is not asked for again: {round:?}");
        let absence = landing.store.collection().log_absence(&landing.run().await).await.unwrap();
        assert_eq!(absence, Some(expected));
    }
}

/// A collector whose clock was ahead took a run that had just ended for one that had ended long ago, and records that came
/// after that were lost.
#[tokio::test]
async fn the_log_of_a_run_settles_by_the_clock_of_the_service() {
    let ended = json!({
        "executionStatus": "EXECUTION_FAILED", "startTimestamp": ago(61).to_string(),
        "finishTimestamp": ago(60).to_string(),
    });
    let script = Script { clock_behind_ms: 3_600_000, ..Script::of(plain_log(5)) };
    let landing = Landing::of(script.with(At::List, 0, listed(run_of(62, ended))), |_| ()).await;
    assert_eq!(landing.round().await, CollectStats::default(), "it has just ended, by the clock of the service");
    landing.stage.time.pass(31_000);
    assert_eq!(landing.round().await.landed, 1);
    assert!(landing.stage.count(At::Live) > 0, "late records are looked for");
}
