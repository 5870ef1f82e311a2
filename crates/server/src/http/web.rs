//! The web UI: the files of `web/dist`, which are part of the program, and the rules under which a browser shows them.
//!
//! It answers where no route does: its files under their names, and its one page for every other address that a browser
//! opens. The page draws what the address means. In debug builds the files are read from the folder each time.

use std::borrow::Cow;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use runlog_model::hex;
use rust_embed::{EmbeddedFile, RustEmbed};
use sha2::{Digest, Sha256};

use crate::http::error::ApiError;

/// What `npm run build` made in `web/`; nothing where that was not run.
#[derive(RustEmbed)]
#[folder = "../../web/dist"]
#[allow_missing = true]
struct Files;

const PAGE: &str = "index.html";

/// What the page may load: its own files, and answers of this service.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; manifest-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

/// The folder of the page that shows the API.
const DOCS: &str = "docs/";

/// What that page may load: its own files, and the description. Its library writes styles into its elements.
const DOCS_CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Files under a name that changes with what is in them may be kept for as long as a browser likes.
const KEEP: &str = "public, max-age=31536000, immutable";

/// Cached files must be revalidated each time; the response is short if nothing has changed.
const ASK_AGAIN: &str = "no-cache";

/// A text of the service about itself, which stays as it is while the service runs.
pub(crate) struct StaticJson {
    text: Bytes,
    tag: HeaderValue,
}

impl StaticJson {
    /// JSON, made once.
    pub(crate) fn new(json: String) -> Self {
        let tag = format!("\"{}\"", hex::encode(&Sha256::digest(json.as_bytes())[..16]));
        let tag = HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""));
        Self { text: json.into(), tag }
    }

    /// The text, or the word that the client has it already.
    pub(crate) fn answer(&self, headers: &HeaderMap) -> Response {
        let tag = self.tag.to_str().unwrap_or_default();
        let mut answer = match header_has(headers, header::IF_NONE_MATCH, tag) {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => ([(header::CONTENT_TYPE, "application/json")], self.text.clone()).into_response(),
        };
        answer.headers_mut().insert(header::ETAG, self.tag.clone());
        answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(ASK_AGAIN));
        answer.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
        answer
    }
}

/// True for a client that shows pages.
pub(crate) fn wants_html(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|text| text.contains("text/html"))
}

/// What is answered where there is no route.
pub(crate) async fn answer(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if matches!(method, Method::GET | Method::HEAD) {
        let path = uri.path().trim_start_matches('/');
        if path != PAGE
            && let Some(answer) = file(path, &headers)
        {
            return answer;
        }
        if wants_html(&headers) {
            return index(&headers);
        }
    }
    let message = "there is nothing at this address; GET / lists all paths";
    ApiError::new(StatusCode::NOT_FOUND, message).into_response()
}

/// The page.
pub(crate) fn index(headers: &HeaderMap) -> Response {
    match Files::get(PAGE) {
        Some(file) => show(PAGE, file, headers),
        None => {
            let message = "this runlog was built without its web UI";
            let detail = "build it with `make web` and build runlog again; the API is available, see /docs";
            ApiError::new(StatusCode::NOT_FOUND, message).with_detail(detail).into_response()
        }
    }
}

/// A file of the web UI; none where there is no such file.
pub(crate) fn file(path: &str, headers: &HeaderMap) -> Option<Response> {
    let file = Files::get(path).filter(|_| !is_packed(path))?;
    Some(show(path, file, headers))
}

/// A file in the smallest form that the client takes, or the word that it has it already.
fn show(path: &str, file: EmbeddedFile, headers: &HeaderMap) -> Response {
    let (file, coding) = packed(path, headers).unwrap_or((file, None));
    let tag = format!("\"{}\"", hex::encode(&file.metadata.sha256_hash()[..16]));
    let mut answer = match header_has(headers, header::IF_NONE_MATCH, &tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => match file.data {
            Cow::Borrowed(bytes) => bytes.into_response(),
            Cow::Owned(bytes) => bytes.into_response(),
        },
    };
    let is_named_by_content = path.starts_with("assets/");
    let fixed = [
        (header::CONTENT_TYPE, content_type(path)),
        (header::CACHE_CONTROL, if is_named_by_content { KEEP } else { ASK_AGAIN }),
        (header::VARY, "accept-encoding, accept"),
        (header::CONTENT_SECURITY_POLICY, if path.starts_with(DOCS) { DOCS_CONTENT_POLICY } else { CONTENT_POLICY }),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if let Some(coding) = coding {
        answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        answer.headers_mut().insert(header::ETAG, tag);
    }
    answer
}

/// The compressed form of a file, if there is one and the client accepts it.
fn packed(path: &str, headers: &HeaderMap) -> Option<(EmbeddedFile, Option<&'static str>)> {
    let forms = [("br", ".br"), ("gzip", ".gz")];
    let taken = forms.into_iter().filter(|(coding, _)| header_has(headers, header::ACCEPT_ENCODING, coding));
    taken.into_iter().find_map(|(coding, ending)| Some((Files::get(&format!("{path}{ending}"))?, Some(coding))))
}

/// The packed forms are shown in the place of their files, and not under their own names.
fn is_packed(path: &str) -> bool {
    path.ends_with(".br") || path.ends_with(".gz")
}

/// True if a comma-separated list has this item, ignoring its parameters after a semicolon.
fn header_has(headers: &HeaderMap, name: HeaderName, item: &str) -> bool {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    let mut items =
        lines.flat_map(|line| line.split(',')).map(|part| part.split(';').next().unwrap_or_default().trim());
    items.any(|found| found == item || found.strip_prefix("W/") == Some(item))
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("json" | "webmanifest") => "application/json",
        _ => "application/octet-stream",
    }
}
