//! Timeouts that a process does not use up while it is suspended.

use std::pin::pin;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::error::Elapsed;

/// In how many parts a timeout is measured.
const PARTS: u32 = 8;

/// Like [`tokio::time::timeout`], except that a suspension of this process, for example of its virtual machine, uses up
/// an eighth of `duration` at most, however long it lasts. What the future waits for had no time to come meanwhile: all
/// calls that were waiting would fail together when the process resumes.
pub async fn timeout_while_running<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    for _ in 1..PARTS {
        if let Ok(output) = tokio::time::timeout(duration / PARTS, future.as_mut()).await {
            return Ok(output);
        }
    }
    tokio::time::timeout(duration / PARTS, future).await
}

/// How often the time is looked at, and the gap that shows that nothing ran.
const TICK: Duration = Duration::from_millis(500);
const GAP: Duration = Duration::from_secs(2);

/// The output of a future, and whether this process was suspended for two seconds or longer before it was ready. What
/// was in progress may have failed for no other reason: connections were closed, and deadlines passed.
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
        // Nothing runs for an hour, as when the process is stopped.
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
