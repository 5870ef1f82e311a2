//! A period of the past, from arguments.

use runlog_collector::Range;
use runlog_model::{Clock, TimeRange};

use super::moment::Moment;
use crate::exit::{Exit, Failure, Outcome};
use crate::render::preferences::shown_time;
use crate::system::SystemClock;

/// A period, open at either end.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PeriodArgs {
    /// Earliest time, inclusive: 2026-11-29, '2026-11-29 13:30', 13:30, yesterday, 2d (ago), or RFC 3339
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<Moment>,
    /// Latest time, inclusive; a date includes the whole day
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<Moment>,
    /// Only the last DURATION, such as 1d or 12h (same as --from)
    #[arg(long, value_name = "DURATION", conflicts_with = "from")]
    last: Option<Moment>,
}

/// A period with a beginning; until now if no end is given.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PastArgs {
    /// Earliest time, inclusive: 2026-11-29, '2026-11-29 13:30', yesterday, 30d (ago), or RFC 3339
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Moment,
    /// Latest time, inclusive; a date includes the whole day [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<Moment>,
}

impl PeriodArgs {
    /// The range. `Usage`: it ends before it begins.
    pub(crate) fn range(&self) -> Outcome<TimeRange> {
        let now = SystemClock.now();
        let start = self.from.as_ref().or(self.last.as_ref()).map(|from| from.before(now));
        let end = self.to.as_ref().map(|to| to.through(now));
        match (start, end) {
            (Some(start), Some(end)) if start > end => Err(reversed(start, end)),
            _ => Ok(TimeRange { start, end }),
        }
    }
}

impl PastArgs {
    /// The range. `Usage`: it ends before it begins.
    pub(crate) fn range(&self) -> Outcome<Range> {
        let now = SystemClock.now();
        let from = self.from.before(now);
        let to = self.to.as_ref().map_or(now, |to| to.through(now)).min(now);
        match from <= to {
            true => Ok(Range { from, to }),
            false => Err(reversed(from, to)),
        }
    }
}

fn reversed(from: runlog_model::Timestamp, to: runlog_model::Timestamp) -> Failure {
    Failure::new(Exit::Usage, format!("--from {} is later than {}", shown_time(from), shown_time(to)))
}
