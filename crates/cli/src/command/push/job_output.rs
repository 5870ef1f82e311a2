//! The output of a running job, on standard input: it is still read while the service is unavailable, and to its end
//! after a failure, because a job blocks or is terminated if its output is not read.

use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::pin::pin;
use std::time::Duration;

use runlog_client::Client;
use runlog_model::{TaskId, error_chain};
use tokio_util::sync::CancellationToken;

use super::send::on_thread;
use super::source::Source;
use super::spool::Spool;
use crate::arguments::names::TaskRef;
use crate::exit::{Exit, Failure, Outcome};
use crate::render::screen::Stream;
use crate::render::terminal::note;

/// Longest line. Unit: bytes.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// The pause before another attempt to reach a service that is unavailable.
const AGAIN: Duration = Duration::from_secs(5);
/// Time to wait for the end of the input before a note is shown.
const END_WAIT: Duration = Duration::from_secs(1);

/// Starts reading the lines of a log.
pub(super) fn read_on(source: Source, is_pipe: bool) -> Outcome<Spool> {
    let spool = Spool::new(is_pipe);
    let lines = spool.clone();
    std::thread::Builder::new().name("reading".to_owned()).spawn(move || read_lines(source.bytes, &lines))?;
    Ok(spool)
}

/// Returns the task of a log that is being read; waits for a service that is not available yet.
pub(super) async fn resolved(
    task: &TaskRef,
    client: &Client,
    spool: &Spool,
    stop: &CancellationToken,
) -> Outcome<TaskId> {
    let resolving = async {
        loop {
            let had_ended = spool.has_ended();
            match task.resolve(client).await {
                Ok(task) => return Ok::<_, Failure>(task),
                Err(failure) => wait_for_service(spool, had_ended, failure).await?,
            }
        }
    };
    let resolved = tokio::select! {
        resolved = resolving => resolved,
        () = stop.cancelled() => Err(Failure::new(Exit::Interrupted, "interrupted before anything was stored")),
    };
    if resolved.is_err() {
        spool.discard();
    }
    resolved
}

/// Handles a failed request while a job is logging: returns if the request should be retried because the service is
/// unavailable. Fails with any other failure, and after the end of the log.
pub(super) async fn wait_for_service(spool: &Spool, had_ended: bool, failure: Failure) -> Outcome {
    // A proxy may answer for a service that is being replaced.
    if had_ended || !matches!(failure.exit, Exit::Unavailable | Exit::Refused) {
        return Err(failure);
    }
    if !spool.set_away(true) {
        let problem = error_chain(&*failure.error);
        note(format!(
            "{}; the log is buffered until the service is available again",
            Stream::Note.shown_on_line(&problem)
        ));
    }
    tokio::time::sleep(AGAIN).await;
    Ok(())
}

pub(super) fn is_back(spool: &Spool) {
    if spool.set_away(false) {
        note("the service is available again");
    }
}

fn read_lines(bytes: Box<dyn Read + Send>, lines: &Spool) {
    let mut bytes = BufReader::with_capacity(1 << 16, bytes);
    loop {
        let mut line = Vec::new();
        match (&mut bytes).take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) => return lines.end(None),
            Ok(_) => lines.put(line),
            Err(error) => return lines.end(Some(error)),
        }
    }
}

/// Reads standard input to its end after a failure, so that the job that writes it can continue.
pub(super) async fn read_to_end(failure: &Failure, stop: &CancellationToken) {
    if failure.exit == Exit::Interrupted || std::io::stdin().is_terminal() {
        return;
    }
    let mut reading = pin!(on_thread(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())));
    if tokio::time::timeout(END_WAIT, reading.as_mut()).await.is_ok() {
        return;
    }
    let problem = error_chain(&*failure.error);
    let problem = Stream::Note.shown_on_line(&problem);
    note(format!(
        "{problem}; nothing more is stored, and standard input is read to its end, so that the job is not interrupted"
    ));
    tokio::select! {
        _ = reading => {}
        () = stop.cancelled() => {}
    }
}
