//! What settings are made of, wherever they are read from: names, times, secrets, certificates; and what is wrong with them.
//!
//! What is absent here: the settings file and the environment, which only the command line reads.

mod error;
mod secret;
mod tls;
mod values;

pub use error::SettingsError;
pub use secret::{SecretReader, SecretSource, TextOrSecret};
pub use tls::TlsOptions;
pub use values::{Name, Time};
