//! Queries from their text to their result, on records that are handed in.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

use std::borrow::Cow;

use runlog_logql::{Category, Entry, Expr, LabelSet, Matrix, MetricPlan, Pipeline, Steps, parse, parse_selector};

const SECOND: i64 = 1_000_000_000;

/// A record: its second, the value of the label `app`, and its line.
type Line = (i64, &'static str, &'static str);

const LINES: [Line; 8] = [
    (1, "a", "took=10ms level=info"),
    (2, "a", "took=30ms level=error"),
    (3, "b", "took=20ms level=info"),
    (5, "a", "took=50ms level=info"),
    (6, "b", "no fields"),
    (8, "b", "took=5ms level=error"),
    (9, "a", "took=1s level=info"),
    (10, "a", "took=40ms level=info"),
];

fn entry(line: &Line) -> Entry<'static> {
    let mut labels = LabelSet::default();
    labels.push("app", line.1, Category::Stream);
    Entry { line: Cow::Borrowed(line.2), time_ns: line.0 * SECOND, order: 0, labels }
}

/// The values at the seconds 4, 8 and 12, as text: `{labels} v v v`; a dash where there is none.
fn evaluate(query: &str) -> Result<Vec<String>, String> {
    let Expr::Metric(expr) = parse(query).map_err(|error| error.to_string())? else { panic!("{query}") };
    let plan = MetricPlan::new(&expr, Steps { start_ns: 4 * SECOND, step_ns: 4 * SECOND, count: 3 }, 0).unwrap();
    let mut sets = Vec::new();
    for leaf in plan.leaves() {
        // Two sets, filled in the reverse order: the result does not depend on it.
        let mut parts = [leaf.sample_set(), leaf.sample_set()];
        let (after, until) = leaf.time_range_ns();
        for (index, line) in LINES.iter().rev().enumerate() {
            let time = line.0 * SECOND;
            let is_selected = leaf
                .selection()
                .matchers()
                .iter()
                .all(|matcher| matcher.fits(if matcher.name == "app" { line.1 } else { "" }));
            if is_selected && time > after && time <= until && leaf.may_pass(line.2) {
                leaf.add(&mut parts[index % 2], entry(line)).map_err(|error| error.to_string())?;
            }
        }
        let [mut set, other] = parts;
        set.merge(other).map_err(|error| error.to_string())?;
        sets.push(set);
    }
    let shown =
        |value: &Option<f64>| value.map_or_else(|| "-".to_owned(), |value| ((value * 1e6).round() / 1e6).to_string());
    Ok(match plan.evaluate(sets).map_err(|error| error.to_string())? {
        Matrix::Number(number) => vec![number.to_string()],
        Matrix::Series(series) => series
            .iter()
            .map(|one| format!("{} {}", one.labels, one.values.iter().map(shown).collect::<Vec<_>>().join(" ")))
            .collect(),
    })
}

#[track_caller]
fn check(query: &str, expected: &[&str]) {
    assert_eq!(evaluate(query).unwrap(), expected, "{query}");
}

#[test]
fn records_are_counted_in_the_range_before_each_instant() {
    check(r#"count_over_time({app=~".+"}[4s])"#, &[r#"{app="a"} 2 1 2"#, r#"{app="b"} 1 2 -"#]);
    // Ranges that overlap, and one that leaves gaps.
    check(r#"sum(count_over_time({app=~".+"}[8s]))"#, &["{} 3 6 5"]);
    check(r#"sum(count_over_time({app=~".+"}[1s]))"#, &["{} - 1 -"]);
    check(r#"sum(rate({app=~".+"}[4s]))"#, &["{} 0.75 0.75 0.5"]);
    check(r#"sum(count_over_time({app=~".+"}[4s] offset 4s))"#, &["{} - 3 3"]);
    check(r#"sum by (app) (bytes_over_time({app="b"}[4s]))"#, &[r#"{app="b"} 20 29 -"#]);
    check(r#"sum by (app) (bytes_over_time({app="b"} | line_format `` [4s]))"#, &[r#"{app="b"} 0 0 -"#]);
    check(r#"sum(count_over_time({app=~".+"} |= "error" [4s]))"#, &["{} 1 1 -"]);
    check(r#"absent_over_time({app="b"}[4s])"#, &[r#"{app="b"} - - 1"#]);
    // A label that is compared twice has no single value.
    check(r#"absent_over_time({app="b", app=~"b|c"}[4s])"#, &["{} - - 1"]);
    check(
        r#"sum by (level) (count_over_time({app=~".+"} | logfmt [4s]))"#,
        &["{} - 1 -", r#"{level="error"} 1 1 -"#, r#"{level="info"} 2 1 2"#],
    );
}

#[test]
fn numbers_in_lines_are_unwrapped() {
    let unwrap = r#"({app="a"} | logfmt | unwrap duration(took) [8s]) by (app)"#;
    check(&format!("max_over_time{unwrap}"), &[r#"{app="a"} 0.03 0.05 1"#]);
    check(&format!("min_over_time{unwrap}"), &[r#"{app="a"} 0.01 0.01 0.04"#]);
    check(&format!("avg_over_time{unwrap}"), &[r#"{app="a"} 0.02 0.03 0.363333"#]);
    check(&format!("quantile_over_time(0.5, {}", &unwrap[1..]), &[r#"{app="a"} 0.02 0.03 0.05"#]);
    check(&format!("first_over_time{unwrap}"), &[r#"{app="a"} 0.01 0.01 0.05"#]);
    check(&format!("last_over_time{unwrap}"), &[r#"{app="a"} 0.03 0.05 0.04"#]);
    check(&format!("stdvar_over_time{unwrap}"), &[r#"{app="a"} 0.0001 0.000267 0.202689"#]);
    check(r#"sum(sum_over_time({app="a"} | logfmt | unwrap duration(took) [8s]))"#, &["{} 0.04 0.09 1.09"]);
    let error = evaluate(r#"sum_over_time({app="a"} | logfmt | unwrap level [8s])"#).unwrap_err();
    assert!(error.contains("SampleExtractionErr") && error.contains("Use a label filter"), "{error}");
    check(r#"sum(sum_over_time({app="a"} | logfmt | unwrap level | __error__="" [8s]))"#, &[]);
}

#[test]
fn filters_after_unwrap_can_compare_the_label_itself() {
    let long = r#"({app="a"} | logfmt | unwrap duration(took) | took > 35ms [8s])"#;
    check(&format!("sum(sum_over_time{long})"), &["{} - 0.05 1.09"]);
    // It is a label of the series only if the query groups by it.
    check(
        &format!("max_over_time{long} by (took)"),
        &[r#"{took="1s"} - - 1"#, r#"{took="40ms"} - - 0.04"#, r#"{took="50ms"} - 0.05 0.05"#],
    );
    check(&format!("max_over_time{long} without (level)"), &[r#"{app="a"} - 0.05 1"#]);
    check(&format!("max_over_time{long}"), &[r#"{app="a", level="info"} - 0.05 1"#]);
}

/// The counter of `took`, which falls from 30 to 20 ms and from 1 s to 40 ms, as if it had begun again.
#[test]
fn the_rate_of_a_counter_ignores_that_it_begins_again() {
    let rate = |selector: &str, range: &str| {
        format!("rate_counter({selector} | logfmt took | unwrap duration(took) [{range}])")
    };
    // In the first 4 s, from 10 ms after 1 s to 30 ms after 2 s. It can have begun 0.5 s before.
    check(&format!("sum({})", rate(r#"{app="a"}"#, "4s")), &["{} 0.0075 0 0.015"]);
    let error = evaluate(r#"rate_counter({app="a"}[4s])"#).unwrap_err();
    assert!(error.contains("col 1: invalid aggregation rate_counter without unwrap"), "{error}");
    // A single sample has no increase, and one that is absent no value.
    check(&format!("sum({})", rate(r#"{app="b"}"#, "4s")), &["{} 0 0 -"]);
}

#[test]
fn records_with_errors_count_only_in_queries_that_name_errors() {
    let error = evaluate(r#"sum(count_over_time({app=~".+"} | json [4s]))"#).unwrap_err();
    assert!(error.contains("pipeline error: 'JSONParserErr'"), "{error}");
    check(r#"sum(count_over_time({app=~".+"} | json | __error__="" [4s]))"#, &[]);
    check(
        r#"sum by (__error__) (count_over_time({app=~".+"} | json [4s]))"#,
        &[r#"{__error__="JSONParserErr"} 3 3 2"#],
    );
    check(r#"sum(count_over_time({app=~".+"} | json | __error__!="" [4s]))"#, &["{} 3 3 2"]);
    // A number that cannot be read is no sample.
    let error = evaluate(r#"sum by (__error__) (sum_over_time({app="a"} | logfmt | unwrap level [8s]))"#).unwrap_err();
    assert!(error.contains("SampleExtractionErr"), "{error}");
}

#[test]
fn a_division_by_zero_is_not_a_number_and_ranks_last() {
    let count = r#"count_over_time({app=~".+"}[4s])"#;
    check(&format!("{count} / 0"), &[r#"{app="a"} NaN NaN NaN"#, r#"{app="b"} NaN NaN -"#]);
    check("1 / 0", &["NaN"]);
    check("5 % 0", &["NaN"]);
    let share = format!("({count} - 1) / ({count} - 1)");
    check(&share, &[r#"{app="a"} 1 NaN 1"#, r#"{app="b"} NaN 1 -"#]);
    check(&format!("topk(1, {share})"), &[r#"{app="a"} 1 - 1"#, r#"{app="b"} - 1 -"#]);
    check(&format!("bottomk(1, {share})"), &[r#"{app="a"} 1 - 1"#, r#"{app="b"} - 1 -"#]);
    check(&format!("max({share})"), &["{} 1 1 1"]);
    check(&format!("min({count} / 0)"), &["{} NaN NaN NaN"]);
}

#[test]
fn series_are_aggregated_and_combined() {
    let count = r#"count_over_time({app=~".+"}[4s])"#;
    check(&format!("avg({count})"), &["{} 1.5 1.5 2"]);
    check(&format!("count without (app) ({count})"), &["{} 2 2 1"]);
    check(&format!("topk(1, {count})"), &[r#"{app="a"} 2 - 2"#, r#"{app="b"} - 2 -"#]);
    check(&format!("bottomk by (app) (1, {count})"), &[r#"{app="a"} 2 1 2"#, r#"{app="b"} 1 2 -"#]);
    check(&format!("{count} > 1"), &[r#"{app="a"} 2 - 2"#, r#"{app="b"} - 2 -"#]);
    check(&format!("{count} > bool 1"), &[r#"{app="a"} 1 0 1"#, r#"{app="b"} 0 1 -"#]);
    check(&format!("2 * {count} + 1"), &[r#"{app="a"} 5 3 5"#, r#"{app="b"} 3 5 -"#]);
    let share = format!("sum by (app) ({count}) / on () group_left () sum({count})");
    check(&share, &[r#"{app="a"} 0.666667 0.333333 1"#, r#"{app="b"} 0.333333 0.666667 -"#]);
    check(&format!("{count} and {count} > 1"), &[r#"{app="a"} 2 - 2"#, r#"{app="b"} - 2 -"#]);
    check(&format!("{count} unless {count} > 1"), &[r#"{app="a"} - 1 -"#, r#"{app="b"} 1 - -"#]);
    check(&format!("sum({count} > 1) or vector(0)"), &["{} 2 2 2"]);
    check(
        &format!(r#"label_replace({count}, "name", "x-$1", "app", "(.).*")"#),
        &[r#"{app="a", name="x-a"} 2 1 2"#, r#"{app="b", name="x-b"} 1 2 -"#],
    );
    // A name of a group is as long as can be: `$1x` is the group `1x`, which does not exist.
    check(
        &format!(r#"label_replace({count}, "name", "$1x-${{1}}y", "app", "(.).*")"#),
        &[r#"{app="a", name="-ay"} 2 1 2"#, r#"{app="b", name="-by"} 1 2 -"#],
    );
    check(&format!("approx_topk(1, {count})"), &[r#"{app="a"} 2 - 2"#, r#"{app="b"} - 2 -"#]);
    let error = evaluate(&format!("sum({count}) / ignoring (app) {count}")).unwrap_err();
    assert!(error.contains("many-to-many"), "{error}");
}

/// A long label, multiplied by an operation.
#[test]
fn what_operations_make_of_labels_is_limited() {
    let long = r#"count_over_time({app="a"} | label_format app=`{{ repeat 1000000 "x" }}` [4s])"#;
    let error = evaluate(&format!(r#"label_replace({long}, "name", "{}", "app", "(.*)")"#, "$1".repeat(100)));
    assert!(error.unwrap_err().contains("makes labels of more than 64 MiB"));
    check(&format!(r#"sum(label_replace({long}, "name", "$1$1", "app", "(.*)"))"#), &["{} 2 1 2"]);
}

#[test]
fn numbers_alone_are_calculated() {
    check("vector(1)+vector(1)", &["{} 2 2 2"]);
    check("1 + 2 * 3 ^ 2 ^ 0", &["7"]);
    check("-(1)".replace("-(1)", "10 % 4 - 1").as_str(), &["1"]);
    check("1 > bool 2", &["0"]);
}

#[test]
fn errors_name_what_is_not_supported_and_where() {
    for (query, message) in [
        ("", "col 1: syntax error: unexpected end of query"),
        ("{", "col 2: syntax error: unexpected end of query, expecting identifier"),
        ("{}", "queries require at least one regexp or equality matcher"),
        (r#"{a=~".*"}"#, "queries require at least one"),
        (r#"{a="b"} | nope"#, "col 11: nope is not a stage that is supported here"),
        (r#"{a="b"} |~ ip("1.2.3.4")"#, "col 12: ip() is only allowed after |= and !="),
        (r#"{a="b"} |= ip("1.2.3")"#, "col 15: \"1.2.3\" is not an address"),
        (r#"{a="b"} | label_format x=y, x=z"#, "multiple label name 'x' not allowed"),
        (r#"{a="b"} | line_format "{{ nope .x }}""#, "col 23: invalid template: function nope is not supported"),
        (r#"approx_topk(2, rate({a="b"}[5m])) by (x)"#, "grouping not allowed for approx_topk"),
        (r#"{a=~"("}"#, "col 5: invalid regular expression"),
        (r#"{a=~"b)(c"}"#, "invalid regular expression"),
        (r#"rate({a="b"})"#, "col 6: rate needs a range"),
        (r#"sum({a="b"})"#, "sum needs numbers"),
        (r#"rate_counter({a="b"} | unwrap x [5m]) by (y)"#, "col 39: grouping not allowed for rate_counter"),
        (r#"sort by (x) (rate({a="b"}[5m]))"#, "col 6: grouping not allowed for sort"),
        (r#"sort_desc(rate({a="b"}[5m])) by (x)"#, "col 30: grouping not allowed for sort_desc"),
        (r#"vector(1) and on (x) group_left vector(1)"#, "col 11: group_left and group_right are not allowed with and"),
        (r#"{a="b"} | distinct x"#, "col 11: distinct is not a stage that is supported here"),
        (r#"rate({a="b"}[5m] @ 5)"#, "col 18: syntax error: unexpected \"@\""),
        (r#"rate({a="b"}[5m:1m])"#, "col 16: syntax error: unexpected \":\""),
        (r#"{a="b"} |> "<x> y""#, "col 12: the pattern of a line filter has no names; write <_> instead of <x>"),
        (r#"{a="b"} |> "<_><_>""#, "col 12: two captures of a pattern need some text between them"),
        (r#"{a="b"} | pattern "<x> <x>""#, "col 19: a pattern has two captures with the name \"x\""),
        (r#"{a="b"} | regexp "(?P<x.y>z)""#, "col 18: \"x.y\" is not the name of a label"),
        (r#"{a="b"}[5m]"#, "a range or unwrap is only allowed within a function"),
        (r#"sum_over_time({a="b"}[5m])"#, "invalid aggregation sum_over_time without unwrap"),
        (r#"count_over_time({a="b"}[5m]) by (x)"#, "grouping not allowed for count_over_time"),
        ("{a=\"b\"}\n| line_format \"{{ range .x }}\"", "line 2, col 15: invalid template"),
        (r#"{a="b"} + 1"#, "its left side has records"),
        (r#"{a="b"} | logfmt --keep"#, "col 18: --keep is not a flag of logfmt"),
        ("1 > 2", "a comparison of two numbers needs bool"),
        (r#"topk(0, rate({a="b"}[5m]))"#, "topk needs a whole number of series"),
    ] {
        let error = parse(query).unwrap_err().to_string();
        assert!(error.starts_with("parse error at line ") && error.contains(message), "{query}: {error}");
    }
}

#[test]
fn deep_and_long_queries_are_refused() {
    for query in [
        "(".repeat(100_000),
        "sum(".repeat(100_000),
        format!("{}{{a=\"b\"}}{}", "(".repeat(30_000), ")".repeat(30_000)),
        format!("{{a=\"b\"}} | {}", "(".repeat(100_000)),
        "1+".repeat(10_000) + "1",
        "2^".repeat(10_000) + "1",
        format!("{{a=\"b\"}}{}", "|= `x`".repeat(10_000)),
        format!("{{a=\"b\"}} | a > 1{}", " and a > 1".repeat(10_000)),
        format!("{{a=\"b\"}} |~ `{}`", "(a{1000}){1000}"),
        format!("{{a=\"b\"}} |~ `{}`", "(".repeat(100_000)),
        format!("{{a=\"b\"}} | line_format `{{{{ .a{} }}}}`", "|int".repeat(30_000)),
        format!("{{a=\"b\"}} | label_format x=`{{{{ .a{} }}}}`", "|int".repeat(30_000)),
        format!("{{a=\"b\"}} | label_format x=`{{{{ if .a{} }}}}{{{{ end }}}}`", "|int".repeat(30_000)),
    ] {
        assert!(parse(&query).is_err(), "{}", &query[..40]);
    }
}

#[test]
fn parentheses_around_a_selector_change_nothing() {
    for query in [r#"({app="a"})"#, r#"(({app="a"}) |= "x")"#, r#"(({app="a"} |= "x"))"#] {
        assert!(matches!(parse(query).unwrap(), Expr::Log(_)), "{query}");
    }
    check(r#"sum((count_over_time((({app="a"}) |= "took")[4s])))"#, &["{} 2 1 2"]);
    assert!(parse_selector("{}").unwrap().is_empty());
}

#[test]
fn what_a_record_needs_is_known_before_it_is_read() {
    let needs = |query: &str| {
        let Expr::Metric(expr) = parse(query).unwrap() else { panic!() };
        MetricPlan::new(&expr, Steps { start_ns: 0, step_ns: 1, count: 1 }, 0).unwrap().leaves()[0].needs()
    };
    let by = needs(r#"sum by (level, detected_level) (count_over_time({a="b"} | drop __error__ [1m]))"#);
    assert!(!by.line && !by.all_labels && by.label("level") && by.label("detected_level") && !by.label("run_id"));
    assert!(needs(r#"count_over_time({a="b"}[1m])"#).all_labels);
    assert!(needs(r#"sum(rate({a="b"} |= "x" [1m]))"#).line);
    assert!(!needs(r#"sum(rate({a="b"} |= "" |~ "" or "x" [1m]))"#).line);
    assert!(needs(r#"sum(rate({a="b"} != "" [1m]))"#).line);
    assert!(needs(r#"sum(bytes_rate({a="b"}[1m]))"#).line);
    assert!(needs(r#"sum by (x) (rate({a="b"} | json [1m]))"#).all_labels);
    assert!(needs(r#"sum(rate({a="b"} | x > 5 [1m]))"#).label("x"));
}

#[test]
fn texts_that_every_line_contains_are_known() {
    let Expr::Log(log) =
        parse(r#"{a="b"} |= "one" |= "two" or "three" != "four" |~ "(?i)five" | json |= "six""#).unwrap()
    else {
        panic!()
    };
    assert_eq!(log.selection().required_texts(), ["one"]);
    assert_eq!(log.selection().required_caseless_texts(), ["five"]);
}

mod random {
    use super::*;
    use proptest::prelude::*;

    fn any_query() -> impl Strategy<Value = String> {
        let word = prop::sample::select(vec![
            "{",
            "}",
            "(",
            ")",
            "[",
            "]",
            "a",
            "b",
            "=",
            "!=",
            "=~",
            "!~",
            "\"x\"",
            "\"(\"",
            "`y`",
            "|",
            "|=",
            "|~",
            "|>",
            "json",
            "logfmt",
            "pattern",
            "regexp",
            "unwrap",
            "line_format",
            "label_format",
            "drop",
            "keep",
            "sum",
            "by",
            "without",
            "rate",
            "count_over_time",
            "quantile_over_time",
            "topk",
            "5m",
            "1",
            "0.5",
            ",",
            "+",
            "-",
            "/",
            "and",
            "or",
            "unless",
            "on",
            "group_left",
            "bool",
            "offset",
            ">",
            "\"{{.a}}\"",
            "\"<a> <_>\"",
            "\"(?P<n>.)\"",
            "{a=\"b\"}",
            "[5m]",
            "vector",
            "label_replace",
            "ip",
            "--strict",
            "unpack",
            "decolorize",
            "# c\n",
            "é",
            "\\",
        ]);
        prop::collection::vec(word, 0..24).prop_map(|words| words.join(" "))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        #[test]
        fn no_text_makes_the_parser_panic(query in ".{0,200}") {
            let _ = parse(&query);
        }

        #[test]
        fn no_query_makes_the_evaluation_panic(query in any_query(), line in ".{0,60}") {
            match parse(&query) {
                Err(error) => prop_assert!(error.line >= 1 && error.column >= 1),
                Ok(Expr::Log(log)) => {
                    let pipeline = Pipeline::new(&log, 0);
                    let mut entry = entry(&LINES[0]);
                    entry.line = Cow::Borrowed(&line);
                    let _ = pipeline.may_pass(&line) && pipeline.process(&mut entry);
                }
                Ok(Expr::Metric(_)) => drop(evaluate(&query)),
            }
        }

        #[test]
        fn no_line_makes_a_stage_panic(line in ".{0,200}") {
            for stages in ["json", "logfmt", "logfmt --strict", "unpack", "decolorize", "pattern `<a> <_>x<b>`", "json x=`a[0].b`"] {
                let Expr::Log(log) = parse(&format!("{{a=`b`}} | {stages}")).unwrap() else { panic!() };
                let mut entry = entry(&LINES[0]);
                entry.line = Cow::Borrowed(&line);
                Pipeline::new(&log, 0).process(&mut entry);
            }
        }

        /// Counts in overlapping ranges are those of a naive count.
        #[test]
        fn counts_are_those_of_a_naive_count(
            times in prop::collection::vec(-50..50_i64, 0..40), range in 1..30_i64, step in 1..20_i64, offset in -10..10_i64,
        ) {
            let sign = if offset < 0 { "-" } else { "" };
            let query = format!("count_over_time({{app=`a`}}[{range}s] offset {sign}{}s)", offset.abs());
            let Expr::Metric(expr) = parse(&query).unwrap() else { panic!() };
            let steps = Steps { start_ns: -20 * SECOND, step_ns: step * SECOND, count: 5 };
            let plan = MetricPlan::new(&expr, steps, 0).unwrap();
            let mut set = plan.leaves()[0].sample_set();
            for time in &times {
                let entry = Entry { time_ns: time * SECOND, ..entry(&(0, "a", "x")) };
                plan.leaves()[0].add(&mut set, entry).unwrap();
            }
            let Matrix::Series(series) = plan.evaluate(vec![set]).unwrap() else { panic!() };
            for index in 0..5 {
                let at = -20 + step * index - offset;
                let naive = times.iter().filter(|time| **time > at - range && **time <= at).count();
                let value = series.first().and_then(|series| series.values[index as usize]);
                prop_assert_eq!(value.unwrap_or(0.0), naive as f64);
            }
        }
    }
}
