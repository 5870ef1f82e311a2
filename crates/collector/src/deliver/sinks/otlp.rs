//! Receivers of OTLP over HTTP: the OpenTelemetry Collector, many services, another Runlog. `POST /v1/logs`.
//!
//! Each record has its ID in the attribute `log.record.uid`, by which a destination can detect duplicates. Source:
//! "OpenTelemetry Protocol Specification", OTLP/HTTP, and the semantic conventions of logs.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value as OtlpValue;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use runlog_model::Clock;
use runlog_model::record::Severity;
use serde::Deserialize;
use serde_json::Value;

use super::http::{Answer, HttpSettings, Poster};
use super::kind::{SinkContext, SinkKind};
use super::sink::{
    Batch, Encoded, Item, Origin, RecordOutcome, RunContext, SendError, Sink, SinkFuture, SinkResponse, TenantContext,
};
use crate::settings::SettingsError;

const PROTOBUF: &str = "application/x-protobuf";

/// The settings of a receiver of OTLP, which has no special ones.
#[derive(Debug, Deserialize)]
pub(crate) struct OtlpSettings {}

impl SinkKind for OtlpSettings {
    const NAME: &'static str = "otlp";

    type Sink = Otlp;

    fn build(&self, context: &SinkContext<'_>) -> Result<Otlp, SettingsError> {
        Ok(Otlp::new(context.http::<Self>("Bearer")?, Arc::clone(&context.clock))?)
    }
}

/// A receiver of OTLP.
pub(crate) struct Otlp {
    poster: Poster,
}

impl Otlp {
    /// Creates a receiver; the path `/v1/logs` is appended to its URL.
    fn new(http: HttpSettings, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let path = if http.url.path().ends_with("/v1/logs") { "" } else { "/v1/logs" };
        Ok(Self { poster: Poster::new(http, path, clock)? })
    }
}

impl Sink for Otlp {
    fn kind(&self) -> &'static str {
        OtlpSettings::NAME
    }

    fn location(&self) -> String {
        self.poster.location()
    }

    fn check(&self) -> SinkFuture<'_, ()> {
        Box::pin(async {
            let nothing = ExportLogsServiceRequest::default().encode_to_vec();
            let answer = self.poster.post(PROTOBUF, nothing, &[]).await?;
            if answer.status.is_success() { Ok(()) } else { Err(answer.failure()) }
        })
    }

    fn encode(&self, _origin: &Origin, item: &Item) -> Encoded {
        let scope = InstrumentationScope {
            name: item.record.bundle_name.clone().unwrap_or_default(),
            version: item.record.bundle_version.clone().unwrap_or_default(),
            ..InstrumentationScope::default()
        };
        Encoded { position: item.position, head: scope.encode_to_vec(), body: log_record(item).encode_to_vec() }
    }

    fn send<'a>(&'a self, batch: Batch<'a>) -> SinkFuture<'a, SinkResponse> {
        Box::pin(async move {
            let answer = self.poster.post_batch(batch.threads, PROTOBUF, request(batch)).await?;
            match answer.status.as_u16() {
                200..=299 => {}
                _ if answer.is_too_large() => return Err(SendError::TooLarge(answer.said())),
                429 | 502..=504 => {
                    return Err(SendError::Away { problem: answer.said(), after: answer.retry_after });
                }
                // All other failures would recur: they need the attention of an operator.
                500..=599 => return Err(SendError::Denied(answer.said())),
                _ => return Err(answer.failure()),
            }
            let all = batch.records.len();
            Ok(match rejected(&answer)? {
                (0, _) => SinkResponse::all_accepted(all),
                (records, reason) if records >= all => SinkResponse::Each(vec![RecordOutcome::Refused(reason); all]),
                (records, reason) => SinkResponse::AllBut { records, reason },
            })
        })
    }
}

/// The number of rejected records in a response, and the reason.
fn rejected(answer: &Answer) -> Result<(usize, String), SendError> {
    if let Ok(read) = ExportLogsServiceResponse::decode(answer.body.clone()) {
        let partial = read.partial_success.unwrap_or_default();
        return Ok((usize::try_from(partial.rejected_log_records).unwrap_or_default(), partial.error_message));
    }
    // Some receivers always respond with JSON.
    let read: Value = serde_json::from_slice(&answer.body)
        .map_err(|_| SendError::Denied(format!("this is not a receiver of OTLP: {}", answer.said())))?;
    let partial = &read["partialSuccess"];
    let records = &partial["rejectedLogRecords"];
    let records = records.as_u64().or_else(|| records.as_str()?.parse().ok()).unwrap_or_default();
    Ok((
        usize::try_from(records).unwrap_or(usize::MAX),
        partial["errorMessage"].as_str().unwrap_or_default().to_owned(),
    ))
}

/// An `ExportLogsServiceRequest` with encoded records; neighbouring records with the same scope share a `ScopeLogs`.
fn request(batch: Batch<'_>) -> Vec<u8> {
    let resource = Resource { attributes: resource(batch.origin), ..Resource::default() };
    let mut logs = Vec::new();
    add_field(1, &resource.encode_to_vec(), &mut logs);
    // Only neighbouring records share a scope, so that their order is kept.
    for records in batch.records.chunk_by(|one, next| one.head == next.head) {
        let mut scope_logs = Vec::new();
        add_field(1, &records[0].head, &mut scope_logs);
        records.iter().for_each(|record| add_field(2, &record.body, &mut scope_logs));
        add_field(2, &scope_logs, &mut logs);
    }
    let mut request = Vec::with_capacity(logs.len() + 8);
    add_field(1, &logs, &mut request);
    request
}

fn add_field(tag: u32, bytes: &[u8], out: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn resource(origin: &Origin) -> Vec<KeyValue> {
    let texts = match origin {
        Origin::Run(run) => resource_of_run(run),
        Origin::Tenant(tenant) => {
            vec![("service.name", TenantContext::NAME.to_owned()), ("runlog.upstream", tenant.upstream.clone())]
        }
    };
    texts.into_iter().map(|(name, text)| attribute(name, Value::String(text))).collect()
}

fn resource_of_run(run: &RunContext) -> Vec<(&'static str, String)> {
    vec![
        ("service.name", run.task.clone()),
        ("service.namespace", run.workspace.clone()),
        ("service.version", run.run.task_version.clone()),
        ("service.instance.id", run.run.id.to_string()),
        ("deployment.environment.name", run.environment.clone()),
        ("runlog.run.id", run.run.id.to_string()),
        ("runlog.run.status", run.run.status.coarse().as_str().to_owned()),
        ("runlog.task.id", run.run.task_id.to_string()),
        ("runlog.task.name", run.task.clone()),
        ("runlog.workspace.id", run.run.workspace_id.to_string()),
        ("runlog.workspace.name", run.workspace.clone()),
    ]
}

fn log_record(item: &Item) -> LogRecord {
    let record = &item.record;
    let nanos = u64::try_from(item.time_nanos()).unwrap_or_default();
    let mut attributes = vec![attribute("log.record.uid", item.id.as_str().into())];
    attributes.extend(record.log_type.as_deref().map(|text| attribute("log.type", text.into())));
    attributes.extend(record.pod_name.as_deref().map(|text| attribute("k8s.pod.name", text.into())));
    let (mut trace_id, mut span_id) = (Vec::new(), Vec::new());
    for (name, value) in record.extra.iter().flat_map(|extra| extra.iter()) {
        match (name.as_str(), value) {
            ("traceId", Value::String(text)) => trace_id = unhex(text, 16).unwrap_or_default(),
            ("spanId", Value::String(text)) => span_id = unhex(text, 8).unwrap_or_default(),
            // Attributes that were received by OTLP are sent unchanged.
            ("attributes", Value::Object(fields)) => {
                let more = fields.iter().filter(|(name, _)| *name != "log.record.uid");
                attributes.extend(more.map(|(name, value)| attribute(name, value.clone())));
            }
            _ => attributes.push(attribute(name, value.clone())),
        }
    }
    LogRecord {
        time_unix_nano: nanos,
        observed_time_unix_nano: nanos,
        severity_number: severity_number(record.severity.as_deref()),
        severity_text: record.severity.clone().unwrap_or_default(),
        body: record.message.as_deref().map(|text| any(text.into())),
        attributes,
        trace_id,
        span_id,
        ..LogRecord::default()
    }
}

/// The first number of each range of the specification; 0 for an unknown severity.
fn severity_number(text: Option<&str>) -> i32 {
    match Severity::of(text) {
        Severity::Other => 0,
        Severity::Trace => 1,
        Severity::Debug => 5,
        Severity::Info => 9,
        Severity::Warn => 13,
        Severity::Error => 17,
        Severity::Fatal => 21,
    }
}

fn attribute(name: &str, value: Value) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(any(value)), ..KeyValue::default() }
}

fn any(value: Value) -> AnyValue {
    let value = match value {
        Value::Null => None,
        Value::Bool(flag) => Some(OtlpValue::BoolValue(flag)),
        Value::Number(number) => Some(match number.as_i64() {
            Some(whole) => OtlpValue::IntValue(whole),
            None => OtlpValue::DoubleValue(number.as_f64().unwrap_or_default()),
        }),
        Value::String(text) => Some(OtlpValue::StringValue(text)),
        Value::Array(values) => {
            Some(OtlpValue::ArrayValue(ArrayValue { values: values.into_iter().map(any).collect() }))
        }
        Value::Object(fields) => {
            let values = fields.into_iter().map(|(name, value)| attribute(&name, value)).collect();
            Some(OtlpValue::KvlistValue(KeyValueList { values }))
        }
    };
    AnyValue { value }
}

fn unhex(text: &str, bytes: usize) -> Option<Vec<u8>> {
    if text.len() != 2 * bytes || !text.is_ascii() {
        return None;
    }
    (0..bytes).map(|index| u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()).collect()
}
