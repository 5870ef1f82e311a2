//! Tables in the format of Apache Iceberg, for lakehouses: each workspace has a table of the records in its sealed files,
//! and tables of rows of the catalog ([`table::LakeTableKind`]).
//!
//! ```text
//! sealing, deletion ▸ changes: the files of a group have changed        (in the same transaction)
//! load records      ▸ publish: manifests of the groups that have changed ▸ manifest list, metadata ▸ snapshot
//! load runs, tasks… ▸ view: rows of the catalog ▸ files, if they have changed ▸ manifest, list, metadata ▸ snapshot
//! ```
//!
//! Records are not copied: manifests name the sealed files. Files are in groups of [`limits::LAKE_GROUP_FILES`] in the order in
//! which they were sealed, and a group has one manifest, so that a change rewrites few of them however large the table is.
//! Rows of a file that are not part of a log any more, because it was deleted or because late records were merged into
//! it, are hidden by position deletes ([`position_deletes`]) until the rest of the file has been sealed anew.
//!
//! Rows of the catalog change all the time, and nothing notes how: such a table is written anew when it is loaded, at most
//! once in some seconds ([`limits::LAKE_VIEW_EVERY_MS`]), and files that are the same stay. A deletion makes all its objects
//! due for the sweep at once ([`changes::note_deleted`]), whether somebody loads the table again or not.
//!
//! Only the current snapshot can be read: deletions are final, and objects of deleted logs are gone.
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
