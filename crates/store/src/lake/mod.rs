//! Lakehouse tables, in the format of Apache Iceberg: each workspace has a table of the records in its sealed files,
//! and tables of catalog rows ([`table::LakeTableKind`]).
//!
//! ```text
//! sealing, deletion ▸ changes: the files of a group have changed        (in the same transaction)
//! load records      ▸ publish: manifests of the groups that have changed ▸ manifest list, metadata ▸ snapshot
//! load runs, tasks… ▸ view: rows of the catalog ▸ files, if they have changed ▸ manifest, list, metadata ▸ snapshot
//! ```
//!
//! Records are not copied: manifests list the sealed files. Files are divided into groups of
//! [`limits::LAKE_GROUP_FILES`] in the order in which they were sealed. Each group has its own manifest, so that a
//! change rewrites few manifests, however large the table is. Rows of a file that are no longer part of a log, because
//! the log was deleted or because late records were merged into it, are hidden by position deletes
//! ([`position_deletes`]) until the rest of the file has been sealed again.
//!
//! Rows of the catalog change all the time, and their changes are not recorded. A table of catalog rows is therefore
//! rewritten when it is loaded, at most once in some seconds ([`limits::LAKE_VIEW_EVERY_MS`]), and unchanged files are
//! kept. A deletion makes all objects of the table due for the sweep immediately ([`changes::note_deleted`]), whether
//! the table is loaded again or not.
//!
//! Only the current snapshot can be read: deletions are final, and the objects of deleted logs no longer exist.
//!
//! [`limits::LAKE_GROUP_FILES`]: crate::limits::LAKE_GROUP_FILES
//! [`limits::LAKE_VIEW_EVERY_MS`]: crate::limits::LAKE_VIEW_EVERY_MS

mod avro;
pub(crate) mod changes;
mod group;
mod manifest;
mod metadata;
mod position_deletes;
mod publication;
pub(crate) mod publish;
pub(crate) mod sign;
pub(crate) mod table;
mod view;
mod view_file;
