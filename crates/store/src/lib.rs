//! The archive: objects and catalog behind one [`Store`].
//!
//! Objects contain the data; the catalog records which objects and logs exist. An object is written before its row: an
//! orphaned object is removed later by the sweep, but a row must never refer to a missing object. No other crate opens
//! a database or an object.
//!
//! The methods of a [`Store`], such as [`Store::runs`] or [`Store::deliveries`], return its parts; each part and its
//! types have a module here.
//!
//! ```text
//! begin_batch ▸ push … ▸ commit     records ▸ segment objects ▸ one transaction: batch, segments, slices, run
//! request_page ▸ token              the end of the page is determined from the catalog and the times of a few slices
//! run_jobs                          requested page ▸ slices merged ▸ page file ▸ row marked as built
//! page_status ▸ open_page ▸ bytes   any range of the decompressed bytes, or the compressed file
//! ```
//!
//! # Errors
//!
//! Every call fails with an [`Error`], whose [`ErrorKind`] determines what to do next. `Conflict`: another caller was
//! first; read again. `Unavailable`: nothing was acknowledged; retry. `Corrupt`: stored bytes cannot be decoded;
//! investigate. Records are never skipped silently.

// Numeric conversions saturate (`saturating_as`) and never wrap.
#![cfg_attr(not(test), warn(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss))]

mod background_threads;
mod catalog;
mod core;
mod cpu;
mod error;
pub mod failpoint;
pub mod ingest;
mod lake;
pub mod limits;
mod log;
mod maintain;
mod node_metrics;
mod objects;
mod page;
mod parts;
pub mod permissions;
pub mod query;
mod secret;
mod segment;
mod settings;
pub mod simulation;
mod store;
pub mod supervise;
mod sync;
mod tables;
mod timeout;

pub use background_threads::BackgroundThreads;
pub use error::{Error, ErrorKind, Result};
pub use ingest::memory_budget::{MemoryBudget, MemoryReservation};
pub use settings::{SecretUrl, StoreSettings};
pub use store::Store;
pub use timeout::timeout_while_running;

/// Users, service accounts, tokens, rights and sessions; saved queries, and signing keys.
pub mod accounts {
    pub use crate::parts::{Accounts, SavedQueries, SigningKeys};
    pub use crate::tables::accounts::{Caller, CallerKind, Grant, GrantFilter};
    pub use crate::tables::identities::{Identity, IdentityAccess, IdentitySession};
    pub use crate::tables::sessions::{AccessToken, NewSession, ProviderSession, Session};
    pub use crate::tables::signing_keys::SigningKey;
}

/// Alerts, and the catalog queries of alert rules.
pub mod alerts {
    pub use crate::parts::Alerts;
    pub use crate::tables::alerts::{
        AlertBacklog, AlertDestination, AlertFilter, AlertState, ClaimedAlert, IncompleteRun, LogEnd, NewAlert,
        NewAlertState, Recovery, RunKey, RunPage, SinkLag,
    };
}

/// The audit log of this archive.
pub mod audit {
    pub use crate::catalog::audit_context::AuditContext;
    pub use crate::parts::AuditLog;
    pub use crate::tables::audit::{AuditFilter, DELETE_ENVIRONMENT, DELETE_USER};
}

/// Component metrics of runs.
pub mod components {
    pub use crate::parts::Components;
    pub use crate::tables::component_metrics::{
        ComponentCondition, ComponentField, ComponentOrder, ComponentPage, MeasuredComponent, RawComponentFilter,
    };
}

/// Files in a folder or bucket outside the archive, to which file sinks write.
pub mod bucket {
    pub use crate::objects::bucket::{Bucket, BucketFile};
    pub use crate::segment::record_file_writer::{RecordFileWriter, RecordRow};
}

/// Upstreams, the runs collected from them, and the running collectors.
pub mod collection {
    pub use crate::parts::Collection;
    pub use crate::tables::collected_runs::{
        ClaimedComponents, ClaimedRun, CollectedRun, CollectionMetrics, CollectorHeartbeat, FailedAttempt, LandedLog,
        LandedRun, UnrecordedRun, UpsertCounts, UpstreamRun, UpstreamRunState,
    };
    pub use crate::tables::reported_plans::{ClaimedPlan, ListedPlan, PlanCollectionMetrics, PlanState};
    pub use crate::tables::runs::ReportedRun;
}

/// Sinks, the deliveries of logs to them, and dead letters.
pub mod delivery {
    pub use crate::log::delivery::DeliveryReader;
    pub use crate::parts::Deliveries;
    pub use crate::tables::deliveries::{
        ClaimedDelivery, DeliveryStep, KeyedRecord, RecordKey, RefusedRange, ReplayBatch, ReplayProgress,
    };
    pub use crate::tables::sinks::{DeadLetter, FailingDelivery, FinishedRun, RecentDelivery, SinkMetrics};
}

/// Tables for lakehouses, in the format of Apache Iceberg.
pub mod lakehouse {
    pub use crate::lake::publish::LakeTable;
    pub use crate::lake::sign::ObjectRequest;
    pub use crate::lake::table::LakeTableKind;
    pub use crate::objects::s3_signing::{BucketLocation, RequestHeaders, SignedRequest};
    pub use crate::parts::Lake;
}

/// Records of one log.
pub mod logs {
    pub use crate::log::filter::{FilteredRecords, RecordFilter};
    pub use crate::log::read::{LivePage, LiveQuery, RecordReader};
    pub use crate::parts::Logs;
    pub use crate::segment::caseless_text::{CaselessText, CaselessTextError};
}

/// Sealing, sweeping, retention, deletion, verification and copies.
pub mod maintenance {
    pub use crate::maintain::copy::{CopyProgress, CopyReport};
    pub use crate::maintain::delete::DeletedLog;
    pub use crate::maintain::diagnose::{Finding, Health};
    pub use crate::maintain::lakehouse::OmittedFiles;
    pub use crate::maintain::maintenance::Maintenance;
    pub use crate::maintain::retention::{LegalHold, Retention, RetentionReport};
    pub use crate::maintain::seal::commit::SealReport;
    pub use crate::maintain::seal::pass::DamagedLog;
    pub use crate::maintain::statistics::{ObjectCount, Statistics, WorkspaceStatistics};
    pub use crate::maintain::verify::{VerifyProgress, VerifyReport};
}

/// Metrics of the archive and of this process.
pub mod metrics {
    pub use crate::catalog::pool::PoolMetrics;
    pub use crate::maintain::metrics::{ArchiveMetrics, TaskMetrics};
    pub use crate::node_metrics::NodeMetrics;
    pub use crate::objects::metering::{OBJECT_LATENCY_BUCKETS_MS, ObjectStoreMetrics};
}

/// Pages of a log, as files to download.
pub mod pages {
    pub use crate::page::builders::Pages;
    pub use crate::page::file::{PageBytes, PageReader};
    pub use crate::page::types::{PageFile, PageRequest, PageStatus, PageTicket};
}

/// Plans and plan executions as reported by upstreams.
pub mod plans {
    pub use crate::parts::Plans;
    pub use crate::tables::plans::{ListedPlanExecution, PlanFilter, ReportedExecution};
    pub use crate::tables::reported_plans::{FailedPlan, PlanDefinition, PlanDefinitionFilter, StoredPlan};
}

/// Problems: the root causes of failed runs, and the states and notes that users have given them.
pub mod problems {
    pub use crate::parts::Problems;
    pub use crate::tables::problems::{KnownProblem, NewProblem, ProblemFilter, ProblemOrder};
}

/// Runs, their history and overviews.
pub mod runs {
    pub use crate::parts::Runs;
    pub use crate::tables::history::{HistoryCondition, HistoryEntry, HistoryExclude, HistoryField, HistoryFilter};
    pub use crate::tables::overview::{
        LogMetadata, OutcomeCount, OverviewFilter, TaskOrder, TaskOverviewFilter, WorkspaceOrder,
        WorkspaceOverviewFilter,
    };
    pub use crate::tables::runs::{RunBrief, RunFilter};
}

/// Summaries of logs, and error groups.
pub mod summaries {
    pub use crate::parts::Summaries;
    pub use crate::tables::error_groups::{ErrorGroup, RecentRun};
    pub use crate::tables::summaries::{
        ClaimedSummary, LogSummary, LogVersion, NewErrorGroup, NewSummary, StoredSummary,
    };
}

/// The audit logs of tenants: what the users of the upstreams did there.
pub mod tenant_audit_logs {
    pub use crate::parts::TenantAuditLogs;
    pub use crate::tables::tenant_audit_deliveries::{AuditDeliveryState, AuditDeliveryStep, ClaimedAuditDelivery};
    pub use crate::tables::tenant_audit_logs::{
        AuditLogCollection, ClaimedAuditLogs, StoredTenantAuditLog, TenantAuditFilter,
    };
}

/// Environments, workspaces and tasks.
pub mod workspaces {
    pub use crate::parts::Workspaces;
    pub use crate::tables::workspaces::TaskFilter;
}
