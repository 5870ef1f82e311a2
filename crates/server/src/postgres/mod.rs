//! The archive for clients of PostgreSQL: a listener of its own that speaks the frontend/backend protocol, version 3.
//!
//! ```text
//! listener.rs (connections, TLS) ▸ startup.rs (who) ▸ session.rs (statements) ▸ SqlEngine, like `/runlog/v1/sql`
//! ```
//!
//! Messages are read in `messages.rs`, which checks each length before it reads what is behind it, and written in
//! `replies.rs`.

mod cancel;
mod connection;
mod failure;
pub(crate) mod listener;
mod messages;
mod replies;
mod running;
mod session;
mod session_settings;
mod startup;
