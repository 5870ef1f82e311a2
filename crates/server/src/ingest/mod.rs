//! Incoming records: how bodies are decoded, which runs their records belong to, and how much memory they take.

pub(crate) mod body;
pub(crate) mod body_memory;
pub(crate) mod decoded_size;
pub(crate) mod engine;
pub(crate) mod event_body;
pub(crate) mod intake;
pub(crate) mod otlp;
pub(crate) mod otlp_json;
pub(crate) mod otlp_partial;
pub(crate) mod parts;
pub(crate) mod run_hook;
pub(crate) mod severity;
pub(crate) mod syslog;
pub(crate) mod zstd_frame;
