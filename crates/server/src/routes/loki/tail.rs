//! `GET /loki/api/v1/tail`: follows a log query over a WebSocket.
//!
//! New records are found by their arrival and not by their time: the catalog lists the runs for which records were
//! stored since it was last asked, and those records whose number is new are sent. A record that comes late is sent when
//! it comes, and none is sent twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::Response;
use runlog_logql::LogExpr;
use runlog_model::{RunId, TimeRange, Timestamp};
use runlog_store::accounts::Caller;
use runlog_store::query::{
    RecordFilter, RecordView, RunRecords, ScanFilter, ScanRun, SearchOrder, SearchQuery, SearchText,
};
use serde_json::json;
use tokio::time::Instant;
use tracing::info;

use crate::app::App;
use crate::auth::token::Authenticated;
use crate::http::error::ApiError;
use crate::routes::loki::answers;
use crate::routes::loki::entries::Found;
use crate::routes::loki::error::{LokiError, LokiResult};
use crate::routes::loki::logs::{LogFilter, Records, Wanted, find};
use crate::routes::loki::parameters::{FormOrQuery, MS, RangeQuery};
use crate::routes::loki::places::Selected;
use crate::routes::loki::within_limits::QUERY_TIME_MAX;

/// How often new records are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a log is followed; the client then connects again. As in Loki.
const TAIL_TIME_MAX: Duration = Duration::from_secs(3_600);

/// How long a message may take to be sent.
const SEND_TIME_MAX: Duration = Duration::from_secs(30);

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
        (status = 400, description = "The query is invalid, or the request asks for no WebSocket", body = String, content_type = "text/plain"),
    )
)]
pub(in crate::routes) async fn tail(
    State(app): State<App>,
    Authenticated(caller): Authenticated,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    FormOrQuery(query): FormOrQuery<RangeQuery>,
) -> LokiResult<Response> {
    let log = query.log()?;
    let limit = query.limit()?;
    let start = Timestamp::clamped(query.bounds_ns(app.now())?.0.div_euclid(MS));
    check_origin(&headers)?;
    let upgrade = upgrade.map_err(|error| LokiError::invalid(format!("tail needs a WebSocket: {error}")))?;
    let permit = app.tails().acquire().await?;
    Ok(upgrade.on_upgrade(move |mut socket| async move {
        let _permit = permit;
        let mut tail = Tail { app, caller, log, known: HashMap::new(), looked_at: start };
        let end = tail.run(&mut socket, start, limit).await;
        let (code, reason) = match end {
            Ok(()) => (close_code::NORMAL, "the log was followed for as long as the service allows".to_owned()),
            Err(error) => {
                info!(status = error.0.status.as_u16(), "a followed log ends with an error: {}", error.0.message);
                (close_code::ERROR, error.0.message.chars().take(100).collect())
            }
        };
        let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
        // The client may be gone.
        let _ = tokio::time::timeout(SEND_TIME_MAX, socket.send(close)).await;
    }))
}

/// 403 for a page of another site: browsers send cookies with its WebSockets.
fn check_origin(headers: &HeaderMap) -> LokiResult<()> {
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let Some(origin) = text(header::ORIGIN) else { return Ok(()) };
    let origin: Option<Uri> = origin.parse().ok();
    let of_origin = origin.as_ref().and_then(Uri::authority).map(|authority| authority.as_str());
    match of_origin.is_some() && of_origin == text(header::HOST) {
        true => Ok(()),
        false => Err(LokiError(ApiError::forbidden("the page of another site may not follow logs"))),
    }
}

/// A query that is followed.
struct Tail {
    app: App,
    caller: Caller,
    log: LogExpr,
    /// How many records of each run were looked at.
    known: HashMap<RunId, i64>,
    looked_at: Timestamp,
}

/// Why nothing more is sent.
enum Ended {
    ClientGone,
    Failed(LokiError),
}

impl<E: Into<ApiError>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Failed(error.into().into())
    }
}

impl Tail {
    async fn run(&mut self, socket: &mut WebSocket, start: Timestamp, limit: usize) -> LokiResult<()> {
        match self.follow(socket, start, limit).await {
            Ok(()) | Err(Ended::ClientGone) => Ok(()),
            Err(Ended::Failed(error)) => Err(error),
        }
    }

    async fn follow(&mut self, socket: &mut WebSocket, start: Timestamp, limit: usize) -> Result<(), Ended> {
        let begun = Instant::now();
        let now = self.app.now();
        let selected = self.selected().await?;
        let runs = self.runs(&selected, now.plus_millis(-TRIGGERED_WITHIN_MS), KNOWN_RUNS_MAX).await?;
        self.known = runs.into_iter().map(|run| (run.run_id, run.records)).collect();
        self.looked_at = now;
        self.send_newest(socket, start, limit).await?;
        while begun.elapsed() < TAIL_TIME_MAX {
            tokio::select! {
                message = socket.recv() => match message {
                    None | Some(Err(_) | Ok(Message::Close(_))) => return Err(Ended::ClientGone),
                    // The library answers pings; clients of Loki send nothing else.
                    Some(Ok(_)) => {}
                },
                () = tokio::time::sleep(LOOK_EVERY) => self.send_new(socket).await?,
            }
        }
        Ok(())
    }

    /// With the present rights of the caller.
    async fn selected(&self) -> Result<Selected, Ended> {
        let selected = Selected::new(&self.app, &self.caller, self.log.selection().matchers()).await;
        selected.map_err(Ended::Failed)
    }

    async fn runs(&self, selected: &Selected, since: Timestamp, limit: u64) -> Result<Vec<RunRecords>, Ended> {
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
    async fn send_newest(&self, socket: &mut WebSocket, start: Timestamp, limit: usize) -> Result<(), Ended> {
        let range = Some(TimeRange { start: Some(start), end: None });
        let wanted = Wanted { range, order: SearchOrder::NewestFirst, limit };
        let permit = self.app.searches().acquire().await?;
        let mut records = find(&self.app, &self.caller, &self.log, wanted).await.map_err(Ended::Failed)?;
        drop(permit);
        // What has come since is sent as new.
        records
            .found
            .retain(|found| self.known.get(&found.run_id()).is_some_and(|known| found.view().arrival < *known));
        records.found.reverse();
        send(socket, &records).await
    }

    /// Sends the records that were stored since the last time.
    async fn send_new(&mut self, socket: &mut WebSocket) -> Result<(), Ended> {
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
            self.send_arrivals(socket, &selected, arrivals).await?;
            self.known.extend(some.iter().map(|run| (run.run_id, run.records)));
        }
        Ok(())
    }

    async fn send_arrivals(
        &self,
        socket: &mut WebSocket,
        selected: &Selected,
        arrivals: HashMap<RunId, (i64, i64)>,
    ) -> Result<(), Ended> {
        let log = Arc::new(LogFilter::new(&self.log, selected.clone()));
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
            ..SearchQuery::newest(SearchText::default(), MESSAGE_RECORDS_MAX, QUERY_TIME_MAX)
        };
        loop {
            let permit = self.app.searches().acquire().await?;
            let page = Box::pin(self.app.store().query().search(search.clone())).await?;
            drop(permit);
            let found = page.items.into_iter().map(Found::new).collect();
            let records = Records { filter: Arc::clone(&log), found, work: answers::Work::default() };
            send(socket, &records).await?;
            search.after = page.next;
            if search.after.is_none() {
                return Ok(());
            }
        }
    }
}

async fn send(socket: &mut WebSocket, records: &Records) -> Result<(), Ended> {
    let streams = answers::streams(&records.entries(), false);
    if streams.is_empty() {
        return Ok(());
    }
    let text = json!({"streams": streams, "dropped_entries": []}).to_string();
    match tokio::time::timeout(SEND_TIME_MAX, socket.send(Message::Text(text.into()))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Ended::ClientGone),
        Err(_) => Err(Ended::Failed(LokiError(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "the client does not receive what it follows",
        )))),
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
