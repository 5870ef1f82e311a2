//! Common code of all destinations that use HTTP: requests, compression, and the meaning of most statuses.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use runlog_client::{HttpClientBuilder, HttpSender, SimulatedNetwork, TlsSettings, retry_after};
use runlog_model::{Clock, error_chain};
use runlog_store::BackgroundThreads;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::sink::SendError;

/// The longest response that is read. Unit: bytes. The response to a batch of some thousand records has about a
/// megabyte.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// The longest error response that is read. Unit: bytes.
const FAILURE_BYTES_MAX: usize = 64 << 10;
/// Phrases with which destinations say that a body, a message or a line is too large, with any status.
const TOO_LARGE: [&str; 15] = [
    "too large",
    "too big",
    "larger than max",
    "larger than the max",
    "larger than allowed",
    "greater than max",
    "exceeds the max",
    "exceeded the max",
    "exceeds max",
    "exceeded max",
    "max message size",
    "max body size",
    "maximum size",
    "size exceed",
    "body size limit",
];
/// How much of an unexpected response is shown. Unit: characters.
const ANSWER_CHARS_SHOWN: usize = 300;
/// How much of it is searched for secrets before it is shortened. Unit: characters.
const ANSWER_CHARS_READ: usize = 16_384;
/// Shorter secrets are not removed: they would occur in every text. Unit: bytes.
const SECRET_BYTES_MIN: usize = 4;

/// The destination and options of requests.
#[derive(Debug, Clone)]
pub(crate) struct HttpSettings {
    /// The URL.
    pub(crate) url: Url,
    /// The credentials.
    pub(crate) access: HttpAccess,
    /// Additional headers.
    pub(crate) headers: Vec<(String, SecretString)>,
    /// True if bodies are compressed with gzip.
    pub(crate) gzip: bool,
    /// Maximum time of a request.
    pub(crate) time_max: Duration,
    /// Trusted authorities and the client certificate.
    pub(crate) tls: TlsSettings,
    /// The services of a simulation, in place of the network.
    pub(crate) simulated: Option<Arc<dyn SimulatedNetwork>>,
}

/// The credentials of requests.
#[derive(Debug, Clone)]
pub(crate) enum HttpAccess {
    /// None.
    Open,
    /// `Authorization: Basic …`.
    Basic(String, SecretString),
    /// A header with any name: `<name>: <before><secret>`.
    Header {
        /// The name of the header.
        name: &'static str,
        /// The text before the secret, such as `Bearer `.
        before: String,
        /// The secret.
        secret: SecretString,
    },
}

/// Sends bodies to one URL.
pub(crate) struct Poster {
    http: HttpSender,
    url: Url,
    gzip: bool,
    /// Removed from every text of a response that is shown.
    secrets: Vec<SecretString>,
    clock: Arc<dyn Clock>,
}

/// A response.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    pub(crate) retry_after: Option<Duration>,
    /// Removed from every text of the body that is shown.
    secrets: Vec<SecretString>,
}

impl HttpAccess {
    /// `Authorization: <scheme> <secret>`, such as `Bearer`, `ApiKey` or `Splunk`.
    pub(crate) fn authorization(scheme: &str, secret: SecretString) -> Self {
        Self::Header { name: "authorization", before: format!("{scheme} "), secret }
    }

    /// The header and its value, and the secret in it.
    fn header(&self) -> Option<(&'static str, SecretString, SecretString)> {
        match self {
            Self::Open => None,
            Self::Basic(user, password) => {
                use base64::Engine;
                let pair = format!("{user}:{}", password.expose_secret());
                let value = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
                Some(("authorization", value.into(), password.clone()))
            }
            Self::Header { name, before, secret } => {
                Some((name, format!("{before}{}", secret.expose_secret()).into(), secret.clone()))
            }
        }
    }
}

impl Poster {
    /// Posts to a path below the URL. Returns errors in the settings.
    pub(crate) fn new(settings: HttpSettings, path: &str, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let mut url = settings.url;
        if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
            // The rest of the URL may contain a password.
            return Err(format!("the address begins with {}:, and not with http:// or https://", url.scheme()));
        }
        if url.password().is_some() || !url.username().is_empty() {
            return Err("the URL contains a user or password; set user and password instead".to_owned());
        }
        let whole = format!("{}{path}", url.path().trim_end_matches('/'));
        url.set_path(&whole);
        let text = |error: runlog_client::Error| error_chain(&error);
        let mut builder = HttpClientBuilder::new(&settings.tls).timeout(settings.time_max);
        builder = builder.simulated(settings.simulated);
        let mut secrets = Vec::new();
        if let Some((name, value, secret)) = settings.access.header() {
            builder = builder.secret_header(name, &value).map_err(text)?;
            secrets.push(secret);
        }
        for (name, value) in settings.headers {
            builder = builder.secret_header(&name, &value).map_err(text)?;
            secrets.push(value);
        }
        let http = builder.sender().map_err(text)?;
        Ok(Self { http, url, gzip: settings.gzip, secrets, clock })
    }

    /// Also removes this secret from every text of a response that is shown.
    pub(crate) fn hiding(mut self, secret: SecretString) -> Self {
        self.secrets.push(secret);
        self
    }

    /// Returns a copy with another URL of the same service.
    pub(crate) fn to(&self, url: Url) -> Self {
        let Self { http, gzip, secrets, clock, .. } = self;
        Self { http: http.clone(), url, gzip: *gzip, secrets: secrets.clone(), clock: Arc::clone(clock) }
    }

    /// The URL without its query, which may contain secrets.
    pub(crate) fn location(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.to_string()
    }

    /// Sends a body with additional headers.
    pub(crate) async fn post(&self, kind: &str, body: Vec<u8>, more: &[(&str, String)]) -> Result<Answer, SendError> {
        self.send(kind, self.compressed(body)?, more, None).await
    }

    /// Sends the body of a batch, which is compressed on background threads.
    pub(crate) async fn post_batch(
        &self,
        threads: &BackgroundThreads,
        kind: &str,
        body: Vec<u8>,
    ) -> Result<Answer, SendError> {
        self.send(kind, self.compressed_batch(threads, body).await?, &[], None).await
    }

    /// Compresses a body if the settings say so.
    pub(crate) fn compressed(&self, body: Vec<u8>) -> Result<Vec<u8>, SendError> {
        if self.gzip { gzipped(&body) } else { Ok(body) }
    }

    /// Compresses the body of a batch in the same way, on background threads.
    pub(crate) async fn compressed_batch(
        &self,
        threads: &BackgroundThreads,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, SendError> {
        if !self.gzip {
            return Ok(body);
        }
        let stopping = || SendError::Away { problem: "the process is stopping".to_owned(), after: None };
        threads.run(move || gzipped(&body)).await.unwrap_or_else(|| Err(stopping()))
    }

    /// Sends a body, which is compressed already if the settings say so, with `Authorization: Bearer <token>`.
    pub(crate) async fn post_as(&self, token: &SecretString, kind: &str, body: Vec<u8>) -> Result<Answer, SendError> {
        self.send(kind, body, &[], Some(token)).await
    }

    async fn send(
        &self,
        kind: &str,
        body: Vec<u8>,
        more: &[(&str, String)],
        token: Option<&SecretString>,
    ) -> Result<Answer, SendError> {
        let bearer = token.map(|token| format!("Bearer {}", token.expose_secret()));
        let mut headers = HeaderMap::new();
        let all = more.iter().map(|(name, value)| (*name, value.as_str())).chain([(CONTENT_TYPE.as_str(), kind)]);
        for (name, value) in all.chain(bearer.iter().map(|bearer| ("authorization", bearer.as_str()))) {
            let invalid = || SendError::Denied(format!("header {name} has characters that no header has"));
            let mut value = HeaderValue::try_from(value).map_err(|_| invalid())?;
            value.set_sensitive(name == "authorization");
            headers.insert(HeaderName::try_from(name).map_err(|_| invalid())?, value);
        }
        if self.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let sending = self.http.post(self.url.clone(), headers, body);
        let mut response = sending.await.map_err(|error| match error.is_unreachable() {
            true => SendError::Away { problem: error.to_string(), after: None },
            false => SendError::NoAnswer(error.to_string()),
        })?;
        let lost = |error: reqwest::Error| SendError::NoAnswer(error_chain(&error.without_url()));
        let after = retry_after(response.headers(), self.clock.now());
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if status.is_success() && body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(SendError::Denied(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
            // The cause is at the beginning.
            if !status.is_success() && body.len() > FAILURE_BYTES_MAX {
                break;
            }
        }
        let secrets = self.secrets.iter().chain(token).cloned().collect();
        Ok(Answer { status, body: body.into(), retry_after: after, secrets })
    }
}

impl Answer {
    /// The meaning of a status for which the protocol of the destination does not define another one.
    pub(crate) fn failure(&self) -> SendError {
        let problem = self.said();
        if self.is_too_large() {
            return SendError::TooLarge(problem);
        }
        match self.status.as_u16() {
            408 | 429 | 500..=599 => SendError::Away { problem, after: self.retry_after },
            400 | 422 => SendError::Refused(problem),
            _ => SendError::Denied(problem),
        }
    }

    /// True if the status or the text reports that the request is too large.
    pub(crate) fn is_too_large(&self) -> bool {
        let text = || String::from_utf8_lossy(&self.body).to_lowercase();
        match self.status.as_u16() {
            413 => true,
            400 | 422 | 431 | 500..=599 => TOO_LARGE.iter().any(|words| text().contains(words)),
            // gRPC uses one code for both cases; a lack of memory, as in "Data too large" of Elasticsearch, is
            // temporary.
            429 => text().contains("larger than max"),
            _ => false,
        }
    }

    /// True for an HTML page, such as that of a proxy or a sign-in, or other markup: of a destination that uses none.
    pub(crate) fn is_web_page(&self) -> bool {
        self.body.trim_ascii_start().starts_with(b"<")
    }

    /// The status and the beginning of the body, without secrets.
    pub(crate) fn said(&self) -> String {
        let shown = self.shown(&String::from_utf8_lossy(&self.body));
        match shown.is_empty() {
            true => format!("it answered {}", self.status),
            false => format!("it answered {}: {shown}", self.status),
        }
    }

    /// The beginning of a text of the response, without secrets.
    pub(crate) fn shown(&self, text: &str) -> String {
        let end = text.char_indices().nth(ANSWER_CHARS_READ).map_or(text.len(), |(end, _)| end);
        let mut text = text[..end].trim().to_owned();
        for secret in &self.secrets {
            let secret = secret.expose_secret();
            if secret.len() >= SECRET_BYTES_MIN && text.contains(secret) {
                text = text.replace(secret, "***");
            }
        }
        match text.char_indices().nth(ANSWER_CHARS_SHOWN) {
            None => text,
            Some((end, _)) => format!("{}…", &text[..end]),
        }
    }
}

/// True for the beginning of an HTML page. A receiver of webhooks may answer with anything else, such as XML.
pub(crate) fn is_html_page(body: &[u8]) -> bool {
    let body = body.trim_ascii_start();
    ["<!doctype html", "<html"]
        .iter()
        .any(|begin| body.get(..begin.len()).is_some_and(|start| start.eq_ignore_ascii_case(begin.as_bytes())))
}

fn gzipped(body: &[u8]) -> Result<Vec<u8>, SendError> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    let packed = encoder.write_all(body).and_then(|()| encoder.finish());
    packed.map_err(|error| SendError::Denied(format!("the body cannot be packed: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> HttpSettings {
        HttpSettings {
            url: url.parse().unwrap(),
            access: HttpAccess::authorization("Bearer", SecretString::from("a-secret")),
            headers: Vec::new(),
            gzip: true,
            time_max: Duration::from_secs(1),
            tls: TlsSettings::default(),
            simulated: None,
        }
    }

    struct Stopped;

    impl Clock for Stopped {
        fn now(&self) -> runlog_model::Timestamp {
            runlog_model::Timestamp::clamped(0)
        }
    }

    #[test]
    fn the_path_is_added_to_that_of_the_address_and_secrets_are_not_shown() {
        let poster =
            Poster::new(settings("https://logs.example.com/base/?key=a-secret"), "/_bulk", Arc::new(Stopped)).unwrap();
        assert_eq!(poster.location(), "https://logs.example.com/base/_bulk");
        assert!(!format!("{:?}", poster.http).contains("a-secret"));
    }

    /// Errors of a destination are stored in the archive, and some destinations repeat the key that they refuse.
    #[test]
    fn an_answer_that_repeats_the_secret_is_shown_without_it() {
        let poster = Poster::new(settings("https://logs.example.com"), "", Arc::new(Stopped)).unwrap();
        let body = Bytes::from_static(b"{\"error\": \"unknown key a-secret\"}");
        let answer = Answer { status: StatusCode::FORBIDDEN, body, retry_after: None, secrets: poster.secrets };
        assert_eq!(answer.said(), "it answered 403 Forbidden: {\"error\": \"unknown key ***\"}");
    }

    #[test]
    fn addresses_with_passwords_and_of_other_kinds_are_refused() {
        assert!(Poster::new(settings("https://a:b@example.com"), "", Arc::new(Stopped)).is_err());
        let said = Poster::new(settings("ftp://me:hunter2@example.com"), "", Arc::new(Stopped)).err().unwrap();
        assert!(said.contains("ftp:") && said.contains("https://") && !said.contains("hunter2"), "{said}");
    }
}
