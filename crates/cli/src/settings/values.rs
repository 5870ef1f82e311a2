//! Values of settings: paces and schedules.

use std::fmt;

use croner::Cron;
use croner::parser::CronParser;
use jiff::tz::TimeZone;
use runlog_client::{GroupPaces, PaceSetting};
use runlog_model::{LogZone, Timestamp};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, de};
use url::Url;

use crate::arguments::connect::{pace, region};

/// Requests per second and minute.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace(pub(super) PaceSetting);

/// A region of Talend Cloud.
#[derive(Debug, Clone)]
pub(super) struct Region(pub(super) String);

/// When rounds begin, in the time zone of the schedule.
#[derive(Debug, Clone)]
pub(super) struct Schedule(pub(super) Cron);

/// The time zone of a schedule: `UTC`, an offset such as `+02:00`, or a name such as `Europe/Berlin`.
#[derive(Debug, Clone)]
pub(super) struct ScheduleZone(pub(super) TimeZone);

impl Schedule {
    /// The last time at or before a time.
    pub(super) fn last(&self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let now = jiff::Timestamp::from_millisecond(now.as_millis()).ok()?.to_zoned(zone.clone());
        let last = self.0.find_previous_occurrence(&now, true).ok()?;
        Some(Timestamp::clamped(last.timestamp().as_millisecond()))
    }
}

/// The URL of a service.
pub(super) fn base_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.parse() {
        Ok(url) => Ok(Some(url)),
        Err(_) if !text.contains("://") => Err(de::Error::custom(format!(
            "{text:?} is not a URL; did you mean \"https://{text}\" or \"http://{text}\"?"
        ))),
        Err(error) => Err(de::Error::custom(format!("{text:?} is not a URL: {error}"))),
    }
}

/// The zone of a schedule: UTC if none is set.
pub(super) fn zone_of(zone: Option<&ScheduleZone>) -> TimeZone {
    zone.map_or(TimeZone::UTC, |zone| zone.0.clone())
}

impl<'de> Deserialize<'de> for ScheduleZone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse::<LogZone>().map(|zone| Self(zone.into())).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Region {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        region(&String::deserialize(deserializer)?).map(Self).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Pace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PaceVisitor)
    }
}

/// Reads `"8,600"`, or a table with a pace for some groups of the API.
struct PaceVisitor;

impl<'de> Visitor<'de> for PaceVisitor {
    type Value = Pace;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"0\", two numbers such as \"8,600\", or a table of them by group of the API, such as { monitoring = \"5,300\" }")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Pace, E> {
        pace(text).map(Pace).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Pace, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Groups {
            monitoring: Option<String>,
            processing: Option<String>,
            orchestration: Option<String>,
            audit_logs: Option<String>,
            other: Option<String>,
        }
        let Groups { monitoring, processing, orchestration, audit_logs, other } =
            Groups::deserialize(MapAccessDeserializer::new(map))?;
        let mut paces = GroupPaces::default();
        let groups = [
            (monitoring, &mut paces.monitoring),
            (processing, &mut paces.processing),
            (orchestration, &mut paces.orchestration),
            (audit_logs, &mut paces.audit_logs),
            (other, &mut paces.other),
        ];
        for (text, group) in groups {
            let Some(text) = text else { continue };
            let PaceSetting::Fixed(pace) = pace(&text).map_err(de::Error::custom)? else {
                let message = "a group of the API cannot be without a limit; write pace = \"0\" for no limit at all";
                return Err(de::Error::custom(message));
            };
            *group = pace;
        }
        Ok(Pace(PaceSetting::ByGroup(paces)))
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        CronParser::new().parse(&text).map(Self).map_err(|error| de::Error::custom(format!("{text:?}: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use runlog_client::Pace as Of;

    use super::*;

    fn read(text: &str) -> Result<PaceSetting, String> {
        #[derive(Deserialize)]
        struct Settings {
            pace: Pace,
        }
        toml::from_str(text).map(|settings: Settings| settings.pace.0).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_pace_is_for_all_requests_or_for_a_group_of_the_api() {
        assert_eq!(read(r#"pace = "0""#), Ok(PaceSetting::Unlimited));
        assert_eq!(read(r#"pace = "8,600""#), Ok(PaceSetting::Fixed(Of { per_second: 8, per_minute: 600 })));
        let monitoring = Of { per_second: 5, per_minute: 300 };
        let paces = GroupPaces { monitoring, ..GroupPaces::default() };
        assert_eq!(read(r#"pace = { monitoring = "5,300" }"#), Ok(PaceSetting::ByGroup(paces)));
        let refused = |text: &str, why: &str| assert!(read(text).unwrap_err().contains(why), "{:?}", read(text));
        refused(r#"pace = { monitoring = "0" }"#, "cannot be without a limit");
        refused(r#"pace = { logs = "5,300" }"#, "unknown field `logs`");
        refused("pace = 8", "two numbers such as");
    }
}
