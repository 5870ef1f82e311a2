//! Parses templates.

use std::fmt::Display;

use regex::Regex;

use crate::template::functions::Function;
use crate::template::value::Kind;

/// Deepest nesting of parentheses, and of blocks such as `if`.
const DEPTH_MAX: usize = 16;

/// Most parts of a template.
const PARTS_MAX: usize = 256;

/// Most functions of an action: each is evaluated within the one that it is piped into.
const ACTION_CALLS_MAX: usize = 64;

/// Most functions of a template.
const CALLS_MAX: usize = 256;

/// Most variables of a template.
const VARIABLES_MAX: usize = 64;

/// A piece of a template.
#[derive(Debug, Clone)]
pub(super) enum Part {
    Text(String),
    Action(Pipeline),
    If { condition: Pipeline, then: Vec<Part>, otherwise: Vec<Part> },
    With { value: Pipeline, then: Vec<Part>, otherwise: Vec<Part> },
    Range { list: Pipeline, body: Vec<Part>, otherwise: Vec<Part> },
    Break,
    Continue,
}

/// An expression, and the variables that take its value; of `range`, position and element.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    pub(super) variables: Vec<usize>,
    pub(super) value: Expr,
}

#[derive(Debug, Clone)]
pub(super) enum Expr {
    /// `.`
    Dot,
    Nil,
    Bool(bool),
    Whole(i64),
    Fraction(f64),
    Text(String),
    /// A variable, by its number; the first is `$`.
    Variable(usize),
    /// Members of a value, one within the other: `.a.b`.
    Member(Box<Expr>, Vec<String>),
    Call {
        function: &'static Function,
        args: Vec<Expr>,
        regex: Option<Regex>,
    },
}

/// Compiles a regular expression, or says why it cannot be.
pub(super) type Compile<'c> = &'c dyn Fn(&str) -> Result<Regex, String>;

/// The parts of a template, and the number of its variables.
pub(super) fn parse(text: &str, compile: Compile<'_>) -> Result<(Vec<Part>, usize), String> {
    let variables = vec!["$".to_owned()];
    let mut parser = Parser { rest: text, compile, parts: 0, calls: 0, loops: 0, variables, variables_max: 1 };
    let (parts, end) = parser.parts(0)?;
    match end {
        End::Text => Ok((parts, parser.variables_max)),
        End::Closed => Err("unexpected {{end}}".to_owned()),
        End::Else(_) => Err("unexpected {{else}}".to_owned()),
    }
}

/// The end of a list of parts.
enum End {
    Text,
    Closed,
    /// What follows `else`.
    Else(String),
}

struct Parser<'t, 'c> {
    rest: &'t str,
    compile: Compile<'c>,
    parts: usize,
    calls: usize,
    /// Number of enclosing loops.
    loops: usize,
    /// The declared variables, by number.
    variables: Vec<String>,
    variables_max: usize,
}

impl Parser<'_, '_> {
    fn parts(&mut self, depth: usize) -> Result<(Vec<Part>, End), String> {
        if depth > DEPTH_MAX {
            return Err(format!("blocks are nested more than {DEPTH_MAX} levels deep"));
        }
        let mut parts = Vec::new();
        loop {
            self.count_part()?;
            let Some(action) = self.next_action(&mut parts)? else { return Ok((parts, End::Text)) };
            let (word, after) = split_word(&action);
            match word {
                "end" if after.is_empty() => return Ok((parts, End::Closed)),
                "else" => return Ok((parts, End::Else(after.to_owned()))),
                "if" | "with" | "range" => parts.push(self.block(word, after, depth)?),
                "break" | "continue" if self.loops == 0 => {
                    return Err(format!("{{{{{word}}}}} outside of {{{{range}}}}"));
                }
                "break" => parts.push(Part::Break),
                "continue" => parts.push(Part::Continue),
                "define" | "template" | "block" => return Err(format!("{{{{{word}}}}} is not supported")),
                _ => parts.push(Part::Action(self.pipeline(&action, 1)?)),
            }
        }
    }

    fn count_part(&mut self) -> Result<(), String> {
        self.parts += 1;
        match self.parts > PARTS_MAX {
            true => Err(format!("more than {PARTS_MAX} parts")),
            false => Ok(()),
        }
    }

    /// Adds the text up to the next action, and returns what is in its braces; none at the end of the template.
    fn next_action(&mut self, parts: &mut Vec<Part>) -> Result<Option<String>, String> {
        loop {
            let Some(start) = self.rest.find("{{") else {
                parts.push(Part::Text(std::mem::take(&mut self.rest).to_owned()));
                return Ok(None);
            };
            let mut text = &self.rest[..start];
            let mut inside = &self.rest[start + 2..];
            if let Some(trimmed) = inside.strip_prefix('-').filter(|rest| rest.starts_with(char::is_whitespace)) {
                inside = trimmed;
                text = text.trim_end();
            }
            if !text.is_empty() {
                parts.push(Part::Text(text.to_owned()));
            }
            let is_comment = inside.trim_start().starts_with("/*");
            let end = if is_comment { comment_end(inside) } else { action_end(inside) };
            let end = end.ok_or("{{ is not closed")?;
            let mut action = &inside[..end];
            self.rest = &inside[end + 2..];
            if let Some(trimmed) = action.strip_suffix('-').filter(|rest| rest.ends_with(char::is_whitespace)) {
                action = trimmed;
                self.rest = self.rest.trim_start();
            }
            if !is_comment {
                return Ok(Some(action.trim().to_owned()));
            }
            self.count_part()?;
        }
    }

    /// The rest of a block after its first word.
    fn block(&mut self, word: &str, condition: &str, depth: usize) -> Result<Part, String> {
        let scope = self.variables.len();
        let pipeline = self.pipeline(condition, if word == "range" { 2 } else { 1 })?;
        self.loops += usize::from(word == "range");
        let (then, end) = self.parts(depth + 1)?;
        self.loops -= usize::from(word == "range");
        let otherwise = match end {
            End::Closed => Vec::new(),
            End::Else(after) => self.otherwise(word, &after, depth)?,
            End::Text => return Err(format!("{{{{{word}}}}} has no {{{{end}}}}")),
        };
        self.variables.truncate(scope);
        Ok(match word {
            "if" => Part::If { condition: pipeline, then, otherwise },
            "with" => Part::With { value: pipeline, then, otherwise },
            _ => Part::Range { list: pipeline, body: then, otherwise },
        })
    }

    /// Parses the alternative of a block: after `else`, or another block after `else if`.
    fn otherwise(&mut self, word: &str, after: &str, depth: usize) -> Result<Vec<Part>, String> {
        let (next, condition) = split_word(after);
        if next == word && word != "range" {
            if depth > DEPTH_MAX * 4 {
                return Err(format!("more than {} {{{{else {word}}}}}", DEPTH_MAX * 4));
            }
            // It ends with the block that it belongs to.
            return Ok(vec![self.block(word, condition, depth)?]);
        }
        if !after.is_empty() {
            return Err(format!("{{{{else {after}}}}} is not supported after {{{{{word}}}}}"));
        }
        let (parts, end) = self.parts(depth + 1)?;
        match end {
            End::Closed => Ok(parts),
            End::Text => Err("{{else}} has no {{end}}".to_owned()),
            End::Else(_) => Err("unexpected {{else}}".to_owned()),
        }
    }

    /// `$x := .a | upper | default "-"`, with at most so many variables.
    fn pipeline(&mut self, text: &str, variables_max: usize) -> Result<Pipeline, String> {
        let tokens = tokens_of(text)?;
        let calls = tokens.iter().filter(|token| matches!(token, Token::Word(_))).count();
        if calls > ACTION_CALLS_MAX {
            return Err(format!("an action has more than {ACTION_CALLS_MAX} functions; use several stages"));
        }
        self.calls += calls;
        if self.calls > CALLS_MAX {
            return Err(format!("a template has more than {CALLS_MAX} functions; use several stages"));
        }
        let (names, is_new, tokens) = declared(&tokens);
        if names.len() > variables_max {
            return Err("too many variables".to_owned());
        }
        let mut commands = Commands { parser: self, tokens, next: 0 };
        let value = commands.pipeline(0)?;
        if commands.next < tokens.len() {
            return Err(format!("unexpected ) in {text:?}"));
        }
        let variables = names.iter().map(|name| self.variable(name, is_new)).collect::<Result<_, _>>()?;
        Ok(Pipeline { variables, value })
    }

    /// The number of a variable, which is declared or known.
    fn variable(&mut self, name: &str, is_new: bool) -> Result<usize, String> {
        if !is_new {
            return self.known(name);
        }
        self.variables.push(name.to_owned());
        self.variables_max = self.variables_max.max(self.variables.len());
        match self.variables.len() > VARIABLES_MAX {
            true => Err(format!("more than {VARIABLES_MAX} variables")),
            false => Ok(self.variables.len() - 1),
        }
    }

    fn known(&self, name: &str) -> Result<usize, String> {
        self.variables.iter().rposition(|known| known == name).ok_or_else(|| format!("undefined variable {name}"))
    }
}

/// The variables at the beginning of an action, whether they are new, and what follows.
fn declared(tokens: &[Token]) -> (Vec<String>, bool, &[Token]) {
    let (names, after) = match tokens {
        [Token::Variable(key), Token::Comma, Token::Variable(element), after @ ..] => (vec![key, element], after),
        [Token::Variable(name), after @ ..] => (vec![name], after),
        _ => (Vec::new(), tokens),
    };
    match after {
        [Token::Declare | Token::Assign, rest @ ..] if !names.is_empty() => {
            (names.into_iter().cloned().collect(), after[0] == Token::Declare, rest)
        }
        _ => (Vec::new(), false, tokens),
    }
}

struct Commands<'p, 't, 'c, 'k> {
    parser: &'p Parser<'t, 'c>,
    tokens: &'k [Token],
    next: usize,
}

impl Commands<'_, '_, '_, '_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn pipeline(&mut self, depth: usize) -> Result<Expr, String> {
        if depth > DEPTH_MAX {
            return Err(format!("parentheses are nested more than {DEPTH_MAX} levels deep"));
        }
        let mut value = self.command(depth, None)?;
        while self.peek() == Some(&Token::Pipe) {
            self.next += 1;
            value = self.command(depth, Some(value))?;
        }
        Ok(value)
    }

    /// A function and its arguments, or one value; what is piped in is the last argument.
    fn command(&mut self, depth: usize, piped: Option<Expr>) -> Result<Expr, String> {
        let mut function = None;
        if let Some(Token::Word(word)) = self.peek().cloned() {
            function = Some(self.function(&word)?);
            self.next += 1;
            if let Some(Token::Member(name)) = self.peek() {
                return Err(format!("members of {word} are not supported: .{name}"));
            }
        }
        let mut values = Vec::new();
        while !matches!(self.peek(), None | Some(Token::Pipe | Token::Close)) {
            values.push(self.operand(depth)?);
        }
        values.extend(piped);
        match function {
            Some(function) => self.call(function, values),
            None if values.len() == 1 => Ok(values.swap_remove(0)),
            None if values.is_empty() => Err("a value is missing".to_owned()),
            None => Err("an action needs one value, or a function with its arguments".to_owned()),
        }
    }

    fn function(&self, word: &str) -> Result<&'static Function, String> {
        Function::named(word).ok_or_else(|| format!("function {word} is not supported"))
    }

    fn operand(&mut self, depth: usize) -> Result<Expr, String> {
        let Some(token) = self.peek().cloned() else { return Err("a value is missing".to_owned()) };
        self.next += 1;
        let mut value = match token {
            Token::Open => {
                let inner = self.pipeline(depth + 1)?;
                if self.peek() != Some(&Token::Close) {
                    return Err("( is not closed".to_owned());
                }
                self.next += 1;
                inner
            }
            Token::Dot => Expr::Dot,
            Token::Field(name) => Expr::Member(Box::new(Expr::Dot), vec![name]),
            Token::Text(text) => Expr::Text(text),
            Token::Whole(number) => Expr::Whole(number),
            Token::Fraction(number) => Expr::Fraction(number),
            Token::Bool(is_true) => Expr::Bool(is_true),
            Token::Nil => Expr::Nil,
            Token::Variable(name) => Expr::Variable(self.parser.known(&name)?),
            Token::Word(word) => self.call(self.function(&word)?, Vec::new())?,
            other => return Err(format!("unexpected {other}")),
        };
        let mut members = Vec::new();
        while let Some(Token::Member(name)) = self.peek() {
            members.push(name.clone());
            self.next += 1;
        }
        if let Expr::Member(_, names) = &mut value {
            names.append(&mut members);
        } else if !members.is_empty() {
            value = Expr::Member(Box::new(value), members);
        }
        Ok(value)
    }

    fn call(&self, function: &'static Function, args: Vec<Expr>) -> Result<Expr, String> {
        let needed = function.parameters.len();
        if args.len() < needed {
            return Err(format!("{} takes {needed} arguments, and has {}", function.name, args.len()));
        }
        for (index, arg) in args.iter().enumerate() {
            let Some(kind) = function.parameter(index) else {
                return Err(format!("{} takes {} arguments, and has {}", function.name, index, args.len()));
            };
            check_literal(arg, kind).map_err(|message| format!("{}: {message}", function.name))?;
        }
        let regex = match args.first() {
            Some(Expr::Text(text)) if function.takes_regex() => Some((self.parser.compile)(text)?),
            _ if function.takes_regex() => {
                return Err(format!("the expression of {} must be written in the template", function.name));
            }
            _ => None,
        };
        Ok(Expr::Call { function, args, regex })
    }
}

/// Whether a value that is written in the template may be an argument of a kind.
fn check_literal(arg: &Expr, kind: Kind) -> Result<(), String> {
    let fits = match (arg, kind) {
        (Expr::Text(_), kind) => matches!(kind, Kind::Any | Kind::Text),
        (Expr::Whole(_), kind) => matches!(kind, Kind::Any | Kind::Int | Kind::Float),
        (Expr::Fraction(number), Kind::Int) => number.fract() == 0.0,
        (Expr::Fraction(_), kind) => matches!(kind, Kind::Any | Kind::Float),
        (Expr::Bool(_), kind) => kind == Kind::Any,
        (Expr::Nil, kind) => kind == Kind::Any,
        _ => true,
    };
    match fits {
        true => Ok(()),
        false => Err(format!("expected {kind}; found a constant of another type")),
    }
}

fn split_word(action: &str) -> (&str, &str) {
    let end = action.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(action.len());
    (&action[..end], action[end..].trim())
}

/// The end of an action: `}}` outside of quotes.
fn action_end(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut quote) = (0, None);
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(b'"' | b'\''), b'\\') => at += 1,
            (Some(open), byte) if open == byte => quote = None,
            (None, byte @ (b'"' | b'`' | b'\'')) => quote = Some(byte),
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The end of an action that is a comment.
fn comment_end(text: &str) -> Option<usize> {
    let end = text.find("*/")? + 2;
    let after = text[end..].trim_start().trim_start_matches('-');
    after.starts_with("}}").then(|| text.len() - after.len())
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Dot,
    /// `.a` at the beginning of an operand.
    Field(String),
    /// `.b` directly after something.
    Member(String),
    Variable(String),
    Word(String),
    Text(String),
    Whole(i64),
    Fraction(f64),
    Bool(bool),
    Nil,
    Pipe,
    Open,
    Close,
    Comma,
    Declare,
    Assign,
}

impl Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Comma => f.write_str("\",\""),
            Self::Declare => f.write_str("\":=\""),
            Self::Assign => f.write_str("\"=\""),
            Self::Close => f.write_str("\")\""),
            other => write!(f, "{other:?}"),
        }
    }
}

fn name_length(text: &str) -> usize {
    text.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(text.len())
}

fn tokens_of(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    let mut is_adjacent = false;
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '|' => (Token::Pipe, 1),
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            ',' => (Token::Comma, 1),
            ':' if rest.starts_with(":=") => (Token::Declare, 2),
            '=' => (Token::Assign, 1),
            '`' => {
                let end = rest[1..].find('`').ok_or("a string is not closed")?;
                (Token::Text(rest[1..=end].to_owned()), end + 2)
            }
            '"' => {
                let (text, length) = quoted(rest, '"')?;
                (Token::Text(text), length)
            }
            '\'' => {
                let (text, length) = quoted(rest, '\'')?;
                let mut letters = text.chars();
                let (Some(letter), None) = (letters.next(), letters.next()) else {
                    return Err("a character in single quotes is malformed; texts have double quotes".to_owned());
                };
                (Token::Whole(i64::from(u32::from(letter))), length)
            }
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => match name_length(&rest[1..]) {
                0 => (Token::Dot, 1),
                length => {
                    let name = rest[1..=length].to_owned();
                    let can_follow = is_adjacent
                        && matches!(
                            tokens.last(),
                            Some(
                                Token::Field(_) | Token::Member(_) | Token::Variable(_) | Token::Close | Token::Word(_)
                            )
                        );
                    (if can_follow { Token::Member(name) } else { Token::Field(name) }, length + 1)
                }
            },
            '$' => {
                let length = 1 + name_length(&rest[1..]);
                (Token::Variable(rest[..length].to_owned()), length)
            }
            '-' | '+' | '.' | '0'..='9' => number(rest)?,
            first if first == '_' || first.is_alphabetic() => {
                let length = name_length(rest);
                let token = match &rest[..length] {
                    "true" => Token::Bool(true),
                    "false" => Token::Bool(false),
                    "nil" => Token::Nil,
                    word => Token::Word(word.to_owned()),
                };
                (token, length)
            }
            other => return Err(format!("unexpected {other:?}")),
        };
        let stands_alone = |token: &Token| {
            !matches!(
                token,
                Token::Pipe
                    | Token::Open
                    | Token::Close
                    | Token::Comma
                    | Token::Declare
                    | Token::Assign
                    | Token::Member(_)
            )
        };
        if is_adjacent && stands_alone(&token) && tokens.last().is_some_and(stands_alone) {
            return Err(format!("a space is missing before {:?}", rest.chars().take(20).collect::<String>()));
        }
        tokens.push(token);
        let after = &rest[length..];
        rest = after.trim_start();
        is_adjacent = rest.len() == after.len();
    }
    Ok(tokens)
}

/// A number, as Go writes it, and its length.
fn number(rest: &str) -> Result<(Token, usize), String> {
    let digits = rest.trim_start_matches(['-', '+']);
    let is_hex = digits.starts_with("0x") || digits.starts_with("0X");
    let mut length = rest.len() - digits.len();
    let mut before = ' ';
    for letter in digits.chars() {
        let is_sign = matches!(letter, '-' | '+') && matches!(before, 'e' | 'E') && !is_hex;
        if !(letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_') || is_sign) {
            break;
        }
        length += 1;
        before = letter;
    }
    let text = &rest[..length];
    let plain = text.replace('_', "");
    let wrong = || format!("{text:?} is not a number");
    if let Some(number) = crate::template::numbers::parse_whole(&plain).filter(|_| !plain.contains('.')) {
        return Ok((Token::Whole(number), length));
    }
    let is_decimal =
        plain.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    let number = plain.parse::<f64>().ok().filter(|_| is_decimal);
    number.map(|number| (Token::Fraction(number), length)).ok_or_else(wrong)
}

/// A text in quotes, with the escapes of Go, and its length.
fn quoted(rest: &str, quote: char) -> Result<(String, usize), String> {
    let mut text = String::new();
    let mut characters = rest[1..].char_indices();
    let wrong = || "an escape of a string is unknown".to_owned();
    while let Some((at, character)) = characters.next() {
        match character {
            end if end == quote => return Ok((text, at + 2)),
            '\\' => {
                let digits = match characters.next().map(|(_, escape)| escape) {
                    Some('x') => 2,
                    Some('u') => 4,
                    Some('U') => 8,
                    Some(escape) => {
                        text.push(escaped(escape).ok_or_else(wrong)?);
                        continue;
                    }
                    None => return Err(wrong()),
                };
                let hex: String = characters.by_ref().take(digits).map(|(_, digit)| digit).collect();
                let code = if hex.len() == digits { u32::from_str_radix(&hex, 16).ok() } else { None };
                text.push(code.and_then(char::from_u32).ok_or_else(wrong)?);
            }
            _ => text.push(character),
        }
    }
    Err("a string is not closed".to_owned())
}

fn escaped(escape: char) -> Option<char> {
    Some(match escape {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'v' => '\u{b}',
        '\\' | '"' | '\'' => escape,
        _ => return None,
    })
}
