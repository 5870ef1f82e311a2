//! Output of a failure.

use super::screen::Stream;
use super::terminal;
use crate::exit::Failure;

/// Shows the message and the causes that the message does not already contain.
pub(crate) fn report(failure: &Failure) {
    let mut causes = failure.error.chain().map(ToString::to_string);
    let first = causes.next().unwrap_or_default();
    terminal::note(format!("{} {}", terminal::styled_note(terminal::BAD, "error:"), Stream::Note.shown(&first)));
    let mut shown = first;
    for cause in causes {
        // A cause that the line above already contains adds no information.
        if !shown.contains(&cause) {
            terminal::note(format!("  caused by: {}", Stream::Note.shown(&cause)));
            shown = cause;
        }
    }
}
