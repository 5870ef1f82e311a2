//! What the service itself counts.

use runlog_client::{Client, ErrorKind, LiveQuery};
use runlog_model::{RecordOrder, RunId, TimeRange};

/// Records of a run's log in a range, by the service's live endpoint. A log that does not exist has none.
pub(crate) async fn count(client: &Client, run_id: RunId, range: TimeRange) -> runlog_client::Result<u64> {
    let query = LiveQuery { range, order: RecordOrder::Desc, start_index: 0, count: 1 };
    match client.live_page(run_id, &query).await {
        Ok(page) => Ok(page.filtered.unwrap_or(page.total)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}
