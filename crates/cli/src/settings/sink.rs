//! `[[sink]]`: where archived logs are delivered to. The settings of each kind are defined beside its code in the collector.

use std::collections::BTreeMap;
use std::sync::Arc;

use runlog_collector::settings::SettingsError;
use runlog_collector::{SinkConfig, SinkSettings};
use serde_json::Value;
use toml::Spanned;

use super::mistake::{did_you_mean, line_of};
use super::secret::Secrets;
use crate::exit::{Exit, Failure, Outcome};
use crate::system::SystemClock;

/// The table of a sink, as it stands in the file.
pub(super) type SinkTable = Spanned<BTreeMap<String, Spanned<Value>>>;

/// Reads the table of a sink; the message names the line.
pub(super) fn read(table: SinkTable, text: &str) -> Result<SinkSettings, String> {
    let begin = table.span().start;
    let lines: BTreeMap<String, usize> =
        table.get_ref().iter().map(|(name, value)| (name.clone(), value.span().start)).collect();
    let given = table.into_inner().into_iter().map(|(name, value)| (name, value.into_inner()));
    SinkSettings::read(given.collect()).map_err(|error| {
        let at = error.setting.as_ref().and_then(|setting| lines.get(setting)).copied().unwrap_or(begin);
        let meant = error.unknown.as_ref().map(|unknown| did_you_mean(&unknown.word, unknown.known.iter().copied()));
        format!("line {}: {}{}", line_of(at, text), error.message.trim(), meant.unwrap_or_default())
    })
}

/// What is wrong with a sink that shows without its secrets.
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
