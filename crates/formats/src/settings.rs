//! The formats of logs, and how their times and fields are read.

use std::str::FromStr;

use runlog_model::{LogZone, Timestamp};

use crate::layout::Layout;
use crate::names::FieldMap;

/// The format of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Ndjson,
    /// JSON objects that may have any number of lines: one after another, or in arrays.
    Json,
    /// A table with a header, whose columns are separated by this character.
    Csv {
        /// Such as `,` or `;`.
        separator: u8,
    },
    /// Lines of a logger, which begin with a time; lines without a time continue the record before.
    Text,
    /// Lines without times; each is a record.
    Plain,
}

/// How times and fields are read.
#[derive(Debug, Clone)]
pub struct ReadSettings {
    /// The zone of times that name none.
    pub zone: LogZone,
    /// Whether `03/04/2026` is in April or in March.
    pub date_order: DateOrder,
    /// The date of the first line, for lines with a time of day only.
    pub first_date: Option<jiff::civil::Date>,
    /// When the log was written at the latest: determines the year of times that have none.
    pub written_at: Timestamp,
    /// The time of lines without one, in [`LogFormat::Plain`].
    pub plain_time: Timestamp,
    /// Fields with other names than the usual ones.
    pub fields: FieldMap,
    /// The layout of [`LogFormat::Text`]. Default: lines begin with a time, and their other parts are recognised.
    pub layout: Option<Layout>,
}

impl ReadSettings {
    /// The defaults: UTC, the day before the month, the usual names of fields.
    pub fn written_at(at: Timestamp) -> Self {
        Self {
            zone: LogZone::default(),
            date_order: DateOrder::default(),
            first_date: None,
            written_at: at,
            plain_time: at,
            fields: FieldMap::default(),
            layout: None,
        }
    }
}

impl LogFormat {
    /// Its name in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ndjson => "NDJSON",
            Self::Json => "JSON",
            Self::Csv { .. } => "CSV",
            Self::Text => "text with times",
            Self::Plain => "text without times",
        }
    }
}

/// Which of two numbers is the day, in dates such as `03/04/2026`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DateOrder {
    /// The first one, as in most of the world.
    #[default]
    DayFirst,
    /// The second one, as in the United States.
    MonthFirst,
}

impl FromStr for DateOrder {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "dmy" => Ok(Self::DayFirst),
            "mdy" => Ok(Self::MonthFirst),
            _ => Err(format!("{text:?} is neither dmy (day first) nor mdy (month first)")),
        }
    }
}
