//! Errors of stages: labels of the record.

pub(crate) use crate::labels::ERROR;
use crate::labels::LabelSet;

/// The label with the description of the error.
pub(crate) const ERROR_DETAILS: &str = "__error_details__";

/// The error of a line that is not JSON.
pub(super) const JSON_ERROR: &str = "JSONParserErr";

/// The error of a line that is not logfmt.
pub(super) const LOGFMT_ERROR: &str = "LogfmtParserErr";

/// True for an error of a stage that reads the line, with which the record can still be counted.
pub(crate) fn is_of_parser(kind: &str) -> bool {
    matches!(kind, JSON_ERROR | LOGFMT_ERROR)
}

/// Marks a record with an error of a stage; the first one counts.
pub(crate) fn fail(labels: &mut LabelSet<'_>, kind: &'static str, details: String) {
    if !labels.has(ERROR) {
        labels.set(ERROR, kind);
        labels.set(ERROR_DETAILS, details);
    }
}
