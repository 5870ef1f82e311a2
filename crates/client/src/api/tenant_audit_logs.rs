//! The audit logs of a tenant: what its users did in the consoles and APIs of Talend Cloud, or what a Runlog has of
//! that. Source: the vendor's file `audit-logs/2021-03`.

use http::{HeaderMap, Method};
use runlog_model::Timestamp;
use runlog_model::wire::executions::ListPage;
use runlog_model::wire::tenant_audit_logs::{PAGE_LAST, TOTAL_ELEMENTS, TOTAL_PAGES, TenantAuditLogBody};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::Result;
use crate::transport::Client;
use crate::transport::lenient;

/// Most entries of a page. Source: the vendor's file.
pub const AUDIT_PAGE_MAX: u64 = 1_000;

/// A part of the entries of a range of time: which page, and of how many entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditLogWindow {
    /// The earliest time.
    pub from: Timestamp,
    /// The latest time.
    pub to: Timestamp,
    /// The number of the page, starting at 1.
    pub page: u64,
    /// Entries of a page, at most [`AUDIT_PAGE_MAX`].
    pub size: u64,
}

/// A page of entries, newest first.
#[derive(Debug)]
pub struct AuditLogPage {
    /// The entries as received; with repaired texts if the page is otherwise invalid JSON.
    pub entries: Vec<Box<RawValue>>,
    /// Number of entries on all pages; `None` if the service does not return it.
    pub total: Option<u64>,
    /// Number of pages; `None` if the service does not return it.
    pub pages: Option<u64>,
    /// True if this is the last page; `None` if the service does not return it.
    pub is_last: Option<bool>,
}

impl Client {
    /// A page of the audit logs of the tenant: `GET /security/audit/logs`. The request has the lowest priority.
    pub async fn audit_log_page(&self, window: AuditLogWindow) -> Result<AuditLogPage> {
        let query = [
            ("fromDate", window.from.to_string()),
            ("toDate", window.to.to_string()),
            ("page", window.page.to_string()),
            ("size", window.size.to_string()),
        ];
        let call = self.request(Method::GET, &["security", "audit", "logs"], &query).in_background();
        let answer = self.send(call).await?;
        // An invalid text in one entry must not make the other entries of the page unreadable.
        let entries = answer
            .json()
            .or_else(|error| serde_json::from_slice(&runlog_model::repair(&answer.body).json).map_err(|_| error))?;
        let count = |name| said(&answer.headers, name).and_then(|text| lenient::count(&Value::from(text)));
        Ok(AuditLogPage {
            total: count(TOTAL_ELEMENTS),
            pages: count(TOTAL_PAGES),
            is_last: said(&answer.headers, PAGE_LAST).and_then(|text| text.to_ascii_lowercase().parse().ok()),
            entries,
        })
    }

    /// Entries of the audit logs of tenants that a Runlog has, newest first: `GET /runlog/v1/tenant-audit-logs`, with
    /// these parameters of its query.
    pub async fn tenant_audit_logs(&self, query: &[(&str, String)]) -> Result<ListPage<TenantAuditLogBody>> {
        self.get_json(&["runlog", "v1", "tenant-audit-logs"], query).await
    }
}

fn said<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}
