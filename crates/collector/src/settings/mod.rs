//! Values that occur in settings: names, times, references to secrets, certificates; and errors in them.
//!
//! The settings file and the environment are not read here, but only by the command line.

mod error;
mod names;
mod secret;
mod table;
mod tls;
mod values;

pub use error::SettingsError;
pub(crate) use names::names_of;
pub use secret::{SecretReader, SecretSource, TextOrSecret};
pub use table::{TableError, UnknownWord};
pub(crate) use table::{located, take};
pub use tls::TlsOptions;
pub use values::{Name, Time};
