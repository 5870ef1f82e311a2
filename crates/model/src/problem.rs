//! Error groups, which are kinds of errors in logs, and problems, which are root causes of failed runs. Both are the
//! same from run to run.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::word::WordError;

/// The property that the records of an error group have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ErrorGroupKind {
    /// The template of their message.
    Pattern,
    /// The root cause of their stack trace.
    Cause,
}

impl ErrorGroupKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Pattern, Self::Cause];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pattern => "pattern",
            Self::Cause => "cause",
        }
    }
}

/// The state of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ProblemState {
    /// The problem has to be resolved.
    Open,
    /// The problem is known, and no alerts are sent about it until a certain time, or until its state is changed.
    Muted,
    /// The problem was marked as resolved. It is reopened if a run that ends later fails with it.
    Resolved,
}

impl ProblemState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Open, Self::Muted, Self::Resolved];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Muted => "muted",
            Self::Resolved => "resolved",
        }
    }
}

impl fmt::Display for ProblemState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ProblemState {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        let named = |state: &Self| state.as_str().eq_ignore_ascii_case(text);
        Self::ALL.into_iter().find(named).ok_or_else(|| WordError::new(text, "open, muted, resolved"))
    }
}
