//! Speaks the run-log API of Talend Cloud, or of another Runlog, and hides what is hard about it: paging, waiting,
//! expiry, pace and retry.
//!
//! ```text
//! PageWalk ▸ RequestedPage         one POST a page, each from the header of the one before
//! Client::fetch_page ▸ bytes       how far it is ▸ link ▸ guarded download
//! entries ▸ reconcile ▸ one log    bytes ▸ entries ▸ sorted chunks on disk ▸ merged by time, none lost, none twice
//! ```
//!
//! What is absent here: where the result goes, which is the collector's business, and the archive, which the client
//! does not know. The clock, randomness and waiting are handed in.

mod access;
mod admin;
mod client;
mod download;
pub mod entries;
mod error;
mod executions;
mod fetch_page;
mod lenient;
mod lists;
mod logs;
mod mend;
mod pace;
mod push;
mod ready;
pub mod reconcile;
mod reports;
mod retry;
mod search;
mod settings;
mod sql;
mod tls;
mod wait;
mod walk;

pub use admin::PermissionHolder;
pub use client::{Client, Traffic};
pub use download::DownloadSink;
pub use error::{Error, ErrorKind, Result};
pub use executions::{Execution, ExecutionFilter, ExecutionList, ExecutionScope, LivePage, LiveQuery};
pub use fetch_page::PageEvent;
pub use lists::ListIds;
pub use logs::{GeneratedPage, PageRequest};
pub use push::{ContentEncoding, PushBatch};
pub use ready::{Readiness, readiness};
pub use retry::retry_after;
pub use settings::{ClientSettings, Credentials, DownloadSettings, Pace, PaceSetting, TokenForm, region_url};
pub use sql::SqlAnswer;
pub use tls::TlsSettings;
pub use wait::{TokioWait, Wait};
pub use walk::{PageWalk, RequestedPage};
