//! Every limit of the service, with its unit and its reason.

use std::time::Duration;

/// Maximum size of the body of a status request: a token in quotes, with ample room. Unit: bytes.
pub(crate) const TOKEN_BODY_BYTES_MAX: usize = 4 << 10;

/// Most records of a live page. Source: `count` of `GET …/logs`.
pub(crate) const LIVE_PAGE_MAX: u64 = 200;

/// Records of a live page when the request names no number. Source: as above.
pub(crate) const LIVE_PAGE_DEFAULT: u64 = 50;

/// Most items of a list. Source: `limit` of the list of executions.
pub(crate) const LIST_PAGE_MAX: u64 = 100;

/// How often the certificate files are checked for changes.
pub(crate) const TLS_LOOK_EVERY: Duration = Duration::from_secs(60);

/// Most executions of one page of the history search. Source: the vendor's history file.
pub(crate) const HISTORY_PAGE_MAX: u64 = 200;

/// Executions of such a page when the search names no number. Source: as above.
pub(crate) const HISTORY_PAGE_DEFAULT: u64 = 50;

/// How far a history search reaches. Unit: pages. Source: as above.
pub(crate) const HISTORY_PAGES_MAX: u64 = 20;

/// Most executions of one download of the history. Source: as above.
pub(crate) const HISTORY_DOWNLOAD_MAX: u64 = 100_000;

/// Executions of such a download when it names no number. Source: as above.
pub(crate) const HISTORY_DOWNLOAD_DEFAULT: u64 = 1_000;

/// How many executions of a download are in memory at a time.
pub(crate) const HISTORY_ROWS_AT_A_TIME: u64 = 1_000;

/// Most conditions of a history search; each is a part of a query.
pub(crate) const HISTORY_FILTERS_MAX: usize = 50;

/// Most values of one condition; a query takes some tens of thousands in all.
pub(crate) const HISTORY_VALUES_MAX: usize = 500;

/// Maximum number of component metrics per page. Source: the vendor's file.
pub(crate) const COMPONENTS_PAGE_MAX: u64 = 200;

/// Figures of such a page when the request names no number. Source: as above.
pub(crate) const COMPONENTS_PAGE_DEFAULT: u64 = 50;

/// How long a run hook may take. A caller waits for it.
pub(crate) const RUN_HOOK_TIME_MAX: Duration = Duration::from_secs(30);

/// Refused lines of a pushed log that the answer lists; the others are counted.
pub(crate) const REFUSED_LINES_SHOWN: usize = 100;

/// How old the known keys for signing may be. Unit: milliseconds.
pub(crate) const KEYS_LOOK_EVERY_MS: i64 = 60_000;

/// The maximum age of cached keys when an unknown key is requested. Unit: milliseconds. Guessing must not cost a query
/// each time.
pub(crate) const KEYS_LOOK_AGAIN_MS: i64 = 1_000;

/// A body may unpack to this whatever its ratio. Unit: bytes.
pub(crate) const UNPACK_BYTES_FREE: u64 = 64 << 20;

/// How much memory pushed bodies may take together while they are read: so many times the longest body of OTLP or of
/// engine events.
pub(crate) const EVENTS_READ_TIMES: usize = 2;

/// How much memory they may take decoded, one alone and all together: so many times the longest body. Ordinary ones take
/// up to ten times their length, and are far shorter than the longest.
pub(crate) const EVENTS_MEMORY_TIMES: usize = 4;

/// The memory for bodies that are read is at least so many times the longest line of a pushed log.
pub(crate) const LINE_READ_TIMES: usize = 2;

/// The memory for what they unfold to is at least so many times the longest line of a pushed log.
pub(crate) const LINE_MEMORY_TIMES: usize = 4;

/// A line of a pushed log is read in its own memory up to this size; beyond it, it waits for shared memory. Unit:
/// bytes. Ordinary lines are far shorter, and a thousand connections should take only some megabytes.
pub(crate) const LINE_BYTES_FREE: usize = 4 << 10;

/// How much of what a long line took a connection keeps for the next. Unit: bytes.
pub(crate) const LINE_BYTES_KEPT: usize = 64 << 10;

/// How many blank lines a pushed body may contain. Unit: bytes. Some clients separate records with one, but none with
/// megabytes.
pub(crate) const BLANK_BYTES_MAX: u64 = 16 << 20;

/// Most lines of a pushed log that cannot be read, where those are skipped.
pub(crate) const REFUSED_LINES_MAX: u64 = 1_000_000;

/// Maximum window of a body compressed with zstd. Unit: bytes. Source: RFC 8878, which requires decoders to support
/// that much.
pub(crate) const ZSTD_WINDOW_MAX: u64 = 8 << 20;

/// The window that a body packed with zstd has memory for at least: that of the default level. Unit: bytes.
pub(crate) const ZSTD_WINDOW_MIN: u64 = 2 << 20;

/// The most that the buffers of one body take, with the largest window. Unit: bytes.
pub(crate) const READ_BUFFERS_MAX: usize = 10 << 20;

/// How long a pushed body waits for memory before it is rejected.
pub(crate) const BODY_MEMORY_WAIT: Duration = Duration::from_secs(5);

/// Streams that one HTTP/2 connection may have open.
pub(crate) const STREAMS_MAX: u32 = 128;

/// How long an HTTP/2 connection may be idle before it is pinged.
pub(crate) const STREAMS_PING_EVERY: Duration = Duration::from_secs(30);

/// Runs that could not be landed, as many as are shown of an upstream.
pub(crate) const PROBLEMS_SHOWN: u64 = 50;

/// Default number of days of runs in a report on a task.
pub(crate) const TASK_REPORT_DAYS: u64 = 30;

/// How many days count as recent in a report of a workspace when the request does not say.
pub(crate) const WORKSPACE_REPORT_DAYS: u64 = 1;

/// Maximum number of days of a report.
pub(crate) const REPORT_DAYS_MAX: u64 = 3_660;

/// Maximum number of records in a request by position: some hundred lines, more than a screen.
pub(crate) const RECORDS_MAX: u64 = 1_000;

/// Most buckets of the histogram of a log: a bucket is at least a pixel or two.
pub(crate) const HISTOGRAM_BUCKETS_MAX: u64 = 1_000;

/// The maximum period of an overview. Unit: hours. Ninety days; for longer periods, there are reports.
pub(crate) const OVERVIEW_HOURS_MAX: u64 = 2_160;

/// Most buckets of an overview.
pub(crate) const OVERVIEW_BUCKETS_MAX: u64 = 200;

/// Most of the last runs that come with each task of an overview.
pub(crate) const RECENT_RUNS_MAX: u64 = 100;

/// Most runs of one page of the runs of a task.
pub(crate) const RUN_LINES_MAX: u64 = 500;

/// How often repeated reads of the same log by the same caller are recorded. Scrolling through a log counts as one
/// read.
pub(crate) const AUDIT_AGAIN_AFTER: Duration = Duration::from_secs(600);

/// Most records of one answer of a search.
pub(crate) const SEARCH_PAGE_MAX: u64 = 200;

/// Records of such an answer when the request names no number.
pub(crate) const SEARCH_PAGE_DEFAULT: u64 = 50;

/// After how long a search answers with what it has. Somebody may be typing.
pub(crate) const SEARCH_TIME_MAX: Duration = Duration::from_millis(800);

/// How much of a message the answer of a search shows. Unit: characters.
pub(crate) const SEARCH_MESSAGE_CHARS_MAX: usize = 1_000;

/// The maximum age of a successful readiness check: a check writes an object, which costs money in a bucket.
pub(crate) const READY_FOR: Duration = Duration::from_secs(5);

/// The maximum age of a failed readiness check: a probe every second should notice the recovery.
pub(crate) const NOT_READY_FOR: Duration = Duration::from_secs(1);

/// Most values of one list in a query, such as tags or ids; each is a part of a query of the catalog, which takes some
/// tens of thousands.
pub(crate) const LIST_VALUES_MAX: usize = 500;

/// The longest FIQL query of a list. Unit: bytes.
pub(crate) const FIQL_BYTES_MAX: usize = 8 << 10;

/// Most comparisons of a FIQL query.
pub(crate) const FIQL_COMPARISONS_MAX: usize = 100;

/// Most values of all conditions of a history search together; a query of the catalog takes some tens of thousands.
pub(crate) const HISTORY_VALUES_SUM_MAX: usize = 5_000;

/// How long tokens that were found good, and accounts that signed in, are kept in mind: they are let in where an address
/// or an account is at its limit for failures.
pub(crate) const VERIFIED_FOR: Duration = Duration::from_secs(3_600);

/// Maximum number of entries; each takes 32 bytes and some overhead.
pub(crate) const VERIFIED_MAX: usize = 10_000;

/// Maximum burst of sign-ins of one account with a wrong secret; then one per second. A user who mistyped a secret does
/// not have to wait, and 256 bits cannot be guessed.
pub(crate) const ACCOUNT_FAILURES_AT_ONCE: u32 = 10;

/// Least number of connections that may be open and have sent nothing; as many as are served at a time, where that is more.
pub(crate) const SILENT_MIN: usize = 256;

/// How much of the first bytes of a connection is read before it takes its place. Unit: bytes.
pub(crate) const FIRST_BYTES: usize = 1 << 10;

/// Maximum number of keys of one limit: callers, addresses, accounts. Beyond that, keys within their limits are
/// removed, or all.
pub(crate) const RATE_LIMITED_KEYS_MAX: usize = 100_000;

/// What protects the service from requests that are too large and clients that are too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections that are served at a time; further ones wait. As many may be open besides that have sent nothing yet;
    /// where more come, those that have been silent for longest are closed. Default: 4,096.
    pub connections_max: usize,
    /// How long a client may take to send its first byte, to agree on TLS and to send the head of a request, and how long
    /// it may stay silent between two requests. Default: 30 s.
    pub head_time_max: Duration,
    /// Idle timeout of a body. Unit: time without a byte. Default: 60 s.
    pub body_silence_max: Duration,
    /// The longest head of a request, its header lines together. Unit: bytes. Default: 64 KiB.
    pub head_bytes_max: usize,
    /// The longest body of a request that is not a log. Unit: bytes. Default: 1 MiB; such bodies name a few things.
    pub body_bytes_max: usize,
    /// The longest body of an OTLP request or of engine events, unpacked: such a body is read whole. Unit: bytes.
    /// Decoded, it may take four times as much memory, and so may all of them together. Default: 64 MiB.
    pub events_bytes_max: usize,
    /// The longest line of a pushed log. Unit: bytes. Default: 16 MiB; a record must fit into memory many times.
    pub line_bytes_max: usize,
    /// How many times its packed size a pushed body may unpack to, above the first 64 MiB. Default: 2,000; logs that
    /// repeat themselves reach some hundreds.
    pub unpack_ratio_max: u64,
    /// Maximum concurrent searches, searches in a log, and histograms; further ones wait. Default: 8. Each takes some
    /// tens of megabytes.
    pub searches_max: usize,
    /// Pages of logs that are read or requested at a time; further ones wait. Default: 64. Each takes up to some megabytes.
    pub page_reads_max: usize,
    /// Whole logs that are downloaded at a time; further ones wait. Default: 16. Each takes some tens of megabytes.
    pub downloads_max: usize,
    /// How long a request waits for one of these to end before it is rejected. Default: 5 s.
    pub turn_wait_max: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_max: 4_096,
            head_time_max: Duration::from_secs(30),
            body_silence_max: Duration::from_secs(60),
            head_bytes_max: 64 << 10,
            body_bytes_max: 1 << 20,
            events_bytes_max: 64 << 20,
            line_bytes_max: 16 << 20,
            unpack_ratio_max: 2_000,
            searches_max: 8,
            page_reads_max: 64,
            downloads_max: 16,
            turn_wait_max: Duration::from_secs(5),
        }
    }
}
