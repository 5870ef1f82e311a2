//! Every limit of the archive, with its unit and its reason.

use std::time::Duration;

/// Most records of one batch in one segment object. Unit: records.
///
/// A page reads few of them whole, and memory has room for many of them.
pub const SEGMENT_RECORDS_MAX: usize = 65_536;

/// Most memory that the records of a segment take before it is written. Unit: bytes.
///
/// Bounds the memory of a push, however long its messages are.
pub const SEGMENT_BYTES_MAX: usize = 8 << 20;

/// Plain bytes in one compressed frame of a page file. Unit: bytes.
///
/// A range request decompresses at most this much unused data at each end.
pub const PAGE_FRAME_BYTES: usize = 1 << 20;

/// Compression level of page files. A caller waits for them, and they live for an hour: decision 0010 has the
/// measurements.
pub const PAGE_ZSTD_LEVEL: i32 = -2;

/// Most slices of one run in a segment. Unit: slices.
pub const SEGMENT_SLICES_MAX: usize = 4;

/// Fewer records of a run in a segment are one slice, whatever their times are. Unit: records. They take little memory.
pub const SLICE_CUT_RECORDS_MIN: usize = 64;

/// Records whose times are not this far apart are in one slice. Unit: milliseconds.
pub const SLICE_GAP_MS_MIN: i64 = 60_000;

/// Most open slices of a merge whose bytes stay in memory. Unit: slices. Of further ones, only the keys do: rows are read
/// when they are needed.
pub const SLICES_IN_MEMORY_MAX: usize = 64;

/// Slices that are read from the catalog at a time. Unit: rows.
pub const SLICES_AT_A_TIME: i64 = 64;

/// The lease of a page build. Unit: milliseconds.
///
/// A page takes some tens of milliseconds; longer builds renew the lease. The pages of a killed node wait this long.
pub const PAGE_LEASE_MS: i64 = 8_000;

/// How often a builder renews its lease of a page. Unit: milliseconds. Three renewals may fail.
pub const PAGE_LEASE_RENEW_MS: u64 = 2_000;

/// Failed attempts after which a page is reported as failed. Unit: attempts.
///
/// It is retried all the same: the cause may be fixed.
pub const PAGE_ATTEMPTS_MAX: i64 = 3;

/// The delay of the retry after the n-th attempt: n - 1 squared times this. Unit: milliseconds.
///
/// Three attempts in some seconds, thirteen in the hour of a token.
pub const PAGE_RETRY_MS: i64 = 5_000;

/// The longest delay of a retry when the bucket or the catalog was unavailable. Unit: milliseconds.
pub const PAGE_UNAVAILABLE_RETRY_MS_MAX: i64 = 15_000;

/// How long a page may be built in a regular builder slot. Unit: milliseconds.
///
/// Then it moves to one of as many slots for long builds, if one is free, so that it delays no other page.
pub const PAGE_SHORT_BUILD_MS: u64 = 2_000;

/// How long a download waits for a damaged page file to be built again. Unit: milliseconds.
pub const PAGE_REBUILD_MS: u64 = 20_000;

/// The age at which an object without a row is swept, since its intent was last renewed. Unit: milliseconds.
///
/// Nothing is lost when it is too short: the commit of a swept object fails. Earlier versions, which may write to the
/// same archive during an upgrade, make no intents, and give a batch half of this time.
pub const ORPHAN_AGE_MS: i64 = 6 * 3_600_000;

/// How often a long write renews its intents. Unit: milliseconds. Far less than the age at which its objects are
/// swept.
pub const INTENTS_RENEW_MS: i64 = 3_600_000;

/// The age of an intent, since it was last renewed, at which a verification takes its writer for gone. Unit: milliseconds.
pub const INTENT_ABANDONED_MS: i64 = ORPHAN_AGE_MS / 2;

/// How long an intent may stay unused before it is replaced. Unit: milliseconds.
pub const INTENTS_UNUSED_MS: i64 = 3_600_000;

/// Most intents that one transaction makes ahead. Unit: rows. It waits for the disk like each commit: so it adds a
/// sixty-fourth to the cost of many commits.
pub const INTENTS_AHEAD_MAX: usize = 64;

/// How many times objects whose intents were swept are written again before their batches fail. Unit: attempts.
pub const WRITE_ATTEMPTS_MAX: u32 = 3;

/// Objects that are deleted concurrently after the rows of a log are removed. Unit: objects.
pub const CONCURRENT_DELETIONS_MAX: usize = 8;

/// Consecutive failures after which a retention pass asks whether the catalog answers at all, and ends if it does not.
pub const RETENTION_FAILURES_MAX: u32 = 3;

/// Consecutive failures after which a retention pass ends: what fails does not fail because of these logs.
pub const RETENTION_UNDELETABLE_MAX: u32 = 1_000;

/// How many times a transaction that was aborted, or whose connection was lost, is retried. Unit: attempts.
pub const TRANSACTION_RETRIES_MAX: u32 = 7;

/// The delay of the first retry; it doubles each time, with up to as much again at random. Unit: milliseconds. All
/// together take some seconds.
pub const TRANSACTION_RETRY_WAIT_MS: u64 = 10;

/// How often expired pages and orphans of the last days are swept. Unit: milliseconds.
pub const SWEEP_EVERY_MS: u64 = 600_000;

/// How far the clock of a machine without a second one may be ahead of what is expected before retention and the
/// sweep wait. Unit: milliseconds.
pub const CLOCK_JUMP_MS: i64 = 2 * DAY_MS;

/// How long retention and the sweep wait after the clock has jumped ahead: by then, it has been set, or it is right.
pub const CLOCK_DOUBT_TIME: Duration = Duration::from_secs(3_600);

/// How often all objects are swept. Unit: milliseconds.
pub const SWEEP_ALL_EVERY_MS: i64 = DAY_MS;

/// Tasks whose starts one query looks up. Unit: tasks.
pub const START_LOOKUP_BATCH: usize = 500;

/// Objects that one query looks up in the catalog. Unit: objects.
pub const OBJECT_LOOKUP_BATCH: usize = 500;

/// How long a batch id is kept: a batch that is sent again later is stored again. Unit: milliseconds.
///
/// Longer than any engine retries; there are more batches than runs, so their ids must not stay for ever.
pub const BATCH_ID_RETENTION_MS: i64 = 30 * DAY_MS;

/// Rows that one statement changes when it may have to change any number of them. Unit: rows. Other writers wait
/// meanwhile, and PostgreSQL ends statements after [`STATEMENT_MS_MAX`].
pub const ROWS_CHANGED_TOGETHER: i64 = 10_000;

/// The longest batch id. Unit: bytes.
pub const BATCH_ID_BYTES_MAX: usize = 200;

/// Connections that read the catalog at a time.
pub const CATALOG_READERS: u32 = 8;

/// How often the last use of a token or account is updated. Unit: milliseconds.
pub const LAST_USE_UPDATE_MS: i64 = 60_000;

/// Most updates of a last use that wait for the catalog at a time; others are left out.
pub const LAST_USE_UPDATES_MAX: usize = 4;

/// How long after a key was superseded one of its signatures may still be valid. Unit: milliseconds.
///
/// Access tokens and links live an hour at most; this is far longer.
pub const SIGNATURE_TTL_MS_MAX: i64 = 48 * 3_600_000;

/// Most small writes in one commit. Unit: writes. Each takes some tens of microseconds, and others wait meanwhile.
pub const GROUP_WRITES_MAX: usize = 500;

/// Connections to PostgreSQL, of each node.
pub const POSTGRES_CONNECTIONS: u32 = 16;

/// Those of them that reads leave to writes: slow reads must not keep logs from being stored, nor leases from being renewed.
pub const POSTGRES_CONNECTIONS_FOR_WRITING: u32 = 4;

/// The age at which a connection to PostgreSQL is closed once its call has ended: the server keeps memory for each.
pub const POSTGRES_CONNECTION_AGE: Duration = Duration::from_secs(30 * 60);

/// How long a call waits for a connection to PostgreSQL, and how long reads and transactions are retried while the
/// server restarts.
///
/// A restart takes some seconds; then calls fail with `Unavailable`.
pub const CATALOG_WAIT: Duration = Duration::from_secs(8);

/// How long a call waits for a connection to SQLite: for all writers before it, as there is one at a time.
pub const SQLITE_WAIT: Duration = Duration::from_secs(30);

/// How long requests that a bucket rejects or breaks off are retried.
///
/// Then calls fail with `Unavailable`.
pub const BUCKET_WAIT: Duration = Duration::from_secs(4);

/// How long a bucket may take to begin an answer to a read, including retries, before the request is sent once more.
pub const BUCKET_ANSWER: Duration = Duration::from_secs(6);

/// How long an answer may stall before the rest is requested again.
pub const BUCKET_SILENCE: Duration = Duration::from_secs(6);

/// Consecutive interruptions after which a read fails. Unit: attempts.
pub const BUCKET_BREAKS_MAX: u32 = 4;

/// How long a statement may take in PostgreSQL. Unit: milliseconds.
pub const STATEMENT_MS_MAX: u32 = 60_000;

/// How long a statement may wait for rows that another node has locked. Unit: milliseconds.
pub const LOCK_WAIT_MS_MAX: u32 = 20_000;

/// How long PostgreSQL waits for the next statement of a transaction before it ends the session. Unit: milliseconds.
///
/// Statements of a transaction follow each other within milliseconds, unless the process is suspended. Its locks are
/// then released before the others have waited for [`LOCK_WAIT_MS_MAX`], even if several of its transactions acquire
/// them one after another. When it continues, it retries those transactions.
pub const TRANSACTION_IDLE_MS_MAX: u32 = 3_000;

/// Rows of a slice that are read at a time, of one page of a Parquet file, and of a slice of a sealed run. Unit:
/// records.
///
/// A page of 100,000 records reads seven chunks; with long messages a chunk is some megabytes.
pub const CHUNK_RECORDS: usize = 16_384;

/// Most records that are processed in place and not on the CPU pool. Unit: records. It takes less than a millisecond.
pub const INLINE_RECORDS_MAX: usize = 256;

/// How much nicer background threads are than others, of 19; it leaves them a tenth of a processor that others want.
pub const BACKGROUND_NICE: i32 = 10;

/// Fewest rows that are read at a time. Unit: records.
pub const CHUNK_RECORDS_MIN: usize = 512;

/// The target size of the rows that are read at a time, decompressed. Unit: bytes. With long messages, fewer rows are
/// read.
pub const CHUNK_BYTES: usize = 8 << 20;

/// Fewest records of a page that one thread formats at a time. Unit: records.
pub const WORK_ITEM_RECORDS: usize = 8_192;

/// Most work items of a page that are formatted concurrently. Each takes some megabytes.
pub const WORK_ITEMS_MAX: usize = 4;

/// Objects up to this length are read whole: one request instead of three. Unit: bytes.
pub const WHOLE_OBJECT_BYTES_MAX: u64 = 2 << 20;

/// Memory for cached small objects, and for the footers of large ones. Unit: bytes.
pub const OPEN_SEGMENTS_BYTES: u64 = 12 << 20;

/// The gap between records from which on they do not belong to the same period: no run is silent for a year. Unit:
/// milliseconds.
pub const RECORD_OUTLIER_GAP_MS: i64 = 365 * DAY_MS;

/// Most runs that a search names because their records could not be read. Unit: runs.
pub const UNREADABLE_RUNS_MAX: usize = 100;

/// Most damaged or missing objects that a search names. Unit: objects.
pub const UNREADABLE_OBJECTS_MAX: usize = 100;

/// Most damaged objects that a node remembers having recorded. Unit: objects. Further ones are recorded only when the
/// first are forgotten.
pub const DAMAGE_NOTED_MAX: usize = 10_000;

/// How long a node does not record the same damaged object again. Unit: milliseconds.
pub const DAMAGE_NOTED_MS: u64 = 60_000;

/// Bytes at the end of a file that are read in the hope that they contain its footer. Unit: bytes.
pub const FOOTER_BYTES: usize = 64 << 10;

/// How often a merge checks whether its slices were replaced. Unit: milliseconds.
pub const MERGE_CHECK_MS: i64 = 60_000;

/// Groups of batches that are committed concurrently: while one waits for the disk, the next is encoded.
pub const GROUPS_UNDER_WAY: usize = 3;

/// Most batches in one commit. Unit: batches.
pub const GROUP_BATCHES_MAX: usize = 256;

/// How long a commit waits for batches that are expected. Unit: milliseconds.
pub const GROUP_WAIT_MS: u64 = 2;

/// How long after its begin a batch is expected to arrive soon.
///
/// Nearly all have arrived by then; waiting for a slower one would delay each commit for nothing.
pub const BATCH_EXPECTED: Duration = Duration::from_millis(50);

/// The unit of memory reservations of batches. Unit: bytes.
pub const MEMORY_STEP_BYTES: usize = 64 << 10;

/// How long a batch waits for memory before it fails with `Busy`. Unit: milliseconds.
pub const MEMORY_WAIT_MS: u64 = 5_000;

/// The least size of a batch that is written early when memory is short. Unit: bytes.
pub const EARLY_SEGMENT_BYTES: usize = 1 << 20;

/// Tasks whose runs one query counts for the metrics. Unit: tasks.
pub const METRICS_TASKS_BATCH: i64 = 100;

/// How long a measured difference between this node's clock and the catalog's is used.
///
/// A clock that is set is noticed after that; a lease is longer, and one more query in this time costs nothing.
pub const CATALOG_CLOCK_TTL: Duration = Duration::from_secs(15);

/// A day. Unit: milliseconds.
pub const DAY_MS: i64 = 86_400_000;

/// How long after its last record the slices of an unfinished run are merged. Unit: milliseconds.
pub const IDLE_SEAL_MS: i64 = 2 * DAY_MS;

/// Records of a sealed file that make a row group. Unit: records.
pub const ROW_GROUP_RECORDS: usize = 32_768;

/// Memory of a row group being written at which it ends early. Unit: bytes.
pub const ROW_GROUP_BYTES: usize = 24 << 20;

/// The length at which a sealed file ends. Unit: bytes.
pub const SEALED_FILE_BYTES: usize = 128 << 20;

/// Compression level of sealed files: measured in decision 0010.
pub const SEALED_ZSTD_LEVEL: i32 = 6;

/// Compression level of the messages of sealed files that have a dictionary: measured in decision 0010.
pub const DICTIONARY_ZSTD_LEVEL: i32 = 12;

/// Messages of a row group get a dictionary if they take at most this share of what they take without. Unit: percent.
pub const DICTIONARY_PERCENT_MAX: u64 = 95;

/// Most text of the words in the index of a sealed file; row groups with more are read by each search. Unit: bytes.
/// While a file is written, the words take about fifteen times as much memory.
pub const WORD_INDEX_TEXT_BYTES_MAX: usize = 4 << 20;

/// The most memory that the index of the words of a sealed file takes. Unit: bytes.
pub const WORD_INDEX_BYTES_MAX: usize = 16 << 20;

/// A sealed file has an index of its words if that takes at most one part in this many of it.
pub const WORD_INDEX_SHARE: u64 = 16;

/// Most text of the codes in the index of a sealed file; row groups with more are read by each search. Unit: bytes.
pub const CODE_INDEX_TEXT_BYTES_MAX: usize = 2 << 20;

/// A sealed file has an index of its codes if that takes at most one part in this many of it.
pub const CODE_INDEX_SHARE: u64 = 32;

/// The size of the parts of an upload to a bucket. Unit: bytes. Two are in memory at a time.
pub const UPLOAD_PART_BYTES: usize = 8 << 20;

/// How long alert rules look for a log that its upstream lost while it was collected. Unit: milliseconds.
pub const LOST_LOG_ALERT_MS: i64 = 2 * DAY_MS;

/// Most runs that are sealed together. Unit: runs.
pub const SEAL_RUNS_MAX: i64 = 256;

/// Records after which no further run joins the same pass. Unit: records.
pub const SEAL_RECORDS_MAX: i64 = 2_000_000;

/// Most slices of a run that are merged in one pass. Unit: slices.
pub const SEAL_SLICES_MAX: i64 = 20_000;

/// Most overlapping slices that are merged at once. Each takes a few megabytes of memory.
pub const SEAL_FAN_IN: usize = 24;

/// Most records of a log that are merged before a commit, so that other logs have their turn. Unit: records. They
/// take about a minute.
pub const SEAL_PASS_RECORDS: i64 = 16_000_000;

/// The lease of a sealing pass. Unit: milliseconds. The logs of a killed node wait this long.
///
/// A pass renews it between two groups of rows, which may wait for a bucket in between.
pub const SEAL_LEASE_MS: i64 = 3 * 60_000;

/// How often a sealing pass renews its lease. Unit: milliseconds.
pub const SEAL_RENEW_MS: i64 = 30_000;

/// After this time, the doctor mentions that a run waits to be sealed. Unit: milliseconds.
pub const SEAL_LATE_MS: i64 = 30 * 60_000;

/// How many times the retry delay of a damaged log doubles: from a minute to 17 hours.
pub const SEAL_DAMAGED_DOUBLINGS_MAX: i64 = 10;

/// The retry delay of a failed sealing. Unit: milliseconds.
pub const SEAL_RETRY_MS: i64 = 60_000;

/// How often runs to seal are looked for. Unit: milliseconds.
pub const SEAL_EVERY_MS: u64 = 2_000;

/// How long the object of a replaced segment is kept for its readers. Unit: milliseconds.
pub const REPLACED_RETENTION_MS: i64 = 3_600_000;

/// How long after its last heartbeat a collector counts as running. Unit: milliseconds. Heartbeats come every five
/// seconds.
pub const COLLECTOR_TTL_MS: i64 = 15_000;

/// Most summaries that are made together and stored in one transaction. Unit: runs.
pub const SUMMARIES_MAX: i64 = 64;

/// Records after which no further summary joins the same transaction. Unit: records.
pub const SUMMARY_RECORDS_MAX: i64 = 500_000;

/// Most summaries of an older version that are made due together, and most of failed runs without a problem. Unit: runs.
/// One statement changes them in less than a second.
pub const SUMMARIES_INVALIDATED_TOGETHER: i64 = 2_000;

/// The lease of a summary. Unit: milliseconds. Long logs renew it; the summaries of a killed node wait this long.
pub const SUMMARY_LEASE_MS: i64 = 60_000;

/// How often a node renews the leases of the summaries that it makes. Unit: milliseconds. Three renewals may fail.
pub const SUMMARY_RENEW_MS: u64 = 15_000;

/// The retry delay of a summary that failed, or whose log changed meanwhile. Unit: milliseconds.
pub const SUMMARY_RETRY_MS: i64 = 60_000;

/// Compression level of summaries. A typical one takes some kilobytes.
pub const SUMMARY_ZSTD_LEVEL: i32 = 9;

/// The longest summary. Unit: bytes. Analysis makes some megabytes at most.
pub const SUMMARY_BYTES_MAX: usize = 64 << 20;

/// Most component metrics that are kept of a run. Jobs have tens of components, and large ones some hundreds.
pub const COMPONENT_METRICS_MAX: usize = 20_000;

/// Most processes that are kept of a run.
pub const COMPONENT_PROCESSES_MAX: usize = 2_000;

/// Most bytes that the component metrics of a run take, as JSON. Stack traces can be long.
pub const COMPONENT_METRICS_BYTES_MAX: usize = 16 << 20;

/// How many component metrics one statement stores: a database accepts some ten thousand values.
pub const COMPONENT_METRICS_INSERTED_TOGETHER: usize = 200;

/// The largest report of a plan execution, and the largest definition of a plan. Unit: bytes. A plan has tens of tasks.
pub const PLAN_BYTES_MAX: usize = 4 << 20;

/// How many listed plan executions one transaction stores.
pub const PLANS_STORED_TOGETHER: usize = 100;

/// How long a session that was opened with a personal access token lasts. Unit: milliseconds. A working day, so that
/// a forgotten browser is no risk for long.
pub const SESSION_TTL_MS: i64 = 12 * 3_600_000;

/// The longest saved query. Unit: bytes.
pub const SAVED_QUERY_BYTES_MAX: usize = 64 << 10;

/// Most saved queries of one caller.
pub const SAVED_QUERIES_MAX: usize = 200;

/// Most records that one filter step examines. Unit: records. It takes some tenths of a second.
pub const FILTER_RECORDS_MAX: u64 = 250_000;

/// Most records that a histogram counts exactly. Unit: records. It takes some seconds; longer logs are sampled.
pub const HISTOGRAM_RECORDS_MAX: u64 = 20_000_000;

/// Rows whose times and severities are read at a time. Unit: records. They take little more than a megabyte.
pub const HISTOGRAM_CHUNK_RECORDS: usize = 131_072;

/// Finished runs that are examined together for a sink. Unit: runs.
pub const ENQUEUE_RUNS_BATCH: i64 = 500;

/// How much later than others a run with the same end time may become known. Unit: milliseconds.
///
/// Far more than clocks differ and transactions take.
pub const FINISHED_RUNS_LOOKBACK_MS: i64 = 600_000;

/// Refused records that are sent again together. Unit: records.
pub const REPLAY_BATCH_RECORDS: i64 = 500;

/// The retry delay of a delivery whose run cannot be read. Unit: milliseconds.
pub const UNREADABLE_DELIVERY_RETRY_MS: i64 = 600_000;

/// Most ranges of refused records that are kept per run and sink. Unit: ranges.
///
/// Each is a row of some hundred bytes in the catalog. With a thousand different reasons, the cause must be fixed
/// first.
pub const DEAD_LETTERS_RUN_MAX: i64 = 1_000;

/// Most ranges of refused records that are kept per sink. Unit: ranges. Some megabytes of the catalog.
pub const DEAD_LETTERS_SINK_MAX: i64 = 20_000;

/// Ranges of refused records that one statement inserts. Unit: rows. Each has 14 values, and a statement may have
/// 32,766.
pub const DEAD_LETTERS_INSERT_BATCH: usize = 200;

/// The lease of an alert. Unit: milliseconds. Longer than any attempt to send it.
pub const ALERT_LEASE_MS: i64 = 120_000;

/// After this time, an alert that was not delivered is given up. Unit: milliseconds.
pub const ALERT_GIVE_UP_MS: i64 = 3 * DAY_MS;

/// Most alerts that are sent in one message. Unit: alerts.
pub const ALERTS_TOGETHER_MAX: u64 = 500;

/// Something that was over this often within [`ALERT_REPEAT_MS`] is reported as over only after a while, and not again
/// while it is open.
pub const ALERT_REPEATS_MAX: u64 = 3;

/// The period in which ends are counted. Unit: milliseconds.
pub const ALERT_REPEAT_MS: i64 = 3_600_000;

/// Most open alerts of a rule whose end is looked for. Unit: alerts, the latest.
pub const ALERT_STATES_MAX: u64 = 5_000;

/// Most open alerts that are listed. Unit: alerts, of each rule.
pub const ALERT_STATES_LISTED_MAX: u64 = 100;

/// How long an alert may be open. Unit: milliseconds. Shorter than [`ALERT_RETENTION_MS`].
pub const ALERT_OPEN_MS_MAX: i64 = 30 * DAY_MS;

/// Most rules of alerts that are listed. Unit: rules; those of the settings, and those that were there once.
pub const ALERT_RULES_MAX: u64 = 1_000;

/// How long delivered alerts are kept. Unit: milliseconds.
///
/// Longer than alert rules look back, so that none is sent twice.
pub const ALERT_RETENTION_MS: i64 = 90 * DAY_MS;

/// Most runs that a scan plans at a time. Unit: runs.
pub const SCAN_RUNS_AT_A_TIME: i64 = 50_000;

/// About how many slices a scan plans at a time. Unit: slices. Each takes some hundred bytes while it waits.
pub const SCAN_SLICES_AT_A_TIME: i64 = 100_000;

/// Most rows of a batch of a scan. Unit: records.
pub const SCAN_BATCH_RECORDS: usize = 8_192;

/// What a batch of a scan should take, decompressed. Unit: bytes. Sorting holds some batches of each thread at least.
pub const SCAN_BATCH_BYTES: usize = 2 << 20;

/// After how long a scan checks whether the logs that it is about to read were deleted. Unit: milliseconds.
pub const SCAN_CHECK_MS: i64 = 1_000;

/// Memory for columns that were read for a condition and are wanted as well. Unit: bytes, of each stream of a scan.
pub const SCAN_CACHE_BYTES: usize = 16 << 20;

/// Rows of a catalog view that are read at a time. Unit: rows.
pub const VIEW_ROWS_BATCH: i64 = 8_192;

/// Most tasks whose runs a search looks up before their slices; with more, it looks through the slices of all tasks.
pub const SEARCH_TASKS_FEW: usize = 16;

/// Most runs of the workspaces of a caller that are looked up before their slices. Unit: runs. It takes some milliseconds;
/// with more, one in some hundred slices of a large archive is theirs.
pub const SEARCH_RUNS_FEW: i64 = 3_000;

/// Slices that a search reads from the catalog first. Unit: slices.
pub const SEARCH_SLICES_FIRST: i64 = 128;

/// Slices that it reads from the catalog when those were not enough. Unit: slices. No search gets through more in its
/// time.
///
/// It only reads more, twice as many each time, when more than these overlap at one instant.
pub const SEARCH_SLICES_MAX: i64 = 8_192;

/// Most slices that a search examines before it counts its results. Unit: slices; a million records.
pub const SEARCH_ROUND_SLICES_MAX: usize = 64;

/// Most components whose matches are counted one by one; logs may have any number. Unit: components.
pub const SEARCH_COMPONENTS_MAX: usize = 500;

/// Most buckets in which the matches of a search are counted over time. Unit: buckets.
pub const SEARCH_BUCKETS_MAX: i64 = 120;

/// A search examines more slices per round while a round takes less than this.
pub const SEARCH_ROUND_TIME: Duration = Duration::from_millis(100);

/// The delay before failed work is restarted after its first failure; it doubles up to [`WORK_BACKOFF_MAX`].
///
/// Short, because a dependency that was unavailable for a moment is back soon; bounded, because a minute is
/// acceptable.
pub const WORK_BACKOFF_MIN: Duration = Duration::from_secs(1);
/// See [`WORK_BACKOFF_MIN`].
pub const WORK_BACKOFF_MAX: Duration = Duration::from_secs(60);

/// How long an attempt must run until earlier failures do not count any more.
pub const WORK_BACKOFF_RESET: Duration = Duration::from_secs(60);

/// Consecutive failures after which work counts as down. Unit: failures. About a minute of them.
pub const WORK_DOWN_FAILURES: u32 = 6;

/// How long to wait for the removal of a probe, even after a stop.
pub(crate) const PROBE_REMOVAL: Duration = Duration::from_secs(10);

/// Files whose logs are made due for sealing at a time, when they are sealed again for lakehouses. Unit: files.
pub const RESEAL_FILES: i64 = 4;

/// Files whose manifest is rewritten when one of them changes. Unit: files.
///
/// A manifest of so many takes about half a megabyte, and a table of 100,000 files has a hundred manifests.
pub const LAKE_GROUP_FILES: i64 = 1_000;

/// How often a table of rows of the catalog is written anew at most. Unit: milliseconds.
pub const LAKE_VIEW_EVERY_MS: i64 = 5_000;

/// For how many times as long as it took to write such a table it is not written again.
pub const LAKE_VIEW_PAUSES: i64 = 10;

/// The length at which a file of such a table ends. Unit: bytes.
pub const LAKE_VIEW_FILE_BYTES: usize = 32 << 20;

/// Rows of such a file that make a row group. Unit: rows.
pub const LAKE_VIEW_GROUP_ROWS: usize = 65_536;

/// Memory of a row group of such a file at which it ends early. Unit: bytes.
pub const LAKE_VIEW_GROUP_BYTES: usize = 8 << 20;

/// How often a snapshot of a table is begun again because its files have changed meanwhile. Unit: attempts.
///
/// Each attempt reads only the groups that have changed since the one before.
pub const LAKE_ATTEMPTS_MAX: usize = 10;
