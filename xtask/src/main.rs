//! Automation of the workspace: `cargo run -p xtask -- layers`.

mod layers;

use std::path::Path;
use std::process::ExitCode;

/// The workspace's root, seen from this package.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[allow(clippy::print_stderr, clippy::print_stdout, reason = "this is a command for developers")]
fn main() -> ExitCode {
    let asked = std::env::args().nth(1);
    if asked.as_deref() != Some("layers") {
        eprintln!("usage: xtask layers   checks that each crate names only the crates it may");
        return ExitCode::from(2);
    }
    match layers::violations(Path::new(ROOT)) {
        Ok(violations) if violations.is_empty() => {
            println!("every crate names only the crates it may");
            ExitCode::SUCCESS
        }
        Ok(violations) => {
            violations.iter().for_each(|violation| eprintln!("{violation}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
