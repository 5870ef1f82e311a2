//! The service from outside: the real archive, the real routes, at a time that stands.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

mod access;
mod conformance;
mod logs;
mod requests;
mod support;
mod tls;
