//! Several nodes on one catalog and one bucket.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use runlog_model::wire::push::StartRun;
use runlog_model::{Clock, FileFormat, Record, RecordOrder, RunId, RunStatus};
use runlog_store::audit::AuditFilter;
use runlog_store::collection::{CollectorHeartbeat, FailedAttempt, ReportedRun, UpstreamRun, UpstreamRunState};
use runlog_store::delivery::FinishedRun;
use runlog_store::maintenance::Retention;
use runlog_store::pages::{PageRequest, PageStatus};
use runlog_store::problems::NewProblem;
use runlog_store::summaries::{ClaimedSummary, NewSummary};
use runlog_store::{ErrorKind, Result, Store};

use crate::common::{Archive, TestClock, backends, finish_body, record};

const HOUR_MS: i64 = 3_600_000;

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_store_and_build_and_every_record_is_there_once() {
    let archive = Archive::<backends::postgres_and_s3>::new().await;
    let nodes = [archive.store.clone(), archive.another_node().await, archive.another_node().await];
    let push = |node: Store, batch: usize| {
        let run_id = archive.run_id;
        let records: Vec<Record> =
            (0..20).map(|row| record((batch * 7 + row) as i64, &format!("{batch}-{row}"))).collect();
        tokio::spawn(async move {
            let mut writer = node.ingest().begin_batch(run_id, Some(&format!("b{batch}"))).await.unwrap();
            for record in records {
                writer.push(&record).await.unwrap();
            }
            writer.commit().await.unwrap()
        })
    };
    // Each batch comes through two nodes at once, as after a retry.
    let pushes: Vec<_> = (0..30)
        .flat_map(|batch| [push(nodes[batch % 3].clone(), batch), push(nodes[(batch + 1) % 3].clone(), batch)])
        .collect();
    let mut stored = 0;
    for done in pushes {
        stored += usize::from(!done.await.unwrap().repeated);
    }
    assert_eq!(stored, 30);
    let records = archive.records().await;
    let texts: BTreeSet<_> = records.iter().filter_map(|record| record.message.clone()).collect();
    assert_eq!((records.len(), texts.len()), (600, 600));
    assert!(records.is_sorted_by_key(|record| record.time));

    let request = archive.whole_log(FileFormat::Json, RecordOrder::Desc);
    let tickets = futures::future::join_all(nodes.iter().map(|node| node.pages().request_page(&request))).await;
    let built = futures::future::join_all(nodes.iter().map(|node| node.pages().build_next_page())).await;
    // The same page is wanted three times and built once.
    assert_eq!(built.into_iter().filter(|built| *built.as_ref().unwrap()).count(), 1);
    for (node, ticket) in nodes.iter().rev().zip(tickets) {
        let status = node.pages().page_status(archive.run_id, &ticket.unwrap().token, Duration::ZERO).await.unwrap();
        assert!(matches!(status, PageStatus::Ready(_)), "{status:?}");
    }
    let keys: BTreeSet<_> = futures::future::join_all(nodes.iter().map(|node| node.signing_keys().list("links")))
        .await
        .into_iter()
        .map(|keys| keys.unwrap()[0].value.clone())
        .collect();
    assert_eq!(keys.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_clock_is_ahead_takes_over_no_lease() {
    let archive = Archive::<backends::postgres_and_folder>::new().await;
    archive.push("one", &[record(1, "a")]).await;
    archive.finish_run(archive.run_id).await;
    archive.clock.advance_ms(31_000);
    let (ahead, its_clock) = archive.node_ahead_by(7 * HOUR_MS).await;

    assert_eq!(archive.store.maintenance().seal().await.unwrap().runs, 1);
    assert_eq!(archive.store.summaries().claim_due(1).await.unwrap().len(), 1);
    assert!(ahead.summaries().claim_due(1).await.unwrap().is_empty(), "the lease is as long for every clock");
    [&archive.clock, &its_clock].iter().for_each(|clock| clock.advance_ms(HOUR_MS + 60_000));
    assert_eq!(ahead.summaries().claim_due(1).await.unwrap().len(), 1, "a lease that ran out is taken over");
}

/// Nodes that ask PostgreSQL for the time agree on it within the time that the questions take.
#[tokio::test(flavor = "multi_thread")]
async fn the_shared_clock_is_that_of_the_database() {
    let archive = Archive::<backends::postgres_and_folder>::empty().await;
    let mut shared = Vec::new();
    for ahead_ms in [0, 7 * HOUR_MS, -7 * HOUR_MS] {
        let clock = Arc::new(TestClock::at(archive.now().plus_millis(ahead_ms)));
        let node = archive.measuring_node(clock.clone()).await;
        let before = node.shared_clock().now();
        clock.advance_ms(5_000);
        assert_eq!(node.shared_clock().now().millis_since(before), 5_000);
        shared.push(before);
    }
    assert!(shared.iter().all(|at| at.millis_since(shared[0]).abs() < 60_000), "{shared:?}");
}

fn heartbeat(id: &str) -> CollectorHeartbeat {
    CollectorHeartbeat { host: "https://api.example.com".to_owned(), id: id.to_owned(), ..Default::default() }
}

/// Each collector considered the other stopped, and used the whole rate limit.
#[tokio::test(flavor = "multi_thread")]
async fn collectors_whose_clocks_differ_know_of_each_other() {
    let archive = Archive::<backends::postgres_and_folder>::new().await;
    let (ahead, its_clock) = archive.node_ahead_by(7 * HOUR_MS).await;
    let at_work =
        async |node: &Store, id: &str| node.collection().heartbeat(&heartbeat(id), 15_000).await.unwrap().len();
    assert_eq!(at_work(&archive.store, "here").await, 1);
    assert_eq!(at_work(&ahead, "ahead").await, 2);
    assert_eq!(at_work(&archive.store, "here").await, 2);
    assert_eq!(archive.store.collection().collectors(15_000).await.unwrap().len(), 2);
    [&archive.clock, &its_clock].iter().for_each(|clock| clock.advance_ms(60_000));
    assert_eq!(at_work(&ahead, "ahead").await, 1, "one that does not report any more has stopped");
}

/// The log of a run that had just ended was fetched before it had settled by a node whose clock was ahead, and hours late by one
/// whose clock was behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_due_at_the_same_time_on_nodes_whose_clocks_differ() {
    let archive = Archive::<backends::postgres_and_folder>::new().await;
    let (ahead, its_clock) = archive.node_ahead_by(7 * HOUR_MS).await;
    let (behind, its_slow_clock) = archive.node_ahead_by(-7 * HOUR_MS).await;
    let nodes = [(&archive.store, &archive.clock), (&ahead, &its_clock), (&behind, &its_slow_clock)];
    let pass = |ms: i64| nodes.iter().for_each(|(_, clock)| clock.advance_ms(ms));
    for (number, (listing, its_clock)) in nodes.into_iter().enumerate() {
        for (other, (claiming, other_clock)) in nodes.into_iter().enumerate() {
            let upstream = format!("up {number}{other}");
            let run = UpstreamRun {
                run_id: archive.run_id,
                task_id: "0123456789abcdef01234567".to_owned(),
                progress: UpstreamRunState::Pending,
                status: "EXECUTION_SUCCESS".to_owned(),
                triggered_at: None,
                finished_at: None,
                due_at: its_clock.now().plus_millis(60_000),
                body: "{}".to_owned(),
            };
            listing.collection().upsert_runs(&upstream, &[run]).await.unwrap();
            let claim = async || {
                let until = other_clock.now().plus_millis(30_000);
                claiming.collection().claim_run(&upstream, until).await.unwrap()
            };
            pass(50_000);
            assert!(claim().await.is_none(), "it has not settled");
            pass(20_000);
            let claimed = claim().await.expect("it has settled");
            // An attempt that failed is repeated after the same time, whichever node repeats it.
            let failed = FailedAttempt {
                error: "no".to_owned(),
                expected: None,
                retry_at: other_clock.now().plus_millis(60_000),
            };
            claiming.collection().record_failure(&upstream, &claimed, &failed).await.unwrap();
            let again = async || {
                let until = its_clock.now().plus_millis(30_000);
                listing.collection().claim_run(&upstream, until).await.unwrap()
            };
            pass(50_000);
            assert!(again().await.is_none(), "the pause after a failure");
            pass(20_000);
            assert!(again().await.is_some(), "it is repeated");
        }
    }
}

/// What one node had made due by its clock, which was ahead, was done by the others when their clocks had reached that time:
/// sealing, summaries and deliveries were hours late.
#[tokio::test(flavor = "multi_thread")]
async fn work_is_due_at_the_same_time_on_nodes_whose_clocks_differ() {
    let archive = Archive::<backends::postgres_and_folder>::new().await;
    let (ahead, its_clock) = archive.node_ahead_by(7 * HOUR_MS).await;
    let (behind, its_slow_clock) = archive.node_ahead_by(-7 * HOUR_MS).await;
    let nodes = [(&archive.store, &archive.clock), (&ahead, &its_clock), (&behind, &its_slow_clock)];
    let pass = |ms: i64| nodes.iter().for_each(|(_, clock)| clock.advance_ms(ms));
    for (number, (one, its_clock)) in nodes.into_iter().enumerate() {
        for (other, (another, other_clock)) in nodes.into_iter().enumerate() {
            let (sink, run) = (format!("sink {number}{other}"), archive.start_another_run().await);
            another.deliveries().register_sink(&sink, "files", None).await.unwrap();
            let offer = async || another.deliveries().enqueue_finished_runs(&sink, |found| found.run_id == run).await;
            let claim = async |node: &Store, clock: &TestClock| {
                node.deliveries().claim(&sink, clock.now().plus_millis(30_000)).await.unwrap()
            };
            push_to_run(one, run, "first").await;
            let ended = one.runs().finish(run, &finish_body(RunStatus::Successful, None)).await.unwrap();
            assert!(!another.runs().is_settled(&ended), "{sink}");
            assert_eq!((offer().await.unwrap(), another.maintenance().seal().await.unwrap().runs), (0, 0), "{sink}");
            pass(30_000);
            assert!(another.runs().is_settled(&ended), "{sink}");
            assert_eq!((offer().await.unwrap(), another.maintenance().seal().await.unwrap().runs), (1, 1), "{sink}");
            let due = one.summaries().claim_due(1).await.unwrap();
            assert_eq!(due.iter().map(|due| due.run_id).collect::<Vec<_>>(), [run], "{sink}");
            one.summaries().save_all(&due.into_iter().map(summary_of).collect::<Vec<_>>()).await.unwrap();

            // An attempt that failed is repeated after its pause, by whichever node.
            let claimed = claim(one, its_clock).await.unwrap_or_else(|| panic!("{sink}: it has settled"));
            let again_at = its_clock.now().plus_millis(60_000);
            one.deliveries().record_failure(&claimed, "no", Some(again_at)).await.unwrap();
            pass(50_000);
            assert!(claim(another, other_clock).await.is_none(), "{sink}: the pause after a failure");
            pass(20_000);
            let claimed = claim(another, other_clock).await.unwrap_or_else(|| panic!("{sink}: it is repeated"));
            another.deliveries().finish(&claimed).await.unwrap();

            // Late records are delivered once they have settled.
            push_to_run(one, run, "late").await;
            assert!(claim(another, other_clock).await.is_none(), "{sink}: they have not settled");
            pass(30_000);
            assert!(claim(another, other_clock).await.is_some(), "{sink}: they have settled");
            assert_eq!(another.maintenance().seal().await.unwrap().runs, 1, "{sink}");
            let due = another.summaries().claim_due(1).await.unwrap();
            another.summaries().save_all(&due.into_iter().map(summary_of).collect::<Vec<_>>()).await.unwrap();
        }
    }
}

/// The times of the shared clock were converted once more: a node whose clock was ahead found what had failed hours late.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_without_its_log_is_found_on_each_node_by_the_shared_clock() {
    let archive = Archive::<backends::postgres_and_folder>::new().await;
    let run = UpstreamRun {
        run_id: "6c0e5a34-0000-4000-8000-00000000abcd".parse().unwrap(),
        task_id: archive.task_id.to_string(),
        progress: UpstreamRunState::Pending,
        status: "EXECUTION_FAILED".to_owned(),
        triggered_at: Some(archive.now()),
        finished_at: None,
        due_at: archive.now(),
        body: "{}".to_owned(),
    };
    let (run_id, start) = (run.run_id, StartRun::of_task(archive.task_id));
    let reported = ReportedRun { run_id, start, end: Some(finish_body(RunStatus::Failed, None)) };
    let (_, began) = (archive.store.collection().upsert_runs("up", &[run]).await.unwrap(), archive.now());
    assert!(archive.store.collection().record_reported(&[reported], &archive.caller).await.unwrap().is_empty());
    archive.clock.advance_ms(60_000);
    for ahead_ms in [0, 7 * HOUR_MS, -7 * HOUR_MS] {
        let (node, _) = archive.node_ahead_by(ahead_ms).await;
        let period = (began, node.shared_clock().now());
        let (runs, _) = node.alerts().runs_without_their_log(period, None, 9).await.unwrap();
        assert_eq!(runs.iter().map(|run| run.id).collect::<Vec<_>>(), [run_id], "{ahead_ms}");
    }
}

async fn push_to_run(node: &Store, run: RunId, text: &str) {
    let mut batch = node.ingest().begin_batch(run, Some(text)).await.unwrap();
    batch.push(&record(1, text)).await.unwrap();
    batch.commit().await.unwrap();
}

/// The position of a sink was set to the time of the clock that was ahead, and runs that ended later, by other clocks, were
/// never delivered.
#[tokio::test(flavor = "multi_thread")]
async fn runs_that_end_on_nodes_whose_clocks_differ_are_all_delivered() {
    let archive = Archive::<backends::postgres_and_folder>::new().await;
    archive.push("one", &[record(1, "a")]).await;
    let (ahead, its_clock) = archive.node_ahead_by(7 * HOUR_MS).await;
    let (behind, its_slow_clock) = archive.node_ahead_by(-7 * HOUR_MS).await;
    let enqueued = async |node: &Store| {
        [its_clock.clone(), its_slow_clock.clone(), archive.clock.clone()]
            .iter()
            .for_each(|clock| clock.advance_ms(31_000));
        node.deliveries().enqueue_finished_runs("sink", |_| true).await.unwrap()
    };
    archive.store.deliveries().register_sink("sink", "files", None).await.unwrap();
    for (ending, delivering) in [
        (&ahead, &ahead),
        (&ahead, &archive.store),
        (&archive.store, &ahead),
        (&archive.store, &archive.store),
        (&behind, &archive.store),
        (&behind, &ahead),
    ] {
        let run = archive.start_run_at(Some(archive.now().plus_millis(-9 * HOUR_MS))).await;
        ending.runs().finish(run, &finish_body(RunStatus::Successful, None)).await.unwrap();
        assert_eq!(enqueued(delivering).await, 1);
    }
}

/// A node that is restarted with a wider filter sets the position back; another one that was at work moved it on again.
#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_is_set_back_while_runs_are_examined_stays() {
    let archive = Archive::<backends::sqlite_and_folder>::new().await;
    archive.store.deliveries().register_sink("sink", "files", None).await.unwrap();
    archive.finish_run(archive.run_id).await;
    archive.clock.advance_ms(2 * HOUR_MS);
    let other = archive.start_another_run().await;
    archive.finish_run(other).await;
    archive.clock.advance_ms(31_000);
    let (store, runtime) = (archive.store.clone(), tokio::runtime::Handle::current());
    let once = std::sync::Once::new();
    let wants_none = |_: &FinishedRun| {
        once.call_once(|| {
            let setting_back = store.deliveries().rescan_finished_runs("sink");
            tokio::task::block_in_place(|| runtime.block_on(setting_back)).unwrap();
        });
        false
    };
    assert_eq!(archive.store.deliveries().enqueue_finished_runs("sink", wants_none).await.unwrap(), 0);
    assert_eq!(archive.store.deliveries().enqueue_finished_runs("sink", |_| true).await.unwrap(), 2);
}

/// Runs of one batch each, in one sealed file.
async fn sealed_runs(archive: &Archive<backends::postgres_and_folder>, count: usize) -> Vec<RunId> {
    let mut runs = Vec::new();
    for number in 0..count {
        let run = archive.start_another_run().await;
        push_to(&archive.store, run, number as i64).await.unwrap();
        archive.finish_run(run).await;
        runs.push(run);
    }
    archive.clock.advance_ms(31_000);
    while archive.store.maintenance().seal().await.unwrap().runs > 0 {}
    runs
}

async fn push_to(node: &Store, run: RunId, number: i64) -> Result<()> {
    let mut batch = node.ingest().begin_batch(run, None).await?;
    for row in 0..5 {
        batch.push(&record(number * 5 + row, &format!("{number}-{row}"))).await?;
    }
    batch.commit().await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn deletions_beside_pushes_pages_and_sealing_on_three_nodes_all_succeed() {
    let archive = Archive::<backends::postgres_and_folder>::new().await;
    let nodes = [archive.store.clone(), archive.another_node().await, archive.another_node().await];
    for _ in 0..3 {
        let runs = sealed_runs(&archive, 24).await;
        let mut tasks: Vec<tokio::task::JoinHandle<Result<()>>> = Vec::new();
        for (number, run) in runs.iter().copied().enumerate() {
            let node = nodes[number % 3].clone();
            if number % 3 != 0 {
                tasks.push(tokio::spawn(async move { node.maintenance().delete_log(run).await.map(drop) }));
            }
            for again in 0..6 {
                // Groups of several runs, in any order.
                let (node, run) = (nodes[again % 3].clone(), runs[(number * 7 + again * 5) % runs.len()]);
                tasks.push(tokio::spawn(async move { push_to(&node, run, again as i64).await }));
            }
            let (node, run) = (nodes[(number + 1) % 3].clone(), runs[(number * 11) % runs.len()]);
            let request = PageRequest { run_id: run, ..archive.whole_log(FileFormat::Json, RecordOrder::Desc) };
            tasks.push(tokio::spawn(async move {
                match node.pages().request_page(&request).await {
                    // The log was deleted while it was read.
                    Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
                    requested => requested.map(drop),
                }
            }));
        }
        for node in nodes.clone() {
            tasks.push(tokio::spawn(async move {
                for _ in 0..10 {
                    node.maintenance().seal().await?;
                }
                node.maintenance().sweep().await.map(drop)
            }));
        }
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    }
    while archive.store.maintenance().seal().await.unwrap().runs > 0 {}
    let verified = archive.store.maintenance().verify(false, |_| ()).await.unwrap();
    assert_eq!(verified.problem_texts, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_log_that_is_deleted_while_it_is_claimed_gets_no_summary() {
    let archive = Archive::<backends::postgres_and_folder>::new().await;
    let nodes = [archive.store.clone(), archive.another_node().await, archive.another_node().await];
    for _ in 0..8 {
        let runs = sealed_runs(&archive, 24).await;
        let deleting = futures::future::try_join_all(runs.iter().map(|run| nodes[2].maintenance().delete_log(*run)));
        let summarizing = futures::future::try_join_all(nodes[..2].iter().map(|node| async {
            for _ in 0..12 {
                let claimed = node.summaries().claim_due(7).await?;
                assert!(claimed.iter().all(|one| one.log.records > 0), "an empty log was claimed");
                let made: Vec<NewSummary> = claimed.into_iter().map(summary_of).collect();
                node.summaries().save_all(&made).await?;
            }
            Ok(())
        }));
        let (deleted, summarized) = tokio::join!(deleting, summarizing);
        summarized.and(deleted).unwrap();
    }
    let verified = archive.store.maintenance().verify(false, |_| ()).await.unwrap();
    assert_eq!(verified.problem_texts, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_nodes_that_count_runs_to_the_same_problems_count_each_once() {
    let archive = Archive::<backends::postgres_and_folder>::new().await;
    let nodes = [archive.store.clone(), archive.another_node().await, archive.another_node().await];
    let mut runs = Vec::new();
    for number in 0..60 {
        let run = archive.start_another_run().await;
        push_to(&archive.store, run, number).await.unwrap();
        archive.store.runs().finish(run, &finish_body(RunStatus::Failed, None)).await.unwrap();
        runs.push(run);
    }
    let id = |number: usize| format!("{:016x}", number % 5);
    let mut deleted = HashSet::new();
    for version in 7..13 {
        // Logs that shared a file with a deleted log are sealed again first.
        archive.clock.advance_ms(31_000);
        while archive.store.maintenance().seal().await.unwrap().runs > 0 {}
        nodes[0].summaries().invalidate_older(version).await.unwrap();
        let mut claimed = Vec::new();
        loop {
            let more = nodes[0].summaries().claim_due(version).await.unwrap();
            if more.is_empty() {
                break;
            }
            claimed.extend(more);
        }
        assert_eq!(claimed.len(), runs.len() - deleted.len());
        // Each run is counted to another problem than the last time, in an order of its own on each node.
        let made = |of: &ClaimedSummary| {
            let number = runs.iter().position(|run| *run == of.run_id).unwrap() + version as usize;
            let problem = Some(NewProblem { id: id(number), title: "title".to_owned(), headline: None });
            NewSummary { of: *of, version, body: b"{}".to_vec(), error_groups: Vec::new(), problem }
        };
        let of_nodes: Vec<Vec<NewSummary>> = (0..3)
            .map(|node| {
                let mut made: Vec<NewSummary> = claimed.iter().skip(node).step_by(3).map(made).collect();
                made.rotate_left(node * 7);
                made
            })
            .collect();
        let saving = futures::future::try_join_all(
            nodes.iter().zip(&of_nodes).map(|(node, made)| node.summaries().save_all(made)),
        );
        let gone: Vec<RunId> = runs.iter().copied().skip(version as usize).step_by(17).collect();
        let deleting = futures::future::try_join_all(gone.iter().map(|run| nodes[2].maintenance().delete_log(*run)));
        let (saved, removed) = tokio::join!(saving, deleting);
        let saved = saved.map(drop);
        saved.and(removed.map(drop)).unwrap();
        deleted.extend(gone);

        let left = |problem: &str| {
            let is_of =
                |(number, run): &(usize, &RunId)| !deleted.contains(*run) && id(number + version as usize) == problem;
            runs.iter().enumerate().filter(is_of).count() as u64
        };
        for number in 0..5 {
            let problem = nodes[1].problems().get(&id(number)).await.unwrap().unwrap();
            assert_eq!((problem.runs, problem.tasks), (left(&problem.id), 1), "problem {number} at version {version}");
            let listed = nodes[1].problems().runs(&problem.id, 100).await.unwrap();
            assert_eq!(listed.len() as u64, problem.runs);
        }
    }
}

fn summary_of(of: ClaimedSummary) -> NewSummary {
    NewSummary { of, version: 7, body: b"{}".to_vec(), error_groups: Vec::new(), problem: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_on_two_nodes_deletes_and_notes_each_log_once() {
    let archive = Archive::<backends::postgres_and_folder>::new().await;
    let runs = sealed_runs(&archive, 12).await;
    let workspace = archive.store.runs().get(runs[0]).await.unwrap().unwrap().workspace_id;
    archive.store.maintenance().set_retention(workspace, Retention { days: Some(1), bytes: None }).await.unwrap();
    let other = archive.another_node().await;
    archive.clock.advance_ms(25 * HOUR_MS);
    let (here, there) =
        tokio::join!(archive.store.maintenance().apply_retention(), other.maintenance().apply_retention());
    let (here, there) = (here.unwrap(), there.unwrap());
    assert_eq!((here.runs + there.runs, here.records + there.records), (12, 60));
    assert_eq!((here.failed, there.failed), (0, 0));
    let filter = AuditFilter { limit: 100, ..AuditFilter::default() };
    assert_eq!(archive.store.audit().entries(&filter).await.unwrap().1, 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_first_starts_at_once_make_one_administrator() {
    let archive = Archive::<backends::postgres_and_folder>::empty().await;
    let mut nodes = Vec::new();
    for _ in 0..5 {
        nodes.push(archive.another_node().await);
    }
    let started = futures::future::join_all(nodes.iter().map(|node| node.accounts().ensure_administrator())).await;
    let tokens: Vec<_> = started.into_iter().filter_map(|token| token.unwrap()).collect();
    assert_eq!(tokens.len(), 1);
    assert!(archive.store.accounts().authenticate_token(&tokens[0]).await.unwrap().is_some());
}
