//! The reference in docs/reference, and the man pages, which the program generates.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::{runlog, succeeded};

/// Compares a page with what the program prints; `make reference` updates it instead.
#[track_caller]
fn check_page(name: &str, what: &str) {
    // A page must not depend on the environment or the terminal in which it is generated.
    let mut command = runlog(&["generate", what]);
    let expected = succeeded(command.env("RUNLOG_DATA", "/mine").env("COLUMNS", "40").output().unwrap());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(name);
    if std::env::var_os("RUNLOG_KEEP_REFERENCE").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = kept.lines().zip(expected.lines()).find(|(kept, expected)| kept != expected);
    assert!(kept == expected, "docs/reference/{name} is out of date; run `make reference`: {differs:?}");
}

#[test]
fn the_reference_of_commands_is_up_to_date() {
    check_page("commands.md", "commands");
}

#[test]
fn the_reference_of_settings_is_up_to_date() {
    check_page("settings.md", "settings");
}

#[test]
fn the_reference_mentions_every_variable_that_the_command_line_reads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("../../docs/reference/settings.md")).unwrap();
    let mut folders = vec![root.join("src")];
    let mut names = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                let code = std::fs::read_to_string(path).unwrap();
                let texts = code.split('"').filter(|text| text.starts_with("RUNLOG_"));
                let is_name = |text: &&str| text.chars().all(|one| one.is_ascii_uppercase() || one == '_');
                names.extend(texts.filter(is_name).map(str::to_owned));
            }
        }
    }
    assert!(names.contains("RUNLOG_LISTEN") && names.contains("RUNLOG_TOKEN"), "{names:?}");
    for name in names {
        let is_there = page.contains(&format!("### {name}\n")) || page.contains(&format!("`{name}`"));
        assert!(is_there, "docs/reference/settings.md does not mention {name}");
    }
}

#[test]
fn every_command_has_a_man_page() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man/man1");
    succeeded(runlog(&["generate", "man"]).arg(&pages).output().unwrap());
    let commands = succeeded(runlog(&["generate", "commands"]).output().unwrap());
    let names: Vec<&str> = commands.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert!(names.contains(&"runlog archive retention") && !names.contains(&"runlog generate"), "{names:?}");
    for name in names {
        let page = pages.join(format!("{}.1", name.replace(' ', "-")));
        let text = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        assert!(text.contains(".SH OPTIONS") || text.contains(".SH SUBCOMMANDS"), "{text}");
    }
}

#[test]
fn man_pages_that_cannot_be_written_are_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let output = runlog(&["generate", "man"]).arg(&file).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && told.contains("cannot write man pages to"), "{told}");
}
