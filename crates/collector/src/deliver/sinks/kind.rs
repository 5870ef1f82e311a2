//! What a kind of sink is to the settings: which settings it has, and what is made of them.

use std::sync::Arc;
use std::time::Duration;

use runlog_client::TlsSettings;
use runlog_model::Clock;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use url::Url;

use super::http::{HttpAccess, HttpSettings};
use super::options::{Group, HttpOptions, LoginOptions};
use crate::deliver::bounds::BatchBounds;
use crate::settings::{SecretReader, SecretSource, SettingsError, TextOrSecret, TlsOptions};

/// How long a request may take unless the settings say.
const REQUEST_TIME: Duration = Duration::from_secs(60);
/// Stands for a secret while settings are checked without their secrets.
const PLACEHOLDER: &str = "placeholder";

/// The settings that only one kind of sink has, in the order in which they are shown.
///
/// They are read by serde, as fields of the sink's table beside those that it shares with others.
pub(crate) trait SinkKind: DeserializeOwned {
    /// The word for it: `kind = "loki"`.
    const NAME: &'static str;
    /// Which shared settings it has.
    const GROUPS: &'static [Group] = &[Group::Records, Group::Http, Group::Login];
    /// Whether bodies are packed with gzip when the settings do not say.
    const GZIP: bool = true;
    /// How large a batch is when the settings do not say.
    const BATCH: BatchBounds = BatchBounds { records: 2_000, bytes: 4 << 20 };
    /// How large a batch may be at most.
    const BATCH_MAX: BatchBounds = BatchBounds { records: usize::MAX, bytes: usize::MAX };

    /// What is made of them.
    type Sink;

    /// Makes the sink; nothing is sent yet.
    fn build(&self, context: &SinkContext<'_>) -> Result<Self::Sink, SettingsError>;

    /// What is wrong with the settings that shows without their secrets, and without touching anything.
    fn check(&self, context: &SinkContext<'_>) -> Result<(), SettingsError> {
        self.build(context).map(drop)
    }
}

/// What a sink is made of beside the settings that are its own.
pub(crate) struct SinkContext<'a> {
    /// The name of the sink.
    pub(crate) name: &'a str,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) http: &'a HttpOptions,
    pub(crate) login: &'a LoginOptions,
    /// Absent while settings are checked: secrets are not read then.
    pub(crate) secrets: Option<&'a dyn SecretReader>,
}

impl SinkContext<'_> {
    /// A secret of these settings.
    pub(crate) fn secret(&self, setting: &str, source: &SecretSource) -> Result<SecretString, SettingsError> {
        match self.secrets {
            Some(secrets) => {
                secrets.read(source, &format!("sink {}: {setting}", self.name)).map_err(SettingsError::Secret)
            }
            None => Ok(SecretString::from(PLACEHOLDER)),
        }
    }

    /// The address, which the settings of this kind must have.
    pub(crate) fn url<K: SinkKind>(&self) -> Result<Url, SettingsError> {
        self.http.url.clone().ok_or_else(|| format!("{} needs a url", K::NAME).into())
    }

    /// Requests to the address that carry the token of the settings as `Authorization: <scheme> <token>`, or their user
    /// and password.
    pub(crate) fn http<K: SinkKind>(&self, scheme: &'static str) -> Result<HttpSettings, SettingsError> {
        let LoginOptions { token, user, password } = self.login;
        let access = match (token, user, password) {
            (Some(token), None, None) => HttpAccess::authorization(scheme, self.secret("token", token)?),
            (None, Some(user), Some(password)) => HttpAccess::Basic(user.clone(), self.secret("password", password)?),
            (None, None, None) => HttpAccess::Open,
            _ => return Err("give either a token, or a user and a password".into()),
        };
        self.http_to::<K>(self.url::<K>()?, access)
    }

    /// Requests to another address, or with another way to be let in.
    pub(crate) fn http_to<K: SinkKind>(&self, url: Url, access: HttpAccess) -> Result<HttpSettings, SettingsError> {
        let HttpOptions { headers, gzip, timeout, .. } = self.http;
        let headers = headers.iter().flatten().map(|(name, value)| {
            let value = match value {
                TextOrSecret::Text(text) => SecretString::from(text.clone()),
                TextOrSecret::Secret(source) => self.secret(&format!("header {name}"), source)?,
            };
            Ok((name.clone(), value))
        });
        Ok(HttpSettings {
            url,
            access,
            headers: headers.collect::<Result<_, SettingsError>>()?,
            gzip: gzip.unwrap_or(K::GZIP),
            time_max: timeout.map_or(REQUEST_TIME, |time| time.0),
            tls: self.tls()?,
        })
    }

    fn tls(&self) -> Result<TlsSettings, SettingsError> {
        let HttpOptions { authorities, client_certificate, .. } = self.http;
        let options =
            TlsOptions { authorities: authorities.as_deref(), client_certificate: client_certificate.as_ref() };
        match self.secrets {
            Some(secrets) => options.read(secrets, &format!("sink {}", self.name)),
            None => Ok(TlsSettings::default()),
        }
    }
}
