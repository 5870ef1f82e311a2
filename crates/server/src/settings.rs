//! What an operator may set.

use std::time::Duration;

use runlog_analysis::sql::SqlSettings;
use runlog_model::{LogZone, RecordOrder};

use crate::http::proxies::Proxies;
use crate::http::tls::TlsFiles;
use crate::ingest::run_hook::RunHook;

/// Settings of the service; each has a documented default.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The address under which clients reach the service, such as `https://runlog.example.com`, for the links it
    /// makes. Default: what the client asked for (its `Host` header), over plain HTTP.
    pub public_url: Option<String>,
    /// The certificate. Default: none, plain HTTP.
    pub tls: Option<TlsFiles>,
    /// The order of the records in a file, when the request names none. Default: newest first (decision 0002).
    pub file_order: RecordOrder,
    /// Sends `expires_in` as text, as the vendor's file has it. Default: a number, as RFC 6749 has it.
    pub expires_in_as_string: bool,
    /// How long an access token is accepted. Unit: seconds. Default: 1800, as the vendor's.
    pub access_token_seconds: i64,
    /// How long a link is accepted. Unit: seconds. Default: 3600, as the vendor's.
    pub link_seconds: i64,
    /// How long the answer to a status request is held back while the file is being built. Default: 1 s.
    pub status_wait: Duration,
    /// The longest window of a list of executions. Unit: days. Default: 60, as the vendor's.
    pub window_days_max: i64,
    /// Most requests a second from one caller; 0 for as many as come. Further ones wait for their turn. Default: 100.
    pub requests_per_second: u32,
    /// How long a request of a known caller waits for its turn before it is refused. Default: 5 s.
    pub turn_time_max: Duration,
    /// Most requests a second from one address without a good token, so that guessing does not pay; 0 for as many as
    /// come. The clients behind a proxy that is not trusted share one address. Default: 20.
    pub stranger_requests_per_second: u32,
    /// The proxies before the service that are believed when they say who their client is. Default: none.
    pub proxies: Proxies,
    /// The zone of times in engine events that name none. Default: UTC.
    pub event_zone: LogZone,
    /// Which attributes of OTLP records name their run and its place.
    pub otlp: OtlpAttributes,
    /// What starts a run that is asked for with `POST /processing/executions`. Default: nothing, 501.
    pub run_hook: Option<RunHook>,
    /// The name of the account in answers that carry one. Default: `runlog`.
    pub account_id: String,
    /// Whether metrics have series for each task, of which there may be many. Default: true.
    pub metrics_by_task: bool,
    /// How much of a request, and how slow a client, is borne.
    pub bounds: Bounds,
    /// What questions in SQL may take.
    pub sql: SqlSettings,
    /// How long requests that were accepted may go on after the service is told to stop. Unit: seconds. Default: 30.
    pub stop_seconds_max: u64,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            public_url: None,
            tls: None,
            file_order: RecordOrder::Desc,
            expires_in_as_string: false,
            access_token_seconds: 1_800,
            link_seconds: 3_600,
            status_wait: Duration::from_secs(1),
            window_days_max: 60,
            requests_per_second: 100,
            turn_time_max: Duration::from_secs(5),
            stranger_requests_per_second: 20,
            proxies: Proxies::default(),
            event_zone: LogZone::default(),
            otlp: OtlpAttributes::default(),
            run_hook: None,
            account_id: "runlog".to_owned(),
            metrics_by_task: true,
            bounds: Bounds::default(),
            sql: SqlSettings::default(),
            stop_seconds_max: 30,
        }
    }
}

/// The names of OTLP attributes: of each list the first one that a record, its scope or its resource has counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpAttributes {
    /// The run, a UUID.
    pub run: Vec<String>,
    /// Its task, by id.
    pub task: Vec<String>,
    /// Its task, by name in the workspace; made there when it is not known.
    pub task_name: Vec<String>,
    /// The workspace of a task that is not known by its id.
    pub workspace: Vec<String>,
    /// How the run ended, such as `execution_failed`.
    pub status: Vec<String>,
}

impl Default for OtlpAttributes {
    fn default() -> Self {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            run: names(&["runlog.run.id", "task_execution_id", "talend.execution.id", "service.instance.id"]),
            task: names(&["runlog.task.id", "task_id", "talend.task.id"]),
            task_name: names(&["runlog.task.name", "task_name", "service.name"]),
            workspace: names(&["runlog.workspace.id", "workspace_id"]),
            status: names(&["runlog.run.status"]),
        }
    }
}

/// What protects the service from requests that are too large and clients that are too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections that are served at a time; further ones wait. As many may be open besides that have sent nothing yet;
    /// where more come, those that have been silent for longest are closed. Default: 4,096.
    pub connections_max: usize,
    /// How long a client may take to send its first byte, to agree on TLS and to send the head of a request, and how long
    /// it may stay silent between two requests. Default: 30 s.
    pub head_time_max: Duration,
    /// How long a body may stand still. Unit: time without a byte. Default: 60 s.
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
    /// Searches, searches in a log, and histograms that go on at a time; further ones wait. Default: 8. Each takes some
    /// tens of megabytes.
    pub searches_max: usize,
    /// Whole logs that are downloaded at a time; further ones wait. Default: 16. Each takes some tens of megabytes.
    pub downloads_max: usize,
    /// How long a request waits for one of these to end before it is told to come again. Default: 5 s.
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
            downloads_max: 16,
            turn_wait_max: Duration::from_secs(5),
        }
    }
}
