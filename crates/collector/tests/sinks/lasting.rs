//! Alerts about lasting conditions: their end, messages about several alerts, maintenance windows, and intermittent
//! conditions.

use std::sync::Arc;
use std::time::Duration;

use runlog_collector::alerts::{
    AlertRule, Alerts, Condition, Destination, GroupBy, Maintenance, SearchScope, TaskSchedule, TimeOf,
};
use runlog_model::wire::alerts::AlertState;
use runlog_model::wire::components::{MeasuredRun, RunComponents};
use runlog_model::wire::problems::NewProblemState;
use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_model::{Clock, ProblemState, RunId, RunStatus, Timestamp};
use runlog_store::alerts::AlertFilter;
use runlog_store::collection::{ClaimedRun, FailedAttempt, LandedLog, UpstreamRun, UpstreamRunState};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::channels::{Vendor, opsgenie, pagerduty, slack, vendors};
use crate::delivered::{hook, rule, webhook_to};
use crate::stage::Stage;

const MINUTE_MS: i64 = 60_000;

/// A rule of failed runs with recovery.
fn lasting(to: Vec<Destination>) -> AlertRule {
    AlertRule { recovery: true, to, ..rule(Condition::RunFailed) }
}

/// One search, and one pass of sending: the number of new alerts, and of those sent.
async fn round(stage: &Stage, alerts: &Alerts) -> (u64, u64) {
    let new = alerts.find(SearchScope::Once, stage.clock.now()).await.unwrap();
    (new, alerts.send_due(&*stage.clock, &CancellationToken::new()).await.unwrap())
}

async fn states(stage: &Stage) -> Vec<AlertState> {
    let filter = AlertFilter { limit: 100, ..AlertFilter::default() };
    let (mut items, _) = stage.store.alerts().history(&filter).await.unwrap();
    items.reverse();
    items.into_iter().map(|item| item.state).collect()
}

fn kinds(told: &[Value]) -> Vec<String> {
    told.iter().map(|body| body["what"].as_str().unwrap_or_default().to_owned()).collect()
}

fn drain(told: &mut tokio::sync::mpsc::UnboundedReceiver<Value>) -> Vec<Value> {
    std::iter::from_fn(|| told.try_recv().ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_ends_is_resolved_and_closed_once_by_whichever_node_sees_it() {
    let stage = Stage::new().await;
    let (pager, genie) = (Vendor::start(pagerduty).await, Vendor::start(opsgenie).await);
    let [_, _, (_, to_pager), (_, to_genie)] = vendors();
    let (url, mut told) = hook().await;
    let to = || {
        let vendors = [pager.destination(&stage, to_pager.clone()), genie.destination(&stage, to_genie.clone())];
        vendors.into_iter().chain([webhook_to(&url)]).collect()
    };
    let nodes =
        [Alerts::new(&stage.store, vec![lasting(to())], None), Alerts::new(&stage.store, vec![lasting(to())], None)];
    assert_eq!(round(&stage, &nodes[0]).await, (0, 0));
    stage.failed_run("no table").await;
    stage.failed_run("no table").await;
    assert_eq!(round(&stage, &nodes[0]).await, (6, 6), "each failed run is told");
    assert_eq!(round(&stage, &nodes[1]).await, (0, 0), "it goes on");
    stage.good_run().await;
    let now = stage.clock.now();
    let (a, b) = tokio::join!(nodes[0].find(SearchScope::Once, now), nodes[1].find(SearchScope::Once, now));
    assert_eq!(a.unwrap() + b.unwrap(), 3, "the end is told once at each destination");
    let stop = CancellationToken::new();
    let (a, b) = tokio::join!(nodes[0].send_due(&*stage.clock, &stop), nodes[1].send_due(&*stage.clock, &stop));
    assert_eq!(a.unwrap() + b.unwrap(), 3);
    assert_eq!(round(&stage, &nodes[0]).await, (0, 0));

    let events: Vec<Value> = pager.took().into_iter().map(|it| it["body"].clone()).collect();
    let actions: Vec<&Value> = events.iter().map(|event| &event["event_action"]).collect();
    assert_eq!(actions, [&json!("trigger"), &json!("trigger"), &json!("resolve")]);
    assert!(events.iter().all(|event| event["dedup_key"] == events[0]["dedup_key"]), "{events:?}");
    let alias = genie.took()[0]["body"]["alias"].as_str().unwrap().to_owned();
    assert!(genie.took()[2]["path"].as_str().unwrap().starts_with(&format!("/v2/alerts/{alias}/close")));
    let told = drain(&mut told);
    assert_eq!(kinds(&told), ["run_failed", "run_failed", "recovered"]);
    assert_eq!((&told[2]["of"], &told[2]["subjectId"]), (&json!("run_failed"), &told[0]["subjectId"]));

    // It fails again: another alert, which ends again.
    stage.failed_run("no table").await;
    assert_eq!(round(&stage, &nodes[1]).await, (3, 3));
    stage.good_run().await;
    assert_eq!(round(&stage, &nodes[1]).await, (3, 3));
}

/// A destination was unavailable when the alert was found, and available again when the alert was over.
#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_is_never_sent_before_its_alert() {
    let stage = Stage::new().await;
    let pager = Vendor::start(pagerduty).await;
    let [_, _, (_, to), _] = vendors();
    let alerts = Alerts::new(&stage.store, vec![lasting(vec![pager.destination(&stage, to)])], None);
    assert_eq!(round(&stage, &alerts).await, (0, 0));
    stage.failed_run("no table").await;
    *pager.says.lock().unwrap() = Some((503, 600));
    assert_eq!(round(&stage, &alerts).await, (1, 0));
    stage.good_run().await;
    assert_eq!(round(&stage, &alerts).await, (1, 0), "the alert waits for ten minutes, and its end for the alert");
    stage.pass(11 * MINUTE_MS);
    assert_eq!(round(&stage, &alerts).await, (0, 2));
    let actions: Vec<Value> = pager.took().into_iter().map(|it| it["body"]["event_action"].clone()).collect();
    assert_eq!(actions, ["trigger", "resolve"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_refused_for_good_is_given_up_and_one_that_waited_for_days_too() {
    let stage = Stage::new().await;
    let chat = Vendor::start(slack).await;
    let [(_, to), ..] = vendors();
    let alerts = Alerts::new(&stage.store, vec![lasting(vec![chat.destination(&stage, to)])], None);
    assert_eq!(round(&stage, &alerts).await, (0, 0));
    stage.failed_run("no table").await;
    *chat.says.lock().unwrap() = Some((400, 0));
    assert_eq!(round(&stage, &alerts).await, (1, 0));
    assert_eq!(states(&stage).await, [AlertState::Refused]);
    stage.failed_run("no table").await;
    *chat.says.lock().unwrap() = Some((404, 0));
    assert_eq!(round(&stage, &alerts).await, (1, 0));
    assert_eq!(states(&stage).await, [AlertState::Refused, AlertState::Waiting]);
    stage.pass(3 * 24 * 60 * MINUTE_MS + MINUTE_MS);
    *chat.says.lock().unwrap() = Some((404, 0));
    assert_eq!(round(&stage, &alerts).await, (0, 0));
    assert_eq!(states(&stage).await, [AlertState::Refused, AlertState::Refused]);
    let rule = stage.store.alerts().rules().await.unwrap().remove(0);
    assert_eq!((rule.refused, rule.waiting, rule.delivered, rule.open.len()), (2, 0, 0, 1));
    assert!(stage.store.alerts().backlog().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_about_the_same_are_one_message_and_end_together() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let grouped = AlertRule { group_by: GroupBy::Rule, ..lasting(vec![webhook_to(&url)]) };
    let alerts = Alerts::new(&stage.store, vec![grouped], None);
    assert_eq!(round(&stage, &alerts).await, (0, 0));
    let mut tasks = Vec::new();
    for number in 0..22 {
        let task = stage.task(&format!("task {number}")).await;
        stage.ended_run(task, FinishRun::with_status(RunStatus::Failed)).await;
        tasks.push(task);
    }
    assert_eq!(round(&stage, &alerts).await, (22, 22));
    let messages = drain(&mut told);
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert_eq!((messages[0]["events"].as_array().unwrap().len(), &messages[0]["more"]), (10, &json!(12)));

    for task in &tasks[1..] {
        stage.ended_run(*task, FinishRun::with_status(RunStatus::Successful)).await;
    }
    assert_eq!(round(&stage, &alerts).await, (0, 0), "one task still fails");
    stage.ended_run(tasks[0], FinishRun::with_status(RunStatus::Successful)).await;
    assert_eq!(round(&stage, &alerts).await, (1, 1));
    let messages = drain(&mut told);
    assert_eq!(kinds(&messages), ["recovered"]);
}

/// A node had sent a message about two alerts, and ended before it recorded that. Its next attempt had the same ID, and
/// included a third alert, which destinations that deduplicate messages by ID did not receive. If the node had recorded
/// one of the two, the other one was sent again with another ID.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_message_has_the_same_alerts() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let grouped = AlertRule { group_by: GroupBy::Rule, ..lasting(vec![webhook_to(&url)]) };
    let alerts = Alerts::new(&stage.store, vec![grouped], None);
    assert_eq!(round(&stage, &alerts).await, (0, 0));
    let runs = [stage.failed_run("no table").await, stage.failed_run("no table").await];
    assert_eq!(alerts.find(SearchScope::Once, stage.clock.now()).await.unwrap(), 2);
    let destination = stage.store.alerts().backlog().await.unwrap().remove(0).destination;
    let first = stage.store.alerts().claim(&destination).await.unwrap().unwrap();
    assert_eq!(stage.store.alerts().claim_others(&first, false).await.unwrap().len(), 1);

    stage.pass(3 * MINUTE_MS);
    let third = stage.failed_run("no table").await;
    assert_eq!(round(&stage, &alerts).await, (1, 3));
    let told = drain(&mut told);
    let runs_of = |body: &Value| -> Vec<Value> {
        let events = body["events"].as_array().cloned().unwrap_or_else(|| vec![body.clone()]);
        events.iter().map(|event| event["runId"].clone()).collect()
    };
    let told: Vec<Vec<Value>> = told.iter().map(runs_of).collect();
    assert_eq!(told, [vec![json!(runs[0]), json!(runs[1])], vec![json!(third)]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_alert_of_a_message_waits_for_others() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let grouped = AlertRule { group_by: GroupBy::Task, ..lasting(vec![webhook_to(&url)]) };
    let alerts = Alerts::new(&stage.store, vec![grouped], None);
    let look = async || alerts.find(SearchScope::Thorough, stage.clock.now()).await.unwrap();
    let send = async || alerts.send_due(&*stage.clock, &CancellationToken::new()).await.unwrap();
    assert_eq!(look().await, 0);
    stage.failed_run("no table").await;
    stage.pass(MINUTE_MS);
    assert_eq!((look().await, send().await), (1, 0));
    stage.failed_run("no table").await;
    stage.pass(2 * MINUTE_MS);
    assert_eq!((look().await, send().await), (1, 2), "the second goes with the first");
    assert_eq!(drain(&mut told).len(), 1);
}

/// A window of the rule's only task, from now on for an hour.
fn for_an_hour(stage: &Stage) -> Maintenance {
    let (from, to) = (stage.clock.now(), stage.clock.now().plus_millis(60 * MINUTE_MS));
    let end: TimeOf = Arc::new(move |now| (now >= from && now < to).then_some(to));
    Maintenance {
        name: "backup".to_owned(),
        environments: Vec::new(),
        workspaces: vec!["team".to_owned()],
        tasks: Vec::new(),
        task_names: vec!["night*".to_owned()],
        end,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_maintenance_window_one_message_lists_what_is_still_wrong() {
    for is_over in [true, false] {
        let stage = Stage::new().await;
        let (url, mut told) = hook().await;
        let alerts = Alerts::new(&stage.store, vec![lasting(vec![webhook_to(&url)])], None);
        let alerts = alerts.with_maintenance(vec![for_an_hour(&stage)]);
        assert_eq!(round(&stage, &alerts).await, (0, 0));
        let other = stage.task("daily").await;
        stage.ended_run(other, FinishRun::with_status(RunStatus::Failed)).await;
        assert_eq!(round(&stage, &alerts).await, (1, 1), "another task is not in the window");
        drain(&mut told);
        stage.failed_run("no table").await;
        stage.failed_run("no table").await;
        assert_eq!(round(&stage, &alerts).await, (2, 0));
        if is_over {
            stage.good_run().await;
            assert_eq!(round(&stage, &alerts).await, (0, 0), "nobody was told, so nobody is told of the end");
        }
        stage.pass(60 * MINUTE_MS);
        assert_eq!(round(&stage, &alerts).await.1, if is_over { 0 } else { 2 });
        let messages = drain(&mut told);
        assert_eq!(messages.len(), usize::from(!is_over), "{messages:?}");
        let last = states(&stage).await.pop().unwrap();
        assert_eq!(last, if is_over { AlertState::Dropped } else { AlertState::Delivered });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flapping_alert_is_reported_a_few_times_an_hour() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let alerts = Alerts::new(&stage.store, vec![lasting(vec![webhook_to(&url)])], None);
    assert_eq!(round(&stage, &alerts).await, (0, 0));
    for _ in 0..12 {
        stage.failed_run("no table").await;
        round(&stage, &alerts).await;
        stage.good_run().await;
        round(&stage, &alerts).await;
    }
    assert_eq!(drain(&mut told).len(), 7, "three times the beginning and the end, and the fourth beginning");
    assert_eq!(round(&stage, &alerts).await, (0, 0));
    stage.pass(31 * MINUTE_MS);
    assert_eq!(round(&stage, &alerts).await, (1, 1), "it has been over for half an hour");
    assert_eq!(kinds(&drain(&mut told)), ["recovered"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_of_a_muted_rule_only_closes_open_incidents() {
    let stage = Stage::new().await;
    let pager = Vendor::start(pagerduty).await;
    let (url, mut told) = hook().await;
    let [_, _, (_, to), _] = vendors();
    let to = vec![pager.destination(&stage, to), webhook_to(&url)];
    let alerts = Alerts::new(&stage.store, vec![lasting(to)], None);
    assert_eq!(round(&stage, &alerts).await, (0, 0));
    stage.failed_run("no table").await;
    assert_eq!(round(&stage, &alerts).await, (2, 2));
    stage.store.alerts().set_mute("night-shift", Some(&Default::default()), "ada").await.unwrap();
    stage.good_run().await;
    assert_eq!(round(&stage, &alerts).await, (1, 1));
    assert_eq!((pager.took().len(), drain(&mut told).len()), (2, 1));
    stage.failed_run("no table").await;
    stage.good_run().await;
    assert_eq!(round(&stage, &alerts).await, (0, 0), "what was not told does not end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_problem_is_over_when_somebody_has_resolved_it() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let new_problem = AlertRule { when: vec![Condition::NewProblem], ..lasting(vec![webhook_to(&url)]) };
    let alerts = Alerts::new(&stage.store, vec![new_problem], None);
    assert_eq!(round(&stage, &alerts).await, (0, 0));
    let run = stage.run(4, &[]).await;
    while stage.store.maintenance().seal().await.unwrap().runs > 0 {}
    runlog_analysis::summarize_all(stage.store.summaries(), stage.store.logs()).await.unwrap();
    assert_eq!(round(&stage, &alerts).await, (1, 1));
    stage.good_run().await;
    assert_eq!(round(&stage, &alerts).await, (0, 0), "the problem is still open");
    let problem = stage.store.problems().of_run(run).await.unwrap().unwrap();
    let resolved = NewProblemState { state: ProblemState::Resolved, until: None, note: None };
    stage.store.problems().set_state(&problem.id, &resolved, "ada").await.unwrap();
    assert_eq!(round(&stage, &alerts).await, (1, 1));
    assert_eq!(kinds(&drain(&mut told)), ["new_problem", "recovered"]);
}

fn rows(processed: u64, rejected: Option<u64>) -> FinishRun {
    let finish = FinishRun::with_status(RunStatus::Successful);
    FinishRun { number_of_processed_rows: Some(processed), number_of_rejected_rows: rejected, ..finish }
}

/// A rule of this condition, its texts, and the same as a preview.
async fn texts(stage: &Stage, alerts: &Alerts, told: &mut tokio::sync::mpsc::UnboundedReceiver<Value>) -> Vec<String> {
    round(stage, alerts).await;
    drain(told)
        .iter()
        .map(|body| format!("{}: {}", body["what"].as_str().unwrap(), body["text"].as_str().unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_rows_are_reported_from_the_threshold_on() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let when = vec![Condition::RejectedRows];
    let alerts =
        Alerts::new(&stage.store, vec![AlertRule { when, rejected_rows: 10, ..lasting(vec![webhook_to(&url)]) }], None);
    assert!(texts(&stage, &alerts, &mut told).await.is_empty());
    stage.ended_run(stage.task, rows(100, Some(9))).await;
    assert!(texts(&stage, &alerts, &mut told).await.is_empty());
    stage.ended_run(stage.task, rows(100, Some(10))).await;
    assert_eq!(texts(&stage, &alerts, &mut told).await, ["rejected_rows: nightly rejected 10 rows of 100"]);
    let since = stage.clock.now().plus_millis(-60 * MINUTE_MS);
    assert_eq!(
        alerts.preview(since, stage.clock.now()).await.unwrap()[0].items[0].text,
        "nightly rejected 10 rows of 100"
    );
    stage.ended_run(stage.task, rows(100, Some(1))).await;
    assert!(texts(&stage, &alerts, &mut told).await[0].starts_with("recovered: resolved by run "));

    // The number of rejected rows is known from the component metrics only, which come later.
    let run = stage.good_run().await;
    assert!(texts(&stage, &alerts, &mut told).await.is_empty());
    let run_of_components = MeasuredRun { rows_rejected: Some(12.into()), ..MeasuredRun::default() };
    let components = RunComponents { run: run_of_components, ..RunComponents::default() };
    stage.store.components().replace(run, &components).await.unwrap();
    assert_eq!(texts(&stage, &alerts, &mut told).await, ["rejected_rows: nightly rejected 12 rows"]);
}

/// The threshold and the tasks of a rule counted after the limit of a search: a run after 5,000 others that rejected
/// some row was never reported.
#[tokio::test(flavor = "multi_thread")]
async fn rejected_rows_are_found_among_any_number_of_runs() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let when = vec![Condition::RejectedRows];
    let rule = AlertRule { when, rejected_rows: 10, ..lasting(vec![webhook_to(&url)]) };
    let alerts = Alerts::new(&stage.store, vec![rule], None);
    assert!(texts(&stage, &alerts, &mut told).await.is_empty());
    let run = stage.ended_run(stage.task, rows(100, Some(1))).await;
    stage.copy_run(run, 12_000).await;
    stage.ended_run(stage.task, rows(100, Some(11))).await;
    assert_eq!(texts(&stage, &alerts, &mut told).await, ["rejected_rows: nightly rejected 11 rows of 100"]);
}

/// Only the newest runs of a task were searched: a run that hung while thirty others were triggered was never reported.
#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_run_is_reported_among_any_number_of_runs() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let rule = AlertRule { when: vec![Condition::RunSlow], recovery: false, ..lasting(vec![webhook_to(&url)]) };
    let alerts = Alerts::new(&stage.store, vec![rule], None);
    assert!(texts(&stage, &alerts, &mut told).await.is_empty());
    let start = |stage: &Stage| {
        let now = Some(stage.clock.now());
        StartRun { trigger_timestamp: now, start_timestamp: now, ..StartRun::of_task(stage.task) }
    };
    for _ in 0..6 {
        let run = stage.dispatched_run(&start(&stage)).await;
        stage.pass(MINUTE_MS);
        stage.store.runs().finish(run, &FinishRun::with_status(RunStatus::Successful)).await.unwrap();
    }
    let hangs = stage.dispatched_run(&start(&stage)).await;
    for _ in 0..40 {
        stage.pass(1_000);
        let run = stage.dispatched_run(&start(&stage)).await;
        stage.pass(1_000);
        stage.store.runs().finish(run, &FinishRun::with_status(RunStatus::Successful)).await.unwrap();
    }
    stage.pass(20 * MINUTE_MS);
    let said = texts(&stage, &alerts, &mut told).await;
    assert!(said.len() == 1 && said[0].starts_with("run_slow: nightly has been running for "), "{hangs} {said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unusual_numbers_of_rows_are_reported() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let when = vec![Condition::RowsUnusual];
    let alerts = Alerts::new(&stage.store, vec![AlertRule { when, ..lasting(vec![webhook_to(&url)]) }], None);
    assert!(texts(&stage, &alerts, &mut told).await.is_empty());
    for processed in [1_000, 1_100, 5_000, 950, 1_000] {
        stage.ended_run(stage.task, rows(processed, None)).await;
    }
    assert!(texts(&stage, &alerts, &mut told).await.is_empty(), "it is not known what is usual");
    stage.ended_run(stage.task, rows(4_900, None)).await;
    assert!(texts(&stage, &alerts, &mut told).await.is_empty(), "a number that occurs is usual");
    stage.ended_run(stage.task, rows(0, None)).await;
    assert_eq!(
        texts(&stage, &alerts, &mut told).await,
        ["rows_unusual: nightly processed 0 rows; it usually processes 1000"]
    );
    let since = stage.clock.now().plus_millis(-60 * MINUTE_MS);
    assert_eq!(alerts.preview(since, stage.clock.now()).await.unwrap()[0].events, 1);
    stage.ended_run(stage.task, rows(1_050, None)).await;
    assert!(texts(&stage, &alerts, &mut told).await[0].starts_with("recovered: "));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unavailable_engine_is_reported_once() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let when = vec![Condition::EngineUnavailable];
    let alerts = Alerts::new(&stage.store, vec![AlertRule { when, ..lasting(vec![webhook_to(&url)]) }], None);
    assert!(texts(&stage, &alerts, &mut told).await.is_empty());
    let waiting = |stage: &Stage| StartRun {
        status: Some(RunStatus::Dispatching),
        trigger_timestamp: Some(stage.clock.now()),
        runtime: Some(serde_json::from_value(json!({ "type": "REMOTE_ENGINE", "engineId": "e-1" })).unwrap()),
        ..StartRun::of_task(stage.task)
    };
    let first = stage.dispatched_run(&waiting(&stage)).await;
    stage.pass(9 * MINUTE_MS);
    let second = stage.dispatched_run(&waiting(&stage)).await;
    assert!(texts(&stage, &alerts, &mut told).await.is_empty(), "it has waited for nine minutes");
    stage.pass(2 * MINUTE_MS);
    let said = texts(&stage, &alerts, &mut told).await;
    assert!(
        said.len() == 1 && said[0].starts_with("engine_unavailable: 1 run waits for engine e-1 since "),
        "{said:?}"
    );
    let since = stage.clock.now().plus_millis(-60 * MINUTE_MS);
    assert_eq!(alerts.preview(since, stage.clock.now()).await.unwrap()[0].events, 1);
    stage.pass(20 * MINUTE_MS);
    stage.store.runs().finish(first, &FinishRun::with_status(RunStatus::Terminated)).await.unwrap();
    assert!(texts(&stage, &alerts, &mut told).await.is_empty(), "another run waits: it goes on");
    stage.store.runs().finish(second, &FinishRun::with_status(RunStatus::Terminated)).await.unwrap();
    assert!(texts(&stage, &alerts, &mut told).await[0].starts_with("recovered: resolved, no run waits"));
}

/// The tasks of a rule counted after the limit of a search: a run after 5,000 runs of other tasks was never reported.
#[tokio::test(flavor = "multi_thread")]
async fn an_unavailable_engine_is_found_among_any_number_of_runs() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let rule = AlertRule {
        when: vec![Condition::EngineUnavailable],
        tasks: vec![stage.task],
        ..lasting(vec![webhook_to(&url)])
    };
    let alerts = Alerts::new(&stage.store, vec![rule], None);
    assert!(texts(&stage, &alerts, &mut told).await.is_empty());
    let other = stage.task("other").await;
    let waiting = |task| StartRun {
        status: Some(RunStatus::Dispatching),
        trigger_timestamp: Some(stage.clock.now()),
        ..StartRun::of_task(task)
    };
    let run = stage.dispatched_run(&waiting(other)).await;
    stage.copy_run(run, 12_000).await;
    stage.pass(MINUTE_MS);
    let own = stage.dispatched_run(&waiting(stage.task)).await;
    stage.pass(20 * MINUTE_MS);
    let said = texts(&stage, &alerts, &mut told).await;
    assert!(said.len() == 1 && said[0].starts_with("engine_unavailable: 1 run waits for an engine"), "{said:?}");
    assert!(texts(&stage, &alerts, &mut told).await.is_empty(), "it goes on behind the others");
    stage.store.runs().finish(own, &FinishRun::with_status(RunStatus::Terminated)).await.unwrap();
    assert!(texts(&stage, &alerts, &mut told).await[0].starts_with("recovered: resolved, no run waits"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missed_schedule_is_reported_until_the_task_runs() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let due = stage.clock.now().plus_millis(60 * MINUTE_MS);
    let last_due: TimeOf = Arc::new(move |now: Timestamp| (now >= due).then_some(due));
    let schedule = Some(TaskSchedule { last_due, grace: Duration::from_secs(900) });
    let missed = AlertRule { when: vec![Condition::TaskMissed], schedule, ..lasting(vec![webhook_to(&url)]) };
    let alerts = Alerts::new(&stage.store, vec![missed], None);
    assert!(texts(&stage, &alerts, &mut told).await.is_empty());
    stage.good_run().await;
    stage.pass(70 * MINUTE_MS);
    assert!(texts(&stage, &alerts, &mut told).await.is_empty(), "it may be fifteen minutes late");
    stage.pass(10 * MINUTE_MS);
    let said = texts(&stage, &alerts, &mut told).await;
    assert!(said.len() == 1 && said[0].starts_with("task_missed: nightly should have run at "), "{said:?}");
    let since = due.plus_millis(-MINUTE_MS);
    assert_eq!(alerts.preview(since, stage.clock.now()).await.unwrap()[0].events, 1);
    stage.good_run().await;
    assert!(texts(&stage, &alerts, &mut told).await[0].starts_with("recovered: "));
}

/// An upstream lists a run, whose log is to be fetched.
async fn listed(stage: &Stage, run: RunId) {
    listed_as(stage, run, UpstreamRunState::Pending).await;
}

async fn listed_as(stage: &Stage, run: RunId, progress: UpstreamRunState) {
    let listed = UpstreamRun {
        run_id: run,
        task_id: stage.task.to_string(),
        progress,
        status: "execution_successful".to_owned(),
        triggered_at: Some(stage.clock.now()),
        finished_at: Some(stage.clock.now()),
        due_at: stage.clock.now(),
        body: "{}".to_owned(),
    };
    stage.store.collection().upsert_runs("cloud", &[listed]).await.unwrap();
}

async fn claimed(stage: &Stage) -> ClaimedRun {
    stage.pass(MINUTE_MS);
    let until = stage.clock.now().plus_millis(MINUTE_MS);
    stage.store.collection().claim_run("cloud", until).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_incomplete_until_it_has_landed_or_the_upstream_has_none_and_perhaps_again() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let when = vec![Condition::LogIncomplete];
    let alerts = Alerts::new(&stage.store, vec![AlertRule { when, ..lasting(vec![webhook_to(&url)]) }], None);
    assert!(texts(&stage, &alerts, &mut told).await.is_empty());
    let run = stage.dispatched_run(&StartRun::of_task(stage.task)).await;
    listed(&stage, run).await;
    let attempt = async |error: &str, expected: Option<u64>| {
        let failed = FailedAttempt { error: error.to_owned(), expected, retry_at: stage.clock.now() };
        stage.store.collection().record_failure("cloud", &claimed(&stage).await, &failed).await.unwrap();
    };
    attempt("5 of 7 records were received", Some(7)).await;
    let said = texts(&stage, &alerts, &mut told).await;
    assert!(said.len() == 1 && said[0].starts_with("log_incomplete: the log of run "), "{said:?}");
    attempt("the service answered 503", None).await;
    assert!(
        texts(&stage, &alerts, &mut told).await.is_empty(),
        "the upstream is away: the log is as incomplete as it was"
    );
    attempt("5 of 7 records were received", Some(7)).await;
    assert!(texts(&stage, &alerts, &mut told).await.is_empty(), "it goes on");

    let finish = FinishRun::with_status(RunStatus::Successful);
    stage.store.collection().finish_without_log("cloud", &claimed(&stage).await, &finish, None).await.unwrap();
    let said = texts(&stage, &alerts, &mut told).await;
    assert!(said[0].starts_with("recovered: resolved, the upstream has no log of the run: "), "{said:?}");
    assert_eq!(stage.store.collection().retry_run("cloud", run).await.unwrap(), 1);
    assert!(texts(&stage, &alerts, &mut told).await.is_empty());
    attempt("5 of 7 records were received", Some(7)).await;
    let said = texts(&stage, &alerts, &mut told).await;
    assert!(said.len() == 1 && said[0].starts_with("log_incomplete: the log of run "), "{said:?}");
    assert!(texts(&stage, &alerts, &mut told).await.is_empty());
    let log = LandedLog { records: 7, pages: 1, components_due_at: None };
    stage.store.collection().land("cloud", &claimed(&stage).await, &finish, log).await.unwrap();
    let said = texts(&stage, &alerts, &mut told).await;
    assert!(said[0].starts_with("recovered: resolved, the log is complete: "), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_about_several_takes_nothing_out_of_a_maintenance_window() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let grouped = AlertRule { group_by: GroupBy::Rule, ..lasting(vec![webhook_to(&url)]) };
    let alerts = Alerts::new(&stage.store, vec![grouped], None).with_maintenance(vec![for_an_hour(&stage)]);
    assert_eq!(round(&stage, &alerts).await, (0, 0));
    stage.failed_run("no table").await;
    assert_eq!(round(&stage, &alerts).await, (1, 0));
    let other = stage.task("daily").await;
    stage.ended_run(other, FinishRun::with_status(RunStatus::Failed)).await;
    assert_eq!(round(&stage, &alerts).await, (1, 1), "the task in the window waits for its end");
    stage.pass(60 * MINUTE_MS);
    assert_eq!(round(&stage, &alerts).await, (0, 1));
    assert_eq!(drain(&mut told).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_what_is_about_tasks_in_a_maintenance_window_is_held_too() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let when = vec![Condition::NewProblem, Condition::LogIncomplete];
    let rule = AlertRule { when, ..lasting(vec![webhook_to(&url)]) };
    let alerts = Alerts::new(&stage.store, vec![rule.clone()], None);
    assert_eq!(round(&stage, &alerts).await, (0, 0));
    let run = stage.run(4, &[]).await;
    while stage.store.maintenance().seal().await.unwrap().runs > 0 {}
    runlog_analysis::summarize_all(stage.store.summaries(), stage.store.logs()).await.unwrap();
    let fetched = stage.dispatched_run(&StartRun::of_task(stage.task)).await;
    listed(&stage, fetched).await;
    let failed = FailedAttempt { error: "5 of 7".to_owned(), expected: Some(7), retry_at: stage.clock.now() };
    stage.store.collection().record_failure("cloud", &claimed(&stage).await, &failed).await.unwrap();
    assert_eq!(round(&stage, &alerts).await, (2, 2));

    let problem = stage.store.problems().of_run(run).await.unwrap().unwrap();
    let resolved = NewProblemState { state: ProblemState::Resolved, until: None, note: None };
    stage.store.problems().set_state(&problem.id, &resolved, "ada").await.unwrap();
    let (finish, log) =
        (FinishRun::with_status(RunStatus::Successful), LandedLog { records: 7, pages: 1, components_due_at: None });
    stage.store.collection().land("cloud", &claimed(&stage).await, &finish, log).await.unwrap();
    let alerts = Alerts::new(&stage.store, vec![rule], None).with_maintenance(vec![for_an_hour(&stage)]);
    assert_eq!(round(&stage, &alerts).await, (2, 0), "their task is in the window");
    stage.pass(60 * MINUTE_MS);
    assert_eq!(round(&stage, &alerts).await, (0, 2));
    let mut kinds = kinds(&drain(&mut told));
    kinds.sort_unstable();
    assert_eq!(kinds, ["log_incomplete", "new_problem", "recovered", "recovered"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_rows_are_not_over_while_it_is_not_known_how_many_a_later_run_rejected() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let when = vec![Condition::RejectedRows];
    let alerts = Alerts::new(&stage.store, vec![AlertRule { when, ..lasting(vec![webhook_to(&url)]) }], None);
    assert!(texts(&stage, &alerts, &mut told).await.is_empty());
    // Metrics come minutes after the end of each run.
    let mut said = Vec::new();
    for rejected in [12, 15, 0] {
        let run = stage.dispatched_run(&StartRun::of_task(stage.task)).await;
        listed(&stage, run).await;
        let (finish, now) = (FinishRun::with_status(RunStatus::Successful), stage.clock.now());
        let log = LandedLog { records: 0, pages: 1, components_due_at: Some(now) };
        stage.store.collection().land("cloud", &claimed(&stage).await, &finish, log).await.unwrap();
        assert_eq!(texts(&stage, &alerts, &mut told).await, Vec::<String>::new(), "its rejected rows are not known");
        let until = stage.clock.now().plus_millis(MINUTE_MS);
        let claimed = stage.store.collection().claim_components("cloud", until).await.unwrap().unwrap();
        let measured = MeasuredRun { rows_rejected: Some(rejected.into()), ..MeasuredRun::default() };
        let components = RunComponents { run: measured, ..RunComponents::default() };
        assert!(stage.store.collection().land_components("cloud", &claimed, Some(&components)).await.unwrap());
        said.extend(texts(&stage, &alerts, &mut told).await);
    }
    assert_eq!(said.len(), 3, "{said:?}");
    assert_eq!(said[..2], ["rejected_rows: nightly rejected 12 rows", "rejected_rows: nightly rejected 15 rows"]);
    assert!(said[2].starts_with("recovered: "), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusual_number_of_rows_is_not_over_with_an_unknown_one() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let when = vec![Condition::RowsUnusual];
    let alerts = Alerts::new(&stage.store, vec![AlertRule { when, ..lasting(vec![webhook_to(&url)]) }], None);
    assert!(texts(&stage, &alerts, &mut told).await.is_empty());
    for processed in [1_000, 1_100, 1_050, 950, 1_000, 0] {
        stage.ended_run(stage.task, rows(processed, None)).await;
    }
    assert_eq!(texts(&stage, &alerts, &mut told).await.len(), 1);
    stage.good_run().await;
    assert!(texts(&stage, &alerts, &mut told).await.is_empty(), "it is not known how many rows it processed");
    stage.ended_run(stage.task, rows(1_020, None)).await;
    assert!(texts(&stage, &alerts, &mut told).await[0].starts_with("recovered: "));
}

/// Runs without an end, such as those that did not begin, counted as ended when the archive learned of them: a first
/// collection sent alerts about all of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_an_end_ended_when_it_was_triggered_unless_it_was_seen_running() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let alerts = Alerts::new(&stage.store, vec![lasting(vec![webhook_to(&url)])], None);
    let started = |at: Timestamp| StartRun {
        trigger_timestamp: Some(at),
        start_timestamp: Some(at),
        ..StartRun::of_task(stage.task)
    };
    let ended =
        |at: Timestamp, status: RunStatus| FinishRun { finish_timestamp: Some(at), ..FinishRun::with_status(status) };
    let begun = stage.clock.now();
    let seen = stage.dispatched_run(&started(begun)).await;
    listed_as(&stage, seen, UpstreamRunState::Running).await;
    stage.pass(MINUTE_MS);
    let (now, until) = (stage.clock.now(), stage.clock.now().plus_millis(MINUTE_MS));
    let claimed = stage.store.collection().claim_running_run("cloud", until, now).await.unwrap().unwrap();
    stage.store.collection().release_checked("cloud", &claimed).await.unwrap();
    assert!(texts(&stage, &alerts, &mut told).await.is_empty());

    let past = stage.clock.now().plus_millis(-5 * 24 * 60 * MINUTE_MS);
    let run = stage.dispatched_run(&started(past)).await;
    stage.store.runs().finish(run, &ended(past, RunStatus::DeployFailed)).await.unwrap();
    assert!(texts(&stage, &alerts, &mut told).await.is_empty(), "it is of the past");
    stage.store.runs().finish(seen, &ended(begun, RunStatus::Failed)).await.unwrap();
    assert_eq!(texts(&stage, &alerts, &mut told).await, ["run_failed: nightly ended with execution_failed"]);
}

/// The alert did not contain the reason, and an engine that was offline did not count as unavailable.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_not_started_by_its_engine_is_reported_with_the_reason() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let when = vec![Condition::RunFailed, Condition::EngineUnavailable];
    let alerts = Alerts::new(&stage.store, vec![AlertRule { when, ..lasting(vec![webhook_to(&url)]) }], None);
    assert!(texts(&stage, &alerts, &mut told).await.is_empty());
    let start = |status: Option<RunStatus>| StartRun {
        status,
        trigger_timestamp: Some(stage.clock.now()),
        runtime: Some(serde_json::from_value(json!({ "type": "REMOTE_ENGINE", "engineId": "e-1" })).unwrap()),
        ..StartRun::of_task(stage.task)
    };
    for _ in 0..2 {
        let run = stage.dispatched_run(&start(Some(RunStatus::Dispatching))).await;
        let misfired = FinishRun {
            misfired_execution_reason: Some("REMOTE_ENGINE_UNAVAILABLE".to_owned()),
            ..FinishRun::with_status(RunStatus::DeployFailed)
        };
        stage.store.runs().finish(run, &misfired).await.unwrap();
        stage.pass(MINUTE_MS);
    }
    while stage.store.maintenance().seal().await.unwrap().runs > 0 {}
    runlog_analysis::summarize_all(stage.store.summaries(), stage.store.logs()).await.unwrap();
    let mut said = texts(&stage, &alerts, &mut told).await;
    said.sort_unstable();
    let failed = "run_failed: nightly ended with deploy_failed: REMOTE_ENGINE_UNAVAILABLE";
    let no_engine = "engine_unavailable: nightly did not start on engine e-1: REMOTE_ENGINE_UNAVAILABLE";
    assert_eq!(said, [no_engine, failed, failed]);
    assert!(texts(&stage, &alerts, &mut told).await.is_empty());
    stage.dispatched_run(&start(None)).await;
    let said = texts(&stage, &alerts, &mut told).await;
    assert!(said.len() == 1 && said[0].starts_with("recovered: resolved by run "), "{said:?}");
    assert!(texts(&stage, &alerts, &mut told).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_status_says_that_it_rejected_rows_rejected_some() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let when = vec![Condition::RejectedRows];
    let alerts = Alerts::new(&stage.store, vec![AlertRule { when, ..lasting(vec![webhook_to(&url)]) }], None);
    assert!(texts(&stage, &alerts, &mut told).await.is_empty());
    stage.ended_run(stage.task, FinishRun::with_status(RunStatus::Rejected)).await;
    assert_eq!(
        texts(&stage, &alerts, &mut told).await,
        ["rejected_rows: nightly rejected rows; how many is not known"]
    );
    stage.ended_run(stage.task, FinishRun::with_status(RunStatus::Rejected)).await;
    assert_eq!(texts(&stage, &alerts, &mut told).await.len(), 1, "it goes on");
    stage.good_run().await;
    assert!(texts(&stage, &alerts, &mut told).await[0].starts_with("recovered: "));
}

/// Numbers of rows that are only in the component metrics of a run were not compared.
#[tokio::test(flavor = "multi_thread")]
async fn rows_are_those_of_components_if_the_run_names_none() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let when = vec![Condition::RowsUnusual];
    let alerts = Alerts::new(&stage.store, vec![AlertRule { when, ..lasting(vec![webhook_to(&url)]) }], None);
    assert!(texts(&stage, &alerts, &mut told).await.is_empty());
    let run_of = async |written: u64| {
        let run = stage.good_run().await;
        let flow = |from: &str, to: &str, rows: u64| {
            json!({ "pid": "p", "connector_type": "t", "connector_id": from, "target_id": to,
                "component_start_time_seconds": 1_795_434_850, "component_connection_rows_total": rows })
        };
        let items = [flow("tDBInput_1", "tMap_1", 48_112), flow("tMap_1", "tDBOutput_2", written)];
        let components = json!({ "run": {}, "processes": [], "items": items, "total": 2 });
        stage.store.components().replace(run, &serde_json::from_value(components).unwrap()).await.unwrap();
    };
    for _ in 0..9 {
        run_of(48_112).await;
    }
    assert!(texts(&stage, &alerts, &mut told).await.is_empty());
    run_of(0).await;
    assert_eq!(
        texts(&stage, &alerts, &mut told).await,
        ["rows_unusual: tDBOutput_2 of nightly processed 0 rows; it usually processes 48112"]
    );
    stage.good_run().await;
    assert!(texts(&stage, &alerts, &mut told).await.is_empty(), "nothing is known of its rows");
    run_of(48_000).await;
    assert!(texts(&stage, &alerts, &mut told).await[0].starts_with("recovered: "));
}

#[tokio::test(flavor = "multi_thread")]
async fn unusual_numbers_of_records_are_reported() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let when = vec![Condition::LogUnusual];
    let alerts = Alerts::new(&stage.store, vec![AlertRule { when, ..lasting(vec![webhook_to(&url)]) }], None);
    assert!(texts(&stage, &alerts, &mut told).await.is_empty());
    let run_of = async |records: usize| {
        let run = stage.dispatched_run(&StartRun::of_task(stage.task)).await;
        stage.push(run, 0..records, &[]).await;
        stage.store.runs().finish(run, &FinishRun::with_status(RunStatus::Successful)).await.unwrap();
        stage.pass(MINUTE_MS);
    };
    for records in [40, 42, 38, 40, 41] {
        run_of(records).await;
    }
    assert!(texts(&stage, &alerts, &mut told).await.is_empty());
    run_of(3).await;
    assert_eq!(texts(&stage, &alerts, &mut told).await, ["log_unusual: nightly logged 3 records; it usually logs 40"]);
    run_of(39).await;
    assert!(texts(&stage, &alerts, &mut told).await[0].starts_with("recovered: "));
}

/// A daily task was late only after three days.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_daily_task_is_reported_after_the_grace_period() {
    let stage = Stage::new().await;
    let (url, mut told) = hook().await;
    let rule = AlertRule { when: vec![Condition::TaskLate], ..lasting(vec![webhook_to(&url)]) };
    let alerts = Alerts::new(&stage.store, vec![rule], None);
    for _ in 0..12 {
        let now = Some(stage.clock.now());
        let start = StartRun { trigger_timestamp: now, start_timestamp: now, ..StartRun::of_task(stage.task) };
        let run = stage.dispatched_run(&start).await;
        stage.store.runs().finish(run, &FinishRun::with_status(RunStatus::Successful)).await.unwrap();
        stage.pass(24 * 60 * MINUTE_MS);
    }
    stage.pass(14 * MINUTE_MS);
    assert!(texts(&stage, &alerts, &mut told).await.is_empty());
    stage.pass(2 * MINUTE_MS);
    let said = texts(&stage, &alerts, &mut told).await;
    assert!(said.len() == 1 && said[0].starts_with("task_late: nightly has not run since "), "{said:?}");
    stage.good_run().await;
    assert!(texts(&stage, &alerts, &mut told).await[0].starts_with("recovered: "));
}
