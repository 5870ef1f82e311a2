//! The number of records according to the service.

use runlog_client::{Client, ErrorKind, LiveQuery};
use runlog_model::{RecordOrder, RunId, TimeRange};

/// The number of records of a run in a range, from the live endpoint of the service; 0 if there is no log.
pub(crate) async fn count(client: &Client, run_id: RunId, range: TimeRange) -> runlog_client::Result<u64> {
    let query = LiveQuery { range, order: RecordOrder::Desc, start_index: 0, count: 1 };
    match client.live_page(run_id, &query).await {
        Ok(page) => Ok(page.filtered.unwrap_or(page.total)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}
