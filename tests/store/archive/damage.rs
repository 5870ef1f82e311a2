//! Damaged bytes of segments and sealed files are never returned: readers get the original data, or an error that names
//! the object.

use std::error::Error as _;
use std::path::Path;
use std::time::Duration;

use futures::TryStreamExt;
use runlog_model::{FileFormat, Record, RecordOrder, RunStatus, TimeRange, Timestamp};
use runlog_store::logs::LiveQuery;
use runlog_store::pages::{PageRequest, PageStatus};
use runlog_store::query::{ScanColumn, ScanFilter, SearchQuery};
use runlog_store::{Error, ErrorKind, Result};

use crate::common::{Archive, record, search_for};

type Here = Archive<crate::common::backends::sqlite_and_folder>;

/// Records with texts of each column, whose messages hardly compress.
fn records(count: usize) -> Vec<Record> {
    let mut state = 11_u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 16
    };
    let mut one = |number: usize| Record {
        severity: Some(["INFO", "WARN"][number % 2].to_owned()),
        log_type: Some("JOB".to_owned()),
        bundle_name: number.is_multiple_of(3).then(|| "bundle".to_owned()),
        pod_name: Some("pod".to_owned()),
        ..record(number as i64, &std::array::from_fn::<_, 12, _>(|_| format!("{:012x}", next())).concat())
    };
    (0..count).map(&mut one).collect()
}

/// Returns the bytes with damage at one position.
fn damage(bytes: &[u8], number: usize, count: usize) -> Vec<u8> {
    let mut damaged = bytes.to_vec();
    // The ends are the most delicate: the description of the file is there.
    let at = match number % 3 {
        0 => bytes.len() - 1 - (number * 37) % bytes.len().min(3_000),
        _ => (bytes.len() - 1) * number / count,
    };
    match number % 8 {
        6 => damaged.truncate(at),
        7 => {
            let end = (at + 64).min(damaged.len());
            damaged[at..end].fill(0);
        }
        bit => damaged[at] ^= 1 << bit,
    }
    damaged
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// True when it was read, and as it was written.
fn is_read<T: PartialEq>(what: &str, read: Result<T>, expected: &T, object: &str) -> bool {
    match read {
        Ok(read) => {
            assert!(read == *expected, "{what} gave altered data");
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {}", chain(&error));
            let named = error.damaged_object().unwrap_or_default();
            assert!(named.contains(object), "{what} does not name {object}: {}", chain(&error));
            false
        }
    }
}

/// A search continues without unreadable objects, and reports them.
async fn is_found(archive: &Here, search: SearchQuery, wanted: &str) -> bool {
    let page = archive.store.query().search(search).await.unwrap();
    let found: Vec<_> = page.items.into_iter().map(|it| it.message.unwrap()).collect();
    if page.unreadable.records == 0 {
        assert_eq!(found, [wanted]);
        return true;
    }
    assert!(found.is_empty() || found == [wanted], "a search gave altered data");
    assert_eq!(page.unreadable.runs.into_iter().collect::<Vec<_>>(), [archive.run_id]);
    false
}

/// Reads the records in every way, and returns the number of ways that failed.
async fn read_in_every_way(archive: &Here, records: &[Record], object: &str, number: usize) -> usize {
    let (store, run_id) = (&archive.store, archive.run_id);
    let mut failed = 0;
    let mut count = |is_read: bool| failed += usize::from(!is_read);

    let query = LiveQuery { range: TimeRange::ALL, order: RecordOrder::Asc, start_index: 7, count: 5 };
    let live = store.logs().live_page(run_id, &query).await.map(|page| page.records);
    count(is_read("a live page", live, &records[7..12].to_vec(), object));

    let download = async {
        let mut reader = store.logs().read_records(run_id, TimeRange::ALL, RecordOrder::Asc).await?;
        let mut read = Vec::new();
        while let Some(some) = reader.next().await? {
            read.extend(some);
        }
        Ok(read)
    };
    count(is_read("a download", download.await, &records.to_vec(), object));

    let wanted = records[records.len() / 2].message.clone().unwrap();
    count(is_found(archive, search_for(&wanted), &wanted).await);

    let scan = async {
        let columns = [ScanColumn::Message, ScanColumn::Severity, ScanColumn::BundleName];
        let batches: Vec<_> = store.query().scan(ScanFilter::default(), &columns).stream().try_collect().await?;
        let text = |batch: &arrow_array::RecordBatch, column: usize, row: usize| {
            use arrow_array::Array;
            use arrow_array::cast::AsArray;
            let texts = batch.column(column).as_string::<i64>();
            texts.is_valid(row).then(|| texts.value(row).to_owned())
        };
        let of = |batch: &arrow_array::RecordBatch| -> Vec<[Option<String>; 3]> {
            (0..batch.num_rows()).map(|row| [0, 1, 2].map(|column| text(batch, column, row))).collect()
        };
        Ok(batches.iter().flat_map(of).collect::<Vec<_>>())
    };
    let all: Vec<_> =
        records.iter().map(|it| [it.message.clone(), it.severity.clone(), it.bundle_name.clone()]).collect();
    count(is_read("a scan", scan.await, &all, object));

    let histogram =
        store.logs().histogram(run_id, TimeRange::ALL, 1).await.map(|it| it.buckets.iter().flatten().sum::<u64>());
    count(is_read("a histogram", histogram, &(records.len() as u64), object));

    let page = async {
        // Another one each time, so that it is built.
        let range = TimeRange { start: None, end: Some(Timestamp::clamped(10_000_000 + number as i64)) };
        let (format, order) = (FileFormat::Json, RecordOrder::Asc);
        let request = PageRequest { run_id, range, format, order, file_name: "log".to_owned() };
        let ticket = store.pages().request_page(&request).await?;
        let file = loop {
            match store.pages().page_status(run_id, &ticket.token, Duration::ZERO).await? {
                PageStatus::Ready(file) => break file,
                PageStatus::InProgress => archive.clock.advance_ms(60_000),
            }
            // Pages that could not be built for damage before are tried again as well.
            loop {
                match store.pages().build_next_page().await {
                    Ok(false) => break,
                    Ok(true) => {}
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", chain(&error)),
                }
            }
        };
        let reader = store.pages().open_page(&file.key).await?.unwrap();
        let length = reader.plain_bytes;
        let bytes: Vec<bytes::Bytes> = reader.plain(0..length).try_collect().await?;
        Ok(serde_json::from_slice::<Vec<Record>>(&bytes.concat()).unwrap())
    };
    count(is_read("a page", page.await, &records.to_vec(), object));
    failed
}

/// Readers do not wait until it is noted.
async fn is_noted(archive: &Here, object: &str) -> bool {
    for _ in 0..500 {
        let (keys, total) = archive.store.maintenance().damaged_objects(10).await.unwrap();
        assert_eq!(keys.len() as u64, total);
        if keys.iter().any(|key| key.contains(object)) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

async fn damage_everywhere(archive: &mut Here, records: &[Record], file: &Path, count: usize) {
    let whole = std::fs::read(file).unwrap();
    let object = file.file_name().unwrap().to_str().unwrap().to_owned();
    let mut failed = 0;
    for number in 0..count {
        std::fs::write(file, damage(&whole, number, count)).unwrap();
        archive.reopen().await;
        let ways = read_in_every_way(archive, records, &object, number).await;
        failed += usize::from(ways > 0);
    }
    assert!(is_noted(archive, &object).await, "what was met is noted in the catalog");
    std::fs::write(file, &whole).unwrap();
    archive.reopen().await;
    assert_eq!(archive.store.maintenance().verify(false, |_| ()).await.unwrap().problems, 0);
    assert_eq!(archive.store.maintenance().damaged_objects(10).await.unwrap(), (vec![], 0), "it was found whole again");
    assert_eq!(read_in_every_way(archive, records, &object, count).await, 0);
    assert!(failed > count / 3, "only {failed} of {count} were in bytes that somebody reads");
}

async fn segments_and_sealed_files(count_records: usize, positions: usize) {
    let mut archive = Here::new().await;
    let records = records(count_records);
    archive.push("b", &records).await;
    let file = archive.object_files().remove(0);
    damage_everywhere(&mut archive, &records, &file, positions).await;
    archive.finish(RunStatus::Successful).await.unwrap();
    archive.clock.advance_ms(60_000);
    assert_eq!(archive.store.maintenance().seal().await.unwrap().runs, 1);
    archive.reopen().await;
    let file = archive.object_files().into_iter().find(|file| file.display().to_string().contains("sealed")).unwrap();
    damage_everywhere(&mut archive, &records, &file, positions).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_damaged_objects_that_are_read_whole_nothing_altered_is_given() {
    segments_and_sealed_files(300, 88).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_damaged_objects_that_are_read_in_parts_nothing_altered_is_given() {
    segments_and_sealed_files(30_000, 16).await;
}

/// What was written before there were checks is read without them.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_without_checks_is_read_as_before() {
    let mut archive = Here::new().await;
    let records = records(100);
    archive.push("b", &records).await;
    archive.forget_checks().await;
    archive.reopen().await;
    assert_eq!(read_in_every_way(&archive, &records, "none", 0).await, 0);
}

/// One damaged object made every search of the archive fail.
#[tokio::test(flavor = "multi_thread")]
async fn what_other_objects_hold_is_found_beside_a_damaged_one() {
    let mut archive = Here::new().await;
    archive.push("one", &records(100)).await;
    let file = archive.object_files().remove(0);
    let damaged_run = archive.run_id;
    archive.run_id = archive.start_another_run().await;
    archive.push("two", &[record(5, "beside it")]).await;
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, damage(&whole, 1, 2)).unwrap();
    archive.reopen().await;
    let page = archive.store.query().search(search_for("beside")).await.unwrap();
    assert_eq!(page.items.iter().filter_map(|it| it.message.as_deref()).collect::<Vec<_>>(), ["beside it"]);
    assert_eq!((page.unreadable.records, page.unreadable.runs.len()), (100, 1));
    assert!(page.unreadable.runs.contains(&damaged_run));
    let key = page.unreadable.objects.first().unwrap();
    assert!(file.to_string_lossy().replace('\\', "/").ends_with(key.as_str()), "{key} is not {}", file.display());
    let facets = archive.store.query().facets(search_for(""), 0).await.unwrap();
    assert_eq!((facets.records, facets.is_complete, &facets.unreadable), (1, false, &page.unreadable));
    assert_eq!(archive.records().await.len(), 1);
    let verified = archive.store.maintenance().verify(false, |_| ()).await.unwrap();
    let named = verified.problem_texts.iter().any(|text| text.contains(&damaged_run.to_string()));
    assert!(named, "the run whose records are damaged is named: {:?}", verified.problem_texts);
}

/// A file that could not be opened, for another reason than that it was gone, looked like an outage: runs beside it were never
/// sealed, searches were to be tried again for ever, and a verification ended there.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_cannot_be_opened_stops_nothing_else() {
    let mut archive = Here::new().await;
    archive.push("one", &records(10)).await;
    let file = archive.object_files().remove(0);
    let damaged_run = archive.run_id;
    archive.run_id = archive.start_another_run().await;
    archive.push("two", &[record(5, "beside it")]).await;
    // A symbolic link to itself cannot be opened by any user.
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(&file, &file).unwrap();
    archive.reopen().await;

    let verified = archive.store.maintenance().verify(false, |_| ()).await.unwrap();
    let named = verified.problem_texts.iter().any(|text| text.contains("cannot be read"));
    assert!(named && verified.objects == 2, "{:?}", verified.problem_texts);
    let page = archive.store.query().search(search_for("beside")).await.unwrap();
    assert_eq!((page.items.len(), page.unreadable.records), (1, 10));

    archive.finish_run(damaged_run).await;
    archive.finish_run(archive.run_id).await;
    archive.clock.advance_ms(31_000);
    assert_eq!(archive.store.maintenance().seal().await.unwrap().runs, 1);
    let (damaged, total) = archive.store.maintenance().damaged_logs(9).await.unwrap();
    assert_eq!((damaged[0].run_id, total), (damaged_run, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_gone_is_named_by_its_key_and_not_by_its_place() {
    let archive = Here::new().await;
    archive.push("one", &records(1)).await;
    archive.remove_objects();
    let query = LiveQuery { range: TimeRange::ALL, order: RecordOrder::Asc, start_index: 0, count: 1 };
    let error = archive.store.logs().live_page(archive.run_id, &query).await.unwrap_err();
    assert!(error.damaged_object().unwrap().starts_with("segments/"), "{}", chain(&error));
}
