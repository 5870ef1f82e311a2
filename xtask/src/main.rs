//! Automation of the workspace: `cargo run -p xtask -- layers`, `… dependencies`, `… modules` and `… scripts`.

mod dependencies;
mod flows;
mod layers;
mod modules;
mod scripts;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

/// The root of the workspace.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

const USAGE: &str = "usage: xtask layers        check the dependencies between crates and between their modules
       xtask dependencies  check licences, duplicates and unused libraries against deny.toml
       xtask modules       update the diagram of modules in ARCHITECTURE.md
       xtask scripts       check that every shell script parses";

#[allow(clippy::print_stderr, reason = "this is a command for developers")]
fn main() -> ExitCode {
    let done = match std::env::args().nth(1).as_deref() {
        Some("layers") => layers(),
        Some("dependencies") => dependencies(),
        Some("modules") => modules(),
        Some("scripts") => scripts(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("{error:#}");
        ExitCode::FAILURE
    })
}

fn layers() -> Result<ExitCode> {
    let root = Path::new(ROOT);
    let mut violations = layers::violations(root)?;
    violations.extend(modules::violations(root)?);
    violations.extend(flows::violations(root)?);
    Ok(report(&violations, "every crate and every module uses only those that it may"))
}

fn dependencies() -> Result<ExitCode> {
    Ok(report(&dependencies::violations(Path::new(ROOT))?, "every library is used and conforms to deny.toml"))
}

fn scripts() -> Result<ExitCode> {
    Ok(report(&scripts::violations(Path::new(ROOT))?, "every shell script parses"))
}

#[allow(clippy::print_stderr, clippy::print_stdout, reason = "this is a command for developers")]
fn report(violations: &[String], when_none: &str) -> ExitCode {
    if violations.is_empty() {
        println!("{when_none}");
        return ExitCode::SUCCESS;
    }
    violations.iter().for_each(|violation| eprintln!("{violation}"));
    ExitCode::FAILURE
}

#[allow(clippy::print_stdout, reason = "this is a command for developers")]
fn modules() -> Result<ExitCode> {
    let has_changed = modules::write_diagram(Path::new(ROOT))?;
    println!("ARCHITECTURE.md {}", if has_changed { "was updated" } else { "is up to date" });
    Ok(ExitCode::SUCCESS)
}
