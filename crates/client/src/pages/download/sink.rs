//! The destination of the bytes of a download.

use crate::error::Result;

/// Takes the bytes of a file as they come, unpacked.
pub trait DownloadSink: Send {
    /// Takes more bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
    /// Discards all bytes received so far: the file is sent again from its beginning.
    fn restart(&mut self) -> Result<()>;
}
