//! Reads from a bucket with bounded duration: a request without a response times out, and a body that is interrupted or
//! stalls is resumed where it stopped.
//!
//! Rejected requests, both reads and writes, are retried by the library for some seconds. These seconds elapse while
//! the process is suspended, so a write that failed after a suspension is sent once more.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use tracing::debug;

use crate::limits;
use crate::timeout::noting_suspension;

/// A bucket whose reads have a bounded duration.
#[derive(Debug)]
pub(crate) struct BucketReads {
    bucket: Arc<dyn ObjectStore>,
}

/// A read in progress.
struct Reading {
    bucket: Arc<dyn ObjectStore>,
    key: Path,
    options: GetOptions,
    e_tag: Option<String>,
    /// The remaining bytes.
    rest: Range<u64>,
    body: BoxStream<'static, Result<Bytes>>,
    /// Number of interruptions since bytes last arrived.
    breaks: u32,
}

impl BucketReads {
    pub(crate) fn of(bucket: Arc<dyn ObjectStore>) -> Self {
        Self { bucket }
    }
}

impl fmt::Display for BucketReads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bucket.fmt(f)
    }
}

#[async_trait]
#[deny(
    clippy::missing_trait_methods,
    reason = "what is not passed on would be done in another way than the bucket does"
)]
impl ObjectStore for BucketReads {
    async fn put_opts(&self, key: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        // Overwriting is repeatable, because an object is only ever overwritten with the same bytes.
        let is_repeatable = options.mode == PutMode::Overwrite;
        let put = || self.bucket.put_opts(key, payload.clone(), options.clone());
        if is_repeatable { again_after_suspension(put).await } else { put().await }
    }

    async fn put_multipart_opts(&self, key: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.bucket.put_multipart_opts(key, options).await
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        let found = begin(&self.bucket, key, &options).await?;
        if options.head {
            return Ok(found);
        }
        let GetResult { payload, meta, range, attributes, extensions } = found;
        let GetResultPayload::Stream(body) = payload else {
            return Ok(GetResult { payload, meta, range, attributes, extensions });
        };
        let reading = Reading {
            bucket: Arc::clone(&self.bucket),
            key: key.clone(),
            options,
            e_tag: meta.e_tag.clone(),
            rest: range.clone(),
            body,
            breaks: 0,
        };
        let body = stream::try_unfold(reading, Reading::next).boxed();
        Ok(GetResult { payload: GetResultPayload::Stream(body), meta, range, attributes, extensions })
    }

    async fn get_ranges(&self, key: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        // Like the implementation of the library, but with bounded reads.
        let get = |range: Range<u64>| async move {
            let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
            self.get_opts(key, options).await?.bytes().await
        };
        object_store::coalesce_ranges(ranges, get, object_store::OBJECT_STORE_COALESCE_DEFAULT).await
    }

    fn delete_stream(&self, keys: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.bucket.delete_stream(keys)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.bucket.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.bucket.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.bucket.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.bucket.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.bucket.rename_opts(from, to, options).await
    }
}

/// Sends a request, and repeats it once if it failed and this process was suspended in the meantime.
async fn again_after_suspension<T, F: Future<Output = Result<T>>>(send: impl Fn() -> F) -> Result<T> {
    match noting_suspension(send()).await {
        (Err(error @ Error::Generic { .. }), true) => {
            debug!(%error, "a request failed while this process was suspended, and is sent again");
            send().await
        }
        (answer, _) => answer,
    }
}

/// Requests an object or a part of it. A request without a response is sent once more, because its connection may be
/// broken.
async fn begin(bucket: &Arc<dyn ObjectStore>, key: &Path, options: &GetOptions) -> Result<GetResult> {
    for _ in 0..2 {
        match tokio::time::timeout(limits::BUCKET_ANSWER, bucket.get_opts(key, options.clone())).await {
            Ok(answer) => return answer,
            Err(_) => debug!(object.key = %key, "the bucket does not answer"),
        }
    }
    Err(silent(key))
}

fn silent(key: &Path) -> Error {
    let seconds = limits::BUCKET_ANSWER.as_secs();
    Error::Generic { store: "bucket", source: format!("nothing of {key} came within {seconds} s").into() }
}

impl Reading {
    /// Returns the next bytes and the remaining read; `None` at the end.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>> {
        loop {
            let next = tokio::time::timeout(limits::BUCKET_SILENCE, self.body.next()).await;
            let error = match next {
                Ok(Some(Ok(bytes))) => {
                    self.rest.start += bytes.len() as u64;
                    self.breaks = 0;
                    return Ok(Some((bytes, self)));
                }
                Ok(None) if self.rest.is_empty() => return Ok(None),
                Ok(None) => {
                    let source = format!("{} ends {} bytes too soon", self.key, self.rest.end - self.rest.start).into();
                    Error::Generic { store: "bucket", source }
                }
                Ok(Some(Err(error))) => error,
                Err(_) => silent(&self.key),
            };
            self.resume(error).await?;
        }
    }

    /// Requests the remaining bytes; returns the error if a new request cannot succeed.
    async fn resume(&mut self, mut error: Error) -> Result<()> {
        loop {
            if self.breaks >= limits::BUCKET_BREAKS_MAX {
                return Err(error);
            }
            self.breaks += 1;
            tokio::time::sleep(Duration::from_millis(50 << (2 * self.breaks.min(4)))).await;
            debug!(object.key = %self.key, %error, "read interrupted; resuming");
            let options = GetOptions { range: Some(GetRange::Bounded(self.rest.clone())), ..self.options.clone() };
            match begin(&self.bucket, &self.key, &options).await {
                // Objects never change, so a different tag or range would mean a different object.
                Ok(found) if found.meta.e_tag == self.e_tag && found.range == self.rest => {
                    self.body = found.into_stream();
                    return Ok(());
                }
                Ok(_) | Err(Error::NotFound { .. }) => return Err(error),
                Err(again) => error = again,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Sends a request whose first attempt fails after a second, while the time jumps by the given number of seconds.
    /// Returns the result and the number of requests.
    async fn sent(seconds: u64) -> (Result<u32>, u32) {
        let count = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&count);
        let sending = tokio::spawn(again_after_suspension(move || {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let reset = || Error::Generic { store: "bucket", source: "connection reset".into() };
                if number == 0 { Err(reset()) } else { Ok(number) }
            }
        }));
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_secs(seconds)).await;
        let answer = sending.await.unwrap();
        (answer, count.load(Ordering::SeqCst))
    }

    /// Batches were once rejected with status 503 when a node resumed after a suspension that was longer than the
    /// retries of the library.
    #[tokio::test(start_paused = true)]
    async fn a_write_that_was_suspended_is_sent_again_and_others_are_not() {
        let (answer, requests) = sent(9).await;
        assert_eq!((answer.unwrap(), requests), (1, 2));
        let (answer, requests) = sent(0).await;
        assert!(answer.is_err());
        assert_eq!(requests, 1, "the library has retried it");
    }
}
