//! `GET /runlog/v1/downloads/{key}/{file_name}`: the bytes behind a link.

use std::ops::Range;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use runlog_model::wire::ErrorBody;
use runlog_store::pages::PageReader;

use crate::app::App;
use crate::auth::links::{LinkedFile, Refusal};
use crate::http::error::{ApiError, ApiResult};

/// Returns the file or a range of it, compressed if the client accepts it.
#[utoipa::path(
    get,
    path = "/runlog/v1/downloads/{key}/{file_name}",
    tag = "run logs",
    params(("key" = String, Path, description = "Key of the file"), ("file_name" = String, Path, description = "Name of the file")),
    responses((status = 200, description = "The file", body = String, content_type = "application/json"), (status = 206, description = "The requested range", body = String, content_type = "application/json"), (status = 416, description = "The range is outside of the file", body = ErrorBody), (status = 403, description = "The link has expired or was altered", body = ErrorBody))
)]
pub(crate) async fn download(
    State(app): State<App>,
    LinkedFile(file): LinkedFile,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let page = app.store().pages().open_page(&file.key).await?;
    let page = page.ok_or(Refusal::Expired)?;
    let etag = format!("\"{}\"", page.etag);
    // Its first bytes are read before the response starts: an outage results in an error status, not in a truncated
    // response.
    let mut response = match wanted_part(&headers, &etag, page.plain_bytes) {
        Part::Whole => match takes_zstd(&headers) {
            true => whole(page).await?,
            false => {
                let bytes = page.plain_bytes;
                plain(page, 0..bytes, StatusCode::OK).await?
            }
        },
        Part::Range(range) => {
            let value = format!("bytes {}-{}/{}", range.start, range.end - 1, page.plain_bytes);
            let mut response = plain(page, range, StatusCode::PARTIAL_CONTENT).await?;
            set(&mut response, header::CONTENT_RANGE, &value);
            response
        }
        Part::Unsatisfiable => {
            let value = format!("bytes */{}", page.plain_bytes);
            let message = format!("the range is outside of the {} bytes of the file", page.plain_bytes);
            let mut response = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, message).into_response();
            set(&mut response, header::CONTENT_RANGE, &value);
            return Ok(response);
        }
    };
    set(&mut response, header::ETAG, &etag);
    set(&mut response, header::CONTENT_DISPOSITION, &format!("attachment; filename=\"{}\"", file.quotable_name()));
    for (name, value) in [
        (header::ACCEPT_RANGES, "bytes"),
        (header::CACHE_CONTROL, "no-store"),
        (header::VARY, "Accept-Encoding"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        set(&mut response, name, value);
    }
    Ok(response)
}

async fn plain(page: PageReader, range: Range<u64>, status: StatusCode) -> ApiResult<Response> {
    let (content_type, length) = (page.format.content_type(), range.end - range.start);
    let bytes = page.begin_plain(range).await?;
    let mut response = (status, Body::from_stream(bytes)).into_response();
    set(&mut response, header::CONTENT_TYPE, content_type);
    set(&mut response, header::CONTENT_LENGTH, &length.to_string());
    Ok(response)
}

/// The whole file, compressed if it is stored so.
async fn whole(page: PageReader) -> ApiResult<Response> {
    let content_type = page.format.content_type();
    let Some((length, bytes)) = page.clone().begin_zstd().await? else {
        let bytes = page.plain_bytes;
        return plain(page, 0..bytes, StatusCode::OK).await;
    };
    let mut response = Body::from_stream(bytes).into_response();
    set(&mut response, header::CONTENT_TYPE, content_type);
    set(&mut response, header::CONTENT_ENCODING, "zstd");
    set(&mut response, header::CONTENT_LENGTH, &length.to_string());
    Ok(response)
}

/// The requested part of a file.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Range(Range<u64>),
    Unsatisfiable,
}

/// Parses `Range` and `If-Range`. For several ranges, other units and another version of the file, the whole file is
/// returned, as HTTP allows.
fn wanted_part(headers: &HeaderMap, etag: &str, bytes: u64) -> Part {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let same_file = text(header::IF_RANGE).is_none_or(|tag| tag == etag);
    let spec = text(header::RANGE).and_then(|range| range.trim().strip_prefix("bytes="));
    match spec.filter(|_| same_file).and_then(|spec| spec.split_once('-')) {
        Some((first, last)) => part_of(first.trim(), last.trim(), bytes),
        None => Part::Whole,
    }
}

fn part_of(first: &str, last: &str, bytes: u64) -> Part {
    let (start, end) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, bytes.min(last.saturating_add(1))),
        (Ok(first), Err(_)) if last.is_empty() => (first, bytes),
        (Err(_), Ok(length)) if first.is_empty() => (bytes - bytes.min(length), bytes),
        _ => return Part::Whole,
    };
    if start < end { Part::Range(start..end) } else { Part::Unsatisfiable }
}

/// True if the client accepts zstd with a weight above 0.
fn takes_zstd(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0));
        name.trim().eq_ignore_ascii_case("zstd") && !refused
    })
}

fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(range: &str, if_range: Option<&str>, expected: Part) {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, range.parse().unwrap());
        if let Some(tag) = if_range {
            headers.insert(header::IF_RANGE, tag.parse().unwrap());
        }
        assert_eq!(wanted_part(&headers, "\"a\"", 100), expected, "{range}");
    }

    #[test]
    fn ranges_are_parsed_as_in_http() {
        check("bytes=0-9", None, Part::Range(0..10));
        check("bytes=90-", None, Part::Range(90..100));
        check("bytes=-10", None, Part::Range(90..100));
        check("bytes=-1000", None, Part::Range(0..100));
        check("bytes=50-1000", None, Part::Range(50..100));
        check("bytes=100-", None, Part::Unsatisfiable);
        check("bytes=-0", None, Part::Unsatisfiable);
        check("bytes=9-0", None, Part::Whole);
        check("bytes=0-1,5-6", None, Part::Whole);
        check("lines=0-1", None, Part::Whole);
    }

    #[test]
    fn another_file_is_given_whole() {
        check("bytes=0-9", Some("\"a\""), Part::Range(0..10));
        check("bytes=0-9", Some("\"b\""), Part::Whole);
    }

    #[test]
    fn zstd_is_used_only_if_accepted() {
        let takes = |text: &'static str| {
            takes_zstd(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(text))]))
        };
        assert!(takes("gzip, zstd"));
        assert!(takes("zstd;q=0.5"));
        assert!(!takes("gzip, deflate, br"));
        assert!(!takes("zstd;q=0"));
        assert!(!takes("*"));
    }
}
