//! The program's own log.

use tracing_subscriber::EnvFilter;

use crate::render::screen::{EventLine, Stream};

/// The program's own log, for commands that run continuously.
#[derive(Debug, clap::Args)]
pub(crate) struct LogArgs {
    /// Format of the program's own log, which goes to standard error
    #[arg(long, env = "RUNLOG_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
    /// Log level, optionally per module, such as warn,runlog_store=debug
    #[arg(long = "log", env = "RUNLOG_LOG", default_value = "info", value_name = "FILTER", value_parser = log_filter)]
    log_filter: String,
}

/// The filter, if it is valid.
fn log_filter(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!(
            "{error}; a filter is a level such as info, or levels per module such as warn,runlog_store=debug"
        )),
    }
}

/// The format of the program's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    /// Human-readable lines.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogArgs {
    /// Starts to write log events to standard error.
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
