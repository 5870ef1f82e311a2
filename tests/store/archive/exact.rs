//! Records at the limits of what they may be come out as they went in, whichever way they are read.

use proptest::prelude::*;
use runlog_model::{FileFormat, Record, RecordOrder, TimeRange, Timestamp};
use runlog_store::logs::LiveQuery;
use runlog_store::query::SearchQuery;

use super::common::{Archive, backends, page_records, record, runtime, search_for};

type Here = Archive<backends::sqlite_and_folder>;

fn read(json: &str) -> Record {
    let mut record = Record::at(Timestamp::MIN);
    assert_eq!(record.read_json(json.as_bytes()).unwrap(), 0, "{json}");
    record
}

fn written(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| serde_json::to_string(record).unwrap()).collect()
}

/// Every record in order of time, by a live page and a download.
async fn lines_of(archive: &Here) -> Vec<String> {
    let query = LiveQuery { range: TimeRange::ALL, order: RecordOrder::Asc, start_index: 0, count: 1_000 };
    let live = archive.store.logs().live_page(archive.run_id, &query).await.unwrap().records;
    let whole = archive.records().await;
    assert_eq!(written(&live), written(&whole));
    written(&whole)
}

/// The text of a page file.
async fn page_of(archive: &Here, format: FileFormat) -> String {
    let ticket = archive.store.pages().request_page(&archive.whole_log(format, RecordOrder::Asc)).await.unwrap();
    archive.build_all().await;
    let status = archive.store.pages().page_status(archive.run_id, &ticket.token, std::time::Duration::from_secs(60));
    let runlog_store::pages::PageStatus::Ready(file) = status.await.unwrap() else { panic!("not built") };
    let reader = archive.store.pages().open_page(&file.key).await.unwrap().unwrap();
    let length = reader.plain_bytes;
    let bytes: Vec<bytes::Bytes> = futures::TryStreamExt::try_collect(reader.plain(0..length)).await.unwrap();
    String::from_utf8(bytes.concat()).unwrap()
}

async fn seal(archive: &Here) {
    archive.finish_run(archive.run_id).await;
    archive.clock.advance_ms(31_000);
    assert_eq!(archive.store.maintenance().seal().await.unwrap().runs, 1);
}

/// A number of JSON that readers keep.
fn number() -> impl Strategy<Value = String> {
    "-?(0|[1-9][0-9]{0,7})(\\.[0-9]{1,6})?([eE][+-]?[0-9]{1,2})?"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Numbers such as `0.1000` and `1e5` were written as `0.1` and `100000.0`.
    #[test]
    fn numbers_come_out_with_the_digits_that_they_were_sent_with(
        numbers in prop::collection::vec((number(), number()), 1..8)
    ) {
        let lines: Vec<String> = numbers
            .iter()
            .enumerate()
            .map(|(time, (one, other))| {
                format!(r#"{{"logTimestamp":{time},"logMessage":"m","a":{one},"b":{{"c":[{other},{one}],"d":"x"}}}}"#)
            })
            .collect();
        runtime().block_on(async {
            let archive = Here::new().await;
            let records: Vec<Record> = lines.iter().map(|line| read(line)).collect();
            archive.push("one", &records).await;
            assert_eq!(lines_of(&archive).await, lines);
            let page = page_of(&archive, FileFormat::Json).await;
            assert_eq!(page, format!("[\n{}\n]\n", lines.join(",\n")));
            seal(&archive).await;
            assert_eq!(lines_of(&archive).await, lines);
            let search = SearchQuery { all_fields: true, ..search_for("m") };
            let found = archive.store.query().search(search).await.unwrap();
            let extra = found.items[0].fields.extra.as_deref().unwrap();
            assert!(lines[lines.len() - 1].ends_with(&extra[1..]), "{extra}");
            let copy = Here::empty().await;
            archive.store.maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
            assert_eq!(written(&copy.records_of(archive.run_id).await), lines);
            assert!(archive.push("one", &records).await.repeated);
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn times_at_both_ends_of_the_calendar_are_kept_in_order() {
    let archive = Here::new().await;
    let (first, last) = (Timestamp::MIN.as_millis(), Timestamp::MAX.as_millis());
    let times = [first, first + 1, -1, 0, 1, last - 1, last];
    let records: Vec<Record> = times.iter().map(|time| record(*time, &format!("at {time}"))).collect();
    let mut sent = records.clone();
    sent.reverse();
    archive.push("one", &sent).await;
    for is_sealed in [false, true] {
        if is_sealed {
            seal(&archive).await;
        }
        assert_eq!(archive.records().await, records, "sealed: {is_sealed}");
        for range in times.windows(2) {
            let range =
                TimeRange { start: Timestamp::from_millis(range[0]).ok(), end: Timestamp::from_millis(range[1]).ok() };
            let query = LiveQuery { range, order: RecordOrder::Desc, start_index: 0, count: 10 };
            assert_eq!(archive.store.logs().live_page(archive.run_id, &query).await.unwrap().records.len(), 2);
        }
        let found = archive.store.query().search(search_for("at")).await.unwrap();
        let found: Vec<i64> = found.items.iter().rev().map(|hit| hit.time.as_millis()).collect();
        assert_eq!(found, times);
        let histogram = archive.store.logs().histogram(archive.run_id, TimeRange::ALL, 10).await.unwrap();
        let counted = histogram.buckets.iter().flatten().sum::<u64>() + histogram.before;
        assert!((3..=7).contains(&counted), "{histogram:?}");
        let whole = TimeRange { start: Some(Timestamp::MIN), end: Some(Timestamp::MAX) };
        let histogram = archive.store.logs().histogram(archive.run_id, whole, 10).await.unwrap();
        assert_eq!(histogram.buckets.iter().flatten().sum::<u64>(), 7, "{histogram:?}");
    }
    let ticket =
        archive.store.pages().request_page(&archive.whole_log(FileFormat::Json, RecordOrder::Asc)).await.unwrap();
    archive.build_all().await;
    assert_eq!(page_records(&archive.store, archive.run_id, &ticket.token).await, records);
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_of_any_kind_are_kept() {
    let archive = Here::new().await;
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    let lines = [
        r#"{"logTimestamp":1,"severity":"","logMessage":"","podName":""}"#.to_owned(),
        r#"{"logTimestamp":2,"logMessage":"a\u0000b\r\n\u2028","x\u0000y":"\u0000"}"#.to_owned(),
        format!(r#"{{"logTimestamp":3,"logMessage":"{}"}}"#, "é".repeat(1 << 19)),
        format!(r#"{{"logTimestamp":4,"":{deep}}}"#),
        r#"{"logTimestamp":5}"#.to_owned(),
    ];
    let records: Vec<Record> = lines.iter().map(|line| read(line)).collect();
    archive.push("one", &records).await;
    let expected = written(&records);
    assert_eq!(lines_of(&archive).await, expected);
    seal(&archive).await;
    assert_eq!(lines_of(&archive).await, expected);
    assert_eq!(page_of(&archive, FileFormat::Json).await, format!("[\n{}\n]\n", expected.join(",\n")));
    assert_eq!(archive.store.maintenance().verify(false, |_| ()).await.unwrap().problem_texts, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_records_is_read_sealed_and_deleted_like_others() {
    let archive = Here::new().await;
    assert_eq!(archive.push("none", &[]).await.stored, 0);
    assert!(archive.push("none", &[]).await.repeated);
    archive.finish_run(archive.run_id).await;
    archive.clock.advance_ms(31_000);
    assert_eq!(archive.store.maintenance().seal().await.unwrap().records, 0);
    assert_eq!(lines_of(&archive).await, Vec::<String>::new());
    assert_eq!(page_of(&archive, FileFormat::Text).await, "");
    assert_eq!(archive.store.maintenance().verify(false, |_| ()).await.unwrap().problem_texts, Vec::<String>::new());
    assert_eq!(archive.store.maintenance().delete_log(archive.run_id).await.unwrap().records, 0);
    assert_eq!(archive.push("one", &[record(1, "later")]).await.stored, 1);
    assert_eq!(archive.records().await, [record(1, "later")]);
}

/// Each batch is an object until the log is sealed.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_a_thousand_batches_is_whole_before_and_after_sealing() {
    let archive = Here::new().await;
    // Every third batch is of one and the same time.
    let time = |number: i64| if number % 3 == 0 { 5 } else { number };
    for number in 0..1_000 {
        archive.push(&format!("b{number}"), &[record(time(number), &number.to_string())]).await;
    }
    let mut expected: Vec<Record> = (0..1_000).map(|number| record(time(number), &number.to_string())).collect();
    expected.sort_by_key(|record| record.time);
    assert!(archive.records().await == expected);
    seal(&archive).await;
    // Batches that overlap are merged in several passes.
    while archive.store.maintenance().seal().await.unwrap().runs > 0 {}
    assert!(archive.records().await == expected);
    archive.clock.advance_ms(7 * 3_600_000);
    archive.store.maintenance().sweep().await.unwrap();
    assert_eq!(archive.objects(), 0, "the objects of the batches were removed");
    assert!(archive.records().await == expected);
}

/// Whatever of it comes first, nothing is lost, doubled or left.
#[tokio::test(flavor = "multi_thread")]
async fn a_verification_that_repairs_and_a_copy_beside_sealing_and_deletion_change_nothing() {
    let archive = Here::new().await;
    let copy = Here::empty().await;
    let mut runs = vec![archive.run_id];
    for _ in 0..5 {
        runs.push(archive.start_another_run().await);
    }
    for round in 0..4_u8 {
        for run in &runs {
            let records: Vec<Record> = (0..50).map(|number| record(number, &format!("{run} {round}"))).collect();
            super::common::push(&archive.store, *run, round, &records).await.unwrap();
            archive.finish_run(*run).await;
        }
        archive.clock.advance_ms(31_000);
        let maintenance = archive.store.maintenance();
        let deleted = runs.remove(0);
        let (sealed, verified, copied, removed) = tokio::join!(
            maintenance.seal(),
            maintenance.verify(true, |_| ()),
            maintenance.copy_to(copy.store.maintenance(), |_| ()),
            maintenance.delete_log(deleted),
        );
        sealed.unwrap();
        copied.unwrap();
        assert_eq!(verified.unwrap().problem_texts, Vec::<String>::new());
        assert_eq!(removed.unwrap().records, 50 * u64::from(round + 1));
        // The same ID, as a run that is sent again.
        assert_eq!(archive.records_of(deleted).await, []);
        super::common::push(&archive.store, deleted, 0, &[record(1, "again")]).await.unwrap();
        assert_eq!(archive.records_of(deleted).await, [record(1, "again")]);
        for run in &runs {
            assert_eq!(archive.records_of(*run).await.len(), 50 * (usize::from(round) + 1));
        }
    }
    archive.clock.advance_ms(31_000);
    archive.store.maintenance().seal().await.unwrap();
    archive.store.maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
    for store in [&archive.store, &copy.store] {
        let verified = store.maintenance().verify(false, |_| ()).await.unwrap();
        assert_eq!(verified.problem_texts, Vec::<String>::new());
        for run in &runs {
            assert_eq!(super::common::records_on(store, *run).await.len(), 200);
        }
    }
}
