//! Checksums of stored bytes: a CRC-32 of each block of an object, stored in the catalog and verified whenever bytes of
//! the block are read. Source: decision 0017.

use std::ops::Range;
use std::sync::Arc;

use az::SaturatingAs;
use bytes::Bytes;

/// The size of a block. Unit: bytes. A read covers all blocks that it touches.
const BLOCK_BYTES: usize = 64 << 10;

/// Computes the checksums of an object while it is being written.
#[derive(Default)]
pub(crate) struct ChecksWriter {
    written: Vec<u8>,
    block: crc32fast::Hasher,
    in_block: usize,
}

/// The checksums of an object, as the catalog stores them.
#[derive(Debug, Clone)]
pub(crate) struct Checks(Arc<[u8]>);

impl ChecksWriter {
    /// Adds the next bytes of the object.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.in_block));
            self.block.update(now);
            self.in_block += now.len();
            if self.in_block == BLOCK_BYTES {
                self.end_block();
            }
            bytes = later;
        }
    }

    /// Returns the checksum of each block, followed by the checksum of these checksums; 32-bit little-endian.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if self.in_block > 0 {
            self.end_block();
        }
        let own = crc32fast::hash(&self.written);
        self.written.extend(own.to_le_bytes());
        self.written
    }

    fn end_block(&mut self) {
        self.written.extend(std::mem::take(&mut self.block).finalize().to_le_bytes());
        self.in_block = 0;
    }
}

/// Returns the checksums of a complete object.
pub(crate) fn checks_of(bytes: &[u8]) -> Vec<u8> {
    let mut checks = ChecksWriter::default();
    checks.update(bytes);
    checks.finish()
}

impl Checks {
    /// Decodes the checksums of an object of this length; `None` if the checksums are damaged.
    pub(crate) fn read(written: &[u8], length: u64) -> Option<Self> {
        let (blocks, own) = written.split_last_chunk::<4>()?;
        let is_whole = crc32fast::hash(blocks).to_le_bytes() == *own
            && blocks.len() as u64 == 4 * length.div_ceil(BLOCK_BYTES as u64);
        is_whole.then(|| Self(blocks.into()))
    }

    /// Returns the memory that the checksums take. Unit: bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.0.len()
    }

    /// Returns the range of the blocks that contain a range of bytes. `length` is the length of the object.
    pub(crate) fn around(&self, range: &Range<u64>, length: u64) -> Range<u64> {
        let block = BLOCK_BYTES as u64;
        let start = range.start / block * block;
        start..range.end.div_ceil(block).saturating_mul(block).min(length).max(start)
    }

    /// Returns true if these bytes are intact. `start` is their position in the object, which must be the start of a
    /// block.
    pub(crate) fn are_of(&self, start: u64, bytes: &Bytes) -> bool {
        let first = (start / BLOCK_BYTES as u64).saturating_as::<usize>();
        bytes.chunks(BLOCK_BYTES).enumerate().all(|(number, block)| {
            let at = 4 * (first + number);
            self.0.get(at..at + 4) == Some(&crc32fast::hash(block).to_le_bytes())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_read_as_they_are_written_and_not_when_a_bit_is_another() {
        for length in [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 7] {
            let bytes: Vec<u8> = (0..length).map(|number| (number * 31 % 251) as u8).collect();
            let mut in_parts = ChecksWriter::default();
            bytes.chunks(1_000).for_each(|part| in_parts.update(part));
            let written = in_parts.finish();
            assert_eq!(written, checks_of(&bytes));
            let checks = Checks::read(&written, length as u64).unwrap();
            assert!(checks.are_of(0, &Bytes::from(bytes)));
            assert!(Checks::read(&written, (length + BLOCK_BYTES) as u64).is_none());
            for bit in 0..written.len() * 8 {
                let mut damaged = written.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(Checks::read(&damaged, length as u64).is_none(), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_part_is_checked_by_the_blocks_it_lies_in() {
        let length = 3 * BLOCK_BYTES + 7;
        let bytes = Bytes::from(vec![7_u8; length]);
        let checks = Checks::read(&checks_of(&bytes), length as u64).unwrap();
        let block = BLOCK_BYTES as u64;
        assert_eq!(checks.around(&(block + 3..block + 4), length as u64), block..2 * block);
        assert_eq!(checks.around(&(block - 1..3 * block + 1), length as u64), 0..length as u64);
        let last = checks.around(&(3 * block..length as u64), length as u64);
        assert_eq!(last, 3 * block..length as u64);
        assert!(checks.are_of(last.start, &bytes.slice(last.start as usize..)));
        let mut damaged = bytes.slice(last.start as usize..).to_vec();
        damaged[6] ^= 1;
        assert!(!checks.are_of(last.start, &damaged.into()));
    }
}
