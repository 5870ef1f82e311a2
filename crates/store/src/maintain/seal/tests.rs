//! Unit tests of sealing: passes that lose their lease, their files or their runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use runlog_model::wire::admin::{NewTask, NewWorkspace};
use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_model::{Clock, Random, Record, RunId, RunStatus, TaskId, Timestamp};

use crate::error::{Error, ErrorKind};
use crate::limits;
use crate::maintain::delete::LogSnapshot;
use crate::maintain::retention::Retention;
use crate::maintain::seal::pass::MergeFailure;
use crate::segment::file_statistics::FileStatistics;
use crate::segment::reader::SegmentFile;
use crate::settings::StoreSettings;
use crate::store::Store;
use crate::tables::accounts::Caller;

struct Standing(AtomicI64);

impl Clock for Standing {
    fn now(&self) -> Timestamp {
        Timestamp::clamped(self.0.load(Ordering::Relaxed))
    }
}

struct Counting(AtomicU64);

impl Random for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        let number = self.0.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        bytes.iter_mut().zip(number.iter().cycle()).for_each(|(byte, made)| *byte = *made);
    }
}

struct Opened {
    store: Store,
    clock: Arc<Standing>,
    random: Arc<Counting>,
    _folder: tempfile::TempDir,
}

async fn opened() -> Opened {
    opened_with(|_| ()).await
}

async fn opened_with(set: impl FnOnce(&mut StoreSettings)) -> Opened {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(Standing(AtomicI64::new(1_795_434_850_000)));
    let random = Arc::new(Counting(AtomicU64::new(1)));
    let mut settings = StoreSettings::in_folder(folder.path());
    set(&mut settings);
    let store = Store::open(settings, clock.clone(), random.clone()).await.unwrap();
    Opened { store, clock, random, _folder: folder }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_nobody_names_and_nobody_marked_is_swept() {
    let Opened { store, clock, _folder, .. } = opened().await;
    let key = Path::from("segments/2026/11/27/lost.parquet");
    store.core().put_object(&key, Bytes::from_static(b"lost")).await.unwrap();
    sqlx::query(
        "INSERT INTO segments (id, object_key, bytes, records, created_at, sha256) VALUES ('lost', $1, 4, 1, $2, '')",
    )
    .bind(key.as_ref())
    .bind(store.core().now().as_millis())
    .execute(store.core().catalog().write())
    .await
    .unwrap();
    for expected in [0, 0, 4] {
        assert_eq!(store.maintenance().sweep().await.unwrap(), expected, "readers have their hour after it was marked");
        clock.0.fetch_add(limits::REPLACED_RETENTION_MS + 1, Ordering::Relaxed);
    }
    assert!(store.core().objects().head(&key).await.is_err());
}

/// Statistics were once computed after the writer had given up its row groups, so that engines saw columns of zero
/// bytes.
#[tokio::test(flavor = "multi_thread")]
async fn the_statistics_of_a_sealed_file_are_those_of_its_footer() {
    let opened = opened_with(|settings| settings.lake = true).await;
    due_run(&opened).await;
    let store = &opened.store;
    assert_eq!(store.maintenance().seal().await.unwrap().runs, 1);
    let (key, bytes, statistics): (String, i64, String) =
        sqlx::query_as("SELECT object_key, bytes, statistics FROM segments WHERE merged = 1")
            .fetch_one(store.core().catalog().read())
            .await
            .unwrap();
    let statistics: FileStatistics = serde_json::from_str(&statistics).unwrap();
    let file = SegmentFile::open(store.core().segments(), &key, bytes.unsigned_abs()).await.unwrap();
    let columns = file.row_groups()[0].columns();
    assert_eq!((statistics.row_groups.len(), file.row_groups().len()), (1, 1));
    assert_eq!(statistics.row_groups[0].unsigned_abs(), columns[0].byte_range().0);
    let sizes: Vec<i64> = columns.iter().map(|column| column.compressed_size()).collect();
    assert_eq!(statistics.columns.iter().map(|column| column.bytes).collect::<Vec<_>>(), sizes);
    assert!(sizes.iter().all(|bytes| *bytes > 0), "{sizes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_deleted_while_it_is_merged_does_not_stay_in_the_file_of_another() {
    let Opened { store, clock, random, _folder } = opened().await;
    let (task_id, caller) = task_and_caller(&store).await;
    let mut runs = Vec::new();
    for said in ["a secret", "kept"] {
        let run_id = RunId::random(&*random);
        store.runs().start(run_id, &StartRun::of_task(task_id), &caller).await.unwrap();
        let mut batch = store.ingest().begin_batch(run_id, None).await.unwrap();
        let record = Record { message: Some(said.to_owned()), ..Record::at(Timestamp::clamped(7)) };
        batch.push(&record).await.unwrap();
        batch.commit().await.unwrap();
        store.runs().finish(run_id, &FinishRun::with_status(RunStatus::Successful)).await.unwrap();
        runs.push(run_id);
    }
    clock.0.fetch_add(31_000, Ordering::Relaxed);

    let mut pass = store.maintenance().claim_due_runs().await.unwrap().unwrap();
    let Ok(merged) = pass.merge_runs().await else { panic!("not merged") };
    assert_eq!(merged.files.iter().map(|file| file.records).collect::<Vec<_>>(), [2], "both are in one file");
    store.maintenance().delete_log(runs[0]).await.unwrap();
    assert_eq!(merged.commit(&pass.maintenance, &pass.token).await.unwrap().runs, 1);
    assert_eq!(store.maintenance().seal().await.unwrap().runs, 1, "the other one is merged anew");
    clock.0.fetch_add(2 * limits::REPLACED_RETENTION_MS, Ordering::Relaxed);
    store.maintenance().sweep().await.unwrap();
    let segments: Vec<(i64, String)> = sqlx::query_as("SELECT records, object_key FROM segments")
        .fetch_all(store.core().catalog().read())
        .await
        .unwrap();
    assert_eq!(segments.iter().map(|(records, _)| *records).collect::<Vec<_>>(), [1]);
    assert!(store.core().objects().head(&merged.files[0].object_key).await.is_err(), "the file that held both is gone");
}

/// The records of a deleted log once remained in a shared file forever if the other log in the file was merged at that
/// moment without its part of the file, because its late records had other times.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_shares_a_file_with_a_deleted_one_stays_due_while_its_late_records_are_merged() {
    let opened = opened().await;
    let runs = two_due_runs(&opened).await;
    let Opened { store, clock, .. } = &opened;
    assert_eq!(store.maintenance().seal().await.unwrap().runs, 2);
    push(store, runs[1], 900_000).await;
    clock.0.fetch_add(3_600_000, Ordering::Relaxed);
    let mut pass = store.maintenance().claim_due_runs().await.unwrap().unwrap();
    let Ok(merged) = pass.merge_runs().await else { panic!("not merged") };
    clock.0.fetch_add(1_000, Ordering::Relaxed);
    store.maintenance().delete_log(runs[0]).await.unwrap();
    let _ = merged.commit(&pass.maintenance, &pass.token).await.unwrap();
    clock.0.fetch_add(3_600_000, Ordering::Relaxed);
    while store.maintenance().seal().await.unwrap().runs > 0 {}
    clock.0.fetch_add(2 * limits::REPLACED_RETENTION_MS, Ordering::Relaxed);
    store.maintenance().sweep().await.unwrap();
    let stored: i64 = sqlx::query_scalar("SELECT CAST(SUM(records) AS BIGINT) FROM segments")
        .fetch_one(store.core().catalog().read())
        .await
        .unwrap();
    assert_eq!(stored, 2, "the records of the other log, and none of the deleted one");
}

/// Creates two runs that are due for sealing, each with one record of the same time.
async fn two_due_runs(Opened { store, clock, random, .. }: &Opened) -> [RunId; 2] {
    let (task_id, caller) = task_and_caller(store).await;
    let runs = [RunId::random(&**random), RunId::random(&**random)];
    for run_id in runs {
        store.runs().start(run_id, &StartRun::of_task(task_id), &caller).await.unwrap();
        push(store, run_id, 7).await;
        store.runs().finish(run_id, &FinishRun::with_status(RunStatus::Successful)).await.unwrap();
    }
    clock.0.fetch_add(31_000, Ordering::Relaxed);
    runs
}

/// Creates a task, and a caller with the right to start its runs.
async fn task_and_caller(store: &Store) -> (TaskId, Caller) {
    let workspace =
        NewWorkspace { id: None, environment_id: None, name: "team".to_owned(), description: None, owner: None };
    let workspace_id = store.workspaces().create_workspace(&workspace, "admin").await.unwrap().id;
    let task = NewTask {
        id: None,
        workspace_id,
        name: "nightly".to_owned(),
        version: None,
        description: None,
        tags: Vec::new(),
    };
    let task_id = store.workspaces().create_task(&task).await.unwrap().id;
    let token = store.accounts().ensure_administrator().await.unwrap().unwrap();
    let caller = store.accounts().authenticate_token(&token).await.unwrap().unwrap();
    (task_id, caller)
}

/// Creates a run with one record that is due for sealing.
async fn due_run(opened: &Opened) -> RunId {
    let Opened { store, clock, random, .. } = opened;
    let (task_id, caller) = task_and_caller(store).await;
    let run_id = RunId::random(&**random);
    store.runs().start(run_id, &StartRun::of_task(task_id), &caller).await.unwrap();
    push(store, run_id, 7).await;
    store.runs().finish(run_id, &FinishRun::with_status(RunStatus::Successful)).await.unwrap();
    clock.0.fetch_add(31_000, Ordering::Relaxed);
    run_id
}

async fn push(store: &Store, run_id: RunId, time_ms: i64) {
    let mut batch = store.ingest().begin_batch(run_id, None).await.unwrap();
    batch.push(&Record::at(Timestamp::clamped(time_ms))).await.unwrap();
    batch.commit().await.unwrap();
}

async fn is_whole(store: &Store) -> bool {
    let verified = store.maintenance().verify(false, |_| ()).await.unwrap();
    (verified.problems, verified.records) == (0, 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_that_stood_still_for_hours_commits_nothing_that_was_swept() {
    let opened = opened().await;
    due_run(&opened).await;
    let Opened { store, clock, .. } = &opened;
    let mut pass = store.maintenance().claim_due_runs().await.unwrap().unwrap();
    let Ok(merged) = pass.merge_runs().await else { panic!("not merged") };
    clock.0.fetch_add(7 * 3_600_000, Ordering::Relaxed);
    store.maintenance().sweep().await.unwrap();
    assert!(store.core().objects().head(&merged.files[0].object_key).await.is_err(), "another node has swept it");
    assert_eq!(merged.commit(&pass.maintenance, &pass.token).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert!(is_whole(store).await);
    assert_eq!(store.maintenance().seal().await.unwrap().runs, 1);
    clock.0.fetch_add(7 * 3_600_000, Ordering::Relaxed);
    store.maintenance().sweep().await.unwrap();
    assert!(is_whole(store).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_from_which_another_has_taken_over_commits_nothing() {
    let opened = opened().await;
    due_run(&opened).await;
    let Opened { store, clock, .. } = &opened;
    let mut slow = store.maintenance().claim_due_runs().await.unwrap().unwrap();
    let Ok(merged) = slow.merge_runs().await else { panic!("not merged") };
    clock.0.fetch_add(limits::SEAL_LEASE_MS + 1, Ordering::Relaxed);
    let mut quick = store.maintenance().claim_due_runs().await.unwrap().unwrap();
    assert_eq!(
        merged.commit(&slow.maintenance, &slow.token).await.unwrap().runs,
        0,
        "even before the other one has done anything"
    );
    let Ok(merged) = quick.merge_runs().await else { panic!("not merged") };
    assert_eq!(merged.commit(&quick.maintenance, &quick.token).await.unwrap().runs, 1);
    clock.0.fetch_add(7 * 3_600_000, Ordering::Relaxed);
    store.maintenance().sweep().await.unwrap();
    assert!(is_whole(store).await);
}

/// A deletion during the merge once made the pass abandon all other logs.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_deleted_while_it_is_merged_does_not_hold_up_others() {
    let opened = opened().await;
    let runs = two_due_runs(&opened).await;
    let store = &opened.store;
    let deleted = runs[0];
    let mut pass = store.maintenance().claim_due_runs().await.unwrap().unwrap();
    assert_eq!(pass.runs.len(), 2);
    let index = pass.runs.iter().position(|run| run.id == deleted.to_string());
    let merge_failure = |kind| MergeFailure { error: Error::new(kind, "it was changed"), run: index };
    assert!(!pass.leave_out(&merge_failure(ErrorKind::Conflict)).await.unwrap(), "both are as they were claimed");
    assert!(!pass.leave_out(&MergeFailure { run: None, ..merge_failure(ErrorKind::Corrupt) }).await.unwrap());
    store.maintenance().delete_log(deleted).await.unwrap();
    assert!(pass.leave_out(&merge_failure(ErrorKind::Conflict)).await.unwrap());
    assert_eq!(pass.seal().await.unwrap().runs, 1, "the other one is sealed by this pass");
    assert!(is_whole(store).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_has_grown_since_it_was_seen_is_not_deleted() {
    let opened = opened().await;
    let run_id = due_run(&opened).await;
    let store = &opened.store;
    let seen = snapshot(store, run_id).await;
    push(store, run_id, 8).await;
    assert_eq!(store.maintenance().delete_log_if(run_id, Some(seen)).await.unwrap(), None);
    let seen = snapshot(store, run_id).await;
    assert_eq!(store.maintenance().delete_log_if(run_id, Some(seen)).await.unwrap().unwrap().records, 2);
    push(store, run_id, 9).await;
    push(store, run_id, 9).await;
    assert_eq!(store.maintenance().delete_log_if(run_id, Some(seen)).await.unwrap(), None, "that is another log");
}

/// Returns the state of a log on which the decision to delete it is based.
async fn snapshot(store: &Store, run_id: RunId) -> LogSnapshot {
    let reading = "SELECT records, log_epoch, COALESCE(finished_at, last_record_stored_at, triggered_at) AS ended,
                          retention_days, retention_bytes
                   FROM runs JOIN workspaces w ON w.id = workspace_id WHERE runs.id = $1";
    sqlx::query_as(reading).bind(run_id.to_string()).fetch_one(store.core().catalog().read()).await.unwrap()
}

/// A pass in progress once deleted logs according to the retention at its start, even if the retention was changed
/// since.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_retention_was_changed_since_it_was_seen_is_not_deleted() {
    let opened = opened().await;
    let run_id = due_run(&opened).await;
    let store = &opened.store;
    let workspace = store.runs().get(run_id).await.unwrap().unwrap().workspace_id;
    let retention = |days, bytes| Retention { days, bytes };
    store.maintenance().set_retention(workspace, retention(Some(1), None)).await.unwrap();
    let seen = snapshot(store, run_id).await;
    for longer in [retention(Some(365), None), retention(None, None), retention(Some(1), Some(1 << 30))] {
        store.maintenance().set_retention(workspace, longer).await.unwrap();
        assert_eq!(store.maintenance().delete_log_if(run_id, Some(seen)).await.unwrap(), None, "{longer:?}");
    }
    store.maintenance().set_retention(workspace, retention(Some(1), None)).await.unwrap();
    let other_end = LogSnapshot { ended: seen.ended - 1, ..seen };
    assert_eq!(store.maintenance().delete_log_if(run_id, Some(other_end)).await.unwrap(), None);
    assert_eq!(store.maintenance().delete_log_if(run_id, Some(seen)).await.unwrap().unwrap().records, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_a_deleted_log_that_a_process_left_behind_are_swept() {
    let Opened { store, _folder, .. } = opened().await;
    let key = Path::from("segments/2026/11/27/left.parquet");
    store.core().put_object(&key, Bytes::from_static(b"left")).await.unwrap();
    for gone in [&key, &Path::from("segments/2026/11/27/gone.parquet")] {
        sqlx::query("INSERT INTO deletions (object_key, bytes) VALUES ($1, 4)")
            .bind(gone.as_ref())
            .execute(store.core().catalog().write())
            .await
            .unwrap();
    }
    store.maintenance().sweep().await.unwrap();
    assert!(store.core().objects().head(&key).await.is_err());
    let left: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM deletions").fetch_one(store.core().catalog().read()).await.unwrap();
    assert_eq!(left, 0);
}
