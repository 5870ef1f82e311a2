//! Compressors for frames of page files. They are reused because creating a compressor takes as long as compressing a
//! frame.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use zstd::bulk::Compressor;

use crate::error::{Error, Result};
use crate::limits;

/// A compressor with the buffers for one frame.
pub(crate) struct FrameCompressor {
    compressor: Compressor<'static>,
    pub(super) plain: Vec<u8>,
    compressed: Vec<u8>,
}

impl FrameCompressor {
    pub(crate) fn new() -> Result<Self> {
        let plain = Vec::with_capacity(limits::PAGE_FRAME_BYTES + (64 << 10));
        let mut compressor = Compressor::new(limits::PAGE_ZSTD_LEVEL).map_err(uncompressed)?;
        // The checksum allows clients that download the compressed file to verify it.
        compressor.include_checksum(true).map_err(uncompressed)?;
        Ok(Self { compressor, plain, compressed: Vec::new() })
    }

    /// Returns false if a long record has made the buffers larger than usual.
    pub(crate) fn is_of_usual_size(&self) -> bool {
        self.plain.capacity() <= 2 * limits::PAGE_FRAME_BYTES
    }

    pub(super) fn compress(&mut self) -> Result<Bytes> {
        self.compressed.clear();
        self.compressed.reserve(zstd::zstd_safe::compress_bound(self.plain.len()));
        self.compressor.compress_to_buffer(&self.plain, &mut self.compressed).map_err(uncompressed)?;
        Ok(Bytes::copy_from_slice(&self.compressed))
    }
}

/// A pool of idle compressors, at most as many as one page needs.
#[derive(Clone, Default)]
pub(crate) struct CompressorPool(Arc<std::sync::Mutex<Vec<FrameCompressor>>>);

impl CompressorPool {
    pub(super) fn take(&self) -> Result<FrameCompressor> {
        self.idle().pop().map_or_else(FrameCompressor::new, Ok)
    }

    pub(super) fn release(&self, compressor: FrameCompressor) {
        let mut idle = self.idle();
        if idle.len() < limits::WORK_ITEMS_MAX && compressor.is_of_usual_size() {
            idle.push(compressor);
        }
    }

    /// Locks the idle compressors. Each is added or removed in a single step, so the list is consistent even if a
    /// thread has panicked while holding the lock.
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<FrameCompressor>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn uncompressed(error: std::io::Error) -> Error {
    Error::caused(crate::ErrorKind::Unavailable, "cannot compress a page file", error)
}
