//! Alerts: what happened that somebody wants to be told of, told once each, with a link.
//!
//! ```text
//! rules ▸ find (from the catalog) ▸ noted, one row an occurrence and destination ▸ claimed ▸ sent ▸ noted as delivered
//! ```
//!
//! Looking and sending run side by side, and so does the sending to each destination: one that takes its time, or is
//! away, holds up nothing but its own alerts.
//!
//! Any number of nodes may do this together. An occurrence is noted once, whoever sees it, and one node at a time sends
//! it. What was sent and not noted, because the node died or was stopped in between, is sent again with the same id
//! (`Message-ID`, `X-Runlog-Id`): told at least once, and twice only then.

mod error;
mod find;
mod mail;
mod rule;
mod sender;
mod webhook;

pub use error::AlertError;
pub use find::Look;
pub use mail::{Mail, MailLogin, MailSecurity};
pub use rule::{AlertRule, Condition, Destination};
pub use sender::Alerts;
pub use webhook::Webhook;
