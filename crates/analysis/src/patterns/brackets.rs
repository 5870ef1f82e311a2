//! Finds the brackets in a text, and those that are empty lists.

use std::ops::Range;

/// Maximum depth of nested lists, and maximum number of open brackets, which bound the time.
const DEPTH_MAX: usize = 6;
const OPEN_MAX: usize = 32;

/// Returns the positions within the brackets of empty lists: `[]`, `{}`, `List()`, but not of a call, `run()`, or of an
/// absent remark, `from 10.0.0.7 ()`.
pub(super) fn empty_lists_of(shape: &str) -> Vec<usize> {
    let is_list = |open: usize| match shape.as_bytes()[open] {
        b'(' => {
            let word = shape[..open].rsplit(|c: char| !c.is_ascii_alphabetic()).next();
            word.is_some_and(|word| word.starts_with(|c: char| c.is_ascii_uppercase()))
        }
        _ => true,
    };
    let pairs = pairs_of(shape).into_iter().filter(|pair| pair.len() == 2 && !shape[pair.clone()].starts_with('<'));
    pairs.map(|pair| pair.start).filter(|open| is_list(*open)).map(|open| open + 1).collect()
}

/// Returns the ranges of pairs of brackets including their content, in the order of their starts, down to
/// [`DEPTH_MAX`].
pub(super) fn pairs_of(text: &str) -> Vec<Range<usize>> {
    let mut open: Vec<(usize, u8)> = Vec::new();
    let mut pairs = Vec::new();
    let bytes = text.as_bytes();
    for (at, byte) in text.bytes().enumerate() {
        let closing = match byte {
            b'(' => b')',
            b'[' => b']',
            b'{' => b'}',
            b'<' => b'>',
            _ => {
                // `->` and `=>` close no bracket, and an unmatched opening bracket, such as in `a < b`, is ignored.
                let is_arrow = byte == b'>' && at > 0 && matches!(bytes[at - 1], b'-' | b'=');
                let opened = if is_arrow { None } else { open.iter().rposition(|(_, closing)| *closing == byte) };
                if let Some(place) = opened {
                    let (start, _) = open[place];
                    open.truncate(place);
                    if place < DEPTH_MAX {
                        pairs.push(start..at + 1);
                    }
                }
                continue;
            }
        };
        if open.len() < OPEN_MAX {
            open.push((at, closing));
        }
    }
    pairs.sort_by_key(|pair| pair.start);
    pairs
}
