//! Transports of the protocol: standard input and output, or HTTP.

use std::convert::Infallible;
use std::fmt::Display;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use rmcp::ServiceExt;
use rmcp::service::ServerInitializeError;
use rmcp::transport::io::stdio_pipes;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};

use crate::server::{Assistant, Connect};

/// Maximum size of a message of a client. Unit: bytes. SQL queries are the longest.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Serves a client on standard input and output, until standard input is closed.
pub async fn serve_stdio<C: Connect>(assistant: Assistant<C>) -> io::Result<()> {
    match assistant.serve(stdio_pipes()).await {
        Ok(running) => running.waiting().await.map(drop).map_err(io::Error::other),
        // The client disconnected before its first message.
        Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Hosts and origins from which browsers may call the endpoint; prevents DNS rebinding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpSettings {
    /// Hosts in addition to the loopback addresses: names, or `name:port`.
    pub hosts: Vec<String>,
    /// Origins of web pages, such as `https://runlog.example.com:443`. Requests without an origin are not from a page.
    pub origins: Vec<String>,
}

/// Answers HTTP requests, without sessions: each request is independent.
pub struct HttpEndpoint<C: Connect>(StreamableHttpService<Assistant<C>, NeverSessionManager>);

impl<C: Connect> HttpEndpoint<C> {
    /// An endpoint.
    pub fn new(assistant: Assistant<C>, settings: HttpSettings) -> Self {
        let hosts = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into_iter().chain(settings.hosts);
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_max_request_body_bytes(MESSAGE_BYTES_MAX)
            .with_allowed_hosts(hosts)
            .with_allowed_origins(settings.origins)
            .enforce_origin_validation();
        Self(StreamableHttpService::new(
            move || Ok(assistant.clone()),
            Arc::new(NeverSessionManager::default()),
            config,
        ))
    }

    /// The response to a request. 403: its host or origin is not allowed.
    pub async fn answer<B>(
        &self,
        request: Request<B>,
    ) -> Response<impl Body<Data = Bytes, Error = Infallible> + Send + 'static + use<B, C>>
    where
        B: Body + Send + 'static,
        B::Error: Display,
        B::Data: Send,
    {
        self.0.handle(request).await
    }
}
