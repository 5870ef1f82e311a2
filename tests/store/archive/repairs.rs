//! Damaged objects are repaired from a copy of the archive, or from other objects with the same records; unrepairable
//! damage is reported for each run.

use runlog_model::{Record, RunStatus};

use crate::common::{Archive, backends, record};

type Here = Archive<backends::sqlite_and_folder>;

fn records(first: i64) -> Vec<Record> {
    (first..first + 100).map(|number| record(number % 40, &format!("message {number}"))).collect()
}

/// An archive with a run of two segments.
async fn archive() -> Here {
    let archive = Here::new().await;
    archive.push("one", &records(0)).await;
    archive.clock.advance_ms(1_000);
    archive.push("two", &records(100)).await;
    archive
}

async fn seal(archive: &Here) {
    archive.finish(RunStatus::Successful).await.unwrap();
    archive.clock.advance_ms(31_000);
    assert_eq!(archive.store.maintenance().seal().await.unwrap().runs, 1);
}

async fn copy(archive: &Here) -> Here {
    let copy = Here::empty().await;
    archive.store.maintenance().copy_to(copy.store.maintenance(), |_| ()).await.unwrap();
    copy
}

/// Damages every object of a folder, so that only what was opened before can still be read.
async fn damage(archive: &mut Here, folder: &str) {
    for file in archive.object_files().into_iter().filter(|file| file.display().to_string().contains(folder)) {
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&file, bytes).unwrap();
    }
    archive.reopen().await;
}

async fn is_whole(archive: &Here) {
    let verified = archive.store.maintenance().verify(false, |_| ()).await.unwrap();
    assert_eq!((verified.problem_texts, verified.orphans), (Vec::<String>::new(), 0));
    assert_eq!(archive.store.maintenance().damaged_objects(10).await.unwrap(), (vec![], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_the_copy_has_is_copied_back() {
    let mut archive = archive().await;
    seal(&archive).await;
    let before = archive.records().await;
    let copy = copy(&archive).await;
    archive.clock.advance_ms(2 * 3_600_000);
    archive.store.maintenance().sweep().await.unwrap();
    damage(&mut archive, "sealed").await;
    let verified = archive.store.maintenance().verify(true, |_| ()).await.unwrap();
    assert_eq!(verified.repaired, 0, "without a copy, nothing has the records");
    assert!(verified.note_texts[0].contains(&archive.run_id.to_string()), "{:?}", verified.note_texts);
    let verified = archive.store.maintenance().repair_from(copy.store.maintenance(), |_| ()).await.unwrap();
    assert_eq!((verified.problems, verified.repaired), (1, 1), "{:?}", verified.problem_texts);
    assert_eq!(archive.records().await, before);
    is_whole(&archive).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_the_copy_has_in_other_objects_is_written_anew() {
    let mut archive = archive().await;
    let before = archive.records().await;
    let copy = copy(&archive).await;
    seal(&archive).await;
    archive.clock.advance_ms(2 * 3_600_000);
    archive.store.maintenance().sweep().await.unwrap();
    damage(&mut archive, "sealed").await;
    let verified = archive.store.maintenance().repair_from(copy.store.maintenance(), |_| ()).await.unwrap();
    assert_eq!(
        (verified.problems, verified.repaired),
        (1, 1),
        "{:?} {:?}",
        verified.problem_texts,
        verified.note_texts
    );
    assert_eq!(archive.records().await, before);
    is_whole(&archive).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_replaced_segments_are_still_there_is_written_anew_without_a_copy() {
    let mut archive = archive().await;
    let before = archive.records().await;
    seal(&archive).await;
    damage(&mut archive, "sealed").await;
    let verified = archive.store.maintenance().verify(true, |_| ()).await.unwrap();
    assert_eq!(
        (verified.problems, verified.repaired),
        (1, 1),
        "{:?} {:?}",
        verified.problem_texts,
        verified.note_texts
    );
    assert_eq!(archive.records().await, before);
    is_whole(&archive).await;
    archive.clock.advance_ms(2 * 3_600_000);
    archive.store.maintenance().sweep().await.unwrap();
    assert_eq!(archive.records().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_the_copy_has_only_in_part_is_named_and_stays_as_it_is() {
    let mut archive = archive().await;
    let copy = copy(&archive).await;
    archive.push("three", &records(200)).await;
    damage(&mut archive, "segments").await;
    let verified = archive.store.maintenance().repair_from(copy.store.maintenance(), |_| ()).await.unwrap();
    // The two objects that the copy has are back.
    assert_eq!(verified.repaired, 2, "{:?}", verified.problem_texts);
    let expected = format!("run {}: not repaired: the copy has 200 of its 300 records", archive.run_id);
    assert!(verified.note_texts.iter().any(|text| text.starts_with(&expected)), "{:?}", verified.note_texts);
    let (damaged, count) = archive.store.maintenance().damaged_objects(10).await.unwrap();
    assert_eq!(count, 1, "{damaged:?}");
}
