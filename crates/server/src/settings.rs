//! The settings of the service.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use runlog_model::wire::alerts::AlertPreviewBody;
use runlog_model::{LogZone, RecordOrder, Timestamp};
use runlog_sql::SqlSettings;

use crate::auth::oidc::settings::OidcSettings;
use crate::http::proxies::Proxies;
use crate::http::tls::TlsFiles;
use crate::ingest::otlp::OtlpAttributes;
use crate::ingest::run_hook::RunHook;
use crate::ingest::syslog::settings::SyslogSettings;
use crate::limits::Bounds;

/// Searches for what each alert rule would have reported since a time. The service has no rules itself.
#[derive(Clone)]
pub struct AlertPreview(Arc<PreviewAlerts>);

type PreviewAlerts = dyn Fn(Timestamp) -> BoxFuture<'static, Result<Vec<AlertPreviewBody>, String>> + Send + Sync;

impl AlertPreview {
    /// A preview by a function, which returns the reason if it fails.
    pub fn new(
        search: impl Fn(Timestamp) -> BoxFuture<'static, Result<Vec<AlertPreviewBody>, String>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(search))
    }

    pub(crate) fn since(&self, since: Timestamp) -> BoxFuture<'static, Result<Vec<AlertPreviewBody>, String>> {
        (self.0)(since)
    }
}

impl std::fmt::Debug for AlertPreview {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AlertPreview(..)")
    }
}

/// The listener for clients of PostgreSQL.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    /// Where it listens.
    pub listener: Arc<TcpListener>,
    /// True if passwords from other machines are accepted without TLS.
    pub is_plaintext_accepted: bool,
    /// Maximum number of sessions at a time; further ones are refused.
    pub sessions_max: usize,
}

/// Settings of the service; each has a documented default.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The base URL under which clients reach the service, such as `https://runlog.example.com`, for links. Default:
    /// the host of the request (its `Host` header), over plain HTTP.
    pub public_url: Option<String>,
    /// The certificate. Default: none, plain HTTP.
    pub tls: Option<TlsFiles>,
    /// The default order of the records in a file. Default: newest first (decision 0002).
    pub file_order: RecordOrder,
    /// Sends `expires_in` as a string, as in the vendor's file. Default: a number, as in RFC 6749.
    pub expires_in_as_string: bool,
    /// Lifetime of an access token. Unit: seconds. Default: 1800, as in Talend Cloud.
    pub access_token_seconds: i64,
    /// Lifetime of a link. Unit: seconds. Default: 3600, as in Talend Cloud.
    pub link_seconds: i64,
    /// How long the response to a status request is delayed while the file is being built. Default: 1 s.
    pub status_wait: Duration,
    /// The longest period of a list of executions. Unit: days. Default: 60, as in Talend Cloud.
    pub window_days_max: i64,
    /// Maximum requests per second of one caller; 0 for no limit. Further ones wait. Default: 100.
    pub requests_per_second: u32,
    /// Maximum time that a request of a known caller waits before it is refused. Default: 5 s.
    pub turn_time_max: Duration,
    /// Maximum requests per second of one address without a valid token, which makes guessing futile; 0 for no limit.
    /// The clients behind an untrusted proxy share one address. Default: 20.
    pub anonymous_requests_per_second: u32,
    /// The proxies in front of the service that are trusted to pass on the client address. Default: none.
    pub proxies: Proxies,
    /// Hosts under which `/mcp` may be called, in addition to the host of the public URL and loopback addresses: names,
    /// or
    /// `name:port`. Default: none.
    pub mcp_hosts: Vec<String>,
    /// Sign-in with an identity provider; it requires a public URL. Default: none, with tokens only.
    pub oidc: Option<OidcSettings>,
    /// The time zone of times in engine events without a zone. Default: UTC.
    pub event_zone: LogZone,
    /// The attributes of OTLP records with their run, task and workspace.
    pub otlp: OtlpAttributes,
    /// The syslog listeners. Default: none.
    pub syslog: Option<SyslogSettings>,
    /// The hook that starts runs requested with `POST /processing/executions`. Default: none, 501.
    pub run_hook: Option<RunHook>,
    /// Searches for what the alert rules of the settings would have reported. Default: none, 501.
    pub alert_preview: Option<AlertPreview>,
    /// The name of the account in responses that contain one. Default: `runlog`.
    pub account_id: String,
    /// True if metrics have series for each task, of which there may be many. Default: true.
    pub metrics_by_task: bool,
    /// Limits on the size of requests and on slow clients.
    pub bounds: Bounds,
    /// The limits of SQL queries.
    pub sql: SqlSettings,
    /// The listener for clients of PostgreSQL. Default: none.
    pub postgres: Option<PostgresSettings>,
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
            anonymous_requests_per_second: 20,
            proxies: Proxies::default(),
            mcp_hosts: Vec::new(),
            oidc: None,
            event_zone: LogZone::default(),
            otlp: OtlpAttributes::default(),
            syslog: None,
            run_hook: None,
            alert_preview: None,
            account_id: "runlog".to_owned(),
            metrics_by_task: true,
            bounds: Bounds::default(),
            sql: SqlSettings::default(),
            postgres: None,
            stop_seconds_max: 30,
        }
    }
}
