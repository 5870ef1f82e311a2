//! Downloads the file of a link: with limits, decompressed, and resumed after interruptions.

mod attempt;
mod file;
mod sink;

pub(crate) use file::Downloaded;
pub use sink::DownloadSink;
