//! What is still done after the program was told to stop, and for how long.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// How long work that is ending waits for the archive to take note of it; others find out by themselves later.
const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(5);

/// Waits for a note to the archive for as long as a shutdown may take; an archive that does not answer by then is not
/// waited for.
pub(crate) async fn with_shutdown_timeout(
    note: impl Future<Output = runlog_store::Result<()>>,
) -> runlog_store::Result<()> {
    tokio::time::timeout(SHUTDOWN_TIME_MAX, note).await.unwrap_or(Ok(()))
}

/// Waits for a note to the archive; from `stop` on, for as long as a shutdown may take.
pub(crate) async fn until_shutdown(
    note: impl Future<Output = runlog_store::Result<()>>,
    stop: &CancellationToken,
) -> runlog_store::Result<()> {
    tokio::select! { noted = note => noted, () = shutdown_is_over(stop) => Ok(()) }
}

/// Waits until `stop`, and then for as long as a shutdown may take.
pub(crate) async fn shutdown_is_over(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(SHUTDOWN_TIME_MAX).await;
}
