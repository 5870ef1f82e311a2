//! The lines of a running job that are not stored yet: in memory, and in a temporary file while the service does not
//! accept them. They are always read, because a job blocks or is terminated if its output is not read.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::render::terminal::note;

/// Maximum number and total size of the lines in memory.
const MEMORY_LINES: usize = 1_024;
const MEMORY_BYTES: usize = 16 << 20;
/// Size of the temporary file. Unit: bytes.
const FILE_BYTES: u64 = 1 << 30;
/// How long a job waits for the service to take lines before they are kept in the temporary file.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) type ReadLine = io::Result<Vec<u8>>;

/// A queue of lines with one producer and one consumer. Clones refer to the same queue.
#[derive(Clone)]
pub(super) struct Spool(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    file_bytes: u64,
    patience: Duration,
    /// True for a pipe: the job that writes into it must not wait. The lines of a file can be read later.
    may_lose: bool,
}

#[derive(Default)]
struct State {
    memory: VecDeque<Vec<u8>>,
    memory_bytes: usize,
    /// None while all lines are in memory. Its lines follow those in memory.
    ring: Option<Ring>,
    /// Number of lines that were dropped.
    lost: u64,
    /// True while the service is unavailable.
    is_away: bool,
    /// True if all further lines are dropped.
    discards: bool,
    /// Set at the end of the log, with the error if reading failed.
    has_ended: bool,
    error: Option<io::Error>,
}

impl Spool {
    pub(super) fn new(may_lose: bool) -> Self {
        Self::with(FILE_BYTES, PATIENCE, may_lose)
    }

    fn with(file_bytes: u64, patience: Duration, may_lose: bool) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        Self(Arc::new(Shared { state, changed, file_bytes, patience, may_lose }))
    }

    /// Adds a line. Waits while there is no space for it; while the service is unavailable, drops the line instead.
    pub(super) fn put(&self, line: Vec<u8>) {
        let Shared { changed, file_bytes, patience, may_lose, .. } = &*self.0;
        let mut state = self.state();
        let mut is_patient = true;
        loop {
            if state.discards {
                state.lost += 1;
                return;
            }
            if state.ring.is_none() && state.has_room_for(line.len()) {
                state.memory_bytes += line.len();
                state.memory.push_back(line);
                break;
            }
            // A service that takes the lines sets the pace of the job.
            if state.ring.is_some() || state.is_away || !is_patient {
                // Without a file, there is as much room as in memory.
                if state.keep_in_file(&line, *file_bytes).unwrap_or(false) {
                    break;
                }
                if state.is_away && *may_lose {
                    state.lose();
                    return;
                }
            }
            let waited = changed.wait_timeout(state, *patience).unwrap_or_else(PoisonError::into_inner);
            is_patient = !waited.1.timed_out();
            state = waited.0;
        }
        changed.notify_all();
    }

    /// The log has ended, or could not be read on.
    pub(super) fn end(&self, error: Option<io::Error>) {
        let mut state = self.state();
        (state.has_ended, state.error) = (true, error);
        self.0.changed.notify_all();
    }

    /// Returns the next line; waits for it for this time, or indefinitely. Fails with `Disconnected` if there are no
    /// more lines.
    pub(super) fn take(&self, wait: Option<Duration>) -> Result<ReadLine, RecvTimeoutError> {
        let changed = &self.0.changed;
        let mut state = self.state();
        loop {
            match state.next() {
                Ok(None) => {}
                Ok(Some(line)) => {
                    changed.notify_all();
                    return Ok(Ok(line));
                }
                Err(error) => return Ok(Err(error)),
            }
            if state.has_ended {
                return state.error.take().map_or(Err(RecvTimeoutError::Disconnected), |error| Ok(Err(error)));
            }
            state = match wait {
                None => changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(wait) => {
                    let waited = changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner);
                    if waited.1.timed_out() && waited.0.is_empty() && !waited.0.has_ended {
                        return Err(RecvTimeoutError::Timeout);
                    }
                    waited.0
                }
            };
        }
    }

    /// Records whether the service is unavailable; returns whether it was before.
    pub(super) fn set_away(&self, is_away: bool) -> bool {
        let mut state = self.state();
        self.0.changed.notify_all();
        std::mem::replace(&mut state.is_away, is_away)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state().has_ended
    }

    /// Returns the number of dropped lines.
    pub(super) fn lost(&self) -> u64 {
        self.state().lost
    }

    /// Drops the queued lines and all further ones; returns the number of lines dropped so far.
    pub(super) fn discard(&self) -> u64 {
        let mut state = self.state();
        state.discards = true;
        state.lost += state.memory.len() as u64 + state.ring.as_ref().map_or(0, |ring| ring.lines);
        (state.memory, state.memory_bytes, state.ring) = (VecDeque::new(), 0, None);
        self.0.changed.notify_all();
        state.lost
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.memory.is_empty() && self.ring.is_none()
    }

    fn has_room_for(&self, line_bytes: usize) -> bool {
        self.memory.is_empty() || self.memory.len() < MEMORY_LINES && self.memory_bytes + line_bytes <= MEMORY_BYTES
    }

    /// False if there is no room.
    fn keep_in_file(&mut self, line: &[u8], file_bytes: u64) -> io::Result<bool> {
        let ring = match &mut self.ring {
            Some(ring) => ring,
            None => self.ring.insert(Ring::new(file_bytes)?),
        };
        let kept = ring.put(line);
        if ring.lines == 0 {
            self.ring = None;
        }
        kept
    }

    fn lose(&mut self) {
        if self.lost == 0 {
            note("the buffer file is full; lines are dropped until the service is available");
        }
        self.lost += 1;
    }

    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        if let Some(line) = self.memory.pop_front() {
            self.memory_bytes -= line.len();
            return Ok(Some(line));
        }
        let Some(ring) = &mut self.ring else { return Ok(None) };
        let line = ring.take();
        if ring.lines == 0 || line.is_err() {
            self.ring = None;
        }
        line.map(Some)
    }
}

/// A ring buffer of lines in a file, each preceded by its length.
struct Ring {
    file: File,
    /// Unit: bytes.
    size: u64,
    start: u64,
    length: u64,
    lines: u64,
}

impl Ring {
    fn new(size: u64) -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile()?, size, start: 0, length: 0, lines: 0 })
    }

    /// False if there is no room.
    fn put(&mut self, line: &[u8]) -> io::Result<bool> {
        let entry = [&(line.len() as u64).to_le_bytes(), line].concat();
        if self.length + entry.len() as u64 > self.size {
            return Ok(false);
        }
        let at = (self.start + self.length) % self.size;
        let (first, rest) = entry.split_at(entry.len().min(self.before_end(at)));
        self.file.write_all_at(first, at)?;
        self.file.write_all_at(rest, 0)?;
        self.length += entry.len() as u64;
        self.lines += 1;
        Ok(true)
    }

    /// Removes the next line, which must exist: an empty ring is dropped.
    fn take(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 8];
        self.read(&mut length)?;
        let mut line = vec![0; u64::from_le_bytes(length) as usize];
        self.read(&mut line)?;
        self.lines -= 1;
        Ok(line)
    }

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let count = bytes.len();
        let (first, rest) = bytes.split_at_mut(count.min(self.before_end(self.start)));
        self.file.read_exact_at(first, self.start)?;
        self.file.read_exact_at(rest, 0)?;
        self.start = (self.start + count as u64) % self.size;
        self.length -= count as u64;
        Ok(())
    }

    fn before_end(&self, at: u64) -> usize {
        usize::try_from(self.size - at).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: usize) -> Vec<u8> {
        format!("line {number}\n").into_bytes()
    }

    fn rest(spool: &Spool) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| spool.take(None).ok()).map(Result::unwrap).collect()
    }

    #[test]
    fn a_spool_returns_lines_unchanged_from_memory_and_file() {
        let spool = Spool::with(64 << 10, Duration::from_millis(1), true);
        spool.set_away(true);
        let mut taken = Vec::new();
        for number in 0..8_000 {
            spool.put(line(number));
            // More lines are added than removed, but never more than fit.
            if number % 3 != 0 {
                taken.push(spool.take(None).unwrap().unwrap());
            }
        }
        spool.end(None);
        taken.extend(rest(&spool));
        assert_eq!((taken.len(), spool.lost()), (8_000, 0));
        assert!(taken.iter().enumerate().all(|(number, taken)| *taken == line(number)));
    }

    #[test]
    fn a_full_spool_drops_lines_without_blocking_the_job() {
        let spool = Spool::with(1_000, Duration::from_millis(1), true);
        spool.set_away(true);
        for number in 0..2_000 {
            spool.put(line(number));
        }
        spool.end(None);
        let kept = rest(&spool);
        assert!((MEMORY_LINES + 40..MEMORY_LINES + 80).contains(&kept.len()), "{}", kept.len());
        assert!(kept.iter().enumerate().all(|(number, kept)| *kept == line(number)));
        assert_eq!(kept.len() as u64 + spool.lost(), 2_000);
    }

    /// Each line waited for two seconds before it was lost.
    #[test]
    fn without_a_file_an_unavailable_service_does_not_block_the_job() {
        let spool = Spool::with(0, Duration::from_secs(86_400), true);
        spool.set_away(true);
        (0..MEMORY_LINES + 3).for_each(|number| spool.put(line(number)));
        spool.end(None);
        assert_eq!((rest(&spool).len(), spool.lost()), (MEMORY_LINES, 3));
    }

    #[test]
    fn a_slow_service_throttles_the_job_without_loss() {
        let spool = Spool::with(1_000, Duration::from_millis(1), true);
        let writing = spool.clone();
        let job = std::thread::spawn(move || {
            (0..5_000).for_each(|number| writing.put(line(number)));
            writing.end(None);
        });
        let taken = rest(&spool);
        job.join().unwrap();
        assert_eq!((taken.len(), spool.lost()), (5_000, 0));
        assert!(taken.iter().enumerate().all(|(number, taken)| *taken == line(number)));
    }

    #[test]
    fn discarded_lines_are_counted() {
        let spool = Spool::with(1_000, Duration::from_millis(1), true);
        (0..10).for_each(|number| spool.put(line(number)));
        assert_eq!(spool.discard(), 10);
        spool.put(line(10));
        spool.end(None);
        assert_eq!((spool.lost(), rest(&spool).len()), (11, 0));
    }
}
