//! Every object key is made and parsed here.
//!
//! ```text
//! segments/2026/11/23/<segment id>.parquet     by the day on which it was written (UTC)
//! sealed/2026/11/23/<segment id>.parquet       the same, of files of whole runs
//! pages/<page key>-<build>.zst                 one build of a page file
//! ```

use object_store::path::Path;
use runlog_model::Timestamp;
use uuid::Uuid;

/// The folder of segments.
pub(crate) const SEGMENTS: &str = "segments";
/// The folder of sealed files.
pub(crate) const SEALED: &str = "sealed";
/// The folder of page files.
pub(crate) const PAGES: &str = "pages";

/// All of them.
pub(crate) const FOLDERS: [&str; 3] = [SEGMENTS, SEALED, PAGES];

/// The key of a segment that is written now.
pub(crate) fn segment(id: Uuid, now: Timestamp) -> Path {
    dated(SEGMENTS, id, now)
}

/// The key of a sealed file that is written now.
pub(crate) fn sealed_file(id: Uuid, now: Timestamp) -> Path {
    dated(SEALED, id, now)
}

fn dated(folder: &str, id: Uuid, now: Timestamp) -> Path {
    let day = now.to_string()[..10].replace('-', "/");
    Path::from(format!("{folder}/{day}/{id}.parquet"))
}

/// The key of one build of a page file; two builders of the same page write two objects.
pub(crate) fn page_file(page_key: &str, build: Uuid) -> Path {
    Path::from(format!("{PAGES}/{page_key}-{build}.zst"))
}
