//! From shapes to templates: varying words become `<*>`.
//!
//! Masks recognise numbers, paths and times, but not that `ORDERS` is the name of a table. Only the other shapes show
//! this, so this step considers all of them at once. Its result is a function of the *set* of shapes: neither their
//! order nor their frequency matters (decision 0009).
//!
//! Two shapes are comparable if they have the same punctuation and masks around the same number of words. Among those,
//! in rounds until nothing changes:
//!
//! 1. **One word differs.** If [`VARIANTS_MIN`] shapes are equal except for one word, that word varies. If fewer than
//!    half of the words would remain, [`VARIANTS_BARE_MIN`] shapes are required. A shape that matches an existing template
//!    joins it.
//! 2. **Several words differ at once.** A word that occurs at its position in fewer than [`VARIANTS_MIN`] comparable
//!    shapes is rare. If that many shapes are equal except for their rare words, the first word is not rare, and at least
//!    half of the words remain, the rare words vary.
//!
//! Each round processes each word a fixed number of times: the work is linear in the number of shapes, not in their
//! pairs.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

use crate::mask::Mask;

/// Shapes that must differ in one word before it counts as varying.
///
/// High enough that the words of a small set (`RUNNING`, `FAILED`, `KILLED`) remain separate patterns.
pub(crate) const VARIANTS_MIN: u32 = 8;

/// The same if fewer than half of the words would remain, as in `<*>` or `<*> <*> done`.
pub(crate) const VARIANTS_BARE_MIN: u32 = 128;

/// Rounds after which what still changes is left as it is.
const ROUNDS_MAX: usize = 8;

/// Counts as more variants than any threshold requires.
const TEMPLATE_EXISTS: u32 = 1 << 30;

/// The template of each shape, in the order of the shapes.
pub(crate) fn templates_of(shapes: &[&str]) -> Vec<String> {
    let mut lines: Vec<Line<'_>> = shapes.iter().map(|shape| Line::of(shape)).collect();
    for _ in 0..ROUNDS_MAX {
        let single = single_words_that_vary(&lines);
        let changed = apply(&mut lines, &single);
        let joint = rare_words_that_vary(&lines);
        if !(apply(&mut lines, &joint) || changed) {
            break;
        }
    }
    lines.iter().map(Line::template).collect()
}

/// A shape as words, with the text between them as its frame.
struct Line<'a> {
    shape: &'a str,
    words: Vec<Word>,
    /// Of the frame alone.
    frame_hash: u64,
    /// Hash of frame and words; shapes that have become equal have equal hashes.
    hash: u64,
}

struct Word {
    place: Range<usize>,
    /// Of the word at its position; [`Word::varying_hash`] once it varies.
    hash: u64,
    varies: bool,
}

impl<'a> Line<'a> {
    fn of(shape: &'a str) -> Self {
        let mut words = Vec::new();
        let mut frame = DefaultHasher::new();
        let mut at = 0;
        // The class of an exception is part of the frame: it never varies.
        let (line, exception) = shape.split_at(shape.find(Mask::Exception.char()).unwrap_or(shape.len()));
        exception.hash(&mut frame);
        for piece in pieces(line) {
            let place = at..at + piece.len();
            at = place.end;
            if is_word(piece) {
                let varies = piece.len() == 1 && piece.starts_with(Mask::Word.char());
                let hash = Word::hash(words.len(), if varies { None } else { Some(piece) });
                words.push(Word { place, hash, varies });
                "word".hash(&mut frame);
            } else {
                piece.hash(&mut frame);
            }
        }
        let frame_hash = frame.finish();
        let hash = words.iter().fold(frame_hash, |sum, word| sum.wrapping_add(word.hash));
        Self { shape, words, frame_hash, hash }
    }

    /// The hash of this line if the word at this position varied.
    fn hash_without(&self, position: usize) -> u64 {
        self.hash.wrapping_sub(self.words[position].hash).wrapping_add(Word::hash(position, None))
    }

    fn hash_without_all(&self, positions: &[usize]) -> u64 {
        positions.iter().fold(self.hash, |hash, position| {
            hash.wrapping_sub(self.words[*position].hash).wrapping_add(Word::hash(*position, None))
        })
    }

    fn fixed_words(&self) -> usize {
        self.words.iter().filter(|word| !word.varies).count()
    }

    /// True if at least half of the words remain when `count` more vary.
    fn stays_recognisable(&self, count: usize) -> bool {
        2 * self.fixed_words().saturating_sub(count) >= self.words.len()
    }

    fn let_vary(&mut self, positions: &[usize]) {
        self.hash = self.hash_without_all(positions);
        for position in positions {
            self.words[*position].varies = true;
            self.words[*position].hash = Word::hash(*position, None);
        }
    }

    fn template(&self) -> String {
        let mut template = String::with_capacity(self.shape.len());
        let mut at = 0;
        for word in self.words.iter().filter(|word| word.varies) {
            template.push_str(&self.shape[at..word.place.start]);
            template.push(Mask::Word.char());
            at = word.place.end;
        }
        template.push_str(&self.shape[at..]);
        template
    }
}

impl Word {
    /// Of a word at a position; `None` is a word that varies.
    fn hash(position: usize, text: Option<&str>) -> u64 {
        let mut hasher = DefaultHasher::new();
        (position, text).hash(&mut hasher);
        hasher.finish()
    }
}

/// Words and the text between them, alternating.
fn pieces(shape: &str) -> impl Iterator<Item = &str> {
    let mut rest = shape;
    std::iter::from_fn(move || {
        let first = *rest.as_bytes().first()?;
        let alike = |byte: &u8| belongs_to_word(*byte) == belongs_to_word(first);
        let end = rest.bytes().position(|byte| !alike(&byte)).unwrap_or(rest.len());
        let (piece, tail) = rest.split_at(end);
        rest = tail;
        Some(piece)
    })
}

fn belongs_to_word(byte: u8) -> bool {
    // The characters below the space are masks.
    byte.is_ascii_alphanumeric() || !(b' '..0x80).contains(&byte) || b"_$.-#/@%+".contains(&byte)
}

/// A piece with a letter, or a word that varies: a mask alone says already what it is.
fn is_word(piece: &str) -> bool {
    piece.bytes().any(|byte| byte.is_ascii_alphabetic() || byte >= 0x80)
        || piece == Mask::Word.char().encode_utf8(&mut [0; 4])
}

/// For each line, the positions of the varying words.
type Varying = Vec<Vec<usize>>;

fn apply(lines: &mut [Line<'_>], varying: &Varying) -> bool {
    lines.iter_mut().zip(varying).for_each(|(line, positions)| line.let_vary(positions));
    varying.iter().any(|positions| !positions.is_empty())
}

/// The lines without those that an earlier one equals.
fn distinct<'l, 'a>(lines: &'l [Line<'a>]) -> impl Iterator<Item = &'l Line<'a>> {
    let mut seen = HashSet::new();
    lines.iter().filter(move |line| seen.insert(line.hash))
}

fn single_words_that_vary(lines: &[Line<'_>]) -> Varying {
    let mut variants: HashMap<u64, u32> = HashMap::new();
    for line in distinct(lines) {
        if line.words.iter().any(|word| word.varies) {
            *variants.entry(line.hash).or_default() += TEMPLATE_EXISTS;
        }
        for position in fixed_positions(line) {
            *variants.entry(line.hash_without(position)).or_default() += 1;
        }
    }
    lines.iter().map(|line| single_words_of(line, &variants)).collect()
}

fn fixed_positions(line: &Line<'_>) -> impl Iterator<Item = usize> {
    line.words.iter().enumerate().filter(|(_, word)| !word.varies).map(|(position, _)| position)
}

fn single_words_of(line: &Line<'_>, variants: &HashMap<u64, u32>) -> Vec<usize> {
    let count_of = |position: &usize| variants.get(&line.hash_without(*position)).copied().unwrap_or_default();
    let mut positions: Vec<usize> =
        fixed_positions(line).filter(|position| count_of(position) >= VARIANTS_MIN).collect();
    // If words vary at several positions, those with the most variants are replaced first, as long as enough of the
    // line remains.
    positions.sort_by_key(|position| std::cmp::Reverse((count_of(position), *position)));
    let mut chosen = 0;
    positions.retain(|position| {
        let vary = line.stays_recognisable(chosen + 1) || count_of(position) >= VARIANTS_BARE_MIN;
        chosen += usize::from(vary);
        vary
    });
    positions
}

fn rare_words_that_vary(lines: &[Line<'_>]) -> Varying {
    let mut uses: HashMap<(u64, u64), u32> = HashMap::new();
    for line in distinct(lines) {
        for word in &line.words {
            *uses.entry((line.frame_hash, word.hash)).or_default() += 1;
        }
    }
    let rare_of = |line: &Line<'_>| -> Vec<usize> {
        let rare = |position: &usize| uses[&(line.frame_hash, line.words[*position].hash)] < VARIANTS_MIN;
        let positions: Vec<usize> = fixed_positions(line).filter(rare).collect();
        let keeps_enough = line.stays_recognisable(positions.len()) && positions.first() != Some(&0);
        if keeps_enough { positions } else { Vec::new() }
    };
    let mut alike: HashMap<u64, u32> = HashMap::new();
    for line in distinct(lines) {
        let exists = line.words.iter().any(|word| word.varies);
        let positions = rare_of(line);
        if exists && positions.is_empty() {
            *alike.entry(line.hash).or_default() += TEMPLATE_EXISTS;
        } else if !positions.is_empty() {
            *alike.entry(line.hash_without_all(&positions)).or_default() += 1;
        }
    }
    lines
        .iter()
        .map(|line| {
            let mut positions = rare_of(line);
            if alike.get(&line.hash_without_all(&positions)).copied().unwrap_or_default() < VARIANTS_MIN {
                positions.clear();
            }
            positions
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::{mask_line, shape_of_text, text_of};

    /// The templates of lines, each once, sorted.
    fn templates(lines: impl IntoIterator<Item = String>) -> Vec<String> {
        let shapes: Vec<String> = lines
            .into_iter()
            .map(|line| {
                let mut shape = String::new();
                mask_line(&line, &mut shape);
                shape
            })
            .collect();
        let shapes: Vec<&str> = shapes.iter().map(String::as_str).collect();
        let mut templates: Vec<String> = templates_of(&shapes).iter().map(|template| text_of(template)).collect();
        templates.sort();
        templates.dedup();
        templates
    }

    /// `count` words that occur in no other line.
    fn names(count: usize) -> impl Iterator<Item = String> {
        (0..count).map(|number| {
            let letter = |place: u32| char::from(b'a' + (number / 26_usize.pow(place) % 26) as u8);
            format!("name{}{}{}", letter(2), letter(1), letter(0))
        })
    }

    #[test]
    fn a_word_varies_from_eight_variants_on() {
        let lines = |count| names(count).map(|name| format!("table {name} is loaded"));
        assert_eq!(templates(lines(8)), ["table <*> is loaded"]);
        assert_eq!(templates(lines(7)).len(), 7);
    }

    #[test]
    fn states_stay_patterns_of_their_own() {
        let lines = ["RUNNING", "FAILED", "KILLED", "SUCCEEDED"].map(|state| format!("the job is {state}"));
        assert_eq!(templates(lines).len(), 4);
    }

    #[test]
    fn words_that_vary_crosswise_vary_both() {
        let lines = names(9).flat_map(|a| names(9).map(move |b| format!("copied table {a} to {b}")));
        assert_eq!(templates(lines), ["copied table <*> to <*>"]);
    }

    #[test]
    fn words_that_vary_together_vary_both() {
        let lines = names(20).map(|name| format!("copied table a{name} to b{name}"));
        assert_eq!(templates(lines), ["copied table <*> to <*>"]);
    }

    #[test]
    fn what_fits_a_template_joins_it() {
        let lines = names(9).flat_map(|a| names(9).map(move |b| format!("copied table {a} to {b}")));
        let late = ["copied table nameaaa to elsewhere", "copied table anything to nameaab"].map(str::to_owned);
        assert_eq!(templates(lines.chain(late)), ["copied table <*> to <*>"]);
    }

    #[test]
    fn short_lines_need_more_variants() {
        assert_eq!(templates(names(127)).len(), 127);
        assert_eq!(templates(names(128)), ["<*>"]);
    }

    #[test]
    fn unrelated_lines_of_one_length_stay_apart() {
        let lines = names(40).map(|name| format!("a{name} b{name} the c{name} to d{name}"));
        assert_eq!(templates(lines).len(), 40);
    }

    #[test]
    fn a_class_of_exception_never_varies() {
        let shapes: Vec<String> =
            names(20).map(|name| format!("it failed{}a.{name}", Mask::Exception.char())).collect();
        let shapes: Vec<&str> = shapes.iter().map(String::as_str).collect();
        assert_eq!(templates_of(&shapes), shapes);
    }

    #[test]
    fn merging_templates_again_changes_nothing() {
        let lines = names(30).map(|name| format!("copied table a{name} to b{name}"));
        let once = templates(lines);
        let again: Vec<String> = once.iter().map(|text| shape_of_text(text)).collect();
        let again: Vec<&str> = again.iter().map(String::as_str).collect();
        assert_eq!(templates_of(&again), again);
    }
}
