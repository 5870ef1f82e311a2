//! The folder of an archive is for its owner alone: the catalog holds the keys that sign tokens and links, and the objects
//! hold the logs.

use std::path::Path;

use tracing::{info, warn};

/// Takes from others what rights they have on a folder or a file of the archive, and says so. A file system that knows no
/// such rights, and a folder of another owner, are left as they are; the log names the latter.
pub(crate) fn restrict_permissions(path: &Path) {
    #[cfg(unix)]
    {
        use std::fs::Permissions;
        use std::os::unix::fs::PermissionsExt;

        let Ok(found) = std::fs::metadata(path) else { return };
        let mode = found.permissions().mode();
        if mode & 0o077 == 0 {
            return;
        }
        let private = mode & 0o7700;
        match std::fs::set_permissions(path, Permissions::from_mode(private)) {
            Ok(()) => {
                info!(path = %path.display(), "other users could get at {}: it is for its owner alone now", path.display())
            }
            Err(error) => warn!(
                %error, path = %path.display(),
                "other users can get at {}, and its rights cannot be changed: set them to 0700", path.display()
            ),
        }
    }
    #[cfg(not(unix))]
    let _ = path;
}

/// Makes a folder with those above it that lack, for its owner alone.
pub(crate) fn create_private_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    restrict_permissions(folder);
    Ok(())
}
