//! A whole download, in as many requests as it takes.

use secrecy::SecretString;

use super::attempt::{Attempt, Progress, attempt};
use super::sink::DownloadSink;
use crate::error::{Error, ErrorKind, Result};
use crate::transport::{Client, RetryState};

/// The outcome of a download that did not fail.
pub(crate) enum Downloaded {
    /// So many bytes, unpacked.
    Whole(u64),
    /// The link is no longer valid; a new link may be.
    LinkRefused(Error),
}

impl Client {
    /// Downloads the file of a link into a sink. An interrupted download is resumed if the service supports it.
    pub(crate) async fn download(
        &self,
        link: &SecretString,
        sink: &mut dyn DownloadSink,
        on_bytes: &(dyn Fn(u64) + Sync),
    ) -> Result<Downloaded> {
        let _place = self.links().place().await;
        let time_max = self.links().settings().time_max;
        let work = self.download_in_tries(link, sink, on_bytes);
        tokio::time::timeout(time_max, work).await.unwrap_or_else(|_| {
            let seconds = time_max.as_secs();
            Err(Error::new(ErrorKind::Unavailable, format!("a download did not finish within {seconds} s")))
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
        let mut tries = RetryState::default();
        loop {
            let taken_before = progress.taken;
            match attempt(self.links(), link, sink, &mut progress, on_bytes).await? {
                Attempt::Whole => return Ok(Downloaded::Whole(progress.taken)),
                Attempt::LinkRefused(error) => return Ok(Downloaded::LinkRefused(error)),
                Attempt::Broken(error, headers) => {
                    // An attempt that received more of the file does not count as a failure.
                    if progress.resumable.is_some() && progress.taken > taken_before {
                        tries = RetryState::default();
                    }
                    if tries.is_exhausted(&error, self.settings()) {
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
