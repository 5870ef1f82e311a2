//! The report of a plan execution as a document.

use runlog_model::wire::plans::{PlanLine, PlanPartView, PlanRunView, PlanView};

use super::phrases::{counted, text};
use crate::render::document::{Block, Document, Mark, Span, Tone, faint, plain, strong, toned};
use crate::render::preferences::shown_seconds;
use crate::render::terminal::duration;

/// Most runs of a step that are shown.
const RUNS_SHOWN: usize = 50;

/// The report of a plan execution.
pub(crate) fn document_of_plan(view: &PlanView) -> Document {
    let plan = &view.plan;
    let name = plan.plan_name.clone().unwrap_or_else(|| plan.plan_id.clone());
    let mut document = Document::new(format!("Plan {name}"));
    let workspace = view.workspace_name.as_ref().map(|name| format!("workspace {name}, "));
    document.line([faint(format!("{}plan execution {}", workspace.unwrap_or_default(), plan.execution_id))]);
    let mut head = vec![status(&plan.status), plain(format!(", started {}", shown_seconds(plan.start_timestamp)))];
    if let Some(end) = plan.finish_timestamp {
        head.push(plain(format!(", took {}", duration(end.millis_since(plan.start_timestamp)))));
    }
    if let Some((done, planned)) = plan.done.zip(plan.planned) {
        head.push(plain(format!(", {done} of {} ended", counted(planned, "planned run"))));
    }
    document.line(head);
    if let Some(reason) = &view.reason {
        document.line([toned(Tone::Bad, reason)]);
    }
    if !plan.is_reported {
        document.line([faint("derived from its runs, which do not show whether a further step follows")]);
    }
    if !view.steps.is_empty() {
        document.heading("Steps");
    }
    for (position, step) in view.steps.iter().enumerate() {
        let name = step.name.clone().or_else(|| step.part.id.clone()).unwrap_or_default();
        let mut lines = vec![(0, head_of(&format!("{}. {name}", position + 1), &step.part))];
        if let Some(because) = &step.not_started_because {
            lines.push((1, vec![faint(format!("not started: {because}"))]));
        }
        lines.extend(runs_of(&step.part));
        if let Some(handler) = &step.error_handler {
            lines.push((1, head_of("error handler", handler)));
            lines.extend(runs_of(handler).into_iter().map(|(depth, line)| (depth + 1, line)));
        }
        document.push(Block::List(lines));
    }
    if !view.other_runs.is_empty() {
        document.heading("Runs that no step names");
        document.push(Block::List(view.other_runs.iter().take(RUNS_SHOWN).map(|run| (0, line_of(run))).collect()));
    }
    put_earlier(&mut document, &view.earlier);
    document
}

fn put_earlier(document: &mut Document, earlier: &[PlanLine]) {
    if earlier.is_empty() {
        return;
    }
    document.heading("Earlier executions");
    let mark = |plan: &PlanLine| Mark {
        tone: tone_of(&plan.status),
        label: format!("{} {}", shown_seconds(plan.start_timestamp), plan.status),
    };
    document.push(Block::Strip(earlier.iter().rev().map(mark).collect()));
    let row = |plan: &PlanLine| {
        let took = plan.finish_timestamp.map(|end| duration(end.millis_since(plan.start_timestamp)));
        vec![
            plain(shown_seconds(plan.start_timestamp)),
            status(&plan.status),
            plain(took.unwrap_or_default()),
            faint(&plan.execution_id),
        ]
    };
    document.table(&["started", "status", "took", "execution"], &[2], earlier.iter().map(row).collect());
}

fn head_of(name: &str, part: &PlanPartView) -> Vec<Span> {
    let (tone, word) = match part.outcome.as_str() {
        "succeeded" => (Tone::Good, "succeeded"),
        "failed" => (Tone::Bad, "failed"),
        "running" => (Tone::Plain, "running"),
        "not_started" => (Tone::Faint, "not started"),
        other => (Tone::Warning, part.execution_status.as_deref().unwrap_or(other)),
    };
    let mut line = vec![strong(name), plain("  "), toned(tone, word)];
    if let Some(start) = part.start_timestamp {
        line.push(plain(format!(", started {}", shown_seconds(start))));
        if let Some(end) = part.finish_timestamp {
            line.push(plain(format!(", took {}", duration(end.millis_since(start)))));
        }
    }
    if !part.plan_executions.is_empty() {
        line.push(faint(format!(", started {}", counted(part.plan_executions.len() as u64, "plan execution"))));
    }
    line
}

fn runs_of(part: &PlanPartView) -> Vec<(usize, Vec<Span>)> {
    let mut lines: Vec<_> = part.runs.iter().take(RUNS_SHOWN).map(|run| (1, line_of(run))).collect();
    if part.runs.len() > RUNS_SHOWN {
        lines.push((1, vec![faint(format!("and {} more; --json shows them", part.runs.len() - RUNS_SHOWN))]));
    }
    lines
}

fn line_of(run: &PlanRunView) -> Vec<Span> {
    let name = run.task_name.clone().or_else(|| run.task_id.map(|id| id.to_string())).unwrap_or_default();
    let mut line = vec![plain(name), plain(" "), status(&run.status), faint(format!("  run {}", run.run_id))];
    if !run.is_archived {
        line.push(faint(", not in this archive"));
    }
    if let Some(error) = &run.error_message {
        line.extend([plain(": "), text(error)]);
    }
    line
}

fn status(word: &str) -> Span {
    toned(tone_of(word), word.trim_start_matches("execution_"))
}

fn tone_of(status: &str) -> Tone {
    match status {
        "execution_successful" => Tone::Good,
        "execution_rejected" => Tone::Warning,
        "executing" | "dispatching" => Tone::Plain,
        _ => Tone::Bad,
    }
}
