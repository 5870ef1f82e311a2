//! Stopping: by Ctrl-C, by a signal.

use tokio_util::sync::CancellationToken;

use crate::exit::{Exit, Failure, Outcome};

/// Does a piece of work until it ends or a signal comes. What it had finished by then is on disk or at the service.
pub(crate) async fn until_stopped_and_resumed(work: impl Future<Output = Outcome>, stop: CancellationToken) -> Outcome {
    tokio::select! {
        outcome = work => outcome,
        () = stop.cancelled() => Err(Failure::new(Exit::Interrupted, "interrupted; run the same command again to resume")),
    }
}

/// Does a piece of work that is begun anew each time, until it ends or a signal comes.
pub(crate) async fn until_stopped(work: impl Future<Output = Outcome>, stop: CancellationToken) -> Outcome {
    tokio::select! {
        outcome = work => outcome,
        () = stop.cancelled() => Err(Failure::new(Exit::Interrupted, "interrupted")),
    }
}

/// Cancelled by the first Ctrl-C or SIGTERM; the second ends the program at once.
pub(crate) fn stop_on_signals() -> Outcome<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let cancelled = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            if cancelled.is_cancelled() {
                std::process::exit(Exit::Interrupted as i32);
            }
            cancelled.cancel();
        }
    });
    Ok(stop)
}
