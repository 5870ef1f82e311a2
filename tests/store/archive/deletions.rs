//! Deletions leave nothing behind, whatever fails meanwhile.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult,
};
use runlog_model::{FileFormat, Record, RecordOrder, Timestamp};
use runlog_store::ErrorKind;
use runlog_store::delivery::{DeliveryStep, RecordKey, RefusedRange};
use runlog_store::simulation::{Operation, Simulation, Turn};
use tokio::sync::{mpsc, oneshot};

use crate::common::{Archive, record};

type Here = Archive<crate::common::backends::sqlite_and_folder>;

const HOUR_MS: i64 = 3_600_000;

/// An archive with a run that has ended, and whose log is settled.
async fn settled(records: &[Record]) -> Here {
    let archive = Here::new().await;
    archive.push("one", records).await;
    archive.finish_run(archive.run_id).await;
    archive.clock.advance_ms(31_000);
    archive
}

/// The sweep removed the row of a segment that sealing had replaced, and then the object. When the process ended in
/// between and the log was deleted later, a verification took the records of the object for lost ones.
#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_object_whose_removal_failed_is_no_problem_and_is_removed_later() {
    let archive = settled(&[record(1, "a"), record(2, "b")]).await;
    let replaced = archive.object_files().remove(0);
    assert_eq!(archive.store.maintenance().seal().await.unwrap().runs, 1);
    archive.clock.advance_ms(2 * HOUR_MS);
    let bytes = std::fs::read(&replaced).unwrap();
    // A folder cannot be removed as a file.
    std::fs::remove_file(&replaced).unwrap();
    std::fs::create_dir(&replaced).unwrap();
    archive.store.maintenance().sweep().await.unwrap();
    std::fs::remove_dir(&replaced).unwrap();
    std::fs::write(&replaced, bytes).unwrap();

    archive.store.maintenance().delete_log(archive.run_id).await.unwrap();
    let verified = archive.store.maintenance().verify(false, |_| ()).await.unwrap();
    assert_eq!(verified.problem_texts, Vec::<String>::new());
    archive.store.maintenance().sweep().await.unwrap();
    assert!(!replaced.exists(), "it is removed by the next sweep");
}

/// A deliverer that was at work when a log was deleted stored refused records of it afterwards, which could neither be
/// sent again nor removed.
#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_deleted_log_that_a_sink_refuses_are_not_kept() {
    let archive = settled(&[record(1, "a"), record(2, "b")]).await;
    let deliveries = archive.store.deliveries();
    deliveries.register_sink("sink", "test", None).await.unwrap();
    assert_eq!(deliveries.enqueue_finished_runs("sink", |_| true).await.unwrap(), 1);
    let mut claimed = deliveries.claim("sink", archive.now().plus_millis(60_000)).await.unwrap().unwrap();
    let refuse = |arrival: u64| {
        let key = RecordKey { time: Timestamp::clamped(arrival as i64 + 1), arrival };
        DeliveryStep { until: Some(key), refused: vec![RefusedRange::one(key, "too long")], ..DeliveryStep::default() }
    };
    deliveries.commit_step(&mut claimed, &refuse(0)).await.unwrap();
    assert_eq!(deliveries.dead_letters("sink", 10).await.unwrap().len(), 1);

    archive.store.maintenance().delete_log(archive.run_id).await.unwrap();
    deliveries.commit_step(&mut claimed, &refuse(1)).await.unwrap();
    assert!(deliveries.dead_letters("sink", 10).await.unwrap().is_empty());
}

/// A log was deleted while it was delivered, and fewer records than before arrived again: the deliverer, which had begun with
/// the old log, ended the delivery, and the new records were never delivered. A simulation found it.
#[tokio::test(flavor = "multi_thread")]
async fn records_that_follow_a_deletion_are_delivered_when_a_delivery_of_the_deleted_log_ends_after_them() {
    let archive = settled(&[record(1, "a"), record(2, "b")]).await;
    let deliveries = archive.store.deliveries();
    deliveries.register_sink("sink", "test", None).await.unwrap();
    assert_eq!(deliveries.enqueue_finished_runs("sink", |_| true).await.unwrap(), 1);
    let until = archive.now().plus_millis(60_000);
    let claimed = deliveries.claim("sink", until).await.unwrap().unwrap();

    archive.store.maintenance().delete_log(archive.run_id).await.unwrap();
    archive.push("two", &[record(3, "c")]).await;
    deliveries.finish(&claimed).await.unwrap();

    archive.clock.advance_ms(HOUR_MS);
    let until = archive.now().plus_millis(60_000);
    let again = deliveries.claim("sink", until).await.unwrap().unwrap();
    assert_eq!((again.epoch, again.first_arrival), (1, 0));
    let records = deliveries.read(&again).next().await.unwrap().unwrap();
    assert_eq!(records.into_iter().map(|keyed| keyed.record).collect::<Vec<_>>(), [record(3, "c")]);
    deliveries.finish(&again).await.unwrap();
    archive.clock.advance_ms(HOUR_MS);
    let until = archive.now().plus_millis(60_000);
    assert!(deliveries.claim("sink", until).await.unwrap().is_none());
}

/// A page that was requested while its log was deleted became a row after the deletion. Its file was tried three times,
/// and waiting clients got an internal error. A simulation found it.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_log_was_deleted_while_it_was_requested_is_gone() {
    let archive = settled(&[record(1, "a"), record(2, "b")]).await;
    let request = archive.whole_log(FileFormat::Json, RecordOrder::Asc);
    let ticket = archive.store.pages().request_page(&request).await.unwrap();
    // As if the deletion had been committed before the row of the page.
    archive.change_catalog("UPDATE runs SET log_epoch = log_epoch + 1").await;
    while !matches!(archive.store.pages().build_next_page().await, Ok(false)) {}
    let status = archive.store.pages().page_status(archive.run_id, &ticket.token, Duration::ZERO).await;
    assert_eq!(status.map_err(|error| error.kind()), Err(ErrorKind::NotFound));
}

/// Objects in memory; once, when a page file is looked for, a log is deleted first.
#[derive(Debug)]
struct DeletesFirst {
    objects: InMemory,
    wanted: mpsc::UnboundedSender<oneshot::Sender<()>>,
    is_armed: AtomicBool,
}

impl fmt::Display for DeletesFirst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.objects.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for DeletesFirst {
    async fn put_opts(&self, key: &Path, bytes: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        self.objects.put_opts(key, bytes, options).await
    }

    async fn put_multipart_opts(
        &self,
        key: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(key, options).await
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        if key.as_ref().starts_with("pages/") && self.is_armed.swap(false, Ordering::SeqCst) {
            let (done, is_done) = oneshot::channel();
            self.wanted.send(done).unwrap();
            is_done.await.unwrap();
        }
        self.objects.get_opts(key, options).await
    }

    fn delete_stream(
        &self,
        keys: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.objects.delete_stream(keys)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

/// A machine whose catalog is as it is, with these objects.
#[derive(Debug)]
struct WithObjects(Arc<DeletesFirst>);

#[derive(Debug)]
struct AtOnce;

impl Simulation for WithObjects {
    fn begin(&self, _: Operation, _: &str) -> BoxFuture<'static, Box<dyn Turn>> {
        Box::pin(async { Box::new(AtOnce) as Box<dyn Turn> })
    }

    fn catalog_clock_ms(&self) -> Option<i64> {
        None
    }

    fn objects(&self, _: bool) -> Arc<dyn ObjectStore> {
        self.0.clone()
    }
}

impl Turn for AtOnce {
    fn before_commit(&mut self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn after_write(&mut self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

/// A verification had read the row of a page file when the log was deleted, and reported the file as lost. A simulation
/// found it.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_file_that_is_deleted_during_a_verification_is_no_problem() {
    let (wanted, mut is_wanted) = mpsc::unbounded_channel();
    let objects = DeletesFirst { objects: InMemory::new(), wanted, is_armed: AtomicBool::new(false) };
    let objects = Arc::new(objects);
    let archive = Here::new_on(Arc::new(WithObjects(Arc::clone(&objects)))).await;
    archive.push("one", &[record(1, "a")]).await;
    let request = archive.whole_log(FileFormat::Json, RecordOrder::Asc);
    archive.store.pages().request_page(&request).await.unwrap();
    assert_eq!(archive.build_all().await, 1);

    objects.is_armed.store(true, Ordering::SeqCst);
    let deleting = async {
        let done: oneshot::Sender<()> = is_wanted.recv().await.unwrap();
        assert_eq!(archive.store.maintenance().delete_log(archive.run_id).await.unwrap().records, 1);
        done.send(()).unwrap();
    };
    let (verified, ()) = tokio::join!(archive.store.maintenance().verify(false, |_| ()), deleting);
    assert_eq!(verified.unwrap().problem_texts, Vec::<String>::new());
}
