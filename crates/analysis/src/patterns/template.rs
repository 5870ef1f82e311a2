//! From shapes to templates: shapes of one logging statement are joined, and what differs among them becomes `<*>`.
//!
//! ```text
//! shapes ▸ lists of elements folded (`list.rs`) ▸ rows of tables (`row.rs`) ▸ words that vary (`merge.rs`)
//!        ▸ lines that a template covers although they have more words (`absorb.rs`) ▸ templates
//! ```

use std::collections::HashMap;

use super::absorb::absorb;
use super::list::with_lists_folded;
use super::merge::{Line, let_words_vary};
use super::row::rows_of;
use crate::mask::Mask;

/// What a shape became.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Template {
    /// What all shapes of the statement have in common, with [`Mask::Word`] for every value: the same in every log in
    /// which the same words vary.
    pub(crate) key: String,
    /// The same with the kind of each value, where all shapes agree on it.
    pub(crate) shape: String,
}

/// The template of each shape, in the order of the shapes.
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
    let mut joined: HashMap<&str, Vec<String>> = HashMap::new();
    for (key, line) in keys.iter().zip(&lines) {
        let pieces = line.pieces();
        match joined.get_mut(key.as_str()) {
            Some(ours) => ours.iter_mut().zip(pieces).for_each(|(ours, piece)| join_piece(ours, piece)),
            None => _ = joined.insert(key, pieces.map(str::to_owned).collect()),
        }
    }
    let shapes: HashMap<&str, String> = joined.into_iter().map(|(key, pieces)| (key, pieces.concat())).collect();
    keys.iter().map(|key| Template { key: key.clone(), shape: shapes[key.as_str()].clone() }).collect()
}

/// What two texts at one position of a template have in common.
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
