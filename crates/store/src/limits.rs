//! Every limit of the archive, with its unit and its reason.

use std::time::Duration;

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

/// How hard page files are compressed. Somebody waits for one, and it lives for an hour: decision 0010 has the figures.
pub const PAGE_ZSTD_LEVEL: i32 = -2;

/// How many slices the catalog is asked for at a time. Unit: rows.
pub const SLICES_AT_A_TIME: i64 = 64;

/// How long a builder has a page in its hands without being heard of. Unit: milliseconds.
///
/// A page takes some tens of milliseconds; whoever takes longer renews the lease. What a node that was killed had in its
/// hands waits for this long.
pub const PAGE_LEASE_MS: i64 = 8_000;

/// How often a builder renews its lease of a page. Unit: milliseconds. Three may fail.
pub const PAGE_LEASE_RENEW_MS: u64 = 2_000;

/// After how many failed attempts whoever asks for a page is told that it cannot be built. Unit: attempts.
///
/// It is tried further all the same: what was wrong may be put right.
pub const PAGE_ATTEMPTS_MAX: i64 = 3;

/// How long after its n-th attempt began a page is tried again: n - 1 squared times this. Unit: milliseconds.
///
/// Three attempts in some seconds, thirteen in the hour of a token.
pub const PAGE_RETRY_MS: i64 = 5_000;

/// How long a page waits at most for its next attempt when the bucket or the catalog was away. Unit: milliseconds.
pub const PAGE_UNAVAILABLE_RETRY_MS_MAX: i64 = 15_000;

/// How long a page may be built in one of the places for usual pages. Unit: milliseconds.
///
/// Then it goes on in one of as many places for those that take long, where one is free, and holds up no other.
pub const PAGE_SHORT_BUILD_MS: u64 = 2_000;

/// How long a download waits until a damaged page file was built again. Unit: milliseconds.
pub const PAGE_REBUILD_MS: u64 = 20_000;

/// How long after the last sign of whoever writes it an object without a row is swept. Unit: milliseconds.
///
/// Nothing is lost when it is too short: the commit of what was swept fails. Earlier versions, which may write to the same
/// archive during an upgrade, note no intents, and give a batch half of this time.
pub const ORPHAN_AGE_MS: i64 = 6 * 3_600_000;

/// How often whoever writes for long says that it goes on. Unit: milliseconds. Far less than the time after which its
/// objects are swept.
pub const INTENTS_RENEW_MS: i64 = 3_600_000;

/// How long an intent may lie unused before another is made in its place. Unit: milliseconds.
pub const INTENTS_UNUSED_MS: i64 = 3_600_000;

/// Most intents that one transaction makes ahead. Unit: rows. It waits for the disk, as each commit does: so it adds a
/// sixty-fourth to what many commits take.
pub const INTENTS_AHEAD_MAX: usize = 64;

/// How often objects whose intents were swept are written anew before their batches fail. Unit: attempts.
pub const WRITE_ATTEMPTS_MAX: u32 = 3;

/// Objects that are deleted at a time after the rows of a log are gone. Unit: objects.
pub const CONCURRENT_DELETIONS_MAX: usize = 8;

/// Deletions of logs that may fail in a row before retention gives up for the moment: the catalog is away then.
pub const RETENTION_FAILURES_MAX: u32 = 3;

/// How often a transaction is made again that gave way to another. Unit: attempts.
pub const CONTENTION_ATTEMPTS_MAX: u32 = 7;

/// The first wait before that; each further one is twice as long, with up to as much again by chance. Unit: milliseconds.
/// All together take some seconds.
pub const CONTENTION_WAIT_MS: u64 = 5;

/// How often expired pages and orphan objects are looked for. Unit: milliseconds.
pub const SWEEP_EVERY_MS: u64 = 600_000;

/// How often they are looked for among all objects, and not only among those of the last days. Unit: milliseconds.
pub const SWEEP_ALL_EVERY_MS: i64 = DAY_MS;

/// How many objects are looked up in the catalog by one query. Unit: objects.
pub const OBJECT_LOOKUP_BATCH: usize = 500;

/// How long a batch is known by its id: sent again later, it is stored again. Unit: milliseconds.
///
/// Longer than any engine tries again; there are more batches than runs, so their ids must not stay for ever.
pub const BATCH_ID_RETENTION_MS: i64 = 30 * DAY_MS;

/// How many batch ids one statement forgets. Unit: rows. Others wait meanwhile.
pub const BATCH_IDS_DELETE_BATCH: i64 = 10_000;

/// The longest batch id. Unit: bytes.
pub const BATCH_ID_BYTES_MAX: usize = 200;

/// Connections that read the catalog at a time.
pub const CATALOG_READERS: u32 = 8;

/// How often a caller's last use is written down. Unit: milliseconds.
pub const LAST_USE_UPDATE_MS: i64 = 60_000;

/// How long after a key was superseded something that it signed may still be good. Unit: milliseconds.
///
/// Access tokens and links live an hour at most; this is far longer.
pub const SIGNATURE_TTL_MS_MAX: i64 = 48 * 3_600_000;

/// Most small writes in one commit. Unit: writes. Each takes some tens of microseconds, and others wait meanwhile.
pub const GROUP_WRITES_MAX: usize = 500;

/// Connections to PostgreSQL, of each node.
pub const POSTGRES_CONNECTIONS: u32 = 16;

/// How long a call waits for a connection to PostgreSQL, and asks again while the server is restarted.
///
/// A restart takes some seconds; whoever waits for longer is told to come again.
pub const CATALOG_WAIT: Duration = Duration::from_secs(8);

/// How long requests to a bucket are sent again that it refuses or breaks off.
///
/// Whoever waits for longer is told to come again.
pub const BUCKET_WAIT: Duration = Duration::from_secs(4);

/// How long a bucket may take to begin an answer to a read, with all that is sent again; after that it is asked once more.
pub const BUCKET_ANSWER: Duration = Duration::from_secs(6);

/// How long nothing more of an answer may come until the rest is asked for anew.
pub const BUCKET_SILENCE: Duration = Duration::from_secs(6);

/// How often in a row the rest of an answer is asked for that breaks off, before the read fails. Unit: attempts.
pub const BUCKET_BREAKS_MAX: u32 = 4;

/// How long a statement may take in PostgreSQL. Unit: milliseconds.
pub const STATEMENT_MS_MAX: u32 = 60_000;

/// How long a statement may wait for rows that another node holds. Unit: milliseconds.
pub const LOCK_WAIT_MS_MAX: u32 = 20_000;

/// Rows of a slice that are read at a time, of one page of a Parquet file, and of a slice of a sealed run. Unit: records.
///
/// A page of 100,000 records reads seven; of long messages one is some megabytes.
pub const CHUNK_RECORDS: usize = 16_384;

/// Records whose work is done where it is asked for, and not on a thread for such work. Unit: records. It takes less than a
/// millisecond.
pub const INLINE_RECORDS_MAX: usize = 256;

/// Fewest rows that are read at a time. Unit: records.
pub const CHUNK_RECORDS_MIN: usize = 512;

/// What the rows that are read at a time should take, decompressed. Unit: bytes. Of long messages, fewer are read.
pub const CHUNK_BYTES: usize = 8 << 20;

/// Records of a page that are formatted together, by one of several threads. Unit: records, at least.
pub const WORK_ITEM_RECORDS: usize = 8_192;

/// Most portions of a page that are formatted at a time. Each takes some megabytes.
pub const WORK_ITEMS_MAX: usize = 4;

/// Objects up to this length are read whole: one request instead of three. Unit: bytes.
pub const WHOLE_OBJECT_BYTES_MAX: u64 = 2 << 20;

/// Memory for small objects that were read, and for the ends of large ones. Unit: bytes.
pub const OPEN_SEGMENTS_BYTES: u64 = 12 << 20;

/// From what distance on records of a log are no longer of one time: no run is silent for a year. Unit: milliseconds.
pub const RECORD_OUTLIER_GAP_MS: i64 = 365 * DAY_MS;

/// Runs that a search names because records of them could not be read. Unit: runs.
pub const UNREADABLE_RUNS_MAX: usize = 100;

/// Damaged objects of which a node remembers that it noted them. Unit: objects. Of more, none is noted until the first of
/// these are forgotten.
pub const DAMAGE_NOTED_MAX: usize = 10_000;

/// How long a node does not note the same damaged object again. Unit: milliseconds.
pub const DAMAGE_NOTED_MS: u64 = 60_000;

/// How much of the end of a file is read in the hope that its description is in it. Unit: bytes.
pub const FOOTER_BYTES: usize = 64 << 10;

/// How often a merge looks whether the slices in its hands were replaced. Unit: milliseconds.
pub const MERGE_CHECK_MS: i64 = 60_000;

/// Groups of batches that are written at a time: while one waits for the disk, the next one is encoded.
pub const GROUPS_UNDER_WAY: usize = 3;

/// Most batches in one commit. Unit: batches.
pub const GROUP_BATCHES_MAX: usize = 256;

/// How long a commit waits for batches that are on their way. Unit: milliseconds.
pub const GROUP_WAIT_MS: u64 = 2;

/// How long after it was begun a batch counts as on its way.
///
/// Nearly all are here by then; for one that takes longer, others would wait in vain with each commit.
pub const BATCH_EXPECTED: Duration = Duration::from_millis(50);

/// The steps in which batches take memory. Unit: bytes.
pub const MEMORY_STEP_BYTES: usize = 64 << 10;

/// How long a batch waits for memory before it is told to come again. Unit: milliseconds.
pub const MEMORY_WAIT_MS: u64 = 5_000;

/// What a batch must hold to be written early when memory is short. Unit: bytes.
pub const EARLY_SEGMENT_BYTES: usize = 1 << 20;

/// Tasks whose runs are counted together for the metrics. Unit: tasks.
pub const METRICS_TASKS_BATCH: i64 = 100;

/// How long the difference between this node's clock and the catalog's is taken for granted.
///
/// A clock that is set anew is noticed after that; a lease is longer, and one more query in this time is nothing.
pub const CATALOG_CLOCK_TTL: Duration = Duration::from_secs(15);

/// A day. Unit: milliseconds.
pub const DAY_MS: i64 = 86_400_000;

/// How long after its last record the slices of a run that has not ended are merged, at the soonest. Unit: milliseconds.
pub const IDLE_SEAL_MS: i64 = 2 * DAY_MS;

/// Records of a sealed file that make a row group. Unit: records.
pub const ROW_GROUP_RECORDS: usize = 98_304;

/// Memory of a row group in the making at which it is ended early. Unit: bytes.
pub const ROW_GROUP_BYTES: usize = 24 << 20;

/// The length at which a sealed file is ended. Unit: bytes.
pub const SEALED_FILE_BYTES: usize = 128 << 20;

/// How hard sealed files are compressed: measured in decision 0010.
pub const SEALED_ZSTD_LEVEL: i32 = 6;

/// The parts in which a file is sent to a bucket. Unit: bytes. Two are in memory at a time.
pub const UPLOAD_PART_BYTES: usize = 8 << 20;

/// Most runs that are sealed together. Unit: runs.
pub const SEAL_RUNS_MAX: i64 = 256;

/// Records after which no further run is sealed together with others. Unit: records.
pub const SEAL_RECORDS_MAX: i64 = 2_000_000;

/// Most slices of a run that are merged in one pass. Unit: slices.
pub const SEAL_SLICES_MAX: i64 = 20_000;

/// Most slices that are merged while they overlap. Each is a few megabytes of memory.
pub const SEAL_FAN_IN: usize = 24;

/// Records that are merged of a log before they are committed and other logs have their turn. Unit: records. They take
/// about a minute.
pub const SEAL_PASS_RECORDS: i64 = 16_000_000;

/// How long one node has the sealing of a run in its hands without saying that it goes on. Unit: milliseconds.
pub const SEAL_LEASE_MS: i64 = 30 * 60_000;

/// How often it says so. Unit: milliseconds.
pub const SEAL_RENEW_MS: i64 = 5 * 60_000;

/// How often the time after which a damaged log is tried again is doubled: from a minute to 17 hours.
pub const SEAL_DAMAGED_DOUBLINGS_MAX: i64 = 10;

/// How long after a failure a run is sealed again. Unit: milliseconds.
pub const SEAL_RETRY_MS: i64 = 60_000;

/// How often runs to be sealed are looked for. Unit: milliseconds.
pub const SEAL_EVERY_MS: u64 = 2_000;

/// How long the object of a replaced segment is kept for whoever reads it. Unit: milliseconds.
pub const REPLACED_RETENTION_MS: i64 = 3_600_000;

/// How long after it was last heard of a collector counts as one that is at work. Unit: milliseconds. They are heard of
/// every five seconds.
pub const COLLECTOR_TTL_MS: i64 = 15_000;

/// Most summaries that are made together, and kept in one transaction. Unit: runs.
pub const SUMMARIES_MAX: i64 = 64;

/// Records after which no further summary is made together with others. Unit: records.
pub const SUMMARY_RECORDS_MAX: i64 = 500_000;

/// How long one node has the making of a summary in its hands. Unit: milliseconds. A billion records take so long.
pub const SUMMARY_LEASE_MS: i64 = 60 * 60_000;

/// How long after a failure, or after the log changed meanwhile, a summary is made again. Unit: milliseconds.
pub const SUMMARY_RETRY_MS: i64 = 60_000;

/// How hard summaries are compressed. A usual one is some kilobytes then.
pub const SUMMARY_ZSTD_LEVEL: i32 = 9;

/// The longest summary. Unit: bytes. Of what analysis keeps at most, some megabytes.
pub const SUMMARY_BYTES_MAX: usize = 64 << 20;

/// How long a session lasts that was opened with a personal token. Unit: milliseconds. A working day, so that a browser
/// that was left open is not a door for long.
pub const SESSION_TTL_MS: i64 = 12 * 3_600_000;

/// The longest query that is kept. Unit: bytes.
pub const SAVED_QUERY_BYTES_MAX: usize = 64 << 10;

/// Most queries that one caller keeps.
pub const SAVED_QUERIES_MAX: usize = 200;

/// Most records that one search in a log looks at. Unit: records. It takes some tenths of a second.
pub const FILTER_RECORDS_MAX: u64 = 250_000;

/// Most records that a histogram counts one by one. Unit: records. It takes some seconds; of longer logs a part is read.
pub const HISTOGRAM_RECORDS_MAX: u64 = 20_000_000;

/// Rows whose times and severities are read at a time. Unit: records. They take little more than a megabyte.
pub const HISTOGRAM_CHUNK_RECORDS: usize = 131_072;

/// How many runs are looked at together when they are offered to a sink. Unit: runs.
pub const ENQUEUE_RUNS_BATCH: i64 = 500;

/// How much later than others a run may come to be known whose end has the same time. Unit: milliseconds.
///
/// Far more than clocks differ and transactions take.
pub const FINISHED_RUNS_LOOKBACK_MS: i64 = 600_000;

/// How many refused records are sent again together. Unit: records.
pub const REPLAY_BATCH_RECORDS: i64 = 500;

/// After how long a delivery is tried again whose run cannot be read. Unit: milliseconds.
pub const UNREADABLE_DELIVERY_RETRY_MS: i64 = 600_000;

/// Most ranges of refused records that are kept of a run and a sink. Unit: ranges.
///
/// Each is a row of some hundred bytes in the catalog. Whoever looks at a thousand reasons has a cause to mend first.
pub const DEAD_LETTERS_RUN_MAX: i64 = 1_000;

/// Most ranges of refused records that are kept of a sink. Unit: ranges. Some megabytes of the catalog.
pub const DEAD_LETTERS_SINK_MAX: i64 = 20_000;

/// How many ranges of refused records one statement adds. Unit: rows. Each has 14 values, and a statement 32,766.
pub const DEAD_LETTERS_INSERT_BATCH: usize = 200;

/// How long one node has an alert in its hands. Unit: milliseconds. Longer than any attempt to send it.
pub const ALERT_LEASE_MS: i64 = 120_000;

/// How long alerts are kept after they were delivered. Unit: milliseconds.
///
/// Longer than alerts look back, so that none is told twice.
pub const ALERT_RETENTION_MS: i64 = 90 * DAY_MS;

/// Most runs that a scan plans at a time. Unit: runs.
pub const SCAN_RUNS_AT_A_TIME: i64 = 50_000;

/// About how many slices a scan plans at a time. Unit: slices. Each takes some hundred bytes while it waits.
pub const SCAN_SLICES_AT_A_TIME: i64 = 100_000;

/// Most rows of a batch of a scan. Unit: records.
pub const SCAN_BATCH_RECORDS: usize = 8_192;

/// What a batch of a scan should take, decompressed. Unit: bytes. Sorting holds some batches of each thread at least.
pub const SCAN_BATCH_BYTES: usize = 2 << 20;

/// After how long a scan looks whether what it is about to read was deleted meanwhile. Unit: milliseconds.
pub const SCAN_CHECK_MS: i64 = 1_000;

/// Memory for columns that were read for a condition and are wanted as well. Unit: bytes, of each stream of a scan.
pub const SCAN_CACHE_BYTES: usize = 16 << 20;

/// Rows of the catalog that are read at a time for a question. Unit: rows.
pub const VIEW_ROWS_BATCH: i64 = 8_192;

/// Slices that a search asks the catalog for at first. Unit: slices.
pub const SEARCH_SLICES_FIRST: i64 = 128;

/// Slices that it asks for when those were not enough. Unit: slices. No search looks through more in its time.
///
/// It asks for twice as many, again and again, only where more than these reach over one instant.
pub const SEARCH_SLICES_MAX: i64 = 8_192;

/// Most slices that a search looks through before it counts what it found. Unit: slices; a million records.
pub const SEARCH_ROUND_SLICES_MAX: usize = 64;

/// A search looks through more slices at a time while that takes less than this.
pub const SEARCH_ROUND_TIME: Duration = Duration::from_millis(100);

/// How long work that failed waits before it is begun anew: after the first failure, and at most; doubled in between.
///
/// Short, because what is away for a moment comes back; bounded, because a minute is bearable for all that waits.
pub const WORK_BACKOFF_MIN: Duration = Duration::from_secs(1);
/// See [`WORK_BACKOFF_MIN`].
pub const WORK_BACKOFF_MAX: Duration = Duration::from_secs(60);

/// How long an attempt at some work goes well until the failures before it do not count any more.
pub const WORK_BACKOFF_RESET: Duration = Duration::from_secs(60);

/// After so many failures in a row work counts as down. Unit: failures. About a minute of them.
pub const WORK_DOWN_FAILURES: u32 = 6;

/// How long removing a probe is waited for, also by who was told to stop.
pub(crate) const PROBE_REMOVAL: Duration = Duration::from_secs(10);
