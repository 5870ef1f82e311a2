//! The listener: a limited number of sessions, each in a task of its own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::app::App;
use crate::http::connections::SilentConnections;
use crate::http::proxies::read_proxy_header;
use crate::limits;
use crate::postgres::cancel::Sessions;
use crate::postgres::connection::{Connection, Stream};
use crate::postgres::failure::{Failure, Report, SessionResult, violation};
use crate::postgres::session::{Session, State};
use crate::postgres::session_settings::Settings;
use crate::postgres::startup::{self, Purpose};

/// The name of the protocol in the TLS handshake.
pub(crate) const ALPN: &[u8] = b"postgresql";

/// The listener for clients of PostgreSQL.
#[derive(Clone)]
pub(crate) struct PostgresListener {
    listener: Arc<TcpListener>,
    shared: Arc<Shared>,
}

struct Shared {
    app: App,
    tls: Option<RustlsConfig>,
    /// True if passwords are accepted without TLS from other machines as well.
    is_plaintext_accepted: bool,
    free: Arc<Semaphore>,
    /// Connections that are not signed in yet.
    silent: Arc<SilentConnections>,
    sessions: Arc<Sessions>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Ends sessions whose statements take too long when the service stops.
    abort: CancellationToken,
}

impl PostgresListener {
    /// Sessions end when `stop` is cancelled, those with a running statement when it is done.
    pub(crate) fn new(
        listener: std::net::TcpListener,
        app: App,
        tls: Option<RustlsConfig>,
        is_plaintext_accepted: bool,
        sessions_max: usize,
        stop: CancellationToken,
    ) -> std::io::Result<Self> {
        listener.set_nonblocking(true)?;
        let shared = Shared {
            app,
            tls,
            is_plaintext_accepted,
            free: Arc::new(Semaphore::new(sessions_max.clamp(1, Semaphore::MAX_PERMITS))),
            silent: Arc::new(SilentConnections::new(limits::SILENT_MIN)),
            sessions: Arc::default(),
            tasks: TaskTracker::new(),
            stop,
            abort: CancellationToken::new(),
        };
        Ok(Self { listener: Arc::new(TcpListener::from_std(listener)?), shared: Arc::new(shared) })
    }

    /// Accepts connections until the service stops.
    pub(crate) async fn accept(self) -> std::io::Result<()> {
        let Self { listener, shared } = self;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shared.stop.cancelled() => return Ok(()),
            };
            match accepted {
                Ok((stream, peer)) => drop(shared.tasks.spawn(Shared::serve(Arc::clone(&shared), stream, peer))),
                Err(error) => {
                    // Such as too many open files: others may end.
                    warn!(%error, "cannot accept a connection of a client of PostgreSQL");
                    tokio::time::sleep(limits::POSTGRES_ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Waits for the sessions to end, for at most this time.
    pub(crate) async fn finish(&self, time_max: Duration) {
        self.shared.tasks.close();
        if tokio::time::timeout(time_max, self.shared.tasks.wait()).await.is_err() {
            warn!("{} sessions of clients of PostgreSQL are aborted", self.shared.sessions.len());
            self.shared.abort.cancel();
            self.shared.tasks.wait().await;
        }
    }
}

impl Shared {
    async fn serve(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let abort = self.abort.clone();
        let ended = tokio::select! {
            ended = self.connection(stream, peer.ip().to_canonical()) => ended,
            () = abort.cancelled() => return,
        };
        match ended {
            Ok(()) => {}
            Err(Failure::Statement(report) | Failure::Session(report)) => {
                info!(client = %peer.ip(), postgres.sqlstate = report.code, reason = report.message, "a session of a client of PostgreSQL ended");
            }
            Err(Failure::Gone(error)) => debug!(client = %peer.ip(), %error, "a client of PostgreSQL has disconnected"),
        }
    }

    async fn connection(&self, stream: TcpStream, peer: IpAddr) -> SessionResult<()> {
        let silence = SilentConnections::register(&self.silent);
        let begun = tokio::select! {
            begun = tokio::time::timeout(self.app.settings().bounds.head_time_max, self.begin(stream, peer)) => begun,
            () = silence.evicted() => return Err(Failure::Gone(std::io::ErrorKind::TimedOut.into())),
            () = self.stop.cancelled() => return Ok(()),
        };
        let Some(mut session) = begun.map_err(|_| Failure::Gone(std::io::ErrorKind::TimedOut.into()))?? else {
            return Ok(());
        };
        drop(silence);
        let Ok(_permit) = Arc::clone(&self.free).try_acquire_owned() else {
            let report = Report::new("53300", "there are too many sessions; close some, or try again later");
            return Err(startup::reported(session.connection, Failure::Session(report)).await);
        };
        let _counted = self.app.metrics().count_session();
        let ended = match session.begin().await {
            Ok(()) => session.run().await,
            Err(failure) => Err(failure),
        };
        match ended {
            Ok(()) => session.connection.close().await,
            Err(failure) => return Err(startup::reported(session.connection, failure).await),
        }
        Ok(())
    }

    /// The session of a connection whose client has signed in; none if it was only there to cancel a statement.
    async fn begin(&self, mut stream: TcpStream, peer: IpAddr) -> SessionResult<Option<Session>> {
        stream.set_nodelay(true)?;
        let proxied = match self.app.settings().proxies.uses_proxy_protocol(peer) {
            true => read_proxy_header(&mut stream).await?,
            false => None,
        };
        let address = proxied.unwrap_or(peer);
        let acceptor = self.tls.as_ref().map(|config| TlsAcceptor::from(config.get_inner()));
        let stream = self.directly_encrypted(stream, acceptor.clone()).await?;
        let (mut connection, parameters) = match startup::purpose(Connection::new(stream), acceptor).await? {
            Purpose::Session(connection, parameters) => (connection, parameters),
            Purpose::Cancel { process_id, secret } => {
                self.sessions.cancel(process_id, secret);
                return Ok(None);
            }
        };
        let may_send_plain = self.is_plaintext_accepted || (peer.is_loopback() && address.is_loopback());
        let signed_in = startup::sign_in(&mut connection, &parameters, self.app.auth(), address, may_send_plain).await;
        let signed_in = match signed_in {
            Ok(signed_in) => signed_in,
            Err(failure) => return Err(startup::reported(connection, failure).await),
        };
        let (mut settings, mut warnings) = (Settings::new(), Vec::new());
        for (name, value) in &parameters.settings {
            match settings.set(name, Some(value)) {
                Ok(_) => {}
                // Drivers send settings of many servers: an unknown one is reported and ignored, unless it would change
                // values.
                Err(report) if report.code == "42704" => warnings.push(report),
                Err(report) => return Err(startup::reported(connection, Failure::Session(report)).await),
            }
        }
        let random = || {
            let mut bytes = [0; 4];
            self.app.random().fill(&mut bytes);
            i32::from_be_bytes(bytes)
        };
        let registered = self.sessions.register(random);
        info!(client = %address, caller.id = %signed_in.caller.id, application = startup::shown_name(&parameters), is_encrypted = connection.is_encrypted(), "a client of PostgreSQL has signed in");
        Ok(Some(Session {
            app: self.app.clone(),
            connection,
            signed_in,
            address,
            settings,
            registered,
            stop: self.stop.clone(),
            warnings,
            state: State::default(),
        }))
    }

    /// Begins with TLS at once if the client does.
    async fn directly_encrypted(&self, stream: TcpStream, acceptor: Option<TlsAcceptor>) -> SessionResult<Stream> {
        let mut first = [0];
        stream.peek(&mut first).await?;
        /// The type of the first record of a handshake.
        const HANDSHAKE: u8 = 0x16;
        let Some(acceptor) = acceptor.filter(|_| first[0] == HANDSHAKE) else { return Ok(Stream::Plain(stream)) };
        let stream = acceptor.accept(stream).await?;
        match stream.get_ref().1.alpn_protocol() {
            Some(ALPN) => Ok(Stream::Tls(Box::new(stream))),
            _ => Err(violation("a client that begins with TLS at once must name the protocol (ALPN)")),
        }
    }
}
