//! A range of the past, from arguments.

use runlog_collector::Range;
use runlog_model::{Clock, Timestamp};

use crate::exit::{Exit, Failure, Outcome};
use crate::system::SystemClock;

/// The period of the runs; until now if no end is given.
pub(crate) fn range(from: Timestamp, to: Option<Timestamp>) -> Outcome<Range> {
    let now = SystemClock.now();
    let to = to.unwrap_or(now).min(now);
    match from <= to {
        true => Ok(Range { from, to }),
        false => Err(Failure::new(Exit::Usage, format!("--from {from} is later than {to}"))),
    }
}
