//! An error with its causes, as one text.

/// The message of an error and of each of its causes.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string);
    chain.collect::<Vec<_>>().join(": ")
}
