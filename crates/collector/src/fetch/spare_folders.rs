//! Folders of completed fetches, kept for reuse.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use runlog_store::BackgroundThreads;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::checkpoint::Checkpoint;
use super::error::{FetchError, Result, storage};
use super::folder_lock::lock;

/// Maximum number of folders.
const SPARE_FOLDERS_MAX: usize = 16;
/// Prefix of the names of folders that are kept for reuse.
pub(crate) const SPARE: &str = "spare-";

/// Folders of completed fetches, kept for reuse: if many short logs are fetched, creating and removing files would be a
/// large part of the work.
#[derive(Debug)]
pub(crate) struct SpareFolders {
    kept: Mutex<Vec<PathBuf>>,
    named: AtomicU64,
    removals: TaskTracker,
    /// Threads on which folders are removed.
    threads: Arc<BackgroundThreads>,
}

impl SpareFolders {
    /// No folders yet.
    pub(crate) fn new(threads: Arc<BackgroundThreads>) -> Self {
        Self { kept: Mutex::default(), named: AtomicU64::new(0), removals: TaskTracker::new(), threads }
    }

    /// Renames one of the folders to this one, unless it exists.
    pub(crate) fn put_at(&self, folder: &Path) {
        let Some(spare) = self.kept().pop() else { return };
        if fs::rename(&spare, folder).is_err() && spare.exists() {
            self.kept().push(spare);
        }
    }

    /// Keeps the folder of a completed fetch, or removes it in the background if it is not worth keeping.
    pub(crate) fn take(&self, mut checkpoint: Checkpoint) {
        let number = self.named.fetch_add(1, Ordering::Relaxed);
        let spare = checkpoint.folder().with_file_name(format!("{SPARE}{}-{number}", std::process::id()));
        if self.kept().len() < SPARE_FOLDERS_MAX && checkpoint.retire(&spare) {
            // Its lock is released first.
            drop(checkpoint);
            self.kept().push(spare);
            return;
        }
        // This takes a while for hundreds of megabytes.
        let removal = self.removals.token();
        self.threads.spawn_blocking(move || {
            if let Err(error) = checkpoint.remove() {
                warn!(%error, "cannot remove pages of a landed run; the next collector will retry");
            }
            drop(removal);
        });
    }

    /// Waits until all removals are complete.
    pub(crate) async fn removed(&self) {
        self.removals.close();
        self.removals.wait().await;
    }

    /// Removes the folders.
    pub(crate) fn remove(&self) {
        for spare in std::mem::take(&mut *self.kept()) {
            // A folder that is left behind is removed when the next collector starts.
            let _ = fs::remove_dir_all(spare);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the folder of a fetch whose result is in place, but which ended before it could remove the folder; false if
/// a fetch is using it.
pub(crate) fn remove_left_over(folder: &Path) -> Result<bool> {
    match lock(folder) {
        Ok(_alone) => fs::remove_dir_all(folder).map_err(storage("remove", folder)).map(|()| true),
        Err(FetchError::OtherFetch { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::checkpoint::SPARE_BYTES_MAX;
    use super::super::fixtures::{ask, come, identity};
    use super::super::journal::{FILE, Identity, read};
    use super::*;

    /// Records a page with this number of bytes.
    fn page_of(checkpoint: &mut Checkpoint, id: u32, bytes: u64) {
        ask(checkpoint, id, Some("2023-11-14T22:13:21Z".to_owned()), None);
        let path = come(checkpoint, id, (0, 0), bytes);
        fs::write(path, vec![b' '; bytes as usize]).unwrap();
    }

    #[test]
    fn a_folder_that_was_used_before_tells_nothing_of_that() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        let spares = SpareFolders::new(Arc::new(BackgroundThreads::new().unwrap()));
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
        let state = checkpoint.state().clone();
        drop(checkpoint);
        let lines = fs::read_to_string(other.join(FILE)).unwrap().lines().count();
        assert_eq!(lines, 3, "the file begins anew");
        assert_eq!(read(&other).unwrap(), Some(state));

        // The folder of a fetch that will be resumed is kept.
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
        let spares = SpareFolders::new(Arc::new(BackgroundThreads::new().unwrap()));
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
}
