//! The service from outside: the real archive, the real routes, at a time that stands.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

mod access;
mod attack;
mod conformance;
mod engine;
mod executions;
mod logs;
mod openapi;
mod protocol;
mod questions;
mod reports;
mod requests;
mod sinks;
mod support;
mod tls;
mod web;
