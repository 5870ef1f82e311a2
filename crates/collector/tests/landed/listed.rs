//! Runs are found and tasks keep their names despite faults of a list, a run or a task.

use axum::http::StatusCode;
use runlog_client::ErrorKind;
use runlog_collector::{CollectError, CollectStats, Selection};
use runlog_model::Clock;
use runlog_model::workspaces::Task;

use super::{HAS_ENDED, Landing, OTHER_RUN, RUNNING, run_list};
use crate::support::{At, Fault, RUN, Script, TASK, plain_log, status_fault};

/// A task of which the service has no runs.
const OTHER_TASK: &str = "57f64991e4b0b689a64feed1";
/// A third run of the task that has some.
const THIRD_RUN: &str = "6c0e5a34-0000-4000-8000-000000000003";

fn no_tasks() -> Fault {
    Fault::Answer(200, vec![], r#"{"items":[],"limit":100,"offset":0,"total":0}"#.to_owned())
}

fn refused() -> Fault {
    status_fault(StatusCode::FORBIDDEN, &[])
}

fn unknown() -> Fault {
    status_fault(StatusCode::NOT_FOUND, &[])
}

fn both_tasks() -> Selection {
    Selection { tasks: vec![TASK.parse().unwrap(), OTHER_TASK.parse().unwrap()], ..Selection::default() }
}

#[track_caller]
fn kind(error: CollectError) -> ErrorKind {
    match error {
        CollectError::Upstream(error) => error.kind(),
        other => panic!("{other}"),
    }
}

impl Landing {
    /// Changes the selection in the settings, and restarts the collector.
    fn choose(&mut self, selection: Selection) {
        self.upstream.selection = selection;
        self.restart();
    }

    /// Returns the task from the archive.
    async fn task(&self) -> Task {
        self.store.workspaces().task(TASK.parse().unwrap()).await.unwrap().unwrap()
    }
}

/// A task that was deleted at the upstream got its id as its name and another workspace with its next run; whoever had
/// rights in its own lost them.
#[tokio::test]
async fn a_task_that_the_upstream_does_not_show_any_more_stays_what_it_was() {
    for answer in [no_tasks(), refused(), status_fault(StatusCode::INTERNAL_SERVER_ERROR, &[])] {
        let mut landing = Landing::of(Script::of(plain_log(3)), |_| ()).await;
        assert_eq!(landing.round().await.landed, 1);
        let before = landing.task().await;
        assert_eq!((before.name.as_str(), before.workspace.name.as_str()), ("nightly", "here"));
        // The restart clears the cached task.
        landing.restart();
        landing.stage.change(|script| {
            script.faults = vec![(At::List, 0, run_list(&[(OTHER_RUN, HAS_ENDED)])), (At::Tasks, 0, answer)];
        });
        assert_eq!(landing.round().await.landed, 1);
        assert_eq!(landing.task().await, before);
    }
}

/// Runs of a service whose clock was hours ahead were found hours after they had ended.
#[tokio::test]
async fn runs_are_listed_up_to_now_by_the_clock_of_the_service() {
    for clock_behind_ms in [-10_800_000, 0, 10_800_000] {
        let mut landing = Landing::of(Script { clock_behind_ms, ..Script::of(plain_log(3)) }, |_| ()).await;
        landing.choose(Selection::default());
        // The collector determines the clock of the service from its responses.
        landing.collector.discover().await.unwrap();
        landing.stage.forget_requests();
        landing.stage.time.pass(300_000);
        landing.collector.discover().await.unwrap();
        let periods = landing.stage.seen(At::List);
        let bounds = periods.iter().flat_map(|period| period.split(' ')).map(|bound| bound.parse::<i64>().unwrap());
        let (first, last) = (bounds.clone().min().unwrap(), bounds.max().unwrap());
        let now = landing.stage.time.now().as_millis() - clock_behind_ms;
        assert_eq!(last, now, "{clock_behind_ms}");
        assert!(first <= now - 300_000 - 86_400_000, "{clock_behind_ms}: {periods:?}");
        assert!(first >= now - 300_000 - 86_400_000 - 10_800_000, "{clock_behind_ms}: {periods:?}");
    }
}

#[tokio::test]
async fn a_task_that_was_looked_for_in_vain_is_looked_for_again_after_a_while() {
    let landing = Landing::of(Script::of(plain_log(3)), |settings| settings.parallel = 1).await;
    let runs = run_list(&[(RUN, HAS_ENDED), (OTHER_RUN, HAS_ENDED)]);
    landing.stage.change(|script| script.faults = vec![(At::List, 0, runs), (At::Tasks, 0, no_tasks())]);
    assert_eq!(landing.round().await.landed, 2);
    assert_eq!(landing.stage.count(At::Tasks), 1, "not once for each run");
    assert_eq!(landing.task().await.name, TASK, "its id is all that is known of it");

    landing.stage.change(|script| script.faults = vec![(At::List, 0, run_list(&[(THIRD_RUN, HAS_ENDED)]))]);
    landing.stage.time.pass(600_000);
    assert_eq!(landing.round().await.landed, 1);
    assert_eq!(landing.stage.count(At::Tasks), 2);
    assert_eq!(landing.task().await.name, "nightly");
}

/// The right to view a run was revoked while the run was in progress. Each round requested this run first, and ended
/// there: no other run was requested, and each round listed from the same time on.
#[tokio::test]
async fn a_run_that_may_not_be_seen_any_more_does_not_hold_up_the_others() {
    let going = run_list(&[(RUN, RUNNING), (OTHER_RUN, RUNNING)]);
    let landing = Landing::of(Script::of(plain_log(3)).with(At::List, 0, going), |_| ()).await;
    assert_eq!(landing.round().await, CollectStats::default());
    landing.stage.time.pass(60_000);
    let now = landing.stage.time.now();
    landing.stage.change(|script| script.faults = vec![(At::List, 0, run_list(&[])), (At::Execution, 1, refused())]);
    assert_eq!(kind(landing.try_list().await.unwrap_err()), ErrorKind::Forbidden, "it is told in the end");

    let asked = landing.stage.seen(At::Execution);
    assert!(asked.len() == 2 && asked[0] != asked[1], "{asked:?}");
    assert_eq!(landing.land().await.landed, 1);
    assert!(landing.store.collection().listed_until("service").await.unwrap() >= Some(now), "every list was read");
    assert!(
        landing.store.collection().runs_to_poll("service", now, 9).await.unwrap().is_empty(),
        "others go first now"
    );

    landing.stage.time.pass(60_000);
    assert_eq!(landing.round().await.landed, 1, "it may be seen again");
}

#[tokio::test]
async fn a_list_that_may_not_be_read_does_not_hold_up_the_others() {
    let mut landing = Landing::of(Script::of(plain_log(3)).with(At::OtherList, 0, refused()), |_| ()).await;
    landing.choose(both_tasks());
    assert_eq!(kind(landing.try_list().await.unwrap_err()), ErrorKind::Forbidden);
    assert_eq!(
        landing.store.collection().listed_until("service").await.unwrap(),
        None,
        "the next round begins there again"
    );
    assert_eq!(landing.land().await.landed, 1);

    landing.stage.change(|script| script.faults.clear());
    landing.list().await;
    assert!(landing.store.collection().listed_until("service").await.unwrap().is_some());
}

#[tokio::test]
async fn a_task_that_was_deleted_has_an_empty_list() {
    let mut landing = Landing::of(Script::of(plain_log(3)).with(At::OtherList, 0, unknown()), |_| ()).await;
    landing.choose(both_tasks());
    assert_eq!(landing.round().await.landed, 1);
    assert!(landing.store.collection().listed_until("service").await.unwrap().is_some());
}

#[tokio::test]
async fn a_task_that_was_chosen_by_its_name_and_deleted_is_not_listed_any_more_and_its_last_run_lands() {
    let going = run_list(&[(RUN, RUNNING)]);
    let mut landing = Landing::of(Script::of(plain_log(3)).with(At::List, 0, going), |_| ()).await;
    landing.choose(Selection { task_names: vec!["night*".to_owned()], ..Selection::default() });
    assert_eq!(landing.round().await, CollectStats::default());

    landing.stage.change(|script| script.faults = vec![(At::List, 0, unknown()), (At::Tasks, 0, no_tasks())]);
    landing.stage.forget_requests();
    landing.stage.time.pass(60_000);
    assert_eq!(landing.round().await.landed, 1);
    assert_eq!(landing.task().await.name, "nightly");
    landing.stage.time.pass(60_000);
    landing.list().await;
    assert_eq!(landing.stage.count(At::List), 1);
}

#[tokio::test]
async fn a_run_whose_task_is_not_chosen_any_more_lets_the_others_go_first() {
    let going = run_list(&[(RUN, RUNNING)]);
    let mut landing = Landing::of(Script::of(plain_log(3)).with(At::List, 0, going), |_| ()).await;
    landing.list().await;
    landing.choose(Selection { tasks: vec![OTHER_TASK.parse().unwrap()], ..Selection::default() });
    landing.stage.time.pass(60_000);
    let now = landing.stage.time.now();
    landing.list().await;
    assert_eq!(landing.stage.count(At::Execution), 1);
    assert!(landing.store.collection().runs_to_poll("service", now, 9).await.unwrap().is_empty());
    assert_eq!(landing.store.collection().metrics("service").await.unwrap().running, 1);
}

#[tokio::test]
async fn a_service_that_is_away_is_not_asked_after_one_run_after_another() {
    let going = run_list(&[(RUN, RUNNING), (OTHER_RUN, RUNNING)]);
    let landing = Landing::of(Script::of(plain_log(3)).with(At::List, 0, going), |_| ()).await;
    landing.list().await;
    landing.stage.change(|script| {
        let away = status_fault(StatusCode::SERVICE_UNAVAILABLE, &[]);
        script.faults = vec![(At::List, 0, run_list(&[])), (At::Execution, 0, away)];
    });
    let mut asked = Vec::new();
    for _ in 0..2 {
        landing.stage.time.pass(60_000);
        landing.stage.forget_requests();
        assert_eq!(kind(landing.try_list().await.unwrap_err()), ErrorKind::Unavailable);
        let mut runs = landing.stage.seen(At::Execution);
        runs.dedup();
        asked.extend(runs);
    }
    // A run whose request always fails does not stay the first.
    asked.sort();
    assert_eq!(asked, [RUN, OTHER_RUN]);
}

/// The tags and the description of a task are not in the list of tasks, and the archive did not have them.
#[tokio::test]
async fn details_of_single_tasks_are_archived() {
    let task = |version: &str, tags: &[&str]| {
        Some(
            serde_json::json!({"id": TASK, "name": "nightly", "version": version, "description": "loads", "tags": tags}),
        )
    };
    let script = Script { task: task("5.2", &["critical", "a b"]), ..Script::of(plain_log(3)) };
    let landing = Landing::of(script.with(At::List, 0, run_list(&[(RUN, HAS_ENDED)])), |_| ()).await;
    assert_eq!(landing.round().await.landed, 1);
    let known = landing.task().await;
    assert_eq!((known.version.as_str(), known.description.as_deref()), ("5.2", Some("loads")));
    assert_eq!(known.tags, ["critical", "a b"]);

    landing.stage.change(|script| {
        script.task = task("5.3", &["critical"]);
        script.faults = vec![(At::List, 0, run_list(&[(OTHER_RUN, HAS_ENDED)]))];
    });
    landing.stage.time.pass(60_000);
    assert_eq!(landing.round().await.landed, 1);
    assert_eq!(landing.stage.count(At::Task), 1, "it is requested once an hour");
    landing.stage.change(|script| script.faults = vec![(At::List, 0, run_list(&[(THIRD_RUN, HAS_ENDED)]))]);
    landing.stage.time.pass(3_600_000);
    assert_eq!(landing.round().await.landed, 1);
    let known = landing.task().await;
    assert_eq!((known.version.as_str(), known.tags.as_slice()), ("5.3", &["critical".to_owned()][..]));

    // Fields that the service no longer returns are kept.
    let fourth = "6c0e5a34-0000-4000-8000-000000000004";
    landing.stage.change(|script| {
        script.task = None;
        script.faults = vec![(At::List, 0, run_list(&[(fourth, HAS_ENDED)]))];
    });
    landing.stage.time.pass(3_600_000);
    assert_eq!(landing.round().await.landed, 1);
    assert_eq!(landing.task().await, known);
}
