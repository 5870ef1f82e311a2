//! The number of records according to the service.

use runlog_client::{Client, ErrorKind, LiveQuery};
use runlog_model::{RecordOrder, RunId, TimeRange};

/// The number of records of a run in a range, from the live endpoint of the service; none if there is no log.
///
/// A service need not report the number of records in a range, but only that of the whole log. Then the number is found
/// by the positions at which the range has a record, with about two requests for each doubling of the number.
pub(crate) async fn count(client: &Client, run_id: RunId, range: TimeRange) -> runlog_client::Result<Option<u64>> {
    let at = async |start_index| {
        let query = LiveQuery { range, order: RecordOrder::Desc, start_index, count: 1 };
        client.live_page(run_id, &query).await
    };
    let page = match at(0).await {
        Ok(page) => page,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if let Some(filtered) = page.filtered {
        return Ok(Some(filtered));
    }
    if range == TimeRange::ALL || page.total == 0 {
        return Ok(Some(page.total));
    }
    if page.records.is_empty() {
        return Ok(Some(0));
    }
    // At least and at most so many records. The steps double until they are beyond the last one, as most ranges are a
    // small part of the log.
    let (mut least, mut most, mut is_beyond) = (1, page.total, false);
    while least < most {
        let position = if is_beyond { least + (most - least) / 2 } else { (2 * least - 1).min(most - 1) };
        if at(position).await?.records.is_empty() {
            (most, is_beyond) = (position, true);
        } else {
            least = position + 1;
        }
    }
    Ok(Some(least))
}
