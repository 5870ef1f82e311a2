//! What is deleted leaves nothing behind, whatever goes wrong meanwhile.

use runlog_model::{Record, Timestamp};
use runlog_store::delivery::{DeliveryStep, RecordKey, RefusedRange};

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

/// A deliverer that was at work when a log was deleted stored refused records of it afterwards, which nobody could send
/// again or get rid of.
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
