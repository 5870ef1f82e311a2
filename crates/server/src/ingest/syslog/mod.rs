//! Syslog: messages that arrive over TCP, TLS and UDP (RFC 5424, RFC 3164, RFC 6587, RFC 5425, RFC 5426), and lines of
//! syslog in the bodies of pushes.
//!
//! ```text
//! connection ▸ frames.rs (where a message ends) ▸ batch.rs (half a second of messages) ▸ message.rs (an event) ▸ Intake
//! ```
//!
//! Syslog has no acknowledgements. A connection is therefore not read while what was read before is being stored: the
//! sender waits, and keeps the rest in its own queue.

pub(crate) mod batch;
pub(crate) mod check;
mod days;
pub(crate) mod frames;
pub(crate) mod listener;
pub(crate) mod message;
pub(crate) mod settings;
mod socket_drops;
