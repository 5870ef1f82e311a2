//! The entry point of libFuzzer; the environment variable `TARGET` names the target, and `SEEDS` a folder to which its typical
//! inputs are written.

#![no_main]
#![allow(clippy::unwrap_used, reason = "a fuzzer that cannot set itself up fails")]

use std::path::PathBuf;
use std::sync::OnceLock;

use runlog_fuzz::{TARGETS, Target};

#[allow(clippy::disallowed_methods, reason = "libFuzzer has the arguments")]
fn target() -> &'static Target {
    static TARGET: OnceLock<&'static Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("TARGET").unwrap_or_default();
        let found = TARGETS.iter().find(|target| target.name == name);
        let found = found.unwrap_or_else(|| panic!("TARGET={name:?} is none of the targets"));
        if let Some(folder) = std::env::var_os("SEEDS").map(PathBuf::from) {
            for (number, seed) in (found.seeds)().into_iter().enumerate() {
                std::fs::write(folder.join(format!("seed-{number}")), seed).unwrap();
            }
        }
        found
    })
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| (target().check)(input));
