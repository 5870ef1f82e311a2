//! `runlog sql`: SQL queries on an archive directly or through a service.

mod asked;
mod prompt;

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use runlog_sql::{AnswerFormat, SqlEngine, SqlSettings};
use runlog_store::permissions::share_output;

use asked::{Asked, failure};

use crate::arguments::archive::{OpenArgs, SPILL_FOLDER};
use crate::arguments::connect::ConnectArgs;
use crate::arguments::number::between;
use crate::arguments::status::StatusArg;
use crate::command::missing_rights::note_unreadable_workspaces;
use crate::exit::{Exit, Failure, Outcome};
use crate::render::screen::Stream;
use crate::render::terminal::note;
use crate::system::SystemClock;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Opens the archive directly, like `runlog archive`, unless a service is given with --profile, --api-url or \
--region or their environment variables, or there is no archive and someone has logged in with `runlog login`.

Examples:
  runlog sql \"SELECT status, count(*) FROM runs GROUP BY status\"
  runlog sql \"SELECT time, message FROM records WHERE severity = 'ERROR' ORDER BY time DESC\"
  runlog sql -o errors.parquet \"SELECT * FROM records WHERE severity = 'ERROR'\"
  runlog sql --api-url https://runlog.example.com --format csv \"SELECT * FROM tasks\"
  runlog sql                     an interactive prompt; \\d lists the tables, \\q quits")]
pub(crate) struct SqlArgs {
    /// The query; without it, an interactive prompt, or queries from standard input
    pub(crate) query: Option<String>,
    /// table, csv, json, ndjson or parquet [default: by the extension of the output file, otherwise table]
    #[arg(long, value_name = "FORMAT")]
    format: Option<AnswerFormat>,
    /// Output file, written atomically
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Maximum memory, in MiB; beyond it, the query spills to temporary files
    #[arg(long, alias = "sql-memory", env = "RUNLOG_SQL_MEMORY", default_value_t = 256, value_name = "MIB",
          value_parser = between(16_u32, 1_048_576))]
    memory: u32,
    /// Maximum size of temporary files, in MiB; they are in the `sql` folder of the data folder, if there is one
    #[arg(long, alias = "sql-spill", env = "RUNLOG_SQL_SPILL", default_value_t = 8_192, value_name = "MIB",
          value_parser = between(16_u32, u32::MAX))]
    spill: u32,
    #[command(flatten)]
    archive: OpenArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Runs one query, or those of an interactive prompt.
pub(crate) async fn run(args: SqlArgs) -> Outcome {
    let asked = Asked::of(&args).await?;
    if let Asked::Service(client) = &asked {
        note_unreadable_workspaces(client, &[]).await;
    }
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

/// Says so if a query compares `status` with a word that other commands accept and the table does not have: such a query
/// finds nothing.
fn note_short_statuses(query: &str) {
    for word in words_compared_with_status(query) {
        let Ok(StatusArg(status)) = word.parse() else { continue };
        if status.as_str() != word {
            note(format!("the column status has no value '{word}'; did you mean '{status}'?"));
        }
    }
}

/// The texts that follow `status =`, `status <>` and `status IN (`.
fn words_compared_with_status(query: &str) -> Vec<&str> {
    let lower = query.to_ascii_lowercase();
    let mut words = Vec::new();
    for (at, name) in lower.match_indices("status") {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if lower[..at].bytes().next_back().is_some_and(is_name) {
            continue;
        }
        let after = lower[at + name.len()..].trim_start();
        let operator = ["=", "<>", "!=", "in"].into_iter().find(|it| after.starts_with(it));
        let Some(operator) = operator else { continue };
        let mut rest = query[query.len() - after.len() + operator.len()..].trim_start();
        rest = rest.strip_prefix('(').unwrap_or(rest);
        while let Some((word, more)) = rest.trim_start().strip_prefix('\'').and_then(|text| text.split_once('\'')) {
            words.push(word);
            rest = more.trim_start().strip_prefix(',').unwrap_or_default();
        }
    }
    words
}

impl SqlArgs {
    fn format(&self) -> AnswerFormat {
        let named = |path: &PathBuf| path.extension()?.to_str()?.parse().ok();
        self.format.or_else(|| self.output.as_ref().and_then(named)).unwrap_or(AnswerFormat::Table)
    }
}

impl Asked {
    async fn of(args: &SqlArgs) -> Outcome<Self> {
        if args.connect.names_service() || (!args.archive.is_there() && args.connect.has_login()) {
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
        let engine = SqlEngine::new(store.query().clone(), settings, Arc::new(SystemClock)).map_err(failure)?;
        Ok(Self::Archive { store, engine: Box::new(engine) })
    }

    async fn once(&self, query: &str, args: &SqlArgs) -> Outcome {
        note_short_statuses(query);
        let format = args.format();
        match args.output.as_deref().filter(|path| *path != Path::new("-")) {
            Some(path) => self.write_file(query, format, path).await,
            None if format == AnswerFormat::Parquet && std::io::stdout().is_terminal() => Err(Failure::new(
                Exit::Usage,
                "Parquet output cannot be shown on a terminal: name a file with --output",
            )),
            None => self.write(query, format, &mut Stream::Result.screen()).await,
        }
    }

    async fn write_file(&self, query: &str, format: AnswerFormat, path: &Path) -> Outcome {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let place = || format!("cannot write {}", path.display());
        // The umask applies to these permissions, as to those of any file that a program writes for its user.
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        let mut file = tempfile::Builder::new().permissions(readable).tempfile_in(folder).with_context(place)?;
        share_output(file.path()).with_context(place)?;
        self.write(query, format, file.as_file_mut()).await?;
        file.persist(path).with_context(place)?;
        Ok(())
    }
}
