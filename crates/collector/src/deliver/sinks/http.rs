//! What all destinations that speak HTTP share: the request, its compression, and what most statuses mean.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, StatusCode};
use runlog_client::retry_after;
use runlog_model::Clock;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::sink::SendError;

/// The longest answer that is read. Unit: bytes. That to a batch of some thousand records is about a megabyte.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// How much is read of an answer that says that something went wrong. Unit: bytes.
const FAILURE_BYTES_MAX: usize = 64 << 10;
/// How destinations say that a body, a message or a line is too large, whatever the status is.
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
/// How much of an answer is shown of one that is not understood. Unit: characters.
const ANSWER_CHARS_SHOWN: usize = 300;

/// Where requests go and what lets them in.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// The address.
    pub url: Url,
    /// What lets them in.
    pub access: HttpAccess,
    /// More headers.
    pub headers: Vec<(String, SecretString)>,
    /// Whether bodies are packed with gzip.
    pub gzip: bool,
    /// How long a request may take.
    pub time_max: Duration,
}

/// What lets a request in.
#[derive(Debug, Clone)]
pub enum HttpAccess {
    /// Nothing is asked for.
    Open,
    /// `Authorization: Basic …`.
    Basic(String, SecretString),
    /// `Authorization: <word> <secret>`, such as `Bearer`, `ApiKey` or `Splunk`.
    Word(&'static str, SecretString),
}

/// Sends bodies to one address.
pub(crate) struct Poster {
    client: Client,
    url: Url,
    headers: HeaderMap,
    gzip: bool,
    clock: Arc<dyn Clock>,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    pub(crate) retry_after: Option<Duration>,
}

impl Poster {
    /// Posts to a path below the address; what is wrong with the settings is said.
    pub(crate) fn new(settings: HttpSettings, path: &str, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let mut url = settings.url;
        if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
            // The rest of it may hold a password.
            return Err(format!("the address begins with {}:, and not with http:// or https://", url.scheme()));
        }
        if url.password().is_some() || !url.username().is_empty() {
            return Err("the address holds a user or password; give them as user and password".to_owned());
        }
        let whole = format!("{}{path}", url.path().trim_end_matches('/'));
        url.set_path(&whole);
        let mut headers = HeaderMap::new();
        let mut add = |name: HeaderName, value: &str| -> Result<(), String> {
            let mut value =
                HeaderValue::from_str(value).map_err(|_| format!("header {name} has signs that no header has"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
            Ok(())
        };
        match &settings.access {
            HttpAccess::Open => {}
            HttpAccess::Basic(user, password) => {
                use base64::Engine;
                let pair = format!("{user}:{}", password.expose_secret());
                add(AUTHORIZATION, &format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))?;
            }
            HttpAccess::Word(word, secret) => add(AUTHORIZATION, &format!("{word} {}", secret.expose_secret()))?,
        }
        for (name, value) in &settings.headers {
            let name = HeaderName::try_from(name.as_str()).map_err(|_| format!("{name:?} is no name of a header"))?;
            add(name, value.expose_secret())?;
        }
        let client = Client::builder()
            .user_agent(concat!("runlog/", env!("CARGO_PKG_VERSION")))
            // A destination that moved is a setting to change, not an address to follow with secrets in hand.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(20))
            .timeout(settings.time_max)
            .build()
            .map_err(|error| format!("the HTTP client cannot be set up: {error}"))?;
        Ok(Self { client, url, headers, gzip: settings.gzip, clock })
    }

    /// The address without its query, which may hold secrets.
    pub(crate) fn place(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.to_string()
    }

    /// Sends a body, with more headers than those that are always sent.
    pub(crate) async fn post(&self, kind: &str, body: Vec<u8>, more: &[(&str, String)]) -> Result<Answer, SendError> {
        let mut request = self.client.post(self.url.clone()).headers(self.headers.clone()).header(CONTENT_TYPE, kind);
        for (name, value) in more {
            request = request.header(*name, value);
        }
        let request = match self.gzip {
            false => request.body(body),
            true => request.header(CONTENT_ENCODING, "gzip").body(gzipped(&body)?),
        };
        let lost = |error: reqwest::Error| {
            let is_away = error.is_connect();
            let problem = causes(&error.without_url());
            if is_away { SendError::Away { problem, after: None } } else { SendError::NoAnswer(problem) }
        };
        let mut response = request.send().await.map_err(lost)?;
        let after = retry_after(response.headers(), self.clock.now());
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(lost)? {
            if status.is_success() && body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(SendError::Denied(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
            // What went wrong is said at the beginning.
            if !status.is_success() && body.len() > FAILURE_BYTES_MAX {
                break;
            }
        }
        Ok(Answer { status, body: body.into(), retry_after: after })
    }
}

impl Answer {
    /// What a status means that the protocol of the destination says nothing else of.
    pub(crate) fn failure(&self) -> SendError {
        let problem = self.said();
        if self.says_too_large() {
            return SendError::TooLarge(problem);
        }
        match self.status.as_u16() {
            408 | 429 | 500..=599 => SendError::Away { problem, after: self.retry_after },
            400 | 422 => SendError::Refused(problem),
            _ => SendError::Denied(problem),
        }
    }

    /// True when the status or the words say that what was sent is too large.
    pub(crate) fn says_too_large(&self) -> bool {
        let text = || String::from_utf8_lossy(&self.body).to_lowercase();
        match self.status.as_u16() {
            413 => true,
            400 | 422 | 431 | 500..=599 => TOO_LARGE.iter().any(|words| text().contains(words)),
            // gRPC has one code for both; where memory is short, as in "Data too large" of Elasticsearch, it passes.
            429 => text().contains("larger than max"),
            _ => false,
        }
    }

    /// True for a page for people, such as that of a proxy or a sign-in.
    pub(crate) fn is_web_page(&self) -> bool {
        self.body.trim_ascii_start().starts_with(b"<")
    }

    /// The status and the beginning of the body.
    pub(crate) fn said(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let text = text.trim();
        match text.char_indices().nth(ANSWER_CHARS_SHOWN) {
            _ if text.is_empty() => format!("it answered {}", self.status),
            None => format!("it answered {}: {text}", self.status),
            Some((end, _)) => format!("it answered {}: {}…", self.status, &text[..end]),
        }
    }
}

fn gzipped(body: &[u8]) -> Result<Vec<u8>, SendError> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    let packed = encoder.write_all(body).and_then(|()| encoder.finish());
    packed.map_err(|error| SendError::Denied(format!("the body cannot be packed: {error}")))
}

/// An error with its causes, without the address.
fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string);
    causes.collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> HttpSettings {
        HttpSettings {
            url: url.parse().unwrap(),
            access: HttpAccess::Word("Bearer", SecretString::from("a-secret")),
            headers: Vec::new(),
            gzip: true,
            time_max: Duration::from_secs(1),
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
        assert_eq!(poster.place(), "https://logs.example.com/base/_bulk");
        assert!(!format!("{:?}", poster.headers).contains("a-secret"));
    }

    #[test]
    fn addresses_with_passwords_and_of_other_kinds_are_refused() {
        assert!(Poster::new(settings("https://a:b@example.com"), "", Arc::new(Stopped)).is_err());
        let said = Poster::new(settings("ftp://me:hunter2@example.com"), "", Arc::new(Stopped)).err().unwrap();
        assert!(said.contains("ftp:") && said.contains("https://") && !said.contains("hunter2"), "{said}");
    }
}
