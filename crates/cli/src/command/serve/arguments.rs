//! The arguments of `runlog serve`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use runlog_analysis::sql::SqlSettings;
use runlog_client::HttpClientBuilder;
use runlog_model::RecordOrder;
use runlog_server::{Bounds, Network, OtlpAttributes, RunHook, ToldBy};

use crate::arguments::archive::{PlaceArgs, SPILL_FOLDER};
use crate::arguments::connect::tls_of_files;
use crate::arguments::log::LogArgs;
use crate::arguments::span::Span;
use crate::exit::Outcome;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runlog serve                                    data in ./runlog-data, on 127.0.0.1:8480
  runlog serve --listen 0.0.0.0:8480 --data /var/lib/runlog --public-url https://runlog.example.com
  export RUNLOG_TOKEN=$(cat runlog-data/admin.token)    then try `runlog admin workspaces list`")]
pub(crate) struct ServeArgs {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, env = "RUNLOG_LISTEN", default_value = "127.0.0.1:8480", value_name = "ADDRESS:PORT")]
    pub(super) listen: SocketAddr,
    /// Whether /metrics has series for each task; with many thousands of tasks they are most of it
    #[arg(long, env = "RUNLOG_METRICS_BY_TASK", default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub(super) metrics_by_task: bool,
    /// Folder that holds the archive; made at the first start [default: what the settings say, or runlog-data]
    #[arg(long, env = "RUNLOG_DATA", value_name = "FOLDER")]
    pub(super) data: Option<PathBuf>,
    #[command(flatten)]
    pub(super) places: PlaceArgs,
    /// Settings with upstreams to collect from, sinks to deliver to and alerts, as well; see `runlog collect`. What
    /// they say of the archive counts where neither an option nor a variable does
    #[arg(long, env = "RUNLOG_SETTINGS", value_name = "FILE")]
    pub(super) settings: Option<PathBuf>,
    /// How long after a run's end its log may still grow: only then is a page called settled [default: what the
    /// settings say, or 30s]
    #[arg(long, env = "RUNLOG_SETTLE", value_name = "TIME")]
    pub(super) settle: Option<Span>,
    /// Address under which clients reach this service, for the links it makes [default: what the client asked for]
    #[arg(long, env = "RUNLOG_PUBLIC_URL", value_name = "URL")]
    pub(super) public_url: Option<url::Url>,
    /// Where the links to log files lead: to this service, or to the bucket itself, which then signs them and keeps the
    /// files as they are downloaded, not compressed
    #[arg(long, env = "RUNLOG_LINKS", default_value = "service", value_name = "WHERE")]
    pub(super) links: Links,
    /// Certificate for HTTPS, PEM, with those that lead to its authority; read again when it changes
    #[arg(long, env = "RUNLOG_TLS_CERTIFICATE", value_name = "FILE", requires = "tls_key")]
    pub(super) tls_certificate: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, env = "RUNLOG_TLS_KEY", value_name = "FILE", requires = "tls_certificate")]
    pub(super) tls_key: Option<PathBuf>,
    /// Authorities of client certificates, PEM: clients without one are not heard
    #[arg(long, env = "RUNLOG_TLS_CLIENT_AUTHORITIES", value_name = "FILE", requires = "tls_certificate")]
    pub(super) tls_client_authorities: Option<PathBuf>,
    /// Most records in one page
    #[arg(long, env = "RUNLOG_PAGE_RECORDS", default_value_t = runlog_model::page::PAGE_RECORDS_MAX, value_name = "COUNT",
          value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(super) page_records: u64,
    /// Pages that are built at a time
    #[arg(long, env = "RUNLOG_PAGE_BUILDERS", default_value_t = 2, value_name = "COUNT",
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(super) page_builders: u16,
    /// Most memory for records that were pushed and are not on disk yet, in MiB; further ones wait
    #[arg(long, env = "RUNLOG_INGEST_MEMORY", default_value_t = 48, value_name = "MIB",
          value_parser = clap::value_parser!(u32).range(8..=1_048_576))]
    pub(super) ingest_memory: u32,
    /// Most requests a second from one caller, 0 for as many as come
    #[arg(long, env = "RUNLOG_REQUESTS_PER_SECOND", default_value_t = 100, value_name = "COUNT")]
    pub(super) requests_per_second: u32,
    /// What starts a run that is asked for with POST /processing/executions: a command that gets it as JSON on standard
    /// input, or an address that it is posted to [default: nothing; such requests are answered with 501]
    #[arg(long, env = "RUNLOG_RUN_HOOK", hide_env_values = true, value_name = "COMMAND|URL", value_parser = RunHook::read)]
    pub(super) run_hook: Option<RunHook>,
    #[command(flatten)]
    pub(super) run_hook_tls: RunHookTlsArgs,
    /// Order of the records in a file when the request names none
    #[arg(long, env = "RUNLOG_FILE_ORDER", value_enum, default_value = "desc")]
    pub(super) file_order: FileOrder,
    /// Longest window of a list of executions, in days
    #[arg(long, env = "RUNLOG_WINDOW_DAYS", default_value_t = 60, value_name = "DAYS",
          value_parser = clap::value_parser!(i64).range(1..=36_500))]
    pub(super) window_days: i64,
    /// How long an access token is accepted
    #[arg(long, env = "RUNLOG_ACCESS_TOKEN_LIFE", default_value = "30m", value_name = "TIME")]
    pub(super) access_token_life: Span,
    /// How long a link is accepted
    #[arg(long, env = "RUNLOG_LINK_LIFE", default_value = "1h", value_name = "TIME")]
    pub(super) link_life: Span,
    /// Sends `expires_in` of access tokens as text, for clients that follow the vendor's file to the letter
    #[arg(long, env = "RUNLOG_EXPIRES_IN_AS_STRING")]
    pub(super) expires_in_as_string: bool,
    #[command(flatten)]
    pub(super) bounds: BoundArgs,
    #[command(flatten)]
    pub(super) otlp: OtlpArgs,
    #[command(flatten)]
    pub(super) events: EventArgs,
    #[command(flatten)]
    pub(super) sql: SqlArgs,
    #[command(flatten)]
    pub(super) log: LogArgs,
}

/// What protects the service from requests that are too large and clients that are too slow.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Bounds")]
pub(super) struct BoundArgs {
    /// Most requests a second from one address without a good token, 0 for as many as come
    #[arg(long, env = "RUNLOG_STRANGER_REQUESTS_PER_SECOND", default_value_t = 20, value_name = "COUNT")]
    pub(super) stranger_requests_per_second: u32,
    /// Proxies in front of the service, which are believed when they say who their client is: addresses or networks such
    /// as 10.0.0.0/8, between commas
    #[arg(long, env = "RUNLOG_TRUSTED_PROXIES", value_delimiter = ',', value_name = "NETWORKS")]
    pub(super) trusted_proxies: Vec<Network>,
    /// How trusted proxies say who their client is
    #[arg(long, env = "RUNLOG_PROXY_SAYS", default_value = "x-forwarded-for", value_name = "HOW")]
    pub(super) proxy_says: ProxySays,
    /// Connections that are served at a time; further ones wait
    #[arg(long, env = "RUNLOG_CONNECTIONS", default_value_t = Bounds::default().connections_max, value_name = "COUNT")]
    pub(super) connections: usize,
    /// How long a client may take to send the head of a request
    #[arg(long, env = "RUNLOG_HEAD_TIME", default_value = "30s", value_name = "TIME")]
    pub(super) head_time: Span,
    /// How long a body may stand still
    #[arg(long, env = "RUNLOG_BODY_SILENCE", default_value = "60s", value_name = "TIME")]
    pub(super) body_silence: Span,
    /// Longest head of a request
    #[arg(long, env = "RUNLOG_HEAD_BYTES", default_value_t = Bounds::default().head_bytes_max, value_name = "BYTES")]
    pub(super) head_bytes: usize,
    /// Longest body of a request that is not a log
    #[arg(long, env = "RUNLOG_BODY_BYTES", default_value_t = Bounds::default().body_bytes_max, value_name = "BYTES")]
    pub(super) body_bytes: usize,
    /// Longest body of an OTLP request or of engine events, unpacked
    #[arg(long, env = "RUNLOG_EVENTS_BYTES", default_value_t = Bounds::default().events_bytes_max, value_name = "BYTES")]
    pub(super) events_bytes: usize,
    /// Longest line of a pushed log
    #[arg(long, env = "RUNLOG_LINE_BYTES", default_value_t = Bounds::default().line_bytes_max, value_name = "BYTES")]
    pub(super) line_bytes: usize,
    /// How many times its packed size a pushed body may unpack to, above the first 64 MiB
    #[arg(long, env = "RUNLOG_UNPACK_RATIO", default_value_t = Bounds::default().unpack_ratio_max, value_name = "TIMES")]
    pub(super) unpack_ratio: u64,
    /// Searches, searches in a log, and histograms at a time; further ones wait
    #[arg(long, env = "RUNLOG_SEARCHES", default_value_t = 8, value_name = "COUNT",
          value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) searches: u16,
    /// Pages of logs that are read or requested at a time; further ones wait
    #[arg(long, env = "RUNLOG_PAGE_READS", default_value_t = 64, value_name = "COUNT",
          value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) page_reads: u16,
    /// Downloads of whole logs at a time; further ones wait
    #[arg(long, env = "RUNLOG_DOWNLOADS", default_value_t = 16, value_name = "COUNT",
          value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) downloads: u16,
    /// How long a search or a download waits for another one to end, and a request for the turn of its caller, before it is
    /// refused
    #[arg(long, env = "RUNLOG_TURN_WAIT", default_value = "5s", value_name = "TIME")]
    pub(super) turn_wait: Span,
}

impl BoundArgs {
    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            connections_max: self.connections,
            head_time_max: self.head_time.duration(),
            body_silence_max: self.body_silence.duration(),
            head_bytes_max: self.head_bytes,
            body_bytes_max: self.body_bytes,
            events_bytes_max: self.events_bytes,
            line_bytes_max: self.line_bytes,
            unpack_ratio_max: self.unpack_ratio,
            searches_max: usize::from(self.searches),
            page_reads_max: usize::from(self.page_reads),
            downloads_max: usize::from(self.downloads),
            turn_wait_max: self.turn_wait.duration(),
        }
    }
}

/// What questions in SQL may take.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Questions in SQL")]
pub(super) struct SqlArgs {
    /// Most memory of all questions together, in MiB; beyond it they go on in temporary files
    #[arg(long, env = "RUNLOG_SQL_MEMORY", default_value_t = 256, value_name = "MIB",
          value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    pub(super) sql_memory: u32,
    /// Most temporary files of all questions together, in MiB; they are in the folder `sql` of the data folder
    #[arg(long, env = "RUNLOG_SQL_SPILL", default_value_t = 8_192, value_name = "MIB",
          value_parser = clap::value_parser!(u32).range(16..))]
    pub(super) sql_spill: u32,
    /// How long a question may take
    #[arg(long, env = "RUNLOG_SQL_TIME", default_value = "5m", value_name = "TIME")]
    pub(super) sql_time: Span,
    /// Questions that are answered at a time; further ones are told to come again
    #[arg(long, env = "RUNLOG_SQL_QUESTIONS", default_value_t = 4, value_name = "COUNT",
          value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub(super) sql_questions: u16,
}

impl SqlArgs {
    pub(super) fn settings(&self, data: &Path) -> SqlSettings {
        SqlSettings {
            memory_bytes: (self.sql_memory as usize) << 20,
            spill_folder: Some(data.join(SPILL_FOLDER)),
            spill_bytes: u64::from(self.sql_spill) << 20,
            time_max: Some(self.sql_time.duration()),
            questions_max: usize::from(self.sql_questions),
            ..SqlSettings::default()
        }
    }
}

/// How engine events are read.
#[derive(Debug, clap::Args)]
pub(super) struct EventArgs {
    /// Zone of times in engine events that name none: UTC, an offset like +02:00, or a name like Europe/Berlin
    #[arg(long, env = "RUNLOG_EVENT_ZONE", default_value = "UTC", allow_hyphen_values = true, value_name = "ZONE")]
    pub(super) event_zone: runlog_model::LogZone,
}

/// Names of OTLP attributes, besides those that are always known.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "OTLP attributes, looked for before the usual ones")]
pub(super) struct OtlpArgs {
    /// Attribute with the id of the run; can be repeated
    #[arg(long, env = "RUNLOG_OTLP_RUN", value_delimiter = ',', value_name = "NAME")]
    pub(super) otlp_run: Vec<String>,
    /// Attribute with the id of its task
    #[arg(long, env = "RUNLOG_OTLP_TASK", value_delimiter = ',', value_name = "NAME")]
    pub(super) otlp_task: Vec<String>,
    /// Attribute with the name of its task
    #[arg(long, env = "RUNLOG_OTLP_TASK_NAME", value_delimiter = ',', value_name = "NAME")]
    pub(super) otlp_task_name: Vec<String>,
    /// Attribute with the id of the task's workspace
    #[arg(long, env = "RUNLOG_OTLP_WORKSPACE", value_delimiter = ',', value_name = "NAME")]
    pub(super) otlp_workspace: Vec<String>,
    /// Attribute with the status that ends the run
    #[arg(long, env = "RUNLOG_OTLP_STATUS", value_delimiter = ',', value_name = "NAME")]
    pub(super) otlp_status: Vec<String>,
}

impl OtlpArgs {
    pub(super) fn attributes(self) -> OtlpAttributes {
        let usual = OtlpAttributes::default();
        let before = |own: Vec<String>, usual: Vec<String>| own.into_iter().chain(usual).collect();
        OtlpAttributes {
            run: before(self.otlp_run, usual.run),
            task: before(self.otlp_task, usual.task),
            task_name: before(self.otlp_task_name, usual.task_name),
            workspace: before(self.otlp_workspace, usual.workspace),
            status: before(self.otlp_status, usual.status),
        }
    }
}

/// The order of the records in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum FileOrder {
    /// Newest first.
    Desc,
    /// Oldest first.
    Asc,
}

impl From<FileOrder> for RecordOrder {
    fn from(order: FileOrder) -> Self {
        match order {
            FileOrder::Desc => Self::Desc,
            FileOrder::Asc => Self::Asc,
        }
    }
}

/// Where links lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Links {
    /// To this service: clients need to reach nothing else.
    Service,
    /// To the bucket: the service sends none of the bytes; clients must reach the bucket.
    Bucket,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum ProxySays {
    /// In the header X-Forwarded-For.
    XForwardedFor,
    /// In the header Forwarded (RFC 7239).
    Forwarded,
    /// By the PROXY protocol, version 1 or 2, at the beginning of each connection.
    ProxyProtocol,
}

impl From<ProxySays> for ToldBy {
    fn from(says: ProxySays) -> Self {
        match says {
            ProxySays::XForwardedFor => Self::XForwardedFor,
            ProxySays::Forwarded => Self::Forwarded,
            ProxySays::ProxyProtocol => Self::ProxyProtocol,
        }
    }
}

/// Certificates for a run hook that is an address.
#[derive(Debug, clap::Args)]
pub(super) struct RunHookTlsArgs {
    /// Certificates of authorities, PEM, that are trusted besides those of the machine when the run hook is an address
    #[arg(long = "run-hook-authorities", env = "RUNLOG_RUN_HOOK_AUTHORITIES", value_name = "FILE")]
    authorities: Option<PathBuf>,
    /// Certificate with its private key, PEM, that is shown to the address of the run hook
    #[arg(long = "run-hook-client-certificate", env = "RUNLOG_RUN_HOOK_CLIENT_CERTIFICATE", value_name = "FILE")]
    client_certificate: Option<PathBuf>,
}

impl RunHookTlsArgs {
    /// The run hook, with a client that keeps to the proxy of the environment and to these certificates.
    pub(super) fn with_client(&self, hook: RunHook) -> Outcome<RunHook> {
        let tls = tls_of_files(self.authorities.as_deref(), self.client_certificate.as_deref())
            .map_err(|failure| failure.while_doing("--run-hook-authorities and --run-hook-client-certificate"))?;
        Ok(hook.with_client(HttpClientBuilder::new(&tls).build()?))
    }
}
