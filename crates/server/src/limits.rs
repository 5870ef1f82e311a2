//! Every limit of the service, with its unit and reason.

use std::time::Duration;

/// Maximum size of the body of a status request: a token in quotes, with ample room. Unit: bytes.
pub(crate) const TOKEN_BODY_BYTES_MAX: usize = 4 << 10;

/// Maximum number of records of a live page. Source: `count` of `GET …/logs`.
pub(crate) const LIVE_PAGE_MAX: u64 = 200;

/// Default number of records of a live page. Source: as above.
pub(crate) const LIVE_PAGE_DEFAULT: u64 = 50;

/// Maximum number of items of a list. Source: `limit` of the list of executions.
pub(crate) const LIST_PAGE_MAX: u64 = 100;

/// How often the certificate files are checked for changes.
pub(crate) const TLS_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// Maximum number of executions per page of the history search. Source: the vendor's history file.
pub(crate) const HISTORY_PAGE_MAX: u64 = 200;

/// Default number of executions of such a page. Source: as above.
pub(crate) const HISTORY_PAGE_DEFAULT: u64 = 50;

/// Maximum number of pages of a history search. Source: as above.
pub(crate) const HISTORY_PAGES_MAX: u64 = 20;

/// Maximum number of executions per download of the history. Source: as above.
pub(crate) const HISTORY_DOWNLOAD_MAX: u64 = 100_000;

/// Default number of executions of such a download. Source: as above.
pub(crate) const HISTORY_DOWNLOAD_DEFAULT: u64 = 1_000;

/// Number of executions of a download that are in memory at a time.
pub(crate) const HISTORY_ROWS_AT_A_TIME: u64 = 1_000;

/// Maximum number of conditions of a history search; each is a part of a query.
pub(crate) const HISTORY_FILTERS_MAX: usize = 50;

/// Maximum number of values of a condition; a query takes some tens of thousands in all.
pub(crate) const HISTORY_VALUES_MAX: usize = 500;

/// Maximum number of component metrics per page. Source: the vendor's file.
pub(crate) const COMPONENTS_PAGE_MAX: u64 = 200;

/// Default number of such metrics. Source: as above.
pub(crate) const COMPONENTS_PAGE_DEFAULT: u64 = 50;

/// Maximum offset of a search for component metrics: the catalog reads what is skipped.
pub(crate) const COMPONENTS_OFFSET_MAX: u64 = 100_000;

/// How much larger component metrics are in memory than in the body of a request, at most: most of a body are names.
pub(crate) const COMPONENTS_DECODED_FACTOR: usize = 8;

/// Maximum number of audit logs of the tenant per page. Source: the vendor's file.
pub(crate) const AUDIT_LOG_PAGE_MAX: u64 = 1_000;

/// Default number of such entries. Source: as above.
pub(crate) const AUDIT_LOG_PAGE_DEFAULT: u64 = 100;

/// The largest number of a page: as many as a number of the archive can count.
pub(crate) const AUDIT_LOG_PAGES_MAX: u64 = 1 << 31;

/// Maximum time of a run hook, for which a caller waits.
pub(crate) const RUN_HOOK_TIME_MAX: Duration = Duration::from_secs(30);

/// Maximum number of refused lines of a pushed log that are listed in the response; the others are counted.
pub(crate) const REFUSED_LINES_SHOWN: usize = 100;

/// Maximum age of cached signing keys. Unit: milliseconds.
pub(crate) const KEYS_REFRESH_MS: i64 = 60_000;

/// The maximum age of cached keys when an unknown key is requested. Unit: milliseconds. Guessing must not cost a query
/// each time.
pub(crate) const KEYS_RETRY_MS: i64 = 1_000;

/// How long the document and the keys of the identity provider are used before they are read again.
pub(crate) const OIDC_METADATA_LIFE: Duration = Duration::from_secs(3_600);

/// How long a failure to read the document of the identity provider, or its lack of a key, is remembered.
pub(crate) const OIDC_RETRY_AFTER: Duration = Duration::from_secs(10);

/// The largest response of the identity provider. Unit: bytes.
pub(crate) const OIDC_ANSWER_BYTES_MAX: usize = 1 << 20;

/// How long a browser may take to sign in at the identity provider. Unit: seconds.
pub(crate) const OIDC_SIGN_IN_SECONDS_MAX: i64 = 900;

/// How long the check of a session is reserved for one node, and until it is tried again if the provider does not
/// respond.
pub(crate) const OIDC_CHECK_TIME_MAX: Duration = Duration::from_secs(60);

/// Lifetime of a session that cannot be checked, and how long sessions continue while the provider does not respond.
pub(crate) const OIDC_UNCHECKED_SESSION_LIFE: Duration = Duration::from_secs(3_600);

/// Bodies up to this decompressed size are accepted whatever their compression ratio. Unit: bytes.
pub(crate) const UNPACK_BYTES_FREE: u64 = 64 << 20;

/// The memory for pushed bodies while they are read, as a multiple of the longest body of OTLP or engine events.
pub(crate) const EVENTS_READ_TIMES: usize = 2;

/// The memory for decoded bodies, of one body and of all together, as a multiple of the longest body. Ordinary bodies
/// take up to ten times their length, and are far shorter than the longest.
pub(crate) const EVENTS_MEMORY_TIMES: usize = 4;

/// The memory for bodies that are read is at least this multiple of the longest line of a pushed log.
pub(crate) const LINE_READ_TIMES: usize = 2;

/// The memory for decoded lines is at least this multiple of the longest line of a pushed log.
pub(crate) const LINE_MEMORY_TIMES: usize = 4;

/// A line of a pushed log is read in its own memory up to this size; beyond it, it waits for shared memory. Unit:
/// bytes. Ordinary lines are far shorter, and a thousand connections should take only some megabytes.
pub(crate) const LINE_BYTES_FREE: usize = 4 << 10;

/// Maximum capacity of the buffer that a connection keeps after a long line. Unit: bytes.
pub(crate) const LINE_BYTES_KEPT: usize = 64 << 10;

/// Maximum size of the blank lines in a pushed body. Unit: bytes. Some clients separate records with one, but none with
/// megabytes.
pub(crate) const BLANK_BYTES_MAX: u64 = 16 << 20;

/// Maximum number of invalid lines of a pushed log that are skipped.
pub(crate) const REFUSED_LINES_MAX: u64 = 1_000_000;

/// Maximum window of a body compressed with zstd. Unit: bytes. Source: RFC 8878, which requires decoders to support
/// that much.
pub(crate) const ZSTD_WINDOW_MAX: u64 = 8 << 20;

/// Minimum window for which a zstd body reserves memory: that of the default level. Unit: bytes.
pub(crate) const ZSTD_WINDOW_MIN: u64 = 2 << 20;

/// Maximum size of the buffers of one body, with the largest window. Unit: bytes.
pub(crate) const READ_BUFFERS_MAX: usize = 10 << 20;

/// How long a pushed body waits for memory before it is rejected.
pub(crate) const BODY_MEMORY_WAIT: Duration = Duration::from_secs(5);

/// Maximum number of streams per HTTP/2 connection.
pub(crate) const STREAMS_MAX: u32 = 128;

/// Idle time of an HTTP/2 connection after which it is pinged.
pub(crate) const STREAMS_PING_EVERY: Duration = Duration::from_secs(30);

/// Maximum number of failing runs that are shown per upstream.
pub(crate) const PROBLEMS_SHOWN: u64 = 50;

/// Default number of days of runs in a report on a task.
pub(crate) const TASK_REPORT_DAYS: u64 = 30;

/// Default number of days that count as recent in a report of a workspace.
pub(crate) const WORKSPACE_REPORT_DAYS: u64 = 1;

/// Maximum number of days of a report.
pub(crate) const REPORT_DAYS_MAX: u64 = 3_660;

/// Maximum number of records in a request by position: some hundred lines, more than a screen.
pub(crate) const RECORDS_MAX: u64 = 1_000;

/// Maximum number of buckets of the histogram of a log: a bucket is at least a pixel or two.
pub(crate) const HISTOGRAM_BUCKETS_MAX: u64 = 1_000;

/// The maximum period of an overview. Unit: hours. Ninety days; for longer periods, there are reports.
pub(crate) const OVERVIEW_HOURS_MAX: u64 = 2_160;

/// Maximum number of buckets of an overview.
pub(crate) const OVERVIEW_BUCKETS_MAX: u64 = 200;

/// Maximum number of latest runs per task of an overview.
pub(crate) const RECENT_RUNS_MAX: u64 = 100;

/// Maximum number of runs per page of the runs of a task.
pub(crate) const RUN_LINES_MAX: u64 = 500;

/// How often repeated reads of the same log by the same caller are recorded. Scrolling through a log counts as one
/// read.
pub(crate) const AUDIT_AGAIN_AFTER: Duration = Duration::from_secs(600);

/// Maximum number of records per response of a search.
pub(crate) const SEARCH_PAGE_MAX: u64 = 200;

/// Maximum number of tasks that are listed with a problem.
pub(crate) const PROBLEM_TASKS_MAX: u64 = 100;

/// Maximum number of runs that are listed with a problem.
pub(crate) const PROBLEM_RUNS_MAX: u64 = 50;

/// How far back a preview of alerts searches. Unit: days.
pub(crate) const ALERT_PREVIEW_DAYS_MAX: u64 = 14;

/// How long a preview of alerts may take.
pub(crate) const ALERT_PREVIEW_TIME_MAX: Duration = Duration::from_secs(20);

/// Most values that are listed of a facet; the others are counted together.
pub(crate) const FACET_VALUES_MAX: usize = 20;

/// Longest component that is searched for, and most of them. Unit: characters; components.
pub(crate) const SEARCH_COMPONENTS_MAX: usize = 50;

/// Digits of the ID of a run in the name of a downloaded file.
pub(crate) const FILE_NAME_ID_CHARS: usize = 8;

/// Longest name of a task in the name of a downloaded file. Unit: characters.
pub(crate) const FILE_NAME_TASK_CHARS: usize = 80;

/// Default number of records per response of a search.
pub(crate) const SEARCH_PAGE_DEFAULT: u64 = 50;

/// Maximum time of a search, after which it responds with partial results. The user may still be typing.
pub(crate) const SEARCH_TIME_MAX: Duration = Duration::from_millis(800);

/// Maximum number of logs that are followed over a WebSocket at a time.
pub(crate) const TAILS_MAX: usize = 64;

/// Maximum length of a message in the response of a search. Unit: characters.
pub(crate) const SEARCH_MESSAGE_CHARS_MAX: usize = 1_000;

/// The maximum age of a successful readiness check: a check writes an object, which costs money in a bucket.
pub(crate) const READY_FOR: Duration = Duration::from_secs(5);

/// The maximum age of a failed readiness check: a probe every second should notice the recovery.
pub(crate) const NOT_READY_FOR: Duration = Duration::from_secs(1);

/// Maximum number of values of a list in a request, such as tags or IDs; each is a part of a query of the catalog,
/// which takes some tens of thousands.
pub(crate) const LIST_VALUES_MAX: usize = 500;

/// The longest FIQL query of a list. Unit: bytes.
pub(crate) const FIQL_BYTES_MAX: usize = 8 << 10;

/// Maximum number of comparisons of a FIQL query.
pub(crate) const FIQL_COMPARISONS_MAX: usize = 100;

/// Maximum number of values of all conditions of a history search; a query of the catalog takes some tens of thousands.
pub(crate) const HISTORY_VALUES_SUM_MAX: usize = 5_000;

/// How long verified tokens, and accounts that have signed in, are remembered: they are accepted even if an address or
/// an account is at its limit for failures.
pub(crate) const VERIFIED_FOR: Duration = Duration::from_secs(3_600);

/// Maximum number of entries; each takes 32 bytes and some overhead.
pub(crate) const VERIFIED_MAX: usize = 10_000;

/// Maximum burst of sign-ins of one account with a wrong secret; then one per second. A user who mistyped a secret does
/// not have to wait, and 256 bits cannot be guessed.
pub(crate) const ACCOUNT_FAILURES_AT_ONCE: u32 = 10;

/// Minimum limit of idle connections that have sent nothing; it is the number of served connections if that is larger.
pub(crate) const SILENT_MIN: usize = 256;

/// Maximum number of bytes that are read from a connection before it counts as active.
pub(crate) const FIRST_BYTES: usize = 1 << 10;

/// Maximum number of keys of one limit: callers, addresses, accounts. Beyond that, keys within their limits are
/// removed, or all.
pub(crate) const RATE_LIMITED_KEYS_MAX: usize = 100_000;

/// How many connections wait in the system until the service accepts them; the system may allow less (`somaxconn`). Of
/// more, the system resets some without an answer while a service is busy. The default of the library is 128.
pub(crate) const BACKLOG: i32 = 4_096;

/// How many runs of a request are looked up, started and filled together.
pub(crate) const INTAKE_RUNS_AT_ONCE: usize = 256;

/// How long messages of a syslog connection are collected before they are stored together.
pub(crate) const SYSLOG_BATCH_TIME: Duration = Duration::from_millis(500);

/// Size of messages of a syslog connection that are stored together. Unit: bytes.
pub(crate) const SYSLOG_BATCH_BYTES: usize = 256 << 10;

/// Memory of all batches of syslog that are being decoded. Unit: bytes. A message of the greatest length must fit in.
pub(crate) const SYSLOG_MEMORY_BYTES: usize = 256 << 20;

/// How much of a syslog connection is read at a time. Unit: bytes.
pub(crate) const SYSLOG_READ_BYTES: usize = 16 << 10;

/// How long to wait before a batch of syslog is tried again; doubled each time.
pub(crate) const SYSLOG_PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest wait before a batch of syslog is tried again.
pub(crate) const SYSLOG_PAUSE_MAX: Duration = Duration::from_secs(5);

/// How often a batch of syslog is tried that fails although the archive is available.
pub(crate) const SYSLOG_FAULTS_MAX: u32 = 5;

/// How long batches of syslog are still tried after the service was stopped.
pub(crate) const SYSLOG_STOP_TIME: Duration = Duration::from_secs(10);

/// How long data that has already arrived is still read after the service was stopped.
pub(crate) const SYSLOG_DRAIN_TIME: Duration = Duration::from_secs(10);

/// A connection without a byte for this long has been read to its end, after the service was stopped.
pub(crate) const SYSLOG_DRAIN_PAUSE: Duration = Duration::from_millis(50);

/// The most frequent that one kind of event of syslog is logged.
pub(crate) const SYSLOG_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// How often the number of lost datagrams is read.
pub(crate) const SYSLOG_CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// How long after the end of a day its runs of syslog end: messages are on their way, and clocks differ.
pub(crate) const SYSLOG_DAY_GRACE: Duration = Duration::from_secs(600);

/// Interval between checks for days that are over, whose runs of syslog are to be ended.
pub(crate) const SYSLOG_DAYS_EVERY: Duration = Duration::from_secs(5);

/// How many runs of syslog that are to be ended are listed at a time.
pub(crate) const SYSLOG_DAYS_RUNS: u64 = 500;

/// When and how often the system asks whether the other side of an idle connection still exists.
pub(crate) const CONNECTION_KEEP_ALIVE: Duration = Duration::from_secs(60);

/// The longest TLS handshake of a syslog connection.
pub(crate) const SYSLOG_HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// The buffer of the system for what a syslog connection has received. Unit: bytes.
pub(crate) const SYSLOG_TCP_BUFFER_BYTES: usize = 256 << 10;

/// The buffer of the system for datagrams; it may allow less. Unit: bytes.
pub(crate) const SYSLOG_UDP_BUFFER_BYTES: usize = 8 << 20;

/// Datagrams that wait while others are stored; then the buffer of the system fills. Unit: bytes.
pub(crate) const SYSLOG_UDP_WAITING_BYTES: usize = 16 << 20;

/// Maximum size of the first messages of a client of PostgreSQL, before it is signed in. Unit: bytes. Source:
/// PostgreSQL.
pub(crate) const POSTGRES_STARTUP_BYTES_MAX: usize = 10_000;

/// How much is read from such a client at a time. Unit: bytes.
pub(crate) const POSTGRES_READ_BYTES: usize = 8 << 10;

/// How many bytes from such a client are read while its statement runs, to detect a closed connection. Unit: bytes.
pub(crate) const POSTGRES_READ_AHEAD_BYTES: usize = 64 << 10;

/// How much is collected before it is sent to such a client. Unit: bytes.
pub(crate) const POSTGRES_OUTPUT_BYTES: usize = 64 << 10;

/// Maximum capacity of the buffer that a session keeps after a long row. Unit: bytes.
pub(crate) const POSTGRES_OUTPUT_BYTES_KEPT: usize = 1 << 20;

/// How long a session waits for its client to receive what was sent: as long as a query may take by default.
pub(crate) const POSTGRES_WRITE_TIME_MAX: Duration = Duration::from_secs(300);

/// How long a session waits for the end of TLS.
pub(crate) const POSTGRES_CLOSE_TIME_MAX: Duration = Duration::from_secs(1);

/// How long a session may be idle. Pools of connections keep some for long.
pub(crate) const POSTGRES_IDLE_MAX: Duration = Duration::from_secs(3_600);

/// Maximum number of prepared statements of a session. Drivers keep up to 256.
pub(crate) const POSTGRES_STATEMENTS_MAX: usize = 1_000;

/// Maximum length of all prepared statements of a session, with their names and the types of their parameters. Unit:
/// bytes.
pub(crate) const POSTGRES_STATEMENT_BYTES_MAX: usize = 1 << 20;

/// Length of the prepared statements of a session that are kept as they were parsed, which takes up to 200 times as
/// much memory; others are parsed again for each use. Unit: bytes.
pub(crate) const POSTGRES_PARSED_BYTES_MAX: usize = 64 << 10;

/// Maximum length of the statements that declare the open cursors of a session. Unit: bytes. The longest one fits.
pub(crate) const POSTGRES_CURSOR_BYTES_MAX: usize = 256 << 10;

/// Maximum length of the name of a statement or a portal. Unit: bytes. Source: PostgreSQL.
pub(crate) const POSTGRES_NAME_BYTES_MAX: usize = 63;

/// Length of a statement whose parsing does not count as a request of its caller. Unit: bytes.
pub(crate) const POSTGRES_TEXT_BYTES_FREE: usize = 4 << 10;

/// Memory that a parameter of a portal takes besides its value. Unit: bytes.
pub(crate) const POSTGRES_PARAMETER_BYTES: usize = 64;

/// Maximum size of the parameters of all portals of a session, with their formats. Unit: bytes.
pub(crate) const POSTGRES_PARAMETER_BYTES_MAX: usize = 2 << 20;

/// Maximum number of portals and cursors of a session; each has its parameters.
pub(crate) const POSTGRES_PORTALS_MAX: usize = 16;

/// How long the listener waits after it could not accept a connection.
pub(crate) const POSTGRES_ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Protects the service from requests that are too large and clients that are too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Maximum number of connections that are served at a time; further ones wait. The same number of idle connections
    /// may be open in addition; beyond that, those that have been idle for longest are closed. Default: 4,096.
    pub connections_max: usize,
    /// Maximum time for the first byte, the TLS handshake and the head of a request, and between two requests. Default:
    /// 30 s.
    pub head_time_max: Duration,
    /// Maximum time without a byte of a body, and without a client receiving anything of what is sent to it. Default:
    /// 60 s.
    pub body_silence_max: Duration,
    /// Maximum size of the head of a request. Unit: bytes. Default: 64 KiB.
    pub head_bytes_max: usize,
    /// Maximum size of the body of a request that is not a log. Unit: bytes. Default: 1 MiB.
    pub body_bytes_max: usize,
    /// Maximum decompressed size of the body of an OTLP request or of engine events, which is read completely. Unit:
    /// bytes. Decoded, it may take four times as much memory, and so may all of them together. Default: 64 MiB.
    pub events_bytes_max: usize,
    /// Maximum length of a line of a pushed log. Unit: bytes. Default: 16 MiB; several copies of a record must fit into
    /// memory.
    pub line_bytes_max: usize,
    /// Maximum compression ratio of a pushed body, beyond the first 64 MiB. Default: 2,000; repetitive logs reach some
    /// hundreds.
    pub unpack_ratio_max: u64,
    /// Maximum concurrent searches, searches in a log, and histograms; further ones wait. Default: 8. Each takes some
    /// tens of megabytes.
    pub searches_max: usize,
    /// Maximum number of pages of logs that are read or requested concurrently; further ones wait. Default: 64. Each
    /// takes up to some megabytes.
    pub page_reads_max: usize,
    /// Maximum number of concurrent downloads of whole logs; further ones wait. Default: 16. Each takes some tens of
    /// megabytes.
    pub downloads_max: usize,
    /// Maximum time that a request waits for one of these limits. Default: 5 s.
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
