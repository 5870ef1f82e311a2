//! A webhook: a signed summary of each run, as JSON.
//!
//! `X-Runlog-Signature: v1=<hex of HMAC-SHA256 of "timestamp.body">`, with the timestamp (seconds since 1970) in
//! `X-Runlog-Timestamp`. A receiver recomputes the signature, compares it, and rejects timestamps that are minutes old.
//! The `id` is the same whenever the same summary is sent. After late records, the summary is sent again with another
//! `id`.

use std::sync::Arc;

use runlog_model::Clock;
use runlog_model::record::Severity;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::http::{HttpSettings, Poster, is_html_page};
use super::kind::{SinkContext, SinkKind};
use super::options::Group;
use super::sink::{EndedRun, RunContext, RunSink, SendError, SinkFuture};
use crate::settings::{SecretSource, SettingsError};
use crate::signature::signature;

/// The settings of a webhook.
#[derive(Debug, Deserialize)]
pub(crate) struct WebhookSettings {
    signing_secret: Option<SecretSource>,
}

impl SinkKind for WebhookSettings {
    const NAME: &'static str = "webhook";
    const GROUPS: &'static [Group] = &[Group::Http, Group::Login];
    const GZIP: bool = false;

    type Sink = Webhook;

    fn build(&self, context: &SinkContext<'_>) -> Result<Webhook, SettingsError> {
        let secret = self.signing_secret.as_ref().map(|source| context.secret("signing_secret", source)).transpose()?;
        Ok(Webhook::new(context.http::<Self>("Bearer")?, secret, Arc::clone(&context.clock))?)
    }
}

/// A webhook.
pub(crate) struct Webhook {
    poster: Poster,
    secret: Option<SecretString>,
    clock: Arc<dyn Clock>,
}

impl Webhook {
    /// Creates a webhook; without a secret, its requests are not signed.
    fn new(http: HttpSettings, secret: Option<SecretString>, clock: Arc<dyn Clock>) -> Result<Self, String> {
        Ok(Self { poster: Poster::new(http, "", Arc::clone(&clock))?, secret, clock })
    }

    async fn post(&self, id: &str, body: Value) -> Result<(), SendError> {
        let body = body.to_string().into_bytes();
        let seconds = self.clock.now().as_millis().div_euclid(1_000).to_string();
        let mut headers = vec![("x-runlog-id", id.to_owned())];
        if let Some(secret) = &self.secret {
            headers.push(("x-runlog-signature", signature(secret, &seconds, &body)));
        }
        headers.push(("x-runlog-timestamp", seconds));
        let answer = self.poster.post("application/json", body, &headers).await?;
        match answer.status.as_u16() {
            200..=299 if is_html_page(&answer.body) => Err(SendError::Denied(format!(
                "the response is a web page, such as that of a proxy: {}",
                answer.said()
            ))),
            200..=299 => Ok(()),
            408 | 425 | 429 | 500..=599 => Err(SendError::Away { problem: answer.said(), after: answer.retry_after }),
            // If the webhook was removed or the secret is wrong, this is not the fault of the run.
            401 | 403 | 404 | 405 | 300..=399 => Err(SendError::Denied(answer.said())),
            _ => Err(SendError::Refused(answer.said())),
        }
    }
}

impl RunSink for Webhook {
    fn kind(&self) -> &'static str {
        WebhookSettings::NAME
    }

    fn location(&self) -> String {
        self.poster.location()
    }

    /// Sends `{"type": "ping"}`.
    fn check(&self) -> SinkFuture<'_, ()> {
        Box::pin(self.post("ping", json!({ "id": "ping", "type": "ping" })))
    }

    /// Sends the summary of a run.
    fn send<'a>(&'a self, ended: &'a EndedRun<'a>) -> SinkFuture<'a, ()> {
        Box::pin(self.post(ended.id, summary(ended.id, ended.run)))
    }
}

fn summary(id: &str, context: &RunContext) -> Value {
    let run = &context.run;
    let severities: Map<String, Value> = Severity::ALL
        .into_iter()
        .map(|severity| (severity.name().to_lowercase(), run.severities.of(severity).into()))
        .collect();
    let duration_ms = run.finished_at.zip(run.started_at).map(|(end, start)| end.millis_since(start));
    json!({
        "id": id,
        "type": "run.ended",
        "run": {
            "id": run.id,
            "status": run.status.coarse(),
            "executionType": run.execution_type,
            "triggeredAt": run.triggered_at,
            "startedAt": run.started_at,
            "finishedAt": run.finished_at,
            "durationMs": duration_ms,
            "errorType": run.error_type,
            "errorMessage": run.error_message,
            "processedRows": run.processed_rows,
            "rejectedRows": run.rejected_rows,
        },
        "task": { "id": run.task_id, "name": context.task, "version": run.task_version },
        "workspace": { "id": run.workspace_id, "name": context.workspace },
        "environment": { "name": context.environment },
        "log": { "records": run.records, "severities": severities },
    })
}
