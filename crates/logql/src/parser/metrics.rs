//! Parses expressions of numbers.

use crate::ast::{
    AggregateExpr, AggregateOp, BinaryExpr, BinaryOp, CompareOp, Expr, Group, Grouping, LabelReplaceExpr, Matching,
    MetricExpr, RangeExpr, RangeOp,
};
use crate::error::ParseError;
use crate::lexer::{Spanned, Token};
use crate::parser::stages::is_name;
use crate::parser::{NODES_MAX, Parser};

impl Parser<'_> {
    /// An expression whose operators bind at least as strongly as `weakest`.
    pub(super) fn expr(&mut self, weakest: u8) -> Result<Expr, ParseError> {
        let start = self.offset();
        let mut left = self.operand()?;
        while let Some((op, strength, is_right)) = self.operator().filter(|(_, strength, _)| *strength >= weakest) {
            let offset = self.offset();
            let Expr::Metric(left_metric) = left else {
                return Err(
                    self.error_at(start, "an operator needs numbers on both sides, and its left side has records")
                );
            };
            self.next += 1;
            let is_bool = self.take_word("bool");
            if is_bool && !matches!(op, BinaryOp::Compare(_)) {
                return Err(self.error_at(offset, "bool is only allowed after a comparison"));
            }
            let matching = self.matching()?;
            let right_start = self.offset();
            let right = self.nested(|parser| parser.expr(if is_right { strength } else { strength + 1 }))?;
            let Expr::Metric(right) = right else {
                let message = "an operator needs numbers on both sides, and its right side has records";
                return Err(self.error_at(right_start, message));
            };
            self.count_node()?;
            let binary = BinaryExpr { op, left: left_metric, right, is_bool, matching };
            self.check_sets(&binary, offset)?;
            left = Expr::Metric(MetricExpr::Binary(Box::new(binary)));
        }
        Ok(left)
    }

    fn count_node(&mut self) -> Result<(), ParseError> {
        self.nodes += 1;
        match self.nodes > NODES_MAX {
            true => Err(self.error(format!("the query has more than {NODES_MAX} operations"))),
            false => Ok(()),
        }
    }

    /// `and`, `or` and `unless` need series on both sides; a comparison of two numbers needs `bool`.
    fn check_sets(&self, binary: &BinaryExpr, offset: usize) -> Result<(), ParseError> {
        let is_number = |side: &MetricExpr| side.is_number();
        let (left, right) = (is_number(&binary.left), is_number(&binary.right));
        match binary.op {
            BinaryOp::And | BinaryOp::Or | BinaryOp::Unless if left || right => {
                Err(self.error_at(offset, "and, or and unless are not defined for plain numbers"))
            }
            BinaryOp::And | BinaryOp::Or | BinaryOp::Unless if binary.matching.group.is_some() => {
                Err(self.error_at(offset, "group_left and group_right are not allowed with and, or and unless"))
            }
            BinaryOp::Compare(_) if left && right && !binary.is_bool => {
                Err(self.error_at(offset, "a comparison of two numbers needs bool"))
            }
            _ => Ok(()),
        }
    }

    /// The operator that follows, how strongly it binds, and whether to the right.
    fn operator(&self) -> Option<(BinaryOp, u8, bool)> {
        let compare = |op| Some((BinaryOp::Compare(op), 2, false));
        match self.peek() {
            Token::Identifier(word) => match word.as_str() {
                "or" => Some((BinaryOp::Or, 0, false)),
                "and" => Some((BinaryOp::And, 1, false)),
                "unless" => Some((BinaryOp::Unless, 1, false)),
                _ => None,
            },
            Token::Symbol(symbol) => match *symbol {
                "==" => compare(CompareOp::Equal),
                "!=" => compare(CompareOp::NotEqual),
                ">" => compare(CompareOp::Greater),
                ">=" => compare(CompareOp::GreaterOrEqual),
                "<" => compare(CompareOp::Less),
                "<=" => compare(CompareOp::LessOrEqual),
                "+" => Some((BinaryOp::Add, 3, false)),
                "-" => Some((BinaryOp::Subtract, 3, false)),
                "*" => Some((BinaryOp::Multiply, 4, false)),
                "/" => Some((BinaryOp::Divide, 4, false)),
                "%" => Some((BinaryOp::Modulo, 4, false)),
                "^" => Some((BinaryOp::Power, 5, true)),
                _ => None,
            },
            _ => None,
        }
    }

    fn matching(&mut self) -> Result<Matching, ParseError> {
        let mut matching = Matching::default();
        for (word, is_on) in [("on", true), ("ignoring", false)] {
            if self.take_word(word) {
                matching.labels = Some((is_on, self.identifiers()?));
                break;
            }
        }
        if matching.labels.is_some() {
            for (word, is_left) in [("group_left", true), ("group_right", false)] {
                if self.take_word(word) {
                    let include = if self.is("(") { self.identifiers()? } else { Vec::new() };
                    matching.group = Some(Group { is_left, include });
                    break;
                }
            }
        }
        Ok(matching)
    }

    fn operand(&mut self) -> Result<Expr, ParseError> {
        self.count_node()?;
        let start = self.offset();
        match self.peek().clone() {
            Token::Symbol("{") => self.whole_log(),
            // Only a selector begins with a brace: what is in these parentheses is known without reading it twice.
            Token::Symbol("(") if self.begins_log() => self.whole_log(),
            Token::Symbol("(") => {
                self.next += 1;
                let inner = self.nested(|parser| parser.expr(0))?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Symbol(sign @ ("-" | "+")) => {
                self.next += 1;
                match self.peek() {
                    Token::Number(_) => {
                        let number = self.number()?;
                        Ok(Expr::Metric(MetricExpr::Literal(if sign == "-" { -number } else { number })))
                    }
                    _ => Err(self.unexpected("number")),
                }
            }
            Token::Number(_) => Ok(Expr::Metric(MetricExpr::Literal(self.number()?))),
            Token::Identifier(word) => {
                self.next += 1;
                self.function(&word, start).map(Expr::Metric)
            }
            _ => Err(self.unexpected("a selector such as {task=\"…\"}, a function or a number")),
        }
    }

    /// True when a selector follows, in any number of parentheses.
    fn begins_log(&self) -> bool {
        let opening = |spanned: &&Spanned| spanned.token == Token::Symbol("(");
        let first = self.tokens[self.next..].iter().find(|spanned| !opening(spanned));
        first.is_some_and(|spanned| spanned.token == Token::Symbol("{"))
    }

    fn whole_log(&mut self) -> Result<Expr, ParseError> {
        let ranged = self.log()?;
        if ranged.range_ns.is_some() || ranged.unwrap.is_some() {
            let message = "a range or unwrap is only allowed within a function such as rate(…)";
            return Err(self.error_at(ranged.offset, message));
        }
        Ok(Expr::Log(ranged.log))
    }

    fn number(&mut self) -> Result<f64, ParseError> {
        let Token::Number(text) = self.peek() else { return Err(self.unexpected("number")) };
        let number = text.parse().map_err(|_| self.unexpected("number"))?;
        self.next += 1;
        Ok(number)
    }

    fn function(&mut self, word: &str, start: usize) -> Result<MetricExpr, ParseError> {
        if let Some(op) = range_op(word) {
            return self.range_function(op, word, start);
        }
        if let Some(op) = aggregate_op(word) {
            return self.nested(|parser| parser.aggregate(op, word));
        }
        match word {
            "vector" => {
                self.expect("(")?;
                let is_negative = self.take("-");
                let number = self.number()?;
                self.expect(")")?;
                Ok(MetricExpr::VectorLiteral(if is_negative { -number } else { number }))
            }
            "label_replace" => self.nested(Self::label_replace),
            _ => Err(self.error_at(start, format!("{word} is not a function that is supported here"))),
        }
    }

    fn range_function(&mut self, op: RangeOp, word: &str, start: usize) -> Result<MetricExpr, ParseError> {
        self.expect("(")?;
        let parameter = match op {
            RangeOp::Quantile => {
                let is_negative = self.take("-");
                let number = self.number()?;
                self.expect(",")?;
                Some(if is_negative { -number } else { number })
            }
            _ => None,
        };
        let ranged = self.log()?;
        self.expect(")")?;
        let grouping_start = self.offset();
        let grouping = self.grouping()?;
        let Some(range_ns) = ranged.range_ns else {
            return Err(self.error_at(ranged.offset, format!("{word} needs a range, such as [5m]")));
        };
        let needs_unwrap =
            !matches!(op, RangeOp::Count | RangeOp::Rate | RangeOp::Bytes | RangeOp::BytesRate | RangeOp::Absent);
        if needs_unwrap && ranged.unwrap.is_none() {
            return Err(self.error_at(start, format!("invalid aggregation {word} without unwrap")));
        }
        if ranged.unwrap.is_some() && matches!(op, RangeOp::Count | RangeOp::Bytes | RangeOp::BytesRate) {
            return Err(self.error_at(start, format!("invalid aggregation {word} with unwrap")));
        }
        if grouping.is_some() && (!needs_unwrap || matches!(op, RangeOp::Sum | RangeOp::RateCounter)) {
            return Err(self.error_at(grouping_start, format!("grouping not allowed for {word} aggregation")));
        }
        self.check_selective(&ranged.log)?;
        let log = ranged.log;
        let (unwrap, offset_ns) = (ranged.unwrap, ranged.offset_ns);
        Ok(MetricExpr::Range(Box::new(RangeExpr { op, parameter, log, unwrap, range_ns, offset_ns, grouping })))
    }

    fn grouping(&mut self) -> Result<Option<Grouping>, ParseError> {
        for (word, is_without) in [("by", false), ("without", true)] {
            if self.take_word(word) {
                return Ok(Some(Grouping { is_without, labels: self.identifiers()? }));
            }
        }
        Ok(None)
    }

    fn aggregate(&mut self, op: AggregateOp, word: &str) -> Result<MetricExpr, ParseError> {
        let mut grouping_start = self.offset();
        let mut grouping = self.grouping()?;
        self.expect("(")?;
        let mut count = 0;
        if matches!(op, AggregateOp::TopK | AggregateOp::BottomK) {
            let offset = self.offset();
            let number = self.number()?;
            if !(number >= 1.0 && number.fract() == 0.0) {
                return Err(self.error_at(offset, format!("{word} needs a whole number of series, at least 1")));
            }
            count = az::saturating_cast::<f64, usize>(number);
            self.expect(",")?;
        }
        let start = self.offset();
        let Expr::Metric(inner) = self.expr(0)? else {
            return Err(self.error_at(start, format!("{word} needs numbers, not records; count them with rate(…[5m])")));
        };
        if inner.is_number() {
            return Err(self.error_at(start, format!("{word} needs series, not a plain number")));
        }
        self.expect(")")?;
        if grouping.is_none() {
            grouping_start = self.offset();
            grouping = self.grouping()?;
        }
        if grouping.is_some() && matches!(word, "approx_topk" | "sort" | "sort_desc") {
            return Err(self.error_at(grouping_start, format!("grouping not allowed for {word} aggregation")));
        }
        Ok(MetricExpr::Aggregate(Box::new(AggregateExpr { op, count, grouping, inner })))
    }

    fn label_replace(&mut self) -> Result<MetricExpr, ParseError> {
        self.expect("(")?;
        let start = self.offset();
        let Expr::Metric(inner) = self.expr(0)? else {
            return Err(self.error_at(start, "label_replace needs numbers, not records"));
        };
        self.expect(",")?;
        let target_start = self.offset();
        let target = self.text()?;
        if !is_name(&target) {
            return Err(self.error_at(target_start, format!("{target:?} is not the name of a label")));
        }
        self.expect(",")?;
        let replacement = self.text()?;
        self.expect(",")?;
        let source = self.text()?;
        self.expect(",")?;
        let offset = self.offset();
        let text = self.text()?;
        self.regex(&text, offset)?;
        let regex = self.regex(&format!("^(?s:{text})$"), offset)?;
        self.expect(")")?;
        Ok(MetricExpr::LabelReplace(Box::new(LabelReplaceExpr { inner, target, replacement, source, regex })))
    }
}

impl MetricExpr {
    /// True for a number without series.
    pub(crate) fn is_number(&self) -> bool {
        match self {
            Self::Literal(_) => true,
            Self::Binary(binary) => binary.left.is_number() && binary.right.is_number(),
            _ => false,
        }
    }
}

fn range_op(word: &str) -> Option<RangeOp> {
    Some(match word {
        "count_over_time" => RangeOp::Count,
        "rate" => RangeOp::Rate,
        "rate_counter" => RangeOp::RateCounter,
        "bytes_over_time" => RangeOp::Bytes,
        "bytes_rate" => RangeOp::BytesRate,
        "sum_over_time" => RangeOp::Sum,
        "avg_over_time" => RangeOp::Avg,
        "min_over_time" => RangeOp::Min,
        "max_over_time" => RangeOp::Max,
        "stddev_over_time" => RangeOp::StdDev,
        "stdvar_over_time" => RangeOp::StdVar,
        "quantile_over_time" => RangeOp::Quantile,
        "first_over_time" => RangeOp::First,
        "last_over_time" => RangeOp::Last,
        "absent_over_time" => RangeOp::Absent,
        _ => return None,
    })
}

fn aggregate_op(word: &str) -> Option<AggregateOp> {
    Some(match word {
        "sum" => AggregateOp::Sum,
        "avg" => AggregateOp::Avg,
        "min" => AggregateOp::Min,
        "max" => AggregateOp::Max,
        "count" => AggregateOp::Count,
        "stddev" => AggregateOp::StdDev,
        "stdvar" => AggregateOp::StdVar,
        // The exact series are an approximation.
        "topk" | "approx_topk" => AggregateOp::TopK,
        "bottomk" => AggregateOp::BottomK,
        "sort" => AggregateOp::Sort,
        "sort_desc" => AggregateOp::SortDesc,
        _ => return None,
    })
}
