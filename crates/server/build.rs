//! Tells cargo when the web UI that is part of a release has changed. Debug builds read it from its folder.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "this is how a build script is spoken to and speaks"
)]

fn main() {
    // As long as the folder is not there, a release is built anew each time: it may be there the next time.
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    println!("cargo::rerun-if-changed={}", if is_release { "../../web/dist" } else { "build.rs" });
}
