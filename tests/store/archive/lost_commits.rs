//! Losses of the catalog's write-ahead log are reported and repaired: each acknowledged record is in its log, or named
//! by a verification.

use std::path::{Path, PathBuf};

use runlog_model::RunId;
use runlog_store::Store;

use crate::common::{Archive, backends, record, records_on};

type Here = Archive<backends::sqlite_and_folder>;

/// A frame of the log: its head and a page.
const FRAME_BYTES: u64 = 24 + 4_096;
const LOG_HEAD_BYTES: u64 = 32;
const BATCHES: usize = 5;

/// The messages of an archive with several batches of one record each, whose process was killed: nothing was closed.
async fn killed() -> (Here, PathBuf) {
    let archive = Here::new().await;
    for number in 0..BATCHES {
        archive.push(&format!("b{number}"), &[record(number as i64, &format!("message {number}"))]).await;
    }
    let folder = archive.object_files()[0].ancestors().find(|path| path.ends_with("objects")).unwrap().to_owned();
    let folder = folder.parent().unwrap().to_owned();
    (archive, folder)
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => _ = std::fs::copy(entry.path(), target).unwrap(),
        }
    }
}

fn cut(file: &Path, bytes: u64) {
    std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(bytes).unwrap();
}

/// The messages of a run, or none if the run is not known.
async fn messages(store: &Store, run_id: RunId) -> Vec<String> {
    match store.runs().get(run_id).await.unwrap() {
        Some(_) => records_on(store, run_id).await.into_iter().filter_map(|record| record.message).collect(),
        None => Vec::new(),
    }
}

/// A log that was cut by one or more frames looked like one of which less was written: the intents of the objects were
/// older than their commits, and what they named was taken for something that is being written.
#[tokio::test(flavor = "multi_thread")]
async fn records_whose_commits_the_log_of_the_catalog_has_lost_are_reported_and_restored() {
    let (archive, folder) = killed().await;
    let log_bytes = std::fs::metadata(folder.join("catalog.sqlite-wal")).unwrap().len();
    let frames = (log_bytes - LOG_HEAD_BYTES) / FRAME_BYTES;
    let all: Vec<String> = (0..BATCHES).map(|number| format!("message {number}")).collect();
    let (mut cuts_with_losses, mut cuts_with_the_run) = (0, 0);
    for lost in 0..frames.min(60) {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(&folder, copy.path());
        // In the middle of a frame, too: what remains of it is not whole.
        cut(&copy.path().join("catalog.sqlite-wal"), log_bytes - lost * FRAME_BYTES - (lost % 2) * 100);
        let store = archive.open_folder(copy.path()).await;
        let there = messages(&store, archive.run_id).await;
        let told = store.maintenance().verify(false, |_| ()).await.unwrap();
        let missing = BATCHES - there.len();
        assert_eq!(told.problems > 0, missing > 0, "{lost} frames: {there:?} {:?}", told.problem_texts);
        cuts_with_losses += usize::from(missing > 0);
        // They do not become final either.
        store.close().await;
        let store = archive.open_folder(copy.path()).await;
        let mended = store.maintenance().verify(true, |_| ()).await.unwrap();
        if store.runs().get(archive.run_id).await.unwrap().is_some() {
            cuts_with_the_run += 1;
            assert_eq!(mended.records_restored as usize, missing, "{lost} frames: {:?}", mended.problem_texts);
            let mut restored = messages(&store, archive.run_id).await;
            restored.sort();
            assert_eq!(restored, all, "{lost} frames");
            assert_eq!(store.maintenance().verify(true, |_| ()).await.unwrap().problems, 0);
        } else {
            let named = mended.problem_texts.iter().filter(|text| text.contains("the run is not known")).count();
            assert_eq!(named, BATCHES, "{lost} frames: {:?}", mended.problem_texts);
        }
        store.close().await;
    }
    assert!(cuts_with_losses > 5 && cuts_with_the_run > 5, "{cuts_with_losses} {cuts_with_the_run} of {frames}");
}

/// Data that a killed process had written but not committed was never acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_did_not_commit_is_no_problem_and_noted_after_some_hours() {
    let (archive, folder) = killed().await;
    archive
        .change_catalog("INSERT INTO intents (object_key, renewed_at) SELECT object_key, 1795434850000 FROM segments")
        .await;
    archive
        .change_catalog("DELETE FROM slices; DELETE FROM segments; DELETE FROM batches; UPDATE runs SET records = 0")
        .await;
    let copy = tempfile::tempdir().unwrap();
    copy_folder(&folder, copy.path());
    let store = archive.open_folder(copy.path()).await;
    let verified = store.maintenance().verify(false, |_| ()).await.unwrap();
    assert_eq!((verified.problems, verified.orphans, verified.notes), (0, 0, 0), "{:?}", verified.problem_texts);
    archive.clock.advance_ms(4 * 3_600_000);
    let verified = store.maintenance().verify(false, |_| ()).await.unwrap();
    assert_eq!((verified.problems, verified.orphans, verified.notes), (0, 0, BATCHES as u64));
    let verified = store.maintenance().verify(true, |_| ()).await.unwrap();
    assert_eq!((verified.problems, verified.records_restored), (0, BATCHES as u64));
    assert_eq!(messages(&store, archive.run_id).await.len(), BATCHES);
    store.close().await;
}

/// The sweep removed the objects after some hours, and the loss was final.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_catalog_has_lost_is_not_swept_before_a_verification_has_seen_it() {
    let (archive, folder) = killed().await;
    let copy = tempfile::tempdir().unwrap();
    copy_folder(&folder, copy.path());
    let log = copy.path().join("catalog.sqlite-wal");
    cut(&log, std::fs::metadata(&log).unwrap().len() - FRAME_BYTES);
    let store = archive.open_folder(copy.path()).await;
    let there = messages(&store, archive.run_id).await.len();
    assert!(there < BATCHES);
    archive.clock.advance_ms(8 * 3_600_000);
    store.maintenance().sweep().await.unwrap();
    let mended = store.maintenance().verify(true, |_| ()).await.unwrap();
    assert_eq!(mended.records_restored as usize, BATCHES - there);
    // The object has served its purpose.
    archive.clock.advance_ms(8 * 3_600_000);
    assert_eq!(store.maintenance().verify(true, |_| ()).await.unwrap().problems, 0);
    assert_eq!(messages(&store, archive.run_id).await.len(), BATCHES);
    store.close().await;
}
