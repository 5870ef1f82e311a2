//! The folders of demonstrations: each has its own, which stays when it ends.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::exit::Outcome;
use crate::render::terminal::{bytes, counted, note, result_line};
use crate::system::private_temporary_folder;

/// The beginning of the names of the folders.
const PREFIX: &str = "runlog-demo-";

/// The file that is locked while a demonstration runs.
const LOCK: &str = "in-use";

/// The folder of this demonstration. It is kept when this is dropped, and may be removed from then on.
pub(super) struct DemoFolder {
    path: PathBuf,
    _lock: File,
}

impl DemoFolder {
    /// Makes a new one.
    pub(super) fn create() -> Outcome<Self> {
        let path = private_temporary_folder(PREFIX)?.keep();
        let lock = File::create(path.join(LOCK)).context("cannot write to the temporary folder")?;
        lock.lock().context("cannot lock the temporary folder")?;
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Removes the folders of demonstrations that have ended.
pub(super) fn remove_old() -> Outcome {
    let place = std::env::temp_dir();
    let (mut removed, mut freed) = (0, 0);
    for entry in std::fs::read_dir(&place).with_context(|| format!("cannot read {}", place.display()))?.flatten() {
        let path = entry.path();
        // A link is not followed: another user may have created it.
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_folder || !entry.file_name().to_string_lossy().starts_with(PREFIX) || !path.join("data").is_dir() {
            continue;
        }
        if let Ok(lock) = File::open(path.join(LOCK))
            && let Err(TryLockError::WouldBlock) = lock.try_lock()
        {
            note(format!("{} is in use by a demonstration that is running", path.display()));
            continue;
        }
        let size = size(&path);
        match std::fs::remove_dir_all(&path) {
            Ok(()) => {
                removed += 1;
                freed += size;
            }
            Err(error) => note(format!("cannot remove {}: {error}", path.display())),
        }
    }
    Ok(result_line(format!(
        "removed {} from {}, {}",
        counted(removed, "demonstration"),
        place.display(),
        bytes(freed)
    ))?)
}

/// Bytes of the files in a folder.
pub(super) fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
