//! A pager for results that are longer than the screen, as in git and psql.

use std::io::{self, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::window;
use crate::system::environment;

/// Where results go.
static OUTPUT: Mutex<Output> = Mutex::new(Output::Direct);

/// True if no pager is used: the user disabled it, or standard output is not a terminal.
static IS_REFUSED: AtomicBool = AtomicBool::new(false);

/// Default options of less, unless `LESS` is set: it exits if everything fits on the screen, shows colours, and leaves
/// its text on the screen.
const LESS: &str = "FRX";

/// Where results go.
enum Output {
    /// Standard output.
    Direct,
    /// Standard output while the result fits on the screen, else the pager.
    Held(HeldOutput),
    /// The pager.
    Pager(RunningPager),
}

/// The beginning of a result that may be longer than the screen.
struct HeldOutput {
    bytes: Vec<u8>,
    /// Number of free rows on the screen.
    rows_left: usize,
    /// Number of columns of the screen.
    columns: usize,
    /// Number of used columns in the last row.
    column: usize,
}

struct RunningPager {
    child: Child,
    input: ChildStdin,
}

/// Writes to the pager, or to standard output if there is none.
#[derive(Debug)]
pub(super) struct Paged;

/// Sends all further results directly to standard output.
pub(super) fn refuse() {
    IS_REFUSED.store(true, Ordering::Relaxed);
}

/// Begins a result that is shown in the pager if it is longer than the screen.
///
/// The pager is the command in `RUNLOG_PAGER` or `PAGER`, or `less`. No pager is used if the command is empty or cannot
/// be started.
pub(crate) fn begin() {
    if !IS_REFUSED.load(Ordering::Relaxed) && command().is_some() {
        // The last row is reserved for the prompt.
        let rows_left = window::rows().saturating_sub(1);
        *output() = Output::Held(HeldOutput { bytes: Vec::new(), rows_left, columns: window::columns(), column: 0 });
    }
}

/// Shows the result so far, for example before a message to the user.
pub(super) fn show_held() {
    if let Output::Held(held) = &mut *output() {
        // Errors are ignored: standard output may be closed.
        let _ = held.show();
    }
}

/// Returns true if no part of the result is buffered or in the pager. Output written directly is not tracked.
pub(crate) fn has_nothing() -> bool {
    match &*output() {
        Output::Direct => true,
        Output::Held(held) => held.bytes.is_empty(),
        Output::Pager(_) => false,
    }
}

/// Ends the result: shows the rest of it, and waits until the user leaves the pager.
pub(crate) fn finish() {
    match std::mem::replace(&mut *output(), Output::Direct) {
        Output::Direct => {}
        // Errors are ignored: standard output may be closed.
        Output::Held(mut held) => drop(held.show()),
        Output::Pager(RunningPager { mut child, input }) => {
            drop(input);
            // The exit status of the pager is irrelevant to the result.
            let _ = child.wait();
        }
    }
}

fn output() -> MutexGuard<'static, Output> {
    OUTPUT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the command of the pager, or none if the user disabled it.
fn command() -> Option<Command> {
    let text = environment("RUNLOG_PAGER").or_else(|| environment("PAGER")).unwrap_or_else(|| "less".to_owned());
    let mut words = text.split_whitespace();
    let program = words.next().filter(|program| *program != "cat")?;
    let mut pager = Command::new(program);
    pager.args(words).stdin(Stdio::piped());
    if environment("LESS").is_none() {
        pager.env("LESS", LESS);
    }
    Some(pager)
}

fn started() -> Option<RunningPager> {
    let mut child = command()?.spawn().ok()?;
    let input = child.stdin.take()?;
    Some(RunningPager { child, input })
}

impl HeldOutput {
    fn show(&mut self) -> io::Result<()> {
        let mut out = io::stdout();
        out.write_all(&std::mem::take(&mut self.bytes)).and_then(|()| out.flush())
    }

    /// Buffers more of the result; returns false if it does not fit on the screen. Style codes count as columns.
    fn keep(&mut self, bytes: &[u8]) -> bool {
        self.bytes.extend_from_slice(bytes);
        for byte in bytes {
            // A character is counted by its first byte.
            let is_character = byte & 0xc0 != 0x80;
            if *byte != b'\n' && (!is_character || self.column < self.columns) {
                self.column += usize::from(is_character);
                continue;
            }
            self.column = usize::from(*byte != b'\n');
            match self.rows_left.checked_sub(1) {
                Some(rows_left) => self.rows_left = rows_left,
                None => return false,
            }
        }
        true
    }
}

impl Write for Paged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut output = output();
        match &mut *output {
            Output::Direct => io::stdout().write(bytes),
            Output::Pager(pager) => pager.input.write(bytes),
            Output::Held(held) => {
                if held.keep(bytes) {
                    return Ok(bytes.len());
                }
                match started() {
                    Some(mut pager) => {
                        let begun = std::mem::take(&mut held.bytes);
                        let written = pager.input.write_all(&begun);
                        *output = Output::Pager(pager);
                        written?;
                    }
                    None => {
                        let shown = held.show();
                        *output = Output::Direct;
                        shown?;
                    }
                }
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut *output() {
            Output::Direct => io::stdout().flush(),
            Output::Pager(pager) => pager.input.flush(),
            Output::Held(_) => Ok(()),
        }
    }
}
