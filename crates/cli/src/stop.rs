//! Stopping: by Ctrl-C, by a signal.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::{Exit, Failure, Outcome};

/// Runs a task until it completes or a signal is received. Work that was completed by then is already on disk or at the
/// service.
pub(crate) async fn until_stopped_and_resumed(work: impl Future<Output = Outcome>, stop: CancellationToken) -> Outcome {
    tokio::select! {
        outcome = work => outcome,
        () = stop.cancelled() => Err(Failure::new(Exit::Interrupted, "interrupted; run the same command again to resume")),
    }
}

/// Runs a task that cannot be resumed until it completes or a signal is received.
pub(crate) async fn until_stopped(work: impl Future<Output = Outcome>, stop: CancellationToken) -> Outcome {
    tokio::select! {
        outcome = work => outcome,
        () = stop.cancelled() => Err(Failure::new(Exit::Interrupted, "interrupted")),
    }
}

/// Runs a task until it completes or Ctrl-C cancels it, where Ctrl-C does not stop the program.
pub(crate) async fn until_ctrl_c<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        outcome = work => outcome,
        _ = interrupt.recv() => Err(Failure::new(Exit::Interrupted, "cancelled")),
    }
}

/// The effect of Ctrl-C.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CtrlC {
    /// It stops the program.
    Stops,
    /// It cancels the query that is running, and the prompt continues: [`until_ctrl_c`].
    CancelsQuery,
}

/// Returns a token that the first Ctrl-C or SIGTERM cancels; the second ends the program immediately.
pub(crate) fn stop_on_signals(ctrl_c: CtrlC) -> Outcome<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let cancelled = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => if ctrl_c == CtrlC::CancelsQuery { continue },
                _ = terminate.recv() => {}
            }
            if cancelled.is_cancelled() {
                std::process::exit(Exit::Interrupted as i32);
            }
            cancelled.cancel();
        }
    });
    Ok(stop)
}
