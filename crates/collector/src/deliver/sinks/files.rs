//! Files in a folder or a bucket: NDJSON, text, or Parquet.
//!
//! A run is written as one file or several parts. A part appears completely or not at all, and a part that is written
//! again has the same name and the same records, so that writing it again has no effect.

use std::io::Write;
use std::path::PathBuf;

use bytes::Bytes;
use flate2::write::GzEncoder;
use runlog_model::error_chain;
use runlog_model::text::TextLine;
use runlog_store::bucket::{Bucket, BucketFile, RecordFileWriter, RecordRow};
use runlog_store::{BackgroundThreads, SecretUrl};
use serde::Deserialize;
use serde_json::Value;

use super::kind::{SinkContext, SinkKind};
use super::mapping::{Field, Mapping};
use super::options::Group;
use super::sink::{Item, Origin, SendError, TenantContext};
use super::template::{Template, plain};
use crate::deliver::bounds::BatchBounds;
use crate::settings::SettingsError;

/// Number of bytes that are buffered before they are written.
const WRITTEN_TOGETHER: usize = 256 << 10;
/// Number of records of a Parquet file that are buffered before they are written.
const FILED_TOGETHER: usize = 4_096;

/// The schemes of bucket URLs.
const BUCKET_SCHEMES: [&str; 5] = ["s3", "gs", "az", "azure", "abfss"];
/// The default template of file names, below the folder.
const FILE_NAME: &str = "{workspace}/{task}/{year}-{month}-{day}/{run_id}-{part}";

/// The settings of a folder or bucket for files.
#[derive(Debug, Deserialize)]
pub(crate) struct FilesSettings {
    folder: Option<PathBuf>,
    bucket: Option<String>,
    file_name: Option<Template>,
    #[serde(default)]
    format: FileForm,
    compression: Option<Packing>,
    fields: Option<Mapping>,
}

impl SinkKind for FilesSettings {
    const NAME: &'static str = "files";
    const GROUPS: &'static [Group] = &[Group::Records];
    const BATCH: BatchBounds = BatchBounds { records: 1_000_000, bytes: 512 << 20 };

    type Sink = Files;

    fn build(&self, context: &SinkContext<'_>) -> Result<Files, SettingsError> {
        self.check(context)?;
        let bucket = match (&self.folder, &self.bucket) {
            (Some(folder), _) => Bucket::in_folder(folder)?,
            (None, bucket) => Bucket::at(&bucket_url(bucket.as_deref().unwrap_or_default())?)?,
        };
        let fields = self.fields.clone().unwrap_or_else(Files::usual_fields);
        let name = self.file_name.clone().map_or_else(|| FILE_NAME.parse(), Ok)?;
        Ok(Files::new(bucket, name, self.format, self.compression.unwrap_or_default(), fields))
    }

    fn check(&self, _context: &SinkContext<'_>) -> Result<(), SettingsError> {
        if self.folder.is_some() == self.bucket.is_some() {
            return Err("files need either a folder or a bucket".into());
        }
        if self.format == FileForm::Parquet && (self.compression.is_some() || self.fields.is_some()) {
            return Err(
                "parquet does not support fields or compression: its columns are fixed, and it is compressed already"
                    .into(),
            );
        }
        if self.format == FileForm::Text && self.fields.is_some() {
            return Err("format text does not support fields".into());
        }
        Ok(())
    }
}

fn bucket_url(text: &str) -> Result<SecretUrl, SettingsError> {
    Ok(SecretUrl::read(text, &BUCKET_SCHEMES)?)
}

/// A folder or bucket for files.
pub(crate) struct Files {
    bucket: Bucket,
    name: Template,
    form: FileForm,
    packing: Packing,
    fields: Mapping,
}

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FileForm {
    /// One JSON object per line.
    #[default]
    Ndjson,
    /// Text, as in the TEXT format of a log.
    Text,
    /// Parquet.
    Parquet,
}

/// The compression of a file. Parquet is compressed internally.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Packing {
    /// None.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

/// A record as it is written to a file.
pub(crate) struct FileRecord {
    /// See [`Item::text_bytes`].
    pub(crate) text_bytes: usize,
    form: RecordForm,
}

enum RecordForm {
    /// A line, with its end.
    Line(Vec<u8>),
    /// The values of the columns of Parquet.
    Row(Item),
}

/// A part of the records of a run that is being written.
pub(crate) enum Part {
    Lines(Box<Lines>),
    Columns { file: Box<RecordFileWriter>, waiting: Vec<Item> },
}

/// A file of lines.
pub(crate) struct Lines {
    file: BucketFile,
    packer: Packer,
    /// Lines that are not compressed yet.
    waiting: Vec<u8>,
}

enum Packer {
    None(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Files {
    /// The names of the fields of NDJSON by default: those of the API, and those of the run.
    fn usual_fields() -> Mapping {
        Mapping::of(&[
            ("id", Field::Id),
            ("sequence", Field::Sequence),
            ("logTimestamp", Field::TimeMs),
            ("severity", Field::Severity),
            ("logType", Field::LogType),
            ("logMessage", Field::Message),
            ("bundleName", Field::Component),
            ("bundleVersion", Field::ComponentVersion),
            ("podName", Field::Pod),
            ("extra", Field::Extra),
            ("executionId", Field::RunId),
            ("executionStatus", Field::Status),
            ("taskId", Field::TaskId),
            ("task", Field::Task),
            ("workspaceId", Field::WorkspaceId),
            ("workspace", Field::Workspace),
            ("environment", Field::Environment),
            ("upstream", Field::Upstream),
        ])
    }

    /// Files with this format and names from a template; `fields` are those of NDJSON.
    fn new(bucket: Bucket, name: Template, form: FileForm, packing: Packing, fields: Mapping) -> Self {
        Self { bucket, name, form, packing, fields }
    }

    /// Their location, without secrets.
    pub(crate) fn location(&self) -> String {
        self.bucket.location().to_owned()
    }

    /// Writes a file and removes it.
    pub(crate) async fn check(&self) -> Result<(), SendError> {
        self.bucket.check().await.map_err(|error| unavailable(&error))
    }

    /// Starts a part of a run, or a file of audit logs, whose part is the number of its first entry.
    pub(crate) fn begin(&self, origin: &Origin, part: u64) -> Result<Part, SendError> {
        let name = match origin {
            Origin::Run(run) => self.name.name(run, part),
            Origin::Tenant(tenant) => format!("{}/{}/{part:012}", TenantContext::NAME, plain(&tenant.upstream)),
        };
        let name = format!("{name}{}", self.ending());
        let file = self.bucket.begin(&name);
        if self.form == FileForm::Parquet {
            let of_run = match origin {
                Origin::Run(run) => [
                    run.run.id.to_string(),
                    run.run.task_id.to_string(),
                    run.task.clone(),
                    run.run.workspace_id.to_string(),
                    run.workspace.clone(),
                    run.environment.clone(),
                    run.run.status.coarse().as_str().to_owned(),
                ],
                Origin::Tenant(_) => {
                    let mut of_run: [String; 7] = Default::default();
                    of_run[2] = TenantContext::NAME.to_owned();
                    of_run
                }
            };
            let file = RecordFileWriter::begin(file, of_run).map_err(|error| unavailable(&error))?;
            return Ok(Part::Columns { file: Box::new(file), waiting: Vec::new() });
        }
        let packer = match self.packing {
            Packing::None => Packer::None(Vec::new()),
            Packing::Gzip => Packer::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::default())),
            Packing::Zstd => Packer::Zstd(zstd::stream::write::Encoder::new(Vec::new(), 3).map_err(unpackable)?),
        };
        Ok(Part::Lines(Box::new(Lines { file, packer, waiting: Vec::new() })))
    }

    /// Encodes a record.
    pub(crate) fn encode(&self, origin: &Origin, item: Item) -> FileRecord {
        let text_bytes = item.text_bytes();
        let form = match self.form {
            FileForm::Parquet => RecordForm::Row(item),
            FileForm::Text => {
                let mut line = Vec::new();
                // A vector takes everything.
                let _ = TextLine::from(&item.record).write_to(&mut line);
                RecordForm::Line(line)
            }
            FileForm::Ndjson => {
                let document = Value::Object(self.fields.document(origin, &item));
                RecordForm::Line(format!("{document}\n").into_bytes())
            }
        };
        FileRecord { text_bytes, form }
    }

    fn ending(&self) -> &'static str {
        match (self.form, self.packing) {
            (FileForm::Parquet, _) => ".parquet",
            (FileForm::Ndjson, Packing::None) => ".ndjson",
            (FileForm::Ndjson, Packing::Gzip) => ".ndjson.gz",
            (FileForm::Ndjson, Packing::Zstd) => ".ndjson.zst",
            (FileForm::Text, Packing::None) => ".log",
            (FileForm::Text, Packing::Gzip) => ".log.gz",
            (FileForm::Text, Packing::Zstd) => ".log.zst",
        }
    }
}

impl Part {
    /// Adds a record. Lines are compressed on background threads.
    pub(crate) async fn add(&mut self, record: FileRecord, threads: &BackgroundThreads) -> Result<(), SendError> {
        match (self, record.form) {
            (Self::Columns { file, waiting }, RecordForm::Row(item)) => {
                waiting.push(item);
                if waiting.len() >= FILED_TOGETHER { write_waiting(file, waiting).await } else { Ok(()) }
            }
            (Self::Lines(lines), RecordForm::Line(line)) => {
                lines.waiting.extend_from_slice(&line);
                if lines.waiting.len() >= WRITTEN_TOGETHER { lines.write_waiting(threads).await } else { Ok(()) }
            }
            (Self::Columns { .. }, RecordForm::Line(_)) | (Self::Lines(_), RecordForm::Row(_)) => {
                Err(SendError::Denied("a record of another form was added to a file".to_owned()))
            }
        }
    }

    /// Completes the file under its final name.
    pub(crate) async fn finish(self, threads: &BackgroundThreads) -> Result<(), SendError> {
        match self {
            Self::Columns { mut file, mut waiting } => {
                write_waiting(&mut file, &mut waiting).await?;
                file.finish().await.map_err(|error| unavailable(&error))
            }
            Self::Lines(mut lines) => {
                lines.write_waiting(threads).await?;
                let Lines { mut file, packer, .. } = *lines;
                let rest = match packer {
                    Packer::None(bytes) => bytes,
                    Packer::Gzip(encoder) => encoder.finish().map_err(unpackable)?,
                    Packer::Zstd(encoder) => encoder.finish().map_err(unpackable)?,
                };
                file.write(Bytes::from(rest)).await.map_err(|error| unavailable(&error))?;
                file.finish().await.map_err(|error| unavailable(&error))
            }
        }
    }

    /// Removes the incomplete file.
    pub(crate) async fn abandon(self) {
        let abandoned = match self {
            Self::Columns { file, .. } => file.abandon().await,
            Self::Lines(lines) => lines.file.abandon().await,
        };
        if let Err(error) = abandoned {
            tracing::debug!(%error, "an incomplete file could not be removed");
        }
    }
}

impl Lines {
    /// Compresses the lines that wait, and writes what that gives.
    async fn write_waiting(&mut self, threads: &BackgroundThreads) -> Result<(), SendError> {
        let lines = std::mem::take(&mut self.waiting);
        let mut packer = std::mem::replace(&mut self.packer, Packer::None(Vec::new()));
        let packing = move || packer.write_all(&lines).map(|()| packer);
        let stopping = || SendError::Away { problem: "the process is stopping".to_owned(), after: None };
        self.packer = threads.run(packing).await.ok_or_else(stopping)?.map_err(unpackable)?;
        let packed = match &mut self.packer {
            Packer::None(bytes) => bytes,
            Packer::Gzip(encoder) => encoder.get_mut(),
            Packer::Zstd(encoder) => encoder.get_mut(),
        };
        if packed.len() < WRITTEN_TOGETHER {
            return Ok(());
        }
        let packed = Bytes::from(std::mem::take(packed));
        self.file.write(packed).await.map_err(|error| unavailable(&error))
    }
}

impl Write for Packer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::None(out) => out.write(bytes),
            Self::Gzip(out) => out.write(bytes),
            Self::Zstd(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::None(out) => out.flush(),
            Self::Gzip(out) => out.flush(),
            Self::Zstd(out) => out.flush(),
        }
    }
}

async fn write_waiting(file: &mut RecordFileWriter, waiting: &mut Vec<Item>) -> Result<(), SendError> {
    if waiting.is_empty() {
        return Ok(());
    }
    let records: Vec<RecordRow<'_>> = waiting
        .iter()
        .map(|item| RecordRow { id: &item.id, arrival: item.position.arrival, record: &item.record })
        .collect();
    file.add(&records).await.map_err(|error| unavailable(&error))?;
    waiting.clear();
    Ok(())
}

fn unpackable(error: std::io::Error) -> SendError {
    SendError::Denied(format!("a file cannot be packed: {error}"))
}

fn unavailable(error: &runlog_store::Error) -> SendError {
    SendError::Away { problem: error_chain(error), after: None }
}
