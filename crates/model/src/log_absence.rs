//! The reason why a run that has ended has no log, if it can be determined.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::run::RuntimeKind;
use crate::{Run, RunStatus};

/// The state of the log of a run in its upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamLog {
    /// No log.
    None,
    /// A log without records.
    Empty,
}

/// Why a run that has ended has no log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LogAbsence {
    /// The run did not start.
    NotStarted,
    /// The log level of the run was `OFF`.
    LogLevelOff,
    /// The run was of a Route or Data Service, and the upstream has no log of it.
    LongLived,
    /// The run was on an engine, and the upstream has no log of it.
    NotTransferred,
    /// The upstream has no log of it.
    NotAtUpstream,
    /// The upstream has an empty log.
    NothingLogged,
    /// The run was pushed without records.
    NothingPushed,
}

/// The known facts about a run that has ended without records.
#[derive(Debug, Clone, Copy)]
pub struct AbsenceFacts<'a> {
    /// True if it was not deployed or not started.
    pub did_not_start: bool,
    /// Its log level.
    pub log_level: Option<&'a str>,
    /// The kind of place that it ran in.
    pub kind: Option<RuntimeKind>,
    /// True if it was of a Route or Data Service.
    pub is_long_lived: bool,
}

impl LogAbsence {
    /// Why this run has no records, if it was collected from an upstream that has this of its log. `is_long_lived`: it
    /// was of a Route or Data Service.
    pub fn of(run: &Run, is_long_lived: bool, upstream: Option<UpstreamLog>) -> Self {
        let facts = AbsenceFacts {
            did_not_start: run.status.coarse() == RunStatus::DeployFailed || run.misfired_reason.is_some(),
            log_level: run.log_level.as_deref(),
            kind: run.runtime.as_ref().and_then(|runtime| runtime.kind),
            is_long_lived,
        };
        Self::from_facts(facts, upstream)
    }

    /// The same of a run of which this is known.
    pub fn from_facts(facts: AbsenceFacts<'_>, upstream: Option<UpstreamLog>) -> Self {
        match upstream {
            _ if facts.did_not_start => Self::NotStarted,
            _ if facts.log_level.is_some_and(|level| level.eq_ignore_ascii_case("OFF")) => Self::LogLevelOff,
            Some(UpstreamLog::None) if facts.is_long_lived => Self::LongLived,
            Some(UpstreamLog::None) => match facts.kind {
                Some(RuntimeKind::RemoteEngine | RuntimeKind::RemoteEngineCluster) => Self::NotTransferred,
                Some(RuntimeKind::Cloud | RuntimeKind::CloudExclusive) | None => Self::NotAtUpstream,
            },
            Some(UpstreamLog::Empty) => Self::NothingLogged,
            None => Self::NothingPushed,
        }
    }

    /// Returns the reason as a sentence without its full stop.
    pub fn text(self) -> &'static str {
        match self {
            Self::NotStarted => "the run did not start, so it logged nothing",
            Self::LogLevelOff => "the log level of the run was OFF",
            Self::LongLived => {
                "the run was of a Route or Data Service, which run for a long time, and the upstream has no log of it"
            }
            Self::NotTransferred => {
                "the run was on an engine, and the upstream has no log of it: the job may use custom logging, or its \
                 engine does not transfer logs"
            }
            Self::NotAtUpstream => {
                "the upstream has no log of the run: the job may use custom logging, be a Route or Data Service, or have \
                 logged nothing"
            }
            Self::NothingLogged => "the upstream has an empty log of the run",
            Self::NothingPushed => "the run was pushed without records",
        }
    }

    /// Returns the reason in a few words, for counts.
    pub fn phrase(self) -> &'static str {
        match self {
            Self::NotStarted => "not started",
            Self::LogLevelOff => "with log level OFF",
            Self::LongLived => "of Routes or Data Services",
            Self::NotTransferred => "not transferred by their engines",
            Self::NotAtUpstream => "unknown to the upstream",
            Self::NothingLogged => "empty",
            Self::NothingPushed => "pushed without records",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_run_says_counts_before_what_the_upstream_has() {
        let facts = AbsenceFacts { did_not_start: false, log_level: Some("INFO"), kind: None, is_long_lived: false };
        let engine = Some(RuntimeKind::RemoteEngine);
        let (none, empty) = (Some(UpstreamLog::None), Some(UpstreamLog::Empty));
        for (facts, upstream, expected) in [
            (AbsenceFacts { did_not_start: true, log_level: Some("OFF"), ..facts }, none, LogAbsence::NotStarted),
            (AbsenceFacts { log_level: Some("off"), is_long_lived: true, ..facts }, none, LogAbsence::LogLevelOff),
            (AbsenceFacts { is_long_lived: true, kind: engine, ..facts }, none, LogAbsence::LongLived),
            (AbsenceFacts { is_long_lived: true, ..facts }, empty, LogAbsence::NothingLogged),
            (AbsenceFacts { kind: engine, ..facts }, none, LogAbsence::NotTransferred),
            (AbsenceFacts { kind: Some(RuntimeKind::Cloud), ..facts }, none, LogAbsence::NotAtUpstream),
            (AbsenceFacts { log_level: None, ..facts }, none, LogAbsence::NotAtUpstream),
            (facts, None, LogAbsence::NothingPushed),
        ] {
            assert_eq!(LogAbsence::from_facts(facts, upstream), expected, "{facts:?} {upstream:?}");
        }
    }
}
