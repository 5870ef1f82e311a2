//! What reads and seals large objects needs no blocking thread while it waits for another.

use std::time::Duration;

use futures::TryStreamExt;
use futures::future::join_all;
use runlog_model::{FileFormat, Record, RecordOrder, RunStatus, TimeRange};
use runlog_store::logs::LiveQuery;
use runlog_store::pages::PageStatus;
use runlog_store::query::{ScanColumn, ScanFilter};

use crate::common::{Archive, record, search_for};

type Here = Archive<crate::common::backends::sqlite_and_folder>;

const RECORDS: usize = 40_000;

/// Records that hardly compress, so that their objects are not read whole.
fn records() -> Vec<Record> {
    let mut state = 7_u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 16
    };
    (0..RECORDS)
        .map(|number| record(number as i64, &std::array::from_fn::<_, 12, _>(|_| format!("{:012x}", next())).concat()))
        .collect()
}

#[test]
fn reading_and_sealing_large_objects_at_once_needs_one_blocking_thread() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let all = tokio::time::timeout(Duration::from_secs(240), everything_at_once()).await;
        assert!(all.is_ok(), "something waits for a thread that it has itself");
    });
}

async fn everything_at_once() {
    let archive = Here::new().await;
    let records = records();
    archive.push("b", &records).await;
    let largest = archive.object_files().iter().map(|file| file.metadata().unwrap().len()).max().unwrap();
    assert!(largest > runlog_store::limits::WHOLE_OBJECT_BYTES_MAX, "{largest} bytes are read whole");
    read_everything(&archive, &records).await;
    archive.finish(RunStatus::Successful).await.unwrap();
    archive.clock.advance_ms(60_000);
    let (sealed, ()) = tokio::join!(archive.store.maintenance().seal(), read_everything(&archive, &records));
    assert_eq!(sealed.unwrap().records, RECORDS as u64);
    read_everything(&archive, &records).await;
}

async fn read_everything(archive: &Here, records: &[Record]) {
    let (store, run_id) = (&archive.store, archive.run_id);
    let live = join_all((0..8).map(|number| async move {
        let query =
            LiveQuery { range: TimeRange::ALL, order: RecordOrder::Asc, start_index: 4_000 * number + 3_999, count: 2 };
        assert_eq!(store.logs().live_page(run_id, &query).await.unwrap().records.len(), 2);
    }));
    let searches = join_all((0..8).map(|_| async move {
        assert_eq!(store.query().search(search_for("nothing-has-this")).await.unwrap().scanned_records, RECORDS as u64);
    }));
    let scan = async {
        let scan = store.query().scan(ScanFilter::default(), &[ScanColumn::Message]);
        let streams = join_all((0..4).map(|_| scan.stream().try_collect::<Vec<_>>()));
        let batches = streams.await.into_iter().flat_map(Result::unwrap);
        assert_eq!(batches.map(|batch| batch.num_rows()).sum::<usize>(), RECORDS);
    };
    let histogram = async {
        let histogram = store.logs().histogram(run_id, TimeRange::ALL, 10).await.unwrap();
        assert_eq!(histogram.buckets.iter().flatten().sum::<u64>(), RECORDS as u64);
    };
    let download = async { assert_eq!(archive.records().await, records) };
    let page = async {
        let ticket = store.pages().request_page(&archive.whole_log(FileFormat::Json, RecordOrder::Desc)).await.unwrap();
        archive.build_all().await;
        let status = store.pages().page_status(run_id, &ticket.token, Duration::from_secs(60)).await.unwrap();
        let PageStatus::Ready(file) = status else { panic!("not built: {status:?}") };
        let reader = store.pages().open_page(&file.key).await.unwrap().unwrap();
        let length = reader.plain_bytes;
        let bytes: Vec<bytes::Bytes> = reader.plain(0..length).try_collect().await.unwrap();
        assert_eq!(serde_json::from_slice::<Vec<Record>>(&bytes.concat()).unwrap().len(), RECORDS);
    };
    tokio::join!(live, searches, scan, histogram, download, page);
}
