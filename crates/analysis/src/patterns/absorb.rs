//! Finds lines that match a template although they have more words: lists of any length, names of several words.
//!
//! `Loaded columns [a, b, c] of table` has another number of words than `Loaded columns [a] of table`, and each list of
//! that length may occur once. Once a template has enough variants, each of its varying words also matches several
//! words that would be one value.
//!
//! The result depends on the set of the lines only: the templates with the most variants are tried first, and each line
//! is assigned to the template that has the most words in common with it.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;

use super::fit::Tokenized;
use super::merge::{Line, VARIANTS_BARE_MIN, VARIANTS_MIN};
use super::token::{Kind, Token};

/// Maximum number of consecutive words that may be one name. More words are a part of a sentence.
const NAME_WORDS_MAX: usize = 4;

/// Minimum number of words of a template in which several words may be one name: after `started <*>`, they are more
/// likely a sentence.
const WORDS_BESIDE_NAMES_MIN: usize = 2;

/// Maximum number of full matches between templates and lines, which bounds the time. Further lines are left unchanged.
const MATCHES_MAX: usize = 200_000;

/// Words that do not occur in names: a line with one of them is a different statement.
const WORDS_OF_SENTENCES: [&str; 44] = [
    "a", "already", "an", "are", "as", "at", "be", "because", "been", "but", "by", "can", "cannot", "could", "did",
    "does", "for", "from", "had", "has", "have", "if", "in", "into", "is", "it", "no", "not", "of", "on", "or", "than",
    "that", "the", "then", "there", "this", "to", "was", "were", "will", "with", "without", "would",
];

/// Assigns lines to templates of other lines that match them. Returns true if there are any such lines.
pub(super) fn absorb(lines: &mut [Line<'_>]) -> bool {
    let forms = absorbed(&groups_of(lines));
    for line in lines.iter_mut() {
        if let Some(form) = forms.get(&line.hash) {
            line.tokens = form.iter().map(|(tokens, kind)| joined(&line.tokens[tokens.clone()], *kind)).collect();
            line.rehash();
        }
    }
    !forms.is_empty()
}

/// Returns the token of a template at a position that matches these tokens of a line.
fn joined(tokens: &[Token], kind: Kind) -> Token {
    match (tokens, kind) {
        ([first, ..], Kind::Varied) => Token { place: first.place.start..tokens[tokens.len() - 1].place.end, kind },
        (tokens, _) => tokens[0].clone(),
    }
}

/// Lines that are alike.
struct Group<'a> {
    hash: u64,
    variants: u32,
    /// The shape of one of the lines.
    shape: &'a str,
    /// The tokens of that shape. A word is marked as varying if it varies in any of the lines.
    tokens: Vec<Token>,
    words: usize,
}

impl Group<'_> {
    fn form(&self) -> Tokenized<'_> {
        Tokenized { shape: self.shape, tokens: &self.tokens }
    }

    /// True if the group has enough variants, relative to its remaining words, to match other lines.
    fn absorbs(&self) -> bool {
        let varied = self.tokens.iter().filter(|token| token.kind == Kind::Varied).count();
        let variants_min = match self.words {
            0 => return false,
            words if words >= varied => VARIANTS_MIN,
            _ => VARIANTS_BARE_MIN,
        };
        varied > 0 && self.variants >= variants_min
    }
}

/// The groups of equal lines, those with the most variants first.
fn groups_of<'a>(lines: &[Line<'a>]) -> Vec<Group<'a>> {
    let mut groups: HashMap<u64, Group<'_>> = HashMap::new();
    for line in lines {
        let new = || Group {
            hash: line.hash,
            variants: 0,
            shape: line.shape,
            tokens: line.tokens.clone(),
            words: line.words(),
        };
        let group = groups.entry(line.hash).or_insert_with(new);
        group.variants += 1;
        let varied = group.tokens.iter_mut().zip(&line.tokens).filter(|(_, token)| token.kind == Kind::Varied);
        varied.for_each(|(ours, _)| ours.kind = Kind::Varied);
    }
    let mut groups: Vec<Group<'_>> = groups.into_values().collect();
    groups.sort_by_cached_key(|group| (Reverse(group.variants), group.form().key()));
    groups
}

/// Returns, by the hash of each group that another one matches, the range of its tokens for each token of the other,
/// and the kind of that token.
fn absorbed(groups: &[Group<'_>]) -> HashMap<u64, Vec<(Range<usize>, Kind)>> {
    let mut forms = HashMap::new();
    let mut by_start: HashMap<Option<&str>, Vec<&Group<'_>>> = HashMap::new();
    let mut left = MATCHES_MAX;
    for group in groups {
        let form = group.form();
        let mut starts = vec![None];
        starts.extend(form.first_word().map(Some));
        let may_stand = |other: &&&Group<'_>| {
            other.words < group.words
                && other.tokens.len() <= form.tokens.len()
                && other.variants > group.variants
                && other.form().ends_like(form)
        };
        let mut candidates: Vec<&Group<'_>> =
            starts.iter().filter_map(|start| by_start.get(start)).flatten().filter(may_stand).copied().collect();
        candidates.sort_by_key(|other| Reverse(other.words));
        candidates.truncate(left);
        left -= candidates.len();
        let [of_lists, of_names] = if candidates.is_empty() { Default::default() } else { run_ends(form) };
        let fitting = candidates.iter().find_map(|other| {
            let run_ends = if other.words < WORDS_BESIDE_NAMES_MIN { &of_lists } else { &of_names };
            Some((other, other.form().fit(form, run_ends)?))
        });
        if let Some((other, places)) = fitting {
            forms.insert(group.hash, places.into_iter().zip(other.tokens.iter().map(|token| token.kind)).collect());
        } else if group.absorbs() {
            by_start.entry(form.first_word()).or_default().push(group);
        }
    }
    forms
}

/// Returns the ends of the runs of a line that are lists, and of those that are lists or names.
fn run_ends(line: Tokenized<'_>) -> [Vec<usize>; 2] {
    [line.run_ends(|run| line.frame(run.end - 1) != " "), line.run_ends(|run| may_be_name(line, run))]
}

/// True if the words at the end of a run, separated only by spaces, may be one name.
fn may_be_name(line: Tokenized<'_>, run: Range<usize>) -> bool {
    let mut start = run.end - 1;
    while start > run.start && line.frame(start) == " " {
        start -= 1;
    }
    let says_something =
        |word: usize| line.tokens[word].kind == Kind::Act || WORDS_OF_SENTENCES.contains(&line.text(word));
    let words = start..run.end;
    words.len() == 1 || words.len() <= NAME_WORDS_MAX && !words.into_iter().any(says_something)
}
