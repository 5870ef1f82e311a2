//! Parses `FETCH` and `MOVE`, of which the parser library supports only some forms.

use datafusion::sql::sqlparser::ast::{FetchDirection, FetchPosition, Ident, ObjectName, Statement, Value};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

/// Marks a `MOVE` in the place of the target variables of `FETCH`. Clients cannot enter this name.
const MOVED: &str = "\u{1}moved";

/// Whether a `FETCH` was written as `MOVE`.
pub(crate) fn is_move(into: &ObjectName) -> bool {
    into.0.iter().any(|part| part.as_ident().is_some_and(|name| name.value == MOVED))
}

/// Parses `FETCH` or `MOVE`; none for another statement.
pub(super) fn statement(parser: &mut Parser<'_>) -> Option<Result<Statement, ParserError>> {
    let is_word = |token: &Token, name: &str| matches!(token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(name));
    let first = parser.peek_token().token;
    let is_move = is_word(&first, "move");
    if !is_move && !is_word(&first, "fetch") {
        return None;
    }
    parser.next_token();
    let into = is_move.then(|| ObjectName::from(vec![Ident::with_quote('"', MOVED)]));
    Some(rest(parser, into))
}

/// `[direction] [FROM | IN] cursor`
fn rest(parser: &mut Parser<'_>, into: Option<ObjectName>) -> Result<Statement, ParserError> {
    let direction = direction(parser)?;
    let position = match parser.parse_keyword(Keyword::IN) {
        true => FetchPosition::In,
        false => {
            let _ = parser.parse_keyword(Keyword::FROM);
            FetchPosition::From
        }
    };
    let name = parser.parse_identifier()?;
    Ok(Statement::Fetch { name, direction, position, into })
}

fn direction(parser: &mut Parser<'_>) -> Result<FetchDirection, ParserError> {
    for (keyword, direction) in [
        (Keyword::NEXT, FetchDirection::Next),
        (Keyword::PRIOR, FetchDirection::Prior),
        (Keyword::FIRST, FetchDirection::First),
        (Keyword::LAST, FetchDirection::Last),
        (Keyword::ALL, FetchDirection::All),
    ] {
        if parser.parse_keyword(keyword) {
            return Ok(direction);
        }
    }
    if parser.parse_keyword(Keyword::ABSOLUTE) {
        return Ok(FetchDirection::Absolute { limit: count(parser)? });
    }
    if parser.parse_keyword(Keyword::RELATIVE) {
        return Ok(FetchDirection::Relative { limit: count(parser)? });
    }
    let is_backward = parser.parse_keyword(Keyword::BACKWARD);
    if is_backward || parser.parse_keyword(Keyword::FORWARD) {
        if parser.parse_keyword(Keyword::ALL) {
            return Ok(if is_backward { FetchDirection::BackwardAll } else { FetchDirection::ForwardAll });
        }
        let limit = if begins_count(parser) { Some(count(parser)?) } else { None };
        return Ok(if is_backward { FetchDirection::Backward { limit } } else { FetchDirection::Forward { limit } });
    }
    match begins_count(parser) {
        true => Ok(FetchDirection::Count { limit: count(parser)? }),
        false => Ok(FetchDirection::Next),
    }
}

fn begins_count(parser: &Parser<'_>) -> bool {
    matches!(parser.peek_token().token, Token::Number(..) | Token::Minus | Token::Plus)
}

/// A number of rows, which may have a sign.
fn count(parser: &mut Parser<'_>) -> Result<Value, ParserError> {
    let is_negative = parser.consume_token(&Token::Minus);
    if !is_negative {
        let _ = parser.consume_token(&Token::Plus);
    }
    match parser.parse_number_value()?.value {
        Value::Number(digits, is_long) if is_negative => Ok(Value::Number(format!("-{digits}"), is_long)),
        number => Ok(number),
    }
}
