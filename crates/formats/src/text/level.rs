//! Words for severities in lines of text.

use runlog_model::Severity;

/// The longest text in brackets that is looked at. Unit: bytes.
const BRACKETED_BYTES_MAX: usize = 200;

/// The text in brackets at the beginning, and what follows.
pub(super) fn bracketed(text: &str) -> Option<(&str, &str)> {
    let (inner, after) = text.strip_prefix('[')?.split_once(']')?;
    (inner.len() <= BRACKETED_BYTES_MAX).then_some((inner.trim(), after))
}

/// A level at the beginning of a line, before its time, and what follows: `[INFO ] 20:02:09`, `WARN  2026-11-27 …`.
pub(super) fn before_time(line: &str) -> Option<(&str, &str)> {
    let (level, rest) = match bracketed(line) {
        Some((inner, rest)) => (level_in(inner)?, rest),
        None => line.split_once([' ', '\t', ':']).filter(|(word, _)| is_level(word))?,
    };
    Some((level, rest.trim_start_matches([' ', '\t', ':', '|', '-'])))
}

/// The level in brackets, which may follow a module, as in `[core:error]`; short names are those of Serilog.
pub(super) fn level_in(inner: &str) -> Option<&str> {
    let level = inner.rsplit(':').next().unwrap_or(inner);
    let short = match level {
        "INF" => Some("INFO"),
        "VRB" => Some("TRACE"),
        "FTL" => Some("FATAL"),
        _ => None,
    };
    short.or_else(|| is_word_of_level(level).then_some(level))
}

/// A level outside of brackets is in capitals: `Error connecting` is a message.
pub(super) fn is_level(word: &str) -> bool {
    is_word_of_level(word) && !word.bytes().any(|byte| byte.is_ascii_lowercase())
}

fn is_word_of_level(word: &str) -> bool {
    // Numbers are levels too, though not in text; so is `ALL`, which only settings have.
    word.bytes().all(|byte| byte.is_ascii_alphabetic())
        && !matches!(word, "ALL" | "FAILURE" | "ALERT" | "PANIC")
        && Severity::of(Some(word)) != Severity::Other
}
