//! Values that several commands read from their arguments.

use std::str::FromStr;
use std::time::Duration;

use runlog_model::millis;

/// A length of time such as `30s`, `500ms`, `1h 30m`; zero or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(Duration);

impl Span {
    /// In milliseconds.
    pub(crate) fn as_millis(self) -> i64 {
        millis(self.0)
    }

    /// As the standard library has it.
    pub(crate) fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("{text:?} is not a duration such as 30s, 500ms or 1h 30m");
        let span: jiff::SignedDuration = text.parse().map_err(|_| error())?;
        Duration::try_from(span).map(Self).map_err(|_| error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_with_their_units() {
        let ms = |text: &str| text.parse::<Span>().ok().map(Span::as_millis);
        assert_eq!(["30s", "500ms", "1h 30m", "0s"].map(ms), [Some(30_000), Some(500), Some(5_400_000), Some(0)]);
        assert_eq!(["30", "-1s", "soon", ""].map(ms), [None; 4]);
    }
}
