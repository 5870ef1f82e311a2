//! Timeouts that do not elapse while the process is suspended.

use std::pin::pin;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::error::Elapsed;

/// The number of parts into which a timeout is divided.
const PARTS: u32 = 8;

/// Like [`tokio::time::timeout`], except that a suspension of this process, for example of its virtual machine, uses up
/// at most an eighth of `duration`, however long it lasts. Otherwise, all pending calls would fail together when the
/// process resumes, although their results had no time to arrive.
pub async fn timeout_while_running<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    for _ in 1..PARTS {
        if let Ok(output) = tokio::time::timeout(duration / PARTS, future.as_mut()).await {
            return Ok(output);
        }
    }
    tokio::time::timeout(duration / PARTS, future).await
}

/// The interval at which the time is read, and the length of a gap that indicates a suspension.
const TICK: Duration = Duration::from_millis(500);
const GAP: Duration = Duration::from_secs(2);

/// Returns the output of a future, and whether this process was suspended for two seconds or longer before the future
/// was ready. The suspension alone may have caused a failure: connections were closed, and deadlines passed.
pub(crate) async fn noting_suspension<F: Future>(future: F) -> (F::Output, bool) {
    let mut future = pin!(future);
    let mut was_suspended = false;
    loop {
        let begun = Instant::now();
        let waited = tokio::time::timeout(TICK, future.as_mut()).await;
        was_suspended |= begun.elapsed() >= GAP;
        if let Ok(output) = waited {
            return (output, was_suspended);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_suspended_process_continues_to_wait() {
        let (sender, receiver) = oneshot::channel();
        let waiting = tokio::spawn(timeout_while_running(8 * SECOND, receiver));
        tokio::task::yield_now().await;
        // Nothing runs for an hour, as if the process were suspended.
        tokio::time::advance(3_600 * SECOND).await;
        tokio::task::yield_now().await;
        tokio::time::sleep(6 * SECOND).await;
        sender.send("an answer").unwrap();
        assert_eq!(waiting.await.unwrap().unwrap(), Ok("an answer"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_come_is_waited_for_as_long_as_said() {
        let begun = Instant::now();
        assert!(timeout_while_running(8 * SECOND, std::future::pending::<()>()).await.is_err());
        assert!((8 * SECOND..9 * SECOND).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_suspension_is_distinguished_from_a_long_wait() {
        let (_, was_suspended) = noting_suspension(tokio::time::sleep(60 * SECOND)).await;
        assert!(!was_suspended);
        let waiting = tokio::spawn(noting_suspension(tokio::time::sleep(60 * SECOND)));
        tokio::task::yield_now().await;
        tokio::time::advance(3 * SECOND).await;
        assert!(waiting.await.unwrap().1);
    }
}
