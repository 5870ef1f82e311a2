//! One file for each command.

pub(crate) mod admin;
pub(crate) mod archive;
pub(crate) mod backfill;
pub(crate) mod canary;
pub(crate) mod check;
pub(crate) mod collect;
pub(crate) mod completions;
pub(crate) mod deliver;
pub(crate) mod demo;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod fetch;
pub(crate) mod generate;
pub(crate) mod health;
pub(crate) mod open;
pub(crate) mod places;
pub(crate) mod plan;
pub(crate) mod problems;
pub(crate) mod push;
pub(crate) mod report;
pub(crate) mod runs;
pub(crate) mod search;
pub(crate) mod serve;
pub(crate) mod sql;
pub(crate) mod status;
pub(crate) mod tail;
