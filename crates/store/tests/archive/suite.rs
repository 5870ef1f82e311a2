// Included once for each pair of places; `Archive` is named there.

use super::common::record;
use futures::TryStreamExt;
use proptest::prelude::*;
use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_model::{FileFormat, PageEnd, Record, RecordOrder, RunStatus, TimeRange, Timestamp};
use runlog_store::{ErrorKind, LiveQuery, PageRequest, PageStatus};

/// The pages of a run as a client gets them that does only what the guide says: newest page first.
async fn naive_pages(archive: &Archive, range: TimeRange, order: RecordOrder) -> Vec<Vec<Record>> {
    let mut range = range;
    let mut pages = Vec::new();
    loop {
        let request =
            PageRequest { run_id: archive.run_id, range, format: FileFormat::Json, order, file_name: "log".to_owned() };
        let ticket = archive.store.request_page(&request).await.unwrap();
        archive.build_all().await;
        let status = archive.store.page_status(archive.run_id, &ticket.token).await.unwrap();
        let PageStatus::Ready(file) = status else { panic!("not built: {status:?}") };
        let reader = archive.store.open_page(&file.key).await.unwrap().unwrap();
        let length = reader.plain_bytes;
        let bytes: Vec<bytes::Bytes> = reader.plain(0..length).try_collect().await.unwrap();
        let records: Vec<Record> = serde_json::from_slice(&bytes.concat()).unwrap();
        assert_eq!(records.len() as u64, ticket.records);
        pages.push(records);
        let Some(header) = ticket.end.next_end_text() else { return pages };
        range.end = Some(header.parse().unwrap());
    }
}

fn sorted(mut records: Vec<Record>, range: TimeRange) -> Vec<Record> {
    records.retain(|record| range.contains(record.time.as_millis()));
    records.sort_by_key(|record| record.time);
    records
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
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
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn paging_gives_each_record_once(
        times in times(),
        range in ranges(),
        records_max in 1..50_u64,
        batch_records in 1..40_usize,
        is_ascending in any::<bool>(),
    ) {
        runtime().block_on(async {
            let archive = Archive::with_page_limit(records_max).await;
            let records: Vec<Record> = times.iter().enumerate().map(|(index, ms)| record(*ms, &format!("{}", index % 7))).collect();
            for (index, batch) in records.chunks(batch_records).enumerate() {
                archive.push(&format!("b{index}"), batch).await;
            }
            let order = if is_ascending { RecordOrder::Asc } else { RecordOrder::Desc };
            let mut pages = naive_pages(&archive, range, order).await;
            // "Combine in the order received" is the whole log, newest first; ascending files go the other way.
            let combined: Vec<Record> = match order {
                RecordOrder::Desc => pages.concat().into_iter().rev().collect(),
                RecordOrder::Asc => { pages.reverse(); pages.concat() }
            };
            prop_assert_eq!(combined, sorted(records, range));
            Ok(())
        })?;
    }

    #[test]
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
            let live = archive.store.live_page(archive.run_id, &query).await.unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_stored_once() {
    let archive = Archive::new().await;
    let batch = [record(1, "a"), record(1, "a"), record(2, "b")];
    let first = archive.push("one", &batch).await;
    assert_eq!((first.stored, first.repeated), (3, false));
    let again = archive.push("one", &batch).await;
    assert_eq!((again.stored, again.repeated), (3, true));
    assert_eq!(archive.records().await, batch);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_id_with_other_records_is_a_conflict() {
    let archive = Archive::new().await;
    archive.push("one", &[record(1, "a")]).await;
    let mut batch = archive.store.begin_batch(archive.run_id, Some("one")).await.unwrap();
    batch.push(record(1, "other")).await.unwrap();
    let error = batch.commit().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(archive.records().await, [record(1, "a")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_batch_over_two_connections_is_stored_once() {
    let archive = Archive::new().await;
    let mut left = archive.store.begin_batch(archive.run_id, Some("one")).await.unwrap();
    let mut right = archive.store.begin_batch(archive.run_id, Some("one")).await.unwrap();
    left.push(record(1, "a")).await.unwrap();
    right.push(record(1, "a")).await.unwrap();
    assert!(!left.commit().await.unwrap().repeated);
    assert!(right.commit().await.unwrap().repeated);
    assert_eq!(archive.records().await, [record(1, "a")]);
    assert_eq!(archive.objects(), 1, "the object of the repeated batch is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_given_up_leaves_nothing() {
    let archive = Archive::new().await;
    let mut batch = archive.store.begin_batch(archive.run_id, Some("one")).await.unwrap();
    // More than one segment, so that an object is there before the batch is given up.
    for index in 0..runlog_store::limits::SEGMENT_RECORDS_MAX as i64 + 1 {
        batch.push(record(index, "x")).await.unwrap();
    }
    assert_eq!(archive.objects(), 1);
    batch.abort().await;
    assert_eq!(archive.objects(), 0);
    assert_eq!(archive.store.run(archive.run_id).await.unwrap().unwrap().records, 0);
    archive.push("one", &[record(1, "a")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_batch_comes_out_whole() {
    let archive = Archive::new().await;
    let records: Vec<Record> = (0..150_000).map(|index| record((index * 7919) % 60_000, &index.to_string())).collect();
    archive.push("one", &records).await;
    let pages = naive_pages(&archive, TimeRange::ALL, RecordOrder::Desc).await;
    assert_eq!(pages.len(), 2);
    let combined: Vec<Record> = pages.concat().into_iter().rev().collect();
    assert!(combined == sorted(records, TimeRange::ALL));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_archive_is_the_same_after_a_restart() {
    let mut archive = Archive::new().await;
    archive.push("one", &[record(1, "a")]).await;
    let key = archive.store.signing_keys("links").await.unwrap()[0].value.clone();
    archive.reopen().await;
    assert_eq!(archive.records().await, [record(1, "a")]);
    assert!(archive.push("one", &[record(1, "a")]).await.repeated);
    assert_eq!(archive.store.signing_keys("links").await.unwrap()[0].value, key);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_key_is_kept_for_as_long_as_something_it_signed_may_be_good() {
    let archive = Archive::new().await;
    let ids = || async {
        let keys = archive.store.signing_keys("links").await.unwrap();
        keys.into_iter().map(|key| key.id).collect::<Vec<_>>()
    };
    assert_eq!(ids().await, ["links-1"]);
    archive.store.rotate_signing_key("links", false).await.unwrap();
    archive.store.rotate_signing_key("links", false).await.unwrap();
    assert_eq!(ids().await, ["links-3", "links-2", "links-1"]);
    archive.clock.advance_ms(49 * 3_600_000);
    archive.store.rotate_signing_key("links", false).await.unwrap();
    assert_eq!(ids().await, ["links-4", "links-3"]);
    assert_eq!(archive.store.signing_keys("access-tokens").await.unwrap().len(), 1);
    archive.store.rotate_signing_key("links", true).await.unwrap();
    assert_eq!(ids().await, ["links-5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_does_not_change_when_records_come_late() {
    let archive = Archive::new().await;
    archive.push("one", &[record(1, "a"), record(5, "c")]).await;
    let request = PageRequest {
        run_id: archive.run_id,
        range: TimeRange::ALL,
        format: FileFormat::Text,
        order: RecordOrder::Asc,
        file_name: "log".to_owned(),
    };
    let ticket = archive.store.request_page(&request).await.unwrap();
    archive.push("two", &[record(3, "b")]).await;
    archive.build_all().await;
    let PageStatus::Ready(file) = archive.store.page_status(archive.run_id, &ticket.token).await.unwrap() else {
        panic!("not built")
    };
    let reader = archive.store.open_page(&file.key).await.unwrap().unwrap();
    let length = reader.plain_bytes;
    let text: Vec<bytes::Bytes> = reader.plain(0..length).try_collect().await.unwrap();
    assert_eq!(
        String::from_utf8(text.concat()).unwrap(),
        "1970-01-01T00:00:00.001Z |       |  |  | a\n1970-01-01T00:00:00.005Z |       |  |  | c\n"
    );
    assert_eq!(archive.store.request_page(&request).await.unwrap().records, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_is_built_once() {
    let archive = Archive::new().await;
    archive.push("one", &[record(1, "a")]).await;
    let request = PageRequest {
        run_id: archive.run_id,
        range: TimeRange::ALL,
        format: FileFormat::Json,
        order: RecordOrder::Desc,
        file_name: "log".to_owned(),
    };
    let first = archive.store.request_page(&request).await.unwrap();
    assert_eq!(archive.build_all().await, 1);
    let second = archive.store.request_page(&request).await.unwrap();
    assert_eq!(archive.build_all().await, 0);
    assert_ne!(first.token, second.token);
    let status = archive.store.page_status(archive.run_id, &second.token).await.unwrap();
    assert!(matches!(status, PageStatus::Ready(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_for_its_run_and_its_hour() {
    let archive = Archive::new().await;
    let request = PageRequest {
        run_id: archive.run_id,
        range: TimeRange::ALL,
        format: FileFormat::Json,
        order: RecordOrder::Desc,
        file_name: "log".to_owned(),
    };
    let ticket = archive.store.request_page(&request).await.unwrap();
    assert_eq!((ticket.records, ticket.end), (0, PageEnd::Complete));
    let status = archive.store.page_status(archive.run_id, &ticket.token).await.unwrap();
    assert_eq!(status, PageStatus::InProgress);
    let other = archive.start_another_run().await;
    let error = archive.store.page_status(other, &ticket.token).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    archive.clock.advance_ms(3_600_000);
    let error = archive.store.page_status(archive.run_id, &ticket.token).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Expired);
    // A day later not even that is known.
    archive.clock.advance_ms(25 * 3_600_000);
    archive.store.sweep().await.unwrap();
    let error = archive.store.page_status(archive.run_id, &ticket.token).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_settled_some_time_after_its_end() {
    let archive = Archive::new().await;
    let request = PageRequest {
        run_id: archive.run_id,
        range: TimeRange::ALL,
        format: FileFormat::Json,
        order: RecordOrder::Desc,
        file_name: "log".to_owned(),
    };
    assert!(!archive.store.request_page(&request).await.unwrap().settled);
    archive.finish(RunStatus::Failed).await.unwrap();
    archive.clock.advance_ms(29_999);
    assert!(!archive.store.request_page(&request).await.unwrap().settled);
    archive.clock.advance_ms(1);
    assert!(archive.store.request_page(&request).await.unwrap().settled);
}

#[tokio::test(flavor = "multi_thread")]
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
    let (run, is_new) = archive.store.start_run(archive.run_id, &start, &archive.caller).await.unwrap();
    assert!(!is_new && run.status.coarse() == RunStatus::Failed);
    archive.push("late", &[record(9, "late")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_so() {
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
        archive.store.finish_run(unknown, &finish).await.unwrap_err().kind(),
        archive.store.begin_batch(unknown, None).await.map(|_| ()).unwrap_err().kind(),
        archive.store.read_records(unknown, TimeRange::ALL, RecordOrder::Asc).await.map(|_| ()).unwrap_err().kind(),
    ];
    assert_eq!(kinds, [ErrorKind::NotFound; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_object_is_corrupt_and_not_an_empty_log() {
    let archive = Archive::new().await;
    archive.push("one", &[record(1, "a")]).await;
    archive.remove_objects();
    let query = LiveQuery { range: TimeRange::ALL, order: RecordOrder::Asc, start_index: 0, count: 1 };
    let error = archive.store.live_page(archive.run_id, &query).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_are_asked_for_together_are_all_written_down_whoever_goes_away() {
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
        tokio::spawn(async move { store.request_page(&request).await.map(|ticket| (end, ticket)) })
    };
    let (kept, gone): (Vec<_>, Vec<_>) = (0..50).map(ask).enumerate().partition(|(index, _)| index % 3 != 0);
    gone.iter().for_each(|(_, task)| task.abort());
    for (_, task) in kept {
        let (end, ticket) = task.await.unwrap().unwrap();
        assert_eq!(ticket.records, end.unsigned_abs() + 1);
        let status = archive.store.page_status(archive.run_id, &ticket.token).await.unwrap();
        assert!(matches!(status, PageStatus::InProgress), "{status:?}");
    }
    archive.build_all().await;
}
