//! Tests from outside: the real binary, real HTTP, real files.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

mod alerts;
mod background;
mod care;
mod collect;
mod command;
mod deliver;
mod demo;
mod find;
mod folder;
mod formats;
mod guide;
mod hang_ups;
mod json_output;
mod login;
mod many_searches;
mod mcp;
mod postgres;
mod problems;
mod psql;
mod push;
mod reference;
mod report;
mod sql;
mod support;
mod syslog;
mod terminal;
mod tutorial;
mod workspaces;
