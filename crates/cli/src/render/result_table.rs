//! The result of a query on a terminal: a table that fits its width, or each row as a list of its columns.

use std::borrow::Cow;
use std::io::{self, Write};

use runlog_model::printable::{Escaped, is_control};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::screen::Stream;

/// Maximum number of rows from which the widths of columns are derived, and the total size of rows after which no
/// further rows are considered.
const MEASURED_ROWS_MAX: usize = 1_000;
const MEASURED_BYTES_MAX: usize = 4 << 20;

/// The longest text that a cell of a table shows. Unit: characters.
const CELL_CHARS_MAX: usize = 200;

/// The narrowest column of text that is wrapped, and the longest word that is not. Unit: columns of the terminal.
const WRAPPED_WIDTH_MIN: usize = 20;
const WORD_WIDTH_MAX: usize = 40;

/// The space between two columns.
const GAP: &str = "  ";

/// Determines when each row is shown as a list of its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expanded {
    On,
    Off,
    /// If a table would be wider than the terminal even with wrapped texts.
    Auto,
}

/// Shows the rows of a CSV text as they arrive.
#[derive(Debug)]
pub(crate) struct ResultTable<W: Write> {
    out: W,
    expanded: Expanded,
    /// Width of the terminal. Unit: columns.
    columns: usize,
    records: CsvRecords,
    names: Option<Vec<String>>,
    /// Rows from which the layout will be derived, and their size.
    measured: Vec<Vec<String>>,
    measured_bytes: usize,
    layout: Option<Layout>,
    rows: usize,
}

/// The layout of the rows.
#[derive(Debug)]
enum Layout {
    Table(Vec<Column>),
    /// Each row as a list of its columns; the width of the longest column name.
    List {
        name_width: usize,
    },
}

/// A column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Column {
    width: usize,
    is_number: bool,
    /// A text of several words, which can be wrapped.
    is_prose: bool,
}

impl<W: Write> ResultTable<W> {
    /// Shows rows on a terminal of this width.
    pub(crate) fn new(out: W, expanded: Expanded, columns: usize) -> Self {
        let (records, measured) = (CsvRecords::default(), Vec::new());
        Self { out, expanded, columns, records, names: None, measured, measured_bytes: 0, layout: None, rows: 0 }
    }

    /// Shows the remaining rows and the number of rows.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.show_measured()?;
        let is_list = matches!(self.layout, Some(Layout::List { .. }));
        if self.names.is_some() && (!is_list || self.rows == 0) {
            writeln!(self.out, "({} {})", self.rows, if self.rows == 1 { "row" } else { "rows" })?;
        }
        self.out.flush()
    }

    fn add(&mut self, row: Vec<String>) -> io::Result<()> {
        if self.names.is_none() {
            self.names = Some(row);
            return Ok(());
        }
        if self.layout.is_some() {
            return self.show(&row);
        }
        self.measured_bytes += row.iter().map(String::len).sum::<usize>();
        self.measured.push(row);
        if self.measured.len() >= MEASURED_ROWS_MAX || self.measured_bytes >= MEASURED_BYTES_MAX {
            self.show_measured()?;
        }
        Ok(())
    }

    /// Chooses the layout and shows the buffered rows.
    fn show_measured(&mut self) -> io::Result<()> {
        let (Some(names), None) = (&self.names, &self.layout) else { return Ok(()) };
        let layout = Layout::of(names, &self.measured, self.expanded, self.columns);
        if let Layout::Table(columns) = &layout {
            let rules: Vec<String> = columns.iter().map(|column| "-".repeat(column.width)).collect();
            write_row(&mut self.out, columns, names)?;
            writeln!(self.out, "{}", rules.join(GAP))?;
        }
        self.layout = Some(layout);
        std::mem::take(&mut self.measured).iter().try_for_each(|row| self.show(row))
    }

    fn show(&mut self, row: &[String]) -> io::Result<()> {
        self.rows += 1;
        match (&self.layout, &self.names) {
            (Some(Layout::Table(columns)), _) => write_row(&mut self.out, columns, row),
            (Some(Layout::List { name_width }), Some(names)) => {
                write_list(&mut self.out, self.rows, names, row, *name_width)
            }
            _ => Ok(()),
        }
    }
}

impl<W: Write> Write for ResultTable<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for row in self.records.add(bytes)? {
            self.add(row)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Layout {
    fn of(names: &[String], rows: &[Vec<String>], expanded: Expanded, terminal: usize) -> Self {
        let list = || Self::List { name_width: names.iter().map(|name| width(&cell(name))).max().unwrap_or_default() };
        if expanded == Expanded::On {
            return list();
        }
        let columns: Vec<Column> = (0..names.len()).map(|column| Column::of(&names[column], rows, column)).collect();
        match fitted(&columns, terminal) {
            Some(columns) => Self::Table(columns),
            None if expanded == Expanded::Off => Self::Table(columns),
            None => list(),
        }
    }
}

impl Column {
    fn of(name: &str, rows: &[Vec<String>], column: usize) -> Self {
        let values = || rows.iter().filter_map(|row| row.get(column)).filter(|value| !value.is_empty());
        let widths = || values().map(|value| width(&cell(value)));
        let is_number = values().next().is_some() && values().all(|value| value.parse::<f64>().is_ok());
        Self {
            width: widths().max().unwrap_or_default().max(width(&cell(name))),
            is_number,
            is_prose: values().any(|value| value.contains(char::is_whitespace))
                || widths().any(|it| it > WORD_WIDTH_MAX),
        }
    }
}

/// Narrows text columns until the table fits the terminal; returns none if it cannot fit.
fn fitted(columns: &[Column], terminal: usize) -> Option<Vec<Column>> {
    let with_prose_of = |width_max: usize| -> Vec<Column> {
        let narrowed = |column: &Column| match column.is_prose {
            true => Column { width: column.width.min(width_max), ..*column },
            false => *column,
        };
        columns.iter().map(narrowed).collect()
    };
    let fits = |columns: &[Column]| {
        let gaps = GAP.len() * columns.len().saturating_sub(1);
        columns.iter().map(|column| column.width).sum::<usize>() + gaps <= terminal
    };
    let widest = columns.iter().map(|column| column.width).max().unwrap_or_default();
    (WRAPPED_WIDTH_MIN.min(widest)..=widest).rev().map(with_prose_of).find(|columns| fits(columns))
}

/// Writes a row of a table; texts that are wider than their column continue on further lines.
fn write_row(out: &mut impl Write, columns: &[Column], row: &[String]) -> io::Result<()> {
    let cells: Vec<Vec<String>> = columns
        .iter()
        .zip(row)
        .map(|(column, value)| match column.is_prose {
            true => wrapped(&cell(value), column.width),
            false => vec![cell(value).into_owned()],
        })
        .collect();
    for line in 0..cells.iter().map(Vec::len).max().unwrap_or_default().max(1) {
        let mut text = String::new();
        for (number, (column, lines)) in columns.iter().zip(&cells).enumerate() {
            let part = lines.get(line).map_or("", String::as_str);
            let space = " ".repeat(column.width.saturating_sub(width(part)));
            text.push_str(if number > 0 { GAP } else { "" });
            let parts = if column.is_number { [space.as_str(), part] } else { [part, space.as_str()] };
            text.extend(parts);
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

/// Writes a row as a list of its columns; further lines of a text are aligned with its first.
fn write_list(
    out: &mut impl Write,
    number: usize,
    names: &[String],
    row: &[String],
    name_width: usize,
) -> io::Result<()> {
    writeln!(out, "-[ row {number} ]-")?;
    for (name, value) in names.iter().zip(row) {
        let name = cell(name);
        let mut space = " ".repeat(name_width.saturating_sub(width(&name)));
        write!(out, "{name}")?;
        for line in Stream::Result.shown(value).split('\n') {
            writeln!(out, "{}", format!("{space} | {line}").trim_end_matches(' '))?;
            space = " ".repeat(name_width);
        }
    }
    Ok(())
}

/// Wraps a text to a column of this width, which is at least 1: at spaces, and within longer words.
fn wrapped(text: &str, column: usize) -> Vec<String> {
    let (mut lines, mut line, mut line_width) = (Vec::new(), String::new(), 0);
    for letter in text.chars() {
        let letter_width = letter.width().unwrap_or_default();
        if line_width + letter_width > column {
            if letter == ' ' {
                lines.push(std::mem::take(&mut line));
                line_width = 0;
                continue;
            }
            let word = line.rfind(' ').map(|space| space + 1).filter(|word| *word > column / 2);
            let rest = word.map(|word| line.split_off(word)).unwrap_or_default();
            lines.push(std::mem::replace(&mut line, rest).trim_end().to_owned());
            line_width = width(&line);
        }
        line.push(letter);
        line_width += letter_width;
    }
    lines.push(line);
    lines
}

/// Returns a text as shown in a cell: on one line, limited to the length of a cell, with control characters escaped.
fn cell(text: &str) -> Cow<'_, str> {
    let has_end = text.char_indices().nth(CELL_CHARS_MAX);
    let shown = has_end.map_or(text, |(end, _)| &text[..end]);
    if has_end.is_none() && !shown.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut cell = String::with_capacity(shown.len() + 8);
    for letter in shown.chars() {
        match is_control(letter) {
            true => cell.push_str(&Escaped(letter).to_string()),
            false => cell.push(letter),
        }
    }
    cell.push_str(if has_end.is_some() { "…" } else { "" });
    Cow::Owned(cell)
}

/// Returns the width of a text. Unit: columns of the terminal.
fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// Splits a CSV text, which arrives in arbitrary chunks, into its records.
#[derive(Debug, Default)]
struct CsvRecords {
    /// The beginning of an incomplete record.
    partial: Vec<u8>,
    is_quoted: bool,
}

impl CsvRecords {
    /// Appends a chunk of the text and returns the records that are complete.
    fn add(&mut self, bytes: &[u8]) -> io::Result<Vec<Vec<String>>> {
        let mut end = 0;
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'"' => self.is_quoted = !self.is_quoted,
                b'\n' if !self.is_quoted => end = at + 1,
                _ => {}
            }
        }
        let (whole, partial) = bytes.split_at(end);
        if whole.is_empty() {
            self.partial.extend_from_slice(partial);
            return Ok(Vec::new());
        }
        let text = [std::mem::take(&mut self.partial).as_slice(), whole].concat();
        self.partial = partial.to_vec();
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_slice());
        let fields = |record: Result<csv::StringRecord, csv::Error>| {
            record.map(|record| record.iter().map(str::to_owned).collect()).map_err(io::Error::other)
        };
        reader.records().map(fields).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(csv: &str, expanded: Expanded, columns: usize) -> String {
        let mut out = Vec::new();
        let mut table = ResultTable::new(&mut out, expanded, columns);
        table.write_all(csv.as_bytes()).unwrap();
        table.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    const ROWS: &str = "id,n,message\nabc,5,\"a text, of several words\"\nd,50,\"a\nb\"\n";

    #[test]
    fn a_table_that_fits_has_one_line_for_each_row() {
        assert_eq!(
            shown(ROWS, Expanded::Auto, 80),
            "id    n  message\n---  --  ------------------------\nabc   5  a text, of several words\nd    50  a\\nb\n(2 rows)\n"
        );
        assert_eq!(shown("a,b\n", Expanded::Auto, 80), "a  b\n-  -\n(0 rows)\n");
    }

    #[test]
    fn texts_are_wrapped_until_the_table_fits() {
        assert_eq!(
            shown(ROWS, Expanded::Auto, 30),
            "id    n  message\n---  --  ---------------------\nabc   5  a text, of several\n         words\nd    50  a\\nb\n(2 rows)\n"
        );
    }

    #[test]
    fn rows_are_lists_if_the_table_cannot_fit() {
        let list = "-[ row 1 ]-\nid      | abc\nn       | 5\nmessage | a text, of several words\n\
                    -[ row 2 ]-\nid      | d\nn       | 50\nmessage | a\n        | b\n";
        assert_eq!(shown(ROWS, Expanded::Auto, 20), list);
        assert_eq!(shown(ROWS, Expanded::On, 200), list);
        assert!(shown(ROWS, Expanded::Off, 20).starts_with("id    n  message\n"));
        assert_eq!(shown("a,b\n", Expanded::On, 80), "(0 rows)\n");
    }

    #[test]
    fn identifiers_and_numbers_are_not_wrapped() {
        let id = "6c0e5a34-0000-4000-8000-000000000001";
        let text = shown(&format!("run_id,message\n{id},{}\n", "word ".repeat(30)), Expanded::Auto, 70);
        assert!(text.lines().all(|line| line.chars().count() <= 70), "{text}");
        assert!(text.contains(&format!("{id}  word word")), "{text}");
    }

    proptest! {
        #[test]
        fn the_text_may_be_cut_anywhere(
            rows in prop::collection::vec(prop::collection::vec("[a-z\",\n é]{0,8}", 3), 1..6),
            cuts in prop::collection::vec(0..400_usize, 0..5),
        ) {
            let mut text = csv::WriterBuilder::new().from_writer(Vec::new());
            rows.iter().for_each(|row| text.write_record(row).unwrap());
            let text = text.into_inner().unwrap();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            let mut records = CsvRecords::default();
            let mut found = Vec::new();
            for part in cuts.windows(2) {
                found.extend(records.add(&text[part[0]..part[1]]).unwrap());
            }
            prop_assert_eq!(found, rows);
        }

        #[test]
        fn no_line_of_a_table_is_wider_than_the_terminal(
            rows in prop::collection::vec(prop::collection::vec("[a-z 日]{0,60}", 3), 1..6),
            columns in 1..120_usize,
        ) {
            let names = ["a", "b", "c"].map(str::to_owned);
            if let Layout::Table(fitted) = Layout::of(&names, &rows, Expanded::Auto, columns) {
                for row in &rows {
                    let mut out = Vec::new();
                    write_row(&mut out, &fitted, row).unwrap();
                    let text = String::from_utf8(out).unwrap();
                    prop_assert!(text.lines().all(|line| width(line) <= columns), "{}", text);
                    let letters = |text: &str| text.chars().filter(|letter| !letter.is_whitespace()).count();
                    prop_assert_eq!(letters(&text), row.iter().map(|cell| letters(cell)).sum::<usize>());
                }
            }
        }
    }
}
