//! Manifests and manifest lists of Apache Iceberg, format version 2.
//!
//! Source: the specification of Apache Iceberg, "Manifests" and "Manifest Lists". The numbers in the schemas are the
//! field IDs of the specification. All entries have the status "added", and inherit their snapshot and sequence number
//! from the list.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::lake::avro::AvroRecords;
use crate::lake::table::TableForm;
use crate::segment::file_statistics::{Bound, ColumnStatistics, FileStatistics};

/// The kind of files that a manifest lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Content {
    /// Sealed files.
    Data,
    /// Files of position deletes.
    Deletes,
}

/// A manifest, as stored in the catalog and listed in the manifest list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) key: String,
    pub(super) content: Content,
    /// The length of the manifest. Unit: bytes.
    pub(super) bytes: i64,
    pub(super) files: i64,
    pub(super) rows: i64,
    /// The total length of its files. Unit: bytes.
    pub(super) file_bytes: i64,
    /// SHA-256 of the listed entries: a manifest with the same entries is not written again.
    pub(super) digest: String,
    /// The sequence number and the ID of the snapshot that added the manifest.
    pub(super) sequence: i64,
    pub(super) snapshot_id: i64,
}

/// A file of a manifest.
pub(super) struct ListedFile {
    pub(super) address: String,
    pub(super) rows: i64,
    pub(super) bytes: i64,
    pub(super) described: Described,
}

/// The description of the columns of a file in a manifest.
pub(super) enum Described {
    Data(FileStatistics),
    /// The address of the only file to which the position deletes apply.
    Deletes(String),
}

/// Field ID of the path in files of position deletes.
pub(super) const DELETE_PATH_ID: i64 = 2_147_483_546;
/// Field ID of the position.
pub(super) const DELETE_POSITION_ID: i64 = 2_147_483_545;

/// Longest text of a bound. Unit: characters. Engines truncate text bounds in the same way.
const BOUND_CHARS_MAX: usize = 36;

/// Encodes a manifest. Returns its bytes, and the digest of its entries.
pub(super) fn manifest(form: &TableForm, content: Content, files: &[ListedFile]) -> (Vec<u8>, String) {
    let mut entries = AvroRecords::default();
    for file in files {
        entries.begin_record().number(1).none().none().none();
        entries.number(match content {
            Content::Data => 0,
            Content::Deletes => 1,
        });
        entries.bytes(file.address.as_bytes()).bytes(b"PARQUET").number(file.rows).number(file.bytes);
        match &file.described {
            Described::Data(statistics) => data_columns(&mut entries, form, statistics, file.rows),
            Described::Deletes(path) => delete_columns(&mut entries, path),
        }
    }
    let name = match content {
        Content::Data => "data",
        Content::Deletes => "deletes",
    };
    let (schema, schema_id) = (form.schema().to_string(), form.schema_id.to_string());
    let header = [
        ("schema", schema.as_str()),
        ("schema-id", schema_id.as_str()),
        ("partition-spec", "[]"),
        ("partition-spec-id", "0"),
        ("format-version", "2"),
        ("content", name),
    ];
    into_file(entries, MANIFEST_SCHEMA, &header)
}

/// Encodes the manifest list of a snapshot.
pub(super) fn manifest_list(manifests: &[Manifest], folder: &str, sequence: i64, snapshot_id: i64) -> Vec<u8> {
    let mut entries = AvroRecords::default();
    for manifest in manifests {
        entries.begin_record().bytes(format!("{folder}/{}", manifest.key).as_bytes()).number(manifest.bytes).number(0);
        entries.number(match manifest.content {
            Content::Data => 0,
            Content::Deletes => 1,
        });
        entries.number(manifest.sequence).number(manifest.sequence).number(manifest.snapshot_id);
        entries.number(manifest.files).number(0).number(0).number(manifest.rows).number(0).number(0);
        // No partitions, and no encryption key.
        entries.some().array(std::iter::empty::<()>(), |_, ()| ()).none();
    }
    let (sequence, snapshot_id) = (sequence.to_string(), snapshot_id.to_string());
    let header = [
        ("snapshot-id", snapshot_id.as_str()),
        ("parent-snapshot-id", "null"),
        ("sequence-number", sequence.as_str()),
        ("format-version", "2"),
    ];
    into_file(entries, MANIFEST_LIST_SCHEMA, &header).0
}

fn into_file(entries: AvroRecords, schema: &str, header: &[(&str, &str)]) -> (Vec<u8>, String) {
    let digest: [u8; 32] = Sha256::digest(entries.encoded()).into();
    let mut mark = [0; 16];
    mark.copy_from_slice(&digest[..16]);
    (entries.into_file(schema, header, mark), runlog_model::hex::encode(digest))
}

fn data_columns(entries: &mut AvroRecords, form: &TableForm, statistics: &FileStatistics, rows: i64) {
    let columns: Vec<(i64, &ColumnStatistics)> =
        form.columns.iter().map(|column| column.id).zip(&statistics.columns).collect();
    let sizes: Vec<_> = columns.iter().map(|(id, column)| (*id, column.bytes)).collect();
    let values: Vec<_> = columns.iter().map(|(id, _)| (*id, rows)).collect();
    let nulls: Vec<_> = columns.iter().map(|(id, column)| (*id, column.nulls)).collect();
    for map in [sizes, values, nulls] {
        entries.some().array(map.into_iter(), |entries, (id, count)| {
            entries.number(id).number(count);
        });
    }
    // No counts of NaN: there are no floating-point columns.
    entries.none();
    let low = columns.iter().filter_map(|(id, column)| Some((*id, lower(&column.bounds.as_ref()?.0))));
    let high = columns.iter().filter_map(|(id, column)| Some((*id, upper(&column.bounds.as_ref()?.1)?)));
    for map in [low.collect::<Vec<_>>(), high.collect()] {
        entries.some().array(map.into_iter(), |entries, (id, bytes)| {
            entries.number(id).bytes(&bytes);
        });
    }
    entries.none();
    entries.some().array(statistics.row_groups.iter(), |entries, offset| {
        entries.number(*offset);
    });
    // No column IDs of an equality delete.
    entries.none().some().number(form.sort_order_id());
}

fn delete_columns(entries: &mut AvroRecords, path: &str) {
    // No column sizes, and no counts of values, nulls and NaN.
    entries.none().none().none().none();
    for _ in 0..2 {
        entries.some().array(std::iter::once((DELETE_PATH_ID, path)), |entries, (id, path)| {
            entries.number(id).bytes(path.as_bytes());
        });
    }
    // No encryption key, split offsets, equality columns or sort order.
    entries.none().none().none().none();
}

fn lower(bound: &Bound) -> Vec<u8> {
    match bound {
        Bound::Number(number) => number.to_le_bytes().to_vec(),
        Bound::Text(text) => text.chars().take(BOUND_CHARS_MAX).collect::<String>().into_bytes(),
    }
}

/// Encodes an upper bound; `None` if there is no greater text of the permitted length.
fn upper(bound: &Bound) -> Option<Vec<u8>> {
    let text = match bound {
        Bound::Number(number) => return Some(number.to_le_bytes().to_vec()),
        Bound::Text(text) => text,
    };
    if text.chars().count() <= BOUND_CHARS_MAX {
        return Some(text.clone().into_bytes());
    }
    let mut cut: Vec<char> = text.chars().take(BOUND_CHARS_MAX).collect();
    while let Some(last) = cut.pop() {
        // The surrogates between the two are not characters.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            cut.push(next);
            return Some(cut.into_iter().collect::<String>().into_bytes());
        }
    }
    None
}

const MANIFEST_SCHEMA: &str = concat!(
    r#"{"type":"record","name":"manifest_entry","fields":["#,
    r#"{"name":"status","type":"int","field-id":0},"#,
    r#"{"name":"snapshot_id","type":["null","long"],"default":null,"field-id":1},"#,
    r#"{"name":"sequence_number","type":["null","long"],"default":null,"field-id":3},"#,
    r#"{"name":"file_sequence_number","type":["null","long"],"default":null,"field-id":4},"#,
    r#"{"name":"data_file","field-id":2,"type":{"type":"record","name":"r2","fields":["#,
    r#"{"name":"content","type":"int","field-id":134},"#,
    r#"{"name":"file_path","type":"string","field-id":100},"#,
    r#"{"name":"file_format","type":"string","field-id":101},"#,
    r#"{"name":"partition","type":{"type":"record","name":"r102","fields":[]},"field-id":102},"#,
    r#"{"name":"record_count","type":"long","field-id":103},"#,
    r#"{"name":"file_size_in_bytes","type":"long","field-id":104},"#,
    r#"{"name":"column_sizes","default":null,"field-id":108,"type":["null",{"type":"array","logicalType":"map","items":"#,
    r#"{"type":"record","name":"k117_v118","fields":[{"name":"key","type":"int","field-id":117},"#,
    r#"{"name":"value","type":"long","field-id":118}]}}]},"#,
    r#"{"name":"value_counts","default":null,"field-id":109,"type":["null",{"type":"array","logicalType":"map","items":"#,
    r#"{"type":"record","name":"k119_v120","fields":[{"name":"key","type":"int","field-id":119},"#,
    r#"{"name":"value","type":"long","field-id":120}]}}]},"#,
    r#"{"name":"null_value_counts","default":null,"field-id":110,"type":["null",{"type":"array","logicalType":"map","#,
    r#""items":{"type":"record","name":"k121_v122","fields":[{"name":"key","type":"int","field-id":121},"#,
    r#"{"name":"value","type":"long","field-id":122}]}}]},"#,
    r#"{"name":"nan_value_counts","default":null,"field-id":137,"type":["null",{"type":"array","logicalType":"map","#,
    r#""items":{"type":"record","name":"k138_v139","fields":[{"name":"key","type":"int","field-id":138},"#,
    r#"{"name":"value","type":"long","field-id":139}]}}]},"#,
    r#"{"name":"lower_bounds","default":null,"field-id":125,"type":["null",{"type":"array","logicalType":"map","items":"#,
    r#"{"type":"record","name":"k126_v127","fields":[{"name":"key","type":"int","field-id":126},"#,
    r#"{"name":"value","type":"bytes","field-id":127}]}}]},"#,
    r#"{"name":"upper_bounds","default":null,"field-id":128,"type":["null",{"type":"array","logicalType":"map","items":"#,
    r#"{"type":"record","name":"k129_v130","fields":[{"name":"key","type":"int","field-id":129},"#,
    r#"{"name":"value","type":"bytes","field-id":130}]}}]},"#,
    r#"{"name":"key_metadata","type":["null","bytes"],"default":null,"field-id":131},"#,
    r#"{"name":"split_offsets","default":null,"field-id":132,"#,
    r#""type":["null",{"type":"array","items":"long","element-id":133}]},"#,
    r#"{"name":"equality_ids","default":null,"field-id":135,"#,
    r#""type":["null",{"type":"array","items":"int","element-id":136}]},"#,
    r#"{"name":"sort_order_id","type":["null","int"],"default":null,"field-id":140}"#,
    r#"]}}]}"#,
);

const MANIFEST_LIST_SCHEMA: &str = concat!(
    r#"{"type":"record","name":"manifest_file","fields":["#,
    r#"{"name":"manifest_path","type":"string","field-id":500},"#,
    r#"{"name":"manifest_length","type":"long","field-id":501},"#,
    r#"{"name":"partition_spec_id","type":"int","field-id":502},"#,
    r#"{"name":"content","type":"int","field-id":517},"#,
    r#"{"name":"sequence_number","type":"long","field-id":515},"#,
    r#"{"name":"min_sequence_number","type":"long","field-id":516},"#,
    r#"{"name":"added_snapshot_id","type":"long","field-id":503},"#,
    r#"{"name":"added_files_count","type":"int","field-id":504},"#,
    r#"{"name":"existing_files_count","type":"int","field-id":505},"#,
    r#"{"name":"deleted_files_count","type":"int","field-id":506},"#,
    r#"{"name":"added_rows_count","type":"long","field-id":512},"#,
    r#"{"name":"existing_rows_count","type":"long","field-id":513},"#,
    r#"{"name":"deleted_rows_count","type":"long","field-id":514},"#,
    r#"{"name":"partitions","default":null,"field-id":507,"type":["null",{"type":"array","element-id":508,"items":"#,
    r#"{"type":"record","name":"r508","fields":[{"name":"contains_null","type":"boolean","field-id":509},"#,
    r#"{"name":"contains_nan","type":["null","boolean"],"default":null,"field-id":518},"#,
    r#"{"name":"lower_bound","type":["null","bytes"],"default":null,"field-id":510},"#,
    r#"{"name":"upper_bound","type":["null","bytes"],"default":null,"field-id":511}]}}]},"#,
    r#"{"name":"key_metadata","type":["null","bytes"],"default":null,"field-id":519}"#,
    r#"]}"#,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schemas_are_json() {
        for schema in [MANIFEST_SCHEMA, MANIFEST_LIST_SCHEMA] {
            serde_json::from_str::<serde_json::Value>(schema).unwrap();
        }
    }

    #[test]
    fn a_bound_that_is_cut_still_bounds() {
        let long = "x".repeat(100);
        let (low, high) = (lower(&Bound::Text(long.clone())), upper(&Bound::Text(long.clone())).unwrap());
        assert!(low.as_slice() <= long.as_bytes() && long.as_bytes() <= high.as_slice());
        assert_eq!(high.len(), BOUND_CHARS_MAX);
        let greatest = char::MAX.to_string().repeat(100);
        assert_eq!(upper(&Bound::Text(greatest)), None);
        let mixed = format!("{}\u{d7ff}{}", "y".repeat(35), "z".repeat(9));
        assert!(upper(&Bound::Text(mixed.clone())).unwrap().as_slice() > mixed.as_bytes());
    }
}
