//! Runs the service on a listener until it is stopped.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use runlog_model::{Clock, Random};
use runlog_store::Store;
use socket2::SockRef;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::app::App;
use crate::http::connections;
use crate::http::tls::{HTTP, TlsError, TlsFiles};
use crate::ingest::syslog::listener::{Listeners, SyslogError};
use crate::limits;
use crate::limits::Bounds;
use crate::postgres::listener::{ALPN, PostgresListener};
use crate::serve::router::router;
use crate::settings::{PostgresSettings, ServerSettings};

/// Errors of the service as a whole.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The signing keys could not be read from the archive.
    #[error("cannot serve the archive")]
    Store(#[from] runlog_store::Error),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Syslog cannot be received.
    #[error(transparent)]
    Syslog(#[from] SyslogError),
    /// The listener failed.
    #[error("the listener failed")]
    Listener(#[from] std::io::Error),
}

/// Serves the archive, and builds its pages, until `stop` is cancelled.
///
/// Requests that were accepted by then are finished, for at most [`ServerSettings::stop_seconds_max`].
pub async fn serve(
    listener: TcpListener,
    store: Store,
    settings: ServerSettings,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let stop_time_max = Duration::from_secs(settings.stop_seconds_max);
    let (tls, bounds, proxies) = (settings.tls.clone(), settings.bounds, settings.proxies.clone());
    let postgres = settings.postgres.clone();
    let syslog = settings.syslog.clone();
    let app = App::new(store.clone(), settings, Arc::clone(&clock), Arc::clone(&random)).await?;
    let syslog = syslog
        .map(|syslog| Listeners::bind(syslog, store.clone(), app.metrics_handle(), clock, random))
        .transpose()?
        .map(|listeners| tokio::spawn(listeners.run(stop.clone())));
    let (jobs_stop, handle) = (CancellationToken::new(), Handle::new());
    let jobs = tokio::spawn({
        let (store, stop) = (store.clone(), jobs_stop.clone());
        async move {
            let summaries = store.supervisor().run("summaries", &stop, || {
                let (store, stop) = (store.clone(), stop.clone());
                async move {
                    runlog_analysis::make_summaries(store.summaries(), store.logs(), stop).await;
                    Ok::<_, runlog_store::Error>(())
                }
            });
            tokio::join!(store.maintenance().run_jobs(stop.clone()), summaries)
        }
    });
    let postgres = match postgres {
        Some(settings) => Some(postgres_listener(&app, settings, tls.as_ref(), &stop, &jobs_stop)?),
        None => None,
    };
    let accepting = postgres.clone().map(|listener| {
        let (store, stop) = (store.clone(), stop.clone());
        let accept = move || listener.clone().accept();
        tokio::spawn(async move { store.supervisor().run("postgres", &stop, accept).await })
    });
    tokio::spawn({
        let handle = handle.clone();
        async move {
            stop.cancelled().await;
            info!("stopping; completing the requests in progress");
            handle.graceful_shutdown(Some(stop_time_max));
        }
    });

    SockRef::from(&listener).listen(limits::BACKLOG)?;
    listener.set_nonblocking(true)?;
    let service = router(app.clone()).into_make_service_with_connect_info::<SocketAddr>();
    let served = match tls {
        None => {
            let server = axum_server::from_tcp(listener)?.handle(handle);
            let server = server.first_request_timeout(bounds.head_time_max);
            let mut server = server.acceptor(connections::plain(&bounds, proxies));
            bound(server.http_builder(), &bounds);
            server.serve(service).await
        }
        Some(files) => {
            let config = RustlsConfig::from_config(files.load(HTTP)?);
            tokio::spawn(files.keep_fresh(config.clone(), HTTP, jobs_stop.clone()));
            let server = axum_server::from_tcp(listener)?.handle(handle);
            let server = server.first_request_timeout(bounds.head_time_max);
            let mut server = server.acceptor(connections::protected(config, &bounds, proxies));
            bound(server.http_builder(), &bounds);
            server.serve(service).await
        }
    };
    // Ends by itself within some seconds; a panic was logged by its supervisor.
    if let Some(syslog) = syslog {
        let _ = syslog.await;
    }
    if let (Some(listener), Some(accepting)) = (postgres, accepting) {
        // It ends with the listener of HTTP; a listener that has failed leaves this one to be stopped here.
        accepting.abort();
        listener.finish(stop_time_max).await;
    }
    // Changes whose clients have disconnected are completed as well, within the same time.
    if tokio::time::timeout(stop_time_max, app.auth().changes().finish()).await.is_err() {
        warn!("changes of disconnected clients took too long and are aborted");
    }
    jobs_stop.cancel();
    // A failed job has been logged; pages that were not built are built after the next start.
    let _ = jobs.await;
    Ok(served?)
}

/// The listener for clients of PostgreSQL, with the certificate of the service.
fn postgres_listener(
    app: &App,
    settings: PostgresSettings,
    tls: Option<&TlsFiles>,
    stop: &CancellationToken,
    jobs_stop: &CancellationToken,
) -> Result<PostgresListener, ServeError> {
    let config = match tls {
        None => None,
        Some(files) => {
            let config = RustlsConfig::from_config(files.load(POSTGRES)?);
            tokio::spawn(files.clone().keep_fresh(config.clone(), POSTGRES, jobs_stop.clone()));
            Some(config)
        }
    };
    let PostgresSettings { listener, is_plaintext_accepted, sessions_max } = settings;
    let listener = listener.try_clone()?;
    SockRef::from(&listener).listen(limits::BACKLOG)?;
    Ok(PostgresListener::new(listener, app.clone(), config, is_plaintext_accepted, sessions_max, stop.clone())?)
}

/// The protocols of that listener.
const POSTGRES: &[&[u8]] = &[ALPN];

/// Limits the size of heads and the time of slow clients.
fn bound(http: &mut Builder<TokioExecutor>, bounds: &Bounds) {
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head_time_max)
        // The minimum of the library.
        .max_buf_size(bounds.head_bytes_max.max(8 << 10));
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(bounds.head_bytes_max).unwrap_or(u32::MAX))
        .max_concurrent_streams(limits::STREAMS_MAX)
        .keep_alive_interval(limits::STREAMS_PING_EVERY);
}
