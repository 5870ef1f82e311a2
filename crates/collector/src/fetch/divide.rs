//! Divides a log into parts that can be requested in parallel, if requesting one page after another is slow.
//!
//! The end of each page is in the response to its request, so pages are requested sequentially. This is no problem for
//! a service that responds immediately and builds the page later, but for one that responds slowly. Its live endpoint
//! reports times at which the log can be cut: those of the records at certain positions. If a response is not as
//! expected, the log is not divided.

use std::time::Duration;

use futures::future::try_join_all;
use runlog_client::{Client, LiveQuery, RequestedPage};
use runlog_model::{RecordOrder, TimeRange, Timestamp};
use tracing::debug;

use super::journal::Part;
use super::request::FetchRequest;

/// Minimum response time at which dividing is worth its requests.
const SLOW: Duration = Duration::from_millis(500);
/// Maximum number of records per page, unless the service reports smaller pages.
const PAGE_RECORDS: u64 = 100_000;
/// Minimum and maximum number of parts.
const PARTS: std::ops::RangeInclusive<u64> = 3..=1_000;

/// The parts of the log before the first page, newest first; none if dividing is not worthwhile or not possible.
pub(crate) async fn divide(
    client: &Client,
    request: &FetchRequest,
    first: &RequestedPage,
    may_divide: bool,
) -> Option<Vec<Part>> {
    let next_end = first.page.next_end.as_ref()?;
    if !may_divide || first.page.took < SLOW || request.pages_in_flight < 2 {
        return None;
    }
    let range = TimeRange { start: request.range.start, end: Some(next_end.parse().ok()?) };
    // Somewhat fewer than a page contains, so that one page is sufficient although parts are cut at whole seconds. If
    // the service reports bytes instead, the number is larger.
    let part_records = (first.page.size.unwrap_or(u64::MAX).min(PAGE_RECORDS) * 9 / 10).max(1);
    let cuts = match cuts(client, request, range, part_records).await {
        Ok(cuts) => cuts?,
        Err(error) => {
            debug!(%error, "the log cannot be divided; its pages are requested sequentially");
            return None;
        }
    };
    let starts = cuts.iter().copied().map(Some).chain([None]);
    let ends = [next_end.clone()].into_iter().chain(cuts.iter().map(|cut| cut.to_api_text()));
    Some(ends.zip(starts).map(|(end, start)| Part { start, end }).collect())
}

/// The times at which the log is cut, newest first.
async fn cuts(
    client: &Client,
    request: &FetchRequest,
    range: TimeRange,
    part_records: u64,
) -> runlog_client::Result<Option<Vec<Timestamp>>> {
    let ask = async |start_index| {
        let query = LiveQuery { range, order: RecordOrder::Desc, start_index, count: 1 };
        client.live_page(request.run_id, &query).await
    };
    let newest = ask(0).await?;
    let parts = newest.filtered.unwrap_or(newest.total).div_ceil(part_records);
    if !PARTS.contains(&parts) {
        return Ok(None);
    }
    let pages = try_join_all((1..parts).map(|part| ask(part * part_records))).await?;
    let times: Option<Vec<Timestamp>> =
        pages.iter().map(|page| page.records.first().map(|record| record.time.floor_to_second())).collect();
    let go_back = |times: &Vec<Timestamp>| {
        times.first().zip(range.end).is_some_and(|(first, end)| *first < end)
            && times.windows(2).all(|pair| pair[1] < pair[0])
    };
    Ok(times.filter(go_back))
}
