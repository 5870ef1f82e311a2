//! What an archive is opened with.

use std::path::PathBuf;

/// Where an archive lies and how it behaves.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// The folder that holds the catalog and the objects; made when it is not there.
    pub data_folder: PathBuf,
    /// Most records of one page. Unit: records. Default: 100,000, as Talend Cloud has it.
    pub page_records_max: u64,
    /// How long after a run became final its log may still grow. Unit: milliseconds. Default: 30 s, as the guide has it.
    pub settle_ms: i64,
    /// How long a page token is valid, and after it a link. Unit: milliseconds. Default: one hour each.
    pub page_life_ms: i64,
    /// Page files that are built at a time. Default: 2.
    pub page_builders: usize,
}

impl StoreSettings {
    /// The defaults, in a folder.
    pub fn in_folder(data_folder: impl Into<PathBuf>) -> Self {
        Self {
            data_folder: data_folder.into(),
            page_records_max: runlog_model::page::PAGE_RECORDS_MAX,
            settle_ms: 30_000,
            page_life_ms: 3_600_000,
            page_builders: 2,
        }
    }
}
