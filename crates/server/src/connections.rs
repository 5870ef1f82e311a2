//! Connections: so many are served at a time, and further ones wait, and hold nothing but their socket. What is written
//! goes out at once.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum_server::accept::{Accept, NoDelayAcceptor};
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_service::Service;

/// Accepts as `inner` does, so many connections at a time.
#[derive(Debug, Clone)]
pub(crate) struct Bounded<A> {
    inner: A,
    free: Arc<Semaphore>,
}

/// Connections as they are.
///
/// The system would hold back the end of a file until the client has confirmed what is before it, which clients take
/// their time for: 40 ms for each file.
pub(crate) fn plain(connections_max: usize) -> Bounded<NoDelayAcceptor> {
    Bounded::new(NoDelayAcceptor::new(), connections_max)
}

/// Connections with TLS.
pub(crate) fn protected(config: RustlsConfig, connections_max: usize) -> Bounded<RustlsAcceptor<NoDelayAcceptor>> {
    Bounded::new(RustlsAcceptor::new(config).acceptor(NoDelayAcceptor::new()), connections_max)
}

impl<A> Bounded<A> {
    fn new(inner: A, connections_max: usize) -> Self {
        Self { inner, free: Arc::new(Semaphore::new(connections_max.clamp(1, Semaphore::MAX_PERMITS))) }
    }
}

impl<A, I, S> Accept<I, S> for Bounded<A>
where
    A: Accept<I, S, Future: Send> + Clone + Send + Sync + 'static,
    I: Send + 'static,
    S: Send + 'static,
{
    type Stream = A::Stream;
    type Service = Holding<A::Service>;
    type Future = BoxFuture<'static, io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let (inner, free) = (self.inner.clone(), Arc::clone(&self.free));
        Box::pin(async move {
            let place = Arc::new(free.acquire_owned().await.map_err(io::Error::other)?);
            let (stream, service) = inner.accept(stream, service).await?;
            Ok((stream, Holding { service, _place: place }))
        })
    }
}

/// The service of one connection, which lives as long as it, and so does its place.
#[derive(Debug, Clone)]
pub(crate) struct Holding<S> {
    service: S,
    _place: Arc<OwnedSemaphorePermit>,
}

impl<S: Service<R>, R> Service<R> for Holding<S> {
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
    use tokio::net::{TcpListener, TcpStream};

    #[tokio::test]
    async fn what_is_written_goes_out_at_once() {
        // 200 small logs took four times as long as the service and its client worked for them.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        assert!(!stream.nodelay().unwrap());
        let (stream, _) = plain(1).accept(stream, ()).await.unwrap();
        assert!(stream.nodelay().unwrap());
    }
}
