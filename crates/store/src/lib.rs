//! The archive: objects and catalog behind one [`Store`].
//!
//! Objects hold bytes, the catalog holds truth. The object goes first and the row second: an orphan object is swept
//! later, an orphan row would be a lie. Nobody but this crate opens a database or an object.
//!
//! ```text
//! begin_batch ▸ push … ▸ commit     records ▸ segment objects ▸ one transaction: batch, segments, slices, run
//! request_page ▸ token              the cut is found from the catalog and the times of a few slices
//! run_jobs                          wanted page ▸ slices merged ▸ page file ▸ row says built
//! page_status ▸ open_page ▸ bytes   any range of the plain bytes, or the compressed file as it is
//! ```
//!
//! # Errors
//!
//! Every call fails with [`Error`], whose [`ErrorKind`] says what the caller does next. `Conflict` means: someone
//! was first, read again. `Unavailable` means: nothing was acknowledged, call again. `Corrupt` means: stored bytes
//! do not decode, stop and look; nothing is ever left out in silence.

// Numbers that do not fit become the nearest that do (`saturating_as`): none wraps around.
#![cfg_attr(not(test), warn(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss))]

mod catalog;
mod core;
mod cpu;
mod error;
pub mod failpoint;
mod ingest;
pub mod limits;
mod log;
mod maintain;
mod node_metrics;
mod objects;
mod page;
mod parts;
mod private;
mod query;
mod secret;
mod segment;
mod settings;
mod store;
pub mod supervise;
mod tables;

pub use catalog::audit_context::AuditContext;
pub use catalog::pool::PoolMetrics;
pub use error::{Error, ErrorKind, Result};
pub use ingest::batch::BatchWriter;
pub use ingest::commit::Ingest;
pub use log::delivery::DeliveryReader;
pub use log::filter::{FilteredRecords, RecordFilter};
pub use log::histogram::Histogram;
pub use log::read::{LivePage, LiveQuery, RecordReader};
pub use maintain::copy::{CopyProgress, CopyReport};
pub use maintain::delete::DeletedLog;
pub use maintain::diagnose::{Finding, Health};
pub use maintain::maintenance::Maintenance;
pub use maintain::metrics::{ArchiveMetrics, TaskMetrics};
pub use maintain::retention::{Retention, RetentionReport};
pub use maintain::seal::{DamagedLog, SealReport};
pub use maintain::statistics::{ObjectCount, Statistics, WorkspaceStatistics};
pub use maintain::verify::{VerifyProgress, VerifyReport};
pub use node_metrics::NodeMetrics;
pub use objects::bucket::{Bucket, BucketFile};
pub use objects::metering::{OBJECT_LATENCY_BUCKETS_MS, ObjectStoreMetrics};
pub use page::builders::Pages;
pub use page::file::{PageBytes, PageReader};
pub use page::types::{PageFile, PageRequest, PageStatus, PageTicket};
pub use parts::{
    Accounts, Alerts, AuditLog, Collection, Deliveries, Logs, Query, Runs, SavedQueries, SigningKeys, Summaries,
    Workspaces,
};
pub use query::catalog_views::{CatalogView, ViewColumn, ViewColumnType, ViewCondition, ViewScan};
pub use query::scan::request::{DynamicFilter, ScanColumn, ScanFilter, ScanRun, scan_schema};
pub use query::scan::stream::{Scan, ScanStream};
pub use query::search::{SearchCursor, SearchHit, SearchPage, SearchQuery};
pub use query::search_text::{SearchText, SearchTextError};
pub use segment::record_file_writer::{RecordFileWriter, RecordRow};
pub use settings::{SecretUrl, StoreSettings};
pub use store::Store;
pub use supervise::{Supervisor, WorkFailure, WorkState};
pub use tables::accounts::{Caller, CallerKind, Grant, GrantFilter};
pub use tables::alerts::{AlertBacklog, ClaimedAlert, IncompleteRun, NewAlert, SinkLag};
pub use tables::audit::AuditFilter;
pub use tables::collected_runs::{
    ClaimedRun, CollectedRun, CollectionMetrics, CollectorHeartbeat, FailedAttempt, UpsertCounts, UpstreamRun,
    UpstreamRunState,
};
pub use tables::deliveries::{
    ClaimedDelivery, DeliveryStep, KeyedRecord, RecordKey, RefusedRange, ReplayBatch, ReplayProgress,
};
pub use tables::error_groups::{ErrorGroup, RecentRun};
pub use tables::history::{HistoryCondition, HistoryEntry, HistoryExclude, HistoryField, HistoryFilter};
pub use tables::overview::{LogMetadata, OutcomeCount, OverviewFilter, TaskOverview, TaskOverviewFilter};
pub use tables::plans::PlanFilter;
pub use tables::runs::{RunBrief, RunFilter};
pub use tables::saved_queries::SavedQuery;
pub use tables::sessions::{AccessToken, NewSession, Session};
pub use tables::signing_keys::SigningKey;
pub use tables::sinks::{DeadLetter, FailingDelivery, FinishedRun, SinkMetrics};
pub use tables::summaries::{ClaimedSummary, LogSummary, LogVersion, NewErrorGroup, NewSummary, StoredSummary};
pub use tables::workspaces::TaskFilter;
