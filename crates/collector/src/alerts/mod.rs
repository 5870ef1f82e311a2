//! Alerts: reports each occurrence of a rule once, with a link.
//!
//! ```text
//! rules ▸ find (in the catalog) ▸ recorded, one row per occurrence and destination ▸ claimed ▸ sent ▸ recorded as delivered
//! ```
//!
//! Searching and sending run concurrently, and so does sending to each destination: a destination that is slow or
//! unavailable delays only its own alerts.
//!
//! Several nodes may do this at the same time. An occurrence is recorded once, whichever node finds it, and one node at
//! a time sends it. If a node stops after it has sent an alert and before it has recorded that, the alert is sent again
//! with the same ID (`Message-ID`, `X-Runlog-Id`): delivery is at least once.

mod archive;
mod channel;
mod channel_context;
mod chat;
mod duration;
mod error;
mod find;
mod mail;
mod maintenance;
mod message;
mod opsgenie;
mod pagerduty;
mod plans;
mod recover;
mod rule;
mod sender;
mod slack;
mod teams;
mod webhook;

pub use channel::ChannelSettings;
pub use chat::ChatWebhook;
pub use error::AlertError;
pub use find::SearchScope;
pub use mail::{Mail, MailLogin, MailSecurity};
pub use maintenance::Maintenance;
pub use opsgenie::Opsgenie;
pub use pagerduty::PagerDuty;
pub use rule::{AlertRule, Condition, Destination, GroupBy, TaskSchedule, TimeOf};
pub use sender::Alerts;
pub use webhook::Webhook;
