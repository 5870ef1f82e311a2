//! Two concurrent calls, the first of which is suspended at one of its await points; and calls that are dropped.

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

/// Time for which the second call runs alone. It is limited because the first call may hold a resource that the second
/// one waits for.
const ALONE: Duration = Duration::from_millis(20);

/// Polls a future at most this number of times.
async fn poll_times<F: Future>(polls: usize, mut future: Pin<&mut F>) -> Option<F::Output> {
    let mut left = polls;
    std::future::poll_fn(move |context| match left {
        0 => Poll::Ready(None),
        _ => {
            left -= 1;
            future.as_mut().poll(context).map(Some)
        }
    })
    .await
}

/// Polls a future at most this number of times, then drops it.
pub(crate) async fn cut_short<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    poll_times(polls, std::pin::pin!(future)).await
}

/// Polls the first call this number of times, runs the second one alone for a moment, and finishes both.
pub(crate) async fn interleaved<A: Future, B: Future>(polls: usize, first: A, second: B) -> (A::Output, B::Output) {
    let (mut first, mut second) = (std::pin::pin!(first), std::pin::pin!(second));
    if let Some(first) = poll_times(polls, first.as_mut()).await {
        return (first, second.await);
    }
    match tokio::time::timeout(ALONE, second.as_mut()).await {
        Ok(second) => (first.await, second),
        Err(_) => tokio::join!(first, second),
    }
}
