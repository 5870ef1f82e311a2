//! Temporary outages of a bucket or a database: they are reported as outages, and cause no permanent failure.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use runlog_model::{FileFormat, RecordOrder, TimeRange};
use runlog_store::logs::LiveQuery;
use runlog_store::pages::{PageStatus, PageTicket};
use runlog_store::{ErrorKind, StoreSettings};
use tokio_util::sync::CancellationToken;

use super::common::backends::{self, Backends};
use super::common::gate::{Gate, Passage};
use super::common::{Archive, record};

/// The gates of the archives of this file, in the order in which they were made.
static GATES: Mutex<Vec<(PathBuf, Gate)>> = Mutex::new(Vec::new());

/// A bucket behind a gate.
struct GatedBucket;

impl Backends for GatedBucket {
    fn choose(settings: &mut StoreSettings) -> PathBuf {
        let (url, folder, gate) = backends::gated_bucket();
        settings.objects = Some(url);
        GATES.lock().unwrap().push((settings.data_folder.clone(), gate));
        folder
    }
}

/// A database behind a gate.
pub(crate) struct GatedDatabase;

impl Backends for GatedDatabase {
    fn choose(settings: &mut StoreSettings) -> PathBuf {
        let (url, gate) = backends::gated_database();
        settings.catalog = Some(url);
        GATES.lock().unwrap().push((settings.data_folder.clone(), gate));
        settings.data_folder.join("objects")
    }
}

fn gate_of(folder: &Path) -> Gate {
    GATES.lock().unwrap().iter().find(|(of, _)| of == folder).unwrap().1.clone()
}

/// An archive behind a gate, with a log.
pub(crate) async fn archive<P: Backends>() -> (Archive<P>, Gate) {
    let mut folder = PathBuf::new();
    let archive = Archive::<P>::with_settings(|settings| folder = settings.data_folder.clone()).await;
    let gate = gate_of(&folder);
    archive.push("one", &(0..2_000).map(|ms| record(ms, &"a text ".repeat(200))).collect::<Vec<_>>()).await;
    (archive, gate)
}

async fn status<P: Backends>(archive: &Archive<P>, ticket: &PageTicket) -> PageStatus {
    archive.store.pages().page_status(archive.run_id, &ticket.token, Duration::ZERO).await.unwrap()
}

async fn ask<P: Backends>(archive: &Archive<P>) -> PageTicket {
    archive.store.pages().request_page(&archive.whole_log(FileFormat::Json, RecordOrder::Asc)).await.unwrap()
}

fn live() -> LiveQuery {
    LiveQuery { range: TimeRange::ALL, order: RecordOrder::Asc, start_index: 0, count: 10 }
}

/// After three failures within seconds, its token was permanently invalid.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_requested_during_an_outage_is_built_afterwards() {
    let (archive, gate) = archive::<GatedBucket>().await;
    let ticket = ask(&archive).await;
    gate.set(Passage::Closed);
    // Calls that need the bucket fail after some seconds with an error that says that it is unavailable.
    let begun = Instant::now();
    let fresh = archive.another_node().await;
    let error = fresh.logs().live_page(archive.run_id, &live()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    for _ in 0..3 {
        let error = fresh.pages().build_next_page().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert_eq!(status(&archive, &ticket).await, PageStatus::InProgress);
        archive.clock.advance_ms(20_000);
    }
    let metrics = archive.store.maintenance().metrics().await.unwrap();
    assert_eq!((metrics.pages_failed, metrics.pages_waiting), (0, 1), "what is away is no fault of the page");
    gate.set(Passage::Open);
    assert!(fresh.pages().build_next_page().await.unwrap());
    assert!(matches!(status(&archive, &ticket).await, PageStatus::Ready(_)));
}

/// A request waits for a bucket that recovers, and does not fail.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_waits_some_seconds_for_a_bucket_that_comes_back() {
    let (archive, gate) = archive::<GatedBucket>().await;
    let fresh = archive.another_node().await;
    for passage in [Passage::Closed, Passage::Hanging] {
        gate.set(passage);
        let opening = gate.clone();
        let opened = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            opening.set(Passage::Open);
        });
        // Each time another node, which has nothing in its memory.
        let node = archive.another_node().await;
        assert_eq!(node.logs().live_page(archive.run_id, &live()).await.unwrap().records.len(), 10, "{passage:?}");
        opened.await.unwrap();
    }
    assert_eq!(fresh.logs().live_page(archive.run_id, &live()).await.unwrap().total, 2_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_hangs_is_given_up_after_some_seconds() {
    let (archive, gate) = archive::<GatedBucket>().await;
    let node = archive.another_node().await;
    gate.set(Passage::Hanging);
    let begun = Instant::now();
    let error = node.logs().live_page(archive.run_id, &live()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

/// With one builder, a request for a page waited for all earlier pages, however long they took.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_page_does_not_delay_the_next() {
    let (archive, gate) = archive::<GatedBucket>().await;
    let node = archive.another_node_with(|settings| settings.page_builders = 1).await.unwrap();
    let stop = CancellationToken::new();
    let jobs = tokio::spawn({
        let (node, stop) = (node.clone(), stop.clone());
        async move { node.maintenance().run_jobs(stop).await }
    });
    let built = async |ticket: &PageTicket| {
        while status(&archive, ticket).await == PageStatus::InProgress {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    built(&ask(&archive).await).await;
    // Something that the node has not read yet.
    archive.push("two", &[record(5_000, "late")]).await;
    gate.set(Passage::HangingFor { connections: 1 });
    let slow = ask(&archive).await;
    while gate.hangs_for() > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let request = archive.whole_log(FileFormat::Text, RecordOrder::Asc);
    let quick = archive.store.pages().request_page(&request).await.unwrap();
    built(&quick).await;
    assert_eq!(status(&archive, &slow).await, PageStatus::InProgress, "it hangs, and the next one is there");
    stop.cancel();
    jobs.await.unwrap();
    assert!(matches!(status(&archive, &slow).await, PageStatus::Ready(_)));
}

/// Reads of responses that are cut off are resumed at the same position.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_survives_interrupted_responses_of_the_bucket() {
    let (archive, gate) = archive::<GatedBucket>().await;
    let ticket = ask(&archive).await;
    archive.build_all().await;
    let PageStatus::Ready(file) = status(&archive, &ticket).await else { panic!("not built") };
    let whole = async || {
        let reader = archive.store.pages().open_page(&file.key).await.unwrap().unwrap();
        let length = reader.plain_bytes;
        let bytes: Vec<bytes::Bytes> = reader.begin_plain(0..length).await.unwrap().try_collect().await.unwrap();
        bytes.concat()
    };
    let right = whole().await;
    for after_bytes in [0, 10, 600, 5_000] {
        gate.set(Passage::Cut { connections: 3, after_bytes });
        assert!(whole().await == right, "cut after {after_bytes} bytes");
    }
}

/// The head of the response had status 200 and a length, and no body followed.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_of_a_bucket_that_is_away_does_not_begin() {
    let (archive, gate) = archive::<GatedBucket>().await;
    let ticket = ask(&archive).await;
    archive.build_all().await;
    let PageStatus::Ready(file) = status(&archive, &ticket).await else { panic!("not built") };
    gate.set(Passage::Closed);
    let reader = archive.store.pages().open_page(&file.key).await.unwrap().unwrap();
    let length = reader.plain_bytes;
    let error = reader.clone().begin_plain(0..length).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let error = reader.begin_zstd().await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    gate.set(Passage::Open);
    assert!(matches!(status(&archive, &ticket).await, PageStatus::Ready(_)), "it is not taken for damaged");
}

/// Statements in progress failed, and so did new ones.
#[tokio::test(flavor = "multi_thread")]
async fn reads_and_page_requests_wait_for_a_database_that_is_restarted() {
    let (archive, gate) = archive::<GatedDatabase>().await;
    let stop = CancellationToken::new();
    let readers: Vec<_> = (0..8)
        .map(|number| {
            let (store, run_id, stop) = (archive.store.clone(), archive.run_id, stop.clone());
            let request = archive.whole_log(FileFormat::Json, RecordOrder::Asc);
            tokio::spawn(async move {
                let mut done = 0;
                while !stop.is_cancelled() {
                    if number < 6 {
                        store.logs().live_page(run_id, &live()).await.unwrap();
                    } else {
                        // The outcome of a commit whose response was lost is unknown: a repeated request returns it.
                        if let Err(error) = store.pages().request_page(&request).await {
                            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                            store.pages().request_page(&request).await.unwrap();
                        }
                    }
                    done += 1;
                }
                done
            })
        })
        .collect();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        gate.set(Passage::Closed);
        tokio::time::sleep(Duration::from_millis(700)).await;
        gate.set(Passage::Open);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.cancel();
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
}
