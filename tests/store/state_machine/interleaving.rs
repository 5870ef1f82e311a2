//! Two calls at once, the first of which is held up at one of its await points; and calls whose caller goes away.

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

/// How long the second call goes on alone. The first may hold what the second one waits for.
const ALONE: Duration = Duration::from_millis(20);

/// Polls a future so many times at most.
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

/// Polls a future so many times at most, then drops it.
pub(crate) async fn cut_short<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    poll_times(polls, std::pin::pin!(future)).await
}

/// Polls the first call so many times, lets the second one go on alone for a moment, and finishes both.
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
