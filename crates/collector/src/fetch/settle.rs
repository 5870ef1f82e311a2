//! Waits until a run has ended and its log has settled.

use std::time::Duration;

use runlog_client::{Client, Execution};

use super::error::Result;
use super::progress::{FetchEvent, Progress};
use super::request::FetchRequest;

/// The pause between the first two requests for the status of the run.
const ASK_AGAIN_FIRST: Duration = Duration::from_secs(2);
/// The longest pause between two requests.
const ASK_AGAIN_MAX: Duration = Duration::from_secs(30);

/// Returns the run once it has ended and this time has passed since.
pub(crate) async fn when_settled(
    client: &Client,
    request: &FetchRequest,
    settle: Duration,
    progress: &dyn Progress,
) -> Result<Execution> {
    let mut pause = ASK_AGAIN_FIRST;
    let mut known = request.known.clone().filter(Execution::is_final);
    let run = loop {
        let run = match known.take() {
            Some(run) => run,
            None => client.execution(request.run_id).await?,
        };
        if run.is_final() {
            break run;
        }
        progress.report(FetchEvent::RunGoesOn(&run.status_text));
        client.sleep(pause).await;
        pause = (pause * 3 / 2).min(ASK_AGAIN_MAX);
    };
    // A run that never started has no end; the time of its trigger is used instead.
    if let Some(ended) = run.finished_at.or(run.started_at).or(run.triggered_at) {
        let passed = client.clock().now().millis_since(client.in_own_time(ended)).max(0).unsigned_abs();
        let left = u64::try_from(settle.as_millis()).unwrap_or(u64::MAX).saturating_sub(passed);
        if left > 0 {
            progress.report(FetchEvent::Settling(left));
            client.sleep(Duration::from_millis(left)).await;
        }
    }
    Ok(run)
}
