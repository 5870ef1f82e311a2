//! Parses the stages of a pipeline.

use regex::Regex;

use crate::ast::{
    CompareOp, JsonField, JsonStep, LabelFilter, LabelRef, LabelValue, LineFilter, LineText, LogfmtFields, MatchOp,
    NumberUnit, PatternPart, Stage, Unwrap,
};
use crate::error::ParseError;
use crate::ip::IpFilter;
use crate::labels::ERROR;
use crate::lexer::Token;
use crate::parser::{Parser, RangedLog};
use crate::template::Template;
use crate::units::{parse_bytes, parse_duration_ns};

impl Parser<'_> {
    /// The stages after a selector, with a range and an offset between them or after them.
    pub(super) fn stages(&mut self, ranged: &mut RangedLog) -> Result<(), ParseError> {
        loop {
            self.check_count(ranged.log.stages.len())?;
            let offset = self.offset();
            match self.peek() {
                Token::Symbol(symbol @ ("|=" | "|~" | "|>" | "!=" | "!~" | "!>")) => {
                    let symbol = *symbol;
                    self.next += 1;
                    if ranged.unwrap.is_some() {
                        return Err(self.error_at(offset, "a line filter must come before unwrap"));
                    }
                    let filter = self.line_filter(symbol)?;
                    // Grafana writes an empty filter instead of none: it does not require reading the lines.
                    let is_empty = |text: &LineText| match text {
                        LineText::Plain(text) => text.is_empty(),
                        LineText::Regex(regex) => regex.as_str().is_empty(),
                        LineText::Pattern(_) | LineText::Ip(_) => false,
                    };
                    if filter.is_negated || !filter.texts.iter().any(is_empty) {
                        ranged.log.stages.push(Stage::Line(filter));
                    }
                }
                Token::Symbol("|") => {
                    self.next += 1;
                    self.stage(ranged)?;
                }
                Token::Symbol("[") => {
                    if ranged.range_ns.is_some() {
                        return Err(self.error("a second range"));
                    }
                    self.next += 1;
                    let range = self.duration()?;
                    if range <= 0 {
                        return Err(self.error_at(offset, "a range must be longer than zero"));
                    }
                    ranged.range_ns = Some(range);
                    self.expect("]")?;
                }
                Token::Identifier(word) if word == "offset" && ranged.range_ns.is_some() => {
                    self.next += 1;
                    let is_negative = self.take("-");
                    let offset = self.duration()?;
                    ranged.offset_ns = if is_negative { -offset } else { offset };
                }
                _ => return Ok(()),
            }
        }
    }

    pub(super) fn duration(&mut self) -> Result<i64, ParseError> {
        let parsed = match self.peek() {
            Token::Number(text) => parse_duration_ns(text),
            _ => None,
        };
        let duration = parsed.ok_or_else(|| self.unexpected("a duration such as 5m"))?;
        self.next += 1;
        Ok(duration)
    }

    fn line_filter(&mut self, symbol: &str) -> Result<LineFilter, ParseError> {
        let mut texts = vec![self.line_text(symbol)?];
        while self.take_word("or") {
            self.check_count(texts.len())?;
            texts.push(self.line_text(symbol)?);
        }
        Ok(LineFilter { texts, is_negated: symbol.starts_with('!') })
    }

    fn line_text(&mut self, symbol: &str) -> Result<LineText, ParseError> {
        let offset = self.offset();
        if self.take_word("ip") {
            return match symbol {
                "|=" | "!=" => Ok(LineText::Ip(self.ip_filter()?)),
                _ => Err(self.error_at(offset, "ip() is only allowed after |= and !=")),
            };
        }
        let text = self.text()?;
        match &symbol[1..] {
            "~" => Ok(LineText::Regex(self.regex(&text, offset)?)),
            ">" => {
                let expression = line_pattern(&text).map_err(|message| self.error_at(offset, message))?;
                Ok(LineText::Pattern(self.regex(&expression, offset)?))
            }
            _ => Ok(LineText::Plain(text)),
        }
    }

    /// `("10.0.0.0/8")`, after `ip`.
    fn ip_filter(&mut self) -> Result<IpFilter, ParseError> {
        self.expect("(")?;
        let offset = self.offset();
        let text = self.text()?;
        let filter = IpFilter::parse(&text).ok_or_else(|| {
            let message = format!(
                "{text:?} is not an address, a range such as 10.0.0.1-10.0.0.9, or a prefix such as 10.0.0.0/8"
            );
            self.error_at(offset, message)
        })?;
        self.expect(")")?;
        Ok(filter)
    }

    /// Parses the stage after a `|`.
    fn stage(&mut self, ranged: &mut RangedLog) -> Result<(), ParseError> {
        let offset = self.offset();
        let word = match (self.peek(), self.peek_at(1)) {
            // `| json = "x"` compares a label with that name.
            (Token::Identifier(_), Token::Symbol("=" | "==" | "!=" | "=~" | "!~" | ">" | ">=" | "<" | "<="))
            | (Token::Symbol("("), _) => None,
            (Token::Identifier(word), _) => Some(word.clone()),
            _ => return Err(self.unexpected("a stage such as json, or a filter of a label")),
        };
        let Some(word) = word else {
            let filter = self.label_filter()?;
            match &mut ranged.unwrap {
                Some(unwrap) => unwrap.filters.push(filter),
                None => ranged.log.stages.push(Stage::Labels(filter)),
            }
            return Ok(());
        };
        self.next += 1;
        if ranged.unwrap.is_some() {
            return Err(self.error_at(offset, format!("only filters of labels may follow unwrap, not {word}")));
        }
        let stage = match word.as_str() {
            "json" => Stage::Json(self.json_fields()?),
            "logfmt" => self.logfmt()?,
            "pattern" => {
                let offset = self.offset();
                let text = self.text()?;
                Stage::Pattern(pattern(&text).map_err(|message| self.error_at(offset, message))?)
            }
            "regexp" => {
                let offset = self.offset();
                let text = self.text()?;
                Stage::Regexp(self.named_regex(&text, offset)?)
            }
            "unpack" => Stage::Unpack,
            "decolorize" => Stage::Decolorize,
            "line_format" => Stage::LineFormat(self.template()?),
            "label_format" => Stage::LabelFormat(self.label_formats()?),
            "drop" => Stage::Drop(self.label_refs()?),
            "keep" => Stage::Keep(self.label_refs()?),
            "unwrap" => {
                ranged.unwrap = Some(self.unwrap()?);
                return Ok(());
            }
            _ => return Err(self.error_at(offset, format!("{word} is not a stage that is supported here"))),
        };
        ranged.log.stages.push(stage);
        Ok(())
    }

    fn named_regex(&self, text: &str, offset: usize) -> Result<Regex, ParseError> {
        let regex = self.regex(text, offset)?;
        if let Some(name) = regex.capture_names().flatten().find(|name| !is_name(name)) {
            return Err(self.error_at(offset, format!("{name:?} is not the name of a label")));
        }
        match regex.capture_names().flatten().next() {
            Some(_) => Ok(regex),
            None => Err(self.error_at(offset, "regexp needs at least one named group, such as (?P<name>…)")),
        }
    }

    /// `name="path", …`, or names alone.
    fn assignments(&mut self) -> Result<Vec<(String, String, usize)>, ParseError> {
        let mut fields = Vec::new();
        while matches!(self.peek(), Token::Identifier(_)) {
            let offset = self.offset();
            let name = self.identifier()?;
            let path = match self.take("=") {
                true => self.text()?,
                false => name.clone(),
            };
            fields.push((name, path, offset));
            self.check_count(fields.len())?;
            if !self.take(",") {
                break;
            }
        }
        Ok(fields)
    }

    fn json_fields(&mut self) -> Result<Vec<JsonField>, ParseError> {
        let assignments = self.assignments()?;
        let field = |(label, path, offset): (String, String, usize)| {
            let path = json_path(&path).ok_or_else(|| self.error_at(offset, format!("{path:?} is not a JSON path")))?;
            Ok(JsonField { label, path })
        };
        assignments.into_iter().map(field).collect()
    }

    fn logfmt(&mut self) -> Result<Stage, ParseError> {
        let (mut is_strict, mut keeps_empty) = (false, false);
        while let Token::Flag(flag) = self.peek() {
            match flag.as_str() {
                "--strict" => is_strict = true,
                "--keep-empty" => keeps_empty = true,
                _ => {
                    let message = format!("{flag} is not a flag of logfmt, which has --strict and --keep-empty");
                    return Err(self.error(message));
                }
            }
            self.next += 1;
        }
        let wanted = self.assignments()?.into_iter().map(|(name, field, _)| (name, field)).collect();
        Ok(Stage::Logfmt(LogfmtFields { is_strict, keeps_empty, wanted }))
    }

    fn template(&mut self) -> Result<Template, ParseError> {
        let offset = self.offset();
        let text = self.text()?;
        let compile = |expression: &str| self.regex(expression, offset).map_err(|error| error.message);
        Template::parse(&text, &compile)
            .map_err(|message| self.error_at(offset, format!("invalid template: {message}")))
    }

    fn label_formats(&mut self) -> Result<Vec<(String, LabelValue)>, ParseError> {
        let mut formats = Vec::new();
        loop {
            let offset = self.offset();
            let name = self.identifier()?;
            if name == ERROR {
                return Err(self.error_at(offset, format!("{ERROR} cannot be formatted")));
            }
            if formats.iter().any(|(known, _)| *known == name) {
                let message = format!("multiple label name '{name}' not allowed in a single format operation");
                return Err(self.error_at(offset, message));
            }
            self.expect("=")?;
            let value = match self.peek() {
                Token::Identifier(other) => {
                    let value = LabelValue::Rename(other.clone());
                    self.next += 1;
                    value
                }
                _ => LabelValue::Template(self.template()?),
            };
            formats.push((name, value));
            self.check_count(formats.len())?;
            if !self.take(",") {
                return Ok(formats);
            }
        }
    }

    fn label_refs(&mut self) -> Result<Vec<LabelRef>, ParseError> {
        let mut labels = Vec::new();
        loop {
            let is_matcher = matches!(self.peek_at(1), Token::Symbol("=" | "!=" | "=~" | "!~"));
            // `| drop a != "b"` is a matcher; `| drop a |= "b"` is a line filter after it.
            labels.push(match is_matcher {
                true => LabelRef::Matching(self.matcher()?),
                false => LabelRef::Name(self.identifier()?),
            });
            self.check_count(labels.len())?;
            if !self.take(",") {
                return Ok(labels);
            }
        }
    }

    fn unwrap(&mut self) -> Result<Unwrap, ParseError> {
        let conversion = match (self.peek(), self.peek_at(1)) {
            (Token::Identifier(word), Token::Symbol("(")) => Some(word.clone()),
            _ => None,
        };
        let unit = match conversion.as_deref() {
            None => NumberUnit::None,
            Some("duration" | "duration_seconds") => NumberUnit::Duration,
            Some("bytes") => NumberUnit::Bytes,
            Some(other) => return Err(self.error(format!("{other}() is not supported by unwrap"))),
        };
        if conversion.is_some() {
            self.next += 2;
        }
        let label = self.identifier()?;
        if conversion.is_some() {
            self.expect(")")?;
        }
        Ok(Unwrap { label, unit, filters: Vec::new() })
    }

    /// Parses `a > 5 and b = "c" or …`. `and`, a comma and juxtaposition have precedence over `or`.
    fn label_filter(&mut self) -> Result<LabelFilter, ParseError> {
        let mut any = vec![self.label_filter_and()?];
        while self.take_word("or") {
            any.push(self.label_filter_and()?);
            self.check_count(any.len())?;
        }
        Ok(if any.len() == 1 { any.swap_remove(0) } else { LabelFilter::Any(any) })
    }

    fn label_filter_and(&mut self) -> Result<LabelFilter, ParseError> {
        let mut all = vec![self.label_filter_one()?];
        while self.take_word("and")
            || self.take(",")
            || self.is("(")
            || matches!(self.peek(), Token::Identifier(word) if word != "or" && word != "offset")
        {
            all.push(self.label_filter_one()?);
            self.check_count(all.len())?;
        }
        Ok(if all.len() == 1 { all.swap_remove(0) } else { LabelFilter::All(all) })
    }

    fn label_filter_one(&mut self) -> Result<LabelFilter, ParseError> {
        if self.take("(") {
            let inner = self.nested(Self::label_filter)?;
            self.expect(")")?;
            return Ok(inner);
        }
        let name = self.identifier()?;
        let Token::Symbol(symbol) = *self.peek() else { return Err(self.unexpected("a comparison")) };
        let (compare, matching) = match symbol {
            "=" => (Some(CompareOp::Equal), Some(MatchOp::Equal)),
            "!=" => (Some(CompareOp::NotEqual), Some(MatchOp::NotEqual)),
            "=~" => (None, Some(MatchOp::Matches)),
            "!~" => (None, Some(MatchOp::NotMatches)),
            "==" => (Some(CompareOp::Equal), None),
            ">" => (Some(CompareOp::Greater), None),
            ">=" => (Some(CompareOp::GreaterOrEqual), None),
            "<" => (Some(CompareOp::Less), None),
            "<=" => (Some(CompareOp::LessOrEqual), None),
            _ => return Err(self.unexpected("a comparison")),
        };
        self.next += 1;
        let offset = self.offset();
        if self.take_word("ip") {
            return match symbol {
                "=" | "!=" => Ok(LabelFilter::Ip { name, filter: self.ip_filter()?, is_negated: symbol == "!=" }),
                _ => Err(self.error_at(offset, "ip() is only allowed after = and !=")),
            };
        }
        if let (Token::Text(_), Some(op)) = (self.peek(), matching) {
            return Ok(LabelFilter::Text(self.matcher_with(name, op)?));
        }
        let Some(op) = compare else { return Err(self.unexpected("string")) };
        let is_negative = self.take("-");
        let Token::Number(text) = self.peek().clone() else {
            return Err(self.unexpected("a number, a duration or a size"));
        };
        let (value, unit) = match (text.parse::<f64>(), parse_duration_ns(&text), parse_bytes(&text)) {
            (Ok(number), ..) => (number, NumberUnit::None),
            (_, Some(ns), _) => (seconds(ns), NumberUnit::Duration),
            (.., Some(bytes)) => (bytes, NumberUnit::Bytes),
            _ => return Err(self.error(format!("{text} is not a number, a duration or a size"))),
        };
        self.next += 1;
        Ok(LabelFilter::Number { name, op, value: if is_negative { -value } else { value }, unit })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a duration of a filter")]
fn seconds(ns: i64) -> f64 {
    ns as f64 / 1e9
}

/// `a.b[0]["c d"]`
fn json_path(text: &str) -> Option<Vec<JsonStep>> {
    let mut steps = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            if let Some(quoted) = inside.strip_prefix('"') {
                let end = quoted.find('"')?;
                steps.push(JsonStep::Key(quoted[..end].to_owned()));
                rest = quoted[end + 1..].strip_prefix(']')?;
            } else {
                let end = inside.find(']')?;
                steps.push(JsonStep::Index(inside[..end].trim().parse().ok()?));
                rest = &inside[end + 1..];
            }
            continue;
        }
        rest = match (rest.strip_prefix('.'), steps.is_empty()) {
            (Some(after), false) => after,
            (None, true) => rest,
            _ => return None,
        };
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        if end == 0 {
            return None;
        }
        steps.push(JsonStep::Key(rest[..end].to_owned()));
        rest = &rest[end..];
    }
    (!steps.is_empty()).then_some(steps)
}

/// `<ip> - <_> "<method> …"`, in which each name occurs once.
fn pattern(text: &str) -> Result<Vec<PatternPart>, String> {
    let parts = pattern_parts(text)?;
    let mut names = Vec::new();
    for part in &parts {
        match part {
            PatternPart::Capture(Some(name)) if names.contains(&name) => {
                return Err(format!("a pattern has two captures with the name {name:?}"));
            }
            PatternPart::Capture(Some(name)) => names.push(name),
            PatternPart::Capture(None) | PatternPart::Text(_) => {}
        }
    }
    match names.is_empty() {
        true => Err("a pattern needs at least one capture with a name, such as <method>".to_owned()),
        false => Ok(parts),
    }
}

/// The regular expression of `|> "took <_> ms"`, in which `<_>` may be empty: patterns of messages have it for values in
/// quotation marks, of which some are empty.
fn line_pattern(text: &str) -> Result<String, String> {
    let mut expression = "^(?s:".to_owned();
    for part in pattern_parts(text)? {
        match part {
            PatternPart::Text(text) => expression += &regex::escape(&text),
            PatternPart::Capture(None) => expression += ".*?",
            PatternPart::Capture(Some(name)) => {
                return Err(format!("the pattern of a line filter has no names; write <_> instead of <{name}>"));
            }
        }
    }
    Ok(expression + ")$")
}

fn pattern_parts(text: &str) -> Result<Vec<PatternPart>, String> {
    let mut parts: Vec<PatternPart> = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let capture =
            rest.strip_prefix('<').and_then(|inside| inside.split_once('>')).filter(|(name, _)| is_name(name));
        if let Some((name, after)) = capture {
            if !plain.is_empty() {
                parts.push(PatternPart::Text(std::mem::take(&mut plain)));
            } else if !parts.is_empty() {
                return Err("two captures of a pattern need some text between them".to_owned());
            }
            parts.push(PatternPart::Capture((name != "_").then(|| name.to_owned())));
            rest = after;
        } else {
            let length = rest.chars().next().map_or(0, char::len_utf8);
            plain.push_str(&rest[..length]);
            rest = &rest[length..];
        }
    }
    if !plain.is_empty() {
        parts.push(PatternPart::Text(plain));
    }
    Ok(parts)
}

/// True for the name of a label.
pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
        && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
}
