//! The keys of objects. All keys are created and parsed here.
//!
//! ```text
//! segments/2026/11/23/<segment id>.parquet     a segment, by the day on which it was written (UTC)
//! sealed/2026/11/23/<segment id>.parquet       a sealed file, by the day on which it was written (UTC)
//! pages/<page key>-<build>.zst                 one build of a page file
//! pages/<page key>-<build>.json, .log          one build of a page file, uncompressed, for downloads from the bucket
//! probes/<uuid>                                written and removed immediately to test the object store
//! ```

use object_store::path::Path;
use runlog_model::{FileFormat, Timestamp};
use uuid::Uuid;

use crate::limits;

/// How a page file is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageForm {
    pub(crate) format: FileFormat,
    /// True for compressed frames, which [`PageReader`](crate::pages::PageReader) decompresses; false for the plain
    /// file, which is downloaded directly from the bucket.
    pub(crate) is_compressed: bool,
}

/// The folder of segments.
pub(crate) const SEGMENTS: &str = "segments";
/// The folder of sealed files.
pub(crate) const SEALED: &str = "sealed";
/// The folder of page files.
pub(crate) const PAGES: &str = "pages";

/// The folder of manifests and other objects of lakehouse tables.
pub(crate) const LAKE: &str = "lake";

/// The folder of probes. A remaining probe is swept like other orphaned objects.
pub(crate) const PROBES: &str = "probes";

/// All folders.
pub(crate) const FOLDERS: [&str; 5] = [SEGMENTS, SEALED, PAGES, LAKE, PROBES];

/// Returns the folders of the last three days, and the folder of all page files.
pub(crate) fn recent_folders(now: Timestamp) -> Vec<Path> {
    let days = (0..3).map(|days| day(now.plus_millis(-days * limits::DAY_MS)));
    let dated = days.flat_map(|day| [SEGMENTS, SEALED].map(|folder| Path::from(format!("{folder}/{day}"))));
    dated.chain([Path::from(PAGES)]).collect()
}

/// Returns the key of a new segment.
pub(crate) fn segment(id: Uuid, now: Timestamp) -> Path {
    dated(SEGMENTS, id, now)
}

/// Returns the key of a new sealed file.
pub(crate) fn sealed_file(id: Uuid, now: Timestamp) -> Path {
    dated(SEALED, id, now)
}

fn dated(folder: &str, id: Uuid, now: Timestamp) -> Path {
    Path::from(format!("{folder}/{}/{id}.parquet", day(now)))
}

fn day(now: Timestamp) -> String {
    now.to_string()[..10].replace('-', "/")
}

/// Returns the key of an object of a lakehouse table of a workspace.
pub(crate) fn lake_object(workspace_id: &str, id: Uuid, extension: &str) -> Path {
    Path::from(format!("{LAKE}/{workspace_id}/{id}.{extension}"))
}

/// Returns the key of a probe.
pub(crate) fn probe(id: Uuid) -> Path {
    Path::from(format!("{PROBES}/{id}"))
}

/// Returns the key of one build of a page file. Two builders of the same page write two objects.
pub(crate) fn page_file(page_key: &str, build: Uuid, form: PageForm) -> Path {
    let extension = match form {
        PageForm { is_compressed: true, .. } => "zst",
        PageForm { format: FileFormat::Json, .. } => "json",
        PageForm { format: FileFormat::Text, .. } => "log",
    };
    Path::from(format!("{PAGES}/{page_key}-{build}.{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_now_is_in_a_recent_folder_for_two_days() {
        let written = Timestamp::clamped(1_795_434_850_000);
        let key = segment(Uuid::nil(), written);
        for (days, is_recent) in [(0, true), (2, true), (3, false)] {
            let folders = recent_folders(written.plus_millis(days * limits::DAY_MS));
            assert_eq!(folders.iter().any(|folder| key.prefix_matches(folder)), is_recent, "{days} days later");
        }
    }
}
