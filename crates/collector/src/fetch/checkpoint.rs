//! The state of a fetch and its pages, in a folder beside the output. It contains neither tokens nor links.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{ErrorKind, Seek, Write};
use std::path::{Path, PathBuf};

use runlog_client::reconcile::SpooledPage;
use runlog_client::{GeneratedPage, PageRequest};
use runlog_store::permissions::create_private_folder;
use tracing::warn;

use super::error::{Result, storage};
use super::folder_lock::{FolderLock, is_alone, lock};
use super::journal::{FILE, Identity, Line, PART_AGES, PageState, Part, State, checked, read, same};

/// Maximum size and number of the page files in a folder that is kept for reuse.
pub(super) const SPARE_BYTES_MAX: u64 = 1 << 20;
const SPARE_CHUNKS_MAX: usize = 2;

/// A folder with pages, and the state of the fetch.
pub(crate) struct Checkpoint {
    folder: PathBuf,
    state: State,
    /// The journal, open for the next line; none before the first line, and after a failed write.
    file: Option<File>,
    /// Keeps other fetches out of the folder, in this process and in others.
    lock: Option<FolderLock>,
    /// Deletes the folder at the end, if it is temporary.
    _temporary: Option<tempfile::TempDir>,
}

impl Checkpoint {
    /// Opens the folder of a fetch, new or from an earlier attempt.
    pub(crate) fn open(folder: PathBuf, fetch: Identity) -> Result<Self> {
        if let Some(parent) = folder.parent() {
            fs::create_dir_all(parent).map_err(storage("make", &folder))?;
        }
        create_private_folder(&folder).map_err(storage("make", &folder))?;
        let lock = Some(lock(&folder)?);
        let mut state = match read(&folder)? {
            Some(state) => same(state, &fetch, &folder)?,
            None => State::new(fetch),
        };
        let mut lost = 0;
        for page in &mut state.pages {
            // The files of a page are written before it is recorded. Still, a crash of the machine may have lost some,
            // and a disk may have altered them.
            lost += usize::from(page.spooled.take_if(|spooled| !spooled.is_on_disk(&folder)).is_some());
        }
        if lost > 0 {
            warn!("{}: {lost} pages are missing or damaged on disk, and are fetched again", folder.display());
        }
        Ok(Self { folder, state, file: None, lock, _temporary: None })
    }

    /// The checkpoint of a fetch that cannot be resumed, because its output is a pipe.
    pub(crate) fn temporary(fetch: Identity) -> Result<Self> {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        let temporary = tempfile::Builder::new().prefix("runlog-fetch-").permissions(private).tempdir();
        let temporary = temporary.map_err(storage("create a temporary folder in", &std::env::temp_dir()))?;
        let state = State::new(fetch);
        Ok(Self { folder: temporary.path().to_owned(), state, file: None, lock: None, _temporary: Some(temporary) })
    }

    /// The state of the fetch.
    #[cfg(test)]
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// The folder for page files.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The end time that was fixed when the fetch started.
    pub(crate) fn fixed_end(&self) -> Option<&str> {
        self.state.fetch.fixed_end.as_deref()
    }

    /// All requested pages.
    pub(crate) fn pages(&self) -> &[PageState] {
        &self.state.pages
    }

    /// The parts that are walked in parallel.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.state.parts
    }

    /// The part of a page with this age; none for the pages of the first walk.
    pub(crate) fn part_of(&self, age: u32) -> Option<&Part> {
        self.state.parts.get((age / PART_AGES).checked_sub(1)? as usize)
    }

    /// Records that the rest of the log is walked in parts.
    pub(crate) fn divided(&mut self, parts: Vec<Part>) -> Result<()> {
        self.state.parts = parts;
        let line = checked(&Line::Divided(Cow::Borrowed(&self.state.parts)));
        self.write(line)
    }

    /// The last page of the walk that a page with this age belongs to.
    pub(crate) fn last_of_walk(&self, age: u32) -> Option<&PageState> {
        self.walked().filter(|page| page.age / PART_AGES == age / PART_AGES).max_by_key(|page| page.age)
    }

    /// The pages on disk.
    pub(crate) fn spooled(&self) -> Vec<SpooledPage> {
        self.state.pages.iter().filter_map(|page| page.spooled.clone()).collect()
    }

    /// The pages of the walk, newest first, without those that were requested again.
    pub(crate) fn walked(&self) -> impl Iterator<Item = &PageState> {
        self.state.pages.iter().filter(|page| page.is_of_walk())
    }

    /// False if the service reported that the log may still grow.
    pub(crate) fn is_settled(&self) -> bool {
        self.walked().all(|page| page.settled != Some(false))
    }

    /// For tasks that write into the folder and may outlive this value.
    pub(crate) fn lock(&self) -> Option<FolderLock> {
        self.lock.clone()
    }

    /// Records that a page was requested.
    pub(crate) fn requested(&mut self, id: u32, age: u32, request: &PageRequest, page: &GeneratedPage) -> Result<()> {
        let (end, next_end) = (request.end.clone(), page.next_end.clone());
        let has_unnamed_next = page.has_unnamed_next();
        let page = PageState { id, age, end, next_end, has_unnamed_next, settled: page.settled, spooled: None };
        let line = checked(&page.line());
        self.state.pages.push(page);
        self.write(line)
    }

    /// Records the end time of the page after one that is on disk.
    pub(crate) fn found_next_end(&mut self, id: u32, next_end: String) -> Result<()> {
        let Some(page) = self.state.pages.iter_mut().rev().find(|page| page.id == id) else { return Ok(()) };
        page.next_end = Some(next_end);
        let line = checked(&page.line());
        self.write(line)
    }

    /// Records that a page is on disk.
    pub(crate) fn done(&mut self, spooled: SpooledPage) -> Result<()> {
        let Some(page) = self.state.pages.iter_mut().rev().find(|page| page.id == spooled.id) else { return Ok(()) };
        page.spooled = Some(spooled);
        let line = checked(&page.line());
        self.write(line)
    }

    /// Discards all pages, to fetch them again.
    pub(crate) fn start_over(&mut self) -> Result<()> {
        self.state.pages.clear();
        self.state.parts.clear();
        // The old journal must not be read again, so a new one is started.
        self.file = None;
        self.write(Ok(Vec::new()))
    }

    /// Moves the folder to another fetch, without any pages; false if it is not suitable.
    pub(super) fn retire(&mut self, to: &Path) -> bool {
        let chunks = || self.state.pages.iter().filter_map(|page| page.spooled.as_ref()).flat_map(|page| &page.chunks);
        let is_small =
            chunks().map(|chunk| chunk.bytes).sum::<u64>() <= SPARE_BYTES_MAX && chunks().count() <= SPARE_CHUNKS_MAX;
        // No other task may write into it any more.
        let is_alone = self.lock.as_mut().is_some_and(is_alone);
        let Some(file) = self.file.as_mut().filter(|_| is_small && is_alone) else { return false };
        // The files are not truncated: some file systems write truncated files to disk immediately when they are
        // closed.
        let emptied = file.rewind().and_then(|()| file.write_all(b"\n")).and_then(|()| file.set_len(1));
        emptied.and_then(|()| fs::rename(&self.folder, to)).is_ok()
    }

    /// Removes the folder, once the result is in place.
    pub(crate) fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.folder).map_err(storage("remove", &self.folder))
    }

    /// Appends a line for a change that is part of the state already.
    fn write(&mut self, line: serde_json::Result<Vec<u8>>) -> Result<()> {
        let path = self.folder.join(FILE);
        let write = || -> std::io::Result<()> {
            // Taken out, so that nothing is appended after a partially written line.
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

    /// Replaces the journal with these lines; until then, the old one is kept.
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

#[cfg(test)]
mod tests {
    use runlog_model::Timestamp;

    use super::super::fixtures::{ask, identity};
    use super::super::journal::{PageState, read};
    use super::*;

    /// With a walk of 25,000 pages, the file grew to gigabytes, and was resumed from page 9,999.
    #[test]
    fn a_checkpoint_grows_linearly_and_resumes_at_its_last_page() {
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

    /// The end time of the request for a page.
    fn end(age: u32) -> String {
        Timestamp::clamped(1_700_000_000_000 - i64::from(age) * 1_000).to_api_text()
    }

    /// A page without entries, which needs no file.
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

    /// A checkpoint with 6 pages, all of them on disk except the last.
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

    /// Whatever is read was recorded by this fetch.
    fn check_read(found: Option<&State>, noted: &State, what: &str) {
        let Some(found) = found else { return };
        assert_eq!(found.fetch, noted.fetch, "{what}");
        for (age, page) in (0..).zip(&found.pages) {
            let same = noted.pages.iter().find(|same| same.id == page.id).unwrap();
            assert_eq!(page.age, age, "{what}: a page before it is missing");
            assert!(page == same || *page == PageState { spooled: None, ..same.clone() }, "{what}: {page:?}");
        }
    }

    /// A flipped bit changed an age or a time, and pages were missing or requested with wrong times.
    #[test]
    fn an_altered_checkpoint_is_detected() {
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
            // Without its line break, a line takes the next one with it.
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
    fn a_checkpoint_of_an_earlier_version_is_discarded() {
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
