//! The interface of a kind of sink for the settings: which settings it has, and how the sink is built from them.

use std::sync::Arc;
use std::time::Duration;

use runlog_client::{SimulatedNetwork, TlsSettings};
use runlog_model::Clock;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use url::Url;

use super::http::{HttpAccess, HttpSettings};
use super::options::{Group, HttpOptions, LoginOptions};
use crate::deliver::bounds::BatchBounds;
use crate::settings::{SecretReader, SecretSource, SettingsError, TlsOptions};

/// Default timeout of a request.
const REQUEST_TIME: Duration = Duration::from_secs(60);
/// Replaces each secret while settings are checked without reading secrets.
const PLACEHOLDER: &str = "placeholder";

/// The settings that only this kind of sink has: a struct with a derived `Deserialize`, whose fields are in the table
/// of the sink together with those of its groups.
pub(crate) trait SinkKind: DeserializeOwned {
    /// Its name in settings: `kind = "loki"`.
    const NAME: &'static str;
    /// The groups of settings that it has.
    const GROUPS: &'static [Group] = &[Group::Records, Group::Http, Group::Login];
    /// Whether request bodies are compressed with gzip by default.
    const GZIP: bool = true;
    /// The default size of a batch.
    const BATCH: BatchBounds = BatchBounds { records: 2_000, bytes: 4 << 20 };
    /// The largest batch that the destination accepts.
    const BATCH_MAX: BatchBounds = BatchBounds { records: usize::MAX, bytes: usize::MAX };

    /// The type that is built from the settings.
    type Sink;

    /// Builds the sink. Sends nothing.
    fn build(&self, context: &SinkContext<'_>) -> Result<Self::Sink, SettingsError>;

    /// Checks the settings without reading secrets and without side effects.
    fn check(&self, context: &SinkContext<'_>) -> Result<(), SettingsError> {
        self.build(context).map(drop)
    }
}

/// The inputs of a sink in addition to the settings of its kind.
pub(crate) struct SinkContext<'a> {
    /// The name of the sink.
    pub(crate) name: &'a str,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) http: &'a HttpOptions,
    pub(crate) login: &'a LoginOptions,
    /// None while settings are only checked.
    pub(crate) secrets: Option<&'a dyn SecretReader>,
    /// The services of a simulation, in place of the network.
    pub(crate) simulated: Option<Arc<dyn SimulatedNetwork>>,
}

impl SinkContext<'_> {
    /// Reads the secret of a setting.
    pub(crate) fn secret(&self, setting: &str, source: &SecretSource) -> Result<SecretString, SettingsError> {
        match self.secrets {
            Some(secrets) => {
                secrets.read(source, &format!("sink {}: {setting}", self.name)).map_err(SettingsError::Secret)
            }
            None => Ok(SecretString::from(PLACEHOLDER)),
        }
    }

    /// The URL. Fails if the settings contain none.
    pub(crate) fn url<K: SinkKind>(&self) -> Result<Url, SettingsError> {
        self.http.url.clone().ok_or_else(|| format!("{} needs a url", K::NAME).into())
    }

    /// Requests to the URL of the settings, authenticated with their token as `Authorization: <scheme> <token>`, or
    /// with their user and password.
    pub(crate) fn http<K: SinkKind>(&self, scheme: &'static str) -> Result<HttpSettings, SettingsError> {
        let LoginOptions { token, user, password } = self.login;
        let access = match (token, user, password) {
            (Some(token), None, None) => HttpAccess::authorization(scheme, self.secret("token", token)?),
            (None, Some(user), Some(password)) => HttpAccess::Basic(user.clone(), self.secret("password", password)?),
            (None, None, None) => HttpAccess::Open,
            _ => return Err("set either token, or user and password".into()),
        };
        self.http_to::<K>(self.url::<K>()?, access)
    }

    /// Requests to this URL, with these credentials.
    pub(crate) fn http_to<K: SinkKind>(&self, url: Url, access: HttpAccess) -> Result<HttpSettings, SettingsError> {
        let HttpOptions { headers, gzip, timeout, .. } = self.http;
        let headers = headers.iter().flatten().map(|(name, value)| {
            let value = value.read(|source| self.secret(&format!("header {name}"), source))?;
            Ok((name.clone(), value))
        });
        Ok(HttpSettings {
            url,
            access,
            headers: headers.collect::<Result<_, SettingsError>>()?,
            gzip: gzip.unwrap_or(K::GZIP),
            time_max: timeout.map_or(REQUEST_TIME, |time| time.0),
            tls: self.tls()?,
            simulated: self.simulated.clone(),
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
