//! Display preferences of the user, from the options that every command has.

use std::sync::OnceLock;

use anstream::ColorChoice;
use jiff::tz::TimeZone;
use runlog_model::{LogZone, Timestamp};

use super::pager;
use super::screen::Stream;

/// Options that every command has.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct PreferenceArgs {
    /// When to use colours; auto: on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value = "auto")]
    color: Color,
    /// Do not show long results on a terminal in a pager, which is the command in RUNLOG_PAGER or PAGER, or less
    #[arg(long, global = true)]
    no_pager: bool,
    /// Time zone in which times are read and shown: UTC, local, an offset such as +02:00, or a name such as Europe/Berlin
    #[arg(long, global = true, env = "RUNLOG_TZ", value_name = "ZONE", default_value = "UTC", allow_hyphen_values = true,
          value_parser = zone_named)]
    tz: TimeZone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

static ZONE: OnceLock<TimeZone> = OnceLock::new();

impl PreferenceArgs {
    /// Applies the preferences to the whole program. Must be called once, before anything is written. Potentially long
    /// results are shown in a pager if they are longer than the screen.
    pub(crate) fn apply(self, may_be_long: bool) {
        if self.no_pager || !Stream::Result.is_terminal() {
            pager::refuse();
        }
        if may_be_long {
            pager::begin();
        }
        match self.color {
            Color::Auto => {}
            Color::Always => ColorChoice::Always.write_global(),
            Color::Never => ColorChoice::Never.write_global(),
        }
        let _ = ZONE.set(self.tz);
    }
}

fn zone_named(text: &str) -> Result<TimeZone, String> {
    match text {
        _ if text.eq_ignore_ascii_case("local") => {
            TimeZone::try_system().map_err(|error| format!("the time zone of this machine is not known: {error}"))
        }
        _ => text.parse::<LogZone>().map(TimeZone::from).map_err(|error| format!("{error}, or local")),
    }
}

/// The zone in which times are read and shown.
pub(crate) fn zone() -> TimeZone {
    ZONE.get().cloned().unwrap_or(TimeZone::UTC)
}

/// A time in the zone: `2026-11-29T12:00:00.000Z`, or `2026-11-29T13:00:00.000+01:00`.
pub(crate) fn shown_time(time: Timestamp) -> String {
    in_zone(time, "%Y-%m-%dT%H:%M:%S%.3f%:z").unwrap_or_else(|| time.to_string())
}

/// A time in whole seconds in the zone: `2026-11-29T12:00:00Z`, or `2026-11-29T13:00:00+01:00`.
pub(crate) fn shown_seconds(time: Timestamp) -> String {
    in_zone(time, "%Y-%m-%dT%H:%M:%S%:z").unwrap_or_else(|| time.to_seconds_text())
}

fn in_zone(time: Timestamp, format: &str) -> Option<String> {
    let zone = ZONE.get().filter(|zone| **zone != TimeZone::UTC)?;
    let time = jiff::Timestamp::from_millisecond(time.as_millis()).ok()?.to_zoned(zone.clone());
    jiff::fmt::strtime::format(format, &time).ok()
}
