//! The object store: a folder, or a bucket of S3, Google Cloud Storage or Azure.

use std::fmt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::signer::{Method, SignedUrlOptions, Signer};
use object_store::{BackoffConfig, ObjectStore, ObjectStoreExt, RetryConfig};
use tracing::warn;
use url::Url;

use runlog_model::planted;

use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::objects::connector::BucketConnector;
use crate::objects::keys;
use crate::objects::metering::{Metered, ObjectCounts};
use crate::objects::read_retry::BucketReads;
use crate::objects::s3_signing::{S3Location, S3Signing};
use crate::settings::SecretUrl;
use crate::simulation::Simulation;

/// The objects of an archive.
pub(crate) struct Objects {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The store for objects that can be rebuilt. In a folder, its writes do not wait for the disk.
    pub(crate) rebuildable: Arc<dyn ObjectStore>,
    /// The folder of the objects; `None` for a bucket.
    folder: Option<PathBuf>,
    /// `None` for a folder, which cannot sign links.
    links: Option<Links>,
    /// Signs requests of other programs; `None` if the objects are not in an S3 bucket.
    signing: Option<S3Signing>,
    /// The address of the objects for other programs, such as `s3://bucket/prefix` or `file:///folder`; `None` if other
    /// programs cannot access them.
    pub(crate) address: Option<String>,
}

/// Signs links to objects of a bucket. The links work without credentials.
struct Links {
    signer: Arc<dyn Signer>,
    prefix: Path,
}

/// A bucket that can be read and written, and can sign links.
trait Bucket: ObjectStore + Signer {}

impl<T: ObjectStore + Signer> Bucket for T {}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.store)
    }
}

impl Objects {
    /// Opens a folder, with objects as files. The folder is created if it does not exist.
    pub(crate) fn in_folder(folder: &FilePath) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|error| {
            Error::caused(ErrorKind::Unavailable, format!("cannot create the folder {}", folder.display()), error)
        })?;
        let files = LocalFileSystem::new_with_prefix(folder)?.with_automatic_cleanup(true);
        let rebuildable = Arc::new(files.clone());
        let address = folder.canonicalize().ok().and_then(|folder| Some(format!("file://{}", folder.to_str()?)));
        // Acknowledged records must be on disk. By default, the library leaves written bytes in the system's cache.
        Ok(Self {
            store: Arc::new(files.with_fsync(!planted::is("object-not-synced"))),
            rebuildable,
            folder: Some(folder.to_owned()),
            links: None,
            signing: None,
            address,
        })
    }

    /// Opens the objects of a simulation.
    pub(crate) fn simulated(simulation: &dyn Simulation) -> Self {
        let is_synced = !planted::is("object-not-synced");
        let (store, rebuildable) = (simulation.objects(is_synced), simulation.objects(false));
        let address = Some("memory://simulation".to_owned());
        Self { store, rebuildable, folder: None, links: None, signing: None, address }
    }

    /// Opens a bucket. The objects are stored below the path of its URL. Further options are read from the environment,
    /// under the names that the provider's tools use, or from the query of the URL, such as
    /// `?endpoint=http://127.0.0.1:9000`.
    pub(crate) fn in_bucket(url: &SecretUrl) -> Result<Self> {
        let unusable = |error: object_store::Error| {
            let message = format!("the bucket {url} cannot be used; are its credentials in the environment?");
            Error::caused(ErrorKind::Unavailable, message, error)
        };
        let prefix = Path::from_url_path(url.url().path()).map_err(|error| {
            Error::caused(ErrorKind::Invalid, format!("the path of {url} is not a valid prefix of objects"), error)
        })?;
        let (bucket, signing) = build(url, &prefix).map_err(unusable)?;
        let address = match (url.url().scheme(), url.url().host_str()) {
            (scheme @ ("s3" | "gs"), Some(bucket)) => {
                Some(format!("{scheme}://{bucket}/{prefix}").trim_end_matches('/').to_owned())
            }
            // Addresses of Azure include the account, which is not part of the URL.
            _ => None,
        };
        let links = Links { signer: bucket.clone(), prefix: prefix.clone() };
        let store: Arc<dyn ObjectStore> = bucket;
        let store = if prefix.as_ref().is_empty() { store } else { Arc::new(PrefixStore::new(store, prefix)) };
        let store: Arc<dyn ObjectStore> = Arc::new(BucketReads::of(store));
        Ok(Self { rebuildable: Arc::clone(&store), store, folder: None, links: Some(links), signing, address })
    }

    /// Adds counting of the requests to these objects.
    pub(crate) fn metered(self, counts: &Arc<ObjectCounts>) -> Self {
        Self {
            store: Metered::of(self.store, counts),
            rebuildable: Metered::of(self.rebuildable, counts),
            folder: self.folder,
            links: self.links,
            signing: self.signing,
            address: self.address,
        }
    }

    /// Removes the unfinished files in a folder that were last written before a time. They remain when the process that
    /// wrote them was killed, and are not listed as objects. Returns the number of bytes removed.
    pub(crate) async fn remove_unfinished(&self, before: SystemTime) -> Result<u64> {
        let Some(folder) = self.folder.clone() else { return Ok(0) };
        let removing = move || {
            let folders = keys::FOLDERS.map(|name| folder.join(name));
            remove_unfinished_below(folders.into(), before)
        };
        Ok(tokio::task::spawn_blocking(removing).await?)
    }

    /// Returns false if a rebuildable object is incomplete because the machine crashed before the object was on disk.
    pub(crate) async fn is_whole(&self, key: &Path, length: u64) -> Result<bool> {
        // Objects of a bucket are complete once the bucket has confirmed them.
        if self.can_link() {
            return Ok(true);
        }
        match self.store.head(key).await {
            Ok(found) => Ok(found.size == length),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns true if [`Objects::link`] can sign links.
    pub(crate) fn can_link(&self) -> bool {
        self.links.is_some()
    }

    /// Returns the signer of other programs' requests; `None` if the objects are not in an S3 bucket.
    pub(crate) fn signing(&self) -> Option<&S3Signing> {
        self.signing.as_ref()
    }

    /// Returns a temporary link to an object, with a file name for downloads. Returns `None` if links cannot be signed.
    pub(crate) async fn link(&self, key: &Path, file_name: &str, life: Duration) -> Result<Option<Url>> {
        let Some(Links { signer, prefix }) = &self.links else { return Ok(None) };
        let whole: Path = prefix.parts().chain(key.parts()).collect();
        let disposition = format!("attachment; filename=\"{file_name}\"");
        let named = SignedUrlOptions::new().with_query([("response-content-disposition", disposition)]);
        match signer.signed_url_opts(Method::GET, &whole, life, &named).await {
            // Some providers cannot set the file name; the file is then named by its key.
            Err(object_store::Error::NotSupported { .. }) => {
                Ok(Some(signer.signed_url(Method::GET, &whole, life).await?))
            }
            signed => Ok(Some(signed?)),
        }
    }
}

fn remove_unfinished_below(mut folders: Vec<PathBuf>, before: SystemTime) -> u64 {
    let mut bytes = 0;
    while let Some(folder) = folders.pop() {
        // A folder that no longer exists was empty.
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let (path, Ok(metadata)) = (entry.path(), entry.metadata()) else { continue };
            if metadata.is_dir() {
                folders.push(path);
            } else if metadata.is_file()
                && is_unfinished(&path)
                && metadata.modified().is_ok_and(|written_at| written_at < before)
            {
                match std::fs::remove_file(&path) {
                    Ok(()) => bytes += metadata.len(),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => warn!(%error, file = %path.display(), "an unfinished file cannot be removed"),
                }
            }
        }
    }
    bytes
}

/// Returns true for the names of unfinished files: the library adds `#` and a number to the name of a file until the
/// file is complete.
fn is_unfinished(file: &FilePath) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).and_then(|name| name.split_once('#'));
    name.is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
}

/// Returns the retry options. Requests are retried for a bounded time; after that, the caller receives an error and can
/// retry.
fn retries() -> RetryConfig {
    let backoff = BackoffConfig { max_backoff: Duration::from_secs(1), ..BackoffConfig::default() };
    // The retries are limited by time and not by number.
    RetryConfig { backoff, max_retries: 100, retry_timeout: limits::BUCKET_WAIT }
}

fn build(url: &SecretUrl, prefix: &Path) -> object_store::Result<(Arc<dyn Bucket>, Option<S3Signing>)> {
    let mut location = url.url().clone();
    location.set_query(None);
    let options = url.url().query_pairs();
    let connector = BucketConnector::default();
    Ok(match location.scheme() {
        "s3" => {
            let mut builder =
                AmazonS3Builder::from_env().with_retry(retries()).with_http_connector(connector).with_url(location);
            for (name, value) in options {
                builder = builder.with_config(name.parse()?, value);
            }
            let location = url.url().host_str().and_then(|bucket| S3Location::of(&builder, bucket, prefix));
            let bucket: Arc<AmazonS3> = Arc::new(builder.build()?);
            let signing = location.map(|location| S3Signing::new(&bucket, location));
            (bucket, signing)
        }
        "gs" => {
            let mut builder = GoogleCloudStorageBuilder::from_env()
                .with_retry(retries())
                .with_http_connector(connector)
                .with_url(location);
            for (name, value) in options {
                builder = builder.with_config(name.parse()?, value);
            }
            (Arc::new(builder.build()?), None)
        }
        _ => {
            let mut builder = MicrosoftAzureBuilder::from_env()
                .with_retry(retries())
                .with_http_connector(connector)
                .with_url(location);
            for (name, value) in options {
                builder = builder.with_config(name.parse()?, value);
            }
            (Arc::new(builder.build()?), None)
        }
    })
}
