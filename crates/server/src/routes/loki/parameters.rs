//! The parameters of Loki's API, in the query of a request or in a form in its body.

use axum::extract::{FromRef, FromRequest, Request};
use az::SaturatingAs;
use runlog_logql::{Expr, LogExpr, Steps, parse, parse_duration_ns};
use runlog_model::{TimeRange, Timestamp};
use runlog_store::query::SearchOrder;
use utoipa::openapi::RefOr;
use utoipa::openapi::path::Parameter;
use utoipa::openapi::schema::Schema;

use crate::app::App;
use crate::http::error::{ApiError, ApiResult};
use crate::http::json;
use crate::http::parameter_types::{NumberOr, Texts, string};
use crate::http::parameters::{Argument, ParameterValue, QueryParameters, RawParameters, query_parameters};
use crate::http::request::media_type;
use crate::limits::Bounds;

/// Maximum number of records of an answer. Loki's default for `max_entries_limit_per_query`.
pub(super) const LIMIT_MAX: u64 = 5_000;

/// Default number of records of an answer. Loki's default.
const LIMIT_DEFAULT: u64 = 100;

/// Maximum number of instants of a query. As in Loki.
const STEPS_MAX: i64 = 11_000;

/// The range of a query without a start. Unit: nanoseconds. As in Loki.
const SINCE_DEFAULT_NS: i64 = 3_600_000_000_000;

/// About how many instants a query without a step has. As in Loki.
const STEPS_DEFAULT: i64 = 250;

pub(super) const MS: i64 = 1_000_000;

query_parameters! {
    /// Parameters of Loki's API; each route uses some of them.
    pub(crate) struct RangeQuery {
        /// The LogQL query, or the selector.
        query: Option<String> = "query",
        /// Start of the range: nanoseconds or seconds since the epoch, or RFC 3339. Default: one hour before the end.
        start: Option<Instant> = "start",
        /// End of the range. Default: now.
        end: Option<Instant> = "end",
        /// The instant of an instant query. Default: now.
        time: Option<Instant> = "time",
        /// Start of the range before its end, or before now if the end is in the future, such as `6h`, if there is no
        /// `start`.
        since: Option<Span> = "since",
        /// Of a log query: return only records that are at least this far apart, such as `1m`.
        interval: Option<Span> = "interval",
        /// The distance of instants: a duration such as `30s`, or seconds.
        step: Option<Span> = "step",
        /// `backward` (default) for the newest records first, `forward` for the oldest first.
        direction: Option<Direction> = "direction",
        /// Maximum number of records, series or values.
        limit: Option<Limit> = "limit",
        /// Maximum number of records of a sample.
        line_limit: NumberOr<1, { LIMIT_MAX }, 1_000> = "line_limit",
        /// Selectors of streams, repeated.
        matches: Texts = "match[]",
        /// The same as `match[]`, as logcli names it.
        plain_matches: Texts = "match",
        /// The labels by which volumes are added up, comma-separated. Default: those of the selector.
        target_labels: Option<String> = "targetLabels",
        /// `series` (default) or `labels`.
        aggregate_by: Option<AggregateBy> = "aggregateBy",
    }
}

/// An instant. Unit: nanoseconds since the epoch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Instant(pub(crate) i64);

impl ParameterValue for Instant {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{:?} is not a time: nanoseconds or seconds since the epoch, or RFC 3339", shown(text));
        if let Ok(number) = text.parse::<i64>() {
            // As Loki reads them: short numbers are seconds.
            return Ok(Self(if text.len() <= 10 { number.saturating_mul(1_000 * MS) } else { number }));
        }
        if let Ok(seconds) = text.parse::<f64>() {
            return match seconds.is_finite() {
                true => Ok(Self((seconds * 1e9).saturating_as::<i64>())),
                false => Err(wrong()),
            };
        }
        let time: Timestamp = text.parse().map_err(|_| wrong())?;
        Ok(Self(time.as_millis().saturating_mul(MS)))
    }

    fn schema() -> RefOr<Schema> {
        string().into()
    }
}

/// A length of time. Unit: nanoseconds, more than zero.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span(i64);

impl ParameterValue for Span {
    fn parse(text: &str) -> Result<Self, String> {
        let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite());
        let ns = seconds.map(|seconds| (seconds * 1e9).saturating_as::<i64>()).or_else(|| parse_duration_ns(text));
        ns.filter(|ns| *ns > 0).map(Self).ok_or_else(|| {
            format!("{:?} is not a duration longer than zero, such as 30s or a number of seconds", shown(text))
        })
    }

    fn schema() -> RefOr<Schema> {
        string().into()
    }
}

/// A number of records, at least one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit(u64);

impl ParameterValue for Limit {
    fn parse(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(0) | Err(_) => Err(format!("{:?} is not a whole number, at least 1", shown(text))),
            Ok(limit) => Ok(Self(limit)),
        }
    }

    fn schema() -> RefOr<Schema> {
        string().into()
    }
}

/// The order of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Backward,
    Forward,
}

impl ParameterValue for Direction {
    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "backward" => Ok(Self::Backward),
            "forward" => Ok(Self::Forward),
            _ => Err(format!("{:?} is not backward or forward", shown(text))),
        }
    }

    fn schema() -> RefOr<Schema> {
        string().enum_values(Some(["backward", "forward"])).into()
    }
}

/// The grouping of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AggregateBy {
    Series,
    Labels,
}

impl ParameterValue for AggregateBy {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "series" => Ok(Self::Series),
            "labels" => Ok(Self::Labels),
            _ => Err(format!("{:?} is not series or labels", shown(text))),
        }
    }

    fn schema() -> RefOr<Schema> {
        string().enum_values(Some(["series", "labels"])).into()
    }
}

fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

impl RangeQuery {
    /// The query.
    pub(super) fn expr(&self) -> ApiResult<Expr> {
        parse(self.query.as_deref().unwrap_or_default()).map_err(|error| ApiError::invalid(error.to_string()))
    }

    /// The query, which must be one of records.
    pub(super) fn log(&self) -> ApiResult<LogExpr> {
        match self.expr()? {
            Expr::Log(log) => Ok(log),
            Expr::Metric(_) => {
                Err(ApiError::invalid("query: a selector and its stages are needed here, not a metric query"))
            }
        }
    }

    /// The start and the end. Unit: nanoseconds since the epoch.
    pub(super) fn bounds_ns(&self, now: Timestamp) -> ApiResult<(i64, i64)> {
        let now = now.as_millis().saturating_mul(MS);
        let end = self.end.map_or(now, |end| end.0);
        let since = self.since.map_or(SINCE_DEFAULT_NS, |since| since.0);
        let start = self.start.map_or_else(|| end.min(now).saturating_sub(since), |start| start.0);
        match end < start {
            true => Err(ApiError::invalid("end timestamp must not be before or equal to start time")),
            false => Ok((start, end)),
        }
    }

    /// The range of a log query, which does not include its end; none when it is empty.
    pub(super) fn log_range(&self, now: Timestamp) -> ApiResult<Option<TimeRange>> {
        let (start, end) = self.bounds_ns(now)?;
        let up = |ns: i64| ns.div_euclid(MS) + i64::from(ns.rem_euclid(MS) > 0);
        let (first, last) = (up(start), up(end) - 1);
        Ok((first <= last).then(|| millis_range(first, last)))
    }

    /// The range in which streams are searched.
    pub(super) fn stream_range(&self, now: Timestamp) -> ApiResult<TimeRange> {
        let (start, end) = self.bounds_ns(now)?;
        Ok(millis_range(start.div_euclid(MS), end.div_euclid(MS)))
    }

    /// The instants of a range query.
    pub(super) fn steps(&self, now: Timestamp) -> ApiResult<Steps> {
        let (start_ns, end) = self.bounds_ns(now)?;
        let length = end.saturating_sub(start_ns);
        let default = (length / STEPS_DEFAULT / (1_000 * MS)).max(1) * 1_000 * MS;
        let step_ns = self.step.map_or(default, |step| step.0);
        let count = length / step_ns + 1;
        if count > STEPS_MAX {
            return Err(ApiError::invalid(
                "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step \
                 parameter",
            ));
        }
        Ok(Steps { start_ns, step_ns, count: count.saturating_as::<usize>() })
    }

    /// The instant of an instant query.
    pub(super) fn instant(&self, now: Timestamp) -> Steps {
        let time = self.time.map_or_else(|| now.as_millis().saturating_mul(MS), |time| time.0);
        Steps { start_ns: time, step_ns: 1, count: 1 }
    }

    /// The least distance of two records of a log query. Unit: milliseconds.
    pub(super) fn interval_ms(&self) -> Option<i64> {
        self.interval.map(|interval| interval.0.div_euclid(MS).max(1))
    }

    pub(super) fn order(&self) -> SearchOrder {
        match self.direction {
            Some(Direction::Forward) => SearchOrder::OldestFirst,
            _ => SearchOrder::NewestFirst,
        }
    }

    /// The number of records of an answer.
    pub(super) fn limit(&self) -> ApiResult<usize> {
        match self.limit.map_or(LIMIT_DEFAULT, |limit| limit.0) {
            limit if limit <= LIMIT_MAX => Ok(limit.saturating_as::<usize>()),
            limit => Err(ApiError::invalid(format!(
                "max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {LIMIT_MAX})"
            ))),
        }
    }

    /// The number of other items.
    pub(super) fn limit_or(&self, default: usize) -> usize {
        self.limit.map_or(default, |limit| limit.0.min(LIMIT_MAX).saturating_as::<usize>())
    }
}

/// Now. Unit: nanoseconds since the epoch.
pub(super) fn now_ns(app: &App) -> i64 {
    app.now().as_millis().saturating_mul(MS)
}

/// A range of times in milliseconds, as far as the archive has such times.
pub(super) fn millis_range(first: i64, last: i64) -> TimeRange {
    TimeRange { start: Some(Timestamp::clamped(first)), end: Some(Timestamp::clamped(last)) }
}

/// Parameters in the query, and in a form in the body; those of the form count first.
pub(crate) struct FormOrQuery<T>(pub(crate) T);

impl<T: QueryParameters, S: Send + Sync> FromRequest<S> for FormOrQuery<T>
where
    Bounds: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> ApiResult<Self> {
        let (parts, body) = request.into_parts();
        let mut pairs = Vec::new();
        if media_type(&parts.headers) == FORM {
            let bytes = json::read(body, Bounds::from_ref(state).body_bytes_max).await?;
            pairs = read_pairs(&bytes)?;
        }
        pairs.extend(read_pairs(parts.uri.query().unwrap_or_default().as_bytes())?);
        Ok(Self(T::read(&RawParameters::of_pairs(pairs))?))
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

fn read_pairs(bytes: &[u8]) -> ApiResult<Vec<(String, String)>> {
    serde_urlencoded::from_bytes(bytes)
        .map_err(|_| ApiError::invalid("the parameters cannot be read; percent-encode their values"))
}

impl<T: QueryParameters> Argument for FormOrQuery<T> {
    fn query_parameters() -> Vec<Parameter> {
        T::describe()
    }
}
