//! Settings for following a folder, and the names of its runs and logs.

use std::path::PathBuf;
use std::time::Duration;

use runlog_formats::ReadSettings;
use runlog_model::{Random, RunId, RunStatus, TaskId};
use sha2::{Digest, Sha256};

use super::checkpoint::FollowedFormat;
use super::pattern::PathPattern;
use super::read::EndMarker;
use crate::render::screen::Stream;
use crate::system::SystemRandom;

/// What a folder is followed with.
pub(crate) struct FolderSettings {
    pub(crate) folder: PathBuf,
    pub(crate) pattern: PathPattern,
    /// The checkpoint file; none for the default.
    pub(crate) checkpoint: Option<PathBuf>,
    /// The task of all runs; none if paths name it.
    pub(crate) task: Option<TaskId>,
    pub(crate) read: ReadSettings,
    /// None if it is detected.
    pub(crate) format: Option<FollowedFormat>,
    /// The status of a run that has ended without a marker; none if such runs do not end.
    pub(crate) finish: Option<RunStatus>,
    pub(crate) end_markers: Vec<EndMarker>,
    /// Time without additions to a log after which its run has ended.
    pub(crate) quiet: Duration,
    pub(crate) interval: Duration,
}

/// Returns the ID of the run that is derived from a text in a path.
pub(super) fn run_id(task: &str, text: &str) -> RunId {
    struct Digested([u8; 16]);
    impl Random for Digested {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.copy_from_slice(&self.0[..bytes.len()]);
        }
    }
    text.parse().unwrap_or_else(|_| {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&Sha256::digest(format!("runlog push\n{task}\n{text}"))[..16]);
        RunId::random(&Digested(bytes))
    })
}

/// The path of a log, for a terminal.
pub(super) fn shown(key: &str) -> String {
    Stream::Note.shown_on_line(key.split('\n').next().unwrap_or_default()).to_string()
}

/// A new ID of a batch.
pub(super) fn batch_id() -> String {
    format!("follow-{}", SystemRandom.uuid())
}
