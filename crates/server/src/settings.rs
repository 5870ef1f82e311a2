//! What an operator may set.

use std::time::Duration;

use runlog_model::{LogZone, RecordOrder};
use runlog_sql::SqlSettings;

use crate::http::proxies::Proxies;
use crate::http::tls::TlsFiles;
use crate::ingest::otlp::OtlpAttributes;
use crate::ingest::run_hook::RunHook;
use crate::limits::Bounds;

/// Settings of the service; each has a documented default.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The base URL under which clients reach the service, such as `https://runlog.example.com`, for links. Default:
    /// the host of the request (its `Host` header), over plain HTTP.
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
    /// The proxies in front of the service that are trusted to pass on the client address. Default: none.
    pub proxies: Proxies,
    /// The zone of times in engine events that name none. Default: UTC.
    pub event_zone: LogZone,
    /// Which attributes of OTLP records name their run and its place.
    pub otlp: OtlpAttributes,
    /// The hook that starts runs requested with `POST /processing/executions`. Default: none, 501.
    pub run_hook: Option<RunHook>,
    /// The name of the account in answers that carry one. Default: `runlog`.
    pub account_id: String,
    /// Whether metrics have series for each task, of which there may be many. Default: true.
    pub metrics_by_task: bool,
    /// How much of a request, and how slow a client, is borne.
    pub bounds: Bounds,
    /// The limits of SQL queries.
    pub sql: SqlSettings,
    /// How long requests in progress may continue after the service is stopped. Unit: seconds. Default: 30.
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
