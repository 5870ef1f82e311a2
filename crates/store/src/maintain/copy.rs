//! Copies an archive to another archive, for example from one machine to PostgreSQL and a bucket, or back.
//!
//! For each run, the objects are copied under the same keys and verified by their hashes, and then the rows that refer
//! to them are copied in one transaction. An interrupted copy continues where it stopped, and a repeated copy adds new
//! data.

use std::collections::{BTreeSet, HashMap};

use az::SaturatingAs;
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use runlog_model::hex;
use sha2::{Digest, Sha256};
use sqlx::any::{AnyRow, AnyTypeInfoKind};
use sqlx::{AssertSqlSafe, Column, Row, TypeInfo, ValueRef};
use tokio::io::AsyncWriteExt;
use tracing::warn;

use crate::catalog::sql::{Connection, Sql};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::changes;
use crate::limits;
use crate::maintain::maintenance::Maintenance;
use crate::maintain::seal::commit::free_segments;
use crate::objects::intents;
use crate::objects::read_error::read_error;
use crate::tables::audit::{DELETE_ENVIRONMENT, DELETE_USER};
use crate::tables::{component_metrics, problems, reported_plans};

/// Columns of a run that describe work in progress, and are specific to each archive.
const OF_NO_OTHER_ARCHIVE: [&str; 5] =
    ["seal_claimed_until", "seal_claimed_by", "seal_failures", "seal_problem", "summarize_claimed_until"];

/// Tables that are copied unchanged, with their key columns, which contain text. Each table follows the tables that it
/// references.
const TABLES: [(&str, &[&str]); 10] = [
    ("environments", &["id"]),
    ("workspaces", &["id"]),
    ("tasks", &["id"]),
    ("users", &["id"]),
    ("identities", &["issuer", "subject"]),
    ("tokens", &["id"]),
    ("service_accounts", &["id"]),
    ("rights", &["workspace_id", "caller_kind", "caller_id"]),
    ("keys", &["id"]),
    ("saved_queries", &["caller_kind", "caller_id", "name"]),
];

/// Tables whose deleted rows are also deleted from the copy: a revoked right, token or key must not survive there.
const REVOKED: [&str; 6] = ["identities", "tokens", "service_accounts", "rights", "keys", "saved_queries"];

/// Tables whose rows are deleted from the copy after everything that may refer to them.
const DELETED: [&str; 4] = ["users", "tasks", "workspaces", "environments"];

/// Tables with unique names. In an earlier copy, a name may belong to another row.
const NAMED: [&str; 4] = ["environments", "workspaces", "users", "service_accounts"];

/// Tables that are copied after the runs, with their key columns. The rows of sinks and alerts record what has been
/// delivered, so that nothing is sent again.
const TABLES_OF_RUNS: [(&str, &[&str]); 12] = [
    ("collected_windows", &["upstream"]),
    ("collected_runs", &["upstream", "run_id"]),
    ("plans", &["plan_id"]),
    ("collected_plans", &["upstream", "execution_id"]),
    ("collected_audit_logs", &["upstream"]),
    ("tenant_audit_deliveries", &["sink"]),
    ("tenant_audit_dead_letters", &["sink", "log_id"]),
    ("sinks", &["name"]),
    ("alert_rules", &["rule"]),
    ("alerts", &["rule", "destination", "occurrence"]),
    ("alert_states", &["rule", "subject", "member"]),
    ("sinks_behind", &["rule", "sink"]),
];

/// Tables of deliveries, and the statements that delete rows of the target whose sinks no longer exist.
const DELIVERED: [(&str, &str); 2] = [
    ("deliveries", "DELETE FROM deliveries WHERE sink NOT IN (SELECT name FROM sinks)"),
    ("dead_letters", "DELETE FROM dead_letters"),
];

/// The result of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CopyReport {
    /// Number of objects copied.
    pub objects: u64,
    /// Number of bytes of these objects.
    pub bytes: u64,
    /// Number of runs copied.
    pub runs: u64,
    /// Number of records of these runs.
    pub records: u64,
    /// Number of runs that already existed unchanged in the target.
    pub runs_before: u64,
    /// Number of runs that were skipped because a part of their logs is damaged or lost. The target keeps the state of
    /// an earlier copy, if there is one.
    pub runs_damaged: u64,
    /// The first of these runs with a description of the damage, one line for each run.
    pub damage: Vec<String>,
}

/// The progress of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyProgress<'c> {
    /// The data copied so far.
    pub copied: &'c CopyReport,
    /// Number of runs of the source.
    pub runs_total: u64,
}

impl Maintenance {
    /// Copies everything to another archive except page files, which are rebuilt on demand. Runs with damaged or lost
    /// logs are skipped and listed in the result.
    ///
    /// `Conflict`: the target contains data that this archive does not contain.
    pub async fn copy_to(
        &self,
        target: &Self,
        mut progress: impl FnMut(CopyProgress<'_>) + Send,
    ) -> Result<CopyReport> {
        self.check_target(target).await?;
        for table in NAMED {
            self.free_names_at(target, table).await?;
        }
        for (table, key) in TABLES {
            self.copy_table(target, table, key).await?;
            if REVOKED.contains(&table) {
                self.revoke_at(target, table, key).await?;
            }
        }
        for table in DELETED {
            if table == "workspaces" {
                for row in self.missing_at_source(target, table, &["id"]).await? {
                    let of_plans = "execution_id IN (SELECT execution_id FROM reported_plans WHERE workspace_id = $1)";
                    for rows in [
                        "workspace_problems WHERE workspace_id = $1".to_owned(),
                        format!("reported_step_runs WHERE {of_plans}"),
                        format!("reported_steps WHERE {of_plans}"),
                        "reported_plans WHERE workspace_id = $1".to_owned(),
                        "plans WHERE workspace_id = $1".to_owned(),
                    ] {
                        sqlx::query(AssertSqlSafe(format!("DELETE FROM {rows}")))
                            .bind(row.concat())
                            .execute(target.core.catalog().write())
                            .await?;
                    }
                    target
                        .core
                        .transact(|transaction| async {
                            let mut transaction = transaction;
                            let now = target.core.now().as_millis();
                            changes::remove_tables(&mut transaction, &row.concat(), now).await?;
                            transaction.commit().await
                        })
                        .await?;
                }
            }
            self.revoke_at(target, table, &["id"]).await?;
        }
        target.reset_views().await?;
        let runs_total: i64 = self.count_rows("runs").await?;
        let (mut copied, mut damaged) = (CopyReport::default(), HashMap::new());
        let mut after = String::new();
        loop {
            let ids: Vec<String> = sqlx::query_scalar("SELECT id FROM runs WHERE id > $1 ORDER BY id LIMIT 500")
                .bind(&after)
                .fetch_all(self.core.catalog().read())
                .await?;
            let Some(last) = ids.last() else { break };
            after.clone_from(last);
            for id in ids {
                self.copy_run(target, &id, &mut copied, &mut damaged).await?;
                progress(CopyProgress { copied: &copied, runs_total: runs_total.saturating_as::<u64>() });
            }
        }
        self.copy_components(target).await?;
        self.copy_plans(target).await?;
        self.copy_tenant_audit_logs(target).await?;
        for (table, key) in TABLES_OF_RUNS {
            self.copy_table(target, table, key).await?;
        }
        // This follows the copy of the deliveries: a new entry in the target must not get a number that a delivery has
        // already passed.
        let next = self.next_sequence().await?;
        sqlx::query("UPDATE tenant_audit_sequence SET next = $1 WHERE name = 'entries' AND next < $1")
            .bind(next)
            .execute(target.core.catalog().write())
            .await?;
        self.copy_problem_states(target).await?;
        // Deletes entries whose retention has ended in the source.
        self.expire_audit_logs_at(target).await?;
        self.revoke_at(target, "tenant_audit_deliveries", &["sink"]).await?;
        self.revoke_at(target, "tenant_audit_dead_letters", &["sink", "log_id"]).await?;
        self.revoke_at(target, "sinks", &["name"]).await?;
        self.revoke_at(target, "sinks_behind", &["rule", "sink"]).await?;
        for (table, clearing) in DELIVERED {
            sqlx::query(clearing).execute(target.core.catalog().write()).await?;
            self.copy_delivered(target, table).await?;
        }
        self.copy_audit(target).await?;
        Ok(copied)
    }

    async fn count_rows(&self, table: &str) -> Result<i64> {
        let counting = AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
        Ok(sqlx::query_scalar(counting).fetch_one(self.core.catalog().read()).await?)
    }

    /// Fails with `Conflict` if the target has users or environments that never existed in this archive.
    async fn check_target(&self, target: &Self) -> Result<()> {
        for (table, deletion) in [("environments", DELETE_ENVIRONMENT), ("users", DELETE_USER)] {
            for row in self.missing_at_source(target, table, &["id"]).await? {
                let deleted: i64 = sqlx::query_scalar(
                    "SELECT COUNT(*) FROM audit WHERE action = $1 AND status < 300 AND subject LIKE $2",
                )
                .bind(deletion)
                .bind(format!("{} %", row.concat()))
                .fetch_one(self.core.catalog().read())
                .await?;
                if deleted == 0 {
                    let message = format!(
                        "the target has {table} that the source does not have: copy to a new archive, or to an earlier \
                         copy"
                    );
                    return Err(Error::conflict(message));
                }
            }
        }
        Ok(())
    }

    /// Renames rows of the target to their IDs if they have another name in this archive or do not exist in it, so that
    /// names can be swapped and reused.
    async fn free_names_at(&self, target: &Self, table: &str) -> Result<()> {
        let listing = format!("SELECT id, name FROM {table}");
        let names = async |maintenance: &Self| -> Result<BTreeSet<(String, String)>> {
            let rows: Vec<(String, String)> =
                sqlx::query_as(AssertSqlSafe(listing.clone())).fetch_all(maintenance.core.catalog().read()).await?;
            Ok(rows.into_iter().collect())
        };
        let (here, there) = (names(self).await?, names(target).await?);
        for (id, _) in there.difference(&here) {
            sqlx::query(AssertSqlSafe(format!("UPDATE {table} SET name = id WHERE id = $1")))
                .bind(id)
                .execute(target.core.catalog().write())
                .await?;
        }
        Ok(())
    }

    async fn copy_table(&self, target: &Self, table: &str, key: &[&str]) -> Result<()> {
        let names = key.join(", ");
        let mut after: Vec<String> = vec![String::new(); key.len()];
        loop {
            let mut listing = Sql::new(format!("SELECT * FROM {table} WHERE ({names}) > ("));
            listing.push_list(after.iter().cloned()).push(format!(") ORDER BY {names} LIMIT 500"));
            let rows = listing.build_query().fetch_all(self.core.catalog().read()).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = key.iter().map(|column| last.try_get(*column)).collect::<Result<_, _>>()?;
            target
                .core
                .transact(|transaction| async {
                    let mut transaction = transaction;
                    for row in &rows {
                        insert(&mut transaction, table, row, key, true).await?;
                    }
                    transaction.commit().await
                })
                .await?;
        }
    }

    /// Copies the component metrics of the runs that exist in the target, and deletes metrics that no longer exist in
    /// this archive.
    async fn copy_components(&self, target: &Self) -> Result<()> {
        let listing = "SELECT run_id, sha256 FROM component_runs WHERE run_id > $1 ORDER BY run_id LIMIT 500";
        for (from, is_removing) in [(self, false), (target, true)] {
            let other = if is_removing { self } else { target };
            let mut after = String::new();
            loop {
                let runs: Vec<(String, String)> =
                    sqlx::query_as(listing).bind(&after).fetch_all(from.core.catalog().read()).await?;
                let Some((last, _)) = runs.last() else { break };
                after.clone_from(last);
                let mut knowing = Sql::new("SELECT run_id, sha256 FROM component_runs WHERE run_id IN (");
                knowing.push_list(runs.iter().map(|(run, _)| run.clone())).push(")");
                let known: Vec<(String, String)> =
                    knowing.build_query_as().fetch_all(other.core.catalog().read()).await?;
                let known: BTreeSet<(String, String)> = known.into_iter().collect();
                for run in runs.iter().filter(|run| !known.contains(run)) {
                    self.copy_components_of_run(target, &run.0).await?;
                }
            }
        }
        Ok(())
    }

    async fn copy_components_of_run(&self, target: &Self, id: &str) -> Result<()> {
        loop {
            let header = || async {
                let reading = sqlx::query("SELECT * FROM component_runs WHERE run_id = $1").bind(id.to_owned());
                reading.fetch_optional(self.core.catalog().read()).await
            };
            let digest = |row: &Option<AnyRow>| row.as_ref().map(|row| row.try_get::<String, _>("sha256")).transpose();
            let before = header().await?;
            let mut rows = Vec::new();
            for table in ["component_processes", "component_metrics"] {
                let listing = AssertSqlSafe(format!("SELECT * FROM {table} WHERE run_id = $1"));
                rows.push((table, sqlx::query(listing).bind(id).fetch_all(self.core.catalog().read()).await?));
            }
            // Rows that were read while they were replaced may be inconsistent.
            if digest(&before)? != digest(&header().await?)? {
                continue;
            }
            return target
                .core
                .transact(|transaction| async {
                    let mut transaction = transaction;
                    component_metrics::remove(&mut transaction, id).await?;
                    let is_known: Option<String> = sqlx::query_scalar("SELECT id FROM runs WHERE id = $1")
                        .bind(id)
                        .fetch_optional(&mut *transaction)
                        .await?;
                    // A run that was added since is copied by the next copy.
                    if let (Some(header), Some(_)) = (&before, is_known) {
                        insert(&mut transaction, "component_runs", header, &[], false).await?;
                        for (table, rows) in &rows {
                            for row in rows {
                                insert(&mut transaction, table, row, &[], false).await?;
                            }
                        }
                    }
                    transaction.commit().await
                })
                .await;
        }
    }

    /// Copies plan executions that are missing or different in the target, with their steps.
    async fn copy_plans(&self, target: &Self) -> Result<()> {
        let mut after = String::new();
        loop {
            let plans: Vec<(String, String)> = sqlx::query_as(
                "SELECT execution_id, sha256 FROM reported_plans WHERE execution_id > $1 ORDER BY execution_id LIMIT 500",
            )
            .bind(&after)
            .fetch_all(self.core.catalog().read())
            .await?;
            let Some((last, _)) = plans.last() else { return Ok(()) };
            after.clone_from(last);
            let mut knowing = Sql::new("SELECT execution_id, sha256 FROM reported_plans WHERE execution_id IN (");
            knowing.push_list(plans.iter().map(|(plan, _)| plan.clone())).push(")");
            let known: Vec<(String, String)> = knowing.build_query_as().fetch_all(target.core.catalog().read()).await?;
            for plan in plans.iter().filter(|plan| !known.contains(plan)) {
                self.copy_plan(target, &plan.0).await?;
            }
        }
    }

    async fn copy_plan(&self, target: &Self, id: &str) -> Result<()> {
        let header = || async {
            let reading = sqlx::query("SELECT * FROM reported_plans WHERE execution_id = $1").bind(id.to_owned());
            reading.fetch_optional(self.core.catalog().read()).await
        };
        let digest = |row: &Option<AnyRow>| row.as_ref().map(|row| row.try_get::<String, _>("sha256")).transpose();
        loop {
            let before = header().await?;
            let mut rows = Vec::new();
            for table in ["reported_steps", "reported_step_runs"] {
                let listing = AssertSqlSafe(format!("SELECT * FROM {table} WHERE execution_id = $1"));
                rows.push((table, sqlx::query(listing).bind(id).fetch_all(self.core.catalog().read()).await?));
            }
            // Rows that were read while they were replaced may be inconsistent.
            if digest(&before)? != digest(&header().await?)? {
                continue;
            }
            let Some(header) = before else { return Ok(()) };
            return target
                .core
                .transact(|transaction| async {
                    let mut transaction = transaction;
                    reported_plans::remove_parts(&mut transaction, id).await?;
                    insert(&mut transaction, "reported_plans", &header, &["execution_id"], true).await?;
                    for (table, rows) in &rows {
                        for row in rows {
                            insert(&mut transaction, table, row, &[], false).await?;
                        }
                    }
                    transaction.commit().await
                })
                .await;
        }
    }

    /// Copies the states and notes of problems. Titles and counts are computed from the summaries once the copy is in
    /// use.
    async fn copy_problem_states(&self, target: &Self) -> Result<()> {
        let mut after = String::new();
        loop {
            let rows = sqlx::query(
                "SELECT id, workspace_id, state, state_at, state_by, note, muted_until, came_back_at, created_at, first_seen
                 FROM workspace_problems WHERE id > $1 ORDER BY id LIMIT 500",
            )
            .bind(&after)
            .fetch_all(self.core.catalog().read())
            .await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.try_get("id")?;
            target
                .core
                .transact(|transaction| async {
                    let mut transaction = transaction;
                    for row in &rows {
                        insert(&mut transaction, "workspace_problems", row, &["id"], true).await?;
                    }
                    transaction.commit().await
                })
                .await?;
        }
    }

    /// Deletes the rows of a table of the target that no longer exist in this archive.
    async fn revoke_at(&self, target: &Self, table: &str, key: &[&str]) -> Result<()> {
        let names = key.join(", ");
        for row in self.missing_at_source(target, table, key).await? {
            let mut removing = Sql::new(format!("DELETE FROM {table} WHERE ({names}) = ("));
            removing.push_list(row).push(")");
            removing.build_query().execute(target.core.catalog().write()).await?;
        }
        Ok(())
    }

    /// Returns the keys of the rows of a table of the target that do not exist in this archive.
    async fn missing_at_source(&self, target: &Self, table: &str, key: &[&str]) -> Result<Vec<Vec<String>>> {
        let listing = format!("SELECT {} FROM {table}", key.join(", "));
        let rows = async |maintenance: &Self| -> Result<BTreeSet<Vec<String>>> {
            let rows = sqlx::query(AssertSqlSafe(listing.clone())).fetch_all(maintenance.core.catalog().read()).await?;
            let named = |row: &AnyRow| (0..key.len()).map(|column| row.try_get(column)).collect::<Result<_, _>>();
            Ok(rows.iter().map(named).collect::<Result<_, sqlx::Error>>()?)
        };
        let (here, there) = (rows(self).await?, rows(target).await?);
        Ok(there.difference(&here).cloned().collect())
    }

    /// Copies the audit logs of tenants with their numbers. Entries that exist only in the target, because a service
    /// was started on it, get new numbers if theirs are needed.
    async fn copy_tenant_audit_logs(&self, target: &Self) -> Result<()> {
        let mut after = String::new();
        loop {
            let rows = sqlx::query("SELECT * FROM tenant_audit_logs WHERE log_id > $1 ORDER BY log_id LIMIT 500")
                .bind(&after)
                .fetch_all(self.core.catalog().read())
                .await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.try_get("log_id")?;
            let mut numbers: HashMap<i64, String> = HashMap::new();
            for row in &rows {
                numbers.insert(row.try_get("sequence")?, row.try_get("log_id")?);
            }
            let next_here = self.next_sequence().await?;
            target
                .core
                .transact(|transaction| async {
                    let mut transaction = transaction;
                    // This row stays locked until the end of the transaction, so that no other transaction uses the
                    // numbers.
                    let next_there: i64 = sqlx::query_scalar(
                        "UPDATE tenant_audit_sequence SET next = next WHERE name = 'entries' RETURNING next",
                    )
                    .fetch_one(&mut *transaction)
                    .await?;
                    let highest: Option<i64> = sqlx::query_scalar("SELECT MAX(sequence) FROM tenant_audit_logs")
                        .fetch_one(&mut *transaction)
                        .await?;
                    let highest_here = numbers.keys().copied().max();
                    let above = highest.max(highest_here).map_or(0, |number| number.saturating_add(1));
                    let mut free = above.max(next_here).max(next_there);
                    // Rows may have swapped numbers, so the rows that occupy the numbers are renumbered first.
                    let mut taken = Sql::new("SELECT log_id, sequence FROM tenant_audit_logs WHERE sequence IN (");
                    taken.push_list(numbers.keys().copied()).push(")");
                    let taken: Vec<(String, i64)> = taken.build_query_as().fetch_all(&mut *transaction).await?;
                    for (id, number) in taken {
                        if numbers.get(&number) == Some(&id) {
                            continue;
                        }
                        sqlx::query("UPDATE tenant_audit_logs SET sequence = $1 WHERE log_id = $2")
                            .bind(free)
                            .bind(&id)
                            .execute(&mut *transaction)
                            .await?;
                        free += 1;
                    }
                    for row in &rows {
                        insert(&mut transaction, "tenant_audit_logs", row, &["log_id"], true).await?;
                    }
                    sqlx::query("UPDATE tenant_audit_sequence SET next = $1 WHERE name = 'entries'")
                        .bind(free)
                        .execute(&mut *transaction)
                        .await?;
                    transaction.commit().await
                })
                .await?;
        }
    }

    /// Returns the number of the next entry of the audit logs of tenants.
    async fn next_sequence(&self) -> Result<i64> {
        Ok(sqlx::query_scalar("SELECT next FROM tenant_audit_sequence WHERE name = 'entries'")
            .fetch_one(self.core.catalog().read())
            .await?)
    }

    /// Deletes entries of the audit logs of tenants from the target that are older than the oldest entry of the same
    /// upstream in this archive. If this archive has collected audit logs of an upstream and none is left, deletes all
    /// of them.
    async fn expire_audit_logs_at(&self, target: &Self) -> Result<()> {
        let ended = "SELECT upstream FROM collected_audit_logs WHERE NOT EXISTS
                     (SELECT 1 FROM tenant_audit_logs a WHERE a.upstream = collected_audit_logs.upstream)";
        let ended: Vec<String> = sqlx::query_scalar(ended).fetch_all(self.core.catalog().read()).await?;
        for upstream in ended {
            sqlx::query("DELETE FROM tenant_audit_logs WHERE upstream = $1")
                .bind(upstream)
                .execute(target.core.catalog().write())
                .await?;
        }
        let listing = "SELECT upstream, MIN(at) FROM tenant_audit_logs GROUP BY upstream";
        let oldest: Vec<(String, i64)> = sqlx::query_as(listing).fetch_all(self.core.catalog().read()).await?;
        for (upstream, at) in oldest {
            sqlx::query("DELETE FROM tenant_audit_logs WHERE upstream = $1 AND at < $2")
                .bind(upstream)
                .bind(at)
                .execute(target.core.catalog().write())
                .await?;
        }
        Ok(())
    }

    /// Copies the rows of a table of deliveries for the runs that exist in the target.
    async fn copy_delivered(&self, target: &Self, table: &str) -> Result<()> {
        let listing = format!("SELECT DISTINCT run_id FROM {table} WHERE run_id > $1 ORDER BY run_id LIMIT 500");
        let mut after = String::new();
        loop {
            let runs: Vec<String> = sqlx::query_scalar(AssertSqlSafe(listing.clone()))
                .bind(&after)
                .fetch_all(self.core.catalog().read())
                .await?;
            let Some(last) = runs.last() else { return Ok(()) };
            after.clone_from(last);
            // A run that was added since is copied by the next copy.
            let mut knowing = Sql::new("SELECT id FROM runs WHERE id IN (");
            knowing.push_list(runs).push(")");
            let known: Vec<String> = knowing.build_query_scalar().fetch_all(target.core.catalog().read()).await?;
            if known.is_empty() {
                continue;
            }
            let mut reading = Sql::new(format!("SELECT * FROM {table} WHERE run_id IN ("));
            reading.push_list(known.iter().cloned()).push(")");
            let rows = reading.build_query().fetch_all(self.core.catalog().read()).await?;
            target
                .core
                .transact(|transaction| async {
                    let mut transaction = transaction;
                    let mut clearing = Sql::new(format!("DELETE FROM {table} WHERE run_id IN ("));
                    clearing.push_list(known.iter().cloned()).push(")");
                    clearing.build_query().execute(&mut *transaction).await?;
                    for row in &rows {
                        insert(&mut transaction, table, row, &[], false).await?;
                    }
                    transaction.commit().await
                })
                .await?;
        }
    }

    /// Copies a run with its log. `damaged` contains the segments that were found to be damaged, by their IDs.
    async fn copy_run(
        &self,
        target: &Self,
        id: &str,
        copied: &mut CopyReport,
        damaged: &mut HashMap<String, Error>,
    ) -> Result<()> {
        loop {
            let Some(run) = self.row_of_run(id).await? else { return Ok(()) };
            let there = target.row_of_run(id).await?;
            if there.is_some_and(|there| is_same(&there, &run)) {
                copied.runs_before += 1;
                return Ok(());
            }
            let of_run = |table: &str, order: &str| {
                let listing = format!("SELECT * FROM {table} WHERE run_id = $1 ORDER BY {order}");
                sqlx::query(AssertSqlSafe(listing)).bind(id.to_owned()).fetch_all(self.core.catalog().read())
            };
            let (slices, batches) = (of_run("slices", "first_arrival").await?, of_run("batches", "batch_id").await?);
            let (summary, problems) = (of_run("summaries", "run_id").await?, of_run("problems", "kind, id").await?);
            let mut damage = None;
            for slice in &slices {
                let segment: String = slice.try_get("segment_id")?;
                damage = match damaged.get(&segment) {
                    Some(error) => Some(error.clone()),
                    None => self.copy_segment(target, segment.clone(), copied).await?,
                };
                if let Some(error) = &damage {
                    damaged.insert(segment, error.clone());
                    break;
                }
            }
            // Rows that were read while the log was changed may be inconsistent, and missing objects of a deleted log
            // are not lost.
            match self.row_of_run(id).await? {
                Some(again) if is_same(&again, &run) => {}
                _ => continue,
            }
            if let Some(error) = damage {
                copied.runs_damaged += 1;
                if copied.damage.len() < limits::UNREADABLE_RUNS_MAX {
                    copied.damage.push(format!("run {id}: {}", error.with_causes()));
                }
                return Ok(());
            }
            target
                .core
                .transact(|transaction| async {
                    let mut transaction = transaction;
                    let before: Vec<String> =
                        sqlx::query_scalar("SELECT DISTINCT segment_id FROM slices WHERE run_id = $1")
                            .bind(id)
                            .fetch_all(&mut *transaction)
                            .await?;
                    insert(&mut transaction, "runs", &run, &["id"], true).await?;
                    for table in ["slices", "batches", "summaries", "problems"] {
                        let clearing = format!("DELETE FROM {table} WHERE run_id = $1");
                        sqlx::query(AssertSqlSafe(clearing)).bind(id).execute(&mut *transaction).await?;
                    }
                    // The problem of the run is determined and counted again once the copy is in use.
                    problems::remove_runs(&mut transaction, &[id.to_owned()], target.core.now()).await?;
                    for slice in &slices {
                        insert(&mut transaction, "slices", slice, &[], false).await?;
                    }
                    for batch in &batches {
                        insert(&mut transaction, "batches", batch, &[], false).await?;
                    }
                    for summary in &summary {
                        insert(&mut transaction, "summaries", summary, &[], false).await?;
                    }
                    for problem in &problems {
                        insert(&mut transaction, "problems", problem, &[], false).await?;
                    }
                    let now_named: Vec<String> =
                        slices.iter().map(|slice| slice.try_get("segment_id")).collect::<Result<_, _>>()?;
                    let perhaps_changed: BTreeSet<&String> = before.iter().chain(&now_named).collect();
                    changes::note_changed(&mut transaction, perhaps_changed).await?;
                    free_segments(&mut transaction, &before, target.core.now().as_millis()).await?;
                    if !before.is_empty() {
                        changes::note_deleted(&mut transaction, &run.try_get::<String, _>("workspace_id")?).await?;
                    }
                    transaction.commit().await
                })
                .await?;
            copied.runs += 1;
            copied.records += (run.try_get::<i64, _>("records")?).saturating_as::<u64>();
            return Ok(());
        }
    }

    async fn row_of_run(&self, id: &str) -> Result<Option<AnyRow>> {
        Ok(sqlx::query("SELECT * FROM runs WHERE id = $1").bind(id).fetch_optional(self.core.catalog().read()).await?)
    }

    /// Copies a segment that does not exist in the target. Returns the error if its object is damaged or lost.
    async fn copy_segment(&self, target: &Self, id: String, copied: &mut CopyReport) -> Result<Option<Error>> {
        let row = |maintenance: &Self| {
            let (maintenance, id) = (maintenance.clone(), id.clone());
            async move {
                let query = sqlx::query("SELECT * FROM segments WHERE id = $1").bind(id);
                query.fetch_optional(maintenance.core.catalog().read()).await
            }
        };
        if row(target).await?.is_some() {
            return Ok(None);
        }
        // The segment was replaced by sealing in the meantime; the rows of the run are read again.
        let Some(row) = row(self).await? else { return Ok(None) };
        let key = Path::from(row.try_get::<String, _>("object_key")?);
        target.core.intents().intend([&key]).await?;
        let (bytes, sha256) = match self.copy_object(target, &key).await? {
            Ok(written) => written,
            Err(damage) => return Ok(Some(damage)),
        };
        let (expected, hash): (i64, String) = (row.try_get("bytes")?, row.try_get("sha256")?);
        if bytes != expected.saturating_as::<u64>() || (!hash.is_empty() && hash != sha256) {
            target.core.intents().remove_uncommitted(std::slice::from_ref(&key)).await;
            let message = format!("object {key} is not what was written; `runlog archive verify` shows details");
            return Ok(Some(Error::corrupt(message)));
        }
        target
            .core
            .transact(|transaction| async {
                let mut transaction = transaction;
                if !intents::fulfil(&mut transaction, &[&key]).await? {
                    return Err(intents::swept());
                }
                insert(&mut transaction, "segments", &row, &["id"], true).await?;
                if let Some(workspace_id) = row.try_get::<Option<String>, _>("workspace_id")? {
                    // The groups of the target have their own numbers: the groups of the source contain files that are
                    // not copied.
                    changes::add_files(&mut transaction, &workspace_id, &[&id]).await?;
                }
                transaction.commit().await
            })
            .await?;
        copied.objects += 1;
        copied.bytes += bytes;
        Ok(None)
    }

    /// Copies an object. Returns its length and SHA-256, or the error if it is damaged or lost.
    pub(crate) async fn copy_object(&self, target: &Self, key: &Path) -> Result<Result<(u64, String)>> {
        let mut source = match self.core.objects().get(key).await {
            Ok(found) => found.into_stream(),
            Err(error) => return self.unread(key, error).await,
        };
        let unwritten = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::caused(ErrorKind::Unavailable, format!("cannot write object {key}"), error)
        };
        let mut object =
            BufWriter::with_capacity(target.core.objects().clone(), key.clone(), limits::UPLOAD_PART_BYTES)
                .with_max_concurrency(2);
        let (mut digest, mut bytes) = (Sha256::new(), 0);
        loop {
            let chunk = match source.try_next().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => {
                    abort(&mut object, key).await;
                    return self.unread(key, error).await;
                }
            };
            digest.update(&chunk);
            bytes += chunk.len() as u64;
            if let Err(error) = object.put(chunk).await {
                abort(&mut object, key).await;
                return Err(unwritten(error.into()));
            }
        }
        object.shutdown().await.map_err(|error| unwritten(error.into()))?;
        Ok(Ok((bytes, hex::encode(digest.finalize()))))
    }

    /// Classifies the error of a failed read: the inner error if the object is damaged or lost, the outer error if the
    /// object store is unavailable.
    async fn unread<T>(&self, key: &Path, error: object_store::Error) -> Result<Result<T>> {
        let error = read_error(self.core.objects(), error).await;
        match error.kind() {
            ErrorKind::Corrupt => Ok(Err(error.in_object(key.as_ref()))),
            _ => Err(error),
        }
    }

    /// Copies the audit entries that are missing in the target. Entries are compared by their contents, because the
    /// target may have entries of its own from a service that was started on it, and a running source may commit
    /// entries in another order than that of their numbers.
    async fn copy_audit(&self, target: &Self) -> Result<()> {
        const COLUMNS: &str = "at, caller_id, caller_name, action, subject, status, address, request_id";
        let mut after = i64::MIN;
        loop {
            // All entries of the same time are copied together.
            let until: Option<i64> = sqlx::query_scalar(
                "SELECT MAX(at) FROM (SELECT at FROM audit WHERE at > $1 ORDER BY at LIMIT 500) AS following",
            )
            .bind(after)
            .fetch_one(self.core.catalog().read())
            .await?;
            let Some(until) = until else { return Ok(()) };
            let selecting = format!("SELECT {COLUMNS} FROM audit WHERE at > $1 AND at <= $2 ORDER BY id");
            let between = async |archive: &Self| {
                let query = sqlx::query(AssertSqlSafe(selecting.clone())).bind(after).bind(until);
                query.fetch_all(archive.core.catalog().read()).await
            };
            let mut there: HashMap<Vec<Option<String>>, usize> = HashMap::new();
            for row in between(target).await? {
                *there.entry(values(&row)).or_default() += 1;
            }
            let mut missing = between(self).await?;
            missing.retain(|row| match there.get_mut(&values(row)) {
                Some(count) if *count > 0 => {
                    *count -= 1;
                    false
                }
                _ => true,
            });
            if !missing.is_empty() {
                target
                    .core
                    .transact(|transaction| async {
                        let mut transaction = transaction;
                        for row in &missing {
                            insert(&mut transaction, "audit", row, &[], false).await?;
                        }
                        transaction.commit().await
                    })
                    .await?;
            }
            after = until;
        }
    }
}

/// Removes the uploaded parts of an object that will not be completed.
async fn abort(object: &mut BufWriter, key: &Path) {
    if let Err(error) = object.abort().await {
        warn!(%error, object.key = %key, "parts of an abandoned upload could not be removed");
    }
}

/// Inserts a row with the values that were read. With `or_update`, an existing row with the same key is overwritten.
async fn insert(connection: &mut Connection, table: &str, row: &AnyRow, key: &[&str], or_update: bool) -> Result<()> {
    let names: Vec<&str> = row.columns().iter().map(Column::name).collect();
    let mut inserting = Sql::new(format!("INSERT INTO {table} ({}) VALUES (", names.join(", ")));
    for (index, _) in names.iter().enumerate() {
        if index > 0 {
            inserting.push(", ");
        }
        push_value(&mut inserting, row, index)?;
    }
    inserting.push(")");
    if or_update {
        let others: Vec<String> =
            names.iter().filter(|name| !key.contains(name)).map(|name| format!("{name} = excluded.{name}")).collect();
        let key = key.join(", ");
        match others.is_empty() {
            true => inserting.push(format!(" ON CONFLICT ({key}) DO NOTHING")),
            false => inserting.push(format!(" ON CONFLICT ({key}) DO UPDATE SET {}", others.join(", "))),
        };
    }
    inserting.build_query().execute(connection).await?;
    Ok(())
}

fn push_value(sql: &mut Sql, row: &AnyRow, index: usize) -> Result<()> {
    let value = row.try_get_raw(index)?;
    if value.is_null() {
        sql.push("NULL");
        return Ok(());
    }
    match value.type_info().kind() {
        AnyTypeInfoKind::Text => sql.push_bind(row.try_get::<String, _>(index)?),
        AnyTypeInfoKind::Blob => sql.push_bind(row.try_get::<Vec<u8>, _>(index)?),
        AnyTypeInfoKind::SmallInt | AnyTypeInfoKind::Integer | AnyTypeInfoKind::BigInt => {
            sql.push_bind(row.try_get::<i64, _>(index)?)
        }
        _ => {
            let name = value.type_info().name().to_owned();
            return Err(Error::corrupt(format!("a column of the catalog is of type {name}, which it never is")));
        }
    };
    Ok(())
}

/// Returns true if two rows of a run, possibly from different databases, have the same values.
fn is_same(one: &AnyRow, other: &AnyRow) -> bool {
    values(one) == values(other)
}

/// Returns the values of a row in the order of the column names, without the columns that are specific to an archive.
fn values(row: &AnyRow) -> Vec<Option<String>> {
    let mut names: Vec<&str> = row.columns().iter().map(Column::name).collect();
    names.sort_unstable();
    names
        .into_iter()
        .filter(|name| !OF_NO_OTHER_ARCHIVE.contains(name))
        .map(|name| {
            let text = row.try_get::<Option<String>, _>(name).ok().flatten();
            text.or_else(|| row.try_get::<Option<i64>, _>(name).ok().flatten().map(|number| number.to_string()))
        })
        .collect()
}
