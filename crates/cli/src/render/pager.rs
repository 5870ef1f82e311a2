//! A pager for long results on a terminal, as git and psql have it.

use std::io::{self, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::system::environment;

/// The pager of this program, if there is one.
static PAGER: Mutex<Option<Running>> = Mutex::new(None);

/// What less does unless LESS says otherwise: it ends if everything fits on the screen, shows colours, and leaves its text
/// on the screen.
const LESS: &str = "FRX";

struct Running {
    child: Child,
    input: ChildStdin,
}

/// Writes to the pager, or to standard output if there is none.
#[derive(Debug)]
pub(super) struct Paged;

/// Starts the pager, if the user wants one. Standard output must be a terminal.
///
/// It is the command in `RUNLOG_PAGER` or `PAGER`, or `less`; none if that is empty, or if it cannot be started.
pub(crate) fn start() {
    let command = environment("RUNLOG_PAGER").or_else(|| environment("PAGER")).unwrap_or_else(|| "less".to_owned());
    let mut words = command.split_whitespace();
    let Some(program) = words.next().filter(|program| *program != "cat") else { return };
    let mut pager = Command::new(program);
    pager.args(words).stdin(Stdio::piped());
    if environment("LESS").is_none() {
        pager.env("LESS", LESS);
    }
    let Ok(mut child) = pager.spawn() else { return };
    if let Some(input) = child.stdin.take() {
        *PAGER.lock().unwrap_or_else(PoisonError::into_inner) = Some(Running { child, input });
    }
}

/// Waits until the user leaves the pager.
pub(crate) fn finish() {
    let pager = PAGER.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(Running { mut child, input }) = pager {
        drop(input);
        // How it ends says nothing of the result.
        let _ = child.wait();
    }
}

impl Write for Paged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *PAGER.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(pager) => pager.input.write(bytes),
            None => io::stdout().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut *PAGER.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(pager) => pager.input.flush(),
            None => io::stdout().flush(),
        }
    }
}
