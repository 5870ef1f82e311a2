//! The arguments of `runlog serve`.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runlog_client::HttpClientBuilder;
use runlog_model::RecordOrder;
use runlog_server::{Bounds, ClientAddressSource, Network, OtlpAttributes, PostgresSettings, RunHook};
use runlog_sql::SqlSettings;

use crate::arguments::archive::{LocationArgs, SPILL_FOLDER};
use crate::arguments::connect::{service_url, tls_of_files};
use crate::arguments::log::LogArgs;
use crate::arguments::number::between;
use crate::arguments::span::Span;
use crate::command::serve::listen::listen;
use crate::exit::Outcome;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runlog serve                          archive in ./runlog-data, listening on 127.0.0.1:8480
  runlog serve --listen 0.0.0.0:8480 --data /var/lib/runlog --public-url https://runlog.example.com
  export RUNLOG_TOKEN=$(cat runlog-data/admin.token)    then run `runlog admin workspaces list`")]
pub(crate) struct ServeArgs {
    /// Address and port to listen on; port 0 picks a free port
    #[arg(long, env = "RUNLOG_LISTEN", default_value = "127.0.0.1:8480", value_name = "ADDRESS:PORT", value_parser = address)]
    pub(super) listen: SocketAddr,
    /// Export metrics per task on /metrics; with many thousands of tasks, they are most of the output
    #[arg(long, env = "RUNLOG_METRICS_BY_TASK", default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub(super) metrics_by_task: bool,
    /// Data folder of the archive, created at the first start [default: the value in the settings, or runlog-data]
    #[arg(long, env = "RUNLOG_DATA", value_name = "FOLDER")]
    pub(super) data: Option<PathBuf>,
    #[command(flatten)]
    pub(super) places: LocationArgs,
    /// Settings file with upstreams, sinks and alerts, which this process runs as well; see `runlog collect`. Options and
    /// environment variables take precedence over its [archive] section
    #[arg(long, env = "RUNLOG_SETTINGS", value_name = "FILE")]
    pub(super) settings: Option<PathBuf>,
    /// Settle delay: how long after its end a run may still receive records; then its log counts as settled [default:
    /// the value in the settings, or 30s]
    #[arg(long, env = "RUNLOG_SETTLE", value_name = "TIME")]
    pub(super) settle: Option<Span>,
    /// Base URL under which clients reach this service, used in links [default: the host of the request]
    #[arg(long, env = "RUNLOG_PUBLIC_URL", value_name = "URL", value_parser = service_url)]
    pub(super) public_url: Option<url::Url>,
    /// Hosts under which assistants may call /mcp, in addition to that of the public URL and loopback addresses,
    /// comma-separated; requests for other hosts are refused, to prevent DNS rebinding
    #[arg(long, env = "RUNLOG_MCP_HOSTS", value_delimiter = ',', value_name = "HOSTS")]
    pub(super) mcp_hosts: Vec<String>,
    /// Target of the links to log files: this service, or the bucket. With `bucket`, links are presigned URLs of the
    /// bucket, and the files are stored as clients download them, uncompressed
    #[arg(long, env = "RUNLOG_LINKS", default_value = "service", value_name = "WHERE")]
    pub(super) links: Links,
    /// Provide the sealed logs to lakehouse engines as Apache Iceberg tables, with a catalog under /iceberg; each sealed
    /// file then contains logs of a single workspace only
    #[arg(long, env = "RUNLOG_ICEBERG")]
    pub(super) iceberg: bool,
    /// PEM file with the certificate chain for HTTPS; reloaded when it changes
    #[arg(long, env = "RUNLOG_TLS_CERTIFICATE", value_name = "FILE", requires = "tls_key")]
    pub(super) tls_certificate: Option<PathBuf>,
    /// PEM file with the private key
    #[arg(long, env = "RUNLOG_TLS_KEY", value_name = "FILE", requires = "tls_certificate")]
    pub(super) tls_key: Option<PathBuf>,
    /// PEM file with the CAs of client certificates; clients without a certificate are rejected
    #[arg(long, env = "RUNLOG_TLS_CLIENT_AUTHORITIES", value_name = "FILE", requires = "tls_certificate")]
    pub(super) tls_client_authorities: Option<PathBuf>,
    /// Maximum number of records per page
    #[arg(long, env = "RUNLOG_PAGE_RECORDS", default_value_t = runlog_model::page::PAGE_RECORDS_MAX, value_name = "COUNT",
          value_parser = between(1_u64, 10_000_000))]
    pub(super) page_records: u64,
    /// Number of page files to build at the same time
    #[arg(long, env = "RUNLOG_PAGE_BUILDERS", default_value_t = 2, value_name = "COUNT",
          value_parser = between(1_u16, 256))]
    pub(super) page_builders: u16,
    /// Maximum memory for pushed records that are not yet on disk, in MiB; further records wait
    #[arg(long, env = "RUNLOG_INGEST_MEMORY", default_value_t = 48, value_name = "MIB",
          value_parser = between(8_u32, 1_048_576))]
    pub(super) ingest_memory: u32,
    /// Maximum requests per second from one caller, or 0 for no limit
    #[arg(long, env = "RUNLOG_REQUESTS_PER_SECOND", default_value_t = 100, value_name = "COUNT")]
    pub(super) requests_per_second: u32,
    /// Hook that starts a run requested with POST /processing/executions: a command that receives the request as JSON
    /// on standard input, or a URL to which the JSON is posted [default: none; such requests are answered with 501]
    #[arg(long, env = "RUNLOG_RUN_HOOK", hide_env_values = true, value_name = "COMMAND|URL", value_parser = RunHook::read)]
    pub(super) run_hook: Option<RunHook>,
    #[command(flatten)]
    pub(super) run_hook_tls: RunHookTlsArgs,
    /// Default order of the records in a file
    #[arg(long, env = "RUNLOG_FILE_ORDER", value_enum, default_value = "desc")]
    pub(super) file_order: FileOrder,
    /// Maximum time range of a list of executions, in days
    #[arg(long, env = "RUNLOG_WINDOW_DAYS", default_value_t = 60, value_name = "DAYS",
          value_parser = between(1_i64, 36_500))]
    pub(super) window_days: i64,
    /// Lifetime of access tokens
    #[arg(long, env = "RUNLOG_ACCESS_TOKEN_LIFETIME", default_value = "30m", value_name = "TIME")]
    pub(super) access_token_lifetime: Span,
    /// Lifetime of links
    #[arg(long, env = "RUNLOG_LINK_LIFETIME", default_value = "1h", value_name = "TIME")]
    pub(super) link_lifetime: Span,
    /// Send `expires_in` of access tokens as a string, for clients that follow the vendor's schema literally
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
    #[command(flatten)]
    former: FormerArgs,
}

/// The former names of options, which are still accepted and take precedence over the current ones.
#[derive(Debug, Default, clap::Args)]
struct FormerArgs {
    /// Former name of --access-token-lifetime
    #[arg(long, env = "RUNLOG_ACCESS_TOKEN_LIFE", hide = true, value_name = "TIME")]
    access_token_life: Option<Span>,
    /// Former name of --link-lifetime
    #[arg(long, env = "RUNLOG_LINK_LIFE", hide = true, value_name = "TIME")]
    link_life: Option<Span>,
    /// Former name of --anonymous-requests-per-second
    #[arg(long, env = "RUNLOG_STRANGER_REQUESTS_PER_SECOND", hide = true, value_name = "COUNT")]
    stranger_requests_per_second: Option<u32>,
    /// Former name of --client-address-source
    #[arg(long, env = "RUNLOG_PROXY_SAYS", hide = true, value_name = "SOURCE")]
    proxy_says: Option<AddressSource>,
    /// Former name of --header-timeout
    #[arg(long, env = "RUNLOG_HEAD_TIME", hide = true, value_name = "TIME")]
    head_time: Option<Span>,
    /// Former name of --header-bytes
    #[arg(long, env = "RUNLOG_HEAD_BYTES", hide = true, value_name = "BYTES")]
    head_bytes: Option<usize>,
    /// Former name of --body-timeout
    #[arg(long, env = "RUNLOG_BODY_SILENCE", hide = true, value_name = "TIME")]
    body_silence: Option<Span>,
    /// Former name of --decompression-ratio
    #[arg(long, env = "RUNLOG_UNPACK_RATIO", hide = true, value_name = "FACTOR")]
    unpack_ratio: Option<u64>,
    /// Former name of --queue-timeout
    #[arg(long, env = "RUNLOG_TURN_WAIT", hide = true, value_name = "TIME")]
    turn_wait: Option<Span>,
    /// Former name of --sql-timeout
    #[arg(long, env = "RUNLOG_SQL_TIME", hide = true, value_name = "TIME")]
    sql_time: Option<Span>,
    /// Former name of --sql-max-queries
    #[arg(long, env = "RUNLOG_SQL_QUESTIONS", hide = true, value_name = "COUNT", value_parser = between(1_u16, 1_024))]
    sql_questions: Option<u16>,
}

impl ServeArgs {
    /// The arguments, with the values of options that were given by their former names.
    pub(crate) fn with_former_names(mut self) -> Self {
        let former = std::mem::take(&mut self.former);
        set(&mut self.access_token_lifetime, former.access_token_life);
        set(&mut self.link_lifetime, former.link_life);
        set(&mut self.bounds.anonymous_requests_per_second, former.stranger_requests_per_second);
        set(&mut self.bounds.client_address_source, former.proxy_says);
        set(&mut self.bounds.header_timeout, former.head_time);
        set(&mut self.bounds.header_bytes, former.head_bytes);
        set(&mut self.bounds.body_timeout, former.body_silence);
        set(&mut self.bounds.decompression_ratio, former.unpack_ratio);
        set(&mut self.bounds.queue_timeout, former.turn_wait);
        set(&mut self.sql.sql_timeout, former.sql_time);
        set(&mut self.sql.sql_max_queries, former.sql_questions);
        self
    }
}

fn set<T>(value: &mut T, former: Option<T>) {
    if let Some(former) = former {
        *value = former;
    }
}

/// Limits that protect the service from oversized requests and slow clients.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct BoundArgs {
    /// Maximum requests per second from one address without a valid token, or 0 for no limit
    #[arg(long, env = "RUNLOG_ANONYMOUS_REQUESTS_PER_SECOND", default_value_t = 20, value_name = "COUNT")]
    pub(super) anonymous_requests_per_second: u32,
    /// Proxies in front of the service whose client address headers are trusted: a comma-separated list of addresses or
    /// networks such as 10.0.0.0/8
    #[arg(long, env = "RUNLOG_TRUSTED_PROXIES", value_delimiter = ',', value_name = "NETWORKS")]
    pub(super) trusted_proxies: Vec<Network>,
    /// Where trusted proxies put the address of the client
    #[arg(long, env = "RUNLOG_CLIENT_ADDRESS_SOURCE", default_value = "x-forwarded-for", value_name = "SOURCE")]
    pub(super) client_address_source: AddressSource,
    /// Maximum number of concurrent connections; further connections wait
    #[arg(long, env = "RUNLOG_CONNECTIONS", default_value_t = Bounds::default().connections_max, value_name = "COUNT")]
    pub(super) connections: usize,
    /// Timeout for receiving the headers of a request
    #[arg(long, env = "RUNLOG_HEADER_TIMEOUT", default_value = "30s", value_name = "TIME")]
    pub(super) header_timeout: Span,
    /// Idle timeout while receiving a request body, or sending a response
    #[arg(long, env = "RUNLOG_BODY_TIMEOUT", default_value = "60s", value_name = "TIME")]
    pub(super) body_timeout: Span,
    /// Maximum size of the headers of a request
    #[arg(long, env = "RUNLOG_HEADER_BYTES", default_value_t = Bounds::default().head_bytes_max, value_name = "BYTES")]
    pub(super) header_bytes: usize,
    /// Maximum size of a request body other than a log
    #[arg(long, env = "RUNLOG_BODY_BYTES", default_value_t = Bounds::default().body_bytes_max, value_name = "BYTES")]
    pub(super) body_bytes: usize,
    /// Maximum size of an OTLP or engine event request, decompressed
    #[arg(long, env = "RUNLOG_EVENTS_BYTES", default_value_t = Bounds::default().events_bytes_max, value_name = "BYTES")]
    pub(super) events_bytes: usize,
    /// Maximum length of a line in a pushed log
    #[arg(long, env = "RUNLOG_LINE_BYTES", default_value_t = Bounds::default().line_bytes_max, value_name = "BYTES")]
    pub(super) line_bytes: usize,
    /// Maximum compression ratio of a pushed body, beyond the first 64 MiB
    #[arg(long, env = "RUNLOG_DECOMPRESSION_RATIO", default_value_t = Bounds::default().unpack_ratio_max,
          value_name = "FACTOR")]
    pub(super) decompression_ratio: u64,
    /// Maximum concurrent searches and histograms; further requests wait
    #[arg(long, env = "RUNLOG_SEARCHES", default_value_t = 8, value_name = "COUNT",
          value_parser = between(1_u16, u16::MAX))]
    pub(super) searches: u16,
    /// Maximum concurrent reads and requests of log pages; further requests wait
    #[arg(long, env = "RUNLOG_PAGE_READS", default_value_t = 64, value_name = "COUNT",
          value_parser = between(1_u16, u16::MAX))]
    pub(super) page_reads: u16,
    /// Maximum concurrent downloads of whole logs; further requests wait
    #[arg(long, env = "RUNLOG_DOWNLOADS", default_value_t = 16, value_name = "COUNT",
          value_parser = between(1_u16, u16::MAX))]
    pub(super) downloads: u16,
    /// How long a request waits for one of these slots, or for the rate limit of its caller, before it is rejected
    #[arg(long, env = "RUNLOG_QUEUE_TIMEOUT", default_value = "5s", value_name = "TIME")]
    pub(super) queue_timeout: Span,
}

/// An address of this machine, or the first one that a name such as localhost has.
fn address(text: &str) -> Result<SocketAddr, String> {
    let error = || format!("{text:?} is not an address and a port such as 127.0.0.1:8480, [::]:8480 or localhost:8480");
    text.parse().or_else(|_| text.to_socket_addrs().ok().and_then(|mut found| found.next()).ok_or_else(error))
}

impl BoundArgs {
    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            connections_max: self.connections,
            head_time_max: self.header_timeout.duration(),
            body_silence_max: self.body_timeout.duration(),
            head_bytes_max: self.header_bytes,
            body_bytes_max: self.body_bytes,
            events_bytes_max: self.events_bytes,
            line_bytes_max: self.line_bytes,
            unpack_ratio_max: self.decompression_ratio,
            searches_max: usize::from(self.searches),
            page_reads_max: usize::from(self.page_reads),
            downloads_max: usize::from(self.downloads),
            turn_wait_max: self.queue_timeout.duration(),
        }
    }
}

/// Limits of SQL queries.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "SQL queries")]
pub(super) struct SqlArgs {
    /// Maximum memory of all SQL queries together, in MiB; beyond it, queries spill to temporary files
    #[arg(long, env = "RUNLOG_SQL_MEMORY", default_value_t = 256, value_name = "MIB",
          value_parser = between(16_u32, 1_048_576))]
    pub(super) sql_memory: u32,
    /// Maximum size of the temporary files of all SQL queries together, in MiB; they are in the `sql` folder of the
    /// data folder
    #[arg(long, env = "RUNLOG_SQL_SPILL", default_value_t = 8_192, value_name = "MIB",
          value_parser = between(16_u32, u32::MAX))]
    pub(super) sql_spill: u32,
    /// Timeout of a SQL query
    #[arg(long, env = "RUNLOG_SQL_TIMEOUT", default_value = "5m", value_name = "TIME")]
    pub(super) sql_timeout: Span,
    /// Maximum concurrent SQL queries; further queries are rejected
    #[arg(long, env = "RUNLOG_SQL_MAX_QUERIES", default_value_t = 4, value_name = "COUNT",
          value_parser = between(1_u16, 1_024))]
    pub(super) sql_max_queries: u16,
    /// Address and port for clients of PostgreSQL, such as psql and BI tools, which read the archive in SQL [default: none]
    #[arg(long, env = "RUNLOG_SQL_LISTEN", value_name = "ADDRESS:PORT", value_parser = address)]
    pub(super) sql_listen: Option<SocketAddr>,
    /// Accept passwords from other machines over unencrypted connections; anyone on the network path can read them
    #[arg(long, env = "RUNLOG_SQL_PLAINTEXT", requires = "sql_listen")]
    pub(super) sql_plaintext: bool,
    /// Maximum number of sessions of clients of PostgreSQL; further ones are refused
    #[arg(long, env = "RUNLOG_SQL_SESSIONS", default_value_t = 100, value_name = "COUNT",
          value_parser = between(1_u16, 10_000))]
    pub(super) sql_sessions: u16,
}

impl SqlArgs {
    /// The listener for clients of PostgreSQL, if there is one.
    pub(super) fn postgres(&self) -> Outcome<Option<PostgresSettings>> {
        let Some(address) = self.sql_listen else { return Ok(None) };
        let listener = listen(address, "--sql-listen")?;
        let settings = PostgresSettings {
            listener: Arc::new(listener),
            is_plaintext_accepted: self.sql_plaintext,
            sessions_max: usize::from(self.sql_sessions),
        };
        Ok(Some(settings))
    }

    pub(super) fn settings(&self, data: &Path) -> SqlSettings {
        SqlSettings {
            memory_bytes: (self.sql_memory as usize) << 20,
            spill_folder: Some(data.join(SPILL_FOLDER)),
            spill_bytes: u64::from(self.sql_spill) << 20,
            time_max: Some(self.sql_timeout.duration()),
            queries_max: usize::from(self.sql_max_queries),
            ..SqlSettings::default()
        }
    }
}

/// How engine events are read.
#[derive(Debug, clap::Args)]
pub(super) struct EventArgs {
    /// Time zone of engine events whose times have none: UTC, an offset such as +02:00, or a name such as Europe/Berlin
    #[arg(long, env = "RUNLOG_EVENT_ZONE", default_value = "UTC", allow_hyphen_values = true, value_name = "ZONE")]
    pub(super) event_zone: runlog_model::LogZone,
}

/// Names of OTLP attributes, in addition to the default ones.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "OTLP attributes, tried before the default ones")]
pub(super) struct OtlpArgs {
    /// Attribute that contains the ID of the run; can be repeated
    #[arg(long, env = "RUNLOG_OTLP_RUN", value_delimiter = ',', value_name = "NAME")]
    pub(super) otlp_run: Vec<String>,
    /// Attribute that contains the ID of the task
    #[arg(long, env = "RUNLOG_OTLP_TASK", value_delimiter = ',', value_name = "NAME")]
    pub(super) otlp_task: Vec<String>,
    /// Attribute that contains the name of the task
    #[arg(long, env = "RUNLOG_OTLP_TASK_NAME", value_delimiter = ',', value_name = "NAME")]
    pub(super) otlp_task_name: Vec<String>,
    /// Attribute that contains the ID of the task's workspace
    #[arg(long, env = "RUNLOG_OTLP_WORKSPACE", value_delimiter = ',', value_name = "NAME")]
    pub(super) otlp_workspace: Vec<String>,
    /// Attribute that contains the status that ends the run
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

/// The target of links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Links {
    /// This service; clients need access to nothing else.
    Service,
    /// The bucket; downloads do not pass through the service, and clients must be able to reach the bucket.
    Bucket,
}

/// The source of the address of a client behind a trusted proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum AddressSource {
    /// The X-Forwarded-For header.
    XForwardedFor,
    /// The Forwarded header (RFC 7239).
    Forwarded,
    /// The PROXY protocol, version 1 or 2, at the start of each connection.
    ProxyProtocol,
}

impl From<AddressSource> for ClientAddressSource {
    fn from(source: AddressSource) -> Self {
        match source {
            AddressSource::XForwardedFor => Self::XForwardedFor,
            AddressSource::Forwarded => Self::Forwarded,
            AddressSource::ProxyProtocol => Self::ProxyProtocol,
        }
    }
}

/// Certificates for a run hook that is an address.
#[derive(Debug, clap::Args)]
pub(super) struct RunHookTlsArgs {
    /// PEM file with CA certificates to trust in addition to those of the system, for a run hook that is a URL
    #[arg(long = "run-hook-authorities", env = "RUNLOG_RUN_HOOK_AUTHORITIES", value_name = "FILE")]
    authorities: Option<PathBuf>,
    /// PEM file with the client certificate and private key for the run hook
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: ServeArgs,
    }

    #[test]
    fn former_names_of_options_are_accepted() {
        let former = "--access-token-life 1m --link-life 2m --stranger-requests-per-second 3 --proxy-says forwarded \
            --head-time 4s --head-bytes 5 --body-silence 6s --unpack-ratio 7 --turn-wait 8s --sql-time 9s --sql-questions 10";
        let program = Program::try_parse_from(std::iter::once("serve").chain(former.split_whitespace())).unwrap();
        let args = program.args.with_former_names();
        let (bounds, seconds) = (args.bounds.bounds(), |span: Span| span.duration().as_secs());
        assert_eq!((seconds(args.access_token_lifetime), seconds(args.link_lifetime)), (60, 120));
        assert_eq!(args.bounds.anonymous_requests_per_second, 3);
        assert_eq!(args.bounds.client_address_source, AddressSource::Forwarded);
        assert_eq!((bounds.head_time_max.as_secs(), bounds.head_bytes_max), (4, 5));
        assert_eq!((bounds.body_silence_max.as_secs(), bounds.unpack_ratio_max), (6, 7));
        assert_eq!(bounds.turn_wait_max.as_secs(), 8);
        assert_eq!((seconds(args.sql.sql_timeout), args.sql.sql_max_queries), (9, 10));
    }
}
