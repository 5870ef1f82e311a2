//! Tests of the archive's public interface: records are returned completely, once and in order. The suite runs on each
//! pair of backends.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

mod common;
#[path = "archive/damage.rs"]
mod damage;
#[path = "archive/deletions.rs"]
mod deletions;
#[path = "archive/exact.rs"]
mod exact;
#[path = "archive/files.rs"]
mod files;
#[path = "archive/late.rs"]
mod late;
#[path = "archive/links.rs"]
mod links;
#[path = "archive/lost_commits.rs"]
mod lost_commits;
#[path = "archive/nodes.rs"]
mod nodes;
#[path = "archive/outage.rs"]
mod outage;
#[path = "archive/page_file_recovery.rs"]
mod page_file_recovery;
#[path = "archive/repairs.rs"]
mod repairs;
#[path = "archive/statements.rs"]
mod statements;
#[path = "archive/suite.rs"]
mod suite;
#[path = "archive/threads.rs"]
mod threads;
#[path = "archive/transactions.rs"]
mod transactions;
#[path = "archive/word_index.rs"]
mod word_index;
