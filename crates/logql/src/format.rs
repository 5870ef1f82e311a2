//! Formats queries: spaces between parts, and a separate line for each part of a long query.

use crate::error::ParseError;
use crate::lexer::{Spanned, Token, tokens};
use crate::parser::parse;

/// Maximum length of a line that is not split. Unit: characters.
const LINE_CHARS_MAX: usize = 100;

/// Maximum length of a part in parentheses that is not split within a split line. Unit: characters.
const SHORT_CHARS_MAX: usize = 40;

/// Returns the formatted query, without its comments; an error if it cannot be parsed.
pub fn format_query(query: &str) -> Result<String, ParseError> {
    parse(query)?;
    let tokens = tokens(query)?;
    Ok(Writer { words: &words(query, &tokens), output: String::new(), indent: 0 }.written())
}

/// A token as text.
#[derive(Debug, Clone, Copy)]
struct Word<'q> {
    text: &'q str,
    is_symbol: bool,
    is_name: bool,
    /// Whether it is between the braces of a selector, or its closing brace.
    in_selector: bool,
}

fn words<'q>(query: &'q str, tokens: &[Spanned]) -> Vec<Word<'q>> {
    let mut in_selector = false;
    let word = |spanned: &Spanned| {
        let word = Word {
            text: &query[spanned.offset..spanned.offset + spanned.length],
            is_symbol: matches!(spanned.token, Token::Symbol(_)),
            is_name: matches!(spanned.token, Token::Identifier(_)),
            in_selector,
        };
        in_selector = (in_selector || word.is("{")) && !word.is("}");
        word
    };
    tokens.iter().filter(|spanned| spanned.token != Token::End).map(word).collect()
}

impl Word<'_> {
    fn is(&self, symbol: &str) -> bool {
        self.is_symbol && self.text == symbol
    }

    /// Whether a stage of a pipeline begins with it.
    fn begins_stage(&self) -> bool {
        self.is_symbol && matches!(self.text, "|" | "|=" | "|~" | "|>" | "!~" | "!>")
    }
}

struct Writer<'w> {
    words: &'w [Word<'w>],
    output: String,
    indent: usize,
}

impl Writer<'_> {
    fn written(mut self) -> String {
        self.range(0, self.words.len());
        self.output
    }

    /// Writes some words: in one line if they fit into it.
    fn range(&mut self, start: usize, end: usize) {
        let flat = self.flat(start, end);
        if self.indent + flat.chars().count() <= LINE_CHARS_MAX {
            self.output.push_str(&flat);
            return;
        }
        let mut at = start;
        while at < end {
            let word = self.words[at];
            let close = if word.is("(") { self.closing(at, end) } else { None };
            if let Some(close) = close.filter(|close| close - at > 2) {
                self.output.push_str(self.space(at, start));
                self.output.push('(');
                self.nested(at + 1, close);
                self.output.push(')');
                at = close + 1;
                continue;
            }
            if !word.in_selector && at > start && word.begins_stage() {
                self.new_line(self.indent + 2);
            } else {
                self.output.push_str(self.space(at, start));
            }
            self.output.push_str(word.text);
            at += 1;
        }
    }

    /// What is in parentheses, in lines of its own if it is long.
    fn nested(&mut self, start: usize, end: usize) {
        let flat = self.flat(start, end);
        if flat.chars().count() <= SHORT_CHARS_MAX {
            self.output.push_str(&flat);
            return;
        }
        self.indent += 2;
        self.new_line(self.indent);
        self.range(start, end);
        self.indent -= 2;
        self.new_line(self.indent);
    }

    fn new_line(&mut self, indent: usize) {
        self.output.push('\n');
        self.output.extend(std::iter::repeat_n(' ', indent));
    }

    fn flat(&self, start: usize, end: usize) -> String {
        (start..end).flat_map(|at| [self.space(at, start), self.words[at].text]).collect()
    }

    /// Returns the word that closes the parentheses opened by a word.
    fn closing(&self, open: usize, end: usize) -> Option<usize> {
        let mut depth = 0;
        (open..end).find(|at| {
            depth += i32::from(self.words[*at].is("(")) - i32::from(self.words[*at].is(")"));
            depth == 0
        })
    }

    /// Returns the separator before a word: a space or nothing.
    fn space(&self, at: usize, start: usize) -> &'static str {
        let Some(before) = at.checked_sub(1).filter(|_| at > start).map(|before| self.words[before]) else { return "" };
        let word = self.words[at];
        let is_sign = matches!(before.text, "-" | "+") && before.is_symbol && self.is_sign(at - 1);
        let is_tight = before.is("(")
            || before.is("{")
            || before.is("[")
            || word.is(")")
            || word.is("}")
            || word.is("]")
            || word.is(",")
            || is_sign
            || (word.in_selector && (word.is_symbol || before.is_symbol) && !before.is(","))
            // A call: a name of a function, but not a word between two parts.
            || (word.is("(") && before.is_name && !is_between(before.text))
            || self.is_assigned(at)
            || (word.is("[") && before.is("}"));
        if is_tight { "" } else { " " }
    }

    /// Whether a plus or minus belongs to the number after it.
    fn is_sign(&self, at: usize) -> bool {
        match at.checked_sub(1).map(|before| self.words[before]) {
            None => true,
            Some(before) if before.is_name => is_between(before.text) || before.text == "offset",
            Some(before) => before.is_symbol && !before.is(")") && !before.is("]") && !before.is("}"),
        }
    }

    /// Whether a word is one of `name=value` in the arguments of a stage.
    fn is_assigned(&self, at: usize) -> bool {
        (self.words[at].is("=") || self.words[at - 1].is("=")) && !self.words[at].in_selector
    }
}

/// Words between two parts that are not names of functions.
fn is_between(word: &str) -> bool {
    matches!(
        word,
        "by" | "without" | "on" | "ignoring" | "group_left" | "group_right" | "bool" | "and" | "or" | "unless"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: &str) {
        let formatted = format_query(query).unwrap();
        assert_eq!(formatted, expected);
        assert_eq!(
            format!("{:?}", parse(&formatted).unwrap()),
            format!("{:?}", parse(query).unwrap()),
            "the same query"
        );
        assert_eq!(format_query(&formatted).unwrap(), formatted, "nothing changes any more");
    }

    #[test]
    fn queries_are_written_in_a_uniform_way() {
        check(r#"{ a = "b" ,c=~"d" }|="x"|json|e>5"#, r#"{a="b", c=~"d"} |= "x" | json | e > 5"#);
        check(
            "sum   by(a,b)(rate({a=\"b\"}|=`x` or `y`# comment\n[5m]offset -1h))/2",
            "sum by (a, b) (rate({a=\"b\"} |= `x` or `y` [5m] offset -1h)) / 2",
        );
        check(r#"count_over_time({a="b"}[1m])>bool -1"#, r#"count_over_time({a="b"}[1m]) > bool -1"#);
        check(
            r#"topk(3,sum(rate({a="b"}[5m]))by(x))on(y)group_left(z)vector(1)"#.replace(")on(", ")*on(").as_str(),
            r#"topk(3, sum(rate({a="b"}[5m])) by (x)) * on (y) group_left (z) vector(1)"#,
        );
        check(
            r#"{a="b"}|logfmt|label_format x=y,z="{{.w}}"|drop u="v"|unwrap_ip=ip("10.0.0.0/8")"#,
            r#"{a="b"} | logfmt | label_format x=y, z="{{.w}}" | drop u="v" | unwrap_ip=ip("10.0.0.0/8")"#,
        );
    }

    #[test]
    fn long_queries_take_several_lines() {
        check(
            r#"sum by (component) (count_over_time({workspace="sales", task="nightly-orders"} |= "timeout" | logfmt | took > 30s [5m])) / 60"#,
            "sum by (component) (\n  count_over_time(\n    {workspace=\"sales\", task=\"nightly-orders\"} |= \"timeout\" | logfmt | took > 30s [5m]\n  )\n) / 60",
        );
        check(
            r#"{workspace="sales", task="nightly-orders"} |= "a rather long text that is looked for" | logfmt | took > 30s"#,
            "{workspace=\"sales\", task=\"nightly-orders\"}\n  |= \"a rather long text that is looked for\"\n  | logfmt\n  | took > 30s",
        );
    }
}
