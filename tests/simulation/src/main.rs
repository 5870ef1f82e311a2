//! A whole deployment in one process, under one seed: nodes, clients, deliverers, collectors, a catalog and objects, with
//! crashes, power cuts, pauses, wrong clocks, lost answers and slow messages.
//!
//! ```text
//! seed ▸ profile ▸ clients call nodes ▸ each waits at gates ▸ the driver opens one at a time ▸ what is read is checked
//! ```
//!
//! `docs/decisions/0023-deterministic-simulation.md` says what is simulated and what is not.

mod alerts;
mod audit_logs;
mod clients;
mod cloud;
mod collection;
mod collectors;
mod deliveries;
mod deployment;
mod end;
mod lake;
mod ledger;
mod node;
mod objects;
mod peers;
mod run;
mod schedule;
mod seed;
mod service;
mod sinks;
mod summaries;

use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};

use clap::Parser as _;

/// Locks a mutex, even after a panic of a thread that held it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn main() -> anyhow::Result<ExitCode> {
    run::run(&run::Arguments::parse())
}
