//! Cursors into lists.

use std::fmt;

use crate::api::Refusal;

/// A cursor into a list: how many items to skip, within a fixed period, so that new items do not shift the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListCursor {
    pub(crate) offset: u64,
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
}

impl ListCursor {
    pub(crate) fn read(text: &str) -> Result<Self, Refusal> {
        let (offset, period) = text.trim().split_once('_').ok_or_else(unknown_cursor)?;
        let (start, end) = period.split_once('_').ok_or_else(unknown_cursor)?;
        match (offset.parse(), start.parse(), end.parse()) {
            (Ok(offset), Ok(start_ms), Ok(end_ms)) => Ok(Self { offset, start_ms, end_ms }),
            _ => Err(unknown_cursor()),
        }
    }
}

impl fmt::Display for ListCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_{}", self.offset, self.start_ms, self.end_ms)
    }
}

pub(crate) fn unknown_cursor() -> Refusal {
    Refusal::invalid(
        "the cursor is unknown; use the one of the previous answer, with the same other arguments, or none",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let cursor = ListCursor { offset: 20, start_ms: -5, end_ms: 7 };
        assert_eq!(ListCursor::read(&cursor.to_string()), Ok(cursor));
        for text in ["", "1", "1_2", "a_b_c", "-1_2_3", "1_2_3_4"] {
            assert!(ListCursor::read(text).is_err(), "{text}");
        }
    }
}
