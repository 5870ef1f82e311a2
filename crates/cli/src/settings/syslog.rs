//! `[syslog]`: what the service receives by syslog, and where that is stored.

use std::net::SocketAddr;
use std::path::PathBuf;

use runlog_collector::settings::{SecretSource, Time};
use runlog_model::{LogZone, TaskId, WorkspaceId};
use runlog_server::{Network, SyslogSettings, SyslogToken, TlsFiles};
use secrecy::ExposeSecret;
use serde::{Deserialize, Deserializer, de};

use super::secret;
use crate::exit::{Exit, Failure, Outcome};

/// The table as written in the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SyslogTable {
    tcp: Option<SocketAddr>,
    tls: Option<SocketAddr>,
    udp: Option<SocketAddr>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    client_authorities: Option<PathBuf>,
    token: SecretSource,
    #[serde(default, deserialize_with = "networks")]
    allow: Vec<Network>,
    workspace: Option<WorkspaceId>,
    task: Option<TaskId>,
    #[serde(default, deserialize_with = "zone")]
    zone: LogZone,
    message_bytes: Option<usize>,
    connections: Option<usize>,
    idle: Option<Time>,
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Network>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(de::Error::custom)).collect()
}

fn zone<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LogZone, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}

impl SyslogTable {
    /// Returns the errors that can be detected without its secret.
    pub(super) fn check(&self) -> Result<(), String> {
        self.with_token(SyslogToken::new(""))?.check().map_err(|why| format!("[syslog]: {why}"))
    }

    /// The settings of the service.
    pub(super) fn settings(&self) -> Outcome<SyslogSettings> {
        let token = secret::read(&self.token, "syslog.token")?;
        let settings = self.with_token(SyslogToken::new(token.expose_secret()));
        settings.map_err(|why| Failure::new(Exit::Usage, why))
    }

    fn with_token(&self, token: SyslogToken) -> Result<SyslogSettings, String> {
        let usual = SyslogSettings::with_token(token);
        let tls_files = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Some(TlsFiles {
                certificate: certificate.clone(),
                key: key.clone(),
                client_authorities: self.client_authorities.clone(),
            }),
            (None, None) if self.client_authorities.is_none() => None,
            _ => return Err("[syslog]: certificate and key are needed together".to_owned()),
        };
        Ok(SyslogSettings {
            tcp: self.tcp,
            tls: self.tls,
            udp: self.udp,
            tls_files,
            allow: self.allow.clone(),
            workspace: self.workspace,
            task: self.task,
            zone: self.zone.clone(),
            message_bytes_max: self.message_bytes.unwrap_or(usual.message_bytes_max),
            connections_max: self.connections.unwrap_or(usual.connections_max),
            idle_max: self.idle.map_or(usual.idle_max, |time| time.0),
            ..usual
        })
    }
}
