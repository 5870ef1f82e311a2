//! The settings file, `runlog.toml`: the sources of logs and their destinations.
//!
//! Secrets are not part of it: they come from an environment variable, a file or a command.

mod alert;
mod file;
mod maintenance;
mod mistake;
mod oidc;
mod opened;
mod secret;
mod sink;
mod syslog;
mod table;
mod upstream;
mod values;

pub(crate) use file::{EXAMPLE, Settings};
pub(crate) use opened::{Opened, Requirement, SettingsArgs};
pub(crate) use upstream::{REQUESTS_OF_COMPONENTS, REQUESTS_OF_COUNT, REQUESTS_OF_RUN, Scheduled};
