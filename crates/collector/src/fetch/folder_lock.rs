//! The lock of the folder of a fetch, which keeps other fetches out of it, in this process and in others.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;

use tracing::debug;

use super::error::{FetchError, Result, storage};

/// The file that is locked, because a folder cannot be.
const LOCK_FILE: &str = "lock";
/// The holder of this lock, or of a clone, may write into the folder.
pub(crate) type FolderLock = Arc<File>;

/// Locks a folder; fails if another fetch uses it.
pub(super) fn lock(folder: &Path) -> Result<FolderLock> {
    let of_folder = File::open(folder).map_err(storage("read", folder))?;
    let (file, locked) = match of_folder.try_lock() {
        // Some file systems can only lock files that are open for writing.
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
            let (what, next) = ("which is still running", "wait for it");
            return Err(FetchError::OtherFetch { path: folder.to_owned(), what, next });
        }
        // Not every file system supports locks.
        Err(TryLockError::Error(error)) => debug!(%error, "cannot lock {}", folder.display()),
    }
    Ok(Arc::new(file))
}
