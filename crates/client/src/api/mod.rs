//! The requests of the API: one file per group of endpoints.

mod admin;
mod alerts;
mod components;
mod executions;
mod history;
mod lists;
mod logs;
mod plans;
mod problems;
mod push;
mod read;
mod readiness;
mod reports;
mod search;
mod session;
mod sign_in;
mod sql;
mod tenant_audit_logs;

pub use admin::{PermissionHolder, TaskDescription};
pub use components::{COMPONENTS_PAGE_MAX, ComponentPage};
pub use executions::{Execution, ExecutionFilter, ExecutionList, ExecutionScope, LivePage, LiveQuery};
pub use history::{HISTORY_RUNS_MAX, HistoryLookup};
pub use lists::ListIds;
pub(crate) use logs::LogStatus;
pub use logs::{GeneratedPage, PageRequest};
pub use push::{ContentEncoding, PushBatch};
pub use readiness::{Readiness, readiness};
pub use sign_in::SignIn;
pub use sql::SqlAnswer;
pub use tenant_audit_logs::{AUDIT_PAGE_MAX, AuditLogPage, AuditLogWindow};
