//! Escaping of text in HTML.

use runlog_model::printable::{Escaped, is_control};

/// Text of a log may hold anything at all: what would change the page, or the order of what is read, is shown as text.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(c),
            c if is_control(c) => safe.push_str(&Escaped(c).to_string()),
            c => safe.push(c),
        }
    }
    safe
}
