//! Each command: its output and its exit code.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::{Service, bash, runlog, succeeded, write_lines};

const RUN: &str = "00000000-0000-4000-8000-000000000001";

fn record(time: i64, message: &str) -> String {
    format!(r#"{{"logTimestamp":{time},"severity":"INFO","logMessage":"{message}"}}"#)
}

/// A service with a task, and a log of three records in a file.
fn with_task() -> (Service, String, String, PathBuf) {
    let service = Service::start(&["--settle", "0s"]);
    let (workspace, task) = service.make_task();
    let lines = [record(1_000, "one"), record(2_000, "two"), record(3_000, "three")];
    let file = write_lines(service.folder().join("log.ndjson"), &lines);
    (service, workspace, task, file)
}

fn push(service: &Service, task: &str, file: &Path) -> Value {
    let file = file.to_str().unwrap();
    service.json(&["push", RUN, file, "--task", task, "--finish", "execution_successful", "--json"])
}

#[track_caller]
fn check_failure(output: Output, code: i32, words: &[&str]) {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{errors}");
    for word in words {
        assert!(errors.contains(word), "{word:?} is not in: {errors}");
    }
}

#[test]
fn a_log_that_is_pushed_twice_is_stored_once() {
    let (service, _, task, file) = with_task();
    assert_eq!(push(&service, &task, &file)["stored"], 3);
    let again = push(&service, &task, &file);
    assert_eq!((&again["stored"], &again["repeated"]), (&json!(0), &json!(3)));
}

#[test]
fn a_bad_line_is_named_and_nothing_is_stored() {
    let (service, _, task, file) = with_task();
    write_lines(file.clone(), &[record(1_000, "one"), r#"{"logTimestamp":"soon"}"#.to_owned()]);
    let output = service.runlog(&["push", RUN, file.to_str().unwrap(), "--task", &task]).output().unwrap();
    check_failure(output, 2, &["line 2", "logTimestamp", "soon", "nothing was stored"]);
    assert_eq!(service.succeed(&["runs", &task, "--json"]), "", "no run was started for it");
}

#[test]
fn a_line_without_an_end_is_named_before_it_fills_the_memory() {
    let (service, _, task, file) = with_task();
    let mut log = std::fs::OpenOptions::new().append(true).open(&file).unwrap();
    log.write_all(b"{").unwrap();
    // The rest of the file is a hole, which takes no space on disk.
    log.set_len(1 << 30).unwrap();
    let output = service.runlog(&["push", RUN, file.to_str().unwrap(), "--task", &task]).output().unwrap();
    check_failure(output, 2, &["line 4", "longer than 64 MiB", "shorten that record"]);
}

#[test]
fn each_format_is_written_whole() {
    let (service, _, task, file) = with_task();
    push(&service, &task, &file);
    service.succeed(&["fetch", RUN, "--settle", "0s"]);
    let ndjson = std::fs::read_to_string(service.folder().join(format!("{RUN}.ndjson"))).unwrap();
    assert_eq!(
        ndjson.lines().collect::<Vec<_>>(),
        [record(1_000, "one"), record(2_000, "two"), record(3_000, "three")]
    );

    let array = service.json(&["fetch", RUN, "--settle", "0s", "--format", "json", "-o", "-"]);
    assert_eq!(array.as_array().unwrap().len(), 3);
    let text = service.succeed(&["fetch", RUN, "--settle", "0s", "--format", "text", "-o", "-"]);
    assert_eq!(text.lines().next(), Some("1970-01-01T00:00:01.000Z | INFO  |  |  | one"));
    let received = service.succeed(&["fetch", RUN, "--settle", "0s", "--order", "received", "-o", "-"]);
    assert!(received.lines().next().unwrap().contains("three"));
    let part =
        ["fetch", RUN, "--settle", "0s", "--from", "1970-01-01T00:00:02Z", "--to", "1970-01-01T00:00:02Z", "-o", "-"];
    assert_eq!(service.succeed(&part).lines().count(), 1);
}

#[test]
fn a_report_for_scripts_says_that_the_log_is_verified() {
    let (service, _, task, file) = with_task();
    push(&service, &task, &file);
    let report = service.json(&["fetch", RUN, "--settle", "0s", "--json"]);
    assert_eq!((&report["records"], &report["completeness"]["state"]), (&json!(3), &json!("verified")));
    assert!(!service.folder().join(format!("{RUN}.ndjson.runlog-part")).exists());
}

#[test]
fn exit_codes_say_what_to_do_next() {
    let (service, _, task, _) = with_task();
    let unknown = service.runlog(&["fetch", RUN]).output().unwrap();
    check_failure(unknown, 4, &["there is no run", RUN]);
    let mut without = runlog(&["fetch", RUN, "--api-url", &service.url]);
    check_failure(without.output().unwrap(), 3, &["no credentials", "RUNLOG_TOKEN"]);
    let secret = "rlp_000000000000000000000000000000000000000000000000aaaaaaaa";
    let mut wrong = service.runlog(&["runs", &task]);
    let wrong = wrong.env("RUNLOG_TOKEN", secret).output().unwrap();
    assert!(!String::from_utf8_lossy(&wrong.stderr).contains(secret));
    check_failure(wrong, 3, &["is unknown"]);
    check_failure(service.runlog(&["fetch", "not-a-run"]).output().unwrap(), 2, &["not-a-run"]);
}

#[test]
fn a_log_that_cannot_be_written_here_has_a_code_of_its_own_that_help_names() {
    let (service, _, task, file) = with_task();
    push(&service, &task, &file);
    // There is a file where a folder would have to be created.
    let output = service.runlog(&["fetch", RUN, "--settle", "0s", "-o", "log.ndjson/run.ndjson"]).output().unwrap();
    check_failure(output, 1, &["cannot make log.ndjson/run.ndjson"]);
    let help = succeeded(runlog(&["fetch", "--help"]).output().unwrap());
    assert!(help.contains("0 complete, 1 local failure (a full disk"), "{help}");
}

#[test]
fn an_unavailable_service_has_its_own_exit_code() {
    let mut command =
        runlog(&["runs", "57f64991e4b0b689a64feed2", "--api-url", "http://127.0.0.1:9", "--retries", "0"]);
    let output = command.env("RUNLOG_TOKEN", "t").output().unwrap();
    check_failure(output, 5, &["cannot connect to 127.0.0.1:9", "refused"]);
}

/// `runlog runs` of a service that is not there was silent for a minute and a half.
#[test]
fn a_service_that_cannot_be_reached_is_reported_at_once() {
    let begun = std::time::Instant::now();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, words) in [
        (format!("http://{closed}"), "refused"),
        ("http://runlog.invalid".to_owned(), "the host runlog.invalid is not known"),
    ] {
        let mut command = runlog(&["runs", "57f64991e4b0b689a64feed2", "--api-url", &url]);
        check_failure(command.env("RUNLOG_TOKEN", "t").output().unwrap(), 5, &[words]);
        let mut command = runlog(&["search", "x", "--api-url", &url]);
        let command = command.env("RUNLOG_CLIENT_ID", "id").env("RUNLOG_CLIENT_SECRET", "secret");
        check_failure(command.output().unwrap(), 5, &[words]);
    }
    // A port on which something else than HTTP is spoken.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let _ = connection.write_all(b"SSH-2.0-OpenSSH_9.7\r\n\r\n");
            let _ = connection.read(&mut [0; 1024]);
        }
    });
    let mut command = runlog(&["runs", "57f64991e4b0b689a64feed2", "--api-url", &url]);
    check_failure(command.env("RUNLOG_TOKEN", "t").output().unwrap(), 5, &["does not use HTTP"]);
    // Each was retried for more than 75 seconds.
    assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{:?}", begun.elapsed());
    let mut command = runlog(&["runs", "57f64991e4b0b689a64feed2", "--region", "europe"]);
    check_failure(command.env("RUNLOG_TOKEN", "t").output().unwrap(), 2, &["europe", "eu, us, us-west, ap, au"]);
}

/// A command that may have been started by a program waits, and says so.
#[test]
fn a_fetch_that_waits_for_its_service_says_so() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = runlog(&["fetch", RUN, "--api-url", &format!("http://{closed}")]);
    let mut child = command.env("RUNLOG_TOKEN", "t").stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("refused") && line.contains("retrying for up to"), "{line}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_missing_right_is_named_and_can_be_granted() {
    let (service, workspace, task, file) = with_task();
    push(&service, &task, &file);
    let account = service.json(&["admin", "service-accounts", "create", "monitoring", "--json"]);
    let (id, secret) = (account["id"].as_str().unwrap(), account["secret"].as_str().unwrap());
    let fetch = || {
        let mut command = runlog(&["fetch", RUN, "--settle", "0s", "-o", "-", "--api-url", &service.url]);
        command.env("RUNLOG_CLIENT_ID", id).env("RUNLOG_CLIENT_SECRET", secret).output().unwrap()
    };
    let holder = ["--workspace", &workspace, "--service-account", id];
    let grant = |rights: &[&str]| {
        service.succeed(&[&["admin", "rights", "grant"], &holder[..], rights].concat());
    };
    check_failure(fetch(), 3, &["lacks the right", "Viewer"]);
    grant(&["author", "viewer"]);
    let command = format!("rights grant --workspace {workspace} --service-account monitoring executor");
    check_failure(fetch(), 3, &["lacks the right Executor", &command]);
    // The command of the message took the other rights away.
    grant(&["executor"]);
    assert_eq!(succeeded(fetch()).lines().count(), 3);
    let set = |rights: &[&str]| service.succeed(&[&["admin", "rights", "set"], &holder[..], rights].concat());
    assert!(set(&["viewer"]).starts_with("Viewer in workspace"), "only that one is left");
    let unknown = [&["admin", "rights", "grant"], &holder[..], &["reader"]].concat();
    check_failure(service.runlog(&unknown).output().unwrap(), 2, &["author, viewer, executor, manager, publisher"]);
    service.succeed(&[&["admin", "rights", "revoke"], &holder[..]].concat());
    check_failure(fetch(), 3, &["lacks"]);
    service.succeed(&["admin", "service-accounts", "delete", id]);
    check_failure(fetch(), 3, &["an access token"]);
}

#[test]
fn a_url_with_a_path_and_a_status_of_another_command_are_explained() {
    let (service, _, task, file) = with_task();
    push(&service, &task, &file);
    let wrong = format!("{}/portal", service.url);
    let output = runlog(&["runs", &task, "--api-url", &wrong]).env("RUNLOG_TOKEN", &service.token).output().unwrap();
    check_failure(output, 7, &["check the URL"]);
    let query = "SELECT count(*) FROM runs WHERE status IN ('failed', 'execution_failed')";
    let output = service.runlog(&["sql", query]).output().unwrap();
    let notes = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && notes.contains("'failed'; did you mean 'execution_failed'?"), "{notes}");
    assert_eq!(notes.matches("did you mean").count(), 1, "{notes}");
}

#[test]
fn runs_are_listed_for_people_and_for_scripts() {
    let (service, _, task, file) = with_task();
    push(&service, &task, &file);
    let shown = service.succeed(&["runs", &task]);
    assert!(shown.starts_with("RUN") && shown.contains(RUN) && shown.contains("  successful  "), "{shown}");
    assert_eq!(service.json(&["runs", &task, "--json"])["executionId"], RUN);
    assert_eq!(service.succeed(&["runs", &task, "--status", "execution_failed", "--json"]), "");
}

#[test]
fn tail_shows_the_newest_records_and_follows_until_the_end() {
    let (service, _, task, file) = with_task();
    service.succeed(&["push", RUN, file.to_str().unwrap(), "--task", &task]);
    let newest = service.succeed(&["tail", RUN, "-n", "2"]);
    assert_eq!(newest.lines().map(|line| line.rsplit(' ').next().unwrap()).collect::<Vec<_>>(), ["two", "three"]);

    let mut follow = service.runlog(&["tail", RUN, "-f", "-n", "1", "--every", "50ms", "--json"]);
    let follow = follow.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let more = [record(1_500, "late"), record(3_000, "same instant"), record(4_000, "four")];
    let more = write_lines(service.folder().join("more.ndjson"), &more);
    service.succeed(&["push", RUN, more.to_str().unwrap(), "--finish", "execution_failed"]);
    let shown = succeeded(follow.wait_with_output().unwrap());
    let messages: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = &messages[messages.len() - 1];
    assert_eq!(last["logMessage"], "four", "{shown}");
}

/// The messages of the lines that `tail --json` prints.
fn messages(shown: &str) -> Vec<String> {
    let message = |line: &str| serde_json::from_str::<Value>(line).unwrap()["logMessage"].as_str().unwrap().to_owned();
    shown.lines().map(message).collect()
}

#[test]
fn tail_that_begins_with_no_records_shows_only_what_follows() {
    // If all records of a log were filtered out, the command took the log for empty and printed it from its beginning.
    let (service, _, task, file) = with_task();
    push(&service, &task, &file);
    assert_eq!(service.succeed(&["tail", RUN, "-n", "0", "-f"]), "");
    assert_eq!(service.succeed(&["tail", RUN, "-n", "0"]), "");
}

#[test]
fn tail_shows_no_record_again_that_shares_its_instant_with_earlier_ones() {
    // The command counted the printed records of the last instant, and skipped as many from the first ones of that
    // instant.
    let (service, _, task, file) = with_task();
    write_lines(file.clone(), &[record(1_000, "a"), record(1_000, "b")]);
    push(&service, &task, &file);
    assert_eq!(messages(&service.succeed(&["tail", RUN, "-n", "1", "-f", "--json"])), ["b"]);

    // More records of one instant than a response contains.
    let of_one_instant: Vec<_> = (0..450).map(|number| record(1_000, &number.to_string())).collect();
    write_lines(file.clone(), &of_one_instant);
    let run = "00000000-0000-4000-8000-000000000002";
    let finish = ["--task", &task, "--finish", "execution_successful"];
    service.succeed(&[&["push", run, file.to_str().unwrap()], &finish[..]].concat());
    assert_eq!(messages(&service.succeed(&["tail", run, "-n", "1", "-f", "--json"])), ["449"]);
    let expected: Vec<_> = (50..450).map(|number| number.to_string()).collect();
    assert_eq!(messages(&service.succeed(&["tail", run, "-n", "400", "-f", "--json"])), expected);
}

#[test]
fn tail_shows_each_record_once_while_more_arrive() {
    // The second request counted from a newest record that was no longer the newest.
    let (service, _, task, file) = with_task();
    write_lines(file.clone(), &(0..300).map(|number| record(number, &number.to_string())).collect::<Vec<_>>());
    service.succeed(&["push", RUN, file.to_str().unwrap(), "--task", &task]);
    let more: Vec<_> = (300..350).map(|number| record(number, &number.to_string())).collect();
    let more = write_lines(service.folder().join("more.ndjson"), &more);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tail = service.runlog(&["tail", RUN, "-n", "300", "--json"]);
    let tail = tail.env("RUNLOG_API_URL", url).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    pass_on(&listener, &service);
    service.succeed(&["push", RUN, more.to_str().unwrap()]);
    pass_on(&listener, &service);
    let shown = succeeded(tail.wait_with_output().unwrap());
    assert_eq!(messages(&shown), (0..300).map(|number| number.to_string()).collect::<Vec<_>>());
}

/// Forwards one request without a body to the service.
fn pass_on(listener: &TcpListener, service: &Service) {
    let (mut client, _) = listener.accept().unwrap();
    let mut head = String::new();
    let mut lines = BufReader::new(client.try_clone().unwrap());
    while !head.ends_with("\r\n\r\n") {
        assert!(lines.read_line(&mut head).unwrap() > 0, "the request ended: {head}");
    }
    let mut upstream = TcpStream::connect(service.url.strip_prefix("http://").unwrap()).unwrap();
    // The connection is closed after the response; the next request uses another one.
    let closing = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    upstream.write_all(closing.as_bytes()).unwrap();
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).unwrap();
    client.write_all(&answer).unwrap();
}

#[test]
fn what_was_stored_is_there_after_a_restart() {
    let (service, _, task, file) = with_task();
    push(&service, &task, &file);
    let token = service.token.clone();
    let mode = std::fs::metadata(service.folder().join("data/admin.token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let service = Service::start_in(service.stop(), &["--settle", "0s"]);
    assert_eq!(service.token, token);
    assert_eq!(service.succeed(&["fetch", RUN, "--settle", "0s", "-o", "-"]).lines().count(), 3);
}

#[test]
fn a_lost_administrator_token_is_replaced_on_the_machine() {
    let service = Service::start(&[]);
    let (old, data) = (service.token.clone(), service.folder().join("data"));
    std::fs::remove_file(data.join("admin.token")).unwrap();
    succeeded(runlog(&["admin", "recover", "--data", data.to_str().unwrap()]).output().unwrap());
    let new = std::fs::read_to_string(data.join("admin.token")).unwrap();
    assert_ne!(new.trim(), old);
    let is_accepted = |token: &str| {
        let mut list = service.runlog(&["admin", "users", "list"]);
        succeeded(list.env("RUNLOG_TOKEN", token.trim()).output().unwrap()).contains("admin")
    };
    assert!(is_accepted(&new));
    // Where files cannot be read, as in a container without a shell.
    let printed = runlog(&["admin", "recover", "--print", "--data", data.to_str().unwrap()]).output().unwrap();
    let told = String::from_utf8_lossy(&printed.stderr).into_owned();
    let printed = succeeded(printed);
    assert!(is_accepted(&printed) && !told.contains(printed.trim()), "{told}");
    assert_eq!(std::fs::read_to_string(data.join("admin.token")).unwrap(), new);
}

/// Starts `runlog serve` in a folder with its settings, and stops it once it listens; returns its output until then.
fn served_briefly(folder: &Path, arguments: &[&str], data_variable: Option<&str>) -> String {
    let mut command = runlog(&["serve", "--listen", "127.0.0.1:0", "--settings", "runlog.toml"]);
    command.args(arguments).current_dir(folder).stderr(Stdio::piped());
    if let Some(data) = data_variable {
        command.env("RUNLOG_DATA", data);
    }
    let mut child = command.spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("listens on") {
        assert!(log.read_line(&mut said).unwrap() > 0, "the service ended: {said}");
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    std::io::copy(&mut log, &mut std::io::sink()).unwrap();
    assert!(child.wait().unwrap().success());
    said
}

#[test]
fn a_service_keeps_its_archive_where_its_settings_say_unless_an_option_or_a_variable_does() {
    // The service created its own archive, although `collect` and `status` used the one in the same settings.
    let folder = tempfile::tempdir().unwrap();
    let settings = "[archive]\ndata = \"elsewhere\"\n[[sink]]\nname = \"out\"\nkind = \"files\"\nfolder = \"out\"\n";
    std::fs::write(folder.path().join("runlog.toml"), settings).unwrap();
    let said = served_briefly(folder.path(), &[], None);
    assert!(said.contains(", archive in elsewhere\n"), "{said}");
    assert!(folder.path().join("elsewhere/admin.token").exists());
    let status = succeeded(runlog(&["status", "--json"]).current_dir(folder.path()).output().unwrap());
    assert_eq!(serde_json::from_str::<Value>(&status).unwrap()["sinks"][0]["figures"]["name"], "out");

    let said = served_briefly(folder.path(), &[], Some("by-variable"));
    assert!(said.contains(", archive in by-variable\n"), "{said}");
    let said = served_briefly(folder.path(), &["--data", "by-option"], Some("by-variable"));
    assert!(said.contains(", archive in by-option\n"), "{said}");
    assert!(!folder.path().join("runlog-data").exists());
}

#[test]
fn a_log_settles_as_the_settings_of_its_service_say_unless_an_option_does() {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("runlog.toml");
    std::fs::write(&settings, "[archive]\nsettle = \"0s\"\n").unwrap();
    let is_settled_at_once = |more: &[&str]| {
        let service = Service::start(&[&["--settings", settings.to_str().unwrap()], more].concat());
        let (_, task) = service.make_task();
        let file = write_lines(service.folder().join("log.ndjson"), &[record(1_000, "one")]);
        push(&service, &task, &file);
        let (token, url) = (&service.token, &service.url);
        let ask = format!(
            "curl -sf -X POST -o page -D - -H 'Authorization: Bearer {token}' {url}/monitoring/executions/{RUN}/logs"
        );
        let head = bash(&ask, service.folder());
        assert!(head.contains("x-runlog-log-settled: "), "{head}");
        head.contains("x-runlog-log-settled: true")
    };
    assert!(is_settled_at_once(&[]));
    assert!(!is_settled_at_once(&["--settle", "1h"]));
}

#[test]
fn an_invalid_log_filter_is_reported() {
    let mut serve = runlog(&["serve", "--listen", "127.0.0.1:0"]);
    let output = serve.env("RUNLOG_LOG", "runlog_store=loud").output().unwrap();
    check_failure(output, 2, &["runlog_store=loud", "--log", "a level such as info"]);
    for command in ["serve", "collect", "deliver"] {
        let help = succeeded(runlog(&[command, "--help"]).output().unwrap());
        assert!(help.contains("RUNLOG_LOG=") && help.contains("RUNLOG_LOG_FORMAT="), "{command}: {help}");
    }
}

#[test]
fn former_names_of_options_and_variables_are_accepted() {
    let names = [
        "access-token-life",
        "link-life",
        "stranger-requests-per-second",
        "proxy-says",
        "head-time",
        "head-bytes",
        "body-silence",
        "unpack-ratio",
        "turn-wait",
        "sql-time",
        "sql-questions",
    ];
    let help = succeeded(runlog(&["serve", "--help"]).output().unwrap());
    for name in names {
        let (option, variable) = (format!("--{name}"), format!("RUNLOG_{}", name.replace('-', "_").to_uppercase()));
        // An invalid value shows that it is read, without starting a service.
        let mut serve = runlog(&["serve", "--listen", "127.0.0.1:0"]);
        check_failure(serve.env(&variable, "wrong").output().unwrap(), 2, &[&option, "wrong"]);
        check_failure(runlog(&["serve", &option, "wrong"]).output().unwrap(), 2, &[&option, "wrong"]);
        assert!(!help.contains(&format!("{option} ")) && !help.contains(&format!("{variable}=")), "{help}");
    }
}

#[test]
fn the_form_of_the_log_may_be_set_for_commands_that_end() {
    // A variable that is only meant for the service made `runlog collect --once` fail.
    let mut collect = runlog(&["collect", "--once", "--settings", "no-such.toml"]);
    let output = collect.env("RUNLOG_LOG_FORMAT", "json").output().unwrap();
    check_failure(output, 2, &["cannot read no-such.toml"]);
}

#[test]
fn a_service_with_certificates_of_ones_own_is_reached_by_those_who_have_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let make = r#"
        new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
        openssl req -x509 $new -keyout authority.key -out authority.pem -subj /CN=authority 2>/dev/null
        for name in service client; do
          openssl req -x509 -CA authority.pem -CAkey authority.key $new -keyout $name.key -out $name.pem \
            -subj /CN=$name -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE 2>/dev/null
        done
        cat client.key >> client.pem"#;
    bash(make, folder.path());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (certificate, key, authority) = (path("service.pem"), path("service.key"), path("authority.pem"));
    let mut arguments = vec!["--settle", "0s", "--tls-certificate", &certificate, "--tls-key", &key];
    arguments.extend(["--tls-client-authorities", authority.as_str()]);
    let service = Service::start(&arguments);
    assert!(service.url.starts_with("https://"), "{}", service.url);
    check_failure(service.runlog(&["health"]).output().unwrap(), 5, &["does not respond"]);
    let mut without_its_own = service.runlog(&["health", "--authorities", &authority]);
    check_failure(without_its_own.output().unwrap(), 5, &["does not respond"]);
    let mut of_no_authority = service.runlog(&["health", "--authorities", &path("client.key")]);
    check_failure(of_no_authority.output().unwrap(), 2, &["--authorities", "no CA certificate"]);

    let known = |arguments: &[&str]| {
        let mut command = service.runlog(arguments);
        command.env("RUNLOG_AUTHORITIES", &authority).env("RUNLOG_CLIENT_CERTIFICATE", path("client.pem"));
        succeeded(command.output().unwrap())
    };
    let id = |text: String, name: &str| {
        let made: Value = serde_json::from_str(&text).unwrap();
        made[name].as_str().unwrap().to_owned()
    };
    assert_eq!(known(&["health"]), "ready\n");
    let environment = id(known(&["admin", "environments", "create", "test", "--json"]), "id");
    let made = known(&["admin", "workspaces", "create", "test", "--environment", &environment, "--json"]);
    let workspace = id(made, "id");
    let task = id(known(&["admin", "tasks", "create", "test", "--workspace", &workspace, "--json"]), "executable");
    let file = write_lines(service.folder().join("log.ndjson"), &[record(1_000, "one"), record(2_000, "two")]);
    known(&["push", RUN, file.to_str().unwrap(), "--task", &task, "--finish", "execution_successful"]);
    // The page is downloaded with a link to the same service.
    assert_eq!(known(&["fetch", RUN, "--settle", "0s", "-o", "-"]).lines().count(), 2);

    let settings = format!(
        "[[upstream]]\nname = \"other\"\nurl = \"{}\"\ntoken = {{ env = \"UPSTREAM_TOKEN\" }}\nsettle = \"0s\"\n\
         authorities = \"{authority}\"\nclient_certificate = {{ file = \"{}\" }}\n",
        service.url,
        path("client.pem")
    );
    std::fs::write(folder.path().join("runlog.toml"), settings).unwrap();
    let mut collect = runlog(&["collect", "--once", "--json"]);
    collect.current_dir(folder.path()).env("UPSTREAM_TOKEN", &service.token);
    let collected: Value = serde_json::from_str(&succeeded(collect.output().unwrap())).unwrap();
    assert_eq!((&collected["landed"], &collected["records"]), (&json!(1), &json!(2)));

    // Sinks and webhooks of alerts use the same client certificate, and are refused without it.
    let check = |certificates: &str| {
        let settings = format!(
            "[[sink]]\nname = \"back\"\nkind = \"otlp\"\nurl = \"{0}\"\ntoken = {{ env = \"UPSTREAM_TOKEN\" }}\n{certificates}\
             [alerts]\n{certificates}[[alert]]\nname = \"told\"\nwhen = [\"run_failed\"]\nwebhook = \"{0}/healthz\"\n",
            service.url,
        );
        std::fs::write(folder.path().join("runlog.toml"), settings).unwrap();
        let output = runlog(&["check"]).current_dir(folder.path()).env("UPSTREAM_TOKEN", &service.token).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let certificate = path("client.pem");
    let with = check(&format!("authorities = \"{authority}\"\nclient_certificate = {{ file = \"{certificate}\" }}\n"));
    assert!(with.contains("good  sink back") && with.contains("answered 405"), "{with}");
    let without = check("");
    assert!(without.contains("bad   sink back") && !without.contains("answered"), "{without}");
}

#[test]
fn an_address_without_a_scheme_or_with_a_name_is_understood() {
    for address in ["localhost:8480", "127.0.0.1:8480", "runlog.example.com"] {
        let asked = format!("did you mean http://{address}?");
        for arguments in
            [["runs", "--api-url", address], ["health", "--api-url", address], ["login", address, "--profile=x"]]
        {
            check_failure(runlog(&arguments).env("RUNLOG_TOKEN", "t").output().unwrap(), 2, &[&asked]);
        }
    }
    check_failure(runlog(&["runs", "--api-url", "https://"]).output().unwrap(), 2, &["https://runlog.example.com"]);
    let used = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("localhost:{}", used.local_addr().unwrap().port());
    let folder = tempfile::tempdir().unwrap();
    let serve = |listen: &str| runlog(&["serve", "--listen", listen, "--data"]).arg(folder.path()).output().unwrap();
    check_failure(serve("nowhere"), 2, &["nowhere", "localhost:8480"]);
    if std::net::ToSocketAddrs::to_socket_addrs(&address).unwrap().next().unwrap().is_ipv4() {
        check_failure(serve(&address), 5, &["is in use", "--listen"]);
    }
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = succeeded(runlog(&["completions", shell]).output().unwrap());
        assert!(script.contains("RUNLOG_COMPLETE") && script.contains(shell), "{shell}: {script}");
    }
}

/// What bash offers for the last of some words.
fn completed(service: &Service, words: &[&str]) -> Vec<String> {
    completed_with(service, "", words)
}

/// The same after some commands.
fn completed_with(service: &Service, before: &str, words: &[&str]) -> Vec<String> {
    let script = succeeded(runlog(&["completions", "bash"]).output().unwrap());
    std::fs::write(service.folder().join("completions.bash"), script).unwrap();
    let path = Path::new(crate::support::RUNLOG).parent().unwrap().display();
    let quoted: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
    let (last, previous) = (&quoted[quoted.len() - 1], &quoted[quoted.len() - 2]);
    let lines = format!(
        "{before}PATH={path}:$PATH; export RUNLOG_API_URL={} RUNLOG_TOKEN={}; source completions.bash
         COMP_WORDS=({}); COMP_CWORD={}; COMP_TYPE=9; _clap_complete_runlog runlog {last} {previous} 2>errors
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        service.url,
        service.token,
        quoted.join(" "),
        words.len() - 1
    );
    bash(&lines, service.folder()).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn a_shell_completes_commands_names_and_ids() {
    let (service, workspace, task, file) = with_task();
    service.succeed(&["admin", "tasks", "create", "odd $(touch hit)", "--workspace", &workspace]);
    push(&service, &task, &file);
    let commands = completed(&service, &["runlog", "fe"]);
    assert_eq!(commands, ["fetch"]);
    assert!(!completed(&service, &["runlog", ""]).contains(&"generate".to_owned()), "a hidden command is not offered");
    assert!(completed(&service, &["runlog", "runs", "--fail"]).contains(&"--failed".to_owned()));
    assert_eq!(completed(&service, &["runlog", "tail", "0000"]), [RUN]);
    assert_eq!(completed(&service, &["runlog", "runs", "tes"]), ["test", r"test/odd\ \$\(touch\ hit\)"]);
    assert_eq!(completed(&service, &["runlog", "search", "--task", "test/te"]), ["test/test"]);
    assert_eq!(completed(&service, &["runlog", "search", "--workspace", ""]), ["test"]);
    assert_eq!(completed(&service, &["runlog", "runs", "od"]), [r"odd\ \$\(touch\ hit\)"]);
    assert_eq!(completed(&service, &["runlog", "open", "test/t"]), ["test/test"]);
    assert_eq!(completed(&service, &["runlog", "report", "0000"]), [RUN]);
    assert_eq!(completed(&service, &["runlog", "runs", "--status", "failed,succ"]), ["failed,successful"]);
    assert_eq!(completed(&service, &["runlog", "tail", "x", "--severity", "w"]), ["warn"]);
    assert_eq!(completed(&service, &["runlog", "admin", "workspaces", "create", "w", "--environment", "te"]), ["test"]);
    assert_eq!(completed(&service, &["runlog", "admin", "users", "delete", "ad"]), ["admin"]);
    let profiles = service.folder().join("config/runlog/profiles");
    std::fs::create_dir_all(&profiles).unwrap();
    std::fs::write(profiles.join("night.toml"), "").unwrap();
    let home = format!("export XDG_CONFIG_HOME={}; ", service.folder().join("config").display());
    assert_eq!(completed_with(&service, &home, &["runlog", "runs", "--profile", "n"]), ["night"]);
    assert!(!service.folder().join("hit").exists());
    assert_eq!(std::fs::read_to_string(service.folder().join("errors")).unwrap(), "");
}
