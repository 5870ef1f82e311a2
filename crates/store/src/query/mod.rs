//! Many logs at once, by columns: scans, search, and rows of the catalog.

pub(crate) mod catalog_views;
pub(crate) mod scan;
pub(crate) mod search;
pub(crate) mod search_text;
