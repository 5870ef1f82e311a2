//! Values of settings: names, times, paces and schedules.

use std::time::Duration;

use croner::Cron;
use croner::parser::CronParser;
use serde::{Deserialize, Deserializer, de};

use crate::arguments::connect::pace;
use crate::arguments::span::Span;

/// A word of letters, digits, `-`, `_` and `.`, fit for a folder and a table.
#[derive(Debug, Clone)]
pub(super) struct Name(pub(super) String);

/// A length of time such as `5m`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time(pub(super) Duration);

/// Requests per second and minute.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace(pub(super) runlog_client::PaceSetting);

/// When rounds begin, in UTC.
#[derive(Debug, Clone)]
pub(super) struct Schedule(pub(super) Cron);

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

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The library knows no days, because they are not all of one length.
        let hours = text.strip_suffix('d').and_then(|days| days.trim().parse::<u64>().ok()).map(|days| days * 24);
        let text = hours.map_or(text, |hours| format!("{hours}h"));
        text.parse::<Span>().map(|span| Self(span.duration())).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Pace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        pace(&text).map(Self).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        CronParser::new().parse(&text).map(Self).map_err(|error| de::Error::custom(format!("{text:?}: {error}")))
    }
}
