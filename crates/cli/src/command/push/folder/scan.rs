//! Scans a folder: finds its logs and their new parts, and handles rotated, truncated and deleted files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use runlog_formats::ReadSettings;
use runlog_model::{Clock, RunStatus, TaskId, Timestamp};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::checkpoint::{Checkpoint, LogState, Pending};
use super::read::{BATCH_BYTES, end_of_part, format_of, has_head, head, read_part};
use super::settings::{FolderSettings, batch_id, run_id, shown};
use crate::exit::Outcome;
use crate::render::terminal::{counted_are, note};
use crate::system::SystemClock;

/// Level of zstd for batches.
const ZSTD_LEVEL: i32 = 1;
/// Batches that are sent in one round, in total. Unit: bytes.
const ROUND_BYTES: u64 = 8 * BATCH_BYTES;
/// Time without additions to a file after which its last record is complete.
const QUIET: Duration = Duration::from_secs(1);
/// A renamed file may still be written to: it is read until nothing was added for this time, or for `--quiet` if that
/// is shorter.
const ROTATED_STILL: Duration = Duration::from_secs(60);
/// Time after which a deleted file is removed from the checkpoint.
const FORGET: Duration = Duration::from_secs(86_400);

/// A batch that is ready to be sent.
pub(super) struct Prepared {
    pub(super) key: String,
    pub(super) state: LogState,
    pub(super) id: String,
    /// NDJSON, packed with zstd.
    pub(super) records: Vec<u8>,
    pub(super) count: u64,
    /// The time of the first record of the run.
    pub(super) first: Option<Timestamp>,
    /// The status with which the run ends now.
    pub(super) status: Option<RunStatus>,
    /// The time of the last record of the run.
    pub(super) last: Option<Timestamp>,
    /// The state once it is stored.
    after: LogState,
}

/// The observed state of a file, and the time of its last change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileObservation {
    device: u64,
    inode: u64,
    /// Creation time of the file, which distinguishes it from a later file with the same inode; none if the file system
    /// does not provide it. Unit: epoch milliseconds.
    born_ms: Option<i64>,
    size: u64,
    mtime: (i64, i64),
}

impl FileObservation {
    /// Returns true if it is the same file, regardless of its content.
    fn is_file(&self, device: u64, inode: u64, born_ms: Option<i64>) -> bool {
        let is_as_old = self.born_ms.is_none() || born_ms.is_none() || self.born_ms == born_ms;
        self.device == device && self.inode == inode && is_as_old
    }

    fn mtime_ms(&self) -> i64 {
        self.mtime.0.saturating_mul(1_000).saturating_add(self.mtime.1 / 1_000_000)
    }

    fn is_file_of(&self, state: &LogState) -> bool {
        self.is_file(state.device, state.inode, state.born_ms)
    }
}

/// The file of a log whose name is now that of another file.
struct Rotated {
    /// None if it was never there.
    seen: Option<FileObservation>,
    /// By the clock of this process, as the others.
    changed: Duration,
    since: Duration,
    /// True if nothing had been added for a while when it was first seen, by the clock of the system.
    was_quiet: bool,
    is_gone: bool,
}

impl Rotated {
    fn is_quiet(&self, now: Duration) -> bool {
        now.saturating_sub(self.changed) >= QUIET || self.was_quiet && self.changed == self.since
    }
}

struct Watched {
    seen: FileObservation,
    /// By the clock of this process.
    changed: Duration,
    /// True if nothing was added since the last scan.
    is_done: bool,
}

/// The folder and the stored positions of its logs.
pub(super) struct Scanner {
    settings: FolderSettings,
    checkpoint: Checkpoint,
    /// By path.
    watched: BTreeMap<PathBuf, Watched>,
    /// The time since which the file of a log is missing.
    gone: HashMap<String, Duration>,
    /// By the keys of their states.
    rotated: HashMap<String, Rotated>,
    /// The states after the batches that are being sent.
    sending: HashMap<String, LogState>,
    /// Files that are not read, which are reported once.
    unreadable: BTreeSet<PathBuf>,
    /// True if it was reported that links are not followed.
    has_told_links: bool,
}

fn seen(metadata: &Metadata) -> FileObservation {
    let born = metadata.created().ok().and_then(|born| born.duration_since(std::time::UNIX_EPOCH).ok());
    FileObservation {
        born_ms: born.and_then(|born| i64::try_from(born.as_millis()).ok()),
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.len(),
        mtime: (metadata.mtime(), metadata.mtime_nsec()),
    }
}

impl Scanner {
    pub(super) fn new(settings: FolderSettings, checkpoint: Checkpoint) -> Self {
        Self {
            settings,
            checkpoint,
            watched: BTreeMap::new(),
            gone: HashMap::new(),
            rotated: HashMap::new(),
            sending: HashMap::new(),
            unreadable: BTreeSet::new(),
            has_told_links: false,
        }
    }

    /// Scans all files. Returns the tasks named in paths.
    pub(super) fn look(&mut self) -> Outcome<Vec<String>> {
        let mut found = BTreeMap::new();
        let folder = self.settings.folder.clone();
        let (mut links, mut link) = (0, None);
        walk(&folder, Path::new(""), self.settings.pattern.depth(), &mut |path, metadata| {
            if self.settings.pattern.read(&path).is_none() {
                return;
            }
            if metadata.is_symlink() {
                links += 1;
                link.get_or_insert(path);
            } else {
                found.insert(path, seen(&metadata));
            }
        })
        .with_context(|| format!("cannot read {}", folder.display()))?;
        if let Some(link) = link.filter(|_| !std::mem::replace(&mut self.has_told_links, true)) {
            let (links, name) = (counted_are(links, "symbolic link"), shown(&key_of(&link)));
            note(format!("{links} not followed, such as {name}; this is reported once"));
        }
        let now = SystemClock.elapsed();
        self.watched.retain(|path, _| found.contains_key(path));
        let mut names = BTreeSet::new();
        for (path, seen) in found {
            match self.watched.get_mut(&path) {
                Some(watched) if watched.seen == seen => {}
                Some(watched) => *watched = Watched { seen, changed: now, is_done: false },
                None => _ = self.watched.insert(path.clone(), Watched { seen, changed: now, is_done: false }),
            }
            if self.settings.task.is_none()
                && !self.checkpoint.states.contains_key(&key_of(&path))
                && let Some(name) = self.settings.pattern.read(&path).and_then(|found| found.task)
                && name.parse::<TaskId>().is_err()
            {
                names.insert(name);
            }
        }
        Ok(names.into_iter().collect())
    }

    /// Returns the next batches, at most one per log; they are recorded in the checkpoint before they are sent.
    pub(super) fn prepare(&mut self, tasks: &HashMap<String, TaskId>, resting: &[String]) -> Outcome<Vec<Prepared>> {
        self.note_files(tasks)?;
        let keys: Vec<String> = self.checkpoint.states.keys().cloned().collect();
        let (mut prepared, mut bytes, mut busy) = (Vec::new(), 0, BTreeSet::new());
        // Rotated files precede the files that replaced them.
        let (rotated, current): (Vec<_>, Vec<_>) =
            keys.into_iter().partition(|key| self.checkpoint.states.get(key).is_some_and(|state| state.is_rotated));
        for key in rotated.into_iter().chain(current) {
            let Some(state) = self.checkpoint.states.get(&key).cloned() else { continue };
            if resting.contains(&key) || bytes >= ROUND_BYTES || busy.contains(&state.run) {
                busy.insert(state.run);
                continue;
            }
            match self.next_of(&key, &state) {
                Ok(Some(next)) => {
                    bytes += next.after.offset.saturating_sub(next.state.offset);
                    busy.insert(state.run);
                    prepared.push(next);
                }
                // Its last lines come before those of the file that took its place.
                Ok(None) if self.is_catching_up(&key) => _ = busy.insert(state.run),
                Ok(None) => {}
                Err(error) => self.report_once(&state.path, &error.to_string()),
            }
        }
        for next in &prepared {
            self.checkpoint.states.insert(next.key.clone(), next.state.clone());
            self.sending.insert(next.key.clone(), next.after.clone());
        }
        if !prepared.is_empty() {
            let keys = prepared.iter().map(|next| next.key.as_str());
            self.checkpoint.write(keys, true).context("cannot write the checkpoint")?;
        }
        Ok(prepared)
    }

    /// Records that a batch is stored.
    pub(super) fn stored(&mut self, keys: &[String]) -> Outcome {
        let mut changed = Vec::new();
        for key in keys {
            if let Some(after) = self.sending.remove(key) {
                changed.push(key.clone());
                if after.has_ended && !self.checkpoint.states.get(key).is_some_and(|before| before.has_ended) {
                    changed.extend(self.note_end(key, &after));
                }
                self.checkpoint.states.insert(key.clone(), after);
            }
        }
        self.sending.clear();
        if !changed.is_empty() {
            // If this is lost, it is sent again under the same ID.
            self.checkpoint.write(changed.iter().map(String::as_str), false).context("cannot write the checkpoint")?;
        }
        Ok(())
    }

    /// Records that the run of a log has ended, so that the other files of a rotated log do not end it again. Returns
    /// the keys that changed.
    fn note_end(&mut self, key: &str, ended: &LogState) -> Vec<String> {
        let mut changed = Vec::new();
        for (other, state) in &mut self.checkpoint.states {
            if other != key && state.run == ended.run && (state.is_rotated || ended.is_rotated) && !state.has_ended {
                state.has_ended = true;
                changed.push(other.clone());
            }
        }
        // What was prepared of them is not stored yet.
        for after in self.sending.values_mut().filter(|after| after.run == ended.run) {
            after.has_ended |= after.is_rotated || ended.is_rotated;
        }
        changed
    }

    /// Finds new files, and files that replaced others.
    fn note_files(&mut self, tasks: &HashMap<String, TaskId>) -> Outcome {
        let mut changed = Vec::new();
        let (known, new): (Vec<_>, Vec<_>) = self
            .watched
            .iter()
            .filter(|(_, watched)| !watched.is_done)
            .map(|(path, watched)| (path.clone(), watched.seen))
            .partition(|(path, _)| self.checkpoint.states.contains_key(&key_of(path)));
        // A file whose name is now that of another file may be found under a new name.
        for (path, seen) in known.into_iter().chain(new) {
            let key = key_of(&path);
            let before = self.checkpoint.states.get(&key).cloned();
            if let Some(state) = &before {
                match self.is_same(state, seen) {
                    Ok(true) => continue,
                    Ok(false) => changed.extend(self.rotate(&key, state.clone())),
                    // It has just been moved or deleted; the next round detects that.
                    Err(_) => continue,
                }
            }
            if let Some(mut state) = self.new_state(&path, seen, tasks) {
                if self.open_seen(&path, seen).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                    continue;
                }
                if let Some((moved, state)) = self.moved_here(&path, seen) {
                    self.checkpoint.states.remove(&moved);
                    changed.push(moved);
                    changed.extend(self.move_to(state, path, seen));
                    continue;
                }
                let rotated = self.checkpoint.states.values().filter(|other| other.is_rotated);
                let before = before.as_ref().into_iter().chain(rotated).filter(|other| other.run == state.run);
                if let Some(before) = before.max_by_key(|other| other.last_time_ms) {
                    state.continue_run_of(before);
                }
                self.checkpoint.states.insert(key.clone(), state);
                changed.push(key);
            }
        }
        changed.extend(self.forget_removed_files());
        self.rotated.retain(|key, _| self.checkpoint.states.contains_key(key));
        if !changed.is_empty() {
            self.checkpoint.write(changed.iter().map(String::as_str), true).context("cannot write the checkpoint")?;
        }
        Ok(())
    }

    fn new_state(&self, path: &Path, seen: FileObservation, tasks: &HashMap<String, TaskId>) -> Option<LogState> {
        let found = self.settings.pattern.read(path)?;
        let name = found.task.unwrap_or_default();
        let task = match self.settings.task {
            Some(task) => task,
            None => name.parse().ok().or_else(|| tasks.get(&name).copied())?,
        };
        Some(LogState {
            run: run_id(&task.to_string(), &found.run),
            task,
            path: path.to_owned(),
            device: seen.device,
            inode: seen.inode,
            born_ms: seen.born_ms,
            folder_device: self.folder_device(path),
            head: String::new(),
            head_bytes: 0,
            offset: 0,
            format: self.settings.format,
            last_time_ms: None,
            first_time_ms: None,
            pending: None,
            ending: None,
            has_started: false,
            has_ended: false,
            is_rotated: false,
        })
    }

    /// True if a file is the one that the state is of: not another one of this name, nor truncated. Fails if another one has
    /// taken its name since it was seen.
    fn is_same(&self, state: &LogState, seen: FileObservation) -> io::Result<bool> {
        if !seen.is_file_of(state) || seen.size < state.read_bytes() {
            return Ok(false);
        }
        if state.head_bytes == 0 {
            return Ok(true);
        }
        has_head(&mut self.open_seen(&state.path, seen)?, state)
    }

    /// Opens a file that was seen. Fails if its name is that of another one by now: what was seen would be taken for new.
    fn open_seen(&self, path: &Path, before: FileObservation) -> io::Result<File> {
        let file = self.open(path)?;
        let FileObservation { device, inode, born_ms, .. } = seen(&file.metadata()?);
        match before.is_file(device, inode, born_ms) {
            true => Ok(file),
            false => Err(io::Error::new(io::ErrorKind::NotFound, "another file has taken its name")),
        }
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        let no_link = OFlags::NOFOLLOW.bits().cast_signed();
        OpenOptions::new().read(true).custom_flags(no_link).open(self.settings.folder.join(path))
    }

    /// The device of the folder of a log, or of the nearest folder above that exists.
    fn folder_device(&self, path: &Path) -> Option<u64> {
        let mut folders = path.ancestors().skip(1);
        folders.find_map(|folder| std::fs::metadata(self.settings.folder.join(folder)).ok()).map(|folder| folder.dev())
    }

    /// True if it cannot be said whether the file of a log still exists: its folder cannot be read, or its file system is
    /// not mounted.
    fn is_away(&self, state: &LogState) -> bool {
        match std::fs::symlink_metadata(self.settings.folder.join(&state.path)) {
            Ok(_) => false,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                state.folder_device.is_some() && self.folder_device(&state.path) != state.folder_device
            }
            Err(_) => true,
        }
    }

    /// The log that was in this file when it had another name, and its key.
    fn moved_here(&self, path: &Path, seen: FileObservation) -> Option<(String, LogState)> {
        let is_moved = |state: &LogState| {
            // A file that has both names was not renamed.
            let is_there = self.watched.get(&state.path).is_some_and(|watched| watched.seen.is_file_of(state));
            !is_there && self.is_moved(state, path, seen)
        };
        let found = self.checkpoint.states.iter().find(|(_, state)| is_moved(state));
        found.map(|(key, state)| (key.clone(), state.clone()))
    }

    /// Another file has taken the place of a log: its rest is read from where it was moved or copied to. The keys that changed.
    fn rotate(&mut self, key: &str, state: LogState) -> Vec<String> {
        self.checkpoint.states.remove(key);
        let mut changed = vec![key.to_owned()];
        match self.find_moved(&state) {
            Some((path, seen)) => changed.extend(self.move_to(state, path, seen)),
            None => self.note_lost(key, &state),
        }
        changed
    }

    fn note_lost(&self, key: &str, state: &LogState) {
        let is_read =
            self.rotated.get(key).and_then(|rotated| rotated.seen).is_some_and(|seen| seen.size <= state.offset);
        if is_read || state.offset == 0 && state.pending.is_none() {
            return;
        }
        let name = shown(key);
        note(format!("{name} was replaced or truncated, and its previous file is gone: unread lines are lost"));
    }

    /// Keeps a log that was moved or copied to another file, whose name another log may have had. The keys that changed.
    fn move_to(&mut self, state: LogState, path: PathBuf, seen: FileObservation) -> Vec<String> {
        let mut changed = Vec::new();
        let mut next = Some((state, path, seen));
        // Each step moves a log that was at the new name of the one before.
        while let Some((state, path, seen)) = next.take() {
            let own = key_of(&path);
            let there = self.checkpoint.states.get(&own);
            let is_other = there.is_none_or(|there| !seen.is_file_of(there));
            // A file that may be found again keeps its state as long as it exists.
            let is_kept = self.settings.pattern.read(&path).is_some() && is_other;
            let key = if is_kept { own } else { self.free_key(&state, seen) };
            let FileObservation { device, inode, born_ms, .. } = seen;
            let moved = LogState { path, device, inode, born_ms, is_rotated: true, ..state };
            if let Some(displaced) = self.checkpoint.states.insert(key.clone(), moved) {
                match self.find_moved(&displaced) {
                    Some((path, seen)) => next = Some((displaced, path, seen)),
                    None => self.note_lost(&key, &displaced),
                }
            }
            self.rotated.remove(&key);
            changed.push(key);
        }
        changed
    }

    fn free_key(&self, state: &LogState, seen: FileObservation) -> String {
        let name = key_of(&state.path);
        let mut free = (0_u64..).map(|number| format!("{name}\n{}-{number}", seen.inode));
        free.find(|key| !self.checkpoint.states.contains_key(key)).unwrap_or(name)
    }

    /// The file that a log was moved or copied to: one in its folder with the same inode, or with the same beginning.
    fn find_moved(&self, state: &LogState) -> Option<(PathBuf, FileObservation)> {
        // It may be in any folder that is followed.
        let moved = self.watched.iter().map(|(path, watched)| (path, watched.seen));
        let mut moved = moved.filter(|(path, seen)| **path != state.path && self.is_moved(state, path, *seen));
        if let Some((path, seen)) = moved.next() {
            return Some((path.clone(), seen));
        }
        let parent = state.path.parent().unwrap_or(Path::new(""));
        let mut copy = None;
        for entry in std::fs::read_dir(self.settings.folder.join(parent)).ok()?.flatten() {
            let path = parent.join(entry.file_name());
            let Ok(metadata) = entry.metadata() else { continue };
            if !metadata.is_file() || metadata.len() < state.read_bytes() || path == state.path {
                continue;
            }
            let seen = seen(&metadata);
            if self.is_moved(state, &path, seen) {
                return Some((path, seen));
            }
            // A log of which nothing was read cannot be recognised, and logs of other names may begin alike.
            if state.head_bytes > 0
                && is_named_alike(state, &path)
                && !self.checkpoint.states.contains_key(&key_of(&path))
                && self.has_head(state, &path, seen)
            {
                copy = Some((path, seen));
            }
        }
        copy
    }

    /// True if the file is that of a log, under another name.
    fn is_moved(&self, state: &LogState, path: &Path, seen: FileObservation) -> bool {
        // A file of which nothing was read may be another one that got its inode.
        let is_certain = state.head_bytes > 0 || state.born_ms.is_some() || is_named_alike(state, path);
        let is_file = is_certain && seen.is_file_of(state) && seen.size >= state.read_bytes();
        is_file && (state.head_bytes == 0 || self.has_head(state, path, seen))
    }

    fn has_head(&self, state: &LogState, path: &Path, seen: FileObservation) -> bool {
        self.open_seen(path, seen).and_then(|mut file| has_head(&mut file, state)).unwrap_or(false)
    }

    /// Logs whose files are gone: after a while, they are forgotten. The keys that changed.
    fn forget_removed_files(&mut self) -> Vec<String> {
        let now = SystemClock.elapsed();
        let missing: Vec<String> = self
            .checkpoint
            .states
            .iter()
            .filter(|(_, state)| !state.is_rotated && !self.watched.contains_key(&state.path))
            .map(|(key, _)| key.clone())
            .collect();
        self.gone.retain(|key, _| missing.contains(key));
        let mut changed = Vec::new();
        for key in missing {
            let first = !self.gone.contains_key(&key);
            let since = *self.gone.entry(key.clone()).or_insert(now);
            let Some(state) = self.checkpoint.states.get(&key).cloned() else { continue };
            // Moved away, and nothing took its place yet.
            if first && let Some((path, seen)) = self.find_moved(&state) {
                self.checkpoint.states.remove(&key);
                changed.push(key);
                changed.extend(self.move_to(state, path, seen));
            } else if first && self.is_away(&state) {
                self.gone.remove(&key);
            } else if now.saturating_sub(since) >= FORGET && !self.is_away(&state) {
                self.checkpoint.states.remove(&key);
                changed.push(key);
            }
        }
        changed
    }

    /// How long nothing was added to a log, or its file is gone.
    fn silence(&self, key: &str, state: &LogState) -> Duration {
        let since = if state.is_rotated {
            self.rotated.get(key).map(|rotated| rotated.changed)
        } else {
            let watched = self.watched.get(&state.path).map(|watched| watched.changed);
            watched.or_else(|| self.gone.get(key).copied())
        };
        since.map_or(Duration::ZERO, |since| SystemClock.elapsed().saturating_sub(since))
    }

    /// True if a run ends because nothing is added to this log: nor to another file of the run. A file that has taken its
    /// place decides on its own.
    fn ends_when_idle(&self, key: &str, state: &LogState) -> bool {
        let is_silent = |key: &str, state: &LogState| self.silence(key, state) >= self.settings.quiet;
        self.settings.finish.is_some()
            && is_silent(key, state)
            && (state.has_ended || {
                let others = self.checkpoint.states.iter().filter(|(other, _)| *other != key);
                others
                    .filter(|(_, other)| other.run == state.run)
                    .all(|(key, other)| (other.is_rotated || !state.is_rotated) && is_silent(key, other))
            })
    }

    /// Notes what a rotated file is like now.
    fn track(&mut self, key: &str, seen: Option<FileObservation>) {
        let now = SystemClock.elapsed();
        let quiet_ms = i64::try_from(QUIET.as_millis()).unwrap_or(i64::MAX);
        let was_quiet =
            seen.is_some_and(|seen| SystemClock.now().as_millis().saturating_sub(seen.mtime_ms()) >= quiet_ms);
        let new = Rotated { seen, changed: now, since: now, was_quiet, is_gone: false };
        let rotated = self.rotated.entry(key.to_owned()).or_insert(new);
        if seen.is_some() && rotated.seen != seen {
            (rotated.seen, rotated.changed) = (seen, now);
        }
    }

    /// True if a rotated file is just being written to its end, which is waited for a while.
    fn is_catching_up(&self, key: &str) -> bool {
        let now = SystemClock.elapsed();
        let is_catching_up = |rotated: &Rotated| {
            !rotated.is_gone && !rotated.is_quiet(now) && now.saturating_sub(rotated.since) < ROTATED_STILL
        };
        self.rotated.get(key).is_some_and(is_catching_up)
    }

    /// True if nothing more is expected in a rotated file.
    fn is_still(&self, key: &str, state: &LogState) -> bool {
        self.silence(key, state) >= ROTATED_STILL.min(self.settings.quiet)
    }

    /// The next batch of a log; none if nothing is new.
    fn next_of(&mut self, key: &str, state: &LogState) -> io::Result<Option<Prepared>> {
        let watched = self.watched.get(&state.path).filter(|watched| watched.seen.is_file_of(state));
        if watched.is_some_and(|watched| watched.is_done) {
            return Ok(None);
        }
        let opened = match self.open(&state.path) {
            Ok(file) => {
                let seen = seen(&file.metadata()?);
                Some((file, seen)).filter(|_| seen.is_file_of(state))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // A link has taken its place.
            Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => None,
            Err(error) => return Err(error),
        };
        if state.is_rotated {
            self.track(key, opened.as_ref().map(|(_, seen)| *seen));
        }
        let Some((mut file, _)) = opened else {
            return self.next_without_file(key, state);
        };
        let silence = self.silence(key, state);
        let ends_when_idle = self.ends_when_idle(key, state);
        let size = file.metadata()?.len();
        let is_old = self.rotated.get(key).is_some_and(|rotated| rotated.is_quiet(SystemClock.elapsed()));
        let (is_quiet, is_final) =
            (silence >= QUIET || is_old, ends_when_idle || state.is_rotated && self.is_still(key, state));
        let read = &self.settings.read;
        let Some(format) = (match state.format {
            Some(format) => Some(format),
            None if size == 0 => None,
            None => format_of(&mut file, read, is_quiet)?.map_err(io::Error::other)?,
        }) else {
            return Ok(state.is_rotated.then(|| self.nothing_new(key, state, size == 0, is_quiet)).flatten());
        };
        let (id, end, at) = match &state.pending {
            Some(Pending { id, end, at_ms }) => (id.clone(), *end, Timestamp::clamped(*at_ms)),
            None => {
                let at = SystemClock.now();
                let settings = settings_at(read, at);
                (batch_id(), end_of_part(&mut file, state, format, &settings, is_quiet, is_final)?, at)
            }
        };
        let part = read_part(&mut file, state, end, format, &settings_at(read, at), &self.settings.end_markers)?;
        if part.invalid > 0 {
            let why = part.why.clone().unwrap_or_default();
            self.report_once(&state.path, &format!("{} lines are not records and are skipped: {why}", part.invalid));
        }
        let is_all = end == size;
        let ending = part.ending.or(state.ending);
        let by_silence = self.settings.finish.filter(|_| ends_when_idle && is_all);
        let status = ending.or(by_silence).filter(|_| !state.has_ended && (is_all || part.ending.is_some()));
        let (head, head_bytes) =
            if end > state.offset { head(&mut file, end)? } else { (state.head.clone(), state.head_bytes) };
        // What was read must still be of the same file.
        if !state.is_rotated && (file.metadata()?.len() < end || state.head_bytes > 0 && !has_head(&mut file, state)?) {
            return Ok(None);
        }
        if end == state.offset && status.is_none() {
            return Ok(self.nothing_new(key, state, is_all, is_quiet));
        }
        let first = part.times.map(|(first, _)| first);
        let first_time_ms = state.first_time_ms.or(first.map(Timestamp::as_millis));
        let last_time_ms = part.times.map(|(_, last)| last.as_millis()).or(state.last_time_ms);
        let pending = Some(Pending { id: id.clone(), end, at_ms: at.as_millis() });
        let state = LogState { format: Some(format), first_time_ms, pending, head, head_bytes, ..state.clone() };
        let after = LogState {
            offset: end,
            last_time_ms,
            pending: None,
            ending,
            has_started: true,
            has_ended: state.has_ended || status.is_some(),
            ..state.clone()
        };
        let records = zstd::encode_all(part.records.as_slice(), ZSTD_LEVEL)?;
        Ok(Some(Prepared {
            key: key.to_owned(),
            state,
            id,
            records,
            count: part.count,
            first: first_time_ms.map(Timestamp::clamped),
            status,
            last: last_time_ms.map(Timestamp::clamped),
            after,
        }))
    }

    /// Remembers that there is nothing to read, until the file changes.
    fn nothing_new(&mut self, key: &str, state: &LogState, is_all: bool, is_quiet: bool) -> Option<Prepared> {
        if state.is_rotated {
            if is_all && self.is_still(key, state) && !self.waits_for_end(key, state) {
                self.hand_over(key, state);
            }
        } else if let Some(watched) = self.watched.get_mut(&state.path) {
            // An end by silence is still to come, and so is that of a line without a line break.
            let waits_for_end = self.settings.finish.is_some() && !state.has_ended;
            watched.is_done = is_quiet && !waits_for_end && (is_all || self.settings.finish.is_none());
        }
        None
    }

    /// True if the run of a rotated log is still to end by silence, and no other file of it is there that could do so.
    fn waits_for_end(&self, key: &str, state: &LogState) -> bool {
        let mut others = self.checkpoint.states.iter().filter(|(other, state)| *other != key && !state.is_rotated);
        let is_open = self.settings.finish.is_some() && state.has_started && !state.has_ended;
        is_open && !others.any(|(_, other)| other.run == state.run)
    }

    /// Forgets a rotated log that was read to its end, unless its file would be found again; what is known of its run goes
    /// to another file of the run.
    fn hand_over(&mut self, key: &str, state: &LogState) {
        let mut keys = Vec::new();
        match self.watched.get_mut(&state.path).filter(|_| key == key_of(&state.path)) {
            Some(watched) => watched.is_done = true,
            None => {
                self.checkpoint.states.remove(key);
                keys.push(key.to_owned());
            }
        }
        let others = self.checkpoint.states.iter_mut().filter(|(other, _)| *other != key);
        let others = others.filter(|(_, other)| other.run == state.run);
        if let Some((other, next)) = others.min_by_key(|(_, other)| other.is_rotated) {
            next.continue_run_of(state);
            keys.push(other.clone());
        }
        // If this is lost, there is nothing to read of it at the next start.
        if let Err(error) = self.checkpoint.write(keys.iter().map(String::as_str), false) {
            note(format!("cannot write the checkpoint: {error}"));
        }
    }

    /// A log whose file is not at its path any more: what was not read of it is lost, and its run ends after a while.
    fn next_without_file(&mut self, key: &str, state: &LogState) -> io::Result<Option<Prepared>> {
        if state.is_rotated {
            if let Some((path, seen)) = self.find_moved(state) {
                self.checkpoint.states.remove(key);
                let mut changed = vec![key.to_owned()];
                changed.extend(self.move_to(state.clone(), path, seen));
                self.checkpoint.write(changed.iter().map(String::as_str), true)?;
                return Ok(None);
            }
            if self.is_away(state) {
                return Ok(None);
            }
            if let Some(rotated) = self.rotated.get_mut(key)
                && !std::mem::replace(&mut rotated.is_gone, true)
                && rotated.seen.is_none_or(|seen| seen.size > state.offset)
            {
                note(format!("the rotated file of {} is gone: unread lines are lost", shown(key)));
            }
            if !self.waits_for_end(key, state) {
                self.hand_over(key, state);
                return Ok(None);
            }
        } else if self.watched.contains_key(&state.path) {
            // Another file has just taken its place; the next round sees that.
            return Ok(None);
        }
        let ends = self.ends_when_idle(key, state) && !state.has_ended && !self.is_away(state);
        Ok(self.end_without_file(key, state, ends))
    }

    /// The end of a run without anything to read.
    fn end_without_file(&self, key: &str, state: &LogState, ends: bool) -> Option<Prepared> {
        let status = self.settings.finish.filter(|_| ends && !state.has_ended && state.has_started)?;
        let after = LogState { has_ended: true, pending: None, ..state.clone() };
        let time = |ms: Option<i64>| ms.map(Timestamp::clamped);
        Some(Prepared {
            key: key.to_owned(),
            state: state.clone(),
            id: batch_id(),
            records: Vec::new(),
            count: 0,
            first: time(state.first_time_ms),
            status: Some(status),
            last: time(state.last_time_ms),
            after,
        })
    }

    fn report_once(&mut self, path: &Path, what: &str) {
        if self.unreadable.insert(path.to_owned()) {
            let name = shown(&path.display().to_string());
            note(format!("{name}: {}", crate::render::screen::Stream::Note.shown_on_line(what)));
        }
    }
}

fn settings_at(settings: &ReadSettings, at: Timestamp) -> ReadSettings {
    ReadSettings { written_at: at, plain_time: at, ..settings.clone() }
}

/// True if a name begins as that of a log does, such as `job.log.1` and `job.log`.
fn is_named_alike(state: &LogState, path: &Path) -> bool {
    let stem = state.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&stem))
}

fn key_of(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Calls `found` with every file and every link; those are not followed.
fn walk(folder: &Path, within: &Path, depth: usize, found: &mut impl FnMut(PathBuf, Metadata)) -> io::Result<()> {
    for entry in std::fs::read_dir(folder.join(within))? {
        let entry = entry?;
        let (path, Ok(kind)) = (within.join(entry.file_name()), entry.file_type()) else { continue };
        if kind.is_dir() {
            if depth > 1 {
                // It may have been deleted meanwhile, or be one that this user may not read.
                let _ = walk(folder, &path, depth - 1, found);
            }
        } else if let Ok(metadata) = entry.metadata()
            && (metadata.is_file() || metadata.is_symlink())
        {
            found(path, metadata);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A file was renamed, and another one took its name, after the folder was looked at and before the file was opened: the
    /// state of a new log was noted for the file that was renamed, and all of it was stored a second time.
    #[test]
    fn a_file_that_is_rotated_during_a_scan_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("a.log");
        let settings = FolderSettings {
            folder: folder.path().to_owned(),
            pattern: "{run}.log".parse().unwrap(),
            checkpoint: None,
            task: Some("57f64991e4b0b689a64feed0".parse().unwrap()),
            read: ReadSettings::written_at(Timestamp::clamped(0)),
            format: None,
            finish: None,
            end_markers: Vec::new(),
            quiet: Duration::from_secs(60),
            interval: Duration::from_secs(1),
        };
        let checkpoint = Checkpoint::open(&folder.path().join("checkpoint")).unwrap();
        let mut scanner = Scanner::new(settings, checkpoint);
        let mut lines = 0;
        let mut round = |scanner: &mut Scanner, before: &dyn Fn()| {
            scanner.look().unwrap();
            before();
            let prepared = scanner.prepare(&HashMap::new(), &[]).unwrap();
            lines += prepared.iter().map(|batch| batch.count).sum::<u64>();
            let keys: Vec<String> = prepared.iter().map(|batch| batch.key.clone()).collect();
            scanner.stored(&keys).unwrap();
            lines
        };
        let text = |from: u32| -> String {
            (from..from + 5)
                .map(|number| format!("{{\"logTimestamp\":{number},\"logMessage\":\"line {number}\"}}\n"))
                .collect()
        };
        fs::write(&log, text(0)).unwrap();
        let first = round(&mut scanner, &|| {});
        fs::write(&log, text(0) + &text(5)).unwrap();
        round(&mut scanner, &|| {
            fs::rename(&log, folder.path().join("a.log.1")).unwrap();
            fs::write(&log, text(10)).unwrap();
        });
        // What took its place is read once nothing is added to it any more.
        let wait = || std::thread::sleep(QUIET / 2);
        let all = (0..6).map(|_| round(&mut scanner, &wait)).last();
        assert_eq!(first, 5);
        assert_eq!(all, Some(15), "each line once");
    }
}
