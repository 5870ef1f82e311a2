//! Records that arrive late, are deleted or were lost: the cost depends only on the affected data.

use runlog_model::{Record, Timestamp};

use super::common::{Archive, backends, record};

/// A message that does not compress.
fn noise(number: i64) -> String {
    let mut state = number as u64 + 1;
    (0..4)
        .map(|_| {
            state = state.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31) ^ 0xbf58_476d;
            format!("{state:016x}")
        })
        .collect()
}

/// A sealed log of a dozen slices, and its length in bytes.
async fn sealed(records: &[Record]) -> (Archive<backends::sqlite_and_folder>, u64) {
    let archive = Archive::<backends::sqlite_and_folder>::new().await;
    for (number, some) in records.chunks(40_000).enumerate() {
        archive.push(&format!("b{number}"), some).await;
    }
    archive.finish_run(archive.run_id).await;
    archive.clock.advance_ms(31_000);
    let sealed = archive.store.maintenance().seal().await.unwrap();
    assert_eq!(sealed.records, records.len() as u64);
    (archive, sealed.bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_late_record_at_each_end_of_a_long_log_does_not_rewrite_the_middle() {
    let records: Vec<Record> = (0..200_000).map(|number| record(number * 10, &noise(number))).collect();
    let (archive, bytes) = sealed(&records).await;
    // In one batch, which reaches over the whole log, and in two.
    let late = [record(5, "early"), record(1_999_985, "late")];
    archive.push("both", &late).await;
    archive.clock.advance_ms(31_000);
    let again = archive.store.maintenance().seal().await.unwrap();
    assert!(again.bytes < bytes / 4, "{} bytes of {bytes} were written again", again.bytes);
    assert!(again.records < 40_000, "{} records were written again", again.records);
    archive.push("first", &[record(15, "early too")]).await;
    archive.push("last", &[record(1_999_975, "late too")]).await;
    archive.clock.advance_ms(31_000);
    let again = archive.store.maintenance().seal().await.unwrap();
    assert!(again.bytes < bytes / 4, "{} bytes of {bytes} were written again", again.bytes);

    let mut expected = records;
    expected.extend(late);
    expected.extend([record(15, "early too"), record(1_999_975, "late too")]);
    expected.sort_by_key(|record| record.time);
    assert!(archive.records().await == expected);
    let verified = archive.store.maintenance().verify(false, |_| ()).await.unwrap();
    assert_eq!(verified.problem_texts, Vec::<String>::new());
    assert_eq!(archive.store.maintenance().seal().await.unwrap().runs, 0, "nothing is left to be sealed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_between_two_sealed_slices_becomes_a_slice_of_its_own() {
    // Two blocks with an hour between them.
    let records: Vec<Record> = (0..40_000_i64)
        .map(|number| record(number + if number < 16_384 { 0 } else { 3_600_000 }, &noise(number)))
        .collect();
    let (archive, _) = sealed(&records).await;
    archive.push("between", &[record(1_800_000, "between"), record(1_900_000, "and again")]).await;
    archive.clock.advance_ms(31_000);
    assert_eq!(archive.store.maintenance().seal().await.unwrap().records, 2);
    let now = archive.records().await;
    assert_eq!(now.len(), 40_002);
    assert_eq!(now[16_384], record(1_800_000, "between"));
    assert!(now.is_sorted_by_key(|record| record.time));
    assert_eq!(now[40_001].time, Timestamp::clamped(39_999 + 3_600_000));
    let verified = archive.store.maintenance().verify(false, |_| ()).await.unwrap();
    assert_eq!(verified.problem_texts, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_completes_after_its_client_disconnects() {
    let archive = Archive::<backends::sqlite_and_folder>::new().await;
    for number in 0..200 {
        archive.push(&format!("b{number}"), &[record(number, "x")]).await;
    }
    assert_eq!(archive.objects(), 200);
    let (store, run_id) = (archive.store.clone(), archive.run_id);
    let asking = tokio::spawn(async move { store.maintenance().delete_log(run_id).await });
    while archive.store.runs().get(run_id).await.unwrap().unwrap().records > 0 {
        tokio::task::yield_now().await;
    }
    asking.abort();
    for _ in 0..1_000 {
        if archive.objects() == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{} objects are left", archive.objects());
}

#[tokio::test(flavor = "multi_thread")]
async fn records_lost_by_the_catalog_are_reported_by_run_and_restored_once() {
    let mut archive = Archive::<backends::sqlite_and_folder>::new().await;
    archive.push("one", &[record(1, "a"), record(5, "same")]).await;
    let objects = archive.object_files()[0].ancestors().find(|path| path.ends_with("objects")).unwrap().to_owned();
    let (catalog, saved) = (objects.with_file_name("catalog.sqlite"), objects.with_file_name("saved.sqlite"));
    archive.store.close().await;
    std::fs::copy(&catalog, &saved).unwrap();
    archive.reopen().await;
    archive.push("two", &[record(2, "b"), record(5, "same"), record(9, "c")]).await;
    let known = archive.run_id;
    archive.run_id = archive.start_another_run().await;
    let unknown = archive.run_id;
    archive.push("three", &[record(3, "of a run that is not known")]).await;
    archive.run_id = known;
    archive.store.close().await;
    std::fs::copy(&saved, &catalog).unwrap();
    archive.reopen().await;

    let told = archive.store.maintenance().verify(false, |_| ()).await.unwrap();
    assert_eq!((told.problems, told.orphans, told.records_restored), (2, 0, 0));
    for run in [known, unknown] {
        assert!(told.problem_texts.iter().any(|text| text.contains(&run.to_string())), "{:?}", told.problem_texts);
    }
    let mended = archive.store.maintenance().verify(true, |_| ()).await.unwrap();
    assert_eq!((mended.problems, mended.repaired, mended.records_restored), (2, 1, 2));
    // Two identical records cannot be distinguished; no record is ever duplicated.
    let messages: Vec<_> = archive.records().await.into_iter().filter_map(|record| record.message).collect();
    assert_eq!(messages, ["a", "b", "same", "c"]);
    let again = archive.store.maintenance().verify(true, |_| ()).await.unwrap();
    assert_eq!((again.problems, again.records_restored), (1, 0), "{:?}", again.problem_texts);
    assert_eq!(archive.objects(), 4, "what is of no known run stays");
}
