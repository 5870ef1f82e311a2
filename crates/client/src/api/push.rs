//! Pushing runs and their logs into a Runlog.

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use runlog_model::wire::push::{FinishRun, LOG_EXPIRES_HEADER, StartRun, StoredLines};
use runlog_model::{RunId, Timestamp};
use tokio::sync::watch;

use crate::error::Result;
use crate::transport::Client;

/// The compression of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentEncoding {
    /// Not at all.
    Identity,
    /// zstd.
    Zstd,
    /// gzip.
    Gzip,
}

/// Records on their way to a run.
#[derive(Debug, Clone)]
pub struct PushBatch<'a> {
    /// Names the batch: sent again under the same id, nothing is stored twice.
    pub id: &'a str,
    /// One record per line, compressed with `encoding`.
    pub body: Bytes,
    /// The compression of the body.
    pub encoding: ContentEncoding,
    /// Lines that cannot be read are left out and listed in the answer; otherwise one refuses the batch.
    pub skips_bad_lines: bool,
}

impl Client {
    /// Tells that a run begins; harmless when it is known: `PUT /runlog/v1/runs/{id}`. True if the run is new.
    pub async fn start_run(&self, run: RunId, start: &StartRun) -> Result<bool> {
        let id = run.to_string();
        let answer = self.send_json(Method::PUT, &["runlog", "v1", "runs", &id], start).await?;
        Ok(answer.status == StatusCode::CREATED)
    }

    /// Sends records as NDJSON: `POST /runlog/v1/runs/{id}/records`. A broken connection is answered by sending the
    /// batch again. With `after`, the batch is completed only once that says true: the service can work on it while the
    /// one before it is stored, and the order is kept.
    pub async fn push_records(
        &self,
        run: RunId,
        batch: PushBatch<'_>,
        after: Option<watch::Receiver<bool>>,
    ) -> Result<StoredLines> {
        let PushBatch { id: batch_id, body, encoding, skips_bad_lines } = batch;
        let id = run.to_string();
        let path = ["runlog", "v1", "runs", &id, "records"];
        let mut query = vec![("batch", batch_id.to_owned())];
        if skips_bad_lines {
            query.push(("badLines", "skip".to_owned()));
        }
        let call = self.request(Method::POST, &path, &query);
        let call = call.with_body("application/x-ndjson", body).repeatable();
        let call = match encoding {
            ContentEncoding::Identity => call,
            ContentEncoding::Zstd => call.with_header(header::CONTENT_ENCODING, HeaderValue::from_static("zstd")),
            ContentEncoding::Gzip => call.with_header(header::CONTENT_ENCODING, HeaderValue::from_static("gzip")),
        };
        let call = match after {
            None => call,
            Some(stored) => call.held_until(stored),
        };
        self.send(call).await?.json()
    }

    /// Reports the end of a run: `POST /runlog/v1/runs/{id}/finish`. Returns the time at which the retention deletes
    /// its log, if the service reports it.
    pub async fn finish_run(&self, run: RunId, finish: &FinishRun) -> Result<Option<Timestamp>> {
        let id = run.to_string();
        let call = self.request(Method::POST, &["runlog", "v1", "runs", &id, "finish"], &[]);
        let answer = self.send(call.with_json(finish)?.repeatable()).await?;
        Ok(answer.headers.get(LOG_EXPIRES_HEADER).and_then(|at| at.to_str().ok()?.parse().ok()))
    }
}
