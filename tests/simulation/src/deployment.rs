//! A deployment under one seed: its nodes, their faults, and the driver that resumes one task after another.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::Result;
use runlog_store::{Store, StoreSettings};

use crate::alerts::{self, AlertProfile, NodeAlerts};
use crate::clients::{CLIENT_ACTIONS, ClientAction, Clients, NodeHandle, Part};
use crate::cloud::{Cloud, CloudProfile};
use crate::collectors::{self, CollectorProfile, Host, NodeCollector};
use crate::locked;
use crate::node::{self, Machine, Node, NodeClock, NodeRuntime};
use crate::objects::Disk;
use crate::peers::{PeerProfile, Peers};
use crate::schedule::{FaultRates, OUTSIDE, PLACES, Schedule};
use crate::seed::{NodeRandom, Numbers};
use crate::service::Service;
use crate::sinks::{self, NodeDeliverer, SinkProfile};

const BEGIN_MS: i64 = 1_795_434_850_000;
const HOUR_MS: i64 = 3_600_000;
/// Maximum number of opened gates. A seed that needs more is in a livelock.
const GATES_MAX: u64 = 120_000;
/// Maximum simulated time without any progress.
const STANDSTILL_MS: i64 = 40 * 24 * HOUR_MS;
/// Share of deployments that have an upstream with collectors.
const CLOUD_PER_MILLE: usize = 350;
/// Share of deployments that are also accessed over HTTP.
const HTTP_PER_MILLE: usize = 150;

/// Share of deployments without an upstream that deliver to sinks.
const SINKS_PER_MILLE: usize = 350;
/// Share of deployments without an upstream that have alerts.
const ALERTS_PER_MILLE: usize = 350;
/// Share of deployments without an upstream that have lakehouse tables.
const LAKE_PER_MILLE: usize = 250;

/// The properties of a deployment, chosen by the seed.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    pub(crate) nodes: usize,
    /// Maximum number of runs.
    pub(crate) runs: usize,
    /// Relative frequency of each action of clients.
    pub(crate) weights: Vec<usize>,
    /// Whether each run has records and has ended when the faults begin.
    pub(crate) has_past: bool,
    /// Nodes on machines of their own with a bucket, and a database that has a clock and may lose answers; otherwise
    /// processes on one machine with a folder, whose power may fail.
    pub(crate) is_cluster: bool,
    pub(crate) page_records_max: u64,
    /// Maximum error of clocks. Unit: milliseconds.
    pub(crate) skew_ms: i64,
    /// Whether nodes run their own background jobs; otherwise clients call them.
    pub(crate) runs_jobs: bool,
    /// Frequency of crashes, pauses and power failures of nodes. Unit: per million gates.
    pub(crate) events: usize,
    pub(crate) rates: FaultRates,
    /// Frequency with which time passes although a task could continue. Unit: per mille of the gates.
    passing: usize,
    /// Maximum time that passes in such a step, as a power of two. Unit: milliseconds.
    passing_power_max: i64,
    /// The upstream of collectors, and their settings; none in most seeds.
    cloud: Option<(CloudProfile, CollectorProfile)>,
    /// Whether collectors are called when a run has just ended, and again within the hour.
    pub(crate) collects_closely: bool,
    /// Whether some requests of clients go over HTTP.
    pub(crate) has_http: bool,
    /// Sinks to which nodes deliver.
    pub(crate) sinks: Vec<SinkProfile>,
    pub(crate) alerts: Option<AlertProfile>,
    /// The peers that sinks and alerts send to.
    peers: PeerProfile,
    /// Whether logs are sealed for lakehouses.
    pub(crate) has_lake: bool,
}

impl Profile {
    fn of(numbers: &mut Numbers) -> Self {
        let is_cluster = numbers.chance(500);
        let rate = |numbers: &mut Numbers, choices: [usize; 3]| choices[numbers.below(3)];
        let skew_ms = if is_cluster { [0, 0, 2_000, 7 * HOUR_MS][numbers.below(4)] } else { 0 };
        let cloud = numbers
            .chance(CLOUD_PER_MILLE)
            .then(|| (CloudProfile::of(numbers, skew_ms), CollectorProfile::of(numbers, skew_ms)));
        let has_http = numbers.chance(HTTP_PER_MILLE);
        // These parts use separate random numbers, so that deployments without them do not change.
        let mut more = Numbers::new(numbers.clone().next() ^ 0x5eed);
        let is_alone = cloud.is_none();
        let sinks = match is_alone && more.chance(SINKS_PER_MILLE) {
            true => SinkProfile::some(&mut more),
            false => Vec::new(),
        };
        let has_alerts = is_alone && more.chance(ALERTS_PER_MILLE);
        let alerts = has_alerts.then(|| AlertProfile::of(&mut more));
        let has_lake = is_alone && more.chance(LAKE_PER_MILLE);
        let peers = PeerProfile::of(&mut more);
        let collects_closely = !is_alone && more.chance(500);
        let weight = |(action, usual): &(ClientAction, usize), numbers: &mut Numbers| match action.part() {
            None => usual * [0, 1, 1, 4][numbers.below(4)],
            Some(Part::Cloud) if cloud.is_some() => usual * [1, 1, 4][numbers.below(3)],
            Some(Part::Sinks) if !sinks.is_empty() => *usual,
            Some(Part::Alerts) if has_alerts => *usual,
            Some(Part::Lake) if has_lake => *usual,
            Some(_) => 0,
        };
        Self {
            nodes: 1 + numbers.below(OUTSIDE),
            runs: [1, 2, 5][numbers.below(3)],
            // A seed performs a few kinds of actions often, so that rare combinations of them occur.
            weights: CLIENT_ACTIONS.iter().map(|action| weight(action, numbers)).collect(),
            has_past: numbers.chance(500),
            is_cluster,
            page_records_max: [3, 7, 20, 60][numbers.below(4)],
            skew_ms,
            runs_jobs: numbers.chance(250),
            events: rate(numbers, [0, 2_000, 8_000]),
            rates: FaultRates {
                objects: if is_cluster { rate(numbers, [0, 5, 40]) } else { 0 },
                puts: if is_cluster { rate(numbers, [0, 20, 150]) } else { 0 },
                commits: if is_cluster { rate(numbers, [0, 5, 40]) } else { 0 },
            },
            passing: rate(numbers, [2, 20, 100]),
            passing_power_max: numbers.between(4, 16),
            cloud,
            collects_closely,
            has_http,
            sinks,
            alerts,
            peers,
            has_lake,
        }
    }
}

/// The shared state of the driver and the clients.
pub(crate) struct Shared {
    pub(crate) schedule: Schedule,
    pub(crate) disk: Disk,
    pub(crate) profile: Profile,
    pub(crate) nodes: Mutex<Vec<Option<NodeHandle>>>,
    clocks: Vec<Arc<NodeClock>>,
    /// The end of each life of a node, by its number. Unit: ticks.
    pub(crate) ends: Mutex<Vec<Option<u64>>>,
    /// Whether faults occur.
    pub(crate) has_faults: AtomicBool,
    pub(crate) is_done: AtomicBool,
    /// Whether the power has failed.
    pub(crate) had_no_power: AtomicBool,
    /// The upstream of the collectors.
    pub(crate) cloud: Option<Arc<Cloud>>,
    /// The peers that sinks and alerts send to.
    pub(crate) peers: Option<Arc<Peers>>,
}

impl Shared {
    pub(crate) fn now_ms(&self) -> i64 {
        self.schedule.now_ms()
    }

    /// Corrects every clock.
    pub(crate) fn set_clocks_right(&self) {
        self.clocks.iter().for_each(|clock| clock.ahead_ms.store(0, Ordering::Relaxed));
    }

    /// The collector of a node that is up.
    pub(crate) fn collector_of(&self, node: usize) -> Option<Arc<NodeCollector>> {
        locked(&self.nodes)[node].as_ref()?.collector.clone()
    }

    /// A deliverer of a node that is up.
    pub(crate) fn deliverer_of(&self, node: usize, sink: usize) -> Option<Arc<NodeDeliverer>> {
        locked(&self.nodes)[node].as_ref()?.deliverers.get(sink).cloned()
    }

    /// The alerts of a node that is up.
    pub(crate) fn alerts_of(&self, node: usize) -> Option<Arc<NodeAlerts>> {
        locked(&self.nodes)[node].as_ref()?.alerts.clone()
    }

    /// The service of a node that is up.
    pub(crate) fn service_of(&self, node: usize) -> Option<Arc<Service>> {
        Some(Arc::clone(&locked(&self.nodes)[node].as_ref()?.service))
    }

    /// How far the clock of a node is ahead. Unit: milliseconds.
    pub(crate) fn ahead_ms(&self, node: usize) -> i64 {
        self.clocks[node].ahead_ms.load(Ordering::Relaxed)
    }
}

/// The outcome of a seed.
pub(crate) struct Outcome {
    pub(crate) violations: Vec<String>,
    pub(crate) digest: u64,
    pub(crate) gates: u64,
    pub(crate) trace: Vec<String>,
    pub(crate) simulated_ms: i64,
}

/// The state of a node.
enum Slot {
    Up(Box<Node>),
    /// Down until this number of gates were opened.
    Down(u64),
}

struct Driver {
    shared: Arc<Shared>,
    numbers: Numbers,
    folder: PathBuf,
    catalogs: usize,
    slots: Vec<Slot>,
    /// The end of each node's pause. Unit: epoch milliseconds.
    paused_until_ms: Vec<i64>,
    outside: NodeRuntime,
    step_ms: i64,
    /// The time of the last progress. Unit: epoch milliseconds.
    active_ms: i64,
}

/// Runs a deployment; its files lie in `folder`, and its catalog begins as a copy of `template`.
pub(crate) fn run(seed: u64, folder: &Path, template: &Path, is_traced: bool) -> Result<Outcome> {
    let mut numbers = Numbers::new(seed);
    let profile = Profile::of(&mut numbers);
    let schedule = Schedule::new(numbers.fork(), BEGIN_MS, is_traced);
    schedule.note(|| format!("seed {seed}: {profile:?}"));
    node::copy_catalog(template, &folder.join("0"), &[])?;
    let (nodes, skew_ms) = (profile.nodes, profile.skew_ms);
    let clock = |numbers: &mut Numbers| {
        let ahead_ms = AtomicI64::new(numbers.between(-skew_ms, skew_ms));
        Arc::new(NodeClock { schedule: schedule.clone(), ahead_ms })
    };
    let shared = Arc::new(Shared {
        schedule: schedule.clone(),
        clocks: (0..nodes).map(|_| clock(&mut numbers)).collect(),
        disk: Disk::default(),
        nodes: Mutex::new(vec![None; profile.nodes]),
        ends: Mutex::default(),
        has_faults: AtomicBool::new(false),
        is_done: AtomicBool::new(false),
        had_no_power: AtomicBool::new(false),
        cloud: profile
            .cloud
            .as_ref()
            .map(|(cloud, _)| Arc::new(Cloud::new(schedule.clone(), cloud.clone(), numbers.fork(), skew_ms == 0))),
        peers: (!profile.sinks.is_empty() || profile.alerts.is_some())
            .then(|| Arc::new(Peers::new(schedule.clone(), profile.peers.clone(), numbers.fork()))),
        profile,
    });
    let mut driver = Driver {
        slots: (0..nodes).map(|_| Slot::Down(0)).collect(),
        paused_until_ms: vec![i64::MIN; nodes],
        outside: NodeRuntime::new(&schedule, OUTSIDE)?,
        folder: folder.to_owned(),
        catalogs: 0,
        step_ms: 1,
        active_ms: BEGIN_MS,
        numbers: numbers.fork(),
        shared: Arc::clone(&shared),
    };
    for node in 0..nodes {
        driver.start(node)?;
    }
    let clients = Clients::new(Arc::clone(&shared), numbers.fork());
    driver.outside.runtime.spawn({
        let shared = Arc::clone(&shared);
        async move {
            clients.live().await;
            shared.is_done.store(true, Ordering::SeqCst);
        }
    });
    schedule.mark_dirty(OUTSIDE);
    driver.go_on()?;
    driver.end();
    let simulated_ms = schedule.now_ms() - BEGIN_MS;
    let violations = std::mem::take(&mut locked(&schedule.0).violations);
    let (digest, gates, trace) = schedule.into_record();
    Ok(Outcome { violations, digest, gates, trace, simulated_ms })
}

impl Driver {
    fn go_on(&mut self) -> Result<()> {
        let schedule = self.shared.schedule.clone();
        loop {
            self.settle();
            let (opened, is_violated) = {
                let state = locked(&schedule.0);
                (state.opened, !state.violations.is_empty())
            };
            if let Some(panic) = crate::run::last_panic() {
                schedule.violation(panic);
                return Ok(());
            }
            if is_violated || self.shared.is_done.load(Ordering::SeqCst) {
                return Ok(());
            }
            if opened > GATES_MAX {
                schedule.violation(format!("it does not end; what waits: {}", schedule.waiting()));
                return Ok(());
            }
            self.let_things_happen(opened)?;
            let passing = self.shared.profile.passing;
            if self.has_faults() && self.numbers.chance(passing) {
                let ms = 1 << self.numbers.between(0, self.shared.profile.passing_power_max);
                self.pass_time(ms);
                continue;
            }
            if let Some(place) = schedule.open_one(&self.awake()) {
                // The periodic work of nodes must not delay the time that clients wait for.
                if place == OUTSIDE {
                    (self.step_ms, self.active_ms) = (1, schedule.now_ms());
                }
                continue;
            }
            // No task can continue until time passes or a node that is down starts.
            if let Some(node) = self.first_down() {
                self.start(node)?;
                continue;
            }
            if schedule.now_ms() - self.active_ms > STANDSTILL_MS {
                schedule.violation(format!("nothing goes on; what waits: {}", schedule.waiting()));
                return Ok(());
            }
            self.pass_time(self.step_ms);
            self.step_ms = (self.step_ms * 4).min(HOUR_MS);
        }
    }

    fn has_faults(&self) -> bool {
        self.shared.has_faults.load(Ordering::SeqCst)
    }

    fn awake(&self) -> [bool; PLACES] {
        let now_ms = self.shared.now_ms();
        let mut awake = [false; PLACES];
        awake[OUTSIDE] = true;
        for (node, slot) in self.slots.iter().enumerate() {
            let is_paused = self.has_faults() && self.paused_until_ms[node] > now_ms;
            awake[node] = matches!(slot, Slot::Up(_)) && !is_paused;
        }
        awake
    }

    fn first_down(&self) -> Option<usize> {
        self.slots.iter().position(|slot| matches!(slot, Slot::Down(_)))
    }

    /// Runs every runtime with pending events until all tasks wait.
    fn settle(&mut self) {
        loop {
            let dirty = std::mem::take(&mut locked(&self.shared.schedule.0).is_dirty);
            if !dirty.contains(&true) {
                return;
            }
            for (place, _) in dirty.iter().enumerate().filter(|(_, is_dirty)| **is_dirty) {
                if place == OUTSIDE {
                    self.outside.settle();
                } else if let Some(Slot::Up(node)) = self.slots.get(place) {
                    node.place.settle();
                }
            }
        }
    }

    /// Lets time pass, but not beyond a time that a task waits for exactly.
    fn pass_time(&mut self, ms: i64) {
        let schedule = self.shared.schedule.clone();
        let next_ms = schedule.next_time_ms().map_or(i64::MAX, |at| at - schedule.now_ms());
        let ms = ms.min(next_ms).max(1);
        locked(&schedule.0).now_ms += ms;
        schedule.note(|| format!("{ms} ms pass"));
        let awake = self.awake();
        for (place, slot) in self.slots.iter_mut().enumerate() {
            let Slot::Up(node) = slot else { continue };
            if awake[place] {
                node.place.advance(ms + std::mem::take(&mut node.lag_ms));
                schedule.mark_dirty(place);
            } else {
                node.lag_ms += ms;
            }
        }
    }

    /// Lets nodes crash, pause and restart, chosen by the seed.
    fn let_things_happen(&mut self, opened: u64) -> Result<()> {
        for node in 0..self.slots.len() {
            let is_due = matches!(self.slots[node], Slot::Down(until) if until <= opened || !self.has_faults());
            if is_due {
                self.start(node)?;
            }
        }
        if !self.has_faults() || self.numbers.below(1_000_000) >= self.shared.profile.events {
            return Ok(());
        }
        let (node, now_ms) = (self.numbers.below(self.slots.len()), self.shared.now_ms());
        match self.numbers.below(4) {
            0 | 1 => self.crash(node),
            2 if !self.shared.profile.is_cluster => self.cut_power()?,
            2 => {
                let skew_ms = self.shared.profile.skew_ms;
                let ahead_ms = self.numbers.between(-skew_ms, skew_ms);
                self.shared.clocks[node].ahead_ms.store(ahead_ms, Ordering::Relaxed);
                self.shared.schedule.note(|| format!("the clock of node {node} is set to {ahead_ms} ms ahead"));
            }
            _ => {
                let ms = [1_000, 60_000, HOUR_MS, 8 * HOUR_MS][self.numbers.below(4)];
                self.paused_until_ms[node] = now_ms + self.numbers.between(1, ms);
                self.shared.schedule.note(|| format!("node {node} stands still"));
            }
        }
        Ok(())
    }

    fn start(&mut self, node: usize) -> Result<()> {
        let profile = &self.shared.profile;
        let mut settings = StoreSettings::in_folder(self.folder.join(self.catalogs.to_string()));
        settings.page_records_max = profile.page_records_max;
        settings.lake = profile.has_lake;
        let machine = Machine {
            schedule: self.shared.schedule.clone(),
            place: node,
            disk: self.shared.disk.clone(),
            is_bucket: profile.is_cluster,
            has_catalog_clock: profile.is_cluster,
        };
        let random = NodeRandom(Mutex::new(self.numbers.fork()));
        let opened = node::open(settings, machine, Arc::clone(&self.shared.clocks[node]), random)?;
        let life = {
            let mut ends = locked(&self.shared.ends);
            ends.push(None);
            ends.len() - 1
        };
        let (handle, store) = (opened.place.runtime.handle().clone(), opened.store.clone());
        if profile.runs_jobs {
            run_jobs(&handle, &store);
        }
        let service = Arc::new(Service::new(Arc::clone(&self.shared.clocks[node]), self.numbers.fork()));
        let collector = match (&self.shared.cloud, &profile.cloud) {
            (Some(cloud), Some((_, profile))) => {
                let folder = collectors::folder_of(&self.folder, node);
                let clock = Arc::clone(&self.shared.clocks[node]);
                let host = Host { node, life, store: &store, clock, folder: &folder };
                Some(Arc::new(collectors::start(cloud, profile, &host, &mut self.numbers)?))
            }
            _ => None,
        };
        let clock = &self.shared.clocks[node];
        let (mut deliverers, mut node_alerts) = (Vec::new(), None);
        if let Some(peers) = &self.shared.peers {
            deliverers = sinks::start(peers, &profile.sinks, node, &store, clock)?;
            let starting = profile.alerts.as_ref().map(|profile| alerts::start(peers, profile, node, &store));
            node_alerts = starting.transpose()?.map(Arc::new);
        }
        locked(&self.shared.nodes)[node] = Some(NodeHandle {
            handle,
            store,
            life,
            calls: Arc::default(),
            collector,
            service,
            deliverers,
            alerts: node_alerts,
        });
        self.shared.schedule.note(|| format!("node {node} starts"));
        self.shared.schedule.mark_dirty(node);
        self.slots[node] = Slot::Up(Box::new(opened));
        Ok(())
    }

    /// Ends a node at its current point of execution.
    fn crash(&mut self, node: usize) {
        let down_until = self.shared.schedule.tick() + self.numbers.below(300) as u64;
        let slot = std::mem::replace(&mut self.slots[node], Slot::Down(down_until));
        let Slot::Up(up) = slot else { return };
        if let Some(handle) = locked(&self.shared.nodes)[node].take() {
            locked(&self.shared.ends)[handle.life] = Some(self.shared.schedule.tick());
            handle.end_calls();
        }
        let Node { place, store, .. } = *up;
        place.settle();
        drop(store);
        place.end();
        self.shared.schedule.note(|| format!("node {node} crashes"));
        self.shared.schedule.mark_dirty(OUTSIDE);
    }

    /// Simulates a power failure of the machine of all nodes: data that was not synced may be lost.
    fn cut_power(&mut self) -> Result<()> {
        let from = self.folder.join(self.catalogs.to_string());
        self.catalogs += 1;
        let to = self.folder.join(self.catalogs.to_string());
        let torn: Vec<u8> = (0..self.numbers.below(9_000)).map(|_| self.numbers.next().to_le_bytes()[0]).collect();
        node::copy_catalog(&from, &to, &torn)?;
        for node in 0..self.slots.len() {
            self.crash(node);
        }
        self.shared.disk.cut_power(&mut self.numbers);
        for node in 0..self.slots.len() {
            let folder = collectors::folder_of(&self.folder, node);
            if folder.is_dir() {
                collectors::cut_power(&folder, &mut self.numbers)?;
            }
        }
        self.shared.had_no_power.store(true, Ordering::SeqCst);
        self.shared.schedule.note(|| "the power fails".to_owned());
        Ok(())
    }

    fn end(self) {
        for handle in locked(&self.shared.nodes).iter_mut() {
            *handle = None;
        }
        for slot in self.slots {
            if let Slot::Up(node) = slot {
                let Node { place, store, .. } = *node;
                drop(store);
                place.end();
            }
        }
        self.outside.end();
    }
}

/// The background jobs of the archive, as a service runs them.
fn run_jobs(handle: &tokio::runtime::Handle, store: &Store) {
    let maintenance = store.maintenance().clone();
    handle.spawn(async move { maintenance.run_jobs(tokio_util::sync::CancellationToken::new()).await });
}
