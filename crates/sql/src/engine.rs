//! Runs queries: plans them on the tables that their caller may read, and executes them within limits of memory and
//! time.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::temporal_conversions::timestamp_ms_to_datetime;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider,
    SchemaProvider, TableProvider,
};
use datafusion::config::Dialect;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::execution::{SendableRecordBatchStream, SessionStateDefaults, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement;
use futures::{FutureExt, StreamExt};
use runlog_model::{Clock, WorkspaceId};
use runlog_store::query::{CatalogView, Query};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::error::{SqlError, SqlErrorKind};
use crate::functions::checked_sum::with_checked_sum;
use crate::functions::json_values::with_whole_rows;
use crate::functions::lateral_joins::with_lateral_joins;
use crate::functions::measured::{Functions, LEFT_OUT};
use crate::functions::mode::modes;
use crate::functions::ntile::with_ntile;
use crate::functions::ordered_lists::with_ordered_lists;
use crate::functions::workarounds::{AfterTypeCoercion, with_workarounds};
use crate::limits::memory::QueryMemory;
use crate::limits::spill_folder::SpillFolder;
use crate::limits::stop::{Stop, StopRule, stoppable};
use crate::limits::wide_rows::{WideRows, WidthLimit, bounded, multiplies_texts};
use crate::limits::{bounds, threads, windows};
use crate::postgres::catalog::Relations;
use crate::postgres::functions as postgres_functions;
use crate::postgres::query_context::PgQueryContext;
use crate::postgres::rewrite::translated;
use crate::postgres::schemas::{PgTypePlanner, catalog_of};
use crate::postgres::{DIALECT, PgArguments, PgDescription, PgParameter, PgQuery, PgScript, PgSession, PgType};
use crate::tables::record_table::RecordTable;
use crate::tables::row_table::CatalogTable;

/// The name of the schema of the tables.
const CATALOG: &str = "runlog";
const SCHEMA: &str = "archive";

/// The name of the schema for clients of PostgreSQL, which expect this name.
const PUBLIC_SCHEMA: &str = "public";

/// Batch size between the operators of a query; smaller if the query contains long values. Unit: rows.
const BATCH_ROWS: usize = 8_192;

/// Memory per thread of a query; if less is available, fewer threads are used. Unit: bytes.
const MEMORY_A_THREAD: usize = 32 << 20;

/// Batch size of a query that repeats rows that may contain a long text. Unit: rows.
const MULTIPLIED_BATCH_ROWS: usize = 1_024;

/// Batch size and threads of a query that is retried because of insufficient memory.
const FRUGAL_BATCH_ROWS: usize = 1_024;
const FRUGAL_THREADS: usize = 2;

/// Maximum length of statements of clients of PostgreSQL that are parsed without a permit. Unit: bytes.
const PARSED_AT_ONCE_BYTES: usize = 4 << 10;

/// How long a query waits for another one to end before it is rejected. Unit: milliseconds.
const WAIT_MS: u64 = 1_000;

/// The limits of queries.
#[derive(Debug, Clone)]
pub struct SqlSettings {
    /// Memory of all queries together, beyond which they spill to temporary files; functions may use half of this
    /// amount in addition while they create values. Unit: bytes. Default: 256 MiB.
    pub memory_bytes: usize,
    /// The folder for temporary files, created if it does not exist; files left behind by a killed process are removed.
    /// Default: the temporary folder of the system.
    pub spill_folder: Option<PathBuf>,
    /// Maximum size of all temporary files. Unit: bytes. Default: 8 GiB.
    pub spill_bytes: u64,
    /// Timeout of a query; none for no limit. Default: 5 minutes.
    pub time_max: Option<Duration>,
    /// Maximum number of concurrent queries; further ones are rejected. Default: 4.
    pub queries_max: usize,
    /// Number of threads that read for a query. Default: the number of processors.
    pub threads: usize,
}

impl SqlSettings {
    fn threads_for(&self, effort: Effort) -> usize {
        let most = if effort == Effort::Full { self.threads } else { FRUGAL_THREADS.min(self.threads) };
        most.min(self.memory_bytes / MEMORY_A_THREAD).max(1)
    }
}

impl Default for SqlSettings {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            spill_folder: None,
            spill_bytes: 8 << 30,
            time_max: Some(Duration::from_secs(300)),
            queries_max: 4,
            threads: std::thread::available_parallelism().map_or(2, NonZeroUsize::get),
        }
    }
}

/// Runs queries. Cheap to clone; clones share the same limits.
#[derive(Clone)]
pub struct SqlEngine {
    archive: Query,
    settings: SqlSettings,
    clock: Arc<dyn Clock>,
    base: Arc<SessionState>,
    /// The memory of functions while they create values.
    function_memory: Arc<dyn MemoryPool>,
    query_permits: Arc<Semaphore>,
    /// Permits for parsing long statements of clients of PostgreSQL, separate from the permits of running queries.
    parsing: Arc<Semaphore>,
    /// Permit for queries retried in low-memory mode: one at a time, so that it gets most of the memory.
    frugal: Arc<Semaphore>,
    /// The tables as clients of PostgreSQL see them.
    relations: Arc<Relations>,
    /// The folder of the temporary files; none for that of the system. Declared last, so that it is dropped last.
    _spill_folder: Option<Arc<SpillFolder>>,
}

/// The read permissions of a caller.
#[derive(Debug, Clone)]
pub struct Readable {
    /// The workspaces; none means all.
    pub workspaces: Option<Vec<WorkspaceId>>,
    /// Whether the caller may read the audit logs of tenants, which belong to no workspace.
    pub has_tenant_audit_logs: bool,
}

/// The parallelism of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effort {
    /// Full speed: all threads, and hash joins.
    Full,
    /// Low-memory mode: few threads, small batches, and sort-merge joins, which can spill.
    Frugal,
}

/// The mode in which a query is attempted.
#[derive(Debug)]
struct Attempt {
    effort: Effort,
    /// Maximum number of rows of a batch.
    rows_max: usize,
    /// True once a part of the answer was returned: the query can no longer be restarted.
    has_rows: Arc<AtomicBool>,
}

/// An answer that is being computed.
pub struct Answer {
    schema: SchemaRef,
    batches: mpsc::Receiver<Result<Option<RecordBatch>, SqlError>>,
    stop: Arc<Stop>,
    has_ended: bool,
}

impl SqlEngine {
    /// Returns an engine for an archive. Reads nothing yet.
    pub fn new(archive: Query, settings: SqlSettings, clock: Arc<dyn Clock>) -> Result<Self, SqlError> {
        let spill_folder = settings.spill_folder.as_deref().and_then(|folder| match SpillFolder::in_folder(folder) {
            Ok(made) => Some(Arc::new(made)),
            // Most queries need no files; those that do use the system's folder.
            Err(error) => {
                let folder = folder.display();
                tracing::warn!(
                    %error,
                    "cannot create a folder for temporary files of SQL queries in {folder}; the system's folder is used instead"
                );
                None
            }
        });
        let runtime = runtime(&settings, spill_folder.as_deref()).map_err(|error| SqlError::of(&error, ""))?;
        let base = SessionStateBuilder::new()
            .with_config(config(&settings))
            .with_runtime_env(Arc::new(runtime))
            .with_expr_planners(SessionStateDefaults::default_expr_planners())
            .with_aggregate_functions(with_ordered_lists(with_checked_sum(
                SessionStateDefaults::default_aggregate_functions().into_iter().chain(modes()).collect(),
            )))
            .with_window_functions(with_ntile(SessionStateDefaults::default_window_functions()))
            .with_table_function_list(SessionStateDefaults::default_table_functions())
            .with_analyzer_rule(Arc::new(AfterTypeCoercion))
            .build();
        let query_permits = Arc::new(Semaphore::new(settings.queries_max));
        let processors = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
        let parsing = Arc::new(Semaphore::new((processors / 2).max(1)));
        let function_memory = Arc::new(GreedyMemoryPool::new(settings.memory_bytes / 2));
        let frugal = Arc::new(Semaphore::new(1));
        let relations = Arc::new(Relations::new(&table_schemas(&archive)));
        Ok(Self {
            archive,
            settings,
            clock,
            base: Arc::new(base),
            function_memory,
            query_permits,
            parsing,
            frugal,
            relations,
            _spill_folder: spill_folder,
        })
    }

    /// Starts a query for a caller with these read permissions.
    pub async fn ask(&self, query: &str, readable: impl Into<Readable>) -> Result<Answer, SqlError> {
        self.answer(QueryRequest { text: query.into(), readable: readable.into(), postgres: None }).await
    }

    /// Parses statements of a client of PostgreSQL.
    pub async fn parse_postgres(&self, text: &str) -> Result<PgScript, SqlError> {
        let text: Arc<str> = text.into();
        let turn = match text.len() > PARSED_AT_ONCE_BYTES {
            true => Some(Arc::clone(&self.parsing).acquire_owned().await.map_err(|_| engine_fault())?),
            false => None,
        };
        let parsing = {
            let text = Arc::clone(&text);
            move || {
                let _turn = turn;
                let parsed =
                    bounds::check_text(&text, &DIALECT).and_then(|()| PgScript::parse(&text, bounds::check_parsed));
                parsed.map_err(|error| SqlError::of(&error, &text))
            }
        };
        threads::compute(parsing).await.map_err(|error| SqlError::new(SqlErrorKind::Internal, error.to_string()))?
    }

    /// Returns a prepared query with the arguments of an `EXECUTE` in place of its parameters. `types` is the number of
    /// parameter types that its `PREPARE` declared.
    pub async fn execute_postgres(
        &self,
        query: &PgQuery,
        arguments: &PgArguments,
        types: usize,
    ) -> Result<PgQuery, SqlError> {
        let (query, arguments) = (query.clone(), arguments.clone());
        let binding = move || {
            let bound = query.with_arguments(&arguments, types);
            let bound = bound.and_then(|bound| bounds::check_parsed(bound.statement()).map(|()| bound));
            bound.map_err(|error| SqlError::of(&error, query.text()).with_code("42601"))
        };
        threads::compute(binding).await.map_err(|error| SqlError::new(SqlErrorKind::Internal, error.to_string()))?
    }

    /// Starts a query of a client of PostgreSQL for a caller with these read permissions.
    ///
    /// `declared` contains the parameter types that the client has declared.
    pub async fn ask_postgres(
        &self,
        query: &PgQuery,
        declared: &[Option<PgType>],
        parameters: Vec<PgParameter>,
        session: &Arc<PgSession>,
        readable: Readable,
    ) -> Result<Answer, SqlError> {
        let postgres = PgQueryContext {
            query: query.clone(),
            session: Arc::clone(session),
            declared: declared.to_vec(),
            parameters: Some(parameters),
        };
        self.answer(QueryRequest { text: Arc::clone(query.text()), readable, postgres: Some(postgres) }).await
    }

    /// Returns the parameters and the columns of a query of a client of PostgreSQL.
    pub async fn describe_postgres(
        &self,
        query: &PgQuery,
        declared: &[Option<PgType>],
        session: &Arc<PgSession>,
    ) -> Result<PgDescription, SqlError> {
        let permit = self.permit().await?;
        let stop = Arc::new(Stop::after(self.settings.time_max));
        let _left = UnregisterOnDrop(Some(Arc::clone(&stop)));
        let postgres = PgQueryContext {
            query: query.clone(),
            session: Arc::clone(session),
            declared: declared.to_vec(),
            parameters: None,
        };
        // The description is the same for all callers: a caller without permissions has the same tables.
        let question = QueryRequest {
            text: Arc::clone(query.text()),
            readable: Readable::NOTHING,
            postgres: Some(postgres.clone()),
        };
        let describing = {
            let (engine, stop) = (self.clone(), Arc::clone(&stop));
            move || -> Result<PgDescription, SqlError> {
                let _permit = permit;
                let plan = || {
                    let functions = engine.functions(&question);
                    let state = engine.state(&question, &functions, &stop, Effort::Full)?;
                    postgres.description(&logical_plan(&state, &functions, &question)?)
                };
                plan().map_err(|error| engine.failure(&error, &question.text, &stop))
            }
        };
        let described = within(stop.deadline(), threads::compute(describing)).await?;
        described.map_err(|error| SqlError::new(SqlErrorKind::Internal, error.to_string()))?
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, SqlError> {
        let waiting = Arc::clone(&self.query_permits).acquire_owned();
        match tokio::time::timeout(Duration::from_millis(WAIT_MS), waiting).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => {
                let message =
                    format!("{} SQL queries are already running; try again in a moment", self.settings.queries_max);
                Err(SqlError::new(SqlErrorKind::Busy, message))
            }
        }
    }

    async fn answer(&self, question: QueryRequest) -> Result<Answer, SqlError> {
        let permit = self.permit().await?;
        let stop = Arc::new(Stop::after(self.settings.time_max));
        // Dropping the request cancels the query, also during planning.
        let left = UnregisterOnDrop(Some(Arc::clone(&stop)));
        let question = RunningQuery { engine: self.clone(), question, stop: Arc::clone(&stop) };
        let (begun, beginning) = oneshot::channel();
        let (batches, answer) = mpsc::channel(1);
        let work = async move {
            question.answer(begun, batches).await;
            // The permit is held until all work for this query has ended.
            drop(permit);
        };
        threads::spawn(work).map_err(|error| SqlError::new(SqlErrorKind::Internal, error.to_string()))?;
        let schema = within(stop.deadline(), beginning).await?.map_err(|_| engine_fault())??;
        left.keep();
        Ok(Answer { schema, batches: answer, stop, has_ended: false })
    }

    /// The functions of one query.
    fn functions(&self, question: &QueryRequest) -> Functions {
        let functions = Functions::new(&self.function_memory);
        match &question.postgres {
            Some(postgres) => functions.with(postgres_functions::functions(&postgres.session, &self.relations)),
            None => functions.with(postgres_functions::without_session(&self.relations)),
        }
    }

    /// Converts an error of the engine into the error that is reported.
    fn failure(&self, error: &DataFusionError, text: &str, stop: &Stop) -> SqlError {
        match stop.check() {
            Err(_) => too_long(stop.deadline().map(|(_, time_max)| time_max)),
            Ok(()) => SqlError::of(error, text)
                .with_memory(self.settings.memory_bytes, self.settings.spill_bytes)
                .with_tables(&table_names())
                .with_functions_left_out(&LEFT_OUT),
        }
    }

    /// Returns the session state of one query, with the tables of its caller and the start time as its current time.
    fn state(
        &self,
        question: &QueryRequest,
        functions: &Functions,
        stop: &Arc<Stop>,
        effort: Effort,
    ) -> Result<SessionState, DataFusionError> {
        let readable = &question.readable;
        let schema = MemorySchemaProvider::new();
        let threads = self.settings.threads_for(effort);
        let records = RecordTable::new(&self.archive, readable.workspaces.clone(), threads);
        schema.register_table(RecordTable::NAME.to_owned(), Arc::new(records))?;
        for table in CatalogView::ALL {
            let rows = CatalogTable::new(&self.archive, table, readable.of(table));
            schema.register_table(table.name().to_owned(), Arc::new(rows))?;
        }
        let catalogs = MemoryCatalogProviderList::new();
        let config = match &question.postgres {
            None => {
                let catalog = MemoryCatalogProvider::new();
                catalog.register_schema(SCHEMA, Arc::new(schema))?;
                catalogs.register_catalog(CATALOG.to_owned(), Arc::new(catalog));
                self.base.config().clone()
            }
            Some(PgQueryContext { session, .. }) => {
                let catalog = catalog_of(session, &self.relations, Arc::new(schema))?;
                catalogs.register_catalog(session.database.clone(), Arc::new(catalog));
                let config = self.base.config().clone().with_information_schema(false);
                let mut config = config.with_default_catalog_and_schema(&session.database, PUBLIC_SCHEMA);
                config.options_mut().sql_parser.dialect = Dialect::PostgreSQL;
                config
            }
        };
        let stop = StopRule(Arc::clone(stop));
        let mut builder = SessionStateBuilder::new_from_existing(SessionState::clone(&self.base)).with_config(config);
        if question.postgres.is_some() {
            builder = builder.with_type_planner(Arc::new(PgTypePlanner));
        }
        let mut state = builder
            .with_scalar_functions(functions.all())
            .with_optimizer_rules(stop.between(self.base.optimizers()))
            .with_physical_optimizer_rules(stop.between_physical(self.base.physical_optimizers()))
            .with_catalog_list(Arc::new(catalogs))
            .build();
        let options = state.config_mut().options_mut();
        options.execution.target_partitions = threads;
        options.optimizer.prefer_hash_join = effort == Effort::Full;
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

/// A query and its caller.
#[derive(Clone)]
struct QueryRequest {
    text: Arc<str>,
    /// What the caller may read.
    readable: Readable,
    /// The context of a query of a client of PostgreSQL; none for other queries.
    postgres: Option<PgQueryContext>,
}

impl Readable {
    /// No read permissions.
    const NOTHING: Self = Self { workspaces: Some(Vec::new()), has_tenant_audit_logs: false };

    /// Returns the workspaces of a table that the caller may read; none means all. A table that belongs to no workspace
    /// is readable either completely or not at all.
    fn of(&self, table: CatalogView) -> Option<Vec<WorkspaceId>> {
        match table {
            CatalogView::TenantAuditLogs if self.has_tenant_audit_logs => None,
            CatalogView::TenantAuditLogs => Some(Vec::new()),
            _ => self.workspaces.clone(),
        }
    }
}

/// These workspaces, and no audit logs of tenants.
impl From<Option<Vec<WorkspaceId>>> for Readable {
    fn from(workspaces: Option<Vec<WorkspaceId>>) -> Self {
        Self { workspaces, has_tenant_audit_logs: false }
    }
}

/// The tables of the archive.
fn table_schemas(archive: &Query) -> Vec<(&'static str, SchemaRef)> {
    let records = RecordTable::new(archive, Some(Vec::new()), 1);
    let rows = CatalogView::ALL.into_iter().map(|view| {
        let table = CatalogTable::new(archive, view, Some(Vec::new()));
        (view.name(), TableProvider::schema(&table))
    });
    std::iter::once((RecordTable::NAME, TableProvider::schema(&records))).chain(rows).collect()
}

fn table_names() -> Vec<&'static str> {
    std::iter::once(RecordTable::NAME).chain(CatalogView::ALL.into_iter().map(CatalogView::name)).collect()
}

/// A running query.
struct RunningQuery {
    engine: SqlEngine,
    question: QueryRequest,
    stop: Arc<Stop>,
}

impl RunningQuery {
    async fn answer(
        self,
        begun: oneshot::Sender<Result<SchemaRef, SqlError>>,
        batches: mpsc::Sender<Result<Option<RecordBatch>, SqlError>>,
    ) {
        let mut receiver = RowReceiver { begun: Some(begun), batches };
        let Err(error) = self.attempt(&mut receiver, Effort::Full).await else { return };
        // A query that has returned rows cannot be restarted.
        let error = match error.kind() == SqlErrorKind::TooLarge && !receiver.has_rows() {
            true => match self.frugally(&mut receiver).await {
                Ok(()) => return,
                Err(error) => error,
            },
            false => error,
        };
        // The process may exit as soon as the error is received. The temporary files are removed when the engine is
        // dropped, so drop it first.
        let deadline = self.stop.deadline();
        drop(self);
        receiver.fail(error, deadline).await;
    }

    async fn frugally(&self, receiver: &mut RowReceiver) -> Result<(), SqlError> {
        let turn = within(self.stop.deadline(), self.engine.frugal.acquire());
        let _turn = tokio::select! {
            turn = turn => turn?,
            () = receiver.is_gone() => return Ok(()),
        };
        self.attempt(receiver, Effort::Frugal).await
    }

    /// Computes and sends the answer; restarts with smaller batches if rows are too long.
    async fn attempt(&self, receiver: &mut RowReceiver, effort: Effort) -> Result<(), SqlError> {
        let mut attempt = Attempt { effort, rows_max: BATCH_ROWS, has_rows: Arc::default() };
        while let Some(wide) = self.answer_by(&attempt, receiver).await? {
            let rows_max = wide.rows_at_a_time(self.engine.settings.memory_bytes);
            attempt.rows_max = rows_max.min(attempt.rows_max / 2).max(1);
        }
        Ok(())
    }

    /// Tries to compute the answer. Returns some value if the rows are too long for this batch size and no part of the
    /// answer was returned.
    async fn answer_by(&self, attempt: &Attempt, receiver: &mut RowReceiver) -> Result<Option<WideRows>, SqlError> {
        let Self { engine, question, stop } = self;
        let deadline = stop.deadline();
        let failure = |error: &DataFusionError| engine.failure(error, &question.text, stop);
        let beginning = begin(engine, question, stop, attempt);
        let mut stream = within(deadline, beginning).await?.map_err(|error| failure(&error))?;
        loop {
            let next = tokio::select! {
                next = within(deadline, stream.next()) => next?,
                () = receiver.is_gone() => return Ok(None),
            };
            let next = match next.transpose() {
                Ok(next) => next,
                Err(error) => match WideRows::find(&error).filter(|_| !receiver.has_rows()) {
                    Some(wide) => return Ok(Some(wide)),
                    None => return Err(failure(&error)),
                },
            };
            let is_last = next.is_none();
            attempt.has_rows.store(true, Ordering::Relaxed);
            receiver.begin(stream.schema());
            // The deadline also applies while the client does not read its rows.
            if !within(deadline, receiver.give(next)).await? || is_last {
                return Ok(None);
            }
        }
    }
}

/// The receiver of an answer: first of the schema, then of the rows.
struct RowReceiver {
    begun: Option<oneshot::Sender<Result<SchemaRef, SqlError>>>,
    batches: mpsc::Sender<Result<Option<RecordBatch>, SqlError>>,
}

impl RowReceiver {
    fn has_rows(&self) -> bool {
        self.begun.is_none()
    }

    fn begin(&mut self, schema: SchemaRef) {
        if let Some(begun) = self.begun.take() {
            let _ = begun.send(Ok(schema));
        }
    }

    /// Sends rows, or none at the end; returns false if the receiver was dropped.
    async fn give(&self, batch: Option<RecordBatch>) -> bool {
        self.batches.send(Ok(batch)).await.is_ok()
    }

    /// Sends an error. Gives up at the deadline, which the receiver checks itself.
    async fn fail(self, error: SqlError, deadline: Option<(Instant, Duration)>) {
        match self.begun {
            Some(begun) => drop(begun.send(Err(error))),
            None => drop(within(deadline, self.batches.send(Err(error))).await),
        }
    }

    async fn is_gone(&self) {
        self.batches.closed().await;
    }
}

/// Parses and plans a query on a thread of its own, and starts its execution.
async fn begin(
    engine: &SqlEngine,
    question: &QueryRequest,
    stop: &Arc<Stop>,
    attempt: &Attempt,
) -> Result<SendableRecordBatchStream, DataFusionError> {
    let planning = {
        let (engine, question, stop) = (engine.clone(), question.clone(), Arc::clone(stop));
        let (effort, rows_max) = (attempt.effort, attempt.rows_max);
        move || -> Result<(SessionState, LogicalPlan), DataFusionError> {
            let functions = engine.functions(&question);
            let mut state = engine.state(&question, &functions, &stop, effort)?;
            let plan = logical_plan(&state, &functions, &question)?;
            stop.check()?;
            let plan = state.optimize(&plan)?;
            let bytes_a_row = bounds::bytes_a_row(&plan)?.max(1);
            let rows = engine.settings.memory_bytes / 8 / bytes_a_row;
            let most = if effort == Effort::Full { BATCH_ROWS } else { FRUGAL_BATCH_ROWS };
            let most = if multiplies_texts(&plan)? { most.min(MULTIPLIED_BATCH_ROWS) } else { most };
            state.config_mut().options_mut().execution.batch_size = rows.min(most).min(rows_max).max(1);
            Ok((state, plan))
        }
    };
    let (state, plan) = threads::compute(planning).await??;
    let plan = state.query_planner().create_physical_plan(&plan, &state).await?;
    stop.check()?;
    let limit = Arc::new(WidthLimit {
        rows: state.config().batch_size(),
        memory_bytes: engine.settings.memory_bytes,
        has_rows: Arc::clone(&attempt.has_rows),
    });
    let plan = windows::counted(bounded(stoppable(plan, stop)?, &limit)?, &limit)?;
    execute_stream(plan, Arc::new(TaskContext::from(&state)))
}

fn logical_plan(
    state: &SessionState,
    functions: &Functions,
    question: &QueryRequest,
) -> Result<LogicalPlan, DataFusionError> {
    let statement = match &question.postgres {
        None => translated(bounds::parsed(&question.text)?)?,
        Some(postgres) => Statement::Statement(Box::new(postgres.statement()?)),
    };
    // The tables are in memory, so planning never waits.
    let planned = state.statement_to_plan(statement).now_or_never();
    let plan = planned.ok_or_else(|| DataFusionError::Internal("a table was waited for".to_owned()))??;
    let reading_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    reading_only.verify_plan(&plan)?;
    let plan = match &question.postgres {
        Some(postgres) => {
            bounds::check_parameters(&plan, &postgres.parameter_sizes())?;
            postgres.bound(plan)?
        }
        None => plan,
    };
    let plan = with_whole_rows(with_lateral_joins(plan)?)?;
    bounds::check_plan(&plan)?;
    let plan = with_workarounds(functions.measured(plan)?)?;
    // The plan has grown: some conditions were copied as guards of others.
    bounds::check_plan(&plan)?;
    Ok(plan)
}

/// Cancels a query when dropped, unless disarmed before.
struct UnregisterOnDrop(Option<Arc<Stop>>);

impl UnregisterOnDrop {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for UnregisterOnDrop {
    fn drop(&mut self) {
        if let Some(stop) = &self.0 {
            stop.leave();
        }
    }
}

fn engine_fault() -> SqlError {
    SqlError::new(SqlErrorKind::Internal, "the query failed because of an error in the SQL engine")
}

async fn within<T>(deadline: Option<(Instant, Duration)>, work: impl Future<Output = T>) -> Result<T, SqlError> {
    let Some((deadline, time_max)) = deadline else { return Ok(work.await) };
    tokio::time::timeout_at(deadline, work).await.map_err(|_| too_long(Some(time_max)))
}

fn too_long(time_max: Option<Duration>) -> SqlError {
    let time = time_max.map_or_else(|| "it may".to_owned(), |time_max| format!("{} s", time_max.as_secs()));
    let message = format!("the query took longer than {time}; narrow it by time, task or run, or select less");
    SqlError::new(SqlErrorKind::TooLong, message)
}

fn runtime(settings: &SqlSettings, spill_folder: Option<&SpillFolder>) -> Result<RuntimeEnv, DataFusionError> {
    let mode = match spill_folder {
        Some(folder) => DiskManagerMode::Directories(vec![folder.path().to_owned()]),
        None => DiskManagerMode::OsTmpDirectory,
    };
    let disk = DiskManagerBuilder::default().with_mode(mode).with_max_temp_directory_size(settings.spill_bytes);
    let memory = QueryMemory::new(settings.memory_bytes);
    RuntimeEnvBuilder::new().with_memory_pool(Arc::new(memory)).with_disk_manager_builder(disk).build()
}

fn config(settings: &SqlSettings) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_information_schema(true)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_batch_size(BATCH_ROWS);
    // The zone of `timestamp with time zone`.
    config.options_mut().execution.time_zone = Some("UTC".to_owned());
    // Errors then contain their position in the query.
    config.options_mut().sql_parser.collect_spans = true;
    // The memory of string views cannot be counted because they share buffers.
    config.options_mut().sql_parser.map_string_types_to_utf8view = false;
    // Concurrent sorts would compete for memory when they read back their spilled files.
    config.options_mut().optimizer.repartition_sorts = false;
    // Each sorting thread reserves this memory for reading back its spilled files.
    let kept = settings.memory_bytes / (8 * settings.threads_for(Effort::Full));
    config.options_mut().execution.sort_spill_reservation_bytes = kept.clamp(1 << 20, 10 << 20);
    config
}

impl Answer {
    /// Returns the schema of the rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Returns the next rows; none at the end. Dropping the answer frees the resources of the query.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, SqlError> {
        if self.has_ended {
            return Ok(None);
        }
        let next = within(self.stop.deadline(), self.batches.recv()).await;
        let next = next.and_then(|next| {
            next.unwrap_or_else(|| match self.stop.deadline() {
                Some((deadline, time_max)) if Instant::now() >= deadline => Err(too_long(Some(time_max))),
                // If the end is not reported, the thread has panicked.
                _ => Err(engine_fault()),
            })
        });
        self.has_ended = !matches!(next, Ok(Some(_)));
        next
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.stop.leave();
    }
}
