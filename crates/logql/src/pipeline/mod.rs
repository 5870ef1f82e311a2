//! Passes a record through the stages of a query.

mod failure;
mod fields;
mod json;

use std::borrow::Cow;

use memchr::memmem;

use crate::ast::{
    CompareOp, LabelFilter, LabelRef, LabelValue, LineFilter, LineText, LogExpr, NumberUnit, PatternPart, Stage, Unwrap,
};
use crate::ip::IpFilter;
use crate::labels::{Entry, LabelSet};
use crate::template::Failure;
use crate::units::{parse_bytes, parse_duration_ns};

use failure::fail;
pub(crate) use failure::{ERROR, is_of_parser};
pub use fields::logfmt_fields;
pub use json::{FoundField, json_fields};

/// Maximum total size of the data that the stages of a query derive from a record, or twice its line if that is more:
/// results of template functions, lines, and labels. Unit: bytes.
const MADE_BYTES_MAX: usize = 4 << 20;

/// The stages of a query, ready to be applied to records.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Line filters before all other stages: they need the message alone.
    first: Vec<Filter>,
    stages: Vec<Step>,
    /// The time that `now` of a template returns. Unit: nanoseconds since the epoch.
    now_ns: i64,
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
    Ip(IpFilter),
}

impl Filter {
    fn new(filter: &LineFilter) -> Self {
        let searcher = |text: &LineText| match text {
            LineText::Plain(text) => Searcher::Plain(Box::new(memmem::Finder::new(text).into_owned())),
            LineText::Regex(regex) | LineText::Pattern(regex) => Searcher::Regex(regex.clone()),
            LineText::Ip(filter) => Searcher::Ip(*filter),
        };
        Self { texts: filter.texts.iter().map(searcher).collect(), is_negated: filter.is_negated }
    }

    fn keeps(&self, line: &str) -> bool {
        let has = self.texts.iter().any(|text| match text {
            Searcher::Plain(finder) => finder.find(line.as_bytes()).is_some(),
            Searcher::Regex(regex) => regex.is_match(line),
            Searcher::Ip(filter) => filter.is_in(line),
        });
        has != self.is_negated
    }
}

impl Pipeline {
    /// The stages of an expression; `now_ns` is the time that `now` of a template returns, in nanoseconds since the epoch.
    pub fn new(log: &LogExpr, now_ns: i64) -> Self {
        let (mut first, mut stages) = (Vec::new(), Vec::new());
        for stage in &log.stages {
            match stage {
                Stage::Line(filter) if stages.is_empty() => first.push(Filter::new(filter)),
                Stage::Line(filter) => stages.push(Step::Line(Filter::new(filter))),
                other => stages.push(Step::Other(other.clone())),
            }
        }
        Self { first, stages, now_ns }
    }

    /// Returns false if the message of a record alone excludes the record.
    pub fn may_pass(&self, line: &str) -> bool {
        self.first.iter().all(|filter| filter.keeps(line))
    }

    /// Applies the stages to a record for which [`Pipeline::may_pass`] is true; false when it does not pass.
    ///
    /// If the stages derive more than 4 MiB and more than twice its line from a record, the record gets an error and
    /// the remaining stages derive nothing.
    pub fn process(&self, entry: &mut Entry<'_>) -> bool {
        entry.labels.left = MADE_BYTES_MAX.max(entry.line.len().saturating_mul(2));
        self.stages.iter().all(|step| match step {
            Step::Line(filter) => filter.keeps(&entry.line),
            Step::Other(stage) => {
                let keeps = apply(stage, entry, self.now_ns);
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

fn apply(stage: &Stage, entry: &mut Entry<'_>, now_ns: i64) -> bool {
    match stage {
        Stage::Line(filter) => return Filter::new(filter).keeps(&entry.line),
        Stage::Labels(filter) => return keeps(filter, &mut entry.labels),
        Stage::Json(json_fields) => json::extract(json_fields, entry),
        Stage::Unpack => json::unpack(entry),
        Stage::Logfmt(logfmt) => fields::extract_logfmt(logfmt, entry),
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
            let mut left = entry.labels.left;
            let line = template.render(entry, now_ns, &mut left);
            if let Some(line) = made(line, left, &mut entry.labels) {
                entry.line = Cow::Owned(line);
            }
        }
        Stage::LabelFormat(formats) => format_labels(formats, entry, now_ns),
        Stage::Drop(labels) => entry.labels.retain(|name, value| !names(labels, name, value)),
        Stage::Keep(labels) => entry.labels.retain(|name, value| names(labels, name, value) || name.starts_with("__")),
        Stage::Decolorize => entry.line = Cow::Owned(without_colors(&entry.line)),
    }
    true
}

/// What a template made of a record; none if that is too much, or an error of the record. Unit of `left`: bytes.
fn made(rendered: Result<String, Failure>, left: usize, labels: &mut LabelSet<'_>) -> Option<String> {
    labels.left = left;
    match rendered {
        Ok(text) => Some(text),
        Err(Failure::TooLarge) => {
            labels.use_up();
            None
        }
        Err(Failure::Wrong(message)) => {
            fail(labels, "TemplateFormatErr", message);
            None
        }
    }
}

/// Renames labels, and sets those that have a template. All templates see the labels before the first of them.
fn format_labels(formats: &[(String, LabelValue)], entry: &mut Entry<'_>, now_ns: i64) {
    let mut before: Option<Entry<'_>> = None;
    for (name, value) in formats {
        let template = match value {
            LabelValue::Rename(from) => {
                entry.labels.rename(from, name);
                continue;
            }
            LabelValue::Template(template) => template,
        };
        let mut left = entry.labels.left;
        let value = match formats.len() {
            1 => template.render(entry, now_ns, &mut left),
            _ => template.render(before.get_or_insert_with(|| entry.clone()), now_ns, &mut left),
        };
        if let Some(value) = made(value, left, &mut entry.labels) {
            entry.labels.set(name, value);
        }
        if entry.labels.is_over {
            return;
        }
    }
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
        LabelFilter::Ip { name, filter, is_negated } => {
            labels.has(ERROR) || (labels.has(name) && filter.is_in(labels.get(name)) != *is_negated)
        }
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

/// Returns the number in a label; a duration in seconds.
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
        self.filters.iter().all(|filter| keeps(filter, labels)).then(|| number.unwrap_or(0.0))
    }
}

fn extract_pattern(parts: &[PatternPart], entry: &mut Entry<'_>) {
    let line = entry.line.clone();
    let mut rest: &str = &line;
    let mut parts = parts.iter().peekable();
    // The line must begin with a text at the start.
    if let Some(PatternPart::Text(text)) = parts.peek() {
        let Some(after) = rest.strip_prefix(text.as_str()) else { return };
        rest = after;
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

/// Removes the escape sequences that colour text in a terminal.
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
        let pipeline = Pipeline::new(&log, 0);
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
        check("| json", json, r#"{a_extracted="other", deep_k_y="true", n="1.50"}"#);
        check(r#"| json x="deep.list[1].x", y=`deep["k y"]`, n"#, json, r#"{n="1.50", x="y", y="true"}"#);
        check(r#"| json list="deep.list", none="deep.none""#, json, r#"{list="[1, {\"x\": \"y\"}]"}"#);
        // Numbers stay as they are written.
        check(
            "| json",
            r#"{"id": 123456789012345678901234567890, "e": 1E+2}"#,
            r#"{e="1E+2", id="123456789012345678901234567890"}"#,
        );
        check("| json", r#"{"x": "\ud800"}"#, r#"{__error__="JSONParserErr"}"#);
        check("| json", "no json", r#"{__error__="JSONParserErr"}"#);
        check("| logfmt", r#"ts=1 msg="a \"b\" c" flag empty="#, r#"{msg="a \"b\" c", ts="1"}"#);
        check("| logfmt m=\"msg\"", r#"ts=1 msg=x"#, r#"{m="x"}"#);
        check("| logfmt m=\"msg\"", r#"msg=x msg=y"#, r#"{m="y"}"#);
        check("| logfmt", r#"ts=1 ts="#, r#"{ts="1"}"#);
        // Of flags and fields without a value, only if they are asked for.
        check("| logfmt --keep-empty", r#"ts=1 flag empty="#, r#"{empty="", flag="", ts="1"}"#);
        check("| logfmt --keep-empty m=\"msg\", n=\"none\"", "msg=", r#"{m="", n=""}"#);
        // Up to the first error, if lines that are not logfmt are errors.
        check("| logfmt --strict", r#"ts=1 =2 n=3"#, r#"{__error__="LogfmtParserErr", ts="1"}"#);
        check("| logfmt", r#"ts=1 =2 n=3"#, r#"{n="3", ts="1"}"#);
        check("| pattern `<_> [<level>] <rest>`", "now [WARN] all is well", r#"{level="WARN", rest="all is well"}"#);
        check(r"| regexp `took (?P<took>\d+)ms`", "it took 12ms", r#"{took="12"}"#);
        check("| regexp `(?P<x>z)`", "it took 12ms", "{}");
        // A pattern begins where the line does.
        check("| pattern `took <took>ms`", "it took 12ms", "{}");
        check("| pattern `it <_> <took>ms`", "it took 12ms", r#"{took="12"}"#);
        check("| unpack", r#"{"_entry": "text", "pod": "p"}"#, r#"{pod="p"}"#);
        // A line that was not packed stays as it is.
        check("| unpack", r#"{"pod": "p"}"#, "{}");
        check("| json", r#"{" a b ": "x"}"#, r#"{a_b="x"}"#);
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
        let line = "took=1.5s size=2KiB code=500 name=Ada peer=10.1.2.3";
        for stages in ["peer = ip(`10.0.0.0/8`)", "peer != ip(`11.0.0.0/8`)"] {
            assert!(run(&format!("| logfmt | {stages}"), line).is_some(), "{stages}");
        }
        for stages in ["peer != ip(`10.1.2.3`)", "missing = ip(`10.1.2.3`)", "missing != ip(`10.1.2.3`)"] {
            assert!(run(&format!("| logfmt | {stages}"), line).is_none(), "{stages}");
        }
        assert!(run("|= ip(`10.0.0.0/8`) != ip(`10.1.2.4-10.1.2.9`)", line).is_some());
        let line = "took=1.5s size=2KiB code=500 name=Ada";
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
            assert!(Pipeline::new(&log, 0).process(&mut entry));
            assert_eq!(entry.labels.get(ERROR), "RecordTooLargeErr", "{}", &stages[..30]);
            let bytes: usize = entry.labels.iter().map(|(name, value, _)| name.len() + value.len()).sum();
            assert!(entry.line.len() + bytes < 6 << 20, "{}: {bytes}", &stages[..30]);
        }
    }

    #[test]
    fn labels_are_renamed_and_formatted_at_once() {
        // Templates see the labels before the stage.
        check("| logfmt | label_format x=`{{.y}}`, y=`{{.x}}`", "x=1 y=2", r#"{x="2", y="1"}"#);
        check("| logfmt | label_format x=y", "x=1 y=2", r#"{x="2"}"#);
        check("| logfmt | label_format x=nothing", "x=1 y=2", r#"{x="1", y="2"}"#);
        let (line, labels) = run("| line_format `{{ div 1 0 }}`", "text").unwrap();
        assert_eq!((line.as_str(), labels.as_str()), ("text", r#"{__error__="TemplateFormatErr"}"#));
        check("| label_format x=`{{ div 1 0 }}`", "text", r#"{__error__="TemplateFormatErr"}"#);
    }

    #[test]
    fn a_label_that_is_no_number_is_an_error_of_its_record() {
        check("| logfmt | a_extracted > 5", "a=x", r#"{__error__="LabelFilterErr", a_extracted="x"}"#);
        assert!(run("| logfmt | b > 5 | __error__ = ``", "b=x").is_none());
    }
}
