//! Starts the real binary on a free port of this machine with its own archive.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The program under test.
pub(crate) const RUNLOG: &str = env!("CARGO_BIN_EXE_runlog");

/// A running `runlog serve`; when this is dropped, it is stopped and its folder is removed.
pub(crate) struct Service {
    child: Child,
    /// None if the folder belongs to the caller.
    folder: Option<TempDir>,
    /// Its base URL, such as `http://127.0.0.1:40123`.
    pub(crate) url: String,
    /// The administrator's token.
    pub(crate) token: String,
    /// The beginning of its log.
    said: Arc<Mutex<String>>,
}

/// How much of the log of a service is kept.
const LOG_BYTES_MAX: usize = 1 << 20;

impl Service {
    /// Starts the service with additional arguments, and waits until it listens.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), arguments)
    }

    /// The same on a folder that may hold an archive already.
    pub(crate) fn start_in(folder: TempDir, arguments: &[&str]) -> Self {
        Self::start_with(folder, arguments, &[])
    }

    /// The same with environment variables.
    pub(crate) fn start_with(folder: TempDir, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let data = folder.path().join("data");
        let mut service = Self::spawn(&data, arguments, variables);
        service.folder = Some(folder);
        service
    }

    /// The same on an archive of the caller, which is kept.
    pub(crate) fn start_on(data: &Path, arguments: &[&str]) -> Self {
        Self::spawn(data, arguments, &[])
    }

    fn spawn(data: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = runlog(&["serve", "--listen", "127.0.0.1:0"])
            .arg("--data")
            .arg(data)
            .args(arguments)
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let (url, seen) = url_of(&mut log);
        let said = Arc::new(Mutex::new(seen));
        let shared = Arc::clone(&said);
        // The service must be able to write its log until it exits.
        std::thread::spawn(move || {
            let mut line = Vec::new();
            while log.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                let mut said = shared.lock().unwrap();
                if said.len() < LOG_BYTES_MAX {
                    said.push_str(&String::from_utf8_lossy(&line));
                }
                line.clear();
            }
        });
        let token = std::fs::read_to_string(data.join("admin.token")).unwrap().trim().to_owned();
        Self { child, folder: None, url, token, said }
    }

    /// Waits for half a minute until the service has logged this text.
    #[track_caller]
    pub(crate) fn wait_for_log(&self, text: &str) {
        let begun = Instant::now();
        while !self.said.lock().unwrap().contains(text) {
            let said = self.said.lock().unwrap().clone();
            assert!(begun.elapsed() < Duration::from_secs(30), "the service has not logged {text:?}: {said}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The ID of the process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// A folder beside the archive, for files of the test.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.as_ref().unwrap().path()
    }

    /// The program with the URL of the service and the administrator's token.
    pub(crate) fn runlog(&self, arguments: &[&str]) -> Command {
        let mut command = runlog(arguments);
        command.env("RUNLOG_API_URL", &self.url).env("RUNLOG_TOKEN", &self.token);
        if let Some(folder) = &self.folder {
            command.current_dir(folder.path());
        }
        command
    }

    /// The output of the program, which must succeed.
    #[track_caller]
    pub(crate) fn succeed(&self, arguments: &[&str]) -> String {
        succeeded(self.runlog(arguments).output().unwrap())
    }

    /// The JSON output of the program, which must succeed.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.succeed(arguments)).unwrap()
    }

    /// Creates an environment, a workspace and a task; returns the IDs of the workspace and the task.
    pub(crate) fn make_task(&self) -> (String, String) {
        let id = |value: &Value, name: &str| value[name].as_str().unwrap().to_owned();
        let environment = id(&self.json(&["admin", "environments", "create", "test", "--json"]), "id");
        let workspace =
            id(&self.json(&["admin", "workspaces", "create", "test", "--environment", &environment, "--json"]), "id");
        let task =
            id(&self.json(&["admin", "tasks", "create", "test", "--workspace", &workspace, "--json"]), "executable");
        (workspace, task)
    }

    /// Stops the service like Ctrl-C, and returns its folder.
    pub(crate) fn stop(mut self) -> TempDir {
        Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(self.child.wait().unwrap().success());
        self.folder.take().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command as root that a test needs. If it fails, says that the test is not run and returns false; fails where the
/// variable `CI` is set.
#[track_caller]
#[allow(clippy::print_stderr, reason = "a test that is not run says so")]
pub(crate) fn requires(test: &str, command: &[&str]) -> bool {
    let is_root = succeeded(Command::new("id").arg("-u").output().unwrap()).trim() == "0";
    let command: Vec<&str> = if is_root { command.to_vec() } else { [&["sudo", "-n"], command].concat() };
    let output = Command::new(command[0]).args(&command[1..]).output();
    if output.as_ref().is_ok_and(|output| output.status.success()) {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "{test} needs `{}`, which fails: {output:?}", command.join(" "));
    eprintln!("NOT RUN: {test}, which needs `{}`", command.join(" "));
    false
}

/// The program without the settings of the user who runs the tests.
pub(crate) fn runlog(arguments: &[&str]) -> Command {
    let mut command = Command::new(RUNLOG);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RUNLOG_")) {
        command.env_remove(name);
    }
    // Nor with profiles of the user.
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    command.args(arguments).env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Standard output of a program that must succeed; otherwise, the test fails with both outputs.
#[track_caller]
pub(crate) fn succeeded(output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\nstdout: {text}\nstderr: {errors}", output.status);
    text.into_owned()
}

/// Runs lines in bash in a folder, and returns their output.
#[track_caller]
pub(crate) fn bash(lines: &str, folder: &Path) -> String {
    let script = format!("set -euo pipefail\n{lines}\n");
    succeeded(Command::new("bash").args(["-c", &script]).current_dir(folder).output().unwrap())
}

/// Writes lines to a file and returns its path.
pub(crate) fn write_lines(path: PathBuf, lines: &[String]) -> PathBuf {
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    lines.iter().for_each(|line| writeln!(file, "{line}").unwrap());
    file.flush().unwrap();
    path
}

fn url_of(log: &mut impl BufRead) -> (String, String) {
    let mut seen = String::new();
    loop {
        let start = seen.len();
        assert!(log.read_line(&mut seen).unwrap() > 0, "the service ended: {seen}");
        let address = seen[start..].split_once("listens on ").and_then(|(_, rest)| rest.split_once(','));
        if let Some((url, _)) = address {
            return (url.to_owned(), seen);
        }
    }
}
