//! Splits a query into tokens.

use crate::error::ParseError;

/// A token and the byte at which it begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spanned {
    pub(crate) token: Token,
    pub(crate) offset: usize,
    /// How many bytes it takes.
    pub(crate) length: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Identifier(String),
    /// A text in quotes, without them.
    Text(String),
    /// A number, with its unit if it has one.
    Number(String),
    /// `{`, `|=`, `==` and the like.
    Symbol(&'static str),
    /// `--strict`.
    Flag(String),
    End,
}

impl Token {
    /// As an error shows it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Identifier(name) => format!("identifier {name}"),
            Self::Text(_) => "string".to_owned(),
            Self::Number(number) => format!("number {number}"),
            Self::Symbol(symbol) => format!("{symbol:?}"),
            Self::Flag(flag) => format!("flag {flag}"),
            Self::End => "end of query".to_owned(),
        }
    }
}

/// Longer ones first.
const SYMBOLS: [&str; 31] = [
    "|=", "|~", "|>", "!=", "!~", "!>", "=~", "==", ">=", "<=", "|", "=", ">", "<", "{", "}", "(", ")", "[", "]", ",",
    "+", "-", "*", "/", "%", "^", ".", ":", "@", "$",
];

pub(crate) fn tokens(query: &str) -> Result<Vec<Spanned>, ParseError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = query[at..].chars().next() {
        let rest = &query[at..];
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        if first == '#' {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        let offset = at;
        let (token, length) = match first {
            '"' => quoted(query, at)?,
            '`' => match rest[1..].find('`') {
                Some(end) => (Token::Text(rest[1..=end].to_owned()), end + 2),
                None => return Err(ParseError::at(query, at, "a string in backticks is not closed")),
            },
            '0'..='9' => number(rest),
            '.' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => number(rest),
            '_' | 'a'..='z' | 'A'..='Z' => {
                let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
                (Token::Identifier(rest[..end].to_owned()), end)
            }
            '-' if rest[1..].starts_with('-') && rest[2..].starts_with(|c: char| c.is_ascii_alphabetic()) => {
                let end =
                    rest[2..].find(|c: char| c != '-' && !c.is_ascii_alphanumeric()).map_or(rest.len(), |e| e + 2);
                (Token::Flag(rest[..end].to_owned()), end)
            }
            _ => match SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol)) {
                Some(symbol) => (Token::Symbol(symbol), symbol.len()),
                None => return Err(ParseError::at(query, at, format!("syntax error: unexpected character {first:?}"))),
            },
        };
        tokens.push(Spanned { token, offset, length });
        at += length;
    }
    tokens.push(Spanned { token: Token::End, offset: query.len(), length: 0 });
    Ok(tokens)
}

/// Digits, a fraction, an exponent, and the letters of units: `1e3`, `5m`, `1h30m`, `10MiB`.
fn number(rest: &str) -> (Token, usize) {
    let bytes = rest.as_bytes();
    let mut end = 0;
    while let Some(byte) = bytes.get(end) {
        let is_sign = matches!(byte, b'+' | b'-')
            && matches!(bytes[end - 1], b'e' | b'E')
            && bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
        if !(byte.is_ascii_alphanumeric() || *byte == b'.' || is_sign) {
            break;
        }
        end += 1;
    }
    // `µs`: the only unit that is not ASCII.
    for micro in ["µs", "μs"] {
        if rest[end..].starts_with(micro) {
            end += micro.len();
        }
    }
    (Token::Number(rest[..end].to_owned()), end)
}

/// A text in double quotes, with the escapes of Go.
fn quoted(query: &str, start: usize) -> Result<(Token, usize), ParseError> {
    let mut text = String::new();
    let mut characters = query[start + 1..].char_indices();
    let wrong = |at: usize, message: &str| Err(ParseError::at(query, start + 1 + at, message));
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((Token::Text(text), at + 2)),
            '\n' => return wrong(at, "a string is not closed at the end of its line"),
            '\\' => {
                let Some((_, escape)) = characters.next() else { break };
                let digits = match escape {
                    'n' => {
                        text.push('\n');
                        0
                    }
                    't' => {
                        text.push('\t');
                        0
                    }
                    'r' => {
                        text.push('\r');
                        0
                    }
                    'a' => {
                        text.push('\u{7}');
                        0
                    }
                    'b' => {
                        text.push('\u{8}');
                        0
                    }
                    'f' => {
                        text.push('\u{c}');
                        0
                    }
                    'v' => {
                        text.push('\u{b}');
                        0
                    }
                    '\\' | '"' | '\'' => {
                        text.push(escape);
                        0
                    }
                    'x' => 2,
                    'u' => 4,
                    'U' => 8,
                    _ => return wrong(at, "an escape of a string is unknown; write \\\\ for a backslash"),
                };
                if digits > 0 {
                    let hex: String = characters.by_ref().take(digits).map(|(_, digit)| digit).collect();
                    let code = if hex.len() == digits { u32::from_str_radix(&hex, 16).ok() } else { None };
                    match code.and_then(char::from_u32) {
                        Some(character) => text.push(character),
                        None => return wrong(at, "an escape of a string names no character"),
                    }
                }
            }
            _ => text.push(character),
        }
    }
    Err(ParseError::at(query, start, "a string is not closed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(query: &str) -> Vec<String> {
        tokens(query).unwrap().into_iter().map(|spanned| format!("{:?}", spanned.token)).collect()
    }

    #[test]
    fn texts_numbers_and_symbols_are_distinguished() {
        let expected = [
            r#"Symbol("{")"#,
            r#"Identifier("a")"#,
            r#"Symbol("=~")"#,
            r#"Text("b\"\\d")"#,
            r#"Symbol("}")"#,
            r#"Symbol("|=")"#,
            r#"Text("c\\")"#,
            r#"Symbol("[")"#,
            r#"Number("1h30m")"#,
            r#"Symbol("]")"#,
            "End",
        ];
        assert_eq!(texts("{a=~\"b\\\"\\\\d\"} # comment\n|=`c\\`[1h30m]"), expected);
        assert_eq!(texts("1e-3 5")[..2], [r#"Number("1e-3")"#, r#"Number("5")"#]);
        assert_eq!(texts("--strict-mode")[0], r#"Flag("--strict-mode")"#);
        assert_eq!(texts(r#""A\x42é""#)[0], r#"Text("ABé")"#);
    }

    #[test]
    fn errors_name_their_place() {
        let error = tokens("{a=\n \"b}").unwrap_err();
        assert_eq!((error.line, error.column), (2, 2));
        assert!(tokens("{a=`b}").is_err());
        assert!(tokens(r#""\q""#).is_err());
        assert!(tokens("ä").is_err());
    }
}
