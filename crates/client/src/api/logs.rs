//! Asking for pages of a log, and for how far they are.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use runlog_model::wire::logs::{LOG_RECORDS_HEADER, LOG_SETTLED_HEADER, NEXT_END_HEADER};
use runlog_model::{FileFormat, RecordOrder, RunId, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::transport::TokenForm;
use crate::transport::lenient;
use crate::transport::{Answer, Client};

/// Which page of a log is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// The run.
    pub run_id: RunId,
    /// The earliest time inside; the log's beginning when absent.
    pub start: Option<Timestamp>,
    /// The latest time inside, as it is to be sent; the log's end when absent.
    pub end: Option<String>,
    /// The form of the file.
    pub format: FileFormat,
    /// The order in the file; the service's own when absent. Talend Cloud ignores it.
    pub order: Option<RecordOrder>,
}

/// The response of the service to a [`PageRequest`].
#[derive(Clone)]
pub struct GeneratedPage {
    /// Asks for the file, for an hour.
    pub token: SecretString,
    /// The size reported by the service: a number of records, or of bytes.
    pub size: Option<u64>,
    /// The end of the next page, as the service wrote it; none on the last page, or if the service does not return it.
    pub next_end: Option<String>,
    /// Whether older records remain (206).
    pub is_partial: bool,
    /// Whether the log can still grow, if the service reports it.
    pub settled: Option<bool>,
    /// Number of records in the log of the run, if the service reports it.
    pub log_records: Option<u64>,
    /// How long the service took to answer.
    pub took: Duration,
}

impl fmt::Debug for GeneratedPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = (&self.size, &self.next_end, &self.settled);
        write!(f, "GeneratedPage {shown:?}")
    }
}

/// The state of the file of a page.
pub(crate) enum LogStatus {
    /// Not built yet; the status as sent by the service.
    Building(String),
    /// There; the link is a secret.
    Ready(SecretString),
}

impl Client {
    /// Asks for the newest page of a range: `POST /monitoring/executions/{id}/logs`.
    pub async fn generate(&self, request: &PageRequest) -> Result<GeneratedPage> {
        let format = match request.format {
            FileFormat::Json => "JSON",
            FileFormat::Text => "TEXT",
        };
        let mut query = vec![("fileFormat", format.to_owned())];
        query.extend(request.start.map(|start| ("startTime", start.to_api_text())));
        query.extend(request.end.clone().map(|end| ("endTime", end)));
        let order = request.order.map(|order| if order == RecordOrder::Asc { "ASC" } else { "DESC" });
        query.extend(order.map(|order| ("order", order.to_owned())));
        let id = request.run_id.to_string();
        let path = ["monitoring", "executions", &id, "logs"];
        // Asked for twice, a page is built twice at worst.
        let answer = self.send(self.request(Method::POST, &path, &query).repeatable()).await?;
        generated(&answer)
    }

    /// Asks how far a page is: `POST …/logs/status`.
    pub(crate) async fn log_status(&self, run: RunId, token: &SecretString) -> Result<LogStatus> {
        let form = self.settings().token_form;
        match self.log_status_in(run, token, form).await {
            // Some services take only the other form of the body.
            Err(error) if error.kind() == ErrorKind::Invalid => {
                let other = if form == TokenForm::Bare { TokenForm::Quoted } else { TokenForm::Bare };
                self.log_status_in(run, token, other).await
            }
            answer => answer,
        }
    }

    async fn log_status_in(&self, run: RunId, token: &SecretString, form: TokenForm) -> Result<LogStatus> {
        let text = token.expose_secret();
        let (content_type, body) = match form {
            TokenForm::Bare => ("text/plain", text.to_owned()),
            TokenForm::Quoted => ("application/json", Value::from(text).to_string()),
        };
        let id = run.to_string();
        let call = self.request(Method::POST, &["monitoring", "executions", &id, "logs", "status"], &[]);
        let answer = self.send(call.with_body(content_type, Bytes::from(body)).repeatable().question()).await?;
        status_of(&answer)
    }
}

impl GeneratedPage {
    /// True if older records remain, and the service has not returned the end of their page.
    pub fn has_unnamed_next(&self) -> bool {
        self.is_partial && self.next_end.is_none()
    }
}

fn generated(answer: &Answer) -> Result<GeneratedPage> {
    #[derive(Deserialize)]
    struct Body {
        token: Option<SecretString>,
        #[serde(default)]
        size: Value,
    }
    // The body is not shown: it holds the token.
    let body: Option<Body> = serde_json::from_slice(&answer.body).ok();
    let (token, size) = body
        .and_then(|body| Some((body.token?, lenient::count(&body.size))))
        .ok_or_else(|| Error::new(ErrorKind::Protocol, "the service's response to a page request contains no token"))?;
    let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    // The status determines whether there are older records; the header of a 200 is ignored.
    let is_partial = answer.status == StatusCode::PARTIAL_CONTENT;
    let next_end = header(NEXT_END_HEADER).filter(|_| is_partial).map(as_end);
    let settled = header(LOG_SETTLED_HEADER).map(|text| text == "true");
    let log_records = header(LOG_RECORDS_HEADER).and_then(|text| text.parse().ok());
    Ok(GeneratedPage { token, size, next_end, is_partial, settled, log_records, took: answer.took })
}

/// Returns the end of the next page as received or, if it is a time in another form, such as a number, in the form of
/// `endTime`.
fn as_end(text: String) -> String {
    let is_end = text.parse::<Timestamp>().is_ok();
    let other = || lenient::time(&Value::from(text.as_str())).map(Timestamp::to_api_text);
    if is_end { text } else { other().unwrap_or(text) }
}

fn status_of(answer: &Answer) -> Result<LogStatus> {
    #[derive(Deserialize)]
    struct Body {
        status: Option<String>,
        #[serde(rename = "presignedURL", alias = "presignedUrl")]
        presigned_url: Option<SecretString>,
    }
    // The body is not shown: it holds the link.
    let body: Body = serde_json::from_slice(&answer.body)
        .map_err(|_| Error::new(ErrorKind::Protocol, "the service's response to a status request cannot be parsed"))?;
    let word = body.status.unwrap_or_default();
    match body.presigned_url.filter(|link| !link.expose_secret().is_empty()) {
        Some(link) if word.eq_ignore_ascii_case("READY") => Ok(LogStatus::Ready(link)),
        None if word.eq_ignore_ascii_case("READY") => {
            Err(Error::new(ErrorKind::Protocol, "the service says that a page is READY, but sends no presignedURL"))
        }
        _ => Ok(LogStatus::Building(word)),
    }
}
