//! Many logs at once, by columns: scans, search, and rows of the catalog.

pub(crate) mod catalog_views;
pub(crate) mod facets;
pub(crate) mod scan;
pub(crate) mod search;
pub(crate) mod search_text;

pub use crate::parts::Query;
pub use catalog_views::{CatalogView, ViewColumn, ViewColumnType, ViewCondition, ViewScan};
pub use facets::SearchFacets;
pub use scan::request::{DynamicFilter, ScanColumn, ScanFilter, ScanRun, scan_schema};
pub use scan::stream::{Scan, ScanStream};
pub use search::{SearchCursor, SearchHit, SearchPage, SearchQuery};
pub use search_text::{SearchText, SearchTextError};
