//! The lock of the folder of a fetch, which keeps other fetches out of it, in this process and in others.

use std::fs::TryLockError;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runlog_model::planted;
use tracing::debug;

use super::error::{FetchError, Result, storage};
use crate::sync::fs::{File, metadata};

/// The file that is locked, because a folder cannot be.
const LOCK_FILE: &str = "lock";
/// The holder of this lock, or of a clone, may write into the folder.
pub(crate) type FolderLock = Arc<File>;

/// Locks a folder; fails if another fetch uses it.
pub(super) fn lock(folder: &Path) -> Result<FolderLock> {
    loop {
        let (file, path) = open_and_lock(folder)?;
        // The fetch that had the lock may have renamed the folder before it released it.
        if planted::is("renamed-folder-locked") || is_at(&file, &path).map_err(storage("read", &path))? {
            return Ok(Arc::new(file));
        }
    }
}

/// True if no task that has a clone of the lock may still write into the folder.
pub(super) fn is_alone(lock: &mut FolderLock) -> bool {
    planted::is("folder-reused-while-written") || Arc::get_mut(lock).is_some()
}

/// Opens and locks a folder, or a file in it; returns its path as well.
fn open_and_lock(folder: &Path) -> Result<(File, PathBuf)> {
    let of_folder = File::open(folder).map_err(storage("read", folder))?;
    let (file, path, locked) = match of_folder.try_lock() {
        // Some file systems can only lock files that are open for writing.
        Err(TryLockError::Error(_)) => {
            let path = folder.join(LOCK_FILE);
            let file = File::create(&path).map_err(storage("write", &path))?;
            let locked = file.try_lock();
            (file, path, locked)
        }
        locked => (of_folder, folder.to_owned(), locked),
    };
    match locked {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let (what, next) = ("which is still running", "wait for it");
            return Err(FetchError::OtherFetch { path: folder.to_owned(), what, next });
        }
        // Not every file system supports locks.
        Err(TryLockError::Error(error)) => debug!(%error, "cannot lock {}", folder.display()),
    }
    Ok((file, path))
}

/// True if this path still leads to the file.
fn is_at(file: &File, path: &Path) -> std::io::Result<bool> {
    let (opened, found) = (file.metadata()?, metadata(path)?);
    Ok((opened.dev(), opened.ino()) == (found.dev(), found.ino()))
}
