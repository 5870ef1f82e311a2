//! Templates of `line_format` and `label_format`: Go's `text/template`, with the functions that Loki offers.
//!
//! ```text
//! text ▸ parse: parts, expressions ▸ render: values, functions ▸ text
//! ```
//!
//! A template is refused when it is parsed if it names a function that does not exist, calls one with too many or too few
//! arguments, or defines other templates. A call that fails for the values of a record, such as a quotient by zero, is an
//! error of that record.

mod functions;
mod numbers;
mod parse;
mod printf;
mod render;
mod times;
mod value;

use regex::Regex;

use crate::labels::Entry;
pub(crate) use crate::template::functions::Failure;
use crate::template::parse::{Expr, Part, Pipeline};
use crate::template::render::Renderer;
use crate::template::value::Value;

/// A parsed template.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    parts: Vec<Part>,
    variables: usize,
}

impl Template {
    /// Parses a template, whose regular expressions are compiled by `compile`; the error says what is wrong.
    pub(crate) fn parse(text: &str, compile: &dyn Fn(&str) -> Result<Regex, String>) -> Result<Self, String> {
        let (parts, variables) = parse::parse(text, compile)?;
        Ok(Self { parts, variables })
    }

    /// Renders the text for a record at a time. The size of the text and of the results of functions is subtracted from
    /// `left`, and must not exceed it. Units: nanoseconds since the epoch; bytes.
    pub(crate) fn render(&self, entry: &Entry<'_>, now_ns: i64, left: &mut usize) -> Result<String, Failure> {
        let root = Value::Labels(&entry.labels);
        let mut variables = vec![Value::Nil; self.variables];
        if let Some(first) = variables.first_mut() {
            *first = root.clone();
        }
        let mut renderer = Renderer { entry, now_ns, left, output: String::new(), variables, loops: 0 };
        renderer.parts(&self.parts, &root)?;
        Ok(renderer.output)
    }

    /// The labels that it names.
    pub(crate) fn fields(&self) -> Vec<&str> {
        let mut fields = Vec::new();
        each_expr(&self.parts, &mut |expr| {
            if let Expr::Member(_, names) = expr {
                fields.extend(names.first().map(String::as_str));
            }
        });
        fields
    }

    /// Returns true if the template may read labels that it does not name, because it uses all labels as one value.
    pub(crate) fn reads_all_labels(&self) -> bool {
        let mut reads = false;
        each_expr(&self.parts, &mut |expr| {
            let mut look = |expr: &Expr| reads |= matches!(expr, Expr::Dot | Expr::Variable(0));
            match expr {
                Expr::Call { args, .. } => args.iter().for_each(look),
                Expr::Member(..) => {}
                other => look(other),
            }
        });
        reads
    }

    /// True when it reads the line.
    pub(crate) fn reads_line(&self) -> bool {
        let mut reads = false;
        each_expr(&self.parts, &mut |expr| {
            reads |= matches!(expr, Expr::Call { function, .. } if function.name == "__line__");
        });
        reads
    }
}

fn each_expr<'t>(parts: &'t [Part], look: &mut impl FnMut(&'t Expr)) {
    fn within<'t>(expr: &'t Expr, look: &mut impl FnMut(&'t Expr)) {
        look(expr);
        match expr {
            // The dot before a name is not read as a whole.
            Expr::Member(of, _) if matches!(**of, Expr::Dot | Expr::Variable(_)) => {}
            Expr::Member(of, _) => within(of, look),
            Expr::Call { args, .. } => args.iter().for_each(|arg| within(arg, look)),
            _ => {}
        }
    }
    let each = |pipeline: &'t Pipeline, look: &mut _| within(&pipeline.value, look);
    for part in parts {
        match part {
            Part::Text(_) | Part::Break | Part::Continue => {}
            Part::Action(pipeline) => each(pipeline, look),
            Part::If { condition: pipeline, then, otherwise }
            | Part::With { value: pipeline, then, otherwise }
            | Part::Range { list: pipeline, body: then, otherwise } => {
                each(pipeline, look);
                each_expr(then, look);
                each_expr(otherwise, look);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::{Category, LabelSet};

    const NOW_NS: i64 = 1_700_000_000_000_000_000;

    fn parsed(template: &str) -> Result<Template, String> {
        Template::parse(template, &|expression| Regex::new(expression).map_err(|error| error.to_string()))
    }

    fn render(template: &str) -> Result<String, Failure> {
        let mut labels = LabelSet::default();
        for (name, value) in [
            ("name", "Ada"),
            ("size", "12.5"),
            ("json", r#"{"a": {"b": [1, 2.5, "x", null, true]}, "n": 1000000}"#),
            ("time", "2026-03-01T17:08:09.123456Z"),
        ] {
            labels.push(name, value, Category::Stream);
        }
        let entry = Entry { line: "the line".into(), time_ns: 1_772_384_889_123_456_789, order: 0, labels };
        parsed(template).unwrap().render(&entry, NOW_NS, &mut (1 << 20))
    }

    #[track_caller]
    fn check(template: &str, expected: &str) {
        assert_eq!(render(template).as_deref(), Ok(expected), "{template}");
    }

    #[test]
    fn a_template_makes_no_more_than_is_left() {
        let mut labels = LabelSet::default();
        labels.push("a", "x".repeat(100), Category::Stream);
        let entry = Entry { line: "".into(), time_ns: 0, order: 0, labels };
        for (template, bytes) in
            [("{{.a}}{{.a}}", 200), ("{{ len (upper .a) }}", 103), ("{{ if .a }}{{.a}}{{ end }}", 100)]
        {
            let template = parsed(template).unwrap();
            let (mut enough, mut little) = (bytes, bytes - 1);
            assert!(template.render(&entry, NOW_NS, &mut enough).is_ok());
            assert_eq!(enough, 0);
            assert_eq!(template.render(&entry, NOW_NS, &mut little), Err(Failure::TooLarge));
        }
    }

    /// Templates that would take much time or memory are stopped.
    #[test]
    fn loops_and_long_texts_are_limited() {
        for template in [
            "{{ range 1000000 }}{{ end }}",
            "{{ range 1000 }}{{ range 1000 }}{{ end }}{{ end }}",
            "{{ repeat 1000000000000 `x` }}",
            "{{ indent 1000000000 .name }}",
            "{{ alignLeft 1000000000 .name }}",
            "{{ replace `` (repeat 10000 `x`) (repeat 10000 `x`) }}",
            "{{ regexReplaceAll `` (repeat 10000 `x`) (repeat 300 `a`) }}",
            "{{ range 100 }}{{ $x := fromJson (printf `[%s0]` (repeat 10000 `0,`)) }}{{ end }}",
            "{{ $a := printf `[%s0]` (repeat 9000 `0,`) }}{{ $b := fromJson $a }}{{ $c := fromJson $a }}{{ $d := fromJson $a }}",
            "{{ regexReplaceAll `x+` (repeat 10000 `x`) (repeat 10000 `$0`) }}",
            "{{ regexReplaceAll `` (repeat 10000 `x`) (repeat 10000 `$9`) }}",
            "{{ $x := repeat 100000 `x` }}{{ range 1000 }}{{ if contains `y` $x }}{{ end }}{{ end }}",
        ] {
            assert_eq!(render(template), Err(Failure::TooLarge), "{template}");
        }
        check("{{ printf `%1000000000d` 1 }}", "%!d(BADWIDTH)%!(EXTRA int=1)");
    }

    #[test]
    fn fields_variables_and_blocks_are_rendered() {
        check("{{.name}}: {{ .name | upper | printf \"%-5s|\" }}{{.none}}", "Ada: ADA  |");
        check("{{ __line__ }} {{ __timestamp__ }}", "the line 2026-03-01 17:08:09.123456789 +0000 UTC");
        check("{{ default \"-\" .none }}{{ .name | replace \"A\" \"I\" }}", "-Ida");
        let condition = "{{ if eq .name `Bob` }}b{{ else if (gt (float64 .size) 10.0) }}big{{ else }}small{{ end }}!";
        check(condition, "big!");
        check("a {{- .name -}} b{{/* a comment */}}{{- /* another */ -}} c", "aAdabc");
        check("{{ with .name }}{{ . }}{{ $.size }}{{ end }}{{ with .none }}x{{ else }}y{{ end }}", "Ada12.5y");
        check("{{ $a := 1 }}{{ if true }}{{ $a = 2 }}{{ end }}{{ $a }}", "2");
        check(
            "{{ range $i, $e := (fromJson .json).a.b }}{{ $i }}={{ $e }};{{ end }}",
            "0=1;1=2.5;2=x;3=<no value>;4=true;",
        );
        check(
            "{{ range fromJson `[1,2,3,4]` }}{{ if eq . 2.0 }}{{ continue }}{{ end }}{{ if eq . 4.0 }}{{ break }}{{ end }}{{ . }}{{ else }}none{{ end }}",
            "13",
        );
        check("{{ range $name, $_ := . }}{{ $name }} {{ end }}", "json name size time ");
    }

    /// The expected texts are those of Go with the library Sprig.
    #[test]
    fn functions_return_what_those_of_loki_do() {
        for (template, expected) in [
            (
                "{{ add .size 1 }} {{ add 1 2 3 }} {{ sub 5 3 }} {{ mul 2 3 4 }} {{ div 7 2 }} {{ mod -7 3 }}",
                "1 6 2 24 3 -1",
            ),
            ("{{ addf 0.1 0.2 }} {{ subf 1.1 1 }} {{ mulf .size 2 }} {{ divf 10 4 }}", "0.3 0.1 25 2.5"),
            (
                "{{ max 1 3 2 }} {{ minf 1.5 .size }} {{ ceil 1.2 }} {{ floor -1.2 }} {{ round 1.256 2 }}",
                "3 1.5 2 -2 1.26",
            ),
            (
                "{{ int `0x1f` }} {{ int `12.00` }} {{ int .size }} {{ float64 .size }} {{ float64 `1e6` }}",
                "31 12 0 12.5 1e+06",
            ),
            ("{{ trunc 2 .name }}{{ trunc -1 .name }} {{ substr 1 2 .name }} {{ repeat 2 `ab` }}", "Ada d abab"),
            (
                "{{ trimPrefix `A` .name }} {{ TrimPrefix .name `A` }} {{ trimAll `x` `xax` }} {{ TrimRight `xax` `x` }}",
                "da da a xa",
            ),
            (
                "{{ Replace `banana` `a` `o` 2 }} {{ title `it's wORLD` }} {{ count `a` `banana` }}",
                "bonona It'S WORLD 3",
            ),
            ("{{ indent 2 \"a\\nb\" }}|{{ nindent 1 `a` }}", "  a\n  b|\n a"),
            ("{{ alignLeft 5 .name }}|{{ alignRight 5 .name }}|{{ alignRight 2 .name }}", "Ada  |  Ada|da"),
            (
                "{{ b64enc .name }} {{ b64dec `QWRh` }} {{ urlencode `a b/é` }} {{ urldecode `a%20b+c` }}",
                "QWRh Ada a+b%2F%C3%A9 a b c",
            ),
            (
                "{{ regexReplaceAll `(a)(d)?` .name `<${1}>` }} {{ regexReplaceAllLiteral `a` .name `$1` }}",
                "Ad<a> Ad$1",
            ),
            ("{{ bytes `1.5KiB` }} {{ duration `1h30m1.5s` }} {{ duration_seconds `500ms` }}", "1536 5401.5 0.5"),
            (
                "{{ fromJson .json }} {{ index (fromJson .json) `a` `b` 1 }} {{ len .name }}",
                "map[a:map[b:[1 2.5 x <nil> true]] n:1e+06] 2.5 3",
            ),
            (
                "{{ printf `%05.1f|%-6.2f|%+d|%x|%q|%v|%3d%%` 12.25 3.14159 5 255 .name true 7 }}",
                "012.2|3.14  |+5|ff|\"Ada\"|true|  7%",
            ),
            ("{{ printf `%x|% x|%# X|%.2x` .name .name .name .name }}", "416461|41 64 61|0X41 0X64 0X61|4164"),
            (
                "{{ printf `%d` .name }} {{ printf `%[2]s %[1]s` `a` `b` }} {{ print 1 2 `a` 3 }}",
                "%!d(string=Ada) b a 1 2a3",
            ),
            (
                "{{ contains `d` .name }} {{ hasSuffix `a` .name }} {{ eq .name `x` `Ada` }} {{ lt 1 2 }}",
                "true true true true",
            ),
            (
                "{{ slice .name 1 }} {{ html `<b>` }} {{ urlquery `a b` }} {{ or .none `x` }} {{ and 1 0 2 }}",
                "da &lt;b&gt; a+b x 0",
            ),
        ] {
            check(template, expected);
        }
    }

    #[test]
    fn times_are_read_and_written_in_layouts_of_go() {
        for (template, expected) in [
            ("{{ __timestamp__ | date `2006-01-02T15:04:05.000Z07:00` }}", "2026-03-01T17:08:09.123Z"),
            ("{{ date `Monday, Jan _2 06 3:04PM MST -0700` __timestamp__ }}", "Sunday, Mar  1 26 5:08PM UTC +0000"),
            ("{{ date `2006-01-02` 1700000000 }} {{ now | date `2006-01-02` }}", "2023-11-14 2023-11-14"),
            ("{{ toDate `2006-01-02T15:04:05Z` .time | unixEpochMillis }}", "1772384889123"),
            ("{{ toDate `02/Jan/2006:15:04:05 -0700` `01/Mar/2026:10:20:30 +0230` | date `15:04` }}", "07:50"),
            ("{{ toDate `2006-01-02` `nope` }}", "0001-01-01 00:00:00 +0000 UTC"),
            (
                "{{ toDateInZone `2006-01-02 15:04` `Europe/Berlin` `2026-07-01 12:00` }}",
                "2026-07-01 12:00:00 +0200 CEST",
            ),
            (
                "{{ unixToTime `1700000000123` | unixEpoch }} {{ unixToTime `19373` | date `2006-01-02` }}",
                "1700000000 2023-01-16",
            ),
            ("{{ unixEpochNanos __timestamp__ }}", "1772384889123456789"),
        ] {
            check(template, expected);
        }
    }

    #[test]
    fn what_fails_for_a_record_is_an_error_of_it() {
        for (template, message) in [
            ("{{ div 1 0 }}", "error calling div: integer divide by zero"),
            ("{{ gt .size 10 }}", "error calling gt: incompatible types for comparison: string and int"),
            ("{{ trunc (add 1 1) .name }}", "error calling trunc: wrong type for value; expected int; got int64"),
            ("{{ .name.x }}", "can't evaluate field x in type string"),
            ("{{ bytes .name }}", "error calling bytes: invalid size \"Ada\""),
            ("{{ unixToTime .name }}", "error calling unixToTime: unable to parse time"),
            ("{{ range .name }}{{ end }}", "range can't iterate over string"),
            ("{{ index (fromJson `[1]`) 5 }}", "error calling index: index out of range: 5"),
        ] {
            assert_eq!(render(template), Err(Failure::Wrong(message.to_owned())), "{template}");
        }
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        for wrong in [
            "{{",
            "{{ define `x` }}{{ end }}",
            "{{ template `x` }}",
            "{{ nope .a }}",
            "{{ if .a }}",
            "{{ end }}",
            "{{ else }}",
            "{{ break }}",
            "{{ (.a }}",
            "{{ .a )}}",
            "{{}}",
            "{{ upper }}",
            "{{ upper .a .b }}",
            "{{ 5 | upper }}",
            "{{ .a | 5 }}",
            "{{ $nope }}",
            "{{ .name\"x\" }}",
            "{{ regexReplaceAll .a .b .c }}",
            "{{ regexReplaceAll `(` .b .c }}",
            "{{ (now).Year }}{{ now.Year }}",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
        assert!(parsed(&"{{ if .a }}".repeat(100)).is_err());
        assert!(parsed(&format!("{{{{ if .a }}}}{}", "{{ else if .a }}".repeat(200))).is_err());
        assert!(parsed(&format!("{{{{ {}.a", "(".repeat(100_000))).is_err());
        // As deep as it is long: each function is within the next one.
        assert!(parsed(&format!("{{{{ .a{} }}}}", " | int".repeat(30_000))).is_err());
        assert!(parsed(&format!("{{{{ if .a{} }}}}{{{{ end }}}}", " | int".repeat(65))).is_err());
        assert!(parsed(&format!("{{{{ .a{} }}}}", " | int".repeat(64))).is_ok());
        assert!(parsed(&format!("{{{{ .a{} }}}}", " | int".repeat(60)).repeat(5)).is_err());
    }
}
