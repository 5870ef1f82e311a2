//! The clients: they concurrently push, finish, read, fetch pages, delete, hold, and let nodes perform the work of
//! background jobs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::TryStreamExt;
use runlog_model::wire::admin::{AuditEntry, NewTask, NewWorkspace};
use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_model::{
    FileFormat, Random, Record, RecordOrder, RunId, RunStatus, TaskId, TimeRange, Timestamp, WorkspaceId,
};
use runlog_store::accounts::{Caller, CallerKind};
use runlog_store::audit::AuditContext;
use runlog_store::logs::LiveQuery;
use runlog_store::maintenance::{LegalHold, Retention};
use runlog_store::pages::{PageRequest, PageStatus, PageTicket};
use runlog_store::{Error, ErrorKind, Result as StoreResult, Store, StoreSettings};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::alerts::{NodeAlerts, Searches};
use crate::collection::Upstream;
use crate::collectors::NodeCollector;
use crate::deliveries::Sink;
use crate::deployment::Shared;
use crate::lake::Shown;
use crate::ledger::{self, Batch, Deletion, Hold, Ledger, Reading, Run, Span, Window};
use crate::locked;
use crate::schedule::{Kind, OUTSIDE};
use crate::seed::{NodeRandom, Numbers};
use crate::service::Service;
use crate::sinks::NodeDeliverer;

pub(crate) const HOUR_MS: i64 = 3_600_000;
pub(crate) const DAY_MS: i64 = 24 * HOUR_MS;
/// Maximum number of attempts of a client that gets no response.
const ATTEMPTS_MAX: usize = 4;

/// The actions of clients.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ClientAction {
    Start,
    Push,
    Finish,
    Read,
    WalkPages,
    WaitForExpiry,
    Delete,
    Hold,
    Retain,
    Seal,
    Sweep,
    BuildPages,
    Deliver,
    Summarize,
    Collect,
    Verify,
    Beside,
    Sleep,
    Trigger,
    CollectFromCloud,
    ReadCloudRun,
    DeliverToPeer,
    Alert,
    EndWhileMuted,
    LoadTable,
}

/// A part that only some deployments have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// An upstream with collectors.
    Cloud,
    /// Sinks of the program.
    Sinks,
    Alerts,
    /// Tables for lakehouses.
    Lake,
}

impl ClientAction {
    /// Returns the part that the action requires.
    pub(crate) fn part(self) -> Option<Part> {
        match self {
            Self::Trigger | Self::CollectFromCloud | Self::ReadCloudRun => Some(Part::Cloud),
            Self::DeliverToPeer => Some(Part::Sinks),
            Self::Alert | Self::EndWhileMuted => Some(Part::Alerts),
            Self::LoadTable => Some(Part::Lake),
            _ => None,
        }
    }
}

/// The actions of clients with their relative frequencies.
pub(crate) const CLIENT_ACTIONS: [(ClientAction, usize); 25] = [
    (ClientAction::Start, 4),
    (ClientAction::Push, 24),
    (ClientAction::Finish, 6),
    (ClientAction::Read, 8),
    (ClientAction::WalkPages, 5),
    (ClientAction::WaitForExpiry, 2),
    (ClientAction::Delete, 5),
    (ClientAction::Hold, 3),
    (ClientAction::Retain, 4),
    (ClientAction::Seal, 8),
    (ClientAction::Sweep, 4),
    (ClientAction::BuildPages, 2),
    (ClientAction::Deliver, 8),
    (ClientAction::Summarize, 6),
    (ClientAction::Collect, 5),
    (ClientAction::Verify, 2),
    (ClientAction::Beside, 12),
    (ClientAction::Sleep, 6),
    (ClientAction::Trigger, 8),
    (ClientAction::CollectFromCloud, 16),
    (ClientAction::ReadCloudRun, 6),
    (ClientAction::DeliverToPeer, 60),
    (ClientAction::Alert, 50),
    (ClientAction::EndWhileMuted, 10),
    (ClientAction::LoadTable, 20),
];

/// A running node, as accessed by clients.
#[derive(Clone)]
pub(crate) struct NodeHandle {
    pub(crate) handle: Handle,
    pub(crate) store: Store,
    /// The number of this life of the node.
    pub(crate) life: usize,
    /// The calls in progress, by number.
    pub(crate) calls: Arc<Mutex<BTreeMap<u64, AbortHandle>>>,
    pub(crate) collector: Option<Arc<NodeCollector>>,
    pub(crate) service: Arc<Service>,
    pub(crate) deliverers: Vec<Arc<NodeDeliverer>>,
    pub(crate) alerts: Option<Arc<NodeAlerts>>,
}

impl NodeHandle {
    /// Ends its calls in order, because the order in which a runtime drops its tasks is not deterministic.
    pub(crate) fn end_calls(&self) {
        locked(&self.calls).values().for_each(AbortHandle::abort);
    }
}

/// The outcome of a call.
pub(crate) enum Answer<T> {
    Of(T),
    /// The node crashed, or the client disconnected: the effect of the call is unknown.
    Lost,
}

/// The shared state of all clients.
pub(crate) struct World {
    pub(crate) shared: Arc<Shared>,
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) sink: Mutex<Sink>,
    pub(crate) upstream: Mutex<Upstream>,
    /// The token of the administrator, for requests over HTTP.
    pub(crate) token: Mutex<String>,
    pub(crate) searches: Mutex<Searches>,
    /// Held by the client that mutes a rule.
    pub(crate) muting: tokio::sync::Mutex<()>,
    pub(crate) has_muted: AtomicBool,
    /// The last known content of the lakehouse table, by run.
    pub(crate) shown: Mutex<BTreeMap<usize, Shown>>,
    numbers: Mutex<Numbers>,
    place: Mutex<Option<(WorkspaceId, TaskId)>>,
}

/// A client.
#[derive(Clone)]
pub(crate) struct Clients(pub(crate) Arc<World>);

impl World {
    pub(crate) fn lives(&self) -> Vec<Option<u64>> {
        locked(&self.shared.ends).clone()
    }

    pub(crate) fn violation(&self, text: String) {
        self.shared.schedule.violation(text);
    }

    /// Whether a rule of alerts was muted at any time.
    pub(crate) fn had_mute(&self) -> bool {
        self.has_muted.load(Ordering::SeqCst)
    }
}

impl Clients {
    pub(crate) fn new(shared: Arc<Shared>, numbers: Numbers) -> Self {
        let ledger = Ledger { skew_ms: shared.profile.skew_ms, ..Ledger::default() };
        Self(Arc::new(World {
            shared,
            ledger: Mutex::new(ledger),
            sink: Mutex::default(),
            upstream: Mutex::default(),
            token: Mutex::default(),
            searches: Mutex::default(),
            muting: tokio::sync::Mutex::default(),
            has_muted: AtomicBool::new(false),
            shown: Mutex::default(),
            numbers: Mutex::new(numbers),
            place: Mutex::default(),
        }))
    }

    pub(crate) fn below(&self, bound: usize) -> usize {
        locked(&self.0.numbers).below(bound)
    }

    pub(crate) fn chance(&self, per_mille: usize) -> bool {
        locked(&self.0.numbers).chance(per_mille)
    }

    pub(crate) fn between(&self, low: i64, high: i64) -> i64 {
        locked(&self.0.numbers).between(low, high)
    }

    /// The workspace of the runs.
    pub(crate) fn workspace(&self) -> Option<WorkspaceId> {
        locked(&self.0.place).map(|(workspace, _)| workspace)
    }

    pub(crate) fn numbers(&self) -> Numbers {
        locked(&self.0.numbers).fork()
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.0.shared.now_ms()
    }

    pub(crate) fn tick(&self) -> u64 {
        self.0.shared.schedule.tick()
    }

    pub(crate) fn some_node(&self) -> usize {
        self.below(self.0.shared.profile.nodes)
    }

    pub(crate) fn violation(&self, text: String) {
        self.0.violation(text);
    }

    pub(crate) async fn sleep_ms(&self, ms: i64) {
        let until_ms = self.now_ms() + ms;
        self.sleep_until(until_ms).await;
    }

    pub(crate) async fn sleep_until(&self, ms: i64) {
        self.0.shared.schedule.sleep_until(OUTSIDE, ms).await;
    }

    /// Calls a node. The client may disconnect in the meantime.
    pub(crate) async fn call<T, F>(
        &self,
        node: usize,
        what: &str,
        may_hang_up: bool,
        work: impl FnOnce(Store) -> F,
    ) -> (Answer<T>, Span)
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let schedule = self.0.shared.schedule.clone();
        schedule.gate(OUTSIDE, Kind::Message, format!("{what} to node {node}")).await;
        let from = schedule.tick();
        let up = locked(&self.0.shared.nodes)[node].clone();
        let Some(NodeHandle { handle, store, life, calls, .. }) = up else {
            // The call ends before it begins.
            return (Answer::Lost, Span { from, until: Some(from), life: 0 });
        };
        let working = work(store);
        let mut task = handle.spawn({
            let schedule = schedule.clone();
            async move {
                let answer = working.await;
                schedule.mark_dirty(OUTSIDE);
                answer
            }
        });
        let number = {
            let mut calls = locked(&calls);
            let number = calls.last_key_value().map_or(0, |(last, _)| last + 1);
            calls.insert(number, task.abort_handle());
            number
        };
        schedule.mark_dirty(node);
        let joined = if may_hang_up && self.chance(150) {
            let hang_up = schedule.gate(OUTSIDE, Kind::HangUp, what);
            tokio::select! {
                biased;
                joined = &mut task => joined,
                _ = hang_up => {
                    task.abort();
                    schedule.mark_dirty(node);
                    return (Answer::Lost, Span { from, until: None, life });
                }
            }
        } else {
            task.await
        };
        locked(&calls).remove(&number);
        match joined {
            Ok(answer) => {
                let until = schedule.tick();
                schedule.gate(OUTSIDE, Kind::Message, format!("{what} answered by node {node}")).await;
                (Answer::Of(answer), Span { from, until: Some(until), life })
            }
            Err(_) => (Answer::Lost, Span { from, until: None, life }),
        }
    }

    /// An error that a client must not get.
    pub(crate) fn expect_usual(&self, what: &str, error: &Error) {
        let is_usual = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Busy | ErrorKind::Conflict);
        if !is_usual {
            self.violation(format!("{what}: {}", error.with_causes()));
        }
    }

    /// Runs the clients, from the first request to the last check.
    pub(crate) async fn live(self) {
        if !self.set_up().await {
            return;
        }
        self.0.shared.has_faults.store(true, Ordering::SeqCst);
        self.set_service_faults(true);
        let rates = self.0.shared.profile.rates;
        locked(&self.0.shared.schedule.0).rates = rates;
        let clients = 2 + self.below(7);
        let mut at_work = Vec::new();
        for _ in 0..clients {
            let client = self.clone();
            let actions = 2 + self.below(12);
            at_work.push(tokio::spawn(async move {
                for _ in 0..actions {
                    client.do_something().await;
                }
            }));
        }
        for client in at_work {
            if let Err(error) = client.await {
                self.violation(format!("a client ended: {error}"));
            }
        }
        self.0.shared.has_faults.store(false, Ordering::SeqCst);
        self.set_service_faults(false);
        locked(&self.0.shared.schedule.0).rates = Default::default();
        self.0.shared.set_clocks_right();
        self.0.shared.schedule.note(|| "the faults end".to_owned());
        self.check_the_end().await;
    }

    fn set_service_faults(&self, has_faults: bool) {
        if let Some(cloud) = &self.0.shared.cloud {
            cloud.set_faults(has_faults);
        }
        if let Some(peers) = &self.0.shared.peers {
            peers.set_faults(has_faults);
        }
    }

    async fn set_up(&self) -> bool {
        let has_http = self.0.shared.profile.has_http;
        let made = self.call(0, "set up", false, |store| async move {
            let workspace = NewWorkspace {
                id: None,
                environment_id: None,
                name: "team".to_owned(),
                description: None,
                owner: None,
            };
            let workspace = store.workspaces().create_workspace(&workspace, "admin").await?;
            let task = NewTask {
                id: None,
                workspace_id: workspace.id,
                name: "nightly".to_owned(),
                version: None,
                description: None,
                tags: Vec::new(),
            };
            let task = store.workspaces().create_task(&task).await?;
            store.deliveries().register_sink(crate::deliveries::SINK, "test", None).await?;
            let token = if has_http { store.accounts().ensure_administrator().await? } else { None };
            Ok::<_, Error>((workspace.id, task.id, token))
        });
        match made.await.0 {
            Answer::Of(Ok((workspace, task, token))) => {
                *locked(&self.0.place) = Some((workspace, task));
                *locked(&self.0.token) = token.unwrap_or_default();
            }
            Answer::Of(Err(error)) => self.violation(format!("it cannot be set up: {}", error.with_causes())),
            Answer::Lost => self.violation("it cannot be set up".to_owned()),
        }
        if !self.set_up_alerts().await {
            self.violation("alerts cannot be set up".to_owned());
        }
        self.start_run().await;
        if self.0.shared.profile.has_past {
            self.live_through_a_past().await;
        }
        !locked(&self.0.ledger).runs.is_empty()
    }

    /// Starts and ends runs with records before the faults begin.
    async fn live_through_a_past(&self) {
        for run in 0..self.0.shared.profile.runs {
            if run > 0 {
                self.start_run().await;
            }
            for _ in 0..1 + self.below(2) {
                self.push_new(run).await;
            }
            if self.chance(800) {
                self.finish(run).await;
            }
        }
        self.sleep_ms(31_000).await;
        if self.chance(500) {
            self.seal().await;
        }
    }

    async fn do_something(&self) {
        let runs = locked(&self.0.ledger).runs.len();
        let run = self.below(runs);
        match self.some_action() {
            ClientAction::Start => self.start_run().await,
            ClientAction::Push => self.push_new(run).await,
            ClientAction::Finish => _ = self.finish(run).await,
            ClientAction::Read => self.read(run, self.some_node()).await,
            ClientAction::WalkPages => _ = self.walk_pages(run).await,
            ClientAction::WaitForExpiry => self.wait_for_expiry(run).await,
            ClientAction::Delete => self.delete(run).await,
            ClientAction::Hold => self.hold(run).await,
            ClientAction::Retain => self.retain(run).await,
            ClientAction::Seal => _ = self.seal().await,
            ClientAction::Sweep => _ = self.sweep().await,
            ClientAction::BuildPages => self.build_pages().await,
            ClientAction::Deliver => _ = self.deliver(false).await,
            ClientAction::Summarize => _ = self.summarize(false).await,
            ClientAction::Collect => _ = self.collect(false).await,
            ClientAction::Verify => _ = self.verify(self.some_node()).await,
            ClientAction::Beside => self.do_beside(run).await,
            ClientAction::Trigger => self.trigger(),
            ClientAction::CollectFromCloud => {
                let is_close = self.0.shared.profile.collects_closely;
                if is_close && self.chance(700) {
                    self.trigger();
                    self.wait_for_an_end().await;
                } else if !is_close && self.chance(700) {
                    self.trigger();
                    // Before the logs have settled, just after that, and when a listing does not look back so far again.
                    let ms = [3_000, 31_000, 600_000][self.below(3)];
                    self.sleep_ms(ms).await;
                }
                self.collect_from_cloud().await;
                if is_close && self.chance(400) {
                    // Rounds of the audit logs that read back only as far as the previous round requires.
                    self.sleep_ms(self.between(HOUR_MS / 4, HOUR_MS * 3 / 4)).await;
                    self.collect_from_cloud().await;
                }
            }
            ClientAction::ReadCloudRun => self.read_cloud_run().await,
            ClientAction::DeliverToPeer => self.deliver_to_peers(run).await,
            ClientAction::Alert => self.alert(run).await,
            ClientAction::EndWhileMuted => self.end_while_muted(run).await,
            ClientAction::LoadTable => self.load_table().await,
            ClientAction::Sleep => {
                let ms = [1_000, 31_000, 31_000, 10 * 60_000, 2 * HOUR_MS, 7 * HOUR_MS][self.below(6)];
                self.sleep_ms(ms).await;
            }
        }
    }

    /// Makes a log due for work, and changes it while the work is done.
    async fn do_beside(&self, run: usize) {
        self.push_new(run).await;
        self.finish(run).await;
        self.sleep_ms(31_000).await;
        let kind = self.below(4);
        if kind < 2 {
            self.seal().await;
        }
        let work = async {
            match kind {
                0 => _ = self.summarize(false).await,
                1 => {
                    let later = async {
                        self.sleep_ms(61_000).await;
                        self.deliver(false).await
                    };
                    _ = futures::join!(self.deliver(false), later);
                }
                2 => _ = self.seal().await,
                _ => self.read(run, self.some_node()).await,
            }
        };
        let change = async {
            match self.below(4) {
                0 => self.push_new(run).await,
                1 | 2 => self.delete(run).await,
                _ => _ = self.seal().await,
            }
        };
        futures::join!(work, change);
        if kind == 0 {
            // The verification finds summaries of deleted logs, which no other check would find.
            self.verify(self.some_node()).await;
        }
    }

    fn some_action(&self) -> ClientAction {
        let weights = &self.0.shared.profile.weights;
        let mut at = self.below(weights.iter().sum());
        for ((action, _), weight) in CLIENT_ACTIONS.iter().zip(weights) {
            if at < *weight {
                return *action;
            }
            at -= weight;
        }
        ClientAction::Push
    }

    pub(crate) fn run_id(&self, run: usize) -> RunId {
        locked(&self.0.ledger).runs[run].id
    }

    pub(crate) async fn start_run(&self) {
        if locked(&self.0.ledger).runs.len() >= self.0.shared.profile.runs {
            return;
        }
        self.start_run_with(self.new_id()).await;
    }

    fn new_id(&self) -> RunId {
        RunId::random(&NodeRandom(Mutex::new(self.numbers())) as &dyn Random)
    }

    /// Starts a run that will be successful.
    pub(crate) async fn start_a_good_run(&self) {
        let mut id = self.new_id();
        while self.fails(id) {
            id = self.new_id();
        }
        self.start_run_with(id).await;
    }

    async fn start_run_with(&self, id: RunId) {
        let Some((_, task_id)) = *locked(&self.0.place) else { return };
        let node = self.some_node();
        let caller = Caller {
            kind: CallerKind::User,
            id: "00000000-0000-4000-8000-000000000001".to_owned(),
            name: "admin".to_owned(),
            administrator: true,
            permissions: Vec::new(),
        };
        let started_ms = self.now_ms();
        let starting = self.call(node, "start", false, move |store| async move {
            store.runs().start(id, &StartRun::of_task(task_id), &caller).await
        });
        match starting.await.0 {
            Answer::Of(Ok(_)) => locked(&self.0.ledger).runs.push(Run::new(id, started_ms)),
            Answer::Of(Err(error)) => self.expect_usual("a start", &error),
            Answer::Lost => {}
        }
    }

    pub(crate) async fn push_new(&self, run: usize) {
        // The batches of every second run are short, so that one ends in the millisecond in which another begins.
        let is_short = run.is_multiple_of(2) == self.0.shared.profile.page_records_max.is_multiple_of(2);
        let number = match is_short {
            true => self.new_batch(run, 1 + self.below(6), self.below(6), 1 + self.below(3)),
            false => self.new_batch(run, 1 + self.below(12), 0, [6, 9_000][self.below(2)]),
        };
        self.push(run, number, ATTEMPTS_MAX).await;
    }

    /// A batch that is about to be sent, with times from `first` in so many milliseconds; its number.
    fn new_batch(&self, run: usize, records: usize, first: usize, width: usize) -> usize {
        let mut ledger = locked(&self.0.ledger);
        let number = ledger.runs[run].batches.len();
        let record = |index| {
            let ms = 1_000 + i64::try_from(first + self.below(width)).unwrap_or_default();
            Record { message: Some(ledger::text(number, index)), ..Record::at(Timestamp::clamped(ms)) }
        };
        let records = (0..records).map(record).collect();
        ledger.runs[run].batches.push(Batch {
            records,
            attempts: Vec::new(),
            acknowledged: Vec::new(),
            first_sent_ms: self.now_ms(),
        });
        number
    }

    /// Sends a batch until it is acknowledged. Returns false if no attempt was.
    pub(crate) async fn push(&self, run: usize, number: usize, attempts: usize) -> bool {
        for attempt in 0..attempts {
            let (id, records) = {
                let ledger = locked(&self.0.ledger);
                (ledger.runs[run].id, ledger.runs[run].batches[number].records.clone())
            };
            let name = format!("b{number}");
            let expected = records.len() as u64;
            let index = {
                let mut ledger = locked(&self.0.ledger);
                let begun = Span { from: self.tick(), until: None, life: usize::MAX };
                ledger.runs[run].batches[number].attempts.push(begun);
                ledger.runs[run].batches[number].attempts.len() - 1
            };
            let (answer, span) = if self.speaks_http() {
                self.push_over_http(id, &name, &records).await
            } else {
                let pushing = self.call(self.some_node(), "push", true, move |store| async move {
                    let mut batch = store.ingest().begin_batch(id, Some(&name)).await?;
                    for record in &records {
                        batch.push(record).await?;
                    }
                    batch.commit().await
                });
                pushing.await
            };
            {
                let mut ledger = locked(&self.0.ledger);
                let batch = &mut ledger.runs[run].batches[number];
                batch.attempts[index] = span;
                if matches!(answer, Answer::Of(Ok(_))) {
                    batch.acknowledged.push(span);
                }
            }
            match answer {
                Answer::Of(Ok(stored)) => {
                    if stored.stored != expected && !stored.repeated {
                        self.violation(format!("a batch of {expected} records is stored as {stored:?}"));
                    }
                    if attempt == 0 && stored.repeated && !self.has_other_attempts(run, number, index) {
                        self.violation(format!("batch {number} was never sent and is said to be repeated"));
                    }
                    return true;
                }
                Answer::Of(Err(error)) if error.kind() == ErrorKind::Conflict => {
                    self.violation(format!("batch {number} in conflict: {}", error.with_causes()));
                    return false;
                }
                Answer::Of(Err(error)) => self.expect_usual("a push", &error),
                Answer::Lost => {}
            }
            self.sleep_ms(1_000).await;
        }
        false
    }

    fn has_other_attempts(&self, run: usize, number: usize, index: usize) -> bool {
        let ledger = locked(&self.0.ledger);
        ledger.runs[run].batches[number].attempts.iter().enumerate().any(|(other, _)| other != index)
    }

    pub(crate) async fn finish(&self, run: usize) -> bool {
        let (id, sent_ms) = (self.run_id(run), self.now_ms());
        locked(&self.0.ledger).runs[run].finish_sent_ms.get_or_insert(sent_ms);
        let finished = if self.speaks_http() {
            self.finish_over_http(id).await
        } else {
            let body = self.finish_body(id);
            let finishing = self.call(self.some_node(), "finish", true, move |store| async move {
                store.runs().finish(id, &body).await.map(drop)
            });
            finishing.await.0
        };
        match finished {
            Answer::Of(Ok(_)) => {
                self.note_finished(run);
                return true;
            }
            Answer::Of(Err(error)) => self.expect_usual("the end of a run", &error),
            Answer::Lost => {}
        }
        false
    }

    /// Notes that the archive has confirmed the end of a run.
    pub(crate) fn note_finished(&self, run: usize) {
        let (now_ms, tick) = (self.now_ms(), self.tick());
        let mut ledger = locked(&self.0.ledger);
        ledger.runs[run].finished_ms.get_or_insert(now_ms);
        ledger.runs[run].finished_tick.get_or_insert(tick);
    }

    fn reading(&self, span: Span) -> Reading {
        Reading { from: span.from, until: self.tick(), until_ms: self.now_ms() }
    }

    /// Compares the records that were read with the ledger of the clients.
    pub(crate) fn check(&self, what: &str, run: usize, records: &[Record], span: Span, is_whole: bool) {
        let lives = self.0.lives();
        let reading = self.reading(span);
        let checked = locked(&self.0.ledger).check(run, records, reading, is_whole, &lives);
        if let Err(problem) = checked {
            self.violation(format!("{what} of run {run}: {problem}"));
        }
    }

    /// Like [`check`](Self::check), for a part of the records.
    pub(crate) fn check_part(&self, what: &str, run: usize, records: &[Record], span: Span) {
        let lives = self.0.lives();
        let checked = locked(&self.0.ledger).check_part(run, records, self.reading(span), &lives);
        if let Err(problem) = checked {
            self.violation(format!("{what} of run {run}: {problem}"));
        }
    }

    /// The body of the request that ends a run.
    pub(crate) fn finish_body(&self, id: RunId) -> FinishRun {
        let status = if self.fails(id) { RunStatus::Failed } else { RunStatus::Successful };
        FinishRun { status, ..finish_body() }
    }

    pub(crate) async fn read(&self, run: usize, node: usize) {
        if self.speaks_http() {
            return self.read_over_http(run, node).await;
        }
        let id = self.run_id(run);
        let kind = self.below(3);
        let schedule = self.0.shared.schedule.clone();
        // Some read so slowly that the log is sealed meanwhile.
        let pause_ms = if self.chance(300) { 1_000 * i64::try_from(self.below(200)).unwrap_or_default() } else { 0 };
        let reading = self.call(node, "read", true, move |store| async move {
            match kind {
                0 => {
                    let query =
                        LiveQuery { range: TimeRange::ALL, order: RecordOrder::Asc, start_index: 0, count: 10_000 };
                    Ok::<_, Error>(store.logs().live_page(id, &query).await?.records)
                }
                kind => {
                    let order = if kind == 1 { RecordOrder::Asc } else { RecordOrder::Desc };
                    let mut reader = store.logs().read_records(id, TimeRange::ALL, order).await?;
                    let mut records = Vec::new();
                    while let Some(more) = reader.next().await? {
                        records.extend(more);
                        schedule.gate(node, Kind::Message, "records are sent").await;
                        if pause_ms > 0 {
                            schedule.sleep_until(node, schedule.now_ms() + pause_ms).await;
                        }
                    }
                    if order == RecordOrder::Desc {
                        records.reverse();
                    }
                    Ok(records)
                }
            }
        });
        match reading.await {
            (Answer::Of(Ok(records)), span) => self.check("the log", run, &records, span, true),
            (Answer::Of(Err(error)), _) => self.expect_usual("a read", &error),
            (Answer::Lost, _) => {}
        }
    }

    /// Requests several pages of a node concurrently, and waits for all responses.
    pub(crate) async fn request_together(&self, run: usize) {
        let (id, node) = (self.run_id(run), self.some_node());
        let request = |end_ms: i64| {
            let range = TimeRange { start: None, end: Some(Timestamp::clamped(end_ms)) };
            let file_name = "log".to_owned();
            let order = RecordOrder::Asc;
            let request = PageRequest { run_id: id, range, format: FileFormat::Json, order, file_name };
            self.call(node, "request a page", false, move |store| async move {
                store.pages().request_page(&request).await.map(drop)
            })
        };
        for (answer, _) in futures::future::join_all((1_000..1_004).map(request)).await {
            if let Answer::Of(Err(error)) = answer {
                self.expect_usual("a request for a page", &error);
            }
        }
    }

    async fn request(&self, run: usize, range: TimeRange) -> (Answer<StoreResult<PageTicket>>, Span) {
        let request = PageRequest {
            run_id: self.run_id(run),
            range,
            format: FileFormat::Json,
            order: RecordOrder::Asc,
            file_name: "log".to_owned(),
        };
        self.call(self.some_node(), "request a page", false, move |store| async move {
            store.pages().request_page(&request).await
        })
        .await
    }

    /// Fetches a log as described in the vendor's guide, newest page first.
    pub(crate) async fn walk_pages(&self, run: usize) -> bool {
        let (mut range, mut all, mut whole) = (TimeRange::ALL, Vec::new(), None::<Span>);
        loop {
            let (answer, span) = self.request(run, range).await;
            let first = *whole.get_or_insert(span);
            let ticket = match answer {
                Answer::Of(Ok(ticket)) => ticket,
                Answer::Of(Err(error)) => {
                    self.expect_usual("a request for a page", &error);
                    return false;
                }
                Answer::Lost => return false,
            };
            let Some(page) = self.download(run, &ticket.token).await else { return false };
            if page.len() as u64 != ticket.records {
                self.violation(format!("a page of {} records holds {}", ticket.records, page.len()));
            }
            all.splice(0..0, page);
            let next = ticket.end.next_end_text().and_then(|text| text.parse().ok());
            let Some(next_end) = next else {
                self.check("the pages", run, &all, Span { until: span.until, ..first }, false);
                return true;
            };
            range.end = Some(next_end);
        }
    }

    /// The records of a page once it is built; `None` when something went wrong.
    async fn download(&self, run: usize, token: &str) -> Option<Vec<Record>> {
        let id = self.run_id(run);
        for _ in 0..12 {
            let token = token.to_owned();
            let polling = self.call(self.some_node(), "poll", false, move |store| async move {
                let status = store.pages().page_status(id, &token, Duration::ZERO).await?;
                let PageStatus::Ready(file) = status else { return Ok::<_, Error>(None) };
                let Some(reader) = store.pages().open_page(&file.key).await? else { return Ok(None) };
                let length = reader.plain_bytes;
                let bytes: Vec<bytes::Bytes> = reader.plain(0..length).try_collect().await?;
                Ok(Some(bytes.concat()))
            });
            match polling.await.0 {
                Answer::Of(Ok(Some(bytes))) => match serde_json::from_slice(&bytes) {
                    Ok(records) => return Some(records),
                    Err(error) => {
                        self.violation(format!("a page that is no JSON: {error}"));
                        return None;
                    }
                },
                Answer::Of(Ok(None)) => {
                    if !self.0.shared.profile.runs_jobs {
                        self.build_pages().await;
                    }
                }
                // The log may have been deleted, and the hour may be over.
                Answer::Of(Err(error)) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Expired) => {
                    return None;
                }
                Answer::Of(Err(error)) => self.expect_usual("a page", &error),
                Answer::Lost => {}
            }
            self.sleep_ms(1_000).await;
        }
        None
    }

    /// Requests a page, and its state immediately before and after its token expires.
    async fn wait_for_expiry(&self, run: usize) {
        if self.0.shared.profile.skew_ms > 0 {
            return;
        }
        let before_ms = self.now_ms();
        let (Answer::Of(Ok(ticket)), span) = self.request(run, TimeRange::ALL).await else { return };
        let after_ms = self.now_ms();
        let life_ms = StoreSettings::in_folder("").page_life_ms;
        let id = self.run_id(run);
        for (at_ms, must_be_expired) in [(before_ms + life_ms - 1, false), (after_ms + life_ms, true)] {
            if at_ms < self.now_ms() {
                continue;
            }
            self.sleep_until(at_ms).await;
            let token = ticket.token.clone();
            let polling = self.call(self.some_node(), "poll", false, move |store| async move {
                store.pages().page_status(id, &token, Duration::ZERO).await
            });
            let answer = polling.await.0;
            let is_exact = self.now_ms() == at_ms;
            let Answer::Of(answer) = answer else { continue };
            let is_expired = answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Expired);
            let is_gone = answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound);
            let was_deleted = {
                let (ledger, lives) = (locked(&self.0.ledger), self.0.lives());
                ledger.may_have_been_deleted(run, span.from, self.tick(), self.now_ms(), &lives)
            };
            if is_gone && !was_deleted {
                self.violation(format!("the token of a page of run {run} is gone"));
            }
            let is_wrong = if must_be_expired { answer.is_ok() } else { is_expired && is_exact };
            if is_wrong {
                self.violation(format!("a token that was given at {before_ms} to {after_ms}, at {at_ms}: {answer:?}"));
            }
        }
    }

    async fn delete(&self, run: usize) {
        let (id, at) = (self.run_id(run), self.now_ms());
        let index = {
            let mut ledger = locked(&self.0.ledger);
            let span = Span { from: self.tick(), until: None, life: usize::MAX };
            ledger.runs[run].deletions.push(Deletion { span, is_certain: false });
            ledger.runs[run].deletions.len() - 1
        };
        let node = self.some_node();
        let ticket = if self.chance(500) { self.request(run, TimeRange::ALL).await } else { (Answer::Lost, no_span()) };
        let deleting = async {
            if self.speaks_http() {
                return self.delete_over_http(node, id).await;
            }
            self.call(node, "delete", true, move |store| async move {
                let entry = AuditEntry {
                    at: Timestamp::clamped(at),
                    caller_id: "admin".to_owned(),
                    caller_name: "admin".to_owned(),
                    action: "delete log".to_owned(),
                    subject: id.to_string(),
                    status: 200,
                    address: String::new(),
                    request_id: String::new(),
                };
                store.with_audit(AuditContext::new(entry)).maintenance().delete_log(id).await.map(drop)
            })
            .await
        };
        let (answer, span) = deleting.await;
        let lives = self.0.lives();
        let was_held = {
            let mut ledger = locked(&self.0.ledger);
            let run = &mut ledger.runs[run];
            run.deletions[index].span = span;
            match &answer {
                Answer::Of(Ok(_)) => run.deletions[index].is_certain = true,
                Answer::Of(Err(error)) if error.kind() == ErrorKind::Conflict => {
                    // The deletion was refused, and so had no effect.
                    run.deletions[index].span.from = u64::MAX;
                }
                _ => {}
            }
            run.is_held(span.from, self.tick(), &lives)
        };
        match answer {
            Answer::Of(Ok(_)) if was_held => self.violation(format!("run {run} is deleted under legal hold")),
            Answer::Of(Ok(_)) => {
                if let (Answer::Of(Ok(ticket)), _) = ticket {
                    self.expect_no_page(run, ticket.token).await;
                }
            }
            Answer::Of(Err(error)) => self.expect_usual("a deletion", &error),
            Answer::Lost => {}
        }
    }

    /// Checks that a page that was requested before a deletion no longer exists.
    async fn expect_no_page(&self, run: usize, token: String) {
        let id = self.run_id(run);
        let polling = self.call(self.some_node(), "poll", false, move |store| async move {
            store.pages().page_status(id, &token, Duration::ZERO).await
        });
        if let Answer::Of(Ok(status)) = polling.await.0 {
            self.violation(format!("the page of a log that was deleted, of run {run}: {status:?}"));
        }
    }

    async fn hold(&self, run: usize) {
        let (id, is_held) = (self.run_id(run), self.chance(600));
        let index = {
            let mut ledger = locked(&self.0.ledger);
            let span = Span { from: self.tick(), until: None, life: usize::MAX };
            ledger.runs[run].holds.push(Hold { span, is_held, is_acknowledged: false });
            ledger.runs[run].holds.len() - 1
        };
        let holding = self.call(self.some_node(), "hold", false, move |store| async move {
            store.maintenance().set_legal_hold(id, is_held.then(LegalHold::default).as_ref()).await
        });
        let (answer, span) = holding.await;
        {
            let mut ledger = locked(&self.0.ledger);
            let hold = &mut ledger.runs[run].holds[index];
            (hold.span, hold.is_acknowledged) = (span, matches!(answer, Answer::Of(Ok(()))));
        }
        if let Answer::Of(Err(error)) = answer {
            self.expect_usual("a hold", &error);
        }
    }

    /// Sets the retention of all logs, waits until that of a run is nearly or just over, and lets a node apply it.
    async fn retain(&self, run: usize) {
        let Some((workspace, _)) = *locked(&self.0.place) else { return };
        let days = 1 + i64::try_from(self.below(2)).unwrap_or_default();
        let index = {
            let mut ledger = locked(&self.0.ledger);
            ledger.windows.push(Window { days, from: self.tick(), until: None, until_ms: None });
            ledger.windows.len() - 1
        };
        let set = |days: Option<i64>| {
            let retention = Retention { days: days.map(i64::unsigned_abs), bytes: None };
            self.call(self.some_node(), "set the retention", false, move |store| async move {
                store.maintenance().set_retention(workspace, retention).await
            })
        };
        if let (Answer::Of(Ok(())), _) = set(Some(days)).await {
            let from_ms = {
                let ledger = locked(&self.0.ledger);
                let run = &ledger.runs[run];
                run.finish_sent_ms
                    .or_else(|| run.batches.iter().map(|batch| batch.first_sent_ms).max())
                    .unwrap_or(run.started_ms)
            };
            if self.chance(700) {
                let edge_ms = from_ms + days * DAY_MS + [-1, 0, 1, 60_000][self.below(4)];
                self.sleep_until(edge_ms).await;
            }
            let is_running = locked(&self.0.ledger).runs[run].finish_sent_ms.is_none();
            match self.chance(if is_running { 800 } else { 200 }) {
                true => _ = futures::join!(self.apply_retention(days, index), self.push_new(run)),
                false => self.apply_retention(days, index).await,
            }
        }
        // No other client sets it until this one has its response.
        for _ in 0..50 {
            let (answer, span) = set(None).await;
            if matches!(answer, Answer::Of(Ok(()))) {
                let now_ms = self.now_ms();
                let mut ledger = locked(&self.0.ledger);
                (ledger.windows[index].until, ledger.windows[index].until_ms) = (span.until, Some(now_ms));
                return;
            }
            self.sleep_ms(60_000).await;
        }
    }

    async fn apply_retention(&self, days: i64, window: usize) {
        let sent_ms = self.now_ms();
        let applying = self.call(self.some_node(), "apply the retention", false, |store| async move {
            store.maintenance().apply_retention().await
        });
        match applying.await {
            (Answer::Of(Ok(report)), span) if report.failed == 0 && !self.is_retention_disputed(window) => {
                let (mut ledger, lives) = (locked(&self.0.ledger), self.0.lives());
                let until = span.until.unwrap_or(u64::MAX);
                let due = |run: &usize| ledger.is_due(*run, days, span.from, until, sent_ms, &lives);
                let due: Vec<usize> = (0..ledger.runs.len()).filter(due).collect();
                for run in due {
                    ledger.runs[run].deletions.push(Deletion { span, is_certain: true });
                }
            }
            (Answer::Of(Err(error)), _) => self.expect_usual("a retention", &error),
            _ => {}
        }
    }

    /// Whether another client may have changed the retention meanwhile.
    fn is_retention_disputed(&self, window: usize) -> bool {
        let ledger = locked(&self.0.ledger);
        let from = ledger.windows[window].from;
        ledger.windows.iter().filter(|window| window.until.is_none_or(|until| until >= from)).count() != 1
    }

    pub(crate) async fn seal(&self) -> bool {
        let sealing =
            self.call(self.some_node(), "seal", true, |store| async move { store.maintenance().seal().await });
        match sealing.await.0 {
            Answer::Of(Ok(sealed)) => return sealed.runs > 0,
            Answer::Of(Err(error)) => self.expect_usual("sealing", &error),
            Answer::Lost => {}
        }
        false
    }

    pub(crate) async fn sweep(&self) -> bool {
        let sweeping =
            self.call(self.some_node(), "sweep", false, |store| async move { store.maintenance().sweep().await });
        match sweeping.await.0 {
            Answer::Of(Ok(_)) => return true,
            Answer::Of(Err(error)) => self.expect_usual("a sweep", &error),
            Answer::Lost => {}
        }
        false
    }

    pub(crate) async fn build_pages(&self) {
        let building = self.call(self.some_node(), "build pages", false, |store| async move {
            while store.pages().build_next_page().await? {}
            Ok::<_, Error>(())
        });
        if let Answer::Of(Err(error)) = building.await.0 {
            self.expect_usual("a page build", &error);
        }
    }

    pub(crate) async fn verify(&self, node: usize) -> Option<u64> {
        let verifying =
            self.call(node, "verify", false, |store| async move { store.maintenance().verify(false, |_| ()).await });
        match verifying.await.0 {
            Answer::Of(Ok(verified)) => {
                let has_faults = self.0.shared.has_faults.load(Ordering::SeqCst);
                let had_no_power = self.0.shared.had_no_power.load(Ordering::SeqCst);
                // Page files that were lost in a power cut are reported, although they are rebuilt when they are read;
                // and an object store that does not respond does not report an object as missing.
                let is_expected = |text: &String| had_no_power && text.starts_with("page file ");
                let is_away = has_faults && verified.problem_texts.iter().any(|text| text.contains("does not answer"));
                if let Some(problem) = verified.problem_texts.iter().find(|text| !is_expected(text) && !is_away) {
                    self.violation(format!("a verification by node {node}: {problem}"));
                }
                return Some(verified.orphans);
            }
            Answer::Of(Err(error)) => self.expect_usual("a verification", &error),
            Answer::Lost => {}
        }
        None
    }
}

/// A call that was not made.
fn no_span() -> Span {
    Span { from: 0, until: Some(0), life: 0 }
}

/// The body of a request that ends a run.
fn finish_body() -> FinishRun {
    FinishRun {
        status: RunStatus::Successful,
        finish_timestamp: None,
        error_message: None,
        error_type: None,
        misfired_execution_reason: None,
        number_of_processed_rows: None,
        number_of_rejected_rows: None,
    }
}
