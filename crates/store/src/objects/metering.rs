//! Counts requests to the object store, their latency and failures, for metrics.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// The upper bounds of the latency buckets; an additional bucket counts slower requests. Unit: milliseconds. The bounds
/// range from a file in the system's cache to a slow bucket.
pub const OBJECT_LATENCY_BUCKETS_MS: [u64; 12] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 2_048, 8_192];

/// Operations of an object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Put,
    Get,
    Head,
    Delete,
    List,
    Copy,
}

/// Counts of requests since this process started, by operation.
#[derive(Debug, Default)]
pub(crate) struct ObjectCounts([OperationCounts; 6]);

#[derive(Debug, Default)]
struct OperationCounts {
    /// Number of requests by the latency of their first byte; one bucket more than there are bounds.
    classes: [AtomicU64; OBJECT_LATENCY_BUCKETS_MS.len() + 1],
    errors: AtomicU64,
    micros: AtomicU64,
}

/// The requests of this process to the object store since it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectStoreMetrics {
    /// `put`, `get`, `head`, `delete`, `list` or `copy`.
    pub operation: &'static str,
    /// Number of requests by the latency of their first byte: one count for each of [`OBJECT_LATENCY_BUCKETS_MS`], and
    /// one for slower requests.
    pub classes: Vec<u64>,
    /// The total latency of all requests. Unit: microseconds.
    pub micros: u64,
    /// Number of failed requests. A missing object is not a failure.
    pub errors: u64,
}

/// An object store whose requests are counted.
#[derive(Debug)]
pub(crate) struct Metered {
    objects: Arc<dyn ObjectStore>,
    counts: Arc<ObjectCounts>,
}

impl Operation {
    const ALL: [Self; 6] = [Self::Put, Self::Get, Self::Head, Self::Delete, Self::List, Self::Copy];

    fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Head => "head",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Copy => "copy",
        }
    }
}

impl ObjectCounts {
    /// Returns the current counts.
    pub(crate) fn metrics(&self) -> Vec<ObjectStoreMetrics> {
        let of = |operation: Operation| {
            let counts = &self.0[operation as usize];
            ObjectStoreMetrics {
                operation: operation.name(),
                classes: counts.classes.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
                micros: counts.micros.load(Ordering::Relaxed),
                errors: counts.errors.load(Ordering::Relaxed),
            }
        };
        Operation::ALL.into_iter().map(of).collect()
    }

    fn count<T>(&self, operation: Operation, took: Duration, outcome: &Result<T>) {
        let counts = &self.0[operation as usize];
        let class = OBJECT_LATENCY_BUCKETS_MS.iter().position(|end| took <= Duration::from_millis(*end));
        counts.classes[class.unwrap_or(OBJECT_LATENCY_BUCKETS_MS.len())].fetch_add(1, Ordering::Relaxed);
        counts.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if outcome.as_ref().is_err_and(is_failure) {
            counts.errors.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn is_failure(error: &Error) -> bool {
    !matches!(
        error,
        Error::NotFound { .. } | Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. }
    )
}

impl Metered {
    pub(crate) fn of(objects: Arc<dyn ObjectStore>, counts: &Arc<ObjectCounts>) -> Arc<dyn ObjectStore> {
        Arc::new(Self { objects, counts: Arc::clone(counts) })
    }

    async fn measured<T>(&self, operation: Operation, request: impl Future<Output = Result<T>>) -> Result<T> {
        let begun = Instant::now();
        let outcome = request.await;
        self.counts.count(operation, begun.elapsed(), &outcome);
        outcome
    }

    /// Wraps a list so that it is counted when its first item arrives.
    fn measured_list(&self, list: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
        // An empty list has ended once its first item was polled, and must not be polled again.
        let mut list = list.fuse();
        let counts = Arc::clone(&self.counts);
        let begun = Instant::now();
        let first = async move {
            let first = list.next().await;
            let outcome = first.as_ref().map_or(Ok(()), |first| first.as_ref().map(drop));
            let failed = outcome.is_err_and(is_failure);
            counts.count(Operation::List, begun.elapsed(), &Ok(()));
            if failed {
                counts.0[Operation::List as usize].errors.fetch_add(1, Ordering::Relaxed);
            }
            stream::iter(first).chain(list)
        };
        stream::once(first).flatten().boxed()
    }
}

impl fmt::Display for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.objects.fmt(f)
    }
}

#[async_trait]
#[deny(
    clippy::missing_trait_methods,
    reason = "what is not passed on would be done in another way than the objects do"
)]
impl ObjectStore for Metered {
    async fn put_opts(&self, key: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.measured(Operation::Put, self.objects.put_opts(key, payload, options)).await
    }

    async fn put_multipart_opts(&self, key: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.measured(Operation::Put, self.objects.put_multipart_opts(key, options)).await
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        let operation = if options.head { Operation::Head } else { Operation::Get };
        self.measured(operation, self.objects.get_opts(key, options)).await
    }

    async fn get_ranges(&self, key: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.measured(Operation::Get, self.objects.get_ranges(key, ranges)).await
    }

    fn delete_stream(&self, keys: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let counts = Arc::clone(&self.counts);
        let mut since = Instant::now();
        let deleted = self.objects.delete_stream(keys).inspect(move |outcome| {
            counts.count(Operation::Delete, since.elapsed(), outcome);
            since = Instant::now();
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.measured_list(self.objects.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.measured_list(self.objects.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.measured(Operation::List, self.objects.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.measured(Operation::Copy, self.objects.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.measured(Operation::Copy, self.objects.rename_opts(from, to, options)).await
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn requests_are_counted_by_what_they_ask_for_and_what_is_not_there_is_no_failure() {
        let counts = Arc::new(ObjectCounts::default());
        let objects = Metered::of(Arc::new(InMemory::new()), &counts);
        let key = Path::from("a/b");
        objects.put(&key, "text".into()).await.unwrap();
        assert_eq!(objects.get(&key).await.unwrap().bytes().await.unwrap(), "text");
        assert!(objects.get(&Path::from("none")).await.is_err());
        objects.head(&key).await.unwrap();
        assert_eq!(objects.list(None).collect::<Vec<_>>().await.len(), 1);
        objects.delete(&key).await.unwrap();
        assert!(objects.list(None).next().await.is_none());
        let metrics = counts.metrics();
        let of = |operation: &str| {
            let metrics = metrics.iter().find(|metrics| metrics.operation == operation).unwrap();
            (metrics.classes.iter().sum::<u64>(), metrics.errors)
        };
        assert_eq!((of("put"), of("get"), of("head")), ((1, 0), (2, 0), (1, 0)));
        assert_eq!((of("list"), of("delete"), of("copy")), ((2, 0), (1, 0), (0, 0)));
        // Like the list of a bucket, this stream panics if it is polled after its end.
        let nothing = stream::unfold((), |()| async { None }).boxed();
        let metered = Metered { objects: Arc::new(InMemory::new()), counts: Arc::clone(&counts) };
        assert_eq!(metered.measured_list(nothing).collect::<Vec<_>>().await.len(), 0);
        let failed: Result<()> = Err(Error::NotSupported { source: "no".into() });
        counts.count(Operation::Put, Duration::from_secs(60), &failed);
        let metrics = counts.metrics();
        assert_eq!((metrics[0].errors, metrics[0].classes.last()), (1, Some(&1)));
    }
}
