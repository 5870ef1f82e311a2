//! The position up to which each log of a folder is stored, kept in a file so that a push that was killed resumes
//! there.
//!
//! The file is a journal: one line of JSON for each change of the state of a log, of which the last one is valid. It is
//! rewritten when it has grown, and replaced atomically. A line that was truncated by a crash is ignored: before a
//! batch is sent, its extent and its ID are written and flushed to disk, and data that is missing afterwards is sent
//! again under the same ID, so that it is stored only once.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use runlog_model::{RunId, RunStatus, TaskId};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

/// The journal is rewritten when it has this many lines more than logs, and twice as many lines as logs.
const LINES_MORE_MAX: usize = 1_000;

/// A log of the folder, or the rest of a rotated log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogState {
    pub(super) run: RunId,
    pub(super) task: TaskId,
    /// Its path, relative to the folder.
    pub(super) path: PathBuf,
    pub(super) device: u64,
    pub(super) inode: u64,
    /// Creation time of the file; none if the file system does not provide it. Unit: epoch milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) born_ms: Option<i64>,
    /// The device of the folder of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) folder_device: Option<u64>,
    /// Hash of the first bytes of the file, and their number: a file with another hash is a different file.
    pub(super) head: String,
    pub(super) head_bytes: u64,
    /// Everything before is stored. Unit: bytes.
    pub(super) offset: u64,
    /// How the lines are read; none until that is detected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) format: Option<FollowedFormat>,
    /// The time of the last record, which is that of lines that continue it. Unit: epoch milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_time_ms: Option<i64>,
    /// The time of the first record. Unit: epoch milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) first_time_ms: Option<i64>,
    /// The batch that is being sent, and may be stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) pending: Option<Pending>,
    /// The status that its run ends with, once everything is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ending: Option<RunStatus>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) has_started: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) has_ended: bool,
    /// True for a file that was renamed or copied, and is soon no longer written to.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_rotated: bool,
}

impl LogState {
    /// Returns the number of bytes read from the file, including the batch that is being sent.
    pub(super) fn read_bytes(&self) -> u64 {
        self.pending.as_ref().map_or(self.offset, |pending| pending.end)
    }

    /// Takes over the state of the run from the previous file.
    pub(super) fn continue_run_of(&mut self, before: &Self) {
        self.has_started |= before.has_started;
        self.has_ended |= before.has_ended;
        self.ending = self.ending.or(before.ending);
        self.first_time_ms = before.first_time_ms.or(self.first_time_ms);
        self.last_time_ms = self.last_time_ms.or(before.last_time_ms);
    }
}

/// How the lines of a log are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FollowedFormat {
    Ndjson,
    Text,
    Plain,
}

/// A batch that is being sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pending {
    pub(super) id: String,
    /// Where it ends. Unit: bytes.
    pub(super) end: u64,
    /// When it was read, which is the time of lines without one. Unit: epoch milliseconds.
    pub(super) at_ms: i64,
}

/// A line of the journal.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    key: String,
    /// None if the log was removed from the checkpoint.
    state: Option<LogState>,
}

/// The states of all logs, and the file that keeps them.
#[derive(Debug)]
pub(super) struct Checkpoint {
    path: PathBuf,
    journal: File,
    lines: usize,
    pub(super) states: BTreeMap<String, LogState>,
    /// Held as long as this exists.
    _lock: File,
}

impl Checkpoint {
    /// Opens the file, or creates it, for this user only. Fails if another process uses it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        let lock = private().create(true).append(true).open(beside(path, "lock"))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            let message = format!("another process uses the checkpoint {}", path.display());
            io::Error::new(io::ErrorKind::ResourceBusy, message)
        })?;
        let states = match File::open(path) {
            Ok(file) => read(BufReader::new(file))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        let journal = write_anew(path, &states)?;
        Ok(Self { path: path.to_owned(), journal, lines: states.len(), states, _lock: lock })
    }

    /// Writes the states of these logs, or their removal. With `is_durable`, returns only once they are on disk.
    pub(super) fn write<'k>(&mut self, keys: impl Iterator<Item = &'k str>, is_durable: bool) -> io::Result<()> {
        let mut text = Vec::new();
        for key in keys {
            write_line(&mut text, key, self.states.get(key))?;
            self.lines += 1;
        }
        self.journal.write_all(&text)?;
        if is_durable {
            self.journal.sync_data()?;
        }
        if self.lines > 2 * self.states.len() + LINES_MORE_MAX {
            self.journal = write_anew(&self.path, &self.states)?;
            self.lines = self.states.len();
        }
        Ok(())
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

fn write_line(text: &mut Vec<u8>, key: &str, state: Option<&LogState>) -> io::Result<()> {
    serde_json::to_writer(&mut *text, &Line { key: key.to_owned(), state: state.cloned() })?;
    text.push(b'\n');
    Ok(())
}

/// Replaces the file in one step.
fn write_anew(path: &Path, states: &BTreeMap<String, LogState>) -> io::Result<File> {
    let fresh = beside(path, "new");
    let mut file = private().create(true).truncate(true).write(true).open(&fresh)?;
    let mut text = Vec::new();
    for (key, state) in states {
        write_line(&mut text, key, Some(state))?;
    }
    file.write_all(&text)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()?;
    Ok(file)
}

/// Reads a journal. Only its last line may be cut off.
fn read(mut journal: impl BufRead) -> io::Result<BTreeMap<String, LogState>> {
    let mut states = BTreeMap::new();
    let (mut line, mut number) = (Vec::new(), 0_u64);
    loop {
        line.clear();
        number += 1;
        if journal.read_until(b'\n', &mut line)? == 0 || !line.ends_with(b"\n") {
            return Ok(states);
        }
        let Line { key, state } = serde_json::from_slice(&line).map_err(|error| {
            let message = format!("line {number} of the checkpoint cannot be read: {error}");
            io::Error::new(io::ErrorKind::InvalidData, message)
        })?;
        match state {
            Some(state) => _ = states.insert(key, state),
            None => _ = states.remove(&key),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    fn state(number: u64) -> LogState {
        LogState {
            run: "00000000-0000-4000-8000-000000000001".parse().unwrap(),
            task: "57f64991e4b0b689a64feed0".parse().unwrap(),
            path: PathBuf::from(format!("task/{number}.log")),
            device: 1,
            inode: number,
            born_ms: number.is_multiple_of(7).then_some(3),
            folder_device: Some(1),
            head: "ab".to_owned(),
            head_bytes: number % 1_024,
            offset: number,
            format: Some(FollowedFormat::Text),
            last_time_ms: Some(5),
            first_time_ms: None,
            pending: number.is_multiple_of(2).then(|| Pending { id: format!("b-{number}"), end: number + 9, at_ms: 7 }),
            ending: number.is_multiple_of(3).then_some(RunStatus::Failed),
            has_started: true,
            has_ended: false,
            is_rotated: number.is_multiple_of(5),
        }
    }

    #[test]
    fn the_file_is_private_and_of_one_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/checkpoint");
        let open = Checkpoint::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Checkpoint::open(&path).unwrap_err().to_string().contains("another process"));
        drop(open);
        Checkpoint::open(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_no_checkpoint_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        std::fs::write(&path, "{\"key\": 1}\nprecious\n").unwrap();
        assert!(Checkpoint::open(&path).unwrap_err().to_string().contains("line 1"));
        assert!(std::fs::read_to_string(&path).unwrap().contains("precious"));
    }

    proptest! {
        // However often the journal was written anew, and wherever it is cut off, it has the states of some moment at
        // which it was written, and without a cut those of the last one.
        #[test]
        fn the_states_survive(changes in prop::collection::vec((0_u8..6, prop::option::of(0_u64..1_000)), 1..80), cut in 0_usize..400) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("checkpoint");
            let mut moments = vec![BTreeMap::new()];
            {
                let mut checkpoint = Checkpoint::open(&path).unwrap();
                for (key, number) in changes {
                    let key = format!("log {key}");
                    match number {
                        Some(number) => _ = checkpoint.states.insert(key.clone(), state(number)),
                        None => _ = checkpoint.states.remove(&key),
                    }
                    checkpoint.write([key.as_str()].into_iter(), number.is_some()).unwrap();
                    moments.push(checkpoint.states.clone());
                }
            }
            let whole = std::fs::read(&path).unwrap();
            prop_assert_eq!(&read(whole.as_slice()).unwrap(), moments.last().unwrap());
            let kept = &whole[..whole.len().saturating_sub(cut)];
            std::fs::write(&path, kept).unwrap();
            let read = Checkpoint::open(&path).unwrap().states.clone();
            prop_assert!(moments.contains(&read));
        }
    }
}
