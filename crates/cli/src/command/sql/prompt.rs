//! Questions one after another, with a history.

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

/// Shows the tables and their columns.
const TABLES: &str = "SELECT table_name, column_name, data_type FROM information_schema.columns \
     WHERE table_schema = 'archive' ORDER BY table_name, ordinal_position";

/// Prompts until the user quits. A query ends with a semicolon and may have several lines.
pub(super) async fn run(asked: &Asked, format: AnswerFormat) -> Outcome {
    note("end a query with ; (it may span several lines). \\d lists the tables, \\q quits");
    let lines = Lines::start();
    let mut query = String::new();
    while let Some(line) = lines.next(if query.is_empty() { "runlog> " } else { "   ...> " }).await? {
        match (query.is_empty(), line.trim().trim_end_matches(';')) {
            (_, "\u{3}") => query.clear(),
            (true, "") => {}
            (true, "\\q" | "exit" | "quit") => break,
            (true, "\\d") => show(asked, TABLES, AnswerFormat::Table).await?,
            _ => {
                query.push_str(&line);
                query.push('\n');
                if line.trim_end().ends_with(';') {
                    lines.remember(&query);
                    show(asked, query.trim().trim_end_matches(';'), format).await?;
                    query.clear();
                }
            }
        }
    }
    Ok(())
}

/// Runs one query; a failing one does not end the prompt.
async fn show(asked: &Asked, query: &str, format: AnswerFormat) -> Outcome {
    match asked.write(query, format, &mut Stream::Result.screen()).await {
        Err(failure) if matches!(failure.exit, Exit::Usage | Exit::Failed | Exit::Unavailable) => {
            report(&failure);
            Ok(())
        }
        outcome => outcome,
    }
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
