//! A log or a peer cannot control the terminal. In a file or a pipe, its text is unchanged.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{RUNLOG, Service, runlog, succeeded, write_lines};

const RUN: &str = "00000000-0000-4000-8000-000000000001";

/// Sequences that clear the screen, set the title, add links, write to the clipboard, move the cursor (also in C1),
/// reverse the order of text, break the line, overwrite it, and set colours.
const HOSTILE: &str = "x\u{1b}[2J\u{1b}]0;title\u{7}\u{1b}]8;;http://a.example\u{1b}\\link\u{1b}]52;c;cm0=\u{7}secret\u{8}\u{8}\u{9b}2J\u{9d}0;t\u{9c}\
     \u{202e}reversed\u{202c}\u{2067}\u{2069}\u{2028}\u{2029}\u{7f}\u{85}\u{1b}[31mred\u{1b}[8mhidden";

/// The parts of it that are ordinary text.
const WORDS: [&str; 5] = ["link", "secret", "reversed", "red", "hidden"];

fn hostile_service() -> (Service, String, String) {
    let service = Service::start(&["--settle", "0s"]);
    let (workspace, task) = service.make_task();
    let record = |time: i64, severity: &str, message: &str| {
        json!({"logTimestamp": time, "severity": severity, "logMessage": message, "bundleName": HOSTILE, "logType": HOSTILE})
            .to_string()
    };
    let stack = format!("java.lang.RuntimeException: {HOSTILE}\n\tat a.b.C.d(C.java:1)\nCaused by: a.b.E: {HOSTILE}");
    let lines = [
        record(1_000, "INFO", &format!("first {HOSTILE}")),
        record(2_000, "INFO", "loading\n  5%\r 50%\r100% done"),
        record(3_000, "ERROR", &stack),
    ];
    let file = write_lines(service.folder().join("hostile.ndjson"), &lines);
    let arguments = ["push", RUN, file.to_str().unwrap(), "--task", &task, "--finish", "execution_failed"];
    service.succeed(&[&arguments[..], &["--error-message", HOSTILE]].concat());
    (service, workspace, task)
}

/// The output of a command in a terminal, on both streams.
fn shown(service: &Service, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    typed(service, arguments, variables, &json!([]))
}

/// The same with steps of `terminal.py`.
fn typed(service: &Service, arguments: &[&str], variables: &[(&str, &str)], steps: &Value) -> String {
    let mut terminal = Command::new("python3");
    terminal.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/support/terminal.py")).arg("--any-end").arg(RUNLOG);
    terminal.args(arguments).env("RUNLOG_API_URL", &service.url).env("RUNLOG_TOKEN", &service.token);
    terminal.env("TERM", "xterm-256color").env_remove("NO_COLOR").env("RUNLOG_PAGER", "").current_dir(service.folder());
    terminal.envs(variables.iter().copied());
    let mut child = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(steps.to_string().as_bytes()).unwrap();
    succeeded(child.wait_with_output().unwrap())
}

/// The rest of a text without the sequences that a terminal may receive. In a terminal, a line feed becomes `\r\n`.
fn steering(shown: &str) -> String {
    let mut rest = shown.replace("\r\n", "").replace(['\n', '\t'], "");
    for style in ["0", "1", "2", "31", "32", "33"] {
        rest = rest.replace(&format!("\u{1b}[{style}m"), "");
    }
    let steers = |c: &char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{206f}');
    rest.chars().filter(steers).collect()
}

/// A progress bar uses its own sequences; those of the log are different.
fn without_bar(shown: &str) -> String {
    let mut rest = shown.to_owned();
    for drawn in ["\u{1b}[2K", "\u{1b}[1A", "\u{1b}[1B", "\u{1b}[J", "\u{1b}[0J", "\r"] {
        rest = rest.replace(drawn, "");
    }
    rest
}

#[track_caller]
fn check(service: &Service, arguments: &[&str], words: &[&str]) {
    for variables in [&[][..], &[("NO_COLOR", "1")], &[("TERM", "dumb")]] {
        let shown = without_bar(&shown(service, arguments, variables));
        assert_eq!(steering(&shown), "", "{arguments:?} {variables:?} {shown:?}");
        for word in words {
            assert!(shown.contains(word), "{word:?} is not in what {arguments:?} shows: {shown:?}");
        }
    }
}

#[test]
fn a_printed_log_cannot_control_the_terminal() {
    let (service, workspace, task) = hostile_service();
    let escaped = ["\\x1b[2J", "\\x1b]52;c;cm0=\\x07", "\\u{9b}2J", "\\u{202e}reversed", "\\u{2028}", "\\x1b[31mred"];
    let all = [&WORDS[..], &escaped].concat();
    check(&service, &["tail", RUN], &[&all[..], &["loading", "\\r100% done"]].concat());
    check(&service, &["tail", RUN, "--json"], &["\\u001b[2J", "\\u{9b}2J", "\\u{202e}"]);
    check(&service, &["search", ""], &all);
    check(&service, &["search", "", "--json"], &["\\u001b[2J"]);
    check(&service, &["runs", &task], &["\\x1b[2J"]);
    check(&service, &["runs", &task, "--json"], &["\\u001b[2J"]);
    check(&service, &["report", RUN], &["\\x1b[2J", "\\u{202e}reversed"]);
    check(&service, &["report", RUN, "--html", "-"], &["\\x1b[2J"]);
    check(&service, &["report", &task], &[]);
    check(&service, &["report", &workspace], &[]);
    check(&service, &["diff", RUN, RUN], &[]);
    // A problem is known once the log is summarised, which a title and a note tell of.
    let begun = std::time::Instant::now();
    let problem = loop {
        match service.succeed(&["problems", "--json"]).lines().next() {
            Some(line) => break serde_json::from_str::<Value>(line).unwrap(),
            None if begun.elapsed().as_secs() > 60 => panic!("no problem is known"),
            None => std::thread::sleep(std::time::Duration::from_millis(200)),
        }
    };
    let id = problem["id"].as_str().unwrap();
    let note = ["problems", "mute", id, "--note", "\u{202e}noted"];
    check(&service, &note, &["is muted"]);
    check(&service, &["problems", "--state", "all"], &["muted", "java.lang.RuntimeException"]);
    check(&service, &["problems", "show", id], &["\\u{202e}noted"]);
    check(&service, &["problems", "show", id, "--json"], &["\\u{202e}"]);
    check(&service, &["report", RUN], &["\\u{202e}noted"]);
    check(&service, &["report", RUN, "--brief"], &["\\u{202e}noted"]);
    for format in ["text", "json", "ndjson"] {
        check(&service, &["fetch", RUN, "-o", "-", "--settle", "0s", "--format", format], &["reversed", "hidden"]);
    }
}

#[test]
fn a_response_cannot_control_the_terminal() {
    let (service, _, _) = hostile_service();
    let data = service.folder().join("data").to_str().unwrap().to_owned();
    let columns =
        "SELECT message, message AS \"\u{1b}[2J\u{1b}]0;title\u{7}\u{202e}column\" FROM records ORDER BY time";
    for format in ["table", "csv", "json", "ndjson"] {
        for service_or_archive in [&[][..], &["--data", &data]] {
            let arguments = [&["sql", "--format", format, columns], service_or_archive].concat();
            check(&service, &arguments, &["reversed", "column", "100% done"]);
        }
    }
    // The error quotes the query.
    check(&service, &["sql", "SELECT \"\u{1b}[2J\u{9b}2J\u{202e}x\" FROM records"], &["error:"]);
    check(&service, &["sql", "--data", &data, "SELECT \"\u{1b}[2J\u{9b}2J\u{202e}x\" FROM records"], &["error:"]);
    check(&service, &["tail", "\u{1b}[2J\u{9b}2J\u{202e}x"], &["error:", "\\u{9b}2J"]);
}

#[test]
fn a_file_and_a_pipe_get_a_log_as_it_is() {
    let (service, _, task) = hostile_service();
    let tail = service.succeed(&["tail", RUN]);
    assert!(tail.contains(&format!("first {HOSTILE}\n")), "{tail:?}");
    assert!(tail.contains("\n  5%\r 50%\r100% done\n"), "{tail:?}");
    assert!(service.succeed(&["search", "first"]).contains(&format!("first {HOSTILE}\n")));
    let error = HOSTILE.chars().take(60).collect::<String>();
    assert!(service.succeed(&["runs", &task]).contains(&error));
    let csv = service.succeed(&["sql", "--format", "csv", "SELECT message FROM records WHERE message LIKE 'first%'"]);
    assert!(csv.contains(&format!("first {HOSTILE}")), "{csv:?}");
    let output = service.runlog(&["tail", RUN, "--json"]).output().unwrap();
    let record: Value = serde_json::from_str(succeeded(output).lines().next().unwrap()).unwrap();
    assert_eq!(record["logMessage"], format!("first {HOSTILE}"));
    let text = service.succeed(&["fetch", RUN, "-o", "-", "--settle", "0s", "--format", "text"]);
    assert!(text.contains(&format!("first {HOSTILE}\n")), "{text:?}");
}

/// A peer that responds with 404 and a hostile text.
fn hostile_peer() -> String {
    peer("404 Not Found", &json!({"status": 404, "code": HOSTILE, "message": HOSTILE}))
}

/// A peer with a constant response.
fn peer(status: &'static str, body: &Value) -> String {
    let body = body.to_string();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut head = [0; 4096];
            let _ = std::io::Read::read(&mut stream, &mut head);
            let head = "Content-Type: application/json\r\nConnection: close\r\n";
            let _ = write!(stream, "HTTP/1.1 {status}\r\n{head}Content-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    url
}

#[test]
fn an_error_of_a_peer_cannot_control_the_terminal() {
    let service = Service::start(&[]);
    let unknowing = hostile_peer();
    for command in ["tail", "fetch", "report"] {
        check(&service, &[command, RUN, "--api-url", &unknowing], &["error:", "\\x1b[2J"]);
    }
    // A progress bar quotes the status of a running run.
    let odd = peer("200 OK", &json!({"executionId": RUN, "executionStatus": format!("odd\n{HOSTILE}")}));
    let steps = json!([["its status is odd\\n", "\u{3}"]]);
    let shown = typed(&service, &["fetch", RUN, "--api-url", &odd], &[("COLUMNS", "500")], &steps);
    assert!(shown.contains("waiting for the run to end; its status is odd\\nx\\x1b[2J"), "{shown:?}");
    for of_log in ["\u{1b}[2J", "\u{1b}]", "\u{1b}[8m", "\u{7}", "\u{8}", "\u{9b}", "\u{202e}", "\u{2028}"] {
        assert!(!shown.contains(of_log), "{of_log:?} {shown:?}");
    }
}

#[test]
fn the_log_of_the_service_has_one_line_an_event() {
    let (folder, peer) = (tempfile::tempdir().unwrap(), hostile_peer());
    let (settings, token) = (folder.path().join("runlog.toml"), folder.path().join("token"));
    let token_file = token.display();
    let text = format!("[[upstream]]\nname = \"odd\"\nurl = \"{peer}\"\ntoken = {{ file = \"{token_file}\" }}\n");
    std::fs::write(&settings, text).unwrap();
    std::fs::write(&token, "t").unwrap();
    let mut serve = runlog(&["serve", "--listen", "127.0.0.1:0", "--settings"]);
    serve.arg(&settings).arg("--data").arg(folder.path().join("data")).stderr(Stdio::piped());
    let mut child = serve.spawn().unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let mut events = log.lines().map(Result::unwrap).skip_while(|line| !line.contains("cannot list"));
    let event = events.next().unwrap_or_default();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(event.contains("reversed") && event.contains("hidden"), "{event:?}");
    assert_eq!(steering(&event), "", "{event:?}");
}

#[test]
fn a_long_result_goes_through_the_pager_and_still_controls_nothing() {
    let (service, _, task) = hostile_service();
    let pager = [("RUNLOG_PAGER", "sed s/^/paged:/"), ("LINES", "2")];
    let paged = shown(&service, &["runs", &task], &pager);
    let lines: Vec<&str> = paged.lines().filter(|line| !line.trim().is_empty()).collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| line.starts_with("paged:")), "{paged:?}");
    assert_eq!(steering(&paged), "", "{paged:?}");
    for arguments in [&["runs", &task, "--no-pager"][..], &["runs", &task, "--color", "never", "--no-pager"]] {
        assert!(!shown(&service, arguments, &pager).contains("paged:"));
    }
    // A result that fits on the screen needs none.
    let fitting = shown(&service, &["runs", &task], &[("RUNLOG_PAGER", "sed s/^/paged:/"), ("LINES", "20")]);
    assert!(fitting.contains(RUN) && !fitting.contains("paged:"), "{fitting:?}");
    // Output is also shown if the pager cannot be started or the user quits it.
    assert!(shown(&service, &["runs", &task], &[("RUNLOG_PAGER", "/no/such/pager"), ("LINES", "2")]).contains(RUN));
    let left = shown(&service, &["tail", RUN], &[("RUNLOG_PAGER", "true"), ("LINES", "2")]);
    assert!(!left.contains("panicked") && !left.contains("error"), "{left:?}");
}

#[test]
fn the_prompt_of_sql_has_the_helpers_of_psql() {
    let (service, _, _) = hostile_service();
    // Nothing is typed before the next prompt is there: its echo would stand in the middle of the output.
    let steps = json!([
        ["runlog> ", "\\?\n"],
        ["docs/sql.md", ""],
        ["runlog> ", "\\d records\n"],
        ["(12 rows)", ""],
        ["runlog> ", "\\nope\n"],
        ["there is no command", ""],
        ["runlog> ", "\\x\n"],
        ["lists of columns", ""],
        ["runlog> ", "SELECT 1 AS one,\n"],
        ["...> ", "'x' AS other;\n"],
        ["other | x", ""],
        ["runlog> ", "SELECT 2\n"],
        ["...> ", "\\r\n"],
        ["runlog> ", "SELECT\n"],
        ["...> ", "\\q\n"],
    ]);
    let said = typed(&service, &["sql", "--api-url", &service.url], &[], &steps);
    let said = said.replace("\r\n", "\n");
    assert!(said.contains("-[ row 1 ]-\none   | 1\nother | x\n"), "{said:?}");
    assert!(said.contains("bigint") && said.contains("text") && !said.contains("Utf8"), "{said:?}");
    assert!(said.contains("\\nope; \\? lists them"), "{said:?}");
}

/// A query that would take hours.
const LONG_QUERY: &str =
    "SELECT count(*) FROM generate_series(1, 1000000) AS a(x), generate_series(1, 1000000) AS b(y) WHERE x + y < 0";

#[test]
fn ctrl_c_cancels_a_query_and_the_prompt_continues() {
    let service = Service::start(&[]);
    let data = service.folder().join("data").to_str().unwrap().to_owned();
    let cancelled = [
        json!(["runlog> ", format!("{LONG_QUERY};\n")]),
        json!(["Ctrl-C cancels it", "\u{3}"]),
        json!(["the query was cancelled", ""]),
    ];
    let last = [json!(["runlog> ", "SELECT 6 * 7 AS answer;\n"]), json!(["    42", ""]), json!(["runlog> ", "\\q\n"])];
    // More queries than the service runs at a time: the last one would be refused if they were not cancelled there.
    for (target, queries) in [(["--api-url", &service.url], 5), (["--data", &data], 1)] {
        let steps: Vec<Value> = (0..queries).flat_map(|_| cancelled.clone()).chain(last.clone()).collect();
        let shown = typed(&service, &[&["sql"], &target[..]].concat(), &[], &json!(steps));
        assert!(shown.contains("(1 row)"), "{shown:?}");
    }
}

#[test]
fn results_at_the_prompt_go_through_the_pager_if_they_are_longer_than_the_screen() {
    let service = Service::start(&[]);
    let steps = json!([
        ["runlog> ", "SELECT value FROM generate_series(1, 30) ORDER BY 1;\n"],
        ["paged:(30 rows)", ""],
        ["runlog> ", "SELECT 1 AS one;\n"],
        ["(1 row)", ""],
        ["runlog> ", "SELECT mesage FROM records;\n"],
        ["message", ""],
        ["runlog> ", "\\q\n"],
    ]);
    let pager = [("RUNLOG_PAGER", "sed s/^/paged:/"), ("LINES", "10")];
    let said = typed(&service, &["sql", "--api-url", &service.url], &pager, &steps);
    assert!(said.contains("paged:value") && said.contains("paged:   30"), "{said:?}");
    assert!(!said.contains("paged:(1 row)"), "{said:?}");
    // The user leaves the pager before the end.
    let steps = json!([
        ["runlog> ", "SELECT value FROM generate_series(1, 300000);\n"],
        ["runlog> ", "SELECT 2 AS two;\n"],
        ["(1 row)", ""],
        ["runlog> ", "\\q\n"],
    ]);
    let said =
        typed(&service, &["sql", "--api-url", &service.url], &[("RUNLOG_PAGER", "head -3"), ("LINES", "10")], &steps);
    assert!(!said.contains("error"), "{said:?}");
}

#[test]
fn a_table_fits_the_width_of_the_terminal() {
    let service = Service::start(&["--settle", "0s"]);
    let (_, task) = service.make_task();
    let words = "a message of many words ".repeat(6);
    let line = json!({"logTimestamp": 1_000, "severity": "INFO", "logMessage": words.trim_end()}).to_string();
    let file = write_lines(service.folder().join("log.ndjson"), &[line]);
    service.succeed(&["push", RUN, file.to_str().unwrap(), "--task", &task, "--finish", "failed"]);
    let sql = |query: &str, columns: &str| {
        let said =
            shown(&service, &["sql", "--api-url", &service.url, query], &[("COLUMNS", columns)]).replace("\r\n", "\n");
        assert!(said.contains("message of many words"), "{said:?}");
        said
    };
    let query = "SELECT run_id, severity, message FROM records";
    let wide = sql(query, "300");
    assert!(wide.lines().any(|line| line.starts_with(RUN) && line.ends_with(words.trim_end())), "{wide}");
    let wrapped = sql(query, "80");
    assert!(wrapped.starts_with("run_id") && wrapped.lines().all(|line| line.chars().count() <= 80), "{wrapped}");
    let list = sql("SELECT *, [status, 'x'] AS pair FROM runs, records WHERE runs.run_id = records.run_id", "80");
    assert!(
        list.contains("-[ row 1 ]-\nrun_id ")
            && list.contains("pair ")
            && list.contains("[\"execution_failed\",\"x\"]"),
        "{list}"
    );
    // A pipe has the whole table.
    let piped = service.succeed(&["sql", "--api-url", &service.url, query]);
    assert_eq!(piped.lines().count(), 4, "{piped}");
}
