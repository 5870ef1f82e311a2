//! Follows presigned links: each checked first, so many files at a time, without the caller's credentials.

use std::num::NonZero;
use std::sync::Arc;

use http::{HeaderValue, Method, header};
use reqwest::Request;
use runlog_model::causes;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Semaphore, SemaphorePermit};
use url::Url;

use super::http_client::HttpClientBuilder;
use super::link_guard::LinkGuard;
use super::network::{Network, SimulatedNetwork};
use super::settings::{ClientSettings, DownloadSettings};
use crate::error::{Error, ErrorKind, Result};

/// Most redirects of one download.
const REDIRECTS_MAX: u32 = 5;

/// Follows the links that a service gives to files; its requests carry no credentials.
pub(crate) struct LinkClient {
    network: Network,
    guard: LinkGuard,
    settings: DownloadSettings,
    /// One permit for each concurrent download.
    places: Semaphore,
    /// One permit for each file whose bytes are taken as quickly as they come, as many as there are processors.
    turns: Semaphore,
}

impl LinkClient {
    /// A client for the links of one service, in a simulation if there is one.
    pub(super) fn new(settings: &ClientSettings, simulated: Option<Arc<dyn SimulatedNetwork>>) -> Result<Self> {
        let guard = LinkGuard::new(settings);
        let silence_max = settings.download.silence_max;
        let network = match simulated {
            Some(simulated) => Network::Simulated(simulated),
            None => Network::Real(HttpClientBuilder::new(&settings.tls).for_links(guard.clone(), silence_max).build()?),
        };
        let places = Semaphore::new(settings.download.at_a_time.max(1));
        let turns = Semaphore::new(std::thread::available_parallelism().map_or(1, NonZero::get));
        Ok(Self { network, guard, settings: settings.download.clone(), places, turns })
    }

    /// Returns the settings of downloads.
    pub(crate) fn settings(&self) -> &DownloadSettings {
        &self.settings
    }

    /// Waits until one more file may come. None never happens: the semaphore is not closed.
    pub(crate) async fn place(&self) -> Option<SemaphorePermit<'_>> {
        self.places.acquire().await.ok()
    }

    /// Waits until one more file may have its bytes taken as quickly as they come. None never happens, as above.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turns.acquire().await.ok()
    }

    /// Asks for the file, or for the rest of it, and follows redirects by hand, each checked as the link was.
    pub(crate) async fn get(
        &self,
        link: &SecretString,
        rest: Option<(u64, &HeaderValue)>,
    ) -> Result<reqwest::Response> {
        // The text of the link is not shown: it is a secret.
        let mut url = Url::parse(link.expose_secret())
            .map_err(|_| Error::new(ErrorKind::Protocol, "the presigned link is not a URL"))?;
        for _ in 0..=REDIRECTS_MAX {
            self.guard.check(&url)?;
            let mut request = Request::new(Method::GET, url.clone());
            let headers = request.headers_mut();
            match rest {
                Some((start, tag)) => {
                    // Digits are valid in a header.
                    let range = HeaderValue::try_from(format!("bytes={start}-"));
                    headers.extend(range.ok().map(|range| (header::RANGE, range)));
                    headers.insert(header::IF_RANGE, tag.clone());
                    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
                }
                None => drop(headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("zstd, gzip"))),
            }
            let response = self.network.send(request, |error| unanswered(&url, error)).await?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            url = location
                .and_then(|location| url.join(location).ok())
                .ok_or_else(|| Error::new(ErrorKind::Protocol, "a download was redirected without a target"))?;
        }
        Err(Error::new(ErrorKind::Refused, format!("download refused: more than {REDIRECTS_MAX} redirects")))
    }
}

fn unanswered(url: &Url, error: reqwest::Error) -> Error {
    // A refusal of our own resolver is wrapped in errors of the library.
    if let Some(refusal) = causes(&error).find_map(|cause| cause.downcast_ref::<Error>()) {
        return Error::new(refusal.kind(), refusal.to_string());
    }
    let host = url.host_str().unwrap_or_default();
    Error::caused(ErrorKind::Unavailable, format!("{host} did not respond to a download request"), error.without_url())
}
