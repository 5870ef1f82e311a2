//! The parts of an open archive that work on the catalog and on stored logs. The methods of each part are defined in
//! the modules of the tables, logs and queries that it reads and writes.

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
    /// Runs: their start and end, lists of runs, their history, and the plan executions that they belong to.
    Runs,
    /// Environments, their workspaces, and the tasks of the workspaces.
    Workspaces,
    /// Users, service accounts, their tokens, rights and sessions.
    Accounts,
    /// Keys that sign access tokens and links.
    SigningKeys,
    /// SQL queries that callers have saved.
    SavedQueries,
    /// Sinks, the deliveries of logs to them, and dead letters.
    Deliveries,
    /// Upstreams, the runs collected from them, and the running collectors.
    Collection,
    /// Records of one log: live pages, whole logs, filters and histograms.
    Logs,
    /// Records and catalog rows of many runs: search and scans.
    Query,
    /// Summaries of logs, and the error groups found in them.
    Summaries,
    /// Problems: the root causes of failed runs, and the states and notes that users have given them.
    Problems,
    /// Component metrics of runs.
    Components,
    /// Plans and plan executions as reported by upstreams.
    Plans,
    /// Tables for lakehouses.
    Lake,
    /// The audit logs of tenants: what the users of the upstreams did there.
    TenantAuditLogs,
    /// The audit log of this archive.
    AuditLog,
    /// Alerts, and the catalog queries of alert rules.
    Alerts,
}
