//! Work that is completed during a shutdown, and for how long.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// How long a shutdown waits to record its state in the archive. Without it, other nodes take over when leases expire.
const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(5);

/// Waits for a write to the archive, at most for as long as a shutdown may take.
pub(crate) async fn with_shutdown_timeout(
    note: impl Future<Output = runlog_store::Result<()>>,
) -> runlog_store::Result<()> {
    tokio::time::timeout(SHUTDOWN_TIME_MAX, note).await.unwrap_or(Ok(()))
}

/// Waits for a write to the archive; after `stop`, at most for as long as a shutdown may take.
pub(crate) async fn until_shutdown(
    note: impl Future<Output = runlog_store::Result<()>>,
    stop: &CancellationToken,
) -> runlog_store::Result<()> {
    tokio::select! { noted = note => noted, () = shutdown_is_over(stop) => Ok(()) }
}

/// Waits for `stop`, and then for as long as a shutdown may take.
pub(crate) async fn shutdown_is_over(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(SHUTDOWN_TIME_MAX).await;
}
