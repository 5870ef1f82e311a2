//! What a fetch has done so far, in a folder beside its output: never a token, never a link.
//!
//! ```text
//! 9d2a41c7 {"begun":{"version":2,"fetch":{…}}}        always the first line
//! 0b60f2e1 {"asked":{"id":0,"age":0,"end":null,…}}    a page was asked for
//! 5c33d0aa {"came":{"id":0,…,"spooled":{…}}}          it is on disk
//! 71f0c2be {"divided":[…]}                            the rest is walked in parts
//! ```
//!
//! Each thing that was done is one more line, with a checksum of its own, so the file grows by the same for each page. A
//! line that was altered or cut short counts as not written: what it told of is asked for again.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runlog_client::reconcile::{LogOrder, SpooledPage};
use runlog_client::{GeneratedPage, PageRequest};
use runlog_model::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::error::{FetchError, Result, storage};

/// The file in the folder.
const FILE: &str = "checkpoint.ndjson";
/// Locked while a fetch goes on, where the folder itself cannot be.
const LOCK_FILE: &str = "lock";
/// Bytes and files of pages that a folder may hold to be used again, and how many of those are kept.
const SPARE_BYTES_MAX: u64 = 1 << 20;
const SPARE_CHUNKS_MAX: usize = 2;
const SPARE_FOLDERS_MAX: usize = 16;
/// Begins the name of a folder that is kept to be used again.
pub(crate) const SPARE: &str = "spare-";

/// A folder with pages on disk, and what is known of them.
pub(crate) struct Checkpoint {
    folder: PathBuf,
    state: State,
    /// The file, to be gone on with; none before the first line, and when a line could not be written.
    file: Option<File>,
    /// Keeps other fetches out of the folder, in this process and in others.
    lock: Option<FolderLock>,
    /// Goes with the folder at the end, when it is a temporary one.
    _temporary: Option<tempfile::TempDir>,
}

/// Whoever holds it, or a copy, may write into the folder.
pub(crate) type FolderLock = Arc<File>;

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line<'a> {
    Begun { version: u32, fetch: Cow<'a, Identity> },
    Divided(Cow<'a, [Part]>),
    Asked(Cow<'a, PageState>),
    // All that is known of the page: the line that it was asked for with is not needed any more.
    Came(Cow<'a, PageState>),
}

#[derive(Debug, Clone, PartialEq)]
struct State {
    fetch: Identity,
    /// Parts that are walked side by side after the first page, newest first; none while there is one walk.
    parts: Vec<Part>,
    /// Pages that were asked for, newest first, and then the ends of pages that were asked for again.
    pages: Vec<PageState>,
}

/// What makes two fetches the same, so that one can go on from the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Identity {
    pub(crate) service: String,
    pub(crate) run: String,
    pub(crate) start: Option<String>,
    /// The end that the user asked for.
    pub(crate) end: Option<String>,
    pub(crate) order: LogOrder,
    pub(crate) overlap_ms: i64,
    /// The end that was fixed when the fetch began, when the run was not waited for.
    pub(crate) fixed_end: Option<String>,
}

/// A part of a log, both ends inside, that has a walk of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Its earliest time; the beginning of the range when absent.
    pub(crate) start: Option<Timestamp>,
    /// Its latest time, as it is to be sent.
    pub(crate) end: String,
}

/// Ages of pages by which one part is older than the one before: more pages than any walk has. With as many parts as a log
/// is divided into, the ages still fit.
pub(crate) const PART_AGES: u32 = 4_000_000;

/// A page that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PageState {
    /// Names it.
    pub(crate) id: u32,
    /// How far back it reaches.
    pub(crate) age: u32,
    /// The end that it was asked with.
    pub(crate) end: Option<String>,
    /// The end of the next page, as the service wrote it; none on the last.
    pub(crate) next_end: Option<String>,
    /// Whether the log could still grow then, where the service told.
    #[serde(default)]
    pub(crate) settled: Option<bool>,
    /// What is on disk of it, once it is whole.
    pub(crate) spooled: Option<SpooledPage>,
}

/// The form of the file. The first one had no checksums; its pages are fetched anew.
const VERSION: u32 = 2;

impl State {
    fn new(fetch: Identity) -> Self {
        Self { fetch, parts: Vec::new(), pages: Vec::new() }
    }

    /// What is known when all of these lines were written, one after another. `places` says where each page is.
    fn take(&mut self, line: Line<'_>, places: &mut HashMap<u32, usize>) {
        match line {
            // Whoever starts over writes the file anew.
            Line::Begun { .. } => {}
            Line::Divided(parts) => self.parts = parts.into_owned(),
            Line::Asked(page) | Line::Came(page) => {
                let page = page.into_owned();
                let place = *places.entry(page.id).or_insert(self.pages.len());
                match self.pages.get_mut(place) {
                    Some(known) => *known = page,
                    None => self.pages.push(page),
                }
            }
        }
    }

    /// All that is known, as lines.
    fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let begun = Line::Begun { version: VERSION, fetch: Cow::Borrowed(&self.fetch) };
        let divided = (!self.parts.is_empty()).then(|| Line::Divided(Cow::Borrowed(&self.parts)));
        // In the order of their ids, which is that of their asking.
        [begun].into_iter().chain(divided).chain(self.pages.iter().map(PageState::line))
    }

    /// Forgets the pages of a walk that cannot be reached any more, because one before them was forgotten: pages are asked
    /// for by what the one before them says.
    fn forget_unreachable(&mut self) -> usize {
        let before = self.pages.len();
        let mut walked: Vec<u32> = self.pages.iter().filter(|page| page.is_of_walk()).map(|page| page.age).collect();
        walked.sort_unstable();
        let is_begun = walked.first() == Some(&0);
        let mut reachable = HashSet::with_capacity(walked.len());
        for age in walked {
            let is_of_known_part = (age / PART_AGES) as usize <= self.parts.len();
            if is_begun && is_of_known_part && (age % PART_AGES == 0 || reachable.contains(&(age - 1))) {
                reachable.insert(age);
            }
        }
        self.pages.retain(|page| reachable.contains(&page.age) || !page.is_of_walk() && is_begun);
        before - self.pages.len()
    }
}

impl PageState {
    /// True for a page of the walk; ids of those that were asked for again are never their ages.
    pub(crate) fn is_of_walk(&self) -> bool {
        self.id == self.age
    }

    fn line(&self) -> Line<'_> {
        let page = Cow::Borrowed(self);
        if self.spooled.is_some() { Line::Came(page) } else { Line::Asked(page) }
    }
}

impl Checkpoint {
    /// Opens the folder of a fetch, new or from before.
    pub(crate) fn open(folder: PathBuf, fetch: Identity) -> Result<Self> {
        fs::create_dir_all(&folder).map_err(storage("make", &folder))?;
        let lock = Some(lock(&folder)?);
        let mut state = match read(&folder)? {
            Some(state) => same(state, &fetch, &folder)?,
            None => State::new(fetch),
        };
        let mut lost = 0;
        for page in &mut state.pages {
            // The files of a page are written before it is noted; a crash of the machine may still have lost some, and a
            // disk may have altered them.
            lost += usize::from(page.spooled.take_if(|spooled| !spooled.is_on_disk(&folder)).is_some());
        }
        if lost > 0 {
            warn!("{}: {lost} pages are not on disk as they were written, and are fetched anew", folder.display());
        }
        Ok(Self { folder, state, file: None, lock, _temporary: None })
    }

    /// A fetch that cannot be gone on with, because its output is a pipe.
    pub(crate) fn temporary(fetch: Identity) -> Result<Self> {
        let temporary = tempfile::Builder::new().prefix("runlog-fetch-").tempdir();
        let temporary = temporary.map_err(storage("make a temporary folder in", &std::env::temp_dir()))?;
        let state = State::new(fetch);
        Ok(Self { folder: temporary.path().to_owned(), state, file: None, lock: None, _temporary: Some(temporary) })
    }

    /// The folder, for the files of pages.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The end that was fixed when the fetch began.
    pub(crate) fn fixed_end(&self) -> Option<&str> {
        self.state.fetch.fixed_end.as_deref()
    }

    /// All pages that were asked for.
    pub(crate) fn pages(&self) -> &[PageState] {
        &self.state.pages
    }

    /// The parts that are walked side by side.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.state.parts
    }

    /// The part that a page of this age is in; none for those of the first walk.
    pub(crate) fn part_of(&self, age: u32) -> Option<&Part> {
        self.state.parts.get((age / PART_AGES).checked_sub(1)? as usize)
    }

    /// Notes that the rest of the log is walked in parts.
    pub(crate) fn divided(&mut self, parts: Vec<Part>) -> Result<()> {
        self.state.parts = parts;
        let line = checked(&Line::Divided(Cow::Borrowed(&self.state.parts)));
        self.write(line)
    }

    /// The last page of the walk that a page of this age is in.
    pub(crate) fn last_of_walk(&self, age: u32) -> Option<&PageState> {
        self.walked().filter(|page| page.age / PART_AGES == age / PART_AGES).max_by_key(|page| page.age)
    }

    /// The pages that are on disk.
    pub(crate) fn spooled(&self) -> Vec<SpooledPage> {
        self.state.pages.iter().filter_map(|page| page.spooled.clone()).collect()
    }

    /// The pages of the walk, newest first, without those that were asked for again.
    pub(crate) fn walked(&self) -> impl Iterator<Item = &PageState> {
        self.state.pages.iter().filter(|page| page.is_of_walk())
    }

    /// False when the service said that the log could still grow.
    pub(crate) fn is_settled(&self) -> bool {
        self.walked().all(|page| page.settled != Some(false))
    }

    /// For work that writes into the folder and may outlive this.
    pub(crate) fn lock(&self) -> Option<FolderLock> {
        self.lock.clone()
    }

    /// Notes that a page was asked for.
    pub(crate) fn requested(&mut self, id: u32, age: u32, request: &PageRequest, page: &GeneratedPage) -> Result<()> {
        let (end, next_end) = (request.end.clone(), page.next_end.clone());
        let page = PageState { id, age, end, next_end, settled: page.settled, spooled: None };
        let line = checked(&page.line());
        self.state.pages.push(page);
        self.write(line)
    }

    /// Notes that a page is on disk.
    pub(crate) fn done(&mut self, spooled: SpooledPage) -> Result<()> {
        let Some(page) = self.state.pages.iter_mut().rev().find(|page| page.id == spooled.id) else { return Ok(()) };
        page.spooled = Some(spooled);
        let line = checked(&page.line());
        self.write(line)
    }

    /// Forgets all pages, to fetch them anew.
    pub(crate) fn start_over(&mut self) -> Result<()> {
        self.state.pages.clear();
        self.state.parts.clear();
        // What was written before must not be read again: the file begins anew.
        self.file = None;
        self.write(Ok(Vec::new()))
    }

    /// Has the folder stand elsewhere, with nothing known of its pages; false when it is not for that.
    fn retire(&mut self, to: &Path) -> bool {
        let chunks = || self.state.pages.iter().filter_map(|page| page.spooled.as_ref()).flat_map(|page| &page.chunks);
        let is_small =
            chunks().map(|chunk| chunk.bytes).sum::<u64>() <= SPARE_BYTES_MAX && chunks().count() <= SPARE_CHUNKS_MAX;
        // Nobody else may write into it any more.
        let is_alone = self.lock.as_mut().is_some_and(|lock| Arc::get_mut(lock).is_some());
        let Some(file) = self.file.as_mut().filter(|_| is_small && is_alone) else { return false };
        // Not emptied: such a file is written to the disk at once when it is closed.
        let emptied = file.rewind().and_then(|()| file.write_all(b"\n")).and_then(|()| file.set_len(1));
        emptied.and_then(|()| fs::rename(&self.folder, to)).is_ok()
    }

    /// Removes the folder: the result is in place.
    pub(crate) fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.folder).map_err(storage("remove", &self.folder))
    }

    /// Adds a line, which is part of what is known already.
    fn write(&mut self, line: serde_json::Result<Vec<u8>>) -> Result<()> {
        let path = self.folder.join(FILE);
        let write = || -> std::io::Result<()> {
            // Taken, so that a line that was written in part is not gone on with.
            self.file = Some(match self.file.take() {
                Some(mut file) => {
                    file.write_all(&line?)?;
                    file
                }
                None => {
                    let lines: serde_json::Result<Vec<_>> = self.state.lines().map(|line| checked(&line)).collect();
                    self.written_anew(&path, &lines?.concat())?
                }
            });
            Ok(())
        };
        write().map_err(storage("write", &path))
    }

    /// The file with these lines alone; what was there before stays until then.
    fn written_anew(&self, path: &Path, lines: &[u8]) -> std::io::Result<File> {
        match File::create_new(path) {
            Ok(mut file) => {
                file.write_all(lines)?;
                Ok(file)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists && fs::metadata(path)?.len() == 1 => {
                let mut file = File::options().write(true).open(path)?;
                file.write_all(lines)?;
                Ok(file)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
                file.write_all(lines)?;
                Ok(file.persist(path)?)
            }
            Err(error) => Err(error),
        }
    }
}

/// Folders whose fetches are over, for those that come: where many short logs are fetched, making files and removing
/// them would be a large part of the work.
#[derive(Debug, Default)]
pub(crate) struct SpareFolders {
    kept: Mutex<Vec<PathBuf>>,
    named: AtomicU64,
    removals: TaskTracker,
}

impl SpareFolders {
    /// Has one of them become this folder, where that is not there yet.
    pub(crate) fn put_at(&self, folder: &Path) {
        let Some(spare) = self.kept().pop() else { return };
        if fs::rename(&spare, folder).is_err() && spare.exists() {
            self.kept().push(spare);
        }
    }

    /// Takes the folder of a fetch that is over; one that is not worth keeping is removed meanwhile.
    pub(crate) fn take(&self, mut checkpoint: Checkpoint) {
        let number = self.named.fetch_add(1, Ordering::Relaxed);
        let spare = checkpoint.folder.with_file_name(format!("{SPARE}{}-{number}", std::process::id()));
        if self.kept().len() < SPARE_FOLDERS_MAX && checkpoint.retire(&spare) {
            // Its lock is let go first.
            drop(checkpoint);
            self.kept().push(spare);
            return;
        }
        // For hundreds of megabytes that takes a while.
        self.removals.spawn_blocking(move || {
            if let Err(error) = checkpoint.remove() {
                warn!(%error, "pages of a run that has landed cannot be removed; the next collector tries it again");
            }
        });
    }

    /// Waits until what was to be removed is.
    pub(crate) async fn removed(&self) {
        self.removals.close();
        self.removals.wait().await;
    }

    /// Removes them.
    pub(crate) fn remove(&self) {
        for spare in std::mem::take(&mut *self.kept()) {
            // One that is left behind is removed when the next collector begins.
            let _ = fs::remove_dir_all(spare);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the folder of a fetch whose result is in place, which was ended before it could; false when one goes on there.
pub(crate) fn remove_left_over(folder: &Path) -> Result<bool> {
    match lock(folder) {
        Ok(_alone) => fs::remove_dir_all(folder).map_err(storage("remove", folder)).map(|()| true),
        Err(FetchError::OtherFetch { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn read(folder: &Path) -> Result<Option<State>> {
    let path = folder.join(FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(storage("read", &path)(error)),
    };
    // Of a folder that was used before, nothing is known.
    if text.trim_ascii().is_empty() {
        return Ok(None);
    }
    let mut lines = text.split_inclusive(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let Some(Line::Begun { version: VERSION, fetch }) = read_line(first) else {
        let is_earlier = first.starts_with(b"{\"version\":1,");
        let why = if is_earlier { "was written by an earlier version" } else { "is damaged" };
        warn!("{} {why}; all pages of this fetch are fetched anew", path.display());
        return Ok(None);
    };
    let (mut state, mut places) = (State::new(fetch.into_owned()), HashMap::new());
    let mut damaged = 0;
    for line in lines {
        match read_line(line) {
            Some(line) => state.take(line, &mut places),
            // The last one may have been written in part, when the machine or the process ended.
            None if !line.ends_with(b"\n") => {}
            None => damaged += 1,
        }
    }
    let forgotten = state.forget_unreachable();
    if damaged + forgotten > 0 {
        warn!(
            "{}: {damaged} lines are damaged; the pages that they told of are fetched anew, and {forgotten} after them",
            path.display()
        );
    }
    Ok(Some(state))
}

/// A line with its checksum before it and a line break after it.
fn checked(line: &Line<'_>) -> serde_json::Result<Vec<u8>> {
    let json = serde_json::to_vec(line)?;
    let mut checked = format!("{:08x} ", crc32fast::hash(&json)).into_bytes();
    checked.extend_from_slice(&json);
    checked.push(b'\n');
    Ok(checked)
}

/// What a line says; none when it is not as it was written.
fn read_line(line: &[u8]) -> Option<Line<'static>> {
    let (sum, json) = line.strip_suffix(b"\n")?.split_at_checked(8)?;
    let json = json.strip_prefix(b" ")?;
    let is_whole = sum == format!("{:08x}", crc32fast::hash(json)).as_bytes();
    serde_json::from_slice(json).ok().filter(|_| is_whole)
}

fn same(mut state: State, fetch: &Identity, folder: &Path) -> Result<State> {
    let found = &state.fetch;
    let different = [
        (found.service != fetch.service, "of another service"),
        (found.run != fetch.run, "of another run"),
        (found.start != fetch.start || found.end != fetch.end, "of another range of time"),
        (found.order != fetch.order, "in another order"),
        (found.overlap_ms != fetch.overlap_ms, "with another overlap"),
    ];
    if let Some((_, what)) = different.into_iter().find(|(differs, _)| *differs) {
        return Err(FetchError::OtherFetch { path: folder.to_owned(), what, next: "remove it" });
    }
    if found.fixed_end.is_some() != fetch.fixed_end.is_some() {
        // The run has ended since, or is no longer waited for: the pages of before have other ends.
        state.fetch = fetch.clone();
        state.pages.clear();
        state.parts.clear();
    }
    Ok(state)
}

fn lock(folder: &Path) -> Result<FolderLock> {
    let of_folder = File::open(folder).map_err(storage("read", folder))?;
    let (file, locked) = match of_folder.try_lock() {
        // Some file systems lock only what can be written.
        Err(TryLockError::Error(_)) => {
            let path = folder.join(LOCK_FILE);
            let file = File::create(&path).map_err(storage("write", &path))?;
            let locked = file.try_lock();
            (file, locked)
        }
        locked => (of_folder, locked),
    };
    match locked {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let (what, next) = ("which goes on right now", "wait for it");
            return Err(FetchError::OtherFetch { path: folder.to_owned(), what, next });
        }
        // Not every file system has locks.
        Err(TryLockError::Error(error)) => debug!(%error, "{} cannot be locked", folder.display()),
    }
    Ok(Arc::new(file))
}

/// What tests note in a checkpoint.
#[cfg(test)]
pub(crate) mod made_up {
    use runlog_client::reconcile::Chunk;

    use super::*;

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

    /// A page of the walk is asked for with this end; the service names that of the next one.
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
            next_end,
            settled: None,
            log_records: None,
            took: std::time::Duration::ZERO,
        };
        checkpoint.requested(age, age, &request, &page).unwrap();
    }

    /// It comes, with entries from one time to another, in a chunk of so many bytes.
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
}

#[cfg(test)]
mod tests {
    use super::made_up::{ask, come, identity};
    use super::*;

    /// Notes a page, and that it came with so many bytes.
    fn page_of(checkpoint: &mut Checkpoint, id: u32, bytes: u64) {
        ask(checkpoint, id, Some("2023-11-14T22:13:21Z".to_owned()), None);
        let path = come(checkpoint, id, (0, 0), bytes);
        fs::write(path, vec![b' '; bytes as usize]).unwrap();
    }

    #[test]
    fn a_folder_that_was_used_before_tells_nothing_of_that() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        let spares = SpareFolders::default();
        let mut checkpoint = Checkpoint::open(one.clone(), identity()).unwrap();
        page_of(&mut checkpoint, 0, 100);
        spares.take(checkpoint);
        assert!(!one.exists());

        spares.put_at(&other);
        assert!(other.join("page-0-0.chunk").exists(), "it was used again");
        let of_other = Identity { run: "another run".to_owned(), ..identity() };
        let mut checkpoint = Checkpoint::open(other.clone(), of_other).unwrap();
        assert!(checkpoint.pages().is_empty());
        page_of(&mut checkpoint, 0, 10);
        let state = checkpoint.state.clone();
        drop(checkpoint);
        let lines = fs::read_to_string(other.join(FILE)).unwrap().lines().count();
        assert_eq!(lines, 3, "the file begins anew");
        assert_eq!(read(&other).unwrap(), Some(state));

        // Where a fetch is to go on, its folder stays.
        page_of(&mut Checkpoint::open(one.clone(), identity()).unwrap(), 0, 100);
        let mut checkpoint = Checkpoint::open(folder.path().join("third"), identity()).unwrap();
        page_of(&mut checkpoint, 0, 100);
        spares.take(checkpoint);
        spares.put_at(&one);
        assert_eq!(read(&one).unwrap().unwrap().pages.len(), 1);
        assert_eq!(spares.kept().len(), 1);
        spares.remove();
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[tokio::test]
    async fn a_large_folder_and_one_in_use_are_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let spares = SpareFolders::default();
        let mut large = Checkpoint::open(folder.path().join("large"), identity()).unwrap();
        page_of(&mut large, 0, SPARE_BYTES_MAX + 1);
        spares.take(large);
        let mut in_use = Checkpoint::open(folder.path().join("in-use"), identity()).unwrap();
        page_of(&mut in_use, 0, 10);
        let user = in_use.lock();
        spares.take(in_use);
        drop(user);
        spares.removed().await;
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// Of a walk of 25,000 pages, the file took gigabytes, and it was gone on with from page 9,999.
    #[test]
    fn a_walk_of_any_length_takes_the_same_for_each_page_and_is_gone_on_with_from_its_last() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        let mut checkpoint = Checkpoint::open(path.clone(), identity()).unwrap();
        let pages = 25_000;
        for age in 0..pages {
            ask(&mut checkpoint, age, Some(end(age)), Some(end(age + 1)));
            checkpoint.done(empty(age)).unwrap();
        }
        let bytes = fs::metadata(path.join(FILE)).unwrap().len();
        assert!(bytes < u64::from(pages) * 500, "{bytes} bytes");
        let state = checkpoint.state.clone();
        drop(checkpoint);
        let checkpoint = Checkpoint::open(path, identity()).unwrap();
        assert_eq!(checkpoint.state, state);
        assert_eq!(checkpoint.last_of_walk(0).unwrap().age, pages - 1);
    }

    /// The end that a page was asked with.
    fn end(age: u32) -> String {
        Timestamp::clamped(1_700_000_000_000 - i64::from(age) * 1_000).to_api_text()
    }

    /// A page without entries, which no file is needed for.
    fn empty(id: u32) -> SpooledPage {
        SpooledPage {
            id,
            age: id,
            entries: 0,
            entries_without_time: 0,
            entries_mended: 0,
            newest_first: None,
            chunks: Vec::new(),
        }
    }

    /// A checkpoint of 6 pages, all of them on disk but the last.
    fn some_pages(path: &Path) -> State {
        let mut checkpoint = Checkpoint::open(path.to_owned(), identity()).unwrap();
        for age in 0..6 {
            ask(&mut checkpoint, age, Some(end(age)), Some(end(age + 1)));
            if age < 5 {
                checkpoint.done(empty(age)).unwrap();
            }
        }
        checkpoint.state.clone()
    }

    /// What is read is of the fetch: never anything that it did not note.
    fn check_read(found: Option<&State>, noted: &State, what: &str) {
        let Some(found) = found else { return };
        assert_eq!(found.fetch, noted.fetch, "{what}");
        for (age, page) in (0..).zip(&found.pages) {
            let same = noted.pages.iter().find(|same| same.id == page.id).unwrap();
            assert_eq!(page.age, age, "{what}: a page before it is missing");
            assert!(page == same || *page == PageState { spooled: None, ..same.clone() }, "{what}: {page:?}");
        }
    }

    /// A flipped bit made another number of an age or a time, and pages were missing or asked for at wrong times.
    #[test]
    fn a_byte_that_was_altered_is_never_taken_for_what_was_noted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        let noted = some_pages(&path);
        let file = path.join(FILE);
        let whole = fs::read(&file).unwrap();
        let first_line = whole.iter().position(|byte| *byte == b'\n').unwrap();
        for at in 0..whole.len() {
            let mut altered = whole.clone();
            altered[at] ^= 1 << (at % 8);
            fs::write(&file, &altered).unwrap();
            let found = read(&path).unwrap();
            check_read(found.as_ref(), &noted, &format!("byte {at}"));
            let kept = found.map_or(0, |found| found.pages.len());
            // Without its break, a line takes the next one with it.
            let is_of_one_line = at >= first_line && whole[at] != b'\n';
            assert!(kept >= 5 || !is_of_one_line, "byte {at}: {kept}");
        }
        for length in 0..whole.len() {
            fs::write(&file, &whole[..length]).unwrap();
            check_read(read(&path).unwrap().as_ref(), &noted, &format!("the first {length} bytes"));
        }
        let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
        for gone in 0..lines.len() {
            let left = [&lines[..gone], &lines[gone + 1..]].concat();
            fs::write(&file, left.concat()).unwrap();
            check_read(read(&path).unwrap().as_ref(), &noted, &format!("without line {gone}"));
        }
    }

    #[test]
    fn pages_that_were_forgotten_do_not_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        some_pages(&path);
        let mut checkpoint = Checkpoint::open(path.clone(), identity()).unwrap();
        checkpoint.start_over().unwrap();
        ask(&mut checkpoint, 0, None, None);
        drop(checkpoint);
        assert_eq!(read(&path).unwrap().unwrap().pages.len(), 1);
    }

    #[test]
    fn what_an_earlier_version_left_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        fs::create_dir(&path).unwrap();
        let fetch = serde_json::to_string(&identity()).unwrap();
        let page = r#"{"id":0,"age":0,"end":null,"nextEnd":null,"settled":null,"spooled":null}"#;
        let line = format!("{{\"version\":1,\"fetch\":{fetch},\"parts\":[],\"pages\":[{page}]}}\n");
        fs::write(path.join(FILE), line).unwrap();
        let mut checkpoint = Checkpoint::open(path.clone(), identity()).unwrap();
        assert!(checkpoint.pages().is_empty());
        ask(&mut checkpoint, 0, None, None);
        let state = checkpoint.state.clone();
        drop(checkpoint);
        assert_eq!(read(&path).unwrap(), Some(state));
    }
}
