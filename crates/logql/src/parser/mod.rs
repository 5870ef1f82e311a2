//! The parser: recursive descent, of bounded depth.

mod metrics;
mod stages;

use std::cell::Cell;

use regex::{Regex, RegexBuilder};

use crate::ast::{Expr, LogExpr, MatchOp, Matcher, Unwrap};
use crate::error::ParseError;
use crate::lexer::{Spanned, Token, tokens};

/// Longest query. Unit: bytes.
const QUERY_BYTES_MAX: usize = 128 << 10;

/// Deepest nesting of parentheses and functions.
const DEPTH_MAX: usize = 64;

/// Most stages of a pipeline, filters of labels and alternatives of a filter, each.
const PARTS_MAX: usize = 256;

/// Most nodes of an expression of numbers; its evaluation recurses as deeply.
const NODES_MAX: usize = 256;

/// Largest compiled regular expression. Unit: bytes.
const REGEX_BYTES_MAX: usize = 512 << 10;

/// Most regular expressions of a query.
const REGEXES_MAX: usize = 128;

/// Parses a query.
pub fn parse(query: &str) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(query)?;
    let expr = parser.expr(0)?;
    parser.end()?;
    if let Expr::Log(log) = &expr {
        parser.check_selective(log)?;
    }
    Ok(expr)
}

/// Parses a selector alone, which may be empty: `{}` fits every stream.
pub fn parse_selector(query: &str) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser::new(query)?;
    let matchers = parser.selector()?;
    parser.end()?;
    Ok(matchers)
}

struct Parser<'q> {
    query: &'q str,
    tokens: Vec<Spanned>,
    next: usize,
    depth: usize,
    nodes: usize,
    regexes: Cell<usize>,
}

/// A log expression, with the parts that are only allowed in a range aggregation.
struct RangedLog {
    log: LogExpr,
    unwrap: Option<Unwrap>,
    range_ns: Option<i64>,
    offset_ns: i64,
    /// Where it begins.
    offset: usize,
}

impl<'q> Parser<'q> {
    fn new(query: &'q str) -> Result<Self, ParseError> {
        if query.len() > QUERY_BYTES_MAX {
            let message = format!("the query is longer than {QUERY_BYTES_MAX} bytes");
            return Err(ParseError::at(query, 0, message));
        }
        Ok(Self { query, tokens: tokens(query)?, next: 0, depth: 0, nodes: 0, regexes: Cell::new(0) })
    }

    fn peek(&self) -> &Token {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> &Token {
        self.tokens.get(self.next + ahead).map_or(&Token::End, |spanned| &spanned.token)
    }

    fn offset(&self) -> usize {
        self.tokens.get(self.next).map_or(self.query.len(), |spanned| spanned.offset)
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.peek(), Token::Symbol(found) if *found == symbol)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Identifier(found) if found == word)
    }

    fn take(&mut self, symbol: &str) -> bool {
        let is = self.is(symbol);
        self.next += usize::from(is);
        is
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is = self.is_word(word);
        self.next += usize::from(is);
        is
    }

    fn expect(&mut self, symbol: &str) -> Result<(), ParseError> {
        match self.take(symbol) {
            true => Ok(()),
            false => Err(self.unexpected(&format!("{symbol:?}"))),
        }
    }

    fn end(&self) -> Result<(), ParseError> {
        match self.peek() {
            Token::End => Ok(()),
            _ => Err(self.unexpected("end of query")),
        }
    }

    fn identifier(&mut self) -> Result<String, ParseError> {
        match self.peek() {
            Token::Identifier(name) => {
                let name = name.clone();
                self.next += 1;
                Ok(name)
            }
            _ => Err(self.unexpected("identifier")),
        }
    }

    fn text(&mut self) -> Result<String, ParseError> {
        match self.peek() {
            Token::Text(text) => {
                let text = text.clone();
                self.next += 1;
                Ok(text)
            }
            _ => Err(self.unexpected("string")),
        }
    }

    fn unexpected(&self, expected: &str) -> ParseError {
        self.error(format!("syntax error: unexpected {}, expecting {expected}", self.peek().shown()))
    }

    fn error(&self, message: impl Into<String>) -> ParseError {
        ParseError::at(self.query, self.offset(), message)
    }

    fn error_at(&self, offset: usize, message: impl Into<String>) -> ParseError {
        ParseError::at(self.query, offset, message)
    }

    /// Parses one nesting level deeper.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        if self.depth == DEPTH_MAX {
            return Err(self.error(format!("the query is nested more than {DEPTH_MAX} levels deep")));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Identifiers in parentheses.
    fn identifiers(&mut self) -> Result<Vec<String>, ParseError> {
        self.expect("(")?;
        let mut names = Vec::new();
        while !self.take(")") {
            if !names.is_empty() {
                self.expect(",")?;
            }
            names.push(self.identifier()?);
            self.check_count(names.len())?;
        }
        Ok(names)
    }

    fn check_count(&self, count: usize) -> Result<(), ParseError> {
        match count > PARTS_MAX {
            true => Err(self.error(format!("more than {PARTS_MAX} parts"))),
            false => Ok(()),
        }
    }

    /// A regular expression at a place of the query.
    fn regex(&self, text: &str, offset: usize) -> Result<Regex, ParseError> {
        self.regexes.set(self.regexes.get() + 1);
        if self.regexes.get() > REGEXES_MAX {
            return Err(self.error_at(offset, format!("the query has more than {REGEXES_MAX} regular expressions")));
        }
        let built = RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).dfa_size_limit(REGEX_BYTES_MAX).build();
        built.map_err(|error| {
            let reason = match error {
                regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
                error => error.to_string().lines().last().unwrap_or_default().trim().to_owned(),
            };
            self.error_at(offset, format!("invalid regular expression: {reason}"))
        })
    }

    /// `{a="b", c=~"d"}`
    fn selector(&mut self) -> Result<Vec<Matcher>, ParseError> {
        self.expect("{")?;
        let mut matchers = Vec::new();
        while !self.take("}") {
            if !matchers.is_empty() {
                self.expect(",")?;
                if self.take("}") {
                    break;
                }
            }
            matchers.push(self.matcher()?);
            self.check_count(matchers.len())?;
        }
        Ok(matchers)
    }

    fn matcher(&mut self) -> Result<Matcher, ParseError> {
        let name = self.identifier()?;
        let op = match self.peek() {
            Token::Symbol("=") => MatchOp::Equal,
            Token::Symbol("!=") => MatchOp::NotEqual,
            Token::Symbol("=~") => MatchOp::Matches,
            Token::Symbol("!~") => MatchOp::NotMatches,
            _ => return Err(self.unexpected("one of = != =~ !~")),
        };
        self.next += 1;
        self.matcher_with(name, op)
    }

    /// The rest of a matcher.
    fn matcher_with(&mut self, name: String, op: MatchOp) -> Result<Matcher, ParseError> {
        let offset = self.offset();
        let value = self.text()?;
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            // The parts in parentheses, so that none of them can reach outside.
            MatchOp::Matches | MatchOp::NotMatches => {
                self.regex(&value, offset)?;
                Some(self.regex(&format!("^(?s:{value})$"), offset)?)
            }
        };
        Ok(Matcher { name, op, value, regex })
    }

    /// A selector and its stages, in parentheses or not.
    fn log(&mut self) -> Result<RangedLog, ParseError> {
        let offset = self.offset();
        if self.take("(") {
            let mut inner = self.nested(Self::log)?;
            self.expect(")")?;
            self.stages(&mut inner)?;
            return Ok(inner);
        }
        let matchers = self.selector()?;
        let log = LogExpr { matchers, stages: Vec::new() };
        let mut ranged = RangedLog { log, unwrap: None, range_ns: None, offset_ns: 0, offset };
        self.stages(&mut ranged)?;
        Ok(ranged)
    }

    /// Loki refuses a selector that every stream fits, and so does this.
    fn check_selective(&self, log: &LogExpr) -> Result<(), ParseError> {
        match log.matchers.iter().any(|matcher| !matcher.fits("")) {
            true => Ok(()),
            false => Err(self.error_at(
                0,
                "queries require at least one regexp or equality matcher that does not have an empty-compatible \
                 value. For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will",
            )),
        }
    }
}
