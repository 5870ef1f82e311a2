//! Queries whose groups, sorts and joins are larger than their memory limit.

use super::*;

/// Enough for groups of some times the memory.
const RECORDS: i64 = 200_000;

/// The message of a record: no two are alike, and the later ones are not the greater ones.
fn message(at: i64) -> String {
    let number = (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{number:016x} the quick brown fox jumps over the lazy dog, and then it jumps back over the same lazy dog")
}

/// An archive of messages that are all different, in four runs, and the folder of temporary files.
async fn archive(change: impl FnOnce(&mut SqlSettings)) -> (Archive, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let archive = Archive::with(|settings| {
        settings.memory_bytes = 32 << 20;
        settings.threads = 4;
        settings.spill_folder = Some(folder.path().to_owned());
        change(settings);
    })
    .await;
    for run in 0..4 {
        let records: Vec<Record> = (0..RECORDS / 4)
            .map(|at| run * RECORDS / 4 + at)
            .map(|at| record(NOW_MS + at, if at % 10 == 9 { "ERROR" } else { "INFO" }, &message(at)))
            .collect();
        archive.run(archive.task, &records).await;
    }
    archive.seal().await;
    (archive, folder)
}

/// What is in the files below a folder. Unit: bytes.
fn bytes_below(folder: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(entry_is) if entry_is.is_dir() => bytes_below(&entry.path()),
            Ok(entry_is) => entry_is.len(),
            Err(_) => 0,
        })
        .sum()
}

const QUESTIONS: [(&str, &str); 11] = [
    ("SELECT count(*), sum(c), max(c) FROM (SELECT message, count(*) AS c FROM records GROUP BY 1)", "200000,200000,1"),
    ("SELECT count(DISTINCT message) FROM records", "200000"),
    (
        "SELECT count(*), sum(c) FROM (SELECT run_id, message, count(*) AS c, min(time) FROM records GROUP BY 1, 2)",
        "200000,200000",
    ),
    (
        "SELECT count(*), sum(n) FROM (SELECT message, array_length(array_agg(time)) AS n FROM records GROUP BY 1)",
        "200000,200000",
    ),
    ("SELECT count(*) FROM (SELECT message FROM records UNION SELECT severity FROM records)", "200002"),
    (
        "SELECT count(*), max(n) FROM (SELECT row_number() OVER (PARTITION BY message ORDER BY time) AS n FROM records)",
        "200000,1",
    ),
    (
        "SELECT count(*) FILTER (WHERE message > before) FROM
         (SELECT message, lag(message) OVER (ORDER BY message) AS before FROM records)",
        "199999",
    ),
    (
        "SELECT count(*), sum(b.arrival) = sum(a.arrival) FROM records a JOIN records b ON a.message = b.message",
        "200000,true",
    ),
    (
        "SELECT count(*), count(b.time) FROM records a LEFT JOIN records b
         ON a.message = b.message AND b.severity = 'ERROR' AND a.time <= b.time",
        "200000,20000",
    ),
    ("SELECT count(*) FROM records WHERE message IN (SELECT message FROM records WHERE severity = 'INFO')", "180000"),
    (
        "SELECT count(*) FROM (SELECT message FROM records EXCEPT SELECT message FROM records WHERE severity = 'ERROR')",
        "180000",
    ),
];

#[tokio::test]
async fn groups_sorts_and_joins_spill_to_files() {
    let (archive, folder) = archive(|_| ()).await;
    for (query, expected) in QUESTIONS {
        assert_eq!(archive.rows(query).await, [expected], "{query}");
        assert_eq!(bytes_below(folder.path()), 0, "files of {query} are left");
    }
    // The rows themselves, and not just how many they are.
    let rows = archive.rows("SELECT message, count(*) FROM records GROUP BY 1 ORDER BY 1").await;
    let mut expected: Vec<String> = (0..RECORDS).map(|at| format!("\"{}\",1", message(at))).collect();
    expected.sort();
    assert_eq!(rows, expected);
}

/// Several at once share the memory and the files, and each has its answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_queries_share_the_spill_limit() {
    let (archive, folder) = archive(|settings| settings.spill_bytes = 400 << 20).await;
    let before = resident_bytes();
    let all = futures::future::join_all(QUESTIONS[..4].iter().map(|(query, _)| archive.rows(query)));
    tokio::pin!(all);
    let mut most = 0;
    let answers = loop {
        tokio::select! {
            answers = &mut all => break answers,
            () = tokio::time::sleep(Duration::from_millis(20)) => most = most.max(bytes_below(folder.path())),
        }
    };
    for (answer, (query, expected)) in answers.iter().zip(QUESTIONS) {
        assert_eq!(answer, &[expected], "{query}");
    }
    assert!(most > 0 && most <= 400 << 20, "{most} bytes of files");
    assert_eq!(bytes_below(folder.path()), 0);
    let grown = resident_bytes().saturating_sub(before) >> 20;
    assert!(grown < 400, "{grown} MiB more at 32 MiB of memory for questions");
}

#[tokio::test]
async fn spill_files_are_bounded_and_removed_with_the_query() {
    let (archive, folder) = archive(|settings| settings.spill_bytes = 4 << 20).await;
    let error = archive.error(QUESTIONS[0].0).await;
    assert_eq!(error.kind(), SqlErrorKind::TooLarge, "{error}");
    let told = error.to_string();
    assert!(told.contains("more than the 4 MiB of temporary files") && told.contains("--sql-spill"), "{told}");
    assert_eq!(bytes_below(folder.path()), 0);
    assert_eq!(archive.rows("SELECT count(*) FROM records").await, ["200000"]);
}

#[tokio::test]
async fn a_query_that_cannot_spill_names_the_setting_to_raise() {
    let (archive, _folder) = archive(|_| ()).await;
    for query in [
        // Each with each, by a condition that no order helps with.
        "SELECT count(*) FROM records a JOIN records b ON a.message || 'x' < b.message AND a.time <> b.time",
        "SELECT length(string_agg(concat(message, message, message), ',')) FROM records",
    ] {
        let error = archive.error(query).await;
        assert_eq!(error.kind(), SqlErrorKind::TooLarge, "{query}: {error}");
        let told = error.to_string();
        assert!(told.contains("32 MiB of memory") && told.contains("--sql-memory"), "{query}: {told}");
        assert!(!told.contains("GroupedHash") && !told.contains("Resources exhausted"), "{told}");
    }
}
