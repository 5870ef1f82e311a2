//! Runs several seeds concurrently, and reports which of them fail and how to reproduce the failures.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use runlog_model::{Clock, Random, Timestamp};
use runlog_store::{Store, StoreSettings};

use crate::deployment::{self, Outcome};
use crate::locked;

/// Maximum time of a seed. A seed that takes longer is in a deadlock.
const SEED_TIME_MAX: Duration = Duration::from_secs(600);

/// Simulates a deployment under each of some seeds.
#[derive(Debug, clap::Parser)]
pub(crate) struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Run this seed only.
    #[arg(long, conflicts_with_all = ["seeds", "first"])]
    seed: Option<u64>,
    /// Print everything that happens.
    #[arg(long)]
    trace: bool,
    /// Run each seed twice, and fail if anything differs.
    #[arg(long)]
    check: bool,
    /// End with the first seed that fails.
    #[arg(long)]
    stop: bool,
    /// How many seeds run at a time. Default: one for each processor.
    #[arg(long)]
    jobs: Option<usize>,
    /// Where the files of the simulated machines lie. Default: /dev/shm, or the temporary folder.
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// The seed that a thread runs, and its start time.
type Work = Option<(u64, Instant)>;

thread_local! {
    /// The last panic of this thread.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Returns the last panic of this thread, and forgets it.
pub(crate) fn last_panic() -> Option<String> {
    PANIC.take()
}

struct Zero;

impl Clock for Zero {
    fn now(&self) -> Timestamp {
        Timestamp::clamped(0)
    }
}

impl Random for Zero {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

#[allow(clippy::print_stdout, reason = "it is a program that prints its results")]
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    std::panic::set_hook(Box::new(|panic| PANIC.set(Some(panic.to_string().replace('\n', " ")))));
    let folder = match &arguments.folder {
        Some(folder) => folder.clone(),
        None if Path::new("/dev/shm").is_dir() => PathBuf::from("/dev/shm"),
        None => std::env::temp_dir(),
    };
    let files = tempfile::Builder::new().prefix("simulation").tempdir_in(folder)?;
    let template = template(&files.path().join("template"))?;
    let (first, count) = arguments.seed.map_or((arguments.first, arguments.seeds), |seed| (seed, 1));
    let jobs = arguments.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let (next, begun) = (Arc::new(AtomicU64::new(first)), Instant::now());
    let working: Arc<Mutex<Vec<Work>>> = Arc::new(Mutex::new(vec![None; jobs]));
    let (done, outcomes) = mpsc::channel::<(u64, Result<Outcome>)>();
    for job in 0..jobs {
        let (next, working, done) = (Arc::clone(&next), Arc::clone(&working), done.clone());
        let (template, files) = (template.clone(), files.path().to_owned());
        let (is_checked, is_traced) = (arguments.check, arguments.trace);
        std::thread::spawn(move || {
            loop {
                let seed = next.fetch_add(1, Ordering::SeqCst);
                if seed >= first + count {
                    return;
                }
                locked(&working)[job] = Some((seed, Instant::now()));
                let outcome = simulate(seed, &files, &template, is_traced, is_checked);
                locked(&working)[job] = None;
                if done.send((seed, outcome)).is_err() {
                    return;
                }
            }
        });
    }
    drop(done);
    let (mut failed, mut passed, mut gates, mut simulated_ms) = (0_u64, 0_u64, 0_u64, 0_i64);
    loop {
        let (seed, outcome) = match outcomes.recv_timeout(Duration::from_secs(5)) {
            Ok(outcome) => outcome,
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let stuck =
                    locked(&working).iter().flatten().find(|(_, since)| since.elapsed() > SEED_TIME_MAX).copied();
                let Some((seed, _)) = stuck else { continue };
                report(seed, &["it does not end: a thread waits for something that never comes".to_owned()]);
                return Ok(ExitCode::FAILURE);
            }
        };
        let outcome = outcome.with_context(|| format!("seed {seed} could not be run"))?;
        (gates, simulated_ms) = (gates + outcome.gates, simulated_ms + outcome.simulated_ms);
        outcome.trace.iter().for_each(|line| println!("{line}"));
        if arguments.seed.is_some() {
            println!("seed {seed}: digest {:016x}, {} gates", outcome.digest, outcome.gates);
        }
        if outcome.violations.is_empty() {
            passed += 1;
        } else {
            failed += 1;
            report(seed, &outcome.violations);
            if arguments.stop {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{passed} seeds passed and {failed} failed in {seconds:.1} s: {:.1} seeds, {:.0} gates and {:.1} simulated days a second",
        (passed + failed) as f64 / seconds,
        gates as f64 / seconds,
        simulated_ms as f64 / 86_400_000.0 / seconds
    );
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[allow(clippy::print_stdout, reason = "it is a program that prints its results")]
fn report(seed: u64, violations: &[String]) {
    for violation in violations {
        println!("seed {seed}: {violation}");
    }
    println!("repeat it with: cargo run -p simulation -- --seed {seed} --trace");
}

/// Runs a seed; with `is_checked`, twice.
fn simulate(seed: u64, files: &Path, template: &Path, is_traced: bool, is_checked: bool) -> Result<Outcome> {
    let mut outcome = simulate_once(seed, files, template, is_traced || is_checked)?;
    if is_checked {
        let again = simulate_once(seed, files, template, true)?;
        if outcome.digest != again.digest {
            let same = outcome.trace.iter().zip(&again.trace).take_while(|(first, second)| first == second).count();
            let around = |trace: &[String]| {
                let lines = trace.iter().skip(same.saturating_sub(12)).take(16);
                lines.map(|line| format!("  {line}\n")).collect::<String>()
            };
            let (first, second) = (around(&outcome.trace), around(&again.trace));
            outcome.violations.push(format!("it is not repeated: once\n{first}and then\n{second}"));
        }
        if !is_traced {
            outcome.trace.clear();
        }
    }
    Ok(outcome)
}

fn simulate_once(seed: u64, files: &Path, template: &Path, is_traced: bool) -> Result<Outcome> {
    let folder = tempfile::tempdir_in(files)?;
    PANIC.set(None);
    deployment::run(seed, folder.path(), template, is_traced)
}

/// Makes an empty catalog, which every deployment begins with a copy of.
fn template(folder: &Path) -> Result<PathBuf> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let store = Store::open(StoreSettings::in_folder(folder), Arc::new(Zero), Arc::new(Zero)).await?;
        store.close().await;
        Ok::<_, runlog_store::Error>(())
    })?;
    Ok(folder.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A few seeds, so that the tests of the workspace notice when the simulation is broken; `.ci/run` runs many.
    #[test]
    fn seeds_pass_and_repeat_themselves() {
        let files = tempfile::tempdir().unwrap();
        let template = template(&files.path().join("template")).unwrap();
        for seed in 0..4 {
            let outcome = simulate(seed, files.path(), &template, false, true).unwrap();
            assert_eq!(outcome.violations, Vec::<String>::new(), "seed {seed}");
            assert!(outcome.gates > 100, "seed {seed} does something");
        }
    }
}
