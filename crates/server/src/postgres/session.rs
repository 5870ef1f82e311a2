//! A session: the statements of a client, one after another.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::http::StatusCode;
use bytes::Bytes;
use runlog_model::wire::admin::AuditEntry;
use runlog_sql::{
    PgColumn, PgCommand, PgCopyFormat, PgFetch, PgFormat, PgParameter, PgQuery, PgRows, PgSession, PgType,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::app::App;
use crate::auth::rights;
use crate::limits;
use crate::postgres::cancel::Registered;
use crate::postgres::connection::Connection;
use crate::postgres::failure::{Failure, Report, SessionResult, violation};
use crate::postgres::messages::{Bind, Message, Target};
use crate::postgres::replies::{self, Transaction};
use crate::postgres::running::{COPY_HEADER, Running};
use crate::postgres::session_settings::{REPORTED, SERVER_VERSION, Settings, unknown};
use crate::postgres::startup::{DATABASE, SignedIn};

/// The action of the audit log, as over HTTP.
const ACTION: &str = "run SQL query";

/// A session of a client that is signed in.
pub(super) struct Session {
    pub(super) app: App,
    pub(super) connection: Connection,
    pub(super) signed_in: SignedIn,
    pub(super) address: IpAddr,
    pub(super) settings: Settings,
    pub(super) registered: Registered,
    /// Cancelled when the service stops.
    pub(super) stop: CancellationToken,
    /// Notices for the client, sent after the sign-in: earlier, it accepts no others.
    pub(super) warnings: Vec<Report>,
    pub(super) state: State,
}

/// The state of a session between messages.
#[derive(Default)]
pub(super) struct State {
    transaction: TransactionState,
    statements: HashMap<String, Arc<Prepared>>,
    portals: HashMap<String, Portal>,
    /// Cancels the statement that is running.
    cancel: CancellationToken,
    /// When the statement that is running has taken too long.
    deadline: Option<Instant>,
    /// True after an error, until the client has sent `Sync`.
    is_skipping: bool,
}

/// `Transaction::None` at the beginning.
struct TransactionState(Transaction);

impl Default for TransactionState {
    fn default() -> Self {
        Self(Transaction::None)
    }
}

/// A prepared statement.
struct Prepared {
    /// Its command, or none for an empty one; `None` if it is parsed again for each use.
    parsed: Option<Vec<PgCommand>>,
    text: String,
    /// The types of parameters that the client declared: their numbers, and their types.
    oids: Vec<u32>,
    declared: Vec<Option<PgType>>,
    /// The number of types that `PREPARE` gave to its parameters.
    types: usize,
}

/// A statement with its values, or a cursor.
struct Portal {
    prepared: Arc<Prepared>,
    parameters: Vec<PgParameter>,
    formats: Vec<PgFormat>,
    running: Option<Running>,
    /// True once all rows were sent.
    is_done: bool,
    /// True if it outlives its transaction.
    is_held: bool,
}

impl Prepared {
    /// Its memory without the parsed statement.
    fn bytes(&self, name: &str) -> usize {
        name.len() + self.text.len() + self.oids.len() * (size_of::<u32>() + size_of::<Option<PgType>>())
    }

    /// The length of its text if it is kept as it was parsed.
    fn parsed_bytes(&self) -> usize {
        self.parsed.as_ref().map_or(0, |_| self.text.len())
    }
}

impl State {
    /// The statements that remain when one with this name is prepared: the one without a name is replaced.
    fn statements_beside<'s>(&'s self, name: &'s str) -> impl Iterator<Item = (&'s str, &'s Prepared)> {
        let all = self.statements.iter().map(|(known, statement)| (known.as_str(), &**statement));
        all.filter(move |(known, _)| *known != name)
    }
}

impl Portal {
    fn parsed_bytes(&self) -> usize {
        self.prepared.parsed_bytes()
    }
}

impl Session {
    /// Tells the client that it is signed in.
    pub(super) async fn begin(&mut self) -> SessionResult<()> {
        let output = &mut self.connection.output;
        replies::authentication(output, 0);
        for warning in self.warnings.drain(..) {
            replies::warning(output, &warning);
        }
        for (name, shown) in REPORTED {
            replies::parameter(output, shown, self.settings.get(name).unwrap_or_default());
        }
        replies::parameter(output, "session_authorization", &self.signed_in.caller.name);
        replies::key_data(output, self.registered.process_id, self.registered.secret);
        self.ready().await
    }

    /// Handles messages until the session ends. Ok: the client has ended it.
    pub(super) async fn run(&mut self) -> SessionResult<()> {
        loop {
            let (kind, message) = self.next_message().await?;
            // Whoever sends one of these does not send `Sync` afterwards.
            let is_extended = !matches!(kind, b'Q' | b'F');
            let message = match message {
                Ok(Message::Terminate) => return Ok(()),
                Ok(message) => message,
                // A text that is not valid, in a message that is.
                Err(Failure::Statement(report)) => {
                    self.fail(report, is_extended).await?;
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            if self.state.is_skipping && is_extended && !matches!(message, Message::Sync) {
                continue;
            }
            match self.handle(message).await {
                Ok(()) => {}
                Err(Failure::Statement(report)) => self.fail(report, is_extended).await?,
                Err(failure) => return Err(failure),
            }
            self.connection.flush_if_full().await?;
        }
    }

    /// The next message, and its kind.
    async fn next_message(&mut self) -> SessionResult<(u8, SessionResult<Message>)> {
        let bytes_max = self.app.settings().bounds.body_bytes_max;
        let (kind, body) = tokio::select! {
            message = self.connection.message(bytes_max) => message?,
            () = self.stop.cancelled() => {
                return Err(Failure::Session(Report::new("57P01", "the service is stopping")));
            }
            () = tokio::time::sleep(limits::POSTGRES_IDLE_MAX) => {
                return Err(Failure::Session(Report::new("57P05", "the session was idle for too long")));
            }
        };
        Ok((kind, Message::read(kind, body)))
    }

    /// Reports an error; the session continues.
    async fn fail(&mut self, report: Report, is_extended: bool) -> SessionResult<()> {
        replies::error(&mut self.connection.output, "ERROR", &report);
        self.app.metrics().count_statement(report.code);
        if self.state.transaction.0 == Transaction::Open {
            self.state.transaction.0 = Transaction::Failed;
            self.close_portals();
        }
        match is_extended {
            true => {
                self.state.is_skipping = true;
                // Some drivers send `Sync` only after they have seen the error.
                Ok(self.connection.flush().await?)
            }
            false => self.ready().await,
        }
    }

    async fn ready(&mut self) -> SessionResult<()> {
        if self.state.transaction.0 == Transaction::None {
            self.close_portals();
        }
        replies::ready(&mut self.connection.output, self.state.transaction.0);
        Ok(self.connection.flush().await?)
    }

    /// Closes what ends with the transaction.
    fn close_portals(&mut self) {
        self.state.portals.retain(|_, portal| portal.is_held);
    }

    async fn handle(&mut self, message: Message) -> SessionResult<()> {
        match message {
            Message::Query(text) => {
                self.begin_statement();
                self.simple(&text).await?;
                self.ready().await
            }
            Message::Parse { name, text, types } => {
                self.begin_statement();
                self.prepare(name, text, types).await
            }
            Message::Bind(bind) => self.bind(bind),
            Message::Describe(target) => {
                self.begin_statement();
                self.describe(target).await
            }
            Message::Execute { portal, rows_max } => {
                self.begin_statement();
                self.execute(portal, rows_max).await
            }
            Message::Close(target) => {
                match target {
                    Target::Statement(name) => drop(self.state.statements.remove(&name)),
                    Target::Portal(name) => drop(self.state.portals.remove(&name)),
                }
                replies::plain(&mut self.connection.output, b'3');
                Ok(())
            }
            Message::Sync => {
                self.state.is_skipping = false;
                self.ready().await
            }
            Message::Flush => Ok(self.connection.flush().await?),
            Message::FunctionCall => Err(Report::new("0A000", "functions cannot be called by number").into()),
            // The rest of a COPY that has failed is ignored, as the protocol requires.
            Message::Copy | Message::Terminate => Ok(()),
        }
    }

    fn begin_statement(&mut self) {
        self.state.cancel = self.registered.statement();
        self.state.deadline = self.settings.statement_time_max().map(|time_max| Instant::now() + time_max);
    }

    /// The properties of the session that queries can read.
    fn facts(&self) -> Arc<PgSession> {
        let version = env!("CARGO_PKG_VERSION");
        Arc::new(PgSession {
            database: DATABASE.to_owned(),
            user: self.signed_in.caller.name.clone(),
            version: format!("PostgreSQL {SERVER_VERSION} (Runlog {version})"),
            process_id: self.registered.process_id,
            settings: self.settings.all().clone(),
        })
    }

    /// In a transaction that has failed, nothing is done but to end it.
    fn check_transaction(&self, command: &PgCommand) -> SessionResult<()> {
        let ends = matches!(command, PgCommand::Commit | PgCommand::Rollback | PgCommand::RollbackTo);
        match self.state.transaction.0 == Transaction::Failed && !ends {
            true => {
                Err(Report::new("25P02", "the transaction has failed; statements are ignored until it is rolled back")
                    .into())
            }
            false => Ok(()),
        }
    }

    /// The commands of a text. A long one counts as a request of its caller.
    async fn parse(&mut self, text: &str) -> SessionResult<Vec<PgCommand>> {
        if text.len() > limits::POSTGRES_TEXT_BYTES_FREE
            && let Err(too_many) = self.app.auth().rate_limits().wait_for(&self.signed_in.caller.id).await
        {
            return Err(Report::of_api(too_many.into()).into());
        }
        let parsing = self.app.sql().parse_postgres(text);
        let parsed = uninterrupted(&mut self.connection, &self.state, parsing).await?;
        Ok(parsed.map_err(|error| Report::of_query(&error, text))?.0)
    }

    /// The command of a prepared statement; none if it is empty.
    async fn command_of(&mut self, prepared: &Prepared) -> SessionResult<Option<PgCommand>> {
        match self.written_command_of(prepared).await? {
            Some(command) => self.resolved(command).await.map(Some),
            None => Ok(None),
        }
    }

    /// The same as it was written, which may be an `EXECUTE` of another one.
    async fn written_command_of(&mut self, prepared: &Prepared) -> SessionResult<Option<PgCommand>> {
        match &prepared.parsed {
            Some(commands) => Ok(commands.first().cloned()),
            None => Ok(self.parse(&prepared.text).await?.into_iter().next()),
        }
    }

    /// The command that is executed: of `EXECUTE`, that of the prepared statement with the given values.
    async fn resolved(&mut self, command: PgCommand) -> SessionResult<PgCommand> {
        let PgCommand::Execute { name, arguments } = command else { return Ok(command) };
        let prepared = Arc::clone(self.state.statements.get(&name).ok_or_else(|| no_statement(&name))?);
        match self.written_command_of(&prepared).await? {
            Some(PgCommand::Query(query, word)) => {
                let bound = self.app.sql().execute_postgres(&query, &arguments, prepared.types).await;
                let bound = bound.map_err(|error| Report::of_query(&error, &prepared.text))?;
                Ok(PgCommand::Query(bound, word))
            }
            Some(PgCommand::Execute { .. }) => {
                Err(Report::new("0A000", "EXECUTE of a statement that is itself an EXECUTE is not supported").into())
            }
            Some(command) if arguments.is_empty() => Ok(command),
            _ => Err(Report::new("42601", format!("the statement {} takes no parameters", shown(&name))).into()),
        }
    }

    /// The statements of one message.
    async fn simple(&mut self, text: &str) -> SessionResult<()> {
        let commands = self.parse(text).await?;
        if commands.is_empty() {
            replies::plain(&mut self.connection.output, b'I');
        }
        for command in commands {
            self.begin_statement();
            self.check_transaction(&command)?;
            let command = self.resolved(command).await?;
            match &command {
                PgCommand::Query(query, word) => {
                    let mut running = self.start(query, text, &[], Vec::new(), &[]).await?;
                    replies::row_description(&mut self.connection.output, running.rows().columns(), |_| PgFormat::Text);
                    let (rows, _) = self.send_rows(&mut running, text, u64::MAX).await?;
                    self.complete_query(word, rows);
                }
                PgCommand::Copy(query, format) => self.copy(query, text, format, &[], Vec::new()).await?,
                PgCommand::Fetch { name, rows, is_move } => {
                    let format = self.cursor_formats(name)?;
                    if !is_move {
                        self.describe_cursor(name, &format)?;
                    }
                    self.fetch(name, *rows, *is_move, &format, text).await?;
                }
                PgCommand::Show(name) => {
                    replies::row_description(&mut self.connection.output, &shown_columns(name.as_deref()), |_| {
                        PgFormat::Text
                    });
                    self.show(name.as_deref())?;
                }
                other => self.control(other, text).await?,
            }
        }
        Ok(())
    }

    fn complete_query(&mut self, word: &str, rows: u64) {
        let tag = if word == "SELECT" { format!("SELECT {rows}") } else { word.to_owned() };
        self.complete(&tag);
    }

    fn complete(&mut self, tag: &str) {
        self.app.metrics().count_statement("00000");
        replies::complete(&mut self.connection.output, tag);
    }

    /// Starts a query with the rights that its caller has now, and records it in the audit log.
    async fn start(
        &mut self,
        query: &PgQuery,
        text: &str,
        declared: &[Option<PgType>],
        parameters: Vec<PgParameter>,
        formats: &[PgFormat],
    ) -> SessionResult<Running> {
        let (begun, id) = (self.app.now(), self.app.random().uuid().to_string());
        self.signed_in.check(self.app.auth()).await?;
        let caller = &self.signed_in.caller;
        if let Err(too_many) = self.app.auth().rate_limits().wait_for(&caller.id).await {
            return Err(Report::of_api(too_many.into()).into());
        }
        let readable = rights::readable(self.app.store(), caller).await;
        let readable = readable.map_err(|error| Failure::Statement(Report::of_api(error)))?;
        let facts = self.facts();
        let asking = self.app.sql().ask_postgres(query, declared, parameters, &facts, readable);
        let asked = uninterrupted(&mut self.connection, &self.state, asking).await;
        let asked = asked.and_then(|asked| asked.map_err(|error| Report::of_query(&error, text).into()));
        let (status, code) = match &asked {
            Ok(_) => (StatusCode::OK, "00000"),
            Err(Failure::Statement(report) | Failure::Session(report)) => (report.status, report.code),
            Err(Failure::Gone(_)) => (StatusCode::BAD_REQUEST, "08006"),
        };
        let entry = AuditEntry {
            at: self.app.now(),
            caller_id: caller.id.clone(),
            caller_name: caller.name.clone(),
            action: ACTION.to_owned(),
            subject: String::new(),
            status: status.as_u16(),
            address: self.address.to_string(),
            request_id: id.clone(),
        };
        let recorded = self.app.store().audit().record(entry).await;
        let duration_ms = self.app.now().millis_since(begun);
        info!(postgres.sqlstate = code, duration_ms, request.id = %id, caller.id = %caller.id, "statement");
        if let (Err(error), Ok(_)) = (recorded, &asked) {
            tracing::error!(error = &error as &dyn std::error::Error, request.id = %id, "cannot write an audit entry");
            let message = "the audit entry of this statement could not be written; it is rejected, try again";
            return Err(Report { status: StatusCode::SERVICE_UNAVAILABLE, ..Report::new("58000", message) }.into());
        }
        let answer = asked?;
        let rows = PgRows::new(answer.schema(), formats);
        Ok(Running::new(answer, rows))
    }

    /// Sends at most so many rows; returns their number, and whether there are no more.
    async fn send_rows(&mut self, running: &mut Running, text: &str, rows_max: u64) -> SessionResult<(u64, bool)> {
        let mut rows = 0;
        while rows < rows_max {
            if !self.has_row(running, text).await? {
                return Ok((rows, true));
            }
            running.put_row(&mut self.connection.output).map_err(|error| Report::of_query(&error, text))?;
            rows += 1;
            self.connection.flush_if_full().await?;
        }
        Ok((rows, false))
    }

    /// Passes over at most so many rows; returns their number.
    async fn skip_rows(&mut self, running: &mut Running, text: &str, rows_max: u64) -> SessionResult<u64> {
        let mut rows = 0;
        while rows < rows_max && self.has_row(running, text).await? {
            running.skip_row();
            rows += 1;
        }
        Ok(rows)
    }

    /// Waits for the next row; false if there is none.
    async fn has_row(&mut self, running: &mut Running, text: &str) -> SessionResult<bool> {
        if running.has_row_now() {
            return Ok(true);
        }
        let next = uninterrupted(&mut self.connection, &self.state, running.has_row()).await?;
        Ok(next.map_err(|error| Report::of_query(&error, text))?)
    }

    async fn copy(
        &mut self,
        query: &PgQuery,
        text: &str,
        format: &PgCopyFormat,
        declared: &[Option<PgType>],
        parameters: Vec<PgParameter>,
    ) -> SessionResult<()> {
        let is_binary = *format == PgCopyFormat::Binary;
        let value_format = if is_binary { PgFormat::Binary } else { PgFormat::Text };
        let mut running = self.start(query, text, declared, parameters, &[value_format]).await?;
        let output = &mut self.connection.output;
        replies::copy_out(output, running.rows(), is_binary);
        if let Some(header) = running.header(format) {
            replies::message(output, b'd', |output| output.extend_from_slice(header.as_bytes()));
        }
        let mut rows: u64 = 0;
        loop {
            if !running.has_row_now() {
                let next = uninterrupted(&mut self.connection, &self.state, running.has_row()).await?;
                if !next.map_err(|error| Report::of_query(&error, text))? {
                    break;
                }
            }
            let put = running.put_copied(format, rows == 0, &mut self.connection.output);
            put.map_err(|error| Report::of_query(&error, text))?;
            rows += 1;
            self.connection.flush_if_full().await?;
        }
        if is_binary {
            replies::message(&mut self.connection.output, b'd', |output| {
                if rows == 0 {
                    output.extend_from_slice(COPY_HEADER);
                }
                output.extend_from_slice(&[0xff, 0xff]);
            });
        }
        replies::plain(&mut self.connection.output, b'c');
        self.complete(&format!("COPY {rows}"));
        Ok(())
    }

    /// A statement that only concerns the session.
    async fn control(&mut self, command: &PgCommand, text: &str) -> SessionResult<()> {
        let tag = match command {
            PgCommand::Begin => {
                match self.state.transaction.0 {
                    Transaction::None => self.state.transaction.0 = Transaction::Open,
                    _ => self.warn("25001", "there is already a transaction"),
                }
                "BEGIN"
            }
            PgCommand::Commit | PgCommand::Rollback => {
                let tag = match (command, self.state.transaction.0) {
                    (PgCommand::Commit, Transaction::Open | Transaction::None) => "COMMIT",
                    _ => "ROLLBACK",
                };
                if self.state.transaction.0 == Transaction::None {
                    self.warn("25P01", "there is no transaction");
                }
                self.state.transaction.0 = Transaction::None;
                self.close_portals();
                tag
            }
            PgCommand::Savepoint | PgCommand::Release | PgCommand::RollbackTo => {
                if self.state.transaction.0 == Transaction::None {
                    return Err(Report::new("25P01", "there is no transaction for a savepoint").into());
                }
                self.state.transaction.0 = Transaction::Open;
                match command {
                    PgCommand::Savepoint => "SAVEPOINT",
                    PgCommand::Release => "RELEASE",
                    _ => "ROLLBACK",
                }
            }
            PgCommand::Set(name, value) => {
                self.set(name, value.as_deref())?;
                "SET"
            }
            PgCommand::SetReading => "SET",
            PgCommand::Reset(name) => {
                match name {
                    Some(name) => self.set(name, None)?,
                    None => self.settings.reset(),
                }
                "RESET"
            }
            PgCommand::Discard { all } => {
                if *all {
                    self.state.statements.clear();
                    self.state.portals.clear();
                    self.settings.reset();
                }
                if *all { "DISCARD ALL" } else { "DISCARD" }
            }
            PgCommand::Deallocate(name) => match name {
                Some(name) => match self.state.statements.remove(name) {
                    Some(_) => "DEALLOCATE",
                    None => return Err(no_statement(name).into()),
                },
                None => {
                    self.state.statements.clear();
                    "DEALLOCATE ALL"
                }
            },
            PgCommand::Declare { name, query, is_binary, is_held } => {
                if self.state.transaction.0 == Transaction::None && !is_held {
                    let report = Report::new("25P01", "a cursor needs a transaction");
                    return Err(report.with_hint("send BEGIN first, or declare it WITH HOLD").into());
                }
                self.check_portals(name)?;
                if self.state.portals.contains_key(name) {
                    let message = format!("there is already a cursor {}", shown(name));
                    return Err(Report::new("42P03", message).into());
                }
                let formats = vec![if *is_binary { PgFormat::Binary } else { PgFormat::Text }];
                let held: usize = self.state.portals.values().map(Portal::parsed_bytes).sum();
                if held.saturating_add(text.len()) > limits::POSTGRES_CURSOR_BYTES_MAX {
                    let report = Report::new("53400", "the statements of the open cursors of the session are too long");
                    return Err(report.with_hint("close those that are not needed").into());
                }
                let running = self.start(query, text, &[], Vec::new(), &formats).await?;
                let prepared = Prepared {
                    parsed: Some(vec![PgCommand::Query(query.clone(), "SELECT")]),
                    text: text.to_owned(),
                    oids: Vec::new(),
                    declared: Vec::new(),
                    types: 0,
                };
                let portal = Portal {
                    prepared: Arc::new(prepared),
                    parameters: Vec::new(),
                    formats,
                    running: Some(running),
                    is_done: false,
                    is_held: *is_held,
                };
                self.state.portals.insert(name.clone(), portal);
                "DECLARE CURSOR"
            }
            PgCommand::Close(name) => match name {
                Some(name) => match self.state.portals.remove(name) {
                    Some(_) => "CLOSE CURSOR",
                    None => return Err(no_portal(name).into()),
                },
                None => {
                    self.state.portals.clear();
                    "CLOSE CURSOR ALL"
                }
            },
            PgCommand::Unlisten => "UNLISTEN",
            PgCommand::Prepare { name, query, types } => {
                let prepared = Prepared {
                    parsed: None,
                    text: text.to_owned(),
                    oids: Vec::new(),
                    declared: Vec::new(),
                    types: *types,
                };
                let command = PgCommand::Query(query.clone(), "SELECT");
                if !self.keep_statement(name.clone(), prepared, vec![command])? {
                    self.state.statements.remove(name);
                    let report = Report::new("53400", "the prepared statements of the session are too long");
                    return Err(report.with_hint("send DEALLOCATE for those that are not needed").into());
                }
                "PREPARE"
            }
            PgCommand::Writing(words) => {
                let message = format!("cannot execute {}: the archive can only be read with SQL", shown(words));
                return Err(Report { status: StatusCode::FORBIDDEN, ..Report::new("25006", message) }.into());
            }
            PgCommand::Unsupported(words) => {
                return Err(Report::new("0A000", format!("{} is not supported", shown(words))).into());
            }
            PgCommand::Query(..)
            | PgCommand::Copy(..)
            | PgCommand::Show(_)
            | PgCommand::Fetch { .. }
            | PgCommand::Execute { .. } => {
                return Err(Report::new("XX000", "this statement returns rows").into());
            }
        };
        self.complete(tag);
        Ok(())
    }

    fn warn(&mut self, code: &'static str, message: &str) {
        replies::warning(&mut self.connection.output, &Report::new(code, message));
    }

    fn set(&mut self, name: &str, value: Option<&str>) -> SessionResult<()> {
        let changed = self.settings.set(name, value)?;
        if let Some(warning) = changed.warning {
            replies::warning(&mut self.connection.output, &warning);
        }
        if let Some((_, shown)) = REPORTED.iter().find(|reported| reported.0 == name) {
            replies::parameter(&mut self.connection.output, shown, self.settings.get(name).unwrap_or_default());
        }
        Ok(())
    }

    fn show(&mut self, name: Option<&str>) -> SessionResult<()> {
        match name {
            Some(name) => {
                let value = self.settings.get(name).ok_or_else(|| unknown(name))?;
                replies::text_row(&mut self.connection.output, &[value]);
            }
            None => {
                for (name, value) in self.settings.all() {
                    replies::text_row(&mut self.connection.output, &[name, value, ""]);
                }
            }
        }
        self.complete("SHOW");
        Ok(())
    }

    /// The format of a cursor's rows for a client that does not ask for one.
    fn cursor_formats(&self, name: &str) -> SessionResult<Vec<PgFormat>> {
        Ok(self.state.portals.get(name).ok_or_else(|| no_portal(name))?.formats.clone())
    }

    fn describe_cursor(&mut self, name: &str, formats: &[PgFormat]) -> SessionResult<()> {
        let portal = self.state.portals.get(name).ok_or_else(|| no_portal(name))?;
        let Some(running) = &portal.running else { return Err(no_portal(name).into()) };
        let rows = running.rows().with_formats(formats);
        replies::row_description(&mut self.connection.output, rows.columns(), |column| rows.format(column));
        Ok(())
    }

    async fn fetch(
        &mut self,
        name: &str,
        which: PgFetch,
        is_move: bool,
        formats: &[PgFormat],
        text: &str,
    ) -> SessionResult<()> {
        let rows_max = match which {
            PgFetch::Next(rows) => rows,
            PgFetch::All => u64::MAX,
            PgFetch::Backward => return Err(Report::new("55000", "cursors only go forward").into()),
        };
        let portal = self.state.portals.get_mut(name).ok_or_else(|| no_portal(name))?;
        let mut running = portal.running.take().ok_or_else(|| no_portal(name))?;
        running.set_formats(formats);
        let sent = match is_move {
            true => self.skip_rows(&mut running, text, rows_max).await,
            false => self.send_rows(&mut running, text, rows_max).await.map(|(rows, _)| rows),
        };
        if let Some(portal) = self.state.portals.get_mut(name) {
            portal.running = Some(running);
        }
        let rows = sent?;
        self.complete(&format!("{} {rows}", if is_move { "MOVE" } else { "FETCH" }));
        Ok(())
    }

    async fn prepare(&mut self, name: String, text: String, types: Vec<u32>) -> SessionResult<()> {
        check_name(&name)?;
        let commands = self.parse(&text).await?;
        if commands.len() > 1 {
            return Err(Report::new("42601", "a prepared statement cannot have several commands").into());
        }
        let declared: Vec<Option<PgType>> = types.iter().map(|oid| PgType::of_oid(*oid)).collect();
        let prepared = Prepared { parsed: None, text, oids: types, declared, types: 0 };
        self.keep_statement(name, prepared, commands)?;
        replies::plain(&mut self.connection.output, b'1');
        Ok(())
    }

    /// Keeps a prepared statement; false if it is not kept as it was parsed, but parsed again for each use.
    fn keep_statement(
        &mut self,
        name: String,
        mut prepared: Prepared,
        commands: Vec<PgCommand>,
    ) -> SessionResult<bool> {
        check_name(&name)?;
        if !name.is_empty() && self.state.statements.contains_key(&name) {
            return Err(Report::new("42P05", format!("there is already a statement {}", shown(&name))).into());
        }
        let held: usize = self.state.statements_beside(&name).map(|(name, statement)| statement.bytes(name)).sum();
        if self.state.statements_beside(&name).count() >= limits::POSTGRES_STATEMENTS_MAX
            || held.saturating_add(prepared.bytes(&name)) > limits::POSTGRES_STATEMENT_BYTES_MAX
        {
            let report = Report::new("53400", "the session has too many prepared statements");
            return Err(report.with_hint("close those that are not needed, or send DEALLOCATE ALL").into());
        }
        let of_statements = self.state.statements_beside(&name).map(|(_, statement)| statement.parsed_bytes());
        let kept: usize = of_statements.chain(self.state.portals.values().map(Portal::parsed_bytes)).sum();
        let is_parsed = kept.saturating_add(prepared.text.len()) <= limits::POSTGRES_PARSED_BYTES_MAX;
        if is_parsed {
            prepared.parsed = Some(commands);
        }
        self.state.statements.insert(name, Arc::new(prepared));
        Ok(is_parsed)
    }

    fn check_portals(&self, name: &str) -> SessionResult<()> {
        if self.state.portals.len() >= limits::POSTGRES_PORTALS_MAX && !self.state.portals.contains_key(name) {
            return Err(Report::new("53400", "the session has too many open cursors").into());
        }
        Ok(())
    }

    fn bind(&mut self, bind: Bind) -> SessionResult<()> {
        check_name(&bind.portal)?;
        let prepared = self.state.statements.get(&bind.statement).ok_or_else(|| no_statement(&bind.statement))?;
        let prepared = Arc::clone(prepared);
        self.check_portals(&bind.portal)?;
        if !bind.portal.is_empty() && self.state.portals.contains_key(&bind.portal) {
            return Err(Report::new("42P03", format!("there is already a cursor {}", shown(&bind.portal))).into());
        }
        let bytes_of = |value: &Option<Bytes>| limits::POSTGRES_PARAMETER_BYTES + value.as_ref().map_or(0, Bytes::len);
        let held = |portal: &Portal| {
            portal.formats.len() + portal.parameters.iter().map(|held| bytes_of(&held.value)).sum::<usize>()
        };
        // The one without a name is replaced.
        let others = self.state.portals.iter().filter(|(known, _)| **known != bind.portal);
        let others: usize = others.map(|(_, portal)| held(portal)).sum();
        let own = bind.result_formats.len() + bind.parameters.iter().map(bytes_of).sum::<usize>();
        if others.saturating_add(own) > limits::POSTGRES_PARAMETER_BYTES_MAX {
            return Err(Report::new("53400", "the parameters of the session are too large").into());
        }
        let formats = formats(&bind.formats)?;
        if formats.len() > 1 && formats.len() != bind.parameters.len() {
            return Err(violation("there are not as many formats as parameters"));
        }
        let parameter = |(index, value)| PgParameter {
            format: formats.get(if formats.len() == 1 { 0 } else { index }).copied().unwrap_or(PgFormat::Text),
            declared: prepared.oids.get(index).copied().unwrap_or(0),
            value,
        };
        let portal = Portal {
            parameters: bind.parameters.into_iter().enumerate().map(parameter).collect(),
            formats: self::formats(&bind.result_formats)?,
            prepared,
            running: None,
            is_done: false,
            is_held: false,
        };
        self.state.portals.insert(bind.portal, portal);
        replies::plain(&mut self.connection.output, b'2');
        Ok(())
    }

    async fn describe(&mut self, target: Target) -> SessionResult<()> {
        match target {
            Target::Statement(name) => {
                let statement = self.state.statements.get(&name).ok_or_else(|| no_statement(&name))?;
                let statement = Arc::clone(statement);
                let (types, columns) = self.described(&statement).await?;
                replies::parameter_types(&mut self.connection.output, &types);
                self.put_columns(columns.as_deref(), &[]);
                Ok(())
            }
            Target::Portal(name) => {
                let portal = self.state.portals.get(&name).ok_or_else(|| no_portal(&name))?;
                let (prepared, formats) = (Arc::clone(&portal.prepared), portal.formats.clone());
                let command = self.command_of(&prepared).await?;
                match &command {
                    Some(command @ PgCommand::Query(..)) => {
                        self.check_transaction(command)?;
                        self.start_portal(&name, command).await?;
                        self.describe_cursor(&name, &formats)
                    }
                    Some(PgCommand::Fetch { name, is_move: false, .. }) => self.describe_cursor(name, &formats),
                    _ => {
                        let (_, columns) = self.described(&prepared).await?;
                        self.put_columns(columns.as_deref(), &formats);
                        Ok(())
                    }
                }
            }
        }
    }

    /// The types of the parameters of a statement, and its columns if it has any.
    async fn described(&mut self, statement: &Prepared) -> SessionResult<(Vec<PgType>, Option<Vec<PgColumn>>)> {
        let command = self.command_of(statement).await?;
        Ok(match &command {
            Some(command @ (PgCommand::Query(query, _) | PgCommand::Copy(query, _))) => {
                self.check_transaction(command)?;
                self.signed_in.check(self.app.auth()).await?;
                let facts = self.facts();
                let describing = self.app.sql().describe_postgres(query, &statement.declared, &facts);
                let described = uninterrupted(&mut self.connection, &self.state, describing).await?;
                let described = described.map_err(|error| Report::of_query(&error, &statement.text))?;
                let has_rows = matches!(command, PgCommand::Query(..));
                (described.parameters, has_rows.then_some(described.columns))
            }
            Some(PgCommand::Show(name)) => (Vec::new(), Some(shown_columns(name.as_deref()))),
            Some(PgCommand::Fetch { name, is_move: false, .. }) => {
                let portal = self.state.portals.get(name).ok_or_else(|| no_portal(name))?;
                (Vec::new(), portal.running.as_ref().map(|running| running.rows().columns().to_vec()))
            }
            _ => (Vec::new(), None),
        })
    }

    fn put_columns(&mut self, columns: Option<&[PgColumn]>, formats: &[PgFormat]) {
        let format = |index: usize| match formats {
            [] => PgFormat::Text,
            [format] => *format,
            formats => formats.get(index).copied().unwrap_or(PgFormat::Text),
        };
        match columns {
            Some(columns) => replies::row_description(&mut self.connection.output, columns, format),
            None => replies::plain(&mut self.connection.output, b'n'),
        }
    }

    /// Starts the query of a portal, unless it has been started.
    async fn start_portal(&mut self, name: &str, command: &PgCommand) -> SessionResult<()> {
        let portal = self.state.portals.get_mut(name).ok_or_else(|| no_portal(name))?;
        if portal.running.is_some() || portal.is_done {
            return Ok(());
        }
        let prepared = Arc::clone(&portal.prepared);
        let (parameters, formats) = (std::mem::take(&mut portal.parameters), portal.formats.clone());
        let PgCommand::Query(query, _) = command else { return Ok(()) };
        let running = self.start(query, &prepared.text, &prepared.declared, parameters, &formats).await?;
        if let Some(portal) = self.state.portals.get_mut(name) {
            portal.running = Some(running);
        }
        Ok(())
    }

    async fn execute(&mut self, name: String, rows_max: u64) -> SessionResult<()> {
        let portal = self.state.portals.get(&name).ok_or_else(|| no_portal(&name))?;
        let (prepared, formats) = (Arc::clone(&portal.prepared), portal.formats.clone());
        let Some(command) = self.command_of(&prepared).await? else {
            replies::plain(&mut self.connection.output, b'I');
            return Ok(());
        };
        self.check_transaction(&command)?;
        match &command {
            PgCommand::Query(_, word) => {
                self.start_portal(&name, &command).await?;
                let portal = self.state.portals.get_mut(&name).ok_or_else(|| no_portal(&name))?;
                let Some(mut running) = portal.running.take() else {
                    self.complete_query(word, 0);
                    return Ok(());
                };
                let rows_max = if rows_max == 0 { u64::MAX } else { rows_max };
                let (rows, is_done) = self.send_rows(&mut running, &prepared.text, rows_max).await?;
                if let Some(portal) = self.state.portals.get_mut(&name) {
                    portal.is_done = is_done;
                    portal.running = (!is_done).then_some(running);
                }
                match is_done {
                    true => self.complete_query(word, rows),
                    false => replies::plain(&mut self.connection.output, b's'),
                }
                Ok(())
            }
            PgCommand::Copy(query, format) => {
                let parameters = self.state.portals.get_mut(&name).map(|portal| std::mem::take(&mut portal.parameters));
                let parameters = parameters.unwrap_or_default();
                self.copy(query, &prepared.text, format, &prepared.declared, parameters).await
            }
            PgCommand::Fetch { name, rows, is_move } => {
                self.fetch(name, *rows, *is_move, &formats, &prepared.text).await
            }
            PgCommand::Show(name) => self.show(name.as_deref()),
            other => self.control(other, &prepared.text).await,
        }
    }
}

/// The result of some work, unless it is cancelled, takes too long, or the client has gone.
async fn uninterrupted<T>(
    connection: &mut Connection,
    state: &State,
    work: impl Future<Output = T>,
) -> SessionResult<T> {
    let too_long = async {
        match state.deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = state.cancel.cancelled() => Err(Report::new("57014", "the statement was cancelled by the client").into()),
        done = work => Ok(done),
        () = too_long => Err(Report::new("57014", "the statement took longer than statement_timeout").into()),
        error = connection.closed() => Err(Failure::Gone(error)),
    }
}

fn shown_columns(name: Option<&str>) -> Vec<PgColumn> {
    let column = |name: &str| PgColumn { name: name.to_owned(), pg_type: PgType::TEXT };
    match name {
        Some(name) => vec![column(name)],
        None => ["name", "setting", "description"].map(column).to_vec(),
    }
}

/// A name that a client has sent, in a message.
fn shown(name: &str) -> String {
    name.chars().take(64).collect::<String>().escape_debug().to_string()
}

fn check_name(name: &str) -> SessionResult<()> {
    match name.len() > limits::POSTGRES_NAME_BYTES_MAX {
        true => {
            let most = limits::POSTGRES_NAME_BYTES_MAX;
            Err(Report::new("42622", format!("the name {}… is longer than {most} bytes", shown(name))).into())
        }
        false => Ok(()),
    }
}

fn no_statement(name: &str) -> Report {
    match name {
        "" => Report::new("26000", "there is no unnamed prepared statement"),
        name => Report::new("26000", format!("there is no prepared statement {}", shown(name))),
    }
}

fn no_portal(name: &str) -> Report {
    match name {
        "" => Report::new("34000", "there is no unnamed cursor"),
        name => Report::new("34000", format!("there is no cursor {}", shown(name))),
    }
}

fn formats(codes: &[u16]) -> SessionResult<Vec<PgFormat>> {
    let format = |code: &u16| match code {
        0 => Ok(PgFormat::Text),
        1 => Ok(PgFormat::Binary),
        other => Err(violation(format!("there is no format {other}"))),
    };
    codes.iter().map(format).collect()
}
