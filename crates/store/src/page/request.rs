//! Requests for pages: a caller requests a page, receives a token, and fetches the file with it.

use std::sync::Arc;
use std::time::Duration;

use az::SaturatingAs;
use futures::future::BoxFuture;
use runlog_model::page::{PageCut, PageCutter};
use runlog_model::wire::admin::AuditEntry;
use runlog_model::{FileFormat, PageEnd, RecordOrder, RunId, TimeRange, Timestamp, hex, planted};
use sha2::{Digest, Sha256};
use sqlx_macros::FromRow;
use tokio::sync::oneshot;

use crate::catalog::group_commit::GroupedWrite;
use crate::catalog::sql::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::log::merge::{Merge, MergeTrace};
use crate::log::read::scope;
use crate::log::slices::{Scope, Slice};
use crate::page::builders::Pages;
use crate::page::builders::{PageBuilds, PageToBuild};
use crate::page::types::{PageFile, PageRequest, PageStatus, PageTicket};
use crate::parts::Runs;
use crate::tables::audit::AuditWrite;
use crate::{limits, secret};

/// A token and the state of its file. `attempts` is `None` if the file no longer exists.
#[derive(FromRow)]
struct TokenRow {
    page_key: String,
    run_id: String,
    file_name: String,
    expires_at: i64,
    built_at: Option<i64>,
    attempts: Option<i64>,
    claimed_until: Option<i64>,
    /// See [`Error::damaged_object`].
    damaged_object: Option<String>,
}

impl Pages {
    /// Determines the end of a page and queues its file. `NotFound`: no such run.
    pub async fn request_page(&self, request: &PageRequest) -> Result<PageTicket> {
        self.request_page_with(request, |_| None).await
    }

    /// Like [`request_page`](Self::request_page), with an audit entry: the page, its token and the entry are written
    /// in one transaction.
    pub async fn request_audited_page(
        &self,
        request: &PageRequest,
        entry: impl FnOnce(&PageTicket) -> AuditEntry + Send,
    ) -> Result<PageTicket> {
        self.request_page_with(request, |ticket| Some(entry(ticket))).await
    }

    async fn request_page_with(
        &self,
        request: &PageRequest,
        entry: impl FnOnce(&PageTicket) -> Option<AuditEntry> + Send,
    ) -> Result<PageTicket> {
        let (run, scope) = scope(&self.core, request.run_id, request.range).await?;
        let (cut, trace) = self.cut(scope).await?;
        let page = Scope { range: page_range(request.range, cut.end), ..scope };
        let token = self.core.random().uuid().to_string();
        let (now, life_ms) = (self.core.now(), self.core.settings().page_life_ms);
        let lease_now = self.lease_now().await?;
        let key = page_key(page, request.format, request.order);
        // If a builder is idle, the request itself claims the page for it, and the build begins while the request is
        // committed.
        let builder = match self.is_page_known(&key).await? {
            true => None,
            false => self.builds().try_acquire_builder(),
        };
        let claimed_until = builder.as_ref().map(|_| lease_now.plus_millis(limits::PAGE_LEASE_MS));
        let mut wanted = RequestedPage {
            key,
            page,
            format: request.format,
            order: request.order,
            records: cut.records,
            file_name: request.file_name.clone(),
            token_hash: secret::hash(&token),
            wanted_at: lease_now,
            claimed_until,
            expires_at: now.plus_millis(life_ms),
            // A link may be created just before the token expires, and is then valid for as long again.
            keep_until: now.plus_millis(3 * life_ms),
            builds: Arc::clone(self.builds()),
            accepted: None,
        };
        let (settled, log_records) = (Runs::new(&self.core).is_settled(&run), run.records);
        let ticket = PageTicket { token, records: cut.records, end: cut.end, settled, log_records };
        // From here on, the caller may be cancelled: the commit itself notifies the builder.
        wanted.accepted = builder.map(|builder| self.builds().enqueue(builder, wanted.to_build(trace)));
        let entry = entry(&ticket).map(|entry| Box::new(AuditWrite(entry)) as Box<dyn GroupedWrite>);
        // Both writes are committed with a single wait for the disk.
        let wanted: Box<dyn GroupedWrite> = Box::new(wanted);
        let writes = std::iter::once(wanted).chain(entry);
        self.core.write_grouped(writes.collect()).await?;
        Ok(ticket)
    }

    /// Returns the state of the file of a token; if it is not ready, waits for at most `wait`.
    ///
    /// `NotFound`: the token is unknown or belongs to another run. `Expired`: the token is older than an hour.
    pub async fn page_status(&self, run_id: RunId, token: &str, wait: Duration) -> Result<PageStatus> {
        let mut built = self.builds().subscribe();
        let row = self.token_row(run_id, token).await?;
        let status = self.file_status(&row).await?;
        if status != PageStatus::InProgress || wait.is_zero() {
            return Ok(status);
        }
        // The wait ends when the page was built, when notifications were lost, or at the timeout. The row is then read
        // again.
        let _ =
            tokio::time::timeout(wait, async { while built.recv().await.is_ok_and(|key| *key != *row.page_key) {} })
                .await;
        self.file_status(&self.token_row(run_id, token).await?).await
    }

    /// Returns the time after which `keep_until` of a page must be for its token to be valid.
    pub(crate) fn tokens_valid_until(&self) -> Timestamp {
        self.core.now().plus_millis(2 * self.core.settings().page_life_ms)
    }

    async fn is_page_known(&self, key: &str) -> Result<bool> {
        let known: Option<i64> = sqlx::query_scalar("SELECT CAST(1 AS BIGINT) FROM page_files WHERE key = $1")
            .bind(key)
            .fetch_optional(self.core.catalog().read())
            .await?;
        Ok(known.is_some())
    }

    async fn token_row(&self, run_id: RunId, token: &str) -> Result<TokenRow> {
        let row: Option<TokenRow> = sqlx::query_as(
            "SELECT t.page_key, t.run_id, t.file_name, t.expires_at, f.built_at, f.attempts, f.claimed_until,
                    f.damaged_object
             FROM page_tokens t LEFT JOIN page_files f ON f.key = t.page_key WHERE t.token_hash = $1",
        )
        .bind(secret::hash(token))
        .fetch_optional(self.core.catalog().read())
        .await?;
        let row = row
            .filter(|row| row.run_id == run_id.to_string())
            .ok_or_else(|| Error::not_found("this run has no such token: generate the log again"))?;
        match row.expires_at <= self.core.now().as_millis() - i64::from(planted::is("token-outlives-its-hour")) {
            true => Err(Error::new(ErrorKind::Expired, "the token has expired: generate the log again")),
            false => Ok(row),
        }
    }

    async fn file_status(&self, token: &TokenRow) -> Result<PageStatus> {
        let Some(attempts) = token.attempts else {
            return Err(Error::new(ErrorKind::Expired, "the file has expired: generate the log again"));
        };
        if token.built_at.is_some() {
            return Ok(PageStatus::Ready(PageFile { key: token.page_key.clone(), file_name: token.file_name.clone() }));
        }
        let lease_now = self.lease_now().await?.as_millis();
        let is_claimed = token.claimed_until.is_some_and(|until| until >= lease_now);
        if attempts < limits::PAGE_ATTEMPTS_MAX || is_claimed {
            return Ok(PageStatus::InProgress);
        }
        let error = Error::corrupt("the log file could not be built");
        Err(match &token.damaged_object {
            Some(key) => error.of_object(key),
            None => error,
        })
    }

    /// Determines the end of a page. Also returns the rows that were emitted or skipped to find it.
    async fn cut(&self, scope: Scope) -> Result<(PageCut, MergeTrace)> {
        let mut merge = Merge::with_trace(&self.core, scope);
        let mut cutter = PageCutter::new(self.core.settings().page_records_max);
        loop {
            // Slices that are completely in the page are not opened, except for the last one in which a second begins,
            // because a page ends at a whole second if possible.
            cutter.pass(merge.skip_whole_slices(cutter.room(), Some(spans_second_boundary)).await?);
            let Some(row_run) = merge.next().await? else { return Ok((cutter.complete(), merge.into_trace())) };
            for time in row_run.times() {
                if let Some(cut) = cutter.take(Timestamp::clamped(time), 1) {
                    return Ok((cut, merge.into_trace()));
                }
            }
        }
    }
}

/// A requested page, of which there is one for each content, and the token of the caller.
pub(crate) struct RequestedPage {
    key: String,
    page: Scope,
    format: FileFormat,
    order: RecordOrder,
    records: u64,
    file_name: String,
    token_hash: String,
    wanted_at: Timestamp,
    /// `None` if any builder may claim the page.
    claimed_until: Option<Timestamp>,
    expires_at: Timestamp,
    keep_until: Timestamp,
    builds: Arc<PageBuilds>,
    /// Notifies the builder that has started the page that the row is committed. If the sender is dropped, the builder
    /// abandons the file.
    accepted: Option<oneshot::Sender<()>>,
}

impl GroupedWrite for RequestedPage {
    fn order(&self) -> Option<&str> {
        Some(&self.key)
    }

    fn insert<'c>(&'c self, connection: &'c mut Connection) -> BoxFuture<'c, Result<()>> {
        Box::pin(self.write(connection))
    }

    /// Notifies the builder of the page, or the build loop if no builder is reserved, that the row is committed.
    fn committed(self: Box<Self>) {
        match self.accepted {
            // If the builder has stopped, the page is left to another builder.
            Some(accepted) => drop(accepted.send(())),
            None => self.builds.notify(),
        }
    }
}

impl RequestedPage {
    fn to_build(&self, trace: MergeTrace) -> PageToBuild {
        let Self { ref key, page, format, order, records, .. } = *self;
        PageToBuild { key: key.clone(), page, format, order, records, attempts_away: 0, trace: Some(trace) }
    }

    async fn write(&self, connection: &mut Connection) -> Result<()> {
        sqlx::query(
            "INSERT INTO page_files (key, run_id, first_ms, last_ms, arrivals, file_format, record_order, records,
                    wanted_at, keep_until, log_epoch, claimed_until, attempts)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
             ON CONFLICT (key) DO UPDATE SET keep_until = excluded.keep_until,
                    attempts = CASE WHEN page_files.claimed_until < excluded.wanted_at THEN 0 ELSE page_files.attempts END,
                    retry_at = CASE WHEN page_files.attempts_away > 0 THEN page_files.retry_at ELSE 0 END",
        )
        .bind(&self.key)
        .bind(self.page.run_id.to_string())
        .bind(self.page.range.first_ms())
        .bind(self.page.range.last_ms())
        .bind(self.page.arrivals)
        .bind(self.format.to_string())
        .bind(self.order.to_string())
        .bind(self.records.saturating_as::<i64>())
        .bind(self.wanted_at.as_millis())
        .bind(self.keep_until.as_millis())
        .bind(self.page.state.log_epoch)
        .bind(self.claimed_until.map_or(0, Timestamp::as_millis))
        .bind(i64::from(self.claimed_until.is_some()))
        .execute(&mut *connection)
        .await?;
        sqlx::query(
            "INSERT INTO page_tokens (token_hash, page_key, run_id, file_name, expires_at) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(&self.token_hash)
        .bind(&self.key)
        .bind(self.page.run_id.to_string())
        .bind(&self.file_name)
        .bind(self.expires_at.as_millis())
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// Returns true if a second begins between two records of the slice.
fn spans_second_boundary(slice: &Slice) -> bool {
    (slice.first_time - 1).div_euclid(1000) != (slice.last_time - 1).div_euclid(1000)
}

/// Returns the range of the page itself: from after the cut to the end of the requested range.
fn page_range(asked: TimeRange, end: PageEnd) -> TimeRange {
    match end {
        PageEnd::Complete => asked,
        PageEnd::Partial { next_end } => {
            let first = next_end.plus_millis(i64::from(!planted::is("page-cut-off-by-one")));
            TimeRange { start: Some(first), end: asked.end }
        }
    }
}

/// Returns the key of a page, which is derived from its contents.
fn page_key(page: Scope, format: FileFormat, order: RecordOrder) -> String {
    let (first_ms, last_ms) = (page.range.first_ms(), page.range.last_ms());
    let (run_id, epoch, arrivals) = (page.run_id, page.state.log_epoch, page.arrivals);
    let content = format!("{run_id} {epoch} {first_ms} {last_ms} {arrivals} {format} {order}");
    hex::encode(&Sha256::digest(content)[..20])
}
