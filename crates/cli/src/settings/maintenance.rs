//! `[[maintenance]]`: periods in which alerts are held.

use std::sync::Arc;

use jiff::civil::DateTime;
use runlog_collector::alerts::{Maintenance, TimeOf};
use runlog_collector::settings::{Name, Time};
use runlog_model::{TaskId, Timestamp, millis};
use serde::Deserialize;

use super::values::{Schedule, ScheduleZone, zone_of};

/// A maintenance window.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MaintenanceSettings {
    name: Name,
    /// The schedule of a recurring window.
    cron: Option<Schedule>,
    duration: Option<Time>,
    /// Start and end of a one-time window.
    from: Option<String>,
    to: Option<String>,
    zone: Option<ScheduleZone>,
    #[serde(default)]
    environments: Vec<String>,
    #[serde(default)]
    workspaces: Vec<String>,
    #[serde(default)]
    tasks: Vec<TaskId>,
    #[serde(default)]
    task_names: Vec<String>,
}

/// Errors of the windows.
pub(super) fn check(windows: &[MaintenanceSettings]) -> Result<(), String> {
    for (index, window) in windows.iter().enumerate() {
        let name = &window.name.0;
        if windows[..index].iter().any(|other| other.name.0 == *name) {
            return Err(format!("two maintenance windows are named {name:?}; names must be unique"));
        }
        window.end().map_err(|problem| format!("maintenance {name:?}: {problem}"))?;
    }
    Ok(())
}

impl MaintenanceSettings {
    /// The window; [`check`] has found no error in it.
    pub(super) fn window(&self) -> Maintenance {
        Maintenance {
            name: self.name.0.clone(),
            environments: self.environments.clone(),
            workspaces: self.workspaces.clone(),
            tasks: self.tasks.clone(),
            task_names: self.task_names.clone(),
            end: self.end().unwrap_or_else(|_| Arc::new(|_| None)),
        }
    }

    fn end(&self) -> Result<TimeOf, String> {
        let zone = zone_of(self.zone.as_ref());
        match (&self.cron, self.duration, &self.from, &self.to) {
            (Some(cron), Some(duration), None, None) => {
                let (cron, duration_ms) = (cron.clone(), millis(duration.0));
                Ok(Arc::new(move |now| {
                    let end = cron.last(now, &zone)?.plus_millis(duration_ms);
                    (end > now).then_some(end)
                }))
            }
            (None, None, Some(from), Some(to)) => {
                let time = |text: &str| {
                    let at = match text.parse::<Timestamp>() {
                        Ok(at) => Some(at),
                        Err(_) => text.parse::<DateTime>().ok().and_then(|local| {
                            let at = local.to_zoned(zone.clone()).ok()?.timestamp();
                            Some(Timestamp::clamped(at.as_millisecond()))
                        }),
                    };
                    at.ok_or_else(|| format!("{text:?} is not a time such as \"2026-12-24T18:00\" in its zone"))
                };
                let (from, to) = (time(from)?, time(to)?);
                if to <= from {
                    return Err("it ends before it begins".to_owned());
                }
                Ok(Arc::new(move |now| (now >= from && now < to).then_some(to)))
            }
            _ => Err("set cron and duration, or from and to".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(settings: &str, now: &str) -> Option<String> {
        let window: MaintenanceSettings = toml::from_str(&format!("name = \"w\"\n{settings}")).unwrap();
        check(std::slice::from_ref(&window)).unwrap();
        (window.window().end)(now.parse().unwrap()).map(|end| end.to_seconds_text())
    }

    #[test]
    fn a_window_begins_by_its_schedule_in_its_zone_and_lasts_its_duration() {
        let nightly = "cron = \"0 2 * * *\"\nduration = \"3h\"\nzone = \"Europe/Berlin\"";
        assert_eq!(end(nightly, "2026-12-01T00:59:59Z"), None);
        let until = Some("2026-12-01 04:00:00Z".to_owned());
        let shown = end(nightly, "2026-12-01T01:00:00Z");
        assert_eq!(shown.map(|it| it.replace('T', " ")), until);
        assert_eq!(end(nightly, "2026-12-01T04:00:00Z"), None);
        assert!(end(nightly, "2026-07-01T00:00:00Z").is_some(), "in summer, an hour earlier");
    }

    #[test]
    fn a_window_is_from_a_time_to_another_in_its_zone() {
        let once = "from = \"2026-12-24T18:00\"\nto = \"2026-12-27T08:00\"\nzone = \"Europe/Berlin\"";
        assert!(end(once, "2026-12-24T16:59:59Z").is_none());
        assert!(end(once, "2026-12-24T17:00:00Z").is_some());
        assert!(end(once, "2026-12-27T07:00:00Z").is_none());
        assert!(
            end("from = \"2026-12-24T18:00:00Z\"\nto = \"2026-12-25T18:00:00Z\"", "2026-12-25T17:00:00Z").is_some()
        );
    }
}
