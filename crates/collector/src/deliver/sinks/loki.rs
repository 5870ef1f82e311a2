//! Grafana Loki: `POST /loki/api/v1/push`, as JSON.
//!
//! Loki does not store a line again that has the same labels, time and text as an existing one. Each record gets a
//! unique time below the millisecond, so that equal records of one millisecond are kept and sending a record again has
//! no effect. Source: "Loki HTTP API", "Ingest logs".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use runlog_model::{Clock, Timestamp};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::http::{HttpSettings, Poster};
use super::kind::{SinkContext, SinkKind};
use super::mapping::{Field, Mapping, Source};
use super::options::age_limit;
use super::sink::{
    Batch, Encoded, Item, Origin, RecordOutcome, SendError, Sink, SinkFuture, SinkResponse, time_before,
};
use crate::deliver::bounds::BatchBounds;
use crate::settings::{SettingsError, Time};

/// Maximum number of labels of a stream: the default of Loki.
const LABELS_MAX: usize = 15;
/// The text in a response of Loki before the time from which on it accepts lines.
const OLDEST: &str = "oldest acceptable timestamp is: ";

/// The default maximum age of a record: that of Loki, `reject_old_samples_max_age`.
const AGE_MAX: Duration = Duration::from_secs(168 * 3_600);

/// The settings of Loki.
#[derive(Debug, Deserialize)]
pub(crate) struct LokiSettings {
    labels: Option<Mapping>,
    metadata: Option<Mapping>,
    tenant: Option<String>,
    /// Zero: no limit.
    max_age: Option<Time>,
    fields: Option<Mapping>,
}

impl SinkKind for LokiSettings {
    const NAME: &'static str = "loki";
    // Loki recommends about a megabyte.
    const BATCH: BatchBounds = BatchBounds { records: 1_000, bytes: 800 << 10 };

    type Sink = Loki;

    fn build(&self, context: &SinkContext<'_>) -> Result<Loki, SettingsError> {
        let mut http = context.http::<Self>("Bearer")?;
        let tenant = self.tenant.iter().map(|tenant| ("X-Scope-OrgID".to_owned(), SecretString::from(tenant.clone())));
        http.headers.splice(0..0, tenant);
        let labels = self.labels.clone().unwrap_or_else(Loki::usual_labels);
        let metadata = self.metadata.clone().unwrap_or_else(Loki::usual_metadata);
        let loki = Loki::new(http, labels, self.fields.clone(), metadata, Arc::clone(&context.clock))?;
        Ok(loki.with_age_max(age_limit(self.max_age, AGE_MAX)))
    }
}

/// Grafana Loki.
pub(crate) struct Loki {
    poster: Poster,
    labels: Mapping,
    /// None: the line is the message.
    line: Option<Mapping>,
    metadata: Mapping,
    age_max: Option<Duration>,
}

impl Loki {
    /// The labels by default: few, and each with few values.
    fn usual_labels() -> Mapping {
        Mapping::new(vec![
            ("service_name".to_owned(), Source::Field(Field::Task)),
            ("job".to_owned(), Source::Text("runlog".to_owned())),
            ("environment".to_owned(), Source::Field(Field::Environment)),
            ("workspace".to_owned(), Source::Field(Field::Workspace)),
            ("level".to_owned(), Source::Field(Field::Severity)),
        ])
    }

    /// Structured metadata by default.
    fn usual_metadata() -> Mapping {
        Mapping::of(&[
            ("record_id", Field::Id),
            ("run_id", Field::RunId),
            ("run_status", Field::Status),
            ("task_id", Field::TaskId),
            ("component", Field::Component),
            ("log_type", Field::LogType),
            ("pod", Field::Pod),
            ("extra", Field::Extra),
        ])
    }

    /// Creates a sink with its labels, the fields of a line (none: the message), and its structured metadata.
    fn new(
        http: HttpSettings,
        labels: Mapping,
        line: Option<Mapping>,
        metadata: Mapping,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        if labels.fields().is_empty() || labels.fields().len() > LABELS_MAX {
            return Err(format!("Loki takes from 1 to {LABELS_MAX} labels"));
        }
        for (name, source) in labels.fields() {
            let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !is_plain || name.starts_with(|c: char| c.is_ascii_digit()) || name.is_empty() {
                return Err(format!(
                    "{name:?} is not a valid label name; use letters, digits and _, not starting with a digit"
                ));
            }
            let is_unbounded = match source {
                Source::Field(field) => field.is_unbounded(),
                Source::Extra(_) => true,
                Source::Text(_) => false,
            };
            if is_unbounded {
                let advice = "each value would create its own stream in Loki; use metadata instead";
                return Err(format!("label {name:?} has as many values as there are records or runs: {advice}"));
            }
        }
        Ok(Self { poster: Poster::new(http, "/loki/api/v1/push", clock)?, labels, line, metadata, age_max: None })
    }

    /// The maximum age of records; none for no limit.
    fn with_age_max(mut self, age_max: Option<Duration>) -> Self {
        self.age_max = age_max;
        self
    }

    /// Sends each stream in a request of its own, and returns the outcome of each record: a response of Loki applies
    /// only to the stream of its request.
    async fn send_streams(&self, batch: Batch<'_>) -> Result<SinkResponse, SendError> {
        let records = batch.records;
        let mut outcomes = vec![RecordOutcome::Taken; records.len()];
        for labels in records.iter().map(|record| record.head.as_slice()).collect::<BTreeSet<_>>() {
            let stream = records.iter().filter(|record| record.head == labels);
            let answer = self.poster.post_batch(batch.threads, "application/json", Self::body(stream)).await?;
            if answer.status.is_success() {
                continue;
            }
            let oldest = oldest_accepted(&String::from_utf8_lossy(&answer.body));
            let Some(oldest) = oldest.filter(|_| answer.status.as_u16() == 400) else { return Err(answer.failure()) };
            for (record, outcome) in records.iter().zip(&mut outcomes).filter(|(record, _)| record.head == labels) {
                *outcome = if is_before(record, oldest) { too_old(oldest) } else { RecordOutcome::RetryNow };
            }
        }
        Ok(SinkResponse::Each(outcomes))
    }

    /// Entries with the same labels are sent together.
    fn body<'a>(records: impl IntoIterator<Item = &'a Encoded>) -> Vec<u8> {
        let mut streams: BTreeMap<&[u8], Vec<&[u8]>> = BTreeMap::new();
        for record in records {
            streams.entry(&record.head).or_default().push(&record.body);
        }
        let mut body = br#"{"streams":["#.to_vec();
        for (index, (labels, entries)) in streams.into_iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend_from_slice(br#"{"stream":"#);
            body.extend_from_slice(labels);
            body.extend_from_slice(br#","values":["#);
            body.extend_from_slice(&entries.join(&b','));
            body.extend_from_slice(b"]}");
        }
        body.extend_from_slice(b"]}");
        body
    }
}

impl Sink for Loki {
    fn kind(&self) -> &'static str {
        LokiSettings::NAME
    }

    fn location(&self) -> String {
        self.poster.location()
    }

    fn check(&self) -> SinkFuture<'_, ()> {
        Box::pin(async {
            let answer = self.poster.post("application/json", br#"{"streams":[]}"#.to_vec(), &[]).await?;
            // With valid credentials, newer versions respond that the request is empty.
            let is_there = answer.status.is_success() || matches!(answer.status.as_u16(), 400 | 422);
            if is_there { Ok(()) } else { Err(answer.failure()) }
        })
    }

    fn oldest_accepted(&self, now: Timestamp) -> Option<Timestamp> {
        self.age_max.map(|age_max| time_before(now, age_max))
    }

    fn encode(&self, origin: &Origin, item: &Item) -> Encoded {
        let line = match &self.line {
            None => item.record.message.clone().unwrap_or_default(),
            Some(fields) => Value::Object(fields.document(origin, item)).to_string(),
        };
        let texts = self.metadata.texts(origin, item).into_iter();
        let metadata: Map<String, Value> = texts.map(|(name, text)| (name, text.into())).collect();
        let mut entry = vec![item.time_nanos().to_string().into(), Value::from(line)];
        if !metadata.is_empty() {
            entry.push(metadata.into());
        }
        // Loki refuses labels without a value.
        let labels = self.labels.texts(origin, item).into_iter().filter(|(_, text)| !text.is_empty());
        let labels: Map<String, Value> = labels.map(|(name, text)| (name, text.into())).collect();
        Encoded {
            position: item.position,
            head: Value::Object(labels).to_string().into_bytes(),
            body: Value::Array(entry).to_string().into_bytes(),
        }
    }

    fn send<'a>(&'a self, batch: Batch<'a>) -> SinkFuture<'a, SinkResponse> {
        Box::pin(async move {
            let records = batch.records;
            let answer = self.poster.post_batch(batch.threads, "application/json", Self::body(records)).await?;
            if answer.status.is_success() {
                return match answer.is_web_page() {
                    true => Err(SendError::Denied(format!("this is not a Loki: {}", answer.said()))),
                    false => Ok(SinkResponse::all_accepted(records.len())),
                };
            }
            match (answer.status.as_u16(), oldest_accepted(&String::from_utf8_lossy(&answer.body))) {
                // Loki has accepted the others. Which of them it refused for other reasons is known when they are sent
                // again.
                (400, Some(oldest)) if records.iter().any(|record| is_before(record, oldest)) => {
                    if records.iter().any(|record| record.head != records[0].head) {
                        return self.send_streams(batch).await;
                    }
                    let outcome = |record: &Encoded| match is_before(record, oldest) {
                        true => too_old(oldest),
                        false => RecordOutcome::RetryNow,
                    };
                    Ok(SinkResponse::Each(records.iter().map(outcome).collect()))
                }
                _ => Err(answer.failure()),
            }
        })
    }
}

fn too_old(oldest: Timestamp) -> RecordOutcome {
    RecordOutcome::Refused(format!("it does not accept lines from before {oldest}"))
}

fn is_before(record: &Encoded, oldest: Timestamp) -> bool {
    record.position.time < oldest
}

/// The time in a response from which on lines are accepted.
fn oldest_accepted(answer: &str) -> Option<Timestamp> {
    let (_, rest) = answer.split_once(OLDEST)?;
    let end = rest.find(|c: char| c.is_whitespace() || matches!(c, ',' | '\'' | '"')).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_read_from_what_loki_says() {
        let said = "entry with timestamp 2024-05-06 15:58:50 +0000 UTC ignored, reason: 'entry too far behind, oldest acceptable timestamp is: 2024-05-07T10:25:30Z',";
        assert_eq!(oldest_accepted(said), "2024-05-07T10:25:30Z".parse().ok());
        assert_eq!(oldest_accepted("rate limit exceeded"), None);
    }
}
