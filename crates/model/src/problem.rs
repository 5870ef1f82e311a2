//! A problem: a kind of error that logs hold, the same from run to run.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What groups the records of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ProblemKind {
    /// The template of their message.
    Pattern,
    /// The root cause of their stack trace.
    Cause,
}

impl ProblemKind {
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
