//! Lists whose elements have a form of their own, such as `{a=1, b=2}`, `List(Stage 1, Stage 2)` and `node1 7 ms node2
//! 9 ms`: a list of any length is replaced with one element.
//!
//! Elements are alike if they have the same punctuation and the same number of words. Equal elements that contain a
//! value are always folded. Other elements are the fields of a record, `(pid=1, code=2)`, unless the shapes show lists
//! of several lengths in otherwise equal lines.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::brackets::pairs_of;
use super::fit::Tokenized;
use super::token::{Kind, Token, single_values_of};
use crate::mask::Mask;

/// Minimum number of different lengths of a list whose elements are not fields of a record.
const LENGTHS_MIN: usize = 3;

/// Number of words of a repeated group. Consecutive equal words have already been folded.
const GROUP_WORDS: std::ops::RangeInclusive<usize> = 2..=4;

/// Minimum number of groups that differ in one word for this word to vary.
const GROUPS_MIN: usize = 3;

/// Replaces each list in the shapes with one element.
pub(super) fn with_lists_folded<'a>(shapes: &[&'a str]) -> Vec<Cow<'a, str>> {
    let shapes: Vec<Cow<'_, str>> = shapes.iter().map(|shape| without_repetitions(shape)).collect();
    let finds: [Find; 3] = [calls_of, lists_in_brackets, assignments_of];
    finds.into_iter().fold(shapes, folded)
}

/// Replaces consecutive groups of words that are equal, or differ in one word, with one group.
///
/// Shapes with brackets or quotes are left to the other rules.
fn without_repetitions(shape: &str) -> Cow<'_, str> {
    if shape.contains(['(', '[', '{', '"', '\'']) {
        return Cow::Borrowed(shape);
    }
    let mut words: Vec<Cow<'_, str>> = shape.split(' ').map(Cow::Borrowed).collect();
    let mut is_changed = false;
    for length in GROUP_WORDS {
        let mut start = 0;
        while start + 2 * length <= words.len() {
            if let Some(count) = fold_groups(&mut words, start, length) {
                words.drain(start..start + (count - 1) * length);
                is_changed = true;
            }
            start += 1;
        }
    }
    if is_changed { Cow::Owned(words.join(" ")) } else { Cow::Borrowed(shape) }
}

/// Returns the number of consecutive groups of `length` words that contain values and are equal except for the last
/// word. The last group represents them, and its last word is marked as varying if it differs.
fn fold_groups(words: &mut [Cow<'_, str>], start: usize, length: usize) -> Option<usize> {
    let bare = |at: usize| words[at].trim_end_matches([',', ';']);
    let has_value = |at: usize| words[at].bytes().any(|byte| byte < b' ');
    let last = length - 1;
    let (mut count, mut is_varying) = (1, false);
    while start + (count + 1) * length <= words.len() {
        let at = start + count * length;
        if (0..last).any(|place| bare(start + place) != bare(at + place)) {
            break;
        }
        if bare(start + last) != bare(at + last) {
            if has_value(start + last) || has_value(at + last) {
                break;
            }
            is_varying = true;
        }
        count += 1;
    }
    let are_values = (start..start + last).all(has_value);
    if is_varying && count >= GROUPS_MIN && are_values {
        words[start + count * length - 1] = Cow::Owned(Mask::Word.char().to_string());
        return Some(count);
    }
    (!is_varying && count > 1 && (start..start + length).any(has_value)).then_some(count)
}

/// Finds the lists of a shape, in order.
type Find = for<'s> fn(&'s str) -> Vec<List<'s>>;

fn folded<'a>(shapes: Vec<Cow<'a, str>>, find: Find) -> Vec<Cow<'a, str>> {
    let with_frame = |shape| {
        let lists = find(shape);
        (frame_of(shape, &lists), lists)
    };
    let found: Vec<(String, Vec<List<'_>>)> = shapes.iter().map(|shape| with_frame(shape)).collect();
    let mut frames: HashMap<&str, Vec<Elements>> = HashMap::new();
    for (frame, lists) in found.iter().filter(|(_, lists)| !lists.is_empty()) {
        let ours = frames.entry(frame).or_insert_with(|| vec![Elements::default(); lists.len()]);
        ours.iter_mut().zip(lists).for_each(|(ours, list)| ours.add(list));
    }
    let texts_of = |(frame, lists): &(String, Vec<List<'_>>)| -> Texts {
        let of_frame = frames.get(frame.as_str()).into_iter().flatten();
        let text_of = |(list, ours): (&List<'_>, &Elements)| Some((list.place.clone(), ours.text_for(list)?));
        lists.iter().zip(of_frame).filter_map(text_of).collect()
    };
    let texts: Vec<Texts> = found.iter().map(texts_of).collect();
    let filled = filled(&shapes, &texts);
    let folded = |(shape, texts): (Cow<'a, str>, Texts)| -> Cow<'a, str> {
        if !texts.is_empty() {
            return Cow::Owned(with_texts(&shape, &texts));
        }
        filled.get(&*shape).cloned().flatten().map_or(shape, Cow::Owned)
    };
    shapes.into_iter().zip(texts).map(folded).collect()
}

/// Returns the replacement of each shape with empty lists; `None` if there are several candidates.
fn filled(shapes: &[Cow<'_, str>], texts: &[Texts]) -> HashMap<String, Option<String>> {
    let mut filled: HashMap<String, Option<String>> = HashMap::new();
    for (shape, texts) in shapes.iter().zip(texts).filter(|(_, texts)| !texts.is_empty()) {
        let empty: Texts = texts.iter().map(|(place, _)| (place.clone(), String::new())).collect();
        let full = with_texts(shape, texts);
        let ours = filled.entry(with_texts(shape, &empty)).or_insert_with(|| Some(full.clone()));
        *ours = ours.take().filter(|ours| *ours == full);
    }
    filled
}

/// Replacement texts for parts of a shape, in order.
type Texts = Vec<(Range<usize>, String)>;

fn with_texts(shape: &str, texts: &Texts) -> String {
    let mut shape = shape.to_owned();
    for (place, text) in texts.iter().rev() {
        shape.replace_range(place.clone(), text);
    }
    shape
}

/// Replaces each list of a shape with the form of its elements.
fn frame_of(shape: &str, lists: &[List<'_>]) -> String {
    with_texts(shape, &lists.iter().map(|list| (list.place.clone(), list.elements[0].form())).collect())
}

/// The common properties of the lists at one position of otherwise equal shapes.
#[derive(Debug, Clone, Default)]
struct Elements {
    lengths: HashSet<usize>,
    /// True if words have varied in a list; such a list may have any number of elements.
    have_varied: bool,
    /// The words of an element; none for those that differ among elements.
    words: Vec<Option<String>>,
}

impl Elements {
    fn add(&mut self, list: &List<'_>) {
        self.lengths.insert(list.elements.len());
        for element in &list.elements {
            self.have_varied |= element.shape.contains(Mask::Word.char());
            if self.words.is_empty() {
                self.words = element.words().map(|word| Some(word.to_owned())).collect();
            }
            for (ours, word) in self.words.iter_mut().zip(element.words()) {
                *ours = ours.take().filter(|ours| ours == word);
            }
        }
    }

    fn are_of_any_number(&self) -> bool {
        self.lengths.len() >= LENGTHS_MIN || self.have_varied && self.lengths.len() > 1
    }

    /// Returns the element that replaces a list, if the list is to be folded.
    fn text_for(&self, list: &List<'_>) -> Option<String> {
        let element = &list.elements[0];
        let mut text = element.shape.to_owned();
        if !self.are_of_any_number() {
            return list.has_equal_elements().then_some(text);
        }
        let varying = element.tokens.iter().zip(&self.words).rev().filter(|(_, word)| word.is_none());
        for (token, _) in varying {
            text.replace_range(token.place.clone(), Mask::Word.char().encode_utf8(&mut [0; 4]));
        }
        Some(text)
    }
}

/// Elements that are alike, and their position in the shape.
struct List<'s> {
    place: Range<usize>,
    elements: Vec<Element<'s>>,
}

impl<'s> List<'s> {
    /// Returns the list at a position of a shape, if its elements are alike.
    fn of(place: Range<usize>, elements: Vec<Element<'s>>) -> Option<Self> {
        let form = elements.first().filter(|first| !first.tokens.is_empty())?.form();
        elements.iter().all(|element| element.form() == form).then_some(Self { place, elements })
    }

    fn has_equal_elements(&self) -> bool {
        let first = self.elements[0].shape;
        let has_value = first.bytes().any(|byte| byte < b' ');
        self.elements.len() > 1 && has_value && self.elements.iter().all(|element| element.shape == first)
    }
}

struct Element<'s> {
    shape: &'s str,
    tokens: Vec<Token>,
}

impl<'s> Element<'s> {
    fn of(shape: &'s str) -> Self {
        Self { shape, tokens: single_values_of(shape) }
    }

    /// `name(…)`: the name and the content of the brackets.
    fn of_call(shape: &'s str, name_end: usize) -> Self {
        let token = |place: Range<usize>| Token { place, kind: Kind::Value };
        Self { shape, tokens: vec![token(0..name_end), token(name_end + 1..shape.len() - 1)] }
    }

    fn form(&self) -> String {
        Tokenized { shape: self.shape, tokens: &self.tokens }.key()
    }

    fn words(&self) -> impl Iterator<Item = &'s str> {
        self.tokens.iter().map(|token| &self.shape[token.place.clone()])
    }
}

/// `GreaterThan(a,1), LessThan(b,2)`.
fn calls_of(shape: &str) -> Vec<List<'_>> {
    let mut calls: Vec<(Range<usize>, Vec<Element<'_>>)> = Vec::new();
    for pair in pairs_of(shape).into_iter().filter(|pair| shape[pair.clone()].starts_with('(') && pair.len() > 2) {
        let is_of_name = |c: char| c.is_alphanumeric() || c.is_control() || matches!(c, '_' | '.' | '$');
        let start = shape[..pair.start].trim_end_matches(is_of_name).len();
        let name_len = pair.start - start;
        let call = start..pair.end;
        match calls.last_mut() {
            Some((before, _)) if start < before.end => {}
            Some((before, elements)) if name_len > 0 && &shape[before.end..start] == ", " => {
                elements.push(Element::of_call(&shape[call], name_len));
                before.end = pair.end;
            }
            _ if name_len > 0 => calls.push((call.clone(), vec![Element::of_call(&shape[call], name_len)])),
            _ => {}
        }
    }
    calls.into_iter().filter_map(|(place, elements)| List::of(place, elements)).collect()
}

/// `{a=1, b=2}`, `[{"id": 1}, {"id": 2}]`, `struct<a:int,b:int>`: the content of brackets, outermost first.
fn lists_in_brackets(shape: &str) -> Vec<List<'_>> {
    let pairs = pairs_of(shape);
    let mut lists: Vec<List<'_>> = Vec::new();
    for pair in &pairs {
        let inside = pair.start + 1..pair.end - 1;
        if lists.last().is_some_and(|list| inside.start < list.place.end) {
            continue;
        }
        let elements = elements_of(&shape[inside.clone()]);
        // `{"ids": [1, 2]}` is a record that contains a list.
        let holds_list = |element: &Element<'_>| {
            element.shape.find(OPENING).is_some_and(|open| element.shape[..open].trim_end().ends_with(':'))
        };
        let is_record = elements.len() == 1 && holds_list(&elements[0]);
        lists.extend(List::of(inside, elements).filter(|_| !is_record));
    }
    lists
}

/// `parameters: a = 1, b = 2`: assignments at the end of a line, outside of brackets.
fn assignments_of(shape: &str) -> Vec<List<'_>> {
    let head = &shape[..shape.find('=').unwrap_or(0)];
    let Some(colon) = head.rfind(": ") else { return Vec::new() };
    let place = colon + 2..shape.len();
    let elements = elements_of(&shape[place.clone()]);
    let are_assignments = elements.iter().all(|element| element.shape.contains('=') && element.tokens.len() > 1);
    List::of(place, elements).filter(|_| are_assignments).into_iter().collect()
}

/// Returns the parts of a text that are separated by commas or semicolons outside of brackets.
fn elements_of(text: &str) -> Vec<Element<'_>> {
    let mut outermost: Vec<Range<usize>> = Vec::new();
    for pair in pairs_of(text) {
        if outermost.last().is_none_or(|before| before.end <= pair.start) {
            outermost.push(pair);
        }
    }
    let is_between = |at: usize| {
        let before = outermost.partition_point(|pair| pair.start < at);
        outermost[..before].last().is_none_or(|pair| pair.end <= at)
    };
    let ends = text.match_indices([',', ';']).map(|(at, _)| at).filter(|at| is_between(*at)).chain([text.len()]);
    let mut start = 0;
    ends.map(|end| {
        let element = Element::of(text[start..end].trim());
        start = (end + 1).min(text.len());
        element
    })
    .collect()
}

const OPENING: [char; 4] = ['(', '[', '{', '<'];
