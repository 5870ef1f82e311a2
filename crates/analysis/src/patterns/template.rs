//! Converts shapes to templates: shapes of one logging statement are joined, and the parts in which they differ become
//! `<*>`.
//!
//! ```text
//! shapes ▸ lists of elements folded (`list.rs`) ▸ rows of tables (`row.rs`) ▸ words that vary (`merge.rs`)
//!        ▸ lines that a template covers although they have more words (`absorb.rs`) ▸ templates
//! ```

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::absorb::absorb;
use super::list::with_lists_folded;
use super::merge::{Line, let_words_vary};
use super::row::rows_of;
use crate::mask::Mask;

/// The template of a shape.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Template {
    /// The common text of all shapes of the statement, with [`Mask::Word`] in place of every value: the same in every
    /// log in which the same words vary.
    pub(crate) key: String,
    /// The same text with the kind of each value, if all shapes agree on it.
    pub(crate) shape: String,
}

/// Returns the template of each shape, in the order of the shapes.
pub(crate) fn templates_of(shapes: &[&str]) -> Vec<Template> {
    let shapes = with_lists_folded(shapes);
    let shapes: Vec<&str> = shapes.iter().map(AsRef::as_ref).collect();
    let rows = rows_of(&shapes);
    let mut lines: Vec<Line<'_>> = shapes.iter().zip(rows).map(|(shape, row)| Line::of(shape, row)).collect();
    let_words_vary(&mut lines);
    if absorb(&mut lines) {
        let_words_vary(&mut lines);
        absorb(&mut lines);
    }
    let keys: Vec<String> = lines.iter().map(Line::key).collect();
    let known: HashSet<&str> = keys.iter().map(String::as_str).collect();
    let keys_and_pieces: Vec<(Cow<'_, str>, Vec<Cow<'_, str>>)> =
        lines.iter().zip(&keys).map(|(line, key)| in_plural(line, key, &known)).collect();
    let mut joined: HashMap<&str, Vec<String>> = HashMap::new();
    for (key, pieces) in &keys_and_pieces {
        match joined.get_mut(&**key) {
            Some(ours) => ours.iter_mut().zip(pieces).for_each(|(ours, piece)| join_piece(ours, piece)),
            None => _ = joined.insert(key, pieces.iter().map(|piece| piece.clone().into_owned()).collect()),
        }
    }
    let shapes: HashMap<&str, String> = joined.into_iter().map(|(key, pieces)| (key, pieces.concat())).collect();
    let template = |key: &str| Template { key: key.to_owned(), shape: shapes[key].clone() };
    keys_and_pieces.iter().map(|(key, _)| template(key)).collect()
}

/// Returns the key and the pieces of a line. `1 row` is of the same statement as `2 rows` if both occur.
fn in_plural<'l>(line: &'l Line<'_>, key: &'l str, known: &HashSet<&str>) -> (Cow<'l, str>, Vec<Cow<'l, str>>) {
    let mut pieces: Vec<Cow<'_, str>> = line.pieces().map(Cow::Borrowed).collect();
    let mut key = Cow::Borrowed(key);
    for position in line.counted_words() {
        let place = 2 * position + 1;
        for plural in plurals_of(&pieces[place]) {
            let singular = std::mem::replace(&mut pieces[place], Cow::Owned(plural));
            let other = line.key_of(&pieces);
            if known.contains(other.as_str()) {
                key = Cow::Owned(other);
                break;
            }
            pieces[place] = singular;
        }
    }
    (key, pieces)
}

/// Returns the possible plurals of a word.
fn plurals_of(word: &str) -> Vec<String> {
    let mut plurals = vec![format!("{word}s"), format!("{word}es")];
    plurals.extend(word.strip_suffix('y').map(|stem| format!("{stem}ies")));
    plurals
}

/// Reduces two texts at one position of a template to what they have in common.
fn join_piece(ours: &mut String, other: &str) {
    if ours == other {
        return;
    }
    let (number, hex) = (Mask::Number.char(), Mask::Hex.char());
    let is = |text: &str, mask: char| text.len() == 1 && text.starts_with(mask);
    let digits = |text: &str| is(text, number) || is(text, hex);
    let joined = if digits(ours) && digits(other) { hex } else { Mask::Word.char() };
    ours.clear();
    ours.push(joined);
}
