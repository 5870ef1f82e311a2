//! Downloads the file behind a link: guarded, bounded, unpacked, and gone on with where it broke off.

mod guard;

use std::num::NonZero;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use futures::TryStreamExt;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};
use tokio::sync::Semaphore;
use tokio_util::io::StreamReader;
use url::Url;

use crate::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::retry::Tries;
use crate::settings::{ClientSettings, DownloadSettings};
use guard::Guard;

/// Most redirects of one download.
const REDIRECTS_MAX: u32 = 5;
/// What a file may unpack to whatever its ratio. Unit: bytes.
const UNPACK_BYTES_FREE: u64 = 64 << 20;
/// How long a file whose bytes do not come keeps its turn.
const TURN_KEPT: Duration = Duration::from_millis(5);
/// What gzip begins with.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Takes the bytes of a file as they come, unpacked.
pub trait DownloadSink: Send {
    /// Takes more bytes.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
    /// Forgets all bytes taken so far: the file comes again from its beginning.
    fn restart(&mut self) -> Result<()>;
}

/// How a download ended, other than in failure.
pub(crate) enum Downloaded {
    /// So many bytes, unpacked.
    Whole(u64),
    /// The link is no longer good; another may be.
    LinkRefused(Error),
}

/// The part of the client that follows links.
pub(crate) struct Downloader {
    http: reqwest::Client,
    guard: Guard,
    settings: DownloadSettings,
    /// One permit for each file that comes.
    places: Semaphore,
    /// One permit for each file whose bytes are taken as quickly as they come, as many as there are processors.
    turns: Semaphore,
}

/// How far a download is.
#[derive(Default)]
struct Progress {
    /// Bytes that the sink has, unpacked.
    taken: u64,
    /// The file's tag, when what the sink has are the file's own bytes, so that the rest can be asked for.
    resumable: Option<HeaderValue>,
}

/// How one request for a file, or for the rest of it, ended.
enum Attempt {
    Whole,
    LinkRefused(Error),
    /// Worth another try.
    Broken(Error, Option<HeaderMap>),
}

impl Downloader {
    pub(crate) fn new(settings: &ClientSettings) -> Result<Self> {
        let guard = Guard::new(settings);
        let http = settings
            .tls
            .begin()
            .user_agent(concat!("runlog/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .dns_resolver(guard.clone())
            .connect_timeout(Duration::from_secs(20))
            .read_timeout(settings.download.silence_max)
            .build()
            .map_err(|error| Error::caused(ErrorKind::Invalid, "the HTTP client cannot be set up", error))?;
        let places = Semaphore::new(settings.download.at_a_time.max(1));
        let turns = Semaphore::new(std::thread::available_parallelism().map_or(1, NonZero::get));
        Ok(Self { http, guard, settings: settings.download.clone(), places, turns })
    }
}

impl Client {
    /// Downloads the file behind a link into a sink. Broken off, it goes on where it was if the service allows.
    pub(crate) async fn download(
        &self,
        link: &SecretString,
        sink: &mut dyn DownloadSink,
        on_bytes: &(dyn Fn(u64) + Sync),
    ) -> Result<Downloaded> {
        // Never closed; were it, files would come all at once, and whole all the same.
        let _place = self.downloader().places.acquire().await.ok();
        let time_max = self.downloader().settings.time_max;
        let work = self.download_in_tries(link, sink, on_bytes);
        tokio::time::timeout(time_max, work).await.unwrap_or_else(|_| {
            let seconds = time_max.as_secs();
            Err(Error::new(ErrorKind::Unavailable, format!("a download was not done after {seconds} s")))
        })
    }

    async fn download_in_tries(
        &self,
        link: &SecretString,
        sink: &mut dyn DownloadSink,
        on_bytes: &(dyn Fn(u64) + Sync),
    ) -> Result<Downloaded> {
        let mut progress = Progress::default();
        sink.restart()?;
        let mut tries = Tries::default();
        loop {
            let taken_before = progress.taken;
            match self.downloader().attempt(link, sink, &mut progress, on_bytes).await? {
                Attempt::Whole => return Ok(Downloaded::Whole(progress.taken)),
                Attempt::LinkRefused(error) => return Ok(Downloaded::LinkRefused(error)),
                Attempt::Broken(error, headers) => {
                    // A try that got further is no failure to count.
                    if progress.resumable.is_some() && progress.taken > taken_before {
                        tries = Tries::default();
                    }
                    if tries.are_spent(&error, self.settings()) {
                        return Err(error);
                    }
                    self.pause(&error, headers.as_ref(), &mut tries).await;
                    if progress.resumable.is_none() {
                        progress.taken = 0;
                        sink.restart()?;
                    }
                }
            }
        }
    }
}

impl Downloader {
    async fn attempt(
        &self,
        link: &SecretString,
        sink: &mut dyn DownloadSink,
        progress: &mut Progress,
        on_bytes: &(dyn Fn(u64) + Sync),
    ) -> Result<Attempt> {
        let response = match self.follow(link, progress).await {
            Ok(response) => response,
            Err(error) if error.kind() == ErrorKind::Unavailable => return Ok(Attempt::Broken(error, None)),
            Err(error) => return Err(error),
        };
        let status = response.status();
        match status {
            StatusCode::OK if progress.taken > 0 => {
                // The service does not give parts, or the file is another one: it comes from its beginning.
                progress.taken = 0;
                sink.restart()?;
            }
            StatusCode::OK => {}
            StatusCode::PARTIAL_CONTENT if starts_at(&response, progress.taken) => {}
            StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::UNAUTHORIZED => {
                let message = format!("the link was refused with {}; it may have expired", status.as_u16());
                return Ok(Attempt::LinkRefused(Error::new(ErrorKind::Unavailable, message)));
            }
            StatusCode::TOO_MANY_REQUESTS => {
                let error = Error::new(ErrorKind::Limited, "downloads are limited (429)");
                return Ok(Attempt::Broken(error, Some(response.headers().clone())));
            }
            status if status.is_server_error() => {
                let message = format!("the download failed with {}", status.as_u16());
                let error = Error::new(ErrorKind::Unavailable, message);
                return Ok(Attempt::Broken(error, Some(response.headers().clone())));
            }
            _ => {
                let message = format!("the download was answered with {}, which is no file", status.as_u16());
                return Err(Error::new(ErrorKind::Protocol, message));
            }
        }
        self.take(response, sink, progress, on_bytes).await
    }

    /// Sends the request, and follows redirects by hand, each checked as the link was.
    async fn follow(&self, link: &SecretString, progress: &Progress) -> Result<reqwest::Response> {
        // The text of the link is not shown: it is a secret.
        let mut url = Url::parse(link.expose_secret())
            .map_err(|_| Error::new(ErrorKind::Protocol, "the presigned link is not an address"))?;
        for _ in 0..=REDIRECTS_MAX {
            self.guard.check(&url)?;
            let mut request = self.http.get(url.clone());
            request = match &progress.resumable {
                Some(tag) if progress.taken > 0 => request
                    .header(header::RANGE, format!("bytes={}-", progress.taken))
                    .header(header::IF_RANGE, tag)
                    .header(header::ACCEPT_ENCODING, "identity"),
                _ => request.header(header::ACCEPT_ENCODING, "zstd, gzip"),
            };
            let response = request.send().await.map_err(|error| unanswered(&url, error))?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            url = location
                .and_then(|location| url.join(location).ok())
                .ok_or_else(|| Error::new(ErrorKind::Protocol, "a download was redirected to nowhere"))?;
        }
        Err(Error::new(ErrorKind::Refused, format!("download refused: more than {REDIRECTS_MAX} redirects")))
    }

    /// Gives the body to the sink, unpacked and bounded.
    async fn take(
        &self,
        response: reqwest::Response,
        sink: &mut dyn DownloadSink,
        progress: &mut Progress,
        on_bytes: &(dyn Fn(u64) + Sync),
    ) -> Result<Attempt> {
        let coding = response.headers().get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?"));
        let coding = coding.unwrap_or_default().trim().to_ascii_lowercase();
        let tag = response.headers().get(header::ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/")).cloned();
        let announced = response.content_length();
        let received = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&received);
        let stream = response.bytes_stream().map_err(|error| std::io::Error::other(error.without_url()));
        let stream = stream.inspect_ok(move |chunk| {
            counter.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        });
        let mut raw = StreamReader::new(stream);

        let is_packed = match coding.as_str() {
            // Some storages give what they were given, and say nothing of how it is packed.
            "" | "identity" => match raw.fill_buf().await {
                Ok(start) => start.starts_with(&GZIP_MAGIC) && progress.taken == 0,
                Err(error) => return Ok(broken_off(error)),
            },
            _ => true,
        };
        progress.resumable = tag.filter(|_| !is_packed);
        let mut plain: Pin<Box<dyn AsyncBufRead + Send>> = match coding.as_str() {
            "" | "identity" if !is_packed => Box::pin(raw),
            "" | "identity" | "gzip" | "x-gzip" => {
                let mut decoder = GzipDecoder::new(raw);
                decoder.multiple_members(true);
                Box::pin(BufReader::with_capacity(1 << 16, decoder))
            }
            "zstd" => {
                let mut decoder = ZstdDecoder::new(raw);
                decoder.multiple_members(true);
                Box::pin(BufReader::with_capacity(1 << 16, decoder))
            }
            other => {
                let message = format!("the file is packed as {other:?}, which was not asked for");
                return Err(Error::new(ErrorKind::Protocol, message));
            }
        };
        // Where files come more quickly than they can be taken, the first are whole sooner if the others wait than if all
        // went on evenly; and what is done with whole ones begins.
        let mut turn = None;
        loop {
            let mut coming = std::pin::pin!(plain.fill_buf());
            let bytes = match tokio::time::timeout(TURN_KEPT, &mut coming).await {
                Ok(bytes) => bytes,
                Err(_) => {
                    turn = None;
                    coming.await
                }
            };
            let bytes = match bytes {
                Ok(bytes) => bytes,
                Err(error) => return Ok(broken_off(error)),
            };
            if bytes.is_empty() {
                break;
            }
            if turn.is_none() {
                // Never closed; were it, all would go on evenly.
                turn = self.turns.acquire().await.ok();
            }
            sink.write(bytes)?;
            let count = bytes.len();
            plain.as_mut().consume(count);
            progress.taken += count as u64;
            on_bytes(count as u64);
            self.check_bounds(progress.taken, received.load(Ordering::Relaxed), is_packed)?;
            // Bytes come as quickly as they are taken: without a pause, other pages' requests would wait for this file.
            tokio::task::yield_now().await;
        }
        let received = received.load(Ordering::Relaxed);
        match announced.filter(|announced| *announced != received) {
            Some(announced) => Ok(broken_off(std::io::Error::other(format!("{received} of {announced} bytes came")))),
            None => Ok(Attempt::Whole),
        }
    }

    fn check_bounds(&self, taken: u64, received: u64, is_packed: bool) -> Result<()> {
        let refused = |message| Err(Error::new(ErrorKind::Refused, message));
        if taken > self.settings.bytes_max {
            return refused(format!("download refused: the file is larger than {} bytes", self.settings.bytes_max));
        }
        let ratio = self.settings.unpack_ratio_max;
        if is_packed && taken > UNPACK_BYTES_FREE + received.saturating_mul(ratio) {
            return refused(format!("download refused: the file unpacks to more than {ratio} times its size"));
        }
        Ok(())
    }
}

fn broken_off(error: std::io::Error) -> Attempt {
    Attempt::Broken(Error::caused(ErrorKind::Unavailable, "a download broke off", error), None)
}

fn starts_at(response: &reqwest::Response, expected: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let start = range.and_then(|range| range.strip_prefix("bytes ")?.split_once('-')?.0.parse::<u64>().ok());
    start == Some(expected)
}

fn unanswered(url: &Url, error: reqwest::Error) -> Error {
    // What our own resolver refuses comes wrapped in the library's errors.
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(inner) = cause {
        if let Some(refusal) = inner.downcast_ref::<Error>() {
            return Error::new(refusal.kind(), refusal.to_string());
        }
        cause = inner.source();
    }
    let host = url.host_str().unwrap_or_default();
    Error::caused(ErrorKind::Unavailable, format!("{host} did not answer to a download"), error.without_url())
}
