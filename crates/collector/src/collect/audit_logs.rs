//! Collects the audit logs of the tenant of an upstream: what its users did in the consoles and APIs.
//!
//! ```text
//! claim ▸ window of time, oldest first ▸ pages, newest first ▸ store the new entries ▸ the window is done ▸ next window
//! ```
//!
//! Entries are stored once, by their ID, so that a window may be read again: after an interruption, when its pages have
//! shifted while they were read, and at each search for late entries. The requests have the lowest priority, and a
//! failure does not affect the collection of runs.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use runlog_client::{AUDIT_PAGE_MAX, AuditLogPage, AuditLogWindow, ErrorKind};
use runlog_model::tenant_audit_log::TenantAuditLog;
use runlog_model::{Timestamp, error_chain, millis, planted};
use runlog_store::failpoint;
use runlog_store::tenant_audit_logs::ClaimedAuditLogs;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::context::CollectContext;
use super::error::{CollectError, Result};
use super::lease::lease_end;
use super::pause::{Pause, lacks_right};
use super::range::Range;
use crate::shutdown::with_shutdown_timeout;

/// How far back the first round goes: the longest time that Talend Cloud keeps entries.
const KEPT: Duration = Duration::from_secs(31 * 86_400);
/// How far back each round reads again: entries are registered shortly after they happen.
const OVERLAP: Duration = Duration::from_secs(900);
/// How often a round reads as far back as the settings say.
const LOOK_BACK_EVERY: Duration = Duration::from_secs(3_600);
/// Most pages of a window: longer ones are divided, because services refuse pages that are far behind the first.
const PAGES_MAX: u64 = 10;
/// How often a window is read while its pages do not fit together.
const READINGS_MAX: u32 = 6;
/// The fewest entries of a page that are requested if larger pages are too long to be received.
const PAGE_MIN: u64 = 10;

/// The result of a round.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditLogRound {
    /// Number of new entries.
    pub stored: u64,
    /// Why the round failed or was incomplete.
    pub problem: Option<String>,
}

/// Collects the audit logs of a tenant. Cheap to clone; clones share their state.
#[derive(Clone)]
pub(super) struct AuditLogWorker(Arc<Shared>);

struct Shared {
    context: Arc<CollectContext>,
    pause: Pause,
}

/// The parameters with which the pages of a round are requested.
struct Paging {
    /// Entries of a page.
    size: u64,
    /// True if a request was made that shows what the service counts.
    is_checked: bool,
    /// Whether the service counts something else than the window.
    counts_everything: bool,
}

/// The result of reading a window once.
enum PagesOutcome {
    /// The window has too many entries; their number.
    TooLong(u64),
    Read(WindowReading),
}

/// The result of reading a window.
enum WindowOutcome {
    /// It has too many entries.
    TooLong,
    /// Its entries are stored; with what was wrong with its pages, if anything.
    Stored(Option<String>),
}

/// The result of one reading of a window.
#[derive(Default)]
struct WindowReading {
    seen: HashSet<u64>,
    /// Number of entries reported by the service; `None` if it reports none, or counts something else.
    total: Option<u64>,
    /// Number of elements of the pages that are not entries.
    others: u64,
    /// True if an entry occurred twice, or if the total changed.
    is_suspect: bool,
}

impl AuditLogWorker {
    /// Creates a worker; claims nothing yet.
    pub(super) fn new(context: Arc<CollectContext>) -> Self {
        Self(Arc::new(Shared { context, pause: Pause::default() }))
    }

    /// True if rounds have work: collecting entries, or deleting old ones.
    pub(super) fn has_work(&self) -> bool {
        self.is_wanted() || self.0.context.upstream.settings.audit_logs_keep.is_some()
    }

    /// True if audit logs are to be collected.
    pub(super) fn is_wanted(&self) -> bool {
        self.0.context.upstream.settings.audit_logs
    }

    /// Deletes the entries that are too old, and stores those since the last round. A problem of the upstream is
    /// recorded and is not an error.
    pub(super) async fn round(&self, stop: &CancellationToken) -> Result<AuditLogRound> {
        let CollectContext { archive, upstream, .. } = &*self.0.context;
        let now = upstream.client.clock().now();
        let oldest = self.expire().await?;
        if !self.is_wanted() || self.0.pause.is_on(now) {
            return Ok(AuditLogRound::default());
        }
        let claimed = archive.audit_logs.claim(&upstream.name, lease_end(&self.0.context, now)).await?;
        // Another collector is at it.
        let Some(mut claimed) = claimed else { return Ok(AuditLogRound::default()) };
        let is_deep = claimed.looked_back_at.is_none_or(|at| now.millis_since(at) >= millis(LOOK_BACK_EVERY));
        let kept = Range { from: oldest.unwrap_or(Timestamp::clamped(i64::MIN)), to: now };
        let mut round = AuditLogRound::default();
        let collected = tokio::select! {
            collected = self.collect(&mut claimed, is_deep, kept, &mut round) => Some(collected),
            () = stop.cancelled() => None,
        };
        let looked_back_at = (is_deep && matches!(collected, Some(Ok(())))).then_some(now);
        match collected {
            Some(Err(CollectError::Archive(error))) => return Err(error.into()),
            Some(Err(error)) => {
                self.0.pause.begin_after(&error, now);
                let mut problem = format!("audit logs cannot be collected: {}", error_chain(&error));
                if lacks_right(&error) {
                    problem.push_str("; or set audit_logs = false");
                }
                warn!(upstream = upstream.name, problem, "audit logs of the tenant cannot be collected");
                round.problem = Some(problem);
            }
            Some(Ok(())) | None => {}
        }
        let releasing = archive.audit_logs.release(&claimed, looked_back_at, round.problem.as_deref());
        match stop.is_cancelled() {
            true => with_shutdown_timeout(releasing).await?,
            false => releasing.await?,
        }
        if round.stored > 0 {
            info!(upstream = upstream.name, entries = round.stored, "audit logs of the tenant were stored");
        }
        Ok(round)
    }

    /// Deletes the entries that are too old, whether others can be collected or not. Returns the time of the oldest
    /// ones that are kept; `None` if all are.
    async fn expire(&self) -> Result<Option<Timestamp>> {
        let CollectContext { archive, upstream, .. } = &*self.0.context;
        let Some(keep) = upstream.settings.audit_logs_keep else { return Ok(None) };
        let oldest = archive.audit_logs.oldest_kept(keep).await?;
        let expired = archive.audit_logs.expire(&upstream.name, oldest).await?;
        if expired > 0 {
            info!(upstream = upstream.name, entries = expired, "audit logs of the tenant were deleted by age");
        }
        Ok(Some(oldest))
    }

    /// Stores the entries since the last round, but for those outside of `kept`, which ends now.
    async fn collect(
        &self,
        claimed: &mut ClaimedAuditLogs,
        is_deep: bool,
        kept: Range,
        round: &mut AuditLogRound,
    ) -> Result<()> {
        let CollectContext { archive, upstream, .. } = &*self.0.context;
        let (settings, client) = (&upstream.settings, &upstream.client);
        let now = kept.to;
        let back = |time: Timestamp, by: Duration| time.plus_millis(-millis(by));
        let from = match claimed.listed_until {
            Some(until) if is_deep => back(until.min(now), OVERLAP.max(settings.look_back)),
            Some(until) if planted::is("late-audit-logs-forgotten") => until.min(now),
            Some(until) => back(until.min(now), OVERLAP),
            None => back(now, KEPT.max(settings.history)),
        };
        let from = from.max(kept.from).min(now);
        let mut windows = vec![Range { from: client.in_service_time(from), to: client.in_service_time(now) }];
        let mut paging = Paging { size: AUDIT_PAGE_MAX, is_checked: false, counts_everything: false };
        while let Some(window) = windows.pop() {
            if planted::is("audit-logs-advanced-first") {
                let until = lease_end(&self.0.context, upstream.client.clock().now());
                archive.audit_logs.advance(claimed, client.in_own_time(window.to), until).await?;
            }
            match self.read_window(claimed, window, &mut paging, &mut round.stored).await? {
                WindowOutcome::TooLong => {
                    let middle = window.from.plus_millis(window.to.millis_since(window.from) / 2);
                    // The older half comes first. Both contain the middle, because services differ in whether an end is
                    // included.
                    windows.push(Range { from: middle, to: window.to });
                    windows.push(Range { from: window.from, to: middle });
                }
                WindowOutcome::Stored(problem) => {
                    if let Some(problem) = problem {
                        warn!(upstream = upstream.name, problem, "audit logs of the tenant may be incomplete");
                        round.problem = Some(problem);
                    }
                    let until = lease_end(&self.0.context, upstream.client.clock().now());
                    archive.audit_logs.advance(claimed, client.in_own_time(window.to), until).await?;
                    failpoint::reach("audit-logs-window");
                }
            }
        }
        Ok(())
    }

    /// Reads the pages of a window until they fit together, and stores each as it arrives.
    ///
    /// Pages are parts of a list that the service computes for each request. An entry that is registered meanwhile
    /// shifts those after it, so that one occurs on two pages; entries of the same time may change places, so that one
    /// occurs on two pages and another on none. A further reading shows whether there are more.
    async fn read_window(
        &self,
        claimed: &ClaimedAuditLogs,
        window: Range,
        paging: &mut Paging,
        stored: &mut u64,
    ) -> Result<WindowOutcome> {
        let mut known: HashSet<u64> = HashSet::new();
        let mut total = None;
        for reading in 0..READINGS_MAX {
            // Pages of another size end elsewhere.
            let size = (paging.size - paging.size / 7 * u64::from(reading)).max(PAGE_MIN);
            let read = match self.read_pages(claimed, window, size, paging.counts_everything, stored).await {
                Ok(PagesOutcome::Read(read)) => read,
                Ok(PagesOutcome::TooLong(counted)) => match self.counts_everything(window, counted, paging).await? {
                    true => continue,
                    false => return Ok(WindowOutcome::TooLong),
                },
                // A page with long requests and responses may be longer than a response may be.
                Err(CollectError::Upstream(error)) if error.kind() == ErrorKind::Protocol && paging.size > PAGE_MIN => {
                    paging.size = (paging.size / 10).max(PAGE_MIN);
                    debug!(%error, size = paging.size, "audit logs of the tenant are requested in smaller pages");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let before = known.len();
            known.extend(&read.seen);
            total = read.total;
            let others = read.others;
            let is_confirmed = reading > 0 && known.len() == before;
            let has_all = match read.total {
                Some(total) if known.len() as u64 + others >= total => true,
                Some(total) => is_confirmed && self.counts_everything(window, total, paging).await?,
                None => !read.is_suspect || is_confirmed,
            };
            if has_all {
                let problem = (others > 0).then(|| {
                    format!(
                        "the service's list of audit logs from {} to {} has {others} elements that are not objects; they \
                         were left out",
                        window.from, window.to,
                    )
                });
                return Ok(WindowOutcome::Stored(problem));
            }
        }
        let counted = total.map_or_else(|| "an unknown number".to_owned(), |total| total.to_string());
        Ok(WindowOutcome::Stored(Some(format!(
            "audit logs from {} to {} changed whenever they were read: {} of {counted} entries were received",
            window.from,
            window.to,
            known.len(),
        ))))
    }

    /// True if the service counts all of its entries, independent of the window: then it reports the same count for a
    /// tiny part of the window. This is requested once per round.
    async fn counts_everything(&self, window: Range, counted: u64, paging: &mut Paging) -> Result<bool> {
        let is_short = window.to.millis_since(window.from) <= 1;
        if paging.is_checked || is_short || counted == 0 {
            return Ok(paging.counts_everything);
        }
        let upstream = &self.0.context.upstream;
        let to = window.to;
        let part = AuditLogWindow { from: to.plus_millis(-1), to, page: 1, size: PAGE_MIN };
        let read = upstream.client.audit_log_page(part).await?;
        paging.is_checked = true;
        paging.counts_everything = total_of(&read, PAGE_MIN).is_some_and(|total| total >= counted);
        Ok(paging.counts_everything)
    }

    /// Reads all pages of a window once, unless there are too many. The count of the service is ignored if it
    /// `counts_everything`.
    async fn read_pages(
        &self,
        claimed: &ClaimedAuditLogs,
        window: Range,
        size: u64,
        counts_everything: bool,
        stored: &mut u64,
    ) -> Result<PagesOutcome> {
        let CollectContext { archive, upstream, .. } = &*self.0.context;
        let mut reading = WindowReading::default();
        let Range { from, to } = window;
        for page in 1.. {
            let read = upstream.client.audit_log_page(AuditLogWindow { from, to, page, size }).await?;
            let total = total_of(&read, size).filter(|_| !counts_everything);
            if let Some(counted) = total.filter(|total| *total > PAGES_MAX * size)
                && page == 1
                && to.millis_since(from) > 1
            {
                return Ok(PagesOutcome::TooLong(counted));
            }
            reading.is_suspect |= page > 1 && total != reading.total;
            reading.total = total;
            let is_last = is_last(&read, page, size);
            let (entries, others) = entries_of(read)?;
            reading.others += others;
            let before = reading.seen.len();
            for entry in &entries {
                reading.is_suspect |= !reading.seen.insert(key(entry));
            }
            *stored += archive.audit_logs.store(&upstream.name, &entries).await?;
            archive.audit_logs.renew(claimed, lease_end(&self.0.context, upstream.client.clock().now())).await?;
            failpoint::reach("audit-logs-page");
            // A service that repeats a page would do so for ever.
            if is_last || reading.seen.len() == before {
                break;
            }
        }
        Ok(PagesOutcome::Read(reading))
    }
}

/// Returns the number of entries of the window. The count of the service is used only if it matches its number of
/// pages, because the description of the API does not state whether it counts the entries of the window or all entries.
fn total_of(page: &AuditLogPage, size: u64) -> Option<u64> {
    page.total.filter(|total| page.pages.is_some_and(|pages| pages == total.div_ceil(size) || *total == 0))
}

fn is_last(page: &AuditLogPage, number: u64, size: u64) -> bool {
    page.entries.is_empty()
        || page.is_last.unwrap_or(match page.pages {
            Some(pages) => number >= pages,
            None => (page.entries.len() as u64) < size,
        })
}

/// The entries of a page, and how many of its elements are none.
fn entries_of(page: AuditLogPage) -> Result<(Vec<TenantAuditLog>, u64)> {
    let (elements, is_counted) = (page.entries.len(), page.total.is_some());
    let entries: Vec<TenantAuditLog> = page.entries.into_iter().filter_map(TenantAuditLog::read).collect();
    // A list of something else, from something that is not the service.
    if entries.is_empty() && elements > 0 && !is_counted {
        let message = "the service's list of audit logs contains nothing that is an object";
        return Err(runlog_client::Error::new(ErrorKind::Protocol, message).into());
    }
    let others = elements - entries.len();
    Ok((entries, others as u64))
}

/// Tells entries apart.
fn key(entry: &TenantAuditLog) -> u64 {
    let mut hasher = DefaultHasher::new();
    entry.id.as_deref().unwrap_or_else(|| entry.body.get()).hash(&mut hasher);
    hasher.finish()
}
