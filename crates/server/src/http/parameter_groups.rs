//! Groups of query parameters that several handlers have in common.

use az::SaturatingAs;
use runlog_model::{EnvironmentId, TimeRange, Timestamp, WorkspaceId};
use utoipa::openapi::RefOr;
use utoipa::openapi::path::Parameter;
use utoipa::openapi::schema::Schema;

use crate::http::error::{ApiError, ApiResult};
use crate::http::parameter_types::{EpochMillis, NumberOr, is_not, number, one_of, parse_number};
use crate::http::parameters::{ParameterValue, QueryParameters, RawParameters, query_parameters};
use crate::limits;

const DAY_MS: i64 = 86_400_000;

query_parameters! {
    /// The page of a list.
    pub(crate) struct PageQuery {
        /// Maximum number of items per page.
        limit: NumberOr<1, { limits::LIST_PAGE_MAX }, { limits::LIST_PAGE_MAX }> = "limit",
        /// Number of items to skip.
        offset: Offset = "offset",
    }
}

/// Number of items to skip.
pub(crate) type Offset = NumberOr<0, { i64::MAX.unsigned_abs() }, 0>;

impl PageQuery {
    /// Both numbers.
    pub(crate) fn limit_and_offset(&self) -> (u64, u64) {
        (self.limit.0, self.offset.0)
    }
}

query_parameters! {
    /// The part of the archive that a list covers.
    pub(crate) struct ScopeQuery {
        /// Only items of this environment.
        environment_id: Option<EnvironmentId> = "environmentId",
        /// Only items of this workspace.
        workspace_id: Option<WorkspaceId> = "workspaceId",
    }
}

query_parameters! {
    /// Parameters for what ran, and where. In a list of tasks, they refer to the newest run of each task.
    pub(crate) struct RuntimeQuery {
        /// Only items of this artifact.
        artifact_id: Option<String> = "artifactId",
        /// Only items of this kind of runtime.
        runtime_type: Option<RuntimeType> = "runtimeType",
        /// Only items of this engine or cluster.
        runtime_id: Option<String> = "runtimeId",
        /// Only items of this run profile.
        runtime_run_profile_id: Option<String> = "runtimeRunProfileId",
    }
}

/// The kind of a runtime.
pub(crate) struct RuntimeType(&'static str);

impl RuntimeType {
    /// Those of runs, and the one of pipelines, which have no run logs.
    const ALL: [&str; 5] = ["CLOUD", "REMOTE_ENGINE", "REMOTE_ENGINE_CLUSTER", "CLOUD_EXCLUSIVE", "PIPELINE_ENGINE"];
}

impl ParameterValue for RuntimeType {
    fn parse(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|known| known.eq_ignore_ascii_case(text));
        known.map(Self).ok_or_else(|| is_not(text, &format!("one of {}", Self::ALL.join(", "))))
    }

    fn schema() -> RefOr<Schema> {
        one_of(&Self::ALL)
    }
}

impl RuntimeQuery {
    /// The artifact, and what the runtime of a run must have, as names of its stored fields with their values.
    pub(crate) fn into_filters(self) -> (Option<String>, Vec<(&'static str, String)>) {
        let fields = [
            ("type", self.runtime_type.map(|kind| kind.0.to_owned())),
            ("id", self.runtime_id),
            ("runProfileId", self.runtime_run_profile_id),
        ];
        let runtime = fields.into_iter().filter_map(|(field, value)| Some((field, value?))).collect();
        (self.artifact_id, runtime)
    }
}

query_parameters! {
    /// A range of time.
    pub(crate) struct RangeFields {
        /// Earliest time, inclusive; with or without fractional seconds, with `Z` or an offset.
        start_time: Option<Timestamp> = "startTime",
        /// Latest time, inclusive.
        end_time: Option<Timestamp> = "endTime",
    }
}

/// `startTime` and `endTime`, both inclusive; 400 if they are in the wrong order.
impl QueryParameters for TimeRange {
    fn read(raw: &RawParameters) -> ApiResult<Self> {
        let RangeFields { start_time, end_time } = RangeFields::read(raw)?;
        ordered_range(start_time, end_time)
    }

    fn describe() -> Vec<Parameter> {
        RangeFields::describe()
    }
}

/// The range from `startTime` to `endTime`; 400 if they are in the wrong order.
pub(crate) fn ordered_range(start: Option<Timestamp>, end: Option<Timestamp>) -> ApiResult<TimeRange> {
    match (start, end) {
        (Some(start), Some(end)) if start > end => {
            Err(ApiError::invalid(format!("startTime {start} is later than endTime {end}")))
        }
        _ => Ok(TimeRange { start, end }),
    }
}

query_parameters! {
    /// The period of a list of executions.
    pub(crate) struct WindowQuery {
        /// Only executions active at or after this time; epoch milliseconds.
        from: Option<EpochMillis> = "from",
        /// Only executions active at or before this time; epoch milliseconds; default now.
        to: Option<EpochMillis> = "to",
        /// Only executions of the last N days; overrides `from` and `to`. Maximum and default: 60, configurable.
        last_days: Option<LastDays> = "lastDays",
    }
}

/// A number of days, whose maximum is a setting.
pub(crate) struct LastDays(String);

impl ParameterValue for LastDays {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }

    fn schema() -> RefOr<Schema> {
        number(1, 60).into()
    }
}

impl WindowQuery {
    /// The period: `lastDays`, or `from` and `to`, or the longest that is allowed.
    pub(crate) fn range(&self, now: Timestamp, days_max: i64) -> ApiResult<TimeRange> {
        if let Some(LastDays(text)) = &self.last_days {
            let days = parse_number(text, 1..=days_max.unsigned_abs());
            let days = days.map_err(|error| ApiError::invalid(format!("lastDays: {error}")))?;
            return Ok(TimeRange {
                start: Some(now.plus_millis(-days.saturating_as::<i64>() * DAY_MS)),
                end: Some(now),
            });
        }
        let end = self.to.map_or(now, |to| to.0);
        let start = self.from.map_or(end.plus_millis(-days_max * DAY_MS), |from| from.0);
        if start > end {
            return Err(ApiError::invalid(format!("from {start} is later than to {end}")));
        }
        if end.millis_since(start) > days_max * DAY_MS {
            return Err(ApiError::invalid(format!(
                "from and to are more than {days_max} days apart; split the request"
            )));
        }
        Ok(TimeRange { start: Some(start), end: Some(end) })
    }
}
