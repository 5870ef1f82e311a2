//! The tables of the catalog, one file each: rows in and out.

pub(crate) mod accounts;
pub(crate) mod alerts;
pub(crate) mod audit;
pub(crate) mod collected_runs;
pub(crate) mod component_metrics;
pub(crate) mod deliveries;
pub(crate) mod durations;
pub(crate) mod error_groups;
pub(crate) mod history;
pub(crate) mod identities;
pub(crate) mod overview;
pub(crate) mod plans;
pub(crate) mod problems;
pub(crate) mod reported_plans;
pub(crate) mod run_locks;
pub(crate) mod runs;
pub(crate) mod saved_queries;
pub(crate) mod sessions;
pub(crate) mod signing_keys;
pub(crate) mod sinks;
pub(crate) mod summaries;
pub(crate) mod tenant_audit_deliveries;
pub(crate) mod tenant_audit_logs;
pub(crate) mod workspace_changes;
pub(crate) mod workspaces;
