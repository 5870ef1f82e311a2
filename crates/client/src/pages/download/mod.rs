//! Downloads the file behind a link: bounded, unpacked, and continued where it broke off.

mod attempt;
mod file;
mod sink;

pub(crate) use file::Downloaded;
pub use sink::DownloadSink;
