//! One odd thing among many: a run that cannot be read, a list that repeats itself, a selection that was changed, an
//! invalid record.

use runlog_client::ErrorKind;
use runlog_collector::{CollectError, CollectStats};
use runlog_model::RunStatus;
use serde_json::{Value, json};

use super::{HAS_ENDED, Landing, OTHER_RUN, RUNNING, run_list};
use crate::support::{At, Fault, RUN, Script, TASK, plain_log};

fn list(items: Vec<Value>, total: Option<usize>) -> Fault {
    Fault::Answer(200, vec![], json!({"items": items, "total": total}).to_string())
}

fn item(run: &str) -> Value {
    let triggered = "2023-11-14T22:13:20Z";
    json!({"executionId": run, "taskId": TASK, "status": HAS_ENDED, "triggerTimestamp": triggered})
}

/// Its list was taken for one that moves, and was read anew for ever: `listed_until` stood still.
#[tokio::test]
async fn odd_runs_of_a_list_are_counted_and_hide_no_other() {
    let nameless = json!({"taskId": TASK, "status": HAS_ENDED});
    let no_date = json!({"executionId": OTHER_RUN, "taskId": TASK, "status": HAS_ENDED, "finishTimestamp": "soon",
                         "triggerTimestamp": {"a": 1}});
    let far = "6c0e5a34-0000-4000-8000-000000000003";
    let far_future = json!({"executionId": far, "taskId": TASK, "status": HAS_ENDED,
                            "finishTimestamp": "9999-01-01T00:00:00Z"});
    let pondering =
        json!({"executionId": "6c0e5a34-0000-4000-8000-000000000004", "taskId": TASK, "status": "pondering"});
    let items =
        vec![nameless.clone(), nameless, json!(7), json!("x"), item("42"), no_date, far_future, pondering, item(RUN)];
    let total = Some(items.len());
    let landing = Landing::of(Script::of(plain_log(5)).with(At::List, 0, list(items, total)), |_| ()).await;
    let found = landing.list().await;
    // Each window lists all of them.
    assert_eq!((found.listed, found.new), (4 * found.requests, 4), "each list is read once");
    assert!(found.unreadable >= 2, "{found:?}");
    assert!(landing.store.collection().listed_until("service").await.unwrap().is_some(), "the round came to its end");
    landing.stage.time.pass(60_000);
    assert_eq!(landing.land().await.landed, 3, "what ends in the far future has ended all the same");
}

/// A run whose task cannot be read was tried for ever.
#[tokio::test]
async fn a_run_whose_task_cannot_be_read_is_counted_and_hides_no_other() {
    let other = |number: usize, task: Value| {
        let run = format!("6c0e5a34-0000-4000-8000-{number:012}");
        json!({"executionId": run, "taskId": task, "status": HAS_ENDED})
    };
    let nowhere = json!({"executionId": OTHER_RUN, "status": HAS_ENDED});
    let items = vec![other(7, json!("abc")), other(8, json!(7)), nowhere, item(RUN)];
    let total = Some(items.len());
    let mut landing = Landing::of(Script::of(plain_log(5)).with(At::List, 0, list(items, total)), |_| ()).await;
    landing.upstream.selection.tasks = Vec::new();
    landing.restart();
    let found = landing.list().await;
    assert_eq!((found.new, found.unreadable), (1, 3));
    assert_eq!(landing.land().await, CollectStats { landed: 1, records: 5, ..CollectStats::default() });
}

/// Its log was not even requested, and the run was tried for ever.
#[tokio::test]
async fn a_run_that_ended_with_a_word_of_its_own_lands_with_it() {
    let ended = |word: &str| {
        let mut run = item(RUN);
        run["status"] = word.to_lowercase().into();
        run["executionStatus"] = word.into();
        run
    };
    let with = |mut run: Value, name: &str, value: &str| {
        run[name] = value.into();
        run
    };
    let finish = "2023-11-14T22:13:21Z";
    let misfired = ended("EXECUTION_MISFIRED");
    let cases = [
        (with(ended("EXECUTION_VANISHED"), "finishTimestamp", finish), RunStatus::Failed, "EXECUTION_VANISHED"),
        (misfired.clone(), RunStatus::DeployFailed, "EXECUTION_MISFIRED"),
        (with(misfired, "misfiredExecutionReason", "TASK_IS_PAUSED"), RunStatus::DeployFailed, "EXECUTION_MISFIRED"),
    ];
    for (run, status, word) in cases {
        let script = Script::of(plain_log(5)).with(At::List, 0, list(vec![run.clone()], Some(1)));
        let mut landing =
            Landing::of(script.with(At::Execution, 0, Fault::Answer(200, vec![], run.to_string())), |_| ()).await;
        // A filter uses the archive's names of statuses.
        landing.upstream.selection.statuses = vec![status];
        landing.restart();
        assert_eq!(landing.round().await, CollectStats { landed: 1, records: 5, ..CollectStats::default() }, "{run}");
        assert_eq!(landing.archived().await, (plain_log(5), Some(status)));
        let archived = landing.store.runs().get(RUN.parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(archived.error_type.as_deref(), Some(word));
        assert!(archived.error_message.unwrap().contains(word));
        assert_eq!(archived.misfired_reason.as_deref(), run["misfiredExecutionReason"].as_str());
    }
}

/// A list without `total` whose pages are shorter than requested was taken for its first page, without a word.
#[tokio::test]
async fn a_list_of_short_pages_without_a_total_is_read_to_its_end() {
    for (runs, page_runs) in [(120, 50), (50, 50), (1, 50), (100, 100), (0, 50), (7, 2)] {
        let runs: Vec<Value> = (0..runs).map(|number| item(&format!("6c0e5a34-0000-4000-8000-{number:012}"))).collect();
        let script = Script { short_list: Some((runs.clone(), page_runs)), ..Script::of(plain_log(5)) };
        let landing = Landing::of(script, |_| ()).await;
        assert_eq!(landing.list().await.new, runs.len() as u64);
    }
}

/// A total that was too high by one kept every run from being collected.
#[tokio::test]
async fn a_list_is_read_to_its_end_whatever_its_total_is() {
    for (runs, total) in
        [(1, 2), (5, 6), (7, 5_000), (99, 100), (100, 101), (100, 99), (175, 176), (250, 1_000), (1, 0), (0, 3)]
    {
        let runs: Vec<Value> = (0..runs).map(|number| item(&format!("6c0e5a34-0000-4000-8000-{number:012}"))).collect();
        let script = Script { short_list: Some((runs.clone(), 100)), total: Some(total), ..Script::of(plain_log(5)) };
        let landing = Landing::of(script, |_| ()).await;
        assert_eq!(landing.list().await.new, runs.len() as u64, "{total}");
        assert!(landing.store.collection().listed_until("service").await.unwrap().is_some(), "{total}");
    }
}

/// The items seen in a list that changed constantly were discarded.
#[tokio::test]
async fn runs_of_a_list_that_never_holds_still_are_collected_all_the_same() {
    let runs: Vec<Value> = (0..100).map(|number| item(&format!("6c0e5a34-0000-4000-8000-{number:012}"))).collect();
    let mut script = Script::of(plain_log(5));
    for reading in 0..5 {
        script = script.with(At::List, 2 * reading + 1, list(runs.clone(), Some(150)));
        script = script.with(At::List, 2 * reading + 2, list(vec![item(RUN)], Some(150)));
    }
    let landing = Landing::of(script, |_| ()).await;
    let error = landing.try_list().await.unwrap_err();
    assert!(error.to_string().contains("changed whenever"), "{error}");
    assert_eq!(landing.store.collection().metrics("service").await.unwrap().known, 100);
    assert!(landing.store.collection().listed_until("service").await.unwrap().is_none(), "they are listed again");
}

/// A service that did not know `offset` was asked for ever.
#[tokio::test]
async fn a_list_that_repeats_itself_ends_with_an_error() {
    let runs: Vec<Value> = (0..100).map(|number| item(&format!("6c0e5a34-0000-4000-8000-{number:012}"))).collect();
    for total in [None, Some(250)] {
        let script = Script::of(plain_log(5)).with(At::List, 0, list(runs.clone(), total));
        let landing = Landing::of(script, |_| ()).await;
        let error = landing.try_list().await.unwrap_err();
        assert!(error.to_string().contains("ignored the offset"), "{error}");
        assert!(matches!(error, CollectError::Upstream(error) if error.kind() == ErrorKind::Protocol));
        assert!(landing.stage.count(At::List) < 200, "{}", landing.stage.count(At::List));
    }
    // A service that returns all items in one page has returned all.
    let script = Script::of(plain_log(5)).with(At::List, 0, list(runs, Some(100)));
    let landing = Landing::of(script, |_| ()).await;
    assert_eq!(landing.try_list().await.unwrap().new, 100);
}

/// What `statuses` had left out once never came back: not by `backfill`, and not inside the look-back either.
#[tokio::test]
async fn a_run_that_was_left_out_lands_when_it_is_wanted_after_all() {
    let mut landing =
        Landing::of(Script::of(plain_log(5)).with(At::List, 0, run_list(&[(RUN, HAS_ENDED)])), |_| ()).await;
    landing.upstream.selection.statuses = vec![RunStatus::Successful];
    landing.restart();
    assert_eq!(landing.round().await, CollectStats::default());
    let figures = landing.store.collection().metrics("service").await.unwrap();
    assert_eq!((figures.excluded, figures.pending), (1, 0));
    assert_eq!(landing.list().await.taken_in, 0, "it is still not wanted");

    landing.upstream.selection.statuses = Vec::new();
    landing.restart();
    let found = landing.list().await;
    assert_eq!((found.new, found.taken_in), (0, 1));
    assert_eq!(landing.land().await.landed, 1);
    assert_eq!(landing.archived().await, (plain_log(5), Some(RunStatus::Failed)));
    // Landed runs stay landed when the filter no longer selects them.
    landing.upstream.selection.statuses = vec![RunStatus::Successful];
    landing.restart();
    assert_eq!(landing.round().await, CollectStats::default());
    assert_eq!(landing.store.collection().metrics("service").await.unwrap().landed, 1);
}

#[tokio::test]
async fn a_run_that_is_running_again_is_not_excluded() {
    let mut landing =
        Landing::of(Script::of(plain_log(5)).with(At::List, 0, run_list(&[(RUN, RUNNING)])), |_| ()).await;
    landing.upstream.selection.statuses = vec![RunStatus::Successful];
    landing.restart();
    landing.round().await;
    assert_eq!(landing.store.collection().metrics("service").await.unwrap().running, 1);
}

/// One record with half a character, a byte of another encoding or a tab in its text, and the run was tried for ever.
#[tokio::test]
async fn one_odd_record_does_not_keep_its_run_from_landing() {
    let mut log = plain_log(12);
    for (at, text) in [(3, "half \u{fffd}"), (5, "tab\there"), (8, "far")] {
        log[at].1 = text.to_owned();
    }
    let landing = Landing::of(Script::of(log.clone()), |_| ()).await;
    landing.stage.change(|script| {
        script.replaced = vec![
            ("half \u{fffd}".as_bytes().to_vec(), b"half \\ud83d".to_vec()),
            (b"tab\\there".to_vec(), b"tab\there".to_vec()),
        ];
    });
    assert_eq!(landing.round().await, CollectStats { landed: 1, records: 12, ..CollectStats::default() });
    assert_eq!(landing.archived().await, (log, Some(RunStatus::Failed)));
}

/// Times at the edges of what can be named, among those of today.
#[tokio::test]
async fn times_far_away_do_not_break_landing() {
    let mut log = vec![(0, "epoch".to_owned())];
    log.extend(plain_log(25));
    log.push((9_300_000_000_000, "beyond 2262".to_owned()));
    for records in [log.clone(), vec![(0, "epoch".to_owned())], vec![(9_300_000_000_000, "beyond 2262".to_owned())]] {
        let landing = Landing::of(Script::of(records.clone()), |_| ()).await;
        landing.list().await;
        landing.stage.time.pass(60_000);
        assert_eq!(landing.land().await.landed, 1, "{records:?}");
        assert_eq!(landing.archived().await, (records, Some(RunStatus::Failed)));
    }
}
