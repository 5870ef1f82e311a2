//! The order in which tasks continue.
//!
//! Everything that is done waits at a gate before it acts on something that others see: a statement or transaction of the
//! catalog, an object, a message between a client and a node. When every task waits, the driver opens one gate, as the
//! seed says, and waits again until every task waits. So one task acts at a time, though the catalog has threads of its
//! own: while a turn is running, the driver waits for these threads.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures::future::BoxFuture;
use runlog_store::simulation::{Operation, Turn};

use crate::locked;
use crate::seed::Numbers;

/// The place of the clients; the nodes have the numbers below.
pub(crate) const OUTSIDE: usize = 3;
/// The nodes, and the clients.
pub(crate) const PLACES: usize = OUTSIDE + 1;

/// The operation that waits at a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A message to a node, or its answer.
    Message,
    /// A client that will disconnect.
    HangUp,
    /// A wait until a time.
    Sleep,
    /// A statement that reads.
    Read,
    /// A statement or transaction that writes: it needs the write lock of the catalog.
    Write,
    Commit,
    /// The response to a statement or transaction that has written.
    Written,
    GetObject,
    PutObject,
    /// The response to a put.
    ObjectStored,
    DeleteObject,
    ListObjects,
}

/// A fault at a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The operation is not performed, and the caller gets an error.
    Fails,
    /// A put: the object is stored, and the caller gets an error.
    StoredAndFails,
    /// A put: the caller gets an error, and the object is stored later.
    FailsAndIsStored,
}

/// Probabilities of faults. Unit: per mille of the gates concerned.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FaultRates {
    pub(crate) objects: usize,
    pub(crate) puts: usize,
    pub(crate) commits: usize,
}

/// A task at a gate.
struct Gate {
    place: usize,
    kind: Kind,
    what: String,
    /// The number of opened gates until which it is delayed, unless no other task can continue.
    held_until: u64,
    /// Unit: epoch milliseconds.
    not_before_ms: i64,
    opened: Option<Fault>,
    turn: Option<u64>,
    waker: Option<Waker>,
}

/// A turn on the catalog that is running: its threads may be at work.
struct RunningTurn {
    place: usize,
    task: Option<tokio::task::Id>,
    /// Number of nested turns that currently wait at a gate.
    suspended: u32,
}

pub(crate) struct State {
    pub(crate) numbers: Numbers,
    pub(crate) now_ms: i64,
    pub(crate) rates: FaultRates,
    /// Number of opened gates.
    pub(crate) opened: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) is_dirty: [bool; PLACES],
    gates: BTreeMap<u64, Gate>,
    running: BTreeMap<u64, RunningTurn>,
    /// The turn that holds the write lock of the catalog.
    lock: Option<u64>,
    next: u64,
    digest: u64,
    trace: Option<Vec<String>>,
    hold_up: usize,
    /// Probability that the newest gate is the next to open. Unit: per mille.
    stickiness: usize,
}

/// The schedule of one seed.
#[derive(Clone)]
pub(crate) struct Schedule(pub(crate) Arc<Mutex<State>>);

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule").finish_non_exhaustive()
    }
}

impl Schedule {
    pub(crate) fn new(mut numbers: Numbers, now_ms: i64, is_traced: bool) -> Self {
        let hold_up = [0, 20, 60][numbers.below(3)];
        let stickiness = [0, 300, 800][numbers.below(3)];
        Self(Arc::new(Mutex::new(State {
            numbers,
            now_ms,
            rates: FaultRates::default(),
            opened: 0,
            violations: Vec::new(),
            is_dirty: [false; PLACES],
            gates: BTreeMap::new(),
            running: BTreeMap::new(),
            lock: None,
            next: 0,
            digest: 0xcbf2_9ce4_8422_2325,
            trace: is_traced.then(Vec::new),
            hold_up,
            stickiness,
        })))
    }

    pub(crate) fn now_ms(&self) -> i64 {
        locked(&self.0).now_ms
    }

    /// Returns the number of opened gates: the time of the ledger of clients.
    pub(crate) fn tick(&self) -> u64 {
        locked(&self.0).opened
    }

    /// Records a violation of an invariant.
    pub(crate) fn violation(&self, text: String) {
        let mut state = locked(&self.0);
        state.note(|| format!("VIOLATION: {text}"));
        state.violations.push(text);
    }

    /// Adds to the trace and the digest of the run.
    pub(crate) fn note(&self, text: impl FnOnce() -> String) {
        locked(&self.0).note(text);
    }

    /// The digest of everything that was noted, and the trace if it is kept.
    pub(crate) fn into_record(self) -> (u64, u64, Vec<String>) {
        let mut state = locked(&self.0);
        (state.digest, state.opened, state.trace.take().unwrap_or_default())
    }

    pub(crate) fn mark_dirty(&self, place: usize) {
        locked(&self.0).is_dirty[place] = true;
    }

    /// Waits at a gate.
    pub(crate) fn gate(&self, place: usize, kind: Kind, what: impl Into<String>) -> AtGate {
        self.gate_from(place, kind, what.into(), i64::MIN, None)
    }

    /// Waits until a time. Unit: epoch milliseconds.
    pub(crate) fn sleep_until(&self, place: usize, ms: i64) -> AtGate {
        self.gate_from(place, Kind::Sleep, String::new(), ms, None)
    }

    fn gate_from(&self, place: usize, kind: Kind, what: String, not_before_ms: i64, turn: Option<u64>) -> AtGate {
        let mut state = locked(&self.0);
        state.next += 1;
        let id = state.next;
        let (hold_up, opened) = (state.hold_up, state.opened);
        let held_for = if kind != Kind::Sleep && state.numbers.chance(hold_up) { state.numbers.below(200) } else { 0 };
        let held_until = opened + held_for as u64;
        state.note(|| format!("  {} comes to {kind:?} {what}", place_name(place)));
        let gate = Gate { place, kind, what, held_until, not_before_ms, opened: None, turn, waker: None };
        state.gates.insert(id, gate);
        drop(state);
        AtGate { schedule: self.clone(), id, is_through: false }
    }

    /// True when no turn of a place is running: its threads are idle.
    pub(crate) fn is_idle(&self, place: usize) -> bool {
        locked(&self.0).running.values().all(|turn| turn.place != place || turn.suspended > 0)
    }

    /// Opens a gate of these places, chosen by the seed. Returns its place, or `None` if no task can continue before
    /// time passes.
    pub(crate) fn open_one(&self, is_awake: &[bool; PLACES]) -> Option<usize> {
        let mut state = locked(&self.0);
        let State { gates, now_ms, lock, opened, .. } = &*state;
        let can_open = |gate: &&Gate| {
            gate.opened.is_none()
                && is_awake[gate.place]
                && gate.not_before_ms <= *now_ms
                && (gate.kind != Kind::Write || lock.is_none())
        };
        let all: Vec<(u64, u64)> =
            gates.iter().filter(|(_, gate)| can_open(gate)).map(|(id, gate)| (*id, gate.held_until)).collect();
        let ready: Vec<u64> = all.iter().filter(|(_, until)| until <= opened).map(|(id, _)| *id).collect();
        let ready = if ready.is_empty() { all.iter().map(|(id, _)| *id).collect() } else { ready };
        let last = *ready.last()?;
        let stickiness = state.stickiness;
        let id = match state.numbers.chance(stickiness) {
            true => last,
            false => ready[state.numbers.below(ready.len())],
        };
        Some(state.open(id))
    }

    /// The first time that a gate waits for. Unit: epoch milliseconds.
    pub(crate) fn next_time_ms(&self) -> Option<i64> {
        let state = locked(&self.0);
        let waits = |gate: &&Gate| gate.opened.is_none() && gate.not_before_ms > state.now_ms;
        state.gates.values().filter(waits).map(|gate| gate.not_before_ms).min()
    }

    /// Describes the waiting tasks, for a message.
    pub(crate) fn waiting(&self) -> String {
        let state = locked(&self.0);
        let texts =
            state.gates.values().map(|gate| format!("{} {:?} {}", place_name(gate.place), gate.kind, gate.what));
        texts.take(12).collect::<Vec<_>>().join("; ")
    }

    /// Waits for a turn on the catalog.
    pub(crate) fn begin_turn(
        &self,
        place: usize,
        operation: Operation,
        statement: &str,
    ) -> BoxFuture<'static, Box<dyn Turn>> {
        let kind = if operation == Operation::Read { Kind::Read } else { Kind::Write };
        let task = tokio::task::try_id();
        let (id, parent) = {
            let mut state = locked(&self.0);
            state.next += 1;
            let id = state.next;
            let is_parent = |turn: &RunningTurn| turn.place == place && task.is_some() && turn.task == task;
            let parent = state.running.iter_mut().find(|(_, turn)| is_parent(turn));
            let parent = parent.map(|(id, turn)| {
                turn.suspended += 1;
                *id
            });
            (id, parent)
        };
        let turn = CatalogTurn { schedule: self.clone(), place, id, task, parent };
        let gate = self.gate_from(place, kind, beginning(statement), i64::MIN, Some(id));
        Box::pin(async move {
            gate.await;
            turn.resume();
            Box::new(turn) as Box<dyn Turn>
        })
    }
}

impl State {
    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        let text = text();
        for byte in text.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>6} {:>12} {text}", self.opened, self.now_ms));
        }
    }

    fn open(&mut self, id: u64) -> usize {
        self.opened += 1;
        let (mut numbers, rates) = (self.numbers.clone(), self.rates);
        let Some(gate) = self.gates.get_mut(&id) else { return OUTSIDE };
        let fault = fault_of(gate.kind, rates, &mut numbers);
        gate.opened = Some(fault);
        let (place, kind, turn) = (gate.place, gate.kind, gate.turn);
        let text = format!("{} {kind:?} {}{}", place_name(place), gate.what, fault_text(fault));
        let waker = gate.waker.take();
        self.numbers = numbers;
        self.is_dirty[place] = true;
        if let Some(turn) = turn {
            // It counts as running immediately, although its task has not been polled yet.
            self.running.entry(turn).or_insert(RunningTurn { place, task: None, suspended: 0 }).suspended = 0;
            if kind == Kind::Write {
                self.lock = Some(turn);
            }
        }
        self.note(|| text);
        if let Some(waker) = waker {
            waker.wake();
        }
        place
    }

    fn end_turn(&mut self, id: u64) {
        self.running.remove(&id);
        if self.lock == Some(id) {
            self.lock = None;
        }
    }
}

fn fault_of(kind: Kind, rates: FaultRates, numbers: &mut Numbers) -> Fault {
    match kind {
        Kind::PutObject if numbers.chance(rates.puts) => {
            [Fault::Fails, Fault::StoredAndFails, Fault::FailsAndIsStored][numbers.below(3)]
        }
        Kind::GetObject | Kind::DeleteObject | Kind::ListObjects if numbers.chance(rates.objects) => Fault::Fails,
        Kind::Commit | Kind::Written if numbers.chance(rates.commits) => Fault::Fails,
        _ => Fault::None,
    }
}

fn fault_text(fault: Fault) -> String {
    if fault == Fault::None { String::new() } else { format!(" ! {fault:?}") }
}

fn place_name(place: usize) -> String {
    if place == OUTSIDE { "clients".to_owned() } else { format!("node {place}") }
}

/// The beginning of a statement, in one line.
fn beginning(statement: &str) -> String {
    let words: Vec<&str> = statement.split_whitespace().collect();
    words.join(" ").chars().take(60).collect()
}

/// A task at a gate. Dropping it removes the task from the gate.
#[must_use]
pub(crate) struct AtGate {
    schedule: Schedule,
    id: u64,
    is_through: bool,
}

impl Future for AtGate {
    type Output = Fault;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Fault> {
        let schedule = self.schedule.clone();
        let mut state = locked(&schedule.0);
        let Some(gate) = state.gates.get_mut(&self.id) else { return Poll::Ready(Fault::None) };
        let Some(fault) = gate.opened else {
            gate.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        state.gates.remove(&self.id);
        self.is_through = true;
        Poll::Ready(fault)
    }
}

impl Drop for AtGate {
    fn drop(&mut self) {
        if !self.is_through {
            locked(&self.schedule.0).gates.remove(&self.id);
        }
    }
}

/// An operation on the catalog, from its gate until it is dropped.
#[derive(Debug)]
struct CatalogTurn {
    schedule: Schedule,
    place: usize,
    id: u64,
    task: Option<tokio::task::Id>,
    parent: Option<u64>,
}

impl CatalogTurn {
    /// Notes the task that runs it, once it is polled.
    fn resume(&self) {
        let task = tokio::task::try_id().or(self.task);
        if let Some(turn) = locked(&self.schedule.0).running.get_mut(&self.id) {
            turn.task = task;
        }
    }

    /// Waits at a gate, during which the turn is not running.
    async fn wait(&self, kind: Kind) -> io::Result<()> {
        locked(&self.schedule.0).running.remove(&self.id);
        let gate = self.schedule.gate_from(self.place, kind, String::new(), i64::MIN, Some(self.id));
        let fault = gate.await;
        self.resume();
        match fault {
            Fault::None => Ok(()),
            _ => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }
}

impl Turn for CatalogTurn {
    fn before_commit(&mut self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(self.wait(Kind::Commit))
    }

    fn after_write(&mut self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async {
            // The lock was released with the commit.
            locked(&self.schedule.0).end_turn(self.id);
            self.wait(Kind::Written).await
        })
    }
}

impl Drop for CatalogTurn {
    fn drop(&mut self) {
        let mut state = locked(&self.schedule.0);
        state.end_turn(self.id);
        if let Some(parent) = self.parent.and_then(|parent| state.running.get_mut(&parent)) {
            parent.suspended = parent.suspended.saturating_sub(1);
        }
    }
}
