//! Metrics of this process from the operating system; values that it does not provide are omitted.

use std::path::Path;

/// The clock ticks in which Linux counts processor time. Unit: per second. Linux reports the same value to programs on
/// every machine.
const TICKS_PER_SECOND: f64 = 100.0;

/// Metrics of this process; each is absent if the system does not provide it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct ProcessMetrics {
    /// Resident memory. Unit: bytes.
    pub(crate) resident_bytes: Option<u64>,
    /// Virtual memory. Unit: bytes.
    pub(crate) virtual_bytes: Option<u64>,
    /// Processor time. Unit: seconds.
    pub(crate) cpu_seconds: Option<f64>,
    /// Number of open file descriptors.
    pub(crate) open_fds: Option<u64>,
    /// Maximum number of open file descriptors.
    pub(crate) max_fds: Option<u64>,
}

impl ProcessMetrics {
    /// Reads the current values.
    pub(crate) fn read() -> Self {
        Self::below(Path::new("/proc/self"))
    }

    fn below(folder: &Path) -> Self {
        let text = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        let status = text("status");
        let kilobytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
        };
        Self {
            resident_bytes: kilobytes("VmRSS"),
            virtual_bytes: kilobytes("VmSize"),
            cpu_seconds: cpu_seconds(&text("stat")),
            open_fds: std::fs::read_dir(folder.join("fd")).ok().map(|files| files.count() as u64),
            max_fds: max_fds(&text("limits")),
        }
    }
}

/// The time in user and system code: fields 14 and 15. The second field is the name of the program in brackets, which
/// may contain anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

/// The soft limit; none if there is none.
fn max_fds(limits: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_system_are_read_and_their_lack_is_no_figure() {
        let folder = tempfile::tempdir().unwrap();
        let nothing = ProcessMetrics::below(folder.path());
        assert_eq!(nothing, ProcessMetrics::default());
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("status", "Name:\trunlog\nVmSize:\t  300000 kB\nVmRSS:\t   65536 kB\n");
        write("stat", "7 (a (b) c) S 1 7 7 0 -1 4194560 1 0 0 0 250 150 0 0 20 0 9 0 100 1 1\n");
        write("limits", "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024  524288  files\n");
        std::fs::create_dir(folder.path().join("fd")).unwrap();
        write("fd/0", "");
        write("fd/1", "");
        let expected = ProcessMetrics {
            resident_bytes: Some(64 << 20),
            virtual_bytes: Some(300_000 << 10),
            cpu_seconds: Some(4.0),
            open_fds: Some(2),
            max_fds: Some(1_024),
        };
        assert_eq!(ProcessMetrics::below(folder.path()), expected);
        assert_eq!(max_fds("Max open files  unlimited  unlimited  files\n"), None);
    }
}
