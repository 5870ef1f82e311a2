//! Values of settings: paces and schedules.

use croner::Cron;
use croner::parser::CronParser;
use jiff::tz::TimeZone;
use runlog_model::LogZone;
use serde::{Deserialize, Deserializer, de};

use crate::arguments::connect::pace;

/// Requests per second and minute.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace(pub(super) runlog_client::PaceSetting);

/// When rounds begin, in the time zone of the schedule.
#[derive(Debug, Clone)]
pub(super) struct Schedule(pub(super) Cron);

/// The time zone of a schedule: `UTC`, an offset such as `+02:00`, or a name such as `Europe/Berlin`.
#[derive(Debug, Clone)]
pub(super) struct ScheduleZone(pub(super) TimeZone);

impl<'de> Deserialize<'de> for ScheduleZone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse::<LogZone>().map(|zone| Self(zone.into())).map_err(de::Error::custom)
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
