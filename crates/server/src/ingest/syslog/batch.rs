//! Half a second of messages of one connection: how they become records of runs, and how long storing them is tried.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use runlog_model::wire::admin::AuditEntry;
use runlog_model::{Clock, LogTime, Random, Timestamp, read_object};
use runlog_store::Store;
use runlog_store::accounts::Caller;
use serde_json::{Map, Value};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::auth::audit::AuditedChange;
use crate::http::error::{ApiError, ApiResult};
use crate::ingest::body_memory::BodyMemory;
use crate::ingest::decoded_size;
use crate::ingest::engine::{Continuation, DefaultRun, EventDefault, Events, group_by_run};
use crate::ingest::intake::{Naming, Outcome, Sender, TaskHint};
use crate::ingest::syslog::days::{self, Day};
use crate::ingest::syslog::frames::{Frame, Start};
use crate::ingest::syslog::message;
use crate::ingest::syslog::settings::SyslogSettings;
use crate::limits;
use crate::metrics::counters::Metrics;
use crate::metrics::syslog::MessageOutcome;

/// Memory of a message besides its text. Unit: bytes.
const MESSAGE_OVERHEAD_BYTES: usize = 64;

/// Messages that are stored together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    messages: Vec<(Frame, SocketAddr)>,
    bytes: usize,
    /// When the first of them arrived.
    begun: Option<(Instant, Timestamp)>,
}

impl Batch {
    pub(crate) fn push(&mut self, frame: Frame, sender: SocketAddr, now: Timestamp) {
        self.begun.get_or_insert_with(|| (Instant::now(), now));
        self.bytes += frame.bytes.len() + MESSAGE_OVERHEAD_BYTES;
        self.messages.push((frame, sender));
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= limits::SYSLOG_BATCH_BYTES
    }

    /// Memory of all messages. Unit: bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Parts of a bounded size, whose decoded forms fit into memory unless a message is unusual.
    fn into_parts(self) -> VecDeque<Self> {
        let (mut parts, mut part) = (VecDeque::new(), Self { begun: self.begun, ..Self::default() });
        for (frame, sender) in self.messages {
            let bytes = frame.bytes.len() + MESSAGE_OVERHEAD_BYTES;
            if !part.messages.is_empty() && part.bytes + bytes > limits::SYSLOG_BATCH_BYTES {
                parts.push_back(std::mem::replace(&mut part, Self { begun: self.begun, ..Self::default() }));
            }
            part.bytes += bytes;
            part.messages.push((frame, sender));
        }
        parts.extend((!part.messages.is_empty()).then_some(part));
        parts
    }

    /// Takes off the second half of the messages.
    fn split_half(&mut self) -> Self {
        let messages = self.messages.split_off(self.messages.len() / 2);
        let bytes = messages.iter().map(|(frame, _)| frame.bytes.len() + MESSAGE_OVERHEAD_BYTES).sum();
        self.bytes -= bytes;
        Self { messages, bytes, begun: self.begun }
    }

    /// When it is stored at the latest; none if it is empty.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.begun.map(|(begun, _)| begun + limits::SYSLOG_BATCH_TIME)
    }
}

/// Stores what the listeners receive.
pub(crate) struct Receiver {
    pub(crate) store: Store,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) settings: SyslogSettings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    memory: BodyMemory,
    /// True if messages of a day that is over were stored since its runs were ended.
    is_past_stored: AtomicBool,
    refusals: Throttle,
    waits: Throttle,
    /// For what happens to connections.
    pub(crate) rejections: Throttle,
}

impl Receiver {
    pub(crate) fn new(
        store: Store,
        metrics: Arc<Metrics>,
        settings: SyslogSettings,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        let memory = BodyMemory::new(limits::SYSLOG_MEMORY_BYTES, limits::SYSLOG_MEMORY_BYTES, usize::MAX);
        let (is_past_stored, refusals, waits, rejections) = Default::default();
        Self { store, metrics, settings, clock, random, memory, is_past_stored, refusals, waits, rejections }
    }

    /// Stores a batch, and keeps trying while the archive is unavailable: meanwhile, its connection is not read. After
    /// `stop`, this ends within some seconds. `last` is the end of the batch before of this connection, which the first
    /// lines of this one may continue.
    pub(crate) async fn store(
        &self,
        transport: &'static str,
        batch: Batch,
        last: &mut Option<Continuation>,
        stop: &CancellationToken,
    ) {
        for (frame, _) in &batch.messages {
            if frame.whole_bytes.is_some() {
                self.metrics.syslog.count_truncated(transport);
            }
        }
        let stopped = async {
            stop.cancelled().await;
            tokio::time::sleep(limits::SYSLOG_STOP_TIME).await;
        };
        let mut stopped = std::pin::pin!(stopped);
        let mut parts = batch.into_parts();
        while let Some(mut part) = parts.pop_front() {
            let Some((_, sender)) = part.messages.first() else { continue };
            let sender = sender.ip().to_canonical();
            let lost = |count: usize, why: &str| {
                self.metrics.syslog.count(transport, MessageOutcome::Lost, count as u64);
                error!("syslog: {count} messages from {sender} could not be stored and are lost: {why}");
            };
            let stored = tokio::select! {
                stored = self.store_part(transport, sender, &part, last) => stored,
                () = &mut stopped => {
                    let rest = parts.iter().map(|part| part.messages.len()).sum::<usize>();
                    return lost(part.messages.len() + rest, "the service stopped before the archive was available");
                }
            };
            match stored {
                Ok(()) => {}
                // The others are not lost with a message that is too large.
                Err(error) if error.status == StatusCode::PAYLOAD_TOO_LARGE && part.messages.len() > 1 => {
                    let half = part.split_half();
                    parts.push_front(half);
                    parts.push_front(part);
                }
                Err(error) => lost(part.messages.len(), &error.message),
            }
        }
    }

    /// Stores messages, and keeps trying while the archive is unavailable. Fails if they can never be stored.
    async fn store_part(
        &self,
        transport: &'static str,
        sender: IpAddr,
        part: &Batch,
        last: &mut Option<Continuation>,
    ) -> ApiResult<()> {
        let name = format!("syslog-{}", self.random.uuid());
        let (mut pause, mut faults, mut waiting) = (limits::SYSLOG_PAUSE_MIN, 0, None);
        loop {
            let error = match self.try_to_store(&name, sender, part, last).await {
                Ok((outcome, next)) => {
                    *last = next;
                    self.log_outcome(transport, sender, &outcome);
                    if waiting.is_some() {
                        info!("syslog: the archive accepts messages again");
                    }
                    return Ok(());
                }
                Err(error) => error,
            };
            faults += u32::from(error.status != StatusCode::SERVICE_UNAVAILABLE);
            if !error.status.is_server_error() || faults >= limits::SYSLOG_FAULTS_MAX {
                return Err(error);
            }
            waiting.get_or_insert_with(|| Waiting::begin(self));
            if let Some(more) = self.waits.take_suppressed() {
                let message = &error.message;
                warn!("syslog: messages wait, and their connections are not read: {message}{}", and_more(more));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(limits::SYSLOG_PAUSE_MAX);
        }
    }

    fn log_outcome(&self, transport: &'static str, sender: IpAddr, outcome: &Outcome) {
        let counters = &self.metrics.syslog;
        counters.count(transport, MessageOutcome::Stored, outcome.stored);
        counters.count(transport, MessageOutcome::Refused, outcome.refused.count);
        if let (Some(why), Some(more)) =
            (&outcome.refused.why, (outcome.refused.count > 0).then(|| self.refusals.take_suppressed()).flatten())
        {
            let count = outcome.refused.count;
            warn!("syslog: {count} messages from {sender} were refused: {why}{}", and_more(more));
        }
    }

    /// Ends the runs of days that are over, until `stop`.
    pub(crate) async fn end_days(&self, stop: &CancellationToken) -> runlog_store::Result<()> {
        let Some(task) = self.settings.task else { return Ok(()) };
        let mut ended = None;
        while !stop.is_cancelled() {
            let now = self.clock.now();
            let last = days::last_over(task, now);
            if self.is_past_stored.swap(false, Ordering::AcqRel) || ended != Some(last) {
                let caller = self.caller().await.ok();
                let change = self.change(caller.as_ref(), String::new(), format!("syslog-{}", self.random.uuid()));
                // If it fails, the supervisor begins again, and with the days before.
                days::end_all(change.store_to("finish run", StatusCode::OK).runs(), task, now).await?;
                ended = Some(last);
            }
            tokio::select! {
                () = tokio::time::sleep(limits::SYSLOG_DAYS_EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
        Ok(())
    }

    async fn try_to_store(
        &self,
        name: &str,
        sender: IpAddr,
        batch: &Batch,
        last: &Option<Continuation>,
    ) -> ApiResult<(Outcome, Option<Continuation>)> {
        let caller = self.caller().await?;
        let change = self.change(Some(&caller), sender.to_string(), name.to_owned());
        let request = Sender { store: &self.store, metrics: &self.metrics, caller: &caller, change: &change };
        let mut memory = self.memory.reservation();
        let decoded = batch.messages.iter().map(|(frame, _)| decoded_size::of_events(&frame.bytes)).sum();
        memory.reserve_decoded(decoded).await?;
        let now = batch.begun.map_or_else(|| self.clock.now(), |(_, at)| at);
        let mut is_past = false;
        let events = self.events(batch, now, last, &mut is_past);
        let next = events.continuation();
        let intake = group_by_run(events, now, &self.settings.zone, &mut memory).await?;
        let outcome = intake.store_named(&request, Naming::Unique(name)).await?;
        if is_past {
            self.is_past_stored.store(true, Ordering::Release);
        }
        Ok((outcome, next))
    }

    /// The context of a change on behalf of the user of the settings; none if its token is not valid.
    fn change(&self, caller: Option<&Caller>, address: String, request_id: String) -> AuditedChange {
        let (caller_id, caller_name) =
            caller.map_or(("-".to_owned(), "syslog".to_owned()), |caller| (caller.id.clone(), caller.name.clone()));
        let entry = AuditEntry {
            at: self.clock.now(),
            caller_id,
            caller_name,
            action: "push by syslog".to_owned(),
            subject: String::new(),
            status: 200,
            address,
            request_id,
        };
        AuditedChange::without_request(self.store.clone(), entry)
    }

    /// The user whose token the settings contain.
    async fn caller(&self) -> ApiResult<Caller> {
        let known = self.store.accounts().authenticate_token(self.settings.token.expose()).await?;
        known.ok_or_else(|| {
            let message =
                "the token of [syslog] in the settings is not valid: create one with `runlog admin tokens create`";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message)
        })
    }

    /// The events of a batch. Sets `is_past` if one may be of a run of a day that is over.
    fn events(&self, batch: &Batch, now: Timestamp, last: &Option<Continuation>, is_past: &mut bool) -> Events {
        let (mut events, zone) = (Events::default(), &self.settings.zone);
        for (frame, sender) in &batch.messages {
            let text = String::from_utf8_lossy(&frame.bytes);
            events.add_repaired(u64::from(matches!(text, std::borrow::Cow::Owned(_))));
            if frame.start == Start::NoLength && self.settings.task.is_none() {
                events.refuse("a message has no length before it, although those before it on its connection have");
                continue;
            }
            if frame.start == Start::Line && !message::begins_message(&text, now, zone) {
                if events.continue_last(&text) {
                    continue;
                }
                if let Some(last) = last {
                    let (event, default) = last.event(&text);
                    events.add_with(event, default);
                    continue;
                }
            }
            let json = text.starts_with('{').then(|| read_object(text.as_bytes()).ok()).flatten();
            let (mut event, repaired) = json.unwrap_or_else(|| (message::read_any(&text, now, zone).into(), 0));
            events.add_repaired(repaired);
            if let Some(whole_bytes) = frame.whole_bytes {
                event.insert("truncated_from_bytes".to_owned(), whole_bytes.into());
            }
            let default = self.default_of(&event, sender.ip(), now, is_past);
            events.add_with(event, default);
        }
        events
    }

    /// The run and the task of a message that names none.
    fn default_of(
        &self,
        event: &Map<String, Value>,
        sender: IpAddr,
        now: Timestamp,
        is_past: &mut bool,
    ) -> EventDefault {
        let settings = &self.settings;
        let text = |name: &str| event.get(name).and_then(Value::as_str).map(str::to_owned);
        let app = text("app_name");
        let run = settings.task.map(|task| {
            let at = event.get("timestamp").and_then(|value| LogTime::read(value, &settings.zone));
            let day = Day::of(task, at.map_or(now, |at| at.time), now);
            *is_past |= day.is_over(now);
            let host = text("host").unwrap_or_else(|| sender.to_canonical().to_string());
            DefaultRun {
                id: day.run_id(&host, app.as_deref().unwrap_or_default()),
                task: TaskHint { task_id: Some(task), ..TaskHint::default() },
                triggered_at: Some(day.begin()),
            }
        });
        let task = settings.workspace.map(|workspace_id| TaskHint {
            workspace_id: Some(workspace_id),
            task_name: app,
            ..TaskHint::default()
        });
        EventDefault { run, task: task.unwrap_or_default() }
    }
}

/// A connection that waits for the archive, until it is dropped.
struct Waiting<'a>(&'a Receiver);

impl<'a> Waiting<'a> {
    fn begin(receiver: &'a Receiver) -> Self {
        receiver.metrics.syslog.waiting.inc();
        Self(receiver)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.metrics.syslog.waiting.dec();
    }
}

/// Lets a message that many senders cause into the log at most every some seconds.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<(Option<std::time::Instant>, u64)>);

impl Throttle {
    /// None if the last message was a short time ago; otherwise, how many have been left out since.
    pub(crate) fn take_suppressed(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = std::time::Instant::now();
        if state.0.is_some_and(|said| now.duration_since(said) < limits::SYSLOG_LOG_INTERVAL) {
            state.1 += 1;
            return None;
        }
        state.0 = Some(now);
        Some(std::mem::take(&mut state.1))
    }
}

/// The suffix of a message that represents others.
pub(crate) fn and_more(more: u64) -> String {
    match more {
        0 => String::new(),
        more => {
            format!(
                " (and {more} more such events in the last {} s or longer)",
                duration_s(limits::SYSLOG_LOG_INTERVAL)
            )
        }
    }
}

fn duration_s(time: Duration) -> u64 {
    time.as_secs()
}
