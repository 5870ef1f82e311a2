//! Azure Monitor: `POST /dataCollectionRules/{rule}/streams/{stream}` of the Logs Ingestion API.
//!
//! Requests carry an access token, which is fetched with the client secret of an application. Azure Monitor does not
//! detect duplicates: a record that is sent twice is stored twice, with the same `RecordId`. It truncates fields above
//! 64 KB silently, so they are truncated here, with a mark. Source: "Logs Ingestion API in Azure Monitor", "Azure
//! Monitor service limits", and "OAuth 2.0 client credentials flow on the Microsoft identity platform".

use std::sync::Arc;

use runlog_model::Clock;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;
use url::form_urlencoded::Serializer;

use super::cut::{cut_fields, refuse_larger};
use super::http::{Answer, HttpAccess, HttpSettings, Poster};
use super::kind::{SinkContext, SinkKind};
use super::mapping::{Field, Mapping};
use super::options::Group;
use super::sink::{Batch, Encoded, Item, Origin, SendError, Sink, SinkFuture, SinkResponse, json_array};
use crate::deliver::bounds::BatchBounds;
use crate::settings::{SecretSource, SettingsError};

/// The largest field that Azure Monitor does not truncate. Unit: bytes.
const FIELD_BYTES_MAX: usize = 64_000;
/// The largest request, before and after compression. Unit: bytes.
const CALL_BYTES_MAX: usize = 1_000_000;
/// The version of the API.
const API_VERSION: &str = "2023-01-01";
/// Where access tokens of the public cloud are issued, and their scope.
const LOGIN_URL: &str = "https://login.microsoftonline.com";
const SCOPE: &str = "https://monitor.azure.com//.default";
/// How long before its expiry an access token is renewed, at the earliest at half of its lifetime. Unit: milliseconds.
const RENEW_BEFORE_MS: i64 = 300_000;
/// The lifetime of an access token whose answer has no `expires_in`. Unit: seconds.
const TOKEN_SECONDS: i64 = 3_599;

/// The settings of a stream of a data collection rule.
#[derive(Debug, Deserialize)]
pub(crate) struct AzureMonitorSettings {
    rule: Option<String>,
    stream: Option<String>,
    tenant: Option<String>,
    client_id: Option<String>,
    client_secret: Option<SecretSource>,
    login_url: Option<Url>,
    scope: Option<String>,
    fields: Option<Mapping>,
}

/// A stream of a data collection rule.
pub(crate) struct AzureMonitor {
    poster: Poster,
    tokens: AccessTokens,
    fields: Mapping,
}

/// Fetches access tokens with a client secret, and keeps the current one.
struct AccessTokens {
    poster: Poster,
    client_id: String,
    client_secret: SecretString,
    scope: String,
    clock: Arc<dyn Clock>,
    /// Locked while a token is fetched, so that concurrent requests share it.
    token: Mutex<Option<AccessToken>>,
}

struct AccessToken {
    secret: SecretString,
    renew_at_ms: i64,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: SecretString,
    expires_in: Option<i64>,
}

impl SinkKind for AzureMonitorSettings {
    const NAME: &'static str = "azure_monitor";
    const GROUPS: &'static [Group] = &[Group::Records, Group::Http];
    const BATCH: BatchBounds = BatchBounds { records: 2_000, bytes: 900_000 };
    const BATCH_MAX: BatchBounds = BatchBounds { records: usize::MAX, bytes: CALL_BYTES_MAX };

    type Sink = AzureMonitor;

    fn build(&self, context: &SinkContext<'_>) -> Result<AzureMonitor, SettingsError> {
        let mut url = context.url::<Self>()?;
        let rule = path_part("rule", &self.rule, "the immutable ID of a data collection rule")?;
        let stream = path_part("stream", &self.stream, "the name of a stream of that rule, such as Custom-Runlog_CL")?;
        let tenant = path_part("tenant", &self.tenant, "the id of the directory of its application")?;
        let client_id = self.client_id.clone().ok_or("azure_monitor needs the client_id of an application")?;
        let secret = self.client_secret.as_ref().ok_or("azure_monitor needs the client_secret of its application")?;
        let client_secret = context.secret("client_secret", secret)?;
        url.query_pairs_mut().append_pair("api-version", API_VERSION);
        let http = context.http_to::<Self>(url, HttpAccess::Open)?;
        let clock = || Arc::clone(&context.clock);
        let login_url = match &self.login_url {
            Some(url) => url.clone(),
            None => LOGIN_URL.parse().map_err(|_| "the default login_url is not a URL")?,
        };
        let login = HttpSettings { url: login_url, headers: Vec::new(), gzip: false, ..http.clone() };
        let login = Poster::new(login, &format!("/{tenant}/oauth2/v2.0/token"), clock())?;
        Ok(AzureMonitor {
            poster: Poster::new(http, &format!("/dataCollectionRules/{rule}/streams/{stream}"), clock())?,
            tokens: AccessTokens {
                poster: login.hiding(client_secret.clone()),
                client_id,
                client_secret,
                scope: self.scope.clone().unwrap_or_else(|| SCOPE.to_owned()),
                clock: clock(),
                token: Mutex::new(None),
            },
            fields: self.fields.clone().unwrap_or_else(AzureMonitor::usual_fields),
        })
    }
}

/// A setting that is a part of a path.
fn path_part<'a>(name: &str, value: &'a Option<String>, what: &str) -> Result<&'a str, SettingsError> {
    let value = value.as_deref().ok_or_else(|| format!("azure_monitor needs a {name}: {what}"))?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match !value.is_empty() && value.chars().all(is_plain) {
        true => Ok(value),
        false => Err(format!("{name} {value:?} is not {what}").into()),
    }
}

impl AzureMonitor {
    /// The names of the columns by default. Azure Monitor replaces a `TimeGenerated` that is days old; `RecordTime` is
    /// stored unchanged.
    fn usual_fields() -> Mapping {
        Mapping::of(&[
            ("TimeGenerated", Field::Time),
            ("RecordTime", Field::Time),
            ("Message", Field::Message),
            ("Severity", Field::Severity),
            ("LogType", Field::LogType),
            ("Component", Field::Component),
            ("Host", Field::Pod),
            ("RecordId", Field::Id),
            ("Sequence", Field::Sequence),
            ("RunId", Field::RunId),
            ("RunStatus", Field::Status),
            ("TaskId", Field::TaskId),
            ("TaskName", Field::Task),
            ("WorkspaceId", Field::WorkspaceId),
            ("WorkspaceName", Field::Workspace),
            ("EnvironmentName", Field::Environment),
            ("Extra", Field::Extra),
        ])
    }

    /// Sends a compressed body; when the access token is refused, once more with a new one.
    async fn post(&self, body: Vec<u8>) -> Result<Answer, SendError> {
        let token = self.tokens.get().await?;
        let answer = self.poster.post_as(&token, "application/json", body.clone()).await?;
        if answer.status != 401 {
            return Ok(answer);
        }
        self.tokens.forget(&token).await;
        self.poster.post_as(&self.tokens.get().await?, "application/json", body).await
    }
}

impl Sink for AzureMonitor {
    fn kind(&self) -> &'static str {
        AzureMonitorSettings::NAME
    }

    fn location(&self) -> String {
        self.poster.location()
    }

    fn check(&self) -> SinkFuture<'_, ()> {
        Box::pin(async {
            let answer = self.post(self.poster.compressed(b"[]".to_vec())?).await?;
            let is_there = answer.status.is_success() || answer.status == 400 && !names_no_stream(&answer);
            if is_there { Ok(()) } else { Err(failure(&answer)) }
        })
    }

    fn batch_max(&self) -> BatchBounds {
        AzureMonitorSettings::BATCH_MAX
    }

    fn encode(&self, origin: &Origin, item: &Item) -> Encoded {
        let mut row = self.fields.document(origin, item);
        cut_fields(&mut row, FIELD_BYTES_MAX);
        Encoded { position: item.position, head: Vec::new(), body: Value::Object(row).to_string().into_bytes() }
    }

    fn send<'a>(&'a self, batch: Batch<'a>) -> SinkFuture<'a, SinkResponse> {
        Box::pin(async move {
            // A single record is enclosed in two brackets.
            if let Some(refused) = refuse_larger(batch.records, CALL_BYTES_MAX - 2) {
                return Ok(refused);
            }
            let body = self.poster.compressed_batch(batch.threads, json_array(batch.records)).await?;
            let answer = self.post(body).await?;
            match answer.status.is_success() {
                true if answer.is_web_page() => {
                    Err(SendError::Denied(format!("this is not the Logs Ingestion API: {}", answer.said())))
                }
                true => Ok(SinkResponse::all_accepted(batch.records.len())),
                false => Err(failure(&answer)),
            }
        })
    }
}

impl AccessTokens {
    /// A valid access token.
    async fn get(&self) -> Result<SecretString, SendError> {
        let mut token = self.token.lock().await;
        let now_ms = self.clock.now().as_millis();
        if let Some(token) = token.as_ref().filter(|token| now_ms < token.renew_at_ms) {
            return Ok(token.secret.clone());
        }
        let fresh = self.fetch().await?;
        let life_ms = fresh.expires_in.unwrap_or(TOKEN_SECONDS).saturating_mul(1_000);
        let renew_at_ms = now_ms.saturating_add((life_ms - RENEW_BEFORE_MS).max(life_ms / 2));
        *token = Some(AccessToken { secret: fresh.access_token.clone(), renew_at_ms });
        Ok(fresh.access_token)
    }

    /// Drops this access token, which was refused.
    async fn forget(&self, refused: &SecretString) {
        let mut token = self.token.lock().await;
        if token.as_ref().is_some_and(|token| token.secret.expose_secret() == refused.expose_secret()) {
            *token = None;
        }
    }

    async fn fetch(&self) -> Result<TokenAnswer, SendError> {
        let form = Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &self.client_id)
            .append_pair("client_secret", self.client_secret.expose_secret())
            .append_pair("scope", &self.scope)
            .finish();
        let no_token = |problem: &str| format!("no access token for client {}: {problem}", self.client_id);
        let location = self.poster.location();
        let answer = self.poster.post("application/x-www-form-urlencoded", form.into_bytes(), &[]).await;
        let answer = answer.map_err(|error| match error {
            SendError::Denied(problem) => SendError::Denied(no_token(&problem)),
            // No records were sent yet, so the batch is not split.
            error => SendError::Away { problem: no_token(&format!("{location}: {error}")), after: None },
        })?;
        if answer.status.is_success() {
            // The body is not shown: it may contain the token.
            return serde_json::from_slice(&answer.body)
                .map_err(|_| SendError::Denied(no_token(&format!("{location} answered without one"))));
        }
        match answer.failure() {
            SendError::Away { problem, after } => Err(SendError::Away { problem: no_token(&problem), after }),
            // All other failures are caused by the credentials or the address.
            _ => {
                let read: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                let problem = match read["error_description"].as_str() {
                    Some(text) => answer.shown(text.lines().next().unwrap_or_default()),
                    None => answer.said(),
                };
                Err(SendError::Denied(no_token(&problem)))
            }
        }
    }
}

/// True if the response reports that the rule has no such stream.
fn names_no_stream(answer: &Answer) -> bool {
    let read: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    read["error"]["code"] == "InvalidStream"
}

fn failure(answer: &Answer) -> SendError {
    match answer.status.as_u16() {
        400 if names_no_stream(answer) => SendError::Denied(answer.said()),
        403 => {
            let advice = "the application needs the role Monitoring Metrics Publisher on the data collection rule";
            SendError::Denied(format!("{}; {advice}", answer.said()))
        }
        _ => answer.failure(),
    }
}
