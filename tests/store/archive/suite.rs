//! Tests of every archive, independent of its backends: each test runs on each pair of backends.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::common::{self, page_records, pairs, push, record, runtime, search_for, sorted};
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use futures::TryStreamExt;
use proptest::prelude::*;
use runlog_model::wire::admin::{AuditEntry, NewUser};
use runlog_model::wire::alerts::{AlertRuleDescription, AlertState, NewAlertMute};
use runlog_model::wire::overview::DurationsBody;
use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_model::{ErrorGroupKind, Severity};
use runlog_model::{FileFormat, PageEnd, Record, RecordOrder, Run, RunId, RunStatus, TimeRange, Timestamp};
use runlog_store::alerts::{AlertFilter, NewAlert, NewAlertState, Recovery};
use runlog_store::audit::AuditFilter;
use runlog_store::collection::{
    CollectorHeartbeat, FailedAttempt, LandedLog, UpsertCounts, UpstreamRun, UpstreamRunState,
};
use runlog_store::delivery::RefusedRange;
use runlog_store::logs::LiveQuery;
use runlog_store::maintenance::{Health, LegalHold, Retention};
use runlog_store::pages::{PageRequest, PageStatus};
use runlog_store::query::{CatalogView, ScanColumn, ScanFilter, SearchQuery, ViewCondition};
use runlog_store::runs::RunFilter;
use runlog_store::summaries::{ClaimedSummary, NewErrorGroup, NewSummary};
use runlog_store::{ErrorKind, Store};
use tokio_util::sync::CancellationToken;

#[path = "components.rs"]
mod components;
#[path = "names.rs"]
mod names;
#[path = "pages.rs"]
mod pages;
#[path = "plans.rs"]
mod plans;
#[path = "problems.rs"]
mod problems;
#[path = "reported.rs"]
mod reported;
#[path = "search.rs"]
mod search;
#[path = "tenant_audit_logs.rs"]
mod tenant_audit_logs;
#[path = "workspaces.rs"]
mod workspaces;

/// An archive on the pair of backends of this test.
type Archive = common::Archive<pairs::Chosen>;
/// An archive on the other two backends, as the target of a copy.
type Copy = common::Archive<pairs::Other>;

/// Returns the pages of a run, newest page first, as a client receives them that follows the vendor's guide.
async fn naive_pages(archive: &Archive, range: TimeRange, order: RecordOrder) -> Vec<Vec<Record>> {
    naive_pages_of(archive, archive.run_id, range, order).await
}

async fn naive_pages_of(
    archive: &Archive,
    run_id: RunId,
    mut range: TimeRange,
    order: RecordOrder,
) -> Vec<Vec<Record>> {
    let mut pages = Vec::new();
    loop {
        let request = PageRequest { run_id, range, format: FileFormat::Json, order, file_name: "log".to_owned() };
        let ticket = archive.store.pages().request_page(&request).await.unwrap();
        archive.build_all().await;
        let records = downloaded_of(archive, run_id, &ticket.token).await;
        assert_eq!(records.len() as u64, ticket.records);
        pages.push(records);
        let Some(header) = ticket.end.next_end_text() else { return pages };
        range.end = Some(header.parse().unwrap());
    }
}

/// The records of a page of the archive's run.
async fn downloaded(archive: &Archive, token: &str) -> Vec<Record> {
    downloaded_of(archive, archive.run_id, token).await
}

async fn downloaded_of(archive: &Archive, run_id: RunId, token: &str) -> Vec<Record> {
    page_records(&archive.store, run_id, token).await
}

/// Times with ties, in a few busy seconds and here and there.
fn times() -> impl Strategy<Value = Vec<i64>> {
    let time = prop_oneof![3 => 1_000..1_010_i64, 2 => 0..6_000_i64, 1 => Just(2_000_i64), 1 => Just(-1_i64)];
    prop::collection::vec(time, 0..120)
}

fn ranges() -> impl Strategy<Value = TimeRange> {
    let end = || prop::option::of((-10..6_100_i64).prop_map(Timestamp::clamped));
    (end(), end()).prop_map(|(start, end)| TimeRange { start, end })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(pairs::cases()))]

    fn paging_gives_each_record_once(
        times in times(),
        range in ranges(),
        records_max in 1..50_u64,
        batch_records in 1..40_usize,
        is_ascending in any::<bool>(),
        is_over in any::<bool>(),
        is_served in any::<bool>(),
    ) {
        runtime().block_on(async {
            let archive = Archive::with_page_limit(records_max).await;
            // Pages are built by the job that searches for them, or by builders that receive them with the data found
            // so far.
            let stop = CancellationToken::new();
            let jobs = is_served.then(|| {
                let (store, stop) = (archive.store.clone(), stop.clone());
                tokio::spawn(async move { store.maintenance().run_jobs(stop).await })
            });
            let records: Vec<Record> = times.iter().enumerate().map(|(index, ms)| record(*ms, &format!("{}", index % 7))).collect();
            for (index, batch) in records.chunks(batch_records).enumerate() {
                archive.push(&format!("b{index}"), batch).await;
            }
            if is_over {
                // It is sealed, now or while pages are built.
                archive.finish(RunStatus::Successful).await.unwrap();
                archive.clock.advance_ms(60_000);
                if !is_served {
                    archive.store.maintenance().seal().await.unwrap();
                }
            }
            let order = if is_ascending { RecordOrder::Asc } else { RecordOrder::Desc };
            let mut pages = naive_pages(&archive, range, order).await;
            stop.cancel();
            if let Some(jobs) = jobs {
                jobs.await.unwrap();
            }
            // "Combine in the order received" is the whole log, newest first; ascending files go the other way.
            let combined: Vec<Record> = match order {
                RecordOrder::Desc => pages.concat().into_iter().rev().collect(),
                RecordOrder::Asc => { pages.reverse(); pages.concat() }
            };
            prop_assert_eq!(combined, sorted(records, range));
            Ok(())
        })?;
    }

    fn a_live_page_is_a_part_of_the_log(
        times in times(),
        range in ranges(),
        start_index in 0..130_u64,
        count in 1..60_u64,
        batch_records in 1..40_usize,
        is_ascending in any::<bool>(),
    ) {
        runtime().block_on(async {
            let archive = Archive::with_page_limit(100).await;
            let records: Vec<Record> = times.iter().enumerate().map(|(index, ms)| record(*ms, &index.to_string())).collect();
            for (index, batch) in records.chunks(batch_records).enumerate() {
                archive.push(&format!("b{index}"), batch).await;
            }
            let order = if is_ascending { RecordOrder::Asc } else { RecordOrder::Desc };
            let query = LiveQuery { range, order, start_index, count };
            let live = archive.store.logs().live_page(archive.run_id, &query).await.unwrap();
            let total = records.len() as u64;
            let mut expected = sorted(records, range);
            if order == RecordOrder::Desc {
                expected.reverse();
            }
            prop_assert_eq!((live.total, live.filtered), (total, expected.len() as u64));
            let part: Vec<Record> = expected.into_iter().skip(start_index as usize).take(count as usize).collect();
            prop_assert_eq!(live.records, part);
            Ok(())
        })?;
    }
}

async fn a_batch_is_stored_once() {
    let archive = Archive::new().await;
    let batch = [record(1, "a"), record(1, "a"), record(2, "b")];
    let first = archive.push("one", &batch).await;
    assert_eq!((first.stored, first.repeated), (3, false));
    let again = archive.push("one", &batch).await;
    assert_eq!((again.stored, again.repeated), (3, true));
    assert_eq!(archive.records().await, batch);
}

async fn a_batch_id_with_other_records_is_a_conflict() {
    let archive = Archive::new().await;
    archive.push("one", &[record(1, "a")]).await;
    let mut batch = archive.store.ingest().begin_batch(archive.run_id, Some("one")).await.unwrap();
    batch.push(&record(1, "other")).await.unwrap();
    let error = batch.commit().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(archive.records().await, [record(1, "a")]);
}

async fn a_run_begins_with_its_first_records_and_is_not_begun_without_them() {
    let archive = Archive::new().await;
    let start = StartRun { status: Some(RunStatus::Dispatching), ..StartRun::of_task(archive.task_id) };
    let waiting: RunId = "6c0e5a34-0000-4000-8000-000000000077".parse().unwrap();
    archive.store.runs().start(waiting, &start, &archive.caller).await.unwrap();
    let run = async || archive.store.runs().get(waiting).await.unwrap().unwrap();
    let push = async || {
        let mut batch = archive.store.ingest().begin_batch(waiting, None).await?;
        for row in [record(2_000, "second"), record(1_000, "first")] {
            batch.push(&row).await?;
        }
        batch.commit().await
    };
    // The catalog takes everything of the batch, but not that the run begins with it.
    archive
        .change_catalog(if archive.is_on_postgres() {
            "CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'away'; END $$ LANGUAGE plpgsql;
             CREATE TRIGGER away BEFORE UPDATE ON runs FOR EACH ROW WHEN (OLD.status <> NEW.status)
             EXECUTE FUNCTION refuse();"
        } else {
            "CREATE TRIGGER away BEFORE UPDATE ON runs WHEN OLD.status <> NEW.status
             BEGIN SELECT RAISE(ABORT, 'away'); END;"
        })
        .await;
    assert_eq!(push().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!((run().await.records, archive.records_of(waiting).await.len()), (0, 0), "a failed batch left records");
    archive
        .change_catalog(if archive.is_on_postgres() { "DROP TRIGGER away ON runs" } else { "DROP TRIGGER away" })
        .await;
    push().await.unwrap();
    let begun = run().await;
    assert_eq!((begun.status.coarse(), begun.records), (RunStatus::Executing, 2));
    assert_eq!(begun.started_at, Some(Timestamp::clamped(1_000)));
    // The reported start is kept, and later records do not change it.
    push().await.unwrap();
    assert_eq!(run().await.started_at, begun.started_at);
}

async fn words_of_other_loggers_are_found_in_runs_that_an_earlier_version_counted() {
    let archive = Archive::new().await;
    let records: Vec<Record> = ["WARNING", "SEVERE", "AUDIT", "INFO"]
        .into_iter()
        .zip(1..)
        .map(|(severity, at)| Record { severity: Some(severity.to_owned()), ..record(at, "a word") })
        .collect();
    archive.push("one", &records).await;
    let counts = async || archive.store.runs().get(archive.run_id).await.unwrap().unwrap().severities.as_array();
    assert_eq!(counts().await, [1, 0, 0, 1, 1, 1, 0]);
    archive.change_catalog("UPDATE runs SET severity_other = 3, severity_warn = 0, severity_error = 0").await;
    let mut search = search_for_word(10, runlog_store::limits::SEARCH_SLICES_MAX);
    search.severities = Some(vec![Severity::Warn, Severity::Error]);
    let found = archive.store.query().search(search).await.unwrap().items;
    assert_eq!(found.len(), 2, "{found:?}");
    let texts = ScanFilter { severities: Some(vec!["WARNING".to_owned()]), ..ScanFilter::default() };
    assert_eq!(scanned(&archive, texts).await.len(), 1);
    assert_eq!(archive.store.maintenance().verify(false, |_| ()).await.unwrap().problem_texts, [""; 0]);
    archive.store.maintenance().verify(true, |_| ()).await.unwrap();
    assert_eq!(counts().await, [1, 0, 0, 1, 1, 1, 0]);
    // Fewer than there are of a severity is nothing that any version has counted.
    archive.change_catalog("UPDATE runs SET severity_other = 0, severity_warn = 2").await;
    assert_eq!(archive.store.maintenance().verify(false, |_| ()).await.unwrap().problems, 1);
}

async fn of_two_batches_after_the_same_state_one_is_stored() {
    // Two collectors that both find that a log lacks a record must not store it twice.
    let archive = Archive::new().await;
    archive.push("one", &[record(1, "a")]).await;
    let next = async || {
        let (mut batch, before) = archive.store.ingest().begin_next_batch(archive.run_id).await.unwrap();
        batch.push(&record(2, "b")).await.unwrap();
        (batch, before)
    };
    for together in [true, false] {
        let ((left, one), (right, other)) = (next().await, next().await);
        assert_eq!(one, other);
        let outcomes = match together {
            true => futures::join!(left.commit(), right.commit()),
            false => (left.commit().await, right.commit().await),
        };
        let outcomes = [outcomes.0, outcomes.1];
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
        let refused = outcomes.into_iter().find_map(Result::err).unwrap();
        assert_eq!(refused.kind(), ErrorKind::Conflict);
    }
    assert_eq!(archive.records().await, [record(1, "a"), record(2, "b"), record(2, "b")]);
    // What others push in between counts as well.
    let (batch, before) = next().await;
    assert_eq!(before, 3);
    archive.push("two", &[record(3, "c")]).await;
    assert_eq!(batch.commit().await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(archive.records().await.len(), 4);
}

async fn a_large_batch_after_another_state_is_refused() {
    let archive = Archive::new().await;
    let (mut batch, _) = archive.store.ingest().begin_next_batch(archive.run_id).await.unwrap();
    for index in 0..runlog_store::limits::SEGMENT_RECORDS_MAX as i64 + 1 {
        batch.push(&record(index, "x")).await.unwrap();
    }
    archive.push("one", &[record(1, "a")]).await;
    assert_eq!(batch.commit().await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(archive.records().await, [record(1, "a")]);
    assert_eq!(archive.objects(), 1, "its objects are removed");
}

async fn a_batch_id_is_forgotten_after_a_month() {
    let archive = Archive::new().await;
    // The month must be over by the clock of the database as well.
    archive.clock.advance_ms(-60 * 86_400_000);
    archive.push("one", &[record(1, "a")]).await;
    archive.clock.advance_ms(29 * 86_400_000);
    archive.push("two", &[record(2, "b")]).await;
    archive.store.maintenance().sweep().await.unwrap();
    assert!(archive.push("one", &[record(1, "a")]).await.repeated);
    archive.clock.advance_ms(2 * 86_400_000);
    archive.store.maintenance().sweep().await.unwrap();
    assert!(archive.push("two", &[record(2, "b")]).await.repeated);
    assert!(!archive.push("one", &[record(1, "a")]).await.repeated);
}

async fn the_same_batch_over_two_connections_is_stored_once() {
    let archive = Archive::new().await;
    let mut left = archive.store.ingest().begin_batch(archive.run_id, Some("one")).await.unwrap();
    let mut right = archive.store.ingest().begin_batch(archive.run_id, Some("one")).await.unwrap();
    left.push(&record(1, "a")).await.unwrap();
    right.push(&record(1, "a")).await.unwrap();
    assert!(!left.commit().await.unwrap().repeated);
    assert!(right.commit().await.unwrap().repeated);
    assert_eq!(archive.records().await, [record(1, "a")]);
    assert_eq!(archive.objects(), 1, "the object of the repeated batch is removed");
}

async fn an_abandoned_batch_leaves_nothing() {
    let archive = Archive::new().await;
    let mut batch = archive.store.ingest().begin_batch(archive.run_id, Some("one")).await.unwrap();
    // More than two segments: the second is begun when the first is written, so that an object is there.
    for index in 0..2 * runlog_store::limits::SEGMENT_RECORDS_MAX as i64 + 1 {
        batch.push(&record(index, "x")).await.unwrap();
    }
    assert!(archive.objects() >= 1);
    batch.abort().await;
    assert_eq!(archive.objects(), 0);
    assert_eq!(archive.store.runs().get(archive.run_id).await.unwrap().unwrap().records, 0);
    archive.push("one", &[record(1, "a")]).await;
}

async fn a_batch_that_takes_a_day_is_stored_completely() {
    let archive = Archive::new().await;
    let mut batch = archive.store.ingest().begin_batch(archive.run_id, Some("one")).await.unwrap();
    let step = runlog_store::limits::SEGMENT_RECORDS_MAX as i64;
    for part in 0..3 {
        for index in part * step..(part + 1) * step + 1 {
            batch.push(&record(index, "x")).await.unwrap();
        }
        archive.clock.advance_ms(5 * 3_600_000);
        archive.store.maintenance().sweep().await.unwrap();
    }
    let stored = batch.commit().await.unwrap().stored;
    assert_eq!(stored, 3 * step as u64 + 3);
    archive.clock.advance_ms(7 * 3_600_000);
    archive.store.maintenance().sweep().await.unwrap();
    assert_eq!(archive.records().await.len() as u64, stored);
}

async fn a_batch_that_stood_still_until_it_was_swept_is_refused_and_may_be_sent_again() {
    let archive = Archive::new().await;
    let mut batch = archive.store.ingest().begin_batch(archive.run_id, Some("one")).await.unwrap();
    // The second segment is begun when the first is written.
    for index in 0..2 * runlog_store::limits::SEGMENT_RECORDS_MAX as i64 + 1 {
        batch.push(&record(index, "x")).await.unwrap();
    }
    archive.clock.advance_ms(7 * 3_600_000);
    archive.store.maintenance().sweep().await.unwrap();
    assert_eq!(batch.commit().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(archive.store.runs().get(archive.run_id).await.unwrap().unwrap().records, 0);
    assert_eq!(archive.objects(), 0);
    archive.push("one", &[record(1, "a")]).await;
    assert_eq!(archive.records().await, [record(1, "a")]);
}

async fn a_log_of_which_a_segment_is_lost_is_named_and_the_others_are_sealed() {
    let archive = Archive::new().await;
    archive.push("one", &[record(1, "lost")]).await;
    let lost = archive.object_files().remove(0);
    let other = archive.start_another_run().await;
    push_to(&archive, other, &[record(2, "kept")]).await;
    archive.finish_run(archive.run_id).await;
    archive.finish_run(other).await;
    archive.clock.advance_ms(31_000);
    let bytes = std::fs::read(&lost).unwrap();
    std::fs::remove_file(&lost).unwrap();

    // A node that has not kept it in memory.
    let node = archive.another_node().await;
    assert_eq!(node.maintenance().seal().await.unwrap().runs, 1);
    let (damaged, total) = node.maintenance().damaged_logs(10).await.unwrap();
    assert_eq!((damaged.len(), total, damaged[0].run_id, damaged[0].failures), (1, 1, archive.run_id, 1));
    let name = lost.file_name().unwrap().to_string_lossy().into_owned();
    assert!(damaged[0].problem.contains(&name), "{}", damaged[0].problem);
    assert_eq!(node.maintenance().seal().await.unwrap().runs, 0, "it is not tried again at once");
    archive.clock.advance_ms(61_000);
    assert_eq!(node.maintenance().seal().await.unwrap().runs, 0);
    assert_eq!(node.maintenance().damaged_logs(10).await.unwrap().0[0].failures, 2);

    std::fs::write(&lost, bytes).unwrap();
    archive.clock.advance_ms(121_000);
    assert_eq!(node.maintenance().seal().await.unwrap().runs, 1, "what was put back is sealed");
    assert_eq!(node.maintenance().damaged_logs(10).await.unwrap().1, 0);
    assert_eq!(archive.records().await, [record(1, "lost")]);
}

async fn segments_that_lie_around_after_they_were_sealed_or_deleted_are_not_brought_back() {
    let archive = Archive::new().await;
    let other = archive.start_another_run().await;
    archive.push("one", &[record(1, "a"), record(5, "same")]).await;
    let before = archive.object_files();
    archive.push("two", &[record(2, "b"), record(5, "same"), record(9, "c")]).await;
    push_to(&archive, other, &[record(3, "of the other")]).await;
    let kept: Vec<(std::path::PathBuf, Vec<u8>)> = archive
        .object_files()
        .into_iter()
        .filter(|file| !before.contains(file))
        .map(|file| (file.clone(), std::fs::read(file).unwrap()))
        .collect();
    assert_eq!(kept.len(), 2);
    archive.finish_run(archive.run_id).await;
    archive.finish_run(other).await;
    archive.clock.advance_ms(31_000);
    while archive.store.maintenance().seal().await.unwrap().runs > 0 {}
    archive.clock.advance_ms(3_601_000);
    archive.store.maintenance().sweep().await.unwrap();

    // Segments that reappear after they were sealed are recognised by their content.
    for (file, bytes) in &kept {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }
    let verified = archive.store.maintenance().verify(true, |_| ()).await.unwrap();
    assert_eq!((verified.problems, verified.records_restored, verified.records), (0, 0, 6));

    archive.store.maintenance().delete_log(other).await.unwrap();
    let verified = archive.store.maintenance().verify(true, |_| ()).await.unwrap();
    assert_eq!((verified.problems, verified.records_restored), (1, 0), "what was deleted does not come back");
    assert!(verified.problem_texts[0].contains(&other.to_string()), "{:?}", verified.problem_texts);
}

async fn push_to(archive: &Archive, run_id: RunId, records: &[Record]) {
    let mut batch = archive.store.ingest().begin_batch(run_id, None).await.unwrap();
    for record in records {
        batch.push(record).await.unwrap();
    }
    batch.commit().await.unwrap();
}

async fn a_large_batch_comes_out_whole() {
    let archive = Archive::new().await;
    let records: Vec<Record> = (0..150_000).map(|index| record((index * 7919) % 60_000, &index.to_string())).collect();
    archive.push("one", &records).await;
    let pages = naive_pages(&archive, TimeRange::ALL, RecordOrder::Desc).await;
    assert_eq!(pages.len(), 2);
    let combined: Vec<Record> = pages.concat().into_iter().rev().collect();
    assert!(combined == sorted(records, TimeRange::ALL));
}

async fn the_archive_is_the_same_after_a_restart() {
    let mut archive = Archive::new().await;
    archive.push("one", &[record(1, "a")]).await;
    let key = archive.store.signing_keys().list("links").await.unwrap()[0].value.clone();
    archive.reopen().await;
    assert_eq!(archive.records().await, [record(1, "a")]);
    assert!(archive.push("one", &[record(1, "a")]).await.repeated);
    assert_eq!(archive.store.signing_keys().list("links").await.unwrap()[0].value, key);
}

async fn an_older_key_is_kept_for_as_long_as_something_it_signed_may_be_good() {
    let archive = Archive::new().await;
    let ids = || async {
        let keys = archive.store.signing_keys().list("links").await.unwrap();
        keys.into_iter().map(|key| key.id).collect::<Vec<_>>()
    };
    assert_eq!(ids().await, ["links-1"]);
    archive.store.signing_keys().rotate("links", false).await.unwrap();
    archive.store.signing_keys().rotate("links", false).await.unwrap();
    assert_eq!(ids().await, ["links-3", "links-2", "links-1"]);
    archive.clock.advance_ms(49 * 3_600_000);
    archive.store.signing_keys().rotate("links", false).await.unwrap();
    assert_eq!(ids().await, ["links-4", "links-3"]);
    assert_eq!(archive.store.signing_keys().list("access-tokens").await.unwrap().len(), 1);
    archive.store.signing_keys().rotate("links", true).await.unwrap();
    assert_eq!(ids().await, ["links-5"]);
}

async fn a_page_does_not_change_when_records_come_late() {
    let archive = Archive::new().await;
    archive.push("one", &[record(1, "a"), record(5, "c")]).await;
    let request = archive.whole_log(FileFormat::Text, RecordOrder::Asc);
    let ticket = archive.store.pages().request_page(&request).await.unwrap();
    archive.push("two", &[record(3, "b")]).await;
    archive.build_all().await;
    let PageStatus::Ready(file) =
        archive.store.pages().page_status(archive.run_id, &ticket.token, Duration::ZERO).await.unwrap()
    else {
        panic!("not built")
    };
    let reader = archive.store.pages().open_page(&file.key).await.unwrap().unwrap();
    let length = reader.plain_bytes;
    let text: Vec<bytes::Bytes> = reader.plain(0..length).try_collect().await.unwrap();
    assert_eq!(
        String::from_utf8(text.concat()).unwrap(),
        "1970-01-01T00:00:00.001Z |       |  |  | a\n1970-01-01T00:00:00.005Z |       |  |  | c\n"
    );
    assert_eq!(archive.store.pages().request_page(&request).await.unwrap().records, 3);
}

async fn the_same_request_is_built_once() {
    let archive = Archive::new().await;
    archive.push("one", &[record(1, "a")]).await;
    let request = archive.whole_log(FileFormat::Json, RecordOrder::Desc);
    let first = archive.store.pages().request_page(&request).await.unwrap();
    assert_eq!(archive.build_all().await, 1);
    let second = archive.store.pages().request_page(&request).await.unwrap();
    assert_eq!(archive.build_all().await, 0);
    assert_ne!(first.token, second.token);
    let status = archive.store.pages().page_status(archive.run_id, &second.token, Duration::ZERO).await.unwrap();
    assert!(matches!(status, PageStatus::Ready(_)));
}

async fn a_token_is_for_its_run_and_its_hour() {
    let archive = Archive::new().await;
    let request = archive.whole_log(FileFormat::Json, RecordOrder::Desc);
    let ticket = archive.store.pages().request_page(&request).await.unwrap();
    assert_eq!((ticket.records, ticket.end), (0, PageEnd::Complete));
    let status = archive.store.pages().page_status(archive.run_id, &ticket.token, Duration::ZERO).await.unwrap();
    assert_eq!(status, PageStatus::InProgress);
    let other = archive.start_another_run().await;
    let error = archive.store.pages().page_status(other, &ticket.token, Duration::ZERO).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    archive.clock.advance_ms(3_600_000);
    let error = archive.store.pages().page_status(archive.run_id, &ticket.token, Duration::ZERO).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Expired);
    // A day later, they are no longer recognised.
    archive.clock.advance_ms(25 * 3_600_000);
    archive.store.maintenance().sweep().await.unwrap();
    let error = archive.store.pages().page_status(archive.run_id, &ticket.token, Duration::ZERO).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

async fn a_log_is_settled_some_time_after_its_end() {
    let archive = Archive::new().await;
    let request = archive.whole_log(FileFormat::Json, RecordOrder::Desc);
    assert!(!archive.store.pages().request_page(&request).await.unwrap().settled);
    archive.finish(RunStatus::Failed).await.unwrap();
    archive.clock.advance_ms(29_999);
    assert!(!archive.store.pages().request_page(&request).await.unwrap().settled);
    archive.clock.advance_ms(1);
    assert!(archive.store.pages().request_page(&request).await.unwrap().settled);
}

async fn the_runs_of_a_window_are_those_that_overlap_it_newest_first() {
    const MINUTE_MS: i64 = 60_000;
    let archive = Archive::new().await;
    let minute = |number: i64| Timestamp::clamped(1_795_000_000_000 + number * MINUTE_MS);
    for asked in [0, 60, 61, 119, 120, 121, 180] {
        for lasts in [Some(1), Some(60), Some(61), Some(200), None] {
            let id = archive.start_run_at(Some(minute(asked))).await;
            if let Some(lasts) = lasts {
                archive.finish_run_at(id, minute(asked + lasts)).await;
            }
        }
    }
    let everything = RunFilter { limit: 100, ..RunFilter::default() };
    let (all, total) = archive.store.runs().list(&everything).await.unwrap();
    assert_eq!((all.len(), total), (36, 36));
    for (start, end) in (-10..400).step_by(10).flat_map(|from| [(from, from + 30), (from, 1_000)]) {
        let (start, end) = (minute(start), minute(end));
        let overlaps = |run: &&Run| {
            let is_running = run.final_since.is_none() || run.finished_at.is_some_and(|at| at >= start);
            run.triggered_at <= end && (run.triggered_at >= start || is_running)
        };
        let expected: Vec<RunId> = all.iter().filter(overlaps).map(|run| run.id).collect();
        let overlapping = TimeRange { start: Some(start), end: Some(end) };
        let mut listed = Vec::new();
        for offset in (0..=expected.len() as u64).step_by(7) {
            let filter = RunFilter { overlapping, limit: 7, offset, ..RunFilter::default() };
            let (some, total) = archive.store.runs().list(&filter).await.unwrap();
            assert_eq!(total, expected.len() as u64);
            listed.extend(some.iter().map(|run| run.id));
        }
        assert_eq!(listed, expected, "{start} to {end}");

        let ended = all.iter().filter(overlaps).filter_map(|run| run.finished_at.zip(run.started_at));
        let mut durations: Vec<u64> = ended.map(|(end, start)| end.millis_since(start) as u64).collect();
        durations.sort_unstable();
        let filter = RunFilter { overlapping, ..RunFilter::default() };
        let expected = DurationsBody {
            runs: durations.len() as u64,
            median_ms: durations.get(durations.len() / 2).copied(),
            p95_ms: durations.get(durations.len() * 95 / 100).copied(),
            longest_ms: durations.last().copied(),
        };
        assert_eq!(archive.store.runs().durations(&filter).await.unwrap(), expected, "{start} to {end}");
    }
}

async fn a_run_ends_once() {
    let archive = Archive::new().await;
    let run = archive.finish(RunStatus::Failed).await.unwrap();
    assert_eq!(run.finished_at, Some(archive.now()));
    archive.clock.advance_ms(1_000);
    let again = archive.finish(RunStatus::Failed).await.unwrap();
    assert_eq!(again.finished_at, run.finished_at);
    assert_eq!(archive.finish(RunStatus::Successful).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(archive.finish(RunStatus::Executing).await.unwrap_err().kind(), ErrorKind::Invalid);
    // Begun again it stays as it ended, and its late records are taken.
    let start = StartRun::of_task(archive.task_id);
    let (run, is_new) = archive.store.runs().start(archive.run_id, &start, &archive.caller).await.unwrap();
    assert!(!is_new && run.status.coarse() == RunStatus::Failed);
    archive.push("late", &[record(9, "late")]).await;
}

async fn missing_items_are_not_found() {
    let archive = Archive::new().await;
    let unknown = "00000000-0000-4000-8000-000000000000".parse().unwrap();
    let finish = FinishRun {
        status: RunStatus::Failed,
        finish_timestamp: None,
        error_message: None,
        error_type: None,
        misfired_execution_reason: None,
        number_of_processed_rows: None,
        number_of_rejected_rows: None,
    };
    let kinds = [
        archive.store.runs().finish(unknown, &finish).await.unwrap_err().kind(),
        archive.store.ingest().begin_batch(unknown, None).await.map(|_| ()).unwrap_err().kind(),
        archive
            .store
            .logs()
            .read_records(unknown, TimeRange::ALL, RecordOrder::Asc)
            .await
            .map(|_| ())
            .unwrap_err()
            .kind(),
    ];
    assert_eq!(kinds, [ErrorKind::NotFound; 3]);
}

async fn a_missing_object_is_corrupt_and_not_an_empty_log() {
    let archive = Archive::new().await;
    archive.push("one", &[record(1, "a")]).await;
    archive.remove_objects();
    let query = LiveQuery { range: TimeRange::ALL, order: RecordOrder::Asc, start_index: 0, count: 1 };
    let error = archive.store.logs().live_page(archive.run_id, &query).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

async fn concurrent_page_requests_are_all_audited() {
    let archive = Archive::new().await;
    archive.push("one", &(0..50).map(|ms| record(ms, "a")).collect::<Vec<_>>()).await;
    let ask = |end: i64| {
        let (store, run_id) = (archive.store.clone(), archive.run_id);
        let range = TimeRange { start: None, end: Some(Timestamp::clamped(end)) };
        let request = PageRequest {
            run_id,
            range,
            format: FileFormat::Json,
            order: RecordOrder::Desc,
            file_name: "log".to_owned(),
        };
        tokio::spawn(async move { store.pages().request_page(&request).await.map(|ticket| (end, ticket)) })
    };
    let (kept, gone): (Vec<_>, Vec<_>) = (0..50).map(ask).enumerate().partition(|(index, _)| index % 3 != 0);
    gone.iter().for_each(|(_, task)| task.abort());
    for (_, task) in kept {
        let (end, ticket) = task.await.unwrap().unwrap();
        assert_eq!(ticket.records, end.unsigned_abs() + 1);
        let status = archive.store.pages().page_status(archive.run_id, &ticket.token, Duration::ZERO).await.unwrap();
        assert!(matches!(status, PageStatus::InProgress), "{status:?}");
    }
    archive.build_all().await;
}

async fn ended_runs_are_sealed_together_and_their_segments_removed() {
    let archive = Archive::new().await;
    let other = archive.start_another_run().await;
    for batch in 0..5_i64 {
        archive.push(&format!("b{batch}"), &[record(100 - batch, "late"), record(batch, "early")]).await;
        push(&archive.store, other, batch as u8, &[record(batch, "other")]).await.unwrap();
    }
    archive.finish(RunStatus::Successful).await.unwrap();
    archive.finish_run(other).await;
    assert_eq!(archive.store.maintenance().seal().await.unwrap().runs, 0, "the log may still grow");
    archive.clock.advance_ms(30_000);
    let before = (archive.records().await, archive.records_of(other).await);
    let sealed = archive.store.maintenance().seal().await.unwrap();
    assert_eq!((sealed.runs, sealed.records), (2, 15));
    assert_eq!(archive.store.maintenance().seal().await.unwrap().runs, 0);
    assert_eq!(archive.objects(), 10, "kept for those who read them");
    assert_eq!(archive.sealed_files(), 1);
    archive.clock.advance_ms(2 * 3_600_000);
    assert_eq!(archive.store.maintenance().sweep().await.unwrap(), sealed.bytes_replaced);
    assert_eq!(archive.objects(), 0);
    assert_eq!((archive.records().await, archive.records_of(other).await), before);
}

async fn late_records_open_a_sealed_log_again() {
    let archive = Archive::new().await;
    archive.push("a", &[record(1, "a"), record(9, "b")]).await;
    archive.finish(RunStatus::Failed).await.unwrap();
    archive.clock.advance_ms(30_000);
    assert_eq!(archive.store.maintenance().seal().await.unwrap().runs, 1);
    archive.push("b", &[record(5, "late")]).await;
    assert_eq!(archive.store.maintenance().seal().await.unwrap().runs, 0);
    archive.clock.advance_ms(30_000);
    assert_eq!(archive.store.maintenance().seal().await.unwrap().records, 3);
    assert_eq!(archive.records().await, [record(1, "a"), record(5, "late"), record(9, "b")]);
}

async fn many_slices_that_all_overlap_are_merged_in_passes() {
    let archive = Archive::new().await;
    let mut records = Vec::new();
    for batch in 0..60_i64 {
        let some: Vec<Record> = (0..20).map(|row| record(row * 100 + batch % 7, &format!("{batch}-{row}"))).collect();
        archive.push(&format!("b{batch}"), &some).await;
        records.extend(some);
    }
    archive.finish(RunStatus::Successful).await.unwrap();
    archive.clock.advance_ms(30_000);
    let mut passes = 0;
    while archive.store.maintenance().seal().await.unwrap().runs > 0 {
        passes += 1;
    }
    assert!(passes > 1);
    assert_eq!(archive.records().await, sorted(records, TimeRange::ALL));
}

async fn a_page_does_not_change_after_later_records() {
    let archive = Archive::new().await;
    archive.push("a", &[record(1, "a"), record(5, "b")]).await;
    archive.finish(RunStatus::Successful).await.unwrap();
    let request = archive.whole_log(FileFormat::Json, RecordOrder::Asc);
    let ticket = archive.store.pages().request_page(&request).await.unwrap();
    archive.push("b", &[record(3, "late")]).await;
    archive.clock.advance_ms(30_000);
    assert_eq!(archive.store.maintenance().seal().await.unwrap().records, 3);
    archive.build_all().await;
    assert_eq!(downloaded(&archive, &ticket.token).await, [record(1, "a"), record(5, "b")]);
}

async fn what_is_deleted_leaves_the_objects_it_shared() {
    let archive = Archive::new().await;
    let other = archive.start_another_run().await;
    archive.push("a", &[record(1, "the secret of the first run")]).await;
    push(&archive.store, other, 0, &[record(2, "kept")]).await.unwrap();
    archive.finish(RunStatus::Successful).await.unwrap();
    archive.finish_run(other).await;
    archive.clock.advance_ms(30_000);
    assert_eq!(archive.store.maintenance().seal().await.unwrap().runs, 2);
    let deleted = archive.store.maintenance().delete_log(archive.run_id).await.unwrap();
    assert_eq!(deleted.records, 1);
    assert!(deleted.shared_bytes > 0);
    assert_eq!(archive.store.maintenance().seal().await.unwrap().runs, 1);
    archive.clock.advance_ms(2 * 3_600_000);
    archive.store.maintenance().sweep().await.unwrap();
    assert_eq!((archive.objects(), archive.sealed_files()), (0, 1));
    assert_eq!(archive.records_of(other).await, [record(2, "kept")]);
    assert_eq!(archive.records().await, []);
}

async fn logs_are_kept_as_long_as_their_workspace_says_unless_they_are_held() {
    let archive = Archive::new().await;
    let workspace = archive.store.runs().get(archive.run_id).await.unwrap().unwrap().workspace_id;
    let held = archive.start_another_run().await;
    archive.push("a", &[record(1, "a")]).await;
    push(&archive.store, held, 0, &[record(2, "kept")]).await.unwrap();
    archive.finish(RunStatus::Successful).await.unwrap();
    archive.finish_run(held).await;
    let hold = LegalHold { reason: Some("audit".to_owned()), by: "kim".to_owned() };
    archive.store.maintenance().set_legal_hold(held, Some(&hold)).await.unwrap();
    let (holds, total) = archive.store.maintenance().held_runs(9, 0).await.unwrap();
    assert_eq!((total, holds[0].run_id, holds[0].reason.as_deref()), (1, held, Some("audit")));
    let days = |days| Retention { days: Some(days), bytes: None };
    archive.store.maintenance().set_retention(workspace, days(2)).await.unwrap();
    assert_eq!(archive.store.maintenance().retention(workspace).await.unwrap(), days(2));
    assert_eq!(archive.store.maintenance().apply_retention().await.unwrap().runs, 0);
    archive.clock.advance_ms(3 * 86_400_000);
    let preview = archive.store.maintenance().preview_retention(workspace, days(2)).await.unwrap();
    assert_eq!((preview.runs, preview.records, preview.held_runs, preview.current.days), (1, 1, 1, Some(2)));
    let listed = archive.store.maintenance().retentions().await.unwrap();
    let listed = listed.iter().find(|listed| listed.workspace_id == workspace).unwrap();
    assert_eq!((listed.days, listed.logs, listed.records, listed.held_runs), (Some(2), 2, 2, 1));
    assert_eq!(archive.store.maintenance().apply_retention().await.unwrap().records, 1);
    assert_eq!(archive.records().await, []);
    assert_eq!(archive.records_of(held).await, [record(2, "kept")]);
    assert_eq!(archive.store.maintenance().delete_log(held).await.unwrap_err().kind(), ErrorKind::Conflict);
    archive.store.maintenance().set_legal_hold(held, None).await.unwrap();
    assert_eq!(archive.store.maintenance().delete_log(held).await.unwrap().records, 1);
    let (entries, _) =
        archive.store.audit().entries(&AuditFilter { limit: 9, ..AuditFilter::default() }).await.unwrap();
    assert_eq!(entries[0].subject, archive.run_id.to_string());
}

/// A node whose clock had jumped ahead deleted every log that had a retention.
async fn a_clock_that_is_ahead_of_the_one_of_the_catalog_deletes_nothing() {
    let archive = Archive::new().await;
    let workspace = archive.store.runs().get(archive.run_id).await.unwrap().unwrap().workspace_id;
    archive.push("a", &[record(1, "a")]).await;
    archive.finish(RunStatus::Successful).await.unwrap();
    let retention = Retention { days: Some(2), bytes: None };
    archive.store.maintenance().set_retention(workspace, retention).await.unwrap();
    let (ahead, _) = archive.node_ahead_by(3 * 86_400_000).await;
    for node in [&ahead, &archive.store] {
        assert_eq!(node.maintenance().preview_retention(workspace, retention).await.unwrap().runs, 0);
        assert_eq!(node.maintenance().apply_retention().await.unwrap().runs, 0);
    }
    archive.clock.advance_ms(3 * 86_400_000);
    assert_eq!(ahead.maintenance().apply_retention().await.unwrap().runs, 1);
}

async fn a_workspace_that_is_too_large_loses_its_oldest_logs() {
    let archive = Archive::new().await;
    let workspace = archive.store.runs().get(archive.run_id).await.unwrap().unwrap().workspace_id;
    let mut runs = vec![archive.run_id];
    for _ in 0..3 {
        archive.clock.advance_ms(60_000);
        runs.push(archive.start_another_run().await);
    }
    for run_id in &runs {
        push(&archive.store, *run_id, 0, &[record(1, "the same")]).await.unwrap();
        archive.finish_run(*run_id).await;
    }
    let bytes = archive.store.maintenance().metrics().await.unwrap().segment_bytes;
    let retention = Retention { days: None, bytes: Some(bytes * 3 / 5) };
    archive.store.maintenance().set_retention(workspace, retention).await.unwrap();
    assert_eq!(archive.store.maintenance().preview_retention(workspace, retention).await.unwrap().runs, 2);
    assert_eq!(archive.store.maintenance().apply_retention().await.unwrap().runs, 2);
    assert_eq!(archive.store.maintenance().preview_retention(workspace, retention).await.unwrap().runs, 0);
    for (index, run_id) in runs.iter().enumerate() {
        assert_eq!(archive.records_of(*run_id).await.len(), usize::from(index >= 2), "run {index}");
    }
}

async fn rules_of_alerts_are_listed_muted_and_remembered() {
    let archive = Archive::new().await;
    let alerts = archive.store.alerts();
    alerts.rule_known_since("night").await.unwrap();
    let description = AlertRuleDescription { when: vec!["run_failed".to_owned()], ..AlertRuleDescription::default() };
    alerts.describe_rule("night", &description).await.unwrap();
    let alert = |occurrence: &str, is_muted| NewAlert {
        rule: "night".to_owned(),
        destination: "mail a@b.c".to_owned(),
        occurrence: occurrence.to_owned(),
        body: r#"{"what":"run_failed","text":"it failed"}"#.to_owned(),
        is_muted,
        ..NewAlert::default()
    };
    alerts.enqueue(&[alert("one", false), alert("two", true)]).await.unwrap();
    alerts.set_mute("night", Some(&NewAlertMute::default()), "kim").await.unwrap();
    let rules = alerts.rules().await.unwrap();
    assert_eq!((rules[0].waiting, rules[0].delivered, rules[0].description.as_ref()), (1, 0, Some(&description)));
    assert_eq!(rules[0].mute.as_ref().map(|mute| (mute.by.as_str(), mute.until)), Some(("kim", None)));
    assert!(alerts.is_muted("night").await.unwrap());
    for (state, expected) in [(None, 2), (Some(AlertState::Waiting), 1), (Some(AlertState::Muted), 1)] {
        let filter = AlertFilter { rule: Some("night".to_owned()), state, limit: 9, offset: 0 };
        let (items, total) = alerts.history(&filter).await.unwrap();
        assert_eq!((items.len(), total, items[0].text.as_str()), (expected, expected as u64, "it failed"));
    }
    alerts.set_mute("night", None, "kim").await.unwrap();
    assert!(!alerts.is_muted("night").await.unwrap());

    // Two destinations take the place of one, and one of them is removed from the settings.
    for _ in 0..2 {
        let destinations = ["mail a".to_owned(), "mail b".to_owned()];
        alerts.replace_destination("night", "mail a@b.c", &destinations).await.unwrap();
        let waiting = alerts.backlog().await.unwrap();
        assert_eq!(waiting.iter().map(|it| it.destination.as_str()).collect::<Vec<_>>(), destinations);
    }
    archive.clock.advance_ms(3 * 86_400_000 + 1);
    assert_eq!(alerts.give_up_without_destination(&["mail b".to_owned()]).await.unwrap(), 1);
    assert_eq!(alerts.backlog().await.unwrap().len(), 1);
}

/// Lists of open alerts ended at a number of those of all rules, and alerts that were open for too long were hidden by
/// 5,000 newer ones.
async fn open_alerts_of_a_rule_hide_neither_those_of_another_nor_what_is_to_be_forgotten() {
    let archive = Archive::new().await;
    let alerts = archive.store.alerts();
    let alert = |rule: &str, member: &str| NewAlert {
        rule: rule.to_owned(),
        destination: "mail".to_owned(),
        occurrence: member.to_owned(),
        body: r#"{"what":"run_failed","text":"it failed"}"#.to_owned(),
        subject: member.to_owned(),
        state: Some(NewAlertState { member: member.to_owned(), about: "{}".to_owned() }),
        ..NewAlert::default()
    };
    for rule in ["day", "night"] {
        alerts.rule_known_since(rule).await.unwrap();
        alerts.enqueue(&[alert(rule, "old")]).await.unwrap();
    }
    archive.clock.advance_ms(31 * 86_400_000);
    alerts.enqueue(&[alert("night", "new")]).await.unwrap();
    archive
        .change_catalog(
            "INSERT INTO alert_states (rule, subject, member, about, body, since)
             WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 5100)
             SELECT s.rule, 'subject ' || CAST(n AS TEXT), s.member, s.about, s.body, s.since
             FROM numbers CROSS JOIN alert_states s WHERE s.member = 'new'",
        )
        .await;
    let rules = alerts.rules().await.unwrap();
    assert_eq!(rules.iter().map(|rule| rule.open.len()).collect::<Vec<_>>(), [1, 100]);
    assert_eq!(alerts.open_states("night").await.unwrap().len(), 5_000);
    archive.change_catalog("DELETE FROM alert_states WHERE member = 'new'").await;
    assert!(alerts.rules().await.unwrap()[1].open.is_empty(), "what had been open for too long is forgotten");
}

/// Two parts of a subject end; the end is reported once, after the beginning, to the destinations that received the
/// beginning.
async fn recoveries_are_reported_once_and_in_order() {
    let archive = Archive::new().await;
    let alerts = archive.store.alerts();
    alerts.rule_known_since("night").await.unwrap();
    let alert = |member: &str, destination: &str, is_muted| NewAlert {
        rule: "night".to_owned(),
        destination: destination.to_owned(),
        occurrence: member.to_owned(),
        body: r#"{"what":"run_failed","text":"it failed"}"#.to_owned(),
        is_muted,
        subject: "both".to_owned(),
        state: Some(NewAlertState { member: member.to_owned(), about: "{}".to_owned() }),
        ..NewAlert::default()
    };
    let queued = [alert("a", "mail", false), alert("b", "mail", false), alert("a", "chat", true)];
    assert_eq!(alerts.enqueue(&queued).await.unwrap(), 2);
    let open = alerts.open_states("night").await.unwrap();
    assert_eq!(open.len(), 2);
    assert_eq!(alerts.rules().await.unwrap()[0].open.len(), 2);
    let to = |destination: &str| Recovery { destination: destination.to_owned(), is_muted: false };
    let to = [to("mail"), to("chat")];
    assert_eq!(alerts.end(&open[0], "{}", &to, None).await.unwrap(), 0, "it is not known to be over");
    for state in &open {
        alerts.set_ended(state, Some(archive.now())).await.unwrap();
    }
    let (a, b) = tokio::join!(alerts.end(&open[0], "{}", &to, None), alerts.end(&open[1], "{}", &to, None));
    assert_eq!(a.unwrap() + b.unwrap(), 1, "the last part tells the end, to those who were told of the beginning");
    assert_eq!(alerts.end(&open[0], "{}", &to, None).await.unwrap(), 0);
    let first = alerts.claim("mail").await.unwrap().unwrap();
    assert!(!first.is_recovery());
    let others = alerts.claim_others(&first, false).await.unwrap();
    assert_eq!(others.iter().map(|alert| alert.is_recovery()).collect::<Vec<_>>(), [false]);
    assert!(alerts.claim("mail").await.unwrap().is_none(), "the end waits for the beginning");
    alerts.mark_delivered(std::slice::from_ref(&first)).await.unwrap();
    alerts.give_up(&others[0], "it answered 400").await.unwrap();
    assert!(alerts.claim("mail").await.unwrap().unwrap().is_recovery());
    assert!(alerts.claim("chat").await.unwrap().is_none());
    let numbers = alerts.destinations().await.unwrap();
    let numbers: Vec<_> =
        numbers.iter().map(|it| (it.destination.as_str(), it.delivered, it.waiting, it.refused)).collect();
    assert_eq!(numbers, [("chat", 0, 0, 0), ("mail", 1, 1, 1)]);
    assert_eq!(alerts.last_runs(None, 9).await.unwrap().len(), 1);
    assert!(alerts.waiting_runs(archive.now(), None, 9).await.unwrap().0.is_empty());
    assert!(alerts.runs_that_rejected_rows(archive.now().plus_millis(-60_000), None, 9).await.unwrap().0.is_empty());
    assert!(alerts.processed_rows_before(archive.task_id, archive.now(), 9).await.unwrap().is_empty());
    let findings = archive.store.maintenance().diagnose().await;
    let seen = findings.iter().find(|finding| finding.what == "alerts").map(|finding| finding.seen.clone());
    assert_eq!(seen.as_deref(), Some("1 alerts for mail were given up: it answered 400"));
}

/// Runs of the same millisecond lie on both sides of the end of a page.
async fn lists_of_runs_for_alerts_have_each_run_on_one_page() {
    let archive = Archive::new().await;
    let (store, alerts) = (&archive.store, archive.store.alerts());
    let now = archive.now();
    let start = |status| StartRun {
        status: Some(status),
        trigger_timestamp: Some(now),
        start_timestamp: (status == RunStatus::Executing).then_some(now),
        ..StartRun::of_task(archive.task_id)
    };
    let id = |kind: usize, number: usize| -> RunId {
        format!("00000000-0000-4000-800{kind}-00000000000{number}").parse().unwrap()
    };
    for number in 0..5 {
        for (kind, status) in
            [RunStatus::Executing, RunStatus::Dispatching, RunStatus::Executing].into_iter().enumerate()
        {
            store.runs().start(id(kind, number), &start(status), &archive.caller).await.unwrap();
        }
        let finish = FinishRun { number_of_rejected_rows: Some(1), ..FinishRun::with_status(RunStatus::Successful) };
        store.runs().finish(id(2, number), &finish).await.unwrap();
    }
    let later = now.plus_millis(1);
    for list in 0..4 {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let (runs, next) = match list {
                0 => alerts.running_runs(later, after, 2).await.unwrap(),
                1 => alerts.waiting_runs(later, after, 2).await.unwrap(),
                2 => alerts.runs_ended_since(now, after, 2).await.unwrap(),
                _ => alerts.runs_that_rejected_rows(now, after, 2).await.unwrap(),
            };
            assert!(runs.len() <= 2);
            seen.extend(runs.iter().map(|run| run.id));
            let Some(next) = next else { break };
            after = Some(next);
        }
        // The archive has a run of its own.
        seen.retain(|run| *run != archive.run_id);
        seen.sort_unstable();
        let expected: Vec<RunId> = (0..5).map(|number| id(list.min(2), number)).collect();
        assert_eq!(seen, expected, "list {list}");
    }
}

async fn deliveries_are_listed_retried_and_replayed() {
    let archive = Archive::new().await;
    archive.push("a", &[record(1, "a"), record(2, "b")]).await;
    archive.finish(RunStatus::Successful).await.unwrap();
    archive.clock.advance_ms(60_000);
    let deliveries = archive.store.deliveries();
    deliveries.register_sink("files", "files", None).await.unwrap();
    deliveries.enqueue_finished_runs("files", |_| true).await.unwrap();
    let until = archive.now().plus_millis(60_000);
    let claimed = deliveries.claim("files", until).await.unwrap().unwrap();
    deliveries.record_failure(&claimed, "it is gone", None).await.unwrap();
    assert_eq!(deliveries.retry_run("files", archive.run_id).await.unwrap(), 1);
    let claimed = deliveries.claim("files", until).await.unwrap().unwrap();
    deliveries.finish(&claimed).await.unwrap();
    assert_eq!(deliveries.retry_run("files", archive.run_id).await.unwrap(), 0);
    let (recent, total) = deliveries.recent("files", 9, 0).await.unwrap();
    assert_eq!((total, recent[0].state.as_str(), recent[0].run_id.clone()), (1, "done", archive.run_id.to_string()));
    assert_eq!(deliveries.replay("files", TimeRange::ALL).await.unwrap(), 1);
    let claimed = deliveries.claim("files", until).await.unwrap().unwrap();
    assert_eq!((claimed.records(), claimed.is_from_start()), (2, true));
    assert_eq!(archive.store.collection().landed_runs("eu", 9, 0).await.unwrap(), (Vec::new(), 0));
    assert_eq!(archive.store.collection().retry_run("eu", archive.run_id).await.unwrap(), 0);
}

async fn batches_that_come_together_share_an_object() {
    let archive = Archive::new().await;
    let mut runs = vec![archive.run_id];
    for _ in 0..4 {
        runs.push(archive.start_another_run().await);
    }
    let batches = (0..40_usize).map(|number| {
        let (store, run_id) = (archive.store.clone(), runs[number % runs.len()]);
        tokio::spawn(async move { push(&store, run_id, number as u8, &[record(number as i64, "a")]).await })
    });
    for done in batches.collect::<Vec<_>>() {
        assert!(!done.await.unwrap().unwrap().repeated);
    }
    assert!(archive.objects() < 40, "{} objects", archive.objects());
    for (number, run_id) in runs.iter().enumerate() {
        let times: Vec<i64> = archive.records_of(*run_id).await.iter().map(|record| record.time.as_millis()).collect();
        assert_eq!(times, (0..8).map(|index| (number + 5 * index) as i64).collect::<Vec<_>>());
    }
}

async fn a_batch_without_memory_is_rejected_and_can_be_retried() {
    let archive = Archive::with_settings(|settings| settings.ingest_memory_bytes = 256 << 10).await;
    let long = "x".repeat(100 << 10);
    let mut first = archive.store.ingest().begin_batch(archive.run_id, Some("first")).await.unwrap();
    first.push(&record(1, &long)).await.unwrap();
    first.push(&record(2, &long)).await.unwrap();
    let refused = push(&archive.store, archive.run_id, 2, &[record(3, &long), record(4, &long)]).await;
    assert_eq!(refused, Err(ErrorKind::Busy));
    assert_eq!(first.commit().await.unwrap().stored, 2);
    push(&archive.store, archive.run_id, 2, &[record(3, &long), record(4, &long)]).await.unwrap();
    assert_eq!(archive.records().await.len(), 4);
}

async fn fields_beyond_those_of_the_api_count_as_memory_too() {
    let archive = Archive::with_settings(|settings| settings.ingest_memory_bytes = 256 << 10).await;
    let long = |ms: i64| {
        let fields = serde_json::json!({ "attributes": { "nested": ["x".repeat(100 << 10)] } });
        let extra = fields.as_object().cloned().map(|fields| Box::new(fields.into()));
        Record { extra, ..record(ms, "short") }
    };
    let mut first = archive.store.ingest().begin_batch(archive.run_id, Some("first")).await.unwrap();
    first.push(&long(1)).await.unwrap();
    first.push(&long(2)).await.unwrap();
    assert_eq!(push(&archive.store, archive.run_id, 2, &[long(3), long(4)]).await, Err(ErrorKind::Busy));
    first.commit().await.unwrap();
}

/// An archive with a sealed run, one that goes on, one without a log, and a page file.
async fn lived_in() -> Archive {
    let archive = Archive::new().await;
    let (other, _) = (archive.start_another_run().await, archive.start_another_run().await);
    for batch in 0..4_i64 {
        archive.push(&format!("b{batch}"), &[record(9 - batch, "INFO"), record(batch, "b")]).await;
        push(&archive.store, other, batch as u8, &[record(batch, "goes on")]).await.unwrap();
    }
    archive.finish(RunStatus::Successful).await.unwrap();
    archive.clock.advance_ms(31_000);
    assert_eq!(archive.store.maintenance().seal().await.unwrap().runs, 1);
    naive_pages(&archive, TimeRange::ALL, RecordOrder::Desc).await;
    archive
}

async fn an_intact_archive_verifies() {
    let archive = lived_in().await;
    let verified = archive.store.maintenance().verify(false, |_| ()).await.unwrap();
    assert_eq!((verified.problems, verified.orphans, verified.problem_texts.len()), (0, 0, 0));
    assert_eq!((verified.runs, verified.records, verified.pages), (2, 12, 1));
    // Those of the sealed run are kept for an hour.
    assert_eq!(verified.objects, 9);
    // The clock of the tests differs from that of the backends, which is reported as doubtful.
    let findings = archive.store.maintenance().diagnose().await;
    assert!(findings.iter().all(|finding| finding.health < Health::Bad), "{findings:?}");
    assert!(findings.iter().any(|finding| finding.what == "clock" && finding.health == Health::Doubtful));
    let statistics = archive.store.maintenance().statistics().await.unwrap();
    assert_eq!((statistics.sealed.objects, statistics.segments.objects, statistics.replaced.objects), (1, 4, 4));
    assert_eq!((statistics.workspaces[0].runs, statistics.workspaces[0].records), (3, 12));
}

async fn every_damage_is_found_by_verification() {
    let archive = lived_in().await;
    let files = archive.object_files();
    let sealed = files.iter().find(|file| file.to_string_lossy().contains("sealed")).unwrap();
    let mut bytes = std::fs::read(sealed).unwrap();
    bytes[100] ^= 1;
    std::fs::write(sealed, bytes).unwrap();
    let verified = archive.store.maintenance().verify(false, |_| ()).await.unwrap();
    assert!(verified.problem_texts[0].contains("does not match its checksum"), "{:?}", verified.problem_texts);

    for file in &files {
        std::fs::remove_file(file).unwrap();
    }
    let verified = archive.store.maintenance().verify(true, |_| ()).await.unwrap();
    let lost = verified.problem_texts.iter().filter(|text| text.contains("is missing")).count();
    assert_eq!(lost, files.len(), "{:?}", verified.problem_texts);
    // The page file is rebuilt on request, and the four segments that a sealed file has replaced are not needed;
    // records cannot be restored.
    assert_eq!(verified.repaired, 5);
}

async fn an_archive_is_copied_whole_and_again_with_what_has_come_since() {
    let archive = lived_in().await;
    let copy = Copy::empty().await;
    let copied = archive.store.maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
    assert_eq!((copied.runs, copied.records, copied.objects), (3, 12, 5));
    let again = archive.store.maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
    assert_eq!((again.runs, again.runs_before, again.objects), (0, 3, 0));

    archive.push("late", &[record(4, "late")]).await;
    let copied = archive.store.maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
    assert_eq!((copied.runs, copied.runs_before, copied.objects), (1, 2, 1));
    assert_eq!(copy.records_of(archive.run_id).await, archive.records().await);
    let verified = copy.store.maintenance().verify(false, |_| ()).await.unwrap();
    assert_eq!((verified.problems, verified.records), (0, 13));
    // And back: the copy answers to a repeated batch as the first archive does.
    assert!(push(&copy.store, archive.run_id, 0, &[record(9, "INFO"), record(0, "b")]).await.unwrap().repeated);

    let stranger = Copy::new().await;
    let error = stranger.store.maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

/// One lost object ended each copy at the same place: of half of the archive, there was no backup.
async fn a_copy_leaves_out_a_run_whose_log_is_damaged_and_brings_everything_else() {
    let archive = Archive::new().await;
    archive.push("one", &[record(1, "a")]).await;
    let before: BTreeSet<_> = archive.object_files().into_iter().collect();
    let lost = archive.start_another_run().await;
    push(&archive.store, lost, 1, &[record(1, "lost")]).await.unwrap();
    let object = archive.object_files().into_iter().find(|file| !before.contains(file)).unwrap();
    let mut others = Vec::new();
    for number in 2..6 {
        others.push(archive.start_another_run().await);
        push(&archive.store, others[others.len() - 1], number, &[record(i64::from(number), "c")]).await.unwrap();
    }
    let entry = AuditEntry {
        at: archive.now(),
        caller_id: "-".to_owned(),
        caller_name: "ada".to_owned(),
        action: "read log".to_owned(),
        subject: "a".to_owned(),
        status: 200,
        address: String::new(),
        request_id: "one".to_owned(),
    };
    archive.store.audit().record(entry).await.unwrap();
    let content = std::fs::read(&object).unwrap();
    std::fs::remove_file(&object).unwrap();

    let copy = Copy::empty().await;
    let copied = archive.store.maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
    assert_eq!((copied.runs, copied.records, copied.runs_damaged), (5, 5, 1));
    assert!(copied.damage.len() == 1 && copied.damage[0].contains(&lost.to_string()), "{:?}", copied.damage);
    for run_id in others {
        assert_eq!(copy.records_of(run_id).await, archive.records_of(run_id).await);
    }
    let (entries, _) = copy.store.audit().entries(&AuditFilter { limit: 9, ..AuditFilter::default() }).await.unwrap();
    assert!(entries.iter().any(|entry| entry.subject == "a"), "what comes after the runs is copied");
    assert_eq!(copy.store.maintenance().verify(false, |_| ()).await.unwrap().problems, 0);

    std::fs::write(&object, content).unwrap();
    let copied = archive.store.maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
    assert_eq!((copied.runs, copied.runs_before, copied.runs_damaged), (1, 5, 0));
    assert_eq!(copy.records_of(lost).await, archive.records_of(lost).await);
}

async fn a_copy_drops_revoked_items_and_repeats_no_alerts() {
    let archive = with_due_run().await;
    let user = NewUser { name: "ada".to_owned(), administrator: false };
    let user = archive.store.accounts().create_user(&user).await.unwrap();
    let token = archive.store.accounts().create_token(&user.id, "laptop").await.unwrap();
    let mut claimed = claim(&archive, "sink").await.unwrap();
    let last = place(&archive, &claimed, 3).await;
    let refused = vec![RefusedRange::one(last, "too old")];
    let step = runlog_store::delivery::DeliveryStep { until: Some(last), delivered: 3, refused, ..Default::default() };
    archive.store.deliveries().commit_step(&mut claimed, &step).await.unwrap();
    archive.store.deliveries().finish(&claimed).await.unwrap();
    let alert = NewAlert {
        rule: "failed".to_owned(),
        destination: "mail".to_owned(),
        occurrence: "run failed".to_owned(),
        body: "{}".to_owned(),
        is_muted: false,
        ..NewAlert::default()
    };
    archive.store.alerts().enqueue(std::slice::from_ref(&alert)).await.unwrap();
    let copy = Copy::empty().await;
    archive.store.maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
    let secret = token.token.unwrap();
    assert!(copy.store.accounts().authenticate_token(&secret).await.unwrap().is_some());
    assert_eq!(copy.store.deliveries().enqueue_finished_runs("sink", |_| true).await.unwrap(), 0);
    let metrics = copy.store.deliveries().metrics().await.unwrap().remove(0);
    assert_eq!((metrics.due, metrics.done, metrics.records, metrics.refused), (0, 1, 3, 1));
    assert_eq!(copy.store.alerts().enqueue(&[alert]).await.unwrap(), 0, "it is known");

    archive.store.accounts().revoke_token(&token.id, None).await.unwrap();
    archive.store.signing_keys().rotate("links", true).await.unwrap();
    archive.store.deliveries().remove_sink("sink").await.unwrap();
    archive.store.maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
    assert!(copy.store.accounts().authenticate_token(&secret).await.unwrap().is_none());
    let ids = async |store: &Store| {
        let keys = store.signing_keys().list("links").await.unwrap();
        keys.into_iter().map(|key| key.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&copy.store).await, ids(&archive.store).await);
    assert!(copy.store.deliveries().metrics().await.unwrap().is_empty());
    assert!(copy.store.deliveries().dead_letters("sink", 9).await.unwrap().is_empty());
}

/// A service was started on a copy, which made an entry of its own there. The next copy took it for one of the archive's, and
/// left one out.
async fn a_copy_that_was_used_has_all_entries_of_the_audit_log() {
    let archive = Archive::new().await;
    let entry = |at: i64, subject: &str| AuditEntry {
        at: archive.now().plus_millis(at),
        caller_id: "-".to_owned(),
        caller_name: "ada".to_owned(),
        action: "read log".to_owned(),
        subject: subject.to_owned(),
        status: 200,
        address: String::new(),
        request_id: "one".to_owned(),
    };
    let copy = Copy::empty().await;
    let subjects = async || {
        let filter = AuditFilter { limit: 99, ..AuditFilter::default() };
        let (entries, _) = copy.store.audit().entries(&filter).await.unwrap();
        let mut subjects: Vec<_> = entries.into_iter().map(|entry| entry.subject).collect();
        subjects.sort_unstable();
        subjects
    };
    for subject in ["a", "a", "b"] {
        archive.store.audit().record(entry(1, subject)).await.unwrap();
    }
    archive.store.maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
    assert_eq!(subjects().await, ["a", "a", "b"]);
    copy.store.audit().record(entry(5, "of the copy")).await.unwrap();
    for (at, subject) in [(1, "a"), (2, "c"), (5, "d"), (9, "e")] {
        archive.store.audit().record(entry(at, subject)).await.unwrap();
    }
    for _ in 0..2 {
        archive.store.maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
        assert_eq!(subjects().await, ["a", "a", "a", "b", "c", "d", "e", "of the copy"]);
    }
}

async fn unneeded_objects_of_a_copy_are_swept() {
    let archive = lived_in().await;
    let copy = Copy::empty().await;
    archive.push("late", &[record(4, "late")]).await;
    archive.store.maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
    archive.clock.advance_ms(31_000);
    assert_eq!(archive.store.maintenance().seal().await.unwrap().runs, 1);
    archive.store.maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
    copy.clock.advance_ms(2 * 3_600_000);
    copy.store.maintenance().sweep().await.unwrap();
    archive.clock.advance_ms(2 * 3_600_000);
    archive.store.maintenance().sweep().await.unwrap();
    assert_eq!((copy.objects(), copy.sealed_files()), (archive.objects(), archive.sealed_files()));
    assert_eq!(copy.records_of(archive.run_id).await, archive.records().await);
}

/// A run as listed by an upstream.
fn told(number: u8, progress: UpstreamRunState, due_at: Timestamp) -> UpstreamRun {
    UpstreamRun {
        run_id: format!("00000000-0000-4000-8000-0000000000{number:02}").parse().unwrap(),
        task_id: "a task".to_owned(),
        progress,
        status: "a word".to_owned(),
        triggered_at: Some(Timestamp::clamped(1)),
        finished_at: None,
        due_at,
        body: format!("{{\"number\":{number}}}"),
    }
}

async fn a_collected_run_has_one_lease_holder_at_a_time() {
    let archive = Archive::new().await;
    let (store, now) = (&archive.store, archive.now());
    let runs = [
        told(1, UpstreamRunState::Pending, now),
        told(2, UpstreamRunState::Running, now),
        told(3, UpstreamRunState::Pending, now.plus_millis(500)),
    ];
    assert_eq!(store.collection().upsert_runs("up", &runs).await.unwrap().new, 3);
    assert_eq!(store.collection().upsert_runs("up", &runs).await.unwrap(), UpsertCounts::default());
    assert!(store.collection().claim_run("another", now.plus_millis(100)).await.unwrap().is_none());

    let first = store.collection().claim_run("up", now.plus_millis(100)).await.unwrap().unwrap();
    assert_eq!((first.run_id().unwrap(), first.attempts), (runs[0].run_id, 0));
    assert!(
        store.collection().claim_run("up", now.plus_millis(100)).await.unwrap().is_none(),
        "it is in somebody's hands, or not due"
    );
    assert!(store.collection().renew_lease("up", &first, now.plus_millis(200)).await.unwrap());
    archive.clock.advance_ms(201);
    let second = store.collection().claim_run("up", now.plus_millis(900)).await.unwrap().unwrap();
    assert_eq!((second.run_id().unwrap(), second.attempts), (runs[0].run_id, 0), "who was killed has not failed");
    assert!(!store.collection().renew_lease("up", &first, now.plus_millis(900)).await.unwrap(), "it was taken over");
    // Calls of the first collector for the run no longer have an effect.
    store.collection().release("up", &first).await.unwrap();
    assert!(store.collection().claim_run("up", now.plus_millis(900)).await.unwrap().is_none());
}

async fn a_run_lands_once_together_with_its_end() {
    let archive = Archive::new().await;
    let (store, now, run_id) = (&archive.store, archive.now(), archive.run_id);
    let run = UpstreamRun { run_id, ..told(1, UpstreamRunState::Pending, now) };
    store.collection().upsert_runs("up", std::slice::from_ref(&run)).await.unwrap();
    let late = store.collection().claim_run("up", now.plus_millis(1)).await.unwrap().unwrap();
    archive.clock.advance_ms(2);
    let claimed = store.collection().claim_run("up", now.plus_millis(1_000)).await.unwrap().unwrap();
    let finish = FinishRun::with_status(RunStatus::Failed);

    let error = store
        .collection()
        .land("up", &late, &finish, LandedLog { records: 5, pages: 1, components_due_at: None })
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(!store.runs().get(run_id).await.unwrap().unwrap().status.is_final(), "neither or both");
    store
        .collection()
        .land("up", &claimed, &finish, LandedLog { records: 5, pages: 1, components_due_at: None })
        .await
        .unwrap();
    assert!(store.runs().get(run_id).await.unwrap().unwrap().status.is_final());
    // It stays landed, whatever later lists report.
    store
        .collection()
        .upsert_runs("up", &[UpstreamRun { run_id, ..told(1, UpstreamRunState::Running, now) }])
        .await
        .unwrap();
    assert!(store.collection().claim_run("up", now.plus_millis(9_000)).await.unwrap().is_none());
    let metrics = store.collection().metrics("up").await.unwrap();
    assert_eq!((metrics.known, metrics.landed, metrics.records, metrics.pages), (1, 1, 5, 1));
}

async fn a_setback_is_counted_shown_and_tried_again_in_time() {
    let archive = Archive::new().await;
    let (store, now) = (&archive.store, archive.now());
    store
        .collection()
        .upsert_runs("up", &[told(1, UpstreamRunState::Pending, now), told(2, UpstreamRunState::Pending, now)])
        .await
        .unwrap();
    for _ in 0..2 {
        let claimed = store.collection().claim_run("up", now.plus_millis(100)).await.unwrap().unwrap();
        let setback = FailedAttempt {
            error: "it counts otherwise".to_owned(),
            expected: Some(7),
            retry_at: now.plus_millis(700),
        };
        store.collection().record_failure("up", &claimed, &setback).await.unwrap();
    }
    let metrics = store.collection().metrics("up").await.unwrap();
    assert_eq!((metrics.pending, metrics.failing, metrics.incomplete), (2, 2, 2));
    let failing = store.collection().failing_runs("up", 10).await.unwrap();
    assert_eq!((failing.len(), failing[0].expected, failing[0].attempts), (2, Some(7), 1));
    assert_eq!(failing[0].last_error.as_deref(), Some("it counts otherwise"));
    assert!(store.collection().claim_run("up", now.plus_millis(800)).await.unwrap().is_none(), "not yet");
    archive.clock.advance_ms(700);
    assert_eq!(store.collection().claim_run("up", now.plus_millis(800)).await.unwrap().unwrap().attempts, 1);
    archive.clock.advance_ms(101);
    assert_eq!(store.collection().retry("up").await.unwrap(), 2);
    assert!(store.collection().claim_run("up", now.plus_millis(9_000)).await.unwrap().is_some());
    assert!(store.collection().claim_run("up", now.plus_millis(9_000)).await.unwrap().is_some());

    // The clock was ten hours ahead for a moment. That there is no log is counted by itself.
    archive.clock.advance_ms(9_000);
    let collection = store.collection();
    let claimed = collection.claim_run("up", archive.now().plus_millis(100)).await.unwrap().unwrap();
    let retry_at = archive.now().plus_millis(36_000_000);
    let setback = FailedAttempt { error: "there is no log".to_owned(), expected: None, retry_at };
    collection.record_no_log("up", &claimed, &setback).await.unwrap();
    assert_eq!(collection.bring_forward("up", archive.now().plus_millis(25_200_000)).await.unwrap(), 1);
    let mut counts = Vec::new();
    for _ in 0..2 {
        let run = collection.claim_run("up", archive.now().plus_millis(100)).await.unwrap().unwrap();
        counts.push((run.attempts, run.no_log_answers));
    }
    counts.sort();
    assert_eq!(counts, [(1, 0), (2, 1)]);
}

async fn collectors_know_of_each_other_until_they_leave_or_are_not_heard_of() {
    let archive = Archive::new().await;
    let collector = |host: &str, id: &str| CollectorHeartbeat {
        host: host.to_owned(),
        id: id.to_owned(),
        requests: 3,
        ..CollectorHeartbeat::default()
    };
    let note = async |host: &str, id: &str| {
        archive.store.collection().heartbeat(&collector(host, id), 1_000).await.unwrap().len()
    };
    assert_eq!((note("a", "1").await, note("b", "1").await, note("a", "2").await), (1, 1, 2));
    archive.store.collection().remove_collector("a", "1").await.unwrap();
    assert_eq!((note("a", "2").await, note("a", "3").await), (1, 2));
    archive.clock.advance_ms(1_001);
    assert_eq!(note("a", "3").await, 1);
    assert_eq!(archive.store.collection().collectors(1_000).await.unwrap().len(), 1);
}

async fn a_running_run_is_polled_at_intervals() {
    let archive = Archive::new().await;
    let (store, now) = (&archive.store, archive.now());
    store.collection().upsert_runs("up", &[told(1, UpstreamRunState::Running, now)]).await.unwrap();
    let every = 500;
    let claim = async || {
        let now = archive.now();
        store.collection().claim_running_run("up", now.plus_millis(100), now.plus_millis(-every)).await.unwrap()
    };
    let claimed = claim().await.unwrap();
    assert!(claim().await.is_none());
    store.collection().release_checked("up", &claimed).await.unwrap();
    archive.clock.advance_ms(499);
    assert!(claim().await.is_none(), "not yet");
    archive.clock.advance_ms(1);
    assert!(claim().await.is_some());
}

async fn workspaces_that_an_upstream_renames_are_renamed_and_names_that_are_taken_get_their_id() {
    let archive = Archive::new().await;
    let before = archive.store.workspaces().task(archive.task_id).await.unwrap().unwrap();
    let mut task = before.clone();
    task.name = "another name".to_owned();
    task.workspace.name = "another workspace".to_owned();
    archive.store.workspaces().upsert_task(&task).await.unwrap();
    assert_eq!(archive.store.workspaces().task(task.id).await.unwrap().unwrap(), task);

    let mut other = task.clone();
    other.id = "0123456789abcdef01234567".parse().unwrap();
    other.workspace.id = "0123456789abcdef01234567".parse().unwrap();
    archive.store.workspaces().upsert_task(&other).await.unwrap();
    let found = archive.store.workspaces().task(other.id).await.unwrap().unwrap();
    assert_eq!(found.workspace.name, "another workspace (0123456789abcdef01234567)");
    assert_eq!(found.workspace.environment, task.workspace.environment);
}

/// A summary of version 7 with this text and one problem.
fn summary_of(due: ClaimedSummary, says: &str) -> NewSummary {
    let (first, last) = (Timestamp::clamped(1), Timestamp::clamped(5));
    let problem = NewErrorGroup {
        kind: ErrorGroupKind::Pattern,
        id: format!("id of {says}"),
        title: says.to_owned(),
        severity: Severity::Error,
        records: 2,
        first,
        last,
    };
    NewSummary {
        of: due,
        version: 7,
        body: format!("{{\"says\":\"{says}\"}}").into_bytes(),
        error_groups: vec![problem],
        problem: None,
    }
}

async fn kept(archive: &Archive) -> Option<String> {
    let found = archive.store.summaries().get(archive.run_id).await.unwrap().unwrap();
    found.summary.filter(|kept| kept.log == found.log).map(|kept| String::from_utf8(kept.body).unwrap())
}

/// An archive whose one run is sealed.
async fn sealed() -> Archive {
    let archive = Archive::new().await;
    archive.push("one", &[record(1, "a"), record(5, "b")]).await;
    archive.finish_run(archive.run_id).await;
    archive.clock.advance_ms(31_000);
    assert_eq!(archive.store.maintenance().seal().await.unwrap().runs, 1);
    archive
}

async fn a_sealed_log_is_due_for_a_summary_until_one_is_kept() {
    let archive = sealed().await;
    let due = archive.store.summaries().claim_due(7).await.unwrap();
    assert_eq!((due.len(), due[0].run_id, due[0].log.records), (1, archive.run_id, 2));
    let other = archive.another_node().await;
    assert!(other.summaries().claim_due(7).await.unwrap().is_empty(), "one node has it in its hands");
    // That node has crashed: another one takes the summary over.
    archive.clock.advance_ms(3_700_000);
    let due = other.summaries().claim_due(7).await.unwrap();
    other.summaries().save_all(&[summary_of(due[0], "hello")]).await.unwrap();
    // The first node was only slow: its summary is equally valid, and is kept once.
    archive.store.summaries().save_all(&[summary_of(due[0], "hello")]).await.unwrap();
    assert_eq!(kept(&archive).await.as_deref(), Some("{\"says\":\"hello\"}"));
    assert!(archive.store.summaries().claim_due(7).await.unwrap().is_empty());
    let task = archive.task_id;
    let problems = archive.store.summaries().error_groups_of_task(task, Timestamp::MIN, 10).await.unwrap();
    assert_eq!((problems.len(), problems[0].runs, problems[0].records), (1, 1, 2));
    assert_eq!((problems[0].severity, problems[0].last.1), (Severity::Error, archive.run_id));
}

async fn a_summary_is_made_again_when_its_log_or_its_making_changes() {
    let archive = sealed().await;
    let due = archive.store.summaries().claim_due(7).await.unwrap();
    archive.store.summaries().save_all(&[summary_of(due[0], "before")]).await.unwrap();

    archive.push("late", &[record(2, "late")]).await;
    assert_eq!(kept(&archive).await, None, "it is of the log as it was");
    archive.clock.advance_ms(31_000);
    archive.store.maintenance().seal().await.unwrap();
    let due = archive.store.summaries().claim_due(7).await.unwrap();
    assert_eq!(due[0].log.records, 3);
    // The log grows while it is summarised.
    archive.push("later", &[record(3, "later")]).await;
    archive.store.summaries().save_all(&[summary_of(due[0], "too late")]).await.unwrap();
    assert_eq!(kept(&archive).await, None);
    archive.clock.advance_ms(61_000);
    archive.store.maintenance().seal().await.unwrap();
    let due = archive.store.summaries().claim_due(7).await.unwrap();
    archive.store.summaries().save_all(&[summary_of(due[0], "after")]).await.unwrap();
    assert!(kept(&archive).await.unwrap().contains("after"));
    let problems = archive.store.summaries().error_groups_of_task(archive.task_id, Timestamp::MIN, 10).await.unwrap();
    assert_eq!(problems.iter().map(|it| it.title.as_str()).collect::<Vec<_>>(), ["after"]);

    assert_eq!(archive.store.summaries().invalidate_older(7).await.unwrap(), 0);
    assert_eq!(archive.store.summaries().invalidate_older(8).await.unwrap(), 1);
    assert_eq!(archive.store.summaries().claim_due(8).await.unwrap().len(), 1);
}

/// While nodes of two versions ran, the older one settled the summary of a log that had grown, and did not store it, because
/// the newer one had made one of the log as it was before.
async fn a_log_that_a_newer_version_has_summarised_stays_due_until_it_does_so_again() {
    let archive = sealed().await;
    let newer = |due, says: &str| NewSummary { version: 8, ..summary_of(due, says) };
    let due = archive.store.summaries().claim_due(8).await.unwrap();
    archive.store.summaries().save_all(&[newer(due[0], "before")]).await.unwrap();
    archive.push("late", &[record(2, "late")]).await;
    archive.clock.advance_ms(31_000);
    archive.store.maintenance().seal().await.unwrap();
    let due = archive.store.summaries().claim_due(7).await.unwrap();
    archive.store.summaries().save_all(&[summary_of(due[0], "older")]).await.unwrap();
    assert_eq!(kept(&archive).await, None);
    archive.clock.advance_ms(3_700_000);
    let due = archive.store.summaries().claim_due(8).await.unwrap();
    archive.store.summaries().save_all(&[newer(due[0], "after")]).await.unwrap();
    assert!(kept(&archive).await.unwrap().contains("after"));
    // Because it is of the current log, it is as valid as one of the older version.
    archive.store.summaries().save_all(&[summary_of(due[0], "too late")]).await.unwrap();
    archive.clock.advance_ms(3_700_000);
    assert!(archive.store.summaries().claim_due(8).await.unwrap().is_empty());
    assert!(kept(&archive).await.unwrap().contains("after"));
}

async fn a_summary_that_failed_is_put_off_and_tried_again() {
    let archive = sealed().await;
    let due = archive.store.summaries().claim_due(7).await.unwrap();
    archive.store.summaries().postpone(&due[0]).await.unwrap();
    assert!(archive.store.summaries().claim_due(7).await.unwrap().is_empty());
    archive.clock.advance_ms(61_000);
    assert_eq!(archive.store.summaries().claim_due(7).await.unwrap().len(), 1);
}

/// Each new record delayed the sealing of a run, and so the removal of a deleted log in the same object.
async fn a_deleted_log_leaves_an_object_that_is_shared_with_a_log_that_grows() {
    let archive = Archive::new().await;
    archive.push("one", &[record(1, "kept")]).await;
    let deleted = archive.start_another_run().await;
    push(&archive.store, deleted, 1, &[record(1, "secret")]).await.unwrap();
    archive.finish_run(archive.run_id).await;
    archive.finish_run(deleted).await;
    archive.clock.advance_ms(31_000);
    assert_eq!(archive.store.maintenance().seal().await.unwrap().runs, 2);
    assert_eq!(archive.sealed_files(), 1);
    archive.store.maintenance().delete_log(deleted).await.unwrap();
    archive.clock.advance_ms(1_000);
    archive.push("late", &[record(2, "late")]).await;
    assert_eq!(archive.store.maintenance().seal().await.unwrap().runs, 1, "it is due in spite of the record");
    assert_eq!(archive.store.maintenance().seal().await.unwrap().runs, 0);
    archive.push("later", &[record(3, "later")]).await;
    assert_eq!(archive.store.maintenance().seal().await.unwrap().runs, 0, "this one has time");
    archive.clock.advance_ms(31_000);
    assert_eq!(archive.store.maintenance().seal().await.unwrap().runs, 1);
    assert_eq!(archive.records().await.len(), 3);
}

/// The slices of all batches that held one old record each were open, with all their bytes, while an old record was read.
async fn a_log_whose_batches_hold_old_records_is_read_in_order() {
    let archive = Archive::new().await;
    let mut expected = Vec::new();
    for number in 0..90 {
        // Large batches are cut into slices; small ones overlap each other.
        let new = if number % 4 == 0 { 99 } else { 1 };
        let mut records: Vec<Record> = (0..new)
            .map(|at| record(86_400_000 + number * 1_000 + at, &format!("new {number} {at}")))
            .chain([record(number, &format!("old {number}"))])
            .collect();
        records.reverse();
        archive.push(&format!("b{number}"), &records).await;
        expected.extend(records);
    }
    expected.sort_by_key(|record| record.time);
    for is_sealed in [false, true] {
        if is_sealed {
            archive.finish_run(archive.run_id).await;
            archive.clock.advance_ms(31_000);
            while archive.store.maintenance().seal().await.unwrap().runs > 0 {}
        }
        assert!(archive.records().await == expected);
        let mut newest_first = naive_pages(&archive, TimeRange::ALL, RecordOrder::Desc).await.concat();
        newest_first.reverse();
        assert!(newest_first == expected);
        let verified = archive.store.maintenance().verify(false, |_| ()).await.unwrap();
        assert_eq!(verified.problem_texts, Vec::<String>::new());
    }
}

/// The claims of a node that was killed delayed the summaries by an hour.
async fn the_summaries_of_a_node_that_is_gone_are_made_by_another_in_minutes() {
    let archive = sealed().await;
    let due = archive.store.summaries().claim_due(7).await.unwrap();
    let other = archive.another_node().await;
    for _ in 0..3 {
        archive.clock.advance_ms(50_000);
        assert!(other.summaries().claim_due(7).await.unwrap().is_empty(), "it is still being made");
        archive.store.summaries().renew_claims(&due).await.unwrap();
    }
    let mut taken_over = Vec::new();
    // A minute; in PostgreSQL, the nodes have asked the database for its time at different moments of this test.
    for _ in 0..4 {
        if taken_over.is_empty() {
            archive.clock.advance_ms(61_000);
            taken_over = other.summaries().claim_due(7).await.unwrap();
        }
    }
    assert_eq!(taken_over.len(), 1);
    other.summaries().save_all(&[summary_of(taken_over[0], "hello")]).await.unwrap();
    // The first node was only slow, and renews claims that it no longer holds.
    archive.store.summaries().renew_claims(&due).await.unwrap();
    archive.push("late", &[record(2, "late")]).await;
    archive.clock.advance_ms(31_000);
    archive.store.maintenance().seal().await.unwrap();
    assert_eq!(archive.store.summaries().claim_due(7).await.unwrap().len(), 1);
}

/// All of them were made due by one statement, which was too long for a large archive, and never ended.
async fn summaries_of_an_older_version_are_made_due_some_at_a_time() {
    let archive = sealed().await;
    let due = archive.store.summaries().claim_due(7).await.unwrap();
    archive.store.summaries().save_all(&[summary_of(due[0], "hello")]).await.unwrap();
    archive
        .change_catalog(
            "INSERT INTO runs (id, task_id, workspace_id, task_version, execution_type, execution_status, status,
                 triggered_at, final_since, user_id, user_type, records)
             WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 4100)
             SELECT '00000000-0000-4000-8000-' || CAST(100000000000 + n AS TEXT), task_id, workspace_id, task_version,
                 execution_type, execution_status, status, triggered_at, final_since - n, user_id, user_type, records
             FROM numbers CROSS JOIN runs;
             INSERT INTO summaries (run_id, log_epoch, records, version, made_at, body, sha256)
             SELECT r.id, 0, r.records, 7, s.made_at, s.body, s.sha256 FROM runs r CROSS JOIN summaries s
             WHERE r.id <> s.run_id",
        )
        .await;
    let (mut pieces, mut invalidated) = (0, 0);
    loop {
        match archive.store.summaries().invalidate_older(8).await.unwrap() {
            0 => break,
            more => (pieces, invalidated) = (pieces + 1, invalidated + more),
        }
    }
    assert_eq!((pieces, invalidated), (3, 4101));
    let first = archive.store.summaries().claim_due(8).await.unwrap();
    assert!(first.iter().any(|due| due.run_id == archive.run_id), "the latest logs come first");
}

/// Summaries that were deleted with their logs during a verification were reported as orphans.
async fn what_is_deleted_while_somebody_verifies_is_no_problem() {
    let archive = Archive::new().await;
    let mut runs = vec![archive.run_id];
    for _ in 0..30 {
        runs.push(archive.start_another_run().await);
    }
    for run_id in &runs {
        let mut batch = archive.store.ingest().begin_batch(*run_id, None).await.unwrap();
        batch.push(&record(1, "a")).await.unwrap();
        batch.commit().await.unwrap();
        archive.finish_run(*run_id).await;
    }
    archive.clock.advance_ms(31_000);
    while archive.store.maintenance().seal().await.unwrap().runs > 0 {}
    let due = archive.store.summaries().claim_due(7).await.unwrap();
    let summaries: Vec<_> = due.iter().map(|due| summary_of(*due, "hello")).collect();
    archive.store.summaries().save_all(&summaries).await.unwrap();
    let delete = async {
        for run_id in &runs {
            archive.store.maintenance().delete_log(*run_id).await.unwrap();
        }
    };
    let verify = async {
        for _ in 0..10 {
            let verified = archive.store.maintenance().verify(false, |_| ()).await.unwrap();
            assert_eq!(verified.problem_texts, Vec::<String>::new());
        }
    };
    tokio::join!(delete, verify);
}

async fn a_summary_goes_with_its_log_and_is_copied_with_it() {
    let archive = sealed().await;
    let due = archive.store.summaries().claim_due(7).await.unwrap();
    archive.store.summaries().save_all(&[summary_of(due[0], "hello")]).await.unwrap();
    let copy = Copy::empty().await;
    archive.store.maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
    let copied = copy.store.summaries().get(archive.run_id).await.unwrap().unwrap().summary.unwrap();
    assert_eq!((copied.version, copied.body.as_slice()), (7, &b"{\"says\":\"hello\"}"[..]));
    assert_eq!(
        copy.store.summaries().error_groups_of_task(archive.task_id, Timestamp::MIN, 10).await.unwrap().len(),
        1
    );
    assert_eq!(copy.store.maintenance().verify(false, |_| ()).await.unwrap().problems, 0);

    archive.store.maintenance().delete_log(archive.run_id).await.unwrap();
    assert_eq!(archive.store.maintenance().verify(false, |_| ()).await.unwrap().problems, 0);
    assert!(archive.store.summaries().get(archive.run_id).await.unwrap().unwrap().summary.is_none());
    assert!(
        archive.store.summaries().error_groups_of_task(archive.task_id, Timestamp::MIN, 10).await.unwrap().is_empty()
    );
    assert!(archive.store.summaries().claim_due(7).await.unwrap().is_empty());
    archive.store.maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
    assert!(copy.store.summaries().get(archive.run_id).await.unwrap().unwrap().summary.is_none());
}

async fn what_is_new_in_a_task_and_which_run_was_good_before_are_looked_up() {
    let archive = sealed().await;
    let later = archive.start_another_run().await;
    push(&archive.store, later, 1, &[record(9, "c")]).await.unwrap();
    archive.finish_run(later).await;
    archive.clock.advance_ms(31_000);
    archive.store.maintenance().seal().await.unwrap();
    for due in archive.store.summaries().claim_due(7).await.unwrap() {
        let says = if due.run_id == later { "new" } else { "old" };
        let mut summary = summary_of(due, says);
        if due.run_id == later {
            (summary.error_groups[0].first, summary.error_groups[0].last) =
                (Timestamp::clamped(9), Timestamp::clamped(9));
            let old = summary_of(due, "old").error_groups.remove(0);
            summary.error_groups.push(NewErrorGroup {
                first: Timestamp::clamped(9),
                last: Timestamp::clamped(9),
                ..old
            });
        }
        archive.store.summaries().save_all(&[summary]).await.unwrap();
    }
    let run = archive.store.runs().get(later).await.unwrap().unwrap();
    let new = archive.store.summaries().new_error_groups(run.workspace_id, Timestamp::clamped(6), 10, 0).await.unwrap();
    assert_eq!(new.iter().map(|it| it.title.as_str()).collect::<Vec<_>>(), ["new"]);
    let known =
        archive.store.summaries().error_groups_of_task(archive.task_id, Timestamp::clamped(6), 10).await.unwrap();
    let seen: Vec<_> = known.iter().map(|it| (it.title.as_str(), it.runs, it.first.0.as_millis())).collect();
    assert_eq!(seen, [("new", 1, 9), ("old", 2, 1)]);
    for must_be_successful in [true, false] {
        let earlier = archive.store.summaries().previous_runs(&run, must_be_successful, 5).await.unwrap();
        assert_eq!(earlier.iter().map(|run| run.id).collect::<Vec<_>>(), [archive.run_id]);
    }
    let runs =
        archive.store.summaries().recent_runs_of_workspace(run.workspace_id, Timestamp::MIN, 1, 10).await.unwrap();
    assert_eq!(runs.iter().map(|run| run.run_id).collect::<Vec<_>>(), [later], "one of each task, the newest");
    assert_eq!(
        archive.store.summaries().recent_runs_of_task(archive.task_id, Timestamp::MIN, 10).await.unwrap().len(),
        2
    );
    let with = archive.store.summaries().runs_with_error_groups(archive.task_id, Timestamp::MIN).await.unwrap();
    assert_eq!(with[&(ErrorGroupKind::Pattern, "id of old".to_owned())].len(), 2);
}

async fn a_recent_run_is_summarised_while_its_summary_is_of_its_log_as_it_is() {
    let archive = sealed().await;
    let workspace = archive.store.runs().get(archive.run_id).await.unwrap().unwrap().workspace_id;
    let is_summarized = async || {
        let of_task = archive.store.summaries().recent_runs_of_task(archive.task_id, Timestamp::MIN, 10).await.unwrap();
        let of_workspace =
            archive.store.summaries().recent_runs_of_workspace(workspace, Timestamp::MIN, 10, 10).await.unwrap();
        assert_eq!(of_task, of_workspace);
        of_task[0].is_summarized
    };
    assert!(!is_summarized().await, "it is sealed, and nothing is known of its errors yet");
    let due = archive.store.summaries().claim_due(7).await.unwrap();
    archive.store.summaries().save_all(&[summary_of(due[0], "hello")]).await.unwrap();
    assert!(is_summarized().await);
    archive.push("late", &[record(2, "late")]).await;
    assert!(!is_summarized().await, "more has come since");
}

async fn claim(archive: &Archive, sink: &str) -> Option<runlog_store::delivery::ClaimedDelivery> {
    archive.store.deliveries().claim(sink, archive.now().plus_millis(60_000)).await.unwrap()
}

/// What is left of a delivery: numbers of arrival, in the order in which they are sent.
async fn left(archive: &Archive, claimed: &runlog_store::delivery::ClaimedDelivery) -> Vec<u64> {
    let mut reader = archive.store.deliveries().read(claimed);
    let mut arrivals = Vec::new();
    while let Some(records) = reader.next().await.unwrap() {
        arrivals.extend(records.iter().map(|record| record.key.arrival));
    }
    arrivals
}

async fn place(
    archive: &Archive,
    claimed: &runlog_store::delivery::ClaimedDelivery,
    index: usize,
) -> runlog_store::delivery::RecordKey {
    let mut reader = archive.store.deliveries().read(claimed);
    let mut keys = Vec::new();
    while let Some(records) = reader.next().await.unwrap() {
        keys.extend(records.iter().map(|record| record.key));
    }
    keys[index]
}

async fn a_run_that_has_ended_and_settled_is_due_once_for_each_sink_that_wants_it() {
    let archive = Archive::new().await;
    archive.push("one", &[record(1, "a")]).await;
    archive.store.deliveries().register_sink("files", "files", None).await.unwrap();
    assert_eq!(archive.store.deliveries().enqueue_finished_runs("files", |_| true).await.unwrap(), 0, "it goes on");
    archive.finish(RunStatus::Failed).await.unwrap();
    assert_eq!(
        archive.store.deliveries().enqueue_finished_runs("files", |_| true).await.unwrap(),
        0,
        "it has not settled"
    );
    archive.clock.advance_ms(30_000);
    let wants = |run: &runlog_store::delivery::FinishedRun| run.task == "nightly" && run.status == RunStatus::Failed;
    assert_eq!(archive.store.deliveries().enqueue_finished_runs("files", wants).await.unwrap(), 1);
    assert_eq!(archive.store.deliveries().enqueue_finished_runs("files", wants).await.unwrap(), 0);
    archive.store.deliveries().register_sink("late", "loki", None).await.unwrap();
    archive.clock.advance_ms(86_400_000);
    assert_eq!(archive.store.deliveries().enqueue_finished_runs("late", |_| false).await.unwrap(), 0);
    assert_eq!(
        archive.store.deliveries().enqueue_finished_runs("late", |_| true).await.unwrap(),
        0,
        "it was offered long ago"
    );
    archive.store.deliveries().rescan_finished_runs("late").await.unwrap();
    assert_eq!(
        archive.store.deliveries().enqueue_finished_runs("late", |_| true).await.unwrap(),
        1,
        "it is offered again"
    );
    assert_eq!(
        archive.store.deliveries().enqueue_finished_runs("none", |_| true).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

/// An archive with a run of four records that is due for a sink; their times do not follow their arrival.
async fn with_due_run() -> Archive {
    let archive = Archive::new().await;
    archive.push("one", &[record(30, "c"), record(10, "a")]).await;
    archive.push("two", &[record(20, "b"), record(30, "c")]).await;
    archive.finish(RunStatus::Successful).await.unwrap();
    archive.clock.advance_ms(30_000);
    archive.store.deliveries().register_sink("sink", "loki", None).await.unwrap();
    assert_eq!(archive.store.deliveries().enqueue_finished_runs("sink", |_| true).await.unwrap(), 1);
    archive
}

async fn a_delivery_resumes_after_its_last_step_and_late_records_follow() {
    let archive = with_due_run().await;
    let mut first = claim(&archive, "sink").await.unwrap();
    assert!(claim(&archive, "sink").await.is_none(), "it is in somebody's hands");
    assert_eq!(left(&archive, &first).await, [1, 2, 0, 3]);
    let until = place(&archive, &first, 1).await;
    let step = runlog_store::delivery::DeliveryStep {
        until: Some(until),
        delivered: 2,
        ends_part: true,
        ..Default::default()
    };
    archive.store.deliveries().commit_step(&mut first, &step).await.unwrap();

    // Its deliverer is killed; another one takes over, even if records were sealed or added meanwhile.
    archive.store.maintenance().seal().await.unwrap();
    archive.clock.advance_ms(61_000);
    let second = claim(&archive, "sink").await.unwrap();
    assert_eq!((left(&archive, &second).await, second.parts, second.attempts), (vec![0, 3], 1, 2));
    let lost = archive.store.deliveries().commit_step(&mut first, &step).await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Conflict);
    assert!(!archive.store.deliveries().renew_lease(&first, archive.now()).await.unwrap());
    archive.push("late", &[record(5, "late")]).await;
    assert_eq!(left(&archive, &second).await, [0, 3]);
    archive.store.deliveries().finish(&second).await.unwrap();

    // Records that arrived during and after the delivery make it due again once the log has settled.
    assert!(claim(&archive, "sink").await.is_none());
    archive.clock.advance_ms(31_000);
    let third = claim(&archive, "sink").await.unwrap();
    assert_eq!((left(&archive, &third).await, third.first_arrival), (vec![4], 4));
    archive.store.deliveries().finish(&third).await.unwrap();
    archive.push("later", &[record(40, "later"), record(1, "later")]).await;
    archive.clock.advance_ms(31_000);
    let fourth = claim(&archive, "sink").await.unwrap();
    assert_eq!(left(&archive, &fourth).await, [6, 5]);
    archive.store.deliveries().release(&fourth).await.unwrap();
    archive.store.maintenance().delete_log(archive.run_id).await.unwrap();
    let fifth = claim(&archive, "sink").await.unwrap();
    assert_eq!((left(&archive, &fifth).await, fifth.epoch), (vec![], 1), "a deleted log is delivered no more");
    archive.store.deliveries().finish(&fifth).await.unwrap();
    archive.push("anew", &[record(7, "anew")]).await;
    archive.clock.advance_ms(31_000);
    assert_eq!(left(&archive, &claim(&archive, "sink").await.unwrap()).await, [0]);
}

async fn what_a_sink_refuses_is_kept_counted_and_sent_again_when_asked() {
    let archive = with_due_run().await;
    let mut claimed = claim(&archive, "sink").await.unwrap();
    let (second, last) = (place(&archive, &claimed, 1).await, place(&archive, &claimed, 3).await);
    let step = runlog_store::delivery::DeliveryStep {
        until: Some(last),
        delivered: 2,
        refused: vec![RefusedRange::one(second, "too long"), RefusedRange::one(last, "too old")],
        ..Default::default()
    };
    archive.store.deliveries().commit_step(&mut claimed, &step).await.unwrap();
    archive.store.deliveries().finish(&claimed).await.unwrap();
    let metrics = archive.store.deliveries().metrics().await.unwrap().remove(0);
    assert_eq!((metrics.due, metrics.done, metrics.records, metrics.refused), (0, 1, 2, 2));
    let letters = archive.store.deliveries().dead_letters("sink", 9).await.unwrap();
    assert_eq!((letters[0].arrival, &*letters[0].reason, letters[1].arrival), (2, "too long", 3));
    assert!(claim(&archive, "sink").await.is_none());

    assert_eq!(archive.store.deliveries().retry("sink").await.unwrap(), 1);
    let mut again = claim(&archive, "sink").await.unwrap();
    assert!(again.has_replays);
    let replays = archive.store.deliveries().read_replays(&again).await.unwrap().unwrap();
    assert_eq!(replays.records.iter().map(|it| it.key).collect::<Vec<_>>(), [second, last]);
    assert_eq!(left(&archive, &again).await, [0_u64; 0]);
    let step = runlog_store::delivery::DeliveryStep {
        delivered: 1,
        replayed: Some(replays.replayed),
        refused: vec![RefusedRange::one(last, "still too old")],
        ..Default::default()
    };
    archive.store.deliveries().commit_step(&mut again, &step).await.unwrap();
    assert!(archive.store.deliveries().read_replays(&again).await.unwrap().is_none());
    archive.store.deliveries().record_failure(&again, "refused as a whole", None).await.unwrap();
    let metrics = archive.store.deliveries().metrics().await.unwrap().remove(0);
    assert_eq!((metrics.dead, metrics.records, metrics.refused), (1, 3, 1));
    assert_eq!(archive.store.deliveries().failing("sink", 9).await.unwrap()[0].last_error, "refused as a whole");
    assert_eq!(archive.store.deliveries().dead_letters("sink", 9).await.unwrap()[0].reason, "still too old");
    assert!(archive.store.deliveries().remove_sink("sink").await.unwrap());
    assert!(archive.store.deliveries().metrics().await.unwrap().is_empty());
}

/// The lag of a sink, from the metrics and from the query of alerts. Unit: seconds.
async fn lag(archive: &Archive) -> (u64, Option<i64>) {
    let metrics = archive.store.deliveries().metrics().await.unwrap().remove(0);
    let lags = archive.store.alerts().sink_lags().await.unwrap();
    (metrics.lag_seconds, lags.first().map(|lag| archive.now().millis_since(lag.since) / 1_000))
}

/// It was counted from the end of the run: a record that came three days later put the sink behind by three days.
async fn a_sink_is_behind_by_the_time_for_which_something_has_been_due() {
    let archive = with_due_run().await;
    assert_eq!(lag(&archive).await, (0, Some(0)));
    archive.clock.advance_ms(600_000);
    let claimed = claim(&archive, "sink").await.unwrap();
    let again_at = archive.now().plus_millis(3_600_000);
    archive.store.deliveries().record_failure(&claimed, "it is away", Some(again_at)).await.unwrap();
    assert_eq!(lag(&archive).await, (600, Some(600)), "whenever it is tried again");
    assert_eq!(archive.store.deliveries().retry("sink").await.unwrap(), 1);
    assert_eq!(lag(&archive).await, (600, Some(600)));
    let claimed = claim(&archive, "sink").await.unwrap();
    archive.store.deliveries().finish(&claimed).await.unwrap();
    assert_eq!(lag(&archive).await, (0, None));

    archive.clock.advance_ms(3 * 86_400_000);
    archive.push("late", &[record(5, "late")]).await;
    assert_eq!(lag(&archive).await, (0, None), "it has not settled");
    archive.clock.advance_ms(40_000);
    assert_eq!(lag(&archive).await, (10, Some(10)));
    let claimed = claim(&archive, "sink").await.unwrap();
    archive.push("later", &[record(6, "later")]).await;
    archive.store.deliveries().finish(&claimed).await.unwrap();
    archive.clock.advance_ms(31_000);
    assert_eq!(lag(&archive).await, (1, Some(1)), "what came meanwhile is due since it has settled");

    let claimed = claim(&archive, "sink").await.unwrap();
    archive.store.deliveries().record_failure(&claimed, "refused as a whole", None).await.unwrap();
    archive.clock.advance_ms(86_400_000);
    assert_eq!(lag(&archive).await, (0, None), "what it does not take is not due");
    assert_eq!(archive.store.deliveries().retry("sink").await.unwrap(), 1);
    archive.clock.advance_ms(5_000);
    assert_eq!(lag(&archive).await, (5, Some(5)));
}

async fn a_rule_finds_a_sink_behind_since_the_same_time_until_it_has_caught_up() {
    let archive = Archive::new().await;
    let since = async |rule: &str, sink: &str| archive.store.alerts().sink_behind_since(rule, sink).await.unwrap();
    let began = archive.now();
    assert_eq!(since("strict", "loki").await, began);
    archive.clock.advance_ms(1_000);
    assert_eq!(since("strict", "loki").await, began);
    let later = archive.now();
    assert_eq!((since("lenient", "loki").await, since("strict", "files").await), (later, later));
    let copy = Copy::empty().await;
    copy.clock.advance_ms(10_000);
    archive.store.maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
    assert_eq!(
        copy.store.alerts().sink_behind_since("strict", "loki").await.unwrap(),
        began,
        "it goes along with a copy"
    );

    archive.clock.advance_ms(1_000);
    archive.store.alerts().mark_sinks_caught_up("strict", &["files".to_owned()]).await.unwrap();
    assert_eq!((since("lenient", "loki").await, since("strict", "files").await), (later, later));
    assert_eq!(since("strict", "loki").await, archive.now(), "it had caught up, for this rule");
    archive.store.alerts().mark_sinks_caught_up("lenient", &[]).await.unwrap();
    archive.store.maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
    assert_eq!(
        copy.store.alerts().sink_behind_since("lenient", "loki").await.unwrap(),
        copy.now(),
        "so does that it has ended"
    );
}

async fn an_alert_has_one_lease_holder_per_destination() {
    let archive = Archive::new().await;
    let alert = |destination: &str, occurrence: &str| NewAlert {
        rule: "failed".to_owned(),
        destination: destination.to_owned(),
        occurrence: occurrence.to_owned(),
        body: "{}".to_owned(),
        is_muted: false,
        ..NewAlert::default()
    };
    let alerts = [alert("mail", "first"), alert("hook", "first"), alert("mail", "second")];
    assert_eq!(archive.store.alerts().enqueue(&alerts[..2]).await.unwrap(), 2);
    archive.clock.advance_ms(1_000);
    assert_eq!(archive.store.alerts().enqueue(&alerts).await.unwrap(), 1, "what is known is left as it is");
    let claim = async |destination: &str| archive.store.alerts().claim(destination).await.unwrap();
    let hook = claim("hook").await.unwrap();
    assert!(claim("hook").await.is_none(), "it is in somebody's hands");
    let first = claim("mail").await.unwrap();
    assert_eq!((&*first.occurrence, &*claim("mail").await.unwrap().occurrence), ("first", "second"));
    assert!(claim("elsewhere").await.is_none());

    archive.store.alerts().mark_delivered(std::slice::from_ref(&hook)).await.unwrap();
    archive
        .store
        .alerts()
        .record_failure(std::slice::from_ref(&first), "it is away", archive.now().plus_millis(10_000))
        .await
        .unwrap();
    archive.clock.advance_ms(9_000);
    assert!(claim("mail").await.is_none());
    archive.clock.advance_ms(1_000);
    let again = claim("mail").await.unwrap();
    assert_eq!((&*again.occurrence, again.attempts), ("first", 2));
    // The node that has claimed the second alert has crashed.
    archive.clock.advance_ms(runlog_store::limits::ALERT_LEASE_MS);
    assert_eq!(claim("mail").await.unwrap().occurrence, "second");
    assert!(claim("hook").await.is_none(), "it was told");
    let backlog = archive.store.alerts().backlog().await.unwrap();
    assert_eq!((backlog.len(), &*backlog[0].destination, backlog[0].waiting), (1, "mail", 2));
}

/// Every record of a scan as its run, its number there and its message, in order.
async fn scanned(archive: &Archive, filter: ScanFilter) -> Vec<(String, i64, String)> {
    let columns = [ScanColumn::RunId, ScanColumn::Arrival, ScanColumn::Message];
    let scan = archive.store.query().scan(filter, &columns);
    let streams = [scan.stream(), scan.stream()];
    let mut records = Vec::new();
    for stream in streams {
        let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
        batches.iter().for_each(|batch| records.extend(scanned_rows(batch)));
    }
    records.sort();
    records
}

fn scanned_rows(batch: &RecordBatch) -> Vec<(String, i64, String)> {
    let (runs, messages) = (batch.column(0).as_string::<i64>(), batch.column(2).as_string::<i64>());
    let arrivals = batch.column(1).as_primitive::<Int64Type>();
    let row = |row| (runs.value(row).to_owned(), arrivals.value(row), messages.value(row).to_owned());
    (0..batch.num_rows()).map(row).collect()
}

async fn a_scan_gives_each_record_once_sealed_or_not() {
    let mut archive = Archive::new().await;
    let mut expected = Vec::new();
    for run in 0..3 {
        if run > 0 {
            archive.run_id = archive.start_another_run().await;
        }
        let message = |at: i64| format!("{run} at {at}");
        for part in 0..2 {
            let records: Vec<Record> =
                (0..40).map(|at| record(1_000 + (at * 7) % 40, &message(part * 40 + at))).collect();
            archive.push(&format!("{part}"), &records).await;
        }
        expected.extend((0..80).map(|at| (archive.run_id.to_string(), at, message(at))));
        if run < 2 {
            archive.finish(RunStatus::Successful).await.unwrap();
        }
    }
    expected.sort();
    assert_eq!(scanned(&archive, ScanFilter::default()).await, expected);
    archive.clock.advance_ms(3_600_000);
    assert_eq!(archive.store.maintenance().seal().await.unwrap().runs, 2);
    assert_eq!(scanned(&archive, ScanFilter::default()).await, expected);
    let some = ScanFilter { run_ids: Some(vec![archive.run_id]), ..ScanFilter::default() };
    let of_run: Vec<_> = expected.iter().filter(|(run, ..)| *run == archive.run_id.to_string()).cloned().collect();
    assert_eq!(scanned(&archive, some).await, of_run);
    let range = TimeRange { start: Some(Timestamp::clamped(1_010)), end: Some(Timestamp::clamped(1_019)) };
    assert_eq!(scanned(&archive, ScanFilter { range, ..ScanFilter::default() }).await.len(), 3 * 2 * 10);
    let parts = vec!["at 7".to_owned()];
    let held: Vec<_> = expected.iter().filter(|(.., message)| message.contains("at 7")).cloned().collect();
    assert_eq!(scanned(&archive, ScanFilter { message_parts: parts, ..ScanFilter::default() }).await, held);
}

async fn a_scan_continues_during_merges_and_skips_deleted_logs() {
    let mut archive = Archive::new().await;
    archive.push("1", &(0..50).map(|at| record(at, "kept")).collect::<Vec<_>>()).await;
    archive.finish(RunStatus::Successful).await.unwrap();
    archive.run_id = archive.start_another_run().await;
    archive.push("1", &(0..50).map(|at| record(at, "deleted")).collect::<Vec<_>>()).await;
    archive.finish(RunStatus::Successful).await.unwrap();
    let filter = ScanFilter { message_parts: vec!["e".to_owned()], ..ScanFilter::default() };
    let scan = archive.store.query().scan(filter, &[ScanColumn::RunId, ScanColumn::Arrival, ScanColumn::Message]);
    let mut first = scan.stream();
    let mut records = scanned_rows(&first.try_next().await.unwrap().unwrap());
    // The plan is made; what it names is merged, and one of the logs is deleted.
    archive.clock.advance_ms(3_600_000);
    assert_eq!(archive.store.maintenance().seal().await.unwrap().runs, 2);
    archive.store.maintenance().delete_log(archive.run_id).await.unwrap();
    drop(first);
    let rest: Vec<RecordBatch> = scan.stream().try_collect().await.unwrap();
    rest.iter().for_each(|batch| records.extend(scanned_rows(batch)));
    let kept: Vec<i64> = records.iter().filter(|(.., message)| message == "kept").map(|(_, at, _)| *at).collect();
    assert!(kept.len() <= 50 && kept.iter().collect::<std::collections::BTreeSet<_>>().len() == kept.len());
    // A scan that begins now sees one log, whole.
    let after = scanned(&archive, ScanFilter::default()).await;
    assert_eq!(after.len(), 50);
    assert!(after.iter().all(|(run, _, message)| *run != archive.run_id.to_string() && message == "kept"));
}

/// A search for a word in all logs. It has no time at all: each answer looks through one round of slices more.
fn search_for_word(limit: usize, slices_max: i64) -> SearchQuery {
    SearchQuery { limit, time_max: Duration::ZERO, slices_max, ..search_for("word") }
}

async fn a_search_returns_the_newest_and_continues() {
    let archive = Archive::new().await;
    for part in 0..3 {
        let records: Vec<Record> =
            (0..40).map(|at| record(part * 20 + at, if at % 4 == 0 { "A Word" } else { "other" })).collect();
        archive.push(&format!("{part}"), &records).await;
    }
    let mut search = search_for_word(7, runlog_store::limits::SEARCH_SLICES_MAX);
    let mut times = Vec::new();
    loop {
        let page = archive.store.query().search(search.clone()).await.unwrap();
        times.extend(page.items.iter().map(|item| item.time.as_millis()));
        search.after = page.next;
        if page.next.is_none() {
            break;
        }
        assert!(times.len() < 1_000);
    }
    let mut expected: Vec<i64> = (0..3).flat_map(|part| (0..10).map(move |at| part * 20 + at * 4)).collect();
    expected.sort_by_key(|time| -time);
    assert_eq!(times, expected);
}

async fn rows_of_the_catalog_come_as_columns() {
    let archive = Archive::new().await;
    archive.push("1", &[record(1, "a"), record(2, "b")]).await;
    for table in CatalogView::ALL {
        let all: Vec<usize> = (0..table.columns().len()).collect();
        let batch = archive.store.query().scan_view(table, all, None, Vec::new()).next().await.unwrap().unwrap();
        let ids: Vec<Option<&str>> = batch.column(0).as_string::<i64>().iter().collect();
        let expected = match table {
            CatalogView::Runs => vec![archive.run_id.to_string()],
            CatalogView::Tasks => vec![archive.task_id.to_string()],
            // No run was delivered to a sink.
            CatalogView::Deliveries
            | CatalogView::Problems
            | CatalogView::ComponentMetrics
            | CatalogView::PlanExecutions
            | CatalogView::PlanSteps
            | CatalogView::TenantAuditLogs => Vec::new(),
        };
        assert_eq!(ids, expected.iter().map(|id| Some(id.as_str())).collect::<Vec<_>>(), "{}", table.name());
    }
    let records = CatalogView::Runs.columns().iter().position(|column| column.name == "records").unwrap();
    let count = |low, high| {
        let condition = vec![(records, ViewCondition::Between(low, high))];
        let mut scan = archive.store.query().scan_view(CatalogView::Runs, vec![records], None, condition);
        async move { scan.next().await.unwrap().unwrap().num_rows() }
    };
    assert_eq!((count(2, 2).await, count(3, i64::MAX).await), (1, 0));
    let mut of_none = archive.store.query().scan_view(CatalogView::Runs, vec![0], Some(Vec::new()), Vec::new());
    assert_eq!(of_none.next().await.unwrap().unwrap().num_rows(), 0);
}

crate::common::pairs::on_each_pair! {
    async: a_batch_is_stored_once,
        a_batch_id_with_other_records_is_a_conflict,
        a_run_begins_with_its_first_records_and_is_not_begun_without_them,
        words_of_other_loggers_are_found_in_runs_that_an_earlier_version_counted,
        of_two_batches_after_the_same_state_one_is_stored,
        a_large_batch_after_another_state_is_refused,
        a_batch_id_is_forgotten_after_a_month,
        the_same_batch_over_two_connections_is_stored_once,
        an_abandoned_batch_leaves_nothing,
        a_batch_that_takes_a_day_is_stored_completely,
        a_batch_that_stood_still_until_it_was_swept_is_refused_and_may_be_sent_again,
        a_log_of_which_a_segment_is_lost_is_named_and_the_others_are_sealed,
        segments_that_lie_around_after_they_were_sealed_or_deleted_are_not_brought_back,
        a_large_batch_comes_out_whole,
        the_archive_is_the_same_after_a_restart,
        an_older_key_is_kept_for_as_long_as_something_it_signed_may_be_good,
        a_page_does_not_change_when_records_come_late,
        the_same_request_is_built_once,
        a_token_is_for_its_run_and_its_hour,
        a_log_is_settled_some_time_after_its_end,
        the_runs_of_a_window_are_those_that_overlap_it_newest_first,
        a_run_ends_once,
        missing_items_are_not_found,
        a_missing_object_is_corrupt_and_not_an_empty_log,
        concurrent_page_requests_are_all_audited,
        ended_runs_are_sealed_together_and_their_segments_removed,
        late_records_open_a_sealed_log_again,
        many_slices_that_all_overlap_are_merged_in_passes,
        a_page_does_not_change_after_later_records,
        what_is_deleted_leaves_the_objects_it_shared,
        logs_are_kept_as_long_as_their_workspace_says_unless_they_are_held,
        a_clock_that_is_ahead_of_the_one_of_the_catalog_deletes_nothing,
        a_workspace_that_is_too_large_loses_its_oldest_logs,
        rules_of_alerts_are_listed_muted_and_remembered,
        open_alerts_of_a_rule_hide_neither_those_of_another_nor_what_is_to_be_forgotten,
        recoveries_are_reported_once_and_in_order,
        lists_of_runs_for_alerts_have_each_run_on_one_page,
        deliveries_are_listed_retried_and_replayed,
        batches_that_come_together_share_an_object,
        a_batch_without_memory_is_rejected_and_can_be_retried,
        fields_beyond_those_of_the_api_count_as_memory_too,
        an_intact_archive_verifies,
        every_damage_is_found_by_verification,
        an_archive_is_copied_whole_and_again_with_what_has_come_since,
        a_copy_leaves_out_a_run_whose_log_is_damaged_and_brings_everything_else,
        a_copy_drops_revoked_items_and_repeats_no_alerts,
        a_copy_that_was_used_has_all_entries_of_the_audit_log,
        unneeded_objects_of_a_copy_are_swept,
        a_collected_run_has_one_lease_holder_at_a_time,
        a_run_lands_once_together_with_its_end,
        a_setback_is_counted_shown_and_tried_again_in_time,
        collectors_know_of_each_other_until_they_leave_or_are_not_heard_of,
        a_running_run_is_polled_at_intervals,
        workspaces_that_an_upstream_renames_are_renamed_and_names_that_are_taken_get_their_id,
        a_sealed_log_is_due_for_a_summary_until_one_is_kept,
        a_summary_is_made_again_when_its_log_or_its_making_changes,
        a_log_that_a_newer_version_has_summarised_stays_due_until_it_does_so_again,
        a_summary_that_failed_is_put_off_and_tried_again,
        a_log_whose_batches_hold_old_records_is_read_in_order,
        a_deleted_log_leaves_an_object_that_is_shared_with_a_log_that_grows,
        the_summaries_of_a_node_that_is_gone_are_made_by_another_in_minutes,
        summaries_of_an_older_version_are_made_due_some_at_a_time,
        what_is_deleted_while_somebody_verifies_is_no_problem,
        a_summary_goes_with_its_log_and_is_copied_with_it,
        what_is_new_in_a_task_and_which_run_was_good_before_are_looked_up,
        a_recent_run_is_summarised_while_its_summary_is_of_its_log_as_it_is,
        a_run_that_has_ended_and_settled_is_due_once_for_each_sink_that_wants_it,
        a_delivery_resumes_after_its_last_step_and_late_records_follow,
        what_a_sink_refuses_is_kept_counted_and_sent_again_when_asked,
        a_sink_is_behind_by_the_time_for_which_something_has_been_due,
        a_rule_finds_a_sink_behind_since_the_same_time_until_it_has_caught_up,
        an_alert_has_one_lease_holder_per_destination,
        a_scan_gives_each_record_once_sealed_or_not,
        a_scan_continues_during_merges_and_skips_deleted_logs,
        a_search_returns_the_newest_and_continues,
        rows_of_the_catalog_come_as_columns;
    sync: paging_gives_each_record_once,
        a_live_page_is_a_part_of_the_log
}
