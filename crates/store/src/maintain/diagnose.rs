//! Checks of the catalog, the objects and the clocks of an archive, with advice.

use std::time::{Duration, Instant};

use bytes::Bytes;
use object_store::ObjectStoreExt;
use tokio_util::sync::CancellationToken;

use crate::error::{NO_BUCKET, POOLER, Result};
use crate::limits;
use crate::maintain::maintenance::Maintenance;
use crate::objects::keys;
use crate::objects::probe::with_probe;
use crate::parts::Alerts;

/// The largest difference between clocks that is not reported. Unit: milliseconds.
const SKEW_MS_MAX: i64 = 2_000;

/// The free space of the data folder below which a warning is reported. Unit: bytes.
const FREE_BYTES_MIN: u64 = 2 << 30;

/// The time after which a destination that does not accept alerts is reported. Unit: milliseconds.
const ALERT_FAILING_MS: i64 = 600_000;

/// The latency above which a backend is reported as slow.
const SLOW: Duration = Duration::from_millis(500);

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// No problem.
    Good,
    /// It works, but needs attention.
    Doubtful,
    /// It does not work.
    Bad,
}

/// A check and its result.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The subject of the check.
    pub what: String,
    /// The result.
    pub health: Health,
    /// The observation.
    pub seen: String,
    /// What to do, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    fn good(what: &str, seen: impl Into<String>) -> Self {
        Self { what: what.to_owned(), health: Health::Good, seen: seen.into(), advice: None }
    }

    /// Creates the finding of a check outside of the archive, for example of a service.
    pub fn new(what: &str, health: Health, seen: impl Into<String>, advice: Option<&str>) -> Self {
        Self { what: what.to_owned(), health, seen: seen.into(), advice: advice.map(str::to_owned) }
    }
}

impl Maintenance {
    /// Checks catalog, objects, clocks and pending work. Writes one small object and removes it.
    pub async fn diagnose(&self) -> Vec<Finding> {
        self.diagnose_until(&CancellationToken::new()).await
    }

    /// Like [`diagnose`](Self::diagnose). Cancelling `stop` ends the checks early; the object that they wrote is still
    /// removed.
    pub async fn diagnose_until(&self, stop: &CancellationToken) -> Vec<Finding> {
        let mut findings = Vec::new();
        findings.push(found("catalog", self.diagnose_catalog().await));
        let objects = found("objects", self.diagnose_objects(&mut findings, stop).await);
        findings.push(objects);
        findings.extend(self.diagnose_folder());
        findings.push(found("stored records", self.diagnose_damage().await));
        findings.push(found("sealing", self.diagnose_sealing().await));
        findings.push(found("log files", self.diagnose_pages().await));
        findings.extend(self.diagnose_tables().await.unwrap_or_else(|error| Some(found("tables", Err(error)))));
        findings.extend(self.diagnose_alerts().await.unwrap_or_else(|error| vec![found("alerts", Err(error))]));
        findings
    }

    async fn diagnose_catalog(&self) -> Result<Finding> {
        let begun = Instant::now();
        let (version, clock_ms) = self.core.catalog().version_and_clock().await?;
        let took = begun.elapsed();
        let skew_ms = clock_ms.map_or(0, |clock_ms| clock_ms - self.core.now().as_millis());
        Ok(if skew_ms.abs() > SKEW_MS_MAX {
            let seen = format!("{version}; its clock differs by {skew_ms} ms from that of this machine");
            let advice = "synchronise both clocks with NTP: leases, links and the expiry of tokens depend on them";
            Finding::new("catalog", Health::Doubtful, seen, Some(advice))
        } else if took > SLOW {
            let seen = format!("{version}; it took {} ms to respond", took.as_millis());
            Finding::new(
                "catalog",
                Health::Doubtful,
                seen,
                Some("use a catalog with less latency, or with faster disks"),
            )
        } else {
            Finding::good("catalog", format!("{version}, responds in {} ms", took.as_millis()))
        })
    }

    /// Checks the lakehouse tables; `None` if the archive has none.
    async fn diagnose_tables(&self) -> Result<Option<Finding>> {
        let tables: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM lake_tables").fetch_one(self.core.catalog().read()).await?;
        if tables == 0 {
            return Ok(None);
        }
        let omitted = self.files_omitted_from_tables().await?;
        Ok(Some(match omitted.files {
            0 => Finding::good("tables", format!("{tables} for lakehouses, with every sealed file")),
            files => {
                let seen = format!(
                    "{files} sealed files with {} records are in no table for lakehouses: they may hold runs of several \
                     workspaces",
                    omitted.records
                );
                let advice = "`runlog archive reseal` seals their logs again, into files of a single workspace each";
                Finding::new("tables", Health::Doubtful, seen, Some(advice))
            }
        }))
    }

    async fn diagnose_objects(&self, findings: &mut Vec<Finding>, stop: &CancellationToken) -> Result<Finding> {
        let probe = keys::probe(self.core.random().uuid());
        let bytes = Bytes::from_static(b"runlog tests whether it can write here");
        let begun = Instant::now();
        let checks = async {
            self.core.objects().put(&probe, bytes.clone().into()).await?;
            let took = begun.elapsed();
            let head = self.core.objects().head(&probe).await?;
            Ok::<_, object_store::Error>((took, head, self.core.objects().get_range(&probe, 7..12).await?))
        };
        let (took, head, part) = with_probe(self.core.objects(), &probe, checks, stop).await?;
        let skew_ms = head.last_modified.timestamp_millis() - self.core.now().as_millis();
        if skew_ms.abs() > SKEW_MS_MAX {
            let seen = format!("the clock of the object store differs by {skew_ms} ms from that of this machine");
            let advice = "synchronise the clock of this machine with NTP: buckets refuse requests if it is far off";
            findings.push(Finding::new("clock", Health::Doubtful, seen, Some(advice)));
        } else {
            findings.push(Finding::good("clock", "within two seconds of the object store"));
        }
        Ok(if part != bytes.slice(7..12) {
            let advice = "proxies between this machine and the bucket must forward Range requests";
            Finding::new(
                "objects",
                Health::Bad,
                "a part of an object was read with other content than written",
                Some(advice),
            )
        } else if took > SLOW {
            let seen = format!("written, read in part and removed; a write took {} ms", took.as_millis());
            let advice = "each push waits for a write before it is acknowledged: use a bucket with less latency or a faster disk";
            Finding::new("objects", Health::Doubtful, seen, Some(advice))
        } else {
            Finding::good("objects", format!("written in {} ms, read in part, removed", took.as_millis()))
        })
    }

    fn diagnose_folder(&self) -> Option<Finding> {
        let settings = self.core.settings();
        if settings.catalog.is_some() && settings.objects.is_some() {
            return None;
        }
        let folder = settings.data_folder.display();
        let free = match rustix::fs::statvfs(&settings.data_folder) {
            Ok(space) => space.f_bavail.saturating_mul(space.f_frsize),
            Err(error) => {
                let seen = format!("{folder}: {error}");
                return Some(Finding::new(
                    "disk",
                    Health::Bad,
                    seen,
                    Some("check that the disk is mounted and readable"),
                ));
            }
        };
        let seen = format!("{:.1} GB free below {folder}", free as f64 / 1e9);
        Some(if free < FREE_BYTES_MIN {
            let advice = "free some space, set a retention period (`runlog archive retention`), or move to a bucket (`runlog archive copy`)";
            Finding::new("disk", Health::Doubtful, seen, Some(advice))
        } else {
            Finding::good("disk", seen)
        })
    }

    async fn diagnose_damage(&self) -> Result<Finding> {
        let (damaged, total) = self.damaged_objects(1).await?;
        Ok(match damaged.first() {
            None => Finding::good("stored records", "no damaged objects are known"),
            Some(key) => {
                let seen = format!("{total} objects with records are damaged or missing, such as {key}");
                let advice = "`runlog archive verify` lists the affected runs; restore the objects from a backup and verify again, \
                              or delete the logs of these runs";
                Finding::new("stored records", Health::Bad, seen, Some(advice))
            }
        })
    }

    async fn diagnose_sealing(&self) -> Result<Finding> {
        let (damaged, total) = self.damaged_logs(1).await?;
        if let Some(log) = damaged.first() {
            let seen =
                format!("{total} damaged logs cannot be sealed, such as that of run {}: {}", log.run_id, log.problem);
            let advice =
                "restore the objects from a backup, or delete the log; `runlog archive verify` lists all damage";
            return Ok(Finding::new("sealing", Health::Bad, seen, Some(advice)));
        }
        let late: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM runs WHERE seal_at <= $1")
            .bind(self.core.now().as_millis() - limits::SEAL_LATE_MS)
            .fetch_one(self.core.catalog().read())
            .await?;
        Ok(match late {
            0 => Finding::good("sealing", "no run has been waiting for more than half an hour"),
            _ => {
                let advice =
                    "check that `runlog serve` is running; its log contains the cause if a run cannot be sealed";
                let seen = format!("{late} runs have been waiting to be sealed for more than half an hour");
                Finding::new("sealing", Health::Doubtful, seen, Some(advice))
            }
        })
    }

    /// Returns one finding for each destination that does not accept alerts, or a single finding if all destinations
    /// accept them. Returns no finding if there are no alerts.
    async fn diagnose_alerts(&self) -> Result<Vec<Finding>> {
        let now = self.core.now();
        let destinations = Alerts::new(&self.core).destinations().await?;
        let mut findings = Vec::new();
        for it in &destinations {
            let why = it.last_error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
            let advice = "check the destination in the settings, and test it with `runlog alerts test RULE`; `runlog alerts list` \
                          shows what waits";
            if it.failing_since.is_some_and(|since| now.millis_since(since) > ALERT_FAILING_MS) {
                let seen = format!("{} alerts wait for {}{why}", it.waiting, it.destination);
                findings.push(Finding::new("alerts", Health::Doubtful, seen, Some(advice)));
            } else if it.last_refused.is_some_and(|at| now.millis_since(at) < limits::DAY_MS) {
                let seen = format!("{} alerts for {} were given up{why}", it.refused, it.destination);
                findings.push(Finding::new("alerts", Health::Doubtful, seen, Some(advice)));
            }
        }
        if findings.is_empty() && !destinations.is_empty() {
            findings.push(Finding::good("alerts", format!("{} destinations accept them", destinations.len())));
        }
        Ok(findings)
    }

    async fn diagnose_pages(&self) -> Result<Finding> {
        let failed: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM page_files WHERE built_at IS NULL AND attempts >= $1 AND keep_until > $2",
        )
        .bind(limits::PAGE_ATTEMPTS_MAX)
        .bind(self.pages().tokens_valid_until().as_millis())
        .fetch_one(self.core.catalog().read())
        .await?;
        Ok(match failed {
            0 => Finding::good("log files", "none failed"),
            _ => {
                let seen = format!("{failed} log files could not be built");
                Finding::new(
                    "log files",
                    Health::Bad,
                    seen,
                    Some("run `runlog archive verify`, which finds unreadable records"),
                )
            }
        })
    }
}

/// Returns the result of a check, or a finding with the error if the check failed.
fn found(what: &str, outcome: Result<Finding>) -> Finding {
    outcome.unwrap_or_else(|error| {
        let seen = error.with_causes();
        // An error that already contains advice needs no further advice.
        let has_advice = seen.contains(NO_BUCKET) || seen.contains(POOLER);
        let advice =
            (!has_advice).then_some("check that it is running, reachable from here, and writable by this user");
        Finding::new(what, Health::Bad, seen, advice)
    })
}
