//! A line of the terminal that is not shown while it is typed, for secrets.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};

use anyhow::Context;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::exit::Outcome;

/// A terminal that does not show what is typed, until this is dropped.
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
        // What was typed before is discarded: it was shown.
        tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for EchoDisabled {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Shows a prompt, and reads a line of at most so many bytes. If the future is dropped, the terminal is as it was before.
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
