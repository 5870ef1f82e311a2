//! Automation of the workspace: `cargo run -p xtask -- layers`, `… dependencies` and `… rooms`.

mod dependencies;
mod layers;
mod rooms;
mod walks;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

/// The workspace's root, seen from this package.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

const USAGE: &str = "usage: xtask layers        checks that crates, and rooms inside of them, name only those they may
       xtask dependencies  checks licences, duplicates and use of libraries by deny.toml
       xtask rooms         writes the rooms into ARCHITECTURE.md";

#[allow(clippy::print_stderr, reason = "this is a command for developers")]
fn main() -> ExitCode {
    let done = match std::env::args().nth(1).as_deref() {
        Some("layers") => layers(),
        Some("dependencies") => dependencies(),
        Some("rooms") => rooms(),
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
    violations.extend(rooms::violations(root)?);
    violations.extend(walks::violations(root)?);
    Ok(report(&violations, "every crate and every room names only those it may"))
}

fn dependencies() -> Result<ExitCode> {
    Ok(report(&dependencies::violations(Path::new(ROOT))?, "every library fulfils deny.toml and is used"))
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
fn rooms() -> Result<ExitCode> {
    let is_new = rooms::write_drawing(Path::new(ROOT))?;
    println!("ARCHITECTURE.md {}", if is_new { "was written" } else { "is as it was" });
    Ok(ExitCode::SUCCESS)
}
