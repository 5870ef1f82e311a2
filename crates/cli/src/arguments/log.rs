//! The program's own log.

use tracing_subscriber::EnvFilter;

use crate::render::screen::{EventLine, Stream};

/// The program's own log, of commands that go on.
#[derive(Debug, clap::Args)]
pub(crate) struct LogArgs {
    /// Form of the program's own log, on standard error
    #[arg(long, env = "RUNLOG_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
    /// What is logged: a level, and levels of parts of the program, such as warn,runlog_store=debug
    #[arg(long = "log", env = "RUNLOG_LOG", default_value = "info", value_name = "FILTER", value_parser = log_filter)]
    log_filter: String,
}

/// The filter as it stands, when it is one.
fn log_filter(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error}; a filter is a level such as info, or warn,runlog_store=debug")),
    }
}

/// The form of the program's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    /// One line for people.
    Text,
    /// One JSON object a line, for other programs.
    Json,
}

impl LogArgs {
    /// Writes what libraries and our own rooms say to standard error, from now on.
    pub(crate) fn write(&self) {
        // It was tried when it was read.
        let filter = EnvFilter::new(&self.log_filter);
        // Where the log itself cannot be written, as on a full disk, that is no reason to break off what is being done.
        let logs = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
        match self.log_format {
            LogFormat::Text => {
                logs.with_ansi(Stream::Note.has_colours()).with_writer(|| EventLine(std::io::stderr())).init();
            }
            LogFormat::Json => logs.json().flatten_event(true).with_writer(|| Stream::Note.screen()).init(),
        }
    }
}
