//! The target of queries, an archive or a service, and its results.

use std::io::Write;

use bytes::Bytes;
use futures::StreamExt;
use runlog_client::Client;
use runlog_model::wire::sql::SqlQuestion;
use runlog_sql::{AnswerFormat, Readable, SqlEngine, SqlError, SqlErrorKind, SqlPosition};
use runlog_store::Store;

use crate::exit::{Exit, Failure, Outcome};
use crate::render::result_table::{Expanded, ResultTable};
use crate::render::screen::Stream;
use crate::render::window;

/// The target of queries.
pub(super) enum QueryTarget {
    Archive { store: Store, engine: Box<SqlEngine> },
    Service(Client),
}

impl QueryTarget {
    /// Sends the query and writes the result as it arrives.
    pub(super) async fn write(&self, query: &str, format: AnswerFormat, out: &mut (impl Write + Send)) -> Outcome {
        match self {
            Self::Archive { engine, .. } => {
                let answer = engine.ask(query, whole_archive()).await.map_err(failure)?;
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

    /// Sends the query and shows the result; on a terminal, tables fit its width.
    pub(super) async fn show(&self, query: &str, format: AnswerFormat, expanded: Expanded) -> Outcome {
        let mut out = Stream::Result.screen();
        if expanded != Expanded::On && (format != AnswerFormat::Table || !Stream::Result.is_terminal()) {
            return self.write(query, format, &mut out).await;
        }
        let mut table = ResultTable::new(out, expanded, window::columns());
        self.write(query, AnswerFormat::Csv, &mut table).await?;
        Ok(table.finish()?)
    }

    pub(super) async fn close(&self) {
        if let Self::Archive { store, .. } = self {
            store.close().await;
        }
    }
}

/// A user who can open the files of an archive may read all of it.
fn whole_archive() -> Readable {
    Readable { workspaces: None, has_tenant_audit_logs: true }
}

fn put(out: &mut impl Write, part: &Bytes) -> std::io::Result<()> {
    out.write_all(part)
}

pub(super) fn failure(error: SqlError) -> Failure {
    let exit = match error.kind() {
        SqlErrorKind::Invalid => Exit::Usage,
        SqlErrorKind::Busy => Exit::Unavailable,
        SqlErrorKind::Archive(runlog_store::ErrorKind::Unavailable | runlog_store::ErrorKind::Busy) => {
            Exit::Unavailable
        }
        _ => Exit::Failed,
    };
    let shown = match error.position() {
        Some(position) => marked_line(position),
        None => error.advice().map(|advice| format!("; {advice}")).unwrap_or_default(),
    };
    Failure { exit, error: anyhow::Error::from(error) }.with_text_after(&shown)
}

/// The line of the query, and a mark below the position.
fn marked_line(position: &SqlPosition) -> String {
    let number = position.line.to_string();
    let before: String = position.text.chars().take(position.column.saturating_sub(1)).collect();
    let gap: String = before.chars().map(|letter| if letter == '\t' { '\t' } else { ' ' }).collect();
    let width = number.len();
    format!("\n{number} | {}\n{:width$} | {gap}^", position.text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marker_is_below_the_position_of_the_error() {
        let position = SqlPosition { line: 2, column: 8, text: "SELECT mesage FROM records".to_owned() };
        assert_eq!(marked_line(&position), "\n2 | SELECT mesage FROM records\n  |        ^");
    }
}
