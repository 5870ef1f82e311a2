//! Reconciliation against a simple model: whatever the pages, each instant has the largest multiset that one page holds.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use runlog_client::DownloadSink;
use runlog_client::reconcile::{LogOrder, Merged, PageSpool, SpoolSettings, SpooledPage, merge};

/// A record: its time and its text.
type Entry = (i64, String);

fn json(entry: &Entry) -> String {
    format!(r#"{{"logTimestamp":{},"logMessage":"{}"}}"#, entry.0, entry.1)
}

fn file(entries: &[Entry]) -> String {
    format!("[{}]", entries.iter().map(json).collect::<Vec<_>>().join(","))
}

/// Spools page files, newest page first, and merges them.
fn reconcile(files: &[String], order: LogOrder, memory_bytes: usize, piece: usize) -> (Vec<String>, Merged) {
    let folder = tempfile::tempdir().unwrap();
    let settings = SpoolSettings { folder: folder.path().to_owned(), order, memory_bytes };
    let spool = |(index, file): (usize, &String)| -> SpooledPage {
        let mut spool = PageSpool::new(settings.clone(), index as u32, index as u32);
        file.as_bytes().chunks(piece).for_each(|piece| spool.write(piece).unwrap());
        spool.finish().unwrap()
    };
    let pages: Vec<SpooledPage> = files.iter().enumerate().map(spool).collect();
    let mut log = Vec::new();
    let merged = merge(folder.path(), &pages, order, &mut |entry| {
        log.push(String::from_utf8(entry.to_vec()).unwrap());
        Ok(())
    });
    (log, merged.unwrap())
}

/// The times of some records, few enough to meet often, and their texts, few enough to be equal often.
fn entries() -> impl Strategy<Value = Vec<Entry>> {
    prop::collection::vec((0_i64..6, "[ab]"), 0..40)
}

proptest! {
    /// A log cut anywhere, even inside an instant, comes back exactly, in both orders.
    #[test]
    fn disjoint_pages_give_the_exact_log(
        log in entries(), limit in 1_usize..20, newest_first: bool, memory in 1_usize..400, piece in 1_usize..200,
    ) {
        let mut by_time = log;
        by_time.sort_by_key(|entry| entry.0);
        // Pages that end inside an instant hold different records of it; numbers tell them apart.
        let by_time: Vec<Entry> =
            by_time.into_iter().enumerate().map(|(number, (time, text))| (time, format!("{text}{number}"))).collect();
        let pages: Vec<Vec<Entry>> = by_time.rchunks(limit).map(|page| {
            let mut page = page.to_vec();
            if newest_first { page.reverse(); }
            page
        }).collect();
        let files: Vec<String> = pages.iter().map(|page| file(page)).collect();

        let (log, merged) = reconcile(&files, LogOrder::Time, memory, piece);
        // The direction of pages with a single time is unknown, unless other pages determine it.
        let tells = pages.iter().any(|page| page.first().map(|entry| entry.0) != page.last().map(|entry| entry.0));
        if newest_first || tells {
            prop_assert_eq!(&log, &by_time.iter().map(json).collect::<Vec<_>>());
        }
        prop_assert_eq!(merged, Merged { entries: by_time.len() as u64, repeated: 0 });

        let (log, _) = reconcile(&files, LogOrder::Received, memory, piece);
        prop_assert_eq!(log, pages.concat().iter().map(json).collect::<Vec<_>>());
    }

    /// Whatever the pages hold, of each entry there are as many as the page that holds most of them.
    #[test]
    fn any_pages_give_the_union(pages in prop::collection::vec(entries(), 0..5), memory in 1_usize..400) {
        let mut expected: BTreeMap<Entry, usize> = BTreeMap::new();
        for page in &pages {
            let mut counts: HashMap<&Entry, usize> = HashMap::new();
            page.iter().for_each(|entry| *counts.entry(entry).or_default() += 1);
            for (entry, count) in counts {
                let most = expected.entry(entry.clone()).or_default();
                *most = count.max(*most);
            }
        }
        let expected: Vec<String> =
            expected.iter().flat_map(|(entry, count)| std::iter::repeat_n(json(entry), *count)).collect();
        let files: Vec<String> = pages.iter().map(|page| file(page)).collect();
        let all: usize = pages.iter().map(Vec::len).sum();
        for order in [LogOrder::Time, LogOrder::Received] {
            let (mut log, merged) = reconcile(&files, order, memory, 64);
            prop_assert_eq!(merged.repeated, (all - expected.len()) as u64);
            log.sort();
            prop_assert_eq!(&log, &expected);
        }
    }
}

#[test]
fn an_instant_comes_in_the_order_of_the_page_that_reaches_further_back() {
    let entry = |time: i64, text: &str| (time, text.to_owned());
    // As it was logged: a, b, c at 5. A page asked for again by its end holds no more than the newest of them.
    let whole = file(&[entry(5, "c"), entry(5, "b"), entry(5, "a"), entry(4, "x")]);
    let again = file(&[entry(6, "y"), entry(5, "c"), entry(5, "b")]);
    let log = [entry(4, "x"), entry(5, "a"), entry(5, "b"), entry(5, "c"), entry(6, "y")];
    // Whichever of the two is asked for as the older one.
    for files in [[whole.clone(), again.clone()], [again, whole]] {
        assert_eq!(reconcile(&files, LogOrder::Time, 1 << 20, 1_000).0, log.iter().map(json).collect::<Vec<_>>());
    }
    // Two parts that have nothing in common: the older page's first.
    let parts = [file(&[entry(5, "c"), entry(5, "b")]), file(&[entry(5, "a"), entry(4, "x")])];
    assert_eq!(reconcile(&parts, LogOrder::Time, 1 << 20, 1_000).0, log[..4].iter().map(json).collect::<Vec<_>>());
}

#[test]
fn entries_without_a_time_stand_beside_their_neighbours() {
    let file = r#"[{"a":1},{"logTimestamp":7},{"b":2},{"logTimestamp":9}]"#.to_owned();
    let (log, merged) = reconcile(&[file], LogOrder::Time, 1 << 20, 1_000);
    assert_eq!(log, [r#"{"a":1}"#, r#"{"logTimestamp":7}"#, r#"{"b":2}"#, r#"{"logTimestamp":9}"#]);
    assert_eq!(merged.entries, 4);
}

#[test]
fn a_repeated_entry_is_recognised_in_any_field_order() {
    let newer = r#"[{"logTimestamp":1,"logMessage":"x"}]"#.to_owned();
    let older = r#"[{"logMessage":"x", "logTimestamp":1},{"logTimestamp":0}]"#.to_owned();
    let (log, merged) = reconcile(&[newer, older], LogOrder::Time, 1 << 20, 1_000);
    assert_eq!(log, [r#"{"logTimestamp":0}"#, r#"{"logMessage":"x", "logTimestamp":1}"#]);
    assert_eq!(merged, Merged { entries: 2, repeated: 1 });
}

#[test]
fn a_download_that_starts_again_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let settings = SpoolSettings { folder: folder.path().to_owned(), order: LogOrder::Time, memory_bytes: 1 };
    let mut spool = PageSpool::new(settings, 0, 0);
    spool.write(br#"[{"logTimestamp":1},{"logTimestamp":2},{"logTi"#).unwrap();
    spool.restart().unwrap();
    spool.write(br#"[{"logTimestamp":1}]"#).unwrap();
    let page = spool.finish().unwrap();
    assert_eq!((page.entries, page.chunks.len()), (1, 1));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn duplicate_fields_are_kept_and_invalid_texts_repaired_consistently() {
    let twice = r#"{"logTimestamp":1,"a":1,"a":2}"#;
    let half = r#"{"logTimestamp":1,"logMessage":"\ud800"}"#;
    let pages = [format!("[{half},{twice}]"), format!(r#"[{half},{twice},{{"logTimestamp":0}}]"#)];
    for order in [LogOrder::Time, LogOrder::Received] {
        let (mut log, merged) = reconcile(&pages, order, 1 << 20, 1_000);
        log.sort();
        let half = half.replace("\\ud800", "\u{fffd}");
        assert_eq!(log, [r#"{"logTimestamp":0}"#, twice, &half]);
        assert_eq!(merged, Merged { entries: 3, repeated: 2 });
    }
}

#[test]
fn a_page_with_a_gap_is_not_complete() {
    let folder = tempfile::tempdir().unwrap();
    let settings = SpoolSettings { folder: folder.path().to_owned(), order: LogOrder::Time, memory_bytes: 100 };
    let mut spool = PageSpool::new(settings, 0, 0);
    let entries: Vec<Entry> = (0..50).map(|number| (number, "x".repeat(20))).collect();
    spool.write(file(&entries).as_bytes()).unwrap();
    let page = spool.finish().unwrap();
    assert!(page.is_on_disk(folder.path()));

    let path = folder.path().join(&page.chunks[0].file);
    let whole = std::fs::read(&path).unwrap();
    // Zeros anywhere, as a crash leaves them, or an end that is missing.
    for start in (0..whole.len() - 64).step_by(7) {
        let mut holed = whole.clone();
        holed[start..start + 64].fill(0);
        std::fs::write(&path, holed).unwrap();
        assert!(!page.is_on_disk(folder.path()), "a hole at {start}");
    }
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(!page.is_on_disk(folder.path()));
    std::fs::remove_file(&path).unwrap();
    assert!(!page.is_on_disk(folder.path()));
}

/// A text with a line break, half a character, a byte of another encoding: the whole page was refused, again and again.
#[test]
fn an_odd_entry_is_mended_and_counted_and_its_neighbours_are_as_they_came() {
    let folder = tempfile::tempdir().unwrap();
    let settings = SpoolSettings { folder: folder.path().to_owned(), order: LogOrder::Time, memory_bytes: 1 << 20 };
    let mut spool = PageSpool::new(settings, 0, 0);
    let entries: [&[u8]; 6] = [
        br#"{"logTimestamp":1,"logMessage":"one"}"#,
        b"{\"logTimestamp\":2,\"logMessage\":\"two\nlines\"}",
        br#"{"logTimestamp":3,"logMessage":"half \ud83d"}"#,
        b"{\"logTimestamp\":4,\"logMessage\":\"caf\xe9\"}",
        br#"{"logTimestamp":5,"a":tru}"#,
        br#"{"logTimestamp":6,"logMessage":"six"}"#,
    ];
    spool.write(&[b"[", entries.join(&b","[..]).as_slice(), b"]"].concat()).unwrap();
    let page = spool.finish().unwrap();
    assert_eq!((page.entries, page.entries_mended), (6, 3));
    let mut log = Vec::new();
    merge(folder.path(), &[page], LogOrder::Time, &mut |entry| {
        log.push(String::from_utf8(entry.to_vec()).unwrap());
        Ok(())
    })
    .unwrap();
    let expected = [
        r#"{"logTimestamp":1,"logMessage":"one"}"#,
        r#"{"logTimestamp":2,"logMessage":"two\u000alines"}"#,
        "{\"logTimestamp\":3,\"logMessage\":\"half \u{fffd}\"}",
        "{\"logTimestamp\":4,\"logMessage\":\"caf\u{fffd}\"}",
        r#"{"logTimestamp":5,"a":tru}"#,
        r#"{"logTimestamp":6,"logMessage":"six"}"#,
    ];
    assert_eq!(log, expected, "what is no text is looked at by whoever reads it");
}

/// A `null` in the array, or one record of 17 MB: the run never landed.
#[test]
fn an_invalid_entry_becomes_a_record_with_its_text() {
    let folder = tempfile::tempdir().unwrap();
    let settings = SpoolSettings { folder: folder.path().to_owned(), order: LogOrder::Received, memory_bytes: 1 << 20 };
    let mut spool = PageSpool::new(settings, 0, 0);
    let long = format!(r#"{{"logTimestamp":2,"logMessage":"{}"}}"#, "x".repeat(17 << 20));
    let page = format!(r#"[{{"logTimestamp":1}},null,"text",[7],{{"x":NaN}},{long},{{"logTimestamp":3}},]"#);
    page.as_bytes().chunks(1 << 16).for_each(|piece| spool.write(piece).unwrap());
    let page = spool.finish().unwrap();
    assert_eq!((page.entries, page.entries_mended), (7, 5));
    let mut log = Vec::new();
    merge(folder.path(), &[page], LogOrder::Received, &mut |entry| {
        log.push(String::from_utf8(entry.to_vec()).unwrap());
        Ok(())
    })
    .unwrap();
    assert!(log[5].starts_with(r#"{"logTimestamp":2,"logMessage":"xx"#) && log[5].contains("[cut by Runlog"));
    log.remove(5);
    let expected = [
        r#"{"logTimestamp":1}"#,
        r#"{"logMessage":"null"}"#,
        r#"{"logMessage":"text"}"#,
        r#"{"logMessage":"[7]"}"#,
        r#"{"x":"NaN"}"#,
        r#"{"logTimestamp":3}"#,
    ];
    assert_eq!(log, expected);
}

/// It counted as truncated, and the run never landed.
#[test]
fn a_page_in_utf_16_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let settings = SpoolSettings { folder: folder.path().to_owned(), order: LogOrder::Time, memory_bytes: 1 << 20 };
    let body = "\u{feff}{\"logTimestamp\":1,\"logMessage\":\"gr\u{fc}n\"}\n12";
    for to_bytes in [u16::to_le_bytes, u16::to_be_bytes] {
        let bytes: Vec<u8> = body.encode_utf16().flat_map(to_bytes).collect();
        let spool = |bytes: &[u8]| {
            let mut spool = PageSpool::new(settings.clone(), 0, 0);
            bytes.chunks(7).for_each(|piece| spool.write(piece).unwrap());
            spool.finish()
        };
        assert_eq!(spool(&bytes).unwrap().entries, 2, "a number at the end is an entry");
        let error = spool(&bytes[..bytes.len() - 1]).err().unwrap();
        assert!(error.to_string().contains("truncated"), "{error}");
    }
}

/// A flipped bit in a message was not detected, and the message was returned as valid data.
#[test]
fn a_flipped_bit_on_disk_is_detected() {
    let folder = tempfile::tempdir().unwrap();
    let settings = SpoolSettings { folder: folder.path().to_owned(), order: LogOrder::Time, memory_bytes: 1 << 20 };
    let mut spool = PageSpool::new(settings, 0, 0);
    let entries: Vec<Entry> = (0..5).map(|number| (number, "x".repeat(9))).collect();
    spool.write(file(&entries).as_bytes()).unwrap();
    let page = spool.finish().unwrap();
    let path = folder.path().join(&page.chunks[0].file);
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(&path, flipped).unwrap();
        assert!(!page.is_on_disk(folder.path()), "byte {at}");
        merge(folder.path(), std::slice::from_ref(&page), LogOrder::Time, &mut |_| Ok(())).unwrap_err();
    }
}
