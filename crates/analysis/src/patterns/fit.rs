//! Determines whether a template matches a line, and which tokens of the line correspond to each of its tokens.

use std::ops::Range;

use super::token::{Kind, Token, separates_values};
use crate::mask::Mask;

/// A shape as tokens, with the text between them as its frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tokenized<'a> {
    pub(super) shape: &'a str,
    pub(super) tokens: &'a [Token],
}

impl<'a> Tokenized<'a> {
    pub(super) fn text(self, position: usize) -> &'a str {
        &self.shape[self.tokens[position].place.clone()]
    }

    /// Returns the text before a token, or after the last one.
    pub(super) fn frame(self, position: usize) -> &'a str {
        let start = position.checked_sub(1).map_or(0, |before| self.tokens[before].place.end);
        let end = self.tokens.get(position).map_or(self.shape.len(), |token| token.place.start);
        &self.shape[start..end]
    }

    /// Returns the number of tokens that are not values.
    pub(super) fn words(self) -> usize {
        self.tokens.iter().filter(|token| !token.is_value()).count()
    }

    /// Returns the first word of the line, if it is not a value.
    pub(super) fn first_word(self) -> Option<&'a str> {
        self.tokens.first().filter(|token| !token.is_value()).map(|_| self.text(0))
    }

    /// Returns the shape with [`Mask::Word`] in place of each value.
    pub(super) fn key(self) -> String {
        let value = Mask::Word.char();
        let mut key = String::with_capacity(self.shape.len());
        let mut at = 0;
        for token in self.tokens.iter().filter(|token| token.is_value()) {
            key.push_str(&self.shape[at..token.place.start]);
            key.push(value);
            at = token.place.end;
        }
        key.push_str(&self.shape[at..]);
        key
    }

    /// True if both lines begin and end with the same punctuation.
    pub(super) fn ends_like(self, other: Self) -> bool {
        self.frame(0) == other.frame(0) && self.frame(self.tokens.len()) == other.frame(other.tokens.len())
    }

    /// Returns, for each token, the end of the longest run of tokens that begins with it and would be one value if its
    /// tokens varied.
    ///
    /// A token and the next one belong to one run if only a separator of values is between them, and `continues` is
    /// true for the run including the next token.
    pub(super) fn run_ends(self, continues: impl Fn(Range<usize>) -> bool) -> Vec<usize> {
        let end_of = |start: usize| {
            let goes_on = |end: &usize| separates_values(self.frame(*end)) && continues(start..*end + 1);
            (start + 1..self.tokens.len()).take_while(goes_on).last().map_or(start + 1, |last| last + 1)
        };
        (0..self.tokens.len()).map(end_of).collect()
    }

    /// Returns the tokens of a line that match each token of this template, if the whole line matches.
    ///
    /// A word matches itself, a value matches a value, and a varying word matches a run of tokens, or the beginning of
    /// a run.
    pub(super) fn fit(self, line: Tokenized<'_>, run_ends: &[usize]) -> Option<Vec<Range<usize>>> {
        let may_take = |position: usize, tokens: &Range<usize>| match self.tokens[position].kind {
            Kind::Varied => tokens.end <= run_ends[tokens.start],
            Kind::Value => tokens.len() == 1 && line.tokens[tokens.start].is_value(),
            _ => {
                tokens.len() == 1
                    && !line.tokens[tokens.start].is_value()
                    && self.text(position) == line.text(tokens.start)
            }
        };
        if self.frame(0) != line.frame(0) {
            return None;
        }
        let count = line.tokens.len();
        // The possible starts of each token of the template.
        let mut starts = vec![vec![false; count + 1]];
        starts[0][0] = true;
        for position in 0..self.tokens.len() {
            let mut next = vec![false; count + 1];
            for start in (0..count).filter(|start| starts[position][*start]) {
                let fits =
                    |end: &usize| self.frame(position + 1) == line.frame(*end) && may_take(position, &(start..*end));
                (start + 1..=run_ends[start]).filter(fits).for_each(|end| next[end] = true);
            }
            starts.push(next);
        }
        let mut end = starts[self.tokens.len()][count].then_some(count)?;
        let mut places = Vec::with_capacity(self.tokens.len());
        for position in (0..self.tokens.len()).rev() {
            let is_before = |start: &usize| starts[position][*start] && may_take(position, &(*start..end));
            let start = (0..end).rev().find(is_before)?;
            places.push(start..end);
            end = start;
        }
        places.reverse();
        Some(places)
    }
}
