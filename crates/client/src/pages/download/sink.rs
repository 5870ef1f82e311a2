//! Where the bytes of a download go.

use crate::error::Result;

/// Takes the bytes of a file as they come, unpacked.
pub trait DownloadSink: Send {
    /// Takes more bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
    /// Forgets all bytes taken so far: the file comes again from its beginning.
    fn restart(&mut self) -> Result<()>;
}
