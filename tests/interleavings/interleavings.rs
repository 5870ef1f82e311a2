//! Structures that several tasks use at once, under thousands of orders in which the tasks run: group commit, memory, rates of
//! requests, and the folders of checkpoints.
//!
//! The files of these structures are compiled here a second time, with the primitives of `sync.rs` in place of those of tokio and
//! of the standard library. Half of the orders are random. In the other half, tasks run to their next wait, except for at most
//! two of them that are interrupted anywhere (probabilistic concurrency testing); most faults need no more.
//!
//! `RUNLOG_INTERLEAVINGS=5000,7` runs 5,000 of each instead of 500, from another seed.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

mod checkpoints;
mod group_commit;
mod memory;
mod pace;
mod rate_limits;
mod sync;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};

/// Orders of each kind.
const ORDERS: usize = 500;
/// Interruptions and the order in which tasks begin.
const DEPTH: usize = 3;
/// Number of steps after which a test counts as deadlocked.
const STEPS_MAX: usize = 50_000;

/// Runs a test under many orders.
#[allow(clippy::disallowed_methods, reason = "the setting of the test")]
fn explore(test: impl Fn() + Send + Sync + Clone + 'static) {
    let setting = std::env::var("RUNLOG_INTERLEAVINGS").unwrap_or_default();
    let (orders, seed) = setting.split_once(',').unwrap_or((&setting, ""));
    let (orders, seed) = (orders.parse().unwrap_or(ORDERS), seed.parse().unwrap_or(1));
    let count = Arc::new(AtomicUsize::new(0));
    explore_with(RandomScheduler::new_from_seed(seed, orders), &count, test.clone());
    explore_with(PctScheduler::new_from_seed(seed, DEPTH, orders), &count, test);
}

#[allow(clippy::print_stderr, reason = "the number of orders is part of the result")]
fn explore_with(
    scheduler: impl Scheduler + 'static,
    count: &Arc<AtomicUsize>,
    test: impl Fn() + Send + Sync + 'static,
) {
    let counted = Arc::clone(count);
    let counting = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        test();
    };
    let mut config = Config::default();
    // Far more than a test takes.
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    let explored = catch_unwind(AssertUnwindSafe(|| Runner::new(scheduler, config).run(counting)));
    if let Err(panic) = explored {
        eprintln!("failed under order {}", count.load(Ordering::SeqCst));
        resume_unwind(panic);
    }
}
