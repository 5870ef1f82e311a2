//! Passes a record through the stages of a query.

mod failure;
mod fields;
mod json;

use std::borrow::Cow;

use memchr::memmem;

use crate::ast::{
    CompareOp, LabelFilter, LabelRef, LabelValue, LineFilter, LineText, LogExpr, NumberUnit, PatternPart, Stage, Unwrap,
};
use crate::labels::{Entry, LabelSet};
use crate::template::Template;
use crate::units::{parse_bytes, parse_duration_ns};

pub(crate) use failure::ERROR;
use failure::fail;
pub use fields::logfmt_fields;

/// How much the stages of a query make of a record in all, or twice its line if that is more: texts that functions of
/// templates return, lines, and labels. Unit: bytes.
const MADE_BYTES_MAX: usize = 4 << 20;

/// The stages of a query, ready to be applied to records.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Line filters before all other stages: they need the message alone.
    first: Vec<Filter>,
    stages: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    Line(Filter),
    Other(Stage),
}

/// A line filter with its searchers.
#[derive(Debug, Clone)]
struct Filter {
    texts: Vec<Searcher>,
    is_negated: bool,
}

#[derive(Debug, Clone)]
enum Searcher {
    Plain(Box<memmem::Finder<'static>>),
    Regex(regex::Regex),
}

impl Filter {
    fn new(filter: &LineFilter) -> Self {
        let searcher = |text: &LineText| match text {
            LineText::Plain(text) => Searcher::Plain(Box::new(memmem::Finder::new(text).into_owned())),
            LineText::Regex(regex) | LineText::Pattern(regex) => Searcher::Regex(regex.clone()),
        };
        Self { texts: filter.texts.iter().map(searcher).collect(), is_negated: filter.is_negated }
    }

    fn keeps(&self, line: &str) -> bool {
        let has = self.texts.iter().any(|text| match text {
            Searcher::Plain(finder) => finder.find(line.as_bytes()).is_some(),
            Searcher::Regex(regex) => regex.is_match(line),
        });
        has != self.is_negated
    }
}

impl Pipeline {
    /// The stages of an expression.
    pub fn new(log: &LogExpr) -> Self {
        let (mut first, mut stages) = (Vec::new(), Vec::new());
        for stage in &log.stages {
            match stage {
                Stage::Line(filter) if stages.is_empty() => first.push(Filter::new(filter)),
                Stage::Line(filter) => stages.push(Step::Line(Filter::new(filter))),
                other => stages.push(Step::Other(other.clone())),
            }
        }
        Self { first, stages }
    }

    /// False when the message of a record alone shows that the record does not pass.
    pub fn may_pass(&self, line: &str) -> bool {
        self.first.iter().all(|filter| filter.keeps(line))
    }

    /// Applies the stages to a record for which [`Pipeline::may_pass`] is true; false when it does not pass.
    ///
    /// A record of which the stages make more than 4 MiB and twice its line gets an error instead of the rest.
    pub fn process(&self, entry: &mut Entry<'_>) -> bool {
        entry.labels.left = MADE_BYTES_MAX.max(entry.line.len().saturating_mul(2));
        self.stages.iter().all(|step| match step {
            Step::Line(filter) => filter.keeps(&entry.line),
            Step::Other(stage) => {
                let keeps = apply(stage, entry);
                if std::mem::take(&mut entry.labels.is_over) {
                    let details =
                        "the stages of the query make too much text of this record; use fewer or shorter ones";
                    fail(&mut entry.labels, "RecordTooLargeErr", details.to_owned());
                }
                keeps
            }
        })
    }
}

fn apply(stage: &Stage, entry: &mut Entry<'_>) -> bool {
    match stage {
        Stage::Line(filter) => return Filter::new(filter).keeps(&entry.line),
        Stage::Labels(filter) => return keeps(filter, &mut entry.labels),
        Stage::Json(json_fields) => json::extract(json_fields, entry),
        Stage::Unpack => json::unpack(entry),
        Stage::Logfmt { is_strict, fields } => fields::extract_logfmt(*is_strict, fields, entry),
        Stage::Pattern(parts) => extract_pattern(parts, entry),
        Stage::Regexp(regex) => {
            let line = entry.line.clone();
            if let Some(captures) = regex.captures(&line) {
                for name in regex.capture_names().flatten() {
                    if let Some(found) = captures.name(name) {
                        entry.labels.extract(name, found.as_str().to_owned());
                    }
                }
            }
        }
        Stage::LineFormat(template) => {
            if let Some(line) = rendered(template, entry) {
                entry.line = Cow::Owned(line);
            }
        }
        Stage::LabelFormat(formats) => {
            for (name, value) in formats {
                match value {
                    LabelValue::Rename(from) => {
                        let value = entry.labels.remove(from).unwrap_or_default();
                        entry.labels.set(name, value);
                    }
                    LabelValue::Template(template) => {
                        let Some(value) = rendered(template, entry) else { break };
                        entry.labels.set(name, value);
                    }
                }
            }
        }
        Stage::Drop(labels) => entry.labels.retain(|name, value| !names(labels, name, value)),
        Stage::Keep(labels) => entry.labels.retain(|name, value| names(labels, name, value) || name.starts_with("__")),
        Stage::Decolorize => entry.line = Cow::Owned(without_colors(&entry.line)),
    }
    true
}

/// What a template makes of a record, if that is not too much.
fn rendered(template: &Template, entry: &mut Entry<'_>) -> Option<String> {
    let mut left = entry.labels.left;
    let rendered = template.render(entry, &mut left);
    match &rendered {
        Some(_) => entry.labels.left = left,
        None => entry.labels.use_up(),
    }
    rendered
}

fn names(labels: &[LabelRef], name: &str, value: &str) -> bool {
    labels.iter().any(|label| match label {
        LabelRef::Name(wanted) => wanted == name,
        LabelRef::Matching(matcher) => matcher.name == name && matcher.fits(value),
    })
}

/// True when the labels of a record fit; a number that cannot be read is an error of the record, which then passes.
fn keeps(filter: &LabelFilter, labels: &mut LabelSet<'_>) -> bool {
    match filter {
        LabelFilter::All(all) => all.iter().all(|filter| keeps(filter, labels)),
        LabelFilter::Any(any) => any.iter().any(|filter| keeps(filter, labels)),
        LabelFilter::Text(matcher) => matcher.fits(labels.get(&matcher.name)),
        LabelFilter::Number { name, op, value, unit } => keeps_number(name, *op, *value, *unit, labels),
    }
}

fn keeps_number(name: &str, op: CompareOp, value: f64, unit: NumberUnit, labels: &mut LabelSet<'_>) -> bool {
    if labels.has(ERROR) {
        return true;
    }
    if !labels.has(name) {
        return false;
    }
    match number_of(labels.get(name), unit) {
        Some(number) => op.holds(number, value),
        None => {
            let details = format!("label {name} is not a number of the kind that it is compared with");
            fail(labels, "LabelFilterErr", details);
            true
        }
    }
}

/// The number that a label says; a duration in seconds.
pub(crate) fn number_of(text: &str, unit: NumberUnit) -> Option<f64> {
    match unit {
        NumberUnit::None => text.trim().parse().ok(),
        #[expect(clippy::cast_precision_loss, reason = "a duration in seconds")]
        NumberUnit::Duration => parse_duration_ns(text.trim()).map(|ns| ns as f64 / 1e9),
        NumberUnit::Bytes => parse_bytes(text),
    }
}

impl Unwrap {
    /// The number of a record; `None` when it has none or a later filter drops it.
    pub(crate) fn sample(&self, labels: &mut LabelSet<'_>) -> Option<f64> {
        if !labels.has(&self.label) {
            return None;
        }
        let number = number_of(labels.get(&self.label), self.unit);
        if number.is_none() {
            let details = format!("label {} is not a number of the kind that unwrap reads", self.label);
            fail(labels, "SampleExtractionErr", details);
        }
        labels.remove(&self.label);
        self.filters.iter().all(|filter| keeps(filter, labels)).then(|| number.unwrap_or(0.0))
    }
}

fn extract_pattern(parts: &[PatternPart], entry: &mut Entry<'_>) {
    let line = entry.line.clone();
    let mut rest: &str = &line;
    let mut parts = parts.iter().peekable();
    // A text at the start may be preceded by anything.
    if let Some(PatternPart::Text(text)) = parts.peek() {
        let Some(at) = rest.find(text.as_str()) else { return };
        rest = &rest[at + text.len()..];
        parts.next();
    }
    while let Some(part) = parts.next() {
        let PatternPart::Capture(name) = part else { continue };
        let (found, after) = match parts.next() {
            Some(PatternPart::Text(text)) => match rest.find(text.as_str()) {
                Some(at) => (&rest[..at], Some(&rest[at + text.len()..])),
                None => (rest, None),
            },
            _ => (rest, None),
        };
        if let Some(name) = name {
            entry.labels.extract(name, found.to_owned());
        }
        let Some(after) = after else { return };
        rest = after;
    }
}

/// Without the escape sequences that colour text in a terminal.
fn without_colors(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("\u{1b}[") {
        plain.push_str(&rest[..at]);
        let sequence = &rest[at + 2..];
        let end = sequence.find(|c: char| !matches!(c, '0'..='9' | ';' | ':' | '?'));
        rest = match end {
            Some(end) => &sequence[end + sequence[end..].chars().next().map_or(0, char::len_utf8)..],
            None => "",
        };
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ast::Expr;
    use crate::labels::Category;
    use crate::parser::parse;

    /// The line and the labels beside `a` that a record has after some stages.
    fn run(stages: &str, line: &str) -> Option<(String, String)> {
        let Expr::Log(log) = parse(&format!("{{a=\"b\"}} {stages}")).unwrap() else { panic!("{stages}") };
        let pipeline = Pipeline::new(&log);
        let mut labels = LabelSet::default();
        labels.push("a", "b", Category::Stream);
        let mut entry = Entry { line: line.into(), time_ns: 0, order: 0, labels };
        (pipeline.may_pass(line) && pipeline.process(&mut entry)).then(|| {
            let labels = entry.labels.to_labels().filtered(|name| name != "a" && name != failure::ERROR_DETAILS);
            (entry.line.into_owned(), labels.to_string())
        })
    }

    #[track_caller]
    fn check(stages: &str, line: &str, labels: &str) {
        assert_eq!(run(stages, line).map(|(_, labels)| labels).as_deref(), Some(labels), "{stages}");
    }

    #[test]
    fn line_filters_keep_lines() {
        let passes = |stages: &str| run(stages, "Error: disk full (42)").is_some();
        for stages in
            ["|= `disk`", "|= `x` or `full`", "!= `x` or `y`", "|~ `(?i)error`", "!~ `^disk`", "|> `<_>disk <_>(<_>)`"]
        {
            assert!(passes(stages), "{stages}");
        }
        for stages in
            ["|= `Disk`", "!= `x` or `full`", "|~ `^disk`", "|> `disk<_>`", "!> `Error<_>`", "|= `disk` != `full`"]
        {
            assert!(!passes(stages), "{stages}");
        }
    }

    #[test]
    fn parsers_find_labels() {
        let json = r#"{"a": "other", "n": 1.50, "deep": {"k y": true, "list": [1, {"x": "y"}]}, "null": null}"#;
        check("| json", json, r#"{a_extracted="other", deep_k_y="true", n="1.5"}"#);
        check(r#"| json x="deep.list[1].x", y=`deep["k y"]`, n"#, json, r#"{n="1.5", x="y", y="true"}"#);
        check("| json", "no json", r#"{__error__="JSONParserErr"}"#);
        check("| logfmt", r#"ts=1 msg="a \"b\" c" flag empty="#, r#"{msg="a \"b\" c", ts="1"}"#);
        check("| logfmt m=\"msg\"", r#"ts=1 msg=x"#, r#"{m="x"}"#);
        check("| pattern `<_> [<level>] <rest>`", "now [WARN] all is well", r#"{level="WARN", rest="all is well"}"#);
        check(r"| regexp `took (?P<took>\d+)ms`", "it took 12ms", r#"{took="12"}"#);
        check("| regexp `(?P<x>z)`", "it took 12ms", "{}");
        check("| unpack", r#"{"_entry": "text", "pod": "p"}"#, r#"{pod="p"}"#);
    }

    #[test]
    fn labels_are_filtered_and_formatted() {
        let line = "took=1.5s size=2KiB code=500 name=Ada";
        for stages in [
            "took > 1s",
            "took >= 1500ms and size <= 2048",
            "size = 2KiB",
            "code >= 500, name = `Ada`",
            "code < 1 or (name =~ `A.*` and code != 1)",
            "name !~ `B.*`",
            "missing = ``",
        ] {
            assert!(run(&format!("| logfmt | {stages}"), line).is_some(), "{stages}");
        }
        for stages in ["took < 1s", "code = 200", "name = `ada`", "missing > 1", "missing != ``"] {
            assert!(run(&format!("| logfmt | {stages}"), line).is_none(), "{stages}");
        }
        let (text, labels) = run("| logfmt | line_format `{{.name}}!` | keep name", line).unwrap();
        assert_eq!((text.as_str(), labels.as_str()), ("Ada!", r#"{name="Ada"}"#));
        check(
            "| logfmt | label_format who=name, n=`{{.code}}x` | drop took, size, code",
            line,
            r#"{n="500x", who="Ada"}"#,
        );
        check("| logfmt | drop code=`200`, name=~`A.*`, took, size", line, r#"{code="500"}"#);
        assert_eq!(run("| decolorize", "\u{1b}[31mred\u{1b}[0m").unwrap().0, "red");
        assert_eq!(run("| decolorize", "\u{1b}[").unwrap().0, "");
    }

    /// 200 labels of 1 MiB from one record, by each stage that can repeat what it reads.
    #[test]
    fn what_stages_make_of_a_record_is_limited() {
        let times = |part: &dyn Fn(usize) -> String| (0..200).map(part).collect::<Vec<_>>().join(", ");
        let long = "x".repeat(1 << 20);
        let json = format!(r#"{{"k": "{long}"}}"#);
        let logfmt = format!("k={long}");
        let groups = (0..20).map(|n| format!("(?P<a{n}>")).collect::<String>();
        for (stages, line) in [
            (format!("| label_format {}", times(&|n| format!("a{n}=`{{{{ repeat 1048576 \"x\" }}}}`"))), "x"),
            (format!("| json {}", times(&|n| format!("a{n}=\"k\""))), json.as_str()),
            (format!("| logfmt {}", times(&|n| format!("a{n}=\"k\""))), logfmt.as_str()),
            (format!("| regexp `{groups}.*{}`", ")".repeat(20)), long.as_str()),
            (format!("| pattern `<b>` {}", "| label_format c=`{{.b}}{{.c}}` ".repeat(50)), long.as_str()),
            (
                "| line_format `{{ repeat 1048576 \"x\" }}`".to_owned()
                    + &" | line_format `{{ upper __line__ }}`".repeat(9),
                "x",
            ),
        ] {
            let Expr::Log(log) = parse(&format!("{{a=\"b\"}} {stages}")).unwrap() else { panic!("{stages}") };
            let mut entry = Entry { line: line.into(), time_ns: 0, order: 0, labels: LabelSet::default() };
            assert!(Pipeline::new(&log).process(&mut entry));
            assert_eq!(entry.labels.get(ERROR), "RecordTooLargeErr", "{}", &stages[..30]);
            let bytes: usize = entry.labels.iter().map(|(name, value, _)| name.len() + value.len()).sum();
            assert!(entry.line.len() + bytes < 6 << 20, "{}: {bytes}", &stages[..30]);
        }
    }

    #[test]
    fn a_label_that_is_no_number_is_an_error_of_its_record() {
        check("| logfmt | a_extracted > 5", "a=x", r#"{__error__="LabelFilterErr", a_extracted="x"}"#);
        assert!(run("| logfmt | b > 5 | __error__ = ``", "b=x").is_none());
    }
}
