//! Detection of committed frames that are missing from the write-ahead log of an SQLite file.
//!
//! After a process was killed, SQLite reads the log up to the first incomplete frame. It cannot distinguish a log that
//! was truncated or removed from a log to which less was written. However, the file `-shm`, the shared memory of the
//! processes, records how many frames were committed, and to which log. The first process that opens the catalog
//! overwrites this file, so it is read before that.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use runlog_model::planted;

const LOG_HEAD_BYTES: usize = 32;
const FRAME_HEAD_BYTES: usize = 24;
/// The shared memory begins with two copies of its header, followed by the number of frames that have been copied to
/// the database file.
const INDEX_HEAD_BYTES: usize = 48;
const INDEX_BYTES: usize = 2 * INDEX_HEAD_BYTES + 4;

/// The files that this process has opened before. They must not be opened here again: when a process closes a file, the
/// operating system releases all locks of the process on the file, including those of SQLite.
static OPENED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The state of the log according to the shared memory.
#[derive(Debug, PartialEq, Eq)]
struct LogIndex {
    /// Random bytes that identify the log; they change each time the log is restarted.
    salts: [u8; 8],
    page_bytes: usize,
    frames: u32,
    /// Number of frames that have also been copied to the database file.
    frames_copied: u32,
}

/// Returns the number of committed frames that are missing from the log of an SQLite file; 0 if the number is unknown,
/// for example because this process has opened the file before.
pub(super) fn count_lost_frames(file: &Path) -> u32 {
    if planted::is("lost-frames-not-counted") {
        return 0;
    }
    // The file may not exist yet.
    let folder = file.parent().and_then(|folder| folder.canonicalize().ok());
    let (Some(folder), Some(name)) = (folder, file.file_name()) else { return 0 };
    if !OPENED.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.join(name)) {
        return 0;
    }
    let beside = |suffix: &str| {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let Some(index) = read_index(&beside("-shm")) else { return 0 };
    if index.frames_copied >= index.frames {
        return 0;
    }
    let whole = match count_whole_frames(&beside("-wal"), &index) {
        Ok(whole) => whole,
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(_) => return 0,
    };
    // A running process may have restarted the log in the meantime.
    let is_current = read_index(&beside("-shm")).is_some_and(|again| again == index);
    if is_current { index.frames.saturating_sub(whole) } else { 0 }
}

fn read_index(file: &Path) -> Option<LogIndex> {
    let mut bytes = [0; INDEX_BYTES];
    File::open(file).ok()?.read_exact(&mut bytes).ok()?;
    let (head, again) = (&bytes[..INDEX_HEAD_BYTES], &bytes[INDEX_HEAD_BYTES..2 * INDEX_HEAD_BYTES]);
    let is_made = head[12] != 0;
    if !is_made || head != again {
        return None;
    }
    let number = |at: usize| bytes[at..at + 4].try_into().map(u32::from_ne_bytes).ok();
    let page_bytes = match u16::from_ne_bytes([head[14], head[15]]) {
        1 => 1 << 16,
        bytes => usize::from(bytes),
    };
    let salts = head[32..40].try_into().ok()?;
    Some(LogIndex { salts, page_bytes, frames: number(16)?, frames_copied: number(2 * INDEX_HEAD_BYTES)? })
}

/// Counts the frames up to the first incomplete one. Counts all frames as complete if the log was restarted since:
/// after a power failure, the shared memory may be older than the log.
fn count_whole_frames(file: &Path, index: &LogIndex) -> io::Result<u32> {
    let mut log = BufReader::new(File::open(file)?);
    let mut head = [0; LOG_HEAD_BYTES];
    if !read_whole(&mut log, &mut head)? {
        return Ok(0);
    }
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_be_bytes);
    let is_big_endian = word(&head[..4]) & 1 == 1;
    let mut sums = checksum([0, 0], &head[..24], is_big_endian);
    if sums != [word(&head[24..28]), word(&head[28..])] {
        return Ok(0);
    }
    if head[16..24] != index.salts {
        return Ok(index.frames);
    }
    let mut frame = vec![0; FRAME_HEAD_BYTES + index.page_bytes];
    for number in 0..index.frames {
        if !read_whole(&mut log, &mut frame)? {
            return Ok(number);
        }
        sums = checksum(sums, &frame[..8], is_big_endian);
        sums = checksum(sums, &frame[FRAME_HEAD_BYTES..], is_big_endian);
        let is_whole = frame[8..16] == index.salts && sums == [word(&frame[16..20]), word(&frame[20..24])];
        if !is_whole {
            return Ok(number);
        }
    }
    Ok(index.frames)
}

/// Fills the buffer; returns false if the file ends before.
fn read_whole(file: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Continues the checksum of the log format, which is computed over pairs of words.
fn checksum([mut first, mut second]: [u32; 2], bytes: &[u8], is_big_endian: bool) -> [u32; 2] {
    let word = |bytes: &[u8]| {
        let bytes = bytes.try_into().unwrap_or_default();
        if is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    };
    for pair in bytes.chunks_exact(8) {
        first = first.wrapping_add(word(&pair[..4])).wrapping_add(second);
        second = second.wrapping_add(word(&pair[4..])).wrapping_add(first);
    }
    [first, second]
}
