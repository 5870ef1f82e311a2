//! The functions of PostgreSQL that return information about the server, its tables and its types.

use std::any::Any;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{Array, GenericListArray, new_empty_array};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use crate::postgres::catalog::{self, ACCOUNT_OID, INFORMATION_SCHEMA, PG_CATALOG, PUBLIC, Relations, SCHEMAS};
use crate::postgres::query_context::PgSession;
use crate::postgres::types::PgType;

/// Maximum length of a name, so that the values of a batch fit into memory. Unit: bytes.
const NAME_BYTES_MAX: usize = 1 << 10;

/// The context of functions.
struct Context {
    session: Arc<PgSession>,
    relations: Arc<Relations>,
}

/// What a function returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Returns {
    Text,
    Bool,
    Int4,
    Int8,
    Oid,
    Texts,
    /// An OID of a name, or a name of an OID.
    Lookup,
}

/// The functions, and their return types. Those whose names begin with `pg_to_` are casts.
const FUNCTIONS: [(&str, Returns); 75] = [
    ("parse_ident", Returns::Texts),
    ("pg_typeof", Returns::Text),
    ("pg_version", Returns::Text),
    ("pg_current_schema", Returns::Text),
    ("pg_current_user", Returns::Text),
    ("pg_session_user", Returns::Text),
    ("pg_user", Returns::Text),
    ("pg_current_role", Returns::Text),
    ("pg_current_catalog", Returns::Text),
    ("current_database", Returns::Text),
    ("current_schemas", Returns::Texts),
    ("current_setting", Returns::Text),
    ("pg_backend_pid", Returns::Int4),
    ("pg_is_in_recovery", Returns::Bool),
    ("pg_get_userbyid", Returns::Text),
    ("pg_table_is_visible", Returns::Bool),
    ("pg_type_is_visible", Returns::Bool),
    ("pg_function_is_visible", Returns::Bool),
    ("pg_operator_is_visible", Returns::Bool),
    ("pg_opclass_is_visible", Returns::Bool),
    ("pg_collation_is_visible", Returns::Bool),
    ("pg_statistics_obj_is_visible", Returns::Bool),
    ("format_type", Returns::Text),
    ("pg_get_expr", Returns::Text),
    ("pg_get_constraintdef", Returns::Text),
    ("pg_get_indexdef", Returns::Text),
    ("pg_get_viewdef", Returns::Text),
    ("pg_get_triggerdef", Returns::Text),
    ("pg_get_ruledef", Returns::Text),
    ("pg_get_serial_sequence", Returns::Text),
    ("pg_get_partkeydef", Returns::Text),
    ("pg_get_partition_constraintdef", Returns::Text),
    ("pg_get_functiondef", Returns::Text),
    ("pg_get_function_result", Returns::Text),
    ("pg_get_function_arguments", Returns::Text),
    ("pg_get_function_identity_arguments", Returns::Text),
    ("pg_get_statisticsobjdef_columns", Returns::Text),
    ("obj_description", Returns::Text),
    ("col_description", Returns::Text),
    ("shobj_description", Returns::Text),
    ("has_table_privilege", Returns::Bool),
    ("has_any_column_privilege", Returns::Bool),
    ("has_column_privilege", Returns::Bool),
    ("has_schema_privilege", Returns::Bool),
    ("has_database_privilege", Returns::Bool),
    ("has_function_privilege", Returns::Bool),
    ("has_sequence_privilege", Returns::Bool),
    ("pg_has_role", Returns::Bool),
    ("pg_relation_size", Returns::Int8),
    ("pg_total_relation_size", Returns::Int8),
    ("pg_table_size", Returns::Int8),
    ("pg_indexes_size", Returns::Int8),
    ("pg_database_size", Returns::Int8),
    ("pg_size_pretty", Returns::Text),
    ("pg_encoding_to_char", Returns::Text),
    ("pg_relation_is_publishable", Returns::Bool),
    ("pg_relation_is_updatable", Returns::Int4),
    ("pg_advisory_unlock_all", Returns::Text),
    ("quote_ident", Returns::Text),
    ("array_lower", Returns::Int8),
    ("array_upper", Returns::Int8),
    ("to_regclass", Returns::Oid),
    ("to_regtype", Returns::Oid),
    ("to_regnamespace", Returns::Oid),
    ("inet_server_addr", Returns::Text),
    ("inet_server_port", Returns::Int4),
    ("pg_to_regclass", Returns::Lookup),
    ("pg_to_regtype", Returns::Lookup),
    ("pg_to_regnamespace", Returns::Lookup),
    ("pg_to_regproc", Returns::Lookup),
    ("pg_to_regprocedure", Returns::Lookup),
    ("pg_tablespace_location", Returns::Text),
    ("pg_get_function_sqlbody", Returns::Text),
    ("set_config", Returns::Text),
    ("pg_to_regrole", Returns::Lookup),
];

/// The functions of a session.
pub(crate) fn functions(session: &Arc<PgSession>, relations: &Arc<Relations>) -> Vec<Arc<ScalarUDF>> {
    named(session, relations, |_| true)
}

/// Returns the functions that need no session, for queries of other clients.
pub(crate) fn without_session(relations: &Arc<Relations>) -> Vec<Arc<ScalarUDF>> {
    const NAMES: [&str; 7] =
        ["parse_ident", "pg_typeof", "format_type", "pg_size_pretty", "quote_ident", "array_lower", "array_upper"];
    named(&Arc::default(), relations, |name| NAMES.contains(&name))
}

/// Returns the functions whose names are accepted by a filter.
fn named(
    session: &Arc<PgSession>,
    relations: &Arc<Relations>,
    is_wanted: impl Fn(&str) -> bool,
) -> Vec<Arc<ScalarUDF>> {
    let context = Arc::new(Context { session: Arc::clone(session), relations: Arc::clone(relations) });
    let function = |(name, returns)| {
        let signature = TypeSignature::OneOf(vec![TypeSignature::Nullary, TypeSignature::VariadicAny]);
        let signature = Signature::new(signature, Volatility::Stable);
        Arc::new(ScalarUDF::new_from_impl(PgFunction { name, returns, signature, context: Arc::clone(&context) }))
    };
    FUNCTIONS.into_iter().filter(|(name, _)| is_wanted(name)).map(function).collect()
}

/// A function that is evaluated row by row.
pub(crate) struct PgFunction {
    name: &'static str,
    returns: Returns,
    signature: Signature,
    context: Arc<Context>,
}

impl std::fmt::Debug for PgFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PgFunction").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PartialEq for PgFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.context, &other.context)
    }
}

impl Eq for PgFunction {}

impl Hash for PgFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for PgFunction {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match self.returns {
            Returns::Text => DataType::Utf8,
            Returns::Bool => DataType::Boolean,
            Returns::Int4 => DataType::Int32,
            Returns::Int8 => DataType::Int64,
            Returns::Oid => DataType::UInt32,
            Returns::Texts => DataType::new_list(DataType::Utf8, true),
            // The catalog contains the functions of types by their names.
            Returns::Lookup if self.name == "pg_to_regproc" => DataType::Utf8,
            Returns::Lookup => match types.first() {
                Some(number) if number.is_integer() => DataType::Utf8,
                _ => DataType::UInt32,
            },
        })
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        by_row(&call, |args| self.value(args)?.cast_to(call.return_field.data_type()))
    }
}

/// Computes the values of a call row by row; only once if all arguments are scalars.
pub(crate) fn by_row(
    call: &ScalarFunctionArgs,
    value: impl Fn(&[ScalarValue]) -> Result<ScalarValue>,
) -> Result<ColumnarValue> {
    let at = |row: usize| -> Result<ScalarValue> {
        let arg = |arg: &ColumnarValue| match arg {
            ColumnarValue::Scalar(value) => Ok(value.clone()),
            ColumnarValue::Array(array) => ScalarValue::try_from_array(array, row),
        };
        value(&call.args.iter().map(arg).collect::<Result<Vec<_>>>()?)
    };
    if call.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_))) {
        return at(0).map(ColumnarValue::Scalar);
    }
    let values = (0..call.number_rows).map(at).collect::<Result<Vec<_>>>()?;
    match values.is_empty() {
        true => Ok(ColumnarValue::Array(new_empty_array(call.return_field.data_type()))),
        false => ScalarValue::iter_to_array(values).map(ColumnarValue::Array),
    }
}

fn text(value: impl Into<String>) -> ScalarValue {
    ScalarValue::Utf8(Some(value.into()))
}

fn string(value: Option<&ScalarValue>) -> Option<String> {
    let ScalarValue::Utf8(text) = value?.cast_to(&DataType::Utf8).ok()? else { return None };
    text
}

fn number(value: Option<&ScalarValue>) -> Option<i64> {
    let ScalarValue::Int64(number) = value?.cast_to(&DataType::Int64).ok()? else { return None };
    number
}

fn oid(value: Option<&ScalarValue>) -> Option<u32> {
    number(value).and_then(|number| u32::try_from(number).ok())
}

impl PgFunction {
    fn value(&self, args: &[ScalarValue]) -> Result<ScalarValue> {
        let Context { session, relations } = self.context.as_ref();
        let null = ScalarValue::Null;
        let first = args.first();
        Ok(match self.name {
            "pg_version" => text(&session.version),
            "pg_current_schema" => text(PUBLIC),
            "pg_current_user" | "pg_session_user" | "pg_user" | "pg_current_role" => text(&session.user),
            "pg_current_catalog" | "current_database" => text(&session.database),
            "current_schemas" => {
                let with_catalog = matches!(first, Some(ScalarValue::Boolean(Some(true))));
                let names = if with_catalog { vec![text(PG_CATALOG), text(PUBLIC)] } else { vec![text(PUBLIC)] };
                ScalarValue::List(ScalarValue::new_list(&names, &DataType::Utf8, true))
            }
            "current_setting" => {
                let name = string(first).unwrap_or_default();
                match session.settings.get(&name.to_lowercase()) {
                    Some(value) => text(value),
                    None if matches!(args.get(1), Some(ScalarValue::Boolean(Some(true)))) => null,
                    None => {
                        let message = format!("there is no setting {}", name.escape_debug());
                        return Err(DataFusionError::Plan(message));
                    }
                }
            }
            // A query changes no settings; drivers set values that are already set, or that have no effect here.
            "set_config" => {
                let (name, value) = (string(first).unwrap_or_default().to_lowercase(), string(args.get(1)));
                let is_set = session.settings.get(&name) == value.as_ref();
                match value {
                    Some(value) if is_set || name == "jit" => text(value),
                    _ => {
                        let message = format!("set_config cannot change {}: use SET", name.escape_debug());
                        return Err(DataFusionError::NotImplemented(message));
                    }
                }
            }
            "pg_typeof" => {
                let oid = first.map(|value| PgType::of(&value.data_type()).oid());
                text(catalog::type_names().find(|known| Some(known.0) == oid).map(|known| known.2).unwrap_or_default())
            }
            "pg_backend_pid" => ScalarValue::Int32(Some(session.process_id)),
            "pg_is_in_recovery" | "pg_relation_is_publishable" => ScalarValue::Boolean(Some(false)),
            "pg_relation_is_updatable" => ScalarValue::Int32(Some(0)),
            "pg_get_userbyid" => text(match oid(first) {
                Some(ACCOUNT_OID) => session.user.clone(),
                other => format!("unknown (OID={})", other.unwrap_or(0)),
            }),
            "pg_table_is_visible" => match oid(first).and_then(|oid| relations.by_oid(oid)) {
                Some(relation) => ScalarValue::Boolean(Some(relation.schema != INFORMATION_SCHEMA)),
                None => null,
            },
            "pg_type_is_visible"
            | "pg_function_is_visible"
            | "pg_operator_is_visible"
            | "pg_opclass_is_visible"
            | "pg_collation_is_visible"
            | "pg_statistics_obj_is_visible"
            | "pg_has_role" => ScalarValue::Boolean(Some(true)),
            "format_type" => match oid(first) {
                None => null,
                Some(0) => text("-"),
                Some(oid) => {
                    text(catalog::type_names().find(|known| known.0 == oid).map_or("???".to_owned(), |known| known.2))
                }
            },
            "has_table_privilege"
            | "has_any_column_privilege"
            | "has_column_privilege"
            | "has_schema_privilege"
            | "has_database_privilege"
            | "has_function_privilege"
            | "has_sequence_privilege" => {
                let asked = string(args.last()).unwrap_or_default().to_uppercase();
                let may = asked
                    .split(',')
                    .any(|privilege| matches!(privilege.trim(), "SELECT" | "USAGE" | "CONNECT" | "EXECUTE"));
                ScalarValue::Boolean(Some(may))
            }
            "pg_size_pretty" => number(first).map_or(null, |bytes| text(pretty(bytes))),
            "pg_encoding_to_char" => text(if number(first) == Some(6) { "UTF8" } else { "" }),
            "quote_ident" => match string(first) {
                Some(name) if name.len() > NAME_BYTES_MAX => {
                    let message = format!("quote_ident: a name has at most {NAME_BYTES_MAX} bytes");
                    return Err(DataFusionError::Execution(message));
                }
                Some(name) => text(quoted(&name)),
                None => null,
            },
            "parse_ident" => {
                let name = string(first).filter(|name| name.len() <= NAME_BYTES_MAX).unwrap_or_default();
                let parts: Vec<_> = name_parts(&name).into_iter().map(text).collect();
                ScalarValue::List(ScalarValue::new_list(&parts, &DataType::Utf8, true))
            }
            "array_lower" | "array_upper" => match length(first) {
                Some(length) if length > 0 && number(args.get(1)).is_none_or(|dimension| dimension == 1) => {
                    ScalarValue::Int32(Some(if self.name == "array_lower" { 1 } else { length }))
                }
                _ => null,
            },
            "to_regclass" => {
                string(first).and_then(|name| relations.named(&name)).map_or(null, |found| found.oid.into())
            }
            "to_regtype" => string(first).and_then(|name| type_named(&name)).map_or(null, Into::into),
            "to_regnamespace" => string(first).and_then(|name| schema_named(&name)).map_or(null, Into::into),
            name if name.starts_with("pg_to_reg") => return self.looked_up(first),
            // Objects that do not exist: constraints, indexes, views, triggers, comments, sizes.
            _ => null,
        })
    }

    /// Returns the name for an OID, or the OID for a name.
    fn looked_up(&self, value: Option<&ScalarValue>) -> Result<ScalarValue> {
        let Context { session, relations } = self.context.as_ref();
        let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(ScalarValue::Null) };
        if value.data_type().is_integer() {
            let number = oid(Some(value)).unwrap_or(0);
            let name = match self.name {
                "pg_to_regclass" => relations.by_oid(number).map(|found| found.name.clone()),
                "pg_to_regtype" => catalog::type_names().find(|known| known.0 == number).map(|known| known.2),
                "pg_to_regnamespace" => SCHEMAS.iter().find(|known| known.0 == number).map(|known| known.1.to_owned()),
                "pg_to_regrole" if number == ACCOUNT_OID => Some(session.user.clone()),
                _ => None,
            };
            return Ok(text(name.unwrap_or(if number == 0 { "-".to_owned() } else { number.to_string() })));
        }
        let name = string(Some(value)).unwrap_or_default();
        if name.len() > NAME_BYTES_MAX {
            return Err(DataFusionError::Execution(format!("a name has at most {NAME_BYTES_MAX} bytes")));
        }
        if self.name == "pg_to_regproc" {
            return Ok(text(name.strip_prefix("pg_catalog.").unwrap_or(&name)));
        }
        if let Ok(number) = name.parse::<u32>() {
            return Ok(number.into());
        }
        let (found, what) = match self.name {
            "pg_to_regclass" => (relations.named(&name).map(|found| found.oid), "table"),
            "pg_to_regtype" => (type_named(&name), "type"),
            "pg_to_regnamespace" => (schema_named(&name), "schema"),
            "pg_to_regrole" => ((name == session.user).then_some(ACCOUNT_OID), "role"),
            _ => (None, "function"),
        };
        let shown: String = name.chars().take(100).collect();
        found
            .map(Into::into)
            .ok_or_else(|| DataFusionError::Plan(format!("there is no {what} {}", shown.escape_debug())))
    }
}

fn type_named(name: &str) -> Option<u32> {
    let name = name.trim().to_lowercase();
    let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
    catalog::type_names().find(|(_, short, long)| short == name || long == name).map(|found| found.0)
}

fn schema_named(name: &str) -> Option<u32> {
    SCHEMAS.iter().find(|schema| schema.1 == name.trim_matches('"')).map(|schema| schema.0)
}

fn length(value: Option<&ScalarValue>) -> Option<i32> {
    fn first_length<O: datafusion::arrow::array::OffsetSizeTrait>(list: &GenericListArray<O>) -> Option<i32> {
        (!list.is_empty() && list.is_valid(0)).then(|| i32::try_from(list.value(0).len()).ok())?
    }
    match value? {
        ScalarValue::List(list) => first_length(list.as_ref()),
        ScalarValue::LargeList(list) => first_length(list.as_ref()),
        ScalarValue::FixedSizeList(list) => Some(list.value_length()),
        _ => None,
    }
}

/// The parts of a name: `a."B.c"`.
fn name_parts(name: &str) -> Vec<String> {
    let (mut parts, mut part, mut is_quoted) = (Vec::new(), String::new(), false);
    for c in name.trim().chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            '.' if !is_quoted => parts.push(std::mem::take(&mut part)),
            c if is_quoted => part.push(c),
            c => part.extend(c.to_lowercase()),
        }
    }
    parts.push(part);
    parts
}

fn quoted(name: &str) -> String {
    let is_plain = name.chars().next().is_some_and(|c| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if is_plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// A size as PostgreSQL writes it.
fn pretty(bytes: i64) -> String {
    let (mut size, mut unit) = (bytes, "bytes");
    for next in ["kB", "MB", "GB", "TB"] {
        if size.unsigned_abs() < 10 << 10 {
            break;
        }
        (size, unit) = ((size + 512) / 1_024, next);
    }
    format!("{size} {unit}")
}
