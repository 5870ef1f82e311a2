//! Splunk: `POST /services/collector/event` of its HTTP Event Collector.
//!
//! Splunk does not detect duplicates: an event that is sent twice is stored twice, with the same `id`. Source: "HTTP
//! Event Collector REST API endpoints", and the codes of "Troubleshoot HTTP Event Collector".

use std::sync::Arc;

use runlog_model::Clock;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::http::{Answer, HttpSettings, Poster};
use super::kind::{SinkContext, SinkKind};
use super::mapping::{Field, Mapping};
use super::sink::{Batch, Encoded, Item, Origin, RecordOutcome, SendError, Sink, SinkFuture, SinkResponse};
use crate::deliver::bounds::BatchBounds;
use crate::settings::SettingsError;

/// The settings of an event collector.
#[derive(Debug, Deserialize)]
pub(crate) struct SplunkSettings {
    index: Option<String>,
    source_type: Option<String>,
    source: Option<String>,
    fields: Option<Mapping>,
}

impl SinkKind for SplunkSettings {
    const NAME: &'static str = "splunk";
    // The default limit of Splunk is a megabyte, uncompressed.
    const BATCH: BatchBounds = BatchBounds { records: 1_000, bytes: 800 << 10 };

    type Sink = Splunk;

    fn build(&self, context: &SinkContext<'_>) -> Result<Splunk, SettingsError> {
        let http = context.http::<Self>("Splunk")?;
        if context.login.token.is_none() {
            return Err("splunk needs the token of an event collector".into());
        }
        let fields = self.fields.clone().unwrap_or_else(Splunk::usual_fields);
        let metadata = SplunkMetadata {
            index: self.index.clone(),
            source_type: self.source_type.clone(),
            source: self.source.clone(),
        };
        Ok(Splunk::new(http, metadata, fields, Arc::clone(&context.clock))?)
    }
}

/// An event collector.
pub(crate) struct Splunk {
    poster: Poster,
    metadata: SplunkMetadata,
    fields: Mapping,
}

/// The metadata of events in Splunk; absent fields are determined by the token.
#[derive(Debug, Clone, Default)]
struct SplunkMetadata {
    /// The index.
    index: Option<String>,
    /// The source type.
    source_type: Option<String>,
    /// The source.
    source: Option<String>,
}

/// `{"text":"Invalid data format","code":6,"invalid-event-number":3}`.
#[derive(Deserialize)]
struct SplunkAnswer {
    text: String,
    code: u32,
    #[serde(rename = "invalid-event-number")]
    invalid_event_number: Option<usize>,
}

impl Splunk {
    /// The names of the fields by default.
    fn usual_fields() -> Mapping {
        Mapping::of(&[
            ("message", Field::Message),
            ("severity", Field::Severity),
            ("log_type", Field::LogType),
            ("component", Field::Component),
            ("id", Field::Id),
            ("sequence", Field::Sequence),
            ("run_id", Field::RunId),
            ("status", Field::Status),
            ("task_id", Field::TaskId),
            ("task", Field::Task),
            ("workspace", Field::Workspace),
            ("environment", Field::Environment),
            ("extra", Field::Extra),
        ])
    }

    /// An event collector.
    fn new(
        http: HttpSettings,
        metadata: SplunkMetadata,
        fields: Mapping,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        Ok(Self { poster: Poster::new(http, "/services/collector/event", clock)?, metadata, fields })
    }

    fn event(&self, origin: &Origin, item: &Item) -> Map<String, Value> {
        let SplunkMetadata { index, source_type, source } = &self.metadata;
        // Seconds; a number of this size has exactly the precision of milliseconds.
        let seconds = item.record.time.as_millis() as f64 / 1_000.0;
        let mut event = Map::from_iter([
            ("time".to_owned(), seconds.into()),
            ("event".to_owned(), self.fields.document(origin, item).into()),
        ]);
        let named =
            [("index", index), ("sourcetype", source_type), ("source", source), ("host", &item.record.pod_name)];
        for (name, value) in named {
            event.extend(value.as_ref().map(|value| (name.to_owned(), json!(value))));
        }
        event
    }
}

impl Sink for Splunk {
    fn kind(&self) -> &'static str {
        SplunkSettings::NAME
    }

    fn location(&self) -> String {
        self.poster.location()
    }

    fn check(&self) -> SinkFuture<'_, ()> {
        Box::pin(async {
            let answer = self.poster.post("application/json", Vec::new(), &[]).await?;
            // Code 5: with valid credentials, the response reports that there is no data.
            let is_there = answer.status.is_success() || read(&answer).is_some_and(|read| read.code == 5);
            if is_there { Ok(()) } else { Err(failure(&answer)) }
        })
    }

    fn encode(&self, origin: &Origin, item: &Item) -> Encoded {
        let body = format!("{}\n", Value::Object(self.event(origin, item)));
        Encoded { position: item.position, head: Vec::new(), body: body.into_bytes() }
    }

    fn send<'a>(&'a self, batch: Batch<'a>) -> SinkFuture<'a, SinkResponse> {
        Box::pin(async move {
            let body: Vec<&[u8]> = batch.records.iter().map(|record| record.body.as_slice()).collect();
            let answer = self.poster.post_batch(batch.threads, "application/json", body.concat()).await?;
            match read(&answer) {
                Some(read) if answer.status.is_success() && read.code == 0 => {
                    Ok(SinkResponse::all_accepted(batch.records.len()))
                }
                Some(read) => match up_to_invalid(&read, batch.records.len()) {
                    Some(outcomes) => Ok(SinkResponse::Each(outcomes)),
                    None => Err(failure(&answer)),
                },
                None if answer.status.is_success() => {
                    Err(SendError::Denied(format!("this is not an event collector: {}", answer.said())))
                }
                None => Err(failure(&answer)),
            }
        })
    }
}

/// The outcome of each event if a response names the one at which Splunk stopped: those before it are indexed.
fn up_to_invalid(read: &SplunkAnswer, events: usize) -> Option<Vec<RecordOutcome>> {
    let number = read.invalid_event_number.filter(|number| *number < events)?;
    let problem = format!("{} (code {})", read.text, read.code);
    let (at, behind) = match read.code {
        // An event without data, with invalid data, without or with an empty `event`, or with fields that cannot be
        // indexed.
        5 | 6 | 12 | 13 | 15 => (RecordOutcome::Refused(problem), RecordOutcome::RetryNow),
        // The server has an error, is busy or shuts down: it could not accept this event.
        8 | 9 | 17..=27 => (RecordOutcome::RetryLater(problem.clone()), RecordOutcome::RetryLater(problem)),
        _ => return None,
    };
    let mut outcomes = vec![RecordOutcome::Taken; number];
    outcomes.push(at);
    outcomes.resize(events, behind);
    Some(outcomes)
}

fn read(answer: &Answer) -> Option<SplunkAnswer> {
    serde_json::from_slice(&answer.body).ok()
}

/// The meaning of a code that does not depend on an event.
fn failure(answer: &Answer) -> SendError {
    if answer.is_too_large() {
        return SendError::TooLarge(answer.said());
    }
    match read(answer).map(|read| read.code) {
        // Tokens, indexes and channels are settings.
        Some(1..=4 | 7 | 10 | 11 | 14 | 16) => SendError::Denied(answer.said()),
        // The server has an error, is busy, or shuts down.
        Some(8 | 9 | 17..=27) => SendError::Away { problem: answer.said(), after: answer.retry_after },
        _ => answer.failure(),
    }
}
