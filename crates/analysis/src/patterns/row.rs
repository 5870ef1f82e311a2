//! Rows that jobs print: the shapes that are rows of one layout, whatever is in their cells.

use std::collections::HashMap;

use super::token::{Kind, Token};
use crate::mask::Mask;

/// Shapes of one layout that make it a table.
pub(super) const ROWS_MIN: u32 = 8;

/// Most words of a cell: more are a sentence, and the line is no row.
const CELL_WORDS_MAX: usize = 4;

/// Characters that separate cells. No space follows a comma or a semicolon there.
const SEPARATORS: [char; 3] = ['|', ';', ','];

/// The cells of each shape as tokens, if it is a row of a layout that at least [`ROWS_MIN`] shapes have.
///
/// A cell with the same text in all rows of the layout is no token: it is a part of the layout.
pub(super) fn rows_of(shapes: &[&str]) -> Vec<Option<Vec<Token>>> {
    let cells: Vec<Option<Cells<'_>>> = shapes.iter().map(|shape| Cells::of(shape)).collect();
    let mut layouts: HashMap<(char, usize), Layout<'_>> = HashMap::new();
    for cells in cells.iter().flatten() {
        let layout = layouts.entry(cells.layout()).or_default();
        layout.rows += 1;
        match &mut layout.constant {
            Some(constant) => constant.iter_mut().zip(&cells.texts).for_each(|(ours, (_, text))| {
                *ours = ours.filter(|ours| ours == text);
            }),
            None => layout.constant = Some(cells.texts.iter().map(|(_, text)| Some(*text)).collect()),
        }
    }
    let tokens = |cells: &Cells<'_>| {
        let layout = layouts.get(&cells.layout()).filter(|layout| layout.rows >= ROWS_MIN)?;
        let constant = layout.constant.as_ref()?;
        Some(
            cells
                .texts
                .iter()
                .zip(constant)
                .filter(|(_, constant)| constant.is_none())
                .map(|((start, text), _)| Token { place: *start..start + text.len(), kind: Kind::Value })
                .collect(),
        )
    };
    cells.iter().map(|cells| cells.as_ref().and_then(tokens)).collect()
}

/// The separator and the number of cells of a shape that is laid out as a row.
pub(super) fn layout_of(shape: &str) -> Option<(char, usize)> {
    Cells::of(shape).map(|cells| cells.layout())
}

/// True if a cell varies.
pub(super) fn has_varying_cell(shape: &str) -> bool {
    // The mask itself is a blank of Unicode.
    let varies = |cell: &str| cell.trim_matches(' ').strip_prefix(Mask::Word.char()) == Some("");
    layout_of(shape).is_some_and(|(separator, _)| shape.split(separator).any(varies))
}

#[derive(Default)]
struct Layout<'a> {
    rows: u32,
    /// The text of each cell, while it is the same in all rows.
    constant: Option<Vec<Option<&'a str>>>,
}

struct Cells<'a> {
    separator: char,
    /// Where each cell begins, and its text without the spaces around it.
    texts: Vec<(usize, &'a str)>,
}

impl<'a> Cells<'a> {
    fn of(shape: &'a str) -> Option<Self> {
        let separator = SEPARATORS.into_iter().find(|separator| shape.contains(*separator))?;
        if shape.contains([Mask::Exception.char(), Mask::Cut.char(), '=', ':', '(', '[', '{', '<']) {
            return None;
        }
        let mut start = 0;
        let mut texts = Vec::new();
        for cell in shape.split(separator) {
            let text = cell.trim();
            let spaced = separator != '|' && cell.starts_with(' ');
            if spaced || text.split(' ').count() > CELL_WORDS_MAX {
                return None;
            }
            texts.push((start + cell.len() - cell.trim_start().len(), text));
            start += cell.len() + separator.len_utf8();
        }
        Some(Self { separator, texts })
    }

    fn layout(&self) -> (char, usize) {
        (self.separator, self.texts.len())
    }
}
