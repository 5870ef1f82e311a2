//! The metrics of the service, for Prometheus.

use std::fmt::{self, Write};
use std::sync::atomic::AtomicU64;

use az::SaturatingAs;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use runlog_model::{Severity, Timestamp};
use runlog_store::alerts::AlertDestination;
use runlog_store::collection::{CollectionMetrics, CollectorHeartbeat};
use runlog_store::delivery::SinkMetrics;
use runlog_store::metrics::{ArchiveMetrics, OBJECT_LATENCY_BUCKETS_MS, ObjectStoreMetrics, TaskMetrics};
use runlog_store::supervise::WorkState;

use crate::metrics::lakehouses::{LakeCounters, TableLabels};
use crate::metrics::process::ProcessMetrics;
use crate::metrics::stale_cache::Snapshot;
use crate::metrics::syslog::SyslogCounters;

/// The counters of this process.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    /// Records that were stored.
    pub(crate) records_in: Counter,
    /// Records that were returned in page files and live pages.
    pub(crate) records_out: Counter,
    /// Number of requested pages.
    pub(crate) pages: Counter,
    /// Counters of the syslog listeners.
    pub(crate) syslog: SyslogCounters,
    /// Counters of the catalog for lakehouses.
    pub(crate) lake: LakeCounters,
    statements: Family<StatementLabels, Counter>,
    sessions: Gauge,
}

/// A session of a client of PostgreSQL, counted until it is dropped.
pub(crate) struct CountedSession(Gauge);

impl Drop for CountedSession {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Metrics of this node other than its counters.
pub(crate) struct NodeMetrics {
    /// The background tasks.
    pub(crate) background: Vec<WorkState>,
    /// Its work on the archive.
    pub(crate) store: runlog_store::metrics::NodeMetrics,
    /// Memory of pushed bodies, encoded and decoded. Unit: bytes.
    pub(crate) bodies_held: (usize, usize),
    /// The limits of that memory. Unit: bytes.
    pub(crate) bodies_max: (usize, usize),
    /// Number of requests of each limited kind, and the maximum.
    pub(crate) concurrency: [(&'static str, (usize, usize)); 3],
    /// Metrics of the process from the operating system.
    pub(crate) process: ProcessMetrics,
    /// When the service started.
    pub(crate) started_at: Timestamp,
}

/// All other metrics, in addition to the counters of this process.
pub(crate) struct Scrape<'f> {
    pub(crate) archive: &'f Snapshot<ArchiveMetrics>,
    pub(crate) upstreams: &'f [CollectionMetrics],
    pub(crate) collectors: &'f [CollectorHeartbeat],
    pub(crate) sinks: &'f [SinkMetrics],
    pub(crate) alerts: &'f [AlertDestination],
    pub(crate) node: &'f NodeMetrics,
    pub(crate) now: Timestamp,
    /// True if there are series for each task.
    pub(crate) is_by_task: bool,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PoolLabels {
    pool: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct MemoryLabels {
    of: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ConcurrencyLabels {
    of: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StatementLabels {
    sqlstate: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TaskLabels {
    task: String,
    name: String,
    workspace: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RunLabels {
    task: String,
    name: String,
    workspace: String,
    status: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RecordLabels {
    task: String,
    name: String,
    workspace: String,
    severity: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct UpstreamLabels {
    upstream: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct UpstreamRunLabels {
    upstream: String,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WorkLabels {
    work: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SinkLabels {
    sink: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SinkRunLabels {
    sink: String,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DestinationLabels {
    destination: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct HostLabels {
    host: String,
}

type Seconds = Gauge<f64, AtomicU64>;

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("runlog");
        let requests = Family::default();
        // From 1 ms to 16 s, doubling.
        let durations: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 15)));
        let (records_in, records_out, pages) = (Counter::default(), Counter::default(), Counter::default());
        registry.register("http_requests", "Requests by route and status", Family::clone(&requests));
        registry.register_with_unit(
            "http_request_duration",
            "Time to the response headers",
            Unit::Seconds,
            durations.clone(),
        );
        registry.register("records_in", "Records stored", records_in.clone());
        registry.register("records_out", "Records returned, in page files and live pages", records_out.clone());
        registry.register("pages_requested", "Pages requested", pages.clone());
        let syslog = SyslogCounters::default();
        syslog.register(&mut registry);
        let lake = LakeCounters::new();
        lake.register(&mut registry);
        let (statements, sessions) = (Family::default(), Gauge::default());
        registry.register(
            "postgres_statements",
            "Statements of clients of PostgreSQL by SQLSTATE; 00000 is success",
            Family::clone(&statements),
        );
        registry.register("postgres_sessions", "Sessions of clients of PostgreSQL", sessions.clone());
        Self { registry, requests, durations, records_in, records_out, pages, syslog, lake, statements, sessions }
    }

    /// Counts a statement of a client of PostgreSQL.
    pub(crate) fn count_statement(&self, sqlstate: &'static str) {
        self.statements.get_or_create(&StatementLabels { sqlstate }).inc();
    }

    /// Counts a session of such a client until the result is dropped.
    pub(crate) fn count_session(&self) -> CountedSession {
        self.sessions.inc();
        CountedSession(self.sessions.clone())
    }

    /// Counts a request. Unknown paths are counted together, so that they cannot fill the memory.
    pub(crate) fn count_request(&self, method: &str, route: &str, status: u16, duration_ms: i64) {
        let known = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"];
        let method = if known.contains(&method) { method } else { "other" };
        let labels = RequestLabels { method: method.to_owned(), route: route.to_owned(), status };
        self.requests.get_or_create(&labels).inc();
        let seconds = duration_ms.max(0) as f64 / 1_000.0;
        self.durations.get_or_create(&RouteLabels { route: route.to_owned() }).observe(seconds);
    }

    /// All metrics in OpenMetrics format, including those of the archive.
    pub(crate) fn text(&self, scrape: &Scrape<'_>) -> Result<String, fmt::Error> {
        let Scrape { archive, upstreams, collectors, sinks, alerts, node, now, is_by_task } = scrape;
        let mut text = String::new();
        text::encode_registry(&mut text, &self.registry)?;
        text::encode_registry(&mut text, &archive_registry(&archive.value, now.millis_since(archive.at), *is_by_task))?;
        text::encode_registry(&mut text, &collection_registry(upstreams, collectors, *now))?;
        text::encode_registry(&mut text, &delivery_registry(sinks))?;
        text::encode_registry(&mut text, &alert_registry(alerts, *now))?;
        text::encode_registry(&mut text, &background_registry(&node.background))?;
        text::encode_registry(&mut text, &node_registry(node))?;
        text::encode_registry(&mut text, &process_registry(&node.process, node.started_at))?;
        write_object_durations(&mut text, &node.store.objects)?;
        text::encode_eof(&mut text)?;
        Ok(text)
    }
}

/// The current state of this node, and its requests to the object store.
fn node_registry(node: &NodeMetrics) -> Registry {
    let mut registry = Registry::with_prefix("runlog");
    let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let build = Family::<BuildLabels, Gauge>::default();
    build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION") }).set(1);
    registry.register("build_info", "The version of Runlog; always 1", build);

    let pools = || Family::<PoolLabels, Gauge>::default();
    let (open, idle, waiting, open_max) = (pools(), pools(), pools(), pools());
    for pool in &node.store.catalog {
        let labels = PoolLabels { pool: pool.name };
        open.get_or_create(&labels).set(whole(pool.open));
        idle.get_or_create(&labels).set(whole(pool.idle));
        waiting.get_or_create(&labels).set(whole(pool.waiting));
        open_max.get_or_create(&labels).set(whole(pool.open_max));
    }
    registry.register("catalog_connections", "Open connections to the catalog", open);
    registry.register("catalog_connections_idle", "Idle connections to the catalog", idle);
    registry.register("catalog_connections_max", "Maximum number of connections to the catalog", open_max);
    registry.register(
        "catalog_connections_waited_for",
        "Calls that had to wait for a connection to the catalog",
        waiting,
    );

    let errors = Family::<OperationLabels, Counter>::default();
    for figures in &node.store.objects {
        errors.get_or_create(&OperationLabels { operation: figures.operation }).inc_by(figures.errors);
    }
    registry.register("object_errors", "Failed requests to the folder or bucket of the objects", errors);

    let snapshots = Family::<TableLabels, Counter>::default();
    for (table, count) in &node.store.lake_snapshots {
        snapshots.get_or_create(&TableLabels { table }).inc_by(*count);
    }
    registry.register("iceberg_snapshots", "Snapshots of tables for lakehouses that were made", snapshots);

    let (held, most) = (Family::<MemoryLabels, Gauge>::default(), Family::<MemoryLabels, Gauge>::default());
    let memories = [
        ("bodies", node.bodies_held.0, node.bodies_max.0),
        ("decoded", node.bodies_held.1, node.bodies_max.1),
        ("records", node.store.ingest_held_bytes, node.store.ingest_bytes),
    ];
    for (of, now, max) in memories {
        held.get_or_create(&MemoryLabels { of }).set(whole(now));
        most.get_or_create(&MemoryLabels { of }).set(whole(max));
    }
    let help = "Memory used for pushed data: bodies being received, decoded bodies, and records not stored yet";
    registry.register("ingest_memory_bytes", help, held);
    registry.register("ingest_memory_max_bytes", "Limit of the memory for pushed data", most);

    let (taken, all) = (Family::<ConcurrencyLabels, Gauge>::default(), Family::<ConcurrencyLabels, Gauge>::default());
    for (of, (now, max)) in node.concurrency {
        taken.get_or_create(&ConcurrencyLabels { of }).set(whole(now));
        all.get_or_create(&ConcurrencyLabels { of }).set(whole(max));
    }
    registry.register("turns_in_use", "Concurrent searches, page reads and downloads of whole logs", taken);
    registry.register("turns_max", "Maximum number of concurrent searches, page reads and downloads", all);
    registry
}

/// Metrics of the process under the conventional names.
fn process_registry(process: &ProcessMetrics, started_at: Timestamp) -> Registry {
    let mut registry = Registry::with_prefix("process");
    let mut gauge = |name: &str, help: &str, value: Option<u64>| {
        if let Some(value) = value {
            let gauge = Gauge::<i64>::default();
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            registry.register(name, help, gauge);
        }
    };
    gauge("resident_memory_bytes", "Resident memory size in bytes", process.resident_bytes);
    gauge("virtual_memory_bytes", "Virtual memory size in bytes", process.virtual_bytes);
    gauge("open_fds", "Number of open file descriptors", process.open_fds);
    gauge("max_fds", "Maximum number of open file descriptors", process.max_fds);
    if let Some(seconds) = process.cpu_seconds {
        let cpu = Counter::<f64, AtomicU64>::default();
        cpu.inc_by(seconds);
        registry.register("cpu_seconds", "Total user and system CPU time spent in seconds", cpu);
    }
    let start = Seconds::default();
    start.set(started_at.as_millis() as f64 / 1_000.0);
    registry.register("start_time_seconds", "Start time of the process since unix epoch in seconds", start);
    registry
}

/// The time until responses of the object store started. The library of metrics cannot take precomputed histograms.
fn write_object_durations(text: &mut String, objects: &[ObjectStoreMetrics]) -> fmt::Result {
    let name = "runlog_object_request_duration_seconds";
    writeln!(text, "# HELP {name} Time to the first byte of a response of the folder or bucket of the objects.")?;
    writeln!(text, "# TYPE {name} histogram")?;
    writeln!(text, "# UNIT {name} seconds")?;
    for figures in objects {
        let operation = figures.operation;
        let mut count = 0;
        for (place, class) in figures.classes.iter().enumerate() {
            count += class;
            let end = OBJECT_LATENCY_BUCKETS_MS.get(place).map(|ms| format!("{:?}", *ms as f64 / 1_000.0));
            let end = end.as_deref().unwrap_or("+Inf");
            writeln!(text, "{name}_bucket{{operation=\"{operation}\",le=\"{end}\"}} {count}")?;
        }
        writeln!(text, "{name}_sum{{operation=\"{operation}\"}} {:?}", figures.micros as f64 / 1_000_000.0)?;
        writeln!(text, "{name}_count{{operation=\"{operation}\"}} {count}")?;
    }
    Ok(())
}

/// The metrics of the archive with their age, per task if configured.
fn archive_registry(figures: &ArchiveMetrics, age_ms: i64, is_by_task: bool) -> Registry {
    let mut registry = Registry::with_prefix("runlog");
    let mut gauge = |name: &str, help: &str, value: u64| {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    };
    gauge("archive_records", "Records in all logs", figures.records);
    gauge("archive_segments", "Objects with records", figures.segments);
    gauge("archive_segment_bytes", "Bytes of the objects with records", figures.segment_bytes);
    gauge("archive_page_bytes", "Bytes of stored page files", figures.page_bytes);
    gauge(
        "archive_figures_age_seconds",
        "Age of the metrics of the archive",
        age_ms.max(0).saturating_as::<u64>() / 1_000,
    );
    gauge(
        "archive_logs_damaged",
        "Logs that cannot be sealed because objects are missing or damaged",
        figures.logs_damaged,
    );
    gauge(
        "archive_objects_damaged",
        "Objects with records that a reader or `runlog archive verify` found damaged or missing",
        figures.objects_damaged,
    );
    gauge("archive_logs_to_seal", "Logs that are due for sealing", figures.logs_to_seal);
    gauge("pages_waiting", "Requested page files that are not built yet", figures.pages_waiting);
    gauge("pages_failed", "Page files that could not be built", figures.pages_failed);
    if is_by_task {
        register_tasks(&mut registry, figures);
    }
    registry
}

fn register_tasks(registry: &mut Registry, figures: &ArchiveMetrics) {
    let (runs, records) = (Family::<RunLabels, Gauge>::default(), Family::<RecordLabels, Gauge>::default());
    let ended = Family::<TaskLabels, Gauge>::default();
    let (seconds, success) = (Family::<TaskLabels, Seconds>::default(), Family::<TaskLabels, Seconds>::default());
    for figures in &figures.tasks {
        let of_task = labels(figures);
        for (status, count) in &figures.runs {
            let TaskLabels { task, name, workspace } = of_task.clone();
            runs.get_or_create(&RunLabels { task, name, workspace, status }).set((*count).saturating_as::<i64>());
        }
        for severity in Severity::ALL {
            let TaskLabels { task, name, workspace } = of_task.clone();
            let labels = RecordLabels { task, name, workspace, severity: severity.name() };
            records.get_or_create(&labels).set(figures.severities.of(severity).saturating_as::<i64>());
        }
        ended.get_or_create(&of_task).set(figures.runs_ended.saturating_as::<i64>());
        seconds.get_or_create(&of_task).set(figures.duration_ms as f64 / 1_000.0);
        if let Some(at) = figures.last_success {
            success.get_or_create(&of_task).set(at.as_millis() as f64 / 1_000.0);
        }
    }
    registry.register("task_runs", "Runs of a task by status", runs);
    registry.register("task_records", "Records of a task's logs by severity", records);
    registry.register("task_runs_ended", "Ended runs of a task", ended);
    registry.register("task_run_seconds", "Total duration of the ended runs of a task", seconds);
    registry.register("task_last_success_timestamp_seconds", "Time of the last successful run of a task", success);
}

/// The progress of collection, from the catalog: the same on every node, wherever the collectors run.
fn collection_registry(upstreams: &[CollectionMetrics], collectors: &[CollectorHeartbeat], now: Timestamp) -> Registry {
    let mut registry = Registry::with_prefix("runlog_collector");
    let runs = Family::<UpstreamRunLabels, Gauge>::default();
    let (records, pages) = (Family::<UpstreamLabels, Gauge>::default(), Family::<UpstreamLabels, Gauge>::default());
    let (failing, incomplete) =
        (Family::<UpstreamLabels, Gauge>::default(), Family::<UpstreamLabels, Gauge>::default());
    let components = Family::<UpstreamLabels, Gauge>::default();
    let details = Family::<UpstreamLabels, Gauge>::default();
    let (plans, plans_failing) =
        (Family::<UpstreamLabels, Gauge>::default(), Family::<UpstreamLabels, Gauge>::default());
    let (lag, listed) = (Family::<UpstreamLabels, Seconds>::default(), Family::<UpstreamLabels, Seconds>::default());
    let seconds_since = |at: i64| (now.as_millis() - at).max(0) as f64 / 1_000.0;
    for figures in upstreams {
        let upstream = || UpstreamLabels { upstream: figures.upstream.clone() };
        for (state, count) in [
            ("going", figures.running),
            ("waiting", figures.pending),
            ("landed", figures.landed),
            ("no_log", figures.no_log),
            ("gone", figures.missing),
            ("left_out", figures.excluded),
        ] {
            let labels = UpstreamRunLabels { upstream: figures.upstream.clone(), state };
            runs.get_or_create(&labels).set(count.saturating_as::<i64>());
        }
        records.get_or_create(&upstream()).set(figures.records.saturating_as::<i64>());
        pages.get_or_create(&upstream()).set(figures.pages.saturating_as::<i64>());
        failing.get_or_create(&upstream()).set(figures.failing.saturating_as::<i64>());
        incomplete.get_or_create(&upstream()).set(figures.incomplete.saturating_as::<i64>());
        components.get_or_create(&upstream()).set(figures.components_waiting.saturating_as::<i64>());
        details.get_or_create(&upstream()).set(figures.details_failed.saturating_as::<i64>());
        plans.get_or_create(&upstream()).set(figures.plans.known.saturating_as::<i64>());
        let failing_plans = figures.plans.failing.saturating_add(figures.plans.given_up);
        plans_failing.get_or_create(&upstream()).set(failing_plans.saturating_as::<i64>());
        lag.get_or_create(&upstream()).set(figures.waiting_since.map_or(0.0, seconds_since));
        if let Some(at) = figures.listed_until {
            listed.get_or_create(&upstream()).set(seconds_since(at));
        }
    }
    registry.register("runs", "Runs of an upstream by state", runs);
    registry.register("records", "Records of landed logs", records);
    registry.register("pages", "Pages of landed logs", pages);
    registry.register("runs_failing", "Runs whose last attempt failed", failing);
    registry.register("runs_incomplete", "Runs whose log could not be collected completely", incomplete);
    registry.register("component_metrics_waiting", "Runs whose component metrics are to be fetched", components);
    registry.register(
        "details_failed",
        "Failed requests for descriptions of tasks, details of runs, and the history of runs",
        details,
    );
    registry.register("plan_executions", "Plan executions of an upstream", plans);
    registry.register("plan_executions_failing", "Plan executions whose last attempt failed", plans_failing);
    registry.register("lag_seconds", "Time since the end of the oldest pending run", lag);
    registry.register("listed_seconds", "Time since runs were last listed", listed);

    let of_hosts = |value: fn(&CollectorHeartbeat) -> Option<i64>| {
        let family = Family::<HostLabels, Gauge>::default();
        for collector in collectors {
            if let Some(value) = value(collector) {
                family.get_or_create(&HostLabels { host: collector.host.clone() }).inc_by(value);
            }
        }
        family
    };
    registry.register("collectors", "Active collectors", of_hosts(|_| Some(1)));
    registry.register("requests_sent", "Requests sent by the active collectors", of_hosts(|it| Some(it.requests)));
    registry.register(
        "requests_repeated",
        "Requests retried by the active collectors",
        of_hosts(|it| Some(it.repeated)),
    );
    registry.register(
        "requests_limited",
        "Requests of the active collectors answered with 429",
        of_hosts(|it| Some(it.limited)),
    );
    registry.register("requests_per_minute", "Requests allowed per minute", of_hosts(|it| it.per_minute));
    registry.register("requests_left", "Requests left in the current minute", of_hosts(|it| it.requests_left));
    registry
}

/// The progress of deliveries, from the catalog.
fn delivery_registry(sinks: &[SinkMetrics]) -> Registry {
    let mut registry = Registry::with_prefix("runlog_sink");
    let runs = Family::<SinkRunLabels, Gauge>::default();
    let (records, refused) = (Family::<SinkLabels, Gauge>::default(), Family::<SinkLabels, Gauge>::default());
    let (failing, lag) = (Family::<SinkLabels, Gauge>::default(), Family::<SinkLabels, Gauge>::default());
    for figures in sinks {
        for (state, count) in [("due", figures.due), ("done", figures.done), ("dead", figures.dead)] {
            runs.get_or_create(&SinkRunLabels { sink: figures.name.clone(), state }).set(count.saturating_as::<i64>());
        }
        let sink = SinkLabels { sink: figures.name.clone() };
        records.get_or_create(&sink).set(figures.records.saturating_as::<i64>());
        refused.get_or_create(&sink).set(figures.refused.saturating_as::<i64>());
        failing.get_or_create(&sink).set(figures.failing.saturating_as::<i64>());
        lag.get_or_create(&sink).set(figures.lag_seconds.saturating_as::<i64>());
    }
    registry.register("runs", "Runs of a sink by state of delivery", runs);
    registry.register("records", "Records delivered to a sink", records);
    registry.register("records_refused", "Records refused by a sink and not delivered since", refused);
    registry.register("runs_failing", "Runs whose last delivery attempt failed", failing);
    registry.register("lag_seconds", "Time for which the oldest due run has been due", lag);
    registry
}

/// The alerts of each destination, from the catalog.
fn alert_registry(destinations: &[AlertDestination], now: Timestamp) -> Registry {
    let mut registry = Registry::with_prefix("runlog_alert");
    let family = Family::<DestinationLabels, Gauge>::default;
    let (delivered, waiting, refused, failing) = (family(), family(), family(), family());
    for figures in destinations {
        let of = DestinationLabels { destination: figures.destination.clone() };
        delivered.get_or_create(&of).set(figures.delivered.saturating_as::<i64>());
        waiting.get_or_create(&of).set(figures.waiting.saturating_as::<i64>());
        refused.get_or_create(&of).set(figures.refused.saturating_as::<i64>());
        let failing_ms = figures.failing_since.map_or(0, |since| now.millis_since(since).max(0));
        failing.get_or_create(&of).set(failing_ms / 1_000);
    }
    registry.register("delivered", "Alerts of the last 90 days that a destination accepted", delivered);
    registry.register("waiting", "Alerts that are not delivered yet", waiting);
    registry.register("given_up", "Alerts of the last 90 days that a destination did not accept", refused);
    registry.register("failing_seconds", "Time for which the oldest alert could not be delivered", failing);
    registry
}

/// The state of the supervised tasks of this process.
fn background_registry(states: &[WorkState]) -> Registry {
    let mut registry = Registry::with_prefix("runlog_background");
    let of = |state: &WorkState| WorkLabels { work: state.name.clone() };
    let (running, down) = (Family::<WorkLabels, Gauge>::default(), Family::<WorkLabels, Gauge>::default());
    let restarts = Family::<WorkLabels, Counter>::default();
    for state in states {
        running.get_or_create(&of(state)).set(i64::try_from(state.running).unwrap_or(i64::MAX));
        restarts.get_or_create(&of(state)).inc_by(state.restarts);
        down.get_or_create(&of(state)).set(i64::from(state.is_down()));
    }
    registry.register("workers", "Running workers of a background job", running);
    registry.register("restarts", "Number of restarts of workers that failed or panicked", restarts);
    registry.register("down", "1 if the background job fails repeatedly", down);
    registry
}

fn labels(task: &TaskMetrics) -> TaskLabels {
    TaskLabels { task: task.id.to_string(), name: task.name.clone(), workspace: task.workspace.clone() }
}
