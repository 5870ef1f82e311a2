//! Objects of a bucket or of a folder on a disk, in memory.
//!
//! A bucket responds late or not at all, and may have stored an object although it reported a failure. Files that were
//! written without a sync may be lost completely or partly when the power fails.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use crate::locked;
use crate::schedule::{Fault, Kind, Schedule};
use crate::seed::Numbers;

#[derive(Debug, Clone)]
struct Object {
    bytes: Bytes,
    is_synced: bool,
    /// Unit: epoch milliseconds.
    written_ms: i64,
}

/// The objects of a deployment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<BTreeMap<String, Object>>>);

impl Disk {
    /// The keys of the objects, in order.
    pub(crate) fn keys(&self) -> Vec<String> {
        locked(&self.0).keys().cloned().collect()
    }

    pub(crate) fn bytes(&self, key: &str) -> Option<Bytes> {
        locked(&self.0).get(key).map(|object| object.bytes.clone())
    }

    /// Changes or removes an object directly.
    pub(crate) fn set(&self, key: &str, bytes: Option<Bytes>) {
        let mut objects = locked(&self.0);
        match bytes {
            Some(bytes) => {
                let written_ms = objects.get(key).map_or(0, |object| object.written_ms);
                objects.insert(key.to_owned(), Object { bytes, is_synced: true, written_ms });
            }
            None => drop(objects.remove(key)),
        }
    }

    /// Simulates a power failure: each object that was not synced stays, is truncated, or is lost.
    pub(crate) fn cut_power(&self, numbers: &mut Numbers) {
        locked(&self.0).retain(|_, object| {
            if object.is_synced {
                return true;
            }
            object.is_synced = true;
            match numbers.below(3) {
                0 => return false,
                1 => object.bytes = object.bytes.slice(..numbers.below(object.bytes.len())),
                _ => {}
            }
            true
        });
    }
}

/// The objects, as a node sees them.
#[derive(Debug, Clone)]
pub(crate) struct NodeObjects {
    pub(crate) disk: Disk,
    pub(crate) schedule: Schedule,
    pub(crate) place: usize,
    /// Whether a write is synced before it is acknowledged.
    pub(crate) is_synced: bool,
}

impl fmt::Display for NodeObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulated objects")
    }
}

fn away() -> Error {
    Error::Generic { store: "simulation", source: "the object store does not answer".into() }
}

fn no_such(key: &Path) -> Error {
    Error::NotFound { path: key.to_string(), source: "there is no such object".into() }
}

fn meta(key: &str, object: &Object) -> Result<ObjectMeta> {
    let last_modified: DateTime<Utc> = DateTime::from_timestamp_millis(object.written_ms).unwrap_or_default();
    let location = Path::parse(key).map_err(|error| Error::Generic { store: "simulation", source: error.into() })?;
    Ok(ObjectMeta { location, last_modified, size: object.bytes.len() as u64, e_tag: None, version: None })
}

impl NodeObjects {
    async fn at_gate(&self, kind: Kind, what: &str) -> Fault {
        // The folder names the day, and the rest is random.
        let short: String = what.chars().rev().take(12).collect::<Vec<_>>().into_iter().rev().collect();
        self.schedule.gate(self.place, kind, short).await
    }

    fn store(&self, key: &Path, bytes: Bytes) {
        let object = Object { bytes, is_synced: self.is_synced, written_ms: self.schedule.now_ms() };
        locked(&self.disk.0).insert(key.to_string(), object);
    }

    async fn put_bytes(&self, key: &Path, bytes: Bytes) -> Result<PutResult> {
        let stored = PutResult { e_tag: None, version: None, extensions: Default::default() };
        match self.at_gate(Kind::PutObject, key.as_ref()).await {
            Fault::None => self.store(key, bytes),
            Fault::Fails => return Err(away()),
            Fault::StoredAndFails => {
                self.store(key, bytes);
                self.at_gate(Kind::ObjectStored, key.as_ref()).await;
                return Err(away());
            }
            Fault::FailsAndIsStored => {
                let (later, key) = (self.clone(), key.clone());
                tokio::spawn(async move {
                    later.at_gate(Kind::ObjectStored, key.as_ref()).await;
                    later.store(&key, bytes);
                });
                return Err(away());
            }
        }
        self.at_gate(Kind::ObjectStored, key.as_ref()).await;
        Ok(stored)
    }

    async fn list_all(self, prefix: Option<String>) -> Result<Vec<ObjectMeta>> {
        if self.at_gate(Kind::ListObjects, prefix.as_deref().unwrap_or_default()).await != Fault::None {
            return Err(away());
        }
        let is_below = |key: &str| {
            prefix.as_deref().is_none_or(|prefix| key.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/')))
        };
        locked(&self.disk.0).iter().filter(|(key, _)| is_below(key)).map(|(key, object)| meta(key, object)).collect()
    }
}

/// A large object that is written in parts.
#[derive(Debug)]
struct Parts {
    objects: NodeObjects,
    key: Path,
    parts: Vec<Bytes>,
}

#[async_trait]
impl MultipartUpload for Parts {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts.push(data.into());
        Box::pin(async { Ok(()) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let bytes = Bytes::from(self.parts.concat());
        self.objects.put_bytes(&self.key, bytes).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.parts.clear();
        Ok(())
    }
}

#[async_trait]
impl ObjectStore for NodeObjects {
    async fn put_opts(&self, key: &Path, payload: PutPayload, _: PutOptions) -> Result<PutResult> {
        self.put_bytes(key, payload.into()).await
    }

    async fn put_multipart_opts(&self, key: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(Parts { objects: self.clone(), key: key.clone(), parts: Vec::new() }))
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        if self.at_gate(Kind::GetObject, key.as_ref()).await != Fault::None {
            return Err(away());
        }
        let object = locked(&self.disk.0).get(key.as_ref()).cloned().ok_or_else(|| no_such(key))?;
        let meta = meta(key.as_ref(), &object)?;
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            Some(range) => range
                .as_range(meta.size)
                .map_err(|error| Error::Generic { store: "simulation", source: error.to_string().into() })?,
            None => 0..meta.size,
        };
        let of = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let bytes = if options.head { Bytes::new() } else { object.bytes.slice(of(range.start)..of(range.end)) };
        let payload = GetResultPayload::Stream(stream::once(async move { Ok(bytes) }).boxed());
        Ok(GetResult { payload, meta, range, attributes: Attributes::default(), extensions: Default::default() })
    }

    async fn get_ranges(&self, key: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let get = |range: Range<u64>| async move {
            let options = GetOptions { range: Some(range.into()), ..GetOptions::default() };
            self.get_opts(key, options).await?.bytes().await
        };
        object_store::coalesce_ranges(ranges, get, object_store::OBJECT_STORE_COALESCE_DEFAULT).await
    }

    fn delete_stream(&self, keys: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let objects = self.clone();
        keys.and_then(move |key| {
            let objects = objects.clone();
            async move {
                if objects.at_gate(Kind::DeleteObject, key.as_ref()).await != Fault::None {
                    return Err(away());
                }
                locked(&objects.disk.0).remove(key.as_ref()).map(|_| key.clone()).ok_or_else(|| no_such(&key))
            }
        })
        .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let listing = self.clone().list_all(prefix.map(Path::to_string));
        stream::once(listing).map_ok(|all| stream::iter(all.into_iter().map(Ok))).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(Error::NotImplemented { operation: "list_with_delimiter".to_owned(), implementer: self.to_string() })
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(Error::NotImplemented { operation: "copy".to_owned(), implementer: self.to_string() })
    }
}
