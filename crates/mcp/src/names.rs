//! Tasks and workspaces by ID or name, and times.

use runlog_model::wire::executions::ListPage;
use runlog_model::wire::workspaces::{TaskItem, WorkspaceBody};
use runlog_model::{RunId, TaskId, Timestamp, WorkspaceId};

use crate::answer::one_line;
use crate::api::{Api, Question, Refusal, RefusalKind};
use crate::context::Context;

/// Maximum number of candidates in a message.
const CANDIDATES_MAX: usize = 10;

/// Maximum number of parts of the name of a task: its environment and workspace, and what is between the slashes of it.
const NAME_PARTS_MAX: usize = 12;

/// The ID of a run.
pub(crate) fn run(text: &str) -> Result<RunId, Refusal> {
    text.trim().parse().map_err(|_| {
        Refusal::invalid(format!("{:?} is not the ID of a run (a UUID); find_runs lists IDs", one_line(text, 80)))
    })
}

/// The ID of a task that is given by its ID or by its name, such as `sales/nightly-orders`.
pub(crate) async fn task<A: Api>(context: &Context<'_, A>, text: &str) -> Result<TaskId, Refusal> {
    if let Ok(id) = text.trim().parse() {
        return Ok(id);
    }
    // Each part is a request.
    if text.matches('/').count() >= NAME_PARTS_MAX {
        let shown = one_line(text, 80);
        return Err(Refusal::invalid(format!(
            "{shown:?} has more than {NAME_PARTS_MAX} parts; give the ID of the task"
        )));
    }
    // Services filter by the beginning of the name, which may contain the separator as well.
    let ends = std::iter::once(0).chain(text.match_indices('/').map(|(at, _)| at + 1));
    let mut found: Vec<(TaskId, String)> = Vec::new();
    for name in ends.map(|begin| &text[begin..]).filter(|name| !name.is_empty()) {
        let query = vec![("name", name.to_owned()), ("limit", "100".to_owned())];
        let question = Question::get(&["orchestration", "executables", "tasks"], query);
        let list: ListPage<TaskItem> = context.json(question).await?;
        let named = list.items.into_iter().map(|task| {
            let place = &task.workspace;
            (task.executable, format!("{}/{}/{}", place.environment.name, place.name, task.name))
        });
        found.extend(named.filter(|(_, path)| is_named(text, path)));
    }
    found.sort();
    found.dedup();
    the_one("task", text, found)
}

/// The ID of a workspace that is given by its ID or name.
pub(crate) async fn workspace<A: Api>(context: &Context<'_, A>, text: &str) -> Result<WorkspaceId, Refusal> {
    if let Ok(id) = text.trim().parse() {
        return Ok(id);
    }
    let places: Vec<WorkspaceBody> = context.json(Question::get(&["orchestration", "workspaces"], Vec::new())).await?;
    let named = places.into_iter().map(|place| (place.id, format!("{}/{}", place.environment.name, place.name)));
    the_one("workspace", text, named.filter(|(_, path)| is_named(text, path)).collect())
}

/// A time in RFC 3339.
pub(crate) fn time(name: &str, text: &str) -> Result<Timestamp, Refusal> {
    text.trim().parse().map_err(|_| {
        Refusal::invalid(format!("{name} is {:?}; give a time such as 2026-11-30T06:00:00Z", one_line(text, 40)))
    })
}

/// True when a text is the last names of a path, in any case.
fn is_named(text: &str, path: &str) -> bool {
    let (text, path) = (text.trim().to_lowercase(), path.to_lowercase());
    !text.is_empty() && (path == text || path.ends_with(&format!("/{text}")))
}

fn the_one<I: Copy + std::fmt::Display>(what: &str, text: &str, found: Vec<(I, String)>) -> Result<I, Refusal> {
    let shown = one_line(text, 80);
    match found.as_slice() {
        [(id, _)] => Ok(*id),
        [] => {
            let message = format!("no {what} that you may view has the ID or name {shown:?}");
            Err(Refusal::new(RefusalKind::NotFound, message))
        }
        _ => {
            let candidates = found.iter().take(CANDIDATES_MAX);
            let candidates: Vec<String> =
                candidates.map(|(id, path)| format!("{id} ({:?})", one_line(path, 80))).collect();
            let more = if found.len() > CANDIDATES_MAX { ", …" } else { "" };
            let list = candidates.join(", ");
            Err(Refusal::invalid(format!("several {what}s are named {shown:?}; give one of these IDs: {list}{more}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_named_by_the_end_of_its_path() {
        for text in ["Orders", "sales/orders", "production/sales/orders", " orders "] {
            assert!(is_named(text, "production/sales/orders"), "{text}");
        }
        for text in ["rders", "", "sales", "s/orders"] {
            assert!(!is_named(text, "production/sales/orders"), "{text}");
        }
    }
}
