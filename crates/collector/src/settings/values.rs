//! Names and times.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A word of letters, digits, `-`, `_` and `.`, fit for a folder and a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(pub String);

/// A length of time such as `5m`, `1h 30m` or `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub Duration);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        match !text.is_empty() && text.len() <= 60 && text.chars().all(is_plain) && !text.starts_with('.') {
            true => Ok(Self(text)),
            false => Err(de::Error::custom(format!("{text:?} is not a name; use letters, digits, -, _ and ."))),
        }
    }
}

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The library does not support days, because their lengths differ.
        let hours = text.strip_suffix('d').and_then(|days| days.trim().parse::<u64>().ok());
        let hours = hours.map(|days| format!("{}h", days.saturating_mul(24)));
        let error = || format!("{text:?} is not a duration such as 30s, 500ms or 1h 30m");
        let time: jiff::SignedDuration = hours.as_deref().unwrap_or(text).parse().map_err(|_| error())?;
        Duration::try_from(time).map(Self).map_err(|_| error())
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_are_not_negative() {
        let seconds = |text: &str| text.parse::<Time>().ok().map(|time| time.0.as_secs());
        assert_eq!(["30s", "1h 30m", "0s", "7d"].map(seconds), [Some(30), Some(5_400), Some(0), Some(604_800)]);
        assert_eq!(["30", "-1s", "soon", "", "-1d"].map(seconds), [None; 5]);
    }
}
