//! The settings with which an archive is opened.

use std::fmt;
use std::path::PathBuf;

use url::Url;

/// A URL that may contain a password. Only its host and path are displayed.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Url);

impl SecretUrl {
    /// Parses a URL with one of these schemes, such as `postgres`.
    pub fn read(text: &str, schemes: &[&str]) -> Result<Self, String> {
        let expected = || format!("this is not an address that begins with {}://", schemes.join(":// or "));
        let url: Url = text.parse().map_err(|_| expected())?;
        if schemes.contains(&url.scheme()) { Ok(Self(url)) } else { Err(expected()) }
    }

    /// Returns true if both URLs refer to the same database or the same part of a bucket, regardless of credentials.
    pub fn is_same_location(&self, other: &Self) -> bool {
        let place = |url: &Url| {
            let endpoint = url.query_pairs().find(|(name, _)| name == "endpoint").map(|(_, value)| value.into_owned());
            let (host, port) = (url.host_str().map(str::to_ascii_lowercase), url.port());
            let default_port = url.scheme().starts_with("postgres").then_some(5432);
            (host, port.or(default_port), url.path().trim_matches('/').to_owned(), endpoint)
        };
        place(&self.0) == place(&other.0)
    }

    pub(crate) fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.0.scheme(), self.0.host_str().unwrap_or("?"), self.0.path())
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The location and the options of an archive.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// The folder of the catalog and the objects, unless they are stored elsewhere. It is created if it does not exist.
    pub data_folder: PathBuf,
    /// The PostgreSQL database that holds the catalog. Default: none; the catalog is an SQLite file in the folder.
    pub catalog: Option<SecretUrl>,
    /// The bucket that holds the objects: `s3://bucket/prefix`, `gs://…`, `az://…`; credentials and endpoint are read
    /// from the environment variables of the provider. Default: none; the objects are stored in the folder.
    pub objects: Option<SecretUrl>,
    /// The maximum number of records of a page. Unit: records. Default: 100,000, the limit of Talend Cloud.
    pub page_records_max: u64,
    /// How long the log of a final run may still grow. Unit: milliseconds. Default: 30 s. Source: the guide of Talend
    /// Cloud.
    pub settle_ms: i64,
    /// How long a page token is valid, and how long a link that was obtained with it is valid. Unit: milliseconds.
    /// Default: one hour each.
    pub page_life_ms: i64,
    /// The maximum number of page files that are built concurrently. Default: 2.
    pub page_builders: usize,
    /// Whether log files are downloaded directly from the bucket, through signed links. Such files are stored
    /// uncompressed, exactly as they are downloaded. Default: false; files are downloaded from Runlog.
    pub links_by_bucket: bool,
    /// Whether sealed files are written for lakehouses, so that each contains runs of a single workspace. Default:
    /// false.
    pub lake: bool,
    /// The maximum memory for records that have been received but not yet stored. Unit: bytes. Default: 48 MiB.
    pub ingest_memory_bytes: usize,
}

impl StoreSettings {
    /// Returns the default settings for an archive in a folder.
    pub fn in_folder(data_folder: impl Into<PathBuf>) -> Self {
        Self {
            data_folder: data_folder.into(),
            catalog: None,
            objects: None,
            page_records_max: runlog_model::page::PAGE_RECORDS_MAX,
            settle_ms: 30_000,
            page_life_ms: 3_600_000,
            page_builders: 2,
            links_by_bucket: false,
            lake: false,
            ingest_memory_bytes: 48 << 20,
        }
    }

    /// Returns the location of the archive for messages: the folder, or the URLs without their secrets.
    pub fn location(&self) -> String {
        let folder = self.data_folder.display();
        match (&self.catalog, &self.objects) {
            (None, None) => folder.to_string(),
            (Some(catalog), None) => format!("{catalog} and {folder}"),
            (None, Some(objects)) => format!("{folder} and {objects}"),
            (Some(catalog), Some(objects)) => format!("{catalog} and {objects}"),
        }
    }
}
