//! The parts of an open archive that work on the catalog and on stored logs. Their methods are defined beside the
//! tables, logs and queries that they read and write.

use std::fmt;

use crate::core::Core;

macro_rules! parts {
    ($($(#[$doc:meta])* $part:ident,)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone)]
            pub struct $part {
                pub(crate) core: Core,
            }

            impl fmt::Debug for $part {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.debug_struct(stringify!($part)).finish_non_exhaustive()
                }
            }

            impl $part {
                pub(crate) fn new(core: &Core) -> Self {
                    Self { core: core.clone() }
                }
            }
        )*
    };
}

parts! {
    /// Runs: how they begin and end, lists of them, their history, and the plan executions that they belong to.
    Runs,
    /// Environments, the workspaces in them, and the tasks in those.
    Workspaces,
    /// Users, service accounts, their tokens, rights and sessions.
    Accounts,
    /// Keys that sign access tokens and links.
    SigningKeys,
    /// SQL queries that callers have saved.
    SavedQueries,
    /// Sinks, the deliveries of logs to them, and dead letters.
    Deliveries,
    /// Upstreams, the runs that are collected from them, and the collectors at work.
    Collection,
    /// Records of one log: live pages, whole logs, filters and histograms.
    Logs,
    /// Records and catalog rows of many runs: search and scans.
    Query,
    /// Summaries of logs, and the error groups that they found.
    Summaries,
    /// Problems: the root causes of failed runs, and what people made of them.
    Problems,
    /// Component metrics of runs.
    Components,
    /// Plans and plan executions as upstreams describe them.
    Plans,
    /// Tables for lakehouses.
    Lake,
    /// The audit logs of tenants, which upstreams keep of their users.
    TenantAuditLogs,
    /// The audit log of this archive.
    AuditLog,
    /// Alerts, and what alert rules ask of the catalog.
    Alerts,
}
