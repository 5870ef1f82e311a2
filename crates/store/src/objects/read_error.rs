//! Classification of read errors: the object store is unavailable, or a single object cannot be read.

use std::io;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, Result};
use runlog_model::{causes, error_chain};
use tracing::warn;

use crate::error::{Error, ErrorKind};

/// An object that never exists.
const ABSENT_KEY: &str = "probe/absent";

/// Returns the error of a failed read. The kind is `Corrupt` if the object store responds but cannot return this
/// object, for example because of a bad sector, a file of another owner, or an object that was moved to an archive
/// tier. Otherwise, a single such object would look like a permanent outage to all work that waits for the object
/// store.
pub(crate) async fn read_error(objects: &Arc<dyn ObjectStore>, error: object_store::Error) -> Error {
    if is_object_error(objects, &error).await {
        return Error::caused(ErrorKind::Corrupt, "it cannot be read, although the object store answers", error);
    }
    error.into()
}

/// Returns true for the error of a request that the object store rejects for this object although it serves other
/// objects.
pub(crate) async fn is_object_error(objects: &Arc<dyn ObjectStore>, error: &object_store::Error) -> bool {
    is_of_one_object(error)
        && matches!(objects.head(&Path::from(ABSENT_KEY)).await, Err(object_store::Error::NotFound { .. }))
}

/// Lists the objects below a prefix. Files of a folder whose metadata cannot be read are logged and skipped.
pub(crate) fn listed(objects: &Arc<dyn ObjectStore>, prefix: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
    let without_unreadable = |item: Result<ObjectMeta>| async {
        match item {
            Err(error) if is_permanent_file_error(&error) == Some(true) => {
                warn!(error = error_chain(&error), "a file among the objects cannot be listed, and is left out");
                None
            }
            item => Some(item),
        }
    };
    objects.list(Some(prefix)).filter_map(without_unreadable).boxed()
}

/// Returns true for permanent errors that may concern a single object only.
fn is_of_one_object(error: &object_store::Error) -> bool {
    is_permanent_file_error(error).unwrap_or(matches!(error, object_store::Error::PermissionDenied { .. }))
}

/// Returns true for permanent errors of a file, false for transient ones; `None` if the error is not an error of a
/// file.
fn is_permanent_file_error(error: &object_store::Error) -> Option<bool> {
    let cause = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>())?;
    // An error without an OS error number does not originate from the kernel but from a library, for example a
    // connection error.
    Some(cause.raw_os_error().is_some() && !is_transient(cause))
}

fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, NetworkDown,
        NetworkUnreachable, NotConnected, OutOfMemory, QuotaExceeded, ResourceBusy, StaleNetworkFileHandle,
        StorageFull, TimedOut, WouldBlock,
    };
    /// Too many open files, of the process or of the system: `EMFILE`, `ENFILE`.
    const TOO_MANY_FILES: [i32; 2] = [24, 23];
    let kinds = [
        ConnectionAborted,
        ConnectionRefused,
        ConnectionReset,
        HostUnreachable,
        Interrupted,
        NetworkDown,
        NetworkUnreachable,
        NotConnected,
        OutOfMemory,
        QuotaExceeded,
        ResourceBusy,
        StaleNetworkFileHandle,
        StorageFull,
        TimedOut,
        WouldBlock,
    ];
    kinds.contains(&error.kind()) || error.raw_os_error().is_some_and(|number| TOO_MANY_FILES.contains(&number))
}

#[cfg(test)]
mod tests {
    use object_store::local::LocalFileSystem;

    use super::*;

    async fn kind_of_error(objects: &Arc<dyn ObjectStore>, key: &str) -> ErrorKind {
        let error = objects.get(&Path::from(key)).await.unwrap_err();
        read_error(objects, error).await.kind()
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_damage_and_a_folder_that_cannot_be_is_an_outage() {
        let folder = tempfile::tempdir().unwrap();
        let objects: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
        objects.put(&Path::from("a/good"), "text".into()).await.unwrap();
        // A symbolic link to itself cannot be read by any user, not even by root.
        std::os::unix::fs::symlink(folder.path().join("a/loop"), folder.path().join("a/loop")).unwrap();
        assert_eq!(kind_of_error(&objects, "a/loop").await, ErrorKind::Corrupt);
        assert_eq!(kind_of_error(&objects, "a/absent").await, ErrorKind::Corrupt);
        // Now the folder of the whole store cannot be read.
        std::fs::remove_dir_all(folder.path()).unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path()).unwrap();
        assert_eq!(kind_of_error(&objects, "a/good").await, ErrorKind::Unavailable);
        std::fs::remove_file(folder.path()).unwrap();
    }

    #[test]
    fn errors_that_pass_are_of_no_object() {
        let of =
            |source: io::Error| object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(source) };
        assert!(is_of_one_object(&of(io::Error::from_raw_os_error(5))), "EIO");
        assert!(is_of_one_object(&of(io::Error::from_raw_os_error(13))), "EACCES");
        assert!(!is_of_one_object(&of(io::Error::from_raw_os_error(24))), "EMFILE");
        assert!(!is_of_one_object(&of(io::Error::from_raw_os_error(110))), "ETIMEDOUT");
        assert!(!is_of_one_object(&of(io::Error::other("the connection was closed"))));
        let denied = object_store::Error::PermissionDenied { path: "a".to_owned(), source: "403 Forbidden".into() };
        assert!(is_of_one_object(&denied));
    }
}
