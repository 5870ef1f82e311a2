//! Files in a folder or bucket outside the archive, to which file sinks write.
//!
//! A file is written completely or not at all, and replaces an existing file of the same name.

use std::fmt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::async_writer::AsyncFileWriter;
use parquet::errors::ParquetError;
use runlog_model::causes;
use tokio::io::AsyncWriteExt;

use crate::error::{Error, ErrorKind, Result, is_missing_bucket};
use crate::limits;
use crate::objects::backend::Objects;
use crate::permissions::{create_output_folder, share_output};
use crate::settings::SecretUrl;

/// A folder or bucket for files.
#[derive(Clone)]
pub struct Bucket {
    files: Arc<dyn ObjectStore>,
    location: String,
    /// The path of the folder; `None` for a bucket.
    folder: Option<PathBuf>,
}

/// A file that is being written. The file does not exist until [`BucketFile::finish`] completes it.
pub struct BucketFile {
    writer: BufWriter,
    name: String,
    /// The path of the file; `None` in a bucket.
    path: Option<PathBuf>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bucket").field(&self.location).finish()
    }
}

impl Bucket {
    /// Opens a folder, which is created if it does not exist.
    pub fn in_folder(folder: &FilePath) -> Result<Self> {
        let location = folder.display().to_string();
        create_output_folder(folder).map_err(|error| unwritable(&location, error))?;
        Ok(Self { files: Objects::in_folder(folder)?.store, location, folder: Some(folder.to_owned()) })
    }

    /// Opens a bucket, in which files are stored below the path of its URL; see
    /// [`StoreSettings::objects`](crate::StoreSettings::objects).
    pub fn at(url: &SecretUrl) -> Result<Self> {
        Ok(Self { files: Objects::in_bucket(url)?.store, location: url.to_string(), folder: None })
    }

    /// Returns the folder or the URL, without secrets.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Checks that a file can be written and removed.
    pub async fn check(&self) -> Result<()> {
        let probe = Path::from("runlog-probe");
        let writing = self.files.put(&probe, Bytes::from_static(b"probe").into()).await;
        writing.map_err(|error| unwritable(&self.location, error))?;
        self.files.delete(&probe).await.map_err(|error| unwritable(&self.location, error))
    }

    /// Begins a file. The name may contain folders, which are created.
    pub fn begin(&self, name: &str) -> BucketFile {
        let key = Path::from(name);
        let path = self.folder.as_ref().map(|folder| folder.join(key.as_ref()));
        // The folders are created here so that they have the permissions of the user's umask. Errors are ignored,
        // because writing the file then fails as well.
        let _ = path.as_ref().and_then(|path| path.parent()).map(create_output_folder);
        let writer =
            BufWriter::with_capacity(Arc::clone(&self.files), key, limits::UPLOAD_PART_BYTES).with_max_concurrency(2);
        BucketFile { writer, name: format!("{}/{name}", self.location), path }
    }
}

impl BucketFile {
    /// Adds bytes.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.writer.put(bytes).await.map_err(|error| unwritable(&self.name, error))
    }

    /// Completes the file and makes it durable.
    pub async fn finish(mut self) -> Result<()> {
        self.complete_file().await.map_err(|error| unwritable(&self.name, error))
    }

    async fn complete_file(&mut self) -> std::io::Result<()> {
        self.writer.shutdown().await?;
        self.path.as_deref().map_or(Ok(()), share_output)
    }

    /// Removes the written parts of the file.
    pub async fn abandon(mut self) -> Result<()> {
        self.writer.abort().await.map_err(|error| unwritable(&self.name, error))
    }
}

/// Returns the error of a failed write; the message distinguishes a missing bucket.
fn unwritable(name: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    if causes(&error).filter_map(|error| error.downcast_ref()).any(is_missing_bucket) {
        return Error::new(ErrorKind::Unavailable, format!("cannot write {name}: there is no such bucket; create it"));
    }
    Error::caused(ErrorKind::Unavailable, format!("cannot write {name}"), error)
}

impl AsyncFileWriter for BucketFile {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), ParquetError>> {
        async move { self.writer.put(bytes).await.map_err(|error| ParquetError::External(Box::new(error))) }.boxed()
    }

    fn complete(&mut self) -> BoxFuture<'_, Result<(), ParquetError>> {
        async move { Ok(self.complete_file().await?) }.boxed()
    }
}
