//! The listeners of syslog: connections over TCP and TLS, and datagrams.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use axum_server::tls_rustls::RustlsConfig;
use bytes::BytesMut;
use futures::future::BoxFuture;
use runlog_model::{Clock, Random};
use runlog_store::Store;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::http::connections::keep_alive;
use crate::http::tls::{NO_PROTOCOL, TlsError, TlsFiles};
use crate::ingest::syslog::batch::{Batch, Receiver, and_more};
use crate::ingest::syslog::frames::{Frame, Frames, Start};
use crate::ingest::syslog::settings::SyslogSettings;
use crate::ingest::syslog::socket_drops::datagrams_lost;
use crate::limits;
use crate::metrics::counters::Metrics;

/// The reason why syslog cannot be received.
#[derive(Debug, thiserror::Error)]
pub enum SyslogError {
    /// An address cannot be listened on.
    #[error("cannot listen for syslog on {transport} {address}; choose another address in [syslog]")]
    Listen {
        /// `tcp`, `tls` or `udp`.
        transport: &'static str,
        /// The address of the settings.
        address: SocketAddr,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The settings contradict themselves.
    #[error("[syslog]: {0}")]
    Settings(String),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Sockets that are bound, and what stores their messages.
pub(crate) struct Listeners {
    tcp: Option<TcpListener>,
    tls: Option<(TcpListener, RustlsConfig, TlsFiles)>,
    udp: Option<UdpSocket>,
    receiver: Arc<Receiver>,
    connections: Arc<Semaphore>,
}

/// State shared by all listeners.
#[derive(Clone)]
struct Shared {
    receiver: Arc<Receiver>,
    connections: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Listeners {
    /// Binds the addresses of the settings.
    pub(crate) fn bind(
        settings: SyslogSettings,
        store: Store,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Result<Self, SyslogError> {
        settings.check().map_err(SyslogError::Settings)?;
        let bind = |transport: &'static str, address: SocketAddr| {
            let bound = TcpListener::bind(address).and_then(|listener| {
                listener.set_nonblocking(true)?;
                SockRef::from(&listener).listen(limits::BACKLOG)?;
                // Data in this buffer is lost when the process is killed. Connections inherit its size.
                let _ = SockRef::from(&listener).set_recv_buffer_size(limits::SYSLOG_TCP_BUFFER_BYTES);
                info!("syslog listens on {transport} {}", listener.local_addr()?);
                Ok(listener)
            });
            bound.map_err(|source| SyslogError::Listen { transport, address, source })
        };
        let tls = match (settings.tls, &settings.tls_files) {
            (Some(address), Some(files)) => {
                let config = RustlsConfig::from_config(files.load(NO_PROTOCOL)?);
                Some((bind("tls", address)?, config, files.clone()))
            }
            _ => None,
        };
        let tcp = settings.tcp.map(|address| bind("tcp", address)).transpose()?;
        let udp = settings.udp.map(|address| {
            let bound = UdpSocket::bind(address).and_then(|socket| {
                socket.set_nonblocking(true)?;
                // The system may allow less.
                let _ = SockRef::from(&socket).set_recv_buffer_size(limits::SYSLOG_UDP_BUFFER_BYTES);
                info!("syslog listens on udp {}", socket.local_addr()?);
                Ok(socket)
            });
            bound.map_err(|source| SyslogError::Listen { transport: "udp", address, source })
        });
        let connections = Arc::new(Semaphore::new(settings.connections_max.min(Semaphore::MAX_PERMITS)));
        let receiver = Arc::new(Receiver::new(store, metrics, settings, clock, random));
        Ok(Self { tcp, tls, udp: udp.transpose()?, receiver, connections })
    }

    /// Receives messages until `stop` is cancelled; then stores what has arrived.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let supervisor = self.receiver.store.supervisor().clone();
        let shared = Shared { receiver: self.receiver, connections: self.connections, stop: stop.clone() };
        let tcp = async {
            let Some(listener) = self.tcp.map(Arc::new) else { return };
            supervisor.run("syslog tcp", &stop, || accept(shared.clone(), Arc::clone(&listener), None)).await;
        };
        let tls = async {
            let Some((listener, config, files)) = self.tls else { return };
            let listener = Arc::new(listener);
            tokio::join!(
                files.keep_fresh(config.clone(), NO_PROTOCOL, stop.clone()),
                supervisor.run("syslog tls", &stop, || {
                    accept(shared.clone(), Arc::clone(&listener), Some(config.clone()))
                })
            );
        };
        let udp = async {
            let Some(socket) = self.udp.map(Arc::new) else { return };
            supervisor.run("syslog udp", &stop, || receive_datagrams(shared.clone(), Arc::clone(&socket))).await;
        };
        let days = supervisor.run("syslog days", &stop, || {
            let (receiver, stop) = (Arc::clone(&shared.receiver), stop.clone());
            async move { receiver.end_days(&stop).await }
        });
        tokio::join!(tcp, tls, udp, days);
    }
}

/// Accepts connections until stopped, and waits for those that are open then.
async fn accept(shared: Shared, listener: Arc<TcpListener>, tls: Option<RustlsConfig>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener.try_clone()?)?;
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, sender)) => {
                    if let Some(connection) = connection(&shared, stream, sender, tls.as_ref()) {
                        open.spawn(connection);
                    }
                }
                // Such as too many open files, or a sender that has gone already.
                Err(_) => tokio::time::sleep(limits::SYSLOG_PAUSE_MIN).await,
            },
            Some(ended) = open.join_next(), if !open.is_empty() => {
                if let Err(error) = ended && error.is_panic() {
                    tracing::error!("syslog: a connection failed: {error}");
                }
            }
            () = shared.stop.cancelled() => break,
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
    Ok(())
}

/// The task that serves a connection; none if it is not accepted.
fn connection(
    shared: &Shared,
    stream: TcpStream,
    sender: SocketAddr,
    tls: Option<&RustlsConfig>,
) -> Option<BoxFuture<'static, ()>> {
    let Shared { receiver, connections, stop } = shared.clone();
    if !receiver.settings.allows(sender) {
        reject(&receiver, "network", sender, "its address is in none of the networks of `allow`");
        return None;
    }
    let Ok(permit) = connections.try_acquire_owned() else {
        reject(&receiver, "connections", sender, "there are as many connections as `connections` allows");
        return None;
    };
    keep_alive(&stream);
    let acceptor = tls.map(|config| {
        let mut config = config.get_inner().as_ref().clone();
        // Those of HTTP.
        config.alpn_protocols.clear();
        TlsAcceptor::from(Arc::new(config))
    });
    Some(Box::pin(async move {
        let _permit = permit;
        receiver.metrics.syslog.connections.inc();
        match acceptor {
            None => receive(&receiver, "tcp", stream, sender, &stop).await,
            Some(acceptor) => match timeout(limits::SYSLOG_HANDSHAKE_TIME, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => receive(&receiver, "tls", stream, sender, &stop).await,
                Ok(Err(error)) => reject(&receiver, "handshake", sender, &format!("TLS failed: {error}")),
                Err(_) => reject(&receiver, "handshake", sender, "the TLS handshake took too long"),
            },
        }
        receiver.metrics.syslog.connections.dec();
    }))
}

fn reject(receiver: &Receiver, reason: &'static str, sender: SocketAddr, why: &str) {
    receiver.metrics.syslog.count_rejected(reason);
    if let Some(more) = receiver.rejections.take_suppressed() {
        warn!("syslog: {} is not accepted: {why}{}", sender.ip().to_canonical(), and_more(more));
    }
}

/// Reads the messages of a connection and stores them, one after the other.
async fn receive(
    receiver: &Receiver,
    transport: &'static str,
    mut stream: impl AsyncRead + Unpin,
    sender: SocketAddr,
    stop: &CancellationToken,
) {
    let (mut frames, mut buffer) = (Frames::new(receiver.settings.message_bytes_max), BytesMut::new());
    let (mut batch, mut last) = (Batch::default(), None);
    // After the service was stopped, what has arrived already is still read.
    let mut until: Option<Instant> = None;
    loop {
        while let Some(frame) = frames.next(&mut buffer) {
            batch.push(frame, sender, receiver.clock.now());
            if batch.is_full() {
                receiver.store(transport, std::mem::take(&mut batch), &mut last, stop).await;
            }
        }
        buffer.reserve(limits::SYSLOG_READ_BYTES);
        let wait = if until.is_some() { limits::SYSLOG_DRAIN_PAUSE } else { receiver.settings.idle_max };
        let due = batch.due();
        tokio::select! {
            read = timeout(wait, stream.read_buf(&mut buffer)) => match read {
                Ok(Ok(length)) if length > 0 && until.is_none_or(|until| Instant::now() < until) => {}
                // The end, an error such as a reset, or silence.
                _ => break,
            },
            () = async { sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {
                receiver.store(transport, std::mem::take(&mut batch), &mut last, stop).await;
            }
            () = stop.cancelled(), if until.is_none() => until = Some(Instant::now() + limits::SYSLOG_DRAIN_TIME),
        }
    }
    // The last read may have been of whole messages.
    while let Some(frame) = frames.next(&mut buffer) {
        batch.push(frame, sender, receiver.clock.now());
    }
    if let Some(frame) = frames.finish(&mut buffer) {
        batch.push(frame, sender, receiver.clock.now());
    }
    receiver.store(transport, batch, &mut last, stop).await;
}

/// Receives datagrams, each a message, while those before are stored. If too many wait, the system discards further
/// ones, which is counted.
async fn receive_datagrams(shared: Shared, socket: Arc<UdpSocket>) -> io::Result<()> {
    let Shared { receiver, stop, .. } = shared;
    let socket = tokio::net::UdpSocket::from_std(socket.try_clone()?)?;
    let mut datagram = vec![0; 64 << 10];
    let mut batch = Batch::default();
    let mut storing: Option<BoxFuture<'_, ()>> = None;
    let mut look = tokio::time::interval(limits::SYSLOG_CHECK_INTERVAL);
    let mut lost = datagrams_lost(&socket).unwrap_or(0);
    let store = |batch: Batch| {
        let (receiver, stop) = (&receiver, &stop);
        Box::pin(async move { receiver.store("udp", batch, &mut None, stop).await })
    };
    loop {
        let due = batch.due().filter(|_| storing.is_none());
        tokio::select! {
            received = socket.recv_from(&mut datagram), if batch.bytes() < limits::SYSLOG_UDP_WAITING_BYTES => {
                // An error is that of an earlier answer to some sender.
                let Ok((length, sender)) = received else { continue };
                push_datagram(&receiver, &mut batch, &datagram[..length], sender);
            }
            () = async { if let Some(storing) = &mut storing { storing.await } }, if storing.is_some() => storing = None,
            () = async { sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {
                storing = Some(store(std::mem::take(&mut batch)));
            }
            _ = look.tick() => {
                let now = datagrams_lost(&socket).unwrap_or(lost);
                if now > lost {
                    receiver.metrics.syslog.datagrams_lost.inc_by(now - lost);
                    if let Some(more) = receiver.rejections.take_suppressed() {
                        let advice = "more arrive than can be stored; use TCP, which waits";
                        warn!("syslog: the system discarded {} datagrams: {advice}{}", now - lost, and_more(more));
                    }
                    lost = now;
                }
            }
            () = stop.cancelled() => break,
        }
    }
    while let Ok((length, sender)) = socket.try_recv_from(&mut datagram)
        && batch.bytes() < limits::SYSLOG_UDP_WAITING_BYTES
    {
        push_datagram(&receiver, &mut batch, &datagram[..length], sender);
    }
    if let Some(storing) = storing {
        storing.await;
    }
    store(batch).await;
    Ok(())
}

fn push_datagram(receiver: &Receiver, batch: &mut Batch, datagram: &[u8], sender: SocketAddr) {
    if !receiver.settings.allows(sender) {
        return reject(receiver, "network", sender, "its address is in none of the networks of `allow`");
    }
    let end = datagram.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n' | 0)).map_or(0, |last| last + 1);
    if end == 0 {
        return receiver.metrics.syslog.count_rejected("empty");
    }
    let most = receiver.settings.message_bytes_max.min(end);
    let whole_bytes = (most < end).then_some(end as u64);
    let frame = Frame { bytes: datagram[..most].to_vec(), whole_bytes, start: Start::Message };
    batch.push(frame, sender, receiver.clock.now());
}
