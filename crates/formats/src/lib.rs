//! Reads logs of other programs as records: NDJSON, JSON, CSV, and text as loggers write it.
//!
//! ```text
//! text in UTF-8 ──▶ detect ──▶ LogReader ──▶ records, each as a line of NDJSON, and what cannot be read
//! ```
//!
//! A [`LogReader`] reads one record after another and keeps none, so that memory is bounded, however long a log is.
//! Parts that cannot be read are returned with their line number and the reason; nothing is skipped silently. Files,
//! pipes, compression and encodings other than UTF-8 are left to the caller.
//!
//! | module | holds |
//! |---|---|
//! | `detect` | the format of a log, by its beginning |
//! | `reader` | [`LogReader`] and [`LineReader`] |
//! | `json`, `values` | JSON objects, one a line or anywhere |
//! | `table` | CSV |
//! | `text` | lines of loggers: times, severities, and the lines that belong together |
//! | `layout` | lines of a logger whose layout is given as a conversion pattern |
//! | `fields`, `names` | which field or column of another program is which of a record |
//! | `calendar` | names of months, weekdays and zones |
//! | `encoding` | bytes that are not UTF-8 |
//! | `outcome`, `settings` | what reading gives, and how it is done |

mod calendar;
mod detect;
mod encoding;
mod fields;
mod json;
mod layout;
mod lines;
mod names;
mod outcome;
mod reader;
mod settings;
mod table;
mod text;
mod values;

pub use detect::{Detected, detect};
pub use layout::{Layout, LayoutError};
pub use names::{FieldMap, FieldName};
pub use outcome::{Invalid, Next, Position, RECORD_BYTES_MAX, ReadError, Unit};
pub use reader::{LineReader, LogReader};
pub use settings::{DateOrder, LogFormat, ReadSettings};
