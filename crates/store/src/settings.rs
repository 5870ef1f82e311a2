//! The settings that an archive is opened with.

use std::fmt;
use std::path::PathBuf;

use url::Url;

/// A URL that may contain a password; only its host and path are shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Url);

impl SecretUrl {
    /// Parses a URL with one of these schemes, such as `postgres`.
    pub fn read(text: &str, schemes: &[&str]) -> Result<Self, String> {
        let expected = || format!("this is not an address that begins with {}://", schemes.join(":// or "));
        let url: Url = text.parse().map_err(|_| expected())?;
        if schemes.contains(&url.scheme()) { Ok(Self(url)) } else { Err(expected()) }
    }

    /// True if both name the same database or the same part of a bucket, with whatever credentials.
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

/// Where an archive is stored and how it behaves.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// The folder of the catalog and the objects, unless they are stored elsewhere; created if it does not exist.
    pub data_folder: PathBuf,
    /// The PostgreSQL database that holds the catalog. Default: none, an SQLite file in the folder.
    pub catalog: Option<SecretUrl>,
    /// The bucket that holds the objects: `s3://bucket/prefix`, `gs://…`, `az://…`; credentials and endpoint come from
    /// the environment variables of each. Default: none, the folder.
    pub objects: Option<SecretUrl>,
    /// Most records of one page. Unit: records. Default: 100,000, as Talend Cloud has it.
    pub page_records_max: u64,
    /// How long the log of a final run may still grow. Unit: milliseconds. Default: 30 s, as the guide says.
    pub settle_ms: i64,
    /// How long a page token is valid, and after it a link. Unit: milliseconds. Default: one hour each.
    pub page_life_ms: i64,
    /// Page files that are built concurrently. Default: 2.
    pub page_builders: usize,
    /// Whether log files are downloaded from the bucket itself, by links that it signs. They are then stored as they
    /// are downloaded, not compressed. Default: false, links lead to Runlog.
    pub links_by_bucket: bool,
    /// Whether sealed files are written for lakehouses: each with the runs of a single workspace. Default: false.
    pub lake: bool,
    /// Most memory of records that are received and not stored yet. Unit: bytes. Default: 48 MiB.
    pub ingest_memory_bytes: usize,
}

impl StoreSettings {
    /// The defaults, in a folder.
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

    /// Where the archive is stored, for messages: the folder, or the URLs without their secrets.
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
