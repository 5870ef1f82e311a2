//! Rows that jobs print: shapes that are rows of one layout, regardless of the content of their cells.

use std::collections::{HashMap, HashSet};

use super::fit::Tokenized;
use super::token::{Kind, Token, tokens_of};
use crate::mask::Mask;

/// Minimum number of shapes of one layout that are a table.
pub(super) const ROWS_MIN: u32 = 8;

/// Maximum number of words of a cell: a longer text is a sentence, and the line is not a row.
const CELL_WORDS_MAX: usize = 4;

/// The same for a row that begins with a number, if its layout has shorter rows as well.
const CELL_WORDS_LONG_MAX: usize = 16;

/// Maximum number of kinds of records, such as `ORD` and `INV`, that are distinguished in one layout by their first
/// cell.
const RECORD_KINDS_MAX: usize = 4;

/// Characters that separate cells.
const SEPARATORS: [char; 4] = [Mask::Gap.char(), '|', ';', ','];

/// Cells that are unknown or empty.
const UNKNOWN: [&str; 6] = ["NULL", "null", "None", "N/A", "n/a", "-"];

/// Severities: a line with one as a cell is a message of a log.
const SEVERITIES: [&str; 7] = ["TRACE", "DEBUG", "INFO", "WARN", "WARNING", "ERROR", "FATAL"];

/// The ends of texts before a row: `tLogRow_1 - `, `row: `, `[`.
const BEFORE_ROWS: [&str; 3] = [" - ", ": ", "["];

/// Returns the cells of each shape as tokens, if it is a row of a layout that at least [`ROWS_MIN`] shapes have.
///
/// A cell with the same text in all rows of the layout is not a token, but a part of the layout. The same applies to
/// the first cell if it distinguishes a few kinds of records.
pub(super) fn rows_of(shapes: &[&str]) -> Vec<Option<Vec<Token>>> {
    let cells: Vec<Option<Cells<'_>>> = shapes.iter().map(|shape| Cells::of(shape)).collect();
    let mut layouts: HashMap<Layout, Table<'_>> = HashMap::new();
    for cells in cells.iter().flatten() {
        layouts.entry(cells.layout()).or_default().add(cells);
    }
    let tokens = |cells: &Cells<'_>| {
        let table = layouts.get(&cells.layout()).filter(|table| table.rows >= ROWS_MIN || table.is_of_data())?;
        let tells_kinds = (2..=RECORD_KINDS_MAX).contains(&table.kinds.len()) && !table.kinds.contains(&None);
        let is_constant = |place: usize| table.constant[place].is_some() && !table.is_of_data();
        let is_varying = |place: usize| !(is_constant(place) || place == 0 && tells_kinds);
        let varying = cells.texts.iter().enumerate().filter(|(place, _)| is_varying(*place));
        let of_cells = varying.map(|(_, (start, text))| Token { place: *start..start + text.len(), kind: Kind::Value });
        Some(tokens_of(cells.before).into_iter().chain(of_cells).collect())
    };
    cells.iter().map(|cells| cells.as_ref().and_then(tokens)).collect()
}

/// The properties of a shape that is a row.
pub(super) struct Row<'a> {
    layout: Layout,
    kind: Option<&'a str>,
    /// True if it has varying cells, and so is a table.
    pub(super) is_table: bool,
}

impl<'a> Row<'a> {
    pub(super) fn of(shape: &'a str) -> Option<Self> {
        let cells = Cells::of(shape)?;
        let varies = |(_, cell): &(usize, &str)| cell.strip_prefix(Mask::Word.char()) == Some("");
        let is_table = cells.texts.iter().any(varies);
        Some(Self { layout: cells.layout(), kind: cells.record_kind(), is_table })
    }

    /// True if the other one may be a row of this table.
    pub(super) fn may_have(&self, other: &Self) -> bool {
        let same_kind = self.kind.is_none() || self.kind == other.kind;
        self.is_table && same_kind && self.layout == other.layout
    }
}

/// The common properties of the rows of a table: the key of the text before them, the separator, whether a space
/// follows it, and the number of cells.
type Layout = (String, char, bool, usize);

/// The rows of one layout.
#[derive(Default)]
struct Table<'a> {
    /// Number of rows without a long cell.
    rows: u32,
    /// The text of each cell; none if it differs among rows.
    constant: Vec<Option<&'a str>>,
    /// The kinds of records according to the first cells.
    kinds: HashSet<Option<&'a str>>,
    /// True if all cells of all rows are values, or empty.
    are_data: bool,
    /// True if a cell is empty.
    has_unfilled: bool,
}

impl<'a> Table<'a> {
    /// True if a few rows are sufficient for a table: they contain only values, some of which are absent.
    fn is_of_data(&self) -> bool {
        self.are_data && self.has_unfilled
    }

    fn add(&mut self, cells: &Cells<'a>) {
        if self.constant.is_empty() {
            self.constant = cells.texts.iter().map(|(_, text)| Some(*text)).collect();
            self.are_data = true;
        }
        self.are_data &= cells.texts.iter().all(|(_, text)| is_datum(text));
        self.has_unfilled |= cells.texts.iter().any(|(_, text)| is_unfilled(text));
        self.rows += u32::from(!cells.has_long);
        self.kinds.insert(cells.record_kind());
        for (ours, (_, text)) in self.constant.iter_mut().zip(&cells.texts) {
            *ours = ours.filter(|ours| ours == text);
        }
    }
}

struct Cells<'a> {
    /// The text before the first cell.
    before: &'a str,
    separator: char,
    /// True if a space follows each separator.
    is_spaced: bool,
    /// The start of each cell, and its text without surrounding spaces.
    texts: Vec<(usize, &'a str)>,
    /// True if a cell has more than [`CELL_WORDS_MAX`] words.
    has_long: bool,
}

impl<'a> Cells<'a> {
    /// Rows with text before them, with a space after each comma or with other punctuation in their cells begin with a
    /// number or an ID: others are sentences.
    fn of(shape: &'a str) -> Option<Self> {
        let separator = SEPARATORS.into_iter().find(|separator| shape.contains(*separator))?;
        if shape.contains([Mask::Exception.char(), Mask::Cut.char(), '=', '{', '<']) {
            return None;
        }
        let (start, end) = place_of_row(shape, separator);
        let mut at = start;
        let mut spaced = 0;
        let mut words = 0;
        let mut texts = Vec::new();
        for cell in shape[start..end].split(separator) {
            let text = cell.trim_matches(' ');
            spaced += usize::from(separator != '|' && at > start && cell.starts_with(' '));
            words = words.max(text.split(' ').count());
            texts.push((at + cell.len() - cell.trim_start_matches(' ').len(), text));
            at += cell.len() + separator.len_utf8();
        }
        let is_plain = start == 0 && spaced == 0 && words <= CELL_WORDS_MAX && !shape.contains([':', '(', '[']);
        let is_identified = is_id(texts[0].1)
            && (spaced == 0 || spaced + 1 == texts.len())
            && words <= CELL_WORDS_LONG_MAX
            && !shape[start..end].contains('[');
        let is_message = texts.iter().any(|(_, text)| SEVERITIES.contains(text));
        let is_row = (is_plain || is_identified) && !is_message;
        let before = &shape[..start];
        is_row.then_some(Self { before, separator, is_spaced: spaced > 0, texts, has_long: words > CELL_WORDS_MAX })
    }

    fn layout(&self) -> Layout {
        let before = Tokenized { shape: self.before, tokens: &tokens_of(self.before) }.key();
        (before, self.separator, self.is_spaced, self.texts.len())
    }

    /// `ORD` of `ORD;17;9.50`.
    fn record_kind(&self) -> Option<&'a str> {
        let first = self.texts[0].1;
        (first.len() >= 2 && first.bytes().all(|byte| byte.is_ascii_uppercase())).then_some(first)
    }
}

/// Returns the start and the end of the row in a shape. Text before the row is separated only if the row begins with an
/// ID.
fn place_of_row(shape: &str, separator: char) -> (usize, usize) {
    let head = &shape[..shape.find(separator).unwrap_or(shape.len())];
    let starts = BEFORE_ROWS.iter().filter_map(|before| head.rfind(before).map(|at| at + before.len()));
    let start = starts.max().filter(|start| is_id(head[*start..].trim_matches(' '))).unwrap_or(0);
    let is_closed = head[..start].ends_with('[') && shape.ends_with(']');
    (start, shape.len() - usize::from(is_closed))
}

/// True for a value, with or without quotes, and for an empty cell.
fn is_datum(cell: &str) -> bool {
    cell.trim_matches(['"', '\'']).chars().all(|c| c < ' ') || is_unfilled(cell)
}

fn is_unfilled(cell: &str) -> bool {
    let bare = cell.trim_matches(['"', '\'']);
    bare.is_empty() || UNKNOWN.contains(&bare)
}

/// True for a number, a hash, a UUID or another ID.
fn is_id(text: &str) -> bool {
    let masks = [Mask::Number, Mask::Hex, Mask::Uuid, Mask::Id, Mask::Word];
    masks.iter().any(|mask| text.strip_prefix(mask.char()) == Some(""))
}
