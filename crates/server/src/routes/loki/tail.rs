//! `GET /loki/api/v1/tail`: follows a log query over a WebSocket.
//!
//! New records are found by their arrival and not by their time: the catalog lists the runs for which records were
//! stored since it was last asked, and those records whose number is new are sent. A record that comes late is sent
//! when it comes, and none is sent twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::Response;
use futures::FutureExt;
use runlog_logql::LogExpr;
use runlog_model::{RunId, TimeRange, Timestamp};
use runlog_store::query::{
    RecordFilter, RecordView, RunRecords, ScanFilter, ScanRun, SearchOrder, SearchQuery, SearchText,
};
use serde_json::json;
use tokio::time::Instant;
use tracing::info;

use crate::app::App;
use crate::auth::token::StreamCaller;
use crate::http::error::{ApiError, ApiResult};
use crate::routes::loki::answers;
use crate::routes::loki::entries::Found;
use crate::routes::loki::logs::{LogFilter, Records, Wanted, find, unreadable};
use crate::routes::loki::parameters::{FormOrQuery, MS, RangeQuery};
use crate::routes::loki::scope::SelectedRuns;
use crate::routes::loki::within_limits::{QUERY_TIME_MAX, QueryCancellation, compute, within_limits};

/// Interval between searches for new records.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a log is followed; the client then connects again. As in Loki.
const TAIL_TIME_MAX: Duration = Duration::from_secs(3_600);

/// How long a page of new records is searched for, before those that were found are sent: less than a query may take.
const PAGE_TIME_MAX: Duration = Duration::from_secs(QUERY_TIME_MAX.as_secs() / 2);

/// How long a message may take to be sent.
const SEND_TIME_MAX: Duration = Duration::from_secs(30);

/// Interval between pings of a client, and how long it may take to respond.
const PING_EVERY: Duration = Duration::from_secs(30);
const SILENCE_MAX: Duration = Duration::from_secs(90);

/// Only runs that were triggered in this time are followed. Unit: milliseconds.
const TRIGGERED_WITHIN_MS: i64 = 2 * 86_400_000;

/// Records may become visible this long after the time at which they were stored. Unit: milliseconds.
const VISIBLE_AFTER_MS: i64 = 30_000;

/// Most runs that are known at the beginning, and most that are read at a time.
const KNOWN_RUNS_MAX: u64 = 100_000;
const RUNS_AT_A_TIME: usize = 500;

/// Most records of a message.
const MESSAGE_RECORDS_MAX: usize = 1_000;

/// Most text of the records of a message. Unit: bytes.
const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// Follows a log query over a WebSocket: the newest records, and then each new one.
#[utoipa::path(
    get,
    path = "/loki/api/v1/tail",
    tag = "loki",
    responses(
        (status = 101, description = "A WebSocket, on which messages follow as Loki sends them"),
        (status = 400, description = "The query is invalid, or the request is not a WebSocket upgrade", body = String, content_type = "text/plain"),
    )
)]
pub(in crate::routes) async fn tail(
    State(app): State<App>,
    caller: StreamCaller,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    FormOrQuery(query): FormOrQuery<RangeQuery>,
) -> ApiResult<Response> {
    let log = query.log()?;
    let limit = query.limit()?;
    let start = Timestamp::clamped(query.bounds_ns(app.now())?.0.div_euclid(MS));
    check_origin(&headers)?;
    let upgrade = upgrade.map_err(|error| ApiError::invalid(format!("tail needs a WebSocket: {error}")))?;
    let permit = app.tails().acquire_for(&caller.caller().id).await?;
    Ok(upgrade.on_upgrade(move |mut socket| async move {
        let _permit = permit;
        let mut tail = Tail { app, caller, log, known: HashMap::new(), looked_at: start };
        let end = tail.run(&mut socket, start, limit).await;
        let (code, reason) = match end {
            Ok(()) => (close_code::NORMAL, "the log was followed for as long as the service allows".to_owned()),
            Err(error) => {
                info!(status = error.status.as_u16(), "a followed log ends with an error: {}", error.message);
                let is_refused = matches!(error.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
                let code = if is_refused { close_code::POLICY } else { close_code::ERROR };
                (code, error.message.chars().take(100).collect())
            }
        };
        let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
        // The client may be gone.
        let _ = tokio::time::timeout(SEND_TIME_MAX, socket.send(close)).await;
    }))
}

/// 403 for a page of another site: browsers send cookies with its WebSockets.
fn check_origin(headers: &HeaderMap) -> ApiResult<()> {
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let Some(origin) = text(header::ORIGIN) else { return Ok(()) };
    let origin: Option<Uri> = origin.parse().ok();
    let of_origin = origin.as_ref().and_then(Uri::authority).map(|authority| authority.as_str());
    match of_origin.is_some() && of_origin == text(header::HOST) {
        true => Ok(()),
        false => Err(ApiError::forbidden("the page of another site may not follow logs")),
    }
}

/// A query that is followed.
struct Tail {
    app: App,
    caller: StreamCaller,
    log: LogExpr,
    /// Number of records of each run that were read.
    known: HashMap<RunId, i64>,
    looked_at: Timestamp,
}

/// The reason why the stream ends.
enum TailEnd {
    ClientGone,
    Failed(ApiError),
}

impl<E: Into<ApiError>> From<E> for TailEnd {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Tail {
    async fn run(&mut self, socket: &mut WebSocket, start: Timestamp, limit: usize) -> ApiResult<()> {
        let mut client = Client { socket, pinged: Instant::now(), unanswered: None };
        match self.follow(&mut client, start, limit).await {
            Ok(()) | Err(TailEnd::ClientGone) => Ok(()),
            Err(TailEnd::Failed(error)) => Err(error),
        }
    }

    async fn follow(&mut self, client: &mut Client<'_>, start: Timestamp, limit: usize) -> Result<(), TailEnd> {
        let begun = Instant::now();
        let now = self.app.now();
        let selected = self.selected().await?;
        let runs = self.runs(&selected, now.plus_millis(-TRIGGERED_WITHIN_MS), KNOWN_RUNS_MAX).await?;
        self.known = runs.into_iter().map(|run| (run.run_id, run.records)).collect();
        self.looked_at = now;
        self.send_newest(client, start, limit).await?;
        while begun.elapsed() < TAIL_TIME_MAX {
            let sleeping = tokio::time::sleep(LOOK_EVERY).map(Ok);
            client.unless_closed(sleeping).await?;
            client.ping().await?;
            // Its token may have been revoked, and its session may have ended.
            self.caller.check(self.app.auth()).await?;
            self.send_new(client).await?;
        }
        Ok(())
    }

    /// With the present rights of the caller.
    async fn selected(&self) -> Result<SelectedRuns, TailEnd> {
        let selected = SelectedRuns::new(&self.app, self.caller.caller(), self.log.selection().matchers()).await;
        selected.map_err(TailEnd::Failed)
    }

    async fn runs(&self, selected: &SelectedRuns, since: Timestamp, limit: u64) -> Result<Vec<RunRecords>, TailEnd> {
        let filter = ScanFilter {
            workspace_ids: selected.workspace_ids.clone(),
            task_ids: selected.task_ids.clone(),
            run_ids: selected.run_ids.clone(),
            ..ScanFilter::default()
        };
        let triggered = self.app.now().plus_millis(-TRIGGERED_WITHIN_MS);
        Ok(self.app.store().query().runs_with_new_records(&filter, triggered, since, limit).await?)
    }

    /// Sends the newest records that are known.
    async fn send_newest(&self, client: &mut Client<'_>, start: Timestamp, limit: usize) -> Result<(), TailEnd> {
        let range = Some(TimeRange { start: Some(start), end: None });
        let wanted = Wanted { range, order: SearchOrder::NewestFirst, limit, interval_ms: None };
        let finding = find(&self.app, self.caller.caller(), &self.log, wanted);
        let mut records = client.unless_closed(within_limits(&self.app, finding)).await?;
        // Records received since then are sent as new.
        records
            .found
            .retain(|found| self.known.get(&found.run_id()).is_some_and(|known| found.view().arrival < *known));
        records.found.reverse();
        client.send_records(records).await
    }

    /// Sends the records that were stored since the last time.
    async fn send_new(&mut self, client: &mut Client<'_>) -> Result<(), TailEnd> {
        let now = self.app.now();
        let selected = self.selected().await?;
        let since = self.looked_at.plus_millis(-VISIBLE_AFTER_MS);
        let mut runs = self.runs(&selected, since, KNOWN_RUNS_MAX).await?;
        runs.retain(|run| self.known.get(&run.run_id).is_none_or(|known| run.records > *known));
        self.looked_at = now;
        for some in runs.chunks(RUNS_AT_A_TIME) {
            let arrivals: HashMap<RunId, (i64, i64)> = some
                .iter()
                .map(|run| (run.run_id, (self.known.get(&run.run_id).copied().unwrap_or(0), run.records)))
                .collect();
            self.send_arrivals(client, &selected, arrivals).await?;
            self.known.extend(some.iter().map(|run| (run.run_id, run.records)));
        }
        Ok(())
    }

    async fn send_arrivals(
        &self,
        client: &mut Client<'_>,
        selected: &SelectedRuns,
        arrivals: HashMap<RunId, (i64, i64)>,
    ) -> Result<(), TailEnd> {
        let cancellation = QueryCancellation::default();
        let _on_drop = cancellation.on_drop();
        let log = Arc::new(LogFilter::new(&self.app, &self.log, selected.clone(), cancellation));
        let run_ids = Some(arrivals.keys().copied().collect());
        let by_text = arrivals.into_iter().map(|(id, arrivals)| (id.to_string(), arrivals)).collect();
        let filter = Arc::new(NewRecords { log: Arc::clone(&log), arrivals: by_text });
        let mut search = SearchQuery {
            workspace_ids: selected.workspace_ids.clone(),
            run_ids,
            severities: selected.severities.clone(),
            filter: Some(filter),
            order: SearchOrder::OldestFirst,
            bytes_max: MESSAGE_BYTES_MAX,
            all_fields: true,
            ..SearchQuery::newest(SearchText::default(), MESSAGE_RECORDS_MAX, PAGE_TIME_MAX)
        };
        loop {
            let page = within_limits(&self.app, async { Ok(self.app.store().query().search(search.clone()).await?) });
            let page = client.unless_closed(page).await?;
            if page.unreadable.records > 0 {
                return Err(TailEnd::Failed(unreadable(&page)));
            }
            let found = page.items.into_iter().map(Found::new).collect();
            let records = Records { filter: Arc::clone(&log), found, work: answers::Work::default() };
            client.send_records(records).await?;
            client.ping().await?;
            search.after = page.next;
            if search.after.is_none() {
                return Ok(());
            }
        }
    }
}

/// The client of a log that is followed.
struct Client<'s> {
    socket: &'s mut WebSocket,
    /// When the last ping was sent.
    pinged: Instant,
    /// When the first ping was sent that was not answered.
    unanswered: Option<Instant>,
}

impl Client<'_> {
    /// The result of some work, unless the client goes meanwhile.
    async fn unless_closed<T>(&mut self, work: impl Future<Output = ApiResult<T>>) -> Result<T, TailEnd> {
        tokio::select! {
            done = work => done.map_err(TailEnd::Failed),
            () = self.closed_by_client() => Err(TailEnd::ClientGone),
        }
    }

    /// Reads what the client sends until it goes.
    async fn closed_by_client(&mut self) {
        loop {
            match self.socket.recv().await {
                None | Some(Err(_) | Ok(Message::Close(_))) => return,
                // The library answers pings; clients of Loki send nothing but answers to ours.
                Some(Ok(_)) => self.unanswered = None,
            }
        }
    }

    /// Asks the client from time to time whether it is still there.
    async fn ping(&mut self) -> Result<(), TailEnd> {
        if self.unanswered.is_some_and(|asked| asked.elapsed() > SILENCE_MAX) {
            return Err(TailEnd::ClientGone);
        }
        if self.pinged.elapsed() < PING_EVERY {
            return Ok(());
        }
        self.pinged = Instant::now();
        self.unanswered.get_or_insert(self.pinged);
        self.send(Message::Ping(Default::default())).await
    }

    async fn send_records(&mut self, records: Records) -> Result<(), TailEnd> {
        let making = compute(move |cancellation| {
            let streams = answers::streams(&records.entries(cancellation)?, false);
            Ok((!streams.is_empty()).then(|| json!({"streams": streams, "dropped_entries": []}).to_string()))
        });
        match self.unless_closed(making).await? {
            Some(text) => self.send(Message::Text(text.into())).await,
            None => Ok(()),
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), TailEnd> {
        match tokio::time::timeout(SEND_TIME_MAX, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(TailEnd::ClientGone),
            Err(_) => Err(TailEnd::Failed(ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "the client does not read from the connection",
            ))),
        }
    }
}

/// The records of some runs whose numbers are new.
struct NewRecords {
    log: Arc<LogFilter>,
    /// The first number, and the one after the last, by the ID of the run.
    arrivals: HashMap<String, (i64, i64)>,
}

impl std::fmt::Debug for NewRecords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewRecords").finish_non_exhaustive()
    }
}

impl RecordFilter for NewRecords {
    fn wants_run(&self, run: &ScanRun<'_>) -> bool {
        self.arrivals.contains_key(run.run_id) && self.log.wants_run(run)
    }

    fn wants_arrivals_before(&self, run: &ScanRun<'_>, end: i64) -> bool {
        self.arrivals.get(run.run_id).is_none_or(|(first, _)| end > *first)
    }

    fn matches(&self, record: &RecordView<'_>) -> bool {
        let is_new = |(first, end): &(i64, i64)| (*first..*end).contains(&record.arrival);
        self.arrivals.get(record.run.run_id).is_some_and(is_new) && self.log.matches(record)
    }
}
