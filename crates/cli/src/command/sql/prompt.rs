//! An interactive prompt with a history.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use runlog_sql::AnswerFormat;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use tokio::sync::oneshot;

use super::statuses::note_short_statuses;
use super::target::QueryTarget;
use crate::exit::{Exit, Failure, Outcome};
use crate::render::failure::report;
use crate::render::pager;
use crate::render::result_table::Expanded;
use crate::render::screen::Stream;
use crate::render::terminal::note;
use crate::stop::until_ctrl_c;
use crate::system::environment;

/// How long a query may show nothing before a note says how to cancel it.
const HINT_DELAY: Duration = Duration::from_secs(3);

/// The help text shown by `\?`.
const HELP: &str = "\
End a query with ; (it may span several lines).
  \\d           the tables and their columns
  \\d TABLE     the columns of one table
  \\x           show each row as a list of its columns, or no longer; \\x auto: if a table would be too wide (default)
  \\r           discard the lines of an unfinished query; Ctrl-C does so as well, and cancels a query that runs
  \\?           this help
  \\q           quit; Ctrl-D does so as well
docs/sql.md has the tables, their columns and examples.";

/// Lists columns, with the names of types that SQL has for them.
const COLUMNS: &str = "SELECT table_name AS \"table\", column_name AS \"column\",
    CASE WHEN data_type LIKE '%List%' THEN 'list' WHEN data_type LIKE '%Utf8%' THEN 'text'
         WHEN data_type LIKE 'Timestamp%' THEN 'timestamp' WHEN data_type LIKE 'Int%' THEN 'bigint'
         WHEN data_type LIKE 'UInt%' THEN 'bigint unsigned' WHEN data_type LIKE 'Float%' THEN 'double'
         ELSE lower(data_type) END AS \"type\"
    FROM information_schema.columns WHERE table_schema = 'archive'";

/// The state of the prompt between two lines.
struct Prompt<'a> {
    target: &'a QueryTarget,
    format: AnswerFormat,
    expanded: Expanded,
    /// The lines of an incomplete query.
    query: String,
}

/// Whether the prompt continues.
enum Next {
    GoOn,
    Quit,
}

/// Prompts until the user quits. A query ends with a semicolon and may have several lines.
pub(super) async fn run(target: &QueryTarget, format: AnswerFormat) -> Outcome {
    note("end a query with ; (it may span several lines). \\d lists the tables, \\? shows help, \\q quits");
    let lines = Lines::start();
    let mut prompt = Prompt { target, format, expanded: Expanded::Auto, query: String::new() };
    while let Some(line) = lines.next(if prompt.query.is_empty() { "runlog> " } else { "   ...> " }).await? {
        if let Next::Quit = prompt.take(&line, &lines).await? {
            break;
        }
    }
    Ok(())
}

impl Prompt<'_> {
    async fn take(&mut self, line: &str, lines: &Lines) -> Outcome<Next> {
        let words = line.trim().trim_end_matches(';').trim_end();
        match (self.query.is_empty(), words) {
            (_, "\u{3}" | "\\r") => self.query.clear(),
            (_, "\\q") | (true, "exit" | "quit") => return Ok(Next::Quit),
            (_, "\\?") | (true, "help" | "\\h") => note(HELP),
            (true, "") => {}
            (_, command) if command.starts_with('\\') => self.command(command).await?,
            _ => {
                self.query.push_str(line);
                self.query.push('\n');
                if line.trim_end().ends_with(';') {
                    lines.remember(&self.query);
                    let query = std::mem::take(&mut self.query);
                    let query = query.trim().trim_end_matches(';');
                    note_short_statuses(query);
                    self.show(query, self.format, self.expanded).await?;
                }
            }
        }
        Ok(Next::GoOn)
    }

    async fn command(&mut self, command: &str) -> Outcome {
        let (name, argument) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let argument = argument.trim().trim_matches('"').to_ascii_lowercase();
        let order = "ORDER BY table_name, ordinal_position";
        match (name, argument.as_str()) {
            ("\\d" | "\\dt", "") => self.show(&format!("{COLUMNS} {order}"), AnswerFormat::Table, Expanded::Auto).await,
            ("\\d", table) => {
                let table = table.replace('\'', "''");
                let query = format!("{COLUMNS} AND table_name = '{table}' {order}");
                self.show(&query, AnswerFormat::Table, Expanded::Auto).await
            }
            ("\\x", when) => {
                self.expand(when);
                Ok(())
            }
            _ => {
                note(format!("there is no command {}; \\? lists them", Stream::Note.shown_on_line(name)));
                Ok(())
            }
        }
    }

    fn expand(&mut self, when: &str) {
        self.expanded = match (when, self.expanded) {
            ("on", _) | ("", Expanded::Off | Expanded::Auto) => Expanded::On,
            ("off", _) | ("", Expanded::On) => Expanded::Off,
            ("auto", _) => Expanded::Auto,
            _ => return note("\\x is followed by on, off, auto or nothing"),
        };
        note(match self.expanded {
            Expanded::On => "rows are shown as lists of columns",
            Expanded::Off => "rows are shown as a table",
            Expanded::Auto => "rows are shown as a table if it fits the terminal, and otherwise as lists of columns",
        });
    }

    /// Shows the result until Ctrl-C. A failed or cancelled query does not end the prompt.
    async fn show(&self, query: &str, format: AnswerFormat, expanded: Expanded) -> Outcome {
        pager::begin();
        let answer = self.target.show(query, format, expanded);
        let outcome = until_ctrl_c(async {
            tokio::select! {
                outcome = answer => outcome,
                never = hint_at_ctrl_c() => never,
            }
        });
        let outcome = outcome.await;
        pager::finish();
        match outcome {
            Err(failure) if failure.exit == Exit::Interrupted => {
                note("the query was cancelled");
                Ok(())
            }
            Err(failure) if failure.is_broken_pipe() => Ok(()),
            Err(failure) if matches!(failure.exit, Exit::Usage | Exit::Failed | Exit::Unavailable) => {
                report(&failure);
                Ok(())
            }
            outcome => outcome,
        }
    }
}

/// Tells the user how to cancel a query that has shown nothing for a while; never ends.
async fn hint_at_ctrl_c() -> Outcome {
    tokio::time::sleep(HINT_DELAY).await;
    if pager::has_nothing() {
        note("the query is still running; Ctrl-C cancels it");
    }
    std::future::pending().await
}

/// A request to the thread that reads lines.
enum Request {
    Line(String, oneshot::Sender<Result<Option<String>, ReadlineError>>),
    Remember(String),
}

/// Reads lines in a separate thread: waiting for input must not block anything, including the end of the program.
struct Lines(mpsc::Sender<Request>);

impl Lines {
    fn start() -> Self {
        let (sender, requests) = mpsc::channel();
        std::thread::spawn(move || serve(&requests));
        Self(sender)
    }

    /// The next line; none if the user quits. Ctrl-C yields a line of only that character.
    async fn next(&self, prompt: &str) -> Outcome<Option<String>> {
        let (sender, line) = oneshot::channel();
        let gone = |_| Failure::new(Exit::Failed, "cannot read from the terminal");
        self.0.send(Request::Line(prompt.to_owned(), sender)).map_err(|_| Failure::new(Exit::Failed, "no terminal"))?;
        match line.await.map_err(gone)? {
            Ok(line) => Ok(line),
            Err(error) => Err(Failure { exit: Exit::Failed, error: error.into() }),
        }
    }

    fn remember(&self, query: &str) {
        // If the thread has ended, reading the next line reports it.
        let _ = self.0.send(Request::Remember(query.trim().to_owned()));
    }
}

fn serve(requests: &mpsc::Receiver<Request>) {
    let mut editor = DefaultEditor::new();
    let history = history_file();
    if let (Ok(editor), Some(file)) = (&mut editor, &history) {
        // The file does not exist before the first use.
        let _ = editor.load_history(file);
    }
    while let Ok(request) = requests.recv() {
        match (request, &mut editor) {
            (Request::Line(_, answer), Err(error)) => {
                let error = std::io::Error::other(error.to_string());
                let _ = answer.send(Err(ReadlineError::Io(error)));
            }
            (Request::Line(prompt, answer), Ok(editor)) => {
                let line = match editor.readline(&prompt) {
                    Ok(line) => Ok(Some(line)),
                    Err(ReadlineError::Interrupted) => Ok(Some("\u{3}".to_owned())),
                    Err(ReadlineError::Eof) => Ok(None),
                    Err(error) => Err(error),
                };
                let _ = answer.send(line);
            }
            (Request::Remember(query), Ok(editor)) => {
                let _ = editor.add_history_entry(query);
                if let Some(file) = &history {
                    // A history that cannot be saved does not end the prompt.
                    let _ = file.parent().map(std::fs::create_dir_all);
                    let _ = editor.save_history(file);
                }
            }
            (Request::Remember(_), Err(_)) => {}
        }
    }
}

/// The path of the query history: `runlog/sql_history` in the user's state folder.
fn history_file() -> Option<PathBuf> {
    let state = environment("XDG_STATE_HOME").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let state = state.or_else(|| environment("HOME").map(|home| PathBuf::from(home).join(".local/state")));
    state.map(|state| state.join("runlog/sql_history"))
}
