//! Speaks the run-log API of Talend Cloud, or of another Runlog, and hides what is hard about it: paging, waiting,
//! expiry, pace and retry.
//!
//! ```text
//! PageWalk ▸ RequestedPage         one POST a page, each from the header of the one before
//! Client::fetch_page ▸ bytes       how far it is ▸ link ▸ guarded download
//! entries ▸ reconcile ▸ one log    bytes ▸ entries ▸ sorted chunks on disk ▸ merged by time, none lost, none twice
//! ```
//!
//! Not in this crate: the destination of results, which is up to the collector, and the archive, which the client does
//! not know. The clock, randomness and waiting are injected.

mod api;
mod error;
mod pages;
mod sync;
mod transport;

pub use api::{
    AUDIT_PAGE_MAX, AuditLogPage, AuditLogWindow, COMPONENTS_PAGE_MAX, ComponentPage, ContentEncoding, Execution,
    ExecutionFilter, ExecutionList, ExecutionScope, GeneratedPage, HISTORY_RUNS_MAX, HistoryLookup, ListIds, LivePage,
    LiveQuery, PageRequest, PermissionHolder, PushBatch, Readiness, SignIn, SqlAnswer, TaskDescription, readiness,
};
pub use error::{Error, ErrorKind, Result};
pub use pages::{DownloadSink, PageEvent, PageWalk, RequestedPage, end_after_oldest, entries, reconcile};
pub use transport::{
    Client, ClientSettings, Credentials, DownloadSettings, GroupPaces, HttpClientBuilder, HttpSender, Pace,
    PaceSetting, REGIONS, SimulatedNetwork, TlsSettings, TokenForm, TokioWait, Traffic, Wait, region_url, retry_after,
};
