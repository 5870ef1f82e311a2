//! An error and what caused it.

use std::error::Error;

/// An error, its cause, the cause of that, and so on.
pub fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'e (dyn Error + 'static)| (*error).source())
}

/// Returns an error and its causes in one line: the message of an error and those of its causes that it does not
/// repeat.
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut chain = String::new();
    for message in causes(error).map(ToString::to_string) {
        if chain.is_empty() {
            chain = message;
        } else if !chain.contains(&message) {
            chain.push_str(": ");
            chain.push_str(&message);
        }
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{message}")]
    struct Failure {
        message: &'static str,
        source: Option<Box<Failure>>,
    }

    fn failure(messages: &[&'static str]) -> Failure {
        Failure { message: messages[0], source: (messages.len() > 1).then(|| Box::new(failure(&messages[1..]))) }
    }

    #[test]
    fn a_chain_names_each_cause_once() {
        let chain = |messages: &[&'static str]| error_chain(&failure(messages));
        assert_eq!(chain(&["cannot write"]), "cannot write");
        assert_eq!(
            chain(&["cannot write", "connection refused", "os error 111"]),
            "cannot write: connection refused: os error 111"
        );
        assert_eq!(
            chain(&["cannot write: disk full", "disk full", "os error 28"]),
            "cannot write: disk full: os error 28"
        );
    }

    #[test]
    fn causes_begin_with_the_error_itself() {
        let error = failure(&["outer", "inner"]);
        let messages: Vec<_> = causes(&error).map(ToString::to_string).collect();
        assert_eq!(messages, ["outer", "inner"]);
    }
}
