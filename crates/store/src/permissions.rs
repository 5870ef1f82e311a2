//! The files of an archive are accessible to their owner only: the catalog holds the keys that sign tokens and links,
//! and the objects hold the logs. Files requested by a user, such as the files of a sink, have the permissions given by
//! the user's umask.
//!
//! Groups have no access either: authorized users read logs through the API, which checks rights and keeps an audit
//! log.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::Mode;
use tracing::{info, warn};

/// The files and folders of Runlog in a data folder.
const PARTS: [&str; 8] = [
    "catalog.sqlite",
    "catalog.sqlite-wal",
    "catalog.sqlite-shm",
    "catalog.lock",
    "objects",
    "admin.token",
    "collecting",
    "sql",
];

/// The permission bits of everyone but the owner.
const OTHERS: u32 = 0o077;

/// The umask of the user, before [`keep_files_private`] changed it.
static USER_UMASK: OnceLock<u32> = OnceLock::new();

/// Makes all files and folders that this process creates from now on accessible to their owner only.
///
/// Use [`share_output`] to give a file requested by the user the permissions of the user's umask.
pub fn keep_files_private() {
    let before = rustix::process::umask(Mode::from_raw_mode(OTHERS));
    let _ = USER_UMASK.set(before.as_raw_mode() & 0o777);
}

/// Gives a file or folder requested by the user the permissions of the user's umask.
pub fn share_output(path: &Path) -> io::Result<()> {
    let Some(umask) = USER_UMASK.get() else { return Ok(()) };
    let all = if fs::metadata(path)?.is_dir() { 0o777 } else { 0o666 };
    fs::set_permissions(path, Permissions::from_mode(all & !umask))
}

/// Creates a folder requested by the user and its missing parents, each with the permissions of the user's umask.
pub fn create_output_folder(folder: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|path| !path.exists()).collect();
    fs::create_dir_all(folder)?;
    missing.into_iter().filter(|path| !path.as_os_str().is_empty()).try_for_each(share_output)
}

/// Creates a private folder and its missing parents, accessible to their owner only. Restricts the permissions of an
/// existing folder.
pub fn create_private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    restrict(folder);
    Ok(())
}

/// Opens a file for writing, and creates it with access for its owner only if it does not exist.
pub(crate) fn open_private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)
}

/// Creates the data folder of an archive, and restricts the permissions of files that an earlier version left in it.
///
/// A folder that also contains other files, such as `/tmp`, keeps its permissions: only the parts of the archive are
/// restricted.
pub(crate) fn create_data_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    PARTS.iter().for_each(|part| restrict(&folder.join(part)));
    if is_for_archive_only(folder)? {
        restrict(folder);
    }
    Ok(())
}

fn is_for_archive_only(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        // `lost+found` exists in the root of a file system; files beginning with `.tmp` are temporary files of Runlog.
        if !PARTS.contains(&&*name) && name != "lost+found" && !name.starts_with(".tmp") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Removes the permissions of others on a file or folder, and logs that. Paths that do not exist and file systems
/// without permissions are left unchanged; files of another user are left unchanged with a warning.
fn restrict(path: &Path) {
    let Some(mode) = mode_of(path).filter(|mode| mode & OTHERS != 0) else { return };
    match fs::set_permissions(path, Permissions::from_mode(mode & !OTHERS)) {
        Ok(()) => info!(
            path = %path.display(),
            "other users could access {} (mode {mode:04o}); only its owner can now", path.display()
        ),
        Err(error) => warn!(
            %error, path = %path.display(),
            "other users can access {} (mode {mode:04o}), and this user cannot change that; as its owner, run chmod go= {}",
            path.display(), path.display()
        ),
    }
}

fn mode_of(path: &Path) -> Option<u32> {
    fs::metadata(path).ok().map(|found| found.permissions().mode() & 0o7777)
}

/// How other users of the machine can access an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessByOthers {
    /// Others can read or write this file or folder.
    Open {
        /// The part of the archive, or the data folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The data folder or a part of it belongs to another user, who can access it at any time.
    Owned {
        /// The part of the archive, or the data folder.
        path: PathBuf,
        /// The user ID of its owner.
        owner: u32,
    },
}

/// Returns the first way in which other users can access the archive in a data folder.
///
/// The contents of a folder without access for others are protected, whatever their own permissions are. A folder that
/// others can only list is not reported if all parts of the archive in it are private.
pub fn access_by_others(folder: &Path) -> Option<AccessByOthers> {
    let this_user = rustix::process::geteuid().as_raw();
    let of_other = |path: &Path| {
        let owner = fs::metadata(path).ok().map(|found| found.uid()).filter(|owner| ![this_user, 0].contains(owner));
        owner.map(|owner| AccessByOthers::Owned { path: path.to_owned(), owner })
    };
    let mode = mode_of(folder)?;
    let parts = PARTS.map(|part| folder.join(part));
    if mode & OTHERS != 0 {
        let open = parts.iter().find_map(|path| Some((path, mode_of(path).filter(|mode| mode & OTHERS != 0)?)));
        if let Some((path, mode)) = open {
            return Some(AccessByOthers::Open { path: path.clone(), mode });
        }
        // Users with write access to a folder can replace the files in it, unless its sticky bit is set.
        if mode & 0o022 != 0 && mode & 0o1000 == 0 {
            return Some(AccessByOthers::Open { path: folder.to_owned(), mode });
        }
    }
    of_other(folder).or_else(|| parts.iter().find_map(|path| of_other(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        for name in names {
            fs::write(folder.path().join(name), "").unwrap();
            fs::set_permissions(folder.path().join(name), Permissions::from_mode(0o644)).unwrap();
        }
        folder
    }

    fn modes(folder: &tempfile::TempDir, names: &[&str]) -> Vec<u32> {
        names.iter().filter_map(|name| mode_of(&folder.path().join(name))).collect()
    }

    #[test]
    fn a_folder_with_nothing_else_becomes_private_with_all_its_parts() {
        let folder = folder_with(&["catalog.sqlite", "catalog.sqlite-wal", "admin.token"]);
        let open = access_by_others(folder.path());
        assert_eq!(open, Some(AccessByOthers::Open { path: folder.path().join("catalog.sqlite"), mode: 0o644 }));
        create_data_folder(folder.path()).unwrap();
        assert_eq!(
            modes(&folder, &["", "catalog.sqlite", "catalog.sqlite-wal", "admin.token"]),
            [0o700, 0o600, 0o600, 0o600]
        );
        assert_eq!(access_by_others(folder.path()), None);
    }

    /// A service started on `/tmp` by mistake must not make it inaccessible to everyone else.
    #[test]
    fn a_folder_with_other_things_keeps_its_permissions_and_those_of_the_other_things() {
        let folder = folder_with(&["catalog.sqlite", "letter.txt"]);
        create_data_folder(folder.path()).unwrap();
        assert_eq!(modes(&folder, &["", "catalog.sqlite", "letter.txt"]), [0o755, 0o600, 0o644]);
        assert_eq!(access_by_others(folder.path()), None);
        fs::set_permissions(folder.path(), Permissions::from_mode(0o775)).unwrap();
        let open = AccessByOthers::Open { path: folder.path().to_owned(), mode: 0o775 };
        assert_eq!(access_by_others(folder.path()), Some(open));
    }

    #[test]
    fn a_link_to_a_folder_is_the_folder() {
        let (folder, elsewhere) = (folder_with(&["catalog.sqlite"]), tempfile::tempdir().unwrap());
        let link = elsewhere.path().join("data");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        assert!(access_by_others(&link).is_some());
        create_data_folder(&link).unwrap();
        assert_eq!(modes(&folder, &["", "catalog.sqlite"]), [0o700, 0o600]);
    }
}
