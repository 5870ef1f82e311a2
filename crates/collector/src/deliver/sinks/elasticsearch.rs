//! Elasticsearch and OpenSearch: `POST /_bulk`.
//!
//! Each record is a `create` with its own `_id`, which both indexes and data streams accept. A record that exists
//! already is answered with 409, so that sending it again has no effect. Source: the bulk API of either, "Bulk index or
//! delete documents".

use std::sync::Arc;

use runlog_model::{Clock, planted};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::http::{HttpSettings, Poster};
use super::kind::{SinkContext, SinkKind};
use super::mapping::{Field, Mapping};
use super::sink::{Batch, Encoded, Item, Origin, RecordOutcome, SendError, Sink, SinkFuture, SinkResponse};
use crate::settings::SettingsError;

/// Maximum number of characters of a reason that are kept.
const REASON_CHARS_MAX: usize = 300;

/// The settings of an index or data stream.
#[derive(Debug, Deserialize)]
pub(crate) struct ElasticsearchSettings {
    index: Option<String>,
    fields: Option<Mapping>,
}

impl SinkKind for ElasticsearchSettings {
    const NAME: &'static str = "elasticsearch";

    type Sink = Elasticsearch;

    fn build(&self, context: &SinkContext<'_>) -> Result<Elasticsearch, SettingsError> {
        let http = context.http::<Self>("ApiKey")?;
        let index = self.index.clone().ok_or("elasticsearch needs an index, or the name of a data stream")?;
        let fields = self.fields.clone().unwrap_or_else(Elasticsearch::usual_fields);
        Ok(Elasticsearch::new(http, index, fields, Arc::clone(&context.clock))?)
    }
}

/// An index or data stream.
pub(crate) struct Elasticsearch {
    poster: Poster,
    index: String,
    fields: Mapping,
}

#[derive(Deserialize)]
struct BulkAnswer {
    items: Vec<Map<String, Value>>,
}

impl Elasticsearch {
    /// The names of the fields by default; those of the Elastic Common Schema where it defines one.
    fn usual_fields() -> Mapping {
        Mapping::of(&[
            ("@timestamp", Field::Time),
            ("message", Field::Message),
            ("log.level", Field::Severity),
            ("log.logger", Field::Component),
            ("log.type", Field::LogType),
            ("event.id", Field::Id),
            ("event.sequence", Field::Sequence),
            ("host.name", Field::Pod),
            ("run.id", Field::RunId),
            ("run.status", Field::Status),
            ("task.id", Field::TaskId),
            ("task.name", Field::Task),
            ("workspace.id", Field::WorkspaceId),
            ("workspace.name", Field::Workspace),
            ("environment.name", Field::Environment),
            ("extra", Field::Extra),
        ])
    }

    /// An index or data stream with this name, in which `{year}`, `{month}` and `{day}` stand for those of the record.
    fn new(http: HttpSettings, index: String, fields: Mapping, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let is_plain = |c: char| !c.is_ascii_uppercase() && !c.is_whitespace() && !"\\/*?\"<>|,#:{}".contains(c);
        let plain = ["{year}", "{month}", "{day}"].iter().fold(index.clone(), |index, word| index.replace(word, "1"));
        if plain.is_empty() || plain.starts_with(['-', '_', '+', '.']) || !plain.chars().all(is_plain) {
            return Err(format!("index {index:?} is not a valid name of an index or data stream"));
        }
        let mut http = http;
        // Limits the response to the fields that are used.
        http.url.query_pairs_mut().append_pair("filter_path", "errors,items.*.status,items.*.error");
        Ok(Self { poster: Poster::new(http, "/_bulk", clock)?, index, fields })
    }

    fn index_of(&self, item: &Item) -> String {
        if !self.index.contains('{') {
            return self.index.clone();
        }
        let time = item.record.time.to_string();
        self.index.replace("{year}", &time[..4]).replace("{month}", &time[5..7]).replace("{day}", &time[8..10])
    }
}

impl Sink for Elasticsearch {
    fn kind(&self) -> &'static str {
        ElasticsearchSettings::NAME
    }

    fn location(&self) -> String {
        format!("{} into {}", self.poster.location(), self.index)
    }

    fn check(&self) -> SinkFuture<'_, ()> {
        Box::pin(async {
            let answer = self.poster.post("application/x-ndjson", b"\n".to_vec(), &[]).await?;
            // With valid credentials, the response reports an empty request.
            if answer.status.is_success() || answer.status == 400 { Ok(()) } else { Err(answer.failure()) }
        })
    }

    fn encode(&self, origin: &Origin, item: &Item) -> Encoded {
        let action = json!({ "create": { "_index": self.index_of(item), "_id": item.id } });
        let body = format!("{action}\n{}\n", Value::Object(self.fields.document(origin, item)));
        Encoded { position: item.position, head: Vec::new(), body: body.into_bytes() }
    }

    fn send<'a>(&'a self, batch: Batch<'a>) -> SinkFuture<'a, SinkResponse> {
        Box::pin(async move {
            let body: Vec<&[u8]> = batch.records.iter().map(|record| record.body.as_slice()).collect();
            let answer = self.poster.post_batch(batch.threads, "application/x-ndjson", body.concat()).await?;
            if !answer.status.is_success() {
                return Err(answer.failure());
            }
            let read: BulkAnswer = serde_json::from_slice(&answer.body)
                .map_err(|_| SendError::Denied(format!("this is not the bulk API: {}", answer.said())))?;
            Ok(SinkResponse::Each(read.items.iter().map(outcome).collect()))
        })
    }
}

/// The outcome of one record: `{"create": {"status": 201}}`.
fn outcome(item: &Map<String, Value>) -> RecordOutcome {
    let result = item.values().next().unwrap_or(&Value::Null);
    let status = result["status"].as_u64().unwrap_or_default();
    let error = &result["error"];
    let text = |name: &str| error[name].as_str().unwrap_or_default().chars().take(REASON_CHARS_MAX).collect::<String>();
    let problem = || format!("{status} {}: {}", text("type"), text("reason"));
    match status {
        // 409: it exists already.
        200..=299 | 409 => RecordOutcome::Taken,
        429 if planted::is("busy-counts-as-taken") => RecordOutcome::Taken,
        // An index that is missing, read-only or not accessible needs the attention of an operator; the record is not
        // the cause.
        401 | 403 | 404 | 429 | 500..=599 | 0 => RecordOutcome::RetryLater(problem()),
        _ => RecordOutcome::Refused(problem()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_says_what_to_do() {
        let of = |status: u64| {
            let error = json!({ "type": "a_type", "reason": "why" });
            outcome(json!({ "create": { "status": status, "error": error } }).as_object().unwrap())
        };
        assert_eq!([of(201), of(409)], [RecordOutcome::Taken, RecordOutcome::Taken]);
        assert_eq!(of(429), RecordOutcome::RetryLater("429 a_type: why".to_owned()));
        assert_eq!(of(403), RecordOutcome::RetryLater("403 a_type: why".to_owned()));
        assert_eq!(of(400), RecordOutcome::Refused("400 a_type: why".to_owned()));
    }
}
