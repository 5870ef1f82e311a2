//! The header of a zstd frame, which determines the memory for decompression. Source: RFC 8878, 3.1.1.1.

/// Maximum length of a frame header: magic number, descriptor, window, dictionary, size. Unit: bytes.
pub(crate) const HEAD_BYTES: usize = 18;

/// The magic number of a frame.
pub(crate) const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// The window of a frame; none if this is not a complete frame header. Unit: bytes.
pub(crate) fn window(head: &[u8]) -> Option<u64> {
    let head = head.strip_prefix(&MAGIC)?;
    let (descriptor, head) = head.split_first()?;
    if descriptor & 0x20 == 0 {
        let (exponent, mantissa) = (head.first()? >> 3, head.first()? & 7);
        let base = 1_u64 << (10 + u32::from(exponent));
        return Some(base + base / 8 * u64::from(mantissa));
    }
    // The window of a single-segment frame is its content size.
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let head = head.get(dictionary..)?;
    Some(match descriptor >> 6 {
        0 => u64::from(*head.first()?),
        1 => u64::from(u16::from_le_bytes(*head.first_chunk()?)) + 256,
        2 => u64::from(u32::from_le_bytes(*head.first_chunk()?)),
        _ => u64::from_le_bytes(*head.first_chunk()?),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_window_is_that_of_the_encoder_or_the_size_of_the_content() {
        for (log, expected) in [(10, 1 << 10), (21, 2 << 20), (27, 128 << 20)] {
            let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
            encoder.set_parameter(zstd::zstd_safe::CParameter::WindowLog(log)).unwrap();
            encoder.write_all(b"x").unwrap();
            assert_eq!(window(&encoder.finish().unwrap()), Some(expected));
        }
        for length in [1, 300, 70_000, 5 << 20] {
            assert_eq!(window(&zstd::bulk::compress(&vec![b'x'; length], 19).unwrap()), Some(length as u64));
        }
        assert_eq!((window(b""), window(b"\x28\xb5\x2f\xfd\x20"), window(b"not zstd at all")), (None, None, None));
    }
}
