//! The web UI: the files of `web/dist`, which are embedded in the program, and the security policy of its pages.
//!
//! It responds where no route matches: with its files under their names, and with its only page for all other URLs that
//! a browser opens. In debug builds, the files are read from the folder each time.

use std::borrow::Cow;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use runlog_model::hex;
use rust_embed::{EmbeddedFile, RustEmbed};
use sha2::{Digest, Sha256};

use crate::http::error::ApiError;

/// The output of `npm run build` in `web/`; empty if it was not built.
#[derive(RustEmbed)]
#[folder = "../../web/dist"]
#[allow_missing = true]
struct Files;

const PAGE: &str = "index.html";

/// The content security policy of the page: its own files, and requests to this service.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; manifest-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

/// The folder of the page with the API description.
const DOCS: &str = "docs/";

/// The content security policy of that page: its own files, and the description. Its library adds inline styles.
const DOCS_CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Files whose names contain a hash of their content can be cached indefinitely.
const KEEP: &str = "public, max-age=31536000, immutable";

/// Cached files must be revalidated each time; the response is short if nothing has changed.
const ASK_AGAIN: &str = "no-cache";

/// A text about the service that does not change while it runs.
pub(crate) struct StaticJson {
    text: Bytes,
    tag: HeaderValue,
}

impl StaticJson {
    /// JSON that is serialized once.
    pub(crate) fn new(json: String) -> Self {
        let tag = format!("\"{}\"", hex::encode(&Sha256::digest(json.as_bytes())[..16]));
        let tag = HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""));
        Self { text: json.into(), tag }
    }

    /// The text, or 304 if the client has it already.
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

/// True for a client that accepts HTML.
pub(crate) fn wants_html(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|text| text.contains("text/html"))
}

/// The response if no route matches.
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

/// A file of the web UI; none if there is no such file.
pub(crate) fn file(path: &str, headers: &HeaderMap) -> Option<Response> {
    let file = Files::get(path).filter(|_| !is_packed(path))?;
    Some(show(path, file, headers))
}

/// A file in the smallest encoding that the client accepts, or 304 if the client has it already.
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

/// Compressed files are only served in place of their originals, not under their own names.
fn is_packed(path: &str) -> bool {
    path.ends_with(".br") || path.ends_with(".gz")
}

/// True if a comma-separated list has this item, ignoring its parameters after a semicolon.
pub(crate) fn header_has(headers: &HeaderMap, name: HeaderName, item: &str) -> bool {
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
