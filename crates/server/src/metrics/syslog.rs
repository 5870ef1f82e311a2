//! Counters of the syslog listeners.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The counters of the syslog listeners of this process.
#[derive(Debug, Default)]
pub(crate) struct SyslogCounters {
    messages: Family<MessageLabels, Counter>,
    truncated: Family<TransportLabels, Counter>,
    rejected: Family<ReasonLabels, Counter>,
    /// Open connections.
    pub(crate) connections: Gauge,
    /// Connections, and the one for datagrams, that wait for the archive.
    pub(crate) waiting: Gauge,
    /// Datagrams that the operating system discarded because its buffer was full.
    pub(crate) datagrams_lost: Counter,
}

/// The outcome of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MessageOutcome {
    Stored,
    /// It can never be stored: it names no run, or the right is missing.
    Refused,
    /// It could not be stored before the service stopped, or because of a fault.
    Lost,
}

impl MessageOutcome {
    fn word(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Refused => "refused",
            Self::Lost => "lost",
        }
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct MessageLabels {
    transport: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TransportLabels {
    transport: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

impl SyslogCounters {
    /// Registers all of them; they are exposed whether or not there is a listener.
    pub(crate) fn register(&self, registry: &mut Registry) {
        // A series that appears with its first event has no increase.
        for transport in ["tcp", "tls", "udp"] {
            for outcome in [MessageOutcome::Stored, MessageOutcome::Refused, MessageOutcome::Lost] {
                self.messages.get_or_create(&MessageLabels { transport, outcome: outcome.word() }).inc_by(0);
            }
        }
        registry.register("syslog_messages", "Messages received by syslog", Family::clone(&self.messages));
        let help = "Messages received by syslog that were too long, or cut off by the end of their connection";
        registry.register("syslog_messages_truncated", help, Family::clone(&self.truncated));
        let help = "Connections and datagrams of syslog that were not accepted";
        registry.register("syslog_rejected", help, Family::clone(&self.rejected));
        registry.register("syslog_connections", "Open connections of syslog", self.connections.clone());
        let help = "Connections of syslog that are not read because the archive does not accept their messages";
        registry.register("syslog_connections_waiting", help, self.waiting.clone());
        let help = "Datagrams of syslog that the operating system discarded";
        registry.register("syslog_datagrams_lost", help, self.datagrams_lost.clone());
    }

    /// Counts messages.
    pub(crate) fn count(&self, transport: &'static str, outcome: MessageOutcome, messages: u64) {
        let outcome = outcome.word();
        if messages > 0 {
            self.messages.get_or_create(&MessageLabels { transport, outcome }).inc_by(messages);
        }
    }

    /// Counts a message that was cut off.
    pub(crate) fn count_truncated(&self, transport: &'static str) {
        self.truncated.get_or_create(&TransportLabels { transport }).inc();
    }

    /// Counts a connection or a datagram that was not accepted.
    pub(crate) fn count_rejected(&self, reason: &'static str) {
        self.rejected.get_or_create(&ReasonLabels { reason }).inc();
    }
}
