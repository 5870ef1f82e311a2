//! `runlog sql`: SQL queries on an archive directly or through a service.

mod prompt;
mod statuses;
mod target;

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use runlog_sql::{AnswerFormat, SqlEngine, SqlSettings};
use runlog_store::permissions::share_output;

use statuses::note_short_statuses;
use target::{QueryTarget, failure};

use crate::arguments::archive::{OpenArgs, SPILL_FOLDER};
use crate::arguments::connect::ConnectArgs;
use crate::arguments::number::between;
use crate::command::missing_rights::note_unreadable_workspaces;
use crate::exit::{Exit, Failure, Outcome};
use crate::render::result_table::Expanded;
use crate::stop::until_ctrl_c;
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
  runlog sql                     an interactive prompt; \\d lists the tables, \\q quits, Ctrl-C cancels a query")]
pub(crate) struct SqlArgs {
    /// The query; without it, an interactive prompt, or queries from standard input
    pub(crate) query: Option<String>,
    /// table, csv, json, ndjson or parquet [default: by the extension of the output file, otherwise table]. On a terminal,
    /// the texts of a table that is too wide are wrapped, or each row is shown as a list of its columns
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
    let target =
        if args.has_prompt() { until_ctrl_c(QueryTarget::of(&args)).await? } else { QueryTarget::of(&args).await? };
    let outcome = match &args.query {
        Some(query) => target.once(query, &args).await,
        None if args.has_prompt() => prompt::run(&target, args.format.unwrap_or(AnswerFormat::Table)).await,
        None => {
            let mut query = String::new();
            std::io::stdin().read_to_string(&mut query).context("cannot read the query from standard input")?;
            target.once(&query, &args).await
        }
    };
    target.close().await;
    outcome
}

impl SqlArgs {
    /// Returns true if queries are entered at a prompt.
    pub(crate) fn has_prompt(&self) -> bool {
        self.query.is_none() && std::io::stdin().is_terminal()
    }

    fn format(&self) -> AnswerFormat {
        let named = |path: &PathBuf| path.extension()?.to_str()?.parse().ok();
        self.format.or_else(|| self.output.as_ref().and_then(named)).unwrap_or(AnswerFormat::Table)
    }
}

impl QueryTarget {
    async fn of(args: &SqlArgs) -> Outcome<Self> {
        if args.connect.names_service() || (!args.archive.is_there() && args.connect.has_login()) {
            let client = args.connect.client()?;
            note_unreadable_workspaces(&client, &[]).await;
            return Ok(Self::Service(client));
        }
        let store = args.archive.open().await?;
        let settings = SqlSettings {
            memory_bytes: (args.memory as usize) << 20,
            // A remote archive has no local folder.
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
            None => self.show(query, format, Expanded::Auto).await,
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
