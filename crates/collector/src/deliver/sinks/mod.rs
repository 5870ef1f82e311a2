//! The sinks, one file for each: what it is sent, and how its answers are read.

pub(crate) mod elasticsearch;
pub(crate) mod files;
pub(crate) mod http;
pub(crate) mod loki;
pub(crate) mod otlp;
pub(crate) mod splunk;
pub(crate) mod webhook;
