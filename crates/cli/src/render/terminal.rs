//! Output for users: tables, colours, and readable numbers. Results go to standard output, everything else to standard
//! error. Colours are omitted if `NO_COLOR` is set or the output is not a terminal.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use super::pager;
use super::screen::Stream;

/// Style of successes.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Style of failures.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// Style of warnings.
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default();
/// Style of secondary information.
pub(crate) const FAINT: Style = Style::new().dimmed();
/// Style of the most important information.
pub(crate) const STRONG: Style = Style::new().bold();

/// Writes a line of the result to standard output. A closed pipe (`| head`) ends the program without an error.
pub(crate) fn result_line(line: impl AsRef<str>) -> io::Result<()> {
    let mut out = Stream::Result.screen();
    out.write_all([line.as_ref(), "\n"].concat().as_bytes())?;
    out.finish()
}

/// Writes a value as one line of JSON to standard output.
pub(crate) fn result_json(value: &impl Serialize) -> io::Result<()> {
    result_line(serde_json::to_string(value)?)
}

/// Writes a value as one line of JSON.
pub(crate) fn write_json(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// Writes a message for the user to standard error.
pub(crate) fn note(text: impl AsRef<str>) {
    pager::show_held();
    // Errors are ignored: standard error may be closed.
    let mut out = Stream::Note.screen();
    let _ = out.write_all([text.as_ref(), "\n"].concat().as_bytes()).and_then(|()| out.finish());
}

/// `text` in a style, for standard output.
pub(crate) fn styled(style: Style, text: impl std::fmt::Display) -> String {
    styled_on(Stream::Result, style, text)
}

/// `text` in a style, for standard error.
pub(crate) fn styled_note(style: Style, text: impl std::fmt::Display) -> String {
    styled_on(Stream::Note, style, text)
}

fn styled_on(stream: Stream, style: Style, text: impl std::fmt::Display) -> String {
    let style = stream.style(style);
    format!("{style}{text}{style:#}")
}

/// A plain table: two spaces between columns, those named in `right` aligned to the right. Cells may have styles.
pub(crate) fn table(head: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> String {
    let head = head.iter().map(|name| name.to_uppercase()).collect();
    let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or_default();
    let widest = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| width(cell)).max();
    let widths: Vec<usize> = (0..columns).map(|column| widest(column).unwrap_or_default()).collect();
    let line_of = |line: &Vec<String>| {
        let mut text = String::new();
        for (column, (cell, wide)) in line.iter().zip(&widths).enumerate() {
            let space = " ".repeat(wide - width(cell));
            match right.contains(&column) {
                true => text.extend([space.as_str(), cell]),
                false => text.extend([cell, space.as_str()]),
            }
            text.push_str("  ");
        }
        text.truncate(text.trim_end().len());
        text
    };
    lines.iter().map(line_of).collect::<Vec<_>>().join("\n")
}

/// Returns the width of a text without its style codes. Unit: columns of the terminal.
fn width(text: &str) -> usize {
    anstream::adapter::strip_str(text).map(UnicodeWidthStr::width).sum()
}

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}

/// `1 run`, `1,234,567 runs`.
pub(crate) fn counted(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", count(number), if number == 1 { "" } else { "s" })
}

/// `1 run is`, `1,234,567 runs are`.
pub(crate) fn counted_are(number: u64, thing: &str) -> String {
    format!("{} {}", counted(number, thing), if number == 1 { "is" } else { "are" })
}

/// `1 run was`, `1,234,567 runs were`.
pub(crate) fn counted_were(number: u64, thing: &str) -> String {
    format!("{} {}", counted(number, thing), if number == 1 { "was" } else { "were" })
}

/// `41.9 MiB`.
pub(crate) fn bytes(number: u64) -> String {
    indicatif::BinaryBytes(number).to_string()
}

/// `350 ms`, `2.5 s`, `3 min 20 s`, `5 h 2 min`, `7.5 days`.
pub(crate) fn duration(ms: i64) -> String {
    let seconds = ms / 1000;
    match ms {
        ..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1000.0),
        60_000..3_600_000 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600_000..172_800_000 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{:.1} days", seconds as f64 / 86_400.0),
    }
}

/// Returns the first characters of a text, with an ellipsis if it is longer.
pub(crate) fn shortened(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_at_a_glance() {
        let shown = [350, 2_500, 200_000, 18_120_000, 647_160_000].map(duration);
        assert_eq!(shown, ["350 ms", "2.5 s", "3 min 20 s", "5 h 2 min", "7.5 days"]);
    }

    #[test]
    fn columns_stand_under_their_heads() {
        let shown = table(&["name", "n"], &[1], vec![vec!["a".into(), "5".into()], vec!["bcdef".into(), "50".into()]]);
        assert_eq!(shown, "NAME    N\na       5\nbcdef  50");
    }

    #[test]
    fn styles_and_wide_characters_do_not_move_columns() {
        let red = format!("{BAD}failed{BAD:#}");
        let rows =
            vec![vec![red.clone(), "a".into()], vec!["executing".into(), "b".into()], vec!["注文".into(), "c".into()]];
        let shown = table(&["status", "task"], &[], rows);
        assert_eq!(shown, format!("STATUS     TASK\n{red}     a\nexecuting  b\n注文       c"));
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        assert_eq!(shortened("größer", 3), "grö…");
        assert_eq!(shortened("größer", 6), "größer");
    }
}
