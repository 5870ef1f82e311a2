//! Query parameters, read as CONTRACT-abiding clients send them: unknown ones are ignored, an empty one is absent, the
//! first of several counts, and a wrong one is named in the answer.

use std::ops::RangeInclusive;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use runlog_model::{TimeRange, Timestamp};
use serde_json::{Map, Value};
use utoipa::IntoParams;

use crate::http::error::{ApiError, ApiResult};
use crate::limits;

/// The query of a request.
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        let Query(pairs) = Query::from_request_parts(parts, state)
            .await
            .map_err(|_| ApiError::invalid("the query cannot be read; percent-encode its values"))?;
        Ok(Self(pairs))
    }
}

impl Params {
    /// These fields of a body as if they were parameters, so that both are parsed alike; other fields are ignored.
    /// `null` is absent. 400 for an array or an object.
    pub(crate) fn from_body(body: &Map<String, Value>, names: &[&str]) -> ApiResult<Self> {
        let mut pairs = Vec::new();
        for name in names {
            let text = match body.get(*name) {
                None | Some(Value::Null) => continue,
                Some(Value::String(text)) => text.clone(),
                Some(Value::Array(_) | Value::Object(_)) => {
                    return Err(ApiError::invalid(format!("{name}: this is neither a text nor a number")));
                }
                Some(other) => other.to_string(),
            };
            pairs.push(((*name).to_owned(), text));
        }
        Ok(Self(pairs))
    }

    /// `limit` and `offset` of a list.
    pub(crate) fn limit_and_offset(&self) -> ApiResult<(u64, u64)> {
        self.limit_from_and_offset(1)
    }

    /// The same, with a limit of at least this. Source: the search of tasks has one of 0.
    pub(crate) fn limit_from_and_offset(&self, limit_min: u64) -> ApiResult<(u64, u64)> {
        let limit = self.number("limit", limit_min..=limits::LIST_PAGE_MAX)?.unwrap_or(limits::LIST_PAGE_MAX);
        Ok((limit, self.number("offset", 0..=i64::MAX.unsigned_abs())?.unwrap_or(0)))
    }

    /// A text; none when absent or empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    /// The texts of a repeated parameter as they are; empty ones are left out.
    pub(crate) fn texts(&self, name: &str) -> ApiResult<Vec<String>> {
        let named = self.0.iter().filter(|(key, value)| key == name && !value.trim().is_empty());
        bounded(name, named.map(|(_, value)| value.clone()).collect())
    }

    /// The values of a list: repeated, between commas, or both.
    pub(crate) fn list(&self, name: &str) -> ApiResult<Vec<String>> {
        let named = self.0.iter().filter(|(key, _)| key == name || key.strip_suffix("[]") == Some(name));
        let values = named.flat_map(|(_, value)| value.split(',')).map(str::trim).filter(|value| !value.is_empty());
        bounded(name, values.map(str::to_owned).collect())
    }

    /// `true` or `false`, in any case.
    pub(crate) fn flag(&self, name: &str) -> ApiResult<bool> {
        match self.text(name) {
            None => Ok(false),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(text) => Err(wrong(name, text, "true or false")),
        }
    }

    /// A time, RFC 3339.
    pub(crate) fn time(&self, name: &str) -> ApiResult<Option<Timestamp>> {
        // A plus sign that was not encoded arrives as a space.
        let read =
            |text: &str| text.replace(' ', "+").parse().map_err(|error| ApiError::invalid(format!("{name}: {error}")));
        self.text(name).map(read).transpose()
    }

    /// `startTime` and `endTime`, both inside.
    pub(crate) fn time_range(&self) -> ApiResult<TimeRange> {
        let range = TimeRange { start: self.time("startTime")?, end: self.time("endTime")? };
        match (range.start, range.end) {
            (Some(start), Some(end)) if start > end => {
                Err(ApiError::invalid(format!("startTime {start} is later than endTime {end}")))
            }
            _ => Ok(range),
        }
    }

    /// A whole number, also written as `50.0`.
    pub(crate) fn number(&self, name: &str, allowed: RangeInclusive<u64>) -> ApiResult<Option<u64>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let digits = text.split_once('.').filter(|(_, rest)| !rest.is_empty() && rest.bytes().all(|b| b == b'0'));
        let whole = digits.map_or(text, |(whole, _)| whole);
        let number = whole.parse().ok().filter(|number| allowed.contains(number));
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(wrong(name, text, &in_words(&allowed))),
        }
    }

    /// A word of a closed list, in any case that the list knows.
    pub(crate) fn word<T: FromStr<Err: ToString>>(&self, name: &str) -> ApiResult<Option<T>> {
        let read = |text: &str| {
            text.parse().map_err(|error: T::Err| ApiError::invalid(format!("{name}: {}", error.to_string())))
        };
        self.text(name).map(read).transpose()
    }
}

/// Reads an id of a path; 400 names it.
pub(crate) fn parse_id<T: std::str::FromStr<Err: ToString>>(name: &str, text: &str) -> ApiResult<T> {
    text.parse().map_err(|error: T::Err| ApiError::invalid(format!("{name}: {}", error.to_string())))
}

/// 400 for more values than a query of the catalog takes.
pub(crate) fn bounded<T>(name: &str, values: Vec<T>) -> ApiResult<Vec<T>> {
    match values.len() {
        0..=limits::LIST_VALUES_MAX => Ok(values),
        count => Err(ApiError::invalid(format!(
            "{name}: {count} values are more than {}; split the request",
            limits::LIST_VALUES_MAX
        ))),
    }
}

fn in_words(allowed: &RangeInclusive<u64>) -> String {
    match *allowed.end() {
        u64::MAX => format!("a whole number from {}", allowed.start()),
        end => format!("a whole number from {} to {end}", allowed.start()),
    }
}

fn wrong(name: &str, text: &str, expected: &str) -> ApiError {
    let shown: String = text.chars().take(64).collect();
    ApiError::invalid(format!("{name}: {shown:?} is not {expected}"))
}

/// Query parameters of lists, for the description.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "it is described and never made")]
pub(crate) struct ListQuery {
    /// Maximum number of items per page.
    #[param(minimum = 1, maximum = 100, default = 100)]
    limit: Option<u64>,
    /// Number of items to skip.
    #[param(minimum = 0, default = 0)]
    offset: Option<u64>,
}

/// Query parameters of lists of executions, for the description.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[allow(dead_code, reason = "it is described and never made")]
pub(crate) struct WindowQuery {
    /// Only executions active at or after this time; epoch milliseconds.
    #[param(minimum = 0)]
    from: Option<u64>,
    /// Only executions active at or before this time; epoch milliseconds; default now.
    #[param(minimum = 0)]
    to: Option<u64>,
    /// Only executions of the last so many days; overrides `from` and `to`. Maximum and default: 60, configurable.
    #[param(minimum = 1, maximum = 60)]
    last_days: Option<u64>,
    /// Maximum number of items per page.
    #[param(minimum = 1, maximum = 100, default = 100)]
    limit: Option<u64>,
    /// Number of items to skip.
    #[param(minimum = 0, default = 0)]
    offset: Option<u64>,
}

/// Query parameters of what is viewed, for the description.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[allow(dead_code, reason = "it is described and never made")]
pub(crate) struct ScopeQuery {
    /// Only items of this environment.
    #[param(pattern = "^[0-9a-f]{24}$")]
    environment_id: Option<String>,
    /// Only items of this workspace.
    #[param(pattern = "^[0-9a-f]{24}$")]
    workspace_id: Option<String>,
}

/// Query parameters that name what ran and where, for the description: of a list of tasks, what the newest run of each says.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[allow(dead_code, reason = "it is described and never made")]
pub(crate) struct RuntimeQuery {
    /// Only items of this artifact.
    artifact_id: Option<String>,
    /// Only items of this kind of runtime, such as `REMOTE_ENGINE`.
    runtime_type: Option<String>,
    /// Only items of this engine or cluster.
    runtime_id: Option<String>,
    /// Only items of this run profile.
    runtime_run_profile_id: Option<String>,
}

/// Query parameters of a range of time, for the description.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[allow(dead_code, reason = "it is described and never made")]
pub(crate) struct RangeQuery {
    /// Earliest time, inclusive; with or without fractional seconds, with `Z` or an offset.
    #[param(format = DateTime)]
    start_time: Option<String>,
    /// Latest time, inclusive.
    #[param(format = DateTime)]
    end_time: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Option<u64> {
        let params = Params(vec![("count".to_owned(), text.to_owned())]);
        params.number("count", 0..=200).ok().flatten()
    }

    #[test]
    fn numbers_are_whole() {
        assert_eq!(["0", "0.0", "50", "200.00"].map(number), [Some(0), Some(0), Some(50), Some(200)]);
        assert_eq!(["633.92", "-1", "abc", "201", "1.", "1e2", ""].map(number), [None; 7]);
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        let params = Params(vec![("startTime".to_owned(), "yesterday".to_owned())]);
        assert!(params.time("startTime").unwrap_err().message.contains("startTime"));
        assert!(params.time("endTime").unwrap().is_none());
    }

    #[test]
    fn an_offset_survives_a_plus_that_was_not_encoded() {
        let params = Params(vec![("startTime".to_owned(), "2021-09-01T09:01:45 02:00".to_owned())]);
        assert_eq!(params.time("startTime").unwrap().unwrap().to_seconds_text(), "2021-09-01T07:01:45Z");
    }
}
