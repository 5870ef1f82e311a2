//! The domain types of Runlog: IDs, time, records, runs, pages, and the bodies of the HTTP API.
//!
//! Everything here is a value. There is no I/O, no clock and no randomness in this crate: code that needs the time
//! receives a [`Clock`], and code that needs random bytes receives a [`Random`].
//!
//! | module | holds |
//! |---|---|
//! | [`backoff`] | how long to wait before another attempt |
//! | [`causes`] | an error and what caused it |
//! | [`elements`] | where the elements of JSON end, in any arrangement |
//! | [`fields`] | the fields of a JSON object, with their numbers as they are written |
//! | [`hex`] | bytes as hexadecimal digits |
//! | [`id`] | ids of runs, tasks, workspaces and environments |
//! | [`json`] | JSON as values of which nothing is lost |
//! | [`log_absence`] | why a run has no log |
//! | [`log_time`] | times as logs write them: numbers of any unit, texts of any form |
//! | [`time`] | [`Timestamp`], [`TimeRange`], [`Clock`] |
//! | [`record`] | one line of a run's log |
//! | [`severity`] | how grave it is |
//! | [`run`] | one execution of a task |
//! | [`page`] | where a page of a log ends |
//! | [`plan`], [`plan_report`] | plan executions: what their runs tell, and what a service says of them |
//! | [`planted`] | bugs that tests must catch; programs that are shipped contain none |
//! | [`printable`] | text that a terminal may show |
//! | [`repair`] | JSON whose texts or numbers some writers break |
//! | [`structured_data`] | structured data of syslog |
//! | [`tenant_audit_log`] | what somebody did in the consoles and APIs of Talend Cloud |
//! | [`text`] | the TEXT form of a log |
//! | [`problem`] | error groups and problems: what goes wrong, the same from run to run |
//! | [`place`] | environments, workspaces, tasks, and rights in them |
//! | [`word`] | errors for values that are not in a closed list |
//! | [`wire`] | request and response bodies |

// Numbers that do not fit become the nearest that do (`saturating_as`): none wraps around.
#![cfg_attr(not(test), warn(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss))]

pub mod backoff;
pub mod causes;
pub mod elements;
pub mod fields;
pub mod hex;
pub mod id;
pub mod json;
pub mod log_absence;
pub mod log_time;
pub mod page;
pub mod plan;
pub mod plan_report;
pub mod planted;
pub mod printable;
pub mod problem;
pub mod random;
pub mod record;
pub mod repair;
pub mod run;
pub mod severity;
pub mod structured_data;
pub mod tenant_audit_log;
pub mod text;
pub mod time;
pub mod wire;
pub mod word;
pub mod workspaces;

pub use backoff::backoff;
pub use causes::{causes, error_chain};
pub use fields::Fields;
pub use id::{EnvironmentId, RunId, RunIdPrefix, TaskId, WorkspaceId};
pub use json::read_object;
pub use log_absence::LogAbsence;
pub use log_time::{LogTime, LogZone};
pub use page::{FileFormat, PageEnd, RecordOrder};
pub use problem::{ErrorGroupKind, ProblemState};
pub use random::Random;
pub use record::Record;
pub use repair::repair;
pub use run::{ExecutionStatus, ExecutionType, Run, RunStatus, Runtime, UserType};
pub use severity::Severity;
pub use structured_data::StructuredData;
pub use time::{Clock, TimeRange, Timestamp, millis};
