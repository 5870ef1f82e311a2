//! Collects an upstream: finds its runs, follows them until they have ended and settled, and lands their logs.
//!
//! ```text
//! list ▸ learn ▸ claim ▸ fetch to disk ▸ land what is missing ▸ one transaction: the run has ended, it has landed
//! ```
//!
//! Any number of collectors may share an archive. Each step can be repeated: a list tells of runs that are known, pages
//! that are on disk are not fetched again, and records that are archived are not stored again.

use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use runlog_client::Execution;
use runlog_model::run::PlanPart;
use runlog_model::wire::push::{FinishRun, StartRun};
use runlog_model::{RecordOrder, RunId, RunStatus, TimeRange, Timestamp};
use runlog_store::{
    Caller, CallerKind, ClaimedRun, CollectorFigures, ErrorKind, LiveQuery, Setback, Store, Supervisor, failpoint,
    limits,
};
use serde::Deserialize;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

use super::discover::{Discovered, Discovery, Ended, Range};
use super::error::{CollectError, Result};
use super::land::Landing;
use super::record_blocks::SpareBlocks;
use super::upstream::Upstream;
use crate::fetch::checkpoint::{SPARE, SpareFolders, remove_left_over};
use crate::fetch::error::{FetchError, storage};
use crate::fetch::progress::{FetchEvent, Progress};
use crate::fetch::request::{FetchRequest, Output};
use crate::fetch::run::{Fetched, fetch_into};
use crate::workers::{Pool, side_by_side};

/// How long runs are listed until those that go on are also asked after beside that, and how often that is looked at.
const LISTING_IS_LONG: Duration = Duration::from_secs(300);
const FOLLOW_EVERY: Duration = Duration::from_secs(60);
/// One of so many workers at most looks at runs that go on.
const FOLLOWERS: usize = 4;
/// How often a collector makes itself known to the others.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How often a run whose log the service does not know is tried before it counts as one without a log.
const NO_LOG_TRIES: i64 = 3;
/// How long after its end a run whose log the service does not know may get one. Unit: milliseconds.
const LOG_COMES_MS: i64 = 3_600_000;
/// Ends the name of a folder with what a run has logged while it goes.
const SO_FAR: &str = ".so-far";
/// The wait after the first attempt that came to nothing, and the longest.
const AGAIN_FIRST: Duration = Duration::from_secs(30);
const AGAIN_MAX: Duration = Duration::from_secs(6 * 3_600);
/// The longest where the archive could not take it: when the archive can again, it can for all of them.
const AGAIN_MAX_ARCHIVE: Duration = Duration::from_secs(600);
/// How long a collector that ends waits for the archive to hear of it; the others find out by themselves later.
const FAREWELL: Duration = Duration::from_secs(5);

/// Collects one upstream into one archive.
#[derive(Clone)]
pub struct Collector(Arc<Shared>);

struct Shared {
    store: Store,
    upstream: Upstream,
    discovery: Discovery,
    progress: Arc<dyn CollectProgress>,
    is_tidy: OnceCell<()>,
    /// Those that land runs that are due, and those that look at runs that go on.
    landing: Arc<Pool>,
    following: Arc<Pool>,
    spare_blocks: Arc<SpareBlocks>,
    spare_folders: SpareFolders,
}

/// Hears what a collector is doing.
pub trait CollectProgress: Send + Sync {
    /// Something happened.
    fn tell(&self, event: CollectEvent<'_>);
}

/// What can happen.
#[derive(Debug)]
pub enum CollectEvent<'a> {
    /// A round of listing has come to its end.
    Listed(Discovered),
    /// A run's log is being fetched.
    Fetching(RunId),
    /// So many more records of logs came.
    Came(u64),
    /// A run's whole log is in the archive, with so many records.
    Landed(RunId, u64),
    /// So many records of a run's log were not what the service should send, and were stored as nearly as they came as can
    /// be.
    Mended(RunId, u64),
    /// A run has no log.
    NoLog(RunId),
    /// A run could not be landed, and will be tried again.
    SetBack(RunId, &'a str),
}

/// Hears nothing.
#[derive(Debug, Clone, Copy)]
pub struct Unheard;

impl CollectProgress for Unheard {
    fn tell(&self, _: CollectEvent<'_>) {}
}

impl Progress for Unheard {
    fn tell(&self, _: FetchEvent<'_>) {}
}

/// What a round came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// Runs whose whole log has landed.
    pub landed: u64,
    /// Their records.
    pub records: u64,
    /// Runs that have no log.
    pub no_log: u64,
    /// Runs that could not be landed.
    pub set_back: u64,
}

impl AddAssign for Round {
    fn add_assign(&mut self, other: Self) {
        self.landed += other.landed;
        self.records += other.records;
        self.no_log += other.no_log;
        self.set_back += other.set_back;
    }
}

impl Collector {
    /// A collector; nothing is asked for yet.
    pub fn new(store: Store, upstream: Upstream, progress: Arc<dyn CollectProgress>) -> Self {
        Self(Arc::new(Shared {
            store,
            upstream,
            discovery: Discovery::new(),
            progress,
            is_tidy: OnceCell::new(),
            landing: Arc::new(Pool::new()),
            following: Arc::new(Pool::new()),
            spare_blocks: Arc::default(),
            spare_folders: SpareFolders::default(),
        }))
    }

    /// The name of its upstream.
    pub fn name(&self) -> &str {
        &self.0.upstream.name
    }

    /// Makes itself known to the other collectors of its host, and takes its part of the pace.
    pub async fn share_pace(&self) -> Result<()> {
        let Shared { store, upstream, .. } = &*self.0;
        let (client, traffic) = (&upstream.client, upstream.client.traffic());
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let collector = CollectorFigures {
            host: upstream.host(),
            id: upstream.process.clone(),
            seen_at: 0,
            per_minute: client.pace().map(|pace| number(pace.requests_per_minute())),
            requests_left: client.requests_left().map(|left| number(left as u64)),
            requests: number(traffic.requests),
            repeated: number(traffic.repeated),
            limited: number(traffic.limited),
        };
        let at_work = store.note_collector(&collector, limits::COLLECTOR_LIFE_MS).await?;
        client.share_pace(at_work.len());
        Ok(())
    }

    /// Leaves its part of the pace to the others, and waits until the pages of what has landed are removed.
    pub async fn leave(&self) -> Result<()> {
        let Shared { store, upstream, spare_folders, .. } = &*self.0;
        let host = upstream.host();
        let forget = farewell(store.forget_collector(&host, &upstream.process));
        let (forgotten, ()) = tokio::join!(forget, spare_folders.removed());
        Ok(forgotten?)
    }

    /// Lists the runs since the last time, and somewhat before.
    pub async fn discover(&self) -> Result<Discovered> {
        let upstream = &self.0.upstream;
        let now = upstream.client.clock().now();
        let before = self.0.store.listed_until(&upstream.name).await?;
        let from = match before {
            Some(until) => until.min(now).plus_millis(-millis(upstream.settings.look_back)),
            None => now.plus_millis(-millis(upstream.settings.history.max(upstream.settings.look_back))),
        };
        self.discover_range(Range { from, to: now }).await
    }

    /// Lists the runs of a stretch of time. What one list or run met is told in the end; what the others told is kept.
    pub async fn discover_range(&self, range: Range) -> Result<Discovered> {
        let Shared { store, upstream, discovery, progress, .. } = &*self.0;
        let Ended { found, is_all_listed, problem } = discovery.round(store, upstream, range).await;
        if is_all_listed {
            store.set_listed_until(&upstream.name, range.to).await?;
        }
        debug!(upstream = upstream.name, listed = found.listed, new = found.new, "runs were listed");
        if found.taken_in > 0 {
            let (upstream, runs) = (&upstream.name, found.taken_in);
            info!(upstream, runs, "{runs} runs that had been left out because of how they ended are wanted now");
        }
        progress.tell(CollectEvent::Listed(found));
        match problem {
            None => Ok(found),
            Some(error) => Err(error),
        }
    }

    /// How many runs the service lists for a stretch of time, wanted or not.
    pub async fn count(&self, range: Range) -> Result<u64> {
        self.0.discovery.count(&self.0.upstream, range).await
    }

    /// Lands every run that is due, several at a time, until there is none or `stop`. When the archive is away, what is
    /// in hand is still brought as far as it comes.
    pub async fn land_due(&self, stop: &CancellationToken) -> Result<Round> {
        let (collector, until) = (self.clone(), stop.clone());
        let step = move || {
            let (collector, stop) = (collector.clone(), until.clone());
            async move { collector.step(&stop).await }
        };
        let round = side_by_side(self.0.upstream.settings.parallel, stop, step).await;
        self.0.spare_folders.removed().await;
        self.0.spare_folders.remove();
        round
    }

    /// Lands one run that is due, or looks at one that goes on; none when there is neither.
    async fn step(&self, stop: &CancellationToken) -> Result<Option<Round>> {
        match self.land_one(stop).await? {
            Some(one) => Ok(Some(one)),
            None => Ok(self.look_at_one(stop).await?.then(Round::default)),
        }
    }

    /// Collects until `stop`: lists whenever `pause` has passed, and lands what is due at any moment. Nothing of that
    /// waits for anything else of it, and what fails is begun anew.
    pub async fn run(&self, pause: impl Fn(Timestamp) -> Duration + Send + Sync + 'static, stop: CancellationToken) {
        let upstream = &self.0.upstream;
        let supervisor = self.0.store.supervisor();
        let shared = tokio::select! { shared = self.share_pace() => shared, () = stop.cancelled() => Ok(()) };
        if let Err(error) = shared {
            warn!(upstream = upstream.name, error = &error as &dyn std::error::Error, "the pace could not be shared");
        }
        let name = |what: &str| format!("collect {}: {what}", upstream.name);
        let (pause, listing) = (Arc::new(pause), name("list runs"));
        let (follow, look, land, share) = (name("follow"), name("look at"), name("land"), name("share the pace"));
        tokio::join!(
            supervisor.keep(&listing, &stop, || self.clone().list_on(Arc::clone(&pause), stop.clone())),
            supervisor.keep(&follow, &stop, || self.clone().follow_on(stop.clone())),
            supervisor.keep(&share, &stop, || self.clone().share_on(stop.clone())),
            self.look_on(supervisor, &look, &stop),
            self.land_on(supervisor, &land, &stop),
        );
        if let Err(error) = self.leave().await {
            debug!(%error, "the other collectors will see later that this one has ended");
        }
    }

    async fn list_on(self, pause: Arc<impl Fn(Timestamp) -> Duration>, stop: CancellationToken) -> Result<()> {
        let upstream = &self.0.upstream;
        while !stop.is_cancelled() {
            // An upstream that is away is asked again for a minute; whoever stops it does not wait for that.
            let discovered = tokio::select! {
                discovered = self.discover() => discovered,
                () = stop.cancelled() => break,
            };
            if let Err(error) = discovered {
                warn!(upstream = upstream.name, error = &error as &dyn std::error::Error, "runs could not be listed");
            }
            let next = pause(upstream.client.clock().now());
            tokio::select! { () = upstream.client.sleep(next) => {}, () = stop.cancelled() => {} }
        }
        Ok(())
    }

    /// Asks after runs that go on while listing takes long.
    async fn follow_on(self, stop: CancellationToken) -> Result<()> {
        let Shared { store, upstream, discovery, .. } = &*self.0;
        while !stop.is_cancelled() {
            tokio::select! { () = upstream.client.sleep(FOLLOW_EVERY) => {}, () = stop.cancelled() => break }
            let long_ago = upstream.client.clock().now().plus_millis(-millis(LISTING_IS_LONG));
            if !discovery.has_been_listing_since(long_ago) {
                continue;
            }
            let followed = tokio::select! {
                followed = discovery.follow(store, upstream, long_ago) => followed,
                () = stop.cancelled() => break,
            };
            if let Err(error) = followed {
                let error: &dyn std::error::Error = &error;
                warn!(upstream = upstream.name, error, "runs that go on could not be asked after");
            }
            self.0.landing.wake();
        }
        Ok(())
    }

    async fn share_on(self, stop: CancellationToken) -> Result<()> {
        while !stop.is_cancelled() {
            tokio::select! { () = self.0.upstream.client.sleep(HEARTBEAT) => {}, () = stop.cancelled() => break }
            let shared = tokio::select! { shared = self.share_pace() => shared, () = stop.cancelled() => break };
            if let Err(error) = shared {
                debug!(%error, "the pace could not be shared anew");
            }
        }
        Ok(())
    }

    async fn land_on(&self, supervisor: &Supervisor, name: &str, stop: &CancellationToken) {
        let (collector, until) = (self.clone(), stop.clone());
        let step = move || {
            let (collector, stop) = (collector.clone(), until.clone());
            async move {
                let landed = collector.land_one(&stop).await;
                if let Ok(None) = &landed {
                    collector.0.spare_folders.remove();
                }
                landed
            }
        };
        let Upstream { client, settings, .. } = &self.0.upstream;
        self.0.landing.live(supervisor, name, settings.parallel, client.wait(), stop, step).await;
    }

    async fn look_on(&self, supervisor: &Supervisor, name: &str, stop: &CancellationToken) {
        let Upstream { client, settings, .. } = &self.0.upstream;
        if settings.while_going.is_none() {
            return;
        }
        let (collector, until) = (self.clone(), stop.clone());
        let step = move || {
            let (collector, stop) = (collector.clone(), until.clone());
            async move { collector.look_at_one(&stop).await.map(|has_looked| has_looked.then_some(())) }
        };
        let followers = settings.parallel.min(FOLLOWERS);
        self.0.following.live(supervisor, name, followers, client.wait(), stop, step).await;
    }

    /// Removes the pages of runs that have landed, and folders that were kept to be used again: a collector that was
    /// killed leaves them on disk.
    async fn tidy(&self) -> Result<()> {
        let folder = self.work_folder()?;
        let entries = std::fs::read_dir(&folder).map_err(storage("read", &folder))?;
        let name_of = |path: &Path| path.file_name()?.to_str().map(str::to_owned);
        let named: Vec<(String, PathBuf)> =
            entries.flatten().filter_map(|entry| Some((name_of(&entry.path())?, entry.path()))).collect();
        for (_, spare) in named.iter().filter(|(name, _)| name.starts_with(SPARE)) {
            if let Err(error) = remove_left_over(spare) {
                debug!(%error, "a folder that was kept to be used again cannot be removed");
            }
        }
        let run_of = |name: &str| name.trim_end_matches(SO_FAR).parse().ok();
        let left: Vec<(RunId, PathBuf)> =
            named.into_iter().filter_map(|(name, path)| Some((run_of(&name)?, path))).collect();
        let runs: Vec<RunId> = left.iter().map(|(run, _)| *run).collect();
        let landed = self.0.store.landed_among(&self.0.upstream.name, &runs).await?;
        for (run_id, path) in left.iter().filter(|(run, _)| landed.contains(run)) {
            match remove_left_over(path) {
                Ok(true) => info!(run.id = %run_id, "pages of a run that has landed were left behind, and are removed"),
                Ok(false) => {}
                // They take up room, and nothing waits for it.
                Err(error) => warn!(run.id = %run_id, %error, "pages of a run that has landed cannot be removed"),
            }
        }
        Ok(())
    }

    /// Lands the run that has waited for longest; none when none is due.
    async fn land_one(&self, stop: &CancellationToken) -> Result<Option<Round>> {
        let Shared { store, upstream, progress, .. } = &*self.0;
        tokio::select! {
            tidied = self.0.is_tidy.get_or_try_init(|| self.tidy()) => { tidied?; }
            () = stop.cancelled() => return Ok(None),
        }
        let now = upstream.client.clock().now();
        // A claim that was made and not heard of runs out.
        let claimed = tokio::select! {
            claimed = store.claim_run(&upstream.name, self.lease_end(now)) => claimed?,
            () = stop.cancelled() => None,
        };
        let Some(claimed) = claimed else { return Ok(None) };
        self.0.landing.wake();
        let run_id = claimed.run_id()?;
        let lost = self.keep(&claimed);
        let outcome = tokio::select! {
            // A task of its own: a run that makes it panic is set back like any other that fails.
            brought = AbortOnDropHandle::new(tokio::spawn(self.clone().bring(claimed.clone(), run_id))) => {
                brought.map_err(CollectError::from).flatten()
            }
            () = lost.wait() => {
                warn!(run.id = %run_id, "another collector has taken over a run that took too long");
                return Ok(Some(Round::default()));
            }
            () = stop.cancelled() => {
                // What is on disk stays there, to go on from.
                farewell(store.give_back(&upstream.name, &claimed)).await?;
                return Ok(Some(Round::default()));
            }
        };
        let error = match outcome {
            Ok(Some(records)) => {
                info!(run.id = %run_id, records, "a run's whole log has landed");
                progress.tell(CollectEvent::Landed(run_id, records));
                return Ok(Some(Round { landed: 1, records, ..Round::default() }));
            }
            Ok(None) => {
                info!(run.id = %run_id, "a run has no log");
                progress.tell(CollectEvent::NoLog(run_id));
                return Ok(Some(Round { no_log: 1, ..Round::default() }));
            }
            Err(error) => error,
        };
        let setback = self.setback(&claimed, &error);
        let noted = inform(store.set_back(&upstream.name, &claimed, &setback), stop).await;
        let Setback { problem, again_at, .. } = setback;
        if let Err(error) = noted {
            warn!(run.id = %run_id, problem, "a run was not landed, and the archive cannot take note of it");
            return Err(error.into());
        }
        info!(run.id = %run_id, problem, %again_at, "a run was not landed, and is tried again");
        progress.tell(CollectEvent::SetBack(run_id, &problem));
        Ok(Some(Round { set_back: 1, ..Round::default() }))
    }

    /// Brings in what a run that goes on has logged since it was last looked at; false when none is to be looked at.
    async fn look_at_one(&self, stop: &CancellationToken) -> Result<bool> {
        let Shared { store, upstream, .. } = &*self.0;
        let Some(every) = upstream.settings.while_going else { return Ok(false) };
        let now = upstream.client.clock().now();
        let before = now.plus_millis(-millis(every));
        let claimed = tokio::select! {
            claimed = store.claim_going_run(&upstream.name, self.lease_end(now), before) => claimed?,
            () = stop.cancelled() => None,
        };
        let Some(claimed) = claimed else { return Ok(false) };
        self.0.following.wake();
        let run_id = claimed.run_id()?;
        let lost = self.keep(&claimed);
        let outcome = tokio::select! {
            brought = AbortOnDropHandle::new(tokio::spawn(self.clone().bring_so_far(claimed.clone()))) => {
                brought.map_err(CollectError::from).flatten()
            }
            () = lost.wait() => return Ok(true),
            () = stop.cancelled() => {
                // Whoever looks next goes on with what is on disk.
                farewell(store.give_back(&upstream.name, &claimed)).await?;
                return Ok(true);
            }
        };
        if let Err(error) = outcome {
            // All of it comes when the run has ended.
            warn!(
                run.id = %run_id,
                error = &error as &dyn std::error::Error,
                "what a run has logged so far could not be brought in, and is looked at again"
            );
        }
        inform(store.looked_at_run(&upstream.name, &claimed), stop).await?;
        Ok(true)
    }

    /// From the last instant that is archived on, so that nothing is missing at the seam; what is there already is not
    /// stored again.
    async fn bring_so_far(self, claimed: ClaimedRun) -> Result<()> {
        let store = &self.0.store;
        let run_id = claimed.run_id()?;
        let run = said(&claimed)?;
        let newest = LiveQuery { range: TimeRange::ALL, order: RecordOrder::Desc, start_index: 0, count: 1 };
        let newest = match store.run(run_id).await? {
            Some(_) => store.live_page(run_id, &newest).await?.records.pop(),
            None => None,
        };
        let start = newest.map(|record| record.time.floor_to_second());
        let folder = self.work_folder()?.join(format!("{run_id}{SO_FAR}"));
        let fetched = match self.fetch_from(start, &run, run_id, &folder).await {
            // A look that was broken off began elsewhere.
            Err(CollectError::Fetch(FetchError::OtherFetch { .. })) if remove_left_over(&folder)? => {
                self.fetch_from(start, &run, run_id, &folder).await
            }
            fetched => fetched,
        };
        match fetched {
            Ok(fetched) => Ok(fetched.checkpoint.remove()?),
            Err(error) => {
                // The next look begins where the archive is then.
                if let Err(error) = remove_left_over(&folder) {
                    debug!(run.id = %run_id, %error, "pages of a look that came to nothing are left behind");
                }
                Err(error)
            }
        }
    }

    /// Fetches what a run has logged since then, and lands it.
    async fn fetch_from(
        &self,
        start: Option<Timestamp>,
        run: &Execution,
        run_id: RunId,
        folder: &Path,
    ) -> Result<Fetched> {
        let request =
            FetchRequest { range: TimeRange { start, end: None }, settle: None, ..self.fetch_request(run_id) };
        let mut landing = Landing::new(self.clone(), run.clone(), run_id, start);
        let (client, folder) = (&self.0.upstream.client, Some(folder.to_owned()));
        let fetched = fetch_into(client, &request, folder, &mut landing, Arc::new(Unheard)).await;
        landing.finish().await;
        fetched
    }

    /// Fetches a run's log, lands it, and ends the run. Its records; none when it has no log.
    async fn bring(self, claimed: ClaimedRun, run_id: RunId) -> Result<Option<u64>> {
        let Shared { store, upstream, progress, .. } = &*self.0;
        progress.tell(CollectEvent::Fetching(run_id));
        let run = said(&claimed)?;
        let finish = finish(&run).ok_or_else(|| {
            let what = format!("its status {:?} is not known here", run.status_text);
            CollectError::BadRun { run: run_id.to_string(), what }
        })?;
        let folder = self.work_folder()?.join(run_id.to_string());
        self.0.spare_folders.put_at(&folder);
        let request = FetchRequest {
            known: Some(run.clone()),
            settle: Some(upstream.settings.settle),
            ..self.fetch_request(run_id)
        };
        let mut landing = Landing::new(self.clone(), run, run_id, None);
        let hearing = Arc::new(Hearing(Arc::clone(progress)));
        let fetched = fetch_into(&upstream.client, &request, Some(folder), &mut landing, hearing).await;
        let odd = landing.odd();
        landing.finish().await;
        let Fetched { report, checkpoint } = fetched?;
        if report.pages == 0 {
            checkpoint.remove()?;
            // Of a run that has just ended, one may come.
            let now = upstream.client.clock().now();
            let is_recent = finish.finish_timestamp.is_some_and(|ended| now.millis_since(ended) < LOG_COMES_MS);
            if is_recent && claimed.attempts + 1 < NO_LOG_TRIES {
                return Err(CollectError::NoLogYet { run: run_id.to_string() });
            }
            store.end_without_log(&upstream.name, &claimed, &finish).await?;
            return Ok(None);
        }
        store.land_run(&upstream.name, &claimed, &finish, report.records, report.pages).await?;
        failpoint::reach("collect-landed");
        let records = report.records_mended + odd;
        if records > 0 {
            let upstream = &upstream.name;
            warn!(
                upstream,
                run.id = %run_id,
                records,
                "the log of run {run_id} has {records} records that are not what the service should send; each is stored as nearly as it came as can be"
            );
            progress.tell(CollectEvent::Mended(run_id, records));
        }
        self.0.spare_folders.take(checkpoint);
        Ok(Some(report.records))
    }

    /// Begins the run in the archive, and its task and places as far as they are new there.
    pub(crate) async fn begin(&self, run: &Execution, run_id: RunId) -> Result<()> {
        let Shared { store, upstream, discovery, .. } = &*self.0;
        let task_id = discovery.learn_task(store, upstream, run).await?;
        store.start_run(run_id, &start(run, task_id), &collector_as_caller(&upstream.name)).await?;
        Ok(())
    }

    /// Memory for records that was used before.
    pub(crate) fn spare_blocks(&self) -> &Arc<SpareBlocks> {
        &self.0.spare_blocks
    }

    /// The archive.
    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    fn fetch_request(&self, run_id: RunId) -> FetchRequest {
        let settings = &self.0.upstream.settings;
        FetchRequest {
            pages_in_flight: settings.pages_in_flight,
            page_memory_bytes: settings.page_memory_bytes,
            ..FetchRequest::new(run_id, Output::StandardOutput)
        }
    }

    fn work_folder(&self) -> Result<PathBuf> {
        let upstream = &self.0.upstream;
        let folder = upstream.settings.work_folder.join(&upstream.name);
        std::fs::create_dir_all(&folder).map_err(storage("make", &folder))?;
        Ok(folder)
    }

    /// Keeps a run in hand, in a task of its own, so that no work on the run holds a renewal up.
    fn keep(&self, claimed: &ClaimedRun) -> Kept {
        let (collector, claimed, lost) = (self.clone(), claimed.clone(), CancellationToken::new());
        let is_lost = lost.clone();
        let renewing = async move {
            let Shared { store, upstream, .. } = &*collector.0;
            loop {
                upstream.client.sleep(upstream.settings.lease / 3).await;
                let until = collector.lease_end(upstream.client.clock().now());
                match store.keep_claim(&upstream.name, &claimed, until).await {
                    Ok(true) => {}
                    Ok(false) => break is_lost.cancel(),
                    Err(error) => debug!(%error, "a claim could not be renewed"),
                }
            }
        };
        Kept { lost, _renewing: AbortOnDropHandle::new(tokio::spawn(renewing)) }
    }

    fn lease_end(&self, now: Timestamp) -> Timestamp {
        now.plus_millis(millis(self.0.upstream.settings.lease))
    }

    fn setback(&self, claimed: &ClaimedRun, error: &CollectError) -> Setback {
        let mut problem = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ");
        if let CollectError::Fetch(FetchError::Incomplete { .. } | FetchError::Uncounted { .. }) = error {
            problem += "; the run's page shows what came";
        }
        let expected = match error {
            CollectError::Fetch(FetchError::Incomplete { expected, .. }) => Some(*expected),
            _ => None,
        };
        let longest = match error {
            CollectError::Archive(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Busy) => {
                AGAIN_MAX_ARCHIVE
            }
            _ => AGAIN_MAX,
        };
        let now = self.0.upstream.client.clock().now();
        let doubled = 1_u32 << claimed.attempts.clamp(0, 20);
        let again = AGAIN_FIRST.saturating_mul(doubled).min(longest);
        Setback { problem, expected, again_at: now.plus_millis(millis(again)) }
    }
}

/// A run that is kept in hand for as long as this lives.
struct Kept {
    lost: CancellationToken,
    _renewing: AbortOnDropHandle<()>,
}

impl Kept {
    /// Ends when another has taken it.
    async fn wait(&self) {
        self.lost.cancelled().await;
    }
}

/// Tells the archive something on the way out; where it does not answer, nobody waits for it.
async fn farewell(telling: impl Future<Output = runlog_store::Result<()>>) -> runlog_store::Result<()> {
    tokio::time::timeout(FAREWELL, telling).await.unwrap_or(Ok(()))
}

/// Tells the archive something, which becomes a farewell with `stop`.
pub(crate) async fn inform(
    telling: impl Future<Output = runlog_store::Result<()>>,
    stop: &CancellationToken,
) -> runlog_store::Result<()> {
    tokio::select! { told = telling => told, () = farewell_is_over(stop) => Ok(()) }
}

/// Waits until `stop`, and then for as long as a farewell takes.
pub(crate) async fn farewell_is_over(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(FAREWELL).await;
}

/// What the service said of a run.
fn said(claimed: &ClaimedRun) -> Result<Execution> {
    let bad = |error: serde_json::Error| CollectError::BadRun {
        run: claimed.run_id().map(|id| id.to_string()).unwrap_or_default(),
        what: error.to_string(),
    };
    serde_json::from_str(&claimed.body).map(Execution::read).map_err(bad)
}

/// Passes on how many records came.
struct Hearing(Arc<dyn CollectProgress>);

impl Progress for Hearing {
    fn tell(&self, event: FetchEvent<'_>) {
        if let FetchEvent::PageDone(_, records) = event {
            self.0.tell(CollectEvent::Came(records));
        }
    }
}

fn collector_as_caller(upstream: &str) -> Caller {
    Caller {
        kind: CallerKind::ServiceAccount,
        id: String::new(),
        name: format!("collector of {upstream}"),
        administrator: false,
        permissions: Vec::new(),
    }
}

/// A field of what the service said, as far as it is there and can be read.
fn field<T: for<'de> Deserialize<'de>>(run: &Execution, name: &str) -> Option<T> {
    run.raw.get(name).cloned().and_then(|value| serde_json::from_value(value).ok())
}

fn start(run: &Execution, task_id: runlog_model::TaskId) -> StartRun {
    let text = |name: &str| run.text(name).map(str::to_owned);
    StartRun {
        task_version: text("taskVersion").or_else(|| text("jobVersion")),
        execution_type: field(run, "executionType"),
        // It has ended; that is said when its log is there.
        status: Some(RunStatus::Executing),
        trigger_timestamp: run.triggered_at,
        start_timestamp: run.started_at.or(run.triggered_at),
        user_id: text("userId"),
        user_type: field(run, "userType"),
        plan: PlanPart { id: text("planId"), ..PlanPart::default() },
        runtime: field(run, "runtime"),
        timeout: field(run, "timeout"),
        parallel_execution_allowed: field(run, "parallelExecutionAllowed"),
        api_version: text("apiVersion"),
        container_id: text("containerId"),
        ..StartRun::of_task(task_id)
    }
}

fn finish(run: &Execution) -> Option<FinishRun> {
    let text = |name: &str| run.text(name).map(str::to_owned);
    Some(FinishRun {
        finish_timestamp: run.finished_at.or(run.started_at).or(run.triggered_at),
        error_message: text("errorMessage"),
        error_type: text("errorType"),
        misfired_execution_reason: text("misfiredExecutionReason"),
        number_of_processed_rows: field(run, "numberOfProcessedRows"),
        number_of_rejected_rows: field(run, "numberOfRejectedRows"),
        ..FinishRun::with_status(run.status.filter(|status| status.is_final())?)
    })
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
