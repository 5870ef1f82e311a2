//! Logs whose layout is given as a conversion pattern of log4j or logback.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up fails")]

use jiff::tz::TimeZone;
use proptest::prelude::*;
use runlog_formats::{Layout, LogFormat, LogReader, Next, ReadError, ReadSettings};
use runlog_model::{Record, Timestamp};

fn read_with(settings: ReadSettings, log: &str) -> Result<Vec<Record>, ReadError> {
    let mut reader = LogReader::new(log.as_bytes(), LogFormat::Text, settings)?;
    let mut records = Vec::new();
    loop {
        let mut out = Vec::new();
        match reader.next(&mut out)? {
            None => return Ok(records),
            Some(Next::Invalid(invalid)) => panic!("{invalid:?}"),
            Some(Next::Record(_)) => records.push(serde_json::from_slice(&out).unwrap()),
        }
    }
}

fn settings(pattern: &str) -> ReadSettings {
    let written_at = "2026-11-28T00:00:00Z".parse().unwrap();
    ReadSettings { layout: Some(pattern.parse().unwrap()), ..ReadSettings::written_at(written_at) }
}

/// Time, severity, component, further fields and message of each record.
fn read(pattern: &str, log: &str) -> Vec<String> {
    let records = read_with(settings(pattern), log).unwrap();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let extra =
        |record: &Record| record.extra.as_ref().map(|extra| serde_json::to_string(extra).unwrap()).unwrap_or_default();
    let shown = |record: &Record| {
        let (severity, component) = (text(&record.severity), text(&record.bundle_name));
        format!("{}|{severity}|{component}|{}|{}", record.time, extra(record), text(&record.message))
    };
    records.iter().map(shown).collect()
}

#[track_caller]
fn check(pattern: &str, log: &str, expected: &[&str]) {
    assert_eq!(read(pattern, log), expected, "{pattern}");
}

const AT: &str = "2026-11-27T20:02:09.123Z";

#[test]
fn layouts_of_log4j_and_logback_are_read() {
    for (pattern, line, rest) in [
        (
            "%d{yyyy-MM-dd HH:mm:ss,SSS} [%t] %-5p %c{1} - %m%n",
            "2026-11-27 20:02:09,123 [main] INFO  Orders - loaded - all of them",
            r#"INFO|Orders|{"thread":"main"}|loaded - all of them"#,
        ),
        ("%d{HH:mm:ss.SSS dd.MM.yyyy} %level{lowerCase=true}: %msg%n", "20:02:09.123 27.11.2026 warn: x", "warn|||x"),
        (
            "%date{\"yyyy-MM-dd HH:mm:ss,SSS\", Europe/Berlin} %-20.20logger{20} |%5line| %message%nopexception%n",
            "2026-11-27 21:02:09,123 c.e.Orders           |   17| a b ",
            r#"|c.e.Orders|{"line":"17"}|a b "#,
        ),
        ("%m [%d{UNIX_MILLIS}]%n", "text [1795809729123]", "|||text"),
        (
            "[%p] %X{run:-none} %d{dd/MMM/yyyy:HH:mm:ss,SSS Z} (%F:%L) %M: %m %xEx{short}%n",
            "[ERROR] 4711 27/Nov/2026:21:02:09,123 +0100 (Orders.java:7) load: failed",
            r#"ERROR||{"file":"Orders.java","line":"7","method":"load","run":"4711"}|failed"#,
        ),
        (
            "%d{yyyy-MM-dd'T'HH:mm:ss.SSSXXX} %highlight{%-5p}{FATAL=red} %style{[%t]}{cyan} %m%n",
            "2026-11-27T21:02:09.123+01:00 \u{1b}[32mINFO \u{1b}[m \u{1b}[36m[a b]\u{1b}[m x",
            r#"INFO||{"thread":"a b"}|x"#,
        ),
        (
            "%clr(%d{ISO8601}){faint} %boldRed(%5p) 100%% %m%n",
            "\u{1b}[2m2026-11-27 20:02:09,123\u{1b}[0;39m \u{1b}[1;31m WARN\u{1b}[0m 100% x",
            "WARN|||x",
        ),
        ("%d %notEmpty{[%marker] }%m%n", "2026-11-27T20:02:09,123 [SQL] x", r#"||{"marker":"SQL"}|x"#),
        ("%d %notEmpty{[%marker] }%m%n", "2026-11-27 20:02:09,123 x", "|||x"),
        ("%r ms %d{h:mm:ss.SSS a, MM/dd/yy}\t%m%n", "5 ms 8:02:09.123 PM, 11/27/26\tx", r#"||{"uptime_ms":"5"}|x"#),
        ("%d{MMM d HH:mm:ss.SSS} %m%n", "Nov 27 20:02:09.123 x", "|||x"),
        ("%d{ABSOLUTE}{GMT+1} %m", "21:02:09,123 x", "|||x"),
    ] {
        let settings = ReadSettings { first_date: Some(jiff::civil::date(2026, 11, 27)), ..settings(pattern) };
        let records = read_with(settings, &format!("{line}\n")).unwrap();
        assert_eq!(records.len(), 1, "{pattern}");
        assert_eq!(records[0].time.to_string(), AT, "{pattern}");
        if !pattern.contains("ABSOLUTE") {
            check(pattern, &format!("{line}\n"), &[&format!("{AT}|{rest}")]);
        }
    }
}

#[test]
fn lines_without_the_layout_belong_to_the_record_before() {
    let log = "started by hand\n27.11.2026 20:02:09.123 E no orders\njava.lang.X: y\n\tat a.B.c(B.java:7)\n\n\
               27.11.2026 20:02:09.123 I 2026-11-27 20:02:09 is no beginning\n2026-11-27 20:02:09 nor this\n";
    check(
        "%d{dd.MM.yyyy HH:mm:ss.SSS} %p %m%n",
        log,
        &[
            &format!("{AT}||||started by hand"),
            &format!("{AT}|E|||no orders\njava.lang.X: y\n\tat a.B.c(B.java:7)\n"),
            &format!("{AT}|I|||2026-11-27 20:02:09 is no beginning\n2026-11-27 20:02:09 nor this"),
        ],
    );
    let log = "27.11.2026 20:02:09.123 E [main]\nno orders\n  at all\n27.11.2026 20:02:09.123 I [main]\nx\n";
    check(
        "%d{dd.MM.yyyy HH:mm:ss.SSS} %p [%t]%n%m%n",
        log,
        &[
            &format!(r#"{AT}|E||{{"thread":"main"}}|no orders{}"#, "\n  at all"),
            &format!(r#"{AT}|I||{{"thread":"main"}}|x"#),
        ],
    );
}

#[test]
fn a_log_of_another_layout_is_rejected() {
    let error = read_with(settings("%d %p %m%n"), "27.11.2026 20:02:09 INFO x\n27.11.2026 20:02:10 INFO y\n");
    let error = error.unwrap_err().to_string();
    assert!(error.contains("%d %p %m%n") && error.contains("27.11.2026 20:02:09 INFO x"), "{error}");
}

#[test]
fn what_is_not_supported_is_named_with_its_place() {
    for (pattern, words) in [
        ("%p %m%n", "needs %d"),
        ("%d %p%n", "after a line break|no message"),
        ("%d %p", "no message"),
        ("%d %m %replace{%m}{a}{b}", "character 7: %replace is not supported"),
        ("%d %wat %m", "character 4: %wat is not known"),
        ("%d{yyyy-ww} %m", "character 1: %d: ww is not supported"),
        ("%d{yyyy-MM-dd hh:mm} %m", "need AM or PM"),
        ("%d{yyyy HH:mm} %m", "needs its month"),
        ("%d{yyyy-MM-dd} %m", "needs its hour"),
        ("%d{HH:mm:ss}{Europe/Nowhere} %m", "\"Europe/Nowhere\" is not a known time zone"),
        ("%d{HH:mm:ss %m", "character 3: } is missing"),
        ("%d %m%n%c", "%c follows a line break"),
        ("%d ${PID} %m", "character 4: a lookup"),
        ("%d %m % d", "a percent sign is written %%"),
        ("%d %d %m", "character 4: %d is in the pattern twice"),
        ("%d %highlight %m", "needs braces"),
        ("%d %red{%p} %m", "needs parentheses"),
    ] {
        match pattern.parse::<Layout>() {
            Ok(_) if pattern == "%d %p%n" => {}
            Ok(_) => panic!("{pattern} is accepted"),
            Err(error) => {
                assert!(words.split('|').any(|words| error.to_string().contains(words)), "{pattern}: {error}")
            }
        }
    }
}

/// A record before it is laid out.
#[derive(Debug, Clone)]
struct Sample {
    ms: i64,
    level: &'static str,
    thread: String,
    logger: String,
    lines: Vec<String>,
}

fn sample() -> impl Strategy<Value = Sample> {
    // Messages whose lines do not look like the beginning of a record.
    let lines = prop::collection::vec("[a-zA-Zé%{}()\\[\\]:|\" \t-]{0,40}", 1..4);
    let level = prop::sample::select(vec!["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"]);
    (946_684_800_000..1_795_000_000_000_i64, level, "[a-zA-Z0-9#-]{1,30}", "[a-z]{1,8}(\\.[A-Z][a-z$]{1,30})?", lines)
        .prop_map(|(ms, level, thread, logger, lines)| Sample { ms, level, thread, logger, lines })
}

/// The output of a logger with one of the patterns.
fn rendered(sample: &Sample, pattern: usize) -> String {
    let Sample { ms, level, thread, logger, lines } = sample;
    let at = jiff::Timestamp::from_millisecond(*ms).unwrap().to_zoned(TimeZone::UTC);
    let date = |format: &str| at.strftime(format).to_string();
    let message = lines.join("\n");
    match pattern {
        0 => format!("{} [{thread}] {level:<5} {logger} - {message}\n", date("%Y-%m-%d %H:%M:%S,%3f")),
        1 => format!("{level:>7}|{}|{thread:<12}|{logger:>20}|{message}\n", date("%d.%m.%y %I:%M:%S.%3f %p")),
        2 => format!("{} {level} [{logger}] ({thread})\n{message}\n", date("%d %b %Y %H:%M:%S.%3f %z")),
        _ => format!("{ms} {thread} {logger} {level}: {message}\n"),
    }
}

const PATTERNS: [&str; 4] = [
    "%d{yyyy-MM-dd HH:mm:ss,SSS} [%t] %-5p %c - %m%n",
    "%7level|%date{dd.MM.yy hh:mm:ss.SSS a}|%-12thread|%20logger|%msg%n%ex",
    "%d{dd MMM yyyy HH:mm:ss.SSS Z} %p [%c] (%t)%n%m%n",
    "%d{UNIX_MILLIS} %t %c %p: %m%n",
];

proptest! {
    #[test]
    fn what_a_logger_lays_out_is_read_back(samples in prop::collection::vec(sample(), 1..6), pattern in 0..4_usize) {
        let log: String = samples.iter().map(|sample| rendered(sample, pattern)).collect();
        let records = read_with(settings(PATTERNS[pattern]), &log).unwrap();
        prop_assert_eq!(records.len(), samples.len());
        for (record, sample) in records.iter().zip(&samples) {
            prop_assert_eq!(record.time, Timestamp::clamped(sample.ms));
            prop_assert_eq!(record.severity.as_deref(), Some(sample.level));
            prop_assert_eq!(record.bundle_name.as_deref(), Some(sample.logger.as_str()));
            prop_assert_eq!(&record.extra.as_ref().unwrap()["thread"], &sample.thread);
            prop_assert_eq!(record.message.clone().unwrap_or_default(), sample.lines.join("\n"));
        }
    }

    #[test]
    fn no_pattern_and_no_line_panics(pattern in "(%[a-zA-Z]{1,3}|%[-0-9.]{0,3}[dpcmtnX]|[{}()%\\\\$ ']|[a-zé]){0,12}", line in "\\PC{0,60}") {
        if let Ok(layout) = format!("%d {pattern} %m").parse::<Layout>() {
            let written_at = "2026-11-28T00:00:00Z".parse().unwrap();
            let settings = ReadSettings { layout: Some(layout), ..ReadSettings::written_at(written_at) };
            let _ = read_with(settings, &line);
        }
    }
}
