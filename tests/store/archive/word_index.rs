//! Searches of sealed files that have an index of their words.

use futures::TryStreamExt;
use runlog_model::Record;
use runlog_store::query::{ScanColumn, ScanFilter, SearchPage};

use super::common::{Archive, backends, record, search_for};

const RECORDS: i64 = 220_000;
/// Where one message differs from the others; in the middle one of three row groups.
const RARE: i64 = 150_000;

/// A sealed log whose messages have a few words and a lot of hexadecimal digits.
async fn sealed() -> Archive<backends::sqlite_and_folder> {
    let archive = Archive::<backends::sqlite_and_folder>::new().await;
    let message = |number: i64| match number {
        RARE => "Caused by: ORA-00942: table or view does not exist, Größe unknown".to_owned(),
        _ => {
            format!("order {number} of aurora was read: {:032x}", (number as u128 + 1).wrapping_mul(u128::MAX / 7 * 3))
        }
    };
    let records: Vec<Record> = (0..RECORDS).map(|number| record(number * 10, &message(number))).collect();
    for (number, some) in records.chunks(40_000).enumerate() {
        archive.push(&format!("b{number}"), some).await;
    }
    archive.finish_run(archive.run_id).await;
    archive.clock.advance_ms(31_000);
    while archive.store.maintenance().seal().await.unwrap().runs > 0 {}
    archive
}

async fn search(archive: &Archive<backends::sqlite_and_folder>, text: &str) -> SearchPage {
    archive.store.query().search(search_for(text)).await.unwrap()
}

/// How many records have a message with this part, as a query in SQL counts them.
async fn count(archive: &Archive<backends::sqlite_and_folder>, part: &str) -> usize {
    let filter = ScanFilter { message_parts: vec![part.to_owned()], ..ScanFilter::default() };
    let scan = archive.store.query().scan(filter, &[ScanColumn::Time]);
    let batches: Vec<_> = scan.stream().try_collect().await.unwrap();
    batches.iter().map(arrow_array::RecordBatch::num_rows).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_reads_the_row_groups_with_its_words_and_finds_the_same() {
    let archive = sealed().await;
    // Numbers without a word are in no index.
    let all = search(&archive, &"9".repeat(40)).await;
    assert_eq!(all.items.len(), 0);
    for absent in ["nowhere", "\"urora\"", "view -table nowhere", "ora-nowhere", "ora-00943", "aurora-0094"] {
        let found = search(&archive, absent).await;
        assert_eq!((found.items.len(), found.scanned_bytes), (0, 0), "{absent}");
        assert_eq!((found.scanned_records, found.is_complete), (RECORDS as u64, true), "{absent}");
    }
    for rare in [
        "\"ora-00942\"",
        "xist",
        "\"ORA-00942:\"",
        "\"caused by\"",
        "caus exis",
        "view",
        "größe",
        "gro\u{308}\u{1e9e}e",
        "exi\u{17f}t,",
    ] {
        let found = search(&archive, rare).await;
        assert_eq!(found.items.len(), 1, "{rare}");
        assert_eq!(found.items[0].time.as_millis(), RARE * 10, "{rare}");
        if rare != "größe" && !rare.contains('\u{308}') {
            assert!(found.scanned_bytes < all.scanned_bytes * 2 / 3, "{rare}: {} bytes", found.scanned_bytes);
        }
    }
    assert_eq!(search(&archive, "-order").await.items.len(), 1);

    assert_eq!(count(&archive, "nowhere").await, 0);
    assert_eq!(count(&archive, "ORA-00942").await, 1);
    assert_eq!(count(&archive, "ora-00942").await, 0);
    assert_eq!(count(&archive, "aurora").await, RECORDS as usize - 1);

    // What is not sealed yet has no index, and is read.
    archive.push("late", &[record(RARE * 10 + 5, "found nowhere else")]).await;
    assert_eq!(search(&archive, "nowhere").await.items.len(), 1);
    archive.clock.advance_ms(31_000);
    while archive.store.maintenance().seal().await.unwrap().runs > 0 {}
    assert_eq!(search(&archive, "nowhere").await.items.len(), 1);
    assert_eq!(search(&archive, "ora-00942").await.items.len(), 1);

    let verified = archive.store.maintenance().verify(false, |_| ()).await.unwrap();
    assert_eq!(verified.problem_texts, Vec::<String>::new());
    archive.store.maintenance().delete_log(archive.run_id).await.unwrap();
    assert_eq!(search(&archive, "aurora").await.items.len(), 0);
}
