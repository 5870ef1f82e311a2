//! The schemas of a session: `public`, `pg_catalog` and `information_schema`.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::{MemoryCatalogProvider, SchemaProvider, TableProvider};
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::DataType as ParsedType;

use crate::postgres::catalog::{self, INFORMATION_SCHEMA, PG_CATALOG, PUBLIC, Relations};
use crate::postgres::query_context::PgSession;
use crate::postgres::types::{NUMERIC, PgType};

/// Whether there is a table with this name in the catalog.
pub(super) fn is_catalog_table(name: &str) -> bool {
    catalog::is_table(PG_CATALOG, &name.to_lowercase())
}

/// Whether a column of the catalog with this name is an array. All of them are null.
pub(super) fn is_catalog_array(name: &str) -> bool {
    catalog::is_array(&name.to_lowercase())
}

/// Whether a table of the catalog with this name never has rows.
pub(super) fn is_always_empty(name: &str) -> bool {
    catalog::is_always_empty(&name.to_lowercase())
}

/// Returns the schemas of a session; `tables` are those of the archive.
pub(crate) fn catalog_of(
    session: &Arc<PgSession>,
    relations: &Arc<Relations>,
    tables: Arc<dyn SchemaProvider>,
) -> Result<MemoryCatalogProvider> {
    use datafusion::catalog::CatalogProvider;
    let catalog = MemoryCatalogProvider::new();
    let described =
        |schema| Arc::new(CatalogSchema { schema, session: Arc::clone(session), relations: Arc::clone(relations) });
    let public = SearchPath { tables, others: described(PG_CATALOG) };
    catalog.register_schema(PUBLIC, Arc::new(public))?;
    catalog.register_schema(PG_CATALOG, described(PG_CATALOG))?;
    catalog.register_schema(INFORMATION_SCHEMA, described(INFORMATION_SCHEMA))?;
    Ok(catalog)
}

/// `public`, where names are also looked up in `pg_catalog`, as in PostgreSQL.
#[derive(Debug)]
struct SearchPath {
    tables: Arc<dyn SchemaProvider>,
    others: Arc<CatalogSchema>,
}

#[async_trait]
impl SchemaProvider for SearchPath {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn table_names(&self) -> Vec<String> {
        self.tables.table_names()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match self.tables.table(name).await? {
            Some(table) => Ok(Some(table)),
            None => self.others.table(name).await,
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.table_exist(name) || self.others.table_exist(name)
    }
}

/// A schema of the catalog, whose tables are created on demand.
#[derive(Debug)]
struct CatalogSchema {
    schema: &'static str,
    session: Arc<PgSession>,
    relations: Arc<Relations>,
}

#[async_trait]
impl SchemaProvider for CatalogSchema {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn table_names(&self) -> Vec<String> {
        catalog::table_names(self.schema)
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(batch) = catalog::rows(self.schema, name, &self.session, &self.relations) else { return Ok(None) };
        let batch = batch?;
        Ok(Some(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?)))
    }

    fn table_exist(&self, name: &str) -> bool {
        catalog::is_table(self.schema, name)
    }
}

/// The types of PostgreSQL that the engine does not have.
#[derive(Debug)]
pub(crate) struct PgTypePlanner;

impl TypePlanner for PgTypePlanner {
    fn plan_type(&self, parsed: &ParsedType) -> Result<Option<DataType>> {
        let ParsedType::Custom(name, _) = parsed else { return Ok(None) };
        let name = name.0.last().and_then(|name| name.as_ident()).map(|name| name.value.to_lowercase());
        let name = name.unwrap_or_default();
        Ok(match name.as_str() {
            "name" | "char" | "varchar" | "bpchar" | "xid" | "json" | "jsonb" | "citext" | "inet" | "regconfig" => {
                Some(DataType::Utf8)
            }
            "numeric" => Some(NUMERIC),
            "int2vector" => Some(DataType::new_list(DataType::Int16, true)),
            "oidvector" => Some(DataType::new_list(DataType::UInt32, true)),
            name => {
                let found = catalog::type_names().find(|(_, short, long)| short == name || long == name);
                found.and_then(|(oid, ..)| PgType::of_oid(oid)).map(PgType::encoded)
            }
        })
    }
}
