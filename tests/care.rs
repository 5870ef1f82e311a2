//! Maintenance of an archive: `runlog archive` and `runlog doctor`, with and without a service.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Service, bash, requires, runlog, succeeded, write_lines};

const RUNS: [&str; 2] = ["00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"];

/// Settings whose secrets are in variables that are not set.
const SETTINGS_WITH_SECRETS: &str = r#"
[[upstream]]
name = "other"
url = "http://127.0.0.1:9"
token = { env = "TOKEN_OF_NOBODY" }

[[sink]]
name = "events"
kind = "splunk"
url = "http://127.0.0.1:9"
token = { env = "TOKEN_OF_NOBODY" }

[[alert]]
name = "night-shift"
when = ["run_failed"]
webhook = { env = "TOKEN_OF_NOBODY" }
"#;

/// An archive, whose service was stopped, with two runs of 2 and 3 records; and its workspace.
fn archive() -> (TempDir, String) {
    let service = Service::start(&["--settle", "0s"]);
    let (workspace, task) = service.make_task();
    for (run, records) in RUNS.iter().zip([2, 3]) {
        let lines: Vec<String> =
            (0..records).map(|at| json!({"logTimestamp": at, "logMessage": "a line"}).to_string()).collect();
        let file = write_lines(service.folder().join("log.ndjson"), &lines);
        let file = file.to_str().unwrap();
        service.succeed(&["push", run, file, "--task", &task, "--finish", "execution_successful"]);
    }
    (service.stop(), workspace)
}

/// Runs `runlog` on the archive in a folder; returns the exit code, the printed JSON, and standard error.
fn on_archive(folder: &Path, arguments: &[&str]) -> (i32, Vec<Value>, String) {
    let output = runlog(arguments).arg("--json").arg("--data").arg(folder.join("data")).output().unwrap();
    let printed = serde_json::Deserializer::from_slice(&output.stdout).into_iter().collect::<Result<_, _>>().unwrap();
    (output.status.code().unwrap(), printed, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The printed JSON of a command that must succeed.
#[track_caller]
fn json_of(folder: &Path, arguments: &[&str]) -> Value {
    let (code, mut printed, errors) = on_archive(folder, arguments);
    assert_eq!(code, 0, "{errors}");
    assert_eq!(printed.len(), 1, "{printed:?}");
    printed.remove(0)
}

/// All segment files of the archive.
fn objects(folder: &Path) -> Vec<PathBuf> {
    let mut find = std::process::Command::new("find");
    let found = succeeded(find.arg(folder.join("data/objects")).args(["-name", "*.parquet"]).output().unwrap());
    let mut found: Vec<PathBuf> = found.lines().map(PathBuf::from).collect();
    found.sort();
    found
}

#[test]
fn stats_describe_the_contents_of_an_archive() {
    let (folder, workspace) = archive();
    let told = json_of(folder.path(), &["archive", "stats"]);
    let of_workspace = &told["workspaces"][0];
    assert_eq!(of_workspace["id"], json!(workspace));
    assert_eq!((&of_workspace["runs"], &of_workspace["records"]), (&json!(2), &json!(5)));
}

#[test]
fn a_changed_object_is_found_and_named() {
    let (folder, _) = archive();
    let whole = json_of(folder.path(), &["archive", "verify"]);
    assert_eq!((&whole["records"], &whole["problems"]), (&json!(5), &json!(0)));
    let object = objects(folder.path()).remove(0);
    let mut content = std::fs::read(&object).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    std::fs::write(&object, content).unwrap();
    let (code, printed, errors) = on_archive(folder.path(), &["archive", "verify"]);
    assert_ne!(code, 0);
    let texts = printed[0]["problemTexts"].to_string();
    let name = object.file_name().unwrap().to_str().unwrap();
    assert!(texts.contains(name), "{texts} does not name {name}");
    assert!(errors.contains("--repair"), "{errors}");
}

#[test]
fn orphaned_objects_are_reported_and_removed_with_repair() {
    let (folder, _) = archive();
    let object = objects(folder.path()).remove(0);
    let orphan = object.with_file_name("left-behind.parquet");
    std::fs::copy(&object, &orphan).unwrap();
    // New objects may still be written; only old ones count as orphans.
    succeeded(std::process::Command::new("touch").args(["-d", "3 days ago"]).arg(&orphan).output().unwrap());
    let (code, printed, _) = on_archive(folder.path(), &["archive", "verify"]);
    assert_ne!(code, 0);
    assert_eq!(printed[0]["orphans"], 1);
    assert_eq!(json_of(folder.path(), &["archive", "verify", "--repair"])["repaired"], 1);
    assert!(!orphan.exists());
    json_of(folder.path(), &["archive", "verify"]);
}

#[test]
fn a_copy_holds_the_same_and_brings_only_what_is_new() {
    let (folder, _) = archive();
    let to = folder.path().join("copy");
    let to_argument = to.join("data");
    let arguments = ["archive", "copy", "--to-data", to_argument.to_str().unwrap()];
    let (code, printed, errors) = on_archive(folder.path(), &arguments);
    assert_eq!(code, 0, "{errors}");
    assert_eq!((&printed[0]["runs"], &printed[0]["records"]), (&json!(2), &json!(5)));
    assert_eq!(printed[1]["records"], 5, "the copy is verified");
    let (_, printed, _) = on_archive(folder.path(), &arguments);
    assert_eq!((&printed[0]["runs"], &printed[0]["runsBefore"]), (&json!(0), &json!(2)));

    // The copy can be served like the archive, with the same tokens.
    let token = std::fs::read(folder.path().join("data/admin.token")).unwrap();
    let moved = tempfile::tempdir().unwrap();
    std::fs::rename(to_argument, moved.path().join("data")).unwrap();
    std::fs::write(moved.path().join("data/admin.token"), token).unwrap();
    let service = Service::start_in(moved, &["--settle", "0s"]);
    assert_eq!(service.succeed(&["fetch", RUNS[1], "--settle", "0s", "-o", "-"]).lines().count(), 3);
}

/// Unfinished files of a killed process are not listed as objects, and were never removed.
#[test]
fn leftovers_of_a_killed_process_are_swept_and_files_in_progress_kept() {
    let (folder, _) = archive();
    let object = objects(folder.path()).remove(0);
    let (old, young) = (object.with_file_name("left.parquet#1"), object.with_file_name("written.parquet#2"));
    for file in [&old, &young] {
        std::fs::write(file, "a part of a file").unwrap();
    }
    succeeded(std::process::Command::new("touch").args(["-d", "3 days ago"]).arg(&old).output().unwrap());
    json_of(folder.path(), &["archive", "sweep"]);
    assert!(!old.exists() && young.exists());
}

/// One object that cannot be removed kept all others of the archive from being swept.
#[test]
fn an_orphan_that_cannot_be_removed_does_not_keep_others() {
    let (folder, _) = archive();
    let pages = folder.path().join("data/objects/pages");
    std::fs::create_dir_all(&pages).unwrap();
    let orphans = ["a", "b", "c"].map(|name| pages.join(format!("{name}.zst")));
    for orphan in &orphans {
        std::fs::write(orphan, "left behind").unwrap();
        succeeded(std::process::Command::new("touch").args(["-d", "3 days ago"]).arg(orphan).output().unwrap());
    }
    let held = orphans[0].to_str().unwrap();
    // On some file systems only.
    if !requires("an orphan that cannot be removed", &["chattr", "+i", held]) {
        return;
    }
    let (code, _, errors) = on_archive(folder.path(), &["archive", "sweep"]);
    assert!(requires("an orphan that can be removed again", &["chattr", "-i", held]));
    assert!(code == 5 && errors.contains("a.zst"), "{code} {errors}");
    assert_eq!(orphans.map(|orphan| orphan.exists()), [true, false, false]);
    json_of(folder.path(), &["archive", "sweep"]);
}

/// The objects are there and so are their intents: it looked as if they were being written.
#[test]
fn records_that_the_catalog_lost_after_a_kill_are_reported_and_restored() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let service = Service::start_on(&data, &["--settle", "0s"]);
    let (_, task) = service.make_task();
    for number in 0..5 {
        let line = json!({"logTimestamp": number, "logMessage": format!("line {number}")}).to_string();
        let file = write_lines(folder.path().join("log.ndjson"), &[line]);
        service.succeed(&["push", RUNS[0], file.to_str().unwrap(), "--task", &task]);
    }
    // That kills it.
    drop(service);
    let log = std::fs::OpenOptions::new().write(true).open(data.join("catalog.sqlite-wal")).unwrap();
    log.set_len(log.metadata().unwrap().len() - 20 * (24 + 4_096)).unwrap();
    let (code, printed, errors) = on_archive(folder.path(), &["archive", "verify"]);
    assert!(code == 6 && errors.contains("--repair"), "{code} {errors}");
    let left = printed[0]["records"].as_u64().unwrap();
    assert!(left < 5 && printed[0]["problems"] == 5 - left, "{printed:?}");
    let repaired = json_of(folder.path(), &["archive", "verify", "--repair"]);
    assert_eq!(repaired["recordsRestored"], 5 - left);
    let verified = json_of(folder.path(), &["archive", "verify"]);
    assert_eq!((&verified["records"], &verified["problems"]), (&json!(5), &json!(0)));
}

/// The advice was to restore the objects from a backup, one by one and by hand.
#[test]
fn what_is_damaged_is_restored_from_a_copy() {
    let (folder, _) = archive();
    let copy = folder.path().join("copy");
    let copy = copy.to_str().unwrap();
    let (code, _, errors) = on_archive(folder.path(), &["archive", "copy", "--to-data", copy]);
    assert_eq!(code, 0, "{errors}");
    for object in objects(folder.path()) {
        let content = std::fs::read(&object).unwrap();
        std::fs::write(object, &content[..content.len() - 3]).unwrap();
    }
    let (code, printed, errors) = on_archive(folder.path(), &["archive", "verify", "--repair"]);
    assert!(code == 6 && errors.contains("--from"), "{code} {errors}");
    let notes = printed[0]["noteTexts"].to_string();
    assert!(RUNS.iter().all(|run| notes.contains(run)), "{notes}");
    let repair = ["archive", "verify", "--repair", "--from"];
    let (code, _, errors) = on_archive(folder.path(), &[&repair[..], &["nowhere"]].concat());
    assert!(code == 2 && errors.contains("nowhere"), "{code} {errors}");
    let data = folder.path().join("data");
    let (code, _, errors) = on_archive(folder.path(), &[&repair[..], &[data.to_str().unwrap()]].concat());
    assert!(code == 2 && errors.contains("the archive itself"), "{code} {errors}");
    json_of(folder.path(), &[&repair[..], &[copy]].concat());
    assert_eq!(json_of(folder.path(), &["archive", "verify"])["records"], 5);
}

/// A copy ended at the first object that was damaged, however often it was repeated.
#[test]
fn a_copy_of_a_damaged_archive_names_what_is_not_in_it_and_fails() {
    let (folder, _) = archive();
    let whole: Vec<_> = objects(folder.path()).into_iter().map(|it| (std::fs::read(&it).unwrap(), it)).collect();
    for (content, object) in &whole {
        std::fs::write(object, &content[..content.len() - 3]).unwrap();
    }
    let copy = folder.path().join("copy");
    let arguments = ["archive", "copy", "--to-data", copy.to_str().unwrap()];
    let (code, printed, errors) = on_archive(folder.path(), &arguments);
    assert!(code == 6 && errors.contains("2 runs could not be copied"), "{code} {errors}");
    assert_eq!((&printed[0]["runs"], &printed[0]["runsDamaged"]), (&json!(0), &json!(2)));
    assert!(printed[0]["damage"].to_string().contains(RUNS[0]), "{}", printed[0]);
    assert_eq!(printed[1]["problems"], 0, "what was copied is whole");
    for (content, object) in whole {
        std::fs::write(object, content).unwrap();
    }
    let (code, printed, errors) = on_archive(folder.path(), &arguments);
    assert_eq!((code, &printed[0]["runs"]), (0, &json!(2)), "{errors}");
}

#[test]
fn logs_over_the_age_of_their_workspace_go_and_held_ones_stay() {
    let (folder, workspace) = archive();
    let new = ["archive", "retention", "test", "--bytes", "1"];
    let (code, _, errors) = on_archive(folder.path(), &new);
    assert!(code == 2 && errors.contains("would delete the logs of 2 runs (5 records"), "{errors}");
    assert!(errors.contains("--yes") && errors.contains("nothing was changed"), "{errors}");
    let preview = json_of(folder.path(), &[&new[..], &["--dry-run"]].concat());
    assert_eq!((&preview["preview"]["runs"], &preview["preview"]["records"]), (&json!(2), &json!(5)), "{preview}");
    assert_eq!(json_of(folder.path(), &["archive", "retention", &workspace])["bytes"], Value::Null, "unchanged");
    let kept = json_of(folder.path(), &[&new[..], &["--yes"]].concat());
    assert_eq!(kept["bytes"], 1);
    let preview = json_of(folder.path(), &["archive", "sweep", "--dry-run"]);
    assert_eq!(preview["workspaces"][0]["preview"]["runs"], 2, "{preview}");
    assert_eq!(json_of(folder.path(), &["archive", "stats"])["workspaces"][0]["records"], 5, "nothing was deleted");
    json_of(folder.path(), &["archive", "hold", RUNS[0]]);
    let swept = json_of(folder.path(), &["archive", "sweep"]);
    assert_eq!((&swept["runsRetired"], &swept["recordsRetired"]), (&json!(1), &json!(3)));
    let told = json_of(folder.path(), &["archive", "stats"]);
    assert_eq!((&told["workspaces"][0]["records"], &told["workspaces"][0]["runsHeld"]), (&json!(2), &json!(1)));
    json_of(folder.path(), &["archive", "hold", RUNS[0], "--release"]);
    assert_eq!(json_of(folder.path(), &["archive", "sweep"])["recordsRetired"], 2);
    json_of(folder.path(), &["archive", "verify"]);
}

#[test]
fn the_log_of_a_run_is_deleted_when_that_is_confirmed() {
    let (folder, _) = archive();
    // The IDs of both runs begin with these digits.
    let (code, _, errors) = on_archive(folder.path(), &["archive", "hold", &RUNS[0][..8]]);
    assert!(code == 2 && errors.contains(RUNS[0]) && errors.contains(RUNS[1]), "{errors}");
    let (code, _, errors) = on_archive(folder.path(), &["archive", "delete", RUNS[0]]);
    assert!(code == 2 && errors.contains("2 records") && errors.contains("--yes"), "{errors}");
    assert_eq!(json_of(folder.path(), &["archive", "delete", RUNS[0], "--yes"])["recordsDeleted"], 2);
    let (code, ..) = on_archive(folder.path(), &["archive", "delete", "00000000-0000-4000-8000-00000000ffff", "--yes"]);
    assert_eq!(code, 4);
    json_of(folder.path(), &["archive", "verify"]);
}

#[test]
fn a_doctor_finds_nothing_wrong_with_a_sound_archive() {
    let (folder, _) = archive();
    let (code, findings, errors) = on_archive(folder.path(), &["doctor"]);
    assert_eq!(code, 0, "{errors}");
    for looked_at in ["version", "archive", "catalog", "objects", "clock"] {
        // On a busy machine, a slow disk may be reported as doubtful.
        assert!(
            findings.iter().any(|it| it["what"] == looked_at && it["health"] != "bad"),
            "{looked_at}: {findings:?}"
        );
    }
}

#[test]
fn a_doctor_says_what_to_do_when_something_is_wrong() {
    let empty = tempfile::tempdir().unwrap();
    let (code, findings, _) = on_archive(empty.path(), &["doctor", "--api-url", "http://127.0.0.1:1"]);
    assert_eq!(code, 1);
    for wrong in ["archive", "service"] {
        let found = findings.iter().find(|it| it["what"] == wrong).unwrap();
        assert_eq!(found["health"], "bad");
        assert!(found["advice"].as_str().unwrap().contains("runlog serve"), "{found}");
    }
}

#[test]
fn a_doctor_says_who_else_can_get_at_an_archive() {
    let (folder, _) = archive();
    let set = |name: &str, mode| {
        std::fs::set_permissions(folder.path().join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let rights = || {
        let (_, findings, _) = on_archive(folder.path(), &["doctor"]);
        findings.into_iter().find(|it| it["what"] == "rights").unwrap()
    };
    assert_eq!(rights()["health"], "good");
    // If a folder is not accessible, the permissions of its contents do not matter.
    set("data/catalog.sqlite", 0o644);
    assert_eq!(rights()["health"], "good");
    set("data/catalog.sqlite", 0o644);
    set("data", 0o755);
    let found = rights();
    assert!(
        found["health"] == "doubtful" && found["seen"].as_str().unwrap().contains("catalog.sqlite has mode 0644"),
        "{found}"
    );
    assert!(found["advice"].as_str().unwrap().contains("keys rotate"), "{found}");
    assert_eq!(rights()["health"], "good");
}

/// A service with a constant response.
fn always(status: &'static str, kind: &'static str, body: String) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 16384]);
            let head = format!("Content-Type: {kind}\r\nConnection: close\r\nContent-Length: {}", body.len());
            let _ = write!(stream, "HTTP/1.1 {status}\r\n{head}\r\n\r\n{body}");
        }
    });
    url
}

#[test]
fn a_doctor_names_the_work_of_a_service_that_does_not_come_back() {
    let (folder, _) = archive();
    // As `/readyz` responds.
    let message = "background jobs fail repeatedly: seal, collect talend-eu; see the log of the service";
    let body = json!({"status": 503, "code": "unavailable", "message": message}).to_string();
    let url = always("503 Service Unavailable", "application/json", body);
    let (code, findings, _) = on_archive(folder.path(), &["doctor", "--api-url", &url]);
    let found = findings.iter().find(|it| it["what"] == "service").unwrap();
    assert!(code == 1 && found["seen"].as_str().unwrap().contains("repeatedly: seal, collect talend-eu"), "{found}");
    let output = runlog(&["health", "--api-url", &url]).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&output.stderr).contains("seal, collect talend-eu"));
}

/// The message contained the response of S3 three times, and no advice to create the bucket.
#[test]
fn a_missing_bucket_is_reported_in_one_sentence() {
    let (folder, _) = archive();
    // As S3 responds.
    let body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchBucket</Code><Message>The specified bucket \
                does not exist</Message><BucketName>nobody</BucketName><RequestId>1</RequestId></Error>";
    let endpoint = always("404 Not Found", "application/xml", body.to_owned());
    let options = "region=eu-west-1&access_key_id=key&secret_access_key=secret&allow_http=true";
    let objects = format!("s3://nobody/runlog?endpoint={endpoint}&{options}");
    let (code, findings, _) = on_archive(folder.path(), &["doctor", "--objects", &objects]);
    let found = findings.iter().find(|it| it["what"] == "objects").unwrap();
    let seen = found["seen"].as_str().unwrap();
    assert!(code == 1 && seen.starts_with("the bucket does not exist: create it"), "{found}");
    assert!(!seen.contains("xml") && found["advice"].is_null(), "{found}");
    let (code, _, errors) = on_archive(folder.path(), &["archive", "verify", "--objects", &objects]);
    assert!(code != 0 && errors.matches("bucket").count() == 1 && !errors.contains("xml"), "{errors}");
}

#[test]
fn status_never_creates_an_archive() {
    // In another folder than that of the collector, the command created an archive and reported zeros.
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    std::fs::write(folder.join("runlog.toml"), SETTINGS_WITH_SECRETS).unwrap();
    let output = runlog(&["status"]).current_dir(&folder).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    let data = folder.join("runlog-data");
    for said in ["there is no archive in", data.to_str().unwrap(), "RUNLOG_DATA", "runlog.toml"] {
        assert!(errors.contains(said), "{said:?} is not in {errors}");
    }
    assert!(!data.exists());
}

#[test]
fn recover_never_creates_an_archive() {
    // The command created an archive in an empty folder, without an administrator.
    let folder = tempfile::tempdir().unwrap();
    let output = runlog(&["admin", "recover", "--data"]).arg(folder.path()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("there is no archive in"), "{errors}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn status_needs_no_secret() {
    let (folder, _) = archive();
    let settings = folder.path().join("runlog.toml");
    std::fs::write(&settings, SETTINGS_WITH_SECRETS).unwrap();
    let told = json_of(folder.path(), &["status", "--settings", settings.to_str().unwrap()]);
    assert_eq!(told["upstreams"][0]["figures"]["upstream"], "other");
    let sink = &told["sinks"][0]["figures"];
    assert_eq!((&sink["name"], &sink["kind"]), (&json!("events"), &json!("splunk")));
    let (code, _, errors) =
        on_archive(folder.path(), &["status", "--upstream", "none-such", "--settings", settings.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(errors.contains("there is no upstream \"none-such\"") && errors.contains("available: other"), "{errors}");
}

#[test]
fn a_check_before_the_first_start_says_where_it_makes_the_archive() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let sink = "[[sink]]\nname = \"out\"\nkind = \"files\"\nfolder = \"out\"\n";
    std::fs::write(folder.join("runlog.toml"), sink).unwrap();
    let check = || {
        let output = runlog(&["check"]).current_dir(&folder).output().unwrap();
        let notes = String::from_utf8_lossy(&output.stderr).into_owned();
        (succeeded(output), notes)
    };
    let (found, notes) = check();
    assert!(found.contains("archive: opens in runlog-data"), "{found}");
    let made = format!("there is no archive in {}", folder.join("runlog-data").display());
    assert!(notes.contains(&made), "{notes}");
    let (_, notes) = check();
    assert!(!notes.contains("there is no archive"), "{notes}");
}

#[test]
fn the_settings_that_the_page_on_alerts_shows_are_enough() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/how-to/alerts.md");
    let page = std::fs::read_to_string(page).unwrap();
    let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    // A port of this machine without a listener.
    let settings = example.replace("server = \"smtp.example.com\"", "server = \"localhost\"\nport = 9");
    assert_ne!(settings, example);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("runlog.toml"), settings).unwrap();
    let with_secrets = |arguments: &[&str]| {
        let mut command = runlog(arguments);
        command.current_dir(folder.path()).env("SMTP_PASSWORD", "open sesame").env("HOOK_SECRET", "a secret");
        command.env("CHAT_HOOK", "http://127.0.0.1:9/hook").output().unwrap()
    };
    let check = with_secrets(&["check"]);
    let found = String::from_utf8_lossy(&check.stdout).into_owned();
    assert_eq!(check.status.code(), Some(5), "{found} {}", String::from_utf8_lossy(&check.stderr));
    for tried in ["archive: opens", ": mail ops@example.com", ": webhook 127.0.0.1 ("] {
        assert!(found.contains(tried), "{tried:?} is not in {found}");
    }
    assert!(succeeded(with_secrets(&["collect", "--once"])).contains("0 runs landed"));
    let status = runlog(&["status"]).current_dir(folder.path()).output().unwrap();
    assert!(String::from_utf8_lossy(&status.stderr).contains("no upstream and no sink"));
    assert_eq!(succeeded(status), "");
}

#[test]
fn settings_that_name_nothing_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("runlog.toml"), "[archive]\nsettle = \"0s\"\n").unwrap();
    let all = "no upstream, sink, alert, identity provider or syslog listener";
    for (command, missing) in [("check", all), ("status", all), ("collect", "no upstream and no alert")] {
        let output = runlog(&[command]).current_dir(folder.path()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(&format!("runlog.toml has {missing}")), "{errors}");
    }
    assert!(!folder.path().join("runlog-data").exists());
}

#[test]
fn a_probe_reports_whether_a_service_is_ready() {
    let service = Service::start(&[]);
    assert_eq!(service.succeed(&["health"]), "ready\n");
    let nowhere = runlog(&["health", "--api-url", "http://127.0.0.1:1"]).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("http://127.0.0.1:1/ does not respond"));
}

/// The lines of a log in a normal form of JSON.
fn lines_of(log: &str) -> Vec<String> {
    let mut lines: Vec<String> =
        log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).map(|line| line.to_string()).collect();
    lines.sort();
    lines
}

/// `fixtures/archives` contains an archive of each version with a different storage format; the current version can
/// read all of them.
#[test]
fn archives_of_earlier_versions_are_read() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let mut read = 0;
    for entry in std::fs::read_dir(fixtures.join("archives")).unwrap().map(Result::unwrap) {
        if !entry.file_type().unwrap().is_dir() {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        succeeded(std::process::Command::new("cp").arg("-r").arg(entry.path()).arg(&data).output().unwrap());
        let verified = json_of(folder.path(), &["archive", "verify"]);
        assert_eq!((&verified["records"], &verified["problems"]), (&json!(2_699), &json!(0)), "{:?}", entry.path());
        succeeded(runlog(&["admin", "recover", "--data"]).arg(&data).output().unwrap());

        let service = Service::start_in(folder, &["--settle", "0s"]);
        for number in [1, 3, 6, 7] {
            let run = format!("00000000-0000-4000-8000-{number:012}");
            let log = fixtures.join(format!("runs/etl-run-info-{number}.ndjson.zst"));
            let pushed = bash(&format!("zstdcat {}", log.display()), service.folder());
            // The last run is still running: pages of such runs can be requested, too.
            let fetched = service.succeed(&["fetch", &run, "--settle", "0s", "--no-wait", "-o", "-"]);
            assert_eq!(lines_of(&fetched), lines_of(&pushed), "{run} of {:?}", entry.path());
        }
        let held = "/monitoring/executions/00000000-0000-4000-8000-000000000003/logs";
        let refused = bash(
            &format!(
                "curl -s -o /dev/null -w '%{{http_code}}' -X DELETE -H \"Authorization: Bearer {}\" {}{held}",
                service.token, service.url
            ),
            service.folder(),
        );
        assert_eq!(refused, "409", "the legal hold is kept");
        read += 1;
    }
    assert!(read > 0, "there are archives to read");
}

/// Files and folders below `data` that others can access, as `find` prints them.
fn open_to_others(data: &Path) -> String {
    succeeded(std::process::Command::new("find").arg(data).args(["-perm", "/077"]).output().unwrap())
}

/// Any user of the machine could read the keys that sign tokens, and forge tokens.
#[test]
fn the_files_of_an_archive_are_for_their_owner_only_whatever_the_umask_is() {
    for umask in ["000", "022"] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(folder.path().join("log"), "{\"logTimestamp\":1,\"logMessage\":\"secret\"}\n").unwrap();
        let sink = "name = \"files\"\nkind = \"files\"\nfolder = \"out\"\nfile_name = \"a/{run_id}-{part}\"\n";
        let settings = format!("[archive]\nsettle = \"0s\"\n[[sink]]\n{sink}");
        std::fs::write(folder.path().join("sink.toml"), settings).unwrap();
        let lines = format!(
            r#"umask {umask}
            runlog={runlog}
            $runlog serve --listen 127.0.0.1:0 --settle 0s 2> serve.log & service=$!
            trap 'kill $service' EXIT
            until grep -q 'listens on' serve.log; do sleep 0.1; done
            export RUNLOG_API_URL=$(grep -o 'http://[0-9.:]*' serve.log | head -n 1)
            export RUNLOG_TOKEN=$(cat runlog-data/admin.token)
            id() {{ grep -o '"[a-z]*":"[0-9a-f]\{{24\}}"' | head -n 1 | cut -d '"' -f 4; }}
            environment=$($runlog admin environments create e --json | id)
            workspace=$($runlog admin workspaces create w --environment $environment --json | id)
            task=$($runlog admin tasks create t --workspace $workspace --json | id)
            $runlog push {run} log --task $task --finish execution_successful > pushed
            $runlog fetch {run} --no-wait -o fetched 2> fetched.log
            unset RUNLOG_API_URL RUNLOG_TOKEN
            $runlog sql 'SELECT message FROM records ORDER BY message' -o queried.csv
            $runlog deliver --settings sink.toml --data runlog-data --once 2> delivered.log"#,
            runlog = crate::support::RUNLOG,
            run = RUNS[0],
        );
        bash(&lines, folder.path());
        assert_eq!(open_to_others(&folder.path().join("runlog-data")), "", "umask {umask}");
        // Files that the user requested have the usual permissions.
        let mode = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
        let expected = 0o777 & !u32::from_str_radix(umask, 8).unwrap();
        let delivered = format!("out/a/{}-0001.ndjson", RUNS[0]);
        let listing = bash("find out", folder.path());
        assert!(folder.path().join(&delivered).exists(), "{listing}");
        assert_eq!(["out", "out/a"].map(mode), [expected; 2], "umask {umask}");
        for name in ["fetched", "queried.csv", &delivered] {
            assert_eq!(mode(name), expected & 0o666, "umask {umask}, {name}");
        }
    }
}

#[test]
fn what_an_earlier_version_left_to_others_is_taken_from_them_at_the_next_start() {
    let (folder, _) = archive();
    let data = folder.path().join("data");
    std::fs::write(data.join("catalog.sqlite-wal"), "").unwrap();
    bash("chmod -R go=rX data; chmod 0777 data/objects; ln -s data link", folder.path());
    let found = |finding: &str| {
        let output = runlog(&["doctor", "--json", "--data", "link"]).current_dir(folder.path()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().find(|line| line.contains("\"rights\"") && line.contains(finding)).map(str::to_owned)
    };
    assert!(found("could access the archive until now: link/catalog.sqlite has mode 0644").is_some());
    assert!(found("only the owner").is_some());
    bash("chmod -R go=rX data", folder.path());
    let service = Service::start_on(&folder.path().join("link"), &[]);
    let mode = |name: &str| std::fs::metadata(data.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(["", "objects"].map(mode), [0o700; 2]);
    assert_eq!(["catalog.sqlite", "catalog.sqlite-wal", "catalog.lock", "admin.token"].map(mode), [0o600; 4]);
    drop(service);
}

/// A folder that the archive shares with other things, such as `/tmp`, must not be taken away from everyone else.
#[test]
fn a_folder_that_holds_other_things_too_keeps_its_permissions() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(folder.path().join("data/letter"), "").unwrap();
    bash("chmod 1777 data; chmod 0644 data/letter", folder.path());
    let service = Service::start_in(folder, &[]);
    let data = service.folder().join("data");
    let mode = |name: &str| std::fs::metadata(data.join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(""), mode("letter")), (0o1777, 0o644));
    assert_eq!(open_to_others(&data).lines().count(), 2);
    let doctor = runlog(&["doctor", "--data"]).arg(&data).output().unwrap();
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("only the owner can access"), "{doctor:?}");
    bash("chmod 0777 data", service.folder());
    let doctor = runlog(&["doctor", "--data"]).arg(&data).output().unwrap();
    assert_eq!(doctor.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("data has mode 0777"), "{doctor:?}");
}

/// Copying an archive onto itself was accepted.
#[test]
fn an_archive_is_not_copied_onto_itself() {
    let (folder, _) = archive();
    bash("ln -s data link", folder.path());
    for target in ["data", "./data", "link"] {
        let copy = ["archive", "copy", "--data", "data", "--to-data", target];
        let output = runlog(&copy).current_dir(folder.path()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains("that is the archive itself; choose another place"), "{errors}");
    }
    let copy = folder.path().join("copy");
    let (code, printed, errors) = on_archive(folder.path(), &["archive", "copy", "--to-data", copy.to_str().unwrap()]);
    assert_eq!((code, &printed[0]["runs"]), (0, &json!(2)), "{errors}");
}

#[test]
fn invalid_sizes_and_numbers_are_explained() {
    let (folder, workspace) = archive();
    let kept = json_of(folder.path(), &["archive", "retention", &workspace, "--bytes", "5GB"]);
    assert_eq!(kept["bytes"], 5_000_000_000_u64);
    for (arguments, words) in [
        (&["archive", "retention", &workspace, "--bytes", "5 elephants"][..], "is not a size such as 500MiB, 5GB"),
        (&["archive", "retention", &workspace, "--days", "0"], "is not a number between 1 and 36500"),
        (&["runs", "57f64991e4b0b689a64feed2", "--last-days", "90"], "\"90\" is not a number between 1 and 60"),
    ] {
        let output = runlog(arguments).current_dir(folder.path()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && errors.contains(words), "{errors}");
    }
    // One run is not `1 runs`.
    let output = runlog(&["archive", "summarize", "--data", "data"]).current_dir(folder.path()).output().unwrap();
    let told = succeeded(output);
    assert!(told.starts_with("sealed ") && !told.contains(" 1 runs") && !told.contains("1 summaries"), "{told}");
}

/// A machine that started with a wrong time deleted all logs whose retention would be over by it.
#[test]
fn a_clock_that_is_far_ahead_of_the_archive_deletes_nothing_at_once() {
    let service = Service::start(&["--settle", "0s"]);
    let (_, task) = service.make_task();
    let line = json!({"logTimestamp": "2026-10-01T10:00:00Z", "logMessage": "kept"}).to_string();
    let log = service.folder().join("a.ndjson");
    std::fs::write(&log, line + "\n").unwrap();
    service.succeed(&["push", log.to_str().unwrap(), "--task", &task, "--finish", "success"]);
    let count = |service: &Service| -> u64 {
        let counted = service.succeed(&["sql", "SELECT count(*) AS n FROM records", "--format", "ndjson"]);
        serde_json::from_str::<Value>(&counted).unwrap()["n"].as_u64().unwrap()
    };
    assert_eq!(count(&service), 1);
    let folder = service.stop();
    let sql = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.executescript(sys.argv[2]); c.commit()";
    let data = folder.path().join("data");
    let change = |statements: &str| {
        let path = data.join("catalog.sqlite");
        bash(&format!("python3 -c '{sql}' {} \"{statements}\"", path.display()), &data);
    };
    // As if the clock had moved on by 40 days since.
    let days = 40 * 86_400_000_i64;
    change(&format!(
        "UPDATE workspaces SET retention_days = 30; UPDATE audit SET at = at - {days};
         UPDATE runs SET final_since = final_since - {days}, finished_at = final_since - {days};"
    ));
    let service = Service::start_in(folder, &["--settle", "0s"]);
    service.wait_for_log("nothing is deleted for an hour");
    assert_eq!(count(&service), 1);
    // What was written with the doubtful time does not confirm it.
    let service = Service::start_in(service.stop(), &["--settle", "0s"]);
    service.wait_for_log("nothing is deleted for an hour");
    assert_eq!(count(&service), 1);
    let folder = service.stop();
    // The archive has been used for more than an hour since: the time is right.
    change("UPDATE audit SET at = at - 3700000");
    let service = Service::start_in(folder, &["--settle", "0s"]);
    let begun = std::time::Instant::now();
    while count(&service) > 0 {
        assert!(begun.elapsed().as_secs() < 60, "the log whose retention is over is still there");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}
