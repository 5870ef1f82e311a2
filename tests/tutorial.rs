//! The tutorial in docs/tutorial.md, run as its readers do.

use std::net::TcpListener;
use std::path::Path;

use crate::support::{RUNLOG, succeeded};

/// A block of commands, and the lines that the page shows as its output, in this order.
#[derive(Debug, Default)]
struct Step {
    commands: String,
    shown: Vec<String>,
}

/// The blocks of commands of a page, each with the block of output that follows it.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = None;
    for line in page.lines() {
        match (inside, line) {
            (None, "```sh") => {
                steps.push(Step::default());
                inside = Some("sh");
            }
            (None, "```text") => inside = Some("text"),
            (None, line) => assert!(!line.starts_with("```"), "a block of another kind: {line}"),
            (Some(_), "```") => inside = None,
            (Some("sh"), line) => steps.last_mut().unwrap().commands += &format!("{line}\n"),
            (Some(_), line) => steps.last_mut().unwrap().shown.push(line.to_owned()),
        }
    }
    steps
}

#[test]
fn the_tutorial_works_as_written() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/tutorial.md")).unwrap();
    let steps = steps(&page);
    assert!(steps.len() >= 9 && steps.iter().filter(|step| !step.shown.is_empty()).count() >= 5, "{steps:?}");
    // A terminal shows both outputs.
    let program = Path::new(RUNLOG).parent().unwrap().display();
    let mut script = format!("set -euo pipefail\nexec 2>&1\nPATH={program}:$PATH\n");
    script += "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n";
    for (number, step) in steps.iter().enumerate() {
        script += &format!("{}echo '--- {number}'\n", step.commands);
    }

    let folder = tempfile::tempdir().unwrap();
    // Readers use the default port, which may be in use where the tests run.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut bash = std::process::Command::new("bash");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RUNLOG_")) {
        bash.env_remove(name);
    }
    bash.args(["-c", &script]).current_dir(folder.path()).stdin(std::process::Stdio::null());
    bash.env("RUNLOG_LISTEN", address.to_string()).env("RUNLOG_API_URL", format!("http://{address}"));
    let output = succeeded(bash.output().unwrap());

    let mut rest = output.as_str();
    for (number, step) in steps.iter().enumerate() {
        let (printed, after) = rest.split_once(&format!("--- {number}\n")).unwrap();
        let mut lines = printed.lines();
        for shown in &step.shown {
            assert!(lines.any(|line| line == shown), "{shown:?} is not in the output of step {number}:\n{printed}");
        }
        rest = after;
    }
}
