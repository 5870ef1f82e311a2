//! Properties of readers of untrusted bytes: each target accepts any bytes, and panics if a property does not hold.

#![allow(clippy::unwrap_used, reason = "a target fails by a panic")]

mod logs;
mod mutate;
mod page_entries;
mod patterns;
mod records;
#[cfg(feature = "redaction")]
mod redaction;
#[cfg(feature = "service")]
mod service;
mod summary;

pub use mutate::Mutator;

/// A property of a reader.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Panics when the property does not hold for these bytes.
    pub check: fn(&[u8]),
    /// Typical inputs, from which others are made.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// How many inputs `cargo test` makes.
    pub inputs: usize,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    page_entries::TARGET,
    records::TARGET,
    logs::TARGET,
    patterns::TARGET,
    summary::TARGET,
    #[cfg(feature = "redaction")]
    redaction::TARGET,
    #[cfg(feature = "service")]
    service::TARGET,
];

/// Separates the messages of an input.
const SEPARATOR: char = '\u{1e}';

/// The messages of an input.
fn messages(input: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(input);
    text.split(SEPARATOR).map(str::to_owned).collect()
}

/// Inputs of the messages of failed runs.
fn failed_runs() -> Vec<Vec<u8>> {
    const FAMILIES: [&str; 5] = [
        include_str!("../../../fixtures/failures/oracle.txt"),
        include_str!("../../../fixtures/failures/python.txt"),
        include_str!("../../../fixtures/failures/dotnet.txt"),
        include_str!("../../../fixtures/failures/spark.txt"),
        include_str!("../../../fixtures/failures/talend.txt"),
    ];
    FAMILIES.into_iter().flat_map(|family| family.split("\n\n").map(messages_of_case)).collect()
}

/// A case of `fixtures/failures`: `-E component | message`, with further lines after `>`.
fn messages_of_case(case: &str) -> Vec<u8> {
    let mut input = String::new();
    for line in case.lines() {
        if let Some((_, message)) = line.strip_prefix('-').and_then(|line| line.split_once(" | ")) {
            if !input.is_empty() {
                input.push(SEPARATOR);
            }
            input.push_str(message);
        } else if let Some(more) = line.strip_prefix('>') {
            input.push('\n');
            input.push_str(&more.replace("\\t", "\t"));
        }
    }
    input.into_bytes()
}
