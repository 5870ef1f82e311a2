//! Clients of PostgreSQL: psql, and messages that no client sends. Other clients are in `tests/postgres-clients`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::support::{Service, bash, succeeded, write_lines};

const RUN: &str = "00000000-0000-4000-8000-000000000001";

/// A service with a listener for clients of PostgreSQL, and a run of a hundred records.
struct Archive {
    service: Service,
    port: u16,
    workspace: String,
}

impl Archive {
    fn start(arguments: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listen = format!("127.0.0.1:{port}");
        let service = Service::start(&[&["--settle", "0s", "--sql-listen", &listen], arguments].concat());
        Self { service, port, workspace: String::new() }
    }

    fn filled(arguments: &[&str]) -> Self {
        let mut archive = Self::start(arguments);
        let (workspace, task) = archive.service.make_task();
        archive.workspace = workspace;
        let line = |at: i64| {
            let severity = if at % 10 == 0 { "ERROR" } else { "INFO" };
            json!({"logTimestamp": 1_000 * at, "severity": severity, "logMessage": format!("line {at}")}).to_string()
        };
        let lines: Vec<String> = (0..100).map(line).collect();
        let file = write_lines(archive.service.folder().join("log.ndjson"), &lines);
        archive.service.succeed(&[
            "push",
            RUN,
            file.to_str().unwrap(),
            "--task",
            &task,
            "--finish",
            "execution_failed",
        ]);
        archive
    }

    fn psql(&self, user: &str, password: &str, options: &str, statements: &[&str]) -> Output {
        let mut command = Command::new("psql");
        command.args(["-X", "-At", "-v", "VERBOSITY=verbose"]);
        command
            .arg(format!("host=localhost hostaddr=127.0.0.1 port={} dbname=runlog user={user} {options}", self.port));
        for statement in statements {
            command.args(["-c", statement]);
        }
        command.env("PGPASSWORD", password).output().unwrap()
    }

    #[track_caller]
    fn asked(&self, statement: &str) -> String {
        succeeded(self.psql("me", &self.service.token, "", &[statement])).trim_end().to_owned()
    }

    /// The error of statements, with its code.
    #[track_caller]
    fn refused(&self, statements: &[&str]) -> String {
        refusal(self.psql("me", &self.service.token, "", statements))
    }
}

#[track_caller]
fn refusal(output: Output) -> String {
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && !said.is_empty(), "{said}");
    said
}

#[test]
fn psql_runs_queries() {
    let archive = Archive::filled(&[]);
    let query = "SELECT severity, count(*), max(time) FROM records GROUP BY 1 ORDER BY 1";
    assert_eq!(archive.asked(query), "ERROR|10|1970-01-01 00:01:30+00\nINFO|90|1970-01-01 00:01:39+00");
    assert_eq!(
        archive.asked("SELECT 1.5, true, NULL, ARRAY['a b', 'c'], INTERVAL '90 minutes', DATE '2026-01-02'"),
        "1.5|t||{\"a b\",c}|01:30:00|2026-01-02"
    );
    // Formats and days of the week are those of PostgreSQL; what the engine cannot do is refused.
    let formatted = "SELECT to_char(TIMESTAMP '2026-03-01 07:08:09', 'FMDD. Mon YYYY, HH24:MI'),
        to_char(TIMESTAMP '2026-03-01 07:08:09', '%Y'), to_date('01.03.2026', 'DD.MM.YYYY'),
        extract(isodow FROM DATE '2026-03-01'), date_part('isodow', DATE '2026-03-02'), extract(dow FROM DATE '2026-03-01')";
    assert_eq!(archive.asked(formatted), "1. Mar 2026, 07:08|2026|2026-03-01|7|1|0");
    // Other formats, and functions that clients call: the expected values are those of PostgreSQL.
    for (expression, expected) in [
        (
            "to_char(TIMESTAMP '2026-03-01 07:08:09', 'DD MON YYYY, Month|DDth|Y,YYY WW J')",
            "01 MAR 2026, March    |01st|2,026 09 2461101",
        ),
        ("to_char(1234.567, 'FM9,999.00')", "1,234.57"),
        ("to_char(-12, '999MI')", " 12-"),
        ("md5('hello')", "5d41402abc4b2a76b9719d911017c592"),
        ("width_bucket(5.35, 0.024, 10.06, 5)", "3"),
        ("lpad('abc', 5, '*') || rpad('x', 3, '-') || repeat('ab', 2)", "**abcx--abab"),
        ("format('%2$s and %1$s', 'a', 'b')", "b and a"),
        ("INTERVAL '1 day 02:03:04.5' * 2", "2 days 04:06:09"),
        ("TIMESTAMP '2026-01-03' - TIMESTAMP '2026-01-01 12:00'", "1 day 12:00:00"),
        ("justify_interval(INTERVAL '1 mon -1 hour')", "29 days 23:00:00"),
        ("make_interval(days => 3)", "3 days"),
        ("date_trunc('century', TIMESTAMP '2026-03-01')", "2001-01-01 00:00:00"),
        ("extract(decade FROM DATE '2026-03-01')", "202"),
        ("array_remove(ARRAY[1, 2, 1], 1)", "{2}"),
        ("1e300::float8 * 10", "1e+301"),
        ("(SELECT mode() WITHIN GROUP (ORDER BY x) FROM (VALUES (1), (2), (2)) AS t(x))", "2"),
        ("json_array_length('[1, 2]')", "2"),
    ] {
        assert_eq!(archive.asked(&format!("SELECT {expression}")), expected, "{expression}");
    }
    assert_eq!(archive.asked("SELECT regexp_matches('foobarbaz', 'b(.)', 'g')"), "{a}\n{a}");
    assert_eq!(archive.asked("SHOW search_path"), "public");
    assert_eq!(archive.asked("COPY (SELECT message FROM records ORDER BY time LIMIT 2) TO STDOUT"), "line 0\nline 1");
    let cursor = [
        "BEGIN",
        "DECLARE c CURSOR FOR SELECT arrival FROM records ORDER BY 1",
        "FETCH 2 FROM c",
        "MOVE 3 FROM c",
        "FETCH c",
        "COMMIT",
    ];
    let said = succeeded(archive.psql("me", &archive.service.token, "", &cursor));
    assert_eq!(said, "BEGIN\nDECLARE CURSOR\n0\n1\nMOVE 3\n5\nCOMMIT\n");
    // Statements that are prepared in SQL.
    let prepared = [
        "PREPARE p (bigint, text) AS SELECT count(*) FROM records WHERE arrival < $1 AND severity = $2",
        "EXECUTE p (20, 'ERROR')",
        "EXECUTE p (10 + 20, 'ERROR')",
        "DEALLOCATE p",
    ];
    let said = succeeded(archive.psql("me", &archive.service.token, "", &prepared));
    assert_eq!(said, "PREPARE\n2\n3\nDEALLOCATE\n");
    let prepare = "PREPARE p (bigint) AS SELECT $1";
    assert!(archive.refused(&[prepare, "EXECUTE p"]).contains("42601"));
    assert!(archive.refused(&["EXECUTE nothing (1)"]).contains("26000"));
    assert!(archive.refused(&[prepare, prepare]).contains("42P05"));
    let metrics = bash(
        &format!("curl -sS -H 'Authorization: Bearer {}' {}/metrics", archive.service.token, archive.service.url),
        archive.service.folder(),
    );
    assert!(metrics.contains("runlog_postgres_statements_total{sqlstate=\"00000\"}"), "{metrics}");
    assert!(metrics.contains("runlog_postgres_sessions 0"), "{metrics}");
}

#[test]
fn psql_describes_the_tables() {
    let archive = Archive::start(&[]);
    let tables = archive.asked("\\dt");
    let names = [
        "component_metrics",
        "deliveries",
        "plan_executions",
        "plan_steps",
        "problems",
        "records",
        "runs",
        "tasks",
        "tenant_audit_logs",
    ];
    assert_eq!(tables.lines().map(|line| line.split('|').nth(1).unwrap()).collect::<Vec<_>>(), names);
    let columns = archive.asked("\\d runs");
    assert!(columns.starts_with("run_id|text||not null|\n"), "{columns}");
    assert!(columns.contains("\nduration_ms|bigint|||\n"), "{columns}");
    assert!(archive.asked("\\d+ records").contains("\ntime|timestamp with time zone||not null|"));
    assert!(archive.asked("\\l").starts_with("runlog|"));
    assert!(archive.asked("\\dn").starts_with("public|"));
    for nothing in [
        "\\df", "\\dx", "\\dT", "\\dC", "\\dL", "\\dd", "\\ddp", "\\do", "\\dF", "\\dFd", "\\dFp", "\\dFt", "\\dy",
        "\\dc", "\\drds", "\\dRs", "\\dl", "\\dAf", "\\dAo", "\\dAp", "\\deu",
    ] {
        assert_eq!(archive.asked(nothing), "", "{nothing}");
    }
    assert!(archive.asked("\\db").starts_with("pg_default|"));
    assert!(archive.refused(&["\\sf nothing"]).contains("there is no function nothing"));
    assert!(archive.asked("\\du").starts_with("admin|"));
    assert!(archive.asked("SELECT version()").starts_with("PostgreSQL 15.0 (Runlog "));
    let columns = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'tasks' ORDER BY ordinal_position LIMIT 1";
    assert_eq!(archive.asked(columns), "task_id|text");
    assert_eq!(
        archive.asked("SELECT 'runs'::regclass::oid::regclass, EXISTS (SELECT 1 FROM pg_class WHERE relname = 'runs')"),
        "runs|t"
    );
}

#[test]
fn errors_have_a_code_a_position_and_a_way_out() {
    let archive = Archive::start(&[]);
    let refused = |statement: &str, words: &[&str]| {
        let said = archive.refused(&[statement]);
        assert!(words.iter().all(|word| said.contains(word)), "{statement}: {said}");
    };
    refused("SELECT nope FROM runs", &["42703", "LINE 1: SELECT nope FROM runs", "               ^"]);
    refused("SELECT * FROM run", &["42P01", "did you mean runs?"]);
    refused("SELECT nope(1)", &["42883"]);
    refused("SELEC 1", &["42601"]);
    refused("SELECT 1 / 0", &["22012"]);
    refused("SELECT repeat('x', 1000000000)", &["53200", "memory"]);
    refused("SELECT array_repeat('x', 1000000000)", &["42883", "memory limit"]);
    refused("SELECT current_setting('nope')", &["42704"]);
    refused("SET datestyle = 'German'", &["0A000"]);
    for statement in [
        "INSERT INTO runs VALUES (1)",
        "DELETE FROM runs",
        "CREATE TABLE t (a int)",
        "COPY runs FROM STDIN",
        "WITH gone AS (DELETE FROM runs RETURNING 1) SELECT * FROM gone",
        "BEGIN READ WRITE",
        "SELECT * INTO t FROM runs",
    ] {
        refused(statement, &["25006", "can only be read"]);
    }
    // A transaction that has failed is over, whatever follows.
    let said = archive.refused(&["BEGIN", "SELECT nope", "SELECT 1"]);
    assert!(said.contains("42703") && said.contains("25P02"), "{said}");
}

#[test]
fn each_account_sees_its_workspaces_and_its_queries_are_audited() {
    let archive = Archive::filled(&[]);
    let service = &archive.service;
    let account = service.json(&["admin", "service-accounts", "create", "bi", "--json"]);
    let (id, secret) = (account["id"].as_str().unwrap(), account["secret"].as_str().unwrap());
    let count = "SELECT (SELECT count(*) FROM records), (SELECT count(*) FROM runs), (SELECT count(*) FROM tasks)";
    let asked = || succeeded(archive.psql(id, secret, "", &[count])).trim().to_owned();
    assert_eq!(asked(), "0|0|0");
    let grant = ["admin", "rights", "grant", "--workspace", &archive.workspace, "--service-account", id];
    service.succeed(&[&grant[..], &["author", "viewer", "executor"]].concat());
    assert_eq!(asked(), "100|1|1");
    // Rights are looked up for each statement, and so is the account.
    let mut client = Client::signed_in(archive.port, id, secret);
    assert_eq!(client.ask(count), [["100", "1", "1"]]);
    service.succeed(&["admin", "rights", "revoke", "--workspace", &archive.workspace, "--service-account", id]);
    assert_eq!(client.ask(count), [["0", "0", "0"]]);
    service.succeed(&["admin", "service-accounts", "delete", id]);
    client.send(b'Q', b"SELECT 1\0");
    assert!(client.error().contains("28P01"));
    let audit = bash(
        &format!("curl -sS -H 'Authorization: Bearer {}' '{}/runlog/v1/audit?limit=100'", service.token, service.url),
        service.folder(),
    );
    assert!(audit.contains("run SQL query") && audit.contains(id) && audit.contains("127.0.0.1"), "{audit}");
}

#[test]
fn password_guessing_is_throttled() {
    let archive = Archive::start(&["--anonymous-requests-per-second", "1"]);
    let wrong = format!("{}x", archive.service.token);
    let said = refusal(archive.psql("me", &wrong, "", &["SELECT 1"]));
    assert!(said.contains("this token is unknown, or was revoked") && !said.contains(&wrong), "{said}");
    let is_limited = (0..20).any(|_| refusal(archive.psql("me", &wrong, "", &["SELECT 1"])).contains("try again in"));
    assert!(is_limited);
    let other = archive.psql("me", &archive.service.token, "dbname=postgres", &["SELECT 1"]);
    assert!(refusal(other).contains("the name of the archive is runlog"));
}

#[test]
fn passwords_of_other_machines_are_encrypted() {
    let folder = tempfile::tempdir().unwrap();
    bash(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout key.pem -out cert.pem \
         -subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE 2>/dev/null",
        folder.path(),
    );
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (path("cert.pem"), path("key.pem"));
    let tls = ["--tls-certificate", certificate.as_str(), "--tls-key", &key];
    // A service whose command line would need the certificate: its port is asked directly.
    let archive = Archive::start(&tls);
    let token = &archive.service.token;
    let verified = format!("sslmode=verify-full sslrootcert={certificate}");
    assert_eq!(succeeded(archive.psql("me", token, &verified, &["SELECT 1"])), "1\n");
    let said = refusal(archive.psql("me", token, "sslmode=verify-full sslrootcert=/etc/hostname", &["SELECT 1"]));
    assert!(said.contains("certificate") || said.contains("SSL"), "{said}");
    // What was sent before the handshake is not taken for a part of the encrypted session.
    let mut client = Client::connect(archive.port);
    client.stream.write_all(&[&startup_code(80_877_103)[..], b"Q\0\0\0\x0dSELECT 1\0"].concat()).unwrap();
    let mut answer = Vec::new();
    let _ = client.stream.read_to_end(&mut answer);
    assert_eq!(answer, b"S");

    let archive = Archive::start(&["--trusted-proxies", "127.0.0.1", "--client-address-source", "proxy-protocol"]);
    let mut client = Client::connect(archive.port);
    client.stream.write_all(b"PROXY TCP4 192.0.2.7 127.0.0.1 4000 5433\r\n").unwrap();
    client.startup("me");
    let said = client.error();
    assert!(said.contains("28000") && said.contains("sslmode=require"), "{said}");
}

#[test]
fn a_statement_is_cancelled_with_its_key() {
    let archive = Archive::start(&[]);
    let mut client = Client::signed_in(archive.port, "me", &archive.service.token);
    client.send(b'Q', b"SELECT max(a + b) FROM generate_series(1, 1000000) AS a, generate_series(1, 1000000) AS b\0");
    let key = client.key.clone();
    let is_cancelled = Arc::new(AtomicBool::new(false));
    let cancelling = std::thread::spawn({
        let (port, is_cancelled) = (archive.port, Arc::clone(&is_cancelled));
        // Whenever it begins: requests before that have no effect.
        move || {
            while !is_cancelled.load(Ordering::Relaxed) {
                let mut other = Client::connect(port);
                let request = [&80_877_102_i32.to_be_bytes()[..], &key].concat();
                other.stream.write_all(&[&16_i32.to_be_bytes()[..], &request].concat()).unwrap();
                let _ = other.stream.read_to_end(&mut Vec::new());
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        }
    });
    assert!(client.error().contains("57014"));
    is_cancelled.store(true, Ordering::Relaxed);
    cancelling.join().unwrap();
    client.until(b'Z');
    client.send(b'Q', b"SET statement_timeout = 50; SELECT max(a + b) FROM generate_series(1, 1000000) AS a, generate_series(1, 1000000) AS b\0");
    assert!(client.error().contains("57014"));
}

#[test]
fn a_portal_is_read_in_parts() {
    let archive = Archive::filled(&[]);
    let mut client = Client::signed_in(archive.port, "me", &archive.service.token);
    client.ask("BEGIN");
    client.send(b'P', b"s\0SELECT arrival FROM records WHERE arrival < $1 ORDER BY arrival\0\0\0");
    client.send(b'D', b"Ss\0");
    // Five, in binary; the rows in text.
    client.send(b'B', b"p\0s\0\0\x01\0\x01\0\x01\0\0\0\x08\0\0\0\0\0\0\0\x05\0\0");
    client.send(b'E', b"p\0\0\0\0\x02");
    client.send(b'E', b"p\0\0\0\0\x02");
    client.send(b'E', b"p\0\0\0\0\x02");
    client.send(b'S', b"");
    let kinds: String = std::iter::from_fn(|| Some(client.read()))
        .map(|(kind, body)| {
            if kind == b't' {
                assert_eq!(body, [&[0, 1][..], &20_i32.to_be_bytes()].concat());
            }
            char::from(kind)
        })
        .take_while(|kind| *kind != 'Z')
        .collect();
    assert_eq!(kinds, "1tT2DDsDDsDC");
}

#[test]
fn an_error_reaches_the_waiting_client() {
    let archive = Archive::start(&[]);
    let mut client = Client::signed_in(archive.port, "me", &archive.service.token);
    // Some drivers send `Sync` only after they have seen the error.
    client.send(b'P', b"s\0SELECT nope\0\0\0");
    client.send(b'D', b"Ss\0");
    client.send(b'H', b"");
    assert!(client.error().contains("42703"));
    client.send(b'S', b"");
    client.until(b'Z');
    // Nothing follows a simple query, not even one that is no text.
    client.send(b'Q', b"SELECT '\xff'\0");
    assert!(client.error().contains("22021"));
    client.until(b'Z');
    assert_eq!(client.ask("SELECT 1"), [["1"]]);
}

#[test]
fn settings_of_clients_that_have_no_effect_keep_nobody_out() {
    let archive = Archive::start(&[]);
    let token = &archive.service.token;
    for options in ["options='-c work_mem=64MB'", "client_encoding=SQL_ASCII"] {
        assert_eq!(succeeded(archive.psql("me", token, options, &["SELECT 1"])), "1\n", "{options}");
    }
    let said = refusal(archive.psql("me", token, "client_encoding=LATIN1", &["SELECT 1"]));
    assert!(said.contains("PGCLIENTENCODING=UTF8"), "{said}");
}

#[test]
fn a_statement_is_bounded_whatever_a_comment_hides() {
    let archive = Archive::start(&[]);
    let mut client = Client::signed_in(archive.port, "me", &archive.service.token);
    // A carriage return ends a comment of PostgreSQL.
    for hidden in [format!("SELECT 1::int{}", "[]".repeat(100_000)), "SELECT 1 UNION ".repeat(15_000) + "SELECT 1"] {
        client.send(b'Q', format!("--\r{hidden}\0").as_bytes());
        assert!(client.error().contains("the query is too large"));
        client.until(b'Z');
    }
    assert_eq!(client.ask("--\rSELECT 1"), [["1"]]);
    // Thousands of columns with the same name.
    let rows = client.ask(&format!("SELECT {}", vec!["1"; 1_500].join(",")));
    assert!(rows.len() == 1 && rows[0].len() == 1_500 && rows[0].iter().all(|value| value == "1"));
}

/// A parameter is copied for each of its uses: 2 KB of text and 1 MB of value took gigabytes.
#[test]
fn a_parameter_counts_as_often_as_it_is_named() {
    let archive = Archive::start(&[]);
    let mut client = Client::signed_in(archive.port, "me", &archive.service.token);
    let bind = |length: usize| {
        let length_text = i32::try_from(length).unwrap().to_be_bytes();
        [&b"\0s\0\0\0\0\x01"[..], &length_text, &vec![b'x'; length], b"\0\0"].concat()
    };
    let text = format!("SELECT count(*) FROM runs WHERE status IN ({})", vec!["$1"; 600].join(","));
    client.send(b'P', format!("s\0{text}\0\0\0").as_bytes());
    client.send(b'B', &bind(1_000_000));
    client.send(b'E', b"\0\0\0\0\0");
    client.send(b'S', b"");
    let said = client.error();
    assert!(said.contains("54001") && said.contains("name them less often"), "{said}");
    client.until(b'Z');
    client.send(b'B', &bind(1_000));
    client.send(b'E', b"\0\0\0\0\0");
    client.send(b'S', b"");
    assert!(client.until(b'D').ends_with(b"0"));
    client.until(b'Z');
}

#[test]
fn prepared_statements_are_bounded_and_work_up_to_there() {
    let archive = Archive::start(&[]);
    let mut client = Client::signed_in(archive.port, "me", &archive.service.token);
    let name = "n".repeat(64);
    client.send(b'P', format!("{name}\0SELECT 1\0\0\0").as_bytes());
    client.send(b'S', b"");
    assert!(client.error().contains("42622"));
    client.until(b'Z');
    // Most of these are parsed again when they are used.
    let list = vec!["1"; 9_000].join(",");
    for number in 0..20 {
        client.send(b'P', format!("s{number}\0SELECT {number} WHERE 1 IN ({list})\0\0\0").as_bytes());
        client.send(b'H', b"");
        client.until(b'1');
    }
    for number in [0, 19] {
        client.send(b'D', format!("Ss{number}\0").as_bytes());
        client.send(b'H', b"");
        client.until(b'T');
        client.send(b'B', format!("\0s{number}\0\0\0\0\0\0\0").as_bytes());
        client.send(b'E', b"\0\0\0\0\0");
        client.send(b'S', b"");
        assert!(client.until(b'D').ends_with(number.to_string().as_bytes()));
        client.until(b'Z');
    }
    client.ask("DEALLOCATE ALL");
    // Types of parameters are counted; and the statement without a name can be replaced however many others there are.
    let types = [&u16::MAX.to_be_bytes()[..], &vec![0; 4 * usize::from(u16::MAX)]].concat();
    let refused = (0..10).any(|number| {
        client.send(b'P', &[format!("t{number}\0SELECT 1\0").as_bytes(), &types].concat());
        client.send(b'S', b"");
        let is_refused = client.read().0 == b'E';
        client.until(b'Z');
        is_refused
    });
    assert!(refused);
    client.ask("DEALLOCATE ALL");
    for number in 0..1_000 {
        let name = if number == 0 { String::new() } else { format!("s{number}") };
        client.send(b'P', format!("{name}\0SELECT 1\0\0\0").as_bytes());
        client.send(b'H', b"");
        client.until(b'1');
    }
    client.send(b'P', b"\0SELECT 2\0\0\0");
    client.send(b'H', b"");
    client.until(b'1');
    client.send(b'P', b"one more\0SELECT 2\0\0\0");
    client.send(b'S', b"");
    assert!(client.error().contains("53400"));
}

#[test]
fn a_cursor_that_is_not_read_holds_no_query_beyond_its_time() {
    let archive = Archive::start(&["--sql-timeout", "2s"]);
    let token = &archive.service.token;
    let many = "SELECT a FROM generate_series(1, 3000000) AS a";
    let mut idle: Vec<Client> = Vec::new();
    for _ in 0..4 {
        let mut client = Client::signed_in(archive.port, "me", token);
        client.ask("BEGIN");
        client.send(b'P', format!("\0{many}\0\0\0").as_bytes());
        client.send(b'B', b"\0\0\0\0\0\0\0\0");
        client.send(b'E', b"\0\0\0\0\x01");
        client.send(b'H', b"");
        client.until(b's');
        idle.push(client);
    }
    // All queries that may run at a time are there; they end by their time, and another one is answered.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !archive.psql("me", token, "", &["SELECT count(*) FROM runs"]).status.success() {
        assert!(std::time::Instant::now() < deadline, "cursors that nobody reads hold all queries");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    let client = &mut idle[0];
    client.send(b'E', b"\0\0\0\0\0");
    client.send(b'S', b"");
    assert!(client.error().contains("57014"));
}

#[test]
fn an_invalid_message_ends_only_its_session() {
    let archive = Archive::start(&["--sql-sessions", "1"]);
    let token = &archive.service.token;
    // Lengths that no memory would hold, or that end before they begin.
    for begin in
        [&[0x7f, 0xff, 0xff, 0xff][..], &[0xff; 8], &[0, 0, 0, 3], &[0, 0, 0, 8, 0, 2, 0, 0], b"GET / HTTP/1.1\r\n\r\n"]
    {
        let mut client = Client::connect(archive.port);
        client.stream.write_all(begin).unwrap();
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = client.stream.read_to_end(&mut Vec::new());
    }
    for (kind, length) in [(b'Q', i32::MAX), (b'Q', 3), (b'Q', -1), (b'?', 4), (b'B', 1 << 28)] {
        let mut client = Client::signed_in(archive.port, "me", token);
        client.stream.write_all(&[&[kind][..], &length.to_be_bytes()].concat()).unwrap();
        assert!(client.error().contains("08P01"), "{kind} {length}");
        let _ = client.stream.read_to_end(&mut Vec::new());
    }
    // Idle connections do not occupy sessions.
    let silent: Vec<Client> = (0..50).map(|_| Client::connect(archive.port)).collect();
    let mut client = Client::signed_in(archive.port, "me", token);
    assert_eq!(client.ask("SELECT 1"), [["1"]]);
    let said = refusal(archive.psql("me", token, "", &["SELECT 1"]));
    assert!(said.contains("too many sessions"), "{said}");
    drop((client, silent));
}

/// A client that sends the messages of a test.
struct Client {
    stream: TcpStream,
    /// The number and the secret of its session.
    key: Vec<u8>,
}

fn startup_code(code: i32) -> Vec<u8> {
    [8_i32.to_be_bytes(), code.to_be_bytes()].concat()
}

impl Client {
    fn connect(port: u16) -> Self {
        Self { stream: TcpStream::connect(("127.0.0.1", port)).unwrap(), key: Vec::new() }
    }

    fn startup(&mut self, user: &str) {
        let body = format!("user\0{user}\0database\0runlog\0\0");
        let length = i32::try_from(body.len() + 8).unwrap();
        self.stream
            .write_all(&[&length.to_be_bytes()[..], &0x0003_0000_i32.to_be_bytes(), body.as_bytes()].concat())
            .unwrap();
    }

    fn signed_in(port: u16, user: &str, password: &str) -> Self {
        // A session that ended just now may still be counted.
        for _ in 0..100 {
            let mut client = Self::connect(port);
            client.startup(user);
            assert_eq!(client.read(), (b'R', 3_i32.to_be_bytes().to_vec()));
            client.send(b'p', format!("{password}\0").as_bytes());
            loop {
                match client.read() {
                    (b'K', key) => client.key = key,
                    (b'Z', _) => return client,
                    (b'E', body) if String::from_utf8_lossy(&body).contains("53300") => break,
                    (b'E', body) => panic!("{}", String::from_utf8_lossy(&body)),
                    _ => {}
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("there is no free session");
    }

    fn send(&mut self, kind: u8, body: &[u8]) {
        let length = i32::try_from(body.len() + 4).unwrap();
        self.stream.write_all(&[&[kind][..], &length.to_be_bytes(), body].concat()).unwrap();
    }

    fn read(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head).unwrap();
        let length = i32::from_be_bytes(head[1..].try_into().unwrap());
        let mut body = vec![0; usize::try_from(length - 4).unwrap()];
        self.stream.read_exact(&mut body).unwrap();
        (head[0], body)
    }

    fn until(&mut self, wanted: u8) -> Vec<u8> {
        loop {
            let (kind, body) = self.read();
            if kind == wanted {
                return body;
            }
        }
    }

    fn error(&mut self) -> String {
        String::from_utf8(self.until(b'E')).unwrap()
    }

    /// The rows of a statement, in text.
    fn ask(&mut self, statement: &str) -> Vec<Vec<String>> {
        self.send(b'Q', format!("{statement}\0").as_bytes());
        let mut rows = Vec::new();
        loop {
            match self.read() {
                (b'D', body) => {
                    let mut values = Vec::new();
                    let mut rest = &body[2..];
                    while !rest.is_empty() {
                        let length = usize::try_from(i32::from_be_bytes(rest[..4].try_into().unwrap())).unwrap();
                        values.push(String::from_utf8(rest[4..4 + length].to_vec()).unwrap());
                        rest = &rest[4 + length..];
                    }
                    rows.push(values);
                }
                (b'E', body) => panic!("{}", String::from_utf8_lossy(&body)),
                (b'Z', _) => return rows,
                _ => {}
            }
        }
    }
}
