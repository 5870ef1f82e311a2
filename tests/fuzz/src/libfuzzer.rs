//! The entry point of libFuzzer; the environment variable `TARGET` names the target.

#![no_main]

use std::sync::OnceLock;

use runlog_fuzz::{TARGETS, Target};

#[allow(clippy::disallowed_methods, reason = "libFuzzer has the arguments")]
fn target() -> &'static Target {
    static TARGET: OnceLock<&'static Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("TARGET").unwrap_or_default();
        let found = TARGETS.iter().find(|target| target.name == name);
        found.unwrap_or_else(|| panic!("TARGET={name:?} is none of the targets"))
    })
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| (target().check)(input));
