//! The service from outside: the real archive and routes, with a clock that stands still.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

mod access;
mod alerts;
mod attack;
#[path = "../../../../tests/store/common/backends.rs"]
#[allow(dead_code, reason = "the backends of the archive's own tests: not all of them are needed here")]
mod backends;
mod components;
mod conformance;
mod contract;
mod engine;
mod exchanges;
mod executions;
mod facets;
#[path = "../../../../tests/store/common/gate.rs"]
#[allow(dead_code, reason = "the gate of the archive's own tests: not all of it is needed here")]
mod gate;
mod hang_ups;
mod lakehouse_signatures;
mod lakehouse_views;
mod lakehouses;
mod logs;
mod loki;
mod metrics;
mod openapi;
mod outage;
mod plans;
mod problems;
mod protocol;
mod proxies;
mod queries;
mod reports;
mod requests;
mod retention;
mod sign_in;
mod sinks;
mod support;
mod syslog;
mod tenant_audit_logs;
mod tls;
mod web;
