//! Every limit of the archive, with its unit and its reason.

/// Most records that one segment object holds of one batch. Unit: records.
///
/// A page reads few of them whole, and one fits into memory many times.
pub const SEGMENT_RECORDS_MAX: usize = 65_536;

/// Most memory that the records of a segment take before it is written. Unit: bytes.
///
/// Bounds the memory of a push, whatever the length of its messages.
pub const SEGMENT_BYTES_MAX: usize = 8 << 20;

/// Plain bytes in one compressed frame of a page file. Unit: bytes.
///
/// A range request decompresses at most this much in vain at each end.
pub const PAGE_FRAME_BYTES: usize = 1 << 20;

/// How many slices the catalog is asked for at a time. Unit: rows.
pub const SLICES_AT_A_TIME: i64 = 64;

/// How long a claimed page may be built before another builder takes it over. Unit: milliseconds.
pub const PAGE_CLAIM_MS: i64 = 120_000;

/// How often a page is tried before its request fails. Unit: attempts.
pub const PAGE_ATTEMPTS_MAX: i64 = 3;

/// How old an object without a row must be before it is swept. Unit: milliseconds.
///
/// Longer than any batch takes from its first object to its row.
pub const ORPHAN_AGE_MS: i64 = 6 * 3_600_000;

/// How often expired pages and orphan objects are looked for. Unit: milliseconds.
pub const SWEEP_EVERY_MS: u64 = 600_000;

/// The longest batch id. Unit: bytes.
pub const BATCH_ID_BYTES_MAX: usize = 200;

/// Connections that read the catalog at a time.
pub const CATALOG_READERS: u32 = 8;

/// How often a caller's last use is written down. Unit: milliseconds.
pub const LAST_USE_EVERY_MS: i64 = 60_000;

/// How long after a key was superseded something that it signed may still be good. Unit: milliseconds.
///
/// Access tokens and links live an hour at most; this is far longer.
pub const SIGNED_LIFE_MS_MAX: i64 = 48 * 3_600_000;

/// Most small writes in one commit. Unit: writes. Each takes some tens of microseconds, and others wait meanwhile.
pub const GROUP_WRITES_MAX: usize = 500;

/// Connections to PostgreSQL, of each node.
pub const POSTGRES_CONNECTIONS: u32 = 16;

/// How long a statement may take in PostgreSQL. Unit: milliseconds.
pub const STATEMENT_MS_MAX: u32 = 60_000;

/// How long a statement may wait for rows that another node holds. Unit: milliseconds.
pub const LOCK_WAIT_MS_MAX: u32 = 20_000;
