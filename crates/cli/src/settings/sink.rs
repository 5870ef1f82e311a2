//! `[[sink]]`: where archived logs are delivered to. The settings of each kind are defined beside its code in the collector.

use std::sync::Arc;

use runlog_collector::settings::SettingsError;
use runlog_collector::{SinkConfig, SinkSettings};

use super::secret::Secrets;
use super::table::{KindTable, read_table};
use crate::exit::{Exit, Failure, Outcome};
use crate::system::SystemClock;

/// Reads the table of a sink; the message names the line.
pub(super) fn read(table: KindTable, text: &str) -> Result<SinkSettings, String> {
    read_table(table, text, SinkSettings::read)
}

/// Returns the errors of a sink that can be detected without its secrets.
pub(super) fn check(sink: &SinkSettings) -> Result<(), String> {
    sink.check(Arc::new(SystemClock)).map_err(|error| format!("sink {:?}: {error}", sink.name()))
}

/// The sink, ready to be sent to.
pub(super) fn config(sink: &SinkSettings) -> Outcome<SinkConfig> {
    let name = sink.name();
    sink.config(Arc::new(SystemClock), &Secrets).map_err(|error| match error {
        SettingsError::Files(error) => Failure::from(error).while_doing(format!("sink {name}")),
        SettingsError::Invalid(message) => Failure::new(Exit::Usage, format!("sink {name}: {message}")),
        SettingsError::Secret(error) => Failure { exit: Exit::Denied, error: anyhow::Error::from_boxed(error) },
    })
}
