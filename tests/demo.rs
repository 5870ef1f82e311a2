//! `runlog demo`: the whole path on real logs, and the commands of the guide that it prints.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::support::{Service, bash, runlog, succeeded};

/// A `runlog demo --keep`, which is stopped when this is dropped.
struct Kept(Child);

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn every_sample_run_comes_back_as_it_was_pushed() {
    let folder = tempfile::tempdir().unwrap();
    // Something listens on the default port of a service: this test, or whatever did before.
    let _taken = std::net::TcpListener::bind("127.0.0.1:8480");
    let shown = succeeded(runlog(&["demo"]).env("TMPDIR", folder.path()).output().unwrap());
    assert!(shown.matches("verified").count() >= 11 && shown.contains("19 of them verified"), "{shown}");
    assert!(shown.contains("208,429"), "{shown}");
    let (_, report) = shown.split_once("$ runlog report ").unwrap();
    assert!(report.contains("What failed first") && report.contains("duplicate key value"), "{shown}");
    assert!(report.contains("Compared with the last successful run"), "the log was sealed and summarised: {shown}");
    assert!(!shown.contains('\x1b'), "no colours in a pipe");

    // The output ends with the URL of the failed run and the command that serves it, here on a free port.
    let last: Vec<&str> = shown.lines().rev().take(3).collect();
    let [sign_in, serve, address] = last[..] else { panic!("{shown}") };
    let (url, run) = address.split_once("/runs/").expect(&shown);
    let (_, listen) = url.split_once("in the browser: http://").expect(&shown);
    assert_ne!(listen, "127.0.0.1:8480", "that is another service");
    let (_, data) = serve.split_once(" serve --data ").expect(&shown);
    let data = data.strip_suffix(&format!(" --listen {listen}")).expect(&shown);
    let (_, token) = sign_in.split_once("the token in ").expect(&shown);
    let service = Service::start_on(Path::new(data), &[]);
    assert_eq!(std::fs::read_to_string(token).unwrap().trim(), service.token);
    assert!(service.succeed(&["report", run, "--json"]).contains("duplicate key value"), "the same run");
    // The nights of the other tasks are the last ones.
    let runs = service.succeed(&["runs", "--failed", "--last", "1d"]);
    assert_eq!(runs.lines().count(), 1 + 3, "{runs}");
    let problems = service.succeed(&["report", "data engineering"]);
    assert!(problems.contains("nightly-customers") && problems.contains("to check"), "{problems}");
    drop(service);

    let used = folder.path().join("runlog-demo-other");
    std::fs::create_dir_all(used.join("data")).unwrap();
    let lock = std::fs::File::create(used.join("in-use")).unwrap();
    lock.lock().unwrap();
    let cleaned = succeeded(runlog(&["demo", "--clean"]).env("TMPDIR", folder.path()).output().unwrap());
    assert!(cleaned.contains("removed 1 demonstration from "), "{cleaned}");
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, [used], "what is in use stays");
}

#[test]
fn the_printed_lines_of_the_guide_work_as_pasted() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = runlog(&["demo", "--keep"]);
    command.env("TMPDIR", folder.path()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut demo = Kept(command.spawn().unwrap());
    let mut shown = BufReader::new(demo.0.stdout.take().unwrap());
    let mut lines = String::new();
    // The last line says how to stop the service, which continues to run.
    while !lines.ends_with("Press Ctrl-C to stop\n") {
        assert!(shown.read_line(&mut lines).unwrap() > 0, "{lines}");
    }
    let pasted: Vec<&str> = lines.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    let start = pasted.iter().position(|line| line.starts_with("API=")).unwrap();
    let counts = bash(&pasted[start..].join("\n"), folder.path());
    assert!(counts.contains(" large.ndjson") && counts.contains("208429"), "{counts}");
}

#[test]
fn a_script_gets_one_line_of_json_once_the_service_is_filled() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = runlog(&["demo", "--keep", "--json"]);
    command.env("TMPDIR", folder.path()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut demo = Kept(command.spawn().unwrap());
    let mut out = BufReader::new(demo.0.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let demo_service: Value = serde_json::from_str(&line).unwrap();

    for name in ["url", "token", "clientId", "clientSecret", "environmentId", "workspaceId", "taskId"] {
        assert!(demo_service[name].is_string(), "{name}: {line}");
    }
    let runs = demo_service["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 10);
    let large = runs.iter().max_by_key(|run| run["records"].as_u64()).unwrap();
    assert_eq!((large["records"].as_u64(), large["pages"].as_u64()), (Some(208_429), Some(3)));
    for run in runs {
        let mut log = String::new();
        std::fs::File::open(run["file"].as_str().unwrap()).unwrap().read_to_string(&mut log).unwrap();
        assert_eq!(Some(log.lines().count() as u64), run["records"].as_u64());
    }
    // A client that uses only the contract: it gets a token with client ID and secret, and lists runs with it.
    let text = |name: &str| demo_service[name].as_str().unwrap().to_owned();
    let total = bash(
        &format!(
            r#"TOKEN=$(curl -sf -u "{}:{}" -H 'Content-Type: application/json' -d '{{"audience":"{url}","grant_type":"client_credentials"}}' {url}/security/oauth/token | jq -r .access_token)
            curl -sf -H "Authorization: Bearer $TOKEN" "{url}/processing/executables/tasks/{}/executions?from=1795400000000&to=1795500000000" | jq .total"#,
            text("clientId"),
            text("clientSecret"),
            text("taskId"),
            url = text("url"),
        ),
        folder.path(),
    );
    assert_eq!(total, "10\n");
}
