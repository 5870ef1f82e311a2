//! The destination of requests: the network, or the services of a simulation.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use reqwest::{Request, Response};

use crate::error::Error;

/// The services of a simulation, which take requests in place of the network.
///
/// The tests in `tests/simulation` hand it in with [`Client::simulated`](crate::Client::simulated).
pub trait SimulatedNetwork: fmt::Debug + Send + Sync {
    /// Sends a request, and returns the head of its answer and a body that may be still to come. The time-out of the
    /// request, if it has one, is for the simulation to keep. An error is what the client would make of a connection
    /// that fails.
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Error>>;
}

/// Sends requests.
#[derive(Debug, Clone)]
pub(super) enum Network {
    Real(reqwest::Client),
    Simulated(Arc<dyn SimulatedNetwork>),
}

impl Network {
    /// Sends a request. `refusal` determines how a failed connection is classified.
    pub(super) async fn send(
        &self,
        request: Request,
        refusal: impl FnOnce(reqwest::Error) -> Error,
    ) -> Result<Response, Error> {
        match self {
            Self::Real(client) => client.execute(request).await.map_err(refusal),
            Self::Simulated(network) => network.send(request).await,
        }
    }
}
