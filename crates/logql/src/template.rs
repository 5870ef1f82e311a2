//! Templates of `line_format` and `label_format`: the part of Go's `text/template` that LogQL queries use.
//!
//! Fields (`{{.name}}`), texts, numbers, functions in any nesting (`{{ .a | upper }}`, `{{ default "-" .b }}`), and
//! `if`, `else if`, `else` and `end`. Everything else is refused when the query is parsed.

use std::borrow::Cow;

use crate::labels::Entry;

/// Deepest nesting of parentheses and of `if`.
const DEPTH_MAX: usize = 16;

/// Most parts of a template.
const PARTS_MAX: usize = 256;

/// Most functions of an action: each is evaluated within the one that it is piped into.
const ACTION_CALLS_MAX: usize = 64;

/// Most functions of a template.
const CALLS_MAX: usize = 256;

/// The longest text that a template makes of one record. Unit: bytes. Longer ones are cut.
const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// A parsed template.
#[derive(Debug, Clone)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Value(Value),
    /// The branches with their conditions, and what follows `else`.
    If(Vec<(Value, Vec<Part>)>, Vec<Part>),
}

#[derive(Debug, Clone)]
enum Value {
    Field(String),
    Text(String),
    Call(Function, Vec<Value>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Line,
    Timestamp,
    Lower,
    Upper,
    Title,
    TrimSpace,
    Trim,
    TrimLeft,
    TrimRight,
    TrimPrefix,
    TrimSuffix,
    Replace,
    Default,
    Contains,
    HasPrefix,
    HasSuffix,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
    Not,
    Len,
    Trunc,
    Substr,
    Repeat,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Round,
    Int,
    Printf,
    Float,
}

impl Template {
    /// Parses a template; the error says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { rest: text, parts: 0, calls: 0 };
        let (parts, end) = parser.parts(0)?;
        match end {
            End::Text => Ok(Self(parts)),
            _ => Err("{{end}} or {{else}} without {{if}}".to_owned()),
        }
    }

    /// The text that it makes of a record; none when it and what its functions return take more than is left, which is
    /// lowered by as much. Unit of `left`: bytes.
    pub(crate) fn render(&self, entry: &Entry<'_>, left: &mut usize) -> Option<String> {
        let mut output = String::new();
        render(&self.0, entry, left, &mut output)?;
        Some(output)
    }

    /// The labels that it reads.
    pub(crate) fn fields(&self) -> Vec<&str> {
        let mut fields = Vec::new();
        each_value(&self.0, &mut |value| {
            if let Value::Field(name) = value {
                fields.push(name.as_str());
            }
        });
        fields
    }

    /// True when it reads the line.
    pub(crate) fn reads_line(&self) -> bool {
        let mut reads = false;
        each_value(&self.0, &mut |value| reads |= matches!(value, Value::Call(Function::Line, _)));
        reads
    }
}

fn each_value<'t>(parts: &'t [Part], look: &mut impl FnMut(&'t Value)) {
    fn within<'t>(value: &'t Value, look: &mut impl FnMut(&'t Value)) {
        look(value);
        if let Value::Call(_, arguments) = value {
            arguments.iter().for_each(|argument| within(argument, look));
        }
    }
    for part in parts {
        match part {
            Part::Text(_) => {}
            Part::Value(value) => within(value, look),
            Part::If(branches, otherwise) => {
                for (condition, parts) in branches {
                    within(condition, look);
                    each_value(parts, look);
                }
                each_value(otherwise, look);
            }
        }
    }
}

/// What ended a list of parts.
enum End {
    Text,
    Closed,
    Else,
    ElseIf(String),
}

struct Parser<'t> {
    rest: &'t str,
    parts: usize,
    calls: usize,
}

impl Parser<'_> {
    fn parts(&mut self, depth: usize) -> Result<(Vec<Part>, End), String> {
        if depth > DEPTH_MAX {
            return Err(format!("{{{{if}}}} is nested more than {DEPTH_MAX} levels deep"));
        }
        let mut parts = Vec::new();
        loop {
            self.parts += 1;
            if self.parts > PARTS_MAX {
                return Err(format!("more than {PARTS_MAX} parts"));
            }
            let Some(start) = self.rest.find("{{") else {
                parts.push(Part::Text(std::mem::take(&mut self.rest).to_owned()));
                return Ok((parts, End::Text));
            };
            let mut text = &self.rest[..start];
            let inside = &self.rest[start + 2..];
            let end = action_end(inside).ok_or("{{ is not closed")?;
            let mut action = &inside[..end];
            self.rest = &inside[end + 2..];
            if let Some(trimmed) = action.strip_prefix("- ") {
                action = trimmed;
                text = text.trim_end();
            }
            if let Some(trimmed) = action.strip_suffix(" -") {
                action = trimmed;
                self.rest = self.rest.trim_start();
            }
            if !text.is_empty() {
                parts.push(Part::Text(text.to_owned()));
            }
            let action = action.trim();
            let (word, condition) = action.split_once(char::is_whitespace).unwrap_or((action, ""));
            match word {
                "end" => return Ok((parts, End::Closed)),
                "else" => {
                    let condition = condition.trim();
                    return match condition.strip_prefix("if ") {
                        Some(condition) => Ok((parts, End::ElseIf(condition.to_owned()))),
                        None if condition.is_empty() => Ok((parts, End::Else)),
                        None => Err(format!("{{{{else {condition}}}}} is not supported")),
                    };
                }
                "if" => parts.push(self.branches(condition, depth)?),
                "range" | "with" | "define" | "template" | "block" | "break" | "continue" => {
                    return Err(format!("{{{{{word}}}}} is not supported"));
                }
                _ if action.starts_with("/*") => {}
                _ => parts.push(Part::Value(self.pipeline(action)?)),
            }
        }
    }

    fn branches(&mut self, condition: &str, depth: usize) -> Result<Part, String> {
        let mut branches = Vec::new();
        let mut condition = condition.to_owned();
        loop {
            let value = self.pipeline(&condition)?;
            let (parts, end) = self.parts(depth + 1)?;
            branches.push((value, parts));
            match end {
                End::Text => return Err("{{if}} has no {{end}}".to_owned()),
                End::Closed => return Ok(Part::If(branches, Vec::new())),
                End::ElseIf(next) => condition = next,
                End::Else => {
                    let (otherwise, end) = self.parts(depth + 1)?;
                    return match end {
                        End::Closed => Ok(Part::If(branches, otherwise)),
                        _ => Err("{{else}} has no {{end}}".to_owned()),
                    };
                }
            }
        }
    }
}

impl Parser<'_> {
    /// `.a | upper | default "-"`
    fn pipeline(&mut self, text: &str) -> Result<Value, String> {
        let tokens = action_tokens(text)?;
        let calls = tokens.iter().filter(|token| matches!(token, Token::Word(_))).count();
        if calls > ACTION_CALLS_MAX {
            return Err(format!("an action has more than {ACTION_CALLS_MAX} functions; use several stages"));
        }
        self.calls += calls;
        if self.calls > CALLS_MAX {
            return Err(format!("a template has more than {CALLS_MAX} functions; use several stages"));
        }
        let mut at = 0;
        let value = pipeline_of(&tokens, &mut at, 0)?;
        match at == tokens.len() {
            true => Ok(value),
            false => Err(format!("unexpected ) in {text:?}")),
        }
    }
}

/// The end of an action: `}}` outside of quotes.
fn action_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut quote) = (0, None);
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(b'"'), b'\\') => at += 1,
            (Some(open), byte) if open == byte => quote = None,
            (None, byte @ (b'"' | b'`')) => quote = Some(byte),
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Field(String),
    Word(String),
    Text(String),
    Pipe,
    Open,
    Close,
}

fn pipeline_of(tokens: &[Token], at: &mut usize, depth: usize) -> Result<Value, String> {
    if depth > DEPTH_MAX {
        return Err(format!("parentheses are nested more than {DEPTH_MAX} levels deep"));
    }
    let mut value = command(tokens, at, depth, None)?;
    while tokens.get(*at) == Some(&Token::Pipe) {
        *at += 1;
        value = command(tokens, at, depth, Some(value))?;
    }
    Ok(value)
}

/// A function and its arguments, or one value; what is piped in is the last argument.
fn command(tokens: &[Token], at: &mut usize, depth: usize, piped: Option<Value>) -> Result<Value, String> {
    let mut values = Vec::new();
    let mut function = None;
    while let Some(token) = tokens.get(*at) {
        match token {
            Token::Pipe | Token::Close => break,
            Token::Open => {
                *at += 1;
                values.push(pipeline_of(tokens, at, depth + 1)?);
                if tokens.get(*at) != Some(&Token::Close) {
                    return Err("( is not closed".to_owned());
                }
            }
            Token::Field(name) => values.push(Value::Field(name.clone())),
            Token::Text(text) => values.push(Value::Text(text.clone())),
            Token::Word(word) if function.is_none() && values.is_empty() => {
                function = Some(function_named(word).ok_or_else(|| format!("function {word} is not supported"))?);
            }
            Token::Word(word) => match function_named(word) {
                Some(nullary @ (Function::Line | Function::Timestamp)) => values.push(Value::Call(nullary, Vec::new())),
                _ => return Err(format!("unexpected {word}")),
            },
        }
        *at += 1;
    }
    values.extend(piped);
    match function {
        Some(function) => {
            let (least, most) = function.arguments();
            match (least..=most).contains(&values.len()) {
                true => Ok(Value::Call(function, values)),
                false => Err(format!("{function:?} takes {least} to {most} arguments, and has {}", values.len())),
            }
        }
        None if values.len() == 1 => Ok(values.swap_remove(0)),
        None => Err("an action needs one value, or a function with its arguments".to_owned()),
    }
}

fn action_tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '|' => {
                tokens.push(Token::Pipe);
                1
            }
            '(' => {
                tokens.push(Token::Open);
                1
            }
            ')' => {
                tokens.push(Token::Close);
                1
            }
            '`' => {
                let end = rest[1..].find('`').ok_or("a string is not closed")?;
                tokens.push(Token::Text(rest[1..=end].to_owned()));
                end + 2
            }
            '"' => {
                let (text, length) = quoted(rest)?;
                tokens.push(Token::Text(text));
                length
            }
            '.' => {
                let name = &rest[1..];
                let end = name.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(name.len());
                tokens.push(Token::Field(name[..end].to_owned()));
                end + 1
            }
            '-' | '0'..='9' => {
                let end = rest[1..].find(|c: char| c != '.' && !c.is_ascii_digit()).map_or(rest.len(), |end| end + 1);
                let number = &rest[..end];
                number.parse::<f64>().map_err(|_| format!("{number:?} is not a number"))?;
                tokens.push(Token::Text(number.to_owned()));
                end
            }
            '_' | 'a'..='z' | 'A'..='Z' => {
                let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
                tokens.push(match &rest[..end] {
                    word @ ("true" | "false") => Token::Text(word.to_owned()),
                    word => Token::Word(word.to_owned()),
                });
                end
            }
            other => return Err(format!("unexpected {other:?}")),
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

fn quoted(rest: &str) -> Result<(String, usize), String> {
    let mut text = String::new();
    let mut characters = rest[1..].char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((text, at + 2)),
            '\\' => match characters.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, other @ ('"' | '\\'))) => text.push(other),
                _ => return Err("an escape of a string is unknown".to_owned()),
            },
            _ => text.push(character),
        }
    }
    Err("a string is not closed".to_owned())
}

fn function_named(word: &str) -> Option<Function> {
    Some(match word {
        "__line__" => Function::Line,
        "__timestamp__" => Function::Timestamp,
        "lower" | "ToLower" => Function::Lower,
        "upper" | "ToUpper" => Function::Upper,
        "title" => Function::Title,
        "TrimSpace" => Function::TrimSpace,
        "trim" | "Trim" => Function::Trim,
        "TrimLeft" => Function::TrimLeft,
        "TrimRight" => Function::TrimRight,
        "trimPrefix" | "TrimPrefix" => Function::TrimPrefix,
        "trimSuffix" | "TrimSuffix" => Function::TrimSuffix,
        "replace" | "Replace" => Function::Replace,
        "default" => Function::Default,
        "contains" => Function::Contains,
        "hasPrefix" => Function::HasPrefix,
        "hasSuffix" => Function::HasSuffix,
        "eq" => Function::Eq,
        "ne" => Function::Ne,
        "lt" => Function::Lt,
        "le" => Function::Le,
        "gt" => Function::Gt,
        "ge" => Function::Ge,
        "and" => Function::And,
        "or" => Function::Or,
        "not" => Function::Not,
        "len" => Function::Len,
        "trunc" => Function::Trunc,
        "substr" => Function::Substr,
        "repeat" => Function::Repeat,
        "add" | "addf" => Function::Add,
        "sub" | "subf" => Function::Sub,
        "mul" | "mulf" => Function::Mul,
        "div" | "divf" => Function::Div,
        "mod" => Function::Mod,
        "round" => Function::Round,
        "int" => Function::Int,
        "float64" => Function::Float,
        "printf" => Function::Printf,
        _ => return None,
    })
}

impl Function {
    /// The least and the greatest number of arguments.
    fn arguments(self) -> (usize, usize) {
        match self {
            Self::Line | Self::Timestamp => (0, 0),
            Self::Lower
            | Self::Upper
            | Self::Title
            | Self::TrimSpace
            | Self::Not
            | Self::Len
            | Self::Int
            | Self::Float => (1, 1),
            Self::Trim => (1, 2),
            Self::TrimLeft
            | Self::TrimRight
            | Self::TrimPrefix
            | Self::TrimSuffix
            | Self::Default
            | Self::Contains
            | Self::HasPrefix
            | Self::HasSuffix
            | Self::Ne
            | Self::Lt
            | Self::Le
            | Self::Gt
            | Self::Ge
            | Self::Trunc
            | Self::Repeat
            | Self::Div
            | Self::Mod
            | Self::Sub
            | Self::Round => (2, 2),
            Self::Substr => (3, 3),
            Self::Replace => (3, 4),
            Self::Eq | Self::And | Self::Or | Self::Add | Self::Mul => (2, 16),
            Self::Printf => (1, 16),
        }
    }

    fn call(self, values: &[Cow<'_, str>], entry: &Entry<'_>) -> String {
        let text = |index: usize| values.get(index).map_or("", |value| &**value);
        let number = |index: usize| text(index).trim().parse::<f64>().unwrap_or(0.0);
        let size = |index: usize| az::saturating_cast::<f64, usize>(number(index).max(0.0));
        let is_set = |index: usize| is_true(text(index));
        let compared = || match (text(0).parse::<f64>(), text(1).parse::<f64>()) {
            (Ok(left), Ok(right)) => left.partial_cmp(&right),
            _ => Some(text(0).cmp(text(1))),
        };
        let all = |start: f64, fold: fn(f64, f64) -> f64| shown((0..values.len()).map(number).fold(start, fold));
        let cutset = |cut: &'_ str| cut.chars().collect::<Vec<char>>();
        match self {
            Self::Line => entry.line.to_string(),
            Self::Timestamp => entry.time_ns.to_string(),
            Self::Lower => text(0).to_lowercase(),
            Self::Upper => text(0).to_uppercase(),
            Self::Title => title(text(0)),
            Self::TrimSpace => text(0).trim().to_owned(),
            Self::Trim if values.len() == 1 => text(0).trim().to_owned(),
            // Loki takes the text first, and so do its examples.
            Self::Trim => text(0).trim_matches(cutset(text(1)).as_slice()).to_owned(),
            Self::TrimLeft => text(0).trim_start_matches(cutset(text(1)).as_slice()).to_owned(),
            Self::TrimRight => text(0).trim_end_matches(cutset(text(1)).as_slice()).to_owned(),
            Self::TrimPrefix => text(1).strip_prefix(text(0)).unwrap_or(text(1)).to_owned(),
            Self::TrimSuffix => text(1).strip_suffix(text(0)).unwrap_or(text(1)).to_owned(),
            // `replace old new text`, or `Replace text old new -1`.
            Self::Replace if values.len() == 3 => replaced(text(2), text(0), text(1), -1.0),
            Self::Replace => replaced(text(0), text(1), text(2), number(3)),
            Self::Default => if text(1).is_empty() { text(0) } else { text(1) }.to_owned(),
            Self::Contains => text(1).contains(text(0)).to_string(),
            Self::HasPrefix => text(1).starts_with(text(0)).to_string(),
            Self::HasSuffix => text(1).ends_with(text(0)).to_string(),
            Self::Eq => (1..values.len()).any(|index| text(0) == text(index)).to_string(),
            Self::Ne => (text(0) != text(1)).to_string(),
            Self::Lt => compared().is_some_and(std::cmp::Ordering::is_lt).to_string(),
            Self::Le => compared().is_some_and(std::cmp::Ordering::is_le).to_string(),
            Self::Gt => compared().is_some_and(std::cmp::Ordering::is_gt).to_string(),
            Self::Ge => compared().is_some_and(std::cmp::Ordering::is_ge).to_string(),
            Self::And => text((0..values.len()).find(|index| !is_set(*index)).unwrap_or(values.len() - 1)).to_owned(),
            Self::Or => text((0..values.len()).find(|index| is_set(*index)).unwrap_or(values.len() - 1)).to_owned(),
            Self::Not => (!is_set(0)).to_string(),
            Self::Len => text(0).len().to_string(),
            Self::Trunc if number(0) < 0.0 => {
                let count = text(1).chars().count();
                let left = az::saturating_cast::<f64, usize>(-number(0));
                text(1).chars().skip(count.saturating_sub(left)).collect()
            }
            Self::Trunc => text(1).chars().take(size(0)).collect(),
            Self::Substr => text(2).chars().skip(size(0)).take(size(1).saturating_sub(size(0))).collect(),
            Self::Repeat => {
                let most = OUTPUT_BYTES_MAX / text(1).len().max(1);
                text(1).repeat(size(0).min(most))
            }
            Self::Add => all(0.0, |sum, value| sum + value),
            Self::Mul => all(1.0, |product, value| product * value),
            Self::Sub => shown(number(0) - number(1)),
            Self::Div => shown(number(0) / number(1)),
            Self::Mod => shown(number(0) % number(1)),
            Self::Round => {
                let scale = 10_f64.powf(number(1).clamp(0.0, 12.0).trunc());
                shown((number(0) * scale).round() / scale)
            }
            Self::Int => shown(number(0).trunc()),
            Self::Float => shown(number(0)),
            Self::Printf => printf(values),
        }
    }
}

fn render(parts: &[Part], entry: &Entry<'_>, left: &mut usize, output: &mut String) -> Option<()> {
    for part in parts {
        match part {
            Part::Text(text) => append(text, left, output)?,
            Part::Value(value) => append(&value_of(value, entry, left)?, left, output)?,
            Part::If(branches, otherwise) => {
                let mut taken = otherwise;
                for (condition, parts) in branches {
                    if is_true(&value_of(condition, entry, left)?) {
                        taken = parts;
                        break;
                    }
                }
                render(taken, entry, left, output)?;
            }
        }
    }
    Some(())
}

fn append(text: &str, left: &mut usize, output: &mut String) -> Option<()> {
    let text = &text[..text.floor_char_boundary(OUTPUT_BYTES_MAX.saturating_sub(output.len()))];
    *left = left.checked_sub(text.len())?;
    output.push_str(text);
    Some(())
}

fn value_of<'v>(value: &'v Value, entry: &'v Entry<'_>, left: &mut usize) -> Option<Cow<'v, str>> {
    let given = match value {
        Value::Field(name) => entry.labels.get(name),
        Value::Text(text) => text.as_str(),
        Value::Call(Function::Line, _) => &*entry.line,
        Value::Call(function, arguments) => {
            let mut values = Vec::with_capacity(arguments.len());
            for argument in arguments {
                values.push(value_of(argument, entry, left)?);
            }
            let mut made = function.call(&values, entry);
            made.truncate(made.floor_char_boundary(OUTPUT_BYTES_MAX));
            *left = left.checked_sub(made.len())?;
            return Some(Cow::Owned(made));
        }
    };
    Some(Cow::Borrowed(&given[..given.floor_char_boundary(OUTPUT_BYTES_MAX)]))
}

fn is_true(text: &str) -> bool {
    !matches!(text, "" | "false" | "0")
}

/// As Go prints a number: whole ones without a fraction.
fn shown(number: f64) -> String {
    number.to_string()
}

fn title(text: &str) -> String {
    let mut is_start = true;
    let mut titled = String::new();
    for character in text.chars() {
        match is_start {
            true => titled.extend(character.to_uppercase()),
            false => titled.push(character),
        }
        is_start = !character.is_alphanumeric();
    }
    titled
}

/// An empty text would be found between all characters: nothing is replaced.
fn replaced(text: &str, old: &str, new: &str, count: f64) -> String {
    if old.is_empty() {
        return text.to_owned();
    }
    let most = OUTPUT_BYTES_MAX / new.len().max(1);
    let count = if count < 0.0 { most } else { most.min(az::saturating_cast::<f64, usize>(count)) };
    text.replacen(old, new, count)
}

/// `%s`, `%v`, `%d`, `%q`, `%f` with width and precision; other letters are printed as they are.
fn printf(values: &[Cow<'_, str>]) -> String {
    let mut output = String::new();
    let mut arguments = values.iter().skip(1);
    let mut rest: &str = values.first().map_or("", |value| &**value);
    while let Some(at) = rest.find('%') {
        output.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let end = rest.find(|c: char| c.is_ascii_alphabetic() || c == '%').unwrap_or(rest.len());
        let (flags, after) = rest.split_at(end);
        let Some(verb) = after.chars().next() else {
            output.push('%');
            break;
        };
        rest = &after[verb.len_utf8()..];
        if verb == '%' {
            output.push('%');
            continue;
        }
        let value: &str = arguments.next().map_or("", |value| &**value);
        let (width, precision) = flags.split_once('.').unwrap_or((flags, ""));
        let precision: Option<usize> = precision.parse().ok();
        let shown = match verb {
            'q' => format!("{value:?}"),
            'd' => shown(value.parse::<f64>().unwrap_or(0.0).trunc()),
            'f' => format!("{:.*}", precision.unwrap_or(6).min(32), value.parse::<f64>().unwrap_or(0.0)),
            's' | 'v' => precision.map_or_else(|| value.to_owned(), |most| value.chars().take(most).collect()),
            other => format!("%{flags}{other}"),
        };
        let is_left = width.starts_with('-');
        let fill = if width.starts_with('0') && !is_left { '0' } else { ' ' };
        let width: usize = width.trim_start_matches(['-', '+', '0', ' ', '#']).parse().unwrap_or(0).min(1_024);
        let missing = width.saturating_sub(shown.chars().count());
        let padding: String = std::iter::repeat_n(fill, missing).collect();
        match is_left {
            true => output.extend([shown, padding]),
            false => output.extend([padding, shown]),
        }
    }
    output + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::{Category, LabelSet};

    fn rendered(template: &str) -> String {
        let mut labels = LabelSet::default();
        labels.push("name", "Ada", Category::Stream);
        labels.push("size", "12.5", Category::Parsed);
        let entry = Entry { line: "the line".into(), time_ns: 7, order: 0, labels };
        Template::parse(template).unwrap().render(&entry, &mut (1 << 20)).unwrap()
    }

    #[test]
    fn a_template_makes_no_more_than_is_left() {
        let mut labels = LabelSet::default();
        labels.push("a", "x".repeat(100), Category::Stream);
        let entry = Entry { line: "".into(), time_ns: 0, order: 0, labels };
        for (template, bytes) in
            [("{{.a}}{{.a}}", 200), ("{{ len (upper .a) }}", 106), ("{{ if .a }}{{.a}}{{ end }}", 100)]
        {
            let template = Template::parse(template).unwrap();
            let (mut enough, mut little) = (bytes, bytes - 1);
            assert!(template.render(&entry, &mut enough).is_some());
            assert_eq!(enough, 0);
            assert_eq!(template.render(&entry, &mut little), None);
        }
    }

    #[test]
    fn fields_functions_and_conditions_are_rendered() {
        assert_eq!(rendered("{{.name}}: {{ .name | upper | printf \"%-5s|\" }}{{.none}}"), "Ada: ADA  |");
        assert_eq!(rendered("{{ __line__ }} {{ __timestamp__ }}"), "the line 7");
        assert_eq!(rendered("{{ default \"-\" .none }}{{ .name | replace \"A\" \"I\" }}"), "-Ida");
        let condition = "{{ if eq .name `Bob` }}b{{ else if (gt .size 10) }}big{{ else }}small{{ end }}!";
        assert_eq!(rendered(condition), "big!");
        assert_eq!(rendered("a {{- .name -}} b"), "aAdab");
        assert_eq!(rendered("{{ add .size 1 }} {{ round 1.256 2 }} {{ printf \"%05.1f\" .size }}"), "13.5 1.26 012.5");
        assert_eq!(rendered("{{ trunc 2 .name }}{{ trunc -1 .name }}{{ substr 1 2 .name }}"), "Adad");
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        for wrong in [
            "{{",
            "{{ range .a }}{{ end }}",
            "{{ nope .a }}",
            "{{ if .a }}",
            "{{ end }}",
            "{{ (.a }}",
            "{{ .a )}}",
            "{{}}",
            "{{ upper }}",
        ] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Template::parse(&"{{ if .a }}".repeat(100)).is_err());
        assert!(Template::parse(&format!("{{{{ {}.a", "(".repeat(100_000))).is_err());
        // As deep as it is long: each function is within the next one.
        assert!(Template::parse(&format!("{{{{ .a{} }}}}", " | int".repeat(30_000))).is_err());
        assert!(Template::parse(&format!("{{{{ if .a{} }}}}{{{{ end }}}}", " | int".repeat(65))).is_err());
        assert!(Template::parse(&format!("{{{{ .a{} }}}}", " | int".repeat(64))).is_ok());
        assert!(Template::parse(&format!("{{{{ .a{} }}}}", " | int".repeat(60)).repeat(5)).is_err());
    }
}
