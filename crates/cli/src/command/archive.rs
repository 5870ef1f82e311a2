//! `runlog archive`: statistics, verification, copies, retention and legal holds.
//!
//! These commands open the archive directly. They need no service, and are safe to run while one is running.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCompleter;
use runlog_model::wire::admin::AuditEntry;
use runlog_model::wire::retention::RetentionPreviewBody;
use runlog_model::{Clock, WorkspaceId};
use runlog_store::audit::AuditContext;
use runlog_store::maintenance::{LegalHold, Retention, VerifyProgress};
use runlog_store::{SecretUrl, Store, StoreSettings};
use serde_json::json;

use crate::arguments::archive::{OpenArgs, catalog, folder_without_archive, objects, open};
use crate::arguments::candidates;
use crate::arguments::names::{RunRef, WorkspaceRef};
use crate::arguments::number::{Size, between};
use crate::exit::{Exit, Failure, Outcome};
use crate::render::progress::Bar;
use crate::render::terminal::{
    BAD, GOOD, WARNING, bytes, count, counted, counted_are, note, result_json, result_line, styled, table,
};
use crate::system::SystemClock;

/// Maximum number of problems in text output.
const PROBLEMS_SHOWN: usize = 50;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlog archive stats
  runlog archive verify --repair --from /backup/runlog
  runlog archive copy --to-catalog postgres://runlog@db/runlog --to-objects s3://logs/runlog
  runlog archive retention sales --days 400 --dry-run
  runlog archive hold 6c0e5a34 --reason 'audit 2026, until the report is signed'
  runlog archive summarize")]
pub(crate) struct ArchiveArgs {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    archive: OpenArgs,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

/// A copy of the archive.
#[derive(Debug, Args)]
struct CopyArgs {
    /// Restore damaged objects and logs from a copy of the archive, made with `runlog archive copy`: its folder, for parts
    /// not given with --from-catalog and --from-objects
    #[arg(long, value_name = "FOLDER", requires = "repair")]
    from: Option<PathBuf>,
    /// PostgreSQL database with the catalog of the copy
    #[arg(long, env = "RUNLOG_FROM_CATALOG", hide_env_values = true, value_name = "URL", value_parser = catalog)]
    from_catalog: Option<SecretUrl>,
    /// Bucket with the objects of the copy
    #[arg(long, env = "RUNLOG_FROM_OBJECTS", hide_env_values = true, value_name = "URL", value_parser = objects)]
    from_objects: Option<SecretUrl>,
}

impl CopyArgs {
    /// Returns the location of the copy; `None` if no copy was given.
    fn settings(self) -> Option<StoreSettings> {
        let is_named = self.from.is_some() || self.from_catalog.is_some() || self.from_objects.is_some();
        let folder = self.from.unwrap_or_else(|| PathBuf::from("runlog-data"));
        is_named.then(|| StoreSettings {
            catalog: self.from_catalog,
            objects: self.from_objects,
            ..StoreSettings::in_folder(folder)
        })
    }
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the contents of each workspace, and how the objects are stored
    Stats,
    /// Read, hash and count everything, and fail if anything is missing or damaged
    Verify {
        /// Remove orphaned objects, restore records that the catalog lost, mark damaged log files to be rebuilt, and
        /// recount severities
        #[arg(long)]
        repair: bool,
        #[command(flatten)]
        from: CopyArgs,
    },
    /// Copy the archive to another location; a repeated copy resumes and adds what is new
    Copy {
        /// Folder to copy to, for parts not given with --to-catalog and --to-objects
        #[arg(long, value_name = "FOLDER", required_unless_present_all = ["to_catalog", "to_objects"])]
        to_data: Option<PathBuf>,
        /// PostgreSQL database to copy the catalog to
        #[arg(long, env = "RUNLOG_TO_CATALOG", hide_env_values = true, value_name = "URL", value_parser = catalog)]
        to_catalog: Option<runlog_store::SecretUrl>,
        /// Bucket to copy the objects to
        #[arg(long, env = "RUNLOG_TO_OBJECTS", hide_env_values = true, value_name = "URL", value_parser = objects)]
        to_objects: Option<runlog_store::SecretUrl>,
        /// Skip the verification of the copy
        #[arg(long)]
        no_verify: bool,
    },
    /// Set how long the logs of a workspace are kept; without an option, show it
    Retention {
        /// The workspace: its ID or name
        #[arg(add = ArgValueCompleter::new(candidates::workspaces))]
        workspace: WorkspaceRef,
        /// Keep logs for this many days after the end of the run
        #[arg(long, value_name = "DAYS", value_parser = between(1_u64, 36_500))]
        days: Option<u64>,
        /// Maximum size of the logs, such as 500MiB or 5GB; the oldest are deleted first
        #[arg(long, value_name = "SIZE")]
        bytes: Option<Size>,
        /// Keep logs without a limit
        #[arg(long, conflicts_with_all = ["days", "bytes"])]
        forever: bool,
        /// Confirm that logs are deleted; required if the new retention would delete existing logs
        #[arg(long)]
        yes: bool,
        /// Show which logs would be deleted, and change nothing
        #[arg(long, conflicts_with = "yes")]
        dry_run: bool,
    },
    /// Put a run under legal hold, which prevents the deletion of its log
    Hold {
        /// The run: its ID, or the first digits of it
        run: RunRef,
        /// Reason, shown with the hold; up to 500 characters
        #[arg(long, value_name = "TEXT", conflicts_with = "release")]
        reason: Option<String>,
        /// Release the hold
        #[arg(long)]
        release: bool,
    },
    /// Delete the log of a run; it cannot be restored
    Delete {
        /// The run: its ID, or the first digits of it
        run: RunRef,
        /// Confirm the deletion; without it, only what would be deleted is shown
        #[arg(long)]
        yes: bool,
    },
    /// Seal the logs that are due, and create missing summaries; a service does this in the background
    Summarize {
        /// Seal logs for lakehouses, as `runlog serve --iceberg` does
        #[arg(long, env = "RUNLOG_ICEBERG")]
        iceberg: bool,
    },
    /// Seal logs again whose files may contain runs of several workspaces, so that lakehouses can read them
    Reseal,
    /// Delete expired logs and orphaned objects now; a service does this every ten minutes
    Sweep {
        /// Show which logs have expired, and delete nothing; orphaned objects are not counted
        #[arg(long)]
        dry_run: bool,
    },
}

pub(crate) async fn run(args: ArchiveArgs) -> Outcome {
    let is_for_lakehouses = matches!(args.action, Action::Reseal | Action::Summarize { iceberg: true });
    let store = args.archive.open_with(|settings| settings.lake = is_for_lakehouses).await?;
    let outcome = act(&store, &args.archive.settings(), args.action, args.json).await;
    store.close().await;
    outcome
}

async fn reseal(store: &Store, as_json: bool) -> Outcome {
    let maintenance = store.maintenance();
    let bar = Bar::telling();
    let (mut after, mut files, mut runs) = (String::new(), 0, 0);
    loop {
        let before = files;
        files += maintenance.seal_for_tables(&mut after).await?;
        loop {
            bar.set_text(format!("sealing: {}", counted(runs, "run")));
            match maintenance.seal().await?.runs {
                0 => break,
                sealed => runs += sealed,
            }
        }
        if files == before {
            break;
        }
    }
    drop(bar);
    let left = maintenance.files_omitted_from_tables().await?;
    let json = json!({ "files": files, "runsSealed": runs, "filesLeft": left.files, "recordsLeft": left.records });
    let mut said = format!("sealed {} of {} again", counted(runs, "run"), counted(files, "file"));
    if left.files > 0 {
        let why = "a service was sealing them, or something of them is damaged: `runlog doctor` shows details; then run this again";
        said = format!("{said}; {} left: {why}", counted(left.files, "file"));
    }
    shown(as_json, json, said)
}

async fn act(store: &Store, of: &StoreSettings, action: Action, as_json: bool) -> Outcome {
    match action {
        Action::Stats => stats(store, as_json).await,
        Action::Verify { repair, from } => match from.settings().filter(|_| repair) {
            None => verify(store, repair, None, as_json).await,
            Some(copy) => repair_from(store, of, copy, as_json).await,
        },
        Action::Copy { to_data, to_catalog, to_objects, no_verify } => {
            let folder = to_data.unwrap_or_else(|| PathBuf::from("runlog-data"));
            let settings =
                StoreSettings { catalog: to_catalog, objects: to_objects, ..StoreSettings::in_folder(folder) };
            refuse_same_place(of, &settings)?;
            copy(store, settings, no_verify, as_json).await
        }
        Action::Retention { workspace, days, bytes, forever, yes, dry_run } => {
            let workspace = workspace.resolve_in(store).await?;
            let new = Retention { days, bytes: bytes.map(|size| size.0) };
            let is_change = forever || days.is_some() || bytes.is_some();
            if !is_change && dry_run {
                let now = store.maintenance().retention(workspace).await?;
                let preview = store.maintenance().preview_retention(workspace, now).await?;
                return shown(as_json, json!({ "workspace": workspace, "preview": preview }), would_delete(&preview));
            }
            if is_change {
                let preview = store.maintenance().preview_retention(workspace, new).await?;
                if dry_run {
                    return shown(
                        as_json,
                        json!({ "workspace": workspace, "preview": preview }),
                        would_delete(&preview),
                    );
                }
                if preview.runs > 0 && !yes {
                    let message = format!(
                        "this retention {}; nothing was changed: add --yes to confirm, or --dry-run to only look",
                        would_delete(&preview)
                    );
                    return Err(Failure::new(Exit::Usage, message));
                }
                store.maintenance().set_retention(workspace, new).await?;
                if preview.runs > 0 {
                    note(format!("{}, within ten minutes if a service is running", would_delete(&preview)));
                }
            }
            retention(store, workspace, as_json).await
        }
        Action::Delete { run, yes } => delete(store, &run, yes, as_json).await,
        Action::Hold { run, reason, release } => {
            let run = run.resolve_in(store).await?;
            let hold = LegalHold { reason, by: "runlog archive hold".to_owned() };
            store.maintenance().set_legal_hold(run, (!release).then_some(&hold)).await?;
            let said = if release { "may be deleted again" } else { "is under legal hold and cannot be deleted" };
            shown(as_json, json!({ "run": run, "legalHold": !release }), format!("the log of run {run} {said}"))
        }
        Action::Reseal => reseal(store, as_json).await,
        Action::Summarize { .. } => {
            let bar = Bar::telling();
            let mut sealed = 0;
            loop {
                bar.set_text(format!("sealing: {}", counted(sealed, "run")));
                match store.maintenance().seal().await?.runs {
                    0 => break,
                    runs => sealed += runs,
                }
            }
            bar.set_text("summarising");
            let made = runlog_analysis::summarize_all(store.summaries(), store.logs()).await?;
            drop(bar);
            let json = json!({ "runsSealed": sealed, "summaries": made });
            let summaries = if made == 1 { "1 summary".to_owned() } else { format!("{} summaries", count(made)) };
            shown(as_json, json, format!("sealed {}, created {summaries}", counted(sealed, "run")))
        }
        Action::Sweep { dry_run: true } => preview_sweep(store, as_json).await,
        Action::Sweep { dry_run: false } => {
            let retired = store.maintenance().apply_retention().await?;
            let freed = store.maintenance().sweep().await?;
            let json = json!({ "runsRetired": retired.runs, "recordsRetired": retired.records, "bytesFreed": freed + retired.bytes });
            let text = format!(
                "deleted the logs of {} ({}, {}); removed {} of orphaned objects",
                counted(retired.runs, "run"),
                counted(retired.records, "record"),
                bytes(retired.bytes),
                bytes(freed)
            );
            shown(as_json, json, text)
        }
    }
}

fn shown(as_json: bool, json: serde_json::Value, text: String) -> Outcome {
    if as_json {
        result_json(&json)?
    } else {
        result_line(text)?
    }
    Ok(())
}

/// `would delete the logs of 19 runs (7,600 records, 3 MB) that ended between … and …`.
fn would_delete(preview: &RetentionPreviewBody) -> String {
    if preview.runs == 0 {
        return "would delete no log".to_owned();
    }
    let ended = preview.oldest.zip(preview.newest).map(|(oldest, newest)| {
        format!(" that ended between {} and {}", oldest.to_seconds_text(), newest.to_seconds_text())
    });
    let held = match preview.held_runs {
        0 => String::new(),
        runs => format!("; {} kept by a legal hold", counted_are(runs, "run")),
    };
    format!(
        "would delete the {} of {} ({}, {}){}{held}",
        if preview.runs == 1 { "log" } else { "logs" },
        counted(preview.runs, "run"),
        counted(preview.records, "record"),
        bytes(preview.bytes),
        ended.unwrap_or_default()
    )
}

/// Shows which logs the next sweep would delete.
async fn preview_sweep(store: &Store, as_json: bool) -> Outcome {
    let (mut previews, mut lines) = (Vec::new(), Vec::new());
    for of in store.maintenance().retentions().await? {
        let retention = Retention { days: of.days, bytes: of.bytes_max };
        if retention.days.is_none() && retention.bytes.is_none() {
            continue;
        }
        let preview = store.maintenance().preview_retention(of.workspace_id, retention).await?;
        lines.push(format!("workspace {}: {}", of.workspace_name, would_delete(&preview)));
        previews.push(json!({ "workspace": of.workspace_id, "preview": preview }));
    }
    if lines.is_empty() {
        lines.push("no workspace has a retention: would delete no log".to_owned());
    }
    shown(as_json, json!({ "workspaces": previews }), lines.join("\n"))
}

/// Deletes the log of a run, with an audit entry.
async fn delete(store: &Store, run: &RunRef, yes: bool, as_json: bool) -> Outcome {
    let id = run.resolve_in(store).await?;
    let Some(brief) = store.runs().brief(id).await? else {
        return Err(Failure::new(Exit::NotFound, format!("there is no run {id} in this archive")));
    };
    let records = counted(brief.records, "record");
    if !yes {
        let message = format!("would delete the log of run {id} ({records}) for good; add --yes to confirm");
        return Err(Failure::new(Exit::Usage, message));
    }
    let audit_context = AuditContext::new(AuditEntry {
        at: SystemClock.now(),
        caller_id: "runlog".to_owned(),
        caller_name: "runlog archive delete".to_owned(),
        action: "delete log".to_owned(),
        subject: id.to_string(),
        status: 200,
        address: String::new(),
        request_id: String::new(),
    });
    let deleted = store.with_audit(audit_context).maintenance().delete_log(id).await?;
    let json = json!({ "run": id, "recordsDeleted": deleted.records });
    shown(as_json, json, format!("deleted the log of run {id} ({})", counted(deleted.records, "record")))
}

async fn stats(store: &Store, as_json: bool) -> Outcome {
    let statistics = store.maintenance().statistics().await?;
    if as_json {
        return Ok(result_json(&statistics)?);
    }
    let rows = statistics.workspaces.iter().map(|it| {
        let kept = match (it.retention_days, it.retention_bytes) {
            (None, None) => "forever".to_owned(),
            (Some(days), None) => counted(days, "day"),
            (None, Some(most)) => bytes(most),
            (Some(days), Some(most)) => format!("{}, {}", counted(days, "day"), bytes(most)),
        };
        let id = it.id.clone();
        vec![it.name.clone(), id, count(it.runs), count(it.records), bytes(it.bytes), count(it.runs_held), kept]
    });
    let head = ["workspace", "id", "runs", "records", "bytes", "held", "kept"];
    result_line(table(&head, &[2, 3, 4, 5], rows.collect()))?;
    let kinds = [
        ("sealed files", statistics.sealed),
        ("segments, not sealed yet", statistics.segments),
        ("replaced, kept for an hour", statistics.replaced),
    ];
    let rows = kinds.map(|(name, it)| vec![name.to_owned(), count(it.objects), bytes(it.bytes)]).to_vec();
    result_line(format!("\n{}", table(&["objects", "count", "bytes"], &[1, 2], rows)))?;
    if statistics.runs_to_seal > 0 {
        note(format!(
            "{} due for sealing, which `runlog serve` does in the background",
            counted_are(statistics.runs_to_seal, "run")
        ));
    }
    Ok(())
}

/// Verifies and repairs an archive with an existing copy of it.
async fn repair_from(store: &Store, of: &StoreSettings, copy: StoreSettings, as_json: bool) -> Outcome {
    refuse_same_place(of, &copy)?;
    if let Some(folder) = folder_without_archive(&copy) {
        return Err(Failure::new(Exit::Usage, format!("there is no copy in {}", folder.display())));
    }
    let copy = open(copy).await?;
    let outcome = verify(store, true, Some(&copy), as_json).await;
    copy.close().await;
    outcome
}

async fn verify(store: &Store, repair: bool, copy: Option<&Store>, as_json: bool) -> Outcome {
    let bar = Bar::telling();
    let tell = |progress| match progress {
        VerifyProgress::Objects(done) => bar.set_text(format!("hashing objects: {}", count(done))),
        VerifyProgress::Runs(done) => bar.set_text(format!("counting runs: {}", count(done))),
        VerifyProgress::Looked(done) => bar.set_text(format!("looking for orphans: {}", count(done))),
    };
    let verified = match copy {
        Some(copy) => store.maintenance().repair_from(copy.maintenance(), tell).await?,
        None => store.maintenance().verify(repair, tell).await?,
    };
    drop(bar);
    let left = verified.problems + verified.orphans - verified.repaired;
    if as_json {
        result_json(&json!({
            "objects": verified.objects, "bytes": verified.bytes, "runs": verified.runs, "records": verified.records,
            "pages": verified.pages, "orphans": verified.orphans, "orphanBytes": verified.orphan_bytes,
            "problems": verified.problems, "repaired": verified.repaired, "recordsRestored": verified.records_restored, "problemTexts": verified.problem_texts,
            "notes": verified.notes, "noteTexts": verified.note_texts,
        }))?;
    } else {
        result_line(format!(
            "{} ({}) hashed, {} with {} counted, {} checked",
            counted(verified.objects, "object"),
            bytes(verified.bytes),
            counted(verified.runs, "run"),
            counted(verified.records, "record"),
            counted(verified.pages, "log file")
        ))?;
        for problem in verified.problem_texts.iter().take(PROBLEMS_SHOWN) {
            result_line(format!("{} {problem}", styled(BAD, "problem:")))?;
        }
        let more = verified.problems.saturating_sub(PROBLEMS_SHOWN as u64);
        if more > 0 {
            result_line(format!("and {} more; --json shows up to a thousand", count(more)))?;
        }
        for text in verified.note_texts.iter().take(PROBLEMS_SHOWN) {
            result_line(format!("{} {text}", styled(WARNING, "note:")))?;
        }
        if verified.records_restored > 0 {
            result_line(format!("{} restored", counted(verified.records_restored, "record")))?;
        }
        if verified.orphans > 0 {
            let size = bytes(verified.orphan_bytes);
            result_line(format!("{} orphaned ({size})", counted_are(verified.orphans, "object")))?;
        }
    }
    match left {
        0 => {
            if !as_json {
                result_line(styled(GOOD, "no problems found"))?;
            }
            Ok(())
        }
        _ if repair => {
            let message = format!(
                "problems remaining: {}, repaired: {}; --from restores from a copy, and a collector or an engine can store a deleted log again",
                count(left),
                count(verified.repaired)
            );
            Err(Failure::new(Exit::Incomplete, message))
        }
        _ => Err(Failure::new(
            Exit::Incomplete,
            format!("{} found; --repair fixes what can be fixed", counted(left, "problem")),
        )),
    }
}

/// Fails if a copy would share its catalog or its objects with the original: the maintenance of one would remove
/// objects that only the other refers to.
fn refuse_same_place(from: &StoreSettings, to: &StoreSettings) -> Outcome {
    let folder = |settings: &StoreSettings| std::fs::canonicalize(&settings.data_folder).ok();
    let is_same_folder = folder(from).is_some() && folder(from) == folder(to);
    let is_same = |from: &Option<SecretUrl>, to: &Option<SecretUrl>| match (from, to) {
        (None, None) => is_same_folder,
        (Some(from), Some(to)) => from.is_same_location(to),
        _ => false,
    };
    let shared = match (is_same(&from.catalog, &to.catalog), is_same(&from.objects, &to.objects)) {
        (true, true) => "that is the archive itself",
        (true, false) => "its catalog is the one of the archive itself",
        (false, true) => "its objects are those of the archive itself",
        (false, false) => return Ok(()),
    };
    Err(Failure::new(
        Exit::Usage,
        format!("{} cannot be a copy of the archive: {shared}; choose another place", to.location()),
    ))
}

async fn copy(store: &Store, settings: StoreSettings, no_verify: bool, as_json: bool) -> Outcome {
    let place = settings.location();
    let target = open(settings).await?;
    let bar = Bar::telling();
    let copied = store
        .maintenance()
        .copy_to(target.maintenance(), |progress| {
            let done = progress.copied.runs + progress.copied.runs_before;
            let size = bytes(progress.copied.bytes);
            bar.set_text(format!("copying: {} of {}, {size}", count(done), counted(progress.runs_total, "run")));
        })
        .await?;
    drop(bar);
    let json = json!({
        "objects": copied.objects, "bytes": copied.bytes, "runs": copied.runs, "records": copied.records,
        "runsBefore": copied.runs_before, "runsDamaged": copied.runs_damaged, "damage": copied.damage,
    });
    let text = format!(
        "copied {} with {} in {} ({}) to {place}; copied before: {}",
        counted(copied.runs, "run"),
        counted(copied.records, "record"),
        counted(copied.objects, "object"),
        bytes(copied.bytes),
        counted(copied.runs_before, "run")
    );
    shown(as_json, json, text)?;
    if !as_json {
        for damage in copied.damage.iter().take(PROBLEMS_SHOWN) {
            result_line(format!("{} {damage}", styled(BAD, "not copied:")))?;
        }
    }
    let verified = if no_verify { Ok(()) } else { verify(&target, false, None, as_json).await };
    target.close().await;
    if copied.runs_damaged > 0 {
        let message = format!(
            "{} could not be copied, because a part of their logs is damaged or lost; everything else was. Restore the objects \
             from a backup, or delete these logs, and copy again",
            counted(copied.runs_damaged, "run")
        );
        return Err(Failure::new(Exit::Incomplete, message));
    }
    verified
}

async fn retention(store: &Store, workspace: WorkspaceId, as_json: bool) -> Outcome {
    let retention = store.maintenance().retention(workspace).await?;
    let text = match (retention.days, retention.bytes) {
        (None, None) => "are kept forever".to_owned(),
        (Some(days), None) => format!("are deleted {} after the end of the run", counted(days, "day")),
        (None, Some(most)) => format!("are kept up to {}; beyond that, the oldest are deleted", bytes(most)),
        (Some(days), Some(most)) => {
            let days = counted(days, "day");
            format!("are deleted {days} after the end of the run, and the oldest first beyond {}", bytes(most))
        }
    };
    let json = json!({ "workspace": workspace, "days": retention.days, "bytes": retention.bytes });
    shown(as_json, json, format!("logs of workspace {workspace} {text}"))
}
