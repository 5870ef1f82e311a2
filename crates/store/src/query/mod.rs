//! Columnar queries over many logs: scans, search, and rows of the catalog.

pub(crate) mod catalog_views;
pub(crate) mod facets;
pub(crate) mod scan;
pub(crate) mod search;
pub(crate) mod search_text;
pub(crate) mod streams;
pub(crate) mod visit;

pub use crate::parts::Query;
pub use catalog_views::{CatalogView, ViewColumn, ViewColumnType, ViewCondition, ViewScan};
pub use facets::{SearchFacets, TimeCounts};
pub use scan::request::{DynamicFilter, RecordView, ScanColumn, ScanFilter, ScanRun, scan_schema};
pub use scan::stream::{Scan, ScanStream};
pub use search::{
    HitFields, RecordFilter, SearchCursor, SearchHit, SearchOrder, SearchPage, SearchQuery, UnreadableRecords,
};
pub use search_text::{SearchText, SearchTextError};
pub use streams::{RunRecords, StreamFigures};
pub use visit::{RecordVisitor, VisitOutcome, VisitQuery};
