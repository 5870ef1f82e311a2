//! `runlog serve`: the archive behind its API, until it is told to stop.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use runlog_analysis::sql::SqlSettings;
use runlog_model::RecordOrder;
use runlog_server::{Bounds, Network, OtlpAttributes, Proxies, RunHook, ServerSettings, TlsFiles, ToldBy};
use runlog_store::{Store, StoreSettings};
use tokio_util::sync::CancellationToken;

use crate::admin_token::AdminTokenFile;
use crate::arguments::archive::{self, PlaceArgs};
use crate::arguments::log::LogArgs;
use crate::arguments::span::Span;
use crate::background::{collect_for_good, send_alerts, spawn_delivery};
use crate::exit::{Exit, Failure, Outcome};
use crate::render::terminal::note;
use crate::settings::Settings;
use crate::system::{SystemClock, SystemRandom};

/// Name of the folder in the data folder for temporary files of questions in SQL.
const SPILL_FOLDER: &str = "sql";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runlog serve                                    data in ./runlog-data, on 127.0.0.1:8480
  runlog serve --listen 0.0.0.0:8480 --data /var/lib/runlog --public-url https://runlog.example.com
  export RUNLOG_TOKEN=$(cat runlog-data/admin.token)    then try `runlog admin workspaces list`")]
pub(crate) struct ServeArgs {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, env = "RUNLOG_LISTEN", default_value = "127.0.0.1:8480", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Whether /metrics has series for each task; with many thousands of tasks they are most of it
    #[arg(long, env = "RUNLOG_METRICS_BY_TASK", default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    metrics_by_task: bool,
    /// Folder that holds the archive; made at the first start [default: what the settings say, or runlog-data]
    #[arg(long, env = "RUNLOG_DATA", value_name = "FOLDER")]
    data: Option<PathBuf>,
    #[command(flatten)]
    places: PlaceArgs,
    /// Settings with upstreams to collect from, sinks to deliver to and alerts, as well; see `runlog collect`. What
    /// they say of the archive counts where neither an option nor a variable does
    #[arg(long, env = "RUNLOG_SETTINGS", value_name = "FILE")]
    settings: Option<PathBuf>,
    /// How long after a run's end its log may still grow: only then is a page called settled [default: what the
    /// settings say, or 30s]
    #[arg(long, env = "RUNLOG_SETTLE", value_name = "TIME")]
    settle: Option<Span>,
    /// Address under which clients reach this service, for the links it makes [default: what the client asked for]
    #[arg(long, env = "RUNLOG_PUBLIC_URL", value_name = "URL")]
    public_url: Option<url::Url>,
    /// Where the links to log files lead: to this service, or to the bucket itself, which then signs them and keeps the
    /// files as they are downloaded, not compressed
    #[arg(long, env = "RUNLOG_LINKS", default_value = "service", value_name = "WHERE")]
    links: Links,
    /// Certificate for HTTPS, PEM, with those that lead to its authority; read again when it changes
    #[arg(long, env = "RUNLOG_TLS_CERTIFICATE", value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, env = "RUNLOG_TLS_KEY", value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// Authorities of client certificates, PEM: clients without one are not heard
    #[arg(long, env = "RUNLOG_TLS_CLIENT_AUTHORITIES", value_name = "FILE", requires = "tls_certificate")]
    tls_client_authorities: Option<PathBuf>,
    /// Most records in one page
    #[arg(long, env = "RUNLOG_PAGE_RECORDS", default_value_t = runlog_model::page::PAGE_RECORDS_MAX, value_name = "COUNT",
          value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    page_records: u64,
    /// Pages that are built at a time
    #[arg(long, env = "RUNLOG_PAGE_BUILDERS", default_value_t = 2, value_name = "COUNT",
          value_parser = clap::value_parser!(u16).range(1..=256))]
    page_builders: u16,
    /// Most memory for records that were pushed and are not on disk yet, in MiB; further ones wait
    #[arg(long, env = "RUNLOG_INGEST_MEMORY", default_value_t = 48, value_name = "MIB",
          value_parser = clap::value_parser!(u32).range(8..=1_048_576))]
    ingest_memory: u32,
    /// Most requests a second from one caller, 0 for as many as come
    #[arg(long, env = "RUNLOG_REQUESTS_PER_SECOND", default_value_t = 100, value_name = "COUNT")]
    requests_per_second: u32,
    /// What starts a run that is asked for with POST /processing/executions: a command that gets it as JSON on standard
    /// input, or an address that it is posted to [default: nothing; such requests are answered with 501]
    #[arg(long, env = "RUNLOG_RUN_HOOK", hide_env_values = true, value_name = "COMMAND|URL", value_parser = RunHook::read)]
    run_hook: Option<RunHook>,
    /// Order of the records in a file when the request names none
    #[arg(long, env = "RUNLOG_FILE_ORDER", value_enum, default_value = "desc")]
    file_order: FileOrder,
    /// Longest window of a list of executions, in days
    #[arg(long, env = "RUNLOG_WINDOW_DAYS", default_value_t = 60, value_name = "DAYS",
          value_parser = clap::value_parser!(i64).range(1..=36_500))]
    window_days: i64,
    /// How long an access token is accepted
    #[arg(long, env = "RUNLOG_ACCESS_TOKEN_LIFE", default_value = "30m", value_name = "TIME")]
    access_token_life: Span,
    /// How long a link is accepted
    #[arg(long, env = "RUNLOG_LINK_LIFE", default_value = "1h", value_name = "TIME")]
    link_life: Span,
    /// Sends `expires_in` of access tokens as text, for clients that follow the vendor's file to the letter
    #[arg(long, env = "RUNLOG_EXPIRES_IN_AS_STRING")]
    expires_in_as_string: bool,
    #[command(flatten)]
    bounds: BoundArgs,
    #[command(flatten)]
    otlp: OtlpArgs,
    #[command(flatten)]
    events: EventArgs,
    #[command(flatten)]
    sql: SqlArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// What protects the service from requests that are too large and clients that are too slow.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Bounds")]
struct BoundArgs {
    /// Most requests a second from one address without a good token, 0 for as many as come
    #[arg(long, env = "RUNLOG_STRANGER_REQUESTS_PER_SECOND", default_value_t = 20, value_name = "COUNT")]
    stranger_requests_per_second: u32,
    /// Proxies in front of the service, which are believed when they say who their client is: addresses or networks such
    /// as 10.0.0.0/8, between commas
    #[arg(long, env = "RUNLOG_TRUSTED_PROXIES", value_delimiter = ',', value_name = "NETWORKS")]
    trusted_proxies: Vec<Network>,
    /// How trusted proxies say who their client is
    #[arg(long, env = "RUNLOG_PROXY_SAYS", default_value = "x-forwarded-for", value_name = "HOW")]
    proxy_says: ProxySays,
    /// Connections that are served at a time; further ones wait
    #[arg(long, env = "RUNLOG_CONNECTIONS", default_value_t = Bounds::default().connections_max, value_name = "COUNT")]
    connections: usize,
    /// How long a client may take to send the head of a request
    #[arg(long, env = "RUNLOG_HEAD_TIME", default_value = "30s", value_name = "TIME")]
    head_time: Span,
    /// How long a body may stand still
    #[arg(long, env = "RUNLOG_BODY_SILENCE", default_value = "60s", value_name = "TIME")]
    body_silence: Span,
    /// Longest head of a request
    #[arg(long, env = "RUNLOG_HEAD_BYTES", default_value_t = Bounds::default().head_bytes_max, value_name = "BYTES")]
    head_bytes: usize,
    /// Longest body of a request that is not a log
    #[arg(long, env = "RUNLOG_BODY_BYTES", default_value_t = Bounds::default().body_bytes_max, value_name = "BYTES")]
    body_bytes: usize,
    /// Longest body of an OTLP request or of engine events, unpacked
    #[arg(long, env = "RUNLOG_EVENTS_BYTES", default_value_t = Bounds::default().events_bytes_max, value_name = "BYTES")]
    events_bytes: usize,
    /// Longest line of a pushed log
    #[arg(long, env = "RUNLOG_LINE_BYTES", default_value_t = Bounds::default().line_bytes_max, value_name = "BYTES")]
    line_bytes: usize,
    /// How many times its packed size a pushed body may unpack to, above the first 64 MiB
    #[arg(long, env = "RUNLOG_UNPACK_RATIO", default_value_t = Bounds::default().unpack_ratio_max, value_name = "TIMES")]
    unpack_ratio: u64,
    /// Searches, searches in a log, and histograms at a time; further ones wait
    #[arg(long, env = "RUNLOG_SEARCHES", default_value_t = 8, value_name = "COUNT",
          value_parser = clap::value_parser!(u16).range(1..))]
    searches: u16,
    /// Downloads of whole logs at a time; further ones wait
    #[arg(long, env = "RUNLOG_DOWNLOADS", default_value_t = 16, value_name = "COUNT",
          value_parser = clap::value_parser!(u16).range(1..))]
    downloads: u16,
    /// How long a search or a download waits for another one to end, and a request for the turn of its caller, before it is
    /// refused
    #[arg(long, env = "RUNLOG_TURN_WAIT", default_value = "5s", value_name = "TIME")]
    turn_wait: Span,
}

impl BoundArgs {
    fn bounds(&self) -> Bounds {
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
            downloads_max: usize::from(self.downloads),
            turn_wait_max: self.turn_wait.duration(),
        }
    }
}

/// What questions in SQL may take.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Questions in SQL")]
struct SqlArgs {
    /// Most memory of all questions together, in MiB; beyond it they go on in temporary files
    #[arg(long, env = "RUNLOG_SQL_MEMORY", default_value_t = 256, value_name = "MIB",
          value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    sql_memory: u32,
    /// Most temporary files of all questions together, in MiB; they are in the folder `sql` of the data folder
    #[arg(long, env = "RUNLOG_SQL_SPILL", default_value_t = 8_192, value_name = "MIB",
          value_parser = clap::value_parser!(u32).range(16..))]
    sql_spill: u32,
    /// How long a question may take
    #[arg(long, env = "RUNLOG_SQL_TIME", default_value = "5m", value_name = "TIME")]
    sql_time: Span,
    /// Questions that are answered at a time; further ones are told to come again
    #[arg(long, env = "RUNLOG_SQL_QUESTIONS", default_value_t = 4, value_name = "COUNT",
          value_parser = clap::value_parser!(u16).range(1..=1_024))]
    sql_questions: u16,
}

impl SqlArgs {
    fn settings(&self, data: &Path) -> SqlSettings {
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
struct EventArgs {
    /// Zone of times in engine events that name none: UTC, an offset like +02:00, or a name like Europe/Berlin
    #[arg(long, env = "RUNLOG_EVENT_ZONE", default_value = "UTC", allow_hyphen_values = true, value_name = "ZONE")]
    event_zone: runlog_model::LogZone,
}

/// Names of OTLP attributes, besides those that are always known.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "OTLP attributes, looked for before the usual ones")]
struct OtlpArgs {
    /// Attribute with the id of the run; can be repeated
    #[arg(long, env = "RUNLOG_OTLP_RUN", value_delimiter = ',', value_name = "NAME")]
    otlp_run: Vec<String>,
    /// Attribute with the id of its task
    #[arg(long, env = "RUNLOG_OTLP_TASK", value_delimiter = ',', value_name = "NAME")]
    otlp_task: Vec<String>,
    /// Attribute with the name of its task
    #[arg(long, env = "RUNLOG_OTLP_TASK_NAME", value_delimiter = ',', value_name = "NAME")]
    otlp_task_name: Vec<String>,
    /// Attribute with the id of the task's workspace
    #[arg(long, env = "RUNLOG_OTLP_WORKSPACE", value_delimiter = ',', value_name = "NAME")]
    otlp_workspace: Vec<String>,
    /// Attribute with the status that ends the run
    #[arg(long, env = "RUNLOG_OTLP_STATUS", value_delimiter = ',', value_name = "NAME")]
    otlp_status: Vec<String>,
}

impl OtlpArgs {
    fn attributes(self) -> OtlpAttributes {
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
enum FileOrder {
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
enum Links {
    /// To this service: clients need to reach nothing else.
    Service,
    /// To the bucket: the service sends none of the bytes; clients must reach the bucket.
    Bucket,
}

/// Runs the command until Ctrl-C or SIGTERM; a second one ends it at once.
pub(crate) async fn run(args: ServeArgs, stop: CancellationToken) -> Outcome {
    args.log.write();
    for (name, life) in [("--access-token-life", args.access_token_life), ("--link-life", args.link_life)] {
        // A key is kept for two days after another took its place.
        if !(1_000..=86_400_000).contains(&life.as_millis()) {
            return Err(Failure::new(Exit::Usage, format!("{name} is from a second to a day")));
        }
    }
    let settings_file = args.settings.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
    let stored = settings_file.archive(args.data.as_deref(), args.places.catalog, args.places.objects)?;
    let data = stored.data_folder.clone();
    let (upstreams, sinks) = (settings_file.upstreams(&data)?, settings_file.sinks()?);
    let settings = StoreSettings {
        page_records_max: args.page_records,
        settle_ms: args.settle.map_or(stored.settle_ms, Span::as_millis),
        links_by_bucket: args.links == Links::Bucket,
        page_builders: usize::from(args.page_builders),
        ingest_memory_bytes: (args.ingest_memory as usize) << 20,
        ..stored
    };
    let place = settings.place();
    let store = archive::open(settings).await?;
    if let Some(token) = store.ensure_administrator().await? {
        let file = AdminTokenFile::prepare(&data).and_then(|file| file.write(&token))?;
        note(format!("made an administrator; the token is in {} (for your eyes only)", file.display()));
    }
    let listener = TcpListener::bind(args.listen)
        .map_err(|error| Failure { exit: Exit::Unavailable, error: error.into() })
        .map_err(|failure| {
            failure.while_doing(format!("cannot listen on {}; --listen takes another address", args.listen))
        })?;
    let address = listener.local_addr().context("the listener has no address")?;
    let tls = args.tls_certificate.zip(args.tls_key).map(|(certificate, key)| TlsFiles {
        certificate,
        key,
        client_authorities: args.tls_client_authorities,
    });
    let scheme = if tls.is_some() { "https" } else { "http" };
    note(format!("runlog {} listens on {scheme}://{address}, archive in {place}", env!("CARGO_PKG_VERSION")));
    let server = ServerSettings {
        tls,
        public_url: args.public_url.map(|url| url.to_string().trim_end_matches('/').to_owned()),
        expires_in_as_string: args.expires_in_as_string,
        run_hook: args.run_hook,
        metrics_by_task: args.metrics_by_task,
        stranger_requests_per_second: args.bounds.stranger_requests_per_second,
        turn_time_max: args.bounds.turn_wait.duration(),
        proxies: Proxies { trusted: args.bounds.trusted_proxies.clone(), told_by: args.bounds.proxy_says.into() },
        bounds: args.bounds.bounds(),
        sql: args.sql.settings(&data),
        otlp: args.otlp.attributes(),
        event_zone: args.events.event_zone,
        file_order: args.file_order.into(),
        window_days_max: args.window_days,
        access_token_seconds: args.access_token_life.as_millis() / 1_000,
        link_seconds: args.link_life.as_millis() / 1_000,
        requests_per_second: args.requests_per_second,
        ..ServerSettings::default()
    };
    let alerts = settings_file.alerts(&store)?;
    let sending_alerts = tokio::spawn({
        let (store, stop) = (store.clone(), stop.clone());
        async move { send_alerts(&store, alerts, stop).await }
    });
    let mut delivering = spawn_delivery(&store, sinks, &stop);
    let collecting =
        tokio::spawn(collect_for_good(store.clone(), upstreams, Arc::new(runlog_collector::NoProgress), stop.clone()));
    let served = serve_until(listener, store.clone(), server, stop.clone()).await;
    stop.cancel();
    collecting.await.context("the collectors broke off")?;
    sending_alerts.await.context("the alerts broke off")?;
    while delivering.join_next().await.is_some() {}
    served?;
    store.close().await;
    note("stopped; everything that was accepted is stored");
    Ok(())
}

/// Serves an open archive on a listener until told to stop.
pub(crate) async fn serve_until(
    listener: TcpListener,
    store: Store,
    settings: ServerSettings,
    stop: CancellationToken,
) -> Outcome {
    runlog_server::serve(listener, store, settings, Arc::new(SystemClock), Arc::new(SystemRandom), stop)
        .await
        .map_err(|error| Failure::from(anyhow::Error::from(error)))
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ProxySays {
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
