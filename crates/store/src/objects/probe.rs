//! Probes: objects that are written and removed immediately to check that the object store works.

use std::sync::Arc;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Result};
use crate::limits;

/// Runs an operation on a probe, and then removes the probe regardless of the result: a write may have been applied
/// even if it failed, because only its response was lost.
pub(crate) async fn with_probe<T>(
    objects: &Arc<dyn ObjectStore>,
    probe: &Path,
    look: impl Future<Output = object_store::Result<T>>,
    stop: &CancellationToken,
) -> Result<T> {
    let mut look = std::pin::pin!(look);
    let looked = tokio::select! {
        looked = &mut look => looked.map_err(Error::from),
        () = stop.cancelled() => {
            // Wait for the operation: a pending write could otherwise complete after the removal.
            let _ = tokio::time::timeout(limits::PROBE_REMOVAL, look).await;
            Err(Error::new(ErrorKind::Unavailable, "the check was cancelled"))
        }
    };
    let deleted = tokio::time::timeout(limits::PROBE_REMOVAL, objects.delete(probe)).await;
    let found = looked?;
    match deleted {
        Ok(deleted) => deleted?,
        Err(_) => {
            return Err(Error::new(ErrorKind::Unavailable, format!("the object {probe} was not removed in time")));
        }
    }
    Ok(found)
}
