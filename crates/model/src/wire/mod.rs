//! Request and response bodies of the HTTP API, as they are written.
//!
//! Absent fields are left out, never `null`. What Runlog writes is strict; what the client reads from other
//! services is read leniently, in the client.

pub mod admin;
pub mod alerts;
pub mod collection;
pub mod components;
pub mod error;
pub mod executions;
pub mod history;
pub mod logs;
pub mod oauth;
pub mod overview;
pub mod plans;
pub mod problems;
pub mod push;
pub mod queries;
pub mod records;
pub mod retention;
pub mod search;
pub mod session;
pub mod sign_in;
pub mod sinks;
pub mod sql;
pub mod tenant_audit_logs;
pub mod workspaces;

pub use error::ErrorBody;
