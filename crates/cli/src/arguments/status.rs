//! The status of a run as it is written and shown: `failed`, `successful`, `executing`.

use std::str::FromStr;

use runlog_model::{ExecutionStatus, RunStatus};

/// Other words that people use.
const ALIASES: [(&str, RunStatus); 6] = [
    ("success", RunStatus::Successful),
    ("succeeded", RunStatus::Successful),
    ("ok", RunStatus::Successful),
    ("running", RunStatus::Executing),
    ("failure", RunStatus::Failed),
    ("timeout", RunStatus::TerminatedTimeout),
];

/// A status in an argument: as it is shown here, or in a word of the API, in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StatusArg(pub(crate) RunStatus);

/// The word for a status: that of the API without `execution_`.
pub(crate) fn status_word(status: RunStatus) -> &'static str {
    let word = status.as_str();
    word.strip_prefix("execution_").unwrap_or(word)
}

fn words() -> Vec<&'static str> {
    RunStatus::ALL.iter().copied().map(status_word).collect()
}

impl FromStr for StatusArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let word = text.trim().to_ascii_lowercase().replace([' ', '-'], "_");
        let shown =
            RunStatus::ALL.iter().copied().find(|status| status_word(*status) == word || status.as_str() == word);
        let alias = || ALIASES.into_iter().find(|(alias, _)| *alias == word).map(|(_, status)| status);
        let detailed = || word.to_ascii_uppercase().parse::<ExecutionStatus>().ok().map(ExecutionStatus::coarse);
        shown
            .or_else(alias)
            .or_else(detailed)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not one of {}", words().join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_in_each_word_for_it() {
        let status = |text: &str| text.parse::<StatusArg>().ok().map(|status| status.0);
        for text in ["failed", "FAILED", "execution_failed", "EXECUTION_FAILED", "failure"] {
            assert_eq!(status(text), Some(RunStatus::Failed), "{text}");
        }
        assert_eq!(status("terminated-timeout"), Some(RunStatus::TerminatedTimeout));
        assert_eq!(status("STARTING_FLOW_EXECUTION"), Some(RunStatus::Executing));
        assert_eq!(status("pondering"), None);
        for known in RunStatus::ALL.iter().copied() {
            assert_eq!(status(status_word(known)), Some(known));
        }
    }
}
