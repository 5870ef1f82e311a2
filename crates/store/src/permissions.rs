//! The folder of an archive is accessible to its owner only: the catalog holds the keys that sign tokens and links,
//! and the objects hold the logs.

use std::path::Path;

use tracing::{info, warn};

/// Removes the permissions of others on a folder or file of the archive, and logs that. A file system without
/// permissions, and a folder of another owner, are left as they are; the latter is logged.
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

/// Creates a folder and its missing parents, accessible to its owner only.
pub(crate) fn create_private_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)?;
    restrict_permissions(folder);
    Ok(())
}
