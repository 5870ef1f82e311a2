//! Connections: a limited number is served at a time, and further ones wait. Data is sent immediately.
//!
//! A connection counts as active from the first byte of a request. An idle connection only takes a socket, for a
//! limited time, and their number is limited: beyond that, those that have been idle for longest are closed. Thus, a
//! client cannot block others by opening connections.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::Request;
use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use bytes::{Buf, Bytes, BytesMut};
use futures::future::BoxFuture;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use crate::http::proxies::{Proxies, read_proxy_header};
use crate::limits;
use crate::limits::Bounds;

/// Accepts like `inner`, with a limited number of connections.
#[derive(Debug, Clone)]
pub(crate) struct BoundedAcceptor<A> {
    inner: A,
    free: Arc<Semaphore>,
    silent: Arc<SilentConnections>,
    silence_max: Duration,
    write_time_max: Duration,
}

/// Plain connections.
pub(crate) fn plain(bounds: &Bounds, proxies: Proxies) -> BoundedAcceptor<PlainAcceptor> {
    BoundedAcceptor::new(PlainAcceptor { proxies: Arc::new(proxies) }, bounds)
}

/// Connections with TLS.
pub(crate) fn protected(
    config: RustlsConfig,
    bounds: &Bounds,
    proxies: Proxies,
) -> BoundedAcceptor<RustlsAcceptor<PlainAcceptor>> {
    let plain = PlainAcceptor { proxies: Arc::new(proxies) };
    let acceptor = RustlsAcceptor::new(config).handshake_timeout(bounds.head_time_max).acceptor(plain);
    BoundedAcceptor::new(acceptor, bounds)
}

impl<A> BoundedAcceptor<A> {
    fn new(inner: A, bounds: &Bounds) -> Self {
        let most = bounds.connections_max.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            inner,
            free: Arc::new(Semaphore::new(most)),
            silent: Arc::new(SilentConnections::new(most.max(limits::SILENT_MIN))),
            silence_max: bounds.head_time_max,
            write_time_max: bounds.body_silence_max,
        }
    }
}

impl<A, I, S> Accept<I, S> for BoundedAcceptor<A>
where
    A: Accept<I, S, Future: Send> + Clone + Send + Sync + 'static,
    A::Stream: AsyncRead + AsyncWrite + Unpin + Send,
    A::Service: Send,
    I: Send + 'static,
    S: Send + 'static,
{
    type Stream = PrefixedStream<A::Stream>;
    type Service = WithPermit<A::Service>;
    type Future = BoxFuture<'static, io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let (inner, free, silence_max) = (self.inner.clone(), Arc::clone(&self.free), self.silence_max);
        let write_time_max = self.write_time_max;
        let silence = SilentConnections::register(&self.silent);
        Box::pin(async move {
            let beginning = async {
                let (mut stream, service) = inner.accept(stream, service).await?;
                let mut first = BytesMut::with_capacity(limits::FIRST_BYTES);
                match stream.read_buf(&mut first).await? {
                    0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                    _ => {
                        let first = first.freeze();
                        Ok((PrefixedStream { first, stream, write_time_max, blocked: None }, service))
                    }
                }
            };
            let (stream, service) = tokio::select! {
                begun = tokio::time::timeout(silence_max, beginning) => begun.map_err(|_| io::ErrorKind::TimedOut)??,
                () = silence.evicted() => return Err(io::ErrorKind::TimedOut.into()),
            };
            drop(silence);
            let permit = Arc::new(free.acquire_owned().await.map_err(io::Error::other)?);
            Ok((stream, WithPermit { service, _permit: permit }))
        })
    }
}

/// Connections that have not sent anything yet.
#[derive(Debug)]
pub(crate) struct SilentConnections {
    most: usize,
    number: AtomicU64,
    /// In the order of their arrival.
    since: Mutex<BTreeMap<u64, CancellationToken>>,
}

/// One of them, until it is dropped.
pub(crate) struct SilentConnection {
    of: Arc<SilentConnections>,
    number: u64,
    ended: CancellationToken,
}

impl SilentConnections {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, number: AtomicU64::new(0), since: Mutex::default() }
    }

    pub(crate) fn register(silent: &Arc<Self>) -> SilentConnection {
        let number = silent.number.fetch_add(1, Ordering::Relaxed);
        let ended = CancellationToken::new();
        let mut since = silent.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.insert(number, ended.clone());
        while since.len() > silent.most
            && let Some((_, longest)) = since.pop_first()
        {
            longest.cancel();
        }
        drop(since);
        SilentConnection { of: Arc::clone(silent), number, ended }
    }
}

impl SilentConnection {
    /// Returns when this connection has been idle for longest and there are too many.
    pub(crate) async fn evicted(&self) {
        self.ended.cancelled().await;
    }
}

impl Drop for SilentConnection {
    fn drop(&mut self) {
        self.of.since.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

/// Configures new connections: data is sent immediately, and the PROXY protocol of trusted proxies is read.
///
/// By default, the system would delay the end of a file until the client has acknowledged the data before it, which
/// takes 40 ms per file.
#[derive(Debug, Clone)]
pub(crate) struct PlainAcceptor {
    proxies: Arc<Proxies>,
}

/// Lets the system notice that the other side of a connection has gone, however long it may be idle.
pub(crate) fn keep_alive(stream: &TcpStream) {
    let time = limits::CONNECTION_KEEP_ALIVE;
    // A system that does not support it keeps the connection until something is sent.
    let _ = SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(time).with_interval(time));
}

impl<S: Send + 'static> Accept<TcpStream, S> for PlainAcceptor {
    type Stream = TcpStream;
    type Service = WithProxiedAddress<S>;
    type Future = BoxFuture<'static, io::Result<(TcpStream, WithProxiedAddress<S>)>>;

    fn accept(&self, mut stream: TcpStream, service: S) -> Self::Future {
        let proxies = Arc::clone(&self.proxies);
        Box::pin(async move {
            stream.set_nodelay(true)?;
            keep_alive(&stream);
            let client = match proxies.uses_proxy_protocol(stream.peer_addr()?.ip()) {
                true => read_proxy_header(&mut stream).await?,
                false => None,
            };
            Ok((stream, WithProxiedAddress { service, client: client.map(ProxiedAddress) }))
        })
    }
}

/// The address of the client, as sent by a proxy when it opened the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProxiedAddress(pub(crate) IpAddr);

/// The service of a connection, which adds the address of the client to its requests.
#[derive(Debug, Clone)]
pub(crate) struct WithProxiedAddress<S> {
    service: S,
    client: Option<ProxiedAddress>,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for WithProxiedAddress<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Some(client) = self.client {
            request.extensions_mut().insert(client);
        }
        self.service.call(request)
    }
}

/// A connection whose first bytes have been read. It fails when its client receives nothing of what is written for too
/// long: what was read for it would stay in memory, and keep the turns of others.
#[derive(Debug)]
pub(crate) struct PrefixedStream<S> {
    first: Bytes,
    stream: S,
    write_time_max: Duration,
    /// Ends when the write that waits has waited for too long.
    blocked: Option<Pin<Box<Sleep>>>,
}

impl<S> PrefixedStream<S> {
    /// The result of a write, or an error if it has waited for too long.
    fn in_time<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.blocked = None;
            return written;
        }
        let write_time_max = self.write_time_max;
        let blocked = self.blocked.get_or_insert_with(|| Box::pin(tokio::time::sleep(write_time_max)));
        blocked.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PrefixedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, into);
        }
        let length = self.first.len().min(into.remaining());
        into.put_slice(&self.first[..length]);
        self.first.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PrefixedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.in_time(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.in_time(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.in_time(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// The service of one connection, with its permit, which is released when the connection is closed.
#[derive(Debug, Clone)]
pub(crate) struct WithPermit<S> {
    service: S,
    _permit: Arc<OwnedSemaphorePermit>,
}

impl<S: Service<R>, R> Service<R> for WithPermit<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.service.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    async fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn responses_are_sent_without_delay() {
        // 200 small logs took four times as long as the work of service and client together.
        let (mut client, stream) = connected().await;
        assert!(!stream.nodelay().unwrap());
        client.write_all(b"GET").await.unwrap();
        let (mut stream, _) = plain(&Bounds::default(), Proxies::default()).accept(stream, ()).await.unwrap();
        assert!(stream.stream.nodelay().unwrap());
        let mut first = [0; 3];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"GET");
    }

    #[tokio::test]
    async fn of_too_many_silent_connections_the_oldest_are_closed_and_those_that_speak_are_served() {
        let silent = Arc::new(SilentConnections::new(2));
        let (first, second, third) = (
            SilentConnections::register(&silent),
            SilentConnections::register(&silent),
            SilentConnections::register(&silent),
        );
        first.evicted().await;
        assert!(!second.ended.is_cancelled() && !third.ended.is_cancelled());
        drop(second);
        let fourth = SilentConnections::register(&silent);
        assert!(!third.ended.is_cancelled() && !fourth.ended.is_cancelled());
    }
}
