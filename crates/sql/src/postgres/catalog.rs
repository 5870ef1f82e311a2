//! The tables of `pg_catalog` and `information_schema`, which clients query to find tables, columns and types.
//!
//! They describe the tables of the archive, which are the same for all callers, and the caller itself. They contain no
//! data of the archive.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::array::{
    ArrayRef, BooleanBuilder, Float32Builder, Int16Builder, Int32Builder, Int64Builder, ListBuilder, StringBuilder,
    UInt32Builder,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::Result;
use datafusion::sql::sqlparser::keywords::ALL_KEYWORDS;

use crate::postgres::query_context::PgSession;
use crate::postgres::types::{Kind, PgType, TYPES};

/// The schema of the tables of the archive.
pub(super) const PUBLIC: &str = "public";
pub(super) const PG_CATALOG: &str = "pg_catalog";
pub(super) const INFORMATION_SCHEMA: &str = "information_schema";

/// The schemas with their OIDs.
pub(super) const SCHEMAS: [(u32, &str); 3] = [(11, PG_CATALOG), (2200, PUBLIC), (13_000, INFORMATION_SCHEMA)];

/// The OIDs of the database and the account, and the first OIDs of the tables.
pub(super) const DATABASE_OID: u32 = 16_384;
pub(super) const ACCOUNT_OID: u32 = 10;
const FIRST_TABLE_OID: u32 = 16_400;
const FIRST_CATALOG_TABLE_OID: u32 = 12_000;
const HEAP_OID: u32 = 2;

/// A set-returning function of PostgreSQL, implemented as a table without arguments.
const KEYWORDS: &str = "pg_get_keywords";

/// Named types that no column has: OID, name, OID of arrays, category, size.
const MORE_TYPES: [(u32, &str, u32, &str, i16); 8] = [
    (18, "char", 1002, "Z", 1),
    (19, "name", 1003, "S", 64),
    (114, "json", 199, "U", -1),
    (705, "unknown", 0, "X", -2),
    (1042, "bpchar", 1014, "S", -1),
    (1043, "varchar", 1015, "S", -1),
    (2205, "regclass", 2210, "N", 4),
    (2950, "uuid", 2951, "U", 16),
];

/// The type of a column of the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ColumnKind {
    Oid,
    Int2,
    Int4,
    Int8,
    Bool,
    Text,
    Float4,
    Texts,
    Int2s,
    Oids,
}

/// A value of the catalog.
#[derive(Debug, Clone)]
enum Cell {
    Null,
    Bool(bool),
    Number(i64),
    Text(String),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u32> for Cell {
    fn from(value: u32) -> Self {
        Self::Number(value.into())
    }
}

impl From<i32> for Cell {
    fn from(value: i32) -> Self {
        Self::Number(value.into())
    }
}

/// A table of the catalog: its schema, its name, and its columns.
struct Definition {
    schema: &'static str,
    name: &'static str,
    columns: Vec<(&'static str, ColumnKind)>,
}

/// A table that is visible to clients.
#[derive(Debug, Clone)]
pub(super) struct Relation {
    pub(super) oid: u32,
    pub(super) schema: &'static str,
    pub(super) schema_oid: u32,
    pub(super) name: String,
    columns: Vec<(String, PgType, bool)>,
}

/// All tables that are visible to clients.
#[derive(Debug)]
pub(crate) struct Relations(pub(super) Vec<Relation>);

impl Relations {
    /// Returns the tables of the archive, with the given schemas, and those of the catalog.
    pub(crate) fn new(tables: &[(&str, SchemaRef)]) -> Self {
        let column = |field: &Arc<Field>| (field.name().clone(), PgType::of(field.data_type()), field.is_nullable());
        let mut relations = Vec::new();
        for (oid, (name, schema)) in (FIRST_TABLE_OID..).zip(tables) {
            relations.push(Relation {
                oid,
                schema: PUBLIC,
                schema_oid: 2200,
                name: (*name).to_owned(),
                columns: schema.fields().iter().map(column).collect(),
            });
        }
        let tables = DEFINITIONS.iter().filter(|table| table.name != KEYWORDS);
        for (oid, table) in (FIRST_CATALOG_TABLE_OID..).zip(tables) {
            // OIDs that clients have hard-coded.
            let oid = match table.name {
                "pg_type" => 1247,
                "pg_attribute" => 1249,
                "pg_proc" => 1255,
                "pg_class" => 1259,
                "pg_database" => 1262,
                "pg_namespace" => 2615,
                _ => oid,
            };
            let schema_oid = SCHEMAS.iter().find(|schema| schema.1 == table.schema).map_or(11, |schema| schema.0);
            relations.push(Relation {
                oid,
                schema: table.schema,
                schema_oid,
                name: table.name.to_owned(),
                columns: schema_of(table).fields().iter().map(column).collect(),
            });
        }
        Self(relations)
    }

    /// Returns the table with a name, which may be qualified with a schema.
    pub(super) fn named(&self, name: &str) -> Option<&Relation> {
        let unquoted = |part: &str| match part.strip_prefix('"').and_then(|part| part.strip_suffix('"')) {
            Some(quoted) => quoted.replace("\"\"", "\""),
            None => part.to_lowercase(),
        };
        let (schema, name) = match name.trim().split_once('.') {
            Some((schema, name)) => (Some(unquoted(schema)), unquoted(name)),
            None => (None, unquoted(name.trim())),
        };
        self.0.iter().find(|relation| {
            relation.name == name
                && schema.as_ref().map_or(relation.schema != INFORMATION_SCHEMA, |schema| relation.schema == schema)
        })
    }

    pub(super) fn by_oid(&self, oid: u32) -> Option<&Relation> {
        self.0.iter().find(|relation| relation.oid == oid)
    }
}

/// Returns all types: OID, name, display name.
pub(super) fn type_names() -> impl Iterator<Item = (u32, String, String)> {
    let known = TYPES.iter().flat_map(|(_, oid, array, _, names)| {
        let (short, long) = (names[0], names.last().copied().unwrap_or_default());
        [(*oid, short.to_owned(), long.to_owned()), (*array, format!("_{short}"), format!("{long}[]"))]
    });
    let more = MORE_TYPES.iter().flat_map(|(oid, name, array, ..)| {
        let long = match *name {
            "char" => "\"char\"",
            "varchar" => "character varying",
            "bpchar" => "character",
            name => name,
        };
        [(*oid, (*name).to_owned(), long.to_owned()), (*array, format!("_{name}"), format!("{long}[]"))]
    });
    known.chain(more).filter(|(oid, ..)| *oid != 0)
}

/// Whether a schema of the catalog has a table with this name.
pub(super) fn is_table(schema: &str, name: &str) -> bool {
    DEFINITIONS.iter().any(|table| table.schema == schema && table.name == name)
}

/// Whether a table of `pg_catalog` never has rows, because no such objects exist.
pub(super) fn is_always_empty(name: &str) -> bool {
    const WITH_ROWS: [&str; 12] = [
        KEYWORDS,
        "pg_am",
        "pg_attribute",
        "pg_class",
        "pg_database",
        "pg_namespace",
        "pg_roles",
        "pg_settings",
        "pg_tables",
        "pg_tablespace",
        "pg_type",
        "pg_user",
    ];
    is_table(PG_CATALOG, name) && !WITH_ROWS.contains(&name)
}

/// Whether a column with this name is an array.
pub(super) fn is_array(name: &str) -> bool {
    let mut columns = DEFINITIONS.iter().flat_map(|table| &table.columns);
    columns
        .any(|(column, of)| *column == name && matches!(of, ColumnKind::Texts | ColumnKind::Int2s | ColumnKind::Oids))
}

/// The names of the tables of a schema.
pub(super) fn table_names(schema: &str) -> Vec<String> {
    DEFINITIONS.iter().filter(|table| table.schema == schema).map(|table| table.name.to_owned()).collect()
}

/// The rows of a table of the catalog.
pub(super) fn rows(
    schema: &str,
    name: &str,
    session: &PgSession,
    relations: &Relations,
) -> Option<Result<RecordBatch>> {
    let table = DEFINITIONS.iter().find(|table| table.schema == schema && table.name == name)?;
    let rows = match schema {
        INFORMATION_SCHEMA => information_schema(name, session, relations),
        _ => pg_catalog(name, session, relations),
    };
    Some(batch(table, &rows))
}

/// Columns by type: `oid:oid name:text`.
fn columns(text: &'static str) -> Vec<(&'static str, ColumnKind)> {
    let column = |word: &'static str| {
        let (name, of) = word.split_once(':').unwrap_or((word, "t"));
        let of = match of {
            "o" => ColumnKind::Oid,
            "2" => ColumnKind::Int2,
            "4" => ColumnKind::Int4,
            "8" => ColumnKind::Int8,
            "b" => ColumnKind::Bool,
            "f" => ColumnKind::Float4,
            "ts" => ColumnKind::Texts,
            "2s" => ColumnKind::Int2s,
            "os" => ColumnKind::Oids,
            _ => ColumnKind::Text,
        };
        (name, of)
    };
    text.split_whitespace().map(column).collect()
}

/// The columns of the views of table statistics, for all tables or those of users.
const TABLE_STATISTICS: &str = "relid:o schemaname relname seq_scan:8 seq_tup_read:8 idx_scan:8 idx_tup_fetch:8 \
     n_tup_ins:8 n_tup_upd:8 n_tup_del:8 n_live_tup:8 n_dead_tup:8 last_vacuum last_autovacuum last_analyze \
     last_autoanalyze";

/// Each table with its columns, and their types as one letter; text if there is no letter.
static DEFINITIONS: LazyLock<Vec<Definition>> = LazyLock::new(|| {
    let tables: [(&str, &str, &str); 83] = [
        (PG_CATALOG, "pg_namespace", "oid:o nspname nspowner:o nspacl:ts"),
        (
            PG_CATALOG,
            "pg_class",
            "oid:o relname relnamespace:o reltype:o reloftype:o relowner:o relam:o relfilenode:o reltablespace:o relpages:4 \
             reltuples:f relallvisible:4 reltoastrelid:o relhasindex:b relisshared:b relpersistence relkind relnatts:2 \
             relchecks:2 relhasrules:b relhastriggers:b relhassubclass:b relrowsecurity:b relforcerowsecurity:b \
             relispopulated:b relreplident relispartition:b relrewrite:o relfrozenxid:8 relminmxid:8 relacl:ts \
             reloptions:ts relpartbound",
        ),
        (
            PG_CATALOG,
            "pg_attribute",
            "attrelid:o attname atttypid:o attstattarget:4 attlen:2 attnum:2 attndims:4 attcacheoff:4 atttypmod:4 \
             attbyval:b attalign attstorage attcompression attnotnull:b atthasdef:b atthasmissing:b attidentity \
             attgenerated attisdropped:b attislocal:b attinhcount:4 attcollation:o attacl:ts attoptions:ts \
             attfdwoptions:ts attmissingval:ts",
        ),
        (
            PG_CATALOG,
            "pg_type",
            "oid:o typname typnamespace:o typowner:o typlen:2 typbyval:b typtype typcategory typispreferred:b \
             typisdefined:b typdelim typrelid:o typsubscript typelem:o typarray:o typinput typoutput typreceive typsend \
             typmodin typmodout typanalyze typalign typstorage typnotnull:b typbasetype:o typtypmod:4 typndims:4 \
             typcollation:o typdefaultbin typdefault typacl:ts",
        ),
        (
            PG_CATALOG,
            "pg_database",
            "oid:o datname datdba:o encoding:4 datlocprovider datistemplate:b datallowconn:b datconnlimit:4 \
             datfrozenxid:8 datminmxid:8 dattablespace:o datcollate datctype daticulocale datlocale daticurules \
             datcollversion datacl:ts",
        ),
        (
            PG_CATALOG,
            "pg_roles",
            "oid:o rolname rolsuper:b rolinherit:b rolcreaterole:b rolcreatedb:b rolcanlogin:b rolreplication:b \
             rolconnlimit:4 rolpassword rolvaliduntil rolbypassrls:b rolconfig:ts",
        ),
        (
            PG_CATALOG,
            "pg_user",
            "usename usesysid:o usecreatedb:b usesuper:b userepl:b usebypassrls:b passwd valuntil useconfig:ts",
        ),
        (PG_CATALOG, "pg_group", "groname grosysid:o grolist:os"),
        (
            PG_CATALOG,
            "pg_auth_members",
            "oid:o roleid:o member:o grantor:o admin_option:b inherit_option:b set_option:b",
        ),
        (
            PG_CATALOG,
            "pg_settings",
            "name setting unit category short_desc extra_desc context vartype source min_val max_val enumvals:ts boot_val \
             reset_val sourcefile sourceline:4 pending_restart:b",
        ),
        (
            PG_CATALOG,
            "pg_proc",
            "oid:o proname pronamespace:o proowner:o prolang:o procost:f prorows:f provariadic:o prosupport prokind \
             prosecdef:b proleakproof:b proisstrict:b proretset:b provolatile proparallel pronargs:2 pronargdefaults:2 \
             prorettype:o proargtypes:os proallargtypes:os proargmodes:ts proargnames:ts proargdefaults protrftypes:os \
             prosrc probin prosqlbody proconfig:ts proacl:ts",
        ),
        (
            PG_CATALOG,
            "pg_index",
            "indexrelid:o indrelid:o indnatts:2 indnkeyatts:2 indisunique:b indnullsnotdistinct:b indisprimary:b \
             indisexclusion:b indimmediate:b indisclustered:b indisvalid:b indcheckxmin:b indisready:b indislive:b \
             indisreplident:b indkey:2s indcollation:os indclass:os indoption:2s indexprs indpred",
        ),
        (
            PG_CATALOG,
            "pg_constraint",
            "oid:o conname connamespace:o contype condeferrable:b condeferred:b convalidated:b conenforced:b conrelid:o \
             contypid:o conindid:o conparentid:o confrelid:o confupdtype confdeltype confmatchtype conislocal:b \
             coninhcount:4 connoinherit:b conperiod:b conkey:2s confkey:2s conpfeqop:os conppeqop:os conffeqop:os \
             confdelsetcols:2s conexclop:os conbin",
        ),
        (PG_CATALOG, "pg_attrdef", "oid:o adrelid:o adnum:2 adbin"),
        (PG_CATALOG, "pg_description", "objoid:o classoid:o objsubid:4 description"),
        (PG_CATALOG, "pg_shdescription", "objoid:o classoid:o description"),
        (PG_CATALOG, "pg_am", "oid:o amname amhandler amtype"),
        (PG_CATALOG, "pg_inherits", "inhrelid:o inhparent:o inhseqno:4 inhdetachpending:b"),
        (
            PG_CATALOG,
            "pg_collation",
            "oid:o collname collnamespace:o collowner:o collprovider collisdeterministic:b collencoding:4 collcollate \
             collctype colliculocale collversion",
        ),
        (PG_CATALOG, "pg_policy", "oid:o polname polrelid:o polcmd polpermissive:b polroles:os polqual polwithcheck"),
        (
            PG_CATALOG,
            "pg_statistic_ext",
            "oid:o stxrelid:o stxname stxnamespace:o stxowner:o stxstattarget:4 stxkeys:2s stxkind:ts stxexprs",
        ),
        (
            PG_CATALOG,
            "pg_publication",
            "oid:o pubname pubowner:o puballtables:b pubinsert:b pubupdate:b pubdelete:b pubtruncate:b pubviaroot:b",
        ),
        (PG_CATALOG, "pg_publication_rel", "oid:o prpubid:o prrelid:o prqual prattrs:2s"),
        (PG_CATALOG, "pg_publication_namespace", "oid:o pnpubid:o pnnspid:o"),
        (PG_CATALOG, "pg_publication_tables", "pubname schemaname tablename attnames:ts rowfilter"),
        (
            PG_CATALOG,
            "pg_trigger",
            "oid:o tgrelid:o tgparentid:o tgname tgfoid:o tgtype:2 tgenabled tgisinternal:b tgconstrrelid:o \
             tgconstrindid:o tgconstraint:o tgdeferrable:b tginitdeferred:b tgnargs:2 tgattr:2s tgqual tgoldtable tgnewtable",
        ),
        (PG_CATALOG, "pg_rewrite", "oid:o rulename ev_class:o ev_type ev_enabled is_instead:b ev_qual ev_action"),
        (PG_CATALOG, "pg_rules", "schemaname tablename rulename definition"),
        (PG_CATALOG, "pg_foreign_table", "ftrelid:o ftserver:o ftoptions:ts"),
        (
            PG_CATALOG,
            "pg_foreign_server",
            "oid:o srvname srvowner:o srvfdw:o srvtype srvversion srvacl:ts srvoptions:ts",
        ),
        (
            PG_CATALOG,
            "pg_foreign_data_wrapper",
            "oid:o fdwname fdwowner:o fdwhandler:o fdwvalidator:o fdwacl:ts fdwoptions:ts",
        ),
        (PG_CATALOG, "pg_tablespace", "oid:o spcname spcowner:o spcacl:ts spcoptions:ts"),
        (PG_CATALOG, "pg_enum", "oid:o enumtypid:o enumsortorder:f enumlabel"),
        (
            PG_CATALOG,
            "pg_range",
            "rngtypid:o rngsubtype:o rngmultitypid:o rngcollation:o rngsubopc:o rngcanonical rngsubdiff",
        ),
        (
            PG_CATALOG,
            "pg_sequence",
            "seqrelid:o seqtypid:o seqstart:8 seqincrement:8 seqmax:8 seqmin:8 seqcache:8 seqcycle:b",
        ),
        (PG_CATALOG, "pg_sequences", "schemaname sequencename sequenceowner data_type start_value:8 last_value:8"),
        (PG_CATALOG, "pg_views", "schemaname viewname viewowner definition"),
        (
            PG_CATALOG,
            "pg_matviews",
            "schemaname matviewname matviewowner tablespace hasindexes:b ispopulated:b definition",
        ),
        (
            PG_CATALOG,
            "pg_tables",
            "schemaname tablename tableowner tablespace hasindexes:b hasrules:b hastriggers:b rowsecurity:b",
        ),
        (PG_CATALOG, "pg_indexes", "schemaname tablename indexname tablespace indexdef"),
        (
            PG_CATALOG,
            "pg_extension",
            "oid:o extname extowner:o extnamespace:o extrelocatable:b extversion extconfig:os extcondition:ts",
        ),
        (
            PG_CATALOG,
            "pg_language",
            "oid:o lanname lanowner:o lanispl:b lanpltrusted:b lanplcallfoid:o laninline:o lanvalidator:o lanacl:ts",
        ),
        (PG_CATALOG, "pg_depend", "classid:o objid:o objsubid:4 refclassid:o refobjid:o refobjsubid:4 deptype"),
        (
            PG_CATALOG,
            "pg_opclass",
            "oid:o opcmethod:o opcname opcnamespace:o opcowner:o opcfamily:o opcintype:o opcdefault:b opckeytype:o",
        ),
        (
            PG_CATALOG,
            "pg_partitioned_table",
            "partrelid:o partstrat partnatts:2 partdefid:o partattrs:2s partclass:os partcollation:os partexprs",
        ),
        (PG_CATALOG, "pg_stat_all_tables", TABLE_STATISTICS),
        (PG_CATALOG, "pg_stat_user_tables", TABLE_STATISTICS),
        (
            PG_CATALOG,
            "pg_stat_activity",
            "datid:o datname pid:4 leader_pid:4 usesysid:o usename application_name client_addr client_hostname \
             client_port:4 backend_start xact_start query_start state_change wait_event_type wait_event state \
             backend_xid:8 backend_xmin:8 query_id:8 query backend_type",
        ),
        (
            PG_CATALOG,
            "pg_stat_database",
            "datid:o datname numbackends:4 xact_commit:8 xact_rollback:8 blks_read:8 blks_hit:8 tup_returned:8 \
             tup_fetched:8 tup_inserted:8 tup_updated:8 tup_deleted:8 conflicts:8 temp_files:8 temp_bytes:8 deadlocks:8 \
             stats_reset",
        ),
        (
            PG_CATALOG,
            "pg_locks",
            "locktype database:o relation:o page:4 tuple:2 virtualxid transactionid:8 classid:o objid:o objsubid:2 \
             virtualtransaction pid:4 mode granted:b fastpath:b waitstart",
        ),
        (PG_CATALOG, "pg_available_extensions", "name default_version installed_version comment"),
        (
            PG_CATALOG,
            "pg_authid",
            "oid:o rolname rolsuper:b rolinherit:b rolcreaterole:b rolcreatedb:b rolcanlogin:b rolreplication:b \
             rolbypassrls:b rolconnlimit:4 rolpassword rolvaliduntil",
        ),
        (PG_CATALOG, KEYWORDS, "word catcode barelabel:b catdesc baredesc"),
        (PG_CATALOG, "pg_cast", "oid:o castsource:o casttarget:o castfunc:o castcontext castmethod"),
        (
            PG_CATALOG,
            "pg_operator",
            "oid:o oprname oprnamespace:o oprowner:o oprkind oprcanmerge:b oprcanhash:b oprleft:o oprright:o oprresult:o \
             oprcom:o oprnegate:o oprcode:o oprrest:o oprjoin:o",
        ),
        (
            PG_CATALOG,
            "pg_conversion",
            "oid:o conname connamespace:o conowner:o conforencoding:4 contoencoding:4 conproc condefault:b",
        ),
        (
            PG_CATALOG,
            "pg_aggregate",
            "aggfnoid:o aggkind aggnumdirectargs:2 aggtransfn aggfinalfn aggcombinefn aggsortop:o aggtranstype:o",
        ),
        (PG_CATALOG, "pg_opfamily", "oid:o opfmethod:o opfname opfnamespace:o opfowner:o"),
        (
            PG_CATALOG,
            "pg_amop",
            "oid:o amopfamily:o amoplefttype:o amoprighttype:o amopstrategy:2 amoppurpose amopopr:o amopmethod:o \
             amopsortfamily:o",
        ),
        (PG_CATALOG, "pg_amproc", "oid:o amprocfamily:o amproclefttype:o amprocrighttype:o amprocnum:2 amproc:o"),
        (PG_CATALOG, "pg_ts_config", "oid:o cfgname cfgnamespace:o cfgowner:o cfgparser:o"),
        (PG_CATALOG, "pg_ts_dict", "oid:o dictname dictnamespace:o dictowner:o dicttemplate:o dictinitoption"),
        (
            PG_CATALOG,
            "pg_ts_parser",
            "oid:o prsname prsnamespace:o prsstart:o prstoken:o prsend:o prsheadline:o prslextype:o",
        ),
        (PG_CATALOG, "pg_ts_template", "oid:o tmplname tmplnamespace:o tmplinit:o tmpllexize:o"),
        (PG_CATALOG, "pg_event_trigger", "oid:o evtname evtevent evtowner:o evtfoid:o evtenabled evttags:ts"),
        (PG_CATALOG, "pg_default_acl", "oid:o defaclrole:o defaclnamespace:o defaclobjtype defaclacl:ts"),
        (PG_CATALOG, "pg_db_role_setting", "setdatabase:o setrole:o setconfig:ts"),
        (
            PG_CATALOG,
            "pg_subscription",
            "oid:o subdbid:o subskiplsn subname subowner:o subenabled:b subbinary:b substream:b subtwophasestate \
             subdisableonerr:b subconninfo subslotname subsynccommit subpublications:ts",
        ),
        (PG_CATALOG, "pg_largeobject_metadata", "oid:o lomowner:o lomacl:ts"),
        (PG_CATALOG, "pg_user_mappings", "umid:o srvid:o srvname umuser:o usename umoptions:ts"),
        (
            INFORMATION_SCHEMA,
            "schemata",
            "catalog_name schema_name schema_owner default_character_set_catalog default_character_set_schema \
             default_character_set_name sql_path",
        ),
        (
            INFORMATION_SCHEMA,
            "tables",
            "table_catalog table_schema table_name table_type self_referencing_column_name reference_generation \
             user_defined_type_catalog user_defined_type_schema user_defined_type_name is_insertable_into is_typed \
             commit_action",
        ),
        (
            INFORMATION_SCHEMA,
            "columns",
            "table_catalog table_schema table_name column_name ordinal_position:4 column_default is_nullable data_type \
             character_maximum_length:4 character_octet_length:4 numeric_precision:4 numeric_precision_radix:4 \
             numeric_scale:4 datetime_precision:4 interval_type interval_precision:4 character_set_catalog \
             character_set_schema character_set_name collation_catalog collation_schema collation_name domain_catalog \
             domain_schema domain_name udt_catalog udt_schema udt_name scope_catalog scope_schema scope_name \
             maximum_cardinality:4 dtd_identifier is_self_referencing is_identity identity_generation identity_start \
             identity_increment identity_maximum identity_minimum identity_cycle is_generated generation_expression \
             is_updatable",
        ),
        (
            INFORMATION_SCHEMA,
            "views",
            "table_catalog table_schema table_name view_definition check_option is_updatable is_insertable_into",
        ),
        (
            INFORMATION_SCHEMA,
            "table_constraints",
            "constraint_catalog constraint_schema constraint_name table_catalog table_schema table_name constraint_type \
             is_deferrable initially_deferred enforced nulls_distinct",
        ),
        (
            INFORMATION_SCHEMA,
            "key_column_usage",
            "constraint_catalog constraint_schema constraint_name table_catalog table_schema table_name column_name \
             ordinal_position:4 position_in_unique_constraint:4",
        ),
        (
            INFORMATION_SCHEMA,
            "referential_constraints",
            "constraint_catalog constraint_schema constraint_name unique_constraint_catalog unique_constraint_schema \
             unique_constraint_name match_option update_rule delete_rule",
        ),
        (
            INFORMATION_SCHEMA,
            "constraint_column_usage",
            "table_catalog table_schema table_name column_name constraint_catalog constraint_schema constraint_name",
        ),
        (
            INFORMATION_SCHEMA,
            "routines",
            "specific_catalog specific_schema specific_name routine_catalog routine_schema routine_name routine_type \
             data_type routine_body routine_definition",
        ),
        (
            INFORMATION_SCHEMA,
            "parameters",
            "specific_catalog specific_schema specific_name ordinal_position:4 parameter_mode parameter_name data_type",
        ),
        (INFORMATION_SCHEMA, "sequences", "sequence_catalog sequence_schema sequence_name data_type"),
        (
            INFORMATION_SCHEMA,
            "table_privileges",
            "grantor grantee table_catalog table_schema table_name privilege_type is_grantable with_hierarchy",
        ),
        (
            INFORMATION_SCHEMA,
            "character_sets",
            "character_set_catalog character_set_schema character_set_name character_repertoire form_of_use default_collate_name",
        ),
    ];
    tables.into_iter().map(|(schema, name, text)| Definition { schema, name, columns: columns(text) }).collect()
});

fn schema_of(table: &Definition) -> SchemaRef {
    let data_type = |of| match of {
        ColumnKind::Oid => DataType::UInt32,
        ColumnKind::Int2 => DataType::Int16,
        ColumnKind::Int4 => DataType::Int32,
        ColumnKind::Int8 => DataType::Int64,
        ColumnKind::Bool => DataType::Boolean,
        ColumnKind::Text => DataType::Utf8,
        ColumnKind::Float4 => DataType::Float32,
        ColumnKind::Texts => DataType::new_list(DataType::Utf8, true),
        ColumnKind::Int2s => DataType::new_list(DataType::Int16, true),
        ColumnKind::Oids => DataType::new_list(DataType::UInt32, true),
    };
    let fields = table.columns.iter().map(|(name, of)| Field::new(*name, data_type(*of), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// A row: the columns that are not null, by name.
type Row = Vec<(&'static str, Cell)>;

macro_rules! row {
    ($($name:literal: $value:expr),* $(,)?) => { vec![$(($name, Cell::from($value))),*] };
}

fn batch(table: &Definition, rows: &[Row]) -> Result<RecordBatch> {
    let cells = |name: &'static str| {
        rows.iter().map(move |row| row.iter().find(|cell| cell.0 == name).map_or(&Cell::Null, |cell| &cell.1))
    };
    let number = |cell: &Cell| match cell {
        Cell::Number(number) => Some(*number),
        _ => None,
    };
    macro_rules! numbers {
        ($builder:ty, $name:expr) => {{
            let mut builder = <$builder>::new();
            cells($name).for_each(|cell| builder.append_option(number(cell).and_then(|number| number.try_into().ok())));
            Arc::new(builder.finish()) as ArrayRef
        }};
    }
    macro_rules! nulls {
        ($builder:ty) => {{
            let mut builder = ListBuilder::new(<$builder>::new());
            rows.iter().for_each(|_| builder.append_null());
            Arc::new(builder.finish()) as ArrayRef
        }};
    }
    let arrays = table.columns.iter().map(|(name, of)| match of {
        ColumnKind::Oid => numbers!(UInt32Builder, name),
        ColumnKind::Int2 => numbers!(Int16Builder, name),
        ColumnKind::Int4 => numbers!(Int32Builder, name),
        ColumnKind::Int8 => numbers!(Int64Builder, name),
        ColumnKind::Float4 => {
            let mut builder = Float32Builder::new();
            cells(name).for_each(|cell| builder.append_option(number(cell).map(|number| number as f32)));
            Arc::new(builder.finish())
        }
        ColumnKind::Bool => {
            let mut builder = BooleanBuilder::new();
            let value = |cell: &Cell| if let Cell::Bool(value) = cell { Some(*value) } else { None };
            cells(name).for_each(|cell| builder.append_option(value(cell)));
            Arc::new(builder.finish())
        }
        ColumnKind::Text => {
            let mut builder = StringBuilder::new();
            let text = |cell: &Cell| if let Cell::Text(text) = cell { Some(text.clone()) } else { None };
            cells(name).for_each(|cell| builder.append_option(text(cell)));
            Arc::new(builder.finish())
        }
        ColumnKind::Texts => nulls!(StringBuilder),
        ColumnKind::Int2s => nulls!(Int16Builder),
        ColumnKind::Oids => nulls!(UInt32Builder),
    });
    Ok(RecordBatch::try_new(schema_of(table), arrays.collect())?)
}

fn pg_catalog(name: &str, session: &PgSession, relations: &Relations) -> Vec<Row> {
    match name {
        "pg_namespace" => {
            SCHEMAS.iter().map(|(oid, name)| row! {"oid": *oid, "nspname": *name, "nspowner": ACCOUNT_OID}).collect()
        }
        "pg_class" => relations.0.iter().map(class).collect(),
        "pg_attribute" => relations.0.iter().flat_map(attributes).collect(),
        "pg_type" => types(),
        "pg_database" => vec![row! {
            "oid": DATABASE_OID, "datname": session.database.as_str(), "datdba": ACCOUNT_OID, "encoding": 6,
            "datlocprovider": "c", "datistemplate": false, "datallowconn": true, "datconnlimit": -1,
            "dattablespace": 1663, "datcollate": "C", "datctype": "C"
        }],
        "pg_roles" => vec![row! {
            "oid": ACCOUNT_OID, "rolname": session.user.as_str(), "rolsuper": false, "rolinherit": true,
            "rolcreaterole": false, "rolcreatedb": false, "rolcanlogin": true, "rolreplication": false,
            "rolconnlimit": -1, "rolbypassrls": false
        }],
        "pg_user" => vec![row! {
            "usename": session.user.as_str(), "usesysid": ACCOUNT_OID, "usecreatedb": false, "usesuper": false,
            "userepl": false, "usebypassrls": false
        }],
        "pg_settings" => {
            let settings = session.settings.iter();
            let row = |(name, value): (&String, &String)| {
                row! {
                    "name": name.as_str(), "setting": value.as_str(), "category": "Runlog", "context": "user",
                    "vartype": "string", "source": "session", "reset_val": value.as_str(), "pending_restart": false
                }
            };
            settings.map(row).collect()
        }
        KEYWORDS => {
            let row = |word: &&str| row! {"word": word.to_lowercase().as_str(), "catcode": "U", "barelabel": true};
            ALL_KEYWORDS.iter().map(row).collect()
        }
        "pg_am" => vec![row! {"oid": HEAP_OID, "amname": "heap", "amtype": "t"}],
        "pg_tablespace" => vec![row! {"oid": 1663, "spcname": "pg_default", "spcowner": ACCOUNT_OID}],
        "pg_tables" => relations
            .0
            .iter()
            .map(|relation| {
                row! {
                    "schemaname": relation.schema, "tablename": relation.name.as_str(),
                    "tableowner": session.user.as_str(), "hasindexes": false, "hasrules": false, "hastriggers": false,
                    "rowsecurity": false
                }
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn class(relation: &Relation) -> Row {
    row! {
        "oid": relation.oid, "relname": relation.name.as_str(), "relnamespace": relation.schema_oid, "reltype": 0,
        "reloftype": 0, "relowner": ACCOUNT_OID, "relam": HEAP_OID, "relfilenode": 0, "reltablespace": 0,
        "relpages": 0, "reltuples": -1, "relallvisible": 0, "reltoastrelid": 0, "relhasindex": false,
        "relisshared": false, "relpersistence": "p", "relkind": "r",
        "relnatts": i32::try_from(relation.columns.len()).unwrap_or(0), "relchecks": 0, "relhasrules": false,
        "relhastriggers": false, "relhassubclass": false, "relrowsecurity": false, "relforcerowsecurity": false,
        "relispopulated": true, "relreplident": "n", "relispartition": false, "relrewrite": 0, "relfrozenxid": 0,
        "relminmxid": 0
    }
}

fn attributes(relation: &Relation) -> Vec<Row> {
    let row = |(number, (name, pg_type, is_nullable)): (i32, &(String, PgType, bool))| {
        row! {
            "attrelid": relation.oid, "attname": name.as_str(), "atttypid": pg_type.oid(), "attstattarget": -1,
            "attlen": i32::from(pg_type.size()), "attnum": number, "attndims": i32::from(pg_type.is_array()),
            "attcacheoff": -1, "atttypmod": -1, "attbyval": pg_type.size() > 0, "attalign": "i", "attstorage": "p",
            "attcompression": "", "attnotnull": !is_nullable, "atthasdef": false, "atthasmissing": false,
            "attidentity": "", "attgenerated": "", "attisdropped": false, "attislocal": true, "attinhcount": 0,
            "attcollation": 0
        }
    };
    (1..).zip(&relation.columns).map(row).collect()
}

fn types() -> Vec<Row> {
    let category = |kind| match kind {
        Kind::Bool => "B",
        Kind::Text => "S",
        Kind::Bytea => "U",
        Kind::Date | Kind::Time | Kind::Timestamp | Kind::TimestampTz => "D",
        Kind::Interval => "T",
        _ => "N",
    };
    let known = TYPES.iter().map(|(kind, oid, array, size, names)| (*oid, names[0], *array, category(*kind), *size));
    known
        .chain(MORE_TYPES)
        .flat_map(|(oid, name, array, category, size)| {
            let is_preferred = matches!(name, "text" | "float8" | "timestamptz" | "bool" | "oid" | "interval");
            let scalar = type_row(oid, name, size, category, is_preferred, 0, array);
            let array = (array != 0).then(|| type_row(array, &format!("_{name}"), -1, "A", false, oid, 0));
            std::iter::once(scalar).chain(array)
        })
        .collect()
}

fn type_row(oid: u32, name: &str, size: i16, category: &str, is_preferred: bool, element: u32, array: u32) -> Row {
    // The functions of a type are named after it; drivers identify types by these functions.
    let base = if element == 0 { name } else { "array" };
    let has_underscore = ["array", "date", "interval", "json", "numeric", "time", "timestamp", "timestamptz", "uuid"];
    let underscore = if has_underscore.contains(&base) { "_" } else { "" };
    let function = |does: &str| format!("{base}{underscore}{does}");
    row! {
        "oid": oid, "typname": name, "typnamespace": 11, "typowner": ACCOUNT_OID, "typlen": i32::from(size),
        "typbyval": (1..=8).contains(&size), "typtype": if name == "unknown" { "p" } else { "b" }, "typcategory": category,
        "typispreferred": is_preferred, "typisdefined": true, "typdelim": ",", "typrelid": 0, "typelem": element,
        "typarray": array, "typinput": function("in").as_str(), "typoutput": function("out").as_str(),
        "typreceive": function("recv").as_str(), "typsend": function("send").as_str(), "typnotnull": false,
        "typbasetype": 0, "typtypmod": -1, "typndims": 0, "typcollation": 0
    }
}

fn information_schema(name: &str, session: &PgSession, relations: &Relations) -> Vec<Row> {
    let database = session.database.as_str();
    match name {
        "schemata" => SCHEMAS
            .iter()
            .map(|(_, name)| row! {"catalog_name": database, "schema_name": *name, "schema_owner": session.user.as_str()})
            .collect(),
        "tables" => {
            let row = |relation: &Relation| {
                row! {
                    "table_catalog": database, "table_schema": relation.schema, "table_name": relation.name.as_str(),
                    "table_type": "BASE TABLE", "is_insertable_into": "NO", "is_typed": "NO"
                }
            };
            relations.0.iter().map(row).collect()
        }
        "columns" => relations.0.iter().flat_map(|relation| described_columns(relation, database)).collect(),
        "table_privileges" => {
            let row = |relation: &Relation| {
                row! {
                    "grantor": session.user.as_str(), "grantee": session.user.as_str(), "table_catalog": database,
                    "table_schema": relation.schema, "table_name": relation.name.as_str(), "privilege_type": "SELECT",
                    "is_grantable": "NO", "with_hierarchy": "YES"
                }
            };
            relations.0.iter().map(row).collect()
        }
        "character_sets" => vec![row! {
            "character_set_name": "UTF8", "character_repertoire": "UCS", "form_of_use": "UTF8"
        }],
        _ => Vec::new(),
    }
}

fn described_columns(relation: &Relation, database: &str) -> Vec<Row> {
    let row = |(number, (name, pg_type, is_nullable)): (i32, &(String, PgType, bool))| {
        let names = type_names().find(|(oid, ..)| *oid == pg_type.oid());
        let (_, short, long) = names.unwrap_or_default();
        let mut row = row! {
            "table_catalog": database, "table_schema": relation.schema, "table_name": relation.name.as_str(),
            "column_name": name.as_str(), "ordinal_position": number,
            "is_nullable": if *is_nullable { "YES" } else { "NO" },
            "data_type": if pg_type.is_array() { "ARRAY" } else { long.as_str() }, "udt_catalog": database,
            "udt_schema": PG_CATALOG, "udt_name": short.as_str(), "dtd_identifier": number.to_string().as_str(),
            "is_self_referencing": "NO", "is_identity": "NO", "identity_cycle": "NO", "is_generated": "NEVER",
            "is_updatable": "NO"
        };
        let precision = match pg_type.kind() {
            _ if pg_type.is_array() => None,
            Kind::Int2 => Some((16, 2)),
            Kind::Int4 => Some((32, 2)),
            Kind::Int8 => Some((64, 2)),
            Kind::Float4 => Some((24, 2)),
            Kind::Float8 => Some((53, 2)),
            _ => None,
        };
        if let Some((precision, radix)) = precision {
            row.extend(row! {"numeric_precision": precision, "numeric_precision_radix": radix});
        }
        if matches!(pg_type.kind(), Kind::Timestamp | Kind::TimestampTz | Kind::Time) && !pg_type.is_array() {
            row.extend(row! {"datetime_precision": 6});
        }
        row
    };
    (1..).zip(&relation.columns).map(row).collect()
}
