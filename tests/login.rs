//! Logging in to a service, and commands that use the token that was kept.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::json;
use tempfile::TempDir;

use crate::support::{RUNLOG, Service, runlog, succeeded};

/// A machine of a user, with a folder for settings.
struct Machine {
    home: TempDir,
}

impl Machine {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    fn runlog(&self, arguments: &[&str]) -> Command {
        let mut command = runlog(arguments);
        command.env("XDG_CONFIG_HOME", self.home.path()).current_dir(self.home.path());
        command
    }

    /// The output of `runlog login`, which reads a token from standard input.
    fn login(&self, arguments: &[&str], token: &str) -> Output {
        let mut command = self.runlog(&[&["login"], arguments].concat());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(format!("{token}\n").as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn profile(&self, name: &str) -> PathBuf {
        self.home.path().join("runlog/profiles").join(format!("{name}.toml"))
    }
}

#[track_caller]
fn fails(mut command: Command, code: i32, words: &[&str]) {
    let Output { status, stderr, .. } = command.output().unwrap();
    let told = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(code), "{told}");
    for word in words {
        assert!(told.contains(word), "{word:?} is not in: {told}");
    }
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn a_token_is_kept_for_its_owner_and_used_until_logged_out() {
    let (service, machine) = (Service::start(&[]), Machine::new());
    fails(machine.runlog(&["tasks"]), 3, &["runlog login https://"]);

    let output = machine.login(&[&service.url], &service.token);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    succeeded(output);
    let file = machine.profile("default");
    assert!(told.contains("logged in to") && told.contains(file.to_str().unwrap()), "{told}");
    assert!(!told.contains(&service.token), "{told}");
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));

    succeeded(machine.runlog(&["admin", "environments", "create", "production"]).output().unwrap());
    // Where there is no archive, SQL is for the service.
    assert!(succeeded(machine.runlog(&["sql", "SELECT count(*) FROM runs"]).output().unwrap()).contains('0'));

    succeeded(machine.runlog(&["logout"]).output().unwrap());
    assert!(!file.exists());
    fails(machine.runlog(&["logout"]), 3, &["there is no profile default", "runlog login"]);
    fails(machine.runlog(&["tasks"]), 3, &["runlog login https://"]);
}

#[test]
fn a_token_that_the_service_does_not_accept_is_not_kept() {
    let (service, machine) = (Service::start(&[]), Machine::new());
    for token in ["rlp_wrong", "", "two words"] {
        let output = machine.login(&[&service.url], token);
        assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(!machine.profile("default").exists());
    }
    // There is no listener.
    assert_eq!(machine.login(&["http://127.0.0.1:1"], &service.token).status.code(), Some(5));
    assert!(!machine.profile("default").exists());
    // A token is no argument.
    fails(machine.runlog(&["login", &service.url, &service.token]), 2, &["unexpected argument"]);
    fails(machine.runlog(&["login", &service.url, "--profile", "../x"]), 2, &["a profile is named with"]);
}

#[test]
fn options_win_over_the_environment_and_the_environment_over_profiles() {
    let (service, other, machine) = (Service::start(&[]), Service::start(&[]), Machine::new());
    for (service, name) in [(&service, "here"), (&other, "there")] {
        service.succeed(&["admin", "environments", "create", name]);
    }
    succeeded(machine.login(&[&service.url], &service.token));
    succeeded(machine.login(&[&other.url, "--profile", "other"], &other.token));
    let lists = |mut command: Command, expected: &str| {
        let shown = succeeded(command.output().unwrap());
        assert!(shown.contains(expected), "{expected} is not in {shown}");
    };
    let with = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = machine.runlog(&[&["admin"], arguments, &["environments", "list"]].concat());
        command.envs(variables.iter().copied());
        command
    };
    let environment = [("RUNLOG_API_URL", service.url.as_str()), ("RUNLOG_TOKEN", service.token.as_str())];
    lists(with(&[], &[]), "here");
    lists(with(&[], &["--profile", "other"]), "there");
    lists(with(&[("RUNLOG_PROFILE", "other")], &[]), "there");
    lists(with(&[("RUNLOG_PROFILE", "other")], &["--profile", "default"]), "here");
    lists(with(&environment, &["--profile", "other"]), "there");
    lists(with(&environment, &[]), "here");
    lists(with(&[environment[0], environment[1], ("RUNLOG_PROFILE", "other")], &[]), "here");
    // The address may also be given, if it is that of the profile.
    lists(with(&[("RUNLOG_API_URL", other.url.as_str()), ("RUNLOG_PROFILE", "other")], &[]), "there");

    // A token is not sent to another service, and a service that is not named is not guessed.
    fails(with(&[("RUNLOG_PROFILE", "other")], &["--api-url", &service.url]), 3, &["is not sent to", "runlog login"]);
    fails(with(&[], &["--api-url", &service.url]), 3, &["no credentials"]);
    fails(with(&[], &["--api-url", &service.url, "--profile", "other"]), 2, &["--profile"]);
    fails(with(&[], &["--profile", "none"]), 3, &["there is no profile none", "--profile none"]);
    fails(with(&[("RUNLOG_PROFILE", "none")], &[]), 3, &["there is no profile none"]);
}

#[test]
fn a_profile_that_others_can_read_is_not_used() {
    let (service, machine) = (Service::start(&[]), Machine::new());
    succeeded(machine.login(&[&service.url], &service.token));
    let file = machine.profile("default");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    fails(machine.runlog(&["tasks"]), 3, &["other users", "chmod 600"]);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&file, format!("token = \"{}\" damaged", service.token)).unwrap();
    let output = machine.runlog(&["tasks"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("is damaged; log in again") && !told.contains(&service.token), "{told}");
}

#[test]
fn a_terminal_does_not_show_the_token() {
    let (service, machine) = (Service::start(&[]), Machine::new());
    let mut terminal = Command::new("python3");
    terminal.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/support/terminal.py")).arg(RUNLOG);
    terminal.args(["login", &service.url]).env("XDG_CONFIG_HOME", machine.home.path());
    let mut child = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let steps = json!([["Personal access token of 127.0.0.1: ", format!("{}\n", service.token)]]);
    child.stdin.take().unwrap().write_all(steps.to_string().as_bytes()).unwrap();
    let shown = succeeded(child.wait_with_output().unwrap());
    assert!(shown.contains("logged in to") && !shown.contains(&service.token), "{shown}");
    assert!(machine.profile("default").exists());
}

#[test]
fn an_interrupted_login_ends_and_shows_what_is_typed_again() {
    let (service, machine) = (Service::start(&[]), Machine::new());
    let mut terminal = Command::new("python3");
    terminal.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/support/terminal.py")).args(["bash", "-c"]);
    terminal.arg(format!("'{RUNLOG}' login {}; echo \"ended with $?\"; stty -a", service.url));
    terminal.env("XDG_CONFIG_HOME", machine.home.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = terminal.stderr(Stdio::piped()).spawn().unwrap();
    let steps = json!([["Personal access token of 127.0.0.1: ", "\u{3}"]]);
    child.stdin.take().unwrap().write_all(steps.to_string().as_bytes()).unwrap();
    let shown = succeeded(child.wait_with_output().unwrap());
    assert!(shown.contains("ended with 130") && shown.contains(" echo "), "{shown}");
    assert!(!machine.profile("default").exists());
}

#[test]
fn a_device_cannot_sign_in_where_there_is_no_identity_provider() {
    let (service, machine) = (Service::start(&[]), Machine::new());
    fails(machine.runlog(&["login", &service.url, "--device"]), 2, &["no identity provider", "personal access token"]);
    // The settings are checked, and the provider is not needed at the start.
    let settings = machine.home.path().join("runlog.toml");
    let oidc = "[oidc]\nissuer = \"http://127.0.0.1:9\"\nclient_id = \"runlog\"\n[[oidc.access]]\ngroups = [\"ops\"]\nadministrator = true\n";
    std::fs::write(&settings, oidc).unwrap();
    let settings = settings.to_str().unwrap();
    fails(machine.runlog(&["serve", "--listen", "127.0.0.1:0", "--settings", settings]), 2, &["--public-url"]);
    fails(machine.runlog(&["check", "--settings", settings]), 5, &["some checks failed"]);
    let arguments = ["--settings", settings, "--public-url", "https://runlog.example.com"];
    let service = Service::start(&arguments);
    fails(machine.runlog(&["login", &service.url, "--device"]), 5, &["cannot be reached"]);
}
