//! Checkpoints for tests.

use std::path::PathBuf;

use runlog_client::reconcile::{Chunk, LogOrder, SpooledPage};
use runlog_client::{GeneratedPage, PageRequest};

use super::checkpoint::Checkpoint;
use super::journal::Identity;

pub(crate) fn identity() -> Identity {
    Identity {
        service: "https://api.example.com".to_owned(),
        run: "a run".to_owned(),
        start: None,
        end: None,
        order: LogOrder::Time,
        overlap_ms: 0,
        fixed_end: None,
    }
}

/// Requests a page of the walk with this end time; the response names that of the next page.
pub(crate) fn ask(checkpoint: &mut Checkpoint, age: u32, end: Option<String>, next_end: Option<String>) {
    let request = PageRequest {
        run_id: "7b2b122e-d6b8-42de-b0ba-fa2f0d363061".parse().unwrap(),
        start: None,
        end,
        format: runlog_model::FileFormat::Json,
        order: None,
    };
    let page = GeneratedPage {
        token: String::new().into(),
        size: None,
        is_partial: next_end.is_some(),
        next_end,
        settled: None,
        log_records: None,
        took: std::time::Duration::ZERO,
    };
    checkpoint.requested(age, age, &request, &page).unwrap();
}

/// The page arrives, with entries between two times, in a chunk of this size.
pub(crate) fn come(checkpoint: &mut Checkpoint, age: u32, (first_ms, last_ms): (i64, i64), bytes: u64) -> PathBuf {
    let file = format!("page-{age}-0.chunk");
    let path = checkpoint.folder().join(&file);
    let chunk = Chunk { file, bytes, first_ms, last_ms, newest_first: true };
    let (id, newest_first) = (age, Some(true));
    let page = SpooledPage {
        id,
        age,
        entries: 2,
        entries_without_time: 0,
        entries_mended: 0,
        newest_first,
        chunks: vec![chunk],
    };
    checkpoint.done(page).unwrap();
    path
}
