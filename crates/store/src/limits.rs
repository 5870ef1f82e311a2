//! The limits of the archive, each with its unit and reason.

use std::time::Duration;

/// Most records of one batch in one segment object. Unit: records.
///
/// Bounds what a page has to read in full, and the memory of open segments.
pub const SEGMENT_RECORDS_MAX: usize = 65_536;

/// Most memory that the records of a segment take before the segment is written. Unit: bytes.
///
/// Bounds the memory of a push, however long its messages are.
pub const SEGMENT_BYTES_MAX: usize = 8 << 20;

/// Plain bytes in one compressed frame of a page file. Unit: bytes.
///
/// A range request decompresses at most this much unneeded data at each end.
pub const PAGE_FRAME_BYTES: usize = 1 << 20;

/// Compression level of page files. Low, because callers wait for page files, which are kept for a few hours only.
/// Source: measurements in decision 0010.
pub const PAGE_ZSTD_LEVEL: i32 = -2;

/// Most slices of one run in a segment. Unit: slices.
pub const SEGMENT_SLICES_MAX: usize = 4;

/// A run with fewer records in a segment has one slice there, whatever the times of the records are. Unit: records. A
/// small slice takes little memory.
pub const SLICE_CUT_RECORDS_MIN: usize = 64;

/// The smallest gap between the times of two records at which a slice ends. Unit: milliseconds.
pub const SLICE_GAP_MS_MIN: i64 = 60_000;

/// Most open slices of a merge whose bytes stay in memory. Unit: slices. For further slices, only the keys stay in
/// memory, and rows are read when needed.
pub const SLICES_IN_MEMORY_MAX: usize = 64;

/// Number of slices that are read from the catalog at a time. Unit: rows.
pub const SLICES_AT_A_TIME: i64 = 64;

/// The lease of a page build. Unit: milliseconds.
///
/// Building a page takes some tens of milliseconds; longer builds renew the lease. Pages claimed by a node that was
/// killed are delayed by this time.
pub const PAGE_LEASE_MS: i64 = 8_000;

/// How often a builder renews its lease of a page. Unit: milliseconds. The lease is kept if up to three renewals fail.
pub const PAGE_LEASE_RENEW_MS: u64 = 2_000;

/// Failed attempts after which a page is reported as failed. Unit: attempts.
///
/// The build is still retried, because the cause may be fixed in the meantime.
pub const PAGE_ATTEMPTS_MAX: i64 = 3;

/// The unit of retry delays: the delay after the n-th attempt is this times the square of n - 1. Unit: milliseconds.
///
/// This gives three attempts within seconds, and thirteen within the hour for which a token is valid.
pub const PAGE_RETRY_MS: i64 = 5_000;

/// The longest delay of a retry when the bucket or the catalog was unavailable. Unit: milliseconds.
pub const PAGE_UNAVAILABLE_RETRY_MS_MAX: i64 = 15_000;

/// How long the build of a page may occupy a regular builder slot. Unit: milliseconds.
///
/// After that, the build moves to a slot for long builds if one is free, so that it delays no other page. There are as
/// many of these slots as regular ones.
pub const PAGE_SHORT_BUILD_MS: u64 = 2_000;

/// How long a download waits for a damaged page file to be rebuilt. Unit: milliseconds.
pub const PAGE_REBUILD_MS: u64 = 20_000;

/// The age at which an object without a row is swept, measured from the last renewal of its intent. Unit: milliseconds.
///
/// A value that is too short loses no data: the commit of a swept object fails. Earlier versions, which may write to
/// the same archive during an upgrade, record no intents, and allow half of this time for a batch.
pub const ORPHAN_AGE_MS: i64 = 6 * 3_600_000;

/// How often a long write renews its intents. Unit: milliseconds. Much less than the age at which objects are swept.
pub const INTENTS_RENEW_MS: i64 = 3_600_000;

/// The age of an intent, measured from its last renewal, at which a verification assumes that its writer has ended.
/// Unit: milliseconds.
pub const INTENT_ABANDONED_MS: i64 = ORPHAN_AGE_MS / 2;

/// How long an intent may stay unused before it is replaced. Unit: milliseconds.
pub const INTENTS_UNUSED_MS: i64 = 3_600_000;

/// Most intents that one transaction creates in advance. Unit: rows. The transaction waits for the disk like every
/// commit, so that intents add at most a sixty-fourth to the cost of frequent commits.
pub const INTENTS_AHEAD_MAX: usize = 64;

/// How many times objects are written before their batches fail because the intents were swept each time. Unit:
/// attempts.
pub const WRITE_ATTEMPTS_MAX: u32 = 3;

/// Objects that are deleted concurrently after the rows of a log are removed. Unit: objects.
pub const CONCURRENT_DELETIONS_MAX: usize = 8;

/// Consecutive failures after which a retention pass checks whether the catalog responds, and ends if it does not.
pub const RETENTION_FAILURES_MAX: u32 = 3;

/// Consecutive failures after which a retention pass ends, because the failures are not caused by individual logs.
pub const RETENTION_UNDELETABLE_MAX: u32 = 1_000;

/// How many times a transaction that was aborted, or whose connection was lost, is retried. Unit: attempts.
pub const TRANSACTION_RETRIES_MAX: u32 = 7;

/// The delay of the first retry of a transaction. Unit: milliseconds. The delay doubles with each retry, and a random
/// time of up to the same length is added. All retries together take some seconds.
pub const TRANSACTION_RETRY_WAIT_MS: u64 = 10;

/// How often expired pages and orphaned objects of the last days are swept. Unit: milliseconds.
pub const SWEEP_EVERY_MS: u64 = 600_000;

/// How far the clock may be ahead of the expected time before retention and the sweep are suspended, if there is no
/// second clock to compare with. Unit: milliseconds.
pub const CLOCK_JUMP_MS: i64 = 2 * DAY_MS;

/// How long retention and the sweep are suspended after the clock has jumped ahead. After this time, a wrong clock has
/// been corrected.
pub const CLOCK_DOUBT_TIME: Duration = Duration::from_secs(3_600);

/// How often all objects are swept. Unit: milliseconds.
pub const SWEEP_ALL_EVERY_MS: i64 = DAY_MS;

/// Number of tasks whose starts one query looks up. Unit: tasks.
pub const START_LOOKUP_BATCH: usize = 500;

/// Number of objects that one query looks up in the catalog. Unit: objects.
pub const OBJECT_LOOKUP_BATCH: usize = 500;

/// How long a batch ID is kept. Unit: milliseconds. A batch that is sent again after this time is stored again.
///
/// Longer than any engine retries. IDs are not kept forever because there are more batches than runs.
pub const BATCH_ID_RETENTION_MS: i64 = 30 * DAY_MS;

/// Most rows that one statement changes when the total number is unbounded. Unit: rows. Other writers wait for the
/// statement, and PostgreSQL cancels statements after [`STATEMENT_MS_MAX`].
pub const ROWS_CHANGED_TOGETHER: i64 = 10_000;

/// The longest batch ID. Unit: bytes.
pub const BATCH_ID_BYTES_MAX: usize = 200;

/// Number of connections that read the catalog.
pub const CATALOG_READERS: u32 = 8;

/// How often the last use of a token or account is updated. Unit: milliseconds.
pub const LAST_USE_UPDATE_MS: i64 = 60_000;

/// Most pending updates of a last use; further updates are skipped.
pub const LAST_USE_UPDATES_MAX: usize = 4;

/// How long signatures of a key may still be valid after the key was superseded. Unit: milliseconds.
///
/// Much longer than needed: access tokens and links are valid for an hour at most.
pub const SIGNATURE_TTL_MS_MAX: i64 = 48 * 3_600_000;

/// Most small writes in one commit. Unit: writes. Each takes some tens of microseconds, during which other writers
/// wait.
pub const GROUP_WRITES_MAX: usize = 500;

/// Number of connections of each node to PostgreSQL.
pub const POSTGRES_CONNECTIONS: u32 = 16;

/// Number of connections to PostgreSQL that are reserved for writes: slow reads must not prevent logs from being stored
/// or leases from being renewed.
pub const POSTGRES_CONNECTIONS_FOR_WRITING: u32 = 4;

/// The age at which a connection to PostgreSQL is closed after its call, because the server holds memory for each
/// connection.
pub const POSTGRES_CONNECTION_AGE: Duration = Duration::from_secs(30 * 60);

/// How long a call waits for a connection to PostgreSQL, and how long reads and transactions are retried while the
/// server restarts.
///
/// A restart takes some seconds; then calls fail with `Unavailable`.
pub const CATALOG_WAIT: Duration = Duration::from_secs(8);

/// How long a call waits for a connection to SQLite. There is one writer at a time, so that a call waits for all
/// earlier writers.
pub const SQLITE_WAIT: Duration = Duration::from_secs(30);

/// How long requests that a bucket rejects or breaks off are retried.
///
/// Then calls fail with `Unavailable`.
pub const BUCKET_WAIT: Duration = Duration::from_secs(4);

/// How long a bucket may take to begin its response to a read, including retries, before the request is sent once more.
pub const BUCKET_ANSWER: Duration = Duration::from_secs(6);

/// How long a response may stall before the remaining bytes are requested again.
pub const BUCKET_SILENCE: Duration = Duration::from_secs(6);

/// Consecutive interruptions after which a read fails. Unit: attempts.
pub const BUCKET_BREAKS_MAX: u32 = 4;

/// How long a statement may take in PostgreSQL. Unit: milliseconds.
pub const STATEMENT_MS_MAX: u32 = 60_000;

/// How long a statement may wait for rows that another node has locked. Unit: milliseconds.
pub const LOCK_WAIT_MS_MAX: u32 = 20_000;

/// How long PostgreSQL waits for the next statement of a transaction before it ends the session. Unit: milliseconds.
///
/// The statements of a transaction follow each other within milliseconds unless the process is suspended. In that case,
/// its locks are released before other nodes have waited for [`LOCK_WAIT_MS_MAX`], even if several of its transactions
/// acquire them one after another. When the process resumes, it retries these transactions.
pub const TRANSACTION_IDLE_MS_MAX: u32 = 3_000;

/// Number of rows that are read from a slice at a time, of a page of a Parquet file, and of a slice of a sealed run.
/// Unit: records.
///
/// A page of 100,000 records consists of seven chunks. With long messages, a chunk takes some megabytes.
pub const CHUNK_RECORDS: usize = 16_384;

/// Most records that are processed on the calling thread instead of the CPU pool. Unit: records. Processing them takes
/// less than a millisecond.
pub const INLINE_RECORDS_MAX: usize = 256;

/// The nice value of background threads relative to other threads, at most 19. It gives them a tenth of a processor for
/// which others compete.
pub const BACKGROUND_NICE: i32 = 10;

/// Fewest rows of a slice that are read at a time. Unit: records.
pub const CHUNK_RECORDS_MIN: usize = 512;

/// The target size of the rows that are read at a time, decompressed. Unit: bytes. With long messages, fewer rows are
/// read.
pub const CHUNK_BYTES: usize = 8 << 20;

/// Fewest records of a page that one thread formats at a time. Unit: records.
pub const WORK_ITEM_RECORDS: usize = 8_192;

/// Most work items of a page that are formatted concurrently. Each takes some megabytes of memory.
pub const WORK_ITEMS_MAX: usize = 4;

/// The largest object that is read completely, with one request instead of three. Unit: bytes.
pub const WHOLE_OBJECT_BYTES_MAX: u64 = 2 << 20;

/// Memory for cached small objects, and for the footers of large ones. Unit: bytes.
pub const OPEN_SEGMENTS_BYTES: u64 = 12 << 20;

/// The gap between records above which they belong to different periods, because no run is silent for a year. Unit:
/// milliseconds.
pub const RECORD_OUTLIER_GAP_MS: i64 = 365 * DAY_MS;

/// Most runs with unreadable records that a search reports. Unit: runs.
pub const UNREADABLE_RUNS_MAX: usize = 100;

/// Most damaged or missing objects that a search names. Unit: objects.
pub const UNREADABLE_OBJECTS_MAX: usize = 100;

/// Most damaged objects whose recording a node remembers. Unit: objects. Further objects are recorded only after
/// earlier ones have been forgotten.
pub const DAMAGE_NOTED_MAX: usize = 10_000;

/// How long after recording a damaged object a node does not record it again. Unit: milliseconds.
pub const DAMAGE_NOTED_MS: u64 = 60_000;

/// Number of bytes at the end of a file that are read first, because they usually contain the footer. Unit: bytes.
pub const FOOTER_BYTES: usize = 64 << 10;

/// How often a merge checks whether its slices were replaced. Unit: milliseconds.
pub const MERGE_CHECK_MS: i64 = 60_000;

/// Number of groups of batches that are committed concurrently: while one group waits for the disk, the next is
/// encoded.
pub const GROUPS_UNDER_WAY: usize = 3;

/// Most batches in one commit. Unit: batches.
pub const GROUP_BATCHES_MAX: usize = 256;

/// How long a commit waits for batches that are expected to arrive. Unit: milliseconds.
pub const GROUP_WAIT_MS: u64 = 2;

/// How long after its start a batch is expected to arrive soon.
///
/// Nearly all batches arrive within this time; waiting for slower ones would delay every commit needlessly.
pub const BATCH_EXPECTED: Duration = Duration::from_millis(50);

/// The unit of memory reservations of batches. Unit: bytes.
pub const MEMORY_STEP_BYTES: usize = 64 << 10;

/// How long a batch waits for memory before it fails with `Busy`. Unit: milliseconds.
pub const MEMORY_WAIT_MS: u64 = 5_000;

/// The smallest batch that is written early when memory is short. Unit: bytes.
pub const EARLY_SEGMENT_BYTES: usize = 1 << 20;

/// Number of tasks whose runs one query counts for the metrics. Unit: tasks.
pub const METRICS_TASKS_BATCH: i64 = 100;

/// How long a measured difference between this node's clock and the catalog's clock is used. Unit: milliseconds.
///
/// It bounds the error of a clock that runs too fast or too slowly. The cost of one query in this time is negligible.
pub const CATALOG_CLOCK_TTL_MS: i64 = 15_000;

/// By how much this node's clock and its monotonic clock may disagree before the clock counts as set. Unit: milliseconds.
pub const CLOCKS_DISAGREE_MS: i64 = 1_000;

/// A day. Unit: milliseconds.
pub const DAY_MS: i64 = 86_400_000;

/// How long after its last record the slices of an unfinished run are merged. Unit: milliseconds.
pub const IDLE_SEAL_MS: i64 = 2 * DAY_MS;

/// Number of records of a row group of a sealed file. Unit: records.
pub const ROW_GROUP_RECORDS: usize = 32_768;

/// Memory of a row group being written at which the row group ends early. Unit: bytes.
pub const ROW_GROUP_BYTES: usize = 24 << 20;

/// The length at which a sealed file ends. Unit: bytes.
pub const SEALED_FILE_BYTES: usize = 128 << 20;

/// Compression level of sealed files. Source: measurements in decision 0010.
pub const SEALED_ZSTD_LEVEL: i32 = 6;

/// Compression level of the messages of sealed files that have a dictionary. Source: measurements in decision 0010.
pub const DICTIONARY_ZSTD_LEVEL: i32 = 12;

/// The messages of a row group are compressed with a dictionary if this reduces their size to at most this share. Unit:
/// percent.
pub const DICTIONARY_PERCENT_MAX: u64 = 95;

/// Most text of the words in the index of a sealed file. Unit: bytes. Row groups with more are read by every search.
/// While a file is written, the words take about fifteen times as much memory.
pub const WORD_INDEX_TEXT_BYTES_MAX: usize = 4 << 20;

/// Most memory that the word index of a sealed file takes. Unit: bytes.
pub const WORD_INDEX_BYTES_MAX: usize = 16 << 20;

/// A sealed file has a word index if the file is at least this many times as large as the index.
pub const WORD_INDEX_SHARE: u64 = 16;

/// Most text of the codes in the index of a sealed file. Unit: bytes. Row groups with more are read by every search.
pub const CODE_INDEX_TEXT_BYTES_MAX: usize = 2 << 20;

/// A sealed file has a code index if the file is at least this many times as large as the index.
pub const CODE_INDEX_SHARE: u64 = 32;

/// The size of the parts of an upload to a bucket. Unit: bytes. Two parts are in memory at a time.
pub const UPLOAD_PART_BYTES: usize = 8 << 20;

/// How far back alert rules look for logs that their upstreams lost while they were collected. Unit: milliseconds.
pub const LOST_LOG_ALERT_MS: i64 = 2 * DAY_MS;

/// Most runs that are sealed together. Unit: runs.
pub const SEAL_RUNS_MAX: i64 = 256;

/// Number of records after which no further run is added to a sealing pass. Unit: records.
pub const SEAL_RECORDS_MAX: i64 = 2_000_000;

/// Most slices of a run that are merged in one pass. Unit: slices.
pub const SEAL_SLICES_MAX: i64 = 20_000;

/// Most overlapping slices that are merged at the same time. Each takes a few megabytes of memory.
pub const SEAL_FAN_IN: usize = 24;

/// Most records of a log that are merged before a commit, so that other logs are not delayed. Unit: records. Merging
/// them takes about a minute.
pub const SEAL_PASS_RECORDS: i64 = 16_000_000;

/// The lease of a sealing pass. Unit: milliseconds. Logs claimed by a node that was killed are delayed by this time.
///
/// A pass renews its lease between groups of rows; writing a group may have to wait for the bucket.
pub const SEAL_LEASE_MS: i64 = 3 * 60_000;

/// How often a sealing pass renews its lease. Unit: milliseconds.
pub const SEAL_RENEW_MS: i64 = 30_000;

/// The time after which `runlog doctor` reports a run that is due for sealing. Unit: milliseconds.
pub const SEAL_LATE_MS: i64 = 30 * 60_000;

/// How many times the retry delay of a damaged log doubles: from a minute to 17 hours.
pub const SEAL_DAMAGED_DOUBLINGS_MAX: i64 = 10;

/// The retry delay of a failed sealing. Unit: milliseconds.
pub const SEAL_RETRY_MS: i64 = 60_000;

/// How often a node looks up runs that are due for sealing. Unit: milliseconds.
pub const SEAL_EVERY_MS: u64 = 2_000;

/// How long the object of a replaced segment is kept for calls that are still reading it. Unit: milliseconds.
pub const REPLACED_RETENTION_MS: i64 = 3_600_000;

/// How long after its last heartbeat a collector counts as running. Unit: milliseconds. Heartbeats are sent every five
/// seconds.
pub const COLLECTOR_TTL_MS: i64 = 15_000;

/// Most summaries that are made together and stored in one transaction. Unit: runs.
pub const SUMMARIES_MAX: i64 = 64;

/// Number of records after which no further summary is added to a transaction. Unit: records.
pub const SUMMARY_RECORDS_MAX: i64 = 500_000;

/// Most summaries that one statement makes due because they are of an older version, or because their runs failed and
/// have no problem. Unit: runs. The statement takes less than a second.
pub const SUMMARIES_INVALIDATED_TOGETHER: i64 = 2_000;

/// The lease of a summary. Unit: milliseconds. It is renewed for long logs. Summaries claimed by a node that was killed
/// are delayed by this time.
pub const SUMMARY_LEASE_MS: i64 = 60_000;

/// How often a node renews the leases of the summaries that it makes. Unit: milliseconds. The leases are kept if up to
/// three renewals fail.
pub const SUMMARY_RENEW_MS: u64 = 15_000;

/// The retry delay of a summary that failed, or whose log changed in the meantime. Unit: milliseconds.
pub const SUMMARY_RETRY_MS: i64 = 60_000;

/// Compression level of summaries. A typical one takes some kilobytes.
pub const SUMMARY_ZSTD_LEVEL: i32 = 9;

/// The longest summary. Unit: bytes. The analysis produces some megabytes at most.
pub const SUMMARY_BYTES_MAX: usize = 64 << 20;

/// Most component metrics that are kept of a run. Typical jobs have tens of components, large jobs some hundreds.
pub const COMPONENT_METRICS_MAX: usize = 20_000;

/// Most processes that are kept of a run.
pub const COMPONENT_PROCESSES_MAX: usize = 2_000;

/// Most bytes that the component metrics of a run take, as JSON. Stack traces can be long.
pub const COMPONENT_METRICS_BYTES_MAX: usize = 16 << 20;

/// Number of component metrics that one statement stores: a database accepts some ten thousand values.
pub const COMPONENT_METRICS_INSERTED_TOGETHER: usize = 200;

/// The largest report of a plan execution, and the largest definition of a plan. Unit: bytes. Typical plans have tens
/// of tasks.
pub const PLAN_BYTES_MAX: usize = 4 << 20;

/// Number of listed plan executions that one transaction stores.
pub const PLANS_STORED_TOGETHER: usize = 100;

/// How long a session that was opened with a personal access token lasts. Unit: milliseconds. A working day, so that a
/// browser left signed in is not a risk for long.
pub const SESSION_TTL_MS: i64 = 12 * 3_600_000;

/// The longest saved query. Unit: bytes.
pub const SAVED_QUERY_BYTES_MAX: usize = 64 << 10;

/// Most saved queries of one caller.
pub const SAVED_QUERIES_MAX: usize = 200;

/// Most records that one filter step examines. Unit: records. A step takes some tenths of a second.
pub const FILTER_RECORDS_MAX: u64 = 250_000;

/// Most records that a histogram counts exactly. Unit: records. Counting them takes some seconds; longer logs are
/// sampled.
pub const HISTOGRAM_RECORDS_MAX: u64 = 20_000_000;

/// Number of rows whose times and severities are read at a time. Unit: records. They take little more than a megabyte.
pub const HISTOGRAM_CHUNK_RECORDS: usize = 131_072;

/// Number of finished runs that are examined together for a sink. Unit: runs.
pub const ENQUEUE_RUNS_BATCH: i64 = 500;

/// How much later than other runs with the same end time a run may become visible. Unit: milliseconds.
///
/// Much longer than the differences between clocks and the duration of transactions.
pub const FINISHED_RUNS_LOOKBACK_MS: i64 = 600_000;

/// Number of rejected records that are sent again together. Unit: records.
pub const REPLAY_BATCH_RECORDS: i64 = 500;

/// The retry delay of a delivery whose run cannot be read. Unit: milliseconds.
pub const UNREADABLE_DELIVERY_RETRY_MS: i64 = 600_000;

/// Most ranges of rejected records that are kept per run and sink. Unit: ranges.
///
/// Each range is a row of some hundred bytes in the catalog. If records are rejected for a thousand different reasons,
/// the cause must be fixed first.
pub const DEAD_LETTERS_RUN_MAX: i64 = 1_000;

/// Most ranges of rejected records that are kept per sink. Unit: ranges. They take some megabytes of the catalog.
pub const DEAD_LETTERS_SINK_MAX: i64 = 20_000;

/// Number of ranges of rejected records that one statement inserts. Unit: rows. Each has 14 values, and a statement may
/// have 32,766.
pub const DEAD_LETTERS_INSERT_BATCH: usize = 200;

/// The lease of an alert. Unit: milliseconds. Longer than any attempt to send it.
pub const ALERT_LEASE_MS: i64 = 120_000;

/// The time after which the delivery of an alert is given up. Unit: milliseconds.
pub const ALERT_GIVE_UP_MS: i64 = 3 * DAY_MS;

/// Most alerts that are sent in one message. Unit: alerts.
pub const ALERTS_TOGETHER_MAX: u64 = 500;

/// If the subject of an alert has ended this many times within [`ALERT_REPEAT_MS`], its end is reported only after a
/// delay, and it is not reported again while it is open.
pub const ALERT_REPEATS_MAX: u64 = 3;

/// The period in which the ends of an alert are counted. Unit: milliseconds.
pub const ALERT_REPEAT_MS: i64 = 3_600_000;

/// Most open alerts of a rule, counted from the latest, that are checked for their end. Unit: alerts.
pub const ALERT_STATES_MAX: u64 = 5_000;

/// Most open alerts of a rule that are listed. Unit: alerts.
pub const ALERT_STATES_LISTED_MAX: u64 = 100;

/// How long an alert may be open. Unit: milliseconds. Shorter than [`ALERT_RETENTION_MS`].
pub const ALERT_OPEN_MS_MAX: i64 = 30 * DAY_MS;

/// Most alert rules that are listed, both those in the settings and those removed from them. Unit: rules.
pub const ALERT_RULES_MAX: u64 = 1_000;

/// How long delivered alerts are kept. Unit: milliseconds.
///
/// Longer than the period that alert rules examine, so that no alert is sent twice.
pub const ALERT_RETENTION_MS: i64 = 90 * DAY_MS;

/// Most runs whose scan is planned at a time. Unit: runs.
pub const SCAN_RUNS_AT_A_TIME: i64 = 50_000;

/// Approximate number of slices whose scan is planned at a time. Unit: slices. Each takes some hundred bytes of memory
/// until it is read.
pub const SCAN_SLICES_AT_A_TIME: i64 = 100_000;

/// Most rows of a batch of a scan. Unit: records.
pub const SCAN_BATCH_RECORDS: usize = 8_192;

/// The target size of a batch of a scan, decompressed. Unit: bytes. Sorting holds at least some batches of each thread
/// in memory.
pub const SCAN_BATCH_BYTES: usize = 2 << 20;

/// How often a scan checks whether the logs that it is about to read were deleted. Unit: milliseconds.
pub const SCAN_CHECK_MS: i64 = 1_000;

/// Memory for columns that are read for a condition and also returned. Unit: bytes, for each stream of a scan.
pub const SCAN_CACHE_BYTES: usize = 16 << 20;

/// Number of rows of a catalog view that are read at a time. Unit: rows.
pub const VIEW_ROWS_BATCH: i64 = 8_192;

/// Most tasks for which a search looks up the runs before their slices; with more tasks, it examines the slices of all
/// tasks.
pub const SEARCH_TASKS_FEW: usize = 16;

/// Most runs of the workspaces of a caller that are looked up before their slices. Unit: runs. The lookup takes some
/// milliseconds. With more runs, at least one in some hundred slices of a large archive is of these workspaces.
pub const SEARCH_RUNS_FEW: i64 = 3_000;

/// Number of slices that a search reads from the catalog first. Unit: slices.
pub const SEARCH_SLICES_FIRST: i64 = 128;

/// Number of slices that a search reads from the catalog when the first ones do not suffice. Unit: slices. No search
/// can examine more slices in its time.
///
/// A search reads more, twice as many each time, only if more slices than this overlap at one instant.
pub const SEARCH_SLICES_MAX: i64 = 8_192;

/// Most slices that a search examines before it counts its results. Unit: slices. They contain about a million records.
pub const SEARCH_ROUND_SLICES_MAX: usize = 64;

/// Most components whose matches are counted separately; logs may have any number of components. Unit: components.
pub const SEARCH_COMPONENTS_MAX: usize = 500;

/// Most buckets in which the matches of a search are counted over time. Unit: buckets.
pub const SEARCH_BUCKETS_MAX: i64 = 120;

/// The duration of a round below which a search examines more slices in the next round.
pub const SEARCH_ROUND_TIME: Duration = Duration::from_millis(100);

/// The delay before work is restarted after its first failure. The delay doubles with each failure up to
/// [`WORK_BACKOFF_MAX`].
///
/// The delay is short at first because a brief outage of a dependency ends soon, and bounded because a wait of a minute
/// is acceptable.
pub const WORK_BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The longest delay before failed work is restarted; see [`WORK_BACKOFF_MIN`].
pub const WORK_BACKOFF_MAX: Duration = Duration::from_secs(60);

/// How long an attempt must run before earlier failures no longer count.
pub const WORK_BACKOFF_RESET: Duration = Duration::from_secs(60);

/// Consecutive failures after which work counts as down. Unit: failures. They take about a minute.
pub const WORK_DOWN_FAILURES: u32 = 6;

/// How long to wait for the removal of a probe, even after a request to stop.
pub(crate) const PROBE_REMOVAL: Duration = Duration::from_secs(10);

/// Number of files whose logs are made due for sealing at a time when logs are sealed again for lakehouses. Unit:
/// files.
pub const RESEAL_FILES: i64 = 4;

/// Number of files of a manifest, which is rewritten when one of them changes. Unit: files.
///
/// A manifest of this many files takes about half a megabyte, and a table of 100,000 files has a hundred manifests.
pub const LAKE_GROUP_FILES: i64 = 1_000;

/// The shortest interval between two writes of a lakehouse table of catalog rows. Unit: milliseconds.
pub const LAKE_VIEW_EVERY_MS: i64 = 5_000;

/// The shortest interval between two writes of a lakehouse table of catalog rows, as a multiple of the time that the
/// first write took.
pub const LAKE_VIEW_PAUSES: i64 = 10;

/// The length at which a file of a lakehouse table of catalog rows ends. Unit: bytes.
pub const LAKE_VIEW_FILE_BYTES: usize = 32 << 20;

/// Number of rows of a row group of such a file. Unit: rows.
pub const LAKE_VIEW_GROUP_ROWS: usize = 65_536;

/// Memory of a row group of such a file at which the row group ends early. Unit: bytes.
pub const LAKE_VIEW_GROUP_BYTES: usize = 8 << 20;

/// How many times a snapshot of a table is attempted if its files change in the meantime. Unit: attempts.
///
/// Each attempt reads only the groups that have changed since the previous attempt.
pub const LAKE_ATTEMPTS_MAX: usize = 10;
