//! Errors of stages: labels of the record.

pub(crate) use crate::labels::ERROR;
use crate::labels::LabelSet;

/// The label that says what was wrong.
pub(crate) const ERROR_DETAILS: &str = "__error_details__";

/// Marks a record with an error of a stage; the first one counts.
pub(crate) fn fail(labels: &mut LabelSet<'_>, kind: &'static str, details: String) {
    if !labels.has(ERROR) {
        labels.set(ERROR, kind);
        labels.set(ERROR_DETAILS, details);
    }
}
