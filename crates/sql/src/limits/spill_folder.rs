//! The folder for temporary files of queries: each engine has its own subfolder, which is deleted when the engine is
//! dropped.
//!
//! Files of a process that was killed remain until the next process removes them: a process holds a lock on its folder
//! while it is alive, so that a folder that can be locked is orphaned.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use runlog_store::permissions::create_private_folder;

/// The prefix of the name of a subfolder.
const PREFIX: &str = "questions-";

/// The name of the lock file in each subfolder and in the parent folder.
const LOCK: &str = "lock";

/// Makes the names of the subfolders of one process unique.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// The subfolder of one engine, removed when the engine is dropped.
#[derive(Debug)]
pub(crate) struct SpillFolder {
    path: PathBuf,
    _lock: File,
}

impl SpillFolder {
    /// Removes orphaned folders, and creates a new one.
    pub(crate) fn in_folder(folder: &Path) -> io::Result<Self> {
        create_private_folder(folder)?;
        // The lock prevents another process from removing the folder between its creation and its locking.
        let all = lock_file(folder)?;
        all.lock()?;
        remove_left(folder)?;
        let name = format!("{PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = folder.join(name);
        create_private_folder(&path)?;
        let lock = lock_file(&path)?;
        lock.lock()?;
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SpillFolder {
    fn drop(&mut self) {
        // Files that cannot be removed now are removed at the next start of a process.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn lock_file(folder: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).open(folder.join(LOCK))
}

fn remove_left(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        match lock_file(&entry.path())?.try_lock() {
            Ok(()) => fs::remove_dir_all(entry.path())?,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_with_their_process_and_those_of_killed_ones_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join("questions-1-0");
        fs::create_dir_all(left.join("datafusion-x")).unwrap();
        fs::write(left.join("datafusion-x/spilled"), "x").unwrap();
        fs::write(folder.path().join("of somebody else"), "x").unwrap();
        let first = SpillFolder::in_folder(folder.path()).unwrap();
        fs::write(first.path().join("spilled"), "x").unwrap();
        let second = SpillFolder::in_folder(folder.path()).unwrap();
        assert_ne!(first.path(), second.path());
        assert!(!left.exists() && folder.path().join("of somebody else").exists());
        assert!(first.path().join("spilled").exists(), "it is held");
        let path = first.path().to_owned();
        drop(first);
        assert!(!path.exists() && second.path().exists());
    }
}
