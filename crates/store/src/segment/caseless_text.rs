//! A text that is found in any case and in any canonically equivalent form.

use std::ops::Range;
use std::str::FromStr;

use regex::bytes::{Regex, RegexBuilder};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::{canonical_combining_class, compose};

/// Maximum number of marks of a letter whose orders are all searched for; with more marks, only the normal forms are.
const MARKS_MAX: usize = 3;

/// A text that is found in any case and in any canonically equivalent form: `é` as one character or as `e` with an accent.
#[derive(Debug, Clone)]
pub struct CaselessText(Regex);

/// A text that is too long to be searched for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is too long to be searched for")]
pub struct CaselessTextError(String);

impl FromStr for CaselessText {
    type Err = CaselessTextError;

    fn from_str(text: &str) -> Result<Self, CaselessTextError> {
        let mut expression = in_each_form(text);
        // The normal forms of a text never contain a character such as U+F900, which normalisation always replaces.
        if !text.nfc().eq(text.chars()) && !text.nfd().eq(text.chars()) {
            expression = format!("(?:{}|{expression})", regex::escape(text));
        }
        let regex = RegexBuilder::new(&expression).case_insensitive(true).build();
        regex.map(Self).map_err(|_| CaselessTextError(text.to_owned()))
    }
}

impl CaselessText {
    /// Returns the first match from this byte on. It may end within a letter: see [`continues_letter`].
    pub(crate) fn find_at(&self, text: &[u8], at: usize) -> Option<Range<usize>> {
        self.0.find_at(text, at).map(|found| found.range())
    }

    /// Returns all matches, which may end within a letter.
    pub(crate) fn find_iter<'t>(&'t self, text: &'t [u8]) -> impl Iterator<Item = Range<usize>> + 't {
        self.0.find_iter(text).map(|found| found.range())
    }

    /// Returns the end of the first match from this byte on that does not end within a letter.
    pub(crate) fn end_after(&self, text: &[u8], mut at: usize) -> Option<usize> {
        loop {
            let found = self.find_at(text, at)?;
            if !continues_letter(&text[found.end..]) {
                return Some(found.end);
            }
            at = found.start + 1;
        }
    }
}

/// Returns true if a text begins with a part of the letter before it: a combining mark, or the rest of a Hangul
/// syllable.
pub(crate) fn continues_letter(text: &[u8]) -> bool {
    // These are beyond ASCII, as are all bytes within a character.
    if text.first().is_none_or(|byte| *byte < 0x80) {
        return false;
    }
    let next = String::from_utf8_lossy(&text[..text.len().min(4)]).chars().next();
    next.is_some_and(|next| canonical_combining_class(next) != 0 || matches!(next, '\u{1160}'..='\u{11ff}'))
}

/// Returns a regular expression for a text in each of its forms, letter by letter.
fn in_each_form(text: &str) -> String {
    let mut expression = String::new();
    let mut letter = String::new();
    for character in text.nfd() {
        if canonical_combining_class(character) == 0 && !letter.is_empty() {
            push_forms(&mut expression, &letter);
            letter.clear();
        }
        letter.push(character);
    }
    push_forms(&mut expression, &letter);
    expression
}

/// Adds the forms of a letter with its marks. `letter` is the decomposed form.
fn push_forms(expression: &mut String, letter: &str) {
    let mut characters = letter.chars();
    let Some(base) = characters.next() else { return };
    let marks: Vec<char> = characters.collect();
    let mut forms = vec![letter.to_owned(), letter.nfc().collect()];
    // Characters that are never composed, such as the sign of the Ångström, decompose to the same.
    if marks.len() <= MARKS_MAX {
        for order in orders(&marks) {
            let mut composed = base;
            for (count, mark) in order.iter().enumerate() {
                let Some(with_mark) = compose(composed, *mark) else { break };
                composed = with_mark;
                forms.push(std::iter::once(composed).chain(order[count + 1..].iter().copied()).collect());
            }
            forms.push(std::iter::once(base).chain(order.iter().copied()).collect());
        }
    }
    forms.retain(|form| form.nfd().eq(letter.chars()));
    forms.sort_unstable();
    forms.dedup();
    match forms.as_slice() {
        [form] => expression.push_str(&regex::escape(form)),
        forms => {
            let escaped: Vec<String> = forms.iter().map(|form| regex::escape(form)).collect();
            expression.push_str(&format!("(?:{})", escaped.join("|")));
        }
    }
}

/// Returns all orders of a few marks.
fn orders(marks: &[char]) -> Vec<Vec<char>> {
    if marks.is_empty() {
        return vec![Vec::new()];
    }
    let with_first = |first: usize| {
        let mut rest = marks.to_vec();
        let mark = rest.remove(first);
        orders(&rest).into_iter().map(move |order| std::iter::once(mark).chain(order).collect())
    };
    (0..marks.len()).flat_map(with_first).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_in_each_equivalent_form() {
        let forms =
            ["vi\u{1ec7}t", "vie\u{323}\u{302}t", "vie\u{302}\u{323}t", "vi\u{ea}\u{323}t", "vi\u{1eb9}\u{302}t"];
        for text in forms {
            let text: CaselessText = text.parse().unwrap();
            for form in forms {
                let upper = form.to_uppercase();
                assert_eq!(text.end_after(upper.as_bytes(), 0), Some(upper.len()), "{form}");
            }
        }
        let mixed: CaselessText = "r\u{e9}sum\u{e9}".parse().unwrap();
        assert!(mixed.end_after("r\u{e9}sume\u{301}".as_bytes(), 0).is_some());
        for text in ["\u{f900}", "a\u{387}b", "\u{1f71}"] {
            assert!(text.parse::<CaselessText>().unwrap().end_after(text.as_bytes(), 0).is_some(), "{text}");
        }
    }

    #[test]
    fn a_part_of_a_letter_is_not_found() {
        let text: CaselessText = "cafe".parse().unwrap();
        assert_eq!(text.end_after("cafe\u{301}".as_bytes(), 0), None);
        assert_eq!(text.end_after("cafe\u{301} Cafe".as_bytes(), 0), Some(11));
        // One syllable of Hangul is no part of another, composed or not.
        let syllable: CaselessText = "\u{d558}".parse().unwrap();
        assert_eq!(syllable.end_after("\u{1112}\u{1161}\u{11ab}".as_bytes(), 0), None);
        assert!(syllable.end_after("\u{1112}\u{1161}".as_bytes(), 0).is_some());
    }
}
