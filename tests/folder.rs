//! `runlog push --follow FOLDER`: every line of every log once, through rotation, restarts and outages.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Service, runlog};

const RUN: &str = "00000000-0000-4000-8000-0000000000f1";
const OTHER: &str = "00000000-0000-4000-8000-0000000000f2";

/// A service, and a folder in which jobs write logs.
struct Stage {
    service: Service,
    task: String,
    logs: PathBuf,
}

/// A running `runlog push --follow`; it is killed when this is dropped.
struct Pusher {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Drop for Pusher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stage() -> Stage {
    let service = Service::start(&["--settle", "0s", "--requests-per-second", "0"]);
    let (_, task) = service.make_task();
    let logs = service.folder().join("logs");
    fs::create_dir_all(logs.join(&task)).unwrap();
    Stage { service, task, logs }
}

impl Stage {
    fn push(&self, options: &[&str]) -> Pusher {
        self.push_to(&self.service.url, options)
    }

    fn push_to(&self, url: &str, options: &[&str]) -> Pusher {
        let checkpoint = self.service.folder().join("checkpoint");
        let mut command: Command = runlog(&["push", "--follow", "--interval", "100ms"]);
        command.env("RUNLOG_API_URL", url).env("RUNLOG_TOKEN", &self.service.token).env("RUNLOG_RETRIES", "0");
        command.arg("--checkpoint").arg(checkpoint).args(options).arg(&self.logs).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = Arc::<Mutex<String>>::default();
        let (lines, shared) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&said));
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let mut said = shared.lock().unwrap();
                said.push_str(&line);
                said.push('\n');
            }
        });
        Pusher { child, said }
    }

    fn log(&self, run: &str) -> PathBuf {
        self.logs.join(&self.task).join(format!("{run}.log"))
    }

    fn records(&self, run: &str) -> Vec<Value> {
        let output = self.service.runlog(&["fetch", run, "--no-wait", "-o", "-"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn messages(&self, run: &str) -> Vec<String> {
        self.records(run).iter().map(|record| record["logMessage"].as_str().unwrap().to_owned()).collect()
    }

    fn wait_for(&self, run: &str, count: usize) -> Vec<String> {
        wait(|| Some(self.messages(run)).filter(|messages| messages.len() >= count))
    }

    fn status(&self, run: &str) -> String {
        let listed = self.service.succeed(&["runs", "--last", "50d", "--json"]);
        let mut runs = listed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let run = runs.find(|one| one["executionId"] == run);
        run.map_or_else(String::new, |run| run["status"].as_str().unwrap().to_owned())
    }
}

fn append(file: &Path, text: &str) {
    OpenOptions::new().create(true).append(true).open(file).unwrap().write_all(text.as_bytes()).unwrap();
}

fn line(number: usize) -> String {
    format!(
        "2026-11-29 10:{:02}:{:02},{:03} INFO  [main] job - {number}\n",
        number / 60_000 % 60,
        number / 1_000 % 60,
        number % 1_000
    )
}

#[track_caller]
fn wait<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(40), "nothing has come for a long time");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn logs_are_stored_in_the_runs_of_their_paths_while_they_are_written() {
    let stage = stage();
    append(
        &stage.log(RUN),
        "2026-11-29 10:00:00,000 INFO  [main] job - one\n2026-11-29 10:00:01,000 ERROR [main] job - two\njava.lang.X: y\n",
    );
    let other = stage.log(OTHER);
    append(
        &other,
        "{\"timestamp\":\"2026-11-29T10:00:00Z\",\"level\":\"INFO\",\"message\":\"json\",\"my_mdc\":{\"flowId\":\"x\"}}\n",
    );
    append(&stage.logs.join("stray.txt"), "not a log\n");
    let _pusher = stage.push(&["--finish", "successful", "--quiet", "3s", "--end-marker", "job failed=failed"]);
    assert_eq!(stage.wait_for(OTHER, 1), ["json"]);
    append(&stage.log(RUN), "\tat a.B\n2026-11-29 10:00:02,000 INFO  [main] job - job fai");
    append(&stage.log(RUN), "led\n");
    let messages = stage.wait_for(RUN, 3);
    assert_eq!(
        messages.concat(),
        "onetwo\njava.lang.X: y\n\tat a.Bjob failed".replace('\n', if messages.len() == 3 { "\n" } else { "" })
    );
    wait(|| (stage.status(RUN) == "execution_failed").then_some(()));
    wait(|| (stage.status(OTHER) == "execution_successful").then_some(()));
    // Records after the end are stored as well.
    append(&other, "{\"timestamp\":\"2026-11-29T10:00:09Z\",\"message\":\"late\"}\n");
    assert_eq!(stage.wait_for(OTHER, 2), ["json", "late"]);
}

#[test]
fn rotated_and_truncated_files_are_read_to_their_end() {
    let stage = stage();
    let log = stage.log(RUN);
    append(&log, &[line(0), line(1)].concat());
    let pusher = stage.push(&[]);
    stage.wait_for(RUN, 2);
    drop(pusher);
    // The file is renamed and replaced by a new one while no pusher runs.
    append(&log, &line(2));
    fs::rename(&log, log.with_extension("log.1")).unwrap();
    append(&log, &line(3));
    let pusher = stage.push(&[]);
    stage.wait_for(RUN, 4);
    drop(pusher);
    // Copied and truncated, and longer than before again.
    append(&log, &line(4));
    fs::copy(&log, log.with_extension("log.2")).unwrap();
    fs::write(&log, (5..9).map(line).collect::<String>()).unwrap();
    let _pusher = stage.push(&[]);
    stage.wait_for(RUN, 9);
    // Truncated without a copy.
    std::thread::sleep(Duration::from_secs(2));
    fs::write(&log, line(9)).unwrap();
    let mut messages = stage.wait_for(RUN, 10);
    messages.sort_unstable_by_key(|message| message.parse::<usize>().unwrap());
    assert_eq!(messages, (0..10).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn rotation_does_not_end_a_run() {
    let stage = stage();
    let logs = [stage.log(RUN), stage.log(OTHER)];
    logs.iter().for_each(|log| append(log, &line(0)));
    let _pusher = stage.push(&["--finish", "successful", "--quiet", "10m", "--end-marker", "job failed=failed"]);
    for run in [RUN, OTHER] {
        stage.wait_for(run, 1);
    }
    logs.iter().for_each(|log| fs::rename(log, log.with_extension("log.1")).unwrap());
    append(&logs[0], &line(1));
    // The other file appears a while later.
    stage.wait_for(RUN, 2);
    std::thread::sleep(Duration::from_secs(1));
    append(&logs[1], &line(1));
    stage.wait_for(OTHER, 2);
    for (run, log) in [RUN, OTHER].iter().zip(&logs) {
        assert_eq!(stage.status(run), "executing");
        append(log, &line(2).replace(" 2\n", " job failed\n"));
        wait(|| (stage.status(run) == "execution_failed").then_some(()));
        assert_eq!(stage.wait_for(run, 3), ["0", "1", "job failed"]);
    }
}

#[test]
fn a_run_whose_file_is_gone_ends_after_a_while_unless_its_folder_is_away() {
    let stage = stage();
    let (deleted, renamed) = (stage.log(RUN), stage.log(OTHER));
    append(&deleted, &line(0));
    append(&renamed, &line(0));
    let pusher = stage.push(&["--finish", "successful", "--quiet", "10m"]);
    for run in [RUN, OTHER] {
        stage.wait_for(run, 1);
    }
    fs::remove_file(&deleted).unwrap();
    fs::rename(&renamed, renamed.with_extension("log.1")).unwrap();
    std::thread::sleep(Duration::from_millis(1_500));
    for run in [RUN, OTHER] {
        assert_eq!(stage.status(run), "executing");
    }
    drop(pusher);
    // The folder cannot be read.
    let (folder, aside) = (stage.logs.join(&stage.task), stage.logs.join("aside"));
    fs::rename(&folder, &aside).unwrap();
    append(&folder, "no folder\n");
    let pusher = stage.push(&["--finish", "successful", "--quiet", "500ms"]);
    wait(|| pusher.said.lock().unwrap().contains("following").then_some(()));
    std::thread::sleep(Duration::from_secs(2));
    for run in [RUN, OTHER] {
        assert_eq!(stage.status(run), "executing", "{}", pusher.said.lock().unwrap());
    }
    fs::remove_file(&folder).unwrap();
    fs::rename(&aside, &folder).unwrap();
    for run in [RUN, OTHER] {
        wait(|| (stage.status(run) == "execution_successful").then_some(()));
        assert_eq!(stage.messages(run), ["0"]);
    }
}

#[test]
fn what_is_still_written_to_a_renamed_file_is_stored() {
    let stage = stage();
    let log = stage.log(RUN);
    append(&log, &line(0));
    let pusher = stage.push(&[]);
    stage.wait_for(RUN, 1);
    let mut open = OpenOptions::new().append(true).open(&log).unwrap();
    fs::rename(&log, log.with_extension("log.1")).unwrap();
    append(&log, &line(1));
    stage.wait_for(RUN, 2);
    std::thread::sleep(Duration::from_secs(2));
    // A line in two parts, after the file was read to its end.
    let late = line(2);
    let (one, rest) = late.split_at(30);
    open.write_all(one.as_bytes()).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    open.write_all(rest.as_bytes()).unwrap();
    stage.wait_for(RUN, 3);
    // The files are rotated once more, and so is that which is still written.
    fs::rename(log.with_extension("log.1"), log.with_extension("log.2")).unwrap();
    fs::rename(&log, log.with_extension("log.1")).unwrap();
    append(&log, &line(3));
    open.write_all(line(4).as_bytes()).unwrap();
    append(&log.with_extension("log.1"), &line(5));
    stage.wait_for(RUN, 6);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(stage.messages(RUN), ["0", "1", "2", "3", "4", "5"], "{}", pusher.said.lock().unwrap());
}

#[test]
fn a_file_that_is_renamed_to_a_name_of_the_pattern_is_stored_once() {
    let stage = stage();
    let log = stage.log(RUN);
    let (first, second) = (log.with_extension("log.1"), log.with_extension("log.2"));
    append(&log, &line(0));
    let options = ["--paths", "{task}/{run}.log*", "--finish", "successful", "--quiet", "2s"];
    let pusher = stage.push(&options);
    stage.wait_for(RUN, 1);
    fs::rename(&log, &first).unwrap();
    append(&log, &line(1));
    stage.wait_for(RUN, 2);
    fs::rename(&first, &second).unwrap();
    fs::rename(&log, &first).unwrap();
    append(&log, &line(2));
    append(&second, &line(3));
    stage.wait_for(RUN, 4);
    wait(|| (stage.status(RUN) == "execution_successful").then_some(()));
    // Nor later, when the files are renamed while no pusher runs.
    drop(pusher);
    fs::remove_file(&second).unwrap();
    fs::rename(&first, &second).unwrap();
    fs::rename(&log, &first).unwrap();
    append(&log, &line(4));
    let pusher = stage.push(&options);
    stage.wait_for(RUN, 5);
    std::thread::sleep(Duration::from_secs(3));
    append(&first, &line(5));
    stage.wait_for(RUN, 6);
    assert_eq!(stage.messages(RUN), ["0", "1", "2", "3", "4", "5"], "{}", pusher.said.lock().unwrap());
}

#[test]
fn a_file_that_is_renamed_to_the_name_of_another_run_keeps_its_run() {
    let stage = stage();
    let (log, other) = (stage.log(RUN), stage.log(OTHER));
    append(&log, &line(0));
    let _pusher = stage.push(&[]);
    stage.wait_for(RUN, 1);
    fs::rename(&log, &other).unwrap();
    append(&log, &line(1));
    append(&other, &line(2));
    stage.wait_for(RUN, 3);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(stage.messages(RUN), ["0", "1", "2"]);
    assert_eq!(stage.status(OTHER), "");
}

#[test]
fn symbolic_links_are_not_followed() {
    let stage = stage();
    let secret = stage.service.folder().join("secret");
    append(&secret, &line(0));
    std::os::unix::fs::symlink(&secret, stage.log(RUN)).unwrap();
    append(&stage.log(OTHER), &line(1));
    let pusher = stage.push(&[]);
    stage.wait_for(OTHER, 1);
    // Nor if one takes the place of a log.
    fs::remove_file(stage.log(OTHER)).unwrap();
    append(&secret, &line(2));
    std::os::unix::fs::symlink(&secret, stage.log(OTHER)).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(stage.status(RUN), "");
    assert_eq!(stage.messages(OTHER), ["1"]);
    let said = pusher.said.lock().unwrap();
    assert_eq!(said.matches("symbolic link").count(), 1, "{said}");
}

/// A small generator of numbers, so that a test that fails can be repeated.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

#[test]
fn repeated_kills_lose_and_duplicate_no_line() {
    let stage = stage();
    let logs: Vec<PathBuf> = [RUN, OTHER].iter().map(|run| stage.log(run)).collect();
    let writing = std::thread::spawn(move || {
        let mut numbers = Numbers(7);
        let mut next = [0_usize; 2];
        // A file that is rotated twice between two looks cannot be found.
        let mut rotated = [0; 2];
        for step in 0..600 {
            let which = (step % 2) as usize;
            let log = &logs[which];
            let count = numbers.below(200) as usize;
            let text: String = (next[which]..next[which] + count).map(line).collect();
            // In two parts, which do not end with a line.
            let (one, other) = text.split_at(numbers.below(text.len() as u64 + 1) as usize);
            append(log, one);
            append(log, other);
            next[which] += count;
            let is_due = step - rotated[which] > 120;
            let kind = if is_due { numbers.below(20) } else { 2 };
            if kind < 2 {
                rotated[which] = step;
            }
            match kind {
                0 => {
                    fs::rename(log, log.with_extension(format!("log.{step}"))).unwrap();
                    append(log, "");
                }
                1 if which == 1 => {
                    fs::copy(log, log.with_extension(format!("log.{step}"))).unwrap();
                    OpenOptions::new().write(true).open(log).unwrap().set_len(0).unwrap();
                }
                _ => {}
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        next
    });
    let mut numbers = Numbers(11);
    let mut kills = 0;
    while !writing.is_finished() {
        let pusher = stage.push(&[]);
        std::thread::sleep(Duration::from_millis(150 + numbers.below(900)));
        drop(pusher);
        kills += 1;
    }
    assert!(kills >= 3, "{kills}");
    let next = writing.join().unwrap();
    let pusher = stage.push(&[]);
    for (run, count) in [RUN, OTHER].iter().zip(next) {
        let mut before = usize::MAX;
        wait(|| {
            let found = stage.records(run).len();
            let is_settled = found >= count && found == std::mem::replace(&mut before, found);
            std::thread::sleep(Duration::from_secs(1));
            is_settled.then_some(())
        });
        let messages = stage.messages(run);
        let mut found: Vec<usize> = messages.iter().map(|message| message.parse().unwrap()).collect();
        found.sort_unstable();
        assert_eq!(found, (0..count).collect::<Vec<_>>(), "{}", pusher.said.lock().unwrap());
    }
}

#[test]
fn push_waits_while_the_service_is_unavailable_and_resumes() {
    let stage = stage();
    append(&stage.log(RUN), &(0..100).map(line).collect::<String>());
    // There is no listener.
    let pusher = stage.push_to("http://127.0.0.1:9", &[]);
    wait(|| pusher.said.lock().unwrap().contains("trying again in").then_some(()));
    drop(pusher);
    append(&stage.log(RUN), &(100..200).map(line).collect::<String>());
    let _pusher = stage.push(&[]);
    assert_eq!(stage.wait_for(RUN, 200).len(), 200);
}

#[test]
fn many_logs_are_followed_without_a_descriptor_for_each() {
    let stage = stage();
    let id = |number: usize| format!("00000000-0000-4000-8000-{number:012}");
    for number in 0..300 {
        append(&stage.log(&id(number)), &line(number));
    }
    let pusher = stage.push(&[]);
    wait(|| (stage.messages(&id(299)).len() == 1).then_some(()));
    let open = fs::read_dir(format!("/proc/{}/fd", pusher.child.id())).unwrap().count();
    assert!(open < 60, "{open}");
    wait(|| (0..300).step_by(50).all(|number| stage.messages(&id(number)).len() == 1).then_some(()));
}

#[test]
fn names_stand_for_tasks_and_runs_and_what_is_unknown_is_reported() {
    let stage = stage();
    fs::create_dir_all(stage.logs.join("a/test")).unwrap();
    fs::create_dir_all(stage.logs.join("a/nobody")).unwrap();
    append(&stage.logs.join("a/nobody/run-1.txt"), &line(1));
    append(&stage.logs.join("a/test/run-2026-11-29.txt"), &line(2));
    let pusher = stage.push(&["--paths", "*/{task}/run-{run}.txt", "--finish", "successful", "--quiet", "1s"]);
    wait(|| pusher.said.lock().unwrap().contains("nobody").then_some(()));
    let run = wait(|| {
        let listed = stage.service.succeed(&["runs", "test", "--last", "50d", "--json"]);
        let run: Value = serde_json::from_str(listed.lines().next()?).unwrap();
        (run["status"] == "execution_successful").then(|| run["executionId"].as_str().unwrap().to_owned())
    });
    assert_eq!(stage.messages(&run), ["2"]);
    // Another process does not interfere.
    let second = stage.push(&["--paths", "*/{task}/run-{run}.txt"]);
    wait(|| second.said.lock().unwrap().contains("another process uses the checkpoint").then_some(()));
}

#[test]
fn options_that_do_not_fit_a_folder_are_rejected() {
    let stage = stage();
    let folder = stage.logs.to_str().unwrap().to_owned();
    for (options, words) in [
        (vec!["push", "--follow", &folder, "--paths", "{run}.log"], "add --task"),
        (vec!["push", "--follow", &folder, "--paths", "{task}.log"], "does not contain {run}"),
        (vec!["push", "--follow", &folder, "--run", RUN], "leave out --run"),
        (vec!["push", "--follow", &folder, "--end-marker", "done"], "TEXT=STATUS"),
        (vec!["push", "--follow", &folder, "--end-marker", "done=executing"], "does not end a run"),
        (vec!["push", "x.log", "--quiet", "1s"], "--follow"),
        (vec!["push", "--follow", "-"], "--task"),
    ] {
        let output = stage.service.runlog(&options).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{options:?}: {errors}");
        assert!(errors.contains(words), "{options:?}: {errors}");
    }
}
