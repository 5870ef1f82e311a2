//! The PostgreSQL types of values of the archive.

use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use crate::postgres::names;

/// A type of a column or a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PgType {
    kind: Kind,
    is_array: bool,
}

/// The type of a value, or of an element of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Numeric,
    Text,
    Bytea,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Interval,
}

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PgColumn {
    /// Its name, which other columns may have as well.
    pub name: String,
    /// The type of its values.
    pub pg_type: PgType,
}

/// Kind, OID, OID of its arrays, size in bytes (-1: varies), and names, the official one first.
type Entry = (Kind, u32, u32, i16, &'static [&'static str]);

pub(super) const TYPES: [Entry; 15] = [
    (Kind::Bool, 16, 1000, 1, &["bool", "boolean"]),
    (Kind::Bytea, 17, 1001, -1, &["bytea"]),
    (Kind::Int8, 20, 1016, 8, &["int8", "bigint"]),
    (Kind::Int2, 21, 1005, 2, &["int2", "smallint"]),
    (Kind::Int4, 23, 1007, 4, &["int4", "integer"]),
    (Kind::Text, 25, 1009, -1, &["text", "text"]),
    (Kind::Oid, 26, 1028, 4, &["oid", "oid"]),
    (Kind::Float4, 700, 1021, 4, &["float4", "real"]),
    (Kind::Float8, 701, 1022, 8, &["float8", "double precision"]),
    (Kind::Date, 1082, 1182, 4, &["date"]),
    (Kind::Time, 1083, 1183, 8, &["time", "time without time zone"]),
    (Kind::Timestamp, 1114, 1115, 8, &["timestamp", "timestamp without time zone"]),
    (Kind::TimestampTz, 1184, 1185, 8, &["timestamptz", "timestamp with time zone"]),
    (Kind::Interval, 1186, 1187, 16, &["interval"]),
    (Kind::Numeric, 1700, 1231, -1, &["numeric"]),
];

/// Parameter types that are treated as another type: OID, OID of arrays, OID of the other type.
const ALIASES: [(u32, u32, u32); 7] = [
    (1043, 1015, 25), // varchar
    (1042, 1014, 25), // bpchar
    (19, 1003, 25),   // name
    (18, 1002, 25),   // "char"
    (114, 199, 25),   // json
    (705, 705, 25),   // unknown
    (2950, 2951, 25), // uuid; in binary, its digits are written out
];

/// The OID of `uuid`, whose binary form is not that of a text.
pub(super) const UUID_OID: u32 = 2950;

/// The engine's type for `numeric` without precision and scale.
pub(crate) const NUMERIC: DataType = DataType::Decimal128(38, 10);

impl PgType {
    /// Text.
    pub const TEXT: Self = Self { kind: Kind::Text, is_array: false };

    pub(super) const INT8: Self = Self { kind: Kind::Int8, is_array: false };

    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, is_array: false }
    }

    pub(super) fn kind(self) -> Kind {
        self.kind
    }

    pub(super) fn is_array(self) -> bool {
        self.is_array
    }

    fn entry(self) -> Entry {
        TYPES.into_iter().find(|entry| entry.0 == self.kind).unwrap_or(TYPES[5])
    }

    /// The type with an OID; none if it is not supported.
    pub fn of_oid(oid: u32) -> Option<Self> {
        let (oid, is_array) = match ALIASES.iter().find(|alias| alias.0 == oid || alias.1 == oid) {
            Some((scalar, _, same)) => (*same, oid != *scalar),
            None => (oid, false),
        };
        TYPES.iter().find_map(|(kind, scalar, array, ..)| match oid {
            _ if oid == *scalar => Some(Self { kind: *kind, is_array }),
            _ if oid == *array => Some(Self { kind: *kind, is_array: true }),
            _ => None,
        })
    }

    /// The type of arrays of this one; of an array, itself.
    pub(super) fn array(self) -> Self {
        Self { is_array: true, ..self }
    }

    /// Its number in `pg_type`.
    pub fn oid(self) -> u32 {
        let (_, oid, array, ..) = self.entry();
        if self.is_array { array } else { oid }
    }

    /// Size of its values. Unit: bytes; -1 if it varies.
    pub fn size(self) -> i16 {
        if self.is_array { -1 } else { self.entry().3 }
    }

    /// Returns the type in which values of a type of the engine are sent.
    pub(super) fn of(data_type: &DataType) -> Self {
        let kind = match data_type {
            DataType::Boolean => Kind::Bool,
            DataType::Int8 | DataType::UInt8 | DataType::Int16 => Kind::Int2,
            DataType::UInt16 | DataType::Int32 => Kind::Int4,
            DataType::UInt32 => Kind::Oid,
            // Numbers of rows, which are never negative.
            DataType::Int64 | DataType::UInt64 => Kind::Int8,
            DataType::Float16 | DataType::Float32 => Kind::Float4,
            DataType::Float64 => Kind::Float8,
            DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
                Kind::Numeric
            }
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                Kind::Bytea
            }
            DataType::Date32 | DataType::Date64 => Kind::Date,
            DataType::Time32(_) | DataType::Time64(_) => Kind::Time,
            DataType::Timestamp(_, None) => Kind::Timestamp,
            DataType::Timestamp(_, Some(_)) => Kind::TimestampTz,
            DataType::Interval(_) | DataType::Duration(_) => Kind::Interval,
            DataType::Dictionary(_, values) => return Self::of(values),
            DataType::List(field)
            | DataType::LargeList(field)
            | DataType::ListView(field)
            | DataType::LargeListView(field)
            | DataType::FixedSizeList(field, _) => {
                let element = Self::of(field.data_type());
                // Arrays of arrays are sent as text.
                return match element.is_array || is_composite(field.data_type()) {
                    true => Self::TEXT,
                    false => Self { is_array: true, ..element },
                };
            }
            // Texts, and types without a form of their own: structs, maps, null.
            _ => Kind::Text,
        };
        Self::new(kind)
    }

    /// The type of the engine in which values are encoded.
    pub(super) fn encoded(self) -> DataType {
        let element = match self.kind {
            Kind::Bool => DataType::Boolean,
            Kind::Int2 => DataType::Int16,
            Kind::Int4 => DataType::Int32,
            Kind::Int8 => DataType::Int64,
            Kind::Oid => DataType::UInt32,
            Kind::Float4 => DataType::Float32,
            Kind::Float8 => DataType::Float64,
            // Decimal numbers are written as digits.
            Kind::Numeric | Kind::Text => DataType::Utf8,
            Kind::Bytea => DataType::Binary,
            Kind::Date => DataType::Date32,
            Kind::Time => DataType::Time64(TimeUnit::Microsecond),
            Kind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Kind::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Kind::Interval => DataType::Interval(datafusion::arrow::datatypes::IntervalUnit::MonthDayNano),
        };
        match self.is_array {
            true => DataType::new_list(element, true),
            false => element,
        }
    }
}

fn is_composite(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Struct(_) | DataType::Map(..) | DataType::Union(..))
}

/// The columns of an answer.
pub(super) fn columns(schema: &Schema) -> Vec<PgColumn> {
    schema.fields().iter().map(|field| column(field)).collect()
}

fn column(field: &Field) -> PgColumn {
    PgColumn { name: names::shown(field.name()).to_owned(), pg_type: PgType::of(field.data_type()) }
}
