//! Plan executions land with their steps, once and completely, whatever breaks, and never hold up logs.

use runlog_model::plan_report;
use runlog_model::wire::alerts::AlertRuleBody;
use runlog_store::plans::{PlanDefinitionFilter, PlanFilter, StoredPlan};
use serde_json::{Value, json};

use super::*;

const PLAN: &str = "e7734729-cf3d-4578-939c-30381e95cd10";
const EXECUTION: &str = "7fb48c7a-5ea5-4cb9-9333-e345f28d9dd5";
/// A minute before the clock of the tests starts, and the second after it.
const STARTED: &str = "2027-01-15T07:59:00.000Z";
const FINISHED: &str = "2027-01-15T07:59:01.000Z";

fn run(id: &str, status: &str) -> Value {
    json!({"executionId": id, "jobId": TASK, "jobVersion": "1.0", "accountId": "a", "workspaceId": "b".repeat(24),
        "environmentVersion": "1.3", "executionDestination": "CLOUD", "executionType": "PLAN", "userId": "u",
        "userType": "HUMAN", "status": status, "executionStatus": status.to_uppercase(), "triggerTimestamp": STARTED,
        "planId": EXECUTION, "ofALaterVersion": {"kept": [1, null]}})
}

fn listed(status: &str, finished: Option<&str>) -> Value {
    let mut plan = json!({"executionId": EXECUTION, "planId": PLAN, "startTimestamp": STARTED, "userId": "fupton",
        "userType": "HUMAN", "executionType": "SCHEDULED", "plannedExecutableCount": 3, "doneExecutableCount": 1,
        "status": status, "executionStatus": status.to_uppercase(), "ofALaterVersion": "kept"});
    if let Some(finished) = finished {
        plan["finishTimestamp"] = Value::from(finished);
    }
    plan
}

fn step(name: &str, status: &str, finished: Option<&str>) -> Value {
    let mut step = json!({"id": format!("{name}-id"), "executionId": format!("{name}-execution")});
    if !status.is_empty() {
        step["executionStatus"] = Value::from(status);
        step["startTimestamp"] = Value::from(STARTED);
    }
    if let Some(finished) = finished {
        step["finishTimestamp"] = Value::from(finished);
    }
    step
}

/// Sets the service's data about the only plan execution: its list, its steps, and the runs of the started steps.
fn tell(script: &mut Script, plan: &Value, steps: &[Value]) {
    let path = format!("/processing/executions/plans/{EXECUTION}");
    script.plans = vec![plan.clone()];
    script.plan_parts.clear();
    let mut whole = plan.clone();
    whole["doneExecutableDetails"] = json!([run(RUN, "execution_failed")]);
    script.plan_parts.insert(path.clone(), whole);
    script.plan_parts.insert(format!("{path}/steps"), Value::from(steps));
    for step in steps.iter().filter(|step| step.get("startTimestamp").is_some()) {
        let mut details = step.clone();
        details["plannedExecutableCount"] = json!(1);
        details["doneExecutableCount"] = json!(1);
        details["doneTaskExecutableDetails"] = json!([run(RUN, "execution_failed")]);
        script.plan_parts.insert(format!("{path}/steps/{}", step["executionId"].as_str().unwrap()), details);
    }
    let chart = ["send", "sum", "load"].into_iter().fold(Value::Null, |next, name| {
        let mut step = json!({"id": format!("{name}-of-this-version"), "abstractStepId": format!("{name}-id"),
            "name": name, "status": "SUCCESS", "taskIds": [TASK]});
        if next.is_object() {
            step["nextStep"] = next;
        }
        step
    });
    let environment = json!({"id": "a".repeat(24), "name": "here", "default": true});
    let workspace =
        json!({"id": "b".repeat(24), "name": "here", "owner": "o", "type": "shared", "environment": environment});
    script.plan_parts.insert(
        format!("/orchestration/executables/plans/{PLAN}"),
        json!({"executable": PLAN, "name": "month end", "workspace": workspace, "chart": chart}),
    );
}

fn failed_plan(script: &mut Script) {
    let steps = [step("load", "EXECUTION_FAILED", Some(FINISHED)), step("sum", "", None)];
    tell(script, &listed("execution_failed", Some(FINISHED)), &steps);
    let path = format!("/processing/executions/plans/{EXECUTION}/steps/load-execution/error-handler");
    let mut handler = step("mail", "EXECUTION_SUCCESS", Some(FINISHED));
    handler["plannedExecutableCount"] = json!(1);
    handler["doneExecutableCount"] = json!(1);
    handler["donePlanExecutableDetails"] = json!([{"executionId": "nested", "planId": "other"}]);
    script.plan_parts.insert(path, handler);
}

impl Landing {
    /// A collector of everything that the service has.
    async fn of_all(change: impl FnOnce(&mut Script)) -> Self {
        let mut script = Script::of(plain_log(5)).just_ended();
        change(&mut script);
        let mut landing = Self::of(script, |settings| settings.component_metrics = false).await;
        landing.upstream.selection = Selection::default();
        landing.restart();
        landing
    }

    async fn list_lately(&self) {
        let now = self.stage.time.now();
        self.collector.discover_range(Range { from: now.plus_millis(-86_400_000), to: now }).await.unwrap();
    }

    /// Lists, waits until the listed plan executions have settled, and lands those that are due.
    async fn round_of_plans(&self) -> CollectStats {
        self.list_lately().await;
        self.stage.time.pass(60_000);
        self.land().await
    }

    async fn plan(&self) -> Option<StoredPlan> {
        self.store.plans().get(EXECUTION).await.unwrap()
    }

    /// Returns the status of the only plan execution in the archive.
    async fn status(&self) -> Option<String> {
        Some(self.plan().await?.report.status())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_plan_lands_with_its_steps_handlers_and_runs_to_the_letter() {
    let landing = Landing::of_all(failed_plan).await;
    let round = landing.round_of_plans().await;
    assert_eq!((round.landed, round.plans), (1, 1));
    let StoredPlan { report, workspace_id } = landing.plan().await.unwrap();
    assert_eq!(workspace_id.map(|id| id.to_string()), Some("b".repeat(24)));
    assert_eq!(report.execution["ofALaterVersion"], "kept");
    assert_eq!(report.execution["doneExecutableDetails"], json!([run(RUN, "execution_failed")]));
    let names: Vec<_> = report.steps.iter().map(|step| (step.name.as_deref().unwrap(), step.is_listed)).collect();
    assert_eq!(names, [("load", true), ("sum", true), ("send", false)], "the last one is only in the plan");
    let handler = report.steps[0].error_handler.as_ref().unwrap();
    assert_eq!(plan_report::plans(handler).next().unwrap()["executionId"], "nested");
    assert!(report.why_not_started(2).unwrap().starts_with("step load failed, and all of its tasks"));
    // The run is part of the plan execution, although the list of runs does not tell.
    let run = landing.store.runs().get(RUN.parse().unwrap()).await.unwrap().unwrap();
    let part = (run.plan.execution_id.as_deref(), run.plan.step_id.as_deref(), run.plan.name.as_deref());
    assert_eq!(part, (Some(EXECUTION), Some("load-id"), Some("month end")));
    let (plans, total) =
        landing.store.plans().definitions(&PlanDefinitionFilter { limit: 9, ..Default::default() }).await.unwrap();
    assert_eq!((plans[0].name.as_str(), total), ("month end", 1));
    // Nothing is requested again.
    landing.stage.forget_requests();
    landing.stage.time.pass(3_600_000);
    assert_eq!(landing.round_of_plans().await.plans, 0);
    assert_eq!(landing.stage.count(At::PlanParts), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_between_two_steps_is_running_and_followed_until_it_has_ended() {
    let going = |script: &mut Script| {
        let steps = [step("load", "EXECUTION_SUCCESS", Some(FINISHED)), step("sum", "", None)];
        tell(script, &listed("executing", None), &steps);
    };
    let landing = Landing::of_all(going).await;
    assert_eq!(landing.round_of_plans().await.landed, 1);
    assert_eq!(landing.status().await.as_deref(), Some("executing"), "its only run has ended");
    let filter = PlanFilter { limit: 9, ..PlanFilter::default() };
    let (listed_there, total) = landing.store.runs().plan_executions(&filter).await.unwrap();
    assert_eq!((listed_there.len(), total), (1, 1), "it is not listed a second time as derived from its run");
    // The list does not change, and its steps do.
    landing.stage.change(|script| {
        let steps = [step("load", "EXECUTION_SUCCESS", Some(FINISHED)), step("sum", "STARTED", None)];
        tell(script, &listed("executing", None), &steps);
    });
    landing.stage.forget_requests();
    landing.stage.time.pass(60_000);
    landing.land().await;
    let report = landing.plan().await.unwrap().report;
    assert_eq!(plan_report::step_outcome(&report.steps[1].step).as_str(), "running");
    assert!(!landing.stage.seen(At::PlanParts).iter().any(|path| path.ends_with("load-execution")), "it had ended");
    landing.stage.change(|script| {
        let ended = Some("2027-01-15T08:09:00.000Z");
        let steps = [step("load", "EXECUTION_SUCCESS", Some(FINISHED)), step("sum", "EXECUTION_SUCCESS", ended)];
        tell(script, &listed("execution_successful", ended), &steps);
    });
    assert_eq!(landing.round_of_plans().await.plans, 1);
    assert_eq!(landing.status().await.as_deref(), Some("execution_successful"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_fails_throttles_or_answers_oddly_is_asked_again() {
    let bad = |status: u16, body: &str| Fault::Answer(status, vec![], body.to_owned());
    for at in 1..=5 {
        for fault in [bad(500, ""), bad(429, ""), bad(200, "<html>"), bad(200, "[7]"), bad(503, "{}")] {
            let landing = Landing::of_all(failed_plan).await;
            landing.stage.change(|script| script.faults = vec![(At::PlanParts, at, fault.clone())]);
            assert_eq!(landing.round_of_plans().await.landed, 1, "the log does not wait");
            for _ in 0..3 {
                landing.stage.time.pass(900_000);
                landing.land().await;
            }
            let report = landing.plan().await.unwrap_or_else(|| panic!("{at} {fault:?}")).report;
            assert_eq!(report.steps.len(), 3, "{at} {fault:?}");
            assert!(report.steps[0].error_handler.is_some(), "{at} {fault:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_killed_begins_the_plan_again() {
    let mut landing = Landing::of_all(failed_plan).await;
    landing.list_lately().await;
    landing.stage.time.pass(60_000);
    // The collector was killed while it held the plan, so its lease is not released.
    let until = landing.stage.time.now().plus_millis(120_000);
    landing.store.collection().claim_plan("service", until).await.unwrap().unwrap();
    landing.restart();
    assert_eq!((landing.land().await.plans, landing.status().await), (0, None));
    landing.stage.time.pass(120_001);
    assert_eq!(landing.land().await.plans, 1);
    assert_eq!(landing.status().await.as_deref(), Some("execution_failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_that_may_not_be_listed_are_reported_and_do_not_hold_up_logs() {
    let landing = Landing::of_all(failed_plan).await;
    let refused = Fault::Answer(403, vec![], json!({"status": 403, "message": "Forbidden"}).to_string());
    landing.stage.change(|script| script.faults = vec![(At::Plans, 0, refused)]);
    assert_eq!(landing.round_of_plans().await.landed, 1);
    let problem = landing.store.collection().plan_metrics("service").await.unwrap().problem.unwrap();
    assert!(problem.contains("cannot be listed") && problem.contains("Forbidden"), "{problem}");
    assert_eq!(landing.stage.count(At::Plans), 1);
    landing.list_lately().await;
    assert_eq!(landing.stage.count(At::Plans), 1, "not in every round");
    // What was missed is listed when the right is there.
    landing.stage.change(|script| script.faults.clear());
    landing.stage.time.pass(900_000);
    assert_eq!(landing.round_of_plans().await.plans, 1);
    assert_eq!(landing.store.collection().plan_metrics("service").await.unwrap().problem, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_plans_land_as_far_as_they_can_be_read() {
    let odd = |script: &mut Script| {
        let mut plan = listed("pondering", None);
        plan["startTimestamp"] = json!(1_799_999_940_000_i64);
        plan["userType"] = Value::Null;
        tell(script, &plan, &[]);
        script.plan_parts.remove(&format!("/orchestration/executables/plans/{PLAN}"));
        let missing = json!({"executionId": "gone", "planId": PLAN, "startTimestamp": STARTED,
            "executionStatus": "EXECUTION_MISFIRED", "misfiredExecutionReason": "PLAN_EXECUTIONS_PAUSED"});
        script.plans.push(missing);
        script.plans.push(json!({"startTimestamp": STARTED}));
    };
    let landing = Landing::of_all(odd).await;
    landing.round_of_plans().await;
    assert_eq!(landing.status().await.as_deref(), Some("pondering"));
    let StoredPlan { report, workspace_id } = landing.plan().await.unwrap();
    assert_eq!(report.execution["startTimestamp"], "2027-01-15T07:59:00.000Z");
    assert_eq!(report.execution["userType"], "HUMAN");
    assert!(workspace_id.is_some(), "of its run");
    let gone = landing.store.plans().get("gone").await.unwrap().unwrap();
    assert_eq!((gone.report.status().as_str(), gone.workspace_id), ("execution_misfired", None));
    let metrics = landing.store.collection().plan_metrics("service").await.unwrap();
    assert_eq!((metrics.known, metrics.running), (2, 1), "an unknown status is followed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_whose_details_are_gone_has_ended_if_the_list_says_so() {
    let running = |script: &mut Script| tell(script, &listed("executing", None), &[step("load", "STARTED", None)]);
    let landing = Landing::of_all(running).await;
    landing.round_of_plans().await;
    assert_eq!(landing.status().await.as_deref(), Some("executing"));
    landing.stage.change(|script| {
        script.plans = vec![listed("execution_failed", Some("2027-01-15T08:00:30.000Z"))];
        script.plan_parts.clear();
    });
    landing.stage.time.pass(60_000);
    landing.round_of_plans().await;
    assert_eq!(landing.status().await.as_deref(), Some("execution_failed"));
    let report = landing.plan().await.unwrap().report;
    assert_eq!(report.execution["finishTimestamp"], "2027-01-15T08:00:30.000Z");
    assert_eq!(report.steps[0].step["executionStatus"], "STARTED", "what was known of its steps stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_longer_than_the_vendor_gives_is_divided() {
    let many = |script: &mut Script| {
        script.plans = (0..1_500_i64)
            .map(|number| {
                let started = Timestamp::clamped(1_799_999_000_000 - number * 40_000).to_string();
                json!({"executionId": format!("plan-{number}"), "planId": PLAN, "startTimestamp": started,
                    "finishTimestamp": started, "executionStatus": "EXECUTION_SUCCESS"})
            })
            .collect();
    };
    let landing = Landing::of_all(many).await;
    landing.list_lately().await;
    assert_eq!(landing.store.collection().plan_metrics("service").await.unwrap().known, 1_500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selection_of_tasks_or_a_setting_excludes_plans() {
    let mut landing = Landing::of_all(failed_plan).await;
    landing.upstream.settings.plan_executions = false;
    landing.restart();
    landing.round_of_plans().await;
    landing.upstream.settings.plan_executions = true;
    landing.upstream.selection.tasks = vec![TASK.parse().unwrap()];
    landing.restart();
    landing.round_of_plans().await;
    assert_eq!((landing.stage.count(At::Plans), landing.plan().await), (0, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_failed_and_one_that_did_not_start_are_alerted_once() {
    let landing = Landing::of_all(|_| ()).await;
    let http = HttpClientBuilder::new(&TlsSettings::default());
    let webhook = Webhook::new("http://127.0.0.1:9/".parse().unwrap(), None, http).unwrap();
    let rule = |name: &str, when: Vec<Condition>, task_names: &[&str]| AlertRule {
        task_names: task_names.iter().map(|name| (*name).to_owned()).collect(),
        recovery: false,
        to: vec![Destination::Webhook(webhook.clone())],
        ..AlertRule::new(name, when)
    };
    let rules = vec![
        rule("both", vec![Condition::PlanFailed, Condition::PlanNotRun], &["month *"]),
        rule("others", vec![Condition::PlanFailed], &["nightly"]),
    ];
    let alerts = Alerts::new(&landing.store, rules, None);
    let new = async || alerts.find(SearchScope::Thorough, landing.stage.time.now()).await.unwrap();
    assert_eq!(new().await, 0);
    landing.stage.change(|script| {
        let ended = Some("2027-01-15T08:00:30.000Z");
        tell(script, &listed("execution_failed", ended), &[step("load", "EXECUTION_FAILED", ended)]);
        let mut misfired = listed("execution_misfired", ended);
        misfired["executionId"] = json!("misfired");
        misfired["misfiredExecutionReason"] = json!("PLAN_EXECUTIONS_PAUSED");
        script.plans.push(misfired);
    });
    landing.stage.time.pass(60_000);
    landing.round_of_plans().await;
    assert_eq!((new().await, new().await), (2, 0));
    let filter = runlog_store::alerts::AlertFilter { rule: None, state: None, limit: 9, offset: 0 };
    let (history, _) = landing.store.alerts().history(&filter).await.unwrap();
    let mut reported: Vec<_> = history.iter().map(|alert| (alert.rule.as_str(), alert.text.as_str())).collect();
    reported.sort_unstable();
    let not_started = "plan month end did not start: PLAN_EXECUTIONS_PAUSED";
    assert_eq!(reported, [("both", not_started), ("both", "plan month end failed at step load")]);
}

/// Alerts about plans had no end: they stayed open in PagerDuty, one for each failed execution.
#[tokio::test(flavor = "multi_thread")]
async fn alerts_about_a_plan_end_once_it_starts_and_is_successful() {
    let landing = Landing::of_all(|_| ()).await;
    let http = HttpClientBuilder::new(&TlsSettings::default());
    let webhook = Webhook::new("http://127.0.0.1:9/".parse().unwrap(), None, http).unwrap();
    let when = vec![Condition::PlanFailed, Condition::PlanNotRun];
    let rule = AlertRule { to: vec![Destination::Webhook(webhook)], ..AlertRule::new("plans", when) };
    let alerts = Alerts::new(&landing.store, vec![rule], None);
    let new = async || alerts.find(SearchScope::Thorough, landing.stage.time.now()).await.unwrap();
    let execution = |id: &str, status: &str, minute: u32| {
        let mut plan = listed(status, Some(&format!("2027-01-15T08:{minute:02}:30.000Z")));
        plan["executionId"] = json!(id);
        plan["startTimestamp"] = json!(format!("2027-01-15T08:{minute:02}:00.000Z"));
        plan
    };
    assert_eq!(new().await, 0);
    landing.stage.change(|script| {
        script.plans.push(execution("one", "execution_failed", 1));
        script.plans.push(execution("two", "execution_failed", 2));
        script.plans.push(execution("three", "execution_misfired", 3));
    });
    landing.stage.time.pass(600_000);
    landing.round_of_plans().await;
    assert_eq!((new().await, new().await), (3, 0));
    let open = |rules: Vec<AlertRuleBody>| rules[0].open.iter().map(|open| open.what.clone()).collect::<Vec<_>>();
    let mut reported = open(landing.store.alerts().rules().await.unwrap());
    reported.sort_unstable();
    assert_eq!(reported, ["plan_failed", "plan_not_run"], "both failures are about the same");
    landing.stage.change(|script| script.plans.push(execution("four", "execution_successful", 8)));
    landing.round_of_plans().await;
    assert_eq!((new().await, new().await), (2, 0));
    assert!(open(landing.store.alerts().rules().await.unwrap()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_about_a_plan_is_held_by_windows_for_its_workspace_and_its_name() {
    for (workspaces, task_names, tasks, is_held) in [
        (vec!["here"], vec![], vec![], true),
        (vec!["here"], vec!["month*"], vec![], true),
        (vec!["elsewhere"], vec![], vec![], false),
        (vec![], vec!["night*"], vec![], false),
        (vec!["here"], vec![], vec![TASK.parse().unwrap()], false),
    ] {
        let landing = Landing::of_all(|_| ()).await;
        let http = HttpClientBuilder::new(&TlsSettings::default());
        let webhook = Webhook::new("http://127.0.0.1:9/".parse().unwrap(), None, http).unwrap();
        let rule = AlertRule {
            recovery: false,
            to: vec![Destination::Webhook(webhook.clone())],
            ..AlertRule::new("plans", vec![Condition::PlanFailed])
        };
        let end = landing.stage.time.now().plus_millis(3_600_000);
        let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let window = Maintenance {
            name: "move".to_owned(),
            environments: Vec::new(),
            workspaces: texts(&workspaces),
            tasks: tasks.clone(),
            task_names: texts(&task_names),
            end: Arc::new(move |_| Some(end)),
        };
        let alerts = Alerts::new(&landing.store, vec![rule], None).with_maintenance(vec![window]);
        assert_eq!(alerts.find(SearchScope::Thorough, landing.stage.time.now()).await.unwrap(), 0);
        landing.stage.change(|script| {
            let ended = Some("2027-01-15T08:00:30.000Z");
            tell(script, &listed("execution_failed", ended), &[step("load", "EXECUTION_FAILED", ended)]);
        });
        landing.stage.time.pass(60_000);
        landing.round_of_plans().await;
        assert_eq!(alerts.find(SearchScope::Thorough, landing.stage.time.now()).await.unwrap(), 1);
        let filter = runlog_store::alerts::AlertFilter { limit: 9, ..Default::default() };
        let (history, _) = landing.store.alerts().history(&filter).await.unwrap();
        assert_eq!(history[0].next_attempt == Some(end), is_held, "{workspaces:?} {task_names:?} {tasks:?}");
    }
}
