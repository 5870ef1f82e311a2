//! Questions one after another, with a history.

use std::io::{BufReader, Read, Seek, Write};
use std::path::PathBuf;
use std::sync::mpsc;

use runlog_sql::AnswerFormat;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use tokio::sync::oneshot;

use super::asked::Asked;
use crate::exit::{Exit, Failure, Outcome};
use crate::render::failure::report;
use crate::render::screen::Stream;
use crate::render::terminal::note;
use crate::system::environment;

/// What `\?` shows.
const HELP: &str = "\
End a query with ; (it may span several lines).
  \\d           the tables and their columns
  \\d TABLE     the columns of one table
  \\x           show each row as a list of its columns, or no longer
  \\r           discard the query that has been begun; Ctrl-C does so as well
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

/// The prompt between two lines.
struct Prompt<'a> {
    asked: &'a Asked,
    format: AnswerFormat,
    /// Each row is shown as a list of its columns.
    is_expanded: bool,
    /// The lines of a query that has no end yet.
    query: String,
}

/// Whether the prompt goes on.
enum Next {
    GoOn,
    Quit,
}

/// Prompts until the user quits. A query ends with a semicolon and may have several lines.
pub(super) async fn run(asked: &Asked, format: AnswerFormat) -> Outcome {
    note("end a query with ; (it may span several lines). \\d lists the tables, \\? shows help, \\q quits");
    let lines = Lines::start();
    let mut prompt = Prompt { asked, format, is_expanded: false, query: String::new() };
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
            (_, "\\x") => {
                self.is_expanded = !self.is_expanded;
                note(if self.is_expanded { "rows are shown as lists of columns" } else { "rows are shown as a table" });
            }
            (true, "") => {}
            (_, command) if command.starts_with('\\') => self.command(command).await?,
            _ => {
                self.query.push_str(line);
                self.query.push('\n');
                if line.trim_end().ends_with(';') {
                    lines.remember(&self.query);
                    let query = std::mem::take(&mut self.query);
                    self.show(query.trim().trim_end_matches(';')).await?;
                }
            }
        }
        Ok(Next::GoOn)
    }

    async fn command(&self, command: &str) -> Outcome {
        let (name, table) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let table = table.trim().trim_matches('"').to_ascii_lowercase();
        let order = "ORDER BY table_name, ordinal_position";
        match (name, table.as_str()) {
            ("\\d" | "\\dt", "") => {
                told(self.asked.write(&format!("{COLUMNS} {order}"), AnswerFormat::Table, &mut screen()).await)
            }
            ("\\d", table) => {
                let table = table.replace('\'', "''");
                let query = format!("{COLUMNS} AND table_name = '{table}' {order}");
                told(self.asked.write(&query, AnswerFormat::Table, &mut screen()).await)
            }
            _ => {
                note(format!("there is no command {}; \\? lists them", Stream::Note.shown_on_line(name)));
                Ok(())
            }
        }
    }

    async fn show(&self, query: &str) -> Outcome {
        if !self.is_expanded {
            return told(self.asked.write(query, self.format, &mut screen()).await);
        }
        // A result of any size: it is written before it is shown.
        let mut rows = tempfile::tempfile()?;
        match self.asked.write(query, AnswerFormat::Csv, &mut rows).await {
            Ok(()) => {
                rows.rewind()?;
                show_expanded(rows)
            }
            failed => told(failed),
        }
    }
}

fn screen() -> impl Write {
    Stream::Result.screen()
}

/// A failing query does not end the prompt.
fn told(outcome: Outcome) -> Outcome {
    match outcome {
        Err(failure) if matches!(failure.exit, Exit::Usage | Exit::Failed | Exit::Unavailable) => {
            report(&failure);
            Ok(())
        }
        outcome => outcome,
    }
}

/// Shows each row of a CSV file as a list of its columns.
fn show_expanded(rows: impl Read) -> Outcome {
    let mut rows = csv::Reader::from_reader(BufReader::new(rows));
    let unreadable = |error: csv::Error| Failure { exit: Exit::Failed, error: error.into() };
    let names: Vec<String> = rows.headers().map_err(unreadable)?.iter().map(str::to_owned).collect();
    let wide = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    let mut out = Stream::Result.screen();
    for (number, row) in rows.records().enumerate() {
        writeln!(out, "-[ row {} ]-", number + 1)?;
        for (name, value) in names.iter().zip(&row.map_err(unreadable)?) {
            let space = " ".repeat(wide - name.chars().count());
            writeln!(out, "{}{space} | {}", Stream::Result.shown_on_line(name), Stream::Result.shown(value))?;
        }
    }
    Ok(out.finish()?)
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
        // Without a thread there is no next line either, which says so.
        let _ = self.0.send(Request::Remember(query.trim().to_owned()));
    }
}

fn serve(requests: &mpsc::Receiver<Request>) {
    let mut editor = DefaultEditor::new();
    let history = history_file();
    if let (Ok(editor), Some(file)) = (&mut editor, &history) {
        // There is none before the first time.
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
                    // A history that cannot be kept is no reason to stop asking.
                    let _ = file.parent().map(std::fs::create_dir_all);
                    let _ = editor.save_history(file);
                }
            }
            (Request::Remember(_), Err(_)) => {}
        }
    }
}

/// Where queries are remembered: `runlog/sql_history` in the folder for the state of programs.
fn history_file() -> Option<PathBuf> {
    let state = environment("XDG_STATE_HOME").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let state = state.or_else(|| environment("HOME").map(|home| PathBuf::from(home).join(".local/state")));
    state.map(|state| state.join("runlog/sql_history"))
}
