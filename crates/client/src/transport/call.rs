//! One request to the API, and its answer.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use http::{HeaderMap, Method, StatusCode, header};
use runlog_model::wire::error::{DAMAGED, ErrorBody};
use runlog_model::wire::executions::DETAILS_HEADER;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;
use url::Url;

use super::settings::ApiGroup;
use super::turns::Urgency;
use crate::error::{Error, ErrorKind, Result};

/// One request to the API.
pub(crate) struct Call {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    body: Bytes,
    /// The last byte of the body is sent when this becomes true.
    held_until: Option<watch::Receiver<bool>>,
    /// Sent twice, it does what it does once.
    pub(super) repeatable: bool,
    pub(super) urgency: Urgency,
    /// The service limits the requests of each group.
    pub(super) group: ApiGroup,
}

/// An answer that is not an error.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// How long the service took for it.
    pub(crate) took: Duration,
}

impl Call {
    /// A request without a body.
    pub(super) fn new(method: Method, url: Url, group: ApiGroup) -> Self {
        let repeatable = method != Method::POST;
        let urgency = Urgency::default();
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            held_until: None,
            repeatable,
            urgency,
            group,
        }
    }

    /// Returns the call with a body.
    pub(crate) fn with_body(mut self, content_type: &'static str, body: Bytes) -> Self {
        self.headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
        self.body = body;
        self
    }

    /// Returns the call, whose last byte is sent only once `done` is true; if its sender is dropped before that, the
    /// request is aborted.
    pub(crate) fn held_until(mut self, done: watch::Receiver<bool>) -> Self {
        self.held_until = Some(done);
        self
    }

    /// Returns the call with a JSON body.
    pub(crate) fn with_json(self, body: &impl Serialize) -> Result<Self> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Error::caused(ErrorKind::Invalid, "the request cannot be written as JSON", error))?;
        Ok(self.with_body("application/json", body.into()))
    }

    /// Returns the call with an additional header.
    pub(crate) fn with_header(mut self, name: header::HeaderName, value: header::HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Returns the call with a request for all details: Runlog responds with everything recorded about a run or plan
    /// execution; other services ignore the header.
    pub(crate) fn with_runlog_details(self) -> Self {
        self.with_header(header::HeaderName::from_static(DETAILS_HEADER), header::HeaderValue::from_static("true"))
    }

    /// Returns the call, marked as safe to send twice.
    pub(crate) fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    /// Returns the call with the priority of questions: more urgent calls are sent first.
    pub(crate) fn question(mut self) -> Self {
        self.urgency = Urgency::Question;
        self
    }

    /// Returns the call with the lowest priority: all other calls are sent first.
    pub(crate) fn in_background(mut self) -> Self {
        self.urgency = Urgency::Background;
        self
    }

    /// The request body; none if the request has none. An empty body of a POST still has a length, which some services
    /// require.
    pub(super) fn body(&self) -> Option<reqwest::Body> {
        let has_body = !self.body.is_empty() || self.method == Method::POST;
        has_body.then(|| match &self.held_until {
            None => reqwest::Body::from(self.body.clone()),
            Some(done) => held(self.body.clone(), done.clone()),
        })
    }

    /// Method and path; never the query parameters, which may contain secrets.
    pub(super) fn place(&self) -> String {
        format!("{} {}", self.method, self.url.path())
    }
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let what = format!("the service's response does not have the expected format: {}", self.shown());
            Error::caused(ErrorKind::Protocol, what, error)
        })
    }

    /// Returns the part of an unexpected body that may be shown: the beginning of a page of a proxy. JSON is not shown
    /// because it may contain log texts.
    fn shown(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        match text.trim_start_matches('\u{feff}').trim_start().starts_with(['{', '[', '"']) {
            true => format!("{} bytes of JSON", self.body.len()),
            false => format!("{:?}", text.chars().take(200).collect::<String>()),
        }
    }
}

/// True if an answer with this status may be another one when the request is sent again.
pub(crate) fn is_temporary(status: StatusCode, error: &Error) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || error.kind() == ErrorKind::Unavailable
}

/// True if the service, or a load balancer before it, did not wait for the request: it was not handled.
pub(crate) fn is_too_slow(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY)
}

/// `Protocol` for a web page, such as that of a proxy to sign in: the request did not arrive.
pub(crate) fn check_not_a_page(call: &Call, status: StatusCode, headers: &HeaderMap) -> Result<()> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.trim_start().to_ascii_lowercase().starts_with("text/html") {
        let (place, status) = (call.place(), status.as_u16());
        let message = format!("{place}: {status} with a web page, which may be that of a proxy; {WRONG_URL}");
        return Err(Error::new(ErrorKind::Protocol, message));
    }
    Ok(())
}

/// An error response as an error, with the message of the service.
pub(crate) fn refused(call: &Call, answer: &Answer) -> Error {
    let is_absent = matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::GONE);
    let is_elsewhere = is_absent && !is_api(call.url.path(), &answer.body);
    let kind = match answer.status {
        StatusCode::UNAUTHORIZED => ErrorKind::Unauthorized,
        StatusCode::FORBIDDEN => ErrorKind::Forbidden,
        // The response is that of a proxy or a load balancer, not of the API.
        _ if is_elsewhere => ErrorKind::Protocol,
        _ if is_absent => ErrorKind::NotFound,
        StatusCode::TOO_MANY_REQUESTS => ErrorKind::Limited,
        status if is_too_slow(status) => ErrorKind::Unavailable,
        // The service has no such function.
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => ErrorKind::Invalid,
        // A network that wants a sign-in first has answered in place of the service.
        StatusCode::NETWORK_AUTHENTICATION_REQUIRED => ErrorKind::Protocol,
        status if status.is_client_error() => ErrorKind::Invalid,
        status if status.is_server_error() && is_damaged(&answer.body) => ErrorKind::Damaged,
        status if status.is_server_error() => ErrorKind::Unavailable,
        _ => ErrorKind::Protocol,
    };
    let words = words(&answer.body).unwrap_or_else(|| answer.status.canonical_reason().unwrap_or("").to_lowercase());
    let id = answer.headers.get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let id = id.map(|id| format!(" [request {id}]")).unwrap_or_default();
    let grant = if kind == ErrorKind::Forbidden { what_to_grant(call.url.path()) } else { None };
    let grant = grant.map(|grant| format!("; {grant}")).unwrap_or_default();
    // Requests carry the token: they are not repeated at another address.
    let is_misdirected = is_elsewhere || answer.status.is_redirection();
    let grant = if is_misdirected { format!("{grant}; {WRONG_URL}") } else { grant };
    Error::new(kind, format!("{}: {} {words}{grant}{id}", call.place(), answer.status.as_u16()))
}

/// True for the error of a Runlog that cannot read its stored data.
fn is_damaged(body: &[u8]) -> bool {
    serde_json::from_slice::<ErrorBody>(body).is_ok_and(|body| body.code.as_deref() == Some(DAMAGED))
}

/// The advice for a redirection, and for a 404 or 410 that is not a response of the API.
const WRONG_URL: &str = "the service does not respond like Talend Cloud or Runlog: check the URL, which consists of scheme, host and port only";

/// True if a 404 or 410 may be one of the API: the URL has no path before that of the API, and the body is JSON or
/// empty.
fn is_api(path: &str, body: &[u8]) -> bool {
    let folder = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let folders = ["monitoring", "processing", "orchestration", "security", "account", "executions", "runlog"];
    let is_json = || serde_json::from_slice::<Value>(body).is_ok_and(|body| body.is_object());
    folders.contains(&folder) && (body.trim_ascii().is_empty() || is_json())
}

/// Returns the rights that a request of this path needs, by their names in the console and in the API.
fn what_to_grant(path: &str) -> Option<&'static str> {
    let is_in = |folder: &str| path.contains(folder);
    if is_in("/monitoring/executions/") {
        Some(
            "grant the account the rights Author, Viewer and Executor (AUTHOR, VIEW, EXECUTE) in the workspace of the run",
        )
    } else if is_in("/monitoring/observability/") {
        Some(
            "grant the account the role Operator (a service account: the permission TMC_OPERATOR; in a Runlog: the rights Author, Viewer and Executor)",
        )
    } else if is_in("/processing/") {
        Some(
            "grant the account the role Operator (a service account: the permission TMC_OPERATOR) and the right Viewer (VIEW) in the workspaces",
        )
    } else if is_in("/security/audit/") {
        Some(
            "grant the account the role Security Administrator, or the permission AUDIT_LOGS_VIEW (Audit logs - View), and \
             check that the subscription of the tenant includes audit logs: the support level has to be Platinum or \
             Mission Critical",
        )
    } else if is_in("/orchestration/") {
        Some("grant the account the right Viewer (VIEW) in the workspaces")
    } else {
        None
    }
}

/// Returns the message of an error body in any of the known forms: the vendor's, OAuth's, problem details, or plain
/// text.
fn words(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.trim().to_owned()));
    let field = |name: &str| value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let names = ["message", "error_description", "detail", "description", "title", "error"];
    let first = names.iter().find_map(|name| field(name)).or(value.as_str())?;
    let detail = field("detail").filter(|detail| *detail != first);
    let sentence = detail.map_or(first.to_owned(), |detail| format!("{first}; {detail}"));
    let looks_like_page = sentence.trim_start().starts_with('<');
    (!sentence.is_empty() && !looks_like_page).then(|| sentence.chars().take(500).collect())
}

fn held(body: Bytes, mut done: watch::Receiver<bool>) -> reqwest::Body {
    let last = body.len().saturating_sub(1);
    let (most, end) = (body.slice(..last), body.slice(last..));
    let end = async move {
        let is_done = done.wait_for(|done| *done).await.is_ok();
        if is_done { Ok(end) } else { Err(std::io::Error::other("what comes before was not stored")) }
    };
    reqwest::Body::wrap_stream(stream::iter([Ok(most)]).chain(stream::once(end)))
}
