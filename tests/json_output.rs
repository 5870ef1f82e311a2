//! The output of commands with `--json` matches docs/json.md.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::support::{Service, runlog, succeeded, write_lines};

const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/json.md"));
const OPENAPI: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json"));
const COMMANDS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/commands.md"));

const GOOD_RUN: &str = "00000000-0000-4000-8000-000000000001";
const FAILED_RUN: &str = "00000000-0000-4000-8000-000000000002";
const PLAN_EXECUTION: &str = "7fb48c7a-5ea5-4cb9-9333-e345f28d9dd5";

/// The form of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One object per line.
    Lines,
    Object,
    Array,
}

/// The cells of the rows of a table in Markdown, without its head.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let lines = text.lines().filter(|line| line.starts_with("| `"));
    lines.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

/// The text between a pair of backticks, and what follows.
fn code(text: &str) -> (&str, &str) {
    let (code, rest) = text.trim_start_matches(|one| one != '`')[1..].split_once('`').unwrap();
    (code, rest)
}

/// The section about commands that print answers of the API, and the sections about one command each.
fn sections() -> (&'static str, std::str::Split<'static, &'static str>) {
    let (api, own) = PAGE.split_once("\n## Answers of the API\n").unwrap().1.split_once("\n## ").unwrap();
    (api, own.split("\n## "))
}

/// Returns the documented form and schema of the output of a command.
fn documented(command: &str) -> (Form, Value) {
    let (api, mut own) = sections();
    if let Some(row) = rows(api).into_iter().find(|row| code(row[0]).0 == command) {
        let form = match row[1] {
            "lines" => Form::Lines,
            "object" => Form::Object,
            "array" => Form::Array,
            other => panic!("{command}: {other}"),
        };
        let (schema, more) = code(row[2]);
        let mut schema = json!({"$ref": format!("#/components/schemas/{schema}")});
        if let Some((_, additional)) = more.split_once("additional field ") {
            schema["properties"] = json!({ (code(additional).0): true });
        }
        return (form, schema);
    }
    let section = own.find(|section| section.starts_with(&format!("{command}\n")));
    let section = section.unwrap_or_else(|| panic!("docs/json.md does not describe {command}"));
    let form = match section {
        _ if section.contains("n array with one object") => Form::Array,
        _ if section.contains("ne object for each") => Form::Lines,
        _ => Form::Object,
    };
    let mut schema = json!({});
    for row in rows(section) {
        let path: Vec<&str> = code(row[0]).0.split('.').collect();
        insert(&mut schema, &path, type_of(row[1]));
    }
    (form, schema)
}

/// The schema of a type as the page writes it.
fn type_of(text: &str) -> Value {
    match text.strip_suffix(" or null").unwrap_or(text) {
        schema if schema.starts_with('`') => json!({"$ref": format!("#/components/schemas/{}", code(schema).0)}),
        kind => {
            let kind = if kind == "time" { "string" } else { kind };
            match text.ends_with(" or null") {
                true => json!({"type": [kind, "null"]}),
                false => json!({"type": kind}),
            }
        }
    }
}

/// Adds a field to the schema of an object: `a.b[].c?`.
fn insert(schema: &mut Value, path: &[&str], kind: Value) {
    let Some((first, rest)) = path.split_first() else {
        *schema = kind;
        return;
    };
    let (name, is_optional) = first.strip_suffix('?').map_or((*first, false), |name| (name, true));
    let (name, is_list) = name.strip_suffix("[]").map_or((name, false), |name| (name, true));
    if schema.get("properties").is_none() {
        *schema = json!({"type": "object", "properties": {}, "required": []});
    }
    let required = schema["required"].as_array_mut().unwrap();
    if !is_optional && !required.iter().any(|it| it == name) {
        required.push(name.into());
    }
    let field = &mut schema["properties"][name];
    match is_list {
        true => {
            let items = field.as_object().map_or(json!({}), |field| field["items"].clone());
            *field = json!({"type": "array", "items": items});
            insert(&mut field["items"], rest, kind);
        }
        false => {
            if field.is_null() {
                *field = json!({});
            }
            insert(field, rest, kind);
        }
    }
}

/// The schemas of the API, which refuse fields that they do not describe.
fn components() -> Value {
    let mut schemas: Map<String, Value> =
        serde_json::from_str::<Value>(OPENAPI).unwrap()["components"]["schemas"].as_object().unwrap().clone();
    let mut parts = BTreeSet::new();
    schemas.values().for_each(|schema| parts_of_others(schema, false, &mut parts));
    for (name, schema) in &mut schemas {
        let is_object = schema.get("properties").is_some() || schema.get("allOf").is_some();
        if is_object && !parts.contains(name) && schema.get("additionalProperties").is_none() {
            schema["unevaluatedProperties"] = false.into();
        }
    }
    json!({ "schemas": schemas })
}

/// The names of the schemas to which others add fields.
fn parts_of_others(schema: &Value, is_part: bool, parts: &mut BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            if let Some(reference) = fields.get("$ref").and_then(Value::as_str).filter(|_| is_part) {
                parts.insert(reference.rsplit('/').next().unwrap().to_owned());
            }
            fields.iter().for_each(|(name, value)| parts_of_others(value, name == "allOf", parts));
        }
        Value::Array(items) => items.iter().for_each(|item| parts_of_others(item, is_part, parts)),
        _ => {}
    }
}

/// The outputs of commands, and which were compared.
struct Outputs {
    components: Value,
    compared: BTreeSet<String>,
}

impl Outputs {
    /// Fails unless an output has the form and the fields that the page describes. `command` is as the page names it.
    #[track_caller]
    fn check(&mut self, command: &str, output: &str) {
        let (form, mut schema) = documented(command);
        let is_extended = schema.get("$ref").is_some() && schema.get("properties").is_some();
        let mut components = self.components.clone();
        if is_extended {
            // The additional fields are beside those of the schema.
            let name = schema["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
            components["schemas"][name].as_object_mut().unwrap().remove("unevaluatedProperties");
        }
        schema["components"] = components;
        schema["unevaluatedProperties"] = false.into();
        let validator = jsonschema::options().with_draft(jsonschema::Draft::Draft202012).build(&schema).unwrap();
        let values: Vec<Value> = match form {
            Form::Lines => output.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
            Form::Object => vec![serde_json::from_str(output.lines().next().unwrap_or_default()).unwrap()],
            Form::Array => serde_json::from_str::<Value>(output).unwrap().as_array().unwrap().clone(),
        };
        assert!(!values.is_empty(), "{command} printed nothing to compare");
        for value in values {
            let errors: Vec<String> =
                validator.iter_errors(&value).map(|error| format!("{} {error}", error.instance_path())).collect();
            assert!(errors.is_empty(), "{command}: {errors:#?} in {value}");
        }
        self.compared.insert(command.to_owned());
    }
}

/// The commands that the page describes.
fn described() -> BTreeSet<String> {
    let (api, own) = sections();
    let of_api = rows(api).into_iter().map(|row| code(row[0]).0.to_owned());
    let of_own = own.map(|section| section.lines().next().unwrap().to_owned());
    of_api.chain(of_own).collect()
}

#[test]
fn every_command_with_json_output_is_described() {
    let described = described();
    for section in COMMANDS.split("\n## ").skip(1) {
        let command = section.lines().next().unwrap();
        // The options of a group of commands are those of its commands.
        let has_json =
            section.contains("\n      --json") && !section.contains("<COMMAND>") && !section.contains("<ACTION>");
        let is_described = described.iter().any(|it| it == command || it.starts_with(&format!("{command} ")));
        let is_in_text = PAGE.contains(&format!("`{command}`"));
        let is_of_rights_or_deletion =
            ["admin rights", " delete", "tokens revoke"].iter().any(|it| command.contains(it));
        assert!(!has_json || is_described || is_in_text || is_of_rights_or_deletion, "docs/json.md lacks {command}");
    }
    assert!(described.len() > 50, "{described:?}");
}

/// A service with runs of a task, a plan execution and a problem.
#[allow(clippy::disallowed_methods, reason = "a collector lists what happened in the last day")]
fn stage() -> Service {
    let service = Service::start(&["--settle", "0s"]);
    let (_, task) = service.make_task();
    // A collector finds recent runs.
    let minute_ago = SystemTime::now() - Duration::from_secs(60);
    let first = minute_ago.duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let records = |messages: &[(&str, &str)]| -> Vec<String> {
        let record = |(number, (severity, message)): (usize, &(&str, &str))| {
            let time = first + number as u64 * 1_000;
            let record = json!({"logTimestamp": time, "severity": severity, "logMessage": message, "bundleName": "tMap_1",
                "logType": "JOB", "podName": "p", "bundleVersion": "1.0"});
            record.to_string()
        };
        messages.iter().enumerate().map(record).collect()
    };
    let good = records(&[("INFO", "reading"), ("INFO", "loaded 12 rows")]);
    let bad = records(&[("INFO", "reading"), ("WARN", "slow"), ("ERROR", "java.sql.SQLException: connection refused")]);
    let start = json!({"taskId": task, "planId": "00000000-0000-4000-8000-0000000000aa",
        "planExecutionId": PLAN_EXECUTION, "planStepId": "load"});
    let path = format!("/runlog/v1/runs/{FAILED_RUN}");
    let header = format!("Authorization: Bearer {}", service.token);
    let url = format!("{}{path}", service.url);
    let curl = ["-sf", "-X", "PUT", "-H", &header, "-d", &start.to_string(), &url];
    succeeded(std::process::Command::new("curl").args(curl).output().unwrap());
    for (run, lines, status) in [(GOOD_RUN, good, "successful"), (FAILED_RUN, bad, "failed")] {
        let file = write_lines(service.folder().join(format!("{status}.ndjson")), &lines);
        service.succeed(&["push", run, file.to_str().unwrap(), "--task", &task, "--finish", status]);
    }
    let begun = Instant::now();
    while service.succeed(&["problems", "--json"]).is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60), "no problem is known");
        std::thread::sleep(Duration::from_millis(200));
    }
    service
}

#[test]
fn commands_print_what_the_page_describes() {
    let service = stage();
    let mut outputs = Outputs { components: components(), compared: BTreeSet::new() };
    let problem = service.json(&["problems", "--json"])["id"].as_str().unwrap().to_owned();
    let (task, workspace) = ("test", "test");
    for (command, arguments) in [
        ("runlog runs", &["runs"][..]),
        ("runlog tasks", &["tasks"]),
        ("runlog workspaces", &["workspaces"]),
        ("runlog tail", &["tail", FAILED_RUN]),
        ("runlog show", &["show", &format!("{FAILED_RUN}#2")]),
        ("runlog search", &["search", "reading"]),
        ("runlog search", &["search", "refused", "-C", "1"]),
        ("runlog search --runs", &["search", "reading", "--runs"]),
        ("runlog problems", &["problems"]),
        ("runlog problems show", &["problems", "show", &problem]),
        ("runlog problems mute", &["problems", "mute", &problem, "--until", "1d", "--note", "known"]),
        ("runlog problems resolve", &["problems", "resolve", &problem]),
        ("runlog problems reopen", &["problems", "reopen", &problem]),
        ("runlog plans", &["plans"]),
        ("runlog plans show", &["plans", "show", PLAN_EXECUTION]),
        ("runlog report RUN_ID", &["report", FAILED_RUN]),
        ("runlog report TASK", &["report", "--task", task]),
        ("runlog report --workspace", &["report", "--workspace", workspace]),
        ("runlog report --plan", &["report", "--plan", PLAN_EXECUTION]),
        ("runlog report", &["report"]),
        ("runlog diff", &["diff", GOOD_RUN, FAILED_RUN]),
        ("runlog fetch", &["fetch", FAILED_RUN, "--settle", "0s"]),
        ("runlog canary", &["canary", "--task", task, "--once", "--records", "3"]),
        ("runlog doctor", &["doctor", "--data", "data"]),
        ("runlog admin environments list", &["admin", "environments", "list"]),
        ("runlog admin environments create", &["admin", "environments", "create", "second"]),
        ("runlog admin environments update", &["admin", "environments", "update", "second", "--description", "x"]),
        ("runlog admin workspaces list", &["admin", "workspaces", "list"]),
        ("runlog admin workspaces create", &["admin", "workspaces", "create", "w", "--environment", "second"]),
        ("runlog admin workspaces update", &["admin", "workspaces", "update", "w", "--description", "x"]),
        ("runlog admin tasks list", &["admin", "tasks", "list"]),
        ("runlog admin tasks create", &["admin", "tasks", "create", "t", "--workspace", "w", "--tag", "night"]),
        ("runlog admin tasks update", &["admin", "tasks", "update", "t", "--description", "x"]),
        ("runlog admin users list", &["admin", "users", "list"]),
        ("runlog admin users create", &["admin", "users", "create", "ada"]),
        ("runlog admin users update", &["admin", "users", "update", "ada", "--name", "eva"]),
        ("runlog admin service-accounts create", &["admin", "service-accounts", "create", "monitoring"]),
        ("runlog admin service-accounts list", &["admin", "service-accounts", "list"]),
        ("runlog admin tokens create", &["admin", "tokens", "create", "laptop", "--user", "eva"]),
        ("runlog admin tokens list", &["admin", "tokens", "list"]),
        ("runlog admin keys rotate", &["admin", "keys", "rotate", "links"]),
        ("runlog admin keys list", &["admin", "keys", "list"]),
    ] {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        outputs.check(command, &service.succeed(&arguments));
    }
    let bad_line = write_lines(
        service.folder().join("bad.ndjson"),
        &["{\"logMessage\":1}".to_owned(), "{\"logTimestamp\":1767571200000,\"logMessage\":\"ok\"}".to_owned()],
    );
    let pushed =
        service.runlog(&["push", bad_line.to_str().unwrap(), "--task", task, "--skip-invalid", "--json"]).output();
    outputs.check("runlog push", &String::from_utf8(pushed.unwrap().stdout).unwrap());
    let rights = ["admin", "rights", "grant", "--user", "eva", "--workspace", workspace, "viewer", "--json"];
    assert_eq!(service.json(&rights), json!(["VIEW"]));
    let deleted = service.json(&["admin", "tasks", "delete", "t", "--json"]);
    assert!(deleted["deleted"].is_string() && deleted["name"] == "t", "{deleted}");
    collected(&service, &mut outputs);

    // These need another service, or minutes: their types are those of the API, or their tests are elsewhere.
    let others = ["runlog audit-logs", "runlog demo"].map(str::to_owned);
    let missing: Vec<String> =
        described().into_iter().filter(|it| !outputs.compared.contains(it) && !others.contains(it)).collect();
    assert!(missing.is_empty(), "not compared: {missing:?}");
}

/// The commands that work with settings, and on the archive that they fill.
fn collected(upstream: &Service, outputs: &mut Outputs) {
    let folder = tempfile::tempdir().unwrap();
    let settings = format!(
        "[archive]\ndata = \"data\"\n[[upstream]]\nname = \"up\"\nurl = \"{}\"\ntoken = {{ env = \"UPSTREAM_TOKEN\" }}\n\
         settle = \"0s\"\n[[sink]]\nname = \"files\"\nkind = \"files\"\nfolder = \"out\"\n[[alert]]\nname = \"failures\"\n\
         when = [\"run_failed\"]\nwebhook = \"http://127.0.0.1:9/x\"\n",
        upstream.url
    );
    std::fs::write(folder.path().join("runlog.toml"), settings).unwrap();
    let mut check = |command: &str, arguments: &[&str]| {
        let mut command_line = runlog(&[arguments, &["--json"]].concat());
        command_line.current_dir(folder.path()).env("UPSTREAM_TOKEN", &upstream.token);
        let output = command_line.output().unwrap();
        // Some report problems with their exit code, because the webhook has no listener.
        assert!(!output.stdout.is_empty(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        outputs.check(command, &String::from_utf8(output.stdout).unwrap());
    };
    check("runlog plan", &["plan", "--from", "2026-01-01"]);
    check("runlog collect", &["collect", "--once"]);
    check("runlog deliver", &["deliver", "--once"]);
    check("runlog status", &["status"]);
    check("runlog alerts list", &["alerts", "list", "--settings", "runlog.toml"]);
    check("runlog alerts preview", &["alerts", "preview", "--since", "1000d"]);
    let archive = |action: &[&'static str]| [&["archive", "--data", "data"], action].concat();
    check("runlog archive stats", &archive(&["stats"]));
    check("runlog archive verify", &archive(&["verify"]));
    check("runlog archive copy", &archive(&["copy", "--to-data", "copy"]));
    check("runlog archive retention", &archive(&["retention", "test", "--days", "30000"]));
    check("runlog archive retention", &archive(&["retention", "test", "--days", "1", "--dry-run"]));
    check("runlog archive sweep", &archive(&["sweep", "--dry-run"]));
    check("runlog archive sweep", &archive(&["sweep"]));
    check("runlog archive hold", &archive(&["hold", GOOD_RUN, "--reason", "x"]));
    check("runlog archive delete", &archive(&["delete", FAILED_RUN, "--yes"]));
    check("runlog archive summarize", &archive(&["summarize"]));
    check("runlog archive reseal", &archive(&["reseal"]));
}
