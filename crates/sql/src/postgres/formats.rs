//! Translates formats of `to_date` and `to_timestamp`, such as `YYYY-MM-DD`, to those of the engine, which are like
//! those of `strftime`.

use datafusion::sql::sqlparser::ast::{Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Value};

use crate::postgres::expressions;

/// Case-insensitive patterns, longest first, and their letters in `strftime`; empty for unsupported patterns.
const NUMBERS: [(&str, &str); 20] = [
    ("YYYY", "Y"),
    ("YY", "y"),
    ("IYYY", "G"),
    ("IDDD", ""),
    ("IW", "V"),
    ("ID", "u"),
    ("Q", ""),
    ("MM", "m"),
    ("MI", "M"),
    ("MS", "3f"),
    ("DDD", "j"),
    ("DD", "d"),
    ("HH24", "H"),
    ("HH12", "I"),
    ("HH", "I"),
    ("SSSS", ""),
    ("SS", "S"),
    ("US", "6f"),
    ("FF3", "3f"),
    ("FF6", "6f"),
];

/// Patterns whose case determines the case of a word.
const WORDS: [(&str, &str); 8] = [
    ("Month", "%B"),
    ("Mon", "%b"),
    ("Day", "%A"),
    ("Dy", "%a"),
    ("AM", "%p"),
    ("PM", "%p"),
    ("am", "%P"),
    ("pm", "%P"),
];

/// Maximum length of a format in a message. Unit: characters.
const SHOWN_CHARS_MAX: usize = 64;

/// Translates the format of `to_date` or `to_timestamp`, if it is a literal and not already a format of `strftime`. The
/// error describes the unsupported part.
pub(super) fn translate(function: &mut Function) -> Result<(), String> {
    if !matches!(name_of(function).as_deref(), Some("to_date" | "to_timestamp")) {
        return Ok(());
    }
    let FunctionArguments::List(list) = &mut function.args else { return Ok(()) };
    let [_, FunctionArg::Unnamed(FunctionArgExpr::Expr(format))] = list.args.as_mut_slice() else { return Ok(()) };
    let Some(text) = constant(format) else { return Ok(()) };
    if text.is_empty() || text.contains('%') {
        return Ok(());
    }
    let format = text.clone();
    *text = strftime(&format).map_err(|rest| {
        let shown = |text: &str| text.chars().take(SHOWN_CHARS_MAX).collect::<String>();
        format!(
            "the format {:?} is not supported from {:?} on: use YYYY, YY, MM, Mon, Month, DD, DDD, Dy, Day, ID, IYYY, IW, \
             HH24, HH12, MI, SS, MS, US, AM, and texts in double quotes; or a format of strftime, such as %Y-%m-%d",
            shown(&format),
            shown(rest)
        )
    })?;
    Ok(())
}

/// Whether a call of `to_char` has a format of `strftime`, with a pattern such as `%Y`, which is left to the engine. A
/// format of numbers may end with a percent sign.
pub(super) fn is_strftime(format: &Expr) -> bool {
    let begins_pattern = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    expressions::constant(format)
        .is_some_and(|format| format.split('%').skip(1).any(|after| after.starts_with(begins_pattern)))
}

/// True for `date_part('isodow', …)`.
pub(super) fn is_iso_weekday(function: &Function) -> bool {
    if name_of(function).as_deref() != Some("date_part") {
        return false;
    }
    let FunctionArguments::List(list) = &function.args else { return false };
    match list.args.first() {
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(part)))) => {
            matches!(&part.value, Value::SingleQuotedString(part) if part.trim().eq_ignore_ascii_case("isodow"))
        }
        _ => false,
    }
}

fn name_of(function: &Function) -> Option<String> {
    match function.name.0.as_slice() {
        [name] => name.as_ident().map(|name| name.value.to_lowercase()),
        _ => None,
    }
}

/// Returns the value of a text literal.
fn constant(expr: &mut Expr) -> Option<&mut String> {
    match expr {
        Expr::Value(value) => match &mut value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
            _ => None,
        },
        Expr::Cast { expr, .. } | Expr::Nested(expr) => constant(expr),
        _ => None,
    }
}

/// Translates a format to that of `strftime`; the error is the rest of the format from the first unsupported pattern.
fn strftime(format: &str) -> Result<String, &str> {
    let (mut made, mut has_pattern) = (String::new(), false);
    let mut rest = format;
    while let Some(first) = rest.chars().next() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (text, after) = quoted.split_once('"').ok_or(rest)?;
            made.push_str(text);
            rest = after;
            continue;
        }
        let is_unpadded = rest.get(..2).is_some_and(|prefix| prefix.eq_ignore_ascii_case("FM"));
        let body = if is_unpadded { &rest[2..] } else { rest };
        match pattern(body, is_unpadded) {
            Some((length, pattern)) => {
                made.push_str(&pattern);
                has_pattern = true;
                rest = &body[length..];
            }
            // Other letters are patterns of PostgreSQL, or may be.
            None if first.is_ascii_alphabetic() => return Err(rest),
            None => {
                made.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    // A format without patterns is one of numbers.
    if has_pattern { Ok(made) } else { Err(format) }
}

/// Returns the length of the pattern with which a text begins, and its form in `strftime`.
fn pattern(text: &str, is_unpadded: bool) -> Option<(usize, String)> {
    let begins_with = |name: &str| text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    if let Some((name, letters)) = NUMBERS.iter().find(|(name, _)| begins_with(name)) {
        let pattern = match *letters {
            "" => return None,
            "3f" | "6f" if is_unpadded => return None,
            "m" | "d" | "j" | "H" | "I" | "M" | "S" | "y" if is_unpadded => format!("%-{letters}"),
            letters => format!("%{letters}"),
        };
        return Some((name.len(), pattern));
    }
    let (name, pattern) = WORDS.iter().find(|(name, _)| text.starts_with(name))?;
    Some((name.len(), (*pattern).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_formats_are_those_of_strftime() {
        for (format, expected) in [
            ("YYYY-MM", "%Y-%m"),
            ("yyyy-mm-dd hh24:mi:ss.MS", "%Y-%m-%d %H:%M:%S.%3f"),
            ("YYYY-MM-DD\"T\"HH24:MI:SS", "%Y-%m-%dT%H:%M:%S"),
            ("Dy, DD Mon YYYY HH12:MI AM", "%a, %d %b %Y %I:%M %p"),
            ("FMDD. FMMonth", "%-d. %B"),
            ("IYYY-\"W\"IW-ID", "%G-W%V-%u"),
            ("YYYY DDD", "%Y %j"),
        ] {
            assert_eq!(strftime(format).as_deref(), Ok(expected), "{format}");
        }
        assert_eq!(strftime("DD Month YYYY").as_deref(), Ok("%d %B %Y"));
        for (format, rest) in [
            ("YYYY-MM-DDTHH24", "THH24"),
            ("DD MON", "MON"),
            ("YYYY Q", "Q"),
            ("HH24:MI TZ", "TZ"),
            ("HH24:MI:SSOF", "OF"),
            ("SSSS", "SSSS"),
            ("IDDD", "IDDD"),
            ("YYYY \"open", "\"open"),
            ("999.99", "999.99"),
            ("é D", "D"),
            ("FM", "FM"),
        ] {
            assert_eq!(strftime(format), Err(rest), "{format}");
        }
    }
}
