//! Every limit of the service, with its unit and its reason.

use std::time::Duration;

/// The longest body of a request that is not a log. Unit: bytes. Such bodies name a few things.
pub(crate) const JSON_BODY_BYTES_MAX: usize = 1 << 20;

/// The longest body of a status request: a token in quotes, with room to spare. Unit: bytes.
pub(crate) const TOKEN_BODY_BYTES_MAX: usize = 4 << 10;

/// The longest body of an OTLP request, unpacked: such a body is read whole. Unit: bytes.
pub(crate) const OTLP_BODY_BYTES_MAX: usize = 64 << 20;

/// The longest line of a pushed log. Unit: bytes. One record must fit into memory many times.
pub(crate) const LINE_BYTES_MAX: usize = 16 << 20;

/// How many times its compressed size a pushed body may unpack to; logs that repeat themselves reach some hundreds.
pub(crate) const UNPACK_RATIO_MAX: u64 = 2_000;

/// A body may unpack to this whatever its ratio. Unit: bytes.
pub(crate) const UNPACK_BYTES_FREE: u64 = 64 << 20;

/// Most records of a live page. Source: `count` of `GET …/logs`.
pub(crate) const LIVE_PAGE_MAX: u64 = 200;

/// Records of a live page when the request names no number. Source: as above.
pub(crate) const LIVE_PAGE_DEFAULT: u64 = 50;

/// Most items of a list. Source: `limit` of the list of executions.
pub(crate) const LIST_PAGE_MAX: u64 = 100;

/// How long a client may take to send the head of a request. A slow one must not hold a connection for nothing.
pub(crate) const HEAD_TIME_MAX: Duration = Duration::from_secs(30);

/// How often the files of the certificate are looked at for a change.
pub(crate) const TLS_LOOK_EVERY: Duration = Duration::from_secs(60);

/// How long a pushed log may stand still. Unit: time without a byte.
pub(crate) const BODY_SILENCE_MAX: Duration = Duration::from_secs(60);

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

/// How long a run hook may take. A caller waits for it.
pub(crate) const RUN_HOOK_TIME_MAX: Duration = Duration::from_secs(30);

/// How old the known keys for signing may be. Unit: milliseconds.
pub(crate) const KEYS_LOOK_EVERY_MS: i64 = 60_000;

/// How old they may be when one is asked for that is not known. Unit: milliseconds. Guessing must not cost a query each.
pub(crate) const KEYS_LOOK_AGAIN_MS: i64 = 1_000;
