//! `runlog mcp`: tools for assistants, on standard input and output.

use std::sync::Arc;

use bytes::BytesMut;
use http::request::Parts;
use runlog_client::{Client, Error, ErrorKind};
use runlog_mcp::{Answer, Api, Assistant, Connect, Question, Refusal, RefusalKind, serve_stdio};
use runlog_model::error_chain;
use runlog_model::wire::sql::SqlQuestion;
use runlog_server::{App, ServerSettings, local_assistant};
use runlog_sql::SqlSettings;

use crate::arguments::archive::{OpenArgs, SPILL_FOLDER};
use crate::arguments::connect::ConnectArgs;
use crate::exit::{Failure, Outcome};
use crate::system::{SystemClock, SystemRandom};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Speaks the Model Context Protocol: a client such as an assistant starts the command and closes its standard input to end \
it. All tools only read. A service also has these tools at /mcp.

Opens the archive directly, like `runlog sql`, unless a service is given with --profile, --api-url or \
--region or their environment variables, or there is no archive and someone has logged in with `runlog login`.

Examples:
  runlog mcp --data /var/lib/runlog                    the archive of this machine, with all rights
  runlog mcp --api-url https://runlog.example.com      a service, with the rights of the token in RUNLOG_TOKEN")]
pub(crate) struct McpArgs {
    #[command(flatten)]
    archive: OpenArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Answers until standard input is closed.
pub(crate) async fn run(args: McpArgs) -> Outcome {
    if args.connect.names_service() || (!args.archive.is_there() && args.connect.has_login()) {
        let client = args.connect.client()?;
        let web_url = args.connect.page("").map(|url| url.trim_end_matches('/').to_owned());
        let service = Service { client, web_url };
        return Ok(serve_stdio(Assistant::new(service, Arc::new(SystemClock))).await?);
    }
    let store = args.archive.open().await?;
    let data = args.archive.data();
    let sql = SqlSettings {
        // A remote archive has no local folder.
        spill_folder: data.is_dir().then(|| data.join(SPILL_FOLDER)),
        ..SqlSettings::default()
    };
    let settings = ServerSettings { sql, ..ServerSettings::default() };
    let app = App::new(store.clone(), settings, Arc::new(SystemClock), Arc::new(SystemRandom)).await;
    let app = app.map_err(|error| Failure::from(error).while_doing("cannot open the archive"))?;
    let served = serve_stdio(local_assistant(app)).await;
    store.close().await;
    Ok(served?)
}

/// A service, with the credentials of this command.
#[derive(Clone)]
struct Service {
    client: Client,
    web_url: Option<String>,
}

impl Connect for Service {
    type Api = Self;

    fn api(&self, _: Option<&Parts>) -> Self {
        self.clone()
    }
}

impl Api for Service {
    async fn ask(&self, question: Question, bytes_max: usize) -> Result<Answer, Refusal> {
        match question {
            Question::Get { path, query } => {
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                let mut body = self.client.read(&path, &query).await.map_err(|error| refusal(&error))?;
                let is_cut = body.len() > bytes_max;
                body.truncate(bytes_max);
                Ok(Answer { body, is_cut })
            }
            Question::Sql { query } => self.sql(query, bytes_max).await,
        }
    }

    fn web_url(&self) -> Option<String> {
        self.web_url.clone()
    }
}

impl Service {
    async fn sql(&self, query: String, bytes_max: usize) -> Result<Answer, Refusal> {
        let question = SqlQuestion { query, format: Some("ndjson".to_owned()) };
        let mut rows = self.client.ask_sql(&question).await.map_err(|error| refusal(&error))?;
        let mut read = BytesMut::new();
        loop {
            match rows.next().await {
                Ok(Some(part)) => read.extend_from_slice(&part),
                Ok(None) => return Ok(Answer { body: read.freeze(), is_cut: false }),
                // What came before is shown.
                Err(_) => return Ok(Answer { body: read.freeze(), is_cut: true }),
            }
            if read.len() > bytes_max {
                read.truncate(bytes_max);
                return Ok(Answer { body: read.freeze(), is_cut: true });
            }
        }
    }
}

fn refusal(error: &Error) -> Refusal {
    let kind = match error.kind() {
        ErrorKind::Invalid => RefusalKind::Invalid,
        ErrorKind::Unauthorized => RefusalKind::Unauthorized,
        ErrorKind::Forbidden => RefusalKind::Forbidden,
        ErrorKind::NotFound => RefusalKind::NotFound,
        ErrorKind::Limited
        | ErrorKind::Unavailable
        | ErrorKind::Damaged
        | ErrorKind::Protocol
        | ErrorKind::Refused
        | ErrorKind::Storage => RefusalKind::Unavailable,
    };
    Refusal::new(kind, error_chain(error))
}
