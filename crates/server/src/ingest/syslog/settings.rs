//! The settings of the syslog listeners.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use runlog_model::{LogZone, TaskId, WorkspaceId};

use crate::http::proxies::Network;
use crate::http::tls::TlsFiles;

/// The syslog listeners, and where their messages are stored.
#[derive(Clone)]
pub struct SyslogSettings {
    /// Address for plain TCP (RFC 6587). Default: none.
    pub tcp: Option<SocketAddr>,
    /// Address for TLS (RFC 5425), which requires [`Self::tls_files`]. Default: none.
    pub tls: Option<SocketAddr>,
    /// Address for UDP (RFC 5426). Default: none.
    pub udp: Option<SocketAddr>,
    /// The certificate for TLS; with authorities, a client without a certificate of one of them is rejected.
    pub tls_files: Option<TlsFiles>,
    /// The access token of the user on whose behalf messages are stored, and whose rights count.
    pub token: SyslogToken,
    /// The senders that are accepted. Default: loopback addresses.
    pub allow: Vec<Network>,
    /// The workspace of runs whose messages do not name one; a task that is not named either is named after the
    /// application of the message. Default: none.
    pub workspace: Option<WorkspaceId>,
    /// The task of messages that name no run: these are stored in one run per host, application and day (UTC). Default:
    /// none, they are refused and counted.
    pub task: Option<TaskId>,
    /// The zone of times without one. Default: UTC.
    pub zone: LogZone,
    /// Longest message; the rest of a longer one is cut off, which is counted and marked. Unit: bytes. Default: 256
    /// KiB.
    pub message_bytes_max: usize,
    /// Maximum number of connections; further ones are closed and counted. Default: 256.
    pub connections_max: usize,
    /// How long a connection may be idle until it is closed. Default: one day; senders notice a closed connection only
    /// when they lose a message.
    pub idle_max: Duration,
}

/// An access token, which is never printed.
#[derive(Clone)]
pub struct SyslogToken(String);

impl SyslogToken {
    /// The token as text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SyslogToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SyslogToken(..)")
    }
}

impl fmt::Debug for SyslogSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tcp, tls, udp, allow, .. } = self;
        f.debug_struct("SyslogSettings")
            .field("tcp", tcp)
            .field("tls", tls)
            .field("udp", udp)
            .field("allow", allow)
            .finish_non_exhaustive()
    }
}

impl SyslogSettings {
    /// Settings without listeners, with all defaults.
    pub fn with_token(token: SyslogToken) -> Self {
        Self {
            tcp: None,
            tls: None,
            udp: None,
            tls_files: None,
            token,
            allow: Vec::new(),
            workspace: None,
            task: None,
            zone: LogZone::default(),
            message_bytes_max: 256 << 10,
            connections_max: 256,
            idle_max: Duration::from_secs(86_400),
        }
    }

    /// True if messages from this address are accepted.
    pub(crate) fn allows(&self, sender: SocketAddr) -> bool {
        let address = sender.ip().to_canonical();
        match self.allow.as_slice() {
            [] => address.is_loopback(),
            networks => networks.iter().any(|network| network.contains(address)),
        }
    }

    /// The first error in the settings, and how to correct it.
    pub fn check(&self) -> Result<(), String> {
        let listeners = [("tcp", self.tcp), ("tls", self.tls), ("udp", self.udp)];
        if listeners.iter().all(|(_, address)| address.is_none()) {
            return Err("it has none of tcp, tls and udp; give at least one address to listen on".to_owned());
        }
        if self.tls.is_some() && self.tls_files.is_none() {
            return Err("tls needs certificate and key, which name PEM files".to_owned());
        }
        let open =
            listeners.iter().find(|(_, address)| address.is_some_and(|at| !at.ip().to_canonical().is_loopback()));
        if let (Some((name, Some(address))), true) = (open, self.allow.is_empty()) {
            let advice = "syslog has no passwords: name the networks of its senders, such as allow = [\"10.0.0.0/8\"]";
            return Err(format!("{name} = \"{address}\" is reachable from other machines; {advice}"));
        }
        if !(1_024..=16 << 20).contains(&self.message_bytes_max) {
            return Err("message_bytes must be between 1024 and 16777216".to_owned());
        }
        if self.connections_max == 0 {
            return Err("connections must be at least 1".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(tcp: &str, allow: &[&str]) -> SyslogSettings {
        SyslogSettings {
            tcp: Some(tcp.parse().unwrap()),
            allow: allow.iter().map(|network| network.parse().unwrap()).collect(),
            ..SyslogSettings::with_token(SyslogToken::new("secret"))
        }
    }

    #[test]
    fn only_loopback_is_accepted_unless_networks_are_named() {
        let sender = |text: &str| format!("{text}:514").parse::<SocketAddr>().unwrap();
        let usual = settings("127.0.0.1:514", &[]);
        assert!(usual.allows(sender("127.0.0.2")) && usual.allows(sender("[::ffff:127.0.0.1]")));
        assert!(!usual.allows(sender("10.0.0.1")));
        let network = settings("0.0.0.0:514", &["10.0.0.0/8"]);
        assert!(network.allows(sender("10.9.0.1")) && !network.allows(sender("127.0.0.1")));
        assert!(network.check().is_ok() && usual.check().is_ok());
        assert!(settings("0.0.0.0:514", &[]).check().unwrap_err().contains("allow = "));
    }

    #[test]
    fn the_token_is_not_printed() {
        assert!(!format!("{:?}", settings("127.0.0.1:514", &[])).contains("secret"));
    }
}
