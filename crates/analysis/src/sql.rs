//! Questions to the archive in SQL.
//!
//! ```text
//! query ▸ plan (tables of what the caller may read) ▸ the store prunes and scans ▸ joins, groups, sorts ▸ rows, rendered
//! ```
//!
//! The tables are `runs`, `records`, `tasks` and `deliveries`; docs/sql.md describes them. A question reads and never
//! writes: there are no statements that change anything, open files, or move the limits that a question has: memory,
//! beyond which it goes on in temporary files, and time.
//!
//! The tables of a question are made for it and hold the workspaces of its caller alone, so that nothing that the
//! query says can reach another one.

mod conditions;
mod error;
mod record_scan;
mod record_table;
mod render;
mod row_table;
mod workarounds;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::temporal_conversions::timestamp_ms_to_datetime;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider,
    SchemaProvider,
};
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::execution::{SendableRecordBatchStream, SessionStateDefaults, TaskContext};
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionConfig;
use futures::StreamExt;
use runlog_model::{Clock, WorkspaceId};
use runlog_store::{RowTable, Store};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

pub use error::{SqlError, SqlErrorKind, SqlPlace};
pub use render::{AnswerFormat, UnknownFormat};

use record_table::RecordTable;
use row_table::CatalogTable;
use workarounds::{KeptShifts, worked_around};

/// What the tables of the archive stand in.
const CATALOG: &str = "runlog";
const SCHEMA: &str = "archive";

/// The longest query. Unit: bytes.
const QUERY_BYTES_MAX: usize = 256 << 10;

/// Rows of a batch between the parts of a query. Unit: rows.
const BATCH_ROWS: usize = 8_192;

/// Functions that are left out: each makes a value as large as it is told to, at once and past the limit of memory,
/// which would end the whole process. The tables `range` and `generate_series` give their rows batch by batch.
const LEFT_OUT: [&str; 9] = [
    "array_repeat",
    "array_resize",
    "generate_series",
    "list_repeat",
    "list_resize",
    "lpad",
    "range",
    "repeat",
    "rpad",
];

/// What a question may take.
#[derive(Debug, Clone)]
pub struct SqlSettings {
    /// Memory of all questions together, beyond which they go on in temporary files. Unit: bytes. Default: 256 MiB.
    pub memory_bytes: usize,
    /// The folder of the temporary files. Default: that of the system.
    pub spill_folder: Option<PathBuf>,
    /// Most bytes of temporary files. Default: 8 GiB.
    pub spill_bytes: u64,
    /// How long a question may take; none for as long as it likes. Default: 5 minutes.
    pub time_max: Option<Duration>,
    /// How many questions are answered at a time; further ones are told to come again. Default: 4.
    pub questions_max: usize,
    /// How many threads read for a question. Default: as many as there are processors.
    pub threads: usize,
}

impl Default for SqlSettings {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            spill_folder: None,
            spill_bytes: 8 << 30,
            time_max: Some(Duration::from_secs(300)),
            questions_max: 4,
            threads: std::thread::available_parallelism().map_or(2, NonZeroUsize::get),
        }
    }
}

/// Answers questions. Cheap to clone; clones share its limits.
#[derive(Clone)]
pub struct SqlEngine {
    store: Store,
    settings: SqlSettings,
    clock: Arc<dyn Clock>,
    base: Arc<SessionState>,
    questions: Arc<Semaphore>,
}

/// An answer that is being worked out.
pub struct Answer {
    query: Arc<str>,
    schema: SchemaRef,
    batches: SendableRecordBatchStream,
    /// When it is given up.
    deadline: Option<(Instant, Duration)>,
    _permit: OwnedSemaphorePermit,
}

impl SqlEngine {
    /// An engine over an archive; nothing is read yet.
    pub fn new(store: Store, settings: SqlSettings, clock: Arc<dyn Clock>) -> Result<Self, SqlError> {
        let runtime = runtime(&settings).map_err(|error| SqlError::of(&error, ""))?;
        let base = SessionStateBuilder::new()
            .with_config(config(&settings))
            .with_runtime_env(Arc::new(runtime))
            .with_expr_planners(SessionStateDefaults::default_expr_planners())
            .with_scalar_functions(scalar_functions())
            .with_aggregate_functions(SessionStateDefaults::default_aggregate_functions())
            .with_window_functions(SessionStateDefaults::default_window_functions())
            .with_table_function_list(SessionStateDefaults::default_table_functions())
            .with_analyzer_rule(Arc::new(KeptShifts))
            .build();
        let questions = Arc::new(Semaphore::new(settings.questions_max));
        Ok(Self { store, settings, clock, base: Arc::new(base), questions })
    }

    /// Begins to answer a question for a caller who may read these workspaces; none means all of them.
    pub async fn ask(&self, query: &str, readable: Option<Vec<WorkspaceId>>) -> Result<Answer, SqlError> {
        if query.len() > QUERY_BYTES_MAX {
            let message = format!("the query is longer than {QUERY_BYTES_MAX} bytes");
            return Err(SqlError::new(SqlErrorKind::Invalid, message));
        }
        let permit = Arc::clone(&self.questions).try_acquire_owned().map_err(|_| {
            let message =
                format!("{} questions are being answered; ask again in a moment", self.settings.questions_max);
            SqlError::new(SqlErrorKind::Busy, message)
        })?;
        let deadline = self.settings.time_max.map(|time_max| (Instant::now() + time_max, time_max));
        let state = self.state(readable).map_err(|error| SqlError::of(&error, query))?;
        let begun = within(deadline, begin(&state, query)).await?;
        let batches = begun.map_err(|error| {
            SqlError::of(&error, query).with_tables(&table_names()).with_functions_left_out(&LEFT_OUT)
        })?;
        Ok(Answer { query: query.into(), schema: batches.schema(), batches, deadline, _permit: permit })
    }

    /// The state of one question: its tables are those of its caller, and its time is now.
    fn state(&self, readable: Option<Vec<WorkspaceId>>) -> Result<SessionState, DataFusionError> {
        let schema = MemorySchemaProvider::new();
        let records = RecordTable::new(&self.store, readable.clone(), self.settings.threads);
        schema.register_table(RecordTable::NAME.to_owned(), Arc::new(records))?;
        for table in RowTable::ALL {
            let rows = CatalogTable::new(&self.store, table, readable.clone());
            schema.register_table(table.name().to_owned(), Arc::new(rows))?;
        }
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema(SCHEMA, Arc::new(schema))?;
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(CATALOG.to_owned(), Arc::new(catalog));
        let mut state = SessionStateBuilder::new_from_existing(SessionState::clone(&self.base))
            .with_catalog_list(Arc::new(catalogs))
            .build();
        let now = timestamp_ms_to_datetime(self.clock.now().as_millis()).map(|now| now.and_utc());
        state.execution_props_mut().query_execution_start_time = now;
        Ok(state)
    }
}

impl std::fmt::Debug for SqlEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlEngine").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// All that the engine has, without those that are left out.
fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let mut functions = SessionStateDefaults::default_scalar_functions();
    functions.retain(|function| !LEFT_OUT.contains(&function.name()));
    functions
}

fn table_names() -> Vec<&'static str> {
    std::iter::once(RecordTable::NAME).chain(RowTable::ALL.into_iter().map(RowTable::name)).collect()
}

async fn begin(state: &SessionState, query: &str) -> Result<SendableRecordBatchStream, DataFusionError> {
    let plan = state.create_logical_plan(query).await?;
    let reading_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    reading_only.verify_plan(&plan)?;
    let plan = state.create_physical_plan(&worked_around(plan)?).await?;
    execute_stream(plan, Arc::new(TaskContext::from(state)))
}

async fn within<T>(deadline: Option<(Instant, Duration)>, work: impl Future<Output = T>) -> Result<T, SqlError> {
    let Some((deadline, time_max)) = deadline else { return Ok(work.await) };
    tokio::time::timeout_at(deadline, work).await.map_err(|_| {
        let message = format!(
            "the question took longer than {} s; narrow it by time, task or run, or ask for less",
            time_max.as_secs()
        );
        SqlError::new(SqlErrorKind::TooLong, message)
    })
}

fn runtime(settings: &SqlSettings) -> Result<RuntimeEnv, DataFusionError> {
    let mode = match &settings.spill_folder {
        Some(folder) => DiskManagerMode::Directories(vec![folder.clone()]),
        None => DiskManagerMode::OsTmpDirectory,
    };
    let disk = DiskManagerBuilder::default().with_mode(mode).with_max_temp_directory_size(settings.spill_bytes);
    // The names of the largest takers make the error say what to change.
    let pool = TrackConsumersPool::new(FairSpillPool::new(settings.memory_bytes), NonZeroUsize::MIN);
    RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).with_disk_manager_builder(disk).build()
}

fn config(settings: &SqlSettings) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_information_schema(true)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_target_partitions(settings.threads)
        .with_batch_size(BATCH_ROWS);
    // Errors then say where in the query they are.
    config.options_mut().sql_parser.collect_spans = true;
    // Several sorters at a time would take each other's memory when they read back what they wrote to files.
    config.options_mut().optimizer.repartition_sorts = false;
    // Each thread that sorts keeps this much for reading back what it wrote to files.
    let kept = settings.memory_bytes / (8 * settings.threads.max(1));
    config.options_mut().execution.sort_spill_reservation_bytes = kept.clamp(1 << 20, 10 << 20);
    config
}

impl Answer {
    /// The form of its rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next rows; none at the end. What was worked out for them is dropped with the answer.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        let next = within(self.deadline, self.batches.next()).await?;
        next.transpose().map_err(|error| SqlError::of(&error, &self.query))
    }
}
