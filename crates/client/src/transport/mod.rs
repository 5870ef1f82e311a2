//! The transport of requests and responses: authentication, retries, rate limits and connections.

mod auth;
mod call;
mod client;
mod connection;
mod http_client;
pub(crate) mod lenient;
mod link_client;
mod link_guard;
pub(crate) mod mend;
mod network;
mod rate_limit;
mod retry;
mod settings;
mod tls;
mod turns;
mod wait;

pub(crate) use call::{Answer, check_not_a_page, is_too_slow, refused};
pub use client::{Client, Traffic};
pub(crate) use http_client::read_beginning;
pub use http_client::{HttpClientBuilder, HttpSender};
pub(crate) use link_client::LinkClient;
pub use network::SimulatedNetwork;
pub use retry::retry_after;
pub(crate) use retry::{RetryState, jittered};
pub use settings::{
    ClientSettings, Credentials, DownloadSettings, GroupPaces, Pace, PaceSetting, REGIONS, TokenForm, region_url,
};
pub use tls::TlsSettings;
pub use wait::{TokioWait, Wait};
