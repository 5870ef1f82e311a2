//! Reads a line from the terminal without echo, for secrets.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};

use anyhow::Context;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::exit::Outcome;

/// Disables the echo of the terminal until dropped.
struct EchoDisabled {
    terminal: File,
    before: Termios,
}

impl EchoDisabled {
    fn begin(terminal: File) -> std::io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.insert(LocalModes::ECHONL);
        // Earlier input is discarded, as it was echoed.
        tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for EchoDisabled {
    fn drop(&mut self) {
        // A failure cannot be reported while dropping.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Shows a prompt and reads a line of limited length. Dropping the future restores the terminal.
pub(crate) async fn hidden_line(prompt: &str, bytes_max: u64) -> Outcome<String> {
    let open = || {
        let terminal = File::options().read(true).write(true).open("/dev/tty")?;
        let mut silence = EchoDisabled::begin(terminal.try_clone()?)?;
        silence.terminal.write_all(prompt.as_bytes())?;
        silence.terminal.flush()?;
        Ok::<_, std::io::Error>((terminal, silence))
    };
    let (terminal, _silence) = open().context("cannot read from the terminal")?;
    let read = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        BufReader::new(terminal.take(bytes_max)).read_line(&mut line).map(|_| line)
    });
    let line = read.await.context("cannot read from the terminal")?;
    Ok(line.context("cannot read from the terminal")?)
}
