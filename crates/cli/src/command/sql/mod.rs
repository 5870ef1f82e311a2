//! `runlog sql`: questions in SQL, to an archive itself or to a service.

mod prompt;

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use futures::StreamExt;
use runlog_analysis::sql::{AnswerFormat, SqlEngine, SqlError, SqlErrorKind, SqlPlace, SqlSettings};
use runlog_client::Client;
use runlog_model::wire::sql::SqlQuestion;
use runlog_store::Store;

use crate::command::archive::OpenArgs;
use crate::command::serve::SPILL_FOLDER;
use crate::connection::ConnectArgs;
use crate::edge::SystemClock;
use crate::exit::{Exit, Failure, Outcome};
use crate::screen::Stream;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Opens the archive itself, as `runlog archive` does, unless --api-url or --region (or their variables) name a service.

Examples:
  runlog sql \"SELECT status, count(*) FROM runs GROUP BY status\"
  runlog sql \"SELECT time, message FROM records WHERE severity = 'ERROR' ORDER BY time DESC LIMIT 20\"
  runlog sql -o errors.parquet \"SELECT * FROM records WHERE severity = 'ERROR'\"
  runlog sql --api-url https://runlog.example.com --format csv \"SELECT * FROM tasks\"
  runlog sql                     a prompt; \\d shows the tables, \\q leaves")]
pub(crate) struct SqlArgs {
    /// One query; without it, a prompt, or what comes on standard input
    query: Option<String>,
    /// table, csv, json, ndjson or parquet [default: what the name of the output ends with, else table]
    #[arg(long, value_name = "FORMAT")]
    format: Option<AnswerFormat>,
    /// File to write to; it is whole or not there
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Most memory, in MiB; beyond it a question goes on in temporary files
    #[arg(long, alias = "sql-memory", env = "RUNLOG_SQL_MEMORY", default_value_t = 256, value_name = "MIB",
          value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    memory: u32,
    /// Most temporary files, in MiB; they are in the folder `sql` of the data folder, where there is one
    #[arg(long, alias = "sql-spill", env = "RUNLOG_SQL_SPILL", default_value_t = 8_192, value_name = "MIB",
          value_parser = clap::value_parser!(u32).range(16..))]
    spill: u32,
    #[command(flatten)]
    archive: OpenArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Who is asked.
enum Asked {
    Archive { store: Store, engine: Box<SqlEngine> },
    Service(Client),
}

/// Asks one question, or those of a prompt.
pub(crate) async fn run(args: SqlArgs) -> Outcome {
    let asked = Asked::of(&args).await?;
    let outcome = match &args.query {
        Some(query) => asked.once(query, &args).await,
        None if std::io::stdin().is_terminal() => prompt::run(&asked, args.format.unwrap_or(AnswerFormat::Table)).await,
        None => {
            let mut query = String::new();
            std::io::stdin().read_to_string(&mut query).context("cannot read the query from standard input")?;
            asked.once(&query, &args).await
        }
    };
    asked.close().await;
    outcome
}

impl SqlArgs {
    fn format(&self) -> AnswerFormat {
        let named = |path: &PathBuf| path.extension()?.to_str()?.parse().ok();
        self.format.or_else(|| self.output.as_ref().and_then(named)).unwrap_or(AnswerFormat::Table)
    }
}

impl Asked {
    async fn of(args: &SqlArgs) -> Outcome<Self> {
        if args.connect.names_service() {
            return Ok(Self::Service(args.connect.client()?));
        }
        let store = args.archive.open().await?;
        let settings = SqlSettings {
            memory_bytes: (args.memory as usize) << 20,
            // An archive that is elsewhere has no folder here.
            spill_folder: args.archive.data().is_dir().then(|| args.archive.data().join(SPILL_FOLDER)),
            spill_bytes: u64::from(args.spill) << 20,
            time_max: None,
            ..SqlSettings::default()
        };
        let engine = SqlEngine::new(store.clone(), settings, Arc::new(SystemClock)).map_err(failure)?;
        Ok(Self::Archive { store, engine: Box::new(engine) })
    }

    async fn once(&self, query: &str, args: &SqlArgs) -> Outcome {
        let format = args.format();
        match args.output.as_deref().filter(|path| *path != Path::new("-")) {
            Some(path) => self.write_file(query, format, path).await,
            None if format == AnswerFormat::Parquet && std::io::stdout().is_terminal() => {
                Err(Failure::new(Exit::Usage, "a Parquet file is nothing to look at: name a file with --output"))
            }
            None => self.write(query, format, &mut Stream::Result.screen()).await,
        }
    }

    async fn write_file(&self, query: &str, format: AnswerFormat, path: &Path) -> Outcome {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let place = || format!("cannot write {}", path.display());
        let mut file = tempfile::NamedTempFile::new_in(folder).with_context(place)?;
        self.write(query, format, file.as_file_mut()).await?;
        file.persist(path).with_context(place)?;
        Ok(())
    }

    /// Asks, and writes the answer as it comes.
    async fn write(&self, query: &str, format: AnswerFormat, out: &mut (impl Write + Send)) -> Outcome {
        match self {
            Self::Archive { engine, .. } => {
                let answer = engine.ask(query, None).await.map_err(failure)?;
                let mut parts = Box::pin(answer.into_bytes(format));
                while let Some(part) = parts.next().await {
                    put(out, &part.map_err(failure)?)?;
                }
            }
            Self::Service(client) => {
                let question = SqlQuestion { query: query.to_owned(), format: Some(format.name().to_owned()) };
                let mut answer = client.ask_sql(&question).await?;
                while let Some(part) = answer.next().await? {
                    put(out, &part)?;
                }
            }
        }
        Ok(out.flush()?)
    }

    async fn close(&self) {
        if let Self::Archive { store, .. } = self {
            store.close().await;
        }
    }
}

fn put(out: &mut impl Write, part: &Bytes) -> std::io::Result<()> {
    out.write_all(part)
}

fn failure(error: SqlError) -> Failure {
    let exit = match error.kind() {
        SqlErrorKind::Invalid => Exit::Usage,
        SqlErrorKind::Busy => Exit::Unavailable,
        SqlErrorKind::Archive(runlog_store::ErrorKind::Unavailable | runlog_store::ErrorKind::Busy) => {
            Exit::Unavailable
        }
        _ => Exit::Failed,
    };
    let shown = error.place().map(pointed_at).unwrap_or_default();
    Failure { exit, error: anyhow::Error::from(error) }.with_text_after(&shown)
}

/// The line of the query, and a mark below the place.
fn pointed_at(place: &SqlPlace) -> String {
    let number = place.line.to_string();
    let before: String = place.text.chars().take(place.column.saturating_sub(1)).collect();
    let gap: String = before.chars().map(|letter| if letter == '\t' { '\t' } else { ' ' }).collect();
    let width = number.len();
    format!("\n{number} | {}\n{:width$} | {gap}^", place.text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_stands_below_the_place() {
        let place = SqlPlace { line: 2, column: 8, text: "SELECT mesage FROM records".to_owned() };
        assert_eq!(pointed_at(&place), "\n2 | SELECT mesage FROM records\n  |        ^");
    }
}
