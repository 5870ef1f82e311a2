//! The text of a search as typed by a user: words, parts of words, phrases.

use std::ops::Range;
use std::str::FromStr;

use arrow_array::{Array, BooleanArray, StringArray};
use az::SaturatingAs;

use crate::segment::caseless_text::{CaselessText, CaselessTextError, continues_letter};
use crate::segment::word_index::NeededWords;

/// Maximum number of parts of a search.
const PARTS_MAX: usize = 16;

/// Maximum length of a search. Unit: bytes.
const TEXT_BYTES_MAX: usize = 1_000;

/// The texts that a message must contain, in any case and in any Unicode normal form.
///
/// `time out` selects messages that contain both parts anywhere, `"time out"` messages with these words in succession,
/// and `-debug` messages without that part.
#[derive(Debug, Clone, Default)]
pub struct SearchText {
    parts: Vec<Part>,
    /// Words that every matching message contains.
    words: NeededWords,
}

/// A text that a message must or must not contain.
#[derive(Debug, Clone)]
struct Part {
    text: CaselessText,
    /// True if it must begin and end at word boundaries.
    is_words: bool,
    is_unwanted: bool,
}

/// The error for an invalid search.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SearchTextError(String);

impl FromStr for SearchText {
    type Err = SearchTextError;

    fn from_str(text: &str) -> Result<Self, SearchTextError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(SearchTextError(format!("the text is longer than {TEXT_BYTES_MAX} bytes")));
        }
        let (mut parts, mut words) = (Vec::new(), NeededWords::default());
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let is_unwanted = rest.len() > 1 && rest.starts_with('-') && !rest[1..].starts_with(char::is_whitespace);
            let from = if is_unwanted { &rest[1..] } else { rest };
            let (part, is_words, after) = match from.strip_prefix('"') {
                // An unclosed quotation ends with the text, because the user may still be typing.
                Some(quoted) => {
                    let (part, after) = quoted.split_once('"').unwrap_or((quoted, ""));
                    (part, quoted.contains('"'), after)
                }
                None => {
                    let end = from.find(char::is_whitespace).unwrap_or(from.len());
                    (&from[..end], false, &from[end..])
                }
            };
            rest = after.trim_start();
            if part.is_empty() {
                continue;
            }
            if parts.len() == PARTS_MAX {
                return Err(SearchTextError(format!("the text has more than {PARTS_MAX} parts")));
            }
            let caseless: CaselessText =
                part.parse().map_err(|error: CaselessTextError| SearchTextError(error.to_string()))?;
            if !is_unwanted {
                words.extend(NeededWords::of(part, is_words));
            }
            parts.push(Part { text: caseless, is_words, is_unwanted });
        }
        Ok(Self { parts, words })
    }
}

impl SearchText {
    /// Returns true if every message matches.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Returns the byte ranges of the wanted parts in a text, in order, without overlaps.
    pub fn places_in(&self, text: &str) -> Vec<Range<usize>> {
        let wanted = self.parts.iter().filter(|part| !part.is_unwanted);
        let mut places: Vec<Range<usize>> = wanted.flat_map(|part| part.places_in(text)).collect();
        places.sort_by_key(|place| place.start);
        places.dedup_by(|place, before| {
            let overlaps = place.start < before.end;
            if overlaps {
                before.end = before.end.max(place.end);
            }
            overlaps
        });
        places
    }

    pub(crate) fn words(&self) -> &NeededWords {
        &self.words
    }

    /// Returns the rows whose message matches.
    pub(crate) fn rows(&self, messages: &StringArray) -> BooleanArray {
        let mut fits = vec![true; messages.len()];
        for part in &self.parts {
            let held = part.rows(messages);
            fits.iter_mut().zip(held).for_each(|(fits, held)| *fits &= held != part.is_unwanted);
        }
        fits.into()
    }
}

impl Part {
    fn places_in(&self, text: &str) -> Vec<Range<usize>> {
        let bytes = text.as_bytes();
        let stands_alone = |place: &Range<usize>| self.stands_alone(&bytes[..place.start], &bytes[place.end..]);
        self.text.find_iter(bytes).filter(stands_alone).collect()
    }

    /// Returns true if the match between these texts does not end within a letter and, if whole words are wanted, does
    /// not begin or end within a word.
    fn stands_alone(&self, before: &[u8], after: &[u8]) -> bool {
        !continues_letter(after) && (!self.is_words || !(ends_in_word(before) || begins_with_word(after)))
    }

    /// Returns the rows that contain it. All messages are searched as one buffer, which is faster than a search of each
    /// message.
    fn rows(&self, messages: &StringArray) -> Vec<bool> {
        let (offsets, bytes) = (messages.value_offsets(), messages.value_data());
        let mut held = vec![false; messages.len()];
        let Some((first, last)) = offsets.first().zip(offsets.last()) else { return held };
        let whole = &bytes[..(*last).saturating_as::<usize>()];
        let (mut row, mut at) = (0, (*first).saturating_as::<usize>());
        while let Some(found) = self.text.find_at(whole, at) {
            row += offsets[row + 1..].partition_point(|offset| (*offset).saturating_as::<usize>() <= found.start);
            let (row_start, row_end) =
                (offsets[row].saturating_as::<usize>(), offsets[row + 1].saturating_as::<usize>());
            if found.end <= row_end && self.stands_alone(&whole[row_start..found.start], &whole[found.end..row_end]) {
                held[row] = true;
                at = row_end;
            } else {
                // The match extends into the next message or is a part of a word; another match may begin at the next
                // byte.
                at = found.start + 1;
            }
        }
        held
    }
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn ends_in_word(bytes: &[u8]) -> bool {
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(4)..]).chars().next_back().is_some_and(is_of_word)
}

fn begins_with_word(bytes: &[u8]) -> bool {
    String::from_utf8_lossy(&bytes[..bytes.len().min(4)]).chars().next().is_some_and(is_of_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, messages: &[Option<&str>]) -> Vec<usize> {
        let rows = text.parse::<SearchText>().unwrap().rows(&StringArray::from(messages.to_vec()));
        (0..messages.len()).filter(|row| rows.value(*row)).collect()
    }

    const MESSAGES: [Option<&str>; 6] = [
        Some("Connection timed out: timeout after 30s"),
        Some("TIMEOUTS: 3"),
        None,
        Some("time"),
        Some("out of memory; GRÖẞE 12"),
        Some("no timeout"),
    ];

    #[test]
    fn every_part_is_found_in_any_case() {
        assert_eq!(found("timeout", &MESSAGES), [0, 1, 5]);
        assert_eq!(found("TIMEOUT connection", &MESSAGES), [0]);
        assert_eq!(found("größe", &[Some("GRÖSSE"), Some("GRÖßE")]), [1]);
        assert_eq!(found("", &MESSAGES), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_text_is_found_in_each_normal_form() {
        let messages = [Some("Cafe\u{301} closed"), Some("CAF\u{c9} open"), Some("cafe")];
        for text in ["caf\u{e9}", "cafe\u{301}"] {
            assert_eq!(found(text, &messages), [0, 1]);
        }
        // In neither normal form.
        for text in ["10 \u{212b}", "e\u{301}\u{e9}"] {
            assert_eq!(found(text, &[Some(text)]), [0]);
        }
    }

    /// Regression test: `cafe` found only the decomposed form, and `"cafe"` matched that form as a word.
    #[test]
    fn a_letter_without_its_accent_is_another_letter() {
        let messages = [Some("Cafe\u{301}"), Some("Caf\u{e9}"), Some("cafe"), Some("cafes")];
        assert_eq!(found("cafe", &messages), [2, 3]);
        assert_eq!(found("\"cafe\"", &messages), [2]);
        assert_eq!(found("-cafe", &messages), [0, 1]);
    }

    #[test]
    fn what_is_quoted_is_whole_words() {
        assert_eq!(found("\"timeout\"", &MESSAGES), [0, 5]);
        assert_eq!(found("\"timed out\"", &MESSAGES), [0]);
        assert_eq!(found("\"time\"", &MESSAGES), [3]);
        // The quotation is not closed yet.
        assert_eq!(found("\"timeou", &MESSAGES), [0, 1, 5]);
    }

    #[test]
    fn a_word_at_the_end_of_one_message_is_not_joined_to_the_next() {
        assert_eq!(found("\"time\"", &[Some("in time"), Some("outside")]), [0]);
        assert_eq!(found("timeout", &[Some("in time"), Some("outside")]), [0_usize; 0]);
        assert_eq!(found("\"b\"", &[Some("ab b"), Some("abb")]), [0]);
    }

    #[test]
    fn what_is_unwanted_is_left_out() {
        assert_eq!(found("timeout -connection", &MESSAGES), [1, 5]);
        assert_eq!(found("-timeout", &MESSAGES), [2, 3, 4]);
        assert_eq!(found("-\"timeout\"", &MESSAGES), [1, 2, 3, 4]);
        assert_eq!(found("a - b", &[Some("a - b"), Some("ab")]), [0]);
    }

    #[test]
    fn what_is_searched_for_is_shown_where_it_stands() {
        let places = |search: &str, text: &str| -> Vec<String> {
            let places = search.parse::<SearchText>().unwrap().places_in(text);
            places.into_iter().map(|place| text[place].to_owned()).collect()
        };
        assert_eq!(places("timeout", "Timeout, TIMEOUTS"), ["Timeout", "TIMEOUT"]);
        assert_eq!(places("\"timeout\"", "Timeout, TIMEOUTS"), ["Timeout"]);
        assert_eq!(places("abc bcd x", "ABCD"), ["ABCD"], "they overlap");
        assert_eq!(places("a -b", "b a"), ["a"]);
        assert_eq!(places("", "b a"), [""; 0]);
    }

    #[test]
    fn endless_searches_are_refused() {
        assert!("a ".repeat(17).parse::<SearchText>().is_err());
        assert!("a".repeat(1_001).parse::<SearchText>().is_err());
    }
}
