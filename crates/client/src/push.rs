//! Pushing runs and their logs into a Runlog.

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use runlog_model::RunId;
use runlog_model::wire::push::{FinishRun, StartRun, StoredBatch};
use tokio::sync::watch;

use crate::client::Client;
use crate::error::Result;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentEncoding {
    /// Not at all.
    Identity,
    /// zstd.
    Zstd,
    /// gzip.
    Gzip,
}

impl Client {
    /// Tells that a run begins; harmless when it is known: `PUT /runlog/v1/runs/{id}`.
    pub async fn start_run(&self, run: RunId, start: &StartRun) -> Result<()> {
        let id = run.to_string();
        self.send_json(Method::PUT, &["runlog", "v1", "runs", &id], start).await.map(drop)
    }

    /// Sends records as NDJSON: `POST /runlog/v1/runs/{id}/records`. Sent again with the same batch id, nothing is
    /// stored twice, so that a broken connection is answered by sending again. With `after`, the batch is completed only
    /// once that says true: the service can work on it while the one before it is stored, and the order is kept.
    pub async fn push_records(
        &self,
        run: RunId,
        batch_id: &str,
        body: Bytes,
        encoding: ContentEncoding,
        after: Option<watch::Receiver<bool>>,
    ) -> Result<StoredBatch> {
        let id = run.to_string();
        let path = ["runlog", "v1", "runs", &id, "records"];
        let call = self.request(Method::POST, &path, &[("batch", batch_id.to_owned())]);
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

    /// Tells that a run has ended: `POST /runlog/v1/runs/{id}/finish`.
    pub async fn finish_run(&self, run: RunId, finish: &FinishRun) -> Result<()> {
        let id = run.to_string();
        let call = self.request(Method::POST, &["runlog", "v1", "runs", &id, "finish"], &[]);
        self.send(call.with_json(finish)?.repeatable()).await.map(drop)
    }
}
