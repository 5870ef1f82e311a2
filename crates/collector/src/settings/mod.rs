//! Values that occur in settings: names, times, references to secrets, certificates; and errors in them.
//!
//! What is absent here: the settings file and the environment, which are read by the command line only.

mod error;
mod secret;
mod tls;
mod values;

pub use error::SettingsError;
pub use secret::{SecretReader, SecretSource, TextOrSecret};
pub use tls::TlsOptions;
pub use values::{Name, Time};
